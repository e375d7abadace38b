/* SPDX-License-Identifier: MIT */
/*
 * From a whole file, or an earlier generation, to edits: an export imported again changes nothing,
 * and no node ever loses a slot by a file.
 */
#include "agreement_world.h"

#include "cmsnode/base/err.h"

static const struct alter_import_settings in_cluster = { .zone = "cms.internal" };

/* A core node and one with two Workers; Worker 2 is vacant, ProxyService static. */
static struct generation *example(void)
{
	struct generation *generation = world_seed();
	struct registrations all = { .items = xcalloc(2, sizeof(struct registration)),
				     .len = 2,
				     .cap = 2 };

	world_registration(&all.items[0], "a", "core", 1);
	world_registration(&all.items[1], "b", "worker:2", 2);
	all.items[0].create_revision = 1;
	all.items[1].create_revision = 2;
	alter_join(generation, &all, NULL);
	(void)slots_append(&generation->slots, CATALOGUE_WORKER);
	struct slot *proxy = &generation->slots.lists[CATALOGUE_PROXY_SERVICE].items[0];

	slot_set_node(proxy, NULL);
	proxy->host = xstrdup("10.0.0.99");
	registrations_fini(&all);
	return generation;
}

static struct edits import(const struct generation *generation, const struct value *document)
{
	struct edits edits = { 0 };
	struct err err = { 0 };

	if (alter_import(generation, document, &in_cluster, &edits, &err) < 0)
		fail_msg("%s", err.msg);
	return edits;
}

/* "path=wanted" of each, one a line. */
static char *text_of(const struct edits *edits)
{
	CLEAN(str_list) struct str_list lines = { 0 };

	for (size_t i = 0; i < edits->len; i++) {
		const struct edit *edit = &edits->items[i];
		CLEAN(str) char *wanted = edit->wanted ? value_to_json(edit->wanted) : NULL;

		str_list_take(&lines, xasprintf("%s=%s", edit->path, wanted ? wanted : "(unset)"));
	}
	return str_list_join(&lines, "\n");
}

static void assert_edits(struct edits *edits, const char *expected)
{
	CLEAN(str) char *found = text_of(edits);

	assert_string_equal(found, expected);
	edits_fini(edits);
}

/* As an operator's editor would give it back. */
static struct value *exported(const struct generation *generation, enum cms_format format)
{
	CLEAN(value) struct value *document = generation_render(generation);
	CLEAN(str) char *text = cms_file_write(document, format);
	struct value *again = NULL;
	enum cms_format found;

	assert_int_equal(cms_file_parse(text, strlen(text), &found, &again, NULL), 0);
	return again;
}

static void set_entry(struct value *document, const char *service, size_t shard, const char *host,
		      int port)
{
	struct value *list = value_get(value_get(document, "services"), service);
	struct value *entry = value_new_array();

	value_array_add(entry, value_new_string(host));
	value_array_add(entry, value_new_int(port));
	while (list->array.len < shard)
		set_entry(document, service, list->array.len, "localhost", 26000);
	if (shard == list->array.len) {
		value_array_add(list, entry);
	} else {
		value_free(list->array.items[shard]);
		list->array.items[shard] = entry;
	}
}

static void drop_last_entry(struct value *document, const char *service)
{
	struct value *list = value_get(value_get(document, "services"), service);

	value_free(list->array.items[--list->array.len]);
}

static void an_export_changes_nothing(void **state)
{
	CLEAN(generation) struct generation *generation = example();

	(void)state;
	for (int format = 0; format < 2; format++) {
		CLEAN(value)
		struct value *document = exported(generation, (enum cms_format)format);
		struct edits edits = import(generation, document);

		assert_edits(&edits, "");
	}
}

static void entries_are_compared_one_by_one(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);

	(void)state;
	value_set_path(document, "worker.keep_sandbox", value_new_bool(true));
	value_set_path(document, "printing.new", value_new_int(1));
	value_set_path(generation->cms, "database.debug", value_new_bool(true));
	struct edits edits = import(generation, document);

	assert_edits(&edits, "database.debug=(unset)\nworker.keep_sandbox=true\nprinting.new=1");
}

static void auto_stays_auto(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);

	(void)state;
	value_set_path(generation->cms, "contest_web_server.listen_port", value_new_string("auto"));
	(void)value_remove(value_get(document, "contest_web_server"), "listen_port");
	struct edits edits = import(generation, document);

	assert_edits(&edits, "");
}

static void a_published_secret_does_not_come_back(void **state)
{
	static const char path[] = "web_server.secret_key";
	CLEAN(generation) struct generation *generation = example();

	(void)state;
	value_set_path(generation->cms, path, value_new_string("0123456789abcdef0123456789abcdef"));
	CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);

	value_set_path(document, path, value_new_string("8e045a51e4b102ea803c06f92841a1fb"));
	struct edits edits = import(generation, document);

	assert_edits(&edits, "");
	(void)value_remove(value_get(document, "web_server"), "secret_key");
	edits = import(generation, document);
	assert_edits(&edits, "");
	value_set_path(document, path, value_new_string("ffffffffffffffffffffffffffffffff"));
	edits = import(generation, document);
	assert_edits(&edits, "web_server.secret_key=\"ffffffffffffffffffffffffffffffff\"");
}

static void hosts_make_slots_static(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);
	struct err err = { 0 };

	(void)state;
	/* The zone and loopback mean the slot as it is. */
	set_entry(document, "Worker", 0, "worker-0.cms.internal", 26000);
	set_entry(document, "Worker", 1, "localhost", 26001);
	set_entry(document, "ProxyService", 0, "10.0.0.98", 28600);
	set_entry(document, "Worker", 2, "10.0.0.7", 26002);
	set_entry(document, "Worker", 3, "127.0.0.1", 26003);
	set_entry(document, "Worker", 4, "127.0.0.1", 26004);
	struct edits edits = import(generation, document);

	assert_int_equal(alter_edit(generation, &edits, &err), 0);
	assert_string_equal(generation->slots.lists[CATALOGUE_WORKER].items[0].node, "b");
	assert_string_equal(generation->slots.lists[CATALOGUE_WORKER].items[2].host, "10.0.0.7");
	assert_true(slot_is_vacant(&generation->slots.lists[CATALOGUE_WORKER].items[4]));
	assert_edits(&edits, "slots.Worker.2={\"host\":\"10.0.0.7\",\"port\":26002}\n"
			     "slots.Worker.4={\"port\":26004}\n"
			     "slots.ProxyService.0={\"host\":\"10.0.0.98\",\"port\":28600}");
}

static void no_file_takes_a_slot_from_a_node(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	struct edits edits = { 0 };
	struct err err = { 0 };

	(void)state;
	for (int dropped = 0; dropped < 2; dropped++) {
		CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);

		if (dropped)
			drop_last_entry(document, "Worker");
		else
			set_entry(document, "Worker", 1, "10.0.0.7", 26001);
		assert_int_equal(alter_import(generation, document, &in_cluster, &edits, &err),
				 ERR_CONFIG);
		assert_non_null(
			strstr(err.msg, "services.Worker: shard 1 is assigned to node 'b'"));
		edits_fini(&edits);
	}
}

static void a_slot_that_was_taken_meanwhile_is_not_changed(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);
	struct err err = { 0 };

	(void)state;
	set_entry(document, "Worker", 2, "10.0.0.7", 26002);
	struct edits edits = import(generation, document);

	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[2], "c");
	assert_int_equal(alter_edit(generation, &edits, &err), ERR_CONFLICT);
	assert_non_null(strstr(err.msg, "Worker.2 is assigned to node 'c'"));
	edits_fini(&edits);
}

static void services_come_and_go(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *document = exported(generation, CMS_FORMAT_TOML);
	struct err err = { 0 };

	(void)state;
	value_set_path(document, "services.PrintingService", value_new_array());
	(void)value_remove(value_get(document, "services"), "ProxyService");
	struct edits edits = import(generation, document);

	assert_int_equal(alter_edit(generation, &edits, &err), 0);
	assert_true(generation->slots.lists[CATALOGUE_PRINTING_SERVICE].listed);
	assert_false(generation->slots.lists[CATALOGUE_PROXY_SERVICE].listed);
	assert_int_equal(generation->slots.lists[CATALOGUE_PROXY_SERVICE].len, 0);
	assert_edits(&edits, "slots.ProxyService.0=(unset)\nslots.ProxyService=(unset)\n"
			     "slots.PrintingService=true");
	value_set_path(document, "services.Wroker", value_new_array());
	assert_int_equal(alter_import(generation, document, &in_cluster, &edits, &err), ERR_CONFIG);
	assert_non_null(strstr(err.msg, "did you mean Worker"));
	edits_fini(&edits);
}

static void a_ranking_file_says_nothing_about_the_rest(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *document = value_new_table();
	struct err err = { 0 };

	(void)state;
	value_set_path(document, "ranking.realm_name", value_new_string("X"));
	struct value *public = value_new_table();

	value_set(public, "show_id_column", value_new_bool(true));
	value_set_path(document, "ranking.public", public);
	struct edits edits = { 0 };

	alter_import_ranking(generation, document, &edits);
	assert_int_equal(alter_edit(generation, &edits, &err), 0);
	CLEAN(value)
	struct value *shown = alter_value(generation, "ranking.public.show_id_column");

	assert_true(shown && shown->boolean);
	assert_edits(&edits, "ranking.realm_name=\"X\"\nranking.public={\"show_id_column\":true}");
	/* And the main file nothing about it. */
	CLEAN(value) struct value *main_file = exported(generation, CMS_FORMAT_TOML);

	edits = import(generation, main_file);
	assert_edits(&edits, "");
}

static void a_nested_key_is_set_by_its_path(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(value) struct value *yes = value_new_bool(true);
	struct edits edits = { 0 };
	struct err err = { 0 };

	(void)state;
	edits_add(&edits, "ranking.public.show_id_column", NULL, yes);
	edits_add(&edits, "ranking.realm_name", NULL, yes);
	assert_int_equal(alter_edit(generation, &edits, &err), 0);
	CLEAN(str) char *json = value_to_json(value_get(generation->cms, "ranking"));

	assert_string_equal(json, "{\"public\":{\"show_id_column\":true},\"realm_name\":true}");
	edits_fini(&edits);
	edits_add(&edits, "ranking.public.show_id_column", yes, NULL);
	assert_int_equal(alter_edit(generation, &edits, &err), 0);
	assert_null(alter_value(generation, "ranking.public.show_id_column"));
	edits_fini(&edits);
}

static void rolling_back_leaves_assignments(void **state)
{
	CLEAN(generation) struct generation *before = example();
	CLEAN(generation) struct generation *now = generation_clone(before);
	struct edits edits = { 0 };
	struct err err = { 0 };

	(void)state;
	value_set_path(now->cms, "database.debug", value_new_bool(true));
	value_set_path(now->cms, "ranking.realm_name", value_new_string("X"));
	now->policy.worker_pool = 99;
	now->policy.frozen = false;
	now->policy.names = true;
	before->policy.frozen = true;
	/* Static slot changed, a vacant one made static, another taken by a newcomer. */
	slot_set_node(&now->slots.lists[CATALOGUE_WORKER].items[2], "c");
	free(now->slots.lists[CATALOGUE_PROXY_SERVICE].items[0].host);
	now->slots.lists[CATALOGUE_PROXY_SERVICE].items[0].host = xstrdup("10.0.0.1");
	slots_append(&now->slots, CATALOGUE_WORKER)->host = xstrdup("10.0.0.2");
	alter_roll_back(now, before, &edits);
	assert_int_equal(alter_edit(now, &edits, &err), 0);
	assert_true(value_equal(now->cms, before->cms) ||
		    value_get(now->cms, "ranking")->table.len == 0);
	assert_int_equal(now->policy.worker_pool, before->policy.worker_pool);
	assert_false(now->policy.frozen);
	assert_true(now->policy.names);
	assert_string_equal(now->slots.lists[CATALOGUE_WORKER].items[2].node, "c");
	assert_true(slot_is_vacant(&now->slots.lists[CATALOGUE_WORKER].items[4]));
	assert_string_equal(now->slots.lists[CATALOGUE_PROXY_SERVICE].items[0].host, "10.0.0.99");
	assert_int_equal(now->nodes.len, 2);
	edits_fini(&edits);
	/* Again: there is nothing left to do. */
	alter_roll_back(now, before, &edits);
	assert_edits(&edits, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_export_changes_nothing),
		cmocka_unit_test(entries_are_compared_one_by_one),
		cmocka_unit_test(auto_stays_auto),
		cmocka_unit_test(a_published_secret_does_not_come_back),
		cmocka_unit_test(hosts_make_slots_static),
		cmocka_unit_test(no_file_takes_a_slot_from_a_node),
		cmocka_unit_test(a_slot_that_was_taken_meanwhile_is_not_changed),
		cmocka_unit_test(services_come_and_go),
		cmocka_unit_test(a_ranking_file_says_nothing_about_the_rest),
		cmocka_unit_test(a_nested_key_is_set_by_its_path),
		cmocka_unit_test(rolling_back_leaves_assignments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
