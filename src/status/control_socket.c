/* SPDX-License-Identifier: MIT */
/*
 * Owns the control socket: its file, its connections and the framing of
 * requests and answers. Must never know what a command means, and never wait:
 * every descriptor is non-blocking.
 *
 * A connection is in one of four conditions, and connection_serve() alone moves
 * it on: reading (no whole line yet), asked (the handler holds its request),
 * writing (the answer is not through to the kernel yet), ended (no more requests
 * are taken; it closes when the output is through). While it is asked or writing
 * nothing is read, so a peer that pipelines fills its own socket buffer, not us.
 * A connection whose peer is gone stays, without descriptor and buffers, until
 * the handler has ended its request; on_turn() frees it then.
 */
#include "cmsnode/status/control_socket.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"

#define MODULE "control"
#define GROUP_NAME "cmsnode"

enum {
	CONNECTIONS_MAX = 64,
	OUTPUT_MAX = 8 * 1024 * 1024,
	READ_CHUNK = 16 * 1024,
	ACCEPTS_A_TURN = 16,
	BACKLOG = 16,
	GROUPS_MAX = 65536, /* the kernel's NGROUPS_MAX */
};

static const double accept_pause_s = 1;

struct connection;

struct control_request {
	struct connection *connection;
};

struct connection {
	struct control_socket *owner;
	struct connection *next;
	int fd; /* -1: the peer is gone */
	struct ucred peer;
	ev_io reading;
	ev_io writing;
	struct buf in;
	struct buf out;
	size_t scanned; /* so many bytes of `in` hold no newline */
	struct control_request *request; /* the open one, or NULL */
	bool ended; /* takes no more requests */
};

struct control_socket {
	struct ev_loop *loop;
	control_handler_fn *handler;
	void *ctx;
	char *path;
	int fd;
	dev_t dev; /* of the socket file, so that only our own is removed */
	ino_t ino;
	bool has_group;
	gid_t group;
	ev_io accepting;
	ev_timer pause; /* accepting again after descriptors ran out */
	ev_timer turn; /* work left for the next turn of the loop */
	struct connection *connections;
	size_t count;
};

static void wake(struct control_socket *socket)
{
	if (!ev_is_active(&socket->turn)) {
		ev_timer_set(&socket->turn, 0., 0.);
		ev_timer_start(socket->loop, &socket->turn);
	}
}

/* --- connections --- */

static void connection_hang_up(struct connection *connection)
{
	if (connection->fd < 0)
		return;
	ev_io_stop(connection->owner->loop, &connection->reading);
	ev_io_stop(connection->owner->loop, &connection->writing);
	(void)close(connection->fd);
	connection->fd = -1;
	buf_fini(&connection->in);
	buf_fini(&connection->out);
	wake(connection->owner);
}

static void connection_free(struct connection *connection)
{
	connection_hang_up(connection);
	free(connection->request);
	free(connection);
}

static void connection_flush(struct connection *connection)
{
	struct ev_loop *loop = connection->owner->loop;

	while (connection->out.len) {
		const ssize_t n = send(connection->fd, connection->out.data, connection->out.len,
				       MSG_NOSIGNAL);
		if (n >= 0) {
			buf_consume(&connection->out, (size_t)n);
		} else if (errno == EAGAIN) {
			ev_io_start(loop, &connection->writing);
			return;
		} else if (errno != EINTR) {
			connection_hang_up(connection);
			return;
		}
	}
	ev_io_stop(loop, &connection->writing);
}

/* Takes json. */
static void connection_send(struct connection *connection, cJSON *json)
{
	if (connection->fd >= 0) {
		CLEAN(str) char *text = json_text(json);

		if (buf_adds(&connection->out, text) < 0 ||
		    buf_add(&connection->out, "\n", 1) < 0) {
			log_warning(
				MODULE,
				"client pid %ld (user %ld) leaves over %d bytes unread, hanging up",
				(long)connection->peer.pid, (long)connection->peer.uid,
				(int)OUTPUT_MAX);
			connection_hang_up(connection);
		} else {
			connection_flush(connection);
		}
	}
	json_free(json);
}

static cJSON *error_json(int exit_status, const char *message)
{
	cJSON *json = cJSON_CreateObject();

	json_add_bool(json, "ok", false);
	cJSON *error = cJSON_AddObjectToObject(json, "error");

	json_add_int(error, "code", exit_status);
	json_add_str(error, "message", message);
	return json;
}

/* Refuses what is no request at all; there is no line to go on from. */
static void connection_refuse(struct connection *connection, const char *message)
{
	connection->ended = true;
	buf_fini(&connection->in);
	connection->scanned = 0;
	connection_send(connection, error_json(err_exit_status(ERR_USAGE), message));
	wake(connection->owner);
}

/* --- requests --- */

static cJSON *result_json(cJSON *result)
{
	cJSON *json = cJSON_CreateObject();

	json_add_bool(json, "ok", true);
	(void)cJSON_AddItemToObject(json, "result", result ? result : cJSON_CreateNull());
	return json;
}

/*
 * The connection goes on in the next turn, not here: its next request must not
 * run inside the caller.
 */
static void request_end(struct control_request *request, cJSON *json)
{
	struct connection *connection = request->connection;

	connection->request = NULL;
	free(request);
	connection_send(connection, json);
	wake(connection->owner);
}

void control_answer(struct control_request *request, struct cJSON *result)
{
	request_end(request, result_json(result));
}

void control_fail(struct control_request *request, int code, const char *fmt, ...)
{
	va_list args;
	char message[ERR_MSG_SIZE];

	va_start(args, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	request_end(request, error_json(code ? err_exit_status(code) : 1, message));
}

void control_send(struct control_request *request, struct cJSON *result)
{
	connection_send(request->connection, result_json(result));
}

/*
 * Asks the kernel, since nothing is read while a request is open. A peer that
 * only shut down its sending side still listens.
 */
bool control_is_open(const struct control_request *request)
{
	struct pollfd pollfd = { .fd = request->connection->fd };

	if (pollfd.fd < 0)
		return false;
	(void)poll(&pollfd, 1, 0);
	return !(pollfd.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static bool user_has_group(uid_t uid, gid_t group)
{
	const struct passwd *user = getpwuid(uid);
	if (!user)
		return false;
	int n = 0;

	(void)getgrouplist(user->pw_name, user->pw_gid, NULL, &n);
	if (n <= 0 || n > GROUPS_MAX)
		return false;
	gid_t *groups = xcalloc((size_t)n, sizeof(*groups));
	bool found = false;

	n = getgrouplist(user->pw_name, user->pw_gid, groups, &n);
	for (int i = 0; i < n && !found; i++)
		found = groups[i] == group;
	free(groups);
	return found;
}

bool control_may_change(const struct control_request *request)
{
	const struct control_socket *socket = request->connection->owner;
	const struct ucred *peer = &request->connection->peer;

	if (peer->uid == 0 || peer->uid == geteuid())
		return true;
	if (!socket->has_group)
		return false;
	return peer->gid == socket->group || user_has_group(peer->uid, socket->group);
}

/* Cuts the first `len` bytes and the newline off and gives them to the handler. */
static void connection_ask(struct connection *connection, size_t len)
{
	struct err err = { 0 };
	const bool has_nul = memchr(connection->in.data, '\0', len);
	CLEAN(json) cJSON *body = has_nul ? NULL : json_parse(connection->in.data, len, &err);
	const char *command = cJSON_IsObject(body) ? json_get_str(body, "command") : NULL;

	buf_consume(&connection->in, len + 1);
	connection->scanned = 0;
	connection->request = xcalloc(1, sizeof(*connection->request));
	connection->request->connection = connection;
	if (has_nul)
		control_fail(connection->request, ERR_USAGE, "the request contains a NUL byte");
	else if (!body)
		control_fail(connection->request, ERR_USAGE, "the request: %s", err.msg);
	else if (!command)
		control_fail(connection->request, ERR_USAGE,
			     "the request is not a JSON object with a string \"command\"");
	else
		connection->owner->handler(connection->owner->ctx, connection->request, command,
					   body);
}

/*
 * The one place that decides what a connection does next. One request a turn, so
 * that no peer holds up the loop.
 */
static void connection_serve(struct connection *connection)
{
	struct ev_loop *loop = connection->owner->loop;

	if (connection->fd < 0 || connection->request || connection->out.len)
		return;
	const struct buf *in = &connection->in;
	const char *line = buf_str(in);
	const char *newline =
		memchr(line + connection->scanned, '\n', in->len - connection->scanned);
	const size_t len = newline ? (size_t)(newline - line) : in->len;

	connection->scanned = len;
	if (len > CONTROL_REQUEST_MAX) {
		ev_io_stop(loop, &connection->reading);
		connection_refuse(connection, "the request is longer than 1 MiB");
	} else if (newline) {
		ev_io_stop(loop, &connection->reading);
		connection_ask(connection, len);
		wake(connection->owner);
	} else if (!connection->ended) {
		ev_io_start(loop, &connection->reading);
	} else if (len) {
		connection_refuse(connection, "the request does not end with a newline");
	} else {
		connection_hang_up(connection);
	}
}

static void on_reading(struct ev_loop *loop, ev_io *w, int revents)
{
	struct connection *connection = w->data;
	char chunk[READ_CHUNK];

	(void)revents;
	const ssize_t n = recv(connection->fd, chunk, sizeof(chunk), 0);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			connection_hang_up(connection);
		return;
	}
	if (n == 0) {
		connection->ended = true;
		ev_io_stop(loop, w);
	} else if (buf_add(&connection->in, chunk, (size_t)n) < 0) {
		connection_hang_up(connection);
		return;
	}
	connection_serve(connection);
}

static void on_writing(struct ev_loop *loop, ev_io *w, int revents)
{
	struct connection *connection = w->data;

	(void)loop;
	(void)revents;
	connection_flush(connection);
	connection_serve(connection);
}

static void on_turn(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct control_socket *socket = w->data;
	struct connection **link = &socket->connections;

	(void)loop;
	(void)revents;
	while (*link) {
		struct connection *connection = *link;

		if (connection->fd < 0 && !connection->request) {
			*link = connection->next;
			socket->count--;
			connection_free(connection);
			continue;
		}
		connection_serve(connection);
		link = &connection->next;
	}
}

/* --- accepting --- */

static void reject(int fd)
{
	cJSON *json = error_json(1, "the daemon's control socket is busy: 64 connections are open, "
				    "close some and try again");
	CLEAN(str) char *text = json_text(json);
	CLEAN(str) char *line = xasprintf("%s\n", text);

	json_free(json);
	(void)send(fd, line, strlen(line), MSG_NOSIGNAL);
	(void)close(fd);
	log_warning(MODULE, "%d connections are open, refusing another one", (int)CONNECTIONS_MAX);
}

static void connection_new(struct control_socket *socket, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		log_warning(MODULE, "cannot see who connects: %s, hanging up", strerror(errno));
		(void)close(fd);
		return;
	}
	struct connection *connection = xcalloc(1, sizeof(*connection));

	connection->owner = socket;
	connection->fd = fd;
	connection->peer = peer;
	connection->in = (struct buf)BUF_INIT(CONTROL_REQUEST_MAX + READ_CHUNK);
	connection->out = (struct buf)BUF_INIT(OUTPUT_MAX);
	ev_io_init(&connection->reading, on_reading, fd, EV_READ);
	ev_io_init(&connection->writing, on_writing, fd, EV_WRITE);
	connection->reading.data = connection;
	connection->writing.data = connection;
	connection->next = socket->connections;
	socket->connections = connection;
	socket->count++;
	connection_serve(connection);
}

/* Without the pause a waiting connection would keep the loop spinning. */
static void accept_failed(struct control_socket *socket, int error)
{
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	log_warning(MODULE, "cannot accept a connection: %s, retrying in %g s", strerror(error),
		    accept_pause_s);
	ev_io_stop(socket->loop, &socket->accepting);
	ev_timer_set(&socket->pause, accept_pause_s, 0.);
	ev_timer_start(socket->loop, &socket->pause);
}

static void on_accepting(struct ev_loop *loop, ev_io *w, int revents)
{
	struct control_socket *socket = w->data;

	(void)loop;
	(void)revents;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		const int fd = accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			accept_failed(socket, errno);
			return;
		}
		if (socket->count < CONNECTIONS_MAX)
			connection_new(socket, fd);
		else
			reject(fd);
	}
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct control_socket *socket = w->data;

	(void)revents;
	ev_io_start(loop, &socket->accepting);
}

/* --- the socket file --- */

static int fill_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	const size_t len = strlen(path);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len == 0 || len >= sizeof(ret->sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "%s: a socket's path has 1 to %zu bytes, this one has %zu: "
			       "choose a shorter --run-dir",
			       path, sizeof(ret->sun_path) - 1, len);
	memcpy(ret->sun_path, path, len + 1);
	return 0;
}

/* A file that nobody listens behind is left over from a daemon that was killed. */
static int remove_stale(const struct sockaddr_un *address, struct err *err)
{
	const char *path = address->sun_path;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, -errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "%s: is in the way and is not a socket: remove it",
			       path);
	CLEAN(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, -errno, "%s: socket", path);
	const int r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	/* EAGAIN: somebody listens, with a full queue. */
	if (r == 0 || errno == EAGAIN)
		return err_set(err, -EADDRINUSE,
			       "%s: another daemon answers there: stop it, or give this one a "
			       "--run-dir of its own",
			       path);
	if (errno != ECONNREFUSED && errno != ENOENT)
		return err_errno(err, -errno, "%s: is somebody there", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(err, -errno, "%s: cannot remove the socket left over there", path);
	return 0;
}

/* Owner only, until the group is known to be the right one. */
static void open_to_group(struct control_socket *socket)
{
	const struct group *group = getgrnam(GROUP_NAME);
	if (!group)
		return;
	socket->has_group = true;
	socket->group = group->gr_gid;
	if (chown(socket->path, (uid_t)-1, socket->group) < 0 || chmod(socket->path, 0660) < 0)
		log_warning(MODULE,
			    "%s: cannot give it to group '%s': %s, only its owner can use it",
			    socket->path, GROUP_NAME, strerror(errno));
}

static int socket_listen(struct control_socket *socket, const struct sockaddr_un *address,
			 struct err *err)
{
	const mode_t mask = umask(0177);
	const int r = bind(socket->fd, (const struct sockaddr *)address, sizeof(*address));
	const int error = errno;
	struct stat st;

	(void)umask(mask);
	if (r < 0)
		return err_errno(err, -error, "%s: cannot make the control socket", socket->path);
	if (lstat(socket->path, &st) < 0)
		return err_errno(err, -errno, "%s", socket->path);
	socket->dev = st.st_dev;
	socket->ino = st.st_ino;
	open_to_group(socket);
	if (listen(socket->fd, BACKLOG) < 0)
		return err_errno(err, -errno, "%s: listen", socket->path);
	return 0;
}

static void socket_init_watchers(struct control_socket *socket)
{
	ev_io_init(&socket->accepting, on_accepting, socket->fd, EV_READ);
	ev_timer_init(&socket->pause, on_pause_over, 0., 0.);
	ev_timer_init(&socket->turn, on_turn, 0., 0.);
	socket->accepting.data = socket;
	socket->pause.data = socket;
	socket->turn.data = socket;
}

struct control_socket *control_socket_new(struct ev_loop *loop, const char *path,
					  control_handler_fn *handler, void *ctx, struct err *err)
{
	struct sockaddr_un address;

	if (fill_address(path, &address, err) < 0 || remove_stale(&address, err) < 0)
		return NULL;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		(void)err_errno(err, -errno, "%s: socket", path);
		return NULL;
	}
	struct control_socket *socket = xcalloc(1, sizeof(*socket));

	socket->loop = loop;
	socket->handler = handler;
	socket->ctx = ctx;
	socket->path = xstrdup(path);
	socket->fd = fd;
	socket_init_watchers(socket);
	if (socket_listen(socket, &address, err) < 0) {
		control_socket_free(socket);
		return NULL;
	}
	ev_io_start(loop, &socket->accepting);
	return socket;
}

/* Not a file that took our socket's name in the meantime. */
static void remove_own_file(const struct control_socket *socket)
{
	struct stat st;

	if (socket->ino && lstat(socket->path, &st) == 0 && st.st_dev == socket->dev &&
	    st.st_ino == socket->ino)
		(void)unlink(socket->path);
}

void control_socket_free(struct control_socket *socket)
{
	if (!socket)
		return;
	while (socket->connections) {
		struct connection *connection = socket->connections;

		socket->connections = connection->next;
		connection_free(connection);
	}
	ev_io_stop(socket->loop, &socket->accepting);
	ev_timer_stop(socket->loop, &socket->pause);
	ev_timer_stop(socket->loop, &socket->turn);
	remove_own_file(socket);
	(void)close(socket->fd);
	free(socket->path);
	free(socket);
}
