/* SPDX-License-Identifier: MIT */
/*
 * One HTTP exchange with one endpoint: libcurl's multi interface on the loop.
 * Must never send a write twice, and never call libcurl from one of its
 * callbacks. Which endpoint, and what the bytes mean, is others' business.
 */
#include <curl/curl.h>
#include <ev.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#include "etcd_codec_internal.h"
#include "etcd_internal.h"

#define CONNECT_TIMEOUT_MS 1500L
#define DNS_CACHE_S 10L /* a name may point elsewhere when it is tried again */
#define KEPT_CONNECTIONS 2L /* the watch, and one for requests */

/* One socket of libcurl's. */
struct etcd_socket {
	struct ev_io io;
	struct etcd_store *etcd;
};

#define PUSH_MS 10000
#define SERVER_FIRST_MS 500 /* so much earlier the server gives up, and can say so */
#define HTTP_GATEWAY_TIMEOUT 504

/* ---- libcurl on libev -------------------------------------------------- */

static bool is_tls_trouble(const char *detail, CURLcode code)
{
	return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
	       code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
	       ((code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR) && strstr(detail, "SSL"));
}

/* What OpenSSL says, and what a person can do about it. */
static const char *tls_reason(const struct etcd_http *http, const char *detail, CURLcode code,
			      char *text, size_t size)
{
	const char *plain = "does it speak TLS there, or is it http://?";
	const char *client = http->cert ? "it does not take the client certificate, --etcd-cert" :
					  "it wants a client certificate: --etcd-cert, --etcd-key";
	const struct {
		const char *contains;
		const char *hint;
	} hints[] = {
		{ "wrong version number", plain },
		{ "reset by peer", plain },
		{ "SSL_ERROR_SYSCALL", plain },
		{ "certificate required", client },
		{ "bad certificate", client },
		{ "unknown ca", client },
		{ "certificate problem", "is --etcd-cacert the CA of etcd's certificate?" },
		{ "subject name", "the host of the URL must be in etcd's certificate" },
		{ "verify locations", "see --etcd-cacert" },
		{ "certificate file",
		  http->cacert ? "see --etcd-cacert" :
				 "this machine has no CAs: install ca-certificates, or give "
				 "--etcd-cacert" },
	};
	const char *hint = code == CURLE_SSL_CERTPROBLEM ? "see --etcd-cert and --etcd-key" : "";

	for (size_t i = 0; i < ARRAY_LEN(hints) && !*hint; i++)
		if (strcasestr(detail, hints[i].contains))
			hint = hints[i].hint;
	(void)snprintf(text, size, "TLS: %.*s%s%s%s", *hint ? 110 : 180, detail, *hint ? " (" : "",
		       hint, *hint ? ")" : "");
	return text;
}

static const char *curl_reason(const struct etcd_transfer *transfer, CURLcode code, char *text,
			       size_t size)
{
	CURL *easy = transfer->easy;
	long os_error = 0;

	if (transfer->not_kept)
		code = CURLE_SEND_FAIL_REWIND;
	if (*transfer->detail && is_tls_trouble(transfer->detail, code))
		return tls_reason(&transfer->etcd->http, transfer->detail, code, text, size);
	switch ((int)code) {
	case CURLE_COULDNT_CONNECT:
		(void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
		return os_error ? strerror((int)os_error) : "cannot connect";
	case CURLE_COULDNT_RESOLVE_HOST:
		return "the name does not resolve";
	case CURLE_OPERATION_TIMEDOUT:
		return "no answer in time";
	case CURLE_GOT_NOTHING:
		if (!transfer->etcd->http.tls &&
		    !transfer->etcd->endpoints.items[transfer->endpoint].answered)
			return "closed the connection without an answer; does it speak TLS (https)?";
		return "closed the connection without an answer";
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return "the connection broke";
	case CURLE_PARTIAL_FILE:
		return "closed the connection in the middle of an answer";
	case CURLE_SEND_FAIL_REWIND:
		return "closed the connection while a write was sent";
	default:
		(void)snprintf(text, size, "%s", curl_easy_strerror(code));
		return text;
	}
}

/* The Date of an answer tells how far the two clocks are apart. */
static void note_date(struct etcd_transfer *transfer)
{
	struct etcd_store *etcd = transfer->etcd;
	struct curl_header *header;

	if (curl_easy_header(transfer->easy, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return;
	const time_t date = curl_getdate(header->value, NULL);
	const int64_t now_ms = clock_now_ms();

	if (date < 0)
		return;
	/* Members have clocks of their own. */
	if (etcd->skew_endpoint != transfer->endpoint)
		clock_skew_forget(&etcd->skew);
	etcd->skew_endpoint = transfer->endpoint;
	clock_skew_add(&etcd->skew, now_ms, clock_wall_s(),
		       (double)(now_ms - transfer->started_ms) / 1000.0, date);
}

static void end_transfer(struct etcd_transfer *transfer, CURLcode code)
{
	/* Wanted a new connection: from the beginning, or because the kept one died under it? */
	const bool untouched = !transfer->body_at || transfer->resendable;
	struct etcd_transfer_end end = { .too_large = transfer->too_large,
					 .not_kept = transfer->not_kept && untouched };
	char text[sizeof(end.text)];

	end.http_status = etcd_transfer_status(transfer);
	end.empty = !end.http_status && !end.not_kept &&
		    (transfer->not_kept || code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR ||
		     code == CURLE_SEND_FAIL_REWIND);
	end.delivered = code == CURLE_OK && end.http_status != 0;
	end.late = (code == CURLE_OPERATION_TIMEDOUT && transfer->body_at) ||
		   end.http_status == HTTP_GATEWAY_TIMEOUT;
	if (!end.delivered)
		(void)snprintf(end.text, sizeof(end.text), "%s",
			       code == CURLE_OK ? "no HTTP answer" :
						  curl_reason(transfer, code, text, sizeof(text)));
	transfer->etcd->counters.requests -= end.not_kept; /* it was never sent */
	if (end.delivered && transfer->kind != ETCD_TRANSFER_WATCH)
		note_date(transfer);
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

	struct etcd_transfer *transfer = data;

	(void)purpose;
	if (transfer->kept_only) {
		transfer->not_kept = true;
		return CURL_SOCKOPT_ERROR;
	}
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
	transfer->body_at = 0;
	return CURL_SEEKFUNC_OK;
}

/* ---- transfers --------------------------------------------------------- */

static void set_callbacks(CURL *easy, struct etcd_transfer *transfer)
{
	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, curl_has_data);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, curl_wants_data);
	(void)curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, curl_wants_rewind);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
	(void)curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, curl_made_socket);
	(void)curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, transfer);
}

/* Trusted is the given CA and no other; files are read at each connection, so they may change. */
static void set_tls(CURL *easy, const struct etcd_http *http)
{
	if (!http->tls)
		return;
	(void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (http->cacert) {
		(void)curl_easy_setopt(easy, CURLOPT_CAINFO, http->cacert);
		(void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (http->cert) {
		(void)curl_easy_setopt(easy, CURLOPT_SSLCERT, http->cert);
		(void)curl_easy_setopt(easy, CURLOPT_SSLKEY, http->key);
	}
}

static void add_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);
	if (!longer)
		abort(); /* no memory */
	*list = longer;
}

/* 0: no end. */
static int64_t timeout_ms(const struct etcd_store *etcd, enum etcd_transfer_kind kind)
{
	switch (kind) {
	case ETCD_TRANSFER_REQUEST:
		return etcd_patience_ms(etcd);
	case ETCD_TRANSFER_PUSH:
		return PUSH_MS;
	case ETCD_TRANSFER_WATCH:
		return 0;
	}
	return 0;
}

static void add_headers(const struct etcd_store *etcd, struct etcd_transfer *transfer)
{
	const int64_t end_ms = timeout_ms(etcd, transfer->kind);
	CLEAN(str) char *end =
		/* Without it a member cut off from its cluster keeps a watch looking healthy. */
		end_ms ? xasprintf("Grpc-Timeout: %" PRId64 "m", end_ms - SERVER_FIRST_MS) :
			 xstrdup("Grpc-Metadata-hasleader: true");

	add_header(&transfer->headers, "Content-Type: application/json");
	add_header(&transfer->headers, "Expect:");
	add_header(&transfer->headers, end);
	if (!etcd->auth.token)
		return;
	/* Not "Bearer": etcd takes the token alone. */
	CLEAN(str) char *authorization = xasprintf("Authorization: %s", etcd->auth.token);

	add_header(&transfer->headers, authorization);
}

static CURL *new_easy(struct etcd_store *etcd, struct etcd_transfer *transfer)
{
	CURL *easy = curl_easy_init();
	if (!easy)
		abort(); /* no memory */
	CLEAN(str) char *url = xasprintf("%s%s%s", etcd->endpoints.items[transfer->endpoint].url,
					 etcd_server_api(etcd, transfer->endpoint), transfer->path);

	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, etcd->http.tls ? "https" : "http");
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
			       1L); /* do not wait for a name server on a timeout */
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_len);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	(void)curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms(etcd, transfer->kind));
	const long own_connection = transfer->kind == ETCD_TRANSFER_WATCH;

	(void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, own_connection);
	(void)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, own_connection);
	set_callbacks(easy, transfer);
	set_tls(easy, &etcd->http);
	return easy;
}

void etcd_transfer_start(struct etcd_store *etcd, struct etcd_transfer *transfer)
{
	transfer->etcd = etcd;
	transfer->body_at = 0;
	transfer->too_large = false;
	transfer->not_kept = false;
	transfer->started_ms = clock_now_ms();
	etcd->counters.requests++;
	etcd->endpoints.items[transfer->endpoint].users++;
	buf_fini(&transfer->reply);
	add_headers(etcd, transfer);
	transfer->detail[0] = '\0';
	transfer->easy = new_easy(etcd, transfer);
	if (curl_multi_add_handle(etcd->http.multi, transfer->easy) != CURLM_OK)
		abort(); /* no memory: nothing else is left to go wrong */
}

void etcd_transfer_stop(struct etcd_transfer *transfer)
{
	if (!transfer->easy)
		return;
	transfer->etcd->endpoints.items[transfer->endpoint].users--;
	(void)curl_multi_remove_handle(transfer->etcd->http.multi, transfer->easy);
	curl_easy_cleanup(steal(transfer->easy));
	curl_slist_free_all(steal(transfer->headers));
}

int etcd_transfer_status(const struct etcd_transfer *transfer)
{
	long status = 0;

	if (transfer->easy)
		(void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

/* etcd's traps: what it says, and what that means. */
static const char *hint_for(const struct etcd_transfer *transfer, int http_status, const char *text)
{
	const struct etcd_store *etcd = transfer->etcd;

	if (strstr(text, "CommonName of client"))
		return "; the client certificate (--etcd-cert) must have an empty CN, with its names in the SAN";
	if (strstr(text, "HTTP request to an HTTPS server"))
		return "; write https:// for it";
	/* Its gateway is a client of its own, with its own certificate. */
	if (etcd->http.tls && http_status == 503 && !str_starts(text, "etcdserver:") &&
	    !etcd->endpoints.items[transfer->endpoint].answered)
		return "; if this stays: etcd's own certificate lacks clientAuth in its extended key usage";
	return "";
}

void etcd_transfer_failure(const struct etcd_transfer *transfer,
			   const struct etcd_transfer_end *end, char *text, size_t size)
{
	struct etcd_codec_error error;

	if (!end->delivered) {
		(void)snprintf(text, size, "%s", end->text);
		return;
	}
	etcd_codec_read_failure(buf_str(&transfer->reply), transfer->reply.len, &error);
	(void)snprintf(text, size, "%.95s (HTTP %d%s)", error.text, end->http_status,
		       hint_for(transfer, end->http_status, error.text));
}

/* ---- beginning and end ------------------------------------------------- */

static int take_file(const char *path, const char *option, char **ret, struct err *err)
{
	if (!path)
		return 0;
	if (access(path, R_OK) < 0)
		return err_set(err, -errno, "%s: %s (%s)", path, strerror(errno), option);
	*ret = xstrdup(path);
	return 0;
}

static int take_files(struct etcd_http *http, const struct etcd_settings *settings, struct err *err)
{
	if ((settings->cacert || settings->cert || settings->key) && !http->tls)
		return err_set(err, -EINVAL, "certificates are for https:// endpoints");
	if (!settings->cert != !settings->key)
		return err_set(err, -EINVAL,
			       "a client certificate needs both --etcd-cert and --etcd-key");
	int r = take_file(settings->cacert, "--etcd-cacert", &http->cacert, err);
	if (r == 0)
		r = take_file(settings->cert, "--etcd-cert", &http->cert, err);
	if (r == 0)
		r = take_file(settings->key, "--etcd-key", &http->key, err);
	return r;
}

int etcd_http_init(struct etcd_store *etcd, const struct etcd_settings *settings, struct err *err)
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
	return take_files(http, settings, err);
}

void etcd_http_fini(struct etcd_store *etcd)
{
	if (!etcd->http.multi)
		return;
	(void)curl_multi_cleanup(etcd->http.multi);
	ev_timer_stop(etcd->loop, &etcd->http.timer);
	free(etcd->http.cacert);
	free(etcd->http.cert);
	free(etcd->http.key);
	curl_global_cleanup();
}
