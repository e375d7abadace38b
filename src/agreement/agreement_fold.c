/* SPDX-License-Identifier: MIT */
/*
 * Making the next generation: whose turn it is, what it shall be, and the swap.
 * Must never tell an operator that nothing was changed while an attempt may
 * still be carried out, and never fold while somebody runs what the store does
 * not hold.
 */
#include "cmsnode/agreement/agreement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/store/store.h"

#define CROWD_MS 30 /* the first folder waits for the others, up to twice that */
#define STREAM_MS 1600 /* the same, where others came a moment ago: they come one after the other */
#define RECENT_S 4
#define TURN_MS 300 /* the k-th folder waits k times that */
#define PAUSE_REFUSED_MS 5000

/* ---- edits --------------------------------------------------------------- */

void agreement_edit_init(struct agreement_edit *edit, const struct agreement_input *in)
{
	*edit = (struct agreement_edit){ .id = in->edit_id,
					 .author = xstrdup(in->author ? in->author : "operator"),
					 .reason = xstrdup(in->reason ? in->reason : "edited"),
					 .deadline_ms = in->now_ms + AGREEMENT_EDIT_MS };
	if (in->kind == AGREEMENT_INPUT_ACCEPT)
		edit->kind = AGREEMENT_EDIT_ACCEPT;
	if (in->kind == AGREEMENT_INPUT_PUBLISH)
		edit->kind = AGREEMENT_EDIT_PUBLISH;
	edit->edits.at_once = in->edits && in->edits->at_once;
	for (size_t i = 0; in->edits && i < in->edits->len; i++)
		edits_add(&edit->edits, in->edits->items[i].path, in->edits->items[i].old,
			  in->edits->items[i].wanted);
}

void agreement_edit_fini(struct agreement_edit *edit)
{
	edits_fini(&edit->edits);
	free(edit->author);
	free(edit->reason);
	*edit = (struct agreement_edit){ 0 };
}

void agreement_end_edit(struct agreement *a, int code, const char *text)
{
	struct agreement_edit *edit = &a->edits[0];
	struct agreement_action *action = agreement_act(a, AGREEMENT_EDITED);

	action->edit_id = edit->id;
	action->code = code;
	action->text = xstrdup(text);
	agreement_edit_fini(edit);
	a->edits_len--;
	memmove(&a->edits[0], &a->edits[1], a->edits_len * sizeof(a->edits[0]));
	a->attempts_len = 0;
	a->pushed_edit = 0;
	a->restore_lease = 0;
	generation_free(steal(a->restoring));
}

static void note_attempt(struct agreement *a, const struct generation *generation)
{
	GROW(a->attempts, a->attempts_len, a->attempts_cap);
	struct agreement_attempt *attempt = &a->attempts[a->attempts_len++];

	attempt->sequence = generation->sequence;
	generation_tag(generation->name, attempt->tag);
}

static bool holds_attempt(const struct generation *generation,
			  const struct agreement_attempt *attempt)
{
	char tag[GENERATION_TAG_SIZE];

	generation_tag(generation->name, tag);
	if (strcmp(tag, attempt->tag) == 0 && generation->sequence == attempt->sequence)
		return true;
	for (size_t i = 0; i < generation->meta.ancestors_len; i++)
		if (generation->meta.ancestors[i].sequence == attempt->sequence &&
		    strcmp(generation->meta.ancestors[i].tag, attempt->tag) == 0)
			return true;
	return false;
}

void agreement_settle_attempts(struct agreement *a, const struct generation *generation)
{
	bool through = false;

	for (size_t i = 0; i < a->attempts_len; i++)
		through = through || holds_attempt(generation, &a->attempts[i]);
	a->attempts_len = 0;
	if (through && a->edits_len)
		agreement_end_edit(a, 0, generation->name);
	a->pushed_edit = 0;
}

void agreement_expire_edits(struct agreement *a)
{
	while (a->edits_len && a->edits[0].deadline_ms <= a->now_ms) {
		const bool sent = a->attempts_len > 0;
		CLEAN(str) char *text = xasprintf(
			sent ? "the store did not answer in time (%s): whether the change was made is not known yet; look with: config get" :
			       "not done in time (%s): nothing was changed",
			a->trouble ? a->trouble : "the store does not answer");

		agreement_end_edit(a, sent ? ERR_UNKNOWN : ERR_UNAVAILABLE, text);
	}
}

void agreement_refuse_edit(struct agreement *a, const struct err *err)
{
	/* An attempt whose outcome is not known may still be carried out. */
	agreement_end_edit(a, a->attempts_len ? ERR_UNKNOWN : err->code, err->msg);
	agreement_enter_following(a);
}

/* ---- RANKING, WAITING ------------------------------------------------------ */

/* Clocks may differ: then a join waits for nobody, or for a second too long. */
static bool others_have_just_come(const struct agreement *a)
{
	const int64_t age_s = a->agreed ? a->wall_s - a->agreed->meta.created_at : INT64_MAX;

	return age_s >= -RECENT_S && age_s <= RECENT_S;
}

void agreement_enter_waiting(struct agreement *a, size_t rank)
{
	/* An operator does not wait for nodes that may come. */
	const bool in_stream = !a->edits_len && others_have_just_come(a);
	const int64_t crowd_ms = in_stream ? STREAM_MS : CROWD_MS;

	a->rank_known = false;
	agreement_set_state(a, AGREEMENT_WAITING);
	if (rank > AGREEMENT_RANK_MAX)
		rank = AGREEMENT_RANK_MAX;
	if (a->standalone)
		a->timer_ms = a->now_ms;
	else if (rank == 0)
		a->timer_ms = a->now_ms + agreement_between(a, crowd_ms, 2 * crowd_ms);
	else
		a->timer_ms = a->now_ms + crowd_ms +
			      agreement_between(a, (int64_t)rank * TURN_MS * 8 / 10,
						(int64_t)rank * TURN_MS * 12 / 10);
}

void agreement_rank_done(struct agreement *a, const struct agreement_input *in)
{
	size_t rank;

	if (agreement_reply_rank(a, in->reply, 0, &rank) < 0)
		rank = AGREEMENT_RANK_MAX;
	agreement_enter_waiting(a, rank);
	if (a->reread)
		agreement_enter_reading(a);
}

void agreement_wait_over(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	agreement_enter_snapshot(a);
}

/* Only a generation for which we were considered is worth fetching; the turn still comes. */
void agreement_current_while_waiting(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (!agreement_is_pending(a) || a->agreed)
		agreement_pursue_current(a);
}

/* ---- SNAPSHOT --------------------------------------------------------------- */

/* Only here are the registrations as fresh as what is altered. */
static bool forgets_the_living(const struct agreement *a, struct err *err)
{
	const struct edits *edits = &a->edits[0].edits;

	for (size_t i = 0; i < edits->len; i++) {
		const char *path = edits->items[i].path;
		const struct registration *alive =
			str_starts(path, "nodes.") && !edits->items[i].wanted ?
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

/* A newer program's registration may say what we do not understand: it folds for us. */
static bool somebody_is_newer(const struct agreement *a)
{
	for (size_t i = 0; i < a->registrations.len; i++)
		if (a->registrations.items[i].schema > REGISTRATION_SCHEMA)
			return true;
	return false;
}

static bool anybody_pending(const struct agreement *a)
{
	for (size_t i = 0; i < a->registrations.len; i++)
		if (a->registrations.items[i].mod_revision > a->seen.folded)
			return true;
	return false;
}

static void nothing_to_change(struct agreement *a)
{
	if (a->pushed_edit)
		agreement_end_edit(a, 0, a->agreed->name);
	/* They wait to be considered: `current` says that they were. */
	if (anybody_pending(a))
		agreement_converse(a, AGREEMENT_SWAPPING, agreement_request_mark(a));
	else
		agreement_enter_following(a);
}

static const char *reason_for(struct agreement *a, const struct str_list *joined,
			      const struct str_list *gone)
{
	CLEAN(str) char *in = joined->len ? str_list_join(joined, ", ") : NULL;
	CLEAN(str) char *out = gone->len ? str_list_join(gone, ", ") : NULL;

	if (a->pushed_edit)
		return a->edits[0].reason;
	if (!in && !out)
		return "nodes changed";
	snprintf(a->reason, sizeof(a->reason), "%s%s%s%s%s", in ? "joined or changed: " : "",
		 in ? in : "", in && out ? "; " : "", out ? "gone or away: " : "", out ? out : "");
	return a->reason;
}

/* False: the edit is impossible, and its operator was told. */
static bool apply_edit(struct agreement *a, struct generation *altered)
{
	struct err err = { 0 };

	a->pushed_edit = a->edits_len && a->agreed ? a->edits[0].id : 0;
	if (!a->pushed_edit)
		return true;
	if (!forgets_the_living(a, &err) && alter_edit(altered, &a->edits[0].edits, &err) == 0)
		return true;
	agreement_refuse_edit(a, &err);
	return false;
}

static void fold(struct agreement *a, struct generation *generation)
{
	CLEAN(generation) struct generation *altered = generation;
	CLEAN(str_list) struct str_list joined = { 0 };
	CLEAN(str_list) struct str_list gone = { 0 };
	const struct alter_question question = {
		.registrations = &a->registrations,
		.reservations = &a->reservations,
		.fold_departures = agreement_may_fold_departures(a, altered),
	};

	if (!apply_edit(a, altered))
		return;
	alter_fold(altered, &question, &joined, &gone);
	if (a->agreed && generation_same_content(altered, a->agreed)) {
		nothing_to_change(a);
		return;
	}
	CLEAN(str) char *errors = alter_errors(altered);

	if (errors && a->pushed_edit) {
		struct err err;

		(void)err_set(&err, ERR_CONFIG, "%s", errors);
		agreement_refuse_edit(a, &err);
		return;
	}
	agreement_swap(a, steal(altered), reason_for(a, &joined, &gone));
}

/* Who folds now would decide over what somebody has already left behind. */
static bool is_behind(struct agreement *a)
{
	struct err err;

	if (!agreement_find_behind(a))
		return false;
	if (a->edits_len) {
		(void)err_set(&err, ERR_CONFLICT, "%s", a->trouble);
		agreement_refuse_edit(a, &err);
	} else {
		agreement_enter_following(a);
	}
	return true;
}

/* Whose turn it is after the generation is fetched: all who wait are in the snapshot. */
static void find_turn(struct agreement *a)
{
	a->rank = 0;
	for (size_t i = 0; i < a->registrations.len; i++) {
		const struct registration *one = &a->registrations.items[i];

		if (one->mod_revision > a->seen.folded &&
		    one->create_revision < a->own_create_revision)
			a->rank++;
	}
	a->rank_folded = a->seen.folded;
	a->rank_known = true;
}

void agreement_snapshot_done(struct agreement *a, const struct agreement_input *in)
{
	struct agreement_seen seen;
	struct err err;

	if (agreement_reply_read(a, in->reply, &seen, &err) < 0) {
		agreement_hold(a, err.msg);
		return;
	}
	a->snapshot_revision = in->reply->revision;
	agreement_find_rank(a, in->reply->revision);
	if (agreement_wants_restore(a) && !seen.directories) {
		agreement_enter_snapshot(a); /* it was asked for while this was under way */
	} else if (agreement_wants_restore(a)) {
		agreement_restore(a);
	} else if (a->seen.mod_revision == 0) {
		if (a->agreed || !a->seed || registrations_newest(&a->registrations))
			agreement_no_current(a);
		else
			fold(a, generation_clone(a->seed));
	} else if (is_behind(a)) {
		return;
	} else if (!a->agreed || strcmp(a->seen.name, a->agreed->name) != 0) {
		find_turn(a);
		agreement_enter_fetching(a, &a->seen);
	} else if (somebody_is_newer(a) && !a->edits_len) {
		agreement_enter_following(a);
	} else {
		a->current = a->seen;
		fold(a, generation_clone(a->agreed));
	}
}

/* ---- SWAPPING ---------------------------------------------------------------- */

void agreement_swap(struct agreement *a, struct generation *generation, const char *reason)
{
	struct err err = { 0 };
	struct store_request *request = agreement_request_swap(a, generation, reason, &err);

	if (!request) {
		generation_free(generation);
		if (a->pushed_edit)
			agreement_refuse_edit(a, &err);
		else
			agreement_hold(a, err.msg);
		return;
	}
	if (a->pushed_edit)
		note_attempt(a, generation);
	generation_free(a->pushed);
	a->pushed = generation;
	agreement_converse(a, AGREEMENT_SWAPPING, request);
}

/*
 * Somebody was quicker, and the else-branch says who: perhaps we ourselves, since an HTTP client
 * may send a request again whose connection broke. So the attempt is kept until `current` is
 * known to descend from it or not. The next one takes a new name.
 */
static void swap_lost(struct agreement *a, const struct store_reply *reply)
{
	struct err err;
	const int r = agreement_reply_current(a, reply, 0, &err);
	const bool ours = r == 0 && agreement_sees_pushed(a);

	/* Where `current` was only marked, none was carried out, and none can be any more. */
	if (r == 0 && a->agreed && strcmp(a->seen.name, a->agreed->name) == 0)
		a->attempts_len = 0;
	if (!ours)
		generation_free(steal(a->pushed));
	if (!ours && agreement_wants_restore(a))
		agreement_enter_snapshot(a); /* it rests on all that the store holds */
	else if (r < 0)
		agreement_hold(a, err.msg);
	else
		agreement_pursue_current(a);
}

void agreement_swap_done(struct agreement *a, const struct agreement_input *in)
{
	if (!in->reply->succeeded) {
		swap_lost(a, in->reply);
		return;
	}
	a->current = a->pushed_current;
	a->current.mod_revision = in->reply->revision;
	a->seen = a->current;
	free(a->seen_value);
	a->seen_value = current_to_json(&a->pushed_current);
	if (a->pushed) {
		agreement_settle_attempts(a, a->pushed);
		agreement_accept_generation(a, steal(a->pushed));
	}
	agreement_go_on(a);
}

void agreement_swap_refused(struct agreement *a, const struct agreement_input *in)
{
	/* This one was not carried out; an earlier one of the same edit may have been. */
	const bool only = a->attempts_len <= 1;

	generation_free(steal(a->pushed));
	if (a->edits_len && a->pushed_edit == a->edits[0].id)
		agreement_end_edit(a, only ? ERR_CONFIG : ERR_UNKNOWN, in->reply->text);
	a->pushed_edit = 0;
	agreement_set_trouble(a, in->reply->text);
	agreement_enter_paused(a, PAUSE_REFUSED_MS);
}
