/* SPDX-License-Identifier: MIT */
/*
 * The node: wires the stages of the pipeline together, and only that.
 *
 *   netlink ─> address choice ─> identity ─> registration ─> agreement ─> generation
 *        ─> rendered files ─> derivation ─> plan ─> supervisor ─> status
 *
 * Each arrow is one function of node.c; read it from the top.
 */
#ifndef CMSNODE_DAEMON_NODE_H
#define CMSNODE_DAEMON_NODE_H

struct err;
struct ev_loop;
struct node;
struct options;

/*
 * Takes identity, seed, sockets and the first network snapshot; what fails here
 * ends the daemon (err_exit_status()). `options` stays the caller's and must
 * live as long as the node.
 */
struct node *node_new(struct ev_loop *loop, const struct options *options, struct err *err);

/* Runs the loop until the node has stopped; the exit status. */
int node_run(struct node *node);
void node_free(struct node *node);

/*
 * --check: prints address choice, identity and what would run as JSON, starts nothing. The exit
 * status.
 */
int node_check(const struct options *options, struct err *err);

#endif
