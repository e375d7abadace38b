/* SPDX-License-Identifier: MIT */
/* Slots as values: JSON both ways, import, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/topology/slots.h"

static int from_text(const char *text, struct slots *ret, struct err *err)
{
	CLEAN(json) struct cJSON *json = json_parse(text, strlen(text), err);

	assert_non_null(json);
	return slots_from_json(json, ret, err);
}

static void json_comes_back_as_it_went(void **state)
{
	static const char text[] =
		"{\"LogService\":[{\"port\":29000}],\"Worker\":[{\"node\":\"i-0a1b\",\"port\":26000},{\"port\":26001},"
		"{\"host\":\"10.0.0.9\",\"port\":26000}],\"ContestWebServer\":[{\"node\":\"a\",\"port\":21000,\"http\":8888}],"
		"\"PrometheusExporter\":[]}";
	struct slots slots = { 0 };
	struct slots copy = { 0 };
	struct err err;

	(void)state;
	assert_int_equal(from_text(text, &slots, &err), 0);
	assert_string_equal(slots.lists[CATALOGUE_WORKER].items[0].node, "i-0a1b");
	assert_true(slot_is_vacant(&slots.lists[CATALOGUE_WORKER].items[1]));
	assert_string_equal(slots.lists[CATALOGUE_WORKER].items[2].host, "10.0.0.9");
	assert_true(slots.lists[CATALOGUE_PROMETHEUS_EXPORTER].listed);
	assert_false(slots.lists[CATALOGUE_CHECKER].listed);
	slots_copy(&copy, &slots);
	assert_true(slots_equal(&copy, &slots));
	CLEAN(json) struct cJSON *json = slots_to_json(&copy);
	CLEAN(str) char *again = json_text(json);

	assert_string_equal(again, text);
	slot_set_node(&copy.lists[CATALOGUE_WORKER].items[1], "b");
	assert_false(slots_equal(&copy, &slots));
	slots_fini(&copy);
	slots_fini(&slots);
}

static void bad_json_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "{\"Wroker\":[]}", "no service" },
		{ "{\"Worker\":{}}", "not a list" },
		{ "{\"Worker\":[{\"node\":\"a\"}]}", "no port" },
		{ "{\"Worker\":[{\"node\":\"a\",\"port\":0}]}", "no port" },
		{ "{\"Worker\":[{\"node\":\"a\",\"port\":65536}]}", "no port" },
		{ "{\"Worker\":[{\"node\":\"A b\",\"port\":1}]}", "node id" },
		{ "{\"Worker\":[{\"node\":\"../x\",\"port\":1}]}", "node id" },
		{ "{\"Worker\":[{\"node\":\"a\",\"host\":\"b\",\"port\":1}]}", "host too" },
		{ "{\"Worker\":[{\"host\":\"a b\",\"port\":1}]}", "host is malformed" },
		{ "{\"ContestWebServer\":[{\"node\":\"a\",\"port\":1,\"http\":\"x\"}]}",
		  "HTTP port" },
		{ "{\"Worker\":[],\"Worker\":[]}", "Worker stands there twice" },
		{ "[]", "not an object" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slots slots = { 0 };
		struct err err;

		assert_int_equal(from_text(cases[i].text, &slots, &err), -EINVAL);
		assert_non_null(strstr(err.msg, cases[i].says));
		slots_fini(&slots);
	}
}

static void import_takes_loopback_as_no_host(void **state)
{
	static const char text[] =
		"[services]\nWorker = [[\"localhost\", 26000], [\"10.0.0.9\", 26007], [\"127.0.0.2\", 26002]]\n"
		"TelegramBot = []\n";
	CLEAN(value) struct value *document = NULL;
	struct slots slots = { 0 };
	struct err err;

	(void)state;
	assert_int_equal(toml_parse(text, strlen(text), &document, &err), 0);
	assert_int_equal(slots_import(value_get(document, "services"), false, &slots, &err), 0);
	assert_true(slot_is_vacant(&slots.lists[CATALOGUE_WORKER].items[0]));
	assert_string_equal(slots.lists[CATALOGUE_WORKER].items[1].host, "10.0.0.9");
	assert_int_equal(slots.lists[CATALOGUE_WORKER].items[1].port, 26007);
	assert_true(slot_is_vacant(&slots.lists[CATALOGUE_WORKER].items[2]));
	assert_true(slots.lists[CATALOGUE_TELEGRAM_BOT].listed);
	assert_int_equal(slots_import(value_get(document, "services"), true, &slots, &err), 0);
	assert_string_equal(slots.lists[CATALOGUE_WORKER].items[0].host, "localhost");
	slots_fini(&slots);
}

static void import_names_the_nearest_service(void **state)
{
	static const char text[] = "[services]\nWroker = [[\"localhost\", 26000]]\n";
	CLEAN(value) struct value *document = NULL;
	struct slots slots = { 0 };
	struct err err;

	(void)state;
	assert_int_equal(toml_parse(text, strlen(text), &document, &err), 0);
	assert_int_equal(slots_import(value_get(document, "services"), false, &slots, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "services.Wroker"));
	assert_non_null(strstr(err.msg, "Worker?"));
}

static void new_slots_have_the_port_of_their_shard(void **state)
{
	struct slots slots = { 0 };

	(void)state;
	for (int k = 0; k < 3; k++) {
		const struct slot *worker = slots_append(&slots, CATALOGUE_WORKER);

		assert_int_equal(worker->port, 26000 + k);
		assert_true(slot_is_vacant(worker));
	}
	assert_int_equal(catalogue_port(catalogue_find("Worker"), 1601), 26001);
	assert_int_equal(catalogue_port(catalogue_find("ResourceService"), 500), 28000);
	assert_int_equal(catalogue_port(catalogue_find("LogService"), 3), 29000);
	slots_fini(&slots);
}

static void loopback_is_told_by_spelling(void **state)
{
	static const struct {
		const char *host;
		bool loopback;
	} cases[] = { { "localhost", true },
		      { "127.0.0.1", true },
		      { "127.1.2.3", true },
		      { "::1", true },
		      { "localhost.localdomain", true },
		      { "10.0.0.1", false },
		      { "localhoster", false },
		      { "worker1", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(slots_host_is_loopback(cases[i].host), cases[i].loopback);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_comes_back_as_it_went),
		cmocka_unit_test(bad_json_is_refused_with_its_place),
		cmocka_unit_test(import_takes_loopback_as_no_host),
		cmocka_unit_test(import_names_the_nearest_service),
		cmocka_unit_test(new_slots_have_the_port_of_their_shard),
		cmocka_unit_test(loopback_is_told_by_spelling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
