/* SPDX-License-Identifier: MIT */
/* Who a node is, and when two registrations were written on one host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/identity.h"
#include "cmsnode/identity/machine_facts.h"
#include "cmsnode/network/interfaces.h"

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

static void sources_have_names(void **state)
{
	(void)state;
	assert_string_equal(identity_source_name(IDENTITY_OPTION), "option");
	assert_string_equal(identity_source_name(IDENTITY_STATE_FILE), "state-file");
	assert_string_equal(identity_source_name(IDENTITY_EC2), "ec2");
	assert_string_equal(identity_source_name(IDENTITY_MACHINE_ID), "machine-id");
	assert_string_equal(identity_source_name(IDENTITY_RANDOM), "random");
}

/* ---- the decision table, complete over its inputs ------------------------- */

#define UUID_A "aaaaaaaa-0000-4000-8000-00000000000a"
#define UUID_B "bbbbbbbb-0000-4000-8000-00000000000b"
#define MAC_1 "02:00:00:00:00:01"
#define MAC_2 "02:00:00:00:00:02"
#define MAC_3 "02:00:00:00:00:03"
#define MACHINE_ID "0123456789abcdef0123456789abcdef"
/* printf %s MACHINE_ID | openssl dgst -sha256 -hmac 'cmsnoded node id, version 1' */
#define MACHINE_NODE "m-c9ade8ee6d57581c"
#define RANDOM_NODE "n-001aff0304050607"

static const uint8_t random_bytes[8] = { 0x00, 0x1a, 0xff, 3, 4, 5, 6, 7 };

/* What the file says of the uuid, what the machine says now. */
static const struct {
	const char *saved, *present;
} uuids[] = {
	{ "", "" }, { "", UUID_A }, { UUID_A, "" }, { UUID_A, UUID_A }, { UUID_A, UUID_B },
};

/* The same of the permanent MACs; separated by commas. */
static const struct {
	const char *saved, *present;
} macs[] = {
	{ "", "" },
	{ "", MAC_1 },
	{ MAC_1, "" },
	{ MAC_1 "," MAC_2, MAC_2 }, /* one is away */
	{ MAC_1, MAC_1 "," MAC_2 }, /* one is new */
	{ MAC_1 "," MAC_2, MAC_3 }, /* none in common */
};

enum outcome { KEEP, SAVE, CLONE }; /* kept; kept and written anew; not used */

/* [uuids][macs] */
static const enum outcome outcomes[ARRAY_LEN(uuids)][ARRAY_LEN(macs)] = {
	{ KEEP, SAVE, KEEP, KEEP, SAVE, CLONE }, /* no uuid at all: the MACs decide */
	{ SAVE, SAVE, SAVE, SAVE, SAVE, CLONE }, /* read for the first time: as well */
	{ KEEP, SAVE, KEEP, KEEP, SAVE, CLONE }, /* not readable this time: as well */
	{ KEEP, SAVE, KEEP, KEEP, SAVE, SAVE }, /* the same: all cards were replaced */
	{ CLONE, CLONE, CLONE, CLONE, CLONE, CLONE } /* another: whatever the MACs say */
};

/* Where a new id is from: [cloned][EC2 id known][machine-id usable] */
static const enum identity_source new_sources[2][2][2] = {
	{ { IDENTITY_RANDOM, IDENTITY_MACHINE_ID }, { IDENTITY_EC2, IDENTITY_EC2 } },
	{ { IDENTITY_RANDOM, IDENTITY_RANDOM }, { IDENTITY_EC2, IDENTITY_EC2 } },
};

static const char *const ids[] = {
	[IDENTITY_OPTION] = "given",
	[IDENTITY_STATE_FILE] = "kept",
	[IDENTITY_EC2] = "i-0a1b2c3d4e5f60718",
	[IDENTITY_MACHINE_ID] = MACHINE_NODE,
	[IDENTITY_RANDOM] = RANDOM_NODE,
};

/* One cell. outcome NULL: there is no state file. */
static void check_cell(struct identity_question *question, const enum outcome *outcome)
{
	const bool cloned = outcome && *outcome == CLONE;
	enum identity_source source =
		new_sources[cloned][question->ec2_instance != NULL][question->machine_id != NULL];
	bool must_save = true;
	struct identity identity;

	if (outcome && !cloned) {
		source = IDENTITY_STATE_FILE;
		must_save = *outcome == SAVE;
	}
	assert_int_equal(identity_is_settled(question), source == IDENTITY_STATE_FILE);
	assert_int_equal(identity_choose(question, &identity, NULL), 0);
	assert_int_equal(identity.source, source);
	assert_string_equal(identity.base, ids[source]);
	assert_string_equal(identity.id, ids[source]);
	assert_int_equal(identity.must_save, must_save);
	assert_int_equal(identity.cloned, cloned);
	assert_int_equal(str_starts(identity.reason, "the disk was cloned: "), cloned);

	/* The option wins over all of it and leaves the file alone. */
	question->option = "Given";
	assert_true(identity_is_settled(question));
	assert_int_equal(identity_choose(question, &identity, NULL), 0);
	assert_int_equal(identity.source, IDENTITY_OPTION);
	assert_string_equal(identity.id, "given");
	assert_false(identity.must_save);
	assert_false(identity.cloned);
	question->option = NULL;
}

static void the_decision_table_is_complete(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(uuids) * ARRAY_LEN(macs) * 4; i++) {
		const size_t uuid = i / 4 / ARRAY_LEN(macs);
		const size_t mac = i / 4 % ARRAY_LEN(macs);
		CLEAN(str_list) struct str_list present = { 0 };
		CLEAN(identity_record) struct identity_record saved = { .id = "kept",
									.source = IDENTITY_RANDOM };
		struct identity_question question = {
			.saved = &saved,
			.product_uuid = uuids[uuid].present,
			.macs = &present,
			.ec2_instance = i & 1 ? "i-0a1b2c3d4e5f60718" : NULL,
			.machine_id = i & 2 ? MACHINE_ID : NULL,
		};

		memcpy(question.random, random_bytes, sizeof(random_bytes));
		(void)snprintf(saved.product_uuid, sizeof(saved.product_uuid), "%s",
			       uuids[uuid].saved);
		str_list_split(&saved.macs, macs[mac].saved, ',');
		str_list_split(&present, macs[mac].present, ',');
		check_cell(&question, &outcomes[uuid][mac]);
		/* "No file" is a record without id, or no record. */
		saved.id[0] = '\0';
		check_cell(&question, NULL);
		question.saved = NULL;
		check_cell(&question, NULL);
	}
}

static void facts_that_are_null_are_as_empty_ones(void **state)
{
	struct identity_record saved = { .id = "kept",
					 .source = IDENTITY_EC2,
					 .product_uuid = UUID_A };
	const struct identity_question question = { .saved = &saved };
	struct identity identity;

	(void)state;
	assert_int_equal(identity_choose(&question, &identity, NULL), 0);
	assert_string_equal(identity.id, "kept");
	assert_false(identity.must_save);
}

/* A new type of instance shows the same uuid in another byte order; the instance id is stronger. */
static void the_same_ec2_instance_is_no_clone(void **state)
{
	struct identity_record saved = { .id = "i-0a1b2c3d4e5f60718", .product_uuid = UUID_A };
	const struct identity_question question = { .saved = &saved,
						    .product_uuid = UUID_B,
						    .ec2_instance = "i-0a1b2c3d4e5f60718",
						    .ec2_why = "from DMI" };
	struct identity identity;

	(void)state;
	assert_false(identity_is_settled(&question));
	assert_int_equal(identity_choose(&question, &identity, NULL), 0);
	assert_string_equal(identity.id, "i-0a1b2c3d4e5f60718");
	assert_int_equal(identity.source, IDENTITY_EC2);
	assert_true(identity.must_save);
	assert_false(identity.cloned);
	assert_string_equal(identity.reason, "EC2 instance id, from DMI");
}

static void instances_and_bad_names(void **state)
{
	static const struct {
		const char *option, *instance, *saved, *ec2;
		int result;
		const char *text; /* the id, or the message */
	} cases[] = {
		{ "Box", "Two", NULL, NULL, 0, "box.two" },
		{ NULL, "b", "saved", NULL, 0, "saved.b" },
		{ NULL, "b", NULL, "i-0123abcd", 0, "i-0123abcd.b" },
		{ NULL, "b", NULL, NULL, 0, RANDOM_NODE ".b" },
		{ A63, NULL, NULL, NULL, 0, A63 },
		{ A62, "b", NULL, NULL, ERR_USAGE, "is longer than 63 characters: choose" },
		{ "a_b", NULL, "saved", NULL, ERR_USAGE, "node id: 'a_b' may hold only" },
		{ "", NULL, "saved", NULL, ERR_USAGE, "node id: '' must begin" },
		{ NULL, "b!", "saved", NULL, ERR_USAGE, "instance: 'b!' may hold only" },
		{ NULL, "", "saved", NULL, ERR_USAGE, "instance: '' must begin" },
		{ NULL, NULL, "sa ved", NULL, ERR_USAGE, "saved node id: 'sa ved' may" },
		{ NULL, NULL, NULL, "i-/", ERR_USAGE, "EC2 instance id: 'i-/' may" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct identity_record saved = { .source = IDENTITY_RANDOM };
		struct identity_question question = { .option = cases[i].option,
						      .instance = cases[i].instance,
						      .saved = &saved,
						      .ec2_instance = cases[i].ec2 };
		struct identity identity = { .id = "untouched" };
		struct err err = { 0 };

		memcpy(question.random, random_bytes, sizeof(random_bytes));
		if (cases[i].saved)
			(void)snprintf(saved.id, sizeof(saved.id), "%s", cases[i].saved);
		assert_int_equal(identity_choose(&question, &identity, &err), cases[i].result);
		if (cases[i].result == 0) {
			assert_string_equal(identity.id, cases[i].text);
			continue;
		}
		assert_string_equal(identity.id, "untouched");
		assert_non_null(strstr(err.msg, cases[i].text));
		assert_int_equal(identity_choose(&question, &identity, NULL), cases[i].result);
	}
}

static void reasons_are_for_people(void **state)
{
	static const struct {
		const char *option, *saved_id, *saved_uuid, *uuid, *saved_macs, *macs, *ec2,
			*ec2_why, *machine_id, *machine_id_why, *reason;
	} cases[] = {
		{ .option = "box", .reason = "given with --node-id" },
		{ .saved_id = "n-1",
		  .saved_uuid = UUID_A,
		  .uuid = UUID_A,
		  .reason = "kept in the state directory (at first from source 'random'); "
			    "product uuid as before" },
		{ .saved_id = "n-1",
		  .saved_macs = MAC_1,
		  .macs = MAC_1,
		  .reason = "kept in the state directory (at first from source 'random'); "
			    "a permanent MAC as before" },
		{ .saved_id = "n-1",
		  .reason = "kept in the state directory (at first from source 'random'); "
			    "no fact about the machine could be compared" },
		{ .ec2 = "i-0123abcd",
		  .ec2_why = "from the board asset tag in DMI",
		  .reason = "EC2 instance id, from the board asset tag in DMI" },
		{ .machine_id = MACHINE_ID,
		  .ec2_why = "DMI says 'QEMU'",
		  .reason = "derived from /etc/machine-id and kept from now on" },
		{ .ec2_why = "DMI says 'QEMU'",
		  .machine_id_why = "there is none",
		  .reason = "made at random and kept from now on; no EC2 instance id: "
			    "DMI says 'QEMU'; no machine-id: there is none" },
		{ .saved_id = "n-1",
		  .saved_uuid = UUID_A,
		  .uuid = UUID_B,
		  .ec2 = "i-0123abcd",
		  .ec2_why = "from DMI",
		  .reason = "the disk was cloned: product uuid was " UUID_A ", is " UUID_B
			    "; a new id was taken instead of 'n-1' (is it the same node after a "
			    "repair: --node-id n-1): EC2 instance id, from DMI" },
		{ .saved_id = "n-1",
		  .saved_macs = MAC_1 "," MAC_2,
		  .macs = MAC_3,
		  .machine_id = MACHINE_ID,
		  .reason = "the disk was cloned: permanent MACs were " MAC_1 ", ..., are " MAC_3
			    "; a new id was taken instead of 'n-1' (is it the same node after a "
			    "repair: --node-id n-1): made at random and kept from now on; no EC2 "
			    "instance id: not looked for; no machine-id: cloned with the disk" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str_list) struct str_list present = { 0 };
		CLEAN(identity_record) struct identity_record saved = { .source = IDENTITY_RANDOM };
		const struct identity_question question = {
			.option = cases[i].option,
			.saved = &saved,
			.product_uuid = cases[i].uuid,
			.macs = &present,
			.ec2_instance = cases[i].ec2,
			.ec2_why = cases[i].ec2_why,
			.machine_id = cases[i].machine_id,
			.machine_id_why = cases[i].machine_id_why,
		};
		struct identity identity;

		(void)snprintf(saved.id, sizeof(saved.id), "%s",
			       cases[i].saved_id ? cases[i].saved_id : "");
		(void)snprintf(saved.product_uuid, sizeof(saved.product_uuid), "%s",
			       cases[i].saved_uuid ? cases[i].saved_uuid : "");
		str_list_split(&saved.macs, cases[i].saved_macs ? cases[i].saved_macs : "", ',');
		str_list_split(&present, cases[i].macs ? cases[i].macs : "", ',');
		assert_int_equal(identity_choose(&question, &identity, NULL), 0);
		assert_string_equal(identity.reason, cases[i].reason);
	}
}

/* The longest texts that can come: the reason is cut, the id is not. */
static void long_reasons_are_cut(void **state)
{
	CLEAN(str) char *why = xmalloc(2001);
	struct identity_record saved = { .product_uuid = UUID_A };
	const struct identity_question question = { .saved = &saved,
						    .product_uuid = UUID_B,
						    .ec2_why = why };
	struct identity identity;

	(void)state;
	memset(why, 'w', 2000);
	why[2000] = '\0';
	memcpy(saved.id, A63, sizeof(A63));
	assert_int_equal(identity_choose(&question, &identity, NULL), 0);
	assert_int_equal(strlen(identity.reason), sizeof(identity.reason) - 1);
	assert_string_equal(identity.id, "n-0000000000000000");
}

/* ---- what is kept ----------------------------------------------------------- */

static void records_are_bound_to_what_is_known(void **state)
{
	static const struct {
		bool kept;
		const char *saved_uuid, *uuid, *saved_macs, *macs;
		const char *expected_uuid, *expected_macs;
	} cases[] = {
		{ true, "", UUID_A, "", MAC_1, UUID_A, MAC_1 },
		{ true, UUID_A, "", MAC_1, "", UUID_A, MAC_1 },
		{ true, UUID_A, UUID_A, MAC_1, MAC_2, UUID_A, MAC_2 },
		{ true, UUID_A, UUID_A, MAC_1, MAC_1 "," MAC_2, UUID_A, MAC_1 "," MAC_2 },
		/* Of a clone's file nothing is taken over. */
		{ false, UUID_A, UUID_B, MAC_1, "", UUID_B, "" },
		{ false, UUID_A, "", MAC_1, MAC_2, "", MAC_2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str_list) struct str_list present = { 0 };
		CLEAN(identity_record) struct identity_record record = { 0 };
		CLEAN(identity_record) struct identity_record saved = {
			.id = "kept", .source = IDENTITY_MACHINE_ID, .created_at = 5
		};
		const struct identity_question question = { .saved = &saved,
							    .product_uuid = cases[i].uuid,
							    .macs = &present };
		struct identity identity;

		(void)snprintf(saved.product_uuid, sizeof(saved.product_uuid), "%s",
			       cases[i].saved_uuid);
		str_list_split(&saved.macs, cases[i].saved_macs, ',');
		str_list_split(&present, cases[i].macs, ',');
		assert_int_equal(identity_choose(&question, &identity, NULL), 0);
		assert_int_equal(identity.cloned, !cases[i].kept);
		identity_record_make(&question, &identity, &record);
		CLEAN(str) char *joined = str_list_join(&record.macs, ",");

		assert_string_equal(record.id, identity.base);
		assert_int_equal(record.source,
				 cases[i].kept ? IDENTITY_MACHINE_ID : IDENTITY_RANDOM);
		assert_true(record.created_at == (cases[i].kept ? 5 : 0));
		assert_string_equal(record.product_uuid, cases[i].expected_uuid);
		assert_string_equal(joined, cases[i].expected_macs);
	}
}

/* A host with hundreds of virtual functions: what does not fit is no news at each start. */
static void very_many_macs_have_a_ceiling(void **state)
{
	CLEAN(str_list) struct str_list present = { 0 };
	CLEAN(identity_record) struct identity_record saved = { .id = "kept" };
	CLEAN(identity_record) struct identity_record record = { 0 };
	struct identity_question question = { .saved = &saved, .macs = &present };
	struct identity identity;

	(void)state;
	for (int i = 0; i < 300; i++)
		str_list_take(&present, xasprintf("02:00:00:00:%02x:%02x", i / 256, i % 256));
	assert_int_equal(identity_choose(&question, &identity, NULL), 0);
	assert_true(identity.must_save);
	identity_record_make(&question, &identity, &record);
	assert_int_equal(record.macs.len, IDENTITY_MACS_MAX);
	question.saved = &record;
	assert_int_equal(identity_choose(&question, &identity, NULL), 0);
	assert_false(identity.must_save);
}

/* ---- facts about machines ------------------------------------------------ */

static void permanent_macs_of_a_snapshot(void **state)
{
	struct interface_link links[] = {
		{ .name = "lo", .mac_len = 6, .mac_permanent = true },
		{ .name = "eth1",
		  .mac = { 2, 0, 0, 0, 0, 0xb },
		  .mac_len = 6,
		  .mac_permanent = true },
		{ .name = "docker0", .mac = { 2, 0x42, 1, 2, 3, 4 }, .mac_len = 6 },
		{ .name = "eth0",
		  .mac = { 2, 0, 0, 0, 0, 0xA },
		  .mac_len = 6,
		  .mac_permanent = true },
		{ .name = "port",
		  .mac = { 2, 0, 0, 0, 0, 0xA },
		  .mac_len = 6,
		  .mac_permanent = true },
		{ .name = "ib0",
		  .mac = { 0, 2, 0xc9, 3, 0, 4, 5, 6 },
		  .mac_len = 8,
		  .mac_permanent = true },
		{ .name = "tun0", .mac_permanent = true },
		{ .name = "sit0", .mac = { 10, 0, 0, 1 }, .mac_len = 4, .mac_permanent = true },
	};
	const struct interfaces interfaces = { .links = links, .links_len = ARRAY_LEN(links) };
	CLEAN(str_list) struct str_list list = { 0 };

	(void)state;
	str_list_add(&list, "of before");
	machine_facts_macs(&interfaces, &list);
	CLEAN(str) char *joined = str_list_join(&list, " ");

	assert_string_equal(joined, "00:02:c9:03:00:04:05:06 02:00:00:00:00:0a 02:00:00:00:00:0b");
	for (size_t i = 0; i < list.len; i++)
		assert_true(machine_facts_is_mac(list.items[i]));
	assert_false(machine_facts_is_mac(""));
	assert_false(machine_facts_is_mac("02:00:00:00:00:0A"));
	assert_false(machine_facts_is_mac("02:00:00:00:00:0a:"));
	assert_false(machine_facts_is_mac("02-00-00-00-00-0a"));
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

		assert_int_equal(machine_facts_same_host_macs(a[0], a[1], a[2], NULL, b[0], b[1],
							      b[2], NULL),
				 cases[i].same);
		assert_int_equal(machine_facts_same_host_macs(b[0], b[1], b[2], NULL, a[0], a[1],
							      a[2], NULL),
				 cases[i].same);
	}
}

static void same_host_by_macs(void **state)
{
	static const struct {
		const char *boot_b, *uuid_a, *uuid_b, *macs_a, *macs_b;
		bool same;
	} cases[] = {
		{ "boot", "uuid", "uuid", MAC_1, MAC_2, true }, /* the uuid decides */
		{ "boot", "uuid", "other", MAC_1, MAC_1, false },
		{ "boot", "", "uuid", MAC_1, MAC_2, false },
		{ "boot", "", "", MAC_1, MAC_2, false },
		{ "boot", "", "uuid", MAC_1 "," MAC_2, MAC_2 "," MAC_3, true },
		{ "boot", "", "", "", MAC_2, true },
		{ "boot", "", "", "", "", true },
		{ "else", "uuid", "uuid", MAC_1, MAC_1, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str_list) struct str_list a = { 0 };
		CLEAN(str_list) struct str_list b = { 0 };

		str_list_split(&a, cases[i].macs_a, ',');
		str_list_split(&b, cases[i].macs_b, ',');
		assert_int_equal(machine_facts_same_host_macs("boot", "4:1", cases[i].uuid_a, &a,
							      cases[i].boot_b, "4:1",
							      cases[i].uuid_b, &b),
				 cases[i].same);
		assert_int_equal(machine_facts_same_host_macs(cases[i].boot_b, "4:1",
							      cases[i].uuid_b, &b, "boot", "4:1",
							      cases[i].uuid_a, &a),
				 cases[i].same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_validated),
		cmocka_unit_test(sources_have_names),
		cmocka_unit_test(the_decision_table_is_complete),
		cmocka_unit_test(facts_that_are_null_are_as_empty_ones),
		cmocka_unit_test(the_same_ec2_instance_is_no_clone),
		cmocka_unit_test(instances_and_bad_names),
		cmocka_unit_test(reasons_are_for_people),
		cmocka_unit_test(long_reasons_are_cut),
		cmocka_unit_test(records_are_bound_to_what_is_known),
		cmocka_unit_test(very_many_macs_have_a_ceiling),
		cmocka_unit_test(permanent_macs_of_a_snapshot),
		cmocka_unit_test(same_host),
		cmocka_unit_test(same_host_by_macs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
