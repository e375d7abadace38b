/* SPDX-License-Identifier: MIT */
/*
 * Helpers over cJSON: reading members with the right type, and 64-bit integers
 * that never pass through a double (etcd writes them as strings).
 * All texts returned by the getters are borrowed from the tree.
 */
#ifndef CMSNODE_BASE_JSON_H
#define CMSNODE_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;
struct err;
struct str_list;

/* Installs allocation hooks that abort when memory is out; once, at start. */
void json_init(void);

/*
 * NULL and err ("line L, column C: ...") if text is not one JSON value. The caller frees with
 * json_free().
 */
struct cJSON *json_parse(const char *text, size_t len, struct err *err);
void json_free(struct cJSON *json);	/* NULL is fine */
static inline void clean_json(struct cJSON **json)
{
	json_free(*json);
}

/* One line without blanks; the caller frees. */
char *json_text(const struct cJSON *json);

/* Members of an object; a missing or mistyped member gives the fallback. */
const char *json_get_str(const struct cJSON *object, const char *key);		/* NULL */
bool json_get_bool(const struct cJSON *object, const char *key, bool fallback);
double json_get_double(const struct cJSON *object, const char *key, double fallback);
const struct cJSON *json_get(const struct cJSON *object, const char *key);	/* NULL */
/* NULL unless an array */
const struct cJSON *json_get_array(const struct cJSON *object, const char *key);
/* NULL unless an object */
const struct cJSON *json_get_object(const struct cJSON *object, const char *key);

/*
 * An integer written as a decimal string or as a JSON number that a double
 * holds exactly. 0, or -ENOENT (no such member), -EINVAL (something else).
 */
int json_get_int64(const struct cJSON *object, const char *key, int64_t *ret);
int json_get_uint64(const struct cJSON *object, const char *key, uint64_t *ret);

/*
 * Adds all strings of the array member `key` to `list`; -EINVAL if it is not an array of strings; 0
 * if absent.
 */
int json_get_str_list(const struct cJSON *object, const char *key, struct str_list *list);

/* Adding; `s` NULL adds null. */
void json_add_str(struct cJSON *object, const char *key, const char *s);
void json_add_bool(struct cJSON *object, const char *key, bool value);
void json_add_double(struct cJSON *object, const char *key, double value);
/* as exact digits */
void json_add_int(struct cJSON *object, const char *key, int64_t value);
/* as a decimal string */
void json_add_int_str(struct cJSON *object, const char *key, int64_t value);
void json_add_str_list(struct cJSON *object, const char *key, const struct str_list *list);

#endif
