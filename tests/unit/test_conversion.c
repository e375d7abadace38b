/* SPDX-License-Identifier: MIT */
/*
 * Files that go from one generation of CMS to another and back: what is written is
 * read again, and what gets lost is exactly what the report names.
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

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/conversion.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/validate.h"

#include "document_maker.h"

#define SEEDS 300
#define FORMATS 3

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

static struct value *parse_ranking(const char *text, enum cms_format format)
{
	struct value *ranking = NULL;
	struct err err = { 0 };
	enum cms_format found;

	if (ranking_file_parse(text, strlen(text), &found, &ranking, &err) < 0)
		fail_msg("%s\n%s", err.msg, text);
	assert_int_equal(found, format == CMS_FORMAT_JSON ? CMS_FORMAT_JSON : CMS_FORMAT_TOML);
	return ranking;
}

static struct value *through(const struct value *document, enum cms_format format)
{
	CLEAN(str) char *text = cms_file_write(document, format);

	return parse(text, format);
}

static struct value *ranking_through(const struct value *ranking, enum cms_format format)
{
	CLEAN(str) char *text = ranking_file_write(ranking, format);

	return parse_ranking(text, format);
}

/* A document that holds only that ranking. */
static struct value *around(struct value *ranking)
{
	struct value *document = value_new_table();

	value_set(document, "ranking", ranking);
	return document;
}

/* ---- Round trips ---- */

static void made_documents_survive_their_own_format(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		for (int format = 0; format < FORMATS; format++) {
			CLEAN(value) struct value *document = maker_document(seed, format);
			CLEAN(value) struct value *back = through(document, format);
			CLEAN(value) struct value *ranking = maker_ranking(seed, format);
			CLEAN(value) struct value *ranking_back = ranking_through(ranking, format);

			if (!value_equal(document, back) || !value_equal(ranking, ranking_back))
				fail_msg("seed %d, %s", (int)seed, cms_format_name(format));
		}
	}
}

/* ---- What the report must name ---- */

/* Adds the paths of `before` that `after` lacks or has otherwise, sorted by the caller. */
static void add_losses(const char *prefix, const struct value *before, const struct value *after,
		       int depth, struct str_list *losses)
{
	for (size_t i = 0; i < before->table.len; i++) {
		const struct value_member *member = &before->table.members[i];
		const struct value *other = value_get(after, member->key);
		CLEAN(str) char *path =
			xasprintf("%s%s%s", prefix, *prefix ? "." : "", member->key);
		const bool inner = member->value->type == VALUE_TABLE &&
				   (depth == 2 || str_eq(path, "ranking.public"));

		if (inner)
			add_losses(path, member->value, other, depth - 1, losses);
		else if (!other || !value_equal(member->value, other))
			str_list_add(losses, path);
	}
}

static bool is_loss(const struct finding *finding)
{
	return str_starts(finding->text, "is lost") || str_starts(finding->text, "is changed");
}

static char *named_losses(const struct findings *findings)
{
	CLEAN(str_list) struct str_list paths = { 0 };

	for (size_t i = 0; i < findings->len; i++)
		if (is_loss(&findings->items[i]))
			str_list_add(&paths, findings->items[i].key);
	str_list_sort(&paths);
	return str_list_join(&paths, "\n");
}

static char *real_losses(const struct value *before, const struct value *after)
{
	CLEAN(str_list) struct str_list paths = { 0 };

	add_losses("", before, after, 2, &paths);
	str_list_sort(&paths);
	return str_list_join(&paths, "\n");
}

/* Nothing comes from nowhere; an empty other_services is what the flat formats must have. */
static void assert_nothing_new(const struct value *before, const struct value *after)
{
	CLEAN(value) struct value *without = value_clone(after);
	const struct value *other = value_get(without, "other_services");

	if (other && other->table.len == 0 && !value_get(before, "other_services"))
		(void)value_remove(without, "other_services");
	CLEAN(str) char *news = real_losses(without, before);
	CLEAN(str) char *losses = real_losses(before, without);

	/* What is only changed stands in both. */
	if (strlen(news) > strlen(losses))
		fail_msg("new: %s", news);
}

static void check_report(const struct value *before, const struct value *after,
			 enum cms_format from, enum cms_format to)
{
	CLEAN(findings) struct findings findings = { 0 };

	config_conversion(before, from, to, &findings);
	CLEAN(str) char *named = named_losses(&findings);
	CLEAN(str) char *real = real_losses(before, after);

	if (!str_eq(named, real))
		fail_msg("%s to %s:\n--- named\n%s\n--- lost\n%s", cms_format_name(from),
			 cms_format_name(to), named, real);
	assert_nothing_new(before, after);
	for (size_t i = 0; i < findings.len; i++) {
		assert_false(findings.items[i].is_error);
		if (str_starts(findings.items[i].text, "is not set"))
			assert_null(value_get_path(before, findings.items[i].key));
	}
}

static void there_and_back_loses_what_is_named(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		for (int pair = 0; pair < FORMATS * FORMATS; pair++) {
			const enum cms_format from = pair / FORMATS, to = pair % FORMATS;
			CLEAN(value) struct value *document = maker_document(seed, from);
			CLEAN(value) struct value *there = through(document, to);
			CLEAN(value) struct value *back = through(there, from);

			check_report(document, back, from, to);
		}
	}
}

static void rankings_lose_what_is_named(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		for (int pair = 0; pair < FORMATS * FORMATS; pair++) {
			const enum cms_format from = pair / FORMATS, to = pair % FORMATS;
			struct value *ranking = maker_ranking(seed, from);
			CLEAN(value) struct value *before = around(ranking);
			CLEAN(value) struct value *there = ranking_through(ranking, to);
			CLEAN(value) struct value *after = around(ranking_through(there, from));

			check_report(before, after, from, to);
		}
	}
}

/* ---- The samples of CMS ---- */

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

static const struct {
	const char *version;
	enum cms_format format;
	const char *file, *ranking;
} samples[] = {
	{ "v1.2.0", CMS_FORMAT_JSON, "cms.conf.sample", "cms.ranking.conf.sample" },
	{ "v1.3.2", CMS_FORMAT_JSON, "cms.conf.sample", "cms.ranking.conf.sample" },
	{ "v1.4.rc1", CMS_FORMAT_JSON, "cms.conf.sample", "cms.ranking.conf.sample" },
	{ "v1.5.1", CMS_FORMAT_JSON, "cms.conf.sample", "cms.ranking.conf.sample" },
	{ "v1.6.dev", CMS_FORMAT_TOML, "cms.sample.toml", "cms_ranking.sample.toml" },
};

static void check_sample(const struct value *document, const struct value *ranking,
			 enum cms_format from, enum cms_format to)
{
	CLEAN(value) struct value *there = through(document, to);
	CLEAN(value) struct value *back = through(there, from);
	CLEAN(value) struct value *ranking_there = ranking_through(ranking, to);
	CLEAN(value) struct value *before = around(value_clone(ranking));
	CLEAN(value) struct value *after = around(ranking_through(ranking_there, from));

	check_report(document, back, from, to);
	check_report(before, after, from, to);
}

static void samples_lose_what_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		CLEAN(str) char *name = xasprintf("%s/%s", samples[i].version, samples[i].file);
		CLEAN(str)
		char *ranking_name = xasprintf("%s/%s", samples[i].version, samples[i].ranking);
		CLEAN(str) char *text = read_sample(name);
		CLEAN(str) char *ranking_text = read_sample(ranking_name);
		if (!text || !ranking_text)
			skip();
		CLEAN(value) struct value *document = parse(text, samples[i].format);
		CLEAN(value) struct value *ranking = parse_ranking(ranking_text, samples[i].format);

		for (int to = 0; to < FORMATS; to++)
			check_sample(document, ranking, samples[i].format, to);
	}
}

/* ---- Words ---- */

#define SERVICES "[services]\nLogService = [[\"h\", 1]]\n"
/* Sets what would otherwise be reported as another default. */
#define DEFAULTS                                                                             \
	"[database]\nurl='u'\n[worker]\nkeep_sandbox=true\n[proxy_service]\nrankings=[]\n"   \
	"[contest_web_server]\nlisten_address=['']\n[admin_web_server]\nlisten_address=''\n" \
	"[global]\nlog_dir='/l'\ncache_dir='/c'\ndata_dir='/d'\nrun_dir='/r'\n"
#define DIRECTORY(name) "global." name "_dir is not set, and its default changes from "
#define RANKING "[ranking]\nbind_address='x'\nlog_dir='x'\nlib_dir='x'\n"

static const struct {
	const char *document; /* read as TOML */
	enum cms_format from, to;
	const char *const findings[9]; /* "key text", beginnings */
} words[] = {
	{ SERVICES DEFAULTS, CMS_FORMAT_JSON, CMS_FORMAT_TOML, { NULL } },
	{ SERVICES, CMS_FORMAT_TOML, CMS_FORMAT_TOML, { NULL } },
	{ SERVICES,
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_TOML,
	  { DIRECTORY(
		    "log") "/var/local/log/cms to the folder log of CMS's virtual environment; set",
	    DIRECTORY("cache"), DIRECTORY("data"), DIRECTORY("run"),
	    "database.url is not set, and its default changes from the database cms on localhost to "
	    "none, so that CMS refuses",
	    "worker.keep_sandbox is not set, and its default changes from true to false",
	    "contest_web_server.listen_address is not set, and its default changes from [\"\"], which "
	    "is every address to [\"127.0.0.1\"]",
	    "admin_web_server.listen_address is not set, and its default changes from \"\"",
	    "proxy_service.rankings is not set, and its default changes from one ranking at "
	    "localhost:8890 to no" } },
	{ SERVICES,
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_FLAT_TOML,
	  { DIRECTORY("log") "/var/local/log/cms to", DIRECTORY("cache"), DIRECTORY("data"),
	    DIRECTORY("run") } },
	{ SERVICES "[contest_web_server]\nis_proxy_used=true\n" RANKING,
	  CMS_FORMAT_FLAT_TOML,
	  CMS_FORMAT_TOML,
	  { "contest_web_server.is_proxy_used is lost: CMS 1.6 does not know it; true is "
	    "contest_web_server.num_proxies_used = 1",
	    "database.url", "worker.keep_sandbox", "contest_web_server.listen_address",
	    "contest_web_server.num_proxies_used is not set, and its default changes from 1, from "
	    "is_proxy_used to 0",
	    "admin_web_server.listen_address", "proxy_service.rankings" } },
	{ SERVICES "PrometheusExporter = [[\"h\", 2]]\n" DEFAULTS,
	  CMS_FORMAT_TOML,
	  CMS_FORMAT_JSON,
	  { "prometheus.listen_address is not set, and its default changes from \"127.0.0.1\" to none",
	    "prometheus.listen_port is not set" } },
	{ SERVICES "PrometheusExporter = []\n" DEFAULTS,
	  CMS_FORMAT_TOML,
	  CMS_FORMAT_JSON,
	  { NULL } },
	{ SERVICES DEFAULTS "[sandbox]\nsandbox_implementation='stupid'\n",
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_TOML,
	  { "sandbox.sandbox_implementation is ignored: CMS 1.6 has no sandbox but" } },
	{ SERVICES DEFAULTS "[sandbox]\nsandbox_implementation='isolate'\n",
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_TOML,
	  { NULL } },
	{ SERVICES DEFAULTS "when=1979-05-27\n_c=1\ndatabase=1\nmine=1\n",
	  CMS_FORMAT_TOML,
	  CMS_FORMAT_JSON,
	  { "global.when is changed: JSON has no dates",
	    "global._c is lost: a flat file takes it for a "
	    "comment",
	    "global.database is lost: in a flat file this is the name of another key" } },
	{ SERVICES "_X=[]\nPrintingService=[]\n" DEFAULTS "[odd]\na=1\n[other_services]\nB=[]\n",
	  CMS_FORMAT_TOML,
	  CMS_FORMAT_FLAT_TOML,
	  { "services._X is lost: a flat file takes it for a comment",
	    "odd.a is lost: nobody knows" } },
	{ SERVICES "PrintingService=[]\n" DEFAULTS "[other_services]\nB=[]\n",
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_TOML,
	  { "services.PrintingService is lost: CMS 1.6 does not know it; CMS 1.6 does not print",
	    "other_services.B is lost: CMS 1.6 has no other_services" } },
	{ "stray=1\n" SERVICES DEFAULTS,
	  CMS_FORMAT_TOML,
	  CMS_FORMAT_JSON,
	  { "stray is lost: it stands outside of any table" } },
	{ SERVICES DEFAULTS "[ranking]\n",
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_TOML,
	  { "ranking.bind_address is not set, and its default changes from \"\", which is every "
	    "address to \"127.0.0.1\"",
	    "ranking.log_dir is not set", "ranking.lib_dir is not set" } },
	{ SERVICES DEFAULTS RANKING "http_port=0\ntimeout=5\n",
	  CMS_FORMAT_JSON,
	  CMS_FORMAT_TOML,
	  { "ranking.http_port is lost: TOML has no word for no plain HTTP",
	    "ranking.timeout is lost: CMS 1.6 does not know it; nothing reads it any more" } },
	{ SERVICES DEFAULTS RANKING "odd=1\n[ranking.public]\nshow_id_column=true\n",
	  CMS_FORMAT_TOML,
	  CMS_FORMAT_JSON,
	  { "ranking.odd is lost: nobody knows it",
	    "ranking.public.show_id_column is lost: CMS 1.2 to "
	    "1.5 does not know it; only the scoreboard" } },
};

static void check_words(size_t row, const struct findings *findings)
{
	const char *const *expected = words[row].findings;
	size_t wanted = 0;

	while (wanted < ARRAY_LEN(words[row].findings) && expected[wanted])
		wanted++;
	for (size_t i = 0; i < findings->len || i < wanted; i++) {
		CLEAN(str)
		char *found = i < findings->len ? xasprintf("%s %s", findings->items[i].key,
							    findings->items[i].text) :
						  xstrdup("nothing");

		if (i >= wanted || !str_starts(found, expected[i]))
			fail_msg("row %zu: '%s' instead of '%s'", row, found,
				 i < wanted ? expected[i] : "nothing");
	}
}

static void the_report_says_why(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		CLEAN(value) struct value *document = parse(words[i].document, CMS_FORMAT_TOML);
		CLEAN(findings) struct findings findings = { 0 };

		config_conversion(document, words[i].from, words[i].to, &findings);
		check_words(i, &findings);
	}
}

/* A key that keys.def lets end must have a sentence about what it meant. */
static void every_key_that_can_be_lost_has_a_meaning(void **state)
{
	size_t lost = 0;

	(void)state;
	for (size_t i = 0; i < config_key_count() * FORMATS; i++) {
		const struct config_key *key = config_key_at(i / FORMATS);
		const enum cms_format to = i % FORMATS;
		struct maker maker = { i, CMS_FORMAT_TOML };
		if (config_key_is_in(key, to))
			continue;
		CLEAN(value) struct value *document = value_new_table();
		CLEAN(findings) struct findings findings = { 0 };
		struct value *value = maker_known(&maker, key);

		if (str_starts(key->path, "ranking.public."))
			value_set_path(maker_table(document, "ranking"),
				       key->path + strlen("ranking."), value);
		else
			value_set_path(document, key->path, value);
		config_conversion(document, to, to, &findings);
		assert_int_equal(findings.len, 1);
		assert_string_equal(findings.items[0].key, key->path);
		if (!strstr(findings.items[0].text, "does not know it; "))
			fail_msg("%s %s", key->path, findings.items[0].text);
		lost++;
	}
	assert_true(lost > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_documents_survive_their_own_format),
		cmocka_unit_test(there_and_back_loses_what_is_named),
		cmocka_unit_test(rankings_lose_what_is_named),
		cmocka_unit_test(samples_lose_what_is_named),
		cmocka_unit_test(the_report_says_why),
		cmocka_unit_test(every_key_that_can_be_lost_has_a_meaning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
