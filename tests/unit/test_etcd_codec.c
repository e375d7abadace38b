/* SPDX-License-Identifier: MIT */
/* The gateway's text: requests, answers, errors, watch messages; and real exchanges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd_codec.h"
#include "cmsnode/store/store.h"

#define HEADER "\"header\":{\"cluster_id\":\"10144879847569953045\",\"revision\":\"7\"}"

/* ---- requests ---------------------------------------------------------- */

static struct store_request *cas_request(void)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_request_compare(request, STORE_COMPARE_MOD, "/cms/current", 3);
	store_ops_put(&request->success, "/k", "v\0w", 3, UINT64_C(9223372036854775807));
	store_ops_delete(&request->success, "/cms/old/", true);
	(void)store_ops_range(&request->failure, "/cms/current", false);
	return request;
}

static void test_writes_txn(void **state)
{
	CLEAN(store_request) struct store_request *request = cas_request();
	CLEAN(str) char *body = etcd_codec_request(request);

	(void)state;
	assert_string_equal(etcd_codec_path(request), "/kv/txn");
	assert_string_equal(
		body,
		"{\"compare\":[{\"key\":\"L2Ntcy9jdXJyZW50\",\"target\":\"MOD\",\"result\":\"EQUAL\","
		"\"mod_revision\":\"3\"}],"
		"\"success\":[{\"request_put\":{\"key\":\"L2s=\",\"value\":\"dgB3\","
		"\"lease\":\"9223372036854775807\"}},"
		"{\"request_delete_range\":{\"key\":\"L2Ntcy9vbGQv\",\"range_end\":\"L2Ntcy9vbGQw\"}}],"
		"\"failure\":[{\"request_range\":{\"key\":\"L2Ntcy9jdXJyZW50\"}}]}");
}

static void test_writes_range_and_compares(void **state)
{
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	struct store_op *op = store_ops_range(&request->success, "/n/", true);

	(void)state;
	op->range.limit = 16;
	op->range.min_mod_revision = INT64_C(9007199254740993);
	op->range.max_create_revision = 5;
	op->range.keys_only = true;
	op->range.oldest_first = true;
	store_request_compare(request, STORE_COMPARE_CREATE, "/a", 0);
	store_request_compare(request, STORE_COMPARE_LEASE, "/a", 12);
	store_request_compare_value(request, "/a", "v");
	CLEAN(str) char *body = etcd_codec_request(request);

	assert_string_equal(
		body,
		"{\"compare\":[{\"key\":\"L2E=\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
		"\"create_revision\":\"0\"},{\"key\":\"L2E=\",\"target\":\"LEASE\",\"result\":\"EQUAL\","
		"\"lease\":\"12\"},{\"key\":\"L2E=\",\"target\":\"VALUE\",\"result\":\"EQUAL\","
		"\"value\":\"dg==\"}],\"success\":[{\"request_range\":{\"key\":\"L24v\",\"range_end\":"
		"\"L24w\",\"limit\":\"16\",\"min_mod_revision\":\"9007199254740993\","
		"\"max_create_revision\":\"5\",\"keys_only\":true,\"sort_order\":\"ASCEND\","
		"\"sort_target\":\"CREATE\"}}],\"failure\":[]}");
}

static void test_writes_leases(void **state)
{
	static const struct {
		enum store_request_kind kind;
		size_t leases;
		const char *path;
		const char *body;
	} cases[] = {
		{ STORE_LEASE_GRANT, 1, "/lease/grant",
		  "{\"ID\":\"9007199254740993\",\"TTL\":\"10\"}" },
		{ STORE_LEASE_REVOKE, 1, "/lease/revoke", "{\"ID\":\"9007199254740993\"}" },
		{ STORE_LEASE_REMAINING, 1, "/lease/timetolive", "{\"ID\":\"9007199254740993\"}" },
		{ STORE_LEASE_KEEPALIVE, 1, "/lease/keepalive", "{\"ID\":\"9007199254740993\"}" },
		{ STORE_LEASE_KEEPALIVE, 2, "/lease/keepalive",
		  "{\"ID\":\"9007199254740993\"}{\"ID\":\"5\"}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request =
			store_request_new(cases[i].kind);

		request->leases[0] = UINT64_C(9007199254740993);
		request->leases[1] = 5;
		request->leases_len = cases[i].leases;
		request->ttl_s = 10;
		CLEAN(str) char *body = etcd_codec_request(request);

		assert_string_equal(etcd_codec_path(request), cases[i].path);
		assert_string_equal(body, cases[i].body);
	}
}

static void test_writes_watch(void **state)
{
	static const char *const keys[] = { "/cms/current" };
	static const char *const prefixes[] = { "/cms/nodes/" };
	CLEAN(str) char *body = etcd_codec_watch(keys, 1, prefixes, 1, INT64_C(9007199254740993));

	(void)state;
	assert_string_equal(
		body,
		"{\"create_request\":{\"key\":\"L2Ntcy9jdXJyZW50\",\"start_revision\":\"9007199254740993\","
		"\"progress_notify\":true,\"watch_id\":\"1\"}}\n"
		"{\"create_request\":{\"key\":\"L2Ntcy9ub2Rlcy8=\",\"range_end\":\"L2Ntcy9ub2RlczA=\","
		"\"start_revision\":\"9007199254740993\",\"progress_notify\":true,\"watch_id\":\"2\"}}\n");
}

static void test_status(void **state)
{
	static const struct {
		const char *body;
		const char *version; /* NULL: refused */
		int major, minor, patch;
	} cases[] = {
		{ "{" HEADER ",\"version\":\"3.4.23\",\"raftIndex\":\"9007199254740993\"}",
		  "3.4.23", 3, 4, 23 },
		{ "{" HEADER ",\"version\":\"3.6.0-rc.1\",\"raftIndex\":\"9007199254740993\"}",
		  "3.6.0", 3, 6, 0 },
		{ "{" HEADER ",\"version\":\"3.4\",\"raftIndex\":\"9007199254740993\"}", NULL, 0, 0,
		  0 },
		{ "{" HEADER ",\"version\":\"3.4.23.1\"}", NULL, 0, 0, 0 },
		{ "{" HEADER ",\"version\":\"\"}", NULL, 0, 0, 0 },
		{ "{" HEADER ",\"version\":\"3.4.00000000000000000000000000023\"}", NULL, 0, 0, 0 },
		{ "{" HEADER ",\"version\":\"3.4.23\",\"raftIndex\":\"-1\"}", NULL, 0, 0, 0 },
		{ "{\"version\":\"3.4.23\",\"raftIndex\":\"7\"}", NULL, 0, 0, 0 },
		{ "{" HEADER "}", NULL, 0, 0, 0 },
		{ "[]", NULL, 0, 0, 0 },
		{ "<html>", NULL, 0, 0, 0 },
		{ "", NULL, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct etcd_codec_status status;
		const int r = etcd_codec_status(cases[i].body, strlen(cases[i].body), &status);

		if (r != (cases[i].version ? 0 : -EINVAL))
			fail_msg("%s: %d", cases[i].body, r);
		if (!cases[i].version)
			continue;
		assert_string_equal(status.version, cases[i].version);
		assert_int_equal(status.major, cases[i].major);
		assert_int_equal(status.minor, cases[i].minor);
		assert_int_equal(status.patch, cases[i].patch);
		assert_int_equal(status.revision, 7);
		assert_true(status.raft_index == INT64_C(9007199254740993));
	}
}

static void test_members(void **state)
{
	static const struct {
		const char *body;
		const char *urls; /* NULL: refused */
	} cases[] = {
		{ "{" HEADER ",\"members\":[{\"ID\":\"1\",\"peerURLs\":[\"http://p:1\"],"
		  "\"clientURLs\":[\"http://a:1\",\"https://a:2\"]},"
		  "{\"ID\":\"2\"},{\"isLearner\":true,\"clientURLs\":[\"http://l:1\"]},"
		  "{\"clientURLs\":[\"http://b:1\"]}]}",
		  "http://a:1 https://a:2 http://b:1" },
		{ "{\"members\":[]}", "" },
		{ "{\"members\":[{\"clientURLs\":[\"http://a:1\"]},{\"clientURLs\":7}]}", NULL },
		{ "{\"members\":[{\"clientURLs\":[7]}]}", NULL },
		{ "{\"members\":{}}", NULL },
		{ "{" HEADER "}", NULL },
		{ "<html>", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str_list) struct str_list urls = { 0 };
		const int r = etcd_codec_members(cases[i].body, strlen(cases[i].body), &urls);
		CLEAN(str) char *text = str_list_join(&urls, " ");

		if (r != (cases[i].urls ? 0 : -EINVAL) ||
		    !str_eq(text, cases[i].urls ? cases[i].urls : ""))
			fail_msg("%s: %d '%s'", cases[i].body, r, text);
	}
}

static void test_tokens(void **state)
{
	static const struct {
		const char *body;
		const char *token;
	} cases[] = {
		{ "{" HEADER ",\"token\":\"MQEvntttQDxVohHb.14\"}", "MQEvntttQDxVohHb.14" },
		{ "{" HEADER ",\"token\":\"\"}", NULL },
		{ "{" HEADER ",\"token\":\"a\\r\\nX: y\"}", NULL },
		{ "{" HEADER ",\"token\":\"a b\"}", NULL },
		{ "{" HEADER ",\"token\":7}", NULL },
		{ "{" HEADER "}", NULL },
		{ "<html>", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *token = etcd_codec_token(cases[i].body, strlen(cases[i].body));

		if (!str_eq(token, cases[i].token))
			fail_msg("%s: %s", cases[i].body, token ? token : "none");
	}
	CLEAN(str) char *body = etcd_codec_authenticate("a\"b", "p\\w");

	assert_string_equal(body, "{\"name\":\"a\\\"b\",\"password\":\"p\\\\w\"}");
}

/* ---- nesting ----------------------------------------------------------- */

static const char *key_of(int i)
{
	static char text[16];

	(void)snprintf(text, sizeof(text), "%04d", i);
	return text;
}

/* Walks a list as etcd's check does, answers each operation; false: a list is over its budget. */
static bool answer_list(const struct cJSON *list, int budget, int *ops, struct buf *answer)
{
	const int len = cJSON_GetArraySize(list);
	const struct cJSON *item;
	const char *separator = "";

	if (len > budget)
		return false;
	(void)buf_adds(answer, "\"responses\":[");
	cJSON_ArrayForEach(item, list) {
		const struct cJSON *nested = json_get_object(item, "request_txn");

		(void)buf_adds(answer, separator);
		separator = ",";
		if (nested) {
			(void)buf_adds(answer,
				       "{\"response_txn\":{\"header\":{},\"succeeded\":true,");
			if (!answer_list(json_get_array(nested, "success"), budget - len, ops,
					 answer))
				return false;
			(void)buf_adds(answer, "}}");
		} else if (json_get_object(item, "request_put")) {
			(void)buf_adds(answer,
				       "{\"response_put\":{\"header\":{\"revision\":\"7\"}}}");
			(*ops)++;
		} else {
			/* One key, its own: the order of the ranges can be seen. */
			(void)buf_addf(
				answer,
				"{\"response_range\":{\"header\":{},\"kvs\":[{\"key\":\"%s\","
				"\"create_revision\":\"1\",\"mod_revision\":\"1\"}],\"count\":\"1\"}}",
				json_get_str(json_get_object(item, "request_range"), "key"));
			(*ops)++;
		}
	}
	(void)buf_adds(answer, "]");
	return true;
}

static struct store_request *many_ops(int len, int every_nth_reads)
{
	struct store_request *request = store_request_new(STORE_TXN);

	for (int i = 0; i < len; i++) {
		if (every_nth_reads && i % every_nth_reads == 0)
			(void)store_ops_range(&request->success, key_of(i), false);
		else
			store_ops_put(&request->success, key_of(i), "v", 1, 0);
	}
	return request;
}

static void test_nesting(void **state)
{
	static const struct {
		int ops;
		int every_nth_reads;
		bool nested;
	} cases[] = {
		{ 0, 0, false },     { 1, 1, false },	{ 64, 2, false }, { 65, 2, true },
		{ 128, 1, true },    { 150, 3, true },	{ 300, 7, true }, { 4096, 100, true },
		{ 4097, 100, true }, { 9999, 1, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request =
			many_ops(cases[i].ops, cases[i].every_nth_reads);
		CLEAN(str) char *body = etcd_codec_request(request);
		CLEAN(json) struct cJSON *json = json_parse(body, strlen(body), NULL);
		CLEAN(buf) struct buf answer = BUF_INIT(0);
		CLEAN(store_reply) struct store_reply reply = { 0 };
		int ops = 0;

		assert_non_null(json);
		assert_int_equal(strstr(body, "request_txn") != NULL, cases[i].nested);
		(void)buf_adds(&answer, "{" HEADER ",\"succeeded\":true,");
		assert_true(answer_list(json_get_array(json, "success"), 128, &ops, &answer));
		(void)buf_adds(&answer, "}");
		assert_int_equal(ops, cases[i].ops);

		etcd_codec_reply(request, 200, answer.data, answer.len, &reply);
		assert_int_equal(reply.outcome, STORE_DONE);
		const int n = cases[i].every_nth_reads;

		assert_int_equal(reply.ranges_len, n ? (cases[i].ops + n - 1) / n : 0);
		for (size_t j = 0; j < reply.ranges_len; j++)
			assert_string_equal(reply.ranges[j].items[0].key, key_of((int)j * n));
	}
}

static void test_size(void **state)
{
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	char *value = xcalloc(1, 300000);

	(void)state;
	assert_true(etcd_codec_size(request) < 256);
	store_ops_put(&request->success, "/k", value, 300000, 0);
	assert_true(etcd_codec_size(request) >= 300002);
	assert_true(etcd_codec_size(request) < 301000);
	memset(value, 'x', 299999);
	store_request_compare_value(request, "/k", value);
	assert_true(etcd_codec_size(request) >= 600003);
	free(value);
}

/* Every length around the encoder's piece and the padding comes back as it was. */
static void test_base64_round_trip(void **state)
{
	static const size_t lengths[] = { 0, 1, 2, 3, 4, 3071, 3072, 3073, 3074, 6144, 100000 };
	char *bytes = xmalloc(100000);

	(void)state;
	for (size_t i = 0; i < 100000; i++)
		bytes[i] = (char)(i * 7 + i / 256);
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		CLEAN(store_request) struct store_request *put = store_request_new(STORE_TXN);
		CLEAN(store_request) struct store_request *get = store_request_new(STORE_TXN);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		store_ops_put(&put->success, "/k", bytes, lengths[i], 0);
		(void)store_ops_range(&get->success, "/k", false);
		CLEAN(str) char *body = etcd_codec_request(put);
		CLEAN(json) struct cJSON *json = json_parse(body, strlen(body), NULL);
		const struct cJSON *op = json_get_array(json, "success")->child;
		CLEAN(str) char *answer = xasprintf(
			"{" HEADER
			",\"succeeded\":true,\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"L2s=\","
			"\"create_revision\":\"1\",\"mod_revision\":\"1\",\"value\":\"%s\"}]}}]}",
			json_get_str(json_get_object(op, "request_put"), "value"));

		etcd_codec_reply(get, 200, answer, strlen(answer), &reply);
		assert_int_equal(reply.outcome, STORE_DONE);
		assert_int_equal(reply.ranges[0].items[0].value_len, lengths[i]);
		assert_memory_equal(reply.ranges[0].items[0].value, bytes, lengths[i]);
	}
	free(bytes);
}

/* ---- answers ----------------------------------------------------------- */

static struct store_request *read_request(void)
{
	struct store_request *request = store_request_new(STORE_TXN);

	(void)store_ops_range(&request->success, "/a", true);
	store_ops_put(&request->success, "/b", "", 0, 0);
	(void)store_ops_range(&request->success, "/c", false);
	return request;
}

#define ANSWER(a, c)                                                                \
	"{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_range\":" a "}," \
	"{\"response_put\":{}},{\"response_range\":" c "}]}"
#define KV(members) "{\"kvs\":[{" members "}]}"

static void test_reads_txn(void **state)
{
	static const char body[] = ANSWER(
		"{\"kvs\":[{\"key\":\"L2Ex\",\"create_revision\":\"9007199254740993\",\"mod_revision\":"
		"\"9223372036854775807\",\"version\":\"2\",\"value\":\"dgB3\",\"lease\":\"9223372036854775806\"},"
		"{\"key\":\"L2Ey\",\"create_revision\":\"1\",\"mod_revision\":\"2\"}],\"count\":\"9\"}",
		"{}");
	CLEAN(store_request) struct store_request *request = read_request();
	CLEAN(store_reply) struct store_reply reply = { 0 };

	(void)state;
	etcd_codec_reply(request, 200, body, strlen(body), &reply);
	assert_int_equal(reply.outcome, STORE_DONE);
	assert_int_equal(reply.trouble, STORE_TROUBLE_NONE);
	assert_true(reply.succeeded);
	assert_true(reply.cluster_id == UINT64_C(10144879847569953045));
	assert_int_equal(reply.revision, 7);
	assert_int_equal(reply.ranges_len, 2);
	assert_int_equal(reply.ranges[0].len, 2);
	assert_int_equal(reply.ranges[1].len, 0);
	const struct store_kv *kv = &reply.ranges[0].items[0];

	assert_string_equal(kv->key, "/a1");
	assert_int_equal(kv->value_len, 3);
	assert_memory_equal(kv->value, "v\0w", 4);
	assert_true(kv->create_revision == INT64_C(9007199254740993));
	assert_true(kv->mod_revision == INT64_MAX);
	assert_true(kv->lease == UINT64_C(9223372036854775806));
	assert_string_equal(reply.ranges[0].items[1].value, "");
}

/* What does not fit the request is never taken for an answer. */
static void test_understands_or_says_unknown(void **state)
{
	static const struct {
		const char *body;
		bool understood;
	} cases[] = {
		{ ANSWER("{}", "{}"), true },
		{ ANSWER("{ }", "{\"kvs\": []}"), true },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":\"1\""), "{}"), true },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":1"), "{}"), true },
		/* A key with a NUL byte is left out. */
		{ ANSWER(KV("\"key\":\"L2EA\",\"mod_revision\":\"1\""), "{}"), true },
		{ ANSWER(KV("\"key\":\"L2E\",\"mod_revision\":\"1\""), "{}"), false },
		{ ANSWER(KV("\"key\":\"L=E=\",\"mod_revision\":\"1\""), "{}"), false },
		{ ANSWER(KV("\"key\":\" L2E\",\"mod_revision\":\"1\""), "{}"), false },
		{ ANSWER(KV("\"key\":\"====\",\"mod_revision\":\"1\""), "{}"), false },
		{ ANSWER(KV("\"key\":\"L2E=\""), "{}"), false },
		{ ANSWER(KV("\"mod_revision\":\"1\""), "{}"), false },
		{ ANSWER(KV("\"key\":1,\"mod_revision\":\"1\""), "{}"), false },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":\"-1\""), "{}"), false },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":\"9223372036854775808\""), "{}"),
		  false },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":1e300"), "{}"), false },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":\"1\",\"value\":{}"), "{}"), false },
		{ ANSWER(KV("\"key\":\"L2E=\",\"mod_revision\":\"1\",\"lease\":\"x\""), "{}"),
		  false },
		{ ANSWER("{\"kvs\":{}}", "{}"), false },
		{ ANSWER("{\"kvs\":[1]}", "{}"), false },
		{ ANSWER("[]", "{}"), false },
		{ "{\"succeeded\":true,\"responses\":[]}", false },
		{ "{" HEADER ",\"succeeded\":true}", false },
		{ "{" HEADER
		  ",\"succeeded\":true,\"responses\":[{\"response_put\":{}},{\"response_put\":{}},"
		  "{\"response_range\":{}}]}",
		  false },
		{ "{" HEADER
		  ",\"succeeded\":true,\"responses\":[{\"response_range\":{}},{\"response_put\":{}},"
		  "{\"response_range\":{}},{\"response_range\":{}}]}",
		  false },
		/* Without compares a transaction cannot fail. */
		{ "{" HEADER "}", false },
		{ "{\"header\":{\"cluster_id\":\"x\"},\"succeeded\":true}", false },
		{ "", false },
		{ "[]", false },
		{ "null", false },
		{ "{", false },
		{ ANSWER("{}", "{}") "x", false },
	};
	CLEAN(store_request) struct store_request *request = read_request();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_reply) struct store_reply reply = { 0 };

		etcd_codec_reply(request, 200, cases[i].body, strlen(cases[i].body), &reply);
		if ((reply.outcome == STORE_DONE) != cases[i].understood)
			print_error("case %zu: %s\n", i, cases[i].body);
		assert_int_equal(reply.outcome, cases[i].understood ? STORE_DONE : STORE_UNKNOWN);
		assert_int_equal(*reply.text == '\0', cases[i].understood);
		assert_int_equal(reply.ranges_len, cases[i].understood ? 2 : 0);
	}
}

static void test_deep_nesting_is_not_followed(void **state)
{
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(store_reply) struct store_reply reply = { 0 };
	CLEAN(buf) struct buf body = BUF_INIT(0);

	(void)state;
	(void)buf_adds(&body, "{" HEADER ",\"succeeded\":true,\"responses\":[");
	for (int i = 0; i < 300; i++)
		(void)buf_adds(&body, "{\"response_txn\":{\"responses\":[");
	for (int i = 0; i < 300; i++)
		(void)buf_adds(&body, "]}}");
	(void)buf_adds(&body, "]}");
	etcd_codec_reply(request, 200, body.data, body.len, &reply);
	assert_int_equal(reply.outcome, STORE_UNKNOWN);
}

static void test_reads_leases(void **state)
{
	static const struct {
		enum store_request_kind kind;
		int status;
		const char *body;
		enum store_outcome outcome;
		int64_t ttl_s[2];
	} cases[] = {
		{ STORE_LEASE_GRANT,
		  200,
		  "{" HEADER ",\"ID\":\"41\",\"TTL\":\"12\"}",
		  STORE_DONE,
		  { 12, 0 } },
		{ STORE_LEASE_GRANT,
		  200,
		  "{" HEADER ",\"ID\":\"43\",\"TTL\":\"12\"}",
		  STORE_UNKNOWN,
		  { 0, 0 } },
		{ STORE_LEASE_GRANT, 200, "{" HEADER ",\"ID\":\"41\"}", STORE_UNKNOWN, { 0, 0 } },
		{ STORE_LEASE_GRANT,
		  412,
		  "{\"error\":\"e\",\"message\":\"e\",\"code\":9}",
		  STORE_DONE,
		  { 10, 0 } },
		{ STORE_LEASE_GRANT, 412, "{\"message\":\"e\",\"code\":9}", STORE_DONE, { 10, 0 } },
		{ STORE_LEASE_GRANT,
		  412,
		  "{\"message\":\"e\",\"code\":8}",
		  STORE_REFUSED,
		  { 0, 0 } },
		{ STORE_LEASE_REVOKE,
		  412,
		  "{\"message\":\"e\",\"code\":9}",
		  STORE_REFUSED,
		  { 0, 0 } },
		{ STORE_LEASE_REVOKE, 200, "{" HEADER "}", STORE_DONE, { 0, 0 } },
		{ STORE_LEASE_REVOKE, 200, "{}", STORE_UNKNOWN, { 0, 0 } },
		{ STORE_LEASE_KEEPALIVE,
		  200,
		  "{\"result\":{" HEADER ",\"ID\":\"41\",\"TTL\":\"9\"}}\n{\"result\":{" HEADER
		  ",\"ID\":\"42\"}}\n",
		  STORE_DONE,
		  { 9, 0 } },
		{ STORE_LEASE_KEEPALIVE,
		  200,
		  "{\"result\":{" HEADER ",\"ID\":\"42\",\"TTL\":\"8\"}}\n\n{\"result\":{" HEADER
		  ",\"ID\":\"41\", \"TTL\": \"9\"}}",
		  STORE_DONE,
		  { 9, 8 } },
		{ STORE_LEASE_KEEPALIVE,
		  200,
		  "{\"result\":{" HEADER ",\"ID\":\"41\",\"TTL\":\"9\"}}\n",
		  STORE_UNKNOWN,
		  { 9, 0 } },
		{ STORE_LEASE_KEEPALIVE,
		  200,
		  "{\"result\":{" HEADER
		  ",\"ID\":\"41\",\"TTL\":\"9\"}}\n{\"error\":{\"grpc_code\":14,\"message\":\"no "
		  "leader\"}}",
		  STORE_UNKNOWN,
		  { 9, 0 } },
		{ STORE_LEASE_KEEPALIVE, 200, "", STORE_UNKNOWN, { 0, 0 } },
		{ STORE_LEASE_KEEPALIVE, 200, "{}\n{}", STORE_UNKNOWN, { 0, 0 } },
		{ STORE_LEASE_KEEPALIVE,
		  503,
		  "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}",
		  STORE_UNKNOWN,
		  { 0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request =
			store_request_new(cases[i].kind);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		request->leases[0] = 41;
		request->leases[1] = 42;
		request->leases_len = cases[i].kind == STORE_LEASE_KEEPALIVE ? 2 : 1;
		request->ttl_s = 10;
		etcd_codec_reply(request, cases[i].status, cases[i].body, strlen(cases[i].body),
				 &reply);
		if (reply.outcome != cases[i].outcome)
			print_error("case %zu: %s\n", i, cases[i].body);
		assert_int_equal(reply.outcome, cases[i].outcome);
		assert_int_equal(reply.ttl_s[0], cases[i].ttl_s[0]);
		assert_int_equal(reply.ttl_s[1], cases[i].ttl_s[1]);
	}
}

/* ---- errors ------------------------------------------------------------- */

#define ERROR_34(message, code) \
	"{\"error\":\"" message "\",\"message\":\"" message "\",\"code\":" code "}"
#define ERROR_36(message, code) "{\"code\":" code ",\"message\":\"" message "\"}"
#define ERROR_STREAM(message, code)                                                   \
	"{\"error\":{\"grpc_code\":" code ",\"http_code\":503,\"message\":\"" message \
	"\",\"http_status\":\"x\"}}"

static void test_errors(void **state)
{
	static const struct {
		int status;
		const char *body;
		enum store_outcome outcome;
		enum store_trouble trouble;
		const char *text;
	} cases[] = {
		{ 400, ERROR_34("too many operations", "3"), STORE_REFUSED, STORE_TROUBLE_OTHER,
		  "too many operations (HTTP 400)" },
		{ 400, ERROR_36("too many operations", "3"), STORE_REFUSED, STORE_TROUBLE_OTHER,
		  "too many operations (HTTP 400)" },
		{ 400, ERROR_34("compacted", "11"), STORE_REFUSED, STORE_TROUBLE_OTHER,
		  "compacted (HTTP 400)" },
		{ 400, ERROR_36("etcdserver: user name is empty", "3"), STORE_REFUSED,
		  STORE_TROUBLE_DENIED, NULL },
		{ 400, ERROR_34("what", "2"), STORE_UNKNOWN, STORE_TROUBLE_OTHER, NULL },
		{ 400, "CommonName of client is ignored\nmore", STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		  "CommonName of client is ignored (HTTP 400)" },
		{ 401, ERROR_34("invalid auth token", "16"), STORE_REFUSED, STORE_TROUBLE_DENIED,
		  NULL },
		{ 403, ERROR_34("permission denied", "7"), STORE_REFUSED, STORE_TROUBLE_DENIED,
		  NULL },
		{ 404, ERROR_34("requested lease not found", "5"), STORE_REFUSED,
		  STORE_TROUBLE_LEASE_GONE, NULL },
		{ 404, "404 page not found\n", STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		  "404 page not found (HTTP 404; is this an etcd 3.3 or newer, with its JSON gateway on?)" },
		{ 405, "Method Not Allowed\n", STORE_UNKNOWN, STORE_TROUBLE_OTHER, NULL },
		{ 408, ERROR_STREAM("context canceled", "1"), STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		  NULL },
		{ 412, ERROR_34("authentication is not enabled", "9"), STORE_REFUSED,
		  STORE_TROUBLE_OTHER, NULL },
		{ 429, ERROR_34("etcdserver: mvcc: database space exceeded", "8"), STORE_REFUSED,
		  STORE_TROUBLE_NOSPACE, NULL },
		{ 429, ERROR_34("received message larger than max", "8"), STORE_REFUSED,
		  STORE_TROUBLE_OTHER, NULL },
		{ 500, ERROR_34("context deadline exceeded", "2"), STORE_UNKNOWN,
		  STORE_TROUBLE_OTHER, NULL },
		{ 503, ERROR_STREAM("etcdserver: no leader", "14"), STORE_UNKNOWN,
		  STORE_TROUBLE_OTHER, "etcdserver: no leader (HTTP 503)" },
		{ 504, ERROR_36("context deadline exceeded", "4"), STORE_UNKNOWN,
		  STORE_TROUBLE_OTHER, NULL },
		{ 503, "", STORE_UNKNOWN, STORE_TROUBLE_OTHER, "no reason given (HTTP 503)" },
		{ 503, "{}", STORE_UNKNOWN, STORE_TROUBLE_OTHER, "{} (HTTP 503)" },
		{ 503, "{\"error\":{}}", STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		  "an error without a message (HTTP 503)" },
		{ 201, "{" HEADER ",\"succeeded\":true}", STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		  NULL },
		{ 302, "<html>\x1b[2J", STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		  "<html>?[2J (HTTP 302)" },
		{ 0, "", STORE_UNKNOWN, STORE_TROUBLE_OTHER, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request = cas_request();
		CLEAN(store_reply) struct store_reply reply = { 0 };

		etcd_codec_reply(request, cases[i].status, cases[i].body, strlen(cases[i].body),
				 &reply);
		if (reply.outcome != cases[i].outcome || reply.trouble != cases[i].trouble)
			print_error("case %zu: %s\n", i, cases[i].body);
		assert_int_equal(reply.outcome, cases[i].outcome);
		assert_int_equal(reply.trouble, cases[i].trouble);
		if (cases[i].text)
			assert_string_equal(reply.text, cases[i].text);
		else
			assert_true(*reply.text);
	}
}

/* ---- watch messages ----------------------------------------------------- */

#define RESULT(members) "{\"result\":{" HEADER members "}}"

static char *show_message(const struct etcd_watch_message *message)
{
	static const char *const kinds[] = {
		[ETCD_WATCH_CREATED] = "created",    [ETCD_WATCH_EVENTS] = "events",
		[ETCD_WATCH_PROGRESS] = "progress",  [ETCD_WATCH_COMPACTED] = "compacted",
		[ETCD_WATCH_CANCELED] = "cancelled", [ETCD_WATCH_ERROR] = "error",
	};
	struct buf buf = BUF_INIT(0);

	(void)buf_addf(&buf, "%s id=%d rev=%d", kinds[message->kind], (int)message->watch_id,
		       (int)message->revision);
	if (message->compact_revision)
		(void)buf_addf(&buf, " compact=%d", (int)message->compact_revision);
	for (size_t i = 0; i < message->len; i++)
		(void)buf_addf(&buf, " %s%s=%s@%d", message->events[i].deleted ? "!" : "",
			       message->events[i].kv.key,
			       message->events[i].kv.value ? message->events[i].kv.value : "?",
			       (int)message->events[i].kv.mod_revision);
	if (*message->text)
		(void)buf_addf(&buf, " (%s)", message->text);
	return buf_steal(&buf);
}

static void test_watch_messages(void **state)
{
	static const struct {
		const char *line;
		const char *expected; /* NULL: not a message */
	} cases[] = {
		{ RESULT(",\"created\":true"), "created id=0 rev=7" },
		{ RESULT(",\"watch_id\":\"2\",\"created\":true"), "created id=2 rev=7" },
		{ RESULT(""), "progress id=0 rev=7" },
		{ RESULT(",\"watch_id\":\"-1\""), "progress id=-1 rev=7" },
		{ RESULT(",\"watch_id\":\"1\",\"events\":[{\"kv\":{\"key\":\"L2E=\",\"mod_revision\":\"3\",\"value\":"
			 "\"Yg==\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":\"L2I=\",\"mod_revision\":\"4\"}}]"),
		  "events id=1 rev=7 /a=b@3 !/b=?@4" },
		{ RESULT(",\"events\":[{\"type\":\"PUT\",\"kv\":{\"key\":\"L2E=\",\"mod_revision\":\"3\"}}]"),
		  "events id=0 rev=7 /a=@3" },
		{ RESULT(",\"events\":[{\"kv\":{\"key\":\"L2EA\",\"mod_revision\":\"3\"}}]"),
		  "events id=0 rev=7" },
		{ "{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"19\"}}",
		  "compacted id=0 rev=0 compact=19" },
		{ RESULT(",\"watch_id\":\"-1\",\"created\":true,\"canceled\":true,\"cancel_reason\":\"denied\\n\""),
		  "cancelled id=-1 rev=7 (denied?)" },
		{ ERROR_STREAM("etcdserver: no leader", "14"),
		  "error id=0 rev=0 (etcdserver: no leader)" },
		{ ERROR_34("unexpected EOF", "2"), "error id=0 rev=0 (unexpected EOF)" },
		{ ERROR_36("nope", "2"), "error id=0 rev=0 (nope)" },
		{ " " RESULT("") " \r", "progress id=0 rev=7" },
		{ RESULT(",\"created\":true,\"events\":[{\"kv\":{\"key\":\"L2E=\",\"mod_revision\":\"3\"}}]"),
		  NULL },
		{ RESULT(",\"events\":[{\"type\":\"MERGE\",\"kv\":{\"key\":\"L2E=\",\"mod_revision\":\"3\"}}]"),
		  NULL },
		{ RESULT(",\"events\":[{}]"), NULL },
		{ RESULT(",\"events\":[{\"kv\":{\"key\":\"L2E=\"}}]"), NULL },
		{ RESULT(",\"events\":{}"), NULL },
		{ RESULT(",\"watch_id\":\"x\""), NULL },
		{ "{\"result\":{}}", NULL },
		{ "{}", NULL },
		{ "[]", NULL },
		{ "", NULL },
		{ "{\"result\":", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(etcd_watch_message) struct etcd_watch_message message = { 0 };
		struct err err = { 0 };
		const int r = etcd_codec_watch_message(cases[i].line, strlen(cases[i].line),
						       &message, &err);

		if ((r == 0) != (cases[i].expected != NULL))
			print_error("case %zu: %s\n", i, cases[i].line);
		assert_int_equal(r, cases[i].expected ? 0 : -EINVAL);
		assert_int_equal(err.code, r);
		CLEAN(str) char *shown = show_message(&message);

		if (cases[i].expected)
			assert_string_equal(shown, cases[i].expected);
	}
}

/* ---- real exchanges ----------------------------------------------------- */

static struct cJSON *captures;

static char *read_file(const char *path)
{
	struct buf buf = BUF_INIT((size_t)64 << 20);
	char piece[65536];
	FILE *file = fopen(path, "re");
	size_t n;

	if (!file)
		return NULL;
	do {
		n = fread(piece, 1, sizeof(piece), file);
		(void)buf_add(&buf, piece, n);
	} while (n);
	(void)fclose(file);
	return buf_steal(&buf);
}

static int load_captures(void **state)
{
	const char *shared = getenv("CMSNODE_SHARED");
	CLEAN(str) char *path =
		xasprintf("%s/facts/etcd_captures.json", shared ? shared : "../shared");
	CLEAN(str) char *text = read_file(path);

	(void)state;
	if (text)
		captures = json_parse(text, strlen(text), NULL);
	else
		print_message("SKIP: no file '%s' (set CMSNODE_SHARED)\n", path);
	return 0;
}

static int drop_captures(void **state)
{
	(void)state;
	json_free(captures);
	return 0;
}

/* First in a test: skip() jumps out and would leak what was made before. */
static void need_captures(void)
{
	if (!captures)
		skip();
}

static const struct cJSON *find_capture(const char *name)
{
	const struct cJSON *item;

	cJSON_ArrayForEach(item, json_get_array(captures, "captures"))
		if (str_eq(json_get_str(item, "name"), name))
			return item;
	fail_msg("no capture '%s'", name);
	return NULL;
}

static void put_entries(struct store_ops *ops, const char *directory, int len)
{
	for (int i = 0; i < len; i++) {
		CLEAN(str) char *value = xasprintf("v%d", i);
		CLEAN(str) char *key = xasprintf("%se%d", directory, i);

		store_ops_put(ops, key, value, strlen(value), 0);
	}
}

/* The same transactions as in the captures. */
static struct store_request *captured_request(const char *name)
{
	struct store_request *request = store_request_new(STORE_TXN);

	if (str_eq(name, "txn_create_if_absent")) {
		store_request_compare(request, STORE_COMPARE_CREATE, "/cms/nodes/a", 0);
	} else {
		store_request_compare(request, STORE_COMPARE_MOD, "/cms/current", 3);
		(void)store_ops_range(&request->failure, "/cms/current", false);
	}
	if (str_eq(name, "txn_cas_ok"))
		put_entries(&request->success, "/cms/configs/n1_svc_3/", 3);
	else if (str_eq(name, "txn_cas_fail"))
		put_entries(&request->success, "/cms/configs/n2_svc_1/", 3);
	if (str_eq(name, "txn_cas_ok"))
		store_ops_put(&request->success, "/cms/current", "n1_svc_3", 8, 0);
	else if (str_eq(name, "txn_cas_fail"))
		store_ops_put(&request->success, "/cms/current", "n2_svc_1", 8, 0);
	else
		store_ops_put(&request->success, "/cms/nodes/a", "1", 1, 0);
	return request;
}

static void decode_capture(const char *name, const struct store_request *request,
			   struct store_reply *ret)
{
	const struct cJSON *response = json_get_object(find_capture(name), "response");
	const char *body = json_get_str(response, "body");

	assert_non_null(body);
	etcd_codec_reply(request, (int)json_get_double(response, "status", 0), body, strlen(body),
			 ret);
}

/* Members that one side leaves out when they are empty do not matter. */
static void drop_empty_lists(struct cJSON *json)
{
	static const char *const lists[] = { "compare", "success", "failure" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (cJSON_GetArraySize(json_get_array(json, lists[i])) == 0)
			cJSON_DeleteItemFromObject(json, lists[i]);
}

static void test_captured_transactions(void **state)
{
	static const struct {
		const char *name;
		bool succeeded;
		int64_t revision;
		size_t ranges;
	} cases[] = {
		{ "txn_cas_ok", true, 8, 0 },
		{ "txn_cas_fail", false, 8, 1 },
		{ "txn_create_if_absent", true, 9, 0 },
	};

	(void)state;
	need_captures();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *theirs = json_get_str(
			json_get_object(find_capture(cases[i].name), "request"), "body");
		CLEAN(store_request) struct store_request *request =
			captured_request(cases[i].name);
		CLEAN(store_reply) struct store_reply reply = { 0 };
		CLEAN(str) char *ours = etcd_codec_request(request);
		CLEAN(json) struct cJSON *a = json_parse(ours, strlen(ours), NULL);
		CLEAN(json) struct cJSON *b = json_parse(theirs, strlen(theirs), NULL);

		drop_empty_lists(a);
		drop_empty_lists(b);
		if (!str_eq(cases[i].name, "txn_create_if_absent") && !cJSON_Compare(a, b, true))
			fail_msg("%s:\nours   %s\ntheirs %s", cases[i].name, ours, theirs);
		decode_capture(cases[i].name, request, &reply);
		assert_int_equal(reply.outcome, STORE_DONE);
		assert_int_equal(reply.succeeded, cases[i].succeeded);
		assert_int_equal(reply.revision, cases[i].revision);
		assert_true(reply.cluster_id == UINT64_C(10144879847569953045));
		assert_int_equal(reply.ranges_len, cases[i].ranges);
		if (cases[i].ranges) {
			assert_string_equal(reply.ranges[0].items[0].value, "n1_svc_3");
			assert_int_equal(reply.ranges[0].items[0].mod_revision, 8);
			assert_int_equal(reply.ranges[0].items[0].create_revision, 2);
		}
	}
}

static void test_captured_snapshot(void **state)
{
	(void)state;
	need_captures();
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(store_reply) struct store_reply reply = { 0 };

	(void)store_ops_range(&request->success, "/cms/current", false);
	(void)store_ops_range(&request->success, "/cms/configs/n1_svc_2/", true);
	decode_capture("txn_snapshot_read_guess", request, &reply);
	assert_int_equal(reply.outcome, STORE_DONE);
	assert_int_equal(reply.ranges_len, 2);
	assert_string_equal(reply.ranges[0].items[0].value, "n1_svc_2");
	assert_int_equal(reply.ranges[1].len, 3);
	assert_string_equal(store_kvs_find(&reply.ranges[1], "/cms/configs/n1_svc_2/e2")->value,
			    "v2");
}

/* The larger captures are cut short; this one was nested otherwise than ours would be. */
static void test_captured_nesting(void **state)
{
	(void)state;
	need_captures();
	for (int wrong = -1; wrong <= 1; wrong++) {
		CLEAN(store_request) struct store_request *request = many_ops(5 + wrong, 0);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		decode_capture("txn_nested_4_puts_per_2", request, &reply);
		assert_int_equal(reply.outcome, wrong ? STORE_UNKNOWN : STORE_DONE);
	}
}

static void test_captured_errors(void **state)
{
	static const struct {
		const char *name;
		enum store_outcome outcome;
		enum store_trouble trouble;
	} cases[] = {
		{ "txn_duplicate_key", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "txn_dir_and_cas_129_puts", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "txn_nested_4096_puts_per_65", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "range_future_revision", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "range_compacted", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "lease_grant_ttl_huge", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "put_size_2100KiB", STORE_REFUSED, STORE_TROUBLE_OTHER },
		{ "put_with_bad_lease", STORE_REFUSED, STORE_TROUBLE_LEASE_GONE },
		{ "revoke_again", STORE_REFUSED, STORE_TROUBLE_LEASE_GONE },
		{ "err_nospace", STORE_REFUSED, STORE_TROUBLE_NOSPACE },
		{ "auth_range_no_token", STORE_REFUSED, STORE_TROUBLE_DENIED },
		{ "auth_wrong_password", STORE_REFUSED, STORE_TROUBLE_DENIED },
		{ "auth_txn_denied", STORE_REFUSED, STORE_TROUBLE_DENIED },
		{ "auth_range_bad_token", STORE_REFUSED, STORE_TROUBLE_DENIED },
		{ "err_404", STORE_UNKNOWN, STORE_TROUBLE_OTHER },
		{ "err_404_root", STORE_UNKNOWN, STORE_TROUBLE_OTHER },
		{ "err_get_method", STORE_UNKNOWN, STORE_TROUBLE_OTHER },
	};

	(void)state;
	need_captures();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request = cas_request();
		CLEAN(store_reply) struct store_reply reply = { 0 };

		decode_capture(cases[i].name, request, &reply);
		if (reply.outcome != cases[i].outcome || reply.trouble != cases[i].trouble)
			print_error("%s\n", cases[i].name);
		assert_int_equal(reply.outcome, cases[i].outcome);
		assert_int_equal(reply.trouble, cases[i].trouble);
	}
}

static void test_captured_leases(void **state)
{
	static const struct {
		const char *name;
		enum store_request_kind kind;
		uint64_t leases[2];
		size_t len;
		int64_t ttl_s[2];
	} cases[] = {
		{ "lease_grant",
		  STORE_LEASE_GRANT,
		  { UINT64_C(1418812016469117024), 0 },
		  1,
		  { 10, 0 } },
		{ "lease_grant_dup_id", STORE_LEASE_GRANT, { 777001, 0 }, 1, { 5, 0 } },
		{ "keepalive",
		  STORE_LEASE_KEEPALIVE,
		  { UINT64_C(1418812016469117024), 0 },
		  1,
		  { 10, 0 } },
		{ "keepalive_unknown", STORE_LEASE_KEEPALIVE, { 99, 0 }, 1, { 0, 0 } },
		{ "keepalive_two_objects_one_body",
		  STORE_LEASE_KEEPALIVE,
		  { UINT64_C(1418812016469117024), 777001 },
		  2,
		  { 10, 2 } },
		{ "timetolive",
		  STORE_LEASE_REMAINING,
		  { UINT64_C(1418812016469117024), 0 },
		  1,
		  { 9, 0 } },
		{ "timetolive_unknown", STORE_LEASE_REMAINING, { 99, 0 }, 1, { 0, 0 } },
		{ "revoke", STORE_LEASE_REVOKE, { UINT64_C(1418812016469117024), 0 }, 1, { 0, 0 } },
	};

	(void)state;
	need_captures();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request =
			store_request_new(cases[i].kind);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		memcpy(request->leases, cases[i].leases, sizeof(cases[i].leases));
		request->leases_len = cases[i].len;
		request->ttl_s = 5;
		decode_capture(cases[i].name, request, &reply);
		assert_int_equal(reply.outcome, STORE_DONE);
		assert_int_equal(reply.ttl_s[0], cases[i].ttl_s[0]);
		assert_int_equal(reply.ttl_s[1], cases[i].ttl_s[1]);
	}
}

static char *show_stream(const char *name)
{
	struct buf shown = BUF_INIT(0);
	const struct cJSON *piece;

	cJSON_ArrayForEach(
		piece, json_get_array(json_get_object(find_capture(name), "response"), "stream")) {
		const char *chunk = json_get_str(piece, "chunk");
		CLEAN(etcd_watch_message) struct etcd_watch_message message = { 0 };

		/* In these captures each message came as one chunk. */
		assert_int_equal(etcd_codec_watch_message(chunk, strlen(chunk), &message, NULL), 0);
		CLEAN(str) char *text = show_message(&message);

		(void)buf_addf(&shown, "%s\n", text);
	}
	return buf_steal(&shown);
}

static void test_captured_watches(void **state)
{
	static const struct {
		const char *name;
		const char *expected;
	} cases[] = {
		{ "watch_basic",
		  "created id=0 rev=2\nevents id=0 rev=3 /cms/current=b@3\n"
		  "events id=0 rev=4 /cms/current=c@4\nevents id=0 rev=5 !/cms/current=?@5\n" },
		{ "watch_two_creates_one_body",
		  "created id=0 rev=6\ncreated id=1 rev=6\nprogress id=-1 rev=6\n"
		  "events id=0 rev=7 /cms/a=1@7\nevents id=1 rev=8 /cms/b=2@8\n" },
		{ "watch_start_compacted",
		  "created id=0 rev=22\ncompacted id=0 rev=0 compact=19\n" },
		{ "watch_member_sigterm",
		  "created id=0 rev=24\nerror id=0 rev=0 (transport is closing)\n" },
		{ "watch_auth_denied_range",
		  "cancelled id=-1 rev=3 (rpc error: code = PermissionDenied desc = "
		  "etcdserver: permission denied)\n" },
		{ "watch_cut_member_hasleader",
		  "created id=0 rev=2\nprogress id=0 rev=2\nprogress id=0 rev=2\n"
		  "error id=0 rev=0 (etcdserver: no leader)\n" },
		{ "watch_lease_expiry_delete",
		  "created id=0 rev=10\nevents id=0 rev=11 /cms/nodes/e0=1@11\n"
		  "events id=0 rev=12 !/cms/nodes/e0=?@12\n" },
	};

	(void)state;
	need_captures();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *shown = show_stream(cases[i].name);

		assert_string_equal(shown, cases[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes_txn),
		cmocka_unit_test(test_writes_range_and_compares),
		cmocka_unit_test(test_writes_leases),
		cmocka_unit_test(test_writes_watch),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_base64_round_trip),
		cmocka_unit_test(test_reads_txn),
		cmocka_unit_test(test_understands_or_says_unknown),
		cmocka_unit_test(test_deep_nesting_is_not_followed),
		cmocka_unit_test(test_reads_leases),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_watch_messages),
		cmocka_unit_test(test_captured_transactions),
		cmocka_unit_test(test_captured_snapshot),
		cmocka_unit_test(test_captured_nesting),
		cmocka_unit_test(test_captured_errors),
		cmocka_unit_test(test_captured_leases),
		cmocka_unit_test(test_captured_watches),
	};

	json_init();
	return cmocka_run_group_tests(tests, load_captures, drop_captures);
}
