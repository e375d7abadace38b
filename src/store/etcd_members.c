/* SPDX-License-Identifier: MIT */
/*
 * The members of etcd's cluster, learnt from one of them now and then: who was
 * given one endpoint gets to know the others, and those that came later. The
 * configured ones stay; one that was learnt goes when it has left. That a
 * server does not tell is no trouble.
 */
#include <arpa/inet.h>
#include <string.h>

#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd_codec.h"

#include "etcd_internal.h"

#define FIRST_S 10.0
#define AGAIN_S 300.0
#define RETRY_S 30.0
#define ANSWER_MAX_BYTES ((size_t)1 << 20)

static void ask_in(struct etcd_store *etcd, double seconds)
{
	struct ev_timer *timer = &etcd->members.timer;

	ev_timer_stop(etcd->loop, timer);
	ev_now_update(etcd->loop);
	ev_timer_set(timer, seconds * (0.9 + 0.2 * etcd_random()), 0.0);
	ev_timer_start(etcd->loop, timer);
}

static bool is_loopback(const char *host)
{
	return str_eq(host, "localhost") || str_starts(host, "127.") || str_eq(host, "::1");
}

/* Some say where they listen instead of where they are reached. */
static bool is_reachable(const struct etcd_store *etcd, const char *url)
{
	CLEAN(str) char *host = NULL;
	int port;

	if (etcd_endpoint_parse(url, &host, &port, NULL) < 0 ||
	    str_starts(url, "https://") != etcd->http.tls || str_eq(host, "0.0.0.0") ||
	    str_eq(host, "::"))
		return false;
	return !is_loopback(host) || etcd->members.loopback;
}

static void take_members(struct etcd_store *etcd, const struct str_list *urls)
{
	CLEAN(str_list) struct str_list reachable = { 0 };

	for (size_t i = 0; i < urls->len; i++)
		if (is_reachable(etcd, urls->items[i]))
			str_list_add(&reachable, urls->items[i]);
	/* Where none is, the addresses that they are known by are no use to us. */
	if (reachable.len)
		etcd_endpoints_set_learnt(etcd, &reachable);
}

static void on_told(struct etcd_transfer *asking, const struct etcd_transfer_end *end)
{
	struct etcd_store *etcd = asking->etcd;
	CLEAN(str_list) struct str_list urls = { 0 };

	if (end->delivered && end->http_status == 200 &&
	    etcd_codec_members(buf_str(&asking->reply), asking->reply.len, &urls) == 0)
		take_members(etcd, &urls);
	ask_in(etcd, end->delivered ? AGAIN_S : RETRY_S);
}

static void on_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct etcd_store *etcd = w->data;
	struct etcd_transfer *asking = &etcd->members.asking;
	const size_t endpoint = etcd_endpoint_pick(etcd, 0);

	(void)loop;
	(void)revents;
	/* Never the first to ask a server anything: that is for those who need it. */
	if (endpoint == ETCD_NO_ENDPOINT || !etcd->endpoints.items[endpoint].known) {
		ask_in(etcd, RETRY_S);
		return;
	}
	asking->endpoint = endpoint;
	etcd_transfer_start(etcd, asking);
}

void etcd_members_init(struct etcd_store *etcd)
{
	struct etcd_transfer *asking = &etcd->members.asking;

	for (size_t i = 0; i < etcd->endpoints.len; i++) {
		CLEAN(str) char *host = NULL;
		int port;

		if (etcd_endpoint_parse(etcd->endpoints.items[i].url, &host, &port, NULL) == 0)
			etcd->members.loopback |= is_loopback(host);
	}
	asking->kind = ETCD_TRANSFER_REQUEST;
	asking->path = "/cluster/member/list";
	asking->body = "{}";
	asking->body_len = 2;
	asking->resendable = true;
	asking->kept_only = true; /* behind a new one may be another server, not asked yet */
	asking->reply.max = ANSWER_MAX_BYTES;
	asking->on_end = on_told;
	ev_init(&etcd->members.timer, on_timer);
	etcd->members.timer.data = etcd;
	ask_in(etcd, FIRST_S);
}

void etcd_members_fini(struct etcd_store *etcd)
{
	etcd_transfer_stop(&etcd->members.asking);
	buf_fini(&etcd->members.asking.reply);
	ev_timer_stop(etcd->loop, &etcd->members.timer);
}
