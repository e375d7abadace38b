/* SPDX-License-Identifier: MIT */
/*
 * The control socket <run-dir>/control.sock: one JSON object a line in, one or
 * more out (docs/internals/control-protocol.md). Mode 0660, group `cmsnode`
 * where it exists, else mode 0600. Who calls is known by SO_PEERCRED: reading is for everybody
 * who can connect; changes and secrets need root, the daemon's own user, or a
 * member of group cmsnode.
 * Limits: 64 connections, requests of 1 MiB, 8 MiB of unread output.
 * The directory must exist. Neither control_socket_free() nor ev_run() may be
 * called from inside a handler.
 */
#ifndef CMSNODE_STATUS_CONTROL_SOCKET_H
#define CMSNODE_STATUS_CONTROL_SOCKET_H

#include <stdbool.h>

struct cJSON;
struct control_socket;
struct control_request;	/* one open question; answered later or at once */
struct err;
struct ev_loop;

/* bytes of a request line, its newline not counted */
#define CONTROL_REQUEST_MAX (1024 * 1024)

/*
 * Called for each request. `command` and `body` (the whole request object) are
 * borrowed during the call. The handler must answer exactly once, now or later:
 * control_answer() or control_fail(); or it streams with control_send() until
 * control_is_open() is false or it ends it with control_answer().
 */
typedef void control_handler_fn(void *ctx, struct control_request *request, const char *command,
				const struct cJSON *body);

/* NULL and err if the socket cannot be made (a live one there is not taken over: -EADDRINUSE). */
struct control_socket *control_socket_new(struct ev_loop *loop, const char *path,
					  control_handler_fn *handler,
					  void *ctx, struct err *err);
/* removes the socket file; open requests are dropped: freed, not to be touched any more */
void control_socket_free(struct control_socket *socket);

bool control_may_change(const struct control_request *request);

/* {"ok":true,"result":result}; takes result (NULL = null) and ends the request. */
void control_answer(struct control_request *request, struct cJSON *result);

/*
 * {"ok":false,"error":{"code":<exit status>,"message":...}}; ends the request. `code` is an err
 * code.
 */
void control_fail(struct control_request *request, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One more {"ok":true,"result":result} of a stream; takes result. */
void control_send(struct control_request *request, struct cJSON *result);

/*
 * False once the peer hung up; a handler that keeps a request must look, and end it with
 * control_answer(request, NULL).
 */
bool control_is_open(const struct control_request *request);

#endif
