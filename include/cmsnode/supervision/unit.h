/* SPDX-License-Identifier: MIT */
/*
 * The state machine of one unit (the local process that fills a slot). Pure:
 * events and the present time in, actions out.
 *
 *             want & gate open                    echo answers
 *   waiting ────────────────────> starting ──────────────────────> running
 *      ^                             │  ^                          │    │ ^
 *      │ want                  exit  │  │ delay over         exit  │    │ │ echo answers
 *      │                             v  │                          │    v │
 *   stopped <──────── exit ────── backoff <──────────────────── unhealthy
 *      ^                             (also: exec failed)         exit
 *      │ exit
 *   stopping <──── unwant, disable or restart asked: from starting, running, unhealthy
 *      (TERM to the group, KILL after the grace; a restart goes on to waiting)
 *
 *   disabled: wanted by nobody for a stated reason; want = waiting
 *
 * What the drawing leaves out:
 * - A process that ends by itself goes to starting directly, without backoff,
 *   when the restart policy says "at once" (it was running and lasted).
 * - starting becomes unhealthy as well when the first echo is missing too long.
 * - A unit without RPC is never asked: it is running when it was executed and
 *   is 1 s old.
 * - backoff: unwant = stopped, disable = disabled, restart asked = waiting.
 * - stopping remembers what was asked last (want, unwant, disable, restart) and
 *   goes there once the process is gone.
 */
#ifndef CMSNODE_SUPERVISION_UNIT_H
#define CMSNODE_SUPERVISION_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/supervision/restart_policy.h"

enum unit_state {
	UNIT_WAITING,
	UNIT_STARTING,
	UNIT_RUNNING,
	UNIT_UNHEALTHY,
	UNIT_BACKOFF,
	UNIT_STOPPING,
	UNIT_STOPPED,
	UNIT_DISABLED,
	UNIT_STATES,
};

const char *unit_state_name(enum unit_state state); /* as in `status --json` */

enum unit_event {
	UNIT_WANT, /* it shall run */
	UNIT_UNWANT, /* it shall not run here any more */
	UNIT_DISABLE, /* it shall not run for a stated reason */
	UNIT_GATE_OPEN, /* nothing that starts before it is in the way */
	UNIT_SPAWNED, /* the program was executed */
	UNIT_SPAWN_FAILED, /* no process, or none that got to its program */
	UNIT_ECHO_ANSWERED,
	UNIT_ECHO_MISSING, /* no answer for three intervals */
	UNIT_EXITED, /* the process and its group are gone */
	UNIT_DELAY_OVER, /* the timer, in any state but stopping */
	UNIT_GRACE_OVER, /* the timer in stopping, or somebody hurries */
	UNIT_RESTART_ASKED,
	UNIT_EVENTS,
};

enum unit_action_kind {
	/* start the process; answer with UNIT_SPAWNED or UNIT_SPAWN_FAILED */
	UNIT_ACTION_START,
	UNIT_ACTION_TERM, /* TERM to the process group */
	UNIT_ACTION_KILL, /* KILL to the process group */
	/* the one timer of the unit, `ms` from now; replaces an armed one */
	UNIT_ACTION_ARM_TIMER,
	UNIT_ACTION_CANCEL_TIMER,
	UNIT_ACTION_REPORT, /* the state has changed from `from` */
};

struct unit_action {
	enum unit_action_kind kind;
	int64_t ms; /* UNIT_ACTION_ARM_TIMER */
	enum unit_state from; /* UNIT_ACTION_REPORT */
};

#define UNIT_ACTIONS_MAX 8

/* What one step asks for, to be done in this order. */
struct unit_actions {
	struct unit_action items[UNIT_ACTIONS_MAX];
	size_t len;
};

/* Read freely; only unit.c writes (has_rpc and grace_ms may be set between steps). */
struct unit {
	enum unit_state state;
	enum unit_state after_stop; /* where stopping leads: waiting, stopped or disabled */
	bool has_rpc; /* it answers echo */
	int64_t grace_ms; /* from TERM to KILL */
	int64_t since_ms; /* when the present state began */
	int64_t started_ms; /* when the last start was asked for */
	int64_t delay_ms; /* what the restart policy said last */
	unsigned int restarts; /* starts after the first that were not asked for */
	bool was_running; /* since the last start */
	bool spawn_failed; /* the last start made no process */
	struct restart_policy policy;
};

/* A unit that is stopped and wanted by nobody. */
void unit_init(struct unit *unit, bool has_rpc, int64_t grace_ms, int64_t now_ms);

/*
 * One event. `random` is uniform over 32 bits and used only when a delay is
 * chosen. *ret is overwritten; it stays empty where the event means nothing in
 * the present state, which is never an error.
 */
void unit_step(struct unit *unit, enum unit_event event, int64_t now_ms, uint32_t random,
	       struct unit_actions *ret);

#endif
