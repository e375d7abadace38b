/* SPDX-License-Identifier: MIT */
/* What agreement.c (the machine) and agreement_request.c (its requests and replies) share. */
#ifndef CMSNODE_AGREEMENT_INTERNAL_H
#define CMSNODE_AGREEMENT_INTERNAL_H

#include "cmsnode/agreement/agreement.h"

#define AGREEMENT_EDITS_MAX 16
#define AGREEMENT_EDIT_MS 15000 /* an operator is told at the latest then */

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
	AGREEMENT_EVENT_WISH, /* our registration changed, or an edit waits */
	AGREEMENT_EVENT_STOP,
	AGREEMENT_EVENTS,
};

struct agreement_edit {
	uint64_t id;
	struct edits edits;
	char *author, *reason;
	int64_t deadline_ms;
};

/* A claim on the address that we want: ours, or somebody else's. */
struct agreement_claim {
	char *id;
	int64_t create_revision;
};

/* What is known about the life of the one who holds what we want. */
struct agreement_proof {
	char *incarnation; /* of the rival, NULL = none */
	int64_t since_ms;
	int64_t last_ttl_s; /* -1 = not seen yet */
	bool rose;
	uint64_t tag;
};

struct agreement {
	/* settings */
	char *prefix;
	struct generation *seed;
	bool seed_at_once, standalone;
	int64_t lease_ttl_s, rejoin_window_s;
	uint64_t random;

	/* this turn */
	int64_t now_ms, wall_s;
	struct agreement_actions *actions;

	/* the machine */
	enum agreement_state state;
	int64_t timer_ms, keepalive_ms, pause_ms, absent_since_ms;
	uint64_t last_tag, tag, keepalive_tag; /* tag 0: no request under way */
	bool reread; /* something happened while we were busy */
	bool watching;
	bool held;
	char *trouble;

	/* ourselves in the store */
	struct registration self;
	bool address_explicit;
	bool settled; /* registered, and no older claim was found */
	struct agreement_claim *claims; /* as last read */
	size_t claims_len, claims_cap;
	struct agreement_proof proof;
	char *rival; /* who claims our address although we run with it; told once */
	char *claimed; /* address that we claimed last, NULL = none */
	bool registered, member, granted_reserved;
	uint64_t lease, reserved_lease;
	uint64_t old_leases[2]; /* of the dead daemon whose registration we take over */
	int64_t own_mod_revision, own_create_revision;

	/* what is agreed */
	struct registrations registrations;
	struct current seen; /* `current` as last read */
	struct current current; /* of `agreed`, or of what is being fetched */
	struct generation *agreed;
	int64_t snapshot_revision;
	struct generation *pushed; /* sent, outcome not known yet */
	struct current pushed_current;
	uint64_t pushed_edit; /* the edit that is being folded or was pushed, 0 = none */
	char reason[256];

	struct agreement_edit edits[AGREEMENT_EDITS_MAX];
	size_t edits_len;
};

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

/* Tells the operators whose edits waited too long. */
void agreement_expire_edits(struct agreement *a);

void agreement_edit_init(struct agreement_edit *edit, const struct agreement_input *in);
void agreement_edit_fini(struct agreement_edit *edit);

/* `current`, and all registrations. */
struct store_request *agreement_request_read(const struct agreement *a);
struct store_request *agreement_request_snapshot(const struct agreement *a);
struct store_request *agreement_request_grant(const struct agreement *a, uint64_t lease,
					      int64_t ttl_s);
struct store_request *agreement_request_revoke(uint64_t lease);
struct store_request *agreement_request_remaining(uint64_t lease);
struct store_request *agreement_request_keepalive(const struct agreement *a);
struct store_request *agreement_request_register(struct agreement *a);
struct store_request *agreement_request_fetch(const struct agreement *a);
struct store_request *agreement_request_rank(const struct agreement *a);
struct store_request *agreement_request_leave(const struct agreement *a);

/*
 * The one transaction: {if `current` is still at the revision we know and the
 * new directory is absent: the directory, meta, `current`, deletes of what is
 * due; else: read `current`}. Gives `generation` its name, epoch, sequence and
 * meta, fills a->pushed_current. NULL and err if it cannot be written.
 */
struct store_request *agreement_request_swap(struct agreement *a, struct generation *generation,
					     const char *reason, struct err *err);

/*
 * Fill a->seen and a->registrations (malformed registrations are left out). -EINVAL if `current` is
 * unreadable.
 */
int agreement_reply_read(struct agreement *a, const struct store_reply *reply, struct err *err);
int agreement_reply_current(struct agreement *a, const struct store_reply *reply, struct err *err);
int agreement_reply_fetch(struct agreement *a, const struct store_reply *reply,
			  struct generation **ret, struct err *err);
int agreement_reply_rank(const struct agreement *a, const struct store_reply *reply,
			 size_t *ret_rank);

/* The live registration of another host that has a better right to our address, or NULL. */
const struct registration *agreement_rival(const struct agreement *a);

/* Asks for the rival's lease; true once it is proven that the rival lives. */
bool agreement_prove(struct agreement *a, const struct registration *rival);
void agreement_on_proof(struct agreement *a, const struct store_reply *reply);
void agreement_forget_proof(struct agreement *a);
void agreement_forget_claims(struct agreement *a);

enum agreement_saw { AGREEMENT_SAW_NOTHING, AGREEMENT_SAW_CURRENT, AGREEMENT_SAW_DOUBT };
enum agreement_saw agreement_watch_event(struct agreement *a, const struct store_event *event);

#endif
