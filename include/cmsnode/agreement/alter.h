/* SPDX-License-Identifier: MIT */
/*
 * alter: what the next generation shall be, given the agreed one and who is
 * registered. Pure and deterministic: no clock, no randomness; every node that
 * folds the same snapshot makes the same content.
 *
 * Joins: each live registration, oldest first, gets its node entry and then the
 * slots its roles ask for: those it had, then vacant ones lowest first, then new
 * ones at the end. Never two equal ports on one host, never a port that the
 * host holds otherwise, nor one that an entry gives to another service; never
 * two Workers equal modulo 64 (flat: 100) under one boot id; such a slot is
 * passed over. Of nodes that come to one host later, the younger one exchanges
 * such a slot; and so does who finds a slot's port held. Singletons stay.
 * Slots it no longer offers become vacant. A node that drains gets none; those
 * that it lists as released become vacant, and when it has none left it is
 * drained.
 * Lists: while the policy says `names`, Workers are listed beyond those assigned
 * (worker_pool; when the last vacant one is taken, as many more as there were,
 * 128 at most and the pool at least), ResourceServices too if resource_pool is
 * not 0, and ranking_pool rankings; else, and for ContestWebServers always, a
 * list is exact: a vacant slot at its end goes, unless it has a port of its
 * own. A list of Workers never shrinks. ProxyService is listed where rankings
 * are, unless an operator listed rankings.
 * Departures: a node without registration is away and keeps its slots while its
 * reservation stands; then its Workers and ResourceServices become vacant. The
 * rest of its slots stays, because a host that is only cut off may still run
 * them: only `forget` and a finished drain take those.
 */
#ifndef CMSNODE_AGREEMENT_ALTER_H
#define CMSNODE_AGREEMENT_ALTER_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/base/str.h"

struct err;
struct generation;
struct registration;
struct registrations;
struct reservations;
struct value;

/*
 * One operator's edit of an entry ("database.url", "topology.worker_pool"), or
 * "nodes.<id>" unset: that node is forgotten and its slots are vacant; or
 * "nodes.<id>" = "draining" or "present"; or "slots.Worker.3" = {"port"} (vacant) or
 * {"host","port"} (static), which an assigned slot refuses, unset only at the end of its list; or
 * "slots.Worker" = true (listed) or unset.
 */
struct edit {
	char *path;		/* canonical */
	struct value *old;	/* what the operator saw; NULL = it was not set */
	struct value *wanted;	/* NULL = unset it */
};

struct edits {
	struct edit *items;
	size_t len, cap;
	bool at_once;	/* units that otherwise take turns may restart together for it */
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

struct alter_import_settings {
	bool keep_loopback;	/* standalone: a loopback host is a host */
	/* hosts in it mean "this slot, wherever it is"; NULL = there are no names */
	const char *zone;
};

/*
 * Appends the edits that make the generation say what a file says (`document`: canonical, with
 * `services`). What equals `config export` stays, "auto" too. A
 * host that is loopback or in the zone means the slot as it is; another one makes it static; a slot
 * left out at the end is removed if no node has it. A secret_key that is missing or published
 * leaves the cluster's own. ERR_CONFIG: the file would take a slot from a node, or has a service
 * that CMS does not know.
 */
int alter_import(const struct generation *generation, const struct value *document,
		 const struct alter_import_settings *settings, struct edits *ret, struct err *err);

/* The same for a ranking's file: `document` has the table "ranking", the rest is left alone. */
void alter_import_ranking(const struct generation *generation, const struct value *document,
			  struct edits *ret);

/*
 * Appends the edits that bring back an earlier generation's entries, ranking, policy (but `frozen`
 * and `names`) and static slots. Assignments, ports of assigned slots, and nodes stay.
 */
void alter_roll_back(const struct generation *generation, const struct generation *to,
		     struct edits *ret);

struct alter_question {
	const struct registrations *registrations; /* all that live */
	const struct reservations *reservations;
	bool fold_departures; /* else they are held: listed as deferred, and nothing is taken */
};

/*
 * Folds departures and joins. A registration that would make the configuration
 * invalid is left out and listed as deferred. *ret_joined and *ret_gone get the
 * ids whose entries changed.
 */
void alter_fold(struct generation *generation, const struct alter_question *question,
		struct str_list *ret_joined, struct str_list *ret_gone);

/*
 * How many nodes the generation calls present, and how many of these have no
 * registration although they did not stop in order.
 */
void alter_count_missing(const struct generation *generation,
			 const struct alter_question *question, size_t *ret_present,
			 size_t *ret_missing);

/* All errors of the document as CMS would read it, as one text; NULL = none. Caller frees. */
char *alter_errors(const struct generation *generation);

/* Does its entry say the same about the node as the registration does? */
bool alter_is_member(const struct generation *generation,
		     const struct registration *registration);

/* Folds all registrations in; *ret_joined (may be NULL) gets the ids whose entry changed. */
void alter_join(struct generation *generation, const struct registrations *registrations,
		struct str_list *ret_joined);

#endif
