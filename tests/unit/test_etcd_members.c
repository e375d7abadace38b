/* SPDX-License-Identifier: MIT */
/* Endpoints that are learnt from etcd, and left when they have left. */
#include "etcd_script.h"

#include "../../src/store/etcd_internal.h"

static const struct answer done_read[] = {
	{ ANSWER, 200,
	  "{\"header\":{\"cluster_id\":\"5\",\"revision\":\"7\"},\"succeeded\":true,"
	  "\"responses\":[{\"response_range\":{}}]}" },
};
static const struct answer in_trouble[] = { { ANSWER, 503,
					      "{\"message\":\"no leader\",\"code\":14}" } };

/* Two servers, of which the store is given the first. */
struct pair {
	struct scene *scene;
	struct server *one, *two;
	char *list; /* the answer that names `two`, and what is no use */
};

static void pair_init(struct pair *pair)
{
	pair->one = server_new(done_read, 1);
	pair->two = server_new(done_read, 1);
	pair->scene = scene_new(pair->one->url, NULL);
	server_start(pair->one, pair->scene);
	server_start(pair->two, pair->scene);
	pair->list = xasprintf(
		"{\"members\":[{\"clientURLs\":[\"%s\",\"http://0.0.0.0:1\",\"nonsense\"]},"
		"{\"clientURLs\":[\"https://127.0.0.1:1\"]},{\"clientURLs\":[\"http://[::]:1\"]}]}",
		pair->two->url);
	pair->one->members.body = pair->list;
	assert_int_equal(ask(pair->scene, read_of("/a", false))->outcome, STORE_DONE);
}

static void pair_fini(struct pair *pair)
{
	server_free(pair->one);
	server_free(pair->two);
	scene_free(pair->scene);
	free(pair->list);
}

static struct etcd_store *store_of(const struct pair *pair)
{
	return (struct etcd_store *)pair->scene->store;
}

/* Its time has come; waits for the answer to `server`. */
static void learn(struct pair *pair, struct server *server)
{
	const size_t told = server->told;

	ev_feed_event(pair->scene->loop, &store_of(pair)->members.timer, EV_TIMER);
	while (server->told == told)
		turn(pair->scene);
	run_for(pair->scene, 50);
}

static void test_learnt_is_used(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair);
	learn(&pair, pair.one);
	pair.one->answers = in_trouble;
	assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_DONE);
	assert_int_equal(pair.two->requests, 1);
	/* Nothing but these two was ever thought of. */
	pair.two->answers = in_trouble;
	assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_UNKNOWN);
	assert_int_equal(store_of(&pair)->endpoints.len, 2);
	pair_fini(&pair);
}

static void test_who_left_is_left(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair);
	learn(&pair, pair.one);
	/* It is in use when it leaves; the one that was given never goes. */
	pair.one->answers = in_trouble;
	assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_DONE);
	CLEAN(str) char *list = xasprintf(
		"{\"members\":[{\"clientURLs\":[\"http://127.0.0.1:%d\"]}]}", free_port());

	pair.two->members.body = list;
	learn(&pair, pair.two);
	pair.one->answers = done_read;
	const int64_t end_ms = clock_now_ms() + 20000;

	while (ask(pair.scene, read_of("/a", false))->outcome != STORE_DONE &&
	       clock_now_ms() < end_ms)
		run_for(pair.scene, 20);
	assert_int_equal(pair.scene->reply.outcome, STORE_DONE);
	assert_int_equal(pair.two->requests, 1);

	/* Back again: in the place that it had, or another. */
	pair.one->members.body = pair.list;
	learn(&pair, pair.one);
	pair.one->answers = in_trouble;
	assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_DONE);
	assert_int_equal(pair.two->requests, 2);
	assert_int_equal(store_of(&pair)->endpoints.len, 2);
	pair_fini(&pair);
}

/* Machines come and go; the list does not grow for that. */
static void test_places_are_used_again(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair);
	for (int i = 1; i < 300; i++) {
		CLEAN(str_list) struct str_list urls = { 0 };
		CLEAN(str) char *url = xasprintf("http://127.0.0.1:%d", i);

		str_list_add(&urls, url);
		etcd_endpoints_set_learnt(store_of(&pair), &urls);
	}
	assert_int_equal(store_of(&pair)->endpoints.len, 2);
	assert_string_equal(store_of(&pair)->endpoints.items[1].name, "127.0.0.1:299");
	assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_DONE);
	pair_fini(&pair);
}

static void test_no_list_is_no_trouble(void **state)
{
	static const struct answer answers[] = {
		{ ANSWER, 403, "{\"message\":\"permission denied\",\"code\":7}" },
		{ ANSWER, 404, "404 page not found\n" },
		{ ANSWER, 200, "{\"members\":[]}" },
		{ ANSWER, 200, "<html>" },
		{ CLOSE, 0, NULL },
	};
	struct pair pair;
	struct store_status status;

	(void)state;
	pair_init(&pair);
	learn(&pair, pair.one);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		pair.one->members = answers[i];
		learn(&pair, pair.one);
		assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_DONE);
		pair.scene->store->backend->status(pair.scene->store, &status);
		assert_true(status.connected);
		assert_null(status.trouble);
		assert_false(store_of(&pair)->endpoints.items[1].gone);
	}
	pair_fini(&pair);
}

/* Behind a new connection may be another server: to find that out is for those who use it. */
static void test_list_makes_no_connection(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair);
	const size_t asked = pair.one->asked;

	connection_close(pair.one->connections[0]);
	run_for(pair.scene, 50);
	ev_feed_event(pair.scene->loop, &store_of(&pair)->members.timer, EV_TIMER);
	run_for(pair.scene, 100);
	assert_int_equal(pair.one->told, 0);
	assert_int_equal(ask(pair.scene, read_of("/a", false))->outcome, STORE_DONE);
	assert_true(pair.one->asked > asked);
	learn(&pair, pair.one);
	pair_fini(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_learnt_is_used),
		cmocka_unit_test(test_who_left_is_left),
		cmocka_unit_test(test_places_are_used_again),
		cmocka_unit_test(test_no_list_is_no_trouble),
		cmocka_unit_test(test_list_makes_no_connection),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
