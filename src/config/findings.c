/* SPDX-License-Identifier: MIT */
/*
 * The list of what is wrong with a configuration, with a ceiling: errors push
 * warnings out, so that none is hidden by them.
 */
#include "cmsnode/config/validate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define MAX_FINDINGS 500 /* a hostile document shall not fill the memory with complaints */

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

bool findings_have(const struct findings *findings, const struct finding *finding)
{
	for (size_t i = 0; i < findings->len; i++) {
		const struct finding *other = &findings->items[i];

		if (other->is_error == finding->is_error && str_eq(other->key, finding->key) &&
		    str_eq(other->text, finding->text))
			return true;
	}
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
