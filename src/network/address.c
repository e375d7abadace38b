/* SPDX-License-Identifier: MIT */
/*
 * IP addresses and prefixes as values: literals in, canonical text out. Never
 * resolves a name and never guesses: what is not exactly an address is refused.
 */
#include "cmsnode/network/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/base/str.h"

static size_t address_size(int family)
{
	if (family == AF_INET)
		return 4;
	return family == AF_INET6 ? 16 : 0;
}

int address_parse(const char *text, struct address *ret)
{
	struct address address = { .family = AF_INET };

	if (inet_pton(AF_INET, text, address.bytes) != 1) {
		address.family = AF_INET6;
		if (inet_pton(AF_INET6, text, address.bytes) != 1)
			return -EINVAL;
	}
	*ret = address;
	return 0;
}

void address_format(const struct address *address, char ret[ADDRESS_TEXT_SIZE])
{
	if (!address_size(address->family) ||
	    !inet_ntop(address->family, address->bytes, ret, ADDRESS_TEXT_SIZE))
		memcpy(ret, "none", sizeof("none"));
}

int address_compare(const struct address *a, const struct address *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, address_size(a->family));
}

bool address_equal(const struct address *a, const struct address *b)
{
	return address_compare(a, b) == 0;
}

/* A socket for both families shows IPv4 peers as ::ffff:a.b.c.d; judge what they are. */
static struct address unmapped(const struct address *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (address->family != AF_INET6 || memcmp(address->bytes, mapped, sizeof(mapped)) != 0)
		return *address;
	struct address plain = { .family = AF_INET };

	memcpy(plain.bytes, address->bytes + 12, 4);
	return plain;
}

bool address_is_loopback(const struct address *address)
{
	static const uint8_t one[16] = { [15] = 1 };
	const struct address plain = unmapped(address);

	if (plain.family == AF_INET)
		return plain.bytes[0] == 127;
	return plain.family == AF_INET6 && memcmp(plain.bytes, one, 16) == 0;
}

bool address_is_link_local(const struct address *address)
{
	const struct address plain = unmapped(address);

	if (plain.family == AF_INET)
		return plain.bytes[0] == 169 && plain.bytes[1] == 254;
	return plain.family == AF_INET6 && plain.bytes[0] == 0xfe &&
	       (plain.bytes[1] & 0xc0) == 0x80;
}

bool address_is_unusable(const struct address *address)
{
	static const uint8_t zero[16];
	static const uint8_t broadcast[4] = { 255, 255, 255, 255 };
	const struct address plain = unmapped(address);

	if (plain.family == AF_INET)
		return memcmp(plain.bytes, zero, 4) == 0 ||
		       memcmp(plain.bytes, broadcast, 4) == 0 || (plain.bytes[0] & 0xf0) == 0xe0;
	if (plain.family == AF_INET6)
		return memcmp(plain.bytes, zero, 16) == 0 || plain.bytes[0] == 0xff;
	return true;
}

static int parse_prefix(const char *digits, int family, int *ret)
{
	int64_t prefix;

	/* Only the one way to write a number: no sign, no leading zero. */
	if (!isdigit((unsigned char)digits[0]) || (digits[0] == '0' && digits[1]))
		return -EINVAL;
	if (str_to_int64(digits, 0, (int64_t)address_size(family) * 8, &prefix) < 0)
		return -EINVAL;
	*ret = (int)prefix;
	return 0;
}

int address_parse_cidr(const char *text, struct address *ret, int *ret_prefix)
{
	char host[ADDRESS_TEXT_SIZE];
	const char *slash = strchr(text, '/');
	if (!slash || (size_t)(slash - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	struct address address;
	int prefix;

	if (address_parse(host, &address) < 0 ||
	    parse_prefix(slash + 1, address.family, &prefix) < 0)
		return -EINVAL;
	*ret = address;
	*ret_prefix = prefix;
	return 0;
}

static bool same_prefix(const struct address *a, const struct address *b, int prefix)
{
	if (a->family != b->family || prefix < 0 || (size_t)prefix > address_size(a->family) * 8)
		return false;
	const size_t whole = (size_t)prefix / 8;
	const int rest = prefix % 8;

	if (memcmp(a->bytes, b->bytes, whole) != 0)
		return false;
	return rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0;
}

bool address_in_cidr(const struct address *address, const struct address *net, int prefix)
{
	if (!address_size(address->family))
		return false;
	const struct address plain = unmapped(address);

	return same_prefix(address, net, prefix) || same_prefix(&plain, net, prefix);
}
