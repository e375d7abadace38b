/* SPDX-License-Identifier: MIT */
/*
 * The block in the hosts file as text: what is read from every damage, and that
 * no reader at any moment misses a name or sees a wrong address.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/hosts_block.h"
#include "cmsnode/topology/slots.h"

#define ZONE NAMES_ZONE_DEFAULT
#define VACANT SLOT_VACANT_ADDRESS
#define LINE HOSTS_BLOCK_LINE
#define CHUNK 4096
#define NOW 1795347439
#define FOREIGN "127.0.0.1\tlocalhost\n# a comment\n10.1.1.1 other.example other\n"

static const struct hosts_owner owner = { "1f2e3d4c5b6a7988", ZONE };
static const struct hosts_owner neighbour = { "00112233445566ff", "other.zone" };

/* ---- a hosts file, and who reads it ---- */

static void set_text(struct buf *file, const char *text)
{
	buf_fini(file);
	(void)buf_adds(file, text);
}

static void apply_one(struct buf *file, const struct hosts_write *write)
{
	assert_true(write->offset <= file->len);
	if (write->offset + write->len > file->len) {
		CLEAN(str) char *blanks = xcalloc(1, write->offset + write->len - file->len);

		(void)buf_add(file, blanks, write->offset + write->len - file->len);
	}
	memcpy(file->data + write->offset, write->text, write->len);
}

/* The words of a line from the second on are names, if the first one is an address. */
static void read_line(const char *line, size_t len, const char *zone, struct names *ret)
{
	CLEAN(str) char *copy = xstrndup(line, len);
	char *rest = copy;
	struct address address;
	enum catalogue_index service;
	size_t shard;

	copy[strcspn(copy, "#\n")] = '\0';
	rest += strspn(rest, " \t\r");
	const char *literal = strsep(&rest, " \t\r");

	if (address_parse(literal, &address) < 0)
		return;
	for (const char *word = strsep(&rest, " \t\r"); word; word = strsep(&rest, " \t\r"))
		if (names_parse(word, zone, &service, &shard) &&
		    !names_of_slot(ret, service, shard))
			names_set(ret, service, shard, zone, literal);
}

/* What glibc would answer for each of our names: the first line that has it. */
static void read_all(const char *text, size_t len, const char *zone, struct names *ret)
{
	*ret = (struct names){ 0 };
	for (size_t at = 0; at < len;) {
		const char *newline = memchr(text + at, '\n', len - at);
		const size_t n = newline ? (size_t)(newline - text) - at + 1 : len - at;

		read_line(text + at, n, zone, ret);
		at += n;
	}
}

static const char *resolve(const struct buf *file, const char *name)
{
	static char address[ADDRESS_TEXT_SIZE];
	CLEAN(names) struct names names = { 0 };

	read_all(file->data, file->len, ZONE, &names);
	const struct name *found = names_find(&names, name);

	(void)snprintf(address, sizeof(address), "%s", found ? found->address : "");
	return address;
}

/* Everything but the lines with a mark of cmsnode. */
static char *foreign_text(const char *text, size_t len)
{
	CLEAN(buf) struct buf foreign = { 0 };

	for (size_t at = 0; at < len;) {
		const char *newline = memchr(text + at, '\n', len - at);
		const size_t n = newline ? (size_t)(newline - text) - at + 1 : len - at;

		if (!memmem(text + at, n, "cmsnode-", strlen("cmsnode-")))
			(void)buf_add(&foreign, text + at, n);
		at += n;
	}
	return buf_steal(&foreign);
}

/* ---- wishes ---- */

static void wish_init(struct hosts_wish *wish, int64_t sequence, size_t workers)
{
	*wish = (struct hosts_wish){ .epoch = 1, .sequence = sequence };
	names_set(&wish->names, CATALOGUE_LOG_SERVICE, 0, ZONE, "10.0.0.1");
	for (size_t k = 0; k < workers; k++) {
		CLEAN(str) char *address = xasprintf("10.0.%zu.%zu", k / 200, 10 + k % 200);

		names_set(&wish->names, CATALOGUE_WORKER, k, ZONE, address);
	}
}

static void wish_fini(struct hosts_wish *wish)
{
	names_fini(&wish->names);
}

static void assert_old_or_new(const struct names *old, const struct buf *mixed,
			      const struct hosts_owner *who, const struct hosts_wish *wish)
{
	CLEAN(names) struct names seen = { 0 };

	read_all(mixed->data, mixed->len, who->zone, &seen);
	for (size_t i = 0; i < wish->names.len; i++) {
		const struct name *name = &wish->names.items[i];
		const struct name *before = names_of_slot(old, name->service, name->shard);
		const struct name *now = names_of_slot(&seen, name->service, name->shard);

		if (before && (!now || (strcmp(now->address, before->address) != 0 &&
					strcmp(now->address, name->address) != 0)))
			fail_msg("%s: '%s' on the way from '%s' to '%s'", name->name,
				 now ? now->address : "", before->address, name->address);
	}
}

/* Up to the border as it was after some writes, the rest as it was after more of them. */
static void mix(const struct buf *earlier, const struct buf *later, size_t border, struct buf *ret)
{
	const size_t head = border < earlier->len ? border : earlier->len;

	(void)buf_add(ret, earlier->data, head);
	if (head == border && border < later->len)
		(void)buf_add(ret, later->data + border, later->len - border);
}

/*
 * A reader takes chunks one after the other, so it can have the first ones of the file as it was
 * after i writes, and the rest of the file as it was after j.
 */
static void check_readers(const struct buf *states, size_t n, const struct hosts_owner *who,
			  const struct hosts_wish *wish)
{
	CLEAN(names) struct names old = { 0 };

	read_all(states[0].data, states[0].len, who->zone, &old);
	for (size_t i = 0; i < n; i++)
		for (size_t j = i; j < n; j++) {
			if (j > i + 2 && j < n - 1)
				continue; /* of many writes the next two and the last */
			for (size_t border = CHUNK; border < states[j].len + CHUNK;
			     border += CHUNK) {
				CLEAN(buf) struct buf mixed = { 0 };

				mix(&states[i], &states[j], border, &mixed);
				assert_old_or_new(&old, &mixed, who, wish);
			}
		}
}

/* Plans, writes, and watches as a reader; the number of writes. */
static size_t bring_about_as(struct buf *file, const struct hosts_owner *who,
			     const struct hosts_wish *wish, int64_t now, bool with_readers,
			     size_t *ret_lost)
{
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	struct err err;

	assert_int_equal(hosts_block_plan(file->data, file->len, who, wish, now, &writes, &err), 0);
	struct buf *states = xcalloc(writes.len + 1, sizeof(*states));

	(void)buf_add(&states[0], file->data, file->len);
	for (size_t i = 0; i < writes.len; i++) {
		apply_one(file, &writes.items[i]);
		(void)buf_add(&states[i + 1], file->data, file->len);
	}
	if (with_readers)
		check_readers(states, writes.len + 1, who, wish);
	for (size_t i = 0; i <= writes.len; i++)
		buf_fini(&states[i]);
	free(states);
	if (ret_lost)
		*ret_lost = writes.lost;
	return writes.len;
}

static size_t bring_about(struct buf *file, const struct hosts_wish *wish)
{
	return bring_about_as(file, &owner, wish, NOW, true, NULL);
}

static void parse_as(const struct buf *file, const struct hosts_owner *who, struct hosts_block *ret)
{
	hosts_block_parse(file->data, file->len, who, ret);
}

static void assert_intact(const struct buf *file, const struct hosts_wish *wish)
{
	CLEAN(hosts_block) struct hosts_block block = { 0 };

	parse_as(file, &owner, &block);
	if (!block.intact)
		fail_msg("%s\n%s", block.damage, file->data);
	assert_null(block.damage);
	assert_int_equal(block.offset % LINE, 0);
	assert_int_equal(block.epoch, wish->epoch);
	assert_int_equal(block.sequence, wish->sequence);
	for (size_t i = 0; i < wish->names.len; i++)
		assert_string_equal(resolve(file, wish->names.items[i].name),
				    wish->names.items[i].address);
}

/* ---- tests ---- */

static void a_block_is_put_behind_foreign_text(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		FOREIGN,
		"127.0.0.1 localhost",
		/* 127, 128, 129, 109 bytes: too little room for a pad, none needed, plenty */
		"# 45678901234567890123456789012345678901234567890123456789012345678901234567890123"
		"456789012345678901234567890123456789012345\n",
		"# 45678901234567890123456789012345678901234567890123456789012345678901234567890123"
		"4567890123456789012345678901234567890123456\n",
		"# 45678901234567890123456789012345678901234567890123456789012345678901234567890123"
		"45678901234567890123456789012345678901234567\n",
		"# 45678901234567890123456789012345678901234567890123456789012345678901234567890123"
		"456789012345678901234567\n",
	};
	struct hosts_wish wish;

	(void)state;
	wish_init(&wish, 7, 3);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEAN(buf) struct buf file = { 0 };
		size_t lost;

		set_text(&file, texts[i]);
		assert_true(bring_about_as(&file, &owner, &wish, NOW, true, &lost) > 0);
		assert_int_equal(lost, wish.names.len);
		assert_memory_equal(file.data, texts[i], strlen(texts[i]));
		CLEAN(str) char *foreign = foreign_text(file.data, file.len);

		assert_true(str_starts(foreign, texts[i]));
		assert_true(strlen(foreign) <= strlen(texts[i]) + 1);
		assert_intact(&file, &wish);
		assert_int_equal(bring_about(&file, &wish), 0);
	}
	wish_fini(&wish);
}

static void an_address_changes_by_writes_within_its_line(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	struct hosts_wish wish;

	(void)state;
	set_text(&file, FOREIGN);
	wish_init(&wish, 1, 40);
	(void)bring_about(&file, &wish);
	wish.sequence = 2;
	names_set(&wish.names, CATALOGUE_WORKER, 5, ZONE, "192.168.100.200");
	assert_int_equal(hosts_block_plan(file.data, file.len, &owner, &wish, NOW, &writes, NULL),
			 0);
	/* The address, then the begin line. */
	assert_int_equal(writes.len, 2);
	for (size_t i = 0; i < writes.len; i++) {
		assert_int_equal(writes.items[i].offset % LINE, 0);
		assert_true(writes.items[i].len <= LINE);
	}
	assert_true(writes.items[0].len < 64);
	assert_int_equal(writes.lost, 0);
	(void)bring_about(&file, &wish);
	assert_intact(&file, &wish);
	wish_fini(&wish);
}

static void names_that_come_take_spares(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	struct hosts_wish wish;

	(void)state;
	set_text(&file, FOREIGN);
	wish_init(&wish, 1, 4);
	(void)bring_about(&file, &wish);
	const size_t len = file.len;

	for (int k = 4; k < 12; k++) {
		wish.sequence++;
		names_set(&wish.names, CATALOGUE_WORKER, (size_t)k, ZONE, "10.0.9.9");
		(void)bring_about(&file, &wish);
		assert_intact(&file, &wish);
	}
	assert_int_equal(file.len, len);
	wish_fini(&wish);
}

/* At the end of the file the block grows where it is; with others behind it a new one is made. */
static void a_full_block_grows(void **state)
{
	static const char *const behind[] = { "", "10.2.2.2 late.example\n",
					      "10.2.2.2 late.example" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
		CLEAN(buf) struct buf file = { 0 };
		struct hosts_wish wish, grown;
		CLEAN(hosts_block) struct hosts_block before = { 0 }, after = { 0 };

		set_text(&file, FOREIGN);
		wish_init(&wish, 1, 10);
		wish_init(&grown, 2, 70);
		/* One that moves meanwhile, and one that goes. */
		names_set(&grown.names, CATALOGUE_WORKER, 3, ZONE, "172.16.0.1");
		names_set(&wish.names, CATALOGUE_CHECKER, 0, ZONE, "10.0.0.77");
		(void)bring_about(&file, &wish);
		(void)buf_adds(&file, behind[i]);
		parse_as(&file, &owner, &before);
		(void)bring_about(&file, &grown);
		assert_intact(&file, &grown);
		parse_as(&file, &owner, &after);
		assert_int_equal(before.offset == after.offset, behind[i][0] == '\0');
		assert_string_equal(resolve(&file, "checker." ZONE), VACANT);
		assert_true(after.len >= 70 + 70 / 2);
		CLEAN(str) char *foreign = foreign_text(file.data, file.len);
		CLEAN(str) char *expected =
			xasprintf(FOREIGN "%s%s", behind[i],
				  behind[i][0] && !str_ends(behind[i], "\n") ? "\n" : "");

		assert_string_equal(foreign, expected);
		assert_int_equal(bring_about(&file, &grown), 0);
		wish_fini(&wish);
		wish_fini(&grown);
	}
}

static void a_name_that_nobody_wants_stays_vacant_for_a_day(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	struct hosts_wish two, one, other;

	(void)state;
	wish_init(&two, 1, 2);
	wish_init(&one, 2, 1);
	wish_init(&other, 3, 1);
	(void)bring_about(&file, &two);
	(void)bring_about(&file, &one);
	assert_intact(&file, &one);
	assert_string_equal(resolve(&file, "worker-1." ZONE), VACANT);
	/* All spares are taken: only the line of a name retired long enough is taken as well. */
	CLEAN(hosts_block) struct hosts_block block = { 0 };

	parse_as(&file, &owner, &block);
	for (size_t k = 0; k < block.len - 3; k++)
		names_set(&other.names, CATALOGUE_CONTEST_WEB_SERVER, k, ZONE, "10.0.4.4");
	(void)bring_about(&file, &other);
	assert_intact(&file, &other);
	assert_string_equal(resolve(&file, "worker-1." ZONE), VACANT);
	const size_t len = file.len;

	names_set(&other.names, CATALOGUE_CHECKER, 0, ZONE, "10.0.5.5");
	CLEAN(buf) struct buf early = { 0 };

	(void)buf_add(&early, file.data, file.len);
	(void)bring_about_as(&early, &owner, &other, NOW + HOSTS_BLOCK_RETIRE_S - 1, true, NULL);
	assert_true(early.len > len);
	assert_string_equal(resolve(&early, "worker-1." ZONE), VACANT);
	(void)bring_about_as(&file, &owner, &other, NOW + HOSTS_BLOCK_RETIRE_S, true, NULL);
	assert_int_equal(file.len, len);
	assert_string_equal(resolve(&file, "worker-1." ZONE), "");
	assert_string_equal(resolve(&file, "checker." ZONE), "10.0.5.5");
	wish_fini(&two);
	wish_fini(&one);
	wish_fini(&other);
}

static void a_stamp_of_the_future_begins_anew(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_block) struct hosts_block block = { 0 };
	struct hosts_wish two, one;

	(void)state;
	wish_init(&two, 1, 2);
	wish_init(&one, 2, 1);
	(void)bring_about(&file, &two);
	(void)bring_about_as(&file, &owner, &one, NOW + 99, true, NULL);
	one.sequence = 3;
	(void)bring_about_as(&file, &owner, &one, NOW, true, NULL);
	parse_as(&file, &owner, &block);
	assert_string_equal(block.lines[2].name, "worker-1." ZONE);
	assert_int_equal(block.lines[2].retired_at, NOW);
	wish_fini(&two);
	wish_fini(&one);
}

static void a_name_that_is_wanted_again_is_not_retired_any_more(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_block) struct hosts_block block = { 0 };
	struct hosts_wish two, one;

	(void)state;
	wish_init(&two, 1, 2);
	wish_init(&one, 2, 1);
	(void)bring_about(&file, &two);
	(void)bring_about(&file, &one);
	two.sequence = 3;
	(void)bring_about(&file, &two);
	assert_intact(&file, &two);
	parse_as(&file, &owner, &block);
	for (size_t i = 0; i < block.len; i++)
		assert_int_equal(block.lines[i].retired_at, 0);
	wish_fini(&two);
	wish_fini(&one);
}

/* What a second daemon does with the first one's block. */
static void the_newer_wish_stands(void **state)
{
	static const struct {
		int64_t epoch, sequence;
		bool decides, wins;
	} cases[] = {
		{ 1, 4, false, false }, { 1, 4, true, false }, { 1, 5, false, false },
		{ 1, 5, true, true },	{ 1, 6, false, true }, { 0, 9, true, false },
		{ 2, 1, false, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(buf) struct buf file = { 0 };
		CLEAN(hosts_block) struct hosts_block block = { 0 };
		struct hosts_wish first, second;

		wish_init(&first, 5, 3);
		wish_init(&second, cases[i].sequence, 2);
		second.epoch = cases[i].epoch;
		second.decides = cases[i].decides;
		names_set(&second.names, CATALOGUE_WORKER, 0, ZONE, "10.9.9.9");
		names_set(&second.names, CATALOGUE_WORKER, 8, ZONE, "10.0.8.8");
		(void)bring_about(&file, &first);
		(void)bring_about(&file, &second);
		parse_as(&file, &owner, &block);
		assert_true(block.intact);
		assert_int_equal(block.epoch, cases[i].wins ? cases[i].epoch : 1);
		assert_int_equal(block.sequence, cases[i].wins ? cases[i].sequence : 5);
		assert_string_equal(resolve(&file, "worker-0." ZONE),
				    cases[i].wins ? "10.9.9.9" : "10.0.0.10");
		assert_string_equal(resolve(&file, "worker-2." ZONE),
				    cases[i].wins ? VACANT : "10.0.0.12");
		/* What a unit of its generation needs is added whoever is newer. */
		assert_string_equal(resolve(&file, "worker-8." ZONE), "10.0.8.8");
		/* And neither has anything to do to the other's. */
		assert_int_equal(bring_about(&file, &second), 0);
		if (cases[i].wins)
			assert_int_equal(bring_about(&file, &first), 0);
		wish_fini(&first);
		wish_fini(&second);
	}
}

static void clusters_leave_each_other_alone(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	struct hosts_wish wish, theirs = { .epoch = 3, .sequence = 1 };

	(void)state;
	set_text(&file, FOREIGN);
	wish_init(&wish, 1, 20);
	for (int round = 0; round < 3; round++) {
		for (size_t k = 0; k < 30; k++)
			names_set(&theirs.names, CATALOGUE_WORKER, (size_t)round * 30 + k,
				  neighbour.zone, "10.8.8.8");
		wish.sequence++;
		theirs.sequence++;
		for (size_t k = 0; k < 30; k++)
			names_set(&wish.names, CATALOGUE_CONTEST_WEB_SERVER, (size_t)round * 30 + k,
				  ZONE, "10.7.7.7");
		(void)bring_about(&file, &wish);
		(void)bring_about_as(&file, &neighbour, &theirs, NOW, true, NULL);
		assert_intact(&file, &wish);
		assert_int_equal(bring_about(&file, &wish), 0);
		assert_int_equal(bring_about_as(&file, &neighbour, &theirs, NOW, true, NULL), 0);
	}
	CLEAN(hosts_block) struct hosts_block block = { 0 };

	parse_as(&file, &neighbour, &block);
	assert_true(block.intact);
	assert_int_equal(block.epoch, 3);
	CLEAN(str) char *foreign = foreign_text(file.data, file.len);

	assert_string_equal(foreign, FOREIGN);
	wish_fini(&wish);
	wish_fini(&theirs);
}

static void foreign_lines_that_define_our_names_are_told(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_block) struct hosts_block block = { 0 };
	struct hosts_wish wish;

	(void)state;
	set_text(&file, "10.0.0.9 box Worker-1.cms.internal\n#10.0.0.9 worker-2.cms.internal\n"
			"10.0.0.9 x.cms.internal # worker-3.cms.internal\n"
			"10.0.0.8\tlogservice.cms.internal");
	wish_init(&wish, 1, 5);
	(void)bring_about_as(&file, &owner, &wish, NOW, false, NULL);
	parse_as(&file, &owner, &block);
	CLEAN(str) char *joined = str_list_join(&block.clashes, ", ");

	assert_string_equal(joined, "Worker-1.cms.internal (line 1), "
				    "logservice.cms.internal (line 4)");
	wish_fini(&wish);
}

/* ---- damage ---- */

static char *replaced(const char *text, const char *what, const char *with)
{
	const char *at = strstr(text, what);

	if (!at)
		fail_msg("no '%s' in the file", what);
	return xasprintf("%.*s%s%s", (int)(at - text), text, with, at + strlen(what));
}

/* sed 's/ *$//' */
static char *without_trailing_blanks(const char *text)
{
	CLEAN(buf) struct buf out = { 0 };

	for (; *text; text++)
		if (*text != ' ' || text[strspn(text, " ")] != '\n')
			(void)buf_add(&out, text, 1);
	return buf_steal(&out);
}

static char *single_blanks(const char *text)
{
	CLEAN(buf) struct buf out = { 0 };

	for (; *text; text++)
		if (*text != ' ' || text[1] != ' ')
			(void)buf_add(&out, text, 1);
	return buf_steal(&out);
}

static char *with_crlf(const char *text)
{
	CLEAN(buf) struct buf out = { 0 };

	for (; *text; text++)
		(void)buf_addf(&out, "%s%c", *text == '\n' ? "\r" : "", *text);
	return buf_steal(&out);
}

/* The blank behind the checksum becomes a tab: not the eight digits any more. */
static char *with_tab_behind_sum(const char *text)
{
	char *copy = xstrdup(text);
	char *begin = strstr(copy, "# begin ");

	assert_non_null(begin);
	begin += strlen("# begin 1f2e3d4c5b6a7988 " ZONE " 1 5 12345678");
	assert_int_equal(*begin, ' ');
	*begin = '\t';
	return copy;
}

static char *without_line(const char *text, const char *with)
{
	const char *at = strstr(text, with);

	assert_non_null(at);
	while (at > text && at[-1] != '\n')
		at--;
	return xasprintf("%.*s%s", (int)(at - text), text, strchr(at, '\n') + 1);
}

static void damage_is_told_and_mended(void **state)
{
	static const struct {
		const char *what, *with; /* with NULL: the whole line goes */
		char *(*edit)(const char *text);
		const char *damage; /* NULL = a mere matter of taste */
		bool sound;
	} cases[] = {
		{ "10.0.0.11 ", "10.0.0.66 ", NULL, "checksum", true },
		{ "10.0.0.11 ", "garbage!! ", NULL, "checksum", true },
		{ "10.0.0.11 ", "#0.0.0.11 ", NULL, "checksum", true },
		{ "worker-1.", "worker-x.", NULL, "checksum", true },
		{ "worker-1.", "worker-2.", NULL, "checksum", true },
		{ "worker-1.", "worker-17.", NULL, "changed in length", false },
		{ " 1 5 ", " 1 9 ", NULL, "checksum", true },
		{ " 1 5 ", " x y ", NULL, "begin line", true },
		{ "# begin 1f2e", "# begin 2f2e", NULL, "begin line", true },
		{ "# begin", "# began", NULL, "begin of the block is missing", false },
		{ "# begin", NULL, NULL, "begin of the block is missing", false },
		{ "# end", NULL, NULL, "end of the block is missing", false },
		{ "worker-1.", NULL, NULL, "checksum", true },
		{ "# spare", NULL, NULL, "checksum", true },
		{ "# spare", "8.8.8.8 mine\n# spare", NULL, "put between", false },
		{ "127.0.0.1", "8.8.8.8 new\n127.0.0.1", NULL, "not aligned", false },
		{ NULL, NULL, without_trailing_blanks, NULL, true },
		{ NULL, NULL, single_blanks, "not aligned|changed in length", false },
		{ NULL, NULL, with_crlf, "not aligned|changed in length", false },
		{ NULL, NULL, with_tab_behind_sum, "checksum", true },
		{ "10.1.1.1 other", "10.1.1.7 other", NULL, NULL, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(buf) struct buf file = { 0 };
		CLEAN(hosts_block) struct hosts_block block = { 0 };
		CLEAN(str_list) struct str_list damages = { 0 };
		struct hosts_wish wish;

		set_text(&file, FOREIGN);
		wish_init(&wish, 5, 3);
		(void)bring_about(&file, &wish);
		CLEAN(str)
		char *edited = cases[i].edit ? cases[i].edit(file.data) :
			       cases[i].with ? replaced(file.data, cases[i].what, cases[i].with) :
					       without_line(file.data, cases[i].what);

		set_text(&file, edited);
		parse_as(&file, &owner, &block);
		assert_int_equal(block.sound, cases[i].sound);
		assert_int_equal(block.intact, !cases[i].damage);
		str_list_split(&damages, cases[i].damage ? cases[i].damage : "", '|');
		bool told = !cases[i].damage && !block.damage;

		for (size_t k = 0; k < damages.len; k++)
			told |= block.damage && strstr(block.damage, damages.items[k]);
		if (!told)
			fail_msg("case %zu: '%s' instead of '%s'", i,
				 block.damage ? block.damage : "", cases[i].damage);
		CLEAN(str) char *foreign = foreign_text(file.data, file.len);

		(void)bring_about(&file, &wish);
		assert_intact(&file, &wish);
		CLEAN(str) char *after = foreign_text(file.data, file.len);

		assert_string_equal(foreign, after);
		assert_int_equal(bring_about(&file, &wish), 0);
		wish_fini(&wish);
	}
}

/* A writer that was killed between two writes leaves what the next one mends. */
static void an_interrupted_writer_is_finished_by_the_next(void **state)
{
	(void)state;
	for (int behind = 0; behind < 2; behind++)
		for (size_t stop = 0;; stop++) {
			CLEAN(buf) struct buf file = { 0 };
			CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
			struct hosts_wish wish, grown;

			set_text(&file, FOREIGN);
			wish_init(&wish, 1, 10);
			wish_init(&grown, 2, 40);
			names_set(&grown.names, CATALOGUE_WORKER, 3, ZONE, "172.16.0.1");
			(void)bring_about(&file, &wish);
			(void)buf_adds(&file, behind ? "10.2.2.2 late.example\n" : "");
			assert_int_equal(hosts_block_plan(file.data, file.len, &owner, &grown, NOW,
							  &writes, NULL),
					 0);
			for (size_t i = 0; i < stop && i < writes.len; i++)
				apply_one(&file, &writes.items[i]);
			(void)bring_about_as(&file, &owner, &grown, NOW, stop % 8 == 0, NULL);
			assert_intact(&file, &grown);
			assert_int_equal(bring_about(&file, &grown), 0);
			wish_fini(&wish);
			wish_fini(&grown);
			if (stop >= writes.len)
				break;
		}
}

static void removal_leaves_foreign_text_and_comments(void **state)
{
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	struct hosts_wish wish;

	(void)state;
	set_text(&file, FOREIGN);
	wish_init(&wish, 1, 5);
	(void)bring_about(&file, &wish);
	hosts_block_plan_removal(file.data, file.len, &owner, &writes);
	for (size_t i = 0; i < writes.len; i++)
		apply_one(&file, &writes.items[i]);
	for (size_t i = 0; i < wish.names.len; i++)
		assert_string_equal(resolve(&file, wish.names.items[i].name), "");
	CLEAN(str) char *foreign = foreign_text(file.data, file.len);

	assert_string_equal(foreign, FOREIGN);
	hosts_writes_fini(&writes);
	hosts_block_plan_removal(file.data, file.len, &owner, &writes);
	assert_int_equal(writes.len, 0);
	(void)bring_about(&file, &wish);
	assert_intact(&file, &wish);
	wish_fini(&wish);
}

static void what_cannot_be_written_is_refused(void **state)
{
	static const char *const addresses[] = { "10.0.0.256", "10.0.0.1 evil", "", "10.0.0.1\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
		struct hosts_wish wish = { .epoch = 1 };
		struct err err = { 0 };

		names_set(&wish.names, CATALOGUE_WORKER, 0, ZONE, addresses[i]);
		assert_int_equal(hosts_block_plan("", 0, &owner, &wish, NOW, &writes, &err),
				 -EINVAL);
		assert_non_null(strstr(err.msg, "worker-0.cms.internal shall be, is no address"));
		assert_int_equal(writes.len, 0);
		wish_fini(&wish);
	}
}

static void the_longest_of_everything_fits(void **state)
{
	static const struct hosts_owner who = { "1f2e3d4c5b6a7988",
						"exactly-36-characters.long.zone.abcd" };
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_block) struct hosts_block block = { 0 };
	struct hosts_wish wish = { .epoch = INT64_MAX, .sequence = INT64_MAX };

	(void)state;
	names_set(&wish.names, CATALOGUE_RANKING_WEB_SERVER, SLOTS_MAX - 1, who.zone,
		  "1111:2222:3333:4444:5555:6666:7777:8888");
	(void)bring_about_as(&file, &who, &wish, NOW, true, NULL);
	parse_as(&file, &who, &block);
	assert_true(block.intact);
	assert_int_equal(block.epoch, INT64_MAX);
	assert_int_equal(block.sequence, INT64_MAX);
	assert_string_equal(block.lines[0].address, wish.names.items[0].address);
	assert_string_equal(block.lines[0].name, wish.names.items[0].name);
	wish_fini(&wish);
}

/* ---- anything may happen ---- */

static uint64_t seed;

static size_t pick(size_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (size_t)(seed >> 33) % n;
}

static void random_wish(struct hosts_wish *wish)
{
	wish->sequence++;
	for (size_t i = 0; i < 1 + pick(6); i++) {
		CLEAN(str) char *address =
			xasprintf("10.%zu.%zu.%zu", pick(256), pick(256), pick(256));

		names_set(&wish->names, CATALOGUE_WORKER, pick(60), ZONE,
			  pick(4) ? address : VACANT);
	}
	for (size_t i = 0; i < pick(3) && wish->names.len > 1; i++)
		wish->names.len--;
}

/* What an editor, another program or a bad disk does. */
static void random_damage(struct buf *file)
{
	CLEAN(str) char *copy = xmemdup(file->data, file->len + 1);
	const size_t len = file->len;
	const size_t at = pick(len), n = pick(300) < len - at ? pick(300) : 0;

	file->len = 0;
	switch (pick(6)) {
	case 0: /* bytes go */
		(void)buf_add(file, copy, at);
		if (at + n < len)
			(void)buf_add(file, copy + at + n, len - at - n);
		break;
	case 1: /* a line comes */
		(void)buf_add(file, copy, at);
		(void)buf_adds(file, "\n10.4.4.4 more.example\n");
		(void)buf_add(file, copy + at, len - at);
		break;
	case 2: /* a byte becomes another */
		copy[at] = (char)(pick(255) + 1);
		(void)buf_add(file, copy, len);
		break;
	case 3: /* the end is cut off */
		(void)buf_add(file, copy, at);
		break;
	case 4: /* written over from its begin, as by a program that did not look */
		(void)buf_add(file, copy, len);
		memset(file->data, 'x', at < 200 ? at : 200);
		break;
	default: /* a piece stands twice */
		(void)buf_add(file, copy, len);
		(void)buf_add(file, copy + at, len - at);
		break;
	}
}

static bool clashes_with(const struct hosts_block *block, const char *name)
{
	for (size_t i = 0; i < block->clashes.len; i++)
		if (strncasecmp(block->clashes.items[i], name, strlen(name)) == 0)
			return true;
	return false;
}

static void check_after(const struct buf *file, const struct hosts_wish *wish)
{
	CLEAN(hosts_block) struct hosts_block block = { 0 };

	parse_as(file, &owner, &block);
	if (!block.intact)
		fail_msg("seed: %s", block.damage);
	/* A mark that was damaged makes a line foreign, which then may be in the way. */
	for (size_t i = 0; i < wish->names.len; i++)
		if (!clashes_with(&block, wish->names.items[i].name))
			assert_string_equal(resolve(file, wish->names.items[i].name),
					    wish->names.items[i].address);
}

static void any_history_ends_well(void **state)
{
	(void)state;
	for (uint64_t history = 0; history < 40; history++) {
		CLEAN(buf) struct buf file = { 0 };
		struct hosts_wish wish = { .epoch = 1 };

		seed = history;
		set_text(&file, FOREIGN);
		for (int step = 0; step < 25; step++) {
			const bool damage = pick(3) == 0 && file.len > 0;

			random_wish(&wish);
			if (damage) {
				CLEAN(hosts_block) struct hosts_block block = { 0 };

				random_damage(&file);
				/* A line that lost its mark is a foreign one: begin again. */
				parse_as(&file, &owner, &block);
				if (block.clashes.len)
					set_text(&file, FOREIGN);
			}
			(void)bring_about_as(&file, &owner, &wish,
					     NOW + step * HOSTS_BLOCK_RETIRE_S / 3, step % 8 == 0,
					     NULL);
			check_after(&file, &wish);
			assert_int_equal(bring_about_as(&file, &owner, &wish,
							NOW + step * HOSTS_BLOCK_RETIRE_S / 3,
							false, NULL),
					 0);
		}
		wish_fini(&wish);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_is_put_behind_foreign_text),
		cmocka_unit_test(an_address_changes_by_writes_within_its_line),
		cmocka_unit_test(names_that_come_take_spares),
		cmocka_unit_test(a_full_block_grows),
		cmocka_unit_test(a_name_that_nobody_wants_stays_vacant_for_a_day),
		cmocka_unit_test(a_stamp_of_the_future_begins_anew),
		cmocka_unit_test(a_name_that_is_wanted_again_is_not_retired_any_more),
		cmocka_unit_test(the_newer_wish_stands),
		cmocka_unit_test(clusters_leave_each_other_alone),
		cmocka_unit_test(foreign_lines_that_define_our_names_are_told),
		cmocka_unit_test(damage_is_told_and_mended),
		cmocka_unit_test(an_interrupted_writer_is_finished_by_the_next),
		cmocka_unit_test(removal_leaves_foreign_text_and_comments),
		cmocka_unit_test(what_cannot_be_written_is_refused),
		cmocka_unit_test(the_longest_of_everything_fits),
		cmocka_unit_test(any_history_ends_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
