/* SPDX-License-Identifier: MIT */
/*
 * Drives the agreement's state machine: carries its actions out on a store, its
 * one timer on the loop, and brings replies and watch news back. Also keeps this
 * node's status/<id> in the store, written only when it changes.
 */
#ifndef CMSNODE_AGREEMENT_AGREEMENT_DRIVER_H
#define CMSNODE_AGREEMENT_AGREEMENT_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

struct agreement;
struct agreement_driver;
struct agreement_settings;
struct edits;
struct ev_loop;
struct registration;
struct store;
struct store_kvs;
struct str_list;

struct agreement_driver_events {
	void (*agreed)(void *ctx);	/* agreement_agreed() is a new generation */
	void (*changed)(void *ctx);	/* anything else that status shows may have changed */
	void (*left)(void *ctx);	/* agreement_driver_stop() is through */
	/*
	 * Another live host has our address: choose another, if there is one. And: it was
	 * proven to live, or our id is registered by a proven live twin. The driver may not
	 * be freed from within, nor given a new registration.
	 */
	void (*contested)(void *ctx, const char *text);
	void (*refused)(void *ctx, bool is_twin, const char *text);
	void *ctx;
};

struct agreement_driver *agreement_driver_new(struct ev_loop *loop, struct store *store,
					      const struct agreement_settings *settings,
					      const struct registration *self,
					      const struct agreement_driver_events *events);
/* the store, which is not freed here, must be gone already: it may not answer any more */
void agreement_driver_free(struct agreement_driver *driver);

const struct agreement *agreement_driver_agreement(const struct agreement_driver *driver);

void agreement_driver_start(struct agreement_driver *driver);
void agreement_driver_set_registration(struct agreement_driver *driver,
				       const struct registration *self);

/*
 * code 0 and the generation's name, or an err code and why. Called exactly once unless the driver
 * is freed first.
 */
typedef void agreement_edited_fn(void *ctx, int code, const char *text);
void agreement_driver_edit(struct agreement_driver *driver, const struct edits *edits,
			   const char *author,
			   const char *reason, agreement_edited_fn *done, void *ctx);

/*
 * A person ends a disagreement: publish = the store shall hold what this node agreed to last; else
 * everybody follows what the store holds. `done` as above.
 */
void agreement_driver_restore(struct agreement_driver *driver, bool publish, const char *author,
			      const char *reason, agreement_edited_fn *done, void *ctx);

/* Tells the store that we stop in order, at most 1 s; then events.left. */
void agreement_driver_stop(struct agreement_driver *driver);

/* What status/<id> shall say (copied); written within a second, once registered. */
void agreement_driver_set_status(struct agreement_driver *driver, const char *json);

/*
 * Reads keys for people, at one revision: each path below the prefix ("current", "status/": with a
 * slash at the end, all keys below it). `done` gets one answer a path, borrowed during the call; or
 * NULL and the reason if the store does not answer. Called exactly once unless the driver is freed
 * first.
 */
typedef void agreement_read_fn(void *ctx, const struct store_kvs *ranges, size_t len,
			       const char *trouble);
void agreement_driver_read(struct agreement_driver *driver, const struct str_list *paths,
			   agreement_read_fn *done, void *ctx);

#endif
