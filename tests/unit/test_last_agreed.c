/* SPDX-License-Identifier: MIT */
/* The copy on disk: what is written is read, and nothing else. */
#include "agreement_scenes.h"

#include "cmsnode/agreement/last_agreed.h"

static char *write_copy(const struct generation *generation)
{
	struct err err = { 0 };
	char *text = last_agreed_to_json(generation, "/cms", &err);

	assert_non_null(text);
	return text;
}

static void what_is_written_is_read(void **state)
{
	struct world *world = cluster_of(3);
	const struct generation *agreed = world_agreed(world, 0);
	CLEAN(str) char *text = write_copy(agreed);
	CLEAN(generation) struct generation *read = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(last_agreed_from_json(text, strlen(text), "/cms", &read, &err), 0);
	assert_true(generation_same_content(read, agreed));
	assert_string_equal(read->name, agreed->name);
	assert_int_equal(read->epoch, agreed->epoch);
	assert_int_equal(read->sequence, agreed->sequence);
	assert_string_equal(read->meta.digest, agreed->meta.digest);
	assert_int_equal(read->meta.ancestors_len, agreed->meta.ancestors_len);
	world_free(world);
}

/* Another version's digest may be over keys that we would not write: it stays the agreed one. */
static void the_agreed_digest_is_kept(void **state)
{
	struct world *world = cluster_of(1);
	CLEAN(generation) struct generation *agreed = generation_clone(world_agreed(world, 0));
	CLEAN(generation) struct generation *read = NULL;
	struct err err = { 0 };

	(void)state;
	memset(agreed->meta.digest, 'a', 64);
	CLEAN(str) char *text = write_copy(agreed);

	assert_int_equal(last_agreed_from_json(text, strlen(text), "/cms", &read, &err), 0);
	assert_string_equal(read->meta.digest, agreed->meta.digest);
	world_free(world);
}

static void whatever_was_damaged_is_refused(void **state)
{
	static const struct {
		const char *find, *with, *says;
	} damages[] = {
		{ "worker/keep_sandbox", "worker/keep_sandbix", "digest" },
		{ "\"entries\":{", "\"entri\":{", "" },
		{ "\"/cms\"", "\"/other\"", "prefix" },
		{ "\"current\":{", "\"curr\":{", "" },
		{ "\"digest\":\"", "\"digest\":\"x", "" },
	};
	struct world *world = cluster_of(1);

	(void)state;
	change(world, 0, "topology.settle_s", 6);
	struct edits edits =
		one_edit(world_agreed(world, 0), "worker.keep_sandbox", value_new_bool(true));

	send_edit(world, 0, &edits);
	world_run(world, 1000);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		CLEAN(str) char *text = write_copy(world_agreed(world, 0));
		char *at = strstr(text, damages[i].find);
		CLEAN(generation) struct generation *read = NULL;
		struct err err = { 0 };

		assert_non_null(at);
		CLEAN(str) char *damaged = xasprintf("%.*s%s%s", (int)(at - text), text,
						     damages[i].with, at + strlen(damages[i].find));

		assert_true(last_agreed_from_json(damaged, strlen(damaged), "/cms", &read, &err) <
			    0);
		assert_non_null(strstr(err.msg, damages[i].says));
		assert_null(read);
	}
	world_free(world);
}

static void a_torn_copy_is_refused(void **state)
{
	struct world *world = cluster_of(1);
	CLEAN(str) char *text = write_copy(world_agreed(world, 0));

	(void)state;
	for (size_t len = 0; len < strlen(text); len += 37) {
		CLEAN(generation) struct generation *read = NULL;

		assert_true(last_agreed_from_json(text, len, "/cms", &read, NULL) < 0);
	}
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(the_agreed_digest_is_kept),
		cmocka_unit_test(whatever_was_damaged_is_refused),
		cmocka_unit_test(a_torn_copy_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
