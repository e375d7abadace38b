/* SPDX-License-Identifier: MIT */
/* Any text as TOML: what is read survives being written, as TOML and as JSON, and read again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const char *text)
{
	(void)fprintf(stderr, "%s:\n%s\n", what, text);
	abort();
}

static void check_place(const struct err *err)
{
	int line = 0;
	int column = 0;

	if (sscanf(err->msg, "line %d, column %d: ", &line, &column) != 2 || line < 1 || column < 1)
		die("message without a place", err->msg);
	if (value_utf8_span(err->msg, strlen(err->msg)) != strlen(err->msg))
		die("message that is not UTF-8", err->msg);
}

static void check_toml(const struct value *value)
{
	CLEAN(str) char *text = toml_write(value);
	CLEAN(value) struct value *again = NULL;
	struct err err = { 0 };

	/* Escapes and headers may make it longer than what may be read. */
	if (strlen(text) > TOML_MAX_SIZE)
		return;
	if (toml_parse(text, strlen(text), &again, &err) < 0)
		die(err.msg, text);
	if (!value_equal(value, again) || !value_equal(again, value))
		die("written and read again it differs", text);
	CLEAN(str) char *text_again = toml_write(again);

	if (strcmp(text_again, text) != 0)
		die("written twice it differs", text);
}

static void check_json(const struct value *value)
{
	CLEAN(str) char *text = value_to_json(value);
	CLEAN(value) struct value *again = NULL;
	struct err err = { 0 };

	if (strlen(text) > VALUE_MAX_JSON)
		return;
	if (value_from_json(text, strlen(text), &again, &err) < 0)
		die(err.msg, text);
	if (!value_equal(value, again))
		die("as JSON and read again it differs", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(value) struct value *value = NULL;
	struct err err = { 0 };

	if (toml_parse((const char *)data, size, &value, &err) < 0) {
		check_place(&err);
		return 0;
	}
	CLEAN(value) struct value *clone = value_clone(value);

	if (!value_equal(value, clone))
		die("the clone differs", "");
	check_toml(value);
	check_json(value);
	return 0;
}
