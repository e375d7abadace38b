/* SPDX-License-Identifier: MIT */
/*
 * Slot sockets: binding them and finding out who holds one. Must never keep a
 * descriptor: a copy in the daemon would make the slot outlive its unit.
 */
#include "cmsnode/supervision/slot_socket.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define LINKS_MAX 65536 /* descriptors looked at in one scan, all processes together */
#define LINES_MAX 65536 /* of /proc/net/unix */

static inline void clean_file(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

static inline void clean_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* "0000: 00000002 00000000 00010000 0001 01 12345 @name"; the inode if the line is about `name`. */
static bool parse_line(char *line, const char *name, uint64_t *ret_inode)
{
	char *at = strchr(line, '@');
	if (!at)
		return false;
	at[strcspn(at, "\n")] = '\0';
	if (strcmp(at + 1, name) != 0)
		return false;
	return sscanf(line, "%*s %*s %*s %*s %*s %*s %" SCNu64, ret_inode) == 1;
}

static int find_inode(const char *name, uint64_t *ret)
{
	CLEAN(file) FILE *file = fopen("/proc/self/net/unix", "re");
	char line[512];

	if (!file)
		return -errno;
	for (unsigned int i = 0; i < LINES_MAX && fgets(line, sizeof(line), file); i++)
		if (parse_line(line, name, ret))
			return 0;
	return -ENOENT;
}

static bool process_holds(const char *pid, const char *wanted, unsigned int *links)
{
	char path[300];
	char link[64];

	(void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	CLEAN(dir) DIR *dir = opendir(path);
	if (!dir)
		return false;
	for (const struct dirent *entry = readdir(dir); entry && *links < LINKS_MAX;
	     entry = readdir(dir)) {
		(*links)++;
		const ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strcmp(link, wanted) == 0)
			return true;
	}
	return false;
}

static void read_name(const char *pid, char *ret, size_t size)
{
	char path[300];

	(void)snprintf(ret, size, "unknown");
	(void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	CLEAN(file) FILE *file = fopen(path, "re");
	if (file && fgets(ret, (int)size, file))
		ret[strcspn(ret, "\n")] = '\0';
}

int slot_socket_find_holder(const char *name, struct slot_holder *ret)
{
	uint64_t inode;
	char wanted[64];
	unsigned int links = 0;
	int64_t pid;

	if (find_inode(name, &inode) < 0)
		return -ENOENT;
	(void)snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", inode);
	CLEAN(dir) DIR *proc = opendir("/proc");
	if (!proc)
		return -ENOENT;
	for (const struct dirent *entry = readdir(proc); entry && links < LINKS_MAX;
	     entry = readdir(proc)) {
		if (str_to_int64(entry->d_name, 1, INT32_MAX, &pid) < 0 ||
		    !process_holds(entry->d_name, wanted, &links))
			continue;
		ret->pid = (pid_t)pid;
		read_name(entry->d_name, ret->name, sizeof(ret->name));
		return 0;
	}
	return -ENOENT;
}

static int refuse_held(const char *name, struct err *err)
{
	struct slot_holder holder;

	if (slot_socket_find_holder(name, &holder) < 0)
		return err_set(err, -EADDRINUSE,
			       "slot is held by a process not seen from here (in another container "
			       "on this network?); stop it");
	return err_set(err, -EADDRINUSE,
		       "slot is held by pid %ld (%s), started by another daemon; stop it",
		       (long)holder.pid, holder.name);
}

int slot_socket_bind(const char *prefix, const char *service, int shard, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char *name = address.sun_path + 1; /* behind the NUL that makes it abstract */
	const size_t size = sizeof(address.sun_path) - 1;
	const int n = snprintf(name, size, "%s%s-%d", prefix, service, shard);
	if (n < 0 || (size_t)n >= size)
		return err_set(err, -ENAMETOOLONG, "the slot socket's name '%s%s-%d' is too long",
			       prefix, service, shard);
	CLEAN(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, -errno, "cannot make the slot socket '@%s'", name);
	const socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);

	if (bind(fd, (const struct sockaddr *)&address, len) < 0) {
		if (errno == EADDRINUSE)
			return refuse_held(name, err);
		return err_errno(err, -errno, "cannot bind the slot socket '@%s'", name);
	}
	const int bound = fd;

	fd = -1;
	return bound;
}
