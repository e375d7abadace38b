/* SPDX-License-Identifier: MIT */
/*
 * The table of CMS's configuration keys and what follows from a single key: its
 * canonical name, its masking, the typing of a value that a person wrote. Must
 * never look at files, and never put a secret into a message.
 */
#include "cmsnode/config/keys.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/topology/catalogue.h"

#define MASK "***"

enum key_flag {
	TOML = 1 << CMS_FORMAT_TOML,
	JSON = 1 << CMS_FORMAT_JSON,
	FLAT = 1 << CMS_FORMAT_FLAT_TOML,
	OLD = JSON | FLAT,
	NEW = FLAT | TOML,
	ALL = JSON | FLAT | TOML,
	NULLABLE = 8,
	NULL_WRITTEN = NULLABLE | 16,
	SECRET = 32,
	SECRET_URL = SECRET | 64,
};

enum reader {
	NOBODY = 0,
	LS = 1 << CATALOGUE_LOG_SERVICE,
	RS = 1 << CATALOGUE_RESOURCE_SERVICE,
	SS = 1 << CATALOGUE_SCORING_SERVICE,
	CHECKER = 1 << CATALOGUE_CHECKER,
	ES = 1 << CATALOGUE_EVALUATION_SERVICE,
	WORKER = 1 << CATALOGUE_WORKER,
	CWS = 1 << CATALOGUE_CONTEST_WEB_SERVER,
	AWS = 1 << CATALOGUE_ADMIN_WEB_SERVER,
	PS = 1 << CATALOGUE_PROXY_SERVICE,
	PRINTING = 1 << CATALOGUE_PRINTING_SERVICE,
	EXPORTER = 1 << CATALOGUE_PROMETHEUS_EXPORTER,
	BOT = 1 << CATALOGUE_TELEGRAM_BOT,
	RWS = 1 << CATALOGUE_RANKING_WEB_SERVER,

	FILE_USERS = AWS | CWS | PRINTING | WORKER,
	DB_USERS = FILE_USERS | ES | SS | PS | EXPORTER | BOT,
	RPC_SERVICES = FILE_USERS | ES | SS | PS | EXPORTER | LS | RS | CHECKER,
};

#define ENTRY(path_, flat_, type_, item_, flags_, readers_)              \
	{                                                                \
		.path = (path_),                                         \
		.flat = (flat_),                                         \
		.type = (type_),                                         \
		.item = (item_),                                         \
		.formats = (flags_)&ALL,                                 \
		.nullable = ((flags_)&NULLABLE) != 0,                    \
		.null_written = ((flags_)&NULL_WRITTEN) == NULL_WRITTEN, \
		.secret = ((flags_)&SECRET) != 0,                        \
		.url = ((flags_)&SECRET_URL) == SECRET_URL,              \
		.readers = (readers_),                                   \
	},
#define KEY(path, flat, type, flags, readers) \
	ENTRY(path, flat, VALUE_##type, VALUE_##type, flags, readers)
#define LIST(path, flat, item, flags, readers) \
	ENTRY(path, flat, VALUE_ARRAY, VALUE_##item, flags, readers)

static const struct config_key keys[] = {
#include "keys.def"
};

static bool is_ranking(const struct config_key *key)
{
	return str_starts(key->path, "ranking.");
}

const struct config_key *config_key_find(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(keys[i].path, path) == 0)
			return &keys[i];
	return NULL;
}

const struct config_key *config_key_find_flat(const char *flat)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (config_key_is_flat(&keys[i]) && strcmp(keys[i].flat, flat) == 0)
			return &keys[i];
	return NULL;
}

bool config_key_is_flat(const struct config_key *key)
{
	return key->flat && !is_ranking(key);
}

size_t config_key_count(void)
{
	return ARRAY_LEN(keys);
}

const struct config_key *config_key_at(size_t i)
{
	return &keys[i];
}

const char *config_type_phrase(enum value_type type)
{
	static const char *const phrases[] = {
		[VALUE_BOOL] = "a boolean",	     [VALUE_INT] = "an integer",
		[VALUE_FLOAT] = "a float",	     [VALUE_STRING] = "a string",
		[VALUE_DATETIME] = "a date or time", [VALUE_ARRAY] = "a list",
		[VALUE_TABLE] = "a table",
	};

	return phrases[type];
}

const char *config_key_nearest(const char *path)
{
	const char *names[2 * ARRAY_LEN(keys)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		names[n++] = keys[i].path;
		if (config_key_is_flat(&keys[i]))
			names[n++] = keys[i].flat;
	}
	return str_nearest(path, names, n);
}

const char *config_key_canonical(const char *path_or_flat)
{
	const struct config_key *key = config_key_find_flat(path_or_flat);
	if (key)
		return key->path;
	return strchr(path_or_flat, '.') ? path_or_flat : NULL;
}

/* Copies a query or libpq-like part; the value of each "...password=" becomes the mask. */
static void mask_parameters(struct buf *out, const char *query)
{
	while (*query) {
		const size_t len = strcspn(query, "&");
		const char *equals = memchr(query, '=', len);
		const size_t name_len = equals ? (size_t)(equals - query) : 0;

		if (name_len >= 8 && strncasecmp(equals - 8, "password", 8) == 0) {
			(void)buf_add(out, query, name_len);
			(void)buf_adds(out, "=" MASK);
		} else {
			(void)buf_add(out, query, len);
		}
		query += len;
		if (*query)
			(void)buf_add(out, query++, 1);
	}
}

/*
 * The password ends at the last '@', since an unquoted one may hold '/' and '@';
 * where that is wrong, more is hidden than needed, never less.
 */
static char *mask_url(const char *url)
{
	CLEAN(buf) struct buf out = BUF_INIT(0);
	const char *authority = strstr(url, "://");
	if (!authority)
		return xstrdup(MASK);
	authority += 3;
	const char *at = strrchr(authority, '@');
	const char *colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
	const char *rest = authority;

	(void)buf_add(&out, url, (size_t)(authority - url));
	if (colon) {
		(void)buf_add(&out, authority, (size_t)(colon - authority));
		(void)buf_adds(&out, ":" MASK);
		rest = at;
	}
	const size_t plain = strcspn(rest, "?&");

	(void)buf_add(&out, rest, plain);
	if (rest[plain]) {
		(void)buf_add(&out, rest + plain, 1);
		mask_parameters(&out, rest + plain + 1);
	}
	return buf_steal(&out);
}

static struct value *mask_text(const struct config_key *key, const struct value *value)
{
	if (!key->url || value->type != VALUE_STRING)
		return value_new_string(MASK);
	CLEAN(str) char *masked = mask_url(value->text);

	return value_new_string(masked);
}

static struct value *mask_secret(const struct config_key *key, const struct value *value)
{
	if (value->type != VALUE_ARRAY || !key->url)
		return mask_text(key, value);
	struct value *list = value_new_array();

	for (size_t i = 0; i < value->array.len; i++)
		value_array_add(list, mask_text(key, value->array.items[i]));
	return list;
}

static struct value *mask_table(const char *path, const struct value *table)
{
	struct value *masked = value_new_table();

	for (size_t i = 0; i < table->table.len; i++) {
		const struct value_member *member = &table->table.members[i];
		CLEAN(str)
		char *inner = *path ? xasprintf("%s.%s", path, member->key) : xstrdup(member->key);

		value_set(masked, member->key, config_mask(inner, member->value));
	}
	return masked;
}

static bool is_nearest_to_secret(const char *name)
{
	const char *nearest = config_key_nearest(name);
	if (!nearest)
		return false;
	const struct config_key *key = config_key_find(nearest);

	return (key ? key : config_key_find_flat(nearest))->secret;
}

/* CMS ignores a key that it does not know, so a misspelt secret stays one for years. */
static bool may_be_secret(const char *path)
{
	const char *dot = strrchr(path, '.');

	return is_nearest_to_secret(path) || (dot && is_nearest_to_secret(dot + 1));
}

/* `secret`: what the key seems to be, found once for a long list. */
static struct value *mask_unknown(const char *path, const struct value *value, bool secret)
{
	if (value->type == VALUE_TABLE)
		return mask_table(path, value);
	if (value->type == VALUE_STRING && secret)
		return value_new_string(MASK);
	if (value->type != VALUE_ARRAY)
		return value_clone(value);
	struct value *masked = value_new_array();

	for (size_t i = 0; i < value->array.len; i++)
		value_array_add(masked, mask_unknown(path, value->array.items[i], secret));
	return masked;
}

struct value *config_mask(const char *path, const struct value *value)
{
	const struct config_key *key = config_key_find(path);
	const bool may_hold = value->type == VALUE_STRING || value->type == VALUE_ARRAY;
	struct value *masked;

	/* "database": the table of cms.toml, or cms.conf's flat key, which is never one. */
	if (!key && value->type != VALUE_TABLE)
		key = config_key_find_flat(path);
	if (!key)
		masked = mask_unknown(path, value, may_hold && may_be_secret(path));
	else if (key->secret)
		masked = mask_secret(key, value);
	else if (value->type == VALUE_TABLE)
		masked = mask_table(path, value);
	else
		masked = value_clone(value);
	masked->line = value->line;
	return masked;
}

static const char *type_example(const struct config_key *key)
{
	switch (key->type) {
	case VALUE_BOOL:
		return "true";
	case VALUE_INT:
		return "10";
	case VALUE_FLOAT:
		return "1.5";
	case VALUE_STRING:
		return "\"text\"";
	case VALUE_ARRAY:
		return key->item == VALUE_INT	 ? "[8888, 8889]" :
		       key->item == VALUE_STRING ? "[\"a\", \"b\"]" :
						   "[[\"host\", 26000]]";
	case VALUE_DATETIME:
	case VALUE_TABLE:
		break;
	}
	return "";
}

static int value_refused(const struct config_key *key, const char *text, struct err *err)
{
	const bool list = key->type == VALUE_ARRAY;
	CLEAN(str)
	char *wanted = xasprintf("%s%s%s%s; write it like %s", config_type_phrase(key->type),
				 list ? " of " : "", list ? value_type_name(key->item) : "",
				 list ? "s" : "", type_example(key));

	if (key->secret)
		return err_set(err, -EINVAL, "%s: the value given (secret, so not shown) is not %s",
			       key->path, wanted);
	return err_set(err, -EINVAL, "%s: '%.*s' is not %s", key->path,
		       (int)value_utf8_span(text, strnlen(text, 200)), text, wanted);
}

/* `text` read as what stands right of a TOML "=", or NULL. */
static struct value *toml_value(const char *text)
{
	CLEAN(str) char *line = xasprintf("v = %s\n", text);
	CLEAN(value) struct value *table = NULL;

	if (toml_parse(line, strlen(line), &table, NULL) < 0)
		return NULL;
	/* More than one key: the text had a line break in it and went on. */
	if (table->table.len != 1)
		return NULL;
	struct value *value = value_clone(value_get(table, "v"));

	if (value)
		value->line = 0;
	return value;
}

static bool items_fit(const struct config_key *key, const struct value *value)
{
	if (value->type != VALUE_ARRAY)
		return true;
	for (size_t i = 0; i < value->array.len; i++)
		if (value->array.items[i]->type != key->item)
			return false;
	return true;
}

/* A string written by a person is the text as it stands, unless it is quoted as TOML. */
static struct value *string_value(const char *text)
{
	if (*text == '"' || *text == '\'') {
		struct value *quoted = toml_value(text);
		if (quoted && quoted->type == VALUE_STRING)
			return quoted;
		value_free(quoted);
	}
	return value_utf8_span(text, strlen(text)) == strlen(text) ? value_new_string(text) : NULL;
}

static int known_value(const struct config_key *key, const char *text, struct value **ret,
		       struct err *err)
{
	CLEAN(value)
	struct value *value = key->type == VALUE_STRING ? string_value(text) : toml_value(text);
	if (!value)
		return value_refused(key, text, err);
	if (key->type == VALUE_FLOAT && value->type == VALUE_INT) {
		struct value *number = value_new_float((double)value->integer);

		value_free(value);
		value = number;
	}
	if (value->type != key->type || !items_fit(key, value))
		return value_refused(key, text, err);
	*ret = steal(value);
	return 0;
}

int config_value_parse(const char *path, const char *text, struct value **ret, struct err *err)
{
	const struct config_key *key = config_key_find(path);
	if (key)
		return known_value(key, text, ret, err);
	struct value *value = toml_value(text);
	if (!value)
		value = string_value(text);
	if (!value)
		return err_set(err, -EINVAL, "%s: the value is not UTF-8 text", path);
	*ret = value;
	return 0;
}
