/* SPDX-License-Identifier: MIT */
/*
 * What we know of each key of CMS's configuration: its type, its old flat name
 * in cms.conf, whether it is a secret, and which services read it (so which
 * must restart when it changes). The table itself is src/config/keys.def, one
 * line a key. Facts: CMS 1.2 to 1.6.dev, "who reads what". Pure.
 */
#ifndef CMSNODE_CONFIG_KEYS_H
#define CMSNODE_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"

struct config_key {
	/* "database.url"; keys of cms_ranking.toml have "ranking." in front of all they have. */
	const char *path;
	const char *flat;	/* name in cms.conf or cms.ranking.conf, NULL if it never had one */
	enum value_type type;	/* for VALUE_ARRAY: of what, in `item` */
	enum value_type item;
	unsigned int formats;	/* bits 1 << enum cms_format: known to a CMS that reads it */
	bool nullable;		/* null is legal in cms.conf, and the same as absent */
	bool null_written;	/* nullable, and CMS 1.5 wants it in cms.conf even so */
	bool secret;		/* masked in every output but reveal and export */
	bool url;		/* a secret URL or list of them: only the password is masked */
	/* Who must restart when it changes: bits (1 << catalogue index), or CONFIG_KEY_ALL. */
	uint32_t readers;
};

#define CONFIG_KEY_ALL UINT32_MAX

const struct config_key *config_key_find(const char *path);		/* NULL if unknown */
const struct config_key *config_key_find_flat(const char *flat);	/* by name in cms.conf */
static inline bool config_key_is_in(const struct config_key *key, enum cms_format format)
{
	return key->formats & 1U << format;
}
/* Does it stand in the main file, with a flat name? */
bool config_key_is_flat(const struct config_key *key);
size_t config_key_count(void);
const struct config_key *config_key_at(size_t i);

/* A type in a sentence: "an integer", "a list". */
const char *config_type_phrase(enum value_type type);

/* The known path or flat name nearest to a misspelt one, or NULL. */
const char *config_key_nearest(const char *path);

/*
 * "database.url" for "database.url" and for the flat name "database"; NULL if
 * neither. A path that is unknown but has a dot is returned as it is (operators
 * may set keys that we do not know).
 */
const char *config_key_canonical(const char *path_or_flat);

/*
 * The value with secrets replaced: a password inside a URL (database.url,
 * proxy_service.rankings) becomes "***", other secrets become "***" whole, as
 * does a URL that is none. `path` may be a flat name too. A table (path
 * "database", or "" for a whole document) is masked member by member, also in a
 * list. Texts under an unknown path are masked whole if a secret's name is the
 * nearest known one ("secret_kye"), else cloned. The caller frees.
 */
struct value *config_mask(const char *path, const struct value *value);

/*
 * A value typed by a person for `path`, as KEY=VALUE gives it: for a known
 * string key the text itself (or a quoted TOML string), for other known types
 * TOML syntax that must have that type (an int is taken for a float), for an
 * unknown key TOML syntax if it parses, else a string.
 * 0 or -EINVAL with key, text (unless secret) and expected type in the message.
 */
struct err;
int config_value_parse(const char *path, const char *text, struct value **ret, struct err *err);

#endif
