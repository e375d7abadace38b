/* SPDX-License-Identifier: MIT */
/*
 * The gateway's answers to store requests. Must never call a write "refused"
 * unless etcd said so before it could have written, and never trusts an answer:
 * what does not fit the request is "unknown".
 */
#include "cmsnode/store/etcd_codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#include "etcd_codec_internal.h"

#define RESPONSE_DEPTH_MAX 16
#define CODE_ANY (-1)

static void not_understood(struct store_reply *ret, const char *what)
{
	store_reply_fini(ret);
	store_reply_fail(ret, STORE_UNKNOWN, STORE_TROUBLE_OTHER,
			 "etcd's answer was not understood: %s", what);
}

/* The first line that fits decides; what fits none may have been carried out. */
static const struct verdict {
	int http;
	int code;
	const char *contains;
	enum store_outcome outcome;
	enum store_trouble trouble;
} verdicts[] = {
	{ 400, ETCD_CODE_INVALID_ARGUMENT, "user name is empty", STORE_REFUSED,
	  STORE_TROUBLE_DENIED },
	{ 400, ETCD_CODE_INVALID_ARGUMENT, "authentication failed", STORE_REFUSED,
	  STORE_TROUBLE_DENIED },
	{ 400, ETCD_CODE_INVALID_ARGUMENT, "revision of auth store is old", STORE_REFUSED,
	  STORE_TROUBLE_DENIED },
	{ 400, ETCD_CODE_INVALID_ARGUMENT, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
	{ 400, ETCD_CODE_OUT_OF_RANGE, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
	{ 401, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_DENIED },
	{ 403, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_DENIED },
	{ 404, ETCD_CODE_NOT_FOUND, "", STORE_REFUSED, STORE_TROUBLE_LEASE_GONE },
	{ 412, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
	{ 429, CODE_ANY, "database space exceeded", STORE_REFUSED, STORE_TROUBLE_NOSPACE },
	{ 429, CODE_ANY, "", STORE_REFUSED, STORE_TROUBLE_OTHER },
};

static const struct verdict *find_verdict(int http_status, const struct etcd_codec_error *error)
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
	struct etcd_codec_error error;

	etcd_codec_read_failure(body, len, &error);
	if (request->kind == STORE_LEASE_GRANT && http_status == 412 &&
	    error.code == ETCD_CODE_FAILED_PRECONDITION) {
		ret->outcome = STORE_DONE;
		ret->ttl_s[0] = request->ttl_s;
		return;
	}
	const struct verdict *verdict = find_verdict(http_status, &error);
	const char *hint = http_status == 404 && error.code != ETCD_CODE_NOT_FOUND ?
				   "; is this an etcd 3.3 or newer, with its JSON gateway on?" :
				   "";

	store_reply_fail(ret, verdict->outcome, verdict->trouble, "%s (HTTP %d%s)", error.text,
			 http_status, hint);
}

static int read_range(const struct cJSON *response, bool with_values, struct store_kvs *kvs)
{
	const struct cJSON *array;
	const struct cJSON *item;

	if (etcd_codec_read_array(response, "kvs", &array) < 0)
		return -EINVAL;
	cJSON_ArrayForEach(item, array) {
		struct store_kv kv;
		const int r = etcd_codec_read_kv(item, with_values, &kv);
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

	if (depth > RESPONSE_DEPTH_MAX || etcd_codec_read_array(object, "responses", &array) < 0)
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

	if (etcd_codec_read_header(json, &ret->cluster_id, &ret->revision) < 0) {
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

	if (etcd_codec_read_header(json, &ret->cluster_id, &ret->revision) < 0 ||
	    etcd_codec_read_int(json, "ID", &id) < 0 || (uint64_t)id != request->leases[0] ||
	    etcd_codec_read_int(json, "TTL", &ret->ttl_s[0]) < 0 || ret->ttl_s[0] == 0)
		not_understood(ret, "it does not name the lease that was asked for");
	else
		ret->outcome = STORE_DONE;
}

/* An unknown lease has TTL -1. */
static void read_remaining(const struct store_request *request, const struct cJSON *json,
			   struct store_reply *ret)
{
	int64_t id;

	if (etcd_codec_read_header(json, &ret->cluster_id, &ret->revision) < 0 ||
	    etcd_codec_read_int(json, "ID", &id) < 0 || (uint64_t)id != request->leases[0] ||
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
	if (etcd_codec_read_header(json, &ret->cluster_id, &ret->revision) < 0)
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

	if (!result || etcd_codec_read_header(result, &ret->cluster_id, &ret->revision) < 0 ||
	    etcd_codec_read_int(result, "ID", &id) < 0 ||
	    etcd_codec_read_int(result, "TTL", &ttl_s) < 0)
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
	struct etcd_codec_error error;

	if (json && etcd_codec_read_error(json, &error)) {
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
