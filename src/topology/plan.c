/* SPDX-License-Identifier: MIT */
/* From what runs here to unit specifications. Pure. */
#include "cmsnode/topology/plan.h"

#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/supervision/supervisor.h"
#include "cmsnode/topology/catalogue.h"
#include "cmsnode/topology/derive.h"

/* Hands the list over as a NULL-terminated array of texts. */
static const char *const *to_vector(struct str_list *list)
{
	str_list_take(list, NULL);
	return (const char *const *)list->items;
}

static void free_vector(const char *const *vector)
{
	if (!vector)
		return;
	for (size_t i = 0; vector[i]; i++)
		free((char *)vector[i]);
	free((void *)vector);
}

void plan_fini(struct plan *plan)
{
	for (size_t i = 0; i < plan->len; i++) {
		free_vector(plan->specs[i].argv);
		free_vector(plan->specs[i].env);
		free((char *)plan->specs[i].generation);
		free((char *)plan->specs[i].rpc_host);
		free((char *)plan->specs[i].disabled);
	}
	free(plan->specs);
	*plan = (struct plan){ 0 };
}

static bool is_ranking(const struct derived_slot *slot)
{
	return str_eq(slot->service, catalogue_at(CATALOGUE_RANKING_WEB_SERVER)->name);
}

static const char *const *make_argv(const struct derived_slot *slot,
				    const struct plan_settings *settings)
{
	struct str_list argv = { 0 };

	str_list_take(&argv, xasprintf("%s/cms%s", settings->cms_bin, slot->service));
	/* It knows neither shards nor contests. */
	if (is_ranking(slot))
		return to_vector(&argv);
	str_list_take(&argv, xasprintf("%d", slot->shard));
	str_list_add(&argv, "-c");
	str_list_add(&argv, settings->contest);
	return to_vector(&argv);
}

/* Nothing of the daemon's own environment reaches a service. */
static const char *const *make_env(const struct derived_slot *slot,
				   const struct plan_settings *settings)
{
	struct str_list env = { 0 };

	str_list_take(
		&env,
		xasprintf("PATH=%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			  settings->cms_bin));
	str_list_add(&env, "LANG=C.UTF-8");
	str_list_take(&env, xasprintf("HOME=%s", settings->home));
	str_list_take(&env, xasprintf("USER=%s", settings->user));
	str_list_take(&env, xasprintf("LOGNAME=%s", settings->user));
	/* Later ones win nowhere: a name given by --env replaces ours. */
	for (size_t i = 0; i < settings->env->len; i++) {
		const char *item = settings->env->items[i];
		const size_t name = strcspn(item, "=") + 1;
		size_t k = 0;

		while (k < env.len && strncmp(env.items[k], item, name) != 0)
			k++;
		if (k < env.len) {
			free(env.items[k]);
			env.items[k] = xstrdup(item);
		} else {
			str_list_add(&env, item);
		}
	}
	if (is_ranking(slot))
		str_list_take(&env, xasprintf("CMS_RANKING_CONFIG=%s", settings->ranking_path));
	else if (str_eq(slot->service, catalogue_at(CATALOGUE_CHECKER)->name))
		str_list_take(&env, xasprintf("CMS_CONFIG=%s", settings->checker_path));
	else
		str_list_take(&env, xasprintf("CMS_CONFIG=%s", settings->config_path));
	return to_vector(&env);
}

void plan_make(const struct derivation *derivation, const struct plan_settings *settings,
	       struct plan *ret)
{
	plan_fini(ret);
	ret->specs = xcalloc(derivation->len, sizeof(*ret->specs));
	for (size_t i = 0; i < derivation->len; i++) {
		const struct derived_slot *slot = &derivation->items[i];
		if (!slot->runs_here || slot->is_daemon)
			continue;
		const struct catalogue_service *service = catalogue_find(slot->service);

		ret->specs[ret->len++] = (struct unit_spec){
			.service = service->name,
			.shard = slot->shard,
			.argv = make_argv(slot, settings),
			.env = make_env(slot, settings),
			.generation = xstrdup(settings->generation),
			.rpc_host = service->rpc ? xstrdup(slot->bind_address) : NULL,
			.rpc_port = slot->port,
			.starts_first = service == catalogue_at(CATALOGUE_LOG_SERVICE),
			.disabled = xstrdup(slot->disabled),
		};
	}
}
