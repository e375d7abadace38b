/* SPDX-License-Identifier: MIT */
/* Restarts that wait for one another: once for a crowd, and never for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/topology/settle.h"

struct change {
	int64_t sequence, at_ms;
};

static void due_when_it_is_quiet_or_at_last(void **state)
{
	static const struct {
		int64_t settle_s, settle_max_s;
		struct change changes[8];
		int64_t due_ms;
	} rows[] = {
		{ 5, 30, { { 0 } }, INT64_MAX },
		{ 5, 30, { { 1, 1000 } }, 6000 },
		{ 5, 30, { { 1, 1000 }, { 2, 4000 } }, 9000 },
		/* Looked at again: nothing new. */
		{ 5, 30, { { 1, 1000 }, { 1, 4000 } }, 6000 },
		{ 5, 30, { { 1, 1000 }, { 2, 4000 }, { 2, 8000 } }, 9000 },
		/* They keep coming. */
		{ 5, 8, { { 1, 1000 }, { 2, 4000 }, { 3, 8000 } }, 9000 },
		{ 5, 8, { { 1, 1000 }, { 2, 4000 }, { 3, 8000 }, { 4, 8900 } }, 9000 },
		/* At once. */
		{ 0, 30, { { 1, 1000 } }, 1000 },
		{ 5, 0, { { 1, 1000 } }, 1000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct policy policy = { .settle_s = rows[i].settle_s,
					       .settle_max_s = rows[i].settle_max_s };
		struct settle settle = { 0 };

		for (const struct change *change = rows[i].changes; change->sequence; change++)
			settle_note(&settle, change->sequence, change->at_ms);
		assert_int_equal(settle_due_ms(&settle, &policy), rows[i].due_ms);
	}
}

static void what_was_done_does_not_shorten_the_next_wait(void **state)
{
	const struct policy policy = { .settle_s = 5, .settle_max_s = 8 };
	struct settle settle = { 0 };

	(void)state;
	settle_note(&settle, 1, 1000);
	settle_end(&settle);
	assert_int_equal(settle_due_ms(&settle, &policy), INT64_MAX);
	settle_note(&settle, 2, 8000);
	assert_int_equal(settle_due_ms(&settle, &policy), 13000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(due_when_it_is_quiet_or_at_last),
		cmocka_unit_test(what_was_done_does_not_shorten_the_next_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
