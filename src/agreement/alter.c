/* SPDX-License-Identifier: MIT */
/*
 * What the next generation shall be: departures, then joins (alter_join.c), and
 * what that may not break. Must stay deterministic.
 */
#include "alter_internal.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"

/* ---- departures -------------------------------------------------------- */

/* Its window is over. A host that is only cut off may still run the rest: that stays its own. */
static bool free_workers(struct generation *generation, const char *id)
{
	static const enum catalogue_index services[] = { CATALOGUE_WORKER,
							 CATALOGUE_RESOURCE_SERVICE };
	bool any = false;

	for (size_t s = 0; s < ARRAY_LEN(services); s++) {
		const struct slot_list *list = &generation->slots.lists[services[s]];

		for (size_t k = 0; k < list->len; k++) {
			if (!str_eq(list->items[k].node, id))
				continue;
			slot_set_node(&list->items[k], NULL);
			any = true;
		}
	}
	return any;
}

/* True if anything changed. The node may be gone afterwards. */
static bool depart(struct generation *generation, struct generation_node *node,
		   const struct alter_question *question)
{
	const bool reserved = reservations_find(question->reservations, node->id);
	bool changed = !reserved && free_workers(generation, node->id);

	if (!reserved && !alter_is_draining(node) && !alter_has_slots(generation, node->id)) {
		CLEAN(str) char *id = xstrdup(node->id);

		return generation_node_remove(generation, id);
	}
	if (node->state == NODE_PRESENT) {
		node->state = NODE_AWAY;
		changed = true;
	}
	if (changed)
		node->since_sequence = generation->sequence + 1;
	return changed;
}

static void fold_departures(struct generation *generation, const struct alter_question *question,
			    struct str_list *ret_gone)
{
	CLEAN(str_list) struct str_list absent = { 0 };

	for (size_t i = 0; i < generation->nodes.len; i++)
		if (!registrations_find(question->registrations, generation->nodes.items[i].id))
			str_list_add(&absent, generation->nodes.items[i].id);
	for (size_t i = 0; i < absent.len; i++) {
		struct generation_node *node = generation_node_find(generation, absent.items[i]);

		if (question->fold_departures) {
			if (depart(generation, node, question))
				str_list_add(ret_gone, absent.items[i]);
		} else if (node->state == NODE_PRESENT) {
			generation_defer(
				generation, node->id, 0, true,
				"no registration, but too many are missing, or it is too early to tell");
		}
	}
}

void alter_count_missing(const struct generation *generation, const struct alter_question *question,
			 size_t *ret_present, size_t *ret_missing)
{
	*ret_present = 0;
	*ret_missing = 0;
	for (size_t i = 0; i < generation->nodes.len; i++) {
		const struct generation_node *node = &generation->nodes.items[i];
		if (node->state != NODE_PRESENT)
			continue;
		(*ret_present)++;
		const struct reservation *reservation =
			reservations_find(question->reservations, node->id);

		if (!registrations_find(question->registrations, node->id) &&
		    (!reservation || !reservation->stopped))
			(*ret_missing)++;
	}
}

/* ---- both -------------------------------------------------------------- */

char *alter_errors(const struct generation *generation)
{
	const struct validate_context context = { .format = generation->meta.format };
	CLEAN(value) struct value *document = generation_render(generation);
	CLEAN(findings) struct findings findings = { 0 };
	CLEAN(str_list) struct str_list texts = { 0 };

	config_validate(document, &context, &findings);
	for (size_t i = 0; i < findings.len; i++)
		if (findings.items[i].is_error)
			str_list_take(&texts, xasprintf("%s: %s", findings.items[i].key,
							findings.items[i].text));
	return texts.len ? str_list_join(&texts, "; ") : NULL;
}

static void join_if_valid(struct generation **generation, const struct registrations *all,
			  const struct registration *one, struct str_list *ret_joined)
{
	CLEAN(generation) struct generation *with = generation_clone(*generation);
	CLEAN(str_list) struct str_list joined = { 0 };

	alter_join_one(with, all, one, &joined);
	CLEAN(str) char *errors = alter_errors(with);

	if (errors) {
		generation_defer(*generation, one->id, one->mod_revision, false, errors);
		return;
	}
	generation_free(*generation);
	*generation = steal(with);
	for (size_t k = 0; k < joined.len; k++)
		str_list_add(ret_joined, joined.items[k]);
}

/* All together they make an invalid configuration: each that does so is left out. */
static void join_carefully(struct generation **generation, const struct registrations *all,
			   struct str_list *ret_joined)
{
	const struct registration **order = alter_by_age(all);
	struct alter_lists lists;

	alter_lists_begin(*generation, all, &lists);
	/* Twice: in the first round the younger ones give back what the older ones wait for. */
	for (size_t i = 0; i < 2 * all->len; i++)
		if (!generation_deferred_find(*generation, order[i % all->len]->id))
			join_if_valid(generation, all, order[i % all->len], ret_joined);
	free(order);
	alter_lists_end(*generation, &lists);
}

void alter_fold(struct generation *generation, const struct alter_question *question,
		struct str_list *ret_joined, struct str_list *ret_gone)
{
	generation_forget_deferred(generation);
	fold_departures(generation, question, ret_gone);
	CLEAN(generation) struct generation *before = generation_clone(generation);

	alter_join(generation, question->registrations, ret_joined);
	CLEAN(str) char *errors = alter_errors(generation);
	CLEAN(str) char *old_errors = errors ? alter_errors(before) : NULL;

	if (!errors || old_errors)
		return;
	str_list_fini(ret_joined);
	join_carefully(&before, question->registrations, ret_joined);
	generation_swap(generation, before);
}
