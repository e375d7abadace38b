/* SPDX-License-Identifier: MIT */
/*
 * A storm in virtual time. Owns the clock, the messages under way and the nodes.
 * Must never decide anything that the agreement decides. Invariant: messages of
 * one watch arrive in the order in which they were sent.
 */
#include "storm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/agreement_sample.h"
#include "cmsnode/agreement/agreement.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/etcd_codec.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

#define LEASE_TTL_S 10
#define LEASE_CHECK_US 500000 /* etcd looks for leases that have ended that often */
#define REQUEST_US 3000000 /* the client of etcd gives up */
#define PUSH_US 10000000
#define PUSH_BYTES 65536 /* a push is larger than that */
#define QUIET_US 20000000 /* well for that long: the storm is over */
#define PATIENCE_US 600000000
#define KV_BYTES 150 /* revisions and lease as JSON, around a key and its value */

/* ---- messages -------------------------------------------------------------- */

enum message_kind {
	MESSAGE_START,
	MESSAGE_STOP,
	MESSAGE_TIMER,
	MESSAGE_REQUEST, /* to the store */
	MESSAGE_WATCH, /* to the store */
	MESSAGE_EXPIRY, /* in the store */
	MESSAGE_REPLY, /* to a node */
	MESSAGE_EVENTS, /* to a node */
	MESSAGE_GAP, /* to a node */
};

/* Events of one revision, shared by all whom they are under way to. */
struct batch {
	size_t users;
	struct store_event *events;
	size_t len;
};

struct message {
	int64_t at_us;
	uint64_t order; /* of two at the same time, the older one comes first */
	enum message_kind kind;
	size_t node;
	uint64_t tag;
	int64_t sent_us;
	struct store_request *request;
	struct store_reply *reply;
	struct batch *batch;
	int64_t revision; /* WATCH: from there on */
	bool watch_nodes;
	uint64_t watch; /* EVENTS, GAP: of that stream */
	uint64_t lease; /* EXPIRY */
};

struct storm_node {
	struct agreement *agreement;
	struct registration self;
	bool alive, well;
	char *told; /* generation of its last status, NULL = none yet */
	uint64_t watch; /* the stream that it reads, 0 = none */
	uint64_t watch_in_store; /* the stream that the store serves */
	bool watch_nodes;
	int64_t news_us; /* the latest arrival that was promised to its stream */
	int64_t timer_us; /* of the only valid TIMER */
	int64_t renewed_us;
	uint64_t requests;
};

struct storm {
	struct storm_settings settings;
	struct memory_store *store;
	struct storm_node *nodes;
	size_t len, well, living;
	int64_t now_us, busy_us;
	struct message *heap;
	size_t heap_len, heap_cap;
	uint64_t order, watches, random;
	int64_t told_revision; /* events up to here are under way or delivered */
	char *current; /* name of the generation in force, NULL = none */
	bool as_wished; /* it shows who left as away, and nobody else */
	bool compared; /* with who left, since either changed */
	struct storm_toll toll;
};

/* splitmix64, as the agreement's own: the same everywhere. */
static uint64_t chance(struct storm *storm)
{
	uint64_t z = storm->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int64_t trip_us(struct storm *storm)
{
	return STORM_TRIP_MIN_US +
	       (int64_t)(chance(storm) % (STORM_TRIP_MAX_US - STORM_TRIP_MIN_US + 1));
}

static bool comes_before(const struct message *a, const struct message *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

/* A binary heap. */
static void post(struct storm *storm, int64_t at_us, struct message message)
{
	GROW(storm->heap, storm->heap_len, storm->heap_cap);
	size_t at = storm->heap_len++;

	message.at_us = at_us;
	message.order = ++storm->order;
	while (at && comes_before(&message, &storm->heap[(at - 1) / 2])) {
		storm->heap[at] = storm->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	storm->heap[at] = message;
}

static struct message take(struct storm *storm)
{
	const struct message first = storm->heap[0];
	const struct message last = storm->heap[--storm->heap_len];
	size_t at = 0;

	for (size_t child = 1; child < storm->heap_len; child = 2 * at + 1) {
		if (child + 1 < storm->heap_len &&
		    comes_before(&storm->heap[child + 1], &storm->heap[child]))
			child++;
		if (!comes_before(&storm->heap[child], &last))
			break;
		storm->heap[at] = storm->heap[child];
		at = child;
	}
	if (storm->heap_len)
		storm->heap[at] = last;
	return first;
}

static void batch_release(struct batch *batch)
{
	if (!batch || --batch->users)
		return;
	for (size_t i = 0; i < batch->len; i++)
		store_kv_fini(&batch->events[i].kv);
	free(batch->events);
	free(batch);
}

static void message_fini(struct message *message)
{
	store_request_free(message->request);
	if (message->reply)
		store_reply_fini(message->reply);
	free(message->reply);
	batch_release(message->batch);
}

/* ---- who is well ----------------------------------------------------------- */

static void judge(struct storm *storm, size_t i)
{
	struct storm_node *node = &storm->nodes[i];
	const struct generation *agreed = agreement_agreed(node->agreement);
	const bool well = node->alive && agreed && storm->current &&
			  strcmp(agreed->name, storm->current) == 0 &&
			  agreement_is_member(node->agreement) &&
			  !agreement_trouble(node->agreement) &&
			  agreement_state_now(node->agreement) == AGREEMENT_FOLLOWING;

	storm->well += (size_t)well - (size_t)node->well;
	node->well = well;
}

/* Does this generation show as away who left, and nobody else? */
static bool is_as_wished(const struct storm *storm, const struct generation *generation)
{
	for (size_t i = 0; i < storm->len; i++) {
		const struct generation_node *node =
			generation_node_find(generation, storm->nodes[i].self.id);

		if (!node || (node->state == NODE_PRESENT) != storm->nodes[i].alive)
			return false;
	}
	return true;
}

static void note_current(struct storm *storm, const struct store_kv *kv)
{
	struct current current;

	if (current_from_kv(kv, &current, NULL) < 0)
		abort(); /* the agreement wrote it */
	if (str_eq(storm->current, current.name))
		return;
	free(storm->current);
	storm->current = xstrdup(current.name);
	storm->toll.generations++;
	storm->as_wished = storm->compared = false;
	for (size_t i = 0; i < storm->len; i++)
		judge(storm, i);
}

static bool all_well(struct storm *storm)
{
	if (storm->well < storm->living)
		return false;
	for (size_t i = 0; i < storm->len && !storm->compared; i++) {
		if (!storm->nodes[i].well)
			continue;
		storm->as_wished = is_as_wished(storm, agreement_agreed(storm->nodes[i].agreement));
		storm->compared = true;
	}
	return storm->as_wished;
}

/* ---- the store -------------------------------------------------------------- */

static bool is_of(const char *key, const char *folder)
{
	return strncmp(key, folder, strlen(folder)) == 0;
}

static bool watches(const struct storm_node *node, const char *key)
{
	if (strcmp(key, "/cms/current") == 0)
		return true;
	if (is_of(key, "/cms/nodes/"))
		return node->watch_nodes || strcmp(key + strlen("/cms/nodes/"), node->self.id) == 0;
	return node->watch_nodes && is_of(key, "/cms/reserved/");
}

static void promise(struct storm *storm, size_t i, struct message message)
{
	struct storm_node *node = &storm->nodes[i];
	int64_t at_us =
		(storm->busy_us > storm->now_us ? storm->busy_us : storm->now_us) + trip_us(storm);

	if (at_us < node->news_us)
		at_us = node->news_us;
	node->news_us = at_us;
	message.node = i;
	message.watch = node->watch_in_store;
	post(storm, at_us, message);
}

/* All events of one revision that this node watches. */
static void tell(struct storm *storm, size_t i, const struct store_event *events, size_t len)
{
	struct batch *batch = xcalloc(1, sizeof(*batch));

	batch->events = xcalloc(len, sizeof(*batch->events));
	batch->users = 1;
	for (size_t k = 0; k < len; k++) {
		if (!watches(&storm->nodes[i], events[k].kv.key))
			continue;
		batch->events[batch->len].deleted = events[k].deleted;
		store_kv_copy(&batch->events[batch->len++].kv, &events[k].kv);
	}
	if (batch->len)
		promise(storm, i, (struct message){ .kind = MESSAGE_EVENTS, .batch = batch });
	else
		batch_release(batch);
}

static size_t same_revision(const struct store_event *events, size_t len)
{
	size_t n = 1;

	while (n < len && events[n].kv.mod_revision == events[0].kv.mod_revision)
		n++;
	return n;
}

/* Everybody watches `current`: one copy for all who watch nothing else of these. */
static void tell_current(struct storm *storm, const struct store_event *event)
{
	struct batch *batch = xcalloc(1, sizeof(*batch));

	batch->users = 1;
	batch->len = 1;
	batch->events = xcalloc(1, sizeof(*batch->events));
	store_kv_copy(&batch->events[0].kv, &event->kv);
	for (size_t i = 0; i < storm->len; i++) {
		if (!storm->nodes[i].watch_in_store)
			continue;
		batch->users++;
		promise(storm, i, (struct message){ .kind = MESSAGE_EVENTS, .batch = batch });
	}
	batch_release(batch);
}

static void tell_about(struct storm *storm, const struct store_event *events, size_t len)
{
	for (size_t k = 0; k < len; k++) {
		if (strcmp(events[k].kv.key, "/cms/current") != 0)
			continue;
		note_current(storm, &events[k].kv);
		tell_current(storm, &events[k]); /* a swap writes nothing else that is watched */
		return;
	}
	for (size_t k = 0; k < len; k++)
		if (is_of(events[k].kv.key, "/cms/nodes/") ||
		    is_of(events[k].kv.key, "/cms/reserved/")) {
			for (size_t i = 0; i < storm->len; i++)
				if (storm->nodes[i].watch_in_store)
					tell(storm, i, events, len);
			return;
		}
}

static void tell_news(struct storm *storm)
{
	const struct store_event *events;
	size_t len;

	if (memory_store_events(storm->store, storm->told_revision, &events, &len) < 0)
		abort(); /* we look after every request */
	for (size_t n; len; events += n, len -= n) {
		n = same_revision(events, len);
		tell_about(storm, events, n);
	}
	storm->told_revision = memory_store_revision(storm->store);
}

static size_t reply_bytes(const struct store_reply *reply)
{
	size_t bytes = KV_BYTES;

	for (size_t r = 0; r < reply->ranges_len; r++)
		for (size_t i = 0; i < reply->ranges[r].len; i++)
			bytes += KV_BYTES + (strlen(reply->ranges[r].items[i].key) +
					     reply->ranges[r].items[i].value_len) *
						    4 / 3;
	return bytes;
}

/* Requests queue up; what the node has given up is carried out all the same. */
static void answer(struct storm *storm, const struct message *message, struct store_reply *reply,
		   size_t bytes_in)
{
	const size_t bytes_out = reply_bytes(reply);
	const int64_t give_up_us =
		message->sent_us + (bytes_in > PUSH_BYTES ? PUSH_US : REQUEST_US);

	if (storm->busy_us < storm->now_us)
		storm->busy_us = storm->now_us;
	storm->busy_us += STORM_SERVICE_US;
	if (storm->settings.bytes_per_us)
		storm->busy_us += (int64_t)(bytes_in + bytes_out) / storm->settings.bytes_per_us;
	int64_t at_us = storm->busy_us + trip_us(storm);

	storm->toll.bytes_received += bytes_out;
	if (at_us > give_up_us) {
		at_us = give_up_us;
		storm->toll.lost++;
		store_reply_fini(reply);
		*reply = (struct store_reply){ .outcome = STORE_UNKNOWN,
					       .trouble = STORE_TROUBLE_UNREACHABLE };
	}
	post(storm, at_us,
	     (struct message){ .kind = MESSAGE_REPLY,
			       .node = message->node,
			       .tag = message->tag,
			       .reply = xmemdup(reply, sizeof(*reply)) });
}

static void serve(struct storm *storm, const struct message *message)
{
	CLEAN(str) char *body = etcd_codec_request(message->request);
	struct store_reply reply = { 0 };

	memory_store_execute(storm->store, message->request, &reply);
	if (message->request->kind == STORE_LEASE_KEEPALIVE ||
	    message->request->kind == STORE_LEASE_GRANT)
		storm->nodes[message->node].renewed_us = storm->now_us;
	if (message->request->kind == STORE_TXN && reply.outcome == STORE_DONE && !reply.succeeded)
		storm->toll.conflicts++;
	storm->toll.bytes_sent += strlen(body);
	answer(storm, message, &reply, strlen(body));
	tell_news(storm);
}

static void serve_watch(struct storm *storm, const struct message *message)
{
	struct storm_node *node = &storm->nodes[message->node];
	const struct store_event *events;
	size_t len;

	node->watch_in_store = message->watch;
	node->watch_nodes = message->watch_nodes;
	if (memory_store_events(storm->store, message->revision, &events, &len) < 0) {
		promise(storm, message->node, (struct message){ .kind = MESSAGE_GAP });
		node->watch_in_store = 0;
		return;
	}
	for (size_t n; len; events += n, len -= n) {
		n = same_revision(events, len);
		tell(storm, message->node, events, n);
	}
}

/* ---- the nodes ---------------------------------------------------------------- */

static void step(struct storm *storm, size_t i, struct agreement_input *input);

static void count_request(struct storm *storm, size_t i)
{
	storm->nodes[i].requests++;
	storm->toll.requests++;
}

static void send(struct storm *storm, size_t i, struct agreement_action *action)
{
	count_request(storm, i);
	if (action->request->kind == STORE_LEASE_KEEPALIVE)
		storm->toll.renewals++;
	post(storm, storm->now_us + trip_us(storm),
	     (struct message){ .kind = MESSAGE_REQUEST,
			       .node = i,
			       .tag = action->tag,
			       .sent_us = storm->now_us,
			       .request = steal(action->request) });
}

static void open_watch(struct storm *storm, size_t i, const struct agreement_action *action)
{
	count_request(storm, i);
	storm->nodes[i].watch = ++storm->watches;
	storm->nodes[i].watch_in_store = 0; /* the one before is closed */
	post(storm, storm->now_us + trip_us(storm),
	     (struct message){ .kind = MESSAGE_WATCH,
			       .node = i,
			       .watch = storm->nodes[i].watch,
			       .revision = action->revision,
			       .watch_nodes = action->watch_nodes });
}

static void act(struct storm *storm, size_t i, struct agreement_action *action)
{
	if (action->kind == AGREEMENT_SEND)
		send(storm, i, action);
	else if (action->kind == AGREEMENT_WATCH)
		open_watch(storm, i, action);
	else if (action->kind == AGREEMENT_LEFT)
		storm->nodes[i].alive = storm->compared = false;
}

/* The driver of the real daemon writes status/<id>: once it is a member, and what it applied. */
static void tell_status(struct storm *storm, size_t i)
{
	struct storm_node *node = &storm->nodes[i];
	const struct generation *agreed = agreement_agreed(node->agreement);

	if (!agreement_is_member(node->agreement) || !agreement_lease(node->agreement) ||
	    str_eq(node->told, agreed->name))
		return;
	free(node->told);
	node->told = xstrdup(agreed->name);
	CLEAN(str) char *key = xasprintf("/cms/status/%s", node->self.id);
	struct store_request *request = store_request_new(STORE_TXN);
	struct agreement_action action = { .kind = AGREEMENT_SEND, .request = request };

	store_ops_put(&request->success, key, node->told, strlen(node->told),
		      agreement_lease(node->agreement));
	send(storm, i, &action);
}

static void arm(struct storm *storm, size_t i)
{
	struct storm_node *node = &storm->nodes[i];
	const int64_t next_ms = agreement_next_ms(node->agreement);
	int64_t at_us = next_ms == INT64_MAX ? INT64_MAX : next_ms * 1000;

	if (at_us < storm->now_us)
		at_us = storm->now_us;
	if (at_us == node->timer_us)
		return;
	node->timer_us = at_us;
	if (at_us != INT64_MAX)
		post(storm, at_us, (struct message){ .kind = MESSAGE_TIMER, .node = i });
}

static void step(struct storm *storm, size_t i, struct agreement_input *input)
{
	struct storm_node *node = &storm->nodes[i];
	struct agreement_actions actions = { 0 };

	if (!node->alive)
		return;
	input->now_ms = storm->now_us / 1000;
	input->wall_s = 1790000000 + storm->now_us / 1000000;
	agreement_step(node->agreement, input, &actions);
	for (size_t k = 0; k < actions.len; k++)
		act(storm, i, &actions.items[k]);
	agreement_actions_fini(&actions);
	tell_status(storm, i);
	arm(storm, i);
	judge(storm, i);
}

static void deliver_events(struct storm *storm, const struct message *message)
{
	const struct batch *batch = message->batch;
	const struct store_watch_report report = {
		.news = batch ? STORE_WATCH_EVENTS : STORE_WATCH_GAP,
		.events = batch ? batch->events : NULL,
		.len = batch ? batch->len : 0,
		.revision = batch ? batch->events[0].kv.mod_revision : 0,
		.text = "compacted",
	};
	struct agreement_input input = { .kind = AGREEMENT_INPUT_WATCH, .watch = &report };

	if (message->watch == storm->nodes[message->node].watch)
		step(storm, message->node, &input);
}

static void deliver(struct storm *storm, const struct message *message)
{
	struct agreement_input input = { .tag = message->tag, .reply = message->reply };

	switch (message->kind) {
	case MESSAGE_START:
		input.kind = AGREEMENT_INPUT_START;
		step(storm, message->node, &input);
		break;
	case MESSAGE_STOP:
		input.kind = AGREEMENT_INPUT_STOP;
		step(storm, message->node, &input);
		break;
	case MESSAGE_TIMER:
		if (message->at_us != storm->nodes[message->node].timer_us)
			break;
		storm->nodes[message->node].timer_us = INT64_MAX;
		input.kind = AGREEMENT_INPUT_TIME;
		step(storm, message->node, &input);
		break;
	case MESSAGE_REQUEST:
		serve(storm, message);
		break;
	case MESSAGE_WATCH:
		serve_watch(storm, message);
		break;
	case MESSAGE_EXPIRY:
		(void)memory_store_expire(storm->store, message->lease);
		tell_news(storm);
		break;
	case MESSAGE_REPLY:
		input.kind = AGREEMENT_INPUT_REPLY;
		step(storm, message->node, &input);
		break;
	case MESSAGE_EVENTS:
	case MESSAGE_GAP:
		deliver_events(storm, message);
		break;
	}
}

/* ---- storms ------------------------------------------------------------------- */

/* Runs until all have been well for QUIET_US, or the patience is over. */
static void run(struct storm *storm)
{
	const int64_t start_us = storm->now_us;
	int64_t well_us = -1;
	struct storm_toll seen = { 0 };

	while (storm->heap_len && storm->heap[0].at_us < start_us + PATIENCE_US) {
		struct message message = take(storm);

		storm->now_us = message.at_us;
		if (well_us >= 0 && storm->now_us >= well_us + QUIET_US) {
			post(storm, message.at_us, message);
			break;
		}
		deliver(storm, &message);
		message_fini(&message);
		const bool well = all_well(storm);

		if (well && (well_us < 0 || seen.generations != storm->toll.generations)) {
			well_us = storm->now_us;
			seen = storm->toll;
			for (size_t i = 0; i < storm->len; i++)
				if (storm->nodes[i].requests > seen.requests_most)
					seen.requests_most = storm->nodes[i].requests;
		}
		if (!well && seen.generations != storm->toll.generations)
			well_us = -1;
	}
	if (well_us >= 0)
		storm->toll = seen;
	storm->toll.took_ms = ((well_us >= 0 ? well_us : storm->now_us) - start_us) / 1000;
	storm->toll.nodes = storm->living;
	storm->toll.failed = storm->living - (storm->as_wished ? storm->well : 0);
}

static void begin(struct storm *storm)
{
	storm->toll = (struct storm_toll){ 0 };
	for (size_t i = 0; i < storm->len; i++)
		storm->nodes[i].requests = 0;
}

static void add_node(struct storm *storm, bool with_seed)
{
	const size_t i = storm->len++;
	struct storm_node *node = &storm->nodes[i];
	CLEAN(str) char *id = xasprintf("n%05zu", i);
	CLEAN(generation) struct generation *seed = with_seed ? world_seed() : NULL;
	const struct agreement_settings settings = { .prefix = "/cms",
						     .seed = seed,
						     .random = chance(storm),
						     .lease_ttl_s = LEASE_TTL_S,
						     .address_explicit = !storm->settings.derived };

	world_registration(&node->self, id, i == 0 ? "core" : "", (int)i + 1);
	node->self.incarnation = xasprintf("%032zx", i + 1);
	node->agreement = agreement_new(&settings, &node->self);
	node->alive = true;
	node->timer_us = INT64_MAX;
	storm->living++;
	const int64_t spread_us = i ? storm->settings.spread_ms * 1000 : 0;

	post(storm, storm->now_us + (int64_t)(chance(storm) % ((uint64_t)spread_us + 1)),
	     (struct message){ .kind = MESSAGE_START, .node = i });
}

struct storm *storm_new(const struct storm_settings *settings)
{
	struct storm *storm = xcalloc(1, sizeof(*storm));

	storm->settings = *settings;
	storm->random = settings->random;
	storm->store = memory_store_new();
	storm->told_revision = memory_store_revision(storm->store);
	storm->nodes = xcalloc(settings->nodes + 1, sizeof(*storm->nodes));
	storm->now_us = 1000000;
	if (!settings->empty) {
		add_node(storm, true);
		run(storm);
	}
	return storm;
}

void storm_free(struct storm *storm)
{
	if (!storm)
		return;
	for (size_t i = 0; i < storm->len; i++) {
		agreement_free(storm->nodes[i].agreement);
		registration_fini(&storm->nodes[i].self);
		free(storm->nodes[i].told);
	}
	for (size_t i = 0; i < storm->heap_len; i++)
		message_fini(&storm->heap[i]);
	free(storm->heap);
	free(storm->nodes);
	free(storm->current);
	memory_store_free(storm->store);
	free(storm);
}

void storm_join(struct storm *storm, struct storm_toll *ret)
{
	begin(storm);
	for (size_t i = 0; i < storm->settings.nodes; i++)
		add_node(storm, storm->settings.empty);
	run(storm);
	*ret = storm->toll;
}

/* Dies without a word: its keys stay until its lease ends. */
static void die(struct storm *storm, size_t i)
{
	struct storm_node *node = &storm->nodes[i];
	const int64_t end_us = node->renewed_us + (int64_t)LEASE_TTL_S * 1000000 +
			       (int64_t)(chance(storm) % LEASE_CHECK_US);

	post(storm, end_us > storm->now_us ? end_us : storm->now_us,
	     (struct message){ .kind = MESSAGE_EXPIRY,
			       .node = i,
			       .lease = agreement_lease(node->agreement) });
	node->alive = storm->compared = false;
	judge(storm, i);
}

void storm_leave(struct storm *storm, struct storm_toll *ret)
{
	begin(storm);
	for (size_t i = 1; i < storm->len; i += 2) {
		storm->living--;
		if (i % 4 == 1)
			post(storm, storm->now_us,
			     (struct message){ .kind = MESSAGE_STOP, .node = i });
		else
			die(storm, i);
	}
	run(storm);
	*ret = storm->toll;
}

void storm_size(const struct storm *storm, size_t *ret_entries, size_t *ret_bytes)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *folder = xasprintf("/cms/configs/%s/", storm->current);
	struct store_reply reply;

	(void)store_ops_range(&request->success, folder, true);
	memory_store_execute(storm->store, request, &reply);
	*ret_entries = reply.ranges[0].len;
	*ret_bytes = 0;
	for (size_t i = 0; i < reply.ranges[0].len; i++)
		*ret_bytes +=
			strlen(reply.ranges[0].items[i].key) + reply.ranges[0].items[i].value_len;
	store_reply_fini(&reply);
	store_request_free(request);
}
