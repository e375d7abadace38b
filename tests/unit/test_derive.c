/* SPDX-License-Identifier: MIT */
/* What runs here and why; what the supervisor is told. */
#include "agreement_world.h"

#include "cmsnode/network/interfaces.h"
#include "cmsnode/supervision/supervisor.h"
#include "cmsnode/topology/derive.h"
#include "cmsnode/topology/plan.h"
#include "cmsnode/topology/resolver.h"

static const struct derived_slot *find(const struct derivation *derivation, const char *service,
				       int shard)
{
	for (size_t i = 0; i < derivation->len; i++)
		if (derivation->items[i].shard == shard &&
		    strcmp(derivation->items[i].service, service) == 0)
			return &derivation->items[i];
	fail();
	return NULL;
}

static struct address literal(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static void assigned_slots_run_on_their_node(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = { .items = xcalloc(2, sizeof(struct registration)), .len = 2 };
	struct interfaces interfaces = { 0 };
	const struct resolved_hosts hosts = { 0 };
	struct derivation derivation = { 0 };

	(void)state;
	world_registration(&all.items[0], "a", "core", 1);
	world_registration(&all.items[1], "b", "worker:1", 2);
	alter_join(generation, &all, NULL);
	const struct derive_question question = { generation,  &all.items[0], &all,
						  &interfaces, &hosts,	      false };

	derive(&question, &derivation);
	assert_true(find(&derivation, "LogService", 0)->runs_here);
	assert_string_equal(find(&derivation, "LogService", 0)->bind_address, "10.0.0.1");
	assert_true(find(&derivation, "ResourceService", 0)->is_daemon);
	assert_false(find(&derivation, "ResourceService", 1)->runs_here);
	assert_false(find(&derivation, "Worker", 0)->runs_here);
	assert_string_equal(find(&derivation, "Worker", 0)->node, "b");
	assert_string_equal(find(&derivation, "Worker", 0)->host, "10.0.0.2");
	assert_non_null(strstr(find(&derivation, "Worker", 1)->reason, "vacant"));
	/* ProxyService cannot serve ALL; the slot stays ours, the unit is not started. */
	assert_non_null(strstr(find(&derivation, "ProxyService", 0)->disabled, "--contest"));
	derivation_fini(&derivation);
	registrations_fini(&all);
}

static void static_slots_go_by_evidence(void **state)
{
	static const struct {
		const char *
			/*
			 * what the static host resolves to; NULL = no answer yet, "" = does not
			 * resolve
			 */
			address;
		bool standalone, here;
		const char *reason;
	} cases[] = {
		{ "10.0.0.1", false, true, "this host's address 10.0.0.1" },
		{ "10.0.0.9", false, false, "another host" },
		{ "172.17.0.1", false, false, "host 'host2' (node b) has 172.17.0.1 too" },
		{ "127.0.0.1", false, false, "names no host in a cluster" },
		{ "127.0.0.1", true, true, "this machine" },
		{ "", false, false, "does not resolve" },
		{ NULL, false, false, "being looked up" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(generation) struct generation *generation = world_seed();
		struct registrations all = { .items = xcalloc(2, sizeof(struct registration)),
					     .len = 2 };
		struct interface_address addresses[] = {
			{ .link = 1, .address = literal("10.0.0.1") },
			{ .link = 2, .address = literal("172.17.0.1") }
		};
		struct interfaces interfaces = { .addresses = addresses, .addresses_len = 2 };
		struct address answer = { 0 };
		struct resolved_host host = { .host = (char *)"box", .addresses = &answer };
		struct resolved_hosts hosts = { .items = &host, .len = cases[i].address ? 1 : 0 };
		struct derivation derivation = { 0 };

		world_registration(&all.items[0], "a", "worker:1", 1);
		world_registration(&all.items[1], "b", "worker:1", 2);
		generation->slots.lists[CATALOGUE_WORKER].items[0].host = xstrdup("box");
		if (cases[i].address && cases[i].address[0]) {
			answer = literal(cases[i].address);
			host.len = 1;
		}
		const struct derive_question question = { generation, &all.items[0],
							  &all,	      &interfaces,
							  &hosts,     cases[i].standalone };

		derive(&question, &derivation);
		const struct derived_slot *slot = find(&derivation, "Worker", 0);

		assert_int_equal(slot->runs_here, cases[i].here);
		assert_non_null(strstr(slot->reason, cases[i].reason));
		derivation_fini(&derivation);
		registrations_fini(&all);
	}
}

static void the_plan_starts_what_cms_expects(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	struct registrations all = { .items = xcalloc(1, sizeof(struct registration)), .len = 1 };
	struct interfaces interfaces = { 0 };
	const struct resolved_hosts hosts = { 0 };
	struct derivation derivation = { 0 };
	CLEAN(str_list) struct str_list env = { 0 };
	struct plan plan = { 0 };

	(void)state;
	world_registration(&all.items[0], "a", "core,worker:2,ranking", 1);
	alter_join(generation, &all, NULL);
	const struct derive_question question = { generation,  &all.items[0], &all,
						  &interfaces, &hosts,	      false };
	const struct plan_settings settings = { .cms_bin = "/opt/cms/bin",
						.contest = "7",
						.generation = "g1",
						.config_path = "/state/generations/g1/cms.toml",
						.ranking_path =
							"/state/generations/g1/cms_ranking.toml",
						.checker_path =
							"/state/generations/g1/cms.checker.toml",
						.home = "/home/cms",
						.user = "cms",
						.env = &env };

	str_list_add(&env, "LANG=it_IT.UTF-8");
	str_list_add(&env, "CMS_CONFIG=/tmp/evil");
	derive(&question, &derivation);
	plan_make(&derivation, &settings, &plan);
	assert_string_equal(plan.specs[0].service, "LogService");
	assert_true(plan.specs[0].starts_first);
	for (size_t i = 0; i < plan.len; i++) {
		const struct unit_spec *spec = &plan.specs[i];
		size_t n = 0;

		assert_string_not_equal(spec->service, "ResourceService");
		while (spec->env[n])
			n++;
		/*
		 * Ours is last, and the services' own configuration is not the operator's to move
		 * by --env.
		 */
		const bool checks = strcmp(spec->service, "Checker") == 0;

		if (i + 1 < plan.len)
			assert_string_equal(
				spec->env[n - 1],
				checks ? "CMS_CONFIG=/state/generations/g1/cms.checker.toml" :
					 "CMS_CONFIG=/state/generations/g1/cms.toml");
		assert_string_equal(spec->env[1], "LANG=it_IT.UTF-8");
	}
	const struct unit_spec *worker = &plan.specs[4];

	assert_string_equal(worker->service, "Worker");
	assert_string_equal(worker->argv[0], "/opt/cms/bin/cmsWorker");
	assert_string_equal(worker->argv[1], "0");
	assert_string_equal(worker->argv[2], "-c");
	assert_string_equal(worker->argv[3], "7");
	assert_null(worker->argv[4]);
	assert_string_equal(worker->rpc_host, "10.0.0.1");
	assert_int_equal(worker->rpc_port, 26000);
	const struct unit_spec *ranking = &plan.specs[plan.len - 1];
	size_t n = 0;

	assert_string_equal(ranking->argv[0], "/opt/cms/bin/cmsRankingWebServer");
	assert_null(ranking->argv[1]);
	assert_null(ranking->rpc_host);
	while (ranking->env[n])
		n++;
	assert_string_equal(ranking->env[n - 1],
			    "CMS_RANKING_CONFIG=/state/generations/g1/cms_ranking.toml");
	plan_fini(&plan);
	derivation_fini(&derivation);
	registrations_fini(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(assigned_slots_run_on_their_node),
		cmocka_unit_test(static_slots_go_by_evidence),
		cmocka_unit_test(the_plan_starts_what_cms_expects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
