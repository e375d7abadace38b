/* SPDX-License-Identifier: MIT */
/*
 * A generation as keys and values of the store, both ways. Whatever does not fit its digest is
 * refused whole.
 */
#include "cmsnode/agreement/generation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <openssl/evp.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/store/store.h"

/* ---- the tree ---------------------------------------------------------- */

void tree_fini(struct tree *tree)
{
	for (size_t i = 0; i < tree->len; i++) {
		free(tree->items[i].key);
		free(tree->items[i].value);
	}
	free(tree->items);
	*tree = (struct tree){ 0 };
}

static void tree_take(struct tree *tree, char *key, char *value, size_t value_len)
{
	GROW(tree->items, tree->len, tree->cap);
	tree->items[tree->len++] = (struct tree_entry){ key, value, value_len };
	tree->size += strlen(key) + value_len;
}

static int compare_entries(const void *a, const void *b)
{
	const struct tree_entry *x = a;
	const struct tree_entry *y = b;

	return strcmp(x->key, y->key);
}

static void tree_sort(struct tree *tree)
{
	if (tree->len)
		qsort(tree->items, tree->len, sizeof(tree->items[0]), compare_entries);
}

static void digest_add(EVP_MD_CTX *ctx, const void *data, size_t len)
{
	if (!EVP_DigestUpdate(ctx, data, len))
		abort();
}

void tree_digest(const struct tree *tree, char ret[65])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		abort();
	for (size_t i = 0; i < tree->len; i++) {
		const struct tree_entry *entry = &tree->items[i];
		unsigned char length[8];

		for (int b = 0; b < 8; b++)
			length[b] = (unsigned char)((uint64_t)entry->value_len >> (56 - 8 * b));
		digest_add(ctx, entry->key, strlen(entry->key) + 1);
		digest_add(ctx, length, sizeof(length));
		digest_add(ctx, entry->value, entry->value_len);
	}
	if (!EVP_DigestFinal_ex(ctx, digest, NULL))
		abort();
	EVP_MD_CTX_free(ctx);
	str_hex(digest, 32, ret);
}

/* ---- writing ----------------------------------------------------------- */

static bool key_part_valid(const char *part)
{
	for (const char *p = part; *p; p++)
		if (*p == '/' || (unsigned char)*p < ' ' || *p == 127)
			return false;
	return part[0] != '\0' && strlen(part) <= 200;
}

static int add_table(struct tree *tree, const char *name, const struct value *table,
		     struct err *err)
{
	if (table->type != VALUE_TABLE || !key_part_valid(name))
		return err_set(err, -EINVAL, "%.80s: a configuration consists of named tables",
			       name);
	for (size_t i = 0; i < table->table.len; i++) {
		const struct value_member *member = &table->table.members[i];

		if (!key_part_valid(member->key))
			return err_set(err, -EINVAL, "%s.%.80s: this key cannot be kept: rename it",
				       name, member->key);
		char *json = value_to_json(member->value);

		/* The ranking's file is another one. */
		tree_take(tree,
			  str_eq(name, "ranking") ? xasprintf("ranking/%s", member->key) :
						    xasprintf("cms/%s/%s", name, member->key),
			  json, strlen(json));
	}
	return 0;
}

static char *nodes_to_json(const struct generation_nodes *nodes)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	for (size_t i = 0; i < nodes->len; i++) {
		const struct generation_node *node = &nodes->items[i];
		cJSON *item = cJSON_AddObjectToObject(json, node->id);

		json_add_str(item, "address", node->address);
		json_add_str_list(item, "roles", &node->roles);
		json_add_str(item, "contest", node->contest);
		json_add_str(item, "state", node_state_name(node->state));
		json_add_int(item, "since_sequence", node->since_sequence);
	}
	return json_text(json);
}

static char *deferred_to_json(const struct generation_deferrals *deferred)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	for (size_t i = 0; i < deferred->len; i++) {
		const struct generation_deferred *one = &deferred->items[i];
		cJSON *item = cJSON_AddObjectToObject(json, one->id);

		json_add_int(item, "revision", one->revision);
		json_add_str(item, "reason", one->is_held ? "held" : "refused");
		json_add_str(item, "text", one->text);
	}
	return json_text(json);
}

int generation_to_tree(const struct generation *generation, struct tree *ret, struct err *err)
{
	struct tree tree = { 0 };

	for (size_t i = 0; i < generation->cms->table.len; i++) {
		const struct value_member *member = &generation->cms->table.members[i];
		const int r = add_table(&tree, member->key, member->value, err);
		if (r < 0) {
			tree_fini(&tree);
			return r;
		}
	}
	CLEAN(json) cJSON *slots = slots_to_json(&generation->slots);
	CLEAN(value) struct value *policy = policy_to_value(&generation->policy);
	char *texts[] = { json_text(slots), nodes_to_json(&generation->nodes),
			  value_to_json(policy) };

	tree_take(&tree, xstrdup("topology/slots"), texts[0], strlen(texts[0]));
	tree_take(&tree, xstrdup("topology/nodes"), texts[1], strlen(texts[1]));
	tree_take(&tree, xstrdup("topology/policy"), texts[2], strlen(texts[2]));
	if (generation->deferred.len) {
		char *text = deferred_to_json(&generation->deferred);

		tree_take(&tree, xstrdup("topology/deferred"), text, strlen(text));
	}
	if (tree.size > GENERATION_MAX_SIZE) {
		const size_t size = tree.size;

		tree_fini(&tree);
		return err_set(err, -E2BIG,
			       "the configuration has %zu bytes, the store takes at most %d", size,
			       GENERATION_MAX_SIZE);
	}
	tree_sort(&tree);
	tree_fini(ret);
	*ret = tree;
	return 0;
}

char *generation_meta_to_json(const struct generation_meta *meta)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	json_add_str(json, "parent", meta->parent);
	json_add_str(json, "author", meta->author);
	json_add_str(json, "reason", meta->reason);
	if (meta->changes.len)
		json_add_str_list(json, "changes", &meta->changes);
	if (meta->at_once)
		json_add_bool(json, "at_once", true);
	json_add_int(json, "created_at", meta->created_at);
	json_add_int(json, "schema", meta->schema);
	json_add_int(json, "entries", meta->entries);
	json_add_str(json, "digest", meta->digest);
	json_add_str(json, "format", cms_format_name(meta->format));
	cJSON *ancestors = cJSON_AddArrayToObject(json, "ancestors");

	for (size_t i = 0; i < meta->ancestors_len; i++) {
		cJSON *item = cJSON_CreateObject();

		json_add_int(item, "sequence", meta->ancestors[i].sequence);
		json_add_str(item, "digest", meta->ancestors[i].digest);
		if (meta->ancestors[i].tag[0])
			json_add_str(item, "tag", meta->ancestors[i].tag);
		(void)cJSON_AddItemToArray(ancestors, item);
	}
	cJSON *kept = cJSON_AddArrayToObject(json, "kept");

	for (size_t i = 0; i < meta->kept_len; i++) {
		cJSON *item = cJSON_CreateObject();

		json_add_str(item, "name", meta->kept[i].name);
		json_add_int(item, "created_at", meta->kept[i].created_at);
		json_add_int(item, "size", meta->kept[i].size);
		(void)cJSON_AddItemToArray(kept, item);
	}
	return json_text(json);
}

/* ---- reading ----------------------------------------------------------- */

static void replace_text(char **text, const char *with)
{
	free(*text);
	*text = xstrdup(with ? with : "");
}

static int copy_digest(const cJSON *json, char ret[65], struct err *err)
{
	const char *digest = json_get_str(json, "digest");

	if (!digest || !str_is_hex(digest, 64))
		return err_set(err, -EINVAL, "no digest of 64 hex digits");
	memcpy(ret, digest, 65);
	return 0;
}

static int read_ancestors(const cJSON *json, struct generation_meta *meta, struct err *err)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, json_get_array(json, "ancestors")) {
		struct generation_ancestor ancestor = { 0 };
		const char *tag = json_get_str(item, "tag");

		if (tag && str_is_hex(tag, GENERATION_TAG_SIZE - 1))
			memcpy(ancestor.tag, tag, GENERATION_TAG_SIZE);
		if (json_get_int64(item, "sequence", &ancestor.sequence) < 0 ||
		    copy_digest(item, ancestor.digest, err) < 0 ||
		    meta->ancestors_len >= GENERATION_ANCESTORS_MAX)
			return err_set(err, -EINVAL, "meta: a malformed ancestor");
		GROW(meta->ancestors, meta->ancestors_len, meta->ancestors_cap);
		meta->ancestors[meta->ancestors_len++] = ancestor;
	}
	return 0;
}

static int read_kept(const cJSON *json, struct generation_meta *meta, struct err *err)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, json_get_array(json, "kept")) {
		const char *name = json_get_str(item, "name");
		struct generation_kept kept = { 0 };

		/* These names are deleted one day: never more than a name. */
		if (!name || !generation_name_valid(name) ||
		    json_get_int64(item, "created_at", &kept.created_at) < 0 ||
		    json_get_int64(item, "size", &kept.size) < 0 || meta->kept_len >= 10000)
			return err_set(err, -EINVAL, "meta: a malformed kept generation");
		kept.name = xstrdup(name);
		GROW(meta->kept, meta->kept_len, meta->kept_cap);
		meta->kept[meta->kept_len++] = kept;
	}
	return 0;
}

/* Only for people to read: what is malformed is left out. */
static void read_changes(const cJSON *json, struct generation_meta *meta)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, json_get_array(json, "changes"))
		if (cJSON_IsString(item) && meta->changes.len < GENERATION_CHANGES_MAX)
			str_list_add(&meta->changes, item->valuestring);
}

static int read_meta(const struct store_kv *kv, struct generation_meta *meta, struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(kv->value, kv->value_len, err);
	if (!json)
		return err_wrap(err, "meta");
	const char *format = json_get_str(json, "format");

	replace_text(&meta->parent, json_get_str(json, "parent"));
	replace_text(&meta->author, json_get_str(json, "author"));
	replace_text(&meta->reason, json_get_str(json, "reason"));
	read_changes(json, meta);
	meta->at_once = json_get_bool(json, "at_once", false);
	if (json_get_int64(json, "schema", &meta->schema) < 0 ||
	    json_get_int64(json, "entries", &meta->entries) < 0 ||
	    json_get_int64(json, "created_at", &meta->created_at) < 0 || !format ||
	    cms_format_parse(format, &meta->format) < 0)
		return err_set(err, -EINVAL,
			       "meta: schema, entries, created_at or format is missing");
	if (meta->schema > GENERATION_SCHEMA)
		return err_set(
			err, -EINVAL,
			"it was written by a newer cmsnoded (schema %d, this one knows %d): upgrade this node",
			(int)meta->schema, GENERATION_SCHEMA);
	int r = copy_digest(json, meta->digest, err);
	if (r == 0)
		r = read_ancestors(json, meta, err);
	if (r == 0)
		r = read_kept(json, meta, err);
	return r;
}

static int read_cms_entry(struct generation *generation, const struct tree_entry *entry,
			  struct err *err)
{
	const char *table = str_starts(entry->key, "cms/") ? entry->key + strlen("cms/") : entry->key;
	const char *slash = strchr(table, '/');
	CLEAN(str) char *name = slash ? xstrndup(table, (size_t)(slash - table)) : NULL;

	/* As strict as writing it: else it could be followed, and never be changed. */
	if (!name || !key_part_valid(name) || !key_part_valid(slash + 1))
		return err_set(err, -EINVAL, "%.100s: not a table and a key", entry->key);
	struct value *value;
	const int r = value_from_json(entry->value, entry->value_len, &value, err);
	if (r < 0) {
		(void)err_wrap(err, "%.100s", entry->key);
		return r;
	}
	struct value *inner = value_get(generation->cms, name);

	if (!inner) {
		inner = value_new_table();
		value_set(generation->cms, name, inner);
	}
	value_set(inner, slash + 1, value);
	return 0;
}

static int read_node(struct generation *generation, const cJSON *item, struct err *err)
{
	const char *address = json_get_str(item, "address");
	const char *contest = json_get_str(item, "contest");
	const char *state = json_get_str(item, "state");

	if (!slots_node_id_valid(item->string) || !address || !contest || !state)
		return err_set(err, -EINVAL, "topology/nodes: a malformed node");
	struct generation_node *node = generation_node_add(generation, item->string);

	replace_text(&node->address, address);
	replace_text(&node->contest, contest);
	str_list_fini(&node->roles);
	(void)json_get_int64(item, "since_sequence", &node->since_sequence);
	for (int s = NODE_PRESENT; s <= NODE_DRAINED; s++)
		if (strcmp(state, node_state_name((enum node_state)s)) == 0)
			node->state = (enum node_state)s;
	return json_get_str_list(item, "roles", &node->roles) < 0 ?
		       err_set(err, -EINVAL, "topology/nodes: roles of %s are malformed",
			       item->string) :
		       0;
}

static int read_nodes(struct generation *generation, const struct tree_entry *entry,
		      struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(entry->value, entry->value_len, err);
	const cJSON *item;

	if (!cJSON_IsObject(json))
		return err_set(err, -EINVAL, "topology/nodes: not an object");
	cJSON_ArrayForEach(item, json) {
		const int r = read_node(generation, item, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_slots(struct generation *generation, const struct tree_entry *entry,
		      struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(entry->value, entry->value_len, err);
	if (!json)
		return err_wrap(err, "topology/slots");
	return slots_from_json(json, &generation->slots, err);
}

static int read_policy(struct generation *generation, const struct tree_entry *entry,
		       struct err *err)
{
	CLEAN(value) struct value *table = NULL;
	int r = value_from_json(entry->value, entry->value_len, &table, err);
	if (r < 0 || table->type != VALUE_TABLE)
		return err_set(err, -EINVAL, "topology/policy: not a JSON object");
	for (size_t i = 0; i < table->table.len; i++) {
		r = policy_set(&generation->policy, table->table.members[i].key,
			       table->table.members[i].value, err);
		/* A newer program's policy is kept out of our way, not refused. */
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static int read_deferred(struct generation *generation, const struct tree_entry *entry,
			 struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(entry->value, entry->value_len, err);
	const cJSON *item;

	if (!cJSON_IsObject(json))
		return err_set(err, -EINVAL, "topology/deferred: not an object");
	cJSON_ArrayForEach(item, json) {
		const char *reason = json_get_str(item, "reason");
		const char *text = json_get_str(item, "text");
		int64_t revision = 0;

		if (!slots_node_id_valid(item->string) || !reason || !text ||
		    json_get_int64(item, "revision", &revision) < 0)
			return err_set(err, -EINVAL, "topology/deferred: a malformed entry");
		generation_defer(generation, item->string, revision, strcmp(reason, "held") == 0,
				 text);
	}
	return 0;
}

static int read_entry(struct generation *generation, const struct tree_entry *entry,
		      struct err *err)
{
	if (str_starts(entry->key, "cms/") || str_starts(entry->key, "ranking/"))
		return read_cms_entry(generation, entry, err);
	if (strcmp(entry->key, "topology/slots") == 0)
		return read_slots(generation, entry, err);
	if (strcmp(entry->key, "topology/nodes") == 0)
		return read_nodes(generation, entry, err);
	if (strcmp(entry->key, "topology/policy") == 0)
		return read_policy(generation, entry, err);
	if (strcmp(entry->key, "topology/deferred") == 0)
		return read_deferred(generation, entry, err);
	return 0;
}

/*
 * Collects the entries (and meta) below the directory; the digest is over all of them, known or
 * not.
 */
static int collect(const char *directory, const struct store_kvs *kvs,
		   struct generation *generation, struct tree *tree, struct err *err)
{
	const size_t prefix = strlen(directory);
	bool has_meta = false;

	for (size_t i = 0; i < kvs->len; i++) {
		const struct store_kv *kv = &kvs->items[i];
		if (!str_starts(kv->key, directory))
			continue;
		if (strcmp(kv->key + prefix, "meta") == 0) {
			const int r = read_meta(kv, &generation->meta, err);
			if (r < 0)
				return r;
			has_meta = true;
		} else {
			tree_take(tree, xstrdup(kv->key + prefix),
				  xmemdup(kv->value ? kv->value : "", kv->value_len + 1),
				  kv->value_len);
		}
	}
	tree_sort(tree);
	return has_meta ? 0 : err_set(err, -EINVAL, "its directory is empty or has no meta entry");
}

/* `digest`: what vouches for it from outside; NULL = its own meta alone. */
static int read_directory(const char *directory, const struct store_kvs *kvs, const char *wanted,
			  struct generation **ret, struct err *err)
{
	CLEAN(generation) struct generation *generation = generation_new();
	CLEAN(tree) struct tree tree = { 0 };
	char digest[65];

	int r = collect(directory, kvs, generation, &tree, err);
	if (r < 0)
		return r;
	if ((int64_t)tree.len != generation->meta.entries)
		return err_set(err, -EINVAL, "%zu of its %d entries are there", tree.len,
			       (int)generation->meta.entries);
	tree_digest(&tree, digest);
	if (strcmp(digest, generation->meta.digest) != 0 ||
	    (wanted && strcmp(digest, wanted) != 0))
		return err_set(err, -EINVAL, "its content does not fit its digest");
	for (size_t i = 0; i < tree.len; i++) {
		r = read_entry(generation, &tree.items[i], err);
		if (r < 0)
			return r;
	}
	*ret = steal(generation);
	return 0;
}

int generation_from_kvs(const struct current *current, const char *directory,
			const struct store_kvs *kvs, struct generation **ret, struct err *err)
{
	CLEAN(generation) struct generation *generation = NULL;
	const int r = read_directory(directory, kvs, current->digest, &generation, err);
	if (r < 0)
		return r;

	replace_text(&generation->name, current->name);
	generation->epoch = current->epoch;
	generation->sequence = current->sequence;
	*ret = steal(generation);
	return 0;
}

int generation_read(const char *name, const char *directory, const struct store_kvs *kvs,
		    struct generation **ret, struct err *err)
{
	CLEAN(generation) struct generation *generation = NULL;
	const int r = read_directory(directory, kvs, NULL, &generation, err);
	if (r < 0)
		return r;
	const struct generation_meta *meta = &generation->meta;

	replace_text(&generation->name, name);
	generation->sequence = meta->ancestors_len ? meta->ancestors[0].sequence + 1 : 1;
	*ret = steal(generation);
	return 0;
}

int generation_meta_read(const struct store_kv *kv, struct generation_meta *ret, struct err *err)
{
	*ret = (struct generation_meta){ 0 };
	const int r = read_meta(kv, ret, err);
	if (r < 0)
		generation_meta_fini(ret);
	return r;
}

char *current_to_json(const struct current *current)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();
	CLEAN(str) char *path = xasprintf("configs/%s", current->name);

	json_add_str(json, "generation", path);
	json_add_int(json, "epoch", current->epoch);
	json_add_int(json, "sequence", current->sequence);
	json_add_int_str(json, "folded", current->folded);
	json_add_str(json, "digest", current->digest);
	if (current->cluster_id) {
		cJSON *store = cJSON_AddObjectToObject(json, "store");
		/* Half of all ids do not fit an int64_t. */
		CLEAN(str) char *cluster_id = xasprintf("%" PRIu64, current->cluster_id);

		json_add_str(store, "cluster_id", cluster_id);
		json_add_bool(store, "restored", current->restored);
	}
	return json_text(json);
}

int current_from_kv(const struct store_kv *kv, struct current *ret, struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(kv->value, kv->value_len, err);
	if (!json)
		return err_wrap(err, "current");
	const char *path = json_get_str(json, "generation");
	struct current current = { .mod_revision = kv->mod_revision };

	if (!path || !str_starts(path, "configs/") ||
	    !generation_name_valid(path + strlen("configs/")))
		return err_set(err, -EINVAL, "current: it names no generation");
	if (json_get_int64(json, "epoch", &current.epoch) < 0 ||
	    json_get_int64(json, "sequence", &current.sequence) < 0 ||
	    json_get_int64(json, "folded", &current.folded) < 0)
		return err_set(err, -EINVAL, "current: epoch, sequence or folded is missing");
	const int r = copy_digest(json, current.digest, err);
	if (r < 0)
		return err_wrap(err, "current");
	const cJSON *store = cJSON_GetObjectItemCaseSensitive(json, "store");

	if (store && json_get_uint64(store, "cluster_id", &current.cluster_id) < 0)
		return err_set(err, -EINVAL, "current: the store's cluster_id is malformed");
	current.restored = store && json_get_bool(store, "restored", false);
	memcpy(current.name, path + strlen("configs/"), strlen(path) - strlen("configs/") + 1);
	*ret = current;
	return 0;
}
