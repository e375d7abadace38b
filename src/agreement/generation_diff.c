/* SPDX-License-Identifier: MIT */
/* What differs between two generations, as values, text and JSON. Must never show a secret. */
#include "cmsnode/agreement/generation_diff.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/buf.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"

void generation_diff_fini(struct generation_diff *diff)
{
	diff_fini(&diff->entries);
	free(diff->slots);
	free(diff->nodes);
	*diff = (struct generation_diff){ 0 };
}

bool generation_diff_is_empty(const struct generation_diff *diff)
{
	return diff->entries.len == 0 && diff->slots_len == 0 && diff->nodes_len == 0;
}

/* ---- comparing ---- */

/* Takes the items of `more`, which is empty afterwards. */
static void append_items(struct diff *diff, struct diff *more)
{
	for (size_t i = 0; i < more->len; i++) {
		GROW(diff->items, diff->len, diff->cap);
		diff->items[diff->len++] = more->items[i];
	}
	more->len = 0;
}

/* The policy as the table that an operator sets it in. */
static struct value *policy_document(const struct generation *generation)
{
	struct value *document = value_new_table();

	value_set(document, "topology", policy_to_value(&generation->policy));
	return document;
}

static void compare_entries(const struct generation *old, const struct generation *new,
			    struct generation_diff *ret)
{
	CLEAN(value) struct value *old_policy = policy_document(old);
	CLEAN(value) struct value *new_policy = policy_document(new);
	CLEAN(diff) struct diff policy = { 0 };

	diff_documents(old->cms, new->cms, &ret->entries);
	diff_documents(old_policy, new_policy, &policy);
	append_items(&ret->entries, &policy);
}

static bool same_slot(const struct slot *a, const struct slot *b)
{
	return a && b ? slot_equal(a, b) : a == b;
}

static void add_slot(struct generation_diff *diff, const struct slot_change *change)
{
	GROW(diff->slots, diff->slots_len, diff->slots_cap);
	diff->slots[diff->slots_len++] = *change;
}

static const struct slot *slot_at(const struct slot_list *list, size_t k)
{
	return k < list->len ? &list->items[k] : NULL;
}

static void compare_slots(const struct generation *old, const struct generation *new,
			  struct generation_diff *ret)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *before = &old->slots.lists[s];
		const struct slot_list *after = &new->slots.lists[s];

		if (before->listed != after->listed && before->len == after->len)
			add_slot(ret, &(struct slot_change){ .service = (enum catalogue_index)s,
							     .shard = -1,
							     .listed = after->listed });
		for (size_t k = 0; k < before->len || k < after->len; k++) {
			const struct slot_change change = { .service = (enum catalogue_index)s,
							    .shard = (int)k,
							    .listed = after->listed,
							    .old = slot_at(before, k),
							    .new = slot_at(after, k) };

			if (!same_slot(change.old, change.new))
				add_slot(ret, &change);
		}
	}
}

static bool same_node(const struct generation_node *a, const struct generation_node *b)
{
	return str_eq(a->address, b->address) && str_list_equal(&a->roles, &b->roles) &&
	       str_eq(a->contest, b->contest) && a->state == b->state;
}

static void add_node(struct generation_diff *diff, const struct generation_node *old,
		     const struct generation_node *new)
{
	if (old != NULL && new != NULL && same_node(old, new))
		return;
	GROW(diff->nodes, diff->nodes_len, diff->nodes_cap);
	diff->nodes[diff->nodes_len++] = (struct node_change){ old, new };
}

/* Both lists are sorted by id. */
static void compare_nodes(const struct generation *old, const struct generation *new,
			  struct generation_diff *ret)
{
	const struct generation_nodes *before = &old->nodes;
	const struct generation_nodes *after = &new->nodes;
	size_t i = 0, k = 0;

	while (i < before->len || k < after->len) {
		const struct generation_node *x = i < before->len ? &before->items[i] : NULL;
		const struct generation_node *y = k < after->len ? &after->items[k] : NULL;
		const int order = x && y ? strcmp(x->id, y->id) : x ? -1 : 1;

		add_node(ret, order <= 0 ? x : NULL, order >= 0 ? y : NULL);
		i += order <= 0;
		k += order >= 0;
	}
}

void generation_diff_make(const struct generation *old, const struct generation *new,
			  struct generation_diff *ret)
{
	generation_diff_fini(ret);
	compare_entries(old, new, ret);
	compare_slots(old, new, ret);
	compare_nodes(old, new, ret);
}

/* ---- showing: text ---- */

/* The port of a vacant slot is news only where that is all that changes. */
static void add_slot_text(struct buf *text, const struct slot *slot, const struct slot *other)
{
	if (!slot) {
		(void)buf_adds(text, "(none)");
		return;
	}
	if (slot->node)
		(void)buf_addf(text, "node %s", slot->node);
	else if (slot->host)
		(void)buf_addf(text, "host %s", slot->host);
	else
		(void)buf_adds(text, "vacant");
	if (!slot_is_vacant(slot) || (other && slot_is_vacant(other)))
		(void)buf_addf(text, " port %d", slot->port);
	if (slot->http_port)
		(void)buf_addf(text, " http %d", slot->http_port);
}

static void add_slot_line(struct buf *text, const struct slot_change *change)
{
	const char *service = catalogue_at(change->service)->name;

	if (change->shard < 0) {
		(void)buf_addf(text, "%s: %s\n", service,
			       change->listed ? "not listed -> listed" : "listed -> not listed");
		return;
	}
	(void)buf_addf(text, "%s,%d: ", service, change->shard);
	add_slot_text(text, change->old, change->new);
	(void)buf_adds(text, " -> ");
	add_slot_text(text, change->new, change->old);
	(void)buf_adds(text, "\n");
}

static void add_field(struct buf *text, const char *id, const char *field, const char *old,
		      const char *new)
{
	if (!str_eq(old, new))
		(void)buf_addf(text, "node %s: %s%s -> %s\n", id, field, old, new);
}

static void add_node_lines(struct buf *text, const struct node_change *change)
{
	const struct generation_node *old = change->old;
	const struct generation_node *new = change->new;

	if (!new) {
		(void)buf_addf(text, "node %s: %s -> (none)\n", old->id,
			       node_state_name(old->state));
		return;
	}
	CLEAN(str) char *roles = str_list_join(&new->roles, ",");

	if (!old) {
		(void)buf_addf(text, "node %s: (none) -> %s, address %s, roles %s, contest %s\n",
			       new->id, node_state_name(new->state), new->address, roles,
			       new->contest);
		return;
	}
	CLEAN(str) char *old_roles = str_list_join(&old->roles, ",");

	add_field(text, new->id, "", node_state_name(old->state), node_state_name(new->state));
	add_field(text, new->id, "address ", old->address, new->address);
	add_field(text, new->id, "roles ", old_roles, roles);
	add_field(text, new->id, "contest ", old->contest, new->contest);
}

char *generation_diff_text(const struct generation_diff *diff)
{
	CLEAN(str) char *entries = diff_text(&diff->entries);
	struct buf text = BUF_INIT(0);

	(void)buf_adds(&text, entries);
	for (size_t i = 0; i < diff->slots_len; i++)
		add_slot_line(&text, &diff->slots[i]);
	for (size_t i = 0; i < diff->nodes_len; i++)
		add_node_lines(&text, &diff->nodes[i]);
	return buf_steal(&text);
}

/* ---- showing: JSON ---- */

static cJSON *slot_to_json(const struct slot *slot)
{
	if (!slot)
		return cJSON_CreateNull();
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "node", slot->node);
	json_add_str(json, "host", slot->host);
	json_add_int(json, "port", slot->port);
	if (slot->http_port)
		json_add_int(json, "http_port", slot->http_port);
	else
		json_add_str(json, "http_port", NULL);
	return json;
}

static cJSON *node_to_json(const struct generation_node *node)
{
	if (!node)
		return cJSON_CreateNull();
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "address", node->address);
	json_add_str_list(json, "roles", &node->roles);
	json_add_str(json, "contest", node->contest);
	json_add_str(json, "state", node_state_name(node->state));
	return json;
}

static cJSON *slot_change_to_json(const struct slot_change *change)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "service", catalogue_at(change->service)->name);
	if (change->shard < 0)
		json_add_str(json, "shard", NULL);
	else
		json_add_int(json, "shard", change->shard);
	json_add_bool(json, "listed", change->listed);
	(void)cJSON_AddItemToObject(json, "old", slot_to_json(change->old));
	(void)cJSON_AddItemToObject(json, "new", slot_to_json(change->new));
	return json;
}

static cJSON *node_change_to_json(const struct node_change *change)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "id", change->new ? change->new->id : change->old->id);
	(void)cJSON_AddItemToObject(json, "old", node_to_json(change->old));
	(void)cJSON_AddItemToObject(json, "new", node_to_json(change->new));
	return json;
}

struct cJSON *generation_diff_to_json(const struct generation_diff *diff)
{
	cJSON *json = cJSON_CreateObject();

	(void)cJSON_AddItemToObject(json, "entries", diff_to_json(&diff->entries));
	cJSON *slots = cJSON_AddArrayToObject(json, "slots");

	for (size_t i = 0; i < diff->slots_len; i++)
		(void)cJSON_AddItemToArray(slots, slot_change_to_json(&diff->slots[i]));
	cJSON *nodes = cJSON_AddArrayToObject(json, "nodes");

	for (size_t i = 0; i < diff->nodes_len; i++)
		(void)cJSON_AddItemToArray(nodes, node_change_to_json(&diff->nodes[i]));
	return json;
}
