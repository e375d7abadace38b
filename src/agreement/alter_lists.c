/* SPDX-License-Identifier: MIT */
/*
 * How long the lists of slots are: pools of vacant slots for who comes next, no
 * vacant tail where a list is exact, and ProxyService where rankings are fed.
 * Must never take a slot from anybody, nor renumber one.
 */
#include "alter_internal.h"

#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/config/document.h"

/*
 * EvaluationService dials each vacant Worker twice a second, which costs it about 0.06 % of a
 * processor: doubling a long list would be paid for all the time.
 */
#define POOL_STEP_MAX 128

/* Without names a slot that is filled later restarts those that dial it, listed or not. */
static size_t pool_of(const struct generation *generation, int64_t pool)
{
	return generation->policy.names ? (size_t)pool : 0;
}

static size_t count_vacant(const struct slot_list *list)
{
	size_t vacant = 0;

	for (size_t k = 0; k < list->len; k++)
		vacant += slot_is_vacant(&list->items[k]);
	return vacant;
}

/*
 * A longer list restarts who dials it. So it grows once for many: when it was never as long as the
 * pool, had to grow anyway, or has nothing left; then by as much as it had, at least by the pool.
 */
static void grow_pool(struct generation *generation, enum catalogue_index service, size_t pool,
		      size_t before)
{
	const struct slot_list *list = &generation->slots.lists[service];
	size_t vacant = count_vacant(list);

	if (pool == 0 || (list->len >= pool && list->len <= before && vacant > 0))
		return;
	const size_t doubled = before < POOL_STEP_MAX ? before : POOL_STEP_MAX;

	for (; vacant < (doubled > pool ? doubled : pool) && list->len < SLOTS_MAX; vacant++)
		(void)slots_append(&generation->slots, service);
}

/* A port of its own is an operator's word: it stays for who comes. */
static void drop_vacant_tail(struct generation *generation, enum catalogue_index service,
			     size_t keep)
{
	struct slot_list *list = &generation->slots.lists[service];

	while (list->len > keep && slot_is_vacant(&list->items[list->len - 1]) &&
	       list->items[list->len - 1].port ==
		       catalogue_port(catalogue_at(service), (int)list->len - 1))
		list->len--;
}

/* ---- rankings ------------------------------------------------------------- */

static bool anybody_offers_ranking(struct generation *generation,
				   const struct registrations *registrations)
{
	for (size_t i = 0; i < registrations->len; i++) {
		const struct joining joining = { .generation = generation,
						 .registrations = registrations,
						 .node = &registrations->items[i] };

		if (registrations->items[i].address[0] &&
		    alter_wanted_count(&joining, CATALOGUE_RANKING_WEB_SERVER))
			return true;
	}
	return false;
}

/*
 * Nobody else feeds rankings; and if it were listed later, AdminWebServer, ScoringService and
 * ContestWebServers would restart for it.
 */
static void list_proxy(struct generation *generation, const struct registrations *registrations)
{
	const struct slots *slots = &generation->slots;

	if (slots->lists[CATALOGUE_PROXY_SERVICE].len > 0 ||
	    !generation_derives_rankings(generation))
		return;
	if (slots->lists[CATALOGUE_RANKING_WEB_SERVER].len > 0 ||
	    pool_of(generation, generation->policy.ranking_pool) > 0 ||
	    anybody_offers_ranking(generation, registrations))
		(void)slots_append(&generation->slots, CATALOGUE_PROXY_SERVICE);
}

/* ---- all --------------------------------------------------------------------- */

void alter_lists_begin(struct generation *generation, const struct registrations *registrations,
		       struct alter_lists *ret)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		ret->before[s] = generation->slots.lists[s].len;
	list_proxy(generation, registrations);
}

void alter_lists_end(struct generation *generation, const struct alter_lists *lists)
{
	const struct policy *policy = &generation->policy;
	const size_t resources = pool_of(generation, policy->resource_pool);
	const size_t rankings = pool_of(generation, policy->ranking_pool);

	grow_pool(generation, CATALOGUE_WORKER, pool_of(generation, policy->worker_pool),
		  lists->before[CATALOGUE_WORKER]);
	grow_pool(generation, CATALOGUE_RESOURCE_SERVICE, resources,
		  lists->before[CATALOGUE_RESOURCE_SERVICE]);
	while (generation->slots.lists[CATALOGUE_RANKING_WEB_SERVER].len < rankings)
		(void)slots_append(&generation->slots, CATALOGUE_RANKING_WEB_SERVER);
	drop_vacant_tail(generation, CATALOGUE_RANKING_WEB_SERVER, rankings);
	drop_vacant_tail(generation, CATALOGUE_CONTEST_WEB_SERVER, 0);
	if (!resources)
		drop_vacant_tail(generation, CATALOGUE_RESOURCE_SERVICE, 0);
}
