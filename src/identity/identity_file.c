/* SPDX-License-Identifier: MIT */
/*
 * The state file with the node's base id and the machine that it belongs to.
 * Never leaves a half-written file: the new one replaces the old one by rename,
 * both synced. Never guesses: a damaged file is an error, since a new id would
 * give the node's slots away.
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
#include "cmsnode/base/file.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/identity.h"
#include "cmsnode/identity/machine_facts.h"

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

/* An unknown name is a later version's; then where the id came from is not known. */
static enum identity_source parse_source(const char *name)
{
	static const enum identity_source sources[] = { IDENTITY_EC2, IDENTITY_MACHINE_ID,
							IDENTITY_RANDOM };

	for (size_t i = 0; i < ARRAY_LEN(sources); i++)
		if (str_eq(name, identity_source_name(sources[i])))
			return sources[i];
	return IDENTITY_STATE_FILE;
}

static int parse_id(const cJSON *json, struct identity_record *record, struct err *reason)
{
	CLEAN(str) char *id = xstrdup(json_get_str(json, "id"));
	if (!id)
		return err_set(reason, -EINVAL, "no text \"id\" in it");
	const int r = identity_validate(id, reason);
	if (r < 0)
		return r;
	memcpy(record->id, id, strlen(id) + 1);
	return 0;
}

/* Facts that are absent were unreadable, or version 0.1 wrote the file. */
static int parse_facts(const cJSON *json, struct identity_record *record, struct err *reason)
{
	const char *uuid = json_get_str(json, "product_uuid");
	if (!uuid && json_get(json, "product_uuid"))
		return err_set(reason, -EINVAL, "\"product_uuid\" is no text");
	if (uuid && *uuid && !machine_facts_is_uuid(uuid))
		return err_set(reason, -EINVAL, "\"product_uuid\" is no UUID");
	(void)snprintf(record->product_uuid, sizeof(record->product_uuid), "%s", uuid ? uuid : "");
	if (json_get_str_list(json, "macs", &record->macs) < 0)
		return err_set(reason, -EINVAL, "\"macs\" is no list of texts");
	for (size_t i = 0; i < record->macs.len; i++)
		if (!machine_facts_is_mac(record->macs.items[i]))
			return err_set(reason, -EINVAL, "'%.40s' in \"macs\" is no MAC address",
				       record->macs.items[i]);
	return 0;
}

static int parse_record(const char *text, size_t len, struct identity_record *ret,
			struct err *reason)
{
	CLEAN(json) cJSON *json = json_parse(text, len, reason);
	if (!json)
		return reason->code;
	CLEAN(identity_record) struct identity_record record = {
		.source = parse_source(json_get_str(json, "source")),
		.created_at = json_get_double(json, "created_at", 0)
	};
	int r = parse_id(json, &record, reason);
	if (r == 0)
		r = parse_facts(json, &record, reason);
	if (r < 0)
		return r;
	*ret = record;
	record = (struct identity_record){ 0 };
	return 0;
}

int identity_file_load(const char *state_dir, struct identity_record *ret, struct err *err)
{
	CLEAN(str) char *path = xasprintf("%s/node-id", state_dir);
	char text[FILE_MAX];
	const ssize_t len = read_whole(path, text, err);
	if (len == -ENOENT) {
		*ret = (struct identity_record){ 0 };
		return 0;
	}
	if (len < 0)
		return (int)len;
	struct err reason = { 0 };

	if (parse_record(text, (size_t)len, ret, &reason) < 0)
		return damaged(err, path, reason.msg);
	return 0;
}

/* Makes `path` anew, 0600, with the text safely on the disk. */
static int write_synced(const char *path, const char *text)
{
	(void)unlink(path); /* a leftover, whose mode and owner we do not want */
	CLEAN(fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	const int r = file_write_all(fd, text);
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

static char *file_text(const struct identity_record *record)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	json_add_str(json, "id", record->id);
	json_add_str(json, "source", identity_source_name(record->source));
	json_add_double(json, "created_at",
			record->created_at > 0 ? record->created_at : clock_wall_s());
	json_add_str(json, "product_uuid", record->product_uuid);
	json_add_str_list(json, "macs", &record->macs);
	CLEAN(str) char *line = json_text(json);

	return xasprintf("%s\n", line);
}

int identity_file_save(const char *state_dir, const struct identity_record *record, struct err *err)
{
	CLEAN(str) char *path = xasprintf("%s/node-id", state_dir);
	CLEAN(str) char *fresh = xasprintf("%s/node-id.new", state_dir);
	CLEAN(str) char *text = file_text(record);
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
