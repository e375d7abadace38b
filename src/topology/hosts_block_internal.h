/* SPDX-License-Identifier: MIT */
/*
 * What reading the block and planning its changes share: where our lines are,
 * and how each kind is written.
 *
 *   column   0        39  40      99    100     110  111              127
 *            address  ' ' name    '#'   since   ' '  cmsnode-5f2a9c1d '\n'
 *            # word ......        '#'           ' '  cmsnode-5f2a9c1d '\n'
 */
#ifndef CMSNODE_SRC_TOPOLOGY_HOSTS_BLOCK_INTERNAL_H
#define CMSNODE_SRC_TOPOLOGY_HOSTS_BLOCK_INTERNAL_H

#include "cmsnode/topology/hosts_block.h"

#define LINE HOSTS_BLOCK_LINE
#define COLUMN_NAME 40
#define COLUMN_HASH 99
#define COLUMN_MARK 111
#define MARK_LEN 16
#define ADDRESS_FIELD (COLUMN_NAME - 1)

enum own_kind {
	OWN_BEGIN,
	OWN_END,
	OWN_SPARE,
	OWN_NAME, /* not a comment; its name is "" if it is not one of ours */
	OWN_FREE, /* a comment that nothing needs: pad, free */
};

struct own_line {
	enum own_kind kind;
	size_t offset, len; /* with the newline, if it has one */
	bool in_block;
	struct hosts_line line; /* of OWN_NAME */
};

struct own_lines {
	char mark[MARK_LEN + 1];
	struct own_line *items;
	size_t len, cap;
	size_t begin, end; /* items of a sound block: its first and last line */
};

void own_lines_fini(struct own_lines *own);
static inline void clean_own_lines(struct own_lines *own)
{
	own_lines_fini(own);
}

/* hosts_block_parse(), and where each line is. Both are overwritten. */
void hosts_block_scan(const char *text, size_t len, const struct hosts_owner *owner,
		      struct hosts_block *ret_block, struct own_lines *ret_own);

/* Each fills LINE bytes. */
void hosts_line_compose(const struct hosts_line *line, const char *mark, char *ret);
void hosts_comment_compose(const char *word, const char *mark, char *ret);

/* The checksum is left blank. */
void hosts_begin_compose(const struct hosts_owner *owner, int64_t epoch, int64_t sequence,
			 const char *mark, char *ret);

/* Computes the checksum of a whole block and puts it into its begin line. */
void hosts_block_seal(char *block, size_t len);

#endif
