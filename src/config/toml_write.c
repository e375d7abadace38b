/* SPDX-License-Identifier: MIT */
/*
 * Writes TOML 1.0 for people to read: a section for each table, everything else
 * on one line of its own. Never reads TOML, never changes the values.
 */
#include "cmsnode/config/toml.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"

/*
 * Every section repeats the names of all tables around it. Beyond this many
 * bytes the inner tables are written inline, lest one long name makes a text
 * that is many times as long as what was read.
 */
#define SECTION_NAME_MAX 200

static void write_value(struct buf *out, const struct value *value);

static void write_key(struct buf *out, const char *key)
{
	static const char bare[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	if (*key && key[strspn(key, bare)] == '\0')
		(void)buf_adds(out, key);
	else
		value_quote(out, key, strlen(key));
}

static void write_inline_table(struct buf *out, const struct value *table)
{
	const char *before = "{ ";

	if (table->table.len == 0) {
		(void)buf_adds(out, "{}");
		return;
	}
	for (size_t i = 0; i < table->table.len; i++) {
		(void)buf_adds(out, before);
		write_key(out, table->table.members[i].key);
		(void)buf_adds(out, " = ");
		write_value(out, table->table.members[i].value);
		before = ", ";
	}
	(void)buf_adds(out, " }");
}

static void write_array(struct buf *out, const struct value *array)
{
	(void)buf_adds(out, "[");
	for (size_t i = 0; i < array->array.len; i++) {
		if (i)
			(void)buf_adds(out, ", ");
		write_value(out, array->array.items[i]);
	}
	(void)buf_adds(out, "]");
}

static void write_float(struct buf *out, double number)
{
	char text[VALUE_FLOAT_SIZE];

	value_format_float(number, text);
	(void)buf_adds(out, text);
}

/* On one line, whatever it is. */
static void write_value(struct buf *out, const struct value *value)
{
	switch (value->type) {
	case VALUE_BOOL:
		(void)buf_adds(out, value->boolean ? "true" : "false");
		break;
	case VALUE_INT:
		(void)buf_addf(out, "%" PRId64, value->integer);
		break;
	case VALUE_FLOAT:
		write_float(out, value->number);
		break;
	case VALUE_STRING:
		value_quote(out, value->text, value->text_len);
		break;
	case VALUE_DATETIME:
		(void)buf_add(out, value->text, value->text_len);
		break;
	case VALUE_ARRAY:
		write_array(out, value);
		break;
	case VALUE_TABLE:
		write_inline_table(out, value);
		break;
	}
}

static bool all_of_type(const struct value *array, enum value_type type)
{
	for (size_t i = 0; i < array->array.len; i++)
		if (array->array.items[i]->type != type)
			return false;
	return true;
}

static void write_array_of_arrays(struct buf *out, const struct value *array)
{
	(void)buf_adds(out, "[\n");
	for (size_t i = 0; i < array->array.len; i++) {
		(void)buf_adds(out, "    ");
		write_value(out, array->array.items[i]);
		(void)buf_adds(out, ",\n");
	}
	(void)buf_adds(out, "]");
}

static void write_key_value(struct buf *out, const struct value_member *member)
{
	const struct value *value = member->value;

	write_key(out, member->key);
	(void)buf_adds(out, " = ");
	if (value->type == VALUE_ARRAY && value->array.len > 1 && all_of_type(value, VALUE_ARRAY))
		write_array_of_arrays(out, value);
	else
		write_value(out, value);
	(void)buf_adds(out, "\n");
}

static bool is_array_of_tables(const struct value *value)
{
	return value->type == VALUE_ARRAY && value->array.len && all_of_type(value, VALUE_TABLE);
}

/* Does the member of table `name` get sections of its own? */
static bool is_section(const char *name, const struct value_member *member)
{
	return (member->value->type == VALUE_TABLE || is_array_of_tables(member->value)) &&
	       strlen(name) + strlen(member->key) <= SECTION_NAME_MAX;
}

/* False for a table that has sections only: its name is in theirs. */
static bool needs_header(const char *name, const struct value *table)
{
	for (size_t i = 0; i < table->table.len; i++)
		if (!is_section(name, &table->table.members[i]))
			return true;
	return table->table.len == 0;
}

static void write_table(struct buf *out, const char *name, const struct value *table);

static void write_header(struct buf *out, const char *opening, const char *name,
			 const char *closing)
{
	(void)buf_addf(out, "%s%s%s%s\n", out->len ? "\n" : "", opening, name, closing);
}

static void write_section(struct buf *out, const char *outer, const struct value_member *member)
{
	CLEAN(buf) struct buf name = BUF_INIT(0);

	if (*outer)
		(void)buf_addf(&name, "%s.", outer);
	write_key(&name, member->key);
	if (member->value->type == VALUE_TABLE) {
		if (needs_header(buf_str(&name), member->value))
			write_header(out, "[", buf_str(&name), "]");
		write_table(out, buf_str(&name), member->value);
		return;
	}
	for (size_t i = 0; i < member->value->array.len; i++) {
		write_header(out, "[[", buf_str(&name), "]]");
		write_table(out, buf_str(&name), member->value->array.items[i]);
	}
}

/* `name`: dotted and quoted as in its header; empty for the whole document. */
static void write_table(struct buf *out, const char *name, const struct value *table)
{
	for (size_t i = 0; i < table->table.len; i++)
		if (!is_section(name, &table->table.members[i]))
			write_key_value(out, &table->table.members[i]);
	for (size_t i = 0; i < table->table.len; i++)
		if (is_section(name, &table->table.members[i]))
			write_section(out, name, &table->table.members[i]);
}

char *toml_write(const struct value *table)
{
	struct buf out = BUF_INIT(0);

	write_table(&out, "", table);
	return buf_steal(&out);
}
