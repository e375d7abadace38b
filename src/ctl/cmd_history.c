/* SPDX-License-Identifier: MIT */
/* `config history` and `config diff`: who changed what, when and why. */
#include "ctl.h"

#include <time.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define CHANGES_SHOWN 3

static void add_time(struct ctl_table *table, int64_t epoch_s)
{
	const time_t seconds = (time_t)epoch_s;
	struct tm parts;
	char text[32] = "-";

	if (localtime_r(&seconds, &parts))
		(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
	ctl_table_add(table, CTL_PLAIN, text);
}

/* "why (database.url, worker.keep_sandbox and 3 more)" */
static char *what_and_why(const cJSON *entry)
{
	const cJSON *changes = json_get_array(entry, "changes");
	const char *reason = json_get_str(entry, "reason");
	const int len = cJSON_GetArraySize(changes);
	CLEAN(str_list) struct str_list names = { 0 };

	for (int i = 0; i < len && i < CHANGES_SHOWN; i++)
		str_list_add(&names, cJSON_GetStringValue(cJSON_GetArrayItem(changes, i)));
	if (!names.len)
		return xstrdup(reason ? reason : "");
	CLEAN(str) char *text = str_list_join(&names, ", ");

	if (len > CHANGES_SHOWN)
		return xasprintf("%s (%s and %d more)", reason ? reason : "", text,
				 len - CHANGES_SHOWN);
	return xasprintf("%s (%s)", reason ? reason : "", text);
}

static void add_entry(struct ctl_table *table, const cJSON *entry)
{
	const bool is_current = json_get_bool(entry, "current", false);
	CLEAN(str) char *why = what_and_why(entry);
	int64_t sequence = 0;
	int64_t created_at = 0;

	(void)json_get_int64(entry, "sequence", &sequence);
	(void)json_get_int64(entry, "created_at", &created_at);
	ctl_table_addf(table, CTL_PLAIN, "%d%s", (int)sequence, is_current ? " *" : "");
	add_time(table, created_at);
	ctl_table_add(table, CTL_PLAIN, json_get_str(entry, "author"));
	ctl_table_add(table, CTL_PLAIN, json_get_str(entry, "generation"));
	ctl_table_add(table, CTL_PLAIN, why);
}

int ctl_config_history(const struct ctl *ctl, struct err *err)
{
	static const char *const head[] = { "SEQUENCE", "WHEN", "WHO", "GENERATION", "WHY" };
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(head));
	CLEAN(json) cJSON *result = NULL;
	cJSON *request = ctl_request("config.history");
	const cJSON *entry;

	json_add_int(request, "lines", ctl->lines);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	if (ctl->json) {
		ctl_print_json(result);
		return 0;
	}
	ctl_table_add_row(&table, CTL_HEAD, head);
	cJSON_ArrayForEach(entry, json_get_array(result, "generations"))
		add_entry(&table, entry);
	ctl_table_print(&table, ctl->colour);
	return 0;
}

int ctl_config_diff(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	cJSON *request = ctl_request("config.diff");

	if (ctl->words_len > 0)
		json_add_str(request, "from", ctl->words[0]);
	if (ctl->words_len > 1)
		json_add_str(request, "to", ctl->words[1]);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	if (ctl->json) {
		ctl_print_json(result);
		return 0;
	}
	const char *lines = json_get_str(result, "text");
	CLEAN(str) char *safe = ctl_printable(lines ? lines : "", true);

	(void)printf("%s -> %s\n%s", json_get_str(result, "from"), json_get_str(result, "to"),
		     *safe ? safe : "nothing differs\n");
	return 0;
}
