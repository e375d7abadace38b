/* SPDX-License-Identifier: MIT */
/*
 * Requests: the queue, which endpoint each goes to, and what came of it. Must
 * never send a write twice, and never call the owner from inside
 * etcd_calls_add(). What the bytes mean is etcd_codec's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/etcd_codec.h"

#include "etcd_internal.h"

#define REPLY_MAX_BYTES ((size_t)64 << 20)
#define PUSH_MIN_BYTES ((size_t)256 << 10)
#define SLOW_MS 250 /* a request that takes longer must not keep others waiting */
#define QUICK_MS 1000 /* a server that takes longer says nothing of others */

struct etcd_call {
	struct etcd_call *next;
	struct etcd_transfer transfer;
	struct store_request *request;
	char *body;
	uint64_t tried; /* bit per endpoint */
	uint64_t tried_before; /* the last one */
	unsigned int token; /* the serial of the one it was sent with */
	bool token_renewed;
	struct etcd_watch_mark mark; /* of the stream that this probe is to prove */
	bool is_bound; /* to the watch's member */
	bool proves; /* its answer says something of the stream */
	store_reply_fn *done;
	void *ctx;
};

static void finish_call(struct etcd_store *etcd, struct etcd_call *call, struct store_reply *reply);
static void count_end(struct store_counters *counters, const struct etcd_transfer_end *end,
		      enum store_outcome outcome)
{
	counters->failures += outcome == STORE_UNKNOWN;
	counters->late += end->late;
	counters->broken += !end->delivered && !end->late && !end->too_large;
	counters->server_errors += end->http_status >= 500;
	counters->refusals += end->http_status >= 400 && end->http_status < 500;
}

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

/*
 * Of a stream that is open only its own member can tell whether it lives: for a probe no other
 * will do. Any other read that happens to go there tells as much.
 */
static size_t endpoint_for_call(struct etcd_store *etcd, struct etcd_call *call)
{
	const size_t watched = etcd_watch_to_prove(etcd->watch, &call->mark);
	size_t endpoint = watched;

	call->is_bound = call->request->probe && !call->tried && watched != ETCD_NO_ENDPOINT;
	if (!call->is_bound)
		endpoint = etcd_endpoint_pick(etcd, call->tried);
	call->proves = endpoint != ETCD_NO_ENDPOINT && endpoint == watched &&
		       store_request_is_read_only(call->request);
	return endpoint;
}

enum start { STARTED, WAITS, DENIED, NOWHERE };

/* A lease is kept alive without a token, so that a new one can be waited for. */
static enum start pass_gate(struct etcd_store *etcd, const struct etcd_call *call, size_t endpoint)
{
	const enum etcd_gate gate = etcd_auth_gate(etcd, endpoint);

	if (gate == ETCD_GATE_OPEN || call->request->kind == STORE_LEASE_KEEPALIVE)
		return STARTED;
	return gate == ETCD_GATE_WAITS ? WAITS : DENIED;
}

static enum start start_call(struct etcd_store *etcd, struct etcd_call *call)
{
	const size_t endpoint = endpoint_for_call(etcd, call);
	if (endpoint == ETCD_NO_ENDPOINT)
		return NOWHERE;
	if (!etcd_server_is_known(etcd, endpoint))
		return WAITS;
	const enum start start = pass_gate(etcd, call, endpoint);
	if (start != STARTED)
		return start;
	/* Beside another one it needs a connection more, and the first proves the server. */
	call->transfer.kept_only =
		!etcd->endpoints.items[endpoint].fresh && etcd->calls.in_flight_len == 0;
	etcd->endpoints.items[endpoint].fresh = false;
	call->transfer.endpoint = endpoint;
	call->token = etcd->auth.serial;
	call->tried_before = call->tried;
	call->tried = call->is_bound ? UINT64_MAX : call->tried | (uint64_t)1 << endpoint;
	etcd->calls.in_flight[etcd->calls.in_flight_len++] = call;
	etcd_transfer_start(etcd, &call->transfer);
	return STARTED;
}

static void queue_last(struct etcd_calls *calls, struct etcd_call *call)
{
	*calls->queue_end = call;
	calls->queue_end = &call->next;
}

static void queue_first(struct etcd_calls *calls, struct etcd_call *call)
{
	call->next = calls->queue;
	if (!calls->queue)
		calls->queue_end = &call->next;
	calls->queue = call;
}

/* *at is a call of the queue's. */
static struct etcd_call *take(struct etcd_calls *calls, struct etcd_call **at)
{
	struct etcd_call *call = *at;

	*at = call->next;
	if (calls->queue_end == &call->next)
		calls->queue_end = at;
	call->next = NULL;
	return call;
}

static void turn_in(struct etcd_store *etcd, double seconds)
{
	ev_timer_stop(etcd->loop, &etcd->calls.turn);
	ev_now_update(etcd->loop);
	ev_timer_set(&etcd->calls.turn, seconds, 0.0);
	ev_timer_start(etcd->loop, &etcd->calls.turn);
}

/* Until another may be started beside those in flight; INT64_MAX: not before one of them ends. */
static int64_t must_wait_ms(const struct etcd_calls *calls)
{
	const int64_t now_ms = clock_now_ms();
	int64_t wait_ms = 0;

	if (calls->in_flight_len == ETCD_IN_FLIGHT_MAX)
		return INT64_MAX;
	for (size_t i = 0; i < calls->in_flight_len; i++) {
		const int64_t left_ms = calls->in_flight[i]->transfer.started_ms + SLOW_MS - now_ms;

		if (left_ms > wait_ms)
			wait_ms = left_ms;
	}
	return wait_ms;
}

/* Not now: when one of those in flight ends, or is found to take long. */
static bool must_wait(struct etcd_store *etcd)
{
	const int64_t wait_ms = must_wait_ms(&etcd->calls);

	if (wait_ms && wait_ms != INT64_MAX)
		turn_in(etcd, (double)wait_ms / 1000.0);
	return wait_ms;
}

void etcd_calls_start(struct etcd_store *etcd)
{
	struct etcd_calls *calls = &etcd->calls;
	struct etcd_call **at = &calls->queue;
	struct store_reply reply;

	while (*at && !etcd->dying && !must_wait(etcd)) {
		struct etcd_call *call = *at;

		switch (start_call(etcd, call)) {
		case WAITS:
			at = &call->next;
			break;
		case STARTED:
			(void)take(calls, at);
			break;
		case DENIED:
			reply = (struct store_reply){ 0 };
			store_reply_fail(&reply, STORE_REFUSED, STORE_TROUBLE_DENIED, "%s",
					 etcd->auth.denied);
			finish_call(etcd, take(calls, at), &reply);
			break;
		case NOWHERE:
			etcd_endpoints_unreachable(etcd, &reply);
			finish_call(etcd, take(calls, at), &reply);
			break;
		}
	}
}

void etcd_calls_avoid(struct etcd_store *etcd, size_t endpoint)
{
	for (struct etcd_call *call = etcd->calls.queue; call; call = call->next)
		call->tried |= (uint64_t)1 << endpoint;
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

/* Who only reads, and keeps leases alive, would not be told that nothing can be written. */
static void note_write(struct etcd_store *etcd, const struct store_request *request,
		       const struct store_reply *reply)
{
	const bool was_refusing = *etcd->refusing;

	if (request->kind != STORE_TXN || store_request_is_read_only(request))
		return;
	if (reply->outcome == STORE_DONE && reply->succeeded) {
		etcd->refusing[0] = '\0';
		if (was_refusing)
			log_info("etcd", "writes are taken again");
	} else if (reply->trouble == STORE_TROUBLE_NOSPACE ||
		   reply->trouble == STORE_TROUBLE_DENIED) {
		(void)snprintf(etcd->refusing, sizeof(etcd->refusing), "%s", reply->text);
		if (!was_refusing)
			log_warning("etcd", "a write is refused: %s, retrying again and again",
				    reply->text);
	}
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
	reply->restored = etcd->restored;
	note_reply(etcd, reply);
	note_write(etcd, call->request, reply);
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

	(end->late ? etcd_endpoint_late :
		     etcd_endpoint_failed)(etcd, transfer->endpoint, transfer->started_ms,
					   end->delivered ? reply->text : end->text);
}

static void praise_endpoint(struct etcd_store *etcd, const struct etcd_transfer *transfer)
{
	etcd_endpoint_answered(etcd, transfer->endpoint);
	if (clock_now_ms() - transfer->started_ms < QUICK_MS)
		etcd_endpoint_quick(etcd, transfer->endpoint);
}

/* Nothing was done: it begins anew. */
static void begin_again(struct etcd_store *etcd, struct etcd_call *call)
{
	call->tried = call->tried_before;
	forget_in_flight(etcd, call);
	queue_first(&etcd->calls, call);
}

/* True if the call was refused for its token, and there will be a new one. */
static bool judge_token(struct etcd_store *etcd, struct etcd_call *call,
			const struct etcd_transfer_end *end, struct store_reply *reply)
{
	if (end->empty) {
		etcd_auth_empty_answer(etcd, call->token);
		return false;
	}
	if (end->delivered && end->http_status < 400)
		etcd_auth_answer(etcd);
	if (reply->outcome != STORE_REFUSED || !etcd_codec_wants_token(reply->text))
		return false;
	if (!etcd->auth.user) {
		store_reply_fail(reply, STORE_REFUSED, STORE_TROUBLE_DENIED,
				 "etcd has users (give --etcd-user and --etcd-password-file)");
		return false;
	}
	if (call->token_renewed)
		return false;
	call->token_renewed = true;
	return etcd_auth_refused(etcd, call->token);
}

static void on_call_end(struct etcd_transfer *transfer, const struct etcd_transfer_end *end)
{
	struct etcd_call *call =
		(struct etcd_call *)((char *)transfer - offsetof(struct etcd_call, transfer));
	struct etcd_store *etcd = transfer->etcd;
	const bool failed = (!end->delivered && !end->too_large) || end->http_status >= 500;
	struct store_reply reply;

	if (end->not_kept) {
		etcd_server_forget(etcd, transfer->endpoint);
		begin_again(etcd, call);
		return;
	}
	fill_answer(etcd, call, end, &reply);
	if (judge_token(etcd, call, end, &reply)) {
		begin_again(etcd, call);
		return;
	}
	count_end(&etcd->counters, end, reply.outcome);
	if (!failed) {
		praise_endpoint(etcd, transfer);
	} else {
		blame_endpoint(etcd, call, end, &reply);
		/* Who is late has it still: sent again, it would add to what cannot be done. */
		if (!end->late && is_repeatable(call->request) &&
		    etcd_endpoint_pick(etcd, call->tried) != ETCD_NO_ENDPOINT) {
			store_reply_fini(&reply);
			forget_in_flight(etcd, call);
			queue_first(&etcd->calls, call);
			return;
		}
		if (etcd_endpoints_all_fail(etcd))
			etcd_endpoints_unreachable(etcd, &reply);
	}
	/* That a mere read failed was judged above. */
	if (call->proves && (call->is_bound || reply.outcome == STORE_DONE))
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
	queue_last(&etcd->calls, call_new(request, done, ctx));
	turn_in(etcd, 0.0);
}

void etcd_calls_fini(struct etcd_store *etcd)
{
	struct etcd_calls *calls = &etcd->calls;

	while (calls->queue)
		call_free(take(calls, &calls->queue));
	for (size_t i = 0; i < calls->in_flight_len; i++)
		call_free(calls->in_flight[i]);
	ev_timer_stop(etcd->loop, &calls->turn);
}
