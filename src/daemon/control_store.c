/* SPDX-License-Identifier: MIT */
/*
 * `store accept` and `store publish`: a person says which of two is right, the
 * store's configuration or the one that this node agreed to last.
 */
#include <errno.h>

#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/status/control_socket.h"
#include "node_internal.h"

static void restore(struct node *node, struct control_request *request, const struct cJSON *body,
		    bool publish)
{
	const char *message = json_get_str(body, "message");

	if (!control_may_change(request))
		control_fail(request, -EPERM, "changes need root or group cmsnode");
	else if (node->options->standalone)
		control_fail(request, ERR_USAGE, "a standalone node has no store but its own");
	else if (!node->driver)
		control_fail(request, ERR_UNAVAILABLE, "this node has not joined yet: %s",
			     node->choice.reason);
	else
		agreement_driver_restore(node->driver, publish, "operator",
					 message ? message :
					 publish ? "what this node agreed to last, published" :
						   "what the store holds, accepted",
					 control_on_edited, request);
}

void control_store_accept(struct node *node, struct control_request *request,
			  const struct cJSON *body)
{
	restore(node, request, body, false);
}

void control_store_publish(struct node *node, struct control_request *request,
			   const struct cJSON *body)
{
	restore(node, request, body, true);
}
