/* SPDX-License-Identifier: MIT */
/*
 * Documents made by a seed, as files of a format could hold them: known keys of the
 * right types with values at the edges, and keys that nobody knows. For tests only.
 */
#ifndef CMSNODE_TESTS_DOCUMENT_MAKER_H
#define CMSNODE_TESTS_DOCUMENT_MAKER_H

#include <math.h>
#include <stdint.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"

struct maker {
	uint64_t state;
	enum cms_format format;
};

/*
 * splitmix64: each seed gives the same document everywhere, if no two arguments of one call
 * draw from it (compilers differ in their order).
 */
static inline size_t maker_below(struct maker *maker, size_t n)
{
	uint64_t z = (maker->state += 0x9e3779b97f4a7c15U);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return (size_t)((z ^ (z >> 31)) % n);
}

#define MAKER_PICK(maker, array) ((array)[maker_below((maker), ARRAY_LEN(array))])

static inline const char *maker_text(struct maker *maker)
{
	static const char *const texts[] = {
		"",
		"plain",
		"\"",
		"\\",
		"'''",
		"\n\r\t\b\f",
		"\x7f\x01\x1f",
		"true",
		"1",
		"null",
		"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		"\xef\xbb\xbf",
		"# no comment",
		"[table]",
		"a = 1",
		"NaN",
		"-Infinity",
		" ",
		"%s/submissions/",
		"\\u0041",
		"</script>",
		"postgresql+psycopg2://u:p@h:5432/d?sslmode=require#x",
	};

	return MAKER_PICK(maker, texts);
}

static inline struct value *maker_number(struct maker *maker)
{
	static const double numbers[] = {
		0.0,	  -0.0,	     1.0,    -1.5,	0.1,
		1e21,	  1e-7,	     5e-324, 1e308,	123456.75,
		INFINITY, -INFINITY, NAN,    0.1 + 0.2, 9007199254740993.0
	};

	return value_new_float(MAKER_PICK(maker, numbers));
}

static inline struct value *maker_scalar(struct maker *maker, enum value_type type)
{
	static const int64_t integers[] = { 0,	       1,	  -1,	     8890, INT64_MAX,
					    INT64_MIN, INT32_MAX, 1LL << 53, 65535 };
	static const char *const dates[] = { "1979-05-27T07:32:00Z",
					     "1979-05-27T00:32:00.999-07:00", "1979-05-27T07:32:00",
					     "1979-05-27", "07:32:00.5" };

	switch (type) {
	case VALUE_BOOL:
		return value_new_bool(maker_below(maker, 2));
	case VALUE_INT:
		return value_new_int(MAKER_PICK(maker, integers));
	case VALUE_FLOAT:
		return maker_number(maker);
	case VALUE_DATETIME:
		return value_new_datetime(MAKER_PICK(maker, dates));
	case VALUE_STRING:
	case VALUE_ARRAY:
	case VALUE_TABLE:
		break;
	}
	return value_new_string(maker_text(maker));
}

static inline struct value *maker_shard(struct maker *maker)
{
	static const char *const hosts[] = { "localhost", "10.0.0.1", "::1", "w-1.example.org" };
	struct value *shard = value_new_array();

	value_array_add(shard, value_new_string(MAKER_PICK(maker, hosts)));
	value_array_add(shard, value_new_int(1 + (int64_t)maker_below(maker, 65535)));
	return shard;
}

static inline struct value *maker_known(struct maker *maker, const struct config_key *key)
{
	if (key->type != VALUE_ARRAY)
		return maker_scalar(maker, key->type);
	struct value *array = value_new_array();

	for (size_t n = maker_below(maker, 4); n > 0; n--)
		value_array_add(array, key->item == VALUE_ARRAY ? maker_shard(maker) :
								  maker_scalar(maker, key->item));
	return array;
}

/* Of any type that the format has. */
static inline struct value *maker_any(struct maker *maker, int depth)
{
	static const enum value_type types[] = { VALUE_BOOL,   VALUE_INT,     VALUE_FLOAT,
						 VALUE_STRING, VALUE_STRING,  VALUE_ARRAY,
						 VALUE_TABLE,  VALUE_DATETIME };
	const size_t n = ARRAY_LEN(types) - (maker->format == CMS_FORMAT_JSON);
	const enum value_type type = types[maker_below(maker, n)];

	if (depth == 0 || (type != VALUE_ARRAY && type != VALUE_TABLE))
		return maker_scalar(maker, type);
	struct value *outer = type == VALUE_ARRAY ? value_new_array() : value_new_table();

	for (size_t i = maker_below(maker, 4); i > 0; i--) {
		const char *key = maker_text(maker);
		struct value *inner = maker_any(maker, depth - 1);

		if (type == VALUE_ARRAY)
			value_array_add(outer, inner);
		else
			value_set(outer, key, inner);
	}
	return outer;
}

/* Keys that nobody knows; some are comments or known keys in other formats. */
static inline void maker_add_unknown(struct maker *maker, struct value *table)
{
	static const char *const names[] = { "mine",   "my.key", "a b", "\xc3\xa9", "",
					     "\"\\\n", "1",	 "url", "http_port" };
	static const char *const toml_only[] = { "_comment", "database", "core_services", "_x" };

	for (size_t n = maker_below(maker, 4); n > 0; n--) {
		const char *name = MAKER_PICK(maker, names);

		value_set(table, name, maker_any(maker, 3));
	}
	if (maker->format == CMS_FORMAT_TOML && maker_below(maker, 2)) {
		const char *name = MAKER_PICK(maker, toml_only);

		value_set(table, name, maker_any(maker, 2));
	}
}

static inline struct value *maker_table(struct value *document, const char *name)
{
	if (!value_get(document, name))
		value_set(document, name, value_new_table());
	return value_get(document, name);
}

/* What only TOML in tables can hold: unknown keys everywhere, and outside of tables. */
static inline void maker_add_tables(struct maker *maker, struct value *document)
{
	static const char *const tables[] = { "database", "worker", "unknown", "a.b",
					      "prometheus" };

	for (size_t n = maker_below(maker, 3); n > 0; n--) {
		struct value *table = maker_table(document, MAKER_PICK(maker, tables));

		value_set(table, "odd", maker_any(maker, 2));
		value_set(table, "_odd", maker_any(maker, 2));
	}
	if (maker_below(maker, 2))
		value_set(document, "stray", maker_scalar(maker, VALUE_DATETIME));
	if (maker_below(maker, 2))
		value_set_path(document, "services._Worker", value_new_array());
}

/* A document as cms_file_parse() could give it for a file of that format. */
static inline struct value *maker_document(uint64_t seed, enum cms_format format)
{
	struct maker maker = { seed * 3 + format, format };
	struct value *document = value_new_table();

	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);

		if (!str_starts(key->path, "ranking.") && config_key_is_in(key, format) &&
		    maker_below(&maker, 3))
			value_set_path(document, key->path, maker_known(&maker, key));
	}
	struct value *log = value_new_array();

	value_array_add(log, maker_shard(&maker));
	value_set_path(document, "services.LogService", log);
	if (format != CMS_FORMAT_TOML)
		value_set(document, "other_services", value_new_table());
	if (format != CMS_FORMAT_TOML && maker_below(&maker, 2))
		value_set_path(document, "other_services.TestFileCacher", value_new_array());
	if (maker_below(&maker, 2))
		maker_add_unknown(&maker, maker_table(document, "global"));
	if (format == CMS_FORMAT_TOML)
		maker_add_tables(&maker, document);
	return document;
}

/* 0 is "off" in http_port, which only JSON can say, and no port otherwise. */
static inline void maker_set_ports(struct value *ranking, enum cms_format format)
{
	struct value *http = value_get(ranking, "http_port");
	struct value *https = value_get(ranking, "https_port");

	if (http && http->type == VALUE_INT && http->integer == 0 && format != CMS_FORMAT_JSON)
		http->integer = 8890;
	if (https && https->type == VALUE_INT && https->integer == 0)
		https->integer = 443;
}

/* The table "ranking" as ranking_file_parse() could give it. */
static inline struct value *maker_ranking(uint64_t seed, enum cms_format format)
{
	struct maker maker = { ~seed * 3 + format, format };
	struct value *ranking = value_new_table();

	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);

		if (!str_starts(key->path, "ranking.") || !config_key_is_in(key, format) ||
		    !maker_below(&maker, 3))
			continue;
		struct value *value = maker_known(&maker, key);

		value_set_path(ranking, key->path + strlen("ranking."), value);
	}
	if (format == CMS_FORMAT_TOML)
		maker_add_unknown(&maker, maker_below(&maker, 2) ? ranking :
								   maker_table(ranking, "public"));
	maker_set_ports(ranking, format);
	/* These two would make it a main file. */
	(void)value_remove(ranking, "database");
	(void)value_remove(ranking, "core_services");
	return ranking;
}

#endif
