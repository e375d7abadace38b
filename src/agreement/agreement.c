/* SPDX-License-Identifier: MIT */
/*
 * The agreement's state machine: its states, how they are entered, and the
 * table of what happens in each; beginning, pausing and leaving. Each cell is
 * one small function, kept beside its kin (agreement_internal.h says where).
 * Must never send the same transaction twice.
 */
#include "cmsnode/agreement/agreement.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define PERIOD_MS 75000 /* between reads in any case, -20 % .. +60 % */
#define LEAVE_MS 1000
#define SMALL_CLUSTER 50 /* nodes: reading all of them each minute or two is cheap */
#define PAUSE_MIN_MS 250
#define PAUSE_MAX_MS 10000
#define PAUSE_REFUSED_MS 5000
#define PAUSE_LOCKED_MS 15000 /* no space, no permission: a person has to act */
#define COLD_MS 5000 /* the store is given that long before the copy on disk is started */
#define LOOK_AGAIN_MS 5000 /* nothing agreed yet, or the store is behind */

/* ---- actions ----------------------------------------------------------- */

struct agreement_action *agreement_act(struct agreement *a, enum agreement_action_kind kind)
{
	struct agreement_actions *actions = a->actions;

	GROW(actions->items, actions->len, actions->cap);
	actions->items[actions->len] = (struct agreement_action){ .kind = kind };
	return &actions->items[actions->len++];
}

void agreement_news(struct agreement *a, bool is_trouble, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	struct agreement_action *action = agreement_act(a, AGREEMENT_NEWS);

	action->is_trouble = is_trouble;
	action->text = xstrdup(text);
}

void agreement_set_trouble(struct agreement *a, const char *text)
{
	if (str_eq(a->trouble, text))
		return;
	if (text)
		agreement_news(a, true, "%s", text);
	free(a->trouble);
	a->trouble = xstrdup(text);
}

void agreement_set_state(struct agreement *a, enum agreement_state state)
{
	a->state = state;
	a->timer_ms = INT64_MAX;
}

void agreement_converse(struct agreement *a, enum agreement_state state,
			struct store_request *request)
{
	struct agreement_action *action = agreement_act(a, AGREEMENT_SEND);

	action->request = request;
	action->tag = a->tag = ++a->last_tag;
	agreement_set_state(a, state);
}

void agreement_send_aside(struct agreement *a, struct store_request *request)
{
	struct agreement_action *action = agreement_act(a, AGREEMENT_SEND);

	action->request = request;
	action->tag = ++a->last_tag;
}

/* ---- entering states --------------------------------------------------- */

/*
 * Everybody is read only where that matters: who has our address (a derived one
 * may be vetoed by a mere listing), whose static slots are whose, and where it
 * costs little. Else 1000 nodes would read 1000 registrations each.
 */
static bool needs_all(const struct agreement *a)
{
	if (a->watching_nodes || (!a->settled && !a->address_explicit))
		return true;
	return a->agreed &&
	       (a->agreed->nodes.len <= SMALL_CLUSTER || slots_have_static(&a->agreed->slots));
}

static void read_with(struct agreement *a, bool all, bool probe)
{
	a->reread = false;
	a->read_all = all || a->want_all;
	a->want_all = false;
	struct store_request *request = agreement_request_read(a, a->read_all, false);

	request->probe = probe;
	agreement_converse(a, AGREEMENT_READING, request);
}

void agreement_enter_reading(struct agreement *a)
{
	read_with(a, needs_all(a), false);
}

void agreement_enter_paused(struct agreement *a, int64_t at_least_ms)
{
	agreement_set_state(a, AGREEMENT_PAUSED);
	a->pause_ms = a->pause_ms ? a->pause_ms * 2 : PAUSE_MIN_MS;
	if (a->pause_ms > PAUSE_MAX_MS)
		a->pause_ms = PAUSE_MAX_MS;
	int64_t wait = agreement_between(a, a->pause_ms / 4, a->pause_ms);

	if (wait < at_least_ms)
		wait = agreement_between(a, at_least_ms, at_least_ms * 5 / 4);
	a->timer_ms = a->now_ms + wait;
}

void agreement_enter_snapshot(struct agreement *a)
{
	a->read_all = true;
	agreement_end_duty(a);
	agreement_converse(a, AGREEMENT_SNAPSHOT,
			   agreement_request_read(a, true, agreement_wants_restore(a)));
}

static int64_t next_look_ms(struct agreement *a)
{
	/* One look a few seconds later costs nothing and shortens the wait. */
	if (!a->agreed || a->behind)
		return a->now_ms +
		       agreement_between(a, LOOK_AGAIN_MS * 8 / 10, LOOK_AGAIN_MS * 12 / 10);
	return a->now_ms + agreement_between(a, PERIOD_MS * 8 / 10, PERIOD_MS * 16 / 10);
}

static bool may_fold(const struct agreement *a)
{
	return a->agreed && !a->held && a->registered;
}

/* An edit of what is not followed could only do harm. */
static void refuse_edits_while_held(struct agreement *a)
{
	struct err err;

	(void)err_set(&err, ERR_CONFLICT, "%s", a->trouble ? a->trouble : "this node is held");
	while (a->held && a->edits_len && !agreement_wants_restore(a))
		agreement_end_edit(a, a->attempts_len ? ERR_UNKNOWN : err.code, err.msg);
}

void agreement_enter_following(struct agreement *a)
{
	agreement_set_state(a, AGREEMENT_FOLLOWING);
	a->pause_ms = 0;
	refuse_edits_while_held(a);
	if (a->reread)
		agreement_enter_reading(a);
	else if (agreement_wants_restore(a) || (a->edits_len && may_fold(a)) ||
		 (agreement_duty_ms(a) <= a->now_ms && may_fold(a)))
		agreement_enter_snapshot(a);
	else
		a->timer_ms = next_look_ms(a);
	/* Whether somebody is ahead of the store shows in the registrations only. */
	a->want_all = a->want_all || a->behind;
}

/* ---- FOLLOWING, PAUSED, and everywhere --------------------------------- */

static void follow_current(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	agreement_pursue_current(a);
}

static void read_again(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	agreement_enter_reading(a);
}

/* The periodic look goes to the member that we watch, so that it is proven to live. */
static void look(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	read_with(a, needs_all(a), true);
}

/* A silent watch is asked for that; this comes often. */
static void probe(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	read_with(a, false, true);
}

static void remember(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	a->reread = true;
}

/* Our own swap may be seen in the watch before its reply comes. */
static void remember_unless_ours(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (!agreement_sees_pushed(a))
		a->reread = true;
}

/* What is being fetched already is no news. */
static void remember_unless_fetched(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (strcmp(a->seen.name, a->current.name) != 0)
		a->reread = true;
}

static void trouble(struct agreement *a, const struct agreement_input *in)
{
	const struct store_reply *reply = in->reply;
	int64_t at_least_ms = reply->outcome == STORE_REFUSED ? PAUSE_REFUSED_MS : 0;

	if (reply->trouble == STORE_TROUBLE_NOSPACE || reply->trouble == STORE_TROUBLE_DENIED)
		at_least_ms = PAUSE_LOCKED_MS;
	agreement_set_trouble(a, reply->text[0] ? reply->text : "the store does not answer");
	agreement_enter_paused(a, at_least_ms);
	if (a->now_ms - a->started_ms >= COLD_MS)
		agreement_start_cold(a, "the store does not answer");
}

static void wish(struct agreement *a, const struct agreement_input *in)
{
	if (in->kind == AGREEMENT_INPUT_REGISTRATION || (a->edits_len && !a->held && !may_fold(a)))
		agreement_enter_reading(a);
	else
		agreement_enter_following(a);
}

/* Another address may be the way out; an edit is not. */
static void wish_paused(struct agreement *a, const struct agreement_input *in)
{
	if (in->kind == AGREEMENT_INPUT_REGISTRATION)
		agreement_enter_reading(a);
	else
		a->reread = true;
}

static void duty(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (may_fold(a))
		agreement_enter_snapshot(a);
	else
		agreement_end_duty(a); /* comes again with the rank */
}

static void leave(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	a->keepalive_ms = INT64_MAX;
	agreement_end_duty(a);
	if (!a->registered) {
		agreement_set_state(a, AGREEMENT_STOPPED);
		(void)agreement_act(a, AGREEMENT_LEFT);
		return;
	}
	agreement_converse(a, AGREEMENT_LEAVING, agreement_request_leave(a));
	a->timer_ms = a->now_ms + LEAVE_MS;
}

static void left(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (a->registered && in->kind == AGREEMENT_INPUT_REPLY &&
	    in->reply->outcome == STORE_DONE) {
		const int64_t deadline = a->timer_ms;

		a->registered = false;
		agreement_converse(a, AGREEMENT_LEAVING, agreement_request_revoke(a->lease));
		a->timer_ms = deadline;
		return;
	}
	agreement_set_state(a, AGREEMENT_STOPPED);
	(void)agreement_act(a, AGREEMENT_LEFT);
}

static void nothing(struct agreement *a, const struct agreement_input *in)
{
	(void)a;
	(void)in;
}

/* While a request is under way, what happens meanwhile is remembered: FOLLOWING reads again. */
#define BUSY                                                                      \
	[AGREEMENT_EVENT_CURRENT] = remember, [AGREEMENT_EVENT_DOUBT] = remember, \
	[AGREEMENT_EVENT_WISH] = remember, [AGREEMENT_EVENT_STOP] = leave
#define TROUBLES [AGREEMENT_EVENT_REFUSED] = trouble, [AGREEMENT_EVENT_UNKNOWN] = trouble

static agreement_cell *const cells[AGREEMENT_STATES][AGREEMENT_EVENTS] = {
	[AGREEMENT_IDLE] = { [AGREEMENT_EVENT_START] = read_again, [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_READING] = { [AGREEMENT_EVENT_DONE] = agreement_read_done, TROUBLES, BUSY },
	[AGREEMENT_GRANTING] = { [AGREEMENT_EVENT_DONE] = agreement_grant_done, TROUBLES, BUSY },
	[AGREEMENT_REGISTERING] = { [AGREEMENT_EVENT_DONE] = agreement_register_done,
				    [AGREEMENT_EVENT_REFUSED] = agreement_register_refused,
				    [AGREEMENT_EVENT_UNKNOWN] = trouble,
				    BUSY },
	[AGREEMENT_FETCHING] = { [AGREEMENT_EVENT_DONE] = agreement_fetch_done,
				 TROUBLES,
				 [AGREEMENT_EVENT_CURRENT] = remember_unless_fetched,
				 [AGREEMENT_EVENT_DOUBT] = remember,
				 [AGREEMENT_EVENT_WISH] = remember,
				 [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_RANKING] = { [AGREEMENT_EVENT_DONE] = agreement_rank_done,
				TROUBLES,
				[AGREEMENT_EVENT_CURRENT] = agreement_current_while_waiting,
				[AGREEMENT_EVENT_DOUBT] = remember,
				[AGREEMENT_EVENT_WISH] = remember,
				[AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_WAITING] = { [AGREEMENT_EVENT_TIMER] = agreement_wait_over,
				[AGREEMENT_EVENT_CURRENT] = agreement_current_while_waiting,
				[AGREEMENT_EVENT_DOUBT] = read_again,
				[AGREEMENT_EVENT_WISH] = read_again,
				[AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_SNAPSHOT] = { [AGREEMENT_EVENT_DONE] = agreement_snapshot_done, TROUBLES, BUSY },
	[AGREEMENT_PREPARING] = { [AGREEMENT_EVENT_DONE] = agreement_prepare_done,
				  TROUBLES,
				  [AGREEMENT_EVENT_CURRENT] = agreement_prepare_again,
				  [AGREEMENT_EVENT_DOUBT] = remember,
				  [AGREEMENT_EVENT_WISH] = remember,
				  [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_SWAPPING] = { [AGREEMENT_EVENT_DONE] = agreement_swap_done,
				 [AGREEMENT_EVENT_REFUSED] = agreement_swap_refused,
				 [AGREEMENT_EVENT_UNKNOWN] = trouble,
				 [AGREEMENT_EVENT_CURRENT] = remember_unless_ours,
				 [AGREEMENT_EVENT_DOUBT] = remember,
				 [AGREEMENT_EVENT_WISH] = remember,
				 [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_FOLLOWING] = { [AGREEMENT_EVENT_TIMER] = look,
				  [AGREEMENT_EVENT_QUIET] = probe,
				  [AGREEMENT_EVENT_CURRENT] = follow_current,
				  [AGREEMENT_EVENT_DOUBT] = read_again,
				  [AGREEMENT_EVENT_WISH] = wish,
				  [AGREEMENT_EVENT_DUTY] = duty,
				  [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_PAUSED] = { [AGREEMENT_EVENT_TIMER] = read_again,
			       [AGREEMENT_EVENT_CURRENT] = read_again,
			       [AGREEMENT_EVENT_DOUBT] = remember,
			       [AGREEMENT_EVENT_WISH] = wish_paused,
			       [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_LEAVING] = { [AGREEMENT_EVENT_DONE] = left,
				[AGREEMENT_EVENT_REFUSED] = left,
				[AGREEMENT_EVENT_UNKNOWN] = left,
				[AGREEMENT_EVENT_TIMER] = left,
				[AGREEMENT_EVENT_STOP] = left },
	[AGREEMENT_STOPPED] = { [AGREEMENT_EVENT_STOP] = nothing },
};

void agreement_dispatch(struct agreement *a, enum agreement_event event,
			const struct agreement_input *in)
{
	agreement_cell *handler = cells[a->state][event];

	if (handler)
		handler(a, in);
}
