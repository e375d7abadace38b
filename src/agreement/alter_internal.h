/* SPDX-License-Identifier: MIT */
/* Internal to alter: what the files of the operators' edits share. Only alter_*.c include this. */
#ifndef CMSNODE_AGREEMENT_ALTER_INTERNAL_H
#define CMSNODE_AGREEMENT_ALTER_INTERNAL_H

#include "cmsnode/agreement/alter.h"

struct slot;

#define ALTER_SLOTS "slots."

/* A slot without its node: {"port"}, {"host","port"}. Caller frees. */
struct value *alter_slot_value(const struct slot *slot);

/* As alter_value() and as one edit of alter_edit(), for paths under ALTER_SLOTS. */
struct value *alter_slots_value(const struct generation *generation, const char *path);
int alter_edit_slots(struct generation *generation, const struct edit *edit, struct err *err);

#endif
