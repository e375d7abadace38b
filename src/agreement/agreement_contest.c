/* SPDX-License-Identifier: MIT */
/*
 * Two that want the same: our address is claimed or listed by another live host,
 * or our id is registered by one. The newcomer gives way. Whether the other one
 * lives is proven, not believed: its key must keep existing for 25 s while its
 * lease's remaining time is seen to rise (only a renewal makes it rise; a dead
 * host's lease can live 17 s).
 */
#include "cmsnode/agreement/agreement.h"

#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define PROOF_MS 25000

static bool is_other_host(const struct agreement *a, const struct registration *other)
{
	return strcmp(other->id, a->self.id) != 0 && !registration_same_host(other, &a->self);
}

static const struct agreement_claim *find_claim(const struct agreement *a, const char *id)
{
	for (size_t i = 0; i < a->claims_len; i++)
		if (strcmp(a->claims[i].id, id) == 0)
			return &a->claims[i];
	return NULL;
}

/* The earliest claim of another host wins; while ours does not stand, any does. */
static bool claims_before_us(const struct agreement *a, const struct registration *other)
{
	const struct agreement_claim *theirs = find_claim(a, other->id);
	const struct agreement_claim *ours = find_claim(a, a->self.id);

	if (!theirs)
		return false;
	return !a->registered || !ours || theirs->create_revision < ours->create_revision;
}

/* A mere listing vetoes only what was derived, and never the address that this id claimed last. */
static bool lists_our_choice(const struct agreement *a, const struct registration *other)
{
	return !a->address_explicit && !a->registered && !str_eq(a->claimed, a->self.address) &&
	       str_list_has(&other->addresses, a->self.address);
}

const struct registration *agreement_rival(const struct agreement *a)
{
	const struct registration *lister = NULL;

	if (!a->self.address[0])
		return NULL;
	for (size_t i = 0; i < a->registrations.len; i++) {
		const struct registration *other = &a->registrations.items[i];
		if (!is_other_host(a, other))
			continue;
		if (claims_before_us(a, other))
			return other;
		if (!lister && lists_our_choice(a, other))
			lister = other;
	}
	return lister;
}

bool agreement_prove(struct agreement *a, const struct registration *rival)
{
	struct agreement_proof *proof = &a->proof;

	if (!str_eq(proof->incarnation, rival->incarnation)) {
		free(proof->incarnation);
		*proof = (struct agreement_proof){ .incarnation = xstrdup(rival->incarnation),
						   .since_ms = a->now_ms,
						   .last_ttl_s = -1 };
	}
	struct agreement_action *action = agreement_act(a, AGREEMENT_SEND);

	action->request = agreement_request_remaining(rival->lease);
	action->tag = proof->tag = ++a->last_tag;
	return proof->rose && a->now_ms - proof->since_ms >= PROOF_MS;
}

void agreement_on_proof(struct agreement *a, const struct store_reply *reply)
{
	struct agreement_proof *proof = &a->proof;

	proof->tag = 0;
	if (reply->outcome != STORE_DONE)
		return;
	if (proof->last_ttl_s >= 0 && reply->ttl_s[0] > proof->last_ttl_s)
		proof->rose = true;
	proof->last_ttl_s = reply->ttl_s[0];
}

void agreement_forget_proof(struct agreement *a)
{
	free(a->proof.incarnation);
	a->proof = (struct agreement_proof){ .last_ttl_s = -1 };
}
