/* SPDX-License-Identifier: MIT */
/* Drives the agreement on a store and a loop. Decides nothing: what to do is agreement.c's. */
#include "cmsnode/agreement/agreement_driver.h"

#include <stdlib.h>
#include <string.h>

#include <ev.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/store.h"

#define JOINING_MS 5000
#define STATUS_BURST 15 /* writes of status/<id> at once; then one each: */
#define STATUS_EACH_MS 3000
#define STATUS_AGAIN_MS 1000 /* after a status that could not be written, doubling */
#define STATUS_AGAIN_MAX_MS 32000

struct waiting_edit {
	uint64_t id;
	agreement_edited_fn *done;
	void *ctx;
	struct waiting_edit *next;
};

/*
 * A request whose reply is awaited; on the driver's list, so that what never comes is freed with
 * the driver.
 */
struct pending {
	struct agreement_driver *driver;
	uint64_t tag;
	agreement_read_fn *read; /* somebody's look at keys, not the agreement's own request */
	size_t read_len; /* ranges */
	void *ctx;
	struct pending *next;
};

struct agreement_driver {
	struct ev_loop *loop;
	struct store *store;
	struct agreement *agreement;
	struct agreement_driver_events events;
	ev_timer timer;
	char *prefix;
	struct pending *pending;
	struct waiting_edit *edits;
	uint64_t last_edit;

	char *status, *status_written; /* NULL = none */
	uint64_t status_lease; /* under which status_written was written */
	bool status_under_way;
	int64_t status_paid_ms; /* each write moves it on by STATUS_EACH_MS, but not past now */
	int64_t status_pause_ms; /* 0 = the last one could be written */
	int64_t status_not_before_ms;
	uint64_t lease_seen;
	int64_t lease_since_ms;
	ev_timer status_timer;
};

static void step(struct agreement_driver *driver, struct agreement_input *input);

/* ---- requests ---------------------------------------------------------- */

static struct pending *pending_new(struct agreement_driver *driver)
{
	struct pending *pending = xcalloc(1, sizeof(*pending));

	pending->driver = driver;
	pending->next = driver->pending;
	driver->pending = pending;
	return pending;
}

/* Takes it off the list; a copy stays with the caller. */
static struct pending pending_end(struct pending *pending)
{
	const struct pending copy = *pending;
	struct pending **p = &copy.driver->pending;

	while (*p != pending)
		p = &(*p)->next;
	*p = pending->next;
	free(pending);
	return copy;
}

static void on_reply(void *ctx, struct store_reply *reply)
{
	const struct pending pending = pending_end(ctx);
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REPLY,
					 .tag = pending.tag,
					 .reply = reply };

	step(pending.driver, &input);
}

static void send_request(struct agreement_driver *driver, struct agreement_action *action)
{
	struct pending *pending = pending_new(driver);

	pending->tag = action->tag;
	store_send(driver->store, steal(action->request), on_reply, pending);
}

static void on_news(void *ctx, const struct store_watch_report *report)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_WATCH, .watch = report };

	if (report->news == STORE_WATCH_GAP)
		log_info("agreement", "reading everything again: %s",
			 report->text ? report->text : "the watch broke");
	step(ctx, &input);
}

/* The few that fold for others watch all nodes; the rest their own key only. */
static void start_watch(struct agreement_driver *driver, int64_t revision, bool nodes)
{
	CLEAN(str) char *current = xasprintf("%s/current", driver->prefix);
	CLEAN(str) char *own =
		xasprintf("%s/nodes/%s", driver->prefix, agreement_self(driver->agreement)->id);
	CLEAN(str) char *all = xasprintf("%s/nodes/", driver->prefix);
	CLEAN(str) char *reserved = xasprintf("%s/reserved/", driver->prefix);
	const char *keys[] = { current, own };
	const char *prefixes[] = { all, reserved };

	driver->store->backend->watch(driver->store, keys, nodes ? 1 : 2, prefixes, nodes ? 2 : 0,
				      revision, on_news, driver);
}

static void end_edit(struct agreement_driver *driver, const struct agreement_action *action)
{
	for (struct waiting_edit **p = &driver->edits; *p; p = &(*p)->next) {
		struct waiting_edit *edit = *p;
		if (edit->id != action->edit_id)
			continue;
		*p = edit->next;
		edit->done(edit->ctx, action->code, action->text);
		free(edit);
		return;
	}
}

static void execute(struct agreement_driver *driver, struct agreement_action *action)
{
	switch (action->kind) {
	case AGREEMENT_SEND:
		send_request(driver, action);
		break;
	case AGREEMENT_WATCH:
		start_watch(driver, action->revision, action->watch_nodes);
		break;
	case AGREEMENT_APPLY:
		driver->events.agreed(driver->events.ctx);
		break;
	case AGREEMENT_EDITED:
		end_edit(driver, action);
		break;
	case AGREEMENT_NEWS:
		if (action->is_trouble)
			log_warning("agreement", "%s", action->text);
		else
			log_info("agreement", "%s", action->text);
		break;
	case AGREEMENT_LEFT:
		driver->events.left(driver->events.ctx);
		break;
	case AGREEMENT_CONTESTED:
		driver->events.contested(driver->events.ctx, action->text);
		break;
	case AGREEMENT_REFUSED:
		driver->events.refused(driver->events.ctx, action->is_twin, action->text);
		break;
	}
}

static void arm(struct agreement_driver *driver)
{
	const int64_t next = agreement_next_ms(driver->agreement);

	ev_timer_stop(driver->loop, &driver->timer);
	if (next == INT64_MAX)
		return;
	const int64_t wait = next - clock_now_ms();

	ev_now_update(driver->loop);
	ev_timer_set(&driver->timer, wait > 0 ? (double)wait / 1000.0 : 0.0, 0.0);
	ev_timer_start(driver->loop, &driver->timer);
}

static void step(struct agreement_driver *driver, struct agreement_input *input)
{
	struct agreement_actions actions = { 0 };

	input->now_ms = clock_now_ms();
	input->wall_s = (int64_t)clock_wall_s();
	agreement_step(driver->agreement, input, &actions);
	log_debug("agreement", "state %s",
		  agreement_state_name(agreement_state_now(driver->agreement)));
	for (size_t i = 0; i < actions.len; i++)
		execute(driver, &actions.items[i]);
	agreement_actions_fini(&actions);
	arm(driver);
	driver->events.changed(driver->events.ctx);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	struct agreement_input input = { .kind = AGREEMENT_INPUT_TIME };

	step(w->data, &input);
}

/* ---- status/<id> ------------------------------------------------------- */

static void on_status_written(void *ctx, struct store_reply *reply)
{
	struct agreement_driver *driver = ctx;

	driver->status_under_way = false;
	if (reply->outcome == STORE_DONE && reply->succeeded) {
		driver->status_pause_ms = 0;
		return;
	}
	driver->status_lease = 0; /* again, but not at each tick: nobody depends on it */
	driver->status_pause_ms =
		driver->status_pause_ms ? driver->status_pause_ms * 2 : STATUS_AGAIN_MS;
	if (driver->status_pause_ms > STATUS_AGAIN_MAX_MS)
		driver->status_pause_ms = STATUS_AGAIN_MAX_MS;
	driver->status_not_before_ms = clock_now_ms() + driver->status_pause_ms;
}

static void write_status(struct agreement_driver *driver, uint64_t lease)
{
	struct store_request *request = store_request_new(STORE_TXN);
	const char *id = agreement_self(driver->agreement)->id;
	CLEAN(str) char *own = xasprintf("%s/nodes/%s", driver->prefix, id);
	CLEAN(str) char *path = xasprintf("%s/status/%s", driver->prefix, id);

	store_request_compare(request, STORE_COMPARE_LEASE, own, (int64_t)lease);
	store_ops_put(&request->success, path, driver->status, strlen(driver->status), lease);
	free(driver->status_written);
	driver->status_written = xstrdup(driver->status);
	driver->status_lease = lease;
	driver->status_under_way = true;
	store_send(driver->store, request, on_status_written, driver);
}

/* A join takes a moment, and hundreds may join: "joining" is told of those only that get stuck. */
static bool is_worth_telling(struct agreement_driver *driver, uint64_t lease)
{
	const int64_t now_ms = clock_now_ms();

	if (lease != driver->lease_seen) {
		driver->lease_seen = lease;
		driver->lease_since_ms = now_ms;
		driver->status_paid_ms = 0; /* what was written is gone */
	}
	return lease && (agreement_is_member(driver->agreement) ||
			 now_ms - driver->lease_since_ms >= JOINING_MS);
}

/* Units that end again and again would otherwise write without end, on all nodes at once. */
static bool may_write_status(struct agreement_driver *driver)
{
	const int64_t now_ms = clock_now_ms();
	const int64_t earliest_ms = now_ms - (int64_t)STATUS_BURST * STATUS_EACH_MS;

	if (driver->status_paid_ms < earliest_ms)
		driver->status_paid_ms = earliest_ms;
	if (driver->status_paid_ms + STATUS_EACH_MS > now_ms)
		return false;
	driver->status_paid_ms += STATUS_EACH_MS;
	return true;
}

/* Level-triggered: whatever was lost or came meanwhile is caught up at a later tick. */
static void catch_up_status(struct agreement_driver *driver)
{
	const uint64_t lease = agreement_lease(driver->agreement);

	if (!is_worth_telling(driver, lease) || !driver->status || driver->status_under_way ||
	    clock_now_ms() < driver->status_not_before_ms)
		return;
	if (driver->status_lease == lease && driver->status_written &&
	    strcmp(driver->status, driver->status_written) == 0)
		return;
	if (may_write_status(driver))
		write_status(driver, lease);
}

static void on_status_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	catch_up_status(w->data);
}

void agreement_driver_set_status(struct agreement_driver *driver, const char *json)
{
	free(driver->status);
	driver->status = xstrdup(json);
	catch_up_status(driver);
}

/* ---- reading for others -------------------------------------------------- */

static void on_read(void *ctx, struct store_reply *reply)
{
	const struct pending pending = pending_end(ctx);
	const bool ok = reply->outcome == STORE_DONE && reply->ranges_len == pending.read_len;

	pending.read(pending.ctx, ok ? reply->ranges : NULL, ok ? reply->ranges_len : 0,
		     ok ? NULL : reply->text);
}

void agreement_driver_read(struct agreement_driver *driver, const struct str_list *paths,
			   agreement_read_fn *done, void *ctx)
{
	struct store_request *request = store_request_new(STORE_TXN);
	struct pending *pending = pending_new(driver);

	pending->read = done;
	pending->read_len = paths->len;
	pending->ctx = ctx;
	for (size_t i = 0; i < paths->len; i++) {
		CLEAN(str) char *key = xasprintf("%s/%s", driver->prefix, paths->items[i]);

		(void)store_ops_range(&request->success, key, str_ends(key, "/"));
	}
	store_send(driver->store, request, on_read, pending);
}

/* ---- construction and inputs ------------------------------------------- */

struct agreement_driver *agreement_driver_new(struct ev_loop *loop, struct store *store,
					      const struct agreement_settings *settings,
					      const struct registration *self,
					      const struct agreement_driver_events *events)
{
	struct agreement_driver *driver = xcalloc(1, sizeof(*driver));

	driver->loop = loop;
	driver->store = store;
	driver->agreement = agreement_new(settings, self);
	driver->events = *events;
	driver->prefix = xstrdup(settings->prefix);
	ev_init(&driver->timer, on_timer);
	driver->timer.data = driver;
	ev_timer_init(&driver->status_timer, on_status_timer, 0.5, 0.5);
	driver->status_timer.data = driver;
	return driver;
}

void agreement_driver_free(struct agreement_driver *driver)
{
	if (!driver)
		return;
	ev_timer_stop(driver->loop, &driver->timer);
	ev_timer_stop(driver->loop, &driver->status_timer);
	while (driver->edits) {
		struct waiting_edit *edit = driver->edits;

		driver->edits = edit->next;
		free(edit);
	}
	while (driver->pending)
		(void)pending_end(driver->pending);
	agreement_free(driver->agreement);
	free(driver->status);
	free(driver->status_written);
	free(driver->prefix);
	free(driver);
}

const struct agreement *agreement_driver_agreement(const struct agreement_driver *driver)
{
	return driver->agreement;
}

void agreement_driver_start(struct agreement_driver *driver)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_START };

	ev_timer_start(driver->loop, &driver->status_timer);
	step(driver, &input);
}

void agreement_driver_set_registration(struct agreement_driver *driver,
				       const struct registration *self)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = self };

	step(driver, &input);
}

static void ask(struct agreement_driver *driver, struct agreement_input *input,
		agreement_edited_fn *done, void *ctx)
{
	struct waiting_edit *edit = xmalloc(sizeof(*edit));

	*edit = (struct waiting_edit){ ++driver->last_edit, done, ctx, driver->edits };
	driver->edits = edit;
	input->edit_id = edit->id;
	step(driver, input);
}

void agreement_driver_edit(struct agreement_driver *driver, const struct edits *edits,
			   const char *author, const char *reason, agreement_edited_fn *done,
			   void *ctx)
{
	struct agreement_input input = {
		.kind = AGREEMENT_INPUT_EDIT, .edits = edits, .author = author, .reason = reason
	};

	ask(driver, &input, done, ctx);
}

void agreement_driver_restore(struct agreement_driver *driver, bool publish, const char *author,
			      const char *reason, agreement_edited_fn *done, void *ctx)
{
	struct agreement_input input = { .kind = publish ? AGREEMENT_INPUT_PUBLISH :
							   AGREEMENT_INPUT_ACCEPT,
					 .author = author,
					 .reason = reason };

	ask(driver, &input, done, ctx);
}

void agreement_driver_stop(struct agreement_driver *driver)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_STOP };

	ev_timer_stop(driver->loop, &driver->status_timer);
	step(driver, &input);
}
