/* SPDX-License-Identifier: MIT */
/*
 * One child process. Owns the fork, what the child does until execve(), the
 * pidfd and the reaping. Between fork and execve only async-signal-safe calls
 * are allowed (the daemon has threads), so run_child() uses nothing that
 * allocates or locks. A process id is used for signals only while the process
 * is not reaped or its group still exists, so no stranger is ever hit.
 */
#include "cmsnode/supervision/process.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"

#define FD_SLOT 3 /* the child's descriptors above standard error */
#define FD_REPORT 4
#define GROUP_POLL_S 0.01
#define GROUP_WAIT_MS 2000 /* for the rest of a killed group to go away */
#define REAP_WAIT_MS 2000

/* What the child was doing when it failed; in the order of run_child(). */
enum child_step {
	CHILD_SESSION,
	CHILD_FILES,
	CHILD_DIRECTORY,
	CHILD_GROUPS,
	CHILD_GROUP,
	CHILD_USER,
	CHILD_EXEC
};

static const char *const step_names[] = {
	[CHILD_SESSION] = "make a session for",
	[CHILD_FILES] = "set up the descriptors of",
	[CHILD_DIRECTORY] = "change to the root directory for",
	[CHILD_GROUPS] = "set the supplementary groups for",
	[CHILD_GROUP] = "change to the service group for",
	[CHILD_USER] = "change to the service user for",
	[CHILD_EXEC] = "execute",
};

struct child_report {
	int32_t step;
	int32_t error;
};

/* What the child needs beside the spec. The descriptors are above FD_REPORT; -1 = none. */
struct child_setup {
	int null;
	int output;
	int slot;
	int report;
	int highest_signal; /* none above it has to be reset */
	int owned[4]; /* those of them that were made for this start */
	size_t owned_len;
};

static void clean_child_setup(struct child_setup *setup)
{
	for (size_t i = 0; i < setup->owned_len; i++)
		(void)close(setup->owned[i]);
}

struct process {
	struct ev_loop *loop;
	struct process_events events;
	pid_t pid;
	int pidfd;
	int report_fd; /* -1 once the program was executed or has failed to be */
	bool reaped;
	bool executed;
	ev_io on_exit;
	ev_io on_report;
	ev_timer on_group; /* polls until the group is empty */
	int64_t reaped_ms;
	char *path;
	char reason[PROCESS_REASON_SIZE];
};

/* In the child */

static _Noreturn void fail_child(enum child_step step)
{
	const struct child_report report = { .step = (int32_t)step, .error = errno };

	(void)!write(FD_REPORT, &report, sizeof(report));
	_exit(127);
}

static void reset_signals(int highest)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	for (int i = 1; i <= highest; i++)
		(void)sigaction(i, &action, NULL); /* fails for KILL, STOP and libc's own */
}

/* Descriptors above FD_REPORT, which itself is closed by execve(). */
static void close_others(void)
{
	if (syscall(SYS_close_range, FD_REPORT + 1, ~0U, 0) == 0)
		return;
	/*
	 * Kernels and sandboxes without close_range(); all of the daemon's own are close-on-
	 * exec anyway.
	 */
	for (int fd = FD_REPORT + 1; fd < 4096; fd++)
		(void)close(fd);
}

/* 0 or -1. Nothing that is still needed lies on the descriptors that are replaced here. */
static int arrange_files(const struct child_setup *setup)
{
	const int output = setup->output >= 0 ? setup->output : setup->null;

	if (dup2(setup->null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(output, STDERR_FILENO) < 0)
		return -1;
	if (setup->slot >= 0)
		return dup2(setup->slot, FD_SLOT) < 0 ? -1 : 0;
	(void)close(FD_SLOT);
	return 0;
}

static void drop_user(const struct process_spec *spec)
{
	/* The bare calls: libc's own synchronise with threads that do not exist here. */
	if (syscall(SYS_setgroups, spec->groups_len, spec->groups) < 0)
		fail_child(CHILD_GROUPS);
	if (syscall(SYS_setresgid, spec->gid, spec->gid, spec->gid) < 0)
		fail_child(CHILD_GROUP);
	if (syscall(SYS_setresuid, spec->uid, spec->uid, spec->uid) < 0)
		fail_child(CHILD_USER);
}

/* Signals are blocked on entry. */
static _Noreturn void run_child(const struct process_spec *spec, const struct child_setup *setup)
{
	sigset_t none;

	if (dup3(setup->report, FD_REPORT, O_CLOEXEC) < 0)
		_exit(127);
	if (setsid() < 0)
		fail_child(CHILD_SESSION);
	if (arrange_files(setup) < 0)
		fail_child(CHILD_FILES);
	close_others();
	reset_signals(setup->highest_signal);
	(void)umask(022);
	if (chdir("/") < 0)
		fail_child(CHILD_DIRECTORY);
	if (spec->drop_user)
		drop_user(spec);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(spec->argv[0], (char *const *)spec->argv, (char *const *)spec->env);
	fail_child(CHILD_EXEC);
}

/* In the daemon */

/*
 * vfork: the daemon's page tables are not copied (its libraries map a lot), which
 * is a third of the time from a death to the replacement. The child borrows our
 * memory until execve() or _exit(), so run_child() writes nothing but locals and
 * errno. A signal meanwhile would run the daemon's handlers in the child: blocked
 * until they are reset. The kernel marks memory whose process changes its user as
 * not dumpable, which keeps that user's processes from tracing the child while it
 * still has ours; afterwards the mark is taken off the daemon again.
 */
static pid_t fork_child(const struct process_spec *spec, const struct child_setup *setup)
{
	sigset_t all;
	sigset_t old;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	const pid_t pid = vfork();
	if (pid == 0)
		run_child(spec, setup);
	const int saved = errno;

	if (spec->drop_user)
		(void)prctl(PR_SET_DUMPABLE, 1);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	return pid;
}

static void wait_blocking(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

/*
 * A descriptor that the child's own would replace is copied out of their way;
 * the daemon's are nearly always beyond them. -1 stays -1. 0 or a negated errno.
 */
static int take_file(struct child_setup *setup, int fd, int *ret)
{
	if (fd < 0 || fd > FD_REPORT) {
		*ret = fd;
		return 0;
	}
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, FD_REPORT + 1);
	if (*ret < 0)
		return -errno;
	setup->owned[setup->owned_len++] = *ret;
	return 0;
}

/*
 * Its one copy is made for the daemon's life: opening it anew costs each restart
 * more than the rest of this.
 */
static int open_null(void)
{
	static int null_fd = -1;

	if (null_fd < 0) {
		CLEAN(fd) int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		null_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FD_REPORT + 1);
	}
	return null_fd;
}

/*
 * Real-time signals are not used here and can only have been inherited as
 * ignored, so asking once is enough; resetting them all takes as long as the
 * rest of the child.
 */
static int highest_signal_changed(void)
{
	static int highest;
	struct sigaction action;

	if (highest)
		return highest;
	for (highest = NSIG - 1; highest >= SIGRTMIN; highest--)
		if (sigaction(highest, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			return highest;
	return highest;
}

static int prepare_child(struct child_setup *setup, const struct process_spec *spec, int report_fd)
{
	setup->highest_signal = highest_signal_changed();
	setup->null = open_null();
	if (setup->null < 0)
		return -errno;
	int r = take_file(setup, spec->output_fd, &setup->output);
	if (r == 0)
		r = take_file(setup, spec->slot_fd, &setup->slot);
	if (r == 0)
		r = take_file(setup, report_fd, &setup->report);
	return r;
}

static int open_pidfd(struct process *process, pid_t pid, const char *path, struct err *err)
{
	process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process->pidfd >= 0)
		return 0;
	const int r = err_errno(err, -errno,
				"cannot open a pidfd for %s (Linux 5.3 or later is needed)", path);

	(void)kill(pid, SIGKILL);
	wait_blocking(pid);
	return r;
}

/* Fills pid, pidfd and report_fd of the process. */
static int spawn(struct process *process, const struct process_spec *spec, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(err, -errno, "cannot make a pipe to start %s", spec->argv[0]);
	CLEAN(fd) int read_end = ends[0];
	CLEAN(fd) int write_end = ends[1];
	CLEAN(child_setup) struct child_setup setup = { 0 };
	const int r = prepare_child(&setup, spec, write_end);
	if (r < 0)
		return err_errno(err, r, "cannot prepare the descriptors to start %s",
				 spec->argv[0]);
	const pid_t pid = fork_child(spec, &setup);
	if (pid < 0)
		return err_errno(err, -errno, "cannot fork to start %s", spec->argv[0]);
	if (open_pidfd(process, pid, spec->argv[0], err) < 0)
		return -1;
	process->pid = pid;
	process->report_fd = read_end;
	read_end = -1;
	return 0;
}

static void close_report(struct process *process)
{
	ev_io_stop(process->loop, &process->on_report);
	if (process->report_fd >= 0)
		(void)close(process->report_fd);
	process->report_fd = -1;
}

/* What the child told: nothing yet, the end of file (executed), or its failure. */
static void read_report(struct process *process)
{
	struct child_report report;

	if (process->report_fd < 0)
		return;
	const ssize_t n = read(process->report_fd, &report, sizeof(report));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close_report(process);
	if (n == (ssize_t)sizeof(report) && report.step >= 0 &&
	    report.step < (int32_t)ARRAY_LEN(step_names)) {
		(void)snprintf(process->reason, sizeof(process->reason), "cannot %s %s: %s",
			       step_names[report.step], process->path, strerror(report.error));
		return;
	}
	process->executed = true;
	if (process->events.executed)
		process->events.executed(process->events.ctx);
}

static void on_report(struct ev_loop *loop, ev_io *w, int revents)
{
	(void)loop;
	(void)revents;
	read_report(w->data);
}

static void describe_end(struct process *process, const siginfo_t *info)
{
	char *reason = process->reason;

	if (!process->executed && *reason)
		return;
	if (info->si_code == CLD_EXITED) {
		(void)snprintf(reason, PROCESS_REASON_SIZE, "exit status %d", info->si_status);
		return;
	}
	const char *name = sigabbrev_np(info->si_status);
	const char *core = info->si_code == CLD_DUMPED ? " (core dumped)" : "";

	if (name)
		(void)snprintf(reason, PROCESS_REASON_SIZE, "signal %s%s", name, core);
	else
		(void)snprintf(reason, PROCESS_REASON_SIZE, "signal %d%s", info->si_status, core);
}

/* "<pid> (<name>) <state> <parent> <group> ..."; the name may hold anything. */
static bool is_alive_in_group(const char *pid_name, pid_t group)
{
	char path[300];
	char text[512];
	char state;
	long of_group;

	(void)snprintf(path, sizeof(path), "/proc/%s/stat", pid_name);
	CLEAN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	const ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	const char *end = strrchr(text, ')');
	return end && sscanf(end + 1, " %c %*d %ld", &state, &of_group) == 2 && of_group == group &&
	       state != 'Z' && state != 'X';
}

/* kill() counts zombies too, and an init that reaps late or never must not hold a restart back. */
static bool group_is_alive(pid_t group)
{
	DIR *dir = opendir("/proc");
	bool alive = false;

	if (!dir)
		return true;
	for (const struct dirent *entry = readdir(dir); entry && !alive; entry = readdir(dir))
		alive = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			is_alive_in_group(entry->d_name, group);
	(void)closedir(dir);
	return alive;
}

/* Whether nothing is left of the group; those of it that are our children are reaped on the way. */
static bool group_is_empty(const struct process *process)
{
	siginfo_t info;

	do
		info.si_pid = 0;
	while (waitid(P_PGID, (id_t)process->pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid);
	return kill(-process->pid, 0) < 0 && errno == ESRCH;
}

static void tell_exit(struct process *process)
{
	ev_timer_stop(process->loop, &process->on_group);
	process->events.exited(process->events.ctx, process->executed, process->reason);
}

static void on_group(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct process *process = w->data;

	(void)loop;
	(void)revents;
	const bool empty = group_is_empty(process) || !group_is_alive(process->pid);
	if (!empty && clock_now_ms() - process->reaped_ms < GROUP_WAIT_MS)
		return;
	if (!empty)
		log_warning(
			"supervision",
			"what '%s' (pid %ld) left behind does not end although killed, ignoring",
			process->path, (long)process->pid);
	tell_exit(process);
}

/*
 * The leader is a zombie until waitid(), so its number cannot belong to anybody
 * else while the rest of the group is killed.
 */
static bool reap(struct process *process, siginfo_t *info)
{
	info->si_pid = 0;
	if (waitid(P_PIDFD, (id_t)process->pidfd, info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    !info->si_pid)
		return false;
	(void)kill(-process->pid, SIGKILL);
	(void)waitid(P_PIDFD, (id_t)process->pidfd, info, WEXITED | WNOHANG);
	process->reaped = true;
	return true;
}

static void on_exit_seen(struct ev_loop *loop, ev_io *w, int revents)
{
	struct process *process = w->data;
	siginfo_t info;

	(void)revents;
	if (!reap(process, &info))
		return;
	ev_io_stop(loop, w);
	read_report(process);
	close_report(process);
	describe_end(process, &info);
	if (group_is_empty(process)) {
		tell_exit(process);
		return;
	}
	process->reaped_ms = clock_now_ms();
	ev_timer_again(loop, &process->on_group);
}

static void watch(struct process *process)
{
	ev_io_init(&process->on_exit, on_exit_seen, process->pidfd, EV_READ);
	ev_io_init(&process->on_report, on_report, process->report_fd, EV_READ);
	ev_timer_init(&process->on_group, on_group, 0.0, GROUP_POLL_S);
	process->on_exit.data = process;
	process->on_report.data = process;
	process->on_group.data = process;
	ev_io_start(process->loop, &process->on_exit);
	ev_io_start(process->loop, &process->on_report);
}

struct process *process_start(struct ev_loop *loop, const struct process_spec *spec,
			      const struct process_events *events, struct err *err)
{
	struct process *process = xcalloc(1, sizeof(*process));

	assert(spec->argv[0] && events->exited);
	process->loop = loop;
	process->events = *events;
	process->pidfd = -1;
	process->report_fd = -1;
	if (spawn(process, spec, err) < 0) {
		free(process);
		return NULL;
	}
	process->path = xstrdup(spec->argv[0]);
	watch(process);
	return process;
}

/* Bounded: a process in uninterruptible sleep must not keep the daemon from ending. */
static void kill_and_reap(struct process *process)
{
	const int64_t until_ms = clock_now_ms() + REAP_WAIT_MS;
	siginfo_t info;

	if (process_signal_group(process, SIGKILL) < 0)
		return;
	while (!process->reaped && !reap(process, &info)) {
		const int64_t left_ms = until_ms - clock_now_ms();
		if (left_ms <= 0)
			return;
		struct pollfd fd = { .fd = process->pidfd, .events = POLLIN };

		(void)poll(&fd, 1, (int)left_ms);
	}
	(void)group_is_empty(process);
}

void process_free(struct process *process)
{
	if (!process)
		return;
	ev_io_stop(process->loop, &process->on_exit);
	ev_timer_stop(process->loop, &process->on_group);
	close_report(process);
	if (!process->reaped)
		kill_and_reap(process);
	(void)close(process->pidfd);
	free(process->path);
	free(process);
}

pid_t process_pid(const struct process *process)
{
	return process->pid;
}

int process_signal_group(struct process *process, int signal)
{
	/*
	 * While the child has no session yet the group does not exist: then to the process
	 * itself.
	 */
	if (kill(-process->pid, signal) == 0)
		return 0;
	if (errno != ESRCH || process->reaped)
		return -errno;
	return syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}
