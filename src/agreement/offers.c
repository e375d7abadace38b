/* SPDX-License-Identifier: MIT */
/* What nodes offer and do not run. Must have no rule of its own on who gets which slot. */
#include "cmsnode/agreement/offers.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "alter_internal.h"
#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

void offers_fini(struct offers *offers)
{
	for (size_t i = 0; i < offers->len; i++) {
		free(offers->items[i].node);
		free(offers->items[i].why);
	}
	free(offers->items);
	*offers = (struct offers){ 0 };
}

/* It concerns all that the node offers; NULL: nothing does. */
static char *why_not_at_all(const struct joining *joining)
{
	const struct generation_node *node =
		generation_node_find(joining->generation, joining->node->id);
	const struct generation_deferred *deferred =
		generation_deferred_find(joining->generation, joining->node->id);

	if (deferred)
		return xasprintf("left out: %s", deferred->text);
	if (!node)
		return xstrdup("not folded in yet");
	if (node->state == NODE_DRAINING)
		return xstrdup("drains");
	if (node->state == NODE_DRAINED)
		return xstrdup("drained, until: cmsnodectl node undrain");
	return NULL;
}

/* Who has the singleton. */
static char *why_standby(const struct joining *joining, const struct slot *slot)
{
	if (slot->host)
		return xasprintf("standby: it is static at %s", slot->host);
	return xasprintf("standby: node %s has it%s", slot->node,
			 registrations_find(joining->registrations, slot->node) ? "" :
										  ", and is away");
}

/* A new slot is asked for, since no listed one was taken. */
static char *why_no_slot(const struct joining *joining, enum catalogue_index service)
{
	struct slot_list *list = &joining->generation->slots.lists[service];
	const size_t most = catalogue_at(service)->singleton ? 1 : SLOTS_MAX;
	const bool full = list->len >= most;

	if (!full)
		(void)slots_append(&joining->generation->slots, service);
	char *why = alter_why_unfit(joining, service, list->len - 1);

	if (!full)
		list->len--;
	if (!why && full && !catalogue_at(service)->singleton)
		return xasprintf("there are %d slots already", SLOTS_MAX);
	return why ? why : xstrdup("not folded in yet");
}

static char *why_unfilled(const struct joining *joining, enum catalogue_index service,
			  bool *ret_is_standby)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	char *why = why_not_at_all(joining);

	*ret_is_standby = !why && catalogue_at(service)->singleton && list->len > 0 &&
			  !slot_is_vacant(&list->items[0]);
	if (why)
		return why;
	return *ret_is_standby ? why_standby(joining, &list->items[0]) :
				 why_no_slot(joining, service);
}

/* A static singleton of the node's own host is run there. */
static size_t count_filled(const struct joining *joining, enum catalogue_index service)
{
	const struct slot_list *list = &joining->generation->slots.lists[service];
	const bool is_here = catalogue_at(service)->singleton && list->len > 0 &&
			     list->items[0].host && alter_slot_is_on_host(joining, &list->items[0]);

	return is_here ? 1 : alter_count_mine(joining, service);
}

static void add_unfilled(const struct joining *joining, struct offers *ret)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		struct offer offer = { .service = (enum catalogue_index)s };

		offer.offered = alter_wanted_count(joining, offer.service);
		offer.has = count_filled(joining, offer.service);
		if (offer.has >= offer.offered)
			continue;
		offer.node = xstrdup(joining->node->id);
		offer.why = why_unfilled(joining, offer.service, &offer.is_standby);
		GROW(ret->items, ret->len, ret->cap);
		ret->items[ret->len++] = offer;
	}
}

static int compare_ids(const void *a, const void *b)
{
	const struct registration *const *x = a;
	const struct registration *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

void offers_unfilled(const struct generation *generation, const struct registrations *registrations,
		     struct offers *ret)
{
	CLEAN(generation) struct generation *clone = generation_clone(generation);
	const struct registration **order = alter_by_age(registrations);
	struct slot_index index;

	offers_fini(ret);
	qsort(order, registrations->len, sizeof(*order), compare_ids);
	alter_index_init(&index, clone, registrations);
	for (size_t i = 0; i < registrations->len; i++)
		add_unfilled(&(struct joining){ clone, registrations, order[i], &index, false },
			     ret);
	alter_index_fini(&index);
	free(order);
}

struct cJSON *offers_to_json(const struct offers *offers)
{
	cJSON *array = cJSON_CreateArray();

	for (size_t i = 0; i < offers->len; i++) {
		const struct offer *offer = &offers->items[i];
		cJSON *item = cJSON_CreateObject();

		json_add_str(item, "node", offer->node);
		json_add_str(item, "service", catalogue_at(offer->service)->name);
		json_add_int(item, "offered", (int64_t)offer->offered);
		json_add_int(item, "has", (int64_t)offer->has);
		json_add_bool(item, "standby", offer->is_standby);
		json_add_str(item, "why", offer->why);
		(void)cJSON_AddItemToArray(array, item);
	}
	return array;
}
