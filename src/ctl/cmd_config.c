/* SPDX-License-Identifier: MIT */
/*
 * `config show, get, export`: the agreed configuration, asked of the daemon.
 */
#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"

/* --- show --- */

/* "name.key" and value of each member, one level below `object` or (name NULL) in it. */
static void add_values(struct ctl_table *table, const char *name, const cJSON *object)
{
	const cJSON *value;

	cJSON_ArrayForEach(value, object) {
		CLEAN(str) char *text = ctl_value_text(value);

		ctl_table_addf(table, CTL_PLAIN, "%s%s%s", name ? name : "", name ? "." : "",
			       value->string);
		ctl_table_add(table, CTL_PLAIN, text);
	}
}

static void print_values(const cJSON *tables, const cJSON *policy, bool colour)
{
	static const char *const head[] = { "KEY", "VALUE" };
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(head));
	const cJSON *inner;

	ctl_table_add_row(&table, CTL_HEAD, head);
	cJSON_ArrayForEach(inner, tables) {
		if (cJSON_IsObject(inner)) {
			add_values(&table, inner->string, inner);
		} else {
			CLEAN(str) char *text = ctl_value_text(inner);

			ctl_table_add(&table, CTL_PLAIN, inner->string);
			ctl_table_add(&table, CTL_PLAIN, text);
		}
	}
	add_values(&table, "topology", policy);
	ctl_table_print(&table, colour);
}

static void add_slot(struct ctl_table *table, const char *service, int shard, const cJSON *slot)
{
	const char *host = json_get_str(slot, "host");
	int64_t port = 0;

	(void)json_get_int64(slot, "port", &port);
	ctl_table_addf(table, CTL_PLAIN, "%s,%d", service, shard);
	ctl_table_add(table, CTL_PLAIN, json_get_str(slot, "kind"));
	ctl_table_add(table, CTL_PLAIN, json_get_str(slot, "node"));
	if (host)
		ctl_table_addf(table, CTL_PLAIN,
			       strchr(host, ':') ? "[%s]:%" PRId64 : "%s:%" PRId64, host, port);
	else
		ctl_table_addf(table, CTL_PLAIN, "port %" PRId64, port);
	ctl_table_add(table, CTL_PLAIN, json_get_str(slot, "name"));
}

static void print_slots(const cJSON *services, bool colour)
{
	static const char *const head[] = { "SLOT", "KIND", "NODE", "ADDRESS", "NAME" };
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(head));
	const cJSON *slots;

	ctl_table_add_row(&table, CTL_HEAD, head);
	cJSON_ArrayForEach(slots, services) {
		const cJSON *slot;
		int shard = 0;

		cJSON_ArrayForEach(slot, slots)
			add_slot(&table, slots->string, shard++, slot);
	}
	ctl_table_print(&table, colour);
}

static void print_generation(const cJSON *result, bool colour)
{
	static const char *const keys[] = { "generation", "epoch", "sequence" };
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(2);

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		CLEAN(str) char *text = ctl_value_text(json_get(result, keys[i]));

		ctl_table_add(&table, CTL_PLAIN, keys[i]);
		ctl_table_add(&table, CTL_PLAIN, text);
	}
	ctl_table_print(&table, colour);
}

int ctl_config_show(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	const int r = ctl_ask_soon(ctl, ctl_request("config.show"), &result, err);
	if (r < 0)
		return r;
	if (ctl->json) {
		ctl_print_json(result);
		return 0;
	}
	print_generation(result, ctl->colour);
	(void)puts("");
	print_values(json_get_object(result, "tables"), json_get_object(result, "policy"),
		     ctl->colour);
	(void)puts("");
	print_slots(json_get_object(result, "services"), ctl->colour);
	return 0;
}

/* --- get --- */

int ctl_config_get(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	cJSON *request = ctl_request("config.get");

	json_add_str(request, "key", ctl->words[0]);
	json_add_bool(request, "reveal", ctl->reveal);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	const cJSON *value = json_get(result, "value");
	if (!value)
		return err_set(err, -EPROTO, "the daemon's answer has no value for %s",
			       ctl->words[0]);
	CLEAN(str)
	char *text = cJSON_IsString(value) ? xstrdup(value->valuestring) : json_text(value);

	(void)puts(text);
	return 0;
}

/* --- export --- */

int ctl_export(const struct ctl *ctl, struct cJSON **ret, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	cJSON *request = ctl_request("config.export");

	json_add_str(request, "format", ctl->format);
	json_add_bool(request, "ranking", ctl->ranking);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	if (!json_get_str(result, "text"))
		return err_set(err, -EPROTO, "the daemon's answer has no text");
	*ret = steal(result);
	return 0;
}

int ctl_config_export(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	enum cms_format format;

	if (ctl->format && cms_format_parse(ctl->format, &format) < 0)
		return err_set(err, ERR_USAGE,
			       "config export: --format is toml, json or flat-toml, not '%s'",
			       ctl->format);
	const int r = ctl_export(ctl, &result, err);
	if (r < 0)
		return r;
	(void)fputs(json_get_str(result, "text"), stdout);
	/* Beside the file, which goes elsewhere. */
	ctl_print_warnings(json_get_array(result, "warnings"), stderr);
	return 0;
}
