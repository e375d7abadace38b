/* SPDX-License-Identifier: MIT */
/*
 * Reaps orphans. Looks before it takes (WNOWAIT), because a unit's end belongs to
 * its pidfd; must never wait for a pid that somebody else waits for.
 */
#include "cmsnode/supervision/reaper.h"

#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "cmsnode/base/mem.h"

/* A unit that ended hides what ended after it until its pidfd was served. */
#define LOOK_AGAIN_S 0.05

struct reaper {
	struct ev_loop *loop;
	ev_signal on_child;
	ev_timer again;
	bool (*is_ours)(void *ctx, pid_t pid);
	void *ctx;
};

static void reap(struct reaper *reaper)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
			return;
		if (reaper->is_ours(reaper->ctx, info.si_pid)) {
			ev_timer_again(reaper->loop, &reaper->again);
			return;
		}
		(void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
	}
}

static void on_child(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)loop;
	(void)revents;
	reap(w->data);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	ev_timer_stop(loop, w);
	reap(w->data);
}

struct reaper *reaper_new(struct ev_loop *loop, bool (*is_ours)(void *ctx, pid_t pid), void *ctx)
{
	struct reaper *reaper = xcalloc(1, sizeof(*reaper));

	reaper->loop = loop;
	reaper->is_ours = is_ours;
	reaper->ctx = ctx;
	ev_signal_init(&reaper->on_child, on_child, SIGCHLD);
	reaper->on_child.data = reaper;
	ev_timer_init(&reaper->again, on_again, LOOK_AGAIN_S, LOOK_AGAIN_S);
	reaper->again.data = reaper;
	ev_signal_start(loop, &reaper->on_child);
	return reaper;
}

void reaper_free(struct reaper *reaper)
{
	if (!reaper)
		return;
	ev_signal_stop(reaper->loop, &reaper->on_child);
	ev_timer_stop(reaper->loop, &reaper->again);
	free(reaper);
}
