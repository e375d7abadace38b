/* SPDX-License-Identifier: MIT */
/*
 * Name look-ups off the loop: getaddrinfo() in a thread of its own, one batch at
 * a time, the answer delivered on the loop.
 */
#ifndef CMSNODE_TOPOLOGY_RESOLVER_H
#define CMSNODE_TOPOLOGY_RESOLVER_H

#include <stddef.h>

#include "cmsnode/network/address.h"

struct ev_loop;
struct resolver;
struct str_list;

struct resolved_host {
	char *host;
	int error;			/* 0, or getaddrinfo()'s: the last good addresses stay */
	struct address *addresses;	/* literals resolve to themselves */
	size_t len;
};

struct resolved_hosts {
	struct resolved_host *items;
	size_t len;
};

/* NULL if the host was not asked for. Pure. */
const struct resolved_host *resolved_hosts_find(const struct resolved_hosts *hosts,
						const char *host);

struct resolver *resolver_new(struct ev_loop *loop, void (*on_resolved)(void *ctx), void *ctx);

/*
 * Never blocks: a look-up under way ends by itself and its answer is dropped;
 * on_resolved is not called any more. NULL is fine. Not from on_resolved.
 */
void resolver_free(struct resolver *resolver);

/*
 * Looks all of them up (copied); on_resolved follows, from the loop, when the
 * last one is known, also if all fail. A newer request replaces one that waits;
 * one under way is finished and reported first, so look each host up in the
 * answers and take one that is not there as not known yet. The answers are to
 * the last finished request alone; a host's last good addresses are kept as
 * long as each request names it.
 */
void resolver_request(struct resolver *resolver, const struct str_list *hosts);

/* The last answers; borrowed until the loop turns. */
const struct resolved_hosts *resolver_answers(const struct resolver *resolver);

#endif
