/* SPDX-License-Identifier: MIT */
/*
 * Requests: the queue, which endpoint each goes to, and what came of it. Must
 * never send a write twice, and never call the owner from inside
 * etcd_calls_add(). What the bytes mean is etcd_codec's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/store/etcd_codec.h"

#include "etcd_internal.h"

#define REPLY_MAX_BYTES ((size_t)64 << 20)
#define PUSH_MIN_BYTES ((size_t)256 << 10)

struct etcd_call {
	struct etcd_call *next;
	struct etcd_transfer transfer;
	struct store_request *request;
	char *body;
	uint64_t tried; /* bit per endpoint */
	struct etcd_watch_mark mark; /* of the stream that this probe is to prove */
	bool proves;
	store_reply_fn *done;
	void *ctx;
};

static void finish_call(struct etcd_store *etcd, struct etcd_call *call, struct store_reply *reply);
static void on_call_end(struct etcd_transfer *transfer, const struct etcd_transfer_end *end);

/* ---- calls ------------------------------------------------------------- */

static void call_free(struct etcd_call *call)
{
	etcd_transfer_stop(&call->transfer);
	buf_fini(&call->transfer.reply);
	store_request_free(call->request);
	free(call->body);
	free(call);
}

static bool is_repeatable(const struct store_request *request)
{
	switch (request->kind) {
	case STORE_TXN:
		return store_request_is_read_only(request);
	case STORE_LEASE_GRANT:
	case STORE_LEASE_KEEPALIVE:
	case STORE_LEASE_REMAINING:
		return true;
	case STORE_LEASE_REVOKE:
		return false;
	}
	return false;
}

static struct etcd_call *call_new(struct store_request *request, store_reply_fn *done, void *ctx)
{
	struct etcd_call *call = xcalloc(1, sizeof(*call));
	const bool large = etcd_codec_size(request) > PUSH_MIN_BYTES;

	call->request = request;
	call->body = etcd_codec_request(request);
	call->done = done;
	call->ctx = ctx;
	call->transfer.kind = large ? ETCD_TRANSFER_PUSH : ETCD_TRANSFER_REQUEST;
	call->transfer.path = etcd_codec_path(request);
	call->transfer.body = call->body;
	call->transfer.body_len = strlen(call->body);
	call->transfer.resendable = is_repeatable(request);
	call->transfer.reply = (struct buf)BUF_INIT(REPLY_MAX_BYTES);
	call->transfer.on_end = on_call_end;
	return call;
}

/* Of a stream that is open only its own member can tell whether it lives: no other will do. */
static size_t endpoint_for_call(struct etcd_store *etcd, struct etcd_call *call)
{
	size_t endpoint = ETCD_NO_ENDPOINT;

	if (call->request->probe && !call->tried)
		endpoint = etcd_watch_to_prove(etcd->watch, &call->mark);
	call->proves = endpoint != ETCD_NO_ENDPOINT;
	if (!call->proves)
		return etcd_endpoint_pick(etcd, call->tried);
	call->tried = UINT64_MAX;
	return endpoint;
}

/* False if no endpoint is left for it. */
static bool start_call(struct etcd_store *etcd, struct etcd_call *call)
{
	const size_t endpoint = endpoint_for_call(etcd, call);
	if (endpoint == ETCD_NO_ENDPOINT)
		return false;
	call->transfer.endpoint = endpoint;
	call->tried |= (uint64_t)1 << endpoint;
	etcd_transfer_start(etcd, &call->transfer);
	return true;
}

void etcd_calls_start(struct etcd_store *etcd)
{
	while (etcd->calls.queue && etcd->calls.in_flight_len < ETCD_IN_FLIGHT_MAX &&
	       !etcd->dying) {
		struct etcd_call *call = etcd->calls.queue;

		etcd->calls.queue = call->next;
		if (!etcd->calls.queue)
			etcd->calls.queue_end = &etcd->calls.queue;
		if (start_call(etcd, call)) {
			etcd->calls.in_flight[etcd->calls.in_flight_len++] = call;
			continue;
		}
		struct store_reply reply;

		etcd_endpoints_unreachable(etcd, &reply);
		finish_call(etcd, call, &reply);
	}
}

static void forget_in_flight(struct etcd_store *etcd, const struct etcd_call *call)
{
	for (size_t i = 0; i < etcd->calls.in_flight_len; i++)
		if (etcd->calls.in_flight[i] == call)
			etcd->calls.in_flight[i] =
				etcd->calls.in_flight[--etcd->calls.in_flight_len];
}

static void count_reply(struct etcd_store *etcd, const struct store_request *request,
			const struct store_reply *reply)
{
	if (is_repeatable(request))
		return;
	etcd->counters.unknown += reply->outcome == STORE_UNKNOWN;
	etcd->counters.conflicts +=
		request->kind == STORE_TXN && reply->outcome == STORE_DONE && !reply->succeeded;
}

static void note_reply(struct etcd_store *etcd, const struct store_reply *reply)
{
	etcd->connected = reply->outcome != STORE_UNKNOWN;
	(void)snprintf(etcd->trouble, sizeof(etcd->trouble), "%s", reply->text);
	if (reply->cluster_id)
		etcd->cluster_id = reply->cluster_id;
	if (reply->revision)
		etcd->revision = reply->revision;
}

static void finish_call(struct etcd_store *etcd, struct etcd_call *call, struct store_reply *reply)
{
	note_reply(etcd, reply);
	count_reply(etcd, call->request, reply);
	/* A probe's answer may have ended the watch, and its owner the store. */
	if (!etcd->dying)
		call->done(call->ctx, reply);
	store_reply_fini(reply);
	call_free(call);
}

/* The endpoint did its part, whatever the answer says. */
static void fill_answer(struct etcd_store *etcd, struct etcd_call *call,
			const struct etcd_transfer_end *end, struct store_reply *ret)
{
	const struct buf *body = &call->transfer.reply;

	if (end->delivered) {
		etcd_codec_reply(call->request, end->http_status, buf_str(body), body->len, ret);
		return;
	}
	*ret = (struct store_reply){ 0 };
	store_reply_fail(ret, STORE_UNKNOWN, STORE_TROUBLE_OTHER, "%s: %s",
			 etcd_endpoint_name(etcd, call->transfer.endpoint),
			 end->too_large ? "the answer is larger than 64 MiB" : end->text);
}

/* Holds the endpoint down with what it said. */
static void blame_endpoint(struct etcd_store *etcd, struct etcd_call *call,
			   const struct etcd_transfer_end *end, const struct store_reply *reply)
{
	const struct etcd_transfer *transfer = &call->transfer;

	etcd_endpoint_failed(etcd, transfer->endpoint, transfer->started_ms,
			     end->delivered ? reply->text : end->text);
}

static void on_call_end(struct etcd_transfer *transfer, const struct etcd_transfer_end *end)
{
	struct etcd_call *call =
		(struct etcd_call *)((char *)transfer - offsetof(struct etcd_call, transfer));
	struct etcd_store *etcd = transfer->etcd;
	const bool failed = (!end->delivered && !end->too_large) || end->http_status >= 500;
	struct store_reply reply;

	fill_answer(etcd, call, end, &reply);
	etcd->counters.failures += reply.outcome == STORE_UNKNOWN;
	if (!failed) {
		etcd_endpoint_answered(etcd, transfer->endpoint);
	} else {
		blame_endpoint(etcd, call, end, &reply);
		if (is_repeatable(call->request) && start_call(etcd, call)) {
			store_reply_fini(&reply);
			return;
		}
		if (etcd_endpoints_all_fail(etcd))
			etcd_endpoints_unreachable(etcd, &reply);
	}
	if (call->proves)
		etcd_watch_probed(etcd->watch, &call->mark, &reply);
	forget_in_flight(etcd, call);
	finish_call(etcd, call, &reply);
}

/* ---- beginning and end ------------------------------------------------- */

static void on_turn(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct etcd_store *etcd = w->data;

	(void)loop;
	(void)revents;
	etcd_enter(etcd);
	etcd_calls_start(etcd);
	etcd_leave(etcd);
}

void etcd_calls_init(struct etcd_store *etcd)
{
	etcd->calls.queue_end = &etcd->calls.queue;
	ev_init(&etcd->calls.turn, on_turn);
	etcd->calls.turn.data = etcd;
}

void etcd_calls_add(struct etcd_store *etcd, struct store_request *request, store_reply_fn *done,
		    void *ctx)
{
	struct etcd_calls *calls = &etcd->calls;
	struct etcd_call *call = call_new(request, done, ctx);

	*calls->queue_end = call;
	calls->queue_end = &call->next;
	if (ev_is_active(&calls->turn))
		return;
	ev_timer_set(&calls->turn, 0.0, 0.0);
	ev_timer_start(etcd->loop, &calls->turn);
}

void etcd_calls_fini(struct etcd_store *etcd)
{
	struct etcd_calls *calls = &etcd->calls;

	while (calls->queue) {
		struct etcd_call *call = calls->queue;

		calls->queue = call->next;
		call_free(call);
	}
	for (size_t i = 0; i < calls->in_flight_len; i++)
		call_free(calls->in_flight[i]);
	ev_timer_stop(etcd->loop, &calls->turn);
}
