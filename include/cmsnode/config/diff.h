/* SPDX-License-Identifier: MIT */
/*
 * What differs between two canonical documents, by meaning: neither the order of keys nor the line
 * or file format that a value was written in matters. Goes down into tables as far as both have
 * them, and into the lists of `services` entry by entry; other lists count as one value. Pure.
 */
#ifndef CMSNODE_CONFIG_DIFF_H
#define CMSNODE_CONFIG_DIFF_H

#include <stddef.h>

#include "cmsnode/base/str.h"

struct cJSON;
struct err;
struct value;

struct diff_item {
	struct str_list keys;	/* from the outermost table on: "services", "Worker" */
	int index;		/* entry of a list of `services`; -1: the value itself */
	/* for people: "services.Worker[3]"; keys that TOML quotes are quoted */
	char *path;
	struct value *old;	/* NULL = it was not set */
	struct value *new;	/* NULL = it is not set any more */
};

struct diff {	/* in the order of their keys, whatever the documents' order; entries by index */
	struct diff_item *items;
	size_t len, cap;
};

void diff_fini(struct diff *diff);
static inline void clean_diff(struct diff *diff)
{
	diff_fini(diff);
}

/* Both are tables. *ret is emptied first; copies all that it holds. */
void diff_documents(const struct value *old, const struct value *new, struct diff *ret);

/*
 * The same, one item a key: tables, and lists of `services`, that only one side has are taken apart
 * (an empty one stays an item). For looking at and for asking who reads it: applied or reversed, it
 * would leave empty tables behind.
 */
void diff_leaves(const struct diff *diff, struct diff *ret);

/* From new to old. */
void diff_reverse(struct diff *diff);

/*
 * Makes the target of what the diff was made from. ERR_CONFLICT, with the path and nothing changed,
 * if the document holds another value than the diff's old one.
 */
int diff_apply(struct value *document, const struct diff *diff, struct err *err);

/*
 * 'database.url: "postgresql://u:***@h/db" -> "postgresql://u:***@g/db"', without a newline; "(not
 * set)" stands for no value, "(changed, hidden)" where only what is masked differs. Long values are
 * cut. The caller frees.
 */
char *diff_item_text(const struct diff_item *item);

/* A line for each leaf; "" if nothing differs. The caller frees. */
char *diff_text(const struct diff *diff);

/*
 * [{"path","old","new","hidden"}] of the leaves, masked; null stands for no value. "hidden": only
 * what is masked differs. The caller frees.
 */
struct cJSON *diff_to_json(const struct diff *diff);

#endif
