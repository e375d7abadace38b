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
struct store_kvs;

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
	/* draining: slots whose units have ended, "Worker,3"; may be given to others */
	struct str_list released;
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
	bool sorted;	/* by id, as registrations_put() keeps them: found faster */
};

/* Takes the registration in the place of the one with that id, if any; keeps the order. */
void registrations_put(struct registrations *registrations, struct registration *registration);
/* false: there was none */
bool registrations_remove(struct registrations *registrations, const char *id);

/* Puts all that stand below the folder ("/cms/nodes/"); malformed ones are left out. */
void registrations_read(const struct store_kvs *kvs, const char *folder,
			struct registrations *ret);

void registrations_fini(struct registrations *registrations);
static inline void clean_registrations(struct registrations *registrations)
{
	registrations_fini(registrations);
}

/*
 * What (epoch, sequence, digest) the newest of them has applied: the registration, or NULL if none
 * shows any.
 */
const struct registration *registrations_newest(const struct registrations *registrations);

/* reserved/<id>: who may come back, and whether it stopped in order. */
struct reservation {
	char *id;
	bool stopped;
};

struct reservations {	/* sorted by id */
	struct reservation *items;
	size_t len, cap;
};

void reservations_fini(struct reservations *reservations);
void reservations_put(struct reservations *reservations, const char *id, bool stopped);
bool reservations_remove(struct reservations *reservations, const char *id);
/* NULL: its window is over, or it never was here */
const struct reservation *reservations_find(const struct reservations *reservations,
					    const char *id);

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
