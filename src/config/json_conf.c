/* SPDX-License-Identifier: MIT */
/*
 * Reads the JSON of a cms.conf. cJSON judges the syntax and decodes the strings;
 * a walk over the text beside its tree gives what cJSON loses: the lines, and
 * the digits of the numbers. Must never know what a key means.
 */
#include "cmsnode/config/json_conf.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"

/* Walks text that cJSON has accepted: it need not look for the end. */
struct reader {
	const char *text;
	const char *p;
	int line;
	int depth;
	size_t keys;
	struct err *err;
};

#define reader_error(r, code, at, ...) \
	value_text_error((r)->err, (code), (r)->text, (at), __VA_ARGS__)

static int read_value(struct reader *r, const cJSON *node, struct value **ret);

/* cJSON takes all control characters for blanks. */
static void skip_blanks(struct reader *r)
{
	for (; (unsigned char)*r->p <= ' '; r->p++)
		r->line += *r->p == '\n';
}

static void skip_sign(struct reader *r)
{
	skip_blanks(r);
	r->p++;
}

static int skip_string(struct reader *r)
{
	skip_blanks(r);
	for (r->p++; *r->p != '"'; r->p++) {
		r->line += *r->p == '\n';
		if (*r->p != '\\')
			continue;
		if (strncmp(r->p, "\\u0000", 6) == 0)
			return reader_error(r, -EINVAL, r->p,
					    "a text may not hold the character NUL");
		r->p++;
	}
	r->p++;
	return 0;
}

static size_t digits(const char *s)
{
	return strspn(s, "0123456789");
}

/* cJSON lets some through that Python's reader, so CMS, refuses ("01", "1."). */
static bool is_json_number(const char *s)
{
	s += *s == '-';
	const size_t whole = digits(s);
	if (whole == 0 || (whole > 1 && *s == '0'))
		return false;
	s += whole;
	if (*s == '.') {
		if (digits(s + 1) == 0)
			return false;
		s += 1 + digits(s + 1);
	}
	if (*s == 'e' || *s == 'E') {
		s += s[1] == '-' || s[1] == '+' ? 2 : 1;
		if (digits(s) == 0)
			return false;
		s += digits(s);
	}
	return *s == '\0';
}

static int read_number(struct reader *r, const cJSON *node, struct value **ret)
{
	const char *at = r->p;
	const size_t len = strspn(at, "+-.eE0123456789");
	CLEAN(str) char *text = xstrndup(at, len);
	int64_t integer;

	r->p += len;
	if (!is_json_number(text))
		return reader_error(r, -EINVAL, at, "'%s' is not a number in JSON", text);
	if (strpbrk(text, ".eE")) {
		if (!isfinite(node->valuedouble))
			return reader_error(r, -EINVAL, at, "the number %s is too large", text);
		*ret = value_new_float(node->valuedouble);
		return 0;
	}
	if (str_to_int64(text, INT64_MIN, INT64_MAX, &integer) < 0)
		return reader_error(r, -EINVAL, at, "the number %s does not fit 64 bits", text);
	*ret = value_new_int(integer);
	return 0;
}

static int read_array(struct reader *r, const cJSON *node, struct value **ret)
{
	CLEAN(value) struct value *array = value_new_array();
	const cJSON *child;

	cJSON_ArrayForEach(child, node) {
		struct value *item = NULL;

		skip_sign(r); /* '[' or ',' */
		skip_blanks(r);
		const char *at = r->p;
		const int rc = read_value(r, child, &item);
		if (rc < 0)
			return rc;
		if (!item)
			return reader_error(r, -EINVAL, at, "null inside a list; take it out");
		value_array_add(array, item);
	}
	if (!node->child)
		skip_sign(r);
	skip_sign(r);
	*ret = steal(array);
	return 0;
}

static int read_member(struct reader *r, const cJSON *child, struct value *table)
{
	struct value *value = NULL;

	if (++r->keys > JSON_CONF_MAX_KEYS)
		return reader_error(r, -E2BIG, r->p, "more than %d keys", JSON_CONF_MAX_KEYS);
	int rc = skip_string(r);
	if (rc < 0)
		return rc;
	skip_sign(r); /* ':' */
	rc = read_value(r, child, &value);
	if (rc < 0)
		return rc;
	/* The last of equal keys counts, also when it is null. */
	if (value)
		value_set(table, child->string, value);
	else
		(void)value_remove(table, child->string);
	return 0;
}

static int read_object(struct reader *r, const cJSON *node, struct value **ret)
{
	CLEAN(value) struct value *table = value_new_table();
	const cJSON *child;

	cJSON_ArrayForEach(child, node) {
		skip_sign(r); /* '{' or ',' */
		const int rc = read_member(r, child, table);
		if (rc < 0)
			return rc;
	}
	if (!node->child)
		skip_sign(r);
	skip_sign(r);
	*ret = steal(table);
	return 0;
}

static int read_scalar(struct reader *r, const cJSON *node, struct value **ret)
{
	if (cJSON_IsNumber(node))
		return read_number(r, node, ret);
	if (cJSON_IsString(node)) {
		*ret = value_new_string(node->valuestring);
		return skip_string(r);
	}
	if (cJSON_IsBool(node))
		*ret = value_new_bool(cJSON_IsTrue(node));
	r->p += cJSON_IsFalse(node) ? strlen("false") : strlen("true"); /* null is as long */
	return 0;
}

/* Null gives 0 and leaves *ret as it is. */
static int read_value(struct reader *r, const cJSON *node, struct value **ret)
{
	CLEAN(value) struct value *value = NULL;
	int rc;

	skip_blanks(r);
	const int line = r->line;

	if (++r->depth > JSON_CONF_MAX_DEPTH)
		return reader_error(r, -E2BIG, r->p, "nested deeper than %d", JSON_CONF_MAX_DEPTH);
	if (cJSON_IsObject(node))
		rc = read_object(r, node, &value);
	else if (cJSON_IsArray(node))
		rc = read_array(r, node, &value);
	else
		rc = read_scalar(r, node, &value);
	if (rc < 0)
		return rc;
	r->depth--;
	if (value) {
		value->line = line;
		*ret = steal(value);
	}
	return 0;
}

static int check_text(const char *text, size_t len, struct err *err)
{
	if (len > JSON_CONF_MAX_SIZE)
		return err_set(err, -E2BIG,
			       "the file has %zu bytes, more than the %u that are read", len,
			       JSON_CONF_MAX_SIZE);
	const size_t valid = value_utf8_span(text, len);
	if (valid < len)
		return value_text_error(err, -EINVAL, text, text + valid,
					"not UTF-8; save the file as UTF-8");
	const char *nul = memchr(text, '\0', len);
	if (nul)
		return value_text_error(err, -EINVAL, text, nul,
					"a byte 0 has no place in a text file");
	return 0;
}

int json_conf_parse(const char *text, size_t len, struct value **ret, struct err *err)
{
	const int rc = check_text(text, len, err);
	if (rc < 0)
		return rc;
	CLEAN(json) struct cJSON *json = json_parse(text, len, err);
	if (!json)
		return -EINVAL;
	if (!cJSON_IsObject(json))
		return err_set(err, -EINVAL,
			       "line 1: not a JSON object; a cms.conf begins with '{'");
	struct reader r = { .text = text, .p = text, .line = 1, .err = err };

	return read_value(&r, json, ret);
}
