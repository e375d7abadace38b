/* SPDX-License-Identifier: MIT */
/*
 * What the next generation shall be. Must stay deterministic: registrations are
 * taken in the order of their age, slots in the order of their shards.
 */
#include "cmsnode/agreement/alter.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/daemon/options.h"

/* ---- operators' edits -------------------------------------------------- */

void edits_fini(struct edits *edits)
{
	for (size_t i = 0; i < edits->len; i++) {
		free(edits->items[i].path);
		value_free(edits->items[i].old);
		value_free(edits->items[i].wanted);
	}
	free(edits->items);
	*edits = (struct edits){ 0 };
}

void edits_add(struct edits *edits, const char *path, const struct value *old,
	       const struct value *wanted)
{
	GROW(edits->items, edits->len, edits->cap);
	edits->items[edits->len++] =
		(struct edit){ xstrdup(path), value_clone(old), value_clone(wanted) };
}

struct value *alter_value(const struct generation *generation, const char *path)
{
	if (!str_starts(path, "topology."))
		return value_clone(value_get_path(generation->cms, path));
	CLEAN(value) struct value *policy = policy_to_value(&generation->policy);

	return value_clone(value_get(policy, path + strlen("topology.")));
}

static char *shown(const char *path, const struct value *value)
{
	if (!value)
		return xstrdup("(not set)");
	CLEAN(value) struct value *masked = config_mask(path, value);

	return value_to_json(masked);
}

static bool same_value(const struct value *a, const struct value *b)
{
	return a && b ? value_equal(a, b) : a == b;
}

static int refuse_conflict(const struct edit *edit, const struct value *found, struct err *err)
{
	CLEAN(str) char *old = shown(edit->path, edit->old);
	CLEAN(str) char *now = shown(edit->path, found);
	CLEAN(str) char *wanted =
		edit->wanted ? shown(edit->path, edit->wanted) : xstrdup("(unset)");

	return err_set(
		err, ERR_CONFLICT,
		"%s was changed meanwhile: it was %.200s, is now %.200s, and was to become %.200s; look at it and say it again",
		edit->path, old, now, wanted);
}

static int set_policy(struct generation *generation, const struct edit *edit, struct err *err)
{
	if (!edit->wanted)
		return err_set(err, ERR_CONFIG, "%s: a policy cannot be unset, only changed",
			       edit->path);
	const int r = policy_set(&generation->policy, edit->path + strlen("topology."),
				 edit->wanted, err);
	if (r < 0)
		err->code = ERR_CONFIG;
	return r < 0 ? ERR_CONFIG : 0;
}

/* What a node that will not return had is vacant now. */
static int forget_node(struct generation *generation, const char *id, struct err *err)
{
	if (!generation_node_remove(generation, id))
		return err_set(err, ERR_CONFIG, "there is no node '%.63s' (any more)", id);
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &generation->slots.lists[s];

		for (size_t k = 0; k < list->len; k++)
			if (str_eq(list->items[k].node, id))
				slot_set_node(&list->items[k], NULL);
	}
	return 0;
}

static int apply_edit(struct generation *generation, const struct edit *edit, struct err *err)
{
	if (str_starts(edit->path, "nodes.") && !edit->wanted)
		return forget_node(generation, edit->path + strlen("nodes."), err);
	if (str_starts(edit->path, "topology."))
		return set_policy(generation, edit, err);
	const char *dot = strchr(edit->path, '.');
	if (!dot || dot == edit->path || str_starts(edit->path, "nodes.") || !dot[1] ||
	    str_starts(edit->path, "services."))
		return err_set(
			err, ERR_CONFIG,
			"%s: not a <table>.<key> that can be set; who runs what follows from the nodes' roles",
			edit->path);
	if (edit->wanted) {
		value_set_path(generation->cms, edit->path, value_clone(edit->wanted));
		return 0;
	}
	CLEAN(str) char *table = xstrndup(edit->path, (size_t)(dot - edit->path));

	(void)value_remove(value_get(generation->cms, table), dot + 1);
	return 0;
}

/* Thawing is the one change that a frozen configuration takes. */
static bool thaws(const struct edits *edits)
{
	return edits->len == 1 && strcmp(edits->items[0].path, "topology.frozen") == 0;
}

int alter_edit(struct generation *generation, const struct edits *edits, struct err *err)
{
	if (edits->len && generation->policy.frozen && !thaws(edits))
		return err_set(
			err, ERR_CONFIG,
			"the configuration is frozen; thaw it first (config set topology.frozen=false)");
	for (size_t i = 0; i < edits->len; i++) {
		const struct edit *edit = &edits->items[i];
		CLEAN(value) struct value *found = alter_value(generation, edit->path);

		if (!same_value(found, edit->old) && !same_value(found, edit->wanted))
			return refuse_conflict(edit, found, err);
		const int r = apply_edit(generation, edit, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- joins ------------------------------------------------------------- */

struct joining {
	struct generation *generation;
	const struct registrations *registrations;
	const struct registration *node;
};

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

static bool port_is_taken(const struct joining *joining, int port, const struct slot *except)
{
	CLEAN(str) char *text = xasprintf("%d", port);

	if (str_list_has(&joining->node->ports_held, text))
		return true;
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &joining->generation->slots.lists[s];

		for (size_t k = 0; k < list->len; k++) {
			const struct slot *slot = &list->items[k];

			if (slot != except && (slot->port == port || slot->http_port == port) &&
			    !slot_is_vacant(slot) && slot_is_on_host(joining, slot))
				return true;
		}
	}
	return false;
}

/* isolate's boxes are per kernel and numbered by shard modulo 64. */
static bool worker_boxes_clash(const struct joining *joining, size_t shard)
{
	const struct slot_list *list = &joining->generation->slots.lists[CATALOGUE_WORKER];

	for (size_t k = shard % 64; k < list->len; k += 64) {
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

	if (!slot_is_vacant(slot) || port_is_taken(joining, slot->port, slot))
		return false;
	return service != CATALOGUE_WORKER || !worker_boxes_clash(joining, k);
}

static int free_http_port(const struct joining *joining, size_t k)
{
	if (!port_is_taken(joining, 8888, NULL))
		return 8888;
	for (int i = 0; i < 100; i++) {
		const int port = 8900 + (int)((k + (size_t)i) % 100);

		if (!port_is_taken(joining, port, NULL))
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
}

/* Vacant slots lowest first, then new ones; a singleton's list never grows beyond one. */
static bool take_one(const struct joining *joining, enum catalogue_index service)
{
	struct slots *slots = &joining->generation->slots;
	struct slot_list *list = &slots->lists[service];

	for (size_t k = 0; k < list->len; k++) {
		if (slot_fits(joining, service, k)) {
			take_slot(joining, service, k);
			return true;
		}
	}
	const size_t most = catalogue_at(service)->singleton ? 1 : SLOTS_MAX;

	const size_t before = list->len;

	/*
	 * A new slot may be unfit too (its port, its box): at most one round of ports is passed
	 * over.
	 */
	for (int attempts = 0; attempts < 2000 && list->len < most; attempts++) {
		(void)slots_append(slots, service);
		if (slot_fits(joining, service, list->len - 1)) {
			take_slot(joining, service, list->len - 1);
			return true;
		}
	}
	list->len = before; /* what was appended is vacant: nothing to free */
	return false;
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
			return;
		}
	}
}

static void fill_slots(const struct joining *joining)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const enum catalogue_index service = (enum catalogue_index)s;
		if (!catalogue_at(service)->listed)
			continue;
		const size_t wanted = wanted_count(joining, service);
		size_t mine = count_mine(joining, service);

		for (; mine > wanted; mine--)
			release_last(joining, service);
		while (mine < wanted && take_one(joining, service))
			mine++;
	}
}

static bool node_differs(const struct generation_node *node,
			 const struct registration *registration)
{
	return strcmp(node->address, registration->address) != 0 ||
	       !str_list_equal(&node->roles, &registration->roles) ||
	       strcmp(node->contest, registration->contest) != 0 || node->state != NODE_PRESENT;
}

static void join_one(const struct joining *joining, struct str_list *ret_joined)
{
	const struct registration *registration = joining->node;
	const bool is_new = !generation_node_find(joining->generation, registration->id);
	struct generation_node *node = generation_node_add(joining->generation, registration->id);
	if (!is_new && !node_differs(node, registration)) {
		fill_slots(joining);
		return;
	}
	free(node->address);
	free(node->contest);
	node->address = xstrdup(registration->address);
	node->contest = xstrdup(registration->contest);
	str_list_copy(&node->roles, &registration->roles);
	node->state = NODE_PRESENT;
	node->since_sequence = joining->generation->sequence + 1;
	fill_slots(joining);
	if (ret_joined)
		str_list_add(ret_joined, registration->id);
}

static int compare_age(const void *a, const void *b)
{
	const struct registration *x = *(const struct registration *const *)a;
	const struct registration *y = *(const struct registration *const *)b;

	if (x->create_revision != y->create_revision)
		return x->create_revision < y->create_revision ? -1 : 1;
	return strcmp(x->id, y->id);
}

void alter_join(struct generation *generation, const struct registrations *registrations,
		struct str_list *ret_joined)
{
	const struct registration **order = xcalloc(registrations->len, sizeof(*order));

	for (size_t i = 0; i < registrations->len; i++)
		order[i] = &registrations->items[i];
	if (registrations->len)
		qsort(order, registrations->len, sizeof(*order), compare_age);
	for (size_t i = 0; i < registrations->len; i++) {
		const struct joining joining = { generation, registrations, order[i] };

		join_one(&joining, ret_joined);
	}
	free(order);
}
