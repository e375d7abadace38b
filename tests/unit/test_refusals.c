/* SPDX-License-Identifier: MIT */
/*
 * What CMS's own readers refuse, we refuse: by parsing or by an error of the checks.
 * The cases come from running the readers of 1.5, of summer 2025 and of 1.6 beside ours.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/config/validate.h"

static bool has_error(const struct findings *findings, const char *key)
{
	for (size_t i = 0; i < findings->len; i++)
		if (findings->items[i].is_error && str_starts(findings->items[i].key, key))
			return true;
	return false;
}

static bool is_refused(const char *text)
{
	CLEAN(value) struct value *document = NULL;
	CLEAN(findings) struct findings findings = { 0 };
	struct validate_context context = { 0 };

	if (cms_file_parse(text, strlen(text), &context.format, &document, NULL) < 0)
		return true;
	config_validate(document, &context, &findings);
	return findings_have_errors(&findings);
}

static bool is_ranking_refused(const char *text)
{
	CLEAN(value) struct value *ranking = NULL;
	CLEAN(findings) struct findings findings = { 0 };
	struct validate_context context = { 0 };

	if (ranking_file_parse(text, strlen(text), &context.format, &ranking, NULL) < 0)
		return true;
	config_validate_ranking(ranking, &context, &findings);
	return findings_have_errors(&findings);
}

/* ---- Types ---- */

static const char *const values[] = {
	[VALUE_BOOL] = "true",	       [VALUE_INT] = "7",
	[VALUE_FLOAT] = "1.5",	       [VALUE_STRING] = "'x'",
	[VALUE_DATETIME] = "07:00:00", [VALUE_ARRAY] = "[]",
	[VALUE_TABLE] = "{ a = 'x' }",
};

/* CMS 1.6 takes an integer for a float, and Python a boolean for any number. */
static bool cms_takes(enum value_type wanted, enum value_type found)
{
	const bool number = wanted == VALUE_INT || wanted == VALUE_FLOAT;

	return wanted == found || (wanted == VALUE_FLOAT && found == VALUE_INT) ||
	       (number && found == VALUE_BOOL);
}

static struct value *one_value(const char *text)
{
	CLEAN(str) char *line = xasprintf("v = %s\n", text);
	CLEAN(value) struct value *table = NULL;

	assert_int_equal(toml_parse(line, strlen(line), &table, NULL), 0);
	return value_clone(value_get(table, "v"));
}

static bool type_is_refused(const struct config_key *key, const char *text)
{
	CLEAN(value) struct value *document = value_new_table();
	CLEAN(findings) struct findings findings = { 0 };
	static const char public[] = "ranking.public";

	if (str_starts(key->path, public)) {
		value_set_path(document, public, value_new_table());
		value_set(value_get_path(document, public), key->path + sizeof(public),
			  one_value(text));
	} else {
		value_set_path(document, key->path, one_value(text));
	}
	config_validate(document, NULL, &findings);
	return has_error(&findings, key->path);
}

static void other_types_are_refused(void **state)
{
	size_t tried = 0;

	(void)state;
	for (size_t i = 0; i < config_key_count() * ARRAY_LEN(values); i++) {
		const struct config_key *key = config_key_at(i / ARRAY_LEN(values));
		const enum value_type type = i % ARRAY_LEN(values);
		if (!config_key_is_in(key, CMS_FORMAT_TOML) || cms_takes(key->type, type))
			continue;
		if (!type_is_refused(key, values[type]))
			fail_msg("%s = %s passes", key->path, values[type]);
		tried++;
	}
	assert_true(tried > 300);
}

static void other_types_in_lists_are_refused(void **state)
{
	size_t tried = 0;

	(void)state;
	for (size_t i = 0; i < config_key_count() * ARRAY_LEN(values); i++) {
		const struct config_key *key = config_key_at(i / ARRAY_LEN(values));
		const enum value_type type = i % ARRAY_LEN(values);
		if (key->type != VALUE_ARRAY || cms_takes(key->item, type))
			continue;
		CLEAN(str) char *list = xasprintf("[%s]", values[type]);

		if (!type_is_refused(key, list))
			fail_msg("%s = %s passes", key->path, list);
		tried++;
	}
	assert_true(tried > 80);
}

/* ---- Tables ---- */

static void tables_that_are_none_are_refused(void **state)
{
	static const char *const tables[] = {
		"global",     "database",	    "worker",	     "sandbox",
		"web_server", "contest_web_server", "proxy_service", "admin_web_server",
		"prometheus", "telegram_bot",	    "services"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		CLEAN(value) struct value *document = value_new_table();
		CLEAN(findings) struct findings findings = { 0 };

		value_set(document, tables[i], value_new_int(1));
		config_validate(document, NULL, &findings);
		if (!has_error(&findings, tables[i]))
			fail_msg("%s = 1 passes", tables[i]);
	}
}

/* ---- The services ---- */

#define OTHERS "\nEvaluationService = [['h', 2]]\nScoringService = [['h', 3]]\n"
#define REST "[database]\nurl = 'postgresql://u@h/d'\n"

static void entries_that_are_no_pair_are_refused(void **state)
{
	static const char *const entries[] = {
		"['h']",      "['h', 1, 2]", "['h', '1']",    "[1, 1]",
		"['h', 1.5]", "['h', []]",   "[['h', 1]]",    "{ host = 'h', port = 1 }",
		"{}",	      "[]",	     "'ab'",	      "5",
		"['h', {}]",  "true",	     "[07:00:00, 1]",
	};

	(void)state;
	assert_false(is_refused("[services]\nLogService = [['h', 1]]" OTHERS REST));
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		CLEAN(str)
		char *first = xasprintf("[services]\nLogService = [%s]" OTHERS REST, entries[i]);
		CLEAN(str)
		char *second = xasprintf("[services]\nLogService = [['h', 1], %s]" OTHERS REST,
					 entries[i]);

		if (!is_refused(first) || !is_refused(second))
			fail_msg("%s passes", entries[i]);
	}
}

/* ---- Whole files ---- */

#define CONF_SERVICES                                                                             \
	"\"core_services\": {\"LogService\": [[\"h\", 1]], \"EvaluationService\": [[\"h\", 2]], " \
	"\"ScoringService\": [[\"h\", 3]]}"
#define CONF_OTHER "\"other_services\": {}"
#define CONF_DATABASE "\"database\": \"postgresql://u@h/d\""
#define FLAT_SERVICES "[core_services]\nLogService = [['h', 1]]" OTHERS
#define CONF(more) "{" CONF_SERVICES ", " CONF_OTHER ", " CONF_DATABASE more "}"

static void whole_files(void **state)
{
	static const struct {
		const char *text;
		bool refused;
	} rows[] = {
		{ CONF(""), false },
		{ CONF(", \"x\": null, \"y\": {\"z\": [NaN, -Infinity]}, \"printer\": null"),
		  false },
		{ "{" CONF_SERVICES ", " CONF_DATABASE "}", true },
		{ "{" CONF_OTHER ", " CONF_DATABASE "}", true },
		{ CONF(", \"core_services\": null"), true },
		{ CONF(", \"other_services\": null"), true },
		{ CONF(", \"other_services\": {\"A\": null}"), true },
		{ CONF(", \"other_services\": {\"_A\": null, \"_B\": 5}"), false },
		{ CONF(", \"other_services\": {\"A\": [[\"h\", 1, 2]]}"), true },
		{ CONF(", \"other_services\": {\"A\": [[\"h\", 1], null]}"), true },
		{ "\xef\xbb\xbf" CONF(""), true },
		{ CONF(", \"x\": \"\\u00zz\""), true },
		{ CONF(", \"x\": \"a\tb\""), true },
		{ CONF(",\v\"x\": 1"), true },
		{ CONF(", \"x\": 01"), true },
		{ CONF(", \"x\": +1"), true },
		{ CONF(", 'x': 1"), true },
		{ CONF(","), true },
		{ CONF("} "), true },
		{ "database = 'postgresql://u@h/d'\n" FLAT_SERVICES "[other_services]\n", false },
		{ "database = 'postgresql://u@h/d'\n" FLAT_SERVICES, true },
		{ "database = 'postgresql://u@h/d'\n" FLAT_SERVICES "[other_services]\nA = [[]]\n",
		  true },
		{ "[services]\nLogService = [['h', 1]]" OTHERS, true },
		{ "[services]\nLogService = [['h', 1]]" OTHERS "[database]\ndebug = true\n", true },
		{ "[services]\nLogService = [['h', 1]]" OTHERS REST "[telegram_bot]\n", true },
		{ "[services]\nLogService = [['h', 1]]" OTHERS REST
		  "[telegram_bot]\nbot_token = 't'\nchat_id = 5\n",
		  true },
		{ "[services]\nLogService = [['h', 1]]" OTHERS REST
		  "[telegram_bot]\nbot_token = 't'\nchat_id = '5'\n",
		  false },
		{ "\xef\xbb\xbf[services]\nLogService = [['h', 1]]" OTHERS REST, true },
		{ REST, true },
		{ "", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (is_refused(rows[i].text) != rows[i].refused)
			fail_msg("row %zu: %s", i, rows[i].text);
}

static void rankings(void **state)
{
	static const struct {
		const char *text;
		bool refused;
	} rows[] = {
		{ "", false },
		{ "{}", false },
		{ "{\"_\": 1, \"timeout\": 5}", false },
		{ "{\"user\": \"u\"}", true },
		{ "{\"http_port\": null}", true }, /* no port at all: it ends at once */
		{ "user = 'u'\n", false },
		{ "http_port = '8890'\n", true },
		{ "https_port = true\nhttps_certfile = 'c'\nhttps_keyfile = 'k'\n", false },
		{ "https_port = 443.0\n", true },
		{ "public = []\n", true },
		{ "[public]\nshow_id_column = 'yes'\n", true },
		{ "[[public]]\nshow_id_column = true\n", true },
		{ "password = 5\n", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (is_ranking_refused(rows[i].text) != rows[i].refused)
			fail_msg("row %zu: %s", i, rows[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_types_are_refused),
		cmocka_unit_test(other_types_in_lists_are_refused),
		cmocka_unit_test(tables_that_are_none_are_refused),
		cmocka_unit_test(entries_that_are_no_pair_are_refused),
		cmocka_unit_test(whole_files),
		cmocka_unit_test(rankings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
