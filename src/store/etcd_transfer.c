/* SPDX-License-Identifier: MIT */
/*
 * One HTTP exchange with one endpoint: libcurl's multi interface on the loop.
 * Must never send a write twice, and never call libcurl from one of its
 * callbacks. Which endpoint, and what the bytes mean, is others' business.
 */
#include <curl/curl.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#include "etcd_internal.h"

#define API_PREFIX "/v3"
#define CONNECT_TIMEOUT_MS 1500L
#define KEPT_CONNECTIONS 4L

/* One socket of libcurl's. */
struct etcd_socket {
	struct ev_io io;
	struct etcd_store *etcd;
};

static const struct {
	long timeout_ms; /* 0: none */
	const char *header;
} transfer_kinds[ETCD_TRANSFER_KINDS] = {
	[ETCD_TRANSFER_REQUEST] = { 3000, "Grpc-Timeout: 2500m" },
	[ETCD_TRANSFER_PUSH] = { 10000, "Grpc-Timeout: 9500m" },
	/* Without it a member cut off from its cluster keeps a watch looking healthy. */
	[ETCD_TRANSFER_WATCH] = { 0, "Grpc-Metadata-hasleader: true" },
};

/* ---- libcurl on libev -------------------------------------------------- */

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
		const CURLMsg *msg = curl_multi_info_read(etcd->http.multi, &left);
		struct etcd_transfer *transfer = NULL;

		if (!msg)
			break;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		end_transfer(transfer, msg->data.result);
	}
	if (!etcd->dying)
		etcd_calls_start(etcd);
}

static void run_curl(struct etcd_store *etcd, curl_socket_t fd, int events)
{
	int running;

	etcd_enter(etcd);
	(void)curl_multi_socket_action(etcd->http.multi, fd, events, &running);
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
	ev_timer_stop(etcd->loop, &etcd->http.timer);
	if (timeout_ms < 0)
		return 0;
	ev_timer_set(&etcd->http.timer, (double)timeout_ms / 1000.0, 0.0);
	ev_timer_start(etcd->loop, &etcd->http.timer);
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
		(void)curl_multi_assign(etcd->http.multi, fd, NULL);
		return 0;
	}
	if (!socket) {
		socket = xcalloc(1, sizeof(*socket));
		socket->etcd = etcd;
		ev_init(&socket->io, on_socket);
		socket->io.data = socket;
		(void)curl_multi_assign(etcd->http.multi, fd, socket);
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
	CLEAN(str) char *url =
		xasprintf("%s" API_PREFIX "%s", etcd->endpoints.items[transfer->endpoint].url,
			  transfer->path);

	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
			       1L); /* do not wait for a name server on a timeout */
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_len);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, etcd->http.headers[transfer->kind]);
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
	if (curl_multi_add_handle(etcd->http.multi, transfer->easy) != CURLM_OK)
		abort(); /* no memory: nothing else is left to go wrong */
}

void etcd_transfer_stop(struct etcd_transfer *transfer)
{
	if (!transfer->easy)
		return;
	(void)curl_multi_remove_handle(transfer->etcd->http.multi, transfer->easy);
	curl_easy_cleanup(steal(transfer->easy));
}

int etcd_transfer_status(const struct etcd_transfer *transfer)
{
	long status = 0;

	if (transfer->easy)
		(void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

/* ---- beginning and end ------------------------------------------------- */

static void add_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);
	if (!longer)
		abort(); /* no memory */
	*list = longer;
}

void etcd_http_init(struct etcd_store *etcd)
{
	struct etcd_http *http = &etcd->http;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort(); /* no memory */
	http->multi = curl_multi_init();
	if (!http->multi)
		abort();
	ev_init(&http->timer, on_curl_timer);
	http->timer.data = etcd;
	(void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, curl_wants_socket);
	(void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, etcd);
	(void)curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, curl_wants_timer);
	(void)curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, etcd);
	(void)curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
	for (size_t i = 0; i < ARRAY_LEN(http->headers); i++) {
		add_header(&http->headers[i], "Content-Type: application/json");
		add_header(&http->headers[i], "Expect:");
		add_header(&http->headers[i], transfer_kinds[i].header);
	}
}

void etcd_http_fini(struct etcd_store *etcd)
{
	(void)curl_multi_cleanup(etcd->http.multi);
	ev_timer_stop(etcd->loop, &etcd->http.timer);
	for (size_t i = 0; i < ARRAY_LEN(etcd->http.headers); i++)
		curl_slist_free_all(etcd->http.headers[i]);
	curl_global_cleanup();
}
