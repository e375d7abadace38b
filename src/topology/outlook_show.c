/* SPDX-License-Identifier: MIT */
/* The outlook as text and as JSON. */
#include "cmsnode/topology/outlook.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

#define CONNECTIONS_A_PROCESS 15

const char *outlook_action_name(enum outlook_action action)
{
	switch (action) {
	case OUTLOOK_START:
		return "start";
	case OUTLOOK_STOP:
		return "stop";
	case OUTLOOK_RESTART:
		return "restart";
	case OUTLOOK_STAY:
		return "stay";
	case OUTLOOK_ACTIONS:
		break;
	}
	return "?";
}

char *outlook_connections_warning(const struct outlook *outlook, int64_t max_connections)
{
	const size_t processes = outlook->database_users;

	if (max_connections <= 0 || (int64_t)processes * CONNECTIONS_A_PROCESS <= max_connections)
		return NULL;
	return xasprintf("PostgreSQL's max_connections %d would not carry %d connections a process "
			 "x %zu processes = %zu: raise it, or use a connection pooler",
			 (int)max_connections, CONNECTIONS_A_PROCESS, processes,
			 processes * CONNECTIONS_A_PROCESS);
}

static bool same_place(const struct outlook_unit *a, const struct outlook_unit *b)
{
	return a->is_node == b->is_node && strcmp(a->place, b->place) == 0;
}

/* The end of the units that are where units[from] is. */
static size_t end_of_place(const struct outlook *outlook, size_t from)
{
	size_t end = from;

	while (end < outlook->len && same_place(&outlook->units[from], &outlook->units[end]))
		end++;
	return end;
}

/* ---- text ---- */

static char *unit_name(const struct outlook_unit *unit)
{
	return xasprintf("%s,%d", catalogue_at(unit->service)->name, unit->shard);
}

static size_t widest_name(const struct outlook *outlook)
{
	size_t width = 0;

	for (size_t i = 0; i < outlook->len; i++) {
		CLEAN(str) char *name = unit_name(&outlook->units[i]);

		if (outlook->units[i].action != OUTLOOK_STAY && strlen(name) > width)
			width = strlen(name);
	}
	return width;
}

static void add_unit_line(struct buf *text, const struct outlook_unit *unit, size_t width)
{
	CLEAN(str) char *name = unit_name(unit);

	(void)buf_addf(text, "  %-8s %-*s  %s", outlook_action_name(unit->action), (int)width, name,
		       unit->why);
	if (unit->turn)
		(void)buf_addf(text, ", in turn %d", unit->turn);
	(void)buf_adds(text, "\n");
}

/* "Worker,0-3 Worker,7": how many follow each other from units[at] on, and stay. */
static size_t run_length(const struct outlook *outlook, size_t at, size_t end)
{
	size_t n = 1;

	while (at + n < end && outlook->units[at + n].action == OUTLOOK_STAY &&
	       outlook->units[at + n].service == outlook->units[at].service &&
	       outlook->units[at + n].shard == outlook->units[at].shard + (int)n)
		n++;
	return n;
}

static void add_staying(struct buf *text, const struct outlook *outlook, size_t from, size_t end)
{
	bool any = false;
	size_t n = 1;

	for (size_t i = from; i < end; i += n) {
		const struct outlook_unit *unit = &outlook->units[i];
		CLEAN(str) char *name = unit_name(unit);

		n = 1;
		if (unit->action != OUTLOOK_STAY)
			continue;
		n = run_length(outlook, i, end);
		(void)buf_addf(text, "%s%s", any ? " " : "  stay     ", name);
		if (n > 1)
			(void)buf_addf(text, "-%d", unit->shard + (int)n - 1);
		any = true;
	}
	if (any)
		(void)buf_adds(text, "\n");
}

char *outlook_text(const struct outlook *outlook)
{
	const size_t width = widest_name(outlook);
	struct buf text = BUF_INIT(0);

	for (size_t i = 0; i < outlook->heads.len; i++)
		(void)buf_addf(&text, "%s\n", outlook->heads.items[i]);
	for (size_t from = 0; from < outlook->len;) {
		const struct outlook_unit *first = &outlook->units[from];
		const size_t end = end_of_place(outlook, from);

		(void)buf_addf(&text, "%s %s%s:\n", first->is_node ? "node" : "host", first->place,
			       first->is_away  ? " (away)" :
			       !first->is_node ? " (no live node has it)" :
						 "");
		for (size_t i = from; i < end; i++)
			if (outlook->units[i].action != OUTLOOK_STAY)
				add_unit_line(&text, &outlook->units[i], width);
		add_staying(&text, outlook, from, end);
		from = end;
	}
	return buf_steal(&text);
}

/* ---- JSON ---- */

static cJSON *unit_to_json(const struct outlook_unit *unit)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "service", catalogue_at(unit->service)->name);
	json_add_int(json, "shard", unit->shard);
	json_add_str(json, "action", outlook_action_name(unit->action));
	json_add_str(json, "why", unit->why);
	if (unit->turn)
		json_add_int(json, "turn", unit->turn);
	else
		json_add_str(json, "turn", NULL);
	return json;
}

static cJSON *place_to_json(const struct outlook *outlook, size_t from, size_t end)
{
	const struct outlook_unit *first = &outlook->units[from];
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "node", first->is_node ? first->place : NULL);
	json_add_str(json, "host", first->is_node ? NULL : first->place);
	json_add_bool(json, "away", first->is_away);
	cJSON *units = cJSON_AddArrayToObject(json, "units");

	for (size_t i = from; i < end; i++)
		(void)cJSON_AddItemToArray(units, unit_to_json(&outlook->units[i]));
	return json;
}

struct cJSON *outlook_to_json(const struct outlook *outlook)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str_list(json, "heads", &outlook->heads);
	for (int a = 0; a < OUTLOOK_ACTIONS; a++)
		json_add_int(json, outlook_action_name((enum outlook_action)a),
			     (int64_t)outlook->counts[a]);
	json_add_int(json, "turns", outlook->turns);
	cJSON *places = cJSON_AddArrayToObject(json, "places");

	for (size_t from = 0; from < outlook->len;) {
		const size_t end = end_of_place(outlook, from);

		(void)cJSON_AddItemToArray(places, place_to_json(outlook, from, end));
		from = end;
	}
	return json;
}
