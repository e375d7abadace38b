/* SPDX-License-Identifier: MIT */
/*
 * The memory store against etcd's model. A script of one line per step reads
 * like the transactions; the expected text is what etcd would answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"

static const char *word(const struct str_list *words, size_t at)
{
	return at < words->len ? words->items[at] : "";
}

static int64_t number(const struct str_list *words, size_t at)
{
	int64_t value = 0;

	(void)str_to_int64(word(words, at), 0, INT64_MAX, &value);
	return value;
}

static void add_op(struct store_ops *ops, const struct str_list *words)
{
	const char *verb = word(words, 0);
	const char *key = word(words, 1);

	if (str_eq(verb, "put")) {
		store_ops_put(ops, key, word(words, 2), strlen(word(words, 2)),
			      (uint64_t)number(words, 3));
	} else if (str_eq(verb, "del")) {
		store_ops_delete(ops, key, false);
	} else if (str_eq(verb, "delp")) {
		store_ops_delete(ops, key, true);
	} else {
		struct store_op *op = store_ops_range(ops, key, str_starts(verb, "getp"));

		op->range.keys_only = str_eq(verb, "getpk");
		op->range.limit = number(words, 2);
		op->range.min_mod_revision = number(words, 3);
		op->range.max_create_revision = number(words, 4);
	}
}

/* "if mod /a 3, put /a x, else, get /a" */
static struct store_request *parse_txn(const char *text)
{
	struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(str_list) struct str_list parts = { 0 };
	struct store_ops *ops = &request->success;

	str_list_split(&parts, text, ',');
	for (size_t i = 0; i < parts.len; i++) {
		CLEAN(str_list) struct str_list words = { 0 };

		str_list_split(&words, parts.items[i], ' ');
		if (str_eq(word(&words, 0), "else"))
			ops = &request->failure;
		else if (str_eq(word(&words, 0), "if"))
			store_request_compare(
				request,
				str_eq(word(&words, 1), "mod")	  ? STORE_COMPARE_MOD :
				str_eq(word(&words, 1), "create") ? STORE_COMPARE_CREATE :
								    STORE_COMPARE_LEASE,
				word(&words, 2), number(&words, 3));
		else
			add_op(ops, &words);
	}
	return request;
}

/* "grant 7 10", "keep 7 8", "revoke 7", or a transaction */
static struct store_request *parse_request(const char *text)
{
	CLEAN(str_list) struct str_list words = { 0 };

	str_list_split(&words, text, ' ');
	const bool grant = str_eq(word(&words, 0), "grant");
	const bool keep = str_eq(word(&words, 0), "keep");

	if (!grant && !keep && !str_eq(word(&words, 0), "revoke"))
		return parse_txn(text);
	struct store_request *request = store_request_new(grant ? STORE_LEASE_GRANT :
							  keep	? STORE_LEASE_KEEPALIVE :
								  STORE_LEASE_REVOKE);

	request->leases_len = keep ? words.len - 1 : 1;
	for (size_t i = 0; i < request->leases_len; i++)
		request->leases[i] = (uint64_t)number(&words, i + 1);
	request->ttl_s = number(&words, 2);
	return request;
}

static void show_kv(struct buf *buf, const struct store_kv *kv)
{
	(void)buf_addf(buf, " %s=%s(%d,%d", kv->key, kv->value ? kv->value : "?",
		       (int)kv->create_revision, (int)kv->mod_revision);
	(void)buf_addf(buf, kv->lease ? ",%d)" : ")", (int)kv->lease);
}

static char *show_reply(const struct store_request *request, const struct store_reply *reply)
{
	static const char *const troubles[] = {
		[STORE_TROUBLE_NONE] = "",	     [STORE_TROUBLE_UNREACHABLE] = "unreachable",
		[STORE_TROUBLE_LEASE_GONE] = "gone", [STORE_TROUBLE_DENIED] = "denied",
		[STORE_TROUBLE_NOSPACE] = "nospace", [STORE_TROUBLE_OTHER] = "other",
	};
	struct buf buf = BUF_INIT(0);

	(void)buf_addf(&buf, "%d", (int)reply->revision);
	if (reply->outcome != STORE_DONE)
		(void)buf_addf(&buf, " %s", troubles[reply->trouble]);
	else if (request->kind == STORE_TXN)
		(void)buf_adds(&buf, reply->succeeded ? "+" : "-");
	else
		for (size_t i = 0; i < request->leases_len && request->kind != STORE_LEASE_REVOKE;
		     i++)
			(void)buf_addf(&buf, " ttl=%d", (int)reply->ttl_s[i]);
	for (size_t i = 0; i < reply->ranges_len; i++) {
		(void)buf_adds(&buf, " [");
		for (size_t j = 0; j < reply->ranges[i].len; j++)
			show_kv(&buf, &reply->ranges[i].items[j]);
		(void)buf_adds(&buf, " ]");
	}
	return buf_steal(&buf);
}

struct step {
	const char *request;
	const char *expected;
};

static void run(const struct step *steps, size_t len)
{
	struct memory_store *memory = memory_store_new();

	for (size_t i = 0; i < len; i++) {
		CLEAN(store_request) struct store_request *request =
			parse_request(steps[i].request);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		memory_store_execute(memory, request, &reply);
		CLEAN(str) char *shown = show_reply(request, &reply);

		if (!str_eq(shown, steps[i].expected))
			print_error("step %zu: %s\n", i, steps[i].request);
		assert_string_equal(shown, steps[i].expected);
	}
	memory_store_free(memory);
}

static void test_revisions(void **state)
{
	static const struct step steps[] = {
		{ "get /a", "1+ [ ]" },
		{ "put /a 1", "2+" },
		{ "put /a 2", "3+" },
		{ "put /b x, put /c y", "4+" },
		{ "getp /", "4+ [ /a=2(2,3) /b=x(4,4) /c=y(4,4) ]" },
		{ "del /nothing", "4+" },
		{ "del /b", "5+" },
		{ "getp /", "5+ [ /a=2(2,3) /c=y(4,4) ]" },
		{ "put /b z", "6+" },
		{ "get /b, get /c", "6+ [ /b=z(6,6) ] [ /c=y(4,4) ]" },
		{ "delp /", "7+" },
		{ "getp /", "7+ [ ]" },
		/* A transaction sees what it wrote itself. */
		{ "get /n, put /n 1, get /n", "8+ [ ] [ /n=1(8,8) ]" },
		{ "put /e, get /e", "9+ [ /e=(9,9) ]" },
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

static void test_compares(void **state)
{
	static const struct step steps[] = {
		{ "if mod /c 0, put /c 1, else, get /c", "2+" },
		{ "if mod /c 0, put /c 2, else, get /c", "2- [ /c=1(2,2) ]" },
		{ "if mod /c 2, put /c 2, else, get /c", "3+" },
		{ "if create /c 2, if mod /c 3, put /c 3", "4+" },
		{ "if create /c 2, if mod /c 3, put /c 4", "4-" },
		{ "if create /x 0, put /x 1, else, put /lost 1", "5+" },
		{ "if create /x 0, put /x 1, else, put /lost 1", "6-" },
		{ "grant 7 10", "6 ttl=10" },
		{ "put /l v 7", "7+" },
		{ "if lease /l 7, get /l", "7+ [ /l=v(7,7,7) ]" },
		{ "if lease /l 8, get /l", "7-" },
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

static void test_ranges(void **state)
{
	static const struct step steps[] = {
		{ "put /n/b 1, put /n/a 1", "2+" },
		{ "put /n/c 1", "3+" },
		{ "put /n/a 2", "4+" },
		{ "put /n0 no, put /m no", "5+" },
		{ "getp /n/", "5+ [ /n/a=2(2,4) /n/b=1(2,2) /n/c=1(3,3) ]" },
		{ "getp /n/ 2", "5+ [ /n/a=2(2,4) /n/b=1(2,2) ]" },
		{ "getpk /n/ 1", "5+ [ /n/a=?(2,4) ]" },
		{ "getp /n/ 0 3", "5+ [ /n/a=2(2,4) /n/c=1(3,3) ]" },
		{ "getp /n/ 0 0 2", "5+ [ /n/a=2(2,4) /n/b=1(2,2) ]" },
		{ "getp /n/ 1 3 3", "5+ [ /n/a=2(2,4) ]" },
		{ "getp /n/ 5 5", "5+ [ ]" },
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

static void test_leases(void **state)
{
	static const struct step steps[] = {
		{ "put /a 1 7", "1 gone" },
		{ "put /b 1, put /a 1 7", "1 gone" },
		{ "getp /", "1+ [ ]" },
		{ "if mod /z 5, put /a 1 7", "1-" },
		{ "grant 7 10", "1 ttl=10" },
		{ "grant 7 30", "1 ttl=10" },
		{ "grant 8 0", "1 ttl=2" },
		{ "grant 0 5", "1 other" },
		{ "put /a 1 7, put /b 1 7, put /c 1 8", "2+" },
		{ "put /b 2", "3+" }, /* without a lease: detached */
		{ "put /d 1 7", "4+" },
		{ "put /d 2 8", "5+" }, /* moved */
		{ "keep 7 8 9", "5 ttl=10 ttl=2 ttl=0" },
		{ "revoke 7", "6" },
		{ "revoke 7", "6 gone" },
		{ "getp /", "6+ [ /b=2(2,3) /c=1(2,2,8) /d=2(4,5,8) ]" },
		{ "grant 9 5", "6 ttl=5" },
		{ "revoke 9", "6" }, /* without keys: no revision */
		{ "revoke 8", "7" },
		{ "getp /", "7+ [ /b=2(2,3) ]" },
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

static void test_refusals(void **state)
{
	static const struct step steps[] = {
		{ "put /a 1, put /a 2", "1 other" },
		{ "put /a/x 1, delp /a/", "1 other" },
		{ "delp /a/, put /a/x 1", "1 other" },
		{ "del /a, put /a 1", "1 other" },
		{ "if mod /a 0, get /a, else, put /a 1, put /a 2", "1 other" },
		{ "put /a0 1, delp /a/", "2+" },
		{ "delp /a, del /a0", "3+" },
		{ "put", "3 other" },
		{ "get", "3 other" },
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

static void execute(struct memory_store *memory, const char *text)
{
	CLEAN(store_request) struct store_request *request = parse_request(text);
	CLEAN(store_reply) struct store_reply reply = { 0 };

	memory_store_execute(memory, request, &reply);
	assert_int_equal(reply.outcome, STORE_DONE);
	assert_int_equal(reply.cluster_id, 1);
}

static char *show_events(const struct memory_store *memory, int64_t after)
{
	const struct store_event *events;
	size_t len;
	struct buf buf = BUF_INIT(0);

	assert_int_equal(memory_store_events(memory, after, &events, &len), 0);
	for (size_t i = 0; i < len; i++)
		(void)buf_addf(&buf, "%s%s@%d ", events[i].deleted ? "!" : "", events[i].kv.key,
			       (int)events[i].kv.mod_revision);
	return buf_steal(&buf);
}

static void test_events(void **state)
{
	static const struct {
		int64_t after;
		const char *expected;
	} cases[] = {
		{ 0, "/a@2 /b@2 /c@3 !/c@4 /a@4 /a@5 /z@5 !/a@6 !/z@6 " },
		{ 1, "/a@2 /b@2 /c@3 !/c@4 /a@4 /a@5 /z@5 !/a@6 !/z@6 " },
		{ 3, "!/c@4 /a@4 /a@5 /z@5 !/a@6 !/z@6 " },
		{ 5, "!/a@6 !/z@6 " },
		{ 6, "" },
		{ 99, "" },
	};
	struct memory_store *memory = memory_store_new();

	(void)state;
	execute(memory, "put /a 1, put /b 1");
	execute(memory, "put /c 1");
	execute(memory, "delp /c, put /a 2, get /a");
	execute(memory, "grant 7 10");
	execute(memory, "put /a 3 7, put /z 1 7");
	assert_false(memory_store_expire(memory, 8));
	assert_true(memory_store_expire(memory, 7));
	assert_int_equal(memory_store_revision(memory), 6);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *shown = show_events(memory, cases[i].after);

		assert_string_equal(shown, cases[i].expected);
	}
	memory_store_free(memory);
}

static void test_history_is_bounded(void **state)
{
	struct memory_store *memory = memory_store_new();
	const struct store_event *events;
	size_t len;

	(void)state;
	for (int i = 0; i < 10001; i++)
		execute(memory, "put /a 1");
	assert_int_equal(memory_store_events(memory, 1, &events, &len), -ERANGE);
	assert_int_equal(memory_store_events(memory, 10002 - 5001, &events, &len), -ERANGE);
	assert_int_equal(memory_store_events(memory, 10002 - 5000, &events, &len), 0);
	assert_int_equal(len, 5000);
	assert_int_equal(events[0].kv.mod_revision, 10002 - 4999);
	memory_store_free(memory);
}

static void test_history_is_bounded_in_bytes(void **state)
{
	struct memory_store *memory = memory_store_new();
	const size_t size = (size_t)1 << 20;
	char *value = xcalloc(1, size);
	const struct store_event *events;
	size_t len;

	(void)state;
	for (int i = 0; i < 70; i++) {
		CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
		CLEAN(store_reply) struct store_reply reply = { 0 };

		store_ops_put(&request->success, "/big", value, size, 0);
		memory_store_execute(memory, request, &reply);
	}
	assert_int_equal(memory_store_events(memory, 1, &events, &len), -ERANGE);
	assert_int_equal(memory_store_events(memory, 65, &events, &len), 0);
	assert_int_equal(len, 6);
	free(value);
	memory_store_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_revisions),
		cmocka_unit_test(test_compares),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_leases),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_history_is_bounded),
		cmocka_unit_test(test_history_is_bounded_in_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
