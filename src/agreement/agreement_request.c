/* SPDX-License-Identifier: MIT */
/*
 * The agreement's requests to the store and what their replies say. No state is changed here but
 * what was read.
 */
#include "cmsnode/agreement/agreement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/store/store.h"

static char *key(const struct agreement *a, const char *folder, const char *name)
{
	return xasprintf("%s/%s%s", a->prefix, folder, name);
}

static void add_range(const struct agreement *a, struct store_ops *ops, const char *folder,
		      const char *name, bool prefix)
{
	CLEAN(str) char *path = key(a, folder, name);

	(void)store_ops_range(ops, path, prefix);
}

static void add_put(const struct agreement *a, struct store_ops *ops, const char *folder,
		    const char *name, const char *value, uint64_t lease)
{
	CLEAN(str) char *path = key(a, folder, name);

	store_ops_put(ops, path, value, strlen(value), lease);
}

static char *claim_name(const char *address, const char *id)
{
	return xasprintf("%s/%s", address, id);
}

/* ---- edits ------------------------------------------------------------- */

void agreement_edit_init(struct agreement_edit *edit, const struct agreement_input *in)
{
	*edit = (struct agreement_edit){ .id = in->edit_id,
					 .author = xstrdup(in->author ? in->author : "operator"),
					 .reason = xstrdup(in->reason ? in->reason : "edited"),
					 .deadline_ms = in->now_ms + AGREEMENT_EDIT_MS };
	for (size_t i = 0; i < in->edits->len; i++)
		edits_add(&edit->edits, in->edits->items[i].path, in->edits->items[i].old,
			  in->edits->items[i].wanted);
}

void agreement_edit_fini(struct agreement_edit *edit)
{
	edits_fini(&edit->edits);
	free(edit->author);
	free(edit->reason);
	*edit = (struct agreement_edit){ 0 };
}

/* ---- reading ----------------------------------------------------------- */

struct store_request *agreement_request_read(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);

	add_range(a, &request->success, "current", "", false);
	add_range(a, &request->success, "nodes/", "", true);
	if (a->self.address[0]) {
		CLEAN(str) char *folder = xasprintf("%s/", a->self.address);

		add_range(a, &request->success, "addresses/", folder, true);
	}
	return request;
}

struct store_request *agreement_request_snapshot(const struct agreement *a)
{
	return agreement_request_read(a);
}

struct store_request *agreement_request_fetch(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *directory = xasprintf("%s/", a->current.name);

	add_range(a, &request->success, "configs/", directory, true);
	return request;
}

/*
 * Pending registrations that are older than ours. etcd's own count ignores the filters: the keys
 * are counted.
 */
struct store_request *agreement_request_rank(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *path = key(a, "nodes/", "");
	struct store_op *op = store_ops_range(&request->success, path, true);

	op->range.min_mod_revision = a->current.folded + 1;
	op->range.max_create_revision = a->own_create_revision - 1;
	op->range.limit = 16;
	op->range.keys_only = true;
	return request;
}

static int read_current(struct agreement *a, const struct store_kvs *kvs, struct err *err)
{
	CLEAN(str) char *path = key(a, "current", "");
	const struct store_kv *kv = store_kvs_find(kvs, path);

	a->seen = (struct current){ 0 };
	return kv ? current_from_kv(kv, &a->seen, err) : 0;
}

static void read_registrations(struct agreement *a, const struct store_kvs *kvs)
{
	CLEAN(str) char *folder = key(a, "nodes/", "");

	registrations_fini(&a->registrations);
	for (size_t i = 0; i < kvs->len; i++) {
		struct registration registration;

		if (!str_starts(kvs->items[i].key, folder) ||
		    registration_from_kv(&kvs->items[i], kvs->items[i].key + strlen(folder),
					 &registration, NULL) < 0)
			continue;
		struct registrations *all = &a->registrations;

		GROW(all->items, all->len, all->cap);
		all->items[all->len++] = registration;
	}
}

void agreement_forget_claims(struct agreement *a)
{
	for (size_t i = 0; i < a->claims_len; i++)
		free(a->claims[i].id);
	a->claims_len = 0;
}

static void read_claims(struct agreement *a, const struct store_kvs *kvs)
{
	agreement_forget_claims(a);
	for (size_t i = 0; i < kvs->len; i++) {
		const char *id = strrchr(kvs->items[i].key, '/');

		GROW(a->claims, a->claims_len, a->claims_cap);
		a->claims[a->claims_len++] =
			(struct agreement_claim){ xstrdup(id ? id + 1 : ""),
						  kvs->items[i].create_revision };
	}
}

int agreement_reply_read(struct agreement *a, const struct store_reply *reply, struct err *err)
{
	if (reply->ranges_len < 2)
		return err_set(err, -EINVAL, "the store's answer is incomplete");
	read_registrations(a, &reply->ranges[1]);
	if (reply->ranges_len > 2)
		read_claims(a, &reply->ranges[2]);
	return read_current(a, &reply->ranges[0], err);
}

int agreement_reply_current(struct agreement *a, const struct store_reply *reply, struct err *err)
{
	if (reply->ranges_len < 1)
		return err_set(err, -EINVAL, "the store's answer is incomplete");
	return read_current(a, &reply->ranges[0], err);
}

int agreement_reply_fetch(struct agreement *a, const struct store_reply *reply,
			  struct generation **ret, struct err *err)
{
	CLEAN(str) char *folder = key(a, "configs/", a->current.name);
	CLEAN(str) char *directory = xasprintf("%s/", folder);

	if (reply->ranges_len < 1)
		return err_set(err, -EINVAL, "the store's answer is incomplete");
	return generation_from_kvs(&a->current, directory, &reply->ranges[0], ret, err);
}

int agreement_reply_rank(const struct agreement *a, const struct store_reply *reply,
			 size_t *ret_rank)
{
	(void)a;
	if (reply->ranges_len < 1)
		return -EINVAL;
	*ret_rank = reply->ranges[0].len;
	return 0;
}

enum agreement_saw agreement_watch_event(struct agreement *a, const struct store_event *event)
{
	CLEAN(str) char *current = key(a, "current", "");
	CLEAN(str) char *own = key(a, "nodes/", a->self.id);

	if (strcmp(event->kv.key, current) == 0) {
		struct current seen = { 0 };

		if (!event->deleted && current_from_kv(&event->kv, &seen, NULL) < 0)
			return AGREEMENT_SAW_DOUBT;
		a->seen = seen;
		return AGREEMENT_SAW_CURRENT;
	}
	if (strcmp(event->kv.key, own) == 0 && (event->deleted || event->kv.lease != a->lease))
		return AGREEMENT_SAW_DOUBT;
	return AGREEMENT_SAW_NOTHING;
}

/* ---- leases and registration ------------------------------------------- */

struct store_request *agreement_request_grant(const struct agreement *a, uint64_t lease,
					      int64_t ttl_s)
{
	(void)a;
	struct store_request *request = store_request_new(STORE_LEASE_GRANT);

	request->leases[0] = lease;
	request->leases_len = 1;
	request->ttl_s = ttl_s;
	return request;
}

struct store_request *agreement_request_revoke(uint64_t lease)
{
	struct store_request *request = store_request_new(STORE_LEASE_REVOKE);

	request->leases[0] = lease;
	request->leases_len = 1;
	return request;
}

struct store_request *agreement_request_remaining(uint64_t lease)
{
	struct store_request *request = store_request_new(STORE_LEASE_REMAINING);

	request->leases[0] = lease;
	request->leases_len = 1;
	return request;
}

struct store_request *agreement_request_keepalive(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_LEASE_KEEPALIVE);

	request->leases[0] = a->lease;
	request->leases[1] = a->reserved_lease;
	request->leases_len = 2;
	return request;
}

static void add_registration(struct agreement *a, struct store_ops *ops)
{
	a->self.lease = a->lease;
	a->self.reserved_lease = a->reserved_lease;
	CLEAN(str) char *json = registration_to_json(&a->self);

	add_put(a, ops, "nodes/", a->self.id, json, a->lease);
	add_put(a, ops, "reserved/", a->self.id, "away", a->reserved_lease);
}

static void add_claim(struct agreement *a, struct store_ops *ops)
{
	if (a->self.address[0]) {
		CLEAN(str) char *name = claim_name(a->self.address, a->self.id);
		CLEAN(str) char *proof =
			xasprintf("{\"boot_id\":\"%s\",\"netns\":\"%s\",\"product_uuid\":\"%s\"}",
				  a->self.boot_id, a->self.netns, a->self.product_uuid);

		add_put(a, ops, "addresses/", name, proof, a->lease);
	}
	if (a->claimed && a->claimed[0] && strcmp(a->claimed, a->self.address) != 0) {
		CLEAN(str) char *old = claim_name(a->claimed, a->self.id);
		CLEAN(str) char *path = key(a, "addresses/", old);

		store_ops_delete(ops, path, false);
	}
}

struct store_request *agreement_request_register(struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *own = key(a, "nodes/", a->self.id);

	store_request_compare(request, STORE_COMPARE_MOD, own, a->own_mod_revision);
	add_registration(a, &request->success);
	add_claim(a, &request->success);
	add_range(a, &request->failure, "nodes/", a->self.id, false);
	return request;
}

struct store_request *agreement_request_leave(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *own = key(a, "nodes/", a->self.id);

	store_request_compare(request, STORE_COMPARE_LEASE, own, (int64_t)a->lease);
	add_put(a, &request->success, "reserved/", a->self.id, "stopped", a->reserved_lease);
	add_range(a, &request->failure, "nodes/", a->self.id, false);
	return request;
}

/* ---- the swap ---------------------------------------------------------- */

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

		if (keep >= GENERATION_KEPT_MIN && (!is_young || total > GENERATION_KEPT_MAX_SIZE))
			break;
	}
	/* A transaction is no place for thousands of deletes; the next one takes the rest. */
	for (int n = 0; meta->kept_len > keep && n < 64; n++) {
		struct generation_kept *last = &meta->kept[--meta->kept_len];
		CLEAN(str) char *directory = xasprintf("%s/", last->name);
		CLEAN(str) char *path = key(a, "configs/", directory);

		store_ops_delete(ops, path, true);
		free(last->name);
	}
}

/* A forgotten node's reservation goes with it. */
static void drop_reservations(const struct agreement *a, struct store_ops *ops)
{
	const struct edits *edits = &a->edits[0].edits;

	for (size_t i = 0; a->pushed_edit && i < edits->len; i++) {
		if (!str_starts(edits->items[i].path, "nodes."))
			continue;
		CLEAN(str) char *path =
			key(a, "reserved/", edits->items[i].path + strlen("nodes."));

		store_ops_delete(ops, path, false);
	}
}

static size_t tree_size(const struct generation *generation)
{
	CLEAN(tree) struct tree tree = { 0 };

	return generation_to_tree(generation, &tree, NULL) < 0 ? GENERATION_MAX_SIZE : tree.size;
}

static void fill_meta(struct agreement *a, struct generation *generation, const struct tree *tree,
		      const char *reason)
{
	struct generation_meta *meta = &generation->meta;

	set_text(&meta->parent, a->agreed ? a->agreed->name : "");
	set_text(&meta->author, a->pushed_edit ? a->edits[0].author : a->self.id);
	set_text(&meta->reason, reason);
	meta->created_at = a->wall_s;
	meta->schema = GENERATION_SCHEMA;
	meta->entries = (int64_t)tree->len;
	tree_digest(tree, meta->digest);
	if (a->agreed) {
		add_ancestor(meta, a->agreed);
		add_kept(meta, a->agreed, tree_size(a->agreed));
	}
}

static void add_generation(const struct agreement *a, const struct generation *generation,
			   const struct tree *tree, struct store_ops *ops)
{
	CLEAN(str) char *folder = xasprintf("configs/%s/", generation->name);
	CLEAN(str) char *meta = generation_meta_to_json(&generation->meta);
	CLEAN(str) char *current = current_to_json(&a->pushed_current);

	add_put(a, ops, "current", "", current, 0);
	add_put(a, ops, folder, "meta", meta, 0);
	for (size_t i = 0; i < tree->len; i++) {
		CLEAN(str) char *path = key(a, folder, tree->items[i].key);

		store_ops_put(ops, path, tree->items[i].value, tree->items[i].value_len, 0);
	}
}

struct store_request *agreement_request_swap(struct agreement *a, struct generation *generation,
					     const char *reason, struct err *err)
{
	CLEAN(tree) struct tree tree = { 0 };

	generation->epoch = a->agreed ? a->agreed->epoch : 1;
	generation->sequence = a->agreed ? a->agreed->sequence + 1 : 1;
	free(generation->name);
	generation->name = new_name(a, generation->sequence);
	if (generation_to_tree(generation, &tree, err) < 0)
		return NULL;
	fill_meta(a, generation, &tree, reason);
	a->pushed_current = (struct current){ .epoch = generation->epoch,
					      .sequence = generation->sequence,
					      .folded = a->snapshot_revision };
	memcpy(a->pushed_current.name, generation->name, strlen(generation->name) + 1);
	memcpy(a->pushed_current.digest, generation->meta.digest, sizeof(a->pushed_current.digest));

	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *current = key(a, "current", "");
	CLEAN(str) char *folder = xasprintf("configs/%s/", generation->name);
	CLEAN(str) char *meta = key(a, folder, "meta");

	store_request_compare(request, STORE_COMPARE_MOD, current,
			      a->agreed ? a->seen.mod_revision : 0);
	store_request_compare(request, STORE_COMPARE_MOD, meta, 0);
	drop_due(a, &generation->meta, &request->success);
	drop_reservations(a, &request->success);
	add_generation(a, generation, &tree, &request->success);
	add_range(a, &request->failure, "current", "", false);
	return request;
}
