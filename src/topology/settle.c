/* SPDX-License-Identifier: MIT */
/* Restarts that wait for one another: when they are due. Must never read a clock. */
#include "cmsnode/topology/settle.h"

#include "cmsnode/agreement/generation.h"

void settle_note(struct settle *settle, int64_t sequence, int64_t now_ms)
{
	if (settle->waits && settle->sequence == sequence)
		return;
	if (!settle->waits)
		settle->first_ms = now_ms;
	settle->waits = true;
	settle->sequence = sequence;
	settle->last_ms = now_ms;
}

int64_t settle_due_ms(const struct settle *settle, const struct policy *policy)
{
	if (!settle->waits)
		return INT64_MAX;
	const int64_t quiet_ms = settle->last_ms + policy->settle_s * 1000;
	const int64_t last_ms = settle->first_ms + policy->settle_max_s * 1000;

	return quiet_ms < last_ms ? quiet_ms : last_ms;
}

void settle_end(struct settle *settle)
{
	*settle = (struct settle){ 0 };
}
