/* SPDX-License-Identifier: MIT */
/*
 * The services table: its shape, and the entries that must be there.
 */
#include "validate_internal.h"

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/topology/catalogue.h"

const struct value *validate_entry(const struct value *document, const char *service, size_t shard)
{
	const struct value *shards = value_get(value_get(document, "services"), service);
	if (!shards || shards->type != VALUE_ARRAY || shard >= shards->array.len)
		return NULL;
	const struct value *entry = shards->array.items[shard];

	return cms_file_entry_flaw(entry) ? NULL : entry;
}

size_t validate_list_len(const struct value *list)
{
	return list && list->type == VALUE_ARRAY ? list->array.len : 0;
}

size_t validate_shard_count(const struct value *document, const char *service)
{
	return validate_list_len(value_get(value_get(document, "services"), service));
}

static void report_unknown_service(const char *key, const char *name, struct findings *findings)
{
	const char *names[CATALOGUE_COUNT];

	for (int i = 0; i < CATALOGUE_COUNT; i++)
		names[i] = catalogue_at((enum catalogue_index)i)->name;
	const char *nearest = str_nearest(name, names, CATALOGUE_COUNT);

	if (nearest)
		add_warning(findings, key,
			    "is not a service of CMS, nothing will run for it; did you mean %s?",
			    nearest);
	else
		add_warning(findings, key,
			    "is not a service of CMS, nothing will run for it; take it out");
}

static void check_service(const char *name, const struct value *shards, struct findings *findings)
{
	CLEAN(str) char *key = xasprintf("services.%s", name);
	const struct catalogue_service *service = catalogue_find(name);

	if (!service)
		report_unknown_service(key, name, findings);
	else if (!service->listed)
		add_warning(findings, key,
			    "is never looked up in services; take it out and give a node the role "
			    "for it");
	if (shards->type != VALUE_ARRAY) {
		add_error(findings, key, "is %s, CMS wants a list of [\"host\", port]",
			  config_type_phrase(shards->type));
		return;
	}
	for (size_t i = 0; i < shards->array.len; i++) {
		const char *flaw = cms_file_entry_flaw(shards->array.items[i]);

		if (flaw) {
			CLEAN(str) char *text = validate_shown(key, shards->array.items[i]);

			add_error(findings, key, "shard %zu: %s %s", i, text, flaw);
		}
	}
	if (service && service->singleton && shards->array.len > 1)
		add_error(findings, key,
			  "has %zu shards; the other services only ever talk to shard 0: keep one",
			  shards->array.len);
}

static void check_services(const struct value *document, struct findings *findings)
{
	const struct value *services = value_get(document, "services");
	if (!services) {
		add_error(findings, "services",
			  "is missing; CMS cannot start without the table that says where each "
			  "service runs");
		return;
	}
	if (services->type != VALUE_TABLE) {
		add_error(findings, "services", "is %s, CMS wants a table ([services] in cms.toml)",
			  config_type_phrase(services->type));
		return;
	}
	for (size_t i = 0; i < services->table.len; i++)
		check_service(services->table.members[i].key, services->table.members[i].value,
			      findings);
}

static void check_mandatory_services(const struct value *document, struct findings *findings)
{
	static const struct {
		const char *service;
		const char *who;
	} rows[] = {
		{ "LogService", "every service refuses" },
		{ "EvaluationService", "AdminWebServer and ContestWebServer refuse" },
		{ "ScoringService",
		  "AdminWebServer, ContestWebServer and EvaluationService refuse" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (validate_shard_count(document, rows[i].service))
			continue;
		CLEAN(str) char *key = xasprintf("services.%s", rows[i].service);

		add_error(findings, key,
			  "is missing; %s to start without an entry, even if the service itself "
			  "does not run",
			  rows[i].who);
	}
}

void validate_services(const struct validation *validation)
{
	check_services(validation->document, validation->findings);
	check_mandatory_services(validation->document, validation->findings);
}
