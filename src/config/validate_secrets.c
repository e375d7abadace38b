/* SPDX-License-Identifier: MIT */
/*
 * Secrets: strong enough for CMS, and not the ones that its sample files ship,
 * which everybody knows. Must never show one.
 */
#include "validate_internal.h"

#include <string.h>
#include <strings.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define PUBLISHED_SECRET_KEY "8e045a51e4b102ea803c06f92841a1fb"

/* Of the sample files of CMS 1.2 to 1.6. */
static const char *const published_passwords[] = { "your_password_here", "password", "passw0rd" };

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

static bool is_published_password(const char *password, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(published_passwords); i++)
		if (strlen(published_passwords[i]) == len &&
		    memcmp(published_passwords[i], password, len) == 0)
			return true;
	return false;
}

static bool url_has_published_password(const struct value *url)
{
	if (url->type != VALUE_STRING)
		return false;
	const char *authority = strstr(url->text, "://");
	if (!authority)
		return false;
	authority += strlen("://");
	const char *colon = strchr(authority, ':');
	const char *at = colon ? strchr(colon, '@') : NULL;

	return at && is_published_password(colon + 1, (size_t)(at - colon - 1));
}

static void report_published(const char *key, const char *where, struct findings *findings)
{
	add_warning(
		findings, key,
		"%shas the password of CMS's sample file, which everybody knows; choose another",
		where);
}

static void check_passwords(const struct value *document, struct findings *findings)
{
	const struct value *database = value_get_path(document, "database.url");
	const struct value *rankings = value_get_path(document, "proxy_service.rankings");
	const struct value *ranking = value_get_path(document, "ranking.password");

	if (database && url_has_published_password(database))
		report_published("database.url", "", findings);
	for (size_t i = 0; i < validate_list_len(rankings); i++) {
		CLEAN(str) char *where = xasprintf("element %zu: ", i);

		if (url_has_published_password(rankings->array.items[i]))
			report_published("proxy_service.rankings", where, findings);
	}
	if (ranking && ranking->type == VALUE_STRING &&
	    is_published_password(ranking->text, ranking->text_len))
		report_published("ranking.password", "", findings);
}

void validate_secrets(const struct validation *validation)
{
	check_secret_key(validation->document, validation->findings);
	check_passwords(validation->document, validation->findings);
}
