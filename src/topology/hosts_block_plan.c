/* SPDX-License-Identifier: MIT */
/*
 * The writes from the hosts file as it is to the file as wished. After each one
 * of them every name that was there still resolves, to its old or its new
 * address; foreign bytes are never covered.
 */
#include "hosts_block_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/network/address.h"
#include "cmsnode/topology/slots.h"

#define SPARES_MIN 16
#define PAGE_LINES 32 /* a block grows by whole pages of lines */
#define PAD_MIN (MARK_LEN + 3) /* "# ", the mark, a newline */
#define NOWHERE SIZE_MAX

struct plan {
	const char *text;
	size_t len;
	const struct hosts_owner *owner;
	const struct hosts_wish *wish;
	int64_t now_s;
	struct hosts_block block;
	struct own_lines own;
	bool ahead; /* what the block says stays */
	const char **standing; /* of each wished name: its address in the file, or NULL */
	bool *placed; /* of each wished name: it has its line */
	struct hosts_line *lines; /* as they shall be */
	size_t lines_len, lines_cap;
	struct hosts_writes *writes;
};

static void plan_fini(struct plan *plan)
{
	hosts_block_fini(&plan->block);
	own_lines_fini(&plan->own);
	free(plan->standing);
	free(plan->placed);
	free(plan->lines);
}

void hosts_writes_fini(struct hosts_writes *writes)
{
	for (size_t i = 0; i < writes->len; i++)
		free(writes->items[i].text);
	free(writes->items);
	str_list_fini(&writes->clashes);
	*writes = (struct hosts_writes){ 0 };
}

static void add_write(struct hosts_writes *writes, size_t offset, const char *text, size_t len)
{
	GROW(writes->items, writes->len, writes->cap);
	writes->items[writes->len++] = (struct hosts_write){ offset, xmemdup(text, len), len };
}

/* ---- what the lines shall say ------------------------------------------ */

/* The index of a line's name in the wish, or NOWHERE. */
static size_t wished(const struct plan *plan, const char *name)
{
	enum catalogue_index service;
	size_t shard;

	if (!names_parse(name, plan->owner->zone, &service, &shard))
		return NOWHERE;
	const struct name *found = names_of_slot(&plan->wish->names, service, shard);

	return found ? (size_t)(found - plan->wish->names.items) : NOWHERE;
}

/* A reader takes the first line of a name. */
static void note_standing(struct plan *plan)
{
	for (size_t i = 0; i < plan->own.len; i++) {
		const struct hosts_line *line = &plan->own.items[i].line;
		const size_t at = line->name[0] ? wished(plan, line->name) : NOWHERE;

		if (at != NOWHERE && !plan->standing[at])
			plan->standing[at] = line->address;
	}
	for (size_t i = 0; i < plan->wish->names.len; i++)
		plan->writes->lost += !plan->standing[i];
}

static struct hosts_line wanted_line(const struct plan *plan, size_t at)
{
	const struct name *name = &plan->wish->names.items[at];
	struct hosts_line line = { 0 };
	const char *address =
		plan->ahead && plan->standing[at] ? plan->standing[at] : name->address;

	memcpy(line.name, name->name, strlen(name->name) + 1);
	memcpy(line.address, address, strlen(address) + 1);
	return line;
}

static struct hosts_line retired_line(const struct plan *plan, const struct hosts_line *from)
{
	struct hosts_line line = *from;

	memcpy(line.address, SLOT_VACANT_ADDRESS, sizeof(SLOT_VACANT_ADDRESS));
	/* A stamp of the future is another clock's: begin anew. */
	if (line.retired_at <= 0 || line.retired_at > plan->now_s)
		line.retired_at = plan->now_s;
	return line;
}

static bool may_go(const struct plan *plan, const struct hosts_line *line)
{
	return !line->name[0] ||
	       (line->retired_at > 0 && plan->now_s - line->retired_at >= HOSTS_BLOCK_RETIRE_S);
}

static void add_line(struct plan *plan, struct hosts_line line)
{
	GROW(plan->lines, plan->lines_len, plan->lines_cap);
	plan->lines[plan->lines_len++] = line;
}

/* What a line that is there says from now on; a second line of a name becomes a spare. */
static struct hosts_line next_state(struct plan *plan, const struct hosts_line *old)
{
	const size_t at = old->name[0] ? wished(plan, old->name) : NOWHERE;

	if (!old->name[0] || (at != NOWHERE && plan->placed[at]))
		return (struct hosts_line){ 0 };
	if (at != NOWHERE)
		plan->placed[at] = true;
	if (plan->ahead)
		return *old;
	return at != NOWHERE ? wanted_line(plan, at) : retired_line(plan, old);
}

/* Spares first, then lines of names that nobody has wanted for a day; NOWHERE: none is left. */
static size_t free_line(const struct plan *plan, size_t from, bool retired_too)
{
	for (size_t i = from; i < plan->lines_len; i++)
		if (!plan->lines[i].name[0] || (retired_too && may_go(plan, &plan->lines[i])))
			return i;
	return NOWHERE;
}

/* Gives each name that has no line one of the free ones; the number of those without. */
static size_t place_missing(struct plan *plan)
{
	bool retired_too = false;
	size_t from = 0, without = 0;

	for (size_t i = 0; i < plan->wish->names.len; i++) {
		if (plan->placed[i])
			continue;
		size_t at = free_line(plan, from, retired_too);
		if (at == NOWHERE && !retired_too) {
			retired_too = true;
			at = free_line(plan, 0, true);
		}
		if (at == NOWHERE) {
			without++;
			from = plan->lines_len;
			continue;
		}
		plan->lines[at] = wanted_line(plan, i);
		plan->placed[i] = true;
		from = at + 1;
	}
	return without;
}

static bool has_line(const struct plan *plan, const char *name)
{
	for (size_t i = plan->wish->names.len; i < plan->lines_len; i++)
		if (strcmp(plan->lines[i].name, name) == 0)
			return true;
	return false;
}

/* For a new block: the wished names, then those of ours in the file that have to stay a while. */
static void lines_of_new_block(struct plan *plan)
{
	plan->lines_len = 0;
	for (size_t i = 0; i < plan->wish->names.len; i++)
		add_line(plan, wanted_line(plan, i));
	for (size_t i = 0; i < plan->own.len; i++) {
		const struct hosts_line *line = &plan->own.items[i].line;

		if (line->name[0] && wished(plan, line->name) == NOWHERE && !may_go(plan, line) &&
		    !has_line(plan, line->name))
			add_line(plan, plan->ahead ? *line : retired_line(plan, line));
	}
}

/* Begin and end included, the block fills whole pages; spares, so that it seldom has to grow. */
static void add_spares(struct plan *plan)
{
	size_t used = 0;

	for (size_t i = 0; i < plan->lines_len; i++)
		used += plan->lines[i].name[0] != '\0';
	const size_t spares = used / 2 > SPARES_MIN ? used / 2 : SPARES_MIN;
	const size_t least = used + spares + 2;
	const size_t lines = (least + PAGE_LINES - 1) / PAGE_LINES * PAGE_LINES - 2;

	while (plan->lines_len < lines)
		add_line(plan, (struct hosts_line){ 0 });
}

/* ---- writing it down --------------------------------------------------- */

/* The whole block as it shall be. */
static void compose(const struct plan *plan, struct buf *ret)
{
	char line[LINE];

	hosts_begin_compose(plan->owner, plan->ahead ? plan->block.epoch : plan->wish->epoch,
			    plan->ahead ? plan->block.sequence : plan->wish->sequence,
			    plan->own.mark, line);
	(void)buf_add(ret, line, LINE);
	for (size_t i = 0; i < plan->lines_len; i++) {
		hosts_line_compose(&plan->lines[i], plan->own.mark, line);
		(void)buf_add(ret, line, LINE);
	}
	hosts_comment_compose("end", plan->own.mark, line);
	(void)buf_add(ret, line, LINE);
	hosts_block_seal(ret->data, ret->len);
}

static void write_part(struct plan *plan, size_t offset, const char *line, size_t from, size_t to)
{
	if (memcmp(plan->text + offset + from, line + from, to - from) != 0)
		add_write(plan->writes, offset + from, line + from, to - from);
}

/*
 * The address is what makes a line count, and stands within one cache line: the rest is changed
 * only while the line is a comment, or where it is a comment itself. So nobody sees half a name.
 */
static void write_line(struct plan *plan, size_t offset, const char *line)
{
	const char *old = plan->text + offset;
	const bool same_name =
		memcmp(old + ADDRESS_FIELD, line + ADDRESS_FIELD, COLUMN_HASH - ADDRESS_FIELD) == 0;
	char spare[LINE];

	if (memcmp(old, line, LINE) == 0)
		return;
	hosts_comment_compose("spare", plan->own.mark, spare);
	if (same_name || line[0] == '#') {
		write_part(plan, offset, line, 0, ADDRESS_FIELD);
		write_part(plan, offset, line, ADDRESS_FIELD, LINE);
		return;
	}
	if (old[0] != '#')
		add_write(plan->writes, offset, spare, ADDRESS_FIELD);
	write_part(plan, offset, line, ADDRESS_FIELD, LINE);
	add_write(plan->writes, offset, line, ADDRESS_FIELD);
}

/*
 * The lines behind the old end come first, all at once: they lie behind the end of the file. The
 * begin line comes last: until then the checksum says that somebody was interrupted.
 */
static void write_in_place(struct plan *plan, const struct buf *wanted)
{
	const size_t offset = plan->block.offset;
	const size_t old_len = (plan->own.end - plan->own.begin + 1) * LINE;

	if (wanted->len > old_len)
		add_write(plan->writes, offset + old_len, wanted->data + old_len,
			  wanted->len - old_len);
	for (size_t at = LINE; at < old_len; at += LINE)
		write_line(plan, offset + at, wanted->data + at);
	write_part(plan, offset, wanted->data, 0, LINE);
}

/* A comment of `len` bytes up to its newline. */
static void add_pad(struct buf *buf, size_t len, const char *mark)
{
	CLEAN(str) char *blanks = xmalloc(len);

	memset(blanks, ' ', len);
	blanks[0] = '#';
	if (len > PAD_MIN + strlen("pad "))
		memcpy(blanks + 2, "pad", strlen("pad"));
	memcpy(blanks + len - 1 - MARK_LEN, mark, MARK_LEN);
	blanks[len - 1] = '\n';
	(void)buf_add(buf, blanks, len);
}

static void write_behind(struct plan *plan, const struct buf *wanted)
{
	CLEAN(buf) struct buf all = { 0 };

	if (plan->len && plan->text[plan->len - 1] != '\n')
		(void)buf_adds(&all, "\n");
	size_t gap = (LINE - (plan->len + all.len) % LINE) % LINE;
	if (gap > 0 && gap < PAD_MIN)
		gap += LINE;
	if (gap)
		add_pad(&all, gap, plan->own.mark);
	(void)buf_add(&all, wanted->data, wanted->len);
	add_write(plan->writes, plan->len, all.data, all.len);
}

/* Where the mark begins that ends the line. */
static size_t mark_at(const char *line, size_t len, const char *mark)
{
	size_t at = len - MARK_LEN;

	while (memcmp(line + at, mark, MARK_LEN) != 0) {
		assert(at > 0); /* the line was taken for ours because it ends in the mark */
		at--;
	}
	return at;
}

/* Its mark stays, so that it is known as ours. */
static void free_own_line(const char *text, const struct own_line *item, const char *mark,
			  struct hosts_writes *writes)
{
	static const char word[] = "# free";
	const size_t len = mark_at(text + item->offset, item->len, mark);
	CLEAN(str) char *line = xmalloc(len);

	memset(line, ' ', len);
	memcpy(line, word, len < strlen(word) ? 1 : strlen(word));
	add_write(writes, item->offset, line, len);
}

static void free_lines(struct plan *plan, bool of_block_too)
{
	for (size_t i = 0; i < plan->own.len; i++) {
		const struct own_line *item = &plan->own.items[i];

		if (item->kind != OWN_FREE && (of_block_too || !item->in_block))
			free_own_line(plan->text, item, plan->own.mark, plan->writes);
	}
}

/* ---- the plan ---------------------------------------------------------- */

static int check_addresses(const struct hosts_wish *wish, struct err *err)
{
	for (size_t i = 0; i < wish->names.len; i++) {
		struct address address;

		if (address_parse(wish->names.items[i].address, &address) < 0 ||
		    strlen(wish->names.items[i].address) > ADDRESS_FIELD)
			return err_set(err, -EINVAL, "'%s', where %s shall be, is no address",
				       wish->names.items[i].address, wish->names.items[i].name);
	}
	return 0;
}

static bool is_ahead(const struct hosts_block *block, const struct hosts_wish *wish)
{
	if (!block->intact)
		return false;
	if (block->epoch != wish->epoch)
		return block->epoch > wish->epoch;
	return block->sequence > wish->sequence ||
	       (block->sequence == wish->sequence && !wish->decides);
}

/* In place if the names have room there, or if nothing follows that would be in the way. */
static bool fits_in_place(struct plan *plan)
{
	if (!plan->block.sound)
		return false;
	for (size_t i = 0; i < plan->block.len; i++)
		add_line(plan, next_state(plan, &plan->block.lines[i]));
	if (place_missing(plan) == 0)
		return true;
	const struct own_line *end = &plan->own.items[plan->own.end];

	if (end->offset + end->len != plan->len)
		return false;
	for (size_t i = 0; i < plan->wish->names.len; i++)
		if (!plan->placed[i])
			add_line(plan, wanted_line(plan, i));
	add_spares(plan);
	return true;
}

static int make_writes(struct plan *plan, struct err *err)
{
	CLEAN(buf) struct buf wanted = { 0 };
	const bool in_place = fits_in_place(plan);

	if (!in_place) {
		lines_of_new_block(plan);
		add_spares(plan);
	}
	if (plan->len + (plan->lines_len + 3) * LINE > HOSTS_BLOCK_FILE_MAX)
		return err_set(err, -E2BIG, "the file would grow over %d bytes",
			       HOSTS_BLOCK_FILE_MAX);
	compose(plan, &wanted);
	if (in_place)
		write_in_place(plan, &wanted);
	else
		write_behind(plan, &wanted);
	free_lines(plan, !in_place);
	return 0;
}

int hosts_block_plan(const char *text, size_t len, const struct hosts_owner *owner,
		     const struct hosts_wish *wish, int64_t now_s, struct hosts_writes *ret,
		     struct err *err)
{
	struct plan plan = { .text = text,
			     .len = len,
			     .owner = owner,
			     .wish = wish,
			     .now_s = now_s,
			     .writes = ret };

	*ret = (struct hosts_writes){ 0 };
	int r = check_addresses(wish, err);
	if (r < 0)
		return r;
	hosts_block_scan(text, len, owner, &plan.block, &plan.own);
	ret->clashes = plan.block.clashes;
	plan.block.clashes = (struct str_list){ 0 };
	plan.ahead = is_ahead(&plan.block, wish);
	plan.standing = xcalloc(wish->names.len + 1, sizeof(*plan.standing));
	plan.placed = xcalloc(wish->names.len + 1, sizeof(*plan.placed));
	note_standing(&plan);
	r = make_writes(&plan, err);
	plan_fini(&plan);
	if (r < 0)
		hosts_writes_fini(ret);
	return r;
}

void hosts_block_plan_removal(const char *text, size_t len, const struct hosts_owner *owner,
			      struct hosts_writes *ret)
{
	struct plan plan = { .text = text, .len = len, .writes = ret };

	*ret = (struct hosts_writes){ 0 };
	hosts_block_scan(text, len, owner, &plan.block, &plan.own);
	free_lines(&plan, true);
	plan_fini(&plan);
}
