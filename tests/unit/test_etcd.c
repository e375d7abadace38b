/* SPDX-License-Identifier: MIT */
/*
 * The etcd backend against a real etcd (started here, on loopback, in a
 * directory of its own) and, for what a real one does not do on demand, against
 * a small scripted HTTP server that runs on the same loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

/* ---- sockets ----------------------------------------------------------- */

static int listen_on_free_port(int *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static int free_port(void)
{
	int port;

	(void)close(listen_on_free_port(&port));
	return port;
}

/* ---- a store and what it says ------------------------------------------- */

struct scene {
	struct ev_loop *loop;
	struct ev_timer tick;
	struct store *store;
	struct store_reply reply;
	int replies;
	int unknown;
	bool free_on_reply;
	char trace[4096]; /* of the watch */
	int gaps;
	bool free_on_gap;
	int64_t watch_again; /* revision to watch from inside the next GAP, 0 = do not */
};

static void on_tick(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

static struct scene *scene_new(const char *first_url, const char *second_url)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));
	CLEAN(str_list) struct str_list urls = { 0 };
	struct err err = { 0 };

	str_list_add(&urls, first_url);
	if (second_url)
		str_list_add(&urls, second_url);
	scene->loop = ev_loop_new(EVFLAG_AUTO);
	ev_timer_init(&scene->tick, on_tick, 0.01, 0.01);
	ev_timer_start(scene->loop, &scene->tick);
	const struct etcd_settings settings = { .endpoints = &urls };

	scene->store = etcd_store_new(scene->loop, &settings, &err);
	assert_non_null(scene->store);
	return scene;
}

static void scene_free(struct scene *scene)
{
	store_free(scene->store);
	store_reply_fini(&scene->reply);
	ev_loop_destroy(scene->loop);
	free(scene);
}

static void on_reply(void *ctx, struct store_reply *reply)
{
	struct scene *scene = ctx;

	store_reply_fini(&scene->reply);
	scene->reply = *reply;
	*reply = (struct store_reply){ 0 }; /* taken over */
	scene->replies++;
	scene->unknown += scene->reply.outcome == STORE_UNKNOWN;
	if (scene->free_on_reply)
		store_free(steal(scene->store));
}

static void on_news(void *ctx, const struct store_watch_report *report);

static void watch(struct scene *scene, int64_t revision)
{
	static const char *const keys[] = { "/t/current" };
	static const char *const prefixes[] = { "/t/nodes/" };

	scene->store->backend->watch(scene->store, keys, 1, prefixes, 1, revision, on_news, scene);
}

static void on_news(void *ctx, const struct store_watch_report *report)
{
	struct scene *scene = ctx;
	const size_t at = strlen(scene->trace);
	struct buf buf = BUF_INIT(0);

	if (report->news == STORE_WATCH_GAP) {
		(void)buf_addf(&buf, "GAP(%s) ", report->text);
		scene->gaps++;
	}
	if (report->news == STORE_WATCH_QUIET)
		(void)buf_adds(&buf, "QUIET ");
	for (size_t i = 0; i < report->len; i++)
		(void)buf_addf(&buf, "%s%s=%s ", report->events[i].deleted ? "!" : "",
			       report->events[i].kv.key,
			       report->events[i].kv.value ? report->events[i].kv.value : "?");
	(void)snprintf(scene->trace + at, sizeof(scene->trace) - at, "%s", buf_str(&buf));
	buf_fini(&buf);
	if (report->news != STORE_WATCH_GAP)
		return;
	if (scene->free_on_gap)
		store_free(steal(scene->store));
	else if (scene->watch_again)
		watch(scene, scene->watch_again);
	scene->watch_again = 0;
}

static void turn(struct scene *scene)
{
	(void)ev_run(scene->loop, EVRUN_ONCE);
}

static void run_for(struct scene *scene, int64_t ms)
{
	const int64_t end_ms = clock_now_ms() + ms;

	while (clock_now_ms() < end_ms)
		turn(scene);
}

static void wait_for_replies(struct scene *scene, int replies)
{
	const int64_t end_ms = clock_now_ms() + 20000;

	while (scene->replies < replies && clock_now_ms() < end_ms)
		turn(scene);
	assert_int_equal(scene->replies, replies);
}

static void wait_for_trace(struct scene *scene, const char *text)
{
	const int64_t end_ms = clock_now_ms() + 20000;

	while (!strstr(scene->trace, text) && clock_now_ms() < end_ms)
		turn(scene);
	if (!strstr(scene->trace, text))
		fail_msg("no '%s' in '%s'", text, scene->trace);
}

static const struct store_reply *ask(struct scene *scene, struct store_request *request)
{
	const int replies = scene->replies;

	store_send(scene->store, request, on_reply, scene);
	assert_int_equal(scene->replies, replies);
	wait_for_replies(scene, replies + 1);
	return &scene->reply;
}

static struct store_request *read_of(const char *key, bool prefix)
{
	struct store_request *request = store_request_new(STORE_TXN);

	(void)store_ops_range(&request->success, key, prefix);
	return request;
}

static struct store_request *put_of(const char *key, const char *value, uint64_t lease)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_put(&request->success, key, value, strlen(value), lease);
	return request;
}

static struct store_request *lease_request(enum store_request_kind kind, uint64_t lease,
					   int64_t ttl_s)
{
	struct store_request *request = store_request_new(kind);

	request->leases[0] = lease;
	request->leases_len = 1;
	request->ttl_s = ttl_s;
	return request;
}

static int64_t put(struct scene *scene, const char *key, const char *value)
{
	assert_int_equal(ask(scene, put_of(key, value, 0))->outcome, STORE_DONE);
	return scene->reply.revision;
}

static void assert_trouble(const struct store_reply *reply, enum store_outcome outcome,
			   enum store_trouble trouble, const char *text)
{
	if (reply->outcome != outcome || reply->trouble != trouble || !strstr(reply->text, text))
		fail_msg("outcome %d, trouble %d, '%s' (wanted %d, %d, '%s')", reply->outcome,
			 reply->trouble, reply->text, outcome, trouble, text);
}

/* ---- a real etcd -------------------------------------------------------- */

static struct {
	char directory[64];
	char url[64];
	char peer_url[64];
	int port;
	pid_t pid; /* 0: not running */
	bool missing;
} etcd;

static void exec_etcd(void)
{
	CLEAN(str) char *cluster = xasprintf("x=%s", etcd.peer_url);
	CLEAN(str) char *log = xasprintf("%s/log", etcd.directory);
	CLEAN(str) char *data = xasprintf("%s/data", etcd.directory);
	const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd >= 0) {
		(void)dup2(fd, STDOUT_FILENO);
		(void)dup2(fd, STDERR_FILENO);
	}
	(void)execlp("etcd", "etcd", "--name", "x", "--data-dir", data, "--listen-client-urls",
		     etcd.url, "--advertise-client-urls", etcd.url, "--listen-peer-urls",
		     etcd.peer_url, "--initial-advertise-peer-urls", etcd.peer_url,
		     "--initial-cluster", cluster, "--unsafe-no-fsync", (char *)NULL);
	_exit(127);
}

static void etcd_run(void)
{
	etcd.pid = fork();
	assert_true(etcd.pid >= 0);
	if (etcd.pid == 0)
		exec_etcd();
}

static void etcd_kill(int signal)
{
	if (etcd.pid <= 0)
		return;
	(void)kill(etcd.pid, signal);
	(void)waitpid(etcd.pid, NULL, 0);
	etcd.pid = 0;
}

static void etcd_wait(void)
{
	struct scene *scene = scene_new(etcd.url, NULL);
	const int64_t end_ms = clock_now_ms() + 30000;

	do {
		run_for(scene, 50);
		(void)ask(scene, read_of("/", true));
	} while (scene->reply.outcome != STORE_DONE && clock_now_ms() < end_ms);
	assert_int_equal(scene->reply.outcome, STORE_DONE);
	scene_free(scene);
}

static bool etcd_is_installed(void)
{
	CLEAN(str_list) struct str_list folders = { 0 };
	const char *path = getenv("PATH");

	str_list_split(&folders, path ? path : "/usr/bin", ':');
	for (size_t i = 0; i < folders.len; i++) {
		CLEAN(str) char *file = xasprintf("%s/etcd", folders.items[i]);

		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static int start_etcd(void **state)
{
	(void)state;
	if (!etcd_is_installed()) {
		print_message("SKIP: no program 'etcd' in PATH\n");
		etcd.missing = true;
		return 0;
	}
	(void)snprintf(etcd.directory, sizeof(etcd.directory), "/tmp/test-etcd-XXXXXX");
	assert_non_null(mkdtemp(etcd.directory));
	etcd.port = free_port();
	(void)snprintf(etcd.url, sizeof(etcd.url), "http://127.0.0.1:%d", etcd.port);
	(void)snprintf(etcd.peer_url, sizeof(etcd.peer_url), "http://127.0.0.1:%d", free_port());
	etcd_run();
	etcd_wait();
	return 0;
}

static void remove_directory(const char *directory)
{
	const pid_t pid = fork();

	if (pid == 0) {
		(void)execlp("rm", "rm", "-rf", "--", directory, (char *)NULL);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

static int stop_etcd(void **state)
{
	(void)state;
	etcd_kill(SIGKILL);
	if (*etcd.directory)
		remove_directory(etcd.directory);
	return 0;
}

/* A store on the real etcd, with nothing under /t/. */
static int scene_setup(void **state)
{
	*state = NULL;
	if (etcd.missing)
		return 0;
	struct scene *scene = scene_new(etcd.url, NULL);
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_delete(&request->success, "/t/", true);
	assert_int_equal(ask(scene, request)->outcome, STORE_DONE);
	*state = scene;
	return 0;
}

static int scene_teardown(void **state)
{
	if (*state)
		scene_free(*state);
	return 0;
}

static struct scene *need(void **state)
{
	if (!*state)
		skip();
	return *state;
}

/* What the store has no word for: a plain request, waited for. */
static void post(const char *path, const char *body)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)etcd.port),
	};
	CLEAN(str) char *text = xasprintf("POST %s HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", path,
					  strlen(body), body);
	char answer[64] = "";

	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_true(read(fd, answer, sizeof(answer) - 1) > 12);
	assert_non_null(strstr(answer, " 200 "));
	(void)close(fd);
}

static struct store_request *swap(int64_t expected, const char *value)
{
	struct store_request *request = put_of("/t/current", value, 0);

	store_request_compare(request, STORE_COMPARE_MOD, "/t/current", expected);
	(void)store_ops_range(&request->failure, "/t/current", false);
	return request;
}

static void test_swap_won_and_lost(void **state)
{
	struct scene *scene = need(state);
	const struct store_reply *reply = ask(scene, swap(0, "one"));

	assert_int_equal(reply->outcome, STORE_DONE);
	assert_true(reply->succeeded);
	assert_true(reply->cluster_id != 0);
	const int64_t first = reply->revision;

	reply = ask(scene, swap(0, "late"));
	assert_int_equal(reply->outcome, STORE_DONE);
	assert_false(reply->succeeded);
	assert_int_equal(reply->ranges_len, 1);
	assert_string_equal(reply->ranges[0].items[0].value, "one");
	assert_int_equal(reply->ranges[0].items[0].mod_revision, first);
	assert_true(ask(scene, swap(first, "two"))->succeeded);

	struct store_status status;

	scene->store->backend->status(scene->store, &status);
	assert_string_equal(status.kind, "etcd");
	assert_string_equal(status.endpoint, etcd.url);
	assert_true(status.connected);
	assert_int_equal(status.revision, first + 1);
	assert_true(clock_now_ms() - status.last_contact_ms < 5000);
	assert_null(status.trouble);
}

static void test_large_push_is_one_revision(void **state)
{
	struct scene *scene = need(state);
	struct store_request *push = store_request_new(STORE_TXN);
	char value[3000];

	memset(value, 'x', sizeof(value));
	for (int i = 0; i < 300; i++) {
		CLEAN(str) char *key = xasprintf("/t/configs/%03d", i);

		store_ops_put(&push->success, key, value, sizeof(value), 0);
	}
	(void)store_ops_range(&push->success, "/t/configs/299", false);
	const struct store_reply *reply = ask(scene, push);

	assert_int_equal(reply->outcome, STORE_DONE);
	assert_int_equal(reply->ranges_len, 1);
	const int64_t revision = reply->revision;
	struct store_request *request = read_of("/t/current", false);

	(void)store_ops_range(&request->success, "/t/configs/", true);
	store_ops_range(&request->success, "/t/configs/", true)->range.limit = 2;
	request->success.items[2].range.keys_only = true;
	reply = ask(scene, request);
	assert_int_equal(reply->outcome, STORE_DONE);
	assert_int_equal(reply->ranges_len, 3);
	assert_int_equal(reply->ranges[0].len, 0);
	assert_int_equal(reply->ranges[1].len, 300);
	for (size_t i = 0; i < 300; i++) {
		assert_int_equal(reply->ranges[1].items[i].mod_revision, revision);
		assert_int_equal(reply->ranges[1].items[i].value_len, sizeof(value));
	}
	assert_string_equal(reply->ranges[1].items[299].key, "/t/configs/299");
	assert_int_equal(reply->ranges[2].len, 2);
	assert_null(reply->ranges[2].items[0].value);
}

/* More than two levels of nesting: etcd itself judges whether each list is short enough. */
static void test_five_thousand_operations(void **state)
{
	struct scene *scene = need(state);
	struct store_request *push = store_request_new(STORE_TXN);

	for (int i = 0; i < 5000; i++) {
		CLEAN(str) char *key = xasprintf("/t/n/%04d", i);

		store_ops_put(&push->success, key, "1", 1, 0);
	}
	assert_trouble(ask(scene, push), STORE_DONE, STORE_TROUBLE_NONE, "");
	assert_int_equal(ask(scene, read_of("/t/n/", true))->ranges[0].len, 5000);
}

static void test_leases(void **state)
{
	struct scene *scene = need(state);
	const uint64_t lease = (uint64_t)clock_now_ms() << 20 | UINT64_C(1) << 62;

	assert_trouble(ask(scene, put_of("/t/a", "1", lease)), STORE_REFUSED,
		       STORE_TROUBLE_LEASE_GONE, "not found");
	assert_int_equal(ask(scene, read_of("/t/a", false))->ranges[0].len, 0);
	assert_int_equal(ask(scene, lease_request(STORE_LEASE_GRANT, lease, 30))->ttl_s[0], 30);
	assert_int_equal(ask(scene, lease_request(STORE_LEASE_GRANT, lease, 30))->outcome,
			 STORE_DONE);
	assert_int_equal(scene->reply.ttl_s[0], 30);
	assert_int_equal(ask(scene, put_of("/t/a", "1", lease))->outcome, STORE_DONE);
	assert_true(ask(scene, read_of("/t/a", false))->ranges[0].items[0].lease == lease);

	struct store_request *keepalive = lease_request(STORE_LEASE_KEEPALIVE, lease, 0);

	keepalive->leases[1] = lease + 1;
	keepalive->leases_len = 2;
	assert_int_equal(ask(scene, keepalive)->outcome, STORE_DONE);
	assert_int_equal(scene->reply.ttl_s[0], 30);
	assert_int_equal(scene->reply.ttl_s[1], 0);
	assert_int_equal(ask(scene, lease_request(STORE_LEASE_REVOKE, lease, 0))->outcome,
			 STORE_DONE);
	assert_int_equal(ask(scene, read_of("/t/a", false))->ranges[0].len, 0);
	assert_trouble(ask(scene, lease_request(STORE_LEASE_REVOKE, lease, 0)), STORE_REFUSED,
		       STORE_TROUBLE_LEASE_GONE, "not found");
}

static void test_lease_expires(void **state)
{
	struct scene *scene = need(state);
	const uint64_t lease = (uint64_t)clock_now_ms() << 20 | UINT64_C(1) << 61;

	assert_int_equal(ask(scene, lease_request(STORE_LEASE_GRANT, lease, 1))->outcome,
			 STORE_DONE);
	assert_true(scene->reply.ttl_s[0] >= 1);
	assert_int_equal(ask(scene, put_of("/t/nodes/a", "1", lease))->outcome, STORE_DONE);
	watch(scene, scene->reply.revision);
	wait_for_trace(scene, "!/t/nodes/a=? ");
	assert_string_equal(scene->trace, "!/t/nodes/a=? ");
	assert_int_equal(ask(scene, lease_request(STORE_LEASE_KEEPALIVE, lease, 0))->ttl_s[0], 0);
}

static void test_watch_with_history(void **state)
{
	struct scene *scene = need(state);
	const int64_t before = put(scene, "/t/current", "0");

	(void)put(scene, "/t/current", "1");
	(void)put(scene, "/t/nodes/a", "1");
	(void)put(scene, "/t/elsewhere", "1");
	watch(scene, before);
	assert_string_equal(scene->trace, "");
	wait_for_trace(scene, "/t/nodes/a=1 ");
	wait_for_trace(scene, "/t/current=1 ");
	scene->trace[0] = '\0';

	/* One transaction under both watch ids: each event exactly once. */
	struct store_request *both = put_of("/t/current", "2", 0);

	store_ops_put(&both->success, "/t/nodes/b", "2", 1, 0);
	store_ops_delete(&both->success, "/t/nodes/a", false);
	assert_int_equal(ask(scene, both)->outcome, STORE_DONE);
	wait_for_trace(scene, "/t/current=2 ");
	wait_for_trace(scene, "/t/nodes/b=2 !/t/nodes/a=? ");
	run_for(scene, 200);
	assert_int_equal(strlen(scene->trace), strlen("/t/current=2 /t/nodes/b=2 !/t/nodes/a=? "));
	assert_int_equal(scene->gaps, 0);
}

static void test_compaction_is_a_gap(void **state)
{
	struct scene *scene = need(state);
	const int64_t before = put(scene, "/t/current", "0");

	(void)put(scene, "/t/current", "1");
	const int64_t last = put(scene, "/t/current", "2");
	CLEAN(str) char *body = xasprintf("{\"revision\":\"%" PRId64 "\"}", last);

	post("/v3/kv/compaction", body);
	watch(scene, before);
	wait_for_trace(scene, "compacted");
	run_for(scene, 300);
	assert_int_equal(scene->gaps, 1);
	scene->trace[0] = '\0';
	watch(scene, last);
	(void)put(scene, "/t/current", "3");
	wait_for_trace(scene, "/t/current=3 ");
	assert_int_equal(scene->gaps, 1);
}

static void test_watch_survives_a_restart(void **state)
{
	struct scene *scene = need(state);
	struct store_status status;

	watch(scene, put(scene, "/t/current", "0"));
	(void)put(scene, "/t/current", "1");
	wait_for_trace(scene, "/t/current=1 ");
	etcd_kill(SIGKILL);
	assert_trouble(ask(scene, read_of("/t/current", false)), STORE_UNKNOWN,
		       STORE_TROUBLE_UNREACHABLE, "no etcd endpoint answers (127.0.0.1:");
	run_for(scene, 300);
	scene->store->backend->status(scene->store, &status);
	assert_false(status.connected);
	assert_non_null(status.trouble);
	etcd_run();
	etcd_wait();

	/* The other store's puts are seen by the resumed watch; ours may still be held back. */
	struct scene *other = scene_new(etcd.url, NULL);

	(void)put(other, "/t/current", "2");
	scene_free(other);
	wait_for_trace(scene, "/t/current=2 ");
	assert_string_equal(scene->trace, "/t/current=1 /t/current=2 ");
	/* The watch found out that the endpoint is back. */
	(void)put(scene, "/t/current", "3");
	wait_for_trace(scene, "/t/current=3 ");
	assert_int_equal(scene->gaps, 0);
}

static void test_frozen_etcd(void **state)
{
	struct scene *scene = need(state);

	watch(scene, put(scene, "/t/current", "0"));
	(void)put(scene, "/t/current", "1");
	wait_for_trace(scene, "/t/current=1 ");
	(void)kill(etcd.pid, SIGSTOP);
	const int64_t begin_ms = clock_now_ms();

	assert_trouble(ask(scene, put_of("/t/frozen", "1", 0)), STORE_UNKNOWN,
		       STORE_TROUBLE_UNREACHABLE, "no answer in time");
	assert_in_range(clock_now_ms() - begin_ms, 2900, 4000);
	(void)kill(etcd.pid, SIGCONT);
	struct scene *other = scene_new(etcd.url, NULL);

	(void)put(other, "/t/current", "2");
	scene_free(other);
	wait_for_trace(scene, "/t/current=2 ");
	assert_string_equal(scene->trace, "/t/current=1 /t/current=2 ");
}

static void test_dead_endpoint_in_the_list(void **state)
{
	CLEAN(str) char *dead = xasprintf("http://127.0.0.1:%d", free_port());

	(void)need(state);
	/* It begins at a random one: some of these begin at the dead one. */
	for (int i = 0; i < 8; i++) {
		struct scene *scene = scene_new(dead, etcd.url);

		assert_int_equal(ask(scene, read_of("/t/current", false))->outcome, STORE_DONE);
		watch(scene, put(scene, "/t/current", "0"));
		(void)put(scene, "/t/current", "1");
		wait_for_trace(scene, "/t/current=1 ");
		scene_free(scene);
	}
}

static struct store_request *random_request(unsigned int *seed)
{
	static const char *const names[] = { "/t/m/a", "/t/m/b", "/t/m/c", "/t/m/d", "/t/m/d/e" };
	struct store_request *request = store_request_new(STORE_TXN);
	const unsigned int steps = (unsigned int)rand_r(seed) % 4 + 1;

	for (unsigned int i = 0; i < steps; i++) {
		const char *name = names[(unsigned int)rand_r(seed) % ARRAY_LEN(names)];

		switch (rand_r(seed) % 6) {
		case 0:
			store_ops_put(&request->success, name, rand_r(seed) % 2 ? "v" : "w", 1, 0);
			break;
		case 1:
			store_ops_delete(&request->success, name, rand_r(seed) % 2);
			break;
		case 2:
			store_request_compare(request, STORE_COMPARE_CREATE, name, 0);
			break;
		case 3:
			store_request_compare_value(request, name, "v");
			(void)store_ops_range(&request->failure, "/t/m/", true);
			break;
		case 4: {
			struct store_op *op = store_ops_range(&request->success, "/t/m/", true);

			op->range.oldest_first = true;
			op->range.limit = rand_r(seed) % 4;
			break;
		}
		default:
			store_ops_range(&request->success, name, rand_r(seed) % 2)->range.limit =
				rand_r(seed) % 3;
			(void)store_ops_range(&request->failure, "/t/m/", true);
			break;
		}
	}
	return request;
}

/* Revisions relative to each store's own beginning. */
static char *show(const struct store_reply *reply, int64_t base)
{
	struct buf buf = BUF_INIT(0);

	(void)buf_addf(&buf, "%d %d", reply->outcome, reply->succeeded);
	if (reply->outcome == STORE_DONE)
		(void)buf_addf(&buf, " @%d", (int)(reply->revision - base));
	for (size_t i = 0; i < reply->ranges_len; i++) {
		(void)buf_adds(&buf, " |");
		for (size_t j = 0; j < reply->ranges[i].len; j++)
			(void)buf_addf(&buf, " %s(%d,%d)", reply->ranges[i].items[j].key,
				       (int)(reply->ranges[i].items[j].create_revision - base),
				       (int)(reply->ranges[i].items[j].mod_revision - base));
	}
	return buf_steal(&buf);
}

/* The memory store claims to be etcd's model: the same transactions, the same answers. */
static void test_memory_store_agrees_with_etcd(void **state)
{
	struct scene *scene = need(state);
	struct memory_store *memory = memory_store_new();
	const int64_t base = ask(scene, read_of("/t/", true))->revision;
	unsigned int seed = 20261122;

	for (int i = 0; i < 300; i++) {
		unsigned int copy = seed;
		CLEAN(store_request) struct store_request *request = random_request(&seed);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		memory_store_execute(memory, request, &reply);
		CLEAN(str) char *ours = show(&reply, 1);
		CLEAN(str) char *theirs = show(ask(scene, random_request(&copy)), base);

		assert_string_equal(ours, theirs);
	}
	memory_store_free(memory);
}

static void test_freed_while_busy(void **state)
{
	struct scene *scene = need(state);
	const int replies = scene->replies;

	watch(scene, 0);
	for (int i = 0; i < 20; i++)
		store_send(scene->store, read_of("/t/", true), on_reply, scene);
	scene->free_on_reply = true;
	wait_for_replies(scene, replies + 1);
	run_for(scene, 50);
	assert_int_equal(scene->replies, replies + 1);
}

/* ---- a scripted server -------------------------------------------------- */

enum deed {
	ANSWER, /* status and body, connection kept */
	CLOSE, /* no answer */
	HOLD, /* nothing, for ever */
	STREAM, /* 200 and the body, byte by byte; then stays open */
	STREAM_CLOSE, /* the same, then closes */
	TORN, /* the same, but as a chunk that was to be longer */
	FLOOD, /* 200, then 'x' without end */
};

struct answer {
	enum deed deed;
	int status;
	const char *body;
};

struct server;

struct connection {
	struct ev_io io;
	struct ev_timer timer; /* the next byte of a stream */
	struct server *server;
	struct buf in;
	struct buf out;
	bool close_after;
	bool flood;
};

struct server {
	struct scene *scene;
	struct ev_io io;
	char url[64];
	const struct answer *answers; /* by request; the last one goes on */
	size_t answers_len;
	size_t requests;
	struct connection *connections[32];
	size_t connections_len;
	char *last; /* the last request */
};

static void connection_close(struct connection *connection)
{
	struct ev_loop *loop = connection->server->scene->loop;

	if (connection->io.fd < 0)
		return;
	ev_io_stop(loop, &connection->io);
	ev_timer_stop(loop, &connection->timer);
	(void)close(connection->io.fd);
	connection->io.fd = -1;
}

static void want(struct connection *connection, int events)
{
	struct ev_loop *loop = connection->server->scene->loop;

	ev_io_stop(loop, &connection->io);
	ev_io_set(&connection->io, connection->io.fd, events);
	ev_io_start(loop, &connection->io);
}

static void send_now(struct connection *connection, size_t len)
{
	const ssize_t n = write(connection->io.fd, connection->out.data, len);

	if (n > 0)
		buf_consume(&connection->out, (size_t)n);
	if (n < 0 && errno != EAGAIN)
		connection_close(connection);
}

static void on_byte(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct connection *connection = w->data;

	(void)revents;
	if (connection->out.len) {
		send_now(connection, 1);
		return;
	}
	ev_timer_stop(loop, w);
	if (connection->close_after)
		connection_close(connection);
}

static void start_stream(struct connection *connection, const char *body, bool torn)
{
	(void)buf_adds(&connection->out, "HTTP/1.1 200 OK\r\n");
	if (torn)
		(void)buf_addf(&connection->out, "Transfer-Encoding: chunked\r\n\r\n%zx",
			       strlen(body) + 9);
	(void)buf_adds(&connection->out, "\r\n");
	(void)buf_adds(&connection->out, body);
	ev_timer_set(&connection->timer, 0.0001, 0.0001);
	ev_timer_start(connection->server->scene->loop, &connection->timer);
}

static void carry_out(struct connection *connection, const struct answer *answer)
{
	switch (answer->deed) {
	case ANSWER:
		(void)buf_addf(&connection->out, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s",
			       answer->status, strlen(answer->body), answer->body);
		send_now(connection, connection->out.len);
		break;
	case CLOSE:
		connection_close(connection);
		break;
	case HOLD:
		break;
	case STREAM_CLOSE:
	case TORN:
		connection->close_after = true;
		start_stream(connection, answer->body, answer->deed == TORN);
		break;
	case STREAM:
		start_stream(connection, answer->body, false);
		break;
	case FLOOD:
		connection->flood = true;
		(void)buf_adds(&connection->out, "HTTP/1.1 200 OK\r\n\r\n");
		want(connection, EV_READ | EV_WRITE);
		break;
	}
}

/* Length of the first whole request in the buffer, 0 if there is none yet. */
static size_t whole_request(const struct buf *in)
{
	const char *end = strstr(buf_str(in), "\r\n\r\n");
	const char *length = strcasestr(buf_str(in), "content-length:");
	int64_t body = 0;

	if (!end || !length)
		return 0;
	CLEAN(str) char *number = xstrndup(length + 16, strcspn(length + 16, "\r"));

	assert_int_equal(str_to_int64(number, 0, 1 << 30, &body), 0);
	const size_t len = (size_t)(end - in->data) + 4 + (size_t)body;

	return len <= in->len ? len : 0;
}

static void on_connection(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct connection *connection = w->data;
	struct server *server = connection->server;
	static char piece[65536];

	(void)loop;
	if (revents & EV_WRITE && connection->flood) {
		if (connection->out.len < sizeof(piece)) {
			memset(piece, 'x', sizeof(piece));
			(void)buf_add(&connection->out, piece, sizeof(piece));
		}
		send_now(connection, connection->out.len);
	}
	if (!(revents & EV_READ) || connection->io.fd < 0)
		return;
	const ssize_t n = read(w->fd, piece, sizeof(piece));
	if (n <= 0) {
		connection_close(connection);
		return;
	}
	(void)buf_add(&connection->in, piece, (size_t)n);
	const size_t len = whole_request(&connection->in);

	if (!len)
		return;
	free(server->last);
	server->last = xstrndup(connection->in.data, len);
	buf_consume(&connection->in, len);
	const size_t at = server->requests++;

	carry_out(connection,
		  &server->answers[at < server->answers_len ? at : server->answers_len - 1]);
}

static void on_accept(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct server *server = w->data;
	const int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)revents;
	if (fd < 0)
		return;
	assert_true(server->connections_len < ARRAY_LEN(server->connections));
	struct connection *connection = xcalloc(1, sizeof(*connection));

	server->connections[server->connections_len++] = connection;
	connection->server = server;
	ev_init(&connection->timer, on_byte);
	connection->timer.data = connection;
	ev_io_init(&connection->io, on_connection, fd, EV_READ);
	connection->io.data = connection;
	ev_io_start(loop, &connection->io);
}

/* A server and a place for its URL; it begins to listen with server_start(). */
static struct server *server_new(const struct answer *answers, size_t len)
{
	struct server *server = xcalloc(1, sizeof(*server));
	int port;
	const int fd = listen_on_free_port(&port);

	(void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d", port);
	ev_io_init(&server->io, on_accept, fd, EV_READ);
	server->io.data = server;
	server->answers = answers;
	server->answers_len = len;
	return server;
}

static void server_start(struct server *server, struct scene *scene)
{
	server->scene = scene;
	ev_io_start(scene->loop, &server->io);
}

/* All that it has to say until now, and a moment for the store to take it in. */
static void wait_until_sent(const struct server *server)
{
	for (size_t i = 0; i < server->connections_len; i++)
		while (server->connections[i]->out.len && server->connections[i]->io.fd >= 0)
			turn(server->scene);
	run_for(server->scene, 50);
}

static void server_free(struct server *server)
{
	for (size_t i = 0; i < server->connections_len; i++) {
		connection_close(server->connections[i]);
		buf_fini(&server->connections[i]->in);
		buf_fini(&server->connections[i]->out);
		free(server->connections[i]);
	}
	ev_io_stop(server->scene->loop, &server->io);
	(void)close(server->io.fd);
	free(server->last);
	free(server);
}

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
		{ "closed",
		  false,
		  { { CLOSE, 0, NULL } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_UNREACHABLE,
		  "closed the connection without an answer" },
		{ "closed",
		  true,
		  { { CLOSE, 0, NULL } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_UNREACHABLE,
		  "closed the connection without an answer" },
		{ "flood",
		  false,
		  { { FLOOD, 0, NULL } },
		  1,
		  STORE_UNKNOWN,
		  STORE_TROUBLE_OTHER,
		  "64 MiB" },
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

static void test_eight_in_flight(void **state)
{
	static const struct answer hold[] = { { HOLD, 0, NULL } };
	static const struct answer now[] = { { ANSWER, 200, DONE_READ } };
	struct server *server = server_new(hold, 1);
	struct scene *scene = scene_new(server->url, NULL);

	(void)state;
	server_start(server, scene);
	for (int i = 0; i < 20; i++)
		store_send(scene->store, read_of("/a", false), on_reply, scene);
	run_for(scene, 300);
	assert_int_equal(server->requests, 8);
	server->answers = now;
	for (size_t i = 0; i < 8; i++)
		carry_out(server->connections[i], now);
	wait_for_replies(scene, 20);
	assert_int_equal(scene->unknown, 0);
	assert_int_equal(server->requests, 20);
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
	  "/t/current=8 /t/current=9 ",
	  2,
	  "\"start_revision\":\"8\"" },
	{ "torn message, then no leader",
	  { { TORN, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) "{\"result\":{\"hea" },
	    { ANSWER, 503, NO_LEADER },
	    { STREAM, 0, CREATED("1", "9") CREATED("2", "9") EVENTS("9", EVENT("9", "OQ==")) } },
	  3,
	  "/t/current=8 /t/current=9 ",
	  3,
	  NULL },
	{ "no leader while opening",
	  { { STREAM_CLOSE, 0, "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}" },
	    { STREAM, 0, BOTH_CREATED EVENTS("8", EVENT("8", "OA==")) } },
	  2,
	  "/t/current=8 ",
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
	assert_in_range(clock_now_ms() - begin_ms, 2900, 4500);
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
	assert_int_equal(status.counters.requests, 1);
	assert_int_equal(status.counters.watches, 1);
	assert_int_equal(status.counters.failures, 0);
	assert_true(status.counters.bytes_received == strlen(answers[0].body));
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
		  "/t/current=8 ",
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
		  "/t/current=8 ",
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

/* ---- URLs --------------------------------------------------------------- */

static void test_urls(void **state)
{
	static const struct {
		const char *url;
		const char *host; /* NULL: refused */
		int port;
		const char *reason;
	} cases[] = {
		{ "http://127.0.0.1:2379", "127.0.0.1", 2379, NULL },
		{ "http://127.0.0.1:2379/", "127.0.0.1", 2379, NULL },
		{ "http://etcd-0.example.org:1", "etcd-0.example.org", 1, NULL },
		{ "http://[::1]:2379", "::1", 2379, NULL },
		{ "http://[fe80::1%eth0]:65535/", "fe80::1%eth0", 65535, NULL },
		{ "https://127.0.0.1:2379", NULL, 0, "https is not supported" },
		{ "127.0.0.1:2379", NULL, 0, "does not begin with http://" },
		{ "", NULL, 0, "does not begin with http://" },
		{ "http://127.0.0.1", NULL, 0, "the port is missing" },
		{ "http://[::1]", NULL, 0, "the port is missing" },
		{ "http://[::1", NULL, 0, "the host is missing" },
		{ "http://:2379", NULL, 0, "the host is missing" },
		{ "http://a b:2379", NULL, 0, "character that no host has" },
		{ "http://user@host:2379", NULL, 0, "character that no host has" },
		{ "http://host:0", NULL, 0, "1 to 65535" },
		{ "http://host:65536", NULL, 0, "1 to 65535" },
		{ "http://host:", NULL, 0, "1 to 65535" },
		{ "http://host:23x", NULL, 0, "something behind the port" },
		{ "http://host:2379/v3", NULL, 0, "something behind the port" },
		{ "http://host:2379\r\nX: y", NULL, 0, "something behind the port" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *host = NULL;
		int port = 0;
		struct err err = { 0 };
		const int r = etcd_endpoint_parse(cases[i].url, &host, &port, &err);

		if ((r == 0) != (cases[i].host != NULL))
			print_error("case %zu: '%s'\n", i, cases[i].url);
		assert_int_equal(r, cases[i].host ? 0 : -EINVAL);
		assert_int_equal(port, cases[i].port);
		if (cases[i].host)
			assert_string_equal(host, cases[i].host);
		else if (!strstr(err.msg, cases[i].reason))
			fail_msg("'%s' lacks '%s'", err.msg, cases[i].reason);
	}
}

static void test_bad_lists_of_endpoints(void **state)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	CLEAN(str_list) struct str_list urls = { 0 };
	struct err err = { 0 };

	(void)state;
	assert_null(etcd_store_new(loop, &(struct etcd_settings){ .endpoints = &urls }, &err));
	assert_int_equal(err.code, -EINVAL);
	str_list_add(&urls, "http://127.0.0.1:1");
	str_list_add(&urls, "nonsense");
	assert_null(etcd_store_new(loop, &(struct etcd_settings){ .endpoints = &urls }, &err));
	assert_non_null(strstr(err.msg, "nonsense"));
	ev_loop_destroy(loop);
}

static void no_log(enum log_level level, const char *module, const char *text)
{
	(void)level;
	(void)module;
	(void)text;
}

#define real_etcd_test(f) cmocka_unit_test_setup_teardown(f, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_bad_lists_of_endpoints),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_kept_connection_dies),
		cmocka_unit_test(test_second_endpoint),
		cmocka_unit_test(test_all_endpoints_down),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_eight_in_flight),
		cmocka_unit_test(test_watches),
		cmocka_unit_test(test_gaps_are_damped),
		cmocka_unit_test(test_not_created_in_time),
		cmocka_unit_test(test_failing_requests_drop_the_watch),
		cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_probes),
		cmocka_unit_test(test_probe_goes_where_the_watch_is),
		cmocka_unit_test(test_freed_inside_a_gap),
		real_etcd_test(test_swap_won_and_lost),
		real_etcd_test(test_large_push_is_one_revision),
		real_etcd_test(test_five_thousand_operations),
		real_etcd_test(test_leases),
		real_etcd_test(test_lease_expires),
		real_etcd_test(test_watch_with_history),
		real_etcd_test(test_compaction_is_a_gap),
		real_etcd_test(test_watch_survives_a_restart),
		real_etcd_test(test_frozen_etcd),
		real_etcd_test(test_dead_endpoint_in_the_list),
		real_etcd_test(test_memory_store_agrees_with_etcd),
		real_etcd_test(test_freed_while_busy),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(no_log);
	json_init();
	return cmocka_run_group_tests(tests, start_etcd, stop_etcd);
}
