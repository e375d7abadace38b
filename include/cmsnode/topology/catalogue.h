/* SPDX-License-Identifier: MIT */
/*
 * What CMS's services are: shards, ports, programs, needs. Facts of CMS 1.2 to
 * 1.6.dev. Pure constants.
 */
#ifndef CMSNODE_TOPOLOGY_CATALOGUE_H
#define CMSNODE_TOPOLOGY_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>

enum catalogue_contest {
	CONTEST_IGNORED,	/* -c is accepted and ignored */
	CONTEST_ANY,		/* a contest id or ALL */
	CONTEST_NUMERIC,	/* a contest id; cannot run with ALL */
};

struct catalogue_service {
	const char *name;	/* "Worker" */
	bool singleton;		/* peers are hard-wired to shard 0 */
	bool core;		/* part of role `core` */
	int port;		/* RPC port of shard 0 */
	int port_modulo;	/* shard k has port + k mod port_modulo; 1 for singletons */
	bool rpc;		/* answers CMS's RPC (echo, quit) */
	bool ours;		/* this daemon itself (ResourceService) */
	bool listed;		/* has an entry in the services table (RankingWebServer has none) */
	enum catalogue_contest contest;
};

/* Indices are stable within one build: keys.h uses them as bits. */
enum catalogue_index {
	CATALOGUE_LOG_SERVICE,
	CATALOGUE_RESOURCE_SERVICE,
	CATALOGUE_SCORING_SERVICE,
	CATALOGUE_CHECKER,
	CATALOGUE_EVALUATION_SERVICE,
	CATALOGUE_WORKER,
	CATALOGUE_CONTEST_WEB_SERVER,
	CATALOGUE_ADMIN_WEB_SERVER,
	CATALOGUE_PROXY_SERVICE,
	CATALOGUE_PRINTING_SERVICE,
	CATALOGUE_PROMETHEUS_EXPORTER,
	CATALOGUE_TELEGRAM_BOT,
	CATALOGUE_RANKING_WEB_SERVER,
	CATALOGUE_COUNT,
};

/* NULL if CMS has no such service */
const struct catalogue_service *catalogue_find(const char *name);
const struct catalogue_service *catalogue_at(enum catalogue_index i);
int catalogue_index_of(const char *name);	/* -1 if unknown */

/* The port of shard k when nothing else is said. */
int catalogue_port(const struct catalogue_service *service, int shard);

#endif
