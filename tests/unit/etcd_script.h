/* SPDX-License-Identifier: MIT */
/*
 * A small scripted HTTP server on the loop of the store that it serves, for what a real etcd does
 * not do on demand.
 */
#ifndef CMSNODE_TESTS_ETCD_SCRIPT_H
#define CMSNODE_TESTS_ETCD_SCRIPT_H

#include <errno.h>

#include "etcd_scene.h"

enum deed {
	ANSWER, /* status and body, connection kept */
	CLOSE, /* no answer */
	HOLD, /* nothing, for ever */
	STREAM, /* 200 and the body, byte by byte; then stays open */
	STREAM_CLOSE, /* the same, then closes */
	TORN, /* the same, but as a chunk that was to be longer */
	FLOOD, /* 200, then 'x' without end */
};

struct answer {
	enum deed deed;
	int status;
	const char *body;
};

struct server;

struct connection {
	struct ev_io io;
	struct ev_timer timer; /* the next byte of a stream */
	struct server *server;
	struct buf in;
	struct buf out;
	bool close_after;
	bool flood;
};

struct server {
	struct scene *scene;
	struct ev_io io;
	char url[64];
	const struct answer *answers; /* by request; the last one goes on */
	size_t answers_len;
	size_t requests;
	/* what it says of itself, by request as above; not among `requests` */
	const struct answer *statuses;
	size_t statuses_len;
	size_t asked;
	struct answer members; /* the list that it tells; the same */
	size_t told;
	struct connection *connections[32];
	size_t connections_len;
	char *last; /* the last request */
};

static inline void connection_close(struct connection *connection)
{
	struct ev_loop *loop = connection->server->scene->loop;

	if (connection->io.fd < 0)
		return;
	ev_io_stop(loop, &connection->io);
	ev_timer_stop(loop, &connection->timer);
	(void)close(connection->io.fd);
	connection->io.fd = -1;
}

static inline void want(struct connection *connection, int events)
{
	struct ev_loop *loop = connection->server->scene->loop;

	ev_io_stop(loop, &connection->io);
	ev_io_set(&connection->io, connection->io.fd, events);
	ev_io_start(loop, &connection->io);
}

static inline void send_now(struct connection *connection, size_t len)
{
	const ssize_t n = write(connection->io.fd, connection->out.data, len);

	if (n > 0)
		buf_consume(&connection->out, (size_t)n);
	if (n < 0 && errno != EAGAIN)
		connection_close(connection);
}

static inline void on_byte(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct connection *connection = w->data;

	(void)revents;
	if (connection->out.len) {
		send_now(connection, 1);
		return;
	}
	ev_timer_stop(loop, w);
	if (connection->close_after)
		connection_close(connection);
}

static inline void start_stream(struct connection *connection, const char *body, bool torn)
{
	(void)buf_adds(&connection->out, "HTTP/1.1 200 OK\r\n");
	if (torn)
		(void)buf_addf(&connection->out, "Transfer-Encoding: chunked\r\n\r\n%zx",
			       strlen(body) + 9);
	(void)buf_adds(&connection->out, "\r\n");
	(void)buf_adds(&connection->out, body);
	ev_timer_set(&connection->timer, 0.0001, 0.0001);
	ev_timer_start(connection->server->scene->loop, &connection->timer);
}

static inline void carry_out(struct connection *connection, const struct answer *answer)
{
	switch (answer->deed) {
	case ANSWER:
		(void)buf_addf(&connection->out, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s",
			       answer->status, strlen(answer->body), answer->body);
		send_now(connection, connection->out.len);
		break;
	case CLOSE:
		connection_close(connection);
		break;
	case HOLD:
		break;
	case STREAM_CLOSE:
	case TORN:
		connection->close_after = true;
		start_stream(connection, answer->body, answer->deed == TORN);
		break;
	case STREAM:
		start_stream(connection, answer->body, false);
		break;
	case FLOOD:
		connection->flood = true;
		(void)buf_adds(&connection->out, "HTTP/1.1 200 OK\r\n\r\n");
		want(connection, EV_READ | EV_WRITE);
		break;
	}
}

/* Length of the first whole request in the buffer, 0 if there is none yet. */
static inline size_t whole_request(const struct buf *in)
{
	const char *end = strstr(buf_str(in), "\r\n\r\n");
	const char *length = strcasestr(buf_str(in), "content-length:");
	int64_t body = 0;

	if (!end || !length)
		return 0;
	CLEAN(str) char *number = xstrndup(length + 16, strcspn(length + 16, "\r"));

	assert_int_equal(str_to_int64(number, 0, 1 << 30, &body), 0);
	const size_t len = (size_t)(end - in->data) + 4 + (size_t)body;

	return len <= in->len ? len : 0;
}

static inline void on_connection(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct connection *connection = w->data;
	struct server *server = connection->server;
	static char piece[65536];

	(void)loop;
	if (revents & EV_WRITE && connection->flood) {
		if (connection->out.len < sizeof(piece)) {
			memset(piece, 'x', sizeof(piece));
			(void)buf_add(&connection->out, piece, sizeof(piece));
		}
		send_now(connection, connection->out.len);
	}
	if (!(revents & EV_READ) || connection->io.fd < 0)
		return;
	const ssize_t n = read(w->fd, piece, sizeof(piece));
	if (n <= 0) {
		connection_close(connection);
		return;
	}
	(void)buf_add(&connection->in, piece, (size_t)n);
	const size_t len = whole_request(&connection->in);

	if (!len)
		return;
	free(server->last);
	server->last = xstrndup(connection->in.data, len);
	buf_consume(&connection->in, len);
	if (strstr(server->last, "/cluster/member/list HTTP/")) {
		server->told++;
		carry_out(connection, &server->members);
		return;
	}
	const bool asks = strstr(server->last, "/maintenance/status HTTP/");
	const struct answer *answers = asks ? server->statuses : server->answers;
	const size_t answers_len = asks ? server->statuses_len : server->answers_len;
	const size_t at = asks ? server->asked++ : server->requests++;

	carry_out(connection, &answers[at < answers_len ? at : answers_len - 1]);
}

static inline void on_accept(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct server *server = w->data;
	const int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)revents;
	if (fd < 0)
		return;
	assert_true(server->connections_len < ARRAY_LEN(server->connections));
	struct connection *connection = xcalloc(1, sizeof(*connection));

	server->connections[server->connections_len++] = connection;
	connection->server = server;
	ev_init(&connection->timer, on_byte);
	connection->timer.data = connection;
	ev_io_init(&connection->io, on_connection, fd, EV_READ);
	connection->io.data = connection;
	ev_io_start(loop, &connection->io);
}

#define STATUS(version, revision, raft_index)                                                     \
	"{\"header\":{\"cluster_id\":\"5\",\"revision\":\"" revision "\"},\"version\":\"" version \
	"\",\"raftIndex\":\"" raft_index "\"}"
static const struct answer usual_status = { ANSWER, 200, STATUS("3.4.23", "7", "10") };

/* A server and a place for its URL; it begins to listen with server_start(). */
static inline struct server *server_new(const struct answer *answers, size_t len)
{
	struct server *server = xcalloc(1, sizeof(*server));
	int port;
	const int fd = listen_on_free_port(&port);

	(void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d", port);
	ev_io_init(&server->io, on_accept, fd, EV_READ);
	server->io.data = server;
	server->answers = answers;
	server->answers_len = len;
	server->statuses = &usual_status;
	server->statuses_len = 1;
	server->members = (struct answer){ ANSWER, 200, "{\"members\":[]}" };
	return server;
}

static inline void server_start(struct server *server, struct scene *scene)
{
	server->scene = scene;
	ev_io_start(scene->loop, &server->io);
}

/* All that it has to say until now, and a moment for the store to take it in. */
static inline void wait_until_sent(const struct server *server)
{
	for (size_t i = 0; i < server->connections_len; i++)
		while (server->connections[i]->out.len && server->connections[i]->io.fd >= 0)
			turn(server->scene);
	run_for(server->scene, 50);
}

static inline void server_free(struct server *server)
{
	for (size_t i = 0; i < server->connections_len; i++) {
		connection_close(server->connections[i]);
		buf_fini(&server->connections[i]->in);
		buf_fini(&server->connections[i]->out);
		free(server->connections[i]);
	}
	ev_io_stop(server->scene->loop, &server->io);
	(void)close(server->io.fd);
	free(server->last);
	free(server);
}

#endif
