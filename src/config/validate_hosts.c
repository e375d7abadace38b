/* SPDX-License-Identifier: MIT */
/*
 * How hosts are written, and what shares one. Nothing is resolved: names that
 * differ in more than their spelling are different hosts here.
 */
#include "validate_internal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/network/address.h"
#include "cmsnode/topology/catalogue.h"
#include "cmsnode/topology/slots.h"

/* One entry of the services table. */
struct place {
	const char *service;
	size_t shard;
	const char *host; /* as it is written */
	char *canonical; /* equal for spellings of one host */
	size_t order;
};

struct places {
	struct place *items;
	size_t len, cap;
};

static void places_fini(struct places *places)
{
	for (size_t i = 0; i < places->len; i++)
		free(places->items[i].canonical);
	free(places->items);
}

static char *canonical_host(const char *host)
{
	struct address address;
	char text[ADDRESS_TEXT_SIZE];

	if (slots_host_is_loopback(host))
		return xstrdup("localhost");
	if (address_parse(host, &address) == 0) {
		address_format(&address, text);
		return xstrdup(text);
	}
	char *name = xstrdup(host);
	const size_t len = strlen(name);

	str_lower(name);
	if (len > 1 && name[len - 1] == '.')
		name[len - 1] = '\0';
	return name;
}

static void collect_service(const struct value *document, const char *service,
			    struct places *places)
{
	const size_t shards = validate_shard_count(document, service);

	for (size_t k = 0; k < shards; k++) {
		const struct value *entry = validate_entry(document, service, k);
		const char *host = entry ? entry->array.items[0]->text : NULL;

		if (!host || str_eq(host, SLOT_VACANT_ADDRESS))
			continue;
		GROW(places->items, places->len, places->cap);
		places->items[places->len] =
			(struct place){ service, k, host, canonical_host(host), places->len };
		places->len++;
	}
}

static void collect(const struct value *document, struct places *places)
{
	const struct value *services = value_get(document, "services");

	if (!services || services->type != VALUE_TABLE)
		return;
	for (size_t i = 0; i < services->table.len; i++)
		if (catalogue_find(services->table.members[i].key))
			collect_service(document, services->table.members[i].key, places);
}

static int by_host(const void *left, const void *right)
{
	const struct place *a = left;
	const struct place *b = right;
	const int order = strcmp(a->canonical, b->canonical);

	if (order)
		return order;
	return a->order < b->order ? -1 : 1;
}

/* Of `places`, which are sorted by host, the end of the run that begins at `first`. */
static size_t end_of_host(const struct places *places, size_t first)
{
	size_t end = first + 1;

	while (end < places->len &&
	       str_eq(places->items[end].canonical, places->items[first].canonical))
		end++;
	return end;
}

/* ---- one host, one spelling ---- */

static void check_spelling(const struct place *places, size_t len, struct findings *findings)
{
	for (size_t i = 1; i < len; i++) {
		if (str_eq(places[i].host, places[0].host))
			continue;
		CLEAN(str) char *key = xasprintf("services.%s", places[i].service);

		add_warning(findings, key,
			    "shard %zu: '%s' is the host that %s,%zu calls '%s'; CMS compares the "
			    "text and takes them for two machines: spell it in one way",
			    places[i].shard, places[i].host, places[0].service, places[0].shard,
			    places[0].host);
		return;
	}
}

/* ---- isolate's boxes ---- */

/*
 * A Worker's sandboxes are numbered by its shard modulo this, for the whole machine, and below 1.6
 * the last ones are those of programs started by hand.
 */
static const struct boxes {
	enum cms_format format;
	size_t modulo;
	bool is_error;
	const char *versions; /* with its verb */
} boxes[] = {
	{ CMS_FORMAT_TOML, 64, true, "CMS 1.6 gives" },
	{ CMS_FORMAT_JSON, 100, true, "CMS 1.4 and 1.5 give" },
	{ CMS_FORMAT_FLAT_TOML, 100, true, "CMS of summer 2025 gives" },
	{ CMS_FORMAT_JSON, 10, false, "CMS 1.2 and 1.3 give" },
};

size_t config_worker_boxes(enum cms_format format)
{
	for (size_t i = 0; i < ARRAY_LEN(boxes); i++)
		if (boxes[i].format == format)
			return boxes[i].modulo;
	return 1;
}

static void check_boxes(const struct place *places, size_t len, const struct boxes *rule,
			struct findings *findings)
{
	const struct place **taken = xcalloc(rule->modulo, sizeof(const struct place *));

	for (size_t i = 0; i < len; i++) {
		if (!str_eq(places[i].service, "Worker"))
			continue;
		const struct place **box = &taken[places[i].shard % rule->modulo];

		if (*box) {
			findings_add(
				findings, rule->is_error, "services.Worker",
				"shards %zu and %zu are both on '%s' and equal modulo %zu, so %s "
				"them the same sandboxes and they spoil each other's runs: "
				"move one to another machine",
				(*box)->shard, places[i].shard, places[i].host, rule->modulo,
				rule->versions);
			break;
		}
		*box = &places[i];
	}
	free(taken);
}

/* ---- what means another machine on each ---- */

static void check_loopback(const struct place *places, size_t len, struct findings *findings)
{
	CLEAN(str) char *more = len > 1 ? xasprintf(" and %zu more", len - 1) : xstrdup("");

	add_warning(findings, "services",
		    "'%s' (%s,%zu%s) is each machine itself; in a cluster such an entry is vacant "
		    "until a node with the role takes it",
		    places->host, places->service, places->shard, more);
}

static void check_mapped(const struct place *places, size_t len,
			 const struct str_list *loopback_names, struct findings *findings)
{
	for (size_t i = 0; loopback_names && i < len; i++) {
		if (!str_list_has(loopback_names, places[i].canonical))
			continue;
		CLEAN(str) char *key = xasprintf("services.%s", places[i].service);

		add_warning(
			findings, key,
			"shard %zu: '%s' is a loopback address (127.0.1.1, say) in /etc/hosts of "
			"this machine: what listens there is not seen by others; write its "
			"address, or mend /etc/hosts",
			places[i].shard, places[i].host);
		return;
	}
}

/* The host of "scheme://user:password@host:port/path"; the caller frees. */
static char *host_of_url(const char *url)
{
	const char *host = strstr(url, "://");
	const char *at;

	host = host ? host + strlen("://") : url;
	at = strrchr(host, '@');
	host = at ? at + 1 : host;
	if (*host == '[')
		return xstrndup(host + 1, strcspn(host + 1, "]"));
	return xstrndup(host, strcspn(host, ":/?"));
}

static void check_url(const char *key, const char *where, const struct value *url,
		      struct findings *findings)
{
	if (url->type != VALUE_STRING)
		return;
	CLEAN(str) char *host = host_of_url(url->text);

	if (slots_host_is_loopback(host))
		add_warning(
			findings, key,
			"%sthe host '%s' is each machine itself; write the address at which all "
			"machines of the cluster reach it",
			where, host);
}

static void check_urls(const struct value *document, struct findings *findings)
{
	const struct value *database = value_get_path(document, "database.url");
	const struct value *rankings = value_get_path(document, "proxy_service.rankings");

	if (database)
		check_url("database.url", "", database, findings);
	for (size_t i = 0; i < validate_list_len(rankings); i++) {
		CLEAN(str) char *where = xasprintf("element %zu: ", i);

		check_url("proxy_service.rankings", where, rankings->array.items[i], findings);
	}
}

void validate_hosts(const struct validation *validation)
{
	const struct validate_context *context = validation->context;
	struct findings *findings = validation->findings;
	struct places places = { 0 };

	collect(validation->document, &places);
	if (places.len)
		qsort(places.items, places.len, sizeof(places.items[0]), by_host);
	for (size_t first = 0, end; first < places.len; first = end) {
		const struct place *here = &places.items[first];
		const size_t len = (end = end_of_host(&places, first)) - first;

		check_spelling(here, len, findings);
		for (size_t i = 0; i < ARRAY_LEN(boxes); i++)
			if (boxes[i].format == context->format)
				check_boxes(here, len, &boxes[i], findings);
		if (context->cluster && slots_host_is_loopback(here->host))
			check_loopback(here, len, findings);
		check_mapped(here, len, context->loopback_names, findings);
	}
	places_fini(&places);
	if (context->cluster)
		check_urls(validation->document, findings);
}
