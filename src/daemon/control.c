/* SPDX-License-Identifier: MIT */
/*
 * The commands of the control socket (docs/internals/control-protocol.md).
 * Each is one small function; changes go through the agreement's door, nothing
 * here touches a unit or a key of the store by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/daemon/seed.h"
#include "cmsnode/status/control_socket.h"
#include "cmsnode/store/store.h"
#include "cmsnode/supervision/output.h"
#include "cmsnode/supervision/supervisor.h"
#include "node_internal.h"

/* ---- status, service list, explain -------------------------------------- */

static struct cJSON *status_json(struct node *node)
{
	struct report report;

	node_report(node, &report);
	struct cJSON *json = report_to_json(&report);

	node_report_end(&report);
	return json;
}

struct cluster_status {
	struct node *node;
	struct control_request *request;
};

static void on_statuses(void *ctx, const struct store_kvs *kvs, size_t len, const char *trouble)
{
	struct cluster_status *cluster = ctx;
	struct control_request *request = cluster->request;
	struct cJSON *json = status_json(cluster->node);

	(void)len;
	free(cluster);
	if (!kvs) {
		json_free(json);
		control_fail(
			request, ERR_UNAVAILABLE,
			"the store does not answer: %s; `status` without --cluster shows this node",
			trouble);
		return;
	}
	cJSON *nodes = cJSON_AddArrayToObject(json, "nodes");

	for (size_t i = 0; i < kvs->len; i++) {
		cJSON *one = json_parse(kvs->items[i].value, kvs->items[i].value_len, NULL);

		if (cJSON_IsObject(one))
			(void)cJSON_AddItemToArray(nodes, one);
		else
			json_free(one);
	}
	control_answer(request, json);
}

static void do_status(struct node *node, struct control_request *request, const cJSON *body)
{
	if (!json_get_bool(body, "cluster", false)) {
		control_answer(request, status_json(node));
		return;
	}
	if (!node->driver) {
		control_fail(request, ERR_UNAVAILABLE, "this node has not joined yet: %s",
			     node->choice.reason);
		return;
	}
	struct cluster_status *cluster = xmalloc(sizeof(*cluster));

	*cluster = (struct cluster_status){ node, request };
	CLEAN(str_list) struct str_list paths = { 0 };

	str_list_add(&paths, "status/");
	agreement_driver_read(node->driver, &paths, on_statuses, cluster);
}

static void do_service_list(struct node *node, struct control_request *request, const cJSON *body)
{
	(void)body;
	struct report report;
	cJSON *result = cJSON_CreateObject();

	node_report(node, &report);
	(void)cJSON_AddItemToObject(result, "services",
				    report_services_to_json(report.services, report.services_len));
	node_report_end(&report);
	control_answer(request, result);
}

static cJSON *identity_json(const struct node *node)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "id", node->identity.id);
	json_add_str(json, "source", identity_source_name(node->identity.source));
	json_add_str(json, "reason", node->identity.reason);
	json_add_str(json, "boot_id", node->facts.boot_id);
	json_add_str(json, "product_uuid", node->facts.product_uuid);
	json_add_str(json, "netns", node->facts.netns);
	return json;
}

struct cJSON *node_explain(const struct node *node, const char *what)
{
	cJSON *result = cJSON_CreateObject();
	const bool all = strcmp(what, "all") == 0;

	if (all || strcmp(what, "address") == 0)
		(void)cJSON_AddItemToObject(result, "address",
					    address_choice_to_json(&node->choice));
	if (all || strcmp(what, "identity") == 0)
		(void)cJSON_AddItemToObject(result, "identity", identity_json(node));
	if (all || strcmp(what, "services") == 0)
		(void)cJSON_AddItemToObject(result, "services",
					    derivation_to_json(&node->derivation));
	return result;
}

static void do_explain(struct node *node, struct control_request *request, const cJSON *body)
{
	const char *what = json_get_str(body, "what");

	/* As things are now: who vetoed what may have gone. */
	node_choose(node);

	control_answer(request, node_explain(node, what ? what : "all"));
}

/* ---- answers to changes ---------------------------------------------------- */

void control_on_edited(void *ctx, int code, const char *text)
{
	struct control_request *request = ctx;
	if (code < 0) {
		control_fail(request, code, "%s", text);
		return;
	}
	cJSON *result = cJSON_CreateObject();
	CLEAN(str) char *path = xasprintf("configs/%s", text);

	json_add_str(result, "generation", path);
	json_add_str(result, "restarts", NULL);
	control_answer(request, result);
}

/* ---- logs ---------------------------------------------------------------- */

#define LOGS_BYTES (256 * 1024)
#define FOLLOW_S 0.3

/* A `logs -f` that stays: what the unit's file gained is sent, until the peer hangs up. */
struct follow {
	struct control_request *request;
	ev_timer timer;
	char *path;
	off_t offset;
};

static void end_follow(struct ev_loop *loop, struct follow *follow)
{
	ev_timer_stop(loop, &follow->timer);
	control_answer(follow->request, NULL);
	free(follow->path);
	free(follow);
}

static void send_text(struct control_request *request, const char *text, bool last)
{
	cJSON *result = cJSON_CreateObject();

	json_add_str(result, "text", text);
	if (last)
		control_answer(request, result);
	else
		control_send(request, result);
}

static void on_follow(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	struct follow *follow = w->data;
	if (!control_is_open(follow->request)) {
		end_follow(loop, follow);
		return;
	}
	CLEAN(fd) int fd = open(follow->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	const off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

	if (size < follow->offset)
		follow->offset = 0;
	if (size - follow->offset > LOGS_BYTES)
		follow->offset = size - LOGS_BYTES;
	char chunk[LOGS_BYTES / 16 + 1];
	const ssize_t n = fd < 0 ? 0 : pread(fd, chunk, sizeof(chunk) - 1, follow->offset);
	if (n <= 0)
		return;
	follow->offset += n;
	for (ssize_t i = 0; i < n; i++)
		if (chunk[i] == '\0')
			chunk[i] = ' ';
	chunk[n] = '\0';
	send_text(follow->request, chunk, false);
}

static void start_follow(struct node *node, struct control_request *request, const char *service,
			 int shard)
{
	CLEAN(str) char *dir = xasprintf("%s/output", node->options->run_dir);
	struct follow *follow = xcalloc(1, sizeof(*follow));
	CLEAN(fd) int fd = -1;

	follow->request = request;
	follow->path = output_path(dir, service, shard);
	fd = open(follow->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	follow->offset = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ev_timer_init(&follow->timer, on_follow, FOLLOW_S, FOLLOW_S);
	follow->timer.data = follow;
	ev_timer_start(node->loop, &follow->timer);
}

/* The last `lines` lines of a text. */
static const char *last_lines(const char *text, int64_t lines)
{
	const char *p = text + strlen(text);

	if (p > text && p[-1] == '\n')
		p--;
	while (p > text) {
		if (p[-1] == '\n' && --lines <= 0)
			break;
		p--;
	}
	return p;
}

static void do_logs(struct node *node, struct control_request *request, const cJSON *body)
{
	const char *service = json_get_str(body, "service");
	int64_t shard = -1;
	int64_t lines = 100;
	int error = 0;

	(void)json_get_int64(body, "shard", &shard);
	(void)json_get_int64(body, "lines", &lines);
	if (!service || !catalogue_find(service) || shard < 0 || shard > SLOTS_MAX) {
		control_fail(request, ERR_USAGE,
			     "no such service: NAME,SHARD is wanted, as in Worker,0");
		return;
	}
	CLEAN(str) char *text =
		supervisor_output(node->supervisor, service, (int)shard, LOGS_BYTES, &error);
	const bool follow = json_get_bool(body, "follow", false);
	if (!text && !follow) {
		control_fail(request, error, "%s,%d has written nothing on this node", service,
			     (int)shard);
		return;
	}
	send_text(request, text ? last_lines(text, lines) : "", !follow);
	if (follow)
		start_follow(node, request, service, (int)shard);
}

/* ---- dispatch ------------------------------------------------------------ */

static const struct {
	const char *name;
	void (*handle)(struct node *node, struct control_request *request, const cJSON *body);
} commands[] = {
	{ "status", do_status },
	{ "explain", do_explain },
	{ "service.list", do_service_list },
	{ "config.show", control_config_show },
	{ "config.get", control_config_get },
	{ "config.export", control_config_export },
	{ "config.history", control_config_history },
	{ "config.diff", control_config_diff },
	{ "config.plan", control_config_plan },
	{ "config.apply", control_config_apply },
	{ "logs", do_logs },
	{ "node.forget", control_node_forget },
	{ "node.drain", control_node_drain },
	{ "node.undrain", control_node_undrain },
	{ "node.reset-identity", control_node_reset_identity },
	{ "store.accept", control_store_accept },
	{ "store.publish", control_store_publish },
};

void control_handle(void *ctx, struct control_request *request, const char *command,
		    const struct cJSON *body)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, command) == 0) {
			commands[i].handle(ctx, request, body);
			return;
		}
	}
	control_fail(request, ERR_USAGE, "command '%.40s': not in this version", command);
}
