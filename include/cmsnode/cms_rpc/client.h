/* SPDX-License-Identifier: MIT */
/*
 * A client of CMS's RPC: one connection that is made again whenever it is lost.
 * Nothing is queued while it is down: such a call fails at once.
 */
#ifndef CMSNODE_CMS_RPC_CLIENT_H
#define CMSNODE_CMS_RPC_CLIENT_H

#include <stdbool.h>

struct cJSON;
struct ev_loop;
struct err;
struct rpc_client;

struct rpc_client_settings {
	/* an IP literal, or "localhost" (127.0.0.1 and ::1 in turn); copied */
	const char *host;
	int port;
	double retry_min_s; /* before the second attempt to connect; doubles with each, */
	double retry_max_s; /* up to here. 0 and 0: 0.5 s always, as CMS does */
};

struct rpc_client_events { /* may be NULL; rpc_client_free() may be called from within */
	void (*connected)(void *ctx);
	/* after the open calls have failed; not for attempts that failed */
	void (*disconnected)(void *ctx);
	void *ctx;
};

/* Connects from the loop on. NULL and err if the host is not an address or the port not one. */
struct rpc_client *rpc_client_new(struct ev_loop *loop, const struct rpc_client_settings *settings,
				  const struct rpc_client_events *events, struct err *err);

/* Open calls are forgotten without a word. Allowed from within every callback. NULL is fine. */
void rpc_client_free(struct rpc_client *client);

bool rpc_client_is_connected(const struct rpc_client *client);

/*
 * The end of a call, once, from the loop. `error` is 0 with `data` (borrowed,
 * never NULL); -EREMOTEIO with CMS's text; -ETIMEDOUT (a later reply is
 * ignored) or -ECONNRESET with a text of ours.
 */
typedef void rpc_done(void *ctx, int error, const struct cJSON *data, const char *text);

/*
 * Sends a call; takes `arguments` over (NULL = none), whatever happens. 0, or,
 * without `done` ever being called: -ENOTCONN, -EMSGSIZE (longer than
 * RPC_LINE_MAX), -E2BIG (the peer does not read, or 256 calls are open).
 */
int rpc_client_call(struct rpc_client *client, const char *method, struct cJSON *arguments,
		    double deadline_s, rpc_done *done, void *ctx);

#endif
