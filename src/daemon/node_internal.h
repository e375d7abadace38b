/* SPDX-License-Identifier: MIT */
/* The node's state, for node.c and the commands in control.c. */
#ifndef CMSNODE_DAEMON_NODE_INTERNAL_H
#define CMSNODE_DAEMON_NODE_INTERNAL_H

#include <ev.h>
#include <stdbool.h>
#include <sys/types.h>

#include "cmsnode/agreement/alter.h"
#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/daemon/service_user.h"
#include "cmsnode/identity/identity.h"
#include "cmsnode/identity/machine_facts.h"
#include "cmsnode/network/address_choice.h"
#include "cmsnode/status/report.h"
#include "cmsnode/store/store.h"
#include "cmsnode/topology/derive.h"
#include "cmsnode/topology/settle.h"

struct agreement_driver;
struct cJSON;
struct control_request;
struct control_socket;
struct err;
struct hosts_file;
struct names_proof;
struct netlink;
struct node_socket;
struct options;
struct reaper;
struct resolver;
struct rpc_server;
struct store;
struct supervisor;
struct unit_status;

/* An unsettled choice of the address is final after that. */
#define NODE_QUIET_MS 10000

/* What CMS reads of one generation: kept as long as a unit runs with it. */
struct rendered {
	char *generation;
	struct value *document;
	char *address; /* of this node in it: what its names stood for here; NULL = none */
};

/* A change that was shown to somebody, who may want it. */
struct change_plan {
	uint64_t id; /* from 1; 0 = none */
	struct edits edits;
	char *reason;
	int64_t made_ms;
};

struct change_plans {
	struct change_plan items[16];
	uint64_t last;
};

/* node_pacing.c: whose turn it is to restart ContestWebServers. */
struct pacing {
	enum { PACING_IDLE, PACING_QUEUED, PACING_TURN } state;
	bool wanted; /* some unit of ours has to restart */
	bool asking; /* a request is under way */
	int shard; /* in our turn: the one that restarts now, -1 = none */
	pid_t pid; /* that it had */
	int64_t answered_ms; /* when the store answered last */
	int64_t splay_ms;
	ev_timer timer;
};

/* node_file.c: standalone's FILE, watched for changes by hand. */
struct operators_file {
	int fd; /* inotify; 0 or -1 = not watched */
	ev_io io;
	ev_timer quiet;
	char *trouble; /* why the last change was not taken in; NULL = it was */
};

/* node_names.c: names instead of addresses on this node. */
struct node_names {
	struct hosts_file *file; /* NULL = nothing was written yet */
	struct names_proof *proof;
	enum {
		NODE_NAMES_UNPROVEN,
		NODE_NAMES_PROVING,
		NODE_NAMES_ON,
		NODE_NAMES_REFUSED,
	} state;
	bool waits; /* a generation waits for the file */
	bool clashes_told;
	char *trouble; /* NULL = none */
};

struct node {
	struct ev_loop *loop;
	const struct options *options;
	int64_t started_ms;

	/* who am I, where */
	struct machine_facts facts;
	struct identity identity;
	struct identity_record record; /* what the state file shall hold */
	char *last_address; /* that this id claimed last; NULL = unknown */
	bool apply_again; /* the newest generation could not be written: try again */
	char seed_digest[65]; /* of FILE in standalone, as last read or written */
	bool sibling_told;
	bool reborn; /* a clone: takes a new id on the next turn */
	struct service_user user;
	char incarnation[33];
	char cluster_hash[17];
	struct netlink *netlink;
	struct resolver *resolver;
	struct address_choice choice;
	struct registration self;
	struct node_socket *node_socket;
	ev_timer settle; /* a changed network is acted on after quiet */

	/* what is agreed */
	struct generation *seed; /* NULL = none given */
	struct change_plans plans;
	struct store *store; /* NULL until there is an address */
	struct store_counters counters; /* as last reported */
	char *clock_note; /* NULL = the clocks agree, as far as is known */
	struct agreement_driver *driver;
	struct operators_file file;
	char *refused; /* why the newest generation was not applied; NULL */
	char *missing; /* programs that cannot be started; NULL = none */
	bool losses_told;
	enum cms_format format; /* of the files that CMS reads here */
	struct rendered *rendered; /* newest last */
	size_t rendered_len, rendered_cap;

	/* what runs here */
	char *cms_bin;
	char *files_dir; /* above generations/: the state directory, or the instance's in it */
	struct reaper *reaper; /* as PID 1; else NULL */
	struct derivation derivation;
	struct supervisor *supervisor;
	struct pacing pacing;
	struct node_names names;
	struct settle crowd; /* restarts that wait for more machines to come */
	ev_timer crowd_timer;
	struct rpc_server *rpc_server; /* ResourceService's port; NULL = none or not bound */
	char *rpc_address; /* "host:port" that it is bound to, or shall be */
	char *rpc_trouble;
	double rpc_since;
	int rpc_shard;

	/* telling others */
	struct control_socket *control;
	ev_timer report_timer;
	ev_signal signals[5];
	bool stopping;
	bool checking; /* --check: look, choose, print */
	int exit_status;
};

/* Seconds-precise status of now; services in *ret_services (freed by report_end). */
void node_report(struct node *node, struct report *ret);
void node_report_end(struct report *report);

/*
 * {"address":...,"identity":...,"services":[...]} or the one of them that `what` names; caller
 * frees.
 */
struct cJSON *node_explain(const struct node *node, const char *what);

/* Handles one request of the control socket. */
void control_handle(void *ctx, struct control_request *request, const char *command,
		    const struct cJSON *body);

/* control_node.c: the commands on nodes, as control_handle() calls them. */
void control_node_forget(struct node *node, struct control_request *request,
			 const struct cJSON *body);
void control_node_drain(struct node *node, struct control_request *request,
			const struct cJSON *body);
void control_node_undrain(struct node *node, struct control_request *request,
			  const struct cJSON *body);
void control_node_reset_identity(struct node *node, struct control_request *request,
				 const struct cJSON *body);

/* control_config.c: what the configuration is, and was. */
void control_config_show(struct node *node, struct control_request *request,
			 const struct cJSON *body);
void control_config_get(struct node *node, struct control_request *request,
			const struct cJSON *body);
void control_config_export(struct node *node, struct control_request *request,
			   const struct cJSON *body);
void control_config_history(struct node *node, struct control_request *request,
			    const struct cJSON *body);
void control_config_diff(struct node *node, struct control_request *request,
			 const struct cJSON *body);

/* "warnings": [{"key","text"}] of the findings. */
enum control_findings { CONTROL_ALL, CONTROL_MAIN, CONTROL_RANKING };
struct findings;
void control_add_findings(struct cJSON *result, const struct findings *findings,
			  enum control_findings which);

/* The agreed generation, or NULL after having answered why there is none. */
const struct generation *control_agreed(struct node *node, struct control_request *request);

/*
 * The name of a generation that is still in the store, from "configs/NAME", NAME or its sequence
 * number; NULL if there is none. Caller frees.
 */
char *control_find_generation(const struct generation *agreed, const char *wanted);
int control_unknown_generation(struct control_request *request, const char *wanted);

/* Reads one or two (second may be NULL) by name; answers the request itself if that fails. */
typedef void control_generations_fn(struct node *node, struct control_request *request,
				    const struct generation *first,
				    const struct generation *second, void *ctx);
void control_read_generations(struct node *node, struct control_request *request,
			      const char *first, const char *second, control_generations_fn *done,
			      void *ctx);

/* control_change.c: changes of the configuration. */
void control_config_plan(struct node *node, struct control_request *request,
			 const struct cJSON *body);
void control_config_apply(struct node *node, struct control_request *request,
			  const struct cJSON *body);
void change_plans_fini(struct change_plans *plans);

/* control_store.c: a person ends a disagreement between the store and the nodes. */
void control_store_accept(struct node *node, struct control_request *request,
			  const struct cJSON *body);
void control_store_publish(struct node *node, struct control_request *request,
			   const struct cJSON *body);

/* As agreement_edited_fn: answers the request `ctx` with the generation or the reason. */
void control_on_edited(void *ctx, int code, const char *text);

/* node.c: acts on the network, and whatever waits, after so many seconds of quiet. */
void node_settle(struct node *node, double seconds);
/* ResourceService's port, as the derivation has it. */
void node_serve_rpc(struct node *node);

/* node_apply.c: NULL = nothing is agreed yet. */
const struct generation *node_agreed(const struct node *node);
/* Writes the agreed generation's files, and goes on with node_derive(). */
void node_apply(struct node *node);
/* What runs here now, told to the supervisor. */
void node_derive(struct node *node);

/*
 * node_pacing.c. begin, then allows() for each unit that has to restart, then end: once for each
 * look at all units. False: not yet; node_derive() is called again when its turn has come.
 */
void node_pacing_init(struct node *node);
void node_pacing_stop(struct node *node);
void node_pacing_begin(struct node *node);
bool node_pacing_allows(struct node *node, const struct unit_status *unit);
void node_pacing_end(struct node *node);
void node_pacing_look(struct node *node); /* some unit's state has changed */

/* Are the programs there that shall run here? */
void node_look_for_programs(struct node *node);

/* node_names.c: the zone if this node gives CMS names, else NULL (addresses). */
const char *node_names_zone(const struct node *node, const struct generation *generation);
/*
 * Does every name of the generation resolve here (or are there none)? False: node_apply() is called
 * again once it is so, or once names are given up.
 */
bool node_names_ready(struct node *node, const struct generation *generation);
void node_names_end(struct node *node);

/* node_file.c, in standalone only. */
void node_file_watch(struct node *node);
void node_file_end(struct node *node);
void node_file_read(struct node *node); /* takes in what was changed by hand */
/* ERR_CONFLICT and why, if FILE is not as it was read; 0 in a cluster. */
int node_file_check(const struct node *node, struct err *err);
/* Puts `text` there if the generation's entries are others than FILE's. */
void node_file_write(struct node *node, const struct generation *generation, const char *text);

/* node_address.c: looks up the hosts that matter; on_resolved follows. */
void node_look_up(struct node *node);
/* Ranks the host's addresses into node->choice. */
void node_choose(struct node *node);
bool node_endpoints_are_loopback(const struct options *options);
/* All addresses of the host that another host could mean; `ret` is emptied first. */
void node_list_addresses(const struct node *node, struct str_list *ret);

/* node_identity.c: needs node->facts and node->netlink. */
int node_identity_decide(struct node *node, struct err *err);
int node_identity_save(struct node *node, struct err *err);
/* A new random id, saved: the derived one is a live twin's. */
int node_identity_renew(struct node *node, struct err *err);
/* The state file gets a new random id, for the next start; node->identity stays. */
int node_identity_reset(struct node *node, struct err *err);
void node_remember_address(struct node *node);

/* node_last_agreed.c: NULL = there is none that can be used; the caller frees. */
struct generation *node_last_agreed_load(const struct node *node);
void node_last_agreed_save(const struct node *node, const struct generation *generation);
void node_last_agreed_forget(const struct node *node); /* this node is somebody else now */

#endif
