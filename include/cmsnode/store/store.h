/* SPDX-License-Identifier: MIT */
/*
 * The store: the small interface that both backends implement (etcd through
 * its v3 JSON gateway, and a local one for --standalone). A revisioned map of
 * keys with transactions, leases and a watch; exactly the part of etcd's model
 * that the agreement uses, with its names.
 *
 * Requests are values made by the (pure) agreement. Every reply arrives from
 * the loop, never from inside store_send(); its outcome is one of three:
 * done (a parsed success), refused (the store says that this can never work),
 * unknown (anything else: for a write it may or may not have happened, or may
 * still happen later; only reading tells).
 */
#ifndef CMSNODE_STORE_STORE_H
#define CMSNODE_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;

/* ---- requests ---------------------------------------------------------- */

struct store_range {		/* keys to read */
	char *key;
	char *range_end;	/* NULL: that key only; see store_prefix_end() */
	/* 0 = any; count what comes back, etcd's own count ignores these */
	int64_t min_mod_revision;
	int64_t max_create_revision;	/* 0 = any */
	int64_t limit;		/* 0 = all */
	/* by create_revision, lowest first, before the limit; else by key */
	bool oldest_first;
	bool keys_only;
};

enum store_op_kind { STORE_OP_RANGE, STORE_OP_PUT, STORE_OP_DELETE };

struct store_op {
	enum store_op_kind kind;
	struct store_range range;	/* RANGE; for DELETE only key and range_end */
	char *key;			/* PUT */
	char *value;			/* PUT; bytes */
	size_t value_len;
	uint64_t lease;			/* PUT; 0 = none */
};

enum store_compare_kind {
	STORE_COMPARE_MOD,	/* mod_revision == number (0: the key is absent) */
	STORE_COMPARE_CREATE,	/* create_revision == number (0: the key is absent) */
	STORE_COMPARE_LEASE,	/* lease == number */
	STORE_COMPARE_VALUE,	/* the value is `text` */
};

struct store_compare {
	enum store_compare_kind kind;
	char *key;
	int64_t number;
	char *text;		/* VALUE; else NULL */
};

enum store_request_kind {
	/* compares, success, failure; no compare = success. A plain read is a txn of ranges. */
	STORE_TXN,
	STORE_LEASE_GRANT,	/* lease, ttl_s; a repeat of one's own id is a success */
	STORE_LEASE_KEEPALIVE,	/* leases[]; one reply for all */
	STORE_LEASE_REVOKE,	/* lease */
	STORE_LEASE_REMAINING,	/* how long has this lease (anybody's) to live? */
};

struct store_ops {
	struct store_op *items;
	size_t len, cap;
};

struct store_request {
	enum store_request_kind kind;
	struct store_compare *compares;
	size_t compares_len, compares_cap;
	struct store_ops success;	/* any length: the etcd codec nests them past 128 */
	struct store_ops failure;
	uint64_t leases[4];		/* GRANT, REVOKE: the first; KEEPALIVE: all */
	size_t leases_len;
	int64_t ttl_s;
	/*
	 * a read that also proves the member which the watch is open on: sent there if there is
	 * one, and to no other in its place
	 */
	bool probe;
};

struct store_request *store_request_new(enum store_request_kind kind);
void store_request_free(struct store_request *request);	/* NULL is fine */
static inline void clean_store_request(struct store_request **request)
{
	store_request_free(*request);
}
void store_request_compare(struct store_request *request, enum store_compare_kind kind,
			   const char *key, int64_t number);
void store_request_compare_value(struct store_request *request, const char *key,
				 const char *text);
/* borrowed, to fill limits in */
struct store_op *store_ops_range(struct store_ops *ops, const char *key, bool prefix);
void store_ops_put(struct store_ops *ops, const char *key, const char *value, size_t len,
		   uint64_t lease);
void store_ops_delete(struct store_ops *ops, const char *key, bool prefix);

/*
 * "/cms/nodes/" -> "/cms/nodes0": the end of the range of all keys with that
 * prefix, which must hold a byte other than 0xff. Caller frees.
 */
char *store_prefix_end(const char *prefix);

/* Would the range's answer hold that key (limits and filters left aside)? */
bool store_range_has(const struct store_range *range, const char *key);

/* A transaction that puts and deletes nothing in either branch: doing it twice is harmless. */
bool store_request_is_read_only(const struct store_request *request);

/* ---- replies ----------------------------------------------------------- */

struct store_kv {
	char *key;
	char *value;		/* NUL-terminated behind value_len bytes; NULL with keys_only */
	size_t value_len;
	int64_t create_revision;
	int64_t mod_revision;
	uint64_t lease;
};

struct store_kvs {		/* the answer to one range */
	struct store_kv *items;
	size_t len, cap;
};

enum store_outcome { STORE_DONE, STORE_REFUSED, STORE_UNKNOWN };

enum store_trouble {		/* why it was not done, where the agreement cares */
	STORE_TROUBLE_NONE,
	STORE_TROUBLE_UNREACHABLE,	/* no endpoint answers */
	STORE_TROUBLE_LEASE_GONE,	/* a put named a lease that does not exist: refused */
	STORE_TROUBLE_DENIED,		/* user, password or permission */
	STORE_TROUBLE_NOSPACE,
	STORE_TROUBLE_OTHER,
};

struct store_reply {
	enum store_outcome outcome;
	enum store_trouble trouble;
	char text[256];			/* what the store said, for a person */
	/*
	 * this store was made from a snapshot of another: its revisions were used before
	 * (etcd: its raft index is lower than its revision)
	 */
	bool restored;
	uint64_t cluster_id;		/* 0: the store did not tell (refusals, a repeated grant) */
	/* header.revision: of the whole store, never to be compared with a key's; 0 as above */
	int64_t revision;
	bool succeeded;			/* TXN: which branch ran */
	struct store_kvs *ranges;	/* TXN: one per range of the branch that ran, in order */
	size_t ranges_len, ranges_cap;
	/* GRANT, REMAINING: [0]; KEEPALIVE: per lease; 0 = that lease is gone */
	int64_t ttl_s[4];
};

void store_reply_fini(struct store_reply *reply);
static inline void clean_store_reply(struct store_reply *reply)
{
	store_reply_fini(reply);
}

/* For backends. The outcome with its reason as text; control characters become '?'. */
void store_reply_fail(struct store_reply *reply, enum store_outcome outcome,
		      enum store_trouble trouble,
		      const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* borrowed until the next one */
struct store_kvs *store_reply_add_range(struct store_reply *reply);
/* zeroed, borrowed until the next one */
struct store_kv *store_kvs_add(struct store_kvs *kvs);
/* `to` is overwritten, not freed */
void store_kv_copy(struct store_kv *to, const struct store_kv *from);
void store_kv_fini(struct store_kv *kv);

/* NULL if not there */
const struct store_kv *store_kvs_find(const struct store_kvs *kvs, const char *key);

/* ---- watching ---------------------------------------------------------- */

struct store_event {
	bool deleted;
	struct store_kv kv;	/* of a deleted key only key and mod_revision */
};

enum store_watch_news {
	STORE_WATCH_EVENTS,	/* events[] happened, in order */
	/*
	 * something may have been missed (reconnected elsewhere, compacted, restored): read again
	 */
	STORE_WATCH_GAP,
	/*
	 * nothing came for longer than a living watch is silent, or the watch broke and was taken
	 * up again: read with `probe`. Told again after each such time, until something comes
	 */
	STORE_WATCH_QUIET,
};

struct store_watch_report {
	enum store_watch_news news;
	/* EVENTS: of the last one; GAP: up to here all was seen */
	int64_t revision;
	const struct store_event *events;	/* borrowed */
	size_t len;
	const char *text;			/* GAP: why */
};

/* ---- the backends ------------------------------------------------------ */

struct store_counters {	/* since the start */
	uint64_t requests;	/* HTTP requests, watches included */
	uint64_t failures;	/* that ended without a usable answer, lost watches included */
	uint64_t late;		/* no answer in time */
	uint64_t broken;	/* no connection, or it broke */
	uint64_t server_errors;	/* HTTP 5xx: no leader, timed out in the cluster */
	uint64_t refusals;	/* HTTP 4xx: users, space, what the store never takes */
	uint64_t unknown;	/* writes whose outcome was not known */
	uint64_t conflicts;	/* transactions whose compares did not hold */
	uint64_t watches;	/* streams opened */
	uint64_t watches_lost;	/* and taken up again */
	uint64_t gaps;
	uint64_t bytes_sent, bytes_received;	/* bodies */
};

struct store_status {		/* for `status` */
	const char *kind;	/* "etcd", "standalone" */
	const char *endpoint;	/* in use or last tried; NULL for standalone; borrowed */
	bool connected;		/* the last request was answered */
	int64_t revision;	/* last seen */
	int64_t last_contact_ms;	/* clock_now_ms() of the last answer, 0 = never */
	const char *trouble;	/* a sentence, or NULL */
	/*
	 * a write was refused, for want of space or of permission, and none was made since:
	 * what was said; else NULL
	 */
	const char *refusing;
	const char *version;	/* of the server, NULL = not known (yet) */
	struct store_counters counters;
	/* of this machine, to the store's, for certain; negative: behind; 0: nothing is certain */
	double clock_ahead_s;
};

struct store;

/* the store frees the reply's content afterwards */
typedef void store_reply_fn(void *ctx, struct store_reply *reply);
typedef void store_watch_fn(void *ctx, const struct store_watch_report *report);

struct store_backend {
	/*
	 * Takes the request; `done` is called exactly once, later, unless the store is freed first.
	 */
	void (*send)(struct store *store, struct store_request *request, store_reply_fn *done,
		     void *ctx);
	/*
	 * (Re)starts the one watch: all `keys` (exact) and `prefixes` from
	 * revision + 1 on. The backend reconnects by itself and resumes where
	 * it was; where it cannot promise that nothing was missed it reports a gap.
	 */
	void (*watch)(struct store *store, const char *const *keys, size_t keys_len,
		      const char *const *prefixes, size_t prefixes_len, int64_t revision,
		      store_watch_fn *on_news, void *ctx);
	void (*status)(const struct store *store, struct store_status *ret);
	void (*free)(struct store *store);
};

/* The first member of each backend's own struct. */
struct store {
	const struct store_backend *backend;
};

static inline void store_send(struct store *store, struct store_request *request,
			      store_reply_fn *done, void *ctx)
{
	store->backend->send(store, request, done, ctx);
}

static inline void store_free(struct store *store)
{
	if (store)
		store->backend->free(store);
}

#endif
