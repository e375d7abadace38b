/* SPDX-License-Identifier: MIT */
/*
 * The daemon's settings: option, then environment (CMSNODE_<OPTION>), then the
 * settings file, then the default. One table (options.c) declares each option
 * once, with its help text. Pure: argv, environment and the parsed settings
 * file come in as values.
 */
#ifndef CMSNODE_DAEMON_OPTIONS_H
#define CMSNODE_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/base/str.h"

struct err;
struct value;

enum options_action { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_HELP, OPTIONS_VERSION };

struct options {
	enum options_action action;
	char *config;			/* NULL = none given */
	struct str_list etcd;		/* URLs, all of one scheme */
	/* files, NULL = none; cert and key, user and password file only together */
	char *etcd_cacert, *etcd_cert, *etcd_key;
	char *etcd_user, *etcd_password_file;
	char *prefix;			/* "/cms", no slash at the end */
	char *standalone;		/* FILE or NULL */
	struct str_list roles;		/* as given, checked: "core", "worker:2", "Checker", ... */
	char *contest;			/* "ALL" or digits */
	char *cms_bin;			/* NULL = look on PATH */
	char *cms_format;		/* "auto", "toml", "json", "flat-toml" */
	char *seed_ranking;
	char *seed_config;
	char *node_id;
	char *instance;
	char *address;
	double address_settle_s;
	char *state_dir;
	char *run_dir;
	char *user;			/* NULL = cmsuser if it exists and we are root */
	struct str_list env;		/* NAME=VALUE */
	double grace_s;
	double stop_budget_s;
	double health_interval_s;
	char *log_level;
	char *log_format;
	char *names;			/* "on", "off": see options_have_names() */
	char *zone, *hosts_file;	/* "cms.internal", "/etc/hosts" */
	char *facts_root;		/* "/" */
};

void options_fini(struct options *options);

/* Is CMS given names of slots, not addresses? */
bool options_have_names(const struct options *options);

/*
 * Before the two steps: OPTIONS_HELP or OPTIONS_VERSION if the arguments ask
 * for that, else OPTIONS_RUN (also for --check), so that --help answers with a
 * broken settings file, too. 0 or ERR_USAGE, *ret untouched then.
 */
int options_look_ahead(int argc, char *const argv[], enum options_action *ret, struct err *err);

/*
 * The two steps: options_find_config() gives the settings file that applies
 * (--config, CMSNODE_CONFIG, or NULL: then the caller tries the default path);
 * the caller reads and parses it; options_parse() makes the settings.
 * `environment` is environ. `file` may be NULL. 0 or ERR_USAGE: the message
 * names the option, variable or key, where it stands, and the nearest known
 * one; an option of the interface that is not built yet: "not in this version".
 * *ret is filled only on success (options_fini() frees it). With --help or
 * --version environment and file are not looked at, and all else is default.
 * In standalone mode `etcd` is empty.
 */
int options_find_config(int argc, char *const argv[], char *const environment[], char **ret,
			struct err *err);
int options_parse(int argc, char *const argv[], char *const environment[], const struct value *file,
		  const char *file_name, struct options *ret, struct err *err);

/* The text for --help; caller frees. */
char *options_help(void);

/*
 * "worker:2" -> "worker" and 2; count -1 if none was given. Roles: core and
 * ranking (no count), worker, contest-web and any CMS service (1 to 512, 1 for
 * a service that a cluster has once). 0 or -EINVAL with the reason. The caller
 * frees *ret_name.
 */
int role_parse(const char *text, char **ret_name, int *ret_count, struct err *err);

#endif
