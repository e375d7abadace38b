/* SPDX-License-Identifier: MIT */
/*
 * Each key by itself: is it one that CMS knows, and of the type that it wants?
 * What is known stands in keys.def.
 */
#include "validate_internal.h"

#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/keys.h"

/* ---- Types ---- */

/* CMS's tolerance: an integer does for a float. A boolean passes for both; rarely meant. */
static bool type_fits(enum value_type wanted, enum value_type found)
{
	return wanted == found || (wanted == VALUE_FLOAT && found == VALUE_INT);
}

static bool is_number(enum value_type type)
{
	return type == VALUE_INT || type == VALUE_FLOAT;
}

static bool has_nul(const struct value *value)
{
	return value->type == VALUE_STRING && strlen(value->text) != value->text_len;
}

static const char *type_remedy(enum value_type wanted, enum value_type found)
{
	if (wanted == VALUE_ARRAY)
		return ": put it in [ ]";
	if (found == VALUE_ARRAY || found == VALUE_TABLE)
		return "";
	if (wanted == VALUE_STRING)
		return ": put it in quotes";
	return found == VALUE_STRING ? ": write it without quotes" : "";
}

static void check_one_type(const char *path, const char *where, enum value_type wanted,
			   const struct value *value, struct findings *findings)
{
	CLEAN(str) char *text = validate_shown(path, value);

	if (wanted != VALUE_ARRAY && is_number(wanted) && value->type == VALUE_BOOL)
		add_warning(findings, path, "%s%s is a boolean; CMS takes it for %d: write %s",
			    where, text, value->boolean, config_type_phrase(wanted));
	else if (!type_fits(wanted, value->type))
		add_error(findings, path, "%s%s is %s, CMS wants %s%s", where, text,
			  config_type_phrase(value->type), config_type_phrase(wanted),
			  type_remedy(wanted, value->type));
	else if (has_nul(value))
		add_error(findings, path, "%sholds a NUL character; take it out", where);
}

static void check_type(const struct config_key *key, const struct value *value,
		       struct findings *findings)
{
	check_one_type(key->path, "", key->type, value, findings);
	if (key->type != VALUE_ARRAY || value->type != VALUE_ARRAY)
		return;
	for (size_t i = 0; i < value->array.len; i++) {
		CLEAN(str) char *where = xasprintf("element %zu: ", i);

		check_one_type(key->path, where, key->item, value->array.items[i], findings);
	}
}

/* ---- Known and unknown keys ---- */

/* RankingWebServer of 1.3 to June 2025 ends at one; all others read on. */
static bool ends_at_unknown(const char *path, const struct validation *validation)
{
	return validation->context->format != CMS_FORMAT_TOML && str_starts(path, "ranking.");
}

static void report_unknown(const char *path, const struct validation *validation)
{
	const char *nearest = config_key_nearest(path);
	const bool ends = ends_at_unknown(path, validation);
	const char *effect = ends ? "and RankingWebServer ends at one that it does not know" :
				    "which will ignore it";

	findings_add(validation->findings, ends, path, "is not a key of CMS, %s; %s%s%s", effect,
		     nearest ? "did you mean " : "check the name", nearest ? nearest : "",
		     nearest ? "?" : "");
}

/* Is there a known key "<path>.<something>"? */
static bool is_table_path(const char *path)
{
	const size_t len = strlen(path);

	for (size_t i = 0; i < config_key_count(); i++) {
		const char *known = config_key_at(i)->path;

		if (strncmp(known, path, len) == 0 && known[len] == '.')
			return true;
	}
	return false;
}

static void check_members(const char *path, const struct value *table,
			  const struct validation *validation);

static void check_key(const char *path, const struct value *value,
		      const struct validation *validation)
{
	const struct config_key *key = config_key_find(path);

	if (key)
		check_type(key, value, validation->findings);
	else if (!is_table_path(path))
		report_unknown(path, validation);
	else if (value->type == VALUE_TABLE)
		check_members(path, value, validation);
	else
		add_error(validation->findings, path, "is %s, CMS wants a table ([%s] in cms.toml)",
			  config_type_phrase(value->type), path);
}

static void check_members(const char *path, const struct value *table,
			  const struct validation *validation)
{
	for (size_t i = 0; i < table->table.len; i++) {
		CLEAN(str) char *inner = xasprintf("%s.%s", path, table->table.members[i].key);

		check_key(inner, table->table.members[i].value, validation);
	}
}

static void report_unknown_table(const struct value_member *member,
				 const struct validation *validation)
{
	if (member->value->type == VALUE_TABLE && member->value->table.len)
		check_members(member->key, member->value, validation);
	else
		report_unknown(member->key, validation);
}

void validate_keys(const struct validation *validation)
{
	const struct value *document = validation->document;

	for (size_t i = 0; i < document->table.len; i++) {
		const struct value_member *member = &document->table.members[i];

		if (str_eq(member->key, "services") || str_eq(member->key, "other_services"))
			continue;
		if (is_table_path(member->key))
			check_key(member->key, member->value, validation);
		else
			report_unknown_table(member, validation);
	}
}
