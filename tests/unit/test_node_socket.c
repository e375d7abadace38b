/* SPDX-License-Identifier: MIT */
/* One live daemon per node id: the socket, its answer, and who is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <ev.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/node_socket.h"

static struct ev_loop *loop;
static char hash[17]; /* of this run alone: abstract names are shared by the whole machine */

static int make_loop(void **state)
{
	const long long now = clock_now_ms();
	CLEAN(str) char *prefix = xasprintf("/test/%d/%lld", (int)getpid(), now);

	(void)state;
	loop = ev_loop_new(EVFLAG_AUTO);
	node_socket_cluster_hash(prefix, hash);
	return loop ? 0 : -1;
}

static int free_loop(void **state)
{
	(void)state;
	ev_loop_destroy(loop);
	return 0;
}

static socklen_t fill_address(const char *id, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	const int n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "cmsnoded/%s/node/%s",
			       hash, id);

	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int connect_to(const char *id)
{
	struct sockaddr_un address;
	const socklen_t len = fill_address(id, &address);
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (const struct sockaddr *)&address, len) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* Reads to the end, with a deadline. */
static void read_all(int fd, char *ret, size_t size)
{
	size_t len = 0;
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	while (len < size - 1 && poll(&wait, 1, 2000) > 0) {
		const ssize_t n = read(fd, ret + len, size - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	ret[len] = '\0';
	(void)close(fd);
}

static void cluster_hashes(void **state)
{
	char a[17];
	char b[17];

	(void)state;
	node_socket_cluster_hash("abc", a);
	assert_string_equal(a, "ba7816bf8f01cfea");
	node_socket_cluster_hash("/cms", b);
	assert_string_not_equal(a, b);
}

static void answers_each_connection_with_one_line(void **state)
{
	static const struct {
		const char *answer, *line;
	} cases[] = {
		{ NULL, "{\"id\":\"a\"}\n" },
		{ "{\"id\":\"a\",\"hostname\":\"box\"}", "{\"id\":\"a\",\"hostname\":\"box\"}\n" },
		{ "{}", "{}\n" },
	};
	struct err err = { 0 };
	struct node_socket *node_socket = node_socket_new(loop, hash, "a", &err);

	(void)state;
	assert_non_null(node_socket);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char line[256];
		const int fd = connect_to("a");
		const int hung_up = connect_to("a");

		assert_true(fd >= 0);
		assert_true(hung_up >= 0);
		(void)close(hung_up);
		if (cases[i].answer)
			node_socket_set_answer(node_socket, cases[i].answer);
		ev_run(loop, EVRUN_ONCE);
		read_all(fd, line, sizeof(line));
		assert_string_equal(line, cases[i].line);
	}
	node_socket_free(node_socket);
	node_socket_free(NULL);
	assert_int_equal(connect_to("a"), -1);
}

static void other_ids_and_clusters_do_not_meet(void **state)
{
	char other[17];
	struct err err = { 0 };

	(void)state;
	memcpy(other, hash, sizeof(other));
	other[15] = other[15] == '0' ? '1' : '0';
	struct node_socket *a = node_socket_new(loop, hash, "a", &err);
	struct node_socket *b = node_socket_new(loop, hash, "a.b", &err);
	struct node_socket *c = node_socket_new(loop, other, "a", &err);

	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	node_socket_free(a);
	/* Freed: the name is free at once. */
	a = node_socket_new(loop, hash, "a", &err);
	assert_non_null(a);
	node_socket_free(a);
	node_socket_free(b);
	node_socket_free(c);
}

/*
 * Another process holds the name, writes `answer` to whoever connects, and lives
 * until it is killed.
 */
static pid_t start_holder(const char *id, const char *answer, size_t len)
{
	int ready[2];

	assert_int_equal(pipe(ready), 0);
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0) {
		char byte;

		(void)close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		(void)close(ready[0]);
		return pid;
	}
	struct sockaddr_un address;
	const socklen_t size = fill_address(id, &address);
	const int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)alarm(20); /* whatever becomes of the test */
	if (bind(listener, (const struct sockaddr *)&address, size) < 0 || listen(listener, 4) < 0)
		_exit(1);
	(void)!write(ready[1], "x", 1);
	while (answer) {
		const int fd = accept(listener, NULL, NULL);

		(void)!send(fd, answer, len, MSG_NOSIGNAL);
		(void)pause();
	}
	for (;;)
		(void)pause();
}

static void stop_holder(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_live_holder_is_quoted(void **state)
{
	char endless[1000];
	static const char line[] = "{\"id\":\"a\",\"hostname\":\"box\"}\nignored";
	static const char forged[] = "\x1b[31mred\n";

	(void)state;
	memset(endless, 'z', sizeof(endless));
	const struct {
		const char *answer;
		size_t len;
		const char *said;
		bool waits;
	} cases[] = {
		{ line, sizeof(line) - 1,
		  "it says {\"id\":\"a\",\"hostname\":\"box\"}: stop that one", false },
		{ forged, sizeof(forged) - 1, "it says ?[31mred: stop that one", false },
		{ endless, sizeof(endless), "zzzz: stop that one", false },
		{ "half", 4, "it says half: stop that one", true },
		{ NULL, 0, "it did not answer within 1000 ms", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const pid_t pid = start_holder("a", cases[i].answer, cases[i].len);
		struct err err = { 0 };
		const int64_t before = clock_now_ms();

		assert_null(node_socket_new(loop, hash, "a", &err));
		const int64_t took = clock_now_ms() - before;

		assert_int_equal(err.code, ERR_IDENTITY);
		assert_true(str_starts(err.msg, "another live cmsnoded is node 'a'; it "));
		if (!strstr(err.msg, cases[i].said))
			fail_msg("case %zu: %s", i, err.msg);
		assert_true(took < 5000);
		assert_int_equal(took >= 950, cases[i].waits);
		stop_holder(pid);
		struct node_socket *node_socket = node_socket_new(loop, hash, "a", &err);

		assert_non_null(node_socket);
		node_socket_free(node_socket);
	}
}

static void a_name_bound_by_somebody_who_does_not_listen_is_taken(void **state)
{
	struct sockaddr_un address;
	const socklen_t len = fill_address("a", &address);
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct err err = { 0 };

	(void)state;
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
	assert_null(node_socket_new(loop, hash, "a", &err));
	assert_int_equal(err.code, ERR_IDENTITY);
	(void)close(fd);
}

static void the_longest_id_fits_and_a_longer_one_is_refused(void **state)
{
	char id[128];
	struct err err = { 0 };

	(void)state;
	memset(id, 'a', sizeof(id));
	id[63] = '\0';
	struct node_socket *node_socket = node_socket_new(loop, hash, id, &err);

	assert_non_null(node_socket);
	node_socket_free(node_socket);
	id[63] = 'a';
	id[127] = '\0';
	assert_null(node_socket_new(loop, hash, id, &err));
	assert_int_equal(err.code, ERR_IDENTITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cluster_hashes),
		cmocka_unit_test_setup_teardown(answers_each_connection_with_one_line, make_loop,
						free_loop),
		cmocka_unit_test_setup_teardown(other_ids_and_clusters_do_not_meet, make_loop,
						free_loop),
		cmocka_unit_test_setup_teardown(a_live_holder_is_quoted, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(
			a_name_bound_by_somebody_who_does_not_listen_is_taken, make_loop,
			free_loop),
		cmocka_unit_test_setup_teardown(the_longest_id_fits_and_a_longer_one_is_refused,
						make_loop, free_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
