/* SPDX-License-Identifier: MIT */
/*
 * Who this node is: the decision and the rules of names and hosts. Never reads
 * a file, a clock or random bytes; the caller brings them.
 */
#include "cmsnode/identity/identity.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/machine_facts.h"
#include "cmsnode/network/interfaces.h"

/*
 * The machine-id is not to be shown to others, says machine-id(5), but hashed
 * with a key of the application. Changing a byte here renames every such node.
 */
#define MACHINE_ID_KEY "cmsnoded node id, version 1"

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

static bool given(const char *s)
{
	return s && *s;
}

/* ---- names ------------------------------------------------------------- */

const char *identity_source_name(enum identity_source source)
{
	static const char *const names[] = {
		[IDENTITY_OPTION] = "option", [IDENTITY_STATE_FILE] = "state-file",
		[IDENTITY_EC2] = "ec2",	      [IDENTITY_MACHINE_ID] = "machine-id",
		[IDENTITY_RANDOM] = "random",
	};

	return names[source];
}

void identity_record_fini(struct identity_record *record)
{
	str_list_fini(&record->macs);
	*record = (struct identity_record){ 0 };
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
	struct err reason;

	if (identity_validate(copy, &reason) < 0)
		return err_set(err, ERR_USAGE, "%s: %s", what, reason.msg);
	memcpy(ret, copy, strlen(copy) + 1);
	return 0;
}

/* ---- is this the machine that the state file was written on? ------------- */

enum machine_match { MATCH_UNKNOWN, MATCH_UUID, MATCH_MAC, OTHER_UUID, OTHER_MACS };

static bool have_common(const struct str_list *a, const struct str_list *b)
{
	for (size_t i = 0; i < a->len; i++)
		if (str_list_has(b, a->items[i]))
			return true;
	return false;
}

static bool is_empty(const struct str_list *list)
{
	return !list || list->len == 0;
}

/* A fact counts only if both sides have it: what is unreadable proves nothing. */
static enum machine_match compare_machines(const char *uuid_a, const struct str_list *macs_a,
					   const char *uuid_b, const struct str_list *macs_b)
{
	if (given(uuid_a) && given(uuid_b))
		return strcmp(uuid_a, uuid_b) == 0 ? MATCH_UUID : OTHER_UUID;
	if (!is_empty(macs_a) && !is_empty(macs_b))
		return have_common(macs_a, macs_b) ? MATCH_MAC : OTHER_MACS;
	return MATCH_UNKNOWN;
}

static bool is_other(enum machine_match match)
{
	return match == OTHER_UUID || match == OTHER_MACS;
}

static enum machine_match match_of(const struct identity_question *question)
{
	const struct identity_record *saved = question->saved;

	return compare_machines(saved->product_uuid, &saved->macs, question->product_uuid,
				question->macs);
}

static bool has_saved(const struct identity_question *question)
{
	return question->saved && *question->saved->id;
}

bool identity_is_settled(const struct identity_question *question)
{
	return question->option || (has_saved(question) && !is_other(match_of(question)));
}

/*
 * Does this machine show a fact that the file lacks? A MAC that is away for now
 * (a driver that loads late) is no reason to forget it, so that it can match again.
 */
static bool has_news(const struct identity_question *question)
{
	const struct identity_record *saved = question->saved;

	if (given(question->product_uuid) && !*saved->product_uuid)
		return true;
	for (size_t i = 0; question->macs && i < question->macs->len; i++)
		if (i < IDENTITY_MACS_MAX && !str_list_has(&saved->macs, question->macs->items[i]))
			return true;
	return false;
}

/* ---- the sources ---------------------------------------------------------- */

static void say(struct identity *identity, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Adds to the reason; what is too long is cut. */
static void say(struct identity *identity, const char *fmt, ...)
{
	const size_t len = strlen(identity->reason);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(identity->reason + len, sizeof(identity->reason) - len, fmt, args);
	va_end(args);
}

static int take_option(const struct identity_question *question, struct identity *ret,
		       struct err *err)
{
	ret->source = IDENTITY_OPTION;
	say(ret, "given with --node-id");
	return take_name(question->option, "node id", ret->base, err);
}

static int take_saved(const struct identity_question *question, struct identity *ret,
		      struct err *err)
{
	static const char *const evidence[] = {
		[MATCH_UNKNOWN] = "no fact about the machine could be compared",
		[MATCH_UUID] = "product uuid as before",
		[MATCH_MAC] = "a permanent MAC as before",
		[OTHER_UUID] = "",
		[OTHER_MACS] = "",
	};
	const struct identity_record *saved = question->saved;

	ret->source = IDENTITY_STATE_FILE;
	ret->must_save = has_news(question);
	say(ret, "kept in the state directory");
	if (saved->source != IDENTITY_STATE_FILE)
		say(ret, " (at first from source '%s')", identity_source_name(saved->source));
	say(ret, "; %s", evidence[match_of(question)]);
	return take_name(saved->id, "saved node id", ret->base, err);
}

static void derive_from_machine_id(const char *machine_id, char ret[NODE_ID_MAX + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	unsigned int len = 0;
	char digits[17];

	(void)HMAC(EVP_sha256(), MACHINE_ID_KEY, sizeof(MACHINE_ID_KEY) - 1,
		   (const unsigned char *)machine_id, strlen(machine_id), digest, &len);
	str_hex(digest, 8, digits);
	(void)snprintf(ret, NODE_ID_MAX + 1, "m-%s", digits);
}

static void make_random(const struct identity_question *question, bool cloned, struct identity *ret)
{
	char digits[17];

	str_hex(question->random, sizeof(question->random), digits);
	(void)snprintf(ret->base, sizeof(ret->base), "n-%s", digits);
	ret->source = IDENTITY_RANDOM;
	say(ret, "made at random and kept from now on; no EC2 instance id: %s; no machine-id: %s",
	    question->ec2_why ? question->ec2_why : "not looked for",
	    cloned		     ? "cloned with the disk" :
	    question->machine_id_why ? question->machine_id_why :
				       "not looked for");
}

static int take_new(const struct identity_question *question, bool cloned, struct identity *ret,
		    struct err *err)
{
	ret->must_save = true;
	if (given(question->ec2_instance)) {
		ret->source = IDENTITY_EC2;
		say(ret, "EC2 instance id, %s", question->ec2_why ? question->ec2_why : "as given");
		return take_name(question->ec2_instance, "EC2 instance id", ret->base, err);
	}
	if (given(question->machine_id) && !cloned) {
		ret->source = IDENTITY_MACHINE_ID;
		say(ret, "derived from /etc/machine-id and kept from now on");
		derive_from_machine_id(question->machine_id, ret->base);
		return 0;
	}
	make_random(question, cloned, ret);
	return 0;
}

static void say_cloned(const struct identity_question *question, struct identity *ret)
{
	const struct identity_record *saved = question->saved;

	if (match_of(question) == OTHER_UUID)
		say(ret, "the disk was cloned: product uuid was %s, is %s", saved->product_uuid,
		    question->product_uuid);
	else
		say(ret, "the disk was cloned: permanent MACs were %s%s, are %s%s",
		    saved->macs.items[0], saved->macs.len > 1 ? ", ..." : "",
		    question->macs->items[0], question->macs->len > 1 ? ", ..." : "");
	say(ret,
	    "; a new id was taken instead of '%s' (is it the same node after a repair: "
	    "--node-id %s): ",
	    saved->id, saved->id);
}

/*
 * EC2 may change the byte order of the product uuid together with the instance's
 * type; the instance id stays. What derives to the saved id is no clone.
 */
static bool is_clone(const struct identity_question *question)
{
	return has_saved(question) && is_other(match_of(question)) &&
	       strcmp(question->saved->id, or_empty(question->ec2_instance)) != 0;
}

static int choose_base(const struct identity_question *question, struct identity *ret,
		       struct err *err)
{
	if (question->option)
		return take_option(question, ret, err);
	if (identity_is_settled(question))
		return take_saved(question, ret, err);
	ret->cloned = is_clone(question);
	if (ret->cloned)
		say_cloned(question, ret);
	return take_new(question, ret->cloned, ret, err);
}

int identity_choose(const struct identity_question *question, struct identity *ret, struct err *err)
{
	struct identity identity = { 0 };
	char name[NODE_ID_MAX + 1] = "";
	int r = choose_base(question, &identity, err);
	if (r == 0 && question->instance)
		r = take_name(question->instance, "instance", name, err);
	if (r < 0)
		return r;
	/* Room for both and the point, so that a result that is too long is seen as such. */
	char whole[2 * sizeof(name)];
	const int n = snprintf(whole, sizeof(whole), "%s%s%s", identity.base,
			       question->instance ? "." : "", name);
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

/* ---- what is kept ----------------------------------------------------------- */

static void copy_macs(const struct str_list *from, struct str_list *to)
{
	for (size_t i = 0; i < from->len && i < IDENTITY_MACS_MAX; i++)
		str_list_add(to, from->items[i]);
}

void identity_record_make(const struct identity_question *question, const struct identity *identity,
			  struct identity_record *ret)
{
	const bool kept = identity->source == IDENTITY_STATE_FILE;
	const struct identity_record *old = kept ? question->saved : NULL;
	struct identity_record record = { .source = old ? old->source : identity->source,
					  .created_at = old ? old->created_at : 0 };
	const char *uuid = or_empty(question->product_uuid);

	if (old && !*uuid)
		uuid = old->product_uuid;
	memcpy(record.id, identity->base, sizeof(record.id));
	(void)snprintf(record.product_uuid, sizeof(record.product_uuid), "%s", uuid);
	if (!is_empty(question->macs))
		copy_macs(question->macs, &record.macs);
	else if (old)
		copy_macs(&old->macs, &record.macs);
	*ret = record;
}

/* ---- facts about machines ------------------------------------------------ */

/*
 * Declared with the facts; they are here since the agreement, which is pure, asks
 * them, too.
 */

static bool is_lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* 'x' in the shape is a hex digit, all else itself. */
static bool has_shape(const char *text, const char *shape)
{
	if (strlen(text) != strlen(shape))
		return false;
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == 'x' ? !is_lower_hex(text[i]) : text[i] != shape[i])
			return false;
	return true;
}

bool machine_facts_is_uuid(const char *text)
{
	return has_shape(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") &&
	       text[strspn(text, "0-")] && text[strspn(text, "f-")];
}

bool machine_facts_is_mac(const char *text)
{
	return has_shape(text, "xx:xx:xx:xx:xx:xx") || has_shape(text, "xx:xx:xx:xx:xx:xx:xx:xx");
}

static void format_mac(const struct interface_link *link, char ret[24])
{
	char digits[2 * sizeof(link->mac) + 1];
	char *to = ret;

	str_hex(link->mac, link->mac_len, digits);
	for (const char *digit = digits; *digit; digit += 2) {
		if (to > ret)
			*to++ = ':';
		*to++ = digit[0];
		*to++ = digit[1];
	}
	*to = '\0';
}

void machine_facts_macs(const struct interfaces *interfaces, struct str_list *ret)
{
	str_list_fini(ret);
	for (size_t i = 0; i < interfaces->links_len; i++) {
		const struct interface_link *link = &interfaces->links[i];
		char text[24];

		if (!link->mac_permanent || (link->mac_len != 6 && link->mac_len != 8))
			continue;
		format_mac(link, text);
		if (text[strspn(text, "0:")] && !str_list_has(ret, text))
			str_list_add(ret, text);
	}
	str_list_sort(ret);
}

bool machine_facts_same_host_macs(const char *boot_a, const char *netns_a, const char *uuid_a,
				  const struct str_list *macs_a, const char *boot_b,
				  const char *netns_b, const char *uuid_b,
				  const struct str_list *macs_b)
{
	return strcmp(or_empty(boot_a), or_empty(boot_b)) == 0 &&
	       strcmp(or_empty(netns_a), or_empty(netns_b)) == 0 &&
	       !is_other(compare_machines(uuid_a, macs_a, uuid_b, macs_b));
}
