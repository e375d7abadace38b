/* SPDX-License-Identifier: MIT */
/* The snapshot as a value: order, equality, copies and searches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/network/interfaces.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sort_makes_equal),
		cmocka_unit_test(test_equal_sees_each_field),
		cmocka_unit_test(test_copy_and_empty),
		cmocka_unit_test(test_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
