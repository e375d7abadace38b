/* SPDX-License-Identifier: MIT */
/*
 * Store requests and replies as values: making, taking apart, releasing them.
 * Knows no backend and never talks to one.
 */
#include "cmsnode/store/store.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmsnode/base/mem.h"

/* ---- requests ---------------------------------------------------------- */

struct store_request *store_request_new(enum store_request_kind kind)
{
	struct store_request *request = xcalloc(1, sizeof(*request));

	request->kind = kind;
	return request;
}

static void ops_fini(struct store_ops *ops)
{
	for (size_t i = 0; i < ops->len; i++) {
		struct store_op *op = &ops->items[i];

		free(op->range.key);
		free(op->range.range_end);
		free(op->key);
		free(op->value);
	}
	free(ops->items);
}

void store_request_free(struct store_request *request)
{
	if (!request)
		return;
	for (size_t i = 0; i < request->compares_len; i++) {
		free(request->compares[i].key);
		free(request->compares[i].text);
	}
	free(request->compares);
	ops_fini(&request->success);
	ops_fini(&request->failure);
	free(request);
}

void store_request_compare(struct store_request *request, enum store_compare_kind kind,
			   const char *key, int64_t number)
{
	GROW(request->compares, request->compares_len, request->compares_cap);
	request->compares[request->compares_len++] =
		(struct store_compare){ .kind = kind, .key = xstrdup(key), .number = number };
}

void store_request_compare_value(struct store_request *request, const char *key, const char *text)
{
	store_request_compare(request, STORE_COMPARE_VALUE, key, 0);
	request->compares[request->compares_len - 1].text = xstrdup(text);
}

static struct store_op *ops_add(struct store_ops *ops, enum store_op_kind kind)
{
	GROW(ops->items, ops->len, ops->cap);
	struct store_op *op = &ops->items[ops->len++];

	*op = (struct store_op){ .kind = kind };
	return op;
}

static struct store_op *ops_add_range(struct store_ops *ops, enum store_op_kind kind,
				      const char *key, bool prefix)
{
	struct store_op *op = ops_add(ops, kind);

	op->range.key = xstrdup(key);
	op->range.range_end = prefix ? store_prefix_end(key) : NULL;
	return op;
}

struct store_op *store_ops_range(struct store_ops *ops, const char *key, bool prefix)
{
	return ops_add_range(ops, STORE_OP_RANGE, key, prefix);
}

void store_ops_delete(struct store_ops *ops, const char *key, bool prefix)
{
	(void)ops_add_range(ops, STORE_OP_DELETE, key, prefix);
}

void store_ops_put(struct store_ops *ops, const char *key, const char *value, size_t len,
		   uint64_t lease)
{
	struct store_op *op = ops_add(ops, STORE_OP_PUT);

	op->key = xstrdup(key);
	op->value = xmemdup(value, len);
	op->value_len = len;
	op->lease = lease;
}

char *store_prefix_end(const char *prefix)
{
	char *end = xstrdup(prefix);
	size_t len = strlen(end);

	while (len && (unsigned char)end[len - 1] == 0xff)
		len--;
	assert(len);
	end[len - 1]++;
	end[len] = '\0';
	return end;
}

bool store_range_has(const struct store_range *range, const char *key)
{
	if (!range->range_end)
		return strcmp(key, range->key) == 0;
	return strcmp(key, range->key) >= 0 && strcmp(key, range->range_end) < 0;
}

static bool ops_only_read(const struct store_ops *ops)
{
	for (size_t i = 0; i < ops->len; i++)
		if (ops->items[i].kind != STORE_OP_RANGE)
			return false;
	return true;
}

bool store_request_is_read_only(const struct store_request *request)
{
	return request->kind == STORE_TXN && ops_only_read(&request->success) &&
	       ops_only_read(&request->failure);
}

/* ---- replies ----------------------------------------------------------- */

void store_kv_fini(struct store_kv *kv)
{
	free(kv->key);
	free(kv->value);
	*kv = (struct store_kv){ 0 };
}

void store_kv_copy(struct store_kv *to, const struct store_kv *from)
{
	*to = *from;
	to->key = xstrdup(from->key);
	if (!from->value)
		return;
	to->value = xmalloc(from->value_len + 1);
	memcpy(to->value, from->value, from->value_len);
	to->value[from->value_len] = '\0';
}

struct store_kv *store_kvs_add(struct store_kvs *kvs)
{
	GROW(kvs->items, kvs->len, kvs->cap);
	struct store_kv *kv = &kvs->items[kvs->len++];

	*kv = (struct store_kv){ 0 };
	return kv;
}

const struct store_kv *store_kvs_find(const struct store_kvs *kvs, const char *key)
{
	for (size_t i = 0; i < kvs->len; i++)
		if (strcmp(kvs->items[i].key, key) == 0)
			return &kvs->items[i];
	return NULL;
}

struct store_kvs *store_reply_add_range(struct store_reply *reply)
{
	GROW(reply->ranges, reply->ranges_len, reply->ranges_cap);
	struct store_kvs *kvs = &reply->ranges[reply->ranges_len++];

	*kvs = (struct store_kvs){ 0 };
	return kvs;
}

void store_reply_fini(struct store_reply *reply)
{
	for (size_t i = 0; i < reply->ranges_len; i++) {
		struct store_kvs *kvs = &reply->ranges[i];

		for (size_t j = 0; j < kvs->len; j++)
			store_kv_fini(&kvs->items[j]);
		free(kvs->items);
	}
	free(reply->ranges);
	reply->ranges = NULL;
	reply->ranges_len = 0;
	reply->ranges_cap = 0;
}

void store_reply_fail(struct store_reply *reply, enum store_outcome outcome,
		      enum store_trouble trouble, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(reply->text, sizeof(reply->text), fmt, args);
	va_end(args);
	for (char *p = reply->text; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	reply->outcome = outcome;
	reply->trouble = trouble;
}
