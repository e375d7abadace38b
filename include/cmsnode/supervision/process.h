/* SPDX-License-Identifier: MIT */
/*
 * One child process in a session and process group of its own: started, seen
 * ending (pidfd), signalled as a group, reaped. It knows nothing about units.
 */
#ifndef CMSNODE_SUPERVISION_PROCESS_H
#define CMSNODE_SUPERVISION_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ev_loop;
struct err;
struct process;

/* What to execute. Everything is borrowed during process_start() only. */
struct process_spec {
	const char *const *argv; /* argv[0] is the program's path; NULL-terminated */
	const char *const *env; /* the whole environment; NULL-terminated */
	int output_fd; /* becomes standard output and error; -1 = /dev/null */
	int slot_fd; /* becomes descriptor 3, the only one above 2; -1 = none */
	bool drop_user; /* become uid, gid and groups */
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t groups_len;
};

#define PROCESS_REASON_SIZE 512

struct process_events {
	/* The program was executed. Not called when that failed. */
	void (*executed)(void *ctx);
	/*
	 * The process was reaped and nothing is left of its group. `reason` is
	 * "exit status 1", "signal KILL" or "cannot execute /x: No such file or
	 * directory"; `executed` is false in the last case only. Called once;
	 * process_free() may be called from within.
	 */
	void (*exited)(void *ctx, bool executed, const char *reason);
	void *ctx;
};

/* NULL and err if there is no process at all (no descriptors, no processes left). */
struct process *process_start(struct ev_loop *loop, const struct process_spec *spec,
			      const struct process_events *events, struct err *err);

/* KILL to what is left, waits up to 2 s to reap it; no event is called any more. NULL is fine. */
void process_free(struct process *process);

pid_t process_pid(const struct process *process);

/* To the whole group. 0, or a negated errno: -ESRCH when nothing is left of it. */
int process_signal_group(struct process *process, int signal);

#endif
