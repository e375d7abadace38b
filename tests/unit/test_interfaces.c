/* SPDX-License-Identifier: MIT */
/*
 * The snapshot as a value: order, equality, copies and searches; and whole hosts
 * as a kernel told them (tests/data/netlink): messages, snapshot, choice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/network/address_choice.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink_parse.h"

static struct address parsed(const char *text)
{
	struct address address = { 0 };

	assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static void add_link(struct interfaces *all, int index, const char *name, const char *kind)
{
	struct interface_link link = {
		.index = index, .flags = 1, .mac = { 2, 0, 0, 0, 0, 1 }, .mac_len = 6
	};

	memcpy(link.name, name, strlen(name));
	memcpy(link.kind, kind, strlen(kind));
	GROW(all->links, all->links_len, all->links_cap);
	all->links[all->links_len++] = link;
}

static void add_address(struct interfaces *all, int link, const char *text, int prefix)
{
	GROW(all->addresses, all->addresses_len, all->addresses_cap);
	all->addresses[all->addresses_len++] = (struct interface_address){
		.link = link,
		.address = parsed(text),
		.prefix = prefix,
		.valid_s = 3600,
		.preferred_s = 1800,
	};
}

static void add_route(struct interfaces *all, uint32_t metric, int link, const char *gateway)
{
	const struct address via = parsed(gateway);

	GROW(all->routes, all->routes_len, all->routes_cap);
	all->routes[all->routes_len++] = (struct interface_route){
		.family = via.family,
		.table = 254,
		.metric = metric,
		.link = link,
		.gateway = via,
	};
}

/* The same host twice, told in two orders. */
static struct interfaces host(bool backwards)
{
	struct interfaces all = { 0 };

	for (int step = 0; step < 3; step++) {
		switch (backwards ? 2 - step : step) {
		case 0:
			add_link(&all, 1, "lo", "");
			add_address(&all, 1, "127.0.0.1", 8);
			add_route(&all, 200, 2, "10.0.0.2");
			break;
		case 1:
			add_link(&all, 2, "ens5", "");
			add_address(&all, 2, "10.0.0.5", 24);
			add_route(&all, 100, 2, "10.0.0.1");
			break;
		default:
			add_link(&all, 3, "docker0", "bridge");
			add_address(&all, 3, "2001:db8::5", 64);
			add_route(&all, 100, 2, "fe80::1");
			break;
		}
	}
	return all;
}

static void test_sort_makes_equal(void **state)
{
	CLEAN(interfaces) struct interfaces a = host(false);
	CLEAN(interfaces) struct interfaces b = host(true);

	(void)state;
	assert_false(interfaces_equal(&a, &b));
	interfaces_sort(&a);
	interfaces_sort(&b);
	assert_true(interfaces_equal(&a, &b));
	assert_int_equal(a.links[0].index, 1);
	assert_int_equal(a.routes[0].metric, 100);
	assert_int_equal(a.routes[1].metric, 200);
}

static void link_name(struct interfaces *all)
{
	all->links[1].name[0] = 'x';
}
static void link_kind(struct interfaces *all)
{
	all->links[1].kind[0] = 'x';
}
static void link_flags(struct interfaces *all)
{
	all->links[1].flags ^= 64;
}
static void link_master(struct interfaces *all)
{
	all->links[1].master = 3;
}
static void link_mac(struct interfaces *all)
{
	all->links[1].mac[5]++;
}
static void link_mac_len(struct interfaces *all)
{
	all->links[1].mac_len = 0;
}
static void link_permanent(struct interfaces *all)
{
	all->links[1].mac_permanent = true;
}
static void link_gone(struct interfaces *all)
{
	all->links_len--;
}
static void address_link(struct interfaces *all)
{
	all->addresses[1].link = 9;
}
static void address_value(struct interfaces *all)
{
	all->addresses[1].address.bytes[3]++;
}
static void address_prefix(struct interfaces *all)
{
	all->addresses[1].prefix++;
}
static void address_scope(struct interfaces *all)
{
	all->addresses[1].scope = 253;
}
static void address_flags(struct interfaces *all)
{
	all->addresses[1].flags ^= 0x20;
}
static void address_lifetime(struct interfaces *all)
{
	all->addresses[1].valid_s--;
}
static void address_preferred(struct interfaces *all)
{
	all->addresses[1].preferred_s--;
}
static void address_gone(struct interfaces *all)
{
	all->addresses_len--;
}
static void route_table(struct interfaces *all)
{
	all->routes[1].table++;
}
static void route_metric(struct interfaces *all)
{
	all->routes[1].metric++;
}
static void route_link(struct interfaces *all)
{
	all->routes[1].link++;
}
static void route_gateway(struct interfaces *all)
{
	all->routes[1].gateway.bytes[3]++;
}
static void route_source(struct interfaces *all)
{
	all->routes[1].source = parsed("10.0.0.5");
}
static void route_gone(struct interfaces *all)
{
	all->routes_len--;
}

static void test_equal_sees_each_field(void **state)
{
	static const struct {
		const char *name;
		void (*change)(struct interfaces *all);
		bool equal;
	} cases[] = {
		{ "link name", link_name, false },
		{ "link kind", link_kind, false },
		{ "link flags", link_flags, false },
		{ "link master", link_master, false },
		{ "link mac", link_mac, false },
		{ "link mac length", link_mac_len, false },
		{ "link permanent", link_permanent, false },
		{ "link gone", link_gone, false },
		{ "address link", address_link, false },
		{ "address value", address_value, false },
		{ "address prefix", address_prefix, false },
		{ "address scope", address_scope, false },
		{ "address flags", address_flags, false },
		{ "valid lifetime", address_lifetime, true },
		{ "preferred lifetime", address_preferred, true },
		{ "address gone", address_gone, false },
		{ "route table", route_table, false },
		{ "route metric", route_metric, false },
		{ "route link", route_link, false },
		{ "route gateway", route_gateway, false },
		{ "route source", route_source, false },
		{ "route gone", route_gone, false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(interfaces) struct interfaces a = host(false);
		CLEAN(interfaces) struct interfaces b = { 0 };

		print_message("  %s\n", cases[i].name);
		interfaces_sort(&a);
		interfaces_copy(&b, &a);
		assert_true(interfaces_equal(&a, &b));
		cases[i].change(&b);
		assert_int_equal(interfaces_equal(&a, &b), cases[i].equal);
		assert_int_equal(interfaces_equal(&b, &a), cases[i].equal);
	}
}

static void test_copy_and_empty(void **state)
{
	CLEAN(interfaces) struct interfaces a = host(false);
	CLEAN(interfaces) struct interfaces b = host(true);
	CLEAN(interfaces) struct interfaces empty = { 0 };

	(void)state;
	interfaces_copy(&b, &a);
	assert_true(interfaces_equal(&a, &b));
	assert_ptr_not_equal(a.links, b.links);
	/* A copy must be able to grow. */
	add_link(&b, 4, "veth1", "veth");
	assert_int_equal(b.links_len, 4);
	interfaces_copy(&a, &a);
	assert_int_equal(a.links_len, 3);

	interfaces_sort(&empty);
	interfaces_copy(&b, &empty);
	assert_true(interfaces_equal(&b, &empty));
	add_link(&b, 1, "lo", "");
	assert_int_equal(b.links_len, 1);
	assert_null(interfaces_link(&empty, 1));
}

static void test_search(void **state)
{
	CLEAN(interfaces) struct interfaces all = host(true);
	const struct address present = parsed("10.0.0.5");
	const struct address absent = parsed("10.0.0.6");

	(void)state;
	assert_string_equal(interfaces_link(&all, 2)->name, "ens5");
	assert_null(interfaces_link(&all, 4));
	assert_int_equal(interfaces_link_by_name(&all, "docker0")->index, 3);
	assert_null(interfaces_link_by_name(&all, "docker"));
	assert_int_equal(interfaces_find(&all, &present)->link, 2);
	assert_null(interfaces_find(&all, &absent));
}

/* Recorded hosts */

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = strchr(digits, c);

	assert_true(c && at);
	return (int)(at - digits);
}

/* Lines of hex digits; blank ones and those with '#' in front are not part of it. */
static void read_hex(const char *name, struct buf *ret)
{
	const char *srcdir = getenv("srcdir");
	CLEAN(str) char *path =
		xasprintf("%s/tests/data/netlink/%s.hex", srcdir ? srcdir : ".", name);
	FILE *file = fopen(path, "r");
	char line[256];

	if (!file)
		fail_msg("%s not found: set srcdir to the source folder", path);
	while (fgets(line, sizeof(line), file)) {
		for (const char *at = line; *at != '#' && isxdigit((unsigned char)*at); at += 2) {
			const char byte = (char)(digit(at[0]) << 4 | digit(at[1]));

			assert_int_equal(buf_add(ret, &byte, 1), 0);
		}
	}
	(void)fclose(file);
	assert_true(ret->len > 0);
}

/* "NAME=KIND[+][<MASTER]" of each link, + for one that is up and has a carrier. */
static char *describe_links(const struct interfaces *all)
{
	struct buf text = BUF_INIT(0);

	for (size_t i = 0; i < all->links_len; i++) {
		const struct interface_link *link = &all->links[i];
		const struct interface_link *master = interfaces_link(all, link->master);
		const unsigned int well = IFF_UP | IFF_RUNNING;

		(void)buf_addf(&text, "%s%s=%s%s", i ? " " : "", link->name, link->kind,
			       (link->flags & well) == well ? "+" : "");
		if (master)
			(void)buf_addf(&text, "<%s", master->name);
	}
	return buf_steal(&text);
}

static const struct recorded_case {
	const char *name;
	const char *links;
	const char *store;
	const char *expected;
	const char *reason; /* a part of the sentence about the outcome */
	const char *of; /* a candidate ... */
	const char *because; /* ... and a part of its reason */
} recorded_cases[] = {
	{ "bond_vlan", "lo=+ eth0=+<bond0 eth1=+<bond0 bond0=bond+ bond0.100=vlan+ lb0=dummy+",
	  NULL, "10.100.0.5", "10.100.0.5 on bond0.100: default route, metric 400", "192.168.50.5",
	  "no default route" },
	{ "bond_vlan", "lo=+ eth0=+<bond0 eth1=+<bond0 bond0=bond+ bond0.100=vlan+ lb0=dummy+",
	  "192.168.50.5", "192.168.50.5", "towards etcd", "10.100.0.200", "virtual (dummy)" },
	{ "vpn", "lo=+ eth0=+ eth1= tun0=tun+ wg0=wireguard+", NULL, "10.8.0.2",
	  "10.8.0.2 on tun0: default route, metric 50", "10.9.0.2", "virtual (wireguard)" },
	{ "vpn", "lo=+ eth0=+ eth1= tun0=tun+ wg0=wireguard+", "10.0.0.5", "10.0.0.5",
	  "towards etcd", "10.8.0.2", "metric 50, virtual (tun)" },
	{ "macvlan", "lo=+ eth0=macvlan+", NULL, "10.0.3.77",
	  "10.0.3.77 on eth0: default route, metric 0", "10.0.3.77", "virtual (macvlan)" },
	{ "ipvlan", "lo=+ eth0=ipvlan+", NULL, "10.0.3.78", "the only address left", "10.0.3.78",
	  "virtual (ipvlan)" },
	{ "k3s",
	  "lo=+ eth0=+ eth1= flannel.1=vxlan+ cni0=bridge+ pod0=veth+ vethb0b0=veth+<cni0 "
	  "kube-ipvs0=dummy",
	  NULL, "192.168.1.20", "default route, metric 100", "10.42.0.0", "virtual (vxlan)" },
	{ "k3s",
	  "lo=+ eth0=+ eth1= flannel.1=vxlan+ cni0=bridge+ pod0=veth+ vethb0b0=veth+<cni0 "
	  "kube-ipvs0=dummy",
	  NULL, "192.168.1.20", "on eth0", "10.43.0.10", "its link is down" },
	{ "proxmox", "lo=+ eth0=+<vmbr0 eth1= vmbr0=bridge+ tap100i0=tun+<vmbr0 vmbr0.20=vlan+",
	  NULL, "10.10.0.2", "10.10.0.2 on vmbr0: default route, metric 0", "10.20.0.2",
	  "no default route" },
	{ "vrf_team", "lo=+ eth0=+<team0 eth1=+<mgmt mgmt=vrf+ team0=team+", NULL, "10.0.0.4",
	  "10.0.0.4 on team0: default route, metric 7", "10.9.0.4",
	  "default route, metric 0, in table 10" },
};

static void check_reason(const struct address_choice *choice, const struct recorded_case *c)
{
	const struct address wanted = parsed(c->of);

	for (size_t i = 0; i < choice->len; i++)
		if (address_equal(&choice->candidates[i].address, &wanted)) {
			assert_non_null(strstr(choice->candidates[i].reason, c->because));
			return;
		}
	fail_msg("%s is not listed", c->of);
}

static void test_recorded_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(recorded_cases); i++) {
		const struct recorded_case *c = &recorded_cases[i];
		CLEAN(interfaces) struct interfaces all = { 0 };
		CLEAN(buf) struct buf messages = BUF_INIT(0);
		struct address_question question = { .interfaces = &all };
		struct address_choice choice;

		read_hex(c->name, &messages);
		assert_int_equal(netlink_parse(messages.data, messages.len, &all), 0);
		interfaces_sort(&all);
		CLEAN(str) char *links = describe_links(&all);

		print_message("  %s: %s\n", c->name, links);
		assert_string_equal(links, c->links);
		if (c->store)
			question.towards_store = parsed(c->store);
		address_choose(&question, &choice);
		print_message("      %s\n", choice.reason);
		assert_int_equal(choice.outcome, ADDRESS_CHOSEN);
		const struct address expected = parsed(c->expected);

		assert_true(address_equal(&choice.address, &expected));
		assert_non_null(strstr(choice.reason, c->reason));
		check_reason(&choice, c);
		address_choice_fini(&choice);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sort_makes_equal),
		cmocka_unit_test(test_equal_sees_each_field),
		cmocka_unit_test(test_copy_and_empty),
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_recorded_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
