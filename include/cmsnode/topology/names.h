/* SPDX-License-Identifier: MIT */
/*
 * The stable names of slots and what they point at. CMS is given names instead
 * of addresses, so that a slot moves without a restart of its clients:
 *
 *   EvaluationService,0   evaluationservice.<zone>     a singleton
 *   Worker,3              worker-3.<zone>              a shard
 *
 * Every slot of a generation that is not static has a name, vacant ones too.
 * A static slot has none: its host stays as the operator wrote it. Pure.
 */
#ifndef CMSNODE_TOPOLOGY_NAMES_H
#define CMSNODE_TOPOLOGY_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/network/address.h"
#include "cmsnode/topology/catalogue.h"

struct err;
struct generation;
struct str_list;

#define NAMES_ZONE_DEFAULT "cms.internal"
#define NAMES_ZONE_MAX 36	/* so that every name fits into a line of hosts_block.h */
#define NAMES_NAME_MAX 59
#define NAMES_NAME_SIZE (NAMES_NAME_MAX + 1)

struct name {
	char name[NAMES_NAME_SIZE];
	char address[ADDRESS_TEXT_SIZE];	/* SLOT_VACANT_ADDRESS where nobody answers */
	enum catalogue_index service;
	size_t shard;
};

struct names {	/* in the order of (service, shard); no name twice */
	struct name *items;
	size_t len, cap;
};

void names_fini(struct names *names);
static inline void clean_names(struct names *names)
{
	names_fini(names);
}

/*
 * A DNS name in lower case, up to NAMES_ZONE_MAX characters, the last label not
 * a number. 0, or ERR_USAGE and what is wrong.
 */
int names_check_zone(const char *zone, struct err *err);

/* The name of a slot; shard < SLOTS_MAX, zone as names_check_zone() accepts it. */
void names_format(enum catalogue_index service, size_t shard, const char *zone,
		  char ret[NAMES_NAME_SIZE]);

/* Back from a name (any case). False if it is not exactly what names_format() makes. */
bool names_parse(const char *name, const char *zone, enum catalogue_index *ret_service,
		 size_t *ret_shard);

/* What a generation alone does not say. */
struct names_view {
	const char *zone;
	/* ids whose reservation says "stopped": their names are vacant at once; NULL = none */
	const struct str_list *stopped;
	/*
	 * Where Workers are whatever the generation says: a dead one at
	 * SLOT_VACANT_ADDRESS, one that answers though its registration is gone
	 * at its address. Only the node that runs EvaluationService decides so.
	 * Names that the generation lacks are ignored. NULL = none.
	 */
	const struct names *decided;
};

/*
 * The names of a generation:
 *
 *   slot, node                      address
 *   vacant                          vacant
 *   node present or draining        the node's
 *   node away (mere expiry)         the node's last one
 *   node away or present, stopped   vacant
 *   node drained, or forgotten      vacant
 *   Worker in view->decided         as decided
 *
 * *ret is overwritten.
 */
void names_make(const struct generation *generation, const struct names_view *view,
		struct names *ret);

/*
 * Adds the names that `kept`, a generation whose units still run or may be
 * started, has and `names` lacks: at the vacant address.
 */
void names_add_kept(struct names *names, const struct generation *kept, const char *zone);

/* Sets a name's address, or adds it. Both are copied. */
void names_set(struct names *names, enum catalogue_index service, size_t shard, const char *zone,
	       const char *address);

/* NULL = no such name (compared as given: names are lower case). Borrowed. */
const struct name *names_find(const struct names *names, const char *name);
const struct name *names_of_slot(const struct names *names, enum catalogue_index service,
				 size_t shard);

/*
 * Names work over IPv4 only: gevent binds a name as IPv4. 0, or ERR_CONFIG with the
 * first node that is known by an IPv6 address: names must be off then.
 */
int names_check_addresses(const struct generation *generation, struct err *err);

#endif
