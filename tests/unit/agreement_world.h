/* SPDX-License-Identifier: MIT */
/*
 * A world for agreement tests: one memory store, any number of nodes with the
 * real state machine, and a virtual clock. Replies can be lost before or after
 * the store carried the request out.
 */
#ifndef CMSNODE_TESTS_AGREEMENT_WORLD_H
#define CMSNODE_TESTS_AGREEMENT_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_sample.h"
#include "cmsnode/agreement/agreement.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

#define WORLD_NODES 64

enum world_fault {
	FAULT_NONE,
	FAULT_BEFORE, /* reply lost, request not carried out */
	FAULT_AFTER, /* reply lost, request carried out */
	FAULT_TWICE /* the connection broke after it was carried out, the client sent it again */
};

struct world_node {
	struct agreement *agreement;
	struct registration self;
	bool alive, watching, watch_nodes;
	int64_t watched; /* events up to this revision were delivered */
	unsigned int applied, requests, swaps, news;
	bool left;
	unsigned int contested;
	bool told_of_other_seed;
	bool refused, twin;
	char refusal[512];
	int edit_code;
	char edit_text[256];
	char trouble[8192]; /* all that was told, one after the other */
};

struct world {
	struct memory_store *store;
	struct world_node nodes[WORLD_NODES];
	size_t len;
	int64_t now_ms;
	bool store_away;
	const struct generation *last_agreed; /* what the next node to be added has on its disk */
	bool not_at_once; /* it waits before it seeds, as beyond loopback */
	/* asked for each request; NULL = no faults */
	enum world_fault (*fault)(struct world *world, const struct store_request *request);
	unsigned int faults_left;
	void (*between)(struct world *world); /* the two of FAULT_TWICE; NULL = nothing */
};

static inline void world_step(struct world *world, size_t i, struct agreement_input *input);

static inline void world_reply(struct world *world, size_t i, uint64_t tag,
			       struct store_reply *reply)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REPLY,
					 .tag = tag,
					 .reply = reply };

	world_step(world, i, &input);
	store_reply_fini(reply);
}

/*
 * The memory store has no clock: a live holder's lease is renewed each 3 s, a dead one's runs down.
 */
static inline int64_t world_remaining(const struct world *world, uint64_t lease)
{
	for (size_t i = 0; i < world->len; i++)
		if (world->nodes[i].alive && agreement_lease(world->nodes[i].agreement) == lease)
			return 10 - world->now_ms / 1000 % 3;
	return 1 + (1000000 - world->now_ms / 1000) % 1000000;
}

static inline void world_execute(struct world *world, size_t i, struct agreement_action *action)
{
	struct store_reply reply = { 0 };
	enum world_fault fault = FAULT_NONE;

	world->nodes[i].requests++;
	if (world->store_away)
		fault = FAULT_BEFORE;
	else if (world->fault)
		fault = world->fault(world, action->request);
	if (fault == FAULT_TWICE) {
		memory_store_execute(world->store, action->request, &reply);
		store_reply_fini(&reply);
		reply = (struct store_reply){ 0 };
		if (world->between)
			world->between(world);
	}
	if (fault != FAULT_BEFORE)
		memory_store_execute(world->store, action->request, &reply);
	if (action->request->kind == STORE_LEASE_REMAINING && reply.ttl_s[0])
		reply.ttl_s[0] = world_remaining(world, action->request->leases[0]);
	if (fault == FAULT_BEFORE || fault == FAULT_AFTER) {
		store_reply_fini(&reply);
		reply = (struct store_reply){ .outcome = STORE_UNKNOWN,
					      .trouble = STORE_TROUBLE_UNREACHABLE };
		(void)snprintf(reply.text, sizeof(reply.text), "no answer");
	}
	world_reply(world, i, action->tag, &reply);
}

static inline void world_act(struct world *world, size_t i, struct agreement_action *action)
{
	struct world_node *node = &world->nodes[i];

	switch (action->kind) {
	case AGREEMENT_SEND:
		world_execute(world, i, action);
		break;
	case AGREEMENT_WATCH:
		node->watching = true;
		node->watched = action->revision;
		node->watch_nodes = action->watch_nodes;
		break;
	case AGREEMENT_APPLY:
		node->applied++;
		break;
	case AGREEMENT_EDITED:
		node->edit_code = action->code;
		(void)snprintf(node->edit_text, sizeof(node->edit_text), "%s", action->text);
		break;
	case AGREEMENT_NEWS:
		node->news++;
		if (strstr(action->text, "seeded the cluster"))
			node->told_of_other_seed = true;
		if (action->is_trouble)
			(void)snprintf(node->trouble + strlen(node->trouble),
				       sizeof(node->trouble) - strlen(node->trouble), "%s\n",
				       action->text);
		break;
	case AGREEMENT_LEFT:
		node->left = true;
		break;
	case AGREEMENT_CONTESTED:
		node->contested++;
		break;
	case AGREEMENT_REFUSED:
		node->refused = true;
		node->twin = action->is_twin;
		(void)snprintf(node->refusal, sizeof(node->refusal), "%s", action->text);
		break;
	}
}

static inline void world_step(struct world *world, size_t i, struct agreement_input *input)
{
	struct agreement_actions actions = { 0 };

	input->now_ms = world->now_ms;
	input->wall_s = 1790000000 + world->now_ms / 1000;
	agreement_step(world->nodes[i].agreement, input, &actions);
	for (size_t k = 0; k < actions.len; k++)
		world_act(world, i, &actions.items[k]);
	agreement_actions_fini(&actions);
}

static inline struct world *world_new(void)
{
	struct world *world = xcalloc(1, sizeof(*world));

	world->store = memory_store_new();
	world->now_ms = 1000;
	return world;
}

static inline void world_free(struct world *world)
{
	for (size_t i = 0; i < world->len; i++) {
		agreement_free(world->nodes[i].agreement);
		registration_fini(&world->nodes[i].self);
	}
	memory_store_free(world->store);
	free(world);
}

/* As world_add() below, at a given address; `explicit` as --address does. */
static inline size_t world_add_at(struct world *world, const char *id, const char *roles, int host,
				  bool with_seed, const char *address, bool is_explicit,
				  const char *address_before)
{
	const size_t i = world->len++;
	struct world_node *node = &world->nodes[i];
	struct generation *seed = with_seed ? world_seed() : NULL;
	const struct agreement_settings settings = { .prefix = "/cms",
						     .seed = seed,
						     .seed_at_once = !world->not_at_once,
						     .last_agreed = world->last_agreed,
						     .random = 7919 * (i + 1),
						     .lease_ttl_s = 10,
						     .address_explicit = is_explicit,
						     .address_before = address_before };

	assert_true(i < WORLD_NODES);
	world_registration(&node->self, id, roles, host);
	if (address) {
		free(node->self.address);
		node->self.address = xstrdup(address);
	}
	node->self.incarnation = xasprintf("%032zx", i + 1);
	node->edit_code = 1;
	node->alive = true;
	node->agreement = agreement_new(&settings, &node->self);
	generation_free(seed);
	return i;
}

/* Makes the node (not started). `incarnation` tells one daemon's life from the next. */
static inline size_t world_add(struct world *world, const char *id, const char *roles, int host,
			       bool with_seed)
{
	return world_add_at(world, id, roles, host, with_seed, NULL, false, NULL);
}

static inline void world_start(struct world *world, size_t i)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_START };

	world_step(world, i, &input);
}

/* What the driver would watch for this node. */
static inline bool world_watches(const struct world_node *node, const char *key)
{
	CLEAN(str) char *own = xasprintf("/cms/nodes/%s", node->self.id);

	if (strcmp(key, "/cms/current") == 0)
		return true;
	if (node->watch_nodes)
		return strncmp(key, "/cms/nodes/", 11) == 0 ||
		       strncmp(key, "/cms/reserved/", 14) == 0;
	return strcmp(key, own) == 0;
}

static inline void world_report(struct world *world, size_t i, enum store_watch_news news,
				const struct store_event *events, size_t len, int64_t revision)
{
	const struct store_watch_report report = { .news = news,
						   .events = events,
						   .len = len,
						   .revision = revision,
						   .text = "compacted" };
	struct agreement_input input = { .kind = AGREEMENT_INPUT_WATCH, .watch = &report };

	world_step(world, i, &input);
}

/* The next revision's events, copied: the step may change the store. False: none are left. */
static inline bool world_deliver_one(struct world *world, size_t i)
{
	struct world_node *node = &world->nodes[i];
	const struct store_event *events;
	struct store_event *copies;
	size_t len, n = 0;

	if (memory_store_events(world->store, node->watched, &events, &len) < 0) {
		node->watching = false;
		world_report(world, i, STORE_WATCH_GAP, NULL, 0, 0);
		return false;
	}
	if (len == 0)
		return false;
	const int64_t revision = events[0].kv.mod_revision;

	copies = xcalloc(len, sizeof(*copies));
	for (size_t k = 0; k < len && events[k].kv.mod_revision == revision; k++) {
		if (!world_watches(node, events[k].kv.key))
			continue;
		copies[n].deleted = events[k].deleted;
		store_kv_copy(&copies[n++].kv, &events[k].kv);
	}
	node->watched = revision;
	if (n)
		world_report(world, i, STORE_WATCH_EVENTS, copies, n, revision);
	for (size_t k = 0; k < n; k++)
		store_kv_fini(&copies[k].kv);
	free(copies);
	return true;
}

static inline void world_deliver(struct world *world, size_t i)
{
	const struct world_node *node = &world->nodes[i];

	while (node->alive && node->watching && !world->store_away && world_deliver_one(world, i)) {
	}
}

/* Lets `ms` pass, with all timers and watch events, in order. */
static inline void world_run(struct world *world, int64_t ms)
{
	const int64_t end = world->now_ms + ms;

	for (;;) {
		int64_t next = end;

		for (size_t i = 0; i < world->len; i++)
			world_deliver(world, i);
		for (size_t i = 0; i < world->len; i++)
			if (world->nodes[i].alive &&
			    agreement_next_ms(world->nodes[i].agreement) < next)
				next = agreement_next_ms(world->nodes[i].agreement);
		if (next >= end)
			break;
		if (next > world->now_ms)
			world->now_ms = next;
		for (size_t i = 0; i < world->len; i++) {
			struct agreement_input input = { .kind = AGREEMENT_INPUT_TIME };

			if (world->nodes[i].alive &&
			    agreement_next_ms(world->nodes[i].agreement) <= world->now_ms)
				world_step(world, i, &input);
		}
	}
	world->now_ms = end;
	for (size_t i = 0; i < world->len; i++)
		world_deliver(world, i);
}

static inline const struct generation *world_agreed(const struct world *world, size_t i)
{
	return agreement_agreed(world->nodes[i].agreement);
}

#endif
