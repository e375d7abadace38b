/* SPDX-License-Identifier: MIT */
/*
 * The document model: typed values as TOML has them, in tables that keep the
 * order in which keys were written. Every CMS configuration file, whatever its
 * format and generation, is read into a table of tables shaped like cms.toml
 * of CMS 1.6 ("canonical": database.url, services.Worker, ...). Pure.
 */
#ifndef CMSNODE_CONFIG_DOCUMENT_H
#define CMSNODE_CONFIG_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cJSON;
struct err;
struct value_index;

/* Ceilings of what is read from outside. */
#define VALUE_MAX_DEPTH 64		/* arrays and tables inside the outermost one */
#define VALUE_MAX_JSON (4u << 20)	/* bytes of JSON text */

enum value_type {
	VALUE_BOOL,
	VALUE_INT,
	VALUE_FLOAT,
	VALUE_STRING,
	VALUE_DATETIME,	/* any of TOML's four date and time types, as its text */
	VALUE_ARRAY,
	VALUE_TABLE,
};

struct value {
	enum value_type type;
	int line;	/* where it was written, 1-based; 0 if not from a file */
	unsigned char origin; /* toml.c's note on how a table or array came to be; 0 otherwise */
	union {
		bool boolean;
		int64_t integer;
		double number;
		struct {
			char *text;	/* string or datetime; NUL-terminated UTF-8 */
			size_t text_len; /* a string may hold NULs */
		};
		struct {
			struct value **items;
			size_t len;
			size_t cap;
		} array;
		struct {
			struct value_member *members;
			size_t len;
			size_t cap;
			struct value_index *index; /* document.c's own; NULL while small */
		} table;
	};
};

/*
 * Read members freely; add and remove them with the functions below only, since
 * a large table has an index beside them.
 */
struct value_member {
	char *key;	/* NUL-terminated; a key with an embedded NUL is refused by the parsers */
	struct value *value;
};

struct value *value_new_bool(bool boolean);
struct value *value_new_int(int64_t integer);
struct value *value_new_float(double number);
struct value *value_new_string(const char *text);
struct value *value_new_string_n(const char *text, size_t len);
struct value *value_new_datetime(const char *text);
struct value *value_new_array(void);
struct value *value_new_table(void);

void value_free(struct value *value);	/* NULL is fine; whole tree */
static inline void clean_value(struct value **value)
{
	value_free(*value);
}
struct value *value_clone(const struct value *value);	/* NULL gives NULL */

/*
 * Same type and content; 1 and 1.0 differ, 0.0 and -0.0 too, nan equals nan;
 * order of table keys does not matter; line does not matter.
 */
bool value_equal(const struct value *a, const struct value *b);

const char *value_type_name(enum value_type type);	/* "integer", "string", ... */

void value_array_add(struct value *array, struct value *item);	/* takes item */

/* Borrowed, NULL if absent or if `table` is not a table (NULL included). */
struct value *value_get(const struct value *table, const char *key);

/*
 * Two levels: "database.url" finds value_get(value_get(t, "database"), "url").
 * The first dot parts; a path without a dot is a key.
 */
struct value *value_get_path(const struct value *table, const char *path);

/* Replaces or appends; takes value. */
void value_set(struct value *table, const char *key, struct value *value);

/* As value_set() for "table.key"; the inner table is made when it is missing or no table. */
void value_set_path(struct value *table, const char *path, struct value *value);

bool value_remove(struct value *table, const char *key);	/* false if it was not there */

/* Convenience getters with a fallback for absent or other-typed values; strings are borrowed. */
const char *value_get_str(const struct value *table, const char *path, const char *fallback);
int64_t value_get_int(const struct value *table, const char *path, int64_t fallback);

/*
 * JSON, exactly: integers as digits (all 64 bits), floats always with '.', 'e',
 * or as {"$float":"inf"|"-inf"|"nan"}; datetimes as {"$datetime":"..."}; a table
 * whose only key is one of these words, or "$table", as {"$table":{...}}.
 * value_from_json() reads all of that back to an equal value (a JSON number
 * without '.', 'e', 'E' is an integer) and refuses null and integers beyond
 * 64 bits with a message. cJSON parses; the raw digits of the numbers are
 * taken from the text, in order, so that none passes through a double (and the
 * raw strings, so that none ends at a NUL). Of a key given twice the last one
 * counts. 0, -EINVAL or -E2BIG; messages begin "line L, column C: ".
 */
char *value_to_json(const struct value *value);	/* caller frees */
int value_from_json(const char *text, size_t len, struct value **ret, struct err *err);

/* The same as a cJSON tree, for output to people and scripts; caller frees with json_free(). */
struct cJSON *value_to_cjson(const struct value *value);

/* What the readers and writers of both text formats share. */

/* Bytes at the beginning of text that are whole, valid UTF-8 characters; `len` if all are. */
size_t value_utf8_span(const char *text, size_t len);

/* Adds the character as UTF-8; false (nothing added) for a surrogate and beyond U+10FFFF. */
bool value_utf8_add(struct buf *out, uint32_t character);

/* Adds text in double quotes, escaped for JSON and for TOML (a basic string) alike. */
void value_quote(struct buf *out, const char *text, size_t len);

/* With as few of 15 to 17 digits as read back to it, and with . or e; or inf, -inf, nan. */
#define VALUE_FLOAT_SIZE 32
void value_format_float(double number, char ret[VALUE_FLOAT_SIZE]);

/*
 * One of TOML's four kinds, in range: offset date-time, local date-time, local
 * date, local time. Second 60 and year 0000 are refused, as by Python's tomllib,
 * which reads what we write.
 */
bool value_datetime_valid(const char *text);

/* err_set() behind "line L, column C: ", where `at` is in `text`; C counts characters from 1. */
int value_text_error(struct err *err, int code, const char *text, const char *at, const char *fmt,
		     ...) __attribute__((format(printf, 5, 6)));

#endif
