/* SPDX-License-Identifier: MIT */
/* The status of this node as JSON. Pure. */
#include "cmsnode/status/report.h"

#include <stdio.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/store.h"

const char *node_report_state_name(enum node_report_state state)
{
	switch (state) {
	case REPORT_STARTING:
		return "starting";
	case REPORT_JOINING:
		return "joining";
	case REPORT_ACTIVE:
		return "active";
	case REPORT_DEGRADED:
		return "degraded";
	case REPORT_HELD:
		return "held";
	case REPORT_DRAINING:
		return "draining";
	case REPORT_STOPPING:
		return "stopping";
	}
	return "?";
}

static void add_generation(cJSON *object, const char *key, const char *name)
{
	CLEAN(str) char *path = name ? xasprintf("configs/%s", name) : NULL;

	json_add_str(object, key, path);
}

/* `live` adds what changes all the time. */
static void add_node(cJSON *object, const struct report *report, bool live)
{
	cJSON *node = cJSON_AddObjectToObject(object, "node");

	json_add_str(node, "id", report->id);
	json_add_str(node, "id_source", report->id_source);
	json_add_str(node, "address", report->address[0] ? report->address : NULL);
	json_add_str(node, "interface", report->interface[0] ? report->interface : NULL);
	json_add_str(node, "state", node_report_state_name(report->state));
	json_add_str(node, "note", report->note);
	json_add_str_list(node, "roles", report->roles);
	json_add_str(node, "version", report->version);
	json_add_int(node, "pid", report->pid);
	if (live)
		json_add_double(node, "uptime_s", report->uptime_s);
}

static void add_counters(cJSON *object, const struct store_counters *counters)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "requests", counters->requests },
		{ "failures", counters->failures },
		{ "late", counters->late },
		{ "broken", counters->broken },
		{ "server_errors", counters->server_errors },
		{ "refusals", counters->refusals },
		{ "unknown", counters->unknown },
		{ "conflicts", counters->conflicts },
		{ "watches", counters->watches },
		{ "watches_lost", counters->watches_lost },
		{ "gaps", counters->gaps },
		{ "bytes_sent", counters->bytes_sent },
		{ "bytes_received", counters->bytes_received },
	};
	cJSON *json = cJSON_AddObjectToObject(object, "counters");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		json_add_int(json, rows[i].name, (int64_t)rows[i].value);
}

static void add_store(cJSON *object, const struct report *report)
{
	cJSON *store = cJSON_AddObjectToObject(object, "store");

	json_add_str(store, "kind", report->store_kind);
	json_add_str(store, "endpoint", report->endpoint);
	json_add_bool(store, "connected", report->connected);
	json_add_int(store, "revision", report->revision);
	if (report->last_contact_s >= 0)
		json_add_double(store, "last_contact_s", report->last_contact_s);
	else
		json_add_str(store, "last_contact_s", NULL);
	json_add_str(store, "version", report->store_version);
	json_add_double(store, "clock_ahead_s", report->clock_ahead_s);
	if (report->counters)
		add_counters(store, report->counters);
}

static void add_config(cJSON *object, const struct report *report)
{
	cJSON *config = cJSON_AddObjectToObject(object, "config");

	add_generation(config, "current", report->current);
	add_generation(config, "applied", report->applied);
	json_add_str(config, "format", report->format);
	json_add_str(config, "refused", report->refused);
}

struct cJSON *report_services_to_json(const struct report_service *services, size_t len)
{
	cJSON *array = cJSON_CreateArray();

	for (size_t i = 0; i < len; i++) {
		const struct report_service *service = &services[i];
		cJSON *item = cJSON_CreateObject();

		json_add_str(item, "service", service->service);
		json_add_int(item, "shard", service->shard);
		json_add_str(item, "name", service->name);
		json_add_str(item, "address", service->address);
		json_add_str(item, "state", service->state);
		json_add_bool(item, "healthy", service->healthy);
		if (service->pid)
			json_add_int(item, "pid", service->pid);
		else
			json_add_str(item, "pid", NULL);
		json_add_double(item, "since", service->since);
		json_add_int(item, "restarts", service->restarts);
		json_add_str(item, "last_exit", service->last_exit);
		json_add_str(item, "generation", service->generation);
		json_add_str(item, "note", service->note);
		(void)cJSON_AddItemToArray(array, item);
	}
	return array;
}

struct cJSON *report_to_json(const struct report *report)
{
	cJSON *object = cJSON_CreateObject();

	add_node(object, report, true);
	add_store(object, report);
	add_config(object, report);
	(void)cJSON_AddItemToObject(
		object, "services",
		report_services_to_json(report->services, report->services_len));
	return object;
}

char *report_to_store(const struct report *report)
{
	CLEAN(json) cJSON *object = cJSON_CreateObject();

	add_node(object, report, false);
	add_config(object, report);
	(void)cJSON_AddItemToObject(
		object, "services",
		report_services_to_json(report->services, report->services_len));
	return json_text(object);
}
