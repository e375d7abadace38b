/* SPDX-License-Identifier: MIT */
/*
 * The JSON text of a cms.conf as values, as Python reads it: keys may repeat
 * (the last one counts), NaN and Infinity are numbers, null means absent. Knows no
 * key of CMS. Pure.
 */
#ifndef CMSNODE_CONFIG_JSON_CONF_H
#define CMSNODE_CONFIG_JSON_CONF_H

#include <stddef.h>

struct buf;
struct err;
struct value;

/* Ceilings against hostile input; errors name the one that was passed. */
#define JSON_CONF_MAX_SIZE (4u << 20)	/* bytes of text */
#define JSON_CONF_MAX_DEPTH 64		/* nested lists and objects */
#define JSON_CONF_MAX_KEYS 10000

/*
 * 0 and a table whose values know their lines (the caller frees), or -EINVAL or
 * -E2BIG with a message that begins "line L, column C: ". Integers are exact to 64
 * bits; of Python's JSON we refuse longer ones, floats beyond a double, lone
 * surrogates, the character NUL and a null in a list. A member that is null is left
 * out and, if ret_nulls is not NULL, noted in that table (the caller frees): its key
 * with any value and the line; of the members of an outermost object, in a table
 * under that object's key; none from deeper.
 */
int json_conf_parse(const char *text, size_t len, struct value **ret, struct value **ret_nulls,
		    struct err *err);

/*
 * Adds plain JSON for Python: infinities and NaN by its words, dates and times as
 * strings (value_to_json() has marks of our own for both).
 */
void json_conf_write_value(struct buf *out, const struct value *value);

/*
 * Adds a comma if `out`, which began with "{", holds a member already, and then, on a
 * line of its own, "name": (and the value; NULL: null).
 */
void json_conf_begin_member(struct buf *out, const char *name);
void json_conf_write_member(struct buf *out, const char *name, const struct value *value);

#endif
