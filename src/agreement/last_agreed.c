/* SPDX-License-Identifier: MIT */
/*
 * The copy on disk of what was agreed last, as text. Must refuse whatever does
 * not fit its digest.
 */
#include "cmsnode/agreement/last_agreed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/store.h"

#define DIRECTORY "/" /* any: keys are made and taken apart here */

static void fill_current(const struct generation *generation, struct current *ret)
{
	*ret = (struct current){ .epoch = generation->epoch, .sequence = generation->sequence };
	memcpy(ret->name, generation->name, strlen(generation->name) + 1);
	memcpy(ret->digest, generation->meta.digest, sizeof(ret->digest));
}

static void add_text_as_object(cJSON *json, const char *name, char *text)
{
	CLEAN(str) char *taken = text;

	(void)cJSON_AddItemToObject(json, name, json_parse(taken, strlen(taken), NULL));
}

char *last_agreed_to_json(const struct generation *generation, const char *prefix, struct err *err)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();
	CLEAN(generation) struct generation *copy = generation_clone(generation);
	CLEAN(tree) struct tree tree = { 0 };
	struct current current;

	if (generation_to_tree(generation, &tree, err) < 0)
		return NULL;
	/* Another version may have written them otherwise: a policy more, a policy less. */
	tree_digest(&tree, copy->meta.digest);
	copy->meta.entries = (int64_t)tree.len;
	fill_current(copy, &current);
	json_add_str(json, "prefix", prefix);
	json_add_str(json, "digest", generation->meta.digest);
	add_text_as_object(json, "current", current_to_json(&current));
	add_text_as_object(json, "meta", generation_meta_to_json(&copy->meta));
	cJSON *entries = cJSON_AddObjectToObject(json, "entries");

	for (size_t i = 0; i < tree.len; i++)
		json_add_str(entries, tree.items[i].key, tree.items[i].value);
	return json_text(json);
}

static void add_kv(struct store_kvs *kvs, const char *key, const char *value)
{
	struct store_kv *kv = store_kvs_add(kvs);

	kv->key = xasprintf(DIRECTORY "%s", key);
	kv->value = xstrdup(value);
	kv->value_len = strlen(value);
}

static int read_entries(const cJSON *json, struct store_kvs *ret, struct err *err)
{
	const cJSON *entries = cJSON_GetObjectItemCaseSensitive(json, "entries");
	const cJSON *meta = cJSON_GetObjectItemCaseSensitive(json, "meta");
	const cJSON *item;

	if (!cJSON_IsObject(entries) || !cJSON_IsObject(meta))
		return err_set(err, -EINVAL, "entries or meta is missing");
	CLEAN(str) char *text = json_text(meta);

	add_kv(ret, "meta", text);
	cJSON_ArrayForEach(item, entries) {
		if (!cJSON_IsString(item))
			return err_set(err, -EINVAL, "entry %.100s is no text", item->string);
		add_kv(ret, item->string, item->valuestring);
	}
	return 0;
}

static int read_current(const cJSON *json, struct current *ret, struct err *err)
{
	const cJSON *current = cJSON_GetObjectItemCaseSensitive(json, "current");

	if (!cJSON_IsObject(current))
		return err_set(err, -EINVAL, "current is missing");
	CLEAN(str) char *text = json_text(current);
	const struct store_kv kv = { .value = text, .value_len = strlen(text) };

	return current_from_kv(&kv, ret, err);
}

int last_agreed_from_json(const char *text, size_t len, const char *prefix, struct generation **ret,
			  struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(text, len, err);
	if (!json)
		return -EINVAL;
	const char *of = json_get_str(json, "prefix");
	const char *digest = json_get_str(json, "digest");
	struct current current;
	struct store_kvs kvs = { 0 };

	if (!of || strcmp(of, prefix) != 0)
		return err_set(err, -EINVAL, "it is of the cluster with prefix %.100s, not %s",
			       of ? of : "(none)", prefix);
	if (!digest || !str_is_hex(digest, 64))
		return err_set(err, -EINVAL, "its digest is missing");
	int r = read_current(json, &current, err);
	if (r == 0)
		r = read_entries(json, &kvs, err);
	if (r == 0)
		r = generation_from_kvs(&current, DIRECTORY, &kvs, ret, err);
	if (r == 0)
		memcpy((*ret)->meta.digest, digest, sizeof((*ret)->meta.digest));
	for (size_t i = 0; i < kvs.len; i++)
		store_kv_fini(&kvs.items[i]);
	free(kvs.items);
	return r;
}
