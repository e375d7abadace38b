/* SPDX-License-Identifier: MIT */
/*
 * The kernel's view by netlink (libnl-3, libnl-route-3): one dump of links,
 * addresses and default routes, and a monitor that tells when it changed.
 * Two sockets, one for dumps and one for events; the events are subscribed to
 * before the first dump. Messages are only hints: they start a debounced (200
 * ms) new dump; lost messages (ENOBUFS, which libnl reports as NLE_NOMEM) and
 * interrupted dumps (NLM_F_DUMP_INTR) are redone. Only the kernel is believed
 * (sender port 0).
 */
#ifndef CMSNODE_NETWORK_NETLINK_H
#define CMSNODE_NETWORK_NETLINK_H

struct address;
struct err;
struct ev_loop;
struct interfaces;
struct netlink;

/* Opens both sockets and takes the first dump (blocking, a few ms). NULL and err on failure. */
struct netlink *netlink_new(struct ev_loop *loop, struct err *err);
void netlink_free(struct netlink *netlink);

/* The latest snapshot, sorted; borrowed until the loop turns. */
const struct interfaces *netlink_snapshot(const struct netlink *netlink);

/* Called from the loop after a snapshot that differs from the one before. */
void netlink_on_change(struct netlink *netlink, void (*on_change)(void *ctx), void *ctx);

/*
 * The source address that the kernel would use towards `to` (RTM_GETROUTE). 0 or a negative errno
 * (-ENETUNREACH: no route). For a secondary address of the host itself the kernel names the
 * primary one.
 */
int netlink_source(struct netlink *netlink, const struct address *to, struct address *ret,
		   struct err *err);

#endif
