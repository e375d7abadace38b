/* SPDX-License-Identifier: MIT */
/* What runs here and why. Pure. */
#include "cmsnode/topology/derive.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/topology/resolver.h"

void derived_slot_fini(struct derived_slot *slot)
{
	free(slot->node);
	free(slot->host);
	free(slot->bind_address);
	free(slot->disabled);
	free(slot->reason);
}

void derivation_fini(struct derivation *derivation)
{
	for (size_t i = 0; i < derivation->len; i++)
		derived_slot_fini(&derivation->items[i]);
	free(derivation->items);
	*derivation = (struct derivation){ 0 };
}

void derive_static_hosts(const struct generation *generation, struct str_list *ret)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &generation->slots.lists[s];

		for (size_t k = 0; k < list->len; k++)
			if (list->items[k].host && !str_list_has(ret, list->items[k].host))
				str_list_add(ret, list->items[k].host);
	}
}

static bool is_draining(const struct derive_question *question)
{
	const struct generation_node *node =
		generation_node_find(question->generation, question->self->id);

	return node && (node->state == NODE_DRAINING || node->state == NODE_DRAINED);
}

/* CMS's own reasons not to run, which ResourceService would meet as a crash loop. */
static char *why_disabled(const struct derive_question *question,
			  const struct catalogue_service *service)
{
	if (service->contest == CONTEST_NUMERIC && strcmp(question->self->contest, "ALL") == 0)
		return xasprintf("%s serves one contest: give this node --contest ID",
				 service->name);
	if (service == catalogue_at(CATALOGUE_TELEGRAM_BOT) &&
	    !value_get_path(question->generation->cms, "telegram_bot.bot_token"))
		return xstrdup("telegram_bot.bot_token is not set");
	return NULL;
}

static void derive_assigned(const struct derive_question *question, const struct slot *slot,
			    struct derived_slot *ret)
{
	const struct generation_node *node = generation_node_find(question->generation, slot->node);

	ret->node = xstrdup(slot->node);
	ret->host = xstrdup(node && node->address[0] ? node->address : SLOT_VACANT_ADDRESS);
	if (strcmp(slot->node, question->self->id) == 0) {
		ret->runs_here = true;
		ret->bind_address = xstrdup(ret->host);
		ret->reason = xstrdup("assigned to this node");
	} else {
		ret->reason = xasprintf("assigned to node %s", slot->node);
	}
}

/*
 * The resolved address (of one family) that makes a static slot ours; otherwise the reason why none
 * does.
 */
static const struct address *find_local(const struct derive_question *question,
					const struct resolved_host *host, int family,
					char **ret_reason)
{
	for (size_t i = 0; i < host->len; i++) {
		const struct address *address = &host->addresses[i];
		char text[ADDRESS_TEXT_SIZE];

		if (address->family != family)
			continue;
		address_format(address, text);
		if (address_is_loopback(address)) {
			free(*ret_reason);
			if (question->standalone) {
				*ret_reason = xasprintf("static: %s is this machine", host->host);
				return address;
			}
			*ret_reason = xasprintf(
				"static: %s is loopback, which names no host in a cluster",
				host->host);
			continue;
		}
		if (!interfaces_find(question->interfaces, address))
			continue;
		const struct registration *other = registrations_other_host_with(
			question->registrations, question->self, text);
		if (other) {
			free(*ret_reason);
			*ret_reason = xasprintf(
				"static: host '%s' (node %s) has %s too, so it cannot say which host is meant",
				other->hostname, other->id, text);
			continue;
		}
		free(*ret_reason);
		*ret_reason = xasprintf("static: %s is this host's address %s", host->host, text);
		return address;
	}
	return NULL;
}

static void derive_static(const struct derive_question *question, const struct slot *slot,
			  struct derived_slot *ret)
{
	const struct resolved_host *host = resolved_hosts_find(question->hosts, slot->host);

	ret->host = xstrdup(slot->host);
	if (!host) {
		ret->reason = xasprintf("static: %s is being looked up", slot->host);
		return;
	}
	/* CMS binds a host name's IPv4 address where it has one. */
	const struct address *address = find_local(question, host, AF_INET, &ret->reason);

	if (!address)
		address = find_local(question, host, AF_INET6, &ret->reason);
	if (address) {
		char text[ADDRESS_TEXT_SIZE];

		address_format(address, text);
		ret->runs_here = true;
		ret->bind_address = xstrdup(text);
	} else if (!ret->reason && host->len == 0) {
		ret->reason = xasprintf("static: %s does not resolve", slot->host);
	} else if (!ret->reason) {
		ret->reason = xasprintf("static: %s is another host", slot->host);
	}
}

void derive_one(const struct derive_question *question, enum catalogue_index service, size_t shard,
		struct derived_slot *ret)
{
	const struct catalogue_service *known = catalogue_at(service);
	const struct slot *slot = &question->generation->slots.lists[service].items[shard];

	*ret = (struct derived_slot){ .service = known->name,
				      .shard = (int)shard,
				      .port = slot->port };
	if (slot->node) {
		derive_assigned(question, slot, ret);
	} else if (slot->host) {
		derive_static(question, slot, ret);
	} else {
		ret->host = xstrdup(SLOT_VACANT_ADDRESS);
		ret->reason = xstrdup("vacant: no node offers to fill it");
	}
	if (ret->runs_here) {
		ret->is_daemon = known->ours;
		ret->disabled = slot->node && is_draining(question) ?
					xstrdup("this node drains: its slots are given to others") :
					why_disabled(question, known);
	}
}

void derive(const struct derive_question *question, struct derivation *ret)
{
	derivation_fini(ret);
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		for (size_t k = 0; k < question->generation->slots.lists[s].len; k++) {
			GROW(ret->items, ret->len, ret->cap);
			derive_one(question, (enum catalogue_index)s, k, &ret->items[ret->len++]);
		}
	}
}

struct cJSON *derivation_to_json(const struct derivation *derivation)
{
	cJSON *array = cJSON_CreateArray();

	for (size_t i = 0; i < derivation->len; i++) {
		const struct derived_slot *slot = &derivation->items[i];
		cJSON *item = cJSON_CreateObject();
		CLEAN(str) char *address = xasprintf("%s:%d", slot->host, slot->port);
		CLEAN(str) char *reason = slot->disabled ? xasprintf("%s; not started: %s",
								     slot->reason, slot->disabled) :
							   xstrdup(slot->reason);

		json_add_str(item, "service", slot->service);
		json_add_int(item, "shard", slot->shard);
		json_add_bool(item, "runs_here", slot->runs_here && !slot->disabled);
		json_add_str(item, "node", slot->node);
		json_add_str(item, "address", address);
		json_add_str(item, "reason", reason);
		(void)cJSON_AddItemToArray(array, item);
	}
	return array;
}
