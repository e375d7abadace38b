/* SPDX-License-Identifier: MIT */
/* What an etcd server says of itself, and to whom it listens. */
#include "cmsnode/store/etcd_codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

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

/* In "errors", where 3.4 and later tell what is wrong with them. */
static bool has_no_leader(const struct cJSON *json)
{
	const struct cJSON *item;

	cJSON_ArrayForEach(item, json_get_array(json, "errors"))
		if (cJSON_IsString(item) && strstr(item->valuestring, "no leader"))
			return true;
	return false;
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
	ret->no_leader = has_no_leader(json);
	return 0;
}

int etcd_codec_members(const char *body, size_t len, struct str_list *urls)
{
	CLEAN(json) struct cJSON *json = json_parse(body, len, NULL);
	CLEAN(str_list) struct str_list found = { 0 };
	const struct cJSON *member;

	if (!json || !json_get_array(json, "members"))
		return -EINVAL;
	cJSON_ArrayForEach(member, json_get_array(json, "members")) {
		if (json_get_bool(member, "isLearner", false))
			continue;
		if (json_get_str_list(member, "clientURLs", &found) < 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < found.len; i++)
		str_list_add(urls, found.items[i]);
	return 0;
}

char *etcd_codec_authenticate(const char *user, const char *password)
{
	CLEAN(json) struct cJSON *json = cJSON_CreateObject();

	json_add_str(json, "name", user);
	json_add_str(json, "password", password);
	return json_text(json);
}

char *etcd_codec_token(const char *body, size_t len)
{
	CLEAN(json) struct cJSON *json = json_parse(body, len, NULL);
	const char *token = json ? json_get_str(json, "token") : NULL;

	if (!token || !*token)
		return NULL;
	for (const char *p = token; *p; p++)
		if (*p <= ' ' || *p > '~')
			return NULL;
	return xstrdup(token);
}

bool etcd_codec_wants_token(const char *text)
{
	return strstr(text, "user name is empty") || strstr(text, "invalid auth token") ||
	       strstr(text, "revision of auth store is old");
}
