/* SPDX-License-Identifier: MIT */
/*
 * Allocation that aborts when there is no memory, and scope-owned resources:
 *
 *     CLEAN(str) char *s = xstrdup("x");    freed at the end of the scope
 *     return steal(s);                      handed over, s is NULL afterwards
 *
 * A type X with a destructor defines `static inline void clean_X(T **p)`.
 */
#ifndef CMSNODE_BASE_MEM_H
#define CMSNODE_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);			/* NULL gives NULL */
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t size);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Makes room for one more element behind `len` of them; `p` is the array
 * pointer, `cap` its size_t capacity.
 */
#define GROW(p, len, cap)                                                        \
	do {                                                                     \
		if ((len) >= (cap)) {                                            \
			(cap) = (cap) ? (cap) * 2 : 8;                           \
			(p) = xrealloc((p), (cap) * sizeof(*(p)));               \
		}                                                                \
	} while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define CLEAN(name) __attribute__((cleanup(clean_##name)))

#define steal(p)                                                                 \
	({                                                                       \
		__auto_type steal_value = (p);                                   \
		(p) = NULL;                                                      \
		steal_value;                                                     \
	})

static inline void clean_str(char **p)
{
	free(*p);
}

void clean_fd(int *fd);	/* closes a descriptor >= 0; errno is kept */

#endif
