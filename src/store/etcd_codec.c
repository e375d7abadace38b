/* SPDX-License-Identifier: MIT */
/*
 * Store requests as bodies for etcd's JSON gateway, and its answers back. Owns
 * the wire format and what each error means; knows no connection. Must never
 * call a write "refused" unless etcd said so before it could have written, and
 * never trusts an answer: what does not fit the request is "unknown".
 */
#include "cmsnode/store/etcd_codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <openssl/evp.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define FLAT_OPS_MAX 64 /* operations in one list without nesting */
#define TXN_OPS_BUDGET 128 /* etcd's --max-txn-ops: the lists of all nesting levels together */
#define OP_OVERHEAD 64 /* bytes of protobuf around one operation, from above */
#define RESPONSE_DEPTH_MAX 16
#define CODE_INVALID_ARGUMENT 3 /* gRPC's codes */
#define CODE_NOT_FOUND 5
#define CODE_FAILED_PRECONDITION 9
#define CODE_OUT_OF_RANGE 11
#define CODE_ANY (-1)

/* ---- base64 ------------------------------------------------------------ */

static void add_base64(struct buf *buf, const void *data, size_t len)
{
	enum { PIECE = 3 * 1024 }; /* a multiple of 3: padding only at the very end */
	unsigned char text[PIECE / 3 * 4 + 1];
	const unsigned char *bytes = data;

	while (len) {
		const size_t piece = len < PIECE ? len : PIECE;
		const int n = EVP_EncodeBlock(text, bytes, (int)piece);

		(void)buf_add(buf, text, (size_t)n);
		bytes += piece;
		len -= piece;
	}
}

/* NUL-terminated bytes, or NULL if `text` is not padded standard base64. Caller frees. */
static char *decode_base64(const char *text, size_t *ret_len)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t len = strlen(text);
	const size_t digits = strspn(text, alphabet);
	const size_t padding = strspn(text + digits, "=");

	/* EVP_DecodeBlock() would let blanks and inner '=' pass. */
	if (len % 4 || padding > 2 || digits + padding != len || len > INT32_MAX)
		return NULL;
	char *bytes = xmalloc(len / 4 * 3 + 1);
	const int n = len ? EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text,
					    (int)len) :
			    0;
	if (n < 0 || (size_t)n < padding) {
		free(bytes);
		return NULL;
	}
	*ret_len = (size_t)n - padding;
	bytes[*ret_len] = '\0';
	return bytes;
}

/* ---- requests ---------------------------------------------------------- */

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
	add_base64(buf, data, len);
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

/* ---- members that both kinds of answers have ---------------------------- */

/* Absent is 0, as everywhere in the gateway's answers; negative is nonsense. */
static int read_int(const struct cJSON *object, const char *name, int64_t *ret)
{
	const int r = json_get_int64(object, name, ret);
	if (r == -ENOENT) {
		*ret = 0;
		return 0;
	}
	return r < 0 || *ret < 0 ? -EINVAL : 0;
}

static int read_header(const struct cJSON *object, uint64_t *ret_cluster_id, int64_t *ret_revision)
{
	const struct cJSON *header = json_get_object(object, "header");
	if (!header)
		return -EINVAL;
	*ret_cluster_id = 0;
	if (json_get_uint64(header, "cluster_id", ret_cluster_id) == -EINVAL)
		return -EINVAL;
	return read_int(header, "revision", ret_revision);
}

/* *ret is NULL (which holds no items) if the member is absent. */
static int read_array(const struct cJSON *object, const char *name, const struct cJSON **ret)
{
	*ret = json_get(object, name);
	return *ret && !cJSON_IsArray(*ret) ? -EINVAL : 0;
}

/* Bytes of a member; absent gives "". -EINVAL if it is not base64. */
static int read_bytes(const struct cJSON *object, const char *name, char **ret, size_t *ret_len)
{
	const struct cJSON *item = json_get(object, name);
	const char *text = item ? cJSON_GetStringValue(item) : "";
	if (!text)
		return -EINVAL;
	*ret = decode_base64(text, ret_len);
	return *ret ? 0 : -EINVAL;
}

/* -EINVAL: not a kv; -ENOENT: one whose key is not a text, so it is none of ours. */
static int read_kv(const struct cJSON *object, bool with_value, struct store_kv *ret)
{
	size_t key_len;
	int64_t lease;

	*ret = (struct store_kv){ 0 };
	int r = read_bytes(object, "key", &ret->key, &key_len);
	if (r == 0 && key_len == 0)
		r = -EINVAL;
	if (r == 0 && with_value)
		r = read_bytes(object, "value", &ret->value, &ret->value_len);
	if (r == 0)
		r = read_int(object, "create_revision", &ret->create_revision);
	if (r == 0)
		r = read_int(object, "mod_revision", &ret->mod_revision);
	if (r == 0 && ret->mod_revision == 0)
		r = -EINVAL;
	if (r == 0)
		r = read_int(object, "lease", &lease);
	if (r == 0)
		ret->lease = (uint64_t)lease;
	if (r == 0 && strlen(ret->key) != key_len)
		r = -ENOENT;
	if (r < 0)
		store_kv_fini(ret);
	return r;
}

struct gateway_error {
	int64_t code; /* gRPC's, 0 if none */
	char text[200];
};

/* {"error":"..","message":"..","code":n}, 3.6 without "error"; in streams {"error":{...}}. */
static bool read_error(const struct cJSON *object, struct gateway_error *ret)
{
	const struct cJSON *inner = json_get_object(object, "error");
	const char *text = json_get_str(inner ? inner : object, "message");

	if (!text)
		text = json_get_str(object, "error");
	if (!text && !inner)
		return false;
	(void)snprintf(ret->text, sizeof(ret->text), "%s",
		       text && *text ? text : "an error without a message");
	if (read_int(inner ? inner : object, inner ? "grpc_code" : "code", &ret->code) < 0)
		ret->code = 0;
	return true;
}

/* ---- replies to requests ------------------------------------------------ */

static void not_understood(struct store_reply *ret, const char *what)
{
	store_reply_fini(ret);
	store_reply_fail(ret, STORE_UNKNOWN, STORE_TROUBLE_OTHER,
			 "etcd's answer was not understood: %s", what);
}

/* Plain text, as wrong paths and proxies give: its first line. */
static void read_plain_error(const char *body, size_t len, struct gateway_error *ret)
{
	size_t n = 0;

	while (n < len && body[n] != '\n' && body[n] != '\r' && body[n] != '\0' &&
	       n + 1 < sizeof(ret->text))
		n++;
	if (n)
		memcpy(ret->text, body, n);
	ret->text[n] = '\0';
	ret->code = 0;
	if (!n)
		(void)snprintf(ret->text, sizeof(ret->text), "no reason given");
}

/* The first line that fits decides; what fits none may have been carried out. */
static const struct verdict {
	int http;
	int code;
	const char *contains;
	enum store_outcome outcome;
	enum store_trouble trouble;
} verdicts[] = {
	{ 400, CODE_INVALID_ARGUMENT, "user name is empty", STORE_REFUSED, STORE_TROUBLE_DENIED },
	{ 400, CODE_INVALID_ARGUMENT, "authentication failed", STORE_REFUSED,
	  STORE_TROUBLE_DENIED },
	{ 400, CODE_INVALID_ARGUMENT, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
	{ 400, CODE_OUT_OF_RANGE, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
	{ 401, CODE_ANY, "", STORE_UNKNOWN, STORE_TROUBLE_DENIED },
	{ 403, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_DENIED },
	{ 404, CODE_NOT_FOUND, "", STORE_REFUSED, STORE_TROUBLE_LEASE_GONE },
	{ 412, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
	{ 429, CODE_ANY, "database space exceeded", STORE_REFUSED, STORE_TROUBLE_NOSPACE },
	{ 429, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
};

static const struct verdict *find_verdict(int http_status, const struct gateway_error *error)
{
	static const struct verdict unknown = { .outcome = STORE_UNKNOWN,
						.trouble = STORE_TROUBLE_OTHER };

	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
		const struct verdict *verdict = &verdicts[i];

		if (verdict->http == http_status &&
		    (verdict->code == CODE_ANY || verdict->code == error->code) &&
		    strstr(error->text, verdict->contains))
			return verdict;
	}
	return &unknown;
}

static void read_failure(const struct store_request *request, int http_status, const char *body,
			 size_t len, struct store_reply *ret)
{
	CLEAN(json) struct cJSON *json = json_parse(body, len, NULL);
	struct gateway_error error;

	if (!json || !read_error(json, &error))
		read_plain_error(body, len, &error);
	if (request->kind == STORE_LEASE_GRANT && http_status == 412 &&
	    error.code == CODE_FAILED_PRECONDITION) {
		ret->outcome = STORE_DONE;
		ret->ttl_s[0] = request->ttl_s;
		return;
	}
	const struct verdict *verdict = find_verdict(http_status, &error);
	const char *hint = http_status == 404 && error.code != CODE_NOT_FOUND ?
				   "; is this an etcd 3.4 or newer with its JSON gateway on?" :
				   "";

	store_reply_fail(ret, verdict->outcome, verdict->trouble, "%s (HTTP %d%s)", error.text,
			 http_status, hint);
}

static int read_range(const struct cJSON *response, bool with_values, struct store_kvs *kvs)
{
	const struct cJSON *array;
	const struct cJSON *item;

	if (read_array(response, "kvs", &array) < 0)
		return -EINVAL;
	cJSON_ArrayForEach(item, array) {
		struct store_kv kv;
		const int r = read_kv(item, with_values, &kv);
		if (r == 0)
			*store_kvs_add(kvs) = kv;
		else if (r != -ENOENT)
			return r;
	}
	return 0;
}

static int read_response(const struct cJSON *item, const struct store_op *op,
			 struct store_reply *ret)
{
	static const char *const members[] = {
		[STORE_OP_RANGE] = "response_range",
		[STORE_OP_PUT] = "response_put",
		[STORE_OP_DELETE] = "response_delete_range",
	};
	const struct cJSON *response = json_get_object(item, members[op->kind]);
	if (!response)
		return -EINVAL;
	if (op->kind != STORE_OP_RANGE)
		return 0;
	return read_range(response, !op->range.keys_only, store_reply_add_range(ret));
}

/*
 * Walks the answers in step with the operations, however they were nested;
 * *at counts the operations that were answered.
 */
static int read_responses(const struct cJSON *object, const struct store_ops *ops, size_t *at,
			  int depth, struct store_reply *ret)
{
	const struct cJSON *array;
	const struct cJSON *item;

	if (depth > RESPONSE_DEPTH_MAX || read_array(object, "responses", &array) < 0)
		return -EINVAL;
	cJSON_ArrayForEach(item, array) {
		const struct cJSON *nested = json_get_object(item, "response_txn");
		int r = -EINVAL;

		if (nested)
			r = read_responses(nested, ops, at, depth + 1, ret);
		else if (*at < ops->len)
			r = read_response(item, &ops->items[(*at)++], ret);
		if (r < 0)
			return r;
	}
	return 0;
}

static void read_txn(const struct store_request *request, const struct cJSON *json,
		     struct store_reply *ret)
{
	size_t at = 0;

	if (read_header(json, &ret->cluster_id, &ret->revision) < 0) {
		not_understood(ret, "no header");
		return;
	}
	ret->succeeded = json_get_bool(json, "succeeded", false);
	const struct store_ops *ops = ret->succeeded ? &request->success : &request->failure;

	if ((!ret->succeeded && request->compares_len == 0) ||
	    read_responses(json, ops, &at, 1, ret) < 0 || at != ops->len)
		not_understood(ret, "it does not fit the operations that were sent");
	else
		ret->outcome = STORE_DONE;
}

static void read_grant(const struct store_request *request, const struct cJSON *json,
		       struct store_reply *ret)
{
	int64_t id;

	if (read_header(json, &ret->cluster_id, &ret->revision) < 0 ||
	    read_int(json, "ID", &id) < 0 || (uint64_t)id != request->leases[0] ||
	    read_int(json, "TTL", &ret->ttl_s[0]) < 0 || ret->ttl_s[0] == 0)
		not_understood(ret, "it does not name the lease that was asked for");
	else
		ret->outcome = STORE_DONE;
}

/* An unknown lease has TTL -1. */
static void read_remaining(const struct store_request *request, const struct cJSON *json,
			   struct store_reply *ret)
{
	int64_t id;

	if (read_header(json, &ret->cluster_id, &ret->revision) < 0 ||
	    read_int(json, "ID", &id) < 0 || (uint64_t)id != request->leases[0] ||
	    json_get_int64(json, "TTL", &ret->ttl_s[0]) == -EINVAL) {
		not_understood(ret, "it does not name the lease that was asked for");
		return;
	}
	if (ret->ttl_s[0] < 0)
		ret->ttl_s[0] = 0;
	ret->outcome = STORE_DONE;
}

static void read_revoke(const struct cJSON *json, struct store_reply *ret)
{
	if (read_header(json, &ret->cluster_id, &ret->revision) < 0)
		not_understood(ret, "no header");
	else
		ret->outcome = STORE_DONE;
}

/* One line of a keepalive's answer; `seen` has a bit per lease of the request. */
static int read_keepalive_line(const struct store_request *request, const struct cJSON *json,
			       unsigned int *seen, struct store_reply *ret)
{
	const struct cJSON *result = json_get_object(json, "result");
	int64_t id;
	int64_t ttl_s;

	if (!result || read_header(result, &ret->cluster_id, &ret->revision) < 0 ||
	    read_int(result, "ID", &id) < 0 || read_int(result, "TTL", &ttl_s) < 0)
		return -EINVAL;
	for (size_t i = 0; i < request->leases_len; i++) {
		if (request->leases[i] != (uint64_t)id)
			continue;
		ret->ttl_s[i] = ttl_s;
		*seen |= 1U << i;
	}
	return 0;
}

static bool is_blank(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
			return false;
	return true;
}

/* False, and the reply filled, if the line says an error or nothing that is known. */
static bool take_keepalive_line(const struct store_request *request, const char *line, size_t len,
				unsigned int *seen, struct store_reply *ret)
{
	CLEAN(json) struct cJSON *json = json_parse(line, len, NULL);
	struct gateway_error error;

	if (json && read_error(json, &error)) {
		store_reply_fail(ret, STORE_UNKNOWN, STORE_TROUBLE_OTHER, "%s", error.text);
		return false;
	}
	if (!json || read_keepalive_line(request, json, seen, ret) < 0) {
		not_understood(ret, "a line is not a renewed lease");
		return false;
	}
	return true;
}

static void read_keepalive(const struct store_request *request, const char *body, size_t len,
			   struct store_reply *ret)
{
	unsigned int seen = 0;

	while (len) {
		const char *newline = memchr(body, '\n', len);
		const size_t line = newline ? (size_t)(newline - body) : len;

		if (!is_blank(body, line) && !take_keepalive_line(request, body, line, &seen, ret))
			return;
		len -= newline ? line + 1 : line;
		body += newline ? line + 1 : line;
	}
	if (seen != (1U << request->leases_len) - 1)
		not_understood(ret, "a lease is missing in it");
	else
		ret->outcome = STORE_DONE;
}

static void read_success(const struct store_request *request, const char *body, size_t len,
			 struct store_reply *ret)
{
	if (request->kind == STORE_LEASE_KEEPALIVE) {
		read_keepalive(request, body, len, ret);
		return;
	}
	CLEAN(json) struct cJSON *json = json_parse(body, len, NULL);
	if (!json) {
		not_understood(ret, "it is not JSON");
		return;
	}
	switch (request->kind) {
	case STORE_TXN:
		read_txn(request, json, ret);
		break;
	case STORE_LEASE_GRANT:
		read_grant(request, json, ret);
		break;
	case STORE_LEASE_REVOKE:
		read_revoke(json, ret);
		break;
	case STORE_LEASE_REMAINING:
		read_remaining(request, json, ret);
		break;
	case STORE_LEASE_KEEPALIVE:
		break;
	}
}

void etcd_codec_reply(const struct store_request *request, int http_status, const char *body,
		      size_t len, struct store_reply *ret)
{
	*ret = (struct store_reply){ .outcome = STORE_UNKNOWN, .trouble = STORE_TROUBLE_NONE };
	if (http_status == 200)
		read_success(request, body, len, ret);
	else
		read_failure(request, http_status, body, len, ret);
}

/* ---- watch messages ----------------------------------------------------- */

void etcd_watch_message_fini(struct etcd_watch_message *message)
{
	for (size_t i = 0; i < message->len; i++)
		store_kv_fini(&message->events[i].kv);
	free(message->events);
	message->events = NULL;
	message->len = 0;
	message->cap = 0;
}

static int read_event(const struct cJSON *item, struct etcd_watch_message *message)
{
	const char *type = json_get_str(item, "type");
	struct store_event event = { .deleted = type && strcmp(type, "DELETE") == 0 };

	if (type && !event.deleted && strcmp(type, "PUT") != 0)
		return -EINVAL;
	const int r = read_kv(json_get_object(item, "kv"), !event.deleted, &event.kv);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	GROW(message->events, message->len, message->cap);
	message->events[message->len++] = event;
	return 0;
}

static int read_events(const struct cJSON *result, struct etcd_watch_message *message)
{
	const struct cJSON *array;
	const struct cJSON *item;

	if (read_array(result, "events", &array) < 0)
		return -EINVAL;
	cJSON_ArrayForEach(item, array) {
		const int r = read_event(item, message);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_watch_id(const struct cJSON *result, int64_t *ret)
{
	const int r = json_get_int64(result, "watch_id", ret); /* -1 is an answer to no watch */

	if (r == -ENOENT)
		*ret = 0;
	return r == -EINVAL ? r : 0;
}

static enum etcd_watch_message_kind result_kind(const struct cJSON *result,
						const struct etcd_watch_message *message)
{
	if (message->compact_revision)
		return ETCD_WATCH_COMPACTED;
	if (json_get_bool(result, "canceled", false))
		return ETCD_WATCH_CANCELED;
	if (json_get_bool(result, "created", false))
		return ETCD_WATCH_CREATED;
	return json_get(result, "events") ? ETCD_WATCH_EVENTS : ETCD_WATCH_PROGRESS;
}

static int read_watch_result(const struct cJSON *result, struct etcd_watch_message *message)
{
	int r = read_header(result, &message->cluster_id, &message->revision);
	if (r == 0)
		r = read_watch_id(result, &message->watch_id);
	if (r == 0)
		r = read_int(result, "compact_revision", &message->compact_revision);
	if (r == 0)
		r = read_events(result, message);
	if (r < 0)
		return r;
	const char *reason = json_get_str(result, "cancel_reason");

	message->kind = result_kind(result, message);
	(void)snprintf(message->text, sizeof(message->text), "%s", reason ? reason : "");
	/* Events beside anything else would be dropped in silence. */
	return message->len && message->kind != ETCD_WATCH_EVENTS ? -EINVAL : 0;
}

static int read_watch_message(const struct cJSON *json, struct etcd_watch_message *message)
{
	const struct cJSON *result = json_get_object(json, "result");
	struct gateway_error error;

	if (result)
		return read_watch_result(result, message);
	if (!read_error(json, &error))
		return -EINVAL;
	message->kind = ETCD_WATCH_ERROR;
	message->error_code = error.code;
	(void)snprintf(message->text, sizeof(message->text), "%s", error.text);
	return 0;
}

static void mask_control_characters(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

int etcd_codec_watch_message(const char *line, size_t len, struct etcd_watch_message *ret,
			     struct err *err)
{
	CLEAN(json) struct cJSON *json = json_parse(line, len, err);

	*ret = (struct etcd_watch_message){ 0 };
	if (!json) {
		(void)err_wrap(err, "watch message");
		return -EINVAL;
	}
	const int r = read_watch_message(json, ret);
	if (r < 0) {
		etcd_watch_message_fini(ret);
		return err_set(err, -EINVAL,
			       "watch message: neither a result nor an error as etcd writes them");
	}
	mask_control_characters(ret->text);
	return 0;
}
