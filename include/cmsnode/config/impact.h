/* SPDX-License-Identifier: MIT */
/*
 * Which running services must restart when the configuration goes from one
 * canonical document to another (both as rendered, with `services`). The rules
 * are CMS's own reading habits: every process reads its file once, at start;
 * a key matters to the services that read it (keys.def), a line of `services`
 * to those that dial it. Pure.
 */
#ifndef CMSNODE_CONFIG_IMPACT_H
#define CMSNODE_CONFIG_IMPACT_H

#include <stdbool.h>
#include <stdint.h>

struct value;

/*
 * Must the running unit (service, shard), which read `old`, restart to act
 * rightly on `new`? *ret_why (may be NULL; caller frees) gets the first reason,
 * such as "database.url changed", or NULL. Rules:
 * - a key that differs (other than services.*, contest_web_server.listen_*)
 *   concerns its readers; an unknown key concerns every service;
 * - contest_web_server.listen_address/listen_port: ContestWebServer k only if
 *   element k differs;
 * - services.X, entry by entry: own address changed -> self; LogService,0,
 *   ScoringService,0, EvaluationService,0, ProxyService,0, Worker k,
 *   ResourceService k, PrintingService,0 added or address changed -> those that
 *   dial it (services_graph: must_restart_on_add / _address_change /
 *   _remove; not the optional ones), with two exceptions: a Worker removed at the
 *   end restarts nobody, a ResourceService removed restarts AdminWebServer;
 * - ranking keys ("ranking" table) concern RankingWebServer only, and it is
 *   concerned by nothing else: it does not read CMS's main file;
 * - a unit whose own entry is gone is to be stopped, not restarted: its own
 *   removal is no reason here.
 */
bool impact_must_restart(const char *service, int shard, const struct value *old,
			 const struct value *new, char **ret_why);

/* What a change of one entry of `services` does; sets of catalogue bits as in keys.h. */
struct impact_row {
	uint32_t on_add;
	uint32_t on_remove;
	uint32_t on_address_change;
	bool self_on_address_change;	/* the moved shard itself must restart */
};

/* The row of a service (enum catalogue_index). */
const struct impact_row *impact_row_at(int index);

#endif
