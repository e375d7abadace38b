/* SPDX-License-Identifier: MIT */
/*
 * Our block in a hosts file, as text, and the writes that lead from the file as
 * it is to the file as wanted. Pure.
 *
 *   127.0.0.1 localhost                                      foreign, never touched
 *   # pad                                                    #           cmsnode-5f2a9c1d
 *   # begin 1f2e3d4c5b6a7988 cms.internal 1 42 9f86d081                  cmsnode-5f2a9c1d
 *   10.0.3.17        logservice.cms.internal                 #           cmsnode-5f2a9c1d
 *   127.255.255.254  worker-7.cms.internal                   #1795347439 cmsnode-5f2a9c1d
 *   # spare                                                  #           cmsnode-5f2a9c1d
 *   # end                                                    #           cmsnode-5f2a9c1d
 *
 * begin: cluster, zone, epoch, sequence, checksum. The mark at the end of each
 * line is made from cluster and zone; a number before it says since when (epoch
 * seconds) nobody wants this name.
 *
 * A reader of the file (glibc) takes 4096 bytes at a time and can come between
 * any two writes. So every line of the block is 128 bytes at a multiple of 128:
 * none crosses such a border, and an address changes by one write. No line ever
 * moves: new names take spare lines; when these are used up, the block gets more
 * at its end if it ends the file, else a new block is written behind
 * everything and the old one then becomes comments ("# free"). Every line ends in
 * the mark, so that each is known as ours whatever an editor did around it.
 *
 * Two clusters on one machine differ in `cluster` or zone; each other's lines
 * are foreign text. Lines with the mark of a cluster that has no daemon any more
 * are nobody's: an operator may delete them.
 */
#ifndef CMSNODE_TOPOLOGY_HOSTS_BLOCK_H
#define CMSNODE_TOPOLOGY_HOSTS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/base/str.h"
#include "cmsnode/topology/names.h"

struct err;

#define HOSTS_BLOCK_LINE 128
#define HOSTS_BLOCK_RETIRE_S 86400	/* how long an unwanted name stays, at the vacant address */
#define HOSTS_BLOCK_FILE_MAX (8 << 20)	/* bytes of a hosts file that we work on */

struct hosts_owner {
	char cluster[17];	/* 16 hex digits: node_socket_cluster_hash() of the prefix */
	char zone[NAMES_ZONE_MAX + 1];
};

/* What a daemon wants to stand in the file. */
struct hosts_wish {
	int64_t epoch, sequence;	/* of the generation that the addresses are from */
	struct names names;
	/*
	 * This daemon's node runs EvaluationService: where the file has the same
	 * (epoch, sequence), its addresses are the right ones.
	 */
	bool decides;
};

struct hosts_line {
	char name[NAMES_NAME_SIZE];	/* "" = a spare */
	char address[ADDRESS_TEXT_SIZE];
	int64_t retired_at;		/* epoch seconds; 0 = wanted */
};

/* What the file holds of ours. */
struct hosts_block {
	bool found;	/* a begin line of ours */
	/*
	 * sound: aligned, in one piece, each line whole, so that it can be changed in
	 * place. intact: the checksum fits, too, and no live line of ours lies elsewhere.
	 */
	bool sound, intact;
	int64_t epoch, sequence;	/* of an intact one; else 0 */
	size_t offset;		/* of the begin line */
	struct hosts_line *lines;	/* of a sound one: between begin and end */
	size_t len, cap;
	char *damage;		/* what is wrong, for people; NULL = nothing */
	/* "worker-1.cms.internal (line 3)": foreign lines that define names of our zone */
	struct str_list clashes;
};

void hosts_block_fini(struct hosts_block *block);
static inline void clean_hosts_block(struct hosts_block *block)
{
	hosts_block_fini(block);
}

/* Any bytes at all may stand in text. *ret is overwritten. */
void hosts_block_parse(const char *text, size_t len, const struct hosts_owner *owner,
		       struct hosts_block *ret);

struct hosts_write {
	size_t offset;
	char *text;
	size_t len;
};

/* To be done one by one in this order, each by one pwrite(). Empty = all is well. */
struct hosts_writes {
	struct hosts_write *items;
	size_t len, cap;
	size_t lost;	/* wanted names that the file did not have */
	struct str_list clashes;	/* as in struct hosts_block */
};

void hosts_writes_fini(struct hosts_writes *writes);
static inline void clean_hosts_writes(struct hosts_writes *writes)
{
	hosts_writes_fini(writes);
}

/*
 * The writes that lead from `text` to `wish`. A wanted name that is missing is
 * added always. Addresses and head of an intact block with a higher (epoch,
 * sequence), or with the same unless wish->decides, stay; otherwise they become
 * the wish's, and a name that is not wanted any more goes to the vacant
 * address; after HOSTS_BLOCK_RETIRE_S its line may be used for another name.
 * Only lines of ours and what lies behind the end of the file are written over;
 * a foreign last line without a newline gets one. now_s: epoch seconds.
 * 0; -EINVAL for an address that is none; -E2BIG if the file would grow over
 * HOSTS_BLOCK_FILE_MAX. *ret is overwritten (empty on failure).
 */
int hosts_block_plan(const char *text, size_t len, const struct hosts_owner *owner,
		     const struct hosts_wish *wish, int64_t now_s, struct hosts_writes *ret,
		     struct err *err);

/* The writes that turn every line of ours into a comment (names are switched off). */
void hosts_block_plan_removal(const char *text, size_t len, const struct hosts_owner *owner,
			      struct hosts_writes *ret);

#endif
