/* SPDX-License-Identifier: MIT */
/*
 * The HTTP half of a fake etcd: a listener on 127.0.0.1 that hands whole
 * requests to its owner, who answers as he likes: at once, later, in pieces,
 * never, or by a reset. Runs on the test's loop.
 */
#ifndef CMSNODE_TESTS_FAKE_GATEWAY_H
#define CMSNODE_TESTS_FAKE_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>

struct ev_loop;
struct fake_gateway;

struct fake_exchange { /* one request and its answer; valid until `closed` or the next request */
	const char *path; /* "/v3/kv/txn" */
	const char *headers; /* all lines of them */
	const char *body;
	void *data; /* the owner's */
};

struct fake_gateway_owner {
	void (*request)(void *ctx, struct fake_exchange *exchange);
	/* From the loop, after the connection has gone, by whomever; may be NULL. */
	void (*closed)(void *ctx, struct fake_exchange *exchange);
	void *ctx;
};

struct fake_gateway *fake_gateway_new(struct ev_loop *loop, const struct fake_gateway_owner *owner);
void fake_gateway_free(struct fake_gateway *gateway);
const char *fake_gateway_url(const struct fake_gateway *gateway);
size_t fake_gateway_requests(const struct fake_gateway *gateway);

/* A whole answer as etcd frames it: errors are chunked and have a trailer. The connection stays. */
void fake_answer(struct fake_exchange *exchange, int status, const char *json);

/* A stream as etcd frames it: the head, each text a chunk, the end. */
void fake_stream(struct fake_exchange *exchange);
void fake_chunk(struct fake_exchange *exchange, const char *text);
void fake_stream_end(struct fake_exchange *exchange);

/* Raw bytes; all that was given leaves in order. */
void fake_send(struct fake_exchange *exchange, const char *bytes, size_t len);
/* Has everything left? */
bool fake_sent(const struct fake_exchange *exchange);

/* At once, whatever is left to be sent. What is sent to it afterwards is dropped. */
void fake_close(struct fake_exchange *exchange);
void fake_reset(struct fake_exchange *exchange); /* RST instead of FIN */

#endif
