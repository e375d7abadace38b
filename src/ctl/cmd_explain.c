/* SPDX-License-Identifier: MIT */
/* `explain`: why this node has its address and its identity and runs what it runs. */
#include "ctl.h"

#include <inttypes.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

static void print_fields(const cJSON *object, const char *const *keys, size_t n, bool colour)
{
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(2);

	for (size_t i = 0; i < n; i++) {
		CLEAN(str) char *text = ctl_value_text(json_get(object, keys[i]));

		ctl_table_add(&table, CTL_PLAIN, keys[i]);
		ctl_table_add(&table, CTL_PLAIN, text);
	}
	ctl_table_print(&table, colour);
}

static void add_candidate(struct ctl_table *table, const cJSON *candidate)
{
	const bool excluded = json_get_bool(candidate, "excluded", false);
	CLEAN(str) char *rank = excluded ? NULL : ctl_value_text(json_get(candidate, "rank"));

	ctl_table_add(table, CTL_PLAIN, rank);
	ctl_table_add(table, CTL_PLAIN, json_get_str(candidate, "address"));
	ctl_table_add(table, CTL_PLAIN, json_get_str(candidate, "interface"));
	ctl_table_add(table, CTL_PLAIN, json_get_str(candidate, "kind"));
	ctl_table_add(table, CTL_PLAIN, excluded ? "no" : "yes");
	ctl_table_add(table, CTL_PLAIN, json_get_str(candidate, "reason"));
}

static void print_address(const cJSON *address, bool colour)
{
	static const char *const keys[] = { "address", "interface", "outcome", "reason" };
	static const char *const head[] = {
		"RANK", "CANDIDATE", "INTERFACE", "KIND", "ELIGIBLE", "REASON",
	};
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(head));
	const cJSON *candidates = json_get_array(address, "candidates");
	const cJSON *candidate;

	print_fields(address, keys, ARRAY_LEN(keys), colour);
	if (cJSON_GetArraySize(candidates) == 0)
		return;
	ctl_table_add_row(&table, CTL_HEAD, head);
	cJSON_ArrayForEach(candidate, candidates)
		add_candidate(&table, candidate);
	(void)puts("");
	ctl_table_print(&table, colour);
}

static void print_identity(const cJSON *identity, bool colour)
{
	static const char *const keys[] = {
		"id", "source", "reason", "boot_id", "product_uuid", "netns",
	};

	print_fields(identity, keys, ARRAY_LEN(keys), colour);
}

static void print_services(const cJSON *services, bool colour)
{
	static const char *const head[] = { "SERVICE", "RUNS HERE", "NODE", "ADDRESS", "REASON" };
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(head));
	const cJSON *service;

	if (cJSON_GetArraySize(services) == 0) {
		(void)puts("no services");
		return;
	}
	ctl_table_add_row(&table, CTL_HEAD, head);
	cJSON_ArrayForEach(service, services) {
		const char *name = json_get_str(service, "service");
		int64_t shard = 0;

		(void)json_get_int64(service, "shard", &shard);
		ctl_table_addf(&table, CTL_PLAIN, "%s,%" PRId64, name ? name : "-", shard);
		ctl_table_add(&table, CTL_PLAIN,
			      json_get_bool(service, "runs_here", false) ? "yes" : "no");
		ctl_table_add(&table, CTL_PLAIN, json_get_str(service, "node"));
		ctl_table_add(&table, CTL_PLAIN, json_get_str(service, "address"));
		ctl_table_add(&table, CTL_PLAIN, json_get_str(service, "reason"));
	}
	ctl_table_print(&table, colour);
}

static const struct section {
	const char *name;
	void (*print)(const cJSON *json, bool colour);
} sections[] = {
	{ "address", print_address },
	{ "identity", print_identity },
	{ "services", print_services },
};

static bool is_section(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(sections); i++)
		if (str_eq(sections[i].name, word))
			return true;
	return false;
}

static void print_title(const char *name, bool colour)
{
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(1);

	ctl_table_add(&table, CTL_HEAD, name);
	ctl_table_print(&table, colour);
}

static void print_sections(const cJSON *result, const char *what, bool colour)
{
	const bool all = str_eq(what, "all");
	bool first = true;

	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		if (!all && !str_eq(what, sections[i].name))
			continue;
		if (!first)
			(void)puts("");
		if (all)
			print_title(sections[i].name, colour);
		sections[i].print(json_get(result, sections[i].name), colour);
		first = false;
	}
}

int ctl_explain(const struct ctl *ctl, struct err *err)
{
	const char *what = ctl->words_len ? ctl->words[0] : "all";
	CLEAN(json) cJSON *result = NULL;

	if (!str_eq(what, "all") && !is_section(what))
		return err_set(err, ERR_USAGE,
			       "explain: '%s' is not one of address, identity, services", what);
	cJSON *request = ctl_request("explain");

	json_add_str(request, "what", what);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	if (ctl->json)
		ctl_print_json(result);
	else
		print_sections(result, what, ctl->colour);
	return 0;
}
