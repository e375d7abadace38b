/* SPDX-License-Identifier: MIT */
/*
 * The files that CMS reads: <state-dir>/generations/<name>/cms.toml (or
 * cms.conf), one directory per generation, never changed once written. Mode
 * 0640 root:<service group> (or our own user when we are not root), written to a
 * temporary directory, fsynced and renamed, so that a name means a whole set.
 */
#ifndef CMSNODE_CONFIG_RENDERED_FILES_H
#define CMSNODE_CONFIG_RENDERED_FILES_H

#include <stddef.h>
#include <sys/types.h>

struct err;
struct str_list;

struct rendered_file {
	const char *name;	/* "cms.toml" */
	const char *text;
};

/*
 * Makes <state_dir> (0750) and <state_dir>/generations if missing; the mode of a
 * state directory that was there is left alone. gid -1 = leave. 0 or a negative errno.
 */
int rendered_files_prepare(const char *state_dir, gid_t gid, struct err *err);

/*
 * Writes the generation's files; an existing directory of that name with the same
 * content, mode and group is a success, another one is replaced. Names consist of
 * [A-Za-z0-9._-] and are neither "." nor "..". 0 or a negative errno (-EINVAL: a name).
 */
int rendered_files_write(const char *state_dir, const char *generation,
			 const struct rendered_file *files, size_t len, gid_t gid, struct err *err);

/* "<state_dir>/generations/<generation>/<name>"; caller frees. */
char *rendered_files_path(const char *state_dir, const char *generation, const char *name);

/*
 * Removes all generation directories but those in `keep`, and leftovers of writes
 * that were interrupted. What cannot be removed is logged and stays.
 */
void rendered_files_sweep(const char *state_dir, const struct str_list *keep);

#endif
