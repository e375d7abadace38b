/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as rtnetlink messages: the snapshot made of them is well formed,
 * has one order, and an address can be chosen from it, with and without vetoes.
 */
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/network/address.h"
#include "cmsnode/network/address_choice.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	(void)fprintf(stderr, "does not hold: %s\n", what);
	abort();
}

static void check_links(const struct interfaces *all)
{
	for (size_t i = 0; i < all->links_len; i++) {
		const struct interface_link *link = &all->links[i];

		must(link->index > 0, "a link has an index");
		must(link->name[0] && memchr(link->name, '\0', sizeof(link->name)),
		     "it has a name");
		must(memchr(link->kind, '\0', sizeof(link->kind)), "its kind ends");
		must(link->mac_len <= sizeof(link->mac), "its mac fits");
	}
}

static void check_addresses(const struct interfaces *all)
{
	for (size_t i = 0; i < all->addresses_len; i++) {
		const struct interface_address *address = &all->addresses[i];
		const int bits = address->address.family == AF_INET ? 32 : 128;

		must(address->address.family == AF_INET || address->address.family == AF_INET6,
		     "an address has a family");
		must(address->prefix >= 0 && address->prefix <= bits, "its prefix is possible");
		must(interfaces_find(all, &address->address) != NULL, "it is found");
	}
}

/* Every second address is another host's too, every fourth as its own. */
static struct address_veto *make_vetoes(const struct interfaces *all)
{
	struct address_veto *vetoes = xcalloc(all->addresses_len / 2 + 1, sizeof(*vetoes));

	for (size_t i = 0; i < all->addresses_len / 2; i++) {
		vetoes[i].address = all->addresses[2 * i].address;
		vetoes[i].claimed = i % 2;
		memcpy(vetoes[i].holder, "host 'b'", sizeof("host 'b'"));
	}
	return vetoes;
}

static void check_vetoes(const struct address_question *question,
			 const struct address_choice *choice)
{
	for (size_t i = 0; choice->outcome == ADDRESS_CHOSEN && i < question->vetoes_len; i++)
		must((question->wish && !question->vetoes[i].claimed) ||
			     !address_equal(&question->vetoes[i].address, &choice->address),
		     "what is vetoed is not chosen");
	must(choice->outcome != ADDRESS_VETOED || question->vetoes_len, "a veto has a cause");
}

static void ask(const struct address_question *question)
{
	const struct interfaces *all = question->interfaces;
	struct address_choice choice;

	address_choose(question, &choice);
	check_vetoes(question, &choice);
	must(choice.len == all->addresses_len, "every address is listed");
	must(choice.reason && choice.reason[0], "there is a reason");
	if (choice.outcome == ADDRESS_CHOSEN)
		must(!choice.candidates[0].excluded &&
			     address_equal(&choice.candidates[0].address, &choice.address),
		     "the best is chosen");
	CLEAN(str) char *table = address_choice_to_table(&choice);

	must(strncmp(table, "RANK", 4) == 0, "there is a table");
	address_choice_fini(&choice);
}

static void check_choice(const struct interfaces *all, const char *wish)
{
	struct address_veto *vetoes = make_vetoes(all);
	struct address_question question = { .interfaces = all, .wish = wish };

	ask(&question);
	question.vetoes = vetoes;
	question.vetoes_len = all->addresses_len / 2;
	ask(&question);
	free(vetoes);
}

static void check_order(struct interfaces *all)
{
	CLEAN(interfaces) struct interfaces copy = { 0 };

	interfaces_sort(all);
	interfaces_copy(&copy, all);
	must(interfaces_equal(all, &copy), "a copy is equal");
	interfaces_sort(&copy);
	must(interfaces_equal(all, &copy), "sorting twice changes nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(interfaces) struct interfaces all = { 0 };
	/* Messages are aligned; a fuzzer's bytes need not be. */
	void *copy = xmemdup(data, size);
	const struct nlmsghdr *first = copy;

	(void)netlink_parse(copy, size, &all);
	(void)netlink_parse_has_change(copy, size);
	if (size >= sizeof(*first) && first->nlmsg_len >= sizeof(*first) &&
	    first->nlmsg_len <= size) {
		struct address source;

		(void)netlink_parse_source(first, &source);
	}
	free(copy);
	check_links(&all);
	check_addresses(&all);
	check_order(&all);
	check_choice(&all, NULL);
	check_choice(&all, all.links_len ? all.links[0].name : "::/0");
	return 0;
}
