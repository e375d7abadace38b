/* SPDX-License-Identifier: MIT */
/* Who a node is, and when two registrations were written on one host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/identity.h"
#include "cmsnode/identity/machine_facts.h"

#define A62 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A63 A62 "a"

static void ids_are_validated(void **state)
{
	static const struct {
		const char *id;
		int result;
		const char *after;
	} cases[] = {
		{ "i-0a1b", 0, "i-0a1b" },
		{ "Host.Example-1", 0, "host.example-1" },
		{ "7", 0, "7" },
		{ A63, 0, A63 },
		{ A63 "a", -EINVAL, NULL },
		{ "", -EINVAL, NULL },
		{ "-a", -EINVAL, NULL },
		{ ".a", -EINVAL, NULL },
		{ "a_b", -EINVAL, NULL },
		{ "a/b", -EINVAL, NULL },
		{ "a b", -EINVAL, NULL },
		{ "a\n", -EINVAL, NULL },
		{ "caf\xc3\xa9", -EINVAL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *id = xstrdup(cases[i].id);
		struct err err = { 0 };

		assert_int_equal(identity_validate(id, &err), cases[i].result);
		assert_int_equal(err.code, cases[i].result);
		if (cases[i].result == 0)
			assert_string_equal(id, cases[i].after);
		assert_int_equal(identity_validate(id, NULL), cases[i].result);
	}
}

static void sources_in_their_order(void **state)
{
	static const uint8_t random[8] = { 0x00, 0x1a, 0xff, 3, 4, 5, 6, 7 };
	static const struct {
		const char *option, *instance, *saved;
		int result;
		const char *id, *base;
		enum identity_source source;
		bool must_save;
	} cases[] = {
		{ "Box", NULL, "saved", 0, "box", "box", IDENTITY_OPTION, false },
		{ "box", "Two", "saved", 0, "box.two", "box", IDENTITY_OPTION, false },
		{ NULL, NULL, "saved", 0, "saved", "saved", IDENTITY_STATE_FILE, false },
		{ NULL, "b", "saved", 0, "saved.b", "saved", IDENTITY_STATE_FILE, false },
		{ NULL, NULL, NULL, 0, "n-001aff0304050607", "n-001aff0304050607", IDENTITY_RANDOM,
		  true },
		{ NULL, "b", NULL, 0, "n-001aff0304050607.b", "n-001aff0304050607", IDENTITY_RANDOM,
		  true },
		{ A63, NULL, NULL, 0, A63, A63, IDENTITY_OPTION, false },
		{ A62, "b", NULL, ERR_USAGE, NULL, NULL, IDENTITY_OPTION, false },
		{ "a_b", NULL, "saved", ERR_USAGE, NULL, NULL, IDENTITY_OPTION, false },
		{ "", NULL, "saved", ERR_USAGE, NULL, NULL, IDENTITY_OPTION, false },
		{ NULL, "b!", "saved", ERR_USAGE, NULL, NULL, IDENTITY_OPTION, false },
		{ NULL, NULL, "sa ved", ERR_USAGE, NULL, NULL, IDENTITY_OPTION, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct identity identity = { .id = "untouched" };
		struct err err = { 0 };

		assert_int_equal(identity_decide(cases[i].option, cases[i].instance, cases[i].saved,
						 random, &identity, &err),
				 cases[i].result);
		assert_string_equal(identity.id, cases[i].result ? "untouched" : cases[i].id);
		if (cases[i].result) {
			assert_true(err.msg[0] != '\0');
			continue;
		}
		assert_string_equal(identity.base, cases[i].base);
		assert_int_equal(identity.source, cases[i].source);
		assert_int_equal(identity.must_save, cases[i].must_save);
	}
}

static void messages_name_what_is_wrong(void **state)
{
	static const uint8_t random[8] = { 0 };
	struct identity identity;
	struct err err = { 0 };

	(void)state;
	(void)identity_decide("a_b", NULL, NULL, random, &identity, &err);
	assert_string_equal(err.msg, "node id: 'a_b' may hold only letters, digits, '.' and '-'");
	(void)identity_decide("a", "", NULL, random, &identity, &err);
	assert_string_equal(err.msg, "instance: '' must begin with a letter or a digit");
}

static void sources_have_names(void **state)
{
	(void)state;
	assert_string_equal(identity_source_name(IDENTITY_OPTION), "option");
	assert_string_equal(identity_source_name(IDENTITY_STATE_FILE), "state-file");
	assert_string_equal(identity_source_name(IDENTITY_RANDOM), "random");
}

static void same_host(void **state)
{
	static const struct {
		const char *a[3], *b[3];
		bool same;
	} cases[] = {
		{ { "boot", "4:1", "uuid" }, { "boot", "4:1", "uuid" }, true },
		{ { "boot", "4:1", "" }, { "boot", "4:1", "uuid" }, true },
		{ { "boot", "4:1", NULL }, { "boot", "4:1", "" }, true },
		{ { "boot", "4:1", "uuid" }, { "boot", "4:1", "other" }, false },
		{ { "boot", "4:1", "uuid" }, { "boot", "4:2", "uuid" }, false },
		{ { "boot", "4:1", "uuid" }, { "boot2", "4:1", "uuid" }, false },
		{ { "", "4:1", "uuid" }, { "boot", "4:1", "uuid" }, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *const *a = cases[i].a;
		const char *const *b = cases[i].b;

		assert_int_equal(machine_facts_same_host(a[0], a[1], a[2], b[0], b[1], b[2]),
				 cases[i].same);
		assert_int_equal(machine_facts_same_host(b[0], b[1], b[2], a[0], a[1], a[2]),
				 cases[i].same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_validated),
		cmocka_unit_test(sources_in_their_order),
		cmocka_unit_test(messages_name_what_is_wrong),
		cmocka_unit_test(sources_have_names),
		cmocka_unit_test(same_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
