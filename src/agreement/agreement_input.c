/* SPDX-License-Identifier: MIT */
/*
 * The door of the agreement's state machine: what comes in from outside becomes
 * an event for the table in agreement.c; the lease's renewal, which has its own
 * conversation; construction and what may be asked.
 */
#include "cmsnode/agreement/agreement.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define PAUSE_AFTER_ANSWER_MS 500

static const char *const state_names[AGREEMENT_STATES] = {
	[AGREEMENT_IDLE] = "idle",	     [AGREEMENT_READING] = "reading",
	[AGREEMENT_GRANTING] = "granting",   [AGREEMENT_REGISTERING] = "registering",
	[AGREEMENT_FETCHING] = "fetching",   [AGREEMENT_RANKING] = "ranking",
	[AGREEMENT_WAITING] = "waiting",     [AGREEMENT_SNAPSHOT] = "snapshot",
	[AGREEMENT_PREPARING] = "preparing", [AGREEMENT_SWAPPING] = "swapping",
	[AGREEMENT_FOLLOWING] = "following", [AGREEMENT_PAUSED] = "paused",
	[AGREEMENT_LEAVING] = "leaving",     [AGREEMENT_STOPPED] = "stopped",
};

const char *agreement_state_name(enum agreement_state state)
{
	return state_names[state];
}

/* ---- chance ------------------------------------------------------------ */

/* splitmix64: names and jitter, nothing secret. */
uint64_t agreement_random(struct agreement *a)
{
	uint64_t z = a->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int64_t agreement_between(struct agreement *a, int64_t min, int64_t max)
{
	return min + (int64_t)(agreement_random(a) % (uint64_t)(max - min + 1));
}

void agreement_actions_fini(struct agreement_actions *actions)
{
	for (size_t i = 0; i < actions->len; i++) {
		store_request_free(actions->items[i].request);
		free(actions->items[i].text);
	}
	free(actions->items);
	*actions = (struct agreement_actions){ 0 };
}

/* ---- inputs ------------------------------------------------------------ */

static void on_keepalive_reply(struct agreement *a, const struct agreement_input *in)
{
	const struct store_reply *reply = in->reply;

	a->keepalive_tag = 0;
	if (reply->outcome != STORE_DONE) {
		a->keepalive_ms = a->now_ms + 1000;
		return;
	}
	/* The store answers again: no reason to sit a long pause out. */
	if (a->state == AGREEMENT_PAUSED && a->timer_ms > a->now_ms + PAUSE_AFTER_ANSWER_MS)
		a->timer_ms = a->now_ms + PAUSE_AFTER_ANSWER_MS;
	a->keepalive_ms =
		a->now_ms + agreement_between(a, a->lease_ttl_s * 300, a->lease_ttl_s * 366);
	if (reply->ttl_s[0] > 0 && reply->ttl_s[1] > 0)
		return;
	agreement_lose_lease(a);
	agreement_dispatch(a, AGREEMENT_EVENT_DOUBT, in);
}

/* Of the conversation's replies only: it stands beside what they said of `current`. */
static void note_cluster(struct agreement *a, uint64_t cluster_id)
{
	if (!cluster_id || cluster_id == a->cluster_id)
		return;
	if (a->cluster_id)
		agreement_news(
			a, true,
			"another etcd cluster answers than before: it was restored, made anew, or the endpoints lead elsewhere; nothing is touched that it does not hold");
	a->cluster_id = cluster_id;
}

static void on_reply(struct agreement *a, const struct agreement_input *in)
{
	agreement_note_contact(a, in->reply->outcome != STORE_UNKNOWN);
	if (in->tag == a->keepalive_tag && a->keepalive_tag) {
		on_keepalive_reply(a, in);
		return;
	}
	if (in->tag == a->proof.tag && a->proof.tag) {
		agreement_on_proof(a, in->reply);
		return;
	}
	if (in->tag != a->tag)
		return;
	a->tag = 0;
	note_cluster(a, in->reply->cluster_id);
	switch (in->reply->outcome) {
	case STORE_DONE:
		agreement_dispatch(a, AGREEMENT_EVENT_DONE, in);
		break;
	case STORE_REFUSED:
		agreement_dispatch(a, AGREEMENT_EVENT_REFUSED, in);
		break;
	case STORE_UNKNOWN:
		agreement_dispatch(a, AGREEMENT_EVENT_UNKNOWN, in);
		break;
	}
}

static void on_watch(struct agreement *a, const struct agreement_input *in)
{
	if (in->watch->news == STORE_WATCH_GAP) {
		a->watching = false;
		agreement_dispatch(a, AGREEMENT_EVENT_DOUBT, in);
		return;
	}
	if (in->watch->news == STORE_WATCH_QUIET) {
		agreement_dispatch(a, AGREEMENT_EVENT_QUIET, in);
		return;
	}
	for (size_t i = 0; i < in->watch->len; i++) {
		switch (agreement_watch_event(a, &in->watch->events[i])) {
		case AGREEMENT_SAW_CURRENT:
			agreement_dispatch(a, AGREEMENT_EVENT_CURRENT, in);
			break;
		case AGREEMENT_SAW_JOIN:
			agreement_note_join(a);
			break;
		case AGREEMENT_SAW_DEPARTURE:
			agreement_note_departure(a, in->watch->events[i].kv.mod_revision);
			break;
		case AGREEMENT_SAW_DOUBT:
			agreement_dispatch(a, AGREEMENT_EVENT_DOUBT, in);
			break;
		case AGREEMENT_SAW_NOTHING:
			break;
		}
	}
}

static void on_time(struct agreement *a, const struct agreement_input *in)
{
	if (a->timer_ms <= a->now_ms) {
		a->timer_ms = INT64_MAX;
		agreement_dispatch(a, AGREEMENT_EVENT_TIMER, in);
	}
	agreement_expire_edits(a);
	if (agreement_duty_ms(a) <= a->now_ms)
		agreement_dispatch(a, AGREEMENT_EVENT_DUTY, in);
	if (a->keepalive_ms <= a->now_ms && a->registered) {
		struct agreement_action *action = agreement_act(a, AGREEMENT_SEND);

		action->request = agreement_request_keepalive(a);
		action->tag = a->keepalive_tag = ++a->last_tag;
		/* The reply moves it; a reply that never comes must not silence us. */
		a->keepalive_ms = a->now_ms + a->lease_ttl_s * 1000;
	}
}

static void on_edit(struct agreement *a, const struct agreement_input *in)
{
	if (a->edits_len >= AGREEMENT_EDITS_MAX) {
		struct agreement_action *action = agreement_act(a, AGREEMENT_EDITED);

		action->edit_id = in->edit_id;
		action->code = -EBUSY;
		action->text = xstrdup("too many edits wait already: the store does not answer");
		return;
	}
	agreement_edit_init(&a->edits[a->edits_len++], in);
	agreement_dispatch(a, AGREEMENT_EVENT_WISH, in);
}

static void on_registration(struct agreement *a, const struct agreement_input *in)
{
	/* The network may change without anything that we told of it. */
	if (a->registered && registration_same_offer(&a->self, in->registration))
		return;
	/* What is being offered changes; what was applied is ours to say. */
	const int64_t epoch = a->self.applied_epoch, sequence = a->self.applied_sequence;
	char *digest = steal(a->self.applied_digest);

	registration_copy(&a->self, in->registration);
	a->self.applied_epoch = epoch;
	a->self.applied_sequence = sequence;
	free(a->self.applied_digest);
	a->self.applied_digest = digest;
	a->rewrite = a->registered;
	a->want_all = !a->address_explicit;
	agreement_dispatch(a, AGREEMENT_EVENT_WISH, in);
}

void agreement_step(struct agreement *agreement, const struct agreement_input *input,
		    struct agreement_actions *actions)
{
	agreement->now_ms = input->now_ms;
	agreement->wall_s = input->wall_s;
	agreement->actions = actions;
	switch (input->kind) {
	case AGREEMENT_INPUT_START:
		agreement->started_ms = input->now_ms;
		agreement_dispatch(agreement, AGREEMENT_EVENT_START, input);
		break;
	case AGREEMENT_INPUT_REPLY:
		on_reply(agreement, input);
		break;
	case AGREEMENT_INPUT_WATCH:
		on_watch(agreement, input);
		break;
	case AGREEMENT_INPUT_TIME:
		on_time(agreement, input);
		break;
	case AGREEMENT_INPUT_REGISTRATION:
		on_registration(agreement, input);
		break;
	case AGREEMENT_INPUT_EDIT:
	case AGREEMENT_INPUT_ACCEPT:
	case AGREEMENT_INPUT_PUBLISH:
		on_edit(agreement, input);
		break;
	case AGREEMENT_INPUT_STOP:
		agreement_dispatch(agreement, AGREEMENT_EVENT_STOP, input);
		break;
	}
	agreement->actions = NULL;
}

int64_t agreement_next_ms(const struct agreement *agreement)
{
	int64_t next = agreement->timer_ms;

	if (agreement->registered && agreement->keepalive_ms < next)
		next = agreement->keepalive_ms;
	/* Elsewhere it is taken up on the way back to FOLLOWING. */
	if (agreement->state == AGREEMENT_FOLLOWING && agreement_duty_ms(agreement) < next)
		next = agreement_duty_ms(agreement);
	if (agreement->edits_len && agreement->edits[0].deadline_ms < next)
		next = agreement->edits[0].deadline_ms;
	return next;
}

/* ---- construction, what is known --------------------------------------- */

struct agreement *agreement_new(const struct agreement_settings *settings,
				const struct registration *self)
{
	struct agreement *a = xcalloc(1, sizeof(*a));

	a->prefix = xstrdup(settings->prefix);
	a->seed = settings->seed ? generation_clone(settings->seed) : NULL;
	a->seed_at_once = settings->seed_at_once;
	a->standalone = settings->standalone;
	a->random = settings->random;
	a->lease_ttl_s = settings->lease_ttl_s;
	registration_copy(&a->self, self);
	a->agreed = settings->last_agreed ? generation_clone(settings->last_agreed) : NULL;
	a->cold = a->agreed;
	if (a->cold)
		agreement_note_applied(a);
	a->duty = (struct agreement_duty){ .rank = -1,
					   .contact_since_ms = -1,
					   .missing_since_ms = -1 };
	agreement_end_duty(a);
	a->address_explicit = settings->address_explicit;
	a->claimed = xstrdup(settings->address_before);
	agreement_forget_proof(a);
	a->timer_ms = INT64_MAX;
	a->keepalive_ms = INT64_MAX;
	return a;
}

void agreement_free(struct agreement *agreement)
{
	if (!agreement)
		return;
	generation_free(agreement->seed);
	generation_free(agreement->agreed);
	generation_free(agreement->pushed);
	generation_free(agreement->restoring);
	registration_fini(&agreement->self);
	registrations_fini(&agreement->registrations);
	reservations_fini(&agreement->reservations);
	str_list_fini(&agreement->directories);
	free(agreement->seen_value);
	free(agreement->attempts);
	for (size_t i = 0; i < agreement->edits_len; i++)
		agreement_edit_fini(&agreement->edits[i]);
	free(agreement->claimed);
	free(agreement->rival);
	agreement_forget_proof(agreement);
	agreement_forget_claims(agreement);
	free(agreement->claims);
	free(agreement->trouble);
	free(agreement->prefix);
	free(agreement);
}

enum agreement_state agreement_state_now(const struct agreement *agreement)
{
	return agreement->state;
}

const struct generation *agreement_agreed(const struct agreement *agreement)
{
	return agreement->agreed;
}

const struct current *agreement_current(const struct agreement *agreement)
{
	return &agreement->seen;
}

const struct registrations *agreement_registrations(const struct agreement *agreement)
{
	return &agreement->registrations;
}

const char *agreement_prefix(const struct agreement *agreement)
{
	return agreement->prefix;
}

const struct registration *agreement_self(const struct agreement *agreement)
{
	return &agreement->self;
}

bool agreement_is_registered(const struct agreement *agreement)
{
	return agreement->registered;
}

uint64_t agreement_lease(const struct agreement *agreement)
{
	return agreement->registered ? agreement->lease : 0;
}

bool agreement_is_member(const struct agreement *agreement)
{
	return agreement->member;
}

const char *agreement_trouble(const struct agreement *agreement)
{
	return agreement->trouble;
}

bool agreement_is_held(const struct agreement *agreement)
{
	return agreement->held;
}
