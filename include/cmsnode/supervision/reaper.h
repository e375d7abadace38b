/* SPDX-License-Identifier: MIT */
/*
 * The duty of PID 1 of a container: whatever lost its parent becomes our child,
 * and stays a zombie until it is reaped. The units themselves are left to their
 * pidfds.
 */
#ifndef CMSNODE_SUPERVISION_REAPER_H
#define CMSNODE_SUPERVISION_REAPER_H

#include <stdbool.h>
#include <sys/types.h>

struct ev_loop;
struct reaper;

/* Reaps from the loop on, on SIGCHLD. `is_ours` says which pids somebody else waits for. */
struct reaper *reaper_new(struct ev_loop *loop, bool (*is_ours)(void *ctx, pid_t pid), void *ctx);
void reaper_free(struct reaper *reaper);	/* NULL is fine */

#endif
