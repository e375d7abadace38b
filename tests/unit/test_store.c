/* SPDX-License-Identifier: MIT */
/* The store's values (requests, ranges, replies), and the standalone backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ev.h>
#include <stdio.h>
#include <string.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/standalone.h"
#include "cmsnode/store/store.h"

static void test_prefix_end(void **state)
{
	static const struct {
		const char *prefix;
		const char *end;
	} cases[] = {
		{ "/cms/nodes/", "/cms/nodes0" },
		{ "a", "b" },
		{ "a\xff", "b" },
		{ "a\xff\xff", "b" },
		{ "\xc3\xbf", "\xc3\xc0" },
		{ "~", "\x7f" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *end = store_prefix_end(cases[i].prefix);

		assert_string_equal(end, cases[i].end);
	}
}

static void test_range_has(void **state)
{
	static const struct {
		const char *key;
		const char *range_end;
		const char *tried;
		bool has;
	} cases[] = {
		{ "/a", NULL, "/a", true },	   { "/a", NULL, "/a/", false },
		{ "/a", NULL, "/", false },	   { "/a/", "/a0", "/a/", true },
		{ "/a/", "/a0", "/a/x", true },	   { "/a/", "/a0", "/a0", false },
		{ "/a/", "/a0", "/a", false },	   { "/a/", "/a0", "/b", false },
		{ "/a/", "/a0", "/a/\xff", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct store_range range = { .key = (char *)cases[i].key,
						   .range_end = (char *)cases[i].range_end };

		assert_int_equal(store_range_has(&range, cases[i].tried), cases[i].has);
	}
}

static void test_read_only(void **state)
{
	static const struct {
		enum store_request_kind kind;
		bool put_in_success;
		bool delete_in_failure;
		bool read_only;
	} cases[] = {
		{ STORE_TXN, false, false, true },
		{ STORE_TXN, true, false, false },
		{ STORE_TXN, false, true, false },
		{ STORE_LEASE_GRANT, false, false, false },
		{ STORE_LEASE_KEEPALIVE, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(store_request) struct store_request *request =
			store_request_new(cases[i].kind);

		(void)store_ops_range(&request->success, "/a", true);
		(void)store_ops_range(&request->failure, "/a", false);
		if (cases[i].put_in_success)
			store_ops_put(&request->success, "/b", "1", 1, 0);
		if (cases[i].delete_in_failure)
			store_ops_delete(&request->failure, "/c", true);
		assert_int_equal(store_request_is_read_only(request), cases[i].read_only);
	}
}

static void test_reply_values(void **state)
{
	CLEAN(store_reply) struct store_reply reply = { 0 };
	const struct store_kv kv = {
		.key = (char *)"/k", .value = (char *)"a\0b", .value_len = 3, .lease = 7
	};

	(void)state;
	store_kv_copy(store_kvs_add(store_reply_add_range(&reply)), &kv);
	const struct store_kv *found = store_kvs_find(&reply.ranges[0], "/k");

	assert_non_null(found);
	assert_ptr_not_equal(found->key, kv.key);
	assert_int_equal(found->value_len, 3);
	assert_memory_equal(found->value, "a\0b", 4);
	assert_null(store_kvs_find(&reply.ranges[0], "/"));

	store_reply_fail(&reply, STORE_REFUSED, STORE_TROUBLE_DENIED, "no\n%s", "\x1b[1m");
	assert_int_equal(reply.outcome, STORE_REFUSED);
	assert_int_equal(reply.trouble, STORE_TROUBLE_DENIED);
	assert_string_equal(reply.text, "no??[1m");
}

/* ---- standalone --------------------------------------------------------- */

struct scene {
	struct ev_loop *loop;
	struct store *store;
	char trace[512];
	bool free_in_done;
	bool watch_in_gap;
};

static void note(struct scene *scene, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct scene *scene, const char *fmt, ...)
{
	const size_t len = strlen(scene->trace);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(scene->trace + len, sizeof(scene->trace) - len, fmt, args);
	va_end(args);
}

static void on_reply(void *ctx, struct store_reply *reply)
{
	struct scene *scene = ctx;

	note(scene, "reply@%d%s ", (int)reply->revision, reply->succeeded ? "+" : "-");
	if (scene->free_in_done)
		store_free(steal(scene->store));
}

static void on_news(void *ctx, const struct store_watch_report *report)
{
	static const char *const prefixes[] = { "/n/" };
	struct scene *scene = ctx;

	if (report->news == STORE_WATCH_GAP) {
		note(scene, "gap ");
		if (scene->watch_in_gap)
			scene->store->backend->watch(scene->store, NULL, 0, prefixes, 1, 1 << 20,
						     on_news, scene);
		return;
	}
	for (size_t i = 0; i < report->len; i++)
		note(scene, "%s%s@%d ", report->events[i].deleted ? "!" : "",
		     report->events[i].kv.key, (int)report->events[i].kv.mod_revision);
}

static void send_put(struct scene *scene, const char *key)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_put(&request->success, key, "v", 1, 0);
	store_send(scene->store, request, on_reply, scene);
}

static void send_delete(struct scene *scene, const char *key)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_delete(&request->success, key, false);
	store_send(scene->store, request, on_reply, scene);
}

static void turn(struct scene *scene)
{
	(void)ev_run(scene->loop, EVRUN_NOWAIT);
	(void)ev_run(scene->loop, EVRUN_NOWAIT);
}

static int scene_setup(void **state)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));

	scene->loop = ev_loop_new(EVFLAG_AUTO);
	scene->store = standalone_store_new(scene->loop);
	*state = scene;
	return 0;
}

static int scene_teardown(void **state)
{
	struct scene *scene = *state;

	store_free(scene->store);
	ev_loop_destroy(scene->loop);
	free(scene);
	return 0;
}

static void test_standalone_answers_later(void **state)
{
	struct scene *scene = *state;
	struct store_status status;

	send_put(scene, "/a");
	assert_string_equal(scene->trace, "");
	turn(scene);
	assert_string_equal(scene->trace, "reply@2+ ");
	scene->store->backend->status(scene->store, &status);
	assert_string_equal(status.kind, "standalone");
	assert_null(status.endpoint);
	assert_true(status.connected);
	assert_int_equal(status.revision, 2);
}

static void test_standalone_watch(void **state)
{
	static const char *const keys[] = { "/cur" };
	static const char *const prefixes[] = { "/n/" };
	struct scene *scene = *state;

	send_put(scene, "/n/old");
	turn(scene);
	scene->trace[0] = '\0';
	scene->store->backend->watch(scene->store, keys, 1, prefixes, 1, 1, on_news, scene);
	assert_string_equal(scene->trace, "");
	turn(scene);
	assert_string_equal(scene->trace, "/n/old@2 ");

	scene->trace[0] = '\0';
	send_put(scene, "/cur");
	send_put(scene, "/curious");
	send_delete(scene, "/n/old");
	turn(scene);
	assert_string_equal(scene->trace, "reply@3+ reply@4+ reply@5+ /cur@3 !/n/old@5 ");
	scene->trace[0] = '\0';
	turn(scene);
	assert_string_equal(scene->trace, "");
}

static void test_standalone_gap(void **state)
{
	static const char *const prefixes[] = { "/n/" };
	struct scene *scene = *state;
	struct store_request *request = store_request_new(STORE_TXN);

	for (int i = 0; i < 10001; i++) {
		CLEAN(str) char *key = xasprintf("/n/%d", i);

		store_ops_put(&request->success, key, "", 0, 0);
	}
	store_send(scene->store, request, on_reply, scene);
	turn(scene);
	scene->trace[0] = '\0';
	scene->watch_in_gap = true;
	scene->store->backend->watch(scene->store, NULL, 0, prefixes, 1, 1, on_news, scene);
	turn(scene);
	turn(scene);
	assert_string_equal(scene->trace, "gap ");
}

static void test_standalone_freed_in_a_callback(void **state)
{
	struct scene *scene = *state;

	scene->free_in_done = true;
	send_put(scene, "/a");
	send_put(scene, "/b");
	turn(scene);
	assert_string_equal(scene->trace, "reply@2+ ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix_end),
		cmocka_unit_test(test_range_has),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_reply_values),
		cmocka_unit_test_setup_teardown(test_standalone_answers_later, scene_setup,
						scene_teardown),
		cmocka_unit_test_setup_teardown(test_standalone_watch, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(test_standalone_gap, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(test_standalone_freed_in_a_callback, scene_setup,
						scene_teardown),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
