/* SPDX-License-Identifier: MIT */
/* A generation as CMS reads it: names or addresses, vacant tails, what follows from the slots. */
#include "agreement_world.h"

#define ZONE "cms.internal"

/* a: core at 10.0.0.1; b: two Workers, a ContestWebServer and a ranking at 10.0.0.2. */
static struct generation *example(bool names)
{
	struct generation *generation = world_seed();
	struct registrations all = { .items = xcalloc(2, sizeof(struct registration)),
				     .len = 2,
				     .cap = 2 };

	generation->policy.names = names;
	generation->policy.worker_pool = 2;
	world_registration(&all.items[0], "a", "core", 1);
	world_registration(&all.items[1], "b", "worker:2,contest-web,ranking", 2);
	all.items[0].create_revision = 1;
	all.items[1].create_revision = 2;
	alter_join(generation, &all, NULL);
	registrations_fini(&all);
	return generation;
}

static void assert_path(const struct generation *generation, const struct render_settings *settings,
			const char *path, const char *expected)
{
	CLEAN(value) struct value *document = generation_render_as(generation, settings);
	const struct value *found =
		str_starts(path, "services.") ?
			value_get(value_get(document, "services"), path + strlen("services.")) :
			value_get_path(document, path);
	CLEAN(str) char *text = found ? value_to_json(found) : xstrdup("(absent)");

	assert_string_equal(text, expected);
}

static void slots_are_names(void **state)
{
	CLEAN(generation) struct generation *generation = example(true);
	const struct render_settings as = { .zone = ZONE };

	(void)state;
	assert_path(generation, &as, "services.LogService",
		    "[[\"logservice.cms.internal\",29000]]");
	/* Who is vacant stands there too, in the middle and at the end. */
	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[0], NULL);
	assert_path(generation, &as, "services.Worker",
		    "[[\"worker-0.cms.internal\",26000],[\"worker-1.cms.internal\",26001],"
		    "[\"worker-2.cms.internal\",26002]]");
	/* What a service binds is its node's, and an operator's host is the operator's. */
	assert_path(generation, &as, "contest_web_server.listen_address", "[\"10.0.0.2\"]");
	struct slot *proxy = &generation->slots.lists[CATALOGUE_PROXY_SERVICE].items[0];

	slot_set_node(proxy, NULL);
	proxy->host = xstrdup("10.0.0.99");
	assert_path(generation, &as, "services.ProxyService", "[[\"10.0.0.99\",28600]]");
}

static void checker_is_given_who_is_there(void **state)
{
	CLEAN(generation) struct generation *generation = example(true);
	const struct render_settings as = { .zone = ZONE, .without_vacant_tail = true };

	(void)state;
	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[0], NULL);
	slot_set_node(&generation->slots.lists[CATALOGUE_LOG_SERVICE].items[0], NULL);
	assert_path(generation, &as, "services.Worker",
		    "[[\"worker-0.cms.internal\",26000],[\"worker-1.cms.internal\",26001]]");
	assert_path(generation, &as, "services.LogService",
		    "[[\"logservice.cms.internal\",29000]]");
}

static void names_need_the_policy_and_a_zone(void **state)
{
	static const char addresses[] = "[[\"10.0.0.2\",26000],[\"10.0.0.2\",26001]]";
	CLEAN(generation) struct generation *off = example(false);
	CLEAN(generation) struct generation *on = example(true);

	(void)state;
	assert_path(off, &(struct render_settings){ .zone = ZONE }, "services.Worker", addresses);
	assert_path(on, &(struct render_settings){ 0 }, "services.Worker", addresses);
}

/* Whoever comes or goes, a file with names stays as it is. */
static void a_join_changes_no_line(void **state)
{
	CLEAN(generation) struct generation *generation = example(true);
	const struct render_settings as = { .zone = ZONE };
	CLEAN(value) struct value *before = generation_render_as(generation, &as);
	struct slot_list *workers = &generation->slots.lists[CATALOGUE_WORKER];

	(void)state;
	slot_set_node(&workers->items[2], "c");
	slot_set_node(&workers->items[1], NULL);
	slot_set_node(&generation->slots.lists[CATALOGUE_EVALUATION_SERVICE].items[0], "b");
	slot_set_node(&generation->slots.lists[CATALOGUE_RANKING_WEB_SERVER].items[0], NULL);
	CLEAN(value) struct value *after = generation_render_as(generation, &as);

	assert_true(value_equal(before, after));
}

static void set_ranking(struct generation *generation, const char *key, struct value *value)
{
	CLEAN(str) char *path = xasprintf("ranking.%s", key);

	value_set_path(generation->cms, path, value);
}

static void rankings_follow_the_nodes(void **state)
{
	static const char path[] = "proxy_service.rankings";
	CLEAN(generation) struct generation *on = example(true);
	CLEAN(generation) struct generation *off = example(false);
	const struct render_settings as = { .zone = ZONE };

	(void)state;
	assert_path(off, &as, path, "[\"http://usern4me:passw0rd@10.0.0.2:8890/\"]");
	set_ranking(on, "username", value_new_string("me"));
	set_ranking(on, "password", value_new_string("p@ss/w:rd"));
	set_ranking(on, "http_port", value_new_int(8080));
	assert_path(on, &as, path,
		    "[\"http://me:p%40ss%2Fw%3Ard@rankingwebserver-0.cms.internal:8080/\"]");
	set_ranking(on, "http_port", value_new_int(0));
	set_ranking(on, "https_port", value_new_int(8443));
	assert_path(on, &as, path,
		    "[\"https://me:p%40ss%2Fw%3Ard@rankingwebserver-0.cms.internal:8443/\"]");
	/* Without names a vacant one is no address. */
	slot_set_node(&off->slots.lists[CATALOGUE_RANKING_WEB_SERVER].items[0], NULL);
	assert_path(off, &as, path, "(absent)");
	value_set_path(off->cms, path, value_new_string("auto"));
	assert_path(off, &as, path, "[]");
	/* What an operator says is left alone. */
	value_set_path(on->cms, path, value_new_array());
	assert_path(on, &as, path, "[]");
}

static void nobody_feeds_rankings_without_proxy_service(void **state)
{
	CLEAN(generation) struct generation *generation = example(false);

	(void)state;
	slot_set_node(&generation->slots.lists[CATALOGUE_PROXY_SERVICE].items[0], NULL);
	generation->slots.lists[CATALOGUE_PROXY_SERVICE].len = 0;
	CLEAN(str) char *errors = alter_errors(generation);

	assert_null(errors);
	assert_path(generation, &(struct render_settings){ 0 }, "proxy_service.rankings",
		    "(absent)");
}

/* An export with names, imported again, changes nothing; nor does one for Checker. */
static void an_export_with_names_changes_nothing(void **state)
{
	CLEAN(generation) struct generation *generation = example(true);
	const struct alter_import_settings settings = { .zone = ZONE };

	(void)state;
	value_set_path(generation->cms, "proxy_service.rankings", value_new_string("auto"));
	for (int without = 0; without < 2; without++) {
		const struct render_settings as = { ZONE, without };
		CLEAN(value) struct value *document = generation_render_as(generation, &as);
		struct edits edits = { 0 };

		assert_int_equal(alter_import(generation, document, &settings, &edits, NULL), 0);
		if (!without)
			assert_int_equal(edits.len, 0);
		for (size_t i = 0; i < edits.len; i++)
			assert_null(edits.items[i].wanted);
		edits_fini(&edits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_names),
		cmocka_unit_test(checker_is_given_who_is_there),
		cmocka_unit_test(names_need_the_policy_and_a_zone),
		cmocka_unit_test(a_join_changes_no_line),
		cmocka_unit_test(rankings_follow_the_nodes),
		cmocka_unit_test(nobody_feeds_rankings_without_proxy_service),
		cmocka_unit_test(an_export_with_names_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
