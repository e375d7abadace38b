/* SPDX-License-Identifier: MIT */
/* Any text as JSON: what is read survives being written and read again; a table also as TOML. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const char *text)
{
	(void)fprintf(stderr, "%s:\n%s\n", what, text);
	abort();
}

static void check_text(const struct value *value, const char *text)
{
	CLEAN(value) struct value *again = NULL;
	struct err err = { 0 };

	if (strlen(text) > VALUE_MAX_JSON)
		return;
	if (value_from_json(text, strlen(text), &again, &err) < 0)
		die(err.msg, text);
	if (!value_equal(value, again) || !value_equal(again, value))
		die("written and read again it differs", text);
}

static void check_json(const struct value *value)
{
	CLEAN(str) char *text = value_to_json(value);
	CLEAN(json) struct cJSON *tree = value_to_cjson(value);
	CLEAN(str) char *tree_text = json_text(tree);

	check_text(value, text);
	check_text(value, tree_text);
}

static void check_toml(const struct value *value)
{
	CLEAN(str) char *text = toml_write(value);
	CLEAN(value) struct value *again = NULL;
	struct err err = { 0 };

	if (strlen(text) > TOML_MAX_SIZE)
		return;
	if (toml_parse(text, strlen(text), &again, &err) < 0)
		die(err.msg, text);
	if (!value_equal(value, again))
		die("as TOML and read again it differs", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(value) struct value *value = NULL;
	struct err err = { 0 };

	if (value_from_json((const char *)data, size, &value, &err) < 0) {
		if (strncmp(err.msg, "line ", 5) != 0)
			die("message without a place", err.msg);
		return 0;
	}
	check_json(value);
	if (value->type == VALUE_TABLE)
		check_toml(value);
	return 0;
}
