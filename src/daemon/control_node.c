/* SPDX-License-Identifier: MIT */
/*
 * `node forget`, `node drain` and `undrain`, `node reset-identity`. Forgetting
 * a node gives its slots to others, so it must really be gone: its registration
 * has ended and none of its singletons answers an echo (a host that is only cut
 * off from etcd still judges, and a second EvaluationService on one database
 * would do harm).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/cms_rpc/client.h"
#include "cmsnode/config/document.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/status/control_socket.h"
#include "node_internal.h"

#define ECHO_WAIT_S 2.0

/* One question to a singleton of the node that is to be forgotten. */
struct echo {
	struct forget *forget;
	struct rpc_client *client;
	char *label;
};

struct forget {
	struct node *node;
	struct control_request *request;
	char *id, *message;
	struct echo echoes[CATALOGUE_COUNT];
	size_t len;
	ev_timer timer;
};

static void forget_free(struct forget *forget)
{
	ev_timer_stop(forget->node->loop, &forget->timer);
	for (size_t i = 0; i < forget->len; i++) {
		rpc_client_free(forget->echoes[i].client);
		free(forget->echoes[i].label);
	}
	free(forget->id);
	free(forget->message);
	free(forget);
}

static void push(struct forget *forget)
{
	struct edits edits = { 0 };
	CLEAN(str) char *path = xasprintf("nodes.%s", forget->id);
	CLEAN(str) char *reason = forget->message ? xstrdup(forget->message) :
						    xasprintf("node %s forgotten", forget->id);

	edits_add(&edits, path, NULL, NULL);
	agreement_driver_edit(forget->node->driver, &edits, "operator", reason, control_on_edited,
			      forget->request);
	edits_fini(&edits);
	forget_free(forget);
}

static void on_silence(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	push(w->data);
}

static void on_echo(void *ctx, int error, const struct cJSON *data, const char *text)
{
	const struct echo *echo = ctx;
	struct forget *forget = echo->forget;

	(void)data;
	(void)text;
	if (error && error != -EREMOTEIO)
		return;
	control_fail(
		forget->request, ERR_CONFLICT,
		"%s of node '%s' still answers: it is cut off, not gone. Stop it first, or say --force",
		echo->label, forget->id);
	forget_free(forget);
}

static void on_connected(void *ctx)
{
	struct echo *echo = ctx;
	cJSON *arguments = cJSON_CreateObject();

	json_add_str(arguments, "string", echo->label);
	(void)rpc_client_call(echo->client, "echo", arguments, ECHO_WAIT_S, on_echo, echo);
}

static void ask_singletons(struct forget *forget, const struct generation *generation,
			   const struct generation_node *gone)
{
	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct catalogue_service *service = catalogue_at((enum catalogue_index)s);
		const struct slot_list *list = &generation->slots.lists[s];
		if (!service->singleton || !service->rpc || list->len == 0 ||
		    !str_eq(list->items[0].node, gone->id))
			continue;
		struct echo *echo = &forget->echoes[forget->len];
		const struct rpc_client_settings settings = { .host = gone->address,
							      .port = list->items[0].port };
		const struct rpc_client_events events = { .connected = on_connected, .ctx = echo };

		*echo = (struct echo){ .forget = forget,
				       .label = xasprintf("%s,0", service->name) };
		echo->client = rpc_client_new(forget->node->loop, &settings, &events, NULL);
		forget->len++;
	}
}

/* NULL after having answered why not. */
static const struct generation_node *find_gone(struct node *node, struct control_request *request,
					       const char *id)
{
	const struct agreement *agreement =
		node->driver ? agreement_driver_agreement(node->driver) : NULL;
	const struct generation *generation = agreement ? agreement_agreed(agreement) : NULL;
	const struct generation_node *gone =
		generation && id ? generation_node_find(generation, id) : NULL;

	if (!generation)
		control_fail(request, ERR_UNAVAILABLE, "no configuration is agreed yet");
	else if (!gone)
		control_fail(request, ERR_USAGE, "the configuration has no node '%.63s'",
			     id ? id : "");
	else if (str_eq(gone->id, node->self.id))
		control_fail(request, ERR_USAGE, "'%s' is this node, and it lives", gone->id);
	else
		return gone;
	return NULL;
}

void control_node_forget(struct node *node, struct control_request *request,
			 const struct cJSON *body)
{
	if (!control_may_change(request)) {
		control_fail(request, -EPERM, "changes need root or group cmsnode");
		return;
	}
	CLEAN(str) char *id = xstrdup(json_get_str(body, "id"));

	if (id)
		str_lower(id);
	const struct generation_node *gone = find_gone(node, request, id);
	if (!gone)
		return;
	struct forget *forget = xcalloc(1, sizeof(*forget));

	forget->node = node;
	forget->request = request;
	forget->id = xstrdup(gone->id);
	forget->message = xstrdup(json_get_str(body, "message"));
	ev_timer_init(&forget->timer, on_silence, ECHO_WAIT_S, 0.0);
	forget->timer.data = forget;
	if (!json_get_bool(body, "force", false))
		ask_singletons(forget, agreement_agreed(agreement_driver_agreement(node->driver)),
			       gone);
	if (forget->len)
		ev_timer_start(node->loop, &forget->timer);
	else
		push(forget);
}

/* Of the node that is named, or of this one. */
static void set_state(struct node *node, struct control_request *request,
		      const struct cJSON *body, const char *state)
{
	const char *given = json_get_str(body, "id");
	const char *message = json_get_str(body, "message");
	CLEAN(str) char *id = xstrdup(given ? given : node->self.id);

	if (!control_may_change(request)) {
		control_fail(request, -EPERM, "changes need root or group cmsnode");
		return;
	}
	if (node->options->standalone || !node->driver) {
		control_fail(request, ERR_USAGE, "this node is in no cluster%s",
			     node->options->standalone ? "" : " yet");
		return;
	}
	str_lower(id);
	struct edits edits = { 0 };
	CLEAN(str) char *path = xasprintf("nodes.%s", id);
	CLEAN(str) char *reason = message ? xstrdup(message) :
					    xasprintf("node %s is %s", id, state);
	CLEAN(value) struct value *wanted = value_new_string(state);

	edits_add(&edits, path, NULL, wanted);
	agreement_driver_edit(node->driver, &edits, "operator", reason, control_on_edited, request);
	edits_fini(&edits);
}

void control_node_drain(struct node *node, struct control_request *request,
			const struct cJSON *body)
{
	set_state(node, request, body, "draining");
}

void control_node_undrain(struct node *node, struct control_request *request,
			  const struct cJSON *body)
{
	set_state(node, request, body, "present");
}

void control_node_reset_identity(struct node *node, struct control_request *request,
				 const struct cJSON *body)
{
	(void)body;
	struct err err = { 0 };

	if (!control_may_change(request)) {
		control_fail(request, -EPERM, "changes need root or group cmsnode");
	} else if (node->options->node_id) {
		control_fail(request, ERR_USAGE,
			     "this node's id is given with --node-id: change it there");
	} else if (node_identity_reset(node, &err) < 0) {
		control_fail(request, err.code, "%s", err.msg);
	} else {
		cJSON *result = cJSON_CreateObject();

		log_info("identity", "the next start of this node takes a new id");
		json_add_str(result, "id", node->identity.id);
		control_answer(request, result);
	}
}
