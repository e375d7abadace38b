/* SPDX-License-Identifier: MIT */
/*
 * What the next generation shall be. Must stay deterministic: registrations are
 * taken in the order of their age, slots in the order of their shards.
 */
#include "cmsnode/agreement/alter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/daemon/options.h"

/* ---- joins ------------------------------------------------------------- */

/*
 * Makes folding thousands of nodes at once take milliseconds: where each port is
 * used, and below which shard no slot is vacant. Only hints: what they lead to
 * is looked at.
 */
struct slot_reference {
	enum catalogue_index service;
	size_t shard;
	uint32_t next; /* + 1; 0 = the last one */
};

struct slot_index {
	uint32_t *ports; /* by port: the first reference, + 1 */
	struct slot_reference *references;
	size_t len, cap;
	size_t vacant_from[CATALOGUE_COUNT];
};

struct joining {
	struct generation *generation;
	const struct registrations *registrations;
	const struct registration *node;
	struct slot_index *index;
};

static void index_port(struct slot_index *index, int port, enum catalogue_index service,
		       size_t shard)
{
	if (port <= 0 || port > UINT16_MAX)
		return;
	GROW(index->references, index->len, index->cap);
	index->references[index->len++] =
		(struct slot_reference){ service, shard, index->ports[port] };
	index->ports[port] = (uint32_t)index->len;
}

static void index_slot(struct slot_index *index, const struct generation *generation,
		       enum catalogue_index service, size_t shard)
{
	const struct slot *slot = &generation->slots.lists[service].items[shard];

	index_port(index, slot->port, service, shard);
	index_port(index, slot->http_port, service, shard);
}

static void index_init(struct slot_index *index, const struct generation *generation)
{
	*index = (struct slot_index){ .ports = xcalloc(UINT16_MAX + 1, sizeof(*index->ports)) };
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < generation->slots.lists[s].len; k++)
			index_slot(index, generation, (enum catalogue_index)s, k);
}

static void index_fini(struct slot_index *index)
{
	free(index->ports);
	free(index->references);
}

/* Which entries are surely or possibly on the joining node's host? */
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

static bool slot_is_on_host(const struct joining *joining, const struct slot *slot)
{
	if (slot->node)
		return on_same_host(joining, slot->node);
	return slot->host && (strcmp(slot->host, joining->node->address) == 0 ||
			      str_list_has(&joining->node->addresses, slot->host) ||
			      strcmp(slot->host, joining->node->hostname) == 0);
}

static bool port_is_taken(const struct joining *joining, int port)
{
	CLEAN(str) char *text = xasprintf("%d", port);
	const struct slot_index *index = joining->index;

	if (str_list_has(&joining->node->ports_held, text))
		return true;
	for (uint32_t i = index->ports[port & UINT16_MAX]; i; i = index->references[i - 1].next) {
		const struct slot_reference *reference = &index->references[i - 1];
		const struct slot_list *list =
			&joining->generation->slots.lists[reference->service];
		const struct slot *slot =
			reference->shard < list->len ? &list->items[reference->shard] : NULL;

		if (slot && (slot->port == port || slot->http_port == port) &&
		    !slot_is_vacant(slot) && slot_is_on_host(joining, slot))
			return true;
	}
	return false;
}

/* isolate's boxes are per kernel and numbered by the shard, modulo some number. */
static bool worker_boxes_clash(const struct joining *joining, size_t shard)
{
	const struct slot_list *list = &joining->generation->slots.lists[CATALOGUE_WORKER];
	const size_t boxes = config_worker_boxes(joining->generation->meta.format);

	for (size_t k = shard % boxes; k < list->len; k += boxes) {
		const struct slot *slot = &list->items[k];
		if (k == shard || slot_is_vacant(slot))
			continue;
		const struct registration *other =
			slot->node ? registrations_find(joining->registrations, slot->node) : NULL;

		if (slot_is_on_host(joining, slot) ||
		    (other && other->boot_id[0] &&
		     strcmp(other->boot_id, joining->node->boot_id) == 0))
			return true;
	}
	return false;
}

static bool slot_fits(const struct joining *joining, enum catalogue_index service, size_t k)
{
	const struct slot *slot = &joining->generation->slots.lists[service].items[k];

	if (!slot_is_vacant(slot) || port_is_taken(joining, slot->port))
		return false;
	return service != CATALOGUE_WORKER || !worker_boxes_clash(joining, k);
}

static int free_http_port(const struct joining *joining, size_t k)
{
	if (!port_is_taken(joining, 8888))
		return 8888;
	for (int i = 0; i < 100; i++) {
		const int port = 8900 + (int)((k + (size_t)i) % 100);

		if (!port_is_taken(joining, port))
			return port;
	}
	return 8900 + (int)(k % 100);
}

static void take_slot(const struct joining *joining, enum catalogue_index service, size_t k)
{
	struct slot *slot = &joining->generation->slots.lists[service].items[k];

	slot_set_node(slot, joining->node->id);
	if (service == CATALOGUE_CONTEST_WEB_SERVER)
		slot->http_port = free_http_port(joining, k);
	index_port(joining->index, slot->http_port, service, k);
}

/* A new slot may be unfit too (its port, its box): at most one round of ports is passed over. */
static bool take_new(const struct joining *joining, enum catalogue_index service)
{
	struct slots *slots = &joining->generation->slots;
	struct slot_list *list = &slots->lists[service];
	const size_t most = catalogue_at(service)->singleton ? 1 : SLOTS_MAX;
	const size_t before = list->len;

	for (int attempts = 0; attempts < 2000 && list->len < most; attempts++) {
		(void)slots_append(slots, service);
		index_slot(joining->index, joining->generation, service, list->len - 1);
		if (slot_fits(joining, service, list->len - 1)) {
			take_slot(joining, service, list->len - 1);
			return true;
		}
	}
	list->len = before; /* what was appended is vacant: nothing to free */
	return false;
}

/* Vacant slots lowest first, then new ones; a singleton's list never grows beyond one. */
static bool take_one(const struct joining *joining, enum catalogue_index service)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	size_t *from = &joining->index->vacant_from[service];

	while (*from < list->len && !slot_is_vacant(&list->items[*from]))
		(*from)++;
	for (size_t k = *from; k < list->len; k++) {
		if (slot_fits(joining, service, k)) {
			take_slot(joining, service, k);
			return true;
		}
	}
	return take_new(joining, service);
}

/*
 * What the roles ask for of one service; core counts only what the table lists or CMS cannot do
 * without.
 */
static size_t wanted_count(const struct joining *joining, enum catalogue_index service)
{
	const struct catalogue_service *known = catalogue_at(service);
	size_t wanted = 0;

	for (size_t i = 0; i < joining->node->roles.len; i++) {
		CLEAN(str) char *role = NULL;
		int count;

		if (role_parse(joining->node->roles.items[i], &role, &count, NULL) < 0)
			continue;
		const size_t n = count > 0 ? (size_t)count : 1;

		if (strcmp(role, "core") == 0) {
			const bool mandatory = service == CATALOGUE_LOG_SERVICE ||
					       service == CATALOGUE_SCORING_SERVICE ||
					       service == CATALOGUE_EVALUATION_SERVICE ||
					       service == CATALOGUE_ADMIN_WEB_SERVER;
			const bool listed = joining->generation->slots.lists[service].len > 0;

			wanted += known->core && (mandatory || listed) ? 1 : 0;
		} else if ((strcmp(role, "worker") == 0 && service == CATALOGUE_WORKER) ||
			   (strcmp(role, "contest-web") == 0 &&
			    service == CATALOGUE_CONTEST_WEB_SERVER) ||
			   (strcmp(role, "ranking") == 0 &&
			    service == CATALOGUE_RANKING_WEB_SERVER) ||
			   strcmp(role, known->name) == 0) {
			wanted += n;
		}
	}
	if (service == CATALOGUE_RESOURCE_SERVICE && wanted == 0 && joining->node->address[0])
		wanted = 1;
	return known->singleton && wanted > 1 ? 1 : wanted;
}

/* A static entry of this host is filled by this host already (ResourceService: one is enough). */
static size_t count_mine(const struct joining *joining, enum catalogue_index service)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	size_t mine = 0;

	for (size_t k = 0; k < list->len; k++) {
		const struct slot *slot = &list->items[k];

		if (slot->node ? strcmp(slot->node, joining->node->id) == 0 :
				 service == CATALOGUE_RESOURCE_SERVICE && slot->host &&
					 slot_is_on_host(joining, slot))
			mine++;
	}
	return mine;
}

static void release_last(const struct joining *joining, enum catalogue_index service)
{
	struct slot_list *list = &joining->generation->slots.lists[service];

	for (size_t k = list->len; k > 0; k--) {
		struct slot *slot = &list->items[k - 1];

		if (slot->node && strcmp(slot->node, joining->node->id) == 0) {
			slot_set_node(slot, NULL);
			if (k - 1 < joining->index->vacant_from[service])
				joining->index->vacant_from[service] = k - 1;
			return;
		}
	}
}

static void fill_slots(const struct joining *joining)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const enum catalogue_index service = (enum catalogue_index)s;
		const size_t wanted = wanted_count(joining, service);
		size_t mine = count_mine(joining, service);

		for (; mine > wanted; mine--)
			release_last(joining, service);
		while (mine < wanted && take_one(joining, service))
			mine++;
	}
}

static bool is_draining(const struct generation_node *node)
{
	return node->state == NODE_DRAINING || node->state == NODE_DRAINED;
}

static bool node_differs(const struct generation_node *node,
			 const struct registration *registration)
{
	return strcmp(node->address, registration->address) != 0 ||
	       !str_list_equal(&node->roles, &registration->roles) ||
	       strcmp(node->contest, registration->contest) != 0 || node->state == NODE_AWAY;
}

bool alter_is_member(const struct generation *generation, const struct registration *registration)
{
	const struct generation_node *node = generation_node_find(generation, registration->id);

	return node && !node_differs(node, registration);
}

static bool has_slots(const struct generation *generation, const char *id)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &generation->slots.lists[s];

		for (size_t k = 0; k < list->len; k++)
			if (str_eq(list->items[k].node, id))
				return true;
	}
	return false;
}

/* The second generation of a drain: what the node has stopped may be given to others. */
static void take_released(const struct joining *joining, struct generation_node *node,
			  struct str_list *ret_joined)
{
	for (int s = 0; s < CATALOGUE_COUNT && node->state == NODE_DRAINING; s++) {
		const struct slot_list *list = &joining->generation->slots.lists[s];

		for (size_t k = 0; k < list->len; k++) {
			CLEAN(str) char *name =
				xasprintf("%s,%zu", catalogue_at((enum catalogue_index)s)->name, k);

			if (str_eq(list->items[k].node, node->id) &&
			    str_list_has(&joining->node->released, name)) {
				slot_set_node(&list->items[k], NULL);
				if (k < joining->index->vacant_from[s])
					joining->index->vacant_from[s] = k;
			}
		}
	}
	if (node->state != NODE_DRAINING || has_slots(joining->generation, node->id))
		return;
	node->state = NODE_DRAINED;
	node->since_sequence = joining->generation->sequence + 1;
	if (ret_joined)
		str_list_add(ret_joined, node->id);
}

static void update_node(const struct joining *joining, struct generation_node *node)
{
	free(node->address);
	free(node->contest);
	node->address = xstrdup(joining->node->address);
	node->contest = xstrdup(joining->node->contest);
	str_list_copy(&node->roles, &joining->node->roles);
	if (!is_draining(node))
		node->state = NODE_PRESENT;
	node->since_sequence = joining->generation->sequence + 1;
}

static void join_one(const struct joining *joining, struct str_list *ret_joined)
{
	const struct registration *registration = joining->node;
	const bool is_new = !generation_node_find(joining->generation, registration->id);
	struct generation_node *node = generation_node_add(joining->generation, registration->id);

	if (is_new || node_differs(node, registration)) {
		update_node(joining, node);
		if (ret_joined)
			str_list_add(ret_joined, registration->id);
	}
	if (is_draining(node))
		take_released(joining, node, ret_joined);
	else
		fill_slots(joining);
}

static int compare_age(const void *a, const void *b)
{
	const struct registration *x = *(const struct registration *const *)a;
	const struct registration *y = *(const struct registration *const *)b;

	if (x->create_revision != y->create_revision)
		return x->create_revision < y->create_revision ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* Oldest first; the caller frees the array. */
static const struct registration **by_age(const struct registrations *registrations)
{
	const struct registration **order = xcalloc(registrations->len + 1, sizeof(*order));

	for (size_t i = 0; i < registrations->len; i++)
		order[i] = &registrations->items[i];
	qsort(order, registrations->len, sizeof(*order), compare_age);
	return order;
}

void alter_join(struct generation *generation, const struct registrations *registrations,
		struct str_list *ret_joined)
{
	const struct registration **order = by_age(registrations);
	struct slot_index index;

	index_init(&index, generation);
	for (size_t i = 0; i < registrations->len; i++) {
		const struct joining joining = { generation, registrations, order[i], &index };

		join_one(&joining, ret_joined);
	}
	index_fini(&index);
	free(order);
}

/* ---- departures -------------------------------------------------------- */

/* Its window is over. A host that is only cut off may still run the rest: that stays its own. */
static bool free_workers(struct generation *generation, const char *id)
{
	static const enum catalogue_index services[] = { CATALOGUE_WORKER,
							 CATALOGUE_RESOURCE_SERVICE };
	bool any = false;

	for (size_t s = 0; s < ARRAY_LEN(services); s++) {
		const struct slot_list *list = &generation->slots.lists[services[s]];

		for (size_t k = 0; k < list->len; k++) {
			if (!str_eq(list->items[k].node, id))
				continue;
			slot_set_node(&list->items[k], NULL);
			any = true;
		}
	}
	return any;
}

/* True if anything changed. The node may be gone afterwards. */
static bool depart(struct generation *generation, struct generation_node *node,
		   const struct alter_question *question)
{
	const bool reserved = reservations_find(question->reservations, node->id);
	bool changed = !reserved && free_workers(generation, node->id);

	if (!reserved && !is_draining(node) && !has_slots(generation, node->id)) {
		CLEAN(str) char *id = xstrdup(node->id);

		return generation_node_remove(generation, id);
	}
	if (node->state == NODE_PRESENT) {
		node->state = NODE_AWAY;
		changed = true;
	}
	if (changed)
		node->since_sequence = generation->sequence + 1;
	return changed;
}

static void fold_departures(struct generation *generation, const struct alter_question *question,
			    struct str_list *ret_gone)
{
	CLEAN(str_list) struct str_list absent = { 0 };

	for (size_t i = 0; i < generation->nodes.len; i++)
		if (!registrations_find(question->registrations, generation->nodes.items[i].id))
			str_list_add(&absent, generation->nodes.items[i].id);
	for (size_t i = 0; i < absent.len; i++) {
		struct generation_node *node = generation_node_find(generation, absent.items[i]);

		if (question->fold_departures) {
			if (depart(generation, node, question))
				str_list_add(ret_gone, absent.items[i]);
		} else if (node->state == NODE_PRESENT) {
			generation_defer(
				generation, node->id, 0, true,
				"no registration, but too many are missing, or it is too early to tell");
		}
	}
}

void alter_count_missing(const struct generation *generation, const struct alter_question *question,
			 size_t *ret_present, size_t *ret_missing)
{
	*ret_present = 0;
	*ret_missing = 0;
	for (size_t i = 0; i < generation->nodes.len; i++) {
		const struct generation_node *node = &generation->nodes.items[i];
		if (node->state != NODE_PRESENT)
			continue;
		(*ret_present)++;
		const struct reservation *reservation =
			reservations_find(question->reservations, node->id);

		if (!registrations_find(question->registrations, node->id) &&
		    (!reservation || !reservation->stopped))
			(*ret_missing)++;
	}
}

/* ---- both -------------------------------------------------------------- */

char *alter_errors(const struct generation *generation)
{
	const struct validate_context context = { .format = generation->meta.format };
	CLEAN(value) struct value *document = generation_render(generation);
	CLEAN(findings) struct findings findings = { 0 };
	CLEAN(str_list) struct str_list texts = { 0 };

	config_validate(document, &context, &findings);
	for (size_t i = 0; i < findings.len; i++)
		if (findings.items[i].is_error)
			str_list_take(&texts, xasprintf("%s: %s", findings.items[i].key,
							findings.items[i].text));
	return texts.len ? str_list_join(&texts, "; ") : NULL;
}

/* All together they make an invalid configuration: each that does so is left out. */
static void join_carefully(struct generation **generation, const struct registrations *all,
			   struct str_list *ret_joined)
{
	const struct registration **order = by_age(all);

	for (size_t i = 0; i < all->len; i++) {
		CLEAN(generation) struct generation *with = generation_clone(*generation);
		struct slot_index index;

		index_init(&index, with);
		const struct joining joining = { with, all, order[i], &index };
		CLEAN(str_list) struct str_list joined = { 0 };

		join_one(&joining, &joined);
		index_fini(&index);
		CLEAN(str) char *errors = alter_errors(with);

		if (errors) {
			generation_defer(*generation, order[i]->id, order[i]->mod_revision, false,
					 errors);
			continue;
		}
		generation_free(*generation);
		*generation = steal(with);
		for (size_t k = 0; k < joined.len; k++)
			str_list_add(ret_joined, joined.items[k]);
	}
	free(order);
}

void alter_fold(struct generation *generation, const struct alter_question *question,
		struct str_list *ret_joined, struct str_list *ret_gone)
{
	generation_forget_deferred(generation);
	fold_departures(generation, question, ret_gone);
	CLEAN(generation) struct generation *before = generation_clone(generation);

	alter_join(generation, question->registrations, ret_joined);
	CLEAN(str) char *errors = alter_errors(generation);
	CLEAN(str) char *old_errors = errors ? alter_errors(before) : NULL;

	if (!errors || old_errors)
		return;
	str_list_fini(ret_joined);
	join_carefully(&before, question->registrations, ret_joined);
	generation_swap(generation, before);
}
