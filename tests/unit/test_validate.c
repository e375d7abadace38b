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
#include "cmsnode/config/validate_local.h"

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
static char *findings_of(const struct value *document, const struct validate_context *context)
{
	CLEAN(findings) struct findings findings = { 0 };
	struct buf out = BUF_INIT(0);

	config_validate(document, context, &findings);
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

static char *names_of_loopback[] = { (char[]){ "pc" }, (char[]){ "h" } };
static const struct str_list list_without_h = { names_of_loopback, 1, 1 };
static const struct str_list list_with_h = { names_of_loopback, 2, 2 };

static const struct validate_context conf = { .format = CMS_FORMAT_JSON };
static const struct validate_context summer_2025 = { .format = CMS_FORMAT_FLAT_TOML };
static const struct validate_context cluster = { .cluster = true };
static const struct validate_context here = { .ephemeral_first = 27000,
					      .ephemeral_last = 28100,
					      .loopback_names = &list_without_h };
static const struct validate_context installed = { .loopback_names = &list_with_h };

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
	  "fails: change one port\nwarning services.Worker: shard 1: 'H' is the host that ..." },
	{ "services.Checker", "[[\"h\",29000]]",
	  "error services.Checker: shard 0 has h:29000, which is also the RPC port of LogService,"
	  "0; ..." },
	{ "services.TelegramBot", "[[\"h\",29000]]",
	  "error telegram_bot: is missing, but services.TelegramBot is there: the bot ends ..." },
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
	{ "database.url", "\"postgresql://u:your_password_here@h/db\"",
	  "warning database.url: has the password of CMS's sample file, which everybody knows; "
	  "choose another" },
	{ "proxy_service.rankings", "[\"http://u:topsecret@h/\",\"http://u:passw0rd@h:8890/\"]",
	  "warning proxy_service.rankings: element 1: has the password of CMS's sample file, ..." },
	{ "ranking.password", "\"passw0rd\"",
	  "warning ranking.password: has the password of CMS's sample file, ..." },
	{ "database.url", "\"postgres://u:topsecret@h/db\"",
	  "warning database.url: \"postgres://u:***@h/db\" begins with postgres://, which newer "
	  "SQLAlchemy refuses; ..." },
	{ "database.url", "\"postgresql+asyncpg://u:topsecret@h/db\"",
	  "error database.url: \"postgresql+asyncpg://u:***@h/db\" is not a psycopg2 URL, ..." },
	{ "database.url", "\"u:topsecret@h\"",
	  "error database.url: \"***\" is not a psycopg2 URL, ..." },
	/* The ranking's file. */
	{ "ranking.buffer_size", "0", "error ranking.buffer_size: is 0; RankingWebServer ..." },
	{ "ranking.buffer_size", "1", "" },
	{ "ranking.https_port", "8891",
	  "error ranking.https_port: is set without a certificate; ..." },
	/* By the version that reads it. */
	{ "services.PrometheusExporter", "[[\"h\",8811]]", "" },
	{ "services.TelegramBot", "[[\"h\",1]]",
	  "error telegram_bot: is missing, but services.TelegramBot is there: ..." },
	/* Hosts. */
	{ "services.Checker", "[[\"H.\",22000]]",
	  "warning services.Checker: shard 0: 'H.' is the host that LogService,0 calls 'h'; CMS "
	  "compares the text and takes them for two machines: spell it in one way" },
	{ "services.Worker", "[[\"fd00::1\",26000],[\"FD00:0::1\",26001]]",
	  "warning services.Worker: shard 1: 'FD00:0::1' is the host that Worker,0 calls "
	  "'fd00::1'; ..." },
	{ "services.Worker", "[[\"127.0.0.1\",26000],[\"localhost\",26001]]",
	  "warning services.Worker: shard 1: 'localhost' is the host that Worker,0 calls ..." },
	{ "services.Worker", "[[\"w1\",26000],[\"w2\",26000],[\"w1\",26001]]", "" },
	{ "services.Checker", "[[\"localhost\",22000]]", "" },
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

static const struct {
	const struct validate_context *context;
	struct row row;
} rows_in_context[] = {
	{ &summer_2025,
	  { "printing_service.printer", "\"p\"",
	    "error printing_service.printer: is set, but services.PrintingService is missing: ..." } },
	{ &conf,
	  { "printing_service.printer", "\"p\"",
	    "error printing_service.printer: is set, but services.PrintingService is missing: ..." } },
	{ &conf,
	  { "services.PrometheusExporter", "[[\"h\",8811]]",
	    "error prometheus.listen_address: is missing; PrometheusExporter of CMS 1.5 has no "
	    "default for it and ends at once: set an address such as \"127.0.0.1\"\n"
	    "error prometheus.listen_port: is missing; ..." } },
	{ &cluster,
	  { "services.Checker", "[[\"localhost\",22000]]",
	    "warning services: 'localhost' (Checker,0) is each machine itself; in a cluster such an "
	    "entry is vacant until a node with the role takes it" } },
	{ &cluster,
	  { "services.Worker", "[[\"127.0.0.1\",26000],[\"127.0.0.1\",26001]]",
	    "warning services: '127.0.0.1' (Worker,0 and 1 more) is each machine itself; ..." } },
	{ &cluster,
	  { "database.url", "\"postgresql://u:topsecret@localhost:5432/db\"",
	    "warning database.url: the host 'localhost' is each machine itself; write the address "
	    "at which all machines of the cluster reach it" } },
	{ &cluster,
	  { "proxy_service.rankings", "[\"http://u:topsecret@[::1]:8890/\"]",
	    "warning proxy_service.rankings: element 0: the host '::1' is each machine itself; ..." } },
	{ &here,
	  { "services.Checker", "[[\"PC\",22000]]",
	    "warning services.ResourceService: shard 0: port 28000 lies in 27000-28100, from which "
	    "the kernel takes ports for outgoing connections: a service that dials it while it is "
	    "down can connect to itself; choose one below\n"
	    "warning services.Checker: shard 0: 'PC' is a loopback address (127.0.1.1, say) in "
	    "/etc/hosts of this machine: ..." } },
	{ &installed,
	  { "ranking.username", "\"u\"",
	    "warning services.LogService: shard 0: 'h' is a loopback address (127.0.1.1, say) in "
	    "/etc/hosts of this machine: what listens there is not seen by others; write its "
	    "address, or mend /etc/hosts" } },
};

static bool matches(const char *text, const char *pattern)
{
	const size_t len = strlen(pattern);

	if (str_ends(pattern, "..."))
		return strncmp(text, pattern, len - 3) == 0;
	return strcmp(text, pattern) == 0;
}

static void assert_row(const struct row *row, const struct validate_context *context)
{
	CLEAN(value) struct value *document = from_json(good);

	if (row->json)
		value_set_path(document, row->path, from_json(row->json));
	else
		remove_path(document, row->path);
	CLEAN(str) char *found = findings_of(document, context);

	if (!matches(found, row->findings) || strstr(found, "topsecret"))
		fail_msg("%s = %s\nfound:    %s\nexpected: %s", row->path,
			 row->json ? row->json : "(removed)", found, row->findings);
}

static void each_fault_is_found_and_no_other(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_row(&rows[i], NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows_in_context); i++)
		assert_row(&rows_in_context[i].row, rows_in_context[i].context);
}

static void all_faults_are_reported(void **state)
{
	CLEAN(value)
	struct value *document =
		from_json("{\"services\":{\"Worker\":[1,2]},\"worker\":{\"keep_sandbox\":0}}");
	CLEAN(str) char *found = findings_of(document, NULL);
	size_t lines = 1;

	(void)state;
	for (const char *p = found; *p; p++)
		lines += *p == '\n';
	/* url, two entries, three services, secret_key, type */
	if (lines != 8)
		fail_msg("%zu findings:\n%s", lines, found);
}

/* As many Workers as wanted, all on `h`, at distinct ports. */
static struct value *with_workers(size_t len)
{
	struct value *document = from_json(good);
	struct value *workers = value_new_array();

	for (size_t k = 0; k < len; k++) {
		CLEAN(str) char *entry = xasprintf("[\"h\",%zu]", 26000 + k);

		value_array_add(workers, from_json(entry));
	}
	value_set_path(document, "services.Worker", workers);
	return document;
}

static void workers_share_no_sandboxes(void **state)
{
	static const struct {
		size_t workers;
		enum cms_format format;
		const char *findings;
	} cases[] = {
		{ 64, CMS_FORMAT_TOML, "" },
		{ 65, CMS_FORMAT_TOML,
		  "error services.Worker: shards 0 and 64 are both on 'h' and equal modulo 64, so "
		  "CMS 1.6 gives them the same sandboxes and they spoil each other's runs: move one "
		  "to another machine" },
		{ 10, CMS_FORMAT_JSON, "" },
		{ 11, CMS_FORMAT_JSON,
		  "warning services.Worker: shards 0 and 10 are both on 'h' and equal modulo 10, so "
		  "CMS 1.2 and 1.3 give..." },
		{ 100, CMS_FORMAT_FLAT_TOML, "" },
		{ 101, CMS_FORMAT_FLAT_TOML,
		  "error services.Worker: shards 0 and 100 are both on 'h' and equal modulo 100, so "
		  "CMS of summer 2025 gives..." },
		{ 101, CMS_FORMAT_JSON,
		  "error services.Worker: shards 0 and 100 are both on 'h' and equal modulo 100, so "
		  "CMS 1.4 and 1.5 give..." },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(value) struct value *document = with_workers(cases[i].workers);
		const struct validate_context context = { .format = cases[i].format };
		CLEAN(str) char *found = findings_of(document, &context);

		if (!matches(found, cases[i].findings))
			fail_msg("%zu workers\nfound:    %s\nexpected: %s", cases[i].workers, found,
				 cases[i].findings);
	}
}

static void this_machine_is_read(void **state)
{
	const char *srcdir = getenv("srcdir");
	CLEAN(str) char *root = xasprintf("%s/tests/data/machine", srcdir ? srcdir : ".");
	CLEAN(validate_local) struct validate_local local = { 0 };
	struct validate_context context = { 0 };

	(void)state;
	validate_local_read("/nowhere", &local);
	assert_int_equal(local.ephemeral_last, 0);
	assert_int_equal(local.loopback_names.len, 0);
	validate_local_read(root, &local);
	validate_local_apply(&local, &context);
	assert_int_equal(context.ephemeral_first, 32768);
	assert_int_equal(context.ephemeral_last, 60999);
	assert_int_equal(context.loopback_names->len, 2);
	assert_true(str_list_has(context.loopback_names, "pc.example"));
	assert_true(str_list_has(context.loopback_names, "pc"));
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

static void assert_only_published_secrets(const char *name, const char *found)
{
	static const char expected[] =
		"warning services.Worker: shards 0 and 10 are both on 'localhost' and equal modulo "
		"10, so CMS 1.2 and 1.3 ";
	CLEAN(str_list) struct str_list lines = { 0 };
	size_t published = 0;

	str_list_split(&lines, found, '\n');
	for (size_t i = 0; i < lines.len; i++)
		if (strstr(lines.items[i], "of CMS's sample file, which everybody knows"))
			published++;
		else if (!str_starts(lines.items[i], expected))
			fail_msg("%s:\n%s", name, found);
	/* secret_key, the database's password, the ranking's */
	if (published != 3)
		fail_msg("%s:\n%s", name, found);
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
		const struct validate_context context = { .format = format };
		CLEAN(str) char *found = findings_of(document, &context);

		assert_only_published_secrets(names[i], found);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_is_found_and_no_other),
		cmocka_unit_test(all_faults_are_reported),
		cmocka_unit_test(workers_share_no_sandboxes),
		cmocka_unit_test(this_machine_is_read),
		cmocka_unit_test(findings_have_a_ceiling_that_hides_no_error),
		cmocka_unit_test(samples_have_no_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
