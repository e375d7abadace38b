/* SPDX-License-Identifier: MIT */
/*
 * From what runs here to what the supervisor shall keep: programs, arguments
 * and environment of each unit. Pure.
 */
#ifndef CMSNODE_TOPOLOGY_PLAN_H
#define CMSNODE_TOPOLOGY_PLAN_H

#include <stddef.h>

struct derivation;
struct str_list;
struct unit_spec;

struct plan_settings {
	const char *cms_bin;		/* directory of the cms* programs */
	const char *contest;
	const char *generation;		/* name */
	const char *config_path;	/* rendered file: CMS_CONFIG */
	const char *ranking_path;	/* the ranking's: CMS_RANKING_CONFIG */
	const char *checker_path;	/* Checker's CMS_CONFIG */
	const char *home, *user;	/* of the service user */
	const struct str_list *env;	/* --env */
};

struct plan {
	struct unit_spec *specs;
	size_t len;
};

void plan_fini(struct plan *plan);

/*
 * One spec for each slot that runs here, in the order of the catalogue (LogService first), the
 * daemon's own left out.
 */
void plan_make(const struct derivation *derivation, const struct plan_settings *settings,
	       struct plan *ret);

#endif
