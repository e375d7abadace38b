/* SPDX-License-Identifier: MIT */
/* Looking into the resolver's answers: the pure part of resolver.h. */
#include <string.h>

#include "cmsnode/topology/resolver.h"

const struct resolved_host *resolved_hosts_find(const struct resolved_hosts *hosts,
						const char *host)
{
	for (size_t i = 0; i < hosts->len; i++)
		if (strcmp(hosts->items[i].host, host) == 0)
			return &hosts->items[i];
	return NULL;
}
