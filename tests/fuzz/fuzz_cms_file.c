/* SPDX-License-Identifier: MIT */
/*
 * Any text as CMS's main file: what is read can be written in both formats, and
 * in its own one reading and writing it again changes nothing more.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/json_conf.h"
#include "cmsnode/config/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const char *text)
{
	(void)fprintf(stderr, "%s:\n%s\n", what, text);
	abort();
}

static void check_message(const struct err *err)
{
	if (err->msg[0] == '\0')
		die("refused without a message", "");
	if (value_utf8_span(err->msg, strlen(err->msg)) != strlen(err->msg))
		die("message that is not UTF-8", err->msg);
}

/* PrintingService ended with CMS 1.6, so cms.toml may be left without any service. */
static int has_services(const struct value *document, enum cms_format format)
{
	const struct value *services = value_get(document, "services");
	const size_t ended =
		format == CMS_FORMAT_TOML && value_get(services, "PrintingService") ? 1 : 0;
	size_t hidden = 0;

	for (size_t i = 0; i < services->table.len; i++)
		hidden += format == CMS_FORMAT_JSON && services->table.members[i].key[0] == '_';
	return services->table.len > ended + hidden;
}

static void check_format(const struct value *document, enum cms_format format)
{
	CLEAN(str) char *text = cms_file_write(document, format);
	CLEAN(value) struct value *again = NULL;
	enum cms_format found;
	struct err err = { 0 };

	/* Escapes may make it longer than what may be read. */
	if (!has_services(document, format) || strlen(text) > JSON_CONF_MAX_SIZE)
		return;
	if (cms_file_parse(text, strlen(text), &found, &again, &err) < 0)
		die(err.msg, text);
	if (found != format)
		die("taken for the other format", text);
	CLEAN(str) char *text_again = cms_file_write(again, format);

	if (strcmp(text_again, text) != 0)
		die("written twice it differs", text);
}

static void check_findings(const struct value *document, enum cms_format format)
{
	const struct validate_context context = { .format = format,
						  .cluster = true,
						  .ephemeral_first = 20000,
						  .ephemeral_last = 60999 };
	CLEAN(findings) struct findings findings = { 0 };

	config_validate(document, &context, &findings);
	for (size_t i = 0; i < findings.len; i++)
		if (value_utf8_span(findings.items[i].text, strlen(findings.items[i].text)) !=
		    strlen(findings.items[i].text))
			die("finding that is not UTF-8", findings.items[i].text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(value) struct value *document = NULL;
	enum cms_format format;
	struct err err = { 0 };

	if (cms_file_parse((const char *)data, size, &format, &document, &err) < 0) {
		check_message(&err);
		return 0;
	}
	check_format(document, format);
	/* The other format lacks some of TOML's types and names; it must only be written. */
	CLEAN(str)
	char *other = cms_file_write(document,
				     format == CMS_FORMAT_JSON ? CMS_FORMAT_TOML : CMS_FORMAT_JSON);

	if (*other == '\0')
		die("nothing written", "");
	check_findings(document, format);
	return 0;
}
