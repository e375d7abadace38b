/* SPDX-License-Identifier: MIT */
/*
 * The public toml-test corpus, version 1.0.0, from the folder that CMSNODE_SHARED
 * names. Every valid file must give what its JSON file states and survive being
 * written and read again; every invalid file must be refused.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/toml.h"

#define CORPUS "data/toml-test/tests"
#define LIST "files-toml-1.0.0"

/* Valid TOML that we refuse on purpose, and words of the message that says so. */
static const struct {
	const char *file;
	const char *message;
} refused_on_purpose[] = {
	/* A NUL parts path and value in digests of the store. */
	{ "valid/key/quoted-unicode.toml", "NUL" },
};

static int failures;

#define complain(file, ...)                            \
	do {                                           \
		(void)fprintf(stderr, "%s: ", (file)); \
		(void)fprintf(stderr, __VA_ARGS__);    \
		(void)fprintf(stderr, "\n");           \
		failures++;                            \
	} while (0)

/* ---- Files ---- */

static bool load(const char *name, struct buf *out)
{
	const char *shared = getenv("CMSNODE_SHARED");
	const char *srcdir = getenv("srcdir");
	CLEAN(str)
	char *folder = shared ? xstrdup(shared) : xasprintf("%s/../shared", srcdir ? srcdir : ".");
	CLEAN(str) char *path = xasprintf("%s/" CORPUS "/%s", folder, name);
	FILE *file = fopen(path, "rb");
	if (!file)
		return false;
	char chunk[4096];

	for (;;) {
		const size_t n = fread(chunk, 1, sizeof(chunk), file);
		if (n == 0)
			break;
		(void)buf_add(out, chunk, n);
	}
	(void)fclose(file);
	return true;
}

/* ---- Tagged values: {"type": "integer", "value": "42"} ---- */

static bool is_tagged(const struct value *json)
{
	return json->type == VALUE_TABLE && json->table.len == 2 &&
	       value_get_str(json, "type", NULL) && value_get_str(json, "value", NULL);
}

static bool same_float(const struct value *value, const char *expected)
{
	const double number = strtod(expected, NULL);

	if (value->type != VALUE_FLOAT)
		return false;
	return isnan(number) ? isnan(value->number) : value->number == number;
}

/* One way to write each date and time: T, Z, and no zeros at the end of a fraction. */
static char *normal_datetime(const char *text)
{
	char *copy = xstrdup(text);
	char *to = copy;

	for (const char *from = copy; *from; from++) {
		char c = *from == ' ' || *from == 't' ? 'T' : *from;

		c = c == 'z' ? 'Z' : c;
		*to++ = c;
		if (c != '.')
			continue;
		const size_t digits = strspn(from + 1, "0123456789");
		size_t kept = digits;

		while (kept && from[kept] == '0')
			kept--;
		memmove(to, from + 1, kept);
		to += kept;
		to -= kept == 0;
		from += digits;
	}
	*to = '\0';
	return copy;
}

static bool same_datetime(const struct value *value, const char *type, const char *expected)
{
	/* The kind shows in the text, so that equal texts are of equal kind. */
	const bool date = strcmp(type, "time-local") != 0;
	const bool time = strcmp(type, "date-local") != 0;

	if (value->type != VALUE_DATETIME || (strchr(value->text, ':') != NULL) != time ||
	    (strlen(value->text) > 4 && value->text[4] == '-') != date)
		return false;
	CLEAN(str) char *a = normal_datetime(value->text);
	CLEAN(str) char *b = normal_datetime(expected);

	return strcmp(a, b) == 0;
}

static bool same_tagged(const struct value *value, const struct value *tagged)
{
	const char *type = value_get_str(tagged, "type", "");
	const struct value *expected = value_get(tagged, "value");
	int64_t integer;

	if (strcmp(type, "string") == 0)
		return value_equal(value, expected);
	if (strcmp(type, "float") == 0)
		return same_float(value, expected->text);
	if (strcmp(type, "bool") == 0)
		return value->type == VALUE_BOOL &&
		       value->boolean == (strcmp(expected->text, "true") == 0);
	if (strcmp(type, "integer") == 0)
		return str_to_int64(expected->text, INT64_MIN, INT64_MAX, &integer) == 0 &&
		       value->type == VALUE_INT && value->integer == integer;
	return same_datetime(value, type, expected->text);
}

static bool same_value(const struct value *value, const struct value *json)
{
	if (is_tagged(json))
		return same_tagged(value, json);
	if (value->type != json->type)
		return false;
	if (json->type == VALUE_ARRAY) {
		bool same = value->array.len == json->array.len;

		for (size_t i = 0; same && i < json->array.len; i++)
			same = same_value(value->array.items[i], json->array.items[i]);
		return same;
	}
	bool same = json->type == VALUE_TABLE && value->table.len == json->table.len;

	for (size_t i = 0; same && i < json->table.len; i++) {
		const struct value *member = value_get(value, json->table.members[i].key);

		same = member && same_value(member, json->table.members[i].value);
	}
	return same;
}

/* ---- One file ---- */

static void check_round_trips(const char *name, const struct value *value)
{
	CLEAN(str) char *toml = toml_write(value);
	CLEAN(str) char *json = value_to_json(value);
	CLEAN(value) struct value *from_toml = NULL;
	CLEAN(value) struct value *from_json = NULL;
	struct err err = { 0 };

	if (toml_parse(toml, strlen(toml), &from_toml, &err) < 0)
		complain(name, "what was written cannot be read: %s\n%s", err.msg, toml);
	else if (!value_equal(value, from_toml))
		complain(name, "written and read again it differs:\n%s", toml);
	if (value_from_json(json, strlen(json), &from_json, &err) < 0)
		complain(name, "its JSON cannot be read: %s\n%s", err.msg, json);
	else if (!value_equal(value, from_json))
		complain(name, "its JSON reads back to something else:\n%s", json);
}

static const char *expected_refusal(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(refused_on_purpose); i++)
		if (strcmp(refused_on_purpose[i].file, name) == 0)
			return refused_on_purpose[i].message;
	return NULL;
}

static void check_valid(const char *name)
{
	CLEAN(buf) struct buf toml = BUF_INIT(0);
	CLEAN(buf) struct buf json = BUF_INIT(0);
	CLEAN(value) struct value *value = NULL;
	CLEAN(value) struct value *expected = NULL;
	CLEAN(str)
	char *json_name = xasprintf("%.*s.json", (int)(strlen(name) - strlen(".toml")), name);
	struct err err = { 0 };

	if (!load(name, &toml) || !load(json_name, &json)) {
		complain(name, "cannot read this file or its .json");
		return;
	}
	const int r = toml_parse(buf_str(&toml), toml.len, &value, &err);
	const char *refusal = expected_refusal(name);

	if (refusal) {
		if (r != -EINVAL || !strstr(err.msg, refusal))
			complain(name, "should be refused with '%s', got %d: %s", refusal, r,
				 err.msg);
		return;
	}
	if (r < 0 || value_from_json(buf_str(&json), json.len, &expected, &err) < 0) {
		complain(name, "%s", err.msg);
		return;
	}
	if (!same_value(value, expected))
		complain(name, "not the expected value");
	check_round_trips(name, value);
}

static void check_invalid(const char *name)
{
	CLEAN(buf) struct buf toml = BUF_INIT(0);
	CLEAN(value) struct value *value = NULL;
	struct err err = { 0 };

	if (!load(name, &toml)) {
		complain(name, "cannot read this file");
		return;
	}
	const int r = toml_parse(buf_str(&toml), toml.len, &value, &err);
	if (r != -EINVAL)
		complain(name, "should be refused, got %d", r);
	else if (strncmp(err.msg, "line ", 5) != 0)
		complain(name, "message without a place: %s", err.msg);
	else if (getenv("CMSNODE_SHOW_MESSAGES"))
		(void)printf("%s: %s\n", name, err.msg);
}

/* ---- The list ---- */

static void check_listed(const char *name, size_t *valid, size_t *invalid)
{
	if (str_ends(name, ".json"))
		return;
	if (!str_ends(name, ".toml")) {
		complain(name,
			 "neither .toml nor .json: this test does not know what to do with it");
	} else if (str_starts(name, "valid/")) {
		check_valid(name);
		++*valid;
	} else {
		check_invalid(name);
		++*invalid;
	}
}

static void test_corpus(void **state)
{
	(void)state;
	CLEAN(buf) struct buf list = BUF_INIT(0);
	CLEAN(str_list) struct str_list names = { 0 };
	size_t valid = 0;
	size_t invalid = 0;

	if (!load(LIST, &list)) {
		(void)printf("SKIP: no toml-test corpus: $CMSNODE_SHARED/" CORPUS "/" LIST "\n");
		skip();
	}
	str_list_split(&names, buf_str(&list), '\n');
	for (size_t i = 0; i < names.len; i++)
		check_listed(names.items[i], &valid, &invalid);
	(void)printf("%zu valid and %zu invalid files\n", valid, invalid);
	/* The corpus has more than 200 of either; a list that shrank is no proof. */
	assert_true(valid > 200 && invalid > 200);
	assert_int_equal(failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
