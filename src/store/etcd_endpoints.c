/* SPDX-License-Identifier: MIT */
/*
 * The endpoints: how they are written, which one is used, and for how long one
 * that failed is left alone. Must never keep all of them waiting: where none
 * may be used, whoever asks is told so at once.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#include "etcd_internal.h"

#define HTTP "http://"
#define HTTPS "https://"
#define HOLD_FIRST_MS 1000
#define HOLD_MAX_MS 30000
#define PATIENCE_FIRST_MS 3000
#define PATIENCE_MAX_MS 10000
#define LATE_MAX 2

/* ---- URLs -------------------------------------------------------------- */

static int url_error(struct err *err, const char *url, const char *what)
{
	return err_set(
		err, -EINVAL,
		"etcd endpoint '%.150s': %s; write it as http://HOST:PORT or https://HOST:PORT",
		url, what);
}

static bool is_https(const char *url)
{
	return str_starts(url, HTTPS);
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
	const char *scheme = is_https(url) ? HTTPS : HTTP;

	if (!str_starts(url, scheme))
		return url_error(err, url, "it begins with neither http:// nor https://");
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
	return etcd->endpoints.items[endpoint].name;
}

static bool is_held(const struct etcd_endpoint *endpoint, int64_t now_ms)
{
	return endpoint->failures && now_ms < endpoint->held_until_ms;
}

size_t etcd_endpoint_pick(const struct etcd_store *etcd, uint64_t tried)
{
	const int64_t now_ms = clock_now_ms();

	for (size_t i = 0; i < etcd->endpoints.len; i++) {
		const size_t at = (etcd->endpoints.current + i) % etcd->endpoints.len;

		if (!etcd->endpoints.items[at].gone && !(tried & (uint64_t)1 << at) &&
		    !is_held(&etcd->endpoints.items[at], now_ms))
			return at;
	}
	return ETCD_NO_ENDPOINT;
}

/* The next in the list, itself if there is no other. */
static size_t next_to(const struct etcd_endpoints *endpoints, size_t at)
{
	for (size_t i = 1; i < endpoints->len; i++)
		if (!endpoints->items[(at + i) % endpoints->len].gone)
			return (at + i) % endpoints->len;
	return at;
}

size_t etcd_endpoint_for_watch(const struct etcd_store *etcd, size_t avoid)
{
	const bool elsewhere = avoid < etcd->endpoints.len;
	size_t at = etcd_endpoint_pick(etcd, elsewhere ? (uint64_t)1 << avoid : 0);

	if (at == ETCD_NO_ENDPOINT)
		at = etcd_endpoint_pick(etcd, 0);
	if (at == ETCD_NO_ENDPOINT)
		at = elsewhere ? next_to(&etcd->endpoints, avoid) : etcd->endpoints.current;
	return at;
}

/* False: it was held already; several exchanges that die together are one failure. */
static bool hold(struct etcd_store *etcd, size_t endpoint, int64_t started_ms, const char *text)
{
	struct etcd_endpoint *failed = &etcd->endpoints.items[endpoint];
	const int64_t now_ms = clock_now_ms();
	const bool is_another =
		!failed->failures || (!is_held(failed, now_ms) && started_ms >= failed->failed_ms);

	etcd_server_forget(etcd, endpoint);
	(void)snprintf(failed->error, sizeof(failed->error), "%s", text);
	if (is_another) {
		int64_t cap_ms = HOLD_FIRST_MS;

		for (unsigned int i = 0; i < failed->failures && cap_ms < HOLD_MAX_MS; i++)
			cap_ms *= 2;
		if (cap_ms > HOLD_MAX_MS)
			cap_ms = HOLD_MAX_MS;
		failed->failures++;
		failed->failed_ms = now_ms;
		failed->held_until_ms = now_ms + (int64_t)((double)cap_ms * etcd_random());
		/* At the start, the only endpoint's trouble is told by whoever asked it. */
		if (failed->failures == 1 && (etcd->endpoints.len > 1 || etcd->last_contact_ms))
			log_warning("etcd", "endpoint '%s' fails: %s, trying %s", failed->name,
				    text,
				    etcd->endpoints.len > 1 ? "others, and it again later" :
							      "again and again");
	}
	if (etcd->endpoints.current == endpoint)
		etcd->endpoints.current = next_to(&etcd->endpoints, endpoint);
	return is_another;
}

void etcd_endpoint_failed(struct etcd_store *etcd, size_t endpoint, int64_t started_ms,
			  const char *text)
{
	(void)hold(etcd, endpoint, started_ms, text);
	etcd->endpoints.items[endpoint].late = false;
	etcd_watch_endpoint_failed(etcd->watch, endpoint);
}

void etcd_endpoint_late(struct etcd_store *etcd, size_t endpoint, int64_t started_ms,
			const char *text)
{
	if (hold(etcd, endpoint, started_ms, text) && etcd->endpoints.late < LATE_MAX)
		etcd->endpoints.late++;
	etcd->endpoints.items[endpoint].late = true;
}

void etcd_endpoint_quick(struct etcd_store *etcd, size_t endpoint)
{
	etcd->endpoints.late = 0;
	for (size_t i = 0; i < etcd->endpoints.len; i++) {
		if (i != endpoint && etcd->endpoints.items[i].late)
			etcd_watch_endpoint_failed(etcd->watch, i);
		etcd->endpoints.items[i].late = false;
	}
}

int64_t etcd_patience_ms(const struct etcd_store *etcd)
{
	const int64_t ms = (int64_t)PATIENCE_FIRST_MS << etcd->endpoints.late;

	return ms < PATIENCE_MAX_MS ? ms : PATIENCE_MAX_MS;
}

void etcd_endpoint_answered(struct etcd_store *etcd, size_t endpoint)
{
	struct etcd_endpoint *answered = &etcd->endpoints.items[endpoint];

	etcd->last_contact_ms = clock_now_ms();
	answered->answered = true;
	if (!answered->failures)
		return;
	log_info("etcd", "endpoint '%s' answers again", answered->name);
	answered->failures = 0;
	answered->error[0] = '\0';
	etcd_watch_retry(etcd->watch);
}

bool etcd_endpoints_all_fail(const struct etcd_store *etcd)
{
	for (size_t i = 0; i < etcd->endpoints.len; i++)
		if (!etcd->endpoints.items[i].gone && !etcd->endpoints.items[i].failures)
			return false;
	return true;
}

void etcd_endpoints_unreachable(const struct etcd_store *etcd, struct store_reply *ret)
{
	struct buf text = BUF_INIT(0);

	for (size_t i = 0; i < etcd->endpoints.len; i++) {
		const struct etcd_endpoint *endpoint = &etcd->endpoints.items[i];

		if (!endpoint->gone)
			(void)buf_addf(&text, "%s%s: %s", text.len ? "; " : "", endpoint->name,
				       *endpoint->error ? endpoint->error : "in use");
	}
	*ret = (struct store_reply){ 0 };
	store_reply_fail(
		ret, STORE_UNKNOWN, STORE_TROUBLE_UNREACHABLE, "no etcd endpoint answers (%.*s)",
		(int)(sizeof(ret->text) - sizeof("no etcd endpoint answers ()")), buf_str(&text));
	buf_fini(&text);
}

static void endpoint_fini(struct etcd_endpoint *endpoint)
{
	buf_fini(&endpoint->asking.reply);
	free(endpoint->url);
	free(endpoint->name);
}

/* ---- the list ---------------------------------------------------------- */

/* "host:port" of a URL; NULL and err if it is none. Caller frees. */
static char *name_of(const char *url, struct err *err)
{
	CLEAN(str) char *host = NULL;
	int port;

	if (etcd_endpoint_parse(url, &host, &port, err) < 0)
		return NULL;
	const bool v6 = strchr(host, ':');

	return xasprintf("%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

/* Indices stay what they are as long as something refers to them. NULL if none is left. */
static struct etcd_endpoint *free_slot(struct etcd_endpoints *endpoints)
{
	for (size_t i = 0; i < endpoints->len; i++) {
		struct etcd_endpoint *endpoint = &endpoints->items[i];

		if (!endpoint->gone || endpoint->users)
			continue;
		endpoint_fini(endpoint);
		*endpoint = (struct etcd_endpoint){ 0 };
		return endpoint;
	}
	return endpoints->len < ETCD_ENDPOINTS_MAX ? &endpoints->items[endpoints->len++] : NULL;
}

/* Takes the name. */
static struct etcd_endpoint *add_endpoint(struct etcd_store *etcd, char *name)
{
	struct etcd_endpoint *endpoint = free_slot(&etcd->endpoints);

	if (!endpoint) {
		free(name);
		return NULL;
	}
	endpoint->name = name;
	endpoint->url = xasprintf("%s%s", etcd->http.tls ? HTTPS : HTTP, name);
	return endpoint;
}

static struct etcd_endpoint *find_endpoint(struct etcd_endpoints *endpoints, const char *name)
{
	for (size_t i = 0; i < endpoints->len; i++)
		if (str_eq(endpoints->items[i].name, name))
			return &endpoints->items[i];
	return NULL;
}

static void drop_all_but(struct etcd_store *etcd, const struct str_list *names)
{
	struct etcd_endpoints *endpoints = &etcd->endpoints;

	for (size_t i = 0; i < endpoints->len; i++) {
		struct etcd_endpoint *endpoint = &endpoints->items[i];

		if (endpoint->configured || endpoint->gone || str_list_has(names, endpoint->name))
			continue;
		endpoint->gone = true;
		log_info("etcd", "endpoint '%s' has left etcd's cluster", endpoint->name);
		if (endpoints->current == i)
			endpoints->current = next_to(endpoints, i);
	}
}

void etcd_endpoints_set_learnt(struct etcd_store *etcd, const struct str_list *urls)
{
	CLEAN(str_list) struct str_list names = { 0 };

	for (size_t i = 0; i < urls->len; i++) {
		CLEAN(str) char *name = name_of(urls->items[i], NULL);

		if (name)
			str_list_add(&names, name);
	}
	drop_all_but(etcd, &names);
	for (size_t i = 0; i < names.len; i++) {
		struct etcd_endpoint *endpoint = find_endpoint(&etcd->endpoints, names.items[i]);

		if (endpoint && !endpoint->gone)
			continue;
		if (endpoint)
			endpoint->gone = false;
		else
			endpoint = add_endpoint(etcd, xstrdup(names.items[i]));
		if (endpoint)
			log_info("etcd", "endpoint '%s' is learnt from etcd", endpoint->name);
	}
}

/* ---- beginning and end ------------------------------------------------- */

int etcd_endpoints_init(struct etcd_store *etcd, const struct str_list *urls, struct err *err)
{
	struct etcd_endpoints *endpoints = &etcd->endpoints;

	if (urls->len == 0 || urls->len > ETCD_ENDPOINTS_MAX)
		return err_set(err, -EINVAL, "%zu etcd endpoints are given, 1 to %d are possible",
			       urls->len, ETCD_ENDPOINTS_MAX);
	endpoints->items = xcalloc(ETCD_ENDPOINTS_MAX, sizeof(*endpoints->items));
	etcd->http.tls = is_https(urls->items[0]);
	for (size_t i = 0; i < urls->len; i++) {
		if (is_https(urls->items[i]) != etcd->http.tls)
			return err_set(err, -EINVAL,
				       "etcd endpoints are either all http:// or all https://");
		char *name = name_of(urls->items[i], err);
		if (!name)
			return -EINVAL;
		add_endpoint(etcd, name)->configured = true;
	}
	endpoints->current = (size_t)(etcd_random() * (double)endpoints->len);
	return 0;
}

void etcd_endpoints_fini(struct etcd_store *etcd)
{
	for (size_t i = 0; i < etcd->endpoints.len; i++) {
		etcd_transfer_stop(&etcd->endpoints.items[i].asking);
		endpoint_fini(&etcd->endpoints.items[i]);
	}
	free(etcd->endpoints.items);
}
