/* SPDX-License-Identifier: MIT */
/*
 * The RPC client: one reconnecting connection around message.c. Its callbacks
 * may free it: every entry from the loop goes through client_enter() and
 * client_leave(), and only the latter frees. Must never block: hosts are
 * addresses, connecting is asynchronous.
 */
#include "cmsnode/cms_rpc/client.h"

#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
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

#define ADDRESSES_MAX 2
#define CALLS_MAX 256
#define BACKLOG_MAX (4 * 1024 * 1024)
#define CONNECT_TIMEOUT_S 5.0
#define RETRY_S 0.5
#define READS_PER_TURN 16
#define ID_SIZE 33

struct call {
	struct rpc_client *client;
	struct call *next;
	ev_timer on_deadline;
	rpc_done *done;
	void *ctx;
	char id[ID_SIZE];
};

enum link { LINK_DOWN, LINK_CONNECTING, LINK_UP };

struct rpc_client {
	struct ev_loop *loop;
	struct rpc_client_events events;
	struct sockaddr_storage addresses[ADDRESSES_MAX];
	socklen_t lengths[ADDRESSES_MAX];
	size_t addresses_len;
	size_t next_address;
	char *name; /* "127.0.0.1:26000", for the log */
	double retry_min_s;
	double retry_max_s;
	double retry_s;
	enum link link;
	int fd;
	ev_io on_io;
	ev_timer on_timer; /* the next attempt, or the end of a slow one */
	struct rpc_lines lines;
	struct buf out;
	struct call *calls;
	size_t calls_len;
	uint64_t id_base;
	uint64_t id_next;
	unsigned int depth; /* entries from the loop that are running */
	bool freed;
};

/* Life */

static void calls_drop(struct rpc_client *client)
{
	while (client->calls) {
		struct call *call = client->calls;

		client->calls = call->next;
		ev_timer_stop(client->loop, &call->on_deadline);
		free(call);
	}
	client->calls_len = 0;
}

static void close_link(struct rpc_client *client)
{
	ev_io_stop(client->loop, &client->on_io);
	ev_timer_stop(client->loop, &client->on_timer);
	if (client->fd >= 0)
		(void)close(client->fd);
	client->fd = -1;
	client->link = LINK_DOWN;
	rpc_lines_fini(&client->lines);
	rpc_lines_init(&client->lines);
	buf_fini(&client->out);
}

static void client_destroy(struct rpc_client *client)
{
	rpc_lines_fini(&client->lines);
	free(client->name);
	free(client);
}

void rpc_client_free(struct rpc_client *client)
{
	if (!client || client->freed)
		return;
	calls_drop(client);
	close_link(client);
	client->freed = true;
	if (client->depth == 0)
		client_destroy(client);
}

static void client_enter(struct rpc_client *client)
{
	client->depth++;
}

static void client_leave(struct rpc_client *client)
{
	client->depth--;
	if (client->freed && client->depth == 0)
		client_destroy(client);
}

/* Calls */

static struct call *call_take(struct rpc_client *client, const char *id)
{
	for (struct call **link = &client->calls; *link; link = &(*link)->next) {
		struct call *call = *link;
		if (strcmp(call->id, id) != 0)
			continue;
		*link = call->next;
		client->calls_len--;
		ev_timer_stop(client->loop, &call->on_deadline);
		return call;
	}
	return NULL;
}

static void call_end(struct call *call, int error, const struct cJSON *data, const char *text)
{
	rpc_done *done = call->done;
	void *ctx = call->ctx;

	free(call);
	done(ctx, error, data, text);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct call *call = w->data;
	struct rpc_client *client = call->client;

	(void)loop;
	(void)revents;
	client_enter(client);
	call_end(call_take(client, call->id), -ETIMEDOUT, NULL, "no answer in time");
	client_leave(client);
}

/* Connecting */

static void schedule_retry(struct rpc_client *client)
{
	ev_timer_set(&client->on_timer, client->retry_s, 0.0);
	ev_timer_start(client->loop, &client->on_timer);
	client->retry_s *= 2;
	if (client->retry_s > client->retry_max_s)
		client->retry_s = client->retry_max_s;
}

static void attempt_failed(struct rpc_client *client, int error)
{
	log_debug("cms_rpc", "cannot connect to %s, retrying in %.2f s: %s", client->name,
		  client->retry_s, strerror(error));
	close_link(client);
	schedule_retry(client);
}

/*
 * Connecting to a free port of one's own ephemeral range can meet itself (TCP's
 * simultaneous open), and then also keeps the port from the service.
 */
static bool is_connected_to_itself(int fd)
{
	struct sockaddr_storage here = { 0 };
	struct sockaddr_storage there = { 0 };
	socklen_t here_len = sizeof(here);
	socklen_t there_len = sizeof(there);

	return getsockname(fd, (struct sockaddr *)&here, &here_len) == 0 &&
	       getpeername(fd, (struct sockaddr *)&there, &there_len) == 0 &&
	       here_len == there_len && memcmp(&here, &there, here_len) == 0;
}

static void watch(struct rpc_client *client, int events)
{
	ev_io_stop(client->loop, &client->on_io);
	ev_io_set(&client->on_io, client->fd, events);
	ev_io_start(client->loop, &client->on_io);
}

static void link_up(struct rpc_client *client)
{
	ev_timer_stop(client->loop, &client->on_timer);
	client->link = LINK_UP;
	watch(client, EV_READ);
	if (client->events.connected)
		client->events.connected(client->events.ctx);
}

static void finish_connecting(struct rpc_client *client)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error == 0 && is_connected_to_itself(client->fd))
		error = ECONNREFUSED;
	if (error)
		attempt_failed(client, error);
	else
		link_up(client);
}

static void begin_connecting(struct rpc_client *client)
{
	const size_t i = client->next_address;
	const int on = 1;

	client->next_address = (i + 1) % client->addresses_len;
	client->fd = socket(client->addresses[i].ss_family,
			    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0) {
		attempt_failed(client, errno);
		return;
	}
	(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	const int r = connect(client->fd, (const struct sockaddr *)&client->addresses[i],
			      client->lengths[i]);
	if (r < 0 && errno != EINPROGRESS && errno != EINTR) {
		attempt_failed(client, errno);
		return;
	}
	client->link = LINK_CONNECTING;
	watch(client, EV_WRITE);
	ev_timer_set(&client->on_timer, CONNECT_TIMEOUT_S, 0.0);
	ev_timer_start(client->loop, &client->on_timer);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct rpc_client *client = w->data;

	(void)loop;
	(void)revents;
	if (client->link == LINK_CONNECTING)
		attempt_failed(client, ETIMEDOUT);
	else
		begin_connecting(client);
}

/* Talking. Everything below may find the client freed by a callback. */

static void link_lost(struct rpc_client *client, const char *why)
{
	log_debug("cms_rpc", "connection to %s lost: %s", client->name, why);
	close_link(client);
	schedule_retry(client);
	/*
	 * A callback can make no new call while the link is down, and freeing drops them
	 * all: this ends.
	 */
	while (client->calls)
		call_end(call_take(client, client->calls->id), -ECONNRESET, NULL,
			 "connection lost");
	if (!client->freed && client->events.disconnected)
		client->events.disconnected(client->events.ctx);
}

static void flush(struct rpc_client *client)
{
	while (client->out.len) {
		const ssize_t n = send(client->fd, client->out.data, client->out.len,
				       MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		/* Failures show up in the read that follows them. */
		if (n < 0)
			break;
		buf_consume(&client->out, (size_t)n);
	}
	watch(client, client->out.len ? EV_READ | EV_WRITE : EV_READ);
}

static void handle_reply(struct rpc_client *client, const struct rpc_message *reply)
{
	const char *id = cJSON_GetStringValue(reply->id);
	struct call *call = id ? call_take(client, id) : NULL;

	if (!call) {
		log_debug("cms_rpc", "%s answered a call that does not wait (any more), ignoring",
			  client->name);
		return;
	}
	client->retry_s = client->retry_min_s;
	if (reply->error)
		call_end(call, -EREMOTEIO, NULL, reply->error);
	else
		call_end(call, 0, reply->data, NULL);
}

/* Whether the connection may go on. */
static bool handle_line(struct rpc_client *client, const char *line, size_t len)
{
	CLEAN(rpc_message) struct rpc_message reply = { 0 };

	switch (rpc_decode_reply(line, len, &reply, NULL)) {
	case RPC_GOOD:
		handle_reply(client, &reply);
		return true;
	case RPC_IGNORE:
		return true;
	case RPC_CLOSE:
		return false;
	}
	return false;
}

static bool handle_lines(struct rpc_client *client)
{
	const char *line;
	size_t len;
	int r = 0;

	/* A callback may also have ended the link, and with it the lines. */
	while (!client->freed && client->link == LINK_UP) {
		r = rpc_lines_next(&client->lines, &line, &len);
		if (r <= 0)
			break;
		if (!handle_line(client, line, len))
			return false;
	}
	return r >= 0;
}

static void read_some(struct rpc_client *client)
{
	char chunk[RPC_FEED_MAX];

	for (unsigned int i = 0; i < READS_PER_TURN && !client->freed && client->link == LINK_UP;
	     i++) {
		const ssize_t n = recv(client->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			link_lost(client, n == 0 ? "closed by the peer" : strerror(errno));
			return;
		}
		if (rpc_lines_feed(&client->lines, chunk, (size_t)n) < 0 || !handle_lines(client)) {
			if (!client->freed && client->link == LINK_UP)
				link_lost(client, "bad reply");
			return;
		}
	}
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
	struct rpc_client *client = w->data;

	(void)loop;
	client_enter(client);
	if (client->link == LINK_CONNECTING) {
		finish_connecting(client);
	} else {
		if (revents & EV_WRITE)
			flush(client);
		if (revents & EV_READ)
			read_some(client);
	}
	client_leave(client);
}

bool rpc_client_is_connected(const struct rpc_client *client)
{
	return client->link == LINK_UP;
}

int rpc_client_call(struct rpc_client *client, const char *method, struct cJSON *arguments,
		    double deadline_s, rpc_done *done, void *ctx)
{
	CLEAN(json) struct cJSON *owned = arguments;
	char id[ID_SIZE];

	if (client->link != LINK_UP)
		return -ENOTCONN;
	if (client->calls_len >= CALLS_MAX)
		return -E2BIG;
	(void)snprintf(id, sizeof(id), "%016" PRIx64 "%016" PRIx64, client->id_base,
		       client->id_next);
	const int r = rpc_encode_request(&client->out, id, method, owned);
	if (r < 0)
		return r;
	struct call *call = xcalloc(1, sizeof(*call));

	client->id_next++;
	call->client = client;
	call->done = done;
	call->ctx = ctx;
	memcpy(call->id, id, sizeof(call->id));
	call->next = client->calls;
	client->calls = call;
	client->calls_len++;
	ev_timer_init(&call->on_deadline, on_deadline, deadline_s, 0.0);
	call->on_deadline.data = call;
	ev_timer_start(client->loop, &call->on_deadline);
	flush(client);
	return 0;
}

/* Construction */

static int add_address(struct rpc_client *client, const char *host, int port)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	struct addrinfo *address;
	char service[16];

	(void)snprintf(service, sizeof(service), "%d", port);
	if (port < 1 || port > 65535 || getaddrinfo(host, service, &hints, &address) != 0)
		return -EINVAL;
	memcpy(&client->addresses[client->addresses_len], address->ai_addr, address->ai_addrlen);
	client->lengths[client->addresses_len++] = address->ai_addrlen;
	freeaddrinfo(address);
	return 0;
}

static int add_addresses(struct rpc_client *client, const char *host, int port, struct err *err)
{
	int r;

	if (str_eq(host, "localhost")) {
		r = add_address(client, "127.0.0.1", port);
		if (r == 0)
			r = add_address(client, "::1", port);
	} else {
		r = add_address(client, host, port);
	}
	return r < 0 ? err_set(err, r, "cannot call '%s' port %d: not an IP address and a port",
			       host, port) :
		       0;
}

struct rpc_client *rpc_client_new(struct ev_loop *loop, const struct rpc_client_settings *settings,
				  const struct rpc_client_events *events, struct err *err)
{
	struct rpc_client *client = xcalloc(1, sizeof(*client));

	if (add_addresses(client, settings->host, settings->port, err) < 0) {
		free(client);
		return NULL;
	}
	client->loop = loop;
	if (events)
		client->events = *events;
	client->name = xasprintf("%s:%d", settings->host, settings->port);
	client->retry_min_s = settings->retry_min_s > 0 ? settings->retry_min_s : RETRY_S;
	client->retry_max_s = settings->retry_max_s > client->retry_min_s ? settings->retry_max_s :
									    client->retry_min_s;
	client->retry_s = client->retry_min_s;
	client->fd = -1;
	client->out.max = BACKLOG_MAX;
	rpc_lines_init(&client->lines);
	/*
	 * Without randomness the ids are still unique within the connection, which is all
	 * that matters.
	 */
	(void)!getrandom(&client->id_base, sizeof(client->id_base), GRND_NONBLOCK);
	ev_init(&client->on_io, on_io);
	ev_timer_init(&client->on_timer, on_timer, 0.0, 0.0);
	client->on_io.data = client;
	client->on_timer.data = client;
	ev_timer_start(loop, &client->on_timer);
	return client;
}
