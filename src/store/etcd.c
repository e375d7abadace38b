/* SPDX-License-Identifier: MIT */
/*
 * The etcd backend as the store sees it: puts its parts together, tells their
 * state, and frees them only when nothing of them runs. Must never call the
 * owner from inside send() or watch().
 */
#include "cmsnode/store/etcd.h"

#include <stdlib.h>
#include <sys/random.h>

#include "cmsnode/base/mem.h"

#include "etcd_internal.h"

double etcd_random(void)
{
	uint32_t value = 0;

	/* Only jitter: should it ever fail, there is none. */
	(void)!getrandom(&value, sizeof(value), 0);
	return value / 4294967296.0;
}

static void etcd_destroy(struct etcd_store *etcd)
{
	etcd_calls_fini(etcd);
	etcd_watch_free(etcd->watch);
	etcd_members_fini(etcd);
	etcd_auth_fini(etcd);
	etcd_endpoints_fini(etcd);
	etcd_http_fini(etcd);
	free(etcd);
}

void etcd_enter(struct etcd_store *etcd)
{
	etcd->depth++;
}

void etcd_leave(struct etcd_store *etcd)
{
	if (--etcd->depth == 0 && etcd->dying)
		etcd_destroy(etcd);
}

/* ---- the backend ------------------------------------------------------- */

static void etcd_send(struct store *store, struct store_request *request, store_reply_fn *done,
		      void *ctx)
{
	etcd_calls_add((struct etcd_store *)store, request, done, ctx);
}

static void etcd_watch(struct store *store, const char *const *keys, size_t keys_len,
		       const char *const *prefixes, size_t prefixes_len, int64_t revision,
		       store_watch_fn *on_news, void *ctx)
{
	struct etcd_store *etcd = (struct etcd_store *)store;

	etcd_watch_start(etcd->watch, keys, keys_len, prefixes, prefixes_len, revision,
			 etcd->cluster_id, on_news, ctx);
}

static void etcd_status(const struct store *store, struct store_status *ret)
{
	const struct etcd_store *etcd = (const struct etcd_store *)store;
	const int64_t watched = etcd_watch_revision(etcd->watch);

	*ret = (struct store_status){
		.kind = "etcd",
		.endpoint = etcd->endpoints.items[etcd->endpoints.current].url,
		.connected = etcd->connected,
		.revision = watched > etcd->revision ? watched : etcd->revision,
		.last_contact_ms = etcd->last_contact_ms,
		.trouble = *etcd->trouble ? etcd->trouble : etcd_watch_trouble(etcd->watch),
		.refusing = *etcd->refusing ? etcd->refusing : NULL,
		.version = *etcd->version ? etcd->version : NULL,
		.counters = etcd->counters,
		.clock_ahead_s = clock_skew_certain(&etcd->skew),
	};
}

static void etcd_free(struct store *store)
{
	struct etcd_store *etcd = (struct etcd_store *)store;

	etcd->dying = true;
	if (etcd->depth == 0)
		etcd_destroy(etcd);
}

static const struct store_backend etcd_backend = {
	.send = etcd_send,
	.watch = etcd_watch,
	.status = etcd_status,
	.free = etcd_free,
};

struct store *etcd_store_new(struct ev_loop *loop, const struct etcd_settings *settings,
			     struct err *err)
{
	struct etcd_store *etcd = xcalloc(1, sizeof(*etcd));

	etcd->store.backend = &etcd_backend;
	etcd->loop = loop;
	etcd_calls_init(etcd);
	etcd->watch = etcd_watch_new(etcd);
	int r = etcd_endpoints_init(etcd, settings->endpoints, err);
	if (r == 0)
		r = etcd_http_init(etcd, settings, err);
	if (r == 0)
		r = etcd_auth_init(etcd, settings, err);
	if (r < 0) {
		etcd_destroy(etcd);
		return NULL;
	}
	etcd_members_init(etcd);
	return &etcd->store;
}
