/* SPDX-License-Identifier: MIT */
/* A watch stream of etcd's gateway, message by message, as lines. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/etcd_codec.h"
#include "cmsnode/store/store.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	json_init();
	return 0;
}

static void check_message(const struct etcd_watch_message *message)
{
	if (message->len && message->kind != ETCD_WATCH_EVENTS)
		abort();
	if (message->revision < 0 || message->compact_revision < 0)
		abort();
	for (size_t i = 0; i < message->len; i++) {
		const struct store_event *event = &message->events[i];

		if (!event->kv.key || !*event->kv.key || event->kv.mod_revision <= 0)
			abort();
		if (event->deleted != (event->kv.value == NULL))
			abort();
	}
	for (const char *p = message->text; *p; p++)
		if ((unsigned char)*p < ' ')
			abort();
}

static void take_line(const uint8_t *data, size_t len)
{
	CLEAN(etcd_watch_message) struct etcd_watch_message message = { 0 };
	struct err err = { 0 };
	char *line = xmemdup(data, len);
	const int r = etcd_codec_watch_message(line, len, &message, &err);

	if (r == 0)
		check_message(&message);
	else if (message.len || message.events || err.code != r)
		abort();
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size) {
		const uint8_t *newline = memchr(data, '\n', size);
		const size_t len = newline ? (size_t)(newline - data) : size;

		take_line(data, len);
		size -= newline ? len + 1 : len;
		data += newline ? len + 1 : len;
	}
	return 0;
}
