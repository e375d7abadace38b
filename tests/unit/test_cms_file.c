/* SPDX-License-Identifier: MIT */
/* CMS's main file: the samples of five versions, the quirks of JSON, both writers. */
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

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/json_conf.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/toml.h"

#define OTHER "\"other_services\":{},"
#define CORE OTHER "\"core_services\":{\"LogService\":[[\"h\",1]]}"
#define SERVICES "[services]\nLogService = [[\"h\", 1]]\n"

static struct value *parse(const char *text, enum cms_format expected)
{
	struct value *document = NULL;
	struct err err = { 0 };
	enum cms_format format;

	if (cms_file_parse(text, strlen(text), &format, &document, &err) < 0)
		fail_msg("%s\n%s", err.msg, text);
	assert_int_equal(format, expected);
	return document;
}

static void assert_json(const struct value *value, const char *expected)
{
	if (!value) {
		assert_null(expected);
		return;
	}
	CLEAN(str) char *json = value_to_json(value);

	assert_non_null(expected);
	assert_string_equal(json, expected);
}

/* ---- The samples of CMS ---- */

/* NULL if it is not at hand. */
static char *read_sample(const char *name)
{
	const char *shared = getenv("CMSNODE_SHARED");
	CLEAN(str) char *path = xasprintf("%s/data/cms/%s", shared ? shared : "../shared", name);
	CLEAN(buf) struct buf text = BUF_INIT(1 << 20);

	if (file_read(path, &text, NULL) == 0)
		return buf_steal(&text);
	print_message("SKIP: %s cannot be read; set CMSNODE_SHARED\n", path);
	return NULL;
}

static const struct sample {
	const char *name;
	enum cms_format format;
	size_t workers;
	const char *listen; /* contest_web_server.listen_address */
	const char *gone; /* a key of this version that ended later, its path */
	const char *gone_json;
} samples[] = {
	{ "v1.2.0/cms.conf.sample", CMS_FORMAT_JSON, 2, "[\"\"]", "contest_web_server.ip_lock",
	  "true" },
	{ "v1.3.2/cms.conf.sample", CMS_FORMAT_JSON, 4, "[\"\"]", "printing_service.paper_size",
	  "\"A4\"" },
	{ "v1.4.rc1/cms.conf.sample", CMS_FORMAT_JSON, 16, "[\"\"]", "global.cmsuser",
	  "\"cmsuser\"" },
	{ "v1.5.1/cms.conf.sample", CMS_FORMAT_JSON, 16, "[\"\"]",
	  "printing_service.max_jobs_per_user", "10" },
	{ "v1.6.dev/cms.sample.toml", CMS_FORMAT_TOML, 16, "[\"127.0.0.1\"]",
	  "printing_service.paper_size", NULL },
};

static void assert_all_known(const struct value *document)
{
	for (size_t i = 0; i < document->table.len; i++) {
		const struct value_member *table = &document->table.members[i];
		if (str_eq(table->key, "other_services"))
			continue;
		for (size_t k = 0; k < table->value->table.len; k++) {
			CLEAN(str)
			char *path =
				xasprintf("%s.%s", table->key, table->value->table.members[k].key);
			const struct config_key *key = config_key_find(path);

			if (!key || key->type != table->value->table.members[k].value->type)
				fail_msg("%s is unknown or has another type than keys.def says",
					 path);
		}
	}
}

static void check_sample(const struct sample *sample)
{
	CLEAN(str) char *text = read_sample(sample->name);
	if (!text)
		skip();
	CLEAN(value) struct value *document = parse(text, sample->format);
	const struct value *workers = value_get_path(document, "services.Worker");

	assert_all_known(document);
	assert_int_equal(workers->array.len, sample->workers);
	assert_json(workers->array.items[1], "[\"localhost\",26001]");
	assert_true(workers->line > 10);
	assert_json(value_get_path(document, "contest_web_server.listen_address"), sample->listen);
	assert_json(value_get_path(document, "admin_web_server.listen_port"), "8889");
	assert_json(value_get_path(document, "proxy_service.rankings"),
		    "[\"http://usern4me:passw0rd@localhost:8890/\"]");
	assert_json(value_get_path(document, sample->gone), sample->gone_json);
	assert_null(value_get_path(document, "global._help"));
	assert_null(value_get_path(document, "printing_service.printer"));
}

static void samples_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++)
		check_sample(&samples[i]);
}

static void samples_survive_their_own_format(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		CLEAN(str) char *text = read_sample(samples[i].name);
		if (!text)
			skip();
		CLEAN(value) struct value *document = parse(text, samples[i].format);
		CLEAN(str) char *written = cms_file_write(document, samples[i].format);
		CLEAN(value) struct value *back = parse(written, samples[i].format);

		if (!value_equal(document, back))
			fail_msg("%s changed:\n%s", samples[i].name, written);
	}
}

/* Everything that both formats know must come back; returns how much that was. */
static size_t compare_common(const struct value *before, const struct value *after)
{
	size_t common = 0;

	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);
		const struct value *value = value_get_path(before, key->path);
		if (!value || !config_key_is_in(key, CMS_FORMAT_TOML) ||
		    !config_key_is_in(key, CMS_FORMAT_JSON) || str_starts(key->path, "ranking."))
			continue;
		if (!value_get_path(after, key->path) ||
		    !value_equal(value, value_get_path(after, key->path)))
			fail_msg("%s got lost or changed", key->path);
		common++;
	}
	return common;
}

static void samples_survive_the_other_format(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const enum cms_format own = samples[i].format;
		const enum cms_format other =
			own == CMS_FORMAT_JSON ? CMS_FORMAT_TOML : CMS_FORMAT_JSON;
		CLEAN(str) char *text = read_sample(samples[i].name);
		if (!text)
			skip();
		CLEAN(value) struct value *document = parse(text, own);
		CLEAN(str) char *there = cms_file_write(document, other);
		CLEAN(value) struct value *between = parse(there, other);
		CLEAN(str) char *home = cms_file_write(between, own);
		CLEAN(value) struct value *back = parse(home, own);

		assert_true(compare_common(document, back) >= 25);
	}
}

/* ---- Quirks of cms.conf ---- */

static void json_is_mapped_to_canonical(void **state)
{
	static const struct {
		const char *text;
		const char *path;
		const char *json; /* NULL: absent */
	} rows[] = {
		{ "{\"database\":\"x\"," CORE "}", "database.url", "\"x\"" },
		{ "{\"database\":\"x\",\"database\":\"y\"," CORE "}", "database.url", "\"y\"" },
		{ "{\"printer\":\"x\",\"printer\":null," CORE "}", "printing_service.printer",
		  NULL },
		{ "{\"database\":null,\"database\":\"x\"," CORE "}", "database.url", "\"x\"" },
		{ "{\"unknown\":null,\"_temp_dir\":null," CORE "}", "global", NULL },
		{ "{\"core_services\":{\"A\":null},\"core_services\":{\"A\":[[\"h\",1]],"
		  "\"_B\":null}," OTHER "\"x\":{\"A\":null}}",
		  "services", "{\"A\":[[\"h\",1]]}" },
		{ "{\"_help\":\"a\",\"_help\":\"b\"," CORE "}", "global", NULL },
		{ "{" OTHER
		  "\"core_services\":{\"_Worker\":[[\"h\",2]],\"LogService\":[[\"h\",1]]}}",
		  "services", "{\"LogService\":[[\"h\",1]]}" },
		{ "{" OTHER
		  "\"core_services\":{\"LogService\":[[\"h\",1]],\"LogService\":[[\"i\",2]]}}",
		  "services", "{\"LogService\":[[\"i\",2]]}" },
		{ "{" CORE ",\"other_services\":{\"TestFileCacher\":[[\"h\",27501]],\"_X\":[]}}",
		  "other_services", "{\"TestFileCacher\":[[\"h\",27501]]}" },
		{ "{" CORE ",\"printer\":null}", "printing_service", NULL },
		{ "{" CORE ",\"use_cgroups\":false}", "sandbox.use_cgroups", "false" },
		{ "{" CORE ",\"my_key\":[1,{\"a\":2.0}]}", "global.my_key", "[1,{\"a\":2.0}]" },
		{ "{" CORE ",\"my.key\":1}", "global", "{\"my.key\":1}" },
		{ "{" CORE ",\"max_file_size\":9223372036854775807}", "sandbox.max_file_size",
		  "9223372036854775807" },
		{ "{" CORE ",\"max_file_size\":-0}", "sandbox.max_file_size", "0" },
		{ "{" CORE ",\"trusted_sandbox_max_time_s\":1e1}",
		  "sandbox.trusted_sandbox_max_time_s", "10.0" },
		{ "{" CORE ",\"telegram_bot_chat_id\":-1001234567890123}", "telegram_bot.chat_id",
		  "\"-1001234567890123\"" },
		{ "{" CORE ",\"contest_admin_token\":\"x\"}",
		  "contest_web_server.contest_admin_token", "\"x\"" },
		{ "{" CORE ",\"stl_path\":\"\\u00e9\\n\\\"\\\\ \\ud83d\\ude00\"}",
		  "contest_web_server.stl_path", "\"\xc3\xa9\\n\\\"\\\\ \xf0\x9f\x98\x80\"" },
		{ "{" CORE ",\"trusted_sandbox_max_time_s\":Infinity}",
		  "sandbox.trusted_sandbox_max_time_s", "{\"$float\":\"inf\"}" },
		{ " \r\n\t{ " CORE
		  " , \"a\" : [ ] , \"b\" : { } , \"c\" : [ [ ] , { } ] , \"d\" : true } \n",
		  "global", "{\"a\":[],\"b\":{},\"c\":[[],{}],\"d\":true}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *document = parse(rows[i].text, CMS_FORMAT_JSON);

		assert_json(value_get_path(document, rows[i].path), rows[i].json);
	}
}

static void json_values_know_their_lines(void **state)
{
	static const char text[] =
		"{" OTHER
		"\"_help\": \"two\",\n\n\"x\": null,\n\"core_services\":\n{\"LogService\": "
		"[\n"
		"[\"h\", 1], [\"h\",\n2]]},\n\"debug\": true}";
	CLEAN(value) struct value *document = parse(text, CMS_FORMAT_JSON);
	const struct value *entries = value_get_path(document, "services.LogService");

	(void)state;
	assert_int_equal(value_get(document, "services")->line, 5);
	assert_int_equal(entries->line, 5);
	assert_int_equal(entries->array.items[0]->line, 6);
	assert_int_equal(entries->array.items[1]->array.items[1]->line, 7);
	assert_int_equal(value_get_path(document, "global.debug")->line, 8);
}

/* ---- cms.toml ---- */

static void toml_of_2025_is_mapped_like_json(void **state)
{
	static const char text[] =
		"database = \"x\"\nadmin_listen_port = 80\nfoo = 1\n[core_services]\nWorker = "
		"[[\"h\", 1]]\n"
		"_Checker = [[\"h\", 2]]\n[other_services]\n";
	CLEAN(value) struct value *document = parse(text, CMS_FORMAT_FLAT_TOML);

	(void)state;
	assert_json(document,
		    "{\"database\":{\"url\":\"x\"},\"admin_web_server\":{\"listen_port\":80},"
		    "\"global\":{\"foo\":1},"
		    "\"services\":{\"Worker\":[[\"h\",1]]},\"other_services\":{}}");
	assert_int_equal(value_get_path(document, "services.Worker")->line, 5);
}

static void toml_of_today_is_canonical_already(void **state)
{
	static const char text[] =
		"stray = 1\n" SERVICES "_Worker = []\n[database]\nurl = \"x\"\nodd = 1979-05-27\n";
	CLEAN(value) struct value *document = parse(text, CMS_FORMAT_TOML);
	CLEAN(value) struct value *plain = NULL;

	(void)state;
	assert_int_equal(toml_parse(text, strlen(text), &plain, NULL), 0);
	assert_true(value_equal(document, plain));
}

/* ---- Refusals ---- */

static void broken_files_are_refused_with_a_place(void **state)
{
	static const struct {
		const char *text;
		const char *message; /* its beginning */
	} rows[] = {
		{ "{\n\"a\": 1,\n}", "line 3, column 1: not valid JSON" },
		{ "\xef\xbb\xbf{" CORE "}",
		  "line 1, column 1: the file begins with a byte order mark" },
		{ "\xef\xbb\xbf" SERVICES,
		  "line 1, column 1: the file begins with a byte order mark" },
		{ "{\"core_services\":{\"A\":[[\"h\",1]]}}",
		  "the table 'other_services' is missing" },
		{ "[core_services]\nA=[[\"h\",1]]", "the table 'other_services' is missing" },
		{ "{" CORE ",\n\"keep_sandbox\":null}",
		  "line 2: keep_sandbox is null, CMS wants a boolean" },
		{ "{" OTHER "\n\"core_services\":null}",
		  "line 2: core_services is null, CMS wants" },
		{ "{" CORE ",\"other_services\":null}", "line 1: other_services is null" },
		{ "{" OTHER "\"core_services\":{\"A\":[[\"h\",1]],\n\"B\":null}}",
		  "line 2: a service is null, CMS wants a list" },
		{ "{\"username\":\"u\",\n\"http_port\":8890}",
		  "line 1: 'username' is a key of the ranking's file" },
		{ "log_dir='x'\nbind_address=''\n",
		  "line 2: 'bind_address' is a key of the ranking's" },
		{ SERVICES "[core_services]\nLogService=[]\n[other_services]\n",
		  "line 3: both 'core_services'" },
		{ "{}", "the table 'services' ('core_services' in cms.conf) is missing" },
		{ "{\"core_services\": {}}", "line 1: 'services' lists no service" },
		{ "{\"core_services\": {\"_A\": []}}", "line 1: 'services' lists no service" },
		{ "{\n\"core_services\": []}", "line 2: 'services' is a list, CMS wants a table" },
		{ "{" CORE ",\n\"other_services\": 7}", "line 2: 'other_services' is an integer" },
		{ "{\"core_services\": {\"A\":\n \"h\"}}",
		  "line 2: services.A is a string, CMS wants a list" },
		{ "{\"core_services\": {\"A\": [\n[\"h\",1],\n[\"h\"]]}}",
		  "line 3: services.A, shard 1: is not a pair" },
		{ "{\"core_services\": {\"A\": [[\"h\",1,2]]}}",
		  "line 1: services.A, shard 0: is not a pair" },
		{ "{\"core_services\": {\"A\": [[1,1]]}}",
		  "line 1: services.A, shard 0: host is not a string" },
		{ "{\"core_services\": {\"A\": [[\"\",1]]}}",
		  "line 1: services.A, shard 0: host is empty" },
		{ "{\"core_services\": {\"A\": [[\"a b\",1]]}}",
		  "line 1: services.A, shard 0: host holds a blank" },
		{ "{\"core_services\": {\"A\": [[\"h\",\"1\"]]}}",
		  "line 1: services.A, shard 0: port is not an integer" },
		{ "{\"core_services\": {\"A\": [[\"h\",0]]}}",
		  "line 1: services.A, shard 0: port is not" },
		{ "{\"core_services\": {\"A\": [[\"h\",65536]]}}",
		  "line 1: services.A, shard 0: port is not" },
		{ "{\"core_services\": {\"A\": [[\"h\",true]]}}",
		  "line 1: services.A, shard 0: port is not" },
		{ "", "the table 'services'" },
		{ "[services]\n", "line 1: 'services' lists no service" },
		{ "services = 1\n", "line 1: 'services' is an integer" },
		{ "[services]\nA = [\n[\"h\", 1],\n{ host = \"h\", port = 1 },\n]\n",
		  "line 4: services.A, shard 1: is not a pair" },
		{ "[services\n", "line 1, column 10: " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct value *document = NULL;
		enum cms_format format;
		struct err err = { 0 };
		const int rc = cms_file_parse(rows[i].text, strlen(rows[i].text), &format,
					      &document, &err);

		if (rc != -EINVAL || document || !str_starts(err.msg, rows[i].message))
			fail_msg("%s\ngives %d, '%s'", rows[i].text, rc, err.msg);
	}
}

static char *repeat(const char *unit, size_t times, const char *before, const char *after)
{
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, before);
	for (size_t i = 0; i < times; i++)
		(void)buf_adds(&out, unit);
	(void)buf_adds(&out, after);
	return buf_steal(&out);
}

static void ceilings_hold(void **state)
{
	static const struct {
		const char *before, *unit;
		size_t times;
		const char *message;
	} rows[] = {
		{ "{\"a\":", "[", JSON_CONF_MAX_DEPTH + 1, "nested deeper than" },
		{ "{\"a\":1", ",\"a\":1", JSON_CONF_MAX_KEYS, "more than 10000 keys" },
		{ "{", " ", JSON_CONF_MAX_SIZE, "more than the" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(str)
		char *closing = repeat("]", rows[i].unit[0] == '[' ? rows[i].times : 0, "", "}");
		CLEAN(str)
		char *text = repeat(rows[i].unit, rows[i].times, rows[i].before, closing);
		struct value *document = NULL;
		enum cms_format format;
		struct err err = { 0 };

		assert_int_equal(cms_file_parse(text, strlen(text), &format, &document, &err),
				 -EINVAL);
		if (!strstr(err.msg, rows[i].message))
			fail_msg("'%s' lacks '%s'", err.msg, rows[i].message);
	}
}

static void text_need_not_be_terminated(void **state)
{
	static const char text[] = "{" CORE "}{garbage";
	struct value *document = NULL;
	enum cms_format format;

	(void)state;
	const size_t len = strlen("{" CORE "}");
	CLEAN(str) char *exact = xmemdup(text, len);

	assert_int_equal(cms_file_parse(exact, len, &format, &document, NULL), 0);
	value_free(document);
	assert_int_equal(cms_file_parse(text, strlen(text), &format, &document, NULL), -EINVAL);
}

/* ---- Writing ---- */

static const char written_from[] = SERVICES
	"PrintingService = [[\"h\", 2]]\n[database]\nurl = \"x\"\nodd = 1\n[global]\nmine = "
	"1\ndatabase = 2\ncmsuser = \"u\"\n"
	"when = 2026-11-22\n[contest_web_server]\ncontest_admin_token = "
	"\"t\"\n[printing_service]\npaper_size = \"A4\"\n"
	"[sandbox]\ntrusted_sandbox_max_time_s = 10.0\n[other_services]\nTestFileCacher = []\n"
	"[ranking]\npassword = \"p\"\n[telegram_bot]\n";

static void json_is_written_flat(void **state)
{
	static const char expected[] = "{\n"
				       "    \"cmsuser\": \"u\",\n"
				       "    \"database\": \"x\",\n"
				       "    \"trusted_sandbox_max_time_s\": 10.0,\n"
				       "    \"https_certfile\": null,\n"
				       "    \"printer\": null,\n"
				       "    \"paper_size\": \"A4\",\n"
				       "    \"telegram_bot_token\": null,\n"
				       "    \"telegram_bot_chat_id\": null,\n"
				       "    \"core_services\": {\n"
				       "        \"LogService\": [[\"h\", 1]],\n"
				       "        \"PrintingService\": [[\"h\", 2]]\n"
				       "    },\n"
				       "    \"other_services\": {\n"
				       "        \"TestFileCacher\": []\n"
				       "    },\n"
				       "    \"mine\": 1,\n"
				       "    \"when\": \"2026-11-22\"\n"
				       "}\n";
	CLEAN(value) struct value *document = parse(written_from, CMS_FORMAT_TOML);
	CLEAN(str) char *text = cms_file_write(document, CMS_FORMAT_JSON);

	(void)state;
	assert_string_equal(text, expected);
}

static void toml_is_written_without_what_ended(void **state)
{
	CLEAN(value) struct value *document = parse(written_from, CMS_FORMAT_TOML);
	CLEAN(str) char *text = cms_file_write(document, CMS_FORMAT_TOML);
	CLEAN(value) struct value *back = parse(text, CMS_FORMAT_TOML);

	(void)state;
	assert_json(
		back,
		"{\"services\":{\"LogService\":[[\"h\",1]]},"
		"\"database\":{\"url\":\"x\",\"odd\":1},"
		"\"global\":{\"mine\":1,\"database\":2,\"when\":{\"$datetime\":\"2026-11-22\"}},"
		"\"contest_web_server\":{\"contest_admin_token\":\"t\"},"
		"\"sandbox\":{\"trusted_sandbox_max_time_s\":10.0},\"telegram_bot\":{}}");
}

static void flat_toml_is_written_flat(void **state)
{
	static const char expected[] = "cmsuser = \"u\"\n"
				       "database = \"x\"\n"
				       "trusted_sandbox_max_time_s = 10.0\n"
				       "contest_admin_token = \"t\"\n"
				       "paper_size = \"A4\"\n"
				       "mine = 1\n"
				       "when = 2026-11-22\n"
				       "\n[core_services]\n"
				       "LogService = [[\"h\", 1]]\n"
				       "PrintingService = [[\"h\", 2]]\n"
				       "\n[other_services]\n"
				       "TestFileCacher = []\n";
	CLEAN(value) struct value *document = parse(written_from, CMS_FORMAT_TOML);
	CLEAN(str) char *text = cms_file_write(document, CMS_FORMAT_FLAT_TOML);

	(void)state;
	assert_string_equal(text, expected);
}

/* They would be comments there, and come back as nothing. */
static void flat_formats_have_no_names_of_comments(void **state)
{
	static const enum cms_format flat[] = { CMS_FORMAT_JSON, CMS_FORMAT_FLAT_TOML };
	CLEAN(value)
	struct value *document = parse(SERVICES "_A = []\n[global]\n_x = 1\n", CMS_FORMAT_TOML);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flat); i++) {
		CLEAN(str) char *text = cms_file_write(document, flat[i]);

		assert_null(strstr(text, "_A"));
		assert_null(strstr(text, "_x"));
	}
}

static void other_services_are_always_in_json(void **state)
{
	CLEAN(value) struct value *document = parse(SERVICES, CMS_FORMAT_TOML);
	CLEAN(str) char *text = cms_file_write(document, CMS_FORMAT_JSON);

	(void)state;
	assert_non_null(strstr(text, "\"other_services\": {}"));
}

static void formats_have_names(void **state)
{
	enum cms_format format = CMS_FORMAT_TOML;

	(void)state;
	assert_string_equal(cms_format_name(CMS_FORMAT_TOML), "toml");
	assert_string_equal(cms_format_file(CMS_FORMAT_JSON), "cms.conf");
	assert_string_equal(cms_format_file(CMS_FORMAT_TOML), "cms.toml");
	assert_int_equal(cms_format_parse("json", &format), 0);
	assert_int_equal(format, CMS_FORMAT_JSON);
	assert_string_equal(cms_format_file(CMS_FORMAT_FLAT_TOML), "cms.toml");
	assert_int_equal(cms_format_parse("flat-toml", &format), 0);
	assert_int_equal(format, CMS_FORMAT_FLAT_TOML);
	assert_int_equal(cms_format_parse("yaml", &format), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_are_read),
		cmocka_unit_test(samples_survive_their_own_format),
		cmocka_unit_test(samples_survive_the_other_format),
		cmocka_unit_test(json_is_mapped_to_canonical),
		cmocka_unit_test(json_values_know_their_lines),
		cmocka_unit_test(toml_of_2025_is_mapped_like_json),
		cmocka_unit_test(toml_of_today_is_canonical_already),
		cmocka_unit_test(broken_files_are_refused_with_a_place),
		cmocka_unit_test(ceilings_hold),
		cmocka_unit_test(text_need_not_be_terminated),
		cmocka_unit_test(json_is_written_flat),
		cmocka_unit_test(toml_is_written_without_what_ended),
		cmocka_unit_test(flat_toml_is_written_flat),
		cmocka_unit_test(flat_formats_have_no_names_of_comments),
		cmocka_unit_test(other_services_are_always_in_json),
		cmocka_unit_test(formats_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
