/* SPDX-License-Identifier: MIT */
/*
 * When a unit that ended is started again. A unit that was seen running (it answered,
 * or it has no RPC and lasted 1 s) and lasted at least 1 s starts again at once, up
 * to 5 times a minute; then, and for units that ended before, exponential back-off with full jitter
 * from 0.1 s to 30 s, forgotten after 60 s
 * of steady running. Never final. Pure: time and the random number come in.
 */
#ifndef CMSNODE_SUPERVISION_RESTART_POLICY_H
#define CMSNODE_SUPERVISION_RESTART_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct restart_policy {
	int64_t recent_ms[5];	/* when it was restarted at once lately, oldest overwritten */
	unsigned int recent_next;
	unsigned int failures;	/* exponent of the back-off */
};

/* ms to wait before the next start, 0 = at once. `random` is uniform over all 32 bits. */
int64_t restart_policy_delay(struct restart_policy *policy, bool was_running, int64_t started_ms,
			     int64_t ended_ms, uint32_t random);

/* Forget the past (the operator or a new configuration asks for a start). */
void restart_policy_reset(struct restart_policy *policy);

#endif
