/* SPDX-License-Identifier: MIT */
/*
 * What runs here: for each slot of a generation, whether this node fills it,
 * where it listens, and why or why not. Pure: look-ups and interfaces come in
 * as values.
 *
 * An assigned slot runs on its node. A static slot runs where its host resolves
 * to an address of this host that no other live host claims or lists; loopback
 * counts only in standalone, where there is one host. ResourceService is this
 * daemon itself.
 */
#ifndef CMSNODE_TOPOLOGY_DERIVE_H
#define CMSNODE_TOPOLOGY_DERIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/topology/catalogue.h"

struct cJSON;
struct generation;
struct interfaces;
struct registration;
struct registrations;
struct resolved_hosts;
struct str_list;

struct derive_question {
	const struct generation *generation;
	const struct registration *self;
	const struct registrations *registrations;	/* all live nodes */
	const struct interfaces *interfaces;
	const struct resolved_hosts *hosts;		/* answers for derive_static_hosts() */
	bool standalone;
};

struct derived_slot {
	const char *service;	/* a constant of the catalogue */
	int shard;
	char *node;		/* who it is assigned to, or NULL */
	char *host;		/* as rendered for CMS */
	int port;
	bool runs_here;
	bool is_daemon;		/* ResourceService: nothing is spawned */
	char *bind_address;	/* when it runs here: the literal that it listens on */
	char *disabled;		/* why it is not started although it is ours; NULL = start it */
	char *reason;		/* why it runs here, or not; a phrase for people */
};

struct derivation {
	struct derived_slot *items;
	size_t len, cap;
};

void derivation_fini(struct derivation *derivation);
void derive(const struct derive_question *question, struct derivation *ret);

/* derive() for one slot, which is there. *ret is overwritten; the caller ends it. */
void derive_one(const struct derive_question *question, enum catalogue_index service, size_t shard,
		struct derived_slot *ret);
void derived_slot_fini(struct derived_slot *slot);

/* Hosts of static slots that need a look-up (no duplicates). */
void derive_static_hosts(const struct generation *generation, struct str_list *ret);

/* [{"service","shard","runs_here","node","address","reason"}]; caller frees. */
struct cJSON *derivation_to_json(const struct derivation *derivation);

#endif
