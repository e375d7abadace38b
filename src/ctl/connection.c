/* SPDX-License-Identifier: MIT */
/*
 * Owns the client's end of the control socket. Must never trust the length or
 * the shape of what comes back, and never wait beyond its deadline.
 */
#include "ctl.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/status/control_socket.h"

enum {
	ANSWER_MAX = 16 * 1024 * 1024,
	READ_CHUNK = 64 * 1024,
	ANSWER_TIME_MS = 30 * 1000,
	FULL_QUEUE_PAUSE_MS = 50,
};

/* --- waiting --- */

static int remaining_ms(int64_t deadline_ms)
{
	if (deadline_ms == CTL_NO_DEADLINE)
		return -1;
	const int64_t left = deadline_ms - clock_now_ms();

	if (left <= 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

static int wait_for(const struct ctl_connection *connection, short events, int64_t deadline_ms,
		    struct err *err)
{
	struct pollfd pollfd = { .fd = connection->fd, .events = events };

	for (;;) {
		const int r = poll(&pollfd, 1, remaining_ms(deadline_ms));
		if (r > 0)
			return 0;
		if (r == 0)
			return err_set(err, ERR_UNAVAILABLE,
				       "the daemon at %s does not answer in time: look at its log",
				       connection->path);
		if (errno != EINTR)
			return err_errno(err, -errno, "%s: poll", connection->path);
	}
}

/* --- connecting --- */

static int say_denied(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(err, ERR_DENIED,
			       "%s: permission denied: it is for root and the members of group "
			       "'cmsnode'",
			       path);
	const struct group *group = st.st_mode & S_IWGRP ? getgrgid(st.st_gid) : NULL;
	if (group)
		return err_set(
			err, ERR_DENIED,
			"%s: permission denied: it is for root and the members of group '%s'", path,
			group->gr_name);
	const struct passwd *owner = getpwuid(st.st_uid);

	return err_set(err, ERR_DENIED,
		       "%s: permission denied: it is for user '%s' only (with a group 'cmsnode' on "
		       "this machine when cmsnoded starts, it would be for its members too)",
		       path, owner ? owner->pw_name : "root");
}

static int connect_failed(const char *path, int error, struct err *err)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED:
	case ECONNRESET:
		return err_set(err, ERR_UNAVAILABLE,
			       "no daemon answers at %s: is cmsnoded running? (--run-dir)", path);
	case EACCES:
	case EPERM:
		return say_denied(path, err);
	default:
		return err_set(err, ERR_UNAVAILABLE, "%s: cannot connect: %s", path,
			       strerror(error));
	}
}

/* A full queue of the daemon shows as EAGAIN, and no poll() tells when it is over. */
static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline_ms)
{
	for (;;) {
		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return errno;
		if (remaining_ms(deadline_ms) == 0)
			return ETIMEDOUT;
		(void)poll(NULL, 0, FULL_QUEUE_PAUSE_MS);
	}
}

int ctl_connection_open(const char *path, int64_t deadline_ms, struct ctl_connection *ret,
			struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, ERR_USAGE,
			       "%s: longer than a socket's path may be (%zu bytes): give a shorter "
			       "--run-dir",
			       path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	CLEAN(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, -errno, "socket");
	const int error = connect_until(fd, &address, deadline_ms);
	if (error)
		return connect_failed(path, error, err);
	*ret = (struct ctl_connection){ .fd = fd,
					.path = xstrdup(path),
					.in = BUF_INIT(ANSWER_MAX) };
	fd = -1;
	return 0;
}

void ctl_connection_fini(struct ctl_connection *connection)
{
	clean_fd(&connection->fd);
	connection->fd = -1;
	free(steal(connection->path));
	buf_fini(&connection->in);
}

/* --- question and answer --- */

static int say_hung_up(const struct ctl_connection *connection, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE,
		       "the daemon at %s hung up: is it stopping? look at its log",
		       connection->path);
}

int ctl_connection_send(struct ctl_connection *connection, const cJSON *request,
			int64_t deadline_ms, struct err *err)
{
	CLEAN(buf) struct buf line = BUF_INIT(0);
	CLEAN(str) char *text = json_text(request);
	size_t sent = 0;

	if (strlen(text) > CONTROL_REQUEST_MAX)
		return err_set(err, ERR_USAGE,
			       "the request has %zu bytes, the daemon takes %d: give it in parts",
			       strlen(text), CONTROL_REQUEST_MAX);
	(void)buf_adds(&line, text);
	(void)buf_add(&line, "\n", 1);
	while (sent < line.len) {
		const ssize_t n =
			send(connection->fd, line.data + sent, line.len - sent, MSG_NOSIGNAL);
		if (n >= 0) {
			sent += (size_t)n;
		} else if (errno == EAGAIN) {
			const int r = wait_for(connection, POLLOUT, deadline_ms, err);
			if (r < 0)
				return r;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			/* What it said before it hung up can still be read. */
			return 0;
		} else if (errno != EINTR) {
			return err_errno(err, -errno, "%s: send", connection->path);
		}
	}
	return 0;
}

/* More bytes into the buffer; 0 also if there were none after all. */
static int receive_some(struct ctl_connection *connection, struct err *err)
{
	char chunk[READ_CHUNK];
	const ssize_t n = recv(connection->fd, chunk, sizeof(chunk), 0);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return say_hung_up(connection, err);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ?
			       0 :
			       err_errno(err, -errno, "%s: receive", connection->path);
	if (buf_add(&connection->in, chunk, (size_t)n) < 0)
		return err_set(err, -E2BIG, "the daemon's answer is longer than %d MiB",
			       (int)ANSWER_MAX / 1024 / 1024);
	return 0;
}

static int receive_line(struct ctl_connection *connection, int64_t deadline_ms, size_t *ret_len,
			struct err *err)
{
	size_t scanned = 0;

	for (;;) {
		const struct buf *in = &connection->in;
		const char *newline = memchr(buf_str(in) + scanned, '\n', in->len - scanned);
		if (newline) {
			*ret_len = (size_t)(newline - in->data);
			return 0;
		}
		scanned = in->len;
		int r = wait_for(connection, POLLIN, deadline_ms, err);
		if (r == 0)
			r = receive_some(connection, err);
		if (r < 0)
			return r;
	}
}

/* The err code whose exit status the daemon named. */
static int code_of_status(int64_t status)
{
	static const int codes[] = { ERR_USAGE, ERR_CONFIG, ERR_IDENTITY, ERR_UNAVAILABLE };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (err_exit_status(codes[i]) == status)
			return codes[i];
	return -EIO;
}

static int answer_result(cJSON *answer, cJSON **ret, struct err *err)
{
	if (!cJSON_IsObject(answer))
		return err_set(err, -EPROTO, "the daemon's answer is not a JSON object");
	if (json_get_bool(answer, "ok", false)) {
		cJSON *result = cJSON_DetachItemFromObjectCaseSensitive(answer, "result");

		*ret = result ? result : cJSON_CreateNull();
		return 0;
	}
	const cJSON *error = json_get_object(answer, "error");
	const char *message = json_get_str(error, "message");
	int64_t status = 1;

	if (!message)
		return err_set(err, -EPROTO,
			       "the daemon's answer is neither a result nor an error");
	(void)json_get_int64(error, "code", &status);
	CLEAN(str) char *safe = ctl_printable(message, true);

	return err_set(err, code_of_status(status), "%s", safe);
}

int ctl_connection_receive(struct ctl_connection *connection, int64_t deadline_ms, cJSON **ret,
			   struct err *err)
{
	size_t len = 0;
	const int r = receive_line(connection, deadline_ms, &len, err);
	if (r < 0)
		return r;
	struct err parse = { 0 };
	CLEAN(json) cJSON *answer = json_parse(connection->in.data, len, &parse);

	buf_consume(&connection->in, len + 1);
	if (!answer)
		return err_set(err, -EPROTO, "the daemon's answer: %s", parse.msg);
	return answer_result(answer, ret, err);
}

cJSON *ctl_request(const char *command)
{
	cJSON *request = cJSON_CreateObject();

	json_add_str(request, "command", command);
	return request;
}

int ctl_ask(const struct ctl *ctl, cJSON *request, int64_t deadline_ms, cJSON **ret,
	    struct err *err)
{
	CLEAN(json) cJSON *question = request;
	CLEAN(json) cJSON *result = NULL;
	CLEAN(ctl_connection) struct ctl_connection connection = { .fd = -1 };

	int r = ctl_connection_open(ctl->socket_path, deadline_ms, &connection, err);
	if (r == 0)
		r = ctl_connection_send(&connection, question, deadline_ms, err);
	if (r == 0)
		r = ctl_connection_receive(&connection, deadline_ms, &result, err);
	if (r < 0)
		return r;
	if (!cJSON_IsObject(result))
		return err_set(err, -EPROTO, "the daemon's result is not a JSON object");
	*ret = steal(result);
	return 0;
}

int ctl_ask_soon(const struct ctl *ctl, cJSON *request, cJSON **ret, struct err *err)
{
	return ctl_ask(ctl, request, clock_now_ms() + ANSWER_TIME_MS, ret, err);
}
