/* SPDX-License-Identifier: MIT */
/*
 * The state file with the node's base id. Never leaves a half-written file:
 * the new one replaces the old one by rename, both synced. Never guesses: a
 * damaged file is an error, since a new id would give the node's slots away.
 */
#include "cmsnode/identity/identity_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/identity/identity.h"

#define FILE_MAX 4096

static int damaged(struct err *err, const char *path, const char *why)
{
	return err_set(
		err, -EINVAL,
		"%s is damaged (%s): restore it from a backup, or remove it and this node gets a "
		"new identity (--node-id ID keeps the old one)",
		path, why);
}

/* The bytes of the file: their number, -ENOENT, or another error with its message. */
static ssize_t read_whole(const char *path, char text[FILE_MAX], struct err *err)
{
	CLEAN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	size_t len = 0;

	while (len < FILE_MAX) {
		const ssize_t n = read(fd, text + len, FILE_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, -errno, "cannot read %s", path);
		if (n == 0)
			return (ssize_t)len;
		len += (size_t)n;
	}
	return damaged(err, path, "too long");
}

int identity_file_read(const char *state_dir, char **ret, struct err *err)
{
	CLEAN(str) char *path = xasprintf("%s/node-id", state_dir);
	char text[FILE_MAX];
	const ssize_t len = read_whole(path, text, err);
	if (len == -ENOENT) {
		*ret = NULL;
		return 0;
	}
	if (len < 0)
		return (int)len;
	struct err reason = { 0 };
	CLEAN(json) cJSON *json = json_parse(text, (size_t)len, &reason);
	if (!json)
		return damaged(err, path, reason.msg);
	CLEAN(str) char *id = xstrdup(json_get_str(json, "id"));
	if (!id)
		return damaged(err, path, "no text \"id\" in it");
	if (identity_validate(id, &reason) < 0)
		return damaged(err, path, reason.msg);
	*ret = steal(id);
	return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
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

/* Makes `path` anew, 0600, with the text safely on the disk. */
static int write_synced(const char *path, const char *text)
{
	(void)unlink(path); /* a leftover, whose mode and owner we do not want */
	CLEAN(fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	const int r = write_all(fd, text, strlen(text));
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

/* Without this the rename itself may be lost with the power. */
static int sync_directory(const char *path)
{
	CLEAN(fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static char *file_text(const char *base_id, const char *source)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	json_add_str(json, "id", base_id);
	json_add_str(json, "source", source);
	json_add_double(json, "created_at", clock_wall_s());
	CLEAN(str) char *line = json_text(json);

	return xasprintf("%s\n", line);
}

int identity_file_write(const char *state_dir, const char *base_id, const char *source,
			struct err *err)
{
	CLEAN(str) char *path = xasprintf("%s/node-id", state_dir);
	CLEAN(str) char *fresh = xasprintf("%s/node-id.new", state_dir);
	CLEAN(str) char *text = file_text(base_id, source);
	int r = write_synced(fresh, text);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(fresh);
		return err_errno(err, r, "cannot write %s", path);
	}
	r = sync_directory(state_dir);
	return r < 0 ? err_errno(err, r, "cannot sync %s", state_dir) : 0;
}
