/* SPDX-License-Identifier: MIT */
/*
 * Inside address_choice: the table that its three files share. address_rules.c
 * says what is dropped, address_choice.c ranks what is kept and decides,
 * address_reasons.c puts both into words. Nobody else includes this.
 */
#ifndef CMSNODE_NETWORK_ADDRESS_SURVEY_H
#define CMSNODE_NETWORK_ADDRESS_SURVEY_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/network/address_choice.h"
#include "cmsnode/network/interfaces.h"

/* In order of weight; fewer points are better. */
enum criterion {
	CRITERION_DROPPED, /* only a wish lets a dropped address be ranked at all */
	CRITERION_STORE, /* 0 the source towards etcd, 1 beside it, 2 unrelated */
	CRITERION_CARRIER,
	CRITERION_ROUTE, /* how many default routes of the family are better, or INT_MAX */
	CRITERION_ROUTE_FIT,
	CRITERION_SCOPE,
	CRITERION_KIND,
	CRITERION_PORT,
	CRITERION_SECONDARY,
	CRITERION_FAMILY,
	CRITERIA,
};

enum wish_kind { WISH_NONE, WISH_ADDRESS, WISH_NET, WISH_LINK, WISH_REACH };

#define WISH_REACH_PREFIX "reach:"

struct wish {
	enum wish_kind kind;
	struct address address;
	int prefix;
};

struct survey;
struct entry;

struct rule {
	bool (*drops)(const struct survey *survey, const struct entry *entry);
	bool binding; /* a wish does not lift it: nobody could reach that address */
	bool passing; /* about the age of the address: its neighbours are as good */
	const char *reason; /* NULL: what the veto says */
};

/* How directly a default route speaks for an address, best first. */
enum route_fit { FIT_SOURCE, FIT_GATEWAY, FIT_LINK, FIT_NONE };

struct entry {
	const struct interface_address *address;
	const struct interface_link *link; /* NULL: not in the snapshot */
	const struct interface_route
		*route; /* the best default route that speaks for it, or NULL */
	const struct address_veto *veto; /* the one that weighs most, or NULL */
	const struct rule *dropped; /* the rule that dropped it, or NULL */
	bool wished;
	bool excluded;
	int points[CRITERIA];
	int rank;
};

struct survey {
	const struct address_question *question;
	struct wish wish;
	const struct address_veto **vetoes; /* by address, of each the weightiest first */
	struct entry *entries;
	size_t len;
	size_t kept; /* these come first once sorted */
	int *store_links; /* the links that carry the source address towards etcd */
	size_t store_links_len, store_links_cap;
	const struct interface_address
		*beside; /* a source towards etcd that will not last, or NULL */
	bool loopback_taken;
};

/* Is it the source address that the kernel uses towards etcd? */
bool address_survey_is_towards_store(const struct survey *survey, const struct address *address);

/* The bridge or bond that the link is a port of, or NULL. A VRF leaves the traffic to the link. */
const struct interface_link *address_survey_port_of(const struct survey *survey,
						    const struct interface_link *link);

/* The first criterion that tells them apart, CRITERIA if none does. */
enum criterion address_survey_first_difference(const struct entry *a, const struct entry *b);

/* address_rules.c: the first rule that drops the address, or NULL; entry->link may be NULL. */
const struct rule *address_rules_first(const struct survey *survey, const struct entry *entry);
bool address_rules_is_loopback(const struct rule *rule); /* dropped for being 127/8 or ::1 */
bool address_rules_is_veto(const struct rule *rule);
/* The rule of the veto if it drops this address, whatever the rules before it say; or NULL. */
const struct rule *address_rules_veto(const struct survey *survey, const struct entry *entry);

/* address_reasons.c: a phrase about one address; sentences about the outcome. The caller frees. */
char *address_reasons_candidate(const struct survey *survey, const struct entry *entry);
char *address_reasons_chosen(const struct survey *survey);
char *address_reasons_none(const struct survey *survey);
char *address_reasons_ambiguous(const struct survey *survey, size_t equals);
char *address_reasons_unsatisfiable(const struct survey *survey);
char *address_reasons_vetoed(const struct survey *survey);

#endif
