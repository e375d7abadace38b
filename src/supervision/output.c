/* SPDX-License-Identifier: MIT */
/*
 * The output files of units. Owns their names, size and reading; must never
 * stand between a unit and its file, nor block on more than local disk.
 */
#include "cmsnode/supervision/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"

#define BLOCK 4096 /* holes begin and end on blocks */

int output_prepare_dir(const char *dir, struct err *err)
{
	CLEAN(str) char *path = xstrdup(dir);
	struct stat st;

	for (char *p = path + 1; *path && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(path, 0755); /* the last mkdir() tells what is wrong */
		*p = '/';
	}
	if (mkdir(path, 0750) < 0 && errno != EEXIST)
		return err_errno(err, -errno, "cannot make the output directory %s", dir);
	if (stat(path, &st) < 0)
		return err_errno(err, -errno, "cannot use the output directory %s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_errno(err, -ENOTDIR, "cannot use the output directory %s", dir);
	return 0;
}

char *output_path(const char *dir, const char *service, int shard)
{
	return xasprintf("%s/%s-%d", dir, service, shard);
}

int output_open(const char *path, struct err *err)
{
	const int fd =
		open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0640);

	return fd < 0 ? err_errno(err, -errno, "cannot open the output file %s", path) : fd;
}

bool output_is_current(int fd, const char *path)
{
	struct stat open_file;
	struct stat named;

	return fstat(fd, &open_file) == 0 && lstat(path, &named) == 0 &&
	       open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

void output_note(int fd, const char *fmt, ...)
{
	CLEAN(str) char *text = NULL;
	char when[32];
	const time_t now = time(NULL);
	struct tm tm;
	va_list args;

	va_start(args, fmt);
	const int n = vasprintf(&text, fmt, args);

	va_end(args);
	if (n < 0) {
		text = NULL;
		return;
	}
	(void)gmtime_r(&now, &tm);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	CLEAN(str) char *line = xasprintf("--- %s cmsnoded: %s ---\n", when, text);

	(void)!write(fd, line, strlen(line));
}

/* Up to `max` last bytes of the file; *ret_len of them. The caller frees. */
static char *read_end(int fd, off_t size, size_t max, size_t *ret_len)
{
	const size_t want = size < (off_t)max ? (size_t)size : max;
	char *data = xmalloc(want + 1);
	size_t len = 0;

	while (len < want) {
		const ssize_t n =
			pread(fd, data + len, want - len, size - (off_t)want + (off_t)len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	data[len] = '\0';
	*ret_len = len;
	return data;
}

/*
 * For file systems without holes. What the unit writes in between ends up before the
 * tail, never lost.
 */
static int start_anew(int fd, off_t size)
{
	size_t len;
	CLEAN(str) char *tail = read_end(fd, size, OUTPUT_KEEP, &len);

	if (ftruncate(fd, 0) < 0)
		return -errno;
	const ssize_t n = write(fd, tail, len);

	return n < 0 ? -errno : 1;
}

int output_trim(const char *path)
{
	struct stat st;
	CLEAN(fd) int fd = open(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((off_t)st.st_blocks * 512 <= OUTPUT_ALLOCATED_MAX || st.st_size <= OUTPUT_KEEP)
		return 0;
	const off_t hole = (st.st_size - OUTPUT_KEEP) / BLOCK * BLOCK;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, hole) == 0)
		return 1;
	return errno == EOPNOTSUPP ? start_anew(fd, st.st_size) : -errno;
}

/*
 * Drops what is before the first line's begin: a hole's NUL bytes and a line that
 * was cut in two.
 */
static void keep_whole_lines(char *data, size_t *len, bool cut)
{
	size_t skip = 0;

	while (skip < *len && data[skip] == '\0')
		skip++;
	if (skip || cut) {
		const char *newline = memchr(data + skip, '\n', *len - skip);
		if (newline)
			skip = (size_t)(newline - data) + 1;
		else if (!skip)
			skip = 1; /* the byte too much */
	}
	*len -= skip;
	memmove(data, data + skip, *len + 1);
}

char *output_tail(const char *path, size_t max, int *ret_error)
{
	struct stat st;
	size_t len;
	CLEAN(fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		*ret_error = -errno;
		return NULL;
	}
	if (max > OUTPUT_TAIL_MAX)
		max = OUTPUT_TAIL_MAX;
	/* One byte more: if it is a newline, the tail begins with a whole line. */
	char *data = read_end(fd, st.st_size, max + 1, &len);

	keep_whole_lines(data, &len, st.st_size > (off_t)max);
	for (size_t i = 0; i < len; i++)
		if (data[i] == '\0')
			data[i] = ' ';
	return data;
}
