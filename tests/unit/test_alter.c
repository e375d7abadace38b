/* SPDX-License-Identifier: MIT */
/*
 * alter: who gets which slot. Stable, minimal, deterministic, and within the rules of ports and
 * boxes.
 */
#include "agreement_world.h"

#include "cmsnode/base/err.h"

static struct registrations registrations_of(size_t n)
{
	struct registrations all = { .items = xcalloc(n ? n : 1, sizeof(struct registration)),
				     .cap = n };

	return all;
}

static struct registration *add(struct registrations *all, const char *id, const char *roles,
				int host)
{
	struct registration *one = &all->items[all->len++];

	world_registration(one, id, roles, host);
	one->create_revision = (int64_t)all->len;
	return one;
}

static const char *owner(const struct generation *generation, enum catalogue_index service,
			 size_t shard)
{
	const struct slot_list *list = &generation->slots.lists[service];

	return shard < list->len && list->items[shard].node ? list->items[shard].node : "-";
}

static void core_takes_what_is_listed(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(2);

	(void)state;
	(void)add(&all, "a", "core", 1);
	(void)add(&all, "b", "core", 2);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_LOG_SERVICE, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_PROXY_SERVICE, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_RESOURCE_SERVICE, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_RESOURCE_SERVICE, 1), "b");
	/* Not listed: the operator does not want them. */
	assert_int_equal(generation->slots.lists[CATALOGUE_PROMETHEUS_EXPORTER].len, 0);
	assert_int_equal(generation->slots.lists[CATALOGUE_PRINTING_SERVICE].len, 0);
	/* The second core node is a standby: singletons do not multiply. */
	assert_int_equal(generation->slots.lists[CATALOGUE_LOG_SERVICE].len, 1);
	registrations_fini(&all);
}

static void holes_are_filled_before_the_list_grows(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(3);

	(void)state;
	(void)add(&all, "a", "worker:2", 1);
	alter_join(generation, &all, NULL);
	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[0], NULL);
	struct registrations two = registrations_of(2);

	add(&two, "b", "worker:3", 2)->create_revision = 9;
	alter_join(generation, &two, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "b");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 1), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 2), "b");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 3), "b");
	registrations_fini(&all);
	registrations_fini(&two);
}

static void a_join_moves_nobody_and_order_does_not_matter(void **state)
{
	CLEAN(generation) struct generation *base = world_seed();
	struct registrations all = registrations_of(8);

	(void)state;
	for (int i = 0; i < 4; i++) {
		CLEAN(str) char *id = xasprintf("n%d", i);

		(void)add(&all, id, i ? "worker:3,contest-web" : "core", i + 1);
	}
	alter_join(base, &all, NULL);
	CLEAN(generation) struct generation *before = generation_clone(base);

	for (int i = 4; i < 8; i++) {
		CLEAN(str) char *id = xasprintf("n%d", i);

		(void)add(&all, id, "worker:3", i + 1);
	}
	CLEAN(generation) struct generation *forward = generation_clone(base);
	CLEAN(generation) struct generation *backward = generation_clone(base);

	alter_join(forward, &all, NULL);
	for (size_t i = 0; i < all.len / 2; i++) {
		const struct registration other = all.items[i];

		all.items[i] = all.items[all.len - 1 - i];
		all.items[all.len - 1 - i] = other;
	}
	alter_join(backward, &all, NULL);
	assert_true(generation_same_content(forward, backward));
	for (int s = 0; s < CATALOGUE_COUNT; s++)
		for (size_t k = 0; k < before->slots.lists[s].len; k++)
			if (before->slots.lists[s].items[k].node)
				assert_string_equal(owner(forward, (enum catalogue_index)s, k),
						    before->slots.lists[s].items[k].node);
	/* Folding again changes nothing. */
	CLEAN(generation) struct generation *again = generation_clone(forward);

	alter_join(again, &all, NULL);
	assert_true(generation_same_content(forward, again));
	registrations_fini(&all);
}

static void fewer_roles_give_the_highest_slots_back(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(1);
	struct registration *a = add(&all, "a", "worker:3", 1);

	(void)state;
	alter_join(generation, &all, NULL);
	str_list_fini(&a->roles);
	str_list_add(&a->roles, "worker:1");
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 1), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 2), "-");
	registrations_fini(&all);
}

static void held_ports_are_passed_over(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(1);
	struct registration *a = add(&all, "a", "worker:1,contest-web", 1);

	(void)state;
	str_list_add(&a->ports_held, "26000");
	str_list_add(&a->ports_held, "8888");
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 1), "a");
	assert_int_equal(generation->slots.lists[CATALOGUE_CONTEST_WEB_SERVER].items[0].http_port,
			 8900);
	registrations_fini(&all);
}

static int http_port(const struct generation *generation, size_t shard)
{
	return generation->slots.lists[CATALOGUE_CONTEST_WEB_SERVER].items[shard].http_port;
}

static void ports_that_an_entry_says_are_passed_over(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(3);

	(void)state;
	value_set_path(generation->cms, "admin_web_server.listen_port", value_new_int(26001));
	(void)add(&all, "a", "core,worker:2,contest-web:2", 1);
	(void)add(&all, "b", "worker:1", 2);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_ADMIN_WEB_SERVER, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "a");
	/* Nor where AdminWebServer is not: it may move there. */
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 1), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 2), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 3), "b");
	/* Said later, it moves only who is in its way. */
	value_set_path(generation->cms, "admin_web_server.listen_port", value_new_int(26003));
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 3), "b");
	value_set_path(generation->cms, "admin_web_server.listen_port", value_new_int(26002));
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_ADMIN_WEB_SERVER, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 1), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 2), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 3), "b");
	assert_int_equal(http_port(generation, 0), 8888);
	assert_int_equal(http_port(generation, 1), 8901);
	/* An older node on the host gives way too, since a singleton has nowhere to go. */
	struct registration *older = add(&all, "c", "worker:1", 1);

	older->create_revision = 0;
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 4), "c");
	value_set_path(generation->cms, "admin_web_server.listen_port", value_new_int(26004));
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 4), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 2), "c");
	registrations_fini(&all);
}

static void an_operators_http_ports_are_kept_from_the_others(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(1);
	struct value *ports = value_new_array();

	(void)state;
	value_array_add(ports, value_new_int(8901));
	value_set_path(generation->cms, "contest_web_server.listen_port", ports);
	(void)add(&all, "a", "contest-web:3", 1);
	alter_join(generation, &all, NULL);
	CLEAN(value) struct value *document = generation_render(generation);
	CLEAN(str)
	char *rendered = value_to_json(value_get_path(document, "contest_web_server.listen_port"));

	assert_string_equal(rendered, "[8901,8888,8902]");
	registrations_fini(&all);
}

static void a_host_has_one_ranking(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(3);

	(void)state;
	(void)add(&all, "a", "RankingWebServer:2", 1);
	(void)add(&all, "b", "ranking", 1);
	(void)add(&all, "c", "ranking", 2);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_RANKING_WEB_SERVER, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_RANKING_WEB_SERVER, 1), "c");
	assert_int_equal(generation->slots.lists[CATALOGUE_RANKING_WEB_SERVER].len, 2);
	registrations_fini(&all);
}

/* Its registration is a new one, at another host; the slots it had are still its own. */
static void move(struct registrations *all, struct registration *one, int host)
{
	struct registration moved;
	CLEAN(str) char *roles = str_list_join(&one->roles, ",");

	world_registration(&moved, one->id, roles, host);
	moved.create_revision = 1000 + (int64_t)all->len;
	registration_fini(one);
	*one = moved;
}

static void who_moves_to_a_host_gives_way_there(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(3);
	struct registration *a = add(&all, "a", "worker:1,contest-web", 1);

	(void)state;
	(void)add(&all, "filler", "worker:63", 2);
	struct registration *b = add(&all, "b", "worker:2,contest-web", 3);

	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 64), "b");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 65), "b");
	assert_int_equal(http_port(generation, 0), 8888);
	assert_int_equal(http_port(generation, 1), 8888);
	/* Workers 0 and 64 share a box, and both ContestWebServers have port 8888. */
	move(&all, b, 1);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 64), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 65), "b");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 66), "b");
	assert_int_equal(http_port(generation, 0), 8888);
	assert_string_equal(owner(generation, CATALOGUE_CONTEST_WEB_SERVER, 1), "b");
	assert_int_equal(http_port(generation, 1), 8901);
	/* The other way round: who was there first is still first. */
	move(&all, a, 3);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 65), "b");
	registrations_fini(&all);
}

static void an_older_node_gets_what_a_younger_one_gives_back(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(2);
	struct registration *b = add(&all, "b", "core", 2);

	(void)state;
	alter_join(generation, &all, NULL);
	struct registration *a = add(&all, "a", "core", 1);

	a->create_revision = 0;
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_LOG_SERVICE, 0), "b");
	str_list_fini(&b->roles);
	str_list_add(&b->roles, "worker:1");
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_LOG_SERVICE, 0), "a");
	registrations_fini(&all);
}

/* b was on the host, is away, and may be back: who comes there meanwhile makes room for it. */
static void who_moves_gives_way_to_who_is_away(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(3);

	(void)state;
	(void)add(&all, "b", "worker:1", 2);
	(void)add(&all, "filler", "worker:63", 3);
	struct registration *a = add(&all, "a", "worker:1", 1);

	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 64), "a");
	assert_true(registrations_remove(&all, "b"));
	a = (struct registration *)registrations_find(&all, "a");
	move(&all, a, 2);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "b");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 64), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 65), "a");
	/* It drains while it is moved again: it runs nothing, and keeps nothing that clashes. */
	generation_node_find(generation, "a")->state = NODE_DRAINING;
	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[64], "b");
	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[0], "a");
	slot_set_node(&generation->slots.lists[CATALOGUE_WORKER].items[65], NULL);
	move(&all, a, 7);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "a");
	move(&all, a, 2);
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "-");
	registrations_fini(&all);
}

static void a_slot_whose_port_is_held_is_exchanged(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(1);
	struct registration *a = add(&all, "a", "core,worker:2,contest-web", 1);

	(void)state;
	alter_join(generation, &all, NULL);
	str_list_add(&a->ports_held, "26000");
	str_list_add(&a->ports_held, "8888");
	str_list_add(&a->ports_held, "29000");
	alter_join(generation, &all, NULL);
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 0), "-");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 1), "a");
	assert_string_equal(owner(generation, CATALOGUE_WORKER, 2), "a");
	assert_int_equal(http_port(generation, 0), 8900);
	/* There is only one LogService, and it stays where it is. */
	assert_string_equal(owner(generation, CATALOGUE_LOG_SERVICE, 0), "a");
	registrations_fini(&all);
}

static void a_static_resource_service_is_enough(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = registrations_of(1);
	struct slot *slot = &generation->slots.lists[CATALOGUE_RESOURCE_SERVICE].items[0];

	(void)state;
	slot->host = xstrdup("10.0.0.1");
	(void)add(&all, "a", "worker:1", 1);
	alter_join(generation, &all, NULL);
	assert_int_equal(generation->slots.lists[CATALOGUE_RESOURCE_SERVICE].len, 1);
	assert_null(slot->node);
	registrations_fini(&all);
}

/* Two Workers of one boot id never share a box; two units of one host never share a port. */
static void assert_rules(const struct generation *generation, const struct registrations *all)
{
	const struct slot_list *workers = &generation->slots.lists[CATALOGUE_WORKER];

	for (size_t i = 0; i < workers->len; i++) {
		for (size_t k = i + 64; k < workers->len; k += 64) {
			if (!workers->items[i].node || !workers->items[k].node)
				continue;
			const struct registration *x =
				registrations_find(all, workers->items[i].node);
			const struct registration *y =
				registrations_find(all, workers->items[k].node);

			if (x && y)
				assert_string_not_equal(x->boot_id, y->boot_id);
		}
	}
	for (size_t n = 0; n < generation->nodes.len; n++) {
		bool *taken = xcalloc(65536, sizeof(*taken));

		for (int s = 0; s < CATALOGUE_COUNT; s++) {
			const struct slot_list *list = &generation->slots.lists[s];

			for (size_t k = 0; k < list->len; k++) {
				const struct slot *slot = &list->items[k];
				const struct generation_node *node =
					slot->node ? generation_node_find(generation, slot->node) :
						     NULL;

				if (!node ||
				    strcmp(node->address, generation->nodes.items[n].address) != 0)
					continue;
				assert_false(taken[slot->port]);
				taken[slot->port] = true;
				if (slot->http_port) {
					assert_false(taken[slot->http_port]);
					taken[slot->http_port] = true;
				}
			}
		}
		free(taken);
	}
}

static void rules_hold_over_random_joins(void **state)
{
	static const char *const offers[] = { "worker:1",    "worker:4", "worker:9,contest-web:2",
					      "contest-web", "core",	 "worker:70" };
	uint64_t random = 42;

	(void)state;
	for (int round = 0; round < 20; round++) {
		CLEAN(generation) struct generation *generation = world_seed();
		struct registrations all = registrations_of(24);

		for (int i = 0; i < 24; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			CLEAN(str) char *id = xasprintf("n%d", i);

			/* Several nodes on one host now and then. */
			(void)add(&all, id, offers[(random >> 33) % ARRAY_LEN(offers)],
				  1 + (int)((random >> 40) % 12));
			alter_join(generation, &all, NULL);
		}
		assert_rules(generation, &all);
		registrations_fini(&all);
	}
}

static void frozen_takes_only_thawing(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	CLEAN(value) struct value *yes = value_new_bool(true);
	CLEAN(value) struct value *no = value_new_bool(false);
	struct edits edits = { 0 };
	struct edits thaw = { 0 };
	struct err err;

	(void)state;
	generation->policy.frozen = true;
	edits_add(&edits, "database.debug", NULL, yes);
	edits_add(&thaw, "topology.frozen", yes, no);
	assert_int_equal(alter_edit(generation, &edits, &err), ERR_CONFIG);
	assert_non_null(strstr(err.msg, "frozen"));
	assert_int_equal(alter_edit(generation, &thaw, &err), 0);
	assert_int_equal(alter_edit(generation, &edits, &err), 0);
	edits_fini(&edits);
	edits_fini(&thaw);
}

static void secrets_are_masked_in_conflicts(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	CLEAN(value) struct value *old =
		value_new_string("postgresql+psycopg2://cmsuser:FIRST@localhost/cms");
	CLEAN(value) struct value *wanted =
		value_new_string("postgresql+psycopg2://cmsuser:SECOND@localhost/cms");
	struct edits edits = { 0 };
	struct err err;

	(void)state;
	edits_add(&edits, "database.url", old, wanted);
	assert_int_equal(alter_edit(generation, &edits, &err), ERR_CONFLICT);
	assert_null(strstr(err.msg, "FIRST"));
	assert_null(strstr(err.msg, "SECOND"));
	assert_null(strstr(err.msg, ":pw@"));
	edits_fini(&edits);
}

static void one_that_breaks_the_configuration_is_left_out(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	CLEAN(str_list) struct str_list joined = { 0 };
	CLEAN(str_list) struct str_list gone = { 0 };
	struct registrations all = registrations_of(3);
	const struct reservations nobody = { 0 };
	const struct alter_question question = { .registrations = &all,
						 .reservations = &nobody,
						 .fold_departures = true };

	(void)state;
	(void)add(&all, "a", "core", 1);
	/* Two hosts with one address: shards 0 and 100 would listen at 10.0.0.2:21000. */
	(void)add(&all, "b", "contest-web", 2);
	struct registration *twin = add(&all, "c", "contest-web:100", 3);

	free(twin->address);
	twin->address = xstrdup("10.0.0.2");
	twin->mod_revision = 77;
	alter_fold(generation, &question, &joined, &gone);
	CLEAN(str) char *errors = alter_errors(generation);

	if (errors)
		fail_msg("%s", errors);
	assert_string_equal(owner(generation, CATALOGUE_CONTEST_WEB_SERVER, 0), "b");
	assert_null(generation_node_find(generation, "c"));
	const struct generation_deferred *deferred = generation_deferred_find(generation, "c");

	assert_non_null(deferred);
	assert_false(deferred->is_held);
	assert_int_equal(deferred->revision, 77);
	assert_non_null(strstr(deferred->text, "21000"));
	assert_null(generation_deferred_find(generation, "b"));
	assert_int_equal(joined.len, 2);
	/* It is tried again each time; what is deferred is part of the content. */
	CLEAN(generation) struct generation *again = generation_clone(generation);

	alter_fold(again, &question, &joined, &gone);
	assert_true(generation_same_content(again, generation));
	CLEAN(tree) struct tree tree = { 0 };
	bool listed = false;

	assert_int_equal(generation_to_tree(generation, &tree, NULL), 0);
	for (size_t k = 0; k < tree.len; k++)
		listed = listed || str_eq(tree.items[k].key, "topology/deferred");
	assert_true(listed);
	registrations_fini(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(core_takes_what_is_listed),
		cmocka_unit_test(holes_are_filled_before_the_list_grows),
		cmocka_unit_test(a_join_moves_nobody_and_order_does_not_matter),
		cmocka_unit_test(fewer_roles_give_the_highest_slots_back),
		cmocka_unit_test(held_ports_are_passed_over),
		cmocka_unit_test(ports_that_an_entry_says_are_passed_over),
		cmocka_unit_test(an_operators_http_ports_are_kept_from_the_others),
		cmocka_unit_test(a_host_has_one_ranking),
		cmocka_unit_test(who_moves_to_a_host_gives_way_there),
		cmocka_unit_test(an_older_node_gets_what_a_younger_one_gives_back),
		cmocka_unit_test(who_moves_gives_way_to_who_is_away),
		cmocka_unit_test(a_slot_whose_port_is_held_is_exchanged),
		cmocka_unit_test(a_static_resource_service_is_enough),
		cmocka_unit_test(rules_hold_over_random_joins),
		cmocka_unit_test(frozen_takes_only_thawing),
		cmocka_unit_test(secrets_are_masked_in_conflicts),
		cmocka_unit_test(one_that_breaks_the_configuration_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
