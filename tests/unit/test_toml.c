/* SPDX-License-Identifier: MIT */
/* TOML: values, refusals with their place, ceilings, and what the writer writes. */
#include <errno.h>
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

static struct value *must_parse(const char *text, size_t len)
{
	struct value *value = NULL;
	struct err err = { 0 };

	if (toml_parse(text, len, &value, &err) < 0)
		fail_msg("%s\nin: %.200s", err.msg, text);
	return value;
}

static struct value *must_read_json(const char *text)
{
	struct value *value = NULL;
	struct err err = { 0 };

	if (value_from_json(text, strlen(text), &value, &err) < 0)
		fail_msg("%s\nin: %s", err.msg, text);
	return value;
}

static void assert_value(const char *text, const struct value *value, const struct value *expected)
{
	CLEAN(str) char *a = value_to_json(value);
	CLEAN(str) char *b = value_to_json(expected);

	if (!value_equal(value, expected))
		fail_msg("%.200s\ngave     %s\nexpected %s", text, a, b);
}

/* ---- Reading ---- */

static const struct {
	const char *toml;
	const char *json;
} good[] = {
	{ "", "{}" },
	{ "\xef\xbb\xbf# after a byte order mark\n", "{}" },
	{ "a=1", "{\"a\":1}" },
	{ " a\t=\t1 # c", "{\"a\":1}" },
	{ "a=1\r\nb=2\r\n", "{\"a\":1,\"b\":2}" },
	{ "a.b.c=1\na.b.d=2", "{\"a\":{\"b\":{\"c\":1,\"d\":2}}}" },
	{ "a . 'b.c' . \"d\\u0041\" = 1", "{\"a\":{\"b.c\":{\"dA\":1}}}" },
	{ "\"\"=1", "{\"\":1}" },
	{ "1-2_x=1", "{\"1-2_x\":1}" },
	/* strings */
	{ "a=\"\\b\\t\\n\\f\\r\\\"\\\\\"", "{\"a\":\"\\b\\t\\n\\f\\r\\\"\\\\\"}" },
	{ "a='\\n\"'", "{\"a\":\"\\\\n\\\"\"}" },
	{ "a=\"\\u0000x\"", "{\"a\":\"\\u0000x\"}" },
	{ "a=\"\\U0010FFFF\"", "{\"a\":\"\\udbff\\udfff\"}" },
	{ "a=\"\"\"\"\"\"", "{\"a\":\"\"}" },
	{ "a=\"\"\"\"\"x\"\"\"\"\"", "{\"a\":\"\\\"\\\"x\\\"\\\"\"}" },
	{ "a=''''''''", "{\"a\":\"''\"}" },
	{ "a=\"\"\"\r\nx\r\ny\"\"\"", "{\"a\":\"x\\ny\"}" },
	{ "a=\"\"\"x\\  \n\n \t y\"\"\"", "{\"a\":\"xy\"}" },
	{ "a='''\n\nx''y'''''", "{\"a\":\"\\nx''y''\"}" },
	/* numbers */
	{ "a=[0xFf,0o17,0b11,1_0,-0,+1]", "{\"a\":[255,15,3,10,0,1]}" },
	{ "a=0x7fffffffffffffff", "{\"a\":9223372036854775807}" },
	{ "a=-9223372036854775808", "{\"a\":-9223372036854775808}" },
	{ "a=[1e1,1E+1,1.5e-1,-0.0,3_1.4_1]", "{\"a\":[10.0,10.0,0.15,-0.0,31.41]}" },
	{ "a=[+nan,-nan,-inf]",
	  "{\"a\":[{\"$float\":\"nan\"},{\"$float\":\"nan\"},{\"$float\":\"-inf\"}]}" },
	/* dates */
	{ "a=2024-02-29 00:00:00z", "{\"a\":{\"$datetime\":\"2024-02-29 00:00:00z\"}}" },
	{ "a=2000-02-29 # c", "{\"a\":{\"$datetime\":\"2000-02-29\"}}" },
	{ "a=[23:59:59.999999999]", "{\"a\":[{\"$datetime\":\"23:59:59.999999999\"}]}" },
	/* arrays and inline tables */
	{ "a=[ # c\n1,\n\n2 # d\n, ]", "{\"a\":[1,2]}" },
	{ "a=[{b=1},{b.c=2,b.d=3}]", "{\"a\":[{\"b\":1},{\"b\":{\"c\":2,\"d\":3}}]}" },
	{ "a={b=[\n1\n]}", "{\"a\":{\"b\":[1]}}" },
	{ "a={ }\nb=[ ]", "{\"a\":{},\"b\":[]}" },
	/* tables */
	{ "[ a . b ]\nc=1\n[a]\nd=2\n[a.e]", "{\"a\":{\"b\":{\"c\":1},\"d\":2,\"e\":{}}}" },
	{ "[a]\nb.c=1\n[a.b.d]\ne=2", "{\"a\":{\"b\":{\"c\":1,\"d\":{\"e\":2}}}}" },
	{ "[a.b.c]\n[a]\nb.x=1\n[a.b.d]", "{\"a\":{\"b\":{\"c\":{},\"x\":1,\"d\":{}}}}" },
	{ "[[a]]\n[[a]]\nb=1\n[a.c]\nd=2\n[[a.e]]\n[[a.e]]",
	  "{\"a\":[{},{\"b\":1,\"c\":{\"d\":2},\"e\":[{},{}]}]}" },
	{ "[[a.b]]\n[a]\nc=1", "{\"a\":{\"b\":[{}],\"c\":1}}" },
};

static void test_reads(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CLEAN(value) struct value *value = must_parse(good[i].toml, strlen(good[i].toml));
		CLEAN(value) struct value *expected = must_read_json(good[i].json);
		CLEAN(str) char *written = toml_write(value);
		CLEAN(value) struct value *again = must_parse(written, strlen(written));

		assert_value(good[i].toml, value, expected);
		assert_value(written, again, expected);
	}
}

/* ---- Refusing ---- */

static const struct {
	const char *toml;
	const char *message; /* how it begins */
} bad[] = {
	{ "a", "line 1, column 2: expected '=' behind the key, found the end of the text" },
	{ "a b=1", "line 1, column 3: expected '=' behind the key, found 'b'" },
	{ "x=1\n  =2", "line 2, column 3: expected a key (" },
	{ "a=", "line 1, column 3: expected a value, found the end of the text" },
	{ "a=1 b=2", "line 1, column 5: expected the end of the line, found 'b'" },
	{ "a=1\rb=2",
	  "line 1, column 4: expected the end of the line, found control character U+000D" },
	{ "é = 1", "line 1, column 1: expected a key (letters, digits, '_', '-', or a text in "
		   "quotes), found 'é'" },
	{ "a = 'é' x", "line 1, column 9: expected the end of the line, found 'x'" },
	{ "a='x\xff'", "line 1, column 5: expected UTF-8, found byte 0xff" },
	{ "\xef\xbb\xbf"
	  "a",
	  "line 1, column 2: expected '='" },
	{ "# \x01",
	  "line 1, column 3: expected the end of the comment, found control character U+0001" },
	{ "\"\\u0000\"=1", "line 1, column 1: a key must not hold a NUL character" },
	{ "a.=1", "line 1, column 3: expected a key" },
	{ "\"\"\"a\"\"\"=1", "line 1, column 3: expected '='" },
	{ "a=1\nb=2\na=3", "line 3, column 1: 'a' is defined twice: as integer in line 1" },
	{ "a=1\na.b=2",
	  "line 2, column 1: nothing can be added to 'a' here: it is defined as integer in "
	  "line 1" },
	/* strings */
	{ "a=\"b\nc\"",
	  "line 1, column 5: expected the closing quote of a string, found the end of the line" },
	{ "x=1\na='''b\nc", "line 2, column 3: the string that begins here is not closed" },
	{ "a=\"\\x41\"", "line 1, column 4: unknown escape sequence" },
	{ "a=\"\\", "line 1, column 4: unknown escape sequence" },
	{ "a=\"\\u12g4\"", "line 1, column 4: expected 4 hexadecimal digits" },
	{ "a=\"\\ud800\"", "line 1, column 4: U+D800 is not a character" },
	{ "a=\"\\U00110000\"", "line 1, column 4: U+110000 is not a character" },
	{ "a=\"\"\"\\ x\"\"\"", "line 1, column 6: unknown escape sequence" },
	{ "a=\"\x7f\"", "line 1, column 4: expected the closing quote of a string, found control" },
	{ "a='''''''''", "line 1, column 11: expected the end of the line, found '''" },
	/* numbers and dates */
	{ "a=localhost",
	  "line 1, column 3: expected a value, found localhost (a text needs quotes)" },
	{ "a=01", "line 1, column 3: expected a value: 01 is no number" },
	{ "a=[ # \x01\n]", "line 1, column 7: expected the end of the comment" },
	{ "a=[1 # \x01\n]", "line 1, column 8: expected the end of the comment" },
	{ "a=[1, # \x01\n]", "line 1, column 9: expected the end of the comment" },
	{ "\"\\q\"=1", "line 1, column 2: unknown escape sequence" },
	{ "a=1__0", "line 1, column 3: expected a value: 1__0 is no number" },
	{ "a=0x_1", "line 1, column 3: expected a value: 0x_1 is no number" },
	{ "a=+0x1", "line 1, column 3: expected a value: +0x1 is no number" },
	{ "a=1.", "line 1, column 3: expected a value: 1. is no number" },
	{ "a=.5", "line 1, column 3: expected a value, found .5" },
	{ "a=9223372036854775808",
	  "line 1, column 3: 9223372036854775808 is an integer beyond 64 bits" },
	{ "a=0x8000000000000000",
	  "line 1, column 3: 0x8000000000000000 is an integer beyond 64 bits" },
	{ "a=1e999", "line 1, column 3: 1e999 is too large for a 64-bit float" },
	{ "a=2023-02-29", "line 1, column 3: 2023-02-29 is not a date or time" },
	{ "a=1900-02-29", "line 1, column 3: 1900-02-29 is not a date or time" },
	{ "a=2023-04-31T00:00:00Z",
	  "line 1, column 3: 2023-04-31T00:00:00Z is not a date or time" },
	{ "a=24:00:00", "line 1, column 3: 24:00:00 is not a date or time" },
	{ "a=2023-01-01T00:00:00+24:00", "line 1, column 3: 2023-01-01T00:00:00+24:00 is not" },
	/* arrays and inline tables */
	{ "a=[1 2]", "line 1, column 6: expected ',' or ']' in an array, found '2'" },
	{ "a=[1,,2]", "line 1, column 6: expected a value, found ','" },
	{ "a=[1,\n2",
	  "line 2, column 2: expected ',' or ']' in an array, found the end of the text" },
	{ "a={b=1,}", "line 1, column 8: expected a key" },
	{ "a={b=1\n}",
	  "line 1, column 7: expected ',' or '}' in an inline table, found the end of the line" },
	{ "a={b=1}\na.c=2",
	  "line 2, column 1: nothing can be added to 'a' here: it is defined as table" },
	{ "a={b=1}\n[a.c]", "line 2, column 2: nothing can be added to 'a' here" },
	{ "a={b={}, b.c=1}", "line 1, column 10: nothing can be added to 'b' here" },
	/* tables */
	{ "[a",
	  "line 1, column 3: expected '.' or ']' behind the name of a table, found the end of "
	  "the text" },
	{ "[]", "line 1, column 2: expected a key" },
	{ "[[a] ]",
	  "line 1, column 4: expected '.' or ']]' behind the name of an array of tables" },
	{ "[a] b=1", "line 1, column 5: expected the end of the line" },
	{ "[a]\n[b]\n[a]",
	  "line 3, column 2: 'a' is defined twice: as table in line 1 and again here" },
	{ "a.b=1\n[a]", "line 2, column 2: 'a' is defined twice: as table in line 1" },
	{ "[a.b]\n[a]\nb.c=1",
	  "line 3, column 1: nothing can be added to 'b' here: it is defined as table in line 1" },
	{ "[a.b]\n[a]\nb=1", "line 3, column 1: 'b' is defined twice" },
	{ "a=[{}]\n[[a]]", "line 2, column 3: 'a' is defined twice: as array in line 1" },
	{ "a=[{}]\n[a.b]", "line 2, column 2: nothing can be added to 'a' here" },
	{ "[[a]]\n[a]", "line 2, column 2: 'a' is defined twice: as array in line 1" },
	{ "[a]\n[[a]]", "line 2, column 3: 'a' is defined twice: as table in line 1" },
	{ "[a.b]\n[[a]]", "line 2, column 3: 'a' is defined twice: as table in line 1" },
	{ "[[a.b]]\n[a]\nb.c=1", "line 3, column 1: nothing can be added to 'b' here" },
};

static void test_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct value *value = NULL;
		struct err err = { 0 };
		/* In memory of its own, so that sanitizers see a byte read behind the end. */
		const size_t len = strlen(bad[i].toml);
		CLEAN(str) char *text = xmemdup(bad[i].toml, len);

		const int r = toml_parse(text, len, &value, &err);
		if (r != -EINVAL || value)
			fail_msg("not refused (%d): %s", r, bad[i].toml);
		if (strncmp(err.msg, bad[i].message, strlen(bad[i].message)) != 0)
			fail_msg("%s\nsaid     %s\nexpected %s", bad[i].toml, err.msg,
				 bad[i].message);
	}
}

static void test_messages_stay_short(void **state)
{
	(void)state;
	CLEAN(buf) struct buf text = BUF_INIT(0);
	struct value *value = NULL;
	struct err err = { 0 };

	/* A key of 4000 bytes with a line end in it, given twice. */
	for (int twice = 0; twice < 2; twice++) {
		(void)buf_adds(&text, "\"\\n");
		for (int i = 0; i < 2000; i++)
			(void)buf_adds(&text, "\xc3\xa9");
		(void)buf_adds(&text, "\" = 1\n");
	}
	assert_int_equal(toml_parse(buf_str(&text), text.len, &value, &err), -EINVAL);
	assert_true(strlen(err.msg) < 200);
	assert_null(strchr(err.msg, '\n'));
	assert_non_null(strstr(err.msg, "?\xc3\xa9"));
	assert_int_equal(value_utf8_span(err.msg, strlen(err.msg)), strlen(err.msg));
	assert_int_equal(toml_parse(buf_str(&text), text.len, &value, NULL), -EINVAL);
}

static void test_lines(void **state)
{
	(void)state;
	static const char text[] = "a = 1\n"
				   "b = \"\"\"\n\n\"\"\"\n"
				   "c = [\n"
				   "  1,\n"
				   "  2,\n"
				   "]\n"
				   "[d.e]\n"
				   "[d]\n"
				   "f = \"\"\"\\\r\n \"\"\"\r\n"
				   "g.h = 1\n";
	static const struct {
		const char *path;
		int line;
	} expected[] = {
		{ "a", 1 },   { "b", 2 },    { "c", 5 },    { "d", 10 },
		{ "d.e", 9 }, { "d.f", 11 }, { "d.g", 13 },
	};
	CLEAN(value) struct value *value = must_parse(text, strlen(text));

	for (size_t i = 0; i < ARRAY_LEN(expected); i++)
		assert_int_equal(value_get_path(value, expected[i].path)->line, expected[i].line);
	assert_int_equal(value_get(value, "c")->array.items[1]->line, 7);
}

/* ---- Ceilings ---- */

/* `before` and `after` are repeated around `middle`. */
static int parse_nested(const char *start, const char *before, const char *middle,
			const char *after, int times, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(0);
	struct value *value = NULL;

	(void)buf_adds(&text, start);
	for (int i = 0; i < times; i++)
		(void)buf_adds(&text, before);
	(void)buf_adds(&text, middle);
	for (int i = 0; i < times; i++)
		(void)buf_adds(&text, after);
	const int r = toml_parse(buf_str(&text), text.len, &value, err);
	if (r == 0) {
		CLEAN(str) char *written = toml_write(value);
		CLEAN(value) struct value *again = must_parse(written, strlen(written));

		assert_true(value_equal(value, again));
	}
	value_free(value);
	return r;
}

static void test_depth(void **state)
{
	(void)state;
	static const struct {
		const char *start, *before, *middle, *after;
		int most; /* times that the ceiling allows */
	} nests[] = {
		{ "a=", "[", "", "]", TOML_MAX_DEPTH },
		{ "a=", "{a=", "1", "}", TOML_MAX_DEPTH },
		{ "a=", "[{a=", "1", "}]", TOML_MAX_DEPTH / 2 },
		{ "", "a.", "a=1", "", TOML_MAX_DEPTH },
		{ "[a", ".a", "]", "", TOML_MAX_DEPTH - 1 },
		{ "[[a", ".a", "]]", "", TOML_MAX_DEPTH - 2 },
		{ "[[a]]\n[a", ".a", "]", "", TOML_MAX_DEPTH - 2 },
		{ "[a.a]\n", "a.", "a=[]", "", TOML_MAX_DEPTH - 3 },
	};

	for (size_t i = 0; i < ARRAY_LEN(nests); i++) {
		struct err err = { 0 };

		assert_int_equal(parse_nested(nests[i].start, nests[i].before, nests[i].middle,
					      nests[i].after, nests[i].most, &err),
				 0);
		assert_int_equal(parse_nested(nests[i].start, nests[i].before, nests[i].middle,
					      nests[i].after, nests[i].most + 1, &err),
				 -E2BIG);
		assert_true(str_starts(err.msg, "line 1, column ") ||
			    str_starts(err.msg, "line 2, column "));
		assert_non_null(
			strstr(err.msg, ": arrays and tables are nested more than 64 deep"));
		assert_int_equal(parse_nested(nests[i].start, nests[i].before, nests[i].middle,
					      nests[i].after, 50000, &err),
				 -E2BIG);
	}
}

static int parse_keys(const char *before, const char *after, int keys, struct value **ret,
		      struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(0);

	for (int i = 0; i < keys; i++)
		(void)buf_addf(&text, "%sk%d%s\n", before, i, after);
	return toml_parse(buf_str(&text), text.len, ret, err);
}

static void test_keys_of_all_kinds(void **state)
{
	(void)state;
	static const struct {
		const char *before, *after;
		int lines; /* that the ceiling allows */
		const char *message;
	} rows[] = {
		{ "", "=1", TOML_MAX_KEYS, "line 200001, column 1: more than 200000 keys" },
		{ "", ".a=1", TOML_MAX_KEYS / 2, "line 100001, column 1: more than 200000 keys" },
		{ "[", "]", TOML_MAX_KEYS, "line 200001, column 2: more than 200000 keys" },
		{ "[[", "]]", TOML_MAX_KEYS, "line 200001, column 3: more than 200000 keys" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct value *none = NULL;
		struct err err = { 0 };

		assert_int_equal(
			parse_keys(rows[i].before, rows[i].after, rows[i].lines + 1, &none, &err),
			-E2BIG);
		assert_null(none);
		assert_string_equal(err.msg, rows[i].message);
	}
}

static void test_keys(void **state)
{
	(void)state;
	CLEAN(value) struct value *value = NULL;
	struct err err = { 0 };

	assert_int_equal(parse_keys("", "=7", TOML_MAX_KEYS, &value, &err), 0);
	assert_int_equal(value->table.len, TOML_MAX_KEYS);
	assert_int_equal(value_get_int(value, "k199999", -1), 7);
	assert_null(value_get(value, "k200000"));
}

static void test_size(void **state)
{
	(void)state;
	CLEAN(str) char *text = xmalloc(TOML_MAX_SIZE + 1);
	struct value *value = NULL;
	struct err err = { 0 };

	memset(text, ' ', TOML_MAX_SIZE + 1);
	assert_int_equal(toml_parse(text, TOML_MAX_SIZE + 1, &value, &err), -E2BIG);
	assert_string_equal(err.msg,
			    "line 1, column 1: the text has 4194305 bytes, more than the 4194304 "
			    "that are read");
	assert_int_equal(toml_parse(text, TOML_MAX_SIZE, &value, &err), 0);
	value_free(value);
}

/* ---- Writing ---- */

static const struct {
	const char *json;
	const char *toml;
} written[] = {
	{ "{}", "" },
	{ "{\"b\":1,\"a\":{},\"c\":\"x\"}", "b = 1\nc = \"x\"\n\n[a]\n" },
	{ "{\"a\":{\"b\":{\"x\":1},\"y\":2}}", "[a]\ny = 2\n\n[a.b]\nx = 1\n" },
	{ "{\"a\":{\"b\":{\"x\":1}}}", "[a.b]\nx = 1\n" },
	{ "{\"services\":{\"LogService\":[[\"localhost\",29000]],"
	  "\"Worker\":[[\"a\",1],[\"b\",2]]}}",
	  "[services]\nLogService = [[\"localhost\", 29000]]\n"
	  "Worker = [\n    [\"a\", 1],\n    [\"b\", 2],\n]\n" },
	{ "{\"a\":[{\"x\":1},{}]}", "[[a]]\nx = 1\n\n[[a]]\n" },
	{ "{\"a\":[1,{\"x\":{\"y\":[]},\"z\":{}}]}", "a = [1, { x = { y = [] }, z = {} }]\n" },
	{ "{\"\":1,\"a.b\":2,\"\\u00e9\":3,\"A-_9\":4}",
	  "\"\" = 1\n\"a.b\" = 2\n\"\xc3\xa9\" = 3\nA-_9 = 4\n" },
	{ "{\"s\":\"\\\"\\\\\\n\\u0000\\u007f\\u00e9\"}",
	  "s = \"\\\"\\\\\\n\\u0000\\u007f\xc3\xa9\"\n" },
	{ "{\"f\":[1.0,1e300,0.1,-0.0,{\"$float\":\"-inf\"},{\"$float\":\"nan\"}]}",
	  "f = [1.0, 1e+300, 0.1, -0.0, -inf, nan]\n" },
	{ "{\"d\":{\"$datetime\":\"2026-11-22 10:00:00z\"},\"t\":true}",
	  "d = 2026-11-22 10:00:00z\nt = true\n" },
	{ "{\"i\":[-9223372036854775808,9223372036854775807]}",
	  "i = [-9223372036854775808, 9223372036854775807]\n" },
};

static void test_writes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(written); i++) {
		CLEAN(value) struct value *value = must_read_json(written[i].json);
		CLEAN(str) char *text = toml_write(value);
		CLEAN(value) struct value *again = must_parse(text, strlen(text));

		assert_string_equal(text, written[i].toml);
		assert_value(text, again, value);
	}
}

/* A long name around many tables is not repeated for each of them. */
static void test_long_names_are_not_repeated(void **state)
{
	(void)state;
	CLEAN(value) struct value *value = value_new_table();
	struct value *outer = value_new_table();
	char name[10001];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 1000; i++) {
		CLEAN(str) char *key = xasprintf("t%d", i);

		value_set(outer, key, value_new_table());
	}
	value_set(value, "a", value_new_table());
	value_set(value_get(value, "a"), name, outer);
	CLEAN(str) char *text = toml_write(value);
	CLEAN(value) struct value *again = must_parse(text, strlen(text));

	assert_true(strlen(text) < 2 * sizeof(name) + 20000);
	assert_value(name, again, value);
}

/* ---- Files ---- */

static bool load(const char *path, struct buf *out)
{
	FILE *file = fopen(path, "rb");
	char chunk[4096];
	size_t n = 1;

	while (file && n > 0) {
		n = fread(chunk, 1, sizeof(chunk), file);
		(void)buf_add(out, chunk, n);
	}
	if (file)
		(void)fclose(file);
	return file != NULL;
}

/* A file of our own. */
static bool load_data(const char *name, struct buf *out)
{
	const char *srcdir = getenv("srcdir");
	CLEAN(str) char *path = xasprintf("%s/tests/data/toml/%s", srcdir ? srcdir : ".", name);

	return load(path, out);
}

/* A file of CMS's. */
static bool load_sample(const char *name, struct buf *out)
{
	const char *shared = getenv("CMSNODE_SHARED");
	const char *srcdir = getenv("srcdir");
	CLEAN(str)
	char *folder = shared ? xstrdup(shared) : xasprintf("%s/../shared", srcdir ? srcdir : ".");
	CLEAN(str) char *path = xasprintf("%s/data/cms/v1.6.dev/%s", folder, name);

	return load(path, out);
}

static void test_every_kind(void **state)
{
	(void)state;
	CLEAN(buf) struct buf toml = BUF_INIT(0);
	CLEAN(buf) struct buf json = BUF_INIT(0);
	CLEAN(buf) struct buf expected_text = BUF_INIT(0);

	if (!load_data("every_kind.toml", &toml) || !load_data("every_kind.json", &json) ||
	    !load_data("every_kind.written.toml", &expected_text))
		fail_msg("tests/data/toml/every_kind.* not found: set srcdir to the source folder");
	CLEAN(value) struct value *value = must_parse(buf_str(&toml), toml.len);
	CLEAN(value) struct value *expected = must_read_json(buf_str(&json));
	CLEAN(str) char *text = toml_write(value);

	assert_value("every_kind.toml", value, expected);
	assert_string_equal(text, buf_str(&expected_text));
}

static void check_cms_sample(const char *name, const char *path, const char *expected,
			     const char *piece)
{
	CLEAN(buf) struct buf toml = BUF_INIT(0);

	if (!load_sample(name, &toml)) {
		(void)printf("SKIP: no CMS sample: $CMSNODE_SHARED/data/cms/v1.6.dev/%s\n", name);
		skip();
	}
	CLEAN(value) struct value *value = must_parse(buf_str(&toml), toml.len);
	CLEAN(str) char *text = toml_write(value);
	CLEAN(value) struct value *again = must_parse(text, strlen(text));

	assert_value(name, again, value);
	assert_string_equal(value_get_str(value, path, ""), expected);
	assert_non_null(strstr(text, piece));
}

static void test_cms_sample(void **state)
{
	(void)state;
	check_cms_sample("cms.sample.toml", "global.temp_dir", "/tmp",
			 "\n\n[services]\nLogService = [[\"localhost\", 29000]]\n");
	check_cms_sample(
		"cms.sample.toml", "global.temp_dir", "/tmp",
		"\nWorker = [\n    [\"localhost\", 26000],\n    [\"localhost\", 26001],\n");
}

static void test_cms_ranking_sample(void **state)
{
	(void)state;
	check_cms_sample("cms_ranking.sample.toml", "bind_address", "127.0.0.1",
			 "http_port = 8890\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_messages_stay_short),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_keys_of_all_kinds),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_long_names_are_not_repeated),
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_cms_sample),
		cmocka_unit_test(test_cms_ranking_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
