/* SPDX-License-Identifier: MIT */
/*
 * The etcd backend of the store: libcurl's multi interface on the libev loop,
 * against the v3 JSON gateway. One or two kept connections for requests, one
 * for the watch. Each request has its own deadline (3 s, a push 10 s) and
 * Grpc-Timeout; an endpoint that fails is held down (1 s doubling to 30 s, full
 * jitter) and the next one is tried; with all of them down the reply is
 * STORE_UNKNOWN / STORE_TROUBLE_UNREACHABLE, at once. The watch carries
 * Grpc-Metadata-hasleader, must be created within 3 s, and reconnects by itself.
 */
#ifndef CMSNODE_STORE_ETCD_H
#define CMSNODE_STORE_ETCD_H

#include <stdbool.h>
#include <stddef.h>

struct ev_loop;
struct err;
struct store;
struct str_list;

struct etcd_settings {
	/* 1 to 64 URLs "http://host:port" or "https://host:port"; all of one scheme */
	const struct str_list *endpoints;
	/* files for https; NULL = the system's CAs, no own certificate */
	const char *cacert, *cert, *key;
	/* NULL = etcd without users. Its first line; read at each use, so it may be changed */
	const char *user, *password_file;
};

/*
 * NULL and err on a bad URL or a file that cannot be read. The settings are copied. The first
 * request goes to a random endpoint.
 */
struct store *etcd_store_new(struct ev_loop *loop, const struct etcd_settings *settings,
			     struct err *err);

/*
 * "http://10.0.0.1:2379/" -> "10.0.0.1" and 2379; "http://[::1]:2379" -> "::1".
 * 0 or -EINVAL with the reason. Caller frees *ret_host.
 */
int etcd_endpoint_parse(const char *url, char **ret_host, int *ret_port, struct err *err);

#endif
