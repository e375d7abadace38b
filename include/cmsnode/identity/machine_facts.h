/* SPDX-License-Identifier: MIT */
/*
 * Facts about the machine under us, read once below a root directory (tests
 * give each test host its own): boot id, network namespace, product uuid,
 * host name.
 */
#ifndef CMSNODE_IDENTITY_MACHINE_FACTS_H
#define CMSNODE_IDENTITY_MACHINE_FACTS_H

#include <stdbool.h>

#include "cmsnode/base/str.h"

struct machine_facts {
	char boot_id[40];	/* <root>/proc/sys/kernel/random/boot_id, else the real one */
	char netns[48];		/* "<device>:<inode>" of /proc/self/ns/net (always the real one) */
	char product_uuid[40];	/* <root>/sys/class/dmi/id/product_uuid, lower case */
	char hostname[65];	/* <root>/etc/hostname if root is not "/", else gethostname() */
	long processors;	/* online; the default of worker:N */
};

/*
 * Never fails: a fact that is unreadable or malformed (not a UUID, not a host
 * name; a UUID of zeros or f alone) is "".
 */
void machine_facts_read(const char *root, struct machine_facts *ret);

/*
 * Same host: boot id and namespace equal, and product uuid equal where both are
 * readable (NULL is as ""). Pure, and therefore in identity.c: the agreement
 * asks it. An empty boot id equals an empty one: a daemon that cannot read its
 * own should say so.
 */
bool machine_facts_same_host(const char *boot_a, const char *netns_a, const char *uuid_a,
			     const char *boot_b, const char *netns_b, const char *uuid_b);

#endif
