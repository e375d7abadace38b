/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a stream of RPC messages, cut in two at a place that the first
 * byte chooses: the cut changes nothing, and what was decoded can be sent and
 * decoded again to the same text.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/cms_rpc/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const char *text)
{
	(void)fprintf(stderr, "%s:\n%s\n", what, text);
	abort();
}

static void encode(struct buf *out, const struct rpc_message *message)
{
	if (rpc_encode_reply(out, message->id, message->data, message->error) == -EMSGSIZE)
		(void)buf_adds(out, "too long\n");
}

/* Our own text is a good reply, and the same when written once more. */
static void check_again(const struct buf *text)
{
	CLEAN(rpc_message) struct rpc_message again = { 0 };
	CLEAN(buf) struct buf out = BUF_INIT(0);
	struct err err = { 0 };

	if (!text->len || strcmp(buf_str(text), "too long\n") == 0)
		return;
	if (rpc_decode_reply(text->data, text->len - 2, &again, &err) != RPC_GOOD)
		die(err.msg, buf_str(text));
	encode(&out, &again);
	if (strcmp(buf_str(&out), buf_str(text)) != 0)
		die("written again it differs", buf_str(text));
}

static void check_line(const char *line, size_t len, struct buf *seen)
{
	static const char *const params[] = { "string", "?reason", NULL };
	CLEAN(rpc_message) struct rpc_message request = { 0 };
	CLEAN(rpc_message) struct rpc_message reply = { 0 };
	CLEAN(buf) struct buf text = BUF_INIT(0);

	if (rpc_decode_reply(line, len, &reply, NULL) == RPC_GOOD)
		encode(&text, &reply);
	check_again(&text);
	buf_consume(&text, text.len);
	if (rpc_decode_request(line, len, &request, NULL) == RPC_GOOD) {
		free(rpc_check_arguments(request.data, "a.B.c", params));
		encode(&text, &request);
	}
	check_again(&text);
	(void)buf_add(seen, text.data, text.len);
}

/* All that a stream says, given in two pieces. */
static void run(const char *bytes, size_t size, size_t split, struct buf *seen)
{
	CLEAN(rpc_lines) struct rpc_lines lines;
	const char *line;
	size_t len;
	int r = 0;

	rpc_lines_init(&lines);
	for (size_t at = 0; at < size && r == 0;) {
		size_t n = at < split ? split - at : size - at;

		n = n > RPC_FEED_MAX ? RPC_FEED_MAX : n;
		if (rpc_lines_feed(&lines, bytes + at, n) < 0)
			die("a feed was refused", "");
		at += n;
		for (r = rpc_lines_next(&lines, &line, &len); r > 0;
		     r = rpc_lines_next(&lines, &line, &len))
			check_line(line, len, seen);
	}
	(void)buf_addf(seen, "end %d\n", r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(buf) struct buf whole = BUF_INIT(0);
	CLEAN(buf) struct buf cut = BUF_INIT(0);

	if (size == 0)
		return 0;
	const char *bytes = (const char *)data + 1;

	run(bytes, size - 1, 0, &whole);
	run(bytes, size - 1, (size - 1) * data[0] / 256, &cut);
	if (strcmp(buf_str(&whole), buf_str(&cut)) != 0)
		die("a cut stream says something else", buf_str(&cut));
	return 0;
}
