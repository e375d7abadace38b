/* SPDX-License-Identifier: MIT */
/* The etcd backend against a real etcd, and how its endpoints are written. */
#include "etcd_real.h"

#include <errno.h>
#include <inttypes.h>

#include "cmsnode/store/memory_store.h"

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
	assert_non_null(status.version);
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
	wait_for_trace(scene, "QUIET ");
	/* One watch id may tell its events before the other one is created. */
	if (!str_eq(scene->trace, "/t/current=1 /t/current=2 QUIET "))
		assert_string_equal(scene->trace, "/t/current=1 QUIET /t/current=2 ");
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
	assert_int_equal(waitpid(etcd.pid, NULL, WUNTRACED), etcd.pid);
	const int64_t begin_ms = clock_now_ms();

	assert_trouble(ask(scene, put_of("/t/frozen", "1", 0)), STORE_UNKNOWN,
		       STORE_TROUBLE_UNREACHABLE, "no answer in time");
	assert_true(clock_now_ms() - begin_ms >= 2900);
	(void)kill(etcd.pid, SIGCONT);
	struct scene *other = scene_new(etcd.url, NULL);

	(void)put(other, "/t/current", "2");
	scene_free(other);
	wait_for_trace(scene, "/t/current=2 ");
	wait_for_trace(scene, "QUIET ");
	if (!str_eq(scene->trace, "/t/current=1 /t/current=2 QUIET "))
		assert_string_equal(scene->trace, "/t/current=1 QUIET /t/current=2 ");
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

/* The cluster's id is the same after it, and the revision may be: only the log tells. */
static void test_restored_from_a_backup(void **state)
{
	struct scene *scene = need(state);
	CLEAN(str) char *backup = xasprintf("%s/backup", etcd.directory);
	CLEAN(str) char *data = xasprintf("%s/data", etcd.directory);
	CLEAN(str) char *cluster = xasprintf("x=%s", etcd.peer_url);

	for (int i = 0; i < 10; i++)
		(void)put(scene, "/t/current", "1");
	assert_false(scene->reply.restored);
	const uint64_t cluster_id = scene->reply.cluster_id;

	run_program((const char *[]){ "etcdctl", "--endpoints", etcd.url, "snapshot", "save",
				      backup, NULL });
	(void)put(scene, "/t/current", "2");
	etcd_kill(SIGKILL);
	remove_directory(data);
	run_program((const char *[]){ "etcdctl", "snapshot", "restore", backup, "--name", "x",
				      "--data-dir", data, "--initial-cluster", cluster,
				      "--initial-advertise-peer-urls", etcd.peer_url, NULL });
	etcd_run();
	etcd_wait();
	while (ask(scene, read_of("/t/current", false))->outcome != STORE_DONE)
		run_for(scene, 50);
	assert_true(scene->reply.restored);
	assert_true(scene->reply.cluster_id == cluster_id);
	assert_string_equal(scene->reply.ranges[0].items[0].value, "1");
}

/* A full etcd: what would grow it is refused for that reason, all else goes on. */
static void test_no_space(void **state)
{
	struct scene *scene = need(state);
	CLEAN(str) char *data = xasprintf("%s/data", etcd.directory);
	char *value = xcalloc(1, 100000);

	memset(value, 'x', 99999);
	etcd_kill(SIGKILL);
	remove_directory(data);
	etcd.extra[0] = "--quota-backend-bytes";
	etcd.extra[1] = "1000000";
	etcd_run();
	etcd_wait();
	(void)put(scene, "/t/current", "1");
	for (int i = 0; i < 1000 && scene->reply.outcome == STORE_DONE; i++)
		(void)ask(scene, put_of("/t/large", value, 0));
	assert_trouble(&scene->reply, STORE_REFUSED, STORE_TROUBLE_NOSPACE,
		       "database space exceeded");
	assert_trouble(ask(scene, lease_request(STORE_LEASE_GRANT, 77, 30)), STORE_REFUSED,
		       STORE_TROUBLE_NOSPACE, "database space exceeded");
	assert_string_equal(ask(scene, read_of("/t/current", false))->ranges[0].items[0].value,
			    "1");
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_delete(&request->success, "/t/large", false);
	assert_int_equal(ask(scene, request)->outcome, STORE_DONE);
	free(value);
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
		{ "https://127.0.0.1:2379", "127.0.0.1", 2379, NULL },
		{ "https://[::1]:2379/", "::1", 2379, NULL },
		{ "127.0.0.1:2379", NULL, 0, "neither http:// nor https://" },
		{ "ftp://127.0.0.1:2379", NULL, 0, "neither http:// nor https://" },
		{ "", NULL, 0, "neither http:// nor https://" },
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
	str_list_fini(&urls);
	str_list_add(&urls, "http://127.0.0.1:1");
	str_list_add(&urls, "https://127.0.0.1:1");
	assert_null(etcd_store_new(loop, &(struct etcd_settings){ .endpoints = &urls }, &err));
	assert_non_null(strstr(err.msg, "either all http:// or all https://"));
	ev_loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_bad_lists_of_endpoints),
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
		real_etcd_test(test_restored_from_a_backup),
		real_etcd_test(test_no_space),
	};

	prepare();
	return cmocka_run_group_tests(tests, start_etcd, stop_etcd);
}
