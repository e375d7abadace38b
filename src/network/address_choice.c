/* SPDX-License-Identifier: MIT */
/*
 * Which address is this node's: the table of every address of the snapshot is
 * judged (address_rules.c), what is kept is ranked by the list of criteria, and
 * the best is chosen unless it is only one of several equals. Never asks the
 * kernel and never depends on the order of the snapshot.
 *
 * Invariant: what is chosen is never excluded in the list of candidates.
 */
#include "cmsnode/network/address_choice.h"

#include <limits.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "address_survey.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

bool address_survey_is_towards_store(const struct survey *survey, const struct address *address)
{
	return survey->question->towards_store.family &&
	       address_equal(&survey->question->towards_store, address);
}

/* 0 the source address towards etcd (or what reach:HOST names), 1 beside it, 2 unrelated. */
static int points_store(const struct survey *survey, const struct entry *entry)
{
	const struct interface_address *beside = survey->beside;

	if (address_survey_is_towards_store(survey, &entry->address->address))
		return 0;
	if (beside && beside->link == entry->address->link &&
	    address_in_cidr(&entry->address->address, &beside->address, beside->prefix))
		return 1;
	return 2;
}

/* The wish */

static void parse_wish(const char *text, struct wish *ret)
{
	*ret = (struct wish){ .kind = WISH_NONE };
	if (!text)
		return;
	if (str_starts(text, WISH_REACH_PREFIX))
		ret->kind = WISH_REACH;
	else if (address_parse(text, &ret->address) == 0)
		ret->kind = WISH_ADDRESS;
	else if (address_parse_cidr(text, &ret->address, &ret->prefix) == 0)
		ret->kind = WISH_NET;
	else
		ret->kind = WISH_LINK;
}

static bool is_wished(const struct survey *survey, const struct entry *entry)
{
	switch (survey->wish.kind) {
	case WISH_NONE:
		return false;
	case WISH_ADDRESS:
		return address_equal(&survey->wish.address, &entry->address->address);
	case WISH_NET:
		return address_in_cidr(&entry->address->address, &survey->wish.address,
				       survey->wish.prefix);
	case WISH_LINK:
		return entry->link && strcmp(entry->link->name, survey->question->wish) == 0;
	case WISH_REACH:
		return points_store(survey, entry) < 2;
	}
	return false;
}

static bool is_excluded(const struct survey *survey, const struct entry *entry)
{
	if (survey->wish.kind == WISH_NONE)
		return entry->dropped;
	return !entry->wished || (entry->dropped && entry->dropped->binding);
}

/* Default routes */

static int compare_preference(const struct interface_route *a, const struct interface_route *b)
{
	const bool main_a = a->table == RT_TABLE_MAIN;
	const bool main_b = b->table == RT_TABLE_MAIN;

	/* Other tables are reached by policy rules that we do not read: weaker evidence. */
	if (main_a != main_b)
		return main_a ? -1 : 1;
	return a->metric < b->metric ? -1 : a->metric > b->metric;
}

/* A place within the family: metrics of two families cannot be compared. */
static int route_place(const struct interfaces *all, const struct interface_route *route)
{
	int better = 0;

	for (size_t i = 0; i < all->routes_len; i++)
		if (all->routes[i].family == route->family &&
		    compare_preference(&all->routes[i], route) < 0)
			better++;
	return better;
}

static enum route_fit route_fit(const struct interface_route *route,
				const struct interface_address *address)
{
	if (route->family != address->address.family)
		return FIT_NONE;
	if (address_equal(&route->source, &address->address))
		return FIT_SOURCE;
	if (route->link != address->link)
		return FIT_NONE;
	/* Without a gateway, or with a link-local one, all addresses of the link are as near to it.
	 */
	if (route->gateway.family != route->family || address_is_link_local(&route->gateway) ||
	    address_in_cidr(&route->gateway, &address->address, address->prefix))
		return FIT_GATEWAY;
	return FIT_LINK;
}

static bool route_is_better(const struct interface_route *a, const struct interface_route *b,
			    const struct interface_address *address)
{
	const int by_preference = compare_preference(a, b);
	if (by_preference)
		return by_preference < 0;
	const enum route_fit fit_a = route_fit(a, address);
	const enum route_fit fit_b = route_fit(b, address);

	return fit_a != fit_b ? fit_a < fit_b : a->table < b->table;
}

static const struct interface_route *best_route(const struct survey *survey,
						const struct interface_address *address)
{
	const struct interfaces *all = survey->question->interfaces;
	const struct interface_route *best = NULL;

	for (size_t i = 0; i < all->routes_len; i++) {
		const struct interface_route *route = &all->routes[i];

		if (route_fit(route, address) != FIT_NONE &&
		    (!best || route_is_better(route, best, address)))
			best = route;
	}
	return best;
}

/* Points */

/* Where an uplink of a real machine is found without looking at routes. */
static bool kind_is_physical(const struct interface_link *link)
{
	static const char *const kinds[] = { "", "bond", "team", "vlan" };

	if (link->flags & IFF_LOOPBACK)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(link->kind, kinds[i]) == 0)
			return true;
	return false;
}

const struct interface_link *address_survey_port_of(const struct survey *survey,
						    const struct interface_link *link)
{
	if (!link->master)
		return NULL;
	const struct interface_link *master =
		interfaces_link(survey->question->interfaces, link->master);

	return master && strcmp(master->kind, "vrf") != 0 ? master : NULL;
}

static void give_points(const struct survey *survey, struct entry *entry)
{
	const struct interface_address *address = entry->address;
	const struct interface_link *link = entry->link;

	entry->route = best_route(survey, address);
	entry->points[CRITERION_DROPPED] = entry->dropped ? 1 : 0;
	entry->points[CRITERION_STORE] = points_store(survey, entry);
	entry->points[CRITERION_CARRIER] = link->flags & IFF_RUNNING ? 0 : 1;
	entry->points[CRITERION_ROUTE] =
		entry->route ? route_place(survey->question->interfaces, entry->route) : INT_MAX;
	entry->points[CRITERION_ROUTE_FIT] =
		entry->route ? (int)route_fit(entry->route, address) : (int)FIT_NONE;
	entry->points[CRITERION_SCOPE] = address->scope;
	entry->points[CRITERION_KIND] = kind_is_physical(link) ? 0 : 1;
	entry->points[CRITERION_PORT] = address_survey_port_of(survey, link) ? 1 : 0;
	entry->points[CRITERION_SECONDARY] =
		address->address.family == AF_INET && (address->flags & IFA_F_SECONDARY) ? 1 : 0;
	entry->points[CRITERION_FAMILY] = address->address.family == AF_INET ? 0 : 1;
}

enum criterion address_survey_first_difference(const struct entry *a, const struct entry *b)
{
	enum criterion c = 0;

	while (c < CRITERIA && a->points[c] == b->points[c])
		c++;
	return c;
}

/* Kept ones first, then by points, then by the order of links, which only settles what is equal. */
static int compare_entries(const void *left, const void *right)
{
	const struct entry *a = left;
	const struct entry *b = right;

	if (a->excluded != b->excluded)
		return a->excluded ? 1 : -1;
	const enum criterion c = address_survey_first_difference(a, b);
	if (c < CRITERIA)
		return a->points[c] < b->points[c] ? -1 : 1;
	if (a->address->link != b->address->link)
		return a->address->link < b->address->link ? -1 : 1;
	const int by_address = address_compare(&a->address->address, &b->address->address);

	/* One link may carry an address twice, with two prefixes. */
	return by_address ? by_address : a->address->prefix - b->address->prefix;
}

/* A source that will not last (or is being given up) still shows which link leads to etcd. */
static void find_beside(struct survey *survey)
{
	for (size_t i = 0; i < survey->len; i++) {
		const struct entry *entry = &survey->entries[i];

		if (!entry->dropped || !entry->dropped->passing ||
		    !address_survey_is_towards_store(survey, &entry->address->address))
			continue;
		if (!survey->beside || entry->address->link < survey->beside->link)
			survey->beside = entry->address;
	}
}

/* A claim weighs more than a list; among equals the order of the question must not matter. */
static bool veto_weighs_more(const struct address_veto *a, const struct address_veto *b)
{
	return a->claimed != b->claimed ? a->claimed : strcmp(a->holder, b->holder) < 0;
}

static int compare_vetoes(const void *a, const void *b)
{
	const struct address_veto *x = *(const struct address_veto *const *)a;
	const struct address_veto *y = *(const struct address_veto *const *)b;
	const int by_address = address_compare(&x->address, &y->address);

	return by_address ? by_address : veto_weighs_more(y, x) - veto_weighs_more(x, y);
}

/* Hundreds of hosts may list hundreds of addresses each. */
static void sort_vetoes(struct survey *survey)
{
	const struct address_question *question = survey->question;

	survey->vetoes = xcalloc(question->vetoes_len, sizeof(*survey->vetoes));
	for (size_t i = 0; i < question->vetoes_len; i++)
		survey->vetoes[i] = &question->vetoes[i];
	if (question->vetoes_len)
		qsort(survey->vetoes, question->vetoes_len, sizeof(*survey->vetoes),
		      compare_vetoes);
}

/* The weightiest one of that address, or NULL. */
static const struct address_veto *find_veto(const struct survey *survey,
					    const struct address *address)
{
	size_t low = 0;
	size_t high = survey->question->vetoes_len;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (address_compare(&survey->vetoes[middle]->address, address) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < survey->question->vetoes_len &&
			       address_equal(&survey->vetoes[low]->address, address) ?
		       survey->vetoes[low] :
		       NULL;
}

/* Once for all: a host may have ten thousand addresses on one bridge. */
static void find_store_links(struct survey *survey)
{
	const struct interfaces *all = survey->question->interfaces;

	for (size_t i = 0; i < all->addresses_len; i++) {
		if (!address_survey_is_towards_store(survey, &all->addresses[i].address))
			continue;
		GROW(survey->store_links, survey->store_links_len, survey->store_links_cap);
		survey->store_links[survey->store_links_len++] = all->addresses[i].link;
	}
}

static void judge_entries(struct survey *survey)
{
	const struct interfaces *all = survey->question->interfaces;

	sort_vetoes(survey);
	find_store_links(survey);
	survey->len = all->addresses_len;
	survey->entries = xcalloc(survey->len, sizeof(*survey->entries));
	for (size_t i = 0; i < survey->len; i++) {
		struct entry *entry = &survey->entries[i];

		entry->address = &all->addresses[i];
		entry->link = interfaces_link(all, entry->address->link);
		entry->veto = find_veto(survey, &entry->address->address);
		entry->dropped = address_rules_first(survey, entry);
	}
	find_beside(survey);
	for (size_t i = 0; i < survey->len; i++) {
		struct entry *entry = &survey->entries[i];

		entry->wished = is_wished(survey, entry);
		entry->excluded = is_excluded(survey, entry);
		survey->kept += !entry->excluded;
	}
}

static bool some_are_vetoed(const struct survey *survey)
{
	for (size_t i = 0; i < survey->len; i++)
		if (address_rules_is_veto(survey->entries[i].dropped))
			return true;
	return false;
}

/* 127.0.0.1 before ::1. */
static bool loopback_is_better(const struct entry *a, const struct entry *b)
{
	const int by_address = address_compare(&a->address->address, &b->address->address);

	return by_address ? by_address < 0 : compare_entries(a, b) < 0;
}

/* Nothing else is left: one loopback address is taken back, if no other host has it too. */
static void take_loopback(struct survey *survey)
{
	struct entry *best = NULL;

	for (size_t i = 0; i < survey->len; i++) {
		struct entry *entry = &survey->entries[i];

		if (!address_rules_is_loopback(entry->dropped))
			continue;
		if (!best || loopback_is_better(entry, best))
			best = entry;
	}
	if (!best)
		return;
	const struct rule *veto = address_rules_veto(survey, best);
	if (veto) {
		best->dropped = veto;
		return;
	}
	best->excluded = false;
	survey->kept = 1;
	survey->loopback_taken = true;
}

static void rank_entries(struct survey *survey)
{
	for (size_t i = 0; i < survey->len; i++)
		if (!survey->entries[i].excluded)
			give_points(survey, &survey->entries[i]);
	if (survey->len)
		qsort(survey->entries, survey->len, sizeof(*survey->entries), compare_entries);
	for (size_t i = 1; i < survey->kept; i++) {
		struct entry *entry = &survey->entries[i];

		entry->rank = entry[-1].rank;
		if (address_survey_first_difference(&entry[-1], entry) != CRITERIA)
			entry->rank++;
	}
}

/* The outcome */

/* How many entries share the best place without a route that speaks for them; 1 = no doubt. */
static size_t count_equals(const struct survey *survey)
{
	const struct entry *best = &survey->entries[0];
	bool differ = false;
	size_t equals = 1;

	/* Within one named interface any order will do: the operator has chosen. */
	if (best->route || best->points[CRITERION_STORE] < 2 || survey->wish.kind == WISH_LINK)
		return 1;
	for (; equals < survey->kept && survey->entries[equals].rank == 0; equals++)
		if (!address_equal(&survey->entries[equals].address->address,
				   &best->address->address))
			differ = true;
	return differ ? equals : 1;
}

static void set_chosen(const struct survey *survey, struct address_choice *ret)
{
	const struct entry *best = &survey->entries[0];

	ret->outcome = ADDRESS_CHOSEN;
	ret->address = best->address->address;
	memcpy(ret->link, best->link->name, sizeof(ret->link));
	ret->reason = address_reasons_chosen(survey);
}

static void set_outcome(const struct survey *survey, struct address_choice *ret)
{
	const size_t equals = survey->kept ? count_equals(survey) : 0;

	if (equals == 1) {
		set_chosen(survey, ret);
	} else if (equals > 1) {
		ret->outcome = ADDRESS_AMBIGUOUS;
		ret->reason = address_reasons_ambiguous(survey, equals);
	} else if (survey->wish.kind != WISH_NONE) {
		ret->outcome = ADDRESS_UNSATISFIABLE;
		ret->reason = address_reasons_unsatisfiable(survey);
	} else if (some_are_vetoed(survey)) {
		ret->outcome = ADDRESS_VETOED;
		ret->reason = address_reasons_vetoed(survey);
	} else {
		ret->outcome = ADDRESS_NONE;
		ret->reason = address_reasons_none(survey);
	}
}

/* What a wish does not mean is dropped for that. */
static bool is_vetoed(const struct survey *survey, const struct entry *entry)
{
	return entry->excluded && address_rules_is_veto(entry->dropped) &&
	       (survey->wish.kind == WISH_NONE || entry->wished);
}

static void list_candidates(const struct survey *survey, struct address_choice *ret)
{
	for (size_t i = 0; i < survey->len; i++) {
		const struct entry *entry = &survey->entries[i];

		GROW(ret->candidates, ret->len, ret->cap);
		struct address_candidate *candidate = &ret->candidates[ret->len++];

		*candidate = (struct address_candidate){
			.address = entry->address->address,
			.excluded = entry->excluded,
			.vetoed = is_vetoed(survey, entry),
			.rank = entry->rank,
			.reason = address_reasons_candidate(survey, entry),
			.holder = entry->veto ? xstrdup(entry->veto->holder) : NULL,
		};
		if (entry->link) {
			memcpy(candidate->link, entry->link->name, sizeof(candidate->link));
			memcpy(candidate->kind, entry->link->kind, sizeof(candidate->kind));
		}
	}
}

void address_choose(const struct address_question *question, struct address_choice *ret)
{
	struct survey survey = { .question = question };

	*ret = (struct address_choice){ 0 };
	parse_wish(question->wish, &survey.wish);
	judge_entries(&survey);
	if (!survey.kept && survey.wish.kind == WISH_NONE && question->loopback_allowed &&
	    !some_are_vetoed(&survey))
		take_loopback(&survey);
	rank_entries(&survey);
	set_outcome(&survey, ret);
	list_candidates(&survey, ret);
	free(survey.vetoes);
	free(survey.entries);
	free(survey.store_links);
}

void address_choice_fini(struct address_choice *choice)
{
	for (size_t i = 0; i < choice->len; i++) {
		free(choice->candidates[i].reason);
		free(choice->candidates[i].holder);
	}
	free(choice->candidates);
	free(choice->reason);
	*choice = (struct address_choice){ 0 };
}

static const char *outcome_name(enum address_outcome outcome)
{
	switch (outcome) {
	case ADDRESS_CHOSEN:
		return "chosen";
	case ADDRESS_NONE:
		return "none";
	case ADDRESS_AMBIGUOUS:
		return "ambiguous";
	case ADDRESS_UNSATISFIABLE:
		return "unsatisfiable";
	case ADDRESS_VETOED:
		return "vetoed";
	}
	return "";
}

static struct cJSON *candidate_to_json(const struct address_candidate *candidate)
{
	char text[ADDRESS_TEXT_SIZE];
	cJSON *object = cJSON_CreateObject();

	address_format(&candidate->address, text);
	json_add_str(object, "address", text);
	json_add_str(object, "interface", candidate->link[0] ? candidate->link : NULL);
	json_add_str(object, "kind", candidate->kind);
	json_add_bool(object, "excluded", candidate->excluded);
	if (candidate->excluded)
		json_add_str(object, "rank", NULL);
	else
		json_add_int(object, "rank", candidate->rank);
	json_add_str(object, "reason", candidate->reason);
	json_add_str(object, "holder", candidate->holder);
	return object;
}

struct cJSON *address_choice_to_json(const struct address_choice *choice)
{
	const bool chosen = choice->outcome == ADDRESS_CHOSEN;
	char text[ADDRESS_TEXT_SIZE];
	cJSON *object = cJSON_CreateObject();

	address_format(&choice->address, text);
	json_add_str(object, "outcome", outcome_name(choice->outcome));
	json_add_str(object, "address", chosen ? text : NULL);
	json_add_str(object, "interface", chosen ? choice->link : NULL);
	json_add_str(object, "reason", choice->reason);
	cJSON *candidates = cJSON_AddArrayToObject(object, "candidates");

	for (size_t i = 0; i < choice->len; i++)
		(void)cJSON_AddItemToArray(candidates, candidate_to_json(&choice->candidates[i]));
	return object;
}
