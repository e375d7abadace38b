/* SPDX-License-Identifier: MIT */
/*
 * The configuration file of RankingWebServer, from and to the table "ranking" of the
 * canonical document. Pure: text in, text out.
 *
 * Canonical form: the keys of cms_ranking.toml of CMS 1.6, "public" a table in it.
 * http_port 0 means no plain HTTP, which is null in cms.ranking.conf and cannot be
 * said in TOML (absent means 8890 there); bind_address null is ""; other nulls mean
 * absent; keys of JSON that begin with "_" are comments and dropped.
 */
#ifndef CMSNODE_CONFIG_RANKING_FILE_H
#define CMSNODE_CONFIG_RANKING_FILE_H

#include <stddef.h>

#include "cmsnode/config/cms_file.h"

struct err;
struct value;

/* "cms_ranking.toml" or "cms.ranking.conf" */
const char *ranking_file_name(enum cms_format format);

/*
 * Reads a file's text; *ret_format is JSON or TOML, told by the first character that
 * is not blank (files of summer 2025 look like those of 1.6, so they count as TOML). An
 * empty file is legal: all defaults. Refuses CMS's main file, port 0 (a random one to
 * CMS), in JSON also keys that RankingWebServer does not know, because it ends at one,
 * and null where it has no meaning. Errors begin with "line L" where a line is known.
 * 0 or -EINVAL.
 */
int ranking_file_parse(const char *text, size_t len, enum cms_format *ret_format,
		       struct value **ret, struct err *err);

/*
 * The table as text for a CMS that reads that format; the caller frees. Keys that this
 * CMS does not know are left out; those nobody knows are kept in cms_ranking.toml of 1.6
 * only, since the older readers end at one. NULL counts as an empty table.
 */
char *ranking_file_write(const struct value *ranking, enum cms_format format);

#endif
