/* SPDX-License-Identifier: MIT */
/*
 * What the store might hold as one generation: a line "key=value" is one entry, and the line
 * "meta=..." has more members of its meta, whose digest and number of entries always fit, as those
 * of a peer that means harm would. What is taken can be written, and comes back as the same
 * generation; in any case nothing breaks that is done to an agreed one.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/generation_diff.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char directory[] = "/cms/configs/x/";

static void die(const char *what, const char *text)
{
	(void)fprintf(stderr, "%s: %s\n", what, text);
	abort();
}

static void add_kv(struct store_kvs *kvs, const char *key, const char *value, size_t len)
{
	struct store_kv *kv = store_kvs_add(kvs);

	kv->key = xasprintf("%s%s", directory, key);
	kv->value = xmemdup(value, len + 1);
	kv->value_len = len;
}

static void kvs_fini(struct store_kvs *kvs)
{
	for (size_t i = 0; i < kvs->len; i++)
		store_kv_fini(&kvs->items[i]);
	free(kvs->items);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct tree_entry *)a)->key, ((const struct tree_entry *)b)->key);
}

static void seal(const struct tree *tree, const char *more, struct store_kvs *kvs,
		 struct current *current)
{
	*current = (struct current){ .name = "x", .epoch = 1, .sequence = 1, .mod_revision = 1 };
	tree_digest(tree, current->digest);
	CLEAN(str)
	char *meta = xasprintf("{\"entries\":%zu,\"digest\":\"%s\",%s}", tree->len, current->digest,
			       more);

	for (size_t i = 0; i < tree->len; i++)
		add_kv(kvs, tree->items[i].key, tree->items[i].value, tree->items[i].value_len);
	add_kv(kvs, "meta", meta, strlen(meta));
}

static bool has_key(const struct tree *tree, const char *key)
{
	for (size_t i = 0; i < tree->len; i++)
		if (strcmp(tree->items[i].key, key) == 0)
			return true;
	return false;
}

/* A store has each key once: a second one is left out. */
static void take_line(char *line, size_t len, struct tree *tree, char **ret_more)
{
	char *sign = memchr(line, '=', len);
	if (!sign)
		return;
	*sign = '\0';
	const size_t value_len = len - (size_t)(sign + 1 - line);

	if (strcmp(line, "meta") == 0) {
		free(*ret_more);
		*ret_more = xstrndup(sign + 1, value_len);
		return;
	}
	if (has_key(tree, line) || tree->len >= 1000)
		return;
	char *value = xmalloc(value_len + 1);

	memcpy(value, sign + 1, value_len);
	value[value_len] = '\0';
	GROW(tree->items, tree->len, tree->cap);
	tree->items[tree->len++] = (struct tree_entry){ xstrdup(line), value, value_len };
}

static void read_input(const uint8_t *data, size_t size, struct store_kvs *kvs,
		       struct current *current)
{
	CLEAN(str) char *text = xmalloc(size + 1);
	CLEAN(str)
	char *more = xstrdup("\"schema\":1,\"created_at\":0,\"format\":\"toml\"");
	CLEAN(tree) struct tree tree = { 0 };

	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		const size_t len = end ? (size_t)(end - text) - at : size - at;

		take_line(text + at, len, &tree, &more);
		at += len + 1;
	}
	if (tree.len)
		qsort(tree.items, tree.len, sizeof(*tree.items), compare_entries);
	seal(&tree, more, kvs, current);
}

/* Written and read again it is the same generation, with the same digest. */
static void check_round_trip(const struct generation *generation)
{
	CLEAN(tree) struct tree tree = { 0 };
	CLEAN(tree) struct tree again_tree = { 0 };
	CLEAN(generation) struct generation *again = NULL;
	CLEAN(generation_diff) struct generation_diff diff = { 0 };
	struct store_kvs kvs = { 0 };
	struct current current;
	char digest[65];
	struct err err = { 0 };

	/* Numbers and escapes may need more room than they had. */
	if (generation_to_tree(generation, &tree, &err) < 0) {
		if (err.code != -E2BIG)
			die("it was read and cannot be written", err.msg);
		return;
	}
	seal(&tree, "\"schema\":1,\"created_at\":0,\"format\":\"toml\"", &kvs, &current);
	const int r = generation_from_kvs(&current, directory, &kvs, &again, &err);

	kvs_fini(&kvs);
	if (r < 0)
		die("it was written and cannot be read", err.msg);
	if (!generation_same_content(generation, again))
		die("written and read again it differs", generation->name);
	generation_diff_make(generation, again, &diff);
	if (!generation_diff_is_empty(&diff))
		die("the same, and yet different", generation->name);
	(void)generation_to_tree(again, &again_tree, NULL);
	tree_digest(&again_tree, digest);
	if (strcmp(digest, current.digest) != 0)
		die("the same with another digest", digest);
}

static void check_use(const struct generation *generation)
{
	const struct validate_context context = { .format = generation->meta.format };
	CLEAN(generation) struct generation *clone = generation_clone(generation);
	CLEAN(value) struct value *document = generation_render(clone);
	CLEAN(findings) struct findings findings = { 0 };
	CLEAN(str) char *meta = generation_meta_to_json(&generation->meta);

	config_validate(document, &context, &findings);
	if (!generation_same_content(generation, clone))
		die("its clone differs", generation->name);
	if (!strstr(meta, "\"digest\""))
		die("meta without a digest", meta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(generation) struct generation *generation = NULL;
	struct store_kvs kvs = { 0 };
	struct current current;
	struct err err = { 0 };

	read_input(data, size, &kvs, &current);
	const int r = generation_from_kvs(&current, directory, &kvs, &generation, &err);

	kvs_fini(&kvs);
	if (r < 0) {
		if (err.msg[0] == '\0' || generation)
			die("refused without a message, or half", err.msg);
		return 0;
	}
	check_round_trip(generation);
	check_use(generation);
	return 0;
}
