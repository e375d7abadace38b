/* SPDX-License-Identifier: MIT */
/*
 * Who this node is. Sources in order: option, state file (unless the disk was
 * cloned), EC2 instance id, machine-id, random. The decision is pure: facts,
 * file and random bytes are brought by the caller, in these steps:
 *
 *     identity_file_load()          what was kept, and the machine it was kept on
 *     machine_facts_read(), machine_facts_macs()
 *     identity_is_settled()?        no: imds_instance_id()
 *     identity_choose()
 *     identity_record_make(), identity_file_save()     if must_save
 */
#ifndef CMSNODE_IDENTITY_IDENTITY_H
#define CMSNODE_IDENTITY_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "cmsnode/base/str.h"

struct err;

#define NODE_ID_MAX 63
#define IDENTITY_MACS_MAX 64	/* permanent MACs that a state file is bound to */

enum identity_source {
	IDENTITY_OPTION,
	IDENTITY_STATE_FILE,
	IDENTITY_EC2,
	IDENTITY_MACHINE_ID,
	IDENTITY_RANDOM
};

/* "option", "state-file", "ec2", "machine-id", "random" */
const char *identity_source_name(enum identity_source source);

/* What the state file keeps: a base id and the machine that it belongs to. */
struct identity_record {
	char id[NODE_ID_MAX + 1];	/* without the instance; "" = there is no file */
	/* where the id came from at first; IDENTITY_STATE_FILE if the file does not say */
	enum identity_source source;
	char product_uuid[40];		/* "" = could not be read then */
	struct str_list macs;		/* permanent ones; empty = none could be read then */
	double created_at;		/* s since the epoch; 0 = now */
};

void identity_record_fini(struct identity_record *record);
static inline void clean_identity_record(struct identity_record *record)
{
	identity_record_fini(record);
}

/* All borrowed. Every text may be NULL, which is as "": not given, not readable. */
struct identity_question {
	const char *option;			/* --node-id */
	const char *instance;			/* --instance */
	const struct identity_record *saved;	/* NULL is as one with id "" */
	const char *product_uuid;		/* of this machine, now */
	const struct str_list *macs;		/* its permanent MACs, now; NULL is as empty */
	const char *ec2_instance;		/* "i-0123456789abcdef0" */
	const char *ec2_why;			/* phrase: where it is from, or why there is none */
	const char *machine_id;			/* NULL also if it must not be used */
	const char *machine_id_why;		/* phrase: why it is NULL */
	uint8_t random[8];
};

struct identity {
	char id[NODE_ID_MAX + 1];
	char base[NODE_ID_MAX + 1];	/* the id without the instance: what the state file keeps */
	enum identity_source source;
	/* the state file is to be written: the id is new, or a fact was unreadable before or is */
	bool must_save;
	bool cloned;		/* the state file belongs to another machine: tell it loudly */
	char reason[512];	/* for `explain` and, if cloned, for the log */
};

/* [a-z0-9][a-z0-9.-]{0,62}; in place lower-cased first. 0 or -EINVAL with the reason. */
int identity_validate(char *id, struct err *err);

/*
 * Option or state file decide, so nothing else needs to be asked (EC2's metadata
 * service may take a second to say nothing).
 */
bool identity_is_settled(const struct identity_question *question);

/*
 * The disk was cloned if the product uuid could be read both times and differs;
 * if it could not, if permanent MACs could be read both times and none is common.
 * A cloned state file is not used, and neither is the machine-id then, which was
 * cloned with it. "m-" and 16 hex digits of an HMAC of the machine-id; "n-" and the
 * random bytes in hex. An option is never written to the state file.
 * id = base or base.instance, lower case, at most NODE_ID_MAX long. 0 or
 * ERR_USAGE; *ret is filled only on success.
 */
int identity_choose(const struct identity_question *question, struct identity *ret,
		    struct err *err);

/*
 * What is to be saved after identity_choose(): the base, bound to the facts that
 * are readable now, and for an id that was kept to those of the file that are
 * not. The caller calls identity_record_fini().
 */
void identity_record_make(const struct identity_question *question, const struct identity *identity,
			  struct identity_record *ret);

#endif
