/* SPDX-License-Identifier: MIT */
/*
 * Internal to the etcd backend: the one watch stream, and the transfers (one
 * HTTP exchange each) that etcd.c makes for it and for itself. Only etcd.c and
 * etcd_watch.c include this.
 *
 *                 start()            timer            all created
 *     CLOSED ---------------> WAITING -----> OPENING -------------> OPEN
 *       ^                        ^              |                     |
 *       |                        +--- lost -----+------- lost --------+
 *       +------------------------ gap ----------+------- gap ---------+
 *
 * lost: the stream ended but can be taken up at the next revision, so nothing
 * was missed. gap: something may have been missed; the owner is told once, and
 * starts again after having read.
 */
#ifndef CMSNODE_STORE_ETCD_WATCH_H
#define CMSNODE_STORE_ETCD_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/store/store.h"

struct ev_loop;
struct etcd_store;
struct etcd_watch;

/* ---- transfers: etcd.c ------------------------------------------------- */

enum etcd_transfer_kind {
	ETCD_TRANSFER_REQUEST, /* 3 s */
	ETCD_TRANSFER_PUSH, /* 10 s: a large body */
	ETCD_TRANSFER_WATCH, /* no end, asks etcd to end it when it has no leader */
};

struct etcd_transfer_end {
	bool delivered; /* a whole HTTP answer came */
	bool too_large; /* more bytes than reply.max: dropped by us */
	int http_status; /* 0: none came */
	char text[160]; /* !delivered: why, for a person */
};

struct etcd_transfer {
	/* Set by the owner before the start; body is borrowed until the end. */
	enum etcd_transfer_kind kind;
	const char *path;
	const char *body;
	size_t body_len;
	/* may libcurl send it again when a kept connection turns out dead? */
	bool resendable;
	size_t endpoint;
	struct buf reply; /* with its ceiling; what came so far */
	void (*on_end)(struct etcd_transfer *transfer, const struct etcd_transfer_end *end);

	/* etcd.c's. */
	struct etcd_store *etcd;
	void *easy; /* libcurl's handle, NULL when not running */
	size_t body_at;
	int64_t started_ms;
	bool too_large;
};

/* on_end comes from the loop, once, unless stopped before. */
void etcd_transfer_start(struct etcd_store *etcd, struct etcd_transfer *transfer);
void etcd_transfer_stop(struct etcd_transfer *transfer); /* not running: nothing happens */
int etcd_transfer_status(const struct etcd_transfer *transfer); /* HTTP status so far, 0 if none */

/* ---- endpoints and chance: etcd.c --------------------------------------- */

const char *etcd_endpoint_name(const struct etcd_store *etcd, size_t endpoint); /* "host:port" */

/*
 * Where to open the watch: where requests go, if that one can be avoided not at `avoid` (SIZE_MAX:
 * none).
 */
size_t etcd_endpoint_for_watch(struct etcd_store *etcd, size_t avoid);

/*
 * What was seen of an endpoint since `started_ms`; failing holds it down, and drops the watch on
 * it.
 */
void etcd_endpoint_failed(struct etcd_store *etcd, size_t endpoint, int64_t started_ms,
			  const char *text);
void etcd_endpoint_answered(struct etcd_store *etcd, size_t endpoint);

double etcd_random(void); /* [0, 1) */

struct store_counters *etcd_counters(struct etcd_store *etcd);

/*
 * Around everything that runs from the loop: a store that is freed meanwhile goes at the last
 * leave.
 */
void etcd_enter(struct etcd_store *etcd);
void etcd_leave(struct etcd_store *etcd);
bool etcd_is_dying(const struct etcd_store *etcd);

/* ---- the watch: etcd_watch.c -------------------------------------------- */

struct etcd_watch *etcd_watch_new(struct etcd_store *etcd, struct ev_loop *loop);
void etcd_watch_free(struct etcd_watch *watch);

/* As store_backend.watch; cluster_id is where `revision` was read, 0 if unknown. */
void etcd_watch_start(struct etcd_watch *watch, const char *const *keys, size_t keys_len,
		      const char *const *prefixes, size_t prefixes_len, int64_t revision,
		      uint64_t cluster_id, store_watch_fn *on_news, void *ctx);

/* Takes in what libcurl has read; called after each of its turns. */
void etcd_watch_process(struct etcd_watch *watch);

/*
 * Where a probe must go to prove the stream that is open: its endpoint, and in *ret a mark of it.
 * SIZE_MAX if none is open.
 */
struct etcd_watch_mark {
	unsigned int serial;
	int64_t revision; /* seen when the probe was sent */
};
size_t etcd_watch_to_prove(const struct etcd_watch *watch, struct etcd_watch_mark *ret);

/*
 * What the probe came to. A bad answer loses the stream; one that knows more than the stream
 * has told gives it a second to tell it.
 */
void etcd_watch_probed(struct etcd_watch *watch, const struct etcd_watch_mark *mark,
		       const struct store_reply *reply);

/* Requests to that endpoint fail: a stream from it is no longer believed. */
void etcd_watch_endpoint_failed(struct etcd_watch *watch, size_t endpoint);

int64_t etcd_watch_revision(const struct etcd_watch *watch); /* highest seen, 0 if none */
const char *etcd_watch_trouble(const struct etcd_watch *watch); /* a sentence, or NULL */

#endif
