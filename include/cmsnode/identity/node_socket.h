/* SPDX-License-Identifier: MIT */
/*
 * One live daemon per node id, proven by an abstract socket in the network
 * namespace: "@cmsnoded/<cluster hash>/node/<id>". It dies with its holder,
 * works across containers, and answers each connection with one JSON line
 * {"id","hostname","address","pid","incarnation"}, since peer pids read 0
 * across pid namespaces.
 */
#ifndef CMSNODE_IDENTITY_NODE_SOCKET_H
#define CMSNODE_IDENTITY_NODE_SOCKET_H

struct err;
struct ev_loop;
struct node_socket;

/*
 * First 16 hex digits of SHA-256 of the prefix (or of the standalone file's real
 * path), NUL behind.
 */
void node_socket_cluster_hash(const char *prefix_or_path, char ret[17]);

/*
 * Binds and listens. NULL and ERR_IDENTITY if another daemon has it: the
 * message quotes what the holder answered (asked with a limit of 1 s).
 */
struct node_socket *node_socket_new(struct ev_loop *loop, const char *cluster_hash, const char *id,
				    struct err *err);
void node_socket_free(struct node_socket *socket);	/* NULL is fine; the name is free at once */

/*
 * What is answered from now on (a JSON object as text, without newline;
 * copied). Until the first call it is {"id":...} alone.
 */
void node_socket_set_answer(struct node_socket *socket, const char *answer);

#endif
