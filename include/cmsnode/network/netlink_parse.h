/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink messages as values: bytes in, entries of a snapshot out. Pure. The
 * bytes are checked as if anybody had sent them; whether the kernel did is the
 * receiver's business (netlink.c).
 *
 * Messages must be aligned to 4 bytes and lie wholly in memory, nlmsg_len bytes
 * of them; netlink_parse() checks the latter for a whole buffer.
 */
#ifndef CMSNODE_NETWORK_NETLINK_PARSE_H
#define CMSNODE_NETWORK_NETLINK_PARSE_H

#include <stdbool.h>
#include <stddef.h>

struct address;
struct interfaces;
struct nlmsghdr;

#define NETLINK_PARSE_MAX 32768	/* links, addresses and routes of one snapshot, each */

/*
 * Adds what one message tells: a link (RTM_NEWLINK), an address (RTM_NEWADDR), or
 * the next hops of a default route (RTM_NEWROUTE, unicast, IPv4 and IPv6, any
 * table but the local one). Other messages and routes add nothing.
 *
 * Of a link's flags only those that struct interface_link names are kept. `mac`
 * is the permanent address if the kernel tells one, else the present one; of an
 * address longer than 8 bytes (InfiniBand) the last 8, which identify the port.
 *
 * 0; -EBADMSG for a malformed message; -E2BIG beyond NETLINK_PARSE_MAX. Nothing
 * is added on error, save that a multipath route may keep its first next hops.
 */
int netlink_parse_message(const struct nlmsghdr *message, struct interfaces *into);

/* All messages of a buffer; the first error ends it. */
int netlink_parse(const void *data, size_t len, struct interfaces *into);

/* Is there a message in the buffer that may mean a different snapshot? */
bool netlink_parse_has_change(const void *data, size_t len);

/*
 * The preferred source of an answer to RTM_GETROUTE. 0; -EBADMSG (malformed, or
 * no such answer); -ENETUNREACH (a route that refuses); -EADDRNOTAVAIL (a route
 * without a source).
 */
int netlink_parse_source(const struct nlmsghdr *message, struct address *ret);

#endif
