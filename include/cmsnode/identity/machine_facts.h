/* SPDX-License-Identifier: MIT */
/*
 * Facts about the machine under us, read once below a root directory (tests
 * give each test host its own): boot id, network namespace, DMI, host name,
 * machine-id. Permanent MACs are the network snapshot's.
 */
#ifndef CMSNODE_IDENTITY_MACHINE_FACTS_H
#define CMSNODE_IDENTITY_MACHINE_FACTS_H

#include <stdbool.h>

#include "cmsnode/base/str.h"

struct interfaces;

struct machine_facts {
	char boot_id[40];	/* <root>/proc/sys/kernel/random/boot_id, else the real one */
	char netns[48];		/* "<device>:<inode>" of /proc/self/ns/net (always the real one) */
	char product_uuid[40];	/* <root>/sys/class/dmi/id/product_uuid, lower case */
	char sys_vendor[65];	/* <root>/sys/class/dmi/id/sys_vendor: "Amazon EC2", "QEMU" */
	char board_asset_tag[65];	/* <root>/sys/class/dmi/id/board_asset_tag */
	char hostname[65];	/* <root>/etc/hostname if root is not "/", else gethostname() */
	char machine_id[33];	/* <root>/etc/machine-id: 32 hex digits, lower case */
	/*
	 * It names the host: we are in no container, or <root>/etc/machine-id is a
	 * mount of its own, by which the host's was handed in.
	 */
	bool machine_id_usable;
	const char *machine_id_why;	/* phrase: why it is not; NULL if it is */
	long processors;	/* online; the default of worker:N */
};

/*
 * Never fails: a fact that is unreadable or malformed (not a UUID, not a host
 * name, not printable ASCII; a UUID or machine-id of zeros or f alone) is "".
 */
void machine_facts_read(const char *root, struct machine_facts *ret);

/* 8-4-4-4-12 lower-case hex digits, neither zeros nor f alone (a vendor's "not set"). Pure. */
bool machine_facts_is_uuid(const char *text);

/* "aa:bb:cc:dd:ee:ff", or 8 such bytes; lower case. Pure. */
bool machine_facts_is_mac(const char *text);

/*
 * The permanent MACs of a network snapshot, sorted, each once; `ret` is emptied
 * first. What the administrator set or the kernel invented is none. Pure.
 */
void machine_facts_macs(const struct interfaces *interfaces, struct str_list *ret);

/*
 * Same host: boot id and namespace equal, and product uuid equal where both are
 * readable, else a permanent MAC common where both have any (a VM cloned with
 * its memory has the boot id of the other). NULL is as "" or an empty list.
 * Pure, and therefore in identity.c: the agreement asks it. An empty boot id
 * equals an empty one: a daemon that cannot read its own should say so.
 */
bool machine_facts_same_host_macs(const char *boot_a, const char *netns_a, const char *uuid_a,
				  const struct str_list *macs_a, const char *boot_b,
				  const char *netns_b, const char *uuid_b,
				  const struct str_list *macs_b);

#endif
