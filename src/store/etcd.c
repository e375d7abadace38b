/* SPDX-License-Identifier: MIT */
/*
 * The etcd backend: HTTP exchanges by libcurl's multi interface on the loop,
 * the choice of endpoints, and the queue of requests. Must never send a write
 * twice, never call the owner from inside send() or watch(), and never call
 * libcurl from one of its callbacks. What the bytes mean is etcd_codec's.
 */
#include "cmsnode/store/etcd.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd_codec.h"
#include "cmsnode/store/etcd_watch.h"
#include "cmsnode/store/store.h"

#define API_PREFIX "/v3"
#define ENDPOINTS_MAX 64 /* bits of etcd_call.tried */
#define IN_FLIGHT_MAX 8
#define REPLY_MAX_BYTES ((size_t)64 << 20)
#define PUSH_MIN_BYTES ((size_t)256 << 10)
#define CONNECT_TIMEOUT_MS 1500L
#define KEPT_CONNECTIONS 4L
#define HOLD_FIRST_MS 1000
#define HOLD_MAX_MS 30000

struct etcd_endpoint {
	char *url;
	char *name; /* "host:port" */
	unsigned int failures; /* in a row; 0: fine */
	int64_t failed_ms;
	int64_t held_until_ms;
	char error[160];
};

struct etcd_call {
	struct etcd_call *next;
	struct etcd_transfer transfer;
	struct store_request *request;
	char *body;
	uint64_t tried; /* bit per endpoint */
	struct etcd_watch_mark mark; /* of the stream that this probe is to prove */
	bool proves;
	store_reply_fn *done;
	void *ctx;
};

struct etcd_store {
	struct store store; /* must be first */
	struct ev_loop *loop;
	CURLM *multi;
	struct ev_timer curl_timer; /* libcurl's own timeouts */
	struct ev_timer turn; /* starts what is queued */
	struct curl_slist *headers[3]; /* by enum etcd_transfer_kind */
	struct etcd_endpoint *endpoints;
	size_t endpoints_len;
	size_t current; /* where requests go */
	struct etcd_call *queue;
	struct etcd_call **queue_end;
	struct etcd_call *in_flight[IN_FLIGHT_MAX];
	size_t in_flight_len;
	struct etcd_watch *watch;
	unsigned int depth; /* of etcd_enter() */
	bool dying;
	bool connected;
	int64_t last_contact_ms;
	int64_t revision;
	uint64_t cluster_id;
	char trouble[256];
	struct store_counters counters;
};

/* One socket of libcurl's. */
struct etcd_socket {
	struct ev_io io;
	struct etcd_store *etcd;
};

static const struct {
	long timeout_ms; /* 0: none */
	const char *header;
} transfer_kinds[] = {
	[ETCD_TRANSFER_REQUEST] = { 3000, "Grpc-Timeout: 2500m" },
	[ETCD_TRANSFER_PUSH] = { 10000, "Grpc-Timeout: 9500m" },
	/* Without it a member cut off from its cluster keeps a watch looking healthy. */
	[ETCD_TRANSFER_WATCH] = { 0, "Grpc-Metadata-hasleader: true" },
};

static void etcd_destroy(struct etcd_store *etcd);
static void finish_call(struct etcd_store *etcd, struct etcd_call *call, struct store_reply *reply);
static void on_call_end(struct etcd_transfer *transfer, const struct etcd_transfer_end *end);

double etcd_random(void)
{
	uint32_t value = 0;

	/* Only jitter: should it ever fail, there is none. */
	(void)!getrandom(&value, sizeof(value), 0);
	return value / 4294967296.0;
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

bool etcd_is_dying(const struct etcd_store *etcd)
{
	return etcd->dying;
}

struct store_counters *etcd_counters(struct etcd_store *etcd)
{
	return &etcd->counters;
}

static void wake(struct etcd_store *etcd)
{
	if (ev_is_active(&etcd->turn))
		return;
	ev_timer_set(&etcd->turn, 0.0, 0.0);
	ev_timer_start(etcd->loop, &etcd->turn);
}

/* ---- URLs -------------------------------------------------------------- */

static int url_error(struct err *err, const char *url, const char *what)
{
	return err_set(err, -EINVAL, "etcd endpoint '%.200s': %s; write it as http://HOST:PORT",
		       url, what);
}

static bool is_host_text(const char *host, size_t len, bool bracketed)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)host[i]) && !strchr(bracketed ? ":.%" : ".-_", host[i]))
			return false;
	return len > 0;
}

int etcd_endpoint_parse(const char *url, char **ret_host, int *ret_port, struct err *err)
{
	static const char scheme[] = "http://";

	if (str_starts(url, "https://"))
		return url_error(err, url, "https is not supported in this version");
	if (!str_starts(url, scheme))
		return url_error(err, url, "it does not begin with http://");
	const char *host = url + strlen(scheme);
	const bool bracketed = *host == '[';
	const char *end = bracketed ? strchr(host, ']') : host + strcspn(host, ":/");

	if (bracketed)
		host++;
	if (!end || !is_host_text(host, (size_t)(end - host), bracketed))
		return url_error(err, url,
				 "the host is missing or has a character that no host has");
	const char *port = bracketed ? end + 1 : end;
	if (*port != ':')
		return url_error(err, url, "the port is missing");
	const size_t digits = strspn(port + 1, "0123456789");
	const char *rest = port + 1 + digits;
	CLEAN(str) char *number = xstrndup(port + 1, digits);
	int64_t value;

	if (!str_eq(rest, "") && !str_eq(rest, "/"))
		return url_error(err, url, "there is something behind the port");
	if (str_to_int64(number, 1, 65535, &value) < 0)
		return url_error(err, url, "the port is not a number from 1 to 65535");
	*ret_host = xstrndup(host, (size_t)(end - host));
	*ret_port = (int)value;
	return 0;
}

/* ---- endpoints --------------------------------------------------------- */

const char *etcd_endpoint_name(const struct etcd_store *etcd, size_t endpoint)
{
	return etcd->endpoints[endpoint].name;
}

static bool is_held(const struct etcd_endpoint *endpoint, int64_t now_ms)
{
	return endpoint->failures && now_ms < endpoint->held_until_ms;
}

/* The current one if it may be used, else the next that may; SIZE_MAX: none. */
static size_t pick_endpoint(const struct etcd_store *etcd, uint64_t tried)
{
	const int64_t now_ms = clock_now_ms();

	for (size_t i = 0; i < etcd->endpoints_len; i++) {
		const size_t at = (etcd->current + i) % etcd->endpoints_len;

		if (!(tried & (uint64_t)1 << at) && !is_held(&etcd->endpoints[at], now_ms))
			return at;
	}
	return SIZE_MAX;
}

/* Even when all are held: the watch has a back-off of its own, and so it finds out first. */
size_t etcd_endpoint_for_watch(struct etcd_store *etcd, size_t avoid)
{
	const bool elsewhere = avoid < etcd->endpoints_len && etcd->endpoints_len > 1;
	size_t at = pick_endpoint(etcd, elsewhere ? (uint64_t)1 << avoid : 0);

	if (at == SIZE_MAX)
		at = pick_endpoint(etcd, 0);
	if (at == SIZE_MAX)
		at = (elsewhere ? avoid + 1 : etcd->current) % etcd->endpoints_len;
	return at;
}

void etcd_endpoint_failed(struct etcd_store *etcd, size_t endpoint, int64_t started_ms,
			  const char *text)
{
	struct etcd_endpoint *failed = &etcd->endpoints[endpoint];
	const int64_t now_ms = clock_now_ms();

	(void)snprintf(failed->error, sizeof(failed->error), "%s", text);
	/* Several exchanges that die together are one failure. */
	if (!failed->failures || (!is_held(failed, now_ms) && started_ms >= failed->failed_ms)) {
		int64_t cap_ms = HOLD_FIRST_MS;

		for (unsigned int i = 0; i < failed->failures && cap_ms < HOLD_MAX_MS; i++)
			cap_ms *= 2;
		if (cap_ms > HOLD_MAX_MS)
			cap_ms = HOLD_MAX_MS;
		failed->failures++;
		failed->failed_ms = now_ms;
		failed->held_until_ms = now_ms + (int64_t)((double)cap_ms * etcd_random());
		/* At the start, the only endpoint's trouble is told by whoever asked it. */
		if (failed->failures == 1 && (etcd->endpoints_len > 1 || etcd->last_contact_ms))
			log_warning("etcd", "endpoint '%s' fails: %s, trying %s", failed->name,
				    text,
				    etcd->endpoints_len > 1 ? "others, and it again later" :
							      "again and again");
	}
	if (etcd->current == endpoint)
		etcd->current = (endpoint + 1) % etcd->endpoints_len;
	etcd_watch_endpoint_failed(etcd->watch, endpoint);
}

void etcd_endpoint_answered(struct etcd_store *etcd, size_t endpoint)
{
	struct etcd_endpoint *answered = &etcd->endpoints[endpoint];

	etcd->last_contact_ms = clock_now_ms();
	if (!answered->failures)
		return;
	log_info("etcd", "endpoint '%s' answers again", answered->name);
	answered->failures = 0;
	answered->error[0] = '\0';
}

static bool all_fail(const struct etcd_store *etcd)
{
	for (size_t i = 0; i < etcd->endpoints_len; i++)
		if (!etcd->endpoints[i].failures)
			return false;
	return true;
}

static void reply_unreachable(const struct etcd_store *etcd, struct store_reply *ret)
{
	struct buf text = BUF_INIT(0);

	for (size_t i = 0; i < etcd->endpoints_len; i++) {
		const struct etcd_endpoint *endpoint = &etcd->endpoints[i];

		(void)buf_addf(&text, "%s%s: %s", i ? "; " : "", endpoint->name,
			       *endpoint->error ? endpoint->error : "in use");
	}
	*ret = (struct store_reply){ 0 };
	store_reply_fail(
		ret, STORE_UNKNOWN, STORE_TROUBLE_UNREACHABLE, "no etcd endpoint answers (%.*s)",
		(int)(sizeof(ret->text) - sizeof("no etcd endpoint answers ()")), buf_str(&text));
	buf_fini(&text);
}

/* ---- libcurl on libev -------------------------------------------------- */

static void start_queued(struct etcd_store *etcd);

static const char *curl_reason(CURL *easy, CURLcode code, char *text, size_t size)
{
	long os_error = 0;

	switch ((int)code) {
	case CURLE_COULDNT_CONNECT:
		(void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
		return os_error ? strerror((int)os_error) : "cannot connect";
	case CURLE_COULDNT_RESOLVE_HOST:
		return "the name does not resolve";
	case CURLE_OPERATION_TIMEDOUT:
		return "no answer in time";
	case CURLE_GOT_NOTHING:
		return "closed the connection without an answer";
	case CURLE_PARTIAL_FILE:
		return "closed the connection in the middle of an answer";
	case CURLE_SEND_FAIL_REWIND:
		return "closed the connection while a write was sent";
	default:
		(void)snprintf(text, size, "%s", curl_easy_strerror(code));
		return text;
	}
}

static void end_transfer(struct etcd_transfer *transfer, CURLcode code)
{
	struct etcd_transfer_end end = { .too_large = transfer->too_large };
	char text[sizeof(end.text)];

	end.http_status = etcd_transfer_status(transfer);
	end.delivered = code == CURLE_OK && end.http_status != 0;
	if (!end.delivered)
		(void)snprintf(end.text, sizeof(end.text), "%s",
			       code == CURLE_OK ?
				       "no HTTP answer" :
				       curl_reason(transfer->easy, code, text, sizeof(text)));
	etcd_transfer_stop(transfer);
	transfer->on_end(transfer, &end);
}

/* After libcurl had its turn: what it read, what it ended, what can start now. */
static void after_curl(struct etcd_store *etcd)
{
	int left;

	etcd_watch_process(etcd->watch);
	while (!etcd->dying) {
		const CURLMsg *msg = curl_multi_info_read(etcd->multi, &left);
		struct etcd_transfer *transfer = NULL;

		if (!msg)
			break;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		end_transfer(transfer, msg->data.result);
	}
	if (!etcd->dying)
		start_queued(etcd);
}

static void run_curl(struct etcd_store *etcd, curl_socket_t fd, int events)
{
	int running;

	etcd_enter(etcd);
	(void)curl_multi_socket_action(etcd->multi, fd, events, &running);
	after_curl(etcd);
	etcd_leave(etcd);
}

static void on_curl_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	run_curl(w->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct etcd_socket *socket = w->data;
	int events = 0;

	(void)loop;
	if (revents & EV_READ)
		events |= CURL_CSELECT_IN;
	if (revents & EV_WRITE)
		events |= CURL_CSELECT_OUT;
	if (revents & EV_ERROR)
		events |= CURL_CSELECT_ERR;
	run_curl(socket->etcd, w->fd, events);
}

/* libcurl's callbacks: they only note and arm. */

static int curl_wants_timer(CURLM *multi, long timeout_ms, void *data)
{
	struct etcd_store *etcd = data;

	(void)multi;
	ev_timer_stop(etcd->loop, &etcd->curl_timer);
	if (timeout_ms < 0)
		return 0;
	ev_timer_set(&etcd->curl_timer, (double)timeout_ms / 1000.0, 0.0);
	ev_timer_start(etcd->loop, &etcd->curl_timer);
	return 0;
}

static int curl_wants_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
	struct etcd_store *etcd = data;
	struct etcd_socket *socket = socket_data;

	(void)easy;
	if (socket)
		ev_io_stop(etcd->loop, &socket->io);
	if (what == CURL_POLL_REMOVE) {
		free(socket);
		(void)curl_multi_assign(etcd->multi, fd, NULL);
		return 0;
	}
	if (!socket) {
		socket = xcalloc(1, sizeof(*socket));
		socket->etcd = etcd;
		ev_init(&socket->io, on_socket);
		socket->io.data = socket;
		(void)curl_multi_assign(etcd->multi, fd, socket);
	}
	ev_io_set(&socket->io, fd,
		  (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	ev_io_start(etcd->loop, &socket->io);
	return 0;
}

/* Or a peer that vanished silently would be believed for two hours. */
static int curl_made_socket(void *data, curl_socket_t fd, curlsocktype purpose)
{
	static const struct {
		int level;
		int name;
		int value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },	 { IPPROTO_TCP, TCP_KEEPIDLE, 5 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 2 },	 { IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 8000 },
	};

	(void)data;
	(void)purpose;
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(options[i].value));
	return CURL_SOCKOPT_OK;
}

static size_t curl_has_data(char *data, size_t size, size_t count, void *ctx)
{
	struct etcd_transfer *transfer = ctx;

	transfer->etcd->counters.bytes_received += size * count;
	if (buf_add(&transfer->reply, data, size * count) < 0) {
		transfer->too_large = true;
		return 0;
	}
	return size * count;
}

static size_t curl_wants_data(char *data, size_t size, size_t count, void *ctx)
{
	struct etcd_transfer *transfer = ctx;
	size_t n = transfer->body_len - transfer->body_at;

	if (n > size * count)
		n = size * count;
	memcpy(data, transfer->body + transfer->body_at, n);
	transfer->body_at += n;
	transfer->etcd->counters.bytes_sent += n;
	return n;
}

/*
 * libcurl sends a request again by itself when a kept connection dies without
 * an answer; it asks here to begin the body anew. A write may already have
 * been carried out, so for it that is refused.
 */
static int curl_wants_rewind(void *ctx, curl_off_t offset, int origin)
{
	struct etcd_transfer *transfer = ctx;

	if (origin != SEEK_SET || offset != 0 || (transfer->body_at && !transfer->resendable))
		return CURL_SEEKFUNC_FAIL;
	if (transfer->body_at)
		transfer->etcd->counters.requests++;
	transfer->body_at = 0;
	return CURL_SEEKFUNC_OK;
}

/* ---- transfers --------------------------------------------------------- */

static void set_callbacks(CURL *easy, struct etcd_transfer *transfer)
{
	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, curl_has_data);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, curl_wants_data);
	(void)curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, curl_wants_rewind);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, curl_made_socket);
}

static CURL *new_easy(struct etcd_store *etcd, struct etcd_transfer *transfer)
{
	CURL *easy = curl_easy_init();
	if (!easy)
		abort(); /* no memory */
	CLEAN(str) char *url = xasprintf("%s" API_PREFIX "%s",
					 etcd->endpoints[transfer->endpoint].url, transfer->path);

	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
			       1L); /* do not wait for a name server on a timeout */
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_len);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, etcd->headers[transfer->kind]);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, transfer_kinds[transfer->kind].timeout_ms);
	(void)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE,
			       transfer->kind == ETCD_TRANSFER_WATCH ? 1L : 0L);
	set_callbacks(easy, transfer);
	return easy;
}

void etcd_transfer_start(struct etcd_store *etcd, struct etcd_transfer *transfer)
{
	transfer->etcd = etcd;
	transfer->body_at = 0;
	transfer->too_large = false;
	transfer->started_ms = clock_now_ms();
	etcd->counters.requests++;
	buf_fini(&transfer->reply);
	transfer->easy = new_easy(etcd, transfer);
	if (curl_multi_add_handle(etcd->multi, transfer->easy) != CURLM_OK)
		abort(); /* no memory: nothing else is left to go wrong */
}

void etcd_transfer_stop(struct etcd_transfer *transfer)
{
	if (!transfer->easy)
		return;
	(void)curl_multi_remove_handle(transfer->etcd->multi, transfer->easy);
	curl_easy_cleanup(steal(transfer->easy));
}

int etcd_transfer_status(const struct etcd_transfer *transfer)
{
	long status = 0;

	if (transfer->easy)
		(void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

/* ---- calls ------------------------------------------------------------- */

static void call_free(struct etcd_call *call)
{
	etcd_transfer_stop(&call->transfer);
	buf_fini(&call->transfer.reply);
	store_request_free(call->request);
	free(call->body);
	free(call);
}

static bool is_repeatable(const struct store_request *request)
{
	switch (request->kind) {
	case STORE_TXN:
		return store_request_is_read_only(request);
	case STORE_LEASE_GRANT:
	case STORE_LEASE_KEEPALIVE:
	case STORE_LEASE_REMAINING:
		return true;
	case STORE_LEASE_REVOKE:
		return false;
	}
	return false;
}

static struct etcd_call *call_new(struct store_request *request, store_reply_fn *done, void *ctx)
{
	struct etcd_call *call = xcalloc(1, sizeof(*call));
	const bool large = etcd_codec_size(request) > PUSH_MIN_BYTES;

	call->request = request;
	call->body = etcd_codec_request(request);
	call->done = done;
	call->ctx = ctx;
	call->transfer.kind = large ? ETCD_TRANSFER_PUSH : ETCD_TRANSFER_REQUEST;
	call->transfer.path = etcd_codec_path(request);
	call->transfer.body = call->body;
	call->transfer.body_len = strlen(call->body);
	call->transfer.resendable = is_repeatable(request);
	call->transfer.reply = (struct buf)BUF_INIT(REPLY_MAX_BYTES);
	call->transfer.on_end = on_call_end;
	return call;
}

/* Of a stream that is open only its own member can tell whether it lives: no other will do. */
static size_t endpoint_for_call(struct etcd_store *etcd, struct etcd_call *call)
{
	size_t endpoint = SIZE_MAX;

	if (call->request->probe && !call->tried)
		endpoint = etcd_watch_to_prove(etcd->watch, &call->mark);
	call->proves = endpoint != SIZE_MAX;
	if (!call->proves)
		return pick_endpoint(etcd, call->tried);
	call->tried = UINT64_MAX;
	return endpoint;
}

/* False if no endpoint is left for it. */
static bool start_call(struct etcd_store *etcd, struct etcd_call *call)
{
	const size_t endpoint = endpoint_for_call(etcd, call);
	if (endpoint == SIZE_MAX)
		return false;
	call->transfer.endpoint = endpoint;
	call->tried |= (uint64_t)1 << endpoint;
	etcd_transfer_start(etcd, &call->transfer);
	return true;
}

static void start_queued(struct etcd_store *etcd)
{
	while (etcd->queue && etcd->in_flight_len < IN_FLIGHT_MAX && !etcd->dying) {
		struct etcd_call *call = etcd->queue;

		etcd->queue = call->next;
		if (!etcd->queue)
			etcd->queue_end = &etcd->queue;
		if (start_call(etcd, call)) {
			etcd->in_flight[etcd->in_flight_len++] = call;
			continue;
		}
		struct store_reply reply;

		reply_unreachable(etcd, &reply);
		finish_call(etcd, call, &reply);
	}
}

static void forget_in_flight(struct etcd_store *etcd, const struct etcd_call *call)
{
	for (size_t i = 0; i < etcd->in_flight_len; i++)
		if (etcd->in_flight[i] == call)
			etcd->in_flight[i] = etcd->in_flight[--etcd->in_flight_len];
}

static void count_reply(struct etcd_store *etcd, const struct store_request *request,
			const struct store_reply *reply)
{
	if (is_repeatable(request))
		return;
	etcd->counters.unknown += reply->outcome == STORE_UNKNOWN;
	etcd->counters.conflicts +=
		request->kind == STORE_TXN && reply->outcome == STORE_DONE && !reply->succeeded;
}

static void note_reply(struct etcd_store *etcd, const struct store_reply *reply)
{
	etcd->connected = reply->outcome != STORE_UNKNOWN;
	(void)snprintf(etcd->trouble, sizeof(etcd->trouble), "%s", reply->text);
	if (reply->cluster_id)
		etcd->cluster_id = reply->cluster_id;
	if (reply->revision)
		etcd->revision = reply->revision;
}

static void finish_call(struct etcd_store *etcd, struct etcd_call *call, struct store_reply *reply)
{
	note_reply(etcd, reply);
	count_reply(etcd, call->request, reply);
	/* A probe's answer may have ended the watch, and its owner the store. */
	if (!etcd->dying)
		call->done(call->ctx, reply);
	store_reply_fini(reply);
	call_free(call);
}

/* The endpoint did its part, whatever the answer says. */
static void fill_answer(struct etcd_store *etcd, struct etcd_call *call,
			const struct etcd_transfer_end *end, struct store_reply *ret)
{
	const struct buf *body = &call->transfer.reply;

	if (end->delivered) {
		etcd_codec_reply(call->request, end->http_status, buf_str(body), body->len, ret);
		return;
	}
	*ret = (struct store_reply){ 0 };
	store_reply_fail(ret, STORE_UNKNOWN, STORE_TROUBLE_OTHER, "%s: %s",
			 etcd_endpoint_name(etcd, call->transfer.endpoint),
			 end->too_large ? "the answer is larger than 64 MiB" : end->text);
}

/* Holds the endpoint down with what it said. */
static void blame_endpoint(struct etcd_store *etcd, struct etcd_call *call,
			   const struct etcd_transfer_end *end, const struct store_reply *reply)
{
	const struct etcd_transfer *transfer = &call->transfer;

	etcd_endpoint_failed(etcd, transfer->endpoint, transfer->started_ms,
			     end->delivered ? reply->text : end->text);
}

static void on_call_end(struct etcd_transfer *transfer, const struct etcd_transfer_end *end)
{
	struct etcd_call *call =
		(struct etcd_call *)((char *)transfer - offsetof(struct etcd_call, transfer));
	struct etcd_store *etcd = transfer->etcd;
	const bool failed = (!end->delivered && !end->too_large) || end->http_status >= 500;
	struct store_reply reply;

	fill_answer(etcd, call, end, &reply);
	etcd->counters.failures += reply.outcome == STORE_UNKNOWN;
	if (!failed) {
		etcd_endpoint_answered(etcd, transfer->endpoint);
	} else {
		blame_endpoint(etcd, call, end, &reply);
		if (is_repeatable(call->request) && start_call(etcd, call)) {
			store_reply_fini(&reply);
			return;
		}
		if (all_fail(etcd))
			reply_unreachable(etcd, &reply);
	}
	if (call->proves)
		etcd_watch_probed(etcd->watch, &call->mark, &reply);
	forget_in_flight(etcd, call);
	finish_call(etcd, call, &reply);
}

/* ---- the backend ------------------------------------------------------- */

static void on_turn(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct etcd_store *etcd = w->data;

	(void)loop;
	(void)revents;
	etcd_enter(etcd);
	start_queued(etcd);
	etcd_leave(etcd);
}

static void etcd_send(struct store *store, struct store_request *request, store_reply_fn *done,
		      void *ctx)
{
	struct etcd_store *etcd = (struct etcd_store *)store;
	struct etcd_call *call = call_new(request, done, ctx);

	*etcd->queue_end = call;
	etcd->queue_end = &call->next;
	wake(etcd);
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
		.endpoint = etcd->endpoints[etcd->current].url,
		.connected = etcd->connected,
		.revision = watched > etcd->revision ? watched : etcd->revision,
		.last_contact_ms = etcd->last_contact_ms,
		.trouble = *etcd->trouble ? etcd->trouble : etcd_watch_trouble(etcd->watch),
		.counters = etcd->counters,
	};
}

static void free_queue(struct etcd_store *etcd)
{
	while (etcd->queue) {
		struct etcd_call *call = etcd->queue;

		etcd->queue = call->next;
		call_free(call);
	}
}

static void etcd_destroy(struct etcd_store *etcd)
{
	free_queue(etcd);
	for (size_t i = 0; i < etcd->in_flight_len; i++)
		call_free(etcd->in_flight[i]);
	etcd_watch_free(etcd->watch);
	if (etcd->multi)
		(void)curl_multi_cleanup(etcd->multi);
	ev_timer_stop(etcd->loop, &etcd->curl_timer);
	ev_timer_stop(etcd->loop, &etcd->turn);
	for (size_t i = 0; i < ARRAY_LEN(etcd->headers); i++)
		curl_slist_free_all(etcd->headers[i]);
	for (size_t i = 0; i < etcd->endpoints_len; i++) {
		free(etcd->endpoints[i].url);
		free(etcd->endpoints[i].name);
	}
	free(etcd->endpoints);
	free(etcd);
	curl_global_cleanup();
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

static int add_endpoints(struct etcd_store *etcd, const struct str_list *endpoints, struct err *err)
{
	if (endpoints->len == 0 || endpoints->len > ENDPOINTS_MAX)
		return err_set(err, -EINVAL, "%zu etcd endpoints are given, 1 to %d are possible",
			       endpoints->len, ENDPOINTS_MAX);
	etcd->endpoints = xcalloc(endpoints->len, sizeof(*etcd->endpoints));
	for (size_t i = 0; i < endpoints->len; i++) {
		CLEAN(str) char *host = NULL;
		int port;
		const int r = etcd_endpoint_parse(endpoints->items[i], &host, &port, err);
		if (r < 0)
			return r;
		const bool v6 = strchr(host, ':');
		struct etcd_endpoint *endpoint = &etcd->endpoints[etcd->endpoints_len++];

		endpoint->name = xasprintf("%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", port);
		endpoint->url = xasprintf("http://%s", endpoint->name);
	}
	etcd->current = (size_t)(etcd_random() * (double)etcd->endpoints_len);
	return 0;
}

static void add_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);
	if (!longer)
		abort(); /* no memory */
	*list = longer;
}

static void init_curl(struct etcd_store *etcd)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort(); /* no memory */
	etcd->multi = curl_multi_init();
	if (!etcd->multi)
		abort();
	(void)curl_multi_setopt(etcd->multi, CURLMOPT_SOCKETFUNCTION, curl_wants_socket);
	(void)curl_multi_setopt(etcd->multi, CURLMOPT_SOCKETDATA, etcd);
	(void)curl_multi_setopt(etcd->multi, CURLMOPT_TIMERFUNCTION, curl_wants_timer);
	(void)curl_multi_setopt(etcd->multi, CURLMOPT_TIMERDATA, etcd);
	(void)curl_multi_setopt(etcd->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
	for (size_t i = 0; i < ARRAY_LEN(etcd->headers); i++) {
		add_header(&etcd->headers[i], "Content-Type: application/json");
		add_header(&etcd->headers[i], "Expect:");
		add_header(&etcd->headers[i], transfer_kinds[i].header);
	}
}

struct store *etcd_store_new(struct ev_loop *loop, const struct etcd_settings *settings,
			     struct err *err)
{
	struct etcd_store *etcd = xcalloc(1, sizeof(*etcd));

	etcd->store.backend = &etcd_backend;
	etcd->loop = loop;
	etcd->queue_end = &etcd->queue;
	ev_init(&etcd->curl_timer, on_curl_timer);
	etcd->curl_timer.data = etcd;
	ev_init(&etcd->turn, on_turn);
	etcd->turn.data = etcd;
	init_curl(etcd);
	etcd->watch = etcd_watch_new(etcd, loop);
	if (add_endpoints(etcd, settings->endpoints, err) < 0) {
		etcd_destroy(etcd);
		return NULL;
	}
	return &etcd->store;
}
