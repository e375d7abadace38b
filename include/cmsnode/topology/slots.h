/* SPDX-License-Identifier: MIT */
/*
 * Slots: the (service, shard) pairs of the agreed configuration and who fills
 * each. A slot is assigned (to a node id), static (an operator wrote an
 * address) or vacant. Shards never renumber; ports are fixed when a slot is
 * listed, because CMS's services capture them at start. Pure.
 */
#ifndef CMSNODE_TOPOLOGY_SLOTS_H
#define CMSNODE_TOPOLOGY_SLOTS_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/topology/catalogue.h"

struct cJSON;
struct err;
struct value;

/*
 * Where a vacant slot's clients are sent: loopback, where nothing listens, so that they fail at
 * once.
 */
#define SLOT_VACANT_ADDRESS "127.255.255.254"

/* Ceiling on the shards of one service, against a hostile or mistyped list. */
#define SLOTS_MAX 5000

struct slot {
	char *node;	/* assigned to this node id, or NULL */
	char *host;	/* static: as the operator wrote it, or NULL */
	int port;	/* RPC */
	int http_port;	/* ContestWebServer: chosen when the slot was assigned; else 0 */
};

struct slot_list {
	bool listed;	/* the service stands in the table, be it with an empty list */
	struct slot *items;
	size_t len, cap;
};

struct slots {
	struct slot_list lists[CATALOGUE_COUNT];
};

void slots_fini(struct slots *slots);
void slots_copy(struct slots *to, const struct slots *from);	/* `to` is emptied first */
bool slots_equal(const struct slots *a, const struct slots *b);
bool slot_equal(const struct slot *a, const struct slot *b);

bool slot_is_vacant(const struct slot *slot);
bool slots_have_static(const struct slots *slots);
void slot_set_node(struct slot *slot, const char *node);	/* NULL makes it vacant */

/* Appends a vacant slot with the service's own port for that shard; borrowed. */
struct slot *slots_append(struct slots *slots, enum catalogue_index service);

/*
 * {"Worker":[{"node":"a","port":26000},{"port":26001},{"host":"10.0.0.9","port":26000}],...};
 * a ContestWebServer's assigned slot has also "http". Reading checks everything
 * (catalogue, id pattern, ports, hosts): -EINVAL and where it is wrong.
 */
struct cJSON *slots_to_json(const struct slots *slots);	/* caller frees */
int slots_from_json(const struct cJSON *json, struct slots *ret, struct err *err);

/*
 * From the `services` table of a configuration file. A loopback host means "no
 * host given": a vacant slot, unless keep_loopback (standalone). 0, or
 * -EINVAL for a service that CMS does not have, naming the nearest.
 */
int slots_import(const struct value *services, bool keep_loopback, struct slots *ret,
		 struct err *err);

/* A node id: [a-z0-9][a-z0-9.-]{0,62}. */
bool slots_node_id_valid(const char *id);

/* A host as it may stand in a configuration: 1 to 253 printable characters, no blank. */
bool slots_host_valid(const char *host);

/* "localhost", 127.0.0.0/8, ::1 and the like, by spelling. */
bool slots_host_is_loopback(const char *host);

#endif
