/* SPDX-License-Identifier: MIT */
/*
 * A fake gateway and the real client before it: what the client asks of every
 * server is answered, the rest waits for the test.
 */
#ifndef CMSNODE_TESTS_FAKE_STAGE_H
#define CMSNODE_TESTS_FAKE_STAGE_H

#include "etcd_scene.h"

#include <inttypes.h>

#include "fake_gateway.h"

struct stage {
	struct scene *scene;
	struct fake_gateway *gateway;
	struct fake_exchange *waiting; /* the request that is to be answered by hand */
	size_t asked; /* how many such requests came */
	bool renewed; /* leases are renewed for 10 s, not by hand */
};

static inline void stage_on_request(void *ctx, struct fake_exchange *exchange)
{
	static const char status[] =
		"{\"header\":{\"cluster_id\":\"1\",\"revision\":\"1\"},\"version\":\"3.4.23\","
		"\"leader\":\"1\",\"raftIndex\":\"100\",\"raftTerm\":\"2\"}";
	static const char renewal[] =
		"{\"result\":{\"header\":{},\"ID\":\"42\",\"TTL\":\"10\"}}\n";
	struct stage *stage = ctx;

	if (str_eq(exchange->path, "/v3/maintenance/status")) {
		fake_answer(exchange, 200, status);
	} else if (str_eq(exchange->path, "/v3/cluster/member/list")) {
		fake_answer(exchange, 200, "{\"header\":{},\"members\":[]}");
	} else if (stage->renewed && str_eq(exchange->path, "/v3/lease/keepalive")) {
		fake_answer(exchange, 200, renewal);
	} else {
		stage->asked++;
		stage->waiting = exchange;
	}
}

static inline void stage_on_closed(void *ctx, struct fake_exchange *exchange)
{
	struct stage *stage = ctx;

	if (stage->waiting == exchange)
		stage->waiting = NULL;
}

static inline struct stage *stage_new(void)
{
	struct stage *stage = xcalloc(1, sizeof(*stage));
	const struct fake_gateway_owner owner = { stage_on_request, stage_on_closed, stage };
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	CLEAN(str_list) struct str_list urls = { 0 };

	stage->gateway = fake_gateway_new(loop, &owner);
	str_list_add(&urls, fake_gateway_url(stage->gateway));
	stage->scene = scene_on(loop, &(struct etcd_settings){ .endpoints = &urls });
	return stage;
}

static inline void stage_free(struct stage *stage)
{
	fake_gateway_free(stage->gateway);
	scene_free(stage->scene);
	free(stage);
}

static inline void wait_for_request(struct stage *stage)
{
	const int64_t end_ms = clock_now_ms() + 20000;

	while (!stage->waiting && clock_now_ms() < end_ms)
		turn(stage->scene);
	assert_non_null(stage->waiting);
}

/* The client takes the first piece in before the second one is sent. */
static inline void send_in_two(struct stage *stage, const struct buf *bytes, size_t cut)
{
	struct fake_exchange *exchange = stage->waiting;

	if (cut) {
		fake_send(exchange, bytes->data, cut);
		for (int i = 0; i < 3; i++)
			(void)ev_run(stage->scene->loop, EVRUN_NOWAIT);
	}
	/* Unless it has closed meanwhile: it had heard enough. */
	if (stage->waiting == exchange)
		fake_send(exchange, bytes->data + cut, bytes->len - cut);
	stage->waiting = NULL;
}

/* All that a reply says. */
static inline char *reply_text(const struct store_reply *reply)
{
	static const char *const outcomes[] = { "done", "refused", "unknown" };
	struct buf text = BUF_INIT(0);

	(void)buf_addf(&text, "%s", outcomes[reply->outcome]);
	if (*reply->text)
		(void)buf_addf(&text, ": %s", reply->text);
	if (reply->outcome == STORE_DONE)
		(void)buf_addf(&text, " %s, revision %" PRId64 ", ttl %" PRId64 " %" PRId64,
			       reply->succeeded ? "success" : "failure", reply->revision,
			       reply->ttl_s[0], reply->ttl_s[1]);
	for (size_t i = 0; i < reply->ranges_len; i++) {
		(void)buf_adds(&text, ";");
		for (size_t k = 0; k < reply->ranges[i].len; k++) {
			const struct store_kv *kv = &reply->ranges[i].items[k];

			(void)buf_addf(&text, " %s=%s at %" PRId64, kv->key, kv->value,
				       kv->mod_revision);
		}
	}
	return buf_steal(&text);
}

#endif
