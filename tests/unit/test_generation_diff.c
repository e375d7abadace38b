/* SPDX-License-Identifier: MIT */
/* What differs between two generations: every part, in words and as JSON. */
#include "agreement_world.h"

#include <cjson/cJSON.h>

#include "cmsnode/agreement/generation_diff.h"
#include "cmsnode/base/json.h"

/* Node a has the core, b two Workers; one Worker of the sample stays vacant. */
static struct generation *example(void)
{
	struct generation *generation = world_seed();
	struct registrations all = { 0 };

	all.items = xcalloc(2, sizeof(*all.items));
	all.len = 2;
	world_registration(&all.items[0], "a", "core,contest-web", 1);
	world_registration(&all.items[1], "b", "worker:2", 2);
	alter_join(generation, &all, NULL);
	registrations_fini(&all);
	return generation;
}

static void check_text(const struct generation *old, const struct generation *new, const char *text)
{
	CLEAN(generation_diff) struct generation_diff diff = { 0 };

	generation_diff_make(old, new, &diff);
	CLEAN(str) char *is = generation_diff_text(&diff);

	assert_string_equal(is, text);
	assert_int_equal(generation_diff_is_empty(&diff), text[0] == '\0');
	assert_int_equal(generation_diff_is_empty(&diff), generation_same_content(old, new));
}

static void set_policy(struct generation *generation, const char *name, int64_t number)
{
	CLEAN(value) struct value *value = value_new_int(number);

	assert_int_equal(policy_set(&generation->policy, name, value, NULL), 0);
}

static struct slot *slot_of(struct generation *generation, enum catalogue_index service, size_t k)
{
	return &generation->slots.lists[service].items[k];
}

static void bookkeeping_does_not_count(void **state)
{
	CLEAN(generation) struct generation *old = example();
	CLEAN(generation) struct generation *new = generation_clone(old);

	(void)state;
	free(new->name);
	new->name = xstrdup("other");
	new->sequence++;
	free(new->meta.reason);
	new->meta.reason = xstrdup("another one");
	check_text(old, new, "");
}

static void entries_and_policy_are_told(void **state)
{
	CLEAN(generation) struct generation *old = example();
	CLEAN(generation) struct generation *new = generation_clone(old);

	(void)state;
	value_set_path(new->cms, "web_server.secret_key",
		       value_new_string("0123456789abcdef0123456789abcdef"));
	value_set_path(new->cms, "ranking.username", value_new_string("u"));
	value_set_path(new->cms, "database.debug", value_new_bool(true));
	set_policy(new, "worker_pool", 20);
	check_text(old, new,
		   "database.debug: (not set) -> true\n"
		   "ranking.username: (not set) -> \"u\"\n"
		   "web_server.secret_key: (changed, hidden)\n"
		   "topology.worker_pool: 16 -> 20\n");
}

static void slots_are_told(void **state)
{
	CLEAN(generation) struct generation *old = example();
	CLEAN(generation) struct generation *new = generation_clone(old);

	(void)state;
	slot_set_node(slot_of(new, CATALOGUE_WORKER, 0), NULL);
	slot_set_node(slot_of(new, CATALOGUE_WORKER, 2), "a");
	(void)slots_append(&new->slots, CATALOGUE_WORKER);
	struct slot *checker = slot_of(new, CATALOGUE_CHECKER, 0);

	slot_set_node(checker, NULL);
	checker->host = xstrdup("10.0.0.9");
	slot_of(new, CATALOGUE_CONTEST_WEB_SERVER, 0)->http_port = 8900;
	new->slots.lists[CATALOGUE_TELEGRAM_BOT].listed = false;
	new->slots.lists[CATALOGUE_PRINTING_SERVICE].listed = true;
	check_text(
		old, new,
		"Checker,0: node a port 22000 -> host 10.0.0.9 port 22000\n"
		"Worker,0: node b port 26000 -> vacant\n"
		"Worker,2: vacant -> node a port 26002\n"
		"Worker,3: (none) -> vacant\n"
		"ContestWebServer,0: node a port 21000 http 8888 -> node a port 21000 http 8900\n"
		"PrintingService: not listed -> listed\n"
		"TelegramBot: listed -> not listed\n");
	CLEAN(generation) struct generation *third = generation_clone(new);

	slot_of(third, CATALOGUE_WORKER, 0)->port = 27000;
	check_text(new, third, "Worker,0: vacant port 26000 -> vacant port 27000\n");
}

static void nodes_are_told(void **state)
{
	CLEAN(generation) struct generation *old = example();
	CLEAN(generation) struct generation *new = generation_clone(old);
	struct generation_node *node = generation_node_find(new, "a");

	(void)state;
	free(node->address);
	node->address = xstrdup("10.0.0.7");
	free(node->contest);
	node->contest = xstrdup("3");
	node->state = NODE_AWAY;
	str_list_add(&node->roles, "worker:1");
	assert_true(generation_node_remove(new, "b"));
	node = generation_node_add(new, "c");
	str_list_add(&node->roles, "core");
	free(node->address);
	node->address = xstrdup("10.0.0.3");
	check_text(old, new,
		   "node a: present -> away\n"
		   "node a: address 10.0.0.1 -> 10.0.0.7\n"
		   "node a: roles core,contest-web -> core,contest-web,worker:1\n"
		   "node a: contest ALL -> 3\n"
		   "node b: present -> (none)\n"
		   "node c: (none) -> present, address 10.0.0.3, roles core, contest ALL\n");
}

static void json_has_the_same(void **state)
{
	CLEAN(generation) struct generation *old = example();
	CLEAN(generation) struct generation *new = generation_clone(old);
	CLEAN(generation_diff) struct generation_diff diff = { 0 };

	(void)state;
	set_policy(new, "worker_pool", 20);
	slot_set_node(slot_of(new, CATALOGUE_WORKER, 2), "a");
	new->slots.lists[CATALOGUE_TELEGRAM_BOT].listed = false;
	generation_node_find(new, "b")->state = NODE_DRAINING;
	generation_diff_make(old, new, &diff);
	CLEAN(json) cJSON *json = generation_diff_to_json(&diff);
	CLEAN(str) char *text = json_text(json);

	assert_string_equal(
		text,
		"{\"entries\":[{\"path\":\"topology.worker_pool\",\"old\":16,\"new\":20,\"hidden\":false}],"
		"\"slots\":[{\"service\":\"Worker\",\"shard\":2,\"listed\":true,"
		"\"old\":{\"node\":null,\"host\":null,\"port\":26002,\"http_port\":null},"
		"\"new\":{\"node\":\"a\",\"host\":null,\"port\":26002,\"http_port\":null}},"
		"{\"service\":\"TelegramBot\",\"shard\":null,\"listed\":false,\"old\":null,\"new\":null}],"
		"\"nodes\":[{\"id\":\"b\","
		"\"old\":{\"address\":\"10.0.0.2\",\"roles\":[\"worker:2\"],\"contest\":\"ALL\",\"state\":\"present\"},"
		"\"new\":{\"address\":\"10.0.0.2\",\"roles\":[\"worker:2\"],\"contest\":\"ALL\",\"state\":\"draining\"}}]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bookkeeping_does_not_count),
		cmocka_unit_test(entries_and_policy_are_told),
		cmocka_unit_test(slots_are_told),
		cmocka_unit_test(nodes_are_told),
		cmocka_unit_test(json_has_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
