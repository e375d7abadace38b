/* SPDX-License-Identifier: MIT */
/* The HTTP half of a fake etcd. Knows HTTP/1.1 as far as one client needs it, and no etcd. */
#include "fake_gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define REQUEST_MAX ((size_t)16 << 20)

struct connection {
	struct fake_exchange exchange; /* must be first */
	struct fake_gateway *gateway;
	struct ev_io io;
	struct buf in, out;
	char *head; /* of the present request: the line and the headers */
	char *body;
	bool dead; /* freed when nobody can be inside of it any more */
};

struct fake_gateway {
	struct ev_loop *loop;
	struct fake_gateway_owner owner;
	struct ev_io io;
	struct ev_prepare reaper;
	char url[64];
	size_t requests;
	struct connection **connections;
	size_t len, cap;
};

static struct connection *connection_of(const struct fake_exchange *exchange)
{
	return (struct connection *)exchange;
}

static void fail(const char *what)
{
	perror(what);
	abort();
}

/* ---- connections ------------------------------------------------------------ */

static void die(struct connection *connection)
{
	if (connection->dead)
		return;
	connection->dead = true;
	ev_io_stop(connection->gateway->loop, &connection->io);
	(void)close(connection->io.fd);
}

static void connection_free(struct connection *connection)
{
	buf_fini(&connection->in);
	buf_fini(&connection->out);
	free(connection->head);
	free(connection->body);
	free(connection);
}

static void on_prepare(struct ev_loop *loop, struct ev_prepare *w, int revents)
{
	struct fake_gateway *gateway = w->data;
	size_t kept = 0;

	(void)loop;
	(void)revents;
	for (size_t i = 0; i < gateway->len; i++) {
		struct connection *connection = gateway->connections[i];

		if (!connection->dead) {
			gateway->connections[kept++] = connection;
			continue;
		}
		if (gateway->owner.closed)
			gateway->owner.closed(gateway->owner.ctx, &connection->exchange);
		connection_free(connection);
	}
	gateway->len = kept;
}

static void want(struct connection *connection)
{
	const int events = connection->out.len ? EV_READ | EV_WRITE : EV_READ;

	ev_io_stop(connection->gateway->loop, &connection->io);
	ev_io_set(&connection->io, connection->io.fd, events);
	ev_io_start(connection->gateway->loop, &connection->io);
}

static void flush(struct connection *connection)
{
	if (connection->dead || !connection->out.len)
		return;
	const ssize_t n = send(connection->io.fd, connection->out.data, connection->out.len,
			       MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN) {
		die(connection);
		return;
	}
	if (n > 0)
		buf_consume(&connection->out, (size_t)n);
	want(connection);
}

/* "POST /v3/kv/txn HTTP/1.1\r\n..." is cut up in place. */
static void set_request(struct connection *connection, size_t head_len, size_t body_len)
{
	struct fake_exchange *exchange = &connection->exchange;

	free(connection->head);
	free(connection->body);
	connection->head = xstrndup(connection->in.data, head_len);
	connection->body = xstrndup(connection->in.data + head_len, body_len);
	buf_consume(&connection->in, head_len + body_len);
	char *path = strchr(connection->head, ' ');
	char *end = path ? strchr(path + 1, ' ') : NULL;

	if (!end)
		abort();
	*end = '\0';
	exchange->path = path + 1;
	exchange->headers = strchr(end + 1, '\n') + 1;
	exchange->body = connection->body;
}

/* False: it has not come whole yet. */
static bool take_request(struct connection *connection)
{
	const char *text = buf_str(&connection->in);
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = end ? strcasestr(text, "\r\ncontent-length:") : NULL;
	unsigned long body_len = 0;

	if (!end)
		return false;
	if (length && length < end)
		body_len = strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
	const size_t head_len = (size_t)(end - text) + 4;

	if (body_len > REQUEST_MAX || connection->in.len < head_len + body_len)
		return false;
	set_request(connection, head_len, body_len);
	return true;
}

static void on_connection(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct connection *connection = w->data;
	struct fake_gateway *gateway = connection->gateway;
	static char piece[65536];

	(void)loop;
	if (revents & EV_WRITE)
		flush(connection);
	if (connection->dead || !(revents & EV_READ))
		return;
	const ssize_t n = recv(w->fd, piece, sizeof(piece), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		die(connection);
		return;
	}
	if (buf_add(&connection->in, piece, (size_t)n) < 0)
		abort();
	while (!connection->dead && take_request(connection)) {
		gateway->requests++;
		gateway->owner.request(gateway->owner.ctx, &connection->exchange);
	}
}

static void on_accept(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct fake_gateway *gateway = w->data;
	const int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)revents;
	if (fd < 0)
		return;
	struct connection *connection = xcalloc(1, sizeof(*connection));
	const int yes = 1;

	/* A second piece must not wait for the first one to be acknowledged. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	connection->gateway = gateway;
	connection->in = (struct buf)BUF_INIT(REQUEST_MAX);
	ev_io_init(&connection->io, on_connection, fd, EV_READ);
	connection->io.data = connection;
	ev_io_start(loop, &connection->io);
	GROW(gateway->connections, gateway->len, gateway->cap);
	gateway->connections[gateway->len++] = connection;
}

/* ---- the gateway -------------------------------------------------------------- */

struct fake_gateway *fake_gateway_new(struct ev_loop *loop, const struct fake_gateway_owner *owner)
{
	struct fake_gateway *gateway = xcalloc(1, sizeof(*gateway));
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 64) < 0 || getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		fail("the fake gateway");
	gateway->loop = loop;
	gateway->owner = *owner;
	(void)snprintf(gateway->url, sizeof(gateway->url), "http://127.0.0.1:%d",
		       ntohs(address.sin_port));
	ev_io_init(&gateway->io, on_accept, fd, EV_READ);
	gateway->io.data = gateway;
	ev_io_start(loop, &gateway->io);
	ev_prepare_init(&gateway->reaper, on_prepare);
	gateway->reaper.data = gateway;
	ev_prepare_start(loop, &gateway->reaper);
	return gateway;
}

void fake_gateway_free(struct fake_gateway *gateway)
{
	if (!gateway)
		return;
	for (size_t i = 0; i < gateway->len; i++) {
		fake_reset(&gateway->connections[i]->exchange); /* no port is kept waiting */
		connection_free(gateway->connections[i]);
	}
	free(gateway->connections);
	ev_io_stop(gateway->loop, &gateway->io);
	ev_prepare_stop(gateway->loop, &gateway->reaper);
	(void)close(gateway->io.fd);
	free(gateway);
}

const char *fake_gateway_url(const struct fake_gateway *gateway)
{
	return gateway->url;
}

size_t fake_gateway_requests(const struct fake_gateway *gateway)
{
	return gateway->requests;
}

/* ---- answers --------------------------------------------------------------------- */

#define HEAD_LINES                                                             \
	"Access-Control-Allow-Headers: accept, content-type, authorization\r\n" \
	"Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"     \
	"Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n"

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 503:
		return "Service Unavailable";
	default:
		return "Something";
	}
}

void fake_send(struct fake_exchange *exchange, const char *bytes, size_t len)
{
	struct connection *connection = connection_of(exchange);

	if (connection->dead)
		return;
	(void)buf_add(&connection->out, bytes, len);
	flush(connection);
}

bool fake_sent(const struct fake_exchange *exchange)
{
	return connection_of(exchange)->dead || !connection_of(exchange)->out.len;
}

void fake_answer(struct fake_exchange *exchange, int status, const char *json)
{
	struct buf out = BUF_INIT(0);

	(void)buf_addf(&out, "HTTP/1.1 %d %s\r\n" HEAD_LINES, status, reason(status));
	if (status == 200)
		(void)buf_addf(&out, "Content-Length: %zu\r\n\r\n%s", strlen(json), json);
	else
		(void)buf_addf(&out,
			       "Trailer: Grpc-Trailer-Content-Type\r\n"
			       "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n"
			       "Grpc-Trailer-Content-Type: application/grpc\r\n\r\n",
			       strlen(json), json);
	fake_send(exchange, out.data, out.len);
	buf_fini(&out);
}

void fake_stream(struct fake_exchange *exchange)
{
	static const char head[] =
		"HTTP/1.1 200 OK\r\n" HEAD_LINES "Transfer-Encoding: chunked\r\n\r\n";

	fake_send(exchange, head, strlen(head));
}

void fake_chunk(struct fake_exchange *exchange, const char *text)
{
	CLEAN(str) char *chunk = xasprintf("%zx\r\n%s\r\n", strlen(text), text);

	fake_send(exchange, chunk, strlen(chunk));
}

void fake_stream_end(struct fake_exchange *exchange)
{
	fake_send(exchange, "0\r\n\r\n", 5);
}

void fake_close(struct fake_exchange *exchange)
{
	die(connection_of(exchange));
}

void fake_reset(struct fake_exchange *exchange)
{
	struct connection *connection = connection_of(exchange);
	const struct linger now = { .l_onoff = 1 };

	if (!connection->dead)
		(void)setsockopt(connection->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	die(connection);
}
