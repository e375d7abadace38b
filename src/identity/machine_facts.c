/* SPDX-License-Identifier: MIT */
/*
 * Reads facts about the machine below a root directory. Never fails: a fact
 * that cannot be read or is malformed is "". Never trusts a file's size.
 * What is pure about them is in identity.c.
 */
#include "cmsnode/identity/machine_facts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define FACT_MAX 256
#define PROC_MAX ((size_t)1 << 20)

/*
 * The file's trimmed text ("" if it is unreadable, too long or has a NUL). 0, or
 * -ENOENT if there is no file.
 */
static int read_fact(const char *root, const char *path, char ret[FACT_MAX])
{
	CLEAN(str) char *full = xasprintf("%s%s", root, path);
	/* Nonblocking: somebody's FIFO in a test root must not hang the start. */
	CLEAN(fd) int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	ret[0] = '\0';
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? -ENOENT : 0;
	char text[FACT_MAX];
	const ssize_t n = read(fd, text, sizeof(text));
	if (n <= 0 || n == FACT_MAX || memchr(text, '\0', (size_t)n))
		return 0;
	size_t from = 0;
	size_t to = (size_t)n;

	while (from < to && isspace((unsigned char)text[from]))
		from++;
	while (to > from && isspace((unsigned char)text[to - 1]))
		to--;
	memcpy(ret, text + from, to - from);
	ret[to - from] = '\0';
	return 0;
}

static int read_uuid(const char *root, const char *path, char ret[40])
{
	char text[FACT_MAX];
	const int r = read_fact(root, path, text);

	str_lower(text);
	(void)snprintf(ret, 40, "%.36s", machine_facts_is_uuid(text) ? text : "");
	return r;
}

/* DMI texts are the vendor's: what is too long or not printable is none. */
static void read_dmi(const char *root, const char *path, char ret[65])
{
	char text[FACT_MAX];

	(void)read_fact(root, path, text);
	bool good = strlen(text) <= 64;

	for (const char *c = text; *c && good; c++)
		good = *c >= ' ' && *c <= '~';
	(void)snprintf(ret, 65, "%.64s", good ? text : "");
}

static void read_boot_id(const char *root, char ret[40])
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";

	if (read_uuid(root, path, ret) == -ENOENT)
		(void)read_uuid("", path, ret);
}

static void read_netns(char ret[48])
{
	struct stat st;

	ret[0] = '\0';
	if (stat("/proc/self/ns/net", &st) == 0)
		(void)snprintf(ret, 48, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
}

static bool is_hostname(const char *text)
{
	const size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
			return false;
	return len > 0 && len <= 64;
}

static void read_hostname(const char *root, char ret[65])
{
	char text[FACT_MAX] = "";

	if (strcmp(root, "/") != 0)
		(void)read_fact(root, "/etc/hostname", text);
	else if (gethostname(text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	(void)snprintf(ret, 65, "%.64s", is_hostname(text) ? text : "");
}

/* ---- the machine-id, and whose it is -------------------------------------- */

static bool exists(const char *root, const char *path)
{
	CLEAN(str) char *full = xasprintf("%s%s", root, path);

	return access(full, F_OK) == 0;
}

/* The beginning of a file of /proc, at most PROC_MAX bytes of it; "" if it is unreadable. */
static void read_proc(const char *root, const char *path, struct buf *ret)
{
	CLEAN(str) char *full = xasprintf("%s%s", root, path);
	CLEAN(fd) int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	while (fd >= 0) {
		char piece[4096];
		const ssize_t n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || buf_add(ret, piece, (size_t)n) < 0)
			return;
	}
}

/* An entry "container=..." in the environment of pid 1: LXC, systemd-nspawn, podman. */
static bool init_says_container(const char *root)
{
	CLEAN(buf) struct buf environment = BUF_INIT(PROC_MAX);

	read_proc(root, "/proc/1/environ", &environment);
	for (size_t at = 0; at < environment.len; at += strlen(environment.data + at) + 1)
		if (str_starts(environment.data + at, "container="))
			return true;
	return false;
}

struct mounts {
	bool overlay_root;
	bool machine_id;
};

/* "36 35 98:0 <root> <mount point> <options> [<tags>] - <type> <source> <options>", proc(5) */
static void note_mount(char *line, struct mounts *mounts)
{
	char *at = line;
	const char *point = NULL;

	for (int field = 1; field <= 5; field++)
		point = strsep(&at, " ");
	if (!point || !at)
		return;
	const char *type = strstr(at, " - ");

	if (strcmp(point, "/etc/machine-id") == 0)
		mounts->machine_id = true;
	if (strcmp(point, "/") == 0 && type)
		mounts->overlay_root |= str_starts(type, " - overlay ") ||
					str_starts(type, " - fuse.fuse-overlayfs ");
}

static struct mounts read_mounts(const char *root)
{
	CLEAN(buf) struct buf text = BUF_INIT(PROC_MAX);
	struct mounts mounts = { 0 };

	read_proc(root, "/proc/self/mountinfo", &text);
	char *rest = text.data;

	while (rest)
		note_mount(strsep(&rest, "\n"), &mounts);
	return mounts;
}

/*
 * No single sign is everywhere: docker and podman leave a file, LXC and
 * systemd-nspawn tell pid 1 (and systemd in them leaves a file), containerd
 * does neither, but its root is an overlay. A host that looks so as well (a live
 * system) loses nothing but this source, and its image's machine-id is no
 * identity anyway. With --pid=host pid 1 says nothing; the other signs remain.
 */
static bool in_container(const char *root, const struct mounts *mounts)
{
	return exists(root, "/.dockerenv") || exists(root, "/run/.containerenv") ||
	       exists(root, "/run/systemd/container") || mounts->overlay_root ||
	       init_says_container(root);
}

static void read_machine_id(const char *root, struct machine_facts *facts)
{
	char text[FACT_MAX];

	(void)read_fact(root, "/etc/machine-id", text);
	str_lower(text);
	if (!str_is_hex(text, 32) || !text[strspn(text, "0")] || !text[strspn(text, "f")]) {
		facts->machine_id_why = "there is none in /etc/machine-id";
		return;
	}
	memcpy(facts->machine_id, text, 33);
	const struct mounts mounts = read_mounts(root);

	facts->machine_id_usable = mounts.machine_id || !in_container(root, &mounts);
	if (!facts->machine_id_usable)
		facts->machine_id_why = "that of a container's image is not the host's; mount the "
					"host's /etc/machine-id read-only to use it";
}

void machine_facts_read(const char *root, struct machine_facts *ret)
{
	*ret = (struct machine_facts){ 0 };
	read_boot_id(root, ret->boot_id);
	read_netns(ret->netns);
	(void)read_uuid(root, "/sys/class/dmi/id/product_uuid", ret->product_uuid);
	read_dmi(root, "/sys/class/dmi/id/sys_vendor", ret->sys_vendor);
	read_dmi(root, "/sys/class/dmi/id/board_asset_tag", ret->board_asset_tag);
	read_hostname(root, ret->hostname);
	read_machine_id(root, ret);
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);

	ret->processors = processors > 0 ? processors : 1;
}
