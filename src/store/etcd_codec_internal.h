/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the etcd codec share: members of the gateway's JSON. All
 * of it takes what a peer wrote, and trusts nothing.
 */
#ifndef CMSNODE_ETCD_CODEC_INTERNAL_H
#define CMSNODE_ETCD_CODEC_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cJSON;
struct store_kv;

#define ETCD_CODE_INVALID_ARGUMENT 3 /* gRPC's codes */
#define ETCD_CODE_NOT_FOUND 5
#define ETCD_CODE_FAILED_PRECONDITION 9
#define ETCD_CODE_OUT_OF_RANGE 11

void etcd_codec_add_base64(struct buf *buf, const void *data, size_t len);

/* Absent is 0, as everywhere in the gateway's answers; negative is nonsense: -EINVAL. */
int etcd_codec_read_int(const struct cJSON *object, const char *name, int64_t *ret);

/* -EINVAL if there is none. */
int etcd_codec_read_header(const struct cJSON *object, uint64_t *ret_cluster_id,
			   int64_t *ret_revision);

/* *ret is NULL (which holds no items) if the member is absent. */
int etcd_codec_read_array(const struct cJSON *object, const char *name, const struct cJSON **ret);

/*
 * -EINVAL: not a kv; -ENOENT: one whose key is not a text, so it is none of ours. The caller ends
 * *ret with store_kv_fini().
 */
int etcd_codec_read_kv(const struct cJSON *object, bool with_value, struct store_kv *ret);

struct etcd_codec_error {
	int64_t code; /* gRPC's, 0 if none */
	char text[200];
};

/*
 * {"error":"..","message":"..","code":n}, 3.6 without "error"; in streams {"error":{...}}. False
 * if it is no error.
 */
bool etcd_codec_read_error(const struct cJSON *object, struct etcd_codec_error *ret);

/* The same of a whole body, which may be plain text: its first line then. */
void etcd_codec_read_failure(const char *body, size_t len, struct etcd_codec_error *ret);

/* Is it an error of etcd's API, and not of something in front of it? */
bool etcd_codec_is_grpc_error(const char *body, size_t len);

#endif
