/* SPDX-License-Identifier: MIT */
/*
 * What differs between two generations: entries of CMS's files and of the policy, slots, nodes.
 * Bookkeeping (name, sequence, meta, since when a node is so, who was refused) does not count.
 * Pure.
 */
#ifndef CMSNODE_AGREEMENT_GENERATION_DIFF_H
#define CMSNODE_AGREEMENT_GENERATION_DIFF_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/config/diff.h"
#include "cmsnode/topology/catalogue.h"

struct cJSON;
struct generation;
struct generation_node;
struct slot;

struct slot_change {
	enum catalogue_index service;
	int shard;		/* -1: the service has no slot; only whether it is listed differs */
	bool listed;		/* by the new generation */
	const struct slot *old;	/* NULL = there is none */
	const struct slot *new;
};

struct node_change {
	const struct generation_node *old;	/* NULL = not known */
	const struct generation_node *new;
};

struct generation_diff {
	struct diff entries;	/* cms, then the policy as topology.NAME */
	struct slot_change *slots;	/* services as in the catalogue, by shard */
	size_t slots_len, slots_cap;
	struct node_change *nodes;	/* by id */
	size_t nodes_len, nodes_cap;
};

void generation_diff_fini(struct generation_diff *diff);
static inline void clean_generation_diff(struct generation_diff *diff)
{
	generation_diff_fini(diff);
}

/* *ret is emptied first. Slots and nodes are borrowed from the generations. */
void generation_diff_make(const struct generation *old, const struct generation *new,
			  struct generation_diff *ret);

bool generation_diff_is_empty(const struct generation_diff *diff);

/*
 * A line each: "database.url: ...", as diff_text() has it, "Worker,3: vacant -> node i-0a1b port
 * 26003", "node i-0a1b: present -> away"; "" if nothing differs. No secret is shown. The caller
 * frees.
 */
char *generation_diff_text(const struct generation_diff *diff);

/*
 * {"entries": diff_to_json(), "slots": [{"service","shard","listed","old","new"}], "nodes":
 * [{"id","old","new"}]}; shard, old and new are null where there is none, a slot's are {"node","host",
 * "port","http_port"}, a node's {"address","roles","contest","state"}. The caller frees.
 */
struct cJSON *generation_diff_to_json(const struct generation_diff *diff);

#endif
