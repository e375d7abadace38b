/* SPDX-License-Identifier: MIT */
/*
 * CMS's main file in the formats of its versions, to and from the canonical
 * document. What a key is called where stands in keys.def, nowhere here. Must
 * never judge values: that is validate.c's.
 */
#include "cmsnode/config/cms_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
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
} formats[] = {
	[CMS_FORMAT_TOML] = { "toml", "cms.toml" },
	[CMS_FORMAT_JSON] = { "json", "cms.conf" },
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

static int check_services(const struct value *document, struct err *err)
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
	const struct value *other = value_get(document, "other_services");

	return other ? check_table("other_services", other, err) : 0;
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

static int parse_json(const char *text, size_t len, struct value **ret, struct err *err)
{
	CLEAN(value) struct value *flat = NULL;
	const int rc = json_conf_parse(text, len, &flat, err);
	if (rc < 0)
		return rc;
	*ret = flat_to_canonical(flat);
	return 0;
}

static int parse_toml(const char *text, size_t len, struct value **ret, struct err *err)
{
	CLEAN(value) struct value *table = NULL;
	const int rc = toml_parse(text, len, &table, err);
	if (rc < 0)
		return rc;
	*ret = value_get(table, "core_services") ? flat_to_canonical(table) : steal(table);
	return 0;
}

/* What editors of Windows put in front; columns of the first line do not count it. */
static void skip_byte_order_mark(const char **text, size_t *len)
{
	if (*len >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0) {
		*text += 3;
		*len -= 3;
	}
}

static enum cms_format guess_format(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'))
		i++;
	return i < len && text[i] == '{' ? CMS_FORMAT_JSON : CMS_FORMAT_TOML;
}

int cms_file_parse(const char *text, size_t len, enum cms_format *ret_format, struct value **ret,
		   struct err *err)
{
	CLEAN(value) struct value *document = NULL;

	skip_byte_order_mark(&text, &len);
	const enum cms_format format = guess_format(text, len);
	int rc = format == CMS_FORMAT_JSON ? parse_json(text, len, &document, err) :
					     parse_toml(text, len, &document, err);
	if (rc >= 0)
		rc = check_services(document, err);
	/* One code for the caller; which ceiling was passed is in the message. */
	if (rc < 0)
		return err_set(err, -EINVAL, "%s", err ? err->msg : "");
	*ret_format = format;
	*ret = steal(document);
	return 0;
}

/* ---- Writing cms.conf ---- */

static void write_value(struct buf *out, const struct value *value);

/* As Python's json module reads and writes them. */
static void write_float(struct buf *out, double number)
{
	char text[VALUE_FLOAT_SIZE];

	value_format_float(number, text);
	if (isfinite(number))
		(void)buf_adds(out, text);
	else
		(void)buf_adds(out, isnan(number) ? "NaN" : number < 0 ? "-Infinity" : "Infinity");
}

static void write_array(struct buf *out, const struct value *array)
{
	(void)buf_adds(out, "[");
	for (size_t i = 0; i < array->array.len; i++) {
		(void)buf_adds(out, i ? ", " : "");
		write_value(out, array->array.items[i]);
	}
	(void)buf_adds(out, "]");
}

static void write_table(struct buf *out, const struct value *table)
{
	(void)buf_adds(out, "{");
	for (size_t i = 0; i < table->table.len; i++) {
		(void)buf_adds(out, i ? ", " : "");
		value_quote(out, table->table.members[i].key, strlen(table->table.members[i].key));
		(void)buf_adds(out, ": ");
		write_value(out, table->table.members[i].value);
	}
	(void)buf_adds(out, "}");
}

/* Plain JSON for Python; value_to_json() has marks of our own for dates and infinities. */
static void write_value(struct buf *out, const struct value *value)
{
	switch (value->type) {
	case VALUE_BOOL:
		(void)buf_adds(out, value->boolean ? "true" : "false");
		break;
	case VALUE_INT:
		(void)buf_addf(out, "%" PRId64, value->integer);
		break;
	case VALUE_FLOAT:
		write_float(out, value->number);
		break;
	case VALUE_STRING:
	case VALUE_DATETIME:
		value_quote(out, value->text, value->text_len);
		break;
	case VALUE_ARRAY:
		write_array(out, value);
		break;
	case VALUE_TABLE:
		write_table(out, value);
		break;
	}
}

static void begin_member(struct buf *out, const char *name)
{
	(void)buf_adds(out, out->len > strlen("{") ? ",\n    " : "\n    ");
	value_quote(out, name, strlen(name));
	(void)buf_adds(out, ": ");
}

static void write_known(struct buf *out, const struct value *document)
{
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		if (!key->flat || !key->in_json || config_key_find_flat(key->flat) != key)
			continue;
		const struct value *value = value_get_path(document, key->path);
		if (!value && !key->nullable)
			continue;
		begin_member(out, key->flat);
		if (value)
			write_value(out, value);
		else
			(void)buf_adds(out, "null");
	}
}

/* One service a line. */
static void write_services(struct buf *out, const char *name, const struct value *services)
{
	const size_t len = services && services->type == VALUE_TABLE ? services->table.len : 0;

	begin_member(out, name);
	(void)buf_adds(out, "{");
	for (size_t i = 0; i < len; i++) {
		const struct value_member *member = &services->table.members[i];

		(void)buf_adds(out, i ? ",\n        " : "\n        ");
		value_quote(out, member->key, strlen(member->key));
		(void)buf_adds(out, ": ");
		write_value(out, member->value);
	}
	(void)buf_adds(out, len ? "\n    }" : "}");
}

static bool is_flat_name(const char *name)
{
	return config_key_find_flat(name) || str_eq(name, "core_services") ||
	       str_eq(name, "other_services");
}

/* Keys nobody knows came from a cms.conf, or an operator set them for one. */
static void write_unknown(struct buf *out, const struct value *document)
{
	const struct value *global = value_get(document, "global");
	if (!global || global->type != VALUE_TABLE)
		return;
	for (size_t i = 0; i < global->table.len; i++) {
		const struct value_member *member = &global->table.members[i];

		if (is_flat_name(member->key))
			continue;
		begin_member(out, member->key);
		write_value(out, member->value);
	}
}

static char *write_json(const struct value *document)
{
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, "{");
	write_known(&out, document);
	write_services(&out, "core_services", value_get(document, "services"));
	write_services(&out, "other_services", value_get(document, "other_services"));
	write_unknown(&out, document);
	(void)buf_adds(&out, "\n}\n");
	return buf_steal(&out);
}

/* ---- Writing cms.toml ---- */

static bool dropped_from_toml(const char *table, const char *name)
{
	CLEAN(str) char *path = xasprintf("%s.%s", table, name);
	const struct config_key *key = config_key_find(path);

	return key && !key->in_toml;
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
	case CMS_FORMAT_TOML:
		return write_toml(document);
	}
	return NULL;
}
