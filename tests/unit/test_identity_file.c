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
#include "cmsnode/identity/identity.h"
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

#define UUID "aaaaaaaa-0000-4000-8000-00000000000a"
#define MAC_1 "02:00:00:00:00:01"
#define MAC_2 "02:00:00:00:00:02"

static void what_is_saved_is_loaded(void **state)
{
	static const struct {
		const char *id;
		enum identity_source source;
		const char *uuid, *macs;
	} cases[] = {
		{ "n-001aff0304050607", IDENTITY_RANDOM, UUID, MAC_1 "," MAC_2 },
		{ "i-0a1b2c3d4e5f60718", IDENTITY_EC2, UUID, "" },
		{ "m-001aff0304050607", IDENTITY_MACHINE_ID, "", MAC_1 },
		{ "box", IDENTITY_STATE_FILE, "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(identity_record) struct identity_record record = { .source = cases[i].source,
									 .created_at = 1234.5 };
		CLEAN(identity_record) struct identity_record loaded = { 0 };
		struct err err = { 0 };

		(void)snprintf(record.id, sizeof(record.id), "%s", cases[i].id);
		(void)snprintf(record.product_uuid, sizeof(record.product_uuid), "%s",
			       cases[i].uuid);
		str_list_split(&record.macs, cases[i].macs, ',');
		assert_int_equal(identity_file_save(*state, &record, &err), 0);
		assert_int_equal(identity_file_load(*state, &loaded, &err), 0);
		assert_string_equal(loaded.id, cases[i].id);
		assert_int_equal(loaded.source, cases[i].source);
		assert_string_equal(loaded.product_uuid, cases[i].uuid);
		assert_true(str_list_equal(&loaded.macs, &record.macs));
		assert_true(loaded.created_at == 1234.5);
	}
}

/* The most that can be saved fits under the ceiling of what is loaded. */
static void the_largest_record_fits(void **state)
{
	CLEAN(identity_record) struct identity_record record = { .source = IDENTITY_MACHINE_ID,
								 .product_uuid = UUID,
								 .created_at = 1792099200.123456 };
	CLEAN(identity_record) struct identity_record loaded = { 0 };

	memset(record.id, 'a', NODE_ID_MAX);
	for (int i = 0; i < IDENTITY_MACS_MAX; i++)
		str_list_take(&record.macs, xasprintf("02:00:00:00:00:00:00:%02x", i));
	assert_int_equal(identity_file_save(*state, &record, NULL), 0);
	assert_int_equal(identity_file_load(*state, &loaded, NULL), 0);
	assert_true(str_list_equal(&loaded.macs, &record.macs));
}

static void files_of_other_versions(void **state)
{
	static const struct {
		const char *text, *id;
		enum identity_source source;
		double created_at;
	} cases[] = {
		/* as version 0.1 wrote it */
		{ "{\"id\":\"n-001aff0304050607\",\"source\":\"random\",\"created_at\":7}\n",
		  "n-001aff0304050607", IDENTITY_RANDOM, 7 },
		{ "{\"id\":\"Box\"}", "box", IDENTITY_STATE_FILE, 0 },
		{ "{\"id\":\"box\",\"source\":\"oracle\",\"more\":[1]}", "box", IDENTITY_STATE_FILE,
		  0 },
		{ "{\"id\":\"box\",\"source\":7,\"product_uuid\":\"\",\"macs\":[]}", "box",
		  IDENTITY_STATE_FILE, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(identity_record) struct identity_record record = { 0 };

		put(*state, cases[i].text);
		assert_int_equal(identity_file_load(*state, &record, NULL), 0);
		assert_string_equal(record.id, cases[i].id);
		assert_int_equal(record.source, cases[i].source);
		assert_true(record.created_at == cases[i].created_at);
		assert_string_equal(record.product_uuid, "");
		assert_int_equal(record.macs.len, 0);
	}
}

static const struct identity_record box = { .id = "box", .source = IDENTITY_RANDOM };

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
	assert_int_equal(identity_file_save(dir, &box, NULL), 0);
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
	struct identity_record record = { .id = "x" };

	assert_int_equal(identity_file_load(*state, &record, NULL), 0);
	assert_string_equal(record.id, "");
	memcpy(record.id, "x", 2);
	assert_int_equal(identity_file_load("/nonexistent/dir", &record, NULL), 0);
	assert_string_equal(record.id, "");
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
		{ "{\"id\":\"a\",\"product_uuid\":7}", "\"product_uuid\" is no text" },
		{ "{\"id\":\"a\",\"product_uuid\":\"x\"}", "\"product_uuid\" is no UUID" },
		{ "{\"id\":\"a\",\"macs\":\"x\"}", "\"macs\" is no list of texts" },
		{ "{\"id\":\"a\",\"macs\":[\"" MAC_1 "\",7]}", "\"macs\" is no list of texts" },
		{ "{\"id\":\"a\",\"macs\":[\"" MAC_1 "\",\"x\"]}",
		  "'x' in \"macs\" is no MAC address" },
	};
	const char *dir = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct identity_record record = { .id = "untouched" };
		struct err err = { 0 };

		put(dir, cases[i].text);
		assert_int_equal(identity_file_load(dir, &record, &err), -EINVAL);
		assert_string_equal(record.id, "untouched");
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
	struct identity_record record;

	memset(blanks, ' ', 5000);
	blanks[5000] = '\0';
	put(dir, blanks);
	assert_int_equal(identity_file_load(dir, &record, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too long"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(identity_file_load(dir, &record, &err), -ELOOP);
	assert_non_null(strstr(err.msg, path));
}

static void a_directory_that_is_missing_is_named(void **state)
{
	CLEAN(str) char *dir = xasprintf("%s/missing", (const char *)*state);
	struct err err = { 0 };

	assert_int_equal(identity_file_save(dir, &box, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/missing/node-id: No such file or directory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_saved_is_loaded, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(the_largest_record_fits, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(files_of_other_versions, make_dir, remove_dir),
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
