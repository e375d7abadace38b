/* SPDX-License-Identifier: MIT */
/* `node forget`, `node drain` and `undrain`, `node reset-identity`. */
#include "ctl.h"

#include <stdio.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

int ctl_node_forget(const struct ctl *ctl, struct err *err)
{
	cJSON *request = ctl_request("node.forget");

	json_add_str(request, "id", ctl->words[0]);
	json_add_bool(request, "force", ctl->force);
	return ctl_change_and_tell(ctl, request, "forgotten", err);
}

static int set_state(const struct ctl *ctl, const char *command, const char *what, struct err *err)
{
	cJSON *request = ctl_request(command);

	if (ctl->words_len)
		json_add_str(request, "id", ctl->words[0]);
	return ctl_change_and_tell(ctl, request, what, err);
}

int ctl_node_drain(const struct ctl *ctl, struct err *err)
{
	return set_state(ctl, "node.drain", "draining", err);
}

int ctl_node_undrain(const struct ctl *ctl, struct err *err)
{
	return set_state(ctl, "node.undrain", "present again", err);
}

int ctl_node_reset_identity(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	const int r = ctl_ask_soon(ctl, ctl_request("node.reset-identity"), &result, err);
	if (r < 0)
		return r;
	const char *id = json_get_str(result, "id");

	(void)printf("'%s' goes on until the daemon is restarted; the next start takes a new id\n",
		     id ? id : "-");
	return 0;
}
