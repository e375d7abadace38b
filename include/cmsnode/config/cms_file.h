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
 */
#ifndef CMSNODE_CONFIG_CMS_FILE_H
#define CMSNODE_CONFIG_CMS_FILE_H

#include <stddef.h>

struct err;
struct value;

enum cms_format { CMS_FORMAT_TOML, CMS_FORMAT_JSON };

const char *cms_format_name(enum cms_format format);	/* "toml", "json" */
int cms_format_parse(const char *name, enum cms_format *ret);	/* 0 or -EINVAL */
const char *cms_format_file(enum cms_format format);	/* "cms.toml", "cms.conf" */

/*
 * Reads a file's text; the format is told by its first character that is not
 * blank ('{' is JSON). Flat TOML (June to August 2025) is recognised by its
 * table core_services and mapped like cms.conf. Checks the shape of `services`
 * (name -> array of [host string, port 1..65535], services 1 or more). Errors
 * begin with "line L" where a line is known. 0 or -EINVAL.
 */
int cms_file_parse(const char *text, size_t len, enum cms_format *ret_format, struct value **ret,
		   struct err *err);

/*
 * The document as text of that format; the caller frees. JSON: flat names,
 * core_services, other_services (always present, may be {}), keys that only
 * newer versions have are left out, nullable keys that are absent are written
 * as null; unknown keys of table "global" are written flat, those of other tables
 * are left out. TOML: keys that 1.6 does not know and other_services are left out,
 * and tables that hold nothing else; keys nobody knows are kept. Table "ranking"
 * belongs to another file and is left out of both.
 */
char *cms_file_write(const struct value *document, enum cms_format format);

/*
 * What is wrong with one entry of a list in `services`, as the end of a sentence
 * ("port is not an integer from 1 to 65535"), or NULL: it is [host, port].
 */
const char *cms_file_entry_flaw(const struct value *entry);

#endif
