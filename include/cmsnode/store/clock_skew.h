/* SPDX-License-Identifier: MIT */
/*
 * How far this machine's clock is from the store's, by the Date of its answers:
 * whole seconds, cut off, some time old. Each answer leaves an interval of more
 * than a second in which the difference must lie; what all of them leave is
 * narrow soon. A contest begins by each ContestWebServer's own clock. Pure.
 */
#ifndef CMSNODE_STORE_CLOCK_SKEW_H
#define CMSNODE_STORE_CLOCK_SKEW_H

#include <stdbool.h>
#include <stdint.h>

struct clock_skew {
	bool known;
	double least, most;	/* seconds that this clock is ahead of the store's */
	int64_t since_ms;	/* when the first answer of these came */
};

/*
 * An answer came at `wall_s` (this machine's wall clock), `took_s` after it was
 * asked for, and said `date_s` (whole epoch seconds). now_ms: monotonic. One that
 * contradicts the others begins anew, as does each after 10 minutes: clocks are
 * stepped and drift.
 */
void clock_skew_add(struct clock_skew *skew, int64_t now_ms, double wall_s, double took_s,
		    int64_t date_s);
void clock_skew_forget(struct clock_skew *skew);	/* another store's clock from here on */

/* Seconds that this clock is ahead for certain; negative: behind; 0: nothing is certain. */
double clock_skew_certain(const struct clock_skew *skew);

#endif
