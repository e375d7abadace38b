/* SPDX-License-Identifier: MIT */
/* Who must restart after a change: the graph against the facts, then change by change. */
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
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/impact.h"
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

static struct value *from_json(const char *json)
{
	struct value *value = NULL;

	assert_int_equal(value_from_json(json, strlen(json), &value, NULL), 0);
	return value;
}

/* "ranking.public.show_id_column" has three levels; NULL sets nothing. */
static void set_nested(struct value *document, const char *path, const char *json)
{
	const char *dot = strchr(path, '.');
	if (!json)
		return;
	if (!dot) {
		value_set(document, path, from_json(json));
		return;
	}
	CLEAN(str) char *name = xstrndup(path, (size_t)(dot - path));

	if (!value_get(document, name))
		value_set(document, name, value_new_table());
	set_nested(value_get(document, name), dot + 1, json);
}

/* "*" is every process, but RankingWebServer, which has a file of its own. */
#define EVERY_PROCESS (((1u << CATALOGUE_COUNT) - 1) & ~(1u << CATALOGUE_RANKING_WEB_SERVER))

/* The services of a list; the entry "self:..." goes to *ret_self. */
static uint32_t bits_of(const cJSON *names, bool *ret_self)
{
	uint32_t bits = 0;
	const cJSON *name;

	*ret_self = false;
	cJSON_ArrayForEach(name, names) {
		const char *text = cJSON_GetStringValue(name);

		if (str_eq(text, "*"))
			return EVERY_PROCESS;
		if (str_starts(text, "self:"))
			*ret_self = true;
		else
			bits |= 1u << catalogue_index_of(text);
	}
	return bits;
}

/* Shard 0 of each service that must restart, as bits. */
static uint32_t restarting(const struct impact *impact)
{
	uint32_t bits = 0;

	for (int i = 0; i < CATALOGUE_COUNT; i++)
		if (impact_restarts(impact, catalogue_at((enum catalogue_index)i)->name, 0, NULL))
			bits |= 1u << i;
	return bits;
}

/* The key is added, changed, removed in a file of the format: exactly these must restart. */
static void check_key(const char *path, enum cms_format format, uint32_t expected)
{
	static const char *const texts[] = { NULL, "[\"a\"]", "[\"b\"]", NULL };

	for (size_t i = 0; i + 1 < ARRAY_LEN(texts); i++) {
		CLEAN(value) struct value *old = value_new_table();
		CLEAN(value) struct value *new = value_new_table();

		set_nested(old, path, texts[i]);
		set_nested(new, path, texts[i + 1]);
		CLEAN(impact) struct impact *impact = impact_new(format, old, new);
		const uint32_t is = restarting(impact);

		assert_int_equal(impact_unknown_keys(impact)->len, 0);
		if (is != expected)
			fail_msg("%s in %s, %s -> %s: 0x%x must restart, the facts say 0x%x", path,
				 cms_format_name(format), texts[i] ? texts[i] : "(not set)",
				 texts[i + 1] ? texts[i + 1] : "(not set)", is, expected);
	}
}

/*
 * What one table of the facts says of several versions, and we of one format: cms.toml had
 * [printing_service] for three months only, and there is no PrintingService with it now, not even
 * for "*"; a ranking's "(<=1.5)" keys are in cms.ranking.conf, show_id_column in cms_ranking.toml
 * alone. Flat TOML has the keys of cms.conf but for those that had ended with 1.2 and 1.3.
 */
static bool is_absent(const char *section, const char *name, enum cms_format format)
{
	static const char *const ended[] = { "iso_codes_prefix", "ip_lock", "block_hidden_users",
					     "allow_questions" };

	if (format == CMS_FORMAT_TOML)
		return str_eq(section, "toml_old_sectioned_only") || strchr(name, '(');
	if (format == CMS_FORMAT_JSON)
		return str_eq(name, "public.show_id_column");
	for (size_t i = 0; i < ARRAY_LEN(ended); i++)
		if (str_eq(name, ended[i]))
			return true;
	return false;
}

static void check_section(const char *section, enum cms_format format)
{
	const cJSON *names;
	int checked = 0;

	cJSON_ArrayForEach(names, json_get(facts, section)) {
		const char *name = names->string;
		CLEAN(str) char *bare = xstrndup(name, strcspn(name, "("));
		CLEAN(str) char *ranking = xasprintf("ranking.%s", bare);
		const struct config_key *key =
			str_eq(section, "ranking") ? config_key_find(ranking) :
			str_eq(section, "json")	   ? config_key_find_flat(name) :
						     config_key_find(name);

		/* The graph's, and comments. */
		if (str_eq(cJSON_GetStringValue(names->child), "@services_graph") ||
		    str_starts(name, "other_services.") || str_eq(name, "_*"))
			continue;
		if (!key)
			fail_msg("%s: %s is not in keys.def", section, name);
		bool self;
		uint32_t readers = bits_of(names, &self);

		if (format == CMS_FORMAT_TOML)
			readers &= ~(1u << CATALOGUE_PRINTING_SERVICE);
		check_key(key->path, format, is_absent(section, name, format) ? 0 : readers);
		checked++;
	}
	assert_true(checked > 5);
}

static void every_key_restarts_its_readers(void **state)
{
	(void)state;
	if (!facts)
		skip();
	check_section("toml", CMS_FORMAT_TOML);
	check_section("toml_old_sectioned_only", CMS_FORMAT_TOML);
	check_section("toml_old_sectioned_only", CMS_FORMAT_JSON);
	check_section("json", CMS_FORMAT_JSON);
	check_section("json", CMS_FORMAT_FLAT_TOML);
	check_section("ranking", CMS_FORMAT_TOML);
	check_section("ranking", CMS_FORMAT_JSON);
}

/* A key of one format only has no reader in files of the other, where it is not written. */
static void keys_of_the_other_format_restart_nobody(void **state)
{
	static const struct {
		const char *path;
		enum cms_format format;
	} rows[] = {
		{ "web_server.iso_codes_prefix", CMS_FORMAT_TOML },
		{ "contest_web_server.ip_lock", CMS_FORMAT_TOML },
		{ "sandbox.use_cgroups", CMS_FORMAT_TOML },
		{ "global.cmsuser", CMS_FORMAT_TOML },
		{ "contest_web_server.contest_admin_token", CMS_FORMAT_JSON },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_key(rows[i].path, rows[i].format, 0);
	check_key("contest_web_server.contest_admin_token", CMS_FORMAT_FLAT_TOML,
		  1u << CATALOGUE_CONTEST_WEB_SERVER);
}

static uint32_t facts_of(const char *service, const char *change, bool *ret_self)
{
	const cJSON *names = json_get(json_get(json_get(facts, "services_graph"), service), change);
	if (!cJSON_IsArray(names))
		fail_msg("the facts lack %s of %s", change, service);

	return bits_of(names, ret_self);
}

/* The services table with `len` entries for the service, the first one at `host`. */
static struct value *with_entries(const char *service, size_t len, const char *host)
{
	struct value *document = value_new_table();
	struct value *list = value_new_array();
	CLEAN(str) char *path = xasprintf("services.%s", service);

	for (size_t k = 0; k < len; k++) {
		struct value *pair = value_new_array();

		value_array_add(pair, value_new_string(k == 0 ? host : "other"));
		value_array_add(pair, value_new_int((int64_t)k + 1));
		value_array_add(list, pair);
	}
	value_set_path(document, path, list);
	return document;
}

/* Shard k of `service` is what changes; the others are looked at by their shard 0. */
static void check_edge(enum catalogue_index service, const char *change, size_t old_len,
		       size_t new_len, size_t k)
{
	const char *name = catalogue_at(service)->name;
	CLEAN(value) struct value *old = with_entries(name, old_len, "h");
	CLEAN(value)
	struct value *new = with_entries(name, new_len, old_len == new_len ? "moved" : "h");
	CLEAN(impact) struct impact *impact = impact_new(CMS_FORMAT_JSON, old, new);
	bool self;
	uint32_t expected = facts_of(name, change, &self);
	const uint32_t own = 1u << service;
	/* A shard that is gone is stopped, and never in the table is never concerned. */
	const bool self_restarts = self && new_len >= old_len && catalogue_at(service)->listed;

	expected &= ~own;
	if (k == 0 && self_restarts)
		expected |= own;
	if (restarting(impact) != expected)
		fail_msg("%s, %s: 0x%x must restart, the facts say 0x%x", name, change,
			 restarting(impact), expected);
	assert_int_equal(impact_restarts(impact, name, (int)k, NULL), self_restarts);
}

static void every_line_of_services_restarts_who_dials_it(void **state)
{
	(void)state;
	if (!facts)
		skip();
	assert_int_equal(cJSON_GetArraySize(json_get(facts, "services_graph")), CATALOGUE_COUNT);
	for (int i = 0; i < CATALOGUE_COUNT; i++) {
		const enum catalogue_index service = (enum catalogue_index)i;
		/* A singleton comes and goes as shard 0, the others at the end of their lists. */
		const size_t rest = catalogue_at(service)->singleton ? 0 : 2;

		check_edge(service, "must_restart_on_add", rest, rest + 1, rest);
		check_edge(service, "must_restart_on_remove", rest + 1, rest, rest);
		check_edge(service, "must_restart_on_address_change", rest + 1, rest + 1, 0);
	}
}

/* ---- Change by change ---- */

static const char before[] =
	"{\"services\":{"
	"\"LogService\":[[\"h\",1]],\"ResourceService\":[[\"h\",2],[\"i\",2]],"
	"\"ScoringService\":[[\"h\",3]],"
	"\"Checker\":[[\"h\",4]],\"EvaluationService\":[[\"h\",5]],\"Worker\":[[\"h\",10],[\"h\","
	"11],[\"i\",12]],"
	"\"ContestWebServer\":[[\"h\",20],[\"i\",21]],\"AdminWebServer\":[[\"h\",6]],"
	"\"PrometheusExporter\":[[\"h\",7]],"
	"\"TelegramBot\":[[\"h\",8]]},"
	"\"other_services\":{\"TestFileCacher\":[[\"h\",9]]},"
	"\"database\":{\"url\":\"a\",\"debug\":false},"
	"\"global\":{\"stream_log_detailed\":false,\"cache_dir\":\"/c\"},"
	"\"sandbox\":{\"max_file_size\":1},"
	"\"contest_web_server\":{\"listen_address\":[\"\",\"\"],\"listen_port\":[8888,8889],"
	"\"cookie_duration\":1},"
	"\"proxy_service\":{\"rankings\":[\"http://r/\"]},"
	"\"ranking\":{\"username\":\"u\",\"public\":{\"show_id_column\":false}}}";

static const struct unit {
	const char *service;
	int shard;
} units[] = {
	{ "LogService", 0 },	   { "ResourceService", 0 },
	{ "ResourceService", 1 },  { "ScoringService", 0 },
	{ "Checker", 0 },	   { "EvaluationService", 0 },
	{ "Worker", 0 },	   { "Worker", 1 },
	{ "Worker", 2 },	   { "ContestWebServer", 0 },
	{ "ContestWebServer", 1 }, { "AdminWebServer", 0 },
	{ "ProxyService", 0 },	   { "PrometheusExporter", 0 },
	{ "TelegramBot", 0 },	   { "RankingWebServer", 0 },
};

/* "Worker,0 Worker,1 ..." of all who must restart. */
static char *who_restarts(enum cms_format format, const struct value *old, const struct value *new)
{
	CLEAN(impact) struct impact *impact = impact_new(format, old, new);
	struct buf out = BUF_INIT(0);

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		CLEAN(str) char *why = NULL;
		const bool must = impact_restarts(impact, units[i].service, units[i].shard, &why);

		assert_int_equal(must, why != NULL);
		assert_int_equal(must,
				 impact_restarts(impact, units[i].service, units[i].shard, NULL));
		if (must)
			(void)buf_addf(&out, "%s%s,%d", out.len ? " " : "", units[i].service,
				       units[i].shard);
	}
	return buf_steal(&out);
}

#define FILE_USERS \
	"Worker,0 Worker,1 Worker,2 ContestWebServer,0 ContestWebServer,1 AdminWebServer,0"
#define RPC                                                                            \
	"LogService,0 ResourceService,0 ResourceService,1 ScoringService,0 Checker,0 " \
	"EvaluationService,0 " FILE_USERS " ProxyService,0 PrometheusExporter,0"
#define WEB "ContestWebServer,0 ContestWebServer,1 AdminWebServer,0"

static void remove_path(struct value *document, const char *path)
{
	const char *dot = strchr(path, '.');
	CLEAN(str) char *name = xstrndup(path, strcspn(path, "."));
	struct value *table = dot ? value_get(document, name) : document;

	assert_true(value_remove(table, dot ? dot + 1 : path));
}

/* json NULL: removed */
static void check_change(enum cms_format format, const char *path, const char *json,
			 const char *expected)
{
	CLEAN(value) struct value *old = from_json(before);
	CLEAN(value) struct value *new = value_clone(old);

	if (json)
		value_set_path(new, path, from_json(json));
	else
		remove_path(new, path);
	CLEAN(str) char *who = who_restarts(format, old, new);

	if (!str_eq(who, expected))
		fail_msg("%s = %s\n restarts %s\n expected %s", path, json ? json : "(removed)",
			 who, expected);
}

static void changes_concern_whom_they_should(void **state)
{
	static const struct {
		const char *path;
		const char *json; /* new value; NULL: removed */
		const char *who;
	} rows[] = {
		/* Keys by their readers. */
		{ "sandbox.max_file_size", "2", "Worker,0 Worker,1 Worker,2" },
		{ "sandbox.max_file_size", "1", "" },
		{ "sandbox.max_file_size", "1.0", "Worker,0 Worker,1 Worker,2" },
		{ "sandbox.max_file_size", NULL, "Worker,0 Worker,1 Worker,2" },
		{ "sandbox.sandbox_implementation", "\"stupid\"", "" },
		{ "database.url", "\"b\"",
		  "ScoringService,0 EvaluationService,0 " FILE_USERS
		  " ProxyService,0 PrometheusExporter,0 "
		  "TelegramBot,0" },
		{ "global.cache_dir", "\"/d\"", FILE_USERS },
		{ "global.data_dir", "\"/d\"",
		  "ContestWebServer,0 ContestWebServer,1 TelegramBot,0" },
		{ "global.backdoor", "true", RPC },
		{ "global.stream_log_detailed", "true", RPC " TelegramBot,0" },
		{ "web_server.secret_key", "\"k\"", WEB },
		{ "proxy_service.rankings", "[]", "ProxyService,0" },
		{ "proxy_service", NULL, "ProxyService,0" },
		{ "proxy_service", "7", RPC " TelegramBot,0" },
		{ "telegram_bot.chat_id", "\"1\"", "TelegramBot,0" },
		{ "global.unknown", "1", RPC " TelegramBot,0" },
		{ "unknown.key", "1", RPC " TelegramBot,0" },
		{ "unknown", "{}", "" },
		{ "ranking.password", "\"p\"", "RankingWebServer,0" },
		{ "ranking.public", "{\"show_id_column\":true}", "RankingWebServer,0" },
		{ "ranking", NULL, "RankingWebServer,0" },
		{ "other_services.TestFileCacher", "[]", "" },
		{ "other_services", NULL, "" },
		/* Shard k reads element k. */
		{ "contest_web_server.listen_port", "[8888,9]", "ContestWebServer,1" },
		{ "contest_web_server.listen_port", "[8888,8889,8890]", "" },
		{ "contest_web_server.listen_address", "[\"::1\",\"\"]", "ContestWebServer,0" },
		{ "contest_web_server.listen_address", "[\"\"]", "ContestWebServer,1" },
		{ "contest_web_server.listen_address", NULL,
		  "ContestWebServer,0 ContestWebServer,1" },
		{ "contest_web_server.cookie_duration", "2",
		  "ContestWebServer,0 ContestWebServer,1" },
		/* Workers. */
		{ "services.Worker", "[[\"h\",10],[\"h\",11],[\"i\",12],[\"j\",13]]",
		  "EvaluationService,0" },
		{ "services.Worker", "[[\"h\",10],[\"h\",11]]", "" },
		{ "services.Worker", "[[\"h\",10],[\"i\",12]]", "EvaluationService,0 Worker,1" },
		{ "services.Worker", "[[\"h\",10],[\"j\",11],[\"i\",12]]",
		  "EvaluationService,0 Worker,1" },
		{ "services.Worker", "[]", "" },
		/* ContestWebServers and ResourceServices. */
		{ "services.ContestWebServer", "[[\"h\",20],[\"i\",21],[\"j\",22]]", "" },
		{ "services.ContestWebServer", "[[\"h\",20],[\"j\",21]]", "ContestWebServer,1" },
		{ "services.ResourceService", "[[\"h\",2],[\"i\",2],[\"j\",2]]",
		  "AdminWebServer,0" },
		{ "services.ResourceService", "[[\"h\",2]]", "AdminWebServer,0" },
		{ "services.ResourceService", "[[\"h\",2],[\"j\",2]]",
		  "ResourceService,1 AdminWebServer,0" },
		/* Singletons. */
		{ "services.LogService", "[[\"i\",1]]", RPC },
		{ "services.ScoringService", "[[\"i\",3]]",
		  "ScoringService,0 EvaluationService,0 " WEB },
		{ "services.ScoringService", "[[\"h\",3],[\"i\",3]]", "" },
		{ "services.EvaluationService", "[[\"i\",5]]",
		  "EvaluationService,0 " WEB " PrometheusExporter,0" },
		{ "services.EvaluationService", "[]", "" },
		{ "services.AdminWebServer", "[[\"i\",6]]", "AdminWebServer,0" },
		{ "services.Checker", "[[\"i\",4]]", "Checker,0" },
		{ "services.PrometheusExporter", "[[\"i\",7]]", "PrometheusExporter,0" },
		{ "services.TelegramBot", "[[\"i\",8]]", "" },
		{ "services.ProxyService", "[[\"h\",30]]",
		  "ScoringService,0 " WEB " ProxyService,0" },
		{ "services.PrintingService", "[[\"h\",31]]", "" },
		{ "services.Unheard", "[[\"h\",32]]", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_change(CMS_FORMAT_TOML, rows[i].path, rows[i].json, rows[i].who);
	check_change(CMS_FORMAT_JSON, "sandbox.sandbox_implementation", "\"stupid\"",
		     "Worker,0 Worker,1 Worker,2");
	check_change(CMS_FORMAT_JSON, "services.PrintingService", "[[\"h\",31]]",
		     "ContestWebServer,0 ContestWebServer,1");
}

static void the_reason_names_the_key(void **state)
{
	static const struct {
		const char *old;
		const char *new;
		const char *service;
		int shard;
		const char *why;
	} rows[] = {
		{ "{\"database\":{\"url\":\"a\"}}", "{\"database\":{\"url\":\"b\"}}", "Worker", 0,
		  "database.url changed" },
		{ "{\"database\":{}}", "{\"database\":{\"url\":\"b\"}}", "Worker", 0,
		  "database.url added" },
		{ "{}", "{\"database\":{\"url\":\"b\"}}", "Worker", 0, "database.url added" },
		{ "{\"database\":{\"url\":\"b\"}}", "{}", "Worker", 0, "database.url removed" },
		{ "{\"services\":{\"Worker\":[]}}", "{\"services\":{\"Worker\":[[\"h\",1]]}}",
		  "EvaluationService", 0, "services.Worker[0] added" },
		{ "{\"services\":{}}", "{\"services\":{\"Worker\":[[\"h\",1]]}}", "Worker", 0,
		  "services.Worker[0] added" },
		{ "{\"services\":{\"LogService\":[[\"h\",1]]}}", "{\"services\":{}}", "Worker", 5,
		  "services.LogService[0] removed" },
		{ "{\"services\":{\"LogService\":[[\"h\",1]]}}", "{\"services\":{}}", "LogService",
		  0, NULL },
		{ "{\"a\":1}", "{\"a\":2}", "Worker", 0,
		  "a changed (not a key that we know, so every service may read it)" },
		{ "{\"ranking\":{}}", "{\"ranking\":{\"x\":2}}", "RankingWebServer", 0,
		  "ranking.x added (not a key that we know)" },
		{ "{\"ranking\":{}}", "{\"ranking\":{\"x\":2}}", "Worker", 0, NULL },
		{ "{\"contest_web_server\":{\"listen_port\":[1,2]}}",
		  "{\"contest_web_server\":{\"listen_port\":[1,3]}}", "ContestWebServer", 1,
		  "contest_web_server.listen_port[1] changed" },
		{ "{\"database\":{\"url\":\"a\"}}", "{\"database\":{\"url\":\"b\"}}",
		  "NoSuchService", 0, NULL },
		{ "{\"database\":{\"url\":\"a\"}}", "{\"database\":{\"url\":\"b\"}}", "Worker", -1,
		  NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *old = from_json(rows[i].old);
		CLEAN(value) struct value *new = from_json(rows[i].new);
		CLEAN(str) char *why = NULL;

		CLEAN(impact) struct impact *impact = impact_new(CMS_FORMAT_TOML, old, new);
		const bool must = impact_restarts(impact, rows[i].service, rows[i].shard, &why);

		assert_int_equal(must, why != NULL);
		if (!str_eq(why, rows[i].why))
			fail_msg("%s -> %s: '%s'", rows[i].old, rows[i].new, why);
	}
}

static void restarts_for_who_comes_and_goes_can_wait(void **state)
{
	static const char document[] = "{\"services\":{\"Worker\":[[\"a\",1]],"
				       "\"ResourceService\":[[\"a\",2],[\"b\",2]],"
				       "\"LogService\":[[\"a\",3]]},\"database\":{\"url\":\"x\"}}";
	static const struct {
		const char *path, *json, *service;
		int shard;
		bool restarts, can_wait;
	} rows[] = {
		{ "services.Worker", "[[\"a\",1],[\"b\",1]]", "EvaluationService", 0, true, true },
		{ "services.Worker", "[[\"c\",1]]", "EvaluationService", 0, true, true },
		/* Its own address is its own matter. */
		{ "services.Worker", "[[\"c\",1]]", "Worker", 0, true, false },
		{ "services.Worker", "[[\"a\",1],[\"b\",1]]", "AdminWebServer", 0, false, false },
		{ "services.ResourceService", "[[\"a\",2]]", "AdminWebServer", 0, true, true },
		{ "services.ResourceService", "[[\"a\",2],[\"b\",2],[\"c\",2]]", "AdminWebServer",
		  0, true, true },
		{ "services.LogService", "[[\"c\",3]]", "AdminWebServer", 0, true, false },
		{ "database.url", "\"y\"", "EvaluationService", 0, true, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *old = from_json(document);
		CLEAN(value) struct value *new = from_json(document);
		CLEAN(value) struct value *both = from_json(document);

		set_nested(new, rows[i].path, rows[i].json);
		set_nested(both, rows[i].path, rows[i].json);
		set_nested(both, "unknown.key", "1");
		CLEAN(impact) struct impact *impact = impact_new(CMS_FORMAT_TOML, old, new);
		CLEAN(impact) struct impact *more = impact_new(CMS_FORMAT_TOML, old, both);

		assert_int_equal(impact_restarts(impact, rows[i].service, rows[i].shard, NULL),
				 rows[i].restarts);
		assert_int_equal(impact_can_wait(impact, rows[i].service, rows[i].shard),
				 rows[i].can_wait);
		/* Another reason cannot. */
		assert_false(impact_can_wait(more, rows[i].service, rows[i].shard));
	}
}

static void unknown_keys_are_named(void **state)
{
	CLEAN(value) struct value *old =
		from_json("{\"database\":{\"url\":\"a\"},\"x\":{\"y\":1}}");
	CLEAN(value) struct value *new = from_json(
		"{\"database\":{\"url\":\"b\",\"ulr\":\"c\"},\"ranking\":{\"z\":1},\"w\":{}}");
	CLEAN(impact) struct impact *impact = impact_new(CMS_FORMAT_TOML, old, new);
	CLEAN(str) char *names = str_list_join(impact_unknown_keys(impact), " ");

	(void)state;
	assert_string_equal(names, "database.ulr x.y");
	assert_int_equal(restarting(impact), (1u << CATALOGUE_COUNT) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_restarts_its_readers),
		cmocka_unit_test(keys_of_the_other_format_restart_nobody),
		cmocka_unit_test(every_line_of_services_restarts_who_dials_it),
		cmocka_unit_test(changes_concern_whom_they_should),
		cmocka_unit_test(the_reason_names_the_key),
		cmocka_unit_test(restarts_for_who_comes_and_goes_can_wait),
		cmocka_unit_test(unknown_keys_are_named),
	};

	return cmocka_run_group_tests(tests, load_facts, free_facts);
}
