/* SPDX-License-Identifier: MIT */
/*
 * What a node agreed to last, as the text of <state-dir>/last-agreed.json: with
 * it a node starts while etcd is away, knows that a store has fallen behind, and
 * fills a wiped one again. One JSON object:
 *
 *   {"prefix": "/cms", "digest": "...", "current": {...}, "meta": {...},
 *    "entries": {"cms/database/url": "...", ...}}
 *
 * current and meta as in the store, entries the keys of the directory with their
 * values as texts; their digests are over these entries, as this program writes
 * them; `digest` is the one that was agreed. It holds secrets: 0600 root.
 * Whatever does not fit its digest is refused. Pure.
 */
#ifndef CMSNODE_AGREEMENT_LAST_AGREED_H
#define CMSNODE_AGREEMENT_LAST_AGREED_H

#include <stddef.h>

struct err;
struct generation;

#define LAST_AGREED_MAX (8 << 20) /* bytes of the file */

/* NULL and err if the generation cannot be written. Caller frees. */
char *last_agreed_to_json(const struct generation *generation, const char *prefix,
			  struct err *err);

/* -EINVAL and what is wrong: damaged, of another prefix, of a newer program. */
int last_agreed_from_json(const char *text, size_t len, const char *prefix,
			  struct generation **ret, struct err *err);

#endif
