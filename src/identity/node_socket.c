/* SPDX-License-Identifier: MIT */
/*
 * The abstract socket that proves that a node's daemon lives. Answers without
 * ever blocking the loop; asks, once and before the loop runs, with a limit.
 * Never believes what the holder says: its answer is only quoted to a person.
 */
#include "cmsnode/identity/node_socket.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <ev.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define ASK_LIMIT_MS 1000
#define ANSWER_MAX 400 /* bytes of a holder's answer that are quoted; the error has 1024 */
#define BIND_ATTEMPTS 3 /* a holder may die between our bind and our question */
#define BIND_PAUSE_MS 50
#define ACCEPT_BATCH 16 /* a crowd at this door must not keep the loop from other work */
#define ACCEPT_PAUSE_S 1.0

struct node_socket {
	struct ev_loop *loop;
	ev_io listener;
	ev_timer pause; /* runs while accepting failed for want of descriptors */
	char *answer; /* with its newline */
};

struct name {
	struct sockaddr_un address;
	socklen_t len;
};

void node_socket_cluster_hash(const char *prefix_or_path, char ret[17])
{
	char digest[65];

	str_sha256(prefix_or_path, strlen(prefix_or_path), digest);
	memcpy(ret, digest, 16);
	ret[16] = '\0';
}

/* Abstract: a NUL first, and no NUL behind. */
static int make_name(const char *cluster_hash, const char *id, struct name *ret, struct err *err)
{
	CLEAN(str) char *text = xasprintf("cmsnoded/%s/node/%s", cluster_hash, id);
	const size_t len = strlen(text);
	if (len + 1 > sizeof(ret->address.sun_path))
		return err_set(err, ERR_IDENTITY,
			       "node id '%.100s' is too long for a socket's name", id);
	*ret = (struct name){ .address.sun_family = AF_UNIX };
	memcpy(ret->address.sun_path + 1, text, len);
	ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
	return 0;
}

static int open_socket(void)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* ---- asking the holder ---- */

/* The next bytes of the answer: their number, 0 at its end, or a negative errno. */
static ssize_t read_some(int fd, char *ret, size_t size, int64_t deadline)
{
	for (;;) {
		const ssize_t n = read(fd, ret, size);
		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		const int64_t left = deadline - clock_now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		(void)poll(&wait, 1, (int)left);
	}
}

/* Nobody shall write to a person's terminal through the quoted answer. */
static void make_quotable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text > '~')
			*text = '?';
}

static void read_answer(int fd, char ret[ANSWER_MAX + 1])
{
	const int64_t deadline = clock_now_ms() + ASK_LIMIT_MS;
	size_t len = 0;

	while (len < ANSWER_MAX) {
		const ssize_t n = read_some(fd, ret + len, ANSWER_MAX - len, deadline);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (memchr(ret, '\n', len))
			break;
	}
	ret[len] = '\0';
	*strchrnul(ret, '\n') = '\0';
	make_quotable(ret);
}

/* -ECONNREFUSED: there is no holder any more. Else 0; the answer is "" if none came. */
static int ask_holder(const struct name *name, char ret[ANSWER_MAX + 1])
{
	CLEAN(fd) int fd = open_socket();

	ret[0] = '\0';
	if (fd < 0)
		return 0;
	/*
	 * A local connect is done or refused at once; EAGAIN is a full queue: a
	 * holder that does not answer.
	 */
	if (connect(fd, (const struct sockaddr *)&name->address, name->len) < 0)
		return errno == ECONNREFUSED ? -ECONNREFUSED : 0;
	read_answer(fd, ret);
	return 0;
}

static int refuse(const char *id, const char *answer, struct err *err)
{
	static const char remedy[] =
		"stop that one, or give this one another --node-id or --instance (or --prefix, "
		"for another cluster)";

	if (*answer)
		return err_set(err, ERR_IDENTITY,
			       "another live cmsnoded is node '%s'; it says %s: %s", id, answer,
			       remedy);
	return err_set(err, ERR_IDENTITY,
		       "another live cmsnoded is node '%s'; it did not answer within %d ms "
		       "(suspended?): %s",
		       id, ASK_LIMIT_MS, remedy);
}

/* ---- taking the name ---- */

/* -EADDRINUSE if somebody has it; other errors come with their message. */
static int bind_name(int fd, const struct name *name, const char *id, struct err *err)
{
	if (bind(fd, (const struct sockaddr *)&name->address, name->len) < 0) {
		if (errno == EADDRINUSE)
			return -EADDRINUSE;
		return err_errno(err, -errno, "cannot bind the socket of node '%s'", id);
	}
	if (listen(fd, ACCEPT_BATCH) < 0)
		return err_errno(err, -errno, "cannot listen on the socket of node '%s'", id);
	return 0;
}

static int take_name(int fd, const struct name *name, const char *id, struct err *err)
{
	char answer[ANSWER_MAX + 1] = "";

	for (int i = 0; i < BIND_ATTEMPTS; i++) {
		int r = bind_name(fd, name, id, err);
		if (r != -EADDRINUSE)
			return r;
		r = ask_holder(name, answer);
		if (r == 0)
			return refuse(id, answer, err);
		/* Bound but not listening: it is on its way out, or in. */
		(void)poll(NULL, 0, BIND_PAUSE_MS);
	}
	return refuse(id, answer, err);
}

/* ---- answering ---- */

/* A new connection's buffer is empty, so one line always fits; who hung up has lost interest. */
static void answer_one(const struct node_socket *node_socket, int fd)
{
	(void)!send(fd, node_socket->answer, strlen(node_socket->answer),
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)close(fd);
}

static void pause_accepting(struct node_socket *node_socket)
{
	log_warning("node_socket", "cannot accept: %s, retrying in %.0f s", strerror(errno),
		    ACCEPT_PAUSE_S);
	ev_io_stop(node_socket->loop, &node_socket->listener);
	ev_timer_set(&node_socket->pause, ACCEPT_PAUSE_S, 0.);
	ev_timer_start(node_socket->loop, &node_socket->pause);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct node_socket *node_socket = timer->data;

	(void)events;
	ev_io_start(loop, &node_socket->listener);
}

static void on_connection(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct node_socket *node_socket = watcher->data;

	(void)loop;
	(void)events;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		const int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			answer_one(node_socket, fd);
			continue;
		}
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			pause_accepting(node_socket);
		return;
	}
}

struct node_socket *node_socket_new(struct ev_loop *loop, const char *cluster_hash, const char *id,
				    struct err *err)
{
	struct name name;
	if (make_name(cluster_hash, id, &name, err) < 0)
		return NULL;
	CLEAN(fd) int fd = open_socket();
	if (fd < 0) {
		(void)err_errno(err, fd, "cannot make the socket of node '%s'", id);
		return NULL;
	}
	if (take_name(fd, &name, id, err) < 0)
		return NULL;
	struct node_socket *node_socket = xcalloc(1, sizeof(*node_socket));

	node_socket->loop = loop;
	node_socket->answer = xasprintf("{\"id\":\"%s\"}\n", id);
	ev_timer_init(&node_socket->pause, on_pause_over, ACCEPT_PAUSE_S, 0.);
	node_socket->pause.data = node_socket;
	ev_io_init(&node_socket->listener, on_connection, fd, EV_READ);
	node_socket->listener.data = node_socket;
	ev_io_start(loop, &node_socket->listener);
	fd = -1;
	return node_socket;
}

void node_socket_free(struct node_socket *node_socket)
{
	if (!node_socket)
		return;
	ev_timer_stop(node_socket->loop, &node_socket->pause);
	ev_io_stop(node_socket->loop, &node_socket->listener);
	(void)close(node_socket->listener.fd);
	free(node_socket->answer);
	free(node_socket);
}

void node_socket_set_answer(struct node_socket *node_socket, const char *answer)
{
	free(node_socket->answer);
	node_socket->answer = xasprintf("%s\n", answer);
}
