/* SPDX-License-Identifier: MIT */
/* What is found in a document before anything moves: one change to a good one, all findings. */
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
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/validate.h"

#define KEY "0123456789abcdef0123456789ABCDEF"

static const char good[] =
	"{\"services\":{"
	"\"LogService\":[[\"h\",29000]],\"ResourceService\":[[\"h\",28000]],"
	"\"ScoringService\":[[\"h\",28500]],"
	"\"EvaluationService\":[[\"h\",25000]],\"Worker\":[[\"h\",26000],[\"i\",26000]],"
	"\"AdminWebServer\":[[\"h\",21100]],"
	"\"ContestWebServer\":[[\"h\",21000],[\"i\",21000]],\"ProxyService\":[[\"h\",28600]],"
	"\"TelegramBot\":[]},"
	"\"database\":{\"url\":\"postgresql+psycopg2://u:topsecret@h/db\"},"
	"\"web_server\":{\"secret_key\":\"" KEY "\"},"
	"\"sandbox\":{\"trusted_sandbox_max_time_s\":10},"
	"\"contest_web_server\":{\"listen_address\":[\"\",\"\"],\"listen_port\":[8888,8888]},"
	"\"admin_web_server\":{\"listen_port\":8889},"
	"\"proxy_service\":{\"rankings\":[\"http://u:topsecret@h:8890/\"]},"
	"\"other_services\":{\"TestFileCacher\":[[\"h\",27501]]},"
	"\"ranking\":{\"password\":\"topsecret\",\"public\":{\"show_id_column\":true}}}";

/* A line "error key: text" or "warning key: text" for each finding. */
static char *findings_of(const struct value *document)
{
	CLEAN(findings) struct findings findings = { 0 };
	struct buf out = BUF_INIT(0);

	config_validate(document, &findings);
	for (size_t i = 0; i < findings.len; i++)
		(void)buf_addf(&out, "%s%s %s: %s", i ? "\n" : "",
			       findings.items[i].is_error ? "error" : "warning",
			       findings.items[i].key, findings.items[i].text);
	assert_int_equal(findings_have_errors(&findings), strstr(buf_str(&out), "error ") != NULL);
	return buf_steal(&out);
}

static struct value *from_json(const char *json)
{
	struct value *value = NULL;

	assert_int_equal(value_from_json(json, strlen(json), &value, NULL), 0);
	return value;
}

static void remove_path(struct value *document, const char *path)
{
	const char *dot = strchr(path, '.');
	CLEAN(str) char *table = xstrndup(path, strcspn(path, "."));

	assert_true(dot ? value_remove(value_get(document, table), dot + 1) :
			  value_remove(document, path));
}

static const struct row {
	const char *path;
	const char *json; /* new value; NULL: removed */
	const char *findings; /* all of them; "...": anything may follow */
} rows[] = {
	{ "ranking.username", "\"u\"", "" },
	/* Required. */
	{ "database.url", NULL,
	  "error database.url: is missing; CMS cannot start without it: set it to postgresql+..." },
	{ "database", NULL, "error database.url: is missing; ..." },
	{ "services", NULL, "error services: is missing; ..." },
	{ "services.LogService", NULL,
	  "error services.LogService: is missing; every service refuses to start without an "
	  "entry, even if the service itself does not run" },
	{ "services.LogService", "[]", "error services.LogService: is missing; ..." },
	{ "services.EvaluationService", NULL,
	  "error services.EvaluationService: is missing; AdminWebServer and ..." },
	{ "services.ScoringService", NULL, "error services.ScoringService: is missing; ..." },
	/* Types. */
	{ "admin_web_server.listen_port", "\"8889\"",
	  "error admin_web_server.listen_port: \"8889\" is a string, CMS wants an integer: write "
	  "it without quotes" },
	{ "admin_web_server.listen_port", "8889.0",
	  "error admin_web_server.listen_port: 8889.0 is a float, CMS wants an integer" },
	{ "telegram_bot", "{\"bot_token\":\"x\",\"chat_id\":77}",
	  "error telegram_bot.chat_id: 77 is an integer, CMS wants a string: put it in quotes" },
	{ "web_server.secret_key", "77",
	  "error web_server.secret_key: \"***\" is an integer, CMS wants a string: put it in "
	  "quotes" },
	{ "contest_web_server.listen_port", "8888",
	  "error contest_web_server.listen_port: 8888 is an integer, CMS wants a list: put it in "
	  "[ ]" },
	{ "contest_web_server.listen_port", "[8888,\"8888\"]",
	  "error contest_web_server.listen_port: element 1: \"8888\" is a string, CMS wants an "
	  "integer: write it without quotes" },
	{ "sandbox.max_file_size", "true",
	  "warning sandbox.max_file_size: true is a boolean; CMS takes it for 1: write an "
	  "integer" },
	{ "sandbox.trusted_sandbox_max_time_s", "\"fast\"",
	  "error sandbox.trusted_sandbox_max_time_s: \"fast\" is a string, CMS wants a float: "
	  "write it without quotes" },
	{ "global.temp_dir", "[\"/tmp\"]",
	  "error global.temp_dir: [\"/tmp\"] is a list, CMS wants a string" },
	{ "global.temp_dir", "\"/a\\u0000b\"",
	  "error global.temp_dir: holds a NUL character; take it out" },
	{ "global.temp_dir", "1234567890123456789",
	  "error global.temp_dir: 1234567890123456789 is an integer, ..." },
	{ "global.temp_dir",
	  "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa9zzz\"]",
	  "error global.temp_dir: "
	  "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... is a list, CMS wants "
	  "a string" },
	{ "ranking.http_port", "\"80\"", "error ranking.http_port: \"80\" is a string, ..." },
	{ "ranking.public", "7",
	  "error ranking.public: is an integer, CMS wants a table ([ranking.public] in cms.toml)" },
	{ "worker", "true",
	  "error worker: is a boolean, CMS wants a table ([worker] in cms.toml)" },
	{ "services", "[]",
	  "error services: is a list, CMS wants a table ([services] in cms.toml)\n..." },
	/* services. */
	{ "services.Checker", "\"h\"",
	  "error services.Checker: is a string, CMS wants a list of [\"host\", port]" },
	{ "services.Checker", "[[\"h\"]]",
	  "error services.Checker: shard 0: [\"h\"] is not a pair [\"host\", port]" },
	{ "services.Worker", "[[\"h\",26000],[\"i\",70000]]",
	  "error services.Worker: shard 1: [\"i\",70000] port is not an integer from 1 to 65535" },
	{ "services.Checker", "[[\"h\",22000],[\"i\",22000]]",
	  "error services.Checker: has 2 shards; the other services only ever talk to shard 0: "
	  "keep one" },
	{ "services.Wroker", "[[\"h\",1]]",
	  "warning services.Wroker: is not a service of CMS, nothing will run for it; did you "
	  "mean Worker?" },
	{ "services.Quux", "[]",
	  "warning services.Quux: is not a service of CMS, nothing will run for it; take it out" },
	{ "services.RankingWebServer", "[]",
	  "warning services.RankingWebServer: is never looked up in services; ..." },
	/* Ports. */
	{ "services.Worker", "[[\"h\",26000],[\"H\",26000]]",
	  "error services.Worker: shard 1 has H:26000, which is also the RPC port of Worker,0; "
	  "the one that starts later "
	  "fails: change one port" },
	{ "services.Checker", "[[\"h\",29000]]",
	  "error services.Checker: shard 0 has h:29000, which is also the RPC port of LogService,"
	  "0; ..." },
	{ "services.TelegramBot", "[[\"h\",29000]]", "" },
	{ "services.Worker", "[[\"127.255.255.254\",26000],[\"127.255.255.254\",26000]]", "" },
	{ "services.Checker", "[[\"h\",8889]]",
	  "warning services.AdminWebServer: shard 0 has h:8889 as its HTTP port, which is also "
	  "the RPC port of Checker,0; unless..." },
	{ "contest_web_server.listen_port", "[8889,8888]",
	  "warning services.ContestWebServer: shard 0 has h:8889 as its HTTP port, which is also "
	  "the HTTP port of AdminWebServer,0; ..." },
	{ "admin_web_server.listen_port", "0",
	  "error admin_web_server.listen_port: 0 is not a port; write one from 1 to 65535" },
	{ "contest_web_server.listen_port", "[8888,65536]",
	  "error contest_web_server.listen_port: 65536 is not a port; ..." },
	/* Lists as long as the shards. */
	{ "contest_web_server.listen_port", "[8888]",
	  "error contest_web_server.listen_port: has 1 element for 2 shards of ContestWebServer; "
	  "shard k needs element k, so add 1" },
	{ "contest_web_server.listen_address", NULL,
	  "error contest_web_server.listen_address: is not set, and CMS's default has 1 element "
	  "for 2 shards of ContestWebServer; ..." },
	{ "contest_web_server.listen_address", "[\"\",\"\",\"\"]", "" },
	/* Keys that need each other. */
	{ "services.ProxyService", NULL,
	  "error proxy_service.rankings: names 1 ranking, but services.ProxyService is "
	  "missing: ..." },
	{ "proxy_service.rankings", "[]", "" },
	{ "printing_service.printer", "\"p\"",
	  "warning printing_service.printer: is set, but services.PrintingService is "
	  "missing: ..." },
	{ "telegram_bot", "{\"bot_token\":\"x\"}", "error telegram_bot.chat_id: is missing; ..." },
	{ "telegram_bot", "{}", "error telegram_bot.bot_token: is missing; ..." },
	/* Single keys. */
	{ "web_server.secret_key", "\"topsecret\"",
	  "error web_server.secret_key: is not 32 hexadecimal digits; ..." },
	{ "web_server.secret_key", "\"" KEY "0\"",
	  "error web_server.secret_key: is not 32 hexadecimal digits; ..." },
	{ "web_server.secret_key", "\"8e045a51e4b102ea803c06f92841a1fb\"",
	  "warning web_server.secret_key: is the one of CMS's sample file, ..." },
	{ "web_server.secret_key", NULL, "warning web_server.secret_key: is not set, ..." },
	{ "database.url", "\"postgresql://u:topsecret@h/db\"", "" },
	{ "database.url", "\"postgres://u:topsecret@h/db\"",
	  "warning database.url: \"postgres://u:***@h/db\" begins with postgres://, which newer "
	  "SQLAlchemy refuses; ..." },
	{ "database.url", "\"postgresql+asyncpg://u:topsecret@h/db\"",
	  "error database.url: \"postgresql+asyncpg://u:***@h/db\" is not a psycopg2 URL, ..." },
	{ "database.url", "\"u:topsecret@h\"",
	  "error database.url: \"***\" is not a psycopg2 URL, ..." },
	/* Unknown. */
	{ "contest_web_server.listen_prot", "[1]",
	  "warning contest_web_server.listen_prot: is not a key of CMS, which will ignore it; "
	  "did you mean "
	  "contest_web_server.listen_port?" },
	{ "databse.url", "\"x\"",
	  "warning databse.url: is not a key of CMS, which will ignore it; did you mean "
	  "database.url?" },
	{ "temp_dirr", "\"x\"",
	  "warning temp_dirr: is not a key of CMS, which will ignore it; did you mean temp_dir?" },
	{ "global.qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", "1",
	  "warning global.qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq: is not a key of CMS, which "
	  "will ignore it; check the name" },
};

static bool matches(const char *text, const char *pattern)
{
	const size_t len = strlen(pattern);

	if (str_ends(pattern, "..."))
		return strncmp(text, pattern, len - 3) == 0;
	return strcmp(text, pattern) == 0;
}

static void each_fault_is_found_and_no_other(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *document = from_json(good);

		if (rows[i].json)
			value_set_path(document, rows[i].path, from_json(rows[i].json));
		else
			remove_path(document, rows[i].path);
		CLEAN(str) char *found = findings_of(document);

		if (!matches(found, rows[i].findings) || strstr(found, "topsecret"))
			fail_msg("%s = %s\nfound:    %s\nexpected: %s", rows[i].path,
				 rows[i].json ? rows[i].json : "(removed)", found,
				 rows[i].findings);
	}
}

static void all_faults_are_reported(void **state)
{
	CLEAN(value)
	struct value *document =
		from_json("{\"services\":{\"Worker\":[1,2]},\"worker\":{\"keep_sandbox\":0}}");
	CLEAN(str) char *found = findings_of(document);
	size_t lines = 1;

	(void)state;
	for (const char *p = found; *p; p++)
		lines += *p == '\n';
	/* url, two entries, three services, secret_key, type */
	if (lines != 8)
		fail_msg("%zu findings:\n%s", lines, found);
}

static void findings_have_a_ceiling_that_hides_no_error(void **state)
{
	CLEAN(findings) struct findings findings = { 0 };

	(void)state;
	for (int i = 0; i < 100000; i++)
		findings_add(&findings, false, "key", "warning %d", i);
	const size_t full = findings.len;

	assert_true(full < 10000);
	assert_false(findings_have_errors(&findings));
	findings_add(&findings, true, "key", "error");
	assert_int_equal(findings.len, full);
	assert_true(findings_have_errors(&findings));
}

static void samples_have_no_errors(void **state)
{
	static const char *const names[] = { "v1.2.0/cms.conf.sample", "v1.3.2/cms.conf.sample",
					     "v1.4.rc1/cms.conf.sample", "v1.5.1/cms.conf.sample",
					     "v1.6.dev/cms.sample.toml" };
	const char *shared = getenv("CMSNODE_SHARED");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEAN(str)
		char *path = xasprintf("%s/data/cms/%s", shared ? shared : "../shared", names[i]);
		CLEAN(buf) struct buf text = BUF_INIT(1 << 20);
		CLEAN(value) struct value *document = NULL;
		enum cms_format format;

		if (file_read(path, &text, NULL) < 0) {
			print_message("SKIP: %s cannot be read; set CMSNODE_SHARED\n", path);
			skip();
		}
		assert_int_equal(cms_file_parse(buf_str(&text), text.len, &format, &document, NULL),
				 0);
		CLEAN(str) char *found = findings_of(document);

		/* Only that the secret key is the published one. */
		if (!str_starts(found,
				"warning web_server.secret_key: is the one of CMS's sample") ||
		    strchr(found, '\n'))
			fail_msg("%s:\n%s", names[i], found);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_is_found_and_no_other),
		cmocka_unit_test(all_faults_are_reported),
		cmocka_unit_test(findings_have_a_ceiling_that_hides_no_error),
		cmocka_unit_test(samples_have_no_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
