/* SPDX-License-Identifier: MIT */
/*
 * When the store and the nodes disagree: wiped, restored, away; what a node has
 * on its disk; and the persons who end it with `store accept` and `publish`.
 */
#include "agreement_scenes.h"

/* All watches break, as they do when etcd is stopped and started again. */
static void replace_store(struct world *world, struct memory_store *with)
{
	memory_store_free(world->store);
	world->store = with;
	for (size_t i = 0; i < world->len; i++) {
		if (!world->nodes[i].alive || !world->nodes[i].watching)
			continue;
		world->nodes[i].watching = false;
		world_report(world, i, STORE_WATCH_GAP, NULL, 0, 0);
	}
}

static struct memory_store *backup(const struct world *world)
{
	return memory_store_restore(world->store, 1);
}

/* ---- the copy on disk ------------------------------------------------------- */

static void a_node_starts_cold_when_the_store_is_away(void **state)
{
	struct world *world = cluster_of(2);
	CLEAN(generation) struct generation *copy = generation_clone(world_agreed(world, 1));

	(void)state;
	vanish(world, 1, false);
	world->store_away = true;
	world->last_agreed = copy;
	const size_t i = world_add(world, "b", "worker:2", 2, true);

	world_start(world, i);
	world_run(world, 3000);
	assert_int_equal(world->nodes[i].applied, 0); /* etcd is given a moment */
	world_run(world, 20000);
	assert_int_equal(world->nodes[i].applied, 1);
	assert_string_equal(world_agreed(world, i)->name, copy->name);
	assert_non_null(strstr(world->nodes[i].trouble, "agreed last"));
	/* Back again: the same is in force, so nothing is handed on a second time. */
	world->store_away = false;
	world_run(world, 30000);
	assert_all_agree(world);
	assert_int_equal(slots_of(world_agreed(world, i), CATALOGUE_WORKER, "b"), 2);
	assert_true(slots_equal(&world_agreed(world, i)->slots, &copy->slots));
	world_free(world);
}

static void with_the_store_there_the_copy_saves_a_fetch_and_no_more(void **state)
{
	struct world *world = cluster_of(2);
	CLEAN(generation) struct generation *copy = generation_clone(world_agreed(world, 1));

	(void)state;
	vanish(world, 1, false);
	change(world, 0, "topology.settle_s", 7);
	world->last_agreed = copy;
	const size_t i = world_add(world, "b", "worker:2", 2, false);

	world_start(world, i);
	world_run(world, 20000);
	assert_all_agree(world);
	/* Never the old one. */
	assert_int_equal(world_agreed(world, i)->policy.settle_s, 7);
	world_free(world);
}

static void one_with_a_copy_never_seeds(void **state)
{
	struct world *world = cluster_of(1);
	CLEAN(generation) struct generation *copy = generation_clone(world_agreed(world, 0));

	(void)state;
	world->nodes[0].alive = false;
	replace_store(world, memory_store_new());
	world->last_agreed = copy;
	const size_t i = world_add(world, "a", "core", 1, true);

	world_start(world, i);
	world_run(world, 60000);
	assert_int_equal(count_keys(world, "/cms/current"), 0);
	assert_true(agreement_is_held(world->nodes[i].agreement));
	/* What ran goes on, though. */
	assert_int_equal(world->nodes[i].applied, 1);
	assert_string_equal(world_agreed(world, i)->name, copy->name);
	world_free(world);
}

/* ---- seeds ------------------------------------------------------------------- */

static void losing_seeds_say_how_they_differ(void **state)
{
	struct world *world = world_new();

	(void)state;
	world->not_at_once = true;
	for (int host = 1; host <= 3; host++) {
		CLEAN(str) char *id = xasprintf("n%d", host);

		(void)world_add(world, id, host == 1 ? "core" : "worker:1", host, true);
	}
	for (size_t i = 0; i < world->len; i++)
		world_start(world, i);
	world_run(world, 10000);
	assert_int_equal(count_keys(world, "/cms/current"), 0); /* 15 s have to pass */
	world_run(world, 40000);
	assert_all_agree(world);
	unsigned int told = 0;

	for (size_t i = 0; i < world->len; i++) {
		const bool won =
			str_eq(world_agreed(world, 0)->meta.author, world->nodes[i].self.id);

		told += world->nodes[i].told_of_other_seed;
		assert_false(won && world->nodes[i].told_of_other_seed);
	}
	assert_true(told >= 1);
	world_free(world);
}

/* ---- wiped ------------------------------------------------------------------- */

static void publishing_fills_a_wiped_store_and_moves_nothing(void **state)
{
	struct world *world = cluster_of(4);
	CLEAN(generation) struct generation *before = generation_clone(world_agreed(world, 0));

	(void)state;
	vanish(world, 3, false);
	world_run(world, 10000);
	replace_store(world, memory_store_new());
	world_run(world, 30000);
	for (size_t i = 0; i < 3; i++)
		assert_true(agreement_is_held(world->nodes[i].agreement));
	send_restore(world, 1, AGREEMENT_INPUT_PUBLISH);
	world_run(world, 15000);
	assert_int_equal(world->nodes[1].edit_code, 0);
	assert_all_agree(world);
	assert_int_equal(world_agreed(world, 0)->epoch, 2);
	assert_true(slots_equal(&world_agreed(world, 0)->slots, &before->slots));
	/* "d" was away: it may come back to its slots for as long as if it had just left. */
	assert_int_equal(count_keys(world, "/cms/reserved/d"), 1);
	assert_int_equal(count_keys(world, "/cms/reserved/"), 4);
	world_start(world, world_add(world, "d", "worker:2", 4, false));
	world_run(world, 15000);
	assert_all_agree(world);
	assert_true(slots_equal(&world_agreed(world, 0)->slots, &before->slots));
	world_free(world);
}

/* Its copy is older, and nothing is wrong: the edit was acknowledged. */
static void publishing_takes_no_edit_back(void **state)
{
	struct world *world = cluster_of(3);

	(void)state;
	world->nodes[2].alive = false;
	change(world, 0, "topology.settle_s", 9);
	world->nodes[2].alive = true;
	send_restore(world, 2, AGREEMENT_INPUT_PUBLISH);
	world_run(world, 10000);
	assert_int_equal(world->nodes[2].edit_code, 0);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 9);
	assert_int_equal(world_agreed(world, 0)->epoch, 2);
	assert_all_agree(world);
	world_free(world);
}

static void an_older_copy_is_not_published_over_a_newer_one(void **state)
{
	struct world *world = cluster_of(3);

	(void)state;
	/* "c" does not hear of the change. */
	world->nodes[2].alive = false;
	change(world, 0, "topology.settle_s", 9);
	replace_store(world, memory_store_new());
	world_run(world, 30000);
	world->nodes[2].alive = true;
	world_report(world, 2, STORE_WATCH_GAP, NULL, 0, 0);
	world_run(world, 5000);
	send_restore(world, 2, AGREEMENT_INPUT_PUBLISH);
	world_run(world, 5000);
	assert_int_equal(world->nodes[2].edit_code, ERR_CONFLICT);
	assert_non_null(strstr(world->nodes[2].edit_text, "publish there"));
	assert_int_equal(count_keys(world, "/cms/current"), 0);
	world_free(world);
}

/* ---- restored ----------------------------------------------------------------- */

static void a_newcomer_does_not_fold_on_a_restored_store(void **state)
{
	struct world *world = cluster_of(3);
	struct memory_store *old = backup(world);

	(void)state;
	change(world, 0, "topology.settle_s", 9);
	CLEAN(str) char *newest = xstrdup(world_agreed(world, 0)->name);

	/* The old nodes are cut off: no registration shows what they have applied. */
	for (size_t i = 0; i < 3; i++)
		world->nodes[i].alive = false;
	replace_store(world, old);
	const size_t i = world_add(world, "x", "worker:1", 9, false);

	world_start(world, i);
	world_run(world, 60000);
	assert_int_equal(count_keys(world, "/cms/current"), 1);
	assert_null(world_agreed(world, i));
	assert_non_null(strstr(world->nodes[i].trouble, "restored"));
	/* They come back, hold, and one of them says that they were right. */
	for (size_t k = 0; k < 3; k++) {
		world->nodes[k].alive = true;
		world_report(world, k, STORE_WATCH_GAP, NULL, 0, 0);
	}
	world_run(world, 30000);
	for (size_t k = 0; k < 3; k++) {
		assert_true(agreement_is_held(world->nodes[k].agreement));
		assert_string_equal(world_agreed(world, k)->name, newest);
	}
	send_restore(world, 0, AGREEMENT_INPUT_PUBLISH);
	world_run(world, 30000);
	assert_int_equal(world->nodes[0].edit_code, 0);
	assert_all_agree(world);
	assert_int_equal(world_agreed(world, i)->policy.settle_s, 9);
	world_free(world);
}

static void accepting_takes_everybody_back(void **state)
{
	struct world *world = cluster_of(3);
	const int64_t settle_s = world_agreed(world, 0)->policy.settle_s;
	struct memory_store *old = backup(world);

	(void)state;
	change(world, 0, "topology.settle_s", 9);
	replace_store(world, old);
	world_run(world, 30000);
	for (size_t i = 0; i < 3; i++)
		assert_true(agreement_is_held(world->nodes[i].agreement));
	send_restore(world, 2, AGREEMENT_INPUT_ACCEPT);
	world_run(world, 15000);
	assert_int_equal(world->nodes[2].edit_code, 0);
	assert_all_agree(world);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, settle_s);
	assert_int_equal(world_agreed(world, 0)->epoch, 2);
	/* And it goes on as ever. */
	change(world, 1, "topology.settle_s", 11);
	assert_all_agree(world);
	world_free(world);
}

static void edits_wait_for_the_person_after_a_restore(void **state)
{
	struct world *world = cluster_of(2);

	(void)state;
	/* Nothing is lost: all go on with what the backup holds, and say why nothing changes. */
	replace_store(world, backup(world));
	world_run(world, 30000);
	assert_false(agreement_is_held(world->nodes[0].agreement));
	assert_non_null(strstr(agreement_trouble(world->nodes[0].agreement), "store accept"));
	struct edits edits =
		one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(9));

	send_edit(world, 0, &edits);
	world_run(world, 3000);
	assert_int_equal(world->nodes[0].edit_code, ERR_CONFLICT);
	send_restore(world, 0, AGREEMENT_INPUT_ACCEPT);
	world_run(world, 10000);
	assert_int_equal(world->nodes[0].edit_code, 0);
	change(world, 1, "topology.settle_s", 9);
	assert_null(agreement_trouble(world->nodes[0].agreement));
	assert_all_agree(world);
	world_free(world);
}

static void a_held_node_shows_what_it_applied(void **state)
{
	struct world *world = cluster_of(2);
	struct memory_store *old = backup(world);

	(void)state;
	change(world, 0, "topology.settle_s", 9);
	/* The registrations, and their leases, are in the backup, too: they show less. */
	replace_store(world, old);
	world_run(world, 5000);
	for (size_t i = 0; i < 2; i++) {
		const struct registrations *all =
			agreement_registrations(world->nodes[0].agreement);
		const struct registration *one = registrations_find(all, world->nodes[i].self.id);

		assert_non_null(one);
		assert_int_equal(one->applied_sequence, world_agreed(world, i)->sequence);
	}
	world_free(world);
}

/* Every directory is in force or listed as kept by the one that is. */
static void assert_no_orphans(struct world *world)
{
	const struct generation *agreed = world_agreed(world, 0);
	size_t known = 0;

	for (size_t i = 0; i < agreed->meta.kept_len; i++) {
		CLEAN(str) char *meta =
			xasprintf("/cms/configs/%s/meta", agreed->meta.kept[i].name);

		known += count_keys(world, meta);
	}
	struct store_request *request = store_request_new(STORE_TXN);
	struct store_reply reply = { 0 };
	size_t metas = 0;

	(void)store_ops_range(&request->success, "/cms/configs/", true);
	memory_store_execute(world->store, request, &reply);
	for (size_t i = 0; i < reply.ranges[0].len; i++)
		metas += strstr(reply.ranges[0].items[i].key, "/meta") != NULL;
	store_reply_fini(&reply);
	store_request_free(request);
	assert_int_equal(metas, known + 1);
}

static void publishing_over_another_branch_leaves_no_orphan(void **state)
{
	struct world *world = cluster_of(2);
	struct memory_store *old = backup(world);

	(void)state;
	change(world, 0, "topology.settle_s", 9);
	for (size_t i = 0; i < 2; i++)
		world->nodes[i].alive = false;
	replace_store(world, old);
	/* Somebody accepts the backup before the old nodes are back, and goes on from there. */
	const size_t i = world_add(world, "x", "worker:1", 9, false);

	world_start(world, i);
	world_run(world, 10000);
	send_restore(world, i, AGREEMENT_INPUT_ACCEPT);
	world_run(world, 15000);
	assert_int_equal(world->nodes[i].edit_code, 0);
	assert_non_null(world_agreed(world, i));
	change(world, i, "topology.settle_s", 13);
	for (size_t k = 0; k < 2; k++) {
		world->nodes[k].alive = true;
		world_report(world, k, STORE_WATCH_GAP, NULL, 0, 0);
	}
	world_run(world, 30000);
	/* A higher epoch is always followed. */
	assert_all_agree(world);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 13);
	send_restore(world, 0, AGREEMENT_INPUT_PUBLISH);
	world_run(world, 15000);
	assert_int_equal(world->nodes[0].edit_code, 0);
	assert_all_agree(world);
	assert_no_orphans(world);
	world_free(world);
}

/* ---- what was given up comes in late ------------------------------------------ */

static struct store_request *late;

static struct store_request *copy_of(const struct store_request *request)
{
	struct store_request *copy = store_request_new(request->kind);

	for (size_t i = 0; i < request->compares_len; i++) {
		const struct store_compare *one = &request->compares[i];

		if (one->kind == STORE_COMPARE_VALUE)
			store_request_compare_value(copy, one->key, one->text);
		else
			store_request_compare(copy, one->kind, one->key, one->number);
	}
	for (size_t i = 0; i < request->success.len; i++) {
		const struct store_op *op = &request->success.items[i];

		if (op->kind == STORE_OP_PUT)
			store_ops_put(&copy->success, op->key, op->value, op->value_len, op->lease);
	}
	return copy;
}

/* The first swap of an edit hangs in the store; the client gives it up. */
static enum world_fault delay_swap(struct world *world, const struct store_request *request)
{
	if (!world->faults_left || request->kind != STORE_TXN || request->compares_len < 3)
		return FAULT_NONE;
	world->faults_left--;
	late = copy_of(request);
	return FAULT_BEFORE;
}

static void carry_out_late(struct world *world)
{
	struct store_reply reply = { 0 };

	assert_non_null(late);
	memory_store_execute(world->store, late, &reply);
	assert_true(reply.succeeded);
	store_reply_fini(&reply);
	store_request_free(steal(late));
}

static void a_swap_that_comes_in_late_is_known_for_our_own(void **state)
{
	struct world *world = cluster_of(2);
	struct edits first =
		one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(9));

	(void)state;
	world->fault = delay_swap;
	world->faults_left = 1;
	send_edit(world, 0, &first);
	assert_int_equal(world->nodes[0].edit_code, 1);
	/* It is carried out, and before its sender looks, somebody else goes on from there. */
	carry_out_late(world);
	world->nodes[0].alive = false;
	world_run(world, 100);
	struct edits second =
		one_edit(world_agreed(world, 1), "topology.settle_s", value_new_int(5));

	send_edit(world, 1, &second);
	world_run(world, 1000);
	assert_int_equal(world->nodes[1].edit_code, 0);
	world->nodes[0].alive = true;
	world_run(world, 10000);
	/* It was made, exactly once, and was undone by the other: not made again, not refused. */
	assert_int_equal(world->nodes[0].edit_code, 0);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 5);
	assert_all_agree(world);
	world_free(world);
}

static void nobody_says_that_nothing_changed_while_a_swap_may_come_in(void **state)
{
	struct world *world = cluster_of(1);
	struct edits edits =
		one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(9));

	(void)state;
	world->fault = delay_swap;
	world->faults_left = 1;
	send_edit(world, 0, &edits);
	world->store_away = true;
	world_run(world, 20000);
	assert_int_equal(world->nodes[0].edit_code, ERR_UNKNOWN);
	world->store_away = false;
	carry_out_late(world);
	world_run(world, 20000);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 9);
	world_free(world);
}

static void our_own_swap_is_no_news_in_an_older_backup(void **state)
{
	struct world *world = cluster_of(2);
	struct edits first =
		one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(9));

	(void)state;
	world->fault = delay_swap;
	world->faults_left = 1;
	send_edit(world, 0, &first);
	carry_out_late(world);
	struct memory_store *old = backup(world);

	/* Before its sender looks, another goes on from there. */
	world->nodes[0].alive = false;
	world_run(world, 100);
	change(world, 1, "topology.settle_s", 5);
	world->nodes[0].alive = true;
	world_run(world, 10000);
	assert_all_agree(world);
	replace_store(world, old);
	world_run(world, 30000);
	assert_int_equal(world_agreed(world, 0)->policy.settle_s, 5);
	assert_true(agreement_is_held(world->nodes[0].agreement));
	world_free(world);
}

/* ---- what happens while a person's decision is being carried out --------------- */

static void (*meanwhile)(struct world *world);

/* Once: before the lease of a restore is granted. */
static enum world_fault while_preparing(struct world *world, const struct store_request *request)
{
	if (request->kind == STORE_LEASE_GRANT && world->faults_left) {
		world->faults_left--;
		meanwhile(world);
	}
	return FAULT_NONE;
}

static void another_edits(struct world *world)
{
	struct edits edits =
		one_edit(world_agreed(world, 1), "topology.settle_s", value_new_int(9));

	send_edit(world, 1, &edits);
}

static void another_edits_and_we_see_it(struct world *world)
{
	another_edits(world);
	world_deliver(world, 0);
}

static void a_publish_that_is_overtaken_begins_anew(void **state)
{
	void (*const cases[])(struct world *) = { another_edits, another_edits_and_we_see_it };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world *world = cluster_of(2);

		meanwhile = cases[i];
		world->fault = while_preparing;
		world->faults_left = 1;
		send_restore(world, 0, AGREEMENT_INPUT_PUBLISH);
		world_run(world, 10000);
		assert_int_equal(world->nodes[0].edit_code, 0);
		assert_int_equal(world->nodes[1].edit_code, 0);
		assert_int_equal(world_agreed(world, 0)->epoch, 2);
		assert_all_agree(world);
		assert_no_orphans(world);
		world_free(world);
	}
}

/* The one that hung comes in while the next one is being prepared. */
static void carry_out_and_see(struct world *world)
{
	carry_out_late(world);
	world_run(world, 100);
}

static enum world_fault delay_then_prepare(struct world *world, const struct store_request *request)
{
	if (world->faults_left == 2)
		return delay_swap(world, request);
	return while_preparing(world, request);
}

static void a_publish_that_comes_in_late_is_done(void **state)
{
	struct world *world = cluster_of(2);

	(void)state;
	replace_store(world, backup(world));
	world_run(world, 30000);
	meanwhile = carry_out_and_see;
	world->fault = delay_then_prepare;
	world->faults_left = 2;
	send_restore(world, 0, AGREEMENT_INPUT_PUBLISH);
	for (int ms = 0; ms < 10000 && world->faults_left; ms += 10)
		world_run(world, 10);
	world_run(world, 5000);
	assert_int_equal(world->faults_left, 0);
	assert_int_equal(world->nodes[0].edit_code, 0);
	assert_int_equal(world_agreed(world, 0)->epoch, 2);
	assert_all_agree(world);
	world_free(world);
}

/* Once: while an edit's snapshot is read, which needs no directories. */
static enum world_fault accept_while_reading(struct world *world,
					     const struct store_request *request)
{
	if (agreement_state_now(world->nodes[0].agreement) == AGREEMENT_SNAPSHOT &&
	    store_request_is_read_only(request) && world->faults_left) {
		world->faults_left--;
		send_restore(world, 0, AGREEMENT_INPUT_ACCEPT);
	}
	return FAULT_NONE;
}

static void an_accept_asked_during_a_snapshot_reads_all(void **state)
{
	struct world *world = cluster_of(2);

	(void)state;
	world->fault = accept_while_reading;
	world->faults_left = 1;
	vanish(world, 1, false);
	for (int ms = 0; ms < 60000 && world->faults_left; ms += 100)
		world_run(world, 100);
	world_run(world, 10000);
	assert_int_equal(world->faults_left, 0);
	assert_int_equal(world->nodes[0].edit_code, 0);
	assert_int_equal(world_agreed(world, 0)->epoch, 2);
	assert_no_orphans(world);
	world_free(world);
}

/* The first thing that is read of the restored store is what an edit is to be applied to. */
static void a_second_restore_is_noticed_by_an_edit_too(void **state)
{
	struct world *world = cluster_of(2);

	(void)state;
	replace_store(world, memory_store_restore(world->store, 2));
	world_run(world, 30000);
	send_restore(world, 0, AGREEMENT_INPUT_ACCEPT);
	world_run(world, 10000);
	assert_int_equal(world->nodes[0].edit_code, 0);
	struct memory_store *restored = memory_store_restore(world->store, 3);

	memory_store_free(world->store);
	world->store = restored;
	struct edits edits =
		one_edit(world_agreed(world, 0), "topology.settle_s", value_new_int(9));

	send_edit(world, 0, &edits);
	assert_int_equal(world->nodes[0].edit_code, ERR_CONFLICT);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_starts_cold_when_the_store_is_away),
		cmocka_unit_test(with_the_store_there_the_copy_saves_a_fetch_and_no_more),
		cmocka_unit_test(one_with_a_copy_never_seeds),
		cmocka_unit_test(losing_seeds_say_how_they_differ),
		cmocka_unit_test(publishing_fills_a_wiped_store_and_moves_nothing),
		cmocka_unit_test(publishing_takes_no_edit_back),
		cmocka_unit_test(an_older_copy_is_not_published_over_a_newer_one),
		cmocka_unit_test(a_newcomer_does_not_fold_on_a_restored_store),
		cmocka_unit_test(accepting_takes_everybody_back),
		cmocka_unit_test(edits_wait_for_the_person_after_a_restore),
		cmocka_unit_test(a_held_node_shows_what_it_applied),
		cmocka_unit_test(publishing_over_another_branch_leaves_no_orphan),
		cmocka_unit_test(a_swap_that_comes_in_late_is_known_for_our_own),
		cmocka_unit_test(nobody_says_that_nothing_changed_while_a_swap_may_come_in),
		cmocka_unit_test(our_own_swap_is_no_news_in_an_older_backup),
		cmocka_unit_test(a_publish_that_is_overtaken_begins_anew),
		cmocka_unit_test(a_publish_that_comes_in_late_is_done),
		cmocka_unit_test(an_accept_asked_during_a_snapshot_reads_all),
		cmocka_unit_test(a_second_restore_is_noticed_by_an_edit_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
