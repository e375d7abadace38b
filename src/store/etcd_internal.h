/* SPDX-License-Identifier: MIT */
/*
 * The parts of the etcd backend, for src/store/etcd*.c alone.
 *
 *     etcd.c            the backend as the store sees it; what its parts share
 *     etcd_calls.c      requests: the queue, where each goes, what came of it
 *     etcd_watch.c      the one watch stream
 *     etcd_auth.c       the token of etcd's users
 *     etcd_server.c     what is asked of a server before it is used
 *     etcd_members.c    the members of etcd's cluster
 *     etcd_endpoints.c  the list of endpoints, and which of them is used
 *     etcd_transfer.c   one HTTP exchange: libcurl on the loop
 *
 * Transfers are made by all; each part has its own state and is its only writer.
 */
#ifndef CMSNODE_ETCD_INTERNAL_H
#define CMSNODE_ETCD_INTERNAL_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/store/etcd.h"
#include "cmsnode/store/clock_skew.h"
#include "cmsnode/store/store.h"

struct curl_slist;
struct etcd_call;
struct etcd_watch;

#define ETCD_ENDPOINTS_MAX 64 /* bits of etcd_call.tried */
#define ETCD_NO_ENDPOINT SIZE_MAX

/* ---- transfers: etcd_transfer.c ------------------------------------------ */

enum etcd_transfer_kind {
	ETCD_TRANSFER_REQUEST, /* etcd_patience_ms() */
	ETCD_TRANSFER_PUSH, /* 10 s: a large body */
	ETCD_TRANSFER_WATCH, /* no end, asks etcd to end it when it has no leader */
};

struct etcd_transfer_end {
	bool delivered; /* a whole HTTP answer came */
	bool too_large; /* more bytes than reply.max: dropped by us */
	bool not_kept; /* kept_only, and there was no connection: nothing was done */
	bool empty; /* the connection ended before an answer began */
	bool late; /* it was asked, and did not answer in time: it may be slow, not gone */
	int http_status; /* 0: none came */
	char text[200]; /* !delivered: why, for a person */
};

struct etcd_transfer {
	/* Set by the owner before the start; body is borrowed until the end. */
	enum etcd_transfer_kind kind;
	const char *path; /* behind the API's prefix */
	const char *body;
	size_t body_len;
	/* may libcurl send it again when a kept connection turns out dead? */
	bool resendable;
	/* at the end of a kept connection is the server that was asked; a new one may be another */
	bool kept_only;
	size_t endpoint;
	struct buf reply; /* with its ceiling; what came so far */
	void (*on_end)(struct etcd_transfer *transfer, const struct etcd_transfer_end *end);

	/* etcd_transfer.c's. */
	struct etcd_store *etcd;
	void *easy; /* libcurl's handle, NULL when not running */
	struct curl_slist *headers;
	char detail[256]; /* libcurl's */
	size_t body_at;
	int64_t started_ms;
	bool too_large;
	bool not_kept;
};

/* libcurl and the loop, as one. */
struct etcd_http {
	void *multi;
	struct ev_timer timer; /* libcurl's own timeouts */
	bool tls;
	char *cacert, *cert, *key; /* files, NULL = none */
};

int etcd_http_init(struct etcd_store *etcd, const struct etcd_settings *settings, struct err *err);
void etcd_http_fini(struct etcd_store *etcd); /* all transfers must have ended */

/* on_end comes from the loop, once, unless stopped before. */
void etcd_transfer_start(struct etcd_store *etcd, struct etcd_transfer *transfer);
void etcd_transfer_stop(struct etcd_transfer *transfer); /* not running: nothing happens */
int etcd_transfer_status(const struct etcd_transfer *transfer); /* HTTP status so far, 0 if none */

/* Why there is no usable answer, for a person: no answer at all, or what it says. */
void etcd_transfer_failure(const struct etcd_transfer *transfer,
			   const struct etcd_transfer_end *end, char *text, size_t size);

/* ---- endpoints: etcd_endpoints.c ------------------------------------------ */

struct etcd_endpoint {
	char *url;
	char *name; /* "host:port" */
	bool configured; /* else learnt from etcd */
	bool gone; /* was learnt, and is in no use any more */
	unsigned int users; /* transfers that run */
	bool answered; /* ever */
	unsigned int failures; /* in a row; 0: fine */
	int64_t failed_ms;
	int64_t held_until_ms;
	bool late; /* its last failure was no answer in time */
	char error[200];

	/* etcd_server.c's. */
	bool known; /* asked since its connections last ended */
	bool fresh; /* known, and not used since */
	size_t api;
	int64_t suspected; /* a revision for which its log looked too short, 0 = none */
	struct etcd_transfer asking;
};

struct etcd_endpoints {
	struct etcd_endpoint *items; /* ETCD_ENDPOINTS_MAX of them, of which `len` are used */
	size_t len; /* with those that are gone */
	size_t current; /* where requests go */
	unsigned int late; /* answers in a row that did not come in time, at most 2 */
};

int etcd_endpoints_init(struct etcd_store *etcd, const struct str_list *urls, struct err *err);
void etcd_endpoints_fini(struct etcd_store *etcd);

const char *etcd_endpoint_name(const struct etcd_store *etcd, size_t endpoint); /* "host:port" */

/* The current one if it may be used, else the next that may; `tried` has a bit per endpoint. */
size_t etcd_endpoint_pick(const struct etcd_store *etcd, uint64_t tried);

/*
 * Where to open the watch: where requests go, if that one can be avoided not at `avoid`. Even when
 * all are held: the watch has a back-off of its own, and so it finds out first.
 */
size_t etcd_endpoint_for_watch(const struct etcd_store *etcd, size_t avoid);

/*
 * What was seen of an endpoint since `started_ms`; failing holds it down, and drops the watch on
 * it.
 */
void etcd_endpoint_failed(struct etcd_store *etcd, size_t endpoint, int64_t started_ms,
			  const char *text);
void etcd_endpoint_answered(struct etcd_store *etcd, size_t endpoint);

/*
 * It did not answer in time. That may be its own fault, or all of etcd is overloaded: then it must
 * not be asked for more than before, so the watch stays and patience grows. A quick answer from
 * elsewhere tells one from the other.
 */
void etcd_endpoint_late(struct etcd_store *etcd, size_t endpoint, int64_t started_ms,
			const char *text);
void etcd_endpoint_quick(struct etcd_store *etcd, size_t endpoint);

/* How long an answer is waited for: 3 s, up to 10 s while none comes in time. */
int64_t etcd_patience_ms(const struct etcd_store *etcd);

/* Beside the configured ones; those that were learnt and are not among `urls` go. */
void etcd_endpoints_set_learnt(struct etcd_store *etcd, const struct str_list *urls);

bool etcd_endpoints_all_fail(const struct etcd_store *etcd);
/* STORE_UNKNOWN, with what each one said. */
void etcd_endpoints_unreachable(const struct etcd_store *etcd, struct store_reply *ret);

/* ---- members: etcd_members.c ------------------------------------------------ */

struct etcd_members {
	struct ev_timer timer;
	struct etcd_transfer asking;
	bool loopback; /* are configured ones, so others may be */
};

void etcd_members_init(struct etcd_store *etcd);
void etcd_members_fini(struct etcd_store *etcd);

/* ---- servers: etcd_server.c ------------------------------------------------ */

/*
 * May it be used? If not, it is being asked now; etcd_calls_start() and
 * etcd_watch_ready() or _endpoint_failed() follow.
 */
bool etcd_server_is_known(struct etcd_store *etcd, size_t endpoint);
/* Its connection ended: whatever answers there next is to be asked again. */
void etcd_server_forget(struct etcd_store *etcd, size_t endpoint);
const char *etcd_server_api(const struct etcd_store *etcd, size_t endpoint); /* "/v3" */

/* ---- users: etcd_auth.c ---------------------------------------------------- */

struct etcd_auth {
	char *user; /* NULL: none is to be used */
	char *password_file;
	char *token; /* NULL: none yet */
	unsigned int serial; /* of the token, for etcd_auth_refused() */
	bool unneeded; /* etcd has no users (yet) */
	unsigned int empty_answers; /* in a row */
	struct etcd_transfer asking;
	char *body;
	struct ev_timer jitter; /* until it asks for a new one */
	unsigned int denials; /* in a row */
	int64_t denied_until_ms;
	char denied[256]; /* why, for a person */
};

int etcd_auth_init(struct etcd_store *etcd, const struct etcd_settings *settings, struct err *err);
void etcd_auth_fini(struct etcd_store *etcd);

/*
 * May a transfer start, with the token if there is one? WAITS: it is being asked for, at
 * `endpoint` if nowhere yet; etcd_calls_start() and etcd_watch_ready() follow. DENIED: `denied`
 * says why; asked again later.
 */
enum etcd_gate { ETCD_GATE_OPEN, ETCD_GATE_WAITS, ETCD_GATE_DENIED };
enum etcd_gate etcd_auth_gate(struct etcd_store *etcd, size_t endpoint);

/* The token of that serial is not taken: a new one is fetched. False if no user is to be used. */
bool etcd_auth_refused(struct etcd_store *etcd, unsigned int serial);

/*
 * Some versions of etcd close the connection instead of saying that (etcd #15256): more than one
 * empty answer, and no other between, is taken for it.
 */
void etcd_auth_empty_answer(struct etcd_store *etcd, unsigned int serial);
void etcd_auth_answer(struct etcd_store *etcd);

/* ---- calls: etcd_calls.c -------------------------------------------------- */

/*
 * One kept connection does for the requests; another is opened only beside one that takes long, so
 * that a lease is renewed in time.
 */
#define ETCD_IN_FLIGHT_MAX 2

struct etcd_calls {
	struct ev_timer turn; /* starts what is queued */
	struct etcd_call *queue;
	struct etcd_call **queue_end;
	struct etcd_call *in_flight[ETCD_IN_FLIGHT_MAX];
	size_t in_flight_len;
};

void etcd_calls_init(struct etcd_store *etcd);
void etcd_calls_fini(struct etcd_store *etcd);
void etcd_calls_add(struct etcd_store *etcd, struct store_request *request, store_reply_fn *done,
		    void *ctx);
void etcd_calls_start(struct etcd_store *etcd); /* what is queued and can be started */
void etcd_calls_avoid(struct etcd_store *etcd, size_t endpoint); /* with what is queued now */

/* ---- the watch: etcd_watch.c ---------------------------------------------- */

/*
 *               start()          timer         ready         all created
 *     CLOSED ------------> WAITING -----> ASKING -----> OPENING ----------> OPEN
 *       ^                     ^             |              |                  |
 *       |                     +--- lost ----+----- lost ---+------ lost ------+
 *       +---------------------- gap -----------------------+------ gap -------+
 *
 * ASKING: until the server is known and there is a token; it is passed at once if so.
 * lost: the stream ended but can be taken up at the next revision, so nothing
 * was missed. gap: something may have been missed; the owner is told once, and
 * starts again after having read.
 */
struct etcd_watch *etcd_watch_new(struct etcd_store *etcd);
void etcd_watch_free(struct etcd_watch *watch);

/* As store_backend.watch; cluster_id is where `revision` was read, 0 if unknown. */
void etcd_watch_start(struct etcd_watch *watch, const char *const *keys, size_t keys_len,
		      const char *const *prefixes, size_t prefixes_len, int64_t revision,
		      uint64_t cluster_id, store_watch_fn *on_news, void *ctx);

/* Takes in what libcurl has read; called after each of its turns. */
void etcd_watch_process(struct etcd_watch *watch);

/* Of an open stream, for a probe of it. */
struct etcd_watch_mark {
	unsigned int serial;
	int64_t revision; /* seen when the probe was sent */
};

/* Where a probe must go to prove the stream that is open; ETCD_NO_ENDPOINT if none is. */
size_t etcd_watch_to_prove(const struct etcd_watch *watch, struct etcd_watch_mark *ret);

/*
 * What the probe came to. A bad answer loses the stream; one that knows more than the stream
 * has told gives it a second to tell it.
 */
void etcd_watch_probed(struct etcd_watch *watch, const struct etcd_watch_mark *mark,
		       const struct store_reply *reply);

/* More is known of a server, or a token: a watch that is ASKING looks whether it can go on. */
void etcd_watch_ready(struct etcd_watch *watch);

/* The server could not be asked: a watch that is ASKING for it tries again later. */
void etcd_watch_not_ready(struct etcd_watch *watch, size_t endpoint, const char *why);

/* Requests are answered again: a watch that waits for a better time need not. */
void etcd_watch_retry(struct etcd_watch *watch);

/* Requests to that endpoint fail: a stream from it is no longer believed. */
void etcd_watch_endpoint_failed(struct etcd_watch *watch, size_t endpoint);

int64_t etcd_watch_revision(const struct etcd_watch *watch); /* highest seen, 0 if none */
const char *etcd_watch_trouble(const struct etcd_watch *watch); /* a sentence, or NULL */

/* ---- the store: etcd.c ---------------------------------------------------- */

struct etcd_store {
	struct store store; /* must be first */
	struct ev_loop *loop;
	struct etcd_http http;
	struct etcd_auth auth;
	struct etcd_endpoints endpoints;
	struct etcd_members members;
	struct etcd_calls calls;
	struct etcd_watch *watch;
	unsigned int depth; /* of etcd_enter() */
	bool dying;
	bool connected; /* the last request was answered */
	int64_t last_contact_ms;
	int64_t revision;
	uint64_t cluster_id;
	char version[24]; /* of the server asked last, "" = not known */
	bool restored; /* as store_reply.restored */
	struct clock_skew skew; /* to the clock of this endpoint: */
	size_t skew_endpoint;
	char trouble[256];
	char refusing[256]; /* as store_status.refusing, "" = it is not */
	struct store_counters counters;
};

/*
 * Around everything that runs from the loop: a store that is freed meanwhile goes at the last
 * leave.
 */
void etcd_enter(struct etcd_store *etcd);
void etcd_leave(struct etcd_store *etcd);

double etcd_random(void); /* [0, 1) */

#endif
