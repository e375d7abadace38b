/* SPDX-License-Identifier: MIT */
/*
 * Whether a slot may be a node's: ports are one host's, isolate's boxes one
 * kernel's. Must never look at who shall have it; that is alter_join.c's.
 */
#include "alter_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"

/* Registrations with different ones are of different kernels; 0 = its kernel is not known. */
static uint32_t kernel_of(const struct registration *registration)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	if (!registration || !registration->boot_id[0])
		return 0;
	for (const char *c = registration->boot_id; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	return hash ? hash : 1;
}

static void refer(struct slot_index *index, uint32_t *first, const struct slot_reference *slot)
{
	GROW(index->references, index->len, index->cap);
	index->references[index->len] = *slot;
	index->references[index->len++].next = *first;
	*first = (uint32_t)index->len;
}

static uint32_t *first_of_box(struct slot_index *index, const struct generation *generation,
			      size_t shard)
{
	return &index->boxes[shard % config_worker_boxes(generation->meta.format)];
}

void alter_index_slot(struct slot_index *index, const struct generation *generation,
		      enum catalogue_index service, size_t shard)
{
	const struct slot *slot = &generation->slots.lists[service].items[shard];
	const struct slot_reference reference = {
		.service = service,
		.shard = shard,
		.kernel = slot->node ?
				  kernel_of(registrations_find(index->registrations, slot->node)) :
				  0,
	};
	int ports[GENERATION_SLOT_PORTS];
	const size_t n = generation_slot_ports(generation, service, shard, ports);

	/* Nobody can be in the way of a vacant one. */
	if (slot_is_vacant(slot))
		return;
	for (size_t i = 0; i < n; i++)
		refer(index, &index->ports[ports[i]], &reference);
	if (service == CATALOGUE_WORKER)
		refer(index, first_of_box(index, generation, shard), &reference);
}

void alter_index_init(struct slot_index *index, const struct generation *generation,
		      const struct registrations *registrations)
{
	*index = (struct slot_index){ .registrations = registrations,
				      .ports = xcalloc(UINT16_MAX + 1, sizeof(*index->ports)) };
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < generation->slots.lists[s].len; k++)
			alter_index_slot(index, generation, (enum catalogue_index)s, k);
}

void alter_index_fini(struct slot_index *index)
{
	free(index->ports);
	free(index->references);
}

/* ---- who is where -------------------------------------------------------- */

/* Which nodes are surely or possibly on the joining node's host? */
static bool on_same_host(const struct joining *joining, const char *id)
{
	if (strcmp(id, joining->node->id) == 0)
		return true;
	const struct registration *other = registrations_find(joining->registrations, id);
	if (other)
		return registration_same_host(other, joining->node);
	const struct generation_node *node = generation_node_find(joining->generation, id);

	return node && node->address[0] && strcmp(node->address, joining->node->address) == 0;
}

bool alter_slot_is_on_host(const struct joining *joining, const struct slot *slot)
{
	if (slot->node)
		return on_same_host(joining, slot->node);
	return slot->host && (strcmp(slot->host, joining->node->address) == 0 ||
			      str_list_has(&joining->node->addresses, slot->host) ||
			      strcmp(slot->host, joining->node->hostname) == 0);
}

/*
 * Of two that met on one host, having had their slots before, the younger one
 * gives way: it is the one that moved. With one that is away, it was not we if we are
 * where we were. But a singleton has no other slot to go to.
 */
static bool gives_way_to_us(const struct joining *joining, enum catalogue_index service,
			    const struct slot *slot)
{
	if (!slot->node)
		return false;
	const struct registration *other = registrations_find(joining->registrations, slot->node);
	if (!other)
		return !joining->moved;
	return !catalogue_at(service)->singleton && alter_compare_age(other, joining->node) > 0;
}

/* ---- ports ---------------------------------------------------------------- */

struct place {
	enum catalogue_index service;
	size_t shard;
	bool is_ours; /* already, so that only who is older keeps us from it */
};

static bool uses_port(const struct generation *generation, enum catalogue_index service,
		      size_t shard, int port)
{
	int ports[GENERATION_SLOT_PORTS];
	const size_t n = generation_slot_ports(generation, service, shard, ports);

	for (size_t i = 0; i < n; i++)
		if (ports[i] == port)
			return true;
	return false;
}

/* Does this slot keep the place from having the port? */
static bool contends(const struct joining *joining, const struct place *place,
		     enum catalogue_index service, size_t shard, int port)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	const struct slot *slot = shard < list->len ? &list->items[shard] : NULL;

	if (!slot || slot_is_vacant(slot) || (service == place->service && shard == place->shard))
		return false;
	return uses_port(joining->generation, service, shard, port) &&
	       alter_slot_is_on_host(joining, slot) &&
	       !(place->is_ours && gives_way_to_us(joining, service, slot));
}

static bool port_is_held(const struct joining *joining, int port)
{
	CLEAN(str) char *text = xasprintf("%d", port);

	return str_list_has(&joining->node->ports_held, text);
}

/* A hint that spares a look at the many that are elsewhere. */
static bool is_elsewhere(const struct slot_reference *reference, uint32_t kernel)
{
	return kernel && reference->kernel && reference->kernel != kernel;
}

static bool port_is_taken(const struct joining *joining, const struct place *place, int port)
{
	const struct slot_index *index = joining->index;
	const uint32_t kernel = kernel_of(joining->node);

	/* What an entry gives to a service stays free for it everywhere: it may move. */
	if (port_is_held(joining, port) ||
	    (!place->is_ours &&
	     generation_port_is_configured(joining->generation, port, place->service)))
		return true;
	for (uint32_t i = index->ports[port & UINT16_MAX]; i; i = index->references[i - 1].next) {
		const struct slot_reference *reference = &index->references[i - 1];

		if (!is_elsewhere(reference, kernel) &&
		    contends(joining, place, reference->service, reference->shard, port))
			return true;
	}
	return false;
}

static int find_taken_port(const struct joining *joining, const struct place *place)
{
	int ports[GENERATION_SLOT_PORTS];
	const size_t n =
		generation_slot_ports(joining->generation, place->service, place->shard, ports);

	for (size_t i = 0; i < n; i++)
		if (port_is_taken(joining, place, ports[i]))
			return ports[i];
	return 0;
}

int alter_free_http_port(const struct joining *joining, size_t k)
{
	const struct place place = { CATALOGUE_CONTEST_WEB_SERVER, k, false };

	if (!port_is_taken(joining, &place, 8888))
		return 8888;
	for (int i = 0; i < 100; i++) {
		const int port = 8900 + (int)((k + (size_t)i) % 100);

		if (!port_is_taken(joining, &place, port))
			return port;
	}
	return 0;
}

/* ---- boxes ------------------------------------------------------------------ */

/* Does Worker k use the place's box? */
static bool shares_box(const struct joining *joining, const struct place *place, size_t k)
{
	const struct slot_list *list = &joining->generation->slots.lists[CATALOGUE_WORKER];
	const struct slot *slot = k < list->len ? &list->items[k] : NULL;

	if (!slot || k == place->shard || slot_is_vacant(slot))
		return false;
	const struct registration *other =
		slot->node ? registrations_find(joining->registrations, slot->node) : NULL;
	const bool same_kernel =
		other && other->boot_id[0] && strcmp(other->boot_id, joining->node->boot_id) == 0;

	return (same_kernel || alter_slot_is_on_host(joining, slot)) &&
	       !(place->is_ours && gives_way_to_us(joining, CATALOGUE_WORKER, slot));
}

/* isolate's boxes are per kernel and numbered by the shard, modulo some number. */
static bool box_is_taken(const struct joining *joining, const struct place *place)
{
	struct slot_index *index = joining->index;
	const uint32_t kernel = kernel_of(joining->node);
	const uint32_t first = *first_of_box(index, joining->generation, place->shard);

	for (uint32_t i = first; i; i = index->references[i - 1].next)
		if (!is_elsewhere(&index->references[i - 1], kernel) &&
		    shares_box(joining, place, index->references[i - 1].shard))
			return true;
	return false;
}

/* ---- both --------------------------------------------------------------------- */

static bool place_fits(const struct joining *joining, const struct place *place)
{
	return !find_taken_port(joining, place) &&
	       (place->service != CATALOGUE_WORKER || !box_is_taken(joining, place));
}

static bool lacks_http_port(const struct joining *joining, enum catalogue_index service, size_t k)
{
	return service == CATALOGUE_CONTEST_WEB_SERVER && !alter_free_http_port(joining, k);
}

bool alter_slot_fits(const struct joining *joining, enum catalogue_index service, size_t k)
{
	const struct slot *slot = &joining->generation->slots.lists[service].items[k];
	const struct place place = { service, k, false };

	return slot_is_vacant(slot) && place_fits(joining, &place) &&
	       !lacks_http_port(joining, service, k);
}

bool alter_slot_stays(const struct joining *joining, enum catalogue_index service, size_t k)
{
	const struct place place = { service, k, true };

	return place_fits(joining, &place);
}

char *alter_why_unfit(const struct joining *joining, enum catalogue_index service, size_t k)
{
	const struct place place = { service, k, false };
	const int port = find_taken_port(joining, &place);

	if (port)
		return xasprintf("port %d is %s", port,
				 port_is_held(joining, port) ?
					 "held by something else on this host" :
				 generation_port_is_configured(joining->generation, port, service) ?
					 "given to another service" :
					 "another service's on this host");
	if (service == CATALOGUE_WORKER && box_is_taken(joining, &place))
		return xstrdup("another Worker of this machine has the same sandboxes");
	if (lacks_http_port(joining, service, k))
		return xstrdup("no HTTP port is free on this host");
	return NULL;
}
