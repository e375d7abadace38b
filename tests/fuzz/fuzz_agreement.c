/* SPDX-License-Identifier: MIT */
/*
 * The agreement under any order of events: up to four nodes with the real state
 * machine on one store in memory. The input's bytes choose, two by two, what
 * happens next: a request arrives, a reply comes, is lost, or is lost while the
 * request arrives later; a timer, a watch event or a gap; an edit, an address
 * change; daemons die, stop and start; leases end; the store is backed up and
 * set back. Then all goes well again, and the cluster must come to rest in
 * agreement, with every edit accounted for (agreement_ledger.h has the promises).
 *
 * With FUZZ_TRACE=1 in the environment each step is told on stderr.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/agreement_ledger.h"
#include "cmsnode/agreement/agreement.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

#define NODES 4
#define STEPS_MAX 128
#define FLIGHTS_MAX 128
#define OPEN_EDITS_MAX 32
#define REST_MS 240000 /* longer than any wait of the agreement */
#define TURNS_MAX 30000 /* of all nodes in REST_MS; a storm takes more */
#define IDLE_REQUESTS_MAX 40 /* of one node in a minute: 18 renewals and a few looks */

struct node {
	struct agreement *agreement; /* NULL = not running */
	struct registration self;
	struct generation *disk; /* the copy that outlives the daemon */
	unsigned int lives, moves, requests;
	bool watching, watch_nodes, gap;
	int64_t watched;
	size_t edits[OPEN_EDITS_MAX]; /* numbers in the ledger, not answered yet */
	size_t edits_len;
	int restore_code; /* of the last accept or publish; 1 = not answered */
};

/* A request and its reply on their way. */
struct flight {
	size_t node;
	unsigned int life; /* of the node; a later one does not want the reply */
	uint64_t tag;
	struct store_request *request;
	struct store_reply reply;
	bool executed;
	bool given_up; /* the node was told "unknown" */
};

struct world {
	struct memory_store *store, *backup;
	struct ledger *ledger;
	struct node nodes[NODES];
	struct flight flights[FLIGHTS_MAX];
	size_t flights_len;
	int64_t now_ms;
	uint64_t cluster_id;
	unsigned int turns;
	bool patient; /* seeds wait 15 s */
	bool restored;
	const uint8_t *data;
	size_t size;
};

#define RESTORE_EDIT UINT64_MAX

static bool tracing;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	json_init();
	tracing = getenv("FUZZ_TRACE");
	return 0;
}

static void __attribute__((format(printf, 2, 3)))
trace(const struct world *world, const char *fmt, ...)
{
	va_list args;

	if (!tracing)
		return;
	va_start(args, fmt);
	(void)fprintf(stderr, "%8.3f ", (double)world->now_ms / 1000.0);
	(void)vfprintf(stderr, fmt, args);
	(void)fputc('\n', stderr);
	va_end(args);
}

/* ---- nodes ----------------------------------------------------------------- */

static const char sample[] =
	"[services]\nLogService=[[\"localhost\",29000]]\nResourceService=[[\"localhost\",28000]]\n"
	"ScoringService=[[\"localhost\",28500]]\nChecker=[[\"localhost\",22000]]\n"
	"EvaluationService=[[\"localhost\",25000]]\nWorker=[[\"localhost\",26000]]\n"
	"ContestWebServer=[[\"localhost\",21000]]\nAdminWebServer=[[\"localhost\",21100]]\n"
	"ProxyService=[[\"localhost\",28600]]\nPrometheusExporter=[]\nTelegramBot=[]\n"
	"[database]\nurl=\"postgresql+psycopg2://cmsuser:pw@localhost/cms\"\n"
	"[web_server]\nsecret_key=\"8e045a51e4b102ea803c06f92841a1fb\"\n"
	"[contest_web_server]\nlisten_address=\"auto\"\nlisten_port=\"auto\"\n";

static struct generation *make_seed(size_t node)
{
	struct generation *seed = generation_new();
	struct value *document;
	struct err err;

	if (cms_file_parse(sample, strlen(sample), &seed->meta.format, &document, &err) < 0 ||
	    slots_import(value_get(document, "services"), false, &seed->slots, &err) < 0)
		ledger_complain("the sample: %s", err.msg);
	(void)value_remove(document, "services");
	/* Seeds of two nodes differ. */
	value_set_path(document, "database.debug", value_new_bool(node == 0));
	value_free(seed->cms);
	seed->cms = document;
	seed->policy.worker_pool = 2;
	return seed;
}

static void set_text(char **text, char *with)
{
	free(*text);
	*text = with;
}

static void describe(struct node *node, size_t i)
{
	struct registration *self = &node->self;

	*self = (struct registration){ .schema = REGISTRATION_SCHEMA };
	self->id = xasprintf("%c", (int)('a' + i));
	self->address = xasprintf("10.0.0.%zu", i + 1);
	str_list_add(&self->addresses, self->address);
	str_list_split(&self->roles, i == 0 ? "core,worker:1" : "worker:2,contest-web:1", ',');
	self->contest = xstrdup("ALL");
	self->hostname = xasprintf("host%zu", i);
	self->boot_id = xasprintf("boot-%zu", i);
	self->netns = xasprintf("4:%zu", i);
	self->product_uuid = xstrdup("");
	self->version = xstrdup("test");
	self->applied_digest = xstrdup("");
	self->incarnation = xstrdup("");
}

static void take_actions(struct world *world, size_t i, struct agreement_actions *actions);

static void step(struct world *world, size_t i, struct agreement_input *input)
{
	struct agreement_actions actions = { 0 };

	input->now_ms = world->now_ms;
	input->wall_s = 1790000000 + world->now_ms / 1000;
	world->turns++;
	agreement_step(world->nodes[i].agreement, input, &actions);
	take_actions(world, i, &actions);
	agreement_actions_fini(&actions);
}

static void start(struct world *world, size_t i)
{
	struct node *node = &world->nodes[i];
	CLEAN(generation) struct generation *seed = i < 2 ? make_seed(i) : NULL;
	const struct agreement_settings settings = {
		.prefix = "/cms",
		.seed = seed,
		.seed_at_once = !world->patient,
		.random = 7919 * (i + 1) + 104729 * ++node->lives,
		.lease_ttl_s = 10,
		.address_before = node->lives > 1 ? node->self.address : NULL,
		.last_agreed = node->disk,
	};
	struct agreement_input input = { .kind = AGREEMENT_INPUT_START };

	set_text(&node->self.incarnation, xasprintf("%016zx%016x", i, node->lives));
	trace(world, "%s starts, life %u", node->self.id, node->lives);
	node->agreement = agreement_new(&settings, &node->self);
	node->watching = node->gap = false;
	step(world, i, &input);
}

static void end_life(struct world *world, size_t i)
{
	struct node *node = &world->nodes[i];

	trace(world, "%s has ended", node->self.id);
	for (size_t k = 0; k < node->edits_len; k++)
		ledger_unanswered(world->ledger, node->edits[k]);
	node->edits_len = 0;
	agreement_free(steal(node->agreement));
}

static void on_edited(struct world *world, struct node *node, const struct agreement_action *action)
{
	trace(world, "%s answers: %d %s", node->self.id, action->code, action->text);
	if (action->edit_id == RESTORE_EDIT) {
		node->restore_code = action->code;
		return;
	}
	ledger_answered(world->ledger, action->edit_id - 1, action->code);
	for (size_t k = 0; k < node->edits_len; k++)
		if (node->edits[k] + 1 == action->edit_id)
			node->edits[k] = node->edits[--node->edits_len];
}

static void on_apply(struct world *world, struct node *node)
{
	const struct generation *agreed = agreement_agreed(node->agreement);

	trace(world, "%s acts on %s (epoch %" PRId64 ")", node->self.id, agreed->name,
	      agreed->epoch);
	ledger_acted(world->ledger, node->self.id, agreed);
	generation_free(node->disk);
	node->disk = generation_clone(agreed);
}

static void on_send(struct world *world, size_t i, struct agreement_action *action)
{
	struct node *node = &world->nodes[i];

	if (world->flights_len == FLIGHTS_MAX)
		ledger_complain("%d requests are under way", FLIGHTS_MAX);
	trace(world, "%s sends #%" PRIu64 " (%s)", node->self.id, action->tag,
	      agreement_state_name(agreement_state_now(node->agreement)));
	node->requests++;
	world->flights[world->flights_len++] = (struct flight){ .node = i,
								.life = node->lives,
								.tag = action->tag,
								.request = steal(action->request) };
}

/* False: the node is no more. */
static bool take_action(struct world *world, size_t i, struct agreement_action *action)
{
	struct node *node = &world->nodes[i];

	switch (action->kind) {
	case AGREEMENT_SEND:
		on_send(world, i, action);
		break;
	case AGREEMENT_WATCH:
		node->watching = true;
		node->gap = false;
		node->watched = action->revision;
		node->watch_nodes = action->watch_nodes;
		break;
	case AGREEMENT_APPLY:
		on_apply(world, node);
		break;
	case AGREEMENT_EDITED:
		on_edited(world, node, action);
		break;
	case AGREEMENT_NEWS:
		trace(world, "%s says: %s", node->self.id, action->text);
		break;
	case AGREEMENT_LEFT:
		end_life(world, i);
		return false;
	case AGREEMENT_CONTESTED:
	case AGREEMENT_REFUSED:
		ledger_complain("%s: %s", node->self.id, action->text);
	}
	return true;
}

static void take_actions(struct world *world, size_t i, struct agreement_actions *actions)
{
	for (size_t k = 0; k < actions->len; k++)
		if (!take_action(world, i, &actions->items[k]))
			return;
}

/* ---- requests and replies ---------------------------------------------------- */

static void execute(struct world *world, struct flight *flight)
{
	if (flight->executed)
		return;
	trace(world, "%s #%" PRIu64 " is carried out", world->nodes[flight->node].self.id,
	      flight->tag);
	memory_store_execute(world->store, flight->request, &flight->reply);
	flight->executed = true;
	ledger_look(world->ledger, world->store);
}

static void forget_flight(struct world *world, size_t at)
{
	struct flight *flight = &world->flights[at];

	store_request_free(flight->request);
	store_reply_fini(&flight->reply);
	world->flights_len--;
	memmove(flight, flight + 1, (world->flights_len - at) * sizeof(*flight));
}

static void reply(struct world *world, const struct flight *flight,
		  const struct store_reply *with)
{
	const struct node *node = &world->nodes[flight->node];
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REPLY,
					 .tag = flight->tag,
					 .reply = with };

	trace(world, "%s #%" PRIu64 " is answered: %s", node->self.id, flight->tag,
	      with->outcome == STORE_DONE ? "done" : with->text);
	if (node->agreement && node->lives == flight->life)
		step(world, flight->node, &input);
}

static void arrive(struct world *world, size_t at)
{
	execute(world, &world->flights[at]);
	/* The step adds flights, and may move them. */
	struct flight flight = world->flights[at];

	world->flights[at].request = NULL;
	world->flights[at].reply = (struct store_reply){ 0 };
	forget_flight(world, at);
	if (!flight.given_up)
		reply(world, &flight, &flight.reply);
	store_request_free(flight.request);
	store_reply_fini(&flight.reply);
}

/* The node hears nothing; the request, if it did not arrive, may do so at any time. */
static void give_up(struct world *world, size_t at)
{
	CLEAN(store_reply) struct store_reply unknown = { 0 };
	const struct flight flight = world->flights[at];

	if (flight.given_up)
		return;
	store_reply_fail(&unknown, STORE_UNKNOWN, STORE_TROUBLE_UNREACHABLE, "no answer");
	world->flights[at].given_up = true;
	if (flight.executed)
		forget_flight(world, at);
	reply(world, &flight, &unknown);
}

/* ---- watching ------------------------------------------------------------------ */

static bool watches(const struct node *node, const char *key)
{
	CLEAN(str) char *own = xasprintf("/cms/nodes/%s", node->self.id);

	if (str_eq(key, "/cms/current") || str_eq(key, own))
		return true;
	return node->watch_nodes &&
	       (str_starts(key, "/cms/nodes/") || str_starts(key, "/cms/reserved/"));
}

static void report(struct world *world, size_t i, enum store_watch_news news,
		   const struct store_event *events, size_t len, int64_t revision)
{
	const struct store_watch_report told = {
		.news = news, .events = events, .len = len, .revision = revision, .text = "told"
	};
	struct agreement_input input = { .kind = AGREEMENT_INPUT_WATCH, .watch = &told };

	trace(world, "%s sees %s", world->nodes[i].self.id,
	      news == STORE_WATCH_EVENTS ? events[0].kv.key :
	      news == STORE_WATCH_GAP	 ? "a gap" :
					   "silence");
	step(world, i, &input);
}

static void report_gap(struct world *world, size_t i)
{
	world->nodes[i].watching = world->nodes[i].gap = false;
	report(world, i, STORE_WATCH_GAP, NULL, 0, 0);
}

/* Of one revision, copied: the step ends the borrowing. */
static size_t copy_events(const struct node *node, const struct store_event *events, size_t len,
			  struct store_event *ret)
{
	size_t n = 0;

	for (size_t k = 0; k < len && events[k].kv.mod_revision == events[0].kv.mod_revision; k++) {
		if (!watches(node, events[k].kv.key))
			continue;
		ret[n].deleted = events[k].deleted;
		store_kv_copy(&ret[n++].kv, &events[k].kv);
	}
	return n;
}

/* The next transaction that this node watches. False: there is none. */
static bool see(struct world *world, size_t i)
{
	struct node *node = &world->nodes[i];
	const struct store_event *events;
	struct store_event *copies;
	size_t len, n = 0;

	if (!node->agreement || !node->watching)
		return false;
	if (node->gap || memory_store_events(world->store, node->watched, &events, &len) < 0) {
		report_gap(world, i);
		return true;
	}
	copies = xcalloc(len + 1, sizeof(*copies));
	while (len && n == 0) {
		node->watched = events[0].kv.mod_revision;
		n = copy_events(node, events, len, copies);
		(void)memory_store_events(world->store, node->watched, &events, &len);
	}
	if (n)
		report(world, i, STORE_WATCH_EVENTS, copies, n, node->watched);
	for (size_t k = 0; k < n; k++)
		store_kv_fini(&copies[k].kv);
	free(copies);
	return n;
}

/* ---- all goes well ---------------------------------------------------------------- */

static size_t first_wanted_flight(const struct world *world)
{
	size_t at = 0;

	while (at < world->flights_len && world->flights[at].given_up)
		at++;
	return at;
}

static void carry_everything(struct world *world)
{
	bool more = true;

	while (more) {
		const size_t at = first_wanted_flight(world);

		more = at < world->flights_len;
		if (more)
			arrive(world, at);
		for (size_t i = 0; i < NODES; i++)
			more = see(world, i) || more;
		if (world->turns > TURNS_MAX)
			ledger_complain("the nodes do not come to rest");
	}
}

static int64_t next_ms(const struct world *world, size_t i)
{
	return world->nodes[i].agreement ? agreement_next_ms(world->nodes[i].agreement) : INT64_MAX;
}

static void wake(struct world *world, size_t i)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_TIME };

	if (next_ms(world, i) > world->now_ms)
		world->now_ms = next_ms(world, i);
	step(world, i, &input);
}

static void run(struct world *world, int64_t ms)
{
	const int64_t end_ms = world->now_ms + ms;

	for (;;) {
		size_t first = 0;

		carry_everything(world);
		for (size_t i = 1; i < NODES; i++)
			if (next_ms(world, i) < next_ms(world, first))
				first = i;
		if (next_ms(world, first) >= end_ms)
			break;
		wake(world, first);
	}
	if (world->now_ms < end_ms)
		world->now_ms = end_ms;
}

/* ---- what the input can ask for ----------------------------------------------------- */

typedef void happening(struct world *world, unsigned int choice);

static void it_starts_or_dies(struct world *world, unsigned int choice)
{
	const size_t i = choice % NODES;

	if (!world->nodes[i].agreement) {
		start(world, i);
		return;
	}
	if (choice & 0x80) /* with its disk */
		generation_free(steal(world->nodes[i].disk));
	end_life(world, i);
}

static void it_stops(struct world *world, unsigned int choice)
{
	struct agreement_input input = { .kind = AGREEMENT_INPUT_STOP };

	if (world->nodes[choice % NODES].agreement)
		step(world, choice % NODES, &input);
}

static void a_request_arrives(struct world *world, unsigned int choice)
{
	if (world->flights_len)
		execute(world, &world->flights[choice % world->flights_len]);
}

static void a_reply_comes(struct world *world, unsigned int choice)
{
	if (world->flights_len)
		arrive(world, choice % world->flights_len);
}

static void a_reply_is_lost(struct world *world, unsigned int choice)
{
	if (world->flights_len)
		give_up(world, choice % world->flights_len);
}

static void its_time_comes(struct world *world, unsigned int choice)
{
	const size_t i = choice % NODES;

	if (next_ms(world, i) < INT64_MAX)
		wake(world, i);
}

static void time_passes(struct world *world, unsigned int choice)
{
	world->now_ms += choice * 100;
}

static void it_sees(struct world *world, unsigned int choice)
{
	(void)see(world, choice % NODES);
}

static void it_misses_something(struct world *world, unsigned int choice)
{
	const size_t i = choice % NODES;

	if (!world->nodes[i].agreement || !world->nodes[i].watching)
		return;
	if (choice & 0x80)
		report(world, i, STORE_WATCH_QUIET, NULL, 0, 0);
	else
		report_gap(world, i);
}

static void it_is_edited(struct world *world, unsigned int choice)
{
	const size_t i = choice % NODES;
	struct node *node = &world->nodes[i];
	struct edits edits;

	if (!node->agreement || !agreement_agreed(node->agreement) ||
	    node->edits_len == OPEN_EDITS_MAX)
		return;
	const size_t edit = ledger_plan_edit(world->ledger, agreement_agreed(node->agreement),
					     choice / NODES, &edits);
	struct agreement_input input = { .kind = AGREEMENT_INPUT_EDIT,
					 .edits = &edits,
					 .edit_id = edit + 1,
					 .author = "operator",
					 .reason = "test" };

	trace(world, "%s is edited: edit %zu, %s", node->self.id, edit, edits.items[0].path);
	node->edits[node->edits_len++] = edit;
	step(world, i, &input);
	edits_fini(&edits);
}

static void decide(struct world *world, size_t i, bool publish)
{
	struct agreement_input input = { .kind = publish ? AGREEMENT_INPUT_PUBLISH :
							   AGREEMENT_INPUT_ACCEPT,
					 .edit_id = RESTORE_EDIT,
					 .author = "operator",
					 .reason = "test" };

	if (!world->nodes[i].agreement)
		return;
	trace(world, "%s: %s", world->nodes[i].self.id, publish ? "publish" : "accept");
	world->nodes[i].restore_code = 1;
	step(world, i, &input);
}

static void a_person_decides(struct world *world, unsigned int choice)
{
	decide(world, choice % NODES, choice & 0x80);
}

static void it_moves(struct world *world, unsigned int choice)
{
	struct node *node = &world->nodes[choice % NODES];
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = &node->self };

	if (!node->agreement || node->moves >= 250)
		return;
	set_text(&node->self.address, xasprintf("10.0.%u.%u", ++node->moves, choice % NODES + 1));
	str_list_fini(&node->self.addresses);
	str_list_add(&node->self.addresses, node->self.address);
	step(world, choice % NODES, &input);
}

/* Only something that no generation shows. */
static void it_is_upgraded(struct world *world, unsigned int choice)
{
	struct node *node = &world->nodes[choice % NODES];
	struct agreement_input input = { .kind = AGREEMENT_INPUT_REGISTRATION,
					 .registration = &node->self };

	if (!node->agreement)
		return;
	set_text(&node->self.version, xasprintf("test%u", choice / NODES));
	step(world, choice % NODES, &input);
}

/* Of each registration in the store; `only` is an id, NULL = all. */
static void for_leases(struct world *world, const char *only,
		       void (*each)(struct world *world, const struct registration *registration))
{
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(store_reply) struct store_reply found = { 0 };

	(void)store_ops_range(&request->success, "/cms/nodes/", true);
	memory_store_execute(world->store, request, &found);
	for (size_t i = 0; i < found.ranges[0].len; i++) {
		const struct store_kv *kv = &found.ranges[0].items[i];
		const char *id = kv->key + strlen("/cms/nodes/");
		struct registration registration;

		if (only && !str_eq(only, id))
			continue;
		if (registration_from_kv(kv, id, &registration, NULL) < 0)
			ledger_complain("a malformed registration");
		each(world, &registration);
		registration_fini(&registration);
	}
	ledger_look(world->ledger, world->store);
}

static void end_lease(struct world *world, const struct registration *registration)
{
	trace(world, "%s's lease has ended", registration->id);
	(void)memory_store_expire(world->store, registration->lease);
}

static void end_both_leases(struct world *world, const struct registration *registration)
{
	trace(world, "%s's window has ended", registration->id);
	(void)memory_store_expire(world->store, registration->lease);
	(void)memory_store_expire(world->store, registration->reserved_lease);
}

static void its_lease_ends(struct world *world, unsigned int choice)
{
	for_leases(world, world->nodes[choice % NODES].self.id,
		   choice & 0x80 ? end_both_leases : end_lease);
}

static void the_store_is_backed_up(struct world *world, unsigned int choice)
{
	(void)choice;
	if (!ledger_generations(world->ledger))
		return; /* a backup of nothing brings a wiped store: that may be seeded again */
	trace(world, "backup");
	memory_store_free(world->backup);
	world->backup = memory_store_restore(world->store, world->cluster_id);
	ledger_backed_up(world->ledger);
}

/* What was on its way is lost with the members that it was on its way to. */
static void the_store_is_set_back(struct world *world, unsigned int choice)
{
	(void)choice;
	if (!world->backup)
		return;
	trace(world, "the store is set back");
	memory_store_free(world->store);
	world->store = memory_store_restore(world->backup, ++world->cluster_id);
	world->restored = true;
	ledger_restored(world->ledger, world->store);
	for (size_t i = 0; i < NODES; i++)
		world->nodes[i].gap = world->nodes[i].watching;
	for (size_t left = world->flights_len; left > 0; left--) {
		const bool executed = world->flights[0].executed;
		const bool given_up = world->flights[0].given_up;

		give_up(world, 0);
		if (given_up || !executed)
			forget_flight(world, 0);
	}
}

static void all_goes_well(struct world *world, unsigned int choice)
{
	run(world, choice * 50);
}

/* More than once in the table: more often. */
static happening *const happenings[] = {
	it_starts_or_dies,  it_stops,	       a_request_arrives,      a_request_arrives,
	a_reply_comes,	    a_reply_comes,     a_reply_comes,	       a_reply_comes,
	a_reply_comes,	    a_reply_comes,     a_reply_is_lost,	       a_reply_is_lost,
	its_time_comes,	    its_time_comes,    its_time_comes,	       its_time_comes,
	its_time_comes,	    time_passes,       it_sees,		       it_sees,
	it_sees,	    it_sees,	       it_misses_something,    it_is_edited,
	it_is_edited,	    it_is_edited,      it_moves,	       it_is_upgraded,
	its_lease_ends,	    a_person_decides,  the_store_is_backed_up, the_store_is_set_back,
	it_starts_or_dies,  all_goes_well,     all_goes_well,	       all_goes_well,
};

/* ---- the end ---------------------------------------------------------------------------- */

static bool is_of_the_living(const struct world *world, const struct registration *registration)
{
	for (size_t i = 0; i < NODES; i++)
		if (world->nodes[i].agreement &&
		    str_eq(world->nodes[i].self.incarnation, registration->incarnation))
			return true;
	return false;
}

static void end_lease_of_dead(struct world *world, const struct registration *registration)
{
	if (!is_of_the_living(world, registration))
		end_lease(world, registration);
}

/* Requests that were given up arrive now or never: every second one. */
static void settle_late_requests(struct world *world)
{
	for (size_t at = world->flights_len, n = 0; at-- > 0;) {
		if (!world->flights[at].given_up)
			continue;
		if (n++ % 2)
			execute(world, &world->flights[at]);
		forget_flight(world, at);
	}
}

/* After a restore nothing is changed until a person has decided. */
static void decide_at_last(struct world *world)
{
	size_t i = 0;

	while (!world->nodes[i].agreement)
		i++;
	for (int tries = 0; tries < 3 && world->restored; tries++) {
		decide(world, i, false);
		run(world, 30000);
		world->restored = world->nodes[i].restore_code != 0;
	}
	if (world->restored)
		ledger_complain("accept was answered %d", world->nodes[i].restore_code);
}

static void check_node(const struct world *world, const struct node *node)
{
	const struct agreement *agreement = node->agreement;
	const struct generation *agreed = agreement_agreed(agreement);

	if (agreement_state_now(agreement) != AGREEMENT_FOLLOWING || agreement_is_held(agreement) ||
	    !agreed || !agreement_is_member(agreement))
		ledger_complain("%s ends in %s%s%s: %s", node->self.id,
				agreement_state_name(agreement_state_now(agreement)),
				agreement_is_held(agreement) ? ", held" : "",
				agreement_is_member(agreement) ? "" : ", not a member",
				agreement_trouble(agreement));
	ledger_check_in_force(world->ledger, node->self.id, agreed);
}

static void check_rest(struct world *world)
{
	unsigned int requests[NODES];

	for (size_t i = 0; i < NODES; i++)
		requests[i] = world->nodes[i].requests;
	run(world, 60000);
	for (size_t i = 0; i < NODES; i++) {
		const struct node *node = &world->nodes[i];

		if (!node->agreement)
			continue;
		if (node->requests - requests[i] > IDLE_REQUESTS_MAX)
			ledger_complain("%s sends %u requests a minute at rest", node->self.id,
					node->requests - requests[i]);
		check_node(world, node);
	}
	ledger_check_directories(world->ledger, world->store);
	ledger_close(world->ledger);
}

static void heal(struct world *world)
{
	trace(world, "from here on all goes well");
	world->turns = 0;
	run(world, 2000); /* who is leaving has left */
	if (!world->nodes[0].agreement)
		start(world, 0); /* it has a seed */
	settle_late_requests(world);
	for_leases(world, NULL, end_lease_of_dead);
	run(world, REST_MS);
	if (world->restored) {
		decide_at_last(world);
		run(world, REST_MS);
	}
	check_rest(world);
}

static uint8_t next_byte(struct world *world)
{
	if (!world->size)
		return 0;
	world->size--;
	return *world->data++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = { .now_ms = 1000, .cluster_id = 1, .data = data, .size = size };

	world.store = memory_store_new();
	world.ledger = ledger_new();
	world.patient = next_byte(&world) & 1;
	for (size_t i = 0; i < NODES; i++)
		describe(&world.nodes[i], i);
	for (int n = 0; n < STEPS_MAX && world.size; n++) {
		const uint8_t what = next_byte(&world);

		world.turns = 0;
		happenings[what % ARRAY_LEN(happenings)](&world, next_byte(&world));
	}
	heal(&world);
	while (world.flights_len)
		forget_flight(&world, 0);
	for (size_t i = 0; i < NODES; i++) {
		agreement_free(world.nodes[i].agreement);
		registration_fini(&world.nodes[i].self);
		generation_free(world.nodes[i].disk);
	}
	ledger_free(world.ledger);
	memory_store_free(world.backup);
	memory_store_free(world.store);
	return 0;
}
