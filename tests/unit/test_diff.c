/* SPDX-License-Identifier: MIT */
/* Differences of documents: found, shown without secrets, applied and taken back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/diff.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"

static struct value *from_json(const char *json)
{
	struct value *value = NULL;

	assert_int_equal(value_from_json(json, strlen(json), &value, NULL), 0);
	return value;
}

/* ---- What people see ---- */

static void differences_read_well(void **state)
{
	static const struct {
		const char *old, *new, *text;
	} rows[] = {
		{ "{}", "{}", "" },
		{ "{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":2,\"x\":1}}", "" },
		{ "{\"a\":{\"x\":1}}", "{\"a\":{\"x\":1.0}}", "a.x: 1 -> 1.0\n" },
		{ "{\"a\":{\"x\":1}}", "{\"a\":{}}", "a.x: 1 -> (not set)\n" },
		{ "{\"a\":{\"x\":1}}", "{}", "a.x: 1 -> (not set)\n" },
		{ "{}", "{\"a\":{}}", "a: (not set) -> {}\n" },
		{ "{\"a\":1}", "{\"a\":{\"x\":1}}", "a: 1 -> {\"x\":1}\n" },
		{ "{\"b\":{\"y\":1},\"a\":{\"x\":1}}", "{\"a\":{\"x\":2},\"b\":{\"y\":2}}",
		  "a.x: 1 -> 2\nb.y: 1 -> 2\n" },
		{ "{}", "{\"a\":{\"b.c\":1,\"\":2,\"\\n\":3}}",
		  "a.\"\": (not set) -> 2\na.\"\\n\": (not set) -> 3\na.\"b.c\": (not set) -> 1\n" },
		{ "{\"ranking\":{\"public\":{\"show_id_column\":false}}}",
		  "{\"ranking\":{\"public\":{\"show_id_column\":true}}}",
		  "ranking.public.show_id_column: false -> true\n" },
		/* Lists are one value, but the entries of services. */
		{ "{\"contest_web_server\":{\"listen_port\":[1,2]}}",
		  "{\"contest_web_server\":{\"listen_port\":[1,3]}}",
		  "contest_web_server.listen_port: [1,2] -> [1,3]\n" },
		{ "{\"services\":{\"Worker\":[[\"h\",1],[\"h\",2],[\"h\",3]]}}",
		  "{\"services\":{\"Worker\":[[\"h\",1],[\"i\",2]]}}",
		  "services.Worker[1]: [\"h\",2] -> [\"i\",2]\n"
		  "services.Worker[2]: [\"h\",3] -> (not set)\n" },
		{ "{\"services\":{}}", "{\"services\":{\"Worker\":[[\"h\",1],[\"h\",2]]}}",
		  "services.Worker[0]: (not set) -> [\"h\",1]\n"
		  "services.Worker[1]: (not set) -> [\"h\",2]\n" },
		{ "{}", "{\"services\":{\"Worker\":[[\"h\",1]],\"Checker\":[]}}",
		  "services.Checker: (not set) -> []\n"
		  "services.Worker[0]: (not set) -> [\"h\",1]\n" },
		/* Secrets. */
		{ "{\"database\":{\"url\":\"postgresql://u:p@h/db\"}}",
		  "{\"database\":{\"url\":\"postgresql://u:p@g/db\"}}",
		  "database.url: \"postgresql://u:***@h/db\" -> \"postgresql://u:***@g/db\"\n" },
		{ "{\"database\":{\"url\":\"postgresql://u:p@h/db\"}}",
		  "{\"database\":{\"url\":\"postgresql://u:q@h/db\"}}",
		  "database.url: (changed, hidden)\n" },
		{ "{}", "{\"web_server\":{\"secret_key\":\"k\"}}",
		  "web_server.secret_key: (not set) -> \"***\"\n" },
		{ "{\"telegram_bot\":{\"bot_token\":\"t\",\"chat_id\":\"7\"}}", "{}",
		  "telegram_bot.bot_token: \"***\" -> (not set)\n"
		  "telegram_bot.chat_id: \"7\" -> (not set)\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(value) struct value *old = from_json(rows[i].old);
		CLEAN(value) struct value *new = from_json(rows[i].new);
		CLEAN(diff) struct diff diff = { 0 };

		diff_documents(old, new, &diff);
		CLEAN(str) char *text = diff_text(&diff);

		if (!str_eq(text, rows[i].text))
			fail_msg("%s -> %s\n%s", rows[i].old, rows[i].new, text);
	}
}

static void long_values_are_cut_between_characters(void **state)
{
	char text[600];

	(void)state;
	/* With an offset of one byte, the 200th byte is inside of a character. */
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 3);
	CLEAN(value) struct value *old = from_json("{\"a\":{}}");
	CLEAN(value) struct value *new = value_clone(old);
	CLEAN(diff) struct diff diff = { 0 };

	value_set_path(new, "a.x", value_new_string(text));
	diff_documents(old, new, &diff);
	CLEAN(str) char *line = diff_item_text(&diff.items[0]);

	assert_true(strlen(line) < 250);
	assert_true(str_ends(line, "\xc3\xa4..."));
	assert_int_equal(value_utf8_span(line, strlen(line)), strlen(line));
}

static void json_has_the_same(void **state)
{
	CLEAN(value) struct value *old =
		from_json("{\"a\":{\"n\":9007199254740993},\"web_server\":{\"secret_key\":\"k\"}}");
	CLEAN(value) struct value *new =
		from_json("{\"a\":{},\"b\":{\"x\":[1.5]},\"web_server\":{\"secret_key\":\"l\"}}");
	CLEAN(diff) struct diff diff = { 0 };

	(void)state;
	diff_documents(old, new, &diff);
	CLEAN(json) cJSON *json = diff_to_json(&diff);
	CLEAN(str) char *text = json_text(json);

	assert_string_equal(
		text,
		"[{\"path\":\"a.n\",\"old\":9007199254740993,\"new\":null,\"hidden\":false},"
		"{\"path\":\"b.x\",\"old\":null,\"new\":[1.5],\"hidden\":false},"
		"{\"path\":\"web_server.secret_key\",\"old\":\"***\",\"new\":\"***\",\"hidden\":true}]");
}

#define PLANTED "Pl4nted"

static void set_secret(struct value *document, const struct config_key *key, const char *tail,
		       int shape)
{
	CLEAN(str) char *secret = xasprintf("%s%s", PLANTED, tail);
	CLEAN(str) char *url = xasprintf("http://u:%s@h/", secret);
	struct value *value = value_new_string(key->url ? url : secret);

	/* Also where it is no text, as a file might have it. */
	if (shape) {
		struct value *outer = shape == 1 ? value_new_array() : value_new_table();

		if (shape == 1)
			value_array_add(outer, value);
		else
			value_set(outer, "x", value);
		value = outer;
	}
	value_set_path(document, key->path, value);
}

/* Each secret key: added, removed and changed, in any shape. */
static void no_secret_is_shown(void **state)
{
	size_t tried = 0;

	(void)state;
	for (size_t i = 0; i < 9 * config_key_count(); i++) {
		const struct config_key *key = config_key_at(i / 9);
		CLEAN(value) struct value *old = value_new_table();
		CLEAN(value) struct value *new = value_new_table();
		CLEAN(diff) struct diff diff = { 0 };
		const int shape = (int)(i / 3 % 3);

		if (!key->secret)
			continue;
		if (i % 3 != 0)
			set_secret(old, key, "1", shape);
		if (i % 3 != 1)
			set_secret(new, key, "2", shape);
		diff_documents(old, new, &diff);
		CLEAN(str) char *text = diff_text(&diff);
		CLEAN(json) cJSON *json = diff_to_json(&diff);
		CLEAN(str) char *json_line = json_text(json);

		assert_true(diff.len > 0);
		if (strstr(text, PLANTED) || strstr(json_line, PLANTED))
			fail_msg("%s: %s %s", key->path, text, json_line);
		tried++;
	}
	assert_true(tried >= 6 * 9);
}

/* ---- Properties, on documents made by chance ---- */

static uint64_t seed;

static unsigned int chance(unsigned int n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)(seed >> 33) % n;
}

static const char *any_key(void)
{
	static const char *const keys[] = { "services", "database", "ranking", "public",
					    "Worker",	"Checker",  "url",     "a.b",
					    "\xc3\xbc", "x",	    "y",       "" };

	return keys[chance(ARRAY_LEN(keys))];
}

static struct value *any_value(int depth)
{
	static const double numbers[] = { 0.0, -0.0, 1.5, 1e300, (double)NAN };
	struct value *outer;

	switch (chance(depth > 0 ? 8 : 5)) {
	case 0:
		return value_new_bool(chance(2));
	case 1:
		return value_new_int((int64_t)chance(3) - 1);
	case 2:
		return value_new_float(numbers[chance(ARRAY_LEN(numbers))]);
	case 3:
		return value_new_string(any_key());
	case 4:
		return value_new_datetime(chance(2) ? "2026-11-22" : "10:00:00");
	case 5:
		outer = value_new_array();
		for (unsigned int n = chance(4); n > 0; n--)
			value_array_add(outer, any_value(depth - 1));
		return outer;
	default:
		outer = value_new_table();
		for (unsigned int n = chance(4); n > 0; n--)
			value_set(outer, any_key(), any_value(depth - 1));
		return outer;
	}
}

static struct value *any_services(void)
{
	struct value *services = value_new_table();

	for (unsigned int n = chance(3); n > 0; n--) {
		struct value *list = value_new_array();

		for (unsigned int k = chance(5); k > 0; k--)
			value_array_add(list, any_value(1));
		value_set(services, any_key(), list);
	}
	return services;
}

static struct value *any_document(void)
{
	struct value *document = value_new_table();

	for (unsigned int n = chance(5); n > 0; n--)
		value_set(document, any_key(), any_value(3));
	if (chance(3))
		value_set(document, "services", any_services());
	return document;
}

/* Something else at some places; the rest stays. */
static void change(struct value *table, int depth)
{
	for (size_t i = 0; i < table->table.len; i++) {
		struct value *value = table->table.members[i].value;

		if (value->type == VALUE_TABLE && chance(3)) {
			change(value, depth - 1);
		} else if (value->type == VALUE_ARRAY && chance(2)) {
			if (value->array.len && chance(2))
				value_free(value->array.items[--value->array.len]);
			else
				value_array_add(value, any_value(1));
		} else if (chance(4) == 0) {
			value_set(table, table->table.members[i].key, any_value(depth));
		}
	}
	if (chance(3) == 0)
		value_set(table, any_key(), any_value(depth));
	if (table->table.len && chance(4) == 0)
		(void)value_remove(
			table, table->table.members[chance((unsigned int)table->table.len)].key);
}

/* The same document, its keys written in another order. */
static struct value *reordered(const struct value *value)
{
	if (value->type != VALUE_TABLE)
		return value_clone(value);
	struct value *table = value_new_table();

	for (size_t i = value->table.len; i > 0; i--)
		value_set(table, value->table.members[i - 1].key,
			  reordered(value->table.members[i - 1].value));
	return table;
}

static void check_apply(const struct value *from, const struct value *to, const struct diff *diff)
{
	CLEAN(value) struct value *document = value_clone(from);
	struct err err = { 0 };

	if (diff_apply(document, diff, &err) < 0)
		fail_msg("%s", err.msg);
	if (!value_equal(document, to)) {
		CLEAN(str) char *is = value_to_json(document);
		CLEAN(str) char *should = value_to_json(to);

		fail_msg("made %s\nof what should be %s", is, should);
	}
}

static void check_order_is_irrelevant(const struct value *old, const struct value *new,
				      const struct diff *diff)
{
	CLEAN(value) struct value *other_old = reordered(old);
	CLEAN(value) struct value *other_new = reordered(new);
	CLEAN(diff) struct diff other = { 0 };
	CLEAN(diff) struct diff none = { 0 };

	diff_documents(old, other_old, &none);
	assert_int_equal(none.len, 0);
	diff_documents(other_old, other_new, &other);
	assert_int_equal(other.len, diff->len);
	for (size_t i = 0; i < diff->len; i++) {
		assert_string_equal(other.items[i].path, diff->items[i].path);
		assert_int_equal(other.items[i].index, diff->items[i].index);
	}
}

/* A document that is not what the diff was made from stays as it is. */
static void check_conflict(const struct value *new, const struct diff *diff)
{
	CLEAN(value) struct value *document = value_clone(new);
	struct err err = { 0 };

	if (diff->len == 0)
		return;
	assert_int_equal(diff_apply(document, diff, &err), ERR_CONFLICT);
	assert_non_null(strstr(err.msg, "is not what it was"));
	assert_true(value_equal(document, new));
}

static void applying_gives_the_target(void **state)
{
	size_t differed = 0, entries = 0;

	(void)state;
	for (uint64_t i = 0; i < 4000; i++) {
		seed = i;
		CLEAN(value) struct value *old = any_document();
		CLEAN(value) struct value *new = i % 4 ? value_clone(old) : any_document();
		CLEAN(diff) struct diff diff = { 0 };

		if (i % 4)
			change(new, 3);
		diff_documents(old, new, &diff);
		assert_int_equal(diff.len == 0, value_equal(old, new));
		check_apply(old, new, &diff);
		check_order_is_irrelevant(old, new, &diff);
		check_conflict(new, &diff);
		for (size_t k = 0; k < diff.len; k++)
			entries += diff.items[k].index >= 0;
		differed += diff.len > 0;
		diff_reverse(&diff);
		check_apply(new, old, &diff);
	}
	/* The documents are neither all equal nor without the lists of services. */
	assert_true(differed > 1000 && entries > 200);
}

/* Where the leaf is, made if it is not there. */
static struct value *table_for(struct value *document, const struct diff_item *leaf)
{
	struct value *table = document;

	for (size_t i = 0; i + 1 < leaf->keys.len; i++) {
		const char *key = leaf->keys.items[i];

		if (!value_get(table, key))
			value_set(table, key, value_new_table());
		table = value_get(table, key);
	}
	return table;
}

static void set_leaf(struct value *document, const struct diff_item *leaf)
{
	struct value *table = table_for(document, leaf);
	const char *key = leaf->keys.items[leaf->keys.len - 1];

	if (leaf->index >= 0) {
		if (!value_get(table, key))
			value_set(table, key, value_new_array());
		struct value *list = value_get(table, key);
		const size_t k = (size_t)leaf->index;

		while (list->array.len > k && (!leaf->new || list->array.len == k + 1))
			value_free(list->array.items[--list->array.len]);
		if (leaf->new &&k < list->array.len) {
			value_free(list->array.items[k]);
			list->array.items[k] = value_clone(leaf->new);
		} else if (leaf->new) {
			value_array_add(list, value_clone(leaf->new));
		}
	} else if (leaf->new) {
		value_set(table, key, value_clone(leaf->new));
	} else {
		(void)value_remove(table, key);
	}
}

/* Without tables and lists that hold nothing. */
static struct value *pruned(const struct value *value)
{
	if (value->type != VALUE_TABLE)
		return value_clone(value);
	struct value *table = value_new_table();

	for (size_t i = 0; i < value->table.len; i++) {
		struct value *inner = pruned(value->table.members[i].value);

		if ((inner->type == VALUE_TABLE && inner->table.len == 0) ||
		    (inner->type == VALUE_ARRAY && inner->array.len == 0))
			value_free(inner);
		else
			value_set(table, value->table.members[i].key, inner);
	}
	return table;
}

/* One by one they lead to the target, but for what is empty; none could be taken apart further. */
static void leaves_are_complete(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 4000; i++) {
		seed = i;
		CLEAN(value) struct value *old = any_document();
		CLEAN(value) struct value *new = any_document();
		CLEAN(value) struct value *made = value_clone(old);
		CLEAN(diff) struct diff diff = { 0 };
		CLEAN(diff) struct diff leaves = { 0 };

		diff_documents(old, new, &diff);
		diff_leaves(&diff, &leaves);
		for (size_t k = 0; k < leaves.len; k++) {
			const struct diff_item *leaf = &leaves.items[k];
			const struct value *only = leaf->old ? leaf->old : leaf->new;

			if (leaf->index < 0 && (!leaf->old || !leaf->new) &&
			    only->type == VALUE_TABLE && only->table.len > 0)
				assert_non_null(config_key_find(leaf->path));
			set_leaf(made, leaf);
		}
		CLEAN(value) struct value *is = pruned(made);
		CLEAN(value) struct value *should = pruned(new);

		assert_true(value_equal(is, should));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(differences_read_well),
		cmocka_unit_test(long_values_are_cut_between_characters),
		cmocka_unit_test(json_has_the_same),
		cmocka_unit_test(no_secret_is_shown),
		cmocka_unit_test(applying_gives_the_target),
		cmocka_unit_test(leaves_are_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
