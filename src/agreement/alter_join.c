/* SPDX-License-Identifier: MIT */
/*
 * Joins: who gets which slot. Must stay deterministic: registrations are taken
 * in the order of their age, slots in the order of their shards.
 */
#include "alter_internal.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"

static void take_slot(const struct joining *joining, enum catalogue_index service, size_t k)
{
	struct slot *slot = &joining->generation->slots.lists[service].items[k];

	slot_set_node(slot, joining->node->id);
	if (service == CATALOGUE_CONTEST_WEB_SERVER)
		slot->http_port = alter_free_http_port(joining, k);
	alter_index_slot(joining->index, joining->generation, service, k);
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
		if (alter_slot_fits(joining, service, list->len - 1)) {
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
		if (alter_slot_fits(joining, service, k)) {
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
size_t alter_wanted_count(const struct joining *joining, enum catalogue_index service)
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
static bool is_mine(const struct joining *joining, enum catalogue_index service,
		    const struct slot *slot)
{
	return slot->node ? strcmp(slot->node, joining->node->id) == 0 :
			    service == CATALOGUE_RESOURCE_SERVICE && slot->host &&
				    alter_slot_is_on_host(joining, slot);
}

size_t alter_count_mine(const struct joining *joining, enum catalogue_index service)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	size_t mine = 0;

	for (size_t k = 0; k < list->len; k++)
		mine += is_mine(joining, service, &list->items[k]);
	return mine;
}

static void vacate(const struct joining *joining, enum catalogue_index service, size_t k)
{
	slot_set_node(&joining->generation->slots.lists[service].items[k], NULL);
	if (k < joining->index->vacant_from[service])
		joining->index->vacant_from[service] = k;
}

static void release_last(const struct joining *joining, enum catalogue_index service)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];

	for (size_t k = list->len; k > 0; k--) {
		if (str_eq(list->items[k - 1].node, joining->node->id)) {
			vacate(joining, service, k - 1);
			return;
		}
	}
}

/*
 * Gives back what it cannot run where it is now: its host changed, or somebody else has the port.
 * It takes others; a singleton has none, and waits for its port. Returns how many it keeps.
 */
static size_t keep_fit(const struct joining *joining, enum catalogue_index service)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	size_t mine = 0;

	for (size_t k = 0; k < list->len; k++) {
		if (!is_mine(joining, service, &list->items[k]))
			continue;
		if (list->items[k].host || catalogue_at(service)->singleton ||
		    alter_slot_stays(joining, service, k))
			mine++;
		else
			vacate(joining, service, k);
	}
	return mine;
}

bool alter_is_draining(const struct generation_node *node)
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

bool alter_has_slots(const struct generation *generation, const char *id)
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
			    str_list_has(&joining->node->released, name))
				vacate(joining, (enum catalogue_index)s, k);
		}
	}
	if (node->state != NODE_DRAINING || alter_has_slots(joining->generation, node->id))
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
	if (!alter_is_draining(node))
		node->state = NODE_PRESENT;
	node->since_sequence = joining->generation->sequence + 1;
}

static bool has_moved(const struct generation *generation, const struct registration *registration)
{
	const struct generation_node *node = generation_node_find(generation, registration->id);

	return !node || !str_eq(node->address, registration->address);
}

/* What a node is to have of each service, and has. */
struct share {
	size_t wanted[CATALOGUE_COUNT];
	size_t mine[CATALOGUE_COUNT];
};

/* What everybody gives back comes first: an older node may be waiting for it. */
static void give_back(const struct joining *joining, struct share *ret, struct str_list *ret_joined)
{
	const struct registration *registration = joining->node;
	const bool is_new = !generation_node_find(joining->generation, registration->id);
	struct generation_node *node = generation_node_add(joining->generation, registration->id);

	if (is_new || node_differs(node, registration)) {
		update_node(joining, node);
		if (ret_joined)
			str_list_add(ret_joined, registration->id);
	}
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		ret->mine[s] = keep_fit(joining, (enum catalogue_index)s);
	if (alter_is_draining(node)) {
		take_released(joining, node, ret_joined);
		return; /* it is to have nothing more */
	}
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		ret->wanted[s] = alter_wanted_count(joining, (enum catalogue_index)s);
		for (; ret->mine[s] > ret->wanted[s]; ret->mine[s]--)
			release_last(joining, (enum catalogue_index)s);
	}
}

static void take(const struct joining *joining, struct share *share)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		while (share->mine[s] < share->wanted[s] &&
		       take_one(joining, (enum catalogue_index)s))
			share->mine[s]++;
}

int alter_compare_age(const struct registration *a, const struct registration *b)
{
	if (a->create_revision != b->create_revision)
		return a->create_revision < b->create_revision ? -1 : 1;
	return strcmp(a->id, b->id);
}

static int compare(const void *a, const void *b)
{
	return alter_compare_age(*(const struct registration *const *)a,
				 *(const struct registration *const *)b);
}

const struct registration **alter_by_age(const struct registrations *registrations)
{
	const struct registration **order = xcalloc(registrations->len + 1, sizeof(*order));

	for (size_t i = 0; i < registrations->len; i++)
		order[i] = &registrations->items[i];
	qsort(order, registrations->len, sizeof(*order), compare);
	return order;
}

static void join(struct generation *generation, const struct registrations *registrations,
		 const struct registration *const *order, size_t len, struct str_list *ret_joined)
{
	struct share *shares = xcalloc(len ? len : 1, sizeof(*shares));
	struct slot_index index;

	alter_index_init(&index, generation, registrations);
	for (size_t i = 0; i < len; i++)
		give_back(&(struct joining){ generation, registrations, order[i], &index,
					     has_moved(generation, order[i]) },
			  &shares[i], ret_joined);
	for (size_t i = 0; i < len; i++)
		take(&(struct joining){ generation, registrations, order[i], &index, false },
		     &shares[i]);
	alter_index_fini(&index);
	free(shares);
}

void alter_join(struct generation *generation, const struct registrations *registrations,
		struct str_list *ret_joined)
{
	const struct registration **order = alter_by_age(registrations);
	struct alter_lists lists;

	alter_lists_begin(generation, registrations, &lists);
	join(generation, registrations, order, registrations->len, ret_joined);
	alter_lists_end(generation, &lists);
	free(order);
}

void alter_join_one(struct generation *generation, const struct registrations *registrations,
		    const struct registration *one, struct str_list *ret_joined)
{
	join(generation, registrations, &one, 1, ret_joined);
}
