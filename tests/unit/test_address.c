/* SPDX-License-Identifier: MIT */
/* Addresses and prefixes as values: what is accepted, what is refused, how each is judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/network/address.h"

static void test_parse_and_format(void **state)
{
	static const struct {
		const char *text;
		int family; /* 0 = refused */
		const char *canonical;
	} cases[] = {
		{ "10.0.3.17", AF_INET, "10.0.3.17" },
		{ "0.0.0.0", AF_INET, "0.0.0.0" },
		{ "255.255.255.255", AF_INET, "255.255.255.255" },
		{ "::1", AF_INET6, "::1" },
		{ "2001:DB8:0:0::0001", AF_INET6, "2001:db8::1" },
		{ "fe80::1", AF_INET6, "fe80::1" },
		{ "::ffff:10.0.0.1", AF_INET6, "::ffff:10.0.0.1" },
		{ "", 0, NULL },
		{ " 10.0.0.1", 0, NULL },
		{ "10.0.0.1 ", 0, NULL },
		{ "10.0.0", 0, NULL },
		{ "10.0.0.256", 0, NULL },
		{ "10.0.0.01", 0, NULL },
		{ "0x0a.0.0.1", 0, NULL },
		{ "167772161", 0, NULL },
		{ "10.0.0.1:80", 0, NULL },
		{ "10.0.0.1/8", 0, NULL },
		{ "[::1]", 0, NULL },
		{ "fe80::1%eth0", 0, NULL },
		{ "1::2::3", 0, NULL },
		{ "12345::", 0, NULL },
		{ "localhost", 0, NULL },
		{ "eth0", 0, NULL },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct address address = { .family = -1 };
		char text[ADDRESS_TEXT_SIZE];

		print_message("  '%s'\n", cases[i].text);
		if (!cases[i].family) {
			assert_int_equal(address_parse(cases[i].text, &address), -EINVAL);
			assert_int_equal(address.family, -1);
			continue;
		}
		assert_int_equal(address_parse(cases[i].text, &address), 0);
		assert_int_equal(address.family, cases[i].family);
		address_format(&address, text);
		assert_string_equal(text, cases[i].canonical);
	}
	char text[ADDRESS_TEXT_SIZE];

	address_format(&(struct address){ 0 }, text);
	assert_string_equal(text, "none");
}

static struct address parsed(const char *text)
{
	struct address address = { 0 };

	if (text[0])
		assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static void test_order(void **state)
{
	static const char *const ascending[] = { "",	     "0.0.0.0",	    "9.255.255.255",
						 "10.0.0.1", "10.0.0.2",    "::",
						 "::1",	     "2001:db8::1", "fe80::1" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ascending); i++) {
		for (size_t j = 0; j < ARRAY_LEN(ascending); j++) {
			const struct address a = parsed(ascending[i]);
			const struct address b = parsed(ascending[j]);
			const int order = address_compare(&a, &b);

			assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
			assert_int_equal(address_equal(&a, &b), i == j);
		}
	}
	/* Behind the four bytes of IPv4 may be anything. */
	struct address a = parsed("10.0.0.1");

	a.bytes[4] = 99;
	const struct address b = parsed("10.0.0.1");

	assert_true(address_equal(&a, &b));
}

static void test_classes(void **state)
{
	enum { PLAIN = 0, LOOPBACK = 1, LINK_LOCAL = 2, UNUSABLE = 4 };
	static const struct {
		const char *text;
		int classes;
	} cases[] = {
		{ "10.0.0.1", PLAIN },
		{ "172.17.0.1", PLAIN },
		{ "100.64.0.1", PLAIN },
		{ "126.255.255.255", PLAIN },
		{ "127.0.0.0", LOOPBACK },
		{ "127.0.1.1", LOOPBACK },
		{ "127.255.255.254", LOOPBACK },
		{ "128.0.0.0", PLAIN },
		{ "::1", LOOPBACK },
		{ "::2", PLAIN },
		{ "::ffff:127.0.0.1", LOOPBACK },
		{ "::ffff:10.0.0.1", PLAIN },
		{ "169.254.0.1", LINK_LOCAL },
		{ "169.254.169.254", LINK_LOCAL },
		{ "169.253.255.255", PLAIN },
		{ "169.255.0.0", PLAIN },
		{ "fe80::1", LINK_LOCAL },
		{ "febf:ffff::1", LINK_LOCAL },
		{ "fec0::1", PLAIN },
		{ "fe7f::1", PLAIN },
		{ "::ffff:169.254.1.1", LINK_LOCAL },
		{ "fd00::1", PLAIN },
		{ "0.0.0.0", UNUSABLE },
		{ "::", UNUSABLE },
		{ "", UNUSABLE },
		{ "255.255.255.255", UNUSABLE },
		{ "255.255.255.254", PLAIN },
		{ "224.0.0.1", UNUSABLE },
		{ "239.255.255.255", UNUSABLE },
		{ "223.255.255.255", PLAIN },
		{ "ff02::1", UNUSABLE },
		{ "::ffff:224.0.0.1", UNUSABLE },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct address address = parsed(cases[i].text);
		const int classes = (address_is_loopback(&address) ? LOOPBACK : 0) |
				    (address_is_link_local(&address) ? LINK_LOCAL : 0) |
				    (address_is_unusable(&address) ? UNUSABLE : 0);

		print_message("  '%s'\n", cases[i].text);
		assert_int_equal(classes, cases[i].classes);
	}
}

static void test_parse_cidr(void **state)
{
	static const struct {
		const char *text;
		const char *net; /* NULL = refused */
		int prefix;
	} cases[] = {
		{ "10.0.0.0/8", "10.0.0.0", 8 },
		{ "10.1.2.3/8", "10.1.2.3", 8 },
		{ "0.0.0.0/0", "0.0.0.0", 0 },
		{ "10.0.0.1/32", "10.0.0.1", 32 },
		{ "2001:db8::/32", "2001:db8::", 32 },
		{ "::/0", "::", 0 },
		{ "::1/128", "::1", 128 },
		{ "10.0.0.0", NULL, 0 },
		{ "10.0.0.0/", NULL, 0 },
		{ "10.0.0.0/33", NULL, 0 },
		{ "2001:db8::/129", NULL, 0 },
		{ "10.0.0.0/-1", NULL, 0 },
		{ "10.0.0.0/+8", NULL, 0 },
		{ "10.0.0.0/08", NULL, 0 },
		{ "10.0.0.0/ 8", NULL, 0 },
		{ "10.0.0.0/8 ", NULL, 0 },
		{ "10.0.0.0/8/8", NULL, 0 },
		{ "10.0.0.0/255.0.0.0", NULL, 0 },
		{ "10.0.0.0/99999999999999999999", NULL, 0 },
		{ "/8", NULL, 0 },
		{ "eth0/8", NULL, 0 },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"
		  "8",
		  NULL, 0 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct address net = { .family = -1 };
		int prefix = -1;

		print_message("  '%s'\n", cases[i].text);
		if (!cases[i].net) {
			assert_int_equal(address_parse_cidr(cases[i].text, &net, &prefix), -EINVAL);
			assert_int_equal(net.family, -1);
			assert_int_equal(prefix, -1);
			continue;
		}
		assert_int_equal(address_parse_cidr(cases[i].text, &net, &prefix), 0);
		const struct address expected = parsed(cases[i].net);

		assert_true(address_equal(&net, &expected));
		assert_int_equal(prefix, cases[i].prefix);
	}
}

static void test_in_cidr(void **state)
{
	static const struct {
		const char *address;
		const char *net;
		bool in;
	} cases[] = {
		{ "10.1.2.3", "10.0.0.0/8", true },
		{ "11.0.0.0", "10.0.0.0/8", false },
		{ "10.1.2.3", "10.9.9.9/8", true },
		{ "1.2.3.4", "0.0.0.0/0", true },
		{ "10.0.0.127", "10.0.0.0/25", true },
		{ "10.0.0.128", "10.0.0.0/25", false },
		{ "10.0.0.1", "10.0.0.1/32", true },
		{ "10.0.0.2", "10.0.0.1/32", false },
		{ "172.31.255.255", "172.16.0.0/12", true },
		{ "172.32.0.0", "172.16.0.0/12", false },
		{ "2001:db8:1::1", "2001:db8::/32", true },
		{ "2001:db9::1", "2001:db8::/32", false },
		{ "2001:db8::1", "2001:db8::2/127", false },
		{ "2001:db8::3", "2001:db8::2/127", true },
		{ "::1", "0.0.0.0/0", false },
		{ "10.0.0.1", "::/0", false },
		{ "::ffff:10.0.0.1", "10.0.0.0/8", true },
		{ "::ffff:10.0.0.1", "::ffff:0:0/96", true },
		{ "::ffff:11.0.0.1", "10.0.0.0/8", false },
		{ "", "0.0.0.0/0", false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct address address = parsed(cases[i].address);
		struct address net;
		int prefix;

		print_message("  '%s' in %s\n", cases[i].address, cases[i].net);
		assert_int_equal(address_parse_cidr(cases[i].net, &net, &prefix), 0);
		assert_int_equal(address_in_cidr(&address, &net, prefix), cases[i].in);
	}
	const struct address one = parsed("10.0.0.1");

	assert_false(address_in_cidr(&one, &one, 33));
	assert_false(address_in_cidr(&one, &one, -1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_and_format), cmocka_unit_test(test_order),
		cmocka_unit_test(test_classes),		 cmocka_unit_test(test_parse_cidr),
		cmocka_unit_test(test_in_cidr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
