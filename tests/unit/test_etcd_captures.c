/* SPDX-License-Identifier: MIT */
/*
 * What a real etcd 3.4.23 was recorded to send, given to the real client in two
 * pieces, cut at every byte: the same is understood of it wherever the cut is,
 * no event is lost and none comes twice. The recordings are in the folder that
 * CMSNODE_SHARED names; without it these tests skip.
 */
#include "fake_stage.h"

#include <cjson/cJSON.h>

#include "cmsnode/base/file.h"

static struct cJSON *captures;

static int load_captures(void **state)
{
	const char *shared = getenv("CMSNODE_SHARED");
	CLEAN(str) char *path =
		xasprintf("%s/facts/etcd_captures.json", shared ? shared : "../shared");
	CLEAN(buf) struct buf text = BUF_INIT((size_t)64 << 20);

	(void)state;
	if (file_read(path, &text, NULL) == 0)
		captures = json_parse(buf_str(&text), text.len, NULL);
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

static const struct cJSON *find_capture(const char *name)
{
	const struct cJSON *item;

	cJSON_ArrayForEach(item, json_get_array(captures, "captures"))
		if (str_eq(json_get_str(item, "name"), name))
			return item;
	fail_msg("no capture '%s'", name);
	return NULL;
}

/* ---- recordings as bytes ------------------------------------------------------ */

static void add_chunk(struct buf *out, const char *text)
{
	(void)buf_addf(out, "%zx\r\n%s\r\n", strlen(text), text);
}

static void add_head(struct buf *out, const struct cJSON *response)
{
	const struct cJSON *header;

	(void)buf_addf(out, "HTTP/1.1 %d X\r\n", (int)json_get_double(response, "status", 200));
	cJSON_ArrayForEach(header, json_get_array(response, "headers"))
		(void)buf_addf(out, "%s: %s\r\n", cJSON_GetArrayItem(header, 0)->valuestring,
			       cJSON_GetArrayItem(header, 1)->valuestring);
	if (!json_get_array(response, "headers"))
		(void)buf_adds(out, "Transfer-Encoding: chunked\r\n");
	(void)buf_adds(out, "\r\n");
}

/* Recorded by a client of one watch, whose id is 0 and so not said; ours begin at 1. */
static char *with_watch_id(const char *message)
{
	static const char start[] = "{\"result\":{";

	if (!str_starts(message, start))
		return xstrdup(message);
	return xasprintf("%s\"watch_id\":\"1\",%s", start, message + strlen(start));
}

static void add_stream(struct buf *out, const struct cJSON *response)
{
	const struct cJSON *item;
	const struct cJSON *end = json_get_array(response, "end");

	add_head(out, response);
	cJSON_ArrayForEach(item, json_get_array(response, "stream")) {
		CLEAN(str) char *message = with_watch_id(json_get_str(item, "chunk"));

		add_chunk(out, message);
	}
	if (end && strstr(cJSON_GetArrayItem(end, 1)->valuestring, "clean"))
		(void)buf_adds(out, "0\r\n\r\n");
}

/* The raw bytes of a watch: its chunks with the id put in, the framing as it was. */
static void add_raw_stream(struct buf *out, const char *raw)
{
	const char *body = strstr(raw, "\r\n\r\n") + 4;

	(void)buf_add(out, raw, (size_t)(body - raw));
	while (*body) {
		char *data;
		const size_t len = strtoul(body, &data, 16);
		CLEAN(str) char *chunk = xstrndup(data + 2, len);
		CLEAN(str) char *message = with_watch_id(chunk);

		add_chunk(out, message);
		body = data + 2 + len + 2;
	}
}

static void capture_bytes(const char *name, bool is_watch, struct buf *out)
{
	const struct cJSON *capture = find_capture(name);
	const struct cJSON *response = json_get_object(capture, "response");
	const char *raw = json_get_str(capture, "raw_response");
	const struct cJSON *chunk;

	if (raw && is_watch && strstr(raw, "Transfer-Encoding: chunked")) {
		add_raw_stream(out, raw);
	} else if (raw) {
		(void)buf_adds(out, raw);
	} else if (is_watch) {
		add_stream(out, response);
	} else {
		add_head(out, response);
		cJSON_ArrayForEach(chunk, json_get_array(response, "chunks"))
			add_chunk(out, chunk->valuestring);
		(void)buf_adds(out, json_get_array(response, "chunks") ?
					    "0\r\n\r\n" :
					    json_get_str(response, "body"));
	}
}

/* ---- replies ------------------------------------------------------------------------ */

static struct store_request *a_read(void)
{
	return read_of("/cms/current", false);
}

static struct store_request *a_guess(void)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_request_compare_value(request, "/cms/current", "n1_svc_2");
	(void)store_ops_range(&request->success, "/cms/current", false);
	(void)store_ops_range(&request->success, "/cms/configs/n1_svc_2/", true);
	(void)store_ops_range(&request->failure, "/cms/current", false);
	return request;
}

static struct store_request *a_swap(void)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_request_compare(request, STORE_COMPARE_MOD, "/cms/current", 3);
	store_ops_put(&request->success, "/cms/current", "n2_svc_1", 8, 0);
	(void)store_ops_range(&request->failure, "/cms/current", false);
	return request;
}

static struct store_request *a_renewal(void)
{
	return lease_request(STORE_LEASE_KEEPALIVE, 42, 0);
}

static struct store_request *two_renewals(void)
{
	struct store_request *request =
		lease_request(STORE_LEASE_KEEPALIVE, 1418812016469117024, 0);

	request->leases[1] = 777001;
	request->leases_len = 2;
	return request;
}

#define NOT_UNDERSTOOD                            \
	"unknown: etcd's answer was not understood: " \
	"it does not fit the operations that were sent"

static const struct {
	const char *capture;
	struct store_request *(*request)(void);
	const char *expected;
} reply_cases[] = {
	{ "raw_keepalive", a_renewal, "done failure, revision 3, ttl 0 0" },
	{ "keepalive_two_objects_one_body", two_renewals, "done failure, revision 54, ttl 10 2" },
	{ "raw_error_400", a_read, "refused: etcdserver: key is not provided (HTTP 400)" },
	{ "raw_404", a_read,
	  "unknown: Not Found (HTTP 404; is this an etcd 3.3 or newer, with its JSON gateway on?)" },
	{ "txn_snapshot_read_guess", a_guess,
	  "done success, revision 7, ttl 0 0; /cms/current=n1_svc_2 at 3;"
	  " /cms/configs/n1_svc_2/e0=v0 at 5 /cms/configs/n1_svc_2/e1=v1 at 6"
	  " /cms/configs/n1_svc_2/e2=v2 at 7" },
	{ "txn_cas_fail", a_swap,
	  "done failure, revision 8, ttl 0 0; /cms/current=n1_svc_3 at 8" },
	/* Answers to something that this client never asks. */
	{ "raw_range", a_read, NOT_UNDERSTOOD },
	{ "raw_range_prefix_chunked", a_read, NOT_UNDERSTOOD },
};

static void replies_do_not_depend_on_the_cut(void **state)
{
	struct stage *stage;
	size_t cuts = 0;

	(void)state;
	if (!captures)
		skip();
	stage = stage_new();
	for (size_t i = 0; i < ARRAY_LEN(reply_cases); i++) {
		CLEAN(buf) struct buf bytes = BUF_INIT(0);

		capture_bytes(reply_cases[i].capture, false, &bytes);
		for (size_t cut = 0; cut < bytes.len; cut++) {
			const int replies = stage->scene->replies;

			store_send(stage->scene->store, reply_cases[i].request(), on_reply,
				   stage->scene);
			wait_for_request(stage);
			send_in_two(stage, &bytes, cut);
			wait_for_replies(stage->scene, replies + 1);
			CLEAN(str) char *text = reply_text(&stage->scene->reply);

			if (!str_eq(text, reply_cases[i].expected))
				fail_msg("%s, cut at %zu: %s", reply_cases[i].capture, cut, text);
			cuts++;
		}
	}
	print_message("%zu cuts\n", cuts);
	stage_free(stage);
}

/*
 * More bytes than the answer has: libcurl may take them for the next request's answer. That one
 * does not fit, then, and nothing is concluded from it.
 */
static void a_second_answer_is_never_believed(void **state)
{
	CLEAN(buf) struct buf bytes = BUF_INIT(0);
	size_t right = 0;

	(void)state;
	if (!captures)
		skip();
	capture_bytes("raw_two_pipelined", false, &bytes);
	for (size_t cut = 0; cut < bytes.len; cut++) {
		struct stage *stage = stage_new();

		store_send(stage->scene->store, a_read(), on_reply, stage->scene);
		wait_for_request(stage);
		send_in_two(stage, &bytes, cut);
		wait_for_replies(stage->scene, 1);
		store_send(stage->scene->store, a_renewal(), on_reply, stage->scene);
		stage->renewed = true;
		wait_for_replies(stage->scene, 2);
		const struct store_reply *reply = &stage->scene->reply;

		if (reply->outcome == STORE_DONE)
			assert_int_equal(reply->ttl_s[0], 10);
		else
			assert_int_equal(reply->outcome, STORE_UNKNOWN);
		right += reply->outcome == STORE_DONE;
		stage_free(stage);
	}
	assert_true(right * 2 > bytes.len);
}

/* ---- watches -------------------------------------------------------------------------- */

static const struct {
	const char *capture;
	int64_t after;
	const char *expected; /* the whole trace */
} watch_cases[] = {
	{ "raw_watch", 1, "/cms/current=n1_svc_1 " },
	{ "raw_watch_hasleader", 2, "" },
	{ "raw_watch_bad_json", 2, "" },
	{ "watch_basic", 2, "/cms/current=b /cms/current=c !/cms/current=? " },
	{ "watch_on_follower_leader_kill9_hasleader", 2, "/cms/current=t0 " },
	{ "watch_start_compacted", 2, "GAP(etcd has compacted its history up to revision 19) " },
	{ "watch_member_sigterm", 2, "GAP(etcd ended it: transport is closing) " },
	{ "watch_noquorum_hasleader", 2, "GAP(etcd ended it: etcdserver: no leader) " },
};

static void watch_current(struct scene *scene, int64_t after)
{
	static const char *const keys[] = { "/cms/current" };

	scene->trace[0] = '\0';
	scene->store->backend->watch(scene->store, keys, 1, NULL, 0, after, on_news, scene);
}

static void check_watch(const char *capture, int64_t after, const char *expected)
{
	CLEAN(buf) struct buf bytes = BUF_INIT(0);

	capture_bytes(capture, true, &bytes);
	for (size_t cut = 0; cut < bytes.len; cut++) {
		struct stage *stage = stage_new();

		watch_current(stage->scene, after);
		wait_for_request(stage);
		send_in_two(stage, &bytes, cut);
		wait_for_trace(stage->scene, expected);
		for (int i = 0; i < 5; i++)
			(void)ev_run(stage->scene->loop, EVRUN_NOWAIT);
		if (!str_eq(stage->scene->trace, expected))
			fail_msg("%s, cut at %zu: %s", capture, cut, stage->scene->trace);
		stage_free(stage);
	}
}

static void watches_do_not_depend_on_the_cut(void **state)
{
	(void)state;
	if (!captures)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(watch_cases); i++)
		check_watch(watch_cases[i].capture, watch_cases[i].after, watch_cases[i].expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_do_not_depend_on_the_cut),
		cmocka_unit_test(a_second_answer_is_never_believed),
		cmocka_unit_test(watches_do_not_depend_on_the_cut),
	};

	prepare();
	return cmocka_run_group_tests(tests, load_captures, drop_captures);
}
