/* SPDX-License-Identifier: MIT */
/*
 * An agreed generation becomes files, and what runs here. A unit that runs with
 * an older one restarts only if what it reads has changed. Must never touch a
 * unit for a generation that was refused.
 */
#include "node_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/conversion.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/impact.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/rendered_files.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/network/netlink.h"
#include "cmsnode/supervision/supervisor.h"
#include "cmsnode/topology/plan.h"
#include "cmsnode/topology/resolver.h"

#define APPLY_AGAIN_S 5.0

const struct generation *node_agreed(const struct node *node)
{
	return node->driver ? agreement_agreed(agreement_driver_agreement(node->driver)) : NULL;
}

static struct rendered *find_rendered(struct node *node, const char *generation)
{
	for (size_t i = 0; generation && i < node->rendered_len; i++)
		if (strcmp(node->rendered[i].generation, generation) == 0)
			return &node->rendered[i];
	return NULL;
}

static const struct rendered *newest_rendered(const struct node *node)
{
	return node->rendered_len ? &node->rendered[node->rendered_len - 1] : NULL;
}

/* Forgets documents and files that neither the newest generation nor a running unit needs. */
static void sweep_rendered(struct node *node)
{
	CLEAN(str_list) struct str_list keep = { 0 };
	size_t kept = 0;

	if (!node->rendered_len)
		return;
	str_list_add(&keep, newest_rendered(node)->generation);
	for (size_t i = 0; i < supervisor_count(node->supervisor); i++) {
		struct unit_status unit;

		supervisor_status(node->supervisor, i, &unit);
		if (unit.generation && !str_list_has(&keep, unit.generation))
			str_list_add(&keep, unit.generation);
	}
	for (size_t i = 0; i < node->rendered_len; i++) {
		if (str_list_has(&keep, node->rendered[i].generation)) {
			node->rendered[kept++] = node->rendered[i];
		} else {
			free(node->rendered[i].generation);
			value_free(node->rendered[i].document);
			free(node->rendered[i].address);
		}
	}
	node->rendered_len = kept;
	rendered_files_sweep(node->files_dir, &keep);
}

static int check_document(const struct value *document, enum cms_format format, struct err *err)
{
	const struct validate_context context = { .format = format };
	CLEAN(findings) struct findings findings = { 0 };

	config_validate(document, &context, &findings);
	for (size_t i = 0; i < findings.len; i++) {
		if (findings.items[i].is_error)
			return err_set(err, ERR_CONFIG, "%s: %s", findings.items[i].key,
				       findings.items[i].text);
		log_warning("config", "%s: %s", findings.items[i].key, findings.items[i].text);
	}
	return 0;
}

/* Checker asks each entry again and again, so its file has only who is there. */
static const char *checker_file(enum cms_format format)
{
	return format == CMS_FORMAT_JSON ? "cms.checker.conf" : "cms.checker.toml";
}

static int write_files(struct node *node, const struct generation *generation,
		       const struct value *document, struct err *err)
{
	const struct render_settings settings = { node_names_zone(node, generation), true };
	CLEAN(value) struct value *checkers = generation_render_as(generation, &settings);
	CLEAN(str) char *checker = cms_file_write(checkers, node->format);
	CLEAN(str) char *text = cms_file_write(document, node->format);
	CLEAN(str)
	char *ranking = ranking_file_write(value_get(document, "ranking"), node->format);
	const struct rendered_file files[] = { { cms_format_file(node->format), text },
					       { checker_file(node->format), checker },
					       { ranking_file_name(node->format), ranking } };
	const gid_t gid = node->user.drop ? node->user.gid : (gid_t)-1;

	return rendered_files_write(node->files_dir, generation->name, files, ARRAY_LEN(files), gid,
				    err);
}

static enum cms_format format_here(const struct node *node, const struct generation *generation)
{
	enum cms_format format;

	return cms_format_parse(node->options->cms_format, &format) == 0 ? format :
									   generation->meta.format;
}

/* What this node cannot start of it; the rest runs all the same. NULL = nothing is missing. */
static char *missing_programs(const struct node *node)
{
	CLEAN(str_list) struct str_list names = { 0 };

	for (size_t i = 0; i < node->derivation.len; i++) {
		const struct derived_slot *slot = &node->derivation.items[i];
		CLEAN(str) char *name = xasprintf("cms%s", slot->service);
		CLEAN(str) char *path = xasprintf("%s/%s", node->cms_bin, name);

		if (slot->runs_here && !slot->is_daemon && !slot->disabled &&
		    access(path, X_OK) < 0 && !str_list_has(&names, name))
			str_list_add(&names, name);
	}
	if (!names.len)
		return NULL;
	CLEAN(str) char *list = str_list_join(&names, ", ");

	return xasprintf("%s: no such program%s in %s: install CMS here, or name its folder with "
			 "--cms-bin",
			 list, names.len > 1 ? "s" : "", node->cms_bin);
}

void node_look_for_programs(struct node *node)
{
	char *missing = node->rendered_len ? missing_programs(node) : NULL;

	if (missing && !str_eq(missing, node->missing))
		log_error("config", "%s", missing);
	free(node->missing);
	node->missing = missing;
}

/* Once: the files of a CMS of another version than the cluster's say less, or something else. */
static void tell_losses(struct node *node, const struct generation *generation,
			const struct value *document)
{
	CLEAN(findings) struct findings findings = { 0 };

	if (node->format == generation->meta.format || node->losses_told)
		return;
	node->losses_told = true;
	config_conversion(document, generation->meta.format, node->format, &findings);
	for (size_t i = 0; i < findings.len; i++)
		log_warning("config", "%s for CMS on this node: %s: %s",
			    cms_format_file(node->format), findings.items[i].key,
			    findings.items[i].text);
}

static char *own_address(const struct node *node, const struct generation *generation)
{
	const struct generation_node *self = generation_node_find(generation, node->self.id);

	return self ? xstrdup(self->address) : NULL;
}

void node_apply(struct node *node)
{
	const struct generation *generation = node_agreed(node);
	const struct render_settings settings = { node_names_zone(node, generation), false };
	CLEAN(value) struct value *document = generation_render_as(generation, &settings);
	struct err err = { 0 };

	node->format = format_here(node, generation);
	tell_losses(node, generation, document);
	int r = check_document(document, node->format, &err);
	if (r == 0)
		r = write_files(node, generation, document, &err);
	free(node->refused);
	node->refused = r < 0 ? xasprintf("%s: %s", generation->name, err.msg) : NULL;
	/* A full disk may be emptied; a configuration that CMS would refuse stays so. */
	node->apply_again = r < 0 && r != ERR_CONFIG;
	if (r < 0) {
		log_error("config", "%s is refused, what runs goes on: %s%s", generation->name,
			  err.msg, node->apply_again ? ", retrying in 5 s" : "");
		if (node->apply_again)
			node_settle(node, APPLY_AGAIN_S);
		return;
	}
	/* Comes back here, perhaps with addresses. */
	if (!node_names_ready(node, generation))
		return;
	GROW(node->rendered, node->rendered_len, node->rendered_cap);
	node->rendered[node->rendered_len++] =
		(struct rendered){ xstrdup(generation->name), steal(document),
				   own_address(node, generation) };
	log_info("config", "following %s (sequence %" PRId64 ", by %s: %s)", generation->name,
		 generation->sequence, generation->meta.author, generation->meta.reason);
	node_derive(node);
	sweep_rendered(node);
	if (node->options->standalone) {
		CLEAN(str)
		char *text =
			cms_file_write(newest_rendered(node)->document, generation->meta.format);

		node_file_write(node, generation, text);
	}
}

static struct unit_spec *find_spec(struct plan *plan, const struct unit_status *unit)
{
	for (size_t k = 0; k < plan->len; k++)
		if (strcmp(plan->specs[k].service, unit->service) == 0 &&
		    plan->specs[k].shard == unit->shard)
			return &plan->specs[k];
	return NULL;
}

/* A name that stays hides from the comparison that the unit listens where nobody is any more. */
static bool has_moved(const struct node *node, const struct unit_status *unit,
		      const struct rendered *started, const struct rendered *newest)
{
	if (str_eq(started->address, newest->address))
		return false;
	for (size_t i = 0; i < node->derivation.len; i++) {
		const struct derived_slot *slot = &node->derivation.items[i];

		if (slot->shard == unit->shard && str_eq(slot->service, unit->service))
			return slot->node && catalogue_find(slot->service)->listed;
	}
	return false;
}

/* Machines come in crowds: who restarts only to learn of them does it once for all. */
static bool waits_for_crowd(struct node *node, const struct impact *impact,
			    const struct unit_status *unit, bool *ret_crowd)
{
	const struct generation *generation = node_agreed(node);
	const int64_t now_ms = clock_now_ms();

	if (!impact_can_wait(impact, unit->service, unit->shard))
		return false;
	*ret_crowd = true;
	settle_note(&node->crowd, generation->sequence, now_ms);
	return now_ms < settle_due_ms(&node->crowd, &generation->policy);
}

static void on_crowd_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	ev_timer_stop(loop, w);
	node_derive(w->data);
}

static void arm_crowd_timer(struct node *node)
{
	const int64_t due_ms = settle_due_ms(&node->crowd, &node_agreed(node)->policy);
	const int64_t wait_ms = due_ms == INT64_MAX ? 0 : due_ms - clock_now_ms();

	ev_timer_stop(node->loop, &node->crowd_timer);
	if (wait_ms <= 0)
		return;
	ev_timer_init(&node->crowd_timer, on_crowd_timer, (double)wait_ms / 1000.0, 0.0);
	node->crowd_timer.data = node;
	ev_timer_start(node->loop, &node->crowd_timer);
}

/*
 * A unit that runs with an older generation restarts only if CMS's reading habits say that it
 * matters.
 */
static void mark_restarts(struct node *node, struct plan *plan)
{
	const struct rendered *newest = newest_rendered(node);
	const struct rendered *compared = NULL; /* most units run with the same one */
	CLEAN(impact) struct impact *impact = NULL;
	bool crowd = false;

	node_pacing_begin(node);
	for (size_t i = 0; i < supervisor_count(node->supervisor); i++) {
		struct unit_status unit;
		CLEAN(str) char *why = NULL;

		supervisor_status(node->supervisor, i, &unit);
		const struct rendered *started = find_rendered(node, unit.generation);
		struct unit_spec *spec = find_spec(plan, &unit);

		if (!spec || !started || started == newest)
			continue;
		if (started != compared) {
			impact_free(impact);
			impact = impact_new(node->format, started->document, newest->document);
			compared = started;
		}
		if (has_moved(node, &unit, started, newest))
			why = xstrdup("its address changed");
		else if (!impact_restarts(impact, unit.service, unit.shard, &why) ||
			 waits_for_crowd(node, impact, &unit, &crowd) ||
			 !node_pacing_allows(node, &unit))
			continue;
		spec->must_restart = true;
		/* One that is being stopped for this already was told of before. */
		if (unit.state != UNIT_STOPPING)
			log_info("topology", "%s,%d restarts: %s", unit.service, unit.shard,
				 why ? why : "changed");
	}
	node_pacing_end(node);
	if (!crowd)
		settle_end(&node->crowd);
	arm_crowd_timer(node);
}

void node_derive(struct node *node)
{
	const struct rendered *newest = newest_rendered(node);
	if (!newest || node->stopping)
		return;
	const struct generation *generation = node_agreed(node);
	const struct agreement *agreement = agreement_driver_agreement(node->driver);

	/* A refused generation changes nothing here, not even who runs what. */
	if (strcmp(newest->generation, generation->name) != 0)
		return;
	const struct derive_question question = { .generation = generation,
						  .self = &node->self,
						  .registrations =
							  agreement_registrations(agreement),
						  .interfaces = netlink_snapshot(node->netlink),
						  .hosts = resolver_answers(node->resolver),
						  .standalone = node->options->standalone };

	derive(&question, &node->derivation);
	node_look_for_programs(node);
	CLEAN(str) char *path = rendered_files_path(node->files_dir, newest->generation,
						    cms_format_file(node->format));
	CLEAN(str) char *checker = rendered_files_path(node->files_dir, newest->generation,
						       checker_file(node->format));
	CLEAN(str) char *ranking = rendered_files_path(node->files_dir, newest->generation,
						       ranking_file_name(node->format));
	const struct plan_settings settings = { .cms_bin = node->cms_bin,
						.contest = node->options->contest,
						.generation = newest->generation,
						.config_path = path,
						.ranking_path = ranking,
						.checker_path = checker,
						.home = node->user.home,
						.user = node->user.name,
						.env = &node->options->env };
	struct plan plan = { 0 };

	plan_make(&node->derivation, &settings, &plan);
	mark_restarts(node, &plan);
	node_serve_rpc(node);
	supervisor_apply(node->supervisor, plan.specs, plan.len);
	plan_fini(&plan);
}
