/* SPDX-License-Identifier: MIT */
/*
 * The RPC server: sockets around message.c. A connection and its open calls
 * point at each other; whichever ends first clears the other's pointer, so a
 * late answer to a closed connection goes nowhere. Must never block, and never
 * keep more for a peer than the ceilings in its header.
 */
#include "cmsnode/cms_rpc/server.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/cms_rpc/message.h"

#define CONNECTIONS_MAX 64
#define CALLS_MAX 256
#define BACKLOG_MAX (4 * 1024 * 1024)
#define IDLE_S 600.0
#define ACCEPT_PAUSE_S 1.0 /* when the process is out of descriptors */
#define READS_PER_TURN 16 /* of RPC_FEED_MAX: one peer must not keep the loop */
#define PEER_SIZE 64

struct connection;

struct rpc_call {
	struct connection *connection; /* NULL: nobody waits any more */
	struct rpc_call *next;
	struct cJSON *id;
	char peer[PEER_SIZE];
};

struct connection {
	struct rpc_server *server;
	struct connection *next;
	int fd;
	ev_io on_read;
	ev_io on_write;
	ev_timer on_idle;
	struct rpc_lines lines;
	struct buf out;
	struct rpc_call *calls;
	size_t calls_len;
	bool broken; /* to be closed as soon as its callback is through */
	bool in_callback;
	char peer[PEER_SIZE];
};

struct rpc_server {
	struct ev_loop *loop;
	const struct rpc_method *methods;
	size_t methods_len;
	void *ctx;
	int fd;
	int port;
	ev_io on_accept;
	ev_timer on_resume; /* accepting again after a pause */
	struct connection *connections;
	size_t connections_len;
};

/* Connections */

static void connection_free(struct connection *connection)
{
	struct rpc_server *server = connection->server;
	struct connection **link = &server->connections;

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
	server->connections_len--;
	for (struct rpc_call *call = connection->calls; call; call = call->next)
		call->connection = NULL;
	ev_io_stop(server->loop, &connection->on_read);
	ev_io_stop(server->loop, &connection->on_write);
	ev_timer_stop(server->loop, &connection->on_idle);
	(void)close(connection->fd);
	rpc_lines_fini(&connection->lines);
	buf_fini(&connection->out);
	free(connection);
}

/* Closes now, or when the running callback of this connection returns. */
static void connection_break(struct connection *connection)
{
	connection->broken = true;
	if (!connection->in_callback)
		connection_free(connection);
}

static void connection_flush(struct connection *connection)
{
	struct buf *out = &connection->out;

	while (out->len && !connection->broken) {
		const ssize_t n =
			send(connection->fd, out->data, out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				connection_break(connection);
			else
				ev_io_start(connection->server->loop, &connection->on_write);
			return;
		}
		buf_consume(out, (size_t)n);
	}
	ev_io_stop(connection->server->loop, &connection->on_write);
}

static void connection_reply(struct connection *connection, const struct cJSON *id,
			     const struct cJSON *data, const char *error)
{
	const int r = rpc_encode_reply(&connection->out, id, data, error);
	if (r == -EMSGSIZE) {
		log_warning("cms_rpc", "a reply to %s is longer than %d bytes, not sending it",
			    connection->peer, RPC_LINE_MAX);
		return;
	}
	if (r < 0) {
		log_warning("cms_rpc", "%s does not read its replies, closing the connection",
			    connection->peer);
		connection_break(connection);
		return;
	}
	if (!connection->in_callback)
		connection_flush(connection);
}

/* Calls */

static struct rpc_call *call_new(struct connection *connection, const struct cJSON *id)
{
	struct rpc_call *call = xcalloc(1, sizeof(*call));

	call->connection = connection;
	call->id = cJSON_Duplicate(id, true);
	memcpy(call->peer, connection->peer, sizeof(call->peer));
	call->next = connection->calls;
	connection->calls = call;
	connection->calls_len++;
	return call;
}

static void call_free(struct rpc_call *call)
{
	if (call->connection) {
		struct rpc_call **link = &call->connection->calls;

		while (*link != call)
			link = &(*link)->next;
		*link = call->next;
		call->connection->calls_len--;
	}
	json_free(call->id);
	free(call);
}

/* The call is taken off its connection first: replying may close it. */
static void call_end(struct rpc_call *call, const struct cJSON *data, const char *error)
{
	struct connection *connection = call->connection;
	CLEAN(json) struct cJSON *id = steal(call->id);

	call_free(call);
	if (connection && !connection->broken)
		connection_reply(connection, id, data, error);
}

void rpc_call_return(struct rpc_call *call, const struct cJSON *data)
{
	call_end(call, data, NULL);
}

void rpc_call_fail(struct rpc_call *call, const char *fmt, ...)
{
	CLEAN(str) char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	call_end(call, NULL, text ? text : "unknown error");
}

const char *rpc_call_peer(const struct rpc_call *call)
{
	return call->peer;
}

/* Requests */

static void handle_echo(void *ctx, struct rpc_call *call, const struct cJSON *arguments)
{
	(void)ctx;
	rpc_call_return(call, json_get(arguments, "string"));
}

static const char *const echo_params[] = { "string", NULL };

static const struct rpc_method echo_method = {
	.name = "echo",
	.path = "cms.io.service.Service.echo",
	.params = echo_params,
	.handle = handle_echo,
};

static const struct rpc_method *find_method(const struct rpc_server *server, const char *name)
{
	for (size_t i = 0; i < server->methods_len; i++)
		if (strcmp(server->methods[i].name, name) == 0)
			return &server->methods[i];
	return strcmp(name, echo_method.name) == 0 ? &echo_method : NULL;
}

static void dispatch(struct connection *connection, const struct rpc_message *request)
{
	struct rpc_server *server = connection->server;
	const struct rpc_method *method = find_method(server, request->method);
	struct rpc_call *call = call_new(connection, request->id);

	if (!method) {
		rpc_call_fail(call, "Method %s doesn't exist.", request->method);
		return;
	}
	if (!method->handle) {
		rpc_call_fail(call, "Method %s isn't callable.", request->method);
		return;
	}
	CLEAN(str) char *complaint =
		rpc_check_arguments(request->data, method->path, method->params);
	if (complaint)
		rpc_call_fail(call, "%s", complaint);
	else
		method->handle(server->ctx, call, request->data);
}

static void handle_line(struct connection *connection, const char *line, size_t len)
{
	CLEAN(rpc_message) struct rpc_message request = { 0 };
	struct err err;

	switch (rpc_decode_request(line, len, &request, &err)) {
	case RPC_GOOD:
		dispatch(connection, &request);
		return;
	case RPC_IGNORE:
		log_debug("cms_rpc", "%s sent a request that cannot be answered, ignoring: %s",
			  connection->peer, err.msg);
		return;
	case RPC_CLOSE:
		log_debug("cms_rpc", "%s sent a bad request, closing the connection: %s",
			  connection->peer, err.msg);
		connection->broken = true;
		return;
	}
}

static void handle_lines(struct connection *connection)
{
	const char *line;
	size_t len;
	int r = 0;

	while (!connection->broken) {
		r = rpc_lines_next(&connection->lines, &line, &len);
		if (r <= 0)
			break;
		handle_line(connection, line, len);
		if (connection->calls_len > CALLS_MAX) {
			log_warning("cms_rpc",
				    "%s has more than %d requests open, closing the connection",
				    connection->peer, CALLS_MAX);
			connection->broken = true;
		}
	}
	if (r < 0)
		connection->broken = true;
}

/*
 * Reads what is there; false at the end of the stream. A request whose sender
 * has hung up behind it is carried out but not answered, as in CMS: replies are
 * kept back until it is known whether the stream goes on.
 */
static bool read_some(struct connection *connection)
{
	char chunk[RPC_FEED_MAX];

	for (unsigned int i = 0; i < READS_PER_TURN && !connection->broken; i++) {
		const ssize_t n = recv(connection->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		if (rpc_lines_feed(&connection->lines, chunk, (size_t)n) < 0)
			return false;
		handle_lines(connection);
	}
	return true;
}

static void on_read(struct ev_loop *loop, ev_io *w, int revents)
{
	struct connection *connection = w->data;

	(void)revents;
	ev_timer_again(loop, &connection->on_idle);
	connection->in_callback = true;
	const bool goes_on = read_some(connection);

	if (goes_on)
		connection_flush(connection);
	connection->in_callback = false;
	if (!goes_on || connection->broken)
		connection_free(connection);
}

static void on_write(struct ev_loop *loop, ev_io *w, int revents)
{
	(void)loop;
	(void)revents;
	connection_flush(w->data);
}

static void on_idle(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	connection_break(w->data);
}

/* Listening */

static void format_peer(const struct sockaddr *address, socklen_t len, char *ret, size_t size)
{
	char host[INET6_ADDRSTRLEN + 16];
	char port[8];

	if (getnameinfo(address, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		(void)snprintf(ret, size, "an unknown peer");
	else
		(void)snprintf(ret, size, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
			       host, port);
}

static void connection_new(struct rpc_server *server, int fd, const struct sockaddr *address,
			   socklen_t len)
{
	struct connection *connection = xcalloc(1, sizeof(*connection));
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	connection->server = server;
	connection->fd = fd;
	connection->out.max = BACKLOG_MAX;
	rpc_lines_init(&connection->lines);
	format_peer(address, len, connection->peer, sizeof(connection->peer));
	ev_io_init(&connection->on_read, on_read, fd, EV_READ);
	ev_io_init(&connection->on_write, on_write, fd, EV_WRITE);
	ev_timer_init(&connection->on_idle, on_idle, 0.0, IDLE_S);
	connection->on_read.data = connection;
	connection->on_write.data = connection;
	connection->on_idle.data = connection;
	connection->next = server->connections;
	server->connections = connection;
	server->connections_len++;
	ev_io_start(server->loop, &connection->on_read);
	ev_timer_again(server->loop, &connection->on_idle);
}

/* Level-triggered: without a pause a connection that cannot be accepted would spin the loop. */
static void pause_accepting(struct rpc_server *server, int error)
{
	log_warning("cms_rpc", "cannot accept connections on port %d, retrying in %.0f s: %s",
		    server->port, ACCEPT_PAUSE_S, strerror(error));
	ev_io_stop(server->loop, &server->on_accept);
	ev_timer_again(server->loop, &server->on_resume);
}

static void on_resume(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct rpc_server *server = w->data;

	(void)revents;
	ev_timer_stop(loop, w);
	ev_io_start(loop, &server->on_accept);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int revents)
{
	struct rpc_server *server = w->data;
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	(void)loop;
	(void)revents;
	const int fd = accept4(server->fd, (struct sockaddr *)&address, &len,
			       SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(server, errno);
		return;
	}
	if (server->connections_len >= CONNECTIONS_MAX) {
		log_debug("cms_rpc", "more than %d connections on port %d, closing the newest",
			  CONNECTIONS_MAX, server->port);
		(void)close(fd);
		return;
	}
	connection_new(server, fd, (const struct sockaddr *)&address, len);
}

static int bind_and_listen(struct rpc_server *server, const struct addrinfo *address)
{
	const int on = 1;
	CLEAN(fd) int fd =
		socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, CONNECTIONS_MAX) < 0)
		return -errno;
	server->fd = fd;
	fd = -1;
	return 0;
}

static int read_port(int fd)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return 0;
	if (address.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
	return ntohs(((const struct sockaddr_in *)&address)->sin_port);
}

static int server_listen(struct rpc_server *server, const char *host, int port, struct err *err)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	struct addrinfo *address;
	char service[16];

	(void)snprintf(service, sizeof(service), "%d", port);
	if (port < 0 || port > 65535 ||
	    getaddrinfo(str_eq(host, "localhost") ? "127.0.0.1" : host, service, &hints,
			&address) != 0)
		return err_set(
			err, -EINVAL,
			"cannot listen for RPC on '%s' port %d: not an IP address and a port", host,
			port);
	const int r = bind_and_listen(server, address);

	freeaddrinfo(address);
	if (r < 0)
		return err_errno(err, r, "cannot listen for RPC on %s port %d", host, port);
	server->port = read_port(server->fd);
	return 0;
}

struct rpc_server *rpc_server_new(struct ev_loop *loop, const char *host, int port,
				  const struct rpc_method *methods, size_t n, void *ctx,
				  struct err *err)
{
	struct rpc_server *server = xcalloc(1, sizeof(*server));

	server->loop = loop;
	server->methods = methods;
	server->methods_len = n;
	server->ctx = ctx;
	if (server_listen(server, host, port, err) < 0) {
		free(server);
		return NULL;
	}
	ev_io_init(&server->on_accept, on_accept, server->fd, EV_READ);
	ev_timer_init(&server->on_resume, on_resume, 0.0, ACCEPT_PAUSE_S);
	server->on_accept.data = server;
	server->on_resume.data = server;
	ev_io_start(loop, &server->on_accept);
	return server;
}

void rpc_server_free(struct rpc_server *server)
{
	if (!server)
		return;
	while (server->connections)
		connection_free(server->connections);
	ev_io_stop(server->loop, &server->on_accept);
	ev_timer_stop(server->loop, &server->on_resume);
	(void)close(server->fd);
	free(server);
}

int rpc_server_port(const struct rpc_server *server)
{
	return server->port;
}

size_t rpc_server_connections(const struct rpc_server *server)
{
	return server->connections_len;
}
