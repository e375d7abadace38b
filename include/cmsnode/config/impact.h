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

#include "cmsnode/config/cms_file.h"

struct config_key;
struct impact;
struct str_list;
struct value;

/*
 * What the step from `old` to `new`, both as rendered, means to whoever read `old`; in files of the
 * format, because 1.6 (cms.toml) has no PrintingService, and keys of other versions only are not
 * written into a file. Copies what it needs. Rules:
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
struct impact *impact_new(enum cms_format format, const struct value *old, const struct value *new);
void impact_free(struct impact *impact);	/* NULL is fine */
static inline void clean_impact(struct impact **impact)
{
	impact_free(*impact);
}

/*
 * Must the running unit restart to act rightly on the new document? *ret_why (may be NULL; caller
 * frees) gets the first reason, such as "database.url changed", or NULL. A look at each change, so
 * one impact serves thousands of units.
 */
bool impact_restarts(const struct impact *impact, const char *service, int shard, char **ret_why);

/*
 * Does it restart only to learn who came or went: EvaluationService for Workers, AdminWebServer for
 * ResourceServices? Then it does well to wait for others that come at the same time
 * (topology/settle.h).
 */
bool impact_can_wait(const struct impact *impact, const char *service, int shard);

/* Paths of changed keys that we do not know: they are the reason why every service restarts. */
const struct str_list *impact_unknown_keys(const struct impact *impact);

/* Who must restart when the key changes in a file of that format, as bits (keys.h). */
uint32_t impact_readers(const struct config_key *key, enum cms_format format);

#endif
