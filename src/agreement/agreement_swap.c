/* SPDX-License-Identifier: MIT */
/*
 * The one transaction that puts a generation in force, whole or not at all. A
 * loser leaves nothing behind and learns the winner. Must never use a name
 * twice, and never put a generation in force over one that was not read.
 */
#include "cmsnode/agreement/agreement.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/store/store.h"

static void put(const struct agreement *a, struct store_ops *ops, const char *folder,
		const char *name, const char *value, uint64_t lease)
{
	CLEAN(str) char *path = agreement_key(a, folder, name);

	store_ops_put(ops, path, value, strlen(value), lease);
}

static void read_current(const struct agreement *a, struct store_ops *ops)
{
	CLEAN(str) char *path = agreement_key(a, "current", "");

	(void)store_ops_range(ops, path, false);
}

/* "<who>_<first role or none>_<sequence>-<8 random hex>" */
static char *new_name(struct agreement *a, int64_t sequence)
{
	CLEAN(str) char *role = NULL;
	int count;

	if (a->self.roles.len == 0 || role_parse(a->self.roles.items[0], &role, &count, NULL) < 0)
		role = xstrdup("none");
	return xasprintf("%s_%s_%04" PRId64 "-%08" PRIx32, a->self.id, role, sequence,
			 (uint32_t)agreement_random(a));
}

static void set_text(char **text, const char *with)
{
	char *copy = xstrdup(with);

	free(*text);
	*text = copy;
}

static void add_ancestor(struct generation_meta *meta, const struct generation *base)
{
	GROW(meta->ancestors, meta->ancestors_len, meta->ancestors_cap);
	memmove(meta->ancestors + 1, meta->ancestors,
		meta->ancestors_len * sizeof(*meta->ancestors));
	meta->ancestors[0].sequence = base->sequence;
	memcpy(meta->ancestors[0].digest, base->meta.digest, sizeof(meta->ancestors[0].digest));
	generation_tag(base->name, meta->ancestors[0].tag);
	if (++meta->ancestors_len > GENERATION_ANCESTORS_MAX)
		meta->ancestors_len = GENERATION_ANCESTORS_MAX;
}

static void add_kept(struct generation_meta *meta, const struct generation *base, size_t size)
{
	GROW(meta->kept, meta->kept_len, meta->kept_cap);
	memmove(meta->kept + 1, meta->kept, meta->kept_len * sizeof(*meta->kept));
	meta->kept[0] = (struct generation_kept){ xstrdup(base->name), base->meta.created_at,
						  (int64_t)size };
	meta->kept_len++;
}

/*
 * The last 20 stay, and more while they are young and few bytes; the rest goes with this very
 * transaction.
 */
static void drop_due(const struct agreement *a, struct generation_meta *meta, struct store_ops *ops)
{
	int64_t total = 0;
	size_t keep = 0;

	for (; keep < meta->kept_len; keep++) {
		total += meta->kept[keep].size;
		const bool is_young = a->wall_s - meta->kept[keep].created_at < GENERATION_KEPT_S;

		if (keep >= GENERATION_KEPT_MIN &&
		    (!is_young || total > GENERATION_KEPT_MAX_SIZE || keep >= GENERATION_KEPT_MAX))
			break;
	}
	/* A transaction is no place for thousands of deletes; the next one takes the rest. */
	for (int n = 0; meta->kept_len > keep && n < 64; n++) {
		struct generation_kept *last = &meta->kept[--meta->kept_len];
		CLEAN(str) char *directory = xasprintf("%s/", last->name);
		CLEAN(str) char *path = agreement_key(a, "configs/", directory);

		store_ops_delete(ops, path, true);
		free(last->name);
	}
}

static void drop_reservation(const struct agreement *a, struct store_ops *ops, const char *id)
{
	CLEAN(str) char *path = agreement_key(a, "reserved/", id);

	store_ops_delete(ops, path, false);
}

/* Of forgotten nodes, and of those whose drain is finished. */
static void drop_reservations(const struct agreement *a, const struct generation *generation,
			      struct store_ops *ops)
{
	const struct edits *edits = &a->edits[0].edits;

	for (size_t i = 0; a->pushed_edit && i < edits->len; i++)
		if (str_starts(edits->items[i].path, "nodes.") && !edits->items[i].wanted)
			drop_reservation(a, ops, edits->items[i].path + strlen("nodes."));
	/* After a restore the reservations are written anew. */
	for (size_t i = 0; a->agreed && !a->restore_lease && i < generation->nodes.len; i++) {
		const struct generation_node *node = &generation->nodes.items[i];
		const struct generation_node *before = generation_node_find(a->agreed, node->id);

		if (node->state == NODE_DRAINED && before && before->state != NODE_DRAINED)
			drop_reservation(a, ops, node->id);
	}
}

/*
 * After a restore: whoever is not registered may come back to its slots for as
 * long as if it had left just now.
 */
static void add_reservations(const struct agreement *a, const struct generation *generation,
			     struct store_ops *ops)
{
	for (size_t i = 0; i < generation->nodes.len; i++) {
		const char *id = generation->nodes.items[i].id;

		if (!registrations_find(&a->registrations, id))
			put(a, ops, "reserved/", id, "away", a->restore_lease);
	}
}

static size_t tree_size(const struct generation *generation)
{
	CLEAN(tree) struct tree tree = { 0 };

	return generation_to_tree(generation, &tree, NULL) < 0 ? GENERATION_MAX_SIZE : tree.size;
}

static bool has_kept(const struct generation_meta *meta, const char *name)
{
	for (size_t i = 0; i < meta->kept_len; i++)
		if (strcmp(meta->kept[i].name, name) == 0)
			return true;
	return false;
}

/* The store may hold directories that this branch does not know: they are swept in their turn. */
static void keep_what_is_there(const struct agreement *a, struct generation_meta *meta)
{
	size_t len = 0;

	for (size_t i = 0; i < meta->kept_len; i++) {
		if (str_list_has(&a->directories, meta->kept[i].name))
			meta->kept[len++] = meta->kept[i];
		else
			free(meta->kept[i].name);
	}
	meta->kept_len = len;
	for (size_t i = 0; i < a->directories.len; i++) {
		if (!generation_name_valid(a->directories.items[i]) ||
		    has_kept(meta, a->directories.items[i]))
			continue;
		GROW(meta->kept, meta->kept_len, meta->kept_cap);
		meta->kept[meta->kept_len++] =
			(struct generation_kept){ xstrdup(a->directories.items[i]), 0, 0 };
	}
}

/* What an operator changed, for `config history`; joins and departures are in the reason. */
static void fill_changes(const struct agreement *a, struct generation_meta *meta)
{
	str_list_fini(&meta->changes);
	meta->at_once = a->pushed_edit && a->edits[0].edits.at_once;
	if (!a->pushed_edit)
		return;
	const struct edits *edits = &a->edits[0].edits;

	for (size_t i = 0; i < edits->len && i < GENERATION_CHANGES_MAX; i++)
		str_list_add(&meta->changes, edits->items[i].path);
}

static void fill_meta(struct agreement *a, struct generation *generation,
		      const struct generation *base, const struct tree *tree, const char *reason)
{
	struct generation_meta *meta = &generation->meta;

	set_text(&meta->parent, base ? base->name : "");
	set_text(&meta->author, a->pushed_edit ? a->edits[0].author : a->self.id);
	set_text(&meta->reason, reason);
	fill_changes(a, meta);
	meta->created_at = a->wall_s;
	meta->schema = GENERATION_SCHEMA;
	meta->entries = (int64_t)tree->len;
	tree_digest(tree, meta->digest);
	if (base) {
		add_ancestor(meta, base);
		add_kept(meta, base, tree_size(base));
	}
}

static void add_generation(const struct agreement *a, const struct generation *generation,
			   const struct tree *tree, struct store_ops *ops)
{
	CLEAN(str) char *folder = xasprintf("configs/%s/", generation->name);
	CLEAN(str) char *meta = generation_meta_to_json(&generation->meta);
	CLEAN(str) char *current = current_to_json(&a->pushed_current);

	put(a, ops, "current", "", current, 0);
	put(a, ops, folder, "meta", meta, 0);
	for (size_t i = 0; i < tree->len; i++) {
		CLEAN(str) char *path = agreement_key(a, folder, tree->items[i].key);

		store_ops_put(ops, path, tree->items[i].value, tree->items[i].value_len, 0);
	}
}

static int64_t highest_epoch(const struct agreement *a)
{
	const struct registration *newest = registrations_newest(&a->registrations);
	int64_t epoch = a->seen.epoch;

	if (newest && newest->applied_epoch > epoch)
		epoch = newest->applied_epoch;
	return a->agreed && a->agreed->epoch > epoch ? a->agreed->epoch : epoch;
}

static void number(const struct agreement *a, struct generation *generation,
		   const struct generation *base, bool restore)
{
	generation->epoch = base ? base->epoch : 1;
	generation->sequence = base ? base->sequence + 1 : 1;
	if (!restore)
		return;
	generation->epoch = highest_epoch(a) + 1;
	if (generation->sequence <= a->seen.sequence)
		generation->sequence = a->seen.sequence + 1;
}

static void fill_current(struct agreement *a, const struct generation *generation, bool restore)
{
	a->pushed_current = (struct current){ .epoch = generation->epoch,
					      .sequence = generation->sequence,
					      .folded = restore ? 0 : a->snapshot_revision,
					      .cluster_id = a->cluster_id,
					      .restored = a->store_restored };
	memcpy(a->pushed_current.name, generation->name, strlen(generation->name) + 1);
	memcpy(a->pushed_current.digest, generation->meta.digest, sizeof(a->pushed_current.digest));
}

/*
 * After a restore revisions are used again: the value, which no other
 * generation has, is compared as well.
 */
static void compare_current(const struct agreement *a, struct store_request *request)
{
	CLEAN(str) char *current = agreement_key(a, "current", "");

	store_request_compare(request, STORE_COMPARE_MOD, current, a->seen.mod_revision);
	if (a->seen.mod_revision && a->seen_value)
		store_request_compare_value(request, current, a->seen_value);
}

struct store_request *agreement_request_swap(struct agreement *a, struct generation *generation,
					     const char *reason, struct err *err)
{
	const bool restore = a->pushed_edit && agreement_wants_restore(a);
	CLEAN(generation) struct generation *restored =
		restore ? generation_clone(generation) : NULL;
	const struct generation *base = restore ? restored : a->agreed;
	CLEAN(tree) struct tree tree = { 0 };

	number(a, generation, base, restore);
	free(generation->name);
	generation->name = new_name(a, generation->sequence);
	if (generation_to_tree(generation, &tree, err) < 0)
		return NULL;
	fill_meta(a, generation, base, &tree, reason);
	fill_current(a, generation, restore);

	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *folder = xasprintf("configs/%s/", generation->name);
	CLEAN(str) char *meta = agreement_key(a, folder, "meta");

	compare_current(a, request);
	store_request_compare(request, STORE_COMPARE_MOD, meta, 0);
	if (restore) {
		keep_what_is_there(a, &generation->meta);
		add_reservations(a, generation, &request->success);
	}
	drop_due(a, &generation->meta, &request->success);
	drop_reservations(a, generation, &request->success);
	add_generation(a, generation, &tree, &request->success);
	read_current(a, &request->failure);
	return request;
}

struct store_request *agreement_request_mark(struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);

	/* Once this is carried out, no earlier swap can be any more. */
	generation_free(steal(a->pushed));
	a->pushed_current = a->seen;
	a->pushed_current.folded = a->snapshot_revision;
	compare_current(a, request);
	CLEAN(str) char *json = current_to_json(&a->pushed_current);

	put(a, &request->success, "current", "", json, 0);
	read_current(a, &request->failure);
	return request;
}
