/* SPDX-License-Identifier: MIT */
/*
 * The agreement's state machine. Each cell of the table is one small function;
 * the requests and replies themselves are built and read in
 * agreement_request.c. Must never act on a generation that is incomplete,
 * invalid or not newer, and must never send the same transaction twice.
 */
#include "cmsnode/agreement/agreement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/store/store.h"

#define PERIOD_MS 75000 /* between reads in any case, -20 % .. +60 % */
#define CROWD_MS 30 /* the first folder waits for the others, up to twice that */
#define TURN_MS 300 /* the k-th folder waits k times that */
#define SEED_WAIT_MS 15000
#define LEAVE_MS 1000
#define PAUSE_MIN_MS 250
#define PAUSE_MAX_MS 10000
#define RIVAL_MS 2000 /* between looks at the one who holds what we want */

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

/* A trouble is told when it begins and when it changes, not at each try. */
static void set_trouble(struct agreement *a, const char *text)
{
	if (str_eq(a->trouble, text))
		return;
	if (text)
		agreement_news(a, true, "%s", text);
	free(a->trouble);
	a->trouble = xstrdup(text);
}

static void set_state(struct agreement *a, enum agreement_state state)
{
	a->state = state;
	a->timer_ms = INT64_MAX;
}

/* Sends the one request of the main conversation; replies to older ones are not ours any more. */
static void converse(struct agreement *a, enum agreement_state state, struct store_request *request)
{
	struct agreement_action *action = agreement_act(a, AGREEMENT_SEND);

	action->request = request;
	action->tag = a->tag = ++a->last_tag;
	set_state(a, state);
}

static void send_aside(struct agreement *a, struct store_request *request)
{
	struct agreement_action *action = agreement_act(a, AGREEMENT_SEND);

	action->request = request;
	action->tag = ++a->last_tag;
}

/* ---- entering states --------------------------------------------------- */

static void enter_reading(struct agreement *a)
{
	a->reread = false;
	converse(a, AGREEMENT_READING, agreement_request_read(a));
}

static void enter_paused(struct agreement *a, int64_t at_least_ms)
{
	set_state(a, AGREEMENT_PAUSED);
	a->pause_ms = a->pause_ms ? a->pause_ms * 2 : PAUSE_MIN_MS;
	if (a->pause_ms > PAUSE_MAX_MS)
		a->pause_ms = PAUSE_MAX_MS;
	int64_t wait = agreement_between(a, a->pause_ms / 4, a->pause_ms);

	if (wait < at_least_ms)
		wait = at_least_ms;
	a->timer_ms = a->now_ms + wait;
}

static void enter_snapshot(struct agreement *a)
{
	converse(a, AGREEMENT_SNAPSHOT, agreement_request_snapshot(a));
}

static void enter_following(struct agreement *a)
{
	set_state(a, AGREEMENT_FOLLOWING);
	a->pause_ms = 0;
	if (a->reread) {
		enter_reading(a);
	} else if (a->edits_len && a->agreed && !a->held) {
		enter_snapshot(a);
	} else {
		a->timer_ms =
			a->now_ms + agreement_between(a, PERIOD_MS * 8 / 10, PERIOD_MS * 16 / 10);
		/*
		 * With nothing agreed yet, one look a few seconds later costs nothing and shortens
		 * the wait.
		 */
		if (!a->agreed)
			a->timer_ms = a->now_ms + agreement_between(a, 4000, 6000);
	}
}

static void enter_granting(struct agreement *a)
{
	a->lease = agreement_random(a) >> 1 | 1;
	a->reserved_lease = agreement_random(a) >> 1 | 1;
	a->granted_reserved = false;
	converse(a, AGREEMENT_GRANTING, agreement_request_grant(a, a->lease, a->lease_ttl_s));
}

static void enter_fetching(struct agreement *a, const struct current *current)
{
	a->current = *current;
	converse(a, AGREEMENT_FETCHING, agreement_request_fetch(a));
}

/* ---- edits ------------------------------------------------------------- */

static void end_edit(struct agreement *a, int code, const char *text)
{
	struct agreement_edit *edit = &a->edits[0];
	struct agreement_action *action = agreement_act(a, AGREEMENT_EDITED);

	action->edit_id = edit->id;
	action->code = code;
	action->text = xstrdup(text);
	agreement_edit_fini(edit);
	a->edits_len--;
	memmove(&a->edits[0], &a->edits[1], a->edits_len * sizeof(a->edits[0]));
}

/* The edit that the pushed generation holds is agreed now. An edit that came later still waits. */
static void end_pushed_edit(struct agreement *a)
{
	if (a->edits_len && a->pushed_edit == a->edits[0].id)
		end_edit(a, 0, a->pushed->name);
	a->pushed_edit = 0;
}

void agreement_expire_edits(struct agreement *a)
{
	while (a->edits_len && a->edits[0].deadline_ms <= a->now_ms) {
		const bool sent = a->pushed && a->pushed_edit == a->edits[0].id;
		CLEAN(str) char *text = xasprintf(
			sent ? "the store did not answer in time (%s): whether the change was made is not known yet; look with: config get" :
			       "the store does not answer (%s): nothing was changed",
			a->trouble ? a->trouble : "no reply");

		end_edit(a, sent ? ERR_UNKNOWN : ERR_UNAVAILABLE, text);
		a->pushed_edit = 0;
	}
}

/* ---- what is newer ----------------------------------------------------- */

static bool descends(const struct generation *generation, const struct generation *from)
{
	for (size_t i = 0; i < generation->meta.ancestors_len; i++)
		if (strcmp(generation->meta.ancestors[i].digest, from->meta.digest) == 0 &&
		    generation->meta.ancestors[i].sequence == from->sequence)
			return true;
	return false;
}

/* NULL, or why this generation must not be followed. Caller frees. */
static char *why_not_newer(const struct generation *agreed, const struct generation *generation)
{
	if (!agreed || generation->epoch > agreed->epoch)
		return NULL;
	if (strcmp(generation->meta.digest, agreed->meta.digest) == 0 &&
	    generation->epoch == agreed->epoch)
		return NULL;
	if (generation->epoch < agreed->epoch || generation->sequence <= agreed->sequence)
		return xasprintf("the store is behind: it holds %s (epoch %" PRId64
				 ", sequence %" PRId64 "), this node runs %s (epoch %" PRId64
				 ", sequence %" PRId64 "); nothing is touched",
				 generation->name, generation->epoch, generation->sequence,
				 agreed->name, agreed->epoch, agreed->sequence);
	if (!descends(generation, agreed))
		return xasprintf(
			"the store holds another branch: %s does not descend from %s; nothing is touched",
			generation->name, agreed->name);
	return NULL;
}

static void hold(struct agreement *a, const char *why)
{
	a->held = true;
	set_trouble(a, why);
	enter_following(a);
}

/* Are we in the agreed generation as we are now? Pure comparison: what would folding us change? */
static bool compute_member(const struct agreement *a)
{
	if (!a->agreed)
		return false;
	CLEAN(generation) struct generation *with = generation_clone(a->agreed);
	const struct registrations alone = { .items = (struct registration *)&a->self, .len = 1 };

	alter_join(with, &alone, NULL);
	return generation_same_content(with, a->agreed);
}

static void accept_generation(struct agreement *a, struct generation *generation)
{
	const bool is_new = !a->agreed || strcmp(a->agreed->name, generation->name) != 0;

	generation_free(a->agreed);
	a->agreed = generation;
	a->held = false;
	set_trouble(a, NULL);
	a->self.applied_epoch = generation->epoch;
	a->self.applied_sequence = generation->sequence;
	free(a->self.applied_digest);
	a->self.applied_digest = xstrdup(generation->meta.digest);
	a->member = compute_member(a);
	if (is_new)
		(void)agreement_act(a, AGREEMENT_APPLY);
}

/* Registered, and acquainted with the newest generation: is there something for us to fold? */
static void go_on(struct agreement *a)
{
	if (!a->agreed || a->held || a->member) {
		enter_following(a);
		return;
	}
	converse(a, AGREEMENT_RANKING, agreement_request_rank(a));
}

/* ---- READING ----------------------------------------------------------- */

static bool may_seed(struct agreement *a)
{
	if (!a->seed || a->agreed)
		return false;
	for (size_t i = 0; i < a->registrations.len; i++) {
		if (a->registrations.items[i].applied_sequence > 0) {
			set_trouble(
				a,
				"the store holds no configuration, but a live node runs one: the store was wiped; it is not seeded");
			return false;
		}
	}
	if (!a->absent_since_ms)
		a->absent_since_ms = a->now_ms;
	return a->seed_at_once || a->now_ms - a->absent_since_ms >= SEED_WAIT_MS;
}

static void no_current(struct agreement *a)
{
	if (a->agreed) {
		a->held = true;
		set_trouble(
			a,
			"the store holds no configuration any more: it was wiped or is another one; nothing is touched");
	} else if (may_seed(a)) {
		enter_snapshot(a);
		return;
	} else if (!a->seed) {
		set_trouble(
			a,
			"the cluster has no configuration yet: give one node --seed-config FILE");
	}
	enter_following(a);
}

static void pursue_current(struct agreement *a)
{
	const struct current *seen = &a->seen;

	if (seen->mod_revision == 0) {
		no_current(a);
		return;
	}
	a->absent_since_ms = 0;
	if (a->pushed && strcmp(seen->name, a->pushed->name) == 0) {
		/* The swap of unknown outcome did happen. */
		a->current = *seen;
		end_pushed_edit(a);
		accept_generation(a, steal(a->pushed));
		go_on(a);
		return;
	}
	generation_free(steal(a->pushed));
	if (a->agreed && strcmp(seen->name, a->agreed->name) == 0) {
		a->current = *seen;
		a->held = false;
		set_trouble(a, NULL);
		a->member = compute_member(a);
		go_on(a);
		return;
	}
	enter_fetching(a, seen);
}

static void refuse(struct agreement *a, bool is_twin, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void refuse(struct agreement *a, bool is_twin, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	struct agreement_action *action = agreement_act(a, AGREEMENT_REFUSED);

	action->is_twin = is_twin;
	action->text = xstrdup(text);
}

/* Somebody else holds what we want: look again, often enough to see whether it lives. */
static void wait_out(struct agreement *a, const char *why)
{
	set_trouble(a, why);
	set_state(a, AGREEMENT_PAUSED);
	a->timer_ms = a->now_ms + RIVAL_MS;
}

/* The newcomer gives way, before it registers or right after. */
static void give_way(struct agreement *a, const struct registration *rival)
{
	CLEAN(str) char *text = xasprintf(
		"address %s is also on host '%s' (node %s, boot id %s): waiting until that node is gone, or for another address of this host",
		a->self.address, rival->hostname, rival->id, rival->boot_id);

	if (a->registered && a->lease)
		send_aside(a, agreement_request_revoke(a->lease));
	a->registered = false;
	a->lease = 0;
	agreement_act(a, AGREEMENT_CONTESTED)->text = xstrdup(text);
	if (agreement_prove(a, rival))
		refuse(a, false, "address %s is also on host '%s' (node %s), which is alive",
		       a->self.address, rival->hostname, rival->id);
	wait_out(a, text);
}

/* Once we run, a rival is told of, and nothing else: killing would help nobody. */
static void report_rival(struct agreement *a, const struct registration *rival)
{
	if (str_eq(a->rival, rival ? rival->id : NULL))
		return;
	free(a->rival);
	a->rival = rival ? xstrdup(rival->id) : NULL;
	if (rival)
		agreement_news(
			a, true,
			"host '%s' (node %s) claims our address %s, too, and did so before us; this node goes on as it is: one of the two needs another address",
			rival->hostname, rival->id, a->self.address);
}

/*
 * We ran under this id, were away too long, and another host took it: its
 * registration is never overwritten, and what runs here is not ended for it.
 */
static void hold_for_heir(struct agreement *a, const struct registration *heir)
{
	CLEAN(str) char *text = xasprintf(
		"node id '%s' was taken by host '%s' (address %s, boot id %s) while this node was away: keeping all units, not registering; stop one of the two",
		a->self.id, heir->hostname, heir->address, heir->boot_id);

	a->held = true;
	set_trouble(a, text);
	set_state(a, AGREEMENT_PAUSED);
	a->timer_ms = a->now_ms + PAUSE_MAX_MS;
}

/* Another daemon's registration stands under our id. */
static void handle_foreign_key(struct agreement *a, const struct registration *other)
{
	if (registration_same_host(other, &a->self)) {
		/* Same boot, same namespace, and we hold the node socket: its daemon is dead. */
		a->own_mod_revision = other->mod_revision;
		a->own_create_revision = other->create_revision;
		a->old_leases[0] = other->lease;
		a->old_leases[1] = other->reserved_lease;
		enter_granting(a);
		return;
	}
	a->registered = false;
	if (a->agreed) {
		hold_for_heir(a, other);
		return;
	}
	CLEAN(str) char *text = xasprintf(
		"node id '%s' is registered by host '%s' (address %s, boot id %s): waiting until that registration ends; if both live, give one of them another --node-id",
		a->self.id, other->hostname, other->address, other->boot_id);

	if (agreement_prove(a, other))
		refuse(a, true,
		       "node id '%s' lives on host '%s' (address %s, boot id %s) as well as here, on host '%s' (address %s, boot id %s)",
		       a->self.id, other->hostname, other->address, other->boot_id,
		       a->self.hostname, a->self.address, a->self.boot_id);
	wait_out(a, text);
}

/* Registered, and nobody has an older claim. */
static void settle(struct agreement *a)
{
	a->settled = true;
	agreement_forget_proof(a);
	pursue_current(a);
}

static void read_done(struct agreement *a, const struct agreement_input *in)
{
	struct err err;

	if (agreement_reply_read(a, in->reply, &err) < 0) {
		/* `current` itself is unreadable: nothing can be concluded. */
		a->held = true;
		set_trouble(a, err.msg);
		enter_following(a);
		return;
	}
	if (!a->watching) {
		a->watching = true;
		agreement_act(a, AGREEMENT_WATCH)->revision = in->reply->revision;
	}
	const struct registration *own = registrations_find(&a->registrations, a->self.id);

	if (own && !str_eq(own->incarnation, a->self.incarnation)) {
		handle_foreign_key(a, own);
		return;
	}
	a->registered = own && a->lease && own->lease == a->lease;
	a->own_mod_revision = own ? own->mod_revision : 0;
	a->own_create_revision = own ? own->create_revision : 0;
	const struct registration *rival = agreement_rival(a);

	if (rival && !a->settled) {
		give_way(a, rival);
		return;
	}
	report_rival(a, rival);
	if (!a->lease)
		enter_granting(a);
	else if (!a->registered || !registration_same_offer(own, &a->self))
		converse(a, AGREEMENT_REGISTERING, agreement_request_register(a));
	else
		settle(a);
}

/* ---- GRANTING, REGISTERING --------------------------------------------- */

static void grant_done(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (!a->granted_reserved) {
		a->granted_reserved = true;
		const int64_t window =
			a->agreed ? a->agreed->policy.rejoin_window_s : a->rejoin_window_s;

		converse(a, AGREEMENT_GRANTING,
			 agreement_request_grant(a, a->reserved_lease, window));
		return;
	}
	a->keepalive_ms = a->now_ms + a->lease_ttl_s * 1000 / 3;
	converse(a, AGREEMENT_REGISTERING, agreement_request_register(a));
}

static void register_done(struct agreement *a, const struct agreement_input *in)
{
	if (!in->reply->succeeded) {
		enter_paused(a, 0); /* somebody wrote our key meanwhile: look again */
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(a->old_leases); i++) {
		if (a->old_leases[i])
			send_aside(a, agreement_request_revoke(a->old_leases[i]));
		a->old_leases[i] = 0;
	}
	free(a->claimed);
	a->claimed = xstrdup(a->self.address);
	a->registered = true;
	a->own_mod_revision = in->reply->revision;
	if (!a->own_create_revision)
		a->own_create_revision = in->reply->revision;
	agreement_news(a, false, "registered as '%s'%s%s", a->self.id,
		       a->self.address[0] ? ", address " : "", a->self.address);
	/* Two that looked at the same moment saw nobody: the older claim wins, so look again. */
	if (a->self.address[0] && !a->settled)
		enter_reading(a);
	else
		pursue_current(a);
}

static void register_refused(struct agreement *a, const struct agreement_input *in)
{
	if (in->reply->trouble == STORE_TROUBLE_LEASE_GONE)
		a->lease = 0;
	set_trouble(a, in->reply->text);
	enter_paused(a, 0);
}

/* ---- FETCHING ---------------------------------------------------------- */

static void fetch_done(struct agreement *a, const struct agreement_input *in)
{
	struct generation *generation;
	struct err err;

	if (agreement_reply_fetch(a, in->reply, &generation, &err) < 0) {
		CLEAN(str) char *text =
			xasprintf("generation %s cannot be followed: %s; nothing is touched",
				  a->current.name, err.msg);

		hold(a, text);
		return;
	}
	CLEAN(str) char *why_not = why_not_newer(a->agreed, generation);

	if (why_not) {
		generation_free(generation);
		hold(a, why_not);
		return;
	}
	accept_generation(a, generation);
	go_on(a);
}

/* ---- RANKING, WAITING, SNAPSHOT, SWAPPING ------------------------------ */

static void rank_done(struct agreement *a, const struct agreement_input *in)
{
	size_t rank;

	if (agreement_reply_rank(a, in->reply, &rank) < 0 || rank > 16)
		rank = 16;
	set_state(a, AGREEMENT_WAITING);
	if (a->standalone)
		a->timer_ms = a->now_ms;
	else if (rank == 0)
		a->timer_ms = a->now_ms + agreement_between(a, CROWD_MS, 2 * CROWD_MS);
	else
		a->timer_ms = a->now_ms + agreement_between(a, (int64_t)rank * TURN_MS * 8 / 10,
							    (int64_t)rank * TURN_MS * 12 / 10);
}

static void wait_over(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	enter_snapshot(a);
}

static void refuse_edit(struct agreement *a, struct err *err)
{
	a->pushed_edit = 0;
	end_edit(a, err->code, err->msg);
	enter_following(a);
}

/* Errors of the whole document, as one text; NULL = none. Caller frees. */
static char *document_errors(const struct generation *generation)
{
	CLEAN(value) struct value *document = generation_render(generation);
	CLEAN(findings) struct findings findings = { 0 };
	CLEAN(str_list) struct str_list texts = { 0 };

	config_validate(document, &findings);
	for (size_t i = 0; i < findings.len; i++)
		if (findings.items[i].is_error)
			str_list_take(&texts, xasprintf("%s: %s", findings.items[i].key,
							findings.items[i].text));
	return texts.len ? str_list_join(&texts, "; ") : NULL;
}

/* Sends the swap for `generation` (taken); its name is new at every attempt. */
static void swap(struct agreement *a, struct generation *generation, const char *reason)
{
	struct err err = { 0 };
	struct store_request *request = agreement_request_swap(a, generation, reason, &err);

	if (!request) {
		generation_free(generation);
		if (a->pushed_edit)
			refuse_edit(a, &err);
		else
			hold(a, err.msg);
		return;
	}
	generation_free(a->pushed);
	a->pushed = generation;
	converse(a, AGREEMENT_SWAPPING, request);
}

/* Only here are the registrations as fresh as what is altered. */
static bool forgets_the_living(const struct agreement *a, struct err *err)
{
	const struct edits *edits = &a->edits[0].edits;

	for (size_t i = 0; i < edits->len; i++) {
		const char *path = edits->items[i].path;
		const struct registration *alive =
			str_starts(path, "nodes.") ?
				registrations_find(&a->registrations, path + strlen("nodes.")) :
				NULL;

		if (alive) {
			(void)err_set(
				err, ERR_CONFLICT,
				"node '%s' is registered and alive on host '%s': stop it first",
				alive->id, alive->hostname);
			return true;
		}
	}
	return false;
}

static void fold(struct agreement *a, struct generation *generation)
{
	CLEAN(generation) struct generation *altered = generation;
	CLEAN(str_list) struct str_list joined = { 0 };
	struct err err = { 0 };
	const char *reason = "nodes changed";

	a->pushed_edit = a->edits_len && a->agreed ? a->edits[0].id : 0;
	if (a->pushed_edit) {
		if (forgets_the_living(a, &err) ||
		    alter_edit(altered, &a->edits[0].edits, &err) < 0) {
			refuse_edit(a, &err);
			return;
		}
		reason = a->edits[0].reason;
	}
	alter_join(altered, &a->registrations, &joined);
	if (a->agreed && generation_same_content(altered, a->agreed)) {
		if (a->pushed_edit)
			end_edit(a, 0, a->agreed->name);
		a->pushed_edit = 0;
		enter_following(a);
		return;
	}
	CLEAN(str) char *errors = document_errors(altered);

	if (errors && a->pushed_edit) {
		(void)err_set(&err, ERR_CONFIG, "%s", errors);
		refuse_edit(a, &err);
		return;
	}
	if (!a->pushed_edit && joined.len) {
		CLEAN(str) char *names = str_list_join(&joined, ", ");

		snprintf(a->reason, sizeof(a->reason), "joined or changed: %s", names);
		reason = a->reason;
	}
	swap(a, steal(altered), reason);
}

static void snapshot_done(struct agreement *a, const struct agreement_input *in)
{
	struct err err;

	if (agreement_reply_read(a, in->reply, &err) < 0) {
		hold(a, err.msg);
		return;
	}
	a->snapshot_revision = in->reply->revision;
	if (a->seen.mod_revision == 0) {
		if (a->agreed || !a->seed)
			no_current(a);
		else
			fold(a, generation_clone(a->seed));
	} else if (!a->agreed || strcmp(a->seen.name, a->agreed->name) != 0) {
		enter_fetching(a, &a->seen);
	} else {
		a->current = a->seen;
		fold(a, generation_clone(a->agreed));
	}
}

static void swap_done(struct agreement *a, const struct agreement_input *in)
{
	struct err err;

	if (!in->reply->succeeded) {
		/*
		 * Somebody was quicker; the else-branch says who. The next attempt takes a new
		 * name.
		 */
		generation_free(steal(a->pushed));
		if (agreement_reply_current(a, in->reply, &err) < 0)
			hold(a, err.msg);
		else
			pursue_current(a);
		return;
	}
	a->current = a->pushed_current;
	a->current.mod_revision = in->reply->revision;
	a->seen = a->current;
	end_pushed_edit(a);
	accept_generation(a, steal(a->pushed));
	go_on(a);
}

static void swap_refused(struct agreement *a, const struct agreement_input *in)
{
	generation_free(steal(a->pushed));
	if (a->edits_len && a->pushed_edit == a->edits[0].id)
		end_edit(a, ERR_CONFIG, in->reply->text);
	a->pushed_edit = 0;
	set_trouble(a, in->reply->text);
	enter_paused(a, 5000);
}

/* ---- FOLLOWING, PAUSED, and everywhere --------------------------------- */

static void follow_current(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	pursue_current(a);
}

static void read_again(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	enter_reading(a);
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
	if (!a->pushed || strcmp(a->seen.name, a->pushed->name) != 0)
		a->reread = true;
}

static void trouble(struct agreement *a, const struct agreement_input *in)
{
	set_trouble(a, in->reply->text[0] ? in->reply->text : "the store does not answer");
	enter_paused(a, in->reply->outcome == STORE_REFUSED ? 5000 : 0);
}

static void wish(struct agreement *a, const struct agreement_input *in)
{
	if (a->edits_len && in->kind == AGREEMENT_INPUT_EDIT && a->agreed && !a->held &&
	    a->registered)
		enter_snapshot(a);
	else
		enter_reading(a);
}

/* Another address may be the way out; an edit is not. */
static void wish_paused(struct agreement *a, const struct agreement_input *in)
{
	if (in->kind == AGREEMENT_INPUT_REGISTRATION)
		enter_reading(a);
	else
		a->reread = true;
}

static void leave(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	a->keepalive_ms = INT64_MAX;
	if (!a->registered) {
		set_state(a, AGREEMENT_STOPPED);
		(void)agreement_act(a, AGREEMENT_LEFT);
		return;
	}
	converse(a, AGREEMENT_LEAVING, agreement_request_leave(a));
	a->timer_ms = a->now_ms + LEAVE_MS;
}

static void left(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (a->registered && in->kind == AGREEMENT_INPUT_REPLY &&
	    in->reply->outcome == STORE_DONE) {
		const int64_t deadline = a->timer_ms;

		a->registered = false;
		converse(a, AGREEMENT_LEAVING, agreement_request_revoke(a->lease));
		a->timer_ms = deadline;
		return;
	}
	set_state(a, AGREEMENT_STOPPED);
	(void)agreement_act(a, AGREEMENT_LEFT);
}

static void nothing(struct agreement *a, const struct agreement_input *in)
{
	(void)a;
	(void)in;
}

typedef void cell(struct agreement *a, const struct agreement_input *in);

/* While a request is under way, what happens meanwhile is remembered: FOLLOWING reads again. */
#define BUSY                                                                      \
	[AGREEMENT_EVENT_CURRENT] = remember, [AGREEMENT_EVENT_DOUBT] = remember, \
	[AGREEMENT_EVENT_WISH] = remember, [AGREEMENT_EVENT_STOP] = leave
#define TROUBLES [AGREEMENT_EVENT_REFUSED] = trouble, [AGREEMENT_EVENT_UNKNOWN] = trouble

static cell *const cells[AGREEMENT_STATES][AGREEMENT_EVENTS] = {
	[AGREEMENT_IDLE] = { [AGREEMENT_EVENT_START] = read_again, [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_READING] = { [AGREEMENT_EVENT_DONE] = read_done, TROUBLES, BUSY },
	[AGREEMENT_GRANTING] = { [AGREEMENT_EVENT_DONE] = grant_done, TROUBLES, BUSY },
	[AGREEMENT_REGISTERING] = { [AGREEMENT_EVENT_DONE] = register_done,
				    [AGREEMENT_EVENT_REFUSED] = register_refused,
				    [AGREEMENT_EVENT_UNKNOWN] = trouble,
				    BUSY },
	[AGREEMENT_FETCHING] = { [AGREEMENT_EVENT_DONE] = fetch_done, TROUBLES, BUSY },
	[AGREEMENT_RANKING] = { [AGREEMENT_EVENT_DONE] = rank_done, TROUBLES, BUSY },
	[AGREEMENT_WAITING] = { [AGREEMENT_EVENT_TIMER] = wait_over,
				[AGREEMENT_EVENT_CURRENT] = follow_current,
				[AGREEMENT_EVENT_DOUBT] = read_again,
				[AGREEMENT_EVENT_WISH] = read_again,
				[AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_SNAPSHOT] = { [AGREEMENT_EVENT_DONE] = snapshot_done, TROUBLES, BUSY },
	[AGREEMENT_SWAPPING] = { [AGREEMENT_EVENT_DONE] = swap_done,
				 [AGREEMENT_EVENT_REFUSED] = swap_refused,
				 [AGREEMENT_EVENT_UNKNOWN] = trouble,
				 [AGREEMENT_EVENT_CURRENT] = remember_unless_ours,
				 [AGREEMENT_EVENT_DOUBT] = remember,
				 [AGREEMENT_EVENT_WISH] = remember,
				 [AGREEMENT_EVENT_STOP] = leave },
	[AGREEMENT_FOLLOWING] = { [AGREEMENT_EVENT_TIMER] = read_again,
				  [AGREEMENT_EVENT_CURRENT] = follow_current,
				  [AGREEMENT_EVENT_DOUBT] = read_again,
				  [AGREEMENT_EVENT_WISH] = wish,
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
	cell *handler = cells[a->state][event];

	if (handler)
		handler(a, in);
}
