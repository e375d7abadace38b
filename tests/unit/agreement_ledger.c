/* SPDX-License-Identifier: MIT */
/*
 * The books of a cluster under test. Knows the store's keys and the rules of
 * the design, and nothing of how the agreement keeps them.
 */
#include "agreement_ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/alter.h"
#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

#define PREFIX "/cms/"

static const char *const edited_paths[] = { "topology.settle_s", "topology.settle_max_s",
					    "topology.restart_at_once",
					    "topology.rejoin_window_s" };
#define FIRST_VALUE 700 /* allowed for each of them, and nobody's default */

struct ledger_entry {
	struct generation *generation;
	struct current current;
	bool acted; /* a node has acted on it */
	bool lost; /* the store was set back behind it */
};

struct ledger_edit {
	const char *path;
	int64_t value;
	bool answered;
	int code;
	unsigned int applied;
	size_t applied_at; /* entry */
	bool may_be_lost; /* the store was set back behind it */
};

struct ledger {
	int64_t seen; /* revision up to which the store was looked at */
	struct ledger_entry *entries; /* all that ever were in force */
	size_t len, cap;
	size_t tip; /* in force: entry + 1; 0 = none */
	size_t backup; /* the tip then */
	int64_t restored_epoch; /* in force after the last restore */
	struct ledger_edit *edits;
	size_t edits_len, edits_cap;
	struct str_list windows_ended; /* ids of nodes */
};

void ledger_complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)fputs("promise broken: ", stderr);
	(void)vfprintf(stderr, fmt, args);
	(void)fputc('\n', stderr);
	va_end(args);
	abort();
}

struct ledger *ledger_new(void)
{
	return xcalloc(1, sizeof(struct ledger));
}

void ledger_free(struct ledger *ledger)
{
	if (!ledger)
		return;
	for (size_t i = 0; i < ledger->len; i++)
		generation_free(ledger->entries[i].generation);
	free(ledger->entries);
	free(ledger->edits);
	str_list_fini(&ledger->windows_ended);
	free(ledger);
}

size_t ledger_generations(const struct ledger *ledger)
{
	return ledger->len;
}

static const struct ledger_entry *in_force(const struct ledger *ledger)
{
	return ledger->tip ? &ledger->entries[ledger->tip - 1] : NULL;
}

/* ---- edits --------------------------------------------------------------- */

size_t ledger_plan_edit(struct ledger *ledger, const struct generation *seen, unsigned int choice,
			struct edits *ret)
{
	GROW(ledger->edits, ledger->edits_len, ledger->edits_cap);
	struct ledger_edit *edit = &ledger->edits[ledger->edits_len];

	*edit = (struct ledger_edit){ .path = edited_paths[choice % ARRAY_LEN(edited_paths)],
				      .value = FIRST_VALUE + (int64_t)ledger->edits_len };
	CLEAN(value) struct value *old = alter_value(seen, edit->path);
	CLEAN(value) struct value *wanted = value_new_int(edit->value);

	*ret = (struct edits){ 0 };
	edits_add(ret, edit->path, old, wanted);
	return ledger->edits_len++;
}

void ledger_answered(struct ledger *ledger, size_t edit, int code)
{
	if (ledger->edits[edit].answered)
		ledger_complain("edit %zu was answered twice", edit);
	ledger->edits[edit].answered = true;
	ledger->edits[edit].code = code;
}

void ledger_unanswered(struct ledger *ledger, size_t edit)
{
	if (!ledger->edits[edit].answered)
		ledger_answered(ledger, edit, ERR_UNKNOWN);
}

size_t ledger_edits_done(const struct ledger *ledger)
{
	size_t n = 0;

	for (size_t i = 0; i < ledger->edits_len; i++)
		n += ledger->edits[i].answered && ledger->edits[i].code == 0;
	return n;
}

static struct ledger_edit *find_edit(const struct ledger *ledger, const char *path, int64_t value)
{
	const int64_t i = value - FIRST_VALUE;

	if (i < 0 || (size_t)i >= ledger->edits_len || !str_eq(ledger->edits[i].path, path))
		return NULL;
	return &ledger->edits[i];
}

/* The entry at `path` changed: that was one edit's doing. */
static void note_change(struct ledger *ledger, const char *path, const struct value *value)
{
	struct ledger_edit *edit = find_edit(ledger, path, value->integer);

	if (!edit)
		ledger_complain("%s became %" PRId64 ", which nobody asked for", path,
				value->integer);
	if (edit->applied++)
		ledger_complain("%s became %" PRId64 " twice", path, value->integer);
	edit->applied_at = ledger->len - 1;
}

static void note_edits(struct ledger *ledger, const struct generation *before,
		       const struct generation *after)
{
	for (size_t i = 0; i < ARRAY_LEN(edited_paths); i++) {
		CLEAN(value) struct value *old = alter_value(before, edited_paths[i]);
		CLEAN(value) struct value *new = alter_value(after, edited_paths[i]);

		if (!value_equal(old, new))
			note_change(ledger, edited_paths[i], new);
	}
}

void ledger_close(const struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->edits_len; i++) {
		const struct ledger_edit *edit = &ledger->edits[i];

		if (!edit->answered)
			ledger_complain("the operator of edit %zu was never answered", i);
		if (edit->code == 0 && !edit->applied && !edit->may_be_lost)
			ledger_complain("edit %zu was acknowledged and is nowhere", i);
		if (edit->code != 0 && edit->code != ERR_UNKNOWN && edit->applied)
			ledger_complain("edit %zu was carried out, its operator was told %d", i,
					edit->code);
	}
}

/* ---- slots --------------------------------------------------------------- */

static bool may_be_freed(const struct ledger *ledger, int service, const char *node)
{
	if (service != CATALOGUE_WORKER && service != CATALOGUE_RESOURCE_SERVICE)
		return false;
	return str_list_has(&ledger->windows_ended, node);
}

static void check_slots(const struct ledger *ledger, const struct generation *before,
			const struct generation *after)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *old = &before->slots.lists[s];
		const struct slot_list *new = &after->slots.lists[s];

		for (size_t k = 0; k < old->len; k++) {
			const char *node = old->items[k].node;

			if (!node || (k < new->len && str_eq(new->items[k].node, node)) ||
			    may_be_freed(ledger, s, node))
				continue;
			ledger_complain("%s lost %s %zu in %s", node,
					catalogue_at((enum catalogue_index)s)->name, k,
					after->name);
		}
	}
}

/* ---- generations ----------------------------------------------------------- */

/*
 * Nothing follows from what was in force before but the numbers: a person decided. What that took
 * back may be done again by whoever does not know yet that it was done.
 */
static void note_restore(struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->edits_len; i++) {
		ledger->edits[i].may_be_lost = true;
		ledger->edits[i].applied = 0;
	}
}

static void check_succession(struct ledger *ledger, const struct ledger_entry *before,
			     const struct ledger_entry *after)
{
	const struct generation *old = before->generation;
	const struct generation *new = after->generation;

	if (new->epoch > old->epoch) {
		note_restore(ledger);
		return;
	}
	if (new->epoch != old->epoch || new->sequence != old->sequence + 1 ||
	    !str_eq(new->meta.parent, old->name))
		ledger_complain("%s (%" PRId64 ", %" PRId64 ") came after %s (%" PRId64 ", %" PRId64
				"), its parent is %s",
				new->name, new->epoch, new->sequence, old->name, old->epoch,
				old->sequence, new->meta.parent);
	if (after->current.folded < before->current.folded)
		ledger_complain("%s takes back what was folded", new->name);
	note_edits(ledger, old, new);
	check_slots(ledger, old, new);
}

static void check_unique(const struct ledger *ledger, const struct current *current)
{
	for (size_t i = 0; i < ledger->len; i++)
		if (str_eq(ledger->entries[i].current.name, current->name))
			ledger_complain("%s was put in force twice", current->name);
}

static struct generation *read_directory(struct memory_store *store, const struct current *current)
{
	CLEAN(str) char *directory = xasprintf(PREFIX "configs/%s/", current->name);
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(store_reply) struct store_reply reply = { 0 };
	struct generation *generation;
	struct err err;

	(void)store_ops_range(&request->success, directory, true);
	memory_store_execute(store, request, &reply);
	if (generation_from_kvs(current, directory, &reply.ranges[0], &generation, &err) < 0)
		ledger_complain("%s is in force: %s", current->name, err.msg);
	return generation;
}

static void look_at_current(struct ledger *ledger, struct memory_store *store,
			    const struct store_kv *kv)
{
	struct current current;
	struct err err;

	if (current_from_kv(kv, &current, &err) < 0)
		ledger_complain("%s", err.msg);
	const size_t before = ledger->tip;

	if (before && str_eq(in_force(ledger)->current.name, current.name)) {
		if (current.folded < in_force(ledger)->current.folded)
			ledger_complain("%s: a mark takes back what was folded", current.name);
		ledger->entries[before - 1].current = current;
		return;
	}
	check_unique(ledger, &current);
	GROW(ledger->entries, ledger->len, ledger->cap);
	ledger->entries[ledger->len++] =
		(struct ledger_entry){ .generation = read_directory(store, &current),
				       .current = current };
	ledger->tip = ledger->len;
	if (before)
		check_succession(ledger, &ledger->entries[before - 1], in_force(ledger));
}

/* The last put of `current`, copied: reading the directory ends the borrowing of events. */
static bool look_at_events(struct ledger *ledger, const struct store_event *events, size_t len,
			   struct store_kv *ret)
{
	bool found = false;

	for (size_t i = 0; i < len; i++) {
		const struct store_event *event = &events[i];

		if (event->deleted && str_starts(event->kv.key, PREFIX "reserved/"))
			str_list_add(&ledger->windows_ended,
				     event->kv.key + strlen(PREFIX "reserved/"));
		if (!str_eq(event->kv.key, PREFIX "current"))
			continue;
		if (event->deleted)
			ledger_complain("`current` was deleted");
		if (found)
			store_kv_fini(ret);
		store_kv_copy(ret, &event->kv);
		found = true;
	}
	return found;
}

void ledger_look(struct ledger *ledger, struct memory_store *store)
{
	const struct store_event *events;
	struct store_kv kv = { 0 };
	size_t len;

	if (memory_store_events(store, ledger->seen, &events, &len) < 0)
		ledger_complain("the books were not kept: the store's history is gone");
	ledger->seen = memory_store_revision(store);
	if (look_at_events(ledger, events, len, &kv))
		look_at_current(ledger, store, &kv);
	store_kv_fini(&kv);
}

/*
 * What was lost in a restore before anybody acted on it may have its number given again. So may
 * that of nodes that are away when a person decides after a restore: their epoch is not known then.
 */
static void check_number(const struct ledger *ledger, const struct ledger_entry *entry)
{
	for (size_t i = 0; i < ledger->len; i++) {
		const struct ledger_entry *other = &ledger->entries[i];

		const bool of_the_away = (other->lost || entry->lost) &&
					 entry->current.epoch > ledger->restored_epoch;

		if (!other->acted || of_the_away)
			continue;
		if (other->current.epoch == entry->current.epoch &&
		    other->current.sequence == entry->current.sequence &&
		    !str_eq(other->current.digest, entry->current.digest))
			ledger_complain("nodes act on %s and on %s, which have one number",
					other->current.name, entry->current.name);
	}
}

void ledger_acted(struct ledger *ledger, const char *node, const struct generation *generation)
{
	for (size_t i = 0; i < ledger->len; i++) {
		struct ledger_entry *entry = &ledger->entries[i];

		if (!str_eq(entry->current.name, generation->name) ||
		    !str_eq(entry->current.digest, generation->meta.digest) ||
		    entry->current.epoch != generation->epoch ||
		    entry->current.sequence != generation->sequence)
			continue;
		check_number(ledger, entry);
		entry->acted = true;
		return;
	}
	ledger_complain("%s acts on %s, which was never in force", node, generation->name);
}

bool ledger_is_in_force(const struct ledger *ledger, const struct generation *generation)
{
	return ledger->tip && str_eq(in_force(ledger)->current.name, generation->name);
}

void ledger_check_in_force(const struct ledger *ledger, const char *node,
			   const struct generation *generation)
{
	const struct ledger_entry *entry = in_force(ledger);

	if (!entry || !str_eq(entry->current.name, generation->name))
		ledger_complain("%s follows %s, in force is %s", node, generation->name,
				entry ? entry->current.name : "nothing");
}

static bool is_kept(const struct generation *generation, const char *name)
{
	if (str_eq(generation->name, name))
		return true;
	for (size_t i = 0; i < generation->meta.kept_len; i++)
		if (str_eq(generation->meta.kept[i].name, name))
			return true;
	return false;
}

void ledger_check_directories(const struct ledger *ledger, struct memory_store *store)
{
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(store_reply) struct store_reply reply = { 0 };
	const struct generation *generation = in_force(ledger)->generation;
	size_t metas = 0;

	(void)store_ops_range(&request->success, PREFIX "configs/", true);
	memory_store_execute(store, request, &reply);
	for (size_t i = 0; i < reply.ranges[0].len; i++) {
		const char *name = reply.ranges[0].items[i].key + strlen(PREFIX "configs/");
		CLEAN(str) char *directory = xstrndup(name, strcspn(name, "/"));

		if (!is_kept(generation, directory))
			ledger_complain("directory %s is nobody's", directory);
		metas += str_eq(name + strlen(directory), "/meta");
	}
	if (metas != generation->meta.kept_len + 1)
		ledger_complain("of %zu generations that are kept %zu are there",
				generation->meta.kept_len + 1, metas);
}

/* ---- backups ---------------------------------------------------------------- */

void ledger_backed_up(struct ledger *ledger)
{
	ledger->backup = ledger->tip;
}

void ledger_restored(struct ledger *ledger, const struct memory_store *store)
{
	for (size_t i = 0; i < ledger->edits_len; i++) {
		struct ledger_edit *edit = &ledger->edits[i];

		edit->may_be_lost = true;
		/* A node that has it can put it in force again. */
		if (edit->applied && edit->applied_at >= ledger->backup)
			edit->applied = 0;
	}
	for (size_t i = ledger->backup; i < ledger->len; i++)
		ledger->entries[i].lost = true;
	ledger->tip = ledger->backup;
	ledger->restored_epoch = in_force(ledger)->current.epoch;
	ledger->seen = memory_store_revision(store);
}
