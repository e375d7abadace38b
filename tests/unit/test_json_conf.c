/* SPDX-License-Identifier: MIT */
/* cms.conf's JSON as Python reads it: numbers, nulls, places in every error, writing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/json_conf.h"

static const struct {
	const char *text;
	const char *value; /* as value_to_json() writes it */
} readable[] = {
	{ "{}", "{}" },
	{ "{ \"a\" : [ ] , \"b\" : { } }", "{\"a\":[],\"b\":{}}" },
	{ "{\"a\": NaN}", "{\"a\":{\"$float\":\"nan\"}}" },
	{ "{\"a\":[Infinity,-Infinity , NaN]}",
	  "{\"a\":[{\"$float\":\"inf\"},{\"$float\":\"-inf\"},{\"$float\":\"nan\"}]}" },
	{ "{\"NaN\": \"-Infinity \\\" NaN\"}", "{\"NaN\":\"-Infinity \\\" NaN\"}" },
	{ "{\"a\\\\\": NaN}", "{\"a\\\\\":{\"$float\":\"nan\"}}" },
	{ "{\"a\": -9223372036854775808, \"b\": 9223372036854775807}",
	  "{\"a\":-9223372036854775808,\"b\":9223372036854775807}" },
	{ "{\"a\": -0.0, \"b\": 5e-324, \"c\": 1.7976931348623157e308}",
	  "{\"a\":-0.0,\"b\":4.94065645841247e-324,\"c\":1.7976931348623157e+308}" },
	{ "{\"a\":1,\"a\":2,\"b\":{\"c\":1,\"c\":null}}", "{\"a\":2,\"b\":{}}" },
};

static void reads_as_python_does(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(readable); i++) {
		CLEAN(value) struct value *value = NULL;
		struct err err = { 0 };

		if (json_conf_parse(readable[i].text, strlen(readable[i].text), &value, NULL, &err))
			fail_msg("%s: %s", readable[i].text, err.msg);
		CLEAN(str) char *json = value_to_json(value);

		assert_string_equal(json, readable[i].value);
	}
}

static const struct {
	const char *text;
	const char *message; /* its beginning */
} refused[] = {
	/* cJSON's own refusals */
	{ "", "line 1, column 1: not valid JSON" },
	{ "{", "line 1, column 1: not valid JSON" },
	{ "{\"a\":1,}", "line 1, column 8: not valid JSON" },
	{ "{\"\xc3\xa9\": x}", "line 1, column 7: not valid JSON" },
	{ "{\n\"a\": [1,\n 2}", "line 3, column 3: not valid JSON" },
	{ "{} {}", "line 1, column 4: not valid JSON" },
	{ "{\"a\": nan}", "line 1, column 7: not valid JSON" },
	{ "{\"a\": -NaN}", "line 1, column 7: not valid JSON" },
	{ "{\"a\": 1NaN}", "line 1, column 8: not valid JSON" },
	{ "{\"a\": NaN1}", "line 1, column 7: not valid JSON" },
	{ "{\"a\": Infinit}", "line 1, column 7: not valid JSON" },
	{ "{\"a\": --Infinity}", "line 1, column 7: not valid JSON" },
	{ "{NaN: 1}", "line 1, column 3: not valid JSON" },
	/* what cJSON lets through */
	{ "{\n  \"a\": 01}", "line 2, column 8: '01' is not a number in JSON" },
	{ "{\"a\": 1.}", "line 1, column 7: '1.' is not a number" },
	{ "{\"a\": 1.e5}", "line 1, column 7: '1.e5' is not a number" },
	{ "{\"a\": 9223372036854775808}",
	  "line 1, column 7: the number 9223372036854775808 does not fit" },
	{ "{\"a\": 1e999}", "line 1, column 7: the number 1e999 is too large" },
	{ "{\"a\": [1,\n null]}", "line 2, column 2: null inside a list" },
	{ "{\"a\": \"\\u0000\"}", "line 1, column 8: a text may not hold the character NUL" },
	{ "{\"a\\u0000\": 1}", "line 1, column 4: a text may not hold the character NUL" },
	{ "{\"a\": \"x\\u00g9\"}", "line 1, column 9: expected 4 hexadecimal digits" },
	{ "{\"a\": \"x\\u12\"}", "line 1, column 9: not valid JSON" },
	{ "{\"a\": \"x\\u12 y\"}", "line 1, column 9: expected 4 hexadecimal digits" },
	{ "{\"a\": \"x\\ux123\"}", "line 1, column 9: expected 4 hexadecimal digits" },
	{ "{\"a\": \"x\ny\"}", "line 1, column 9: a text may not hold a line end" },
	{ "{\"a\ty\": 1}", "line 1, column 4: a text may not hold a line end" },
	{ "{\"a\":\n\"\xff\"}", "line 2, column 2: not UTF-8" },
	{ "{\"a\":\f1}", "line 1, column 6: the control character U+000C" },
	{ "{\"a\": \"x\x01\"}", "line 1, column 9: the control character U+0001" },
	{ "[1]", "line 1, column 1: not a JSON object" },
};

static void every_error_has_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		CLEAN(value) struct value *value = NULL;
		CLEAN(value) struct value *nulls = NULL;
		struct err err = { 0 };
		const char *text = refused[i].text;

		if (json_conf_parse(text, strlen(text), &value, &nulls, &err) != -EINVAL || value ||
		    nulls || !str_starts(err.msg, refused[i].message))
			fail_msg("%s\ngives '%s'", text, err.msg);
	}
}

static void a_nul_byte_has_its_place(void **state)
{
	static const char text[] = "{\n\0}";
	CLEAN(value) struct value *value = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(json_conf_parse(text, sizeof(text) - 1, &value, NULL, &err), -EINVAL);
	assert_true(str_starts(err.msg, "line 2, column 1: the control character U+0000"));
}

static void ceilings_have_their_place(void **state)
{
	static const struct {
		const char *before, *unit, *after;
		size_t times;
		const char *message;
	} rows[] = {
		{ "{\"a\":", "[", "]", JSON_CONF_MAX_DEPTH,
		  "line 1, column 69: nested deeper than 64" },
		{ "{\"a\":1", ",\n\"a\":1", "", JSON_CONF_MAX_KEYS,
		  "line 10001, column 1: more than 10000 keys" },
		{ "{", " ", "", JSON_CONF_MAX_SIZE,
		  "line 1, column 1: the text has 4194306 bytes" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(buf) struct buf text = BUF_INIT(0);
		CLEAN(value) struct value *value = NULL;
		struct err err = { 0 };

		(void)buf_adds(&text, rows[i].before);
		for (size_t k = 0; k < rows[i].times; k++)
			(void)buf_adds(&text, rows[i].unit);
		for (size_t k = 0; k < rows[i].times; k++)
			(void)buf_adds(&text, rows[i].after);
		(void)buf_adds(&text, "}");
		assert_int_equal(json_conf_parse(text.data, text.len, &value, NULL, &err), -E2BIG);
		if (!str_starts(err.msg, rows[i].message))
			fail_msg("'%s' is not '%s'", err.msg, rows[i].message);
	}
}

static void nulls_are_noted(void **state)
{
	static const struct {
		const char *text;
		const char *nulls;
	} rows[] = {
		{ "{\"a\":1}", "{}" },
		{ "{\"a\":null}", "{\"a\":true}" },
		{ "{\"a\":null,\"a\":1}", "{}" },
		{ "{\"a\":1,\"a\":null}", "{\"a\":true}" },
		{ "{\"a\":{\"b\":null,\"c\":null,\"c\":1}}", "{\"a\":{\"b\":true}}" },
		{ "{\"a\":{\"b\":null},\"a\":{}}", "{}" },
		{ "{\"a\":{\"b\":{\"c\":null},\"d\":[{\"e\":null}]}}", "{}" },
		{ "{\"a\":[{\"b\":null}]}", "{}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *value = NULL;
		CLEAN(value) struct value *nulls = NULL;

		assert_int_equal(
			json_conf_parse(rows[i].text, strlen(rows[i].text), &value, &nulls, NULL),
			0);
		CLEAN(str) char *json = value_to_json(nulls);

		assert_string_equal(json, rows[i].nulls);
	}
}

static void nulls_know_their_line(void **state)
{
	static const char text[] = "{\n\"a\":\nnull, \"b\": {\n\"c\": null}}";
	CLEAN(value) struct value *value = NULL;
	CLEAN(value) struct value *nulls = NULL;

	(void)state;
	assert_int_equal(json_conf_parse(text, strlen(text), &value, &nulls, NULL), 0);
	assert_int_equal(value_get(nulls, "a")->line, 3);
	assert_int_equal(value_get_path(nulls, "b.c")->line, 4);
}

static void what_is_written_is_read_again(void **state)
{
	static const char written[] =
		"{\n    \"a\": [1, -0.0, \"\\n\", {\"b\": true}],\n"
		"    \"c\": Infinity,\n    \"d\": -Infinity,\n    \"e\": NaN,\n"
		"    \"f\": null\n}";
	CLEAN(value) struct value *value = NULL;
	CLEAN(buf) struct buf out = BUF_INIT(0);

	(void)state;
	assert_int_equal(json_conf_parse(written, strlen(written), &value, NULL, NULL), 0);
	(void)buf_adds(&out, "{");
	for (size_t i = 0; i < value->table.len; i++)
		json_conf_write_member(&out, value->table.members[i].key,
				       value->table.members[i].value);
	json_conf_write_member(&out, "f", NULL);
	(void)buf_adds(&out, "\n}");
	assert_string_equal(buf_str(&out), written);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_as_python_does),
		cmocka_unit_test(every_error_has_its_place),
		cmocka_unit_test(a_nul_byte_has_its_place),
		cmocka_unit_test(ceilings_have_their_place),
		cmocka_unit_test(nulls_are_noted),
		cmocka_unit_test(nulls_know_their_line),
		cmocka_unit_test(what_is_written_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
