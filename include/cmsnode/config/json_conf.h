/* SPDX-License-Identifier: MIT */
/*
 * The JSON text of a cms.conf as values, as Python reads it: keys may repeat
 * (the last one counts), null means absent. Knows no key of CMS. Pure.
 */
#ifndef CMSNODE_CONFIG_JSON_CONF_H
#define CMSNODE_CONFIG_JSON_CONF_H

#include <stddef.h>

struct err;
struct value;

/* Ceilings against hostile input; errors name the one that was passed. */
#define JSON_CONF_MAX_SIZE (4u << 20)	/* bytes of text */
#define JSON_CONF_MAX_DEPTH 64		/* nested lists and objects */
#define JSON_CONF_MAX_KEYS 10000

/*
 * 0 and a table whose values know their lines (the caller frees), or -EINVAL or
 * -E2BIG with a message that begins "line L, column C: " where a place is known. Integers are
 * exact to 64 bits; a member that is null is left out, a null in a list is refused.
 */
int json_conf_parse(const char *text, size_t len, struct value **ret, struct err *err);

#endif
