/* SPDX-License-Identifier: MIT */
/*
 * Gathers what the choice of this node's address rests on: the wish, the way
 * towards etcd, what other hosts claim. The choice itself is address_choice.c's,
 * what follows from it node.c's.
 */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink.h"
#include "cmsnode/store/etcd.h"
#include "cmsnode/topology/resolver.h"
#include "node_internal.h"

/* Hosts whose addresses matter: etcd's (which way do we go?), reach:HOST, static slots. */
void node_look_up(struct node *node)
{
	CLEAN(str_list) struct str_list hosts = { 0 };
	const struct generation *agreed =
		node->driver ? agreement_agreed(agreement_driver_agreement(node->driver)) : NULL;

	for (size_t i = 0; i < node->options->etcd.len && !node->options->standalone; i++) {
		char *host;
		int port;

		if (etcd_endpoint_parse(node->options->etcd.items[i], &host, &port, NULL) == 0)
			str_list_take(&hosts, host);
	}
	if (node->options->address && str_starts(node->options->address, "reach:"))
		str_list_add(&hosts, node->options->address + strlen("reach:"));
	if (agreed || node->seed)
		derive_static_hosts(agreed ? agreed : node->seed, &hosts);
	resolver_request(node->resolver, &hosts);
}

/*
 * The source address that the kernel would use towards the first of these hosts that it has a way
 * to.
 */
static void source_towards(struct node *node, const char *host, struct address *ret)
{
	const struct resolved_host *resolved =
		resolved_hosts_find(resolver_answers(node->resolver), host);

	for (size_t i = 0; resolved && i < resolved->len && !ret->family; i++)
		if (!address_is_loopback(&resolved->addresses[i]))
			(void)netlink_source(node->netlink, &resolved->addresses[i], ret, NULL);
}

static void source_towards_store(struct node *node, struct address *ret)
{
	for (size_t i = 0; i < node->options->etcd.len && !ret->family; i++) {
		CLEAN(str) char *host = NULL;
		int port;

		if (etcd_endpoint_parse(node->options->etcd.items[i], &host, &port, NULL) == 0)
			source_towards(node, host, ret);
	}
}

bool node_endpoints_are_loopback(const struct options *options)
{
	for (size_t i = 0; i < options->etcd.len; i++) {
		CLEAN(str) char *host = NULL;
		int port;

		if (etcd_endpoint_parse(options->etcd.items[i], &host, &port, NULL) < 0 ||
		    !slots_host_is_loopback(host))
			return false;
	}
	return options->etcd.len > 0;
}

static void add_veto(struct address_veto *vetoes, size_t *len, const struct registration *other,
		     const char *text, const char *held)
{
	struct address_veto *veto = &vetoes[*len];

	/* What stands in our own registration is the agreement's to judge: the older claim wins. */
	if (str_eq(held, text) || address_parse(text, &veto->address) < 0)
		return;
	veto->claimed = strcmp(text, other->address) == 0;
	(void)snprintf(veto->holder, sizeof(veto->holder), "host '%.63s' (node %.63s)",
		       other->hostname, other->id);
	(*len)++;
}

/* What live nodes of other hosts claim or list. The caller frees. */
static struct address_veto *list_vetoes(const struct node *node, size_t *ret_len)
{
	const struct registrations *all =
		node->driver ? agreement_registrations(agreement_driver_agreement(node->driver)) :
			       NULL;
	const bool registered =
		node->driver && agreement_is_registered(agreement_driver_agreement(node->driver));
	const char *held = registered ? node->self.address : NULL;
	size_t most = 0;

	*ret_len = 0;
	for (size_t i = 0; all && i < all->len; i++)
		most += all->items[i].addresses.len + 1;
	struct address_veto *vetoes = xcalloc(most, sizeof(*vetoes));

	for (size_t i = 0; all && i < all->len; i++) {
		const struct registration *other = &all->items[i];
		if (strcmp(other->id, node->self.id) == 0 ||
		    registration_same_host(other, &node->self))
			continue;
		if (other->address[0])
			add_veto(vetoes, ret_len, other, other->address, held);
		for (size_t k = 0; k < other->addresses.len; k++)
			add_veto(vetoes, ret_len, other, other->addresses.items[k], held);
	}
	return vetoes;
}

static bool has_other_link(const struct interfaces *interfaces)
{
	for (size_t i = 0; i < interfaces->links_len; i++)
		if (!(interfaces->links[i].flags & IFF_LOOPBACK))
			return true;
	return false;
}

/*
 * 127.0.0.1 is for one machine with its own etcd and nothing else: never for a
 * node that had an address that others can reach, and not before DHCP had its time.
 */
static bool may_use_loopback(const struct node *node)
{
	const char *held = node->self.address && node->self.address[0] ? node->self.address :
									 node->last_address;

	if (!node_endpoints_are_loopback(node->options) || (held && !slots_host_is_loopback(held)))
		return false;
	return !has_other_link(netlink_snapshot(node->netlink)) ||
	       clock_now_ms() - node->started_ms >= NODE_QUIET_MS;
}

void node_choose(struct node *node)
{
	struct address own = { 0 };
	size_t vetoes_len;
	struct address_veto *vetoes = list_vetoes(node, &vetoes_len);

	struct address_question question = { .interfaces = netlink_snapshot(node->netlink),
					     .wish = node->options->address,
					     .loopback_allowed = may_use_loopback(node),
					     .vetoes = vetoes,
					     .vetoes_len = vetoes_len,
					     .own = &own };

	if (node->last_address)
		(void)address_parse(node->last_address, &own);

	if (question.wish && str_starts(question.wish, "reach:"))
		source_towards(node, question.wish + strlen("reach:"), &question.towards_store);
	else
		source_towards_store(node, &question.towards_store);
	address_choice_fini(&node->choice);
	address_choose(&question, &node->choice);
	free(vetoes);
}

/* All addresses of the host that another host could mean. */
void node_list_addresses(const struct node *node, struct str_list *ret)
{
	const struct interfaces *interfaces = netlink_snapshot(node->netlink);

	str_list_fini(ret);
	for (size_t i = 0; i < interfaces->addresses_len; i++) {
		const struct address *address = &interfaces->addresses[i].address;
		char text[ADDRESS_TEXT_SIZE];

		if (address_is_loopback(address) || address_is_link_local(address))
			continue;
		address_format(address, text);
		if (!str_list_has(ret, text))
			str_list_add(ret, text);
	}
	str_list_sort(ret);
}
