/* SPDX-License-Identifier: MIT */
/*
 * Restarts that wait for one another. Machines come in crowds; a service that
 * restarts to learn of them (impact_can_wait()) shall do so once for all. So
 * it waits until settle_s pass without a further change, but no longer
 * than settle_max_s since the first.
 *
 * The nodes wait, not the agreement: a generation is not held back for a restart,
 * because a Worker that fills a vacant slot needs none. Pure.
 */
#ifndef CMSNODE_TOPOLOGY_SETTLE_H
#define CMSNODE_TOPOLOGY_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

struct policy;

struct settle {	/* zeroed: nothing waits */
	bool waits;
	int64_t sequence;	/* of the last change */
	int64_t first_ms, last_ms;
};

/*
 * A restart waits since the generation with this sequence. To be called as often as one likes:
 * the same generation is one change.
 */
void settle_note(struct settle *settle, int64_t sequence, int64_t now_ms);

/* When what waits is due; INT64_MAX = nothing waits. */
int64_t settle_due_ms(const struct settle *settle, const struct policy *policy);

/* It was done, or there is no reason for it any more. */
void settle_end(struct settle *settle);

#endif
