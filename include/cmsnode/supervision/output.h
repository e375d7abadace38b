/* SPDX-License-Identifier: MIT */
/*
 * The file that takes a unit's standard output and error. The unit writes to it
 * itself (O_APPEND), so a flood never passes through the daemon and nothing is
 * lost when the daemon ends; the daemon keeps what it takes on disk small.
 */
#ifndef CMSNODE_SUPERVISION_OUTPUT_H
#define CMSNODE_SUPERVISION_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct err;

#define OUTPUT_CHECK_S 0.25 /* how often output_trim() is due, */
#define OUTPUT_FLOOD_S 0.02 /* and while there was something to trim */
#define OUTPUT_ALLOCATED_MAX (1024 * 1024) /* bytes on disk above which the past is dropped */
#define OUTPUT_KEEP (256 * 1024) /* the newest bytes, always kept */
#define OUTPUT_TAIL_MAX (4 * 1024 * 1024)

/* Makes the directory (0750) and the missing ones above it. 0 or negative and err. */
int output_prepare_dir(const char *dir, struct err *err);

/* "<dir>/<service>-<shard>"; the caller frees. */
char *output_path(const char *dir, const char *service, int shard);

/*
 * Opens for appending, made if missing (0640), no symbolic link followed. A descriptor
 * (close-on-exec), or negative and err.
 */
int output_open(const char *path, struct err *err);

/* Whether the file is still what `path` names, so that what is written can be found. */
bool output_is_current(int fd, const char *path);

/*
 * Adds "--- <UTC time> cmsnoded: <text> ---" as a line; failures, and -1 as
 * descriptor, are ignored.
 */
void output_note(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Gives the disk back what lies before the last OUTPUT_KEEP bytes, once more
 * than OUTPUT_ALLOCATED_MAX is allocated: by a hole, or, where the file system
 * has none, by starting the file anew with its tail. 1 if there was something to drop, 0 if not, or
 * a
 * negated errno.
 */
int output_trim(const char *path);

/*
 * The last `max` bytes (at most OUTPUT_TAIL_MAX), from the begin of a line on,
 * NUL-terminated; NUL bytes of a hole are left out, others become blanks. The
 * caller frees. NULL and a negated errno in *ret_error (-ENOENT: no file).
 */
char *output_tail(const char *path, size_t max, int *ret_error);

#endif
