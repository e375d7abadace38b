/* SPDX-License-Identifier: MIT */
/*
 * Keeps the books of a cluster under test, beside the store that it runs on:
 * every generation that was ever in force, every edit and what its operator was
 * told. Ends the program, with a sentence on stderr, as soon as a promise of
 * the agreement is broken:
 *
 *  - what is in force is complete, and follows from what was in force before;
 *  - a node acts only on what was in force;
 *  - no two act on different digests for one (epoch, sequence);
 *  - an edit is carried out once if its operator was told so, never if he was
 *    told the opposite, at most once else; nothing else changes an entry;
 *  - no node loses a slot before its reservation has ended, and what cannot run
 *    twice stays with it even then.
 */
#ifndef CMSNODE_TESTS_AGREEMENT_LEDGER_H
#define CMSNODE_TESTS_AGREEMENT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct edits;
struct generation;
struct ledger;
struct memory_store;

struct ledger *ledger_new(void);
void ledger_free(struct ledger *ledger);

/*
 * Takes in what the store has done since the last look. At most one transaction may have changed
 * `current` meanwhile.
 */
void ledger_look(struct ledger *ledger, struct memory_store *store);

/* A node hands this generation on to be acted upon. */
void ledger_acted(struct ledger *ledger, const char *node, const struct generation *generation);

/*
 * Plans an edit of a policy, chosen by `choice`, to a value that no other edit has, as a node sees
 * it that has agreed to `seen`. The caller ends *ret with edits_fini(). Returns the edit's number.
 */
size_t ledger_plan_edit(struct ledger *ledger, const struct generation *seen, unsigned int choice,
			struct edits *ret);
/* Its operator was told so. */
void ledger_answered(struct ledger *ledger, size_t edit, int code);
/* Nobody is left to tell him. */
void ledger_unanswered(struct ledger *ledger, size_t edit);

/* The store as it is now is backed up; later, `store` holds that again. */
void ledger_backed_up(struct ledger *ledger);
void ledger_restored(struct ledger *ledger, const struct memory_store *store);

bool ledger_is_in_force(const struct ledger *ledger, const struct generation *generation);
/* At rest: this is in force, and the store holds it and what it keeps, nothing else. */
void ledger_check_in_force(const struct ledger *ledger, const char *node,
			   const struct generation *generation);
void ledger_check_directories(const struct ledger *ledger, struct memory_store *store);

/* Once nothing is under way any more: are all edits accounted for? */
void ledger_close(const struct ledger *ledger);

size_t ledger_generations(const struct ledger *ledger);
size_t ledger_edits_done(const struct ledger *ledger); /* whose operator was told so */

/* "promise broken: ..." on stderr, and the end. */
void ledger_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
