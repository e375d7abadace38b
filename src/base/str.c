/* SPDX-License-Identifier: MIT */
/* Small things about strings that libc lacks. Pure. */
#include "cmsnode/base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "cmsnode/base/mem.h"

void str_list_fini(struct str_list *list)
{
	for (size_t i = 0; i < list->len; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct str_list){ 0 };
}

void str_list_take(struct str_list *list, char *s)
{
	GROW(list->items, list->len, list->cap);
	list->items[list->len++] = s;
}

void str_list_add(struct str_list *list, const char *s)
{
	str_list_take(list, xstrdup(s));
}

void str_list_split(struct str_list *list, const char *s, char separator)
{
	while (*s) {
		const char *end = strchrnul(s, separator);
		const char *from = s;
		const char *to = end;

		while (from < to && isspace((unsigned char)*from))
			from++;
		while (to > from && isspace((unsigned char)to[-1]))
			to--;
		if (to > from)
			str_list_take(list, xstrndup(from, (size_t)(to - from)));
		s = *end ? end + 1 : end;
	}
}

bool str_list_has(const struct str_list *list, const char *s)
{
	for (size_t i = 0; i < list->len; i++)
		if (strcmp(list->items[i], s) == 0)
			return true;
	return false;
}

void str_list_copy(struct str_list *to, const struct str_list *from)
{
	if (to == from)
		return;
	str_list_fini(to);
	for (size_t i = 0; i < from->len; i++)
		str_list_add(to, from->items[i]);
}

bool str_list_equal(const struct str_list *a, const struct str_list *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

static int compare_str(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void str_list_sort(struct str_list *list)
{
	if (list->len)
		qsort(list->items, list->len, sizeof(list->items[0]), compare_str);
}

char *str_list_join(const struct str_list *list, const char *separator)
{
	size_t size = 1;

	for (size_t i = 0; i < list->len; i++)
		size += strlen(list->items[i]) + strlen(separator);
	char *joined = xmalloc(size);
	char *end = joined;

	for (size_t i = 0; i < list->len; i++) {
		if (i)
			end = stpcpy(end, separator);
		end = stpcpy(end, list->items[i]);
	}
	*end = '\0';
	return joined;
}

bool str_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	const size_t n = strlen(s);
	const size_t m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

void str_lower(char *s)
{
	for (; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}

int str_to_int64(const char *s, int64_t min, int64_t max, int64_t *ret)
{
	if (!s || !(isdigit((unsigned char)*s) || ((*s == '-' || *s == '+') && s[1])))
		return -EINVAL;
	char *end;

	errno = 0;
	const long long value = strtoll(s, &end, 10);
	if (*end || end == s)
		return -EINVAL;
	if (errno || value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int str_to_uint64(const char *s, uint64_t *ret)
{
	if (!s || !isdigit((unsigned char)*s))
		return -EINVAL;
	char *end;

	errno = 0;
	const unsigned long long value = strtoull(s, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno)
		return -ERANGE;
	*ret = value;
	return 0;
}

void str_hex(const void *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[2 * len] = '\0';
}

bool str_is_hex(const char *s, size_t digits)
{
	size_t n = 0;

	while (isxdigit((unsigned char)s[n]))
		n++;
	return n == digits && s[n] == '\0';
}

void str_sha256(const void *data, size_t len, char ret[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (!EVP_Digest(data, len, digest, &n, EVP_sha256(), NULL))
		abort();
	str_hex(digest, 32, ret);
}

#define NEAREST_MAX 256 /* bytes of a word that is worth a look */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * Levenshtein's distance of two short words, or anything beyond `most` if it is more. Row i needs
 * only the columns within `most` of i. Outside of them it is more than that, and so is what stands
 * there in `row`: on the left i, on the right the number of the column.
 */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m, size_t most)
{
	size_t row[NEAREST_MAX + 1];

	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		const size_t first = i > most ? i - most : 1;
		const size_t last = least(m, i + most);
		size_t diagonal = row[first - 1];
		size_t best = i;

		row[first - 1] = i;
		for (size_t j = first; j <= last; j++) {
			const size_t above = row[j];

			row[j] = least(diagonal + (a[i - 1] != b[j - 1]),
				       least(above, row[j - 1]) + 1);
			best = least(best, row[j]);
			diagonal = above;
		}
		if (best > most)
			break;
	}
	return row[m];
}

const char *str_nearest(const char *word, const char *const *candidates, size_t n)
{
	const size_t length = strlen(word);
	const char *nearest = NULL;
	size_t best = length / 3 + 1;

	if (length > NEAREST_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const size_t other = strlen(candidates[i]);
		/* They differ by what one is longer, at the least. */
		if (other > NEAREST_MAX || other > length + best || length > other + best)
			continue;
		const size_t distance = edit_distance(word, length, candidates[i], other, best);

		if (distance <= best && (!nearest || distance < best)) {
			best = distance;
			nearest = candidates[i];
		}
	}
	return nearest;
}

/* ---- sorted by name ----------------------------------------------------- */

static const char *key_at(const void *items, size_t size, size_t i)
{
	const char *key;

	memcpy(&key, (const char *)items + i * size, sizeof(key));
	return key;
}

size_t str_sorted_at(const void *items, size_t len, size_t size, const char *key)
{
	size_t from = 0, to = len;

	while (from < to) {
		const size_t middle = from + (to - from) / 2;

		if (strcmp(key_at(items, size, middle), key) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

bool str_sorted_has(const void *items, size_t len, size_t size, const char *key, size_t *ret_at)
{
	*ret_at = str_sorted_at(items, len, size, key);
	return *ret_at < len && strcmp(key_at(items, size, *ret_at), key) == 0;
}
