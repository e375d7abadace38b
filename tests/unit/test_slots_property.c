/* SPDX-License-Identifier: MIT */
/*
 * Slots under random sequences of joins, leaves, returns (on other hosts too), expiries, drains,
 * undrains and forgets: nobody is moved by what others do, expiry frees only what it may, ports and
 * boxes never clash, and the order in which registrations are listed does not matter. The same
 * sequences each time; CMSNODE_SEED=N begins elsewhere.
 */
#include "agreement_world.h"

#include "cmsnode/agreement/generation_diff.h"
#include "cmsnode/base/err.h"

#define ACTORS_MAX 500

struct actor {
	char id[8];
	int host, workers, webs;
	bool core, ranking;
	bool registered, reserved;
	bool touched; /* since the last fold */
	bool forgotten;
};

struct play {
	uint64_t seed, random;
	int step;
	struct actor actors[ACTORS_MAX];
	int n;
	int64_t revision;
	struct registrations all;
	struct reservations reservations;
	struct generation *generation;
};

#define CHECK(play, what, ...)                                                               \
	do {                                                                                 \
		if (!(what)) {                                                               \
			print_error(__VA_ARGS__);                                            \
			fail_msg("%s: seed %llu, %d nodes, step %d", #what,                  \
				 (unsigned long long)(play)->seed, (play)->n, (play)->step); \
		}                                                                            \
	} while (0)

static int chance(struct play *play, int n)
{
	play->random = play->random * 6364136223846793005u + 1442695040888963407u;
	return (int)((play->random >> 33) % (uint64_t)n);
}

/* ---- what happens ---------------------------------------------------------- */

static void draw_offer(struct play *play, struct actor *actor)
{
	actor->workers = chance(play, 5);
	actor->webs = chance(play, 4) ? 0 : 1 + chance(play, 2);
	actor->core = chance(play, 10) == 0;
	actor->ranking = chance(play, 20) == 0;
}

static void add_role(struct registration *registration, const char *role, int count)
{
	if (count > 0)
		str_list_take(&registration->roles, xasprintf("%s:%d", role, count));
}

static void do_register(struct play *play, struct actor *actor)
{
	const struct registration *old = registrations_find(&play->all, actor->id);
	const int64_t created = old ? old->create_revision : ++play->revision;
	struct registration one;

	world_registration(&one, actor->id, actor->core ? "core" : "", actor->host);
	add_role(&one, "worker", actor->workers);
	add_role(&one, "contest-web", actor->webs);
	if (actor->ranking)
		str_list_add(&one.roles, "ranking");
	/* A container with a network of its own on the kernel of the host before. */
	if (actor->host % 5 == 1) {
		free(one.boot_id);
		one.boot_id = xasprintf("boot-%d", actor->host - 1);
	}
	if (chance(play, 8) == 0)
		str_list_take(&one.ports_held, xasprintf("%d", 26000 + chance(play, 2 * play->n)));
	if (chance(play, 8) == 0)
		str_list_add(&one.ports_held, "8888");
	one.create_revision = created;
	one.mod_revision = ++play->revision;
	registrations_put(&play->all, &one);
	reservations_put(&play->reservations, actor->id, false);
	actor->registered = actor->reserved = true;
}

static void do_leave(struct play *play, struct actor *actor)
{
	(void)registrations_remove(&play->all, actor->id);
	actor->registered = false;
	reservations_put(&play->reservations, actor->id, chance(play, 2));
}

static void do_expire(struct play *play, struct actor *actor)
{
	(void)reservations_remove(&play->reservations, actor->id);
	actor->reserved = false;
}

static void edit_node(struct play *play, const struct actor *actor, const char *state)
{
	CLEAN(str) char *path = xasprintf("nodes.%s", actor->id);
	CLEAN(value) struct value *wanted = state ? value_new_string(state) : NULL;
	struct edits edits = { 0 };
	struct err err = { 0 };

	if (!generation_node_find(play->generation, actor->id))
		return;
	edits_add(&edits, path, NULL, wanted);
	CHECK(play, alter_edit(play->generation, &edits, &err) == 0, "%s\n", err.msg);
	edits_fini(&edits);
}

static void do_forget(struct play *play, struct actor *actor)
{
	if (actor->registered)
		return;
	edit_node(play, actor, NULL);
	do_expire(play, actor);
	actor->forgotten = true;
}

/* It has stopped what it had: all of it, or a part. */
static void do_release(struct play *play, struct actor *actor)
{
	struct registration *one = (struct registration *)registrations_find(&play->all, actor->id);

	for (int s = 0; one && s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < play->generation->slots.lists[s].len; k++)
			if (str_eq(play->generation->slots.lists[s].items[k].node, actor->id) &&
			    chance(play, 4))
				str_list_take(&one->released,
					      xasprintf("%s,%zu",
							catalogue_at((enum catalogue_index)s)->name,
							k));
}

static void happen(struct play *play)
{
	struct actor *actor = &play->actors[chance(play, play->n)];
	const int what = chance(play, 16);

	actor->touched = true;
	if (!actor->registered) {
		if (what < 11) {
			if (chance(play, 3) == 0)
				actor->host = 1 + chance(play, play->n);
			do_register(play, actor);
		} else if (what < 14) {
			do_expire(play, actor);
		} else {
			do_forget(play, actor);
		}
	} else if (what < 6) {
		do_leave(play, actor);
	} else if (what < 9) {
		edit_node(play, actor, "draining");
	} else if (what < 12) {
		do_release(play, actor);
	} else if (what < 14) {
		edit_node(play, actor, "present");
	} else {
		draw_offer(play, actor);
		do_register(play, actor);
	}
}

/* ---- what has to hold --------------------------------------------------------- */

static const struct slot *slot_at(const struct generation *generation, int service, size_t k)
{
	static const struct slot vacant;
	const struct slot_list *list = &generation->slots.lists[service];

	return k < list->len ? &list->items[k] : &vacant;
}

static const struct actor *actor_of(const struct play *play, const char *id)
{
	return id ? &play->actors[atol(id + 1)] : NULL;
}

static bool is_freed_by_expiry(int service)
{
	return service == CATALOGUE_WORKER || service == CATALOGUE_RESOURCE_SERVICE;
}

static bool drains(const struct generation *generation, const char *id)
{
	const struct generation_node *node = generation_node_find(generation, id);

	return node && (node->state == NODE_DRAINING || node->state == NODE_DRAINED);
}

/* Each slot that somebody had. */
static void check_kept(const struct play *play, const struct generation *before, int service,
		       size_t k)
{
	const struct slot *old = slot_at(before, service, k);
	const struct slot *new = slot_at(play->generation, service, k);
	const struct actor *actor = actor_of(play, old->node);

	if (!actor) {
		CHECK(play, !old->host || slot_equal(old, new), "static %d,%zu\n", service, k);
		return;
	}
	const bool same = str_eq(old->node, new->node) && old->port == new->port &&
			  old->http_port == new->http_port;
	const bool free = !actor->registered && !actor->reserved && is_freed_by_expiry(service);

	if (!actor->registered && !actor->forgotten)
		CHECK(play, same != free || !str_eq(old->node, new->node) == free,
		      "%s,%zu of the absent %s: now %s\n",
		      catalogue_at((enum catalogue_index)service)->name, k, old->node, new->node);
	else if (!actor->touched)
		CHECK(play, same, "%s,%zu of %s: now %s\n",
		      catalogue_at((enum catalogue_index)service)->name, k, old->node, new->node);
}

static void check_ports(const struct play *play)
{
	for (int host = 1; host <= play->n; host++) {
		static const char *taken[65536];
		int used[4 * ACTORS_MAX];
		size_t used_len = 0;

		for (int s = 0; s < CATALOGUE_COUNT; s++) {
			const struct slot_list *list = &play->generation->slots.lists[s];

			for (size_t k = 0; k < list->len; k++) {
				const struct slot *slot = &list->items[k];
				const struct actor *actor = actor_of(play, slot->node);
				int ports[GENERATION_SLOT_PORTS];

				if (!actor || actor->host != host || !actor->registered ||
				    drains(play->generation, slot->node))
					continue;
				const struct registration *one =
					registrations_find(&play->all, slot->node);
				const size_t n = generation_slot_ports(
					play->generation, (enum catalogue_index)s, k, ports);

				for (size_t i = 0; i < n; i++) {
					CLEAN(str) char *text = xasprintf("%d", ports[i]);

					CHECK(play, !taken[ports[i]], "%d of %s and %s\n", ports[i],
					      slot->node, taken[ports[i]]);
					CHECK(play, !str_list_has(&one->ports_held, text),
					      "%d is held at %s\n", ports[i], slot->node);
					taken[ports[i]] = slot->node;
					used[used_len++] = ports[i];
				}
			}
		}
		while (used_len > 0)
			taken[used[--used_len]] = NULL;
	}
}

static void check_boxes(const struct play *play)
{
	const struct slot_list *workers = &play->generation->slots.lists[CATALOGUE_WORKER];

	for (size_t i = 0; i < workers->len; i++) {
		for (size_t k = i + 64; k < workers->len; k += 64) {
			const char *a = workers->items[i].node;
			const char *b = workers->items[k].node;
			const struct registration *x = a ? registrations_find(&play->all, a) : NULL;
			const struct registration *y = b ? registrations_find(&play->all, b) : NULL;

			CHECK(play,
			      !x || !y || drains(play->generation, a) ||
				      drains(play->generation, b) ||
				      !str_eq(x->boot_id, y->boot_id),
			      "Workers %zu of %s and %zu of %s\n", i, a, k, b);
		}
	}
}

static size_t count(const struct play *play, int service, const char *id)
{
	const struct slot_list *list = &play->generation->slots.lists[service];
	size_t n = 0;

	for (size_t k = 0; k < list->len; k++)
		n += str_eq(list->items[k].node, id);
	return n;
}

/* Everybody has what it offers, and nobody more. */
static void check_shares(const struct play *play, const struct generation *before)
{
	for (int i = 0; i < play->n; i++) {
		const struct actor *actor = &play->actors[i];
		const struct generation_node *node =
			generation_node_find(play->generation, actor->id);

		if (!actor->registered)
			continue;
		CHECK(play, node != NULL, "%s\n", actor->id);
		if (node->state == NODE_DRAINED || node->state == NODE_DRAINING) {
			size_t has = 0;

			for (int s = 0; s < CATALOGUE_COUNT; s++) {
				has += count(play, s, actor->id);
				for (size_t k = 0; k < play->generation->slots.lists[s].len; k++)
					if (str_eq(slot_at(play->generation, s, k)->node,
						   actor->id))
						CHECK(play,
						      str_eq(slot_at(before, s, k)->node,
							     actor->id),
						      "%s got %d,%zu\n", actor->id, s, k);
			}
			CHECK(play, (has == 0) == (node->state == NODE_DRAINED), "%s: %zu\n",
			      actor->id, has);
			continue;
		}
		CHECK(play, count(play, CATALOGUE_WORKER, actor->id) == (size_t)actor->workers,
		      "%s\n", actor->id);
		CHECK(play,
		      count(play, CATALOGUE_CONTEST_WEB_SERVER, actor->id) == (size_t)actor->webs,
		      "%s\n", actor->id);
		CHECK(play, count(play, CATALOGUE_RESOURCE_SERVICE, actor->id) == 1, "%s\n",
		      actor->id);
		CHECK(play, count(play, CATALOGUE_RANKING_WEB_SERVER, actor->id) <= actor->ranking,
		      "%s\n", actor->id);
	}
}

static void check_ends(const struct play *play)
{
	static const int exact[] = { CATALOGUE_CONTEST_WEB_SERVER, CATALOGUE_RESOURCE_SERVICE };

	for (size_t i = 0; i < ARRAY_LEN(exact); i++) {
		const struct slot_list *list = &play->generation->slots.lists[exact[i]];

		CHECK(play, !list->len || !slot_is_vacant(&list->items[list->len - 1]),
		      "%d ends vacant\n", exact[i]);
	}
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		CHECK(play,
		      !catalogue_at((enum catalogue_index)s)->singleton ||
			      play->generation->slots.lists[s].len <= 1,
		      "%d\n", s);
}

/* ---- folding ---------------------------------------------------------------------- */

static void fold_into(const struct play *play, const struct registrations *all,
		      struct generation *generation)
{
	const struct alter_question question = { all, &play->reservations, true };
	CLEAN(str_list) struct str_list joined = { 0 };
	CLEAN(str_list) struct str_list gone = { 0 };

	alter_fold(generation, &question, &joined, &gone);
}

/* The same registrations in another order; the items are shared. */
static struct registrations shuffled(struct play *play)
{
	struct registrations copy = { .items = xmemdup(play->all.items,
						       play->all.len * sizeof(*play->all.items)),
				      .len = play->all.len };

	for (size_t i = copy.len; i > 1; i--) {
		const size_t k = (size_t)chance(play, (int)i);
		const struct registration one = copy.items[i - 1];

		copy.items[i - 1] = copy.items[k];
		copy.items[k] = one;
	}
	return copy;
}

static void check_same(const struct play *play, const struct generation *other, const char *what)
{
	CLEAN(generation_diff) struct generation_diff diff = { 0 };

	generation_diff_make(play->generation, other, &diff);
	CLEAN(str) char *text = generation_diff_text(&diff);

	CHECK(play, generation_same_content(other, play->generation), "%s:\n%s", what, text);
}

static void fold(struct play *play)
{
	CLEAN(generation) struct generation *before = generation_clone(play->generation);
	CLEAN(generation) struct generation *other = generation_clone(play->generation);
	struct registrations mixed = shuffled(play);

	fold_into(play, &play->all, play->generation);
	fold_into(play, &mixed, other);
	free(mixed.items);
	check_same(play, other, "in another order");
	CHECK(play, play->generation->deferred.len == 0, "%s\n",
	      play->generation->deferred.items[0].text);
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < before->slots.lists[s].len; k++)
			check_kept(play, before, s, k);
	check_ports(play);
	check_boxes(play);
	check_shares(play, before);
	check_ends(play);
	play->generation->sequence++;
	for (int i = 0; i < play->n; i++)
		play->actors[i].touched = play->actors[i].forgotten = false;
}

/* What was folded is not folded again. */
static void check_settled(const struct play *play)
{
	CLEAN(generation) struct generation *again = generation_clone(play->generation);

	fold_into(play, &play->all, again);
	check_same(play, again, "folded again");
}

static void run(uint64_t seed, int n, int steps, int most_events)
{
	struct play *play = xcalloc(1, sizeof(*play));

	play->seed = seed;
	play->random = seed;
	play->n = n;
	play->generation = world_seed();
	play->generation->policy.names = chance(play, 2);
	play->generation->policy.worker_pool = chance(play, 2) ? 16 : 0;
	play->generation->slots.lists[CATALOGUE_WORKER].items[1].host = xstrdup("10.9.9.9");
	for (int i = 0; i < n; i++) {
		struct actor *actor = &play->actors[i];

		snprintf(actor->id, sizeof(actor->id), "n%d", i);
		actor->host = 1 + chance(play, n);
		draw_offer(play, actor);
		if (chance(play, 3)) {
			do_register(play, actor);
			actor->touched = true;
		}
	}
	fold(play);
	for (play->step = 1; play->step <= steps; play->step++) {
		for (int events = 1 + chance(play, most_events); events > 0; events--)
			happen(play);
		fold(play);
		if (chance(play, 4) == 0)
			check_settled(play);
	}
	CLEAN(str) char *errors = alter_errors(play->generation);

	CHECK(play, !errors, "%s\n", errors);
	generation_free(play->generation);
	registrations_fini(&play->all);
	reservations_fini(&play->reservations);
	free(play);
}

static void rules_hold_whatever_happens(void **state)
{
	static const struct {
		int n, runs, steps, events;
	} rows[] = { { 1, 40, 40, 1 },	{ 2, 100, 40, 2 },  { 5, 100, 40, 3 },
		     { 20, 30, 40, 5 }, { 100, 4, 20, 20 }, { 500, 1, 8, 100 } };
	const char *begin = getenv("CMSNODE_SEED");
	uint64_t seed = begin ? strtoull(begin, NULL, 10) : 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int k = 0; k < rows[i].runs; k++)
			run(seed++, rows[i].n, rows[i].steps, rows[i].events);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(rules_hold_whatever_happens) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
