/* SPDX-License-Identifier: MIT */
/* The state file with the node's id: kept, replaced whole, damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/identity_file.h"

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int make_dir(void **state)
{
	char pattern[] = "/tmp/test_identity_file.XXXXXX";

	*state = xstrdup(mkdtemp(pattern));
	return *state ? 0 : -1;
}

static int remove_dir(void **state)
{
	CLEAN(str) char *dir = *state;

	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *dir, const char *text)
{
	CLEAN(str) char *path = xasprintf("%s/node-id", dir);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void what_is_written_is_read(void **state)
{
	static const char *const ids[] = { "n-001aff0304050607", "box.example", "a" };
	const char *dir = *state;

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		CLEAN(str) char *id = NULL;
		struct err err = { 0 };

		assert_int_equal(identity_file_write(dir, ids[i], "random", &err), 0);
		assert_int_equal(identity_file_read(dir, &id, &err), 0);
		assert_string_equal(id, ids[i]);
	}
}

static void the_file_is_private_and_complete(void **state)
{
	const char *dir = *state;
	CLEAN(str) char *path = xasprintf("%s/node-id", dir);
	CLEAN(str) char *fresh = xasprintf("%s/node-id.new", dir);
	const mode_t before = umask(0);
	char text[512];
	struct stat st;

	/* A leftover of an interrupted write, readable by all, must not matter. */
	FILE *file = fopen(fresh, "w");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(identity_file_write(dir, "box", "random", NULL), 0);
	(void)umask(before);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(access(fresh, F_OK), -1);
	file = fopen(path, "r");
	assert_non_null(file);
	const size_t n = fread(text, 1, sizeof(text), file);

	assert_int_equal(fclose(file), 0);
	CLEAN(json) cJSON *json = json_parse(text, n, NULL);

	assert_non_null(json);
	assert_string_equal(json_get_str(json, "id"), "box");
	assert_string_equal(json_get_str(json, "source"), "random");
	assert_true(json_get_double(json, "created_at", 0) > 1e9);
}

static void no_file_is_no_error(void **state)
{
	char *id = (char *)"x";

	assert_int_equal(identity_file_read(*state, &id, NULL), 0);
	assert_null(id);
	assert_int_equal(identity_file_read("/nonexistent/dir", &id, NULL), 0);
	assert_null(id);
}

static void damaged_files_are_told_with_the_remedy(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "not valid JSON" },
		{ "{\"id\":\"bo", "not valid JSON" },
		{ "box\n", "not valid JSON" },
		{ "[]", "no text \"id\" in it" },
		{ "{\"source\":\"random\"}", "no text \"id\" in it" },
		{ "{\"id\":7}", "no text \"id\" in it" },
		{ "{\"id\":\"a b\"}", "'a b' may hold only letters" },
		{ "{\"id\":\"\"}", "'' must begin with a letter" },
	};
	const char *dir = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *id = (char *)"untouched";
		struct err err = { 0 };

		put(dir, cases[i].text);
		assert_int_equal(identity_file_read(dir, &id, &err), -EINVAL);
		assert_string_equal(id, "untouched");
		assert_non_null(strstr(err.msg, "/node-id is damaged ("));
		assert_non_null(strstr(err.msg, cases[i].why));
		assert_non_null(strstr(err.msg, "--node-id ID keeps the old one"));
	}
}

static void long_files_and_links_are_refused(void **state)
{
	const char *dir = *state;
	CLEAN(str) char *path = xasprintf("%s/node-id", dir);
	CLEAN(str) char *blanks = xmalloc(5001);
	struct err err = { 0 };
	char *id = NULL;

	memset(blanks, ' ', 5000);
	blanks[5000] = '\0';
	put(dir, blanks);
	assert_int_equal(identity_file_read(dir, &id, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too long"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(identity_file_read(dir, &id, &err), -ELOOP);
	assert_non_null(strstr(err.msg, path));
}

static void a_directory_that_is_missing_is_named(void **state)
{
	CLEAN(str) char *dir = xasprintf("%s/missing", (const char *)*state);
	struct err err = { 0 };

	assert_int_equal(identity_file_write(dir, "box", "random", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/missing/node-id: No such file or directory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_is_read, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(the_file_is_private_and_complete, make_dir,
						remove_dir),
		cmocka_unit_test_setup_teardown(no_file_is_no_error, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(damaged_files_are_told_with_the_remedy, make_dir,
						remove_dir),
		cmocka_unit_test_setup_teardown(long_files_and_links_are_refused, make_dir,
						remove_dir),
		cmocka_unit_test_setup_teardown(a_directory_that_is_missing_is_named, make_dir,
						remove_dir),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
