/* SPDX-License-Identifier: MIT */
/* Reading a whole file that an operator named. */
#ifndef CMSNODE_CONFIG_FILE_H
#define CMSNODE_CONFIG_FILE_H

struct buf;
struct err;

/*
 * Appends the file's bytes to *ret (whose ceiling holds). A negative errno; the message names the
 * file.
 */
int file_read(const char *path, struct buf *ret, struct err *err);

#endif
