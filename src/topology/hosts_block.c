/* SPDX-License-Identifier: MIT */
/*
 * Reading our block out of a hosts file, whatever became of it, and how its lines
 * are written. Must never take a line without our mark for ours.
 */
#include "hosts_block_internal.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/network/address.h"

#define BLANKS " \t\r\v\f"
#define SINCE_DIGITS 10
#define SUM_DIGITS 8
#define SUM_BLANK "--------"
#define BEGIN_ROOM (COLUMN_MARK - 1)
#define CLASHES_MAX 20 /* told to a person */

void hosts_block_fini(struct hosts_block *block)
{
	free(block->lines);
	free(block->damage);
	str_list_fini(&block->clashes);
	*block = (struct hosts_block){ 0 };
}

void own_lines_fini(struct own_lines *own)
{
	free(own->items);
	*own = (struct own_lines){ 0 };
}

/* ---- writing lines ----------------------------------------------------- */

static void make_mark(const struct hosts_owner *owner, char ret[MARK_LEN + 1])
{
	CLEAN(str) char *both = xasprintf("%s %s", owner->cluster, owner->zone);
	char digest[65];

	str_sha256(both, strlen(both), digest);
	(void)snprintf(ret, MARK_LEN + 1, "cmsnode-%.8s", digest);
}

static void put(char *line, size_t column, const char *text)
{
	memcpy(line + column, text, strlen(text));
}

static void put_frame(const char *mark, char *ret)
{
	memset(ret, ' ', LINE - 1);
	ret[LINE - 1] = '\n';
	put(ret, COLUMN_MARK, mark);
}

void hosts_comment_compose(const char *word, const char *mark, char *ret)
{
	put_frame(mark, ret);
	put(ret, 0, "# ");
	put(ret, 2, word);
	ret[COLUMN_HASH] = '#';
}

void hosts_line_compose(const struct hosts_line *line, const char *mark, char *ret)
{
	char since[32];

	if (!line->name[0]) {
		hosts_comment_compose("spare", mark, ret);
		return;
	}
	assert(strlen(line->address) <= ADDRESS_FIELD);
	put_frame(mark, ret);
	put(ret, 0, line->address);
	put(ret, COLUMN_NAME, line->name);
	ret[COLUMN_HASH] = '#';
	(void)snprintf(since, sizeof(since), "%0*" PRId64, SINCE_DIGITS, line->retired_at);
	if (line->retired_at > 0 && strlen(since) == SINCE_DIGITS)
		put(ret, COLUMN_HASH + 1, since);
}

void hosts_begin_compose(const struct hosts_owner *owner, int64_t epoch, int64_t sequence,
			 const char *mark, char *ret)
{
	CLEAN(str)
	char *text = xasprintf("# begin %s %s %" PRId64 " %" PRId64 " " SUM_BLANK, owner->cluster,
			       owner->zone, epoch, sequence);

	/* The longest zone and the largest numbers fit. */
	assert(epoch >= 0 && sequence >= 0 && strlen(text) <= BEGIN_ROOM);
	put_frame(mark, ret);
	put(ret, 0, text);
}

/* Where the checksum stands: the last word before the mark. NULL if there is none. */
static char *sum_in(char *begin)
{
	size_t end = BEGIN_ROOM;

	while (end > SUM_DIGITS && begin[end - 1] == ' ')
		end--;
	return end > SUM_DIGITS && begin[end - SUM_DIGITS - 1] == ' ' ? begin + end - SUM_DIGITS :
									NULL;
}

void hosts_block_seal(char *block, size_t len)
{
	char *sum = sum_in(block);
	char digest[65];

	assert(sum);
	memcpy(sum, SUM_BLANK, SUM_DIGITS);
	str_sha256(block, len, digest);
	memcpy(sum, digest, SUM_DIGITS);
}

/* ---- reading lines ----------------------------------------------------- */

static bool is_blank(char c)
{
	return strchr(BLANKS, c) && c;
}

/* Ends in our mark, which stands in a comment. */
static bool is_ours(const char *line, size_t len, const char *mark)
{
	while (len && (line[len - 1] == '\n' || is_blank(line[len - 1])))
		len--;
	return len > MARK_LEN && memcmp(line + len - MARK_LEN, mark, MARK_LEN) == 0 &&
	       memchr(line, '#', len - MARK_LEN);
}

/* The next word before a comment or the end: its length, 0 if there is none. */
static size_t next_word(const char **at, const char *end)
{
	while (*at < end && is_blank(**at))
		(*at)++;
	const char *word = *at;

	while (word < end && !is_blank(*word) && *word != '#' && *word != '\n' && *word)
		word++;
	return (size_t)(word - *at);
}

static void copy_word(const char *word, size_t len, char *ret, size_t size)
{
	const size_t n = len < size ? len : 0; /* one that is too long is none of ours */

	memcpy(ret, word, n);
	ret[n] = '\0';
}

/* The digits behind the '#'. */
static int64_t read_since(const char *at, const char *end)
{
	char digits[SINCE_DIGITS + 1];
	int64_t since;

	if (at < end && *at == '#')
		at++;
	copy_word(at, next_word(&at, end), digits, sizeof(digits));
	return str_to_int64(digits, 1, INT64_MAX, &since) == 0 ? since : 0;
}

/* A name line of ours that does not hold one of our names keeps "" as its name. */
static void read_name_line(const char *text, size_t len, const char *zone, struct hosts_line *ret)
{
	const char *at = text, *end = text + len;
	enum catalogue_index service;
	size_t shard;
	size_t n = next_word(&at, end);

	copy_word(at, n, ret->address, sizeof(ret->address));
	at += n;
	n = next_word(&at, end);
	copy_word(at, n, ret->name, sizeof(ret->name));
	at += n;
	n = next_word(&at, end);
	struct address address;

	if (n || !names_parse(ret->name, zone, &service, &shard) ||
	    address_parse(ret->address, &address) < 0) {
		ret->name[0] = '\0';
		return;
	}
	str_lower(ret->name);
	ret->retired_at = read_since(at, end);
}

static enum own_kind kind_of(const char *line, size_t len)
{
	static const struct {
		const char *word;
		enum own_kind kind;
	} kinds[] = { { "# begin ", OWN_BEGIN }, { "# end ", OWN_END }, { "# spare ", OWN_SPARE } };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (len > strlen(kinds[i].word) &&
		    memcmp(line, kinds[i].word, strlen(kinds[i].word)) == 0)
			return kinds[i].kind;
	const char *at = line;

	/* A comment, or nothing before the comment. */
	return next_word(&at, line + len) ? OWN_NAME : OWN_FREE;
}

static void add_own(struct own_lines *own, const char *text, size_t offset, size_t len,
		    const char *zone)
{
	GROW(own->items, own->len, own->cap);
	struct own_line *item = &own->items[own->len++];

	*item = (struct own_line){ .kind = kind_of(text + offset, len),
				   .offset = offset,
				   .len = len };
	if (item->kind == OWN_NAME)
		read_name_line(text + offset, len, zone, &item->line);
}

/* Foreign lines that define names of our zone. */
static void note_clashes(const char *line, size_t len, size_t number, const char *zone,
			 struct str_list *clashes)
{
	const char *at = line, *end = line + len;
	enum catalogue_index service;
	size_t shard;

	at += next_word(&at, end);
	for (size_t n = next_word(&at, end); n; at += n, n = next_word(&at, end)) {
		char word[NAMES_NAME_SIZE];

		copy_word(at, n, word, sizeof(word));
		if (clashes->len < CLASHES_MAX && names_parse(word, zone, &service, &shard))
			str_list_take(clashes, xasprintf("%s (line %zu)", word, number));
	}
}

static void read_lines(const char *text, size_t len, const struct hosts_owner *owner,
		       struct hosts_block *block, struct own_lines *own)
{
	size_t number = 0;

	for (size_t at = 0; at < len;) {
		const char *newline = memchr(text + at, '\n', len - at);
		const size_t n = newline ? (size_t)(newline - text) - at + 1 : len - at;

		number++;
		if (is_ours(text + at, n, own->mark))
			add_own(own, text, at, n, owner->zone);
		else
			note_clashes(text + at, n, number, owner->zone, &block->clashes);
		at += n;
	}
}

/* ---- judging the block ------------------------------------------------- */

static void damaged(struct hosts_block *block, const char *what)
{
	if (!block->damage)
		block->damage = xstrdup(what);
}

/* The last one: a new block is written behind an old one, which is then on its way out. */
static bool find_begin(const struct own_lines *own, size_t *ret)
{
	for (size_t i = own->len; i-- > 0;)
		if (own->items[i].kind == OWN_BEGIN) {
			*ret = i;
			return true;
		}
	return false;
}

/* From its begin to its end: whole lines of ours, one behind the other. */
static bool find_end(struct own_lines *own, struct hosts_block *block)
{
	for (size_t i = own->begin; i < own->len; i++) {
		const struct own_line *item = &own->items[i];

		if (item->len != LINE ||
		    (i > own->begin && item->offset != own->items[i - 1].offset + LINE)) {
			damaged(block, "lines of the block were changed in length, taken away or "
				       "put between");
			return false;
		}
		if (item->kind == OWN_END) {
			own->end = i;
			return true;
		}
		if (i > own->begin && item->kind == OWN_BEGIN)
			break;
	}
	damaged(block, "the end of the block is missing");
	return false;
}

static void take_lines(struct own_lines *own, struct hosts_block *block)
{
	for (size_t i = own->begin; i <= own->end; i++) {
		own->items[i].in_block = true;
		if (i == own->begin || i == own->end)
			continue;
		GROW(block->lines, block->len, block->cap);
		block->lines[block->len++] = own->items[i].line;
	}
}

/* "# begin <cluster> <zone> <epoch> <sequence> <sum>" */
static bool read_begin(const char *begin, const struct hosts_owner *owner, struct hosts_block *ret)
{
	CLEAN(str) char *text = xstrndup(begin, BEGIN_ROOM);
	CLEAN(str_list) struct str_list words = { 0 };
	int64_t epoch, sequence;

	str_list_split(&words, text, ' ');
	if (words.len != 7 || !str_eq(words.items[2], owner->cluster) ||
	    !str_eq(words.items[3], owner->zone) ||
	    str_to_int64(words.items[4], 0, INT64_MAX, &epoch) < 0 ||
	    str_to_int64(words.items[5], 0, INT64_MAX, &sequence) < 0 ||
	    !str_is_hex(words.items[6], SUM_DIGITS))
		return false;
	ret->epoch = epoch;
	ret->sequence = sequence;
	return true;
}

static bool sum_fits(const char *text, size_t len)
{
	CLEAN(str) char *copy = xstrndup(text, len);

	if (strlen(copy) != len || !sum_in(copy))
		return false;
	hosts_block_seal(copy, len);
	return memcmp(copy, text, LINE) == 0;
}

static bool judge(const char *text, const struct hosts_owner *owner, const struct own_lines *own,
		  struct hosts_block *block)
{
	const size_t len = (own->end - own->begin + 1) * LINE;

	if (!read_begin(text + block->offset, owner, block)) {
		damaged(block, "the begin line was changed");
		return false;
	}
	if (!sum_fits(text + block->offset, len)) {
		damaged(block, "the checksum does not fit");
		return false;
	}
	for (size_t i = 0; i < own->len; i++)
		if (!own->items[i].in_block && own->items[i].kind != OWN_FREE) {
			damaged(block, "lines of the block lie elsewhere in the file");
			return false;
		}
	return true;
}

void hosts_block_scan(const char *text, size_t len, const struct hosts_owner *owner,
		      struct hosts_block *ret_block, struct own_lines *ret_own)
{
	*ret_block = (struct hosts_block){ 0 };
	*ret_own = (struct own_lines){ 0 };
	make_mark(owner, ret_own->mark);
	read_lines(text, len, owner, ret_block, ret_own);
	ret_block->found = find_begin(ret_own, &ret_own->begin);
	if (!ret_block->found) {
		for (size_t i = 0; i < ret_own->len; i++)
			if (ret_own->items[i].kind != OWN_FREE)
				damaged(ret_block, "the begin of the block is missing");
		return;
	}
	ret_block->offset = ret_own->items[ret_own->begin].offset;
	if (ret_block->offset % LINE)
		damaged(ret_block, "the block was moved to where its lines are not aligned");
	else
		ret_block->sound = find_end(ret_own, ret_block);
	if (!ret_block->sound)
		return;
	take_lines(ret_own, ret_block);
	ret_block->intact = judge(text, owner, ret_own, ret_block);
	if (!ret_block->intact)
		ret_block->epoch = ret_block->sequence = 0;
}

void hosts_block_parse(const char *text, size_t len, const struct hosts_owner *owner,
		       struct hosts_block *ret)
{
	CLEAN(own_lines) struct own_lines own = { 0 };

	hosts_block_scan(text, len, owner, ret, &own);
}
