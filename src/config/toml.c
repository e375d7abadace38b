/* SPDX-License-Identifier: MIT */
/*
 * Reads TOML 1.0. One function per rule of the grammar; each leaves the position
 * behind what it read, or fails with the place of the first thing it could not
 * take. Owns the rules on what may be defined twice (enum origin). Never keeps
 * comments, never looks at what the keys mean.
 *
 * The text is checked to be UTF-8 once, at the start; after that every byte of
 * 0x80 and above is part of a character.
 */
#include "cmsnode/config/toml.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"

_Static_assert(TOML_MAX_DEPTH == VALUE_MAX_DEPTH,
	       "what one text format holds, the other holds too");

/*
 * How a table or array came to be decides what may still be added to it (kept
 * in value->origin):
 *
 *                  [it]      [it.x]     it.x = 1            [[it]]
 *   IMPLICIT       once      yes        yes, then DOTTED    no
 *   HEADER         no        yes        no                  no
 *   DOTTED         no        yes        same section only   no
 *   CLOSED         no        no         no                  no
 *   ARRAY_TABLES   no        the last   no                  yes
 *
 * "Same section only" needs no check: a key of another section would have to
 * pass a table that is HEADER on its way.
 */
enum origin {
	ORIGIN_CLOSED, /* {...}, [...] and every plain value */
	ORIGIN_IMPLICIT, /* a in [a.b] */
	ORIGIN_HEADER, /* [a], an element of [[a]], the whole document */
	ORIGIN_DOTTED, /* a in a.b = 1 */
	ORIGIN_ARRAY_TABLES, /* [[a]] */
};

struct parser {
	const char *text;
	const char *p;
	const char *end;
	int line;
	size_t keys;
	struct value *root;
	struct value *section; /* where `key = value` lines go now */
	int section_level; /* arrays and tables around its members, less the root */
	struct err *err;
};

/* One part of a dotted key, and where it stands. */
struct key_part {
	char *text;
	const char *at;
};

struct key_path {
	struct key_part parts[TOML_MAX_DEPTH + 1];
	size_t len;
};

static inline void clean_key_path(struct key_path *path)
{
	for (size_t i = 0; i < path->len; i++)
		free(path->parts[i].text);
}

#define fail(parser, at, ...) \
	value_text_error((parser)->err, -EINVAL, (parser)->text, (at), __VA_ARGS__)

/* ---- Characters ---- */

static bool at_end(const struct parser *parser)
{
	return parser->p >= parser->end;
}

/* The byte n places ahead, '\0' behind the end. */
static char peek(const struct parser *parser, size_t n)
{
	return (size_t)(parser->end - parser->p) > n ? parser->p[n] : '\0';
}

static bool accept(struct parser *parser, char c)
{
	if (at_end(parser) || *parser->p != c)
		return false;
	parser->p++;
	return true;
}

static void skip_blanks(struct parser *parser)
{
	while (!at_end(parser) && (*parser->p == ' ' || *parser->p == '\t'))
		parser->p++;
}

/* Bytes of the line end here: LF, CR LF, or none. */
static size_t newline_length(const struct parser *parser)
{
	if (peek(parser, 0) == '\r')
		return peek(parser, 1) == '\n' ? 2 : 0;
	return peek(parser, 0) == '\n';
}

static bool accept_newline(struct parser *parser)
{
	const size_t len = newline_length(parser);
	if (len == 0)
		return false;
	parser->p += len;
	parser->line++;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

#define SHOW_SIZE 48

/* What stands at the position, for a message. */
static const char *show_here(const struct parser *parser, char out[SHOW_SIZE])
{
	const unsigned char c = (unsigned char)peek(parser, 0);

	if (at_end(parser))
		return "the end of the text";
	if (newline_length(parser))
		return "the end of the line";
	/* The first byte of a character tells how many there are. */
	const int bytes = 1 + (c >= 0xc0) + (c >= 0xe0) + (c >= 0xf0);

	if (c < 0x20 || c == 0x7f)
		(void)snprintf(out, SHOW_SIZE, "control character U+%04X", (unsigned int)c);
	else
		(void)snprintf(out, SHOW_SIZE, "'%.*s'", bytes, parser->p);
	return out;
}

/* A key for a message: one line, not endless. */
static const char *show_key(const char *key, char out[SHOW_SIZE])
{
	const size_t max = SHOW_SIZE - 4;
	size_t len = strlen(key);
	const bool cut = len > max;

	if (cut)
		len = value_utf8_span(key, max);
	for (size_t i = 0; i < len; i++)
		out[i] = is_control(key[i]) || key[i] == '\t' ? '?' : key[i];
	memcpy(out + len, cut ? "..." : "", cut ? 4 : 1);
	return out;
}

static int fail_expected(struct parser *parser, const char *what)
{
	char here[SHOW_SIZE];

	return fail(parser, parser->p, "expected %s, found %s", what, show_here(parser, here));
}

static int check_level(struct parser *parser, const char *at, size_t level)
{
	if (level <= TOML_MAX_DEPTH)
		return 0;
	return value_text_error(parser->err, -E2BIG, parser->text, at,
				"arrays and tables are nested more than %d deep", TOML_MAX_DEPTH);
}

/* ---- Comments and line ends ---- */

static int skip_comment(struct parser *parser)
{
	if (!accept(parser, '#'))
		return 0;
	while (!at_end(parser) && !is_control(*parser->p))
		parser->p++;
	if (at_end(parser) || newline_length(parser))
		return 0;
	return fail_expected(parser, "the end of the comment");
}

/* Blanks, a comment, and then a new line or the end. */
static int read_line_end(struct parser *parser)
{
	skip_blanks(parser);
	const int r = skip_comment(parser);
	if (r < 0)
		return r;
	if (at_end(parser) || accept_newline(parser))
		return 0;
	return fail_expected(parser, "the end of the line");
}

/* What may stand between the items of an array. */
static int skip_blank_lines(struct parser *parser)
{
	do {
		skip_blanks(parser);
		const int r = skip_comment(parser);
		if (r < 0)
			return r;
	} while (accept_newline(parser));
	return 0;
}

/* ---- Strings ---- */

struct string_kind {
	char quote;
	bool escapes;
	bool multi;
};

/* Bytes that stand for themselves in a string of this kind. */
static void copy_plain(struct parser *parser, const struct string_kind *kind, struct buf *out)
{
	const char *from = parser->p;

	while (!at_end(parser) && *parser->p != kind->quote && !is_control(*parser->p) &&
	       !(kind->escapes && *parser->p == '\\'))
		parser->p++;
	(void)buf_add(out, from, (size_t)(parser->p - from));
}

/*
 * At one or more quotes. True if they close the string; of a multi-line string
 * up to two quotes may stand right before the closing three.
 */
static bool take_quotes(struct parser *parser, const struct string_kind *kind, struct buf *out)
{
	size_t n = 0;

	if (!kind->multi) {
		parser->p++;
		return true;
	}
	while (n < 5 && peek(parser, n) == kind->quote)
		n++;
	(void)buf_add(out, parser->p, n < 3 ? n : n - 3);
	parser->p += n;
	return n >= 3;
}

static int read_unicode_escape(struct parser *parser, const char *at, size_t digits,
			       struct buf *out)
{
	uint32_t character = 0;

	for (size_t i = 0; i < digits; i++) {
		static const char hex[] = "0123456789abcdef0123456789ABCDEF";
		const char *digit = peek(parser, 0) ? strchr(hex, *parser->p) : NULL;
		if (!digit)
			return fail(parser, at, "expected %zu hexadecimal digits in a \\%c escape",
				    digits, digits == 4 ? 'u' : 'U');
		character = character << 4 | ((uint32_t)(digit - hex) & 15);
		parser->p++;
	}
	if (!value_utf8_add(out, character))
		return fail(parser, at, "U+%04X is not a character", character);
	return 0;
}

/* Behind a backslash that ends a line: blanks and line ends up to the next character. */
static bool skip_line_continuation(struct parser *parser)
{
	const struct parser before = *parser;

	skip_blanks(parser);
	if (!accept_newline(parser)) {
		*parser = before;
		return false;
	}
	do
		skip_blanks(parser);
	while (accept_newline(parser));
	return true;
}

/* At a backslash. */
static int read_escape(struct parser *parser, const struct string_kind *kind, struct buf *out)
{
	static const char letters[] = "\"\\bfnrt";
	static const char bytes[] = "\"\\\b\f\n\r\t";
	const char *at = parser->p++;

	if (kind->multi && skip_line_continuation(parser))
		return 0;
	const char c = peek(parser, 0);
	const char *letter = c ? strchr(letters, c) : NULL;

	if (!letter && c != 'u' && c != 'U')
		return fail(parser, at, "unknown escape sequence: write \\\\ for a backslash");
	parser->p++;
	if (!letter)
		return read_unicode_escape(parser, at, c == 'u' ? 4 : 8, out);
	(void)buf_add(out, &bytes[letter - letters], 1);
	return 0;
}

/* The opening quotes tell the kind; `multi_allowed` is false for keys. */
static struct string_kind open_string(struct parser *parser, bool multi_allowed)
{
	const char quote = *parser->p;
	const bool multi = multi_allowed && peek(parser, 1) == quote && peek(parser, 2) == quote;

	parser->p += multi ? 3 : 1;
	if (multi)
		(void)accept_newline(parser);
	return (struct string_kind){ .quote = quote, .escapes = quote == '"', .multi = multi };
}

static int read_string(struct parser *parser, bool multi_allowed, struct buf *out)
{
	const char *opening = parser->p;
	const struct string_kind kind = open_string(parser, multi_allowed);

	for (;;) {
		copy_plain(parser, &kind, out);
		if (at_end(parser))
			return fail(parser, opening, "the string that begins here is not closed");
		if (*parser->p == kind.quote) {
			if (take_quotes(parser, &kind, out))
				return 0;
		} else if (*parser->p == '\\') {
			const int r = read_escape(parser, &kind, out);
			if (r < 0)
				return r;
		} else if (kind.multi && accept_newline(parser)) {
			/* CR LF becomes LF, as in Python. */
			(void)buf_add(out, "\n", 1);
		} else {
			return fail_expected(parser, "the closing quote of a string");
		}
	}
}

/* ---- Keys ---- */

static bool is_bare(char c)
{
	return is_letter(c) || is_digit(c) || c == '_' || c == '-';
}

static int read_key_text(struct parser *parser, struct buf *out)
{
	const char *at = parser->p;

	if (peek(parser, 0) == '"' || peek(parser, 0) == '\'') {
		const int r = read_string(parser, false, out);
		if (r < 0)
			return r;
		if (strlen(buf_str(out)) != out->len)
			return fail(parser, at, "a key must not hold a NUL character");
		return 0;
	}
	while (!at_end(parser) && is_bare(*parser->p))
		parser->p++;
	if (parser->p == at)
		return fail_expected(parser,
				     "a key (letters, digits, '_', '-', or a text in quotes)");
	(void)buf_add(out, at, (size_t)(parser->p - at));
	return 0;
}

/* a.b.c; blanks around the dots and behind are skipped. */
static int read_key_path(struct parser *parser, struct key_path *path)
{
	do {
		CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);

		skip_blanks(parser);
		const char *at = parser->p;
		int r = check_level(parser, at, path->len);
		if (r < 0)
			return r;
		r = read_key_text(parser, &text);
		if (r < 0)
			return r;
		path->parts[path->len++] = (struct key_part){ buf_steal(&text), at };
		skip_blanks(parser);
	} while (accept(parser, '.'));
	return 0;
}

/* ---- Putting values into tables ---- */

/* Takes value; the key is known to be new. */
static int add_member(struct parser *parser, struct value *table, const struct key_part *key,
		      struct value *value)
{
	if (++parser->keys > TOML_MAX_KEYS) {
		value_free(value);
		return value_text_error(parser->err, -E2BIG, parser->text, key->at,
					"more than %d keys", TOML_MAX_KEYS);
	}
	value_set(table, key->text, value);
	return 0;
}

static struct value *new_at(const struct parser *parser, struct value *value, enum origin origin)
{
	value->line = parser->line;
	value->origin = (unsigned char)origin;
	return value;
}

static int fail_defined(struct parser *parser, const struct key_part *key,
			const struct value *there)
{
	char name[SHOW_SIZE];

	return fail(parser, key->at,
		    "'%s' is defined twice: as %s in line %d and again here; remove one of them",
		    show_key(key->text, name), value_type_name(there->type), there->line);
}

static int fail_closed(struct parser *parser, const struct key_part *key, const struct value *there)
{
	char name[SHOW_SIZE];

	return fail(parser, key->at,
		    "nothing can be added to '%s' here: it is defined as %s in line %d",
		    show_key(key->text, name), value_type_name(there->type), there->line);
}

/*
 * From `table` to its inner table `key` in front of a dot; it is made with origin
 * `made` when missing. Through an array of tables the way goes to its last one.
 */
static int enter_table(struct parser *parser, struct value *table, const struct key_part *key,
		       enum origin made, struct value **ret, size_t *level)
{
	struct value *inner = value_get(table, key->text);

	if (!inner) {
		inner = new_at(parser, value_new_table(), made);
		const int r = add_member(parser, table, key, inner);
		if (r < 0)
			return r;
	} else if (made == ORIGIN_DOTTED) {
		if (inner->origin != ORIGIN_IMPLICIT && inner->origin != ORIGIN_DOTTED)
			return fail_closed(parser, key, inner);
		inner->origin = ORIGIN_DOTTED;
	} else if (inner->origin == ORIGIN_ARRAY_TABLES) {
		inner = inner->array.items[inner->array.len - 1];
		++*level;
	} else if (inner->origin == ORIGIN_CLOSED) {
		return fail_closed(parser, key, inner);
	}
	*ret = inner;
	++*level;
	return check_level(parser, key->at, *level);
}

/* ---- Scalars that are not strings ---- */

/*
 * A reader takes a whole token: 0 and a value; -EINVAL if it is something else;
 * -ERANGE if it is this, but cannot be held.
 */
struct scalar_reader {
	int (*read)(const char *token, struct value **ret);
	const char *out_of_range;
};

static int read_bool(const char *token, struct value **ret)
{
	const bool yes = str_eq(token, "true");
	if (!yes && !str_eq(token, "false"))
		return -EINVAL;
	*ret = value_new_bool(yes);
	return 0;
}

static int read_datetime(const char *token, struct value **ret)
{
	if (strspn(token, "0123456789") < 2 || !strpbrk(token, ":-") || strpbrk(token, "eE_"))
		return -EINVAL;
	if (!value_datetime_valid(token))
		return -ERANGE;
	*ret = value_new_datetime(token);
	return 0;
}

static int read_special_float(const char *token, struct value **ret)
{
	const char *word = token + (*token == '+' || *token == '-');

	if (str_eq(word, "inf"))
		*ret = value_new_float(*token == '-' ? -INFINITY : INFINITY);
	else if (str_eq(word, "nan"))
		*ret = value_new_float(NAN);
	else
		return -EINVAL;
	return 0;
}

static bool is_one_of(char c, const char *set)
{
	return c && strchr(set, c);
}

/* The token without underscores. Each must stand between two of `digits`; NULL if one does not. */
static char *without_underscores(const char *token, const char *digits)
{
	CLEAN(str) char *clean = xstrdup(token);
	char *to = clean;

	for (const char *from = token; *from; from++) {
		if (*from != '_')
			*to++ = *from;
		else if (from == token || !is_one_of(from[-1], digits) ||
			 !is_one_of(from[1], digits))
			return NULL;
	}
	*to = '\0';
	return steal(clean);
}

static const char decimal[] = "0123456789";

static int read_prefixed_integer(const char *token, struct value **ret)
{
	static const struct {
		const char *prefix;
		const char *digits;
		int base;
	} kinds[] = {
		{ "0x", "0123456789abcdefABCDEF", 16 },
		{ "0o", "01234567", 8 },
		{ "0b", "01", 2 },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!str_starts(token, kinds[i].prefix))
			continue;
		CLEAN(str) char *clean = without_underscores(token + 2, kinds[i].digits);
		if (!clean || !*clean || clean[strspn(clean, kinds[i].digits)])
			return -EINVAL;
		errno = 0;
		const unsigned long long number = strtoull(clean, NULL, kinds[i].base);
		if (errno || number > INT64_MAX)
			return -ERANGE;
		*ret = value_new_int((int64_t)number);
		return 0;
	}
	return -EINVAL;
}

/* Behind the decimal integer at p, or NULL: a sign, then 0 or digits that do not begin with 0. */
static const char *match_integer(const char *p)
{
	p += *p == '+' || *p == '-';
	const size_t digits = strspn(p, decimal);

	return digits == 0 || (digits > 1 && *p == '0') ? NULL : p + digits;
}

static int read_integer(const char *token, struct value **ret)
{
	CLEAN(str) char *clean = without_underscores(token, decimal);
	const char *end = clean ? match_integer(clean) : NULL;
	int64_t number;

	if (!end || *end)
		return -EINVAL;
	const int r = str_to_int64(clean, INT64_MIN, INT64_MAX, &number);
	if (r < 0)
		return r;
	*ret = value_new_int(number);
	return 0;
}

/* Behind the float at text, or NULL: an integer, then a fraction, an exponent or both. */
static const char *match_float(const char *text)
{
	const char *whole = match_integer(text);
	const char *p = whole;

	if (p && *p == '.') {
		const size_t digits = strspn(p + 1, decimal);

		p = digits ? p + 1 + digits : NULL;
	}
	if (p && (*p == 'e' || *p == 'E')) {
		p++;
		p += *p == '+' || *p == '-';
		const size_t digits = strspn(p, decimal);

		p = digits ? p + digits : NULL;
	}
	return p == whole ? NULL : p;
}

static int read_float(const char *token, struct value **ret)
{
	CLEAN(str) char *clean = without_underscores(token, decimal);
	const char *end = clean ? match_float(clean) : NULL;

	if (!end || *end)
		return -EINVAL;
	const double number = strtod(clean, NULL);
	if (!isfinite(number))
		return -ERANGE;
	*ret = value_new_float(number);
	return 0;
}

/* The first that does not say -EINVAL decides. */
static const struct scalar_reader scalar_readers[] = {
	{ read_bool, NULL },
	{ read_special_float, NULL },
	{ read_prefixed_integer, "an integer beyond 64 bits" },
	{ read_integer, "an integer beyond 64 bits" },
	{ read_float, "too large for a 64-bit float" },
	{ read_datetime,
	  "not a date or time: expected one like 2026-11-22T10:00:00Z, 2026-11-22T10:00:00, "
	  "2026-11-22 or 10:00:00" },
};

static const char *token_end(const struct parser *parser, const char *p)
{
	while (p < parser->end && (is_bare(*p) || *p == '+' || *p == '.' || *p == ':'))
		p++;
	return p;
}

/* The token at the position; a date and a time may be parted by one blank. */
static char *take_token(struct parser *parser)
{
	const char *from = parser->p;

	parser->p = token_end(parser, from);
	if (parser->p - from == 10 && from[4] == '-' && from[7] == '-' && peek(parser, 0) == ' ' &&
	    is_digit(peek(parser, 1)))
		parser->p = token_end(parser, parser->p + 1);
	return xstrndup(from, (size_t)(parser->p - from));
}

static int read_scalar(struct parser *parser, struct value **ret)
{
	const char *at = parser->p;
	CLEAN(str) char *token = take_token(parser);
	char shown[SHOW_SIZE];

	if (!*token)
		return fail_expected(parser, "a value");
	for (size_t i = 0; i < ARRAY_LEN(scalar_readers); i++) {
		const int r = scalar_readers[i].read(token, ret);
		if (r == 0)
			return 0;
		if (r == -ERANGE)
			return fail(parser, at, "%s is %s", show_key(token, shown),
				    scalar_readers[i].out_of_range);
	}
	if (is_digit(*token) || is_one_of(*token, "+-"))
		return fail(parser, at, "expected a value: %s is no number (a text needs quotes)",
			    show_key(token, shown));
	return fail(parser, at, "expected a value, found %s (a text needs quotes)",
		    show_key(token, shown));
}

/* ---- Values ---- */

static int read_value(struct parser *parser, size_t level, struct value **ret);
static int read_key_value(struct parser *parser, struct value *table, size_t level);

static int read_text(struct parser *parser, struct value **ret)
{
	CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);
	const int r = read_string(parser, true, &text);
	if (r < 0)
		return r;
	*ret = value_new_string_n(buf_str(&text), text.len);
	return 0;
}

/* Behind an item: a comma, or nothing before the closing bracket. */
static int read_item_end(struct parser *parser)
{
	const int r = skip_blank_lines(parser);
	if (r < 0)
		return r;
	if (accept(parser, ','))
		return skip_blank_lines(parser);
	return peek(parser, 0) == ']' ? 0 : fail_expected(parser, "',' or ']' in an array");
}

static int read_array(struct parser *parser, size_t level, struct value **ret)
{
	CLEAN(value) struct value *array = value_new_array();

	parser->p++;
	int r = skip_blank_lines(parser);
	if (r < 0)
		return r;
	while (!accept(parser, ']')) {
		struct value *item;

		r = read_value(parser, level + 1, &item);
		if (r < 0)
			return r;
		value_array_add(array, item);
		r = read_item_end(parser);
		if (r < 0)
			return r;
	}
	*ret = steal(array);
	return 0;
}

static int read_inline_table(struct parser *parser, size_t level, struct value **ret)
{
	CLEAN(value) struct value *table = value_new_table();

	parser->p++;
	skip_blanks(parser);
	bool more = !accept(parser, '}');

	while (more) {
		const int r = read_key_value(parser, table, level);
		if (r < 0)
			return r;
		more = accept(parser, ',');
		if (!more && !accept(parser, '}'))
			return fail_expected(parser, "',' or '}' in an inline table");
	}
	*ret = steal(table);
	return 0;
}

/* `level`: arrays and tables around this value, which counts too if it is one. */
static int read_value(struct parser *parser, size_t level, struct value **ret)
{
	const char first = peek(parser, 0);
	const char *at = parser->p;
	const int line = parser->line;
	int r = first == '[' || first == '{' ? check_level(parser, at, level) : 0;

	if (r < 0)
		return r;
	if (first == '"' || first == '\'')
		r = read_text(parser, ret);
	else if (first == '[')
		r = read_array(parser, level, ret);
	else if (first == '{')
		r = read_inline_table(parser, level, ret);
	else
		r = read_scalar(parser, ret);
	if (r < 0)
		return r;
	(*ret)->line = line;
	return 0;
}

/* key = value, into a table whose members are at `level` + 1; blanks behind are skipped. */
static int read_key_value(struct parser *parser, struct value *table, size_t level)
{
	CLEAN(key_path) struct key_path path = { .len = 0 };
	int r = read_key_path(parser, &path);
	if (r < 0)
		return r;
	for (size_t i = 0; i + 1 < path.len; i++) {
		r = enter_table(parser, table, &path.parts[i], ORIGIN_DOTTED, &table, &level);
		if (r < 0)
			return r;
	}
	const struct key_part *last = &path.parts[path.len - 1];
	const struct value *there = value_get(table, last->text);

	if (there)
		return fail_defined(parser, last, there);
	if (!accept(parser, '='))
		return fail_expected(parser, "'=' behind the key");
	skip_blanks(parser);
	struct value *value;

	r = read_value(parser, level + 1, &value);
	if (r < 0)
		return r;
	skip_blanks(parser);
	return add_member(parser, table, last, value);
}

/* ---- Sections ---- */

static int open_table(struct parser *parser, struct value *table, const struct key_part *key)
{
	struct value *there = value_get(table, key->text);

	if (there && there->origin != ORIGIN_IMPLICIT)
		return fail_defined(parser, key, there);
	if (!there) {
		there = value_new_table();
		const int r = add_member(parser, table, key, there);
		if (r < 0)
			return r;
	}
	parser->section = new_at(parser, there, ORIGIN_HEADER);
	return 0;
}

static int open_array_item(struct parser *parser, struct value *table, const struct key_part *key)
{
	struct value *array = value_get(table, key->text);

	if (array && array->origin != ORIGIN_ARRAY_TABLES)
		return fail_defined(parser, key, array);
	if (!array) {
		array = new_at(parser, value_new_array(), ORIGIN_ARRAY_TABLES);
		const int r = add_member(parser, table, key, array);
		if (r < 0)
			return r;
	}
	parser->section = new_at(parser, value_new_table(), ORIGIN_HEADER);
	value_array_add(array, parser->section);
	return 0;
}

static int open_section(struct parser *parser, const struct key_path *path, bool is_array)
{
	struct value *table = parser->root;
	const struct key_part *last = &path->parts[path->len - 1];
	size_t level = 0;
	int r;

	for (const struct key_part *part = path->parts; part < last; part++) {
		r = enter_table(parser, table, part, ORIGIN_IMPLICIT, &table, &level);
		if (r < 0)
			return r;
	}
	level += is_array ? 2 : 1;
	r = check_level(parser, last->at, level);
	if (r < 0)
		return r;
	parser->section_level = (int)level;
	return is_array ? open_array_item(parser, table, last) : open_table(parser, table, last);
}

/* [a.b] or [[a.b]], the brackets of which stand together. */
static int read_header(struct parser *parser)
{
	CLEAN(key_path) struct key_path path = { .len = 0 };
	const bool is_array = peek(parser, 1) == '[';

	parser->p += is_array ? 2 : 1;
	const int r = read_key_path(parser, &path);
	if (r < 0)
		return r;
	if (peek(parser, 0) != ']' || (is_array && peek(parser, 1) != ']'))
		return fail_expected(
			parser, is_array ? "'.' or ']]' behind the name of an array of tables" :
					   "'.' or ']' behind the name of a table");
	parser->p += is_array ? 2 : 1;
	return open_section(parser, &path, is_array);
}

static int read_line(struct parser *parser)
{
	int r = 0;

	skip_blanks(parser);
	if (peek(parser, 0) == '[')
		r = read_header(parser);
	else if (!at_end(parser) && !strchr("#\r\n", *parser->p))
		r = read_key_value(parser, parser->section, (size_t)parser->section_level);
	return r < 0 ? r : read_line_end(parser);
}

static int check_text(const char *text, size_t len, struct err *err)
{
	if (len > TOML_MAX_SIZE)
		return value_text_error(err, -E2BIG, text, text,
					"the text has %zu bytes, more than the %u that are read",
					len, TOML_MAX_SIZE);
	const size_t valid = value_utf8_span(text, len);
	if (valid < len)
		return value_text_error(err, -EINVAL, text, text + valid,
					"expected UTF-8, found byte 0x%02x",
					(unsigned int)(unsigned char)text[valid]);
	return 0;
}

int toml_parse(const char *text, size_t len, struct value **ret, struct err *err)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	int r = check_text(text, len, err);
	if (r < 0)
		return r;
	/* The mark is no column: what a person counts begins behind it. */
	const char *begin = text + (len >= 3 && memcmp(text, byte_order_mark, 3) == 0 ? 3 : 0);
	CLEAN(value) struct value *root = value_new_table();
	struct parser parser = {
		.text = begin,
		.p = begin,
		.end = text + len,
		.line = 1,
		.root = root,
		.section = root,
		.err = err,
	};

	(void)new_at(&parser, root, ORIGIN_HEADER);
	while (!at_end(&parser)) {
		r = read_line(&parser);
		if (r < 0)
			return r;
	}
	*ret = steal(root);
	return 0;
}
