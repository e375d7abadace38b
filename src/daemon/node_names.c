/* SPDX-License-Identifier: MIT */
/*
 * Stable names on this node: the hosts file has every name of a generation before
 * a unit of it starts, and a child that runs as the service user has proven that
 * they resolve. Where that cannot be had, addresses are rendered, and status says
 * why. Must never let a unit read a name that may not resolve: one failure ends
 * the retries of CMS 1.5 for good.
 *
 *   UNPROVEN ──written──> PROVING ──resolves──> ON
 *                            └──does not──> REFUSED (addresses, until the daemon's next start)
 */
#include "node_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/topology/hosts_file.h"
#include "cmsnode/topology/names_proof.h"

static void set_trouble(struct node *node, const char *text)
{
	struct node_names *names = &node->names;

	if (text && !str_eq(text, names->trouble))
		log_error("names", "%s", text);
	char *copy = xstrdup(text);

	free(names->trouble);
	names->trouble = copy;
}

/* Addresses from here on: what runs with names restarts, once. */
static void refuse(struct node *node, const char *why)
{
	CLEAN(str) char *text = xasprintf("%s; this node renders addresses instead", why);

	node->names.state = NODE_NAMES_REFUSED;
	set_trouble(node, text);
	node_apply(node);
}

/* ---- the file ---------------------------------------------------------------- */

static void on_changed(void *ctx, enum hosts_file_state state, const struct err *err)
{
	struct node *node = ctx;

	if (state == HOSTS_FILE_FAILED) {
		set_trouble(node, err->msg);
	} else if (state == HOSTS_FILE_CURRENT) {
		set_trouble(node, NULL);
		if (node->names.waits)
			node_apply(node);
	}
}

/* CMS 1.5 and later stop to retry after one failure; who is missing has to be restarted by hand. */
static void on_mended(void *ctx, size_t names, int64_t took_ms)
{
	(void)ctx;
	log_warning("names",
		    "%zu names had been taken out of the hosts file and are there again after %lld "
		    "ms; a service that asked meanwhile may stay without its peer: look at its "
		    "output, and restart it if so",
		    names, (long long)took_ms);
}

static int open_file(struct node *node, struct err *err)
{
	const struct hosts_file_events events = { on_changed, on_mended, node };
	struct hosts_owner owner = { 0 };

	if (node->names.file)
		return 0;
	(void)snprintf(owner.cluster, sizeof(owner.cluster), "%s", node->cluster_hash);
	(void)snprintf(owner.zone, sizeof(owner.zone), "%s", node->options->zone);
	node->names.file =
		hosts_file_new(node->loop, node->options->hosts_file, &owner, &events, err);
	return node->names.file ? 0 : err->code;
}

/* ---- the proof ----------------------------------------------------------------- */

static void on_proved(void *ctx, const struct err *err)
{
	struct node *node = ctx;

	names_proof_free(node->names.proof);
	node->names.proof = NULL;
	if (err->code < 0) {
		refuse(node, err->msg);
		return;
	}
	node->names.state = NODE_NAMES_ON;
	log_info("names", "names resolve here as '%s': CMS is given names, not addresses",
		 node->user.name);
	node_apply(node);
}

static int prove(struct node *node, const struct names *names, struct err *err)
{
	const struct names_proof_spec spec = { .hosts_file = node->options->hosts_file,
					       .drop_user = node->user.drop,
					       .user = node->user.name,
					       .uid = node->user.uid,
					       .gid = node->user.gid,
					       .groups = node->user.groups,
					       .groups_len = node->user.groups_len };

	node->names.proof = names_proof_start(node->loop, &spec, names, on_proved, node, err);
	if (!node->names.proof)
		return err->code;
	node->names.state = NODE_NAMES_PROVING;
	return 0;
}

/* ---- for node_apply.c -------------------------------------------------------------- */

const char *node_names_zone(const struct node *node, const struct generation *generation)
{
	return options_have_names(node->options) && generation->policy.names &&
			       node->names.state != NODE_NAMES_REFUSED ?
		       node->options->zone :
		       NULL;
}

/* Who runs EvaluationService knows best where the Workers are. */
static bool decides(const struct node *node, const struct generation *generation)
{
	const struct slot_list *list = &generation->slots.lists[CATALOGUE_EVALUATION_SERVICE];

	return list->len && str_eq(list->items[0].node, node->self.id);
}

/* A reader takes the first line that has a name, so these make ours useless. */
static void tell_clashes(struct node *node)
{
	const struct str_list *clashes = hosts_file_clashes(node->names.file);

	if (!clashes->len || node->names.clashes_told)
		return;
	CLEAN(str) char *list = str_list_join(clashes, ", ");

	node->names.clashes_told = true;
	log_warning("names", "%s: other lines have names of our zone, and count first: %s",
		    node->options->hosts_file, list);
}

static int write_names(struct node *node, const struct generation *generation,
		       struct names *ret_names, struct err *err)
{
	const struct names_view view = { .zone = node->options->zone };

	if (names_check_addresses(generation, err) < 0 || open_file(node, err) < 0)
		return err->code;
	names_make(generation, &view, ret_names);
	tell_clashes(node);
	const struct hosts_wish wish = { .epoch = generation->epoch,
					 .sequence = generation->sequence,
					 .names = *ret_names,
					 .decides = decides(node, generation) };

	return hosts_file_wish(node->names.file, &wish, err);
}

bool node_names_ready(struct node *node, const struct generation *generation)
{
	struct node_names *own = &node->names;
	CLEAN(names) struct names names = { 0 };
	struct err err = { 0 };

	own->waits = false;
	if (!node_names_zone(node, generation))
		return true;
	const int r = write_names(node, generation, &names, &err);

	if (r == ERR_CONFIG) {
		refuse(node, err.msg);
		return false;
	}
	if (r < 0) {
		if (r != -EAGAIN)
			set_trouble(node, err.msg);
		own->waits = true;
		return false;
	}
	set_trouble(node, NULL);
	if (own->state == NODE_NAMES_ON)
		return true;
	if (own->state == NODE_NAMES_UNPROVEN && prove(node, &names, &err) < 0)
		refuse(node, err.msg);
	return false;
}

void node_names_end(struct node *node)
{
	names_proof_free(node->names.proof);
	hosts_file_free(node->names.file);
	free(node->names.trouble);
}
