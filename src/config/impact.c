/* SPDX-License-Identifier: MIT */
/*
 * Who must restart when the configuration changes: keys by their readers
 * (keys.def), entries of `services` by who dials them (the table below).
 * Optional restarts, which only freshen what Checker or a status page shows, are
 * not in it. Must never look at what runs; that is topology's.
 */
#include "cmsnode/config/impact.h"

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/topology/catalogue.h"

enum {
	RS = 1 << CATALOGUE_RESOURCE_SERVICE,
	SS = 1 << CATALOGUE_SCORING_SERVICE,
	CHECKER = 1 << CATALOGUE_CHECKER,
	ES = 1 << CATALOGUE_EVALUATION_SERVICE,
	WORKER = 1 << CATALOGUE_WORKER,
	CWS = 1 << CATALOGUE_CONTEST_WEB_SERVER,
	AWS = 1 << CATALOGUE_ADMIN_WEB_SERVER,
	PS = 1 << CATALOGUE_PROXY_SERVICE,
	EXPORTER = 1 << CATALOGUE_PROMETHEUS_EXPORTER,
};

/*
 * All peers connect in their constructors and keep the address they read then.
 * TelegramBot opens no port, RankingWebServer is never in the table.
 */
static const struct impact_row rows[CATALOGUE_COUNT] = {
	[CATALOGUE_LOG_SERVICE] = {
		.on_remove = CONFIG_KEY_ALL,
		.on_address_change = AWS | CHECKER | CWS | ES | EXPORTER | PS | RS | SS | WORKER,
		.self_on_address_change = true,
	},
	[CATALOGUE_RESOURCE_SERVICE] = {
		.on_add = AWS,
		.on_remove = AWS,
		.on_address_change = AWS,
		.self_on_address_change = true,
	},
	[CATALOGUE_SCORING_SERVICE] = {
		.on_add = AWS | CWS | ES,
		.on_address_change = AWS | CWS | ES,
		.self_on_address_change = true,
	},
	[CATALOGUE_CHECKER] = { .self_on_address_change = true },
	[CATALOGUE_EVALUATION_SERVICE] = {
		.on_add = AWS | CWS,
		.on_address_change = AWS | CWS | EXPORTER,
		.self_on_address_change = true,
	},
	[CATALOGUE_WORKER] = {
		.on_add = ES,
		/* At the end: leaves a slot without jobs. In the middle: the later ones move. */
		.on_remove = 0,
		.on_address_change = ES,
		.self_on_address_change = true,
	},
	[CATALOGUE_CONTEST_WEB_SERVER] = { .self_on_address_change = true },
	[CATALOGUE_ADMIN_WEB_SERVER] = { .self_on_address_change = true },
	[CATALOGUE_PROXY_SERVICE] = {
		.on_add = AWS | CWS | SS,
		.on_address_change = AWS | CWS | SS,
		.self_on_address_change = true,
	},
	[CATALOGUE_PRINTING_SERVICE] = {
		.on_add = CWS,
		.on_address_change = CWS,
		.self_on_address_change = true,
	},
	[CATALOGUE_PROMETHEUS_EXPORTER] = { .self_on_address_change = true },
};

const struct impact_row *impact_row_at(int index)
{
	return &rows[index];
}

/* The unit that is asked about. */
struct unit_id {
	int index; /* in the catalogue */
	uint32_t bit;
	size_t shard;
};

/* Absent equals absent only. */
static bool same(const struct value *a, const struct value *b)
{
	return (!a && !b) || (a && b && value_equal(a, b));
}

static const struct value *item_at(const struct value *array, size_t i)
{
	return array && array->type == VALUE_ARRAY && i < array->array.len ? array->array.items[i] :
									     NULL;
}

static size_t list_len(const struct value *list)
{
	return list && list->type == VALUE_ARRAY ? list->array.len : 0;
}

/* ---- services ---- */

/* Did the entry of shard k of service `index`, which differs, concern the unit? */
static bool entry_concerns(const struct unit_id *unit, int index, size_t k, const struct value *old,
			   const struct value *new)
{
	const struct impact_row *row = &rows[index];

	if (unit->index == index && unit->shard == k)
		return !old || (new && row->self_on_address_change);
	/* Peers dial shard 0 of these only. */
	if (catalogue_at((enum catalogue_index)index)->singleton && k > 0)
		return false;
	const uint32_t concerned = !old ? row->on_add :
				   !new ? row->on_remove :
					  row->on_address_change;

	return concerned & unit->bit;
}

static char *service_reason(const struct unit_id *unit, int index, const struct value *old,
			    const struct value *new)
{
	const char *name = catalogue_at((enum catalogue_index)index)->name;
	const struct value *old_list = value_get(old, name);
	const struct value *new_list = value_get(new, name);
	const size_t old_len = list_len(old_list);
	const size_t new_len = list_len(new_list);

	for (size_t k = 0; k < old_len || k < new_len; k++) {
		const struct value *before = item_at(old_list, k);
		const struct value *after = item_at(new_list, k);

		if (same(before, after) || !entry_concerns(unit, index, k, before, after))
			continue;
		return xasprintf("services.%s[%zu] %s", name, k,
				 !before ? "added" :
				 !after	 ? "removed" :
					   "changed");
	}
	return NULL;
}

static char *services_reason(const struct unit_id *unit, const struct value *old,
			     const struct value *new)
{
	for (int index = 0; index < CATALOGUE_COUNT; index++) {
		char *reason = service_reason(unit, index, value_get(old, "services"),
					      value_get(new, "services"));
		if (reason)
			return reason;
	}
	return NULL;
}

/* ---- keys ---- */

static bool is_listen_list(const char *path)
{
	return str_eq(path, "contest_web_server.listen_address") ||
	       str_eq(path, "contest_web_server.listen_port");
}

/* Shard k of ContestWebServer reads element k and nothing else of a listen list. */
static bool listen_list_concerns(const struct unit_id *unit, const struct value *old,
				 const struct value *new)
{
	return unit->index == CATALOGUE_CONTEST_WEB_SERVER &&
	       !same(item_at(old, unit->shard), item_at(new, unit->shard));
}

/* Does the key, whose value differs, concern the unit? */
static bool key_concerns(const struct unit_id *unit, const char *path, const struct value *old,
			 const struct value *new)
{
	const struct config_key *key = config_key_find(path);

	if (is_listen_list(path))
		return listen_list_concerns(unit, old, new);
	return !key || key->readers & unit->bit;
}

/* Members of `first` that differ from those of `second`; `added_only`: that `second` lacks. */
static char *members_reason(const struct unit_id *unit, const char *table,
			    const struct value *first, const struct value *second, bool added_only)
{
	if (!first || first->type != VALUE_TABLE)
		return NULL;
	for (size_t i = 0; i < first->table.len; i++) {
		const struct value_member *member = &first->table.members[i];
		const struct value *other = value_get(second, member->key);
		CLEAN(str) char *path = xasprintf("%s.%s", table, member->key);

		if (added_only ? other != NULL : same(member->value, other))
			continue;
		if (key_concerns(unit, path, member->value, other))
			return xasprintf("%s %s", path,
					 added_only ? "added" :
					 other	    ? "changed" :
						      "removed");
	}
	return NULL;
}

/* A top-level name: a table, or an unknown key that is none. */
static char *table_reason(const struct unit_id *unit, const char *name, const struct value *old,
			  const struct value *new)
{
	if (same(old, new))
		return NULL;
	if ((old && old->type != VALUE_TABLE) || (new &&new->type != VALUE_TABLE))
		return key_concerns(unit, name, old, new) ? xasprintf("%s changed", name) : NULL;
	char *reason = members_reason(unit, name, old, new, false);

	return reason ? reason : members_reason(unit, name, new, old, true);
}

/* Are these tables in the file that the unit reads, and decided by their keys? */
static bool decided_by_keys(const struct unit_id *unit, const char *name)
{
	if (str_eq(name, "ranking"))
		return unit->index == CATALOGUE_RANKING_WEB_SERVER;
	/* Nobody reads other_services. */
	return unit->index != CATALOGUE_RANKING_WEB_SERVER && !str_eq(name, "services") &&
	       !str_eq(name, "other_services");
}

static char *keys_reason(const struct unit_id *unit, const struct value *old,
			 const struct value *new)
{
	const struct value *const documents[] = { old, new };

	for (size_t d = 0; d < ARRAY_LEN(documents); d++) {
		for (size_t i = 0; i < documents[d]->table.len; i++) {
			const char *name = documents[d]->table.members[i].key;
			if (!decided_by_keys(unit, name))
				continue;
			char *reason = table_reason(unit, name, value_get(old, name),
						    value_get(new, name));
			if (reason)
				return reason;
		}
	}
	return NULL;
}

static char *find_reason(const struct unit_id *unit, const struct value *old,
			 const struct value *new)
{
	char *reason = keys_reason(unit, old, new);

	if (!reason && unit->index != CATALOGUE_RANKING_WEB_SERVER)
		reason = services_reason(unit, old, new);
	return reason;
}

bool impact_must_restart(const char *service, int shard, const struct value *old,
			 const struct value *new, char **ret_why)
{
	const int index = catalogue_index_of(service);
	CLEAN(str) char *reason = NULL;

	if (index >= 0 && shard >= 0) {
		const struct unit_id unit = { .index = index,
					      .bit = 1u << index,
					      .shard = (size_t)shard };

		reason = find_reason(&unit, old, new);
	}
	const bool must = reason != NULL;

	if (ret_why)
		*ret_why = steal(reason);
	return must;
}
