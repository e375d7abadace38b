/* SPDX-License-Identifier: MIT */
/*
 * etcd v3's JSON gateway, as text: store requests to HTTP paths and bodies,
 * replies and watch messages back. Facts from etcd 3.4.23's gateway: keys and
 * values in standard base64; 64-bit integers as decimal strings; zero, empty
 * and false members left out; errors as {"error","message","code"} (3.4),
 * {"code","message"} (3.6) or, in streams, {"error":{"grpc_code",...}}.
 * A list of more than 64 operations is sent as nested transactions, because
 * each list is limited to 128 (--max-txn-ops). Pure.
 */
#ifndef CMSNODE_STORE_ETCD_CODEC_H
#define CMSNODE_STORE_ETCD_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct str_list;
struct store_request;
struct store_reply;
struct store_watch_report;

/* Relative to the API prefix: "/kv/txn". A constant. */
const char *etcd_codec_path(const struct store_request *request);

/* The JSON body; caller frees. */
char *etcd_codec_request(const struct store_request *request);

/* Decoded size that counts against --max-request-bytes (1.5 MiB), roughly from above. */
size_t etcd_codec_size(const struct store_request *request);

/*
 * Fills *ret (all of it; the caller ends it with store_reply_fini()) from HTTP
 * status and body; never fails: what cannot be understood is STORE_UNKNOWN
 * with a text. A lease that exists already (412 code 9) is a granted one.
 */
void etcd_codec_reply(const struct store_request *request, int http_status, const char *body,
		      size_t len,
		      struct store_reply *ret);

/* Body for POST /watch: one create_request per key and prefix, watch_id 1..n. Caller frees. */
char *etcd_codec_watch(const char *const *keys, size_t keys_len, const char *const *prefixes,
		       size_t prefixes_len,
		       int64_t start_revision);

struct etcd_codec_status { /* of one server */
	char version[24]; /* "3.4.23" */
	int major, minor, patch;
	uint64_t cluster_id;
	int64_t revision; /* what it has applied */
	int64_t raft_index; /* how long its log is */
	bool no_leader; /* it is cut off, or none is elected yet */
};

/* The answer to POST /maintenance/status with "{}". 0, or -EINVAL if it is not one. */
int etcd_codec_status(const char *body, size_t len, struct etcd_codec_status *ret);

/*
 * Adds the client URLs of all members that serve clients (no learners), as POST
 * /cluster/member/list with "{}" tells them. 0, or -EINVAL if it is no such list.
 */
int etcd_codec_members(const char *body, size_t len, struct str_list *urls);

/* Body for POST /auth/authenticate; holds the password. Caller frees. */
char *etcd_codec_authenticate(const char *user, const char *password);

/* The token in its answer, NULL if there is none that fits a header. Caller frees. */
char *etcd_codec_token(const char *body, size_t len);

/* Does that error of etcd's ask for a (new) token? Nothing was carried out then. */
bool etcd_codec_wants_token(const char *text);

enum etcd_watch_message_kind {
	ETCD_WATCH_CREATED,
	ETCD_WATCH_EVENTS,
	ETCD_WATCH_PROGRESS,
	ETCD_WATCH_COMPACTED,	/* cancelled: the start revision is gone */
	ETCD_WATCH_CANCELED,	/* text says why */
	ETCD_WATCH_ERROR,	/* an error object: no leader, permission, ... */
};

struct store_event;

struct etcd_watch_message {
	enum etcd_watch_message_kind kind;
	int64_t watch_id;
	int64_t revision;	/* header.revision, 0 if none */
	uint64_t cluster_id;
	int64_t compact_revision;
	int64_t error_code;	/* ETCD_WATCH_ERROR: gRPC's code, 0 if none; 14 = unavailable */
	struct store_event *events;
	size_t len, cap;
	char text[256];
};

/*
 * One line (or the unterminated rest at the end of a stream). 0, or -EINVAL
 * when it is not a watch message. Keys with a NUL byte are nobody's we know:
 * their events are left out.
 */
int etcd_codec_watch_message(const char *line, size_t len, struct etcd_watch_message *ret,
			     struct err *err);
void etcd_watch_message_fini(struct etcd_watch_message *message);
static inline void clean_etcd_watch_message(struct etcd_watch_message *message)
{
	etcd_watch_message_fini(message);
}

#endif
