/* SPDX-License-Identifier: MIT */
/*
 * The proof that a slot has one unit: an abstract Unix socket, bound before the
 * fork and inherited by the unit. It lives exactly as long as some process of
 * the unit holds it, in every container that shares the network namespace.
 */
#ifndef CMSNODE_SUPERVISION_SLOT_SOCKET_H
#define CMSNODE_SUPERVISION_SLOT_SOCKET_H

#include <sys/types.h>

struct err;

/*
 * Binds "@<prefix><service>-<shard>" and returns the descriptor (close-on-exec);
 * the caller closes it right after the fork. Negative and err: -EADDRINUSE when
 * the slot is held, with the holder named where it can be seen from here, or
 * -ENAMETOOLONG.
 */
int slot_socket_bind(const char *prefix, const char *service, int shard, struct err *err);

#define SLOT_HOLDER_NAME_SIZE 64

struct slot_holder {
	pid_t pid;
	char name[SLOT_HOLDER_NAME_SIZE]; /* as in /proc/<pid>/comm */
};

/*
 * Who holds the abstract socket `name` (without "@"): 0, or -ENOENT if nobody is seen. The scan of
 * /proc is bounded.
 */
int slot_socket_find_holder(const char *name, struct slot_holder *ret);

#endif
