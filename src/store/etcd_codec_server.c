/* SPDX-License-Identifier: MIT */
/* What an etcd server says of itself. */
#include "cmsnode/store/etcd_codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

#include "etcd_codec_internal.h"

/* "3.4.23", "3.5.0-rc.1" */
static int read_version(const char *text, struct etcd_codec_status *ret)
{
	const size_t len = strspn(text, "0123456789.");
	int end = 0;

	if (len >= sizeof(ret->version) ||
	    sscanf(text, "%3d.%3d.%5d%n", &ret->major, &ret->minor, &ret->patch, &end) != 3 ||
	    (size_t)end != len)
		return -EINVAL;
	(void)snprintf(ret->version, sizeof(ret->version), "%.*s", (int)len, text);
	return 0;
}

int etcd_codec_status(const char *body, size_t len, struct etcd_codec_status *ret)
{
	CLEAN(json) struct cJSON *json = json_parse(body, len, NULL);
	const char *version = json ? json_get_str(json, "version") : NULL;

	*ret = (struct etcd_codec_status){ 0 };
	if (!version || read_version(version, ret) < 0 ||
	    etcd_codec_read_header(json, &ret->cluster_id, &ret->revision) < 0 ||
	    etcd_codec_read_int(json, "raftIndex", &ret->raft_index) < 0)
		return -EINVAL;
	return 0;
}
