/* SPDX-License-Identifier: MIT */
/*
 * What must be known of a server before it is used: where its API is, which
 * version it is, and whether its store was restored from a backup. Asked with
 * one request before an endpoint is used, and again whenever its connections
 * ended: meanwhile it may have been restarted, on other data.
 *
 * Each entry of etcd's log makes at most one revision, so a store that never
 * was restored has a log at least as long; a restore begins a new log and keeps
 * the revision. Log and revision are not read at one moment: a log that looks
 * too short is asked for once more, and must then hold the first revision.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/etcd_codec.h"

#include "etcd_codec_internal.h"
#include "etcd_internal.h"

#define STATUS_MAX_BYTES ((size_t)64 << 10)

static const char *const apis[] = { "/v3", "/v3beta" }; /* the latter: 3.3 */

const char *etcd_server_api(const struct etcd_store *etcd, size_t endpoint)
{
	return apis[etcd->endpoints.items[endpoint].api];
}

static void failed(struct etcd_store *etcd, const struct etcd_transfer *asking, bool late,
		   const char *text)
{
	(late ? etcd_endpoint_late : etcd_endpoint_failed)(etcd, asking->endpoint,
							   asking->started_ms, text);
	etcd_watch_not_ready(etcd->watch, asking->endpoint, text);
	etcd_calls_avoid(etcd, asking->endpoint);
}

/* That it tells of itself is no proof that it works: only a request's answer ends a hold-down. */
static void known(struct etcd_store *etcd, size_t at)
{
	struct etcd_endpoint *endpoint = &etcd->endpoints.items[at];

	endpoint->known = true;
	endpoint->fresh = true;
	endpoint->answered = true;
	etcd_watch_ready(etcd->watch);
}

static void note_version(struct etcd_store *etcd, size_t endpoint,
			 const struct etcd_codec_status *status)
{
	if (strcmp(etcd->version, status->version) == 0)
		return;
	(void)snprintf(etcd->version, sizeof(etcd->version), "%s", status->version);
	log_info("etcd", "'%s' is etcd %s", etcd_endpoint_name(etcd, endpoint), status->version);
	if (status->major == 3 && status->minor == 5 && status->patch < 5)
		log_warning(
			"etcd",
			"etcd %s can lose or mix up data when it crashes (fixed in 3.5.5): upgrade it",
			status->version);
}

static void note_restored(struct etcd_store *etcd, size_t endpoint, bool restored)
{
	if (restored && !etcd->restored)
		log_warning("etcd", "the store of '%s' was restored from a backup",
			    etcd_endpoint_name(etcd, endpoint));
	etcd->restored = restored;
}

static void take_status(struct etcd_store *etcd, size_t at, const struct etcd_codec_status *status)
{
	struct etcd_endpoint *endpoint = &etcd->endpoints.items[at];
	char text[160];

	if (status->major < 3 || (status->major == 3 && status->minor < 3)) {
		(void)snprintf(text, sizeof(text), "etcd %s is too old, 3.3 or newer is needed",
			       status->version);
		failed(etcd, &endpoint->asking, false, text);
		return;
	}
	if (status->no_leader) {
		failed(etcd, &endpoint->asking, false, "it has no leader");
		return;
	}
	if (!endpoint->suspected && status->raft_index < status->revision) {
		endpoint->suspected = status->revision;
		etcd_transfer_start(etcd, &endpoint->asking);
		return;
	}
	note_version(etcd, at, status);
	note_restored(etcd, at, status->raft_index < endpoint->suspected);
	known(etcd, at);
}

/* A wrong path is a 404 too, but plain text and without a code of gRPC's. */
static bool try_other_api(struct etcd_store *etcd, struct etcd_transfer *asking)
{
	struct etcd_endpoint *endpoint = &etcd->endpoints.items[asking->endpoint];

	endpoint->api = (endpoint->api + 1) % ARRAY_LEN(apis);
	if (endpoint->api == 0)
		return false;
	etcd_transfer_start(etcd, asking);
	return true;
}

static void on_asked(struct etcd_transfer *asking, const struct etcd_transfer_end *end)
{
	struct etcd_store *etcd = asking->etcd;
	const struct buf *body = &asking->reply;
	struct etcd_codec_status status;
	char text[sizeof(end->text)];

	etcd_transfer_failure(asking, end, text, sizeof(text));
	if (!end->delivered || end->http_status >= 500) {
		failed(etcd, asking, end->late, text);
	} else if (end->http_status == 404) {
		if (!try_other_api(etcd, asking))
			failed(etcd, asking, false,
			       "no JSON gateway there (HTTP 404): is this an etcd 3.3 or newer, with its gateway on?");
	} else if (end->http_status != 200 && !etcd_codec_is_grpc_error(buf_str(body), body->len)) {
		failed(etcd, asking, false, text);
	} else if (end->http_status != 200) {
		/* It may not tell everybody; then nothing is known, and that is no fault. */
		known(etcd, asking->endpoint);
	} else if (etcd_codec_status(buf_str(body), body->len, &status) < 0) {
		failed(etcd, asking, false,
		       "what it says of itself was not understood: is this an etcd?");
	} else {
		take_status(etcd, asking->endpoint, &status);
	}
}

void etcd_server_forget(struct etcd_store *etcd, size_t endpoint)
{
	etcd->endpoints.items[endpoint].known = false;
}

bool etcd_server_is_known(struct etcd_store *etcd, size_t at)
{
	struct etcd_endpoint *endpoint = &etcd->endpoints.items[at];
	struct etcd_transfer *asking = &endpoint->asking;

	if (endpoint->known || asking->easy)
		return endpoint->known;
	asking->kind = ETCD_TRANSFER_REQUEST;
	asking->path = "/maintenance/status";
	asking->body = "{}";
	asking->body_len = 2;
	asking->resendable = true;
	asking->endpoint = at;
	asking->reply.max = STATUS_MAX_BYTES;
	asking->on_end = on_asked;
	endpoint->api = 0;
	endpoint->suspected = 0;
	etcd_transfer_start(etcd, asking);
	return false;
}
