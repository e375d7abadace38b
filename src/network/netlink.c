/* SPDX-License-Identifier: MIT */
/*
 * The kernel's view by netlink: requests on one socket, events on another. An
 * event only starts the debounce timer; what is true is always read by a new
 * dump. Reads of an answer block (at most ANSWER_TIMEOUT_S, in practice a few
 * ms); the event socket never does.
 *
 * Invariants: the events are subscribed to before the dump that they may
 * outdate; after a failed request its socket is closed, so that no late answer
 * is taken for the next one's; the snapshot is replaced only by a dump.
 */
#include "cmsnode/network/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <ev.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/network/address.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink_parse.h"

#define DEBOUNCE_MS 200
#define DEBOUNCE_AT_MOST_MS 1000 /* since the first event of a burst */
#define PERIODIC_S 300.0 /* a net below the events */
#define RETRY_MS 1000 /* after a dump that failed */
#define DUMP_TRIES 5
#define ANSWER_TIMEOUT_S 2
#define EVENT_BUFFER (1 << 20) /* bytes; a burst of some hundred links */
#define EVENTS_PER_TURN 256 /* datagrams, then the rest of the loop has its turn */
#define EVENT_SIZE (32 << 10) /* bytes of one; the kernel's own limit but for links with many VFs */

struct netlink {
	struct ev_loop *loop;
	struct nl_sock *requests; /* NULL: closed after a failure, opened by the next request */
	struct nl_sock *events; /* NULL: lost, opened again before the next dump */
	ev_io on_event;
	ev_timer debounce;
	ev_timer periodic;
	int64_t burst_ms; /* when the first event of this burst came */
	struct interfaces snapshot;
	bool failing; /* the last dump failed, and was logged */
	void (*on_change)(void *ctx);
	void *ctx;
};

typedef int take_function(const struct nlmsghdr *message, void *ctx);

static void clean_nl_msg(struct nl_msg **message)
{
	nlmsg_free(*message);
}

/* Requests and their answers */

static struct nl_sock *open_socket(struct err *err)
{
	struct nl_sock *sock = nl_socket_alloc();
	if (!sock) {
		(void)err_set(err, -ENOMEM, "netlink: no memory for a socket");
		return NULL;
	}
	const int r = nl_connect(sock, NETLINK_ROUTE);
	if (r < 0) {
		(void)err_set(err, -EIO, "netlink: cannot open a socket: %s", nl_geterror(r));
		nl_socket_free(sock);
		return NULL;
	}
	return sock;
}

static int open_requests(struct netlink *netlink, struct err *err)
{
	const struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };

	if (netlink->requests)
		return 0;
	struct nl_sock *sock = open_socket(err);
	if (!sock)
		return err ? err->code : -EIO;
	nl_socket_disable_auto_ack(sock);
	int r = setsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_RCVTIMEO, &timeout,
			   sizeof(timeout));
	if (r < 0) {
		r = err_errno(err, -errno, "netlink: cannot set a timeout");
		nl_socket_free(sock);
		return r;
	}
	netlink->requests = sock;
	return 0;
}

static void close_requests(struct netlink *netlink)
{
	nl_socket_free(netlink->requests);
	netlink->requests = NULL;
}

/* The error in a message of type NLMSG_ERROR, or (if it has one) NLMSG_DONE. */
static int message_error(const struct nlmsghdr *message)
{
	int code = 0;

	if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(code)))
		memcpy(&code, NLMSG_DATA(message), sizeof(code));
	else if (message->nlmsg_type == NLMSG_ERROR)
		code = -EBADMSG;
	return code < 0 ? code : 0;
}

/* What one answer has come to; take is called for its messages. */
struct answer {
	uint32_t sequence;
	take_function *take;
	void *ctx;
	bool complete;
	bool interrupted; /* NLM_F_DUMP_INTR: something changed meanwhile, entries may be missing */
};

static int take_message(struct answer *answer, const struct nlmsghdr *message)
{
	if (message->nlmsg_seq != answer->sequence)
		return 0;
	if (message->nlmsg_flags & NLM_F_DUMP_INTR)
		answer->interrupted = true;
	if (message->nlmsg_type == NLMSG_NOOP)
		return 0;
	if (message->nlmsg_type == NLMSG_OVERRUN)
		return -EOVERFLOW;
	if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
		answer->complete = true;
		return message_error(message);
	}
	answer->complete = !(message->nlmsg_flags & NLM_F_MULTI);
	return answer->take(message, answer->ctx);
}

static int take_datagram(struct answer *answer, const void *data, int len)
{
	/* libnl's functions do not write through it, but do not say so either. */
	struct nlmsghdr *message = (struct nlmsghdr *)data;

	while (!answer->complete && nlmsg_ok(message, len)) {
		const int r = take_message(answer, message);
		if (r < 0)
			return r;
		message = nlmsg_next(message, &len);
	}
	return 0;
}

static int receive_datagram(struct netlink *netlink, struct answer *answer, struct err *err)
{
	struct sockaddr_nl from = { 0 };
	unsigned char *data = NULL;
	const int n = nl_recv(netlink->requests, &from, &data, NULL);
	if (n == -NLE_AGAIN)
		return err_set(err, -ETIMEDOUT, "netlink: the kernel did not answer within %d s",
			       ANSWER_TIMEOUT_S);
	if (n <= 0)
		return err_set(err, -EIO, "netlink: cannot read the answer: %s", nl_geterror(n));
	int r = 0;

	/* Port 0 is the kernel; another process with the right to may send too. */
	if (from.nl_pid == 0)
		r = take_datagram(answer, data, n);
	free(data);
	return r < 0 ? err_errno(err, r, "netlink: the kernel's answer") : 0;
}

/*
 * Sends the request and hands each message of the answer to `take`. 0, 1 if the
 * dump was interrupted, or negative.
 */
static int exchange(struct netlink *netlink, struct nl_msg *request, take_function *take, void *ctx,
		    struct err *err)
{
	int r = open_requests(netlink, err);
	if (r < 0)
		return r;
	struct answer answer = { .take = take, .ctx = ctx };

	r = nl_send_auto(netlink->requests, request);
	if (r < 0) {
		close_requests(netlink);
		return err_set(err, -EIO, "netlink: cannot send: %s", nl_geterror(r));
	}
	answer.sequence = nlmsg_hdr(request)->nlmsg_seq;
	r = 0;
	while (r == 0 && !answer.complete)
		r = receive_datagram(netlink, &answer, err);
	if (r < 0 && !answer.complete)
		close_requests(netlink);
	return r < 0 ? r : answer.interrupted;
}

/* The dump */

struct dump {
	struct interfaces *into;
	size_t malformed;
	bool too_many;
};

/* One entry that we cannot read must not hide all others. */
static int take_entry(const struct nlmsghdr *message, void *ctx)
{
	struct dump *dump = ctx;
	const int r = netlink_parse_message(message, dump->into);

	if (r == -E2BIG)
		dump->too_many = true;
	else if (r < 0)
		dump->malformed++;
	return 0;
}

static int dump_kind(struct netlink *netlink, int type, struct dump *dump, struct err *err)
{
	/* The kernel's parsers take the short form, in which only the family is told. */
	const struct rtgenmsg all_families = { .rtgen_family = AF_UNSPEC };
	CLEAN(nl_msg) struct nl_msg *request = nlmsg_alloc_simple(type, NLM_F_REQUEST | NLM_F_DUMP);
	if (!request ||
	    nlmsg_append(request, (void *)&all_families, sizeof(all_families), NLMSG_ALIGNTO) < 0)
		return err_set(err, -ENOMEM, "netlink: no memory for a request");
	return exchange(netlink, request, take_entry, dump, err);
}

/* 0, 1 if it was interrupted (into holds what came), or negative. */
static int dump_once(struct netlink *netlink, struct interfaces *into, struct err *err)
{
	static const int kinds[] = { RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE };
	struct dump dump = { .into = into };
	int interrupted = 0;

	interfaces_fini(into);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const int r = dump_kind(netlink, kinds[i], &dump, err);
		if (r < 0)
			return r;
		interrupted |= r;
	}
	if (dump.malformed)
		log_warning("netlink", "%zu messages of the kernel are not understood, ignoring",
			    dump.malformed);
	if (dump.too_many)
		log_warning("netlink",
			    "this host has more than %d links, addresses or routes, "
			    "ignoring the rest",
			    NETLINK_PARSE_MAX);
	return interrupted;
}

static int dump_steady(struct netlink *netlink, struct interfaces *into, struct err *err)
{
	int r = 1;

	for (int i = 0; r == 1 && i < DUMP_TRIES; i++)
		r = dump_once(netlink, into, err);
	if (r >= 0)
		interfaces_sort(into);
	return r;
}

/* Events */

static void arm_in(struct netlink *netlink, int64_t ms)
{
	ev_timer_stop(netlink->loop, &netlink->debounce);
	/* The loop's idea of the present may be as old as its last turn. */
	ev_now_update(netlink->loop);
	ev_timer_set(&netlink->debounce, (double)ms / 1000.0, 0.0);
	ev_timer_start(netlink->loop, &netlink->debounce);
}

static void note_change(struct netlink *netlink)
{
	const int64_t now_ms = clock_now_ms();

	if (!ev_is_active(&netlink->debounce))
		netlink->burst_ms = now_ms;
	const int64_t left_ms = netlink->burst_ms + DEBOUNCE_AT_MOST_MS - now_ms;

	if (left_ms >= DEBOUNCE_MS)
		arm_in(netlink, DEBOUNCE_MS);
	else
		arm_in(netlink, left_ms > 0 ? left_ms : 0);
}

static void close_events(struct netlink *netlink)
{
	ev_io_stop(netlink->loop, &netlink->on_event);
	nl_socket_free(netlink->events);
	netlink->events = NULL;
}

/* What one read of events has come to. */
enum reading { READING_NOTHING, READING_NO_CHANGE, READING_CHANGE, READING_BROKEN };

static enum reading read_event(struct netlink *netlink)
{
	struct sockaddr_nl from = { 0 };
	unsigned char *data = NULL;
	const int n = nl_recv(netlink->events, &from, &data, NULL);
	if (n == -NLE_AGAIN)
		return READING_NOTHING;
	if (n == -NLE_NOMEM) {
		/* ENOBUFS: the kernel dropped messages; which ones it cannot say. */
		log_debug("netlink", "events were lost, reading everything anew");
		return READING_CHANGE;
	}
	/* Too long to be read at once, and gone. */
	if (n == -NLE_MSG_TRUNC)
		return READING_CHANGE;
	if (n <= 0) {
		log_warning("netlink", "cannot read events: %s, opening a new socket",
			    nl_geterror(n));
		return READING_BROKEN;
	}
	const bool change = from.nl_pid == 0 && netlink_parse_has_change(data, (size_t)n);

	free(data);
	return change ? READING_CHANGE : READING_NO_CHANGE;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct netlink *netlink = w->data;
	enum reading reading;
	bool change = false;
	int left = EVENTS_PER_TURN;

	(void)loop;
	(void)revents;
	do {
		reading = read_event(netlink);
		change |= reading == READING_CHANGE || reading == READING_BROKEN;
	} while (reading != READING_NOTHING && reading != READING_BROKEN && --left);
	if (reading == READING_BROKEN)
		close_events(netlink);
	if (change)
		note_change(netlink);
}

static void enlarge_buffer(struct nl_sock *sock)
{
	const int size = EVENT_BUFFER;
	const int fd = nl_socket_get_fd(sock);

	/* Beyond the system's limit only with CAP_NET_ADMIN; a small one only loses sooner. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static int subscribe(struct nl_sock *sock)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE };

	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		const int r = nl_socket_add_membership(sock, groups[i]);
		if (r < 0)
			return r;
	}
	return nl_socket_set_nonblocking(sock);
}

static int open_events(struct netlink *netlink, struct err *err)
{
	if (netlink->events)
		return 0;
	struct nl_sock *sock = open_socket(err);
	if (!sock)
		return err ? err->code : -EIO;
	enlarge_buffer(sock);
	/* Without a look at the length first: half the system calls. */
	nl_socket_disable_msg_peek(sock);
	int r = nl_socket_set_msg_buf_size(sock, EVENT_SIZE);
	if (r >= 0)
		r = subscribe(sock);
	if (r < 0) {
		nl_socket_free(sock);
		return err_set(err, -EIO, "netlink: cannot subscribe to events: %s",
			       nl_geterror(r));
	}
	netlink->events = sock;
	ev_io_set(&netlink->on_event, nl_socket_get_fd(sock), EV_READ);
	ev_io_start(netlink->loop, &netlink->on_event);
	return 0;
}

/* The snapshot */

/* 0, 1 if what came may be incomplete, or negative: *ret is empty then. */
static int read_all(struct netlink *netlink, struct interfaces *ret, struct err *err)
{
	int r = open_events(netlink, err);
	if (r < 0)
		return r;
	r = dump_steady(netlink, ret, err);
	if (r < 0)
		interfaces_fini(ret);
	return r;
}

static void report_failure(struct netlink *netlink, const struct err *err)
{
	if (!netlink->failing)
		log_warning("netlink", "%s; keeping the last snapshot, retrying each second",
			    err->msg);
	netlink->failing = true;
	arm_in(netlink, RETRY_MS);
}

static void report_success(struct netlink *netlink, bool incomplete)
{
	if (netlink->failing)
		log_info("netlink", "the kernel answers again");
	netlink->failing = false;
	if (incomplete)
		note_change(netlink);
}

static void refresh(struct netlink *netlink)
{
	CLEAN(interfaces) struct interfaces fresh = { 0 };
	struct err err;
	const int r = read_all(netlink, &fresh, &err);
	if (r < 0) {
		report_failure(netlink, &err);
		return;
	}
	report_success(netlink, r == 1);
	const bool changed = !interfaces_equal(&fresh, &netlink->snapshot);
	const struct interfaces old = netlink->snapshot;

	/* Also when it did not change: the lifetimes did. */
	netlink->snapshot = fresh;
	fresh = old;
	if (changed && netlink->on_change)
		netlink->on_change(netlink->ctx);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	refresh(w->data);
}

struct netlink *netlink_new(struct ev_loop *loop, struct err *err)
{
	struct netlink *netlink = xcalloc(1, sizeof(*netlink));

	netlink->loop = loop;
	ev_init(&netlink->on_event, on_readable);
	ev_timer_init(&netlink->debounce, on_timer, 0.0, 0.0);
	ev_timer_init(&netlink->periodic, on_timer, PERIODIC_S, PERIODIC_S);
	netlink->on_event.data = netlink;
	netlink->debounce.data = netlink;
	netlink->periodic.data = netlink;
	const int r = read_all(netlink, &netlink->snapshot, err);
	if (r < 0) {
		netlink_free(netlink);
		return NULL;
	}
	report_success(netlink, r == 1);
	ev_timer_start(loop, &netlink->periodic);
	return netlink;
}

void netlink_free(struct netlink *netlink)
{
	if (!netlink)
		return;
	ev_timer_stop(netlink->loop, &netlink->debounce);
	ev_timer_stop(netlink->loop, &netlink->periodic);
	close_events(netlink);
	close_requests(netlink);
	interfaces_fini(&netlink->snapshot);
	free(netlink);
}

const struct interfaces *netlink_snapshot(const struct netlink *netlink)
{
	return &netlink->snapshot;
}

void netlink_on_change(struct netlink *netlink, void (*on_change)(void *ctx), void *ctx)
{
	netlink->on_change = on_change;
	netlink->ctx = ctx;
}

/* The route to one address */

struct source {
	struct address address;
	int result;
};

static int take_source(const struct nlmsghdr *message, void *ctx)
{
	struct source *source = ctx;

	source->result = netlink_parse_source(message, &source->address);
	return 0;
}

static struct nl_msg *source_request(const struct address *to)
{
	const int size = to->family == AF_INET ? 4 : 16;
	const struct rtmsg head = {
		.rtm_family = (unsigned char)to->family,
		.rtm_dst_len = (unsigned char)(size * 8),
	};
	struct nl_msg *request = nlmsg_alloc_simple(RTM_GETROUTE, NLM_F_REQUEST);
	if (!request)
		return NULL;
	if (nlmsg_append(request, (void *)&head, sizeof(head), NLMSG_ALIGNTO) < 0 ||
	    nla_put(request, RTA_DST, size, to->bytes) < 0) {
		nlmsg_free(request);
		return NULL;
	}
	return request;
}

int netlink_source(struct netlink *netlink, const struct address *to, struct address *ret,
		   struct err *err)
{
	char text[ADDRESS_TEXT_SIZE];

	address_format(to, text);
	if (to->family != AF_INET && to->family != AF_INET6)
		return err_set(err, -EINVAL, "netlink: no address to look up a route for");
	CLEAN(nl_msg) struct nl_msg *request = source_request(to);
	if (!request)
		return err_set(err, -ENOMEM, "netlink: no memory for a request");
	struct source source = { .result = -EBADMSG };
	int r = exchange(netlink, request, take_source, &source, err);
	if (r >= 0)
		r = source.result;
	if (r < 0)
		return err_errno(err, r, "no source address towards %s", text);
	*ret = source.address;
	return 0;
}
