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

/* ---- The graph ---- */

static struct cJSON *load_graph(struct cJSON **ret_facts)
{
	const char *shared = getenv("CMSNODE_SHARED");
	CLEAN(str)
	char *path = xasprintf("%s/facts/cms_config_impact.json", shared ? shared : "../shared");
	CLEAN(buf) struct buf text = BUF_INIT(1 << 20);

	if (file_read(path, &text, NULL) < 0) {
		print_message("SKIP: %s cannot be read; set CMSNODE_SHARED\n", path);
		return NULL;
	}
	*ret_facts = json_parse(buf_str(&text), text.len, NULL);
	return (struct cJSON *)json_get_object(*ret_facts, "services_graph");
}

/* The services of a list; the entry "self:..." goes to *ret_self. */
static uint32_t bits_of(const cJSON *names, bool *ret_self)
{
	uint32_t bits = 0;
	const cJSON *name;

	*ret_self = false;
	cJSON_ArrayForEach(name, names) {
		const char *text = cJSON_GetStringValue(name);

		if (str_eq(text, "*"))
			return CONFIG_KEY_ALL;
		if (str_starts(text, "self:"))
			*ret_self = true;
		else
			bits |= 1u << catalogue_index_of(text);
	}
	return bits;
}

static void the_graph_is_that_of_the_facts(void **state)
{
	CLEAN(json) struct cJSON *facts = NULL;
	struct cJSON *graph = load_graph(&facts);

	(void)state;
	if (!graph)
		skip();
	assert_int_equal(cJSON_GetArraySize(graph), CATALOGUE_COUNT);
	for (int i = 0; i < CATALOGUE_COUNT; i++) {
		const char *name = catalogue_at((enum catalogue_index)i)->name;
		const cJSON *node = json_get(graph, name);
		const struct impact_row *row = impact_row_at(i);
		bool self;

		if (!node)
			fail_msg("the facts lack %s", name);
		if (bits_of(json_get(node, "must_restart_on_add"), &self) != row->on_add)
			fail_msg("%s: on_add", name);
		if (bits_of(json_get(node, "must_restart_on_remove"), &self) != row->on_remove)
			fail_msg("%s: on_remove", name);
		if (bits_of(json_get(node, "must_restart_on_address_change"), &self) !=
		    row->on_address_change)
			fail_msg("%s: on_address_change", name);
		if (self != row->self_on_address_change)
			fail_msg("%s: self_on_address_change", name);
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

/* "Worker,0=<reason> ..." of all who must restart. */
static char *who_restarts(const struct value *old, const struct value *new)
{
	struct buf out = BUF_INIT(0);

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		CLEAN(str) char *why = NULL;
		const bool must =
			impact_must_restart(units[i].service, units[i].shard, old, new, &why);

		assert_int_equal(must, why != NULL);
		assert_int_equal(must, impact_must_restart(units[i].service, units[i].shard, old,
							   new, NULL));
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

static struct value *from_json(const char *json)
{
	struct value *value = NULL;

	assert_int_equal(value_from_json(json, strlen(json), &value, NULL), 0);
	return value;
}

static void remove_path(struct value *document, const char *path)
{
	const char *dot = strchr(path, '.');
	CLEAN(str) char *name = xstrndup(path, strcspn(path, "."));
	struct value *table = dot ? value_get(document, name) : document;

	assert_true(value_remove(table, dot ? dot + 1 : path));
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
		{ "sandbox.sandbox_implementation", "\"stupid\"", "Worker,0 Worker,1 Worker,2" },
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
		{ "services.PrintingService", "[[\"h\",31]]",
		  "ContestWebServer,0 ContestWebServer,1" },
		{ "services.Unheard", "[[\"h\",32]]", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *old = from_json(before);
		CLEAN(value) struct value *new = value_clone(old);

		if (rows[i].json)
			value_set_path(new, rows[i].path, from_json(rows[i].json));
		else
			remove_path(new, rows[i].path);
		CLEAN(str) char *who = who_restarts(old, new);
		if (!str_eq(who, rows[i].who))
			fail_msg("%s = %s\n restarts %s\n expected %s", rows[i].path,
				 rows[i].json ? rows[i].json : "(removed)", who, rows[i].who);
	}
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
		{ "{\"a\":1}", "{\"a\":2}", "Worker", 0, "a changed" },
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

		(void)impact_must_restart(rows[i].service, rows[i].shard, old, new, &why);
		if (!str_eq(why, rows[i].why))
			fail_msg("%s -> %s: '%s'", rows[i].old, rows[i].new, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_graph_is_that_of_the_facts),
		cmocka_unit_test(changes_concern_whom_they_should),
		cmocka_unit_test(the_reason_names_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
