/* SPDX-License-Identifier: MIT */
/*
 * The standalone backend: queues requests, carries them out on a memory store
 * at the next turn of the loop, then tells the watch. Must never call back
 * from inside send() or watch(). Leases never expire here: nobody else looks.
 */
#include "cmsnode/store/standalone.h"

#include <ev.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

struct standalone_call {
	struct standalone_call *next;
	struct store_request *request;
	store_reply_fn *done;
	void *ctx;
};

struct standalone_watch {
	struct str_list keys;
	struct str_list prefixes;
	int64_t seen;
	store_watch_fn *on_news; /* NULL: closed */
	void *ctx;
};

struct standalone_store {
	struct store store; /* must be first */
	struct ev_loop *loop;
	struct ev_timer turn;
	struct memory_store *memory;
	struct standalone_call *calls;
	struct standalone_call **calls_end;
	struct standalone_watch watch;
	bool running; /* inside a turn: a free is put off to its end */
	bool dying;
};

static void call_free(struct standalone_call *call)
{
	store_request_free(call->request);
	free(call);
}

static void destroy(struct standalone_store *standalone)
{
	while (standalone->calls) {
		struct standalone_call *call = standalone->calls;

		standalone->calls = call->next;
		call_free(call);
	}
	ev_timer_stop(standalone->loop, &standalone->turn);
	str_list_fini(&standalone->watch.keys);
	str_list_fini(&standalone->watch.prefixes);
	memory_store_free(standalone->memory);
	free(standalone);
}

static void wake(struct standalone_store *standalone)
{
	if (ev_is_active(&standalone->turn))
		return;
	ev_timer_set(&standalone->turn, 0.0, 0.0);
	ev_timer_start(standalone->loop, &standalone->turn);
}

/* ---- the turn ---------------------------------------------------------- */

static void run_call(struct standalone_store *standalone, struct standalone_call *call)
{
	CLEAN(store_reply) struct store_reply reply = { 0 };

	memory_store_execute(standalone->memory, call->request, &reply);
	call->done(call->ctx, &reply);
	call_free(call);
}

/* Only what was queued before the turn: an answer that asks again must not starve the loop. */
static void run_calls(struct standalone_store *standalone)
{
	struct standalone_call *call = standalone->calls;

	standalone->calls = NULL;
	standalone->calls_end = &standalone->calls;
	while (call) {
		struct standalone_call *next = call->next;

		if (standalone->dying)
			call_free(call);
		else
			run_call(standalone, call);
		call = next;
	}
}

static bool watches(const struct standalone_watch *watch, const char *key)
{
	if (str_list_has(&watch->keys, key))
		return true;
	for (size_t i = 0; i < watch->prefixes.len; i++)
		if (str_starts(key, watch->prefixes.items[i]))
			return true;
	return false;
}

static void report_gap(struct standalone_watch *watch)
{
	const struct store_watch_report report = {
		.news = STORE_WATCH_GAP,
		.revision = watch->seen,
		.text = "the revision to begin at is older than the history in memory",
	};
	store_watch_fn *on_news = watch->on_news;

	watch->on_news = NULL;
	on_news(watch->ctx, &report);
}

static void run_watch(struct standalone_store *standalone)
{
	struct standalone_watch *watch = &standalone->watch;
	const struct store_event *events;
	size_t len;
	size_t matching_len = 0;

	if (memory_store_events(standalone->memory, watch->seen, &events, &len) < 0) {
		report_gap(watch);
		return;
	}
	watch->seen = memory_store_revision(standalone->memory);
	/* A shallow copy: the events stay the history's. */
	struct store_event *matching = xcalloc(len, sizeof(*matching));

	for (size_t i = 0; i < len; i++)
		if (watches(watch, events[i].kv.key))
			matching[matching_len++] = events[i];
	if (matching_len) {
		const struct store_watch_report report = {
			.news = STORE_WATCH_EVENTS,
			.revision = matching[matching_len - 1].kv.mod_revision,
			.events = matching,
			.len = matching_len,
		};

		watch->on_news(watch->ctx, &report);
	}
	free(matching);
}

static void on_turn(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct standalone_store *standalone = w->data;

	(void)loop;
	(void)revents;
	standalone->running = true;
	run_calls(standalone);
	if (!standalone->dying && standalone->watch.on_news)
		run_watch(standalone);
	standalone->running = false;
	if (standalone->dying)
		destroy(standalone);
}

/* ---- the backend ------------------------------------------------------- */

static void standalone_send(struct store *store, struct store_request *request,
			    store_reply_fn *done, void *ctx)
{
	struct standalone_store *standalone = (struct standalone_store *)store;
	struct standalone_call *call = xcalloc(1, sizeof(*call));

	*call = (struct standalone_call){ .request = request, .done = done, .ctx = ctx };
	*standalone->calls_end = call;
	standalone->calls_end = &call->next;
	wake(standalone);
}

static void standalone_watch(struct store *store, const char *const *keys, size_t keys_len,
			     const char *const *prefixes, size_t prefixes_len, int64_t revision,
			     store_watch_fn *on_news, void *ctx)
{
	struct standalone_store *standalone = (struct standalone_store *)store;
	struct standalone_watch *watch = &standalone->watch;

	str_list_fini(&watch->keys);
	str_list_fini(&watch->prefixes);
	for (size_t i = 0; i < keys_len; i++)
		str_list_add(&watch->keys, keys[i]);
	for (size_t i = 0; i < prefixes_len; i++)
		str_list_add(&watch->prefixes, prefixes[i]);
	watch->seen = revision;
	watch->on_news = on_news;
	watch->ctx = ctx;
	wake(standalone);
}

static void standalone_status(const struct store *store, struct store_status *ret)
{
	const struct standalone_store *standalone = (const struct standalone_store *)store;

	*ret = (struct store_status){
		.kind = "standalone",
		.connected = true,
		.revision = memory_store_revision(standalone->memory),
		.last_contact_ms = clock_now_ms(),
	};
}

static void standalone_free(struct store *store)
{
	struct standalone_store *standalone = (struct standalone_store *)store;

	standalone->dying = true;
	if (!standalone->running)
		destroy(standalone);
}

static const struct store_backend standalone_backend = {
	.send = standalone_send,
	.watch = standalone_watch,
	.status = standalone_status,
	.free = standalone_free,
};

struct store *standalone_store_new(struct ev_loop *loop)
{
	struct standalone_store *standalone = xcalloc(1, sizeof(*standalone));

	standalone->store.backend = &standalone_backend;
	standalone->loop = loop;
	standalone->memory = memory_store_new();
	standalone->calls_end = &standalone->calls;
	ev_init(&standalone->turn, on_turn);
	standalone->turn.data = standalone;
	return &standalone->store;
}
