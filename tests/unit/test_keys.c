/* SPDX-License-Identifier: MIT */
/* keys.def against the facts it was made from; names, masking and typing of values. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/topology/catalogue.h"

/* ---- The facts ---- */

static struct cJSON *facts; /* NULL: not at hand */

static int load_facts(void **state)
{
	const char *shared = getenv("CMSNODE_SHARED");
	CLEAN(str)
	char *path = xasprintf("%s/facts/cms_config_impact.json", shared ? shared : "../shared");
	CLEAN(buf) struct buf text = BUF_INIT(1 << 20);

	(void)state;
	if (file_read(path, &text, NULL) < 0) {
		print_message("SKIP: %s cannot be read; set CMSNODE_SHARED\n", path);
		return 0;
	}
	facts = json_parse(buf_str(&text), text.len, NULL);
	return facts ? 0 : -1;
}

static int free_facts(void **state)
{
	(void)state;
	json_free(facts);
	return 0;
}

static uint32_t bits_of(const cJSON *names)
{
	uint32_t bits = 0;
	const cJSON *name;

	cJSON_ArrayForEach(name, names) {
		const char *text = cJSON_GetStringValue(name);
		const int index = catalogue_index_of(text);

		if (str_eq(text, "*"))
			return CONFIG_KEY_ALL;
		if (index >= 0)
			bits |= 1u << index;
		else
			assert_string_equal(text, "@services_graph");
	}
	return bits;
}

/* What the facts say of one of our keys, over the generations; counts where it was found. */
static uint32_t readers_in_facts(const struct config_key *key, int *found)
{
	const cJSON *lists[4] = { json_get(json_get(facts, "toml"), key->path),
				  json_get(json_get(facts, "toml_old_sectioned_only"), key->path) };
	uint32_t bits = 0;

	if (str_starts(key->path, "ranking.")) {
		const char *name = key->path + strlen("ranking.");
		CLEAN(str) char *old = xasprintf("%s(<=1.5)", name);

		lists[2] = json_get(json_get(facts, "ranking"), name);
		lists[3] = json_get(json_get(facts, "ranking"), old);
	} else if (key->flat) {
		lists[2] = json_get(json_get(facts, "json"), key->flat);
	}
	*found = 0;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		*found += lists[i] != NULL;
		bits |= bits_of(lists[i]);
	}
	return bits;
}

static void readers_are_those_of_the_facts(void **state)
{
	(void)state;
	if (!facts)
		skip();
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		int found;
		const uint32_t expected = readers_in_facts(key, &found);

		/* The facts know services of cms.toml by name only. */
		if (!found && str_starts(key->path, "services."))
			continue;
		if (!found || expected != key->readers)
			fail_msg("%s: readers 0x%x, the facts say 0x%x (found %d times)", key->path,
				 key->readers, expected, found);
	}
}

static void formats_are_those_of_the_facts(void **state)
{
	(void)state;
	if (!facts)
		skip();
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		if (str_starts(key->path, "ranking.") || str_starts(key->path, "services."))
			continue;
		if (config_key_is_in(key, CMS_FORMAT_TOML) !=
		    (json_get(json_get(facts, "toml"), key->path) != NULL))
			fail_msg("%s: TOML is %d, the facts say otherwise", key->path,
				 config_key_is_in(key, CMS_FORMAT_TOML));
		if (config_key_is_in(key, CMS_FORMAT_JSON) !=
		    (key->flat && json_get(json_get(facts, "json"), key->flat)))
			fail_msg("%s: JSON is %d, the facts say otherwise", key->path,
				 config_key_is_in(key, CMS_FORMAT_JSON));
	}
}

/* "timeout(<=1.5)" is timeout. */
static bool known_in(const char *section, const char *name)
{
	CLEAN(str) char *bare = xstrndup(name, strcspn(name, "("));
	CLEAN(str)
	char *path = str_eq(section, "ranking") ? xasprintf("ranking.%s", bare) : xstrdup(bare);

	if (str_starts(name, "core_services.") || str_starts(name, "other_services.") ||
	    str_eq(name, "_*"))
		return true;
	return str_eq(section, "json") ? config_key_find_flat(path) != NULL :
					 config_key_find(path) != NULL;
}

static void every_key_of_the_facts_is_known(void **state)
{
	static const char *const sections[] = { "toml", "toml_old_sectioned_only", "json",
						"ranking" };

	(void)state;
	if (!facts)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		const cJSON *key;
		int seen = 0;

		cJSON_ArrayForEach(key, json_get(facts, sections[i])) {
			seen++;
			if (!known_in(sections[i], key->string))
				fail_msg("%s: %s is not in keys.def", sections[i], key->string);
		}
		assert_true(seen > 5);
	}
}

static void no_name_stands_for_two_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);

		assert_ptr_equal(config_key_find(key->path), key);
		if (key->flat && !str_starts(key->path, "ranking."))
			assert_ptr_equal(config_key_find_flat(key->flat), key);
	}
}

static void the_secrets_are_marked(void **state)
{
	static const char *const secrets[] = {
		"database.url",
		"web_server.secret_key",
		"contest_web_server.contest_admin_token",
		"proxy_service.rankings",
		"telegram_bot.bot_token",
		"ranking.password",
	};
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < config_key_count(); i++)
		n += config_key_at(i)->secret;
	assert_int_equal(n, ARRAY_LEN(secrets));
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
		assert_true(config_key_find(secrets[i])->secret);
}

/* ---- Names ---- */

static void names_lead_to_canonical_paths(void **state)
{
	static const struct {
		const char *name;
		const char *canonical;
	} rows[] = {
		{ "database.url", "database.url" },
		{ "database", "database.url" },
		{ "admin_listen_port", "admin_web_server.listen_port" },
		{ "cookie_duration", "contest_web_server.cookie_duration" },
		{ "https_certfile", "proxy_service.https_certfile" },
		{ "log_dir", "global.log_dir" },
		{ "new_table.new_key", "new_table.new_key" },
		{ "topology.worker_pool", "topology.worker_pool" },
		{ "password", NULL }, /* of the ranking file only */
		{ "nonsense", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!str_eq(config_key_canonical(rows[i].name), rows[i].canonical))
			fail_msg("%s", rows[i].name);
}

static void misspelt_names_have_a_nearest(void **state)
{
	static const struct {
		const char *name;
		const char *nearest;
	} rows[] = {
		{ "databse.url", "database.url" },
		{ "sercet_key", "secret_key" },
		{ "contest_web_server.listen_prot", "contest_web_server.listen_port" },
		{ "ranking.pasword", "ranking.password" },
		{ "qqqqqqqqqqqqqqqq", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!str_eq(config_key_nearest(rows[i].name), rows[i].nearest))
			fail_msg("%s: nearest is %s", rows[i].name,
				 config_key_nearest(rows[i].name));
}

/* ---- Masking ---- */

static void secrets_are_masked(void **state)
{
	static const struct {
		const char *path;
		const char *json;
		const char *masked;
	} rows[] = {
		{ "database.url", "\"postgresql+psycopg2://u:pw@h:5432/db\"",
		  "\"postgresql+psycopg2://u:***@h:5432/db\"" },
		{ "database", "\"postgresql+psycopg2://u:pw@h/db\"",
		  "\"postgresql+psycopg2://u:***@h/db\"" },
		{ "database.url", "\"postgresql://u@h:5432/db\"", "\"postgresql://u@h:5432/db\"" },
		{ "database.url", "\"postgresql://h:5432/db\"", "\"postgresql://h:5432/db\"" },
		{ "database.url", "\"postgresql://u:a/b@c@h/db\"", "\"postgresql://u:***@h/db\"" },
		{ "database.url", "\"postgresql://u:a?b&c@h/db\"", "\"postgresql://u:***@h/db\"" },
		{ "database.url", "\"postgresql://u:@h/db\"", "\"postgresql://u:***@h/db\"" },
		{ "database.url", "\"postgresql://u@/db?host=/run&password=pw&a=b\"",
		  "\"postgresql://u@/db?host=/run&password=***&a=b\"" },
		{ "database.url", "\"postgresql:///db?PassWord=pw\"",
		  "\"postgresql:///db?PassWord=***\"" },
		{ "database.url", "\"postgresql:///db?sslpassword=pw\"",
		  "\"postgresql:///db?sslpassword=***\"" },
		{ "database.url", "\"host=h password=pw\"", "\"***\"" },
		{ "database.url", "12345", "\"***\"" },
		{ "database.url", "{\"x\":\"pw\"}", "\"***\"" },
		{ "proxy_service.rankings", "[\"http://a:pw@h:8890/\",\"https://h/\",7]",
		  "[\"http://a:***@h:8890/\",\"https://h/\",\"***\"]" },
		{ "proxy_service.rankings", "\"http://a:pw@h/\"", "\"http://a:***@h/\"" },
		{ "web_server.secret_key", "\"0123\"", "\"***\"" },
		{ "secret_key", "\"0123\"", "\"***\"" },
		{ "telegram_bot.bot_token", "\"x\"", "\"***\"" },
		{ "ranking.password", "\"x\"", "\"***\"" },
		{ "contest_web_server.contest_admin_token", "[\"x\"]", "\"***\"" },
		{ "worker.keep_sandbox", "true", "true" },
		{ "some.unknown", "\"x\"", "\"x\"" },
		/* Misspelt ones, and those in a list of tables. */
		{ "web_server.secret_kye", "\"x\"", "\"***\"" },
		{ "global.secert_key", "\"x\"", "\"***\"" },
		{ "databse.ulr", "\"postgresql://u:pw@h/db\"", "\"***\"" },
		{ "ranking.pasword", "\"x\"", "\"***\"" },
		{ "telegram_bot.token", "\"x\"", "\"***\"" },
		{ "proxy_service.ranking", "[\"http://a:pw@h/\"]", "[\"***\"]" },
		{ "web_server", "[{\"secret_key\":\"x\"}]", "[{\"secret_key\":\"***\"}]" },
		{ "global.temp_dri", "\"/tmp\"", "\"/tmp\"" },
		{ "web_server.secret_kye", "7", "7" },
		{ "telegram_bot", "{\"bot_token\":\"x\",\"chat_id\":\"7\"}",
		  "{\"bot_token\":\"***\",\"chat_id\":\"7\"}" },
		{ "",
		  "{\"ranking\":{\"username\":\"u\",\"password\":\"x\"},"
		  "\"database\":{\"url\":\"p://u:x@h/\"}}",
		  "{\"ranking\":{\"username\":\"u\",\"password\":\"***\"},"
		  "\"database\":{\"url\":\"p://u:***@h/\"}}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *value = NULL;

		assert_int_equal(value_from_json(rows[i].json, strlen(rows[i].json), &value, NULL),
				 0);
		CLEAN(value) struct value *masked = config_mask(rows[i].path, value);
		CLEAN(str) char *text = value_to_json(masked);

		assert_string_equal(text, rows[i].masked);
	}
}

/* ---- Values that a person types ---- */

static void typed_values_are_parsed(void **state)
{
	static const struct {
		const char *path;
		const char *text;
		const char *json; /* NULL: refused */
	} rows[] = {
		{ "database.url", "postgresql://u:p@h/d", "\"postgresql://u:p@h/d\"" },
		{ "global.temp_dir", "\"/tmp\"", "\"/tmp\"" },
		{ "global.temp_dir", "'/tmp'", "\"/tmp\"" },
		{ "global.temp_dir", "\"half", "\"\\\"half\"" },
		{ "global.temp_dir", "", "\"\"" },
		{ "global.temp_dir", "10", "\"10\"" },
		{ "global.temp_dir", "a\xff", NULL },
		{ "telegram_bot.chat_id", "-100123", "\"-100123\"" },
		{ "worker.keep_sandbox", "true", "true" },
		{ "worker.keep_sandbox", "True", NULL },
		{ "worker.keep_sandbox", "1", NULL },
		{ "worker.keep_sandbox", "", NULL },
		{ "worker.keep_sandbox", "true\nx = 1", NULL },
		{ "worker.keep_sandbox", "true\n[x]", NULL },
		{ "sandbox.max_file_size", "1_048_576", "1048576" },
		{ "sandbox.max_file_size", "9223372036854775807", "9223372036854775807" },
		{ "sandbox.max_file_size", "9223372036854775808", NULL },
		{ "sandbox.max_file_size", "1.5", NULL },
		{ "sandbox.trusted_sandbox_max_time_s", "10", "10.0" },
		{ "sandbox.trusted_sandbox_max_time_s", "0.5", "0.5" },
		{ "sandbox.trusted_sandbox_max_time_s", "fast", NULL },
		{ "contest_web_server.listen_port", "[8888, 8889]", "[8888,8889]" },
		{ "contest_web_server.listen_port", "[]", "[]" },
		{ "contest_web_server.listen_port", "8888", NULL },
		{ "contest_web_server.listen_port", "[\"8888\"]", NULL },
		{ "contest_web_server.listen_address", "[\"\"]", "[\"\"]" },
		{ "new_table.flag", "true", "true" },
		{ "new_table.text", "hello world", "\"hello world\"" },
		{ "new_table.text", "a\nb = 1", "\"a\\nb = 1\"" },
		{ "new_table.text", "\xc3(", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *value = NULL;
		struct err err = { 0 };
		const int rc = config_value_parse(rows[i].path, rows[i].text, &value, &err);

		if (!rows[i].json) {
			if (rc != -EINVAL || value || !str_starts(err.msg, rows[i].path))
				fail_msg("%s=%s: %d, '%s'", rows[i].path, rows[i].text, rc,
					 err.msg);
			continue;
		}
		if (rc < 0)
			fail_msg("%s=%s: %s", rows[i].path, rows[i].text, err.msg);
		CLEAN(str) char *json = value_to_json(value);

		assert_string_equal(json, rows[i].json);
		assert_int_equal(value->line, 0);
	}
}

static void refusals_say_what_is_wanted_and_hide_secrets(void **state)
{
	static const struct {
		const char *path;
		const char *text;
		const char *message;
	} rows[] = {
		{ "admin_web_server.listen_port", "abc",
		  "admin_web_server.listen_port: 'abc' is not an integer; write it like 10" },
		{ "contest_web_server.listen_port", "1",
		  "contest_web_server.listen_port: '1' is not a list of integers; write it like "
		  "[8888, 8889]" },
		{ "proxy_service.rankings", "http://u:pw@h/",
		  "proxy_service.rankings: the value given (secret, so not shown) is not a list "
		  "of strings; write it like [\"a\", \"b\"]" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct value *value = NULL;
		struct err err = { 0 };

		assert_int_equal(config_value_parse(rows[i].path, rows[i].text, &value, &err),
				 -EINVAL);
		assert_string_equal(err.msg, rows[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_are_those_of_the_facts),
		cmocka_unit_test(formats_are_those_of_the_facts),
		cmocka_unit_test(every_key_of_the_facts_is_known),
		cmocka_unit_test(no_name_stands_for_two_keys),
		cmocka_unit_test(the_secrets_are_marked),
		cmocka_unit_test(names_lead_to_canonical_paths),
		cmocka_unit_test(misspelt_names_have_a_nearest),
		cmocka_unit_test(secrets_are_masked),
		cmocka_unit_test(typed_values_are_parsed),
		cmocka_unit_test(refusals_say_what_is_wanted_and_hide_secrets),
	};

	return cmocka_run_group_tests(tests, load_facts, free_facts);
}
