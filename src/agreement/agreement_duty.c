/* SPDX-License-Identifier: MIT */
/*
 * Folding for those that cannot do it themselves. Nodes that are gone fold
 * nothing, and a join can get stuck; both are the duty of the three oldest live
 * nodes of distinct hosts, each a little later than the one before. Must never
 * take absence for death: departures are held while most of the cluster is
 * missing or the store has just come back.
 */
#include "cmsnode/agreement/agreement.h"

#include <stdlib.h>

#include "agreement_internal.h"
#include "cmsnode/base/mem.h"

#define FOLDERS 3
#define LOOK_AGAIN_MS 60000
#define DEPARTURE_MS 1000 /* others leave at the same time: together, they are one generation */
#define JOIN_MS 5000 /* a join is its own node's business first */
#define RANK_MS 2000 /* more for each rank */
#define CONTACT_MS 30000 /* before that nobody's absence means anything */
#define STEADY_MS 60000 /* most of a cluster is gone for good after that */
#define MISSING_MIN 3

/* ---- who ---------------------------------------------------------------------- */

static const struct registration *oldest_but(const struct registrations *all,
					     const struct registration *const *taken,
					     size_t taken_len)
{
	const struct registration *oldest = NULL;

	for (size_t i = 0; i < all->len; i++) {
		const struct registration *one = &all->items[i];
		bool beside = false;

		for (size_t k = 0; k < taken_len; k++)
			beside = beside || one == taken[k] || registration_same_host(one, taken[k]);
		if (!beside && (!oldest || one->create_revision < oldest->create_revision))
			oldest = one;
	}
	return oldest;
}

static int rank_of(const struct agreement *a)
{
	const struct registration *folders[FOLDERS];

	for (size_t k = 0; k < FOLDERS; k++) {
		folders[k] = oldest_but(&a->registrations, folders, k);
		if (!folders[k])
			return -1;
		if (str_eq(folders[k]->id, a->self.id))
			return (int)k;
	}
	return -1;
}

static void be_due(struct agreement *a, int64_t wait_ms)
{
	const int64_t at_ms = a->now_ms + agreement_between(a, wait_ms * 8 / 10, wait_ms * 12 / 10);

	if (a->duty.rank >= 0 && at_ms < a->duty.at_ms)
		a->duty.at_ms = at_ms;
}

void agreement_find_rank(struct agreement *a)
{
	const int before = a->duty.rank;

	a->duty.rank = rank_of(a);
	if (a->duty.rank < 0) {
		a->duty.at_ms = INT64_MAX;
		a->duty.look_again_ms = a->now_ms + LOOK_AGAIN_MS;
	} else if (before < 0) {
		agreement_note_departure(a); /* what happened before we came may wait still */
	}
}

/* ---- what ---------------------------------------------------------------------- */

void agreement_note_departure(struct agreement *a)
{
	be_due(a, DEPARTURE_MS + a->duty.rank * RANK_MS);
}

void agreement_note_join(struct agreement *a)
{
	be_due(a, JOIN_MS + a->duty.rank * RANK_MS);
}

/* ---- when ---------------------------------------------------------------------- */

void agreement_note_contact(struct agreement *a, bool answered)
{
	if (!answered)
		a->duty.contact_since_ms = -1;
	else if (a->duty.contact_since_ms < 0)
		a->duty.contact_since_ms = a->now_ms;
}

static bool most_are_missing(struct agreement *a, const struct generation *generation)
{
	const struct alter_question question = { .registrations = &a->registrations,
						 .reservations = &a->reservations };
	size_t present, missing;

	alter_count_missing(generation, &question, &present, &missing);
	const bool most = missing >= MISSING_MIN && missing * 2 > present;

	if (!most)
		a->duty.missing_since_ms = -1;
	else if (a->duty.missing_since_ms < 0)
		a->duty.missing_since_ms = a->now_ms;
	return most;
}

static bool hold_until(struct agreement *a, int64_t end_ms)
{
	if (end_ms <= a->now_ms)
		return false;
	/* Duty comes again when the hold may have ended. */
	if (a->duty.rank >= 0 && end_ms < a->duty.at_ms)
		a->duty.at_ms = end_ms;
	return true;
}

bool agreement_may_fold_departures(struct agreement *a, const struct generation *generation)
{
	const struct agreement_duty *duty = &a->duty;
	const int64_t since_ms = duty->contact_since_ms < 0 ? a->now_ms : duty->contact_since_ms;

	if (a->standalone)
		return true;
	if (most_are_missing(a, generation)) {
		const int64_t both_ms =
			since_ms > duty->missing_since_ms ? since_ms : duty->missing_since_ms;

		return !hold_until(a, both_ms + STEADY_MS);
	}
	return !hold_until(a, since_ms + CONTACT_MS);
}
