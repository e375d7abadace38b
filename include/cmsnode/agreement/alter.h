/* SPDX-License-Identifier: MIT */
/*
 * alter: what the next generation shall be, given the agreed one and who is
 * registered. Pure and deterministic: no clock, no randomness; every node that
 * folds the same snapshot makes the same content.
 *
 * Joins: each live registration, oldest first, gets its node entry and then the
 * slots its roles ask for: those it had, then vacant ones lowest first, then new
 * ones at the end. Never two equal ports on one host, never a port that the
 * host holds otherwise, never two Workers equal modulo 64 under one boot id;
 * such a slot is passed over. Slots it no longer offers become vacant.
 * Departures are not folded in this version: an absent node keeps its slots.
 */
#ifndef CMSNODE_AGREEMENT_ALTER_H
#define CMSNODE_AGREEMENT_ALTER_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/base/str.h"

struct err;
struct generation;
struct registrations;
struct value;

/*
 * One operator's edit of an entry ("database.url", "topology.worker_pool"), or
 * "nodes.<id>" unset: that node is forgotten and its slots are vacant.
 */
struct edit {
	char *path;		/* canonical */
	struct value *old;	/* what the operator saw; NULL = it was not set */
	struct value *wanted;	/* NULL = unset it */
};

struct edits {
	struct edit *items;
	size_t len, cap;
};

void edits_fini(struct edits *edits);
/* copies */
void edits_add(struct edits *edits, const char *path, const struct value *old,
	       const struct value *wanted);

/* The value an edit of `path` would meet in this generation; NULL if not set. Caller frees. */
struct value *alter_value(const struct generation *generation, const char *path);

/*
 * Applies the edits to `generation`. ERR_CONFLICT with both values (masked) if
 * an entry is no longer what the operator saw; ERR_CONFIG if an edit is
 * impossible, or `frozen`.
 */
int alter_edit(struct generation *generation, const struct edits *edits, struct err *err);

/* Folds all registrations in; *ret_joined (may be NULL) gets the ids whose entry changed. */
void alter_join(struct generation *generation, const struct registrations *registrations,
		struct str_list *ret_joined);

#endif
