/* SPDX-License-Identifier: MIT */
/*
 * CMS's RPC on the wire: one JSON object per line, CR LF at its end, at most
 * 1 MiB with both. Requests {"__id", "__method", "__data": {arguments}}, replies
 * {"__id", "__data", "__error"}. Pure: bytes in, values out, and back.
 *
 * The source of every oddity here is what CMS services were seen to do
 * (the recorded exchanges are replayed in tests/unit/test_rpc.c).
 */
#ifndef CMSNODE_CMS_RPC_MESSAGE_H
#define CMSNODE_CMS_RPC_MESSAGE_H

#include <stddef.h>

#include "cmsnode/base/buf.h"

struct cJSON;
struct err;

#define RPC_LINE_MAX 1048576 /* bytes of one message, CR LF included */
#define RPC_FEED_MAX 65536 /* bytes that may be given to rpc_lines_feed() at once */

/* Cuts a byte stream into lines. */
struct rpc_lines {
	struct buf in;
	size_t begin; /* of the first line that was not handed out */
	size_t seen; /* no line feed before here */
};

void rpc_lines_init(struct rpc_lines *lines);
void rpc_lines_fini(struct rpc_lines *lines);
static inline void clean_rpc_lines(struct rpc_lines *lines)
{
	rpc_lines_fini(lines);
}

/*
 * Adds at most RPC_FEED_MAX bytes; take all lines out before the next call. 0, or -E2BIG if that
 * was not done.
 */
int rpc_lines_feed(struct rpc_lines *lines, const void *data, size_t len);

/*
 * 1: a line, without its CR LF, borrowed until the next rpc_lines_feed().
 * 0: none is complete. -EMSGSIZE (too long) and -EBADMSG (a line feed without
 * carriage return): the connection has to be closed.
 */
int rpc_lines_next(struct rpc_lines *lines, const char **ret_line, size_t *ret_len);

enum rpc_verdict {
	RPC_GOOD,
	RPC_IGNORE, /* valid JSON that CMS does not answer: no reply, the connection stays */
	RPC_CLOSE, /* CMS drops the connection */
};

/* A message decoded. The members point into `root`; data may be any JSON value. */
struct rpc_message {
	struct cJSON *root;
	const struct cJSON *id; /* any JSON value */
	const char *method; /* requests */
	const struct cJSON *data;
	const char *error; /* replies: NULL = it went well */
};

void rpc_message_fini(struct rpc_message *message);
static inline void clean_rpc_message(struct rpc_message *message)
{
	rpc_message_fini(message);
}

/*
 * NaN and Infinity, which Python writes, are read as null; NUL and lone
 * surrogates in texts as U+FFFD. *ret is filled for RPC_GOOD only; otherwise
 * err says what is wrong with the line.
 */
enum rpc_verdict rpc_decode_request(const char *line, size_t len, struct rpc_message *ret,
				    struct err *err);
enum rpc_verdict rpc_decode_reply(const char *line, size_t len, struct rpc_message *ret,
				  struct err *err);

/*
 * One line with its CR LF, as Python's json module writes it: ", " and ": ",
 * everything but printable ASCII escaped. `data` NULL = no arguments in a request,
 * null in a reply. -EMSGSIZE beyond RPC_LINE_MAX (CMS sends nothing in that case
 * either), -E2BIG beyond the ceiling of `out`; nothing is added then.
 */
int rpc_encode_request(struct buf *out, const char *id, const char *method,
		       const struct cJSON *data);
int rpc_encode_reply(struct buf *out, const struct cJSON *id, const struct cJSON *data,
		     const char *error);

/*
 * Checks the arguments of a call as Python does. `params` are the names a method
 * takes, NULL-terminated, optional ones with a leading '?'; NULL = anything.
 * `path` is the method's dotted Python path ("cms.io.service.Service.echo").
 * NULL, or the text of the TypeError to answer (caller frees).
 */
char *rpc_check_arguments(const struct cJSON *data, const char *path, const char *const *params);

#endif
