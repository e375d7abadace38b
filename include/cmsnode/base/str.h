/* SPDX-License-Identifier: MIT */
/* Small things about strings that libc lacks. Pure. */
#ifndef CMSNODE_BASE_STR_H
#define CMSNODE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str_list {
	char **items;
	size_t len;
	size_t cap;
};

void str_list_fini(struct str_list *list);
static inline void clean_str_list(struct str_list *list)
{
	str_list_fini(list);
}
void str_list_add(struct str_list *list, const char *s);	/* copies */
void str_list_take(struct str_list *list, char *s);		/* takes ownership */
/* adds the parts, blanks trimmed, empty ones left out */
void str_list_split(struct str_list *list, const char *s, char separator);
bool str_list_has(const struct str_list *list, const char *s);
void str_list_copy(struct str_list *to, const struct str_list *from);	/* `to` is emptied first */
bool str_list_equal(const struct str_list *a, const struct str_list *b);
void str_list_sort(struct str_list *list);
char *str_list_join(const struct str_list *list, const char *separator); /* caller frees */

bool str_eq(const char *a, const char *b);	/* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
void str_lower(char *s);			/* ASCII only */

/*
 * The whole of s is a decimal integer in [min, max]. 0, or -EINVAL / -ERANGE; *ret untouched then.
 */
int str_to_int64(const char *s, int64_t min, int64_t max, int64_t *ret);
int str_to_uint64(const char *s, uint64_t *ret);

void str_hex(const void *data, size_t len, char *ret);	/* 2 * len digits and a NUL */
bool str_is_hex(const char *s, size_t digits);		/* exactly that many hex digits */

/* SHA-256 of data as 64 lower-case hex digits and a NUL. */
void str_sha256(const void *data, size_t len, char ret[65]);

/*
 * The candidate nearest to word (edit distance at most a third of its length, plus one), or NULL.
 */
const char *str_nearest(const char *word, const char *const *candidates, size_t n);

/*
 * Where `key` stands, or would have to be put, in `len` items of `size` bytes that are sorted by
 * their first member, a char *.
 */
size_t str_sorted_at(const void *items, size_t len, size_t size, const char *key);
bool str_sorted_has(const void *items, size_t len, size_t size, const char *key, size_t *ret_at);

#endif
