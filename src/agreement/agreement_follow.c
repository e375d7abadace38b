/* SPDX-License-Identifier: MIT */
/*
 * Following `current`: what is newer, what is held, what may be seeded, and
 * starting from the copy on disk. Must never hand on a generation that is
 * incomplete, invalid or not newer than what this node has applied, and must
 * never take "nothing could be read" for "nothing is wanted".
 */
#include "cmsnode/agreement/agreement.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/store/store.h"

#define SEED_WAIT_MS 15000
#define DIFFERENCES_SHOWN 12

/* ---- what is newer ------------------------------------------------------- */

static bool has_ancestor(const struct generation *generation, int64_t sequence, const char *digest)
{
	for (size_t i = 0; i < generation->meta.ancestors_len; i++)
		if (strcmp(generation->meta.ancestors[i].digest, digest) == 0 &&
		    generation->meta.ancestors[i].sequence == sequence)
			return true;
	return false;
}

/* NULL, or why this generation must not be followed. Caller frees. */
static char *why_not_newer(const struct generation *agreed, const struct generation *generation)
{
	if (!agreed || generation->epoch > agreed->epoch)
		return NULL;
	/* A faithful restore: the very same, whatever cluster holds it now. */
	if (generation->epoch == agreed->epoch && generation->sequence == agreed->sequence &&
	    strcmp(generation->meta.digest, agreed->meta.digest) == 0)
		return NULL;
	if (generation->epoch < agreed->epoch || generation->sequence <= agreed->sequence)
		return xasprintf(
			"the store is behind: it holds %s (epoch %" PRId64 ", sequence %" PRId64
			"), this node runs %s (epoch %" PRId64 ", sequence %" PRId64
			"); nothing is touched; `cmsnodectl store publish` puts this node's in force, `store accept` the store's",
			generation->name, generation->epoch, generation->sequence, agreed->name,
			agreed->epoch, agreed->sequence);
	if (!has_ancestor(generation, agreed->sequence, agreed->meta.digest))
		return xasprintf(
			"the store holds another branch: %s does not descend from %s; nothing is touched; `cmsnodectl store publish` puts this node's in force, `store accept` the store's",
			generation->name, agreed->name);
	return NULL;
}

/*
 * Was `current` written in another store than the one that holds it now? Then
 * somebody may have gone on from what the backup does not hold, even if no
 * registration shows it (yet).
 */
static bool was_restored(const struct agreement *a)
{
	const struct current *seen = &a->seen;

	return seen->cluster_id && a->cluster_id &&
	       (seen->cluster_id != a->cluster_id || (!seen->restored && a->store_restored));
}

/* Has somebody applied what the store does not hold? NULL = no; caller frees. */
static char *why_behind(const struct agreement *a)
{
	const struct registration *newest = registrations_newest(&a->registrations);
	const struct current *seen = &a->seen;

	if (was_restored(a))
		return xstrdup(
			"the store was restored from a backup, or is another one: what it holds is followed, but nothing is changed until a person says `cmsnodectl store accept` (what it holds is right) or `store publish` (what this node agreed to last)");
	if (!newest || newest->applied_epoch < seen->epoch ||
	    (newest->applied_epoch == seen->epoch && newest->applied_sequence < seen->sequence))
		return NULL;
	if (newest->applied_epoch == seen->epoch && newest->applied_sequence == seen->sequence &&
	    strcmp(newest->applied_digest, seen->digest) == 0)
		return NULL;
	return xasprintf(
		"the store is behind: node '%s' on host '%s' runs epoch %" PRId64
		", sequence %" PRId64 ", the store holds epoch %" PRId64 ", sequence %" PRId64
		"; nothing is changed until a person says `cmsnodectl store publish` there, or `store accept`",
		newest->id, newest->hostname, newest->applied_epoch, newest->applied_sequence,
		seen->epoch, seen->sequence);
}

bool agreement_find_behind(struct agreement *a)
{
	CLEAN(str) char *why = why_behind(a);

	if (why || a->behind)
		agreement_set_trouble(a, why);
	a->behind = why;
	return a->behind;
}

/* ---- accepting, holding --------------------------------------------------- */

static void hand_on(struct agreement *a)
{
	a->cold = false;
	(void)agreement_act(a, AGREEMENT_APPLY);
}

void agreement_start_cold(struct agreement *a, const char *why)
{
	if (!a->cold)
		return;
	agreement_news(a, true, "%s: starting from what was agreed last, %s (sequence %" PRId64 ")",
		       why, a->agreed->name, a->agreed->sequence);
	hand_on(a);
}

void agreement_hold(struct agreement *a, const char *why)
{
	a->held = true;
	agreement_set_trouble(a, why);
	agreement_start_cold(a, "the store holds nothing that can be followed");
	agreement_go_on(a);
}

/* "<table>.<key>" of all entries that are not the same in both. */
static void list_differences(const struct value *a, const struct value *b, struct str_list *ret)
{
	for (size_t t = 0; t < a->table.len; t++) {
		const struct value_member *table = &a->table.members[t];
		const struct value *other = value_get(b, table->key);

		for (size_t i = 0; i < table->value->table.len; i++) {
			const struct value_member *member = &table->value->table.members[i];
			const struct value *its = other ? value_get(other, member->key) : NULL;
			char *path = xasprintf("%s.%s", table->key, member->key);

			if ((!its || !value_equal(member->value, its)) && !str_list_has(ret, path))
				str_list_add(ret, path);
			free(path);
		}
	}
}

/* Our seed was not used: an operator who gave different ones on several nodes wants to know. */
static void tell_of_other_seed(struct agreement *a)
{
	CLEAN(str_list) struct str_list paths = { 0 };

	list_differences(a->seed->cms, a->agreed->cms, &paths);
	list_differences(a->agreed->cms, a->seed->cms, &paths);
	if (!paths.len) {
		agreement_news(a, false, "node %s seeded the cluster, with what this node has, too",
			       a->agreed->meta.author);
		return;
	}
	const size_t more = paths.len > DIFFERENCES_SHOWN ? paths.len - DIFFERENCES_SHOWN : 0;

	paths.len -= more;
	CLEAN(str) char *text = str_list_join(&paths, ", ");

	paths.len += more;
	agreement_news(
		a, true,
		"node %s seeded the cluster; this node's seed is not used and differs in: %s%s",
		a->agreed->meta.author, text, more ? ", ..." : "");
}

static void note_deferral(struct agreement *a)
{
	const struct generation_deferred *own = generation_deferred_find(a->agreed, a->self.id);
	CLEAN(str) char *text = NULL;

	if (a->behind)
		return;
	if (own && !own->is_held)
		text = xasprintf("this node is not taken into the configuration: %s", own->text);
	agreement_set_trouble(a, text);
}

void agreement_note_applied(struct agreement *a)
{
	struct registration *self = &a->self;

	self->applied_epoch = a->agreed->epoch;
	self->applied_sequence = a->agreed->sequence;
	free(self->applied_digest);
	self->applied_digest = xstrdup(a->agreed->meta.digest);
}

void agreement_accept_generation(struct agreement *a, struct generation *generation)
{
	const bool is_new = !a->agreed || strcmp(a->agreed->name, generation->name) != 0;

	/* A person has put a new beginning in force: it shall be seen who follows it. */
	if (a->agreed && generation->epoch > a->agreed->epoch)
		a->rewrite = true;
	if (generation != a->agreed)
		generation_free(a->agreed);
	a->agreed = generation;
	/* Not carried out, or passed by: in a restored store it would be found, and be no news. */
	generation_free(steal(a->pushed));
	a->held = false;
	a->behind = false;
	agreement_note_applied(a);
	note_deferral(a);
	a->member = alter_is_member(generation, &a->self);
	if (is_new || a->cold)
		hand_on(a);
	if (a->seed && a->absent_since_ms && !a->standalone &&
	    strcmp(generation->meta.author, a->self.id) != 0)
		tell_of_other_seed(a);
	a->absent_since_ms = 0;
}

/* ---- FETCHING -------------------------------------------------------------- */

void agreement_enter_fetching(struct agreement *a, const struct current *current)
{
	a->current = *current;
	a->fetching_to_accept = false;
	agreement_converse(a, AGREEMENT_FETCHING, agreement_request_fetch(a));
}

static void follow(struct agreement *a, struct generation *generation)
{
	CLEAN(str) char *why_not = why_not_newer(a->agreed, generation);

	if (why_not) {
		generation_free(generation);
		agreement_hold(a, why_not);
		return;
	}
	agreement_settle_attempts(a, generation);
	agreement_accept_generation(a, generation);
	agreement_go_on(a);
}

void agreement_fetch_done(struct agreement *a, const struct agreement_input *in)
{
	struct generation *generation;
	struct err err = { 0 };
	const int r = agreement_reply_fetch(a, in->reply, &generation, &err);

	if (r < 0 && in->reply->ranges_len > 1 &&
	    agreement_reply_current(a, in->reply, 1, NULL) == 0 &&
	    strcmp(a->seen.name, a->current.name) != 0) {
		/* It was swept while we asked: there is a newer one. */
		agreement_pursue_current(a);
	} else if (r < 0) {
		CLEAN(str) char *text =
			xasprintf("generation %s cannot be followed: %s; nothing is touched",
				  a->current.name, err.msg);

		agreement_hold(a, text);
	} else if (a->fetching_to_accept && agreement_wants_restore(a)) {
		agreement_restore_fetched(a, generation);
	} else {
		follow(a, generation);
	}
}

/* ---- `current` ---------------------------------------------------------------- */

static bool may_seed(struct agreement *a)
{
	if (!a->seed || a->agreed)
		return false;
	/* Who lives and runs something says that there was a configuration. */
	if (registrations_newest(&a->registrations)) {
		agreement_set_trouble(
			a,
			"the store holds no configuration, but a live node runs one: the store was wiped; it is not seeded; `cmsnodectl store publish` on that node fills it again");
		return false;
	}
	if (!a->absent_since_ms)
		a->absent_since_ms = a->now_ms;
	if (!a->seed_at_once && a->now_ms - a->absent_since_ms < SEED_WAIT_MS)
		return false;
	agreement_set_trouble(a, NULL);
	return true;
}

void agreement_no_current(struct agreement *a)
{
	if (a->agreed) {
		agreement_hold(
			a,
			"the store holds no configuration any more: it was wiped or is another one; nothing is touched; `cmsnodectl store publish` puts this node's in force again");
		return;
	}
	if (may_seed(a)) {
		agreement_enter_snapshot(a);
		return;
	}
	if (!a->seed)
		agreement_set_trouble(
			a,
			"the cluster has no configuration yet: give one node --seed-config FILE");
	a->want_all = true; /* whether somebody runs one decides */
	agreement_enter_following(a);
}

static void same_as_agreed(struct agreement *a)
{
	a->current = a->seen;
	if (a->cold) {
		agreement_accept_generation(a, a->agreed);
	} else {
		a->held = false;
		a->member = alter_is_member(a->agreed, &a->self);
		note_deferral(a);
	}
	agreement_go_on(a);
}

bool agreement_sees_pushed(const struct agreement *a)
{
	return a->pushed && strcmp(a->seen.name, a->pushed->name) == 0;
}

void agreement_pursue_current(struct agreement *a)
{
	const struct current *seen = &a->seen;

	if (seen->mod_revision == 0) {
		agreement_no_current(a);
	} else if (agreement_sees_pushed(a)) {
		/* The swap of unknown outcome did happen. */
		a->current = *seen;
		agreement_settle_attempts(a, a->pushed);
		agreement_accept_generation(a, steal(a->pushed));
		agreement_go_on(a);
	} else if (a->agreed && strcmp(seen->name, a->agreed->name) == 0 &&
		   strcmp(seen->digest, a->agreed->meta.digest) == 0) {
		same_as_agreed(a);
	} else if (!a->agreed && a->registered && agreement_is_pending(a)) {
		/* What was before us is of no use: the next one holds us. */
		agreement_go_on(a);
	} else {
		agreement_enter_fetching(a, seen);
	}
}
