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
#define DEPARTURE_MS 2000 /* others leave at the same time: together, they are one generation */
#define DEPARTURES_MS 5000 /* nodes that died at once: their leases end one after the other */
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

/* ---- what waits for us ------------------------------------------------------------ */

static bool departures_wait(const struct agreement *a)
{
	return a->duty.departures_revision > a->seen.folded;
}

/* Departures that were held are folded with those that came since. */
int64_t agreement_duty_ms(const struct agreement *a)
{
	const struct agreement_duty *duty = &a->duty;
	const int64_t at_ms = departures_wait(a) ? duty->departures_ms : duty->hold_ends_ms;

	return duty->joins_ms < at_ms ? duty->joins_ms : at_ms;
}

void agreement_end_duty(struct agreement *a)
{
	a->duty.joins_ms = a->duty.departures_ms = a->duty.hold_ends_ms = INT64_MAX;
	a->duty.departures_revision = 0;
}

static int64_t about(struct agreement *a, int64_t wait_ms)
{
	return a->now_ms + agreement_between(a, wait_ms * 8 / 10, wait_ms * 12 / 10);
}

void agreement_note_departure(struct agreement *a, int64_t revision)
{
	struct agreement_duty *duty = &a->duty;

	if (duty->rank < 0)
		return;
	if (!departures_wait(a))
		duty->departures_since_ms = a->now_ms;
	if (duty->departures_revision < revision)
		duty->departures_revision = revision;
	const int64_t last_ms = duty->departures_since_ms + DEPARTURES_MS;
	const int64_t at_ms = about(a, DEPARTURE_MS);

	duty->departures_ms = (at_ms < last_ms ? at_ms : last_ms) + duty->rank * RANK_MS;
}

void agreement_note_join(struct agreement *a)
{
	const int64_t at_ms = about(a, JOIN_MS + a->duty.rank * RANK_MS);

	if (a->duty.rank >= 0 && at_ms < a->duty.joins_ms)
		a->duty.joins_ms = at_ms;
}

void agreement_find_rank(struct agreement *a, int64_t revision)
{
	const int before = a->duty.rank;

	a->duty.rank = rank_of(a);
	a->duty.look_again_ms = a->now_ms + LOOK_AGAIN_MS;
	if (a->duty.rank < 0) {
		agreement_end_duty(a);
	} else if (before < 0) {
		/* what happened before we came may wait still */
		agreement_note_departure(a, revision);
	}
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
	if (a->duty.rank >= 0 && end_ms < a->duty.hold_ends_ms)
		a->duty.hold_ends_ms = end_ms;
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
