/* SPDX-License-Identifier: MIT */
/*
 * Decides how long a unit that ended waits before its next start. Owns the
 * schedule and nothing else; it must never read a clock or a random source.
 */
#include "cmsnode/supervision/restart_policy.h"

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/base/mem.h"

#define RAN_WELL_MS 1000 /* ran at least so long: worth a start at once */
#define RAN_STEADY_MS 60000 /* ran so long: its past is forgotten */
#define RECENT_MS 60000 /* the minute in which starts at once are counted */
#define DELAY_MIN_MS 100
#define DELAY_MAX_MS 30000
#define FAILURES_MAX 16 /* far beyond where the ceiling is reached */

/* The oldest of the last five starts at once is the next one to be overwritten. */
static bool may_start_at_once(const struct restart_policy *policy, int64_t now_ms)
{
	const int64_t oldest_ms = policy->recent_ms[policy->recent_next];

	return oldest_ms == 0 || now_ms - oldest_ms >= RECENT_MS;
}

static void record_start(struct restart_policy *policy, int64_t now_ms)
{
	policy->recent_ms[policy->recent_next] = now_ms ? now_ms : 1; /* 0 means "never" */
	policy->recent_next = (policy->recent_next + 1) % ARRAY_LEN(policy->recent_ms);
}

/* Uniform between the least delay and a ceiling that doubles with each failure. */
static int64_t back_off(struct restart_policy *policy, uint32_t random)
{
	if (policy->failures < FAILURES_MAX)
		policy->failures++;
	int64_t ceiling_ms = (int64_t)DELAY_MIN_MS << policy->failures;
	if (ceiling_ms > DELAY_MAX_MS)
		ceiling_ms = DELAY_MAX_MS;
	const uint64_t span = (uint64_t)(ceiling_ms - DELAY_MIN_MS) + 1;

	return DELAY_MIN_MS + (int64_t)((span * random) >> 32);
}

int64_t restart_policy_delay(struct restart_policy *policy, bool was_running, int64_t started_ms,
			     int64_t ended_ms, uint32_t random)
{
	const int64_t ran_ms = ended_ms - started_ms;

	if (was_running && ran_ms >= RAN_STEADY_MS)
		policy->failures = 0;
	/* CMS needs seconds to find its database away: time alone is no sign of having run. */
	if (was_running && ran_ms >= RAN_WELL_MS && may_start_at_once(policy, ended_ms)) {
		record_start(policy, ended_ms);
		return 0;
	}
	return back_off(policy, random);
}

void restart_policy_reset(struct restart_policy *policy)
{
	*policy = (struct restart_policy){ 0 };
}
