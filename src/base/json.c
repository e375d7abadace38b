/* SPDX-License-Identifier: MIT */
/* Helpers over cJSON. Never lets a 64-bit integer pass through a double. */
#include "cmsnode/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

void json_init(void)
{
	cJSON_Hooks hooks = { .malloc_fn = xmalloc, .free_fn = free };

	cJSON_InitHooks(&hooks);
}

static int json_syntax_error(const char *text, const char *at, struct err *err)
{
	unsigned int line = 1;
	unsigned int column = 1;

	for (const char *p = text; p < at; p++) {
		/* Characters, not bytes: the later bytes of one are 10xxxxxx. */
		column += ((unsigned char)*p & 0xc0) != 0x80;
		if (*p == '\n') {
			line++;
			column = 1;
		}
	}
	return err_set(err, -EINVAL, "line %u, column %u: not valid JSON", line, column);
}

struct cJSON *json_parse(const char *text, size_t len, struct err *err)
{
	const char *end = text;
	cJSON *json = cJSON_ParseWithLengthOpts(text, len, &end, false);
	if (!json) {
		(void)json_syntax_error(text, end, err);
		return NULL;
	}
	while (end < text + len && (*end == ' ' || *end == '\t' || *end == '\r' || *end == '\n'))
		end++;
	if (end != text + len) {
		cJSON_Delete(json);
		(void)json_syntax_error(text, end, err);
		return NULL;
	}
	return json;
}

void json_free(struct cJSON *json)
{
	cJSON_Delete(json);
}

char *json_text(const struct cJSON *json)
{
	return cJSON_PrintUnformatted(json);
}

const struct cJSON *json_get(const struct cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key);
}

const struct cJSON *json_get_array(const struct cJSON *object, const char *key)
{
	const cJSON *item = json_get(object, key);

	return cJSON_IsArray(item) ? item : NULL;
}

const struct cJSON *json_get_object(const struct cJSON *object, const char *key)
{
	const cJSON *item = json_get(object, key);

	return cJSON_IsObject(item) ? item : NULL;
}

const char *json_get_str(const struct cJSON *object, const char *key)
{
	return cJSON_GetStringValue(json_get(object, key));
}

bool json_get_bool(const struct cJSON *object, const char *key, bool fallback)
{
	const cJSON *item = json_get(object, key);

	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

double json_get_double(const struct cJSON *object, const char *key, double fallback)
{
	const cJSON *item = json_get(object, key);

	return cJSON_IsNumber(item) ? item->valuedouble : fallback;
}

int json_get_int64(const struct cJSON *object, const char *key, int64_t *ret)
{
	const cJSON *item = json_get(object, key);
	if (!item)
		return -ENOENT;
	if (cJSON_IsString(item))
		return str_to_int64(item->valuestring, INT64_MIN, INT64_MAX, ret) < 0 ? -EINVAL : 0;
	/* 2^53: beyond it a double skips integers. */
	if (!cJSON_IsNumber(item) || fabs(item->valuedouble) > 9007199254740992.0 ||
	    floor(item->valuedouble) != item->valuedouble)
		return -EINVAL;
	*ret = (int64_t)item->valuedouble;
	return 0;
}

int json_get_uint64(const struct cJSON *object, const char *key, uint64_t *ret)
{
	const char *text = json_get_str(object, key);
	if (text)
		return str_to_uint64(text, ret) < 0 ? -EINVAL : 0;
	int64_t value;
	const int r = json_get_int64(object, key, &value);
	if (r < 0)
		return r;
	if (value < 0)
		return -EINVAL;
	*ret = (uint64_t)value;
	return 0;
}

int json_get_str_list(const struct cJSON *object, const char *key, struct str_list *list)
{
	const cJSON *array = json_get(object, key);
	const cJSON *item;

	if (!array)
		return 0;
	if (!cJSON_IsArray(array))
		return -EINVAL;
	cJSON_ArrayForEach(item, array)
		if (!cJSON_IsString(item))
			return -EINVAL;
	cJSON_ArrayForEach(item, array)
		str_list_add(list, item->valuestring);
	return 0;
}

void json_add_str(struct cJSON *object, const char *key, const char *s)
{
	if (s)
		(void)cJSON_AddStringToObject(object, key, s);
	else
		(void)cJSON_AddNullToObject(object, key);
}

void json_add_bool(struct cJSON *object, const char *key, bool value)
{
	(void)cJSON_AddBoolToObject(object, key, value);
}

void json_add_double(struct cJSON *object, const char *key, double value)
{
	(void)cJSON_AddNumberToObject(object, key, value);
}

void json_add_int(struct cJSON *object, const char *key, int64_t value)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%" PRId64, value);
	(void)cJSON_AddRawToObject(object, key, digits);
}

void json_add_int_str(struct cJSON *object, const char *key, int64_t value)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%" PRId64, value);
	(void)cJSON_AddStringToObject(object, key, digits);
}

void json_add_str_list(struct cJSON *object, const char *key, const struct str_list *list)
{
	cJSON *array = cJSON_AddArrayToObject(object, key);

	for (size_t i = 0; i < list->len; i++)
		(void)cJSON_AddItemToArray(array, cJSON_CreateString(list->items[i]));
}
