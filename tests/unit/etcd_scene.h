/* SPDX-License-Identifier: MIT */
/* An etcd store on a loop of its own, and what it says: for tests of the etcd backend. */
#ifndef CMSNODE_TESTS_ETCD_SCENE_H
#define CMSNODE_TESTS_ETCD_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd.h"
#include "cmsnode/store/store.h"

/* ---- sockets ----------------------------------------------------------- */

static inline int listen_on_free_port(int *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static inline int free_port(void)
{
	int port;

	(void)close(listen_on_free_port(&port));
	return port;
}

/* ---- a store and what it says ------------------------------------------- */

struct scene {
	struct ev_loop *loop;
	struct ev_timer tick;
	struct store *store;
	struct store_reply reply;
	int replies;
	int unknown;
	bool free_on_reply;
	char trace[4096]; /* of the watch */
	int gaps;
	bool free_on_gap;
	int64_t watch_again; /* revision to watch from inside the next GAP, 0 = do not */
};

static inline void on_tick(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

/* The loop is the scene's from now on. */
static inline struct scene *scene_on(struct ev_loop *loop, const struct etcd_settings *settings)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));
	struct err err = { 0 };

	scene->loop = loop;
	ev_timer_init(&scene->tick, on_tick, 0.01, 0.01);
	ev_timer_start(scene->loop, &scene->tick);
	scene->store = etcd_store_new(scene->loop, settings, &err);
	if (!scene->store)
		fail_msg("%s", err.msg);
	return scene;
}

static inline struct scene *scene_new_with(const struct etcd_settings *settings)
{
	return scene_on(ev_loop_new(EVFLAG_AUTO), settings);
}

static inline struct scene *scene_new(const char *first_url, const char *second_url)
{
	CLEAN(str_list) struct str_list urls = { 0 };

	str_list_add(&urls, first_url);
	if (second_url)
		str_list_add(&urls, second_url);
	return scene_new_with(&(struct etcd_settings){ .endpoints = &urls });
}

static inline void scene_free(struct scene *scene)
{
	store_free(scene->store);
	store_reply_fini(&scene->reply);
	ev_loop_destroy(scene->loop);
	free(scene);
}

static inline void on_reply(void *ctx, struct store_reply *reply)
{
	struct scene *scene = ctx;

	store_reply_fini(&scene->reply);
	scene->reply = *reply;
	*reply = (struct store_reply){ 0 }; /* taken over */
	scene->replies++;
	scene->unknown += scene->reply.outcome == STORE_UNKNOWN;
	if (scene->free_on_reply)
		store_free(steal(scene->store));
}

static inline void on_news(void *ctx, const struct store_watch_report *report);

static inline void watch(struct scene *scene, int64_t revision)
{
	static const char *const keys[] = { "/t/current" };
	static const char *const prefixes[] = { "/t/nodes/" };

	scene->store->backend->watch(scene->store, keys, 1, prefixes, 1, revision, on_news, scene);
}

static inline void on_news(void *ctx, const struct store_watch_report *report)
{
	struct scene *scene = ctx;
	const size_t at = strlen(scene->trace);
	struct buf buf = BUF_INIT(0);

	if (report->news == STORE_WATCH_GAP) {
		(void)buf_addf(&buf, "GAP(%s) ", report->text);
		scene->gaps++;
	}
	if (report->news == STORE_WATCH_QUIET)
		(void)buf_adds(&buf, "QUIET ");
	for (size_t i = 0; i < report->len; i++)
		(void)buf_addf(&buf, "%s%s=%s ", report->events[i].deleted ? "!" : "",
			       report->events[i].kv.key,
			       report->events[i].kv.value ? report->events[i].kv.value : "?");
	(void)snprintf(scene->trace + at, sizeof(scene->trace) - at, "%s", buf_str(&buf));
	buf_fini(&buf);
	if (report->news != STORE_WATCH_GAP)
		return;
	if (scene->free_on_gap)
		store_free(steal(scene->store));
	else if (scene->watch_again)
		watch(scene, scene->watch_again);
	scene->watch_again = 0;
}

static inline void turn(struct scene *scene)
{
	(void)ev_run(scene->loop, EVRUN_ONCE);
}

static inline void run_for(struct scene *scene, int64_t ms)
{
	const int64_t end_ms = clock_now_ms() + ms;

	while (clock_now_ms() < end_ms)
		turn(scene);
}

static inline void wait_for_replies(struct scene *scene, int replies)
{
	const int64_t end_ms = clock_now_ms() + 20000;

	while (scene->replies < replies && clock_now_ms() < end_ms)
		turn(scene);
	assert_int_equal(scene->replies, replies);
}

static inline void wait_for_trace(struct scene *scene, const char *text)
{
	const int64_t end_ms = clock_now_ms() + 20000;

	while (!strstr(scene->trace, text) && clock_now_ms() < end_ms)
		turn(scene);
	if (!strstr(scene->trace, text))
		fail_msg("no '%s' in '%s'", text, scene->trace);
}

static inline const struct store_reply *ask(struct scene *scene, struct store_request *request)
{
	const int replies = scene->replies;

	store_send(scene->store, request, on_reply, scene);
	assert_int_equal(scene->replies, replies);
	wait_for_replies(scene, replies + 1);
	return &scene->reply;
}

static inline struct store_request *read_of(const char *key, bool prefix)
{
	struct store_request *request = store_request_new(STORE_TXN);

	(void)store_ops_range(&request->success, key, prefix);
	return request;
}

static inline struct store_request *put_of(const char *key, const char *value, uint64_t lease)
{
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_put(&request->success, key, value, strlen(value), lease);
	return request;
}

static inline struct store_request *lease_request(enum store_request_kind kind, uint64_t lease,
						  int64_t ttl_s)
{
	struct store_request *request = store_request_new(kind);

	request->leases[0] = lease;
	request->leases_len = 1;
	request->ttl_s = ttl_s;
	return request;
}

static inline int64_t put(struct scene *scene, const char *key, const char *value)
{
	assert_int_equal(ask(scene, put_of(key, value, 0))->outcome, STORE_DONE);
	return scene->reply.revision;
}

static inline void assert_trouble(const struct store_reply *reply, enum store_outcome outcome,
				  enum store_trouble trouble, const char *text)
{
	if (reply->outcome != outcome || reply->trouble != trouble || !strstr(reply->text, text))
		fail_msg("outcome %d, trouble %d, '%s' (wanted %d, %d, '%s')", reply->outcome,
			 reply->trouble, reply->text, outcome, trouble, text);
}

static inline void no_log(enum log_level level, const char *module, const char *text)
{
	(void)level;
	(void)module;
	(void)text;
}

static inline void prepare(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(no_log);
	json_init();
}

#endif
