/* SPDX-License-Identifier: MIT */
/* Reading a whole file. Blocking: only at start and on an operator's command. */
#include "cmsnode/config/file.h"

#include <errno.h>
#include <fcntl.h>
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
