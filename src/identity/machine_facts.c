/* SPDX-License-Identifier: MIT */
/*
 * Reads facts about the machine below a root directory. Never fails: a fact
 * that cannot be read or is malformed is "". Never trusts a file's size.
 * machine_facts_same_host() is pure and therefore in identity.c.
 */
#include "cmsnode/identity/machine_facts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmsnode/base/mem.h"

#define FACT_MAX 256

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

/* 8-4-4-4-12 hex digits. All zeros or all f is a vendor's "not set". */
static bool is_uuid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(text) != sizeof(shape) - 1)
		return false;
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == 'x' ? !isxdigit((unsigned char)text[i]) : text[i] != '-')
			return false;
	return strspn(text, "0-") != sizeof(shape) - 1 && strspn(text, "f-") != sizeof(shape) - 1;
}

static int read_uuid(const char *root, const char *path, char ret[40])
{
	char text[FACT_MAX];
	const int r = read_fact(root, path, text);

	str_lower(text);
	(void)snprintf(ret, 40, "%.36s", is_uuid(text) ? text : "");
	return r;
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

void machine_facts_read(const char *root, struct machine_facts *ret)
{
	*ret = (struct machine_facts){ 0 };
	read_boot_id(root, ret->boot_id);
	read_netns(ret->netns);
	(void)read_uuid(root, "/sys/class/dmi/id/product_uuid", ret->product_uuid);
	read_hostname(root, ret->hostname);
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);

	ret->processors = processors > 0 ? processors : 1;
}
