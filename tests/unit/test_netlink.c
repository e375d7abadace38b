/* SPDX-License-Identifier: MIT */
/*
 * The messages of rtnetlink as bytes, then the real kernel in network namespaces
 * of our own (root and the program `ip` are needed for those). Faults that the
 * kernel shows seldom are made between libnl and the module: this program has
 * functions of its own in front of libnl's nl_send_auto() and nl_recv().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <malloc.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ev.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/network/address.h"
#include "cmsnode/network/address_choice.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink.h"
#include "cmsnode/network/netlink_parse.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc installs no header */
#endif

extern char **environ;

static struct address parsed(const char *text)
{
	struct address address = { 0 };

	if (text)
		assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static void assert_address(const struct address *address, const char *expected)
{
	char text[ADDRESS_TEXT_SIZE];

	address_format(address, text);
	assert_string_equal(text, expected ? expected : "none");
}

/* Building messages */

static void put(struct buf *buf, const void *data, size_t len)
{
	static const char zeros[4];

	assert_int_equal(buf_add(buf, data, len), 0);
	assert_int_equal(buf_add(buf, zeros, NLMSG_ALIGN(len) - len), 0);
}

static size_t put_message(struct buf *buf, int type, const void *fixed, size_t len)
{
	const struct nlmsghdr head = { .nlmsg_type = (uint16_t)type };
	const size_t at = buf->len;

	put(buf, &head, sizeof(head));
	put(buf, fixed, len);
	return at;
}

static void end_message(struct buf *buf, size_t at)
{
	const uint32_t len = (uint32_t)(buf->len - at);

	memcpy(buf->data + at + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
}

static size_t put_attribute(struct buf *buf, int type, const void *data, size_t len)
{
	const struct nlattr head = {
		.nla_type = (uint16_t)type,
		.nla_len = (uint16_t)(NLA_HDRLEN + len),
	};
	const size_t at = buf->len;

	put(buf, &head, sizeof(head));
	put(buf, data, len);
	return at;
}

static void put_u32(struct buf *buf, int type, uint32_t value)
{
	(void)put_attribute(buf, type, &value, sizeof(value));
}

static void put_address(struct buf *buf, int type, const char *text)
{
	const struct address address = parsed(text);

	if (text)
		(void)put_attribute(buf, type, address.bytes, address.family == AF_INET ? 4 : 16);
}

static void end_attribute(struct buf *buf, size_t at)
{
	const uint16_t len = (uint16_t)(buf->len - at);

	memcpy(buf->data + at + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

/* Links */

static void test_parse_link(void **state)
{
	static const uint8_t long_mac[20] = { [0] = 0x80, [12] = 0xaa, [19] = 0xbb };
	static const struct {
		const char *name;
		const char *kind;
		const void *mac;
		size_t mac_len;
		const void *permanent;
		size_t permanent_len;
		int family;
		int expected; /* links, or a negative code */
		const char *expected_mac;
		bool expected_permanent;
	} cases[] = {
		{ "lo", NULL, "\0\0\0\0\0\0", 6, NULL, 0, 0, 1, "000000000000", false },
		{ "ens5", NULL, "\x02\1\2\3\4\5", 6, "\x02\1\2\3\4\5", 6, 0, 1, "020102030405",
		  true },
		{ "eno1", NULL, "\x02\1\2\3\4\5", 6, "\x02\1\2\3\4\6", 6, 0, 1, "020102030406",
		  true },
		{ "veth12", "veth", "\x02\1\2\3\4\5", 6, NULL, 0, 0, 1, "020102030405", false },
		{ "ib0", NULL, long_mac, 20, NULL, 0, 0, 1, "aa000000000000bb", false },
		{ "tun0", "tun", NULL, 0, NULL, 0, 0, 1, "", false },
		{ "fifteen-letters", "a-kind-of-sixteen-and-more", NULL, 0, NULL, 0, 0, 1, "",
		  false },
		{ "", NULL, NULL, 0, NULL, 0, 0, -EBADMSG, "", false },
		{ "br0", "bridge", NULL, 0, NULL, 0, AF_BRIDGE, 0, "", false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct ifinfomsg head = {
			.ifi_family = (unsigned char)cases[i].family,
			.ifi_index = 7,
			.ifi_flags = IFF_UP | IFF_RUNNING | IFF_PROMISC | IFF_MULTICAST,
		};
		CLEAN(interfaces) struct interfaces all = { 0 };
		CLEAN(buf) struct buf buf = BUF_INIT(0);
		const size_t at = put_message(&buf, RTM_NEWLINK, &head, sizeof(head));

		print_message("  '%s'\n", cases[i].name);
		(void)put_attribute(&buf, IFLA_IFNAME, cases[i].name, strlen(cases[i].name) + 1);
		if (cases[i].mac)
			(void)put_attribute(&buf, IFLA_ADDRESS, cases[i].mac, cases[i].mac_len);
		if (cases[i].permanent)
			(void)put_attribute(&buf, IFLA_PERM_ADDRESS, cases[i].permanent,
					    cases[i].permanent_len);
		put_u32(&buf, IFLA_MASTER, 3);
		if (cases[i].kind) {
			/* Newer kernels set this bit in nested attributes. */
			const size_t info =
				put_attribute(&buf, IFLA_LINKINFO | NLA_F_NESTED, "", 0);

			(void)put_attribute(&buf, IFLA_INFO_KIND, cases[i].kind,
					    strlen(cases[i].kind));
			end_attribute(&buf, info);
		}
		end_message(&buf, at);
		const int r = netlink_parse(buf.data, buf.len, &all);

		assert_int_equal(r < 0 ? r : (int)all.links_len, cases[i].expected);
		if (!all.links_len)
			continue;
		char mac[17];

		str_hex(all.links[0].mac, all.links[0].mac_len, mac);
		assert_string_equal(mac, cases[i].expected_mac);
		assert_int_equal(all.links[0].mac_permanent, cases[i].expected_permanent);
		assert_string_equal(all.links[0].name, cases[i].name);
		assert_int_equal(all.links[0].index, 7);
		assert_int_equal(all.links[0].master, 3);
		assert_int_equal(all.links[0].flags, IFF_UP | IFF_RUNNING);
		assert_memory_equal(all.links[0].kind, cases[i].kind ? cases[i].kind : "",
				    cases[i].kind ? strnlen(cases[i].kind, 15) : 0);
		assert_int_equal(all.links[0].kind[15], 0);
	}
}

/* Addresses */

static void test_parse_address(void **state)
{
	static const struct {
		const char *name;
		int family;
		int prefix;
		const char *address;
		const char *local;
		uint32_t flags32; /* 0: not sent */
		bool lifetimes;
		const char *expected; /* NULL: malformed; "": left out */
		uint32_t expected_flags;
	} cases[] = {
		{ "IPv4", AF_INET, 24, "10.0.0.5", "10.0.0.5", 0x80, false, "10.0.0.5", 0x80 },
		{ "point to point", AF_INET, 32, "10.8.0.1", "10.8.0.2", 0, false, "10.8.0.2",
		  0x01 },
		{ "IPv6", AF_INET6, 64, "2001:db8::5", NULL, 0, true, "2001:db8::5", 0x01 },
		{ "IPv6 with a peer", AF_INET6, 128, "fd00::1", "fd00::2", 0, false, "fd00::2",
		  0x01 },
		{ "32 bits of flags", AF_INET6, 64, "fd00::1", NULL, 0x300, true, "fd00::1",
		  0x300 },
		{ "another family", AF_DECnet, 0, NULL, NULL, 0, false, "", 0 },
		{ "no address", AF_INET, 24, NULL, NULL, 0, false, NULL, 0 },
		{ "length of the other family", AF_INET, 24, "fd00::1", NULL, 0, false, NULL, 0 },
		{ "prefix too long", AF_INET, 33, "10.0.0.5", NULL, 0, false, NULL, 0 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct ifaddrmsg head = {
			.ifa_family = (unsigned char)cases[i].family,
			.ifa_prefixlen = (unsigned char)cases[i].prefix,
			.ifa_flags = 0x01,
			.ifa_scope = 200,
			.ifa_index = 4,
		};
		const struct ifa_cacheinfo info = { .ifa_prefered = 1800, .ifa_valid = 3600 };
		CLEAN(interfaces) struct interfaces all = { 0 };
		CLEAN(buf) struct buf buf = BUF_INIT(0);
		const size_t at = put_message(&buf, RTM_NEWADDR, &head, sizeof(head));

		print_message("  %s\n", cases[i].name);
		put_address(&buf, IFA_ADDRESS, cases[i].address);
		put_address(&buf, IFA_LOCAL, cases[i].local);
		if (cases[i].flags32)
			put_u32(&buf, IFA_FLAGS, cases[i].flags32);
		if (cases[i].lifetimes)
			(void)put_attribute(&buf, IFA_CACHEINFO, &info, sizeof(info));
		end_message(&buf, at);
		assert_int_equal(netlink_parse(buf.data, buf.len, &all),
				 cases[i].expected ? 0 : -EBADMSG);
		if (!cases[i].expected || !cases[i].expected[0]) {
			assert_int_equal(all.addresses_len, 0);
			continue;
		}
		assert_int_equal(all.addresses_len, 1);
		assert_address(&all.addresses[0].address, cases[i].expected);
		assert_int_equal(all.addresses[0].link, 4);
		assert_int_equal(all.addresses[0].prefix, cases[i].prefix);
		assert_int_equal(all.addresses[0].scope, 200);
		assert_int_equal(all.addresses[0].flags, cases[i].expected_flags);
		assert_int_equal(all.addresses[0].valid_s, cases[i].lifetimes ? 3600 : UINT32_MAX);
		assert_int_equal(all.addresses[0].preferred_s,
				 cases[i].lifetimes ? 1800 : UINT32_MAX);
	}
}

/* Routes */

static void put_via(struct buf *buf, const char *text)
{
	const struct address address = parsed(text);
	const uint16_t family = (uint16_t)address.family;
	unsigned char via[18];

	memcpy(via, &family, 2);
	memcpy(via + 2, address.bytes, 16);
	(void)put_attribute(buf, RTA_VIA, via, address.family == AF_INET ? 6 : 18);
}

static void test_which_routes(void **state)
{
	static const struct {
		const char *name;
		struct rtmsg head;
		uint32_t table;
		size_t expected;
		bool change;
	} cases[] = {
		{ "default",
		  { .rtm_family = AF_INET, .rtm_table = 254, .rtm_type = RTN_UNICAST },
		  254,
		  1,
		  true },
		{ "default, IPv6",
		  { .rtm_family = AF_INET6, .rtm_table = 254, .rtm_type = RTN_UNICAST },
		  254,
		  1,
		  true },
		{ "a table above 255",
		  { .rtm_family = AF_INET, .rtm_table = 252, .rtm_type = RTN_UNICAST },
		  51820,
		  1,
		  true },
		{ "to a network",
		  { .rtm_family = AF_INET,
		    .rtm_dst_len = 8,
		    .rtm_table = 254,
		    .rtm_type = RTN_UNICAST },
		  254,
		  0,
		  false },
		{ "unreachable",
		  { .rtm_family = AF_INET6, .rtm_table = 254, .rtm_type = RTN_UNREACHABLE },
		  254,
		  0,
		  false },
		{ "blackhole",
		  { .rtm_family = AF_INET, .rtm_table = 254, .rtm_type = RTN_BLACKHOLE },
		  254,
		  0,
		  false },
		{ "the local table",
		  { .rtm_family = AF_INET, .rtm_table = RT_TABLE_LOCAL, .rtm_type = RTN_UNICAST },
		  255,
		  0,
		  false },
		{ "from the cache",
		  { .rtm_family = AF_INET,
		    .rtm_table = 254,
		    .rtm_type = RTN_UNICAST,
		    .rtm_flags = RTM_F_CLONED },
		  254,
		  0,
		  false },
		{ "another family",
		  { .rtm_family = AF_MPLS, .rtm_table = 254, .rtm_type = RTN_UNICAST },
		  254,
		  0,
		  false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(interfaces) struct interfaces all = { 0 };
		CLEAN(buf) struct buf buf = BUF_INIT(0);
		const size_t at =
			put_message(&buf, RTM_NEWROUTE, &cases[i].head, sizeof(cases[i].head));

		print_message("  %s\n", cases[i].name);
		put_u32(&buf, RTA_TABLE, cases[i].table);
		put_u32(&buf, RTA_PRIORITY, 512);
		put_u32(&buf, RTA_OIF, 2);
		end_message(&buf, at);
		assert_int_equal(netlink_parse(buf.data, buf.len, &all), 0);
		assert_int_equal(all.routes_len, cases[i].expected);
		assert_int_equal(netlink_parse_has_change(buf.data, buf.len), cases[i].change);
		if (!all.routes_len)
			continue;
		assert_int_equal(all.routes[0].table, cases[i].table);
		assert_int_equal(all.routes[0].metric, 512);
		assert_int_equal(all.routes[0].link, 2);
		assert_int_equal(all.routes[0].gateway.family, 0);
		assert_int_equal(all.routes[0].source.family, 0);
	}
}

static const struct rtmsg default_route = {
	.rtm_family = AF_INET,
	.rtm_table = 254,
	.rtm_type = RTN_UNICAST,
};

static void test_gateways(void **state)
{
	CLEAN(interfaces) struct interfaces all = { 0 };
	CLEAN(buf) struct buf buf = BUF_INIT(0);

	(void)state;
	size_t at = put_message(&buf, RTM_NEWROUTE, &default_route, sizeof(default_route));

	put_address(&buf, RTA_GATEWAY, "10.0.0.1");
	put_address(&buf, RTA_PREFSRC, "10.0.0.5");
	end_message(&buf, at);
	at = put_message(&buf, RTM_NEWROUTE, &default_route, sizeof(default_route));
	put_via(&buf, "fe80::1");
	end_message(&buf, at);
	assert_int_equal(netlink_parse(buf.data, buf.len, &all), 0);
	assert_int_equal(all.routes_len, 2);
	assert_address(&all.routes[0].gateway, "10.0.0.1");
	assert_address(&all.routes[0].source, "10.0.0.5");
	/* Without RTA_TABLE the eight bits of the head count. */
	assert_int_equal(all.routes[0].table, 254);
	assert_address(&all.routes[1].gateway, "fe80::1");
	assert_int_equal(all.routes[1].family, AF_INET);
}

static void put_hop(struct buf *buf, int link, const char *gateway)
{
	struct rtnexthop hop = { .rtnh_ifindex = link };
	const size_t at = buf->len;

	put(buf, &hop, sizeof(hop));
	if (strchr(gateway, ':'))
		put_via(buf, gateway);
	else
		put_address(buf, RTA_GATEWAY, gateway);
	hop.rtnh_len = (unsigned short)(buf->len - at);
	memcpy(buf->data + at, &hop, sizeof(hop));
}

static void test_multipath(void **state)
{
	static const struct {
		int link;
		const char *gateway;
	} hops[] = { { 2, "10.0.0.1" }, { 3, "10.1.0.1" }, { 4, "fe80::1" } };
	CLEAN(interfaces) struct interfaces all = { 0 };
	CLEAN(buf) struct buf buf = BUF_INIT(0);
	const size_t at = put_message(&buf, RTM_NEWROUTE, &default_route, sizeof(default_route));
	const size_t multipath = put_attribute(&buf, RTA_MULTIPATH, "", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hops); i++)
		put_hop(&buf, hops[i].link, hops[i].gateway);
	end_attribute(&buf, multipath);
	put_u32(&buf, RTA_PRIORITY, 9);
	end_message(&buf, at);
	assert_int_equal(netlink_parse(buf.data, buf.len, &all), 0);
	assert_int_equal(all.routes_len, ARRAY_LEN(hops));
	for (size_t i = 0; i < ARRAY_LEN(hops); i++) {
		assert_int_equal(all.routes[i].link, hops[i].link);
		assert_int_equal(all.routes[i].metric, 9);
		assert_address(&all.routes[i].gateway, hops[i].gateway);
	}
}

static void test_source_answer(void **state)
{
	static const struct {
		int message;
		int family;
		int type;
		const char *source;
		int expected;
	} cases[] = {
		{ RTM_NEWROUTE, AF_INET, RTN_UNICAST, "10.0.0.5", 0 },
		{ RTM_NEWROUTE, AF_INET6, RTN_UNICAST, "2001:db8::5", 0 },
		{ RTM_NEWROUTE, AF_INET, RTN_LOCAL, "127.0.0.1", 0 },
		{ RTM_NEWROUTE, AF_INET6, RTN_UNREACHABLE, "2001:db8::5", -ENETUNREACH },
		{ RTM_NEWROUTE, AF_INET, RTN_UNICAST, NULL, -EADDRNOTAVAIL },
		{ RTM_NEWROUTE, AF_INET, RTN_UNICAST, "2001:db8::5", -EADDRNOTAVAIL },
		{ RTM_NEWLINK, AF_INET, RTN_UNICAST, "10.0.0.5", -EBADMSG },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct rtmsg head = {
			.rtm_family = (unsigned char)cases[i].family,
			.rtm_type = (unsigned char)cases[i].type,
		};
		CLEAN(buf) struct buf buf = BUF_INIT(0);
		struct address source = { 0 };
		const size_t at = put_message(&buf, cases[i].message, &head, sizeof(head));

		put_address(&buf, RTA_PREFSRC, cases[i].source);
		end_message(&buf, at);
		assert_int_equal(netlink_parse_source((const void *)buf.data, &source),
				 cases[i].expected);
		assert_address(&source, cases[i].expected ? NULL : cases[i].source);
	}
}

/* Damage */

static void put_whole_host(struct buf *buf)
{
	const struct ifinfomsg link = { .ifi_index = 7 };
	const struct ifaddrmsg address = { .ifa_family = AF_INET,
					   .ifa_prefixlen = 24,
					   .ifa_index = 7 };
	size_t at = put_message(buf, RTM_NEWLINK, &link, sizeof(link));

	(void)put_attribute(buf, IFLA_IFNAME, "eth0", 5);
	const size_t info = put_attribute(buf, IFLA_LINKINFO, "", 0);

	(void)put_attribute(buf, IFLA_INFO_KIND, "veth", 5);
	end_attribute(buf, info);
	end_message(buf, at);
	at = put_message(buf, RTM_NEWADDR, &address, sizeof(address));
	put_address(buf, IFA_LOCAL, "10.0.0.5");
	end_message(buf, at);
	at = put_message(buf, RTM_NEWROUTE, &default_route, sizeof(default_route));
	const size_t multipath = put_attribute(buf, RTA_MULTIPATH, "", 0);

	put_hop(buf, 7, "10.0.0.1");
	end_attribute(buf, multipath);
	end_message(buf, at);
}

/* The sanitizers see a byte read beyond the end: the copy is exactly as long as it says. */
static void test_cut_anywhere(void **state)
{
	CLEAN(buf) struct buf whole = BUF_INIT(0);
	size_t accepted = 0;

	(void)state;
	put_whole_host(&whole);
	for (size_t len = 0; len <= whole.len; len++) {
		CLEAN(interfaces) struct interfaces all = { 0 };
		void *copy = xmemdup(whole.data, len);

		accepted += netlink_parse(copy, len, &all) == 0;
		(void)netlink_parse_has_change(copy, len);
		free(copy);
	}
	/* Between messages only: before each of the three, and behind the last. */
	assert_int_equal(accepted, 4);
}

static void test_each_byte_wrong(void **state)
{
	static const unsigned char values[] = { 0x00, 0x01, 0x03, 0x7f, 0x80, 0xff };
	CLEAN(buf) struct buf whole = BUF_INIT(0);

	(void)state;
	put_whole_host(&whole);
	for (size_t at = 0; at < whole.len; at++) {
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			CLEAN(interfaces) struct interfaces all = { 0 };
			unsigned char *copy = xmemdup(whole.data, whole.len);

			copy[at] = values[i];
			const int r = netlink_parse(copy, whole.len, &all);

			assert_true(r == 0 || r == -EBADMSG);
			free(copy);
		}
	}
}

static void test_impossible_lengths(void **state)
{
	static const struct {
		const char *name;
		uint16_t length; /* of the attribute */
	} cases[] = { { "zero", 0 }, { "less than its head", 3 }, { "beyond the message", 64 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct ifinfomsg head = { .ifi_index = 7 };
		CLEAN(interfaces) struct interfaces all = { 0 };
		CLEAN(buf) struct buf buf = BUF_INIT(0);
		const size_t at = put_message(&buf, RTM_NEWLINK, &head, sizeof(head));
		const size_t name = put_attribute(&buf, IFLA_IFNAME, "eth0", 5);

		print_message("  %s\n", cases[i].name);
		end_message(&buf, at);
		memcpy(buf.data + name, &cases[i].length, sizeof(cases[i].length));
		assert_int_equal(netlink_parse(buf.data, buf.len, &all), -EBADMSG);
	}
}

static void test_ceiling(void **state)
{
	CLEAN(interfaces) struct interfaces all = { 0 };
	CLEAN(buf) struct buf whole = BUF_INIT(0);
	int r = 0;

	(void)state;
	put_whole_host(&whole);
	for (size_t i = 0; r == 0 && i <= NETLINK_PARSE_MAX; i++)
		r = netlink_parse(whole.data, whole.len, &all);
	assert_int_equal(r, -E2BIG);
	assert_int_equal(all.links_len, NETLINK_PARSE_MAX);
}

/* Faults between libnl and the module */

static struct {
	int requests; /* sent so far */
	int interrupted; /* dumps to come that are marked as interrupted, */
	bool mark_next; /* ... in their first message */
	int silent; /* answers to come that time out */
	int broken; /* reads of events to come that fail for good */
	int truncated; /* reads of events to come that were too long for the reader */
	int event_buffer; /* bytes, seen at the last read of events */
	int events; /* reads of events that brought something, or told of a loss */
	bool foreign_events; /* events seem to come from another process */
} faults;

static bool use_up(int *count)
{
	if (*count <= 0)
		return false;
	--*count;
	return true;
}

int nl_send_auto(struct nl_sock *sock, struct nl_msg *message)
{
	int (*real)(struct nl_sock *, struct nl_msg *);

	*(void **)&real = dlsym(RTLD_NEXT, "nl_send_auto");
	faults.requests++;
	if (nlmsg_hdr(message)->nlmsg_type == RTM_GETLINK)
		faults.mark_next = use_up(&faults.interrupted);
	return real(sock, message);
}

int nl_recv(struct nl_sock *sock, struct sockaddr_nl *from, unsigned char **data,
	    struct ucred **creds)
{
	const bool events = fcntl(nl_socket_get_fd(sock), F_GETFL) & O_NONBLOCK;
	int (*real)(struct nl_sock *, struct sockaddr_nl *, unsigned char **, struct ucred **);
	socklen_t size = sizeof(faults.event_buffer);

	*(void **)&real = dlsym(RTLD_NEXT, "nl_recv");
	if (events)
		(void)getsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_RCVBUF,
				 &faults.event_buffer, &size);
	if (events && use_up(&faults.broken))
		return -NLE_BAD_SOCK;
	if (!events && use_up(&faults.silent))
		return -NLE_AGAIN;
	const int n = real(sock, from, data, creds);

	if (events && (n > 0 || n == -NLE_NOMEM))
		faults.events++;
	if (events && n > 0 && use_up(&faults.truncated)) {
		free(*data);
		return -NLE_MSG_TRUNC;
	}
	if (events && n > 0 && faults.foreign_events)
		from->nl_pid = 4711;
	if (!events && n > 0 && faults.mark_next) {
		faults.mark_next = false;
		((struct nlmsghdr *)(void *)*data)->nlmsg_flags |= NLM_F_DUMP_INTR;
	}
	return n;
}

/* The kernel */

struct kernel {
	struct ev_loop *loop;
	struct netlink *netlink;
	int changes;
	int64_t first_change_ms;
	char log[4096];
};

static struct kernel *kernel; /* also for the log's sink, which has no context */

static pid_t spawn_ip(const char *arguments)
{
	CLEAN(str_list) struct str_list words = { 0 };
	char *argv[32] = { NULL };
	pid_t pid;

	str_list_split(&words, "ip", ' ');
	str_list_split(&words, arguments, ' ');
	assert_true(words.len < ARRAY_LEN(argv));
	for (size_t i = 0; i < words.len; i++)
		argv[i] = words.items[i];
	return posix_spawnp(&pid, "ip", NULL, NULL, argv, environ) == 0 ? pid : -1;
}

static bool run_ip(const char *arguments)
{
	const pid_t pid = spawn_ip(arguments);
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void ip(const char *arguments)
{
	if (!run_ip(arguments))
		fail_msg("ip %s", arguments);
}

static pid_t spawn_ip_batch(const char *commands, char path[static 64])
{
	(void)snprintf(path, 64, "/tmp/test_netlink.XXXXXX");
	CLEAN(fd) int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, commands, strlen(commands)), strlen(commands));
	CLEAN(str) char *arguments = xasprintf("-batch %s", path);

	return spawn_ip(arguments);
}

static void ip_batch(const char *commands)
{
	char path[64];
	const pid_t pid = spawn_ip_batch(commands, path);
	int status = -1;
	const pid_t ended = waitpid(pid, &status, 0);

	(void)unlink(path);
	assert_int_equal(ended, pid);
	assert_int_equal(status, 0);
}

static void note_log(enum log_level level, const char *module, const char *text)
{
	const size_t used = strlen(kernel->log);

	(void)snprintf(kernel->log + used, sizeof(kernel->log) - used, "%d %s: %s\n", (int)level,
		       module, text);
}

static void count_change(void *ctx)
{
	struct kernel *k = ctx;

	if (!k->changes++)
		k->first_change_ms = clock_now_ms();
}

static const char *missing_namespace(void)
{
	if (geteuid() != 0)
		return "not root";
	if (unshare(CLONE_NEWNET) < 0)
		return "unshare(CLONE_NEWNET) is refused";
	if (!run_ip("link set lo up"))
		return "the program ip is missing or refused";
	return NULL;
}

/* A fresh namespace like a host with Docker; eth0's other end, peer0, is up. */
static int set_up_host(void **state)
{
	const char *missing = missing_namespace();

	memset(&faults, 0, sizeof(faults));
	kernel = xcalloc(1, sizeof(*kernel));
	*state = kernel;
	if (missing) {
		print_message("SKIP: no network namespace of our own: %s\n", missing);
		return 0;
	}
	ip("link add docker0 type bridge");
	ip("link add eth0 type veth peer name peer0");
	/* Link-local addresses would finish duplicate address detection amid a test. */
	ip("link set docker0 addrgenmode none");
	ip("link set eth0 addrgenmode none");
	ip("link set peer0 addrgenmode none");
	ip("addr add 172.17.0.1/16 dev docker0");
	ip("link set docker0 up");
	ip("link set peer0 up");
	ip("link set eth0 up");
	ip("addr add 10.0.0.5/24 dev eth0");
	ip("addr add 10.0.0.6/24 dev eth0");
	ip("addr add 2001:db8::5/64 dev eth0 nodad");
	ip("route add default via 10.0.0.1 metric 512");
	kernel->loop = ev_loop_new(EVFLAG_AUTO);
	return 0;
}

static int tear_down_host(void **state)
{
	struct kernel *k = *state;

	log_set_sink(NULL);
	log_configure(LOG_LEVEL_INFO, false);
	netlink_free(k->netlink);
	if (k->loop)
		ev_loop_destroy(k->loop);
	free(k);
	kernel = NULL;
	return 0;
}

static void start_netlink(struct kernel *k)
{
	struct err err = { 0 };

	if (!k->loop)
		skip();
	log_configure(LOG_LEVEL_DEBUG, false);
	log_set_sink(note_log);
	k->netlink = netlink_new(k->loop, &err);
	if (!k->netlink)
		fail_msg("%s", err.msg);
	netlink_on_change(k->netlink, count_change, k);
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ONE);
}

static void run_for(struct kernel *k, int64_t ms)
{
	ev_timer tick;

	ev_now_update(k->loop);
	ev_timer_init(&tick, on_tick, (double)ms / 1000.0, 0.0);
	ev_timer_start(k->loop, &tick);
	ev_run(k->loop, 0);
	ev_timer_stop(k->loop, &tick);
}

/* The kernel tells of carriers up to a second later: wait that out, and our own debounce. */
static void settle(struct kernel *k)
{
	int before;

	do {
		before = faults.requests;
		run_for(k, 1300);
	} while (faults.requests != before);
	k->changes = 0;
	k->log[0] = '\0';
	faults.requests = 0;
}

static void wait_for_changes(struct kernel *k, int changes)
{
	const int64_t deadline_ms = clock_now_ms() + 5000;

	while (k->changes < changes && clock_now_ms() < deadline_ms)
		run_for(k, 10);
	assert_true(k->changes >= changes);
}

static const struct interface_address *find(const struct kernel *k, const char *text)
{
	const struct address address = parsed(text);

	return interfaces_find(netlink_snapshot(k->netlink), &address);
}

static const struct interface_link *find_link(const struct kernel *k, const char *name)
{
	return interfaces_link_by_name(netlink_snapshot(k->netlink), name);
}

static void test_first_snapshot(void **state)
{
	static const struct {
		const char *link;
		const char *kind;
		bool loopback;
	} links[] = { { "lo", "", true },
		      { "docker0", "bridge", false },
		      { "eth0", "veth", false } };
	struct kernel *k = *state;

	start_netlink(k);
	const struct interfaces *all = netlink_snapshot(k->netlink);

	assert_int_equal(all->links_len, 4);
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		const struct interface_link *link = find_link(k, links[i].link);

		assert_non_null(link);
		assert_string_equal(link->kind, links[i].kind);
		assert_true(link->flags & IFF_UP);
		assert_int_equal(!!(link->flags & IFF_LOOPBACK), links[i].loopback);
		assert_int_equal(link->mac_len, 6);
	}
	assert_int_equal(find(k, "172.17.0.1")->link, find_link(k, "docker0")->index);
	assert_int_equal(find(k, "10.0.0.5")->flags & IFA_F_SECONDARY, 0);
	assert_int_equal(find(k, "10.0.0.6")->flags & IFA_F_SECONDARY, IFA_F_SECONDARY);
	assert_int_equal(find(k, "10.0.0.5")->prefix, 24);
	assert_int_equal(find(k, "10.0.0.5")->valid_s, UINT32_MAX);
	assert_int_equal(find(k, "127.0.0.1")->scope, RT_SCOPE_HOST);
	assert_int_equal(all->routes_len, 1);
	assert_int_equal(all->routes[0].metric, 512);
	assert_int_equal(all->routes[0].table, RT_TABLE_MAIN);
	assert_int_equal(all->routes[0].link, find_link(k, "eth0")->index);
	assert_address(&all->routes[0].gateway, "10.0.0.1");
}

static void test_routes_of_the_kernel(void **state)
{
	struct kernel *k = *state;
	size_t hops = 0;
	bool policy = false;
	bool ipv6 = false;

	if (!k->loop)
		skip();
	ip("route add default metric 7 nexthop via 10.0.0.2 dev eth0 nexthop via 172.17.0.9 dev docker0");
	ip("route add default via 10.0.0.1 src 10.0.0.6 table 51820");
	ip("-4 route add default via inet6 2001:db8::1 dev eth0 metric 8");
	ip("-6 route add default via 2001:db8::1 metric 99");
	ip("-6 route add unreachable default metric 5000");
	start_netlink(k);
	const struct interfaces *all = netlink_snapshot(k->netlink);

	assert_int_equal(all->routes_len, 6);
	for (size_t i = 0; i < all->routes_len; i++) {
		const struct interface_route *route = &all->routes[i];

		if (route->metric == 7)
			hops++;
		if (route->metric == 8)
			assert_address(&route->gateway, "2001:db8::1");
		if (route->table == 51820) {
			policy = true;
			assert_address(&route->source, "10.0.0.6");
		}
		if (route->family == AF_INET6) {
			ipv6 = true;
			assert_int_equal(route->metric, 99);
		}
	}
	assert_int_equal(hops, 2);
	assert_true(policy && ipv6);
}

static void test_choice_on_a_docker_host(void **state)
{
	struct kernel *k = *state;
	struct address_choice choice;
	struct err err;

	start_netlink(k);
	struct address_question question = { .interfaces = netlink_snapshot(k->netlink) };

	address_choose(&question, &choice);
	print_message("  %s\n", choice.reason);
	assert_int_equal(choice.outcome, ADDRESS_CHOSEN);
	assert_address(&choice.address, "10.0.0.5");
	address_choice_fini(&choice);
	const struct address container = parsed("172.17.0.9");

	assert_int_equal(netlink_source(k->netlink, &container, &question.towards_store, &err), 0);
	address_choose(&question, &choice);
	assert_address(&choice.address, "172.17.0.1");
	address_choice_fini(&choice);
}

static void test_port_of_a_bridge(void **state)
{
	struct kernel *k = *state;

	if (!k->loop)
		skip();
	ip("link set peer0 master docker0");
	start_netlink(k);
	assert_int_equal(find_link(k, "peer0")->master, find_link(k, "docker0")->index);
	assert_int_equal(find_link(k, "eth0")->master, 0);
	assert_false(find_link(k, "eth0")->mac_permanent);
}

static bool has_77(const struct kernel *k)
{
	return find(k, "10.0.0.77");
}

static bool lacks_77(const struct kernel *k)
{
	return !find(k, "10.0.0.77");
}

static bool eth0_is_up(const struct kernel *k)
{
	return find_link(k, "eth0")->flags & IFF_UP;
}

static bool eth0_is_down(const struct kernel *k)
{
	return !eth0_is_up(k);
}

static bool has_route_7(const struct kernel *k)
{
	const struct interfaces *all = netlink_snapshot(k->netlink);

	return all->routes_len == 1 && all->routes[0].metric == 7;
}

static bool lacks_eth0(const struct kernel *k)
{
	return !find_link(k, "eth0") && !find(k, "10.0.0.5") &&
	       !netlink_snapshot(k->netlink)->routes_len;
}

static void test_changes(void **state)
{
	static const struct {
		const char *command;
		bool (*done)(const struct kernel *k);
	} steps[] = {
		{ "addr add 10.0.0.77/24 dev eth0", has_77 },
		{ "link set eth0 down", eth0_is_down },
		{ "link set eth0 up", eth0_is_up },
		{ "addr del 10.0.0.77/24 dev eth0", lacks_77 },
		{ "route add default dev eth0 metric 7", has_route_7 },
		{ "link del eth0", lacks_eth0 },
	};
	struct kernel *k = *state;

	start_netlink(k);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		const int64_t deadline_ms = clock_now_ms() + 5000;
		const int before = k->changes;

		print_message("  %s\n", steps[i].command);
		assert_false(steps[i].done(k));
		ip(steps[i].command);
		while (!steps[i].done(k) && clock_now_ms() < deadline_ms)
			run_for(k, 10);
		assert_true(steps[i].done(k));
		assert_true(k->changes > before);
	}
}

static void test_burst_is_one_change(void **state)
{
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	const int64_t before_ms = clock_now_ms();

	ip_batch("addr add 10.0.0.70/24 dev eth0\naddr add 10.0.0.71/24 dev eth0\n"
		 "addr add 10.0.0.72/24 dev eth0\naddr del 10.0.0.71/24 dev eth0\n");
	wait_for_changes(k, 1);
	assert_true(k->first_change_ms - before_ms >= 190);
	run_for(k, 1300);
	assert_int_equal(k->changes, 1);
	assert_int_equal(faults.requests, 3);
	assert_non_null(find(k, "10.0.0.72"));
	assert_null(find(k, "10.0.0.71"));
}

static void add_another(struct ev_loop *loop, ev_timer *w, int revents)
{
	int *next = w->data;
	CLEAN(str) char *command = xasprintf("addr add 10.0.1.%d/24 dev eth0", ++*next);

	(void)loop;
	(void)revents;
	ip(command);
}

/* Events each 100 ms would put a plain debounce of 200 ms off for ever. */
static void test_unrest_is_told_within_a_second(void **state)
{
	struct kernel *k = *state;
	int next = 0;
	ev_timer timer;

	start_netlink(k);
	settle(k);
	const int64_t before_ms = clock_now_ms();

	ev_timer_init(&timer, add_another, 0.0, 0.1);
	timer.data = &next;
	ev_timer_start(k->loop, &timer);
	run_for(k, 2500);
	ev_timer_stop(k->loop, &timer);
	assert_in_range(k->changes, 2, 3);
	assert_in_range(k->first_change_ms - before_ms, 900, 2000);
}

static void test_nothing_of_interest(void **state)
{
	static const char *const steps[] = {
		"link set eth0 mtu 1400",
		"link set eth0 promisc on",
		"route add 10.9.0.0/16 via 10.0.0.1",
	};
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		ip(steps[i]);
		run_for(k, 500);
		assert_int_equal(k->changes, 0);
	}
	/* The first two are events of a link; the route is not even a reason to look. */
	assert_int_equal(faults.requests, 6);
}

static size_t count_added(const struct kernel *k)
{
	const struct interfaces *all = netlink_snapshot(k->netlink);
	size_t added = 0;

	for (size_t i = 0; i < all->addresses_len; i++)
		added += all->addresses[i].prefix == 32;
	return added;
}

static void test_lost_events(void **state)
{
	CLEAN(buf) struct buf commands = BUF_INIT(0);
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	for (int i = 0; i < 4000; i++)
		assert_int_equal(buf_addf(&commands, "addr add 10.1.%d.%d/32 dev docker0\n",
					  i / 250, i % 250 + 1),
				 0);
	ip_batch(buf_str(&commands));
	wait_for_changes(k, 1);
	run_for(k, 1300);
	assert_non_null(strstr(k->log, "events were lost"));
	/* Root may go beyond the system's limit. */
	assert_true(faults.event_buffer >= 1 << 20);
	assert_non_null(find(k, "10.1.15.250"));
	assert_int_equal(count_added(k), 4000);
}

/* The storm */

enum {
	STORM_ADDED = 7000,
	STORM_REMOVED = 3000,
	STORM_AT_MOST_MS = 60000,
	/* netlink.c: timers fire at least this far apart, each dumps at most so often. */
	DUMPS_APART_MS = 200,
	REQUESTS_EACH = 5 * 3,
	MEMORY_AT_MOST = 2 << 20, /* live, behind the storm */
	PEAK_AT_MOST_KB = 16 << 10, /* resident, in its midst */
};

/* "10.I.J.K" of the i-th address. */
static void storm_address(int i, char ret[static 32])
{
	(void)snprintf(ret, 32, "10.1%02d.%d.%d", i / 40000, i / 200 % 200, i % 200 + 1);
}

/* Of every seven added three are removed again, soon behind: 10,000 changes. */
static char *storm_commands(void)
{
	struct buf commands = BUF_INIT(0);
	char text[32];

	for (int i = 0; i < STORM_ADDED; i++) {
		storm_address(i, text);
		(void)buf_addf(&commands, "addr add %s/32 dev docker0\n", text);
		for (int k = i - 6; i % 7 == 6 && k < i - 3; k++) {
			storm_address(k, text);
			(void)buf_addf(&commands, "addr del %s/32 dev docker0\n", text);
		}
	}
	return buf_steal(&commands);
}

static size_t memory_in_use(void)
{
#ifdef __SANITIZE_ADDRESS__
	return __sanitizer_get_current_allocated_bytes();
#else
	const struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
#endif
}

/* A line of /proc/self/status in kB, or -1. */
static long memory_status(const char *field)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long value = -1;

	while (file && value < 0 && fgets(line, sizeof(line), file))
		if (str_starts(line, field))
			value = strtol(line + strlen(field), NULL, 10);
	if (file)
		(void)fclose(file);
	return value;
}

/* From now on VmHWM tells the peak since now. */
static bool forget_peak(void)
{
	CLEAN(fd) int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "5", 1) == 1;
}

static void check_peak(long before_kb)
{
#ifdef __SANITIZE_ADDRESS__
	/* It keeps freed memory for a while, which says nothing about us. */
	(void)before_kb;
#else
	const long growth_kb = memory_status("VmHWM:") - before_kb;

	print_message("  resident at most %ld kB more\n", growth_kb);
	assert_in_range(growth_kb + PEAK_AT_MOST_KB, 0, 2 * PEAK_AT_MOST_KB);
#endif
}

/* Runs the loop until the program has ended; the number of calls of run_for(). */
static unsigned int run_until_ended(struct kernel *k, pid_t pid)
{
	const int64_t deadline_ms = clock_now_ms() + STORM_AT_MOST_MS;
	unsigned int runs = 0;
	int status = -1;
	pid_t ended = 0;

	while (!ended && clock_now_ms() < deadline_ms) {
		run_for(k, 10);
		runs++;
		ended = waitpid(pid, &status, WNOHANG);
	}
	assert_int_equal(ended, pid);
	assert_int_equal(status, 0);
	return runs;
}

static void check_storm_snapshot(const struct kernel *k)
{
	assert_int_equal(count_added(k), STORM_ADDED - STORM_REMOVED);
	for (int i = 0; i < STORM_ADDED; i++) {
		char text[32];

		storm_address(i, text);
		assert_int_equal(!find(k, text), i % 7 < 3);
	}
	assert_non_null(find(k, "10.0.0.5"));
}

static void test_storm(void **state)
{
	CLEAN(str) char *commands = storm_commands();
	struct kernel *k = *state;
	char path[64];

	start_netlink(k);
	settle(k);
	faults.events = 0;
	const bool peak = forget_peak();
	const long before_kb = memory_status("VmRSS:");
	const size_t before = memory_in_use();
	const unsigned int first_turn = ev_iteration(k->loop);
	const int64_t begin_ms = clock_now_ms();
	unsigned int runs = run_until_ended(k, spawn_ip_batch(commands, path));

	(void)unlink(path);
	while (count_added(k) != STORM_ADDED - STORM_REMOVED &&
	       clock_now_ms() < begin_ms + STORM_AT_MOST_MS) {
		run_for(k, 10);
		runs++;
	}
	const int64_t took_ms = clock_now_ms() - begin_ms;
	const unsigned int turns = ev_iteration(k->loop) - first_turn;

	print_message("  %lld ms: %d reads of events, %d requests, %u turns, %d changes told\n",
		      (long long)took_ms, faults.events, faults.requests, turns, k->changes);
	check_storm_snapshot(k);
	assert_in_range(k->changes, 1, took_ms / DUMPS_APART_MS + 2);
	assert_in_range(faults.requests, 3, REQUESTS_EACH * (took_ms / DUMPS_APART_MS + 2));
	/* A turn has a cause: something to read, a timer of ours, or (two of them) run_for()'s. */
	assert_in_range(turns, 1, (unsigned int)(faults.events + k->changes) + 3 * runs + 100);
	assert_in_range(memory_in_use(), 0, before + MEMORY_AT_MOST);
	if (peak)
		check_peak(before_kb);
	settle(k);
	const unsigned int quiet_turn = ev_iteration(k->loop);

	run_for(k, 1000);
	assert_int_equal(faults.requests, 0);
	assert_in_range(ev_iteration(k->loop) - quiet_turn, 1, 4);
}

static enum address_outcome outcome_now(const struct kernel *k)
{
	const struct address_question question = { .interfaces = netlink_snapshot(k->netlink) };
	struct address_choice choice;

	address_choose(&question, &choice);
	const enum address_outcome outcome = choice.outcome;

	print_message("  %s\n", choice.reason);
	address_choice_fini(&choice);
	return outcome;
}

static void test_all_addresses_lost_and_back(void **state)
{
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	assert_int_equal(outcome_now(k), ADDRESS_CHOSEN);
	ip_batch("addr flush dev eth0\naddr flush dev docker0\naddr flush dev lo\n");
	wait_for_changes(k, 1);
	run_for(k, 500);
	assert_int_equal(netlink_snapshot(k->netlink)->addresses_len, 0);
	/* With its addresses IPv4 loses its routes. */
	assert_int_equal(netlink_snapshot(k->netlink)->routes_len, 0);
	assert_int_equal(outcome_now(k), ADDRESS_NONE);
	k->changes = 0;
	ip_batch("addr add 127.0.0.1/8 dev lo\naddr add 10.0.0.5/24 dev eth0\n"
		 "route add default via 10.0.0.1 metric 512\n");
	wait_for_changes(k, 1);
	run_for(k, 500);
	assert_non_null(find(k, "10.0.0.5"));
	assert_int_equal(outcome_now(k), ADDRESS_CHOSEN);
}

static void test_foreign_events(void **state)
{
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	faults.foreign_events = true;
	ip("addr add 10.0.0.77/24 dev eth0");
	run_for(k, 1300);
	assert_int_equal(faults.requests, 0);
	assert_null(find(k, "10.0.0.77"));
	faults.foreign_events = false;
	ip("addr add 10.0.0.78/24 dev eth0");
	wait_for_changes(k, 1);
	assert_non_null(find(k, "10.0.0.77"));
}

static void test_interrupted_dumps(void **state)
{
	static const struct {
		int interrupted;
		int requests; /* three a dump */
		int changes;
	} cases[] = {
		{ 1, 6, 1 }, /* once more */
		{ 4, 15, 1 }, /* the last try is good */
		{ 5, 18, 1 }, /* none is: what came is kept, and later a good one */
		{ 7, 24, 1 }, /* the same, and the later one needs three */
	};
	struct kernel *k = *state;

	start_netlink(k);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *command = xasprintf("addr add 10.0.0.%zu/24 dev eth0", 100 + i);

		settle(k);
		faults.interrupted = cases[i].interrupted;
		ip(command);
		run_for(k, 1300);
		assert_int_equal(faults.interrupted, 0);
		assert_int_equal(faults.requests, cases[i].requests);
		assert_int_equal(k->changes, cases[i].changes);
	}
	assert_non_null(find(k, "10.0.0.103"));
}

static void test_silent_kernel(void **state)
{
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	faults.silent = 2;
	ip("addr add 10.0.0.77/24 dev eth0");
	run_for(k, 1000);
	/* The last snapshot stays, and it is said once. */
	assert_non_null(find(k, "10.0.0.5"));
	assert_null(find(k, "10.0.0.77"));
	assert_non_null(strstr(k->log, "did not answer within 2 s; keeping the last snapshot"));
	wait_for_changes(k, 1);
	assert_non_null(find(k, "10.0.0.77"));
	assert_non_null(strstr(k->log, "answers again"));
	assert_null(strstr(strstr(k->log, "did not answer") + 1, "did not answer"));
}

static void test_broken_event_socket(void **state)
{
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	faults.broken = 1;
	ip("addr add 10.0.0.77/24 dev eth0");
	wait_for_changes(k, 1);
	assert_non_null(strstr(k->log, "opening a new socket"));
	settle(k);
	ip("addr add 10.0.0.78/24 dev eth0");
	wait_for_changes(k, 1);
	assert_non_null(find(k, "10.0.0.78"));
}

static void test_events_too_long(void **state)
{
	struct kernel *k = *state;

	start_netlink(k);
	settle(k);
	faults.truncated = 1000;
	ip("addr add 10.0.0.77/24 dev eth0");
	wait_for_changes(k, 1);
	assert_true(faults.truncated < 1000);
	assert_non_null(find(k, "10.0.0.77"));
	assert_null(strstr(k->log, "opening a new socket"));
}

static void test_source(void **state)
{
	static const struct {
		const char *to;
		const char *expected;
		int code;
	} cases[] = {
		{ "10.0.0.99", "10.0.0.5", 0 },
		{ "192.0.2.1", "10.0.0.5", 0 },
		{ "172.17.0.99", "172.17.0.1", 0 },
		{ "10.7.0.1", "10.0.0.6", 0 }, /* the route names its source */
		{ "10.0.0.5", "10.0.0.5", 0 }, /* ourselves */
		{ "10.0.0.6", "10.0.0.5", 0 }, /* so the kernel has it for a secondary one */
		{ "127.0.0.1", "127.0.0.1", 0 },
		{ "2001:db8::99", "2001:db8::5", 0 },
		{ "2001:db8::5", "2001:db8::5", 0 },
		{ "::1", "::1", 0 },
		{ "2001:db9::1", NULL, -ENETUNREACH },
		{ "10.8.0.1", NULL, -EHOSTUNREACH },
		{ "192.0.2.1", "10.0.0.5", 0 }, /* errors leave no mark */
	};
	struct kernel *k = *state;

	if (!k->loop)
		skip();
	ip("route add 10.7.0.0/16 via 10.0.0.1 src 10.0.0.6");
	ip("route add unreachable 10.8.0.0/16");
	start_netlink(k);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct address to = parsed(cases[i].to);
		struct address source = { 0 };
		struct err err = { 0 };

		print_message("  towards %s\n", cases[i].to);
		assert_int_equal(netlink_source(k->netlink, &to, &source, &err), cases[i].code);
		assert_address(&source, cases[i].expected);
		if (cases[i].code)
			assert_non_null(strstr(err.msg, cases[i].to));
	}
	ip("route del default");
	const struct address to = parsed("192.0.2.1");
	struct address source = { 0 };
	struct err err;

	assert_int_equal(netlink_source(k->netlink, &to, &source, &err), -ENETUNREACH);
	assert_string_equal(err.msg, "no source address towards 192.0.2.1: Network is unreachable");
	assert_int_equal(netlink_source(k->netlink, &(struct address){ 0 }, &source, &err),
			 -EINVAL);
	faults.silent = 1;
	assert_int_equal(netlink_source(k->netlink, &to, &source, &err), -ETIMEDOUT);
	/* The late answer to the question before must not be taken for this one's. */
	const struct address container = parsed("172.17.0.99");

	assert_int_equal(netlink_source(k->netlink, &container, &source, &err), 0);
	assert_address(&source, "172.17.0.1");
}

static void test_free_nothing(void **state)
{
	(void)state;
	netlink_free(NULL);
}

#define KERNEL_TEST(function) cmocka_unit_test_setup_teardown(function, set_up_host, tear_down_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_link),
		cmocka_unit_test(test_parse_address),
		cmocka_unit_test(test_which_routes),
		cmocka_unit_test(test_gateways),
		cmocka_unit_test(test_multipath),
		cmocka_unit_test(test_source_answer),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_each_byte_wrong),
		cmocka_unit_test(test_impossible_lengths),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_free_nothing),
		KERNEL_TEST(test_first_snapshot),
		KERNEL_TEST(test_routes_of_the_kernel),
		KERNEL_TEST(test_choice_on_a_docker_host),
		KERNEL_TEST(test_port_of_a_bridge),
		KERNEL_TEST(test_changes),
		KERNEL_TEST(test_burst_is_one_change),
		KERNEL_TEST(test_unrest_is_told_within_a_second),
		KERNEL_TEST(test_nothing_of_interest),
		KERNEL_TEST(test_lost_events),
		KERNEL_TEST(test_storm),
		KERNEL_TEST(test_all_addresses_lost_and_back),
		KERNEL_TEST(test_foreign_events),
		KERNEL_TEST(test_interrupted_dumps),
		KERNEL_TEST(test_silent_kernel),
		KERNEL_TEST(test_broken_event_socket),
		KERNEL_TEST(test_events_too_long),
		KERNEL_TEST(test_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
