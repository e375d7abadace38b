/* SPDX-License-Identifier: MIT */
/*
 * Operators' edits of a generation. Must refuse what was changed meanwhile: an operator never
 * overwrites what he has not seen.
 */
#include "alter_internal.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"

#define PUBLIC "ranking.public."

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

/* "ranking.public.x": the one place where CMS nests a table. NULL: the path is another. */
static const char *in_public(const char *path)
{
	return str_starts(path, PUBLIC) ? path + strlen(PUBLIC) : NULL;
}

struct value *alter_value(const struct generation *generation, const char *path)
{
	if (str_starts(path, ALTER_SLOTS))
		return alter_slots_value(generation, path);
	if (in_public(path))
		return value_clone(value_get(value_get_path(generation->cms, "ranking.public"),
					     in_public(path)));
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

static int set_node_state(struct generation *generation, const char *id, const struct value *wanted,
			  struct err *err)
{
	struct generation_node *node = generation_node_find(generation, id);
	const bool drain = wanted->type == VALUE_STRING && str_eq(wanted->text, "draining");

	if (!node)
		return err_set(err, ERR_CONFIG, "there is no node '%.63s' (any more)", id);
	if (!drain && (wanted->type != VALUE_STRING || !str_eq(wanted->text, "present")))
		return err_set(err, ERR_CONFIG, "nodes.%.63s: draining or present is wanted", id);
	const bool drains = node->state == NODE_DRAINING || node->state == NODE_DRAINED;

	if (drains == drain)
		return 0;
	node->state = drain ? NODE_DRAINING : NODE_PRESENT;
	node->since_sequence = generation->sequence + 1;
	return 0;
}

static void set_entry(struct generation *generation, const char *path, const struct value *wanted)
{
	const bool nested = in_public(path);
	CLEAN(str)
	char *table = nested ? xstrdup("ranking.public") : xstrndup(path, strcspn(path, "."));
	const char *key = path + strlen(table) + 1;

	if (nested && !value_get_path(generation->cms, table))
		value_set_path(generation->cms, table, value_new_table());
	if (wanted && nested)
		value_set(value_get_path(generation->cms, table), key, value_clone(wanted));
	else if (wanted)
		value_set_path(generation->cms, path, value_clone(wanted));
	else
		(void)value_remove(nested ? value_get_path(generation->cms, table) :
					    value_get(generation->cms, table),
				   key);
}

static int apply_edit(struct generation *generation, const struct edit *edit, struct err *err)
{
	if (str_starts(edit->path, ALTER_SLOTS))
		return alter_edit_slots(generation, edit, err);
	if (str_starts(edit->path, "nodes.") && edit->wanted)
		return set_node_state(generation, edit->path + strlen("nodes."), edit->wanted, err);
	if (str_starts(edit->path, "nodes."))
		return forget_node(generation, edit->path + strlen("nodes."), err);
	if (str_starts(edit->path, "topology."))
		return set_policy(generation, edit, err);
	const char *dot = strchr(edit->path, '.');
	if (!dot || dot == edit->path || !dot[1] || str_starts(edit->path, "services."))
		return err_set(
			err, ERR_CONFIG,
			"%s: not a <table>.<key> that can be set; who runs what follows from the nodes' roles",
			edit->path);
	set_entry(generation, edit->path, edit->wanted);
	return 0;
}

/* Frozen, a configuration takes only thawing, and who leaves: machines go during a contest, too. */
static bool is_taken_frozen(const struct edits *edits)
{
	return edits->len == 1 && (strcmp(edits->items[0].path, "topology.frozen") == 0 ||
				   str_starts(edits->items[0].path, "nodes."));
}

int alter_edit(struct generation *generation, const struct edits *edits, struct err *err)
{
	if (edits->len && generation->policy.frozen && !is_taken_frozen(edits))
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
