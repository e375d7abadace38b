/* SPDX-License-Identifier: MIT */
/*
 * Framing and codec of CMS's RPC. Owns what a line means; must never know a
 * socket. Nothing a peer sends makes it keep more than RPC_LINE_MAX and one feed.
 */
#include "cmsnode/cms_rpc/message.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

#define REPLACEMENT 0xfffdU /* U+FFFD */

/* Lines */

void rpc_lines_init(struct rpc_lines *lines)
{
	*lines = (struct rpc_lines){ .in = BUF_INIT(RPC_LINE_MAX + RPC_FEED_MAX) };
}

void rpc_lines_fini(struct rpc_lines *lines)
{
	buf_fini(&lines->in);
}

int rpc_lines_feed(struct rpc_lines *lines, const void *data, size_t len)
{
	if (lines->begin) {
		buf_consume(&lines->in, lines->begin);
		lines->seen -= lines->begin;
		lines->begin = 0;
	}
	return buf_add(&lines->in, data, len);
}

int rpc_lines_next(struct rpc_lines *lines, const char **ret_line, size_t *ret_len)
{
	const char *data = buf_str(&lines->in);
	const char *end = memchr(data + lines->seen, '\n', lines->in.len - lines->seen);
	const size_t len = (end ? (size_t)(end - data) + 1 : lines->in.len) - lines->begin;

	lines->seen = lines->begin + len;
	/* CMS reads RPC_LINE_MAX bytes at most and wants CR LF at their end. */
	if (len > RPC_LINE_MAX || (len == RPC_LINE_MAX && !end))
		return -EMSGSIZE;
	if (!end)
		return 0;
	if (len < 2 || end[-1] != '\r')
		return -EBADMSG;
	*ret_line = data + lines->begin;
	*ret_len = len - 2;
	lines->begin += len;
	return 1;
}

/* Decoding */

/*
 * Length of the UTF-8 sequence at s (at most `left` bytes), 0 if it is none: RFC
 * 3629, table in section 4.
 */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max, length;
	} rows[] = {
		{ 0x00, 0x7f, 0x00, 0x00, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	size_t row = 0;

	while (row < ARRAY_LEN(rows) && s[0] > rows[row].first_max)
		row++;
	if (row == ARRAY_LEN(rows) || s[0] < rows[row].first_min || rows[row].length > left)
		return 0;
	if (rows[row].length > 1 && (s[1] < rows[row].second_min || s[1] > rows[row].second_max))
		return 0;
	for (size_t i = 2; i < rows[row].length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return rows[row].length;
}

static bool is_utf8(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		const size_t n = utf8_length((const unsigned char *)s + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

/* The value of "\uXXXX" at s, or -1. */
static int32_t read_escape(const char *s, const char *end)
{
	char digits[5] = "";

	if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
		return -1;
	for (size_t i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)s[i + 2]))
			return -1;
		digits[i] = s[i + 2];
	}
	return (int32_t)strtoul(digits, NULL, 16);
}

static bool is_high(int32_t code)
{
	return code >= 0xd800 && code <= 0xdbff;
}

static bool is_low(int32_t code)
{
	return code >= 0xdc00 && code <= 0xdfff;
}

/* Copies one escape; those that cJSON cannot hold become U+FFFD. Returns what was read. */
static size_t mend_escape(struct buf *out, const char *s, const char *end)
{
	const int32_t code = read_escape(s, end);

	if (code < 0) {
		const size_t n = end - s < 2 ? (size_t)(end - s) : 2;

		(void)buf_add(out, s, n);
		return n;
	}
	if (is_high(code) && is_low(read_escape(s + 6, end))) {
		(void)buf_add(out, s, 12);
		return 12;
	}
	if (code == 0 || is_high(code) || is_low(code))
		(void)buf_adds(out, "\\ufffd");
	else
		(void)buf_add(out, s, 6);
	return 6;
}

/*
 * Copies one byte, or null for one of Python's words for numbers that JSON has not.
 * Returns what was read.
 */
static size_t mend_literal(struct buf *out, const char *s, const char *end)
{
	static const char *const words[] = { "NaN", "Infinity", "-Infinity" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		const size_t n = strlen(words[i]);
		if ((size_t)(end - s) >= n && memcmp(s, words[i], n) == 0) {
			(void)buf_adds(out, "null");
			return n;
		}
	}
	(void)buf_add(out, s, 1);
	return 1;
}

/*
 * What Python's json reads and cJSON does not, mended. A ceiling is not needed: it
 * at most doubles a line.
 */
static void mend(struct buf *out, const char *line, size_t len)
{
	const char *end = line + len;
	bool in_text = false;

	for (const char *s = line; s < end;) {
		if (in_text && *s == '\\') {
			s += mend_escape(out, s, end);
		} else if (in_text || *s == '"') {
			in_text ^= *s == '"';
			(void)buf_add(out, s++, 1);
		} else {
			s += mend_literal(out, s, end);
		}
	}
}

/* Only lines that show one of the signs are copied. */
static bool needs_mending(const char *line, size_t len)
{
	static const char *const signs[] = { "NaN", "Infinity", "\\u0000", "\\ud", "\\uD" };

	for (size_t i = 0; i < ARRAY_LEN(signs); i++)
		if (memmem(line, len, signs[i], strlen(signs[i])))
			return true;
	return false;
}

static struct cJSON *parse_line(const char *line, size_t len, struct err *err)
{
	CLEAN(buf) struct buf mended = BUF_INIT(0);

	if (!is_utf8(line, len) || memchr(line, '\0', len)) {
		(void)err_set(err, -EBADMSG, "not UTF-8 text");
		return NULL;
	}
	if (!needs_mending(line, len))
		return json_parse(line, len, err);
	mend(&mended, line, len);
	return json_parse(buf_str(&mended), mended.len, err);
}

/* The members that all messages of a kind have; -ENOENT names the missing one. */
static int require(const struct cJSON *root, const char *const *keys, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (!json_get(root, keys[i]))
			return err_set(err, -ENOENT, "member '%s' is missing", keys[i]);
	return 0;
}

static enum rpc_verdict decode(const char *line, size_t len, const char *const *keys, size_t n,
			       struct rpc_message *ret, struct err *err)
{
	CLEAN(json) struct cJSON *root = parse_line(line, len, err);

	if (!root)
		return RPC_CLOSE;
	if (!cJSON_IsObject(root)) {
		(void)err_set(err, -EBADMSG, "not a JSON object");
		return RPC_IGNORE;
	}
	if (require(root, keys, n, err) < 0)
		return RPC_CLOSE;
	*ret = (struct rpc_message){
		.id = json_get(root, "__id"),
		.method = json_get_str(root, "__method"),
		.data = json_get(root, "__data"),
	};
	ret->root = steal(root);
	return RPC_GOOD;
}

enum rpc_verdict rpc_decode_request(const char *line, size_t len, struct rpc_message *ret,
				    struct err *err)
{
	static const char *const keys[] = { "__id", "__method", "__data" };
	struct rpc_message message;
	const enum rpc_verdict verdict = decode(line, len, keys, ARRAY_LEN(keys), &message, err);

	if (verdict != RPC_GOOD)
		return verdict;
	if (!message.method) {
		rpc_message_fini(&message);
		(void)err_set(err, -EBADMSG, "'__method' is not a text");
		return RPC_IGNORE;
	}
	*ret = message;
	return RPC_GOOD;
}

enum rpc_verdict rpc_decode_reply(const char *line, size_t len, struct rpc_message *ret,
				  struct err *err)
{
	static const char *const keys[] = { "__id", "__data", "__error" };
	struct rpc_message message;
	const enum rpc_verdict verdict = decode(line, len, keys, ARRAY_LEN(keys), &message, err);

	if (verdict != RPC_GOOD)
		return verdict;
	const struct cJSON *error = json_get(message.root, "__error");
	if (!cJSON_IsNull(error))
		message.error = cJSON_IsString(error) ? error->valuestring : "unknown error";
	*ret = message;
	return RPC_GOOD;
}

void rpc_message_fini(struct rpc_message *message)
{
	json_free(message->root);
	*message = (struct rpc_message){ 0 };
}

/* Encoding */

/* A line being written; once something did not fit it stays refused. */
struct writer {
	struct buf line;
	bool refused;
};

static void clean_writer(struct writer *writer)
{
	buf_fini(&writer->line);
}

static void put(struct writer *writer, const char *s, size_t len)
{
	if (!writer->refused && buf_add(&writer->line, s, len) < 0)
		writer->refused = true;
}

static void puts_to(struct writer *writer, const char *s)
{
	put(writer, s, strlen(s));
}

static void write_code_point(struct writer *writer, uint32_t code)
{
	char escape[16];

	if (code < 0x10000)
		(void)snprintf(escape, sizeof(escape), "\\u%04x", code);
	else
		(void)snprintf(escape, sizeof(escape), "\\u%04x\\u%04x",
			       0xd800 + ((code - 0x10000) >> 10), 0xdc00 + (code & 0x3ff));
	puts_to(writer, escape);
}

/*
 * One character that is not printable ASCII. Returns its length; a byte that is not
 * UTF-8 becomes U+FFFD.
 */
static size_t write_other(struct writer *writer, const unsigned char *s, size_t left)
{
	static const unsigned char first_bits[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	const size_t n = utf8_length(s, left);
	if (n == 0) {
		write_code_point(writer, REPLACEMENT);
		return 1;
	}
	uint32_t code = s[0] & first_bits[n];

	for (size_t i = 1; i < n; i++)
		code = code << 6 | (s[i] & 0x3fU);
	write_code_point(writer, code);
	return n;
}

static bool is_plain(char c)
{
	return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

static void write_text(struct writer *writer, const char *text)
{
	static const char escaped[] = "\"\\\n\r\t\b\f";
	static const char *const escapes[] = { "\\\"", "\\\\", "\\n", "\\r", "\\t", "\\b", "\\f" };
	size_t left = strlen(text);

	puts_to(writer, "\"");
	while (left) {
		size_t n = 0;

		while (n < left && is_plain(text[n]))
			n++;
		put(writer, text, n);
		if (n == 0) {
			const char *at = strchr(escaped, *text);

			n = 1;
			if (at)
				puts_to(writer, escapes[at - escaped]);
			else
				n = write_other(writer, (const unsigned char *)text, left);
		}
		text += n;
		left -= n;
	}
	puts_to(writer, "\"");
}

/*
 * Whole numbers without a point, others with as few digits as read back exactly;
 * what JSON cannot say is null.
 */
static void write_number(struct writer *writer, double value)
{
	char digits[40] = "null";

	if (isfinite(value) && floor(value) == value && fabs(value) <= 9007199254740992.0) {
		(void)snprintf(digits, sizeof(digits), "%.0f", value);
	} else if (isfinite(value)) {
		for (int precision = 15; precision <= 17; precision++) {
			(void)snprintf(digits, sizeof(digits), "%.*g", precision, value);
			if (strtod(digits, NULL) == value)
				break;
		}
	}
	puts_to(writer, digits);
}

static void write_value(struct writer *writer, const struct cJSON *value);

static void write_members(struct writer *writer, const struct cJSON *container)
{
	const bool is_object = cJSON_IsObject(container);

	puts_to(writer, is_object ? "{" : "[");
	for (const struct cJSON *item = container->child; item; item = item->next) {
		if (item != container->child)
			puts_to(writer, ", ");
		if (is_object) {
			write_text(writer, item->string ? item->string : "");
			puts_to(writer, ": ");
		}
		write_value(writer, item);
	}
	puts_to(writer, is_object ? "}" : "]");
}

/* The recursion is as deep as what cJSON parses, or what we build. NULL = null. */
static void write_value(struct writer *writer, const struct cJSON *value)
{
	if (cJSON_IsString(value))
		write_text(writer, value->valuestring);
	else if (cJSON_IsNumber(value))
		write_number(writer, value->valuedouble);
	else if (cJSON_IsBool(value))
		puts_to(writer, cJSON_IsTrue(value) ? "true" : "false");
	else if (cJSON_IsObject(value) || cJSON_IsArray(value))
		write_members(writer, value);
	else if (cJSON_IsRaw(value))
		puts_to(writer, value->valuestring);
	else
		puts_to(writer, "null");
}

static int finish_line(struct writer *writer, struct buf *out)
{
	puts_to(writer, "}\r\n");
	if (writer->refused)
		return -EMSGSIZE;
	return buf_add(out, writer->line.data, writer->line.len) < 0 ? -E2BIG : 0;
}

int rpc_encode_request(struct buf *out, const char *id, const char *method,
		       const struct cJSON *data)
{
	CLEAN(writer) struct writer writer = { .line = BUF_INIT(RPC_LINE_MAX) };

	puts_to(&writer, "{\"__id\": ");
	write_text(&writer, id);
	puts_to(&writer, ", \"__method\": ");
	write_text(&writer, method);
	puts_to(&writer, ", \"__data\": ");
	if (data)
		write_value(&writer, data);
	else
		puts_to(&writer, "{}");
	return finish_line(&writer, out);
}

int rpc_encode_reply(struct buf *out, const struct cJSON *id, const struct cJSON *data,
		     const char *error)
{
	CLEAN(writer) struct writer writer = { .line = BUF_INIT(RPC_LINE_MAX) };

	puts_to(&writer, "{\"__id\": ");
	write_value(&writer, id);
	puts_to(&writer, ", \"__data\": ");
	write_value(&writer, data);
	puts_to(&writer, ", \"__error\": ");
	if (error)
		write_text(&writer, error);
	else
		puts_to(&writer, "null");
	return finish_line(&writer, out);
}

/* Arguments */

/* What Python calls the type of a JSON value. */
static const char *python_type(const struct cJSON *value)
{
	if (cJSON_IsString(value))
		return "str";
	if (cJSON_IsBool(value))
		return "bool";
	if (cJSON_IsArray(value))
		return "list";
	if (cJSON_IsNumber(value))
		return floor(value->valuedouble) == value->valuedouble ? "int" : "float";
	return "NoneType";
}

static bool takes(const char *const *params, const char *name)
{
	for (; *params; params++)
		if (strcmp(**params == '?' ? *params + 1 : *params, name) == 0)
			return true;
	return false;
}

/* "Service.echo" of "cms.io.service.Service.echo". */
static const char *short_path(const char *path)
{
	const char *dot = strrchr(path, '.');

	while (dot && dot > path && dot[-1] != '.')
		dot--;
	return dot ? dot : path;
}

static bool is_missing(const struct cJSON *data, const char *param)
{
	return *param != '?' && !json_get(data, param);
}

/* "'a'", "'a' and 'b'", "'a', 'b', and 'c'" */
static char *describe_missing(const struct cJSON *data, const char *path, const char *const *params,
			      size_t n)
{
	struct buf text = BUF_INIT(0);
	size_t i = 0;

	(void)buf_addf(&text, "TypeError: %s() missing %zu required positional argument%s: ",
		       short_path(path), n, n == 1 ? "" : "s");
	for (; *params; params++) {
		if (!is_missing(data, *params))
			continue;
		if (i > 0)
			(void)buf_adds(&text, n == 2 ? " and " : i + 1 == n ? ", and " : ", ");
		(void)buf_addf(&text, "'%s'", *params);
		i++;
	}
	(void)buf_adds(&text, "\n");
	return buf_steal(&text);
}

char *rpc_check_arguments(const struct cJSON *data, const char *path, const char *const *params)
{
	size_t missing = 0;

	if (!cJSON_IsObject(data))
		return xasprintf("TypeError: %s() argument after ** must be a mapping, not %s\n",
				 path, python_type(data));
	if (!params)
		return NULL;
	for (const struct cJSON *item = data->child; item; item = item->next)
		if (!takes(params, item->string))
			return xasprintf(
				"TypeError: %s() got an unexpected keyword argument '%s'\n",
				short_path(path), item->string);
	for (const char *const *param = params; *param; param++)
		missing += is_missing(data, *param);
	return missing ? describe_missing(data, path, params, missing) : NULL;
}
