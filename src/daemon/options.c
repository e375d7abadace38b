/* SPDX-License-Identifier: MIT */
/*
 * The daemon's settings. One table declares each option once; the same table
 * reads arguments, environment and settings file and writes the help. Never
 * opens a file nor looks at environ: all of it comes in as values.
 *
 * The sources are applied from the weakest to the strongest (defaults, file,
 * environment, arguments), each value checked where it stands, so that a bad
 * value is an error even when a stronger source would replace it.
 */
#include "cmsnode/daemon/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/identity/identity.h"
#include "cmsnode/topology/catalogue.h"
#include "cmsnode/topology/names.h"

#define TEXT_MAX 4096 /* bytes of one value */
#define LIST_MAX 256 /* values of one repeatable option */
#define SECONDS_MAX 3600.0
#define ROLE_COUNT_MAX 512
#define ENV_PREFIX "CMSNODE_"

enum source { SOURCE_NONE, SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_ARGUMENT };

enum kind {
	KIND_TEXT, /* char * */
	KIND_LIST, /* struct str_list; split at commas */
	KIND_LIST_WHOLE, /* struct str_list; not split */
	KIND_SECONDS, /* double */
	KIND_CHECK, /* enum options_action */
	KIND_HELP, /* arguments only, as is --version */
	KIND_VERSION,
	KIND_LATER, /* known, but not in this version */
};

struct option {
	const char *name;
	enum kind kind;
	size_t offset; /* of the member in struct options */
	const char *argument; /* what the value is called in the help */
	const char *fallback; /* the default as text, or NULL */
	int (*check)(const char *text, struct err *err); /* NULL: any printable text */
	const char *help;
};

/* ---- checks of single values; the caller says where the value stands ---- */

static bool has_blank(const char *text)
{
	for (; *text; text++)
		if (isspace((unsigned char)*text))
			return true;
	return false;
}

static int check_word(const char *text, struct err *err)
{
	if (has_blank(text) || strlen(text) > 255)
		return err_set(err, ERR_USAGE, "'%s' is longer than 255 bytes or holds a blank",
			       text);
	return 0;
}

static int check_url(const char *text, struct err *err)
{
	static const char *const schemes[] = { "http://", "https://" };
	const char *host = "";

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (str_starts(text, schemes[i]))
			host = text + strlen(schemes[i]);
	if (!*host || *host == '/')
		return err_set(err, ERR_USAGE,
			       "'%s' is not of the form http://HOST:PORT or https://HOST:PORT",
			       text);
	return check_word(text, err);
}

static int check_prefix(const char *text, struct err *err)
{
	if (text[0] != '/')
		return err_set(err, ERR_USAGE, "'%s' must begin with '/', as /cms does", text);
	if (str_ends(text, "/"))
		return err_set(err, ERR_USAGE, "'%s' must not end with '/', write /cms", text);
	return check_word(text, err);
}

static int check_contest(const char *text, struct err *err)
{
	const size_t len = strlen(text);

	if (strcmp(text, "ALL") == 0 || (len <= 18 && strspn(text, "0123456789") == len))
		return 0;
	return err_set(err, ERR_USAGE, "'%s' is neither ALL nor the number of a contest", text);
}

static int check_node_id(const char *text, struct err *err)
{
	CLEAN(str) char *copy = xstrdup(text);

	if (identity_validate(copy, err) < 0)
		return err_set(err, ERR_USAGE, "%s", err ? err->msg : "");
	return 0;
}

static int check_one_of(const char *text, const char *const *words, size_t n, struct err *err)
{
	CLEAN(buf) struct buf list = BUF_INIT(0);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0)
			return 0;
		(void)buf_addf(&list, "%s%s", i ? ", " : "", words[i]);
	}
	return err_set(err, ERR_USAGE, "'%s' is none of: %s", text, buf_str(&list));
}

static int check_cms_format(const char *text, struct err *err)
{
	static const char *const words[] = { "auto", "toml", "json", "flat-toml" };

	return check_one_of(text, words, ARRAY_LEN(words), err);
}

static int check_log_level(const char *text, struct err *err)
{
	static const char *const words[] = { "error", "warning", "info", "debug" };

	return check_one_of(text, words, ARRAY_LEN(words), err);
}

static int check_log_format(const char *text, struct err *err)
{
	static const char *const words[] = { "text", "json" };

	return check_one_of(text, words, ARRAY_LEN(words), err);
}

static int check_names(const char *text, struct err *err)
{
	static const char *const words[] = { "on", "off" };

	return check_one_of(text, words, ARRAY_LEN(words), err);
}

static int check_zone(const char *text, struct err *err)
{
	return names_check_zone(text, err);
}

static int check_env(const char *text, struct err *err)
{
	size_t n = 0;

	while (text[n] == '_' || isalpha((unsigned char)text[n]) ||
	       (n && isdigit((unsigned char)text[n])))
		n++;
	if (n == 0 || text[n] != '=')
		return err_set(err, ERR_USAGE, "'%s' is not of the form NAME=VALUE", text);
	return 0;
}

static int check_role(const char *text, struct err *err)
{
	CLEAN(str) char *name = NULL;
	int count;

	if (role_parse(text, &name, &count, err) < 0)
		return err_set(err, ERR_USAGE, "%s", err ? err->msg : "");
	return 0;
}

/* ---- the table ---- */

#define MEMBER(name) offsetof(struct options, name)
#define LATER(name)                                         \
	{                                                   \
		name, KIND_LATER, 0, NULL, NULL, NULL, NULL \
	}

static const struct option table[] = {
	{ "config", KIND_TEXT, MEMBER(config), "FILE", NULL, NULL,
	  "settings file; /etc/cmsnoded.toml is read if it is there" },
	{ "etcd", KIND_LIST, MEMBER(etcd), "URL[,URL...]", "http://127.0.0.1:2379", check_url,
	  "etcd endpoints, all http:// or all https://" },
	{ "etcd-cacert", KIND_TEXT, MEMBER(etcd_cacert), "FILE", NULL, NULL,
	  "the CA of etcd's certificate (https://); else the system's CAs" },
	{ "etcd-cert", KIND_TEXT, MEMBER(etcd_cert), "FILE", NULL, NULL,
	  "this node's certificate for etcd (https://), with an empty CN" },
	{ "etcd-key", KIND_TEXT, MEMBER(etcd_key), "FILE", NULL, NULL, "its key" },
	{ "etcd-user", KIND_TEXT, MEMBER(etcd_user), "NAME", NULL, check_word, "user of etcd's" },
	{ "etcd-password-file", KIND_TEXT, MEMBER(etcd_password_file), "FILE", NULL, NULL,
	  "its first line is the user's password; read again when etcd wants it again" },
	{ "prefix", KIND_TEXT, MEMBER(prefix), "KEY", "/cms", check_prefix,
	  "key prefix of this cluster" },
	{ "standalone", KIND_TEXT, MEMBER(standalone), "FILE", NULL, NULL,
	  "no etcd: run what FILE (cms.toml or cms.conf) lists for this machine" },
	{ "role", KIND_LIST, MEMBER(roles), "ROLE[:N][,...]", NULL, check_role,
	  "what this node offers: core, worker[:N], contest-web[:N], ranking, or a CMS service; "
	  "repeatable" },
	{ "contest", KIND_TEXT, MEMBER(contest), "ID", "ALL", check_contest,
	  "contest of the contest-bound services of this node" },
	{ "cms-bin", KIND_TEXT, MEMBER(cms_bin), "DIR", NULL, NULL,
	  "directory of the cms* programs; else where cmsWorker is on PATH" },
	{ "cms-format", KIND_TEXT, MEMBER(cms_format), "FORMAT", "auto", check_cms_format,
	  "which files CMS on this node reads: toml, json, flat-toml (summer of 2025), or auto "
	  "(as the seed or the agreed configuration)" },
	{ "seed-config", KIND_TEXT, MEMBER(seed_config), "FILE", NULL, NULL,
	  "initial configuration, used only if the cluster has none" },
	{ "seed-ranking", KIND_TEXT, MEMBER(seed_ranking), "FILE", NULL, NULL,
	  "initial configuration of the rankings, with --seed-config" },
	{ "node-id", KIND_TEXT, MEMBER(node_id), "ID", NULL, check_node_id,
	  "identity of this node; else the saved one, else a random one that is saved" },
	{ "instance", KIND_TEXT, MEMBER(instance), "NAME", NULL, check_node_id,
	  "tells several nodes on one host apart; put behind the identity" },
	{ "address", KIND_TEXT, MEMBER(address), "WHAT", NULL, check_word,
	  "an address, an interface name, a CIDR, or reach:HOST; else chosen by evidence" },
	{ "address-settle", KIND_SECONDS, MEMBER(address_settle_s), "S", "5", NULL,
	  "quiet time before a changed network is acted on" },
	{ "names", KIND_TEXT, MEMBER(names), "on|off", "off", check_names,
	  "give CMS stable names of slots, kept in the hosts file, instead of addresses" },
	{ "zone", KIND_TEXT, MEMBER(zone), "NAME", NAMES_ZONE_DEFAULT, check_zone,
	  "the names' domain" },
	{ "hosts-file", KIND_TEXT, MEMBER(hosts_file), "FILE", "/etc/hosts", NULL,
	  "where the names are kept; what the services' resolver reads" },
	{ "state-dir", KIND_TEXT, MEMBER(state_dir), "DIR", "/var/lib/cmsnoded", NULL,
	  "identity and configurations are kept here" },
	{ "run-dir", KIND_TEXT, MEMBER(run_dir), "DIR", "/run/cmsnoded", NULL,
	  "control socket and output of the services" },
	{ "user", KIND_TEXT, MEMBER(user), "NAME", NULL, check_word,
	  "who the services run as; else cmsuser if it exists and we are root, else ourselves" },
	{ "env", KIND_LIST_WHOLE, MEMBER(env), "NAME=VALUE", NULL, check_env,
	  "environment of the services; repeatable" },
	{ "grace", KIND_SECONDS, MEMBER(grace_s), "S", "5", NULL, "from TERM to KILL, per unit" },
	{ "stop-budget", KIND_SECONDS, MEMBER(stop_budget_s), "S", "9", NULL,
	  "for all units together when the daemon stops" },
	{ "health-interval", KIND_SECONDS, MEMBER(health_interval_s), "S", "10", NULL,
	  "between two health probes of a service" },
	{ "log-level", KIND_TEXT, MEMBER(log_level), "LEVEL", "info", check_log_level,
	  "error, warning, info, or debug" },
	{ "log-format", KIND_TEXT, MEMBER(log_format), "FORMAT", "text", check_log_format,
	  "text or json" },
	{ "check", KIND_CHECK, MEMBER(action), NULL, NULL, NULL,
	  "read settings and configuration, choose address and identity, print them, start "
	  "nothing" },
	{ "facts-root", KIND_TEXT, MEMBER(facts_root), "DIR", "/", NULL,
	  "where machine facts are read (for tests)" },
	{ "help", KIND_HELP, MEMBER(action), NULL, NULL, NULL, "print this text" },
	{ "version", KIND_VERSION, MEMBER(action), NULL, NULL, NULL, "print the version" },

	LATER("limit-nofile"),
	LATER("umask"),
	LATER("start-parallel"),
	LATER("health-busy"),
	LATER("output-dir"),
	LATER("output-size"),
	LATER("output-files"),
	LATER("rpc-listen"),
	LATER("rpc-allow"),
	LATER("leave-on-stop"),
	LATER("drain-time"),
	LATER("on-topology-change"),
	LATER("init-database"),
	LATER("add-admin"),
	LATER("record-database"),
	LATER("record-secrets"),
	LATER("http"),
	LATER("check-state"),
};

/* ---- names in the spelling of each source ---- */

#define SPELLING_SIZE 64

static void spell(const struct option *option, enum source source, char ret[SPELLING_SIZE])
{
	const bool environment = source == SOURCE_ENVIRONMENT;
	const bool dashes = source == SOURCE_ARGUMENT;

	(void)snprintf(ret, SPELLING_SIZE, "%s%s",
		       environment ? ENV_PREFIX :
		       dashes	   ? "--" :
				     "",
		       option->name);
	for (char *p = ret; *p && !dashes; p++) {
		if (*p == '-')
			*p = '_';
		if (environment)
			*p = (char)toupper((unsigned char)*p);
	}
}

/* `name` has `len` bytes and is spelled as in that source, without "--". */
static const struct option *find(const char *name, size_t len, enum source source)
{
	const size_t skip = source == SOURCE_ARGUMENT ? 2 : 0;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char spelled[SPELLING_SIZE];

		spell(&table[i], source, spelled);
		if (strlen(spelled + skip) == len && memcmp(spelled + skip, name, len) == 0)
			return &table[i];
	}
	return NULL;
}

/*
 * Compared without the prefix that all names of the source share: it would make
 * everything look near.
 */
static const struct option *find_nearest(const char *name)
{
	const char *names[ARRAY_LEN(table)];
	CLEAN(str) char *word = xstrdup(name);

	str_lower(word);
	for (char *p = word; *p; p++)
		if (*p == '_')
			*p = '-';
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		names[i] = table[i].name;
	const char *nearest = str_nearest(word, names, ARRAY_LEN(table));

	return nearest ? find(nearest, strlen(nearest), SOURCE_ARGUMENT) : NULL;
}

/* `bare` is the name without what all names of the source begin with. */
static int refuse_unknown(enum source source, const char *what, const char *bare, struct err *err)
{
	static const char *const nouns[] = {
		[SOURCE_FILE] = "key",
		[SOURCE_ENVIRONMENT] = "environment variable",
		[SOURCE_ARGUMENT] = "option",
	};
	const struct option *nearest = find_nearest(bare);
	if (!nearest)
		return err_set(err, ERR_USAGE, "unknown %s '%.100s'; --help lists the options",
			       nouns[source], what);
	char spelled[SPELLING_SIZE];

	spell(nearest, source, spelled);
	return err_set(err, ERR_USAGE, "unknown %s '%.100s', did you mean '%s'?", nouns[source],
		       what, spelled);
}

/* ---- storing ---- */

struct origin {
	enum source source;
	int line; /* in the settings file */
};

struct reader {
	struct options options;
	struct origin origins[ARRAY_LEN(table)];
	const char *file_name;
	enum source source; /* the one that is being read */
	int line;
};

static inline void clean_reader(struct reader *reader)
{
	options_fini(&reader->options);
}

static struct origin *origin_of(struct reader *reader, const struct option *option)
{
	return &reader->origins[option - table];
}

static void *member_of(struct options *options, const struct option *option)
{
	return (char *)options + option->offset;
}

static void describe(const struct reader *reader, const struct option *option,
		     const struct origin *origin, char *ret, size_t size)
{
	char spelled[SPELLING_SIZE];

	spell(option, origin->source, spelled);
	if (origin->source == SOURCE_FILE)
		(void)snprintf(ret, size, "%s, line %d: %s", reader->file_name, origin->line,
			       spelled);
	else
		(void)snprintf(ret, size, "%s", spelled);
}

/* Puts where the value stands before the message. */
static int wrap(const struct reader *reader, const struct option *option, struct err *err)
{
	const struct origin here = { reader->source, reader->line };
	char where[512];

	describe(reader, option, &here, where, sizeof(where));
	(void)err_wrap(err, "%s", where);
	return ERR_USAGE;
}

/* Marks the option as set here; true if an earlier source had set it (or none had). */
static bool replaces(struct reader *reader, const struct option *option)
{
	struct origin *origin = origin_of(reader, option);
	const bool first = origin->source != reader->source;

	*origin = (struct origin){ reader->source, reader->line };
	return first;
}

/* A value of --env may hold anything; control characters elsewhere are always a mistake. */
static int check_text(const struct option *option, const char *text, struct err *err)
{
	if (!*text)
		return err_set(err, ERR_USAGE, "the value is empty");
	if (strlen(text) > TEXT_MAX)
		return err_set(err, ERR_USAGE, "the value is longer than %d bytes", TEXT_MAX);
	for (const char *p = text; *p && option->kind != KIND_LIST_WHOLE; p++)
		if (iscntrl((unsigned char)*p))
			return err_set(err, ERR_USAGE, "the value holds a control character");
	return option->check ? option->check(text, err) : 0;
}

static int add_item(const struct option *option, struct str_list *list, const char *item,
		    struct err *err)
{
	const int r = check_text(option, item, err);
	if (r < 0)
		return r;
	if (list->len >= LIST_MAX)
		return err_set(err, ERR_USAGE, "more than %d values", LIST_MAX);
	str_list_add(list, item);
	return 0;
}

static int add_items(const struct option *option, struct str_list *list, const char *text,
		     struct err *err)
{
	CLEAN(str_list) struct str_list items = { 0 };

	if (option->kind == KIND_LIST)
		str_list_split(&items, text, ',');
	if (items.len == 0)
		return add_item(option, list, option->kind == KIND_LIST ? "" : text, err);
	for (size_t i = 0; i < items.len; i++) {
		const int r = add_item(option, list, items.items[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int store_list(struct reader *reader, const struct option *option, const char *text,
		      struct err *err)
{
	struct str_list *list = member_of(&reader->options, option);

	if (replaces(reader, option))
		str_list_fini(list);
	return add_items(option, list, text, err);
}

static int store_text(struct reader *reader, const struct option *option, const char *text,
		      struct err *err)
{
	const int r = check_text(option, text, err);
	if (r < 0)
		return r;
	(void)replaces(reader, option);
	char **member = member_of(&reader->options, option);

	free(*member);
	*member = xstrdup(text);
	return 0;
}

static int store_number(struct reader *reader, const struct option *option, double seconds,
			struct err *err)
{
	/* Written so that NaN is refused too. */
	if (!(seconds >= 0 && seconds <= SECONDS_MAX))
		return err_set(err, ERR_USAGE, "must be from 0 to %.0f seconds", SECONDS_MAX);
	double *member = member_of(&reader->options, option);

	(void)replaces(reader, option);
	*member = seconds;
	return 0;
}

static int store_seconds(struct reader *reader, const struct option *option, const char *text,
			 struct err *err)
{
	/* Digits and one point only: strtod() would also take hexadecimal and "inf". */
	const size_t whole = strspn(text, "0123456789");
	const char *rest = text + whole;

	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (whole == 0 || *rest || rest - text > 32)
		return err_set(err, ERR_USAGE, "'%.64s' is not a number of seconds from 0 to %.0f",
			       text, SECONDS_MAX);
	return store_number(reader, option, strtod(text, NULL), err);
}

static void store_check(struct reader *reader, const struct option *option, bool yes)
{
	(void)replaces(reader, option);
	reader->options.action = yes ? OPTIONS_CHECK : OPTIONS_RUN;
}

static int store_bool(struct reader *reader, const struct option *option, const char *text,
		      struct err *err)
{
	static const char *const yes[] = { "true", "yes", "on", "1" };
	static const char *const no[] = { "false", "no", "off", "0" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			store_check(reader, option, strcmp(text, yes[i]) == 0);
			return 0;
		}
	}
	return err_set(err, ERR_USAGE, "'%.64s' is neither true nor false", text);
}

/* One value as text, from any source. */
static int store(struct reader *reader, const struct option *option, const char *text,
		 struct err *err)
{
	switch (option->kind) {
	case KIND_TEXT:
		return store_text(reader, option, text, err);
	case KIND_LIST:
	case KIND_LIST_WHOLE:
		return store_list(reader, option, text, err);
	case KIND_SECONDS:
		return store_seconds(reader, option, text, err);
	case KIND_CHECK:
		return store_bool(reader, option, text, err);
	case KIND_HELP:
	case KIND_VERSION:
		return err_set(err, ERR_USAGE, "is an option of the command line only");
	case KIND_LATER:
		return err_set(err, ERR_USAGE, "not in this version");
	}
	return 0;
}

/* ---- source: arguments ---- */

struct arguments {
	int argc;
	char *const *argv;
	int next;
};

static bool takes_value(const struct option *option)
{
	return option->kind != KIND_CHECK && option->kind != KIND_HELP &&
	       option->kind != KIND_VERSION;
}

/* The value behind "--name" or "--name="; *ret is NULL for an option that takes none. */
static int argument_value(struct arguments *arguments, const struct option *option,
			  const char *equals, const char **ret, struct err *err)
{
	*ret = NULL;
	if (option->kind == KIND_LATER)
		return err_set(err, ERR_USAGE, "--%s: not in this version", option->name);
	if (!takes_value(option) && equals)
		return err_set(err, ERR_USAGE, "--%s takes no value", option->name);
	if (!takes_value(option))
		return 0;
	if (equals) {
		*ret = equals + 1;
		return 0;
	}
	if (arguments->next >= arguments->argc ||
	    str_starts(arguments->argv[arguments->next], "--"))
		return err_set(err, ERR_USAGE, "--%s needs a value: --%s %s", option->name,
			       option->name, option->argument);
	*ret = arguments->argv[arguments->next++];
	return 0;
}

/* The next option and its value: 1, or 0 behind the last one. */
static int next_argument(struct arguments *arguments, const struct option **ret,
			 const char **ret_value, struct err *err)
{
	if (arguments->next >= arguments->argc)
		return 0;
	const char *argument = arguments->argv[arguments->next++];
	if (!str_starts(argument, "--") || !argument[2])
		return err_set(err, ERR_USAGE,
			       "unexpected argument '%.100s': options begin with --, see --help",
			       argument);
	const char *name = argument + 2;
	const char *equals = strchr(name, '=');
	const size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct option *option = find(name, len, SOURCE_ARGUMENT);
	if (!option) {
		CLEAN(str) char *bare = xstrndup(name, len);
		CLEAN(str) char *whole = xasprintf("--%s", bare);

		return refuse_unknown(SOURCE_ARGUMENT, whole, bare, err);
	}
	const int r = argument_value(arguments, option, equals, ret_value, err);
	if (r < 0)
		return r;
	*ret = option;
	return 1;
}

bool options_have_names(const struct options *options)
{
	return str_eq(options->names, "on");
}

int options_look_ahead(int argc, char *const argv[], enum options_action *ret, struct err *err)
{
	struct arguments arguments = { argc, argv, 1 };
	const struct option *option;
	const char *value;
	int r = next_argument(&arguments, &option, &value, err);

	while (r > 0) {
		if (option->kind == KIND_HELP || option->kind == KIND_VERSION) {
			*ret = option->kind == KIND_HELP ? OPTIONS_HELP : OPTIONS_VERSION;
			return 0;
		}
		r = next_argument(&arguments, &option, &value, err);
	}
	if (r == 0)
		*ret = OPTIONS_RUN;
	return r;
}

static int read_arguments(struct reader *reader, int argc, char *const argv[], struct err *err)
{
	struct arguments arguments = { argc, argv, 1 };
	const struct option *option;
	const char *value;
	int r = next_argument(&arguments, &option, &value, err);

	reader->source = SOURCE_ARGUMENT;
	while (r > 0) {
		if (option->kind == KIND_CHECK)
			store_check(reader, option, true);
		else if (store(reader, option, value, err) < 0)
			return wrap(reader, option, err);
		r = next_argument(&arguments, &option, &value, err);
	}
	return r;
}

/* ---- source: environment ---- */

static int read_variable(struct reader *reader, const char *entry, struct err *err)
{
	const char *equals = strchrnul(entry, '=');
	const size_t len = (size_t)(equals - entry);
	const struct option *option = find(entry, len, SOURCE_ENVIRONMENT);
	if (!option) {
		CLEAN(str) char *name = xstrndup(entry, len);

		return refuse_unknown(SOURCE_ENVIRONMENT, name, name + strlen(ENV_PREFIX), err);
	}
	/* As getenv() does: of two entries with one name the first counts. */
	if (origin_of(reader, option)->source == SOURCE_ENVIRONMENT)
		return 0;
	if (store(reader, option, *equals ? equals + 1 : "", err) < 0)
		return wrap(reader, option, err);
	return 0;
}

static int read_environment(struct reader *reader, char *const environment[], struct err *err)
{
	reader->source = SOURCE_ENVIRONMENT;
	for (size_t i = 0; environment && environment[i]; i++) {
		/* CMSNODE_SHARED is not a setting: our tests find their data by it. */
		if (!str_starts(environment[i], ENV_PREFIX) ||
		    str_starts(environment[i], ENV_PREFIX "SHARED="))
			continue;
		const int r = read_variable(reader, environment[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- source: settings file ---- */

static int wrong_type(const struct value *value, const char *wanted, struct err *err)
{
	return err_set(err, ERR_USAGE, "must be %s, but is of type %s", wanted,
		       value_type_name(value->type));
}

static int store_string_value(struct reader *reader, const struct option *option,
			      const struct value *value, struct err *err)
{
	if (strlen(value->text) != value->text_len)
		return err_set(err, ERR_USAGE, "the value holds a control character");
	return store(reader, option, value->text, err);
}

static int store_array_value(struct reader *reader, const struct option *option,
			     const struct value *value, struct err *err)
{
	/* An empty array replaces what weaker sources say, too. */
	if (replaces(reader, option))
		str_list_fini(member_of(&reader->options, option));
	for (size_t i = 0; i < value->array.len; i++) {
		const struct value *item = value->array.items[i];

		if (item->type != VALUE_STRING)
			return wrong_type(item, "an array of strings", err);
		const int r = store_string_value(reader, option, item, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int store_text_value(struct reader *reader, const struct option *option,
			    const struct value *value, struct err *err)
{
	/* A contest's number may be written as one. */
	if (option->check == check_contest && value->type == VALUE_INT) {
		CLEAN(str) char *digits = xasprintf("%lld", (long long)value->integer);

		return store(reader, option, digits, err);
	}
	if (value->type != VALUE_STRING)
		return wrong_type(value, "a string", err);
	return store_string_value(reader, option, value, err);
}

static int store_list_value(struct reader *reader, const struct option *option,
			    const struct value *value, struct err *err)
{
	if (value->type == VALUE_ARRAY)
		return store_array_value(reader, option, value, err);
	if (value->type != VALUE_STRING)
		return wrong_type(value, "a string or an array of strings", err);
	return store_string_value(reader, option, value, err);
}

static int store_seconds_value(struct reader *reader, const struct option *option,
			       const struct value *value, struct err *err)
{
	if (value->type == VALUE_INT)
		return store_number(reader, option, (double)value->integer, err);
	if (value->type == VALUE_FLOAT)
		return store_number(reader, option, value->number, err);
	return wrong_type(value, "a number of seconds", err);
}

static int store_value(struct reader *reader, const struct option *option,
		       const struct value *value, struct err *err)
{
	switch (option->kind) {
	case KIND_TEXT:
		if (option->offset == MEMBER(config))
			return err_set(err, ERR_USAGE, "a settings file cannot name another one");
		return store_text_value(reader, option, value, err);
	case KIND_LIST:
	case KIND_LIST_WHOLE:
		return store_list_value(reader, option, value, err);
	case KIND_SECONDS:
		return store_seconds_value(reader, option, value, err);
	case KIND_CHECK:
		if (value->type != VALUE_BOOL)
			return wrong_type(value, "true or false", err);
		store_check(reader, option, value->boolean);
		return 0;
	case KIND_HELP:
	case KIND_VERSION:
	case KIND_LATER:
		return store(reader, option, "", err);
	}
	return 0;
}

static int read_file(struct reader *reader, const struct value *file, struct err *err)
{
	reader->source = SOURCE_FILE;
	if (!file)
		return 0;
	if (file->type != VALUE_TABLE) {
		(void)wrong_type(file, "a table", err);
		(void)err_wrap(err, "%s", reader->file_name);
		return ERR_USAGE;
	}
	for (size_t i = 0; i < file->table.len; i++) {
		const struct value_member *member = &file->table.members[i];
		const struct option *option = find(member->key, strlen(member->key), SOURCE_FILE);

		reader->line = member->value->line;
		if (!option) {
			(void)refuse_unknown(SOURCE_FILE, member->key, member->key, err);
			(void)err_wrap(err, "%s, line %d", reader->file_name, reader->line);
			return ERR_USAGE;
		}
		if (store_value(reader, option, member->value, err) < 0)
			return wrap(reader, option, err);
	}
	return 0;
}

/* ---- the whole ---- */

static void set_defaults(struct reader *reader)
{
	reader->source = SOURCE_DEFAULT;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].fallback)
			(void)store(reader, &table[i], table[i].fallback, NULL);
}

/* What cannot stand beside --standalone, and why. */
static int check_standalone(struct reader *reader, struct err *err)
{
	static const struct {
		const char *name, *why;
	} refused[] = {
		{ "etcd", "a standalone node uses no etcd" },
		{ "etcd-cacert", "a standalone node uses no etcd" },
		{ "etcd-cert", "a standalone node uses no etcd" },
		{ "etcd-key", "a standalone node uses no etcd" },
		{ "etcd-user", "a standalone node uses no etcd" },
		{ "etcd-password-file", "a standalone node uses no etcd" },
		{ "seed-config",
		  "a standalone node's configuration is its FILE, it needs no seed" },
		{ "role", "a standalone node runs what its FILE lists for this machine" },
	};
	const struct option *standalone = find("standalone", strlen("standalone"), SOURCE_ARGUMENT);

	if (!reader->options.standalone)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		const struct option *option =
			find(refused[i].name, strlen(refused[i].name), SOURCE_ARGUMENT);
		char here[512];
		char there[512];

		if (origin_of(reader, option)->source <= SOURCE_DEFAULT)
			continue;
		describe(reader, option, origin_of(reader, option), here, sizeof(here));
		describe(reader, standalone, origin_of(reader, standalone), there, sizeof(there));
		return err_set(err, ERR_USAGE, "%s cannot be given together with %s: %s", here,
			       there, refused[i].why);
	}
	str_list_fini(&reader->options.etcd); /* the default is not meant either */
	return 0;
}

static const char *const short_roles[][2] = {
	{ "worker", "Worker" },
	{ "contest-web", "ContestWebServer" },
	{ "ranking", "RankingWebServer" },
};

/* "worker" and "Worker" are the same wish: with two counts it would be a riddle. */
static char *role_service(const char *role)
{
	CLEAN(str) char *name = NULL;
	int count;

	(void)role_parse(role, &name, &count, NULL);
	for (size_t i = 0; i < ARRAY_LEN(short_roles); i++)
		if (str_eq(name, short_roles[i][0]))
			return xstrdup(short_roles[i][1]);
	return steal(name);
}

static int check_roles(struct reader *reader, struct err *err)
{
	CLEAN(str_list) struct str_list seen = { 0 };
	const struct option *option = find("role", strlen("role"), SOURCE_ARGUMENT);

	for (size_t i = 0; i < reader->options.roles.len; i++) {
		CLEAN(str) char *service = role_service(reader->options.roles.items[i]);

		if (str_list_has(&seen, service)) {
			char where[512];

			describe(reader, option, origin_of(reader, option), where, sizeof(where));
			return err_set(err, ERR_USAGE,
				       "%s: '%s' is given twice, give it once with the whole count",
				       where, reader->options.roles.items[i]);
		}
		str_list_add(&seen, service);
	}
	return 0;
}

static int misses(struct reader *reader, const char *name, const char *what, struct err *err)
{
	const struct option *option = find(name, strlen(name), SOURCE_ARGUMENT);
	char where[512];

	describe(reader, option, origin_of(reader, option), where, sizeof(where));
	return err_set(err, ERR_USAGE, "%s %s", where, what);
}

/* Of --etcd and what goes with it. */
static int check_etcd_security(struct reader *reader, struct err *err)
{
	const struct options *o = &reader->options;
	const struct {
		const char *name, *value, *partner_name, *partner;
	} pairs[] = {
		{ "etcd-cert", o->etcd_cert, "--etcd-key", o->etcd_key },
		{ "etcd-key", o->etcd_key, "--etcd-cert", o->etcd_cert },
		{ "etcd-user", o->etcd_user, "--etcd-password-file", o->etcd_password_file },
		{ "etcd-password-file", o->etcd_password_file, "--etcd-user", o->etcd_user },
	};
	const bool tls = str_starts(o->etcd.items[0], "https://");

	for (size_t i = 1; i < o->etcd.len; i++)
		if (str_starts(o->etcd.items[i], "https://") != tls)
			return misses(reader, "etcd", "must be all http:// or all https://", err);
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		CLEAN(str) char *what = xasprintf("needs %s, too", pairs[i].partner_name);

		if (pairs[i].value && !pairs[i].partner)
			return misses(reader, pairs[i].name, what, err);
	}
	if (!tls && o->etcd_cacert)
		return misses(reader, "etcd-cacert", "is for https:// endpoints", err);
	if (!tls && o->etcd_cert)
		return misses(reader, "etcd-cert", "is for https:// endpoints", err);
	return 0;
}

static int check_etcd(struct reader *reader, struct err *err)
{
	const struct option *option = find("etcd", strlen("etcd"), SOURCE_ARGUMENT);
	char where[512];

	if (reader->options.standalone)
		return 0;
	if (reader->options.etcd.len)
		return check_etcd_security(reader, err);
	describe(reader, option, origin_of(reader, option), where, sizeof(where));
	return err_set(err, ERR_USAGE, "%s: at least one URL is needed (or --standalone FILE)",
		       where);
}

static int check_together(struct reader *reader, struct err *err)
{
	int r = check_standalone(reader, err);
	if (r == 0)
		r = check_etcd(reader, err);
	if (r == 0)
		r = check_roles(reader, err);
	return r;
}

void options_fini(struct options *options)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		switch (table[i].kind) {
		case KIND_TEXT:
			free(*(char **)member_of(options, &table[i]));
			break;
		case KIND_LIST:
		case KIND_LIST_WHOLE:
			str_list_fini(member_of(options, &table[i]));
			break;
		case KIND_SECONDS:
		case KIND_CHECK:
		case KIND_HELP:
		case KIND_VERSION:
		case KIND_LATER:
			break;
		}
	}
	*options = (struct options){ 0 };
}

int options_find_config(int argc, char *const argv[], char *const environment[], char **ret,
			struct err *err)
{
	CLEAN(reader) struct reader reader = { .source = SOURCE_ENVIRONMENT };
	const struct option *config = find("config", strlen("config"), SOURCE_ARGUMENT);
	struct arguments arguments = { argc, argv, 1 };
	const struct option *option;
	const char *value;

	for (size_t i = 0; environment && environment[i]; i++) {
		if (!str_starts(environment[i], ENV_PREFIX "CONFIG="))
			continue;
		const int r = read_variable(&reader, environment[i], err);
		if (r < 0)
			return r;
	}
	reader.source = SOURCE_ARGUMENT;
	int r = next_argument(&arguments, &option, &value, err);

	while (r > 0) {
		if (option == config && store(&reader, option, value, err) < 0)
			return wrap(&reader, option, err);
		r = next_argument(&arguments, &option, &value, err);
	}
	if (r == 0)
		*ret = steal(reader.options.config);
	return r;
}

int options_parse(int argc, char *const argv[], char *const environment[], const struct value *file,
		  const char *file_name, struct options *ret, struct err *err)
{
	CLEAN(reader) struct reader reader = { 0 };
	enum options_action early;
	int r = options_look_ahead(argc, argv, &early, err);
	if (r < 0)
		return r;
	reader.file_name = file_name ? file_name : "settings file";
	set_defaults(&reader);
	if (early == OPTIONS_RUN) {
		r = read_file(&reader, file, err);
		if (r == 0)
			r = read_environment(&reader, environment, err);
		if (r == 0)
			r = read_arguments(&reader, argc, argv, err);
		if (r == 0)
			r = check_together(&reader, err);
		if (r < 0)
			return r;
	} else {
		reader.options.action = early;
	}
	*ret = reader.options;
	reader.options = (struct options){ 0 };
	return 0;
}

/* ---- help ---- */

#define HELP_INDENT 28
#define HELP_WIDTH 79

/* Words of `text` up to the right margin; further lines are indented. */
static void add_wrapped(struct buf *buf, const char *text)
{
	size_t column = HELP_INDENT;

	while (*text) {
		const size_t len = strcspn(text, " ");

		if (column > HELP_INDENT && column + 1 + len > HELP_WIDTH) {
			(void)buf_addf(buf, "\n%*s", HELP_INDENT, "");
			column = HELP_INDENT;
		} else if (column > HELP_INDENT) {
			(void)buf_adds(buf, " ");
			column++;
		}
		(void)buf_add(buf, text, len);
		column += len;
		text += len + (text[len] == ' ');
	}
}

static void add_option_help(struct buf *buf, const struct option *option)
{
	const char *argument = option->argument ? option->argument : "";
	const char *blank = option->argument ? " " : "";
	CLEAN(str) char *left = xasprintf("  --%s%s%s", option->name, blank, argument);
	CLEAN(str) char *right = xstrdup(option->help);

	if (option->fallback) {
		free(right);
		right = xasprintf("%s (default %s)", option->help, option->fallback);
	}

	(void)buf_addf(buf, "%-*s", HELP_INDENT, left);
	if (strlen(left) >= HELP_INDENT)
		(void)buf_addf(buf, "\n%*s", HELP_INDENT, "");
	add_wrapped(buf, right);
	(void)buf_adds(buf, "\n");
}

char *options_help(void)
{
	CLEAN(buf) struct buf buf = BUF_INIT(0);

	(void)buf_adds(&buf,
		       "Usage: cmsnoded [OPTION]...\n"
		       "Runs this machine's share of a CMS cluster and keeps it running.\n\n");
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].kind != KIND_LATER)
			add_option_help(&buf, &table[i]);
	(void)buf_adds(
		&buf,
		"\nEvery option is also an environment variable (--run-dir: CMSNODE_RUN_DIR) and "
		"a\n"
		"key of the settings file (run_dir). An option counts before the environment,\n"
		"and that before the file. See cmsnoded(8) and cmsnoded.toml(5).\n");
	return buf_steal(&buf);
}

/* ---- roles ---- */

static int refuse_role(const char *name, struct err *err)
{
	const char *names[ARRAY_LEN(short_roles) + 1 + CATALOGUE_COUNT] = { "core" };
	size_t n = 1;

	for (size_t i = 0; i < ARRAY_LEN(short_roles); i++)
		names[n++] = short_roles[i][0];
	for (int i = 0; i < CATALOGUE_COUNT; i++)
		names[n++] = catalogue_at((enum catalogue_index)i)->name;
	const char *nearest = str_nearest(name, names, n);
	if (nearest)
		return err_set(err, -EINVAL, "unknown role '%.64s', did you mean '%s'?", name,
			       nearest);
	return err_set(
		err, -EINVAL,
		"unknown role '%.64s': roles are core, worker[:N], contest-web[:N], ranking, "
		"or a CMS service such as Checker",
		name);
}

/* How many of it a node may offer; 0: it takes no count; -1: there is no such role. */
static int role_count_max(const char *name)
{
	const struct catalogue_service *service = catalogue_find(name);

	if (strcmp(name, "core") == 0 || strcmp(name, "ranking") == 0)
		return 0;
	if (strcmp(name, "worker") == 0 || strcmp(name, "contest-web") == 0)
		return ROLE_COUNT_MAX;
	if (!service)
		return -1;
	return service->singleton ? 1 : ROLE_COUNT_MAX;
}

int role_parse(const char *text, char **ret_name, int *ret_count, struct err *err)
{
	const char *colon = strchrnul(text, ':');
	CLEAN(str) char *name = xstrndup(text, (size_t)(colon - text));
	const int max = role_count_max(name);
	int64_t count = -1;

	if (max < 0)
		return refuse_role(name, err);
	if (*colon && max == 0)
		return err_set(err, -EINVAL, "role '%s' takes no count, write '%s'", name, name);
	/* str_to_int64() alone would take a sign, too. */
	if (*colon &&
	    (!isdigit((unsigned char)colon[1]) || str_to_int64(colon + 1, 1, max, &count) < 0))
		return err_set(
			err, -EINVAL, "role '%s': the count '%.20s' is not %s", name, colon + 1,
			max == 1 ? "1 (it runs once in a cluster)" : "a number from 1 to 512");
	*ret_name = steal(name);
	*ret_count = (int)count;
	return 0;
}
