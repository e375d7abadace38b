/* SPDX-License-Identifier: MIT */
/*
 * Ourselves in the store: reading, leases, the registration. Must never write
 * over a registration that is not ours, and never take away what runs because a
 * lease has ended.
 */
#include "cmsnode/agreement/agreement.h"

#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define WINDOW_S 600 /* until a policy is known */

bool agreement_is_pending(const struct agreement *a)
{
	return a->own_mod_revision > a->seen.folded;
}

/* ---- GRANTING ----------------------------------------------------------- */

static int64_t wanted_window_s(const struct agreement *a)
{
	if (a->agreed)
		return a->agreed->policy.rejoin_window_s;
	return a->seed ? a->seed->policy.rejoin_window_s : WINDOW_S;
}

static uint64_t new_lease(struct agreement *a)
{
	return agreement_random(a) >> 1 | 1;
}

static void grant_reserved(struct agreement *a)
{
	a->granted_reserved = true;
	a->window_s = wanted_window_s(a);
	agreement_converse(a, AGREEMENT_GRANTING,
			   agreement_request_grant(a->reserved_lease, a->window_s));
}

static void enter_granting(struct agreement *a)
{
	a->lease = new_lease(a);
	a->reserved_lease = new_lease(a);
	a->granted_reserved = false;
	agreement_converse(a, AGREEMENT_GRANTING,
			   agreement_request_grant(a->lease, a->lease_ttl_s));
}

/* The agreed window has changed: the next reservation lasts as long as it says. */
static void change_window(struct agreement *a)
{
	a->old_leases[1] = a->reserved_lease;
	a->reserved_lease = new_lease(a);
	grant_reserved(a);
}

void agreement_grant_done(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (!a->granted_reserved) {
		grant_reserved(a);
		return;
	}
	if (a->keepalive_ms == INT64_MAX || !a->registered)
		a->keepalive_ms = a->now_ms + a->lease_ttl_s * 1000 / 3;
	agreement_converse(a, AGREEMENT_REGISTERING, agreement_request_register(a));
}

/* ---- READING ------------------------------------------------------------ */

static void watch_from(struct agreement *a, int64_t revision, bool nodes)
{
	struct agreement_action *action = agreement_act(a, AGREEMENT_WATCH);

	a->watching = true;
	a->watching_nodes = nodes;
	action->revision = revision;
	action->watch_nodes = nodes;
}

/*
 * The few oldest nodes watch the others, so that departures are noticed; a
 * watch that did not show what the read shows begins anew.
 */
static void keep_watch(struct agreement *a, const struct store_reply *reply, bool missed)
{
	const bool nodes = a->read_all ? a->duty.rank >= 0 : a->watching_nodes;

	if (!a->watching || missed || nodes != a->watching_nodes)
		watch_from(a, reply->revision, nodes);
}

/* True if our registration, and the claim with it, stand under our lease. */
static bool own_keys_stand(const struct agreement *a, const struct registration *own)
{
	if (!own || !a->lease || own->lease != a->lease)
		return false;
	/* Of another address than the present one no claim can stand yet. */
	return !a->self.address[0] || agreement_has_own_claim(a) ||
	       !str_eq(own->address, a->self.address);
}

static void note_own(struct agreement *a, const struct registration *own)
{
	a->registered = own_keys_stand(a, own);
	a->own_mod_revision = own ? own->mod_revision : 0;
	a->own_create_revision = own ? own->create_revision : 0;
	if (own && a->registered) {
		a->written_epoch = own->applied_epoch;
		a->written_sequence = own->applied_sequence;
		if (!registration_same_offer(own, &a->self))
			a->rewrite = true;
	}
}

/*
 * Our lease has ended while we were away. Who runs what may have changed
 * meanwhile: that is followed first (units whose slot went elsewhere stop), and
 * only then we come again.
 */
static bool follows_first(const struct agreement *a)
{
	return !a->registered && a->agreed && a->seen.mod_revision &&
	       strcmp(a->seen.name, a->agreed->name) != 0 && !a->held;
}

void agreement_read_done(struct agreement *a, const struct agreement_input *in)
{
	const int64_t known = a->seen.mod_revision;
	const bool was_watching = a->watching;
	struct agreement_seen seen = { 0 };
	struct err err = { 0 };

	const int r = agreement_reply_read(a, in->reply, &seen, &err);

	if (a->read_all)
		agreement_find_rank(a, in->reply->revision);
	keep_watch(a, in->reply, was_watching && known != a->seen.mod_revision);
	/* Perhaps one of the three: only with all of them at hand that can be told. */
	if (!a->read_all && seen.among_oldest && a->now_ms >= a->duty.look_again_ms)
		a->want_all = a->reread = true;
	const struct registration *own = registrations_find(&a->registrations, a->self.id);

	if (own && !str_eq(own->incarnation, a->self.incarnation)) {
		agreement_handle_foreign_key(a, own);
		return;
	}
	note_own(a, own);
	if (r < 0) {
		/* `current` itself is unreadable: nothing can be concluded. */
		agreement_hold(a, err.msg);
		return;
	}
	if (agreement_has_rival_claim(a) && !a->read_all) {
		a->want_all = true;
		agreement_enter_reading(a);
		return;
	}
	if (!a->held && a->seen.mod_revision)
		(void)agreement_find_behind(a);
	const struct registration *rival = agreement_rival(a);

	if (rival && !a->settled) {
		agreement_give_way(a, rival);
		return;
	}
	agreement_report_rival(a, rival);
	if (follows_first(a))
		agreement_enter_fetching(a, &a->seen);
	else if (!a->registered)
		agreement_go_on(a);
	else
		agreement_pursue_current(a);
}

/* ---- REGISTERING --------------------------------------------------------- */

static bool must_show_what_we_applied(const struct agreement *a)
{
	return a->held && (a->self.applied_epoch != a->written_epoch ||
			   a->self.applied_sequence != a->written_sequence);
}

void agreement_take_over(struct agreement *a, const struct registration *other)
{
	a->own_mod_revision = other->mod_revision;
	a->own_create_revision = other->create_revision;
	a->old_leases[0] = other->lease;
	a->old_leases[1] = other->reserved_lease;
	enter_granting(a);
}

void agreement_go_on(struct agreement *a)
{
	if (!a->lease) {
		enter_granting(a);
	} else if (!a->registered || a->rewrite || must_show_what_we_applied(a)) {
		agreement_converse(a, AGREEMENT_REGISTERING, agreement_request_register(a));
	} else if (!a->standalone && a->agreed && !a->held && a->window_s != wanted_window_s(a)) {
		change_window(a);
	} else if (a->held || a->behind || !a->seen.mod_revision || !agreement_is_pending(a)) {
		agreement_enter_following(a);
	} else if (a->rank_known && a->rank_folded == a->seen.folded) {
		agreement_enter_waiting(a, a->rank);
	} else {
		agreement_converse(a, AGREEMENT_RANKING, agreement_request_rank(a));
	}
}

static void revoke_old(struct agreement *a)
{
	for (size_t i = 0; i < ARRAY_LEN(a->old_leases); i++) {
		if (a->old_leases[i])
			agreement_send_aside(a, agreement_request_revoke(a->old_leases[i]));
		a->old_leases[i] = 0;
	}
}

static void note_written(struct agreement *a, const struct store_reply *reply)
{
	if (!a->registered || !str_eq(a->claimed, a->self.address))
		agreement_news(a, false, "registered as '%s'%s%s", a->self.id,
			       a->self.address[0] ? ", address " : "", a->self.address);
	free(a->claimed);
	a->claimed = xstrdup(a->self.address);
	a->registered = true;
	a->rewrite = false;
	a->written_epoch = a->self.applied_epoch;
	a->written_sequence = a->self.applied_sequence;
	a->own_mod_revision = reply->revision;
	if (!a->own_create_revision)
		a->own_create_revision = reply->revision;
}

void agreement_register_done(struct agreement *a, const struct agreement_input *in)
{
	struct err err = { 0 };

	if (!in->reply->succeeded) {
		agreement_enter_paused(a, 0); /* somebody wrote our key meanwhile: look again */
		return;
	}
	revoke_old(a);
	note_written(a, in->reply);
	if (agreement_reply_register(a, in->reply, &err) < 0) {
		agreement_hold(a, err.msg);
		return;
	}
	/* Two that looked at the same moment saw nobody: the older claim wins, so look again. */
	if (!a->settled && agreement_has_rival_claim(a)) {
		a->want_all = true;
		agreement_enter_reading(a);
		return;
	}
	a->settled = true;
	agreement_forget_proof(a);
	agreement_pursue_current(a);
}

void agreement_lose_lease(struct agreement *a)
{
	agreement_news(
		a, true,
		"our lease in the store has ended (it was away, or this node stood still): registering again; all services keep running");
	a->registered = false;
	a->lease = 0;
}

void agreement_register_refused(struct agreement *a, const struct agreement_input *in)
{
	if (in->reply->trouble == STORE_TROUBLE_LEASE_GONE)
		agreement_lose_lease(a);
	else
		agreement_set_trouble(a, in->reply->text);
	agreement_enter_paused(a, 0);
}
