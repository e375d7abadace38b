/* SPDX-License-Identifier: MIT */
/*
 * What would make a CMS service refuse to start, found before anything moves.
 * CMS itself notices most of it late, in one service after the other. One small
 * function a rule; a rule reports and goes on. Must never show a secret.
 */
#include "cmsnode/config/validate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/topology/catalogue.h"

#define MAX_FINDINGS 500 /* a hostile document shall not fill the memory with complaints */
#define MAX_SHOWN 60 /* bytes of a value in a message */

/* CMS's sample files have it, so everybody knows it. */
#define PUBLISHED_SECRET_KEY "8e045a51e4b102ea803c06f92841a1fb"

/* Vacant slots are rendered with this address, where nothing listens. */
#define VACANT_ADDRESS "127.255.255.254"

/* ---- Findings ---- */

static void finding_fini(struct finding *finding)
{
	free(finding->key);
	free(finding->text);
}

void findings_fini(struct findings *findings)
{
	for (size_t i = 0; i < findings->len; i++)
		finding_fini(&findings->items[i]);
	free(findings->items);
	*findings = (struct findings){ 0 };
}

bool findings_have_errors(const struct findings *findings)
{
	for (size_t i = 0; i < findings->len; i++)
		if (findings->items[i].is_error)
			return true;
	return false;
}

/* Makes room when the ceiling is reached; false: this finding is one too many. */
static bool make_room(struct findings *findings, bool is_error)
{
	if (findings->len < MAX_FINDINGS)
		return true;
	if (!is_error || findings_have_errors(findings))
		return false;
	finding_fini(&findings->items[--findings->len]);
	return true;
}

void findings_add(struct findings *findings, bool is_error, const char *key, const char *fmt, ...)
{
	if (!make_room(findings, is_error))
		return;
	va_list args;
	char *text = NULL;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	GROW(findings->items, findings->len, findings->cap);
	findings->items[findings->len++] = (struct finding){ is_error, xstrdup(key), text };
}

#define add_error(findings, key, ...) findings_add((findings), true, (key), __VA_ARGS__)
#define add_warning(findings, key, ...) findings_add((findings), false, (key), __VA_ARGS__)

/* ---- Values in messages ---- */

/* Masked and cut to a size that fits a sentence; the caller frees. */
static char *shown(const char *path, const struct value *value)
{
	CLEAN(value) struct value *masked = config_mask(path, value);
	CLEAN(str) char *text = value_to_json(masked);
	if (strlen(text) <= MAX_SHOWN)
		return steal(text);

	/* Not through the middle of a character. */
	return xasprintf("%.*s...", (int)value_utf8_span(text, MAX_SHOWN), text);
}

/* ---- Types ---- */

/* CMS's tolerance: an integer does for a float. A boolean passes for both; rarely meant. */
static bool type_fits(enum value_type wanted, enum value_type found)
{
	return wanted == found || (wanted == VALUE_FLOAT && found == VALUE_INT);
}

static bool is_number(enum value_type type)
{
	return type == VALUE_INT || type == VALUE_FLOAT;
}

static bool has_nul(const struct value *value)
{
	return value->type == VALUE_STRING && strlen(value->text) != value->text_len;
}

static const char *type_remedy(enum value_type wanted, enum value_type found)
{
	if (wanted == VALUE_ARRAY)
		return ": put it in [ ]";
	if (found == VALUE_ARRAY || found == VALUE_TABLE)
		return "";
	if (wanted == VALUE_STRING)
		return ": put it in quotes";
	return found == VALUE_STRING ? ": write it without quotes" : "";
}

static void check_one_type(const char *path, const char *where, enum value_type wanted,
			   const struct value *value, struct findings *findings)
{
	CLEAN(str) char *text = shown(path, value);

	if (wanted != VALUE_ARRAY && is_number(wanted) && value->type == VALUE_BOOL)
		add_warning(findings, path, "%s%s is a boolean; CMS takes it for %d: write %s",
			    where, text, value->boolean, config_type_phrase(wanted));
	else if (!type_fits(wanted, value->type))
		add_error(findings, path, "%s%s is %s, CMS wants %s%s", where, text,
			  config_type_phrase(value->type), config_type_phrase(wanted),
			  type_remedy(wanted, value->type));
	else if (has_nul(value))
		add_error(findings, path, "%sholds a NUL character; take it out", where);
}

static void check_type(const struct config_key *key, const struct value *value,
		       struct findings *findings)
{
	check_one_type(key->path, "", key->type, value, findings);
	if (key->type != VALUE_ARRAY || value->type != VALUE_ARRAY)
		return;
	for (size_t i = 0; i < value->array.len; i++) {
		CLEAN(str) char *where = xasprintf("element %zu: ", i);

		check_one_type(key->path, where, key->item, value->array.items[i], findings);
	}
}

/* ---- Known and unknown keys ---- */

static void report_unknown(const char *path, struct findings *findings)
{
	const char *nearest = config_key_nearest(path);

	if (nearest)
		add_warning(findings, path,
			    "is not a key of CMS, which will ignore it; did you mean %s?", nearest);
	else
		add_warning(findings, path,
			    "is not a key of CMS, which will ignore it; check the name");
}

/* Is there a known key "<path>.<something>"? */
static bool is_table_path(const char *path)
{
	const size_t len = strlen(path);

	for (size_t i = 0; i < config_key_count(); i++) {
		const char *known = config_key_at(i)->path;

		if (strncmp(known, path, len) == 0 && known[len] == '.')
			return true;
	}
	return false;
}

static void check_members(const char *path, const struct value *table, struct findings *findings);

static void check_key(const char *path, const struct value *value, struct findings *findings)
{
	const struct config_key *key = config_key_find(path);

	if (key)
		check_type(key, value, findings);
	else if (!is_table_path(path))
		report_unknown(path, findings);
	else if (value->type == VALUE_TABLE)
		check_members(path, value, findings);
	else
		add_error(findings, path, "is %s, CMS wants a table ([%s] in cms.toml)",
			  config_type_phrase(value->type), path);
}

static void check_members(const char *path, const struct value *table, struct findings *findings)
{
	for (size_t i = 0; i < table->table.len; i++) {
		CLEAN(str) char *inner = xasprintf("%s.%s", path, table->table.members[i].key);

		check_key(inner, table->table.members[i].value, findings);
	}
}

static void report_unknown_table(const struct value_member *member, struct findings *findings)
{
	if (member->value->type == VALUE_TABLE && member->value->table.len)
		check_members(member->key, member->value, findings);
	else
		report_unknown(member->key, findings);
}

static void check_keys(const struct value *document, struct findings *findings)
{
	for (size_t i = 0; i < document->table.len; i++) {
		const struct value_member *member = &document->table.members[i];

		if (str_eq(member->key, "services") || str_eq(member->key, "other_services"))
			continue;
		if (is_table_path(member->key))
			check_key(member->key, member->value, findings);
		else
			report_unknown_table(member, findings);
	}
}

/* ---- The services table ---- */

/* The well-formed entry (service, shard), or NULL. */
static const struct value *entry_at(const struct value *document, const char *service, size_t shard)
{
	const struct value *shards = value_get(value_get(document, "services"), service);
	if (!shards || shards->type != VALUE_ARRAY || shard >= shards->array.len)
		return NULL;
	const struct value *entry = shards->array.items[shard];

	return cms_file_entry_flaw(entry) ? NULL : entry;
}

static size_t list_len(const struct value *list)
{
	return list && list->type == VALUE_ARRAY ? list->array.len : 0;
}

static size_t shard_count(const struct value *document, const char *service)
{
	return list_len(value_get(value_get(document, "services"), service));
}

static void report_unknown_service(const char *key, const char *name, struct findings *findings)
{
	const char *names[CATALOGUE_COUNT];

	for (int i = 0; i < CATALOGUE_COUNT; i++)
		names[i] = catalogue_at((enum catalogue_index)i)->name;
	const char *nearest = str_nearest(name, names, CATALOGUE_COUNT);

	if (nearest)
		add_warning(findings, key,
			    "is not a service of CMS, nothing will run for it; did you mean %s?",
			    nearest);
	else
		add_warning(findings, key,
			    "is not a service of CMS, nothing will run for it; take it out");
}

static void check_service(const char *name, const struct value *shards, struct findings *findings)
{
	CLEAN(str) char *key = xasprintf("services.%s", name);
	const struct catalogue_service *service = catalogue_find(name);

	if (!service)
		report_unknown_service(key, name, findings);
	else if (!service->listed)
		add_warning(findings, key,
			    "is never looked up in services; take it out and give a node the role "
			    "for it");
	if (shards->type != VALUE_ARRAY) {
		add_error(findings, key, "is %s, CMS wants a list of [\"host\", port]",
			  config_type_phrase(shards->type));
		return;
	}
	for (size_t i = 0; i < shards->array.len; i++) {
		const char *flaw = cms_file_entry_flaw(shards->array.items[i]);

		if (flaw) {
			CLEAN(str) char *text = shown(key, shards->array.items[i]);

			add_error(findings, key, "shard %zu: %s %s", i, text, flaw);
		}
	}
	if (service && service->singleton && shards->array.len > 1)
		add_error(findings, key,
			  "has %zu shards; the other services only ever talk to shard 0: keep one",
			  shards->array.len);
}

static void check_services(const struct value *document, struct findings *findings)
{
	const struct value *services = value_get(document, "services");
	if (!services) {
		add_error(findings, "services",
			  "is missing; CMS cannot start without the table that says where each "
			  "service runs");
		return;
	}
	if (services->type != VALUE_TABLE) {
		add_error(findings, "services", "is %s, CMS wants a table ([services] in cms.toml)",
			  config_type_phrase(services->type));
		return;
	}
	for (size_t i = 0; i < services->table.len; i++)
		check_service(services->table.members[i].key, services->table.members[i].value,
			      findings);
}

static void check_mandatory_services(const struct value *document, struct findings *findings)
{
	static const struct {
		const char *service;
		const char *who;
	} rows[] = {
		{ "LogService", "every service refuses" },
		{ "EvaluationService", "AdminWebServer and ContestWebServer refuse" },
		{ "ScoringService",
		  "AdminWebServer, ContestWebServer and EvaluationService refuse" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (shard_count(document, rows[i].service))
			continue;
		CLEAN(str) char *key = xasprintf("services.%s", rows[i].service);

		add_error(findings, key,
			  "is missing; %s to start without an entry, even if the service itself "
			  "does not run",
			  rows[i].who);
	}
}

/* ---- One host, one port, one listener ---- */

struct claim {
	const char *host;
	int64_t port;
	const char *service;
	size_t shard;
	bool http; /* an HTTP port, which may be bound to another address than the RPC port */
	size_t order; /* in the document */
};

struct claims {
	struct claim *items;
	size_t len;
	size_t cap;
};

static void claims_add(struct claims *claims, const struct value *entry, const char *service,
		       size_t shard, const struct value *http_port)
{
	if (!entry || (http_port && http_port->type != VALUE_INT))
		return;
	const char *host = entry->array.items[0]->text;
	if (str_eq(host, VACANT_ADDRESS))
		return;
	GROW(claims->items, claims->len, claims->cap);
	claims->items[claims->len] = (struct claim){
		.host = host,
		.port = http_port ? http_port->integer : entry->array.items[1]->integer,
		.service = service,
		.shard = shard,
		.http = http_port != NULL,
		.order = claims->len,
	};
	claims->len++;
}

static void collect_rpc_ports(const struct value *document, struct claims *claims)
{
	const struct value *services = value_get(document, "services");
	if (!services || services->type != VALUE_TABLE)
		return;
	for (size_t i = 0; i < services->table.len; i++) {
		const char *name = services->table.members[i].key;
		const struct catalogue_service *service = catalogue_find(name);
		if (!service || !service->rpc)
			continue;
		const size_t shards = shard_count(document, name);

		for (size_t k = 0; k < shards; k++)
			claims_add(claims, entry_at(document, name, k), name, k, NULL);
	}
}

static void collect_http_ports(const struct value *document, struct claims *claims)
{
	const struct value *admin = value_get_path(document, "admin_web_server.listen_port");
	const struct value *exporter = value_get_path(document, "prometheus.listen_port");
	const struct value *contest = value_get_path(document, "contest_web_server.listen_port");

	if (admin)
		claims_add(claims, entry_at(document, "AdminWebServer", 0), "AdminWebServer", 0,
			   admin);
	if (exporter)
		claims_add(claims, entry_at(document, "PrometheusExporter", 0),
			   "PrometheusExporter", 0, exporter);
	for (size_t k = 0; k < list_len(contest); k++)
		claims_add(claims, entry_at(document, "ContestWebServer", k), "ContestWebServer", k,
			   contest->array.items[k]);
}

static bool same_port(const struct claim *a, const struct claim *b)
{
	return a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

static int compare_claims(const void *left, const void *right)
{
	const struct claim *a = left;
	const struct claim *b = right;

	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	const int hosts = strcasecmp(a->host, b->host);
	if (hosts)
		return hosts;
	return a->order < b->order ? -1 : 1;
}

static void report_same_port(const struct claim *first, const struct claim *second,
			     struct findings *findings)
{
	const bool http = first->http || second->http;
	const char *unless = http ? "unless they listen on different addresses, " : "";
	CLEAN(str) char *key = xasprintf("services.%s", second->service);

	findings_add(findings, !http, key,
		     "shard %zu has %s:%lld%s, which is also the %s port of %s,%zu; "
		     "%sthe one that starts later fails: change one port",
		     second->shard, second->host, (long long)second->port,
		     second->http ? " as its HTTP port" : "", first->http ? "HTTP" : "RPC",
		     first->service, first->shard, unless);
}

static void check_ports_distinct(const struct value *document, struct findings *findings)
{
	struct claims claims = { 0 };

	collect_rpc_ports(document, &claims);
	collect_http_ports(document, &claims);
	if (claims.len)
		qsort(claims.items, claims.len, sizeof(claims.items[0]), compare_claims);
	for (size_t i = 1; i < claims.len; i++)
		if (same_port(&claims.items[i - 1], &claims.items[i]))
			report_same_port(&claims.items[i - 1], &claims.items[i], findings);
	free(claims.items);
}

static void check_port_range(const char *path, const struct value *port, struct findings *findings)
{
	if (port && port->type == VALUE_INT && (port->integer < 1 || port->integer > 65535))
		add_error(findings, path, "%lld is not a port; write one from 1 to 65535",
			  (long long)port->integer);
}

static void check_listen_ports(const struct value *document, struct findings *findings)
{
	static const char *const paths[] = { "admin_web_server.listen_port",
					     "prometheus.listen_port", "ranking.http_port",
					     "ranking.https_port" };
	const struct value *contest = value_get_path(document, "contest_web_server.listen_port");

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		check_port_range(paths[i], value_get_path(document, paths[i]), findings);
	for (size_t i = 0; i < list_len(contest); i++)
		check_port_range("contest_web_server.listen_port", contest->array.items[i],
				 findings);
}

/* ---- Keys that need each other ---- */

static void check_listen_list(const struct value *document, const char *path,
			      struct findings *findings)
{
	const struct value *list = value_get_path(document, path);
	const size_t shards = shard_count(document, "ContestWebServer");
	if (list && list->type != VALUE_ARRAY)
		return;
	/* CMS's default has one element. */
	const size_t len = list ? list->array.len : 1;

	if (len < shards)
		add_error(findings, path,
			  "%s %zu element%s for %zu shards of ContestWebServer; shard k needs "
			  "element k, so add %zu",
			  list ? "has" : "is not set, and CMS's default has", len,
			  len == 1 ? "" : "s", shards, shards - len);
}

static void check_listen_lists(const struct value *document, struct findings *findings)
{
	check_listen_list(document, "contest_web_server.listen_address", findings);
	check_listen_list(document, "contest_web_server.listen_port", findings);
}

static void check_rankings(const struct value *document, struct findings *findings)
{
	const size_t rankings = list_len(value_get_path(document, "proxy_service.rankings"));

	if (rankings && !shard_count(document, "ProxyService"))
		add_error(findings, "proxy_service.rankings",
			  "names %zu ranking%s, but services.ProxyService is missing: "
			  "AdminWebServer, ContestWebServer and "
			  "ScoringService refuse to start; add a ProxyService or empty the list",
			  rankings, rankings == 1 ? "" : "s");
}

/* A warning: CMS 1.6 has no printing, and the version that will read this is not known here. */
static void check_printer(const struct value *document, struct findings *findings)
{
	if (value_get_path(document, "printing_service.printer") &&
	    !shard_count(document, "PrintingService"))
		add_warning(findings, "printing_service.printer",
			    "is set, but services.PrintingService is missing: up to CMS 1.5 "
			    "ContestWebServer refuses to start; "
			    "add a PrintingService or unset the printer");
}

static void check_telegram(const struct value *document, struct findings *findings)
{
	static const char *const names[] = { "bot_token", "chat_id" };
	const struct value *table = value_get(document, "telegram_bot");
	if (!table || table->type != VALUE_TABLE)
		return;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (value_get(table, names[i]))
			continue;
		CLEAN(str) char *key = xasprintf("telegram_bot.%s", names[i]);

		add_error(findings, key,
			  "is missing; CMS refuses to start with a half-filled table telegram_bot: "
			  "set bot_token and chat_id, or neither");
	}
}

/* ---- Single keys ---- */

bool config_secret_is_published(const char *secret_key)
{
	return strcasecmp(secret_key, PUBLISHED_SECRET_KEY) == 0;
}

static void check_secret_key(const struct value *document, struct findings *findings)
{
	static const char path[] = "web_server.secret_key";
	const struct value *secret = value_get_path(document, path);
	if (secret && secret->type != VALUE_STRING)
		return;
	if (!secret)
		add_warning(findings, path,
			    "is not set, so CMS uses one that everybody knows; set 32 random "
			    "hexadecimal digits");
	else if (!str_is_hex(secret->text, 32))
		add_error(findings, path,
			  "is not 32 hexadecimal digits; the web servers end at the first start "
			  "with it: "
			  "make one with 'openssl rand -hex 16'");
	else if (config_secret_is_published(secret->text))
		add_warning(findings, path,
			    "is the one of CMS's sample file, which everybody knows; "
			    "make one with 'openssl rand -hex 16'");
}

/* Large objects need psycopg2, which is what "postgresql://" alone means to SQLAlchemy. */
static void check_database_url(const struct value *document, struct findings *findings)
{
	static const char path[] = "database.url";
	static const char example[] = "postgresql+psycopg2://USER:PASSWORD@HOST:5432/DATABASE";
	const struct value *url = value_get_path(document, path);
	if (!url) {
		add_error(findings, path, "is missing; CMS cannot start without it: set it to %s",
			  example);
		return;
	}
	if (url->type != VALUE_STRING || str_starts(url->text, "postgresql+psycopg2://") ||
	    str_starts(url->text, "postgresql://"))
		return;
	CLEAN(str) char *text = shown(path, url);

	if (str_starts(url->text, "postgres://"))
		add_warning(findings, path,
			    "%s begins with postgres://, which newer SQLAlchemy refuses; write %s",
			    text, example);
	else
		add_error(findings, path,
			  "%s is not a psycopg2 URL, and CMS works with psycopg2 only; write %s",
			  text, example);
}

void config_validate(const struct value *document, struct findings *findings)
{
	static void (*const rules[])(const struct value *, struct findings *) = {
		check_database_url,   check_services,	  check_mandatory_services,
		check_ports_distinct, check_listen_ports, check_listen_lists,
		check_rankings,	      check_printer,	  check_telegram,
		check_secret_key,     check_keys,
	};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		rules[i](document, findings);
}
