/* SPDX-License-Identifier: MIT */
/*
 * Any text as CMS's main file and as the ranking's: what is read can be written in all
 * formats; in its own one reading and writing it again changes nothing, and in another
 * one what comes back differs in nothing that the report of the conversion leaves out.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/conversion.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/json_conf.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/ranking_file.h"
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

#define FORMATS 3

/* Writing may leave no service: comments, or PrintingService, which ended with CMS 1.6. */
static bool has_services(const struct value *document, enum cms_format format)
{
	const struct value *services = value_get(document, "services");

	for (size_t i = 0; i < services->table.len; i++) {
		const char *name = services->table.members[i].key;

		if (format == CMS_FORMAT_TOML ? !str_eq(name, "PrintingService") : name[0] != '_')
			return true;
	}
	return false;
}

/* JSON has neither dates nor, as we read it, the character NUL. */
static bool fits_json(const struct value *value)
{
	if (value->type == VALUE_ARRAY) {
		for (size_t i = 0; i < value->array.len; i++)
			if (!fits_json(value->array.items[i]))
				return false;
	} else if (value->type == VALUE_TABLE) {
		for (size_t i = 0; i < value->table.len; i++)
			if (!fits_json(value->table.members[i].value))
				return false;
	}
	return value->type != VALUE_STRING || strlen(value->text) == value->text_len;
}

/* Escapes and the names of many tables may make it longer than what may be read. */
static bool is_readable(const struct value *document, enum cms_format format, const char *text)
{
	return strlen(text) <= JSON_CONF_MAX_SIZE &&
	       (format != CMS_FORMAT_JSON || fits_json(document));
}

static struct value *read_main(const char *text, enum cms_format format)
{
	struct value *document = NULL;
	enum cms_format found;
	struct err err = { 0 };

	if (cms_file_parse(text, strlen(text), &found, &document, &err) < 0)
		die(err.msg, text);
	if (found != format)
		die("taken for another format", text);
	return document;
}

static bool is_named(const struct findings *findings, const char *path)
{
	for (size_t i = 0; i < findings->len; i++)
		if (str_eq(findings->items[i].key, path))
			return true;
	return false;
}

/* Known keys of the main file; the unit test looks at the others. */
static void check_losses(const struct value *before, const struct value *after,
			 enum cms_format from, enum cms_format to)
{
	CLEAN(findings) struct findings findings = { 0 };

	config_conversion(before, from, to, &findings);
	for (size_t i = 0; i < config_key_count() && findings.len < 500; i++) {
		const char *path = config_key_at(i)->path;
		const struct value *value = value_get_path(before, path);
		if (!value || str_starts(path, "ranking."))
			continue;
		const struct value *kept = value_get_path(after, path);

		if ((!kept || !value_equal(value, kept)) && !is_named(&findings, path))
			die("lost without a word", path);
	}
}

static void check_format(const struct value *document, enum cms_format from, enum cms_format to)
{
	CLEAN(str) char *text = cms_file_write(document, to);
	if (!has_services(document, to) || !is_readable(document, to, text))
		return;
	CLEAN(value) struct value *again = read_main(text, to);
	CLEAN(str) char *text_again = cms_file_write(again, to);

	if (strcmp(text_again, text) != 0)
		die("written twice it differs", text);
	check_losses(document, again, from, to);
}

static void check_ranking(const struct value *ranking, enum cms_format format)
{
	CLEAN(str) char *text = ranking_file_write(ranking, format);
	CLEAN(value) struct value *again = NULL;
	enum cms_format found;
	struct err err = { 0 };

	if (!is_readable(ranking, format, text))
		return;
	if (ranking_file_parse(text, strlen(text), &found, &again, &err) < 0)
		die(err.msg, text);
	CLEAN(str) char *text_again = ranking_file_write(again, format);

	if (strcmp(text_again, text) != 0)
		die("the ranking written twice differs", text);
}

static void check_findings(const struct value *document, enum cms_format format)
{
	const struct validate_context context = {
		.format = format, .cluster = true, .ephemeral_first = 20000, .ephemeral_last = 60999
	};
	CLEAN(findings) struct findings findings = { 0 };

	config_validate(document, &context, &findings);
	for (size_t i = 0; i < findings.len; i++)
		if (value_utf8_span(findings.items[i].text, strlen(findings.items[i].text)) !=
		    strlen(findings.items[i].text))
			die("finding that is not UTF-8", findings.items[i].text);
}

static void fuzz_main_file(const char *text, size_t len)
{
	CLEAN(value) struct value *document = NULL;
	enum cms_format format;
	struct err err = { 0 };

	if (cms_file_parse(text, len, &format, &document, &err) < 0) {
		check_message(&err);
		return;
	}
	for (int to = 0; to < FORMATS; to++)
		check_format(document, format, to);
	check_findings(document, format);
}

static void fuzz_ranking_file(const char *text, size_t len)
{
	CLEAN(value) struct value *ranking = NULL;
	enum cms_format format;
	struct err err = { 0 };

	if (ranking_file_parse(text, len, &format, &ranking, &err) < 0) {
		check_message(&err);
		return;
	}
	for (int to = 0; to < FORMATS; to++)
		check_ranking(ranking, to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_main_file((const char *)data, size);
	fuzz_ranking_file((const char *)data, size);
	return 0;
}
