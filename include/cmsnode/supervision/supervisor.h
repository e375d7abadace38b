/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: keeps the wanted units running on this host. Level-triggered:
 * supervisor_apply() tells it the whole wanted state; it starts, stops and
 * restarts what differs, sees each exit at once (pidfd), backs off, and probes
 * health by CMS's echo RPC.
 */
#ifndef CMSNODE_SUPERVISION_SUPERVISOR_H
#define CMSNODE_SUPERVISION_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cmsnode/supervision/unit.h"

struct ev_loop;
struct err;
struct supervisor;

/* What a unit shall be. All texts are borrowed during the call only. */
struct unit_spec {
	const char *service;	/* "Worker" */
	int shard;
	const char *const *argv;	/* argv[0] is the program's path; NULL-terminated */
	const char *const *env;		/* "NAME=VALUE", NULL-terminated: the whole environment */
	const char *generation;		/* whose configuration file it would be started with */
	/* where its echo is asked; NULL = no RPC, running means healthy */
	const char *rpc_host;
	int rpc_port;
	/* LogService: the others wait until its port accepts, at most 1 s */
	bool starts_first;
	/* it runs with an older generation whose difference matters to it */
	bool must_restart;
	/* NULL, or why it shall not run although its slot is ours */
	const char *disabled;
};

struct supervisor_settings {
	const char *output_dir;		/* <run-dir>/output; made if missing */
	/* "cmsnoded/<hash>/slot/" for the abstract sockets; NULL = none */
	const char *slot_socket_prefix;
	uid_t uid;			/* who the services run as */
	gid_t gid;
	const gid_t *groups;		/* supplementary groups, copied */
	size_t groups_len;
	bool drop_user;			/* false: we are not root, run as ourselves */
	double grace_s;			/* TERM to KILL, per unit */
	double stop_budget_s;		/* all units together, at supervisor_stop() */
	double health_interval_s;
};

struct supervisor_events {		/* all may be NULL; called from the loop */
	void (*changed)(void *ctx);	/* some unit's state changed: report anew */
	void (*stopped)(void *ctx);	/* supervisor_stop() is through: no unit is left */
	void *ctx;
};

/* NULL and err if the output directory cannot be made. */
struct supervisor *supervisor_new(struct ev_loop *loop, const struct supervisor_settings *settings,
				  const struct supervisor_events *events, struct err *err);
/* units still alive are killed and reaped */
void supervisor_free(struct supervisor *supervisor);

/*
 * The whole wanted state. Units not in it are stopped and forgotten when gone; new ones are
 * started; must_restart ones are stopped and started again.
 */
void supervisor_apply(struct supervisor *supervisor, const struct unit_spec *specs, size_t len);

/*
 * TERM to each unit's group in reverse order of start (LogService last), KILL after the grace; then
 * events.stopped. A second call hurries (KILL now).
 */
void supervisor_stop(struct supervisor *supervisor);

/* Stops and starts one unit; 0 or -ENOENT. */
int supervisor_restart(struct supervisor *supervisor, const char *service, int shard);

struct unit_status {
	const char *service;	/* borrowed until the loop turns */
	int shard;
	enum unit_state state;
	bool healthy;		/* answered its last echo (or runs, where it has none) */
	pid_t pid;		/* 0 if no process */
	double since;		/* epoch seconds of the present state's begin */
	unsigned int restarts;	/* starts after the first that were not asked for */
	/*
	 * "exit status 1", "signal KILL", "cannot execute /x: No such file or directory"; NULL =
	 * none yet
	 */
	const char *last_exit;
	const char *generation;	/* with which the running process was started; NULL if none runs */
	const char *note;	/* why it waits or is disabled; NULL */
};

size_t supervisor_count(const struct supervisor *supervisor);
void supervisor_status(const struct supervisor *supervisor, size_t i, struct unit_status *ret);

/*
 * The last `max` bytes of a unit's output (from a line's begin on); caller frees. NULL and -ENOENT
 * in *ret_error if there is none.
 */
char *supervisor_output(const struct supervisor *supervisor, const char *service, int shard,
			size_t max, int *ret_error);

#endif
