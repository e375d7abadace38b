/* SPDX-License-Identifier: MIT */
/*
 * Changes of the configuration in two steps: `config.plan` turns a wish (keys, a
 * file, an earlier generation) into edits and says what they would do;
 * `config.apply` sends these very edits through the agreement's door. So what is
 * done is what was shown, and what changed in between is refused there. Nothing
 * here touches a unit or a key of the store by itself.
 */
#include "node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/agreement/alter.h"
#include "cmsnode/agreement/generation_diff.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/conversion.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/config/validate_local.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/status/control_socket.h"
#include "cmsnode/store/store.h"
#include "cmsnode/topology/outlook.h"
#include "cmsnode/topology/resolver.h"

#define PLAN_KEPT_MS (30 * 60 * 1000) /* as long as a person may take to read and decide */

/* ---- plans ------------------------------------------------------------------- */

void change_plans_fini(struct change_plans *plans)
{
	for (size_t i = 0; i < ARRAY_LEN(plans->items); i++) {
		edits_fini(&plans->items[i].edits);
		free(plans->items[i].reason);
	}
}

/* The oldest makes room; takes the edits. */
static const struct change_plan *remember(struct change_plans *plans, struct edits *edits,
					  const char *reason)
{
	const uint64_t id = ++plans->last;
	struct change_plan *plan = &plans->items[id % ARRAY_LEN(plans->items)];

	edits_fini(&plan->edits);
	free(plan->reason);
	*plan = (struct change_plan){ id, *edits, xstrdup(reason), clock_now_ms() };
	*edits = (struct edits){ 0 };
	return plan;
}

static struct change_plan *recall(struct change_plans *plans, int64_t id)
{
	struct change_plan *plan = &plans->items[(uint64_t)id % ARRAY_LEN(plans->items)];

	if (id < 1 || plan->id != (uint64_t)id || clock_now_ms() - plan->made_ms > PLAN_KEPT_MS)
		return NULL;
	return plan;
}

/* ---- wishes -------------------------------------------------------------------- */

static int unknown_key(int code, const char *key, const char *what, struct err *err)
{
	const char *nearest = config_key_nearest(key);

	return err_set(err, code, "%.200s: %s%s%s%s", key, what, nearest ? " (did you mean " : "",
		       nearest ? nearest : "", nearest ? "?)" : "");
}

static int add_change(const struct node *node, const struct generation *generation,
		      const cJSON *change, struct edits *edits, struct err *err)
{
	const char *key = json_get_str(change, "key");
	const char *text = json_get_str(change, "value");
	CLEAN(value) struct value *wanted = NULL;

	if (!key)
		return err_set(err, ERR_USAGE, "a change needs a key");
	const char *path = str_starts(key, "topology.") ? key : config_key_canonical(key);
	if (!path)
		return unknown_key(ERR_USAGE, key, "no such key", err);
	if (text && config_value_parse(path, text, &wanted, err) < 0)
		return ERR_CONFIG;
	if (node->options->standalone &&
	    (str_starts(path, "topology.") || str_starts(path, "ranking.")))
		return err_set(err, ERR_USAGE, "%s: FILE has no place for it", path);
	CLEAN(value) struct value *old = alter_value(generation, path);

	/* CMS ignores a key that it does not know, and everything would restart for nothing. */
	if (!old && !config_key_find(path) && !str_starts(path, "topology."))
		return unknown_key(ERR_CONFIG, path, "CMS has no such key", err);
	if (!old && !wanted)
		return err_set(err, ERR_CONFIG, "%s is not set", path);
	edits_add(edits, path, old, wanted);
	return 0;
}

static int add_changes(const struct node *node, const struct generation *generation,
		       const cJSON *changes, struct edits *edits, struct err *err)
{
	const cJSON *change;
	int r = 0;

	cJSON_ArrayForEach(change, changes) {
		if (r == 0)
			r = add_change(node, generation, change, edits, err);
	}
	return r;
}

static int import_ranking(const struct generation *generation, const char *text,
			  struct edits *edits, struct findings *findings, struct err *err)
{
	CLEAN(value) struct value *document = value_new_table();
	struct value *ranking = NULL;
	enum cms_format format;

	if (ranking_file_parse(text, strlen(text), &format, &ranking, err) < 0)
		return err_set(err, ERR_CONFIG, "%s", err->msg);
	value_set(document, "ranking", ranking);
	config_conversion(document, format, generation->meta.format, findings);
	alter_import_ranking(generation, document, edits);
	return 0;
}

static int import_main(const struct node *node, const struct generation *generation,
		       const char *text, struct edits *edits, struct findings *findings,
		       struct err *err)
{
	const struct alter_import_settings settings = {
		.keep_loopback = node->options->standalone,
		.zone = generation->policy.names ? node->options->zone : NULL,
	};
	CLEAN(value) struct value *document = NULL;
	enum cms_format format;

	if (cms_file_parse(text, strlen(text), &format, &document, err) < 0)
		return err_set(err, ERR_CONFIG, "%s", err->msg);
	config_conversion(document, format, generation->meta.format, findings);
	return alter_import(generation, document, &settings, edits, err);
}

/* ---- config.plan ------------------------------------------------------------------ */

/* What is wrong now and was not before, and what came with the wish (a conversion's losses). */
static void add_findings(cJSON *result, const struct node *node, const struct generation *altered,
			 const struct findings *wish)
{
	CLEAN(findings) struct findings before = { 0 };
	CLEAN(findings) struct findings after = { 0 };
	CLEAN(findings) struct findings news = { 0 };
	CLEAN(validate_local) struct validate_local local = { 0 };
	CLEAN(value) struct value *old = generation_render(node_agreed(node));
	CLEAN(value) struct value *new = generation_render(altered);
	struct validate_context context = { .format = altered->meta.format };

	validate_local_read(node->options->facts_root, &local);
	validate_local_apply(&local, &context);
	config_validate(old, &context, &before);
	config_validate(new, &context, &after);
	for (size_t i = 0; i < wish->len; i++)
		findings_add(&news, false, wish->items[i].key, "%s", wish->items[i].text);
	for (size_t i = 0; i < after.len; i++)
		if (!findings_have(&before, &after.items[i]))
			findings_add(&news, false, after.items[i].key, "%s", after.items[i].text);
	control_add_findings(result, &news, CONTROL_ALL);
}

static void add_outlook(cJSON *json, const struct node *node, const struct generation *generation,
			const struct generation *altered, const struct registrations *registrations,
			bool at_once)
{
	const struct outlook_question question = { .old = generation,
						   .new = altered,
						   .registrations = registrations,
						   .hosts = resolver_answers(node->resolver),
						   .standalone = node->options->standalone,
						   .at_once = at_once,
						   .zone = node_names_zone(node, altered) };
	CLEAN(outlook) struct outlook outlook = { 0 };

	outlook_make(&question, &outlook);
	CLEAN(str) char *text = outlook_text(&outlook);

	(void)cJSON_AddItemToObject(json, "outlook", outlook_to_json(&outlook));
	json_add_str(json, "outlook_text", text);
}

static cJSON *plan_json(struct node *node, const struct generation *altered,
			const struct registrations *registrations, const struct findings *wish,
			const struct change_plan *plan, bool at_once)
{
	const struct generation *generation = node_agreed(node);
	CLEAN(generation_diff) struct generation_diff diff = { 0 };
	cJSON *json = cJSON_CreateObject();

	generation_diff_make(generation, altered, &diff);
	CLEAN(str) char *text = generation_diff_text(&diff);

	if (plan)
		json_add_int(json, "plan", (int64_t)plan->id);
	else
		(void)cJSON_AddNullToObject(json, "plan");
	json_add_str(json, "base", generation->name);
	(void)cJSON_AddItemToObject(json, "changes", generation_diff_to_json(&diff));
	json_add_str(json, "text", text);
	add_findings(json, node, altered, wish);
	add_outlook(json, node, generation, altered, registrations, at_once);
	return json;
}

/* A plan on its way; waits for who is there. */
struct planning {
	struct node *node;
	struct control_request *request;
	struct edits edits;
	struct findings findings; /* of the wish itself */
	char *reason;
};

static void planning_free(struct planning *planning)
{
	edits_fini(&planning->edits);
	findings_fini(&planning->findings);
	free(planning->reason);
	free(planning);
}

/* What would come of the edits is tried on a copy. */
static void answer_planning(struct planning *planning, const struct registrations *registrations)
{
	struct node *node = planning->node;
	const struct generation *generation = node_agreed(node);
	CLEAN(generation) struct generation *altered = generation_clone(generation);
	struct err err = { 0 };
	const int r = alter_edit(altered, &planning->edits, &err);
	CLEAN(str) char *errors = r == 0 ? alter_errors(altered) : NULL;

	if (r < 0 || errors) {
		control_fail(planning->request, r < 0 ? r : ERR_CONFIG, "%s",
			     errors ? errors : err.msg);
		return;
	}
	const bool changes = !generation_same_content(altered, generation);
	const bool at_once = planning->edits.at_once;
	const struct change_plan *plan =
		changes ? remember(&node->plans, &planning->edits, planning->reason) : NULL;

	control_answer(planning->request,
		       plan_json(node, altered, registrations, &planning->findings, plan, at_once));
}

/* With the store silent the last that is known has to do: a plan is no promise. */
static void on_nodes(void *ctx, const struct store_kvs *ranges, size_t len, const char *trouble)
{
	struct planning *planning = ctx;
	const struct agreement *agreement = agreement_driver_agreement(planning->node->driver);
	CLEAN(str) char *folder = xasprintf("%s/nodes/", agreement_prefix(agreement));
	CLEAN(registrations) struct registrations found = { 0 };

	(void)trouble;
	if (len)
		registrations_read(&ranges[0], folder, &found);
	answer_planning(planning, len ? &found : agreement_registrations(agreement));
	planning_free(planning);
}

/* Takes the edits and the findings. */
static void answer_plan(struct node *node, struct control_request *request, struct edits *edits,
			struct findings *findings, const char *reason)
{
	struct planning *planning = xmalloc(sizeof(*planning));
	CLEAN(str_list) struct str_list paths = { 0 };

	*planning = (struct planning){ node, request, *edits, *findings, xstrdup(reason) };
	*edits = (struct edits){ 0 };
	*findings = (struct findings){ 0 };
	str_list_add(&paths, "nodes/");
	agreement_driver_read(node->driver, &paths, on_nodes, planning);
}

static void on_rollback_read(struct node *node, struct control_request *request,
			     const struct generation *to, const struct generation *unused,
			     void *ctx)
{
	const struct generation *generation =
		agreement_agreed(agreement_driver_agreement(node->driver));
	CLEAN(str) char *reason = xasprintf("back to %s", to->name);
	struct edits edits = { 0 };

	(void)unused;
	(void)ctx;
	struct findings findings = { 0 };

	alter_roll_back(generation, to, &edits);
	answer_plan(node, request, &edits, &findings, reason);
}

static void plan_rollback(struct node *node, struct control_request *request,
			  const struct generation *generation, const char *wanted, bool at_once)
{
	CLEAN(str) char *name = control_find_generation(generation, wanted);

	if (name)
		control_read_generations(node, request, name, NULL, on_rollback_read,
					 at_once ? node : NULL);
	else
		(void)control_unknown_generation(request, wanted);
}

/* A plan that shows secrets' absence or a file's content is for those who may change things. */
void control_config_plan(struct node *node, struct control_request *request, const cJSON *body)
{
	const struct generation *generation = control_agreed(node, request);
	const cJSON *changes = json_get_array(body, "changes");
	const char *text = json_get_str(body, "import");
	const char *rollback = json_get_str(body, "rollback");
	struct edits edits = { 0 };
	struct findings findings = { 0 };
	struct err err = { 0 };

	if (!generation)
		return;
	edits.at_once = json_get_bool(body, "at_once", false);
	int r = node_file_check(node, &err);

	if (r == 0 && rollback) {
		plan_rollback(node, request, generation, rollback, edits.at_once);
		return;
	}
	if (r == 0 && text && json_get_bool(body, "ranking", false))
		r = import_ranking(generation, text, &edits, &findings, &err);
	else if (r == 0 && text)
		r = import_main(node, generation, text, &edits, &findings, &err);
	if (r == 0)
		r = add_changes(node, generation, changes, &edits, &err);
	if (r == 0 && !text && cJSON_GetArraySize(changes) == 0)
		r = err_set(&err, ERR_USAGE, "nothing to change: KEY=VALUE is wanted");
	if (r < 0) {
		control_fail(request, r, "%s", err.msg);
		edits_fini(&edits);
		findings_fini(&findings);
		return;
	}
	answer_plan(node, request, &edits, &findings, text ? "file imported" : "edited");
}

/* ---- config.apply ------------------------------------------------------------------- */

void control_config_apply(struct node *node, struct control_request *request, const cJSON *body)
{
	const char *message = json_get_str(body, "message");
	struct err err = { 0 };
	int64_t id = 0;

	if (!control_may_change(request)) {
		control_fail(request, -EPERM, "changes need root or group cmsnode");
		return;
	}
	if (!control_agreed(node, request))
		return;
	(void)json_get_int64(body, "plan", &id);
	const struct change_plan *plan = recall(&node->plans, id);

	if (!plan) {
		control_fail(request, ERR_CONFLICT, "this plan is too old: plan the change again");
	} else if (node_file_check(node, &err) < 0) {
		control_fail(request, err.code, "%s", err.msg);
	} else {
		agreement_driver_edit(node->driver, &plan->edits, "operator",
				      message ? message : plan->reason, control_on_edited, request);
	}
}
