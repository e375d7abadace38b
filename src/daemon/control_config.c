/* SPDX-License-Identifier: MIT */
/*
 * The commands that show the configuration: now, as CMS reads it, and as it was.
 * Must never show a secret but where the caller may change things and asks.
 */
#include "node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/agreement/generation_diff.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/conversion.h"
#include "cmsnode/config/keys.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/status/control_socket.h"

#define HISTORY_DEFAULT 20

/* ---- show, get, export ----------------------------------------------------- */

const struct generation *control_agreed(struct node *node, struct control_request *request)
{
	const struct agreement *agreement =
		node->driver ? agreement_driver_agreement(node->driver) : NULL;
	const struct generation *generation = agreement ? agreement_agreed(agreement) : NULL;
	if (!generation) {
		const char *why = agreement ? agreement_trouble(agreement) : node->choice.reason;

		control_fail(request, ERR_UNAVAILABLE, "no configuration is agreed yet%s%s",
			     why ? ": " : "", why ? why : "");
	}
	return generation;
}

static cJSON *masked_tables(const struct generation *generation)
{
	cJSON *tables = cJSON_CreateObject();

	for (size_t t = 0; t < generation->cms->table.len; t++) {
		const struct value_member *table = &generation->cms->table.members[t];
		cJSON *json = cJSON_AddObjectToObject(tables, table->key);

		for (size_t i = 0; i < table->value->table.len; i++) {
			const struct value_member *member = &table->value->table.members[i];
			CLEAN(str) char *path = xasprintf("%s.%s", table->key, member->key);
			CLEAN(value) struct value *masked = config_mask(path, member->value);

			(void)cJSON_AddItemToObject(json, member->key, value_to_cjson(masked));
		}
	}
	return tables;
}

static cJSON *slot_json(const struct slot *slot, const char *service, size_t shard)
{
	cJSON *json = cJSON_CreateObject();
	CLEAN(str) char *name = xasprintf("%s-%zu", service, shard);

	json_add_str(json, "kind", slot->node ? "assigned" : slot->host ? "static" : "vacant");
	json_add_str(json, "node", slot->node);
	json_add_str(json, "host", slot->host);
	json_add_int(json, "port", slot->port);
	json_add_str(json, "name", name);
	return json;
}

static cJSON *services_json(const struct generation *generation)
{
	cJSON *services = cJSON_CreateObject();

	for (int s = 0; s < CATALOGUE_COUNT; s++) {
		const struct slot_list *list = &generation->slots.lists[s];
		const char *name = catalogue_at((enum catalogue_index)s)->name;
		if (!list->listed)
			continue;
		cJSON *array = cJSON_AddArrayToObject(services, name);

		for (size_t k = 0; k < list->len; k++)
			(void)cJSON_AddItemToArray(array, slot_json(&list->items[k], name, k));
	}
	return services;
}

void control_config_show(struct node *node, struct control_request *request, const cJSON *body)
{
	(void)body;
	const struct generation *generation = control_agreed(node, request);
	if (!generation)
		return;
	cJSON *result = cJSON_CreateObject();
	CLEAN(str) char *path = xasprintf("configs/%s", generation->name);
	CLEAN(value) struct value *policy = policy_to_value(&generation->policy);

	json_add_str(result, "generation", path);
	json_add_int(result, "epoch", generation->epoch);
	json_add_int(result, "sequence", generation->sequence);
	(void)cJSON_AddItemToObject(result, "tables", masked_tables(generation));
	(void)cJSON_AddItemToObject(result, "services", services_json(generation));
	(void)cJSON_AddItemToObject(result, "policy", value_to_cjson(policy));
	control_answer(request, result);
}

/*
 * A path that can be asked for or set; NULL after having answered. "services.X" is rendered, not
 * stored.
 */
static const char *path_or_fail(struct control_request *request, const char *key)
{
	const char *path = NULL;

	if (key)
		path = str_starts(key, "topology.") ? key : config_key_canonical(key);
	if (!path) {
		const char *nearest = key ? config_key_nearest(key) : NULL;

		control_fail(request, ERR_USAGE, "%s: no such key%s%s%s", key ? key : "(none)",
			     nearest ? " (did you mean " : "", nearest ? nearest : "",
			     nearest ? "?)" : "");
	}
	return path;
}

static struct value *look_up(const struct generation *generation, const char *path)
{
	if (!str_starts(path, "services."))
		return alter_value(generation, path);
	CLEAN(value) struct value *document = generation_render(generation);

	return value_clone(value_get_path(document, path));
}

void control_config_get(struct node *node, struct control_request *request, const cJSON *body)
{
	const char *path = path_or_fail(request, json_get_str(body, "key"));
	if (!path)
		return;
	const struct generation *generation = control_agreed(node, request);
	if (!generation)
		return;
	const bool reveal = json_get_bool(body, "reveal", false);
	if (reveal && !control_may_change(request)) {
		control_fail(request, -EPERM, "--reveal needs root or group cmsnode");
		return;
	}
	CLEAN(value) struct value *value = look_up(generation, path);
	if (!value) {
		control_fail(request, -ENOENT, "%s is not set: CMS's own default holds", path);
		return;
	}
	CLEAN(value) struct value *shown = reveal ? value_clone(value) : config_mask(path, value);
	cJSON *result = cJSON_CreateObject();

	json_add_str(result, "key", path);
	(void)cJSON_AddItemToObject(result, "value", value_to_cjson(shown));
	control_answer(request, result);
}

void control_config_export(struct node *node, struct control_request *request, const cJSON *body)
{
	const struct generation *generation = control_agreed(node, request);
	if (!generation)
		return;
	if (!control_may_change(request)) {
		control_fail(request, -EPERM,
			     "an export holds passwords: it needs root or group cmsnode");
		return;
	}
	const char *wanted = json_get_str(body, "format");
	enum cms_format format = generation->meta.format;
	if (wanted && cms_format_parse(wanted, &format) < 0) {
		control_fail(request, ERR_USAGE,
			     "format '%.40s': toml, json or flat-toml is wanted", wanted);
		return;
	}
	CLEAN(value) struct value *document = generation_render(generation);
	const bool ranking = json_get_bool(body, "ranking", false);
	CLEAN(str)
	char *text = ranking ? ranking_file_write(value_get(document, "ranking"), format) :
			       cms_file_write(document, format);
	CLEAN(findings) struct findings findings = { 0 };
	cJSON *result = cJSON_CreateObject();

	config_conversion(document, generation->meta.format, format, &findings);
	json_add_str(result, "text", text);
	json_add_str(result, "format", cms_format_name(format));
	control_add_findings(result, &findings, ranking ? CONTROL_RANKING : CONTROL_MAIN);
	control_answer(request, result);
}

/* Those about the ranking are of its file only. */
void control_add_findings(cJSON *result, const struct findings *findings,
			  enum control_findings which)
{
	cJSON *warnings = cJSON_AddArrayToObject(result, "warnings");

	for (size_t i = 0; i < findings->len; i++) {
		const bool of_ranking = str_starts(findings->items[i].key, "ranking.");

		if ((which == CONTROL_MAIN && of_ranking) ||
		    (which == CONTROL_RANKING && !of_ranking))
			continue;
		cJSON *json = cJSON_CreateObject();

		json_add_str(json, "key", findings->items[i].key);
		json_add_str(json, "text", findings->items[i].text);
		(void)cJSON_AddItemToArray(warnings, json);
	}
}

/* ---- earlier generations ---------------------------------------------------- */

char *control_find_generation(const struct generation *agreed, const char *wanted)
{
	const char *name = str_starts(wanted, "configs/") ? wanted + strlen("configs/") : wanted;
	int64_t sequence;

	if (str_to_int64(name, 1, INT64_MAX, &sequence) == 0) {
		if (sequence == agreed->sequence)
			return xstrdup(agreed->name);
		for (size_t i = 0; i < agreed->meta.kept_len; i++)
			if (generation_name_sequence(agreed->meta.kept[i].name) == sequence)
				return xstrdup(agreed->meta.kept[i].name);
		return NULL;
	}
	if (str_eq(name, agreed->name))
		return xstrdup(name);
	for (size_t i = 0; i < agreed->meta.kept_len; i++)
		if (str_eq(agreed->meta.kept[i].name, name))
			return xstrdup(name);
	return NULL;
}

int control_unknown_generation(struct control_request *request, const char *wanted)
{
	control_fail(request, ERR_USAGE,
		     "there is no generation '%.100s' (any more); see: cmsnodectl config history",
		     wanted);
	return ERR_USAGE;
}

static void history_entry(cJSON *list, const char *name, const struct generation_meta *meta,
			  bool is_current)
{
	cJSON *json = cJSON_CreateObject();

	json_add_str(json, "generation", name);
	json_add_int(json, "sequence", generation_name_sequence(name));
	json_add_int(json, "created_at", meta->created_at);
	json_add_str(json, "author", meta->author);
	json_add_str(json, "reason", meta->reason);
	json_add_str_list(json, "changes", &meta->changes);
	json_add_bool(json, "current", is_current);
	(void)cJSON_AddItemToArray(list, json);
}

struct history {
	struct control_request *request;
	struct generation *agreed;
	size_t len; /* of its kept ones */
};

static void on_history(void *ctx, const struct store_kvs *ranges, size_t len, const char *trouble)
{
	struct history *history = ctx;
	cJSON *result = cJSON_CreateObject();
	cJSON *list = cJSON_AddArrayToObject(result, "generations");

	history_entry(list, history->agreed->name, &history->agreed->meta, true);
	for (size_t i = 0; i < len; i++) {
		struct generation_meta meta;

		/* One that went meanwhile is no longer of interest. */
		if (ranges[i].len == 1 &&
		    generation_meta_read(&ranges[i].items[0], &meta, NULL) == 0) {
			history_entry(list, history->agreed->meta.kept[i].name, &meta, false);
			generation_meta_fini(&meta);
		}
	}
	if (trouble) {
		json_free(result);
		control_fail(history->request, ERR_UNAVAILABLE, "the store does not answer: %s",
			     trouble);
	} else {
		control_answer(history->request, result);
	}
	generation_free(history->agreed);
	free(history);
}

void control_config_history(struct node *node, struct control_request *request, const cJSON *body)
{
	const struct generation *agreed = control_agreed(node, request);
	CLEAN(str_list) struct str_list paths = { 0 };
	int64_t lines = HISTORY_DEFAULT;

	if (!agreed)
		return;
	(void)json_get_int64(body, "lines", &lines);
	struct history *history = xmalloc(sizeof(*history));

	*history = (struct history){ request, generation_clone(agreed), 0 };
	for (size_t i = 0; i < agreed->meta.kept_len && (int64_t)i + 1 < lines; i++)
		str_list_take(&paths, xasprintf("configs/%s/meta", agreed->meta.kept[i].name));
	if (paths.len)
		agreement_driver_read(node->driver, &paths, on_history, history);
	else
		on_history(history, NULL, 0, NULL);
}

/* Up to two generations by name, the agreed one included. */
struct generations {
	struct node *node;
	struct control_request *request;
	control_generations_fn *done;
	void *ctx;
	char *names[2];
	struct generation *agreed;
};

static void generations_free(struct generations *generations)
{
	for (size_t i = 0; i < ARRAY_LEN(generations->names); i++)
		free(generations->names[i]);
	generation_free(generations->agreed);
	free(generations);
}

static int take_generation(const struct generations *generations, size_t i,
			   const struct store_kvs *kvs, struct generation **ret, struct err *err)
{
	const char *name = generations->names[i];
	const struct agreement *agreement = agreement_driver_agreement(generations->node->driver);
	CLEAN(str)
	char *directory = xasprintf("%s/configs/%s/", agreement_prefix(agreement), name);

	if (str_eq(name, generations->agreed->name)) {
		*ret = generation_clone(generations->agreed);
		return 0;
	}
	const int r = generation_read(name, directory, kvs, ret, err);

	return r < 0 ? err_wrap(err, "generation %s", name) : 0;
}

static void on_generations(void *ctx, const struct store_kvs *ranges, size_t len,
			   const char *trouble)
{
	struct generations *generations = ctx;
	CLEAN(generation) struct generation *first = NULL;
	CLEAN(generation) struct generation *second = NULL;
	struct err err = { 0 };
	int r = 0;

	if (trouble)
		r = err_set(&err, ERR_UNAVAILABLE, "the store does not answer: %s", trouble);
	if (r == 0)
		r = take_generation(generations, 0, &ranges[0], &first, &err);
	if (r == 0 && len > 1)
		r = take_generation(generations, 1, &ranges[1], &second, &err);
	if (r < 0)
		control_fail(generations->request, r, "%s", err.msg);
	else
		generations->done(generations->node, generations->request, first, second,
				  generations->ctx);
	generations_free(generations);
}

void control_read_generations(struct node *node, struct control_request *request, const char *first,
			      const char *second, control_generations_fn *done, void *ctx)
{
	struct generations *generations = xmalloc(sizeof(*generations));
	CLEAN(str_list) struct str_list paths = { 0 };

	*generations = (struct generations){
		.node = node,
		.request = request,
		.done = done,
		.ctx = ctx,
		.names = { xstrdup(first), xstrdup(second) },
		.agreed = generation_clone(
			agreement_agreed(agreement_driver_agreement(node->driver))),
	};
	for (size_t i = 0; i < ARRAY_LEN(generations->names) && generations->names[i]; i++)
		str_list_take(&paths, xasprintf("configs/%s/", generations->names[i]));
	agreement_driver_read(node->driver, &paths, on_generations, generations);
}

static void on_diff(struct node *node, struct control_request *request,
		    const struct generation *old, const struct generation *new, void *ctx)
{
	(void)node;
	(void)ctx;
	CLEAN(generation_diff) struct generation_diff diff = { 0 };
	cJSON *result = cJSON_CreateObject();

	generation_diff_make(old, new, &diff);
	json_add_str(result, "from", old->name);
	json_add_str(result, "to", new->name);
	(void)cJSON_AddItemToObject(result, "changes", generation_diff_to_json(&diff));
	CLEAN(str) char *text = generation_diff_text(&diff);

	json_add_str(result, "text", text);
	control_answer(request, result);
}

/* `from` NULL: the one before `to`; `to` NULL: the agreed one. */
void control_config_diff(struct node *node, struct control_request *request, const cJSON *body)
{
	const struct generation *agreed = control_agreed(node, request);
	if (!agreed)
		return;
	const char *wanted[] = { json_get_str(body, "from"), json_get_str(body, "to") };
	CLEAN(str) char *to =
		wanted[1] ? control_find_generation(agreed, wanted[1]) : xstrdup(agreed->name);
	CLEAN(str) char *from = NULL;

	if (!to) {
		(void)control_unknown_generation(request, wanted[1]);
		return;
	}
	if (wanted[0])
		from = control_find_generation(agreed, wanted[0]);
	else if (agreed->meta.kept_len)
		from = xstrdup(agreed->meta.kept[0].name);
	if (from)
		control_read_generations(node, request, from, to, on_diff, NULL);
	else if (wanted[0])
		(void)control_unknown_generation(request, wanted[0]);
	else
		control_fail(request, ERR_USAGE, "there is no earlier generation");
}
