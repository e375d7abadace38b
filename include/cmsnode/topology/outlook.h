/* SPDX-License-Identifier: MIT */
/*
 * The outlook on a change: what the step from one generation to another would start, stop and
 * restart, and where. By the very rules that each daemon follows: derive() says what runs where,
 * impact_restarts() who restarts; it takes for granted that what runs now has read the old
 * generation. ResourceService, which is the daemon itself, is not in it. Pure.
 */
#ifndef CMSNODE_TOPOLOGY_OUTLOOK_H
#define CMSNODE_TOPOLOGY_OUTLOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/base/str.h"
#include "cmsnode/topology/catalogue.h"

struct cJSON;
struct generation;
struct registrations;
struct resolved_hosts;

enum outlook_action {
	OUTLOOK_START,
	OUTLOOK_STOP,
	OUTLOOK_RESTART,
	OUTLOOK_STAY,
	OUTLOOK_ACTIONS,
};

struct outlook_question {
	const struct generation *old;	/* NULL: there was none, so all that runs is started */
	const struct generation *new;
	const struct registrations *registrations;	/* all live nodes */
	/* what is known of the names that static slots have; NULL: nothing, only literals are */
	const struct resolved_hosts *hosts;
	const char *zone;	/* of the names, where the policy has them; NULL = addresses */
	bool standalone;	/* loopback is this machine */
	bool at_once;		/* ContestWebServers do not wait for each other */
};

struct outlook_unit {
	char *place;	/* node id; or the host of a static slot that no known node has */
	bool is_node;
	bool is_away;	/* the node has no registration: it does so when it is back */
	enum catalogue_index service;
	int shard;
	enum outlook_action action;
	char *why;	/* NULL if it stays */
	/*
	 * 1 and so on: a ContestWebServer that restarts waits until those of the turns before it
	 * are healthy. How many turns there are is certain; who comes first is decided by whoever
	 * asks first. 0: at once.
	 */
	int turn;
};

struct outlook {
	struct outlook_unit *units;	/* by node id, then by host; there as in the catalogue */
	size_t len, cap;
	size_t counts[OUTLOOK_ACTIONS];
	int turns;
	size_t database_users;	/* processes afterwards that keep connections to PostgreSQL */
	struct str_list heads;	/* sentences for people, what they must know first */
};

void outlook_fini(struct outlook *outlook);
static inline void clean_outlook(struct outlook *outlook)
{
	outlook_fini(outlook);
}

/* *ret is emptied first; copies all that it holds. Of several nodes on a host the first by id. */
void outlook_make(const struct outlook_question *question, struct outlook *ret);

/*
 * "PostgreSQL's max_connections 100 would not carry ...", or NULL if it would, or max_connections
 * is 0 (not known). Each process may open 15 (SQLAlchemy's pool of 5 and 10 beyond). Caller frees.
 */
char *outlook_connections_warning(const struct outlook *outlook, int64_t max_connections);

const char *outlook_action_name(enum outlook_action action);	/* "start", "stop", ... */

/* The heads, then each place with a line a unit; those that stay on one line. The caller frees. */
char *outlook_text(const struct outlook *outlook);

/*
 * {"heads","start","stop","restart","stay","turns","places":[{"node","host","away",
 * "units":[{"service","shard","action","why","turn"}]}]}; the four are numbers, of node and host
 * one is null, turn is null where nobody waits. The caller frees.
 */
struct cJSON *outlook_to_json(const struct outlook *outlook);

#endif
