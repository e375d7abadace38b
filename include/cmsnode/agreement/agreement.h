/* SPDX-License-Identifier: MIT */
/*
 * The agreement: how this node registers, learns the configuration in force,
 * gets itself and operators' edits into it, and follows it. A state machine
 * without I/O: inputs and the present time in, actions out.
 *
 *  IDLE ──start──> READING <──────────────── PAUSED (back-off, after any trouble)
 *                    │  ^ \                     ^
 *     own key missing│  │  \ `current` is new   │ unknown or refused reply, from anywhere
 *                    v  │   v
 *             GRANTING  │  FETCHING ──ours to fold?──> RANKING ──> WAITING
 *                    │  │   ^   │ all in                             │ our turn
 *                    v  │   │   v                                    v
 *           REGISTERING─┘   FOLLOWING <──nothing to change─────── SNAPSHOT <── an edit, a
 *                           ^   │ period, doubt, gap: READING        │  │      folder's duty
 *                           │   └ `current` changed: FETCHING        v  └─> PREPARING
 *                           └──────────────won────────────────── SWAPPING <──┘ (restore)
 *                                     (lost: FETCHING the winner's; unknown: READING)
 *
 *  any ──stop──> LEAVING ──> STOPPED
 *
 * Invariants: one request of this conversation is under way at a time (lease
 * renewal has its own); no transaction is ever sent twice; every write whose
 * outcome is unknown is settled by reading `current`; only a complete, valid and
 * newer generation is handed on; losing the store stops nothing.
 *
 * Who folds. A registration is pending until `current` says by `folded` that it
 * was considered. Its own node folds it, when its turn comes by age. Departures,
 * and joins that stay pending, are the duty of the three oldest live nodes of
 * distinct hosts, by rank: only these watch nodes/ and reserved/.
 *
 * The last agreed generation is kept on disk by the owner and given back at the
 * next start: it is handed on when the store stays silent or holds nothing
 * better, and a node that has one never seeds.
 */
#ifndef CMSNODE_AGREEMENT_AGREEMENT_H
#define CMSNODE_AGREEMENT_AGREEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/agreement/alter.h"
#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"

struct err;
struct store_reply;
struct store_request;
struct store_watch_report;

enum agreement_state {
	AGREEMENT_IDLE,
	AGREEMENT_READING,	/* `current` and the nodes */
	AGREEMENT_GRANTING,	/* our leases */
	AGREEMENT_REGISTERING,
	AGREEMENT_FETCHING,	/* the directory that `current` names */
	AGREEMENT_RANKING,	/* how many pending registrations are older than ours? */
	AGREEMENT_WAITING,	/* an older one folds us in, or our turn comes */
	AGREEMENT_SNAPSHOT,	/* reading what is altered */
	AGREEMENT_PREPARING,	/* the lease under which absent nodes may come back */
	AGREEMENT_SWAPPING,
	AGREEMENT_FOLLOWING,
	AGREEMENT_PAUSED,
	AGREEMENT_LEAVING,
	AGREEMENT_STOPPED,
	AGREEMENT_STATES,
};

const char *agreement_state_name(enum agreement_state state);

struct agreement_settings {
	const char *prefix;		/* "/cms" */
	const struct generation *seed;	/* NULL = none; copied */
	/* every endpoint is loopback, or standalone: no 15 s of waiting */
	bool seed_at_once;
	/* a store of our own: nothing to wait for, no leases to fear for */
	bool standalone;
	/* seeds names, leases and jitter: must differ at every start */
	uint64_t random;
	int64_t lease_ttl_s;		/* 10 */
	/* --address was given: another host's mere listing of it does not matter */
	bool address_explicit;
	const char *address_before;	/* that this id claimed last, NULL = unknown; copied */
	/* what this node agreed to last, from its disk; NULL = nothing; copied */
	const struct generation *last_agreed;
};

struct agreement;

struct agreement *agreement_new(const struct agreement_settings *settings,
				const struct registration *self);
void agreement_free(struct agreement *agreement);

/* ---- inputs ------------------------------------------------------------ */

enum agreement_input_kind {
	AGREEMENT_INPUT_START,
	AGREEMENT_INPUT_REPLY,		/* tag, reply */
	AGREEMENT_INPUT_WATCH,		/* watch */
	AGREEMENT_INPUT_TIME,		/* agreement_next_ms() has come */
	AGREEMENT_INPUT_REGISTRATION,	/* registration: what we are or offer changed */
	AGREEMENT_INPUT_EDIT,		/* edits, edit_id, author, reason */
	AGREEMENT_INPUT_ACCEPT,		/* edit_id, author, reason: follow what the store holds */
	AGREEMENT_INPUT_PUBLISH,	/* the same: the store shall hold what we agreed to last */
	AGREEMENT_INPUT_STOP,
};

struct agreement_input {
	enum agreement_input_kind kind;
	int64_t now_ms;			/* monotonic */
	int64_t wall_s;			/* only stamps what is written */
	uint64_t tag;
	const struct store_reply *reply;
	const struct store_watch_report *watch;
	const struct registration *registration;
	const struct edits *edits;
	uint64_t edit_id;		/* the owner's own number for it, not 0 */
	const char *author;
	const char *reason;
};

/* ---- actions ----------------------------------------------------------- */

enum agreement_action_kind {
	AGREEMENT_SEND,		/* request (the executor takes it), tag */
	/* watch `current` and our own key from `revision` on; watch_nodes: nodes/ and reserved/ */
	AGREEMENT_WATCH,
	AGREEMENT_APPLY,	/* agreement_agreed() is a new generation to act on */
	/* edit_id is through: code 0 and text = the generation's name, or an err code and why */
	AGREEMENT_EDITED,
	AGREEMENT_NEWS,		/* text is worth a line in the log; is_trouble */
	AGREEMENT_LEFT,		/* stop is through */
	/* another live host has our address: choose another, if there is one (text: who) */
	AGREEMENT_CONTESTED,
	/* proven: another live host has our address, or (is_twin) our id; text says who */
	AGREEMENT_REFUSED,
};

struct agreement_action {
	enum agreement_action_kind kind;
	struct store_request *request;
	uint64_t tag;
	int64_t revision;
	uint64_t edit_id;
	int code;
	bool is_trouble;
	bool is_twin;
	bool watch_nodes;
	char *text;
};

struct agreement_actions {
	struct agreement_action *items;
	size_t len, cap;
};

void agreement_actions_fini(struct agreement_actions *actions);

/* One turn. `actions` is appended to; the executor carries them out in order and ends them. */
void agreement_step(struct agreement *agreement, const struct agreement_input *input,
		    struct agreement_actions *actions);

/* When INPUT_TIME is due; INT64_MAX = never. */
int64_t agreement_next_ms(const struct agreement *agreement);

/* ---- what is known ----------------------------------------------------- */

enum agreement_state agreement_state_now(const struct agreement *agreement);

/* The newest valid generation, NULL = none yet. Borrowed until the next step. */
const struct generation *agreement_agreed(const struct agreement *agreement);

/* What `current` said when it was last read (mod_revision 0: there was none). */
const struct current *agreement_current(const struct agreement *agreement);

/*
 * Who was registered when that was last read whole: at the start, and all the time on the few nodes
 * that watch it.
 */
const struct registrations *agreement_registrations(const struct agreement *agreement);

const char *agreement_prefix(const struct agreement *agreement);
const struct registration *agreement_self(const struct agreement *agreement);

bool agreement_is_registered(const struct agreement *agreement);
/* that our keys live under; 0 = not registered */
uint64_t agreement_lease(const struct agreement *agreement);
/* the agreed generation holds us as we are */
bool agreement_is_member(const struct agreement *agreement);

/* Why the newest generation is not followed, or why nothing goes on; NULL = all is well. */
const char *agreement_trouble(const struct agreement *agreement);
bool agreement_is_held(const struct agreement *agreement);

#endif
