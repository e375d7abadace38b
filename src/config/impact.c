/* SPDX-License-Identifier: MIT */
/*
 * Who must restart when the configuration changes: keys by their readers
 * (keys.def), entries of `services` by who dials them (the table below).
 * Optional restarts, which only freshen what Checker or a status page shows, are
 * not in it. Must never look at what runs; that is topology's.
 */
#include "cmsnode/config/impact.h"

#include <stdlib.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/diff.h"
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
	PRINTING = 1 << CATALOGUE_PRINTING_SERVICE,
	EXPORTER = 1 << CATALOGUE_PROMETHEUS_EXPORTER,
	RWS = 1 << CATALOGUE_RANKING_WEB_SERVER,
};

/* All but RankingWebServer, which has a file of its own. */
#define MAIN_FILE (CONFIG_KEY_ALL & ~(uint32_t)RWS)

/* Who must restart for an entry of `services`: sets of bits as in keys.h. */
struct row {
	uint32_t on_add;
	uint32_t on_remove;
	uint32_t on_address_change;
	bool self_on_address_change; /* the moved shard itself must restart */
};

/*
 * All peers connect in their constructors and keep the address they read then.
 * TelegramBot opens no port, RankingWebServer is never in the table.
 */
static const struct row rows[CATALOGUE_COUNT] = {
	[CATALOGUE_LOG_SERVICE] = {
		.on_remove = MAIN_FILE,
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

uint32_t impact_readers(const struct config_key *key, enum cms_format format)
{
	const bool toml = format == CMS_FORMAT_TOML;

	if (!config_key_is_in(key, format))
		return 0;
	/* 1.6 warns of any value but its only one, and has no PrintingService. */
	if (toml && str_eq(key->path, "sandbox.sandbox_implementation"))
		return 0;
	return toml ? key->readers & ~(uint32_t)PRINTING : key->readers;
}

/* One difference, and whom it concerns. */
struct cause {
	char *reason;
	uint32_t concerned; /* bits of the catalogue */
	/* the shard that the difference is about, whose bit does not count; -1: none */
	int self;
	size_t shard;
	bool self_concerned;
	bool can_wait; /* for whoever else it concerns */
};

struct impact {
	enum cms_format format;
	struct cause *causes;
	size_t len, cap;
	struct str_list unknown;
};

void impact_free(struct impact *impact)
{
	if (!impact)
		return;
	for (size_t i = 0; i < impact->len; i++)
		free(impact->causes[i].reason);
	free(impact->causes);
	str_list_fini(&impact->unknown);
	free(impact);
}

/* Takes the reason. */
static void add_cause(struct impact *impact, struct cause cause)
{
	if (!cause.concerned && !cause.self_concerned) {
		free(cause.reason);
		return;
	}
	GROW(impact->causes, impact->len, impact->cap);
	impact->causes[impact->len++] = cause;
}

/* Absent equals absent only. */
static bool same(const struct value *a, const struct value *b)
{
	return a && b ? value_equal(a, b) : a == b;
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

static const char *what_happened(const struct value *old, const struct value *new)
{
	if (!old)
		return "added";
	return new ? "changed" : "removed";
}

/* ---- services ---- */

/* The entry of shard k of service `index` differs. */
static void entry_causes(struct impact *impact, int index, size_t k, const struct value *old,
			 const struct value *new)
{
	const struct catalogue_service *service = catalogue_at((enum catalogue_index)index);
	const struct row *row = &rows[index];
	struct cause cause = {
		.reason =
			xasprintf("services.%s[%zu] %s", service->name, k, what_happened(old, new)),
		.concerned = !old ? row->on_add :
			     new  ? row->on_address_change :
				    row->on_remove,
		.self = index,
		.shard = k,
		.self_concerned = !old || (new && row->self_on_address_change),
		/* Nobody's work rests on one shard of these. */
		.can_wait = index == CATALOGUE_WORKER || index == CATALOGUE_RESOURCE_SERVICE,
	};

	/* Peers dial shard 0 of these only. */
	if (service->singleton && k > 0)
		cause.concerned = 0;
	add_cause(impact, cause);
}

static void services_causes(struct impact *impact, const struct value *old, const struct value *new)
{
	for (int index = 0; index < CATALOGUE_COUNT; index++) {
		const char *name = catalogue_at((enum catalogue_index)index)->name;
		const struct value *before = value_get(old, name);
		const struct value *after = value_get(new, name);

		if (!catalogue_at((enum catalogue_index)index)->listed ||
		    (index == CATALOGUE_PRINTING_SERVICE && impact->format == CMS_FORMAT_TOML))
			continue;
		for (size_t k = 0; k < list_len(before) || k < list_len(after); k++)
			if (!same(item_at(before, k), item_at(after, k)))
				entry_causes(impact, index, k, item_at(before, k),
					     item_at(after, k));
	}
}

/* ---- keys ---- */

/* Shard k of ContestWebServer reads element k and nothing else of a listen list. */
static void listen_causes(struct impact *impact, const struct diff_item *item)
{
	for (size_t k = 0; k < list_len(item->old) || k < list_len(item->new); k++) {
		const struct value *old = item_at(item->old, k);
		const struct value *new = item_at(item->new, k);
		struct cause cause = { .self = CATALOGUE_CONTEST_WEB_SERVER,
				       .shard = k,
				       .self_concerned = true };

		if (same(old, new))
			continue;
		cause.reason = xasprintf("%s[%zu] %s", item->path, k, what_happened(old, new));
		add_cause(impact, cause);
	}
}

/* A table that comes or goes without a key. */
static bool says_nothing(const struct diff_item *item)
{
	const struct value *only = item->old ? item->old : item->new;

	return (!item->old || !item->new) && only->type == VALUE_TABLE && only->table.len == 0;
}

static void key_causes(struct impact *impact, const struct diff_item *item)
{
	CLEAN(str) char *path = str_list_join(&item->keys, ".");
	const struct config_key *key = config_key_find(path);
	const bool ranking = str_eq(item->keys.items[0], "ranking");

	if (str_eq(path, "contest_web_server.listen_address") ||
	    str_eq(path, "contest_web_server.listen_port")) {
		listen_causes(impact, item);
		return;
	}
	if (!key && says_nothing(item))
		return;
	const uint32_t readers = key ? impact_readers(key, impact->format) : CONFIG_KEY_ALL;
	const char *remark = key     ? "" :
			     ranking ? " (not a key that we know)" :
				       " (not a key that we know, so every service may read it)";

	if (!key && !ranking)
		str_list_add(&impact->unknown, item->path);
	add_cause(impact, (struct cause){
				  .reason = xasprintf("%s %s%s", item->path,
						      what_happened(item->old, item->new), remark),
				  .concerned = ranking ? readers & RWS : readers & MAIN_FILE,
				  .self = -1,
			  });
}

struct impact *impact_new(enum cms_format format, const struct value *old, const struct value *new)
{
	struct impact *impact = xcalloc(1, sizeof(*impact));
	CLEAN(diff) struct diff diff = { 0 };
	CLEAN(diff) struct diff leaves = { 0 };

	impact->format = format;
	diff_documents(old, new, &diff);
	diff_leaves(&diff, &leaves);
	for (size_t i = 0; i < leaves.len; i++)
		/* Nobody reads other_services; services are looked at below. */
		if (!str_eq(leaves.items[i].keys.items[0], "services") &&
		    !str_eq(leaves.items[i].keys.items[0], "other_services"))
			key_causes(impact, &leaves.items[i]);
	services_causes(impact, value_get(old, "services"), value_get(new, "services"));
	return impact;
}

const struct str_list *impact_unknown_keys(const struct impact *impact)
{
	return &impact->unknown;
}

/* ---- who restarts ---- */

static bool concerns(const struct cause *cause, int index, size_t shard)
{
	if (cause->self == index && cause->shard == shard)
		return cause->self_concerned;
	return cause->concerned & 1u << index;
}

bool impact_restarts(const struct impact *impact, const char *service, int shard, char **ret_why)
{
	const int index = catalogue_index_of(service);
	const struct cause *cause = NULL;

	for (size_t i = 0; index >= 0 && shard >= 0 && !cause && i < impact->len; i++)
		if (concerns(&impact->causes[i], index, (size_t)shard))
			cause = &impact->causes[i];
	if (ret_why)
		*ret_why = cause ? xstrdup(cause->reason) : NULL;
	return cause;
}

bool impact_can_wait(const struct impact *impact, const char *service, int shard)
{
	const int index = catalogue_index_of(service);
	bool restarts = false;

	for (size_t i = 0; index >= 0 && shard >= 0 && i < impact->len; i++) {
		const struct cause *cause = &impact->causes[i];

		if (!concerns(cause, index, (size_t)shard))
			continue;
		if (!cause->can_wait || (cause->self == index && cause->shard == (size_t)shard))
			return false;
		restarts = true;
	}
	return restarts;
}
