/* SPDX-License-Identifier: MIT */
/* The generations' files in a temporary directory: whole sets, exact access, sweeping. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/rendered_files.h"

#define NO_GROUP ((gid_t)-1)

/* ---- A state directory for each test ---- */

static char *top; /* made by mkdtemp() */
static char *state_dir; /* below it, not made yet */

static char *below(const char *rest)
{
	return xasprintf("%s/%s", state_dir, rest);
}

static void run(const char *program, const char *flag, const char *path)
{
	const pid_t child = fork();

	if (child == 0) {
		(void)execlp(program, program, flag, path, (char *)NULL);
		_exit(127);
	}
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int make_top(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	top = xasprintf("%s/test_rendered_files.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(top))
		return -1;
	state_dir = xasprintf("%s/state", top);
	(void)umask(077); /* what we write must not depend on it */
	return 0;
}

static int remove_top(void **state)
{
	(void)state;
	run("rm", "-rf", top);
	free(top);
	free(state_dir);
	return 0;
}

static void put(const char *path, const char *text)
{
	CLEAN(str) char *full = below(path);
	FILE *file = fopen(full, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void make_dir(const char *path)
{
	CLEAN(str) char *full = below(path);

	assert_int_equal(mkdir(full, 0700), 0);
}

static struct stat stat_of(const char *path)
{
	CLEAN(str) char *full = below(path);
	struct stat st;

	if (lstat(full, &st) < 0)
		fail_msg("%s is missing", full);
	return st;
}

static void assert_file(const char *path, const char *text)
{
	CLEAN(str) char *full = below(path);
	CLEAN(buf) struct buf found = BUF_INIT(1 << 20);

	assert_int_equal(file_read(full, &found, NULL), 0);
	assert_string_equal(buf_str(&found), text);
}

/* Names in a directory, sorted, with blanks between. */
static void assert_names(const char *path, const char *expected)
{
	CLEAN(str) char *full = below(path);
	CLEAN(str_list) struct str_list names = { 0 };
	DIR *dir = opendir(full);

	assert_non_null(dir);
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."))
			str_list_add(&names, entry->d_name);
	(void)closedir(dir);
	str_list_sort(&names);
	CLEAN(str) char *found = str_list_join(&names, " ");

	assert_string_equal(found, expected);
}

static const struct rendered_file one[] = { { "cms.toml", "a = 1\n" }, { "cms_ranking.toml", "" } };
static const struct rendered_file two[] = { { "cms.toml", "a = 2\n" }, { "cms_ranking.toml", "" } };

static void prepare(gid_t gid)
{
	struct err err = { 0 };

	if (rendered_files_prepare(state_dir, gid, &err) < 0)
		fail_msg("%s", err.msg);
}

static void write_set(const char *generation, const struct rendered_file *files, size_t len)
{
	struct err err = { 0 };

	if (rendered_files_write(state_dir, generation, files, len, NO_GROUP, &err) < 0)
		fail_msg("%s", err.msg);
}

/* ---- Tests ---- */

static void directories_are_made_once(void **state)
{
	(void)state;
	prepare(NO_GROUP);
	assert_int_equal(stat_of("").st_mode & 07777, 0750);
	assert_int_equal(stat_of("generations").st_mode & 07777, 0750);
	prepare(NO_GROUP);
}

static void an_existing_state_directory_keeps_its_mode(void **state)
{
	(void)state;
	assert_int_equal(mkdir(state_dir, 0700), 0);
	assert_int_equal(chmod(state_dir, 0711), 0);
	prepare(NO_GROUP);
	assert_int_equal(stat_of("").st_mode & 07777, 0711);
}

static void preparing_fails_with_the_path(void **state)
{
	CLEAN(str) char *deep = below("no/such");
	struct err err = { 0 };

	(void)state;
	assert_int_equal(rendered_files_prepare(deep, NO_GROUP, &err), -ENOENT);
	assert_non_null(strstr(err.msg, deep));
	/* A link in the place of our directory is not followed. */
	assert_int_equal(mkdir(state_dir, 0700), 0);
	CLEAN(str) char *link = below("generations");

	assert_int_equal(symlink("/tmp", link), 0);
	assert_int_equal(rendered_files_prepare(state_dir, NO_GROUP, &err), -ENOTDIR);
}

static void a_set_is_written(void **state)
{
	(void)state;
	prepare(NO_GROUP);
	write_set("gen-1", one, 2);
	assert_names("generations", "gen-1");
	assert_names("generations/gen-1", "cms.toml cms_ranking.toml");
	assert_file("generations/gen-1/cms.toml", "a = 1\n");
	assert_file("generations/gen-1/cms_ranking.toml", "");
	assert_int_equal(stat_of("generations/gen-1").st_mode & 07777, 0750);
	assert_int_equal(stat_of("generations/gen-1/cms.toml").st_mode & 07777, 0640);
	CLEAN(str) char *path = rendered_files_path(state_dir, "gen-1", "cms.toml");
	CLEAN(str) char *expected = below("generations/gen-1/cms.toml");

	assert_string_equal(path, expected);
}

static void the_same_set_is_left_alone(void **state)
{
	(void)state;
	prepare(NO_GROUP);
	write_set("gen-1", one, 2);
	const ino_t first = stat_of("generations/gen-1").st_ino;

	write_set("gen-1", one, 2);
	assert_int_equal(stat_of("generations/gen-1").st_ino, first);
}

static void spoil_nothing(void)
{
}

static void spoil_content(void)
{
	put("generations/gen-1/cms.toml", "x = 1\n");
}

static void spoil_length(void)
{
	put("generations/gen-1/cms.toml", "a = 1\n\n");
}

static void spoil_by_adding(void)
{
	put("generations/gen-1/extra", "");
}

static void spoil_by_removing(void)
{
	CLEAN(str) char *path = below("generations/gen-1/cms.toml");

	assert_int_equal(unlink(path), 0);
}

static void spoil_mode(void)
{
	CLEAN(str) char *path = below("generations/gen-1/cms.toml");

	assert_int_equal(chmod(path, 0600), 0);
}

static void spoil_directory_mode(void)
{
	CLEAN(str) char *path = below("generations/gen-1");

	assert_int_equal(chmod(path, 0700), 0);
}

static void spoil_by_link(void)
{
	CLEAN(str) char *path = below("generations/gen-1/cms.toml");
	CLEAN(str) char *aside = below("cms.toml");

	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(aside, path), 0);
}

static void spoil_by_file_in_its_place(void)
{
	CLEAN(str) char *path = below("generations/gen-1");

	run("rm", "-rf", path);
	put("generations/gen-1", "not a directory");
}

static void another_set_is_replaced(void **state)
{
	static const struct {
		const char *name;
		void (*spoil)(void);
		const struct rendered_file *files;
		bool replaced;
	} cases[] = {
		{ "nothing", spoil_nothing, one, false },
		{ "new content", spoil_nothing, two, true },
		{ "content", spoil_content, one, true },
		{ "length", spoil_length, one, true },
		{ "one file more", spoil_by_adding, one, true },
		{ "one file less", spoil_by_removing, one, true },
		{ "mode", spoil_mode, one, true },
		{ "directory mode", spoil_directory_mode, one, true },
		{ "link", spoil_by_link, one, true },
		{ "file in its place", spoil_by_file_in_its_place, one, true },
	};

	(void)state;
	prepare(NO_GROUP);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		write_set("gen-1", one, 2);
		const ino_t first = stat_of("generations/gen-1").st_ino;

		cases[i].spoil();
		write_set("gen-1", cases[i].files, 2);
		assert_names("generations", "gen-1");
		assert_names("generations/gen-1", "cms.toml cms_ranking.toml");
		assert_file("generations/gen-1/cms.toml", cases[i].files[0].text);
		assert_int_equal(stat_of("generations/gen-1/cms.toml").st_mode, S_IFREG | 0640);
		if ((stat_of("generations/gen-1").st_ino != first) != cases[i].replaced)
			fail_msg("%s: replaced is wrong", cases[i].name);
	}
}

/* Who holds the old file open reads on; who opens the name gets the new one. */
static void a_reader_is_not_disturbed(void **state)
{
	char text[16] = "";

	(void)state;
	prepare(NO_GROUP);
	write_set("gen-1", one, 2);
	CLEAN(str) char *path = rendered_files_path(state_dir, "gen-1", "cms.toml");
	CLEAN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	write_set("gen-1", two, 2);
	assert_int_equal(read(fd, text, sizeof(text) - 1), 6);
	assert_string_equal(text, "a = 1\n");
	assert_file("generations/gen-1/cms.toml", "a = 2\n");
}

static void names_are_checked(void **state)
{
	static const struct {
		const char *generation;
		const char *file;
		bool good;
	} cases[] = {
		{ "i-0c0e_core_0003-5f2a9c1d", "cms.toml", true },
		{ "...", "a", true },
		{ "", "a", false },
		{ ".", "a", false },
		{ "..", "a", false },
		{ "../x", "a", false },
		{ "a/b", "a", false },
		{ "~a", "a", false },
		{ "a b", "a", false },
		{ "a\xc3\xa9", "a", false },
		{ "g", "", false },
		{ "g", "..", false },
		{ "g", "../a", false },
		{ "g", "a\n", false },
	};

	(void)state;
	prepare(NO_GROUP);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct rendered_file file = { cases[i].file, "x" };
		struct err err = { 0 };
		const int rc = rendered_files_write(state_dir, cases[i].generation, &file, 1,
						    NO_GROUP, &err);

		if (rc != (cases[i].good ? 0 : -EINVAL))
			fail_msg("'%s' '%s': %d %s", cases[i].generation, cases[i].file, rc,
				 err.msg);
	}
	assert_names("generations", "... i-0c0e_core_0003-5f2a9c1d");
}

static void writing_fails_without_leftovers(void **state)
{
	const struct rendered_file twice[] = { { "a", "1" }, { "a", "2" } };
	struct err err = { 0 };

	(void)state;
	assert_int_equal(rendered_files_write(state_dir, "g", one, 2, NO_GROUP, &err), -ENOENT);
	prepare(NO_GROUP);
	write_set("g", one, 2);
	assert_int_equal(rendered_files_write(state_dir, "g", twice, 2, NO_GROUP, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "generation g in "));
	assert_non_null(strstr(err.msg, "cannot write a: "));
	assert_names("generations", "g");
	assert_file("generations/g/cms.toml", "a = 1\n");
}

static int warnings;

static void count_warnings(enum log_level level, const char *module, const char *text)
{
	(void)module;
	(void)text;
	warnings += level == LOG_LEVEL_WARNING;
}

static void the_sweep_keeps_what_it_should(void **state)
{
	CLEAN(str_list) struct str_list keep = { 0 };
	CLEAN(str_list) struct str_list none = { 0 };

	(void)state;
	warnings = 0;
	log_set_sink(count_warnings);
	rendered_files_sweep(state_dir, &none); /* nothing there yet */
	prepare(NO_GROUP);
	write_set("gen-1", one, 2);
	write_set("gen-2", one, 2);
	write_set("gen-3", one, 2);
	make_dir("generations/~gen-4.77");
	put("generations/~gen-4.77/cms.toml", "half");
	make_dir("generations/not ours");
	put("generations/a_file", "x");
	make_dir("outside");
	put("outside/precious", "x");
	CLEAN(str) char *outside = below("outside");
	CLEAN(str) char *link = below("generations/link");

	assert_int_equal(symlink(outside, link), 0);
	str_list_add(&keep, "gen-2");
	str_list_add(&keep, "gen-9");
	rendered_files_sweep(state_dir, &keep);
	assert_names("generations", "a_file gen-2 link not ours");
	assert_file("outside/precious", "x");
	assert_file("generations/gen-2/cms.toml", "a = 1\n");
	assert_int_equal(warnings, 0);
	/* A directory within a generation is none of our work. */
	make_dir("generations/gen-2/deeper");
	rendered_files_sweep(state_dir, &none);
	assert_int_equal(warnings, 1);
	assert_names("generations/gen-2/deeper", "");
	log_set_sink(NULL);
}

static void root_gives_the_group(void **state)
{
	const gid_t gid = 12345;
	struct err err = { 0 };

	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: only root can give files to a group\n");
		skip();
	}
	prepare(gid);
	assert_int_equal(rendered_files_write(state_dir, "gen-1", one, 2, gid, &err), 0);
	static const char *const paths[] = { "", "generations", "generations/gen-1",
					     "generations/gen-1/cms.toml" };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_equal(stat_of(paths[i]).st_uid, 0);
		assert_int_equal(stat_of(paths[i]).st_gid, gid);
	}
	/* Another service group: the set must become readable for it. */
	prepare(gid + 1);
	assert_int_equal(rendered_files_write(state_dir, "gen-1", one, 2, gid + 1, &err), 0);
	assert_int_equal(stat_of("generations").st_gid, gid + 1);
	assert_int_equal(stat_of("generations/gen-1/cms.toml").st_gid, gid + 1);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_top, remove_top)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(directories_are_made_once),
		in_directory(an_existing_state_directory_keeps_its_mode),
		in_directory(preparing_fails_with_the_path),
		in_directory(a_set_is_written),
		in_directory(the_same_set_is_left_alone),
		in_directory(another_set_is_replaced),
		in_directory(a_reader_is_not_disturbed),
		in_directory(names_are_checked),
		in_directory(writing_fails_without_leftovers),
		in_directory(the_sweep_keeps_what_it_should),
		in_directory(root_gives_the_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
