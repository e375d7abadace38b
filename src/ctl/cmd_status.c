/* SPDX-License-Identifier: MIT */
/*
 * `status`: what this node is and what it runs, once or (--wait) as soon as it
 * is well. Owns the words in which a status entry is shown.
 */
#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

enum {
	POLL_PAUSE_MS = 200,
	ONE_ANSWER_MS = 10 * 1000, /* within --wait: then the connection is tried anew */
	MISSING_MAX = 8, /* so many services are named one by one */
};

static const double wait_default_s = 60;

static int64_t get_int(const cJSON *object, const char *key)
{
	int64_t value = 0;

	(void)json_get_int64(object, key, &value);
	return value;
}

static const char *or_dash(const char *text)
{
	return text && *text ? text : "-";
}

/* --- is it well? --- */

/* Stopped or disabled on purpose: nothing to wait for. */
static bool service_is_resting(const cJSON *service)
{
	const char *state = json_get_str(service, "state");

	return str_eq(state, "disabled") || str_eq(state, "stopped");
}

static bool service_is_well(const cJSON *service)
{
	return str_eq(json_get_str(service, "state"), "running") &&
	       json_get_bool(service, "healthy", false);
}

/* Why it is as it is; "" if nothing is said. */
static char *remark(const cJSON *service)
{
	const char *note = json_get_str(service, "note");
	const char *last_exit = json_get_str(service, "last_exit");

	return xasprintf("%s%s%s%s", note ? note : "", note && last_exit ? "; " : "",
			 last_exit ? "last exit: " : "", last_exit ? last_exit : "");
}

static char *describe_missing(const cJSON *service)
{
	const char *state = json_get_str(service, "state");
	const bool young = str_eq(state, "running");
	CLEAN(str) char *why = remark(service);

	return xasprintf("%s,%" PRId64 " is %s%s%s%s", or_dash(json_get_str(service, "service")),
			 get_int(service, "shard"),
			 young ? "running but not healthy yet" : or_dash(state), *why ? " (" : "",
			 why, *why ? ")" : "");
}

static void add_missing_services(const cJSON *status, struct str_list *missing)
{
	const cJSON *service;
	size_t unnamed = 0;

	cJSON_ArrayForEach(service, json_get_array(status, "services")) {
		if (service_is_resting(service) || service_is_well(service))
			continue;
		if (missing->len < MISSING_MAX)
			str_list_take(missing, describe_missing(service));
		else
			unnamed++;
	}
	if (unnamed)
		str_list_take(missing, xasprintf("%zu more services are not well", unnamed));
}

static void add_missing_config(const cJSON *status, struct str_list *missing)
{
	const cJSON *config = json_get_object(status, "config");
	const char *current = json_get_str(config, "current");
	CLEAN(str) char *refused = ctl_value_text(json_get(config, "refused"));

	if (!current) {
		str_list_add(missing, "there is no agreed configuration");
	} else if (!str_eq(current, json_get_str(config, "applied"))) {
		str_list_take(missing, xasprintf("configuration %s is not applied", current));
		if (refused)
			str_list_take(missing, xasprintf("it is refused: %s", refused));
	}
}

char *ctl_status_missing(const cJSON *status)
{
	CLEAN(str_list) struct str_list missing = { 0 };
	const cJSON *node = json_get_object(status, "node");
	const char *state = json_get_str(node, "state");
	const char *note = json_get_str(node, "note");

	if (!str_eq(state, "active"))
		str_list_take(&missing,
			      xasprintf("the node is %s%s%s%s", or_dash(state), note ? " (" : "",
					note ? note : "", note ? ")" : ""));
	add_missing_config(status, &missing);
	add_missing_services(status, &missing);
	return missing.len ? str_list_join(&missing, "; ") : NULL;
}

/* --- for people: the head --- */

static void add_line(struct ctl_table *table, const char *name, enum ctl_tone tone,
		     const char *text)
{
	ctl_table_add(table, CTL_PLAIN, name);
	ctl_table_add(table, tone, text);
}

static enum ctl_tone node_tone(const char *state)
{
	if (str_eq(state, "active"))
		return CTL_PLAIN;
	return str_eq(state, "held") || str_eq(state, "degraded") ? CTL_BAD : CTL_WARN;
}

static void add_node_lines(struct ctl_table *table, const cJSON *node)
{
	const char *state = json_get_str(node, "state");
	const char *interface = json_get_str(node, "interface");
	const char *note = json_get_str(node, "note");
	const char *address = json_get_str(node, "address");
	CLEAN(str)
	char *source = xasprintf("%s (%s)", or_dash(json_get_str(node, "id")),
				 or_dash(json_get_str(node, "id_source")));
	CLEAN(str)
	char *where = interface && address ? xasprintf("%s on %s", address, interface) :
					     xstrdup(or_dash(address));
	CLEAN(str_list) struct str_list roles = { 0 };

	(void)json_get_str_list(node, "roles", &roles);
	CLEAN(str) char *role_text = str_list_join(&roles, ", ");

	add_line(table, "node", CTL_HEAD, source);
	add_line(table, "state", node_tone(state), state);
	if (note)
		add_line(table, "note", node_tone(state), note);
	add_line(table, "address", address ? CTL_PLAIN : CTL_BAD, where);
	add_line(table, "roles", CTL_PLAIN, role_text);
}

static void add_store_line(struct ctl_table *table, const cJSON *store)
{
	const bool connected = json_get_bool(store, "connected", false);
	const cJSON *contact = json_get(store, "last_contact_s");
	const char *endpoint = json_get_str(store, "endpoint");
	char ago[32];
	CLEAN(str) char *when = NULL;

	if (cJSON_IsNumber(contact)) {
		ctl_elapsed(contact->valuedouble, ago);
		when = xasprintf(", last contact %s ago", ago);
	}
	CLEAN(str)
	char *text = xasprintf("%s%s%s, %s%s", or_dash(json_get_str(store, "kind")),
			       endpoint ? " " : "", endpoint ? endpoint : "",
			       connected ? "connected" : "NOT CONNECTED", when ? when : "");

	add_line(table, "store", connected ? CTL_PLAIN : CTL_BAD, text);
}

static void add_config_lines(struct ctl_table *table, const cJSON *config)
{
	const char *current = json_get_str(config, "current");
	const char *applied = json_get_str(config, "applied");
	const char *format = json_get_str(config, "format");
	CLEAN(str) char *refused = ctl_value_text(json_get(config, "refused"));
	CLEAN(str)
	char *text = xasprintf("%s%s%s%s", current ? current : "none agreed yet",
			       format ? " (" : "", format ? format : "", format ? ")" : "");

	add_line(table, "config", current ? CTL_PLAIN : CTL_WARN, text);
	if (!str_eq(current, applied))
		add_line(table, "applied", CTL_WARN, applied ? applied : "none yet");
	if (refused)
		add_line(table, "refused", CTL_BAD, refused);
}

static void add_daemon_line(struct ctl_table *table, const cJSON *node)
{
	char up[32];

	ctl_elapsed(json_get_double(node, "uptime_s", 0), up);
	CLEAN(str)
	char *text = xasprintf("version %s, pid %" PRId64 ", up %s",
			       or_dash(json_get_str(node, "version")), get_int(node, "pid"), up);

	add_line(table, "daemon", CTL_PLAIN, text);
}

static void print_head(const cJSON *status, bool colour)
{
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(2);
	const cJSON *node = json_get_object(status, "node");

	add_node_lines(&table, node);
	add_store_line(&table, json_get_object(status, "store"));
	add_config_lines(&table, json_get_object(status, "config"));
	add_daemon_line(&table, node);
	ctl_table_print(&table, colour);
}

/* --- for people: the services --- */

static enum ctl_tone service_tone(const cJSON *service)
{
	const char *state = json_get_str(service, "state");

	if (service_is_resting(service) || service_is_well(service))
		return CTL_PLAIN;
	/* A running one that is not healthy is only young, else it would be called unhealthy. */
	return str_eq(state, "unhealthy") || str_eq(state, "backoff") ? CTL_BAD : CTL_WARN;
}

static const char *health_word(const cJSON *service)
{
	if (service_is_resting(service))
		return NULL;
	return json_get_bool(service, "healthy", false) ? "yes" : "no";
}

static void add_service_cells(struct ctl_table *table, const cJSON *service, double now)
{
	const enum ctl_tone tone = service_tone(service);
	const int64_t pid = get_int(service, "pid");
	const int64_t restarts = get_int(service, "restarts");
	const double since = json_get_double(service, "since", 0);
	char elapsed[32] = "";
	CLEAN(str) char *pid_text = pid > 0 ? xasprintf("%" PRId64, pid) : NULL;
	CLEAN(str) char *text = remark(service);

	if (since > 0)
		ctl_elapsed(now - since, elapsed);
	ctl_table_addf(table, CTL_PLAIN, "%s,%" PRId64, or_dash(json_get_str(service, "service")),
		       get_int(service, "shard"));
	ctl_table_add(table, tone, json_get_str(service, "state"));
	ctl_table_add(table, tone, health_word(service));
	ctl_table_add(table, CTL_PLAIN, json_get_str(service, "address"));
	ctl_table_add(table, CTL_PLAIN, pid_text);
	ctl_table_add(table, CTL_PLAIN, elapsed);
	ctl_table_addf(table, restarts > 0 ? CTL_WARN : CTL_PLAIN, "%" PRId64, restarts);
	ctl_table_add(table, tone, text);
}

static const char *const service_head[] = {
	"NODE", "SERVICE", "STATE", "HEALTHY", "ADDRESS", "PID", "SINCE", "RESTARTS", "NOTE",
};

void ctl_print_services(const cJSON *services, double now, bool colour)
{
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(service_head) - 1);
	const cJSON *service;

	if (cJSON_GetArraySize(services) == 0) {
		(void)puts("no services");
		return;
	}
	ctl_table_add_row(&table, CTL_HEAD, service_head + 1);
	cJSON_ArrayForEach(service, services)
		add_service_cells(&table, service, now);
	ctl_table_print(&table, colour);
}

/* --- for people: the cluster --- */

static void add_node_row(struct ctl_table *table, const cJSON *status)
{
	const cJSON *node = json_get_object(status, "node");
	const char *state = json_get_str(node, "state");
	const cJSON *services = json_get_array(status, "services");
	const cJSON *service;
	int active = 0;
	int well = 0;

	cJSON_ArrayForEach(service, services) {
		active += !service_is_resting(service);
		well += service_is_well(service);
	}
	ctl_table_add(table, CTL_PLAIN, json_get_str(node, "id"));
	ctl_table_add(table, node_tone(state), state);
	ctl_table_add(table, CTL_PLAIN, json_get_str(node, "address"));
	ctl_table_addf(table, CTL_PLAIN, "%d of %d", well, active);
	ctl_table_add(table, CTL_PLAIN, json_get_str(json_get_object(status, "config"), "applied"));
	ctl_table_add(table, node_tone(state), json_get_str(node, "note"));
}

static void print_cluster(const cJSON *nodes, double now, bool colour)
{
	static const char *const node_head[] = {
		"NODE", "STATE", "ADDRESS", "HEALTHY", "APPLIED", "NOTE",
	};
	CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(ARRAY_LEN(node_head));
	CLEAN(ctl_table) struct ctl_table services = CTL_TABLE_INIT(ARRAY_LEN(service_head));
	const cJSON *status;

	ctl_table_add_row(&table, CTL_HEAD, node_head);
	ctl_table_add_row(&services, CTL_HEAD, service_head);
	cJSON_ArrayForEach(status, nodes) {
		const char *id = json_get_str(json_get_object(status, "node"), "id");
		const cJSON *service;

		add_node_row(&table, status);
		cJSON_ArrayForEach(service, json_get_array(status, "services")) {
			ctl_table_add(&services, CTL_PLAIN, id);
			add_service_cells(&services, service, now);
		}
	}
	ctl_table_print(&table, colour);
	(void)puts("");
	ctl_table_print(&services, colour);
}

static void print_status(const struct ctl *ctl, const cJSON *status)
{
	const double now = clock_wall_s();
	const cJSON *nodes = json_get_array(status, "nodes");

	if (ctl->json) {
		ctl_print_json(status);
		return;
	}
	print_head(status, ctl->colour);
	(void)puts("");
	if (nodes)
		print_cluster(nodes, now, ctl->colour);
	else
		ctl_print_services(json_get_array(status, "services"), now, ctl->colour);
}

/* --- asking --- */

static int ask_status(const struct ctl *ctl, int64_t deadline_ms, cJSON **ret, struct err *err)
{
	cJSON *request = ctl_request("status");

	json_add_bool(request, "cluster", ctl->cluster);
	return ctl_ask(ctl, request, deadline_ms, ret, err);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* A daemon that is not there (yet, or for a moment) is waited for too. */
static int wait_until_well(const struct ctl *ctl, cJSON **ret, struct err *err)
{
	const double timeout_s = ctl->timeout_s > 0 ? ctl->timeout_s : wait_default_s;
	const int64_t deadline_ms = clock_now_ms() + (int64_t)(timeout_s * 1000);

	for (;;) {
		CLEAN(json) cJSON *status = NULL;
		CLEAN(str) char *missing = NULL;
		struct err trouble = { 0 };
		const int64_t answer_ms = earlier(deadline_ms, clock_now_ms() + ONE_ANSWER_MS);
		const int r = ask_status(ctl, answer_ms, &status, &trouble);
		if (r < 0 && r != ERR_UNAVAILABLE)
			return err_set(err, r, "%s", trouble.msg);
		if (r == 0) {
			missing = ctl_status_missing(status);
			if (!missing) {
				*ret = steal(status);
				return 0;
			}
		}
		if (clock_now_ms() + POLL_PAUSE_MS > deadline_ms) {
			CLEAN(str)
			char *safe = ctl_printable(missing ? missing : trouble.msg, false);

			return err_set(err, -ETIMEDOUT, "not ready after %g s: %s", timeout_s,
				       safe);
		}
		(void)poll(NULL, 0, POLL_PAUSE_MS);
	}
}

int ctl_status(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *status = NULL;
	const int r = ctl->wait ? wait_until_well(ctl, &status, err) :
				  ask_status(ctl, clock_now_ms() + ONE_ANSWER_MS, &status, err);
	if (r < 0)
		return r;
	print_status(ctl, status);
	return 0;
}
