/* SPDX-License-Identifier: MIT */
/* What nodes offer and do not run: each reason, and nobody without one. */
#include "agreement_world.h"

#include <cjson/cJSON.h>

#include "cmsnode/agreement/offers.h"
#include "cmsnode/base/json.h"

struct cluster {
	struct generation *generation;
	struct registrations all;
};

static struct registration *add(struct cluster *cluster, const char *id, const char *roles,
				int host)
{
	struct registration one;

	world_registration(&one, id, roles, host);
	one.create_revision = (int64_t)cluster->all.len + 1;
	registrations_put(&cluster->all, &one);
	return (struct registration *)registrations_find(&cluster->all, id);
}

static struct cluster cluster_new(void)
{
	return (struct cluster){ .generation = world_seed() };
}

static void cluster_fini(struct cluster *cluster)
{
	generation_free(cluster->generation);
	registrations_fini(&cluster->all);
}

/* "node service has/offered: why", one a line; a standby's has a star. */
static void assert_offers(const struct cluster *cluster, const char *expected)
{
	CLEAN(offers) struct offers offers = { 0 };
	CLEAN(str_list) struct str_list lines = { 0 };

	offers_unfilled(cluster->generation, &cluster->all, &offers);
	for (size_t i = 0; i < offers.len; i++)
		str_list_take(&lines,
			      xasprintf("%s %s%s %zu/%zu: %s", offers.items[i].node,
					catalogue_at(offers.items[i].service)->name,
					offers.items[i].is_standby ? "*" : "", offers.items[i].has,
					offers.items[i].offered, offers.items[i].why));
	CLEAN(str) char *text = str_list_join(&lines, "\n");

	assert_string_equal(text, expected);
}

static void who_has_what_it_offers_is_not_listed(void **state)
{
	struct cluster cluster = cluster_new();

	(void)state;
	(void)add(&cluster, "a", "core,worker:2,contest-web", 1);
	(void)add(&cluster, "b", "worker:3,ranking", 2);
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_offers(&cluster, "");
	cluster_fini(&cluster);
}

static void a_second_one_for_a_singleton_is_a_standby(void **state)
{
	struct cluster cluster = cluster_new();

	(void)state;
	(void)add(&cluster, "a", "EvaluationService", 1);
	(void)add(&cluster, "b", "EvaluationService,Checker", 2);
	(void)add(&cluster, "c", "Checker", 3);
	alter_join(cluster.generation, &cluster.all, NULL);
	struct slot *checker = &cluster.generation->slots.lists[CATALOGUE_CHECKER].items[0];

	slot_set_node(checker, NULL);
	checker->host = xstrdup("10.0.0.3");
	(void)registrations_remove(&cluster.all, "a");
	/* c runs it, since it is its host. */
	assert_offers(&cluster, "b Checker* 0/1: standby: it is static at 10.0.0.3\n"
				"b EvaluationService* 0/1: standby: node a has it, and is away");
	(void)add(&cluster, "a", "EvaluationService", 1);
	assert_offers(&cluster, "b Checker* 0/1: standby: it is static at 10.0.0.3\n"
				"b EvaluationService* 0/1: standby: node a has it");
	cluster_fini(&cluster);
}

static void a_node_that_drains_runs_nothing(void **state)
{
	struct cluster cluster = cluster_new();

	(void)state;
	(void)add(&cluster, "a", "Checker", 1);
	cluster.generation->slots.lists[CATALOGUE_CHECKER].len = 1;
	assert_offers(&cluster, "a ResourceService 0/1: not folded in yet\n"
				"a Checker 0/1: not folded in yet");
	generation_node_add(cluster.generation, "a")->state = NODE_DRAINING;
	assert_offers(&cluster, "a ResourceService 0/1: drains\na Checker 0/1: drains");
	generation_node_find(cluster.generation, "a")->state = NODE_DRAINED;
	assert_offers(&cluster, "a ResourceService 0/1: drained, until: cmsnodectl node undrain\n"
				"a Checker 0/1: drained, until: cmsnodectl node undrain");
	generation_defer(cluster.generation, "a", 7, false, "something is wrong");
	assert_offers(&cluster, "a ResourceService 0/1: left out: something is wrong\n"
				"a Checker 0/1: left out: something is wrong");
	cluster_fini(&cluster);
}

static void what_does_not_fit_is_said(void **state)
{
	struct cluster cluster = cluster_new();
	struct registration *a = add(&cluster, "a", "LogService,Checker", 1);

	(void)state;
	str_list_add(&a->ports_held, "29000");
	value_set_path(cluster.generation->cms, "prometheus.listen_port", value_new_int(22000));
	(void)add(&cluster, "b", "worker:66,ranking", 2);
	(void)add(&cluster, "c", "ranking", 2);
	alter_join(cluster.generation, &cluster.all, NULL);
	assert_offers(&cluster,
		      "a LogService 0/1: port 29000 is held by something else on this host\n"
		      "a Checker 0/1: port 22000 is given to another service\n"
		      "b Worker 64/66: another Worker of this machine has the same sandboxes\n"
		      "c RankingWebServer 0/1: port 8890 is another service's on this host");
	CLEAN(generation) struct generation *before = generation_clone(cluster.generation);
	CLEAN(offers) struct offers offers = { 0 };

	offers_unfilled(cluster.generation, &cluster.all, &offers);
	assert_true(generation_same_content(before, cluster.generation));
	CLEAN(json) cJSON *json = offers_to_json(&offers);
	CLEAN(str) char *first = json_text(cJSON_GetArrayItem(json, 2));

	assert_string_equal(first, "{\"node\":\"b\",\"service\":\"Worker\",\"offered\":66,"
				   "\"has\":64,\"standby\":false,\"why\":\"another Worker of this "
				   "machine has the same sandboxes\"}");
	cluster_fini(&cluster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_what_it_offers_is_not_listed),
		cmocka_unit_test(a_second_one_for_a_singleton_is_a_standby),
		cmocka_unit_test(a_node_that_drains_runs_nothing),
		cmocka_unit_test(what_does_not_fit_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
