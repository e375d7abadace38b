/* SPDX-License-Identifier: MIT */
/*
 * Slots as a value: copying, comparing, JSON, import from a `services` table. Who gets which slot
 * is alter.c's.
 */
#include "cmsnode/topology/slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/network/address.h"

static void slot_list_fini(struct slot_list *list)
{
	for (size_t i = 0; i < list->len; i++) {
		free(list->items[i].node);
		free(list->items[i].host);
	}
	free(list->items);
	*list = (struct slot_list){ 0 };
}

void slots_fini(struct slots *slots)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		slot_list_fini(&slots->lists[s]);
}

static struct slot *slot_list_add(struct slot_list *list)
{
	GROW(list->items, list->len, list->cap);
	list->listed = true;
	list->items[list->len] = (struct slot){ 0 };
	return &list->items[list->len++];
}

void slots_copy(struct slots *to, const struct slots *from)
{
	if (to == from)
		return;
	slots_fini(to);
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &from->lists[s];

		for (size_t k = 0; k < list->len; k++) {
			struct slot *slot = slot_list_add(&to->lists[s]);

			*slot = list->items[k];
			slot->node = xstrdup(slot->node);
			slot->host = xstrdup(slot->host);
		}
		to->lists[s].listed = list->listed;
	}
}

bool slot_equal(const struct slot *a, const struct slot *b)
{
	return str_eq(a->node, b->node) && str_eq(a->host, b->host) && a->port == b->port &&
	       a->http_port == b->http_port;
}

bool slots_equal(const struct slots *a, const struct slots *b)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		if (a->lists[s].listed != b->lists[s].listed || a->lists[s].len != b->lists[s].len)
			return false;
		for (size_t k = 0; k < a->lists[s].len; k++)
			if (!slot_equal(&a->lists[s].items[k], &b->lists[s].items[k]))
				return false;
	}
	return true;
}

bool slot_is_vacant(const struct slot *slot)
{
	return !slot->node && !slot->host;
}

bool slots_have_static(const struct slots *slots)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < slots->lists[s].len; k++)
			if (slots->lists[s].items[k].host)
				return true;
	return false;
}

void slot_set_node(struct slot *slot, const char *node)
{
	free(slot->node);
	slot->node = xstrdup(node);
	slot->http_port = 0;
}

struct slot *slots_append(struct slots *slots, enum catalogue_index service)
{
	struct slot_list *list = &slots->lists[service];
	const int port = catalogue_port(catalogue_at(service), (int)list->len);
	struct slot *slot = slot_list_add(list);

	slot->port = port;
	return slot;
}

struct cJSON *slots_to_json(const struct slots *slots)
{
	cJSON *json = cJSON_CreateObject();

	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &slots->lists[s];
		if (!list->listed)
			continue;
		cJSON *array =
			cJSON_AddArrayToObject(json, catalogue_at((enum catalogue_index)s)->name);

		for (size_t k = 0; k < list->len; k++) {
			const struct slot *slot = &list->items[k];
			cJSON *item = cJSON_CreateObject();

			if (slot->node)
				json_add_str(item, "node", slot->node);
			if (slot->host)
				json_add_str(item, "host", slot->host);
			json_add_int(item, "port", slot->port);
			if (slot->http_port)
				json_add_int(item, "http", slot->http_port);
			(void)cJSON_AddItemToArray(array, item);
		}
	}
	return json;
}

static int slot_from_json(const cJSON *item, struct slot *ret, struct err *err)
{
	const char *node = json_get_str(item, "node");
	const char *host = json_get_str(item, "host");
	int64_t port = 0;
	int64_t http = 0;

	if (node && (host || !slots_node_id_valid(node)))
		return err_set(err, -EINVAL, "a slot's node id is malformed, or it has a host too");
	if (host && !slots_host_valid(host))
		return err_set(err, -EINVAL, "a slot's host is malformed");
	if (json_get_int64(item, "port", &port) < 0 || port < 1 || port > 65535)
		return err_set(err, -EINVAL, "a slot has no port between 1 and 65535");
	if (json_get(item, "http") &&
	    (json_get_int64(item, "http", &http) < 0 || http < 1 || http > 65535))
		return err_set(err, -EINVAL, "a slot's HTTP port is not between 1 and 65535");
	*ret = (struct slot){ .node = xstrdup(node),
			      .host = xstrdup(host),
			      .port = (int)port,
			      .http_port = (int)http };
	return 0;
}

static int slot_list_from_json(const cJSON *array, struct slots *slots, struct err *err)
{
	const int service = catalogue_index_of(array->string);
	const cJSON *item;

	if (service < 0)
		return err_set(err, -EINVAL, "'%.64s' is no service of CMS", array->string);
	if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) > SLOTS_MAX)
		return err_set(err, -EINVAL, "%s is not a list of at most %d slots", array->string,
			       SLOTS_MAX);
	/* Twice would pass the ceiling twice. */
	if (slots->lists[service].listed)
		return err_set(err, -EINVAL, "%s stands there twice", array->string);
	slots->lists[service].listed = true;
	cJSON_ArrayForEach(item, array) {
		struct slot slot;
		const int r = slot_from_json(item, &slot, err);
		if (r < 0) {
			(void)err_wrap(err, "%s", array->string);
			return r;
		}
		*slot_list_add(&slots->lists[service]) = slot;
	}
	return 0;
}

int slots_from_json(const struct cJSON *json, struct slots *ret, struct err *err)
{
	struct slots slots = { 0 };
	const cJSON *array;

	if (!cJSON_IsObject(json))
		return err_set(err, -EINVAL, "slots: not an object");
	cJSON_ArrayForEach(array, json) {
		const int r = slot_list_from_json(array, &slots, err);
		if (r < 0) {
			slots_fini(&slots);
			(void)err_wrap(err, "slots");
			return r;
		}
	}
	slots_fini(ret);
	*ret = slots;
	return 0;
}

static int import_service(const struct value_member *member, bool keep_loopback,
			  struct slots *slots, struct err *err)
{
	const int service = catalogue_index_of(member->key);

	if (service < 0 || !catalogue_at((enum catalogue_index)service)->listed) {
		const char *names[CATALOGUE_COUNT];

		for (int i = 0; i < CATALOGUE_COUNT; i++)
			names[i] = catalogue_at((enum catalogue_index)i)->name;
		const char *nearest = str_nearest(member->key, names, CATALOGUE_COUNT);

		return err_set(err, -EINVAL, "services.%s: CMS has no such service%s%s%s",
			       member->key, nearest ? " (did you mean " : "",
			       nearest ? nearest : "", nearest ? "?)" : "");
	}
	slots->lists[service].listed = true;
	for (size_t k = 0; k < member->value->array.len; k++) {
		const struct value *pair = member->value->array.items[k];
		const char *host = pair->array.items[0]->text;

		if (!slots_host_valid(host))
			return err_set(err, -EINVAL, "services.%s: host of shard %zu is malformed",
				       member->key, k);
		struct slot *slot = slot_list_add(&slots->lists[service]);

		slot->port = (int)pair->array.items[1]->integer;
		if (keep_loopback || !slots_host_is_loopback(host))
			slot->host = xstrdup(host);
	}
	return 0;
}

/* The file reader checked the shape already; a document from elsewhere might not have it. */
static bool has_shape(const struct value *list)
{
	if (list->type != VALUE_ARRAY || list->array.len > SLOTS_MAX)
		return false;
	for (size_t k = 0; k < list->array.len; k++) {
		const struct value *pair = list->array.items[k];

		if (pair->type != VALUE_ARRAY || pair->array.len != 2 ||
		    pair->array.items[0]->type != VALUE_STRING ||
		    pair->array.items[1]->type != VALUE_INT || pair->array.items[1]->integer < 1 ||
		    pair->array.items[1]->integer > 65535)
			return false;
	}
	return true;
}

int slots_import(const struct value *services, bool keep_loopback, struct slots *ret,
		 struct err *err)
{
	struct slots slots = { 0 };

	if (!services || services->type != VALUE_TABLE)
		return err_set(err, -EINVAL, "services: the table is missing");
	for (size_t i = 0; i < services->table.len; i++) {
		const struct value_member *member = &services->table.members[i];
		int r;

		if (has_shape(member->value))
			r = import_service(member, keep_loopback, &slots, err);
		else
			r = err_set(err, -EINVAL,
				    "services.%s: not a list of at most %d [host, port] pairs",
				    member->key, SLOTS_MAX);
		if (r < 0) {
			slots_fini(&slots);
			return r;
		}
	}
	slots_fini(ret);
	*ret = slots;
	return 0;
}

bool slots_node_id_valid(const char *id)
{
	const size_t n = strlen(id);

	return n >= 1 && n <= 63 && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n &&
	       id[0] != '.' && id[0] != '-';
}

bool slots_host_valid(const char *host)
{
	const size_t n = strlen(host);

	if (n < 1 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)host[i] <= ' ' || (unsigned char)host[i] >= 127)
			return false;
	return true;
}

bool slots_host_is_loopback(const char *host)
{
	struct address address;

	if (address_parse(host, &address) == 0)
		return address_is_loopback(&address);
	return strcmp(host, "localhost") == 0 || str_ends(host, ".localhost") ||
	       str_starts(host, "localhost.") || strcmp(host, "ip6-localhost") == 0;
}
