/* SPDX-License-Identifier: MIT */
/*
 * The standalone backend: a memory store behind the same interface, for one
 * host without etcd. It starts empty; the agreement seeds it from FILE.
 */
#ifndef CMSNODE_STORE_STANDALONE_H
#define CMSNODE_STORE_STANDALONE_H

struct ev_loop;
struct store;

struct store *standalone_store_new(struct ev_loop *loop);

#endif
