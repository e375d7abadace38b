/* SPDX-License-Identifier: MIT */
/* Who goes, and what becomes of its slots: expiry, holds, draining, coming back. */
#include "agreement_scenes.h"

static void one_that_vanishes_is_away_and_keeps_its_slots(void **state)
{
	struct world *world = cluster_of(4);

	(void)state;
	vanish(world, 3, false);
	world_run(world, 10000);
	assert_all_agree(world);
	assert_int_equal(state_of(world, 0, "d"), NODE_AWAY);
	assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "d"), 2);
	world_free(world);
}

/* Leases that were renewed at different moments end at different moments. */
static void those_that_die_together_are_one_generation(void **state)
{
	struct world *world = cluster_of(10);
	const int64_t before = world_agreed(world, 0)->sequence;

	(void)state;
	for (size_t i = 6; i < 10; i++) {
		vanish(world, i, false);
		world_run(world, 1300);
	}
	world_run(world, 10000);
	assert_all_agree(world);
	assert_int_equal(state_of(world, 0, "j"), NODE_AWAY);
	assert_int_equal(world_agreed(world, 0)->sequence, before + 1);
	world_free(world);
}

static void a_departure_waits_for_others_but_not_for_ever(void **state)
{
	struct world *world = cluster_of(12);

	(void)state;
	for (size_t i = 7; i < 12; i++) {
		vanish(world, i, false);
		world_run(world, 1300);
	}
	assert_int_equal(state_of(world, 0, "h"), NODE_AWAY);
	world_free(world);
}

static void after_its_window_workers_are_free_and_singletons_are_not(void **state)
{
	struct world *world = cluster_of(5);

	(void)state;
	vanish(world, 3, true);
	vanish(world, 0, true);
	world_run(world, 20000);
	assert_all_agree(world);
	const struct generation *agreed = world_agreed(world, 1);

	/* "d" has nothing left: it is forgotten. "a" may still run what judges. */
	assert_null(generation_node_find(agreed, "d"));
	assert_int_equal(slots_of(agreed, CATALOGUE_WORKER, "d"), 0);
	assert_int_equal(state_of(world, 1, "a"), NODE_AWAY);
	assert_int_equal(slots_of(agreed, CATALOGUE_EVALUATION_SERVICE, "a"), 1);
	assert_int_equal(slots_of(agreed, CATALOGUE_CONTEST_WEB_SERVER, "a"), 0);
	assert_int_equal(slots_of(agreed, CATALOGUE_RESOURCE_SERVICE, "a"), 0);
	world_free(world);
}

static void a_freed_slot_goes_to_the_next_that_joins(void **state)
{
	struct world *world = cluster_of(4);
	const struct slot_list *workers = &world_agreed(world, 0)->slots.lists[CATALOGUE_WORKER];
	size_t freed = 0;

	(void)state;
	while (!str_eq(workers->items[freed].node, "b"))
		freed++;
	vanish(world, 1, true);
	world_run(world, 20000);
	world_start(world, world_add(world, "x", "worker:1", 9, false));
	world_run(world, 20000);
	assert_all_agree(world);
	workers = &world_agreed(world, 0)->slots.lists[CATALOGUE_WORKER];
	assert_string_equal(workers->items[freed].node, "x");
	world_free(world);
}

static void one_that_returns_within_its_window_has_its_slots(void **state)
{
	struct world *world = cluster_of(4);
	const uint64_t reserved = agreement_self(world->nodes[2].agreement)->reserved_lease;

	(void)state;
	vanish(world, 2, false);
	world_run(world, 20000);
	assert_int_equal(state_of(world, 0, "c"), NODE_AWAY);
	CLEAN(generation) struct generation *away = generation_clone(world_agreed(world, 0));
	const size_t i = world_add(world, "c", "worker:2", 3, false);

	world_start(world, i);
	world_run(world, 20000);
	/* The reservation of the life before is no more than a lease that ends one day. */
	(void)memory_store_expire(world->store, reserved);
	world_run(world, 20000);
	assert_all_agree(world);
	assert_int_equal(state_of(world, 0, "c"), NODE_PRESENT);
	assert_true(slots_equal(&world_agreed(world, 0)->slots, &away->slots));
	world_free(world);
}

static void an_orderly_stop_is_seen_at_once(void **state)
{
	struct world *world = cluster_of(4);
	struct agreement_input stop = { .kind = AGREEMENT_INPUT_STOP };

	(void)state;
	world_step(world, 3, &stop);
	world->nodes[3].alive = false;
	assert_true(world->nodes[3].left);
	world_run(world, 5000);
	assert_int_equal(state_of(world, 0, "d"), NODE_AWAY);
	assert_int_equal(count_keys(world, "/cms/reserved/d"), 1);
	world_free(world);
}

static void most_missing_is_held_for_a_minute(void **state)
{
	struct world *world = cluster_of(5);

	(void)state;
	for (size_t i = 2; i < 5; i++)
		vanish(world, i, true);
	world_run(world, 45000);
	/* A switch that died, or the store's lie: nobody concludes anything from it. */
	for (size_t i = 2; i < 5; i++) {
		const char id[2] = { (char)('a' + i), '\0' };

		assert_int_equal(state_of(world, 0, id), NODE_PRESENT);
		assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, id), 2);
	}
	world_run(world, 60000);
	assert_null(generation_node_find(world_agreed(world, 0), "e"));
	assert_all_agree(world);
	world_free(world);
}

static void a_hold_ends_when_half_are_back(void **state)
{
	struct world *world = cluster_of(5);

	(void)state;
	for (size_t i = 2; i < 5; i++)
		vanish(world, i, false);
	world_run(world, 5000);
	world_start(world, world_add(world, "c", "worker:2", 3, false));
	world_run(world, 15000);
	assert_int_equal(state_of(world, 0, "c"), NODE_PRESENT);
	assert_int_equal(state_of(world, 0, "d"), NODE_AWAY);
	assert_int_equal(state_of(world, 0, "e"), NODE_AWAY);
	world_free(world);
}

static void stopped_in_order_is_not_missing(void **state)
{
	struct world *world = cluster_of(5);
	struct agreement_input stop = { .kind = AGREEMENT_INPUT_STOP };

	(void)state;
	for (size_t i = 2; i < 5; i++) {
		world_step(world, i, &stop);
		world->nodes[i].alive = false;
	}
	world_run(world, 15000);
	assert_int_equal(state_of(world, 0, "e"), NODE_AWAY);
	/* Together, they were one generation or two. */
	assert_true(world_agreed(world, 0)->sequence <= 7);
	world_free(world);
}

static void after_an_outage_nobody_is_gone_for_half_a_minute(void **state)
{
	struct world *world = cluster_of(4);

	(void)state;
	world->store_away = true;
	world_run(world, 60000);
	world->store_away = false;
	/* Its lease ran out meanwhile, and it is slow to come again. */
	vanish(world, 3, true);
	world_run(world, 15000);
	assert_int_equal(state_of(world, 0, "d"), NODE_PRESENT);
	world_run(world, 60000);
	assert_null(generation_node_find(world_agreed(world, 0), "d"));
	world_free(world);
}

static void when_the_folders_go_others_take_the_duty(void **state)
{
	struct world *world = cluster_of(7);

	(void)state;
	for (size_t i = 0; i < 3; i++)
		vanish(world, i, false);
	world_run(world, 400000);
	for (size_t i = 0; i < 3; i++) {
		const char id[2] = { (char)('a' + i), '\0' };

		assert_int_equal(state_of(world, 6, id), NODE_AWAY);
	}
	assert_all_agree(world);
	world_free(world);
}

static void release(struct world *world, size_t i, const char *slots)
{
	struct registration self = { 0 };
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = &self };

	registration_copy(&self, &world->nodes[i].self);
	str_list_split(&self.released, slots, ' ');
	world_step(world, i, &input);
	registration_fini(&self);
}

static void drain(struct world *world, size_t by, const char *id, const char *to)
{
	CLEAN(str) char *path = xasprintf("nodes.%s", id);
	struct edits edits = { 0 };
	CLEAN(value) struct value *wanted = value_new_string(to);

	edits_add(&edits, path, NULL, wanted);
	send_edit(world, by, &edits);
	world_run(world, 2000);
	assert_int_equal(world->nodes[by].edit_code, 0);
}

static char *slots_text(const struct generation *generation, const char *id)
{
	CLEAN(str_list) struct str_list names = { 0 };

	for (int s = 0; s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < generation->slots.lists[s].len; k++)
			if (str_eq(generation->slots.lists[s].items[k].node, id))
				str_list_take(&names,
					      xasprintf("%s,%zu",
							catalogue_at((enum catalogue_index)s)->name,
							k));
	return str_list_join(&names, " ");
}

static void a_drain_takes_two_generations(void **state)
{
	struct world *world = cluster_of(3);

	(void)state;
	drain(world, 0, "c", "draining");
	assert_int_equal(state_of(world, 1, "c"), NODE_DRAINING);
	/* What is still running is nobody else's. */
	assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "c"), 2);
	CLEAN(str) char *slots = slots_text(world_agreed(world, 0), "c");

	release(world, 2, slots);
	world_run(world, 10000);
	assert_int_equal(state_of(world, 1, "c"), NODE_DRAINED);
	assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "c"), 0);
	/* Nothing is given back to it by itself. */
	world_start(world, world_add(world, "x", "worker:1", 9, false));
	world_run(world, 10000);
	assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "c"), 0);
	assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "x"), 1);
	drain(world, 0, "c", "present");
	world_run(world, 10000);
	assert_int_equal(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "c"), 2);
	assert_all_agree(world);
	world_free(world);
}

static void a_finished_drain_deletes_the_reservation(void **state)
{
	struct world *world = cluster_of(3);
	struct agreement_input stop = { .kind = AGREEMENT_INPUT_STOP };

	(void)state;
	drain(world, 0, "c", "draining");
	CLEAN(str) char *slots = slots_text(world_agreed(world, 0), "c");

	release(world, 2, slots);
	world_run(world, 10000);
	assert_int_equal(state_of(world, 0, "c"), NODE_DRAINED);
	assert_int_equal(count_keys(world, "/cms/reserved/c"), 0);
	world_step(world, 2, &stop);
	world->nodes[2].alive = false;
	world_run(world, 20000);
	assert_int_equal(state_of(world, 0, "c"), NODE_DRAINED);
	world_free(world);
}

/* Away for longer than the window: who got its slots meanwhile keeps them. */
static void one_that_slept_too_long_follows_first_and_then_joins(void **state)
{
	struct world *world = cluster_of(4);
	const unsigned int applied = world->nodes[1].applied;

	(void)state;
	vanish(world, 1, true);
	world_run(world, 20000);
	world_start(world, world_add(world, "x", "worker:2", 9, false));
	world_run(world, 20000);
	assert_true(slots_of(world_agreed(world, 0), CATALOGUE_WORKER, "x") == 2);
	CLEAN(str) char *taken = slots_text(world_agreed(world, 0), "x");

	/* It wakes up: SIGCONT, an answer that its lease is gone, a watch that goes on. */
	world->nodes[1].alive = true;
	world_run(world, 60000);
	assert_all_agree(world);
	assert_true(world->nodes[1].applied > applied);
	CLEAN(str) char *kept = slots_text(world_agreed(world, 1), "x");

	assert_string_equal(kept, taken);
	assert_int_equal(slots_of(world_agreed(world, 1), CATALOGUE_WORKER, "b"), 2);
	world_free(world);
}

static void a_changed_window_is_a_new_lease(void **state)
{
	struct world *world = cluster_of(2);
	const uint64_t before = agreement_self(world->nodes[1].agreement)->reserved_lease;

	(void)state;
	change(world, 0, "topology.rejoin_window_s", 60);
	world_run(world, 5000);
	const uint64_t after = agreement_self(world->nodes[1].agreement)->reserved_lease;

	assert_true(before != after);
	assert_false(memory_store_expire(world->store, before));
	assert_int_equal(count_keys(world, "/cms/reserved/"), 2);
	assert_true(memory_store_expire(world->store, after));
	assert_int_equal(count_keys(world, "/cms/reserved/"), 1);
	world_free(world);
}

static void only_the_oldest_of_distinct_hosts_watch_everybody(void **state)
{
	struct world *world = world_new();
	size_t watchers = 0;

	(void)state;
	/* The first two share a host: if it dies, two more must know. */
	world_start(world, world_add(world, "a", "core", 1, true));
	world_run(world, 1000);
	world_start(world, world_add_at(world, "a.2", "worker:1", 1, false, NULL, true, NULL));
	world_run(world, 1000);
	for (int host = 2; host <= 8; host++) {
		CLEAN(str) char *id = xasprintf("n%d", host);

		world_start(world, world_add(world, id, "worker:1", host, false));
		world_run(world, 1000);
	}
	world_run(world, 240000);
	for (size_t i = 0; i < world->len; i++)
		watchers += world->nodes[i].watch_nodes;
	assert_int_equal(watchers, 3);
	assert_true(world->nodes[0].watch_nodes);
	assert_false(world->nodes[1].watch_nodes);
	assert_true(world->nodes[2].watch_nodes);
	world_free(world);
}

/* Each other's registration is no business of a node in a large cluster. */
static void a_silent_watch_is_asked_for_with_a_light_read(void **state)
{
	struct world *world = cluster_of(5);
	const struct store_watch_report quiet = { .news = STORE_WATCH_QUIET };
	struct agreement_input input = { .kind = AGREEMENT_INPUT_WATCH, .watch = &quiet };
	const unsigned int requests = world->nodes[4].requests;

	(void)state;
	world_step(world, 4, &input);
	assert_int_equal(world->nodes[4].requests, requests + 1);
	assert_int_equal(agreement_state_now(world->nodes[4].agreement), AGREEMENT_FOLLOWING);
	world_free(world);
}

/* Nor one of the three reads everybody each time, though their names are all that it reads. */
static void a_folder_is_asked_as_lightly(void **state)
{
	struct world *world = cluster_of(5);
	const struct store_watch_report quiet = { .news = STORE_WATCH_QUIET };
	struct agreement_input input = { .kind = AGREEMENT_INPUT_WATCH, .watch = &quiet };

	(void)state;
	assert_true(world->nodes[0].watch_nodes);
	world_step(world, 0, &input); /* perhaps with a look at everybody */
	const unsigned int requests = world->nodes[0].requests;

	for (int i = 0; i < 3; i++)
		world_step(world, 0, &input);
	assert_int_equal(world->nodes[0].requests, requests + 3);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_vanishes_is_away_and_keeps_its_slots),
		cmocka_unit_test(those_that_die_together_are_one_generation),
		cmocka_unit_test(a_departure_waits_for_others_but_not_for_ever),
		cmocka_unit_test(after_its_window_workers_are_free_and_singletons_are_not),
		cmocka_unit_test(a_freed_slot_goes_to_the_next_that_joins),
		cmocka_unit_test(one_that_returns_within_its_window_has_its_slots),
		cmocka_unit_test(an_orderly_stop_is_seen_at_once),
		cmocka_unit_test(most_missing_is_held_for_a_minute),
		cmocka_unit_test(a_hold_ends_when_half_are_back),
		cmocka_unit_test(stopped_in_order_is_not_missing),
		cmocka_unit_test(after_an_outage_nobody_is_gone_for_half_a_minute),
		cmocka_unit_test(when_the_folders_go_others_take_the_duty),
		cmocka_unit_test(a_drain_takes_two_generations),
		cmocka_unit_test(a_finished_drain_deletes_the_reservation),
		cmocka_unit_test(one_that_slept_too_long_follows_first_and_then_joins),
		cmocka_unit_test(a_changed_window_is_a_new_lease),
		cmocka_unit_test(only_the_oldest_of_distinct_hosts_watch_everybody),
		cmocka_unit_test(a_silent_watch_is_asked_for_with_a_light_read),
		cmocka_unit_test(a_folder_is_asked_as_lightly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
