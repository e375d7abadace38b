/* SPDX-License-Identifier: MIT */
/*
 * Answers of etcd's gateway, to a store request or of a server itself: the first byte chooses
 * the request, the second the HTTP status, the rest is the body. Whatever comes, the reply fits
 * the request or is not "done".
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd_codec.h"
#include "cmsnode/store/store.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	json_init();
	return 0;
}

static struct store_request *choose_request(uint8_t choice)
{
	static const enum store_request_kind kinds[] = {
		STORE_TXN,
		STORE_LEASE_GRANT,
		STORE_LEASE_KEEPALIVE,
		STORE_LEASE_REVOKE,
	};
	struct store_request *request = store_request_new(kinds[choice % ARRAY_LEN(kinds)]);

	request->leases[0] = 41;
	request->leases[1] = 42;
	request->leases_len = request->kind == STORE_LEASE_KEEPALIVE ? 2 : 1;
	request->ttl_s = 10;
	if (request->kind != STORE_TXN)
		return request;
	store_request_compare(request, STORE_COMPARE_MOD, "/a", 1);
	store_ops_range(&request->success, "/a", true)->range.keys_only = choice & 0x80;
	store_ops_put(&request->success, "/b", "1", 1, 0);
	store_ops_delete(&request->success, "/c", true);
	(void)store_ops_range(&request->failure, "/a", false);
	return request;
}

static void check_kvs(const struct store_kvs *kvs)
{
	for (size_t i = 0; i < kvs->len; i++) {
		const struct store_kv *kv = &kvs->items[i];

		if (!*kv->key || kv->mod_revision <= 0 || kv->create_revision < 0 ||
		    (kv->value && kv->value[kv->value_len] != '\0'))
			abort();
	}
}

static void check_reply(const struct store_request *request, const struct store_reply *reply)
{
	if (reply->outcome != STORE_DONE) {
		if (reply->ranges_len || reply->trouble == STORE_TROUBLE_NONE || !*reply->text)
			abort();
		return;
	}
	if (request->kind == STORE_TXN && reply->ranges_len != 1)
		abort();
	for (size_t i = 0; i < reply->ranges_len; i++)
		check_kvs(&reply->ranges[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = { 200, 400, 401, 403, 404, 412, 429, 503 };

	if (size < 2)
		return 0;
	CLEAN(store_request) struct store_request *request = choose_request(data[0]);
	CLEAN(store_reply) struct store_reply reply = { 0 };
	/* A copy of exactly that size: reading past it is seen. */
	char *body = xmemdup(data + 2, size - 2);

	struct etcd_codec_status status;

	if (etcd_codec_status(body, size - 2, &status) == 0 &&
	    (!*status.version || status.revision < 0 || status.raft_index < 0))
		abort();
	CLEAN(str_list) struct str_list urls = { 0 };
	CLEAN(str) char *token = etcd_codec_token(body, size - 2);

	(void)etcd_codec_members(body, size - 2, &urls);
	if (token && strpbrk(token, " \r\n"))
		abort();
	etcd_codec_reply(request, statuses[data[1] % ARRAY_LEN(statuses)], body, size - 2, &reply);
	check_reply(request, &reply);
	free(body);
	return 0;
}
