/* SPDX-License-Identifier: MIT */
/*
 * Checks of a canonical document before anything moves: what would make a CMS
 * service refuse to start. All findings are reported, not only the first. Pure.
 */
#ifndef CMSNODE_CONFIG_VALIDATE_H
#define CMSNODE_CONFIG_VALIDATE_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/config/cms_file.h"

struct str_list;
struct value;

struct finding {
	bool is_error;	/* else a warning */
	char *key;	/* "database.url" */
	char *text;	/* what is wrong and what to do; never shows a secret */
};

struct findings {
	struct finding *items;
	size_t len;
	size_t cap;
};

void findings_fini(struct findings *findings);
static inline void clean_findings(struct findings *findings)
{
	findings_fini(findings);
}
bool findings_have_errors(const struct findings *findings);
/* Is an equal one among them? */
bool findings_have(const struct findings *findings, const struct finding *finding);
void findings_add(struct findings *findings, bool is_error, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Where the document will be used, as far as it is known. */
struct validate_context {
	enum cms_format format;	/* who reads it */
	bool cluster;		/* several machines, so that loopback means another one on each */
	/* this machine's ip_local_port_range; both 0 = not known */
	int ephemeral_first, ephemeral_last;
	/* names, not "localhost", that this machine's hosts file maps to 127.0.0.0/8; or NULL */
	const struct str_list *loopback_names;
};

/*
 * Appends to *findings. `document` is canonical, with `services` (as it would be rendered, or as
 * an operator wrote it). Errors do not depend on the machine that asks: only warnings use its
 * ports and names. context NULL: cms.toml, and nothing else is known.
 *
 * Errors: required keys (database.url), types of known keys, mandatory services (LogService,
 * EvaluationService, ScoringService), a services table of the wrong shape, singletons with several
 * shards, two RPC ports equal on a host, ports out of range, listen lists shorter than the shards,
 * Worker shards equal modulo 64 (flat: 100) on a host, rankings without ProxyService, a printer
 * without PrintingService (flat), half a table telegram_bot, a PrometheusExporter without
 * its keys (cms.conf), secret_key, psycopg2 URL, a ranking without buffer, certificate or any port.
 * Warnings: unknown keys with the nearest known one, published sample secrets, ports of the
 * ephemeral range, one host spelt in two ways, loopback in a cluster, names that mean loopback
 * here, an HTTP port that another service has.
 */
void config_validate(const struct value *document, const struct validate_context *context,
		     struct findings *findings);

/* The same for the table "ranking" alone, as ranking_file_parse() gives it. */
void config_validate_ranking(const struct value *ranking, const struct validate_context *context,
			     struct findings *findings);

/* Two Workers of one machine whose shards are equal modulo this share isolate's sandboxes. */
size_t config_worker_boxes(enum cms_format format);

/* web_server.secret_key as CMS's sample files ship it, so that everybody knows it. */
bool config_secret_is_published(const char *secret_key);

#endif
