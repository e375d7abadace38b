/* SPDX-License-Identifier: MIT */
/* `logs`: the last output of one unit, and with -f what comes next. */
#include "ctl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

enum {
	SHARD_MAX = 100000,
	FIRST_ANSWER_MS = 30 * 1000,
};

/* "Worker,0" */
static int parse_unit(const char *word, char **ret_service, int64_t *ret_shard, struct err *err)
{
	const char *comma = strrchr(word, ',');
	if (!comma || comma == word || str_to_int64(comma + 1, 0, SHARD_MAX, ret_shard) < 0)
		return err_set(err, ERR_USAGE, "logs: '%s' is not NAME,SHARD (such as Worker,0)",
			       word);
	*ret_service = xstrndup(word, (size_t)(comma - word));
	return 0;
}

/* A pipe gets the bytes as they are; on a terminal they must not drive it. */
static int print_text(const char *text, struct err *err)
{
	CLEAN(str) char *safe = isatty(STDOUT_FILENO) ? ctl_printable(text, true) : xstrdup(text);

	if (fputs(safe, stdout) < 0 || fflush(stdout) != 0)
		return err_errno(err, -errno, "standard output");
	return 0;
}

/* 1 if the stream goes on, 0 at its end. */
static int next_text(struct ctl_connection *connection, int64_t deadline_ms, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	int r = ctl_connection_receive(connection, deadline_ms, &result, err);
	if (r < 0)
		return r;
	if (cJSON_IsNull(result))
		return 0;
	const char *text = json_get_str(result, "text");
	if (!text)
		return err_set(err, -EPROTO, "the daemon's answer has no text");
	r = print_text(text, err);
	return r < 0 ? r : 1;
}

int ctl_logs(const struct ctl *ctl, struct err *err)
{
	CLEAN(str) char *service = NULL;
	CLEAN(json) cJSON *request = ctl_request("logs");
	CLEAN(ctl_connection) struct ctl_connection connection = { .fd = -1 };
	const int64_t deadline_ms = clock_now_ms() + FIRST_ANSWER_MS;
	int64_t shard = 0;

	int r = parse_unit(ctl->words[0], &service, &shard, err);
	if (r < 0)
		return r;
	json_add_str(request, "service", service);
	json_add_int(request, "shard", shard);
	json_add_int(request, "lines", ctl->lines);
	json_add_bool(request, "follow", ctl->follow);
	r = ctl_connection_open(ctl->socket_path, deadline_ms, &connection, err);
	if (r == 0)
		r = ctl_connection_send(&connection, request, deadline_ms, err);
	if (r == 0)
		r = next_text(&connection, deadline_ms, err);
	while (r > 0 && ctl->follow)
		r = next_text(&connection, CTL_NO_DEADLINE, err);
	return r < 0 ? r : 0;
}
