/* SPDX-License-Identifier: MIT */
/* `service list`: what runs on this node. */
#include "ctl.h"

#include <cjson/cJSON.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

int ctl_service_list(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;
	const int r = ctl_ask_soon(ctl, ctl_request("service.list"), &result, err);
	if (r < 0)
		return r;
	if (ctl->json)
		ctl_print_json(result);
	else
		ctl_print_services(json_get_array(result, "services"), clock_wall_s(), ctl->colour);
	return 0;
}
