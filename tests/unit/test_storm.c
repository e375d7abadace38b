/* SPDX-License-Identifier: MIT */
/* A small storm, in virtual time: the budgets that `make bench-simulate` takes to thousands. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../bench/storm.h"
#include "cmsnode/base/mem.h"

#define NODES 50
#define REQUESTS_MAX 12
#define GENERATIONS_MAX 3

static void assert_affordable(const struct storm_toll *toll)
{
	assert_int_equal(toll->failed, 0);
	assert_int_equal(toll->lost, 0);
	assert_in_range(toll->generations, 1, GENERATIONS_MAX);
	/* Leases are renewed as long as it takes: that is the idle budget's. */
	assert_in_range(toll->requests - toll->renewals, 1, REQUESTS_MAX * toll->nodes);
}

static void a_crowd_joins_and_half_of_it_leaves(void **state)
{
	static const struct storm_settings settings[] = {
		{ .nodes = NODES, .random = 1 },
		{ .nodes = NODES, .random = 2, .derived = true },
		{ .nodes = NODES, .random = 3, .empty = true },
		{ .nodes = NODES, .random = 4, .bytes_per_us = 20 },
		{ .nodes = NODES, .random = 5, .spread_ms = 2000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		struct storm *storm = storm_new(&settings[i]);
		struct storm_toll toll;

		storm_join(storm, &toll);
		assert_int_equal(toll.nodes, NODES + !settings[i].empty);
		assert_affordable(&toll);
		storm_leave(storm, &toll);
		assert_in_range(toll.nodes, NODES / 2, NODES / 2 + 1);
		assert_affordable(&toll);
		storm_free(storm);
	}
}

static void the_same_settings_give_the_same_storm(void **state)
{
	const struct storm_settings settings = { .nodes = NODES, .random = 7 };
	struct storm_toll tolls[2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tolls); i++) {
		struct storm *storm = storm_new(&settings);

		storm_join(storm, &tolls[i]);
		storm_leave(storm, &tolls[i]);
		storm_free(storm);
	}
	assert_memory_equal(&tolls[0], &tolls[1], sizeof(tolls[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crowd_joins_and_half_of_it_leaves),
		cmocka_unit_test(the_same_settings_give_the_same_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
