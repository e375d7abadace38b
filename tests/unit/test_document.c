/* SPDX-License-Identifier: MIT */
/* The document model, its JSON, and what both text formats share. */
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
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"

static struct value *must_read(const char *json)
{
	struct value *value = NULL;
	struct err err = { 0 };

	if (value_from_json(json, strlen(json), &value, &err) < 0)
		fail_msg("%s\nin: %s", err.msg, json);
	return value;
}

/* ---- Tables ---- */

static void test_paths(void **state)
{
	(void)state;
	CLEAN(value) struct value *table = value_new_table();

	value_set_path(table, "database.url", value_new_string("one"));
	value_set_path(table, "database.url", value_new_string("two"));
	value_set_path(table, "database.debug", value_new_bool(true));
	value_set_path(table, "port", value_new_int(8890));
	value_set_path(table, "port.a.b", value_new_int(1)); /* replaces what is no table */
	value_set(table, "x.y", value_new_int(2));
	static const struct {
		const char *path;
		const char *str;
		int64_t integer;
	} expected[] = {
		{ "database.url", "two", -1 },
		{ "database.debug", "none", -1 },
		{ "database", "none", -1 },
		{ "port.a.b", "none", 1 },
		{ "port", "none", -1 },
		{ "x.y", "none", -1 },
		{ "no.such", "none", -1 },
		{ "port.a.b.c", "none", -1 },
		{ "", "none", -1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		assert_string_equal(value_get_str(table, expected[i].path, "none"),
				    expected[i].str);
		assert_int_equal(value_get_int(table, expected[i].path, -1), expected[i].integer);
	}
	assert_int_equal(value_get(table, "x.y")->integer, 2);
	assert_null(value_get(NULL, "x"));
	assert_null(value_get_path(NULL, "x.y"));
	assert_null(value_get(value_get(table, "x.y"), "x"));
}

static void test_set_and_remove(void **state)
{
	(void)state;
	CLEAN(value) struct value *table = must_read("{\"a\":1,\"b\":2,\"c\":3}");
	CLEAN(value) struct value *expected = must_read("{\"c\":3,\"a\":{}}");

	assert_true(value_remove(table, "b"));
	assert_false(value_remove(table, "b"));
	assert_false(value_remove(value_get(table, "a"), "b"));
	value_set(table, "a", value_new_table());
	value_set(table, "a", value_get(table, "a")); /* itself */
	assert_true(value_equal(table, expected));
	assert_string_equal(table->table.members[0].key, "a");
	assert_string_equal(table->table.members[1].key, "c");
}

/* Keys that are beginnings of each other, and such that differ late or in their high bits. */
static char *make_key(int kind, int i)
{
	char *key;

	switch (kind) {
	case 0:
		return xasprintf("key-%d", i);
	case 1:
		return xasprintf("%x.shared-ending", (unsigned int)i * 2654435761u);
	case 2:
		key = xmalloc((size_t)i + 1);
		memset(key, 'a', (size_t)i);
		key[i] = '\0';
		return key;
	default:
		return xasprintf("%c%c\xc3%c", 1 + i % 127, i % 2 ? 0xff : 1, 0x80 + i / 127);
	}
}

static void check_large_table(int kind, int n)
{
	CLEAN(value) struct value *table = value_new_table();

	for (int i = 0; i < n; i++) {
		CLEAN(str) char *key = make_key(kind, i);

		assert_null(value_get(table, key));
		value_set(table, key, value_new_int(-1));
		value_set(table, key, value_new_int(i));
	}
	CLEAN(value) struct value *clone = value_clone(table);

	assert_int_equal(table->table.len, n);
	assert_true(value_equal(table, clone));
	for (int i = 0; i < n; i += 3) {
		CLEAN(str) char *key = make_key(kind, i);

		assert_true(value_remove(table, key));
	}
	for (int i = 0; i < n; i++) {
		CLEAN(str) char *key = make_key(kind, i);

		assert_string_equal(clone->table.members[i].key, key);
		assert_int_equal(value_get_int(clone, "nothing", -7), -7);
		assert_int_equal(value_get(clone, key)->integer, i);
		assert_int_equal(value_get(table, key) != NULL, i % 3 != 0);
	}
	assert_false(value_equal(table, clone));
}

static void test_large_tables(void **state)
{
	(void)state;
	/* Around the size from which a table has an index, and far beyond. */
	static const int sizes[] = { 1, 8, 15, 16, 17, 33, 500 };

	for (int kind = 0; kind < 4; kind++)
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			check_large_table(kind, sizes[i]);
}

static void test_order_is_kept(void **state)
{
	(void)state;
	static const char json[] = "{\"z\":1,\"a\":[{\"y\":2,\"b\":3}],\"m\":{}}";
	CLEAN(value) struct value *value = must_read(json);
	CLEAN(value) struct value *clone = value_clone(value);
	CLEAN(str) char *text = value_to_json(clone);

	assert_string_equal(text, json);
	assert_null(value_clone(NULL));
}

/* ---- Equality ---- */

static void test_equal(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		bool equal;
	} pairs[] = {
		{ "1", "1", true },
		{ "1", "1.0", false },
		{ "1.0", "1e0", true },
		{ "0.0", "-0.0", false },
		{ "0", "-0", true },
		{ "{\"$float\":\"nan\"}", "{\"$float\":\"nan\"}", true },
		{ "{\"$float\":\"inf\"}", "{\"$float\":\"-inf\"}", false },
		{ "true", "false", false },
		{ "true", "1", false },
		{ "\"a\"", "\"a\\u0000\"", false },
		{ "\"a\\u0000b\"", "\"a\\u0000c\"", false },
		{ "\"10:00:00\"", "{\"$datetime\":\"10:00:00\"}", false },
		{ "[1,2]", "[2,1]", false },
		{ "[1]", "[1,2]", false },
		{ "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true },
		{ "{\"a\":1}", "{\"a\":1,\"b\":2}", false },
		{ "{\"a\":1,\"c\":2}", "{\"a\":1,\"b\":2}", false },
		{ "{}", "[]", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		CLEAN(value) struct value *a = must_read(pairs[i].a);
		CLEAN(value) struct value *b = must_read(pairs[i].b);
		CLEAN(value) struct value *clone = value_clone(a);

		if (value_equal(a, b) != pairs[i].equal || value_equal(b, a) != pairs[i].equal)
			fail_msg("%s and %s", pairs[i].a, pairs[i].b);
		assert_true(value_equal(a, clone));
		assert_false(value_equal(a, NULL));
	}
}

/* ---- JSON ---- */

static void test_json_round_trips(void **state)
{
	(void)state;
	/* expected NULL: as the text itself */
	static const struct {
		const char *json;
		const char *expected;
	} cases[] = {
		{ "true", NULL },
		{ "-9223372036854775808", NULL },
		{ "9223372036854775807", NULL },
		{ "9007199254740993", NULL },
		{ "0.1", NULL },
		{ "-0.0", NULL },
		{ "1e+22", NULL },
		{ "5e-324", "4.94065645841247e-324" },
		{ "1.7976931348623157e308", "1.7976931348623157e+308" },
		{ "0.30000000000000004", NULL },
		{ "100.0", NULL },
		{ "1E2", "100.0" },
		{ "{\"$float\":\"inf\"}", NULL },
		{ "{\"$float\":\"-inf\"}", NULL },
		{ "{\"$float\":\"nan\"}", NULL },
		{ "{\"$datetime\":\"2026-11-22T10:00:00Z\"}", NULL },
		{ "{\"$table\":{\"$float\":\"inf\"}}", NULL },
		{ "{\"$table\":{\"$datetime\":1}}", NULL },
		{ "{\"$table\":{\"$table\":{}}}", NULL },
		{ "{\"$table\":{}}", "{}" },
		{ "{\"$table\":{\"a\":1}}", "{\"a\":1}" },
		{ "{\"$float\":1,\"b\":2}", NULL },
		{ "{\"\\u0024float\":\"nan\"}", "{\"$float\":\"nan\"}" },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f\\u00e9\\ud834\\udd1e\"",
		  "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f\xc3\xa9\xf0\x9d\x84\x9e\"" },
		{ " [ \"true\" , [ ] ,\n{ \"n:1\" : -1 } ] ", "[\"true\",[],{\"n:1\":-1}]" },
		{ "{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}" },
		{ "{\"\":{\"\":[]}}", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(value) struct value *value = must_read(cases[i].json);
		CLEAN(str) char *text = value_to_json(value);
		CLEAN(value) struct value *again = must_read(text);
		CLEAN(json) struct cJSON *tree = value_to_cjson(value);
		CLEAN(str) char *tree_text = json_text(tree);
		CLEAN(value) struct value *from_tree = must_read(tree_text);

		assert_string_equal(text, cases[i].expected ? cases[i].expected : cases[i].json);
		assert_true(value_equal(value, again));
		assert_true(value_equal(value, from_tree));
	}
}

static void test_json_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		const char *message; /* how it begins */
	} cases[] = {
		{ "", "line 1, column 1: not valid JSON" },
		{ "[1,]", "line 1, column 4: not valid JSON" },
		{ "1 2", "line 1, column 3: not valid JSON" },
		{ "\"\xff\"", "line 1, column 2: not valid UTF-8" },
		{ "null", "line 1, column 1: null has no place" },
		{ "{\"\xc3\xa9\":\n [\"\xc3\xa9\", null]}", "line 2, column 8: null has no place" },
		{ "[1, 9223372036854775808]",
		  "line 1, column 5: integer 9223372036854775808 is beyond" },
		{ "-9223372036854775809",
		  "line 1, column 1: integer -9223372036854775809 is beyond" },
		{ "1e999", "line 1, column 1: number 1e999 is too large" },
		{ "[01]", "line 1, column 2: not a number of JSON: 01" },
		{ "[1.]", "line 1, column 2: not a number of JSON: 1." },
		{ "[-.5]", "line 1, column 2: not a number of JSON: -.5" },
		{ "[1, -01.5]", "line 1, column 5: not a number of JSON: -01.5" },
		{ "\"a\nb\"", "line 1, column 3: control character in a string" },
		{ "\"\\uzzzz\"", "line 1, column 2: expected \\u and" },
		{ "{\"a\\u0000b\":1}", "line 1, column 2: a key must not hold a NUL character" },
		{ "{\"$float\\u0000\":\"inf\"}",
		  "line 1, column 2: a key must not hold a NUL character" },
		{ "{\"$float\":\"1\"}", "line 1, column 2: $float must be" },
		{ "{\"$float\":\"inf\\u0000\"}", "line 1, column 2: $float must be" },
		{ "{\"$float\":1}", "line 1, column 2: $float must be" },
		{ "{\"$datetime\":\"2023-02-29\"}", "line 1, column 2: $datetime must be" },
		{ "{\"$datetime\":[]}", "line 1, column 2: $datetime must be" },
		{ "{\"$table\":1}", "line 1, column 2: $table must be" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct value *value = NULL;
		struct err err = { 0 };
		const size_t len = strlen(cases[i].json);
		CLEAN(str) char *text = xmemdup(cases[i].json, len);
		const int r = value_from_json(text, len, &value, &err);

		if (r != -EINVAL || value)
			fail_msg("not refused (%d): %s", r, cases[i].json);
		if (strncmp(err.msg, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s\nsaid     %s\nexpected %s", cases[i].json, err.msg,
				 cases[i].message);
	}
}

static int read_nested(const char *before, const char *middle, const char *after, int times)
{
	CLEAN(buf) struct buf text = BUF_INIT(0);
	CLEAN(value) struct value *value = NULL;

	for (int i = 0; i < times; i++)
		(void)buf_adds(&text, before);
	(void)buf_adds(&text, middle);
	for (int i = 0; i < times; i++)
		(void)buf_adds(&text, after);
	return value_from_json(buf_str(&text), text.len, &value, NULL);
}

static void test_json_depth(void **state)
{
	(void)state;
	static const struct {
		const char *before, *middle, *after;
		int most;
	} cases[] = {
		{ "[", "1", "]", VALUE_MAX_DEPTH + 1 },
		{ "{\"a\":", "{\"$float\":\"inf\"}", "}", VALUE_MAX_DEPTH + 1 },
		{ "{\"$table\":{\"$table\":", "1", "}}", VALUE_MAX_DEPTH + 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(read_nested(cases[i].before, cases[i].middle, cases[i].after,
					     cases[i].most),
				 0);
		assert_int_equal(read_nested(cases[i].before, cases[i].middle, cases[i].after,
					     cases[i].most + 1),
				 -E2BIG);
		/* So deep that cJSON itself gives up. */
		assert_int_equal(
			read_nested(cases[i].before, cases[i].middle, cases[i].after, 20000),
			-EINVAL);
	}
}

static void test_json_size(void **state)
{
	(void)state;
	CLEAN(str) char *text = xmalloc(VALUE_MAX_JSON + 1);
	CLEAN(value) struct value *value = NULL;
	struct err err = { 0 };

	memset(text, ' ', VALUE_MAX_JSON + 1);
	text[0] = '1';
	assert_int_equal(value_from_json(text, VALUE_MAX_JSON + 1, &value, &err), -E2BIG);
	assert_string_equal(err.msg,
			    "line 1, column 1: the text has 4194305 bytes, more than the 4194304 "
			    "that are read");
	assert_int_equal(value_from_json(text, VALUE_MAX_JSON, &value, &err), 0);
}

/* ---- Text ---- */

static void test_utf8(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t span;
	} cases[] = {
		{ "", 0 },
		{ "abc", 3 },
		{ "\xc2\x80\xdf\xbf", 4 },
		{ "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 12 },
		{ "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8 },
		{ "a\x80", 1 }, /* a second byte alone */
		{ "a\xc0\x80", 1 }, /* overlong */
		{ "a\xc1\xbf", 1 },
		{ "a\xe0\x9f\xbf", 1 },
		{ "a\xf0\x8f\xbf\xbf", 1 },
		{ "a\xed\xa0\x80", 1 }, /* surrogate */
		{ "a\xf4\x90\x80\x80", 1 }, /* beyond U+10FFFF */
		{ "a\xf5\x80\x80\x80", 1 },
		{ "a\xc3", 1 }, /* cut short */
		{ "a\xe2\x82", 1 },
		{ "a\xf0\x9d\x84", 1 },
		{ "a\xe2\x82z", 1 },
		{ "a\xf0\x9d\x84z", 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const size_t len = strlen(cases[i].text);
		CLEAN(str) char *text = xmemdup(cases[i].text, len);

		assert_int_equal(value_utf8_span(text, len), cases[i].span);
	}
}

static void test_utf8_add(void **state)
{
	(void)state;
	static const struct {
		uint32_t character;
		const char *bytes; /* NULL: refused */
	} cases[] = {
		{ 0x41, "A" },
		{ 0x7f, "\x7f" },
		{ 0x80, "\xc2\x80" },
		{ 0x7ff, "\xdf\xbf" },
		{ 0x800, "\xe0\xa0\x80" },
		{ 0xd7ff, "\xed\x9f\xbf" },
		{ 0xd800, NULL },
		{ 0xdfff, NULL },
		{ 0xe000, "\xee\x80\x80" },
		{ 0xffff, "\xef\xbf\xbf" },
		{ 0x10000, "\xf0\x90\x80\x80" },
		{ 0x10ffff, "\xf4\x8f\xbf\xbf" },
		{ 0x110000, NULL },
		{ UINT32_MAX, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(buf) struct buf out = BUF_INIT(0);

		assert_int_equal(value_utf8_add(&out, cases[i].character), cases[i].bytes != NULL);
		assert_string_equal(buf_str(&out), cases[i].bytes ? cases[i].bytes : "");
	}
}

static void test_datetimes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool valid;
	} cases[] = {
		{ "1979-05-27T07:32:00Z", true },
		{ "1979-05-27t07:32:00z", true },
		{ "1979-05-27 07:32:00.123456789123-23:59", true },
		{ "1979-05-27T07:32:00", true },
		{ "1979-05-27", true },
		{ "00:00:00", true },
		{ "23:59:59.9", true },
		{ "0001-01-01", true },
		{ "9999-12-31T23:59:59+00:00", true },
		{ "2024-02-29", true },
		{ "2000-02-29", true },
		{ "2023-02-29", false },
		{ "1900-02-29", false },
		{ "2024-02-30", false },
		{ "2024-04-31", false },
		{ "2024-12-32", false },
		{ "2024-00-01", false },
		{ "2024-13-01", false },
		{ "2024-01-00", false },
		{ "0000-01-01", false },
		{ "24:00:00", false },
		{ "00:60:00", false },
		{ "23:59:60", false },
		{ "00:00:00.", false },
		{ "00:00", false },
		{ "00:00:00Z", false },
		{ "1979-05-27Z", false },
		{ "1979-05-27T", false },
		{ "1979-05-27T07:32", false },
		{ "1979-05-27T07:32:00+24:00", false },
		{ "1979-05-27T07:32:00+00:60", false },
		{ "1979-05-27T07:32:00+0000", false },
		{ "1979-05-27T07:32:00Zx", false },
		{ "1979-05-27  07:32:00", false },
		{ "1979-5-27", false },
		{ "79-05-27", false },
		{ "", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (value_datetime_valid(cases[i].text) != cases[i].valid)
			fail_msg("'%s' should be %s", cases[i].text,
				 cases[i].valid ? "valid" : "invalid");
}

static void test_type_names(void **state)
{
	(void)state;
	static const char *const json[] = {
		"true", "1", "1.0", "\"\"", "{\"$datetime\":\"10:00:00\"}", "[]", "{}"
	};
	static const char *const names[] = { "boolean",	     "integer", "float", "string",
					     "date or time", "array",	"table" };

	for (size_t i = 0; i < ARRAY_LEN(json); i++) {
		CLEAN(value) struct value *value = must_read(json[i]);

		assert_int_equal(value->type, i);
		assert_string_equal(value_type_name(value->type), names[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),		cmocka_unit_test(test_set_and_remove),
		cmocka_unit_test(test_large_tables),	cmocka_unit_test(test_order_is_kept),
		cmocka_unit_test(test_equal),		cmocka_unit_test(test_json_round_trips),
		cmocka_unit_test(test_json_is_refused), cmocka_unit_test(test_json_depth),
		cmocka_unit_test(test_json_size),	cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_utf8_add),	cmocka_unit_test(test_datetimes),
		cmocka_unit_test(test_type_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
