/* SPDX-License-Identifier: MIT */
/*
 * The snapshot of links, addresses and default routes as a value: copied, put
 * into one order, compared, searched. Never asks the kernel.
 */
#include "cmsnode/network/interfaces.h"

#include <string.h>

#include "cmsnode/base/mem.h"

#define THREE_WAY(a, b) (((a) > (b)) - ((a) < (b)))

/* The first difference decides. */
#define COMPARE_FIELD(a, b, field)                                \
	do {                                                      \
		if ((a)->field != (b)->field)                     \
			return THREE_WAY((a)->field, (b)->field); \
	} while (0)

void interfaces_fini(struct interfaces *interfaces)
{
	free(interfaces->links);
	free(interfaces->addresses);
	free(interfaces->routes);
	*interfaces = (struct interfaces){ 0 };
}

void interfaces_copy(struct interfaces *to, const struct interfaces *from)
{
	if (to == from)
		return;
	interfaces_fini(to);
	to->links = xmemdup(from->links, from->links_len * sizeof(*from->links));
	to->links_len = to->links_cap = from->links_len;
	to->addresses = xmemdup(from->addresses, from->addresses_len * sizeof(*from->addresses));
	to->addresses_len = to->addresses_cap = from->addresses_len;
	to->routes = xmemdup(from->routes, from->routes_len * sizeof(*from->routes));
	to->routes_len = to->routes_cap = from->routes_len;
}

static int compare_links(const void *left, const void *right)
{
	const struct interface_link *a = left;
	const struct interface_link *b = right;

	COMPARE_FIELD(a, b, index);
	const int by_name = strcmp(a->name, b->name);
	if (by_name)
		return by_name;
	const int by_kind = strcmp(a->kind, b->kind);
	if (by_kind)
		return by_kind;
	COMPARE_FIELD(a, b, flags);
	COMPARE_FIELD(a, b, master);
	COMPARE_FIELD(a, b, mac_permanent);
	COMPARE_FIELD(a, b, mac_len);
	return memcmp(a->mac, b->mac, sizeof(a->mac));
}

/* Lifetimes are left out: they count down without anything having changed. */
static int compare_addresses(const void *left, const void *right)
{
	const struct interface_address *a = left;
	const struct interface_address *b = right;

	COMPARE_FIELD(a, b, link);
	const int by_address = address_compare(&a->address, &b->address);
	if (by_address)
		return by_address;
	COMPARE_FIELD(a, b, prefix);
	COMPARE_FIELD(a, b, scope);
	COMPARE_FIELD(a, b, flags);
	return 0;
}

static int compare_routes(const void *left, const void *right)
{
	const struct interface_route *a = left;
	const struct interface_route *b = right;

	COMPARE_FIELD(a, b, family);
	COMPARE_FIELD(a, b, table);
	COMPARE_FIELD(a, b, metric);
	COMPARE_FIELD(a, b, link);
	const int by_gateway = address_compare(&a->gateway, &b->gateway);
	if (by_gateway)
		return by_gateway;
	return address_compare(&a->source, &b->source);
}

typedef int compare_function(const void *, const void *);

static void sort_array(void *items, size_t len, size_t size, compare_function *compare)
{
	/* An empty array may be NULL, which qsort() may not be given. */
	if (len > 1)
		qsort(items, len, size, compare);
}

void interfaces_sort(struct interfaces *interfaces)
{
	sort_array(interfaces->links, interfaces->links_len, sizeof(*interfaces->links),
		   compare_links);
	sort_array(interfaces->addresses, interfaces->addresses_len, sizeof(*interfaces->addresses),
		   compare_addresses);
	sort_array(interfaces->routes, interfaces->routes_len, sizeof(*interfaces->routes),
		   compare_routes);
}

bool interfaces_equal(const struct interfaces *a, const struct interfaces *b)
{
	if (a->links_len != b->links_len || a->addresses_len != b->addresses_len ||
	    a->routes_len != b->routes_len)
		return false;
	for (size_t i = 0; i < a->links_len; i++)
		if (compare_links(&a->links[i], &b->links[i]) != 0)
			return false;
	for (size_t i = 0; i < a->addresses_len; i++)
		if (compare_addresses(&a->addresses[i], &b->addresses[i]) != 0)
			return false;
	for (size_t i = 0; i < a->routes_len; i++)
		if (compare_routes(&a->routes[i], &b->routes[i]) != 0)
			return false;
	return true;
}

const struct interface_link *interfaces_link(const struct interfaces *interfaces, int index)
{
	for (size_t i = 0; i < interfaces->links_len; i++)
		if (interfaces->links[i].index == index)
			return &interfaces->links[i];
	return NULL;
}

const struct interface_link *interfaces_link_by_name(const struct interfaces *interfaces,
						     const char *name)
{
	for (size_t i = 0; i < interfaces->links_len; i++)
		if (strcmp(interfaces->links[i].name, name) == 0)
			return &interfaces->links[i];
	return NULL;
}

const struct interface_address *interfaces_find(const struct interfaces *interfaces,
						const struct address *address)
{
	for (size_t i = 0; i < interfaces->addresses_len; i++)
		if (address_equal(&interfaces->addresses[i].address, address))
			return &interfaces->addresses[i];
	return NULL;
}
