/* SPDX-License-Identifier: MIT */
/* Names of slots: how they are written and read, and what they point at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/names.h"
#include "cmsnode/topology/slots.h"

#define ZONE NAMES_ZONE_DEFAULT
#define VACANT SLOT_VACANT_ADDRESS

static void names_come_back_as_they_went(void **state)
{
	char longest[NAMES_ZONE_MAX + 1];

	(void)state;
	memset(longest, 'z', NAMES_ZONE_MAX);
	longest[NAMES_ZONE_MAX] = '\0';
	const char *const zones[] = { ZONE, "a.b", longest };

	for (size_t z = 0; z < ARRAY_LEN(zones); z++)
		for (int s = 0; s < CATALOGUE_COUNT; s++)
			for (size_t k = 0; k < SLOTS_MAX; k += SLOTS_MAX - 1) {
				char name[NAMES_NAME_SIZE];
				enum catalogue_index service;
				size_t shard;

				if (k && catalogue_at((enum catalogue_index)s)->singleton)
					continue;
				names_format((enum catalogue_index)s, k, zones[z], name);
				assert_true(str_ends(name, zones[z]));
				assert_true(names_parse(name, zones[z], &service, &shard));
				assert_int_equal(service, s);
				assert_int_equal(shard, k);
			}
}

static void only_our_spelling_is_a_name(void **state)
{
	static const struct {
		const char *name;
		bool ours;
	} cases[] = {
		{ "evaluationservice." ZONE, true },
		{ "EvaluationService.CMS.internal", true },
		{ "worker-0." ZONE, true },
		{ "worker-4999." ZONE, true },
		{ "rankingwebserver-0." ZONE, true },
		{ "evaluationservice-0." ZONE, false },
		{ "worker." ZONE, false },
		{ "worker-." ZONE, false },
		{ "worker--1." ZONE, false },
		{ "worker-01." ZONE, false },
		{ "worker-+1." ZONE, false },
		{ "worker-5000." ZONE, false },
		{ "worker-99999." ZONE, false },
		{ "worker-1x." ZONE, false },
		{ "worker1." ZONE, false },
		{ "worker-1.cms.internal.", false },
		{ "worker-1.cms", false },
		{ "worker-1", false },
		{ "www." ZONE, false },
		{ "." ZONE, false },
		{ "", false },
	};
	enum catalogue_index service;
	size_t shard;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (names_parse(cases[i].name, ZONE, &service, &shard) != cases[i].ours)
			fail_msg("%s", cases[i].name);
}

static void a_zone_is_a_dns_name(void **state)
{
	static const struct {
		const char *zone;
		bool good;
	} cases[] = {
		{ ZONE, true },
		{ "cms", true },
		{ "a-b.c1", true },
		{ "exactly-36-characters.long.zone.abcd", true },
		{ "one-more-than-36-characters.zone.abcd", false },
		{ "", false },
		{ ".", false },
		{ "cms.", false },
		{ ".cms", false },
		{ "a..b", false },
		{ "-a.b", false },
		{ "a-.b", false },
		{ "CMS.internal", false },
		{ "c m", false },
		{ "c\nm", false },
		{ "c#m", false },
		{ "cms.10", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = { 0 };
		const int r = names_check_zone(cases[i].zone, &err);

		if ((r == 0) != cases[i].good)
			fail_msg("'%s': %d", cases[i].zone, r);
		if (r < 0)
			assert_non_null(strstr(err.msg, "zone '"));
	}
}

/* ---- what they point at ---- */

static void add_node(struct generation *generation, const char *id, const char *address,
		     enum node_state node_state)
{
	struct generation_node *node = generation_node_add(generation, id);

	free(node->address);
	node->address = xstrdup(address);
	node->state = node_state;
}

static void add_slot(struct generation *generation, enum catalogue_index service, const char *node)
{
	struct slot *slot = slots_append(&generation->slots, service);

	slot_set_node(slot, node);
}

/* One node with LogService and Worker,0; a vacant Worker,1; a static Worker,2. */
static struct generation *sample(enum node_state node_state)
{
	struct generation *generation = generation_new();

	add_node(generation, "a", "10.0.0.1", node_state);
	add_slot(generation, CATALOGUE_LOG_SERVICE, "a");
	add_slot(generation, CATALOGUE_WORKER, "a");
	add_slot(generation, CATALOGUE_WORKER, NULL);
	slots_append(&generation->slots, CATALOGUE_WORKER)->host = xstrdup("10.9.9.9");
	return generation;
}

static const char *address_of(const struct names *names, const char *name)
{
	const struct name *found = names_find(names, name);

	return found ? found->address : "none";
}

static void a_name_follows_its_node(void **state)
{
	static const struct {
		enum node_state node_state;
		const char *stopped, *decided;
		const char *log_service, *worker;
	} cases[] = {
		{ NODE_PRESENT, NULL, NULL, "10.0.0.1", "10.0.0.1" },
		{ NODE_DRAINING, NULL, NULL, "10.0.0.1", "10.0.0.1" },
		/* A mere expiry: it may still run, for all we know. */
		{ NODE_AWAY, NULL, NULL, "10.0.0.1", "10.0.0.1" },
		{ NODE_AWAY, "b", NULL, "10.0.0.1", "10.0.0.1" },
		{ NODE_AWAY, "a", NULL, VACANT, VACANT },
		{ NODE_PRESENT, "a", NULL, VACANT, VACANT },
		{ NODE_DRAINED, NULL, NULL, VACANT, VACANT },
		/* Only a Worker goes where it is told. */
		{ NODE_AWAY, NULL, VACANT, "10.0.0.1", VACANT },
		{ NODE_DRAINED, NULL, "10.0.0.7", VACANT, "10.0.0.7" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(generation) struct generation *generation = sample(cases[i].node_state);
		CLEAN(str_list) struct str_list stopped = { 0 };
		CLEAN(names) struct names decided = { 0 };
		CLEAN(names) struct names names = { 0 };

		str_list_split(&stopped, cases[i].stopped ? cases[i].stopped : "", ',');
		if (cases[i].decided) {
			names_set(&decided, CATALOGUE_WORKER, 0, ZONE, cases[i].decided);
			names_set(&decided, CATALOGUE_WORKER, 9, ZONE, cases[i].decided);
			names_set(&decided, CATALOGUE_LOG_SERVICE, 0, ZONE, cases[i].decided);
		}
		const struct names_view view = { ZONE, &stopped, &decided };

		names_make(generation, &view, &names);
		assert_string_equal(address_of(&names, "logservice." ZONE), cases[i].log_service);
		assert_string_equal(address_of(&names, "worker-0." ZONE), cases[i].worker);
		assert_string_equal(address_of(&names, "worker-1." ZONE), VACANT);
		/* The static Worker,2 and the unknown Worker,9 have none. */
		assert_int_equal(names.len, 3);
	}
}

static void a_slot_without_a_known_node_is_vacant(void **state)
{
	CLEAN(generation) struct generation *generation = generation_new();
	CLEAN(names) struct names names = { 0 };
	const struct names_view view = { .zone = ZONE };

	(void)state;
	add_node(generation, "silent", "", NODE_PRESENT);
	add_slot(generation, CATALOGUE_WORKER, "forgotten");
	add_slot(generation, CATALOGUE_WORKER, "silent");
	names_make(generation, &view, &names);
	assert_string_equal(address_of(&names, "worker-0." ZONE), VACANT);
	assert_string_equal(address_of(&names, "worker-1." ZONE), VACANT);
}

static void names_of_kept_generations_stay_vacant(void **state)
{
	CLEAN(generation) struct generation *current = sample(NODE_PRESENT);
	CLEAN(generation) struct generation *kept = sample(NODE_PRESENT);
	CLEAN(names) struct names names = { 0 };
	const struct names_view view = { .zone = ZONE };

	(void)state;
	add_slot(kept, CATALOGUE_CHECKER, "a");
	add_slot(kept, CATALOGUE_WORKER, "a");
	names_make(current, &view, &names);
	names_add_kept(&names, kept, ZONE);
	assert_int_equal(names.len, 5);
	assert_string_equal(address_of(&names, "worker-0." ZONE), "10.0.0.1");
	assert_string_equal(address_of(&names, "worker-3." ZONE), VACANT);
	assert_string_equal(address_of(&names, "checker." ZONE), VACANT);
	/* In order, so that each is found by its slot. */
	assert_string_equal(names_of_slot(&names, CATALOGUE_CHECKER, 0)->name, "checker." ZONE);
	assert_string_equal(names_of_slot(&names, CATALOGUE_WORKER, 3)->name, "worker-3." ZONE);
	assert_null(names_of_slot(&names, CATALOGUE_WORKER, 2));
}

static void ipv6_nodes_cannot_have_names(void **state)
{
	CLEAN(generation) struct generation *generation = sample(NODE_PRESENT);
	struct err err = { 0 };

	(void)state;
	assert_int_equal(names_check_addresses(generation, &err), 0);
	add_node(generation, "six", "2001:db8::1", NODE_PRESENT);
	assert_int_equal(names_check_addresses(generation, &err), ERR_CONFIG);
	assert_non_null(strstr(err.msg, "node six is known by the IPv6 address 2001:db8::1"));
	assert_non_null(strstr(err.msg, "--names off"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_come_back_as_they_went),
		cmocka_unit_test(only_our_spelling_is_a_name),
		cmocka_unit_test(a_zone_is_a_dns_name),
		cmocka_unit_test(a_name_follows_its_node),
		cmocka_unit_test(a_slot_without_a_known_node_is_vacant),
		cmocka_unit_test(names_of_kept_generations_stay_vacant),
		cmocka_unit_test(ipv6_nodes_cannot_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
