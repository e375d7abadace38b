/* SPDX-License-Identifier: MIT */
/* The messages of a watch stream, one at a time. What follows from them is etcd_watch's. */
#include "cmsnode/store/etcd_codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#include "etcd_codec_internal.h"

void etcd_watch_message_fini(struct etcd_watch_message *message)
{
	for (size_t i = 0; i < message->len; i++)
		store_kv_fini(&message->events[i].kv);
	free(message->events);
	message->events = NULL;
	message->len = 0;
	message->cap = 0;
}

static int read_event(const struct cJSON *item, struct etcd_watch_message *message)
{
	const char *type = json_get_str(item, "type");
	struct store_event event = { .deleted = type && strcmp(type, "DELETE") == 0 };

	if (type && !event.deleted && strcmp(type, "PUT") != 0)
		return -EINVAL;
	const int r = etcd_codec_read_kv(json_get_object(item, "kv"), !event.deleted, &event.kv);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	GROW(message->events, message->len, message->cap);
	message->events[message->len++] = event;
	return 0;
}

static int read_events(const struct cJSON *result, struct etcd_watch_message *message)
{
	const struct cJSON *array;
	const struct cJSON *item;

	if (etcd_codec_read_array(result, "events", &array) < 0)
		return -EINVAL;
	cJSON_ArrayForEach(item, array) {
		const int r = read_event(item, message);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_watch_id(const struct cJSON *result, int64_t *ret)
{
	const int r = json_get_int64(result, "watch_id", ret); /* -1 is an answer to no watch */

	if (r == -ENOENT)
		*ret = 0;
	return r == -EINVAL ? r : 0;
}

static enum etcd_watch_message_kind result_kind(const struct cJSON *result,
						const struct etcd_watch_message *message)
{
	if (message->compact_revision)
		return ETCD_WATCH_COMPACTED;
	if (json_get_bool(result, "canceled", false))
		return ETCD_WATCH_CANCELED;
	if (json_get_bool(result, "created", false))
		return ETCD_WATCH_CREATED;
	return json_get(result, "events") ? ETCD_WATCH_EVENTS : ETCD_WATCH_PROGRESS;
}

static int read_watch_result(const struct cJSON *result, struct etcd_watch_message *message)
{
	int r = etcd_codec_read_header(result, &message->cluster_id, &message->revision);
	if (r == 0)
		r = read_watch_id(result, &message->watch_id);
	if (r == 0)
		r = etcd_codec_read_int(result, "compact_revision", &message->compact_revision);
	if (r == 0)
		r = read_events(result, message);
	if (r < 0)
		return r;
	const char *reason = json_get_str(result, "cancel_reason");

	message->kind = result_kind(result, message);
	(void)snprintf(message->text, sizeof(message->text), "%s", reason ? reason : "");
	/* Events beside anything else would be dropped in silence. */
	return message->len && message->kind != ETCD_WATCH_EVENTS ? -EINVAL : 0;
}

static int read_watch_message(const struct cJSON *json, struct etcd_watch_message *message)
{
	const struct cJSON *result = json_get_object(json, "result");
	struct etcd_codec_error error;

	if (result)
		return read_watch_result(result, message);
	if (!etcd_codec_read_error(json, &error))
		return -EINVAL;
	message->kind = ETCD_WATCH_ERROR;
	message->error_code = error.code;
	(void)snprintf(message->text, sizeof(message->text), "%s", error.text);
	return 0;
}

static void mask_control_characters(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

int etcd_codec_watch_message(const char *line, size_t len, struct etcd_watch_message *ret,
			     struct err *err)
{
	CLEAN(json) struct cJSON *json = json_parse(line, len, err);

	*ret = (struct etcd_watch_message){ 0 };
	if (!json) {
		(void)err_wrap(err, "watch message");
		return -EINVAL;
	}
	const int r = read_watch_message(json, ret);
	if (r < 0) {
		etcd_watch_message_fini(ret);
		return err_set(err, -EINVAL,
			       "watch message: neither a result nor an error as etcd writes them");
	}
	mask_control_characters(ret->text);
	return 0;
}
