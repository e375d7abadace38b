/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a hosts file: after the planned writes our block is intact, has every wished name
 * and needs no further write, and no byte of a line without our mark was written over.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/hosts_block.h"

#define NOW 1795347439
#define NAMES 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hosts_owner owner = { "1f2e3d4c5b6a7988", NAMES_ZONE_DEFAULT };

static void die(const char *what)
{
	(void)fprintf(stderr, "%s\n", what);
	abort();
}

/* Within one line of the file as it was, which has a mark; or behind the end. */
static void check_write(const struct hosts_write *write, const char *text, size_t len)
{
	if (write->offset >= len)
		return;
	size_t begin = write->offset, end = write->offset;

	while (begin > 0 && text[begin - 1] != '\n')
		begin--;
	while (end < len && text[end] != '\n')
		end++;
	if (!memmem(text + begin, end - begin, "cmsnode-", strlen("cmsnode-")))
		die("a foreign line was written over");
	if (write->offset + write->len > end + 1)
		die("a write goes over the end of its line");
}

static void apply(struct buf *file, const struct hosts_write *write)
{
	while (file->len < write->offset + write->len)
		(void)buf_add(file, "", 1);
	memcpy(file->data + write->offset, write->text, write->len);
}

static void plan(const struct buf *file, const struct hosts_wish *wish, struct hosts_writes *ret)
{
	struct err err;

	if (hosts_block_plan(buf_str(file), file->len, &owner, wish, NOW, ret, &err) < 0)
		die(err.msg);
}

static void check_result(const struct buf *file, const struct hosts_wish *wish)
{
	CLEAN(hosts_block) struct hosts_block block = { 0 };
	size_t found = 0;

	hosts_block_parse(buf_str(file), file->len, &owner, &block);
	if (!block.intact)
		die(block.damage ? block.damage : "no block");
	for (size_t i = 0; i < block.len; i++)
		found += block.lines[i].name[0] && names_find(&wish->names, block.lines[i].name);
	if (found != wish->names.len)
		die("not every name has one line");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(buf) struct buf file = { 0 };
	CLEAN(hosts_writes) struct hosts_writes writes = { 0 };
	CLEAN(hosts_writes) struct hosts_writes more = { 0 };
	struct hosts_wish wish = { .epoch = 1, .sequence = 7, .decides = size % 2 };

	for (size_t k = 0; k < size % NAMES; k++)
		names_set(&wish.names, CATALOGUE_WORKER, k, owner.zone, "10.0.0.1");
	(void)buf_add(&file, data, size);
	plan(&file, &wish, &writes);
	for (size_t i = 0; i < writes.len; i++) {
		check_write(&writes.items[i], (const char *)data, size);
		apply(&file, &writes.items[i]);
	}
	check_result(&file, &wish);
	plan(&file, &wish, &more);
	if (more.len)
		die("a second pass has something to write");
	names_fini(&wish.names);
	return 0;
}
