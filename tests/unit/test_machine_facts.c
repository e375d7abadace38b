/* SPDX-License-Identifier: MIT */
/* Facts read below a root directory that the test makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/machine_facts.h"

#define BOOT "proc/sys/kernel/random/boot_id"
#define UUID "sys/class/dmi/id/product_uuid"
#define NAME "etc/hostname"
#define ID "12345678-9abc-def0-1234-56789abcdef0"
#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int make_root(void **state)
{
	char pattern[] = "/tmp/test_machine_facts.XXXXXX";
	const char *root = mkdtemp(pattern);

	*state = xstrdup(root);
	return *state ? 0 : -1;
}

static int remove_root(void **state)
{
	CLEAN(str) char *root = *state;

	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Makes the folders on the way, too. */
static char *path_below(const char *root, const char *path)
{
	char *full = xasprintf("%s/%s", root, path);

	for (char *slash = full + strlen(root) + 1; *slash; slash++) {
		if (*slash != '/')
			continue;
		*slash = '\0';
		(void)mkdir(full, 0755);
		*slash = '/';
	}
	return full;
}

static void put(const char *root, const char *path, const char *text, size_t len)
{
	CLEAN(str) char *full = path_below(root, path);
	FILE *file = fopen(full, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void texts_are_checked(void **state)
{
	static const struct {
		const char *path, *text, *expected;
	} cases[] = {
		{ BOOT, ID "\n", ID },
		{ BOOT, "12345678-9ABC-DEF0-1234-56789ABCDEF0", ID },
		{ BOOT, "12345678-9abc-def0-1234-56789abcdef", "" },
		{ BOOT, ID "0\n", "" },
		{ BOOT, "12345678-9abc-def0-1234-56789abcdeg0\n", "" },
		{ BOOT, "12345678-9abc-def0-1234_56789abcdef0\n", "" },
		{ BOOT, "", "" },
		{ UUID, " 12345678-9ABC-DEF0-1234-56789ABCDEF0 \n", ID },
		{ UUID, "Not Settable\n", "" },
		{ UUID, "00000000-0000-0000-0000-000000000000\n", "" },
		{ UUID, "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n", "" },
		{ UUID, ID "\n" ID "\n", "" },
		{ NAME, "  Box-1.example.org\n", "Box-1.example.org" },
		{ NAME, A64 "\n", A64 },
		{ NAME, A64 "a\n", "" },
		{ NAME, "two words\n", "" },
		{ NAME, "a\nb\n", "" },
		{ NAME, "\x1b[31m\n", "" },
		{ NAME, "\n", "" },
	};
	const char *root = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct machine_facts facts;

		put(root, cases[i].path, cases[i].text, strlen(cases[i].text));
		machine_facts_read(root, &facts);
		const char *got = str_eq(cases[i].path, BOOT) ? facts.boot_id :
				  str_eq(cases[i].path, UUID) ? facts.product_uuid :
								facts.hostname;

		assert_string_equal(got, cases[i].expected);
	}
}

static void long_and_binary_files_are_malformed(void **state)
{
	const char *root = *state;
	CLEAN(str) char *blanks = xmalloc(100000);
	struct machine_facts facts;

	memset(blanks, ' ', 100000);
	memcpy(blanks, ID, 36);
	put(root, UUID, blanks, 100000);
	put(root, NAME, "a\0b", 3);
	machine_facts_read(root, &facts);
	assert_string_equal(facts.product_uuid, "");
	assert_string_equal(facts.hostname, "");
}

static void odd_things_in_place_of_files_do_not_hang(void **state)
{
	const char *root = *state;
	CLEAN(str) char *uuid = path_below(root, UUID);
	CLEAN(str) char *name = path_below(root, NAME);
	struct machine_facts facts;

	assert_int_equal(mkfifo(uuid, 0600), 0);
	assert_int_equal(mkdir(name, 0700), 0);
	machine_facts_read(root, &facts);
	assert_string_equal(facts.product_uuid, "");
	assert_string_equal(facts.hostname, "");
}

/*
 * The boot id alone falls back to the real one; the host's name and uuid would tell
 * on another machine.
 */
static void an_empty_root(void **state)
{
	struct machine_facts real;
	struct machine_facts facts;
	struct stat st;
	char netns[48];

	machine_facts_read("/", &real);
	machine_facts_read(*state, &facts);
	assert_int_equal(strlen(real.boot_id), 36);
	assert_string_equal(facts.boot_id, real.boot_id);
	assert_string_equal(facts.product_uuid, "");
	assert_string_equal(facts.hostname, "");
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	(void)snprintf(netns, sizeof(netns), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	assert_string_equal(facts.netns, netns);
	assert_string_equal(real.netns, netns);
	assert_true(facts.processors >= 1);
}

static void the_real_root_gives_the_host_s_name(void **state)
{
	struct machine_facts facts;
	char name[65] = "";

	(void)state;
	assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
	machine_facts_read("/", &facts);
	assert_string_equal(facts.hostname, name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(texts_are_checked, make_root, remove_root),
		cmocka_unit_test_setup_teardown(long_and_binary_files_are_malformed, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(odd_things_in_place_of_files_do_not_hang, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(an_empty_root, make_root, remove_root),
		cmocka_unit_test(the_real_root_gives_the_host_s_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
