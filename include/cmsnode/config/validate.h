/* SPDX-License-Identifier: MIT */
/*
 * Checks of a canonical document before anything moves: what would make a CMS
 * service refuse to start. All findings are reported, not only the first. Pure.
 */
#ifndef CMSNODE_CONFIG_VALIDATE_H
#define CMSNODE_CONFIG_VALIDATE_H

#include <stdbool.h>
#include <stddef.h>

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
void findings_add(struct findings *findings, bool is_error, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Appends to *findings. `document` is canonical, with `services` (as it would
 * be rendered). So far: required keys (database.url), types of known keys,
 * mandatory services (LogService, EvaluationService, ScoringService), rankings
 * without ProxyService, secret_key, psycopg2 URL, singletons with several
 * shards, unknown keys with the nearest known one (warning).
 */
void config_validate(const struct value *document, struct findings *findings);

/* web_server.secret_key as CMS's sample files ship it, so that everybody knows it. */
bool config_secret_is_published(const char *secret_key);

#endif
