/* SPDX-License-Identifier: MIT */
/* The ranking's file: the samples of five versions, null as "off", refusals, writing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/validate.h"

static struct value *parse(const char *text, enum cms_format expected)
{
	struct value *ranking = NULL;
	struct err err = { 0 };
	enum cms_format format;

	if (ranking_file_parse(text, strlen(text), &format, &ranking, &err) < 0)
		fail_msg("%s\n%s", err.msg, text);
	assert_int_equal(format, expected);
	return ranking;
}

/* ---- The samples of CMS ---- */

static const struct {
	const char *name;
	enum cms_format format;
	const char *ranking;
} samples[] = {
	{ "v1.2.0/cms.ranking.conf.sample", CMS_FORMAT_JSON,
	  "{\"bind_address\":\"\",\"http_port\":8890,\"username\":\"usern4me\","
	  "\"password\":\"passw0rd\"}" },
	{ "v1.3.2/cms.ranking.conf.sample", CMS_FORMAT_JSON,
	  "{\"bind_address\":\"\",\"http_port\":8890,\"username\":\"usern4me\","
	  "\"password\":\"passw0rd\"}" },
	{ "v1.4.rc1/cms.ranking.conf.sample", CMS_FORMAT_JSON,
	  "{\"bind_address\":\"\",\"http_port\":8890,\"username\":\"usern4me\","
	  "\"password\":\"passw0rd\"}" },
	{ "v1.5.1/cms.ranking.conf.sample", CMS_FORMAT_JSON,
	  "{\"bind_address\":\"127.0.0.1\",\"http_port\":8890,\"username\":\"usern4me\","
	  "\"password\":\"passw0rd\"}" },
	{ "v1.6.dev/cms_ranking.sample.toml", CMS_FORMAT_TOML,
	  "{\"bind_address\":\"127.0.0.1\",\"http_port\":8890,\"username\":\"usern4me\","
	  "\"password\":\"passw0rd\",\"realm_name\":\"Scoreboard\",\"buffer_size\":100,"
	  "\"public\":{\"show_id_column\":false}}" },
};

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

static void samples_are_read_and_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		CLEAN(str) char *text = read_sample(samples[i].name);
		if (!text)
			skip();
		CLEAN(value) struct value *ranking = parse(text, samples[i].format);
		CLEAN(str) char *json = value_to_json(ranking);
		CLEAN(str) char *written = ranking_file_write(ranking, samples[i].format);
		CLEAN(value) struct value *back = parse(written, samples[i].format);

		assert_string_equal(json, samples[i].ranking);
		assert_true(value_equal(ranking, back));
	}
}

/* ---- Reading ---- */

static void files_are_mapped_to_canonical(void **state)
{
	static const struct {
		const char *text;
		enum cms_format format;
		const char *ranking;
	} rows[] = {
		{ "", CMS_FORMAT_TOML, "{}" },
		{ "{}", CMS_FORMAT_JSON, "{}" },
		{ "{\"http_port\":null}", CMS_FORMAT_JSON, "{\"http_port\":0}" },
		{ "{\"http_port\":null,\"http_port\":80}", CMS_FORMAT_JSON, "{\"http_port\":80}" },
		{ "{\"bind_address\":null}", CMS_FORMAT_JSON, "{\"bind_address\":\"\"}" },
		{ "{\"https_port\":null,\"https_certfile\":null,\"https_keyfile\":null}",
		  CMS_FORMAT_JSON, "{}" },
		{ "{\"_help\":1,\"_help\":null,\"_x\":{\"password\":null},\"timeout\":600}",
		  CMS_FORMAT_JSON, "{\"timeout\":600}" },
		{ "password='p'\nodd=1.5\n[public]\nshow_id_column=true\n", CMS_FORMAT_TOML,
		  "{\"password\":\"p\",\"odd\":1.5,\"public\":{\"show_id_column\":true}}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *ranking = parse(rows[i].text, rows[i].format);
		CLEAN(str) char *json = value_to_json(ranking);

		assert_string_equal(json, rows[i].ranking);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *text;
		const char *message; /* its beginning */
	} rows[] = {
		{ "{\"_a\":1,\n\"core_services\":{}}",
		  "line 2: 'core_services' belongs to CMS's main file" },
		{ "[services]\n", "line 1: 'services' belongs to CMS's main file" },
		{ "database = 'x'\n", "line 1: 'database' belongs to CMS's main file" },
		{ "\n[other_services]\n", "line 2: 'other_services' belongs to" },
		{ "{\n\"http_prot\":1}",
		  "line 2: 'http_prot' is not a key of RankingWebServer, which "
		  "ends at one that it does not know: did you mean 'http_port'?" },
		{ "{\"qqqqqqqqqqqqq\":null}",
		  "line 1: 'qqqqqqqqqqqqq' is not a key of "
		  "RankingWebServer, which ends at one that it does not "
		  "know; begin it with _" },
		{ "{\"public\":{\"show_id_column\":true}}", "line 1: 'public' is not a key" },
		{ "{\n\"password\":null}",
		  "line 2: password is null, RankingWebServer wants a string" },
		{ "{\"buffer_size\":null}",
		  "line 1: buffer_size is null, RankingWebServer wants an" },
		{ "{\"http_port\":0}",
		  "line 1: http_port is 0, with which RankingWebServer takes any "
		  "free port; write null" },
		{ "\nhttp_port=0\n",
		  "line 2: http_port is 0, with which RankingWebServer takes any "
		  "free port; TOML cannot" },
		{ "https_port=0\n", "line 1: https_port is 0, with" },
		{ "\xef\xbb\xbf", "line 1, column 1: the file begins with a byte order mark" },
		{ "{\"username\": 'x'}", "line 1, column 14: not valid JSON" },
		{ "username: x", "line 1, column 9: expected '='" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct value *ranking = NULL;
		enum cms_format format;
		struct err err = { 0 };
		const int rc = ranking_file_parse(rows[i].text, strlen(rows[i].text), &format,
						  &ranking, &err);

		if (rc != -EINVAL || ranking || !str_starts(err.msg, rows[i].message))
			fail_msg("%s\ngives %d, '%s'", rows[i].text, rc, err.msg);
	}
}

/* ---- Writing ---- */

static void each_format_gets_what_it_knows(void **state)
{
	static const char text[] = "http_port=8890\nbind_address=''\ntimeout=600\nodd=1\n"
				   "web_dir='/w'\n[public]\nshow_id_column=true\n";
	static const char *const expected[] = {
		[CMS_FORMAT_TOML] = "http_port = 8890\nbind_address = \"\"\nodd = 1\n\n"
				    "[public]\nshow_id_column = true\n",
		[CMS_FORMAT_JSON] = "{\n    \"bind_address\": \"\",\n    \"http_port\": 8890,\n"
				    "    \"timeout\": 600,\n    \"web_dir\": \"/w\"\n}\n",
		[CMS_FORMAT_FLAT_TOML] = "http_port = 8890\nbind_address = \"\"\ntimeout = 600\n"
					 "web_dir = \"/w\"\n",
	};
	CLEAN(value) struct value *ranking = parse(text, CMS_FORMAT_TOML);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		CLEAN(str) char *written = ranking_file_write(ranking, (enum cms_format)i);

		assert_string_equal(written, expected[i]);
	}
}

/* TOML has no word for it: 0 would be a random port, absence is 8890. */
static void http_off_is_null_in_json_only(void **state)
{
	CLEAN(value) struct value *ranking = parse("{\"http_port\":null}", CMS_FORMAT_JSON);
	CLEAN(str) char *json = ranking_file_write(ranking, CMS_FORMAT_JSON);
	CLEAN(str) char *toml = ranking_file_write(ranking, CMS_FORMAT_TOML);
	CLEAN(str) char *flat = ranking_file_write(ranking, CMS_FORMAT_FLAT_TOML);

	(void)state;
	assert_string_equal(json, "{\n    \"http_port\": null\n}\n");
	assert_string_equal(toml, "");
	assert_string_equal(flat, "");
}

static void no_table_is_an_empty_file(void **state)
{
	CLEAN(str) char *json = ranking_file_write(NULL, CMS_FORMAT_JSON);
	CLEAN(str) char *toml = ranking_file_write(NULL, CMS_FORMAT_TOML);

	(void)state;
	assert_string_equal(json, "{\n}\n");
	assert_string_equal(toml, "");
	value_free(parse(json, CMS_FORMAT_JSON));
	assert_string_equal(ranking_file_name(CMS_FORMAT_JSON), "cms.ranking.conf");
	assert_string_equal(ranking_file_name(CMS_FORMAT_TOML), "cms_ranking.toml");
	assert_string_equal(ranking_file_name(CMS_FORMAT_FLAT_TOML), "cms_ranking.toml");
}

/* ---- Checks ---- */

static void a_ranking_is_checked_alone(void **state)
{
	static const struct {
		const char *text;
		enum cms_format reader;
		const char *finding; /* the only one; NULL: none */
	} rows[] = {
		{ "{\"password\":\"x\"}", CMS_FORMAT_JSON, NULL },
		{ "{\"http_port\":null,\"https_port\":443,\"https_certfile\":\"c\","
		  "\"https_keyfile\":\"k\"}",
		  CMS_FORMAT_JSON, NULL },
		{ "{\"http_port\":null,\"https_port\":443,\"https_certfile\":\"c\","
		  "\"https_keyfile\":\"k\"}",
		  CMS_FORMAT_TOML, "warning ranking.http_port is 0 for no plain HTTP, which" },
		{ "{\"http_port\":null}", CMS_FORMAT_JSON,
		  "error ranking.http_port is 0 for no plain HTTP, and there is no HTTPS" },
		{ "{\"http_port\":-1}", CMS_FORMAT_JSON,
		  "error ranking.http_port -1 is not a port" },
		{ "buffer_size=0\n", CMS_FORMAT_TOML, "error ranking.buffer_size is 0" },
		{ "public=1\n", CMS_FORMAT_TOML,
		  "error ranking.public is an integer, CMS wants a" },
		{ "[public]\nshow_id_column=1\n", CMS_FORMAT_TOML,
		  "error ranking.public.show_id_column 1 is an integer, CMS wants a boolean" },
		{ "user_name='x'\n", CMS_FORMAT_FLAT_TOML,
		  "error ranking.user_name is not a key of CMS, and RankingWebServer ends at one "
		  "that it does not know; did you mean ranking.username?" },
		{ "user_name='x'\n", CMS_FORMAT_TOML,
		  "warning ranking.user_name is not a key of CMS, which will ignore it; did you "
		  "mean ranking.username?" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct validate_context context = { .format = rows[i].reader };
		CLEAN(value)
		struct value *ranking = parse(
			rows[i].text, rows[i].text[0] == '{' ? CMS_FORMAT_JSON : CMS_FORMAT_TOML);
		CLEAN(findings) struct findings findings = { 0 };

		config_validate_ranking(ranking, &context, &findings);
		assert_int_equal(findings.len, rows[i].finding ? 1 : 0);
		if (!rows[i].finding)
			continue;
		CLEAN(str)
		char *shown =
			xasprintf("%s %s %s", findings.items[0].is_error ? "error" : "warning",
				  findings.items[0].key, findings.items[0].text);

		if (!str_starts(shown, rows[i].finding))
			fail_msg("'%s' is not '%s'", shown, rows[i].finding);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_are_read_and_written),
		cmocka_unit_test(files_are_mapped_to_canonical),
		cmocka_unit_test(refused),
		cmocka_unit_test(each_format_gets_what_it_knows),
		cmocka_unit_test(http_off_is_null_in_json_only),
		cmocka_unit_test(no_table_is_an_empty_file),
		cmocka_unit_test(a_ranking_is_checked_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
