/* SPDX-License-Identifier: MIT */
/*
 * Internal to the checks: what their rules share. A rule reports all that it
 * finds and returns nothing. Only validate*.c include this.
 */
#ifndef CMSNODE_CONFIG_VALIDATE_INTERNAL_H
#define CMSNODE_CONFIG_VALIDATE_INTERNAL_H

#include <stddef.h>

#include "cmsnode/config/document.h"
#include "cmsnode/config/validate.h"

#define add_error(findings, key, ...) findings_add((findings), true, (key), __VA_ARGS__)
#define add_warning(findings, key, ...) findings_add((findings), false, (key), __VA_ARGS__)

struct validation {
	const struct value *document;
	const struct validate_context *context; /* never NULL */
	struct findings *findings;
};

/* A value in a message: masked, and cut to a size that fits a sentence; the caller frees. */
char *validate_shown(const char *path, const struct value *value);

/* ---- the services table ---- */

/* The well-formed entry (service, shard), or NULL. */
const struct value *validate_entry(const struct value *document, const char *service, size_t shard);
size_t validate_list_len(const struct value *list); /* 0 if it is none */
size_t validate_shard_count(const struct value *document, const char *service);

/* ---- rules, one file each ---- */

void validate_keys(const struct validation *validation); /* known, and of the right type */
void validate_services(const struct validation *validation); /* the table, and who must be there */
void validate_ports(const struct validation *validation); /* distinct, in range, not borrowed */
void validate_hosts(const struct validation *validation); /* how hosts are written */
void validate_secrets(const struct validation *validation); /* strong enough, and not published */

#endif
