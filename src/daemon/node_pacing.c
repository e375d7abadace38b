/* SPDX-License-Identifier: MIT */
/*
 * ContestWebServers restart a few at a time over the whole cluster, so that
 * contestants always find one: a queue in the store, locks/contest-web/<id>
 * under each node's lease, whose oldest `restart_at_once` entries have their
 * turn. A node restarts one after the other, each after the former is healthy
 * again, and then leaves the queue; a node that dies leaves it with its lease.
 * Pacing only, never safety: with the store away each goes on by itself, after a
 * random wait.
 *
 *   IDLE ──wanted──> QUEUED ──our turn──> TURN ──nothing left──> IDLE
 *                      └──the store is silent──> TURN (alone)
 */
#include "node_internal.h"

#include <stdlib.h>
#include <sys/random.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/supervision/supervisor.h"

#define QUEUE "locks/contest-web/"
#define LOOK_S 1.0
#define SILENT_MS 10000 /* the store does not answer for so long: no queue */
#define SPLAY_MS 30000

static const char paced[] = "ContestWebServer";

static void look_later(struct node *node, double seconds)
{
	struct pacing *pacing = &node->pacing;

	ev_timer_stop(node->loop, &pacing->timer);
	ev_timer_set(&pacing->timer, seconds, 0.0);
	ev_timer_start(node->loop, &pacing->timer);
}

static char *own_key(const struct node *node)
{
	const struct agreement *agreement = agreement_driver_agreement(node->driver);

	return xasprintf("%s/" QUEUE "%s", agreement_prefix(agreement), node->self.id);
}

/* ---- the queue ----------------------------------------------------------------- */

static void take_turn(struct node *node, const char *how)
{
	node->pacing.state = PACING_TURN;
	node->pacing.shard = -1;
	log_info("topology", "%ss of this node restart now, one by one%s", paced, how);
	node_derive(node);
}

static bool has_turn(const struct node *node, const struct store_kvs *queue)
{
	CLEAN(str) char *key = own_key(node);

	return store_kvs_find(queue, key) != NULL;
}

static void on_queue(void *ctx, struct store_reply *reply)
{
	struct node *node = ctx;
	struct pacing *pacing = &node->pacing;

	pacing->asking = false;
	if (pacing->state != PACING_QUEUED || node->stopping)
		return;
	if (reply->outcome == STORE_DONE)
		pacing->answered_ms = clock_now_ms();
	if (reply->outcome == STORE_DONE && reply->ranges_len == 1 &&
	    has_turn(node, &reply->ranges[0]))
		take_turn(node, "");
	else
		look_later(node, LOOK_S);
}

/* Puts our entry if it is not there (an older one keeps its place), and looks who is in front. */
static void ask(struct node *node, uint64_t lease)
{
	const struct generation *generation = node_agreed(node);
	const struct agreement *agreement = agreement_driver_agreement(node->driver);
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *key = own_key(node);
	CLEAN(str) char *queue = xasprintf("%s/" QUEUE, agreement_prefix(agreement));

	store_request_compare(request, STORE_COMPARE_LEASE, key, (int64_t)lease);
	store_ops_put(&request->failure, key, "", 0, lease);
	struct store_op *look = store_ops_range(&request->success, queue, true);

	look->range.oldest_first = true;
	look->range.keys_only = true;
	look->range.limit = generation->policy.restart_at_once;
	node->pacing.asking = true;
	store_send(node->store, request, on_queue, node);
}

/* Spread out, since nobody can say whose turn it is. */
static int64_t splay_ms(void)
{
	uint32_t value = 0;

	(void)!getrandom(&value, sizeof(value), 0);
	return value % SPLAY_MS;
}

static void on_time(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct node *node = w->data;
	struct pacing *pacing = &node->pacing;
	const uint64_t lease = agreement_lease(agreement_driver_agreement(node->driver));

	(void)loop;
	(void)revents;
	if (pacing->state != PACING_QUEUED || node->stopping)
		return;
	if (clock_now_ms() - pacing->answered_ms >= SILENT_MS + pacing->splay_ms) {
		take_turn(node, ": the store is silent, nobody can be asked");
		return;
	}
	look_later(node, LOOK_S);
	if (lease && !pacing->asking)
		ask(node, lease);
}

static void on_left(void *ctx, struct store_reply *reply)
{
	(void)ctx;
	(void)reply; /* if it is lost, the lease ends it */
}

static void leave_queue(struct node *node)
{
	const uint64_t lease = agreement_lease(agreement_driver_agreement(node->driver));
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *key = own_key(node);

	node->pacing.state = PACING_IDLE;
	ev_timer_stop(node->loop, &node->pacing.timer);
	store_request_compare(request, STORE_COMPARE_LEASE, key, (int64_t)lease);
	store_ops_delete(&request->success, key, false);
	store_send(node->store, request, on_left, node);
}

/* ---- for node_apply.c and node.c -------------------------------------------------- */

void node_pacing_init(struct node *node)
{
	ev_init(&node->pacing.timer, on_time);
	node->pacing.timer.data = node;
}

void node_pacing_stop(struct node *node)
{
	ev_timer_stop(node->loop, &node->pacing.timer);
}

void node_pacing_begin(struct node *node)
{
	node->pacing.wanted = false;
}

bool node_pacing_allows(struct node *node, const struct unit_status *unit)
{
	struct pacing *pacing = &node->pacing;

	if (!str_eq(unit->service, paced) || node_agreed(node)->meta.at_once)
		return true;
	pacing->wanted = true;
	if (pacing->state == PACING_TURN && pacing->shard < 0) {
		pacing->shard = unit->shard;
		pacing->pid = unit->pid;
	}
	return pacing->state == PACING_TURN && pacing->shard == unit->shard;
}

void node_pacing_end(struct node *node)
{
	struct pacing *pacing = &node->pacing;

	if (pacing->wanted && pacing->state == PACING_IDLE) {
		pacing->state = PACING_QUEUED;
		pacing->answered_ms = clock_now_ms();
		pacing->splay_ms = splay_ms();
		look_later(node, 0.0);
	} else if (!pacing->wanted && pacing->state != PACING_IDLE && pacing->shard < 0) {
		leave_queue(node);
	}
}

/* Is the one that restarts back as another process, or gone? */
static bool is_through(const struct node *node)
{
	for (size_t i = 0; i < supervisor_count(node->supervisor); i++) {
		struct unit_status unit;

		supervisor_status(node->supervisor, i, &unit);
		if (str_eq(unit.service, paced) && unit.shard == node->pacing.shard)
			return unit.state == UNIT_DISABLED || unit.state == UNIT_STOPPED ||
			       (unit.state == UNIT_RUNNING && unit.healthy &&
				unit.pid != node->pacing.pid);
	}
	return true;
}

void node_pacing_look(struct node *node)
{
	struct pacing *pacing = &node->pacing;

	if (pacing->state != PACING_TURN || pacing->shard < 0 || !is_through(node))
		return;
	pacing->shard = -1;
	node_derive(node);
}
