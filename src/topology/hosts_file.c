/* SPDX-License-Identifier: MIT */
/*
 * The hosts file kept as wished. Reads without the lock; only when something
 * is to be written does it take the lock, read again, write in place. Never
 * renames, never truncates, never waits for the lock on the loop. A file that is
 * right is not even opened for writing: each close after writing wakes
 * everybody who watches, ourselves included.
 */
#include "cmsnode/topology/hosts_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define LOCK_RETRY_S 0.02
#define FAILED_RETRY_S 5.
#define LOOK_ANYWAY_S 60. /* a mount over the file is something that inotify does not see */
#define WRITER_GRACE_S 0.02 /* for one that has truncated the file and is about to fill it */
#define REMOVE_WAIT_MS 2000
#define REPLACED_ATTEMPTS 5 /* the file may be renamed away between our open and our lock */
/* Two that undo each other's writes must not do only that. */
#define FLURRY_MAX 50
#define FLURRY_MS 1000

#define DONE_WITH (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)
#define FILE_MASK (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define DIRECTORY_MASK (DONE_WITH | IN_CREATE | IN_ATTRIB | IN_ONLYDIR)

struct hosts_file {
	struct ev_loop *loop;
	char *path, *directory, *base;
	struct hosts_owner owner;
	struct hosts_file_events events;
	struct hosts_wish wish;
	enum hosts_file_state state;
	bool complete; /* every name of the wish has been in the file */
	struct str_list clashes;
	int inotify, file_watch, directory_watch;
	ev_io changes;
	ev_timer again;
	int64_t told_ms; /* when a change was seen that is not dealt with; 0 = none */
	int64_t flurry_ms;
	int flurry;
};

/* ---- one pass over the file -------------------------------------------- */

struct pass {
	size_t lost; /* names that were missing */
	bool wrote;
};

static int read_fd(int fd, struct buf *ret)
{
	char chunk[16384];
	ssize_t n;

	do {
		n = pread(fd, chunk, sizeof(chunk), (off_t)ret->len);
		if (n > 0 && buf_add(ret, chunk, (size_t)n) < 0)
			return -E2BIG;
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

static int fail(const char *path, int r, struct err *err)
{
	switch (-r) {
	case EROFS:
		return err_set(err, r,
			       "%s is read-only: mount it writable (with Docker, without :ro), or "
			       "run with --names off",
			       path);
	case EACCES:
	case EPERM:
		return err_set(err, r,
			       "%s may not be written by this user, or is immutable (lsattr): run "
			       "as root, make it writable, or run with --names off",
			       path);
	case E2BIG:
		return err_set(err, r,
			       "%s is larger than %d bytes: make it smaller, or run with "
			       "--names off",
			       path, HOSTS_BLOCK_FILE_MAX);
	default:
		return err_errno(err, r, "%s", path);
	}
}

static int write_all(int fd, const struct hosts_writes *writes)
{
	for (size_t i = 0; i < writes->len; i++) {
		const struct hosts_write *write = &writes->items[i];
		const ssize_t n = pwrite(fd, write->text, write->len, (off_t)write->offset);

		if (n < 0)
			return -errno;
		/* Only a full disk cuts a write; what was written is mended later. */
		if ((size_t)n < write->len)
			return -ENOSPC;
	}
	return writes->len && fdatasync(fd) < 0 ? -errno : 0;
}

static bool is_at(const char *path, int fd)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 && stat(path, &named) == 0 &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* A descriptor for writing with the lock held; -EAGAIN = somebody else has it. */
static int open_locked(const char *path, bool make)
{
	for (int i = 0; i < REPLACED_ATTEMPTS; i++) {
		CLEAN(fd) int fd = open(path, O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0644);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
		if (is_at(path, fd)) {
			const int locked = fd;

			fd = -1;
			return locked;
		}
	}
	return -EAGAIN;
}

static int plan(struct hosts_file *file, const struct buf *text, struct hosts_writes *ret,
		struct err *err)
{
	const int r = hosts_block_plan(buf_str(text), text->len, &file->owner, &file->wish,
				       (int64_t)clock_wall_s(), ret, err);

	str_list_copy(&file->clashes, &ret->clashes);
	return r;
}

/* Reads without the lock. 0: all is well; 1: there is something to write. */
static int look(struct hosts_file *file, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(HOSTS_BLOCK_FILE_MAX);
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	CLEAN(fd) int fd = open(file->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 1 : fail(file->path, -errno, err);
	int r = read_fd(fd, &text);
	if (r < 0)
		return fail(file->path, r, err);
	r = plan(file, &text, &writes, err);
	return r < 0 ? r : writes.len > 0;
}

static int mend(struct hosts_file *file, struct pass *ret, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(HOSTS_BLOCK_FILE_MAX);
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	CLEAN(fd) int fd = open_locked(file->path, true);
	if (fd == -EAGAIN)
		return err_set(err, -EAGAIN, "%s: another process holds the lock", file->path);
	if (fd < 0)
		return fail(file->path, fd, err);
	int r = read_fd(fd, &text);
	if (r < 0)
		return fail(file->path, r, err);
	r = plan(file, &text, &writes, err);
	if (r < 0)
		return r;
	r = write_all(fd, &writes);
	if (r < 0)
		return fail(file->path, r, err);
	*ret = (struct pass){ .lost = writes.lost, .wrote = writes.len > 0 };
	return 0;
}

/* ---- watching ---------------------------------------------------------- */

/* Again after each change: the file may be another one now, or back. Same inode: same watch. */
static void watch(struct hosts_file *file)
{
	const int fresh = inotify_add_watch(file->inotify, file->path, FILE_MASK);

	if (fresh != file->file_watch && file->file_watch >= 0)
		(void)inotify_rm_watch(file->inotify, file->file_watch);
	file->file_watch = fresh;
	file->directory_watch = inotify_add_watch(file->inotify, file->directory, DIRECTORY_MASK);
}

static void wake_in(struct hosts_file *file, double seconds)
{
	ev_timer_stop(file->loop, &file->again);
	ev_timer_set(&file->again, seconds, 0.);
	ev_timer_start(file->loop, &file->again);
}

/* ---- keeping it so ----------------------------------------------------- */

static bool is_flurry(struct hosts_file *file)
{
	const int64_t now = clock_now_ms();

	if (now - file->flurry_ms > FLURRY_MS) {
		file->flurry_ms = now;
		file->flurry = 0;
	}
	return file->flurry > FLURRY_MAX;
}

static void set_state(struct hosts_file *file, enum hosts_file_state state)
{
	static const double next_look[] = { [HOSTS_FILE_IDLE] = LOOK_ANYWAY_S,
					    [HOSTS_FILE_CURRENT] = LOOK_ANYWAY_S,
					    [HOSTS_FILE_WAITING] = LOCK_RETRY_S,
					    [HOSTS_FILE_FAILED] = FAILED_RETRY_S };

	file->state = state;
	wake_in(file, next_look[state]);
}

/* Looks, mends, and sets the state. */
static int bring_about(struct hosts_file *file, struct pass *ret, struct err *err)
{
	*ret = (struct pass){ 0 };
	watch(file);
	int r = look(file, err);
	if (r > 0)
		r = mend(file, ret, err);
	/* It was made just now. */
	if (r == 0 && file->file_watch < 0)
		watch(file);
	set_state(file, r == 0	     ? HOSTS_FILE_CURRENT :
			r == -EAGAIN ? HOSTS_FILE_WAITING :
				       HOSTS_FILE_FAILED);
	return r;
}

static void tell(struct hosts_file *file, enum hosts_file_state before, const struct pass *pass,
		 const struct err *err)
{
	const bool was_complete = file->complete;
	const int64_t took_ms = clock_now_ms() - file->told_ms;

	if (file->state == HOSTS_FILE_CURRENT) {
		file->told_ms = 0;
		file->complete = true;
	}
	if (was_complete && pass->lost && file->events.mended)
		file->events.mended(file->events.ctx, pass->lost, took_ms);
	if (file->state != before && file->events.changed)
		file->events.changed(file->events.ctx, file->state, err);
}

static void check(struct hosts_file *file)
{
	const enum hosts_file_state before = file->state;
	struct err err = { 0 };
	struct pass pass;

	if (before == HOSTS_FILE_IDLE)
		return;
	if (!file->told_ms)
		file->told_ms = clock_now_ms();
	if (is_flurry(file)) {
		wake_in(file, FLURRY_MS / 1000.);
		return;
	}
	(void)bring_about(file, &pass, &err);
	file->flurry += pass.wrote;
	tell(file, before, &pass, &err);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	check(timer->data);
}

/* Is it about our file, and is the one who wrote it done? */
static bool concerns(const struct hosts_file *file, const struct inotify_event *event,
		     bool *ret_done)
{
	const bool by_name = event->wd == file->directory_watch;

	if (event->mask & IN_Q_OVERFLOW) {
		*ret_done = true;
		return true;
	}
	if (by_name && (!event->len || strcmp(event->name, file->base) != 0))
		return false;
	*ret_done |= (event->mask & (DONE_WITH | IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
	return true;
}

static bool read_changes(struct hosts_file *file, bool *ret_done)
{
	char buffer[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool ours = false;

	*ret_done = false;
	for (;;) {
		const ssize_t n = read(file->inotify, buffer, sizeof(buffer));
		if (n <= 0)
			return ours;
		for (const char *at = buffer; at < buffer + n;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			ours |= concerns(file, event, ret_done);
			at += sizeof(*event) + event->len;
		}
	}
}

static void on_changes(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct hosts_file *file = watcher->data;
	bool done;

	(void)loop;
	(void)events;
	if (!read_changes(file, &done) || file->state == HOSTS_FILE_IDLE)
		return;
	if (!file->told_ms)
		file->told_ms = clock_now_ms();
	if (done)
		check(file);
	else if (ev_timer_remaining(file->loop, &file->again) > WRITER_GRACE_S)
		wake_in(file, WRITER_GRACE_S);
}

/* ---- the door ---------------------------------------------------------- */

static void split_path(struct hosts_file *file, const char *path)
{
	char *real = realpath(path, NULL);
	CLEAN(str) char *for_directory = xstrdup(real ? real : path);
	CLEAN(str) char *for_base = xstrdup(for_directory);

	file->path = xstrdup(path);
	file->directory = xstrdup(dirname(for_directory));
	file->base = xstrdup(basename(for_base));
	free(real);
}

struct hosts_file *hosts_file_new(struct ev_loop *loop, const char *path,
				  const struct hosts_owner *owner,
				  const struct hosts_file_events *events, struct err *err)
{
	const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0) {
		(void)err_errno(err, -errno, "cannot watch %s (fs.inotify.max_user_instances?)",
				path);
		return NULL;
	}
	struct hosts_file *file = xcalloc(1, sizeof(*file));

	file->loop = loop;
	file->owner = *owner;
	file->events = *events;
	file->inotify = fd;
	file->file_watch = -1;
	split_path(file, path);
	ev_io_init(&file->changes, on_changes, fd, EV_READ);
	file->changes.data = file;
	ev_io_start(loop, &file->changes);
	ev_timer_init(&file->again, on_again, LOOK_ANYWAY_S, 0.);
	file->again.data = file;
	watch(file);
	return file;
}

void hosts_file_free(struct hosts_file *file)
{
	if (!file)
		return;
	ev_io_stop(file->loop, &file->changes);
	ev_timer_stop(file->loop, &file->again);
	(void)close(file->inotify);
	names_fini(&file->wish.names);
	str_list_fini(&file->clashes);
	free(file->path);
	free(file->directory);
	free(file->base);
	free(file);
}

int hosts_file_wish(struct hosts_file *file, const struct hosts_wish *wish, struct err *err)
{
	struct pass pass;
	struct name *items = xmemdup(wish->names.items, wish->names.len * sizeof(*items));

	names_fini(&file->wish.names);
	file->wish = *wish;
	file->wish.names = (struct names){ items, wish->names.len, wish->names.len };
	file->complete = false;
	const int r = bring_about(file, &pass, err);

	file->complete = r == 0;
	return r;
}

enum hosts_file_state hosts_file_state(const struct hosts_file *file)
{
	return file->state;
}

const struct str_list *hosts_file_clashes(const struct hosts_file *file)
{
	return &file->clashes;
}

int hosts_file_remove(const char *path, const struct hosts_owner *owner, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(HOSTS_BLOCK_FILE_MAX);
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	const int64_t deadline = clock_now_ms() + REMOVE_WAIT_MS;
	CLEAN(fd) int fd = open_locked(path, false);

	while (fd == -EAGAIN && clock_now_ms() < deadline) {
		(void)poll(NULL, 0, 20);
		fd = open_locked(path, false);
	}
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fail(path, fd, err);
	int r = read_fd(fd, &text);
	if (r == 0) {
		hosts_block_plan_removal(buf_str(&text), text.len, owner, &writes);
		r = write_all(fd, &writes);
	}
	return r < 0 ? fail(path, r, err) : 0;
}
