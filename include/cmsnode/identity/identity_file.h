/* SPDX-License-Identifier: MIT */
/*
 * The state file <state-dir>/node-id: JSON {"id","source","created_at"}, written
 * by rename with fsync, mode 0600.
 */
#ifndef CMSNODE_IDENTITY_IDENTITY_FILE_H
#define CMSNODE_IDENTITY_IDENTITY_FILE_H

struct err;

/*
 * 0 and the saved base id in *ret (caller frees), NULL there if there is no file.
 * -EINVAL and the remedy if it is damaged, else a negative errno.
 */
int identity_file_read(const char *state_dir, char **ret, struct err *err);

/* Replaces the file; `source` is an identity_source_name(). 0 or a negative errno. */
int identity_file_write(const char *state_dir, const char *base_id, const char *source,
			struct err *err);

#endif
