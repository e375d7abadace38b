/* SPDX-License-Identifier: MIT */
/* A whole file that an operator named: read, replaced. */
#ifndef CMSNODE_BASE_FILE_H
#define CMSNODE_BASE_FILE_H

struct buf;
struct err;

/*
 * Appends the file's bytes to *ret (whose ceiling holds). A negative errno; the message names the
 * file.
 */
int file_read(const char *path, struct buf *ret, struct err *err);

/*
 * Replaces the file's content by rename, so that a reader sees the old or the new
 * one: same mode and owner, a symbolic link's target is what is replaced, fsynced.
 * A negative errno; the file is as it was then.
 */
int file_replace(const char *path, const char *text, struct err *err);

/* The same for a file of our own, which need not exist yet: 0600, never a link's target. */
int file_write_private(const char *path, const char *text, struct err *err);

/* The whole text, however many write()s it takes. 0 or a negative errno. */
int file_write_all(int fd, const char *text);

#endif
