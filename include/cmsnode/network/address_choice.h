/* SPDX-License-Identifier: MIT */
/*
 * Which of the host's addresses is this node's address, and why. A pure
 * ranking over the snapshot, with the rule that kept or dropped each address.
 *
 * Order: an explicit wish wins and must be satisfiable; else the source address
 * that the kernel would use towards etcd; else the link of the default route
 * (lowest metric); else scope, then physical before virtual kinds, then the
 * order of links. Excluded: loopback, link-local, tentative, deprecated,
 * temporary, links that are down, and a bridge with neither a default route nor
 * the route to etcd through it (docker0). The kind otherwise only lowers the
 * rank: an uplink may be a bridge or a veth.
 *
 * Details: a link without carrier ranks below all that have one, whatever its
 * routes, but not if it is the kernel's choice towards etcd. Default routes of
 * table main come before those of other tables; their metrics are compared
 * within a family. On the link of a default route its own source address comes
 * first, then the network of its gateway. If the source towards etcd is only
 * temporary or deprecated, the other addresses of its network on that link take
 * its place. An address on the loopback interface that is not a loopback address
 * counts only if a route has it as source. The order of links settles only what
 * routes speak for equally; without any such route equals are ambiguous.
 *
 * A wish lifts every exclusion but those that leave an address unreachable:
 * link-local, tentative, and a link that is down or gone.
 *
 * Vetoes: an address that a live node of another host claims, or only lists
 * among its own, is no evidence of anything (two hosts may have the same
 * docker0), so it is dropped from what is derived. A wish gives way to a claim
 * only: docker0's address is listed by every host that has one, yet it may be
 * what the operator means. A list never takes from this node what it had before.
 * Loopback is no way out of a veto: the other host shows that it would be wrong.
 */
#ifndef CMSNODE_NETWORK_ADDRESS_CHOICE_H
#define CMSNODE_NETWORK_ADDRESS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

#include "cmsnode/network/address.h"

struct interfaces;
struct cJSON;

enum address_outcome {
	ADDRESS_CHOSEN,
	ADDRESS_NONE,		/* no candidate yet: wait and say so */
	ADDRESS_AMBIGUOUS,	/* two candidates of equal rank: --address would settle it */
	ADDRESS_UNSATISFIABLE,	/* the explicit wish matches nothing, or only what is claimed */
	ADDRESS_VETOED,		/* every candidate is an address that another host has too */
};

#define ADDRESS_HOLDER_SIZE 192

/* What one live node of another host says about one address. */
struct address_veto {
	struct address address;
	bool claimed;		/* as its own address; else it only lists it */
	char holder[ADDRESS_HOLDER_SIZE];	/* for people: "host 'x' (node y)" */
};

struct address_question {
	const struct interfaces *interfaces;
	/* --address: NULL, or an address, an interface name, a CIDR, "reach:HOST" */
	const char *wish;
	/*
	 * source address towards etcd; towards HOST if the wish is reach:HOST. Family 0 = unknown
	 */
	struct address towards_store;
	/* every etcd endpoint is loopback: 127.0.0.1 is taken if nothing else is left */
	bool loopback_allowed;
	/* by other hosts only, in any order; the same address may occur several times */
	const struct address_veto *vetoes;
	size_t vetoes_len;
	/* what this node id claimed last; NULL or family 0 = nothing */
	const struct address *own;
};

struct address_candidate {
	struct address address;
	char link[16];
	char kind[16];		/* "" = hardware */
	bool excluded;
	bool vetoed;		/* excluded for a veto, and for nothing else */
	int rank;		/* 0 = best; undefined when excluded */
	char *reason;		/* the rule that kept or dropped it, a phrase for people */
	/* NULL, or the holder of the veto on it, whether it counts or not */
	char *holder;
};

struct address_choice {
	enum address_outcome outcome;
	struct address address;		/* when ADDRESS_CHOSEN */
	char link[16];
	char *reason;			/* a sentence about the outcome */
	/* every address of the host, best first, excluded last */
	struct address_candidate *candidates;
	size_t len, cap;
};

void address_choice_fini(struct address_choice *choice);
void address_choose(const struct address_question *question, struct address_choice *ret);

/*
 * {"outcome": "chosen"|"none"|"ambiguous"|"unsatisfiable"|"vetoed", "address",
 * "interface", "reason", "candidates": [{"address","interface","kind","excluded",
 * "rank","reason","holder"}]}; address and interface are null unless chosen, rank is
 * null when excluded, holder is null without a veto. The caller frees.
 */
struct cJSON *address_choice_to_json(const struct address_choice *choice);

/*
 * The candidates as lines for people, in aligned columns under a line of titles:
 * RANK ADDRESS INTERFACE KIND VERDICT REASON. The verdict is chosen, equal (to the
 * best, which makes the choice ambiguous), candidate, vetoed or dropped; "-" stands
 * for nothing. Each line ends in a newline. The caller frees.
 */
char *address_choice_to_table(const struct address_choice *choice);

#endif
