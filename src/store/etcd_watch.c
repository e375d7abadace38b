/* SPDX-License-Identifier: MIT */
/*
 * The watch stream. Owns the framing, what was seen per watch id, reconnecting,
 * and the judgement "nothing was missed". Must never report an event twice or
 * out of order, must never go on after something may have been missed, and
 * never calls the owner from inside etcd_watch_start().
 *
 * Each watch id has its own last seen revision: etcd brings ids up to date one
 * after the other, so the same transaction arrives once per id. A progress
 * message does not move it: older servers sent some ahead of events
 * (etcd #15220), and resuming too early only repeats what is then dropped.
 */
#include <ev.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd_codec.h"

#include "etcd_internal.h"

#define LINE_MAX_BYTES ((size_t)16 << 20)
#define BUFFER_MAX_BYTES \
	(LINE_MAX_BYTES + ((size_t)4 << 20)) /* libcurl hands over up to 1.6 MB between two looks */
#define TOO_LARGE "a message is larger than 16 MiB"
#define BACKOFF_FIRST_S 0.1
#define BACKOFF_MAX_S 5.0
/*
 * A living stream brings progress at least this often, or is to be probed. Not more: etcd's
 * default of 10 minutes between two progress messages would prove too little.
 */
#define IDLE_MAX_MS 15000
#define IDLE_MIN_MS 1000
#define LAG_MS 1000 /* for an event that a probe's answer overtook */
#define STEADY_MS 5000 /* a stream that lived that long was no failure */
#define GRPC_UNAVAILABLE 14
#define HTTP_OK 200

enum watch_state { WATCH_CLOSED, WATCH_WAITING, WATCH_ASKING, WATCH_OPENING, WATCH_OPEN };

struct watch_id {
	int64_t seen; /* all events up to here were reported */
	int64_t due; /* a probe saw a key of this revision */
	int64_t told_ms; /* created, or its last progress message */
	bool created;
};

struct etcd_watch {
	struct etcd_store *etcd;
	struct etcd_transfer transfer;
	/* WAITING: connect; OPENING: not created in time; OPEN: quiet for long, or lagging */
	struct ev_timer timer;
	enum watch_state state;
	unsigned int serial; /* changes with each stream: callbacks may have replaced it */
	struct str_list keys;
	struct str_list prefixes;
	store_watch_fn *on_news;
	void *ctx;
	char *body;
	struct watch_id *ids; /* watch_id 1.. */
	size_t ids_len;
	int64_t revision; /* highest seen of the whole store */
	int64_t floor; /* `revision` when this stream was opened */
	uint64_t cluster_id;
	size_t scanned; /* bytes of the reply known to hold no newline */
	bool was_lost; /* and not been open since */
	bool token_renewed; /* the same */
	unsigned int token; /* the serial of the stream's */
	unsigned int failures; /* in a row, for the back-off */
	int64_t opened_ms;
	int64_t progress_ms; /* shortest time between two progress messages, 0: none came */
	int64_t lag_since_ms; /* when a probe first saw what is due */
	size_t avoid; /* the endpoint that failed last */
	char trouble[200];
};

/* ---- state ------------------------------------------------------------- */

/* The only writer of the state. */
static void set_state(struct etcd_watch *watch, enum watch_state state, double timer_s)
{
	watch->state = state;
	ev_timer_stop(watch->etcd->loop, &watch->timer);
	if (state == WATCH_CLOSED || state == WATCH_ASKING)
		return;
	ev_now_update(watch->etcd->loop);
	ev_timer_set(&watch->timer, timer_s, 0.0);
	ev_timer_start(watch->etcd->loop, &watch->timer);
}

static int64_t idle_ms(const struct etcd_watch *watch)
{
	const int64_t ms = 3 * watch->progress_ms;

	if (!ms || ms > IDLE_MAX_MS)
		return IDLE_MAX_MS;
	return ms < IDLE_MIN_MS ? IDLE_MIN_MS : ms;
}

static bool is_lagging(const struct etcd_watch *watch)
{
	for (size_t i = 0; i < watch->ids_len; i++)
		if (watch->ids[i].due > watch->ids[i].seen)
			return true;
	return false;
}

static void wait_for_more(struct etcd_watch *watch)
{
	int64_t wait_ms = idle_ms(watch);

	if (is_lagging(watch))
		wait_ms = watch->lag_since_ms + LAG_MS - clock_now_ms();
	set_state(watch, WATCH_OPEN, wait_ms > 0 ? (double)wait_ms / 1000.0 : 0.0);
}

static void close_stream(struct etcd_watch *watch)
{
	etcd_transfer_stop(&watch->transfer);
	buf_fini(&watch->transfer.reply);
	free(steal(watch->body));
	watch->scanned = 0;
	watch->serial++;
}

static double backoff_s(const struct etcd_watch *watch)
{
	double cap_s = BACKOFF_FIRST_S;

	if (!watch->failures)
		return 0.0;
	for (unsigned int i = 1; i < watch->failures && cap_s < BACKOFF_MAX_S; i++)
		cap_s *= 2.0;
	if (cap_s > BACKOFF_MAX_S)
		cap_s = BACKOFF_MAX_S;
	return cap_s * (0.5 + etcd_random() / 2.0);
}

static void count_failure(struct etcd_watch *watch)
{
	if (watch->state == WATCH_OPEN && clock_now_ms() - watch->opened_ms >= STEADY_MS)
		watch->failures = 0;
	watch->failures++;
	watch->avoid = watch->transfer.endpoint;
}

/* The stream is gone, its place is known: take it up again, elsewhere if that is possible. */
static void lost(struct etcd_watch *watch, const char *why)
{
	count_failure(watch);
	close_stream(watch);
	watch->was_lost = true;
	watch->etcd->counters.failures++;
	watch->etcd->counters.watches_lost++;
	(void)snprintf(watch->trouble, sizeof(watch->trouble), "the watch on %s was lost: %s",
		       etcd_endpoint_name(watch->etcd, watch->avoid), why);
	const double wait_s = backoff_s(watch);

	log_debug("etcd", "%s, reconnecting in %.1f s", watch->trouble, wait_s);
	set_state(watch, WATCH_WAITING, wait_s);
}

/* Something may have been missed: told once, then closed until the owner starts again. */
static void __attribute__((format(printf, 2, 3)))
gap(struct etcd_watch *watch, const char *fmt, ...)
{
	char why[sizeof(watch->trouble)];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	watch->etcd->counters.gaps++;
	count_failure(watch);
	close_stream(watch);
	set_state(watch, WATCH_CLOSED, 0.0);
	(void)snprintf(watch->trouble, sizeof(watch->trouble), "the watch ended: %.160s", why);
	log_info("etcd", "watch on '%s': %s, reading again",
		 etcd_endpoint_name(watch->etcd, watch->avoid), why);
	const struct store_watch_report report = {
		.news = STORE_WATCH_GAP,
		.revision = watch->revision,
		.text = why,
	};

	watch->on_news(watch->ctx, &report);
}

static void report_quiet(struct etcd_watch *watch)
{
	const struct store_watch_report report = {
		.news = STORE_WATCH_QUIET,
		.revision = watch->revision,
	};

	watch->on_news(watch->ctx, &report);
}

/* ---- messages ---------------------------------------------------------- */

static bool all_created(const struct etcd_watch *watch)
{
	for (size_t i = 0; i < watch->ids_len; i++)
		if (!watch->ids[i].created)
			return false;
	return true;
}

static struct watch_id *find_id(struct etcd_watch *watch, int64_t id)
{
	return id >= 1 && (uint64_t)id <= watch->ids_len ? &watch->ids[id - 1] : NULL;
}

static void note_revision(struct etcd_watch *watch, int64_t revision)
{
	if (revision > watch->revision)
		watch->revision = revision;
}

/*
 * A watch is never the whole truth: after a break its owner reads once more,
 * from the same server.
 */
static void opened(struct etcd_watch *watch)
{
	const bool was_lost = watch->was_lost;

	watch->opened_ms = clock_now_ms();
	watch->avoid = ETCD_NO_ENDPOINT;
	watch->was_lost = false;
	watch->token_renewed = false;
	watch->trouble[0] = '\0';
	wait_for_more(watch);
	etcd_endpoint_answered(watch->etcd, watch->transfer.endpoint);
	if (was_lost)
		report_quiet(watch);
}

static void on_created(struct etcd_watch *watch, const struct etcd_watch_message *message)
{
	struct watch_id *id = find_id(watch, message->watch_id);

	if (watch->cluster_id && message->cluster_id && watch->cluster_id != message->cluster_id) {
		gap(watch, "another cluster answers (id %" PRIu64 " instead of %" PRIu64 ")",
		    message->cluster_id, watch->cluster_id);
		return;
	}
	/* A restored store, or a member that is behind: its silence would say nothing. */
	if (message->revision < watch->floor) {
		gap(watch, "the store is at revision %" PRId64 ", but %" PRId64 " was seen",
		    message->revision, watch->floor);
		return;
	}
	watch->cluster_id = message->cluster_id;
	note_revision(watch, message->revision);
	if (id) {
		id->created = true;
		id->told_ms = clock_now_ms();
	}
	if (watch->state == WATCH_OPENING && all_created(watch))
		opened(watch);
}

static bool in_order(const struct etcd_watch_message *message)
{
	for (size_t i = 1; i < message->len; i++)
		if (message->events[i].kv.mod_revision < message->events[i - 1].kv.mod_revision)
			return false;
	return true;
}

static void on_events(struct etcd_watch *watch, const struct etcd_watch_message *message)
{
	struct watch_id *id = find_id(watch, message->watch_id);
	size_t known = 0;

	if (!id || !in_order(message)) {
		gap(watch, "events came out of order, or for a watch that nobody asked for");
		return;
	}
	while (known < message->len && message->events[known].kv.mod_revision <= id->seen)
		known++;
	watch->failures = 0;
	note_revision(watch, message->revision);
	if (known == message->len)
		return;
	id->seen = message->events[message->len - 1].kv.mod_revision;
	note_revision(watch, id->seen);
	const struct store_watch_report report = {
		.news = STORE_WATCH_EVENTS,
		.revision = id->seen,
		.events = message->events + known,
		.len = message->len - known,
	};

	watch->on_news(watch->ctx, &report);
}

/* Events put a progress message off, so the shortest distance is the server's interval. */
static void on_progress(struct etcd_watch *watch, const struct etcd_watch_message *message)
{
	struct watch_id *id = find_id(watch, message->watch_id);

	watch->failures = 0;
	note_revision(watch, message->revision);
	if (!id)
		return;
	const int64_t now_ms = clock_now_ms();
	const int64_t ms = now_ms - id->told_ms;

	id->told_ms = now_ms;
	if (ms > 0 && (!watch->progress_ms || ms < watch->progress_ms))
		watch->progress_ms = ms;
}

/* Once between two streams that were open: it may be its permission that is missing. */
static bool renews_token(struct etcd_watch *watch, const char *text)
{
	if (watch->token_renewed || !etcd_codec_wants_token(text) ||
	    !etcd_auth_refused(watch->etcd, watch->token))
		return false;
	watch->token_renewed = true;
	lost(watch, text);
	return true;
}

static void on_error(struct etcd_watch *watch, const struct etcd_watch_message *message)
{
	/* Before it was open, "try later" is no news: the revision to begin at still holds. */
	if (watch->state == WATCH_OPENING && message->error_code == GRPC_UNAVAILABLE) {
		const size_t endpoint = watch->transfer.endpoint;
		const int64_t started_ms = watch->transfer.started_ms;

		lost(watch, message->text);
		etcd_endpoint_failed(watch->etcd, endpoint, started_ms, message->text);
		return;
	}
	if (!renews_token(watch, message->text))
		gap(watch, "etcd ended it: %s", message->text);
}

static void on_message(struct etcd_watch *watch, const struct etcd_watch_message *message)
{
	switch (message->kind) {
	case ETCD_WATCH_CREATED:
		on_created(watch, message);
		break;
	case ETCD_WATCH_EVENTS:
		on_events(watch, message);
		break;
	case ETCD_WATCH_PROGRESS:
		on_progress(watch, message);
		break;
	case ETCD_WATCH_COMPACTED:
		gap(watch, "etcd has compacted its history up to revision %" PRId64,
		    message->compact_revision);
		break;
	case ETCD_WATCH_CANCELED:
		if (renews_token(watch, message->text))
			break;
		gap(watch, "etcd cancelled it: %s",
		    *message->text ? message->text : "no reason given");
		break;
	case ETCD_WATCH_ERROR:
		on_error(watch, message);
		break;
	}
}

static bool is_blank(const char *line, size_t len)
{
	return strspn(line, " \t\r\n") >= len;
}

/* False if this stream is over, whatever runs now instead. */
static bool take_line(struct etcd_watch *watch, const char *line, size_t len)
{
	CLEAN(etcd_watch_message) struct etcd_watch_message message = { 0 };
	const unsigned int serial = watch->serial;
	struct err err = { 0 };

	if (is_blank(line, len))
		return true;
	if (len > LINE_MAX_BYTES)
		gap(watch, TOO_LARGE);
	else if (etcd_codec_watch_message(line, len, &message, &err) < 0)
		gap(watch, "%s", err.msg);
	else
		on_message(watch, &message);
	if (watch->serial != serial || watch->etcd->dying)
		return false;
	if (watch->state == WATCH_OPEN)
		wait_for_more(watch);
	return true;
}

void etcd_watch_process(struct etcd_watch *watch)
{
	struct buf *reply = &watch->transfer.reply;
	size_t at = 0;

	if (reply->len == watch->scanned || etcd_transfer_status(&watch->transfer) != HTTP_OK)
		return;
	const char *newline =
		memchr(reply->data + watch->scanned, '\n', reply->len - watch->scanned);

	while (newline) {
		const size_t len = (size_t)(newline - reply->data) - at;

		if (!take_line(watch, reply->data + at, len))
			return;
		at += len + 1;
		newline = memchr(reply->data + at, '\n', reply->len - at);
	}
	buf_consume(reply, at);
	watch->scanned = reply->len;
	if (reply->len > LINE_MAX_BYTES)
		gap(watch, TOO_LARGE);
}

/* ---- beginning and end of a stream ------------------------------------- */

/* An answer that is no stream: a refusal, or an endpoint in trouble. */
static void on_refusal(struct etcd_watch *watch, int http_status)
{
	const struct buf *reply = &watch->transfer.reply;
	CLEAN(etcd_watch_message) struct etcd_watch_message message = { 0 };
	char text[sizeof(message.text)];

	if (etcd_codec_watch_message(buf_str(reply), reply->len, &message, NULL) < 0)
		message.text[0] = '\0';
	(void)snprintf(text, sizeof(text), "%.120s (HTTP %d)",
		       *message.text ? message.text : "refused", http_status);
	if (renews_token(watch, text))
		return;
	if (http_status < 500) {
		gap(watch, "%s", text);
		return;
	}
	const size_t endpoint = watch->transfer.endpoint;
	const int64_t started_ms = watch->transfer.started_ms;

	lost(watch, text);
	etcd_endpoint_failed(watch->etcd, endpoint, started_ms, text);
}

static void on_stream_end(struct etcd_watch *watch, const struct etcd_transfer_end *end)
{
	struct buf *reply = &watch->transfer.reply;
	const char *why = end->delivered ? "etcd closed the stream" : end->text;
	const size_t endpoint = watch->transfer.endpoint;
	const int64_t started_ms = watch->transfer.started_ms;

	if (end->too_large) {
		gap(watch, TOO_LARGE);
		return;
	}
	/* Errors come last and without a newline. A torn message is no message: it comes again. */
	if (end->delivered && reply->len && !take_line(watch, reply->data, reply->len))
		return;
	/* Requests may well go on where an open stream merely ended; or the server is another. */
	const bool opening = watch->state == WATCH_OPENING;

	lost(watch, why);
	etcd_server_forget(watch->etcd, endpoint);
	if (opening)
		etcd_endpoint_failed(watch->etcd, endpoint, started_ms, why);
}

static void on_transfer_end(struct etcd_transfer *transfer, const struct etcd_transfer_end *end)
{
	struct etcd_watch *watch =
		(struct etcd_watch *)((char *)transfer - offsetof(struct etcd_watch, transfer));

	if (end->http_status && end->http_status != HTTP_OK)
		on_refusal(watch, end->http_status);
	else
		on_stream_end(watch, end);
}

static int64_t start_revision(const struct etcd_watch *watch)
{
	int64_t revision = INT64_MAX - 1;

	for (size_t i = 0; i < watch->ids_len; i++)
		if (watch->ids[i].seen < revision)
			revision = watch->ids[i].seen;
	return revision + 1;
}

static void open_stream(struct etcd_watch *watch)
{
	for (size_t i = 0; i < watch->ids_len; i++) {
		watch->ids[i].created = false;
		watch->ids[i].due = 0;
	}
	watch->progress_ms = 0;
	watch->body = etcd_codec_watch((const char *const *)watch->keys.items, watch->keys.len,
				       (const char *const *)watch->prefixes.items,
				       watch->prefixes.len, start_revision(watch));
	/* Not `revision` at each created: events of one id may overtake the next id's created. */
	watch->floor = watch->revision;
	watch->transfer.body = watch->body;
	watch->transfer.body_len = strlen(watch->body);
	watch->etcd->counters.watches++;
	set_state(watch, WATCH_OPENING, (double)etcd_patience_ms(watch->etcd) / 1000.0);
	watch->token = watch->etcd->auth.serial;
	etcd_transfer_start(watch->etcd, &watch->transfer);
}

void etcd_watch_ready(struct etcd_watch *watch)
{
	struct etcd_store *etcd = watch->etcd;
	const size_t endpoint = watch->transfer.endpoint;

	if (watch->state != WATCH_ASKING || !etcd_server_is_known(etcd, endpoint))
		return;
	switch (etcd_auth_gate(etcd, endpoint)) {
	case ETCD_GATE_OPEN:
		open_stream(watch);
		break;
	case ETCD_GATE_WAITS:
		break;
	case ETCD_GATE_DENIED:
		lost(watch, etcd->auth.denied);
		break;
	}
}

static void choose_server(struct etcd_watch *watch)
{
	watch->transfer.endpoint = etcd_endpoint_for_watch(watch->etcd, watch->avoid);
	set_state(watch, WATCH_ASKING, 0.0);
	etcd_watch_ready(watch);
}

static void not_created(struct etcd_watch *watch)
{
	static const char why[] = "no watch was created in time";
	const size_t endpoint = watch->transfer.endpoint;
	const int64_t started_ms = watch->transfer.started_ms;

	lost(watch, why);
	etcd_endpoint_late(watch->etcd, endpoint, started_ms, why);
}

static void quiet(struct etcd_watch *watch)
{
	if (is_lagging(watch)) {
		lost(watch, "it does not tell what is in the store");
		return;
	}
	wait_for_more(watch);
	report_quiet(watch);
}

static void on_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct etcd_watch *watch = w->data;
	struct etcd_store *etcd = watch->etcd;

	(void)loop;
	(void)revents;
	etcd_enter(etcd);
	switch (watch->state) {
	case WATCH_WAITING:
		choose_server(watch);
		break;
	case WATCH_OPENING:
		not_created(watch);
		break;
	case WATCH_OPEN:
		quiet(watch);
		break;
	case WATCH_CLOSED:
	case WATCH_ASKING:
		break;
	}
	etcd_leave(etcd);
}

/* ---- probes ------------------------------------------------------------- */

size_t etcd_watch_to_prove(const struct etcd_watch *watch, struct etcd_watch_mark *ret)
{
	if (watch->state != WATCH_OPEN)
		return ETCD_NO_ENDPOINT;
	*ret = (struct etcd_watch_mark){ .serial = watch->serial, .revision = watch->revision };
	return watch->transfer.endpoint;
}

/* NULL if it is of no watch. Keys come first, then prefixes, as their ids do. */
static struct watch_id *id_of_key(struct etcd_watch *watch, const char *key)
{
	for (size_t i = 0; i < watch->keys.len; i++)
		if (str_eq(watch->keys.items[i], key))
			return &watch->ids[i];
	for (size_t i = 0; i < watch->prefixes.len; i++)
		if (str_starts(key, watch->prefixes.items[i]))
			return &watch->ids[watch->keys.len + i];
	return NULL;
}

static void note_due(struct etcd_watch *watch, const struct store_kvs *kvs)
{
	for (size_t i = 0; i < kvs->len; i++) {
		struct watch_id *id = id_of_key(watch, kvs->items[i].key);

		if (id && kvs->items[i].mod_revision > id->due)
			id->due = kvs->items[i].mod_revision;
	}
}

void etcd_watch_probed(struct etcd_watch *watch, const struct etcd_watch_mark *mark,
		       const struct store_reply *reply)
{
	if (watch->serial != mark->serial || watch->state != WATCH_OPEN ||
	    reply->outcome == STORE_REFUSED)
		return;
	if (reply->outcome == STORE_UNKNOWN) {
		lost(watch, reply->text);
		return;
	}
	if (watch->cluster_id && reply->cluster_id && watch->cluster_id != reply->cluster_id) {
		gap(watch, "another cluster answers (id %" PRIu64 " instead of %" PRIu64 ")",
		    reply->cluster_id, watch->cluster_id);
		return;
	}
	if (reply->revision < mark->revision) {
		gap(watch, "the store is at revision %" PRId64 ", but %" PRId64 " was seen",
		    reply->revision, mark->revision);
		return;
	}
	const bool lagged = is_lagging(watch);

	for (size_t i = 0; i < reply->ranges_len; i++)
		note_due(watch, &reply->ranges[i]);
	if (!lagged && is_lagging(watch))
		watch->lag_since_ms = clock_now_ms();
	wait_for_more(watch);
}

/* ---- for the others --------------------------------------------------------- */

struct etcd_watch *etcd_watch_new(struct etcd_store *etcd)
{
	struct etcd_watch *watch = xcalloc(1, sizeof(*watch));

	watch->etcd = etcd;
	watch->avoid = ETCD_NO_ENDPOINT;
	watch->transfer.kind = ETCD_TRANSFER_WATCH;
	watch->transfer.path = "/watch";
	watch->transfer.resendable = true;
	watch->transfer.reply = (struct buf)BUF_INIT(BUFFER_MAX_BYTES);
	watch->transfer.on_end = on_transfer_end;
	ev_init(&watch->timer, on_timer);
	watch->timer.data = watch;
	return watch;
}

void etcd_watch_free(struct etcd_watch *watch)
{
	if (!watch)
		return;
	close_stream(watch);
	ev_timer_stop(watch->etcd->loop, &watch->timer);
	str_list_fini(&watch->keys);
	str_list_fini(&watch->prefixes);
	free(watch->ids);
	free(watch);
}

static void copy_list(struct str_list *to, const char *const *from, size_t len)
{
	str_list_fini(to);
	for (size_t i = 0; i < len; i++)
		str_list_add(to, from[i]);
}

void etcd_watch_start(struct etcd_watch *watch, const char *const *keys, size_t keys_len,
		      const char *const *prefixes, size_t prefixes_len, int64_t revision,
		      uint64_t cluster_id, store_watch_fn *on_news, void *ctx)
{
	close_stream(watch);
	copy_list(&watch->keys, keys, keys_len);
	copy_list(&watch->prefixes, prefixes, prefixes_len);
	free(watch->ids);
	watch->ids_len = keys_len + prefixes_len;
	watch->ids = xcalloc(watch->ids_len, sizeof(*watch->ids));
	for (size_t i = 0; i < watch->ids_len; i++)
		watch->ids[i].seen = revision;
	watch->revision = revision;
	watch->cluster_id = cluster_id;
	watch->on_news = on_news;
	watch->ctx = ctx;
	watch->was_lost = false;
	/* After failures it waits even so: an owner that starts again at once must not spin. */
	set_state(watch, WATCH_WAITING, backoff_s(watch));
}

void etcd_watch_not_ready(struct etcd_watch *watch, size_t endpoint, const char *why)
{
	if (watch->state == WATCH_ASKING && watch->transfer.endpoint == endpoint)
		lost(watch, why);
}

void etcd_watch_retry(struct etcd_watch *watch)
{
	if (watch->state == WATCH_WAITING)
		set_state(watch, WATCH_WAITING, 0.0);
}

void etcd_watch_endpoint_failed(struct etcd_watch *watch, size_t endpoint)
{
	if (watch->state != WATCH_CLOSED && watch->state != WATCH_WAITING &&
	    watch->transfer.endpoint == endpoint)
		lost(watch, "requests to the same endpoint fail");
}

int64_t etcd_watch_revision(const struct etcd_watch *watch)
{
	return watch->revision;
}

const char *etcd_watch_trouble(const struct etcd_watch *watch)
{
	return *watch->trouble ? watch->trouble : NULL;
}
