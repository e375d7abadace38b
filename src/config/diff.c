/* SPDX-License-Identifier: MIT */
/*
 * Compares documents, and shows what differs. Must never show a secret: what a person gets to see
 * has passed config_mask() under the name of a whole key, so nothing goes down into the value of a
 * known key.
 */
#include "cmsnode/config/diff.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"

#define SHOWN_MAX 200 /* bytes of one value in a line for people */

static void item_fini(struct diff_item *item)
{
	str_list_fini(&item->keys);
	free(item->path);
	value_free(item->old);
	value_free(item->new);
}

void diff_fini(struct diff *diff)
{
	for (size_t i = 0; i < diff->len; i++)
		item_fini(&diff->items[i]);
	free(diff->items);
	*diff = (struct diff){ 0 };
}

/* Absent equals absent only. */
static bool same(const struct value *a, const struct value *b)
{
	return a && b ? value_equal(a, b) : a == b;
}

/* ---- comparing ---- */

struct walk {
	struct diff *diff;
	struct str_list keys; /* where we are */
	bool split; /* take apart what only one side has */
};

static char *path_text(const struct str_list *keys, int index)
{
	static const char bare[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_-";
	struct buf text = BUF_INIT(0);

	for (size_t i = 0; i < keys->len; i++) {
		const char *key = keys->items[i];
		const size_t len = strlen(key);

		if (i)
			(void)buf_adds(&text, ".");
		if (len && strspn(key, bare) == len)
			(void)buf_add(&text, key, len);
		else
			value_quote(&text, key, len);
	}
	if (index >= 0)
		(void)buf_addf(&text, "[%d]", index);
	return buf_steal(&text);
}

static void add_item(struct diff *diff, const struct str_list *keys, int index,
		     const struct value *old, const struct value *new)
{
	GROW(diff->items, diff->len, diff->cap);
	struct diff_item *item = &diff->items[diff->len++];

	*item = (struct diff_item){ .index = index,
				    .path = path_text(keys, index),
				    .old = value_clone(old),
				    .new = value_clone(new) };
	str_list_copy(&item->keys, keys);
}

static size_t size_of(const struct value *value)
{
	return value->type == VALUE_TABLE ? value->table.len : value->array.len;
}

/* Are both of the type; or, where that is to be split, is one of them, and the other not there? */
static bool comparable(const struct walk *walk, enum value_type type, const struct value *old,
		       const struct value *new)
{
	if (old && new)
		return old->type == type && new->type == type;
	const struct value *only = old ? old : new;

	return walk->split && only->type == type && size_of(only) > 0;
}

static bool is_known_key(const struct walk *walk)
{
	CLEAN(str) char *path = str_list_join(&walk->keys, ".");

	return config_key_find(path);
}

static bool is_service(const struct walk *walk)
{
	return walk->keys.len == 2 && str_eq(walk->keys.items[0], "services");
}

static const struct value *item_at(const struct value *array, size_t i)
{
	return array && i < array->array.len ? array->array.items[i] : NULL;
}

static void walk_entries(struct walk *walk, const struct value *old, const struct value *new)
{
	for (size_t k = 0; item_at(old, k) || item_at(new, k); k++)
		if (!same(item_at(old, k), item_at(new, k)))
			add_item(walk->diff, &walk->keys, (int)k, item_at(old, k), item_at(new, k));
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t add_names(const char **names, size_t len, const struct value *table)
{
	for (size_t i = 0; table && i < table->table.len; i++)
		names[len++] = table->table.members[i].key;
	return len;
}

static void walk_values(struct walk *walk, const struct value *old, const struct value *new);

static void walk_tables(struct walk *walk, const struct value *old, const struct value *new)
{
	const size_t most = (old ? old->table.len : 0) + (new ? new->table.len : 0);
	const char **names = xcalloc(most + 1, sizeof(*names));
	const size_t len = add_names(names, add_names(names, 0, old), new);

	qsort(names, len, sizeof(*names), compare_names);
	for (size_t i = 0; i < len; i++) {
		if (i && strcmp(names[i], names[i - 1]) == 0)
			continue;
		str_list_add(&walk->keys, names[i]);
		walk_values(walk, value_get(old, names[i]), value_get(new, names[i]));
		free(walk->keys.items[--walk->keys.len]);
	}
	free(names);
}

/* Recurses as deep as both documents are tables: the parsers end at VALUE_MAX_DEPTH. */
static void walk_values(struct walk *walk, const struct value *old, const struct value *new)
{
	if (same(old, new))
		return;
	if (is_service(walk) && comparable(walk, VALUE_ARRAY, old, new))
		walk_entries(walk, old, new);
	else if (comparable(walk, VALUE_TABLE, old, new) && !is_known_key(walk))
		walk_tables(walk, old, new);
	else
		add_item(walk->diff, &walk->keys, -1, old, new);
}

void diff_documents(const struct value *old, const struct value *new, struct diff *ret)
{
	struct walk walk = { .diff = ret };

	diff_fini(ret);
	walk_tables(&walk, old, new);
	str_list_fini(&walk.keys);
}

void diff_leaves(const struct diff *diff, struct diff *ret)
{
	struct walk walk = { .diff = ret, .split = true };

	diff_fini(ret);
	for (size_t i = 0; i < diff->len; i++) {
		const struct diff_item *item = &diff->items[i];

		if (item->index >= 0) {
			add_item(ret, &item->keys, item->index, item->old, item->new);
			continue;
		}
		str_list_copy(&walk.keys, &item->keys);
		walk_values(&walk, item->old, item->new);
	}
	str_list_fini(&walk.keys);
}

/* ---- applying ---- */

void diff_reverse(struct diff *diff)
{
	for (size_t i = 0; i < diff->len; i++) {
		struct value *old = diff->items[i].old;

		diff->items[i].old = diff->items[i].new;
		diff->items[i].new = old;
	}
}

/* The table that holds the item's last key, or NULL. */
static struct value *table_of(struct value *document, const struct diff_item *item)
{
	struct value *table = document;

	for (size_t i = 0; i + 1 < item->keys.len; i++)
		table = value_get(table, item->keys.items[i]);
	return table && table->type == VALUE_TABLE ? table : NULL;
}

static const char *last_key(const struct diff_item *item)
{
	return item->keys.items[item->keys.len - 1];
}

static bool is_as_before(struct value *document, const struct diff_item *item)
{
	struct value *table = table_of(document, item);
	const struct value *found = value_get(table, last_key(item));

	if (item->index < 0)
		return table && same(found, item->old);
	return found && found->type == VALUE_ARRAY &&
	       same(item_at(found, (size_t)item->index), item->old);
}

/* Entries come and go at the end only, the items in the order of their indices. */
static void apply_entry(struct value *list, const struct diff_item *item)
{
	const size_t k = (size_t)item->index;

	if (item->new &&k < list->array.len) {
		value_free(list->array.items[k]);
		list->array.items[k] = value_clone(item->new);
	} else if (item->new) {
		value_array_add(list, value_clone(item->new));
	} else {
		while (list->array.len > k)
			value_free(list->array.items[--list->array.len]);
	}
}

static void apply_item(struct value *document, const struct diff_item *item)
{
	struct value *table = table_of(document, item);

	if (item->index >= 0)
		apply_entry(value_get(table, last_key(item)), item);
	else if (item->new)
		value_set(table, last_key(item), value_clone(item->new));
	else
		(void)value_remove(table, last_key(item));
}

int diff_apply(struct value *document, const struct diff *diff, struct err *err)
{
	for (size_t i = 0; i < diff->len; i++)
		if (!is_as_before(document, &diff->items[i]))
			return err_set(err, ERR_CONFLICT, "%.200s is not what it was before",
				       diff->items[i].path);
	for (size_t i = 0; i < diff->len; i++)
		apply_item(document, &diff->items[i]);
	return 0;
}

/* ---- showing ---- */

/* A leaf as it may be seen. */
struct view {
	struct value *old, *new;
	bool hidden; /* they differ, and do not look so */
};

static struct value *mask(const struct diff_item *item, const struct value *value)
{
	if (!value)
		return NULL;
	CLEAN(str) char *path = str_list_join(&item->keys, ".");

	return config_mask(path, value);
}

static void view_init(struct view *view, const struct diff_item *item)
{
	view->old = mask(item, item->old);
	view->new = mask(item, item->new);
	view->hidden = same(view->old, view->new);
}

static void clean_view(struct view *view)
{
	value_free(view->old);
	value_free(view->new);
}

static void add_shown(struct buf *line, const struct value *value)
{
	if (!value) {
		(void)buf_adds(line, "(not set)");
		return;
	}
	CLEAN(str) char *json = value_to_json(value);
	const size_t len = strlen(json);

	if (len <= SHOWN_MAX) {
		(void)buf_add(line, json, len);
		return;
	}
	(void)buf_add(line, json, value_utf8_span(json, SHOWN_MAX));
	(void)buf_adds(line, "...");
}

char *diff_item_text(const struct diff_item *item)
{
	CLEAN(view) struct view view;
	struct buf line = BUF_INIT(0);

	view_init(&view, item);
	(void)buf_addf(&line, "%s: ", item->path);
	if (view.hidden) {
		(void)buf_adds(&line, "(changed, hidden)");
		return buf_steal(&line);
	}
	add_shown(&line, view.old);
	(void)buf_adds(&line, " -> ");
	add_shown(&line, view.new);
	return buf_steal(&line);
}

char *diff_text(const struct diff *diff)
{
	CLEAN(diff) struct diff leaves = { 0 };
	struct buf text = BUF_INIT(0);

	diff_leaves(diff, &leaves);
	for (size_t i = 0; i < leaves.len; i++) {
		CLEAN(str) char *line = diff_item_text(&leaves.items[i]);

		(void)buf_addf(&text, "%s\n", line);
	}
	return buf_steal(&text);
}

static void add_member(cJSON *object, const char *key, const struct value *value)
{
	(void)cJSON_AddItemToObject(object, key,
				    value ? value_to_cjson(value) : cJSON_CreateNull());
}

struct cJSON *diff_to_json(const struct diff *diff)
{
	CLEAN(diff) struct diff leaves = { 0 };
	cJSON *array = cJSON_CreateArray();

	diff_leaves(diff, &leaves);
	for (size_t i = 0; i < leaves.len; i++) {
		CLEAN(view) struct view view;
		cJSON *object = cJSON_CreateObject();

		view_init(&view, &leaves.items[i]);
		json_add_str(object, "path", leaves.items[i].path);
		add_member(object, "old", view.old);
		add_member(object, "new", view.new);
		json_add_bool(object, "hidden", view.hidden);
		(void)cJSON_AddItemToArray(array, object);
	}
	return array;
}
