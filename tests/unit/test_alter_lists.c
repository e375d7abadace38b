/* SPDX-License-Identifier: MIT */
/* How long the lists of slots are: pools with names, exact ones without, and who feeds rankings. */
#include "agreement_world.h"

struct cluster {
	struct generation *generation;
	struct registrations all;
};

static struct cluster cluster_new(bool names)
{
	struct cluster cluster = { .generation = world_seed() };

	cluster.generation->policy.names = names;
	return cluster;
}

static void cluster_fini(struct cluster *cluster)
{
	generation_free(cluster->generation);
	registrations_fini(&cluster->all);
}

/* Each on a host of its own, one after the other. */
static void join(struct cluster *cluster, const char *id, const char *roles)
{
	struct registration one;
	const int number = (int)cluster->all.len + 1;

	world_registration(&one, id, roles, number);
	one.create_revision = number;
	registrations_put(&cluster->all, &one);
	alter_join(cluster->generation, &cluster->all, NULL);
}

static size_t len(const struct cluster *cluster, enum catalogue_index service)
{
	return cluster->generation->slots.lists[service].len;
}

static size_t vacant(const struct cluster *cluster, enum catalogue_index service)
{
	size_t n = 0;

	for (size_t k = 0; k < len(cluster, service); k++)
		n += slot_is_vacant(&cluster->generation->slots.lists[service].items[k]);
	return n;
}

static void assert_settled(const struct cluster *cluster)
{
	CLEAN(generation) struct generation *again = generation_clone(cluster->generation);

	alter_join(again, &cluster->all, NULL);
	assert_true(generation_same_content(again, cluster->generation));
}

static void without_names_there_is_no_pool(void **state)
{
	struct cluster cluster = cluster_new(false);

	(void)state;
	cluster.generation->policy.resource_pool = 4;
	join(&cluster, "a", "core,worker:5");
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), 5);
	assert_int_equal(len(&cluster, CATALOGUE_RESOURCE_SERVICE), 1);
	assert_int_equal(len(&cluster, CATALOGUE_RANKING_WEB_SERVER), 0);
	cluster_fini(&cluster);
}

static void workers_are_listed_before_they_come(void **state)
{
	struct cluster cluster = cluster_new(true);

	(void)state;
	join(&cluster, "a", "core,worker:5");
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), 21);
	join(&cluster, "b", "worker:15");
	/* One is left: nothing grows, so nothing restarts. */
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), 21);
	assert_int_equal(vacant(&cluster, CATALOGUE_WORKER), 1);
	assert_settled(&cluster);
	join(&cluster, "c", "worker:1");
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), 42);
	assert_int_equal(vacant(&cluster, CATALOGUE_WORKER), 21);
	join(&cluster, "d", "worker:64");
	assert_int_equal(vacant(&cluster, CATALOGUE_WORKER), 42);
	assert_settled(&cluster);
	/* A host that leaves makes no list shorter. */
	CLEAN(str_list) struct str_list gone = { 0 };
	CLEAN(str_list) struct str_list joined = { 0 };
	const struct reservations nobody = { 0 };
	const struct alter_question question = { &cluster.all, &nobody, true };
	const size_t before = len(&cluster, CATALOGUE_WORKER);

	assert_true(registrations_remove(&cluster.all, "d"));
	alter_fold(cluster.generation, &question, &joined, &gone);
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), before);
	assert_int_equal(vacant(&cluster, CATALOGUE_WORKER), 42 + 64);
	cluster_fini(&cluster);
}

/* What is vacant does not fit the host, so the list has to grow: then for many at once. */
static void a_list_grows_once_for_many(void **state)
{
	struct cluster cluster = cluster_new(true);
	struct registration one;

	(void)state;
	join(&cluster, "a", "core");
	join(&cluster, "b", "worker:14");
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), 16);
	world_registration(&one, "c", "worker:1", 3);
	str_list_add(&one.ports_held, "26014");
	str_list_add(&one.ports_held, "26015");
	one.create_revision = 3;
	registrations_put(&cluster.all, &one);
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_string_equal(cluster.generation->slots.lists[CATALOGUE_WORKER].items[16].node, "c");
	assert_int_equal(vacant(&cluster, CATALOGUE_WORKER), 16);
	cluster_fini(&cluster);
}

static void a_long_list_is_not_doubled(void **state)
{
	struct cluster cluster = cluster_new(true);

	(void)state;
	for (int i = 0; i < 10; i++) {
		CLEAN(str) char *id = xasprintf("n%d", i);

		join(&cluster, id, "worker:60");
		assert_in_range(vacant(&cluster, CATALOGUE_WORKER), 1, 128);
	}
	assert_in_range(len(&cluster, CATALOGUE_WORKER), 600, 728);
	cluster.generation->policy.worker_pool = 1000;
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_int_equal(vacant(&cluster, CATALOGUE_WORKER), 1000);
	cluster.generation->policy.worker_pool = 5000;
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), SLOTS_MAX);
	assert_settled(&cluster);
	cluster_fini(&cluster);
}

static void no_pool_is_exact_with_names_too(void **state)
{
	struct cluster cluster = cluster_new(true);

	(void)state;
	cluster.generation->policy.worker_pool = 0;
	cluster.generation->policy.ranking_pool = 0;
	join(&cluster, "a", "core,worker:5");
	assert_int_equal(len(&cluster, CATALOGUE_WORKER), 5);
	assert_int_equal(len(&cluster, CATALOGUE_RESOURCE_SERVICE), 1);
	assert_int_equal(len(&cluster, CATALOGUE_RANKING_WEB_SERVER), 0);
	cluster.generation->policy.resource_pool = 4;
	join(&cluster, "b", "worker:1");
	assert_int_equal(vacant(&cluster, CATALOGUE_RESOURCE_SERVICE), 4);
	assert_settled(&cluster);
	cluster_fini(&cluster);
}

static void exact_lists_end_with_who_is_there(void **state)
{
	struct cluster cluster = cluster_new(true);

	(void)state;
	join(&cluster, "a", "core");
	assert_int_equal(len(&cluster, CATALOGUE_CONTEST_WEB_SERVER), 0);
	assert_true(cluster.generation->slots.lists[CATALOGUE_CONTEST_WEB_SERVER].listed);
	join(&cluster, "b", "contest-web");
	join(&cluster, "c", "contest-web");
	assert_int_equal(len(&cluster, CATALOGUE_CONTEST_WEB_SERVER), 2);
	assert_int_equal(len(&cluster, CATALOGUE_RESOURCE_SERVICE), 3);
	struct slot_list *list = &cluster.generation->slots.lists[CATALOGUE_CONTEST_WEB_SERVER];
	const struct registration *b = registrations_find(&cluster.all, "b");

	/* A hole stays: shards never renumber. */
	str_list_fini((struct str_list *)&b->roles);
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_int_equal(list->len, 2);
	assert_true(slot_is_vacant(&list->items[0]));
	assert_string_equal(list->items[1].node, "c");
	/* What an operator gave a port of its own is his. */
	slots_append(&cluster.generation->slots, CATALOGUE_CONTEST_WEB_SERVER)->port = 21500;
	(void)slots_append(&cluster.generation->slots, CATALOGUE_CONTEST_WEB_SERVER);
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_int_equal(list->len, 3);
	assert_settled(&cluster);
	cluster_fini(&cluster);
}

static const char *proxy(const struct cluster *cluster)
{
	const struct slot_list *list = &cluster->generation->slots.lists[CATALOGUE_PROXY_SERVICE];

	return list->len == 0 ? "(none)" : list->items[0].node ? list->items[0].node : "(vacant)";
}

static void unlist_proxy(struct cluster *cluster)
{
	cluster->generation->slots.lists[CATALOGUE_PROXY_SERVICE].len = 0;
	cluster->generation->slots.lists[CATALOGUE_PROXY_SERVICE].listed = false;
}

static void rankings_bring_proxy_service(void **state)
{
	static const struct {
		bool names, listed;
		const char *roles, *expected;
		size_t rankings;
	} rows[] = {
		{ false, false, "worker:1", "(none)", 0 }, { false, false, "ranking", "a", 1 },
		{ false, true, "ranking", "(none)", 1 }, /* an operator feeds his own */
		{ true, false, "worker:1", "a", 1 }, /* before there is any */
		{ true, false, "ranking", "a", 1 },	   { true, true, "ranking", "(none)", 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cluster cluster = cluster_new(rows[i].names);

		unlist_proxy(&cluster);
		if (rows[i].listed)
			value_set_path(cluster.generation->cms, "proxy_service.rankings",
				       value_new_array());
		struct registration core;

		world_registration(&core, "a", "core", 99);
		core.create_revision = 99; /* the younger one, and it takes ProxyService at once */
		registrations_put(&cluster.all, &core);
		join(&cluster, "b", rows[i].roles);
		assert_string_equal(proxy(&cluster), rows[i].expected);
		assert_int_equal(len(&cluster, CATALOGUE_RANKING_WEB_SERVER), rows[i].rankings);
		assert_settled(&cluster);
		cluster_fini(&cluster);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_names_there_is_no_pool),
		cmocka_unit_test(workers_are_listed_before_they_come),
		cmocka_unit_test(a_list_grows_once_for_many),
		cmocka_unit_test(a_long_list_is_not_doubled),
		cmocka_unit_test(no_pool_is_exact_with_names_too),
		cmocka_unit_test(exact_lists_end_with_who_is_there),
		cmocka_unit_test(rankings_bring_proxy_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
