/* SPDX-License-Identifier: MIT */
/*
 * Layouts of real hosts against the address that each must choose, and why.
 *
 * A layout is one line per link, links separated by ';':
 *     NAME[=KIND] words: down, nocarrier, port=N (link number), ghost (the link
 *     itself is missing), ADDRESS/PREFIX[,flag...] with the flags secondary,
 *     temporary, tentative, dadfailed, deprecated, linkscope, hostscope,
 *     default[,metric=N][,via=A][,src=A][,table=N][,v4|v6] (the family is the
 *     gateway's unless said)
 * The links are numbered from 1. "lo" is the loopback interface.
 *
 * What other hosts say is a list too: "ADDRESS claims|lists NAME", separated by
 * ';'. NAME holds it as "host 'NAME' (node n-NAME)".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/if_addr.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/network/address_choice.h"
#include "cmsnode/network/interfaces.h"

static struct address parsed(const char *text)
{
	struct address address = { 0 };

	assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static uint32_t number(const char *text)
{
	int64_t value = 0;

	assert_int_equal(str_to_int64(text, 0, UINT32_MAX, &value), 0);
	return (uint32_t)value;
}

static void add_route(struct interfaces *all, int link, const struct str_list *words)
{
	struct interface_route route = { .table = 254, .link = link };
	int family = 0;

	for (size_t i = 1; i < words->len; i++) {
		const char *word = words->items[i];

		if (str_starts(word, "metric="))
			route.metric = number(word + 7);
		else if (str_starts(word, "table="))
			route.table = number(word + 6);
		else if (str_starts(word, "via="))
			route.gateway = parsed(word + 4);
		else if (str_starts(word, "src="))
			route.source = parsed(word + 4);
		else if (str_eq(word, "v4") || str_eq(word, "v6"))
			family = word[1] == '4' ? AF_INET : AF_INET6;
		else
			fail_msg("layout: '%s'", word);
	}
	route.family = family ? family : route.gateway.family ? route.gateway.family : AF_INET;
	GROW(all->routes, all->routes_len, all->routes_cap);
	all->routes[all->routes_len++] = route;
}

static const struct {
	const char *name;
	uint32_t flags;
	uint8_t scope;
} address_words[] = {
	{ "secondary", IFA_F_SECONDARY, 0 },
	{ "temporary", IFA_F_TEMPORARY, 0 },
	{ "tentative", IFA_F_TENTATIVE, 0 },
	{ "dadfailed", IFA_F_DADFAILED | IFA_F_TENTATIVE, 0 },
	{ "deprecated", IFA_F_DEPRECATED, 0 },
	{ "linkscope", 0, 253 },
	{ "hostscope", 0, 254 },
	{ "sitescope", 0, 200 },
};

static void add_address(struct interfaces *all, int link, const struct str_list *words)
{
	struct interface_address address = { .link = link };

	assert_int_equal(address_parse_cidr(words->items[0], &address.address, &address.prefix), 0);
	if (address_is_loopback(&address.address))
		address.scope = 254;
	for (size_t i = 1; i < words->len; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(address_words) &&
		       !str_eq(address_words[k].name, words->items[i]))
			k++;
		assert_true(k < ARRAY_LEN(address_words));
		address.flags |= address_words[k].flags;
		if (address_words[k].scope)
			address.scope = address_words[k].scope;
	}
	GROW(all->addresses, all->addresses_len, all->addresses_cap);
	all->addresses[all->addresses_len++] = address;
}

static void add_words(struct interfaces *all, struct interface_link *link, bool *ghost,
		      const char *text)
{
	CLEAN(str_list) struct str_list words = { 0 };

	str_list_split(&words, text, ',');
	const char *word = words.items[0];

	if (str_eq(word, "down"))
		link->flags = link->flags & (unsigned int)~(IFF_UP | IFF_RUNNING);
	else if (str_eq(word, "nocarrier"))
		link->flags = link->flags & (unsigned int)~IFF_RUNNING;
	else if (str_eq(word, "ghost"))
		*ghost = true;
	else if (str_starts(word, "port="))
		link->master = (int)number(word + 5);
	else if (str_eq(word, "default"))
		add_route(all, link->index, &words);
	else
		add_address(all, link->index, &words);
}

static void add_link(struct interfaces *all, int index, const char *line)
{
	CLEAN(str_list) struct str_list words = { 0 };
	struct interface_link link = { .index = index, .flags = IFF_UP | IFF_RUNNING };
	bool ghost = false;

	str_list_split(&words, line, ' ');
	const char *kind = strchrnul(words.items[0], '=');

	memcpy(link.name, words.items[0], (size_t)(kind - words.items[0]));
	if (*kind)
		memcpy(link.kind, kind + 1, strlen(kind + 1));
	if (str_eq(link.name, "lo"))
		link.flags |= IFF_LOOPBACK;
	for (size_t i = 1; i < words.len; i++)
		add_words(all, &link, &ghost, words.items[i]);
	if (ghost)
		return;
	GROW(all->links, all->links_len, all->links_cap);
	all->links[all->links_len++] = link;
}

static struct interfaces layout(const char *text)
{
	CLEAN(str_list) struct str_list lines = { 0 };
	struct interfaces all = { 0 };

	str_list_split(&lines, text, ';');
	for (size_t i = 0; i < lines.len; i++)
		add_link(&all, (int)i + 1, lines.items[i]);
	return all;
}

#define LO "lo 127.0.0.1/8 ::1/128;"
#define DOCKER0 "docker0=bridge 172.17.0.1/16 fe80::42/64;"

struct layout_case {
	const char *name;
	const char *layout;
	const char *wish;
	const char *store;
	bool loopback_allowed;
	enum address_outcome outcome;
	const char *address;
	const char *reason; /* a part of the sentence about the outcome */
	const char *of; /* a candidate, ... */
	const char *because; /* ... and a part of its reason */
};

struct veto_case {
	struct layout_case layout;
	const char *vetoes; /* of other hosts */
	const char *own; /* what this node had before */
};

static const struct layout_case derived_cases[] = {
	{ "EC2, one ENI", LO "ens5 10.0.3.17/20 fe80::1/64 default,metric=512,via=10.0.0.1", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.3.17", "10.0.3.17 on ens5: default route, metric 512",
	  "127.0.0.1", "loopback" },
	{ "EC2, two ENIs, the lower metric wins",
	  LO "ens5 10.0.3.17/20 default,metric=513,via=10.0.0.1; "
	     "ens6 10.0.99.4/20 default,metric=512,via=10.0.96.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.99.4", "default route, metric 512", "10.0.3.17",
	  "metric 513" },
	{ "EC2, two ENIs, etcd behind the worse metric",
	  LO "ens5 10.0.3.17/20 default,metric=512,via=10.0.0.1; "
	     "ens6 10.0.99.4/20 default,metric=513,via=10.0.96.1",
	  NULL, "10.0.99.4", false, ADDRESS_CHOSEN, "10.0.99.4", "source address towards etcd",
	  "10.0.3.17", "default route, metric 512" },
	{ "EC2, the second ENI has its default route in a table of its own",
	  LO "ens5 10.0.3.17/20 default,metric=512,via=10.0.0.1; "
	     "ens6 10.0.99.4/20 default,metric=0,via=10.0.96.1,table=10002",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.3.17", "metric 512", "10.0.99.4",
	  "in table 10002" },
	{ "EC2, secondary private addresses",
	  LO "ens5 10.0.3.16/20,secondary 10.0.3.17/20 10.0.3.15/20,secondary "
	     "default,via=10.0.0.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.3.17", "primary before secondary", "10.0.3.16",
	  "secondary" },
	{ "EC2, the route names a secondary address as its source",
	  LO "ens5 10.0.3.16/20,secondary 10.0.3.17/20 default,via=10.0.0.1,src=10.0.3.16", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.3.16", "own source address", "10.0.3.17",
	  "default route" },
	{ "docker host", LO "eth0 192.168.1.20/24 default,via=192.168.1.1;" DOCKER0, NULL, NULL,
	  false, ADDRESS_CHOSEN, "192.168.1.20", "default route", "172.17.0.1",
	  "neither a default route nor" },
	{ "docker host, docker0 comes first",
	  DOCKER0 LO "eth0 192.168.1.20/24 default,via=192.168.1.1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "192.168.1.20", "on eth0", "172.17.0.1", "a bridge with" },
	{ "docker host with veths and a second network",
	  LO "eth0 192.168.1.20/24 default,via=192.168.1.1;" DOCKER0
	     "br-1a2b=bridge 172.18.0.1/16; veth1=veth port=3 fe80::7/64; "
	     "veth2=veth port=4 fe80::8/64",
	  NULL, NULL, false, ADDRESS_CHOSEN, "192.168.1.20", "on eth0", "172.18.0.1",
	  "a bridge with" },
	{ "docker host without any default route: one candidate remains",
	  LO "eth0 192.168.1.20/24;" DOCKER0, NULL, NULL, false, ADDRESS_CHOSEN, "192.168.1.20",
	  "the only address left", "172.17.0.1", "a bridge with" },
	{ "only docker0 has an address", LO "eth0 fe80::1/64;" DOCKER0, NULL, NULL, false,
	  ADDRESS_NONE, NULL, "172.17.0.1 on docker0 (a bridge with", "fe80::1", "link-local" },
	{ "etcd in a container behind docker0: the route goes through it",
	  LO "eth0 fe80::1/64;" DOCKER0, NULL, "172.17.0.1", false, ADDRESS_CHOSEN, "172.17.0.1",
	  "source address towards etcd", "172.17.0.1", "virtual (bridge)" },
	{ "Proxmox: the uplink is a bridge",
	  LO "eno1 port=3; vmbr0=bridge 10.10.0.2/24 default,via=10.10.0.1; tap100i0=tun port=3",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.10.0.2", "on vmbr0: default route", "10.10.0.2",
	  "virtual (bridge)" },
	{ "br0 with the default route, docker0 without",
	  LO "br0=bridge 10.10.0.2/24 default,via=10.10.0.1;" DOCKER0, NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.10.0.2", "on br0", "172.17.0.1", "a bridge with" },
	{ "br0 is the way to etcd, no default route", LO "br0=bridge 10.10.0.2/24;" DOCKER0, NULL,
	  "10.10.0.2", false, ADDRESS_CHOSEN, "10.10.0.2", "towards etcd", "172.17.0.1",
	  "a bridge with" },
	{ "LXC: eth0 is a veth", LO "eth0=veth 10.0.3.77/24 default,via=10.0.3.1", NULL, NULL,
	  false, ADDRESS_CHOSEN, "10.0.3.77", "on eth0: default route", "10.0.3.77",
	  "virtual (veth)" },
	{ "macvlan container, no default route", LO "eth0=macvlan 10.0.3.77/24", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.3.77", "the only address left", "10.0.3.77",
	  "no default route, virtual (macvlan)" },
	{ "VPN holds the default route, etcd is reached by eth0",
	  LO "eth0 10.0.0.5/24 default,metric=100,via=10.0.0.1; "
	     "tun0=tun 10.8.0.2/24 default,metric=50",
	  NULL, "10.0.0.5", false, ADDRESS_CHOSEN, "10.0.0.5", "source address towards etcd",
	  "10.8.0.2", "metric 50" },
	{ "VPN holds the default route, etcd unknown",
	  LO "eth0 10.0.0.5/24 default,metric=100,via=10.0.0.1; "
	     "tun0=tun 10.8.0.2/24 default,metric=50",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.8.0.2", "default route, metric 50", "10.0.0.5",
	  "metric 100" },
	{ "VPN without a default route", LO "wg0=wireguard 10.8.0.2/24; eth0 10.0.0.5/24", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "physical before virtual", "10.8.0.2",
	  "virtual (wireguard)" },
	{ "point-to-point default without a gateway", LO "ppp0=ppp 100.64.3.9/32 default", NULL,
	  NULL, false, ADDRESS_CHOSEN, "100.64.3.9", "default route, metric 0", "100.64.3.9",
	  "virtual (ppp)" },
	{ "IPv6 only", LO "eth0 2001:db8::17/64 fe80::1/64 default,metric=1024,via=fe80::ff", NULL,
	  NULL, false, ADDRESS_CHOSEN, "2001:db8::17", "default route, metric 1024", "fe80::1",
	  "link-local" },
	{ "IPv6 privacy addresses",
	  LO "eth0 2001:db8::1111/64,temporary 2001:db8::17/64 2001:db8::16/64,deprecated "
	     "default,via=fe80::ff",
	  NULL, NULL, false, ADDRESS_CHOSEN, "2001:db8::17", "on eth0", "2001:db8::1111",
	  "temporary" },
	{ "IPv6: the kernel's source towards etcd is a temporary address",
	  LO "eth0 2001:db8:1::5/64 default,via=fe80::ff; "
	     "eth1 2001:db8:2::9/64,temporary 2001:db8:2::5/64",
	  NULL, "2001:db8:2::9", false, ADDRESS_CHOSEN, "2001:db8:2::5", "on the link towards etcd",
	  "2001:db8:2::9", "temporary" },
	{ "IPv6: several lasting addresses beside the temporary source towards etcd",
	  LO "eth1 2001:db8:1::5/64 2001:db8:2::6/64 2001:db8:2::5/128 2001:db8:2::9/64,temporary",
	  NULL, "2001:db8:2::9", false, ADDRESS_CHOSEN, "2001:db8:2::5", "on the link towards etcd",
	  "2001:db8:1::5", "no default route" },
	{ "the source towards etcd is deprecated",
	  LO "eth0 10.0.0.5/24 default; eth1 10.1.0.4/24,deprecated 10.1.0.5/24,secondary", NULL,
	  "10.1.0.4", false, ADDRESS_CHOSEN, "10.1.0.5", "source address there is deprecated",
	  "10.1.0.4", "deprecated" },
	{ "the deprecated source's network on two links",
	  LO "eth0 10.1.0.5/24; eth1 10.1.0.4/24,deprecated 10.1.0.6/24,secondary", NULL,
	  "10.1.0.4", false, ADDRESS_CHOSEN, "10.1.0.6", "on eth1: on the link towards etcd",
	  "10.1.0.5", "no default route" },
	{ "dual stack: IPv4 first, whatever the metrics",
	  LO "eth0 10.0.0.5/24 2001:db8::5/64 default,metric=1024,via=10.0.0.1 "
	     "default,metric=512,via=fe80::ff",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "IPv4 before IPv6", "2001:db8::5",
	  "metric 512" },
	{ "dual stack, but only IPv6 is routed",
	  LO "eth0 10.0.0.5/24 2001:db8::5/64 default,metric=1024,via=fe80::ff", NULL, NULL, false,
	  ADDRESS_CHOSEN, "2001:db8::5", "default route, metric 1024", "10.0.0.5",
	  "no default route" },
	{ "dual stack without routes", LO "eth0 10.0.0.5/24 2001:db8::5/64", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "IPv4 before IPv6", NULL, NULL },
	{ "bond with slaves",
	  LO "eno1 port=4; eno2 port=4; bond0=bond 10.0.0.5/24 default,via=10.0.0.1", NULL, NULL,
	  false, ADDRESS_CHOSEN, "10.0.0.5", "on bond0", "10.0.0.5", "default route, metric 0" },
	{ "vlan on a bond, the bond itself has another network",
	  LO "bond0=bond 192.168.50.5/24; bond0.100=vlan 10.100.0.5/24 default,via=10.100.0.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.100.0.5", "on bond0.100", "192.168.50.5",
	  "no default route" },
	{ "a left-over address on a bridge port",
	  LO "eno1 10.0.0.4/24 port=3; br0=bridge 10.0.0.5/24 default,via=10.0.0.1", NULL, NULL,
	  false, ADDRESS_CHOSEN, "10.0.0.5", "on br0", "10.0.0.4", "port of br0" },
	{ "a bond's slave kept an address, no routes",
	  LO "eno1 10.0.0.4/24 port=3; bond0=bond 10.0.1.5/24", NULL, NULL, false, ADDRESS_CHOSEN,
	  "10.0.1.5", "not a port of a bridge", "10.0.0.4", "port of bond0" },
	{ "a VRF leaves the traffic to its ports",
	  LO "eth0 10.0.0.4/24 port=3; mgmt=vrf; eth1 10.9.0.4/24", NULL, NULL, false,
	  ADDRESS_AMBIGUOUS, NULL, "10.0.0.4 on eth0, 10.9.0.4 on eth1", "10.0.0.4",
	  "no default route" },
	{ "no default route, but a route to etcd", LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24", NULL,
	  "10.1.0.5", false, ADDRESS_CHOSEN, "10.1.0.5", "source address towards etcd", "10.0.0.5",
	  "no default route" },
	{ "no route information, two physical links", LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24", NULL,
	  NULL, false, ADDRESS_AMBIGUOUS, NULL, "name one with --address", "10.1.0.5",
	  "no default route" },
	{ "no route information, three of them",
	  LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24; eth2 10.2.0.5/24", NULL, NULL, false,
	  ADDRESS_AMBIGUOUS, NULL, "10.0.0.5 on eth0, 10.1.0.5 on eth1, 10.2.0.5 on eth2 are equal",
	  NULL, NULL },
	{ "no route information, two networks on one link", LO "eth0 10.0.0.5/24 10.1.0.5/24", NULL,
	  NULL, false, ADDRESS_AMBIGUOUS, NULL, "no route tells them apart", NULL, NULL },
	{ "etcd on loopback is no route information", LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24", NULL,
	  "127.0.0.1", true, ADDRESS_AMBIGUOUS, NULL, "are equal by every rule", "127.0.0.1",
	  "loopback" },
	{ "the same address on two links is no doubt", LO "eth0 10.0.0.5/24; eth1 10.0.0.5/24",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "on eth0", NULL, NULL },
	{ "the same address on two links beside another",
	  LO "eth0 10.0.0.5/24; eth1 10.0.0.5/24; eth2 10.1.0.5/24", NULL, NULL, false,
	  ADDRESS_AMBIGUOUS, NULL, "10.1.0.5 on eth2", NULL, NULL },
	{ "one default route over two links (ECMP)",
	  LO "eth0 10.0.0.5/24 default,via=10.0.0.1; eth1 10.1.0.5/24 default,via=10.1.0.1", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "first in the order of links", "10.1.0.5",
	  "default route" },
	{ "two networks on the uplink: the gateway's one",
	  LO "eth0 10.0.0.5/24 192.168.7.5/24 default,via=192.168.7.1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "192.168.7.5", "in the network of its gateway", "10.0.0.5",
	  "default route" },
	{ "an IPv4 route by an IPv6 gateway",
	  LO "eth0 10.0.0.5/32 default,via=fe80::1,v4; eth1 10.1.0.5/24 default,metric=9", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "default route, metric 0", NULL, NULL },
	{ "an IPv6 route does not speak for IPv4",
	  LO "eth0 10.0.0.5/24 default,v6; eth1 10.1.0.5/24 default,metric=9", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.1.0.5", "default route, metric 9", "10.0.0.5", "no default route" },
	{ "the better route's link has no carrier",
	  LO "eth0 nocarrier 10.0.0.5/24 default,metric=10,via=10.0.0.1; "
	     "wlan0 10.1.0.5/24 default,metric=600,via=10.1.0.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.1.0.5", "its link has a carrier", "10.0.0.5",
	  "no carrier" },
	{ "no carrier loses even against a link without route",
	  LO "eth0 nocarrier 10.0.0.5/24 default; eth1=veth 10.1.0.5/24", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.1.0.5", "its link has a carrier", "10.0.0.5", "default route" },
	{ "no carrier is better than nothing", LO "eth0 nocarrier 10.0.0.5/24", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "the only address left", "10.0.0.5", "no carrier" },
	{ "a link that is down", LO "eth0 down 10.0.0.5/24", NULL, NULL, false, ADDRESS_NONE, NULL,
	  "10.0.0.5 on eth0 (its link is down)", "10.0.0.5", "its link is down" },
	{ "kube-ipvs0 holds service addresses and is down",
	  LO "eth0 10.0.0.5/24 default,via=10.0.0.1; "
	     "kube-ipvs0=dummy down 10.96.0.1/32 10.96.0.10/32;"
	     "cni0=bridge 10.244.0.1/24; flannel.1=vxlan 10.244.0.0/32",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "on eth0", "10.96.0.1",
	  "its link is down" },
	{ "Kubernetes node without default route",
	  LO "eth0 10.0.0.5/24; cni0=bridge 10.244.0.1/24; flannel.1=vxlan 10.244.0.0/32", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "physical before virtual", "10.244.0.1",
	  "a bridge with" },
	{ "tentative address", LO "eth0 2001:db8::5/64,tentative default,via=fe80::1", NULL, NULL,
	  false, ADDRESS_NONE, NULL, "has not finished", "2001:db8::5", "tentative" },
	{ "duplicate address", LO "eth0 2001:db8::5/64,dadfailed 2001:db8::6/64", NULL, NULL, false,
	  ADDRESS_CHOSEN, "2001:db8::6", "the only address left", "2001:db8::5",
	  "another machine has it" },
	{ "deprecated address", LO "eth0 10.0.0.5/24,deprecated 10.0.0.6/24", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.6", "the only address left", "10.0.0.5", "deprecated" },
	{ "metadata address on eth0", LO "eth0 169.254.8.1/16 10.0.0.6/24", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.6", "the only address left", "169.254.8.1", "link-local" },
	{ "narrow scope loses", LO "eth0 10.0.0.5/24,linkscope; eth1 10.1.0.5/24", NULL, NULL,
	  false, ADDRESS_CHOSEN, "10.1.0.5", "the wider scope", "10.0.0.5", "scope link" },
	{ "site before link scope", LO "eth0 fec0::5/64,sitescope; eth1 10.1.0.5/24,linkscope",
	  NULL, NULL, false, ADDRESS_CHOSEN, "fec0::5", "the wider scope", "fec0::5",
	  "scope site" },
	{ "host scope", LO "eth0 10.0.0.5/24,hostscope", NULL, NULL, false, ADDRESS_NONE, NULL,
	  "scope host", "10.0.0.5", "this host only" },
	{ "load balancer's address on lo",
	  "lo 127.0.0.1/8 10.0.0.100/32; eth0 10.0.0.5/24 default,via=10.0.0.1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "on eth0", "10.0.0.100", "no route has it as source" },
	{ "routing to the host: its address is on lo",
	  "lo 127.0.0.1/8 10.1.1.1/32; "
	  "eth0 10.255.0.1/31 default,via=10.255.0.0,src=10.1.1.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.1.1.1", "own source address", "10.255.0.1",
	  "default route" },
	{ "routing to the host: only etcd's route tells",
	  "lo 127.0.0.1/8 10.1.1.1/32; eth0 10.255.0.1/31", NULL, "10.1.1.1", false, ADDRESS_CHOSEN,
	  "10.1.1.1", "source address towards etcd", NULL, NULL },
	{ "the source towards etcd is no address of ours", LO "eth0 10.0.0.5/24 default", NULL,
	  "10.9.9.9", false, ADDRESS_CHOSEN, "10.0.0.5", "default route", NULL, NULL },
	{ "only loopback", "lo 127.0.0.1/8 ::1/128", NULL, NULL, false, ADDRESS_NONE, NULL,
	  "waiting for the network", "127.0.0.1", "loopback" },
	{ "only loopback, and etcd is loopback too", "lo ::1/128 127.0.0.1/8", NULL, "127.0.0.1",
	  true, ADDRESS_CHOSEN, "127.0.0.1", "every etcd endpoint is loopback", "127.0.0.1",
	  "nothing else is left" },
	{ "only ::1, and etcd is loopback too", "lo ::1/128", NULL, "::1", true, ADDRESS_CHOSEN,
	  "::1", "other hosts cannot reach it", NULL, NULL },
	{ "loopback and docker0, etcd is loopback", LO DOCKER0, NULL, "127.0.0.1", true,
	  ADDRESS_CHOSEN, "127.0.0.1", "no other usable address", "172.17.0.1", "a bridge with" },
	{ "loopback is allowed, but another address is there", LO "eth0=veth 10.0.0.5/24", NULL,
	  "127.0.0.1", true, ADDRESS_CHOSEN, "10.0.0.5", "the only address left", "127.0.0.1",
	  "loopback" },
	{ "even lo is down", "lo down 127.0.0.1/8", NULL, NULL, true, ADDRESS_NONE, NULL,
	  "its link is down", NULL, NULL },
	{ "no address at all", "lo; eth0", NULL, NULL, true, ADDRESS_NONE, NULL, "have none at all",
	  NULL, NULL },
	{ "no interface at all", "", NULL, NULL, false, ADDRESS_NONE, NULL, "have none at all",
	  NULL, NULL },
	{ "the link went between two messages", LO "eth0 ghost 10.0.0.5/24; eth1 10.1.0.5/24", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.1.0.5", "on eth1", "10.0.0.5", "its link is gone" },
	/* Podman */
	{ "podman host, rootful",
	  LO "eth0 192.168.1.20/24 default,metric=100,via=192.168.1.1; "
	     "podman0=bridge 10.88.0.1/16; veth0=veth port=3 fe80::7/64",
	  NULL, NULL, false, ADDRESS_CHOSEN, "192.168.1.20", "default route, metric 100",
	  "10.88.0.1", "a bridge with" },
	{ "podman container on its bridge", LO "eth0=veth 10.88.0.5/16 default,via=10.88.0.1", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.88.0.5", "on eth0: default route", "10.88.0.5",
	  "virtual (veth)" },
	{ "podman container, rootless (slirp4netns)",
	  LO "tap0=tun 10.0.2.100/24 default,via=10.0.2.2", NULL, NULL, false, ADDRESS_CHOSEN,
	  "10.0.2.100", "on tap0", "10.0.2.100", "virtual (tun)" },
	{ "docker container with two networks, the second without a way out",
	  LO "eth0=veth 172.18.0.5/16 default,via=172.18.0.1; eth1=veth 172.19.0.5/16", NULL, NULL,
	  false, ADDRESS_CHOSEN, "172.18.0.5", "default route", "172.19.0.5", "no default route" },
	{ "docker container, etcd in the network without a way out",
	  LO "eth0=veth 172.18.0.5/16 default,via=172.18.0.1; eth1=veth 172.19.0.5/16", NULL,
	  "172.19.0.5", false, ADDRESS_CHOSEN, "172.19.0.5", "source address towards etcd",
	  "172.18.0.5", "default route" },
	{ "docker swarm",
	  LO "eth0 10.0.0.5/24 default,via=10.0.0.1; docker_gwbridge=bridge "
	     "172.18.0.1/16;" DOCKER0 "ov-001=vxlan",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "on eth0", "172.18.0.1", "a bridge with" },
	/* Hypervisors */
	{ "Proxmox with guests' bridges: fwbr, fwpr and a second vmbr without a way out",
	  LO "enp3s0 port=3; vmbr0=bridge 10.10.0.2/24 default,via=10.10.0.1; "
	     "vmbr1=bridge 10.20.0.1/24; fwbr100i0=bridge; fwpr100p0=veth port=3",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.10.0.2", "on vmbr0", "10.20.0.1",
	  "a bridge with" },
	{ "Proxmox: the cluster's network is a vlan on the bridge, and etcd is there",
	  LO "eno1 port=3; vmbr0=bridge 10.10.0.2/24 default,via=10.10.0.1; "
	     "vmbr0.20=vlan 10.20.0.2/24",
	  NULL, "10.20.0.2", false, ADDRESS_CHOSEN, "10.20.0.2", "source address towards etcd",
	  "10.10.0.2", "default route" },
	{ "Open vSwitch holds the address",
	  LO "eno1 port=3; br-ex=openvswitch 10.10.0.2/24 "
	     "default,via=10.10.0.1; ovs-system=openvswitch down",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.10.0.2", "on br-ex", "10.10.0.2",
	  "virtual (openvswitch)" },
	{ "libvirt host",
	  LO "eno1 10.0.0.5/24 default,via=10.0.0.1; "
	     "virbr0=bridge nocarrier 192.168.122.1/24",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "on eno1", "192.168.122.1",
	  "a bridge with" },
	{ "LXC with an uplink and a private network",
	  LO "eth0=veth 10.0.3.77/24 default,via=10.0.3.1; eth1=veth 10.9.0.77/24", NULL, NULL,
	  false, ADDRESS_CHOSEN, "10.0.3.77", "default route", "10.9.0.77", "no default route" },
	{ "LXC without any route: two veths", LO "eth0=veth 10.0.3.77/24; eth1=veth 10.9.0.77/24",
	  NULL, NULL, false, ADDRESS_AMBIGUOUS, NULL, "10.0.3.77 on eth0, 10.9.0.77 on eth1",
	  "10.9.0.77", "virtual (veth)" },
	/* Kubernetes */
	{ "k3s server",
	  LO "enp1s0 10.0.0.5/24 default,metric=100,via=10.0.0.1; "
	     "flannel.1=vxlan 10.42.0.0/32; cni0=bridge 10.42.0.1/24; "
	     "veth1=veth port=4 fe80::7/64",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "on enp1s0", "10.42.0.0",
	  "no default route, virtual (vxlan)" },
	{ "k3s with flannel over wireguard, no default route",
	  LO "flannel-wg=wireguard 10.42.0.0/32; cni0=bridge 10.42.0.1/24; enp1s0 10.0.0.5/24",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "physical before virtual", "10.42.0.0",
	  "virtual (wireguard)" },
	{ "k3s in a container, no default route: its flannel is a candidate too",
	  LO "eth0=veth 10.0.0.5/24; flannel.1=vxlan 10.42.0.0/32", NULL, NULL, false,
	  ADDRESS_AMBIGUOUS, NULL, "10.0.0.5 on eth0, 10.42.0.0 on flannel.1", NULL, NULL },
	{ "Calico with IP in IP",
	  LO "eth0 10.0.0.5/24 default,via=10.0.0.1; "
	     "tunl0=ipip 192.168.219.64/32; cali1=veth fe80::ecee/64",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "on eth0", "192.168.219.64",
	  "virtual (ipip)" },
	/* VPN */
	{ "VPN by policy routing: its default route is in a table of its own",
	  LO "eth0 10.0.0.5/24 default,metric=100,via=10.0.0.1; "
	     "wg0=wireguard 10.8.0.2/24 default,table=51820",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "metric 100", "10.8.0.2",
	  "in table 51820" },
	{ "etcd is behind the VPN",
	  LO "eth0 10.0.0.5/24 default,via=10.0.0.1; "
	     "wg0=wireguard 10.8.0.2/24",
	  NULL, "10.8.0.2", false, ADDRESS_CHOSEN, "10.8.0.2", "source address towards etcd",
	  "10.0.0.5", "default route" },
	/* IPv6 only */
	{ "IPv6 only, unique local and global on one link",
	  LO "eth0 fd00:1::5/64 2001:db8::5/64 fe80::5/64 default,via=fe80::1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "2001:db8::5", "first in the order", "fd00:1::5", "default route" },
	{ "IPv6 only, etcd has a unique local address",
	  LO "eth0 fd00:1::5/64 2001:db8::5/64 fe80::5/64 default,via=fe80::1", NULL, "fd00:1::5",
	  false, ADDRESS_CHOSEN, "fd00:1::5", "source address towards etcd", "2001:db8::5",
	  "default route" },
	{ "IPv6 only with 464XLAT: clat holds an IPv4 address and default route",
	  LO "eth0 2001:db8::5/64 default,metric=100,via=fe80::1; "
	     "clat=tun 192.0.0.1/32 default,metric=2048,v4",
	  NULL, "2001:db8::5", false, ADDRESS_CHOSEN, "2001:db8::5", "source address towards etcd",
	  "192.0.0.1", "virtual (tun)" },
	/* Bonds and VLANs */
	{ "bond+vlan, two vlans, one with the default route",
	  LO "eno1 port=4; eno2 port=4; bond0=bond; bond0.10=vlan 10.10.0.5/24; "
	     "bond0.20=vlan 10.20.0.5/24 default,via=10.20.0.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.20.0.5", "on bond0.20: default route", "10.10.0.5",
	  "no default route" },
	{ "bond+vlan, two vlans, no default route",
	  LO "eno1 port=4; eno2 port=4; bond0=bond; bond0.10=vlan 10.10.0.5/24; "
	     "bond0.20=vlan 10.20.0.5/24",
	  NULL, NULL, false, ADDRESS_AMBIGUOUS, NULL,
	  "10.10.0.5 on bond0.10, 10.20.0.5 on bond0.20", NULL, NULL },
	{ "bond+vlan+bridge",
	  LO "eno1 port=3; bond0=bond; bond0.10=vlan port=5; "
	     "br10=bridge 10.10.0.5/24 default,via=10.10.0.1",
	  NULL, NULL, false, ADDRESS_CHOSEN, "10.10.0.5", "on br10: default route", "10.10.0.5",
	  "virtual (bridge)" },
	/* Names mean nothing */
	{ "renamed links: hardware is called docker0, a bridge eth0",
	  LO "docker0 10.0.0.5/24 default,via=10.0.0.1; eth0=bridge 172.17.0.1/16", NULL, NULL,
	  false, ADDRESS_CHOSEN, "10.0.0.5", "on docker0: default route", "172.17.0.1",
	  "a bridge with" },
	{ "renamed links: hardware is called lo0, loopback is what the kernel says",
	  LO "lo0 10.0.0.5/24; wan 10.1.0.5/24 default,via=10.1.0.1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.1.0.5", "on wan", "10.0.0.5", "no default route" },
	{ "renamed links: the two have changed names and numbers",
	  LO "enp4s0 10.1.0.5/24; enp3s0 10.0.0.5/24 default,via=10.0.0.1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "on enp3s0", "10.1.0.5", "no default route" },
	/* Secondary addresses */
	{ "a floating address of keepalived beside the host's own",
	  LO "eth0 10.0.0.5/24 10.0.0.100/32 default,via=10.0.0.1", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "in the network of its gateway", "10.0.0.100",
	  "default route" },
	{ "secondary addresses without routes",
	  LO "eth0 10.0.0.5/24 10.0.0.6/24,secondary 10.0.0.7/24,secondary", NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "primary before secondary", "10.0.0.7", "secondary" },
	{ "GCP: one address with prefix 32",
	  LO "ens4 10.128.0.5/32 default,metric=100,via=10.128.0.1;" DOCKER0, NULL, NULL, false,
	  ADDRESS_CHOSEN, "10.128.0.5", "default route, metric 100", "172.17.0.1",
	  "a bridge with" },
	{ "EC2, two ENIs that never got metrics",
	  LO "ens5 10.0.3.17/20 default,via=10.0.0.1; ens6 10.0.4.4/20 default,via=10.0.0.1", NULL,
	  NULL, false, ADDRESS_CHOSEN, "10.0.3.17", "first in the order of links", "10.0.4.4",
	  "default route, metric 0" },
	{ "nonsense addresses", LO "eth0 0.0.0.0/0 224.0.0.5/4 255.255.255.255/32", NULL, NULL,
	  false, ADDRESS_NONE, NULL, "unspecified, multicast or broadcast", NULL, NULL },
};

#define TWO_NETS \
	LO "eth0 10.0.0.5/24 default,via=10.0.0.1; eth1 10.1.0.5/24 2001:db8::5/64;" DOCKER0

static const struct layout_case wished_cases[] = {
	{ "an address wins over the default route", TWO_NETS, "10.1.0.5", "10.0.0.5", false,
	  ADDRESS_CHOSEN, "10.1.0.5", "--address 10.1.0.5 names it", "10.0.0.5",
	  "not what --address 10.1.0.5 names" },
	{ "the same address in other notation", TWO_NETS, "2001:DB8:0::5", NULL, false,
	  ADDRESS_CHOSEN, "2001:db8::5", "names it", NULL, NULL },
	{ "docker0's address", TWO_NETS, "172.17.0.1", NULL, false, ADDRESS_CHOSEN, "172.17.0.1",
	  "names it", "172.17.0.1", "otherwise dropped (a bridge" },
	{ "a loopback address", TWO_NETS, "127.0.0.1", NULL, false, ADDRESS_CHOSEN, "127.0.0.1",
	  "on lo: --address", "127.0.0.1", "otherwise dropped (loopback)" },
	{ "an interface", TWO_NETS, "eth1", NULL, false, ADDRESS_CHOSEN, "10.1.0.5",
	  "best of 2 (IPv4 before IPv6)", "2001:db8::5", "named by --address" },
	{ "the interface docker0", TWO_NETS, "docker0", NULL, false, ADDRESS_CHOSEN, "172.17.0.1",
	  "names it", "fe80::42", "link-local" },
	{ "the interface lo", TWO_NETS, "lo", NULL, true, ADDRESS_CHOSEN, "127.0.0.1", "best of 2",
	  NULL, NULL },
	{ "an interface with secondary addresses", LO "eth0 10.0.0.4/24,secondary 10.0.0.5/24",
	  "eth0", NULL, false, ADDRESS_CHOSEN, "10.0.0.5", "primary before secondary", NULL, NULL },
	{ "an interface with two equal networks", LO "eth0 10.1.0.5/24 10.0.0.5/24", "eth0", NULL,
	  false, ADDRESS_CHOSEN, "10.0.0.5", "first in the order", NULL, NULL },
	{ "an interface whose best address is deprecated",
	  LO "eth0 10.0.0.5/24,deprecated 2001:db8::5/64", "eth0", NULL, false, ADDRESS_CHOSEN,
	  "2001:db8::5", "would be kept without --address", "10.0.0.5",
	  "otherwise dropped (deprecated" },
	{ "a deprecated address", LO "eth0 10.0.0.5/24,deprecated", "10.0.0.5", NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "names it", NULL, NULL },
	{ "a temporary address", LO "eth0 2001:db8::5/64,temporary", "2001:db8::5", NULL, false,
	  ADDRESS_CHOSEN, "2001:db8::5", "names it", NULL, NULL },
	{ "a network", TWO_NETS, "10.1.0.0/16", NULL, false, ADDRESS_CHOSEN, "10.1.0.5",
	  "--address 10.1.0.0/16 names it", NULL, NULL },
	{ "a wide network: the usual ranking within it", TWO_NETS, "10.0.0.0/8", NULL, false,
	  ADDRESS_CHOSEN, "10.0.0.5", "best of 2 (default route", NULL, NULL },
	{ "a network of two equals", LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24", "10.0.0.0/8", NULL,
	  false, ADDRESS_AMBIGUOUS, NULL, "10.0.0.5 on eth0, 10.1.0.5 on eth1", NULL, NULL },
	{ "a network of two bridges", LO DOCKER0 "br-1=bridge 172.18.0.1/16", "172.16.0.0/12", NULL,
	  false, ADDRESS_AMBIGUOUS, NULL, "172.18.0.1 on br-1", NULL, NULL },
	{ "an absent address", TWO_NETS, "10.9.0.5", NULL, false, ADDRESS_UNSATISFIABLE, NULL,
	  "--address 10.9.0.5 cannot be satisfied: no interface of this host has this "
	  "address; the host has 127.0.0.1 on lo",
	  "10.0.0.5", "not what" },
	{ "an absent interface", TWO_NETS, "eth9", NULL, true, ADDRESS_UNSATISFIABLE, NULL,
	  "no such interface", NULL, NULL },
	{ "an interface without address", LO "eth0; eth1 10.0.0.5/24", "eth0", NULL, false,
	  ADDRESS_UNSATISFIABLE, NULL, "this interface has no address", NULL, NULL },
	{ "an absent network", TWO_NETS, "192.168.0.0/16", NULL, false, ADDRESS_UNSATISFIABLE, NULL,
	  "no address of this host is in this network", NULL, NULL },
	{ "a malformed network", TWO_NETS, "10.0.0.0/33", NULL, false, ADDRESS_UNSATISFIABLE, NULL,
	  "no CIDR", NULL, NULL },
	{ "an empty wish", TWO_NETS, "", NULL, false, ADDRESS_UNSATISFIABLE, NULL,
	  "no such interface", NULL, NULL },
	{ "a link-local address", TWO_NETS, "fe80::42", NULL, false, ADDRESS_UNSATISFIABLE, NULL,
	  "fe80::42 on docker0: link-local", "fe80::42", "link-local" },
	{ "a tentative address", LO "eth0 2001:db8::5/64,tentative", "2001:db8::5", NULL, false,
	  ADDRESS_UNSATISFIABLE, NULL, "tentative", NULL, NULL },
	{ "an interface with link-local addresses only", LO "eth0 fe80::9/64 169.254.1.1/16",
	  "eth0", NULL, false, ADDRESS_UNSATISFIABLE, NULL, "169.254.1.1 on eth0: link-local", NULL,
	  NULL },
	{ "an interface that is down", LO "eth0 down 10.0.0.5/24; eth1 10.1.0.5/24", "eth0", NULL,
	  false, ADDRESS_UNSATISFIABLE, NULL, "its link is down", NULL, NULL },
	{ "reach: the way to a host", TWO_NETS, "reach:db.example", "10.1.0.5", false,
	  ADDRESS_CHOSEN, "10.1.0.5", "--address reach:db.example names it", "10.1.0.5",
	  "source address towards db.example" },
	{ "reach: through docker0", TWO_NETS, "reach:172.17.0.9", "172.17.0.1", false,
	  ADDRESS_CHOSEN, "172.17.0.1", "on docker0", "10.0.0.5", "not what --address reach:" },
	{ "reach: the source is temporary, its neighbour lasts",
	  LO "eth0 2001:db8::9/64,temporary 2001:db8::5/64 2001:db8:1::5/64", "reach:db",
	  "2001:db8::9", false, ADDRESS_CHOSEN, "2001:db8::5", "best of 2", "2001:db8:1::5",
	  "not what" },
	{ "reach: only the temporary source", LO "eth0 2001:db8::9/64,temporary", "reach:db",
	  "2001:db8::9", false, ADDRESS_CHOSEN, "2001:db8::9", "names it", "2001:db8::9",
	  "otherwise dropped (temporary" },
	{ "reach: no way there", TWO_NETS, "reach:db.example", NULL, true, ADDRESS_UNSATISFIABLE,
	  NULL,
	  "no source address towards db.example (no route to it, or its name is not resolved)",
	  NULL, NULL },
	{ "reach: the source is not ours", TWO_NETS, "reach:db.example", "10.9.9.9", false,
	  ADDRESS_UNSATISFIABLE, NULL, "towards db.example is 10.9.9.9, which no interface", NULL,
	  NULL },
	{ "reach: the way is link-local", LO "eth0 fe80::9/64 10.0.0.5/24", "reach:db", "fe80::9",
	  false, ADDRESS_UNSATISFIABLE, NULL, "fe80::9 on eth0: link-local", NULL, NULL },
	{ "no host at all", "", "10.0.0.5", NULL, true, ADDRESS_UNSATISFIABLE, NULL,
	  "no interface of this host", NULL, NULL },
};

#define CONTAINER LO "eth0=veth 172.17.0.2/16 default,via=172.17.0.1"
#define PLAIN "eth0 10.0.0.5/24 default,via=10.0.0.1"
#define SAYS_NOTHING "also on host 'b' (node n-b): an address that two live hosts have says nothing"

static const struct veto_case vetoed_cases[] = {
	/* Derived: a claim and a list are the same */
	{ { "docker0 on both hosts: it was never a candidate", LO PLAIN ";" DOCKER0, NULL, NULL,
	    false, ADDRESS_CHOSEN, "10.0.0.5", "default route", "172.17.0.1", "a bridge with" },
	  "172.17.0.1 lists b; 10.0.0.6 claims b",
	  NULL },
	{ { "etcd is reached by docker0, which the other host has too", LO PLAIN ";" DOCKER0, NULL,
	    "172.17.0.1", false, ADDRESS_CHOSEN, "10.0.0.5", "default route", "172.17.0.1",
	    SAYS_NOTHING },
	  "172.17.0.1 lists b",
	  NULL },
	{ { "listed by another host", LO PLAIN "; eth1 10.1.0.5/24", NULL, NULL, false,
	    ADDRESS_CHOSEN, "10.1.0.5", "the only address left", "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 lists b",
	  NULL },
	{ { "claimed by another host", LO PLAIN "; eth1 10.1.0.5/24", NULL, "10.0.0.5", false,
	    ADDRESS_CHOSEN, "10.1.0.5", "the only address left", "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 claims b",
	  NULL },
	{ { "a claim is told rather than lists", LO PLAIN "; eth1 10.1.0.5/24", NULL, NULL, false,
	    ADDRESS_CHOSEN, "10.1.0.5", "left", "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 lists a; 10.0.0.5 claims b; 10.0.0.5 lists c",
	  NULL },
	{ { "of two of a kind the first by name is told", LO PLAIN "; eth1 10.1.0.5/24", NULL, NULL,
	    false, ADDRESS_CHOSEN, "10.1.0.5", "left", "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 lists c; 10.0.0.5 lists b",
	  NULL },
	{ { "addresses of others do not matter", LO PLAIN, NULL, NULL, false, ADDRESS_CHOSEN,
	    "10.0.0.5", "default route", NULL, NULL },
	  "10.0.0.6 claims b; 2001:db8::5 lists b",
	  NULL },
	{ { "the veto settles what was ambiguous", LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24", NULL,
	    NULL, false, ADDRESS_CHOSEN, "10.1.0.5", "the only address left", "10.0.0.5",
	    SAYS_NOTHING },
	  "10.0.0.5 lists b",
	  NULL },
	{ { "the veto leaves two equals", LO "eth0 10.0.0.5/24; eth1 10.1.0.5/24; eth2 10.2.0.5/24",
	    NULL, NULL, false, ADDRESS_AMBIGUOUS, NULL, "10.0.0.5 on eth0, 10.2.0.5 on eth2",
	    "10.1.0.5", SAYS_NOTHING },
	  "10.1.0.5 lists b",
	  NULL },
	{ { "a dropped address is not said to be vetoed", LO "eth0 down 10.0.0.5/24", NULL, NULL,
	    false, ADDRESS_NONE, NULL, "its link is down", "10.0.0.5", "its link is down" },
	  "10.0.0.5 claims b",
	  NULL },
	{ { "the same address on two links: both", LO "eth0 10.0.0.5/24; eth1 10.0.0.5/24", NULL,
	    NULL, false, ADDRESS_VETOED, NULL,
	    "10.0.0.5 on eth0 is also on host 'b' (node n-b), 10.0.0.5 on "
	    "eth1 is also",
	    "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 lists b",
	  NULL },
	/* What this node had before */
	{ { "own address, listed by another", LO PLAIN "; eth1 10.1.0.5/24", NULL, NULL, false,
	    ADDRESS_CHOSEN, "10.0.0.5", "default route", "10.0.0.5",
	    "also on host 'b' (node n-b)" },
	  "10.0.0.5 lists b",
	  "10.0.0.5" },
	{ { "own address, claimed by another", LO PLAIN "; eth1 10.1.0.5/24", NULL, NULL, false,
	    ADDRESS_CHOSEN, "10.1.0.5", "left", "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 lists a; 10.0.0.5 claims b",
	  "10.0.0.5" },
	{ { "another address is own", LO PLAIN "; eth1 10.1.0.5/24", NULL, NULL, false,
	    ADDRESS_CHOSEN, "10.1.0.5", "left", "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 lists b",
	  "10.1.0.5" },
	/* Nothing is left */
	{ { "bridged containers: both are 172.17.0.2", CONTAINER, NULL, "172.17.0.2", false,
	    ADDRESS_VETOED, NULL,
	    "no address of this host is its own: 172.17.0.2 on eth0 is also on host 'b' (node n-b); "
	    "container networks have the same addresses on every host: a container must be run with "
	    "--net=host (docker) to have an address of its own",
	    "172.17.0.2", SAYS_NOTHING },
	  "172.17.0.2 claims b; 10.0.0.6 lists b",
	  NULL },
	{ { "bridged container in a network of its own", LO "eth0=veth 172.18.0.2/16 default", NULL,
	    NULL, false, ADDRESS_VETOED, NULL, "--net=host", "172.18.0.2", SAYS_NOTHING },
	  "172.18.0.2 lists b",
	  NULL },
	{ { "only docker0 is left, and etcd is behind it", LO "eth0 fe80::1/64;" DOCKER0, NULL,
	    "172.17.0.1", false, ADDRESS_VETOED, NULL, "172.17.0.1 on docker0 is also on host 'b'",
	    "172.17.0.1", SAYS_NOTHING },
	  "172.17.0.1 claims b",
	  NULL },
	{ { "... and containers are what it is about", LO "eth0 fe80::1/64;" DOCKER0, NULL,
	    "172.17.0.1", false, ADDRESS_VETOED, NULL, "--net=host (docker)", NULL, NULL },
	  "172.17.0.1 lists b",
	  NULL },
	{ { "hardware: no word about containers", LO PLAIN, NULL, NULL, false, ADDRESS_VETOED, NULL,
	    "also on host 'b' (node n-b); give this host an address that no other host has, or name "
	    "one with --address",
	    "10.0.0.5", SAYS_NOTHING },
	  "10.0.0.5 claims b",
	  NULL },
	{ { "many duplicates",
	    LO "eth0 10.0.0.1/24 10.0.0.2/24 10.0.0.3/24 10.0.0.4/24 10.0.0.5/24 "
	       "10.0.0.6/24 10.0.0.7/24 10.0.0.8/24",
	    NULL, NULL, false, ADDRESS_VETOED, NULL,
	    "10.0.0.6 on eth0 is also on host 'b' (node n-b) and 2 more; give", NULL, NULL },
	  "10.0.0.1 lists b; 10.0.0.2 lists b; 10.0.0.3 lists b; 10.0.0.4 lists b; "
	  "10.0.0.5 lists b; 10.0.0.6 lists b; 10.0.0.7 lists b; 10.0.0.8 lists b",
	  NULL },
	/* Loopback */
	{ { "loopback is no way out of a veto", CONTAINER, NULL, "127.0.0.1", true, ADDRESS_VETOED,
	    NULL, "172.17.0.2 on eth0 is also", "127.0.0.1", "loopback" },
	  "172.17.0.2 lists b",
	  NULL },
	{ { "loopback itself is claimed elsewhere", LO "eth0 fe80::1/64", NULL, "127.0.0.1", true,
	    ADDRESS_VETOED, NULL, "127.0.0.1 on lo is also on host 'b'", "127.0.0.1",
	    SAYS_NOTHING },
	  "127.0.0.1 claims b",
	  NULL },
	{ { "loopback is taken when others have other addresses", LO "eth0 fe80::1/64", NULL,
	    "127.0.0.1", true, ADDRESS_CHOSEN, "127.0.0.1", "every etcd endpoint is loopback", NULL,
	    NULL },
	  "10.0.0.6 claims b",
	  NULL },
	{ { "loopback claimed elsewhere, not allowed here", LO "eth0 fe80::1/64", NULL, NULL, false,
	    ADDRESS_NONE, NULL, "127.0.0.1 on lo (loopback)", NULL, NULL },
	  "127.0.0.1 claims b",
	  NULL },
	/* Explicit */
	{ { "a wish for what is claimed", LO PLAIN, "10.0.0.5", NULL, false, ADDRESS_UNSATISFIABLE,
	    NULL,
	    "--address 10.0.0.5 cannot be satisfied: 10.0.0.5 on eth0: claimed by host 'b' "
	    "(node n-b)",
	    "10.0.0.5", "claimed by host 'b' (node n-b)" },
	  "10.0.0.5 claims b",
	  NULL },
	{ { "a wish for what is only listed", LO PLAIN ";" DOCKER0, "172.17.0.1", NULL, false,
	    ADDRESS_CHOSEN, "172.17.0.1", "names it", "172.17.0.1", "also on host 'b' (node n-b)" },
	  "172.17.0.1 lists b",
	  NULL },
	{ { "a wish for an own address that is claimed now", LO PLAIN, "10.0.0.5", NULL, false,
	    ADDRESS_UNSATISFIABLE, NULL, "claimed by", NULL, NULL },
	  "10.0.0.5 claims b",
	  "10.0.0.5" },
	{ { "a wished interface: the address that is not claimed",
	    LO "eth0 10.0.0.5/24 10.0.0.6/24,secondary", "eth0", NULL, false, ADDRESS_CHOSEN,
	    "10.0.0.6", "--address eth0 names it", "10.0.0.5", "claimed by host 'b'" },
	  "10.0.0.5 claims b",
	  NULL },
	{ { "a wished interface: the claim is told rather than link-local",
	    LO "eth0 169.254.1.1/16 192.168.0.5/24", "eth0", NULL, false, ADDRESS_UNSATISFIABLE,
	    NULL, "192.168.0.5 on eth0: claimed by host 'b'", "169.254.1.1", "link-local" },
	  "192.168.0.5 claims b",
	  NULL },
	{ { "a wished network", LO PLAIN "; eth1 10.1.0.5/24", "10.0.0.0/8", NULL, false,
	    ADDRESS_CHOSEN, "10.1.0.5", "names it", "10.0.0.5", "claimed by host 'b'" },
	  "10.0.0.5 claims b; 10.1.0.5 lists b",
	  NULL },
	{ { "reach: the source is claimed", CONTAINER, "reach:etcd", "172.17.0.2", false,
	    ADDRESS_UNSATISFIABLE, NULL, "172.17.0.2 on eth0: claimed by host 'b'", NULL, NULL },
	  "172.17.0.2 claims b",
	  NULL },
	{ { "reach: the source is listed", LO PLAIN, "reach:etcd", "10.0.0.5", false,
	    ADDRESS_CHOSEN, "10.0.0.5", "reach:etcd names it", NULL, NULL },
	  "10.0.0.5 lists b",
	  NULL },
	{ { "a veto on what the wish does not mean", LO PLAIN "; eth1 10.1.0.5/24", "10.1.0.5",
	    NULL, false, ADDRESS_CHOSEN, "10.1.0.5", "names it", "10.0.0.5", "not what --address" },
	  "10.0.0.5 claims b",
	  NULL },
};

struct veto_list {
	struct address_veto *items;
	size_t len, cap;
};

static struct veto_list vetoes(const char *text)
{
	CLEAN(str_list) struct str_list lines = { 0 };
	struct veto_list list = { 0 };

	str_list_split(&lines, text ? text : "", ';');
	for (size_t i = 0; i < lines.len; i++) {
		CLEAN(str_list) struct str_list words = { 0 };
		struct address_veto veto = { 0 };

		str_list_split(&words, lines.items[i], ' ');
		assert_int_equal(words.len, 3);
		veto.address = parsed(words.items[0]);
		veto.claimed = str_eq(words.items[1], "claims");
		assert_true(veto.claimed || str_eq(words.items[1], "lists"));
		(void)snprintf(veto.holder, sizeof(veto.holder), "host '%s' (node n-%s)",
			       words.items[2], words.items[2]);
		GROW(list.items, list.len, list.cap);
		list.items[list.len++] = veto;
	}
	return list;
}

static void choose(const struct layout_case *c, const struct veto_case *others,
		   const struct interfaces *all, struct address_choice *ret)
{
	struct address_question question = {
		.interfaces = all,
		.wish = c->wish,
		.loopback_allowed = c->loopback_allowed,
	};
	const struct veto_list list = vetoes(others ? others->vetoes : NULL);
	struct address own = { 0 };

	question.vetoes = list.items;
	question.vetoes_len = list.len;
	if (c->store)
		question.towards_store = parsed(c->store);
	if (others && others->own)
		own = parsed(others->own);
	question.own = others ? &own : NULL;
	address_choose(&question, ret);
	free(list.items);
}

static void check_candidate(const struct address_choice *choice, const char *address,
			    const char *because)
{
	const struct address wanted = parsed(address);

	for (size_t i = 0; i < choice->len; i++) {
		if (!address_equal(&choice->candidates[i].address, &wanted))
			continue;
		if (!strstr(choice->candidates[i].reason, because))
			fail_msg("%s: '%s' lacks '%s'", address, choice->candidates[i].reason,
				 because);
		return;
	}
	fail_msg("%s is not listed", address);
}

static void run_case(const struct layout_case *c, const struct veto_case *others)
{
	CLEAN(interfaces) struct interfaces all = layout(c->layout);
	struct address_choice choice;
	char address[ADDRESS_TEXT_SIZE];

	choose(c, others, &all, &choice);
	print_message("  %s\n      %s\n", c->name, choice.reason);
	assert_int_equal(choice.outcome, c->outcome);
	assert_int_equal(choice.len, all.addresses_len);
	address_format(&choice.address, address);
	assert_string_equal(address, c->address ? c->address : "none");
	assert_non_null(strstr(choice.reason, c->reason));
	if (c->of)
		check_candidate(&choice, c->of, c->because);
	address_choice_fini(&choice);
}

static void run_cases(const struct layout_case *cases, size_t len)
{
	for (size_t i = 0; i < len; i++)
		run_case(&cases[i], NULL);
}

static void test_derived(void **state)
{
	(void)state;
	run_cases(derived_cases, ARRAY_LEN(derived_cases));
}

static void test_wished(void **state)
{
	(void)state;
	run_cases(wished_cases, ARRAY_LEN(wished_cases));
}

static void test_vetoed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vetoed_cases); i++)
		run_case(&vetoed_cases[i].layout, &vetoed_cases[i]);
}

static void test_ranks(void **state)
{
	static const struct {
		const char *address;
		bool excluded;
		int rank;
	} expected[] = {
		{ "10.0.0.5", false, 0 }, { "10.1.0.5", false, 1 }, { "10.2.0.5", false, 1 },
		{ "10.3.0.5", false, 2 }, { "127.0.0.1", true, 0 }, { "::1", true, 0 },
	};
	CLEAN(interfaces)
	struct interfaces all = layout(LO "e3=veth 10.3.0.5/24; e2 10.2.0.5/24; e1 10.1.0.5/24; e0 "
					  "10.0.0.5/24 default,via=10.0.0.1");
	struct address_choice choice;

	(void)state;
	address_choose(&(struct address_question){ .interfaces = &all }, &choice);
	assert_int_equal(choice.len, ARRAY_LEN(expected));
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		/* Equal ranks stand in the order of links: e2 is link 3, e1 is link 4. */
		const size_t at = i == 1 ? 2 : i == 2 ? 1 : i;
		const struct address address = parsed(expected[at].address);

		assert_true(address_equal(&choice.candidates[i].address, &address));
		assert_int_equal(choice.candidates[i].excluded, expected[at].excluded);
		if (!expected[at].excluded)
			assert_int_equal(choice.candidates[i].rank, expected[at].rank);
	}
	address_choice_fini(&choice);
}

static void replace(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

static void test_json(void **state)
{
	static const struct {
		const char *layout;
		const char *wish;
		const char *vetoes;
		const char *expected; /* ' for ", ~ for ' */
	} cases[] = {
		{ "lo 127.0.0.1/8; eth0=veth 10.0.0.5/24 default,metric=7", NULL, NULL,
		  "{'outcome':'chosen','address':'10.0.0.5','interface':'eth0',"
		  "'reason':'10.0.0.5 on eth0: default route, metric 7','candidates':["
		  "{'address':'10.0.0.5','interface':'eth0','kind':'veth','excluded':false,'rank':0,"
		  "'reason':'default route, metric 7, virtual (veth)','holder':null},"
		  "{'address':'127.0.0.1','interface':'lo','kind':'','excluded':true,'rank':null,"
		  "'reason':'loopback','holder':null}]}" },
		{ "lo", NULL, NULL,
		  "{'outcome':'none','address':null,'interface':null,"
		  "'reason':'this host has no usable address: its interfaces have none at all; "
		  "waiting for the network, or name one with --address','candidates':[]}" },
		{ "eth0 10.0.0.5/24; eth1 10.1.0.5/24", NULL, NULL,
		  "{'outcome':'ambiguous','address':null,'interface':null,"
		  "'reason':'10.0.0.5 on eth0, 10.1.0.5 on eth1 are equal by every rule, and no route "
		  "tells them apart; name one with --address (an address, an interface name or a "
		  "CIDR)','candidates':["
		  "{'address':'10.0.0.5','interface':'eth0','kind':'','excluded':false,'rank':0,"
		  "'reason':'no default route','holder':null},"
		  "{'address':'10.1.0.5','interface':'eth1','kind':'','excluded':false,'rank':0,"
		  "'reason':'no default route','holder':null}]}" },
		{ "eth0 ghost 10.0.0.5/24", "eth1", NULL,
		  "{'outcome':'unsatisfiable','address':null,'interface':null,"
		  "'reason':'--address eth1 cannot be satisfied: this host has no such interface (and "
		  "it is no address and no CIDR); the host has 10.0.0.5','candidates':["
		  "{'address':'10.0.0.5','interface':null,'kind':'','excluded':true,'rank':null,"
		  "'reason':'not what --address eth1 names','holder':null}]}" },
		{ "eth0 10.0.0.5/24", NULL, "10.0.0.5 lists b",
		  "{'outcome':'vetoed','address':null,'interface':null,"
		  "'reason':'no address of this host is its own: 10.0.0.5 on eth0 is also on host ~b~ "
		  "(node n-b); give this host an address that no other host has, or name one with "
		  "--address','candidates':["
		  "{'address':'10.0.0.5','interface':'eth0','kind':'','excluded':true,'rank':null,"
		  "'reason':'also on host ~b~ (node n-b): an address that two live hosts have says "
		  "nothing','holder':'host ~b~ (node n-b)'}]}" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(interfaces) struct interfaces all = layout(cases[i].layout);
		const struct veto_list list = vetoes(cases[i].vetoes);
		struct address_choice choice;

		address_choose(&(struct address_question){ .interfaces = &all,
							   .wish = cases[i].wish,
							   .vetoes = list.items,
							   .vetoes_len = list.len },
			       &choice);
		free(list.items);
		CLEAN(json) struct cJSON *json = address_choice_to_json(&choice);
		CLEAN(str) char *text = json_text(json);

		replace(text, '\'', '~');
		replace(text, '"', '\'');
		assert_string_equal(text, cases[i].expected);
		address_choice_fini(&choice);
	}
}

static void test_table(void **state)
{
	static const struct {
		const char *layout;
		const char *wish;
		const char *vetoes;
		const char *expected;
	} cases[] = {
		{ "lo 127.0.0.1/8; e0 10.0.0.5/24 default; docker0=bridge 172.17.0.1/16; "
		  "wg0=wireguard 10.8.0.2/24; eth1 10.1.0.5/24",
		  NULL, "10.1.0.5 claims b",
		  "RANK  ADDRESS     INTERFACE  KIND       VERDICT    REASON\n"
		  "0     10.0.0.5    e0         -          chosen     default route, metric 0\n"
		  "1     10.8.0.2    wg0        wireguard  candidate  no default route, virtual "
		  "(wireguard)\n"
		  "-     127.0.0.1   lo         -          dropped    loopback\n"
		  "-     172.17.0.1  docker0    bridge     dropped    a bridge with neither a default "
		  "route nor the route to etcd through it\n"
		  "-     10.1.0.5    eth1       -          vetoed     also on host 'b' (node n-b): an "
		  "address that two live hosts have says nothing\n" },
		{ "e0 10.0.0.5/24; e1=veth 10.2.0.5/24; e2 10.1.0.5/24", NULL, NULL,
		  "RANK  ADDRESS   INTERFACE  KIND  VERDICT    REASON\n"
		  "0     10.0.0.5  e0         -     equal      no default route\n"
		  "0     10.1.0.5  e2         -     equal      no default route\n"
		  "1     10.2.0.5  e1         veth  candidate  no default route, virtual (veth)\n" },
		{ "e0 ghost 10.0.0.5/24; e1 10.1.0.5/24; e2 10.2.0.5/24", "10.1.0.5",
		  "10.1.0.5 claims b; 10.2.0.5 claims b",
		  "RANK  ADDRESS   INTERFACE  KIND  VERDICT  REASON\n"
		  "-     10.0.0.5  -          -     dropped  not what --address 10.1.0.5 names\n"
		  "-     10.1.0.5  e1         -     vetoed   claimed by host 'b' (node n-b)\n"
		  "-     10.2.0.5  e2         -     dropped  not what --address 10.1.0.5 names\n" },
		{ "e0 2001:db8::5/64", NULL, "2001:db8::5 lists \033[31mb\n",
		  "RANK  ADDRESS      INTERFACE  KIND  VERDICT  REASON\n"
		  "-     2001:db8::5  e0         -     vetoed   also on host '?[31mb' (node n-?[31mb): "
		  "an address that two live hosts have says nothing\n" },
		{ "", NULL, NULL, "RANK  ADDRESS  INTERFACE  KIND  VERDICT  REASON\n" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(interfaces) struct interfaces all = layout(cases[i].layout);
		const struct veto_list list = vetoes(cases[i].vetoes);
		struct address_choice choice;

		address_choose(&(struct address_question){ .interfaces = &all,
							   .wish = cases[i].wish,
							   .vetoes = list.items,
							   .vetoes_len = list.len },
			       &choice);
		CLEAN(str) char *text = address_choice_to_table(&choice);

		assert_string_equal(text, cases[i].expected);
		address_choice_fini(&choice);
		free(list.items);
	}
}

/* Random hosts */

static uint64_t seed = 20261122;

/* xorshift; rand() would not be the same everywhere. */
static unsigned int below(unsigned int n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned int)((seed >> 33) % n);
}

static bool one_in(unsigned int n)
{
	return below(n) == 0;
}

/* Every third host is a plain one; without those few would have two equal candidates. */
static bool plain_host;

static bool odd(unsigned int n)
{
	return !plain_host && one_in(n);
}

static struct address random_address(void)
{
	static const char *const pool[] = {
		"10.0.0.5",    "10.0.0.6",  "10.1.0.5",	 "192.168.1.2", "172.17.0.1",
		"169.254.1.1", "127.0.0.1", "127.0.1.1", "8.8.8.8",	"224.0.0.1",
		"0.0.0.0",     "::1",	    "fe80::1",	 "2001:db8::5", "2001:db8::6",
		"fd00::5",     "ff02::1",
	};

	return parsed(pool[below(ARRAY_LEN(pool))]);
}

static void random_links(struct interfaces *all)
{
	static const char *const kinds[] = { "bridge", "bridge", "veth", "vlan",
					     "bond",   "tun",	 "vrf" };
	const unsigned int links = plain_host ? 5 : below(6);

	for (unsigned int i = 1; i <= links; i++) {
		struct interface_link link = { .index = (int)i,
					       .master = odd(5) ? (int)below(6) : 0 };
		const char *kind = odd(2) ? kinds[below(ARRAY_LEN(kinds))] : "";

		(void)snprintf(link.name, sizeof(link.name), "eth%u", i);
		memcpy(link.kind, kind, strlen(kind));
		link.flags = (odd(6) ? 0 : IFF_UP) | (odd(6) ? 0 : IFF_RUNNING) |
			     (odd(6) ? IFF_LOOPBACK : 0);
		GROW(all->links, all->links_len, all->links_cap);
		all->links[all->links_len++] = link;
	}
}

static void random_addresses(struct interfaces *all)
{
	static const uint32_t flags[] = { IFA_F_SECONDARY, IFA_F_TENTATIVE, IFA_F_DADFAILED,
					  IFA_F_DEPRECATED, IFA_F_PERMANENT };
	static const uint8_t scopes[] = { 0, 200, 253, 254, 255 };
	const unsigned int addresses = below(9);

	for (unsigned int i = 0; i < addresses; i++) {
		struct interface_address address = { .link = (int)below(7),
						     .address = random_address() };

		address.prefix = (int)below(address.address.family == AF_INET ? 33 : 129);
		address.scope = odd(2) ? scopes[below(ARRAY_LEN(scopes))] : 0;
		address.flags = odd(3) ? flags[below(ARRAY_LEN(flags))] : 0;
		/* The kernel holds one address twice on one link only with two prefixes. */
		bool known = false;

		for (size_t k = 0; k < all->addresses_len; k++)
			known |= all->addresses[k].link == address.link &&
				 all->addresses[k].prefix == address.prefix &&
				 address_equal(&all->addresses[k].address, &address.address);
		if (known)
			continue;
		GROW(all->addresses, all->addresses_len, all->addresses_cap);
		all->addresses[all->addresses_len++] = address;
	}
}

static void random_routes(struct interfaces *all)
{
	const unsigned int routes = one_in(2) ? 0 : below(4);

	for (unsigned int i = 0; i < routes; i++) {
		struct interface_route route = { .table = one_in(3) ? below(300) : 254,
						 .metric = below(3),
						 .link = (int)below(6) };

		route.gateway = one_in(3) ? (struct address){ 0 } : random_address();
		route.family = route.gateway.family ? route.gateway.family : AF_INET;
		route.source = one_in(4) ? random_address() : (struct address){ 0 };
		GROW(all->routes, all->routes_len, all->routes_cap);
		all->routes[all->routes_len++] = route;
	}
}

static void swap(void *items, size_t size, size_t a, size_t b)
{
	char aside[256];
	char *bytes = items;

	assert_true(size <= sizeof(aside));
	memcpy(aside, bytes + a * size, size);
	memmove(bytes + a * size, bytes + b * size, size);
	memcpy(bytes + b * size, aside, size);
}

static void shuffle(void *items, size_t len, size_t size)
{
	for (size_t i = len; i > 1; i--)
		swap(items, size, i - 1, below((unsigned int)i));
}

static void random_vetoes(struct veto_list *list)
{
	static const char *const holders[] = { "host 'b' (node y)", "host 'c' (node z)", "" };
	const unsigned int len = one_in(2) ? 0 : below(6);

	for (unsigned int i = 0; i < len; i++) {
		struct address_veto veto = { .address = random_address(), .claimed = one_in(3) };

		memccpy(veto.holder, holders[below(ARRAY_LEN(holders))], '\0', sizeof(veto.holder));
		GROW(list->items, list->len, list->cap);
		list->items[list->len++] = veto;
	}
}

/* The contract's vetoes, said a second time. */
static bool is_vetoed(const struct address_question *q, const struct address *address)
{
	bool claimed = false;
	bool listed = false;

	for (size_t i = 0; i < q->vetoes_len; i++) {
		const bool same = address_equal(&q->vetoes[i].address, address);

		claimed |= same && q->vetoes[i].claimed;
		listed |= same && !q->vetoes[i].claimed;
	}
	return claimed || (listed && !q->wish && !(q->own && address_equal(q->own, address)));
}

/* The contract's exclusions, said a second time and without the module's tables. */
static bool may_be_chosen(const struct address_question *q, const struct interface_address *address)
{
	const struct interface_link *link = interfaces_link(q->interfaces, address->link);
	bool led_to = false;

	if (!link || !(link->flags & IFF_UP) || address_is_link_local(&address->address) ||
	    address_is_unusable(&address->address) ||
	    (address->flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) ||
	    is_vetoed(q, &address->address))
		return false;
	if (q->wish)
		return true;
	if (address_is_loopback(&address->address))
		return q->loopback_allowed;
	if ((address->flags & IFA_F_DEPRECATED) || address->scope >= 254 ||
	    (address->address.family == AF_INET6 && (address->flags & IFA_F_TEMPORARY)))
		return false;
	for (size_t i = 0; i < q->interfaces->routes_len; i++)
		led_to |= q->interfaces->routes[i].link == link->index;
	for (size_t i = 0; i < q->interfaces->addresses_len; i++)
		led_to |= q->interfaces->addresses[i].link == link->index &&
			  q->towards_store.family &&
			  address_equal(&q->interfaces->addresses[i].address, &q->towards_store);
	return led_to || !str_eq(link->kind, "bridge");
}

static bool some_entry_may_be_chosen(const struct address_question *q,
				     const struct address_choice *choice)
{
	const struct interface_link *link = interfaces_link_by_name(q->interfaces, choice->link);

	for (size_t i = 0; link && i < q->interfaces->addresses_len; i++)
		if (q->interfaces->addresses[i].link == link->index &&
		    address_equal(&q->interfaces->addresses[i].address, &choice->address) &&
		    may_be_chosen(q, &q->interfaces->addresses[i]))
			return true;
	return false;
}

/* Without vetoes there is none of it; and who is said to be vetoed would be kept without. */
static void check_vetoes(const struct address_question *q, const struct address_choice *choice)
{
	struct address_question without = *q;
	struct address_choice free_choice;
	size_t vetoed = 0;

	without.vetoes_len = 0;
	address_choose(&without, &free_choice);
	for (size_t i = 0; i < choice->len; i++) {
		const struct address_candidate *candidate = &choice->candidates[i];
		bool was_kept = false;

		vetoed += candidate->vetoed;
		assert_false(candidate->vetoed && !candidate->excluded);
		for (size_t k = 0; k < free_choice.len; k++)
			was_kept |= !free_choice.candidates[k].excluded &&
				    address_equal(&free_choice.candidates[k].address,
						  &candidate->address);
		assert_true(was_kept || !candidate->vetoed);
		assert_true(!candidate->vetoed || is_vetoed(q, &candidate->address));
	}
	assert_true(free_choice.outcome != ADDRESS_VETOED);
	assert_true(vetoed || choice->outcome != ADDRESS_VETOED);
	if (!vetoed)
		assert_int_equal(choice->outcome, free_choice.outcome);
	address_choice_fini(&free_choice);
}

static void check_choice(const struct address_question *q, const struct address_choice *choice)
{
	size_t kept = 0;

	while (kept < choice->len && !choice->candidates[kept].excluded)
		kept++;
	for (size_t i = kept; i < choice->len; i++)
		assert_true(choice->candidates[i].excluded);
	assert_int_equal(choice->len, q->interfaces->addresses_len);
	assert_int_equal(kept == 0, choice->outcome == ADDRESS_NONE ||
					    choice->outcome == ADDRESS_UNSATISFIABLE ||
					    choice->outcome == ADDRESS_VETOED);
	check_vetoes(q, choice);
	if (choice->outcome != ADDRESS_CHOSEN) {
		assert_int_equal(choice->address.family, 0);
		return;
	}
	assert_true(some_entry_may_be_chosen(q, choice));
	assert_true(address_equal(&choice->candidates[0].address, &choice->address));
	/* The kernel's own answer is never overruled by another kept address. */
	for (size_t i = 0; i < kept; i++)
		if (!q->wish && address_equal(&choice->candidates[i].address, &q->towards_store))
			assert_true(address_equal(&choice->address, &q->towards_store));
}

static void assert_same(const struct address_choice *a, const struct address_choice *b)
{
	assert_int_equal(a->outcome, b->outcome);
	assert_true(address_equal(&a->address, &b->address));
	assert_string_equal(a->link, b->link);
	assert_string_equal(a->reason, b->reason);
	assert_int_equal(a->len, b->len);
	for (size_t i = 0; i < a->len; i++) {
		assert_true(address_equal(&a->candidates[i].address, &b->candidates[i].address));
		assert_string_equal(a->candidates[i].link, b->candidates[i].link);
		assert_int_equal(a->candidates[i].rank, b->candidates[i].rank);
		assert_string_equal(a->candidates[i].reason, b->candidates[i].reason);
	}
}

static void test_random_hosts(void **state)
{
	static const char *const wishes[] = { "10.0.0.5",   "127.0.0.1", "eth1",    "eth2",
					      "10.0.0.0/8", "::/0",	 "fe80::1", "reach:db" };
	size_t outcomes[ADDRESS_VETOED + 1] = { 0 };

	(void)state;
	for (size_t i = 0; i < 20000; i++) {
		CLEAN(interfaces) struct interfaces all = { 0 };
		struct veto_list list = { 0 };
		const struct address own = random_address();
		struct address_choice first;
		struct address_choice second;

		plain_host = one_in(3);
		random_links(&all);
		random_addresses(&all);
		random_routes(&all);
		random_vetoes(&list);
		struct address_question question = { .interfaces = &all,
						     .loopback_allowed = one_in(2),
						     .vetoes = list.items,
						     .vetoes_len = list.len,
						     .own = one_in(3) ? &own : NULL };

		if (one_in(3))
			question.wish = wishes[below(ARRAY_LEN(wishes))];
		if (one_in(2))
			question.towards_store = random_address();
		address_choose(&question, &first);
		check_choice(&question, &first);
		outcomes[first.outcome]++;
		shuffle(all.links, all.links_len, sizeof(*all.links));
		shuffle(all.addresses, all.addresses_len, sizeof(*all.addresses));
		shuffle(all.routes, all.routes_len, sizeof(*all.routes));
		shuffle(list.items, list.len, sizeof(*list.items));
		address_choose(&question, &second);
		assert_same(&first, &second);
		address_choice_fini(&first);
		address_choice_fini(&second);
		free(list.items);
	}
	print_message("  %zu chosen, %zu none, %zu ambiguous, %zu unsatisfiable, %zu vetoed\n",
		      outcomes[ADDRESS_CHOSEN], outcomes[ADDRESS_NONE], outcomes[ADDRESS_AMBIGUOUS],
		      outcomes[ADDRESS_UNSATISFIABLE], outcomes[ADDRESS_VETOED]);
	/* The random hosts must reach every outcome, or the property says little. */
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		assert_true(outcomes[i] > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_derived),	     cmocka_unit_test(test_wished),
		cmocka_unit_test(test_vetoed),	     cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_json),	     cmocka_unit_test(test_table),
		cmocka_unit_test(test_random_hosts),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
