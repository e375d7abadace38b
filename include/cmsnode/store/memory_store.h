/* SPDX-License-Identifier: MIT */
/*
 * etcd's model in memory: a revisioned map with transactions and leases (which
 * here end only when told to). It is what --standalone runs on and what tests
 * and fuzzers run the agreement against. Pure: no clock, no file.
 */
#ifndef CMSNODE_STORE_MEMORY_STORE_H
#define CMSNODE_STORE_MEMORY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_store;
struct store_event;
struct store_reply;
struct store_request;

struct memory_store *memory_store_new(void);	/* empty, at revision 1, cluster id 1 */
void memory_store_free(struct memory_store *memory);

/*
 * What `etcdctl snapshot restore` makes of a backup: the same keys, leases and
 * revision, no history, known as restored. A backup is made the same way.
 */
struct memory_store *memory_store_restore(const struct memory_store *backup, uint64_t cluster_id);

/* Carries the request out as etcd would; fills *ret (end with store_reply_fini()). */
void memory_store_execute(struct memory_store *memory, const struct store_request *request,
			  struct store_reply *ret);

/* Deletes a lease with its keys, as etcd does when it expires. False if unknown. */
bool memory_store_expire(struct memory_store *memory, uint64_t lease);

int64_t memory_store_revision(const struct memory_store *memory);

/*
 * All events with a revision > after, oldest first (the history is kept up to
 * 10,000 events and 64 MiB; -ERANGE if some of them are gone). *ret is borrowed until the next
 * execute.
 */
int memory_store_events(const struct memory_store *memory, int64_t after,
			const struct store_event **ret, size_t *ret_len);

#endif
