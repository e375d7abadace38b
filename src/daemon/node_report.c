/* SPDX-License-Identifier: MIT */
/* Gathers what `status` shows from the stages. Changes nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/store/store.h"
#include "cmsnode/supervision/supervisor.h"
#include "config.h"
#include "node_internal.h"

static const struct derived_slot *find_slot(const struct node *node, const char *service, int shard)
{
	for (size_t i = 0; i < node->derivation.len; i++)
		if (node->derivation.items[i].shard == shard &&
		    strcmp(node->derivation.items[i].service, service) == 0)
			return &node->derivation.items[i];
	return NULL;
}

static void fill_unit(const struct node *node, const struct unit_status *unit,
		      struct report_service *ret)
{
	const struct derived_slot *slot = find_slot(node, unit->service, unit->shard);

	*ret = (struct report_service){ .service = unit->service,
					.shard = unit->shard,
					.state = unit_state_name(unit->state),
					.healthy = unit->healthy,
					.pid = unit->pid,
					.since = unit->since,
					.restarts = unit->restarts,
					.last_exit = unit->last_exit,
					.generation = unit->generation,
					.note = unit->note };
	if (slot)
		(void)snprintf(ret->address, sizeof(ret->address), "%.100s:%d", slot->host,
			       slot->port);
	/* Names are off in this version: a service is found by its address. */
	ret->name = xasprintf("%s-%d", unit->service, unit->shard);
}

/* ResourceService is this process. */
static void fill_ourselves(const struct node *node, struct report_service *ret)
{
	const struct rendered *newest =
		node->rendered_len ? &node->rendered[node->rendered_len - 1] : NULL;

	*ret = (struct report_service){ .service = "ResourceService",
					.shard = node->rpc_shard,
					.name = xasprintf("ResourceService-%d", node->rpc_shard),
					.state = node->rpc_server ? "running" : "backoff",
					.healthy = node->rpc_server,
					.pid = getpid(),
					.since = node->rpc_since,
					.generation = newest ? newest->generation : NULL,
					.note = node->rpc_trouble ? node->rpc_trouble :
								    "this daemon" };
	const struct derived_slot *slot = find_slot(node, "ResourceService", node->rpc_shard);

	if (slot)
		(void)snprintf(ret->address, sizeof(ret->address), "%.100s:%d", slot->host,
			       slot->port);
}

static struct report_service *list_services(const struct node *node, size_t *ret_len)
{
	const size_t units = supervisor_count(node->supervisor);
	struct report_service *services = xcalloc(units + 1, sizeof(*services));
	size_t len = 0;

	for (size_t i = 0; i < units; i++) {
		struct unit_status unit;

		supervisor_status(node->supervisor, i, &unit);
		fill_unit(node, &unit, &services[len++]);
	}
	if (node->rpc_address)
		fill_ourselves(node, &services[len++]);
	*ret_len = len;
	return services;
}

static enum node_report_state judge(const struct node *node, const struct report *report)
{
	const struct agreement *agreement =
		node->driver ? agreement_driver_agreement(node->driver) : NULL;

	if (node->stopping)
		return REPORT_STOPPING;
	if (!agreement)
		return REPORT_STARTING;
	if (agreement_is_held(agreement))
		return REPORT_HELD;
	if (!agreement_agreed(agreement) || !agreement_is_member(agreement))
		return REPORT_JOINING;
	const struct generation_node *self =
		generation_node_find(agreement_agreed(agreement), node->self.id);

	if (self && (self->state == NODE_DRAINING || self->state == NODE_DRAINED))
		return REPORT_DRAINING;
	if (node->refused || node->missing || node->file.trouble || !report->connected ||
	    report->store_refuses || agreement_trouble(agreement))
		return REPORT_DEGRADED;
	return REPORT_ACTIVE;
}

/* A contest begins by each ContestWebServer's own clock. Whole seconds: a note is news. */
static void judge_clock(struct node *node, double ahead_s)
{
	const int64_t seconds = (int64_t)(ahead_s < 0 ? -ahead_s : ahead_s);
	char *note = seconds < 1 ?
			     NULL :
			     xasprintf("the clock of this machine is more than %" PRId64
				       " s %s etcd's: contests begin and end by it, see to NTP",
				       seconds, ahead_s < 0 ? "behind" : "ahead of");

	if (note && !node->clock_note)
		log_warning("daemon", "%s", note);
	else if (!note && node->clock_note)
		log_info("daemon", "the clocks of this machine and of etcd agree again");
	free(node->clock_note);
	node->clock_note = note;
}

static void fill_store(struct node *node, struct report *ret)
{
	struct store_status status = { .kind = node->options->standalone ? "standalone" : "etcd" };

	if (node->store)
		node->store->backend->status(node->store, &status);
	ret->store_kind = status.kind;
	ret->endpoint = status.endpoint;
	ret->connected = status.connected;
	ret->revision = status.revision;
	ret->note = status.connected ? status.refusing : status.trouble;
	ret->store_refuses = status.refusing;
	ret->store_version = status.version;
	ret->clock_ahead_s = status.clock_ahead_s;
	judge_clock(node, status.clock_ahead_s);
	if (!ret->note)
		ret->note = node->names.trouble ? node->names.trouble : node->clock_note;
	node->counters = status.counters;
	if (!node->options->standalone)
		ret->counters = &node->counters;
	ret->last_contact_s = status.last_contact_ms ?
				      (double)(clock_now_ms() - status.last_contact_ms) / 1000.0 :
				      -1.0;
}

static void fill_config(const struct node *node, struct report *ret)
{
	const struct agreement *agreement =
		node->driver ? agreement_driver_agreement(node->driver) : NULL;
	const struct current *current = agreement ? agreement_current(agreement) : NULL;

	ret->current = current && current->mod_revision ? current->name : NULL;
	ret->applied =
		node->rendered_len ? node->rendered[node->rendered_len - 1].generation : NULL;
	ret->format = node->rendered_len ? cms_format_name(node->format) : NULL;
	ret->refused = node->refused	  ? node->refused :
		       node->file.trouble ? node->file.trouble :
					    node->missing;
	if (ret->refused)
		ret->note = ret->refused;
	else if (agreement && agreement_trouble(agreement))
		ret->note = agreement_trouble(agreement);
	else if (!agreement)
		ret->note = node->choice.reason;
}

void node_report(struct node *node, struct report *ret)
{
	*ret = (struct report){ .id = node->identity.id,
				.id_source = identity_source_name(node->identity.source),
				.address = node->self.address,
				.interface = node->choice.link,
				.roles = &node->self.roles,
				.version = PACKAGE_VERSION,
				.pid = getpid(),
				.uptime_s = (double)(clock_now_ms() - node->started_ms) / 1000.0 };
	fill_store(node, ret);
	fill_config(node, ret);
	ret->services = list_services(node, &ret->services_len);
	ret->state = judge(node, ret);
}

void node_report_end(struct report *report)
{
	for (size_t i = 0; i < report->services_len; i++)
		free((char *)report->services[i].name);
	free((struct report_service *)report->services);
}
