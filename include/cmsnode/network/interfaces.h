/* SPDX-License-Identifier: MIT */
/*
 * A snapshot of what the kernel says about this host's network: links,
 * addresses, default routes. A value: it is filled by netlink.c (or by a test)
 * and only read afterwards. Pure.
 */
#ifndef CMSNODE_NETWORK_INTERFACES_H
#define CMSNODE_NETWORK_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/network/address.h"

struct interface_link {
	int index;
	char name[16];
	/* IFLA_INFO_KIND: "bridge", "veth", "vlan", ...; "" for hardware and loopback */
	char kind[16];
	unsigned int flags;	/* IFF_UP, IFF_RUNNING, IFF_LOOPBACK, IFF_POINTOPOINT */
	int master;		/* index of the bridge or bond it belongs to, 0 = none */
	uint8_t mac[8];		/* of a longer one (InfiniBand) the last 8 bytes */
	uint8_t mac_len;
	bool mac_permanent;	/* IFLA_PERM_ADDRESS says that `mac` is the hardware's own */
};

struct interface_address {
	int link;		/* index */
	struct address address;
	int prefix;
	uint8_t scope;		/* RT_SCOPE_UNIVERSE 0, SITE 200, LINK 253, HOST 254 */
	/* IFA_F_TENTATIVE, IFA_F_DEPRECATED, IFA_F_TEMPORARY, IFA_F_SECONDARY, ... */
	uint32_t flags;
	/* lifetimes in s, UINT32_MAX = for ever; not compared by interfaces_equal() */
	uint32_t valid_s;
	uint32_t preferred_s;
};

struct interface_route {	/* a default route, one per next hop */
	int family;
	uint32_t table;
	uint32_t metric;
	int link;		/* 0 if none */
	struct address gateway;		/* family 0 = none */
	struct address source;		/* prefsrc, family 0 = none */
};

struct interfaces {
	struct interface_link *links;
	size_t links_len, links_cap;
	struct interface_address *addresses;
	size_t addresses_len, addresses_cap;
	struct interface_route *routes;
	size_t routes_len, routes_cap;
};

void interfaces_fini(struct interfaces *interfaces);
static inline void clean_interfaces(struct interfaces *interfaces)
{
	interfaces_fini(interfaces);
}
void interfaces_copy(struct interfaces *to, const struct interfaces *from);

/*
 * Puts links (by index), addresses and routes into one fixed order, so that equal states compare
 * equal.
 */
void interfaces_sort(struct interfaces *interfaces);
bool interfaces_equal(const struct interfaces *a, const struct interfaces *b);	/* both sorted */

/* NULL if gone */
const struct interface_link *interfaces_link(const struct interfaces *interfaces, int index);
const struct interface_link *interfaces_link_by_name(const struct interfaces *interfaces,
						     const char *name);

/* The entry that carries this address, or NULL. */
const struct interface_address *interfaces_find(const struct interfaces *interfaces,
						const struct address *address);

#endif
