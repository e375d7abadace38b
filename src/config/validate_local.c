/* SPDX-License-Identifier: MIT */
/*
 * Reads what this machine adds to the checks. Only warnings come of it, so what
 * cannot be read is left out in silence.
 */
#include "cmsnode/config/validate_local.h"

#include <stdio.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/network/address.h"

#define HOSTS_MAX ((size_t)4 << 20)

void validate_local_fini(struct validate_local *local)
{
	str_list_fini(&local->loopback_names);
}

static int read_under(const char *root, const char *path, struct buf *ret)
{
	CLEAN(str) char *whole = xasprintf("%s%s", root, path);

	return file_read(whole, ret, NULL);
}

static void read_ports(const char *root, struct validate_local *ret)
{
	CLEAN(buf) struct buf text = BUF_INIT(4096);
	int first, last;

	if (read_under(root, "/proc/sys/net/ipv4/ip_local_port_range", &text) < 0 ||
	    sscanf(buf_str(&text), "%d %d", &first, &last) != 2)
		return;
	ret->ephemeral_first = first;
	ret->ephemeral_last = last;
}

/* "address name alias... # comment"; cut in place. */
static void read_hosts_line(char *line, struct str_list *ret)
{
	static const char blanks[] = " \t\r";
	struct address address;
	char *rest = NULL;

	line[strcspn(line, "#")] = '\0';
	const char *word = strtok_r(line, blanks, &rest);

	if (!word || address_parse(word, &address) < 0 || !address_is_loopback(&address))
		return;
	for (word = strtok_r(NULL, blanks, &rest); word; word = strtok_r(NULL, blanks, &rest)) {
		CLEAN(str) char *name = xstrdup(word);

		str_lower(name);
		/* Those may: the machine itself is all that they ever mean. */
		if (!str_starts(name, "localhost") && !str_starts(name, "ip6-"))
			str_list_add(ret, name);
	}
}

static void read_hosts(const char *root, struct validate_local *ret)
{
	CLEAN(buf) struct buf text = BUF_INIT(HOSTS_MAX);

	if (read_under(root, "/etc/hosts", &text) < 0)
		return;
	CLEAN(str) char *copy = xstrdup(buf_str(&text));
	char *rest = NULL;

	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		read_hosts_line(line, &ret->loopback_names);
}

void validate_local_read(const char *root, struct validate_local *ret)
{
	*ret = (struct validate_local){ 0 };
	read_ports(root, ret);
	read_hosts(root, ret);
}

void validate_local_apply(const struct validate_local *local, struct validate_context *context)
{
	context->ephemeral_first = local->ephemeral_first;
	context->ephemeral_last = local->ephemeral_last;
	context->loopback_names = &local->loopback_names;
}
