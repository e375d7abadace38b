/* SPDX-License-Identifier: MIT */
/*
 * cmsnodectl: reads the command line, runs one command, turns its outcome into
 * a message and an exit status. Two tables own the interface: options and
 * commands. What the interface names but this version lacks stands in them too,
 * so that it is refused by name.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "ctl.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define RUN_DIR_DEFAULT "/run/cmsnoded"
#define RUN_DIR_VARIABLE "CMSNODE_RUN_DIR"

enum {
	LINES_DEFAULT = 100,
	LINES_MAX = 100000,
	TIMEOUT_MAX_S = 7 * 24 * 3600,
	LONG_OPTION = 256, /* getopt's code of options[i] is this plus i */
};

/* --- the options --- */

enum option_id {
	OPTION_JSON,
	OPTION_CLUSTER,
	OPTION_WAIT,
	OPTION_TIMEOUT,
	OPTION_REVEAL,
	OPTION_MESSAGE,
	OPTION_FORMAT,
	OPTION_LINES,
	OPTION_FOLLOW,
	OPTION_FORCE,
	OPTION_YES,
	OPTION_AT_ONCE,
	OPTION_RANKING,
	OPTION_RUN_DIR,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_LATER, /* named by the interface, not built yet */
};

#define BIT(id) (1u << (id))
#define EVERYWHERE (BIT(OPTION_RUN_DIR) | BIT(OPTION_HELP) | BIT(OPTION_VERSION))

/* One row a line: */
/* clang-format off */
static const struct option_row {
	const char *name;
	char letter;
	bool has_value;
	enum option_id id;
} options[] = {
	{ "json", 0, false, OPTION_JSON },
	{ "cluster", 0, false, OPTION_CLUSTER },
	{ "wait", 0, false, OPTION_WAIT },
	{ "timeout", 0, true, OPTION_TIMEOUT },
	{ "reveal", 0, false, OPTION_REVEAL },
	{ "message", 'm', true, OPTION_MESSAGE },
	{ "format", 0, true, OPTION_FORMAT },
	{ "lines", 'n', true, OPTION_LINES },
	{ "follow", 'f', false, OPTION_FOLLOW },
	{ "run-dir", 0, true, OPTION_RUN_DIR },
	{ "help", 'h', false, OPTION_HELP },
	{ "version", 0, false, OPTION_VERSION },
	{ "etcd", 0, true, OPTION_LATER },
	{ "etcd-cacert", 0, true, OPTION_LATER },
	{ "etcd-cert", 0, true, OPTION_LATER },
	{ "etcd-key", 0, true, OPTION_LATER },
	{ "etcd-user", 0, true, OPTION_LATER },
	{ "etcd-password-file", 0, true, OPTION_LATER },
	{ "prefix", 0, true, OPTION_LATER },
	{ "ranking", 0, false, OPTION_RANKING },
	{ "yes", 'y', false, OPTION_YES },
	{ "at-once", 0, false, OPTION_AT_ONCE },
	{ "force", 0, false, OPTION_FORCE },
	{ "from-database", 0, true, OPTION_LATER },
};
/* clang-format on */

/* --- the commands --- */

/* Of everything that changes the configuration. */
#define CHANGE                                                                             \
	(BIT(OPTION_MESSAGE) | BIT(OPTION_YES) | BIT(OPTION_WAIT) | BIT(OPTION_TIMEOUT) | \
	 BIT(OPTION_AT_ONCE))
#define CHANGE_USAGE "[-m MESSAGE] [--yes] [--wait [--timeout S]] [--at-once]"

static const struct command_row {
	const char *verb;
	const char *what; /* second word, or NULL */
	ctl_command_fn *run; /* NULL: not in this version */
	unsigned int options; /* BIT()s beside EVERYWHERE */
	size_t words_min;
	size_t words_max;
	const char *usage;
	const char *help;
} commands[] = {
	{ "status", NULL, ctl_status,
	  BIT(OPTION_JSON) | BIT(OPTION_CLUSTER) | BIT(OPTION_WAIT) | BIT(OPTION_TIMEOUT), 0, 0,
	  "status [--json] [--cluster] [--wait [--timeout S]]",
	  "what this node is and runs; --wait: return when all is well" },
	{ "explain", NULL, ctl_explain, BIT(OPTION_JSON), 0, 1,
	  "explain [address|identity|services] [--json]", "why it is so" },
	{ "config", "show", ctl_config_show, BIT(OPTION_JSON), 0, 0, "config show [--json]",
	  "the agreed configuration, secrets masked" },
	{ "config", "get", ctl_config_get, BIT(OPTION_REVEAL), 1, 1, "config get KEY [--reveal]",
	  "one value; --reveal: even if it is a secret" },
	{ "config", "set", ctl_config_set, CHANGE, 1, SIZE_MAX,
	  "config set KEY=VALUE... " CHANGE_USAGE, "change the configuration of the cluster" },
	{ "config", "unset", ctl_config_unset, CHANGE, 1, SIZE_MAX, "config unset KEY... " CHANGE_USAGE,
	  "leave entries to CMS's defaults" },
	{ "config", "import", ctl_config_import, CHANGE | BIT(OPTION_RANKING), 1, 1,
	  "config import FILE [--ranking] " CHANGE_USAGE,
	  "take over a cms.toml or cms.conf (--ranking: the ranking's file); -: standard input" },
	{ "config", "edit", ctl_config_edit, CHANGE | BIT(OPTION_RANKING), 0, 0,
	  "config edit [--ranking] " CHANGE_USAGE, "the file in $EDITOR, then as an import" },
	{ "config", "history", ctl_config_history, BIT(OPTION_LINES) | BIT(OPTION_JSON), 0, 0,
	  "config history [-n LINES] [--json]", "who changed what, when and why" },
	{ "config", "diff", ctl_config_diff, BIT(OPTION_JSON), 0, 2, "config diff [A [B]] [--json]",
	  "what differs between two generations; without names: what the last change was" },
	{ "config", "rollback", ctl_config_rollback, CHANGE, 1, 1,
	  "config rollback GENERATION " CHANGE_USAGE,
	  "a new generation with the entries of an old one; nodes and assignments stay" },
	{ "config", "freeze", ctl_config_freeze, BIT(OPTION_MESSAGE) | BIT(OPTION_WAIT), 0, 0,
	  "config freeze [-m MESSAGE]", "refuse changes (a contest runs) until thaw" },
	{ "config", "thaw", ctl_config_thaw, BIT(OPTION_MESSAGE) | BIT(OPTION_WAIT), 0, 0,
	  "config thaw [-m MESSAGE]", "allow changes again" },
	{ "plan", NULL, ctl_plan, BIT(OPTION_JSON) | BIT(OPTION_RANKING), 1, SIZE_MAX,
	  "plan FILE [--ranking] | KEY=VALUE... [--json]",
	  "what a change would start, stop and restart, and on which node" },
	{ "config", "export", ctl_config_export, BIT(OPTION_FORMAT) | BIT(OPTION_RANKING), 0, 0,
	  "config export [--format toml|json|flat-toml] [--ranking]", "the file as CMS reads it, with secrets" },
	{ "config", "check", ctl_config_check, BIT(OPTION_JSON) | BIT(OPTION_RANKING), 1, SIZE_MAX,
	  "config check FILE... [--ranking] [--json]", "what is wrong with a file; needs no daemon" },
	{ "service", "list", ctl_service_list, BIT(OPTION_JSON), 0, 0, "service list [--json]",
	  "the services of this node" },
	{ "node", "forget", ctl_node_forget, BIT(OPTION_FORCE) | BIT(OPTION_MESSAGE), 1, 1,
	  "node forget ID [--force] [-m MESSAGE]",
	  "a node that will not return: its slots are free" },
	{ "node", "drain", ctl_node_drain, BIT(OPTION_MESSAGE), 0, 1,
	  "node drain [ID] [-m MESSAGE]",
	  "stop the services of a node (this one) and give its slots to others" },
	{ "node", "undrain", ctl_node_undrain, BIT(OPTION_MESSAGE), 0, 1,
	  "node undrain [ID] [-m MESSAGE]", "let a drained node run services again" },
	{ "store", "accept", ctl_store_accept, BIT(OPTION_MESSAGE), 0, 0,
	  "store accept [-m MESSAGE]", "after etcd was restored: all nodes follow what it holds" },
	{ "store", "publish", ctl_store_publish, BIT(OPTION_MESSAGE), 0, 0,
	  "store publish [-m MESSAGE]",
	  "after etcd was restored or wiped: it shall hold what this node agreed to last" },
	{ "node", "reset-identity", ctl_node_reset_identity, 0, 0, 0, "node reset-identity",
	  "this node takes a new id at its next start" },
	{ "logs", NULL, ctl_logs, BIT(OPTION_LINES) | BIT(OPTION_FOLLOW), 1, 1,
	  "logs NAME,SHARD [-n LINES] [-f]", "the last output of a service; -f: go on" },
	{ .verb = "node", .what = "list" },
	{ .verb = "service", .what = "start" },
	{ .verb = "service", .what = "stop" },
	{ .verb = "service", .what = "restart" },
	{ .verb = "export-upstreams" },
	{ .verb = "restore" },
};

static void print_help(void)
{
	(void)puts("usage: cmsnodectl [--run-dir DIR] COMMAND\n"
		   "\n"
		   "Asks and directs the cmsnoded of this machine.\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i].run)
			(void)printf("  %s\n      %s\n", commands[i].usage, commands[i].help);
	(void)puts("\n"
		   "  --run-dir DIR   where the daemon's control.sock is (or CMSNODE_RUN_DIR;\n"
		   "                  default " RUN_DIR_DEFAULT ")\n"
		   "  -h, --help      this text\n"
		   "  --version       the version\n"
		   "\n"
		   "Exit status: 0 done, 1 failure, 2 wrong usage, 3 configuration refused,\n"
		   "4 identity or address refused, 5 the daemon (or its store) cannot be reached.");
}

/* --- reading the command line --- */

struct line {
	struct ctl ctl;
	unsigned int given; /* BIT()s */
	const char **words; /* all of them, the verb first; borrowed texts */
	size_t len;
	size_t cap;
};

static int set_timeout(struct ctl *ctl, const char *value, struct err *err)
{
	char *end;
	const double seconds = strtod(value, &end);
	if (end == value || *end || !(seconds > 0) || seconds > TIMEOUT_MAX_S)
		return err_set(err, ERR_USAGE,
			       "--timeout %s: not a number of seconds from above 0 to %d", value,
			       (int)TIMEOUT_MAX_S);
	ctl->timeout_s = seconds;
	return 0;
}

static int set_run_dir(struct ctl *ctl, const char *value, const char *source, struct err *err)
{
	if (!*value)
		return err_set(err, ERR_USAGE, "%s: the directory's name is empty", source);
	ctl->run_dir = value;
	return 0;
}

static int apply_option(struct line *line, const struct option_row *option, const char *value,
			struct err *err)
{
	struct ctl *ctl = &line->ctl;

	line->given |= BIT(option->id);
	switch (option->id) {
	case OPTION_JSON:
		ctl->json = true;
		return 0;
	case OPTION_CLUSTER:
		ctl->cluster = true;
		return 0;
	case OPTION_WAIT:
		ctl->wait = true;
		return 0;
	case OPTION_TIMEOUT:
		return set_timeout(ctl, value, err);
	case OPTION_REVEAL:
		ctl->reveal = true;
		return 0;
	case OPTION_MESSAGE:
		ctl->message = value;
		return 0;
	case OPTION_FORMAT:
		ctl->format = value;
		return 0;
	case OPTION_LINES:
		if (str_to_int64(value, 0, LINES_MAX, &ctl->lines) < 0)
			return err_set(err, ERR_USAGE, "-n %s: not a number of lines from 0 to %d",
				       value, (int)LINES_MAX);
		return 0;
	case OPTION_FOLLOW:
		ctl->follow = true;
		return 0;
	case OPTION_RUN_DIR:
		return set_run_dir(ctl, value, "--run-dir", err);
	case OPTION_HELP:
	case OPTION_VERSION:
		return 0;
	case OPTION_FORCE:
		ctl->force = true;
		return 0;
	case OPTION_YES:
		ctl->yes = true;
		return 0;
	case OPTION_AT_ONCE:
		ctl->at_once = true;
		return 0;
	case OPTION_RANKING:
		ctl->ranking = true;
		return 0;
	case OPTION_LATER:
		return err_set(err, ERR_USAGE, "--%s: not in this version", option->name);
	}
	return 0;
}

static int say_unknown_option(const char *text, struct err *err)
{
	const char *names[ARRAY_LEN(options)];

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		names[i] = options[i].name;
	const char *nearest =
		str_starts(text, "--") ? str_nearest(text + 2, names, ARRAY_LEN(names)) : NULL;
	if (nearest)
		return err_set(err, ERR_USAGE, "unknown option '%s': did you mean --%s?", text,
			       nearest);
	return err_set(err, ERR_USAGE, "unknown option '%s': see cmsnodectl --help", text);
}

static const struct option_row *option_of_code(int code)
{
	if (code >= LONG_OPTION)
		return &options[code - LONG_OPTION];
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].letter && options[i].letter == code)
			return &options[i];
	return NULL;
}

static void add_word(struct line *line, const char *word)
{
	GROW(line->words, line->len, line->cap);
	line->words[line->len++] = word;
}

/* Options may stand anywhere ('-': whatever POSIXLY_CORRECT says); "--" ends them. */
static int read_line(int argc, char *argv[], struct line *line, struct err *err)
{
	struct option table[ARRAY_LEN(options) + 1] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		table[i] = (struct option){ .name = options[i].name,
					    .has_arg = options[i].has_value,
					    .val = LONG_OPTION + (int)i };
	for (;;) {
		const int at = optind ? optind : 1;
		const int code = getopt_long(argc, argv, "-:m:n:fhy", table, NULL);
		int r = 0;

		if (code == -1)
			break;
		if (code == 1)
			add_word(line, optarg);
		else if (code == ':')
			return err_set(err, ERR_USAGE, "%s needs a value", argv[at]);
		else if (code == '?')
			return say_unknown_option(argv[at], err);
		else
			r = apply_option(line, option_of_code(code), optarg, err);
		if (r < 0)
			return r;
	}
	while (optind < argc)
		add_word(line, argv[optind++]);
	return 0;
}

/* --- choosing the command --- */

static int say_unknown_command(const char *verb, struct err *err)
{
	const char *verbs[ARRAY_LEN(commands)];

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		verbs[i] = commands[i].verb;
	const char *nearest = str_nearest(verb, verbs, ARRAY_LEN(verbs));
	if (nearest)
		return err_set(err, ERR_USAGE, "unknown command '%s': did you mean %s?", verb,
			       nearest);
	return err_set(err, ERR_USAGE, "unknown command '%s': see cmsnodectl --help", verb);
}

static int say_which(const char *verb, struct err *err)
{
	CLEAN(str_list) struct str_list list = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (str_eq(commands[i].verb, verb) && commands[i].run)
			str_list_add(&list, commands[i].what);
	if (!list.len)
		return err_set(err, ERR_USAGE, "%s: not in this version", verb);
	CLEAN(str) char *names = str_list_join(&list, ", ");

	return err_set(err, ERR_USAGE, "%s: say which: %s", verb, names);
}

/* Also cuts the command's own words off the line. */
static int find_command(struct line *line, const struct command_row **ret, struct err *err)
{
	bool known = false;

	if (!line->len)
		return err_set(err, ERR_USAGE, "no command given: see cmsnodectl --help");
	const char *verb = line->words[0];
	const char *what = line->len > 1 ? line->words[1] : NULL;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command_row *row = &commands[i];

		if (!str_eq(row->verb, verb))
			continue;
		known = true;
		if (row->what && !str_eq(row->what, what))
			continue;
		if (!row->run)
			return err_set(err, ERR_USAGE, "%s%s%s: not in this version", verb,
				       row->what ? " " : "", row->what ? row->what : "");
		const size_t own = row->what ? 2 : 1;

		line->ctl.words = line->words + own;
		line->ctl.words_len = line->len - own;
		*ret = row;
		return 0;
	}
	return known ? say_which(verb, err) : say_unknown_command(verb, err);
}

static int check_command(const struct line *line, const struct command_row *command,
			 struct err *err)
{
	const unsigned int wrong = line->given & ~(command->options | EVERYWHERE);
	const size_t words = line->ctl.words_len;

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (wrong & BIT(options[i].id))
			return err_set(err, ERR_USAGE,
				       "--%s does not belong here; usage: cmsnodectl %s",
				       options[i].name, command->usage);
	if (words < command->words_min)
		return err_set(err, ERR_USAGE, "something is missing; usage: cmsnodectl %s",
			       command->usage);
	if (words > command->words_max)
		return err_set(err, ERR_USAGE, "'%s' is too much; usage: cmsnodectl %s",
			       line->ctl.words[command->words_max], command->usage);
	if (line->ctl.timeout_s > 0 && !line->ctl.wait)
		return err_set(err, ERR_USAGE, "--timeout needs --wait");
	return 0;
}

static int run_command(struct line *line, struct err *err)
{
	const struct command_row *command = NULL;
	const char *run_dir = getenv(RUN_DIR_VARIABLE);
	int r = find_command(line, &command, err);

	if (r == 0)
		r = check_command(line, command, err);
	if (r == 0 && !line->ctl.run_dir)
		r = set_run_dir(&line->ctl, run_dir ? run_dir : RUN_DIR_DEFAULT, RUN_DIR_VARIABLE,
				err);
	if (r < 0)
		return r;
	line->ctl.socket_path = xasprintf("%s/control.sock", line->ctl.run_dir);
	line->ctl.colour =
		ctl_colour_wanted(isatty(STDOUT_FILENO), getenv("NO_COLOR"), getenv("TERM"));
	return command->run(&line->ctl, err);
}

static int run(int argc, char *argv[], struct line *line, struct err *err)
{
	int r = read_line(argc, argv, line, err);
	if (r < 0)
		return r;
	if (line->given & BIT(OPTION_HELP))
		print_help();
	else if (line->given & BIT(OPTION_VERSION))
		(void)puts("cmsnodectl " PACKAGE_VERSION);
	else
		r = run_command(line, err);
	if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		return err_errno(err, errno ? -errno : -EIO, "standard output");
	return r;
}

int main(int argc, char *argv[])
{
	struct line line = { .ctl = { .lines = LINES_DEFAULT } };
	struct err err = { 0 };

	json_init();
	const int r = run(argc, argv, &line, &err);

	free(line.words);
	free(line.ctl.socket_path);
	if (r < 0)
		(void)fprintf(stderr, "cmsnodectl: %s\n", err.msg);
	return err_exit_status(r);
}
