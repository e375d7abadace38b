/* SPDX-License-Identifier: MIT */
/*
 * Framing and codec of CMS's RPC: lines cut at every byte, verdicts, and texts
 * exactly as Python writes them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/cms_rpc/message.h"

/* Lines */

struct stream {
	const char *bytes;
	const char *lines; /* each followed by '|' */
	int end; /* what rpc_lines_next() says at last */
};

static const struct stream streams[] = {
	{ "", "", 0 },
	{ "{}\r\n", "{}|", 0 },
	{ "a\r\nbc\r\nd", "a|bc|", 0 },
	{ "\r\n\r\n", "||", 0 },
	{ "a\r", "", 0 },
	{ "a\rb\r\n", "a\rb|", 0 },
	{ "a\r\nb\nc\r\n", "a|", -EBADMSG },
	{ "\n", "", -EBADMSG },
};

/* All lines of what was fed, and how it ended. */
static int drain(struct rpc_lines *lines, struct buf *seen)
{
	const char *line;
	size_t len;
	int r = rpc_lines_next(lines, &line, &len);

	for (; r > 0; r = rpc_lines_next(lines, &line, &len)) {
		assert_int_equal(buf_add(seen, line, len), 0);
		assert_int_equal(buf_adds(seen, "|"), 0);
	}
	return r;
}

static void check_stream(const struct stream *stream, size_t split)
{
	CLEAN(rpc_lines) struct rpc_lines lines;
	CLEAN(buf) struct buf seen = BUF_INIT(0);

	rpc_lines_init(&lines);
	assert_int_equal(rpc_lines_feed(&lines, stream->bytes, split), 0);
	int r = drain(&lines, &seen);

	if (r == 0) {
		assert_int_equal(rpc_lines_feed(&lines, stream->bytes + split,
						strlen(stream->bytes) - split),
				 0);
		r = drain(&lines, &seen);
	}
	assert_int_equal(r, stream->end);
	assert_string_equal(buf_str(&seen), stream->lines);
}

static void test_lines_split_everywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		for (size_t split = 0; split <= strlen(streams[i].bytes); split++)
			check_stream(&streams[i], split);
}

/*
 * Feeds a line of `len` bytes with its CR LF in pieces; what rpc_lines_next() says
 * after the last.
 */
static int feed_long(size_t len, bool terminated)
{
	CLEAN(rpc_lines) struct rpc_lines lines;
	CLEAN(str) char *bytes = xmalloc(len);
	const char *line;
	size_t line_len;
	int r = 0;

	memset(bytes, 'x', len);
	if (terminated)
		memcpy(bytes + len - 2, "\r\n", 2);
	rpc_lines_init(&lines);
	for (size_t at = 0; at < len && r == 0; at += RPC_FEED_MAX) {
		const size_t n = len - at < RPC_FEED_MAX ? len - at : RPC_FEED_MAX;

		assert_int_equal(rpc_lines_feed(&lines, bytes + at, n), 0);
		r = rpc_lines_next(&lines, &line, &line_len);
	}
	if (r == 1)
		assert_int_equal(line_len, len - 2);
	return r;
}

static void test_longest_line(void **state)
{
	static const struct {
		size_t len;
		bool terminated;
		int expected;
	} rows[] = {
		{ RPC_LINE_MAX, true, 1 },
		{ RPC_LINE_MAX + 1, true, -EMSGSIZE },
		{ RPC_LINE_MAX - 1, false, 0 },
		{ RPC_LINE_MAX, false, -EMSGSIZE },
		{ RPC_LINE_MAX * 2, false, -EMSGSIZE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(feed_long(rows[i].len, rows[i].terminated), rows[i].expected);
}

/* Decoding */

struct request {
	const char *line;
	enum rpc_verdict verdict;
	const char *reply; /* to RPC_GOOD: the id and the data, sent back */
};

#define REPLY(id, data) "{\"__id\": " id ", \"__data\": " data ", \"__error\": null}\r\n"
#define REQUEST(data) "{\"__id\": \"a\", \"__method\": \"m\", \"__data\": " data "}"

static const struct request requests[] = {
	{ REQUEST("{}"), RPC_GOOD, REPLY("\"a\"", "{}") },
	{ "{\"__data\":[1,2.5,-3],\"__method\":\"m\",\"__id\":{\"k\":[null,true]}}", RPC_GOOD,
	  REPLY("{\"k\": [null, true]}", "[1, 2.5, -3]") },
	{ REQUEST("\"\xc3\xa8 \xe2\x80\x93 \xf0\x9f\x98\x80 \\/ \\\" \\\\ \x7f \\u0001\""),
	  RPC_GOOD,
	  REPLY("\"a\"", "\"\\u00e8 \\u2013 \\ud83d\\ude00 / \\\" \\\\ \\u007f \\u0001\"") },
	{ REQUEST("\"\\b\\f\\n\\r\\t\""), RPC_GOOD, REPLY("\"a\"", "\"\\b\\f\\n\\r\\t\"") },
	{ REQUEST("24105.55078125"), RPC_GOOD, REPLY("\"a\"", "24105.55078125") },
	{ REQUEST("0.1"), RPC_GOOD, REPLY("\"a\"", "0.1") },
	{ REQUEST("1e300"), RPC_GOOD, REPLY("\"a\"", "1e+300") },
	{ REQUEST("9007199254740992"), RPC_GOOD, REPLY("\"a\"", "9007199254740992") },
	/* What Python writes beyond JSON */
	{ REQUEST("[NaN, Infinity, -Infinity, \"NaN\"]"), RPC_GOOD,
	  REPLY("\"a\"", "[null, null, null, \"NaN\"]") },
	{ REQUEST("\"\\udc80\""), RPC_GOOD, REPLY("\"a\"", "\"\\ufffd\"") },
	{ REQUEST("\"\\ud83d\\ude00 \\ud83d \\\\udc80\""), RPC_GOOD,
	  REPLY("\"a\"", "\"\\ud83d\\ude00 \\ufffd \\\\udc80\"") },
	{ REQUEST("\"x\\u0000y\""), RPC_GOOD, REPLY("\"a\"", "\"x\\ufffdy\"") },
	/* Not answered */
	{ "[1, 2]", RPC_IGNORE, NULL },
	{ "42", RPC_IGNORE, NULL },
	{ "null", RPC_IGNORE, NULL },
	{ "{\"__id\": \"a\", \"__method\": 5, \"__data\": {}}", RPC_IGNORE, NULL },
	/* Not tolerated */
	{ "", RPC_CLOSE, NULL },
	{ "{\"__id\": \"a\", \"__method\": ", RPC_CLOSE, NULL },
	{ "{\"__id\": \"a\", \"__method\": \"echo\"}", RPC_CLOSE, NULL },
	{ "{\"__id\": \"a\", \"__data\": {}}", RPC_CLOSE, NULL },
	{ "{\"__method\": \"a\", \"__data\": {}}", RPC_CLOSE, NULL },
	{ "{} {}", RPC_CLOSE, NULL },
	{ REQUEST("\"\xff\""), RPC_CLOSE, NULL },
	{ REQUEST("\"\xc0\x80\""), RPC_CLOSE, NULL }, /* overlong */
	{ REQUEST("\"\xed\xa0\x80\""), RPC_CLOSE, NULL }, /* surrogate */
	{ REQUEST("\"\xf4\x90\x80\x80\""), RPC_CLOSE, NULL }, /* beyond U+10FFFF */
	{ REQUEST("\"\xe2\x80"), RPC_CLOSE, NULL },
};

static void check_request(const struct request *row)
{
	CLEAN(rpc_message) struct rpc_message message = { 0 };
	CLEAN(buf) struct buf out = BUF_INIT(0);
	struct err err = { 0 };
	const enum rpc_verdict verdict =
		rpc_decode_request(row->line, strlen(row->line), &message, &err);
	if (verdict != row->verdict)
		fail_msg("%s: verdict %d: %s", row->line, verdict, err.msg);
	if (verdict != RPC_GOOD) {
		assert_true(*err.msg);
		return;
	}
	assert_string_equal(message.method, "m");
	assert_int_equal(rpc_encode_reply(&out, message.id, message.data, NULL), 0);
	assert_string_equal(buf_str(&out), row->reply);
}

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		check_request(&requests[i]);
}

static void test_replies(void **state)
{
	static const struct {
		const char *line;
		enum rpc_verdict verdict;
		const char *error;
	} rows[] = {
		{ "{\"__id\": \"a\", \"__data\": 1, \"__error\": null}", RPC_GOOD, NULL },
		{ "{\"__id\": \"a\", \"__data\": null, \"__error\": \"no\"}", RPC_GOOD, "no" },
		{ "{\"__id\": \"a\", \"__data\": null, \"__error\": 5}", RPC_GOOD,
		  "unknown error" },
		{ "{\"__id\": \"a\", \"__data\": null}", RPC_CLOSE, NULL },
		{ "7", RPC_IGNORE, NULL },
		{ "x", RPC_CLOSE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(rpc_message) struct rpc_message message = { 0 };

		assert_int_equal(
			rpc_decode_reply(rows[i].line, strlen(rows[i].line), &message, NULL),
			rows[i].verdict);
		if (rows[i].verdict != RPC_GOOD)
			continue;
		assert_string_equal(message.id->valuestring, "a");
		if (rows[i].error)
			assert_string_equal(message.error, rows[i].error);
		else
			assert_null(message.error);
	}
}

/* Encoding */

static void test_request_text(void **state)
{
	CLEAN(buf) struct buf out = BUF_INIT(0);
	CLEAN(json) struct cJSON *data = cJSON_CreateObject();

	(void)state;
	json_add_str(data, "string", "h\xc3\xa9");
	json_add_int(data, "n", 9007199254740993);
	assert_int_equal(rpc_encode_request(&out, "ab", "echo", data), 0);
	assert_int_equal(rpc_encode_request(&out, "c", "quit", NULL), 0);
	assert_string_equal(buf_str(&out),
			    "{\"__id\": \"ab\", \"__method\": \"echo\", \"__data\": "
			    "{\"string\": \"h\\u00e9\", \"n\": 9007199254740993}}\r\n"
			    "{\"__id\": \"c\", \"__method\": \"quit\", \"__data\": {}}\r\n");
}

static void test_error_text(void **state)
{
	CLEAN(buf) struct buf out = BUF_INIT(0);

	(void)state;
	assert_int_equal(rpc_encode_reply(&out, NULL, NULL, "bad\xff\n"), 0);
	assert_string_equal(
		buf_str(&out),
		"{\"__id\": null, \"__data\": null, \"__error\": \"bad\\ufffd\\n\"}\r\n");
}

/* The frame around the text of a reply to id null. */
#define REPLY_FRAME (sizeof("{\"__id\": null, \"__data\": \"\", \"__error\": null}\r\n") - 1)

static void test_ceilings(void **state)
{
	static const struct {
		size_t text, out_max;
		int expected;
	} rows[] = {
		{ RPC_LINE_MAX - REPLY_FRAME, 0, 0 },
		{ RPC_LINE_MAX - REPLY_FRAME + 1, 0, -EMSGSIZE },
		{ RPC_LINE_MAX * 3, 0, -EMSGSIZE },
		{ 1000, 1000, -E2BIG },
		{ 100, 1000, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(buf) struct buf out = BUF_INIT(rows[i].out_max);
		CLEAN(str) char *text = xcalloc(rows[i].text + 1, 1);

		memset(text, 'x', rows[i].text);
		CLEAN(json) struct cJSON *data = cJSON_CreateString(text);

		assert_int_equal(rpc_encode_reply(&out, NULL, data, NULL), rows[i].expected);
		assert_int_equal(out.len, rows[i].expected ? 0 : rows[i].text + REPLY_FRAME);
	}
}

/* Arguments */

static void test_arguments(void **state)
{
	static const char *const none[] = { NULL };
	static const char *const one[] = { "string", NULL };
	static const char *const many[] = { "a", "b", "c", "?d", NULL };
	static const struct {
		const char *data;
		const char *const *params;
		const char *expected;
	} rows[] = {
		{ "{\"string\": 1}", one, NULL },
		{ "{}", none, NULL },
		{ "{\"x\": 1}", NULL, NULL },
		{ "{\"a\": 1, \"b\": 1, \"c\": 1}", many, NULL },
		{ "{\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1}", many, NULL },
		{ "{}", one,
		  "TypeError: S.m() missing 1 required positional argument: 'string'\n" },
		{ "{\"a\": 1}", many,
		  "TypeError: S.m() missing 2 required positional arguments: 'b' and 'c'\n" },
		{ "{}", many,
		  "TypeError: S.m() missing 3 required positional arguments: 'a', 'b', and 'c'\n" },
		{ "{\"foo\": 1}", one,
		  "TypeError: S.m() got an unexpected keyword argument 'foo'\n" },
		{ "{\"?d\": 1}", many,
		  "TypeError: S.m() got an unexpected keyword argument '?d'\n" },
		{ "null", NULL,
		  "TypeError: x.y.S.m() argument after ** must be a mapping, not NoneType\n" },
		{ "[]", one,
		  "TypeError: x.y.S.m() argument after ** must be a mapping, not list\n" },
		{ "\"s\"", one,
		  "TypeError: x.y.S.m() argument after ** must be a mapping, not str\n" },
		{ "true", one,
		  "TypeError: x.y.S.m() argument after ** must be a mapping, not bool\n" },
		{ "1.5", one,
		  "TypeError: x.y.S.m() argument after ** must be a mapping, not float\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(json) struct cJSON *data =
			json_parse(rows[i].data, strlen(rows[i].data), NULL);
		CLEAN(str) char *text = rpc_check_arguments(data, "x.y.S.m", rows[i].params);

		if (rows[i].expected)
			assert_string_equal(text, rows[i].expected);
		else
			assert_null(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_split_everywhere),
		cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_request_text),
		cmocka_unit_test(test_error_text),
		cmocka_unit_test(test_ceilings),
		cmocka_unit_test(test_arguments),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
