/* SPDX-License-Identifier: MIT */
/*
 * The names of slots and what each points at. The order of names is that of
 * (service, shard), which is what everything here is found by.
 */
#include "cmsnode/topology/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/slots.h"

#define SHARD_DIGITS_MAX 4 /* SLOTS_MAX - 1 */

void names_fini(struct names *names)
{
	free(names->items);
	*names = (struct names){ 0 };
}

/* ---- spelling ---------------------------------------------------------- */

static bool label_valid(const char *label, size_t len)
{
	return len >= 1 && label[0] != '-' && label[len - 1] != '-' &&
	       strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-") >= len;
}

int names_check_zone(const char *zone, struct err *err)
{
	const char *label = zone;

	if (strlen(zone) > NAMES_ZONE_MAX)
		return err_set(err, ERR_USAGE, "zone '%.60s': longer than %d characters", zone,
			       NAMES_ZONE_MAX);
	for (;;) {
		const size_t len = strcspn(label, ".");

		if (!label_valid(label, len))
			return err_set(
				err, ERR_USAGE,
				"zone '%s': a DNS name in lower case is wanted, such as " NAMES_ZONE_DEFAULT,
				zone);
		if (label[len] == '\0')
			break;
		label += len + 1;
	}
	/* A resolver would take worker-1.10 for a mistyped address. */
	if (label[strspn(label, "0123456789")] == '\0')
		return err_set(err, ERR_USAGE, "zone '%s': the last label is a number", zone);
	return 0;
}

void names_format(enum catalogue_index service, size_t shard, const char *zone,
		  char ret[NAMES_NAME_SIZE])
{
	const struct catalogue_service *known = catalogue_at(service);

	if (known->singleton)
		(void)snprintf(ret, NAMES_NAME_SIZE, "%s.%s", known->name, zone);
	else
		(void)snprintf(ret, NAMES_NAME_SIZE, "%s-%zu.%s", known->name, shard, zone);
	str_lower(ret);
}

/* "-12" exactly as we write it: no sign, no leading zero. */
static bool parse_shard(const char *text, const char *end, size_t *ret)
{
	const char *digits = text + 1;
	const size_t len = (size_t)(end - digits);
	size_t shard = 0;

	if (text >= end || *text != '-' || len < 1 || len > SHARD_DIGITS_MAX ||
	    strspn(digits, "0123456789") < len || (len > 1 && *digits == '0'))
		return false;
	for (size_t i = 0; i < len; i++)
		shard = shard * 10 + (size_t)(digits[i] - '0');
	*ret = shard;
	return shard < SLOTS_MAX;
}

bool names_parse(const char *name, const char *zone, enum catalogue_index *ret_service,
		 size_t *ret_shard)
{
	const char *dot = strchr(name, '.');
	size_t shard = 0;

	if (!dot || strcasecmp(dot + 1, zone) != 0)
		return false;
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct catalogue_service *service = catalogue_at((enum catalogue_index)s);
		const size_t len = strlen(service->name);

		if (strncasecmp(name, service->name, len) != 0)
			continue;
		if (service->singleton ? name + len != dot : !parse_shard(name + len, dot, &shard))
			continue;
		*ret_service = (enum catalogue_index)s;
		*ret_shard = shard;
		return true;
	}
	return false;
}

/* ---- the list ---------------------------------------------------------- */

/* Where the slot's name stands, or belongs. */
static size_t slot_at(const struct names *names, enum catalogue_index service, size_t shard,
		      bool *ret_found)
{
	size_t low = 0, high = names->len;

	*ret_found = false;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct name *one = &names->items[middle];

		if (one->service == service && one->shard == shard) {
			*ret_found = true;
			return middle;
		}
		if (one->service < service || (one->service == service && one->shard < shard))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct name *names_of_slot(const struct names *names, enum catalogue_index service,
				 size_t shard)
{
	bool found;
	const size_t at = slot_at(names, service, shard, &found);

	return found ? &names->items[at] : NULL;
}

const struct name *names_find(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->len; i++)
		if (strcmp(names->items[i].name, name) == 0)
			return &names->items[i];
	return NULL;
}

void names_set(struct names *names, enum catalogue_index service, size_t shard, const char *zone,
	       const char *address)
{
	bool found;
	const size_t at = slot_at(names, service, shard, &found);

	if (!found) {
		GROW(names->items, names->len, names->cap);
		memmove(&names->items[at + 1], &names->items[at],
			(names->len - at) * sizeof(names->items[0]));
		names->len++;
		names->items[at] = (struct name){ .service = service, .shard = shard };
		names_format(service, shard, zone, names->items[at].name);
	}
	(void)snprintf(names->items[at].address, ADDRESS_TEXT_SIZE, "%s", address);
}

/* ---- a generation's ---------------------------------------------------- */

/*
 * A node that is merely away may still run: its singletons' clients reach it as soon as the network
 * is back, so its names stay. One that stopped in order runs nothing.
 */
static const char *node_address(const struct generation_node *node, const struct names_view *view)
{
	if (!node || !node->address[0] || (view->stopped && str_list_has(view->stopped, node->id)))
		return SLOT_VACANT_ADDRESS;
	switch (node->state) {
	case NODE_PRESENT:
	case NODE_AWAY:
	case NODE_DRAINING:
		return node->address;
	case NODE_DRAINED:
		break;
	}
	return SLOT_VACANT_ADDRESS;
}

static const char *slot_address(const struct generation *generation, const struct slot *slot,
				const struct names_view *view)
{
	return slot->node ? node_address(generation_node_find(generation, slot->node), view) :
			    SLOT_VACANT_ADDRESS;
}

static void decide(struct names *names, const struct names_view *view)
{
	for (size_t i = 0; view->decided && i < view->decided->len; i++) {
		const struct name *decided = &view->decided->items[i];

		if (decided->service == CATALOGUE_WORKER &&
		    names_of_slot(names, decided->service, decided->shard))
			names_set(names, decided->service, decided->shard, view->zone,
				  decided->address);
	}
}

void names_make(const struct generation *generation, const struct names_view *view,
		struct names *ret)
{
	*ret = (struct names){ 0 };
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &generation->slots.lists[s];

		for (size_t k = 0; k < list->len; k++)
			if (!list->items[k].host)
				names_set(ret, (enum catalogue_index)s, k, view->zone,
					  slot_address(generation, &list->items[k], view));
	}
	decide(ret, view);
}

void names_add_kept(struct names *names, const struct generation *kept, const char *zone)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &kept->slots.lists[s];

		for (size_t k = 0; k < list->len; k++)
			if (!list->items[k].host &&
			    !names_of_slot(names, (enum catalogue_index)s, k))
				names_set(names, (enum catalogue_index)s, k, zone,
					  SLOT_VACANT_ADDRESS);
	}
}

int names_check_addresses(const struct generation *generation, struct err *err)
{
	for (size_t i = 0; i < generation->nodes.len; i++) {
		const struct generation_node *node = &generation->nodes.items[i];
		struct address address;

		if (address_parse(node->address, &address) < 0 || address.family == AF_INET)
			continue;
		return err_set(err, ERR_CONFIG,
			       "node %s is known by the IPv6 address %s, and CMS binds a name over "
			       "IPv4 only: give it an IPv4 --address, or run all nodes with "
			       "--names off",
			       node->id, node->address);
	}
	return 0;
}
