/* SPDX-License-Identifier: MIT */
/*
 * What this machine adds to the checks of a configuration: the ports that its
 * kernel gives to outgoing connections, and the names that its hosts file maps
 * to loopback (Debian's installer maps the machine's own to 127.0.1.1).
 */
#ifndef CMSNODE_CONFIG_VALIDATE_LOCAL_H
#define CMSNODE_CONFIG_VALIDATE_LOCAL_H

#include "cmsnode/base/str.h"

struct validate_context;

struct validate_local {
	struct str_list loopback_names;	/* lower case */
	int ephemeral_first, ephemeral_last;	/* both 0: cannot be read */
};

void validate_local_fini(struct validate_local *local);
static inline void clean_validate_local(struct validate_local *local)
{
	validate_local_fini(local);
}

/*
 * Reads <root>/proc/sys/net/ipv4/ip_local_port_range and <root>/etc/hosts. What
 * cannot be read is not known; nothing fails. *ret is overwritten.
 */
void validate_local_read(const char *root, struct validate_local *ret);

/* Fills the context's fields about this machine; they borrow from `local`. */
void validate_local_apply(const struct validate_local *local, struct validate_context *context);

#endif
