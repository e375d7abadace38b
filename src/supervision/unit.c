/* SPDX-License-Identifier: MIT */
/*
 * The state machine of one unit: a table [state][event] of small functions. It
 * decides and never acts: no process, clock or timer is touched here. The state
 * has one writer, unit_set_state().
 */
#include "cmsnode/supervision/unit.h"

#include <assert.h>

#include "cmsnode/base/mem.h"

#define SETTLED_MS 1000 /* a unit without RPC is running when it is so old */
#define SPAWN_RETRY_MS 2000 /* at the latest; the unit was not even executed */
#define KILL_AGAIN_MS 2000 /* a killed group that does not go away is killed and reported again */

/* What a cell works on: the unit, the moment and the list to fill. */
struct step {
	struct unit *unit;
	int64_t now_ms;
	uint32_t random;
	struct unit_actions *actions;
};

typedef void unit_cell(struct step *step);

static const char *const state_names[UNIT_STATES] = {
	[UNIT_WAITING] = "waiting",	[UNIT_STARTING] = "starting", [UNIT_RUNNING] = "running",
	[UNIT_UNHEALTHY] = "unhealthy", [UNIT_BACKOFF] = "backoff",   [UNIT_STOPPING] = "stopping",
	[UNIT_STOPPED] = "stopped",	[UNIT_DISABLED] = "disabled",
};

const char *unit_state_name(enum unit_state state)
{
	assert(state < UNIT_STATES);
	return state_names[state];
}

static void act(struct step *step, struct unit_action action)
{
	assert(step->actions->len < UNIT_ACTIONS_MAX);
	step->actions->items[step->actions->len++] = action;
}

static void unit_set_state(struct step *step, enum unit_state state)
{
	const enum unit_state from = step->unit->state;

	if (from == state)
		return;
	step->unit->state = state;
	step->unit->since_ms = step->now_ms;
	act(step, (struct unit_action){ .kind = UNIT_ACTION_REPORT, .from = from });
}

/* START goes before REPORT: whoever reports shall not delay the start. */
static void start(struct step *step)
{
	step->unit->started_ms = step->now_ms;
	step->unit->since_ms = step->now_ms;
	step->unit->was_running = false;
	act(step, (struct unit_action){ .kind = UNIT_ACTION_START });
	unit_set_state(step, UNIT_STARTING);
}

static void start_again(struct step *step)
{
	/* An attempt that made no process was no start. */
	if (!step->unit->spawn_failed)
		step->unit->restarts++;
	step->unit->spawn_failed = false;
	start(step);
}

static void arm(struct step *step, int64_t ms)
{
	act(step, (struct unit_action){ .kind = UNIT_ACTION_ARM_TIMER, .ms = ms });
}

static void cancel(struct step *step)
{
	act(step, (struct unit_action){ .kind = UNIT_ACTION_CANCEL_TIMER });
}

static void begin_stop(struct step *step, enum unit_state after_stop)
{
	step->unit->after_stop = after_stop;
	act(step, (struct unit_action){ .kind = UNIT_ACTION_TERM });
	arm(step, step->unit->grace_ms);
	unit_set_state(step, UNIT_STOPPING);
}

/* Without a process */

static void become_wanted(struct step *step)
{
	restart_policy_reset(&step->unit->policy);
	unit_set_state(step, UNIT_WAITING);
}

static void become_stopped(struct step *step)
{
	unit_set_state(step, UNIT_STOPPED);
}

static void become_disabled(struct step *step)
{
	unit_set_state(step, UNIT_DISABLED);
}

static void backoff_unwanted(struct step *step)
{
	cancel(step);
	unit_set_state(step, UNIT_STOPPED);
}

static void backoff_disabled(struct step *step)
{
	cancel(step);
	unit_set_state(step, UNIT_DISABLED);
}

static void backoff_restart_asked(struct step *step)
{
	cancel(step);
	become_wanted(step);
}

/* With a process */

static void stop_unwanted(struct step *step)
{
	begin_stop(step, UNIT_STOPPED);
}

static void stop_disabled(struct step *step)
{
	begin_stop(step, UNIT_DISABLED);
}

static void stop_to_restart(struct step *step)
{
	begin_stop(step, UNIT_WAITING);
}

static void wait_until_settled(struct step *step)
{
	if (!step->unit->has_rpc)
		arm(step, SETTLED_MS);
}

static void become_running(struct step *step)
{
	step->unit->was_running = true;
	unit_set_state(step, UNIT_RUNNING);
}

static void settle(struct step *step)
{
	if (!step->unit->has_rpc)
		become_running(step);
}

static void become_unhealthy(struct step *step)
{
	unit_set_state(step, UNIT_UNHEALTHY);
}

/* The process ended though nobody asked. */
static void ended(struct step *step)
{
	struct unit *unit = step->unit;

	unit->delay_ms = restart_policy_delay(&unit->policy, unit->was_running, unit->started_ms,
					      step->now_ms, step->random);
	cancel(step);
	/* What was in the way (a held slot, a missing program) may go any moment. */
	if (unit->spawn_failed && unit->delay_ms > SPAWN_RETRY_MS)
		unit->delay_ms = SPAWN_RETRY_MS;
	if (unit->delay_ms == 0) {
		start_again(step);
		return;
	}
	arm(step, unit->delay_ms);
	unit_set_state(step, UNIT_BACKOFF);
}

/* However long the attempt took, it did not run: never tried again at once. */
static void spawn_failed(struct step *step)
{
	step->unit->started_ms = step->now_ms;
	step->unit->spawn_failed = true;
	ended(step);
}

/* Stopping */

static void stopping_wanted(struct step *step)
{
	step->unit->after_stop = UNIT_WAITING;
}

static void stopping_unwanted(struct step *step)
{
	step->unit->after_stop = UNIT_STOPPED;
}

static void stopping_disabled(struct step *step)
{
	step->unit->after_stop = UNIT_DISABLED;
}

static void kill_group(struct step *step)
{
	act(step, (struct unit_action){ .kind = UNIT_ACTION_KILL });
	arm(step, KILL_AGAIN_MS);
}

static void stopped(struct step *step)
{
	cancel(step);
	restart_policy_reset(&step->unit->policy);
	unit_set_state(step, step->unit->after_stop);
}

/* An event whose cell is left out means nothing in that state. */
static unit_cell *const cells[UNIT_STATES][UNIT_EVENTS] = {
	[UNIT_WAITING] = {
		[UNIT_UNWANT] = become_stopped,
		[UNIT_DISABLE] = become_disabled,
		[UNIT_GATE_OPEN] = start,
	},
	[UNIT_STARTING] = {
		[UNIT_UNWANT] = stop_unwanted,
		[UNIT_DISABLE] = stop_disabled,
		[UNIT_SPAWNED] = wait_until_settled,
		[UNIT_SPAWN_FAILED] = spawn_failed,
		[UNIT_ECHO_ANSWERED] = become_running,
		[UNIT_ECHO_MISSING] = become_unhealthy,
		[UNIT_EXITED] = ended,
		[UNIT_DELAY_OVER] = settle,
		[UNIT_RESTART_ASKED] = stop_to_restart,
	},
	[UNIT_RUNNING] = {
		[UNIT_UNWANT] = stop_unwanted,
		[UNIT_DISABLE] = stop_disabled,
		[UNIT_ECHO_MISSING] = become_unhealthy,
		[UNIT_EXITED] = ended,
		[UNIT_RESTART_ASKED] = stop_to_restart,
	},
	[UNIT_UNHEALTHY] = {
		[UNIT_UNWANT] = stop_unwanted,
		[UNIT_DISABLE] = stop_disabled,
		[UNIT_ECHO_ANSWERED] = become_running,
		[UNIT_EXITED] = ended,
		[UNIT_RESTART_ASKED] = stop_to_restart,
	},
	[UNIT_BACKOFF] = {
		[UNIT_UNWANT] = backoff_unwanted,
		[UNIT_DISABLE] = backoff_disabled,
		[UNIT_DELAY_OVER] = start_again,
		[UNIT_RESTART_ASKED] = backoff_restart_asked,
	},
	[UNIT_STOPPING] = {
		[UNIT_WANT] = stopping_wanted,
		[UNIT_UNWANT] = stopping_unwanted,
		[UNIT_DISABLE] = stopping_disabled,
		[UNIT_SPAWN_FAILED] = stopped,
		[UNIT_EXITED] = stopped,
		[UNIT_GRACE_OVER] = kill_group,
	},
	[UNIT_STOPPED] = {
		[UNIT_WANT] = become_wanted,
		[UNIT_DISABLE] = become_disabled,
	},
	[UNIT_DISABLED] = {
		[UNIT_WANT] = become_wanted,
		[UNIT_UNWANT] = become_stopped,
	},
};

void unit_init(struct unit *unit, bool has_rpc, int64_t grace_ms, int64_t now_ms)
{
	*unit = (struct unit){
		.state = UNIT_STOPPED,
		.after_stop = UNIT_STOPPED,
		.has_rpc = has_rpc,
		.grace_ms = grace_ms,
		.since_ms = now_ms,
	};
}

void unit_step(struct unit *unit, enum unit_event event, int64_t now_ms, uint32_t random,
	       struct unit_actions *ret)
{
	struct step step = { .unit = unit, .now_ms = now_ms, .random = random, .actions = ret };

	assert(unit->state < UNIT_STATES && event < UNIT_EVENTS);
	unit_cell *cell = cells[unit->state][event];

	ret->len = 0;
	if (cell)
		cell(&step);
}
