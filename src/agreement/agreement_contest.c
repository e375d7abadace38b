/* SPDX-License-Identifier: MIT */
/*
 * Two that want the same: our address is claimed or listed by another live host,
 * or our id is registered by one. The newcomer gives way. Whether the other one
 * lives is proven, not believed: its key must keep existing for 25 s while its
 * lease's remaining time is seen to rise (only a renewal makes it rise; a dead
 * host's lease can live 17 s).
 */
#include "cmsnode/agreement/agreement.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agreement_internal.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#define PROOF_MS 25000
#define RIVAL_MS 2000 /* between looks at the one who holds what we want */
#define HEIR_MS 10000

static const struct agreement_claim *find_claim(const struct agreement *a, const char *id)
{
	for (size_t i = 0; i < a->claims_len; i++)
		if (strcmp(a->claims[i].id, id) == 0)
			return &a->claims[i];
	return NULL;
}

bool agreement_has_rival_claim(const struct agreement *a)
{
	for (size_t i = 0; i < a->claims_len; i++)
		if (strcmp(a->claims[i].id, a->self.id) != 0)
			return true;
	return false;
}

bool agreement_has_own_claim(const struct agreement *a)
{
	return find_claim(a, a->self.id);
}

static bool is_other_host(const struct agreement *a, const struct registration *other)
{
	return strcmp(other->id, a->self.id) != 0 && !registration_same_host(other, &a->self);
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

static bool prove(struct agreement *a, const struct registration *rival)
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

/* ---- what follows ------------------------------------------------------- */

static void refuse(struct agreement *a, bool is_twin, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void refuse(struct agreement *a, bool is_twin, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	struct agreement_action *action = agreement_act(a, AGREEMENT_REFUSED);

	action->is_twin = is_twin;
	action->text = xstrdup(text);
}

/* Somebody else holds what we want: look again, often enough to see whether it lives. */
static void wait_out(struct agreement *a, const char *why)
{
	agreement_set_trouble(a, why);
	agreement_set_state(a, AGREEMENT_PAUSED);
	a->timer_ms = a->now_ms + RIVAL_MS;
}

void agreement_give_way(struct agreement *a, const struct registration *rival)
{
	CLEAN(str) char *text = xasprintf(
		"address %s is also on host '%s' (node %s, boot id %s): waiting until that node is gone, or for another address of this host",
		a->self.address, rival->hostname, rival->id, rival->boot_id);

	if (a->registered && a->lease)
		agreement_send_aside(a, agreement_request_revoke(a->lease));
	a->registered = false;
	a->lease = 0;
	agreement_act(a, AGREEMENT_CONTESTED)->text = xstrdup(text);
	if (prove(a, rival))
		refuse(a, false, "address %s is also on host '%s' (node %s), which is alive",
		       a->self.address, rival->hostname, rival->id);
	wait_out(a, text);
}

void agreement_report_rival(struct agreement *a, const struct registration *rival)
{
	if (str_eq(a->rival, rival ? rival->id : NULL))
		return;
	free(a->rival);
	a->rival = rival ? xstrdup(rival->id) : NULL;
	if (rival)
		agreement_news(
			a, true,
			"host '%s' (node %s) claims our address %s, too, and did so before us; this node goes on as it is: one of the two needs another address",
			rival->hostname, rival->id, a->self.address);
}

/*
 * We ran under this id, were away too long, and another host took it: its
 * registration is never overwritten, and what runs here is not ended for it.
 */
static void hold_for_heir(struct agreement *a, const struct registration *heir)
{
	CLEAN(str) char *text = xasprintf(
		"node id '%s' was taken by host '%s' (address %s, boot id %s) while this node was away: keeping all units, not registering; stop one of the two",
		a->self.id, heir->hostname, heir->address, heir->boot_id);

	a->held = true;
	agreement_set_trouble(a, text);
	agreement_set_state(a, AGREEMENT_PAUSED);
	a->timer_ms = a->now_ms + HEIR_MS;
}

void agreement_handle_foreign_key(struct agreement *a, const struct registration *other)
{
	if (registration_same_host(other, &a->self)) {
		/* Same boot, same namespace, and we hold the node socket: its daemon is dead. */
		agreement_take_over(a, other);
		return;
	}
	a->registered = false;
	if (a->agreed) {
		hold_for_heir(a, other);
		return;
	}
	CLEAN(str) char *text = xasprintf(
		"node id '%s' is registered by host '%s' (address %s, boot id %s): waiting until that registration ends; if both live, give one of them another --node-id",
		a->self.id, other->hostname, other->address, other->boot_id);

	if (prove(a, other))
		refuse(a, true,
		       "node id '%s' lives on host '%s' (address %s, boot id %s) as well as here, on host '%s' (address %s, boot id %s)",
		       a->self.id, other->hostname, other->address, other->boot_id,
		       a->self.hostname, a->self.address, a->self.boot_id);
	wait_out(a, text);
}
