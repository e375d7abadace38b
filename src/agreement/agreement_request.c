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
#include "cmsnode/store/store.h"
#include "cmsnode/topology/slots.h"

#define OLDEST 3 /* who folds for others: agreement_duty.c */

char *agreement_key(const struct agreement *a, const char *folder, const char *name)
{
	return xasprintf("%s/%s%s", a->prefix, folder, name);
}

static void add_range(const struct agreement *a, struct store_ops *ops, const char *folder,
		      const char *name, bool prefix)
{
	CLEAN(str) char *path = agreement_key(a, folder, name);

	(void)store_ops_range(ops, path, prefix);
}

static void add_put(const struct agreement *a, struct store_ops *ops, const char *folder,
		    const char *name, const char *value, uint64_t lease)
{
	CLEAN(str) char *path = agreement_key(a, folder, name);

	store_ops_put(ops, path, value, strlen(value), lease);
}

static char *claim_name(const char *address, const char *id)
{
	return xasprintf("%s/%s", address, id);
}

/* ---- reading ----------------------------------------------------------- */

/* The ranges of a read, in this order. */
enum { READ_CURRENT, READ_CLAIMS, READ_NODES, READ_RESERVED_OR_OLDEST, READ_DIRECTORIES };

/* Who is oldest: in etcd that costs a look at all names, in the answer only these. */
static void add_oldest(const struct agreement *a, struct store_ops *ops)
{
	CLEAN(str) char *path = agreement_key(a, "nodes/", "");
	struct store_op *op = store_ops_range(ops, path, true);

	op->range.keys_only = true;
	op->range.oldest_first = true;
	op->range.limit = OLDEST;
}

/* Also without an address: an empty folder, then. */
static void add_claims(const struct agreement *a, struct store_ops *ops)
{
	CLEAN(str) char *folder = xasprintf("%s/", a->self.address);

	add_range(a, ops, "addresses/", folder, true);
}

struct store_request *agreement_request_read(const struct agreement *a, bool all, bool directories)
{
	struct store_request *request = store_request_new(STORE_TXN);
	struct store_ops *ops = &request->success;

	add_range(a, ops, "current", "", false);
	add_claims(a, ops);
	add_range(a, ops, "nodes/", all ? "" : a->self.id, all);
	if (all)
		add_range(a, ops, "reserved/", "", true);
	else
		add_oldest(a, ops);
	if (directories) {
		add_range(a, ops, "configs/", "", true);
		ops->items[ops->len - 1].range.keys_only = true;
	}
	return request;
}

struct store_request *agreement_request_fetch(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *directory = xasprintf("%s/", a->current.name);

	add_range(a, &request->success, "configs/", directory, true);
	add_range(a, &request->success, "current", "", false);
	return request;
}

/*
 * Pending registrations, the oldest first. etcd's own count ignores the filters: the keys are
 * counted.
 */
static void add_pending(const struct agreement *a, struct store_ops *ops)
{
	CLEAN(str) char *path = agreement_key(a, "nodes/", "");
	struct store_op *op = store_ops_range(ops, path, true);

	op->range.min_mod_revision = a->seen.folded + 1;
	op->range.limit = AGREEMENT_RANK_MAX + 1;
	op->range.keys_only = true;
	op->range.oldest_first = true;
}

struct store_request *agreement_request_rank(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);

	add_pending(a, &request->success);
	return request;
}

static int read_current(struct agreement *a, const struct store_kvs *kvs, struct err *err)
{
	CLEAN(str) char *path = agreement_key(a, "current", "");
	const struct store_kv *kv = store_kvs_find(kvs, path);

	a->seen = (struct current){ 0 };
	free(steal(a->seen_value));
	if (!kv)
		return 0;
	a->seen_value = xstrdup(kv->value);
	return current_from_kv(kv, &a->seen, err);
}

/* Only the own one, if not all were asked for: what is known of the others stays. */
static void read_registrations(struct agreement *a, const struct store_kvs *kvs)
{
	CLEAN(str) char *folder = agreement_key(a, "nodes/", "");

	if (a->read_all)
		registrations_fini(&a->registrations);
	else
		(void)registrations_remove(&a->registrations, a->self.id);
	registrations_read(kvs, folder, &a->registrations);
}

static bool says_stopped(const struct store_kv *kv)
{
	return kv->value && strcmp(kv->value, "stopped") == 0;
}

static void read_reservations(struct agreement *a, const struct store_kvs *kvs)
{
	CLEAN(str) char *folder = agreement_key(a, "reserved/", "");

	reservations_fini(&a->reservations);
	for (size_t i = 0; i < kvs->len; i++) {
		const char *id = kvs->items[i].key + strlen(folder);

		if (str_starts(kvs->items[i].key, folder) && slots_node_id_valid(id))
			reservations_put(&a->reservations, id, says_stopped(&kvs->items[i]));
	}
}

static bool has_own_key(const struct agreement *a, const struct store_kvs *kvs, size_t *ret_at)
{
	CLEAN(str) char *own = agreement_key(a, "nodes/", a->self.id);

	for (size_t i = 0; i < kvs->len; i++) {
		if (strcmp(kvs->items[i].key, own) == 0) {
			*ret_at = i;
			return true;
		}
	}
	return false;
}

/* "configs/<name>/..." of all keys, each name once: they come in order. */
static void read_directories(struct agreement *a, const struct store_kvs *kvs)
{
	CLEAN(str) char *folder = agreement_key(a, "configs/", "");
	const char *last = NULL;

	str_list_fini(&a->directories);
	for (size_t i = 0; i < kvs->len; i++) {
		if (!str_starts(kvs->items[i].key, folder))
			continue;
		const char *name = kvs->items[i].key + strlen(folder);
		CLEAN(str) char *directory = xstrndup(name, strcspn(name, "/"));

		if (!str_eq(last, directory)) {
			str_list_add(&a->directories, directory);
			last = a->directories.items[a->directories.len - 1];
		}
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

static int incomplete(struct err *err)
{
	return err_set(err, -EINVAL, "the store's answer is incomplete");
}

int agreement_reply_read(struct agreement *a, const struct store_reply *reply,
			 struct agreement_seen *ret, struct err *err)
{
	size_t at;

	*ret = (struct agreement_seen){ 0 };
	if (reply->ranges_len <= READ_RESERVED_OR_OLDEST)
		return incomplete(err);
	a->store_restored = reply->restored;
	read_claims(a, &reply->ranges[READ_CLAIMS]);
	read_registrations(a, &reply->ranges[READ_NODES]);
	if (a->read_all)
		read_reservations(a, &reply->ranges[READ_RESERVED_OR_OLDEST]);
	else
		ret->among_oldest = has_own_key(a, &reply->ranges[READ_RESERVED_OR_OLDEST], &at);
	ret->directories = reply->ranges_len > READ_DIRECTORIES;
	if (ret->directories)
		read_directories(a, &reply->ranges[READ_DIRECTORIES]);
	return read_current(a, &reply->ranges[READ_CURRENT], err);
}

int agreement_reply_current(struct agreement *a, const struct store_reply *reply, size_t range,
			    struct err *err)
{
	if (reply->ranges_len <= range)
		return incomplete(err);
	return read_current(a, &reply->ranges[range], err);
}

int agreement_reply_fetch(struct agreement *a, const struct store_reply *reply,
			  struct generation **ret, struct err *err)
{
	CLEAN(str) char *folder = agreement_key(a, "configs/", a->current.name);
	CLEAN(str) char *directory = xasprintf("%s/", folder);

	if (reply->ranges_len < 1)
		return err_set(err, -EINVAL, "the store's answer is incomplete");
	return generation_from_kvs(&a->current, directory, &reply->ranges[0], ret, err);
}

int agreement_reply_rank(const struct agreement *a, const struct store_reply *reply, size_t range,
			 size_t *ret_rank)
{
	if (reply->ranges_len <= range)
		return -EINVAL;
	/* Not among the first of them: far behind. */
	if (!has_own_key(a, &reply->ranges[range], ret_rank))
		*ret_rank = AGREEMENT_RANK_MAX;
	return 0;
}

/* The ranges of the registration's reply: what comes next costs no request of its own. */
enum { REGISTERED_CURRENT, REGISTERED_CLAIMS, REGISTERED_PENDING, REGISTERED_OLDEST };

int agreement_reply_register(struct agreement *a, const struct store_reply *reply, struct err *err)
{
	size_t at;

	if (reply->ranges_len <= REGISTERED_OLDEST)
		return incomplete(err);
	read_claims(a, &reply->ranges[REGISTERED_CLAIMS]);
	a->rank_folded = a->seen.folded;
	a->rank_known = agreement_reply_rank(a, reply, REGISTERED_PENDING, &a->rank) == 0;
	if (!a->watching_nodes && has_own_key(a, &reply->ranges[REGISTERED_OLDEST], &at))
		a->want_all = a->reread = true;
	return read_current(a, &reply->ranges[REGISTERED_CURRENT], err);
}

static enum agreement_saw saw_current(struct agreement *a, const struct store_event *event)
{
	struct current seen = { 0 };

	/* A read or a swap may be ahead of the watch; revisions go back after a gap only. */
	if (event->kv.mod_revision < a->seen.mod_revision)
		return AGREEMENT_SAW_NOTHING;
	if (!event->deleted && current_from_kv(&event->kv, &seen, NULL) < 0)
		return AGREEMENT_SAW_DOUBT;
	a->seen = seen;
	free(a->seen_value);
	a->seen_value = event->deleted ? NULL : xstrdup(event->kv.value);
	return AGREEMENT_SAW_CURRENT;
}

/* Of another node, while we watch all of them. */
static enum agreement_saw saw_node(struct agreement *a, const struct store_event *event,
				   const char *id)
{
	struct registration registration;

	if (event->deleted) {
		(void)registrations_remove(&a->registrations, id);
		return AGREEMENT_SAW_DEPARTURE;
	}
	if (registration_from_kv(&event->kv, id, &registration, NULL) < 0)
		return AGREEMENT_SAW_NOTHING;
	registrations_put(&a->registrations, &registration);
	return AGREEMENT_SAW_JOIN;
}

static enum agreement_saw saw_reservation(struct agreement *a, const struct store_event *event,
					  const char *id)
{
	if (event->deleted) {
		(void)reservations_remove(&a->reservations, id);
		return AGREEMENT_SAW_DEPARTURE;
	}
	if (slots_node_id_valid(id))
		reservations_put(&a->reservations, id, says_stopped(&event->kv));
	return AGREEMENT_SAW_NOTHING; /* it comes with the registration, or before its end */
}

enum agreement_saw agreement_watch_event(struct agreement *a, const struct store_event *event)
{
	CLEAN(str) char *current = agreement_key(a, "current", "");
	CLEAN(str) char *nodes = agreement_key(a, "nodes/", "");
	CLEAN(str) char *reserved = agreement_key(a, "reserved/", "");
	const char *key = event->kv.key;

	if (strcmp(key, current) == 0)
		return saw_current(a, event);
	if (str_starts(key, reserved))
		return saw_reservation(a, event, key + strlen(reserved));
	if (!str_starts(key, nodes))
		return AGREEMENT_SAW_NOTHING;
	if (strcmp(key + strlen(nodes), a->self.id) != 0)
		return saw_node(a, event, key + strlen(nodes));
	if (event->deleted || event->kv.lease != a->lease)
		return AGREEMENT_SAW_DOUBT;
	(void)saw_node(a, event, a->self.id);
	return AGREEMENT_SAW_NOTHING;
}

/* ---- leases and registration ------------------------------------------- */

struct store_request *agreement_request_grant(uint64_t lease, int64_t ttl_s)
{
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
		CLEAN(str) char *path = agreement_key(a, "addresses/", old);

		store_ops_delete(ops, path, false);
	}
}

struct store_request *agreement_request_register(struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *own = agreement_key(a, "nodes/", a->self.id);

	store_request_compare(request, STORE_COMPARE_MOD, own, a->own_mod_revision);
	add_registration(a, &request->success);
	add_claim(a, &request->success);
	/* In the order of REGISTERED_*. */
	add_range(a, &request->success, "current", "", false);
	add_claims(a, &request->success);
	add_pending(a, &request->success);
	add_oldest(a, &request->success);
	add_range(a, &request->failure, "nodes/", a->self.id, false);
	return request;
}

struct store_request *agreement_request_leave(const struct agreement *a)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str) char *own = agreement_key(a, "nodes/", a->self.id);

	store_request_compare(request, STORE_COMPARE_LEASE, own, (int64_t)a->lease);
	add_put(a, &request->success, "reserved/", a->self.id, "stopped", a->reserved_lease);
	add_range(a, &request->failure, "nodes/", a->self.id, false);
	return request;
}
