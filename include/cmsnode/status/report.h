/* SPDX-License-Identifier: MIT */
/*
 * What `cmsnodectl status` shows, as JSON of the interface's shape. Pure: it is
 * handed everything as values.
 */
#ifndef CMSNODE_STATUS_REPORT_H
#define CMSNODE_STATUS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cJSON;
struct store_counters;
struct str_list;

enum node_report_state {
	REPORT_STARTING,	/* no address or identity yet */
	REPORT_JOINING,		/* not in the agreed configuration yet */
	REPORT_ACTIVE,
	REPORT_DEGRADED,	/* the store is away, or the newest configuration was refused */
	REPORT_HELD,		/* a configuration is not followed, or our id is somebody else's */
	REPORT_DRAINING,	/* gives its slots back, or has done so */
	REPORT_STOPPING,
};

const char *node_report_state_name(enum node_report_state state);

struct report_service {
	const char *service;
	int shard;
	const char *name;	/* stable name or "Worker-0" while names are off */
	char address[128];	/* host:port */
	const char *state;
	bool healthy;
	pid_t pid;		/* 0 = none */
	double since;
	unsigned int restarts;
	const char *last_exit;	/* NULL = none */
	const char *generation;	/* NULL = none runs */
	const char *note;	/* NULL = nothing to say */
};

struct report {
	const char *id, *id_source, *address, *interface;	/* address "" = none */
	enum node_report_state state;
	const char *note;		/* NULL = all is well */
	const struct str_list *roles;
	const char *version;
	pid_t pid;
	double uptime_s;

	const char *store_kind, *endpoint;
	bool connected;
	const char *store_refuses;	/* writes: what it says; NULL = it takes them */
	int64_t revision;
	double last_contact_s;		/* < 0: never */
	const char *store_version;	/* NULL = not known */
	double clock_ahead_s;		/* to the store's clock, for certain; 0 = nothing is */
	const struct store_counters *counters;	/* NULL = it keeps none */

	const char *current, *applied;	/* generation names without "configs/", NULL = none */
	const char *format;
	const char *refused;		/* why the newest was not applied, NULL */

	const struct report_service *services;
	size_t services_len;
};

struct cJSON *report_to_json(const struct report *report);	/* caller frees */

/* The part that changes only when something happens: for status/<id> in the store. Caller frees. */
char *report_to_store(const struct report *report);

/* caller frees */
struct cJSON *report_services_to_json(const struct report_service *services, size_t len);

#endif
