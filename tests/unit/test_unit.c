/* SPDX-License-Identifier: MIT */
/*
 * The unit's state machine: every cell of [state][event] against what the
 * drawing in unit.h says, then whole lives as event scripts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/supervision/unit.h"

#define NOW 100000
#define GRACE 5000

/* One letter per action, in order: S start, T term, K kill, A arm, C cancel, R report. */
static void format_actions(const struct unit_actions *actions, char *ret)
{
	static const char letters[] = {
		[UNIT_ACTION_START] = 'S',	  [UNIT_ACTION_TERM] = 'T',
		[UNIT_ACTION_KILL] = 'K',	  [UNIT_ACTION_ARM_TIMER] = 'A',
		[UNIT_ACTION_CANCEL_TIMER] = 'C', [UNIT_ACTION_REPORT] = 'R',
	};

	for (size_t i = 0; i < actions->len; i++)
		*ret++ = letters[actions->items[i].kind];
	*ret = '\0';
}

struct cell {
	const char *actions; /* NULL: the event means nothing here */
	enum unit_state to;
};

#define TO(state, actions)     \
	{                      \
		actions, state \
	}

/* The unit has RPC, started 10 s ago and is to stay stopped once it stopped. */
static const struct cell cells[UNIT_STATES][UNIT_EVENTS] = {
	[UNIT_WAITING] = {
		[UNIT_UNWANT] = TO(UNIT_STOPPED, "R"),
		[UNIT_DISABLE] = TO(UNIT_DISABLED, "R"),
		[UNIT_GATE_OPEN] = TO(UNIT_STARTING, "SR"),
	},
	[UNIT_STARTING] = {
		[UNIT_UNWANT] = TO(UNIT_STOPPING, "TAR"),
		[UNIT_DISABLE] = TO(UNIT_STOPPING, "TAR"),
		[UNIT_SPAWNED] = TO(UNIT_STARTING, ""),
		[UNIT_SPAWN_FAILED] = TO(UNIT_BACKOFF, "CAR"),
		[UNIT_ECHO_ANSWERED] = TO(UNIT_RUNNING, "R"),
		[UNIT_ECHO_MISSING] = TO(UNIT_UNHEALTHY, "R"),
		[UNIT_EXITED] = TO(UNIT_BACKOFF, "CAR"),
		[UNIT_DELAY_OVER] = TO(UNIT_STARTING, ""),
		[UNIT_RESTART_ASKED] = TO(UNIT_STOPPING, "TAR"),
	},
	[UNIT_RUNNING] = {
		[UNIT_UNWANT] = TO(UNIT_STOPPING, "TAR"),
		[UNIT_DISABLE] = TO(UNIT_STOPPING, "TAR"),
		[UNIT_ECHO_MISSING] = TO(UNIT_UNHEALTHY, "R"),
		[UNIT_EXITED] = TO(UNIT_STARTING, "CSR"),
		[UNIT_RESTART_ASKED] = TO(UNIT_STOPPING, "TAR"),
	},
	[UNIT_UNHEALTHY] = {
		[UNIT_UNWANT] = TO(UNIT_STOPPING, "TAR"),
		[UNIT_DISABLE] = TO(UNIT_STOPPING, "TAR"),
		[UNIT_ECHO_ANSWERED] = TO(UNIT_RUNNING, "R"),
		[UNIT_EXITED] = TO(UNIT_STARTING, "CSR"),
		[UNIT_RESTART_ASKED] = TO(UNIT_STOPPING, "TAR"),
	},
	[UNIT_BACKOFF] = {
		[UNIT_UNWANT] = TO(UNIT_STOPPED, "CR"),
		[UNIT_DISABLE] = TO(UNIT_DISABLED, "CR"),
		[UNIT_DELAY_OVER] = TO(UNIT_STARTING, "SR"),
		[UNIT_RESTART_ASKED] = TO(UNIT_WAITING, "CR"),
	},
	[UNIT_STOPPING] = {
		[UNIT_SPAWN_FAILED] = TO(UNIT_STOPPED, "CR"),
		[UNIT_EXITED] = TO(UNIT_STOPPED, "CR"),
		[UNIT_GRACE_OVER] = TO(UNIT_STOPPING, "KA"),
	},
	[UNIT_STOPPED] = {
		[UNIT_WANT] = TO(UNIT_WAITING, "R"),
		[UNIT_DISABLE] = TO(UNIT_DISABLED, "R"),
	},
	[UNIT_DISABLED] = {
		[UNIT_WANT] = TO(UNIT_WAITING, "R"),
		[UNIT_UNWANT] = TO(UNIT_STOPPED, "R"),
	},
};

static void check_cell(enum unit_state state, enum unit_event event)
{
	const struct cell *cell = &cells[state][event];
	const enum unit_state expected = cell->actions ? cell->to : state;
	struct unit unit;
	struct unit_actions actions;
	char text[UNIT_ACTIONS_MAX + 1];

	unit_init(&unit, true, GRACE, NOW - 20000);
	unit.state = state;
	unit.started_ms = NOW - 10000;
	unit.was_running = state != UNIT_STARTING;
	unit_step(&unit, event, NOW, 0, &actions);
	format_actions(&actions, text);
	if (unit.state != expected || strcmp(text, cell->actions ? cell->actions : "") != 0)
		fail_msg("%s, event %d: %s, actions '%s'", unit_state_name(state), event,
			 unit_state_name(unit.state), text);
	if (unit.state != state)
		assert_int_equal(unit.since_ms, NOW);
}

static void test_every_cell(void **state)
{
	(void)state;
	for (int s = 0; s < UNIT_STATES; s++)
		for (int e = 0; e < UNIT_EVENTS; e++)
			check_cell((enum unit_state)s, (enum unit_event)e);
}

static void test_names(void **state)
{
	static const char *const names[] = { "waiting", "starting", "running", "unhealthy",
					     "backoff", "stopping", "stopped", "disabled" };

	(void)state;
	for (int s = 0; s < UNIT_STATES; s++)
		assert_string_equal(unit_state_name((enum unit_state)s), names[s]);
}

struct line {
	int64_t at_ms;
	enum unit_event event;
	enum unit_state state;
	const char *actions;
	int64_t timer_ms; /* of the armed timer, if one was */
};

static void play(struct unit *unit, const struct line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct unit_actions actions;
		char text[UNIT_ACTIONS_MAX + 1];

		unit_step(unit, lines[i].event, NOW + lines[i].at_ms, UINT32_MAX, &actions);
		format_actions(&actions, text);
		if (unit->state != lines[i].state || strcmp(text, lines[i].actions) != 0)
			fail_msg("line %zu: %s, actions '%s'", i, unit_state_name(unit->state),
				 text);
		for (size_t k = 0; k < actions.len; k++)
			if (actions.items[k].kind == UNIT_ACTION_ARM_TIMER)
				assert_int_equal(actions.items[k].ms, lines[i].timer_ms);
	}
}

static const struct line crashes_soon[] = {
	{ 0, UNIT_WANT, UNIT_WAITING, "R", 0 },
	{ 10, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 12, UNIT_SPAWNED, UNIT_STARTING, "", 0 },
	{ 300, UNIT_EXITED, UNIT_BACKOFF, "CAR", 200 },
	{ 500, UNIT_DELAY_OVER, UNIT_STARTING, "SR", 0 },
	{ 800, UNIT_EXITED, UNIT_BACKOFF, "CAR", 400 },
	{ 1200, UNIT_DELAY_OVER, UNIT_STARTING, "SR", 0 },
	{ 2000, UNIT_ECHO_ANSWERED, UNIT_RUNNING, "R", 0 },
	{ 9000, UNIT_EXITED, UNIT_STARTING, "CSR", 0 },
	{ 9100, UNIT_SPAWN_FAILED, UNIT_BACKOFF, "CAR", 800 },
	{ 9200, UNIT_RESTART_ASKED, UNIT_WAITING, "CR", 0 }, /* asked for: the past is forgotten */
	{ 9200, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 9300, UNIT_EXITED, UNIT_BACKOFF, "CAR", 200 },
	{ 9350, UNIT_UNWANT, UNIT_STOPPED, "CR", 0 },
};

static const struct line failing_exec[] = {
	{ 0, UNIT_WANT, UNIT_WAITING, "R", 0 },
	{ 0, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 5000, UNIT_SPAWN_FAILED, UNIT_BACKOFF, "CAR",
	  200 }, /* a slow failure is a failure all the same */
	{ 5200, UNIT_DISABLE, UNIT_DISABLED, "CR", 0 },
	{ 5300, UNIT_UNWANT, UNIT_STOPPED, "R", 0 },
};

static const struct line stops_hard[] = {
	{ 0, UNIT_WANT, UNIT_WAITING, "R", 0 },
	{ 0, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 100, UNIT_UNWANT, UNIT_STOPPING, "TAR", GRACE },
	{ 200, UNIT_SPAWNED, UNIT_STOPPING, "", 0 },
	{ 300, UNIT_ECHO_ANSWERED, UNIT_STOPPING, "", 0 },
	{ 5100, UNIT_GRACE_OVER, UNIT_STOPPING, "KA", 2000 },
	{ 7100, UNIT_GRACE_OVER, UNIT_STOPPING, "KA", 2000 },
	{ 7200, UNIT_EXITED, UNIT_STOPPED, "CR", 0 },
};

static const struct line last_word_while_stopping[] = {
	{ 0, UNIT_WANT, UNIT_WAITING, "R", 0 },
	{ 0, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 100, UNIT_RESTART_ASKED, UNIT_STOPPING, "TAR", GRACE },
	{ 110, UNIT_RESTART_ASKED, UNIT_STOPPING, "", 0 },
	{ 200, UNIT_EXITED, UNIT_WAITING, "CR", 0 },
	{ 200, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 300, UNIT_RESTART_ASKED, UNIT_STOPPING, "TAR", GRACE },
	{ 310, UNIT_DISABLE, UNIT_STOPPING, "", 0 },
	{ 320, UNIT_EXITED, UNIT_DISABLED, "CR", 0 },
	{ 330, UNIT_DISABLE, UNIT_DISABLED, "", 0 },
	{ 340, UNIT_WANT, UNIT_WAITING, "R", 0 },
	{ 340, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 350, UNIT_DISABLE, UNIT_STOPPING, "TAR", GRACE },
	{ 360, UNIT_WANT, UNIT_STOPPING, "", 0 },
	{ 370, UNIT_EXITED, UNIT_WAITING, "CR", 0 },
	{ 370, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 380, UNIT_RESTART_ASKED, UNIT_STOPPING, "TAR", GRACE },
	{ 390, UNIT_UNWANT, UNIT_STOPPING, "", 0 },
	{ 400, UNIT_EXITED, UNIT_STOPPED, "CR", 0 },
};

static const struct line without_rpc[] = {
	{ 0, UNIT_WANT, UNIT_WAITING, "R", 0 },
	{ 0, UNIT_GATE_OPEN, UNIT_STARTING, "SR", 0 },
	{ 5, UNIT_SPAWNED, UNIT_STARTING, "A", 1000 },
	{ 1005, UNIT_DELAY_OVER, UNIT_RUNNING, "R", 0 },
	{ 2000, UNIT_EXITED, UNIT_STARTING, "CSR", 0 },
};

static void test_scripts(void **state)
{
	static const struct {
		const struct line *lines;
		size_t n;
		bool has_rpc;
		unsigned int restarts;
	} scripts[] = {
		{ crashes_soon, ARRAY_LEN(crashes_soon), true, 3 },
		{ failing_exec, ARRAY_LEN(failing_exec), true, 0 },
		{ stops_hard, ARRAY_LEN(stops_hard), true, 0 },
		{ last_word_while_stopping, ARRAY_LEN(last_word_while_stopping), true, 0 },
		{ without_rpc, ARRAY_LEN(without_rpc), false, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		struct unit unit;

		unit_init(&unit, scripts[i].has_rpc, GRACE, NOW);
		play(&unit, scripts[i].lines, scripts[i].n);
		assert_int_equal(unit.restarts, scripts[i].restarts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_scripts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
