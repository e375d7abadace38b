/* SPDX-License-Identifier: MIT */
/*
 * Tells what a conversion loses and what it silently sets to another default. Which
 * key a format knows stands in keys.def, what the writers do with unknown ones in
 * cms_file.h and ranking_file.h; a test holds this file to both. Defaults and reasons
 * are those of CMS's sources. Must never show a value.
 */
#include "cmsnode/config/conversion.h"

#include <stdbool.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/validate.h"

#define PRINTING "CMS 1.6 does not print"
#define DATABASE "each contest has this setting of its own in the database since CMS 1.3"

/* What a known key meant that some format does not have, and what takes its place. */
static const struct {
	const char *path;
	const char *meaning;
} meanings[] = {
	{ "global.cmsuser",
	  "the owner of what CMS writes; CMS 1.6 leaves it to the user it runs as" },
	{ "services.PrintingService", PRINTING },
	{ "sandbox.use_cgroups", "CMS 1.6 always uses control groups" },
	{ "web_server.iso_codes_prefix",
	  "where the names of countries and languages were looked up" },
	{ "web_server.shared_mime_info_prefix", "where the names of file types were looked up" },
	{ "contest_web_server.is_proxy_used",
	  "true is contest_web_server.num_proxies_used = 1, false is 0" },
	{ "contest_web_server.ip_lock", DATABASE },
	{ "contest_web_server.block_hidden_users", DATABASE },
	{ "contest_web_server.allow_questions", DATABASE },
	{ "contest_web_server.contest_admin_token",
	  "administrators cannot act as a contestant before CMS of July 2025" },
	{ "printing_service.max_print_length", PRINTING },
	{ "printing_service.printer", PRINTING },
	{ "printing_service.paper_size", PRINTING },
	{ "printing_service.max_pages_per_job", PRINTING },
	{ "printing_service.max_jobs_per_user", PRINTING },
	{ "printing_service.pdf_printing_allowed", PRINTING },
	{ "ranking.timeout", "nothing reads it any more" },
	{ "ranking.web_dir", "CMS 1.6 serves the pages of its own package" },
	{ "ranking.public.show_id_column", "only the scoreboard of CMS 1.6 can show the ids" },
};

/*
 * Keys that are in both formats with another default in each, as words of a sentence.
 * num_proxies_used is null in the old ones, which is 0 there unless is_proxy_used is true.
 */
static const struct {
	const char *path;
	const char *defaults[3]; /* by enum cms_format */
	const char *service; /* of interest only where this one is listed; NULL: always */
	const char *only_if; /* this key is true; NULL: always */
} defaults[] = {
#define DEFAULT(path_, json_, flat_, toml_, ...)          \
	{ .path = (path_),                                \
	  .defaults = { [CMS_FORMAT_JSON] = (json_),      \
			[CMS_FORMAT_FLAT_TOML] = (flat_), \
			[CMS_FORMAT_TOML] = (toml_) },    \
	  __VA_ARGS__ },
#define VENV(folder) "the folder " folder " of CMS's virtual environment"
	DEFAULT("global.log_dir", "/var/local/log/cms", VENV("log"),
		VENV("log")) DEFAULT("global.cache_dir", "/var/local/cache/cms", VENV("cache"),
				     VENV("cache")) DEFAULT("global.data_dir", "/var/local/lib/cms",
							    VENV("lib"), VENV("lib"))
		DEFAULT("global.run_dir", "/var/local/run/cms", VENV("run"), VENV("run")) DEFAULT(
			"database.url", "the database cms on localhost",
			"the database cms on localhost", "none, so that CMS refuses to start")
			DEFAULT("worker.keep_sandbox", "true", "true", "false") DEFAULT(
				"contest_web_server.listen_address",
				"[\"\"], which is every address", "[\"\"], which is every address",
				"[\"127.0.0.1\"]") DEFAULT("contest_web_server.num_proxies_used",
							   "1, from is_proxy_used",
							   "1, from is_proxy_used", "0",
							   .only_if =
								   "contest_web_server.is_proxy_used")
				DEFAULT("admin_web_server.listen_address",
					"\"\", which is every address",
					"\"\", which is every address",
					"\"127.0.0.1\"") DEFAULT("proxy_service.rankings",
								 "one ranking at localhost:8890",
								 "one ranking at localhost:8890",
								 "no ranking")
					DEFAULT("prometheus.listen_address",
						"none, so that PrometheusExporter ends",
						"\"127.0.0.1\"", "\"127.0.0.1\"",
						.service = "PrometheusExporter")
						DEFAULT("prometheus.listen_port",
							"none, so that PrometheusExporter ends",
							"8811", "8811",
							.service = "PrometheusExporter")
							DEFAULT("ranking.bind_address",
								"\"\", which is every address",
								"\"\", which is every address",
								"\"127.0.0.1\"")
								DEFAULT("ranking.log_dir",
									"/var/local/log/cms/ranking",
									VENV("log/ranking"),
									VENV("log/ranking"))
									DEFAULT("ranking.lib_dir",
										"/var/local/lib/cms/ranking",
										VENV("lib/ranking"),
										VENV("lib/ranking"))
};

struct conversion {
	const struct value *document;
	enum cms_format from, to;
	struct findings *findings;
};

#define report(conversion, path, ...) \
	findings_add((conversion)->findings, false, (path), __VA_ARGS__)

static bool is_flat(enum cms_format format)
{
	return format != CMS_FORMAT_TOML;
}

/* ---- What is lost ---- */

static void report_unknown_to(const struct conversion *conversion, const char *path)
{
	const char *meaning = NULL;

	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (str_eq(meanings[i].path, path))
			meaning = meanings[i].meaning;
	report(conversion, path, "is lost: %s does not know it%s%s",
	       cms_format_versions(conversion->to), meaning ? "; " : "", meaning ? meaning : "");
}

static bool holds_date(const struct value *value)
{
	if (value->type == VALUE_ARRAY) {
		for (size_t i = 0; i < value->array.len; i++)
			if (holds_date(value->array.items[i]))
				return true;
	} else if (value->type == VALUE_TABLE) {
		for (size_t i = 0; i < value->table.len; i++)
			if (holds_date(value->table.members[i].value))
				return true;
	}
	return value->type == VALUE_DATETIME;
}

static void check_kept(const struct conversion *conversion, const char *path,
		       const struct value *value)
{
	if (conversion->to == CMS_FORMAT_JSON && holds_date(value))
		report(conversion, path,
		       "is changed: JSON has no dates and times, so they become strings");
}

static void check_known(const struct conversion *conversion, const struct config_key *key,
			const struct value *value)
{
	if (!config_key_is_in(key, conversion->to))
		report_unknown_to(conversion, key->path);
	else if (conversion->to == CMS_FORMAT_TOML && value->type == VALUE_STRING &&
		 str_eq(key->path, "sandbox.sandbox_implementation") &&
		 !str_eq(value->text, "isolate"))
		report(conversion, key->path,
		       "is ignored: CMS 1.6 has no sandbox but isolate; leave it out");
	else
		check_kept(conversion, key->path, value);
}

/* A key of table "global" that nobody knows is one of the flat file, unless its name is taken. */
static void check_unknown(const struct conversion *conversion, const char *path, const char *table,
			  const char *name, const struct value *value)
{
	if (!is_flat(conversion->to))
		return;
	if (!str_eq(table, "global"))
		report(conversion, path,
		       "is lost: nobody knows it, and a flat file has unknown keys of global only");
	else if (name[0] == '_')
		report(conversion, path, "is lost: a flat file takes it for a comment");
	else if (config_key_find_flat(name) || str_eq(name, "core_services") ||
		 str_eq(name, "other_services"))
		report(conversion, path, "is lost: in a flat file this is the name of another key");
	else
		check_kept(conversion, path, value);
}

static void check_service(const struct conversion *conversion, const char *table, const char *name)
{
	CLEAN(str) char *path = xasprintf("%s.%s", table, name);
	const struct config_key *key = config_key_find(path);

	if (key && !config_key_is_in(key, conversion->to))
		report_unknown_to(conversion, path);
	else if (!is_flat(conversion->to) && str_eq(table, "other_services"))
		report(conversion, path,
		       "is lost: CMS 1.6 has no other_services; its own services never used them");
	else if (is_flat(conversion->to) && name[0] == '_')
		report(conversion, path, "is lost: a flat file takes it for a comment");
}

static void check_member(const struct conversion *conversion, const char *table,
			 const struct value_member *member)
{
	CLEAN(str) char *path = xasprintf("%s.%s", table, member->key);
	const struct config_key *key = config_key_find(path);

	if (str_eq(table, "services") || str_eq(table, "other_services"))
		check_service(conversion, table, member->key);
	else if (key)
		check_known(conversion, key, member->value);
	else
		check_unknown(conversion, path, table, member->key, member->value);
}

/* ---- The ranking's file ---- */

static void check_public(const struct conversion *conversion, const struct value_member *table)
{
	const bool is_table = table->value->type == VALUE_TABLE;

	if (!is_flat(conversion->to))
		return;
	if (!is_table)
		report_unknown_to(conversion, "ranking.public");
	for (size_t i = 0; is_table && i < table->value->table.len; i++) {
		CLEAN(str)
		char *path = xasprintf("ranking.public.%s", table->value->table.members[i].key);

		report_unknown_to(conversion, path);
	}
}

static void check_ranking_member(const struct conversion *conversion,
				 const struct value_member *member)
{
	CLEAN(str) char *path = xasprintf("ranking.%s", member->key);
	const struct config_key *key = config_key_find(path);

	if (str_eq(member->key, "public"))
		check_public(conversion, member);
	else if (!key && is_flat(conversion->to))
		report(conversion, path,
		       "is lost: nobody knows it, and the older RankingWebServers end at one");
	else if (conversion->to != CMS_FORMAT_JSON && str_eq(path, "ranking.http_port") &&
		 member->value->type == VALUE_INT && member->value->integer == 0)
		report(conversion, path,
		       "is lost: TOML has no word for no plain HTTP, so RankingWebServer will "
		       "listen at its default port 8890; ranking.bind_address can keep others away");
	else if (key)
		check_known(conversion, key, member->value);
}

static void check_table(const struct conversion *conversion, const char *name,
			const struct value *table)
{
	const bool ranking = str_eq(name, "ranking");

	if (table->type != VALUE_TABLE) {
		if (is_flat(conversion->to))
			report(conversion, name,
			       "is lost: it stands outside of any table, and a flat file has no "
			       "place for it");
		return;
	}
	for (size_t i = 0; i < table->table.len; i++) {
		if (ranking)
			check_ranking_member(conversion, &table->table.members[i]);
		else
			check_member(conversion, name, &table->table.members[i]);
	}
}

/* ---- Other defaults ---- */

static bool is_true(const struct value *value)
{
	return value && value->type == VALUE_BOOL && value->boolean;
}

static bool lists_service(const struct value *document, const char *service)
{
	const struct value *shards = value_get(value_get(document, "services"), service);

	return shards && shards->type == VALUE_ARRAY && shards->array.len;
}

/* "ranking.x" is found like any other: value_get_path() parts at the first dot. */
static void check_default(const struct conversion *conversion, size_t i)
{
	const struct value *document = conversion->document;
	const char *path = defaults[i].path;
	const char *before = defaults[i].defaults[conversion->from];
	const char *after = defaults[i].defaults[conversion->to];

	if (str_eq(before, after) || value_get_path(document, path) ||
	    (str_starts(path, "ranking.") && !value_get(document, "ranking")) ||
	    (defaults[i].service && !lists_service(document, defaults[i].service)) ||
	    (defaults[i].only_if && !is_true(value_get_path(document, defaults[i].only_if))))
		return;
	report(conversion, path,
	       "is not set, and its default changes from %s to %s; set it to choose", before,
	       after);
}

void config_conversion(const struct value *document, enum cms_format from, enum cms_format to,
		       struct findings *findings)
{
	const struct conversion conversion = { document, from, to, findings };

	for (size_t i = 0; i < document->table.len; i++)
		check_table(&conversion, document->table.members[i].key,
			    document->table.members[i].value);
	for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
		check_default(&conversion, i);
}
