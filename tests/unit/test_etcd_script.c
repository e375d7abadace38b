/* SPDX-License-Identifier: MIT */
/* The etcd backend against scripted answers: what a real etcd does not do on demand. */
#include "etcd_script.h"

#include "../../src/store/etcd_internal.h"

#define HEADER "\"header\":{\"cluster_id\":\"5\",\"revision\":\"7\"}"
#define DONE_READ "{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_range\":{}}]}"
#define DONE_PUT "{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}"
#define NO_LEADER \
	"{\"error\":\"etcdserver: no leader\",\"message\":\"etcdserver: no leader\",\"code\":14}"

/* What one request comes to, and how often the server saw it. */
static void test_requests(void **state)
{
	static const struct {
		const char *what;
		bool write;
		struct answer answers[3];
		size_t requests;
		enum store_outcome outcome;
		enum store_trouble trouble;
		const char *text;
	} cases[] = {
		{ "answer",
		  false,
		  { { ANSWER, 200, DONE_READ } },
		  1,
		  STORE_DONE,
		  STORE_TROUBLE_NONE,
		  "" },
		{ "garbage",
		  false,
		  { { ANSWER, 200, "garbage" } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_OTHER,
		  "JSON" },
		{ "refused",
		  true,
		  { { ANSWER, 400, "{\"message\":\"no\",\"code\":3}" } },
		  1,
		  STORE_REFUSED,
		  STORE_TROUBLE_OTHER,
		  "no (HTTP 400)" },
		{ "no leader",
		  false,
		  { { ANSWER, 503, NO_LEADER } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_UNREACHABLE,
		  "no leader" },
		{ "no leader",
		  true,
		  { { ANSWER, 503, NO_LEADER } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_UNREACHABLE,
		  "no leader" },
		/* On the kept connection of the first question: a read is tried once more. */
		{ "closed",
		  false,
		  { { CLOSE, 0, NULL } },
		  2,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_UNREACHABLE,
		  "closed the connection without an answer" },
		{ "closed",
		  true,
		  { { CLOSE, 0, NULL } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_UNREACHABLE,
		  "closed the connection while a write was sent" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server *server = server_new(cases[i].answers, 1);
		struct scene *scene = scene_new(server->url, NULL);

		server_start(server, scene);
		const struct store_reply *reply =
			ask(scene, cases[i].write ? put_of("/a", "1", 0) : read_of("/a", false));

		assert_trouble(reply, cases[i].outcome, cases[i].trouble, cases[i].text);
		assert_int_equal(server->requests, cases[i].requests);
		server_free(server);
		scene_free(scene);
	}
}

static void test_ends_are_counted_by_kind(void **state)
{
	static const struct answer answers[] = {
		{ ANSWER, 503, "{\"error\":\"etcdserver: no leader\",\"code\":14}" },
		{ ANSWER, 400, "{\"error\":\"etcdserver: x\",\"code\":3}" },
		{ CLOSE, 0, NULL },
	};
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);
	struct store_status status;

	(void)state;
	server_start(server, scene);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		(void)ask(scene, put_of("/a", "1", 0));
		run_for(scene, 1100); /* the endpoint is held down at first */
	}
	scene->store->backend->status(scene->store, &status);
	assert_int_equal(status.counters.server_errors, 1);
	assert_int_equal(status.counters.refusals, 1);
	assert_int_equal(status.counters.broken, 1);
	assert_int_equal(status.counters.late, 0);
	assert_int_equal(status.counters.unknown, 2);
	server_free(server);
	scene_free(scene);
}

/*
 * libcurl would send a request again when a kept connection dies under it. A
 * write may have been carried out: never twice.
 */
static void test_kept_connection_dies(void **state)
{
	static const struct answer answers[] = {
		{ ANSWER, 200, DONE_READ },
		{ CLOSE, 0, NULL },
		{ ANSWER, 200, DONE_READ },
	};
	static const struct {
		bool write;
		size_t requests;
		enum store_outcome outcome;
	} cases[] = { { false, 3, STORE_DONE }, { true, 2, STORE_UNKNOWN } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server *server = server_new(answers, ARRAY_LEN(answers));
		struct scene *scene = scene_new(server->url, NULL);

		server_start(server, scene);
		assert_int_equal(ask(scene, read_of("/a", false))->outcome, STORE_DONE);
		const struct store_reply *reply =
			ask(scene, cases[i].write ? put_of("/a", "1", 0) : read_of("/a", false));

		assert_int_equal(reply->outcome, cases[i].outcome);
		run_for(scene, 100);
		assert_int_equal(server->requests, cases[i].requests);
		server_free(server);
		scene_free(scene);
	}
}

/* Reads go on at the next endpoint, writes do not; afterwards the good one is used. */
static void test_second_endpoint(void **state)
{
	static const struct answer bad[] = { { ANSWER, 503, NO_LEADER } };
	static const struct answer good_read[] = { { ANSWER, 200, DONE_READ } };
	static const struct answer good_put[] = { { ANSWER, 200, DONE_PUT } };
	int unknown = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		const bool write = i % 2;
		struct server *one = server_new(bad, 1);
		struct server *two = server_new(write ? good_put : good_read, 1);
		struct scene *scene = scene_new(one->url, two->url);

		server_start(one, scene);
		server_start(two, scene);
		(void)ask(scene, write ? put_of("/a", "1", 0) : read_of("/a", false));
		if (!write || scene->reply.outcome == STORE_DONE)
			assert_int_equal(scene->reply.outcome, STORE_DONE);
		else
			assert_trouble(&scene->reply, STORE_UNKNOWN, STORE_TROUBLE_OTHER,
				       "no leader (HTTP 503)");
		unknown += scene->reply.outcome == STORE_UNKNOWN;
		assert_int_equal(two->requests, scene->reply.outcome == STORE_DONE);
		(void)ask(scene, write ? put_of("/a", "2", 0) : read_of("/a", false));
		assert_int_equal(scene->reply.outcome, STORE_DONE);
		assert_true(one->requests <= 1);
		server_free(one);
		server_free(two);
		scene_free(scene);
	}
	/* It begins at random: neither never nor always at the bad one (1 in 500 otherwise). */
	assert_in_range(unknown, 1, 9);
}

static void test_all_endpoints_down(void **state)
{
	CLEAN(str) char *one = xasprintf("http://127.0.0.1:%d", free_port());
	CLEAN(str) char *two = xasprintf("http://127.0.0.1:%d", free_port());
	struct scene *scene = scene_new(one, two);
	const int64_t begin_ms = clock_now_ms();

	(void)state;
	for (int i = 0; i < 3; i++) {
		const struct store_reply *reply = ask(scene, read_of("/a", false));

		assert_trouble(reply, STORE_UNKNOWN, STORE_TROUBLE_UNREACHABLE,
			       "no etcd endpoint answers");
		assert_non_null(strstr(reply->text, strrchr(one, '/') + 1));
		assert_non_null(strstr(reply->text, strrchr(two, '/') + 1));
		assert_non_null(strstr(reply->text, "Connection refused"));
	}
	assert_true(clock_now_ms() - begin_ms < 1000);
	scene_free(scene);
}

static void test_headers(void **state)
{
	static const struct answer answers[] = { { ANSWER, 200, DONE_PUT } };
	static const struct {
		size_t size;
		const char *timeout;
	} cases[] = { { 10, "\r\nGrpc-Timeout: 2500m\r\n" },
		      { 300000, "\r\nGrpc-Timeout: 9500m\r\n" },
		      { 1200000, "\r\nGrpc-Timeout: 9500m\r\n" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server *server = server_new(answers, 1);
		struct scene *scene = scene_new(server->url, NULL);
		struct store_request *request = store_request_new(STORE_TXN);
		char *value = xcalloc(1, cases[i].size);

		server_start(server, scene);
		store_ops_put(&request->success, "/a", value, cases[i].size, 0);
		assert_int_equal(ask(scene, request)->outcome, STORE_DONE);
		assert_true(str_starts(server->last, "POST /v3/kv/txn HTTP/1.1\r\n"));
		assert_non_null(strstr(server->last, cases[i].timeout));
		assert_non_null(strstr(server->last, "\r\nContent-Type: application/json\r\n"));
		assert_null(strcasestr(server->last, "\r\nexpect"));
		assert_null(strcasestr(server->last, "\r\ntransfer-encoding"));
		assert_null(strcasestr(server->last, "hasleader"));
		free(value);
		server_free(server);
		scene_free(scene);
	}
}

/* One connection does; another is opened only beside a request that takes long. */
static void test_one_at_a_time_unless_slow(void **state)
{
	static const struct answer hold[] = { { HOLD, 0, NULL } };
	static const struct answer now[] = { { ANSWER, 200, DONE_READ } };
	struct server *server = server_new(hold, 1);
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	for (int i = 0; i < 20; i++)
		store_send(scene->store, read_of("/a", false), on_reply, scene);
	while (server->requests < 1)
		turn(scene);
	assert_int_equal(server->connections_len, 1);
	while (server->requests < 2)
		turn(scene);
	run_for(scene, 600);
	assert_int_equal(server->requests, 2);
	assert_int_equal(server->connections_len, 2);
	server->answers = now;
	for (size_t i = 0; i < 2; i++)
		carry_out(server->connections[i], now);
	wait_for_replies(scene, 20);
	assert_int_equal(scene->unknown, 0);
	assert_int_equal(server->requests, 20);
	assert_int_equal(server->connections_len, 2);
	server_free(server);
	scene_free(scene);
}

/* ---- what a server says of itself --------------------------------------- */

#define WRONG_PATH                                  \
	{                                           \
		ANSWER, 404, "404 page not found\n" \
	}

static const struct {
	const char *what;
	struct answer statuses[3];
	size_t asked;
	enum store_outcome outcome;
	const char *text;
	const char *version;
	bool restored;
	const char *last; /* in the last request */
} server_cases[] = {
	{ "usual",
	  { { ANSWER, 200, STATUS("3.4.23", "7", "7") } },
	  1,
	  STORE_DONE,
	  "",
	  "3.4.23",
	  false,
	  "POST /v3/kv/txn " },
	{ "its log is too short",
	  { { ANSWER, 200, STATUS("3.4.23", "7", "6") } },
	  2,
	  STORE_DONE,
	  "",
	  "3.4.23",
	  true,
	  "" },
	{ "its log looked too short",
	  { { ANSWER, 200, STATUS("3.5.12", "7", "6") },
	    { ANSWER, 200, STATUS("3.5.12", "9", "8") } },
	  2,
	  STORE_DONE,
	  "",
	  "3.5.12",
	  false,
	  "" },
	{ "3.3",
	  { WRONG_PATH, { ANSWER, 200, STATUS("3.3.27", "7", "9") } },
	  2,
	  STORE_DONE,
	  "",
	  "3.3.27",
	  false,
	  "POST /v3beta/kv/txn " },
	{ "a release candidate",
	  { { ANSWER, 200, STATUS("3.6.0-rc.1", "7", "9") } },
	  1,
	  STORE_DONE,
	  "",
	  "3.6.0",
	  false,
	  "" },
	{ "too old",
	  { { ANSWER, 200, STATUS("3.2.32", "7", "9") } },
	  1,
	  STORE_UNKNOWN,
	  "etcd 3.2.32 is too old, 3.3 or newer is needed",
	  NULL,
	  false,
	  "status" },
	{ "no gateway",
	  { WRONG_PATH, WRONG_PATH, WRONG_PATH },
	  2,
	  STORE_UNKNOWN,
	  "no JSON gateway there (HTTP 404)",
	  NULL,
	  false,
	  "/v3beta/maintenance/status " },
	{ "something else",
	  { { ANSWER, 200, "<html>" } },
	  1,
	  STORE_UNKNOWN,
	  "was not understood: is this an etcd?",
	  NULL,
	  false,
	  "" },
	{ "secretive",
	  { { ANSWER, 403, "{\"message\":\"permission denied\",\"code\":7}" } },
	  1,
	  STORE_DONE,
	  "",
	  NULL,
	  false,
	  "POST /v3/kv/txn " },
	{ "without a leader",
	  { { ANSWER, 200,
	      "{\"header\":{\"cluster_id\":\"5\",\"revision\":\"7\"},\"version\":\"3.4.23\","
	      "\"raftIndex\":\"10\",\"errors\":[\"etcdserver: no leader\"]}" } },
	  1,
	  STORE_UNKNOWN,
	  "it has no leader",
	  NULL,
	  false,
	  "" },
	{ "in trouble",
	  { { ANSWER, 503, NO_LEADER } },
	  1,
	  STORE_UNKNOWN,
	  "no leader (HTTP 503)",
	  NULL,
	  false,
	  "" },
	{ "silent",
	  { { CLOSE, 0, NULL } },
	  1,
	  STORE_UNKNOWN,
	  "closed the connection without an answer",
	  NULL,
	  false,
	  "" },
};

static void test_servers(void **state)
{
	static const struct answer answers[] = { { ANSWER, 200, DONE_PUT } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(server_cases); i++) {
		struct server *server = server_new(answers, 1);
		struct scene *scene = scene_new(server->url, NULL);
		struct store_status status;

		server->statuses = server_cases[i].statuses;
		server->statuses_len = ARRAY_LEN(server_cases[i].statuses);
		if (!server_cases[i].statuses[1].body)
			server->statuses_len = 1;
		server_start(server, scene);
		(void)ask(scene, put_of("/a", "1", 0));
		if (scene->reply.outcome != server_cases[i].outcome ||
		    !strstr(scene->reply.text, server_cases[i].text))
			fail_msg("%s: %s", server_cases[i].what, scene->reply.text);
		if (server_cases[i].outcome == STORE_DONE)
			assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_DONE);
		assert_int_equal(server->asked, server_cases[i].asked);
		assert_int_equal(server->requests, server_cases[i].outcome == STORE_DONE ? 2 : 0);
		assert_int_equal(scene->reply.restored, server_cases[i].restored);
		assert_non_null(strstr(server->last, server_cases[i].last));
		scene->store->backend->status(scene->store, &status);
		if (server_cases[i].version)
			assert_string_equal(status.version, server_cases[i].version);
		else
			assert_null(status.version);
		server_free(server);
		scene_free(scene);
	}
}

/* It tells who it is and carries nothing out: it is left alone for longer and longer. */
static void test_talks_but_fails(void **state)
{
	static const struct answer answers[] = { { ANSWER, 503, NO_LEADER } };
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);
	const struct etcd_store *etcd = (struct etcd_store *)scene->store;

	(void)state;
	server_start(server, scene);
	while (server->requests < 3) {
		assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_UNKNOWN);
		run_for(scene, 20);
	}
	assert_int_equal(etcd->endpoints.items[0].failures, 3);
	server_free(server);
	scene_free(scene);
}

/* What answers on a new connection may be another server: it is asked before it gets the write. */
static void test_idle_connection_ends(void **state)
{
	static const struct answer answers[] = { { ANSWER, 200, DONE_PUT } };
	static const struct answer statuses[] = {
		{ ANSWER, 200, STATUS("3.4.23", "7", "10") },
		{ ANSWER, 200, STATUS("3.4.23", "7", "4") },
	};
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server->statuses = statuses;
	server->statuses_len = ARRAY_LEN(statuses);
	server_start(server, scene);
	for (int i = 0; i < 3; i++)
		assert_false(ask(scene, put_of("/a", "1", 0))->restored);
	assert_int_equal(server->asked, 1);
	assert_int_equal(server->connections_len, 1);
	connection_close(server->connections[0]);
	run_for(scene, 50);
	assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_DONE);
	assert_true(scene->reply.restored);
	assert_int_equal(server->asked, 3);
	assert_int_equal(server->requests, 4);
	assert_int_equal(server->connections_len, 2);
	server_free(server);
	scene_free(scene);
}

/* Nothing was sent yet: even a write goes on to the next one. */
static void test_server_that_does_not_tell(void **state)
{
	static const struct answer answers[] = { { ANSWER, 200, DONE_PUT } };
	static const struct answer silent[] = { { CLOSE, 0, NULL } };
	size_t asked = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct server *one = server_new(answers, 1);
		struct server *two = server_new(answers, 1);
		struct scene *scene = scene_new(one->url, two->url);

		one->statuses = silent;
		server_start(one, scene);
		server_start(two, scene);
		assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_DONE);
		assert_int_equal(one->requests, 0);
		assert_int_equal(two->requests, 1);
		assert_true(one->asked <= 1);
		asked += one->asked;
		server_free(one);
		server_free(two);
		scene_free(scene);
	}
	assert_in_range(asked, 1, 19);
}

static void test_asked_again_after_a_failure(void **state)
{
	static const struct answer answers[] = {
		{ ANSWER, 200, DONE_PUT },
		{ ANSWER, 503, NO_LEADER },
		{ ANSWER, 200, DONE_PUT },
	};
	static const struct answer statuses[] = {
		{ ANSWER, 200, STATUS("3.4.23", "7", "10") },
		{ ANSWER, 200, STATUS("3.5.12", "7", "4") },
	};
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server->statuses = statuses;
	server->statuses_len = ARRAY_LEN(statuses);
	server_start(server, scene);
	assert_false(ask(scene, put_of("/a", "1", 0))->restored);
	assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_UNKNOWN);
	while (ask(scene, put_of("/a", "1", 0))->outcome != STORE_DONE)
		run_for(scene, 50);
	assert_true(scene->reply.restored);
	assert_int_equal(server->asked, 3);
	server_free(server);
	scene_free(scene);
}

/* Reads that go on do not hide that nothing can be written. */
static void test_writes_are_refused(void **state)
{
	static const struct answer answers[] = {
		{ ANSWER, 429,
		  "{\"message\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}" },
		{ ANSWER, 200, DONE_READ },
		{ ANSWER, 200, DONE_PUT },
	};
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);
	struct store_status status;

	(void)state;
	server_start(server, scene);
	assert_int_equal(ask(scene, put_of("/a", "1", 0))->trouble, STORE_TROUBLE_NOSPACE);
	assert_int_equal(ask(scene, read_of("/a", false))->outcome, STORE_DONE);
	scene->store->backend->status(scene->store, &status);
	assert_true(status.connected);
	assert_string_equal(status.refusing,
			    "etcdserver: mvcc: database space exceeded (HTTP 429)");
	assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_DONE);
	scene->store->backend->status(scene->store, &status);
	assert_null(status.refusing);
	server_free(server);
	scene_free(scene);
}

/* ---- a scripted watch --------------------------------------------------- */

#define RESULT(id, revision, members)                                            \
	"{\"result\":{\"header\":{\"cluster_id\":\"5\",\"revision\":\"" revision \
	"\"},\"watch_id\":\"" id "\"" members "}}\n"
#define CREATED(id, revision) RESULT(id, revision, ",\"created\":true")
/* "L3QvY3VycmVudA==" is /t/current; the value is the revision's digit in base64. */
#define EVENT(revision, value)                                               \
	"{\"kv\":{\"key\":\"L3QvY3VycmVudA==\",\"mod_revision\":\"" revision \
	"\",\"value\":\"" value "\"}}"
#define EVENTS(revision, list) RESULT("1", revision, ",\"events\":[" list "]")
#define BOTH_CREATED CREATED("1", "7") CREATED("2", "7")

static const struct {
	const char *what;
	struct answer answers[3];
	size_t answers_len;
	const char *expected; /* the whole trace */
	size_t requests; /* at least */
	const char *last; /* in the last request, or NULL */
} watch_cases[] = {
	{ "events",
	  { { STREAM, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) } },
	  1,
	  "/t/current=8 ",
	  1,
	  "\r\nGrpc-Metadata-hasleader: true\r\n" },
	{ "blank lines",
	  { { STREAM, 0, "\n" BOTH_CREATED "\r\n\n" EVENTS("8", EVENT("8", "OA==")) } },
	  1,
	  "/t/current=8 ",
	  1,
	  NULL },
	{ "events before the other id is created",
	  { { STREAM, 0,
	      CREATED("1", "7") EVENTS("9", EVENT("8", "OA==")) CREATED("2", "8")
		      EVENTS("9", EVENT("9", "OQ==")) } },
	  1,
	  "/t/current=8 /t/current=9 ",
	  1,
	  NULL },
	{ "twice in a stream",
	  { { STREAM, 0,
	      BOTH_CREATED EVENTS("8", EVENT("8", "OA=="))
		      EVENTS("9", EVENT("8", "OA==") "," EVENT("9", "OQ==")) } },
	  1,
	  "/t/current=8 /t/current=9 ",
	  1,
	  NULL },
	{ "resumed after the end",
	  { { STREAM_CLOSE, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) },
	    { STREAM, 0,
	      CREATED("1", "9") CREATED("2", "9")
		      EVENTS("9", EVENT("8", "OA==") "," EVENT("9", "OQ==")) } },
	  2,
	  "/t/current=8 QUIET /t/current=9 ",
	  2,
	  "\"start_revision\":\"8\"" },
	{ "torn message, then no leader",
	  { { TORN, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) "{\"result\":{\"hea" },
	    { ANSWER, 503, NO_LEADER },
	    { STREAM, 0, CREATED("1", "9") CREATED("2", "9") EVENTS("9", EVENT("9", "OQ==")) } },
	  3,
	  "/t/current=8 QUIET /t/current=9 ",
	  3,
	  NULL },
	{ "no leader while opening",
	  { { STREAM_CLOSE, 0, "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}" },
	    { STREAM, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) } },
	  2,
	  "QUIET /t/current=8 ",
	  2,
	  NULL },
	{ "no leader when open",
	  { { STREAM_CLOSE, 0,
	      BOTH_CREATED "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}" } },
	  1,
	  "GAP(etcd ended it: no leader) ",
	  1,
	  NULL },
	{ "restored",
	  { { STREAM, 0, CREATED("1", "6") } },
	  1,
	  "GAP(the store is at revision 6, but 7 was seen) ",
	  1,
	  NULL },
	{ "another cluster",
	  { { STREAM_CLOSE, 0, BOTH_CREATED },
	    { STREAM, 0,
	      "{\"result\":{\"header\":{\"cluster_id\":\"6\",\"revision\":\"9\"},\"watch_id\":\"1\","
	      "\"created\":true}}\n" } },
	  2,
	  "GAP(another cluster answers (id 6 instead of 5)) ",
	  2,
	  NULL },
	{ "compacted",
	  { { STREAM, 0,
	      CREATED("1", "7")
		      RESULT("1", "0", ",\"canceled\":true,\"compact_revision\":\"9\"") } },
	  1,
	  "GAP(etcd has compacted its history up to revision 9) ",
	  1,
	  NULL },
	{ "cancelled",
	  { { STREAM, 0,
	      RESULT("-1", "7",
		     ",\"created\":true,\"canceled\":true,"
		     "\"cancel_reason\":\"denied\"") } },
	  1,
	  "GAP(etcd cancelled it: denied) ",
	  1,
	  NULL },
	{ "forbidden",
	  { { ANSWER, 403, "{\"message\":\"denied\",\"code\":7}" } },
	  1,
	  "GAP(denied (HTTP 403)) ",
	  1,
	  NULL },
	{ "gateway off",
	  { { ANSWER, 404, "404 page not found\n" } },
	  1,
	  "GAP(refused (HTTP 404)) ",
	  1,
	  NULL },
	{ "not JSON",
	  { { STREAM, 0, BOTH_CREATED "what?\n" } },
	  1,
	  "GAP(watch message: line 1, column 1: not valid JSON) ",
	  1,
	  NULL },
	{ "out of order",
	  { { STREAM, 0, BOTH_CREATED EVENTS("9", EVENT("9", "OQ==") "," EVENT("8", "OA==")) } },
	  1,
	  "GAP(events came out of order, or for a watch that nobody asked for) ",
	  1,
	  NULL },
	{ "a watch id of nobody's",
	  { { STREAM, 0, BOTH_CREATED RESULT("3", "9", ",\"events\":[" EVENT("9", "OQ==") "]") } },
	  1,
	  "GAP(events came out of order, or for a watch that nobody asked for) ",
	  1,
	  NULL },
	{ "flood", { { FLOOD, 0, NULL } }, 1, "GAP(a message is larger than 16 MiB) ", 1, NULL },
};

static void test_watches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(watch_cases); i++) {
		struct server *server =
			server_new(watch_cases[i].answers, watch_cases[i].answers_len);
		struct scene *scene = scene_new(server->url, NULL);

		server_start(server, scene);
		watch(scene, 7);
		wait_for_trace(scene, watch_cases[i].expected);
		run_for(scene, 100);
		assert_string_equal(scene->trace, watch_cases[i].expected);
		assert_true(server->requests >= watch_cases[i].requests);
		if (watch_cases[i].last)
			assert_non_null(strstr(server->last, watch_cases[i].last));
		server_free(server);
		scene_free(scene);
	}
}

/* An owner that watches again from inside each GAP does not make a busy loop of it. */
static void test_gaps_are_damped(void **state)
{
	static const struct answer answers[] = { { ANSWER, 403,
						   "{\"message\":\"denied\",\"code\":7}" } };
	struct server *server = server_new(answers, 1);
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	watch(scene, 7);
	for (int i = 0; i < 200 && scene->gaps < 20; i++) {
		scene->watch_again = 7;
		run_for(scene, 5);
	}
	assert_in_range(scene->gaps, 3, 6);
	server_free(server);
	scene_free(scene);
}

static void test_not_created_in_time(void **state)
{
	static const struct answer answers[] = {
		{ STREAM, 0, CREATED("1", "7") },
		{ STREAM, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) },
	};
	struct server *server = server_new(answers, 2);
	struct scene *scene = scene_new(server->url, NULL);
	const int64_t begin_ms = clock_now_ms();

	(void)state;
	server_start(server, scene);
	watch(scene, 7);
	wait_for_trace(scene, "/t/current=8 ");
	assert_true(clock_now_ms() - begin_ms >= 2900);
	assert_int_equal(scene->gaps, 0);
	server_free(server);
	scene_free(scene);
}

static void test_failing_requests_drop_the_watch(void **state)
{
	static const struct answer answers[] = {
		{ STREAM, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) },
		{ ANSWER, 503, NO_LEADER },
		{ STREAM, 0, CREATED("1", "9") CREATED("2", "9") EVENTS("9", EVENT("9", "OQ==")) },
		{ ANSWER, 200, DONE_PUT },
	};
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	watch(scene, 7);
	wait_for_trace(scene, "/t/current=8 ");
	assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_UNKNOWN);
	wait_for_trace(scene, "/t/current=9 ");
	assert_int_equal(scene->gaps, 0);
	/* The new stream proved the endpoint: it is held down no longer. */
	assert_int_equal(ask(scene, put_of("/a", "1", 0))->outcome, STORE_DONE);
	assert_int_equal(server->requests, 4);
	server_free(server);
	scene_free(scene);
}

#define LATE "{\"error\":\"context deadline exceeded\",\"code\":4}"

static uint64_t watches_of(const struct scene *scene)
{
	struct store_status status;

	scene->store->backend->status(scene->store, &status);
	return status.counters.watches;
}

/*
 * No answer in time: nobody is asked a second time for it, and the watch there is given up only
 * when somebody else shows that it is not all of etcd that is slow.
 */
static void test_late_answers(void **state)
{
	static const struct answer slow[] = { { STREAM, 0, BOTH_CREATED }, { ANSWER, 504, LATE } };
	static const struct answer sound[] = { { ANSWER, 200, DONE_READ },
					       { STREAM, 0, BOTH_CREATED } };

	(void)state;
	for (int others_are_late = 0; others_are_late < 2; others_are_late++) {
		struct server *one = server_new(slow, ARRAY_LEN(slow));
		struct server *two = server_new(slow, ARRAY_LEN(slow));
		struct scene *scene = scene_new(one->url, two->url);

		server_start(one, scene);
		server_start(two, scene);
		watch(scene, 7);
		run_for(scene, 300);
		/* Where the watch is, requests go too. */
		struct server *other = one->requests ? two : one;

		other->answers = others_are_late ? slow + 1 : sound;
		other->answers_len = others_are_late ? 1 : ARRAY_LEN(sound);
		assert_int_equal(ask(scene, read_of("/a", false))->outcome, STORE_UNKNOWN);
		assert_int_equal(other->requests, 0);
		assert_int_equal(watches_of(scene), 1);
		assert_int_equal(ask(scene, read_of("/a", false))->outcome,
				 others_are_late ? STORE_UNKNOWN : STORE_DONE);
		run_for(scene, 500);
		assert_int_equal(watches_of(scene), others_are_late ? 1 : 2);
		assert_int_equal(scene->gaps, 0);
		server_free(one);
		server_free(two);
		scene_free(scene);
	}
}

/* While none comes in time, answers are waited for longer: that is told to etcd, too. */
static void test_patience_grows(void **state)
{
	static const struct answer late = { ANSWER, 504, LATE };
	static const struct answer sound = { ANSWER, 200, DONE_READ };
	static const struct {
		const struct answer *answer;
		const char *waited; /* before it */
	} rounds[] = {
		{ &late, "Grpc-Timeout: 2500m" },  { &late, "Grpc-Timeout: 5500m" },
		{ &late, "Grpc-Timeout: 9500m" },  { &sound, "Grpc-Timeout: 9500m" },
		{ &sound, "Grpc-Timeout: 2500m" },
	};
	struct server *server = server_new(&late, 1);
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	for (size_t i = 0; i < ARRAY_LEN(rounds); i++) {
		const size_t before = server->requests;

		server->answers = rounds[i].answer;
		/* Held for a while, it is not even asked. */
		while (server->requests == before) {
			(void)ask(scene, read_of("/a", false));
			run_for(scene, 20);
		}
		assert_non_null(strstr(server->last, rounds[i].waited));
	}
	server_free(server);
	scene_free(scene);
}

#define PROGRESS(id, revision) RESULT(id, revision, "")

/* Progress came at once, so its absence is noticed soon; each silence is told. */
static void test_quiet(void **state)
{
	static const struct answer answers[] = { { STREAM, 0, BOTH_CREATED PROGRESS("1", "7") } };
	struct server *server = server_new(answers, 1);
	struct scene *scene = scene_new(server->url, NULL);
	struct store_status status;

	(void)state;
	server_start(server, scene);
	watch(scene, 7);
	wait_for_trace(scene, "QUIET QUIET ");
	assert_int_equal(server->requests, 1);
	assert_int_equal(scene->gaps, 0);
	scene->store->backend->status(scene->store, &status);
	assert_int_equal(status.counters.requests, 2);
	assert_int_equal(status.counters.watches, 1);
	assert_int_equal(status.counters.failures, 0);
	assert_true(status.counters.bytes_received ==
		    strlen(usual_status.body) + strlen(answers[0].body));
	server_free(server);
	scene_free(scene);
}

/* What else is read from the watch's own server makes a probe needless. */
static void test_reads_prove_the_watch(void **state)
{
	static const struct answer answers[] = {
		{ STREAM, 0, BOTH_CREATED PROGRESS("1", "7") },
		{ ANSWER, 200, DONE_READ },
	};
	struct server *server = server_new(answers, ARRAY_LEN(answers));
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	watch(scene, 7);
	while (!server->requests)
		turn(scene);
	wait_until_sent(server);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(ask(scene, read_of("/t/current", false))->outcome, STORE_DONE);
		run_for(scene, 100);
	}
	assert_string_equal(scene->trace, "");
	wait_for_trace(scene, "QUIET ");
	server_free(server);
	scene_free(scene);
}

static struct store_request *probe_of_current(void)
{
	struct store_request *request = read_of("/t/current", false);

	request->probe = true;
	return request;
}

#define PROBED(cluster, revision, kvs)                                         \
	"{\"header\":{\"cluster_id\":\"" cluster "\",\"revision\":\"" revision \
	"\"},\"succeeded\":true,\"responses\":[{\"response_range\":{\"kvs\":[" kvs "]}}]}"
#define CURRENT_OF(revision) "{\"key\":\"L3QvY3VycmVudA==\",\"mod_revision\":\"" revision "\"}"

/* What the answer to a probe says about the stream that is open. */
static void test_probes(void **state)
{
	static const struct {
		const char *what;
		struct answer answers[3];
		const char *expected; /* the whole trace */
		size_t requests;
		enum store_outcome outcome;
	} cases[] = {
		{ "all was told",
		  { { STREAM, 0, BOTH_CREATED PROGRESS("1", "7") },
		    { ANSWER, 200, PROBED("5", "9", CURRENT_OF("7")) } },
		  "QUIET ",
		  2,
		  STORE_DONE },
		{ "more is there than was told",
		  { { STREAM, 0, BOTH_CREATED PROGRESS("1", "7") },
		    { ANSWER, 200, PROBED("5", "9", CURRENT_OF("8")) },
		    { STREAM, 0,
		      CREATED("1", "9") CREATED("2", "9") EVENTS("9", EVENT("8", "OA==")) } },
		  "QUIET /t/current=8 ",
		  3,
		  STORE_DONE },
		{ "another cluster",
		  { { STREAM, 0, BOTH_CREATED }, { ANSWER, 200, PROBED("6", "9", "") } },
		  "GAP(another cluster answers (id 6 instead of 5)) ",
		  2,
		  STORE_DONE },
		{ "revisions went back",
		  { { STREAM, 0, BOTH_CREATED }, { ANSWER, 200, PROBED("5", "6", "") } },
		  "GAP(the store is at revision 6, but 7 was seen) ",
		  2,
		  STORE_DONE },
		{ "not understood",
		  { { STREAM, 0, BOTH_CREATED },
		    { ANSWER, 200, "garbage" },
		    { STREAM, 0,
		      CREATED("1", "9") CREATED("2", "9") EVENTS("9", EVENT("8", "OA==")) } },
		  "QUIET /t/current=8 ",
		  3,
		  STORE_UNKNOWN },
		{ "refused",
		  { { STREAM, 0, BOTH_CREATED PROGRESS("1", "7") },
		    { ANSWER, 403, "{\"message\":\"denied\",\"code\":7}" } },
		  "QUIET ",
		  2,
		  STORE_REFUSED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server *server = server_new(cases[i].answers, 3);
		struct scene *scene = scene_new(server->url, NULL);

		server_start(server, scene);
		watch(scene, 7);
		while (!server->requests)
			turn(scene);
		wait_until_sent(server);
		if (ask(scene, probe_of_current())->outcome != cases[i].outcome)
			fail_msg("%s: %s", cases[i].what, scene->reply.text);
		wait_for_trace(scene, cases[i].expected);
		assert_string_equal(scene->trace, cases[i].expected);
		assert_int_equal(server->requests, cases[i].requests);
		server_free(server);
		scene_free(scene);
	}
}

/* Requests go to one member, the watch is on the other: the probe proves the watch's. */
static void test_probe_goes_where_the_watch_is(void **state)
{
	static const struct answer ends[] = { { STREAM_CLOSE, 0, BOTH_CREATED } };
	static const struct answer stays[] = { { STREAM, 0, BOTH_CREATED } };
	static const struct answer good[] = { { ANSWER, 200, DONE_READ } };
	static const struct answer bad[] = { { ANSWER, 503, NO_LEADER } };
	struct server *one = server_new(ends, 1);
	struct server *two = server_new(ends, 1);
	struct scene *scene = scene_new(one->url, two->url);

	(void)state;
	server_start(one, scene);
	server_start(two, scene);
	watch(scene, 7);
	while (!one->requests && !two->requests)
		turn(scene);
	struct server *first = one->requests ? one : two;
	struct server *second = one->requests ? two : one;

	second->answers = stays;
	while (!second->requests)
		turn(scene);
	wait_until_sent(second);
	first->answers = good;
	second->answers = bad;
	assert_int_equal(ask(scene, read_of("/t/current", false))->outcome, STORE_DONE);
	assert_int_equal(first->requests, 2);
	assert_trouble(ask(scene, probe_of_current()), STORE_UNKNOWN, STORE_TROUBLE_OTHER,
		       "no leader");
	assert_int_equal(first->requests, 2);
	assert_int_equal(second->requests, 2);
	/* The watch was dropped and is opened elsewhere. */
	first->answers = stays;
	while (first->requests < 3)
		turn(scene);
	server_free(one);
	server_free(two);
	scene_free(scene);
}

/* It never says who it is: the watch goes elsewhere, without any request's help. */
static void test_watch_of_a_silent_server(void **state)
{
	static const struct answer stays[] = { { STREAM, 0,
						 BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) } };
	static const struct answer silent[] = { { HOLD, 0, NULL } };
	struct server *one = server_new(stays, 1);
	struct server *two = server_new(stays, 1);
	struct scene *scene = scene_new(one->url, two->url);

	(void)state;
	((struct etcd_store *)scene->store)->endpoints.current = 0;
	one->statuses = silent;
	server_start(one, scene);
	server_start(two, scene);
	watch(scene, 7);
	wait_for_trace(scene, "/t/current=8 ");
	assert_true(one->asked >= 1);
	assert_int_equal(one->requests, 0);
	assert_int_equal(scene->gaps, 0);
	server_free(one);
	server_free(two);
	scene_free(scene);
}

static void test_freed_inside_a_gap(void **state)
{
	static const struct answer answers[] = { { STREAM, 0,
						   BOTH_CREATED "what?\n" BOTH_CREATED } };
	struct server *server = server_new(answers, 1);
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	scene->free_on_gap = true;
	watch(scene, 7);
	wait_for_trace(scene, "GAP(");
	run_for(scene, 50);
	assert_int_equal(scene->gaps, 1);
	server_free(server);
	scene_free(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_ends_are_counted_by_kind),
		cmocka_unit_test(test_kept_connection_dies),
		cmocka_unit_test(test_second_endpoint),
		cmocka_unit_test(test_all_endpoints_down),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_one_at_a_time_unless_slow),
		cmocka_unit_test(test_servers),
		cmocka_unit_test(test_server_that_does_not_tell),
		cmocka_unit_test(test_asked_again_after_a_failure),
		cmocka_unit_test(test_writes_are_refused),
		cmocka_unit_test(test_talks_but_fails),
		cmocka_unit_test(test_idle_connection_ends),
		cmocka_unit_test(test_watches),
		cmocka_unit_test(test_gaps_are_damped),
		cmocka_unit_test(test_not_created_in_time),
		cmocka_unit_test(test_failing_requests_drop_the_watch),
		cmocka_unit_test(test_late_answers),
		cmocka_unit_test(test_patience_grows),
		cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_reads_prove_the_watch),
		cmocka_unit_test(test_probes),
		cmocka_unit_test(test_probe_goes_where_the_watch_is),
		cmocka_unit_test(test_watch_of_a_silent_server),
		cmocka_unit_test(test_freed_inside_a_gap),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
