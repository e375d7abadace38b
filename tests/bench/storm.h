/* SPDX-License-Identifier: MIT */
/*
 * A storm in virtual time: the real agreement of N nodes on the store in memory.
 * Every message travels for a while, which differs from one to the next; the
 * store carries requests out one after the other, each for STORM_SERVICE_US and
 * for its bytes; a node gives a request up when the client of etcd would. Leases
 * end as etcd ends them. The same settings give the same storm.
 */
#ifndef CMSNODE_TESTS_STORM_H
#define CMSNODE_TESTS_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORM_TRIP_MIN_US 200 /* one way */
#define STORM_TRIP_MAX_US 2000
#define STORM_SERVICE_US 50

struct storm_settings {
	size_t nodes; /* that come at once */
	bool empty; /* into an empty store, all with the seed; else a core is there */
	bool derived; /* without --address: a node asks who lists its address */
	int64_t spread_ms; /* they come within that time, instead of all at one moment */
	int64_t bytes_per_us; /* that the store reads, packs and sends; 0 = any number */
	uint64_t random;
};

/* What one move of the crowd took, until all that live were well, and then stayed so. */
struct storm_toll {
	size_t nodes; /* that live at its end */
	size_t failed; /* of them: not well when the patience was over */
	uint64_t requests; /* as HTTP requests: all of them */
	uint64_t requests_most; /* by one node */
	uint64_t renewals; /* of leases, among the requests: they count the time that it took */
	uint64_t lost; /* requests that were given up */
	uint64_t generations;
	uint64_t conflicts; /* transactions whose compares did not hold */
	uint64_t bytes_sent, bytes_received; /* by nodes; what is received is estimated */
	int64_t took_ms;
};

struct storm;

struct storm *storm_new(const struct storm_settings *settings);
void storm_free(struct storm *storm);

/* All come at once. */
void storm_join(struct storm *storm, struct storm_toll *ret);

/* Every second one goes at once: every other of them in order, the rest without a word. */
void storm_leave(struct storm *storm, struct storm_toll *ret);

/* Nodes, keys and bytes of the configuration in force. */
void storm_size(const struct storm *storm, size_t *ret_entries, size_t *ret_bytes);

#endif
