/* SPDX-License-Identifier: MIT */
/*
 * RankingWebServer's file in its formats, to and from the table "ranking" of the
 * canonical document. What it knows stands in keys.def. Must never judge values but
 * those that have another meaning in the canonical form: that is validate.c's.
 */
#include "cmsnode/config/ranking_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/json_conf.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/toml.h"

#define PREFIX "ranking."
#define HTTP_OFF 0 /* canonical http_port */

const char *ranking_file_name(enum cms_format format)
{
	return format == CMS_FORMAT_JSON ? "cms.ranking.conf" : "cms_ranking.toml";
}

static const struct config_key *find_key(const char *name)
{
	CLEAN(str) char *path = xasprintf(PREFIX "%s", name);

	return config_key_find(path);
}

/* ---- Reading ---- */

#define line_error(value, ...) line_error_text((value), xasprintf(__VA_ARGS__), err)

/* Frees what. */
static int line_error_text(const struct value *at, char *what, struct err *err)
{
	CLEAN(str) char *text = what;

	return err_set(err, -EINVAL, "line %d: %s", at->line, text);
}

static int refuse_main_file(const struct value *table, struct err *err)
{
	static const char *const marks[] = { "services", "core_services", "other_services",
					     "database" };

	for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
		const struct value *mark = value_get(table, marks[i]);
		if (mark)
			return line_error(mark,
					  "'%s' belongs to CMS's main file; this must be the "
					  "ranking's (cms_ranking.toml, cms.ranking.conf)",
					  marks[i]);
	}
	return 0;
}

static int refuse_random_port(const struct value *table, const char *name, const char *remedy,
			      struct err *err)
{
	const struct value *port = value_get(table, name);

	if (!port || port->type != VALUE_INT || port->integer != 0)
		return 0;
	return line_error(port, "%s is 0, with which RankingWebServer takes any free port; %s",
			  name, remedy);
}

static int refuse_random_ports(const struct value *table, enum cms_format format, struct err *err)
{
	const int rc =
		refuse_random_port(table, "http_port",
				   format == CMS_FORMAT_JSON ? "write null for no plain HTTP" :
							       "TOML cannot turn plain HTTP off",
				   err);

	return rc < 0 ? rc :
			refuse_random_port(table, "https_port", "leave it out for no HTTPS", err);
}

static int refuse_unknown(const char *name, const struct value *at, struct err *err)
{
	CLEAN(str) char *path =
		xasprintf(PREFIX "%.*s", (int)value_utf8_span(name, strnlen(name, 80)), name);
	const char *nearest = config_key_nearest(path);
	const bool have = nearest && str_starts(nearest, PREFIX);

	return line_error(
		at,
		"'%s' is not a key of RankingWebServer, which ends at one that it does not "
		"know%s%s%s; begin it with _ to make it a comment",
		path + strlen(PREFIX), have ? ": did you mean '" : "",
		have ? nearest + strlen(PREFIX) : "", have ? "'?" : "");
}

/* A comment's key is no error, and no known key either. */
static int check_json_key(const char *name, const struct value *at, struct err *err)
{
	const struct config_key *key = find_key(name);

	if (name[0] == '_' || (key && config_key_is_in(key, CMS_FORMAT_JSON)))
		return 0;
	return refuse_unknown(name, at, err);
}

static int add_null(struct value *ranking, const struct value_member *null, struct err *err)
{
	const struct config_key *key = find_key(null->key);
	const int rc = check_json_key(null->key, null->value, err);
	if (rc < 0 || !key)
		return rc;
	if (!key->nullable)
		return line_error(
			null->value,
			"%s is null, RankingWebServer wants %s; take it out or give it a value",
			null->key, config_type_phrase(key->type));
	if (str_eq(null->key, "http_port"))
		value_set(ranking, null->key, value_new_int(HTTP_OFF));
	else if (str_eq(null->key, "bind_address"))
		value_set(ranking, null->key, value_new_string(""));
	return 0;
}

static int json_to_canonical(const struct value *table, const struct value *nulls,
			     struct value *ranking, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < table->table.len; i++) {
		const struct value_member *member = &table->table.members[i];

		rc = check_json_key(member->key, member->value, err);
		if (rc == 0 && member->key[0] != '_')
			value_set(ranking, member->key, value_clone(member->value));
	}
	for (size_t i = 0; rc == 0 && i < nulls->table.len; i++) {
		const struct value_member *null = &nulls->table.members[i];

		/* Tables hold the nulls of objects, which only comments are here. */
		if (null->value->type != VALUE_TABLE)
			rc = add_null(ranking, null, err);
	}
	return rc;
}

static int parse(const char *text, size_t len, enum cms_format *ret_format, struct value **ret,
		 struct err *err)
{
	CLEAN(value) struct value *table = NULL;
	CLEAN(value) struct value *nulls = NULL;
	int rc = cms_file_parse_text(text, len, ret_format, &table, &nulls, err);
	if (rc == 0)
		rc = refuse_main_file(table, err);
	if (rc == 0)
		rc = refuse_random_ports(table, *ret_format, err);
	if (rc < 0)
		return rc;
	if (*ret_format != CMS_FORMAT_JSON) {
		*ret = steal(table);
		return 0;
	}
	CLEAN(value) struct value *ranking = value_new_table();

	rc = json_to_canonical(table, nulls, ranking, err);
	if (rc == 0)
		*ret = steal(ranking);
	return rc;
}

int ranking_file_parse(const char *text, size_t len, enum cms_format *ret_format,
		       struct value **ret, struct err *err)
{
	enum cms_format format;

	/* One code for the caller; which ceiling was passed is in the message. */
	if (parse(text, len, &format, ret, err) < 0)
		return err_set(err, -EINVAL, "%s", err ? err->msg : "");
	*ret_format = format;
	return 0;
}

/* ---- Writing ---- */

static bool is_http_off(const char *name, const struct value *value)
{
	return str_eq(name, "http_port") && value->type == VALUE_INT && value->integer == HTTP_OFF;
}

/* In the order of keys.def, so that writing again what was read gives the same text. */
static char *write_json(const struct value *ranking)
{
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, "{");
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		if (!str_starts(key->path, PREFIX) || !config_key_is_in(key, CMS_FORMAT_JSON))
			continue;
		const struct value *value = value_get(ranking, key->flat);
		if (value)
			json_conf_write_member(&out, key->flat,
					       is_http_off(key->flat, value) ? NULL : value);
	}
	(void)buf_adds(&out, "\n}\n");
	return buf_steal(&out);
}

/* "public" is no key of keys.def but the table of one. */
static bool is_kept(const char *name, enum cms_format format)
{
	const struct config_key *key = find_key(name);

	return key ? config_key_is_in(key, format) : format == CMS_FORMAT_TOML;
}

static char *write_toml(const struct value *ranking, enum cms_format format)
{
	CLEAN(value) struct value *left = value_new_table();

	for (size_t i = 0; i < ranking->table.len; i++) {
		const struct value_member *member = &ranking->table.members[i];

		if (is_kept(member->key, format) && !is_http_off(member->key, member->value))
			value_set(left, member->key, value_clone(member->value));
	}
	return toml_write(left);
}

char *ranking_file_write(const struct value *ranking, enum cms_format format)
{
	CLEAN(value) struct value *empty = value_new_table();
	const struct value *table = ranking && ranking->type == VALUE_TABLE ? ranking : empty;

	return format == CMS_FORMAT_JSON ? write_json(table) : write_toml(table, format);
}
