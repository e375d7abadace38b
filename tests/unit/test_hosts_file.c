/* SPDX-License-Identifier: MIT */
/*
 * The hosts file on disk: foreign rewrites mended, the lock, several daemons on one
 * file, mounts. What needs root runs in a child with a mount namespace of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/hosts_file.h"
#include "cmsnode/topology/slots.h"

#define ZONE NAMES_ZONE_DEFAULT
#define FOREIGN "127.0.0.1\tlocalhost\n10.1.1.1 other.example other\n"
#define DEADLINE_S 10.

static const struct hosts_owner owner = { "1f2e3d4c5b6a7988", ZONE };
static const struct hosts_owner neighbour = { "00112233445566ff", "other.zone" };

struct fixture {
	struct ev_loop *loop;
	char *top, *path;
	struct hosts_file *file;
	enum hosts_file_state state;
	struct err err;
	int changes, mends;
	size_t lost;
};

/* ---- stage ---- */

static void on_changed(void *ctx, enum hosts_file_state state, const struct err *err)
{
	struct fixture *f = ctx;

	f->changes++;
	f->state = state;
	f->err = *err;
}

static void on_mended(void *ctx, size_t names, int64_t took_ms)
{
	struct fixture *f = ctx;

	assert_true(took_ms >= 0);
	f->mends++;
	f->lost = names;
}

static struct hosts_file *open_as(struct fixture *f, const struct hosts_owner *who)
{
	const struct hosts_file_events events = { on_changed, on_mended, f };
	struct hosts_file *file = hosts_file_new(f->loop, f->path, who, &events, NULL);

	assert_non_null(file);
	return file;
}

static void put_file(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text), 0);
	assert_int_equal(close(fd), 0);
}

static char *get_file(const char *path)
{
	CLEAN(buf) struct buf text = { 0 };
	struct err err;

	if (file_read(path, &text, &err) < 0)
		fail_msg("%s", err.msg);
	return buf_steal(&text);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");

	f->top = xasprintf("%s/test_hosts_file.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(f->top))
		return -1;
	f->path = xasprintf("%s/hosts", f->top);
	f->loop = ev_loop_new(EVFLAG_AUTO);
	put_file(f->path, FOREIGN);
	f->file = open_as(f, &owner);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "hosts", "hosts.new", "other" };
	struct fixture *f = *state;

	hosts_file_free(f->file);
	ev_loop_destroy(f->loop);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEAN(str) char *path = xasprintf("%s/%s", f->top, names[i]);

		(void)unlink(path);
	}
	const int r = rmdir(f->top);

	free(f->top);
	free(f->path);
	free(f);
	return r;
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	*(bool *)timer->data = true;
}

/* Runs the loop until *counter has reached the value. */
static void wait_for(struct fixture *f, const int *counter, int value)
{
	bool late = false;
	ev_timer deadline;

	ev_timer_init(&deadline, on_deadline, DEADLINE_S, 0.);
	deadline.data = &late;
	ev_timer_start(f->loop, &deadline);
	while (*counter < value && !late)
		ev_run(f->loop, EVRUN_ONCE);
	ev_timer_stop(f->loop, &deadline);
	assert_true(*counter >= value);
}

/* Lets everything that is under way be seen. */
static void settle(struct fixture *f)
{
	bool over = false;
	ev_timer timer;

	ev_timer_init(&timer, on_deadline, 0.1, 0.);
	timer.data = &over;
	ev_timer_start(f->loop, &timer);
	while (!over)
		ev_run(f->loop, EVRUN_ONCE);
}

static void wish_init(struct hosts_wish *wish, const struct hosts_owner *who, int64_t sequence,
		      size_t workers)
{
	*wish = (struct hosts_wish){ .epoch = 1, .sequence = sequence };
	for (size_t k = 0; k < workers; k++)
		names_set(&wish->names, CATALOGUE_WORKER, k, who->zone, "10.0.0.7");
}

static void wish(struct fixture *f, int64_t sequence, size_t workers)
{
	struct hosts_wish one;
	struct err err;

	wish_init(&one, &owner, sequence, workers);
	if (hosts_file_wish(f->file, &one, &err) < 0)
		fail_msg("%s", err.msg);
	names_fini(&one.names);
	assert_int_equal(hosts_file_state(f->file), HOSTS_FILE_CURRENT);
}

static void assert_holds(const char *path, const struct hosts_owner *who, int64_t sequence,
			 size_t workers)
{
	CLEAN(str) char *text = get_file(path);
	CLEAN(hosts_block) struct hosts_block block = { 0 };

	hosts_block_parse(text, strlen(text), who, &block);
	if (!block.intact)
		fail_msg("%s", block.damage ? block.damage : "no block");
	assert_int_equal(block.sequence, sequence);
	for (size_t k = 0; k < workers; k++) {
		char name[NAMES_NAME_SIZE];
		bool found = false;

		names_format(CATALOGUE_WORKER, k, who->zone, name);
		for (size_t i = 0; i < block.len && !found; i++)
			found = str_eq(block.lines[i].name, name);
		assert_true(found);
	}
}

static ino_t inode(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* ---- tests ---- */

static void a_wish_is_on_disk_when_the_call_returns(void **state)
{
	struct fixture *f = *state;
	const ino_t before = inode(f->path);

	assert_int_equal(hosts_file_state(f->file), HOSTS_FILE_IDLE);
	wish(f, 5, 3);
	assert_holds(f->path, &owner, 5, 3);
	wish(f, 6, 200);
	assert_holds(f->path, &owner, 6, 200);
	CLEAN(str) char *text = get_file(f->path);

	assert_true(str_starts(text, FOREIGN));
	assert_int_equal(inode(f->path), before);
	/* Nobody is told of what the caller knows, and nothing is mended that is right. */
	settle(f);
	CLEAN(str) char *later = get_file(f->path);

	assert_string_equal(text, later);
	assert_int_equal(f->changes + f->mends, 0);
}

static void foreign_truncate_and_write(struct fixture *f)
{
	put_file(f->path, FOREIGN);
}

static void foreign_rename(struct fixture *f)
{
	CLEAN(str) char *fresh = xasprintf("%s.new", f->path);

	put_file(fresh, FOREIGN);
	assert_int_equal(rename(fresh, f->path), 0);
}

static void foreign_delete(struct fixture *f)
{
	assert_int_equal(unlink(f->path), 0);
}

/* As an editor that puts a line at the top: the names stay, only not aligned. */
static void foreign_line_at_the_top(struct fixture *f)
{
	CLEAN(str) char *text = get_file(f->path);
	CLEAN(str) char *edited = xasprintf("10.3.3.3 new.example\n%s", text);

	put_file(f->path, edited);
}

static void foreign_byte_in_place(struct fixture *f)
{
	CLEAN(str) char *text = get_file(f->path);
	const char *at = strstr(text, "worker-1.");
	const int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_non_null(at);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "X", 1, at - text), 1);
	assert_int_equal(close(fd), 0);
}

static void what_others_do_is_mended_at_once(void **state)
{
	static const struct {
		void (*act)(struct fixture *f);
		size_t lost;
		bool foreign_stays;
	} cases[] = {
		{ foreign_truncate_and_write, 3, true },
		{ foreign_rename, 3, true },
		{ foreign_byte_in_place, 1, true },
		{ foreign_delete, 3, false },
		{ foreign_rename, 3, true },
	};
	struct fixture *f = *state;

	wish(f, 5, 3);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cases[i].act(f);
		wait_for(f, &f->mends, (int)i + 1);
		assert_int_equal(f->lost, cases[i].lost);
		assert_holds(f->path, &owner, 5, 3);
		settle(f);
		assert_int_equal(f->mends, (int)i + 1);
		CLEAN(str) char *text = get_file(f->path);

		assert_int_equal(str_starts(text, FOREIGN), cases[i].foreign_stays);
	}
	foreign_line_at_the_top(f);
	settle(f);
	assert_holds(f->path, &owner, 5, 3);
	CLEAN(str) char *text = get_file(f->path);

	assert_true(str_starts(text, "10.3.3.3 new.example\n" FOREIGN));
	assert_int_equal(f->mends, (int)ARRAY_LEN(cases));
	assert_int_equal(f->changes, 0);
}

static void a_held_lock_is_waited_for_off_the_call(void **state)
{
	struct fixture *f = *state;
	struct hosts_wish one;
	struct err err;
	const int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(flock(fd, LOCK_EX), 0);
	wish_init(&one, &owner, 5, 3);
	assert_int_equal(hosts_file_wish(f->file, &one, &err), -EAGAIN);
	assert_non_null(strstr(err.msg, "lock"));
	assert_int_equal(hosts_file_state(f->file), HOSTS_FILE_WAITING);
	settle(f);
	assert_int_equal(f->changes, 0);
	assert_int_equal(close(fd), 0);
	wait_for(f, &f->changes, 1);
	assert_int_equal(f->state, HOSTS_FILE_CURRENT);
	assert_holds(f->path, &owner, 5, 3);
	/* New names are no mended gap. */
	assert_int_equal(f->mends, 0);
	names_fini(&one.names);
}

/* Three daemons: two of one cluster, one of another; all see all changes. */
static void daemons_share_a_file(void **state)
{
	struct fixture *f = *state;
	struct hosts_file *second = open_as(f, &owner);
	struct hosts_file *other = open_as(f, &neighbour);
	struct hosts_wish behind, theirs;

	wish_init(&behind, &owner, 4, 5);
	wish_init(&theirs, &neighbour, 9, 40);
	wish(f, 5, 3);
	assert_int_equal(hosts_file_wish(second, &behind, NULL), 0);
	assert_int_equal(hosts_file_wish(other, &theirs, NULL), 0);
	wish(f, 6, 90);
	settle(f);
	assert_holds(f->path, &owner, 6, 90);
	assert_holds(f->path, &neighbour, 9, 40);
	foreign_truncate_and_write(f);
	wait_for(f, &f->mends, 2);
	settle(f);
	/* Whoever came first: the newer one's block stands in the end. */
	assert_holds(f->path, &owner, 6, 90);
	assert_holds(f->path, &neighbour, 9, 40);
	CLEAN(str) char *text = get_file(f->path);

	assert_true(str_starts(text, FOREIGN));
	settle(f);
	CLEAN(str) char *later = get_file(f->path);

	assert_string_equal(text, later);
	names_fini(&behind.names);
	names_fini(&theirs.names);
	hosts_file_free(second);
	hosts_file_free(other);
}

static void clashes_are_shown(void **state)
{
	struct fixture *f = *state;

	put_file(f->path, "10.0.0.9 worker-1.cms.internal\n");
	wish(f, 5, 3);
	assert_int_equal(hosts_file_clashes(f->file)->len, 1);
	assert_string_equal(hosts_file_clashes(f->file)->items[0],
			    "worker-1.cms.internal (line 1)");
	put_file(f->path, FOREIGN);
	wait_for(f, &f->mends, 1);
	assert_int_equal(hosts_file_clashes(f->file)->len, 0);
}

static void the_block_can_be_taken_out(void **state)
{
	struct fixture *f = *state;
	CLEAN(hosts_block) struct hosts_block block = { 0 };

	wish(f, 5, 3);
	hosts_file_free(steal(f->file));
	assert_int_equal(hosts_file_remove(f->path, &owner, NULL), 0);
	CLEAN(str) char *text = get_file(f->path);

	assert_true(str_starts(text, FOREIGN));
	assert_null(strstr(text, "worker"));
	hosts_block_parse(text, strlen(text), &owner, &block);
	assert_false(block.found);
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(hosts_file_remove(f->path, &owner, NULL), 0);
	put_file(f->path, FOREIGN);
}

/* ---- mounts ---- */

/* In a child with its own mounts; skipped without root. */
static void in_own_mounts(struct fixture *f, void (*act)(struct fixture *f))
{
	if (geteuid() != 0) {
		print_message("needs root: skipped\n");
		skip();
	}
	const pid_t child = fork();

	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(77);
		act(f);
		_exit(0);
	}
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no mount namespace to be had: skipped\n");
		skip();
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* cmocka's assertions jump to the parent's test: in a child they would go on with it. */
static void must(bool good, const char *what)
{
	if (good)
		return;
	(void)fprintf(stderr, "%s\n", what);
	_exit(1);
}

static void in_a_read_only_mount(struct fixture *f)
{
	struct hosts_wish one;
	struct err err = { 0 };

	must(mount(f->path, f->path, NULL, MS_BIND, NULL) == 0, "bind");
	must(mount(NULL, f->path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0, "remount");
	wish_init(&one, &owner, 5, 3);
	must(hosts_file_wish(f->file, &one, &err) == -EROFS, "-EROFS");
	must(strstr(err.msg, "is read-only: mount it writable") && strstr(err.msg, "--names off"),
	     err.msg);
	must(hosts_file_state(f->file) == HOSTS_FILE_FAILED, "failed");
	must(hosts_file_remove(f->path, &owner, &err) == -EROFS, "removal");
	must(mount(NULL, f->path, NULL, MS_BIND | MS_REMOUNT, NULL) == 0, "writable again");
	wait_for(f, &f->changes, 1);
	must(f->state == HOSTS_FILE_CURRENT, "current");
	_exit(0);
}

static void a_read_only_file_is_refused_until_it_is_writable(void **state)
{
	in_own_mounts(*state, in_a_read_only_mount);
}

/* As in a container: the file is a mount, which cannot be renamed over. */
static void in_a_bind_mount(struct fixture *f)
{
	CLEAN(str) char *source = xasprintf("%s/other", f->top);
	CLEAN(str) char *fresh = xasprintf("%s.new", f->path);

	put_file(source, FOREIGN);
	put_file(fresh, FOREIGN);
	must(mount(source, f->path, NULL, MS_BIND, NULL) == 0, "bind");
	must(rename(fresh, f->path) < 0 && errno == EBUSY, "cannot be renamed over");
	for (size_t n = 3; n < 200; n += 60)
		wish(f, (int64_t)n, n);
	wish(f, 500, 3);
	assert_holds(source, &owner, 500, 3);
	/* The host rewrites its side. */
	put_file(source, FOREIGN);
	wait_for(f, &f->mends, 1);
	assert_holds(source, &owner, 500, 3);
	_exit(0);
}

static void a_bind_mounted_file_is_written_in_place(void **state)
{
	in_own_mounts(*state, in_a_bind_mount);
}

static void as_a_user(struct fixture *f)
{
	struct hosts_wish one;
	struct err err = { 0 };

	must(chmod(f->top, 0755) == 0 && setresuid(65534, 65534, 65534) == 0, "user");
	wish_init(&one, &owner, 5, 3);
	must(hosts_file_wish(f->file, &one, &err) == -EACCES, "-EACCES");
	must(strstr(err.msg, "may not be written by this user") && strstr(err.msg, "--names off"),
	     err.msg);
	_exit(0);
}

static void a_file_of_others_is_refused(void **state)
{
	in_own_mounts(*state, as_a_user);
}

/* ---- two that undo each other's ---- */

static int undone;

static void on_idle(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct fixture *f = timer->data;
	CLEAN(str) char *text = get_file(f->path);

	(void)loop;
	(void)events;
	if (str_eq(text, FOREIGN))
		return;
	undone++;
	put_file(f->path, FOREIGN);
}

static void an_opponent_does_not_keep_us_busy(void **state)
{
	struct fixture *f = *state;
	ev_timer opponent;
	const int64_t begin = clock_now_ms();

	wish(f, 5, 3);
	ev_timer_init(&opponent, on_idle, 0.0005, 0.0005);
	opponent.data = f;
	ev_timer_start(f->loop, &opponent);
	for (int i = 0; i < 5; i++)
		settle(f);
	ev_timer_stop(f->loop, &opponent);
	assert_true(undone > 0);
	/* Fifty a second, and what begins or ends in the midst of one. */
	assert_true(f->mends <= 51 * (2 + (clock_now_ms() - begin) / 1000));
	/* And in the end ours stands. */
	wait_for(f, &f->mends, f->mends + 1);
	settle(f);
	assert_holds(f->path, &owner, 5, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_wish_is_on_disk_when_the_call_returns),
		TEST(what_others_do_is_mended_at_once),
		TEST(a_held_lock_is_waited_for_off_the_call),
		TEST(daemons_share_a_file),
		TEST(clashes_are_shown),
		TEST(the_block_can_be_taken_out),
		TEST(a_read_only_file_is_refused_until_it_is_writable),
		TEST(a_bind_mounted_file_is_written_in_place),
		TEST(a_file_of_others_is_refused),
		TEST(an_opponent_does_not_keep_us_busy),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
