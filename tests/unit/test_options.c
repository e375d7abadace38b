/* SPDX-License-Identifier: MIT */
/* The daemon's settings: arguments, environment, file, and what they refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/daemon/options.h"

#define WORDS_MAX 16

/* One question: where the settings come from. NULL-terminated. */
struct given {
	char *arguments[WORDS_MAX];
	char *environment[WORDS_MAX];
	const char *file;
};

static inline void clean_options(struct options *options)
{
	options_fini(options);
}

static int parse(const struct given *given, struct options *ret, struct err *err)
{
	char *argv[WORDS_MAX + 1] = { (char *)"cmsnoded" };
	int argc = 1;
	CLEAN(value) struct value *file = NULL;

	while (given->arguments[argc - 1]) {
		argv[argc] = given->arguments[argc - 1];
		argc++;
	}
	if (given->file)
		assert_int_equal(toml_parse(given->file, strlen(given->file), &file, err), 0);
	return options_parse(argc, argv, given->environment, file, "x.toml", ret, err);
}

static void defaults_are_the_interface_s(void **state)
{
	const struct given given = { 0 };
	CLEAN(options) struct options o = { 0 };
	struct err err = { 0 };

	(void)state;
	assert_int_equal(parse(&given, &o, &err), 0);
	assert_int_equal(o.action, OPTIONS_RUN);
	assert_null(o.config);
	assert_int_equal(o.etcd.len, 1);
	assert_string_equal(o.etcd.items[0], "http://127.0.0.1:2379");
	assert_string_equal(o.prefix, "/cms");
	assert_null(o.standalone);
	assert_int_equal(o.roles.len, 0);
	assert_string_equal(o.contest, "ALL");
	assert_null(o.cms_bin);
	assert_string_equal(o.cms_format, "auto");
	assert_null(o.seed_config);
	assert_null(o.node_id);
	assert_null(o.instance);
	assert_null(o.address);
	assert_true(o.address_settle_s == 5);
	assert_string_equal(o.state_dir, "/var/lib/cmsnoded");
	assert_string_equal(o.run_dir, "/run/cmsnoded");
	assert_null(o.user);
	assert_int_equal(o.env.len, 0);
	assert_true(o.grace_s == 5);
	assert_true(o.stop_budget_s == 9);
	assert_true(o.health_interval_s == 10);
	assert_string_equal(o.log_level, "info");
	assert_string_equal(o.log_format, "text");
	assert_string_equal(o.facts_root, "/");
}

/* All settings in one line, so that a table can tell what it expects. */
static char *show(const struct options *o)
{
	CLEAN(str) char *etcd = str_list_join(&o->etcd, "|");
	CLEAN(str) char *roles = str_list_join(&o->roles, "|");
	CLEAN(str) char *env = str_list_join(&o->env, "|");
#define TEXT(s) ((s) ? (s) : "-")

	return xasprintf(
		"%s (%s %s %s %s %s) %s %s [%s] %s %s %s %s %s %s %s %s %s %s [%s] %g %g %g %g %s %s %s",
		etcd, TEXT(o->etcd_cacert), TEXT(o->etcd_cert), TEXT(o->etcd_key),
		TEXT(o->etcd_user), TEXT(o->etcd_password_file), o->prefix, TEXT(o->standalone),
		roles, o->contest, TEXT(o->cms_bin), o->cms_format, TEXT(o->seed_config),
		TEXT(o->node_id), TEXT(o->instance), TEXT(o->address), o->state_dir, o->run_dir,
		TEXT(o->user), env, o->address_settle_s, o->grace_s, o->stop_budget_s,
		o->health_interval_s, o->log_level, o->log_format, o->facts_root);
}

static const char everything[] =
	"https://a:1|https://b:2 (/ca /c /k u /p) /x - [core|worker:2] 7 /bin json s.toml Node.1 two eth0 /s /r joe "
	"[A=1,2|B=] 1 2.5 3 4 debug json /f";

static void every_source_sets_every_option(void **state)
{
	static const struct given part[] = {
		{ .arguments = { (char *)"--etcd=https://a:1", (char *)"--etcd",
				 (char *)"https://b:2", (char *)"--prefix", (char *)"/x",
				 (char *)"--role", (char *)"core", (char *)"--role=worker:2",
				 (char *)"--contest=7", (char *)"--cms-bin=/bin",
				 (char *)"--names=off", (char *)"--etcd-cacert=/ca",
				 (char *)"--etcd-user=u" },
		  .environment = { (char *)"CMSNODE_ETCD_CERT=/c",
				   (char *)"CMSNODE_CMS_FORMAT=json",
				   (char *)"CMSNODE_SEED_CONFIG=s.toml",
				   (char *)"CMSNODE_NODE_ID=Node.1", (char *)"CMSNODE_INSTANCE=two",
				   (char *)"CMSNODE_ADDRESS=eth0",
				   (char *)"CMSNODE_ADDRESS_SETTLE=1",
				   (char *)"CMSNODE_STATE_DIR=/s", (char *)"CMSNODE_RUN_DIR=/r",
				   (char *)"CMSNODE_USER=joe", (char *)"CMSNODE_GRACE=2.5",
				   (char *)"CMSNODE_NAMES=off" },
		  .file = "env = [\"A=1,2\", \"B=\"]\nstop_budget = 3\nhealth_interval = 4.0\n"
			  "log_level = \"debug\"\nlog_format = \"json\"\nfacts_root = \"/f\"\n"
			  "names = \"off\"\netcd_key = \"/k\"\netcd_password_file = \"/p\"\n" },
		{ .arguments = { (char *)"--cms-format=json", (char *)"--seed-config=s.toml",
				 (char *)"--node-id=Node.1", (char *)"--instance=two",
				 (char *)"--address=eth0", (char *)"--address-settle=1",
				 (char *)"--state-dir=/s", (char *)"--run-dir=/r",
				 (char *)"--user=joe", (char *)"--grace=2.5",
				 (char *)"--stop-budget=3", (char *)"--etcd-key=/k",
				 (char *)"--etcd-password-file=/p" },
		  .environment = { (char *)"CMSNODE_ETCD_CACERT=/ca", (char *)"CMSNODE_ENV=A=1,2",
				   (char *)"CMSNODE_HEALTH_INTERVAL=4",
				   (char *)"CMSNODE_LOG_LEVEL=debug",
				   (char *)"CMSNODE_LOG_FORMAT=json",
				   (char *)"CMSNODE_FACTS_ROOT=/f", (char *)"CMSNODE_SHARED=/data",
				   (char *)"PATH=/bin", (char *)"CMSNODE" },
		  .file = "etcd = [\"https://a:1\", \"https://b:2\"]\nprefix = \"/x\"\nrole = "
			  "\"core, worker:2\"\n"
			  "contest = 7\ncms_bin = \"/bin\"\netcd_cert = \"/c\"\netcd_user = \"u\"\n" },
		{ .arguments = { (char *)"--env", (char *)"A=1,2",
				 (char *)"--env=B=", (char *)"--health-interval=4",
				 (char *)"--log-level=debug", (char *)"--log-format=json",
				 (char *)"--facts-root=/f", (char *)"--etcd-cert=/c" },
		  .environment = { (char *)"CMSNODE_ETCD_KEY=/k", (char *)"CMSNODE_ETCD_USER=u",
				   (char *)"CMSNODE_ETCD_PASSWORD_FILE=/p",
				   (char *)"CMSNODE_ETCD=https://a:1,https://b:2",
				   (char *)"CMSNODE_PREFIX=/x",
				   (char *)"CMSNODE_ROLE=core,worker:2",
				   (char *)"CMSNODE_CONTEST=7", (char *)"CMSNODE_CMS_BIN=/bin",
				   (char *)"CMSNODE_STOP_BUDGET=3" },
		  .file = "cms_format = \"json\"\nseed_config = \"s.toml\"\nnode_id = \"Node.1\"\n"
			  "instance = \"two\"\naddress = \"eth0\"\naddress_settle = 1\nstate_dir "
			  "= \"/s\"\n"
			  "run_dir = \"/r\"\nuser = \"joe\"\ngrace = 2.5\netcd_cacert = \"/ca\"\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		if (parse(&part[i], &o, &err) < 0)
			fail_msg("case %zu: %s", i, err.msg);
		/* CMSNODE_ENV holds one pair only. */
		if (i == 1)
			str_list_add(&o.env, "B=");
		CLEAN(str) char *shown = show(&o);

		assert_string_equal(shown, everything);
	}
}

static void a_stronger_source_replaces_a_weaker_one_whole(void **state)
{
	static const struct {
		struct given given;
		const char *roles, *prefix;
		double grace;
	} cases[] = {
		{ { { NULL }, { NULL }, "role = [\"core\"]\nprefix = \"/f\"\ngrace = 1\n" },
		  "core",
		  "/f",
		  1 },
		{ { { NULL },
		    { (char *)"CMSNODE_ROLE=worker,contest-web", (char *)"CMSNODE_PREFIX=/e",
		      (char *)"CMSNODE_GRACE=2" },
		    "role = [\"core\"]\nprefix = \"/f\"\ngrace = 1\n" },
		  "worker|contest-web",
		  "/e",
		  2 },
		{ { { (char *)"--role=Checker", (char *)"--prefix=/a", (char *)"--grace=3",
		      (char *)"--role=LogService" },
		    { (char *)"CMSNODE_ROLE=worker,contest-web", (char *)"CMSNODE_PREFIX=/e",
		      (char *)"CMSNODE_GRACE=2" },
		    "role = [\"core\"]\nprefix = \"/f\"\ngrace = 1\n" },
		  "Checker|LogService",
		  "/a",
		  3 },
		/* The last of several arguments, the first of two variables. */
		{ { { (char *)"--grace=3", (char *)"--grace", (char *)"4" },
		    { (char *)"CMSNODE_PREFIX=/1", (char *)"CMSNODE_PREFIX=/2" },
		    NULL },
		  "",
		  "/1",
		  4 },
		{ { { NULL }, { NULL }, "role = []\n" }, "", "/cms", 5 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		if (parse(&cases[i].given, &o, &err) < 0)
			fail_msg("case %zu: %s", i, err.msg);
		CLEAN(str) char *roles = str_list_join(&o.roles, "|");

		assert_string_equal(roles, cases[i].roles);
		assert_string_equal(o.prefix, cases[i].prefix);
		assert_true(o.grace_s == cases[i].grace);
	}
}

static void actions(void **state)
{
	static const struct {
		struct given given;
		enum options_action action;
	} cases[] = {
		{ { { (char *)"--check" }, { NULL }, NULL }, OPTIONS_CHECK },
		{ { { NULL }, { (char *)"CMSNODE_CHECK=yes" }, NULL }, OPTIONS_CHECK },
		{ { { NULL }, { (char *)"CMSNODE_CHECK=0" }, "check = true\n" }, OPTIONS_RUN },
		{ { { NULL }, { NULL }, "check = true\n" }, OPTIONS_CHECK },
		{ { { (char *)"--check", (char *)"--version" }, { NULL }, NULL }, OPTIONS_VERSION },
		/* --help answers whatever else is wrong around it. */
		{ { { (char *)"--help" }, { (char *)"CMSNODE_BOGUS=1" }, "bogus = 1\n" },
		  OPTIONS_HELP },
		{ { { (char *)"--help", (char *)"--bogus" }, { NULL }, NULL }, OPTIONS_HELP },
		/* It is a value here. */
		{ { { (char *)"--user=--help" }, { NULL }, NULL }, OPTIONS_RUN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		if (parse(&cases[i].given, &o, &err) < 0)
			fail_msg("case %zu: %s", i, err.msg);
		assert_int_equal(o.action, cases[i].action);
	}
}

static void help_is_known_before_any_file_is_read(void **state)
{
	static const struct {
		const char *words[3];
		int result;
		enum options_action action;
	} cases[] = {
		{ { NULL }, 0, OPTIONS_RUN },
		{ { "--check" }, 0, OPTIONS_RUN },
		{ { "--check", "--help" }, 0, OPTIONS_HELP },
		{ { "--version", "--bogus" }, 0, OPTIONS_VERSION },
		{ { "--config=--help" }, 0, OPTIONS_RUN },
		{ { "--bogus", "--help" }, ERR_USAGE, OPTIONS_CHECK },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *argv[5] = { (char *)"cmsnoded" };
		enum options_action action = OPTIONS_CHECK;
		int argc = 1;

		for (; cases[i].words[argc - 1]; argc++)
			argv[argc] = (char *)(uintptr_t)cases[i].words[argc - 1];
		assert_int_equal(options_look_ahead(argc, argv, &action, NULL), cases[i].result);
		assert_int_equal(action, cases[i].action);
	}
}

static void refused_arguments(void **state)
{
	static const struct {
		const char *words[3];
		const char *message;
	} cases[] = {
		{ { "--health-intervall", "5" },
		  "unknown option '--health-intervall', did you mean '--health-interval'?" },
		{ { "--state_dir=/x" },
		  "unknown option '--state_dir', did you mean '--state-dir'?" },
		{ { "--xyzzy-plugh" }, "unknown option '--xyzzy-plugh'; --help lists the options" },
		{ { "worker" }, "unexpected argument 'worker': options begin with --, see --help" },
		{ { "-h" }, "unexpected argument '-h': options begin with --, see --help" },
		{ { "--" }, "unexpected argument '--': options begin with --, see --help" },
		{ { "" }, "unexpected argument '': options begin with --, see --help" },
		{ { "--etcd" }, "--etcd needs a value: --etcd URL[,URL...]" },
		{ { "--etcd", "--check" }, "--etcd needs a value: --etcd URL[,URL...]" },
		{ { "--check=1" }, "--check takes no value" },
		{ { "--help=me" }, "--help takes no value" },
		{ { "--prefix=" }, "--prefix: the value is empty" },
		{ { "--role=" }, "--role: the value is empty" },
		{ { "--role", " , " }, "--role: the value is empty" },
		{ { "--user=a\nb" }, "--user: the value holds a control character" },
		{ { "--prefix=cms" }, "--prefix: 'cms' must begin with '/', as /cms does" },
		{ { "--prefix=/cms/" }, "--prefix: '/cms/' must not end with '/', write /cms" },
		{ { "--prefix=/" }, "--prefix: '/' must not end with '/', write /cms" },
		{ { "--prefix=/a b" },
		  "--prefix: '/a b' is longer than 255 bytes or holds a blank" },
		{ { "--etcd=127.0.0.1:2379" },
		  "--etcd: '127.0.0.1:2379' is not of the form http://HOST:PORT or https://HOST:PORT" },
		{ { "--etcd=http://" },
		  "--etcd: 'http://' is not of the form http://HOST:PORT or https://HOST:PORT" },
		{ { "--etcd=https:///" },
		  "--etcd: 'https:///' is not of the form http://HOST:PORT or https://HOST:PORT" },
		{ { "--etcd=http://a:1,https://b:2" },
		  "--etcd must be all http:// or all https://" },
		{ { "--etcd=https://a:1", "--etcd-cert=c" }, "--etcd-cert needs --etcd-key, too" },
		{ { "--etcd=https://a:1", "--etcd-key=k" }, "--etcd-key needs --etcd-cert, too" },
		{ { "--etcd-user=u" }, "--etcd-user needs --etcd-password-file, too" },
		{ { "--etcd-password-file=p" }, "--etcd-password-file needs --etcd-user, too" },
		{ { "--etcd-cacert=c" }, "--etcd-cacert is for https:// endpoints" },
		{ { "--etcd-cert=c", "--etcd-key=k" }, "--etcd-cert is for https:// endpoints" },
		{ { "--standalone=f", "--etcd-user=u" },
		  "--etcd-user cannot be given together with --standalone: a standalone node uses "
		  "no etcd" },
		{ { "--contest=all" },
		  "--contest: 'all' is neither ALL nor the number of a contest" },
		{ { "--contest=-1" },
		  "--contest: '-1' is neither ALL nor the number of a contest" },
		{ { "--contest=9999999999999999999" },
		  "--contest: '9999999999999999999' is neither ALL nor the number of a contest" },
		{ { "--cms-format=yaml" },
		  "--cms-format: 'yaml' is none of: auto, toml, json, flat-toml" },
		{ { "--log-level=loud" },
		  "--log-level: 'loud' is none of: error, warning, info, debug" },
		{ { "--log-format=xml" }, "--log-format: 'xml' is none of: text, json" },
		{ { "--node-id=a_b" },
		  "--node-id: 'a_b' may hold only letters, digits, '.' and '-'" },
		{ { "--instance=.x" }, "--instance: '.x' must begin with a letter or a digit" },
		{ { "--address=eth0 eth1" },
		  "--address: 'eth0 eth1' is longer than 255 bytes or holds a blank" },
		{ { "--env=1A=x" }, "--env: '1A=x' is not of the form NAME=VALUE" },
		{ { "--env=PATH" }, "--env: 'PATH' is not of the form NAME=VALUE" },
		{ { "--grace=-1" }, "--grace: '-1' is not a number of seconds from 0 to 3600" },
		{ { "--grace=5s" }, "--grace: '5s' is not a number of seconds from 0 to 3600" },
		{ { "--grace=0x5" }, "--grace: '0x5' is not a number of seconds from 0 to 3600" },
		{ { "--grace=nan" }, "--grace: 'nan' is not a number of seconds from 0 to 3600" },
		{ { "--grace=3600.1" }, "--grace: must be from 0 to 3600 seconds" },
		{ { "--names=maybe" }, "--names: 'maybe' is none of: on, off" },
		{ { "--role=wroker:2" }, "--role: unknown role 'wroker', did you mean 'worker'?" },
		{ { "--role=worker:2,worker:3" },
		  "--role: 'worker:3' is given twice, give it once with the whole count" },
		{ { "--role=Worker", "--role=worker:3" },
		  "--role: 'worker:3' is given twice, give it once with the whole count" },
		{ { "--standalone=f", "--etcd=http://a:1" },
		  "--etcd cannot be given together with --standalone: a standalone node uses "
		  "no etcd" },
		{ { "--standalone=f", "--role=core" },
		  "--role cannot be given together with --standalone: a standalone node runs "
		  "what its FILE lists for this machine" },
		{ { "--standalone=f", "--seed-config=g" },
		  "--seed-config cannot be given together with --standalone: a standalone node's "
		  "configuration is its FILE, it needs no seed" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct given given = { 0 };
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		for (size_t k = 0; k < 3; k++)
			given.arguments[k] = (char *)(uintptr_t)cases[i].words[k];
		assert_int_equal(parse(&given, &o, &err), ERR_USAGE);
		assert_string_equal(err.msg, cases[i].message);
		assert_int_equal(err.code, ERR_USAGE);
	}
}

static void refused_variables(void **state)
{
	static const struct {
		const char *variable, *message;
	} cases[] = {
		{ "CMSNODE_RUNDIR=/x",
		  "unknown environment variable 'CMSNODE_RUNDIR', did you mean "
		  "'CMSNODE_RUN_DIR'?" },
		{ "CMSNODE_run_dir=/x",
		  "unknown environment variable 'CMSNODE_run_dir', did you mean "
		  "'CMSNODE_RUN_DIR'?" },
		{ "CMSNODE_RUN-DIR=/x",
		  "unknown environment variable 'CMSNODE_RUN-DIR', did you mean "
		  "'CMSNODE_RUN_DIR'?" },
		{ "CMSNODE_PLUGH_XYZZY=1",
		  "unknown environment variable 'CMSNODE_PLUGH_XYZZY'; --help lists the options" },
		{ "CMSNODE_SHAREDX=1", NULL },
		{ "CMSNODE_=1",
		  "unknown environment variable 'CMSNODE_'; --help lists the options" },
		{ "CMSNODE_HTTP=off", "CMSNODE_HTTP: not in this version" },
		{ "CMSNODE_HELP=1", "CMSNODE_HELP: is an option of the command line only" },
		{ "CMSNODE_CHECK=maybe", "CMSNODE_CHECK: 'maybe' is neither true nor false" },
		{ "CMSNODE_ETCD=", "CMSNODE_ETCD: the value is empty" },
		{ "CMSNODE_GRACE=3601", "CMSNODE_GRACE: must be from 0 to 3600 seconds" },
		{ "CMSNODE_ROLE=core:2", "CMSNODE_ROLE: role 'core' takes no count, write 'core'" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct given given = { .environment = { (char *)(uintptr_t)cases[i].variable } };
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		assert_int_equal(parse(&given, &o, &err), ERR_USAGE);
		if (cases[i].message)
			assert_string_equal(err.msg, cases[i].message);
	}
}

static void refused_file_entries(void **state)
{
	static const struct {
		const char *file, *message;
	} cases[] = {
		{ "\nhealth-interval = 5\n",
		  "x.toml, line 2: unknown key 'health-interval', did you mean "
		  "'health_interval'?" },
		{ "[roles]\na = 1\n", "x.toml, line 1: unknown key 'roles', did you mean 'role'?" },
		{ "grace = 5\nstop_budget = \"9\"\n",
		  "x.toml, line 2: stop_budget: must be a number of seconds, but is of type "
		  "string" },
		{ "grace = 3601", "x.toml, line 1: grace: must be from 0 to 3600 seconds" },
		{ "grace = -0.5", "x.toml, line 1: grace: must be from 0 to 3600 seconds" },
		{ "grace = nan", "x.toml, line 1: grace: must be from 0 to 3600 seconds" },
		{ "prefix = 5",
		  "x.toml, line 1: prefix: must be a string, but is of type integer" },
		{ "prefix = [\"/a\"]",
		  "x.toml, line 1: prefix: must be a string, but is of type array" },
		{ "role = 5",
		  "x.toml, line 1: role: must be a string or an array of strings, but is of type "
		  "integer" },
		{ "role = [\"core\", 5]",
		  "x.toml, line 1: role: must be an array of strings, but is of type integer" },
		{ "role = [\"\"]", "x.toml, line 1: role: the value is empty" },
		{ "etcd = []",
		  "x.toml, line 1: etcd: at least one URL is needed (or --standalone FILE)" },
		{ "user = \"a\\u0000b\"",
		  "x.toml, line 1: user: the value holds a control character" },
		{ "check = 1",
		  "x.toml, line 1: check: must be true or false, but is of type integer" },
		{ "contest = -3",
		  "x.toml, line 1: contest: '-3' is neither ALL nor the number of a contest" },
		{ "config = \"y.toml\"",
		  "x.toml, line 1: config: a settings file cannot name another one" },
		{ "version = true",
		  "x.toml, line 1: version: is an option of the command line only" },
		{ "output_files = 3", "x.toml, line 1: output_files: not in this version" },
		{ "names = \"yes\"", "x.toml, line 1: names: 'yes' is none of: on, off" },
		{ "standalone = \"f\"\nrole = \"core\"\n",
		  "x.toml, line 2: role cannot be given together with x.toml, line 1: "
		  "standalone: a standalone node "
		  "runs what its FILE lists for this machine" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct given given = { .file = cases[i].file };
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		assert_int_equal(parse(&given, &o, &err), ERR_USAGE);
		assert_string_equal(err.msg, cases[i].message);
	}
}

/* A bad value is told even where a stronger source would hide it. */
static void a_hidden_bad_value_is_refused(void **state)
{
	const struct given given = { .arguments = { (char *)"--grace=5" },
				     .file = "grace = \"x\"" };
	CLEAN(options) struct options o = { 0 };
	struct err err = { 0 };

	(void)state;
	assert_int_equal(parse(&given, &o, &err), ERR_USAGE);
}

static void known_but_later(void **state)
{
	static const char *const names[] = {
		"limit-nofile",	 "umask",	  "start-parallel",  "health-busy",
		"output-dir",	 "output-size",	  "output-files",    "rpc-listen",
		"rpc-allow",	 "leave-on-stop", "drain-time",	     "on-topology-change",
		"init-database", "add-admin",	  "record-database", "record-secrets",
		"http",		 "check-state",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEAN(str) char *option = xasprintf("--%s", names[i]);
		CLEAN(str) char *expected = xasprintf("--%s: not in this version", names[i]);
		struct given given = { .arguments = { option } };
		CLEAN(options) struct options o = { 0 };
		struct err err = { 0 };

		assert_int_equal(parse(&given, &o, &err), ERR_USAGE);
		assert_string_equal(err.msg, expected);
	}
}

static void ceilings(void **state)
{
	CLEAN(str) char *path = xmalloc(5001);
	struct given given = { .arguments = { (char *)"--state-dir", path } };
	CLEAN(options) struct options o = { 0 };
	struct err err = { 0 };
	char many[257 * 4 + 1];

	(void)state;
	memset(path, 'a', 5000);
	path[5000] = '\0';
	assert_int_equal(parse(&given, &o, &err), ERR_USAGE);
	assert_string_equal(err.msg, "--state-dir: the value is longer than 4096 bytes");
	for (size_t i = 0; i < 257; i++)
		memcpy(many + 4 * i, "A=1\0", 4);
	char *argv[2 + 257] = { (char *)"cmsnoded" };

	for (size_t i = 0; i < 257; i++)
		argv[1 + i] = many + 4 * i;
	CLEAN(str) char *file = xstrdup("env = [");

	for (size_t i = 0; i < 257; i++) {
		char *longer = xasprintf("%s\"%s\",", file, argv[1 + i]);

		free(file);
		file = longer;
	}
	CLEAN(str) char *whole = xasprintf("%s]", file);
	const struct given listed = { .file = whole };

	assert_int_equal(parse(&listed, &o, &err), ERR_USAGE);
	assert_string_equal(err.msg, "x.toml, line 1: env: more than 256 values");
}

static void standalone_has_no_etcd(void **state)
{
	const struct given given = { .arguments = { (char *)"--standalone", (char *)"cms.toml" } };
	CLEAN(options) struct options o = { 0 };
	struct err err = { 0 };

	(void)state;
	assert_int_equal(parse(&given, &o, &err), 0);
	assert_string_equal(o.standalone, "cms.toml");
	assert_int_equal(o.etcd.len, 0);
}

static void settings_file_is_found(void **state)
{
	static const struct {
		const char *words[3];
		const char *variable;
		int result;
		const char *config;
	} cases[] = {
		{ { NULL }, NULL, 0, NULL },
		{ { "--config", "a" }, NULL, 0, "a" },
		{ { "--config=a", "--config=b" }, NULL, 0, "b" },
		{ { NULL }, "CMSNODE_CONFIG=e", 0, "e" },
		{ { "--config=a" }, "CMSNODE_CONFIG=e", 0, "a" },
		{ { "--user=--config", "--check" }, "CMSNODE_CONFIGS=e", 0, NULL },
		{ { "--config" }, NULL, ERR_USAGE, NULL },
		{ { "--config=" }, NULL, ERR_USAGE, NULL },
		{ { NULL }, "CMSNODE_CONFIG=", ERR_USAGE, NULL },
		{ { "--bogus" }, NULL, ERR_USAGE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *argv[5] = { (char *)"cmsnoded" };
		char *environment[] = { (char *)(uintptr_t)cases[i].variable, NULL };
		int argc = 1;
		CLEAN(str) char *config = NULL;
		struct err err = { 0 };

		for (; cases[i].words[argc - 1]; argc++)
			argv[argc] = (char *)(uintptr_t)cases[i].words[argc - 1];
		assert_int_equal(options_find_config(argc, argv, environment, &config, &err),
				 cases[i].result);
		assert_true(str_eq(config, cases[i].config));
	}
}

static void help_names_what_works_and_only_that(void **state)
{
	CLEAN(str) char *help = options_help();

	(void)state;
	assert_non_null(strstr(
		help, "  --etcd URL[,URL...]       etcd endpoints, all http:// or all https://"));
	assert_non_null(strstr(help, "  --check                   "));
	assert_null(strstr(help, "--rpc-listen"));
	for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") < 80);
}

static void roles(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *name;
		int count;
		const char *message;
	} cases[] = {
		{ "core", 0, "core", -1, NULL },
		{ "ranking", 0, "ranking", -1, NULL },
		{ "worker", 0, "worker", -1, NULL },
		{ "worker:1", 0, "worker", 1, NULL },
		{ "worker:512", 0, "worker", 512, NULL },
		{ "contest-web:3", 0, "contest-web", 3, NULL },
		{ "Worker:4", 0, "Worker", 4, NULL },
		{ "Checker", 0, "Checker", -1, NULL },
		{ "Checker:1", 0, "Checker", 1, NULL },
		{ "TelegramBot", 0, "TelegramBot", -1, NULL },
		{ "RankingWebServer:2", 0, "RankingWebServer", 2, NULL },
		{ "core:1", -EINVAL, NULL, 0, "role 'core' takes no count, write 'core'" },
		{ "ranking:2", -EINVAL, NULL, 0, "role 'ranking' takes no count, write 'ranking'" },
		{ "worker:0", -EINVAL, NULL, 0,
		  "role 'worker': the count '0' is not a number from 1 to 512" },
		{ "worker:513", -EINVAL, NULL, 0,
		  "role 'worker': the count '513' is not a number from 1 to 512" },
		{ "worker:", -EINVAL, NULL, 0,
		  "role 'worker': the count '' is not a number from 1 to 512" },
		{ "worker:+2", -EINVAL, NULL, 0,
		  "role 'worker': the count '+2' is not a number from 1 to 512" },
		{ "worker:2:3", -EINVAL, NULL, 0,
		  "role 'worker': the count '2:3' is not a number from 1 to 512" },
		{ "Checker:2", -EINVAL, NULL, 0,
		  "role 'Checker': the count '2' is not 1 (it runs once in a cluster)" },
		{ "contest-wbe", -EINVAL, NULL, 0,
		  "unknown role 'contest-wbe', did you mean 'contest-web'?" },
		{ "logservice", -EINVAL, NULL, 0,
		  "unknown role 'logservice', did you mean 'LogService'?" },
		{ "", -EINVAL, NULL, 0,
		  "unknown role '': roles are core, worker[:N], contest-web[:N], ranking, "
		  "or a CMS service such as Checker" },
		{ "xyzzy-plugh-x", -EINVAL, NULL, 0,
		  "unknown role 'xyzzy-plugh-x': roles are core, worker[:N], "
		  "contest-web[:N], ranking, or a CMS service such as Checker" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *name = NULL;
		int count = 77;
		struct err err = { 0 };

		assert_int_equal(role_parse(cases[i].text, &name, &count, &err), cases[i].result);
		assert_true(str_eq(name, cases[i].name));
		assert_int_equal(count, cases[i].result ? 77 : cases[i].count);
		if (cases[i].message)
			assert_string_equal(err.msg, cases[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_interface_s),
		cmocka_unit_test(every_source_sets_every_option),
		cmocka_unit_test(a_stronger_source_replaces_a_weaker_one_whole),
		cmocka_unit_test(actions),
		cmocka_unit_test(help_is_known_before_any_file_is_read),
		cmocka_unit_test(refused_arguments),
		cmocka_unit_test(refused_variables),
		cmocka_unit_test(refused_file_entries),
		cmocka_unit_test(a_hidden_bad_value_is_refused),
		cmocka_unit_test(known_but_later),
		cmocka_unit_test(ceilings),
		cmocka_unit_test(standalone_has_no_etcd),
		cmocka_unit_test(settings_file_is_found),
		cmocka_unit_test(help_names_what_works_and_only_that),
		cmocka_unit_test(roles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
