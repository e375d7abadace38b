/* SPDX-License-Identifier: MIT */
/*
 * A node's registration, /cms/nodes/<id>: what it is and offers. Written when
 * that changes, never for a new generation. Nothing read from the store is
 * trusted. Pure.
 */
#ifndef CMSNODE_AGREEMENT_REGISTRATION_H
#define CMSNODE_AGREEMENT_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/base/str.h"

struct err;
struct store_kv;

#define REGISTRATION_SCHEMA 1	/* of generations that this program can write */

struct registration {
	char *id;
	char *address;			/* chosen; "" = none (standalone) */
	struct str_list addresses;	/* all of the host's, loopback left out */
	struct str_list roles;		/* "core", "worker:2", ... counts filled in */
	char *contest;			/* "ALL" or digits */
	char *hostname;			/* for people */
	char *boot_id, *netns, *product_uuid;	/* what makes a host (architecture: host) */
	/* permanent ones: tell hosts apart where there is no uuid */
	struct str_list macs;
	char *incarnation;		/* 32 hex digits, new at each start of the daemon */
	char *version;
	int64_t schema;
	uint64_t lease, reserved_lease;
	struct str_list ports_held;	/* ports that something else holds here, in decimal */
	int64_t applied_epoch, applied_sequence;	/* at the moment of writing; 0 = none */
	char *applied_digest;		/* "" = none */

	/* of the key; 0 for one's own before it is written */
	int64_t create_revision, mod_revision;
};

void registration_fini(struct registration *registration);
/* `to` is emptied first */
void registration_copy(struct registration *to, const struct registration *from);

char *registration_to_json(const struct registration *registration);	/* caller frees */

/*
 * Checks id (it must be `id`), address, roles, contest; 0 or -EINVAL. *ret is filled only on
 * success.
 */
int registration_from_kv(const struct store_kv *kv, const char *id, struct registration *ret,
			 struct err *err);

/* Do both say the same about who, where and what (leases, incarnation and progress left out)? */
bool registration_same_offer(const struct registration *a, const struct registration *b);

/* Were both written on one host (machine_facts_same_host_macs())? */
bool registration_same_host(const struct registration *a, const struct registration *b);

struct registrations {
	struct registration *items;
	size_t len, cap;
};

void registrations_fini(struct registrations *registrations);
const struct registration *registrations_find(const struct registrations *registrations,
					      const char *id);

/*
 * The registration of another host that has `address` among its own, or NULL. `self` says which
 * host is ours.
 */
const struct registration *
registrations_other_host_with(const struct registrations *registrations,
			      const struct registration *self, const char *address);

#endif
