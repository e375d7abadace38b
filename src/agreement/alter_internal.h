/* SPDX-License-Identifier: MIT */
/* Internal to alter: what its files share. Only alter*.c and offers.c include this. */
#ifndef CMSNODE_AGREEMENT_ALTER_INTERNAL_H
#define CMSNODE_AGREEMENT_ALTER_INTERNAL_H

#include <stdint.h>

#include "cmsnode/agreement/alter.h"
#include "cmsnode/topology/catalogue.h"

struct generation_node;
struct slot;

#define ALTER_SLOTS "slots."

/* A slot without its node: {"port"}, {"host","port"}. Caller frees. */
struct value *alter_slot_value(const struct slot *slot);

/* As alter_value() and as one edit of alter_edit(), for paths under ALTER_SLOTS. */
struct value *alter_slots_value(const struct generation *generation, const char *path);
int alter_edit_slots(struct generation *generation, const struct edit *edit, struct err *err);

/* ---- alter_fit.c -------------------------------------------------------- */

/*
 * Makes folding thousands of nodes at once take milliseconds: where each port is
 * used, and below which shard no slot is vacant. Only hints: what they lead to
 * is looked at.
 */
struct slot_reference {
	enum catalogue_index service;
	size_t shard;
	uint32_t kernel; /* of who had it then: others' differ, mostly; 0 = not known */
	uint32_t next; /* + 1; 0 = the last one */
};

#define SLOT_BOXES_MAX 128

struct slot_index {
	const struct registrations *registrations;
	uint32_t *ports; /* by port: the first reference, + 1 */
	uint32_t boxes[SLOT_BOXES_MAX]; /* the same of Workers, by the box they need */
	struct slot_reference *references;
	size_t len, cap;
	size_t vacant_from[CATALOGUE_COUNT];
};

struct joining {
	struct generation *generation;
	const struct registrations *registrations;
	const struct registration *node;
	struct slot_index *index;
	bool moved; /* the generation did not know it at its address */
};

void alter_index_init(struct slot_index *index, const struct generation *generation,
		      const struct registrations *registrations);
void alter_index_fini(struct slot_index *index);
/* The slot is new, or its ports or its node changed. */
void alter_index_slot(struct slot_index *index, const struct generation *generation,
		      enum catalogue_index service, size_t shard);

/* Is it filled on the joining node's host, surely or possibly? */
bool alter_slot_is_on_host(const struct joining *joining, const struct slot *slot);

/* May the joining node take slot k? */
bool alter_slot_fits(const struct joining *joining, enum catalogue_index service, size_t k);
/* Why slot k, which is vacant, cannot be the joining node's; NULL = it can. Caller frees. */
char *alter_why_unfit(const struct joining *joining, enum catalogue_index service, size_t k);
/* May it keep slot k, which is its own? */
bool alter_slot_stays(const struct joining *joining, enum catalogue_index service, size_t k);

/* For ContestWebServer k of the joining node: 8888, else 8900 + k mod 100, or on; 0 = none. */
int alter_free_http_port(const struct joining *joining, size_t k);

/* ---- alter_join.c ------------------------------------------------------- */

/* Which registered first? Never 0 for two. */
int alter_compare_age(const struct registration *a, const struct registration *b);
/* Oldest first; the caller frees the array, not what it points to. */
const struct registration **alter_by_age(const struct registrations *registrations);

/* How many slots of the service the joining node's roles ask for. */
size_t alter_wanted_count(const struct joining *joining, enum catalogue_index service);
/* How many it has. A static ResourceService of its host is one. */
size_t alter_count_mine(const struct joining *joining, enum catalogue_index service);
bool alter_is_draining(const struct generation_node *node); /* or drained */
bool alter_has_slots(const struct generation *generation, const char *id);

/*
 * As alter_join(), for one registration and without a look at how long the lists are: what the
 * others want of what it gives back, they get when they are joined again.
 */
void alter_join_one(struct generation *generation, const struct registrations *registrations,
		    const struct registration *one, struct str_list *ret_joined);

/* ---- alter_lists.c ------------------------------------------------------ */

struct alter_lists {
	size_t before[CATALOGUE_COUNT]; /* how long they were */
};

/* Around all joins of one fold. */
void alter_lists_begin(struct generation *generation, const struct registrations *registrations,
		       struct alter_lists *ret);
void alter_lists_end(struct generation *generation, const struct alter_lists *lists);

#endif
