/* SPDX-License-Identifier: MIT */
/*
 * Text for people: aligned columns, colour, elapsed times. Must never let a
 * text that came from elsewhere drive the terminal.
 */
#include "ctl.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

enum {
	WIDTH_MAX = 64, /* one long cell must not push all rows apart */
	GAP = 2,
};

struct ctl_cell {
	char *text;
	enum ctl_tone tone;
};

static const char *const tone_codes[] = {
	[CTL_PLAIN] = "",
	[CTL_HEAD] = "\033[1m",
	[CTL_WARN] = "\033[33m",
	[CTL_BAD] = "\033[31m",
};

/* --- safe text --- */

static bool is_control(unsigned char c, bool lines)
{
	return (c < ' ' && !(lines && (c == '\n' || c == '\t'))) || c == 127;
}

char *ctl_printable(const char *text, bool lines)
{
	char *copy = xstrdup(text);

	for (unsigned char *p = (unsigned char *)copy; *p; p++) {
		/* U+0080 to U+009F, control characters of two bytes. */
		if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
			*p++ = '?';
			*p = '?';
		} else if (is_control(*p, lines)) {
			*p = '?';
		}
	}
	return copy;
}

/* Characters of UTF-8: bytes that do not continue one. */
static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* --- tables --- */

void ctl_table_fini(struct ctl_table *table)
{
	for (size_t i = 0; i < table->len; i++)
		free(table->cells[i].text);
	free(table->cells);
	*table = (struct ctl_table)CTL_TABLE_INIT(table->columns);
}

void ctl_table_add(struct ctl_table *table, enum ctl_tone tone, const char *text)
{
	GROW(table->cells, table->len, table->cap);
	table->cells[table->len++] = (struct ctl_cell){
		.text = ctl_printable(text && *text ? text : "-", false),
		.tone = tone,
	};
}

void ctl_table_addf(struct ctl_table *table, enum ctl_tone tone, const char *fmt, ...)
{
	va_list args;
	CLEAN(str) char *text = NULL;

	va_start(args, fmt);
	const int n = vasprintf(&text, fmt, args);

	va_end(args);
	ctl_table_add(table, tone, n < 0 ? NULL : text);
}

void ctl_table_add_row(struct ctl_table *table, enum ctl_tone tone, const char *const *texts)
{
	for (size_t i = 0; i < table->columns; i++)
		ctl_table_add(table, tone, texts[i]);
}

static size_t *measure(const struct ctl_table *table)
{
	size_t *widths = xcalloc(table->columns, sizeof(*widths));

	for (size_t i = 0; i < table->len; i++) {
		const size_t width = text_width(table->cells[i].text);
		size_t *widest = &widths[i % table->columns];

		if (width > *widest)
			*widest = width < WIDTH_MAX ? width : WIDTH_MAX;
	}
	return widths;
}

static void format_cell(const struct ctl_cell *cell, size_t width, bool colour, struct buf *out)
{
	const bool dyed = colour && cell->tone != CTL_PLAIN;
	const size_t own = text_width(cell->text);

	(void)buf_addf(out, "%s%s%s", dyed ? tone_codes[cell->tone] : "", cell->text,
		       dyed ? "\033[0m" : "");
	if (width)
		(void)buf_addf(out, "%*s", (int)(own < width ? width - own : 0) + GAP, "");
}

char *ctl_table_text(const struct ctl_table *table, bool colour)
{
	struct buf out = BUF_INIT(0);
	size_t *widths = measure(table);

	for (size_t i = 0; i < table->len; i++) {
		const size_t column = i % table->columns;
		const bool last = column + 1 == table->columns || i + 1 == table->len;

		format_cell(&table->cells[i], last ? 0 : widths[column], colour, &out);
		if (last)
			(void)buf_add(&out, "\n", 1);
	}
	free(widths);
	return buf_steal(&out);
}

void ctl_table_print(const struct ctl_table *table, bool colour)
{
	CLEAN(str) char *text = ctl_table_text(table, colour);

	(void)fputs(text, stdout);
}

/* --- small things --- */

bool ctl_colour_wanted(bool is_terminal, const char *no_color, const char *term)
{
	return is_terminal && !(no_color && *no_color) && term && *term && !str_eq(term, "dumb");
}

void ctl_elapsed(double seconds, char ret[32])
{
	enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

	if (!isfinite(seconds) || seconds > 1e12) {
		(void)snprintf(ret, 32, "-");
		return;
	}
	const long long s = seconds > 0 ? (long long)seconds : 0;

	if (s < MINUTE)
		(void)snprintf(ret, 32, "%llds", s);
	else if (s < HOUR)
		(void)snprintf(ret, 32, "%lldm%02llds", s / MINUTE, s % MINUTE);
	else if (s < DAY)
		(void)snprintf(ret, 32, "%lldh%02lldm", s / HOUR, s % HOUR / MINUTE);
	else
		(void)snprintf(ret, 32, "%lldd%02lldh", s / DAY, s % DAY / HOUR);
}

char *ctl_value_text(const cJSON *value)
{
	if (!value || cJSON_IsNull(value))
		return NULL;
	return cJSON_IsString(value) ? xstrdup(value->valuestring) : json_text(value);
}

void ctl_print_json(const cJSON *json)
{
	CLEAN(str) char *text = cJSON_Print(json);

	(void)puts(text);
}
