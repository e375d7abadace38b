/* SPDX-License-Identifier: MIT */
/*
 * What would make a CMS service refuse to start, found before anything moves.
 * CMS itself notices most of it late, in one service after the other. One small
 * function a rule; a rule reports and goes on. Must never show a secret.
 */
#include "validate_internal.h"

#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/keys.h"

#define MAX_SHOWN 60 /* bytes of a value in a message */

/* ---- Values in messages ---- */

char *validate_shown(const char *path, const struct value *value)
{
	CLEAN(value) struct value *masked = config_mask(path, value);
	CLEAN(str) char *text = value_to_json(masked);
	if (strlen(text) <= MAX_SHOWN)
		return steal(text);

	/* Not through the middle of a character. */
	return xasprintf("%.*s...", (int)value_utf8_span(text, MAX_SHOWN), text);
}

/* ---- Keys that need each other ---- */

static void check_listen_list(const struct value *document, const char *path,
			      struct findings *findings)
{
	const struct value *list = value_get_path(document, path);
	const size_t shards = validate_shard_count(document, "ContestWebServer");
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
	const size_t rankings =
		validate_list_len(value_get_path(document, "proxy_service.rankings"));

	if (rankings && !validate_shard_count(document, "ProxyService"))
		add_error(findings, "proxy_service.rankings",
			  "names %zu ranking%s, but services.ProxyService is missing: "
			  "AdminWebServer, ContestWebServer and "
			  "ScoringService refuse to start; add a ProxyService or empty the list",
			  rankings, rankings == 1 ? "" : "s");
}

/* CMS 1.6 has no printing, and what reads cms.toml is no other. */
static void check_printer(const struct validation *validation)
{
	const struct value *document = validation->document;

	if (value_get_path(document, "printing_service.printer") &&
	    !validate_shard_count(document, "PrintingService"))
		findings_add(validation->findings, validation->context->format != CMS_FORMAT_TOML,
			     "printing_service.printer",
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

/* CMS 1.5 reads them from the file only: there is no default to fall back to. */
static void check_exporter(const struct validation *validation)
{
	static const char *const paths[] = { "prometheus.listen_address",
					     "prometheus.listen_port" };

	if (validation->context->format != CMS_FORMAT_JSON ||
	    !validate_shard_count(validation->document, "PrometheusExporter"))
		return;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (!value_get_path(validation->document, paths[i]))
			add_error(validation->findings, paths[i],
				  "is missing; PrometheusExporter of CMS 1.5 has no default for it "
				  "and ends at once: set %s",
				  i ? "a port such as 8811" : "an address such as \"127.0.0.1\"");
}

static void check_bot(const struct value *document, struct findings *findings)
{
	if (validate_shard_count(document, "TelegramBot") && !value_get(document, "telegram_bot"))
		add_error(
			findings, "telegram_bot",
			"is missing, but services.TelegramBot is there: the bot ends at once; set "
			"telegram_bot.bot_token and telegram_bot.chat_id, or take the service out");
}

/* ---- Single keys ---- */

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
	CLEAN(str) char *text = validate_shown(path, url);

	if (str_starts(url->text, "postgres://"))
		add_warning(findings, path,
			    "%s begins with postgres://, which newer SQLAlchemy refuses; write %s",
			    text, example);
	else
		add_error(findings, path,
			  "%s is not a psycopg2 URL, and CMS works with psycopg2 only; write %s",
			  text, example);
}

/* ---- Ranking's own file ---- */

static void check_ranking(const struct value *document, struct findings *findings)
{
	const struct value *size = value_get_path(document, "ranking.buffer_size");
	const struct value *ranking = value_get(document, "ranking");

	if (ranking && value_get_int(document, "ranking.http_port", 8890) == 0 &&
	    !value_get(ranking, "https_port"))
		add_error(
			findings, "ranking.http_port",
			"is 0 for no plain HTTP, and there is no HTTPS either, so RankingWebServer "
			"ends at once: set ranking.http_port or ranking.https_port");
	if (size && size->type == VALUE_INT && size->integer < 1)
		add_error(findings, "ranking.buffer_size",
			  "is %lld; RankingWebServer refuses to start: set 1 or more, such as 100",
			  (long long)size->integer);
	if (value_get(ranking, "https_port") &&
	    (!value_get(ranking, "https_certfile") || !value_get(ranking, "https_keyfile")))
		add_error(findings, "ranking.https_port",
			  "is set without a certificate; RankingWebServer ends at once: set "
			  "ranking.https_certfile and ranking.https_keyfile, or unset the port");
}

/* ---- All of them ---- */

static void check_relations(const struct validation *validation)
{
	static void (*const rules[])(const struct value *, struct findings *) = {
		check_database_url, check_listen_lists, check_rankings,
		check_telegram,	    check_bot,		check_ranking,
	};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		rules[i](validation->document, validation->findings);
	check_printer(validation);
	check_exporter(validation);
}

void config_validate(const struct value *document, const struct validate_context *context,
		     struct findings *findings)
{
	static const struct validate_context nothing_known = { .format = CMS_FORMAT_TOML };
	static void (*const rules[])(const struct validation *) = {
		validate_services, validate_ports,   validate_hosts,
		check_relations,   validate_secrets, validate_keys,
	};
	const struct validation validation = { document, context ? context : &nothing_known,
					       findings };

	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		rules[i](&validation);
}

void config_validate_ranking(const struct value *ranking, const struct validate_context *context,
			     struct findings *findings)
{
	CLEAN(value) struct value *document = value_new_table();
	CLEAN(findings) struct findings all = { 0 };

	value_set(document, "ranking", value_clone(ranking));
	config_validate(document, context, &all);
	for (size_t i = 0; i < all.len; i++)
		if (str_starts(all.items[i].key, "ranking"))
			findings_add(findings, all.items[i].is_error, all.items[i].key, "%s",
				     all.items[i].text);
}
