/* SPDX-License-Identifier: MIT */
/*
 * What nodes offer and do not run, and why: standbys, nodes that drain, hosts
 * where nothing more fits. By the very rules of alter.h. Pure.
 */
#ifndef CMSNODE_AGREEMENT_OFFERS_H
#define CMSNODE_AGREEMENT_OFFERS_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/topology/catalogue.h"

struct cJSON;
struct generation;
struct registrations;

struct offer {
	char *node;
	enum catalogue_index service;
	size_t offered, has;	/* slots; has < offered */
	bool is_standby;	/* a singleton that is somebody else's */
	char *why;		/* a phrase for people */
};

struct offers {
	struct offer *items;
	size_t len, cap;
};

void offers_fini(struct offers *offers);
static inline void clean_offers(struct offers *offers)
{
	offers_fini(offers);
}

/* Of all live nodes, by node id, then as in the catalogue. *ret is emptied first. */
void offers_unfilled(const struct generation *generation, const struct registrations *registrations,
		     struct offers *ret);

/* [{"node","service","offered","has","standby","why"}]; caller frees. */
struct cJSON *offers_to_json(const struct offers *offers);

#endif
