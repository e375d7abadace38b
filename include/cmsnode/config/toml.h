/* SPDX-License-Identifier: MIT */
/*
 * TOML 1.0 (https://toml.io/en/v1.0.0), read and written. Comments are not
 * kept. Debian 12 has no C library for it, so this one is ours; the public
 * toml-test corpus judges it. Pure.
 */
#ifndef CMSNODE_CONFIG_TOML_H
#define CMSNODE_CONFIG_TOML_H

#include <stddef.h>

struct err;
struct value;

/* Ceilings against hostile input; errors name the one that was passed. */
#define TOML_MAX_SIZE (4u << 20)	/* bytes of text */
#define TOML_MAX_DEPTH 64		/* arrays and tables inside the outermost table */
#define TOML_MAX_KEYS 200000

/*
 * 0 and a table in *ret (the caller frees with value_free()), or -EINVAL /
 * -E2BIG and a message that begins "line L, column C: " and says what was
 * expected there. Columns count characters (not bytes) from 1.
 */
int toml_parse(const char *text, size_t len, struct value **ret, struct err *err);

/*
 * The table as TOML text that toml_parse() reads back to an equal value (while
 * it keeps to the ceilings above): plain values first, then [tables] and
 * [[arrays of tables]] in order; arrays of more than one array one item a line
 * (so services.Worker reads well). A table whose dotted name is very long is
 * written inline. The caller frees.
 */
char *toml_write(const struct value *table);

#endif
