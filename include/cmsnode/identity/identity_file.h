/* SPDX-License-Identifier: MIT */
/*
 * The state file <state-dir>/node-id: JSON {"id","source","created_at",
 * "product_uuid","macs"}, written by rename with fsync, mode 0600. Version 0.1
 * wrote neither "product_uuid" nor "macs": nothing is known then of the machine.
 */
#ifndef CMSNODE_IDENTITY_IDENTITY_FILE_H
#define CMSNODE_IDENTITY_IDENTITY_FILE_H

struct err;
struct identity_record;

/*
 * 0 and the record (the caller calls identity_record_fini()), its id "" if there
 * is no file. -EINVAL and the remedy if it is damaged, else a negative errno;
 * *ret is untouched then.
 */
int identity_file_load(const char *state_dir, struct identity_record *ret, struct err *err);

/* Replaces the file. 0 or a negative errno; the directory must exist. */
int identity_file_save(const char *state_dir, const struct identity_record *record,
		       struct err *err);

#endif
