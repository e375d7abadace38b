/* SPDX-License-Identifier: MIT */
/*
 * The hosts file kept as wished: writes in place under flock, watches the file
 * and its directory, mends at once what others do to it. Never renames and never
 * truncates: a bind-mounted /etc/hosts could not be renamed, and a container
 * that has it mounted would keep the old one. Several daemons may share a file.
 *
 * Reading and writing block for as long as the disk does (a few kilobytes); the
 * lock is never waited for on the loop.
 */
#ifndef CMSNODE_TOPOLOGY_HOSTS_FILE_H
#define CMSNODE_TOPOLOGY_HOSTS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/topology/hosts_block.h"

struct ev_loop;
struct err;
struct hosts_file;

enum hosts_file_state {
	HOSTS_FILE_IDLE,	/* nothing was wished yet */
	HOSTS_FILE_CURRENT,	/* the file has every name of the wish */
	HOSTS_FILE_WAITING,	/* somebody holds the lock; tried again every 20 ms */
	HOSTS_FILE_FAILED,	/* see the error; tried again every 5 s and on every change seen */
};

/* A new wish may be made from within them, but the file must not be freed there. */
struct hosts_file_events {
	/* The state changed; never called from within hosts_file_wish(). */
	void (*changed)(void *ctx, enum hosts_file_state state, const struct err *err);
	/*
	 * Names that were in the file had gone, and are there again: how many, and the
	 * milliseconds from when we were told of the change until they were back.
	 * Clients that asked meanwhile may have given up for good (CMS 1.5 and later).
	 */
	void (*mended)(void *ctx, size_t names, int64_t took_ms);
	void *ctx;
};

/*
 * Watches begin. `path` should be what the resolver reads (/etc/hosts). Must be
 * freed before the loop. NULL and err if inotify is not to be had.
 */
struct hosts_file *hosts_file_new(struct ev_loop *loop, const char *path,
				  const struct hosts_owner *owner,
				  const struct hosts_file_events *events, struct err *err);

/* The block stays in the file: units may outlive the daemon. NULL is fine. */
void hosts_file_free(struct hosts_file *file);

/*
 * Makes the file so and keeps it so; the wish is copied. 0: it is done and on
 * disk, every name resolves, units may start. -EAGAIN: somebody holds the lock,
 * changed() follows. Any other error: the file is as it was (or as far as the writes
 * got), it will be tried again, changed() tells when that has worked. A
 * read-only file's message says what to do.
 */
int hosts_file_wish(struct hosts_file *file, const struct hosts_wish *wish, struct err *err);

enum hosts_file_state hosts_file_state(const struct hosts_file *file);

/*
 * Foreign lines of the file, as it was seen last, that define names of the zone: a
 * reader takes the first line, so these make ours useless. Borrowed until the
 * loop turns.
 */
const struct str_list *hosts_file_clashes(const struct hosts_file *file);

/* Turns the block into comments, under the lock (waits for it up to 2 s). For names off. */
int hosts_file_remove(const char *path, const struct hosts_owner *owner, struct err *err);

#endif
