/* SPDX-License-Identifier: MIT */
/* Whole seconds and delays leave intervals; nothing is claimed that they do not prove. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmsnode/store/clock_skew.h"

/* n answers, 0.37 s apart, from a store whose clock is `ahead` s behind ours. */
static void answers(struct clock_skew *skew, double ahead, int n, double took_s)
{
	for (int i = 0; i < n; i++) {
		const double there = 1000000.0 + 0.37 * i;

		clock_skew_add(skew, 370L * i, there + ahead + took_s / 2, took_s,
			       (int64_t)floor(there));
	}
}

static void equal_clocks_are_never_blamed(void **state)
{
	(void)state;
	for (int n = 1; n < 200; n++) {
		struct clock_skew skew = { 0 };

		answers(&skew, 0.0, n, 0.2);
		assert_true(clock_skew_certain(&skew) == 0);
	}
}

static void a_difference_is_found_and_never_overstated(void **state)
{
	static const double cases[] = { 1.5, 3.0, 3600.0, -1.5, -3.0, -3600.0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct clock_skew skew = { 0 };

		answers(&skew, cases[i], 60, 0.1);
		const double found = clock_skew_certain(&skew);

		assert_true(fabs(found) <= fabs(cases[i]));
		assert_true(fabs(found) >= fabs(cases[i]) - 0.25);
		assert_true(found * cases[i] > 0);
	}
}

static void one_answer_proves_whole_seconds_only(void **state)
{
	struct clock_skew skew = { 0 };

	(void)state;
	clock_skew_add(&skew, 0, 1005.5, 0.1, 1000);
	assert_true(fabs(clock_skew_certain(&skew) - 4.4) < 0.001);
	assert_true(skew.most == 5.5);
}

static void a_stepped_clock_is_believed(void **state)
{
	struct clock_skew skew = { 0 };

	(void)state;
	answers(&skew, 5.0, 20, 0.1);
	assert_true(clock_skew_certain(&skew) > 4.0);
	answers(&skew, 0.0, 20, 0.1);
	assert_true(clock_skew_certain(&skew) == 0);
}

static void what_is_old_is_forgotten(void **state)
{
	struct clock_skew skew = { 0 };

	(void)state;
	clock_skew_add(&skew, 0, 1005.5, 0.1, 1000);
	/* Drifted back within what the old ones allow. */
	clock_skew_add(&skew, 11 * 60 * 1000, 2000.5 + 4.5, 2.0, 2000);
	assert_true(fabs(skew.least - 2.0) < 0.001);
	clock_skew_forget(&skew);
	assert_true(clock_skew_certain(&skew) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_clocks_are_never_blamed),
		cmocka_unit_test(a_difference_is_found_and_never_overstated),
		cmocka_unit_test(one_answer_proves_whole_seconds_only),
		cmocka_unit_test(a_stepped_clock_is_believed),
		cmocka_unit_test(what_is_old_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
