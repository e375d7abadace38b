/* SPDX-License-Identifier: MIT */
/*
 * `config check FILE...`: what is wrong with a configuration file, told before
 * anything moves. Needs no daemon: the daemon runs the same checks.
 */
#include "ctl.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/config/validate_local.h"

struct checked {
	const char *path;
	const char *format; /* NULL: it could not be read */
	struct findings findings;
	size_t errors;
};

static void count_errors(struct checked *checked)
{
	for (size_t i = 0; i < checked->findings.len; i++)
		checked->errors += checked->findings.items[i].is_error;
}

static int parse(const struct buf *text, bool ranking, enum cms_format *ret_format,
		 struct value **ret, struct err *err)
{
	if (ranking)
		return ranking_file_parse(buf_str(text), text->len, ret_format, ret, err);
	return cms_file_parse(buf_str(text), text->len, ret_format, ret, err);
}

/* A file that cannot be read or parsed is one error of the whole file. */
static void check_file(const char *path, bool ranking, struct checked *ret)
{
	CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);
	CLEAN(value) struct value *document = NULL;
	CLEAN(validate_local) struct validate_local local = { 0 };
	struct validate_context context = { .cluster = true };
	struct err err = { 0 };

	*ret = (struct checked){ .path = path };
	if (file_read(path, &text, &err) < 0 ||
	    parse(&text, ranking, &context.format, &document, &err) < 0) {
		findings_add(&ret->findings, true, "", "%s", err.msg);
	} else {
		ret->format = cms_format_name(context.format);
		validate_local_read("", &local);
		validate_local_apply(&local, &context);
		if (ranking)
			config_validate_ranking(document, &context, &ret->findings);
		else
			config_validate(document, &context, &ret->findings);
	}
	count_errors(ret);
}

static cJSON *finding_json(const struct finding *finding)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "severity", finding->is_error ? "error" : "warning");
	json_add_str(json, "key", *finding->key ? finding->key : NULL);
	json_add_str(json, "text", finding->text);
	return json;
}

static void add_json(cJSON *files, const struct checked *checked)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "file", checked->path);
	json_add_str(json, "format", checked->format);
	cJSON *findings = cJSON_AddArrayToObject(json, "findings");

	for (size_t i = 0; i < checked->findings.len; i++)
		(void)cJSON_AddItemToArray(findings, finding_json(&checked->findings.items[i]));
	(void)cJSON_AddItemToArray(files, json);
}

/* Errors first: they are what must be mended. */
static void print_findings(const struct checked *checked, bool errors)
{
	for (size_t i = 0; i < checked->findings.len; i++) {
		const struct finding *finding = &checked->findings.items[i];
		CLEAN(str) char *text = ctl_printable(finding->text, false);
		CLEAN(str) char *key = ctl_printable(finding->key, false);

		if (finding->is_error == errors)
			(void)printf("%s: %s: %s%s%s\n", checked->path,
				     errors ? "error" : "warning", key, *key ? ": " : "", text);
	}
}

static void print_checked(const struct checked *checked)
{
	const size_t warnings = checked->findings.len - checked->errors;

	print_findings(checked, true);
	print_findings(checked, false);
	(void)printf("%s: %zu error%s, %zu warning%s\n", checked->path, checked->errors,
		     checked->errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
}

int ctl_config_check(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = cJSON_CreateObject();
	cJSON *files = cJSON_AddArrayToObject(result, "files");
	size_t bad = 0;

	for (size_t i = 0; i < ctl->words_len; i++) {
		struct checked checked;

		check_file(ctl->words[i], ctl->ranking, &checked);
		bad += checked.errors > 0;
		if (ctl->json)
			add_json(files, &checked);
		else
			print_checked(&checked);
		findings_fini(&checked.findings);
	}
	if (ctl->json)
		ctl_print_json(result);
	if (!bad)
		return 0;
	return err_set(err, ERR_CONFIG, "config check: %zu of %zu files would be refused", bad,
		       ctl->words_len);
}
