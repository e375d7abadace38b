/* SPDX-License-Identifier: MIT */
/*
 * CMS's main file in the formats of its versions, to and from the canonical
 * document. What a key is called where stands in keys.def, nowhere here. Must
 * never judge values: that is validate.c's.
 */
#include "cmsnode/config/cms_file.h"

#include <errno.h>
#include <inttypes.h>
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

#define MAX_HOST 255 /* bytes; a DNS name has at most 253 */

static const struct {
	const char *name;
	const char *file;
	const char *versions;
} formats[] = {
	[CMS_FORMAT_TOML] = { "toml", "cms.toml", "CMS 1.6" },
	[CMS_FORMAT_JSON] = { "json", "cms.conf", "CMS 1.2 to 1.5" },
	[CMS_FORMAT_FLAT_TOML] = { "flat-toml", "cms.toml", "CMS of June to August 2025" },
};

const char *cms_format_name(enum cms_format format)
{
	return formats[format].name;
}

int cms_format_parse(const char *name, enum cms_format *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (strcmp(formats[i].name, name) == 0) {
			*ret = (enum cms_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *cms_format_file(enum cms_format format)
{
	return formats[format].file;
}

const char *cms_format_versions(enum cms_format format)
{
	return formats[format].versions;
}

/* ---- The shape of `services` ---- */

static const char *host_flaw(const struct value *host)
{
	if (host->type != VALUE_STRING)
		return "host is not a string";
	if (host->text_len == 0)
		return "host is empty";
	if (host->text_len > MAX_HOST)
		return "host is longer than 255 bytes";
	for (size_t i = 0; i < host->text_len; i++)
		if ((unsigned char)host->text[i] <= ' ' || host->text[i] == 0x7f)
			return "host holds a blank or a control character";
	return NULL;
}

const char *cms_file_entry_flaw(const struct value *entry)
{
	if (entry->type != VALUE_ARRAY || entry->array.len != 2)
		return "is not a pair [\"host\", port]";
	const char *flaw = host_flaw(entry->array.items[0]);
	if (flaw)
		return flaw;
	const struct value *port = entry->array.items[1];

	if (port->type != VALUE_INT || port->integer < 1 || port->integer > 65535)
		return "port is not an integer from 1 to 65535";
	return NULL;
}

static int shape_error(const struct value *at, const char *what, struct err *err)
{
	if (at->line)
		return err_set(err, -EINVAL, "line %d: %s", at->line, what);
	return err_set(err, -EINVAL, "%s", what);
}

/* As much of a service's name as a message shall show, whole characters only. */
static int shown_len(const char *name)
{
	return (int)value_utf8_span(name, strnlen(name, 80));
}

static int check_shards(const char *table, const char *name, const struct value *shards,
			struct err *err)
{
	if (shards->type != VALUE_ARRAY) {
		CLEAN(str)
		char *what = xasprintf("%s.%.*s is %s, CMS wants a list of [\"host\", port]", table,
				       shown_len(name), name, config_type_phrase(shards->type));

		return shape_error(shards, what, err);
	}
	for (size_t i = 0; i < shards->array.len; i++) {
		const struct value *entry = shards->array.items[i];
		const char *flaw = cms_file_entry_flaw(entry);
		if (!flaw)
			continue;
		CLEAN(str)
		char *what =
			xasprintf("%s.%.*s, shard %zu: %s", table, shown_len(name), name, i, flaw);

		return shape_error(entry, what, err);
	}
	return 0;
}

static int check_table(const char *name, const struct value *table, struct err *err)
{
	if (table->type != VALUE_TABLE) {
		CLEAN(str)
		char *what = xasprintf("'%s' is %s, CMS wants a table of services", name,
				       config_type_phrase(table->type));

		return shape_error(table, what, err);
	}
	for (size_t i = 0; i < table->table.len; i++) {
		const int rc = check_shards(name, table->table.members[i].key,
					    table->table.members[i].value, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_other_services(const struct value *document, enum cms_format format,
				struct err *err)
{
	const struct value *other = value_get(document, "other_services");
	if (other)
		return check_table("other_services", other, err);
	if (format == CMS_FORMAT_TOML)
		return 0;
	return err_set(
		err, -EINVAL,
		"the table 'other_services' is missing, and %s ends at once without it; add %s",
		cms_format_versions(format),
		format == CMS_FORMAT_JSON ? "\"other_services\": {}" : "[other_services]");
}

static int check_services(const struct value *document, enum cms_format format, struct err *err)
{
	const struct value *services = value_get(document, "services");
	if (!services)
		return err_set(err, -EINVAL,
			       "the table 'services' ('core_services' in cms.conf) is missing; "
			       "it says where each service runs");
	int rc = check_table("services", services, err);
	if (rc < 0)
		return rc;
	if (services->table.len == 0)
		return shape_error(services,
				   "'services' lists no service; CMS needs at least LogService, "
				   "EvaluationService and ScoringService",
				   err);
	return check_other_services(document, format, err);
}

/* ---- Reading text ---- */

/* Byte order marks are what some editors put in front; no reader of CMS's takes one. */
static int refuse_byte_order_mark(const char *text, size_t len, struct err *err)
{
	if (len < 3 || memcmp(text, "\xef\xbb\xbf", 3) != 0)
		return 0;
	return value_text_error(err, -EINVAL, text, text,
				"the file begins with a byte order mark, and CMS refuses it then; "
				"save it as UTF-8 without one");
}

static enum cms_format guess_format(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'))
		i++;
	return i < len && text[i] == '{' ? CMS_FORMAT_JSON : CMS_FORMAT_TOML;
}

int cms_file_parse_text(const char *text, size_t len, enum cms_format *ret_format,
			struct value **ret, struct value **ret_nulls, struct err *err)
{
	int rc = refuse_byte_order_mark(text, len, err);
	if (rc < 0)
		return rc;
	*ret_format = guess_format(text, len);
	if (*ret_format == CMS_FORMAT_JSON)
		return json_conf_parse(text, len, ret, ret_nulls, err);
	rc = toml_parse(text, len, ret, err);
	if (rc == 0)
		*ret_nulls = value_new_table();
	return rc;
}

/* ---- Refusing the wrong file ---- */

/* A top-level key of the ranking file that the main file does not have. */
static bool is_ranking_key(const char *name)
{
	CLEAN(str) char *path = xasprintf("ranking.%s", name);

	return config_key_find(path) && !config_key_find_flat(name);
}

static int refuse_ranking_file(const struct value *table, struct err *err)
{
	for (size_t i = 0; i < table->table.len; i++) {
		const struct value_member *member = &table->table.members[i];
		if (!is_ranking_key(member->key))
			continue;
		CLEAN(str)
		char *what = xasprintf("'%s' is a key of the ranking's file, and there are no "
				       "services: this is not CMS's main file (cms.toml, cms.conf)",
				       member->key);

		return shape_error(member->value, what, err);
	}
	return 0;
}

static int check_kind(const struct value *table, struct err *err)
{
	const struct value *flat = value_get(table, "core_services");

	if (!flat && !value_get(table, "services"))
		return refuse_ranking_file(table, err);
	if (flat && value_get(table, "services"))
		return shape_error(flat,
				   "both 'core_services' (flat, as up to August 2025) and "
				   "'services' (CMS 1.6): it cannot be told which CMS shall read "
				   "the file; take one of them out",
				   err);
	return 0;
}

/* ---- null ---- */

static int null_error(const char *name, const struct value *null, const char *wanted,
		      struct err *err)
{
	CLEAN(str)
	char *what =
		xasprintf("%s is null, CMS wants %s; take it out or give it a value", name, wanted);

	return shape_error(null, what, err);
}

static int check_null_shards(const struct value *nulls, struct err *err)
{
	for (size_t i = 0; i < nulls->table.len; i++) {
		const struct value_member *member = &nulls->table.members[i];

		if (member->key[0] != '_')
			return null_error("a service", member->value, "a list of [\"host\", port]",
					  err);
	}
	return 0;
}

static int check_null(const struct value_member *null, struct err *err)
{
	const struct config_key *key = config_key_find_flat(null->key);
	const bool services =
		str_eq(null->key, "core_services") || str_eq(null->key, "other_services");

	if (services && null->value->type == VALUE_TABLE)
		return check_null_shards(null->value, err);
	if (services)
		return null_error(null->key, null->value, "a table of services", err);
	if (!key || key->nullable || null->value->type == VALUE_TABLE)
		return 0;
	return null_error(null->key, null->value, config_type_phrase(key->type), err);
}

/* Absent is not null to CMS: its default holds for the one, its programs fail at the other. */
static int check_nulls(const struct value *nulls, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < nulls->table.len; i++)
		rc = check_null(&nulls->table.members[i], err);
	return rc;
}

/* ---- Reading ---- */

/* The services but those commented out with a leading "_". */
static struct value *live_services(const struct value *services)
{
	if (services->type != VALUE_TABLE)
		return value_clone(services);
	struct value *live = value_new_table();

	live->line = services->line;
	for (size_t i = 0; i < services->table.len; i++) {
		const struct value_member *member = &services->table.members[i];

		if (member->key[0] != '_')
			value_set(live, member->key, value_clone(member->value));
	}
	return live;
}

/*
 * A known flat key's value as CMS 1.6 has it. Telegram takes the chat's id as a
 * number as well, so a cms.conf may have one; cms.toml must have a string.
 */
static struct value *successor(const struct config_key *key, const struct value *value)
{
	if (value->type != VALUE_INT || !str_eq(key->path, "telegram_bot.chat_id"))
		return value_clone(value);
	CLEAN(str) char *digits = xasprintf("%" PRId64, value->integer);
	struct value *text = value_new_string(digits);

	text->line = value->line;
	return text;
}

static void add_global(struct value *document, const char *key, struct value *value)
{
	if (!value_get(document, "global"))
		value_set(document, "global", value_new_table());
	value_set(value_get(document, "global"), key, value);
}

static struct value *flat_to_canonical(const struct value *flat)
{
	struct value *document = value_new_table();

	for (size_t i = 0; i < flat->table.len; i++) {
		const char *name = flat->table.members[i].key;
		const struct value *value = flat->table.members[i].value;
		const struct config_key *key = config_key_find_flat(name);

		if (key)
			value_set_path(document, key->path, successor(key, value));
		else if (str_eq(name, "core_services"))
			value_set(document, "services", live_services(value));
		else if (str_eq(name, "other_services"))
			value_set(document, "other_services", live_services(value));
		else if (name[0] != '_')
			add_global(document, name, value_clone(value));
	}
	return document;
}

static int parse(const char *text, size_t len, enum cms_format *ret_format, struct value **ret,
		 struct err *err)
{
	CLEAN(value) struct value *table = NULL;
	CLEAN(value) struct value *nulls = NULL;
	int rc = cms_file_parse_text(text, len, ret_format, &table, &nulls, err);
	if (rc == 0)
		rc = check_kind(table, err);
	if (rc == 0)
		rc = check_nulls(nulls, err);
	if (rc < 0)
		return rc;
	if (*ret_format == CMS_FORMAT_TOML && value_get(table, "core_services"))
		*ret_format = CMS_FORMAT_FLAT_TOML;
	*ret = *ret_format == CMS_FORMAT_TOML ? steal(table) : flat_to_canonical(table);
	return 0;
}

int cms_file_parse(const char *text, size_t len, enum cms_format *ret_format, struct value **ret,
		   struct err *err)
{
	CLEAN(value) struct value *document = NULL;
	enum cms_format format;

	int rc = parse(text, len, &format, &document, err);
	if (rc == 0)
		rc = check_services(document, format, err);
	/* One code for the caller; which ceiling was passed is in the message. */
	if (rc < 0)
		return err_set(err, -EINVAL, "%s", err ? err->msg : "");
	*ret_format = format;
	*ret = steal(document);
	return 0;
}

/* ---- Writing flat ---- */

static bool is_flat_name(const char *name)
{
	return config_key_find_flat(name) || str_eq(name, "core_services") ||
	       str_eq(name, "other_services");
}

static void flatten_known(struct value *flat, const struct value *document, enum cms_format format)
{
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		if (!config_key_is_flat(key) || !config_key_is_in(key, format))
			continue;
		const struct value *value = value_get_path(document, key->path);
		if (value)
			value_set(flat, key->flat, value_clone(value));
	}
}

static void flatten_services(struct value *flat, const char *name, const struct value *services)
{
	value_set(flat, name,
		  services && services->type == VALUE_TABLE ? live_services(services) :
							      value_new_table());
}

/* Keys nobody knows came from a flat file, or an operator set them for one. */
static void flatten_unknown(struct value *flat, const struct value *document)
{
	const struct value *global = value_get(document, "global");
	if (!global || global->type != VALUE_TABLE)
		return;
	for (size_t i = 0; i < global->table.len; i++) {
		const struct value_member *member = &global->table.members[i];

		if (!is_flat_name(member->key) && member->key[0] != '_')
			value_set(flat, member->key, value_clone(member->value));
	}
}

static struct value *flatten(const struct value *document, enum cms_format format)
{
	struct value *flat = value_new_table();

	flatten_known(flat, document, format);
	flatten_services(flat, "core_services", value_get(document, "services"));
	flatten_services(flat, "other_services", value_get(document, "other_services"));
	flatten_unknown(flat, document);
	return flat;
}

static char *write_flat_toml(const struct value *document)
{
	CLEAN(value) struct value *flat = flatten(document, CMS_FORMAT_FLAT_TOML);

	return toml_write(flat);
}

/* ---- Writing cms.conf ---- */

/* One service a line. */
static void write_services(struct buf *out, const char *name, const struct value *services)
{
	const size_t len = services->table.len;

	json_conf_begin_member(out, name);
	(void)buf_adds(out, "{");
	for (size_t i = 0; i < len; i++) {
		const struct value_member *member = &services->table.members[i];

		(void)buf_adds(out, i ? ",\n        " : "\n        ");
		value_quote(out, member->key, strlen(member->key));
		(void)buf_adds(out, ": ");
		json_conf_write_value(out, member->value);
	}
	(void)buf_adds(out, len ? "\n    }" : "}");
}

static void write_json_known(struct buf *out, const struct value *flat)
{
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		if (!config_key_is_flat(key))
			continue;
		const struct value *value = value_get(flat, key->flat);
		if (value || key->null_written)
			json_conf_write_member(out, key->flat, value);
	}
}

static char *write_json(const struct value *document)
{
	CLEAN(value) struct value *flat = flatten(document, CMS_FORMAT_JSON);
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, "{");
	write_json_known(&out, flat);
	for (size_t i = 0; i < flat->table.len; i++) {
		const struct value_member *member = &flat->table.members[i];

		if (str_eq(member->key, "core_services") || str_eq(member->key, "other_services"))
			write_services(&out, member->key, member->value);
		else if (!config_key_find_flat(member->key))
			json_conf_write_member(&out, member->key, member->value);
	}
	(void)buf_adds(&out, "\n}\n");
	return buf_steal(&out);
}

/* ---- Writing cms.toml ---- */

static bool dropped_from_toml(const char *table, const char *name)
{
	CLEAN(str) char *path = xasprintf("%s.%s", table, name);
	const struct config_key *key = config_key_find(path);

	return key && !config_key_is_in(key, CMS_FORMAT_TOML);
}

/* NULL if nothing is left that CMS 1.6 knows; a table that was empty stays one. */
static struct value *table_for_toml(const char *name, const struct value *value)
{
	if (value->type != VALUE_TABLE)
		return value_clone(value);
	CLEAN(value) struct value *table = value_new_table();

	for (size_t i = 0; i < value->table.len; i++) {
		const struct value_member *member = &value->table.members[i];

		if (!dropped_from_toml(name, member->key))
			value_set(table, member->key, value_clone(member->value));
	}
	return value->table.len && !table->table.len ? NULL : steal(table);
}

static char *write_toml(const struct value *document)
{
	CLEAN(value) struct value *left = value_new_table();

	for (size_t i = 0; i < document->table.len; i++) {
		const struct value_member *member = &document->table.members[i];
		if (str_eq(member->key, "other_services") || str_eq(member->key, "ranking"))
			continue;
		struct value *table = table_for_toml(member->key, member->value);
		if (table)
			value_set(left, member->key, table);
	}
	return toml_write(left);
}

char *cms_file_write(const struct value *document, enum cms_format format)
{
	switch (format) {
	case CMS_FORMAT_JSON:
		return write_json(document);
	case CMS_FORMAT_FLAT_TOML:
		return write_flat_toml(document);
	case CMS_FORMAT_TOML:
		return write_toml(document);
	}
	return NULL;
}
