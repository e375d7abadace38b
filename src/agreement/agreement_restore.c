/* SPDX-License-Identifier: MIT */
/*
 * `store publish` and `store accept`: a person ends a disagreement between the
 * store and the nodes. Both write a new epoch, which everybody follows, and let
 * the absent nodes of that generation come back to their slots. Must never move
 * a slot.
 */
#include "cmsnode/agreement/agreement.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

bool agreement_wants_restore(const struct agreement *a)
{
	return a->edits_len && a->edits[0].kind != AGREEMENT_EDIT_CHANGE;
}

static void refuse(struct agreement *a, const char *text)
{
	struct err err;

	(void)err_set(&err, ERR_CONFLICT, "%s", text);
	agreement_refuse_edit(a, &err);
}

static void prepare(struct agreement *a, struct generation *base)
{
	generation_free(a->restoring);
	a->restoring = base;
	a->restore_lease = agreement_random(a) >> 1 | 1;
	agreement_converse(a, AGREEMENT_PREPARING,
			   agreement_request_grant(a->restore_lease, base->policy.rejoin_window_s));
}

/* Is there a newer one, as far as a look at `current` tells? Following it will show. */
static bool store_went_on(struct agreement *a)
{
	return a->seen.mod_revision && !a->held && a->seen.epoch == a->agreed->epoch &&
	       a->seen.sequence > a->agreed->sequence && !agreement_find_behind(a);
}

static void publish(struct agreement *a)
{
	const struct registration *newest = registrations_newest(&a->registrations);

	if (!a->agreed) {
		refuse(a, "this node has agreed to nothing yet: publish from one that has");
		return;
	}
	/* What others did since must not be taken back by somebody who has not heard of it. */
	if (store_went_on(a)) {
		agreement_enter_fetching(a, &a->seen);
		return;
	}
	if (newest && (newest->applied_epoch > a->agreed->epoch ||
		       (newest->applied_epoch == a->agreed->epoch &&
			newest->applied_sequence > a->agreed->sequence))) {
		CLEAN(str) char *text = xasprintf(
			"node '%s' on host '%s' runs a newer one (epoch %" PRId64
			", sequence %" PRId64 ", here %" PRId64 " and %" PRId64 "): publish there",
			newest->id, newest->hostname, newest->applied_epoch,
			newest->applied_sequence, a->agreed->epoch, a->agreed->sequence);

		refuse(a, text);
		return;
	}
	prepare(a, generation_clone(a->agreed));
}

static void accept(struct agreement *a)
{
	if (!a->seen.mod_revision) {
		refuse(a, "the store holds no configuration: there is nothing to accept");
	} else if (a->agreed && strcmp(a->agreed->name, a->seen.name) == 0) {
		prepare(a, generation_clone(a->agreed));
	} else {
		agreement_enter_fetching(a, &a->seen);
		a->fetching_to_accept = true;
	}
}

void agreement_restore(struct agreement *a)
{
	if (agreement_sees_pushed(a))
		agreement_pursue_current(a); /* an earlier attempt was carried out after all */
	else if (a->edits[0].kind == AGREEMENT_EDIT_PUBLISH)
		publish(a);
	else
		accept(a);
}

/* What the person saw is not what the store holds any more: all is read again. */
void agreement_prepare_again(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	a->reread = true; /* if it comes to nothing, what was seen is still to be followed */
	if (agreement_wants_restore(a))
		agreement_enter_snapshot(a);
	else
		agreement_enter_following(a);
}

void agreement_restore_fetched(struct agreement *a, struct generation *generation)
{
	if (strcmp(a->seen.name, a->current.name) == 0) {
		prepare(a, generation);
		return;
	}
	generation_free(generation);
	agreement_enter_snapshot(a);
}

void agreement_prepare_done(struct agreement *a, const struct agreement_input *in)
{
	(void)in;
	if (!agreement_wants_restore(a) || !a->restoring) {
		agreement_enter_following(
			a); /* the operator was told meanwhile that it took too long */
		return;
	}
	a->pushed_edit = a->edits[0].id;
	agreement_swap(a, steal(a->restoring), a->edits[0].reason);
}
