/* SPDX-License-Identifier: MIT */
/*
 * Store requests as bodies for etcd's JSON gateway. Owns how long lists of
 * operations are nested; knows no connection.
 */
#include "cmsnode/store/etcd_codec.h"

#include <inttypes.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#include "etcd_codec_internal.h"

#define FLAT_OPS_MAX 64 /* operations in one list without nesting */
#define TXN_OPS_BUDGET 128 /* etcd's --max-txn-ops: the lists of all nesting levels together */
#define OP_OVERHEAD 64 /* bytes of protobuf around one operation, from above */

const char *etcd_codec_path(const struct store_request *request)
{
	switch (request->kind) {
	case STORE_TXN:
		return "/kv/txn";
	case STORE_LEASE_GRANT:
		return "/lease/grant";
	case STORE_LEASE_KEEPALIVE:
		return "/lease/keepalive";
	case STORE_LEASE_REVOKE:
		return "/lease/revoke";
	case STORE_LEASE_REMAINING:
		return "/lease/timetolive";
	}
	return NULL;
}

static void add_bytes(struct buf *buf, const char *name, const void *data, size_t len)
{
	(void)buf_addf(buf, "\"%s\":\"", name);
	etcd_codec_add_base64(buf, data, len);
	(void)buf_adds(buf, "\"");
}

static void add_key(struct buf *buf, const char *name, const char *key)
{
	add_bytes(buf, name, key, strlen(key));
}

/* Behind another member; zero is what etcd assumes anyway. */
static void add_int_unless_0(struct buf *buf, const char *name, int64_t value)
{
	if (value)
		(void)buf_addf(buf, ",\"%s\":\"%" PRId64 "\"", name, value);
}

static void add_range_members(struct buf *buf, const struct store_range *range)
{
	add_key(buf, "key", range->key);
	if (range->range_end) {
		(void)buf_adds(buf, ",");
		add_key(buf, "range_end", range->range_end);
	}
}

static void add_op(struct buf *buf, const struct store_op *op)
{
	switch (op->kind) {
	case STORE_OP_RANGE:
		(void)buf_adds(buf, "{\"request_range\":{");
		add_range_members(buf, &op->range);
		add_int_unless_0(buf, "limit", op->range.limit);
		add_int_unless_0(buf, "min_mod_revision", op->range.min_mod_revision);
		add_int_unless_0(buf, "max_create_revision", op->range.max_create_revision);
		if (op->range.keys_only)
			(void)buf_adds(buf, ",\"keys_only\":true");
		if (op->range.oldest_first)
			(void)buf_adds(buf,
				       ",\"sort_order\":\"ASCEND\",\"sort_target\":\"CREATE\"");
		break;
	case STORE_OP_PUT:
		(void)buf_adds(buf, "{\"request_put\":{");
		add_key(buf, "key", op->key);
		(void)buf_adds(buf, ",");
		add_bytes(buf, "value", op->value, op->value_len);
		add_int_unless_0(buf, "lease", (int64_t)op->lease);
		break;
	case STORE_OP_DELETE:
		(void)buf_adds(buf, "{\"request_delete_range\":{");
		add_range_members(buf, &op->range);
		break;
	}
	(void)buf_adds(buf, "}}");
}

/* Levels that lists of at most `width` elements need to hold len operations. */
static unsigned int levels_for(size_t len, size_t width)
{
	unsigned int levels = 1;

	for (size_t holds = width; holds < len; holds *= width)
		levels++;
	return levels;
}

/*
 * How long each list may be: etcd takes the length of a list off the budget
 * of the lists nested in it, so with n levels each gets an n-th.
 */
static size_t list_width(size_t len)
{
	if (len <= FLAT_OPS_MAX)
		return FLAT_OPS_MAX;
	unsigned int levels = 2;

	while (levels_for(len, TXN_OPS_BUDGET / levels) > levels)
		levels++;
	return TXN_OPS_BUDGET / levels;
}

static void add_op_list(struct buf *buf, const struct store_op *ops, size_t len, size_t width,
			unsigned int levels)
{
	if (levels == 1) {
		for (size_t i = 0; i < len; i++) {
			(void)buf_adds(buf, i ? "," : "");
			add_op(buf, &ops[i]);
		}
		return;
	}
	size_t piece = 1;

	for (unsigned int i = 1; i < levels; i++)
		piece *= width;
	for (size_t at = 0; at < len; at += piece) {
		const size_t rest = len - at;

		(void)buf_addf(buf, "%s{\"request_txn\":{\"success\":[", at ? "," : "");
		add_op_list(buf, ops + at, rest < piece ? rest : piece, width, levels - 1);
		(void)buf_adds(buf, "]}}");
	}
}

static void add_ops(struct buf *buf, const char *name, const struct store_ops *ops, size_t width)
{
	(void)buf_addf(buf, ",\"%s\":[", name);
	add_op_list(buf, ops->items, ops->len, width, levels_for(ops->len, width));
	(void)buf_adds(buf, "]");
}

static void add_compare(struct buf *buf, const struct store_compare *compare)
{
	static const struct {
		const char *target;
		const char *member;
	} names[] = {
		[STORE_COMPARE_MOD] = { "MOD", "mod_revision" },
		[STORE_COMPARE_CREATE] = { "CREATE", "create_revision" },
		[STORE_COMPARE_LEASE] = { "LEASE", "lease" },
	};

	(void)buf_adds(buf, "{");
	add_key(buf, "key", compare->key);
	if (compare->kind == STORE_COMPARE_VALUE) {
		(void)buf_adds(buf, ",\"target\":\"VALUE\",\"result\":\"EQUAL\",");
		add_key(buf, "value", compare->text);
		(void)buf_adds(buf, "}");
		return;
	}
	(void)buf_addf(buf, ",\"target\":\"%s\",\"result\":\"EQUAL\",\"%s\":\"%" PRId64 "\"}",
		       names[compare->kind].target, names[compare->kind].member, compare->number);
}

static void add_txn(struct buf *buf, const struct store_request *request)
{
	const struct store_ops *longer =
		request->success.len > request->failure.len ? &request->success : &request->failure;
	const size_t width = list_width(longer->len);

	(void)buf_adds(buf, "{\"compare\":[");
	for (size_t i = 0; i < request->compares_len; i++) {
		(void)buf_adds(buf, i ? "," : "");
		add_compare(buf, &request->compares[i]);
	}
	(void)buf_adds(buf, "]");
	add_ops(buf, "success", &request->success, width);
	add_ops(buf, "failure", &request->failure, width);
	(void)buf_adds(buf, "}");
}

char *etcd_codec_request(const struct store_request *request)
{
	struct buf buf = BUF_INIT(0);

	switch (request->kind) {
	case STORE_TXN:
		add_txn(&buf, request);
		break;
	case STORE_LEASE_GRANT:
		(void)buf_addf(&buf, "{\"ID\":\"%" PRId64 "\",\"TTL\":\"%" PRId64 "\"}",
			       (int64_t)request->leases[0], request->ttl_s);
		break;
	case STORE_LEASE_KEEPALIVE:
		for (size_t i = 0; i < request->leases_len; i++)
			(void)buf_addf(&buf, "{\"ID\":\"%" PRId64 "\"}",
				       (int64_t)request->leases[i]);
		break;
	case STORE_LEASE_REVOKE:
	case STORE_LEASE_REMAINING:
		(void)buf_addf(&buf, "{\"ID\":\"%" PRId64 "\"}", (int64_t)request->leases[0]);
		break;
	}
	return buf_steal(&buf);
}

static size_t ops_size(const struct store_ops *ops)
{
	size_t size = 0;

	for (size_t i = 0; i < ops->len; i++) {
		const struct store_op *op = &ops->items[i];

		size += OP_OVERHEAD + op->value_len;
		size += op->key ? strlen(op->key) : 0;
		size += op->range.key ? strlen(op->range.key) : 0;
		size += op->range.range_end ? strlen(op->range.range_end) : 0;
	}
	return size;
}

size_t etcd_codec_size(const struct store_request *request)
{
	size_t size = OP_OVERHEAD + ops_size(&request->success) + ops_size(&request->failure);

	for (size_t i = 0; i < request->compares_len; i++) {
		const struct store_compare *compare = &request->compares[i];

		size += OP_OVERHEAD + strlen(compare->key);
		size += compare->text ? strlen(compare->text) : 0;
	}
	return size;
}

static void add_create_request(struct buf *buf, const char *key, const char *range_end, size_t id,
			       int64_t revision)
{
	(void)buf_adds(buf, "{\"create_request\":{");
	add_key(buf, "key", key);
	if (range_end) {
		(void)buf_adds(buf, ",");
		add_key(buf, "range_end", range_end);
	}
	(void)buf_addf(buf,
		       ",\"start_revision\":\"%" PRId64
		       "\",\"progress_notify\":true,\"watch_id\":\"%zu\"}}\n",
		       revision, id);
}

char *etcd_codec_watch(const char *const *keys, size_t keys_len, const char *const *prefixes,
		       size_t prefixes_len, int64_t start_revision)
{
	struct buf buf = BUF_INIT(0);

	for (size_t i = 0; i < keys_len; i++)
		add_create_request(&buf, keys[i], NULL, i + 1, start_revision);
	for (size_t i = 0; i < prefixes_len; i++) {
		CLEAN(str) char *end = store_prefix_end(prefixes[i]);

		add_create_request(&buf, prefixes[i], end, keys_len + i + 1, start_revision);
	}
	return buf_steal(&buf);
}
