/* SPDX-License-Identifier: MIT */
/*
 * CMS's main configuration file in the formats of its versions, from and to
 * the canonical document. Pure: text in, text out.
 *
 * Canonical form: tables as in cms.toml of 1.6, `services` included. A flat
 * cms.conf key goes to its table and new name by keys.def; flat keys without a
 * successor keep their old name in the table that keys.def gives them; flat
 * keys that nobody knows go to table "global"; null is left out; other_services
 * go to "other_services"; keys and services beginning with "_" are dropped
 * (CMS's comments); duplicate keys: the last one counts, as in Python.
 *
 * Three formats for ten years of CMS. cms.conf is one superset of what 1.2 to 1.5
 * know, and so is flat TOML of its three months: these versions keep or ignore top-level
 * keys that they do not know, so a file for one of them does for the others.
 */
#ifndef CMSNODE_CONFIG_CMS_FILE_H
#define CMSNODE_CONFIG_CMS_FILE_H

#include <stddef.h>

struct err;
struct value;

enum cms_format {
	CMS_FORMAT_TOML,	/* 1.6, since August 2025: TOML in tables */
	CMS_FORMAT_JSON,	/* 1.2 to 1.5: JSON, flat */
	CMS_FORMAT_FLAT_TOML,	/* development from June to August 2025: the keys of JSON in TOML */
};

const char *cms_format_name(enum cms_format format);	/* "toml", "json", "flat-toml" */
int cms_format_parse(const char *name, enum cms_format *ret);	/* 0 or -EINVAL */
const char *cms_format_file(enum cms_format format);	/* "cms.toml" or "cms.conf" */
const char *cms_format_versions(enum cms_format format);	/* "CMS 1.6", say, for a sentence */

/*
 * Reads a file's text; the format is told by its first character that is not
 * blank ('{' is JSON), and flat TOML by its table core_services. Checks the shape of
 * `services` (name -> array of [host string, port 1..65535], services 1 or more),
 * refuses what CMS would (null where it has no meaning, other_services missing, a
 * byte order mark) and a ranking file. Errors begin with "line L" where a line is
 * known. 0 or -EINVAL.
 */
int cms_file_parse(const char *text, size_t len, enum cms_format *ret_format, struct value **ret,
		   struct err *err);

/*
 * The document as text of that format; the caller frees. JSON and flat TOML: flat
 * names, core_services, other_services (always present, may be empty), keys that only
 * other versions have are left out, unknown keys of table "global" are written
 * flat, those of other tables and what would be a comment ("_...") are left out; JSON
 * has null for absent keys that 1.5 wants there. TOML: keys that 1.6 does not know and
 * other_services are left out, and tables that hold nothing else; keys nobody knows
 * are kept. Table "ranking" belongs to another file and is left out of all.
 */
char *cms_file_write(const struct value *document, enum cms_format format);

/*
 * What this file and ranking's have in common: the text as JSON or TOML, *ret_format one
 * of these two, the outermost table in *ret and JSON's nulls as json_conf_parse() notes
 * them (for TOML none) in *ret_nulls; the caller frees both. 0, -EINVAL or -E2BIG.
 */
int cms_file_parse_text(const char *text, size_t len, enum cms_format *ret_format,
			struct value **ret, struct value **ret_nulls, struct err *err);

/*
 * What is wrong with one entry of a list in `services`, as the end of a sentence
 * ("port is not an integer from 1 to 65535"), or NULL: it is [host, port].
 */
const char *cms_file_entry_flaw(const struct value *entry);

#endif
