/* SPDX-License-Identifier: MIT */
/* A generation as CMS reads it: slots become [host, port] pairs, "auto" entries become values. */
#include "cmsnode/agreement/generation.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/topology/names.h"

struct rendering {
	const struct generation *generation;
	const char *zone; /* NULL = no names */
	bool without_vacant_tail;
};

static const char *slot_address(const struct generation *generation, const struct slot *slot)
{
	if (slot->host)
		return slot->host;
	if (slot->node) {
		const struct generation_node *node = generation_node_find(generation, slot->node);

		if (node && node->address[0])
			return node->address;
	}
	return SLOT_VACANT_ADDRESS;
}

/* Caller frees. */
static char *slot_host(const struct rendering *rendering, enum catalogue_index service, size_t k)
{
	const struct slot *slot = &rendering->generation->slots.lists[service].items[k];
	char name[NAMES_NAME_SIZE];

	if (!rendering->zone || slot->host)
		return xstrdup(slot_address(rendering->generation, slot));
	names_format(service, k, rendering->zone, name);
	return xstrdup(name);
}

/*
 * Nobody needs the vacant tail of a list that may have any length, unless it is
 * names; a singleton's entry is mandatory.
 */
static size_t rendered_length(const struct rendering *rendering, enum catalogue_index service)
{
	const struct slot_list *list = &rendering->generation->slots.lists[service];
	size_t len = list->len;

	if (catalogue_at(service)->singleton ||
	    (rendering->zone && !rendering->without_vacant_tail))
		return len;
	while (len > 0 && slot_is_vacant(&list->items[len - 1]))
		len--;
	return len;
}

static struct value *render_service(const struct rendering *rendering, enum catalogue_index s)
{
	const struct slot_list *list = &rendering->generation->slots.lists[s];
	const size_t len = rendered_length(rendering, s);
	struct value *array = value_new_array();

	for (size_t k = 0; k < len; k++) {
		struct value *pair = value_new_array();
		CLEAN(str) char *host = slot_host(rendering, s, k);

		value_array_add(pair, value_new_string(host));
		value_array_add(pair, value_new_int(list->items[k].port));
		value_array_add(array, pair);
	}
	return array;
}

static bool is_auto(const struct value *value)
{
	return !value || (value->type == VALUE_STRING && strcmp(value->text, "auto") == 0);
}

/* Element k: the operator's, else the last one of a shorter list, else the slot's own. */
static struct value *listen_element(const struct value *list, size_t k, struct value *own)
{
	if (is_auto(list) || list->type != VALUE_ARRAY || list->array.len == 0)
		return own;
	const size_t last = list->array.len - 1;
	struct value *element = value_clone(list->array.items[k < last ? k : last]);

	/* Two servers of one host cannot share a port: only an address is repeated. */
	if (k > last && own->type == VALUE_INT) {
		value_free(element);
		return own;
	}
	value_free(own);
	return element;
}

static void render_listen(const struct rendering *rendering, struct value *document)
{
	const struct generation *generation = rendering->generation;
	const struct slot_list *list = &generation->slots.lists[CATALOGUE_CONTEST_WEB_SERVER];
	const size_t len = rendered_length(rendering, CATALOGUE_CONTEST_WEB_SERVER);
	const struct value *addresses =
		value_get_path(document, "contest_web_server.listen_address");
	const struct value *ports = value_get_path(document, "contest_web_server.listen_port");
	struct value *new_addresses = value_new_array();
	struct value *new_ports = value_new_array();

	for (size_t k = 0; k < len; k++) {
		const struct slot *slot = &list->items[k];
		const int port = slot->http_port ? slot->http_port :
				 k == 0		 ? 8888 :
						   8900 + (int)(k % 100);

		value_array_add(new_addresses,
				listen_element(addresses, k,
					       value_new_string(slot_address(generation, slot))));
		value_array_add(new_ports, listen_element(ports, k, value_new_int(port)));
	}
	value_set_path(document, "contest_web_server.listen_address", new_addresses);
	value_set_path(document, "contest_web_server.listen_port", new_ports);
}

bool generation_derives_rankings(const struct generation *generation)
{
	return is_auto(value_get_path(generation->cms, "proxy_service.rankings"));
}

/* ContestWebServer k's HTTP port; 0 = none before somebody has the slot. */
static int http_port(const struct generation *generation, size_t k)
{
	const struct value *ports =
		value_get_path(generation->cms, "contest_web_server.listen_port");

	if (!is_auto(ports) && ports->type == VALUE_ARRAY && k < ports->array.len &&
	    ports->array.items[k]->type == VALUE_INT)
		return (int)ports->array.items[k]->integer;
	return generation->slots.lists[CATALOGUE_CONTEST_WEB_SERVER].items[k].http_port;
}

/* What CMS takes where nothing is said. */
static const struct {
	enum catalogue_index service;
	const char *path;
	int fallback;
} port_entries[] = {
	{ CATALOGUE_ADMIN_WEB_SERVER, "admin_web_server.listen_port", 8889 },
	{ CATALOGUE_PROMETHEUS_EXPORTER, "prometheus.listen_port", 8811 },
	{ CATALOGUE_RANKING_WEB_SERVER, "ranking.http_port", 8890 },
	{ CATALOGUE_RANKING_WEB_SERVER, "ranking.https_port", 0 },
};

static int entry_port(const struct generation *generation, size_t i)
{
	return (int)value_get_int(generation->cms, port_entries[i].path, port_entries[i].fallback);
}

bool generation_port_is_configured(const struct generation *generation, int port,
				   enum catalogue_index service)
{
	for (size_t i = 0; i < ARRAY_LEN(port_entries); i++)
		if (port_entries[i].service != service && entry_port(generation, i) == port)
			return true;
	return false;
}

size_t generation_slot_ports(const struct generation *generation, enum catalogue_index service,
			     size_t k, int ret[GENERATION_SLOT_PORTS])
{
	size_t n = 0;

	if (catalogue_at(service)->rpc)
		ret[n++] = generation->slots.lists[service].items[k].port;
	if (service == CATALOGUE_CONTEST_WEB_SERVER)
		ret[n++] = http_port(generation, k);
	for (size_t i = 0; i < ARRAY_LEN(port_entries); i++)
		if (port_entries[i].service == service)
			ret[n++] = entry_port(generation, i);
	size_t used = 0;

	for (size_t i = 0; i < n; i++)
		if (ret[i] > 0 && ret[i] <= UINT16_MAX)
			ret[used++] = ret[i];
	return used;
}

/* ---- rankings ------------------------------------------------------------ */

/* As a part of a URL: all but letters, digits and "-._~" escaped. */
static void add_escaped(struct buf *url, const char *text)
{
	for (const char *c = text; *c; c++) {
		const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
				   (*c >= '0' && *c <= '9') || strchr("-._~", *c);

		(void)buf_addf(url, plain ? "%c" : "%%%02X", (unsigned char)*c);
	}
}

/* Where ProxyService reaches RankingWebServer k; what is not said is as CMS takes it. */
static struct value *ranking_url(const struct rendering *rendering, size_t k)
{
	const struct value *cms = rendering->generation->cms;
	const int64_t http = value_get_int(cms, "ranking.http_port", 8890);
	const int64_t port = http ? http : value_get_int(cms, "ranking.https_port", 0);
	CLEAN(str) char *host = slot_host(rendering, CATALOGUE_RANKING_WEB_SERVER, k);
	const bool is_ipv6 = strchr(host, ':');
	struct buf url = BUF_INIT(0);

	(void)buf_adds(&url, http ? "http://" : "https://");
	add_escaped(&url, value_get_str(cms, "ranking.username", "usern4me"));
	(void)buf_adds(&url, ":");
	add_escaped(&url, value_get_str(cms, "ranking.password", "passw0rd"));
	(void)buf_addf(&url, "@%s%s%s:%lld/", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "",
		       (long long)port);
	CLEAN(str) char *text = buf_steal(&url);

	return value_new_string(text);
}

/* Without ProxyService there is nobody to feed them, and CMS refuses to start with any. */
static void render_rankings(const struct rendering *rendering, struct value *document)
{
	static const char path[] = "proxy_service.rankings";
	const struct generation *generation = rendering->generation;
	const struct slot_list *list = &generation->slots.lists[CATALOGUE_RANKING_WEB_SERVER];
	const bool fed = generation->slots.lists[CATALOGUE_PROXY_SERVICE].len > 0;
	CLEAN(value) struct value *rankings = value_new_array();

	for (size_t k = 0; fed && k < list->len; k++)
		if (rendering->zone ||
		    !str_eq(slot_address(generation, &list->items[k]), SLOT_VACANT_ADDRESS))
			value_array_add(rankings, ranking_url(rendering, k));
	/* Where nothing is said and nobody offers one, CMS's own default stays. */
	if (generation_derives_rankings(generation) &&
	    (rankings->array.len > 0 || value_get_path(document, path)))
		value_set_path(document, path, steal(rankings));
}

/* ---- all ------------------------------------------------------------------- */

struct value *generation_render_as(const struct generation *generation,
				   const struct render_settings *settings)
{
	const struct rendering rendering = { generation,
					     generation->policy.names ? settings->zone : NULL,
					     settings->without_vacant_tail };
	struct value *document = value_clone(generation->cms);
	struct value *services = value_new_table();

	for (int s = 0; s < CATALOGUE_COUNT; s++)
		if (generation->slots.lists[s].listed &&
		    catalogue_at((enum catalogue_index)s)->listed)
			value_set(services, catalogue_at((enum catalogue_index)s)->name,
				  render_service(&rendering, (enum catalogue_index)s));
	value_set(document, "services", services);
	render_listen(&rendering, document);
	render_rankings(&rendering, document);
	return document;
}

struct value *generation_render(const struct generation *generation)
{
	return generation_render_as(generation, &(struct render_settings){ 0 });
}
