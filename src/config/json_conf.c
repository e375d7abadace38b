/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes the JSON of a cms.conf. cJSON judges the syntax and decodes the
 * strings; a walk over the text beside its tree gives what cJSON loses (the lines,
 * the digits of the numbers, where null stood) and refuses what cJSON lets through
 * but Python's reader, so CMS, does not. Must never know what a key means.
 */
#include "cmsnode/config/json_conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
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
	struct value *nulls; /* as the caller gets them */
	const char *outer; /* the outermost key that is being read */
	struct err *err;
};

#define reader_error(r, code, at, ...) \
	value_text_error((r)->err, (code), (r)->text, (at), __VA_ARGS__)

static int read_value(struct reader *r, const cJSON *node, struct value **ret);

/* check_text() has refused the other control characters, which cJSON takes for blanks too. */
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

/* At a backslash. cJSON takes \\u with anything behind it that is no hexadecimal for NUL. */
static int check_escape(struct reader *r)
{
	static const char hex[] = "0123456789abcdefABCDEF";

	if (r->p[1] != 'u')
		return 0;
	if (strspn(r->p + 2, hex) < 4)
		return reader_error(r, -EINVAL, r->p,
				    "expected 4 hexadecimal digits in a \\u escape");
	if (strncmp(r->p, "\\u0000", 6) == 0)
		return reader_error(r, -EINVAL, r->p, "a text may not hold the character NUL");
	return 0;
}

static int skip_string(struct reader *r)
{
	skip_blanks(r);
	for (r->p++; *r->p != '"'; r->p++) {
		if ((unsigned char)*r->p < ' ')
			return reader_error(r, -EINVAL, r->p,
					    "a text may not hold a line end or tab as it is; "
					    "write \\n or \\t");
		if (*r->p != '\\')
			continue;
		const int rc = check_escape(r);
		if (rc < 0)
			return rc;
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

/* ---- NaN, Infinity, -Infinity ---- */

static const struct {
	const char *word;
	const char *stand_in; /* a number as long as the word */
	double number;
} words[] = {
	{ "NaN", "0.0", NAN },
	{ "Infinity", "0.000000", INFINITY },
	{ "-Infinity", "-0.000000", -INFINITY },
};

/* Index of the word that begins at s, or ARRAY_LEN(words). */
static size_t word_at(const char *s)
{
	size_t i = 0;

	while (i < ARRAY_LEN(words) && !str_starts(s, words[i].word))
		i++;
	return i;
}

static bool may_join_word(char c)
{
	return isalnum((unsigned char)c) || (c != '\0' && strchr("+-._", c));
}

/*
 * A copy in which numbers of the same length stand for the words, since Python
 * reads and writes them and cJSON does not. The caller frees.
 */
static char *without_words(const char *text, size_t len)
{
	char *copy = xstrndup(text, len);
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (copy[i] == '"')
			in_string = !in_string;
		else if (in_string && copy[i] == '\\' && i + 1 < len)
			i++;
		if (in_string || (i && may_join_word(text[i - 1])))
			continue;
		const size_t word = word_at(copy + i);
		if (word == ARRAY_LEN(words))
			continue;
		const size_t word_len = strlen(words[word].word);

		if (!may_join_word(copy[i + word_len]))
			memcpy(copy + i, words[word].stand_in, word_len);
	}
	return copy;
}

static int read_number(struct reader *r, const cJSON *node, struct value **ret)
{
	const size_t word = word_at(r->p);
	if (word < ARRAY_LEN(words)) {
		r->p += strlen(words[word].word);
		*ret = value_new_float(words[word].number);
		return 0;
	}
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

/* The table of nulls that the current object has its place in; NULL: it is too deep for one. */
static struct value *nulls_here(struct reader *r, bool make)
{
	if (r->depth > 2)
		return NULL;
	if (r->depth == 1)
		return r->nulls;
	if (make && !value_get(r->nulls, r->outer))
		value_set(r->nulls, r->outer, value_new_table());
	return value_get(r->nulls, r->outer);
}

static void note_null(struct reader *r, const char *key, int line)
{
	struct value *nulls = nulls_here(r, true);
	if (!nulls)
		return;
	struct value *null = value_new_bool(true);

	null->line = line;
	value_set(nulls, key, null);
}

static int read_member(struct reader *r, const cJSON *child, struct value *table)
{
	struct value *value = NULL;

	skip_blanks(r);
	if (++r->keys > JSON_CONF_MAX_KEYS)
		return reader_error(r, -E2BIG, r->p, "more than %d keys", JSON_CONF_MAX_KEYS);
	int rc = skip_string(r);
	if (rc < 0)
		return rc;
	skip_sign(r); /* ':' */
	(void)value_remove(nulls_here(r, false), child->string);
	if (r->depth == 1)
		r->outer = child->string;
	rc = read_value(r, child, &value);
	if (rc < 0)
		return rc;
	/* The last of equal keys counts, also when it is null. */
	if (value) {
		value_set(table, child->string, value);
		return 0;
	}
	(void)value_remove(table, child->string);
	note_null(r, child->string, r->line);
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

/* Characters that Python's reader refuses outside of texts, where cJSON takes them for blanks. */
static const char *bad_control(const char *text, size_t len)
{
	for (const char *p = text; p < text + len; p++)
		if ((unsigned char)*p < ' ' && *p != '\t' && *p != '\n' && *p != '\r')
			return p;
	return NULL;
}

static int check_text(const char *text, size_t len, struct err *err)
{
	if (len > JSON_CONF_MAX_SIZE)
		return value_text_error(err, -E2BIG, text, text,
					"the text has %zu bytes, more than the %u that are read",
					len, JSON_CONF_MAX_SIZE);
	const size_t valid = value_utf8_span(text, len);
	if (valid < len)
		return value_text_error(err, -EINVAL, text, text + valid,
					"not UTF-8; save the file as UTF-8");
	const char *control = bad_control(text, len);
	if (control)
		return value_text_error(err, -EINVAL, text, control,
					"the control character U+%04X has no place in a text file",
					(unsigned int)(unsigned char)*control);
	return 0;
}

int json_conf_parse(const char *text, size_t len, struct value **ret, struct value **ret_nulls,
		    struct err *err)
{
	int rc = check_text(text, len, err);
	if (rc < 0)
		return rc;
	CLEAN(str) char *plain = without_words(text, len);
	CLEAN(json) struct cJSON *json = json_parse(plain, len, err);
	if (!json)
		return -EINVAL;
	if (!cJSON_IsObject(json))
		return value_text_error(err, -EINVAL, text, text,
					"not a JSON object; a cms.conf begins with '{'");
	CLEAN(value) struct value *nulls = value_new_table();
	struct reader r = { .text = text, .p = text, .line = 1, .nulls = nulls, .err = err };

	rc = read_value(&r, json, ret);
	if (rc == 0 && ret_nulls)
		*ret_nulls = steal(nulls);
	return rc;
}

/* ---- Writing ---- */

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
		json_conf_write_value(out, array->array.items[i]);
	}
	(void)buf_adds(out, "]");
}

static void write_table(struct buf *out, const struct value *table)
{
	(void)buf_adds(out, "{");
	for (size_t i = 0; i < table->table.len; i++) {
		const struct value_member *member = &table->table.members[i];

		(void)buf_adds(out, i ? ", " : "");
		value_quote(out, member->key, strlen(member->key));
		(void)buf_adds(out, ": ");
		json_conf_write_value(out, member->value);
	}
	(void)buf_adds(out, "}");
}

void json_conf_write_value(struct buf *out, const struct value *value)
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

void json_conf_begin_member(struct buf *out, const char *name)
{
	(void)buf_adds(out, out->len > strlen("{") ? ",\n    " : "\n    ");
	value_quote(out, name, strlen(name));
	(void)buf_adds(out, ": ");
}

void json_conf_write_member(struct buf *out, const char *name, const struct value *value)
{
	json_conf_begin_member(out, name);
	if (value)
		json_conf_write_value(out, value);
	else
		(void)buf_adds(out, "null");
}
