/* SPDX-License-Identifier: MIT */
/*
 * Who this node is. Sources in order: option, state file, random (kept in the
 * state file). Decision pure; the file is identity_file's.
 */
#ifndef CMSNODE_IDENTITY_IDENTITY_H
#define CMSNODE_IDENTITY_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define NODE_ID_MAX 63

enum identity_source { IDENTITY_OPTION, IDENTITY_STATE_FILE, IDENTITY_RANDOM };

struct identity {
	char id[NODE_ID_MAX + 1];
	char base[NODE_ID_MAX + 1];	/* the id without the instance: what the state file keeps */
	enum identity_source source;
	bool must_save;			/* write `base` to the state file (it is new and random) */
};

/* "option", "state-file", "random" */
const char *identity_source_name(enum identity_source source);

/* [a-z0-9][a-z0-9.-]{0,62}; in place lower-cased first. 0 or -EINVAL with the reason. */
int identity_validate(char *id, struct err *err);

/*
 * `option` (--node-id, may be NULL), `instance` (may be NULL), `saved` (from the
 * state file, NULL if there is none: the base, without instance), `random` 8
 * bytes ("n-" and their 16 hex digits). id = base or base.instance, lower case,
 * at most NODE_ID_MAX long. 0 or ERR_USAGE; *ret is filled only on success.
 */
int identity_decide(const char *option, const char *instance, const char *saved,
		    const uint8_t random[8], struct identity *ret, struct err *err);

#endif
