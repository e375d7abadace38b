/* SPDX-License-Identifier: MIT */
/*
 * What a change of format costs: the keys that the files of another generation of
 * CMS cannot hold, and those whose default is another one there. Pure.
 */
#ifndef CMSNODE_CONFIG_CONVERSION_H
#define CMSNODE_CONFIG_CONVERSION_H

#include "cmsnode/config/cms_file.h"

struct findings;
struct value;

/*
 * Appends one warning for each key of the canonical document that
 * - cms_file_write() or, in table "ranking", ranking_file_write() for `to` leaves out
 *   ("is lost"), alters ("is changed"), or keeps for a CMS that ignores it ("is ignored");
 * - is not in the document and has another default to the readers of `from` than to
 *   those of `to`, for ranking only if there is a table "ranking".
 * What is lost does not depend on `from`: keys of an operator's own may not fit either.
 * Empty tables are not named. Values are not shown, so no secret is.
 */
void config_conversion(const struct value *document, enum cms_format from, enum cms_format to,
		       struct findings *findings);

#endif
