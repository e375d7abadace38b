/* SPDX-License-Identifier: MIT */
/* A growing byte buffer with a ceiling. */
#include "cmsnode/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/mem.h"

void buf_fini(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf)BUF_INIT(buf->max);
}

static int buf_reserve(struct buf *buf, size_t more)
{
	if (buf->max && (more > buf->max || buf->len > buf->max - more))
		return -E2BIG;
	if (buf->len + more + 1 > buf->cap) {
		size_t cap = buf->cap ? buf->cap : 64;

		while (cap < buf->len + more + 1)
			cap *= 2;
		buf->data = xrealloc(buf->data, cap);
		buf->cap = cap;
	}
	return 0;
}

int buf_add(struct buf *buf, const void *data, size_t len)
{
	const int r = buf_reserve(buf, len);
	if (r < 0)
		return r;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return 0;
}

int buf_adds(struct buf *buf, const char *s)
{
	return buf_add(buf, s, strlen(s));
}

int buf_addf(struct buf *buf, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	char *s = NULL;
	const int n = vasprintf(&s, fmt, args);

	va_end(args);
	if (n < 0)
		return -ENOMEM;
	const int r = buf_add(buf, s, (size_t)n);

	free(s);
	return r;
}

void buf_consume(struct buf *buf, size_t n)
{
	if (n >= buf->len) {
		buf->len = 0;
	} else {
		memmove(buf->data, buf->data + n, buf->len - n);
		buf->len -= n;
	}
	if (buf->data)
		buf->data[buf->len] = '\0';
}

char *buf_steal(struct buf *buf)
{
	char *data = buf->data ? buf->data : xstrdup("");

	*buf = (struct buf)BUF_INIT(buf->max);
	return data;
}

const char *buf_str(const struct buf *buf)
{
	return buf->data ? buf->data : "";
}
