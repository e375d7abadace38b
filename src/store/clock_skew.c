/* SPDX-License-Identifier: MIT */
/* Intervals that the difference of two clocks must lie in. */
#include "cmsnode/store/clock_skew.h"

#define KEPT_MS (10 * 60 * 1000)

void clock_skew_forget(struct clock_skew *skew)
{
	*skew = (struct clock_skew){ 0 };
}

void clock_skew_add(struct clock_skew *skew, int64_t now_ms, double wall_s, double took_s,
		    int64_t date_s)
{
	/* It was said between asking and now, and up to a second after `date_s`. */
	const double most = wall_s - (double)date_s;
	const double least = most - took_s - 1.0;

	if (skew->known &&
	    (now_ms - skew->since_ms > KEPT_MS || least > skew->most || most < skew->least))
		clock_skew_forget(skew);
	if (!skew->known) {
		*skew = (struct clock_skew){ true, least, most, now_ms };
		return;
	}
	if (least > skew->least)
		skew->least = least;
	if (most < skew->most)
		skew->most = most;
}

double clock_skew_certain(const struct clock_skew *skew)
{
	if (!skew->known)
		return 0;
	return skew->least > 0 ? skew->least : skew->most < 0 ? skew->most : 0;
}
