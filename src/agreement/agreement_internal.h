/* SPDX-License-Identifier: MIT */
/*
 * What the files of the agreement's state machine share:
 *
 *   agreement.c          states, the table, beginning, pausing, leaving
 *   agreement_join.c     READING, GRANTING, REGISTERING: ourselves in the store
 *   agreement_contest.c  two that want one address or one id
 *   agreement_follow.c   FETCHING: what is newer, what is held, what may be seeded
 *   agreement_fold.c     RANKING, WAITING, SNAPSHOT, SWAPPING: what the next one shall be
 *   agreement_duty.c     who folds for those that cannot, and when departures are held
 *   agreement_restore.c  PREPARING: `store accept` and `store publish`
 *   agreement_input.c    the door: inputs become events; the lease's renewal
 *   agreement_request.c  requests and what their replies say
 *   agreement_swap.c     the one transaction
 */
#ifndef CMSNODE_AGREEMENT_INTERNAL_H
#define CMSNODE_AGREEMENT_INTERNAL_H

#include "cmsnode/agreement/agreement.h"

#define AGREEMENT_EDITS_MAX 16
#define AGREEMENT_EDIT_MS 15000 /* an operator is told at the latest then */
#define AGREEMENT_RANK_MAX 16 /* nobody counts further who is before him */

struct store_event;

/* What the table in agreement.c is driven by. */
enum agreement_event {
	AGREEMENT_EVENT_START,
	AGREEMENT_EVENT_DONE, /* the reply to our request: it was carried out */
	AGREEMENT_EVENT_REFUSED, /* it can never work */
	AGREEMENT_EVENT_UNKNOWN, /* it may or may not have happened */
	AGREEMENT_EVENT_TIMER,
	AGREEMENT_EVENT_CURRENT, /* the watch showed another `current` */
	AGREEMENT_EVENT_DOUBT, /* a gap in the watch, our own key is gone, a lease is gone */
	AGREEMENT_EVENT_QUIET, /* the watch is silent for long: is it alive? */
	AGREEMENT_EVENT_WISH, /* our registration changed, or an edit waits */
	AGREEMENT_EVENT_DUTY, /* somebody's departure or join waits for us */
	AGREEMENT_EVENT_STOP,
	AGREEMENT_EVENTS,
};

enum agreement_edit_kind {
	AGREEMENT_EDIT_CHANGE,
	AGREEMENT_EDIT_ACCEPT,
	AGREEMENT_EDIT_PUBLISH,
};

struct agreement_edit {
	uint64_t id;
	enum agreement_edit_kind kind;
	struct edits edits;
	char *author, *reason;
	int64_t deadline_ms;
};

/* A claim on the address that we want: ours, or somebody else's. */
struct agreement_claim {
	char *id;
	int64_t create_revision;
};

/* A swap that was sent for the oldest edit; any of them may have been carried out. */
struct agreement_attempt {
	char tag[GENERATION_TAG_SIZE];
	int64_t sequence;
};

/* What is known about the life of the one who holds what we want. */
struct agreement_proof {
	char *incarnation; /* of the rival, NULL = none */
	int64_t since_ms;
	int64_t last_ttl_s; /* -1 = not seen yet */
	bool rose;
	uint64_t tag;
};

/* Folding for those that cannot: departures, and joins that stay pending. */
struct agreement_duty {
	int rank; /* among the oldest nodes of distinct hosts; -1 = not one of the three */
	/* when to fold; INT64_MAX = nothing waits */
	int64_t joins_ms;
	int64_t departures_ms; /* moved by each one, but not for ever */
	int64_t hold_ends_ms; /* of departures that were not folded */
	int64_t departures_since_ms; /* the first of them */
	int64_t departures_revision; /* the last of them; folded up to there: none waits */
	int64_t look_again_ms; /* for the rank was looked; not again before */
	int64_t contact_since_ms; /* the store answers steadily since; -1 = it does not */
	int64_t missing_since_ms; /* most of the cluster is missing since; -1 = it is not */
};

struct agreement {
	/* settings */
	char *prefix;
	struct generation *seed;
	bool seed_at_once, standalone;
	int64_t lease_ttl_s;
	uint64_t random;

	/* this turn */
	int64_t now_ms, wall_s;
	struct agreement_actions *actions;

	/* the machine */
	enum agreement_state state;
	int64_t started_ms, timer_ms, keepalive_ms, pause_ms, absent_since_ms;
	uint64_t last_tag, tag, keepalive_tag; /* tag 0: no request under way */
	bool reread; /* something happened while we were busy */
	bool watching, watching_nodes;
	bool read_all; /* the read under way is of all nodes */
	bool want_all; /* the next one shall be */
	bool held;
	bool behind; /* somebody has applied what the store does not hold */
	char *trouble;
	uint64_t cluster_id;

	/* ourselves in the store */
	struct registration self;
	bool address_explicit;
	bool settled; /* registered, and no older claim was found */
	struct agreement_claim *claims; /* as last read */
	size_t claims_len, claims_cap;
	struct agreement_proof proof;
	char *rival; /* who claims our address although we run with it; told once */
	char *claimed; /* address that we claimed last, NULL = none */
	bool registered, member, granted_lease, granted_reserved;
	bool rewrite; /* our keys shall be written again although we offer the same */
	uint64_t lease, reserved_lease;
	int64_t window_s; /* that the reserved lease was granted for */
	uint64_t
		old_leases[2]; /* of the dead daemon whose registration we take over, or replaced */
	int64_t own_mod_revision, own_create_revision;
	int64_t written_epoch, written_sequence; /* that our registration shows as applied */
	size_t rank; /* how many pending registrations are older than ours */
	bool rank_known;
	int64_t rank_folded; /* `folded` that it was counted from */

	/* what is agreed */
	struct registrations registrations;
	struct reservations reservations;
	struct str_list directories; /* of all generations in the store; for a restore only */
	struct current seen; /* `current` as last read */
	char *seen_value; /* its text; NULL = there is none */
	bool store_restored; /* the store was made from a snapshot */
	struct current current; /* of `agreed`, or of what is being fetched */
	struct generation *agreed;
	bool cold; /* `agreed` is the copy from the disk and was not handed on yet */
	int64_t snapshot_revision;
	struct generation *restoring; /* what accept or publish puts in force; NULL = none */
	bool fetching_to_accept; /* what is being fetched shall be put in force, not followed */
	uint64_t restore_lease;
	struct generation *pushed; /* sent, outcome not known yet */
	struct current pushed_current;
	uint64_t pushed_edit; /* the edit that is being folded or was pushed, 0 = none */
	/* of the oldest edit, as long as they may still be in force or come to be */
	struct agreement_attempt *attempts;
	size_t attempts_len, attempts_cap;
	char reason[256];
	struct agreement_duty duty;

	struct agreement_edit edits[AGREEMENT_EDITS_MAX];
	size_t edits_len;
};

/* ---- agreement.c: the machine ------------------------------------------- */

typedef void agreement_cell(struct agreement *a, const struct agreement_input *in);

/* Chance for names and jitter; nothing secret. */
uint64_t agreement_random(struct agreement *a);
int64_t agreement_between(struct agreement *a, int64_t min, int64_t max);

/* Runs the cell for the present state and this event. */
void agreement_dispatch(struct agreement *a, enum agreement_event event,
			const struct agreement_input *in);

/* Appends an action to this turn's; borrowed, to be filled in. */
struct agreement_action *agreement_act(struct agreement *a, enum agreement_action_kind kind);
void agreement_news(struct agreement *a, bool is_trouble, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A trouble is told when it begins and when it changes, not at each try. NULL = all is well. */
void agreement_set_trouble(struct agreement *a, const char *text);

/* The only writer of the state; no timer runs afterwards. */
void agreement_set_state(struct agreement *a, enum agreement_state state);
/* Sends the one request of the main conversation; replies to older ones are not ours any more. */
void agreement_converse(struct agreement *a, enum agreement_state state,
			struct store_request *request);
/* Sends one whose reply nobody waits for. */
void agreement_send_aside(struct agreement *a, struct store_request *request);

void agreement_enter_reading(struct agreement *a);
void agreement_enter_paused(struct agreement *a, int64_t at_least_ms);
void agreement_enter_following(struct agreement *a);
void agreement_enter_snapshot(struct agreement *a);

/* ---- agreement_join.c ---------------------------------------------------- */

agreement_cell agreement_read_done, agreement_grant_done, agreement_register_done,
	agreement_register_refused;

/* Registered, and acquainted with the newest generation: is there something left to do? */
void agreement_go_on(struct agreement *a);
/* The daemon that wrote this registration is dead, and was ours: we come in its place. */
void agreement_take_over(struct agreement *a, const struct registration *other);
bool agreement_is_pending(const struct agreement *a);
/* Nothing here ends with it. */
void agreement_lose_lease(struct agreement *a);

/* ---- agreement_follow.c -------------------------------------------------- */

agreement_cell agreement_fetch_done;

/* `current` was read: follow what it names, seed, or hold. */
void agreement_pursue_current(struct agreement *a);
/* Is the generation in force the one that we sent, although its outcome was not known? */
bool agreement_sees_pushed(const struct agreement *a);
void agreement_no_current(struct agreement *a);
void agreement_enter_fetching(struct agreement *a, const struct current *current);
/* Takes the generation as the agreed one. */
void agreement_accept_generation(struct agreement *a, struct generation *generation);
/* Our registration shows the agreed generation from its next writing on. */
void agreement_note_applied(struct agreement *a);
/* Nothing newer is followed; what runs goes on. */
void agreement_hold(struct agreement *a, const char *why);
/* Hands the copy from the disk on, if that has not happened: nothing better is to be had. */
void agreement_start_cold(struct agreement *a, const char *why);
/* Has somebody applied what the store does not hold? Then nobody folds. All nodes must be known. */
bool agreement_find_behind(struct agreement *a);

/* ---- agreement_fold.c ----------------------------------------------------- */

agreement_cell agreement_rank_done, agreement_wait_over, agreement_current_while_waiting,
	agreement_snapshot_done, agreement_swap_done, agreement_swap_refused;

void agreement_enter_waiting(struct agreement *a, size_t rank);
/* Sends the swap for `generation` (taken); its name is new at every attempt. */
void agreement_swap(struct agreement *a, struct generation *generation, const char *reason);
/* The oldest edit is through. */
void agreement_end_edit(struct agreement *a, int code, const char *text);
/*
 * `generation` is in force: the oldest edit is through if any attempt at it is that generation or
 * an ancestor of it; and no other attempt can be carried out any more.
 */
void agreement_settle_attempts(struct agreement *a, const struct generation *generation);
void agreement_refuse_edit(struct agreement *a, const struct err *err);
/* Tells the operators whose edits waited too long. */
void agreement_expire_edits(struct agreement *a);
void agreement_edit_init(struct agreement_edit *edit, const struct agreement_input *in);
void agreement_edit_fini(struct agreement_edit *edit);

/* ---- agreement_duty.c ------------------------------------------------------ */

/* After all nodes were read at `revision`: are we one of the three? */
void agreement_find_rank(struct agreement *a, int64_t revision);
/* When something waits for us to fold it; INT64_MAX = nothing does. */
int64_t agreement_duty_ms(const struct agreement *a);
/* It is being done, or somebody else's now. */
void agreement_end_duty(struct agreement *a);
/* Something happened, up to `revision`, that may be ours to fold. */
void agreement_note_departure(struct agreement *a, int64_t revision);
void agreement_note_join(struct agreement *a);
void agreement_note_contact(struct agreement *a, bool answered);
/* May departures be folded now? If not, duty comes again when that may have changed. */
bool agreement_may_fold_departures(struct agreement *a, const struct generation *generation);

/* ---- agreement_restore.c --------------------------------------------------- */

agreement_cell agreement_prepare_done, agreement_prepare_again;
/* The oldest edit is an accept or a publish, all was read. */
void agreement_restore(struct agreement *a);
/* The store's generation was fetched for an accept. */
void agreement_restore_fetched(struct agreement *a, struct generation *generation);
bool agreement_wants_restore(const struct agreement *a);

/* ---- agreement_request.c --------------------------------------------------- */

/* "<prefix>/<folder><name>"; caller frees. */
char *agreement_key(const struct agreement *a, const char *folder, const char *name);

/*
 * `current`, claims on our address, and our own registration; all: all registrations and
 * reservations, else the names of the oldest. directories: those of all generations as well.
 */
struct store_request *agreement_request_read(const struct agreement *a, bool all, bool directories);
struct store_request *agreement_request_grant(uint64_t lease, int64_t ttl_s);
struct store_request *agreement_request_revoke(uint64_t lease);
struct store_request *agreement_request_remaining(uint64_t lease);
struct store_request *agreement_request_keepalive(const struct agreement *a);
struct store_request *agreement_request_register(struct agreement *a);
struct store_request *agreement_request_fetch(const struct agreement *a);
struct store_request *agreement_request_rank(const struct agreement *a);
struct store_request *agreement_request_leave(const struct agreement *a);

struct agreement_seen {
	bool among_oldest; /* we are one of the few oldest nodes; known after a read of not all */
	bool directories; /* those of all generations were read */
};

/*
 * Fill a->seen, a->claims, and a->registrations and a->reservations or the own one among them
 * (malformed registrations are left out). -EINVAL if `current` is unreadable.
 */
int agreement_reply_read(struct agreement *a, const struct store_reply *reply,
			 struct agreement_seen *ret, struct err *err);
int agreement_reply_current(struct agreement *a, const struct store_reply *reply, size_t range,
			    struct err *err);
int agreement_reply_register(struct agreement *a, const struct store_reply *reply, struct err *err);
int agreement_reply_fetch(struct agreement *a, const struct store_reply *reply,
			  struct generation **ret, struct err *err);
int agreement_reply_rank(const struct agreement *a, const struct store_reply *reply, size_t range,
			 size_t *ret_rank);

enum agreement_saw {
	AGREEMENT_SAW_NOTHING,
	AGREEMENT_SAW_CURRENT,
	AGREEMENT_SAW_DOUBT,
	AGREEMENT_SAW_JOIN,
	AGREEMENT_SAW_DEPARTURE,
};
enum agreement_saw agreement_watch_event(struct agreement *a, const struct store_event *event);

/* ---- agreement_swap.c ------------------------------------------------------- */

/*
 * The one transaction: {if `current` is still at the revision we know and the
 * new directory is absent: the directory, meta, `current`, deletes of what is
 * due; else: read `current`}. Gives `generation` its name, epoch, sequence and
 * meta, fills a->pushed_current. NULL and err if it cannot be written.
 */
struct store_request *agreement_request_swap(struct agreement *a, struct generation *generation,
					     const char *reason, struct err *err);

/* `current` again, with a higher `folded`: all was considered, nothing had to change. */
struct store_request *agreement_request_mark(struct agreement *a);

/* ---- agreement_contest.c ----------------------------------------------------- */

/* The live registration of another host that has a better right to our address, or NULL. */
const struct registration *agreement_rival(const struct agreement *a);
bool agreement_has_rival_claim(const struct agreement *a);
bool agreement_has_own_claim(const struct agreement *a);
/* The newcomer gives way, before it registers or right after. */
void agreement_give_way(struct agreement *a, const struct registration *rival);
/* Once we run, a rival is told of, and nothing else: killing would help nobody. */
void agreement_report_rival(struct agreement *a, const struct registration *rival);
/* Another daemon's registration stands under our id. */
void agreement_handle_foreign_key(struct agreement *a, const struct registration *other);

void agreement_on_proof(struct agreement *a, const struct store_reply *reply);
void agreement_forget_proof(struct agreement *a);
void agreement_forget_claims(struct agreement *a);

#endif
