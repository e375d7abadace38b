/* SPDX-License-Identifier: MIT */
/*
 * Name look-ups off the loop. Owns the one place where this program has a
 * second thread.
 *
 *      loop                     struct desk (mutex)             thread
 *   resolver_request() ------> wanted (newest only) ---------> takes it, getaddrinfo()
 *   on_ready(), merges <------ answered (newest only) <------- leaves it, ev_async_send()
 *
 * The thread is started when something is wanted and ends when nothing is. It
 * can sit in getaddrinfo() for a minute and cannot be stopped there, so it is
 * detached and the desk is counted: resolver_free() marks the desk closed and
 * goes; whoever leaves last frees it. The thread must never touch anything but
 * the desk, and the loop's async watcher only under the mutex of an open desk.
 */
#include "cmsnode/topology/resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include <ev.h>

#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define ADDRESSES_MAX 64 /* of one host; a name server decides how many it sends */

struct desk {
	pthread_mutex_t mutex;
	int users; /* the resolver and its thread */
	bool closed; /* the resolver is gone: nobody to wake */
	bool working; /* a thread runs */
	struct str_list *wanted; /* NULL = nothing waits */
	struct resolved_hosts *answered; /* NULL = nothing to fetch */
	struct ev_loop *loop;
	ev_async *ready;
};

struct resolver {
	struct ev_loop *loop;
	ev_async ready;
	struct desk *desk;
	struct resolved_hosts answers;
	void (*on_resolved)(void *ctx);
	void *ctx;
};

/* ---- answers ---- */

static void hosts_fini(struct resolved_hosts *hosts)
{
	for (size_t i = 0; i < hosts->len; i++) {
		free(hosts->items[i].host);
		free(hosts->items[i].addresses);
	}
	free(hosts->items);
	*hosts = (struct resolved_hosts){ 0 };
}

static void hosts_free(struct resolved_hosts *hosts)
{
	if (!hosts)
		return;
	hosts_fini(hosts);
	free(hosts);
}

/* A name server's bad minute must not take an address away that was good. */
static void keep_last_good(struct resolved_hosts *fresh, const struct resolved_hosts *old)
{
	for (size_t i = 0; i < fresh->len; i++) {
		struct resolved_host *host = &fresh->items[i];
		const struct resolved_host *before = resolved_hosts_find(old, host->host);

		if (!host->error || !before || !before->len)
			continue;
		host->addresses =
			xmemdup(before->addresses, before->len * sizeof(*before->addresses));
		host->len = before->len;
	}
}

static void names_free(struct str_list *names)
{
	if (!names)
		return;
	str_list_fini(names);
	free(names);
}

/* ---- looking up ---- */

/* Through memcpy(): a sockaddr of getaddrinfo() may be aligned for nothing more than itself. */
static bool take_address(const struct addrinfo *info, struct address *ret)
{
	*ret = (struct address){ .family = info->ai_family };
	if (info->ai_family == AF_INET && info->ai_addrlen >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;

		memcpy(&in, info->ai_addr, sizeof(in));
		memcpy(ret->bytes, &in.sin_addr, sizeof(in.sin_addr));
		return true;
	}
	if (info->ai_family == AF_INET6 && info->ai_addrlen >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;

		memcpy(&in6, info->ai_addr, sizeof(in6));
		memcpy(ret->bytes, &in6.sin6_addr, sizeof(in6.sin6_addr));
		return true;
	}
	return false;
}

static bool has_address(const struct resolved_host *host, const struct address *address)
{
	for (size_t i = 0; i < host->len; i++)
		if (address_equal(&host->addresses[i], address))
			return true;
	return false;
}

static void take_addresses(const struct addrinfo *list, struct resolved_host *host)
{
	size_t cap = 0;

	for (const struct addrinfo *info = list; info && host->len < ADDRESSES_MAX;
	     info = info->ai_next) {
		struct address address;

		if (!take_address(info, &address) || has_address(host, &address))
			continue;
		GROW(host->addresses, host->len, cap);
		host->addresses[host->len++] = address;
	}
}

static void look_up(struct resolved_host *host, int flags)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM,
					.ai_flags = flags };
	struct addrinfo *list = NULL;

	host->error = getaddrinfo(host->host, NULL, &hints, &list);
	if (host->error)
		return;
	take_addresses(list, host);
	freeaddrinfo(list);
	if (host->len == 0)
		host->error = EAI_NONAME;
}

/* `flags` AI_NUMERICHOST: names are not asked for (EAI_AGAIN), literals are known. */
static struct resolved_hosts *look_all_up(const struct str_list *names, int flags)
{
	struct resolved_hosts *hosts = xcalloc(1, sizeof(*hosts));

	hosts->items = xcalloc(names->len, sizeof(*hosts->items));
	hosts->len = names->len;
	for (size_t i = 0; i < names->len; i++) {
		hosts->items[i].host = xstrdup(names->items[i]);
		look_up(&hosts->items[i], flags);
		if (flags && hosts->items[i].error)
			hosts->items[i].error = EAI_AGAIN;
	}
	return hosts;
}

/* ---- the desk ---- */

static struct desk *desk_new(struct ev_loop *loop, ev_async *ready)
{
	struct desk *desk = xcalloc(1, sizeof(*desk));

	(void)pthread_mutex_init(&desk->mutex, NULL);
	desk->users = 1;
	desk->loop = loop;
	desk->ready = ready;
	return desk;
}

/* Called with the mutex held; it is released, and so is the desk by its last user. */
static void desk_leave(struct desk *desk)
{
	const bool last = --desk->users == 0;

	(void)pthread_mutex_unlock(&desk->mutex);
	if (!last)
		return;
	(void)pthread_mutex_destroy(&desk->mutex);
	names_free(desk->wanted);
	hosts_free(desk->answered);
	free(desk);
}

/* Called with the mutex held; takes hosts. */
static void desk_answer(struct desk *desk, struct resolved_hosts *hosts)
{
	if (desk->answered)
		keep_last_good(hosts, desk->answered);
	hosts_free(desk->answered);
	desk->answered = hosts;
	if (!desk->closed)
		ev_async_send(desk->loop, desk->ready);
}

static void *work(void *argument)
{
	struct desk *desk = argument;

	(void)pthread_mutex_lock(&desk->mutex);
	while (desk->wanted && !desk->closed) {
		struct str_list *names = steal(desk->wanted);

		(void)pthread_mutex_unlock(&desk->mutex);
		struct resolved_hosts *hosts = look_all_up(names, 0);

		names_free(names);
		(void)pthread_mutex_lock(&desk->mutex);
		desk_answer(desk, hosts);
	}
	desk->working = false;
	desk_leave(desk);
	return NULL;
}

/* Signals belong to the loop's thread, so the new one starts with all of them blocked. */
static int start_thread(struct desk *desk)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all;
	sigset_t before;

	(void)sigfillset(&all);
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	const int r = pthread_create(&thread, &attributes, work, desk);

	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attributes);
	return r;
}

/* Called with the mutex held. Without a thread the names stay unknown until the next request. */
static void desk_work(struct desk *desk)
{
	desk->users++;
	desk->working = true;
	const int r = start_thread(desk);
	if (r == 0)
		return;
	log_warning("resolver", "cannot start the look-up thread: %s, keeping the last answers",
		    strerror(r));
	desk->users--;
	desk->working = false;
	struct str_list *names = steal(desk->wanted);

	desk_answer(desk, look_all_up(names, AI_NUMERICHOST));
	names_free(names);
}

/* ---- the loop's side ---- */

static void on_ready(struct ev_loop *loop, ev_async *watcher, int events)
{
	struct resolver *resolver = watcher->data;

	(void)loop;
	(void)events;
	(void)pthread_mutex_lock(&resolver->desk->mutex);
	struct resolved_hosts *fresh = steal(resolver->desk->answered);

	(void)pthread_mutex_unlock(&resolver->desk->mutex);
	if (!fresh)
		return;
	keep_last_good(fresh, &resolver->answers);
	hosts_fini(&resolver->answers);
	resolver->answers = *fresh;
	free(fresh);
	if (resolver->on_resolved)
		resolver->on_resolved(resolver->ctx);
}

struct resolver *resolver_new(struct ev_loop *loop, void (*on_resolved)(void *ctx), void *ctx)
{
	struct resolver *resolver = xcalloc(1, sizeof(*resolver));

	resolver->loop = loop;
	resolver->on_resolved = on_resolved;
	resolver->ctx = ctx;
	ev_async_init(&resolver->ready, on_ready);
	resolver->ready.data = resolver;
	ev_async_start(loop, &resolver->ready);
	resolver->desk = desk_new(loop, &resolver->ready);
	return resolver;
}

void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	(void)pthread_mutex_lock(&resolver->desk->mutex);
	resolver->desk->closed = true;
	desk_leave(resolver->desk);
	ev_async_stop(resolver->loop, &resolver->ready);
	hosts_fini(&resolver->answers);
	free(resolver);
}

void resolver_request(struct resolver *resolver, const struct str_list *hosts)
{
	struct desk *desk = resolver->desk;
	struct str_list *names = xcalloc(1, sizeof(*names));

	str_list_copy(names, hosts);
	(void)pthread_mutex_lock(&desk->mutex);
	names_free(desk->wanted);
	desk->wanted = names;
	if (!desk->working)
		desk_work(desk);
	(void)pthread_mutex_unlock(&desk->mutex);
}

const struct resolved_hosts *resolver_answers(const struct resolver *resolver)
{
	return &resolver->answers;
}
