/* SPDX-License-Identifier: MIT */
/*
 * The generations' files on disk, for the services to read. Invariants: below
 * "generations" a name without TEMPORARY in front is a complete set that was
 * fsynced before it got the name; nothing is changed in place. Must never judge
 * or log what is in the files: they hold passwords.
 */
#include "cmsnode/config/rendered_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define MODULE "rendered_files"
#define GENERATIONS "generations"
#define DIRECTORY_MODE 0750
#define FILE_MODE 0640
#define MAX_NAME 200 /* leaves room for the marks of a temporary name within NAME_MAX */

/* In front of the name of what is being written or removed; no character of a name. */
#define TEMPORARY "~"

static inline void clean_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* ---- Names ---- */

static bool is_name(const char *s)
{
	static const char characters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	const size_t len = strlen(s);

	return len > 0 && len <= MAX_NAME && strspn(s, characters) == len && strcmp(s, ".") != 0 &&
	       strcmp(s, "..") != 0;
}

static int check_name(const char *what, const char *name, struct err *err)
{
	if (is_name(name))
		return 0;
	return err_set(err, -EINVAL,
		       "'%.80s' cannot be the name of a %s: at most %d letters, digits, "
		       "'.', '_' and '-'",
		       name, what, MAX_NAME);
}

static int check_names(const char *generation, const struct rendered_file *files, size_t len,
		       struct err *err)
{
	int rc = check_name("generation", generation, err);

	for (size_t i = 0; rc == 0 && i < len; i++)
		rc = check_name("rendered file", files[i].name, err);
	return rc;
}

static char *generations_path(const char *state_dir)
{
	return xasprintf("%s/" GENERATIONS, state_dir);
}

char *rendered_files_path(const char *state_dir, const char *generation, const char *name)
{
	return xasprintf("%s/" GENERATIONS "/%s/%s", state_dir, generation, name);
}

/* ---- Directories ---- */

static int open_dir(int at, const char *path)
{
	const int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Only root may give files away; for others they stay in our own group. */
static bool gives_group(gid_t gid)
{
	return gid != (gid_t)-1 && geteuid() == 0;
}

/* Exactly this mode, whatever the umask, and the group. 0 or a negative errno. */
static int set_access(int fd, mode_t mode, gid_t gid)
{
	if (gives_group(gid) && fchown(fd, 0, gid) < 0)
		return -errno;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int set_access_and_sync(int fd, mode_t mode, gid_t gid)
{
	const int rc = set_access(fd, mode, gid);
	if (rc < 0)
		return rc;
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	CLEAN(str)
	char *parent = !slash	     ? xstrdup(".") :
		       slash == path ? xstrdup("/") :
				       xstrndup(path, (size_t)(slash - path));
	/* A parent may well be a symbolic link. */
	CLEAN(fd) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* 0: was there, 1: made, or a negative errno. */
static int make_dir(const char *path, gid_t gid)
{
	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	CLEAN(fd) int fd = open_dir(AT_FDCWD, path);
	if (fd < 0)
		return fd;
	int rc = set_access_and_sync(fd, DIRECTORY_MODE, gid);
	if (rc == 0)
		rc = sync_parent(path);
	return rc < 0 ? rc : 1;
}

int rendered_files_prepare(const char *state_dir, gid_t gid, struct err *err)
{
	CLEAN(str) char *generations = generations_path(state_dir);
	/* An existing state directory is the operator's: its mode is left alone. */
	int rc = make_dir(state_dir, gid);
	if (rc < 0)
		return err_errno(err, rc, "cannot make the state directory %s", state_dir);
	rc = make_dir(generations, gid);
	if (rc < 0)
		return err_errno(err, rc, "cannot make %s", generations);
	CLEAN(fd) int fd = open_dir(AT_FDCWD, generations);
	rc = fd < 0 ? fd : set_access_and_sync(fd, DIRECTORY_MODE, gid);
	if (rc < 0)
		return err_errno(err, rc, "%s is not a directory of ours", generations);
	return 0;
}

static DIR *open_stream(int at, const char *name)
{
	const int fd = open_dir(at, name);
	if (fd < 0)
		return NULL;
	DIR *dir = fdopendir(fd);

	if (!dir)
		(void)close(fd);
	return dir;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The next entry that is neither "." nor "..", or NULL. */
static const char *next_name(DIR *dir)
{
	const struct dirent *entry;

	do {
		entry = readdir(dir);
	} while (entry && is_dot(entry->d_name));
	return entry ? entry->d_name : NULL;
}

/* A directory of ours holds files only, so one level is enough; links are not followed. */
static int remove_dir(int at, const char *name)
{
	CLEAN(dir) DIR *dir = open_stream(at, name);
	if (!dir)
		return -errno;
	for (const char *file = next_name(dir); file; file = next_name(dir))
		if (unlinkat(dirfd(dir), file, 0) < 0)
			return -errno;
	return unlinkat(at, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* ---- Is it there already? ---- */

static bool has_access(int fd, mode_t mode, gid_t gid, struct stat *ret)
{
	if (fstat(fd, ret) < 0 || (ret->st_mode & 07777) != mode)
		return false;
	return !gives_group(gid) || (ret->st_uid == 0 && ret->st_gid == gid);
}

static bool reads_as(int fd, const char *text, size_t len)
{
	char chunk[16384];
	size_t done = 0;

	while (done < len) {
		const ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (size_t)n > len - done || memcmp(chunk, text + done, (size_t)n) != 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool same_file(int dir, const struct rendered_file *file, gid_t gid)
{
	struct stat st;
	CLEAN(fd) int fd = openat(dir, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || !has_access(fd, FILE_MODE, gid, &st) || !S_ISREG(st.st_mode))
		return false;
	const size_t len = strlen(file->text);

	return st.st_size == (off_t)len && reads_as(fd, file->text, len);
}

/* The same files, no more and no fewer, which the services can read as they should. */
static bool same_generation(int generations, const char *name, const struct rendered_file *files,
			    size_t len, gid_t gid)
{
	struct stat st;
	size_t found = 0;
	CLEAN(dir) DIR *dir = open_stream(generations, name);
	if (!dir || !has_access(dirfd(dir), DIRECTORY_MODE, gid, &st))
		return false;
	for (const char *file = next_name(dir); file; file = next_name(dir))
		found++;
	for (size_t i = 0; i < len; i++)
		if (!same_file(dirfd(dir), &files[i], gid))
			return false;
	return found == len;
}

/* ---- Writing ---- */

static int write_file(int dir, const struct rendered_file *file, gid_t gid, struct err *err)
{
	CLEAN(fd)
	int fd =
		openat(dir, file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : file_write_all(fd, file->text);
	if (rc == 0)
		rc = set_access_and_sync(fd, FILE_MODE, gid);
	if (rc < 0)
		return err_errno(err, rc, "cannot write %s", file->name);
	return 0;
}

static int fill_dir(int generations, const char *temporary, const struct rendered_file *files,
		    size_t len, gid_t gid, struct err *err)
{
	CLEAN(fd) int dir = open_dir(generations, temporary);
	if (dir < 0)
		return err_errno(err, dir, "cannot open the new directory");
	for (size_t i = 0; i < len; i++) {
		const int rc = write_file(dir, &files[i], gid, err);
		if (rc < 0)
			return rc;
	}
	const int rc = set_access_and_sync(dir, DIRECTORY_MODE, gid);

	return rc < 0 ? err_errno(err, rc, "cannot finish the new directory") : 0;
}

static int rename_in(int dir, const char *from, const char *to, unsigned int flags)
{
	return renameat2(dir, from, dir, to, flags) < 0 ? -errno : 0;
}

/* Not atomic, for file systems that cannot exchange: the old set goes out of the way first. */
static int replace_in_steps(int generations, const char *temporary, const char *name)
{
	CLEAN(str) char *aside = xasprintf("%s.old", temporary);
	int rc = rename_in(generations, name, aside, 0);
	if (rc < 0)
		return rc;
	rc = rename_in(generations, temporary, name, 0);
	if (rc < 0)
		return rc;
	return rename_in(generations, aside, temporary, 0);
}

/* Afterwards `name` is the new set and `temporary` the one before, if there was one. */
static int put_in_place(int generations, const char *temporary, const char *name)
{
	struct stat st;
	if (fstatat(generations, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? rename_in(generations, temporary, name, 0) : -errno;
	const int rc = rename_in(generations, temporary, name, RENAME_EXCHANGE);

	return rc == -EINVAL ? replace_in_steps(generations, temporary, name) : rc;
}

static int remove_leftover(int generations, const char *name)
{
	const int rc = remove_dir(generations, name);
	if (rc == -ENOTDIR)
		return unlinkat(generations, name, 0) < 0 ? -errno : 0;
	return rc;
}

static int write_new(int generations, const char *name, const struct rendered_file *files,
		     size_t len, gid_t gid, struct err *err)
{
	CLEAN(str) char *temporary = xasprintf(TEMPORARY "%s.%ld", name, (long)getpid());

	/* Ours: a name ends with the process, and a process writes one set at a time. */
	(void)remove_leftover(generations, temporary);
	if (mkdirat(generations, temporary, 0700) < 0)
		return err_errno(err, -errno, "cannot make a directory");
	int rc = fill_dir(generations, temporary, files, len, gid, err);
	if (rc == 0) {
		rc = put_in_place(generations, temporary, name);
		if (rc == 0 && fsync(generations) < 0)
			rc = -errno;
		if (rc < 0)
			(void)err_errno(err, rc, "cannot put the new directory in its place");
	}
	(void)remove_leftover(generations, temporary);
	return rc;
}

int rendered_files_write(const char *state_dir, const char *generation,
			 const struct rendered_file *files, size_t len, gid_t gid, struct err *err)
{
	int rc = check_names(generation, files, len, err);
	if (rc < 0)
		return rc;
	CLEAN(str) char *path = generations_path(state_dir);
	CLEAN(fd) int generations = open_dir(AT_FDCWD, path);
	if (generations < 0)
		return err_errno(err, generations, "cannot open %s", path);
	/* Synced in any case: its writer may have died between rename and fsync. */
	if (same_generation(generations, generation, files, len, gid))
		return fsync(generations) < 0 ? err_errno(err, -errno, "cannot sync %s", path) : 0;
	rc = write_new(generations, generation, files, len, gid, err);
	if (rc < 0)
		return err_wrap(err, "generation %s in %s", generation, path);
	return 0;
}

/* ---- Sweeping ---- */

static bool is_ours(const char *name)
{
	return is_name(name) || str_starts(name, TEMPORARY);
}

static bool is_directory(int at, const char *name)
{
	struct stat st;

	return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* All names first: what readdir() shows while entries go is not defined. */
static void list_names(DIR *dir, struct str_list *names)
{
	for (const char *name = next_name(dir); name; name = next_name(dir))
		str_list_add(names, name);
}

void rendered_files_sweep(const char *state_dir, const struct str_list *keep)
{
	CLEAN(str) char *path = generations_path(state_dir);
	CLEAN(str_list) struct str_list names = { 0 };
	CLEAN(dir) DIR *dir = open_stream(AT_FDCWD, path);
	if (!dir) {
		if (errno != ENOENT)
			log_warning(MODULE, "cannot open %s: %s, old generations stay", path,
				    strerror(errno));
		return;
	}
	list_names(dir, &names);
	for (size_t i = 0; i < names.len; i++) {
		const char *name = names.items[i];
		if (str_list_has(keep, name) || !is_ours(name) || !is_directory(dirfd(dir), name))
			continue;
		const int rc = remove_dir(dirfd(dir), name);
		if (rc < 0)
			log_warning(MODULE, "cannot remove the old generation %s/%s: %s, ignoring",
				    path, name, strerror(-rc));
	}
}
