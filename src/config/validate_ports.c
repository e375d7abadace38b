/* SPDX-License-Identifier: MIT */
/*
 * Ports: one host, one port, one listener; in range; and not among those that
 * the kernel gives to outgoing connections.
 */
#include "validate_internal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/catalogue.h"
#include "cmsnode/topology/slots.h"

struct claim {
	const char *host;
	int64_t port;
	const char *service;
	size_t shard;
	bool http; /* an HTTP port, which may be bound to another address than the RPC port */
	size_t order; /* in the document */
};

struct claims {
	struct claim *items;
	size_t len;
	size_t cap;
};

static void claims_add(struct claims *claims, const struct value *entry, const char *service,
		       size_t shard, const struct value *http_port)
{
	if (!entry || (http_port && http_port->type != VALUE_INT))
		return;
	const char *host = entry->array.items[0]->text;
	if (str_eq(host, SLOT_VACANT_ADDRESS))
		return;
	GROW(claims->items, claims->len, claims->cap);
	claims->items[claims->len] = (struct claim){
		.host = host,
		.port = http_port ? http_port->integer : entry->array.items[1]->integer,
		.service = service,
		.shard = shard,
		.http = http_port != NULL,
		.order = claims->len,
	};
	claims->len++;
}

static void collect_rpc_ports(const struct value *document, struct claims *claims)
{
	const struct value *services = value_get(document, "services");
	if (!services || services->type != VALUE_TABLE)
		return;
	for (size_t i = 0; i < services->table.len; i++) {
		const char *name = services->table.members[i].key;
		const struct catalogue_service *service = catalogue_find(name);
		if (!service || !service->rpc)
			continue;
		const size_t shards = validate_shard_count(document, name);

		for (size_t k = 0; k < shards; k++)
			claims_add(claims, validate_entry(document, name, k), name, k, NULL);
	}
}

static void collect_http_ports(const struct value *document, struct claims *claims)
{
	const struct value *admin = value_get_path(document, "admin_web_server.listen_port");
	const struct value *exporter = value_get_path(document, "prometheus.listen_port");
	const struct value *contest = value_get_path(document, "contest_web_server.listen_port");

	if (admin)
		claims_add(claims, validate_entry(document, "AdminWebServer", 0), "AdminWebServer",
			   0, admin);
	if (exporter)
		claims_add(claims, validate_entry(document, "PrometheusExporter", 0),
			   "PrometheusExporter", 0, exporter);
	for (size_t k = 0; k < validate_list_len(contest); k++)
		claims_add(claims, validate_entry(document, "ContestWebServer", k),
			   "ContestWebServer", k, contest->array.items[k]);
}

static bool same_port(const struct claim *a, const struct claim *b)
{
	return a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

static int compare_claims(const void *left, const void *right)
{
	const struct claim *a = left;
	const struct claim *b = right;

	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	const int hosts = strcasecmp(a->host, b->host);
	if (hosts)
		return hosts;
	return a->order < b->order ? -1 : 1;
}

static void report_same_port(const struct claim *first, const struct claim *second,
			     struct findings *findings)
{
	const bool http = first->http || second->http;
	const char *unless = http ? "unless they listen on different addresses, " : "";
	CLEAN(str) char *key = xasprintf("services.%s", second->service);

	findings_add(findings, !http, key,
		     "shard %zu has %s:%lld%s, which is also the %s port of %s,%zu; "
		     "%sthe one that starts later fails: change one port",
		     second->shard, second->host, (long long)second->port,
		     second->http ? " as its HTTP port" : "", first->http ? "HTTP" : "RPC",
		     first->service, first->shard, unless);
}

static void check_ports_distinct(struct claims *claims, struct findings *findings)
{
	if (claims->len)
		qsort(claims->items, claims->len, sizeof(claims->items[0]), compare_claims);
	for (size_t i = 1; i < claims->len; i++)
		if (same_port(&claims->items[i - 1], &claims->items[i]))
			report_same_port(&claims->items[i - 1], &claims->items[i], findings);
}

/* One finding a service and kind of port, naming the first. */
static void check_ports_not_borrowed(const struct claims *claims,
				     const struct validate_context *context,
				     struct findings *findings)
{
	const struct claim *last = NULL;

	for (size_t i = 0; i < claims->len; i++) {
		const struct claim *claim = &claims->items[i];

		if (!context->ephemeral_last || claim->port < context->ephemeral_first ||
		    claim->port > context->ephemeral_last)
			continue;
		if (last && str_eq(last->service, claim->service) && last->http == claim->http)
			continue;
		last = claim;
		CLEAN(str) char *key = xasprintf("services.%s", claim->service);

		add_warning(
			findings, key,
			"shard %zu: %sport %lld lies in %d-%d, from which the kernel takes ports "
			"for outgoing connections: a service that dials it while it is down can "
			"connect to itself; choose one below",
			claim->shard, claim->http ? "HTTP " : "", (long long)claim->port,
			context->ephemeral_first, context->ephemeral_last);
	}
}

static void check_port_range(const char *path, const struct value *port, struct findings *findings)
{
	if (port && port->type == VALUE_INT && (port->integer < 1 || port->integer > 65535))
		add_error(findings, path, "%lld is not a port; write one from 1 to 65535",
			  (long long)port->integer);
}

/* 0 is no plain HTTP, as cms.ranking.conf can say with null. */
static void check_ranking_http_port(const struct validation *validation)
{
	static const char path[] = "ranking.http_port";
	const struct value *port = value_get_path(validation->document, path);

	if (!port || port->type != VALUE_INT || port->integer != 0)
		check_port_range(path, port, validation->findings);
	else if (validation->context->format != CMS_FORMAT_JSON)
		add_warning(validation->findings, path,
			    "is 0 for no plain HTTP, which cms_ranking.toml cannot say: "
			    "RankingWebServer will listen at its default port 8890 as well; set "
			    "ranking.bind_address to keep others away from it");
}

static void check_listen_ports(const struct value *document, struct findings *findings)
{
	static const char *const paths[] = { "admin_web_server.listen_port",
					     "prometheus.listen_port", "ranking.https_port" };
	const struct value *contest = value_get_path(document, "contest_web_server.listen_port");

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		check_port_range(paths[i], value_get_path(document, paths[i]), findings);
	for (size_t i = 0; i < validate_list_len(contest); i++)
		check_port_range("contest_web_server.listen_port", contest->array.items[i],
				 findings);
}

void validate_ports(const struct validation *validation)
{
	struct claims claims = { 0 };

	collect_rpc_ports(validation->document, &claims);
	collect_http_ports(validation->document, &claims);
	check_ports_not_borrowed(&claims, validation->context, validation->findings);
	check_ports_distinct(&claims, validation->findings);
	free(claims.items);
	check_listen_ports(validation->document, validation->findings);
	check_ranking_http_port(validation);
}
