/* SPDX-License-Identifier: MIT */
/* `store accept` and `store publish`. */
#include "ctl.h"

#include <stdio.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

static int restore(const struct ctl *ctl, const char *command, const char *what, struct err *err)
{
	cJSON *request = ctl_request(command);
	CLEAN(json) cJSON *result = NULL;

	if (ctl->message)
		json_add_str(request, "message", ctl->message);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	const char *generation = json_get_str(result, "generation");

	(void)printf("%s; agreed: %s\n", what, generation ? generation : "-");
	return 0;
}

int ctl_store_accept(const struct ctl *ctl, struct err *err)
{
	return restore(ctl, "store.accept", "accepted", err);
}

int ctl_store_publish(const struct ctl *ctl, struct err *err)
{
	return restore(ctl, "store.publish", "published", err);
}
