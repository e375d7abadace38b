/* SPDX-License-Identifier: MIT */
/*
 * etcd's model in memory. Owns the sorted keys, the leases and the history of
 * events. Must never do what etcd would refuse: tests of the agreement lean on
 * it. Invariants: keys are sorted and unique; every kv's lease exists or is 0;
 * the history holds every event with a revision > compacted.
 */
#include "cmsnode/store/memory_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define HISTORY_MAX_EVENTS 10000
#define HISTORY_MAX_BYTES ((size_t)64 << 20)
#define LEASE_MIN_TTL_S 2 /* etcd's, with its default election timeout of 1 s */

struct memory_lease {
	uint64_t id;
	int64_t ttl_s;
};

struct memory_store {
	uint64_t cluster_id;
	bool restored;
	int64_t revision;
	struct store_kvs kvs;
	struct memory_lease *leases;
	size_t leases_len, leases_cap;
	struct store_event *events;
	size_t events_len, events_cap;
	size_t events_bytes;
	int64_t compacted;
};

struct memory_store *memory_store_new(void)
{
	struct memory_store *memory = xcalloc(1, sizeof(*memory));

	memory->cluster_id = 1;
	memory->revision = 1;
	return memory;
}

struct memory_store *memory_store_restore(const struct memory_store *backup, uint64_t cluster_id)
{
	struct memory_store *memory = xcalloc(1, sizeof(*memory));

	memory->cluster_id = cluster_id;
	memory->restored = true;
	memory->revision = backup->revision;
	memory->compacted = backup->revision;
	for (size_t i = 0; i < backup->kvs.len; i++)
		store_kv_copy(store_kvs_add(&memory->kvs), &backup->kvs.items[i]);
	for (size_t i = 0; i < backup->leases_len; i++) {
		GROW(memory->leases, memory->leases_len, memory->leases_cap);
		memory->leases[memory->leases_len++] = backup->leases[i];
	}
	return memory;
}

void memory_store_free(struct memory_store *memory)
{
	if (!memory)
		return;
	for (size_t i = 0; i < memory->kvs.len; i++)
		store_kv_fini(&memory->kvs.items[i]);
	for (size_t i = 0; i < memory->events_len; i++)
		store_kv_fini(&memory->events[i].kv);
	free(memory->kvs.items);
	free(memory->events);
	free(memory->leases);
	free(memory);
}

int64_t memory_store_revision(const struct memory_store *memory)
{
	return memory->revision;
}

/* ---- keys -------------------------------------------------------------- */

/* Index of the first key that is not before `key`. */
static size_t lower_bound(const struct store_kvs *kvs, const char *key)
{
	size_t low = 0;
	size_t high = kvs->len;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (strcmp(kvs->items[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct store_kv *find_kv(const struct memory_store *memory, const char *key)
{
	const size_t at = lower_bound(&memory->kvs, key);

	if (at < memory->kvs.len && strcmp(memory->kvs.items[at].key, key) == 0)
		return &memory->kvs.items[at];
	return NULL;
}

static struct store_kv *insert_kv(struct store_kvs *kvs, const char *key)
{
	const size_t at = lower_bound(kvs, key);

	(void)store_kvs_add(kvs);
	struct store_kv *kv = &kvs->items[at];

	memmove(kv + 1, kv, (kvs->len - 1 - at) * sizeof(*kv));
	*kv = (struct store_kv){ .key = xstrdup(key) };
	return kv;
}

/* ---- history ----------------------------------------------------------- */

static size_t event_bytes(const struct store_event *event)
{
	return strlen(event->kv.key) + event->kv.value_len;
}

/* Drops the older half at once, so that the moving costs little per event. */
static void trim_history(struct memory_store *memory)
{
	size_t dropped = 0;

	if (memory->events_len <= HISTORY_MAX_EVENTS && memory->events_bytes <= HISTORY_MAX_BYTES)
		return;
	while (memory->events_len - dropped > HISTORY_MAX_EVENTS / 2 ||
	       memory->events_bytes > HISTORY_MAX_BYTES / 2) {
		struct store_event *event = &memory->events[dropped++];

		memory->events_bytes -= event_bytes(event);
		memory->compacted = event->kv.mod_revision;
		store_kv_fini(&event->kv);
	}
	memory->events_len -= dropped;
	memmove(memory->events, memory->events + dropped,
		memory->events_len * sizeof(*memory->events));
}

static struct store_event *add_event(struct memory_store *memory)
{
	GROW(memory->events, memory->events_len, memory->events_cap);
	return &memory->events[memory->events_len++];
}

static void record_put(struct memory_store *memory, const struct store_kv *kv)
{
	struct store_event *event = add_event(memory);

	event->deleted = false;
	store_kv_copy(&event->kv, kv);
	memory->events_bytes += event_bytes(event);
}

/* Takes the key over; the rest of the deleted kv is released. */
static void record_delete(struct memory_store *memory, struct store_kv *kv, int64_t revision)
{
	struct store_event *event = add_event(memory);

	*event = (struct store_event){ .deleted = true,
				       .kv = { .key = steal(kv->key), .mod_revision = revision } };
	memory->events_bytes += event_bytes(event);
	store_kv_fini(kv);
}

int memory_store_events(const struct memory_store *memory, int64_t after,
			const struct store_event **ret, size_t *ret_len)
{
	size_t low = 0;
	size_t high = memory->events_len;

	if (after < memory->compacted)
		return -ERANGE;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (memory->events[middle].kv.mod_revision <= after)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = memory->events_len ? memory->events + low : NULL;
	*ret_len = memory->events_len - low;
	return 0;
}

/* ---- leases ------------------------------------------------------------ */

static struct memory_lease *find_lease(const struct memory_store *memory, uint64_t id)
{
	for (size_t i = 0; i < memory->leases_len; i++)
		if (memory->leases[i].id == id)
			return &memory->leases[i];
	return NULL;
}

bool memory_store_expire(struct memory_store *memory, uint64_t lease)
{
	struct memory_lease *found = find_lease(memory, lease);
	if (!found)
		return false;
	*found = memory->leases[--memory->leases_len];

	const int64_t revision = memory->revision + 1;
	size_t kept = 0;

	for (size_t i = 0; i < memory->kvs.len; i++) {
		struct store_kv *kv = &memory->kvs.items[i];

		if (kv->lease == lease) {
			record_delete(memory, kv, revision);
			memory->revision = revision;
		} else {
			memory->kvs.items[kept++] = *kv;
		}
	}
	memory->kvs.len = kept;
	trim_history(memory);
	return true;
}

static void grant(struct memory_store *memory, const struct store_request *request,
		  struct store_reply *ret)
{
	const uint64_t id = request->leases[0];

	if (id == 0) {
		store_reply_fail(ret, STORE_REFUSED, STORE_TROUBLE_OTHER,
				 "a lease needs an id other than 0");
		return;
	}
	const struct memory_lease *known = find_lease(memory, id);
	if (known) {
		ret->ttl_s[0] = known->ttl_s;
		return;
	}
	const int64_t ttl_s = request->ttl_s < LEASE_MIN_TTL_S ? LEASE_MIN_TTL_S : request->ttl_s;

	GROW(memory->leases, memory->leases_len, memory->leases_cap);
	memory->leases[memory->leases_len++] = (struct memory_lease){ .id = id, .ttl_s = ttl_s };
	ret->ttl_s[0] = ttl_s;
}

static void keepalive(const struct memory_store *memory, const struct store_request *request,
		      struct store_reply *ret)
{
	for (size_t i = 0; i < request->leases_len; i++) {
		const struct memory_lease *lease = find_lease(memory, request->leases[i]);

		ret->ttl_s[i] = lease ? lease->ttl_s : 0;
	}
}

static void refuse_lease(struct store_reply *ret, uint64_t lease)
{
	store_reply_fail(ret, STORE_REFUSED, STORE_TROUBLE_LEASE_GONE,
			 "lease %" PRIu64 " not found", lease);
}

static void revoke(struct memory_store *memory, const struct store_request *request,
		   struct store_reply *ret)
{
	if (!memory_store_expire(memory, request->leases[0]))
		refuse_lease(ret, request->leases[0]);
}

/* ---- transactions ------------------------------------------------------ */

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Is one of the sorted keys in the range? */
static bool range_hits(const struct store_range *range, const char *const *keys, size_t len)
{
	size_t low = 0;
	size_t high = len;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (strcmp(keys[middle], range->key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < len && store_range_has(range, keys[low]);
}

static const char *find_duplicate(const struct store_ops *ops, const char **keys, size_t len)
{
	if (len)
		qsort(keys, len, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < len; i++)
		if (strcmp(keys[i - 1], keys[i]) == 0)
			return "duplicate key given in txn request";
	for (size_t i = 0; i < ops->len; i++)
		if (ops->items[i].kind == STORE_OP_DELETE &&
		    range_hits(&ops->items[i].range, keys, len))
			return "duplicate key given in txn request";
	return NULL;
}

/* What etcd refuses before it looks at any key: NULL, or why. */
static const char *check_ops(const struct store_ops *ops)
{
	const char **keys = xcalloc(ops->len, sizeof(*keys));
	const char *trouble = NULL;
	size_t len = 0;

	for (size_t i = 0; i < ops->len; i++) {
		const struct store_op *op = &ops->items[i];
		const char *key = op->kind == STORE_OP_PUT ? op->key : op->range.key;

		if (!*key)
			trouble = "key is not provided";
		if (op->kind == STORE_OP_PUT)
			keys[len++] = key;
	}
	if (!trouble)
		trouble = find_duplicate(ops, keys, len);
	free(keys);
	return trouble;
}

static bool compare_holds(const struct memory_store *memory, const struct store_compare *compare)
{
	static const struct store_kv absent = { 0 };
	const struct store_kv *kv = find_kv(memory, compare->key);

	if (!kv)
		kv = &absent;
	switch (compare->kind) {
	case STORE_COMPARE_MOD:
		return kv->mod_revision == compare->number;
	case STORE_COMPARE_CREATE:
		return kv->create_revision == compare->number;
	case STORE_COMPARE_LEASE:
		return kv->lease == (uint64_t)compare->number;
	case STORE_COMPARE_VALUE:
		return kv->value && kv->value_len == strlen(compare->text) &&
		       memcmp(kv->value, compare->text, kv->value_len) == 0;
	}
	return false;
}

static bool compares_hold(const struct memory_store *memory, const struct store_request *request)
{
	for (size_t i = 0; i < request->compares_len; i++)
		if (!compare_holds(memory, &request->compares[i]))
			return false;
	return true;
}

static bool leases_exist(const struct memory_store *memory, const struct store_ops *ops,
			 struct store_reply *ret)
{
	for (size_t i = 0; i < ops->len; i++) {
		const struct store_op *op = &ops->items[i];

		if (op->kind == STORE_OP_PUT && op->lease && !find_lease(memory, op->lease)) {
			refuse_lease(ret, op->lease);
			return false;
		}
	}
	return true;
}

static bool passes_filters(const struct store_range *range, const struct store_kv *kv)
{
	return (!range->min_mod_revision || kv->mod_revision >= range->min_mod_revision) &&
	       (!range->max_create_revision || kv->create_revision <= range->max_create_revision);
}

static int compare_age(const void *a, const void *b)
{
	const struct store_kv *x = *(const struct store_kv *const *)a;
	const struct store_kv *y = *(const struct store_kv *const *)b;

	if (x->create_revision != y->create_revision)
		return x->create_revision < y->create_revision ? -1 : 1;
	return strcmp(x->key, y->key);
}

static void do_range(const struct memory_store *memory, const struct store_range *range,
		     struct store_reply *ret)
{
	struct store_kvs *answer = store_reply_add_range(ret);
	const size_t first = lower_bound(&memory->kvs, range->key);
	size_t end = first, len = 0;

	while (end < memory->kvs.len && store_range_has(range, memory->kvs.items[end].key))
		end++;
	const struct store_kv **found = xcalloc(end - first + 1, sizeof(*found));

	for (size_t i = first; i < end; i++)
		if (passes_filters(range, &memory->kvs.items[i]))
			found[len++] = &memory->kvs.items[i];
	if (range->oldest_first)
		qsort(found, len, sizeof(*found), compare_age);
	if (range->limit > 0 && len > (size_t)range->limit)
		len = (size_t)range->limit;
	for (size_t i = 0; i < len; i++) {
		struct store_kv shown = *found[i];

		if (range->keys_only) {
			shown.value = NULL;
			shown.value_len = 0;
		}
		store_kv_copy(store_kvs_add(answer), &shown);
	}
	free(found);
}

static void do_put(struct memory_store *memory, const struct store_op *op, int64_t revision)
{
	struct store_kv *kv = find_kv(memory, op->key);

	if (!kv) {
		kv = insert_kv(&memory->kvs, op->key);
		kv->create_revision = revision;
	}
	free(kv->value);
	kv->value = xmalloc(op->value_len + 1);
	if (op->value_len)
		memcpy(kv->value, op->value, op->value_len);
	kv->value[op->value_len] = '\0';
	kv->value_len = op->value_len;
	kv->lease = op->lease;
	kv->mod_revision = revision;
	record_put(memory, kv);
	memory->revision = revision;
}

static void do_delete(struct memory_store *memory, const struct store_range *range,
		      int64_t revision)
{
	struct store_kvs *kvs = &memory->kvs;
	const size_t from = lower_bound(kvs, range->key);
	size_t to = from;

	for (; to < kvs->len && store_range_has(range, kvs->items[to].key); to++)
		record_delete(memory, &kvs->items[to], revision);
	if (to == from)
		return;
	memmove(kvs->items + from, kvs->items + to, (kvs->len - to) * sizeof(*kvs->items));
	kvs->len -= to - from;
	memory->revision = revision;
}

static void do_op(struct memory_store *memory, const struct store_op *op, int64_t revision,
		  struct store_reply *ret)
{
	switch (op->kind) {
	case STORE_OP_RANGE:
		do_range(memory, &op->range, ret);
		break;
	case STORE_OP_PUT:
		do_put(memory, op, revision);
		break;
	case STORE_OP_DELETE:
		do_delete(memory, &op->range, revision);
		break;
	}
}

static void txn(struct memory_store *memory, const struct store_request *request,
		struct store_reply *ret)
{
	const char *trouble = check_ops(&request->success);

	if (!trouble)
		trouble = check_ops(&request->failure);
	if (trouble) {
		store_reply_fail(ret, STORE_REFUSED, STORE_TROUBLE_OTHER, "%s", trouble);
		return;
	}
	ret->succeeded = compares_hold(memory, request);
	const struct store_ops *ops = ret->succeeded ? &request->success : &request->failure;

	if (!leases_exist(memory, ops, ret))
		return;
	const int64_t revision = memory->revision + 1;

	for (size_t i = 0; i < ops->len; i++)
		do_op(memory, &ops->items[i], revision, ret);
	trim_history(memory);
}

void memory_store_execute(struct memory_store *memory, const struct store_request *request,
			  struct store_reply *ret)
{
	*ret = (struct store_reply){ .outcome = STORE_DONE,
				     .cluster_id = memory->cluster_id,
				     .restored = memory->restored };
	switch (request->kind) {
	case STORE_TXN:
		txn(memory, request, ret);
		break;
	case STORE_LEASE_GRANT:
		grant(memory, request, ret);
		break;
	case STORE_LEASE_KEEPALIVE:
	case STORE_LEASE_REMAINING: /* time stands still here */
		keepalive(memory, request, ret);
		break;
	case STORE_LEASE_REVOKE:
		revoke(memory, request, ret);
		break;
	}
	ret->revision = memory->revision;
}
