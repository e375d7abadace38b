/* SPDX-License-Identifier: MIT */
/*
 * The document model and its JSON form. Owns the trees of values and the index
 * of large tables. Never reads TOML, never knows a key of CMS.
 */
#include "cmsnode/config/document.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

/* ---- The index of a large table ---- */

/*
 * A crit-bit tree over the keys. Not a hash: whoever writes a file chooses its
 * keys, and no choice of them makes a look-up slower than the key is long.
 *
 * Inner node i (1 or more) came with member i: nodes[i].bit is the first bit,
 * counted from the front of the key, in which its two sides differ. A link >= 0
 * names an inner node, a link < 0 member ~link.
 */
struct value_index {
	int32_t root;
	struct value_node {
		uint32_t bit;
		int32_t side[2];
	} nodes[];
};

#define INDEX_FROM 16 /* members; a shorter table is searched from end to end */

static unsigned int key_bit(const char *key, size_t len, uint32_t bit)
{
	const size_t byte = bit / 8;

	return byte < len ? ((unsigned char)key[byte] >> (7 - bit % 8)) & 1u : 0;
}

/* The member that shares the longest beginning with key, if any does. */
static size_t index_nearest(const struct value_index *index, const char *key, size_t len)
{
	int32_t link = index->root;

	while (link >= 0)
		link = index->nodes[link].side[key_bit(key, len, index->nodes[link].bit)];
	return (size_t)~link;
}

static uint32_t first_different_bit(const char *a, const char *b)
{
	size_t byte = 0;
	uint32_t bit = 0;

	while (a[byte] == b[byte])
		byte++;
	while (!(((unsigned char)a[byte] ^ (unsigned char)b[byte]) >> (7 - bit) & 1u))
		bit++;
	return (uint32_t)byte * 8 + bit;
}

/*
 * Member i of `table` has a key that no earlier one has. The bits ascend on every
 * way down: a look-up would find its member in any order, but not as soon.
 */
static void index_insert(struct value *table, size_t i)
{
	struct value_index *index = table->table.index;
	const char *key = table->table.members[i].key;
	const size_t len = strlen(key);
	const size_t nearest = index_nearest(index, key, len);
	const uint32_t bit = first_different_bit(key, table->table.members[nearest].key);
	int32_t *link = &index->root;

	while (*link >= 0 && index->nodes[*link].bit < bit)
		link = &index->nodes[*link].side[key_bit(key, len, index->nodes[*link].bit)];
	struct value_node *node = &index->nodes[i];
	const unsigned int side = key_bit(key, len, bit);

	node->bit = bit;
	node->side[side] = ~(int32_t)i;
	node->side[!side] = *link;
	*link = (int32_t)i;
}

static void index_build(struct value *table)
{
	free(table->table.index);
	table->table.index = NULL;
	if (table->table.len < INDEX_FROM)
		return;
	table->table.index =
		xmalloc(sizeof(struct value_index) + table->table.cap * sizeof(struct value_node));
	table->table.index->root = ~0;
	for (size_t i = 1; i < table->table.len; i++)
		index_insert(table, i);
}

static struct value_member *find_member(const struct value *table, const char *key, size_t len)
{
	struct value_member *members = table->table.members;
	size_t i = 0;
	size_t end = table->table.len;

	if (table->table.index) {
		i = index_nearest(table->table.index, key, len);
		end = i + 1;
	}
	for (; i < end; i++)
		if (strncmp(members[i].key, key, len) == 0 && members[i].key[len] == '\0')
			return &members[i];
	return NULL;
}

/* Takes key and value; the key is not there yet. */
static void append_member(struct value *table, char *key, struct value *value)
{
	const size_t cap = table->table.cap;

	GROW(table->table.members, table->table.len, table->table.cap);
	table->table.members[table->table.len++] = (struct value_member){ key, value };
	if (table->table.index && table->table.cap == cap)
		index_insert(table, table->table.len - 1);
	else
		index_build(table);
}

/* ---- Values ---- */

static struct value *value_new(enum value_type type)
{
	struct value *value = xcalloc(1, sizeof(*value));

	value->type = type;
	return value;
}

struct value *value_new_bool(bool boolean)
{
	struct value *value = value_new(VALUE_BOOL);

	value->boolean = boolean;
	return value;
}

struct value *value_new_int(int64_t integer)
{
	struct value *value = value_new(VALUE_INT);

	value->integer = integer;
	return value;
}

struct value *value_new_float(double number)
{
	struct value *value = value_new(VALUE_FLOAT);

	value->number = number;
	return value;
}

struct value *value_new_string(const char *text)
{
	return value_new_string_n(text, strlen(text));
}

struct value *value_new_string_n(const char *text, size_t len)
{
	struct value *value = value_new(VALUE_STRING);

	value->text = xmalloc(len + 1);
	if (len)
		memcpy(value->text, text, len);
	value->text[len] = '\0';
	value->text_len = len;
	return value;
}

struct value *value_new_datetime(const char *text)
{
	struct value *value = value_new_string(text);

	value->type = VALUE_DATETIME;
	return value;
}

struct value *value_new_array(void)
{
	return value_new(VALUE_ARRAY);
}

struct value *value_new_table(void)
{
	return value_new(VALUE_TABLE);
}

static void free_array(struct value *array)
{
	for (size_t i = 0; i < array->array.len; i++)
		value_free(array->array.items[i]);
	free(array->array.items);
}

static void free_table(struct value *table)
{
	for (size_t i = 0; i < table->table.len; i++) {
		free(table->table.members[i].key);
		value_free(table->table.members[i].value);
	}
	free(table->table.members);
	free(table->table.index);
}

void value_free(struct value *value)
{
	if (!value)
		return;
	switch (value->type) {
	case VALUE_BOOL:
	case VALUE_INT:
	case VALUE_FLOAT:
		break;
	case VALUE_STRING:
	case VALUE_DATETIME:
		free(value->text);
		break;
	case VALUE_ARRAY:
		free_array(value);
		break;
	case VALUE_TABLE:
		free_table(value);
		break;
	}
	free(value);
}

static void clone_content(struct value *to, const struct value *from)
{
	switch (from->type) {
	case VALUE_BOOL:
		to->boolean = from->boolean;
		break;
	case VALUE_INT:
		to->integer = from->integer;
		break;
	case VALUE_FLOAT:
		to->number = from->number;
		break;
	case VALUE_STRING:
	case VALUE_DATETIME:
		to->text = xmemdup(from->text, from->text_len + 1);
		to->text_len = from->text_len;
		break;
	case VALUE_ARRAY:
		for (size_t i = 0; i < from->array.len; i++)
			value_array_add(to, value_clone(from->array.items[i]));
		break;
	case VALUE_TABLE:
		for (size_t i = 0; i < from->table.len; i++)
			append_member(to, xstrdup(from->table.members[i].key),
				      value_clone(from->table.members[i].value));
		break;
	}
}

struct value *value_clone(const struct value *value)
{
	if (!value)
		return NULL;
	struct value *clone = value_new(value->type);

	clone->line = value->line;
	clone->origin = value->origin;
	clone_content(clone, value);
	return clone;
}

static bool equal_floats(double a, double b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	return memcmp(&a, &b, sizeof(a)) == 0;
}

static bool equal_arrays(const struct value *a, const struct value *b)
{
	if (a->array.len != b->array.len)
		return false;
	for (size_t i = 0; i < a->array.len; i++)
		if (!value_equal(a->array.items[i], b->array.items[i]))
			return false;
	return true;
}

static bool equal_tables(const struct value *a, const struct value *b)
{
	if (a->table.len != b->table.len)
		return false;
	for (size_t i = 0; i < a->table.len; i++) {
		const struct value *other = value_get(b, a->table.members[i].key);

		if (!other || !value_equal(a->table.members[i].value, other))
			return false;
	}
	return true;
}

bool value_equal(const struct value *a, const struct value *b)
{
	if (!a || !b || a->type != b->type)
		return a == b;
	switch (a->type) {
	case VALUE_BOOL:
		return a->boolean == b->boolean;
	case VALUE_INT:
		return a->integer == b->integer;
	case VALUE_FLOAT:
		return equal_floats(a->number, b->number);
	case VALUE_STRING:
	case VALUE_DATETIME:
		return a->text_len == b->text_len && memcmp(a->text, b->text, a->text_len) == 0;
	case VALUE_ARRAY:
		return equal_arrays(a, b);
	case VALUE_TABLE:
		return equal_tables(a, b);
	}
	return false;
}

const char *value_type_name(enum value_type type)
{
	static const char *const names[] = {
		[VALUE_BOOL] = "boolean",	   [VALUE_INT] = "integer",
		[VALUE_FLOAT] = "float",	   [VALUE_STRING] = "string",
		[VALUE_DATETIME] = "date or time", [VALUE_ARRAY] = "array",
		[VALUE_TABLE] = "table",
	};

	return names[type];
}

/* ---- Members and items ---- */

void value_array_add(struct value *array, struct value *item)
{
	assert(array->type == VALUE_ARRAY);
	GROW(array->array.items, array->array.len, array->array.cap);
	array->array.items[array->array.len++] = item;
}

static struct value *get_n(const struct value *table, const char *key, size_t len)
{
	if (!table || table->type != VALUE_TABLE)
		return NULL;
	const struct value_member *member = find_member(table, key, len);

	return member ? member->value : NULL;
}

struct value *value_get(const struct value *table, const char *key)
{
	return get_n(table, key, strlen(key));
}

struct value *value_get_path(const struct value *table, const char *path)
{
	const char *dot = strchr(path, '.');
	if (!dot)
		return value_get(table, path);
	return value_get(get_n(table, path, (size_t)(dot - path)), dot + 1);
}

void value_set(struct value *table, const char *key, struct value *value)
{
	assert(table->type == VALUE_TABLE);
	struct value_member *member = find_member(table, key, strlen(key));
	if (!member) {
		append_member(table, xstrdup(key), value);
		return;
	}
	if (member->value != value)
		value_free(member->value);
	member->value = value;
}

void value_set_path(struct value *table, const char *path, struct value *value)
{
	const char *dot = strchr(path, '.');
	if (!dot) {
		value_set(table, path, value);
		return;
	}
	CLEAN(str) char *outer = xstrndup(path, (size_t)(dot - path));
	struct value *inner = value_get(table, outer);

	if (!inner || inner->type != VALUE_TABLE) {
		inner = value_new_table();
		value_set(table, outer, inner);
	}
	value_set(inner, dot + 1, value);
}

bool value_remove(struct value *table, const char *key)
{
	if (!value_get(table, key))
		return false;
	struct value_member *member = find_member(table, key, strlen(key));
	const size_t behind = table->table.len - (size_t)(member - table->table.members) - 1;

	free(member->key);
	value_free(member->value);
	memmove(member, member + 1, behind * sizeof(*member));
	table->table.len--;
	index_build(table);
	return true;
}

const char *value_get_str(const struct value *table, const char *path, const char *fallback)
{
	const struct value *value = value_get_path(table, path);

	return value && value->type == VALUE_STRING ? value->text : fallback;
}

int64_t value_get_int(const struct value *table, const char *path, int64_t fallback)
{
	const struct value *value = value_get_path(table, path);

	return value && value->type == VALUE_INT ? value->integer : fallback;
}

/* ---- Text: UTF-8, quotes, floats, places ---- */

/* Bytes of the valid character at s, or 0. Overlong forms and surrogates are not valid. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char first, last; /* the leading byte */
		unsigned char low, high; /* the byte behind it */
		size_t len;
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	if (s[0] < 0x80)
		return 1;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (s[0] < forms[i].first || s[0] > forms[i].last)
			continue;
		if (left < forms[i].len || s[1] < forms[i].low || s[1] > forms[i].high)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

size_t value_utf8_span(const char *text, size_t len)
{
	size_t n = 0;

	while (n < len) {
		const size_t step = utf8_length((const unsigned char *)text + n, len - n);
		if (step == 0)
			break;
		n += step;
	}
	return n;
}

bool value_utf8_add(struct buf *out, uint32_t character)
{
	/* How many bytes follow the first one, and how it says so. */
	const unsigned int more =
		(character >= 0x80) + (character >= 0x800) + (character >= 0x10000);
	static const unsigned char marks[] = { 0x00, 0xc0, 0xe0, 0xf0 };
	char bytes[4];

	if (character > 0x10ffff || (character >= 0xd800 && character <= 0xdfff))
		return false;
	bytes[0] = (char)(marks[more] | character >> (6 * more));
	for (unsigned int i = 1; i <= more; i++)
		bytes[i] = (char)(0x80 | (character >> (6 * (more - i)) & 0x3f));
	(void)buf_add(out, bytes, more + 1);
	return true;
}

static void quote_one(struct buf *out, char c)
{
	static const char letters[][2] = {
		{ '"', '"' },  { '\\', '\\' }, { '\b', 'b' }, { '\f', 'f' },
		{ '\n', 'n' }, { '\r', 'r' },  { '\t', 't' },
	};

	for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
		if (c == letters[i][0]) {
			(void)buf_addf(out, "\\%c", letters[i][1]);
			return;
		}
	}
	(void)buf_addf(out, "\\u%04x", (unsigned int)(unsigned char)c);
}

void value_quote(struct buf *out, const char *text, size_t len)
{
	size_t from = 0;

	(void)buf_add(out, "\"", 1);
	for (size_t i = 0; i < len; i++) {
		const unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c != 0x7f && c != '"' && c != '\\')
			continue;
		(void)buf_add(out, text + from, i - from);
		quote_one(out, text[i]);
		from = i + 1;
	}
	(void)buf_add(out, text + from, len - from);
	(void)buf_add(out, "\"", 1);
}

void value_format_float(double number, char ret[VALUE_FLOAT_SIZE])
{
	if (!isfinite(number)) {
		const char *infinite = number < 0 ? "-inf" : "inf";

		(void)snprintf(ret, VALUE_FLOAT_SIZE, "%s", isnan(number) ? "nan" : infinite);
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(ret, VALUE_FLOAT_SIZE - 2, "%.*g", digits, number);
		if (equal_floats(strtod(ret, NULL), number))
			break;
	}
	if (!strpbrk(ret, ".e"))
		(void)memcpy(ret + strlen(ret), ".0", 3);
}

int value_text_error(struct err *err, int code, const char *text, const char *at, const char *fmt,
		     ...)
{
	char what[ERR_MSG_SIZE / 2];
	int line = 1;
	int column = 1;
	va_list args;

	for (const char *p = text; p < at; p++) {
		/* The second and later bytes of a character are 10xxxxxx. */
		column += ((unsigned char)*p & 0xc0) != 0x80;
		if (*p == '\n') {
			line++;
			column = 1;
		}
	}
	va_start(args, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return err_set(err, code, "line %d, column %d: %s", line, column, what);
}

/* ---- Dates and times ---- */

/*
 * Reads digits and fixed characters by a pattern: 'd' is a digit, anything else
 * stands for itself. The text behind it, or NULL.
 */
static const char *match(const char *text, const char *pattern)
{
	for (; *pattern; pattern++, text++) {
		const bool digit = *text >= '0' && *text <= '9';

		if (*pattern == 'd' ? !digit : *text != *pattern)
			return NULL;
	}
	return text;
}

static int two_digits(const char *text)
{
	return (text[0] - '0') * 10 + (text[1] - '0');
}

static bool leap_year(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static const char *match_date(const char *text)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	const char *end = match(text, "dddd-dd-dd");
	if (!end)
		return NULL;
	const int year = two_digits(text) * 100 + two_digits(text + 2);
	const int month = two_digits(text + 5);
	const int day = two_digits(text + 8);

	if (year < 1 || month < 1 || month > 12 || day < 1)
		return NULL;
	return day <= days[month - 1] + (month == 2 && leap_year(year)) ? end : NULL;
}

static const char *match_time(const char *text)
{
	const char *end = match(text, "dd:dd:dd");
	if (!end || two_digits(text) > 23 || two_digits(text + 3) > 59 || two_digits(text + 6) > 59)
		return NULL;
	if (*end != '.')
		return end;
	const size_t digits = strspn(end + 1, "0123456789");

	return digits ? end + 1 + digits : NULL;
}

static const char *match_offset(const char *text)
{
	if (*text == 'Z' || *text == 'z')
		return text + 1;
	if (*text != '+' && *text != '-')
		return NULL;
	const char *end = match(text + 1, "dd:dd");
	if (!end || two_digits(text + 1) > 23 || two_digits(text + 4) > 59)
		return NULL;
	return end;
}

bool value_datetime_valid(const char *text)
{
	const char *p = match_time(text);
	if (p)
		return *p == '\0';
	p = match_date(text);
	if (!p || *p == '\0')
		return p != NULL;
	if (*p != 'T' && *p != 't' && *p != ' ')
		return false;
	p = match_time(p + 1);
	if (!p || *p == '\0')
		return p != NULL;
	p = match_offset(p);
	return p && *p == '\0';
}

/* ---- JSON: writing ---- */

static const char *const special_words[] = { "$float", "$datetime", "$table" };

static bool is_special_word(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(special_words); i++)
		if (strcmp(key, special_words[i]) == 0)
			return true;
	return false;
}

/* A table that would read back as something else unless it is wrapped. */
static bool looks_special(const struct value *table)
{
	return table->table.len == 1 && is_special_word(table->table.members[0].key);
}

static void write_json(struct buf *out, const struct value *value);

static void write_json_float(struct buf *out, double number)
{
	char text[VALUE_FLOAT_SIZE];

	value_format_float(number, text);
	(void)buf_addf(out, isfinite(number) ? "%s" : "{\"$float\":\"%s\"}", text);
}

static void write_json_array(struct buf *out, const struct value *array)
{
	(void)buf_adds(out, "[");
	for (size_t i = 0; i < array->array.len; i++) {
		if (i)
			(void)buf_adds(out, ",");
		write_json(out, array->array.items[i]);
	}
	(void)buf_adds(out, "]");
}

static void write_json_table(struct buf *out, const struct value *table)
{
	const bool wrap = looks_special(table);

	(void)buf_adds(out, wrap ? "{\"$table\":{" : "{");
	for (size_t i = 0; i < table->table.len; i++) {
		if (i)
			(void)buf_adds(out, ",");
		value_quote(out, table->table.members[i].key, strlen(table->table.members[i].key));
		(void)buf_adds(out, ":");
		write_json(out, table->table.members[i].value);
	}
	(void)buf_adds(out, wrap ? "}}" : "}");
}

static void write_json(struct buf *out, const struct value *value)
{
	switch (value->type) {
	case VALUE_BOOL:
		(void)buf_adds(out, value->boolean ? "true" : "false");
		break;
	case VALUE_INT:
		(void)buf_addf(out, "%" PRId64, value->integer);
		break;
	case VALUE_FLOAT:
		write_json_float(out, value->number);
		break;
	case VALUE_STRING:
		value_quote(out, value->text, value->text_len);
		break;
	case VALUE_DATETIME:
		(void)buf_adds(out, "{\"$datetime\":");
		value_quote(out, value->text, value->text_len);
		(void)buf_adds(out, "}");
		break;
	case VALUE_ARRAY:
		write_json_array(out, value);
		break;
	case VALUE_TABLE:
		write_json_table(out, value);
		break;
	}
}

char *value_to_json(const struct value *value)
{
	struct buf out = BUF_INIT(0);

	write_json(&out, value);
	return buf_steal(&out);
}

static cJSON *table_to_cjson(const struct value *table)
{
	cJSON *object = cJSON_CreateObject();

	for (size_t i = 0; i < table->table.len; i++)
		(void)cJSON_AddItemToObject(object, table->table.members[i].key,
					    value_to_cjson(table->table.members[i].value));
	if (!looks_special(table))
		return object;
	cJSON *wrapped = cJSON_CreateObject();

	(void)cJSON_AddItemToObject(wrapped, "$table", object);
	return wrapped;
}

static cJSON *array_to_cjson(const struct value *array)
{
	cJSON *json = cJSON_CreateArray();

	for (size_t i = 0; i < array->array.len; i++)
		(void)cJSON_AddItemToArray(json, value_to_cjson(array->array.items[i]));
	return json;
}

struct cJSON *value_to_cjson(const struct value *value)
{
	if (value->type == VALUE_TABLE)
		return table_to_cjson(value);
	if (value->type == VALUE_ARRAY)
		return array_to_cjson(value);
	if (value->type == VALUE_BOOL)
		return cJSON_CreateBool(value->boolean);
	if (value->type == VALUE_STRING && strlen(value->text) == value->text_len)
		return cJSON_CreateString(value->text);
	/* As raw text: a cJSON number is a double, and a cJSON string ends at its first NUL. */
	CLEAN(str) char *text = value_to_json(value);

	return cJSON_CreateRaw(text);
}

/* ---- JSON: reading ---- */

/*
 * cJSON says whether the text is JSON and what its shape is; this walks the text
 * in step with cJSON's tree, from one key or scalar to the next, and takes from
 * it what cJSON loses.
 */
struct reader {
	const char *text;
	const char *p;
	const char *end;
	struct err *err;
};

#define reader_error(r, at, ...) value_text_error((r)->err, -EINVAL, (r)->text, (at), __VA_ARGS__)

/* Outside of strings these bytes begin a string, a number, true, false or null. */
static const char *next_scalar(struct reader *r)
{
	while (r->p < r->end && (*r->p == '\0' || !strchr("\"-0123456789tfn", *r->p)))
		r->p++;
	return r->p;
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The four digits behind "\u", or -1; moves behind them. */
static int32_t read_u16(struct reader *r)
{
	int32_t unit = 0;

	for (int i = 0; i < 4; i++) {
		const int digit = r->p < r->end ? hex_digit(*r->p) : -1;
		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
		r->p++;
	}
	return unit;
}

/* Behind "\u": one character, which may be two units (a surrogate pair). */
static int read_unicode(struct reader *r, struct buf *out)
{
	const char *at = r->p - 2;
	int32_t character = read_u16(r);

	const bool pair = character >= 0xd800 && character < 0xdc00 && r->end - r->p > 2 &&
			  r->p[0] == '\\' && r->p[1] == 'u';

	if (pair) {
		r->p += 2;
		const int32_t low = read_u16(r);
		if (low < 0xdc00 || low >= 0xe000)
			return reader_error(r, at, "half of a surrogate pair in a string");
		character = 0x10000 + (character - 0xd800) * 0x400 + (low - 0xdc00);
	}
	if (character < 0 || !value_utf8_add(out, (uint32_t)character))
		return reader_error(r, at,
				    "expected \\u and the four hexadecimal digits of a character");
	return 0;
}

static int read_escape(struct reader *r, struct buf *out)
{
	static const char letters[] = "\"\\/bfnrtu";
	static const char bytes[] = "\"\\/\b\f\n\r\t";
	const char *letter = r->p < r->end && *r->p ? strchr(letters, *r->p) : NULL;
	if (!letter)
		return reader_error(r, r->p, "unknown escape sequence in a string");
	r->p++;
	if (*letter == 'u')
		return read_unicode(r, out);
	(void)buf_add(out, &bytes[letter - letters], 1);
	return 0;
}

static int read_string(struct reader *r, struct buf *out)
{
	const char *opening = next_scalar(r);
	if (r->p == r->end || *r->p != '"')
		return reader_error(r, opening, "expected a string");
	r->p++;
	while (r->p < r->end && *r->p != '"') {
		if ((unsigned char)*r->p < 0x20)
			return reader_error(r, r->p,
					    "control character in a string: write it as \\u%04x",
					    (unsigned int)*r->p);
		const char c = *r->p++;

		if (c != '\\') {
			(void)buf_add(out, &c, 1);
			continue;
		}
		const int e = read_escape(r, out);
		if (e < 0)
			return e;
	}
	if (r->p == r->end)
		return reader_error(r, opening, "string is not closed");
	r->p++;
	return 0;
}

static int read_key(struct reader *r, struct buf *out)
{
	const char *at = next_scalar(r);
	const int e = read_string(r, out);
	if (e < 0)
		return e;
	if (strlen(buf_str(out)) != out->len)
		return reader_error(r, at, "a key must not hold a NUL character");
	return 0;
}

/* The length of the text at p that is a number as RFC 8259 has it (cJSON takes more). */
static size_t number_length(const char *number, bool *ret_integer)
{
	static const char digits[] = "0123456789";
	const char *p = number + (*number == '-');
	const size_t whole = strspn(p, digits);

	*ret_integer = true;
	if (whole == 0 || (whole > 1 && *p == '0'))
		return 0;
	p += whole;
	if (*p == '.') {
		const size_t fraction = strspn(p + 1, digits);

		*ret_integer = false;
		if (fraction == 0)
			return 0;
		p += 1 + fraction;
	}
	if (*p == 'e' || *p == 'E') {
		p += p[1] == '+' || p[1] == '-' ? 2 : 1;
		*ret_integer = false;
		if (strspn(p, digits) == 0)
			return 0;
		p += strspn(p, digits);
	}
	return (size_t)(p - number);
}

static int convert_float(struct reader *r, const char *at, const char *digits, struct value **ret)
{
	const double number = strtod(digits, NULL);
	if (!isfinite(number))
		return reader_error(r, at, "number %.40s is too large for a 64-bit float", digits);
	*ret = value_new_float(number);
	return 0;
}

static int read_number(struct reader *r, struct value **ret)
{
	const char *at = next_scalar(r);

	while (r->p < r->end && *r->p && strchr("0123456789+-.eE", *r->p))
		r->p++;
	CLEAN(str) char *digits = xstrndup(at, (size_t)(r->p - at));
	bool integer;
	int64_t number;

	if (number_length(digits, &integer) != strlen(digits) || *digits == '\0')
		return reader_error(r, at, "not a number of JSON: %.40s", digits);
	if (!integer)
		return convert_float(r, at, digits, ret);
	if (str_to_int64(digits, INT64_MIN, INT64_MAX, &number) < 0)
		return reader_error(r, at, "integer %.40s is beyond 64 bits", digits);
	*ret = value_new_int(number);
	return 0;
}

static int read_text(struct reader *r, struct value **ret)
{
	CLEAN(buf) struct buf text = BUF_INIT(VALUE_MAX_JSON);
	const int e = read_string(r, &text);
	if (e < 0)
		return e;
	*ret = value_new_string_n(buf_str(&text), text.len);
	return 0;
}

static int read_literal(struct reader *r, const cJSON *item, struct value **ret)
{
	const char *at = next_scalar(r);

	while (r->p < r->end && *r->p >= 'a' && *r->p <= 'z')
		r->p++;
	if (!cJSON_IsBool(item))
		return reader_error(r, at,
				    "null has no place in a configuration: leave the key out");
	*ret = value_new_bool(cJSON_IsTrue(item));
	return 0;
}

static int check_depth(struct reader *r, int depth)
{
	if (depth <= VALUE_MAX_DEPTH)
		return 0;
	return value_text_error(r->err, -E2BIG, r->text, next_scalar(r),
				"arrays and objects are nested more than %d deep", VALUE_MAX_DEPTH);
}

static int read_json(struct reader *r, const cJSON *item, int depth, struct value **ret);

static int read_array(struct reader *r, const cJSON *json, int depth, struct value **ret)
{
	const int too_deep = check_depth(r, depth);
	if (too_deep < 0)
		return too_deep;
	CLEAN(value) struct value *array = value_new_array();
	const cJSON *child;

	cJSON_ArrayForEach(child, json) {
		struct value *item;
		const int e = read_json(r, child, depth + 1, &item);
		if (e < 0)
			return e;
		value_array_add(array, item);
	}
	*ret = steal(array);
	return 0;
}

static int read_table(struct reader *r, const cJSON *json, int depth, struct value **ret)
{
	const int too_deep = check_depth(r, depth);
	if (too_deep < 0)
		return too_deep;
	CLEAN(value) struct value *table = value_new_table();
	const cJSON *child;

	cJSON_ArrayForEach(child, json) {
		CLEAN(buf) struct buf key = BUF_INIT(VALUE_MAX_JSON);
		int e = read_key(r, &key);
		if (e < 0)
			return e;
		struct value *value;

		e = read_json(r, child, depth + 1, &value);
		if (e < 0)
			return e;
		value_set(table, buf_str(&key), value);
	}
	*ret = steal(table);
	return 0;
}

static int read_special_float(struct reader *r, const char *at, const char *word,
			      struct value **ret)
{
	static const struct {
		const char *word;
		double number;
	} floats[] = { { "inf", INFINITY }, { "-inf", -INFINITY }, { "nan", NAN } };

	for (size_t i = 0; i < ARRAY_LEN(floats); i++) {
		if (str_eq(word, floats[i].word)) {
			*ret = value_new_float(floats[i].number);
			return 0;
		}
	}
	return reader_error(r, at, "$float must be \"inf\", \"-inf\" or \"nan\"");
}

static int read_special_datetime(struct reader *r, const char *at, const char *text,
				 struct value **ret)
{
	if (!text || !value_datetime_valid(text))
		return reader_error(
			r, at,
			"$datetime must be a date or time of TOML, such as 2026-11-22T10:00:00Z");
	*ret = value_new_datetime(text);
	return 0;
}

/* {"$word": ...}: the object's only key is one of special_words. */
static int read_special(struct reader *r, const cJSON *object, int depth, struct value **ret)
{
	CLEAN(buf) struct buf key = BUF_INIT(VALUE_MAX_JSON);
	const char *at = next_scalar(r);
	int e = read_key(r, &key);
	if (e < 0)
		return e;
	const cJSON *child = object->child;

	if (str_eq(buf_str(&key), "$table")) {
		if (!cJSON_IsObject(child))
			return reader_error(r, at, "$table must be an object");
		return read_table(r, child, depth, ret);
	}
	CLEAN(buf) struct buf text = BUF_INIT(VALUE_MAX_JSON);

	e = cJSON_IsString(child) ? read_string(r, &text) : 0;
	if (e < 0)
		return e;
	/* A NUL would hide what stands behind it. */
	const char *word = strlen(buf_str(&text)) == text.len ? buf_str(&text) : NULL;

	if (str_eq(buf_str(&key), "$float"))
		return read_special_float(r, at, word, ret);
	return read_special_datetime(r, at, word, ret);
}

/* Writes *ret only on success. Recurses at most VALUE_MAX_DEPTH + 1 deep. */
static int read_json(struct reader *r, const cJSON *item, int depth, struct value **ret)
{
	if (cJSON_IsString(item))
		return read_text(r, ret);
	if (cJSON_IsNumber(item))
		return read_number(r, ret);
	if (!cJSON_IsArray(item) && !cJSON_IsObject(item))
		return read_literal(r, item, ret);
	if (cJSON_IsObject(item) && item->child && !item->child->next &&
	    is_special_word(item->child->string))
		return read_special(r, item, depth, ret);
	if (cJSON_IsArray(item))
		return read_array(r, item, depth, ret);
	return read_table(r, item, depth, ret);
}

int value_from_json(const char *text, size_t len, struct value **ret, struct err *err)
{
	if (len > VALUE_MAX_JSON)
		return value_text_error(err, -E2BIG, text, text,
					"the text has %zu bytes, more than the %u that are read",
					len, VALUE_MAX_JSON);
	const size_t valid = value_utf8_span(text, len);
	if (valid < len)
		return value_text_error(err, -EINVAL, text, text + valid, "not valid UTF-8");
	CLEAN(json) cJSON *json = json_parse(text, len, err);
	if (!json)
		return -EINVAL;
	struct reader reader = { .text = text, .p = text, .end = text + len, .err = err };

	return read_json(&reader, json, 0, ret);
}
