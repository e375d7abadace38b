/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink messages (rtnetlink(7), linux/rtnetlink.h) into the snapshot's
 * entries. Works on bytes only: no socket, no libnl. Never reads beyond the
 * length that a message or an attribute really has.
 */
#include "cmsnode/network/netlink_parse.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/network/address.h"
#include "cmsnode/network/interfaces.h"

#define LINK_FLAGS (IFF_UP | IFF_RUNNING | IFF_LOOPBACK | IFF_POINTOPOINT)

/* A stretch of attributes, or the value of one. */
struct stretch {
	const unsigned char *data; /* NULL: no such attribute */
	size_t len;
};

static struct stretch behind(const void *data, size_t len, size_t head)
{
	if (head >= len)
		return (struct stretch){ 0 };
	return (struct stretch){ .data = (const unsigned char *)data + head, .len = len - head };
}

/* What follows the fixed part of a message; NULL data if there is nothing. */
static struct stretch message_attributes(const struct nlmsghdr *message, size_t fixed)
{
	return behind(message, message->nlmsg_len, NLMSG_SPACE(fixed));
}

static bool message_holds(const struct nlmsghdr *message, size_t fixed)
{
	return message->nlmsg_len >= NLMSG_LENGTH(fixed);
}

/*
 * Values by type; of two of one type the last counts. False if an attribute's
 * length is impossible. `types` is the length of ret.
 */
static bool parse_attributes(struct stretch in, struct stretch *ret, size_t types)
{
	memset(ret, 0, types * sizeof(*ret));
	while (in.len >= NLA_HDRLEN) {
		struct nlattr head;

		memcpy(&head, in.data, sizeof(head));
		const size_t type = head.nla_type & NLA_TYPE_MASK;

		if (head.nla_len < NLA_HDRLEN || head.nla_len > in.len)
			return false;
		if (type < types)
			ret[type] =
				(struct stretch){ in.data + NLA_HDRLEN, head.nla_len - NLA_HDRLEN };
		in = behind(in.data, in.len, NLA_ALIGN(head.nla_len));
	}
	return true;
}

static uint32_t get_u32(struct stretch value, uint32_t fallback)
{
	uint32_t number;

	if (!value.data || value.len < sizeof(number))
		return fallback;
	memcpy(&number, value.data, sizeof(number));
	return number;
}

/* Family 0 if it is absent or of another length than its family's. */
static struct address get_address(struct stretch value, int family)
{
	const size_t size = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
	struct address address = { .family = family };

	if (!value.data || !size || value.len != size)
		return (struct address){ 0 };
	memcpy(address.bytes, value.data, size);
	return address;
}

/* A name with or without its NUL, cut to what the field holds. */
static void get_name(struct stretch value, char *ret, size_t size)
{
	const size_t len = value.data ? strnlen((const char *)value.data, value.len) : 0;
	const size_t kept = len < size ? len : size - 1;

	memset(ret, 0, size);
	if (kept)
		memcpy(ret, value.data, kept);
}

static void get_mac(struct stretch value, struct interface_link *link)
{
	const size_t kept = value.len < sizeof(link->mac) ? value.len : sizeof(link->mac);

	memcpy(link->mac, value.data + value.len - kept, kept);
	link->mac_len = (uint8_t)kept;
}

static bool get_kind(struct stretch value, struct interface_link *link)
{
	struct stretch info[IFLA_INFO_KIND + 1];

	if (!parse_attributes(value, info, ARRAY_LEN(info)))
		return false;
	get_name(info[IFLA_INFO_KIND], link->kind, sizeof(link->kind));
	return true;
}

static int parse_link(const struct nlmsghdr *message, struct interfaces *into)
{
	struct stretch attributes[IFLA_PERM_ADDRESS + 1];
	struct ifinfomsg head;

	if (!message_holds(message, sizeof(head)))
		return -EBADMSG;
	memcpy(&head, NLMSG_DATA(message), sizeof(head));
	/* A bridge tells of its ports in messages of the same type. */
	if (head.ifi_family != AF_UNSPEC)
		return 0;
	if (!parse_attributes(message_attributes(message, sizeof(head)), attributes,
			      ARRAY_LEN(attributes)))
		return -EBADMSG;
	struct interface_link link = {
		.index = head.ifi_index,
		.flags = head.ifi_flags & LINK_FLAGS,
		.master = (int)get_u32(attributes[IFLA_MASTER], 0),
		.mac_permanent = attributes[IFLA_PERM_ADDRESS].len > 0,
	};
	const struct stretch mac =
		attributes[link.mac_permanent ? IFLA_PERM_ADDRESS : IFLA_ADDRESS];

	get_name(attributes[IFLA_IFNAME], link.name, sizeof(link.name));
	if (mac.len)
		get_mac(mac, &link);
	if (link.index <= 0 || !link.name[0] || !get_kind(attributes[IFLA_LINKINFO], &link))
		return -EBADMSG;
	if (into->links_len >= NETLINK_PARSE_MAX)
		return -E2BIG;
	GROW(into->links, into->links_len, into->links_cap);
	into->links[into->links_len++] = link;
	return 0;
}

static void get_lifetimes(struct stretch value, struct interface_address *address)
{
	struct ifa_cacheinfo info;

	address->valid_s = UINT32_MAX;
	address->preferred_s = UINT32_MAX;
	if (!value.data || value.len < sizeof(info))
		return;
	memcpy(&info, value.data, sizeof(info));
	address->valid_s = info.ifa_valid;
	address->preferred_s = info.ifa_prefered;
}

static int parse_address(const struct nlmsghdr *message, struct interfaces *into)
{
	struct stretch attributes[IFA_FLAGS + 1];
	struct ifaddrmsg head;

	if (!message_holds(message, sizeof(head)))
		return -EBADMSG;
	memcpy(&head, NLMSG_DATA(message), sizeof(head));
	if (head.ifa_family != AF_INET && head.ifa_family != AF_INET6)
		return 0;
	if (!parse_attributes(message_attributes(message, sizeof(head)), attributes,
			      ARRAY_LEN(attributes)))
		return -EBADMSG;
	/* On a point-to-point link IFA_ADDRESS is the other end; else IPv6 leaves IFA_LOCAL out. */
	const struct stretch own = attributes[attributes[IFA_LOCAL].data ? IFA_LOCAL : IFA_ADDRESS];
	struct interface_address address = {
		.link = (int)head.ifa_index,
		.address = get_address(own, head.ifa_family),
		.prefix = head.ifa_prefixlen,
		.scope = head.ifa_scope,
		.flags = get_u32(attributes[IFA_FLAGS], head.ifa_flags),
	};

	get_lifetimes(attributes[IFA_CACHEINFO], &address);
	if (address.link <= 0 || !address.address.family ||
	    address.prefix > (head.ifa_family == AF_INET ? 32 : 128))
		return -EBADMSG;
	if (into->addresses_len >= NETLINK_PARSE_MAX)
		return -E2BIG;
	GROW(into->addresses, into->addresses_len, into->addresses_cap);
	into->addresses[into->addresses_len++] = address;
	return 0;
}

/* RTA_VIA is the highest that is read. */
enum { ROUTE_ATTRIBUTES = RTA_VIA + 1 };

/* RTA_VIA: a gateway of another family than the route's. */
static struct address get_via(struct stretch value)
{
	sa_family_t family;

	if (!value.data || value.len < sizeof(family))
		return (struct address){ 0 };
	memcpy(&family, value.data, sizeof(family));
	return get_address(behind(value.data, value.len, sizeof(family)), family);
}

static struct address get_gateway(const struct stretch attributes[static ROUTE_ATTRIBUTES],
				  int family)
{
	if (attributes[RTA_GATEWAY].data)
		return get_address(attributes[RTA_GATEWAY], family);
	return get_via(attributes[RTA_VIA]);
}

static int add_route(const struct interface_route *route, struct interfaces *into)
{
	if (into->routes_len >= NETLINK_PARSE_MAX)
		return -E2BIG;
	GROW(into->routes, into->routes_len, into->routes_cap);
	into->routes[into->routes_len++] = *route;
	return 0;
}

static int add_next_hops(struct stretch hops, struct interface_route route, struct interfaces *into)
{
	while (hops.len >= sizeof(struct rtnexthop)) {
		struct stretch attributes[ROUTE_ATTRIBUTES];
		struct rtnexthop hop;

		memcpy(&hop, hops.data, sizeof(hop));
		if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > hops.len)
			return -EBADMSG;
		if (!parse_attributes(behind(hops.data, hop.rtnh_len, RTNH_SPACE(0)), attributes,
				      ARRAY_LEN(attributes)))
			return -EBADMSG;
		route.link = hop.rtnh_ifindex;
		route.gateway = get_gateway(attributes, route.family);
		const int r = add_route(&route, into);
		if (r < 0)
			return r;
		hops = behind(hops.data, hops.len, RTNH_ALIGN(hop.rtnh_len));
	}
	return 0;
}

/* What does not even need the attributes: IPv4 or IPv6, to everywhere, used to send. */
static bool is_default_route(const struct rtmsg *head)
{
	return (head->rtm_family == AF_INET || head->rtm_family == AF_INET6) &&
	       head->rtm_dst_len == 0 && head->rtm_type == RTN_UNICAST &&
	       head->rtm_table != RT_TABLE_LOCAL && !(head->rtm_flags & RTM_F_CLONED);
}

static int parse_route(const struct nlmsghdr *message, struct interfaces *into)
{
	struct stretch attributes[ROUTE_ATTRIBUTES];
	struct rtmsg head;

	if (!message_holds(message, sizeof(head)))
		return -EBADMSG;
	memcpy(&head, NLMSG_DATA(message), sizeof(head));
	if (!is_default_route(&head))
		return 0;
	if (!parse_attributes(message_attributes(message, sizeof(head)), attributes,
			      ARRAY_LEN(attributes)))
		return -EBADMSG;
	const struct interface_route route = {
		.family = head.rtm_family,
		.table = get_u32(attributes[RTA_TABLE], head.rtm_table),
		.metric = get_u32(attributes[RTA_PRIORITY], 0),
		.link = (int)get_u32(attributes[RTA_OIF], 0),
		.gateway = get_gateway(attributes, head.rtm_family),
		.source = get_address(attributes[RTA_PREFSRC], head.rtm_family),
	};

	if (attributes[RTA_MULTIPATH].data)
		return add_next_hops(attributes[RTA_MULTIPATH], route, into);
	return add_route(&route, into);
}

int netlink_parse_message(const struct nlmsghdr *message, struct interfaces *into)
{
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
		return parse_link(message, into);
	case RTM_NEWADDR:
		return parse_address(message, into);
	case RTM_NEWROUTE:
		return parse_route(message, into);
	default:
		return 0;
	}
}

/* The message at the front of the rest, or NULL; the rest moves on. */
static const struct nlmsghdr *next_message(struct stretch *rest)
{
	const void *front = rest->data;
	const struct nlmsghdr *message = front;

	if (rest->len < NLMSG_HDRLEN || message->nlmsg_len < NLMSG_HDRLEN ||
	    message->nlmsg_len > rest->len)
		return NULL;
	*rest = behind(rest->data, rest->len, NLMSG_ALIGN((size_t)message->nlmsg_len));
	return message;
}

int netlink_parse(const void *data, size_t len, struct interfaces *into)
{
	struct stretch rest = { data, len };

	while (rest.len) {
		const struct nlmsghdr *message = next_message(&rest);
		if (!message)
			return -EBADMSG;
		const int r = netlink_parse_message(message, into);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Routes to somewhere come and go by themselves on a router; only default routes are ours. */
static bool is_change(const struct nlmsghdr *message)
{
	struct rtmsg head;

	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return true;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (!message_holds(message, sizeof(head)))
			return true;
		memcpy(&head, NLMSG_DATA(message), sizeof(head));
		return is_default_route(&head);
	default:
		return false;
	}
}

bool netlink_parse_has_change(const void *data, size_t len)
{
	struct stretch rest = { data, len };

	while (rest.len) {
		const struct nlmsghdr *message = next_message(&rest);
		if (!message)
			return true;
		if (is_change(message))
			return true;
	}
	return false;
}

int netlink_parse_source(const struct nlmsghdr *message, struct address *ret)
{
	struct stretch attributes[RTA_PREFSRC + 1];
	struct rtmsg head;

	if (message->nlmsg_type != RTM_NEWROUTE || !message_holds(message, sizeof(head)))
		return -EBADMSG;
	memcpy(&head, NLMSG_DATA(message), sizeof(head));
	if (!parse_attributes(message_attributes(message, sizeof(head)), attributes,
			      ARRAY_LEN(attributes)))
		return -EBADMSG;
	if (head.rtm_type != RTN_UNICAST && head.rtm_type != RTN_LOCAL)
		return -ENETUNREACH;
	const struct address source = get_address(attributes[RTA_PREFSRC], head.rtm_family);
	if (!source.family)
		return -EADDRNOTAVAIL;
	*ret = source;
	return 0;
}
