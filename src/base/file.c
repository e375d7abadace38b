/* SPDX-License-Identifier: MIT */
/* A whole file, read or replaced. Blocking: only at start and on an operator's command. */
#include "cmsnode/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"

int file_read(const char *path, struct buf *ret, struct err *err)
{
	CLEAN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, -errno, "%s", path);
	for (;;) {
		char chunk[16384];
		const ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, -errno, "%s", path);
		if (buf_add(ret, chunk, (size_t)n) < 0)
			return err_set(err, -E2BIG, "%s: larger than %zu bytes", path, ret->max);
	}
}

int file_write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		const ssize_t n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A rename is on disk when its directory is. */
static void sync_directory(const char *path)
{
	CLEAN(str) char *copy = xstrdup(path);
	CLEAN(fd) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)fsync(fd);
}

static int like(const char *path, int fd)
{
	struct stat st;

	if (stat(path, &st) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
		return -errno;
	/* Not ours to give away if we are not root: then the file becomes ours. */
	(void)!fchown(fd, st.st_uid, st.st_gid);
	return 0;
}

static int write_over(const char *path, const char *temporary, int fd, const char *text)
{
	const int r = file_write_all(fd, text);
	if (r < 0)
		return r;
	if (fsync(fd) < 0)
		return -errno;
	return rename(temporary, path) < 0 ? -errno : 0;
}

static int replace(const char *path, const char *text, bool keep_mode, struct err *err)
{
	CLEAN(str) char *temporary = xasprintf("%s.XXXXXX", path);
	CLEAN(fd) int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, -errno, "cannot write beside %s", path);
	int r = keep_mode ? like(path, fd) : 0;
	if (r == 0)
		r = write_over(path, temporary, fd, text);
	if (r < 0) {
		(void)unlink(temporary);
		return err_errno(err, r, "cannot replace %s", path);
	}
	sync_directory(path);
	return 0;
}

int file_replace(const char *path, const char *text, struct err *err)
{
	CLEAN(str) char *real = realpath(path, NULL);
	if (!real)
		return err_errno(err, -errno, "%s", path);
	return replace(real, text, true, err);
}

int file_write_private(const char *path, const char *text, struct err *err)
{
	return replace(path, text, false, err);
}
