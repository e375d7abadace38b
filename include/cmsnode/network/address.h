/* SPDX-License-Identifier: MIT */
/* IP addresses and prefixes as values. Pure: nothing is resolved. */
#ifndef CMSNODE_NETWORK_ADDRESS_H
#define CMSNODE_NETWORK_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#define ADDRESS_TEXT_SIZE 64

struct address {
	int family;		/* AF_INET, AF_INET6; 0 = none */
	uint8_t bytes[16];	/* network order; the first 4 for AF_INET */
};

/*
 * A literal in the usual notation, without brackets, zone or blanks. 0, or
 * -EINVAL; *ret is untouched then.
 */
int address_parse(const char *text, struct address *ret);

/* The canonical text (RFC 5952 for IPv6); "none" for family 0. */
void address_format(const struct address *address, char ret[ADDRESS_TEXT_SIZE]);

bool address_equal(const struct address *a, const struct address *b);

/*
 * A total order: none, then IPv4, then IPv6, each by value. Negative, 0 or positive, as memcmp().
 */
int address_compare(const struct address *a, const struct address *b);

/* These judge an IPv4 address that is written as IPv6 (::ffff:a.b.c.d) as the IPv4 address. */
bool address_is_loopback(const struct address *address);	/* 127/8, ::1 */
bool address_is_link_local(const struct address *address);	/* 169.254/16, fe80::/10 */
/* none, unspecified, multicast, broadcast 255.255.255.255 */
bool address_is_unusable(const struct address *address);

/*
 * "10.0.0.0/8"; bits behind the prefix may be set and do not count. 0, or
 * -EINVAL (also without a prefix); nothing is written then.
 */
int address_parse_cidr(const char *text, struct address *ret, int *ret_prefix);

/* False for different families, save ::ffff:a.b.c.d in an IPv4 network. */
bool address_in_cidr(const struct address *address, const struct address *net, int prefix);

#endif
