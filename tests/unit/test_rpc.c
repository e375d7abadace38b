/* SPDX-License-Identifier: MIT */
/*
 * RPC server and client over loopback. The exchanges recorded from CMS are
 * replayed whole and cut at every byte; a plain socket plays the peer, so that
 * nothing of ours judges ours.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
#include "cmsnode/cms_rpc/client.h"
#include "cmsnode/cms_rpc/message.h"
#include "cmsnode/cms_rpc/server.h"

#define DEADLINE_MS 5000
#define CAPTURES "facts/cms_rpc_captures.json"
#define PROBE "{\"__id\": \"probe\", \"__method\": \"echo\", \"__data\": {\"string\": \"p\"}}\r\n"
#define PROBE_REPLY "{\"__id\": \"probe\", \"__data\": \"p\", \"__error\": null}\r\n"

static struct ev_loop *loop;

/* A server with a method that keeps its calls, and the names that CMS has but does not offer. */

struct fixture {
	struct rpc_server *server;
	int port;
	struct rpc_call *kept[300];
	size_t kept_len;
};

static void keep(void *ctx, struct rpc_call *call, const struct cJSON *arguments)
{
	struct fixture *fixture = ctx;

	(void)arguments;
	assert_true(str_starts(rpc_call_peer(call), "127.0.0.1:"));
	fixture->kept[fixture->kept_len++] = call;
}

static const struct rpc_method methods[] = {
	{ .name = "keep", .path = "m.S.keep", .handle = keep },
	{ .name = "exit", .path = "m.S.exit" },
	{ .name = "_local_store", .path = "m.S._local_store" },
};

static void serve(struct fixture *fixture, int port)
{
	struct err err = { 0 };

	fixture->server =
		rpc_server_new(loop, "127.0.0.1", port, methods, ARRAY_LEN(methods), fixture, &err);
	if (!fixture->server)
		fail_msg("%s", err.msg);
	fixture->port = rpc_server_port(fixture->server);
}

static void answer_kept(struct fixture *fixture)
{
	while (fixture->kept_len)
		rpc_call_return(fixture->kept[--fixture->kept_len], NULL);
}

static int setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));

	loop = ev_loop_new(EVFLAG_AUTO);
	serve(fixture, 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	answer_kept(fixture);
	rpc_server_free(fixture->server);
	free(fixture);
	ev_loop_destroy(loop);
	return 0;
}

/* Turning the loop */

static void turn(void)
{
	ev_run(loop, EVRUN_NOWAIT);
}

static void on_tick(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)l;
	(void)w;
	(void)revents;
}

/* Turns the loop until *what reaches `value`. */
static void run_until(const size_t *what, size_t value)
{
	const int64_t until_ms = clock_now_ms() + DEADLINE_MS;
	ev_timer tick;

	ev_timer_init(&tick, on_tick, 0.005, 0.005);
	ev_timer_start(loop, &tick);
	while (*what < value && clock_now_ms() < until_ms)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &tick);
	assert_int_equal(*what, value);
}

/* A peer: a plain socket */

static int dial(int port)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void say(int fd, const char *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Reads until the text is complete or the server hangs up; true if it hung up. */
static bool hear(int fd, struct buf *heard, size_t want)
{
	const int64_t until_ms = clock_now_ms() + DEADLINE_MS;
	char chunk[4096];

	while (clock_now_ms() < until_ms) {
		turn();
		const ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return true;
		if (n > 0)
			(void)buf_add(heard, chunk, (size_t)n);
		if (heard->len >= want && want)
			return false;
	}
	fail_msg("neither an answer nor the end: '%s'", buf_str(heard));
	return true;
}

/* The recorded exchanges */

struct exchange {
	char *request;
	char *response; /* without the traceback, which was cut when it was recorded */
	bool closed;
	bool half_close; /* the peer shuts its side down behind the request */
};

static const char *const replayed[] = {
	"echo",
	"echo_unicode",
	"echo_raw_utf8",
	"echo_integer_id",
	"echo_null_id",
	"echo_extra_field",
	"two_requests_one_packet",
	"unknown_method",
	"not_callable_method",
	"private_attr",
	"wrong_argument",
	"missing_argument",
	"data_null",
	"data_list",
	"missing_field",
	"malformed_json",
	"empty_line",
	"json_not_object",
	"json_number",
	"lf_only_terminator",
	"no_terminator_then_eof",
	"request_then_half_close",
	"method_not_string",
	"bad_utf8",
	"worker_echo",
};

static char *read_captures(void)
{
	const char *shared = getenv("CMSNODE_SHARED");
	const char *srcdir = getenv("srcdir");
	CLEAN(str) char *path = shared ? xasprintf("%s/" CAPTURES, shared) :
					 xasprintf("%s/../shared/" CAPTURES, srcdir ? srcdir : ".");
	CLEAN(buf) struct buf text = BUF_INIT(1 << 20);
	char chunk[4096];
	FILE *file = fopen(path, "rb");
	if (!file) {
		print_message("SKIP: %s cannot be read; set CMSNODE_SHARED\n", path);
		return NULL;
	}
	for (size_t n = fread(chunk, 1, sizeof(chunk), file); n;
	     n = fread(chunk, 1, sizeof(chunk), file))
		assert_int_equal(buf_add(&text, chunk, n), 0);
	(void)fclose(file);
	return buf_steal(&text);
}

/* Cuts every occurrence of `what` out, or puts `with` (no longer) in its place. */
static void substitute(char *text, const char *what, const char *with)
{
	for (char *at = strstr(text, what); at; at = strstr(at, what)) {
		memcpy(at, with, strlen(with));
		memmove(at + strlen(with), at + strlen(what), strlen(at + strlen(what)) + 1);
		at += strlen(with);
	}
}

/*
 * In the file the byte 0xff of one request stands as a lone surrogate, which cJSON
 * refuses; DEL stands in for it.
 */
static struct exchange find_exchange(const struct cJSON *captures, const char *name)
{
	const struct cJSON *item;
	struct exchange exchange = { 0 };

	cJSON_ArrayForEach(item, json_get_array(captures, "exchanges")) {
		if (!str_eq(json_get_str(item, "name"), name))
			continue;
		exchange.request = xstrdup(json_get_str(item, "request"));
		exchange.response = xstrdup(json_get_str(item, "response"));
		exchange.closed = json_get_bool(item, "closed_by_server", false);
		exchange.half_close = str_eq(name, "no_terminator_then_eof") ||
				      str_eq(name, "request_then_half_close");
	}
	if (!exchange.request)
		fail_msg("no exchange '%s' in " CAPTURES, name);
	substitute(exchange.request, "\x7f", "\xff");
	substitute(exchange.response, "<traceback>\\n", "");
	return exchange;
}

static void replay(int port, const char *name, const struct exchange *exchange, size_t split)
{
	const size_t len = strlen(exchange->request);
	CLEAN(buf) struct buf heard = BUF_INIT(0);
	CLEAN(str) char *expected =
		xasprintf("%s%s", exchange->response, exchange->closed ? "" : PROBE_REPLY);
	CLEAN(fd) int fd = dial(port);

	say(fd, exchange->request, split);
	for (int i = 0; split && i < 3; i++)
		turn();
	if (split < len)
		say(fd, exchange->request + split, len - split);
	if (exchange->half_close)
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
	/* Whoever was not hung up on can still ask; that also ends the waiting for silence. */
	if (!exchange->closed)
		say(fd, PROBE, strlen(PROBE));
	const bool closed = hear(fd, &heard, exchange->closed ? 0 : strlen(expected));
	if (closed != exchange->closed || strcmp(buf_str(&heard), expected) != 0)
		fail_msg("%s cut at %zu: closed %d, '%s' instead of '%s'", name, split, closed,
			 buf_str(&heard), expected);
}

static void test_recorded_exchanges(void **state)
{
	const struct fixture *fixture = *state;
	CLEAN(str) char *text = read_captures();

	if (!text)
		skip();
	substitute(text, "\\udcff", "\\u007f");
	CLEAN(json) struct cJSON *captures = json_parse(text, strlen(text), NULL);

	assert_non_null(captures);
	for (size_t i = 0; i < ARRAY_LEN(replayed); i++) {
		const struct exchange exchange = find_exchange(captures, replayed[i]);

		for (size_t split = 0; split < strlen(exchange.request); split++)
			replay(fixture->port, replayed[i], &exchange, split);
		free(exchange.request);
		free(exchange.response);
	}
}

/* What was not recorded */

static void test_too_long_a_line_hangs_up(void **state)
{
	const struct fixture *fixture = *state;
	CLEAN(buf) struct buf heard = BUF_INIT(0);
	CLEAN(fd) int fd = dial(fixture->port);
	char chunk[4096];
	bool closed = false;

	memset(chunk, 'x', sizeof(chunk));
	for (size_t sent = 0; sent < RPC_LINE_MAX + sizeof(chunk) && !closed;) {
		const ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		closed = n < 0 && errno != EAGAIN;
		turn();
	}
	assert_true(hear(fd, &heard, 0));
	assert_int_equal(heard.len, 0);
}

/* A request as long as allowed whose reply is just as long, or longer, than may be sent. */
static void test_longest_request(void **state)
{
	const struct fixture *fixture = *state;
	static const char begin[] =
		"{\"__id\": 1, \"__method\": \"echo\", \"__data\": {\"string\": \"";
	static const char end[] = "\"}}\r\n";
	static const char *const fillers[] = { "x",
					       "\xc3\xa8" }; /* the second is longer when escaped */

	for (size_t i = 0; i < ARRAY_LEN(fillers); i++) {
		CLEAN(buf) struct buf request = BUF_INIT(RPC_LINE_MAX);
		CLEAN(buf) struct buf heard = BUF_INIT(0);
		CLEAN(fd) int fd = dial(fixture->port);

		(void)buf_adds(&request, begin);
		while (request.len + strlen(fillers[i]) + strlen(end) <= RPC_LINE_MAX)
			(void)buf_adds(&request, fillers[i]);
		assert_int_equal(buf_adds(&request, end), 0);
		for (size_t sent = 0; sent < request.len;) {
			const ssize_t n =
				send(fd, request.data + sent, request.len - sent, MSG_NOSIGNAL);

			sent += n > 0 ? (size_t)n : 0;
			turn();
		}
		say(fd, PROBE, strlen(PROBE));
		const size_t text = request.len - strlen(begin) - strlen(end);
		const size_t reply =
			i == 0 ? strlen("{\"__id\": 1, \"__data\": \"\", \"__error\": null}\r\n") +
					 text :
				 0;

		assert_false(hear(fd, &heard, reply + strlen(PROBE_REPLY)));
		assert_string_equal(buf_str(&heard) + reply, PROBE_REPLY);
	}
}

static void test_one_connection_too_many(void **state)
{
	const struct fixture *fixture = *state;
	int fds[65];
	CLEAN(buf) struct buf heard = BUF_INIT(0);

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = dial(fixture->port);
		turn();
	}
	assert_true(hear(fds[64], &heard, 0));
	assert_int_equal(rpc_server_connections(fixture->server), 64);
	say(fds[63], PROBE, strlen(PROBE));
	assert_false(hear(fds[63], &heard, strlen(PROBE_REPLY)));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	for (int i = 0; i < 3; i++)
		turn();
	assert_int_equal(rpc_server_connections(fixture->server), 0);
}

/* Sends `text` again and again and never reads, until the server hangs up. */
static void pester(const struct fixture *fixture, const char *text, size_t times)
{
	CLEAN(fd) int fd = dial(fixture->port);

	for (int i = 0; i < 3; i++)
		turn();
	assert_int_equal(rpc_server_connections(fixture->server), 1);
	for (size_t i = 0; i < times && rpc_server_connections(fixture->server); i++) {
		for (size_t sent = 0;
		     sent < strlen(text) && rpc_server_connections(fixture->server);) {
			const ssize_t n = send(fd, text + sent, strlen(text) - sent, MSG_NOSIGNAL);

			sent += n > 0 ? (size_t)n : 0;
			turn();
		}
	}
	assert_int_equal(rpc_server_connections(fixture->server), 0);
}

static void ignore_log(enum log_level level, const char *module, const char *text)
{
	(void)level;
	(void)module;
	(void)text;
}

static void test_peer_that_does_not_read(void **state)
{
	const struct fixture *fixture = *state;
	CLEAN(str) char *filler = xcalloc(100001, 1);

	memset(filler, 'x', 100000);
	CLEAN(str) char *request = xasprintf(
		"{\"__id\": 1, \"__method\": \"echo\", \"__data\": {\"string\": \"%s\"}}\r\n",
		filler);

	log_set_sink(ignore_log);
	pester(fixture, request, 400);
	log_set_sink(NULL);
}

static void test_too_many_open_requests(void **state)
{
	struct fixture *fixture = *state;

	log_set_sink(ignore_log);
	pester(fixture, "{\"__id\": 1, \"__method\": \"keep\", \"__data\": {}}\r\n", 300);
	log_set_sink(NULL);
	assert_int_equal(fixture->kept_len, 257);
	answer_kept(fixture); /* to nobody, without harm */
}

static void test_bad_listen_addresses(void **state)
{
	const struct fixture *fixture = *state;
	const struct {
		const char *host;
		int port;
		int code;
	} rows[] = {
		{ "example.org", 80, -EINVAL },	    { "127.0.0.1", 65536, -EINVAL },
		{ "127.0.0.1", -1, -EINVAL },	    { "127.0.0.1", fixture->port, -EADDRINUSE },
		{ "192.0.2.1", 0, -EADDRNOTAVAIL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { 0 };

		assert_null(rpc_server_new(loop, rows[i].host, rows[i].port, NULL, 0, NULL, &err));
		assert_int_equal(err.code, rows[i].code);
		assert_non_null(strstr(err.msg, rows[i].host));
	}
}

/* The client */

struct asker {
	struct rpc_client *client;
	size_t ups;
	size_t downs;
	size_t answers;
	int error;
	char text[64];
	bool free_in_answer;
};

static void on_up(void *ctx)
{
	((struct asker *)ctx)->ups++;
}

static void on_down(void *ctx)
{
	((struct asker *)ctx)->downs++;
}

static void on_answer(void *ctx, int error, const struct cJSON *data, const char *text)
{
	struct asker *asker = ctx;
	const char *said = error ? text : cJSON_IsString(data) ? data->valuestring : "not a text";

	asker->answers++;
	asker->error = error;
	(void)snprintf(asker->text, sizeof(asker->text), "%s", said);
	if (asker->free_in_answer)
		rpc_client_free(steal(asker->client));
}

static void connect_asker(struct asker *asker, int port)
{
	const struct rpc_client_settings settings = { "localhost", port, 0.01, 0.02 };
	const struct rpc_client_events events = { on_up, on_down, asker };

	*asker = (struct asker){ .client = rpc_client_new(loop, &settings, &events, NULL) };
	assert_non_null(asker->client);
}

static int ask(struct asker *asker, const char *method, const char *key, const char *value)
{
	struct cJSON *arguments = cJSON_CreateObject();

	json_add_str(arguments, key, value);
	return rpc_client_call(asker->client, method, arguments, 1.0, on_answer, asker);
}

static void test_client_calls(void **state)
{
	static const struct {
		const char *method, *key, *value;
		int error;
		const char *text;
	} rows[] = {
		{ "echo", "string", "h\xc3\xa9llo\n", 0, "h\xc3\xa9llo\n" },
		{ "nothing", "a", "b", -EREMOTEIO, "Method nothing doesn't exist." },
		{ "exit", "a", "b", -EREMOTEIO, "Method exit isn't callable." },
		{ "echo", "foo", "b", -EREMOTEIO,
		  "TypeError: Service.echo() got an unexpected keyword" },
	};
	const struct fixture *fixture = *state;
	struct asker asker;

	connect_asker(&asker, fixture->port);
	assert_int_equal(ask(&asker, "echo", "string", "x"), -ENOTCONN);
	run_until(&asker.ups, 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask(&asker, rows[i].method, rows[i].key, rows[i].value), 0);
		run_until(&asker.answers, i + 1);
		assert_int_equal(asker.error, rows[i].error);
		assert_true(str_starts(asker.text, rows[i].text));
	}
	rpc_client_free(asker.client);
}

static void test_client_answers_in_any_order(void **state)
{
	struct fixture *fixture = *state;
	struct asker asker;

	connect_asker(&asker, fixture->port);
	run_until(&asker.ups, 1);
	assert_int_equal(ask(&asker, "keep", "a", "b"), 0);
	assert_int_equal(ask(&asker, "keep", "a", "b"), 0);
	assert_int_equal(ask(&asker, "echo", "string", "first"), 0);
	run_until(&asker.answers, 1);
	assert_string_equal(asker.text, "first");
	answer_kept(fixture);
	run_until(&asker.answers, 3);
	assert_int_equal(asker.error, 0);
	rpc_client_free(asker.client);
}

static void test_client_deadline(void **state)
{
	struct fixture *fixture = *state;
	struct asker asker;

	connect_asker(&asker, fixture->port);
	run_until(&asker.ups, 1);
	assert_int_equal(rpc_client_call(asker.client, "keep", NULL, 0.05, on_answer, &asker), 0);
	run_until(&asker.answers, 1);
	assert_int_equal(asker.error, -ETIMEDOUT);
	answer_kept(fixture); /* too late: ignored */
	assert_int_equal(ask(&asker, "echo", "string", "next"), 0);
	run_until(&asker.answers, 2);
	assert_string_equal(asker.text, "next");
	rpc_client_free(asker.client);
}

static void test_client_reconnects(void **state)
{
	struct fixture *fixture = *state;
	struct asker asker;

	connect_asker(&asker, fixture->port);
	run_until(&asker.ups, 1);
	assert_int_equal(ask(&asker, "keep", "a", "b"), 0);
	run_until(&fixture->kept_len, 1);
	rpc_server_free(fixture->server);
	run_until(&asker.downs, 1);
	assert_int_equal(asker.answers, 1);
	assert_int_equal(asker.error, -ECONNRESET);
	assert_false(rpc_client_is_connected(asker.client));
	answer_kept(fixture);
	serve(fixture, fixture->port);
	run_until(&asker.ups, 2);
	assert_int_equal(ask(&asker, "echo", "string", "again"), 0);
	run_until(&asker.answers, 2);
	assert_string_equal(asker.text, "again");
	rpc_client_free(asker.client);
}

static void test_client_freed_by_its_callback(void **state)
{
	static const char *const methods_called[] = { "echo",
						      "keep" }; /* an answer, a lost connection */

	for (size_t i = 0; i < ARRAY_LEN(methods_called); i++) {
		struct fixture *fixture = *state;
		struct asker asker;

		connect_asker(&asker, fixture->port);
		asker.free_in_answer = true;
		run_until(&asker.ups, 1);
		assert_int_equal(ask(&asker, methods_called[i], "string", "x"), 0);
		assert_int_equal(ask(&asker, methods_called[i], "string", "y"), 0);
		if (i == 1) {
			run_until(&fixture->kept_len, 2);
			rpc_server_free(fixture->server);
			serve(fixture, 0);
		}
		run_until(&asker.answers, 1);
		assert_null(asker.client);
		assert_int_equal(asker.downs, 0);
	}
}

static void test_client_refuses_names(void **state)
{
	const struct rpc_client_settings rows[] = { { "worker-0.cms.internal", 26000, 0, 0 },
						    { "127.0.0.1", 0, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { 0 };

		assert_null(rpc_client_new(loop, &rows[i], NULL, &err));
		assert_int_equal(err.code, -EINVAL);
	}
}

/* A peer that answers nonsense is hung up on, and dialled again. */
static void test_client_and_bad_peer(void **state)
{
	static const char *const nonsense[] = { "x\r\n", "{\"__id\": 1}\r\n", "{}\n" };
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	CLEAN(fd) int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct asker asker;

	(void)state;
	assert_int_equal(bind(listener, (const struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	connect_asker(&asker, ntohs(address.sin_port));
	for (size_t i = 0; i < ARRAY_LEN(nonsense); i++) {
		run_until(&asker.ups, i + 1);
		CLEAN(fd) int fd = accept(listener, NULL, NULL);

		assert_int_equal(ask(&asker, "echo", "string", "x"), 0);
		say(fd, nonsense[i], strlen(nonsense[i]));
		run_until(&asker.answers, i + 1);
		assert_int_equal(asker.error, -ECONNRESET);
	}
	rpc_client_free(asker.client);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_recorded_exchanges),
		TEST(test_too_long_a_line_hangs_up),
		TEST(test_longest_request),
		TEST(test_one_connection_too_many),
		TEST(test_peer_that_does_not_read),
		TEST(test_too_many_open_requests),
		TEST(test_bad_listen_addresses),
		TEST(test_client_calls),
		TEST(test_client_answers_in_any_order),
		TEST(test_client_deadline),
		TEST(test_client_reconnects),
		TEST(test_client_freed_by_its_callback),
		TEST(test_client_refuses_names),
		TEST(test_client_and_bad_peer),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
