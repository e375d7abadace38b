/* SPDX-License-Identifier: MIT */
/*
 * A fake etcd for tests: the JSON gateway of a cluster of some members over one
 * store in memory, with etcd's semantics (transactions, nested ones too, leases
 * that end by the clock, watches with several ids on one stream), and with the
 * bad days that real members have, drawn from a seed. Runs on the test's loop.
 */
#ifndef CMSNODE_TESTS_FAKE_ETCD_H
#define CMSNODE_TESTS_FAKE_ETCD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ev_loop;
struct fake_etcd;
struct memory_store;

#define FAKE_ETCD_MEMBERS_MAX 5

/* What can become of a request. */
enum fake_fault {
	FAKE_DONE,
	FAKE_LOST_BEFORE, /* the connection is reset, nothing was carried out */
	FAKE_LOST_AFTER, /* carried out, then reset */
	FAKE_LATE, /* no answer; carried out long after the client has given up */
	FAKE_NEVER, /* no answer, nothing carried out */
	FAKE_503_BEFORE, /* "leader changed", and it was not carried out */
	FAKE_503_AFTER, /* the same, and it was */
	FAKE_TORN, /* carried out; half of the answer, then the end */
	FAKE_SLOW, /* carried out and answered, a little later */
	FAKE_FAULTS
};

/* on_change is called after everything that may have changed the store. */
struct fake_etcd *fake_etcd_new(struct ev_loop *loop, size_t members, void (*on_change)(void *ctx),
				void *ctx);
void fake_etcd_free(struct fake_etcd *fake);

const char *fake_etcd_url(const struct fake_etcd *fake, size_t member);
struct memory_store *fake_etcd_store(struct fake_etcd *fake);

/*
 * From now on `permille` of the requests, thrice as many of the writes, and as many of the events
 * on watches, meet a fault, chosen by the seed; 0 = all goes well again (what is late still comes).
 */
void fake_etcd_misbehave(struct fake_etcd *fake, uint64_t seed, unsigned int permille);

/* Is something still to come that was late? */
bool fake_etcd_owes(const struct fake_etcd *fake);

/* How many requests met that fault; broken and muted watches. */
size_t fake_etcd_faults(const struct fake_etcd *fake, enum fake_fault fault);
size_t fake_etcd_broken_watches(const struct fake_etcd *fake);

#endif
