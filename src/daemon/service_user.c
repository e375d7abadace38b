/* SPDX-License-Identifier: MIT */
/* Who the services run as, and where their programs are. Blocking look-ups: only at start. */
#include "cmsnode/daemon/service_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define DEFAULT_USER "cmsuser"
#define GROUPS_MAX 65536

void service_user_fini(struct service_user *user)
{
	free(user->name);
	free(user->home);
	free(user->groups);
	*user = (struct service_user){ 0 };
}

static void find_groups(struct service_user *user)
{
	int n = 64;

	for (;;) {
		user->groups = xrealloc(user->groups, (size_t)n * sizeof(*user->groups));
		int got = n;
		const int r = getgrouplist(user->name, user->gid, user->groups, &got);
		if (r >= 0 || got <= n || got > GROUPS_MAX) {
			user->groups_len = r >= 0 ? (size_t)r : 0;
			return;
		}
		n = got;
	}
}

int service_user_find(const char *name, struct service_user *ret, struct err *err)
{
	const bool is_root = geteuid() == 0;
	const struct passwd *passwd = NULL;

	errno = 0;
	if (name)
		passwd = getpwnam(name);
	else if (is_root)
		passwd = getpwnam(DEFAULT_USER);
	if (name && !passwd)
		return err_set(err, ERR_USAGE, "--user %s: there is no such user", name);
	if (name && !is_root && passwd->pw_uid != geteuid())
		return err_set(err, ERR_USAGE,
			       "--user %s: only root can run services as another user", name);
	if (!passwd)
		passwd = getpwuid(geteuid());
	*ret = (struct service_user){ .name = xstrdup(passwd ? passwd->pw_name : "root"),
				      .home = xstrdup(passwd && passwd->pw_dir[0] ? passwd->pw_dir :
										    "/"),
				      .uid = passwd ? passwd->pw_uid : geteuid(),
				      .gid = passwd ? passwd->pw_gid : getegid() };
	ret->drop = is_root && ret->uid != 0;
	if (ret->drop)
		find_groups(ret);
	return 0;
}

static char *find_on_path(const char *program)
{
	CLEAN(str_list) struct str_list dirs = { 0 };
	const char *path = getenv("PATH");

	str_list_split(&dirs, path ? path : "/usr/local/bin:/usr/bin:/bin", ':');
	for (size_t i = 0; i < dirs.len; i++) {
		CLEAN(str) char *candidate = xasprintf("%s/%s", dirs.items[i], program);

		if (access(candidate, X_OK) == 0)
			return realpath(dirs.items[i], NULL);
	}
	return NULL;
}

int service_programs_find(const char *dir, char **ret, struct err *err)
{
	char *found = dir ? realpath(dir, NULL) : find_on_path("cmsWorker");
	struct stat st;

	if (!found && dir)
		return err_set(err, ERR_USAGE, "--cms-bin %s: %s", dir, strerror(errno));
	if (!found)
		return err_set(
			err, ERR_USAGE,
			"cmsWorker is not on PATH: say with --cms-bin DIR where CMS's programs are");
	if (stat(found, &st) < 0 || !S_ISDIR(st.st_mode)) {
		free(found);
		return err_set(err, ERR_USAGE, "--cms-bin %s: not a directory", dir ? dir : "");
	}
	*ret = found;
	return 0;
}
