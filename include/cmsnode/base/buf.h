/* SPDX-License-Identifier: MIT */
/*
 * A growing byte buffer that knows its ceiling. `data` is always terminated by
 * a NUL that `len` does not count (data may be NULL while nothing was added).
 */
#ifndef CMSNODE_BASE_BUF_H
#define CMSNODE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max;	/* 0: no ceiling (only for bytes that we make ourselves) */
};

#define BUF_INIT(maximum) { .max = (maximum) }

void buf_fini(struct buf *buf);
static inline void clean_buf(struct buf *buf)
{
	buf_fini(buf);
}

/* 0, or -E2BIG when the ceiling would be passed (nothing is added then). */
int buf_add(struct buf *buf, const void *data, size_t len);
int buf_adds(struct buf *buf, const char *s);
int buf_addf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first n bytes. */
void buf_consume(struct buf *buf, size_t n);

/* Hands the (NUL-terminated, never NULL) text over and leaves an empty buffer. */
char *buf_steal(struct buf *buf);

/* The text so far, never NULL. */
const char *buf_str(const struct buf *buf);

#endif
