/* SPDX-License-Identifier: MIT */
/*
 * Programs that resolve while the hosts file changes: several processes call
 * getaddrinfo() in a loop, in a mount namespace where the file is /etc/hosts and nothing
 * else is asked, while addresses change and the block grows. Needs root.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <ev.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/topology/hosts_file.h"
#include "cmsnode/topology/slots.h"

#define ZONE NAMES_ZONE_DEFAULT
#define READERS 3
#define NAMES 60 /* that are there from the start, and looked up */
#define CHANGES 10000
#define GROWTHS 40 /* of them: a batch of names comes */
#define NAMES_MAX 240
#define REWRITES 40
#define SKIPPED 77
#define FOREIGN "127.0.0.1 localhost\n"

static const struct hosts_owner owner = { "1f2e3d4c5b6a7988", ZONE };
static const struct hosts_owner neighbour = { "00112233445566ff", "other.zone" };

/* What the processes tell each other. */
static struct board {
	atomic_bool stop;
	atomic_uint gap; /* odd while a foreign rewrite is not mended */
	atomic_ulong lookups, failures, in_gaps, wrong;
	char example[256]; /* of what went wrong */
} * board;

/* ---- readers ---- */

/*
 * 10.k.c.(7c+k mod 256) is an address that Worker k may have; a mix of two of them is none, but
 * with a chance of one in 256.
 */
static void address_of(size_t k, unsigned int change, char ret[ADDRESS_TEXT_SIZE])
{
	const unsigned int c = change * 37 % 256;

	(void)snprintf(ret, ADDRESS_TEXT_SIZE, "10.%zu.%u.%u", k, c,
		       (7 * c + (unsigned int)k) % 256);
}

static bool may_be(size_t k, uint32_t address)
{
	const uint32_t c = address >> 8 & 255;

	return address == 0x7ffffffe || (address >> 24 == 10 && (address >> 16 & 255) == k &&
					 (address & 255) == (7 * c + k) % 256);
}

static void note(const char *name, int error, uint32_t address)
{
	(void)snprintf(board->example, sizeof(board->example), "%s: %s, %08x", name,
		       error ? gai_strerror(error) : "wrong", address);
}

static void look_up(size_t k)
{
	const struct addrinfo hints = { .ai_family = k % 2 ? AF_UNSPEC : AF_INET,
					.ai_socktype = SOCK_STREAM };
	const unsigned int before = atomic_load(&board->gap);
	struct addrinfo *list = NULL;
	char name[NAMES_NAME_SIZE];
	struct sockaddr_in in;

	names_format(CATALOGUE_WORKER, k, ZONE, name);
	const int error = getaddrinfo(name, NULL, &hints, &list);

	atomic_fetch_add(&board->lookups, 1);
	if (error) {
		const bool gap = before % 2 || atomic_load(&board->gap) != before;

		atomic_fetch_add(gap ? &board->in_gaps : &board->failures, 1);
		if (!gap)
			note(name, error, 0);
		return;
	}
	memcpy(&in, list->ai_addr, sizeof(in));
	if (list->ai_family != AF_INET || !may_be(k, ntohl(in.sin_addr.s_addr))) {
		atomic_fetch_add(&board->wrong, 1);
		note(name, 0, ntohl(in.sin_addr.s_addr));
	}
	freeaddrinfo(list);
}

static _Noreturn void read_until_stopped(unsigned int seed)
{
	while (!atomic_load(&board->stop)) {
		seed = seed * 1103515245 + 12345;
		look_up(seed / 65536 % NAMES);
	}
	_exit(0);
}

static void start_readers(pid_t pids[READERS])
{
	for (unsigned int i = 0; i < READERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			read_until_stopped(i);
	}
}

static void stop_readers(const pid_t pids[READERS])
{
	atomic_store(&board->stop, true);
	for (size_t i = 0; i < READERS; i++)
		(void)waitpid(pids[i], NULL, 0);
}

/* ---- stage ---- */

static void must(bool good, const char *what)
{
	if (good)
		return;
	(void)fprintf(stderr, "%s\n", what);
	atomic_store(&board->stop, true);
	_exit(1);
}

static void put_file(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(fd >= 0 && file_write_all(fd, text) == 0 && close(fd) == 0, path);
}

static void mount_over(const char *source, const char *text, const char *target)
{
	put_file(source, text);
	must(mount(source, target, NULL, MS_BIND, NULL) == 0, target);
}

/* In a child: /etc/hosts is a file of ours, and nsswitch asks only that. */
static bool own_etc(const char *top)
{
	CLEAN(str) char *hosts = xasprintf("%s/hosts", top);
	CLEAN(str) char *nsswitch = xasprintf("%s/nsswitch.conf", top);

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	mount_over(hosts, FOREIGN, "/etc/hosts");
	mount_over(nsswitch, "hosts: files\n", "/etc/nsswitch.conf");
	return true;
}

static void remove_top(const char *top)
{
	CLEAN(str) char *hosts = xasprintf("%s/hosts", top);
	CLEAN(str) char *nsswitch = xasprintf("%s/nsswitch.conf", top);

	(void)unlink(hosts);
	(void)unlink(nsswitch);
	(void)rmdir(top);
}

static void in_own_etc(void (*act)(void))
{
	const char *tmp = getenv("TMPDIR");
	CLEAN(str) char *top = xasprintf("%s/test_hosts_readers.XXXXXX", tmp ? tmp : "/tmp");
	int status = 0;

	assert_non_null(mkdtemp(top));
	*board = (struct board){ 0 };
	const pid_t child = fork();

	if (child == 0) {
		if (geteuid() != 0 || !own_etc(top))
			_exit(SKIPPED);
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	remove_top(top);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		print_message("needs root and a mount namespace: skipped\n");
		skip();
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	print_message("%lu look-ups, %lu failures, %lu failures in gaps, %lu wrong %s\n",
		      board->lookups, board->failures, board->in_gaps, board->wrong,
		      board->example);
	assert_true(board->lookups > 1000);
	assert_int_equal(board->failures, 0);
	assert_int_equal(board->wrong, 0);
}

static struct hosts_file *open_file(struct ev_loop *loop, const struct hosts_owner *who,
				    const struct hosts_file_events *events)
{
	static const struct hosts_file_events none = { NULL, NULL, NULL };
	struct hosts_file *file =
		hosts_file_new(loop, "/etc/hosts", who, events ? events : &none, NULL);

	must(file != NULL, "hosts_file_new");
	return file;
}

static void first_names(struct hosts_wish *wish)
{
	*wish = (struct hosts_wish){ .epoch = 1, .sequence = 1 };
	for (size_t k = 0; k < NAMES; k++)
		names_set(&wish->names, CATALOGUE_WORKER, k, ZONE, SLOT_VACANT_ADDRESS);
}

static void write_wish(struct hosts_file *file, const struct hosts_wish *wish)
{
	struct err err = { 0 };

	must(hosts_file_wish(file, wish, &err) == 0, err.msg);
}

/* ---- changes and growths ---- */

static void change_one(struct hosts_wish *wish, unsigned int i)
{
	const size_t k = i * 7919u % NAMES;
	char address[ADDRESS_TEXT_SIZE];

	address_of(k, i, address);
	names_set(&wish->names, CATALOGUE_WORKER, k, ZONE, i % 11 ? address : SLOT_VACANT_ADDRESS);
}

static void grow(struct hosts_wish *wish, const char *zone)
{
	const size_t len = wish->names.len;

	for (size_t k = len; k < len + NAMES_MAX / GROWTHS; k++)
		names_set(&wish->names, CATALOGUE_WORKER, k, zone, "10.200.0.1");
}

/*
 * Another cluster's block grows, too, so that neither is always the last: then a whole new one is
 * written and the old one taken out.
 */
static void changes_and_growths(void)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct hosts_file *file = open_file(loop, &owner, NULL);
	struct hosts_file *other = open_file(loop, &neighbour, NULL);
	struct hosts_wish wish, theirs = { .epoch = 1, .sequence = 1 };
	pid_t readers[READERS];

	first_names(&wish);
	write_wish(file, &wish);
	start_readers(readers);
	for (unsigned int i = 0; i < CHANGES; i++) {
		wish.sequence++;
		change_one(&wish, i);
		if (i % (CHANGES / GROWTHS) == 0) {
			theirs.sequence++;
			grow(&theirs, neighbour.zone);
			write_wish(other, &theirs);
			grow(&wish, ZONE);
		}
		write_wish(file, &wish);
	}
	stop_readers(readers);
	names_fini(&wish.names);
	names_fini(&theirs.names);
	hosts_file_free(file);
	hosts_file_free(other);
	ev_loop_destroy(loop);
}

static void readers_never_fail_while_names_change(void **state)
{
	(void)state;
	in_own_etc(changes_and_growths);
}

/* ---- foreign rewrites ---- */

struct repair {
	struct ev_loop *loop;
	int64_t begin, longest, sum;
	int left;
};

static void rewrite(struct repair *repair)
{
	repair->begin = clock_now_ms();
	atomic_fetch_add(&board->gap, 1);
	put_file("/etc/hosts", FOREIGN);
}

static void on_mended(void *ctx, size_t names, int64_t took_ms)
{
	struct repair *repair = ctx;
	const int64_t took = clock_now_ms() - repair->begin;

	(void)names;
	(void)took_ms;
	atomic_fetch_add(&board->gap, 1);
	repair->sum += took;
	repair->longest = took > repair->longest ? took : repair->longest;
	if (--repair->left == 0)
		ev_break(repair->loop, EVBREAK_ALL);
}

static void on_next(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	if (atomic_load(&board->gap) % 2 == 0)
		rewrite(timer->data);
}

static void on_late(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)timer;
	(void)events;
	must(false, "not mended");
}

static void foreign_rewrites(void)
{
	struct repair repair = { .loop = ev_loop_new(EVFLAG_AUTO), .left = REWRITES };
	const struct hosts_file_events events = { NULL, on_mended, &repair };
	struct hosts_file *file = open_file(repair.loop, &owner, &events);
	struct hosts_wish wish;
	pid_t readers[READERS];
	ev_timer next, late;

	first_names(&wish);
	write_wish(file, &wish);
	start_readers(readers);
	ev_timer_init(&next, on_next, 0.03, 0.03);
	next.data = &repair;
	ev_timer_start(repair.loop, &next);
	ev_timer_init(&late, on_late, 60., 0.);
	ev_timer_start(repair.loop, &late);
	ev_run(repair.loop, 0);
	stop_readers(readers);
	(void)printf("%d foreign rewrites: names were back after %.1f ms, at most %lld ms\n",
		     REWRITES, (double)repair.sum / REWRITES, (long long)repair.longest);
	(void)fflush(stdout);
	names_fini(&wish.names);
	hosts_file_free(file);
	ev_loop_destroy(repair.loop);
}

static void readers_fail_only_between_a_foreign_rewrite_and_its_repair(void **state)
{
	(void)state;
	in_own_etc(foreign_rewrites);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_never_fail_while_names_change),
		cmocka_unit_test(readers_fail_only_between_a_foreign_rewrite_and_its_repair),
	};

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
