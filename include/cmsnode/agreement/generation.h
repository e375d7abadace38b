/* SPDX-License-Identifier: MIT */
/*
 * A generation: one pushed, immutable configuration of the cluster, as a value
 * and as keys of the store:
 *
 *   <prefix>/current                      struct current
 *   <prefix>/configs/<name>/meta          struct generation_meta (not in the digest)
 *   <prefix>/configs/<name>/cms/<table>/<key>     one JSON value per entry of cms.toml
 *   <prefix>/configs/<name>/ranking/<key>         of cms_ranking.toml
 *   <prefix>/configs/<name>/topology/slots, nodes, policy
 *
 * digest = SHA-256 over, for each key below the directory in byte order, `meta`
 * left out: the key relative to the directory, NUL, the value's length as 64
 * bits big-endian, the value. Nothing read is trusted. Pure.
 */
#ifndef CMSNODE_AGREEMENT_GENERATION_H
#define CMSNODE_AGREEMENT_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/base/str.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/topology/slots.h"

struct err;
struct store_kv;
struct store_kvs;
struct value;

#define GENERATION_SCHEMA 1
#define GENERATION_MAX_SIZE 1400000	/* bytes of keys and values: etcd takes 1.5 MiB a request */
#define GENERATION_NAME_MAX 160
#define GENERATION_TAG_SIZE 9		/* the 8 hex digits at the end of a name, and NUL */
#define GENERATION_ANCESTORS_MAX 200
#define GENERATION_CHANGES_MAX 50
#define GENERATION_KEPT_MIN 20		/* generations that always stay readable */
#define GENERATION_KEPT_MAX_SIZE (64 << 20)
#define GENERATION_KEPT_S 86400
#define GENERATION_KEPT_MAX 500		/* whatever their size: meta lists them all */

enum node_state { NODE_PRESENT, NODE_AWAY, NODE_DRAINING, NODE_DRAINED };

struct generation_node {
	char *id;
	char *address;
	struct str_list roles;
	char *contest;
	enum node_state state;
	int64_t since_sequence;
};

struct generation_nodes {	/* sorted by id */
	struct generation_node *items;
	size_t len, cap;
};

/* A registration or a departure that was considered but not taken. */
struct generation_deferred {
	char *id;
	int64_t revision;	/* of the registration; 0 of a departure */
	bool is_held;		/* a departure, taken when the hold ends; else refused */
	char *text;		/* why, for people */
};

struct generation_deferrals {	/* sorted by id */
	struct generation_deferred *items;
	size_t len, cap;
};

/* The agreed numbers, with the names and defaults of the interface. */
struct policy {
	int64_t worker_pool, ranking_pool, resource_pool;
	int64_t settle_s, settle_max_s, rejoin_window_s, restart_at_once;
	bool frozen;	/* operators' edits are refused */
	/*
	 * CMS reads names of slots, not addresses, on every node. Pools are pre-listed only then:
	 * without names each slot that is filled later restarts those that dial it anyway.
	 */
	bool names;
};

struct generation_ancestor {
	int64_t sequence;
	char digest[65];
	char tag[GENERATION_TAG_SIZE];	/* "" = not known */
};

struct generation_kept {	/* earlier generations that are still in the store, newest first */
	char *name;
	int64_t created_at;	/* epoch seconds */
	int64_t size;		/* bytes */
};

struct generation_meta {
	char *parent;		/* name, "" = the first */
	char *author;		/* node id, or who edited */
	char *reason;		/* a sentence */
	struct str_list changes;	/* paths that an operator's edit changed, the first few */
	int64_t created_at;	/* epoch seconds */
	bool at_once;		/* ContestWebServers may restart all together for it */
	int64_t schema;
	int64_t entries;
	char digest[65];
	enum cms_format format;	/* of the file it was seeded or imported from */
	struct generation_ancestor *ancestors;	/* newest first */
	size_t ancestors_len, ancestors_cap;
	struct generation_kept *kept;
	size_t kept_len, kept_cap;
};

struct generation {
	char *name;		/* "<author>_<first role or none>_<sequence>-<8 hex>" */
	int64_t epoch, sequence;
	/* tables of cms.toml without `services`, and "ranking", which is cms_ranking.toml */
	struct value *cms;
	struct slots slots;
	struct generation_nodes nodes;
	struct generation_deferrals deferred;
	struct policy policy;
	struct generation_meta meta;
};

/* The value of <prefix>/current. */
struct current {
	char name[GENERATION_NAME_MAX + 1];	/* without "configs/" */
	int64_t epoch, sequence;
	int64_t folded;		/* store revision up to which registrations were considered */
	char digest[65];
	/* the store that it was written in: a restored one is known by them; 0 = not known */
	uint64_t cluster_id;
	bool restored;
	int64_t mod_revision;	/* of the key; 0 = there is none */
};

struct generation *generation_new(void);	/* empty, default policy */
void generation_free(struct generation *generation);
static inline void clean_generation(struct generation **generation)
{
	generation_free(*generation);
}
struct generation *generation_clone(const struct generation *generation);
void generation_swap(struct generation *a, struct generation *b);	/* exchanges all of both */

/*
 * Same content (cms, slots, nodes, policy, refused registrations); name, sequence, meta and held
 * departures do not matter.
 */
bool generation_same_content(const struct generation *a, const struct generation *b);

/* NULL */
struct generation_node *generation_node_find(const struct generation *generation, const char *id);
/* finds or makes */
struct generation_node *generation_node_add(struct generation *generation, const char *id);

bool generation_node_remove(struct generation *generation, const char *id); /* false: not there */

/* NULL = not deferred */
const struct generation_deferred *generation_deferred_find(const struct generation *generation,
							   const char *id);
/* `text` is copied; one entry an id */
void generation_defer(struct generation *generation, const char *id, int64_t revision,
		      bool is_held, const char *text);
void generation_forget_deferred(struct generation *generation);	/* all of them */

const char *node_state_name(enum node_state state);
void policy_init(struct policy *policy);

/*
 * "worker_pool" etc. of the policy as JSON values; names as in the interface. -ENOENT for an
 * unknown name, -EINVAL for a bad value.
 */
int policy_set(struct policy *policy, const char *name, const struct value *value, struct err *err);
struct value *policy_to_value(const struct policy *policy);	/* a table; caller frees */

int64_t generation_name_sequence(const char *name);	/* 0 if it has none */

/* The random part of a name, which no other attempt has; "" if it has none. */
void generation_tag(const char *name, char ret[GENERATION_TAG_SIZE]);

/* [A-Za-z0-9._-]{1,160}, not beginning with a dot. */
bool generation_name_valid(const char *name);

/* ---- keys and values --------------------------------------------------- */

struct tree_entry {
	char *key;	/* relative to the directory: "cms/database/url" */
	char *value;
	size_t value_len;
};

struct tree {		/* sorted by key */
	struct tree_entry *items;
	size_t len, cap;
	size_t size;	/* bytes of keys and values */
};

void tree_fini(struct tree *tree);
static inline void clean_tree(struct tree *tree)
{
	tree_fini(tree);
}
void tree_digest(const struct tree *tree, char ret[65]);

/*
 * All entries but meta. -E2BIG beyond GENERATION_MAX_SIZE; -EINVAL for a key that the store cannot
 * hold (with '/').
 */
int generation_to_tree(const struct generation *generation, struct tree *ret, struct err *err);
char *generation_meta_to_json(const struct generation_meta *meta);	/* caller frees */

/*
 * From what the store holds below `directory` ("/cms/configs/<name>/"): checks
 * the digest and the number of entries against meta and against `current`.
 * -EINVAL and what is wrong: nothing may be done on such a generation.
 */
int generation_from_kvs(const struct current *current, const char *directory,
			const struct store_kvs *kvs,
			struct generation **ret, struct err *err);

/*
 * The same for a generation that `current` does not name (any more): its meta alone vouches for the
 * content, and its epoch is not known (0).
 */
int generation_read(const char *name, const char *directory, const struct store_kvs *kvs,
		    struct generation **ret, struct err *err);

/* Only who, when and why. *ret is overwritten; end it with generation_meta_fini(). */
int generation_meta_read(const struct store_kv *kv, struct generation_meta *ret, struct err *err);
void generation_meta_fini(struct generation_meta *meta);

char *current_to_json(const struct current *current);	/* caller frees */
int current_from_kv(const struct store_kv *kv, struct current *ret, struct err *err);

/* ---- as CMS reads it --------------------------------------------------- */

#define GENERATION_SLOT_PORTS 3

/*
 * The ports that slot k's unit listens on, wherever it runs: its RPC port, and those that the
 * entries of its service say (admin_web_server.listen_port, ranking.http_port, ...). Returns how
 * many.
 */
size_t generation_slot_ports(const struct generation *generation, enum catalogue_index service,
			     size_t k, int ret[GENERATION_SLOT_PORTS]);

/* Does an entry give the port to another service, be it by CMS's default? */
bool generation_port_is_configured(const struct generation *generation, int port,
				   enum catalogue_index service);

/* Do proxy_service.rankings follow the nodes with role ranking? Else an operator listed them. */
bool generation_derives_rankings(const struct generation *generation);

struct render_settings {
	/*
	 * Slots that are not static are names in it, if the policy says so too; NULL = on this node
	 * they are addresses all the same.
	 */
	const char *zone;
	/* for Checker, which asks each entry again and again: lists end with who is there */
	bool without_vacant_tail;
};

/*
 * The whole canonical document with `services`. A slot's host is its name, or
 * the address of its node, or SLOT_VACANT_ADDRESS where it is vacant; static
 * ones are as written. Vacant slots at the end of lists that are not a
 * singleton's are left out; but names stand there before anybody has them.
 * contest_web_server.listen_* are made from the slots (the node's address, also
 * with names, and the HTTP port) where they are "auto", and made long enough
 * where an operator's list is shorter. proxy_service.rankings, where they are
 * "auto", or are not there and a node offers one, are URLs of all RankingWebServers
 * with the user, password and port of the table `ranking`. Caller frees.
 */
struct value *generation_render_as(const struct generation *generation,
				   const struct render_settings *settings);

/* With addresses. */
struct value *generation_render(const struct generation *generation);

#endif
