/* SPDX-License-Identifier: MIT */
/*
 * The agreement as spin sees it: NODES daemons, one store, requests that are lost or come late,
 * crashes, a store that is restored, and persons who end it. docs/model/README.md says what is
 * checked and how to run it; the names are those of src/agreement.
 *
 * Modelled, as the code does it:
 *   - reading (linearizable), registering, fetching, the snapshot, the one transaction with its
 *     else-branch, marks (`folded` alone), following by watch, `meta.ancestors` with their tags;
 *   - a request is carried out or lost at any moment after it was sent, also long after its sender
 *     has stopped waiting, has begun again under a new name, or is dead;
 *   - an operator's edit, told "done", "not known" or "nothing was changed"; edits are additions,
 *     so one that is made twice is seen;
 *   - crash and restart at any point with the copy on disk; the end of leases;
 *   - the store put back, at any moment, to any earlier state or to nothing; holding, being behind,
 *     what a registration shows as applied, `store accept` and `store publish`.
 *
 * Left out:
 *   - time. A wait is a step that may come at any moment, so a rank, a turn or a hold for 30 s is
 *     any order of steps. Leaving these out allows more than the code does, never less;
 *   - departures and drains (a change of the members that any node may fold, like a join), seeds,
 *     addresses and claims, what a generation holds but edits and members, the sweep of old ones;
 *   - faults of reads, leases and registrations: they are repeated and say the same again;
 *   - several edits at one node: one waits behind the other;
 *   - a crash between acting on a generation and its copy being on disk.
 *
 * Limits of the rules themselves, each a variant that has to fail:
 *   UNSEEN_RESTORE  a data directory copied back in place (same cluster id, raft index above the
 *                   revision) looks like no restore; only registrations can show that it is behind;
 *   LATE_ACROSS     a swap that was composed before a restore and reaches only the restored store;
 *   RESTORES=2      epochs are 1 + the highest that the asked node sees: a second restore, to
 *                   before what a person said after the first, lets an epoch be used again. Takes
 *                   minutes; not among the cases of docs/model/run.
 */

#ifndef NODES
#define NODES 2
#endif
#ifndef EDITORS
#define EDITORS 3 /* bits: through which nodes an operator makes his edit */
#endif
#ifndef JOINERS
#define JOINERS 0 /* bits: which nodes are new; the others have agreed and are registered */
#endif
#ifndef GIVE_UPS
#define GIVE_UPS 1 /* how often somebody stops waiting for a reply */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef EXPIRIES
#define EXPIRIES 1 /* how often an operator is told that it took too long */
#endif
#ifndef LAPSES
#define LAPSES 0 /* leases of living nodes that end */
#endif
#ifndef RESTORES
#define RESTORES 0
#endif
#ifndef PERSONS
#define PERSONS 0 /* how often somebody says `store accept` or `store publish` */
#endif
#ifndef GENERATIONS
#define GENERATIONS 9 /* [0] is "none", [1] the first one; more are never made: asserted */
#endif
#ifndef EVENTS
#define EVENTS 12 /* changes of `current` in one store */
#endif
/* Requests of a node that may still be carried out; [0] is awaited. */
#define SLOTS (1 + GIVE_UPS + CRASHES)
#define EVERYBODY ((1 << NODES) - 1)

/* ---- generations ------------------------------------------------------------------------- */

/* Immutable once made, so everybody who reads one reads the same: the table is global. */
typedef generation {
	byte parent; /* the newest of meta.ancestors; theirs follow */
	byte epoch;
	byte sequence;
	byte author; /* 1 + node; 0 = the seed */
	byte attempt; /* with the author: the tag in its name */
	byte members; /* bits */
	byte edits; /* two bits for each node: how often its operator's edit was made */
	byte store; /* in which store it was put in force */
	bit acted; /* somebody has acted on it */
};
generation g[GENERATIONS];
byte made = 2;

#define newer(x, y)                     \
	(g[x].epoch > g[y].epoch ||     \
	 (g[x].epoch == g[y].epoch && g[x].sequence > g[y].sequence))
/* The same digest. */
#define same(x, y)                                                        \
	(g[x].epoch == g[y].epoch && g[x].sequence == g[y].sequence &&    \
	 g[x].members == g[y].members && g[x].edits == g[y].edits)
#define made_edit(x, i) ((g[x].edits >> (2 * (i))) & 3)

/* ---- the store --------------------------------------------------------------------------- */

byte current, mod, folded; /* the key `current`: its value and mod_revision */
byte revision;
/* The events of `current` in this store, delivered in order and as late as it may be. */
byte past[EVENTS], past_mod[EVENTS], past_folded[EVENTS];
byte happened;
byte registered_as[NODES]; /* incarnation of the daemon whose registration stands; 0 = none */
byte registered_at[NODES]; /* mod_revision */
byte shows[NODES]; /* the generation that it shows as applied */
byte store; /* which store answers: another one after a restore, and etcd shows it */

/* A backup. */
bit saved;
byte saved_current, saved_mod, saved_folded, saved_revision;
byte saved_as[NODES], saved_at[NODES], saved_shows[NODES];
byte restores = RESTORES;

/* ---- requests ---------------------------------------------------------------------------- */

#define NONE 0
#define SWAP 1
#define MARK 2

#define SENT 1 /* may be carried out at any moment */
#define DONE 2
#define LOST 3 /* the else-branch was taken */
#define GONE 4 /* will never be answered */

typedef request {
	byte kind, state;
	byte attempt;
	byte if_current, if_mod, if_folded; /* compared */
	byte base, epoch, sequence, members, edits, folded; /* put */
	byte store;
	byte current, mod, folded_now; /* the reply */
};
request r[NODES * SLOTS];
#define slot(i, k) ((i) * SLOTS + (k))

/* ---- nodes ------------------------------------------------------------------------------- */

#define DOWN 0
#define READING 1
#define REGISTERING 2
#define FETCHING 3
#define SNAPSHOT 4
#define PREPARING 5
#define SWAPPING 6
#define FOLLOWING 7
#define OUT 8 /* will not return */

#define EDIT 1
#define ACCEPT 2
#define PUBLISH 3

#define UNTOLD 0
#define TOLD_DONE 1
#define TOLD_UNKNOWN 2
#define TOLD_UNDONE 3

byte state[NODES];
byte incarnation[NODES];
byte agreed[NODES]; /* also the copy on disk */
byte seen[NODES], seen_mod[NODES], seen_folded[NODES]; /* `current` as last read or watched */
byte watched[NODES]; /* so many of its events were delivered */
byte fetching[NODES];
bit for_accept[NODES]; /* it is fetched to be put in force */
bit registered[NODES], held[NODES], behind[NODES], rewrite[NODES], gap[NODES];
bit reread[NODES]; /* something happened that the present step did not take up */
byte pushed[NODES]; /* attempt whose outcome is not known, 0 = none */
byte attempts[NODES]; /* bits, of the wish; any may have been carried out */
byte wish[NODES];
byte told[NODES]; /* to the operator of the edit */
byte restoring[NODES], epoch_seen[NODES];

byte editors = EDITORS, crashes = CRASHES, give_ups = GIVE_UPS, expiries = EXPIRIES;
byte lapses = LAPSES, persons = PERSONS;

/* ---- what must hold; named, so that spin's message says which one does not ---------------- */

hidden byte done_at_most_once, acts_alike, acts_on_what_was_agreed, never_goes_back;
hidden byte acknowledged_is_in_force, undone_is_not_in_force, all_agree_in_the_end;
hidden byte publishes_its_own, held_only_after_a_restore, model_is_large_enough;

/* Only within one step. */
hidden byte h, j, k, n;
hidden byte found;

#define stands(i) (registered_as[i] == incarnation[i])
#define shows_ahead(i)                                                                  \
	(registered_as[i] && shows[i] && !same(shows[i], current) && !newer(current, shows[i]))
#define waits(i) (registered_as[i] && registered_at[i] > folded)
#if NODES == 2
#define somebody(what) (what(0) || what(1))
#else
#define somebody(what) (what(0) || what(1) || what(2))
#endif
#ifdef UNSEEN_RESTORE
#define was_restored 0
#else
#define was_restored (g[current].store != store)
#endif
#define store_is_behind (current && (was_restored || somebody(shows_ahead)))

/* ---- being told -------------------------------------------------------------------------- */

inline end_wish(i, verdict)
{
	printf("node %d tells its operator (1 done, 2 not known, 3 not done): %d\n", i, verdict);
	if
	:: wish[i] == EDIT -> told[i] = verdict
	:: else
	fi;
	wish[i] = NONE;
	attempts[i] = 0;
	restoring[i] = 0;
}

inline refuse_wish(i)
{
	if
	:: attempts[i] -> end_wish(i, TOLD_UNKNOWN)
	:: else -> end_wish(i, TOLD_UNDONE)
	fi
}

/* `x` is in force: the wish is through if an attempt at it is `x` or an ancestor of it. */
inline settle_attempts(i, x)
{
	found = false;
	h = x;
	do
	:: h == 0 -> break
	:: else ->
		if
		:: g[h].author == i + 1 && (attempts[i] & (1 << g[h].attempt)) -> found = true
		:: else
		fi;
		h = g[h].parent
	od;
	attempts[i] = 0;
	if
	:: found && wish[i] -> end_wish(i, TOLD_DONE)
	:: else
	fi
}

/* ---- following --------------------------------------------------------------------------- */

inline find_descent(x, from)
{
	h = x;
	do
	:: h == 0 || h == from -> break
	:: else -> h = g[h].parent
	od;
	found = h == from
}

inline accept_generation(i, x)
{
	printf("node %d acts on generation %d: epoch %d, sequence %d\n", i, x, g[x].epoch,
	       g[x].sequence);
	find_descent(x, agreed[i]);
	never_goes_back = found || same(x, agreed[i]) || g[x].epoch > g[agreed[i]].epoch;
	assert(never_goes_back);
	if
	:: agreed[i] && g[x].epoch > g[agreed[i]].epoch -> rewrite[i] = 1
	:: else
	fi;
	acts_alike = true;
	h = 1;
	do
	:: h == made -> break
	:: else ->
		if
		:: g[h].acted && g[h].epoch == g[x].epoch && g[h].sequence == g[x].sequence &&
		   !same(h, x) -> acts_alike = false
		:: else
		fi;
		h++
	od;
	assert(acts_alike);
	g[x].acted = 1;
	agreed[i] = x;
	held[i] = 0;
	behind[i] = 0;
#ifndef FOLLOW_KEEPS_PUSHED
	pushed[i] = 0
#endif
}

inline enter_following(i)
{
	state[i] = FOLLOWING;
	if
	:: held[i] && wish[i] == EDIT -> refuse_wish(i)
	:: else
	fi
}

inline go_on(i)
{
	if
	:: !registered[i] || rewrite[i] || (held[i] && shows[i] != agreed[i]) ->
		state[i] = REGISTERING
	:: else ->
		if
		:: held[i] || behind[i] || seen[i] == 0 || registered_at[i] <= seen_folded[i] ->
			enter_following(i)
		:: else -> state[i] = SNAPSHOT
		fi
	fi
}

inline hold(i)
{
	printf("node %d holds\n", i);
	held_only_after_a_restore = RESTORES > 0;
	assert(held_only_after_a_restore);
	held[i] = 1;
	go_on(i)
}

inline fetch(i, x, accepting)
{
	fetching[i] = x;
	for_accept[i] = accepting;
	state[i] = FETCHING
}

/* The swap of attempt `n` is in force under some name, or was never. */
inline accept_pushed(i)
{
	h = 1;
	do
	:: h == made || (g[h].author == i + 1 && g[h].attempt == n) -> break
	:: else -> h++
	od;
	acts_on_what_was_agreed = h != made;
	assert(acts_on_what_was_agreed);
	k = h;
	settle_attempts(i, k);
	accept_generation(i, k);
	pushed[i] = 0
}

#define pushed_is_seen(i)                                                   \
	(seen[i] && pushed[i] && g[seen[i]].author == (i) + 1 &&            \
	 g[seen[i]].attempt == pushed[i])

inline pursue_current(i)
{
	if
	:: seen[i] == 0 ->
		if
		:: agreed[i] -> hold(i)
		:: else -> go_on(i)
		fi
	:: pushed_is_seen(i) ->
		n = pushed[i];
		accept_pushed(i);
		go_on(i)
	:: else ->
		if
		:: agreed[i] == seen[i] ->
			held[i] = 0;
			go_on(i)
		:: else -> fetch(i, seen[i], 0)
		fi
	fi
}

inline see_current(i)
{
	seen[i] = current;
	seen_mod[i] = mod;
	seen_folded[i] = folded
}

/* A watch that broke, or did not show what is read here, begins anew. */
inline read(i)
{
	printf("node %d reads: %d is in force\n", i, current);
	if
	:: gap[i] || seen_mod[i] != mod -> watched[i] = happened
	:: else
	fi;
	gap[i] = 0;
	reread[i] = 0;
	see_current(i);
	registered[i] = stands(i);
	if
	:: !held[i] && current -> behind[i] = store_is_behind
	:: else
	fi;
	if
	:: !registered[i] && agreed[i] && current && agreed[i] != current && !held[i] ->
		fetch(i, current, 0) /* who runs what may have changed while we were away */
	:: else ->
		if
		:: !registered[i] -> go_on(i)
		:: else -> pursue_current(i)
		fi
	fi
}

inline register(i)
{
	printf("node %d registers\n", i);
	revision++;
	registered_as[i] = incarnation[i];
	registered_at[i] = revision;
	shows[i] = agreed[i];
	registered[i] = 1;
	rewrite[i] = 0;
	see_current(i);
	pursue_current(i)
}

inline follow(i, x)
{
	find_descent(x, agreed[i]);
#ifdef NO_ANCESTORS
	found = true;
#endif
	if
	:: agreed[i] == 0 || g[x].epoch > g[agreed[i]].epoch || same(x, agreed[i]) ||
	   (newer(x, agreed[i]) && found) ->
		settle_attempts(i, x);
		accept_generation(i, x);
		go_on(i)
	:: else -> hold(i)
	fi
}

/* ---- folding ----------------------------------------------------------------------------- */

/* No generation and no request, sent or remembered, has this tag. */
inline new_attempt(i)
{
	n = 1;
	do
	:: n == 8 -> break
	:: else ->
		found = pushed[i] == n || (attempts[i] & (1 << n));
		h = 0;
		do
		:: h == SLOTS -> break
		:: else ->
			found = found || (r[slot(i, h)].kind && r[slot(i, h)].attempt == n);
			h++
		od;
		h = 1;
		do
		:: h == made -> break
		:: else ->
			found = found || (g[h].author == i + 1 && g[h].attempt == n);
			h++
		od;
		if
		:: found -> n++
		:: else -> break
		fi
	od;
	model_is_large_enough = n < 8;
	assert(model_is_large_enough)
}

inline send(i, what, on)
{
	j = slot(i, 0);
	r[j].kind = what;
	r[j].state = SENT;
	r[j].base = on;
	r[j].if_current = seen[i];
	r[j].if_mod = seen_mod[i];
	r[j].if_folded = seen_folded[i];
	r[j].store = store;
	state[i] = SWAPPING
}

/* `on` altered: all live registrations, and the oldest wish. */
inline swap(i, on, restore)
{
	new_attempt(i);
	send(i, SWAP, on);
	r[j].attempt = n;
	printf("node %d sends swap %d\n", i, n);
	pushed[i] = n;
	r[j].members = g[on].members;
	r[j].edits = 0;
	if
	:: restore ->
#ifdef SAME_EPOCH
		r[j].epoch = g[on].epoch;
#else
		r[j].epoch = epoch_seen[i] + 1;
#endif
		r[j].sequence = g[on].sequence + 1;
		if
		:: r[j].sequence <= g[seen[i]].sequence -> r[j].sequence = g[seen[i]].sequence + 1
		:: else
		fi;
		r[j].folded = 0
	:: else ->
		r[j].epoch = g[on].epoch;
		r[j].sequence = g[on].sequence + 1;
		h = 0;
		do
		:: h == NODES -> break
		:: else ->
			if
			:: registered_as[h] -> r[j].members = r[j].members | (1 << h)
			:: else
			fi;
			h++
		od;
		r[j].edits = wish[i] == EDIT;
		r[j].folded = revision
	fi;
#ifdef HEADER_REVISION
	r[j].if_mod = revision;
#endif
	if
	:: wish[i] -> attempts[i] = attempts[i] | (1 << n)
	:: else
	fi
}

inline mark(i)
{
#ifndef MARK_KEEPS_PUSHED
	pushed[i] = 0;
#endif
	send(i, MARK, seen[i]);
	printf("node %d sends a mark\n", i);
#ifdef HEADER_REVISION
	r[j].if_mod = revision;
#endif
	r[j].attempt = 0;
	r[j].folded = revision
}

inline nothing_to_fold(i)
{
	found = wish[i] == EDIT;
	h = 0;
	do
	:: h == NODES -> break
	:: else ->
		found = found || (registered_as[h] && !(g[agreed[i]].members & (1 << h)));
		h++
	od;
	found = !found
}

inline prepare(i, on)
{
	printf("node %d prepares to put %d in force by hand\n", i, on);
	publishes_its_own = wish[i] != PUBLISH || on == agreed[i];
	assert(publishes_its_own);
	restoring[i] = on;
	epoch_seen[i] = g[seen[i]].epoch;
	if
	:: g[agreed[i]].epoch > epoch_seen[i] -> epoch_seen[i] = g[agreed[i]].epoch
	:: else
	fi;
	h = 0;
	do
	:: h == NODES -> break
	:: else ->
		if
		:: registered_as[h] && g[shows[h]].epoch > epoch_seen[i] ->
			epoch_seen[i] = g[shows[h]].epoch
		:: else
		fi;
		h++
	od;
	state[i] = PREPARING
}

inline fetched(i)
{
	k = fetching[i];
	fetching[i] = 0;
	if
#ifdef PUBLISH_FETCHED
	:: wish[i] == ACCEPT || wish[i] == PUBLISH ->
#else
	:: for_accept[i] && wish[i] == ACCEPT ->
#endif
		prepare(i, k)
	:: else -> follow(i, k)
	fi;
	for_accept[i] = 0
}

inline restore_by_hand(i)
{
	if
	:: pushed_is_seen(i) -> pursue_current(i) /* an earlier attempt was carried out after all */
	:: !pushed_is_seen(i) && wish[i] == PUBLISH ->
		found = agreed[i] == 0;
		h = 0;
		do
		:: h == NODES -> break
		:: else ->
			found = found || (registered_as[h] && newer(shows[h], agreed[i]));
			h++
		od;
		if
		:: found ->
			refuse_wish(i);
			enter_following(i)
		:: else -> prepare(i, agreed[i])
		fi
	:: !pushed_is_seen(i) && wish[i] == ACCEPT ->
		if
		:: current == 0 ->
			refuse_wish(i);
			enter_following(i)
		:: current && current == agreed[i] -> prepare(i, current)
		:: else -> fetch(i, current, 1)
		fi
	fi
}

/* Read and sent in one step: who reads, and sends later, is as one whose request comes late. */
inline take_snapshot(i)
{
	printf("node %d takes a snapshot: %d is in force\n", i, current);
	see_current(i);
	if
	:: wish[i] > EDIT -> restore_by_hand(i)
	:: else ->
		if
		:: current == 0 -> pursue_current(i)
#ifndef FOLD_BEHIND
		:: store_is_behind ->
			behind[i] = 1;
			if
			:: wish[i] -> refuse_wish(i)
			:: else
			fi;
			enter_following(i)
		:: current && !store_is_behind && agreed[i] != current -> fetch(i, current, 0)
#else
		:: current && agreed[i] != current -> fetch(i, current, 0)
#endif
		:: else ->
			nothing_to_fold(i);
			if
			:: found && somebody(waits) -> mark(i)
			:: found && !somebody(waits) -> enter_following(i)
			:: else -> swap(i, agreed[i], 0)
			fi
		fi
	fi
}

inline prepared(i)
{
	if
	:: wish[i] > EDIT && restoring[i] ->
		k = restoring[i];
		restoring[i] = 0;
		swap(i, k, 1)
	:: else ->
		restoring[i] = 0;
		enter_following(i)
	fi
}

/* An event comes, perhaps to one who has read the same or a newer value: found = it is taken. */
inline watch(i)
{
	printf("node %d is shown %d by its watch\n", i, past[watched[i]]);
#ifdef BELIEVE_OLD_EVENTS
	found = true;
#else
	found = past_mod[watched[i]] >= seen_mod[i];
#endif
	if
	:: found ->
		seen[i] = past[watched[i]];
		seen_mod[i] = past_mod[watched[i]];
		seen_folded[i] = past_folded[watched[i]]
	:: else
	fi;
	watched[i]++
}

inline watch_while_preparing(i)
{
	watch(i);
#ifndef PREPARE_UNREAD
	if
	:: found && wish[i] > EDIT ->
		restoring[i] = 0;
		reread[i] = 1;
		state[i] = SNAPSHOT
	:: found && wish[i] <= EDIT -> enter_following(i)
	:: else
	fi
#endif
}

/* ---- the swap's reply --------------------------------------------------------------------- */

inline forget_request(m)
{
	r[m].kind = NONE;
	r[m].state = 0;
	r[m].attempt = 0;
	r[m].if_current = 0;
	r[m].if_mod = 0;
	r[m].if_folded = 0;
	r[m].base = 0;
	r[m].epoch = 0;
	r[m].sequence = 0;
	r[m].members = 0;
	r[m].edits = 0;
	r[m].folded = 0;
	r[m].store = 0;
	r[m].current = 0;
	r[m].mod = 0;
	r[m].folded_now = 0
}

/* Somebody was quicker; or the transport has sent it twice, and the other one was carried out. */
inline lose(i)
{
	n = r[j].attempt;
#ifdef NO_ELSE_READ
	/* It is not known who: with what was known before, under a new name. */
	seen[i] = r[j].if_current;
	seen_mod[i] = r[j].if_mod;
	seen_folded[i] = r[j].if_folded;
	attempts[i] = attempts[i] & ~(1 << n);
	pushed[i] = 0;
	k = r[j].kind;
	forget_request(j);
	if
	:: k == SWAP -> swap(i, agreed[i], 0)
	:: else -> mark(i)
	fi
#else
	forget_request(j);
#ifdef BELIEVE_LOSS
	attempts[i] = attempts[i] & ~(1 << n);
	pushed[i] = 0;
#endif
	if
	:: agreed[i] == seen[i] -> attempts[i] = 0
	:: else
	fi;
	if
	:: pushed_is_seen(i) -> pursue_current(i)
	:: else ->
		pushed[i] = 0;
		if
		:: wish[i] > EDIT -> state[i] = SNAPSHOT
		:: else -> pursue_current(i)
		fi
	fi
#endif
}

inline take_reply(i)
{
	j = slot(i, 0);
	printf("node %d has its reply (2 done, 3 lost): %d\n", i, r[j].state);
	seen[i] = r[j].current;
	seen_mod[i] = r[j].mod;
	seen_folded[i] = r[j].folded_now;
	if
	:: r[j].state == DONE ->
		forget_request(j);
		if
		:: pushed[i] ->
			n = pushed[i];
			accept_pushed(i)
		:: else
		fi;
		go_on(i)
	:: else -> lose(i)
	fi
}

/* Who sent it does not wait any more; it may still be carried out. */
inline leave_request(i)
{
	j = slot(i, 0);
	if
	:: r[j].state == SENT ->
		k = 1;
		do
		:: k == SLOTS || r[slot(i, k)].kind == NONE -> break
		:: else -> k++
		od;
		model_is_large_enough = k < SLOTS;
		assert(model_is_large_enough);
		h = slot(i, k);
		r[h].kind = r[j].kind;
		r[h].state = SENT;
		r[h].attempt = r[j].attempt;
		r[h].if_current = r[j].if_current;
		r[h].if_mod = r[j].if_mod;
		r[h].if_folded = r[j].if_folded;
		r[h].base = r[j].base;
		r[h].epoch = r[j].epoch;
		r[h].sequence = r[j].sequence;
		r[h].members = r[j].members;
		r[h].edits = r[j].edits;
		r[h].folded = r[j].folded;
		r[h].store = r[j].store
	:: else
	fi
}

inline give_up(i)
{
	printf("node %d waits no longer for its reply\n", i);
	leave_request(i);
#ifdef RESEND
	r[j].state = SENT;
	r[j].current = 0;
	r[j].mod = 0;
	r[j].folded_now = 0
#else
	forget_request(j);
	state[i] = READING
#endif
}

/* ---- a node's life ------------------------------------------------------------------------- */

inline crash(i)
{
	printf("node %d dies\n", i);
	leave_request(i);
	forget_request(slot(i, 0));
	state[i] = DOWN;
	seen[i] = 0;
	seen_mod[i] = 0;
	seen_folded[i] = 0;
	fetching[i] = 0;
	for_accept[i] = 0;
	registered[i] = 0;
	held[i] = 0;
	behind[i] = 0;
	rewrite[i] = 0;
	gap[i] = 0;
	reread[i] = 0;
	watched[i] = 0;
	pushed[i] = 0;
	attempts[i] = 0;
	wish[i] = NONE;
	restoring[i] = 0;
	epoch_seen[i] = 0
}

#define is_up(i) (state[i] != DOWN && state[i] != OUT)
#define may_fold(i) (agreed[i] && !held[i] && registered[i])
#define missed(i) (!gap[i] && watched[i] != happened)

proctype node(byte i)
{
end:	do
	:: d_step { state[i] == READING -> read(i) }
	:: d_step { state[i] == REGISTERING -> register(i) }
	:: d_step { state[i] == FETCHING -> fetched(i) }
	:: d_step { state[i] == SNAPSHOT -> take_snapshot(i) }
	:: d_step { state[i] == PREPARING -> prepared(i) }
	:: d_step { state[i] == PREPARING && missed(i) -> watch_while_preparing(i) }
	:: d_step { state[i] == SWAPPING && (r[slot(i, 0)].state == DONE ||
					      r[slot(i, 0)].state == LOST) -> take_reply(i) }
	:: d_step { state[i] == SWAPPING && give_ups && r[slot(i, 0)].state != GONE ->
		give_ups--;
		give_up(i) }
	:: d_step { state[i] == SWAPPING && r[slot(i, 0)].state == GONE ->
		forget_request(slot(i, 0));
		state[i] = READING }
	/* Following: the watch, what waits, and looks that would show something new. */
	:: d_step { state[i] == FOLLOWING && missed(i) ->
		watch(i);
		if
		:: found -> pursue_current(i)
		:: else
		fi }
	:: d_step { state[i] == FOLLOWING && wish[i] > EDIT -> state[i] = SNAPSHOT }
	:: d_step { state[i] == FOLLOWING && wish[i] == EDIT && held[i] -> refuse_wish(i) }
	:: d_step { state[i] == FOLLOWING && wish[i] == EDIT && !held[i] ->
		if
		:: may_fold(i) -> state[i] = SNAPSHOT
		:: else -> state[i] = READING
		fi }
	:: d_step { state[i] == FOLLOWING && may_fold(i) && !store_is_behind && somebody(waits) ->
		state[i] = SNAPSHOT }
	:: d_step { state[i] == FOLLOWING && (gap[i] || reread[i] || registered[i] != stands(i) ||
		    (!held[i] && behind[i] != store_is_behind)) -> state[i] = READING }
	/* From outside. */
	:: d_step { is_up(i) && !wish[i] && (editors & (1 << i)) ->
		editors = editors & ~(1 << i);
		printf("an operator edits at node %d\n", i);
		wish[i] = EDIT }
	:: atomic { is_up(i) && !wish[i] && persons && (store || !RESTORES) ->
		persons--;
		if
		:: d_step {
			printf("a person says accept at node %d\n", i);
			wish[i] = ACCEPT }
#if RESTORES
		:: d_step {
			printf("a person says publish at node %d\n", i);
			wish[i] = PUBLISH }
#endif
		fi }
	:: d_step { expiries && wish[i] ->
		expiries--;
		refuse_wish(i) }
	:: d_step { is_up(i) && crashes ->
		crashes--;
		crash(i) }
	:: d_step { state[i] == DOWN ->
		printf("node %d starts again\n", i);
		incarnation[i]++;
		state[i] = READING }
	:: state[i] == DOWN -> state[i] = OUT
	od
}

/* ---- the store's life ----------------------------------------------------------------------- */

inline put_in_force(m)
{
	model_is_large_enough = made < GENERATIONS;
	assert(model_is_large_enough);
	g[made].parent = r[m].base;
	g[made].epoch = r[m].epoch;
	g[made].sequence = r[m].sequence;
	g[made].author = m / SLOTS + 1;
	g[made].attempt = r[m].attempt;
	g[made].members = r[m].members;
	g[made].edits = g[r[m].base].edits + (r[m].edits << (2 * (m / SLOTS)));
	g[made].store = r[m].store;
	done_at_most_once = made_edit(made, m / SLOTS) <= 1;
	assert(done_at_most_once);
	current = made;
	made++
}

inline note_event()
{
	model_is_large_enough = happened < EVENTS;
	assert(model_is_large_enough);
	past[happened] = current;
	past_mod[happened] = mod;
	past_folded[happened] = folded;
	happened++
}

inline carry_out(m)
{
	printf("the store carries out or refuses swap %d (0: a mark) of node %d\n", r[m].attempt,
	       m / SLOTS);
	if
	:: r[m].if_mod == mod && r[m].if_current == current && r[m].if_folded == folded ->
		revision++;
		if
		:: r[m].kind == SWAP -> put_in_force(m)
		:: else
		fi;
		mod = revision;
		folded = r[m].folded;
		note_event();
		r[m].state = DONE
	:: else -> r[m].state = LOST
	fi;
	if
	:: m % SLOTS -> forget_request(m)
	:: else ->
		r[m].current = current;
		r[m].mod = mod;
		r[m].folded_now = folded
	fi
}

inline save()
{
	printf("a backup is taken: %d is in force\n", current);
	saved_current = current;
	saved_mod = mod;
	saved_folded = folded;
	saved_revision = revision;
	h = 0;
	do
	:: h == NODES -> break
	:: else ->
		saved_as[h] = registered_as[h];
		saved_at[h] = registered_at[h];
		saved_shows[h] = shows[h];
		h++
	od;
	saved = 1
}

/*
 * Without a backup: to nothing. What waits at the old store is gone with it; all watches break.
 */
inline restore()
{
	printf("the store is restored: %d is in force\n", saved_current);
	current = saved_current;
	mod = saved_mod;
	folded = saved_folded;
	revision = saved_revision;
	h = 0;
	do
	:: h == NODES -> break
	:: else ->
		registered_as[h] = saved_as[h];
		registered_at[h] = saved_at[h];
		shows[h] = saved_shows[h];
		gap[h] = is_up(h);
		watched[h] = 0;
		saved_as[h] = 0;
		saved_at[h] = 0;
		saved_shows[h] = 0;
		h++
	od;
	saved = 0;
	saved_current = 0;
	saved_mod = 0;
	saved_folded = 0;
	saved_revision = 0;
	do
	:: happened == 0 -> break
	:: else ->
		happened--;
		past[happened] = 0;
		past_mod[happened] = 0;
		past_folded[happened] = 0
	od;
#ifndef LATE_ACROSS
	h = 0;
	do
	:: h == NODES * SLOTS -> break
	:: else ->
		if
		:: r[h].state == SENT && h % SLOTS -> forget_request(h)
		:: r[h].state == SENT && h % SLOTS == 0 -> r[h].state = GONE
		:: else
		fi;
		h++
	od;
#endif
	restores--;
	store++
}

#define path(m)	:: d_step { r[m].state == SENT -> carry_out(m) } \
		:: d_step { m % SLOTS && r[m].state == SENT -> forget_request(m) }
#define lease(i) :: d_step { registered_as[i] && !is_up(i) -> registered_as[i] = 0 } \
		:: d_step { registered_as[i] && is_up(i) && lapses -> \
			lapses--; \
			registered_as[i] = 0 }

proctype etcd()
{
end:	do
	path(0) path(1) lease(0) lease(1)
#if NODES > 2
	lease(2)
#endif
#if NODES * SLOTS > 2
	path(2)
#endif
#if NODES * SLOTS > 3
	path(3)
#endif
#if NODES * SLOTS > 4
	path(4) path(5)
#endif
#if NODES * SLOTS > 6
	path(6) path(7)
#endif
#if NODES * SLOTS > 8
	path(8)
#endif
#if NODES * SLOTS > 9
#error "more requests than etcd() has paths for"
#endif
	:: d_step { restores && !saved -> save() }
	:: d_step { restores -> restore() }
	od
}

/* ---- the end -------------------------------------------------------------------------------- */

inline check_end()
{
	h = 0;
	do
	:: h == NODES -> break
	:: else ->
		/* A restored store is nobody's until a person has spoken. */
		all_agree_in_the_end = !is_up(h) || (store && g[current].store != store) ||
			(state[h] == FOLLOWING && agreed[h] == current && !held[h] && !behind[h] &&
			 !wish[h] && (g[current].members & (1 << h)));
		assert(all_agree_in_the_end);
		acknowledged_is_in_force =
			store || told[h] != TOLD_DONE || made_edit(current, h) == 1;
		assert(acknowledged_is_in_force);
		undone_is_not_in_force = told[h] != TOLD_UNDONE || made_edit(current, h) == 0;
		assert(undone_is_not_in_force);
		h++
	od
}

/* When nothing can happen any more. */
proctype observer()
{
	timeout -> d_step { check_end(); skip }
}

init
{
	d_step {
		g[1].epoch = 1;
		g[1].sequence = 1;
		g[1].members = EVERYBODY & ~JOINERS;
		g[1].acted = 1;
		current = 1;
		mod = 1;
		revision = 1;
		folded = 1;
		h = 0;
		do
		:: h == NODES -> break
		:: else ->
			incarnation[h] = 1;
			if
			:: JOINERS & (1 << h) -> state[h] = READING
			:: else ->
				registered_as[h] = 1;
				registered_at[h] = 1;
				shows[h] = 1;
				registered[h] = 1;
				agreed[h] = 1;
				seen[h] = 1;
				seen_mod[h] = 1;
				watched[h] = happened;
				seen_folded[h] = 1;
				state[h] = FOLLOWING
			fi;
			h++
		od
	}
	atomic {
		run etcd();
		run observer();
		h = 0;
		do
		:: h == NODES -> break
		:: else ->
			run node(h);
			h++
		od
	}
}
