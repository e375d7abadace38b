/* SPDX-License-Identifier: MIT */
/*
 * A generation as a value. Its keys in the store are generation_tree.c's, its form for CMS
 * generation_render.c's.
 */
#include "cmsnode/agreement/generation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"

struct generation *generation_new(void)
{
	struct generation *generation = xcalloc(1, sizeof(*generation));

	generation->name = xstrdup("");
	generation->cms = value_new_table();
	policy_init(&generation->policy);
	generation->meta.parent = xstrdup("");
	generation->meta.author = xstrdup("");
	generation->meta.reason = xstrdup("");
	generation->meta.schema = GENERATION_SCHEMA;
	return generation;
}

static void node_fini(struct generation_node *node)
{
	free(node->id);
	free(node->address);
	free(node->contest);
	str_list_fini(&node->roles);
}

void generation_meta_fini(struct generation_meta *meta)
{
	free(meta->parent);
	free(meta->author);
	free(meta->reason);
	str_list_fini(&meta->changes);
	free(meta->ancestors);
	for (size_t i = 0; i < meta->kept_len; i++)
		free(meta->kept[i].name);
	free(meta->kept);
	*meta = (struct generation_meta){ 0 };
}

void generation_free(struct generation *generation)
{
	if (!generation)
		return;
	free(generation->name);
	value_free(generation->cms);
	slots_fini(&generation->slots);
	for (size_t i = 0; i < generation->nodes.len; i++)
		node_fini(&generation->nodes.items[i]);
	free(generation->nodes.items);
	generation_forget_deferred(generation);
	free(generation->deferred.items);
	generation_meta_fini(&generation->meta);
	free(generation);
}

static void meta_copy(struct generation_meta *to, const struct generation_meta *from)
{
	generation_meta_fini(to);
	*to = *from;
	to->parent = xstrdup(from->parent);
	to->author = xstrdup(from->author);
	to->reason = xstrdup(from->reason);
	to->changes = (struct str_list){ 0 };
	str_list_copy(&to->changes, &from->changes);
	to->ancestors = xmemdup(from->ancestors, from->ancestors_len * sizeof(*from->ancestors));
	to->ancestors_cap = from->ancestors_len;
	to->kept = xmemdup(from->kept, from->kept_len * sizeof(*from->kept));
	to->kept_cap = from->kept_len;
	for (size_t i = 0; i < to->kept_len; i++)
		to->kept[i].name = xstrdup(from->kept[i].name);
}

struct generation *generation_clone(const struct generation *generation)
{
	struct generation *clone = generation_new();

	free(clone->name);
	clone->name = xstrdup(generation->name);
	clone->epoch = generation->epoch;
	clone->sequence = generation->sequence;
	value_free(clone->cms);
	clone->cms = value_clone(generation->cms);
	slots_copy(&clone->slots, &generation->slots);
	for (size_t i = 0; i < generation->nodes.len; i++) {
		const struct generation_node *node = &generation->nodes.items[i];
		struct generation_node *copy = generation_node_add(clone, node->id);

		free(copy->address);
		free(copy->contest);
		copy->address = xstrdup(node->address);
		copy->contest = xstrdup(node->contest);
		str_list_copy(&copy->roles, &node->roles);
		copy->state = node->state;
		copy->since_sequence = node->since_sequence;
	}
	for (size_t i = 0; i < generation->deferred.len; i++) {
		const struct generation_deferred *one = &generation->deferred.items[i];

		generation_defer(clone, one->id, one->revision, one->is_held, one->text);
	}
	clone->policy = generation->policy;
	meta_copy(&clone->meta, &generation->meta);
	return clone;
}

void generation_swap(struct generation *a, struct generation *b)
{
	const struct generation kept = *a;

	*a = *b;
	*b = kept;
}

static bool node_equal(const struct generation_node *a, const struct generation_node *b)
{
	return strcmp(a->id, b->id) == 0 && strcmp(a->address, b->address) == 0 &&
	       strcmp(a->contest, b->contest) == 0 && str_list_equal(&a->roles, &b->roles) &&
	       a->state == b->state && a->since_sequence == b->since_sequence;
}

static bool policy_equal(const struct policy *a, const struct policy *b)
{
	return a->worker_pool == b->worker_pool && a->ranking_pool == b->ranking_pool &&
	       a->resource_pool == b->resource_pool && a->settle_s == b->settle_s &&
	       a->settle_max_s == b->settle_max_s && a->rejoin_window_s == b->rejoin_window_s &&
	       a->restart_at_once == b->restart_at_once && a->frozen == b->frozen &&
	       a->names == b->names;
}

/* Both are sorted: the next one from *at on that was refused, or NULL. */
static const struct generation_deferred *next_refused(const struct generation_deferrals *deferred,
						      size_t *at)
{
	while (*at < deferred->len && deferred->items[*at].is_held)
		(*at)++;
	return *at < deferred->len ? &deferred->items[(*at)++] : NULL;
}

static bool same_refusals(const struct generation_deferrals *a,
			  const struct generation_deferrals *b)
{
	size_t i = 0, k = 0;

	for (;;) {
		const struct generation_deferred *x = next_refused(a, &i);
		const struct generation_deferred *y = next_refused(b, &k);

		if (!x || !y)
			return x == y;
		if (strcmp(x->id, y->id) != 0 || x->revision != y->revision ||
		    strcmp(x->text, y->text) != 0)
			return false;
	}
}

bool generation_same_content(const struct generation *a, const struct generation *b)
{
	if (a->nodes.len != b->nodes.len || !slots_equal(&a->slots, &b->slots) ||
	    !policy_equal(&a->policy, &b->policy) || !value_equal(a->cms, b->cms) ||
	    !same_refusals(&a->deferred, &b->deferred))
		return false;
	for (size_t i = 0; i < a->nodes.len; i++)
		if (!node_equal(&a->nodes.items[i], &b->nodes.items[i]))
			return false;
	return true;
}

/* ---- nodes and deferrals ----------------------------------------------- */

static bool find_node(const struct generation_nodes *nodes, const char *id, size_t *ret_at)
{
	return str_sorted_has(nodes->items, nodes->len, sizeof(*nodes->items), id, ret_at);
}

struct generation_node *generation_node_find(const struct generation *generation, const char *id)
{
	size_t at;

	return find_node(&generation->nodes, id, &at) ? &generation->nodes.items[at] : NULL;
}

struct generation_node *generation_node_add(struct generation *generation, const char *id)
{
	struct generation_nodes *nodes = &generation->nodes;
	size_t at;

	if (find_node(nodes, id, &at))
		return &nodes->items[at];
	GROW(nodes->items, nodes->len, nodes->cap);
	memmove(&nodes->items[at + 1], &nodes->items[at],
		(nodes->len - at) * sizeof(nodes->items[0]));
	nodes->len++;
	nodes->items[at] = (struct generation_node){ .id = xstrdup(id),
						     .address = xstrdup(""),
						     .contest = xstrdup("ALL") };
	return &nodes->items[at];
}

static bool find_deferred(const struct generation_deferrals *deferred, const char *id,
			  size_t *ret_at)
{
	return str_sorted_has(deferred->items, deferred->len, sizeof(*deferred->items), id, ret_at);
}

const struct generation_deferred *generation_deferred_find(const struct generation *generation,
							   const char *id)
{
	size_t at;

	return find_deferred(&generation->deferred, id, &at) ? &generation->deferred.items[at] :
							       NULL;
}

void generation_defer(struct generation *generation, const char *id, int64_t revision, bool is_held,
		      const char *text)
{
	struct generation_deferrals *deferred = &generation->deferred;
	size_t at;

	if (find_deferred(deferred, id, &at))
		return;
	GROW(deferred->items, deferred->len, deferred->cap);
	memmove(&deferred->items[at + 1], &deferred->items[at],
		(deferred->len - at) * sizeof(deferred->items[0]));
	deferred->len++;
	deferred->items[at] =
		(struct generation_deferred){ xstrdup(id), revision, is_held, xstrdup(text) };
}

void generation_forget_deferred(struct generation *generation)
{
	for (size_t i = 0; i < generation->deferred.len; i++) {
		free(generation->deferred.items[i].id);
		free(generation->deferred.items[i].text);
	}
	generation->deferred.len = 0;
}

bool generation_node_remove(struct generation *generation, const char *id)
{
	struct generation_node *found = generation_node_find(generation, id);
	if (!found)
		return false;
	struct generation_nodes *nodes = &generation->nodes;
	const size_t at = (size_t)(found - nodes->items);

	node_fini(found);
	nodes->len--;
	memmove(&nodes->items[at], &nodes->items[at + 1],
		(nodes->len - at) * sizeof(nodes->items[0]));
	return true;
}

const char *node_state_name(enum node_state state)
{
	switch (state) {
	case NODE_PRESENT:
		return "present";
	case NODE_AWAY:
		return "away";
	case NODE_DRAINING:
		return "draining";
	case NODE_DRAINED:
		return "drained";
	}
	return "?";
}

/* ---- policy ------------------------------------------------------------ */

static const struct {
	const char *name;
	size_t offset;
	int64_t initial, min, max;
} policy_numbers[] = {
#define NUMBER(member, initial, min, max)                                   \
	{                                                                   \
#member, offsetof(struct policy, member), initial, min, max \
	}
	NUMBER(worker_pool, 16, 0, 5000),    NUMBER(ranking_pool, 1, 0, 100),
	NUMBER(resource_pool, 0, 0, 5000),   NUMBER(settle_s, 5, 0, 3600),
	NUMBER(settle_max_s, 30, 0, 3600),   NUMBER(rejoin_window_s, 600, 10, 30 * 86400),
	NUMBER(restart_at_once, 1, 1, 5000),
#undef NUMBER
};

static const struct {
	const char *name;
	size_t offset;
} policy_switches[] = {
	{ "frozen", offsetof(struct policy, frozen) },
	{ "names", offsetof(struct policy, names) },
};

static bool *policy_switch(const struct policy *policy, size_t i)
{
	return (bool *)((char *)policy + policy_switches[i].offset);
}

static int64_t *policy_number(const struct policy *policy, size_t i)
{
	return (int64_t *)((char *)policy + policy_numbers[i].offset);
}

void policy_init(struct policy *policy)
{
	*policy = (struct policy){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(policy_numbers); i++)
		*policy_number(policy, i) = policy_numbers[i].initial;
}

int policy_set(struct policy *policy, const char *name, const struct value *value, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(policy_switches); i++) {
		if (strcmp(name, policy_switches[i].name) != 0)
			continue;
		if (value->type != VALUE_BOOL)
			return err_set(err, -EINVAL, "topology.%s: true or false is wanted", name);
		*policy_switch(policy, i) = value->boolean;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(policy_numbers); i++) {
		if (strcmp(name, policy_numbers[i].name) != 0)
			continue;
		if (value->type != VALUE_INT || value->integer < policy_numbers[i].min ||
		    value->integer > policy_numbers[i].max)
			return err_set(err, -EINVAL,
				       "topology.%s: an integer from %" PRId64 " to %" PRId64
				       " is wanted",
				       name, policy_numbers[i].min, policy_numbers[i].max);
		*policy_number(policy, i) = value->integer;
		return 0;
	}
	return err_set(err, -ENOENT, "topology.%s: there is no such policy", name);
}

struct value *policy_to_value(const struct policy *policy)
{
	struct value *table = value_new_table();

	for (size_t i = 0; i < ARRAY_LEN(policy_numbers); i++)
		value_set(table, policy_numbers[i].name, value_new_int(*policy_number(policy, i)));
	for (size_t i = 0; i < ARRAY_LEN(policy_switches); i++)
		value_set(table, policy_switches[i].name,
			  value_new_bool(*policy_switch(policy, i)));
	return table;
}

bool generation_name_valid(const char *name)
{
	const size_t n = strlen(name);

	return n >= 1 && n <= GENERATION_NAME_MAX && name[0] != '.' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		       n;
}

int64_t generation_name_sequence(const char *name)
{
	const char *underscore = strrchr(name, '_');
	CLEAN(str)
	char *digits = underscore ? xstrndup(underscore + 1, strcspn(underscore + 1, "-")) : NULL;
	int64_t sequence;

	return digits && str_to_int64(digits, 0, INT64_MAX, &sequence) == 0 ? sequence : 0;
}

void generation_tag(const char *name, char ret[GENERATION_TAG_SIZE])
{
	const char *dash = strrchr(name, '-');

	memset(ret, 0, GENERATION_TAG_SIZE);
	if (dash && str_is_hex(dash + 1, GENERATION_TAG_SIZE - 1))
		memcpy(ret, dash + 1, GENERATION_TAG_SIZE - 1);
}
