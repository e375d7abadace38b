/* SPDX-License-Identifier: MIT */
/* Registrations as values: JSON both ways, comparing. */
#include "cmsnode/agreement/registration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/identity/machine_facts.h"
#include "cmsnode/network/address.h"
#include "cmsnode/store/store.h"
#include "cmsnode/topology/slots.h"

/* The members that are plain texts: one table for freeing, copying, JSON. */
static const struct {
	const char *key;
	size_t offset;
} texts[] = {
#define TEXT(member)                                           \
	{                                                      \
#member, offsetof(struct registration, member) \
	}
	TEXT(address),	    TEXT(contest),     TEXT(hostname), TEXT(boot_id),	     TEXT(netns),
	TEXT(product_uuid), TEXT(incarnation), TEXT(version),  TEXT(applied_digest), TEXT(id),
#undef TEXT
};

static const struct {
	const char *key;
	size_t offset;
} lists[] = {
	{ "addresses", offsetof(struct registration, addresses) },
	{ "roles", offsetof(struct registration, roles) },
	{ "ports_held", offsetof(struct registration, ports_held) },
	{ "macs", offsetof(struct registration, macs) },
	{ "released", offsetof(struct registration, released) },
};

static char **text_of(const struct registration *registration, size_t i)
{
	return (char **)((char *)registration + texts[i].offset);
}

static struct str_list *list_of(const struct registration *registration, size_t i)
{
	return (struct str_list *)((char *)registration + lists[i].offset);
}

void registration_fini(struct registration *registration)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(*text_of(registration, i));
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		str_list_fini(list_of(registration, i));
	*registration = (struct registration){ 0 };
}

void registration_copy(struct registration *to, const struct registration *from)
{
	if (to == from)
		return;
	registration_fini(to);
	*to = *from;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		*text_of(to, i) = xstrdup(*text_of(from, i));
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		*list_of(to, i) = (struct str_list){ 0 };
		str_list_copy(list_of(to, i), list_of(from, i));
	}
}

char *registration_to_json(const struct registration *registration)
{
	CLEAN(json) cJSON *json = cJSON_CreateObject();

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		json_add_str(json, texts[i].key,
			     *text_of(registration, i) ? *text_of(registration, i) : "");
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		json_add_str_list(json, lists[i].key, list_of(registration, i));
	json_add_int(json, "schema", registration->schema);
	json_add_int(json, "applied_epoch", registration->applied_epoch);
	json_add_int(json, "applied_sequence", registration->applied_sequence);
	json_add_int_str(json, "lease", (int64_t)registration->lease);
	json_add_int_str(json, "reserved_lease", (int64_t)registration->reserved_lease);
	return json_text(json);
}

static int check(const struct registration *registration, const char *id, struct err *err)
{
	struct address address;

	if (!slots_node_id_valid(id) || strcmp(registration->id, id) != 0)
		return err_set(err, -EINVAL, "its id is malformed or not the key's");
	if (registration->address[0] && address_parse(registration->address, &address) < 0)
		return err_set(err, -EINVAL, "its address is malformed");
	if (strcmp(registration->contest, "ALL") != 0 &&
	    strspn(registration->contest, "0123456789") != strlen(registration->contest))
		return err_set(err, -EINVAL, "its contest is neither ALL nor a number");
	for (size_t i = 0; i < registration->roles.len; i++) {
		CLEAN(str) char *name = NULL;
		int count;
		const int r = role_parse(registration->roles.items[i], &name, &count, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_members(const cJSON *json, struct registration *ret, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *text = json_get_str(json, texts[i].key);

		*text_of(ret, i) = xstrdup(text ? text : "");
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (json_get_str_list(json, lists[i].key, list_of(ret, i)) < 0)
			return err_set(err, -EINVAL, "%s is not a list of strings", lists[i].key);
	(void)json_get_int64(json, "schema", &ret->schema);
	(void)json_get_int64(json, "applied_epoch", &ret->applied_epoch);
	(void)json_get_int64(json, "applied_sequence", &ret->applied_sequence);
	(void)json_get_uint64(json, "lease", &ret->lease);
	(void)json_get_uint64(json, "reserved_lease", &ret->reserved_lease);
	return 0;
}

int registration_from_kv(const struct store_kv *kv, const char *id, struct registration *ret,
			 struct err *err)
{
	CLEAN(json) cJSON *json = json_parse(kv->value, kv->value_len, err);
	if (!json)
		return -EINVAL;
	struct registration registration = { .create_revision = kv->create_revision,
					     .mod_revision = kv->mod_revision };
	int r = read_members(json, &registration, err);
	if (r == 0)
		r = check(&registration, id, err);
	if (r < 0) {
		registration_fini(&registration);
		return r;
	}
	*ret = registration;
	return 0;
}

bool registration_same_offer(const struct registration *a, const struct registration *b)
{
	return str_eq(a->address, b->address) && str_eq(a->contest, b->contest) &&
	       str_list_equal(&a->roles, &b->roles) &&
	       str_list_equal(&a->addresses, &b->addresses) &&
	       str_list_equal(&a->ports_held, &b->ports_held) &&
	       str_list_equal(&a->released, &b->released) && str_eq(a->version, b->version) &&
	       registration_same_host(a, b);
}

bool registration_same_host(const struct registration *a, const struct registration *b)
{
	return machine_facts_same_host_macs(a->boot_id, a->netns, a->product_uuid, &a->macs,
					    b->boot_id, b->netns, b->product_uuid, &b->macs);
}

void registrations_read(const struct store_kvs *kvs, const char *folder, struct registrations *ret)
{
	for (size_t i = 0; i < kvs->len; i++) {
		const char *key = kvs->items[i].key;
		struct registration registration;

		if (str_starts(key, folder) &&
		    registration_from_kv(&kvs->items[i], key + strlen(folder), &registration,
					 NULL) == 0)
			registrations_put(ret, &registration);
	}
}

void registrations_fini(struct registrations *registrations)
{
	for (size_t i = 0; i < registrations->len; i++)
		registration_fini(&registrations->items[i]);
	free(registrations->items);
	*registrations = (struct registrations){ 0 };
}

static bool find(const struct registrations *registrations, const char *id, size_t *ret_at)
{
	if (registrations->sorted)
		return str_sorted_has(registrations->items, registrations->len,
				      sizeof(*registrations->items), id, ret_at);
	for (*ret_at = 0; *ret_at < registrations->len; (*ret_at)++)
		if (strcmp(registrations->items[*ret_at].id, id) == 0)
			return true;
	return false;
}

const struct registration *registrations_find(const struct registrations *registrations,
					      const char *id)
{
	size_t at;

	return find(registrations, id, &at) ? &registrations->items[at] : NULL;
}

void registrations_put(struct registrations *registrations, struct registration *registration)
{
	size_t at;

	if (!registrations->len)
		registrations->sorted = true;
	if (find(registrations, registration->id, &at)) {
		registration_fini(&registrations->items[at]);
	} else {
		GROW(registrations->items, registrations->len, registrations->cap);
		memmove(&registrations->items[at + 1], &registrations->items[at],
			(registrations->len - at) * sizeof(*registrations->items));
		registrations->len++;
	}
	registrations->items[at] = *registration;
	*registration = (struct registration){ 0 };
}

bool registrations_remove(struct registrations *registrations, const char *id)
{
	size_t at;

	if (!find(registrations, id, &at))
		return false;
	registration_fini(&registrations->items[at]);
	registrations->len--;
	memmove(&registrations->items[at], &registrations->items[at + 1],
		(registrations->len - at) * sizeof(*registrations->items));
	return true;
}

const struct registration *registrations_newest(const struct registrations *registrations)
{
	const struct registration *newest = NULL;

	for (size_t i = 0; i < registrations->len; i++) {
		const struct registration *one = &registrations->items[i];

		if (one->applied_sequence > 0 &&
		    (!newest || one->applied_epoch > newest->applied_epoch ||
		     (one->applied_epoch == newest->applied_epoch &&
		      one->applied_sequence > newest->applied_sequence)))
			newest = one;
	}
	return newest;
}

/* ---- reservations ------------------------------------------------------ */

static bool find_reservation(const struct reservations *reservations, const char *id,
			     size_t *ret_at)
{
	return str_sorted_has(reservations->items, reservations->len, sizeof(*reservations->items),
			      id, ret_at);
}

void reservations_fini(struct reservations *reservations)
{
	for (size_t i = 0; i < reservations->len; i++)
		free(reservations->items[i].id);
	free(reservations->items);
	*reservations = (struct reservations){ 0 };
}

const struct reservation *reservations_find(const struct reservations *reservations, const char *id)
{
	size_t at;

	return find_reservation(reservations, id, &at) ? &reservations->items[at] : NULL;
}

void reservations_put(struct reservations *reservations, const char *id, bool stopped)
{
	size_t at;

	if (find_reservation(reservations, id, &at)) {
		reservations->items[at].stopped = stopped;
		return;
	}
	GROW(reservations->items, reservations->len, reservations->cap);
	memmove(&reservations->items[at + 1], &reservations->items[at],
		(reservations->len - at) * sizeof(*reservations->items));
	reservations->items[at] = (struct reservation){ xstrdup(id), stopped };
	reservations->len++;
}

bool reservations_remove(struct reservations *reservations, const char *id)
{
	size_t at;

	if (!find_reservation(reservations, id, &at))
		return false;
	free(reservations->items[at].id);
	reservations->len--;
	memmove(&reservations->items[at], &reservations->items[at + 1],
		(reservations->len - at) * sizeof(*reservations->items));
	return true;
}

const struct registration *registrations_other_host_with(const struct registrations *registrations,
							 const struct registration *self,
							 const char *address)
{
	for (size_t i = 0; i < registrations->len; i++) {
		const struct registration *other = &registrations->items[i];
		const bool has = strcmp(other->address, address) == 0 ||
				 str_list_has(&other->addresses, address);

		if (has && strcmp(other->id, self->id) != 0 && !registration_same_host(other, self))
			return other;
	}
	return NULL;
}
