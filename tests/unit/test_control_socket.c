/* SPDX-License-Identifier: MIT */
/*
 * The control socket, driven from both ends by one thread: the test's own
 * client descriptors and the loop, turned by hand until a deadline.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/status/control_socket.h"

enum { DEADLINE_MS = 5000, CONNECTIONS = 64 };

struct fixture {
	char dir[64];
	char path[96];
	struct ev_loop *loop;
	struct control_socket *socket;
	struct control_request *kept; /* by the command "keep" */
	int asked; /* calls of the handler */
};

/* --- the daemon's side --- */

static void handle(void *ctx, struct control_request *request, const char *command,
		   const struct cJSON *body)
{
	struct fixture *f = ctx;

	f->asked++;
	if (str_eq(command, "echo")) {
		control_answer(request, cJSON_Duplicate(json_get(body, "value"), true));
	} else if (str_eq(command, "fail")) {
		control_fail(request, (int)json_get_double(body, "code", 0), "%s is wrong", "it");
	} else if (str_eq(command, "rights")) {
		control_answer(request, cJSON_CreateBool(control_may_change(request)));
	} else if (str_eq(command, "stream")) {
		control_send(request, cJSON_CreateNumber(1));
		control_send(request, cJSON_CreateNumber(2));
		control_answer(request, NULL);
	} else {
		assert_string_equal(command, "keep");
		assert_null(f->kept);
		f->kept = request;
	}
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/cmsnode-control-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
	f->loop = ev_loop_new(EVFLAG_AUTO);
	f->socket = control_socket_new(f->loop, f->path, handle, f, &err);
	assert_string_equal(err.msg, "");
	assert_non_null(f->socket);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_socket_free(f->socket);
	ev_loop_destroy(f->loop);
	(void)unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* --- the client's side --- */

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void turn(struct fixture *f)
{
	ev_run(f->loop, EVRUN_NOWAIT);
}

static void turns(struct fixture *f, int n)
{
	while (n-- > 0)
		turn(f);
}

/* Sends all of it, turning the loop when the queue is full; false if the daemon hangs up first. */
static bool send_all(struct fixture *f, int fd, const char *data, size_t len)
{
	while (len) {
		const ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		turn(f);
	}
	return true;
}

/* Whatever comes until `lines` newlines came or (lines 0) the daemon closes. */
static void receive(struct fixture *f, int fd, size_t lines, struct buf *ret)
{
	const int64_t deadline = clock_now_ms() + DEADLINE_MS;
	size_t seen = 0;

	for (;;) {
		char chunk[65536];
		const ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			assert_int_equal(lines, 0);
			return;
		}
		for (ssize_t i = 0; i < n; i++)
			seen += chunk[i] == '\n';
		if (n > 0)
			(void)buf_add(ret, chunk, (size_t)n);
		if (lines && seen >= lines)
			return;
		assert_true(clock_now_ms() < deadline);
		turn(f);
	}
}

static void expect(struct fixture *f, int fd, size_t lines, const char *expected)
{
	CLEAN(buf) struct buf got = BUF_INIT(0);

	receive(f, fd, lines, &got);
	assert_string_equal(buf_str(&got), expected);
}

static void say(struct fixture *f, int fd, const char *text)
{
	assert_true(send_all(f, fd, text, strlen(text)));
}

/* --- framing --- */

#define NOT_JSON(at)                                                         \
	"{\"ok\":false,\"error\":{\"code\":2,\"message\":\"the request: " at \
	": not valid JSON\"}}\n"
#define NO_COMMAND                                                                            \
	"{\"ok\":false,\"error\":{\"code\":2,\"message\":\"the request is not a JSON object " \
	"with a string \\\"command\\\"\"}}\n"
#define ECHO(value) "{\"command\":\"echo\",\"value\":" value "}\n"
#define OK(value) "{\"ok\":true,\"result\":" value "}\n"
#define FAIL(code) "{\"command\":\"fail\",\"code\":" code "}\n"
#define FAILED(status) \
	"{\"ok\":false,\"error\":{\"code\":" status ",\"message\":\"it is wrong\"}}\n"

static const struct {
	const char *name;
	const char *input;
	const char *expected; /* all that comes until the daemon closes */
} exchanges[] = {
	{ "nothing", "", "" },
	{ "one", ECHO("7"), OK("7") },
	{ "no result", "{\"command\":\"echo\"}\n", OK("null") },
	{ "carriage return", "{\"command\":\"echo\",\"value\":true}\r\n", OK("true") },
	{ "pipelined", ECHO("1") ECHO("2") ECHO("3"), OK("1") OK("2") OK("3") },
	{ "stream", "{\"command\":\"stream\"}\n" ECHO("3"), OK("1") OK("2") OK("null") OK("3") },
	{ "newline in a string", ECHO("\"a\\nb\""), OK("\"a\\nb\"") },
	{ "not JSON, then one", "status\n" ECHO("1"), NOT_JSON("line 1, column 1") OK("1") },
	{ "two values", "{} {}\n", NOT_JSON("line 1, column 4") },
	{ "empty line", "\n" ECHO("1"), NOT_JSON("line 1, column 1") OK("1") },
	{ "not an object", "[\"command\"]\n", NO_COMMAND },
	{ "no command", "{\"cmd\":\"echo\"}\n", NO_COMMAND },
	{ "command is a number", "{\"command\":1}\n", NO_COMMAND },
	{ "no newline", ECHO("1") "{\"command\":\"echo\"}",
	  OK("1") "{\"ok\":false,\"error\":{\"code\":2,\"message\":\"the request does not end with "
		  "a newline\"}}\n" },
	{ "failure", FAIL("-5"), FAILED("1") },
	{ "no code is a failure all the same", FAIL("0"), FAILED("1") },
	{ "usage", FAIL("-20002"), FAILED("2") },
	{ "configuration", FAIL("-20001"), FAILED("3") },
	{ "identity", FAIL("-20003"), FAILED("4") },
	{ "store away", FAIL("-20005"), FAILED("5") },
};

static void test_exchanges(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(exchanges); i++) {
		print_message("%s\n", exchanges[i].name);
		const int fd = connect_to(f->path);

		say(f, fd, exchanges[i].input);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		expect(f, fd, 0, exchanges[i].expected);
		(void)close(fd);
	}
}

static void test_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	const int fd = connect_to(f->path);

	for (const char *p = ECHO("\"x\"") ECHO("2"); *p; p++)
		assert_true(send_all(f, fd, p, 1));
	expect(f, fd, 2, OK("\"x\"") OK("2"));
	(void)close(fd);
}

static void test_nul_byte(void **state)
{
	struct fixture *f = *state;
	const int fd = connect_to(f->path);
	static const char line[] = "{\"command\":\"echo\",\"value\":\"a\0b\"}\n";

	assert_true(send_all(f, fd, line, sizeof(line) - 1));
	expect(f, fd, 1,
	       "{\"ok\":false,\"error\":{\"code\":2,\"message\":\"the request contains a NUL "
	       "byte\"}}\n");
	(void)close(fd);
}

/* The second request of a connection waits for the first; another connection does not. */
static void test_one_at_a_time(void **state)
{
	struct fixture *f = *state;
	const int fd = connect_to(f->path);
	const int other = connect_to(f->path);

	say(f, fd, "{\"command\":\"keep\"}\n" ECHO("2"));
	turns(f, 20);
	assert_int_equal(f->asked, 1);
	say(f, other, ECHO("9"));
	expect(f, other, 1, OK("9"));
	control_answer(steal(f->kept), cJSON_CreateNumber(1));
	expect(f, fd, 2, OK("1") OK("2"));
	assert_int_equal(f->asked, 3);
	(void)close(fd);
	(void)close(other);
}

/* --- limits --- */

static char *padded_request(size_t length)
{
	static const char head[] = "{\"command\":\"echo\",\"value\":1";
	char *line = xmalloc(length + 2);

	memset(line, ' ', length);
	memcpy(line, head, sizeof(head) - 1);
	line[length - 1] = '}';
	line[length] = '\n';
	line[length + 1] = '\0';
	return line;
}

static void test_request_length(void **state)
{
	struct fixture *f = *state;
	static const char too_long[] = "{\"ok\":false,\"error\":{\"code\":2,\"message\":\"the "
				       "request is longer than 1 MiB\"}}\n";
	static const struct {
		size_t length;
		bool newline;
		const char *expected;
	} cases[] = {
		{ CONTROL_REQUEST_MAX, true, OK("1") },
		{ CONTROL_REQUEST_MAX + 1, true, too_long },
		{ CONTROL_REQUEST_MAX + 1, false, too_long },
		{ 3 * CONTROL_REQUEST_MAX, false, too_long },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *line = padded_request(cases[i].length);
		const int fd = connect_to(f->path);

		(void)send_all(f, fd, line, cases[i].length + cases[i].newline);
		(void)shutdown(fd, SHUT_WR);
		expect(f, fd, 0, cases[i].expected);
		(void)close(fd);
	}
}

static void test_connection_limit(void **state)
{
	struct fixture *f = *state;
	int fds[CONNECTIONS];
	CLEAN(buf) struct buf got = BUF_INIT(0);

	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = connect_to(f->path);
		turn(f);
	}
	const int late = connect_to(f->path);

	receive(f, late, 0, &got);
	assert_non_null(strstr(buf_str(&got), "64 connections are open"));
	(void)close(late);
	say(f, fds[0], ECHO("1"));
	expect(f, fds[0], 1, OK("1"));
	(void)close(fds[1]);
	turns(f, 4);
	fds[1] = connect_to(f->path);
	say(f, fds[1], ECHO("2"));
	expect(f, fds[1], 1, OK("2"));
	for (int i = 0; i < CONNECTIONS; i++)
		(void)close(fds[i]);
}

static struct cJSON *big_string(size_t len)
{
	CLEAN(str) char *text = xmalloc(len + 1);

	memset(text, 'x', len);
	text[len] = '\0';
	return cJSON_CreateString(text);
}

static void test_slow_reader_is_dropped(void **state)
{
	struct fixture *f = *state;
	const int fd = connect_to(f->path);
	int sent = 0;

	say(f, fd, "{\"command\":\"keep\"}\n");
	turns(f, 4);
	while (control_is_open(f->kept) && sent < 20) {
		control_send(f->kept, big_string(1024 * 1024));
		turn(f);
		sent++;
	}
	assert_in_range(sent, 8, 10);
	control_answer(steal(f->kept), NULL);
	(void)close(fd);
	turns(f, 4);
}

/*
 * Many requests and no reading: the daemon stops taking them when its answers no
 * longer leave, drops nobody, and answers all of them in the end.
 */
static void test_pipelining_without_reading(void **state)
{
	struct fixture *f = *state;
	enum { REQUESTS = 3000 };
	const int fd = connect_to(f->path);
	CLEAN(buf) struct buf requests = BUF_INIT(0);
	CLEAN(buf) struct buf got = BUF_INIT(0);

	for (int i = 0; i < REQUESTS; i++)
		(void)buf_adds(&requests, ECHO("1"));
	assert_int_equal(send(fd, requests.data, requests.len, MSG_NOSIGNAL), requests.len);
	turns(f, 2 * REQUESTS);
	assert_in_range(f->asked, 10, REQUESTS - 1);
	receive(f, fd, REQUESTS, &got);
	assert_int_equal(f->asked, REQUESTS);
	assert_int_equal(got.len, REQUESTS * strlen(OK("1")));
	(void)close(fd);
}

/* --- hanging up --- */

static void test_peer_hangs_up(void **state)
{
	struct fixture *f = *state;
	const int fd = connect_to(f->path);

	say(f, fd, "{\"command\":\"keep\"}\n");
	turns(f, 4);
	assert_true(control_is_open(f->kept));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	turns(f, 4);
	assert_true(control_is_open(f->kept)); /* still listens */
	(void)close(fd);
	turns(f, 4);
	assert_false(control_is_open(f->kept));
	control_send(f->kept, cJSON_CreateNumber(1));
	control_send(f->kept, cJSON_CreateNumber(2));
	assert_false(control_is_open(f->kept));
	control_answer(steal(f->kept), cJSON_CreateNumber(3));
	turns(f, 4);
}

static void test_free_with_open_requests(void **state)
{
	struct fixture *f = *state;
	const int fd = connect_to(f->path);
	const int gone = connect_to(f->path);

	say(f, fd, "{\"command\":\"keep\"}\n");
	turns(f, 4);
	f->kept = NULL;
	say(f, gone, "{\"command\":\"keep\"}\n");
	turns(f, 4);
	(void)close(gone);
	control_send(f->kept, cJSON_CreateNumber(1));
	turns(f, 4);
	control_socket_free(f->socket);
	f->socket = NULL;
	assert_int_equal(access(f->path, F_OK), -1);
	expect(f, fd, 0, "");
	(void)close(fd);
}

/* --- the file --- */

static struct control_socket *open_another(struct fixture *f, const char *path, int code,
					   const char *part)
{
	struct err err = { 0 };
	struct control_socket *another = control_socket_new(f->loop, path, handle, f, &err);

	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.msg, part));
	return another;
}

static void test_mode(void **state)
{
	struct fixture *f = *state;
	const struct group *group = getgrnam("cmsnode");
	struct stat st;

	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, group && st.st_gid == group->gr_gid ? 0660 : 0600);
}

static void test_live_socket_is_respected(void **state)
{
	struct fixture *f = *state;

	assert_null(open_another(f, f->path, -EADDRINUSE, "another daemon answers"));
	turns(f, 4);
	const int fd = connect_to(f->path);

	say(f, fd, ECHO("1"));
	expect(f, fd, 1, OK("1"));
	(void)close(fd);
}

static void test_stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int dead = socket(AF_UNIX, SOCK_STREAM, 0);

	control_socket_free(f->socket);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
	assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)close(dead);
	f->socket = open_another(f, f->path, 0, "");
	assert_non_null(f->socket);
	const int fd = connect_to(f->path);

	say(f, fd, ECHO("1"));
	expect(f, fd, 1, OK("1"));
	(void)close(fd);
}

static void test_foreign_file_is_left_alone(void **state)
{
	struct fixture *f = *state;
	CLEAN(str) char *path = xasprintf("%s/file", f->dir);
	const int fd = open(path, O_CREAT | O_WRONLY, 0600);

	(void)close(fd);
	assert_null(open_another(f, path, -EEXIST, "is not a socket"));
	assert_int_equal(access(path, F_OK), 0);
	/* Nor is a file removed that took the socket's name. */
	assert_int_equal(rename(path, f->path), 0);
	control_socket_free(f->socket);
	f->socket = NULL;
	assert_int_equal(access(f->path, F_OK), 0);
}

static void test_bad_paths(void **state)
{
	struct fixture *f = *state;
	CLEAN(str) char *missing = xasprintf("%s/no/control.sock", f->dir);
	char longest[109];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[108] = '\0';
	assert_null(open_another(f, longest, -ENAMETOOLONG, "shorter --run-dir"));
	assert_null(open_another(f, "", -ENAMETOOLONG, "shorter --run-dir"));
	assert_null(open_another(f, missing, -ENOENT, "No such file"));
}

/* --- rights --- */

/* A child with that user and group asks "rights"; its answer comes as exit status: 1 yes, 0 no. */
static pid_t ask_rights_as(const char *path, uid_t uid, gid_t gid)
{
	const pid_t pid = fork();
	if (pid)
		return pid;
	static const char line[] = "{\"command\":\"rights\"}\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char answer[64] = "";
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    write(fd, line, sizeof(line) - 1) < 0 || read(fd, answer, sizeof(answer) - 1) <= 0)
		_exit(2);
	_exit(str_eq(answer, OK("true")) ? 1 : str_eq(answer, OK("false")) ? 0 : 3);
}

static int rights_of(struct fixture *f, uid_t uid, gid_t gid)
{
	const int64_t deadline = clock_now_ms() + DEADLINE_MS;
	const pid_t pid = ask_rights_as(f->path, uid, gid);
	int status = 0;

	while (waitpid(pid, &status, WNOHANG) == 0 && clock_now_ms() < deadline)
		turn(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	(void)fputs(text, file);
	(void)fclose(file);
	assert_int_equal(chmod(path, 0644), 0);
}

/* Users and groups of our own, seen by this process alone. */
static bool replace_users(struct fixture *f)
{
	static const struct {
		const char *file;
		const char *text;
	} files[] = {
		{ "/etc/passwd", "root:x:0:0::/:/bin/sh\nann:x:3001:3001::/:/bin/sh\n"
				 "bob:x:3002:3002::/:/bin/sh\ncarl:x:3003:4000::/:/bin/sh\n" },
		{ "/etc/group", "root:x:0:\nann:x:3001:\nbob:x:3002:\ncmsnode:x:4000:bob\n" },
	};

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEAN(str) char *copy = xasprintf("%s/users", f->dir);

		write_file(copy, files[i].text);
		const int r = mount(copy, files[i].file, NULL, MS_BIND, NULL);

		(void)unlink(copy);
		if (r < 0)
			return false;
	}
	return true;
}

/* One row a line: */
/* clang-format off */
static const struct {
	uid_t uid;
	gid_t gid;
	bool with_group; /* may change where group cmsnode exists */
} peers[] = {
	{ 0, 0, true },
	{ 3001, 3001, false },	/* nobody's member */
	{ 3001, 4000, true },	/* newgrp */
	{ 3002, 3002, true },	/* member by the group's list */
	{ 3003, 3003, true },	/* its primary group in the user database */
	{ 3999, 3999, false },	/* no such user */
};
/* clang-format on */

/*
 * In a child, since the users stay replaced. Exit status: 0 well, 77 not possible
 * here, else case + 1.
 */
static int check_rights(struct fixture *f)
{
	struct stat st;

	control_socket_free(f->socket);
	if (!replace_users(f))
		return 77;
	f->socket = control_socket_new(f->loop, f->path, handle, f, NULL);
	if (!f->socket || stat(f->path, &st) < 0 || (st.st_mode & 0777) != 0660 ||
	    st.st_gid != 4000)
		return 50;
	if (chmod(f->dir, 0755) < 0 || chmod(f->path, 0666) < 0)
		return 51;
	for (size_t i = 0; i < ARRAY_LEN(peers); i++)
		if (rights_of(f, peers[i].uid, peers[i].gid) != peers[i].with_group)
			return (int)i + 1;
	control_socket_free(f->socket);
	return 0;
}

static void test_rights_with_group(void **state)
{
	struct fixture *f = *state;
	int status = 0;

	(void)fflush(NULL);
	control_socket_free(steal(f->socket));
	const pid_t pid = fork();

	if (pid == 0) {
		ev_loop_fork(f->loop);
		_exit(check_rights(f));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("SKIP: users cannot be replaced without root\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_rights_without_group(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0 || getgrnam("cmsnode")) {
		print_message("SKIP: needs root and no group cmsnode\n");
		skip();
	}
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_int_equal(chmod(f->path, 0666), 0);
	assert_int_equal(rights_of(f, 0, 0), 1);
	assert_int_equal(rights_of(f, 65534, 65534), 0);
}

static void quiet(enum log_level level, const char *module, const char *text)
{
	(void)level;
	(void)module;
	(void)text;
}

#define T(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_exchanges),
		T(test_byte_by_byte),
		T(test_nul_byte),
		T(test_one_at_a_time),
		T(test_request_length),
		T(test_connection_limit),
		T(test_slow_reader_is_dropped),
		T(test_pipelining_without_reading),
		T(test_peer_hangs_up),
		T(test_free_with_open_requests),
		T(test_mode),
		T(test_live_socket_is_respected),
		T(test_stale_socket_is_replaced),
		T(test_foreign_file_is_left_alone),
		T(test_bad_paths),
		T(test_rights_with_group),
		T(test_rights_without_group),
	};

	json_init();
	log_set_sink(quiet);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
