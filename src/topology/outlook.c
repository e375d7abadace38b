/* SPDX-License-Identifier: MIT */
/*
 * What a change would do, and where. Must not have rules of its own on what runs or who restarts:
 * these are derive.c's and impact.c's. Showing it is outlook_show.c's.
 */
#include "cmsnode/topology/outlook.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/impact.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/network/address.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/topology/derive.h"
#include "cmsnode/topology/resolver.h"

void outlook_fini(struct outlook *outlook)
{
	for (size_t i = 0; i < outlook->len; i++) {
		free(outlook->units[i].place);
		free(outlook->units[i].why);
	}
	free(outlook->units);
	str_list_fini(&outlook->heads);
	*outlook = (struct outlook){ 0 };
}

/* ---- where a slot is filled ---- */

struct claim { /* str_sorted_at() wants the text first */
	const char *address;
	const struct registration *who;
};

struct outlook_work {
	const struct outlook_question *question;
	struct claim *claims; /* sorted by address, then by id */
	size_t claims_len, claims_cap;
	struct impact *impact;
};

static void add_claim(struct outlook_work *work, const char *address,
		      const struct registration *who)
{
	GROW(work->claims, work->claims_len, work->claims_cap);
	work->claims[work->claims_len++] = (struct claim){ address, who };
}

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a;
	const struct claim *y = b;
	const int order = strcmp(x->address, y->address);

	return order ? order : strcmp(x->who->id, y->who->id);
}

static void collect_claims(struct outlook_work *work)
{
	const struct registrations *all = work->question->registrations;

	for (size_t i = 0; i < all->len; i++) {
		const struct registration *who = &all->items[i];

		add_claim(work, who->address, who);
		for (size_t k = 0; k < who->addresses.len; k++)
			add_claim(work, who->addresses.items[k], who);
	}
	if (work->claims_len)
		qsort(work->claims, work->claims_len, sizeof(*work->claims), compare_claims);
}

/* Who fills a slot, by one generation. */
struct place {
	char *name; /* node id or host; NULL: nobody fills it */
	bool is_node;
	char *disabled; /* why it is not started there */
};

static void place_fini(struct place *place)
{
	free(place->name);
	free(place->disabled);
}

static void ask_assigned(const struct outlook_work *work, const struct generation *generation,
			 enum catalogue_index service, size_t k, struct place *ret)
{
	const struct slot *slot = &generation->slots.lists[service].items[k];
	const struct generation_node *node = generation_node_find(generation, slot->node);
	const struct registration *self =
		registrations_find(work->question->registrations, slot->node);
	/* One that is away is asked as the generation knows it. */
	const struct registration absent = { .id = slot->node,
					     .contest = node ? node->contest : (char *)"ALL" };
	const struct derive_question question = { .generation = generation,
						  .self = self ? self : &absent,
						  .registrations = work->question->registrations };
	struct derived_slot derived;

	derive_one(&question, service, k, &derived);
	ret->name = xstrdup(slot->node);
	ret->is_node = true;
	ret->disabled = steal(derived.disabled);
	derived_slot_fini(&derived);
}

/* Does the node take the static slot for its own? */
static bool ask_static(const struct outlook_work *work, const struct generation *generation,
		       enum catalogue_index service, size_t k, const struct resolved_host *host,
		       const struct registration *self, struct place *ret)
{
	const struct resolved_hosts hosts = { (struct resolved_host *)host, 1 };
	struct interface_address *addresses = xcalloc(self->addresses.len + 1, sizeof(*addresses));
	struct interfaces interfaces = { .addresses = addresses };
	const struct derive_question question = { .generation = generation,
						  .self = self,
						  .registrations = work->question->registrations,
						  .interfaces = &interfaces,
						  .hosts = &hosts,
						  .standalone = work->question->standalone };
	struct derived_slot derived;

	for (size_t i = 0; i <= self->addresses.len; i++) {
		const char *text =
			i < self->addresses.len ? self->addresses.items[i] : self->address;

		if (address_parse(text, &addresses[interfaces.addresses_len].address) == 0)
			interfaces.addresses_len++;
	}
	derive_one(&question, service, k, &derived);
	if (derived.runs_here) {
		ret->name = xstrdup(self->id);
		ret->is_node = true;
		ret->disabled = steal(derived.disabled);
	}
	derived_slot_fini(&derived);
	free(addresses);
	return ret->name != NULL;
}

/* Only who has one of the host's addresses can fill its slots; on loopback, who is there. */
static void find_static(const struct outlook_work *work, const struct generation *generation,
			enum catalogue_index service, size_t k, const struct resolved_host *host,
			struct place *ret)
{
	const struct registrations *all = work->question->registrations;
	char text[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < host->len; i++) {
		if (address_is_loopback(&host->addresses[i]) && work->question->standalone) {
			for (size_t r = 0; r < all->len; r++)
				if (ask_static(work, generation, service, k, host, &all->items[r],
					       ret))
					return;
			continue;
		}
		address_format(&host->addresses[i], text);
		size_t at =
			str_sorted_at(work->claims, work->claims_len, sizeof(*work->claims), text);

		for (; at < work->claims_len && str_eq(work->claims[at].address, text); at++)
			if (ask_static(work, generation, service, k, host, work->claims[at].who,
				       ret))
				return;
	}
}

static void locate_static(const struct outlook_work *work, const struct generation *generation,
			  enum catalogue_index service, size_t k, struct place *ret)
{
	static const struct resolved_hosts none = { 0 };
	const struct slot *slot = &generation->slots.lists[service].items[k];
	const struct resolved_hosts *hosts = work->question->hosts ? work->question->hosts : &none;
	const struct resolved_host *host = resolved_hosts_find(hosts, slot->host);
	struct address literal;
	const struct resolved_host itself = { .host = slot->host, .addresses = &literal, .len = 1 };

	if (!host && address_parse(slot->host, &literal) == 0)
		host = &itself;
	if (host)
		find_static(work, generation, service, k, host, ret);
	if (!ret->name)
		ret->name = xstrdup(slot->host);
}

static void locate(const struct outlook_work *work, const struct generation *generation,
		   enum catalogue_index service, size_t k, struct place *ret)
{
	const struct slot_list *list = generation ? &generation->slots.lists[service] : NULL;

	*ret = (struct place){ 0 };
	if (!list || k >= list->len)
		return;
	if (list->items[k].node)
		ask_assigned(work, generation, service, k, ret);
	else if (list->items[k].host)
		locate_static(work, generation, service, k, ret);
}

/* ---- what happens to a unit ---- */

/* Takes `why`. */
static void add_unit(const struct outlook_work *work, struct outlook *outlook,
		     const struct place *place, enum catalogue_index service, size_t k,
		     enum outlook_action action, char *why)
{
	const struct registrations *all = work->question->registrations;

	GROW(outlook->units, outlook->len, outlook->cap);
	outlook->units[outlook->len++] = (struct outlook_unit){
		.place = xstrdup(place->name),
		.is_node = place->is_node,
		.is_away = place->is_node && !registrations_find(all, place->name),
		.service = service,
		.shard = (int)k,
		.action = action,
		.why = why,
	};
	outlook->counts[action]++;
}

static bool runs(const struct place *place)
{
	return place->name && !place->disabled;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->is_node == b->is_node && str_eq(a->name, b->name);
}

static char *phrase(const char *what, const struct place *place)
{
	return xasprintf("%s %s %s", what, place->is_node ? "node" : "host", place->name);
}

static char *why_starts(const struct place *old, const struct place *new)
{
	if (runs(old))
		return phrase("comes from", old);
	if (old->disabled && same_place(old, new))
		return xasprintf("no longer: %s", old->disabled);
	return xstrdup(new->is_node ? "given to this node" : "an operator wrote this host");
}

static char *why_stops(const struct outlook_work *work, enum catalogue_index service, size_t k,
		       const struct place *old, const struct place *new)
{
	if (runs(new))
		return phrase("goes to", new);
	if (new->disabled && same_place(old, new))
		return xstrdup(new->disabled);
	if (new->name)
		return xasprintf("goes to %s, which does not start it: %s", new->name,
				 new->disabled);
	return xstrdup(k < work->question->new->slots.lists[service].len ?
			       "its slot is vacant then" :
			       "its slot is not listed then");
}

static void decide(const struct outlook_work *work, enum catalogue_index service, size_t k,
		   struct outlook *outlook)
{
	const char *name = catalogue_at(service)->name;
	struct place old, new;
	char *why = NULL;

	locate(work, work->question->old, service, k, &old);
	locate(work, work->question->new, service, k, &new);
	if (runs(&old) && runs(&new) && same_place(&old, &new)) {
		const bool restart = impact_restarts(work->impact, name, (int)k, &why);

		add_unit(work, outlook, &new, service, k, restart ? OUTLOOK_RESTART : OUTLOOK_STAY,
			 why);
	} else {
		if (runs(&old))
			add_unit(work, outlook, &old, service, k, OUTLOOK_STOP,
				 why_stops(work, service, k, &old, &new));
		if (runs(&new))
			add_unit(work, outlook, &new, service, k, OUTLOOK_START,
				 why_starts(&old, &new));
	}
	place_fini(&old);
	place_fini(&new);
}

/* ---- all of them ---- */

/* As the semaphore lets them: at most so many at a time, over the whole cluster. */
static void give_turns(const struct outlook_question *question, struct outlook *outlook)
{
	const int64_t at_a_time = question->new->policy.restart_at_once;
	int64_t waiting = 0;

	for (size_t i = 0; i < outlook->len; i++) {
		struct outlook_unit *unit = &outlook->units[i];

		if (unit->service != CATALOGUE_CONTEST_WEB_SERVER ||
		    unit->action != OUTLOOK_RESTART || question->at_once || at_a_time < 1)
			continue;
		unit->turn = (int)(waiting / at_a_time) + 1;
		outlook->turns = unit->turn;
		waiting++;
	}
}

static void count_database_users(enum cms_format format, struct outlook *outlook)
{
	const uint32_t users = impact_readers(config_key_find("database.url"), format);

	for (size_t i = 0; i < outlook->len; i++)
		if (outlook->units[i].action != OUTLOOK_STOP &&
		    users & 1u << outlook->units[i].service)
			outlook->database_users++;
}

static int compare_units(const void *a, const void *b)
{
	const struct outlook_unit *x = a;
	const struct outlook_unit *y = b;

	if (x->is_node != y->is_node)
		return x->is_node ? -1 : 1;
	const int order = strcmp(x->place, y->place);
	if (order)
		return order;
	if (x->service != y->service)
		return x->service < y->service ? -1 : 1;
	return x->shard - y->shard;
}

/* ---- what to say first ---- */

static bool setting_differs(const struct value *old, const struct value *new, const char *path)
{
	const struct value *before = value_get_path(old, path);
	const struct value *after = value_get_path(new, path);

	return before && after ? !value_equal(before, after) : before != after;
}

static bool any_restarts(const struct outlook *outlook, enum catalogue_index service)
{
	for (size_t i = 0; i < outlook->len; i++)
		if (outlook->units[i].service == service &&
		    outlook->units[i].action == OUTLOOK_RESTART)
			return true;
	return false;
}

/* On nodes only: elsewhere nobody of ours does it. */
static void say_how_many(struct outlook *outlook, enum outlook_action action)
{
	const char *place = "";
	size_t units = 0, nodes = 0;

	for (size_t i = 0; i < outlook->len; i++) {
		const struct outlook_unit *unit = &outlook->units[i];

		if (unit->action != action || !unit->is_node)
			continue;
		units++;
		nodes += strcmp(place, unit->place) != 0;
		place = unit->place;
	}
	if (units)
		str_list_take(&outlook->heads,
			      xasprintf("%zu service%s %s%s on %zu node%s", units,
					units == 1 ? "" : "s", outlook_action_name(action),
					units == 1 ? "s" : "", nodes, nodes == 1 ? "" : "s"));
}

static void say_elsewhere(struct outlook *outlook)
{
	size_t units = 0;

	for (size_t i = 0; i < outlook->len; i++)
		units += !outlook->units[i].is_node && outlook->units[i].action != OUTLOOK_STAY;
	if (units)
		str_list_take(&outlook->heads,
			      xasprintf("%zu more on hosts that no live node is known to have: see "
					"to them yourself",
					units));
}

static void say_heads(const struct outlook_work *work, const struct value *old,
		      const struct value *new, struct outlook *outlook)
{
	const struct str_list *unknown = impact_unknown_keys(work->impact);
	const int64_t at_a_time = work->question->new->policy.restart_at_once;

	if (setting_differs(old, new, "web_server.secret_key") &&
	    (any_restarts(outlook, CATALOGUE_CONTEST_WEB_SERVER) ||
	     any_restarts(outlook, CATALOGUE_ADMIN_WEB_SERVER)))
		str_list_add(&outlook->heads,
			     "all logins will be lost: web_server.secret_key changes");
	for (size_t i = 0; i < unknown->len; i++)
		str_list_take(&outlook->heads,
			      xasprintf("%.200s is not a key that we know: every service restarts, "
					"since any may read it",
					unknown->items[i]));
	say_how_many(outlook, OUTLOOK_RESTART);
	say_how_many(outlook, OUTLOOK_STOP);
	say_how_many(outlook, OUTLOOK_START);
	say_elsewhere(outlook);
	if (outlook->counts[OUTLOOK_STAY] == outlook->len)
		str_list_add(&outlook->heads, "nothing starts, stops or restarts");
	if (outlook->turns > 1)
		str_list_take(&outlook->heads,
			      xasprintf("ContestWebServers restart %d at a time, in %d turns "
					"(topology.restart_at_once)",
					(int)at_a_time, outlook->turns));
}

void outlook_make(const struct outlook_question *question, struct outlook *ret)
{
	struct outlook_work work = { .question = question };
	const struct generation *before = question->old;
	const struct render_settings as = { .zone = question->zone };
	CLEAN(value)
	struct value *old = before ? generation_render_as(before, &as) : value_new_table();
	CLEAN(value) struct value *new = generation_render_as(question->new, &as);

	outlook_fini(ret);
	collect_claims(&work);
	work.impact = impact_new(question->new->meta.format, old, new);
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const size_t old_len = before ? before->slots.lists[s].len : 0;
		const size_t new_len = question->new->slots.lists[s].len;

		for (size_t k = 0; k < old_len || k < new_len; k++)
			if (!catalogue_at((enum catalogue_index)s)->ours)
				decide(&work, (enum catalogue_index)s, k, ret);
	}
	give_turns(question, ret);
	count_database_users(question->new->meta.format, ret);
	if (ret->len)
		qsort(ret->units, ret->len, sizeof(*ret->units), compare_units);
	say_heads(&work, old, new, ret);
	impact_free(work.impact);
	free(work.claims);
}
