/* SPDX-License-Identifier: MIT */
/* The helpers that everything else stands on: err, mem, buf, str, json, log. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

/* ---- err ---- */

static void err_carries_code_and_sentence(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(err_set(&err, -EINVAL, "port '%s' out of range", "x"), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.msg, "port 'x' out of range");
	assert_int_equal(err_wrap(&err, "%s, line %d", "cms.toml", 7), -EINVAL);
	assert_string_equal(err.msg, "cms.toml, line 7: port 'x' out of range");
	assert_int_equal(err_errno(&err, -ENOENT, "cannot open %s", "/x"), -ENOENT);
	assert_string_equal(err.msg, "cannot open /x: No such file or directory");
}

static void err_may_be_null_and_may_quote_itself(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(err_set(NULL, ERR_USAGE, "nobody reads %d", 1), ERR_USAGE);
	assert_int_equal(err_errno(NULL, -EIO, "nobody reads"), -EIO);
	assert_int_equal(err_wrap(NULL, "nobody reads"), -EIO);
	(void)err_set(&err, -EINVAL, "inner");
	(void)err_set(&err, ERR_USAGE, "outer (%s)", err.msg);
	assert_string_equal(err.msg, "outer (inner)");
}

static void err_cuts_what_is_too_long(void **state)
{
	char text[3 * ERR_MSG_SIZE];
	struct err err = { 0 };

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(err_set(&err, -E2BIG, "%s", text), -E2BIG);
	assert_int_equal(strlen(err.msg), ERR_MSG_SIZE - 1);
	assert_int_equal(err_wrap(&err, "%s", text), -E2BIG);
	assert_int_equal(strlen(err.msg), ERR_MSG_SIZE - 1);
}

static void err_codes_have_their_meaning(void **state)
{
	static const struct {
		int code;
		int status;
	} cases[] = {
		{ 0, 0 },
		{ ERR_USAGE, 2 },
		{ ERR_CONFIG, 3 },
		{ ERR_IDENTITY, 4 },
		{ ERR_UNAVAILABLE, 5 },
		{ ERR_UNKNOWN, 1 },
		{ ERR_CONFLICT, 1 },
		{ ERR_DENIED, 1 },
		{ -ECONNREFUSED, 1 },
		{ -ETIMEDOUT, 1 },
		{ -EINVAL, 1 },
		{ -ENOSPC, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(err_exit_status(cases[i].code), cases[i].status);
}

/* ---- mem ---- */

static void mem_copies_and_formats(void **state)
{
	CLEAN(str) char *copy = xstrdup("abc");
	CLEAN(str) char *part = xstrndup("abcdef", 2);
	CLEAN(str) char *bytes = xmemdup("x\0y", 4);
	CLEAN(str) char *text = xasprintf("%s-%d", "n", 5);

	(void)state;
	assert_string_equal(copy, "abc");
	assert_string_equal(part, "ab");
	assert_memory_equal(bytes, "x\0y", 4);
	assert_string_equal(text, "n-5");
	assert_null(xstrdup(NULL));
}

static void mem_sizes_of_zero_are_fine(void **state)
{
	CLEAN(str) char *a = xmalloc(0);
	CLEAN(str) char *b = xcalloc(0, 8);
	CLEAN(str) char *c = xmemdup(NULL, 0);
	CLEAN(str) char *d = xrealloc(NULL, 0);

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_non_null(d);
}

static void mem_steal_and_grow(void **state)
{
	char *s = xstrdup("mine");
	CLEAN(str) char *taken = steal(s);
	int *numbers = NULL;
	size_t len = 0;
	size_t cap = 0;

	(void)state;
	assert_null(s);
	assert_string_equal(taken, "mine");
	for (int i = 0; i < 100; i++) {
		GROW(numbers, len, cap);
		numbers[len++] = i;
	}
	assert_int_equal(numbers[0], 0);
	assert_int_equal(numbers[99], 99);
	assert_true(cap >= 100);
	free(numbers);
}

static void mem_clean_fd_closes_and_keeps_errno(void **state)
{
	int fds[2];
	int none = -1;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	errno = ENOTTY;
	clean_fd(&fds[0]);
	clean_fd(&none);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	(void)close(fds[1]);
}

/* ---- buf ---- */

static void buf_grows_and_gives_its_text_away(void **state)
{
	CLEAN(buf) struct buf buf = BUF_INIT(0);

	(void)state;
	assert_string_equal(buf_str(&buf), "");
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_addf(&buf, "%03d", i), 0);
	assert_int_equal(buf.len, 3000);
	assert_memory_equal(buf_str(&buf) + 2997, "999", 4);
	CLEAN(str) char *text = buf_steal(&buf);

	assert_int_equal(strlen(text), 3000);
	assert_int_equal(buf.len, 0);
	CLEAN(str) char *empty = buf_steal(&buf);

	assert_string_equal(empty, "");
}

static void buf_keeps_its_ceiling(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *after;
	} steps[] = {
		{ "abcd", 0, "abcd" }, { "efghi", -E2BIG, "abcd" }, { "efgh", 0, "abcdefgh" },
		{ "", 0, "abcdefgh" }, { "i", -E2BIG, "abcdefgh" },
	};
	CLEAN(buf) struct buf buf = BUF_INIT(8);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		assert_int_equal(buf_adds(&buf, steps[i].text), steps[i].result);
		assert_string_equal(buf_str(&buf), steps[i].after);
	}
	assert_int_equal(buf_addf(&buf, "%d", 1), -E2BIG);
	assert_int_equal(buf_add(&buf, "x", SIZE_MAX), -E2BIG);
	free(buf_steal(&buf));
	assert_int_equal(buf_adds(&buf, "123456789"), -E2BIG);
	assert_int_equal(buf_adds(&buf, "12345678"), 0);
}

static void buf_consumes_from_the_front(void **state)
{
	static const struct {
		size_t n;
		const char *after;
	} steps[] = {
		{ 0, "hello" },
		{ 2, "llo" },
		{ 3, "" },
		{ 3, "" },
	};
	CLEAN(buf) struct buf buf = BUF_INIT(0);

	(void)state;
	buf_consume(&buf, 3);
	assert_int_equal(buf_adds(&buf, "hello"), 0);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		buf_consume(&buf, steps[i].n);
		assert_string_equal(buf_str(&buf), steps[i].after);
		assert_int_equal(buf.len, strlen(steps[i].after));
	}
}

/* ---- str ---- */

static void str_split_and_join(void **state)
{
	static const struct {
		const char *text, *joined;
	} cases[] = {
		{ "", "" },	  { ",", "" },		 { "a", "a" },
		{ "a,b", "a|b" }, { " a , b ,", "a|b" }, { ",,a,,b c,,", "a|b c" },
		{ "\t,\n", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str_list) struct str_list list = { 0 };

		str_list_split(&list, cases[i].text, ',');
		CLEAN(str) char *joined = str_list_join(&list, "|");

		assert_string_equal(joined, cases[i].joined);
	}
}

static void str_lists_are_lists(void **state)
{
	CLEAN(str_list) struct str_list a = { 0 };
	CLEAN(str_list) struct str_list b = { 0 };

	(void)state;
	str_list_sort(&a);
	assert_true(str_list_equal(&a, &b));
	str_list_add(&a, "b");
	str_list_take(&a, xstrdup("a"));
	assert_true(str_list_has(&a, "a"));
	assert_false(str_list_has(&a, "c"));
	str_list_add(&b, "old");
	assert_false(str_list_equal(&a, &b));
	str_list_copy(&b, &a);
	assert_true(str_list_equal(&a, &b));
	str_list_copy(&b, &b);
	assert_int_equal(b.len, 2);
	str_list_sort(&a);
	assert_false(str_list_equal(&a, &b));
	assert_string_equal(a.items[0], "a");
}

static void str_compares(void **state)
{
	char mixed[] = "ABz-9\xc3\x84";

	(void)state;
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq(NULL, ""));
	assert_true(str_eq("a", "a"));
	assert_true(str_starts("--name", "--"));
	assert_false(str_starts("-", "--"));
	assert_true(str_ends("cms.toml", ".toml"));
	assert_false(str_ends("l", ".toml"));
	str_lower(mixed);
	assert_string_equal(mixed, "abz-9\xc3\x84");
}

static void str_reads_integers(void **state)
{
	static const struct {
		const char *text;
		int64_t min, max;
		int result;
		int64_t value;
	} cases[] = {
		{ "0", 0, 9, 0, 0 },
		{ "-5", -9, 9, 0, -5 },
		{ "9223372036854775807", INT64_MIN, INT64_MAX, 0, INT64_MAX },
		{ "-9223372036854775808", INT64_MIN, INT64_MAX, 0, INT64_MIN },
		{ "9223372036854775808", INT64_MIN, INT64_MAX, -ERANGE, 0 },
		{ "10", 0, 9, -ERANGE, 0 },
		{ "-1", 0, 9, -ERANGE, 0 },
		{ "", 0, 9, -EINVAL, 0 },
		{ "-", -9, 9, -EINVAL, 0 },
		{ "- 5", -9, 9, -EINVAL, 0 },
		{ "+-5", -9, 9, -EINVAL, 0 },
		{ " 5", 0, 9, -EINVAL, 0 },
		{ "5 ", 0, 9, -EINVAL, 0 },
		{ "0x5", 0, 9, -EINVAL, 0 },
		{ "5.0", 0, 9, -EINVAL, 0 },
		{ NULL, 0, 9, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t value = 77;

		assert_int_equal(str_to_int64(cases[i].text, cases[i].min, cases[i].max, &value),
				 cases[i].result);
		assert_true(value == (cases[i].result ? 77 : cases[i].value));
	}
}

static void str_reads_unsigned_integers(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t value = 77;

		assert_int_equal(str_to_uint64(cases[i].text, &value), cases[i].result);
		assert_true(value == (cases[i].result ? 77 : cases[i].value));
	}
}

static void str_hex_and_digest(void **state)
{
	/* FIPS 180-4's examples. */
	static const struct {
		const char *text, *digest;
	} cases[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	};
	char hex[7];

	(void)state;
	str_hex("\x00\xff\x1a", 3, hex);
	assert_string_equal(hex, "00ff1a");
	assert_true(str_is_hex("00fF1a", 6));
	assert_false(str_is_hex("00ff1", 6));
	assert_false(str_is_hex("00ff1aa", 6));
	assert_false(str_is_hex("00ff1g", 6));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char digest[65];

		str_sha256(cases[i].text, strlen(cases[i].text), digest);
		assert_string_equal(digest, cases[i].digest);
	}
}

static void str_finds_the_nearest_word(void **state)
{
	static const char *const words[] = { "health-interval", "health-busy", "prefix", "etcd" };
	static const struct {
		const char *word, *nearest;
	} cases[] = {
		{ "health-intervall", "health-interval" },
		{ "heath-busy", "health-busy" },
		{ "perfix", "prefix" },
		{ "etc", "etcd" },
		{ "healthbusy-abcd", "health-busy" },
		{ "health-inval", "health-interval" },
		{ "zzzzzz", NULL },
		{ "completely-different", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *nearest = str_nearest(cases[i].word, words, ARRAY_LEN(words));

		assert_true(str_eq(nearest, cases[i].nearest));
	}
	char longest[300];

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_null(str_nearest(longest, words, ARRAY_LEN(words)));
}

/* Levenshtein's distance as its definition has it. */
static size_t plain_distance(const char *a, const char *b)
{
	if (!*a || !*b)
		return strlen(a) + strlen(b);
	const size_t replaced = plain_distance(a + 1, b + 1) + (*a != *b);
	const size_t left_out = plain_distance(a + 1, b) + 1;
	const size_t put_in = plain_distance(a, b + 1) + 1;
	const size_t other = left_out < put_in ? left_out : put_in;

	return replaced < other ? replaced : other;
}

static void any_word(uint64_t *seed, char ret[7])
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	const size_t len = (size_t)(*seed >> 33) % 7;

	for (size_t i = 0; i < len; i++)
		ret[i] = "abc"[*seed >> (36 + 2 * i) & 3 ? *seed >> (36 + 2 * i) & 1 : 2];
	ret[len] = '\0';
}

static void the_nearest_word_is_the_nearest(void **state)
{
	uint64_t seed = 1;
	size_t found = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		char word[7], texts[3][7];
		const char *words[3];
		const char *expected = NULL;

		any_word(&seed, word);
		size_t best = strlen(word) / 3 + 2;

		for (size_t k = 0; k < ARRAY_LEN(words); k++) {
			any_word(&seed, texts[k]);
			words[k] = texts[k];
			if (plain_distance(word, words[k]) < best) {
				best = plain_distance(word, words[k]);
				expected = words[k];
			}
		}
		const char *nearest = str_nearest(word, words, ARRAY_LEN(words));

		if (nearest != expected)
			fail_msg("%s: %s, not %s", word, nearest ? nearest : "-",
				 expected ? expected : "-");
		found += nearest != NULL;
	}
	assert_true(found > 500 && found < 2500);
}

/* ---- json ---- */

static void json_reads_members(void **state)
{
	static const char text[] =
		" {\"s\":\"x\",\"b\":true,\"d\":1.5,\"a\":[1],\"o\":{},\"n\":null} \n";
	CLEAN(json) cJSON *json = json_parse(text, strlen(text), NULL);

	(void)state;
	assert_non_null(json);
	assert_string_equal(json_get_str(json, "s"), "x");
	assert_null(json_get_str(json, "b"));
	assert_null(json_get_str(json, "S"));
	assert_true(json_get_bool(json, "b", false));
	assert_true(json_get_bool(json, "s", true));
	assert_true(json_get_double(json, "d", 0) == 1.5);
	assert_true(json_get_double(json, "s", 2.5) == 2.5);
	assert_non_null(json_get_array(json, "a"));
	assert_null(json_get_array(json, "o"));
	assert_non_null(json_get_object(json, "o"));
	assert_null(json_get_object(json, "a"));
	assert_non_null(json_get(json, "n"));
	assert_null(json_get(json, "missing"));
}

static void json_says_where_the_error_is(void **state)
{
	static const struct {
		const char *text, *where;
	} cases[] = {
		{ "{\"a\":1,\n \"b\":}", "line 2, column 6: not valid JSON" },
		{ "{} x", "line 1, column 4: not valid JSON" },
		{ "[1,2", "line 1, column 4: not valid JSON" },
		{ "", "line 1, column 1: not valid JSON" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = { 0 };

		assert_null(json_parse(cases[i].text, strlen(cases[i].text), &err));
		assert_int_equal(err.code, -EINVAL);
		assert_string_equal(err.msg, cases[i].where);
	}
	assert_null(json_parse("{}\0", 3, NULL));
}

static void json_keeps_integers_exact(void **state)
{
	static const struct {
		const char *text;
		int result;
		int64_t value;
	} cases[] = {
		{ "{\"i\":\"9223372036854775807\"}", 0, INT64_MAX },
		{ "{\"i\":\"-9223372036854775808\"}", 0, INT64_MIN },
		{ "{\"i\":9007199254740992}", 0, 9007199254740992 },
		{ "{\"i\":-3}", 0, -3 },
		{ "{\"i\":\"9223372036854775808\"}", -EINVAL, 0 },
		{ "{\"i\":9223372036854775807}", -EINVAL, 0 },
		{ "{\"i\":1.5}", -EINVAL, 0 },
		{ "{\"i\":1e400}", -EINVAL, 0 },
		{ "{\"i\":\"\"}", -EINVAL, 0 },
		{ "{\"i\":null}", -EINVAL, 0 },
		{ "{\"i\":true}", -EINVAL, 0 },
		{ "{}", -ENOENT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(json) cJSON *json = json_parse(cases[i].text, strlen(cases[i].text), NULL);
		int64_t value = 77;

		assert_int_equal(json_get_int64(json, "i", &value), cases[i].result);
		assert_true(value == (cases[i].result ? 77 : cases[i].value));
	}
}

static void json_reads_unsigned_integers(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
		{ "{\"i\":\"18446744073709551615\"}", 0, UINT64_MAX },
		{ "{\"i\":5}", 0, 5 },
		{ "{\"i\":-5}", -EINVAL, 0 },
		{ "{\"i\":\"-5\"}", -EINVAL, 0 },
		{ "{}", -ENOENT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(json) cJSON *json = json_parse(cases[i].text, strlen(cases[i].text), NULL);
		uint64_t value = 77;

		assert_int_equal(json_get_uint64(json, "i", &value), cases[i].result);
		assert_true(value == (cases[i].result ? 77 : cases[i].value));
	}
}

static void json_writes_what_it_reads(void **state)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();
	CLEAN(str_list) struct str_list list = { 0 };

	(void)state;
	str_list_split(&list, "a,b", ',');
	json_add_str(json, "s", "q\"\n");
	json_add_str(json, "n", NULL);
	json_add_bool(json, "b", false);
	json_add_double(json, "d", 0.5);
	json_add_int(json, "i", INT64_MAX);
	json_add_int_str(json, "t", INT64_MIN);
	json_add_str_list(json, "l", &list);
	CLEAN(str) char *text = json_text(json);

	assert_string_equal(
		text,
		"{\"s\":\"q\\\"\\n\",\"n\":null,\"b\":false,\"d\":0.5,\"i\":9223372036854775807,"
		"\"t\":\"-9223372036854775808\",\"l\":[\"a\",\"b\"]}");
}

static void json_reads_lists_of_strings(void **state)
{
	static const struct {
		const char *text;
		int result;
		size_t len;
	} cases[] = {
		{ "{\"l\":[\"a\",\"b\"]}", 0, 2 },
		{ "{\"l\":[]}", 0, 0 },
		{ "{}", 0, 0 },
		{ "{\"l\":[\"a\",1]}", -EINVAL, 0 },
		{ "{\"l\":\"a\"}", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(json) cJSON *json = json_parse(cases[i].text, strlen(cases[i].text), NULL);
		CLEAN(str_list) struct str_list list = { 0 };

		assert_int_equal(json_get_str_list(json, "l", &list), cases[i].result);
		assert_int_equal(list.len, cases[i].len);
	}
}

/* ---- log ---- */

static char logged[512];
static int log_lines;

static void keep_line(enum log_level level, const char *module, const char *text)
{
	(void)snprintf(logged, sizeof(logged), "%d %s %s", (int)level, module, text);
	log_lines++;
}

static void log_filters_by_level_and_hides_control_characters(void **state)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	(void)state;
	assert_int_equal(log_level_parse("warning", &level), 0);
	assert_int_equal(level, LOG_LEVEL_WARNING);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	log_set_sink(keep_line);
	log_configure(level, false);
	log_lines = 0;
	log_info("etcd", "not shown");
	assert_int_equal(log_lines, 0);
	log_warning("etcd", "a\nforged\x1b[31m %d\x7f", 5);
	assert_int_equal(log_lines, 1);
	assert_string_equal(logged, "1 etcd a forged [31m 5 ");
	log_error("etcd", "down");
	assert_string_equal(logged, "0 etcd down");
	log_set_sink(NULL);
	log_configure(LOG_LEVEL_INFO, false);
}

/* Runs log_warning() with standard error in a pipe. */
static void capture(bool json, char ret[512])
{
	int fds[2];
	const int saved = dup(STDERR_FILENO);

	assert_true(saved >= 0);
	assert_int_equal(pipe(fds), 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	log_configure(LOG_LEVEL_INFO, json);
	log_warning("etcd", "no \"leader\" for %d s", 3);
	log_configure(LOG_LEVEL_INFO, false);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	const ssize_t n = read(fds[0], ret, 511);

	assert_true(n > 0);
	ret[n] = '\0';
	(void)close(saved);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void log_writes_text_and_json(void **state)
{
	char line[512];

	(void)state;
	capture(false, line);
	assert_true(str_ends(line, "Z warning etcd: no \"leader\" for 3 s\n"));
	/* 2026-11-22T10:00:00.123Z */
	assert_int_equal(strcspn(line, " "), 24);
	assert_int_equal(line[10], 'T');
	assert_int_equal(line[19], '.');
	capture(true, line);
	assert_true(str_ends(line, "}\n"));
	CLEAN(json) cJSON *json = json_parse(line, strlen(line), NULL);

	assert_non_null(json);
	assert_string_equal(json_get_str(json, "level"), "warning");
	assert_string_equal(json_get_str(json, "module"), "etcd");
	assert_string_equal(json_get_str(json, "message"), "no \"leader\" for 3 s");
	assert_int_equal(strlen(json_get_str(json, "time")), 24);
}

static void clocks_run(void **state)
{
	const int64_t before = clock_now_ms();

	(void)state;
	(void)usleep(2000);
	assert_true(clock_now_ms() > before);
	assert_true(clock_wall_s() > 1e9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_carries_code_and_sentence),
		cmocka_unit_test(err_may_be_null_and_may_quote_itself),
		cmocka_unit_test(err_cuts_what_is_too_long),
		cmocka_unit_test(err_codes_have_their_meaning),
		cmocka_unit_test(mem_copies_and_formats),
		cmocka_unit_test(mem_sizes_of_zero_are_fine),
		cmocka_unit_test(mem_steal_and_grow),
		cmocka_unit_test(mem_clean_fd_closes_and_keeps_errno),
		cmocka_unit_test(buf_grows_and_gives_its_text_away),
		cmocka_unit_test(buf_keeps_its_ceiling),
		cmocka_unit_test(buf_consumes_from_the_front),
		cmocka_unit_test(str_split_and_join),
		cmocka_unit_test(str_lists_are_lists),
		cmocka_unit_test(str_compares),
		cmocka_unit_test(str_reads_integers),
		cmocka_unit_test(str_reads_unsigned_integers),
		cmocka_unit_test(str_hex_and_digest),
		cmocka_unit_test(str_finds_the_nearest_word),
		cmocka_unit_test(the_nearest_word_is_the_nearest),
		cmocka_unit_test(json_reads_members),
		cmocka_unit_test(json_says_where_the_error_is),
		cmocka_unit_test(json_keeps_integers_exact),
		cmocka_unit_test(json_reads_unsigned_integers),
		cmocka_unit_test(json_writes_what_it_reads),
		cmocka_unit_test(json_reads_lists_of_strings),
		cmocka_unit_test(log_filters_by_level_and_hides_control_characters),
		cmocka_unit_test(log_writes_text_and_json),
		cmocka_unit_test(clocks_run),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
