/* SPDX-License-Identifier: MIT */
/*
 * The schedule of restarts: scripts of lives against the delays they must get, and
 * its bounds over many lives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/supervision/restart_policy.h"

#define ANY_MIN 0U
#define ANY_MAX UINT32_MAX

struct life {
	int64_t started_ms, ended_ms;
	uint32_t random;
	int64_t expected;
};

static const struct life ran_well[] = {
	{ 10000, 11000, ANY_MAX, 0 }, /* exactly 1 s is enough */
	{ 11000, 12000, ANY_MAX, 0 },
	{ 12000, 13000, ANY_MAX, 0 },
	{ 13000, 14000, ANY_MAX, 0 },
	{ 14000, 15000, ANY_MAX, 0 },
	{ 15000, 16000, ANY_MAX, 200 }, /* the sixth within a minute */
	{ 16200, 17200, ANY_MAX, 400 },
	{ 17600, 71000, ANY_MAX, 0 }, /* the first is a minute ago */
	{ 71000, 71999, ANY_MAX, 800 }, /* ended too soon; the back-off is not forgotten */
	{ 80000, 140000, ANY_MAX, 0 }, /* a minute of steady running: forgotten */
	{ 140000, 140500, ANY_MAX, 200 },
};

static const struct life ends_soon[] = {
	{ 5000, 5000, ANY_MAX, 200 },	  { 5000, 5999, ANY_MAX, 400 },
	{ 6000, 6100, ANY_MAX, 800 },	  { 7000, 7100, ANY_MAX, 1600 },
	{ 9000, 9100, ANY_MAX, 3200 },	  { 13000, 13100, ANY_MAX, 6400 },
	{ 20000, 20100, ANY_MAX, 12800 }, { 33000, 33100, ANY_MAX, 25600 },
	{ 60000, 60100, ANY_MAX, 30000 }, { 91000, 91100, ANY_MAX, 30000 },
	{ 122000, 122100, ANY_MIN, 100 },
};

static const struct life just_booted[] = {
	{ 0, 1500, ANY_MAX, 0 }, /* the clock begins near 0 */
	{ 1500, 1600, ANY_MIN, 100 },
};

static void check_script(const struct life *lives, size_t n)
{
	struct restart_policy policy = { 0 };

	for (size_t i = 0; i < n; i++)
		assert_int_equal(restart_policy_delay(&policy, true, lives[i].started_ms,
						      lives[i].ended_ms, lives[i].random),
				 lives[i].expected);
}

static void test_scripts(void **state)
{
	(void)state;
	check_script(ran_well, ARRAY_LEN(ran_well));
	check_script(ends_soon, ARRAY_LEN(ends_soon));
	check_script(just_booted, ARRAY_LEN(just_booted));
}

/* CMS without its database takes seconds to give up: that is no running, however long. */
static void test_never_seen_running(void **state)
{
	struct restart_policy policy = { 0 };
	int64_t now_ms = 1000;
	int64_t last_ms = 0;

	(void)state;
	for (int i = 0; i < 12; i++) {
		const int64_t delay_ms =
			restart_policy_delay(&policy, false, now_ms, now_ms + 70000, ANY_MAX);

		assert_true(delay_ms >= last_ms && delay_ms >= 100);
		last_ms = delay_ms;
		now_ms += 70000 + delay_ms;
	}
	assert_int_equal(last_ms, 30000);
}

static void test_reset_forgets(void **state)
{
	struct restart_policy policy = { 0 };

	(void)state;
	for (int i = 0; i < 9; i++)
		(void)restart_policy_delay(&policy, true, 1000, 1001, ANY_MAX);
	restart_policy_reset(&policy);
	assert_int_equal(restart_policy_delay(&policy, true, 1000, 1001, ANY_MAX), 200);
}

/*
 * However a unit behaves: never more than five starts at once in a minute, never a
 * wait beyond 30 s, never the end.
 */
static void test_bounds(void **state)
{
	struct restart_policy policy = { 0 };
	int64_t at_once[5] = { -60000, -60000, -60000, -60000, -60000 };
	unsigned int next = 0;
	int64_t now_ms = 0;
	uint32_t random = 1;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		random = random * 1664525U + 1013904223U;
		const int64_t ran_ms = (random >> 8) % 4000;
		const int64_t delay_ms =
			restart_policy_delay(&policy, true, now_ms, now_ms + ran_ms, random);

		now_ms += ran_ms;
		assert_true(delay_ms == 0 || (delay_ms >= 100 && delay_ms <= 30000));
		if (delay_ms == 0) {
			assert_true(ran_ms >= 1000);
			assert_true(now_ms - at_once[next] >= 60000);
			at_once[next] = now_ms;
			next = (next + 1) % 5;
		}
		now_ms += delay_ms;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_never_seen_running),
		cmocka_unit_test(test_reset_forgets),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
