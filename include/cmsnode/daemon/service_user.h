/* SPDX-License-Identifier: MIT */
/*
 * Who the services run as, and where their programs are: looked up once, at start, where blocking
 * is harmless.
 */
#ifndef CMSNODE_DAEMON_SERVICE_USER_H
#define CMSNODE_DAEMON_SERVICE_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

struct service_user {
	char *name, *home;
	uid_t uid;
	gid_t gid;
	gid_t *groups;		/* supplementary ones: Workers need group isolate */
	size_t groups_len;
	bool drop;		/* we are root and the services shall not be */
};

void service_user_fini(struct service_user *user);

/*
 * --user NAME; NULL = cmsuser if it exists and we are root, else ourselves.
 * ERR_USAGE if NAME does not exist or we may not become it.
 */
int service_user_find(const char *name, struct service_user *ret, struct err *err);

/*
 * --cms-bin DIR (must be a directory), NULL = where cmsWorker is on PATH. The
 * absolute path (caller frees), or ERR_USAGE and the option that would help.
 */
int service_programs_find(const char *dir, char **ret, struct err *err);

#endif
