/* SPDX-License-Identifier: MIT */
/*
 * Operators' edits of slots: "slots.Worker.3" is a table {"port"} or, static,
 * {"host","port"}; "slots.Worker" is true where the service is listed. Who has
 * an assigned slot is no operator's to say, so such a slot looks vacant here and
 * refuses to be changed. Must never take a slot from a node.
 */
#include "alter_internal.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"

/* A list of the generation, or one slot of it. */
struct place {
	enum catalogue_index service;
	bool is_list;
	size_t shard;
};

/* "slots.Worker.3"; false: no such path. */
static bool place_of(const char *path, struct place *ret)
{
	const char *name = path + strlen(ALTER_SLOTS);
	const char *dot = strchr(name, '.');
	CLEAN(str) char *service = xstrndup(name, dot ? (size_t)(dot - name) : strlen(name));
	const int index = catalogue_index_of(service);
	int64_t shard = 0;

	if (index < 0 || (dot && str_to_int64(dot + 1, 0, SLOTS_MAX - 1, &shard) < 0))
		return false;
	*ret = (struct place){ (enum catalogue_index)index, !dot, (size_t)shard };
	return true;
}

struct value *alter_slot_value(const struct slot *slot)
{
	struct value *value = value_new_table();

	if (slot->host)
		value_set(value, "host", value_new_string(slot->host));
	value_set(value, "port", value_new_int(slot->port));
	return value;
}

struct value *alter_slots_value(const struct generation *generation, const char *path)
{
	struct place place;

	if (!place_of(path, &place))
		return NULL;
	const struct slot_list *list = &generation->slots.lists[place.service];

	if (place.is_list)
		return list->listed ? value_new_bool(true) : NULL;
	return place.shard < list->len ? alter_slot_value(&list->items[place.shard]) : NULL;
}

static int refuse_assigned(const char *path, const struct slot *slot, struct err *err)
{
	return err_set(
		err, ERR_CONFLICT,
		"%s is assigned to node '%s': leave its entry as config export writes it, or "
		"drain the node first",
		path + strlen(ALTER_SLOTS), slot->node);
}

static int edit_list(struct slot_list *list, const struct edit *edit, struct err *err)
{
	if (!edit->wanted && list->len)
		return err_set(err, ERR_CONFIG, "%s: its slots have to go first",
			       edit->path + strlen(ALTER_SLOTS));
	list->listed = edit->wanted != NULL;
	return 0;
}

static int remove_slot(struct slot_list *list, size_t shard, const struct edit *edit,
		       struct err *err)
{
	if (shard + 1 != list->len)
		return err_set(err, ERR_CONFIG, "%s: only the last of a list can go",
			       edit->path + strlen(ALTER_SLOTS));
	free(list->items[shard].host);
	list->len--;
	return 0;
}

static int set_slot(struct generation *generation, const struct place *place,
		    const struct edit *edit, struct err *err)
{
	struct slot_list *list = &generation->slots.lists[place->service];
	const int64_t port = value_get_int(edit->wanted, "port", 0);
	const char *host = value_get_str(edit->wanted, "host", NULL);

	if (port < 1 || port > 65535 || (host && !slots_host_valid(host)))
		return err_set(err, ERR_CONFIG, "%s: a port and, perhaps, a host is wanted",
			       edit->path + strlen(ALTER_SLOTS));
	if (place->shard > list->len)
		return err_set(err, ERR_CONFIG, "%s: shard %zu is not there yet",
			       edit->path + strlen(ALTER_SLOTS), list->len);
	struct slot *slot = place->shard < list->len ?
				    &list->items[place->shard] :
				    slots_append(&generation->slots, place->service);

	free(slot->host);
	slot->host = xstrdup(host);
	slot->port = (int)port;
	return 0;
}

int alter_edit_slots(struct generation *generation, const struct edit *edit, struct err *err)
{
	struct place place;

	if (!place_of(edit->path, &place))
		return err_set(err, ERR_CONFIG, "%s: no such slot", edit->path);
	struct slot_list *list = &generation->slots.lists[place.service];

	if (place.is_list)
		return edit_list(list, edit, err);
	if (place.shard < list->len && list->items[place.shard].node)
		return refuse_assigned(edit->path, &list->items[place.shard], err);
	if (edit->wanted)
		return set_slot(generation, &place, edit, err);
	return place.shard < list->len ? remove_slot(list, place.shard, edit, err) : 0;
}
