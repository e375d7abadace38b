/* SPDX-License-Identifier: MIT */
/*
 * The node: the only file that wires the stages together. One fact travels
 * from the top of this file to its end: a new address, a new generation, a dead
 * unit. Decisions are the stages'; here they are only called in order.
 */
#include "cmsnode/daemon/node.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/agreement.h"
#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/cms_rpc/server.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/rendered_files.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/daemon/seed.h"
#include "cmsnode/daemon/service_user.h"
#include "cmsnode/identity/identity_file.h"
#include "cmsnode/identity/node_socket.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink.h"
#include "cmsnode/status/control_socket.h"
#include "cmsnode/store/etcd.h"
#include "cmsnode/store/standalone.h"
#include "cmsnode/store/store.h"
#include "cmsnode/supervision/reaper.h"
#include "cmsnode/supervision/supervisor.h"
#include "cmsnode/topology/names_proof.h"
#include "cmsnode/topology/resolver.h"
#include "config.h"
#include "node_internal.h"

#define RETRY_S 2.0 /* look-ups and an unsettled choice are tried again */
#define LEASE_TTL_S 10
#define ROLE_COUNT_MAX 512 /* role_parse() takes no more */

static void node_join(struct node *node);
static void node_be_reborn(struct node *node);
static void node_fail(struct node *node, int code, const char *text);
static void node_release(struct node *node);

/* ---- the host's network -> this node's address -------------------------- */

/* The whole table goes with it: the operator shall see what there was to choose from. */
static void node_refuse_address(struct node *node, const char *why)
{
	CLEAN(str) char *table = address_choice_to_table(&node->choice);
	CLEAN(str_list) struct str_list lines = { 0 };

	str_list_split(&lines, table, '\n');
	for (size_t k = 0; k < lines.len; k++)
		log_error("network", "%s", lines.items[k]);
	node_fail(node, ERR_IDENTITY, why);
}

/*
 * No address yet: DHCP may be late. Ambiguity or an unsatisfiable wish that stays is final; never a
 * guess.
 */
static void node_wait_for_address(struct node *node)
{
	const bool is_final = node->choice.outcome != ADDRESS_NONE &&
			      clock_now_ms() - node->started_ms >= NODE_QUIET_MS;

	if (is_final) {
		node_refuse_address(node, node->choice.reason);
		return;
	}
	node_settle(node, RETRY_S);
}

static void node_consider_address(struct node *node)
{
	const bool joined = node->driver;

	CLEAN(str) char *before = xstrdup(node->choice.reason);

	node_choose(node);
	if (!str_eq(before, node->choice.reason))
		log_info("network", "%s", node->choice.reason);
	if (node->choice.outcome != ADDRESS_CHOSEN) {
		if (joined && agreement_is_registered(agreement_driver_agreement(node->driver)))
			log_warning("network", "no usable address now; keeping %s and all services",
				    node->self.address);
		else if (!joined)
			node_wait_for_address(node);
		return;
	}
	char text[ADDRESS_TEXT_SIZE];

	address_format(&node->choice.address, text);
	if (address_is_loopback(&node->choice.address) && !str_eq(node->self.address, text))
		log_warning(
			"network",
			"this node uses %s: no other host can join it; good for one machine only",
			text);
	free(node->self.address);
	node->self.address = xstrdup(text);
	node_list_addresses(node, &node->self.addresses);
	if (joined)
		agreement_driver_set_registration(node->driver, &node->self);
	else
		node_join(node);
}

static void on_settled(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	struct node *node = w->data;

	if (node->stopping)
		return;
	if (node->reborn)
		node_be_reborn(node);
	else if (!node->driver)
		node_look_up(node);
	else if (!node->options->standalone)
		node_consider_address(node);
	if (node->apply_again)
		node_apply(node);
	/* Without any address nothing is concluded about whose slots are whose. */
	if (node->options->standalone || node->choice.outcome == ADDRESS_CHOSEN)
		node_derive(node);
}

void node_settle(struct node *node, double seconds)
{
	ev_timer_stop(node->loop, &node->settle);
	ev_timer_set(&node->settle, seconds, 0.0);
	ev_timer_start(node->loop, &node->settle);
}

static void on_network_changed(void *ctx)
{
	struct node *node = ctx;

	log_info("network", "the network changed%s",
		 node->driver ? "; acting on it once it is quiet" : "");
	node_settle(node, node->driver ? node->options->address_settle_s : 0.0);
}

static void on_resolved(void *ctx)
{
	struct node *node = ctx;

	if (node->checking)
		ev_break(node->loop, EVBREAK_ALL);
	else if (node->stopping)
		return;
	else if (!node->driver)
		node_consider_address(node);
	else
		node_derive(node);
}

/* ---- this node -> a registered member ---------------------------------- */

/* "worker" becomes "worker:<processors>": what is registered is exact. */
static void complete_roles(const struct options *options, long processors, struct str_list *ret)
{
	if (processors > ROLE_COUNT_MAX)
		processors = ROLE_COUNT_MAX;
	for (size_t i = 0; i < options->roles.len; i++) {
		if (strcmp(options->roles.items[i], "worker") == 0)
			str_list_take(ret, xasprintf("worker:%ld", processors));
		else
			str_list_add(ret, options->roles.items[i]);
	}
}

static void fill_registration(struct node *node)
{
	struct registration *self = &node->self;

	self->id = xstrdup(node->identity.id);
	self->address = xstrdup("");
	complete_roles(node->options, node->facts.processors, &self->roles);
	self->contest = xstrdup(node->options->contest);
	self->hostname = xstrdup(node->facts.hostname);
	self->boot_id = xstrdup(node->facts.boot_id);
	self->netns = xstrdup(node->facts.netns);
	self->product_uuid = xstrdup(node->facts.product_uuid);
	self->incarnation = xstrdup(node->incarnation);
	self->version = xstrdup(PACKAGE_VERSION);
	self->applied_digest = xstrdup("");
	self->schema = REGISTRATION_SCHEMA;
}

static void on_agreed(void *ctx)
{
	struct node *node = ctx;

	/* What was vetoed when we came may be free now: `explain` and `status` shall not lie. */
	if (!node->options->standalone)
		node_choose(node);
	node_look_up(node);
	node_last_agreed_save(node, node_agreed(node));
	node_apply(node);
}

static void on_agreement_changed(void *ctx)
{
	struct node *node = ctx;

	if (!ev_is_active(&node->report_timer) && !node->stopping)
		ev_timer_start(node->loop, &node->report_timer);
}

static void on_left(void *ctx)
{
	struct node *node = ctx;

	supervisor_stop(node->supervisor);
}

/* The newcomer gives way: is there another address? Looked for on the next turn of the loop. */
static void on_contested(void *ctx, const char *text)
{
	(void)text;
	node_settle(ctx, 0.0);
}

/* Proven: who holds our address or our id is alive. */
static void on_refused(void *ctx, bool is_twin, const char *text)
{
	struct node *node = ctx;

	if (!is_twin) {
		node_choose(node);
		CLEAN(str) char *why = xasprintf(
			"%s: give this node another address of its host with --address", text);

		node_refuse_address(
			node, node->choice.outcome == ADDRESS_VETOED ? node->choice.reason : why);
	} else if (node->identity.source == IDENTITY_OPTION) {
		CLEAN(str) char *why = xasprintf("%s: give one of them another --node-id", text);

		node_fail(node, ERR_IDENTITY, why);
	} else {
		log_warning("identity", "%s: this one is a clone and takes a new id", text);
		node->reborn = true;
		node_settle(node, 0.0);
	}
}

static void answer_peers(struct node *node)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	json_add_str(json, "id", node->identity.id);
	json_add_str(json, "hostname", node->facts.hostname);
	json_add_str(json, "address", node->self.address);
	json_add_int(json, "pid", getpid());
	json_add_str(json, "incarnation", node->incarnation);
	CLEAN(str) char *text = json_text(json);

	node_socket_set_answer(node->node_socket, text);
}

static struct store *new_etcd_store(struct node *node, struct err *err)
{
	const struct options *options = node->options;
	const struct etcd_settings settings = {
		.endpoints = &options->etcd,
		.cacert = options->etcd_cacert,
		.cert = options->etcd_cert,
		.key = options->etcd_key,
		.user = options->etcd_user,
		.password_file = options->etcd_password_file,
	};

	if (!str_starts(options->etcd.items[0], "https://") &&
	    !node_endpoints_are_loopback(options))
		log_warning("etcd", "it is reached without TLS: %s",
			    options->etcd_user ?
				    "the password goes over the network for all to read" :
				    "whoever is on that network can change what this cluster runs");
	return etcd_store_new(node->loop, &settings, err);
}

static void node_join(struct node *node)
{
	struct err err = { 0 };

	node->store = node->options->standalone ? standalone_store_new(node->loop) :
						  new_etcd_store(node, &err);
	if (!node->store) {
		node_fail(node, ERR_USAGE, err.msg);
		return;
	}
	CLEAN(generation) struct generation *last_agreed = node_last_agreed_load(node);
	struct agreement_settings settings = { .prefix = node->options->prefix,
					       .seed = node->seed,
					       .seed_at_once =
						       node->options->standalone ||
						       node_endpoints_are_loopback(node->options),
					       .standalone = node->options->standalone,
					       .address_explicit = node->options->address,
					       .address_before = node->last_address,
					       .last_agreed = last_agreed,
					       .lease_ttl_s = LEASE_TTL_S };
	const struct agreement_driver_events events = { .agreed = on_agreed,
							.changed = on_agreement_changed,
							.left = on_left,
							.contested = on_contested,
							.refused = on_refused,
							.ctx = node };

	(void)!getrandom(&settings.random, sizeof(settings.random), 0);
	answer_peers(node);
	node->driver =
		agreement_driver_new(node->loop, node->store, &settings, &node->self, &events);
	agreement_driver_start(node->driver);
}

/* A clone begins anew under an id of its own. Nothing of it runs yet: it never was registered. */
static void node_be_reborn(struct node *node)
{
	struct err err = { 0 };

	node->reborn = false;
	node_last_agreed_forget(node);
	store_free(node->store);
	node->store = NULL;
	agreement_driver_free(node->driver);
	node->driver = NULL;
	node_socket_free(node->node_socket);
	node->node_socket = NULL;
	if (node_identity_renew(node, &err) == 0)
		node->node_socket =
			node_socket_new(node->loop, node->cluster_hash, node->identity.id, &err);
	if (!node->node_socket) {
		node_fail(node, err.code, err.msg);
		return;
	}
	free(node->self.id);
	node->self.id = xstrdup(node->identity.id);
	log_warning("identity", "this node is '%s' from now on", node->identity.id);
	node_join(node);
}

/* ---- draining: stopped units give their slots back ----------------------- */

static bool is_stopped(const struct node *node, const struct derived_slot *slot)
{
	for (size_t i = 0; i < supervisor_count(node->supervisor); i++) {
		struct unit_status unit;

		supervisor_status(node->supervisor, i, &unit);
		if (unit.shard == slot->shard && strcmp(unit.service, slot->service) == 0)
			return unit.pid == 0;
	}
	return true;
}

/* The agreement takes them away in the next generation: then this node is drained. */
static void node_release(struct node *node)
{
	const struct generation *generation = node_agreed(node);
	const struct generation_node *self =
		generation ? generation_node_find(generation, node->self.id) : NULL;
	CLEAN(str_list) struct str_list released = { 0 };

	for (size_t i = 0; self && self->state == NODE_DRAINING && i < node->derivation.len; i++) {
		const struct derived_slot *slot = &node->derivation.items[i];

		if (slot->runs_here && slot->node && (slot->is_daemon || is_stopped(node, slot)))
			str_list_take(&released, xasprintf("%s,%d", slot->service, slot->shard));
	}
	if (str_list_equal(&released, &node->self.released))
		return;
	str_list_copy(&node->self.released, &released);
	agreement_driver_set_registration(node->driver, &node->self);
}

/* ---- ResourceService: this daemon itself -------------------------------- */

static void close_rpc(struct node *node)
{
	rpc_server_free(node->rpc_server);
	node->rpc_server = NULL;
	free(node->rpc_address);
	node->rpc_address = NULL;
	free(node->rpc_trouble);
	node->rpc_trouble = NULL;
	node->rpc_shard = -1;
}

static void open_rpc(struct node *node, const struct derived_slot *slot)
{
	struct err err = { 0 };

	node->rpc_server =
		rpc_server_new(node->loop, slot->bind_address, slot->port, NULL, 0, node, &err);
	const bool is_news = !node->rpc_server && !str_eq(node->rpc_trouble, err.msg);

	free(node->rpc_trouble);
	node->rpc_trouble = node->rpc_server ? NULL : xstrdup(err.msg);
	node->rpc_since = clock_wall_s();
	if (is_news)
		log_warning("cms_rpc", "ResourceService,%d: %s, trying again with each change",
			    slot->shard, err.msg);
}

void node_serve_rpc(struct node *node)
{
	const struct derived_slot *slot = NULL;

	for (size_t i = 0; i < node->derivation.len && !slot; i++)
		if (node->derivation.items[i].runs_here && node->derivation.items[i].is_daemon &&
		    !node->derivation.items[i].disabled)
			slot = &node->derivation.items[i];
	CLEAN(str) char *address = slot ? xasprintf("%s:%d", slot->bind_address, slot->port) : NULL;

	if (!str_eq(address, node->rpc_address))
		close_rpc(node);
	if (!slot || node->rpc_server)
		return;
	free(node->rpc_address);
	node->rpc_address = steal(address);
	node->rpc_shard = slot->shard;
	open_rpc(node, slot);
}

/* ---- telling others ----------------------------------------------------- */

static void on_units_changed(void *ctx)
{
	on_agreement_changed(ctx);
}

/* Two nodes of one host are fine if somebody wanted that: then they are instances of one id. */
static void tell_of_sibling(struct node *node)
{
	const struct registrations *all =
		agreement_registrations(agreement_driver_agreement(node->driver));
	CLEAN(str) char *family = xasprintf("%s.", node->identity.base);

	for (size_t i = 0; i < all->len && !node->sibling_told; i++) {
		const struct registration *other = &all->items[i];
		if (strcmp(other->id, node->self.id) == 0 || str_starts(other->id, family) ||
		    strcmp(other->id, node->identity.base) == 0 ||
		    !registration_same_host(other, &node->self))
			continue;
		node->sibling_told = true;
		log_warning(
			"identity",
			"node '%s' runs on this host, too: several daemons on one host are told apart with --instance NAME",
			other->id);
	}
}

static void on_report_due(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	struct node *node = w->data;
	struct report report;

	ev_timer_stop(loop, w);
	if (!node->driver || node->stopping)
		return;
	if (agreement_is_registered(agreement_driver_agreement(node->driver)))
		node_remember_address(node);
	node_release(node);
	node_pacing_look(node);
	if (node->missing)
		node_look_for_programs(node);
	tell_of_sibling(node);
	if (node->rpc_address && !node->rpc_server)
		node_serve_rpc(node);
	node_report(node, &report);
	CLEAN(str) char *json = report_to_store(&report);

	agreement_driver_set_status(node->driver, json);
	node_report_end(&report);
}

/* ---- the end ------------------------------------------------------------ */

static void node_fail(struct node *node, int code, const char *text)
{
	log_error("daemon", "%s", text);
	node->exit_status = err_exit_status(code);
	ev_break(node->loop, EVBREAK_ALL);
}

static void on_units_stopped(void *ctx)
{
	struct node *node = ctx;

	log_info("daemon", "stopped");
	ev_break(node->loop, EVBREAK_ALL);
}

static void node_stop(struct node *node)
{
	if (node->stopping) {
		log_info("daemon", "asked to stop again: hurrying");
		supervisor_stop(node->supervisor);
		return;
	}
	log_info("daemon", "stopping");
	node->stopping = true;
	ev_timer_stop(node->loop, &node->settle);
	ev_timer_stop(node->loop, &node->report_timer);
	node_pacing_stop(node);
	if (node->driver)
		agreement_driver_stop(node->driver);
	else
		supervisor_stop(node->supervisor);
}

static void log_status(struct node *node)
{
	struct report report;

	node_report(node, &report);
	CLEAN(json) cJSON *json = report_to_json(&report);
	CLEAN(str) char *text = json_text(json);

	node_report_end(&report);
	log_info("status", "%s", text);
}

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)loop;
	(void)revents;
	struct node *node = w->data;

	switch (w->signum) {
	case SIGUSR1:
		log_status(node);
		break;
	case SIGHUP:
		if (node->options->standalone) {
			node_file_read(node);
			break;
		}
		/* fall through */
	case SIGUSR2:
		log_warning("daemon",
			    "%s is not in this version, ignoring: restart cmsnoded instead",
			    w->signum == SIGHUP ? "HUP (read the settings again)" :
						  "USR2 (upgrade in place)");
		break;
	default:
		node_stop(node);
		break;
	}
}

static void watch_signals(struct node *node)
{
	static const int signals[ARRAY_LEN(node->signals)] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1,
							       SIGUSR2 };

	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		ev_signal_init(&node->signals[i], on_signal, signals[i]);
		node->signals[i].data = node;
		ev_signal_start(node->loop, &node->signals[i]);
	}
}

/* PID 1 of a container: orphans are ours to reap, units are their pidfds'. */
static bool is_unit(void *ctx, pid_t pid)
{
	const struct node *node = ctx;

	for (size_t i = 0; i < supervisor_count(node->supervisor); i++) {
		struct unit_status unit;

		supervisor_status(node->supervisor, i, &unit);
		if (unit.pid == pid)
			return true;
	}
	return node->names.proof && pid == names_proof_pid(node->names.proof);
}

/* ---- construction -------------------------------------------------------- */

static void make_incarnation(struct node *node)
{
	uint8_t random[16];

	(void)!getrandom(random, sizeof(random), 0);
	str_hex(random, sizeof(random), node->incarnation);
}

static int hash_cluster(struct node *node, struct err *err)
{
	const struct options *options = node->options;
	CLEAN(str) char *path = options->standalone ? realpath(options->standalone, NULL) : NULL;

	if (options->standalone && !path)
		return err_set(err, ERR_CONFIG, "%s: %s", options->standalone, strerror(errno));
	node_socket_cluster_hash(path ? path : options->prefix, node->cluster_hash);
	return 0;
}

static int open_supervisor(struct node *node, struct err *err)
{
	CLEAN(str) char *output = xasprintf("%s/output", node->options->run_dir);
	CLEAN(str) char *slots = xasprintf("cmsnoded/%s/slot/", node->cluster_hash);
	const struct supervisor_settings settings = { .output_dir = output,
						      .slot_socket_prefix = slots,
						      .uid = node->user.uid,
						      .gid = node->user.gid,
						      .groups = node->user.groups,
						      .groups_len = node->user.groups_len,
						      .drop_user = node->user.drop,
						      .grace_s = node->options->grace_s,
						      .stop_budget_s = node->options->stop_budget_s,
						      .health_interval_s =
							      node->options->health_interval_s };
	const struct supervisor_events events = { on_units_changed, on_units_stopped, node };

	node->supervisor = supervisor_new(node->loop, &settings, &events, err);
	return node->supervisor ? 0 : err->code;
}

static int open_all(struct node *node, struct err *err)
{
	const struct options *options = node->options;
	CLEAN(str) char *control = xasprintf("%s/control.sock", options->run_dir);
	const gid_t gid = node->user.drop ? node->user.gid : (gid_t)-1;

	node->node_socket = node_socket_new(node->loop, node->cluster_hash, node->identity.id, err);
	if (!node->node_socket)
		return err->code;
	int r = rendered_files_prepare(options->state_dir, gid, err);
	if (r == 0 && options->instance)
		r = rendered_files_prepare(node->files_dir, gid, err);
	if (r == 0)
		r = node_identity_save(node, err);
	if (r == 0)
		r = open_supervisor(node, err);
	if (r < 0)
		return r;
	node->control = control_socket_new(node->loop, control, control_handle, node, err);
	return node->control ? 0 : err->code;
}

/*
 * What --check and a real start have in common: everything that can be wrong before a socket is
 * opened.
 */
static int node_prepare(struct node *node, struct err *err)
{
	machine_facts_read(node->options->facts_root, &node->facts);
	make_incarnation(node);
	node->rpc_shard = -1;
	node->netlink = netlink_new(node->loop, err);
	if (!node->netlink)
		return err->code;
	int r = node_identity_decide(node, err);
	if (r == 0)
		r = service_user_find(node->options->user, &node->user, err);
	if (r == 0)
		r = service_programs_find(node->options->cms_bin, &node->cms_bin, err);
	if (r == 0)
		r = seed_read(node->options, &node->seed, err);
	if (r == 0 && node->options->standalone)
		r = seed_digest(node->options, node->seed_digest, err);
	if (r == 0)
		r = hash_cluster(node, err);
	if (r < 0)
		return r;
	/* Instances of one host may share the state directory, but not each other's files. */
	node->files_dir = node->options->instance ?
				  xasprintf("%s/instance-%s", node->options->state_dir,
					    node->options->instance) :
				  xstrdup(node->options->state_dir);
	fill_registration(node);
	if (!node->facts.boot_id[0])
		log_warning(
			"identity",
			"the boot id cannot be read: other hosts without one count as this host");
	netlink_on_change(node->netlink, on_network_changed, node);
	node->resolver = resolver_new(node->loop, on_resolved, node);
	return 0;
}

static struct node *node_alloc(struct ev_loop *loop, const struct options *options)
{
	struct node *node = xcalloc(1, sizeof(*node));

	node->loop = loop;
	node->options = options;
	node->started_ms = clock_now_ms();
	ev_timer_init(&node->settle, on_settled, 0.0, 0.0);
	node->settle.data = node;
	node_pacing_init(node);
	ev_timer_init(&node->report_timer, on_report_due, 0.2, 0.2);
	node->report_timer.data = node;
	return node;
}

struct node *node_new(struct ev_loop *loop, const struct options *options, struct err *err)
{
	struct node *node = node_alloc(loop, options);

	int r = node_prepare(node, err);
	if (r == 0)
		r = open_all(node, err);
	if (r < 0) {
		node_free(node);
		return NULL;
	}
	watch_signals(node);
	if (getpid() == 1)
		node->reaper = reaper_new(loop, is_unit, node);
	log_info("identity", "cmsnoded %s, node '%s' (%s) on host '%s'", PACKAGE_VERSION,
		 node->identity.id, identity_source_name(node->identity.source),
		 node->facts.hostname);
	return node;
}

/* What would run here if this node were the first of its cluster. */
static void check_derivation(struct node *node)
{
	const struct registrations alone = { .items = &node->self, .len = 1 };
	CLEAN(generation) struct generation *joined =
		node->seed ? generation_clone(node->seed) : NULL;
	const struct derive_question question = { .generation = joined,
						  .self = &node->self,
						  .registrations = &alone,
						  .interfaces = netlink_snapshot(node->netlink),
						  .hosts = resolver_answers(node->resolver),
						  .standalone = node->options->standalone };

	if (!joined)
		return;
	if (node->choice.outcome == ADDRESS_CHOSEN && !node->options->standalone) {
		char text[ADDRESS_TEXT_SIZE];

		address_format(&node->choice.address, text);
		free(node->self.address);
		node->self.address = xstrdup(text);
	}
	alter_join(joined, &alone, NULL);
	derive(&question, &node->derivation);
}

/* As a table for people; as one JSON object with --log-format json. */
static void print_check(const struct node *node)
{
	if (strcmp(node->options->log_format, "json") == 0) {
		CLEAN(json) cJSON *json = node_explain(node, "all");
		CLEAN(str) char *text = cJSON_Print(json);

		(void)puts(text);
		return;
	}
	CLEAN(str) char *table = address_choice_to_table(&node->choice);

	(void)printf("identity\n%s (%s): %s\n\n", node->identity.id,
		     identity_source_name(node->identity.source), node->identity.reason);
	(void)printf("address\n%s\n%s\n", node->choice.reason, table);
	if (node->derivation.len)
		(void)puts("services");
	for (size_t i = 0; i < node->derivation.len; i++) {
		const struct derived_slot *slot = &node->derivation.items[i];

		CLEAN(str) char *label = xasprintf("%s,%d", slot->service, slot->shard);
		CLEAN(str) char *where = xasprintf("%s:%d", slot->host, slot->port);

		(void)printf("%-22s %-8s %-24s %s%s%s\n", label,
			     slot->runs_here && !slot->disabled ? "here" : "not here", where,
			     slot->reason, slot->disabled ? "; not started: " : "",
			     slot->disabled ? slot->disabled : "");
	}
}

int node_check(const struct options *options, struct err *err)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct node *node = node_alloc(loop, options);

	node->checking = true;
	int r = node_prepare(node, err);
	if (r == 0) {
		node_look_up(node);
		(void)ev_run(loop, 0);
		node_choose(node);
		check_derivation(node);
		print_check(node);
		if (!options->standalone && node->choice.outcome != ADDRESS_CHOSEN)
			r = err_set(err, ERR_IDENTITY, "%s", node->choice.reason);
	}
	node_free(node);
	ev_loop_destroy(loop);
	return r;
}

int node_run(struct node *node)
{
	if (node->options->standalone) {
		node_file_watch(node);
		node_join(node);
	} else {
		node_look_up(node);
	}
	(void)ev_run(node->loop, 0);
	return node->exit_status;
}

void node_free(struct node *node)
{
	if (!node)
		return;
	for (size_t i = 0; i < ARRAY_LEN(node->signals); i++)
		ev_signal_stop(node->loop, &node->signals[i]);
	ev_timer_stop(node->loop, &node->settle);
	ev_timer_stop(node->loop, &node->report_timer);
	node_pacing_stop(node);
	reaper_free(node->reaper);
	control_socket_free(node->control);
	close_rpc(node);
	supervisor_free(node->supervisor);
	store_free(node->store);
	agreement_driver_free(node->driver);
	resolver_free(node->resolver);
	netlink_free(node->netlink);
	node_socket_free(node->node_socket);
	for (size_t i = 0; i < node->rendered_len; i++) {
		free(node->rendered[i].generation);
		value_free(node->rendered[i].document);
		free(node->rendered[i].address);
	}
	free(node->rendered);
	derivation_fini(&node->derivation);
	address_choice_fini(&node->choice);
	registration_fini(&node->self);
	generation_free(node->seed);
	change_plans_fini(&node->plans);
	service_user_fini(&node->user);
	identity_record_fini(&node->record);
	free(node->last_address);
	free(node->files_dir);
	free(node->refused);
	free(node->missing);
	free(node->clock_note);
	node_file_end(node);
	ev_timer_stop(node->loop, &node->crowd_timer);
	node_names_end(node);
	free(node->cms_bin);
	free(node);
}
