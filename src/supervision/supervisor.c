/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: brings the wanted units and the processes together. Owns the
 * list of units, the gate (LogService first) and the orderly stop; what a unit
 * does next is decided in unit.c alone. Must never block and never keep a
 * unit's slot socket. Units and events are freed and told from on_notify(),
 * never while something of theirs is on the stack.
 */
#include "cmsnode/supervision/supervisor.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/supervision/health.h"
#include "cmsnode/supervision/output.h"
#include "cmsnode/supervision/process.h"
#include "cmsnode/supervision/slot_socket.h"

#define GATE_S 1.0 /* the others wait no longer for the one that starts first */

/* A copy of unit_spec that lives. */
struct wanted {
	char **argv;
	char **env;
	char *generation;
	char *rpc_host;
	int rpc_port;
	bool starts_first;
	char *disabled;
};

struct member {
	struct supervisor *supervisor;
	struct member *next;
	char *service;
	int shard;
	char *label; /* "Worker-0" */
	char *output; /* path */
	int output_fd; /* -1: not open */
	struct wanted wanted;
	struct unit unit;
	struct process *process; /* NULL: none */
	struct health *health; /* NULL: not asked */
	ev_timer on_timer; /* the unit's timer */
	char *generation; /* of the running process */
	char *last_exit; /* of an end that nobody asked for */
	bool trim_failed;
	char *end_reason; /* of the last end, for the log and the output */
	long ended_pid; /* whose end its output does not tell yet; 0: none */
	char *note; /* why it waits */
	char *refusal; /* why the last start made no process; NULL: it did */
	double since; /* epoch */
	unsigned long start_number; /* order of starts */
	bool accepting; /* its port accepted since it was started */
	bool kill_sent;
	bool ask_restart; /* by the present supervisor_apply() */
	bool in_apply; /* named by the present supervisor_apply() */
	bool forgotten; /* to be freed when stopped */
};

struct supervisor {
	struct ev_loop *loop;
	struct supervisor_settings settings;
	gid_t *groups;
	struct supervisor_events events;
	struct member *members; /* those that start first come first */
	ev_timer on_notify; /* tells what changed, in the next turn */
	ev_timer on_gate;
	ev_timer on_check; /* of the output files' size */
	ev_timer on_budget;
	unsigned long starts;
	bool stopping;
	bool stopped_told;
};

static void feed(struct member *member, enum unit_event event);

/* Small things */

static void replace(char **to, char *text)
{
	free(*to);
	*to = text;
}

static char **copy_list(const char *const *list)
{
	size_t n = 0;

	while (list[n])
		n++;
	char **copy = xcalloc(n + 1, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(list[i]);
	return copy;
}

static void free_list(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static void wanted_fini(struct wanted *wanted)
{
	free_list(wanted->argv);
	free_list(wanted->env);
	free(wanted->generation);
	free(wanted->rpc_host);
	free(wanted->disabled);
	*wanted = (struct wanted){ 0 };
}

static void wanted_copy(struct wanted *wanted, const struct unit_spec *spec)
{
	wanted_fini(wanted);
	*wanted = (struct wanted){
		.argv = copy_list(spec->argv),
		.env = copy_list(spec->env),
		.generation = xstrdup(spec->generation),
		.rpc_host = xstrdup(spec->rpc_host),
		.rpc_port = spec->rpc_port,
		.starts_first = spec->starts_first,
		.disabled = xstrdup(spec->disabled),
	};
}

static const char *generation_or_none(const char *generation)
{
	return generation ? generation : "none";
}

static double running_s(const struct member *member)
{
	return (double)(clock_now_ms() - member->unit.started_ms) / 1000.0;
}

/* Told in the next turn of the loop, once however much happens in this one. */
static void notify(struct supervisor *supervisor)
{
	if (ev_is_active(&supervisor->on_notify))
		return;
	ev_timer_set(&supervisor->on_notify, 0.0, 0.0);
	ev_timer_start(supervisor->loop, &supervisor->on_notify);
}

/* The gate */

/* Whether a unit that starts first keeps the others waiting. */
static bool holds_gate(const struct member *member)
{
	if (!member->wanted.starts_first || member->forgotten)
		return false;
	switch (member->unit.state) {
	case UNIT_WAITING:
		return true;
	case UNIT_STARTING:
		return !member->accepting && running_s(member) < GATE_S;
	case UNIT_STOPPING:
		return member->unit.after_stop == UNIT_WAITING;
	case UNIT_RUNNING:
	case UNIT_UNHEALTHY:
	case UNIT_BACKOFF:
	case UNIT_STOPPED:
	case UNIT_DISABLED:
	case UNIT_STATES:
		return false;
	}
	return false;
}

static const struct member *gate_holder(const struct supervisor *supervisor)
{
	for (const struct member *member = supervisor->members; member; member = member->next)
		if (holds_gate(member))
			return member;
	return NULL;
}

/* Members that start first are at the front of the list, so one pass is enough. */
static void pump_gate(struct supervisor *supervisor)
{
	for (struct member *member = supervisor->members; member; member = member->next) {
		if (member->unit.state != UNIT_WAITING)
			continue;
		const struct member *holder =
			member->wanted.starts_first ? NULL : gate_holder(supervisor);
		if (holder)
			replace(&member->note,
				xasprintf("waits for %s, which starts first", holder->label));
		else
			feed(member, UNIT_GATE_OPEN);
	}
}

static void arm_gate(struct supervisor *supervisor, double after_s)
{
	ev_timer_stop(supervisor->loop, &supervisor->on_gate);
	ev_timer_set(&supervisor->on_gate, after_s, 0.0);
	ev_timer_start(supervisor->loop, &supervisor->on_gate);
}

static void on_gate(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *supervisor = w->data;

	(void)loop;
	(void)revents;
	pump_gate(supervisor);
	/* The loop's idea of now may lag behind ours, so this may have come too early. */
	const struct member *holder = gate_holder(supervisor);
	if (holder && holder->unit.state == UNIT_STARTING)
		arm_gate(supervisor, GATE_S / 10);
}

/* Health */

static void on_accepted(void *ctx)
{
	struct member *member = ctx;

	member->accepting = true;
	pump_gate(member->supervisor);
}

static void on_answered(void *ctx)
{
	struct member *member = ctx;

	notify(member->supervisor);
	feed(member, UNIT_ECHO_ANSWERED);
}

static void on_missed(void *ctx)
{
	struct member *member = ctx;

	log_warning("supervision", "%s (pid %ld) did not answer an echo", member->label,
		    (long)process_pid(member->process));
	notify(member->supervisor);
}

static void on_missing(void *ctx)
{
	feed(ctx, UNIT_ECHO_MISSING);
}

static void start_health(struct member *member)
{
	const struct health_settings settings = {
		.host = member->wanted.rpc_host,
		.port = member->wanted.rpc_port,
		.label = member->label,
		.interval_s = member->supervisor->settings.health_interval_s,
	};
	const struct health_events events = { on_accepted, on_answered, on_missed, on_missing,
					      member };
	struct err err;

	if (!member->unit.has_rpc)
		return;
	member->health = health_new(member->supervisor->loop, &settings, &events, &err);
	if (!member->health)
		log_error("supervision", "%s is not asked for its health: %s", member->label,
			  err.msg);
}

static void stop_health(struct member *member)
{
	health_free(member->health);
	member->health = NULL;
}

/* Processes */

/* The obituary: one sentence per end, a warning if nobody asked for it. */
static void log_end(const struct member *member, bool expected, long pid, const char *generation,
		    double ran_s)
{
	const bool ran = !member->refusal;
	CLEAN(str) char *next = NULL;

	if (member->unit.state == UNIT_STARTING)
		next = xstrdup("started again at once");
	else if (member->unit.state == UNIT_BACKOFF)
		next = xasprintf("starting again in %.1f s",
				 (double)member->unit.delay_ms / 1000.0);
	else
		next = xasprintf("now %s", unit_state_name(member->unit.state));
	if (expected)
		log_info("supervision",
			 "%s (pid %ld, generation '%s') ended with %s after %.1f s, %s",
			 member->label, pid, generation, member->end_reason, ran_s, next);
	else if (ran || member->unit.state == UNIT_STARTING)
		log_warning("supervision",
			    "%s (pid %ld, generation '%s') ended unasked with %s after %.1f s, %s",
			    member->label, pid, generation, member->end_reason, ran_s, next);
	else
		log_warning("supervision", "%s (pid %ld, generation '%s') did not start: %s, %s",
			    member->label, pid, generation, member->end_reason, next);
}

/*
 * The output file stays open from one start to the next: opening it takes longer
 * than all else that a restart needs before the fork. -1: the unit runs without;
 * the reason is logged.
 */
static int member_output(struct member *member)
{
	struct err err;

	/* Somebody may have removed or renamed it. */
	if (member->output_fd >= 0 && output_is_current(member->output_fd, member->output))
		return member->output_fd;
	clean_fd(&member->output_fd);
	member->output_fd = output_open(member->output, &err);
	if (member->output_fd < 0) {
		member->output_fd = -1;
		log_warning("supervision", "the output of %s is lost: %s, ignoring", member->label,
			    err.msg);
	}
	return member->output_fd;
}

/* Into the output, before the line about the next process. */
static void note_end(struct member *member)
{
	if (member->ended_pid)
		output_note(member->output_fd, "ended pid %ld, %s", member->ended_pid,
			    member->end_reason);
	member->ended_pid = 0;
}

static bool trim_output(struct member *member);

static void on_executed(void *ctx)
{
	struct member *member = ctx;

	start_health(member);
	feed(member, UNIT_SPAWNED);
}

/* The restart comes first, the sentence about it afterwards: a contest may wait for this unit. */
static void on_exited(void *ctx, bool executed, const char *reason)
{
	struct member *member = ctx;
	const long pid = (long)process_pid(member->process);
	const bool expected = member->unit.state == UNIT_STOPPING;
	const double ran_s = running_s(member);
	CLEAN(str) char *generation = steal(member->generation);

	/* An end that was asked for says nothing: CMS's web servers then end with status 1, too. */
	replace(&member->end_reason, xstrdup(reason));
	replace(&member->last_exit, expected ? NULL : xstrdup(reason));
	const bool is_news = executed || !str_eq(member->refusal, reason);

	replace(&member->refusal, executed ? NULL : xstrdup(reason));
	member->ended_pid = pid;
	process_free(steal(member->process));
	stop_health(member);
	(void)trim_output(member);
	notify(member->supervisor);
	feed(member, executed ? UNIT_EXITED : UNIT_SPAWN_FAILED);
	note_end(member);
	if (is_news)
		log_end(member, expected, pid, generation_or_none(generation), ran_s);
}

static int open_slot(const struct member *member, int *ret, struct err *err)
{
	const char *prefix = member->supervisor->settings.slot_socket_prefix;

	*ret = -1;
	if (!prefix)
		return 0;
	*ret = slot_socket_bind(prefix, member->service, member->shard, err);
	return *ret < 0 ? *ret : 0;
}

/* The slot socket is closed here again: only the unit keeps it. */
static int start_process(struct member *member, struct err *err)
{
	const struct supervisor_settings *settings = &member->supervisor->settings;
	const struct process_events events = { on_executed, on_exited, member };
	CLEAN(fd) int slot_fd = -1;

	if (open_slot(member, &slot_fd, err) < 0)
		return -1;
	const struct process_spec spec = {
		.argv = (const char *const *)member->wanted.argv,
		.env = (const char *const *)member->wanted.env,
		.output_fd = member_output(member),
		.slot_fd = slot_fd,
		.drop_user = settings->drop_user,
		.uid = settings->uid,
		.gid = settings->gid,
		.groups = member->supervisor->groups,
		.groups_len = settings->groups_len,
	};

	/* Before the start: the new process writes as soon as it is executed. */
	note_end(member);
	output_note(member->output_fd, "starting with generation %s",
		    generation_or_none(member->wanted.generation));
	member->process = process_start(member->supervisor->loop, &spec, &events, err);
	return member->process ? 0 : -1;
}

static void start_failed(struct member *member, const char *reason)
{
	const bool is_news = !member->refusal || strcmp(member->refusal, reason) != 0;

	replace(&member->refusal, xstrdup(reason));
	feed(member, UNIT_SPAWN_FAILED);
	if (is_news)
		log_warning("supervision",
			    "cannot start %s: %s, retrying again and again, first in %.1f s",
			    member->label, reason, (double)member->unit.delay_ms / 1000.0);
}

static void act_start(struct member *member)
{
	struct supervisor *supervisor = member->supervisor;
	struct err err;

	member->accepting = false;
	member->kill_sent = false;
	member->start_number = ++supervisor->starts;
	member->since = clock_wall_s();
	notify(supervisor);
	if (start_process(member, &err) < 0) {
		start_failed(member, err.msg);
		return;
	}
	replace(&member->refusal, NULL);
	replace(&member->generation, xstrdup(member->wanted.generation));
	if (member->wanted.starts_first)
		arm_gate(supervisor, GATE_S);
	log_info("supervision", "started %s, pid %ld, generation '%s'", member->label,
		 (long)process_pid(member->process), generation_or_none(member->generation));
}

static void act_signal(struct member *member, int signal)
{
	if (!member->process)
		return;
	if (signal == SIGKILL && member->kill_sent)
		log_warning(
			"supervision",
			"%s (pid %ld) does not end although killed (state D?), killing it again",
			member->label, (long)process_pid(member->process));
	member->kill_sent = signal == SIGKILL;
	const int r = process_signal_group(member->process, signal);
	if (r < 0 && r != -ESRCH)
		log_warning("supervision", "cannot signal %s (pid %ld): %s", member->label,
			    (long)process_pid(member->process), strerror(-r));
}

/* Feeding the machine */

static char *describe_wait(const struct member *member)
{
	switch (member->unit.state) {
	case UNIT_BACKOFF:
		if (member->refusal)
			return xstrdup(member->refusal);
		return xasprintf("ended with %s; starts again %.1f s after that", member->last_exit,
				 (double)member->unit.delay_ms / 1000.0);
	case UNIT_DISABLED:
		return xstrdup(member->wanted.disabled);
	case UNIT_UNHEALTHY:
		return xstrdup("does not answer echo");
	case UNIT_WAITING:
	case UNIT_STARTING:
	case UNIT_RUNNING:
	case UNIT_STOPPING:
	case UNIT_STOPPED:
	case UNIT_STATES:
		break;
	}
	return NULL;
}

static void act_report(struct member *member, enum unit_state from)
{
	member->since = clock_wall_s();
	replace(&member->note, describe_wait(member));
	log_debug("supervision", "%s: %s -> %s", member->label, unit_state_name(from),
		  unit_state_name(member->unit.state));
	if (member->unit.state == UNIT_UNHEALTHY)
		log_warning("supervision",
			    "%s (pid %ld) is unhealthy: no echo for three intervals, leaving it",
			    member->label, (long)process_pid(member->process));
	notify(member->supervisor);
}

static void act(struct member *member, const struct unit_action *action)
{
	struct ev_loop *loop = member->supervisor->loop;

	switch (action->kind) {
	case UNIT_ACTION_START:
		act_start(member);
		return;
	case UNIT_ACTION_TERM:
		act_signal(member, SIGTERM);
		return;
	case UNIT_ACTION_KILL:
		act_signal(member, SIGKILL);
		return;
	case UNIT_ACTION_ARM_TIMER:
		ev_timer_stop(loop, &member->on_timer);
		ev_timer_set(&member->on_timer, (double)action->ms / 1000.0, 0.0);
		ev_timer_start(loop, &member->on_timer);
		return;
	case UNIT_ACTION_CANCEL_TIMER:
		ev_timer_stop(loop, &member->on_timer);
		return;
	case UNIT_ACTION_REPORT:
		act_report(member, action->from);
		return;
	}
}

static void stop_proceed(struct supervisor *supervisor);

/*
 * One event into a unit, and its actions done. A start that fails feeds again; the
 * machine answers that with a delay.
 */
static void feed(struct member *member, enum unit_event event)
{
	struct unit_actions actions;
	uint32_t random = 0;

	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	const enum unit_state from = member->unit.state;

	unit_step(&member->unit, event, clock_now_ms(), random, &actions);
	for (size_t i = 0; i < actions.len; i++)
		act(member, &actions.items[i]);
	if (member->unit.state == from)
		return;
	if (member->supervisor->stopping)
		stop_proceed(member->supervisor);
	else if (member->wanted.starts_first || member->unit.state == UNIT_WAITING)
		pump_gate(member->supervisor);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct member *member = w->data;

	(void)loop;
	(void)revents;
	feed(member, member->unit.state == UNIT_STOPPING ? UNIT_GRACE_OVER : UNIT_DELAY_OVER);
}

/* Members */

static struct member *find_member(const struct supervisor *supervisor, const char *service,
				  int shard)
{
	for (struct member *member = supervisor->members; member; member = member->next)
		if (member->shard == shard && strcmp(member->service, service) == 0)
			return member;
	return NULL;
}

/* Those that start first to the front, the others to the end. */
static void link_member(struct supervisor *supervisor, struct member *member, bool first)
{
	struct member **link = &supervisor->members;

	while (!first && *link)
		link = &(*link)->next;
	member->next = *link;
	*link = member;
}

static struct member *member_new(struct supervisor *supervisor, const struct unit_spec *spec)
{
	struct member *member = xcalloc(1, sizeof(*member));

	member->supervisor = supervisor;
	member->service = xstrdup(spec->service);
	member->shard = spec->shard;
	member->label = xasprintf("%s-%d", spec->service, spec->shard);
	member->output = output_path(supervisor->settings.output_dir, spec->service, spec->shard);
	member->output_fd = -1;
	member->since = clock_wall_s();
	unit_init(&member->unit, spec->rpc_host, (int64_t)(supervisor->settings.grace_s * 1000.0),
		  clock_now_ms());
	ev_timer_init(&member->on_timer, on_timer, 0.0, 0.0);
	member->on_timer.data = member;
	link_member(supervisor, member, spec->starts_first);
	return member;
}

static void member_free(struct member *member)
{
	ev_timer_stop(member->supervisor->loop, &member->on_timer);
	stop_health(member);
	process_free(member->process);
	clean_fd(&member->output_fd);
	wanted_fini(&member->wanted);
	free(member->service);
	free(member->label);
	free(member->output);
	free(member->generation);
	free(member->last_exit);
	free(member->end_reason);
	free(member->note);
	free(member->refusal);
	free(member);
}

static void free_forgotten(struct supervisor *supervisor)
{
	struct member **link = &supervisor->members;

	while (*link) {
		struct member *member = *link;

		if (!member->forgotten || member->process || member->unit.state != UNIT_STOPPED) {
			link = &member->next;
			continue;
		}
		*link = member->next;
		member_free(member);
	}
}

/* The wanted state */

static void take_spec(struct supervisor *supervisor, const struct unit_spec *spec)
{
	struct member *member = find_member(supervisor, spec->service, spec->shard);

	if (!member)
		member = member_new(supervisor, spec);
	/* What a unit in backoff suffers from may be cured by another generation. */
	member->ask_restart = member->unit.state == UNIT_BACKOFF &&
			      !str_eq(member->wanted.generation, spec->generation);
	/*
	 * Said of an older generation: when the new one runs already there is nothing left
	 * to do.
	 */
	if (spec->must_restart && member->process && !str_eq(member->generation, spec->generation))
		member->ask_restart = true;
	member->in_apply = true;
	member->forgotten = false;
	member->unit.has_rpc = spec->rpc_host;
	wanted_copy(&member->wanted, spec);
	if (spec->disabled && member->unit.state == UNIT_DISABLED)
		replace(&member->note, xstrdup(spec->disabled));
}

static void follow_spec(struct member *member)
{
	if (!member->in_apply) {
		member->forgotten = true;
		feed(member, UNIT_UNWANT);
	} else if (member->wanted.disabled) {
		feed(member, UNIT_DISABLE);
	} else {
		feed(member, UNIT_WANT);
		if (member->ask_restart)
			feed(member, UNIT_RESTART_ASKED);
	}
}

void supervisor_apply(struct supervisor *supervisor, const struct unit_spec *specs, size_t len)
{
	if (supervisor->stopping) {
		log_debug("supervision", "stopping: a new wanted state, ignoring");
		return;
	}
	for (struct member *member = supervisor->members; member; member = member->next)
		member->in_apply = false;
	for (size_t i = 0; i < len; i++)
		take_spec(supervisor, &specs[i]);
	/* In the list's order, so the gate is closed before anybody asks for it. */
	for (struct member *member = supervisor->members; member; member = member->next)
		follow_spec(member);
	notify(supervisor);
}

int supervisor_restart(struct supervisor *supervisor, const char *service, int shard)
{
	struct member *member = find_member(supervisor, service, shard);

	if (!member || member->forgotten || supervisor->stopping)
		return -ENOENT;
	feed(member, UNIT_RESTART_ASKED);
	return 0;
}

/* The orderly stop */

/*
 * Of those with a process that are not being stopped yet: the one started last,
 * LogService after all others.
 */
static struct member *next_to_stop(const struct supervisor *supervisor)
{
	struct member *last = NULL;

	for (struct member *member = supervisor->members; member; member = member->next) {
		if (member->wanted.starts_first || !member->process ||
		    member->unit.state == UNIT_STOPPING)
			continue;
		if (!last || member->start_number > last->start_number)
			last = member;
	}
	return last;
}

static bool any_process(const struct supervisor *supervisor, bool also_first)
{
	for (const struct member *member = supervisor->members; member; member = member->next)
		if (member->process && (also_first || !member->wanted.starts_first))
			return true;
	return false;
}

static void unwant_all(struct supervisor *supervisor, bool also_first)
{
	for (struct member *member = supervisor->members; member; member = member->next)
		if (also_first || !member->wanted.starts_first)
			feed(member, UNIT_UNWANT);
}

/*
 * After each change while stopping. Feeding comes back here, but a unit changes its
 * state only twice on the way down.
 */
static void stop_proceed(struct supervisor *supervisor)
{
	if (any_process(supervisor, false))
		return;
	unwant_all(supervisor, true);
	notify(supervisor);
}

static void hurry(struct supervisor *supervisor)
{
	unwant_all(supervisor, true);
	for (struct member *member = supervisor->members; member; member = member->next)
		feed(member, UNIT_GRACE_OVER);
}

static void on_budget(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *supervisor = w->data;

	(void)loop;
	(void)revents;
	if (any_process(supervisor, true))
		log_warning("supervision", "units still run after %.1f s of stopping, killing them",
			    supervisor->settings.stop_budget_s);
	hurry(supervisor);
}

void supervisor_stop(struct supervisor *supervisor)
{
	if (supervisor->stopping) {
		hurry(supervisor);
		return;
	}
	supervisor->stopping = true;
	ev_timer_set(&supervisor->on_budget, supervisor->settings.stop_budget_s, 0.0);
	ev_timer_start(supervisor->loop, &supervisor->on_budget);
	for (struct member *member = next_to_stop(supervisor); member;
	     member = next_to_stop(supervisor))
		feed(member, UNIT_UNWANT);
	unwant_all(supervisor, false);
	stop_proceed(supervisor);
}

/* Telling, from the loop */

static void on_notify(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *supervisor = w->data;
	const struct supervisor_events events = supervisor->events;

	(void)loop;
	(void)revents;
	free_forgotten(supervisor);
	const bool stopped =
		supervisor->stopping && !supervisor->stopped_told && !any_process(supervisor, true);

	supervisor->stopped_told |= stopped;
	if (stopped)
		ev_timer_stop(supervisor->loop, &supervisor->on_budget);
	if (events.changed)
		events.changed(events.ctx);
	if (stopped && events.stopped)
		events.stopped(events.ctx);
}

/* A look that costs no path walk: nearly always there is nothing to do. */
static bool output_is_large(const struct member *member)
{
	struct stat st;

	return member->output_fd >= 0 && fstat(member->output_fd, &st) == 0 &&
	       (int64_t)st.st_blocks * 512 > OUTPUT_ALLOCATED_MAX;
}

/* True while it grows faster than it should. */
static bool trim_output(struct member *member)
{
	if (!output_is_large(member))
		return false;
	const int r = output_trim(member->output);

	/* A file system that cannot: said once per unit, not four times a second. */
	if (r < 0 && r != -ENOENT && !member->trim_failed)
		log_warning("supervision", "cannot shorten %s: %s, retrying again and again",
			    member->output, strerror(-r));
	member->trim_failed = r < 0;
	return r > 0;
}

/* A service that floods its output fills a disk in seconds: then it is looked at more often. */
static void on_check(struct ev_loop *loop, ev_timer *w, int revents)
{
	const struct supervisor *supervisor = w->data;
	bool flood = false;

	(void)revents;
	for (struct member *member = supervisor->members; member; member = member->next)
		flood |= trim_output(member);
	w->repeat = flood ? OUTPUT_FLOOD_S : OUTPUT_CHECK_S;
	ev_timer_again(loop, w);
}

size_t supervisor_count(const struct supervisor *supervisor)
{
	size_t n = 0;

	for (const struct member *member = supervisor->members; member; member = member->next)
		n++;
	return n;
}

static bool is_healthy(const struct member *member)
{
	return member->unit.has_rpc ? member->health && health_is_healthy(member->health) :
				      member->unit.state == UNIT_RUNNING;
}

void supervisor_status(const struct supervisor *supervisor, size_t i, struct unit_status *ret)
{
	const struct member *member = supervisor->members;

	while (i-- > 0)
		member = member->next;
	*ret = (struct unit_status){
		.service = member->service,
		.shard = member->shard,
		.state = member->unit.state,
		.healthy = is_healthy(member),
		.pid = member->process ? process_pid(member->process) : 0,
		.since = member->since,
		.restarts = member->unit.restarts,
		.last_exit = member->last_exit,
		.generation = member->process ? member->generation : NULL,
		.note = member->note,
	};
}

char *supervisor_output(const struct supervisor *supervisor, const char *service, int shard,
			size_t max, int *ret_error)
{
	const struct member *member = find_member(supervisor, service, shard);

	/* Only of known units: the name comes from a client and would become a path. */
	if (!member) {
		*ret_error = -ENOENT;
		return NULL;
	}
	return output_tail(member->output, max, ret_error);
}

/* Life */

static void init_timers(struct supervisor *supervisor)
{
	ev_timer_init(&supervisor->on_notify, on_notify, 0.0, 0.0);
	ev_timer_init(&supervisor->on_gate, on_gate, 0.0, 0.0);
	ev_timer_init(&supervisor->on_budget, on_budget, 0.0, 0.0);
	ev_timer_init(&supervisor->on_check, on_check, OUTPUT_CHECK_S, OUTPUT_CHECK_S);
	supervisor->on_notify.data = supervisor;
	supervisor->on_gate.data = supervisor;
	supervisor->on_budget.data = supervisor;
	supervisor->on_check.data = supervisor;
	ev_timer_start(supervisor->loop, &supervisor->on_check);
}

struct supervisor *supervisor_new(struct ev_loop *loop, const struct supervisor_settings *settings,
				  const struct supervisor_events *events, struct err *err)
{
	if (output_prepare_dir(settings->output_dir, err) < 0)
		return NULL;
	struct supervisor *supervisor = xcalloc(1, sizeof(*supervisor));

	supervisor->loop = loop;
	supervisor->settings = *settings;
	supervisor->settings.output_dir = xstrdup(settings->output_dir);
	supervisor->settings.slot_socket_prefix = xstrdup(settings->slot_socket_prefix);
	supervisor->groups =
		xmemdup(settings->groups, settings->groups_len * sizeof(*settings->groups));
	supervisor->settings.groups = supervisor->groups;
	if (events)
		supervisor->events = *events;
	init_timers(supervisor);
	return supervisor;
}

/* First KILL to all, then reaping: the waits run at the same time. */
void supervisor_free(struct supervisor *supervisor)
{
	if (!supervisor)
		return;
	for (struct member *member = supervisor->members; member; member = member->next)
		if (member->process)
			(void)process_signal_group(member->process, SIGKILL);
	while (supervisor->members) {
		struct member *member = supervisor->members;

		supervisor->members = member->next;
		member_free(member);
	}
	ev_timer_stop(supervisor->loop, &supervisor->on_notify);
	ev_timer_stop(supervisor->loop, &supervisor->on_gate);
	ev_timer_stop(supervisor->loop, &supervisor->on_budget);
	ev_timer_stop(supervisor->loop, &supervisor->on_check);
	free((char *)supervisor->settings.output_dir);
	free((char *)supervisor->settings.slot_socket_prefix);
	free(supervisor->groups);
	free(supervisor);
}
