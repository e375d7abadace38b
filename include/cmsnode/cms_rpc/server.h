/* SPDX-License-Identifier: MIT */
/*
 * A server of CMS's RPC. `echo` is built in; the other methods come in a table.
 * It answers, ignores and hangs up as CMS's own services do.
 *
 * Ceilings: 64 connections, 10 min without a byte, 256 requests open and 4 MiB
 * of unread replies per connection.
 */
#ifndef CMSNODE_CMS_RPC_SERVER_H
#define CMSNODE_CMS_RPC_SERVER_H

#include <stddef.h>

struct cJSON;
struct ev_loop;
struct err;
struct rpc_server;
struct rpc_call; /* one request that waits for its reply */

struct rpc_method {
	const char *name;
	/*
	 * Where Python has it, for the texts of wrong arguments:
	 * "cms.service.ResourceService.ResourceService.kill_service".
	 */
	const char *path;
	/*
	 * Names of the arguments, optional ones with a leading '?', NULL-terminated; NULL = any.
	 * Checked before the call.
	 */
	const char *const *params;
	/*
	 * Answers with rpc_call_return() or rpc_call_fail(), at once or later,
	 * exactly once. NULL: the method is refused as "isn't callable".
	 */
	void (*handle)(void *ctx, struct rpc_call *call, const struct cJSON *arguments);
};

/*
 * Listens on an IP literal or "localhost" (its IPv4 address); port 0 = any free
 * one. `methods` is borrowed for the server's life. NULL and err on failure.
 */
struct rpc_server *rpc_server_new(struct ev_loop *loop, const char *host, int port,
				  const struct rpc_method *methods, size_t n, void *ctx,
				  struct err *err);

/*
 * Closes everything; calls not answered yet may (and must) still be answered, to nobody.
 * Not from within a method. NULL is fine.
 */
void rpc_server_free(struct rpc_server *server);

int rpc_server_port(const struct rpc_server *server);
size_t rpc_server_connections(const struct rpc_server *server);

/*
 * Each ends the call. `data` stays the caller's; NULL = null. A reply beyond
 * RPC_LINE_MAX is not sent at all, as CMS does; that is logged.
 */
void rpc_call_return(struct rpc_call *call, const struct cJSON *data);
void rpc_call_fail(struct rpc_call *call, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* "10.0.0.4:41234", for messages; valid until the call ends. */
const char *rpc_call_peer(const struct rpc_call *call);

#endif
