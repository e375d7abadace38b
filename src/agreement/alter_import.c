/* SPDX-License-Identifier: MIT */
/*
 * From a whole configuration (an operator's file, an earlier generation) to the
 * edits that lead there. What a file cannot say, or says as `config export`
 * wrote it, stays as it is. Must never turn an assigned slot into a static one,
 * nor drop it.
 */
#include "alter_internal.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"

struct importing {
	const struct generation *generation;
	const struct alter_import_settings *settings;
	const struct value *document;
	const struct value *rendered;
	struct edits *edits;
	struct err *err;
};

static bool same(const struct value *a, const struct value *b)
{
	return a && b ? value_equal(a, b) : a == b;
}

/* ---- entries ------------------------------------------------------------ */

/*
 * The cluster's own key is worth more than none, and than one that everybody
 * knows: a file made from CMS's sample must not bring it back.
 */
static bool is_worse_secret(const char *path, const struct value *old, const struct value *wanted)
{
	if (!str_eq(path, "web_server.secret_key") || !old)
		return false;
	return !wanted ||
	       (wanted->type == VALUE_STRING && config_secret_is_published(wanted->text));
}

static void import_entry(const struct importing *importing, const char *path,
			 const struct value *wanted)
{
	CLEAN(value) struct value *old = alter_value(importing->generation, path);
	const struct value *rendered = value_get_path(importing->rendered, path);

	/* "auto" is rendered as what it comes to, so that is what an export says. */
	if (same(old, wanted))
		return;
	/* In standalone the file is the whole truth. */
	if (!importing->settings->keep_loopback &&
	    ((wanted && same(rendered, wanted)) || is_worse_secret(path, old, wanted)))
		return;
	if (!wanted && old && old->type == VALUE_STRING && str_eq(old->text, "auto"))
		return;
	edits_add(importing->edits, path, old, wanted);
}

static void import_table(const struct importing *importing, const char *name)
{
	const struct value *new = value_get(importing->document, name);
	const struct value *old = value_get(importing->generation->cms, name);

	for (size_t i = 0; new &&i < new->table.len; i++) {
		CLEAN(str) char *path = xasprintf("%s.%s", name, new->table.members[i].key);

		import_entry(importing, path, new->table.members[i].value);
	}
	for (size_t i = 0; old && i < old->table.len; i++) {
		const char *key = old->table.members[i].key;
		CLEAN(str) char *path = xasprintf("%s.%s", name, key);

		if (!value_get(new, key))
			import_entry(importing, path, NULL);
	}
}

/* What stands outside a table no CMS reads, and the store has no place for it. */
static void import_tables(const struct importing *importing)
{
	const struct value *new = importing->document;
	const struct value *old = importing->generation->cms;

	for (size_t i = 0; i < new->table.len; i++)
		if (new->table.members[i].value->type == VALUE_TABLE &&
		    !str_eq(new->table.members[i].key, "services"))
			import_table(importing, new->table.members[i].key);
	/* The ranking has a file of its own: that the main one lacks it says nothing. */
	for (size_t i = 0; i < old->table.len; i++)
		if (!value_get(new, old->table.members[i].key) &&
		    !str_eq(old->table.members[i].key, "ranking"))
			import_table(importing, old->table.members[i].key);
}

/* ---- slots ---------------------------------------------------------------- */

static void add_slot_edit(const struct importing *importing, enum catalogue_index service,
			  size_t shard, const struct value *wanted)
{
	CLEAN(str)
	char *path = xasprintf(ALTER_SLOTS "%s.%zu", catalogue_at(service)->name, shard);
	CLEAN(value) struct value *old = alter_value(importing->generation, path);

	edits_add(importing->edits, path, old, wanted);
}

static void add_list_edit(const struct importing *importing, enum catalogue_index service,
			  bool listed)
{
	CLEAN(str) char *path = xasprintf(ALTER_SLOTS "%s", catalogue_at(service)->name);
	CLEAN(value) struct value *old = alter_value(importing->generation, path);
	CLEAN(value) struct value *wanted = listed ? value_new_bool(true) : NULL;

	edits_add(importing->edits, path, old, wanted);
}

/* Is entry `shard` what `config export` would write for the slot? */
static bool is_as_rendered(const struct importing *importing, const char *service, size_t shard)
{
	const struct value *old = value_get(value_get(importing->rendered, "services"), service);
	const struct value *new = value_get(value_get(importing->document, "services"), service);

	return old && shard < old->array.len &&
	       value_equal(old->array.items[shard], new->array.items[shard]);
}

/* A host that says "this slot, wherever it is". */
static bool means_the_slot(const struct importing *importing, const char *host)
{
	const char *zone = importing->settings->zone;

	if (!host)
		return true;
	return zone && strlen(host) > strlen(zone) && str_ends(host, zone) &&
	       host[strlen(host) - strlen(zone) - 1] == '.';
}

static int import_slot(const struct importing *importing, enum catalogue_index service,
		       size_t shard, const struct slot *wanted)
{
	const struct slot_list *list = &importing->generation->slots.lists[service];
	const char *name = catalogue_at(service)->name;

	if (is_as_rendered(importing, name, shard))
		return 0;
	if (shard < list->len && means_the_slot(importing, wanted->host))
		return 0;
	if (shard < list->len && list->items[shard].node)
		return err_set(
			importing->err, ERR_CONFIG,
			"services.%s: shard %zu is assigned to node '%s', and the file says "
			"%s:%d; leave the entry as config export writes it, or drain the node "
			"first",
			name, shard, list->items[shard].node, wanted->host, wanted->port);
	const struct slot bare = { .host = means_the_slot(importing, wanted->host) ? NULL :
										     wanted->host,
				   .port = wanted->port };
	CLEAN(value) struct value *value = alter_slot_value(&bare);

	if (shard < list->len && bare.host && str_eq(list->items[shard].host, bare.host) &&
	    list->items[shard].port == bare.port)
		return 0;
	add_slot_edit(importing, service, shard, value);
	return 0;
}

/* What the file leaves out at the end; an export leaves out vacant slots there. */
static int drop_tail(const struct importing *importing, enum catalogue_index service,
		     const struct slot_list *wanted)
{
	const struct slot_list *list = &importing->generation->slots.lists[service];
	const char *name = catalogue_at(service)->name;
	const struct value *rendered = value_get(value_get(importing->rendered, "services"), name);

	if (wanted->listed && rendered && wanted->len == rendered->array.len)
		return 0;
	for (size_t k = list->len; k > wanted->len; k--) {
		if (list->items[k - 1].node)
			return err_set(
				importing->err, ERR_CONFIG,
				"services.%s: shard %zu is assigned to node '%s', and the file "
				"leaves it out; drain the node first",
				name, k - 1, list->items[k - 1].node);
		add_slot_edit(importing, service, k - 1, NULL);
	}
	return 0;
}

static int import_list(const struct importing *importing, enum catalogue_index service,
		       const struct slot_list *wanted)
{
	const struct slot_list *list = &importing->generation->slots.lists[service];

	if (wanted->listed && !list->listed)
		add_list_edit(importing, service, true);
	for (size_t k = 0; k < wanted->len; k++) {
		const int r = import_slot(importing, service, k, &wanted->items[k]);
		if (r < 0)
			return r;
	}
	const int r = drop_tail(importing, service, wanted);

	if (r == 0 && list->listed && !wanted->listed)
		add_list_edit(importing, service, false);
	return r;
}

static int import_slots(const struct importing *importing)
{
	struct slots wanted = { 0 };
	int r = slots_import(value_get(importing->document, "services"),
			     importing->settings->keep_loopback, &wanted, importing->err);

	if (r < 0)
		r = importing->err->code = ERR_CONFIG;
	/* Rankings stand in no file: they follow from roles alone. */
	for (int s = 0; r == 0 && s < CATALOGUE_COUNT; s++)
		r = !catalogue_at((enum catalogue_index)s)->listed ?
			    0 :
			    import_list(importing, (enum catalogue_index)s, &wanted.lists[s]);
	slots_fini(&wanted);
	return r;
}

int alter_import(const struct generation *generation, const struct value *document,
		 const struct alter_import_settings *settings, struct edits *ret, struct err *err)
{
	const struct render_settings as = { .zone = settings->zone };
	CLEAN(value) struct value *rendered = generation_render_as(generation, &as);
	const struct importing importing = { generation, settings, document, rendered, ret, err };

	import_tables(&importing);
	return value_get(document, "services") ? import_slots(&importing) : 0;
}

void alter_import_ranking(const struct generation *generation, const struct value *document,
			  struct edits *ret)
{
	const struct alter_import_settings settings = { 0 };
	CLEAN(value) struct value *nothing = value_new_table();
	const struct importing importing = { generation, &settings, document, nothing, ret, NULL };

	import_table(&importing, "ranking");
}

/* ---- an earlier generation ---------------------------------------------------- */

/* Static slots as they were; assigned ones stay, and so do the lists' other ends. */
static void roll_back_list(const struct importing *importing, enum catalogue_index service,
			   const struct slot_list *wanted)
{
	const struct slot_list *list = &importing->generation->slots.lists[service];

	if (wanted->listed && !list->listed)
		add_list_edit(importing, service, true);
	for (size_t k = 0; k < wanted->len || k < list->len; k++) {
		const struct slot *old = k < list->len ? &list->items[k] : NULL;
		const struct slot *new = k < wanted->len ? &wanted->items[k] : NULL;
		const bool was_static = new &&new->host;

		if (old && old->node)
			continue;
		/* Slots in front of a static one have to be there, vacant. */
		if (old && !old->host && !was_static)
			continue;
		const struct slot bare = { .host = was_static ? new->host : NULL,
					   .port = was_static || !old ? new->port : old->port };
		CLEAN(value) struct value *value = alter_slot_value(&bare);

		if (!old || !str_eq(old->host, bare.host) || old->port != bare.port)
			add_slot_edit(importing, service, k, value);
	}
}

void alter_roll_back(const struct generation *generation, const struct generation *to,
		     struct edits *ret)
{
	const struct alter_import_settings settings = { 0 };
	CLEAN(value) struct value *nothing = value_new_table();
	CLEAN(value) struct value *policy = policy_to_value(&to->policy);
	struct err err;
	const struct importing importing = { generation, &settings, to->cms, nothing, ret, &err };

	import_tables(&importing);
	if (!value_get(to->cms, "ranking") && value_get(generation->cms, "ranking"))
		import_table(&importing, "ranking");
	for (size_t i = 0; i < policy->table.len; i++) {
		CLEAN(str) char *path = xasprintf("topology.%s", policy->table.members[i].key);
		CLEAN(value) struct value *old = alter_value(generation, path);

		/* These are of now: thawing is a change of its own, and so are names on or off. */
		if (!str_eq(path, "topology.frozen") && !str_eq(path, "topology.names") &&
		    !same(old, policy->table.members[i].value))
			edits_add(ret, path, old, policy->table.members[i].value);
	}
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		roll_back_list(&importing, (enum catalogue_index)s, &to->slots.lists[s]);
}
