/* SPDX-License-Identifier: MIT */
/*
 * Who this node is: the decision and the rules of names and hosts. Never reads
 * a file, a clock or random bytes; the caller brings them.
 */
#include "cmsnode/identity/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/machine_facts.h"

const char *identity_source_name(enum identity_source source)
{
	static const char *const names[] = {
		[IDENTITY_OPTION] = "option",
		[IDENTITY_STATE_FILE] = "state-file",
		[IDENTITY_RANDOM] = "random",
	};

	return names[source];
}

int identity_validate(char *id, struct err *err)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";

	str_lower(id);
	const size_t good = strspn(id, rest);
	if (good == 0 || strspn(id, first) == 0)
		return err_set(err, -EINVAL, "'%.80s' must begin with a letter or a digit", id);
	if (id[good])
		return err_set(err, -EINVAL, "'%.80s' may hold only letters, digits, '.' and '-'",
			       id);
	if (good > NODE_ID_MAX)
		return err_set(err, -EINVAL, "'%.80s...' is longer than %d characters", id,
			       NODE_ID_MAX);
	return 0;
}

/* Copies a checked, lower-cased `name` into ret. */
static int take_name(const char *name, const char *what, char ret[NODE_ID_MAX + 1], struct err *err)
{
	CLEAN(str) char *copy = xstrdup(name);

	if (identity_validate(copy, err) < 0)
		return err_set(err, ERR_USAGE, "%s: %s", what, err ? err->msg : "");
	memcpy(ret, copy, strlen(copy) + 1);
	return 0;
}

static int decide_base(const char *option, const char *saved, const uint8_t random[8],
		       struct identity *identity, struct err *err)
{
	if (option) {
		identity->source = IDENTITY_OPTION;
		return take_name(option, "node id", identity->base, err);
	}
	if (saved) {
		identity->source = IDENTITY_STATE_FILE;
		return take_name(saved, "saved node id", identity->base, err);
	}
	char digits[17];

	str_hex(random, 8, digits);
	(void)snprintf(identity->base, sizeof(identity->base), "n-%s", digits);
	identity->source = IDENTITY_RANDOM;
	identity->must_save = true;
	return 0;
}

int identity_decide(const char *option, const char *instance, const char *saved,
		    const uint8_t random[8], struct identity *ret, struct err *err)
{
	struct identity identity = { 0 };
	char name[NODE_ID_MAX + 1] = "";
	int r = decide_base(option, saved, random, &identity, err);
	if (r == 0 && instance)
		r = take_name(instance, "instance", name, err);
	if (r < 0)
		return r;
	/* Room for both and the point, so that a result that is too long is seen as such. */
	char whole[2 * sizeof(name)];
	const int n =
		snprintf(whole, sizeof(whole), "%s%s%s", identity.base, instance ? "." : "", name);
	if (n > NODE_ID_MAX)
		return err_set(
			err, ERR_USAGE,
			"node id '%s' is longer than %d characters: choose a shorter --instance "
			"or --node-id",
			whole, NODE_ID_MAX);
	memcpy(identity.id, whole, (size_t)n + 1);
	*ret = identity;
	return 0;
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* Declared with the facts; it is here since the agreement, which is pure, asks it too. */
bool machine_facts_same_host(const char *boot_a, const char *netns_a, const char *uuid_a,
			     const char *boot_b, const char *netns_b, const char *uuid_b)
{
	if (strcmp(or_empty(boot_a), or_empty(boot_b)) != 0 ||
	    strcmp(or_empty(netns_a), or_empty(netns_b)) != 0)
		return false;
	return !*or_empty(uuid_a) || !*or_empty(uuid_b) || strcmp(uuid_a, uuid_b) == 0;
}
