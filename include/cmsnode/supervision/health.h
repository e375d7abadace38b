/* SPDX-License-Identifier: MIT */
/*
 * Whether a unit answers CMS's echo RPC. One connection per unit; asked as soon
 * as the port accepts, then at each interval and after each reconnection.
 */
#ifndef CMSNODE_SUPERVISION_HEALTH_H
#define CMSNODE_SUPERVISION_HEALTH_H

#include <stdbool.h>

struct ev_loop;
struct err;
struct health;

struct health_settings {
	const char *host; /* an IP literal or "localhost"; copied */
	int port;
	const char *label; /* "Worker-0", for what is echoed; copied */
	double interval_s;
};

struct health_events { /* health_free() may be called from within */
	void (*accepted)(void *ctx); /* the port accepts connections */
	void (*answered)(void *ctx); /* an echo came back as it was sent */
	void (*missed)(void *ctx); /* one did not: health_is_healthy() is false now */
	/* nothing for three intervals; told again at each further interval */
	void (*missing)(void *ctx);
	void *ctx;
};

/* NULL and err if the host is not an address. All events must be set. */
struct health *health_new(struct ev_loop *loop, const struct health_settings *settings,
			  const struct health_events *events, struct err *err);
void health_free(struct health *health); /* NULL is fine */

/* It answered its last echo, at most 5 s after being asked. False before the first answer. */
bool health_is_healthy(const struct health *health);

#endif
