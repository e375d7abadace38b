/* SPDX-License-Identifier: MIT */
/* The agreement's state machine on a memory store, with a virtual clock. */
#include "agreement_scenes.h"

/* Every node's Worker slots, ports and addresses, as one text. */
static char *workers(const struct generation *generation)
{
	CLEAN(value) struct value *document = generation_render(generation);

	return value_to_json(value_get_path(document, "services.Worker"));
}

static void first_node_seeds_and_runs(void **state)
{
	struct world *world = world_new();

	(void)state;
	(void)world_add(world, "a", "core,worker:2", 1, true);
	world_start(world, 0);
	world_run(world, 1000);
	assert_all_agree(world);
	assert_int_equal(world->nodes[0].applied, 1);
	const struct generation *agreed = world_agreed(world, 0);

	assert_int_equal(agreed->sequence, 1);
	assert_int_equal(agreed->epoch, 1);
	assert_string_equal(agreed->slots.lists[CATALOGUE_LOG_SERVICE].items[0].node, "a");
	CLEAN(str) char *text = workers(agreed);

	assert_string_equal(text, "[[\"10.0.0.1\",26000],[\"10.0.0.1\",26001]]");
	assert_int_equal(count_keys(world, "/cms/nodes/"), 1);
	assert_int_equal(count_keys(world, "/cms/addresses/10.0.0.1/a"), 1);
	assert_int_equal(count_keys(world, "/cms/reserved/a"), 1);
	world_free(world);
}

static void others_join_and_all_follow(void **state)
{
	struct world *world = world_new();

	(void)state;
	(void)world_add(world, "a", "core", 1, true);
	world_start(world, 0);
	world_run(world, 500);
	for (int host = 2; host <= 10; host++) {
		CLEAN(str) char *id = xasprintf("w%d", host);

		world_start(world, world_add(world, id, "worker:2", host, false));
	}
	world_run(world, 10000);
	assert_all_agree(world);
	assert_int_equal(world_agreed(world, 0)->slots.lists[CATALOGUE_WORKER].len, 18);
	/* Nine joined at once: combined, not one generation each. */
	assert_true(world_agreed(world, 0)->sequence <= 4);
	world_free(world);
}

static void nothing_to_seed_is_said(void **state)
{
	struct world *world = world_new();

	(void)state;
	(void)world_add(world, "a", "core", 1, false);
	world_start(world, 0);
	world_run(world, 1000);
	assert_null(world_agreed(world, 0));
	assert_non_null(strstr(world->nodes[0].trouble, "--seed-config"));
	/* A seeding node comes later; the first follows. */
	world_start(world, world_add(world, "b", "worker:1", 2, true));
	world_run(world, 10000);
	assert_all_agree(world);
	assert_null(agreement_trouble(world->nodes[0].agreement));
	world_free(world);
}

static void two_seeds_make_one_cluster(void **state)
{
	struct world *world = world_new();

	(void)state;
	for (int host = 1; host <= 3; host++) {
		CLEAN(str) char *id = xasprintf("n%d", host);

		(void)world_add(world, id, host == 1 ? "core" : "worker:1", host, true);
	}
	for (size_t i = 0; i < world->len; i++)
		world_start(world, i);
	world_run(world, 10000);
	assert_all_agree(world);
	world_free(world);
}

static struct world *pair(void)
{
	struct world *world = world_new();

	world_start(world, world_add(world, "a", "core", 1, true));
	world_run(world, 500);
	world_start(world, world_add(world, "b", "worker:1", 2, false));
	world_run(world, 5000);
	assert_all_agree(world);
	return world;
}

static void an_edit_reaches_everybody(void **state)
{
	struct world *world = pair();
	struct edits edits =
		one_edit(world_agreed(world, 1), "worker.keep_sandbox", value_new_bool(true));
	const int64_t before = world_agreed(world, 0)->sequence;

	(void)state;
	send_edit(world, 1, &edits);
	world_run(world, 1000);
	assert_int_equal(world->nodes[1].edit_code, 0);
	assert_string_equal(world->nodes[1].edit_text, world_agreed(world, 0)->name);
	assert_int_equal(world_agreed(world, 0)->sequence, before + 1);
	assert_string_equal(world_agreed(world, 0)->meta.author, "operator");
	assert_int_equal(world_agreed(world, 0)->meta.changes.len, 1);
	assert_string_equal(world_agreed(world, 0)->meta.changes.items[0], "worker.keep_sandbox");
	assert_true(value_get_path(world_agreed(world, 0)->cms, "worker.keep_sandbox")->boolean);
	assert_all_agree(world);
	world_free(world);
}

/* Joins that follow one another are awaited for a moment. */
static void an_edit_does_not_wait_for_joins(void **state)
{
	struct world *world = world_new();

	(void)state;
	world_start(world, world_add(world, "a", "core", 1, true));
	world_run(world, 500);
	world_start(world, world_add(world, "b", "worker:1", 2, false));
	world_run(world, 500);
	assert_int_equal(agreement_state_now(world->nodes[1].agreement), AGREEMENT_WAITING);
	struct edits edits =
		one_edit(world_agreed(world, 1), "worker.keep_sandbox", value_new_bool(true));

	send_edit(world, 1, &edits);
	world_run(world, 500);
	assert_int_equal(world->nodes[1].edit_code, 0);
	assert_all_agree(world);
	world_free(world);
}

static void conflicting_edits_are_refused_with_both_values(void **state)
{
	struct world *world = pair();
	struct edits first =
		one_edit(world_agreed(world, 0), "database.debug", value_new_bool(true));
	struct edits second =
		one_edit(world_agreed(world, 0), "database.debug", value_new_bool(false));

	(void)state;
	send_edit(world, 0, &first);
	send_edit(world, 1, &second);
	world_run(world, 1000);
	assert_int_equal(world->nodes[0].edit_code, 0);
	assert_int_equal(world->nodes[1].edit_code, ERR_CONFLICT);
	assert_non_null(strstr(world->nodes[1].edit_text, "true"));
	assert_non_null(strstr(world->nodes[1].edit_text, "false"));
	world_free(world);
}

static void an_edit_that_cms_would_refuse_is_refused(void **state)
{
	struct world *world = pair();
	struct edits edits = one_edit(world_agreed(world, 0), "web_server.secret_key",
				      value_new_string("short"));
	const int64_t before = world_agreed(world, 0)->sequence;

	(void)state;
	send_edit(world, 0, &edits);
	world_run(world, 1000);
	assert_int_equal(world->nodes[0].edit_code, ERR_CONFIG);
	assert_non_null(strstr(world->nodes[0].edit_text, "secret_key"));
	assert_int_equal(world_agreed(world, 0)->sequence, before);
	world_free(world);
}

/* ---- faults --------------------------------------------------------------- */

static bool is_swap(const struct store_request *request)
{
	for (size_t i = 0; i < request->success.len; i++)
		if (request->success.items[i].kind == STORE_OP_PUT &&
		    strcmp(request->success.items[i].key, "/cms/current") == 0)
			return true;
	return false;
}

static enum world_fault lose_swap_before(struct world *world, const struct store_request *request)
{
	return is_swap(request) && world->faults_left && world->faults_left-- ? FAULT_BEFORE :
										FAULT_NONE;
}

static enum world_fault lose_swap_after(struct world *world, const struct store_request *request)
{
	return is_swap(request) && world->faults_left && world->faults_left-- ? FAULT_AFTER :
										FAULT_NONE;
}

static void lost_swaps_are_settled_by_reading(void **state)
{
	enum world_fault (*const faults[])(struct world *,
					   const struct store_request *) = { lose_swap_before,
									     lose_swap_after };

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(faults); f++) {
		struct world *world = pair();
		struct edits edits =
			one_edit(world_agreed(world, 0), "database.debug", value_new_bool(true));
		const int64_t before = world_agreed(world, 0)->sequence;

		world->fault = faults[f];
		world->faults_left = 1;
		send_edit(world, 0, &edits);
		world_run(world, 3000);
		assert_int_equal(world->faults_left, 0);
		assert_int_equal(world->nodes[0].edit_code, 0);
		/* Exactly once, whether the lost one was carried out or not. */
		assert_int_equal(world_agreed(world, 0)->sequence, before + 1);
		assert_all_agree(world);
		world_free(world);
	}
}

/* A swap whose outcome was not known did not happen; a later success is of something else. */
static void a_lost_swap_is_never_taken_for_done(void **state)
{
	struct world *world = pair();
	struct edits lost = one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(7));
	struct edits won = one_edit(world_agreed(world, 1), "topology.settle_s", value_new_int(9));
	struct registration self;
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = &self };

	(void)state;
	world->fault = lose_swap_before;
	world->faults_left = 1;
	send_edit(world, 0, &lost);
	send_edit(world, 1, &won);
	world_run(world, 3000);
	assert_int_equal(world->nodes[1].edit_code, 0);
	assert_true(world->nodes[0].edit_code < 0);
	/* Nothing that the configuration shows: only a mark is written that it was considered. */
	self = world->nodes[0].self;
	self.version = (char *)"newer";
	world_step(world, 0, &input);
	world_run(world, 3000);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 9);
	assert_all_agree(world);
	world_free(world);
}

static enum world_fault send_swap_twice(struct world *world, const struct store_request *request)
{
	return is_swap(request) && world->faults_left && world->faults_left-- ? FAULT_TWICE :
										FAULT_NONE;
}

static void another_goes_on(struct world *world)
{
	world_deliver(world, 1);
	change(world, 1, "topology.settle_s", 9);
}

static void a_swap_that_the_transport_repeats_is_made_once(void **state)
{
	void (*const between[])(struct world *) = { NULL, another_goes_on };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(between); i++) {
		struct world *world = cluster_of(2);
		struct edits edits =
			one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(7));
		const int64_t before = world_agreed(world, 0)->sequence;

		world->fault = send_swap_twice;
		world->between = between[i];
		world->faults_left = 1;
		send_edit(world, 0, &edits);
		world_run(world, 3000);
		assert_int_equal(world->faults_left, 0);
		assert_int_equal(world->nodes[0].edit_code, 0);
		/* Made once, and once undone by the other: not refused as if it had come later. */
		assert_int_equal(world_agreed(world, 0)->policy.settle_s, i == 0 ? 7 : 9);
		assert_int_equal(world_agreed(world, 0)->sequence, before + 1 + (int64_t)i);
		assert_all_agree(world);
		world_free(world);
	}
}

static void a_watch_that_lags_behind_holds_nobody(void **state)
{
	struct world *world = cluster_of(2);
	struct world_node *node = &world->nodes[0];
	size_t late = 0;

	(void)state;
	node->watching = false; /* its events wait */
	change(world, 1, "topology.settle_s", 6);
	change(world, 1, "topology.settle_s", 7);
	/* It learns of them by the snapshot for its own edit. */
	struct edits edits =
		one_edit(world_agreed(world, 1), "topology.settle_s", value_new_int(8));

	send_edit(world, 0, &edits);
	assert_int_equal(node->edit_code, 0);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 8);
	node->watching = true;
	while (world_deliver_one(world, 0)) {
		late++;
		assert_false(agreement_is_held(node->agreement));
		assert_int_equal(world_agreed(world, 0)->policy.settle_s, 8);
	}
	assert_true(late >= 3);
	world_run(world, 100);
	assert_all_agree(world);
	world_free(world);
}

static void store_away_changes_nothing(void **state)
{
	struct world *world = pair();
	CLEAN(str) char *before = xstrdup(world_agreed(world, 0)->name);
	const unsigned int applied = world->nodes[0].applied;

	(void)state;
	world->store_away = true;
	world_run(world, 600000);
	assert_string_equal(world_agreed(world, 0)->name, before);
	assert_int_equal(world->nodes[0].applied, applied);
	assert_non_null(agreement_trouble(world->nodes[0].agreement));
	world->store_away = false;
	world_run(world, 30000);
	assert_null(agreement_trouble(world->nodes[0].agreement));
	assert_int_equal(world->nodes[0].applied, applied);
	world_free(world);
}

static void an_edit_with_the_store_away_ends_with_an_answer(void **state)
{
	struct world *world = pair();
	struct edits edits =
		one_edit(world_agreed(world, 0), "database.debug", value_new_bool(true));

	(void)state;
	world->store_away = true;
	send_edit(world, 0, &edits);
	world_run(world, 20000);
	assert_int_equal(world->nodes[0].edit_code, ERR_UNAVAILABLE);
	world_free(world);
}

static void a_lost_lease_is_taken_anew(void **state)
{
	struct world *world = pair();
	const uint64_t lease = agreement_lease(world->nodes[1].agreement);
	const unsigned int applied = world->nodes[1].applied;

	(void)state;
	assert_true(memory_store_expire(world->store, lease));
	assert_int_equal(count_keys(world, "/cms/nodes/b"), 0);
	world_run(world, 10000);
	assert_int_equal(count_keys(world, "/cms/nodes/b"), 1);
	assert_int_equal(count_keys(world, "/cms/addresses/10.0.0.2/b"), 1);
	assert_true(agreement_lease(world->nodes[1].agreement) != lease);
	assert_int_equal(world->nodes[1].applied, applied);
	assert_all_agree(world);
	world_free(world);
}

static void a_restarted_daemon_takes_over_its_own_registration(void **state)
{
	struct world *world = pair();
	const uint64_t old = agreement_lease(world->nodes[1].agreement);

	(void)state;
	world->nodes[1].alive = false;
	const size_t i = world_add(world, "b", "worker:1", 2, false);

	world_start(world, i);
	world_run(world, 5000);
	assert_true(agreement_is_registered(world->nodes[i].agreement));
	assert_int_equal(count_keys(world, "/cms/nodes/b"), 1);
	assert_all_agree(world);
	/* The dead one's lease is gone, and took nothing with it. */
	assert_false(memory_store_expire(world->store, old));
	assert_int_equal(count_keys(world, "/cms/reserved/b"), 1);
	world_free(world);
}

static void the_same_id_on_another_host_waits(void **state)
{
	struct world *world = pair();
	const size_t i = world_add(world, "b", "worker:1", 3, false);

	(void)state;
	world_start(world, i);
	world_run(world, 20000);
	assert_false(agreement_is_registered(world->nodes[i].agreement));
	assert_non_null(strstr(world->nodes[i].trouble, "host2"));
	world->nodes[1].alive = false;
	assert_true(memory_store_expire(world->store, agreement_lease(world->nodes[1].agreement)));
	world_run(world, 20000);
	assert_true(agreement_is_registered(world->nodes[i].agreement));
	assert_string_equal(generation_node_find(world_agreed(world, i), "b")->address, "10.0.0.3");
	world_free(world);
}

static void a_changed_address_moves_the_claim(void **state)
{
	struct world *world = pair();
	struct registration moved = { 0 };

	(void)state;
	registration_copy(&moved, &world->nodes[1].self);
	free(moved.address);
	moved.address = xstrdup("10.0.0.99");
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = &moved };

	world_step(world, 1, &input);
	world_run(world, 5000);
	assert_int_equal(count_keys(world, "/cms/addresses/10.0.0.99/b"), 1);
	assert_int_equal(count_keys(world, "/cms/addresses/10.0.0.2/b"), 0);
	CLEAN(str) char *text = workers(world_agreed(world, 0));

	assert_non_null(strstr(text, "[\"10.0.0.99\",26000]"));
	assert_all_agree(world);
	/* The same once more is no news. */
	const unsigned int requests = world->nodes[1].requests;

	world_step(world, 1, &input);
	assert_int_equal(world->nodes[1].requests, requests);
	registration_fini(&moved);
	world_free(world);
}

static void stop_says_so_and_revokes(void **state)
{
	struct world *world = pair();
	struct agreement_input input = { .kind = AGREEMENT_INPUT_STOP };

	(void)state;
	world_step(world, 1, &input);
	assert_true(world->nodes[1].left);
	assert_int_equal(count_keys(world, "/cms/nodes/b"), 0);
	assert_int_equal(count_keys(world, "/cms/reserved/b"), 1);
	world_free(world);
}

static void stop_with_the_store_away_is_bounded(void **state)
{
	struct world *world = pair();
	struct agreement_input input = { .kind = AGREEMENT_INPUT_STOP };

	(void)state;
	world->store_away = true;
	world_step(world, 1, &input);
	world_run(world, 1100);
	assert_true(world->nodes[1].left);
	world_free(world);
}

static void a_lying_current_is_held(void **state)
{
	static const struct {
		const char *value, *says;
	} cases[] = {
		{ "", "current" },
		{ "{}", "names no generation" },
		{ "{\"generation\":\"configs/../../etc\",\"epoch\":1,\"sequence\":9,\"folded\":\"1\",\"digest\":\"x\"}",
		  "names no generation" },
		{ "{\"generation\":\"configs/x\",\"epoch\":1,\"sequence\":9,\"folded\":\"1\",\"digest\":"
		  "\"0000000000000000000000000000000000000000000000000000000000000000\"}",
		  "empty or has no meta" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world *world = pair();
		CLEAN(str) char *before = xstrdup(world_agreed(world, 0)->name);

		put(world, "/cms/current", cases[i].value);
		world_run(world, 200000);
		assert_true(agreement_is_held(world->nodes[0].agreement));
		assert_non_null(
			strstr(agreement_trouble(world->nodes[0].agreement), cases[i].says));
		assert_string_equal(world_agreed(world, 0)->name, before);
		world_free(world);
	}
}

static void a_current_that_is_put_back_ends_the_hold(void **state)
{
	struct world *world = pair();
	CLEAN(str) char *current = current_to_json(agreement_current(world->nodes[0].agreement));

	(void)state;
	put(world, "/cms/current", "garbage");
	world_run(world, 1000);
	assert_true(agreement_is_held(world->nodes[0].agreement));
	put(world, "/cms/current", current);
	world_run(world, 1000);
	assert_false(agreement_is_held(world->nodes[0].agreement));
	assert_null(agreement_trouble(world->nodes[0].agreement));
	world_free(world);
}

static void a_restored_older_store_is_held(void **state)
{
	struct world *world = pair();
	struct store_request *read = store_request_new(STORE_TXN);
	struct store_reply reply = { 0 };

	(void)state;
	(void)store_ops_range(&read->success, "/cms/current", false);
	memory_store_execute(world->store, read, &reply);
	CLEAN(str) char *old_current = xstrdup(reply.ranges[0].items[0].value);

	store_reply_fini(&reply);
	store_request_free(read);
	struct edits edits =
		one_edit(world_agreed(world, 0), "database.debug", value_new_bool(true));

	send_edit(world, 0, &edits);
	world_run(world, 1000);
	CLEAN(str) char *newest = xstrdup(world_agreed(world, 1)->name);

	put(world, "/cms/current", old_current);
	world_run(world, 1000);
	for (size_t i = 0; i < 2; i++) {
		assert_true(agreement_is_held(world->nodes[i].agreement));
		assert_non_null(strstr(agreement_trouble(world->nodes[i].agreement),
				       "the store is behind"));
		assert_string_equal(world_agreed(world, i)->name, newest);
	}
	world_free(world);
}

static void a_wiped_store_is_not_seeded_again(void **state)
{
	struct world *world = pair();

	(void)state;
	memory_store_free(world->store);
	world->store = memory_store_new();
	for (size_t i = 0; i < 2; i++)
		world->nodes[i].watched = 1;
	world_run(world, 300000);
	assert_int_equal(count_keys(world, "/cms/current"), 0);
	assert_int_equal(count_keys(world, "/cms/nodes/"), 2);
	assert_true(agreement_is_held(world->nodes[0].agreement));
	/* A newcomer with a seed sees that live nodes run a configuration already. */
	const size_t i = world_add(world, "c", "worker:1", 3, true);

	world_start(world, i);
	world_run(world, 60000);
	assert_null(world_agreed(world, i));
	assert_non_null(strstr(world->nodes[i].trouble, "wiped"));
	world_free(world);
}

static void old_generations_go_with_the_swap(void **state)
{
	struct world *world = pair();

	(void)state;
	for (int n = 0; n < 30; n++) {
		struct edits edits =
			one_edit(world_agreed(world, 0), "contest_web_server.cookie_duration",
				 value_new_int(1000 + n));

		send_edit(world, 0, &edits);
		/* A day and more between edits: only the last 20 stay. */
		world_run(world, 90000 * 1000);
	}
	assert_int_equal(world_agreed(world, 0)->meta.kept_len, GENERATION_KEPT_MIN);
	struct store_request *request = store_request_new(STORE_TXN);
	struct store_reply reply = { 0 };
	size_t metas = 0;

	(void)store_ops_range(&request->success, "/cms/configs/", true);
	memory_store_execute(world->store, request, &reply);
	for (size_t i = 0; i < reply.ranges[0].len; i++)
		metas += str_ends(reply.ranges[0].items[i].key, "/meta");
	assert_int_equal(metas, GENERATION_KEPT_MIN + 1);
	store_reply_fini(&reply);
	store_request_free(request);
	world_free(world);
}

static void idle_is_quiet(void **state)
{
	struct world *world = pair();
	const unsigned int before = world->nodes[1].requests;

	(void)state;
	world_run(world, 600000);
	/* Keepalives each 3.3 s and a read each 75 s: below 24 a minute. */
	assert_true(world->nodes[1].requests - before <= 240);
	world_free(world);
}

/* ---- two that want the same ----------------------------------------------- */

static void a_newcomer_gives_way_to_a_claim(void **state)
{
	struct world *world = pair();
	const size_t i = world_add_at(world, "c", "worker:1", 3, false, "10.0.0.2", true, NULL);

	(void)state;
	world_start(world, i);
	world_run(world, 20000);
	assert_false(agreement_is_registered(world->nodes[i].agreement));
	assert_true(world->nodes[i].contested > 0);
	assert_non_null(strstr(world->nodes[i].trouble, "host2"));
	assert_int_equal(count_keys(world, "/cms/nodes/c"), 0);
	assert_false(world->nodes[i].refused);
	/* Another address of the host is the way out, at once. */
	struct registration moved = { 0 };

	registration_copy(&moved, &world->nodes[i].self);
	free(moved.address);
	moved.address = xstrdup("10.0.0.3");
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = &moved };

	world_step(world, i, &input);
	world_run(world, 5000);
	assert_all_agree(world);
	registration_fini(&moved);
	world_free(world);
}

static void a_listing_vetoes_what_was_derived_only(void **state)
{
	static const struct {
		bool is_explicit;
		const char *before;
		bool joins;
	} cases[] = { { false, NULL, false },
		      { true, NULL, true },
		      { false, "172.17.0.1", true },
		      { false, "10.0.0.9", false } };

	(void)state;
	for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
		struct world *world = pair();
		/* Everybody lists docker0's address, nobody claims it. */
		const size_t i = world_add_at(world, "c", "worker:1", 3, false, "172.17.0.1",
					      cases[n].is_explicit, cases[n].before);

		world_start(world, i);
		world_run(world, 5000);
		assert_int_equal(agreement_is_registered(world->nodes[i].agreement),
				 cases[n].joins);
		world_free(world);
	}
}

static void siblings_on_one_host_share_the_address(void **state)
{
	struct world *world = pair();
	const size_t i = world_add(world, "b.two", "worker:1", 2, false);

	(void)state;
	world_start(world, i);
	world_run(world, 5000);
	assert_all_agree(world);
	const struct slot_list *workers = &world_agreed(world, i)->slots.lists[CATALOGUE_WORKER];

	assert_int_not_equal(workers->items[0].port, workers->items[1].port);
	world_free(world);
}

static void a_living_holder_is_proven_and_a_dead_one_is_not(void **state)
{
	(void)state;
	for (int alive = 0; alive < 2; alive++) {
		struct world *world = pair();
		const size_t i =
			world_add_at(world, "c", "worker:1", 3, false, "10.0.0.2", true, NULL);

		world->nodes[1].alive = alive;
		world_start(world, i);
		world_run(world, 24000);
		assert_false(world->nodes[i].refused);
		world_run(world, 16000);
		assert_int_equal(world->nodes[i].refused, alive);
		if (alive) {
			assert_false(world->nodes[i].twin);
			assert_non_null(strstr(world->nodes[i].refusal, "host2"));
		} else {
			/* Its lease ends at last: the address is free. */
			assert_true(memory_store_expire(
				world->store, agreement_lease(world->nodes[1].agreement)));
			world_run(world, 5000);
			assert_true(agreement_is_registered(world->nodes[i].agreement));
		}
		world_free(world);
	}
}

static void a_live_twin_is_refused_naming_both(void **state)
{
	struct world *world = pair();
	const size_t i = world_add(world, "b", "worker:1", 3, false);

	(void)state;
	world_start(world, i);
	world_run(world, 40000);
	assert_true(world->nodes[i].refused);
	assert_true(world->nodes[i].twin);
	assert_non_null(strstr(world->nodes[i].refusal, "host2"));
	assert_non_null(strstr(world->nodes[i].refusal, "host3"));
	assert_non_null(strstr(world->nodes[i].refusal, "boot-2"));
	assert_non_null(strstr(world->nodes[i].refusal, "boot-3"));
	/* The first one never noticed. */
	assert_true(agreement_is_registered(world->nodes[1].agreement));
	assert_false(world->nodes[1].refused);
	world_free(world);
}

static void an_id_that_was_taken_meanwhile_is_held(void **state)
{
	struct world *world = pair();
	struct registration heir = { 0 };
	CLEAN(str) char *before = xstrdup(world_agreed(world, 1)->name);

	(void)state;
	world_registration(&heir, "b", "worker:1", 7);
	heir.incarnation = xstrdup("heir");
	CLEAN(str) char *json = registration_to_json(&heir);

	registration_fini(&heir);
	assert_true(memory_store_expire(world->store, agreement_lease(world->nodes[1].agreement)));
	put(world, "/cms/nodes/b", json);
	world_run(world, 120000);
	/* Neither refused (which would end the daemon) nor registered over the heir. */
	assert_false(world->nodes[1].refused);
	assert_false(agreement_is_registered(world->nodes[1].agreement));
	assert_true(agreement_is_held(world->nodes[1].agreement));
	assert_non_null(strstr(agreement_trouble(world->nodes[1].agreement), "host7"));
	assert_string_equal(world_agreed(world, 1)->name, before);
	struct store_request *request = store_request_new(STORE_TXN);
	struct store_reply reply = { 0 };

	store_ops_delete(&request->success, "/cms/nodes/b", false);
	memory_store_execute(world->store, request, &reply);
	store_reply_fini(&reply);
	store_request_free(request);
	world_run(world, 30000);
	assert_true(agreement_is_registered(world->nodes[1].agreement));
	assert_false(agreement_is_held(world->nodes[1].agreement));
	world_free(world);
}

static bool rival_put;

/* Between our registration and our second look, an older claim's owner appears. */
static enum world_fault reveal_rival(struct world *world, const struct store_request *request)
{
	if (rival_put || request->success.len < 3 ||
	    request->success.items[0].kind != STORE_OP_RANGE ||
	    count_keys(world, "/cms/nodes/c") == 0)
		return FAULT_NONE;
	struct registration rival = { 0 };

	rival_put = true;
	world_registration(&rival, "d", "worker:1", 4);
	free(rival.address);
	rival.address = xstrdup("10.0.0.3");
	rival.incarnation = xstrdup("d");
	CLEAN(str) char *json = registration_to_json(&rival);

	put(world, "/cms/nodes/d", json);
	registration_fini(&rival);
	return FAULT_NONE;
}

static void of_two_at_once_the_older_claim_wins(void **state)
{
	struct world *world = pair();

	(void)state;
	rival_put = false;
	put(world, "/cms/addresses/10.0.0.3/d", "{}");
	world->fault = reveal_rival;
	const size_t i = world_add_at(world, "c", "worker:1", 3, false, "10.0.0.3", true, NULL);

	world_start(world, i);
	world_run(world, 1000);
	assert_true(rival_put);
	assert_false(agreement_is_registered(world->nodes[i].agreement));
	assert_int_equal(count_keys(world, "/cms/nodes/c"), 0);
	assert_int_equal(count_keys(world, "/cms/addresses/10.0.0.3/c"), 0);
	world_free(world);
}

static void forgetting_needs_a_dead_node(void **state)
{
	struct world *world = pair();

	(void)state;
	for (int alive = 1; alive >= 0; alive--) {
		struct edits edits = { 0 };

		if (!alive) {
			world->nodes[1].alive = false;
			assert_true(memory_store_expire(
				world->store, agreement_lease(world->nodes[1].agreement)));
		}
		edits_add(&edits, "nodes.b", NULL, NULL);
		send_edit(world, 0, &edits);
		world_run(world, 1000);
		assert_int_equal(world->nodes[0].edit_code, alive ? ERR_CONFLICT : 0);
	}
	const struct generation *agreed = world_agreed(world, 0);

	assert_null(generation_node_find(agreed, "b"));
	assert_true(slot_is_vacant(&agreed->slots.lists[CATALOGUE_WORKER].items[0]));
	assert_int_equal(count_keys(world, "/cms/reserved/b"), 0);
	/* Once more: there is nobody to forget. */
	struct edits edits = { 0 };

	edits_add(&edits, "nodes.b", NULL, NULL);
	send_edit(world, 0, &edits);
	world_run(world, 1000);
	assert_int_equal(world->nodes[0].edit_code, ERR_CONFIG);
	world_free(world);
}

static void one_that_runs_reports_a_rival_and_goes_on(void **state)
{
	struct world *world = pair();

	(void)state;
	/* A claim that is older than ours can only appear if ours was renewed meanwhile. */
	put(world, "/cms/addresses/10.0.0.2/d", "{}");
	assert_true(memory_store_expire(world->store, agreement_lease(world->nodes[1].agreement)));
	struct registration rival = { 0 };

	world_registration(&rival, "d", "worker:1", 4);
	rival.incarnation = xstrdup("d");
	CLEAN(str) char *json = registration_to_json(&rival);

	put(world, "/cms/nodes/d", json);
	registration_fini(&rival);
	world_run(world, 200000);
	assert_true(agreement_is_registered(world->nodes[1].agreement));
	assert_non_null(strstr(world->nodes[1].trouble, "claims our address"));
	assert_null(agreement_trouble(world->nodes[1].agreement));
	assert_false(world->nodes[1].refused);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_node_seeds_and_runs),
		cmocka_unit_test(others_join_and_all_follow),
		cmocka_unit_test(nothing_to_seed_is_said),
		cmocka_unit_test(two_seeds_make_one_cluster),
		cmocka_unit_test(an_edit_reaches_everybody),
		cmocka_unit_test(an_edit_does_not_wait_for_joins),
		cmocka_unit_test(conflicting_edits_are_refused_with_both_values),
		cmocka_unit_test(an_edit_that_cms_would_refuse_is_refused),
		cmocka_unit_test(lost_swaps_are_settled_by_reading),
		cmocka_unit_test(a_lost_swap_is_never_taken_for_done),
		cmocka_unit_test(a_swap_that_the_transport_repeats_is_made_once),
		cmocka_unit_test(a_watch_that_lags_behind_holds_nobody),
		cmocka_unit_test(store_away_changes_nothing),
		cmocka_unit_test(an_edit_with_the_store_away_ends_with_an_answer),
		cmocka_unit_test(a_lost_lease_is_taken_anew),
		cmocka_unit_test(a_restarted_daemon_takes_over_its_own_registration),
		cmocka_unit_test(the_same_id_on_another_host_waits),
		cmocka_unit_test(a_changed_address_moves_the_claim),
		cmocka_unit_test(stop_says_so_and_revokes),
		cmocka_unit_test(stop_with_the_store_away_is_bounded),
		cmocka_unit_test(a_lying_current_is_held),
		cmocka_unit_test(a_current_that_is_put_back_ends_the_hold),
		cmocka_unit_test(a_restored_older_store_is_held),
		cmocka_unit_test(a_wiped_store_is_not_seeded_again),
		cmocka_unit_test(old_generations_go_with_the_swap),
		cmocka_unit_test(idle_is_quiet),
		cmocka_unit_test(a_newcomer_gives_way_to_a_claim),
		cmocka_unit_test(a_listing_vetoes_what_was_derived_only),
		cmocka_unit_test(siblings_on_one_host_share_the_address),
		cmocka_unit_test(a_living_holder_is_proven_and_a_dead_one_is_not),
		cmocka_unit_test(a_live_twin_is_refused_naming_both),
		cmocka_unit_test(of_two_at_once_the_older_claim_wins),
		cmocka_unit_test(an_id_that_was_taken_meanwhile_is_held),
		cmocka_unit_test(forgetting_needs_a_dead_node),
		cmocka_unit_test(one_that_runs_reports_a_rival_and_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
