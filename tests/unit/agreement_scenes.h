/* SPDX-License-Identifier: MIT */
/* What several programs of agreement tests do with a world: pairs, edits, keys, ends. */
#ifndef CMSNODE_TESTS_AGREEMENT_SCENES_H
#define CMSNODE_TESTS_AGREEMENT_SCENES_H

#include "agreement_world.h"

#include "cmsnode/base/err.h"

static inline void assert_all_agree(const struct world *world)
{
	const struct generation *first = NULL;

	for (size_t i = 0; i < world->len; i++) {
		if (!world->nodes[i].alive)
			continue;
		const struct generation *agreed = world_agreed(world, i);

		assert_non_null(agreed);
		assert_true(agreement_is_member(world->nodes[i].agreement));
		assert_int_equal(agreement_state_now(world->nodes[i].agreement),
				 AGREEMENT_FOLLOWING);
		if (!first)
			first = agreed;
		assert_string_equal(agreed->name, first->name);
		assert_string_equal(agreed->meta.digest, first->meta.digest);
	}
}

static inline size_t count_keys(const struct world *world, const char *prefix)
{
	struct store_request *request = store_request_new(STORE_TXN);
	struct store_reply reply = { 0 };

	(void)store_ops_range(&request->success, prefix, true);
	memory_store_execute(world->store, request, &reply);
	const size_t n = reply.ranges[0].len;

	store_reply_fini(&reply);
	store_request_free(request);
	return n;
}

static inline void put(struct world *world, const char *key, const char *value)
{
	struct store_request *request = store_request_new(STORE_TXN);
	struct store_reply reply = { 0 };

	store_ops_put(&request->success, key, value, strlen(value), 0);
	memory_store_execute(world->store, request, &reply);
	store_reply_fini(&reply);
	store_request_free(request);
}

static inline struct edits one_edit(const struct generation *seen, const char *path,
				    struct value *wanted)
{
	struct edits edits = { 0 };
	CLEAN(value) struct value *old = alter_value(seen, path);

	edits_add(&edits, path, old, wanted);
	value_free(wanted);
	return edits;
}

static inline void send_edit(struct world *world, size_t i, struct edits *edits)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_EDIT,
					 .edits = edits,
					 .edit_id = 1 + i,
					 .author = "operator",
					 .reason = "test" };

	world->nodes[i].edit_code = 1;
	world_step(world, i, &input);
	edits_fini(edits);
}

static inline void send_restore(struct world *world, size_t i, enum agreement_input_kind kind)
{
	struct agreement_input input = {
		.kind = kind, .edit_id = 1 + i, .author = "operator", .reason = "test"
	};

	world->nodes[i].edit_code = 1;
	world_step(world, i, &input);
}

/* Sets a policy, which restarts nothing, through node i; it must go through. */
static inline void change(struct world *world, size_t i, const char *path, int64_t value)
{
	struct edits edits = one_edit(world_agreed(world, i), path, value_new_int(value));

	send_edit(world, i, &edits);
	world_run(world, 1000);
	assert_int_equal(world->nodes[i].edit_code, 0);
}

/* The daemon's end without a word, and its leases' end: A after 10 s, B after the window. */
static inline void vanish(struct world *world, size_t i, bool window_too)
{
	const struct registration *self = agreement_self(world->nodes[i].agreement);
	const uint64_t lease = agreement_lease(world->nodes[i].agreement);
	const uint64_t reserved = self->reserved_lease;

	world->nodes[i].alive = false;
	assert_true(memory_store_expire(world->store, lease));
	if (window_too)
		assert_true(memory_store_expire(world->store, reserved));
}

static inline enum node_state state_of(const struct world *world, size_t seen_by, const char *id)
{
	const struct generation_node *node = generation_node_find(world_agreed(world, seen_by), id);

	assert_non_null(node);
	return node->state;
}

static inline size_t slots_of(const struct generation *generation, enum catalogue_index service,
			      const char *id)
{
	const struct slot_list *list = &generation->slots.lists[service];
	size_t n = 0;

	for (size_t k = 0; k < list->len; k++)
		n += str_eq(list->items[k].node, id);
	return n;
}

/* "a" with core, then workers "b", "c", ... one after the other; all agree. */
static inline struct world *cluster_of(size_t nodes)
{
	struct world *world = world_new();

	for (size_t i = 0; i < nodes; i++) {
		char id[2] = { (char)('a' + i), '\0' };

		world_start(world,
			    world_add(world, id, i == 0 ? "core" : "worker:2", (int)i + 1, i == 0));
		world_run(world, 2000);
	}
	world_run(world, 120000);
	assert_all_agree(world);
	return world;
}

#endif
