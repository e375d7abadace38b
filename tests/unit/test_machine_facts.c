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

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/machine_facts.h"

#define BOOT "proc/sys/kernel/random/boot_id"
#define UUID "sys/class/dmi/id/product_uuid"
#define NAME "etc/hostname"
#define VENDOR "sys/class/dmi/id/sys_vendor"
#define TAG "sys/class/dmi/id/board_asset_tag"
#define MACHINE "etc/machine-id"
#define MACHINE_ID "0123456789abcdef0123456789abcdef"
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

static const char *fact_of(const struct machine_facts *facts, const char *path)
{
	const struct {
		const char *path, *fact;
	} all[] = {
		{ BOOT, facts->boot_id },	 { UUID, facts->product_uuid },
		{ NAME, facts->hostname },	 { VENDOR, facts->sys_vendor },
		{ TAG, facts->board_asset_tag }, { MACHINE, facts->machine_id },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].path, path) == 0)
			return all[i].fact;
	return NULL;
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
		{ VENDOR, "Amazon EC2\n", "Amazon EC2" },
		{ VENDOR, A64 "\n", A64 },
		{ VENDOR, A64 "a\n", "" },
		{ VENDOR, "a\x1b[31m\n", "" },
		{ VENDOR, "\xff\n", "" },
		{ TAG, "i-0a1b2c3d4e5f60718\n", "i-0a1b2c3d4e5f60718" },
		{ TAG, "\n", "" },
		{ MACHINE, MACHINE_ID "\n", MACHINE_ID },
		{ MACHINE, "0123456789ABCDEF0123456789ABCDEF", MACHINE_ID },
		{ MACHINE, "", "" },
		{ MACHINE, "uninitialized\n", "" },
		{ MACHINE, MACHINE_ID "0\n", "" },
		{ MACHINE, "0123456789abcdef0123456789abcdeg\n", "" },
		{ MACHINE, "00000000000000000000000000000000\n", "" },
		{ MACHINE, "ffffffffffffffffffffffffffffffff\n", "" },
	};
	const char *root = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct machine_facts facts;

		put(root, cases[i].path, cases[i].text, strlen(cases[i].text));
		machine_facts_read(root, &facts);
		assert_string_equal(fact_of(&facts, cases[i].path), cases[i].expected);
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

/* ---- whose machine-id is it? ----------------------------------------------- */

#define MOUNTS "proc/self/mountinfo"
#define ENVIRON "proc/1/environ"
#define DISK "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
#define OVERLAY "25 1 0:40 / / rw,relatime - overlay overlay rw,lowerdir=/l\n"
#define HANDED_IN "99 25 8:1 /etc/machine-id /etc/machine-id ro - ext4 /dev/sda1 rw\n"
#define TEXT(s) s, sizeof(s) - 1

static void containers_have_the_host_s_only_if_it_is_handed_in(void **state)
{
	static const struct {
		const char *mark; /* a file that shows a container, NULL = none */
		const char *content;
		size_t len;
		const char *mounts; /* NULL = unreadable */
		bool usable;
	} cases[] = {
		{ NULL, TEXT(""), NULL, true },
		{ NULL, TEXT(""), DISK, true },
		{ NULL, TEXT(""), OVERLAY, false },
		{ NULL, TEXT(""), OVERLAY HANDED_IN, true },
		{ NULL, TEXT(""), "25 1 0:40 / / rw - fuse.fuse-overlayfs x rw\n", false },
		/* An overlay elsewhere: a host that runs containers. */
		{ NULL, TEXT(""), DISK "30 25 0:40 / /var/lib/x rw - overlay overlay rw\n", true },
		{ ".dockerenv", TEXT(""), NULL, false },
		{ ".dockerenv", TEXT(""), DISK, false },
		{ ".dockerenv", TEXT(""), DISK HANDED_IN, true },
		/* /etc as a whole, or something else below it, is not the machine-id. */
		{ ".dockerenv", TEXT(""), DISK "98 25 8:1 /e /etc rw - ext4 /dev/sda1 rw\n",
		  false },
		{ ".dockerenv", TEXT(""),
		  DISK "98 25 8:1 /etc/machine-id /etc/machine-id.d rw - ext4 x rw\n", false },
		{ "run/.containerenv", TEXT("engine=podman\n"), DISK, false },
		{ "run/.containerenv", TEXT("engine=podman\n"), HANDED_IN DISK, true },
		{ "run/systemd/container", TEXT("lxc\n"), DISK, false },
		{ ENVIRON, TEXT("PATH=/bin\0container=lxc\0HOME=/\0"), DISK, false },
		{ ENVIRON, TEXT("container=lxc"), DISK, false },
		{ ENVIRON, TEXT("PATH=/bin\0my_container=no\0x=container=\0"), DISK, true },
		{ ENVIRON, TEXT(""), DISK, true },
		/* What is not mountinfo is no mount. */
		{ ".dockerenv", TEXT(""), "/etc/machine-id\n\n \na b c d /etc/machine-id\n",
		  false },
	};
	const char *root = *state;

	put(root, MACHINE, MACHINE_ID "\n", 33);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *mark = cases[i].mark ? path_below(root, cases[i].mark) : NULL;
		CLEAN(str) char *mounts = path_below(root, MOUNTS);
		struct machine_facts facts;

		if (mark)
			put(root, cases[i].mark, cases[i].content, cases[i].len);
		if (cases[i].mounts)
			put(root, MOUNTS, cases[i].mounts, strlen(cases[i].mounts));
		machine_facts_read(root, &facts);
		assert_string_equal(facts.machine_id, MACHINE_ID);
		assert_int_equal(facts.machine_id_usable, cases[i].usable);
		assert_int_equal(facts.machine_id_why == NULL, cases[i].usable);
		if (mark)
			assert_int_equal(unlink(mark), 0);
		(void)unlink(mounts);
	}
}

static void no_machine_id_is_told(void **state)
{
	struct machine_facts facts;

	machine_facts_read(*state, &facts);
	assert_false(facts.machine_id_usable);
	assert_string_equal(facts.machine_id_why, "there is none in /etc/machine-id");
}

/* A host with many mounts; one MiB is the ceiling, and behind it nothing is seen. */
static void many_mounts(void **state)
{
	static const size_t fillers[] = { 5000, 40000 };
	const char *root = *state;

	put(root, MACHINE, MACHINE_ID "\n", 33);
	put(root, ".dockerenv", "", 0);
	for (size_t i = 0; i < ARRAY_LEN(fillers); i++) {
		CLEAN(buf) struct buf text = BUF_INIT(0);
		struct machine_facts facts;

		for (size_t n = 0; n < fillers[i]; n++)
			assert_int_equal(buf_adds(&text, "30 25 0:4 / /mnt/x rw - ext4 x rw\n"), 0);
		assert_int_equal(buf_adds(&text, HANDED_IN), 0);
		put(root, MOUNTS, text.data, text.len);
		machine_facts_read(root, &facts);
		assert_int_equal(facts.machine_id_usable, i == 0);
	}
}

static void odd_things_in_place_of_files_do_not_hang(void **state)
{
	const char *root = *state;
	CLEAN(str) char *uuid = path_below(root, UUID);
	CLEAN(str) char *name = path_below(root, NAME);
	struct machine_facts facts;

	CLEAN(str) char *mounts = path_below(root, MOUNTS);
	CLEAN(str) char *environment = path_below(root, ENVIRON);

	put(root, MACHINE, MACHINE_ID "\n", 33);
	assert_int_equal(mkfifo(mounts, 0600), 0);
	assert_int_equal(mkdir(environment, 0700), 0);
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
		cmocka_unit_test_setup_teardown(containers_have_the_host_s_only_if_it_is_handed_in,
						make_root, remove_root),
		cmocka_unit_test_setup_teardown(no_machine_id_is_told, make_root, remove_root),
		cmocka_unit_test_setup_teardown(many_mounts, make_root, remove_root),
		cmocka_unit_test_setup_teardown(an_empty_root, make_root, remove_root),
		cmocka_unit_test(the_real_root_gives_the_host_s_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
