/* SPDX-License-Identifier: MIT */
/*
 * The real agreement on the real etcd client against a fake etcd with bad days:
 * requests are lost before or after they are carried out, come late, are torn,
 * answered with 503; watches break or go silent; daemons die and come again.
 * Whatever the order, the books must balance (agreement_ledger.h).
 */
#include "agreement_world.h"

#include <ev.h>
#include <signal.h>

#include "agreement_ledger.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/store/etcd.h"
#include "fake_etcd.h"

#define NODES 5
#define MEMBERS 3
#define BAD_MS 5000 /* as long as all goes badly */
#define EDIT_EVERY_MS 150
#define EDITS_MAX 64
#define DEADLINE_MS 60000

struct history;

struct member_node {
	struct history *history;
	struct registration self;
	struct store *store; /* NULL: not running */
	struct agreement_driver *driver;
	struct generation *disk;
	unsigned int lives;
	bool leaving, left;
};

struct open_edit {
	struct history *history;
	size_t number; /* in the ledger */
	size_t node;
	bool answered;
};

struct history {
	struct ev_loop *loop;
	struct ev_timer tick;
	struct fake_etcd *fake;
	struct ledger *ledger;
	struct member_node nodes[NODES];
	struct open_edit edits[EDITS_MAX];
	size_t edits_len;
	uint64_t random;
};

static uint64_t chance(struct history *history)
{
	history->random ^= history->random << 13;
	history->random ^= history->random >> 7;
	history->random ^= history->random << 17;
	return history->random;
}

/* ---- nodes ------------------------------------------------------------------- */

static const struct agreement *agreement_of(const struct member_node *node)
{
	return agreement_driver_agreement(node->driver);
}

static void on_agreed(void *ctx)
{
	struct member_node *node = ctx;
	const struct generation *agreed = agreement_agreed(agreement_of(node));

	ledger_acted(node->history->ledger, node->self.id, agreed);
	generation_free(node->disk);
	node->disk = generation_clone(agreed);
}

static void on_nothing(void *ctx)
{
	(void)ctx;
}

static void on_left(void *ctx)
{
	((struct member_node *)ctx)->left = true;
}

static void on_contested(void *ctx, const char *text)
{
	ledger_complain("%s: %s", ((struct member_node *)ctx)->self.id, text);
}

static void on_refused(void *ctx, bool is_twin, const char *text)
{
	(void)is_twin;
	on_contested(ctx, text);
}

static struct store *connect_store(struct history *history)
{
	CLEAN(str_list) struct str_list urls = { 0 };
	const struct etcd_settings settings = { .endpoints = &urls };
	struct err err = { 0 };

	for (size_t i = 0; i < MEMBERS; i++)
		str_list_add(&urls, fake_etcd_url(history->fake, i));
	struct store *store = etcd_store_new(history->loop, &settings, &err);

	if (!store)
		fail_msg("%s", err.msg);
	return store;
}

static void start_node(struct history *history, size_t i)
{
	struct member_node *node = &history->nodes[i];
	CLEAN(generation) struct generation *seed = i == 0 ? world_seed() : NULL;
	const struct agreement_driver_events events = { .agreed = on_agreed,
							.changed = on_nothing,
							.left = on_left,
							.contested = on_contested,
							.refused = on_refused,
							.ctx = node };
	const struct agreement_settings settings = {
		.prefix = "/cms",
		.seed = seed,
		.seed_at_once = true,
		.random = chance(history),
		.lease_ttl_s = 3,
		.address_before = node->lives ? node->self.address : NULL,
		.last_agreed = node->disk,
	};

	free(node->self.incarnation);
	node->self.incarnation = xasprintf("%016zx%016x", i, ++node->lives);
	node->leaving = node->left = false;
	node->store = connect_store(history);
	node->driver =
		agreement_driver_new(history->loop, node->store, &settings, &node->self, &events);
	agreement_driver_start(node->driver);
}

static void end_node(struct history *history, size_t i)
{
	struct member_node *node = &history->nodes[i];

	if (!node->store)
		return;
	store_free(steal(node->store));
	agreement_driver_free(steal(node->driver));
	for (size_t k = 0; k < history->edits_len; k++) {
		struct open_edit *edit = &history->edits[k];

		if (edit->node == i && !edit->answered)
			ledger_unanswered(history->ledger, edit->number);
		if (edit->node == i)
			edit->answered = true;
	}
}

/* ---- the loop ------------------------------------------------------------------- */

static void on_tick(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

static void run_for(struct history *history, int64_t ms)
{
	const int64_t end_ms = clock_now_ms() + ms;

	while (clock_now_ms() < end_ms) {
		(void)ev_run(history->loop, EVRUN_ONCE);
		for (size_t i = 0; i < NODES; i++)
			if (history->nodes[i].left)
				end_node(history, i);
	}
}

static void on_change(void *ctx)
{
	struct history *history = ctx;

	ledger_look(history->ledger, fake_etcd_store(history->fake));
}

static struct history *history_new(uint64_t seed)
{
	struct history *history = xcalloc(1, sizeof(*history));

	history->random = seed;
	history->loop = ev_loop_new(EVFLAG_AUTO);
	ev_timer_init(&history->tick, on_tick, 0.02, 0.02);
	ev_timer_start(history->loop, &history->tick);
	history->ledger = ledger_new();
	history->fake = fake_etcd_new(history->loop, MEMBERS, on_change, history);
	for (size_t i = 0; i < NODES; i++) {
		const char id[2] = { (char)('a' + i), '\0' };

		history->nodes[i].history = history;
		world_registration(&history->nodes[i].self, id, i == 0 ? "core" : "worker:2",
				   (int)i + 1);
	}
	return history;
}

static void history_free(struct history *history)
{
	for (size_t i = 0; i < NODES; i++) {
		end_node(history, i);
		registration_fini(&history->nodes[i].self);
		generation_free(history->nodes[i].disk);
	}
	fake_etcd_free(history->fake);
	ledger_free(history->ledger);
	ev_loop_destroy(history->loop);
	free(history);
}

/* ---- what happens ------------------------------------------------------------------ */

static void on_edited(void *ctx, int code, const char *text)
{
	struct open_edit *edit = ctx;

	(void)text;
	edit->answered = true;
	ledger_answered(edit->history->ledger, edit->number, code);
}

static void edit_somewhere(struct history *history)
{
	const size_t i = chance(history) % NODES;
	const struct member_node *node = &history->nodes[i];
	struct edits edits;

	if (!node->store || node->leaving || !agreement_agreed(agreement_of(node)) ||
	    history->edits_len == EDITS_MAX)
		return;
	struct open_edit *edit = &history->edits[history->edits_len++];

	*edit = (struct open_edit){ .history = history, .node = i };
	edit->number = ledger_plan_edit(history->ledger, agreement_agreed(agreement_of(node)),
					(unsigned int)chance(history), &edits);
	agreement_driver_edit(node->driver, &edits, "operator", "test", on_edited, edit);
	edits_fini(&edits);
}

/* A daemon that is not there starts; another one dies, or stops in order. */
static void come_or_go(struct history *history)
{
	const size_t i = chance(history) % NODES;
	struct member_node *node = &history->nodes[i];

	if (!node->store) {
		start_node(history, i);
	} else if (chance(history) % 2) {
		end_node(history, i);
	} else if (!node->leaving) {
		node->leaving = true;
		agreement_driver_stop(node->driver);
	}
}

static void all_goes_badly(struct history *history)
{
	const int64_t end_ms = clock_now_ms() + BAD_MS;

	while (clock_now_ms() < end_ms) {
		edit_somewhere(history);
		if (chance(history) % 8 == 0)
			come_or_go(history);
		run_for(history, EDIT_EVERY_MS);
	}
}

static bool is_at_rest(const struct history *history)
{
	for (size_t i = 0; i < NODES; i++) {
		const struct member_node *node = &history->nodes[i];
		const struct generation *agreed =
			node->store ? agreement_agreed(agreement_of(node)) : NULL;

		if (!agreed || !agreement_is_member(agreement_of(node)) ||
		    agreement_state_now(agreement_of(node)) != AGREEMENT_FOLLOWING ||
		    !ledger_is_in_force(history->ledger, agreed))
			return false;
	}
	for (size_t k = 0; k < history->edits_len; k++)
		if (!history->edits[k].answered)
			return false;
	return true;
}

static void run_to_rest(struct history *history)
{
	const int64_t end_ms = clock_now_ms() + DEADLINE_MS;

	for (size_t i = 0; i < NODES; i++) {
		struct member_node *node = &history->nodes[i];

		while (node->leaving && node->store && clock_now_ms() < end_ms)
			run_for(history, 50);
		if (!node->store)
			start_node(history, i);
	}
	while ((fake_etcd_owes(history->fake) || !is_at_rest(history)) && clock_now_ms() < end_ms)
		run_for(history, 100);
	for (size_t i = 0; i < NODES; i++)
		if (!agreement_is_member(agreement_of(&history->nodes[i])))
			fail_msg("%s is no member: %s", history->nodes[i].self.id,
				 agreement_trouble(agreement_of(&history->nodes[i])));
	assert_true(is_at_rest(history));
}

static void tell(const struct history *history, uint64_t seed)
{
	static const char *const names[FAKE_FAULTS] = {
		[FAKE_DONE] = "done",
		[FAKE_LOST_BEFORE] = "lost before",
		[FAKE_LOST_AFTER] = "lost after",
		[FAKE_LATE] = "late",
		[FAKE_NEVER] = "never",
		[FAKE_503_BEFORE] = "503 before",
		[FAKE_503_AFTER] = "503 after",
		[FAKE_TORN] = "torn",
		[FAKE_SLOW] = "slow",
	};

	print_message("seed %d: %zu generations, %zu edits, %zu of them done; requests:", (int)seed,
		      ledger_generations(history->ledger), history->edits_len,
		      ledger_edits_done(history->ledger));
	for (int fault = 0; fault < FAKE_FAULTS; fault++)
		print_message(" %s %zu,", names[fault],
			      fake_etcd_faults(history->fake, (enum fake_fault)fault));
	print_message(" watches broken %zu\n", fake_etcd_broken_watches(history->fake));
}

static void live_through(uint64_t seed)
{
	struct history *history = history_new(seed);
	size_t faults = 0;

	start_node(history, 0);
	run_for(history, 300);
	fake_etcd_misbehave(history->fake, seed, 120);
	for (size_t i = 1; i < NODES; i++)
		start_node(history, i);
	all_goes_badly(history);
	fake_etcd_misbehave(history->fake, 0, 0);
	run_to_rest(history);
	ledger_check_directories(history->ledger, fake_etcd_store(history->fake));
	ledger_close(history->ledger);
	tell(history, seed);
	for (int fault = FAKE_DONE + 1; fault < FAKE_FAULTS; fault++)
		faults += fake_etcd_faults(history->fake, (enum fake_fault)fault);
	assert_true(faults >= FAKE_FAULTS);
	assert_true(ledger_edits_done(history->ledger) > 0);
	history_free(history);
}

static void every_edit_counts_once_whatever_happens(void **state)
{
	/* CMSNODE_SEED tries another history. */
	const char *seed = getenv("CMSNODE_SEED");

	(void)state;
	live_through(seed ? strtoull(seed, NULL, 10) : 1);
}

static void no_log(enum log_level level, const char *module, const char *text)
{
	if (getenv("CMSNODE_LOG"))
		(void)fprintf(stderr, "%d %s: %s\n", (int)level, module, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_edit_counts_once_whatever_happens),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(no_log);
	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
