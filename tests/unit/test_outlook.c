/* SPDX-License-Identifier: MIT */
/* What a change would do: told for people, and the same as what the daemons do. */
#include "agreement_world.h"

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/config/impact.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/topology/derive.h"
#include "cmsnode/topology/outlook.h"
#include "cmsnode/topology/resolver.h"

/* ---- a small cluster: a has the core and a web server, b two Workers and a web server ---- */

struct cluster {
	struct registrations all;
	struct generation *old, *new;
};

static void add_node(struct cluster *cluster, const char *id, const char *roles, int host)
{
	struct registrations *all = &cluster->all;

	GROW(all->items, all->len, all->cap);
	world_registration(&all->items[all->len], id, roles, host);
	all->items[all->len].create_revision = (int64_t)all->len + 1;
	all->len++;
}

static void set_up(struct cluster *cluster)
{
	*cluster = (struct cluster){ 0 };
	add_node(cluster, "a", "core,contest-web", 1);
	add_node(cluster, "b", "worker:2,contest-web", 2);
	str_list_add(&cluster->all.items[1].addresses, "192.168.7.7");
	cluster->old = world_seed();
	alter_join(cluster->old, &cluster->all, NULL);
	cluster->new = generation_clone(cluster->old);
}

static void clean_cluster(struct cluster *cluster)
{
	registrations_fini(&cluster->all);
	generation_free(cluster->old);
	generation_free(cluster->new);
}

static char *text_of(const struct outlook_question *question)
{
	CLEAN(outlook) struct outlook outlook = { 0 };

	outlook_make(question, &outlook);
	return outlook_text(&outlook);
}

static char *cluster_text(const struct cluster *cluster)
{
	return text_of(&(struct outlook_question){
		.old = cluster->old, .new = cluster->new, .registrations = &cluster->all });
}

static void set_cms(struct cluster *cluster, const char *path, const char *text)
{
	value_set_path(cluster->new->cms, path, value_new_string(text));
}

static void edit_node(struct cluster *cluster, const char *path, const char *wanted)
{
	CLEAN(value) struct value *value = wanted ? value_new_string(wanted) : NULL;
	struct edits edits = { 0 };

	edits_add(&edits, path, NULL, value);
	assert_int_equal(alter_edit(cluster->new, &edits, NULL), 0);
	edits_fini(&edits);
}

static void a_key_restarts_its_readers(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	set_cms(&cluster, "proxy_service.https_certfile", "/x");
	CLEAN(str) char *nobody = cluster_text(&cluster);

	/* ProxyService, its only reader, does not run with contest ALL. */
	assert_string_equal(
		nobody, "nothing starts, stops or restarts\n"
			"node a:\n"
			"  stay     LogService,0 ScoringService,0 Checker,0 EvaluationService,0 "
			"ContestWebServer,0 AdminWebServer,0\n"
			"node b:\n"
			"  stay     Worker,0-1 ContestWebServer,1\n");
	set_cms(&cluster, "global.cache_dir", "/x");
	CLEAN(str) char *files = cluster_text(&cluster);

	assert_string_equal(
		files,
		"5 services restart on 2 nodes\n"
		"ContestWebServers restart 1 at a time, in 2 turns (topology.restart_at_once)\n"
		"node a:\n"
		"  restart  ContestWebServer,0  global.cache_dir added, in turn 1\n"
		"  restart  AdminWebServer,0    global.cache_dir added\n"
		"  stay     LogService,0 ScoringService,0 Checker,0 EvaluationService,0\n"
		"node b:\n"
		"  restart  Worker,0            global.cache_dir added\n"
		"  restart  Worker,1            global.cache_dir added\n"
		"  restart  ContestWebServer,1  global.cache_dir added, in turn 2\n");
}

static void lost_logins_are_said_first(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	set_cms(&cluster, "web_server.secret_key", "0123456789abcdef0123456789abcdef");
	CLEAN(str) char *text = cluster_text(&cluster);

	assert_true(str_starts(text, "all logins will be lost: web_server.secret_key changes\n"
				     "3 services restart on 2 nodes\n"));
	assert_null(strstr(text, "0123456789"));
}

static void unknown_keys_are_said(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	set_cms(&cluster, "database.ulr", "x");
	CLEAN(str) char *text = cluster_text(&cluster);

	assert_true(str_starts(text,
			       "database.ulr is not a key that we know: every service restarts, "
			       "since any may read it\n9 services restart on 2 nodes\n"));
}

static void policy_restarts_nobody(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	cluster.new->policy.worker_pool = 40;
	cluster.new->policy.restart_at_once = 3;
	cluster.new->policy.settle_s = 1;
	cluster.new->policy.frozen = true;
	CLEAN(str) char *text = cluster_text(&cluster);

	assert_true(str_starts(text, "nothing starts, stops or restarts\n"));
}

static void joining_and_leaving_are_told(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	add_node(&cluster, "c", "worker:2", 3);
	alter_join(cluster.new, &cluster.all, NULL);
	CLEAN(str) char *joins = cluster_text(&cluster);

	assert_string_equal(
		joins, "2 services restart on 1 node\n"
		       "2 services start on 1 node\n"
		       "node a:\n"
		       "  restart  EvaluationService,0  services.Worker[2] added\n"
		       "  restart  AdminWebServer,0     services.ResourceService[2] added\n"
		       "  stay     LogService,0 ScoringService,0 Checker,0 ContestWebServer,0\n"
		       "node b:\n"
		       "  stay     Worker,0-1 ContestWebServer,1\n"
		       "node c:\n"
		       "  start    Worker,2             given to this node\n"
		       "  start    Worker,3             given to this node\n");
	/* b has gone without a word, and is forgotten: the others' view of its slots. */
	generation_free(cluster.old);
	cluster.old = generation_clone(cluster.new);
	assert_true(registrations_remove(&cluster.all, "b"));
	edit_node(&cluster, "nodes.b", NULL);
	CLEAN(str) char *leaves = cluster_text(&cluster);

	assert_string_equal(
		leaves, "2 services restart on 1 node\n"
			"3 services stop on 1 node\n"
			"node a:\n"
			"  restart  EvaluationService,0  services.Worker[0] changed\n"
			"  restart  AdminWebServer,0     services.ResourceService[1] changed\n"
			"  stay     LogService,0 ScoringService,0 Checker,0 ContestWebServer,0\n"
			"node b (away):\n"
			"  stop     Worker,0             its slot is vacant then\n"
			"  stop     Worker,1             its slot is vacant then\n"
			"  stop     ContestWebServer,1   its slot is vacant then\n"
			"node c:\n"
			"  stay     Worker,2-3\n");
}

static void draining_and_moving_are_told(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	edit_node(&cluster, "nodes.b", "draining");
	CLEAN(str) char *drains = cluster_text(&cluster);

	assert_non_null(strstr(
		drains, "node b:\n"
			"  stop     Worker,0            this node drains: its slots are given "
			"to others\n"));
	assert_true(str_starts(drains, "3 services stop on 1 node\nnode a:\n"));
	/* The other way round they start again. */
	generation_swap(cluster.old, cluster.new);
	CLEAN(str) char *returns = cluster_text(&cluster);

	assert_non_null(
		strstr(returns, "  start    Worker,0            no longer: this node drains"));
	/* A slot that changes hands. */
	generation_free(cluster.old);
	cluster.old = generation_clone(cluster.new);
	slot_set_node(&cluster.new->slots.lists[CATALOGUE_CHECKER].items[0], "b");
	CLEAN(str) char *moves = cluster_text(&cluster);

	assert_string_equal(
		moves,
		"1 service stops on 1 node\n"
		"1 service starts on 1 node\n"
		"node a:\n"
		"  stop     Checker,0  goes to node b\n"
		"  stay     LogService,0 ScoringService,0 EvaluationService,0 ContestWebServer,0 "
		"AdminWebServer,0\n"
		"node b:\n"
		"  start    Checker,0  comes from node a\n"
		"  stay     Worker,0-1 ContestWebServer,1\n");
}

static void what_is_not_listed_any_more_stops(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	struct slot_list *workers = &cluster.new->slots.lists[CATALOGUE_WORKER];

	/* The second Worker, the last that is not vacant; what is cut off has nothing to free. */
	slot_set_node(&workers->items[1], NULL);
	workers->len = 1;
	CLEAN(str) char *text = cluster_text(&cluster);

	assert_true(str_starts(text, "1 service stops on 1 node\nnode a:\n  stay "));
	assert_non_null(strstr(text, "node b:\n  stop     Worker,1  its slot is not listed then\n"
				     "  stay     Worker,0 ContestWebServer,1\n"));
}

static void a_bot_starts_with_its_token(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	struct slot *slot = slots_append(&cluster.old->slots, CATALOGUE_TELEGRAM_BOT);

	slot_set_node(slot, "a");
	slot = slots_append(&cluster.new->slots, CATALOGUE_TELEGRAM_BOT);
	slot_set_node(slot, "a");
	set_cms(&cluster, "telegram_bot.bot_token", "Pl4nted");
	CLEAN(str) char *text = cluster_text(&cluster);

	assert_non_null(strstr(text,
			       "1 service starts on 1 node\nnode a:\n  start    "
			       "TelegramBot,0  no longer: telegram_bot.bot_token is not set\n"));
	assert_null(strstr(text, "Pl4nted"));
}

static void the_first_generation_starts_everything(void **state)
{
	CLEAN(cluster) struct cluster cluster;

	(void)state;
	set_up(&cluster);
	const struct outlook_question question = { .new = cluster.new,
						   .registrations = &cluster.all };
	CLEAN(str) char *text = text_of(&question);

	assert_true(str_starts(text, "9 services start on 2 nodes\nnode a:\n"));
}

/* ---- rolling ---- */

static void web_servers_take_turns(void **state)
{
	static const struct {
		int64_t at_a_time;
		bool at_once;
		int turns, of_shard[3];
	} rows[] = {
		{ 1, false, 3, { 1, 2, 3 } },
		{ 2, false, 2, { 1, 1, 2 } },
		{ 3, false, 1, { 1, 1, 1 } },
		{ 1, true, 0, { 0, 0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(cluster) struct cluster cluster;
		CLEAN(outlook) struct outlook outlook = { 0 };

		set_up(&cluster);
		add_node(&cluster, "c", "contest-web", 3);
		alter_join(cluster.old, &cluster.all, NULL);
		alter_join(cluster.new, &cluster.all, NULL);
		cluster.new->policy.restart_at_once = rows[i].at_a_time;
		set_cms(&cluster, "global.cache_dir", "/x");
		outlook_make(&(struct outlook_question){ .old = cluster.old,
							 .new = cluster.new,
							 .registrations = &cluster.all,
							 .at_once = rows[i].at_once },
			     &outlook);
		assert_int_equal(outlook.turns, rows[i].turns);
		for (size_t k = 0; k < outlook.len; k++) {
			const struct outlook_unit *unit = &outlook.units[k];

			assert_int_equal(unit->turn, unit->service == CATALOGUE_CONTEST_WEB_SERVER ?
							     rows[i].of_shard[unit->shard] :
							     0);
		}
	}
}

/* ---- static slots ---- */

static void make_static(struct cluster *cluster, const char *host)
{
	struct slot *slots[] = { &cluster->old->slots.lists[CATALOGUE_CHECKER].items[0],
				 &cluster->new->slots.lists[CATALOGUE_CHECKER].items[0] };

	for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
		slot_set_node(slots[i], NULL);
		free(slots[i]->host);
		slots[i]->host = xstrdup(host);
	}
}

static void static_slots_are_where_their_host_is(void **state)
{
	static const struct {
		const char *host, *answer, *place;
		bool standalone;
	} rows[] = {
		{ "10.0.0.2", NULL, "node b", false },
		{ "192.168.7.7", NULL, "node b", false },
		{ "10.0.0.9", NULL, "host 10.0.0.9", false },
		{ "box", NULL, "host box", false },
		{ "box", "10.0.0.2", "node b", false },
		{ "box", "10.0.0.9", "host box", false },
		/* Both have docker0's: it says nothing. */
		{ "172.17.0.1", NULL, "host 172.17.0.1", false },
		{ "127.0.0.1", NULL, "host 127.0.0.1", false },
		{ "127.0.0.1", NULL, "node a", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(cluster) struct cluster cluster;
		struct address address = { 0 };
		struct resolved_host host = { .host = (char *)rows[i].host,
					      .addresses = &address,
					      .len = 1 };
		const struct resolved_hosts hosts = { &host, 1 };

		set_up(&cluster);
		make_static(&cluster, rows[i].host);
		set_cms(&cluster, "global.log_dir", "/x");
		if (rows[i].answer)
			assert_int_equal(address_parse(rows[i].answer, &address), 0);
		CLEAN(str)
		char *text =
			text_of(&(struct outlook_question){ .old = cluster.old,
							    .new = cluster.new,
							    .registrations = &cluster.all,
							    .hosts = rows[i].answer ? &hosts : NULL,
							    .standalone = rows[i].standalone });
		const char *at = strstr(text, "  restart  Checker,0 ");

		assert_non_null(at);
		while (at > text && !str_starts(at, "\nnode ") && !str_starts(at, "\nhost "))
			at--;
		if (!str_starts(at + 1, rows[i].place))
			fail_msg("%s (%s): %s", rows[i].host, rows[i].answer, text);
		assert_int_equal(strstr(text, "1 more on hosts that no live node is known to have: "
					      "see to them yourself\n") != NULL,
				 str_starts(rows[i].place, "host"));
	}
}

/* ---- the same as the daemons ---- */

static uint64_t seed;

static unsigned int chance(unsigned int n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)(seed >> 33) % n;
}

static void change_something(struct cluster *cluster)
{
	static const char *const keys[] = { "database.url", "global.cache_dir",
					    "worker.keep_sandbox", "telegram_bot.bot_token",
					    "web_server.secret_key" };
	static const char *const nodes[] = { "a", "b", "c", "d" };
	struct generation *new = cluster->new;

	for (unsigned int n = chance(4); n > 0; n--) {
		const enum catalogue_index service = (enum catalogue_index)chance(CATALOGUE_COUNT);
		struct slot_list *list = &new->slots.lists[service];
		const char *id = nodes[chance(ARRAY_LEN(nodes))];
		struct generation_node *node = generation_node_find(new, id);

		switch (chance(5)) {
		case 0:
			set_cms(cluster, keys[chance(ARRAY_LEN(keys))], "x");
			break;
		case 1:
			if (node)
				node->state = chance(2) ? NODE_DRAINING : NODE_PRESENT;
			break;
		case 2:
			if (list->len) {
				struct slot *slot = &list->items[chance((unsigned int)list->len)];

				slot_set_node(slot, node && chance(3) ? id : NULL);
				free(slot->host);
				slot->host = slot->node || chance(2) ?
						     NULL :
						     xasprintf("10.0.0.%u", 1 + chance(5));
			}
			break;
		case 3:
			(void)slots_append(&new->slots, CATALOGUE_WORKER);
			break;
		default:
			new->policy.restart_at_once = 1 + chance(3);
			break;
		}
	}
}

/* What a node that runs `service` by derive() of one generation does. */
static bool runs_here(const struct cluster *cluster, const struct generation *generation,
		      const struct registration *self, enum catalogue_index service, int shard)
{
	struct interface_address addresses[2] = { 0 };
	struct interfaces interfaces = { .addresses = addresses, .addresses_len = 2 };
	struct address literals[8];
	struct resolved_host items[8];
	struct resolved_hosts hosts = { .items = items };
	CLEAN(str_list) struct str_list names = { 0 };
	struct derivation derivation = { 0 };
	bool runs = false;

	for (size_t i = 0; i < 2; i++)
		assert_int_equal(address_parse(self->addresses.items[i], &addresses[i].address), 0);
	derive_static_hosts(generation, &names);
	for (; hosts.len < names.len; hosts.len++) {
		assert_true(hosts.len < ARRAY_LEN(items));
		assert_int_equal(address_parse(names.items[hosts.len], &literals[hosts.len]), 0);
		items[hosts.len] = (struct resolved_host){ .host = names.items[hosts.len],
							   .addresses = &literals[hosts.len],
							   .len = 1 };
	}
	derive(&(struct derive_question){ generation, self, &cluster->all, &interfaces, &hosts,
					  false },
	       &derivation);
	for (size_t i = 0; i < derivation.len; i++) {
		const struct derived_slot *slot = &derivation.items[i];

		if (slot->shard == shard && str_eq(slot->service, catalogue_at(service)->name))
			runs = slot->runs_here && !slot->disabled && !slot->is_daemon;
	}
	derivation_fini(&derivation);
	return runs;
}

static const struct outlook_unit *find_unit(const struct outlook *outlook, const char *node,
					    enum catalogue_index service, int shard)
{
	for (size_t i = 0; i < outlook->len; i++) {
		const struct outlook_unit *unit = &outlook->units[i];

		if (unit->is_node && str_eq(unit->place, node) && unit->service == service &&
		    unit->shard == shard)
			return unit;
	}
	return NULL;
}

static void check_node(const struct cluster *cluster, const struct outlook *outlook,
		       const struct registration *self, size_t seen[OUTLOOK_ACTIONS])
{
	CLEAN(value) struct value *old = generation_render(cluster->old);
	CLEAN(value) struct value *new = generation_render(cluster->new);
	CLEAN(impact) struct impact *impact = impact_new(CMS_FORMAT_TOML, old, new);

	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const enum catalogue_index service = (enum catalogue_index)s;

		for (int k = 0; k < (int)cluster->new->slots.lists[s].len; k++) {
			const bool before = runs_here(cluster, cluster->old, self, service, k);
			const bool after = runs_here(cluster, cluster->new, self, service, k);
			const bool restart =
				impact_restarts(impact, catalogue_at(service)->name, k, NULL);
			const enum outlook_action expected = !after  ? OUTLOOK_STOP :
							     !before ? OUTLOOK_START :
							     restart ? OUTLOOK_RESTART :
								       OUTLOOK_STAY;
			const struct outlook_unit *unit = find_unit(outlook, self->id, service, k);

			if (!unit != (!before && !after))
				fail_msg("seed %d: %s,%d on %s", (int)seed,
					 catalogue_at(service)->name, k, self->id);
			if (!unit)
				continue;
			assert_int_equal(unit->action, expected);
			assert_int_equal(unit->why == NULL, expected == OUTLOOK_STAY);
			seen[expected]++;
		}
	}
}

static void it_is_what_each_daemon_does(void **state)
{
	size_t seen[OUTLOOK_ACTIONS] = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 500; i++) {
		CLEAN(cluster) struct cluster cluster;
		CLEAN(outlook) struct outlook outlook = { 0 };

		seed = i;
		set_up(&cluster);
		add_node(&cluster, "c", "worker,contest-web", 3);
		add_node(&cluster, "d", "worker", 4);
		alter_join(cluster.new, &cluster.all, NULL);
		change_something(&cluster);
		generation_free(cluster.old);
		cluster.old = generation_clone(cluster.new);
		change_something(&cluster);
		outlook_make(&(struct outlook_question){ .old = cluster.old,
							 .new = cluster.new,
							 .registrations = &cluster.all },
			     &outlook);
		for (size_t n = 0; n < cluster.all.len; n++)
			check_node(&cluster, &outlook, &cluster.all.items[n], seen);
	}
	for (size_t a = 0; a < OUTLOOK_ACTIONS; a++)
		assert_true(seen[a] > 20);
}

/* ---- PostgreSQL ---- */

static void connections_are_counted(void **state)
{
	CLEAN(cluster) struct cluster cluster;
	CLEAN(outlook) struct outlook outlook = { 0 };

	(void)state;
	set_up(&cluster);
	/* ScoringService, EvaluationService, two ContestWebServers, AdminWebServer, a Worker. */
	slot_set_node(&cluster.new->slots.lists[CATALOGUE_WORKER].items[1], NULL);
	outlook_make(&(struct outlook_question){ .old = cluster.old,
						 .new = cluster.new,
						 .registrations = &cluster.all },
		     &outlook);
	assert_int_equal(outlook.database_users, 6);
	CLEAN(str) char *warning = outlook_connections_warning(&outlook, 89);

	assert_string_equal(
		warning, "PostgreSQL's max_connections 89 would not carry 15 connections a process "
			 "x 6 processes = 90: raise it, or use a connection pooler");
	assert_null(outlook_connections_warning(&outlook, 90));
	assert_null(outlook_connections_warning(&outlook, 0));
}

static void json_has_the_same(void **state)
{
	CLEAN(cluster) struct cluster cluster;
	CLEAN(outlook) struct outlook outlook = { 0 };

	(void)state;
	set_up(&cluster);
	make_static(&cluster, "10.0.0.9");
	set_cms(&cluster, "contest_web_server.cookie_duration", "x");
	assert_true(registrations_remove(&cluster.all, "b"));
	cluster.old->slots.lists[CATALOGUE_WORKER].len = 0;
	cluster.new->slots.lists[CATALOGUE_WORKER].len = 0;
	outlook_make(&(struct outlook_question){ .old = cluster.old,
						 .new = cluster.new,
						 .registrations = &cluster.all },
		     &outlook);
	CLEAN(json) cJSON *made = outlook_to_json(&outlook);
	CLEAN(str) char *text = json_text(made);
	CLEAN(json) cJSON *json = json_parse(text, strlen(text), NULL);
	const cJSON *places = json_get_array(json, "places");
	CLEAN(str) char *b = json_text(cJSON_GetArrayItem(places, 1));
	CLEAN(str) char *host = json_text(cJSON_GetArrayItem(places, 2));
	int64_t number;

	assert_int_equal(cJSON_GetArraySize(places), 3);
	assert_string_equal(b,
			    "{\"node\":\"b\",\"host\":null,\"away\":true,\"units\":[{\"service\":"
			    "\"ContestWebServer\",\"shard\":1,\"action\":\"restart\",\"why\":"
			    "\"contest_web_server.cookie_duration added\",\"turn\":2}]}");
	assert_string_equal(host, "{\"node\":null,\"host\":\"10.0.0.9\",\"away\":false,\"units\":"
				  "[{\"service\":\"Checker\",\"shard\":0,\"action\":\"stay\","
				  "\"why\":null,\"turn\":null}]}");
	assert_int_equal(json_get_int64(json, "restart", &number), 0);
	assert_int_equal(number, 2);
	assert_int_equal(json_get_int64(json, "stay", &number), 0);
	assert_int_equal(number, 5);
	assert_int_equal(json_get_int64(json, "turns", &number), 0);
	assert_int_equal(number, 2);
	assert_int_equal(cJSON_GetArraySize(json_get_array(json, "heads")), 2);
	/* Workers are not freed by their list, which was cut short. */
	cluster.old->slots.lists[CATALOGUE_WORKER].len = 3;
	cluster.new->slots.lists[CATALOGUE_WORKER].len = 3;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_restarts_its_readers),
		cmocka_unit_test(lost_logins_are_said_first),
		cmocka_unit_test(unknown_keys_are_said),
		cmocka_unit_test(policy_restarts_nobody),
		cmocka_unit_test(joining_and_leaving_are_told),
		cmocka_unit_test(draining_and_moving_are_told),
		cmocka_unit_test(what_is_not_listed_any_more_stops),
		cmocka_unit_test(a_bot_starts_with_its_token),
		cmocka_unit_test(the_first_generation_starts_everything),
		cmocka_unit_test(web_servers_take_turns),
		cmocka_unit_test(static_slots_are_where_their_host_is),
		cmocka_unit_test(it_is_what_each_daemon_does),
		cmocka_unit_test(connections_are_counted),
		cmocka_unit_test(json_has_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
