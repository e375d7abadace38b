/* SPDX-License-Identifier: MIT */
/*
 * Answers that no client should have to see, byte by byte as they are sent:
 * whatever comes, a write is sent once, and only a whole, fitting answer counts
 * as done.
 */
#include "fake_stage.h"

#define HEADER(revision) \
	"\"header\":{\"cluster_id\":\"18446744073709551615\",\"revision\":\"" revision "\"}"
#define KV(revision)                                                                       \
	"{\"key\":\"L2E=\",\"create_revision\":\"1\",\"mod_revision\":\"" revision "\"," \
	"\"value\":\"MQ==\"}"
#define READ(revision, mod, more)                                                              \
	"{" HEADER(revision) more ",\"succeeded\":true,\"responses\":[{\"response_range\":{" \
	"\"kvs\":[" KV(mod) "],\"count\":\"1\"}}]}"
#define PUT                                                                                  \
	"{" HEADER("7") ",\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{" \
	"\"revision\":\"7\"}}}]}"
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define CHUNKED OK_HEAD "Transfer-Encoding: chunked\r\n"

enum asked { A_READ, A_WRITE, A_RENEWAL };
enum then { STAY, CLOSE, RESET };

struct trouble {
	const char *what;
	enum asked asked;
	const char *raw; /* sent as it is; NULL: `json` as a whole answer of `status` */
	int status;
	const char *json;
	enum then then;
	const char *expected; /* the reply begins so */
};

static const struct trouble troubles[] = {
	/* Lost, before or after it was carried out: nobody can tell. */
	{ "reset at once", A_WRITE, "", 0, NULL, RESET, "unknown: " },
	{ "closed at once", A_WRITE, "", 0, NULL, CLOSE, "unknown: " },
	{ "reset in the head", A_WRITE, "HTTP/1.1 200 OK\r\nContent-", 0, NULL, RESET,
	  "unknown: " },
	{ "reset in the body", A_WRITE, OK_HEAD "Content-Length: 99\r\n\r\n{" HEADER("7"), 0, NULL,
	  RESET, "unknown: " },
	{ "closed in a chunk", A_WRITE, CHUNKED "\r\nff\r\n{" HEADER("7"), 0, NULL, CLOSE,
	  "unknown: " },
	{ "no last chunk", A_WRITE, CHUNKED "\r\n2\r\n{}\r\n", 0, NULL, CLOSE, "unknown: " },
	/* 200, and yet not done. */
	{ "200 with an error in it", A_WRITE, NULL, 200,
	  "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}", STAY,
	  "unknown: " },
	{ "200 with an old error in it", A_WRITE, NULL, 200,
	  "{\"error\":\"etcdserver: request timed out\",\"code\":14}", STAY, "unknown: " },
	{ "empty", A_WRITE, NULL, 200, "", STAY, "unknown: " },
	{ "an empty object", A_WRITE, NULL, 200, "{}", STAY, "unknown: " },
	{ "not JSON", A_WRITE, NULL, 200, "<html>hello</html>", STAY, "unknown: " },
	{ "JSON that ends early", A_WRITE, NULL, 200, "{" HEADER("7") ",\"succeeded\":tr", STAY,
	  "unknown: " },
	{ "two answers in one", A_WRITE, NULL, 200, PUT PUT, STAY, "unknown: " },
	{ "fewer responses", A_WRITE, NULL, 200,
	  "{" HEADER("7") ",\"succeeded\":true,\"responses\":[]}", STAY, "unknown: " },
	{ "another response", A_WRITE, NULL, 200, READ("7", "7", ""), STAY, "unknown: " },
	{ "no content", A_WRITE, "HTTP/1.1 204 No Content\r\n\r\n", 0, NULL, STAY, "unknown: " },
	{ "somewhere else", A_WRITE,
	  "HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 0, NULL,
	  STAY, "unknown: " },
	{ "an idle proxy's farewell", A_WRITE,
	  "HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<html>", 0, NULL, CLOSE,
	  "unknown: " },
	{ "no HTTP", A_WRITE, "SSH-2.0-OpenSSH_9.2\r\n", 0, NULL, CLOSE, "unknown: " },
	/* Errors of a member in trouble: the write may still be carried out. */
	{ "no leader", A_WRITE, NULL, 503, "{\"message\":\"etcdserver: no leader\",\"code\":14}",
	  STAY, "unknown: " },
	{ "leader changed", A_WRITE, NULL, 503,
	  "{\"error\":\"etcdserver: leader changed\",\"code\":14}", STAY, "unknown: " },
	{ "its own deadline", A_WRITE, NULL, 504,
	  "{\"error\":\"context deadline exceeded\",\"code\":4}", STAY, "unknown: " },
	{ "internal", A_WRITE, NULL, 500, "{\"error\":\"context deadline exceeded\",\"code\":2}",
	  STAY, "unknown: " },
	/* It said no, and did nothing. */
	{ "too large", A_WRITE, NULL, 400,
	  "{\"error\":\"etcdserver: request is too large\",\"code\":3}", STAY, "refused: " },
	{ "lease gone", A_WRITE, NULL, 404,
	  "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}", STAY, "refused: " },
	{ "no space", A_WRITE, NULL, 429,
	  "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}", STAY,
	  "refused: " },
	{ "a lease without TTL", A_RENEWAL, NULL, 200,
	  "{\"result\":{" HEADER("7") ",\"ID\":\"42\"}}\n", STAY,
	  "done failure, revision 7, ttl 0 0" },
	/* Odd, but right. */
	{ "the largest numbers", A_READ, NULL, 200,
	  READ("9223372036854775807", "9223372036854775807", ""), STAY,
	  "done success, revision 9223372036854775807, ttl 0 0; /a=1 at 9223372036854775807" },
	{ "more than a double holds", A_READ, NULL, 200,
	  READ("9007199254740993", "9007199254740993", ""), STAY,
	  "done success, revision 9007199254740993, ttl 0 0; /a=1 at 9007199254740993" },
	{ "too large a number", A_READ, NULL, 200, READ("9223372036854775808", "7", ""), STAY,
	  "unknown: " },
	{ "a number below zero", A_READ, NULL, 200, READ("7", "-7", ""), STAY, "unknown: " },
	{ "a number with a fraction", A_READ, NULL, 200, READ("7", "7.5", ""), STAY, "unknown: " },
	{ "unknown members", A_READ, NULL, 200,
	  READ("7", "7", ",\"new\":{\"a\":[1,{\"b\":null}]},\"x\":1e999"), STAY,
	  "done success, revision 7, ttl 0 0; /a=1 at 7" },
	{ "blanks", A_READ, NULL, 200,
	  " {\r\n\t\"header\" : { \"revision\" : \"7\" } , \"succeeded\" : true ,"
	  " \"responses\" : [ { \"response_range\" : { \"kvs\" : [ " KV("7") " ] } } ] }\n",
	  STAY, "done success, revision 7, ttl 0 0; /a=1 at 7" },
	{ "a trailer", A_WRITE,
	  CHUNKED "Trailer: Grpc-Trailer-Content-Type\r\n\r\n"
		  "5\r\n{\"hea\r\n62\r\nder\":{\"revision\":\"7\"},\"succeeded\":true,"
		  "\"responses\":[{\"response_put\":{\"header\":{\"revision\":\"7\"}}}]}\r\n"
		  "0\r\nGrpc-Trailer-Content-Type: application/grpc\r\nHTTP/1.1: 503\r\n\r\n",
	  0, NULL, STAY, "done success, revision 7" },
	{ "three times to be continued", A_READ,
	  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
	  "HTTP/1.1 102 Processing\r\n\r\n" OK_HEAD "Connection: close\r\n\r\n" READ("7", "7", ""),
	  0, NULL, CLOSE, "done success, revision 7, ttl 0 0; /a=1 at 7" },
};

static struct store_request *request_of(enum asked asked)
{
	switch (asked) {
	case A_READ:
		return read_of("/a", false);
	case A_WRITE:
		return put_of("/a", "1", 0);
	case A_RENEWAL:
		return lease_request(STORE_LEASE_KEEPALIVE, 42, 0);
	}
	return NULL;
}

static void cause(const struct trouble *trouble, struct fake_exchange *exchange)
{
	if (trouble->raw)
		fake_send(exchange, trouble->raw, strlen(trouble->raw));
	else
		fake_answer(exchange, trouble->status, trouble->json);
	switch (trouble->then) {
	case STAY:
		break;
	case CLOSE:
		fake_close(exchange);
		break;
	case RESET:
		fake_reset(exchange);
		break;
	}
}

static void only_a_fitting_answer_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(troubles); i++) {
		const struct trouble *trouble = &troubles[i];
		struct stage *stage = stage_new();

		store_send(stage->scene->store, request_of(trouble->asked), on_reply,
			   stage->scene);
		wait_for_request(stage);
		cause(trouble, steal(stage->waiting));
		wait_for_replies(stage->scene, 1);
		CLEAN(str) char *text = reply_text(&stage->scene->reply);

		if (!str_starts(text, trouble->expected))
			fail_msg("%s: %s", trouble->what, text);
		run_for(stage->scene, 30);
		if (stage->asked != 1)
			fail_msg("%s: sent %zu times", trouble->what, stage->asked);
		assert_int_equal(stage->scene->replies, 1);
		stage_free(stage);
	}
}

/* ---- without end ------------------------------------------------------------------ */

/* Sends `piece` for ever; the client must end it by itself. */
static void flood(const char *head, const char *piece, enum store_trouble trouble,
		  const char *expected)
{
	struct stage *stage = stage_new();
	struct buf pieces = BUF_INIT(0);

	for (int i = 0; i < 1000; i++)
		(void)buf_adds(&pieces, piece);
	store_send(stage->scene->store, request_of(A_WRITE), on_reply, stage->scene);
	wait_for_request(stage);
	fake_send(stage->waiting, head, strlen(head));
	while (!stage->scene->replies) {
		if (stage->waiting && fake_sent(stage->waiting))
			fake_send(stage->waiting, pieces.data, pieces.len);
		turn(stage->scene);
	}
	/* A slow machine comes to the time's end before the ceiling. */
	if (strstr(stage->scene->reply.text, "no answer in time"))
		assert_int_equal(stage->scene->reply.outcome, STORE_UNKNOWN);
	else
		assert_trouble(&stage->scene->reply, STORE_UNKNOWN, trouble, expected);
	assert_int_equal(stage->asked, 1);
	buf_fini(&pieces);
	stage_free(stage);
}

static void endless_answers_are_ended(void **state)
{
	(void)state;
	/* 64 KiB of blanks a time. */
	CLEAN(str) char *blanks = xasprintf("10000\r\n%65536s\r\n", "");

	flood(CHUNKED "\r\n", blanks, STORE_TROUBLE_OTHER, "larger than 64 MiB");
	flood("HTTP/1.1 200 OK\r\n", "X-More: and more and more and more\r\n",
	      STORE_TROUBLE_UNREACHABLE, "no etcd endpoint answers");
}

/* Brackets without end are no reason to run out of stack. */
static void deep_answers_are_ended(void **state)
{
	struct stage *stage = stage_new();
	struct buf json = BUF_INIT(0);

	(void)state;
	for (int i = 0; i < 1000000; i++)
		(void)buf_adds(&json, "[");
	store_send(stage->scene->store, request_of(A_WRITE), on_reply, stage->scene);
	wait_for_request(stage);
	fake_answer(steal(stage->waiting), 200, json.data);
	wait_for_replies(stage->scene, 1);
	assert_int_equal(stage->scene->reply.outcome, STORE_UNKNOWN);
	buf_fini(&json);
	stage_free(stage);
}

/* ---- half-open ---------------------------------------------------------------------- */

static const char *const stalls[] = {
	"", /* accepts, and never answers */
	"HTTP/1.1 200 OK\r\nContent-",
	CHUNKED "\r\n",
	CHUNKED "\r\nff\r\n{" HEADER("7"),
};

static void turn_all(struct stage *const *stages)
{
	for (size_t i = 0; i < ARRAY_LEN(stalls); i++)
		turn(stages[i]->scene);
}

static void wait_for_all(struct stage *const *stages, int replies)
{
	const int64_t end_ms = clock_now_ms() + 30000;
	bool waiting = true;

	while (waiting && clock_now_ms() < end_ms) {
		turn_all(stages);
		waiting = false;
		for (size_t i = 0; i < ARRAY_LEN(stalls); i++)
			waiting = waiting || stages[i]->scene->replies < replies;
	}
	assert_false(waiting);
}

/* All at the same time. The client hangs up after 3 s: etcd's own 503 after 7 s finds nobody. */
static void nobody_waits_for_ever(void **state)
{
	static const char late[] = "HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\n{}";
	struct stage *stages[ARRAY_LEN(stalls)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(stalls); i++) {
		stages[i] = stage_new();
		store_send(stages[i]->scene->store, request_of(A_WRITE), on_reply,
			   stages[i]->scene);
		wait_for_request(stages[i]);
		fake_send(stages[i]->waiting, stalls[i], strlen(stalls[i]));
	}
	wait_for_all(stages, 1);
	for (int n = 0; n < 10; n++)
		turn_all(stages);
	for (size_t i = 0; i < ARRAY_LEN(stalls); i++) {
		assert_int_equal(stages[i]->scene->reply.outcome, STORE_UNKNOWN);
		assert_int_equal(stages[i]->asked, 1);
		assert_null(stages[i]->waiting);
	}
	/* The endpoint is held down for a second; then the next request is heard. */
	run_for(stages[0]->scene, 1100);
	for (size_t i = 0; i < ARRAY_LEN(stalls); i++) {
		struct stage *stage = stages[i];

		store_send(stage->scene->store, request_of(A_READ), on_reply, stage->scene);
		wait_for_request(stage);
		fake_send(stage->waiting, late, strlen(late));
		wait_for_replies(stage->scene, 2);
		assert_trouble(&stage->scene->reply, STORE_UNKNOWN, STORE_TROUBLE_UNREACHABLE,
			       "503");
		stage_free(stage);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_fitting_answer_counts),
		cmocka_unit_test(endless_answers_are_ended),
		cmocka_unit_test(deep_answers_are_ended),
		cmocka_unit_test(nobody_waits_for_ever),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
