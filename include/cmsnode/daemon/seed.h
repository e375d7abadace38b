/* SPDX-License-Identifier: MIT */
/*
 * The configuration file that an operator brings (--seed-config, --standalone FILE) as a first
 * generation.
 */
#ifndef CMSNODE_DAEMON_SEED_H
#define CMSNODE_DAEMON_SEED_H

struct err;
struct generation;
struct options;
struct value;

/*
 * *ret is NULL if no file is named. ERR_CONFIG with file, line and reason if it
 * cannot be read, does not parse or would not let CMS start.
 */
int seed_read(const struct options *options, struct generation **ret, struct err *err);

/* The standalone file as a canonical document, checked as above; the caller frees. */
int seed_read_document(const struct options *options, struct value **ret, struct err *err);

/* SHA-256 of the standalone file as it is now. ERR_CONFIG if it cannot be read. */
int seed_digest(const struct options *options, char ret[65], struct err *err);

#endif
