/* SPDX-License-Identifier: MIT */
/*
 * What is dropped: the rules that keep an address from becoming this node's.
 * Never ranks and never looks at the order of anything.
 */
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "address_survey.h"
#include "cmsnode/base/mem.h"

static bool rule_gone(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return !entry->link;
}

static bool rule_unusable(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return address_is_unusable(&entry->address->address);
}

static bool rule_link_local(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return address_is_link_local(&entry->address->address);
}

static bool rule_duplicate(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return entry->address->flags & IFA_F_DADFAILED;
}

static bool rule_tentative(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return entry->address->flags & IFA_F_TENTATIVE;
}

static bool rule_down(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return !(entry->link->flags & IFF_UP);
}

static bool rule_loopback(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return address_is_loopback(&entry->address->address);
}

static bool is_default_source(const struct survey *survey, const struct address *address)
{
	const struct interfaces *all = survey->question->interfaces;

	for (size_t i = 0; i < all->routes_len; i++)
		if (address_equal(&all->routes[i].source, address))
			return true;
	return false;
}

/*
 * Load balancers put an address that other machines have too on `lo`; routing
 * daemons put the one address of the host there. The kernel's use of it as a
 * source tells them apart.
 */
static bool rule_on_loopback(const struct survey *survey, const struct entry *entry)
{
	const struct address *address = &entry->address->address;

	return (entry->link->flags & IFF_LOOPBACK) &&
	       !address_survey_is_towards_store(survey, address) &&
	       !is_default_source(survey, address);
}

static bool rule_host_scope(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return entry->address->scope >= RT_SCOPE_HOST;
}

static bool rule_deprecated(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return entry->address->flags & IFA_F_DEPRECATED;
}

/* The same bit means "secondary" in IPv4 and "temporary" in IPv6. */
static bool rule_temporary(const struct survey *survey, const struct entry *entry)
{
	(void)survey;
	return entry->address->address.family == AF_INET6 &&
	       (entry->address->flags & IFA_F_TEMPORARY);
}

static bool link_leads_to_store(const struct survey *survey, int index)
{
	for (size_t i = 0; i < survey->store_links_len; i++)
		if (survey->store_links[i] == index)
			return true;
	return false;
}

static bool link_has_default_route(const struct survey *survey, int index)
{
	const struct interfaces *all = survey->question->interfaces;

	for (size_t i = 0; i < all->routes_len; i++)
		if (all->routes[i].link == index)
			return true;
	return false;
}

static bool rule_bridge(const struct survey *survey, const struct entry *entry)
{
	return strcmp(entry->link->kind, "bridge") == 0 &&
	       !link_has_default_route(survey, entry->link->index) &&
	       !link_leads_to_store(survey, entry->link->index);
}

/* Who named the address itself is stopped only by a host that uses it as its own. */
static bool rule_claimed(const struct survey *survey, const struct entry *entry)
{
	return survey->wish.kind != WISH_NONE && entry->veto && entry->veto->claimed;
}

static bool rule_vetoed(const struct survey *survey, const struct entry *entry)
{
	const struct address *own = survey->question->own;

	if (survey->wish.kind != WISH_NONE || !entry->veto)
		return false;
	return entry->veto->claimed || !own || !address_equal(own, &entry->address->address);
}

static const struct rule veto_rule = { rule_vetoed, false, false, NULL };

/* The first rule that applies names the reason; those behind "gone" may look at the link. */
static const struct rule rules[] = {
	{ rule_gone, true, false, "its link is gone" },
	{ rule_unusable, true, false, "unspecified, multicast or broadcast" },
	{ rule_link_local, true, false, "link-local: other hosts cannot reach it" },
	{ rule_duplicate, true, false,
	  "another machine has it (duplicate address detection failed)" },
	{ rule_tentative, true, false, "tentative: duplicate address detection has not finished" },
	{ rule_down, true, false, "its link is down" },
	{ rule_claimed, true, false, NULL },
	{ rule_loopback, false, false, "loopback" },
	{ rule_on_loopback, false, false,
	  "on the loopback interface, and no route has it as source" },
	{ rule_host_scope, false, false, "valid on this host only (scope host)" },
	{ rule_deprecated, false, true, "deprecated: its preferred lifetime is over" },
	{ rule_temporary, false, true, "temporary (IPv6 privacy address): it will be replaced" },
	{ rule_bridge, false, false,
	  "a bridge with neither a default route nor the route to etcd through it" },
};

const struct rule *address_rules_first(const struct survey *survey, const struct entry *entry)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		if (rules[i].drops(survey, entry))
			return &rules[i];
	/* Last: it is a veto only of what would be a candidate without it. */
	return address_rules_veto(survey, entry);
}

const struct rule *address_rules_veto(const struct survey *survey, const struct entry *entry)
{
	return rule_vetoed(survey, entry) ? &veto_rule : NULL;
}

bool address_rules_is_loopback(const struct rule *rule)
{
	return rule && rule->drops == rule_loopback;
}

bool address_rules_is_veto(const struct rule *rule)
{
	return rule && (rule->drops == rule_vetoed || rule->drops == rule_claimed);
}
