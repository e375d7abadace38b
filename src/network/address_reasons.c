/* SPDX-License-Identifier: MIT */
/*
 * Why an address was kept, dropped or chosen, in words for people, and the
 * finished choice as a table. Only reads the survey; never decides.
 */
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "address_survey.h"
#include "cmsnode/base/buf.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define NAMED_AT_MOST 6 /* addresses listed in a sentence */

static void add_place(struct buf *text, const struct entry *entry)
{
	char address[ADDRESS_TEXT_SIZE];

	address_format(&entry->address->address, address);
	(void)buf_adds(text, address);
	if (entry->link)
		(void)buf_addf(text, " on %s", entry->link->name);
}

static void add_route(struct buf *text, const struct interface_route *route)
{
	(void)buf_addf(text, "default route, metric %u", route->metric);
	if (route->table != RT_TABLE_MAIN)
		(void)buf_addf(text, ", in table %u", route->table);
}

static bool is_deprecated(const struct interface_address *address)
{
	return address->flags & IFA_F_DEPRECATED;
}

/* What the source address of the question leads to. */
static const char *destination(const struct survey *survey)
{
	if (survey->wish.kind == WISH_REACH)
		return survey->question->wish + strlen(WISH_REACH_PREFIX);
	return "etcd";
}

static void add_evidence(const struct survey *survey, struct buf *text, const struct entry *entry)
{
	if (entry->points[CRITERION_STORE] == 0)
		(void)buf_addf(text, "the kernel's source address towards %s", destination(survey));
	else if (entry->points[CRITERION_STORE] == 1)
		(void)buf_addf(text, "on the link towards %s, whose source address there is %s",
			       destination(survey),
			       is_deprecated(survey->beside) ? "deprecated" : "temporary");
	else if (entry->route)
		add_route(text, entry->route);
	else
		(void)buf_adds(text, "no default route");
}

static const char *scope_name(int scope)
{
	if (scope >= RT_SCOPE_HOST)
		return "host";
	return scope == RT_SCOPE_LINK ? "link" : "site";
}

static char *reason_kept(const struct survey *survey, const struct entry *entry)
{
	const struct interface_link *master = address_survey_port_of(survey, entry->link);
	struct buf text = BUF_INIT(0);

	if (survey->loopback_taken)
		return xstrdup("loopback, but nothing else is left and every etcd endpoint is "
			       "loopback");
	if (entry->wished)
		(void)buf_adds(&text, "named by --address; ");
	if (entry->dropped)
		(void)buf_addf(&text, "otherwise dropped (%s)", entry->dropped->reason);
	else
		add_evidence(survey, &text, entry);
	if (entry->points[CRITERION_CARRIER])
		(void)buf_adds(&text, ", no carrier");
	if (entry->points[CRITERION_SCOPE])
		(void)buf_addf(&text, ", scope %s", scope_name(entry->points[CRITERION_SCOPE]));
	if (entry->points[CRITERION_KIND] && entry->link->kind[0])
		(void)buf_addf(&text, ", virtual (%s)", entry->link->kind);
	if (master)
		(void)buf_addf(&text, ", port of %s", master->name);
	if (entry->points[CRITERION_SECONDARY])
		(void)buf_adds(&text, ", secondary");
	/* A veto that does not count here; an operator still wants to know. */
	if (entry->veto)
		(void)buf_addf(&text, ", also on %s", entry->veto->holder);
	return buf_steal(&text);
}

static void add_dropped(const struct survey *survey, struct buf *text, const struct entry *entry)
{
	if (entry->dropped->reason)
		(void)buf_adds(text, entry->dropped->reason);
	else if (survey->wish.kind != WISH_NONE)
		(void)buf_addf(text, "claimed by %s", entry->veto->holder);
	else
		(void)buf_addf(text, "also on %s: an address that two live hosts have says nothing",
			       entry->veto->holder);
}

static char *reason_excluded(const struct survey *survey, const struct entry *entry)
{
	struct buf text = BUF_INIT(0);

	if (survey->wish.kind != WISH_NONE && !entry->wished)
		(void)buf_addf(&text, "not what --address %s names", survey->question->wish);
	else
		add_dropped(survey, &text, entry);
	return buf_steal(&text);
}

char *address_reasons_candidate(const struct survey *survey, const struct entry *entry)
{
	return entry->excluded ? reason_excluded(survey, entry) : reason_kept(survey, entry);
}

static const char *criterion_phrase(enum criterion criterion, const struct entry *entry)
{
	switch (criterion) {
	case CRITERION_DROPPED:
		return "the only one there that would be kept without --address";
	case CRITERION_STORE:
		return "the kernel's source address towards etcd";
	case CRITERION_CARRIER:
		return "its link has a carrier";
	case CRITERION_ROUTE:
		return "the best default route";
	case CRITERION_ROUTE_FIT:
		return entry->points[CRITERION_ROUTE_FIT] == FIT_SOURCE ?
			       "that route's own source address" :
			       "in the network of its gateway";
	case CRITERION_SCOPE:
		return "the wider scope";
	case CRITERION_KIND:
		return "physical before virtual links";
	case CRITERION_PORT:
		return "not a port of a bridge or bond";
	case CRITERION_SECONDARY:
		return "primary before secondary";
	case CRITERION_FAMILY:
		return "IPv4 before IPv6";
	case CRITERIA:
		return "first in the order of links and addresses";
	}
	return "";
}

static void add_why(const struct survey *survey, struct buf *text)
{
	const struct entry *best = &survey->entries[0];

	if (best->points[CRITERION_STORE] < 2) {
		add_evidence(survey, text, best);
		return;
	}
	if (best->route)
		add_route(text, best->route);
	if (survey->kept == 1) {
		(void)buf_adds(text, best->route ? "" : "the only address left");
		return;
	}
	const enum criterion c = address_survey_first_difference(best, &survey->entries[1]);
	if (c == CRITERION_ROUTE && best->route)
		return;
	(void)buf_addf(text, "%s%s", best->route ? "; " : "", criterion_phrase(c, best));
}

char *address_reasons_chosen(const struct survey *survey)
{
	struct buf text = BUF_INIT(0);

	add_place(&text, &survey->entries[0]);
	(void)buf_adds(&text, ": ");
	if (survey->loopback_taken) {
		(void)buf_adds(&text, "loopback, taken because this host has no other usable "
				      "address "
				      "and every etcd endpoint is loopback; other hosts cannot "
				      "reach it");
	} else if (survey->wish.kind == WISH_NONE) {
		add_why(survey, &text);
	} else {
		(void)buf_addf(&text, "--address %s names it", survey->question->wish);
		if (survey->kept > 1) {
			(void)buf_addf(&text, ", the best of %zu (", survey->kept);
			add_why(survey, &text);
			(void)buf_adds(&text, ")");
		}
	}
	return buf_steal(&text);
}

static void add_list(struct buf *text, const struct survey *survey, size_t len, bool reasons)
{
	for (size_t i = 0; i < len && i < NAMED_AT_MOST; i++) {
		(void)buf_adds(text, i ? ", " : "");
		add_place(text, &survey->entries[i]);
		if (!reasons)
			continue;
		(void)buf_adds(text, " (");
		add_dropped(survey, text, &survey->entries[i]);
		(void)buf_adds(text, ")");
	}
	if (len > NAMED_AT_MOST)
		(void)buf_addf(text, " and %zu more", len - NAMED_AT_MOST);
}

char *address_reasons_none(const struct survey *survey)
{
	struct buf text = BUF_INIT(0);

	(void)buf_adds(&text, "this host has no usable address: ");
	if (survey->len)
		add_list(&text, survey, survey->len, true);
	else
		(void)buf_adds(&text, "its interfaces have none at all");
	(void)buf_adds(&text, "; waiting for the network, or name one with --address");
	return buf_steal(&text);
}

char *address_reasons_ambiguous(const struct survey *survey, size_t equals)
{
	struct buf text = BUF_INIT(0);

	add_list(&text, survey, equals, false);
	(void)buf_adds(&text, " are equal by every rule, and no route tells them apart; "
			      "name one with --address (an address, an interface name or a CIDR)");
	return buf_steal(&text);
}

/* What would have been taken: rather the one that only a claim stands against. */
static const struct entry *first_wished(const struct survey *survey)
{
	const struct entry *first = NULL;

	for (size_t i = 0; i < survey->len; i++) {
		const struct entry *entry = &survey->entries[i];

		if (!entry->wished)
			continue;
		if (address_rules_is_veto(entry->dropped))
			return entry;
		if (!first)
			first = entry;
	}
	return first;
}

static void add_no_source(const struct survey *survey, struct buf *text)
{
	const struct address *source = &survey->question->towards_store;
	char address[ADDRESS_TEXT_SIZE];

	address_format(source, address);
	if (source->family)
		(void)buf_addf(text,
			       "the kernel's source address towards %s is %s, which no "
			       "interface of this host has",
			       destination(survey), address);
	else
		(void)buf_addf(text,
			       "the kernel has no source address towards %s (no route to it, "
			       "or its name is not resolved)",
			       destination(survey));
}

static void add_nothing_matches(const struct survey *survey, struct buf *text)
{
	const struct address_question *question = survey->question;

	if (survey->wish.kind == WISH_ADDRESS)
		(void)buf_adds(text, "no interface of this host has this address");
	else if (survey->wish.kind == WISH_NET)
		(void)buf_adds(text, "no address of this host is in this network");
	else if (survey->wish.kind == WISH_REACH)
		add_no_source(survey, text);
	else if (interfaces_link_by_name(question->interfaces, question->wish))
		(void)buf_adds(text, "this interface has no address");
	else
		(void)buf_adds(text, "this host has no such interface (and it is no address and no "
				     "CIDR)");
	if (survey->len) {
		(void)buf_adds(text, "; the host has ");
		add_list(text, survey, survey->len, false);
	}
}

char *address_reasons_unsatisfiable(const struct survey *survey)
{
	const struct entry *entry = first_wished(survey);
	struct buf text = BUF_INIT(0);

	(void)buf_addf(&text, "--address %s cannot be satisfied: ", survey->question->wish);
	if (entry) {
		add_place(&text, entry);
		(void)buf_adds(&text, ": ");
		add_dropped(survey, &text, entry);
	} else {
		add_nothing_matches(survey, &text);
	}
	return buf_steal(&text);
}

/* The end of a container's own network, or the host's side of it. */
static bool is_container_link(const struct interface_link *link)
{
	return strcmp(link->kind, "veth") == 0 || strcmp(link->kind, "bridge") == 0;
}

char *address_reasons_vetoed(const struct survey *survey)
{
	struct buf text = BUF_INIT(0);
	bool container = false;
	size_t named = 0;

	(void)buf_adds(&text, "no address of this host is its own: ");
	for (size_t i = 0; i < survey->len; i++) {
		const struct entry *entry = &survey->entries[i];

		if (!address_rules_is_veto(entry->dropped))
			continue;
		container |= is_container_link(entry->link);
		if (named++ >= NAMED_AT_MOST)
			continue;
		(void)buf_adds(&text, named > 1 ? ", " : "");
		add_place(&text, entry);
		(void)buf_addf(&text, " is also on %s", entry->veto->holder);
	}
	if (named > NAMED_AT_MOST)
		(void)buf_addf(&text, " and %zu more", named - NAMED_AT_MOST);
	if (container)
		(void)buf_adds(&text, "; container networks have the same addresses on every host: "
				      "a container must be run with --net=host (docker) to have an "
				      "address of its own");
	else
		(void)buf_adds(&text, "; give this host an address that no other host has, or name "
				      "one with --address");
	return buf_steal(&text);
}

/* The table */

enum { COLUMNS = 6 };

static const char *verdict(const struct address_choice *choice,
			   const struct address_candidate *candidate)
{
	if (candidate->excluded)
		return candidate->vetoed ? "vetoed" : "dropped";
	if (choice->outcome == ADDRESS_CHOSEN && candidate == choice->candidates)
		return "chosen";
	return choice->outcome == ADDRESS_AMBIGUOUS && candidate->rank == 0 ? "equal" : "candidate";
}

static void add_row(struct str_list *cells, const struct address_choice *choice,
		    const struct address_candidate *candidate)
{
	char address[ADDRESS_TEXT_SIZE];

	address_format(&candidate->address, address);
	str_list_take(cells, candidate->excluded ? xstrdup("-") : xasprintf("%d", candidate->rank));
	str_list_add(cells, address);
	str_list_add(cells, candidate->link[0] ? candidate->link : "-");
	str_list_add(cells, candidate->kind[0] ? candidate->kind : "-");
	str_list_add(cells, verdict(choice, candidate));
	str_list_add(cells, candidate->reason);
}

/* Names come from elsewhere and must not drive a terminal. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static size_t column_width(const struct str_list *cells, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < cells->len; i += COLUMNS)
		if (strlen(cells->items[i]) > width)
			width = strlen(cells->items[i]);
	return width;
}

char *address_choice_to_table(const struct address_choice *choice)
{
	static const char titles[] = "RANK,ADDRESS,INTERFACE,KIND,VERDICT,REASON";
	CLEAN(str_list) struct str_list cells = { 0 };
	struct buf text = BUF_INIT(0);
	size_t widths[COLUMNS];

	str_list_split(&cells, titles, ',');
	for (size_t i = 0; i < choice->len; i++)
		add_row(&cells, choice, &choice->candidates[i]);
	for (size_t i = 0; i < cells.len; i++)
		make_printable(cells.items[i]);
	for (size_t i = 0; i < COLUMNS; i++)
		widths[i] = column_width(&cells, i);
	for (size_t i = 0; i < cells.len; i++) {
		if (i % COLUMNS == COLUMNS - 1)
			(void)buf_addf(&text, "%s\n", cells.items[i]);
		else
			(void)buf_addf(&text, "%-*s  ", (int)widths[i % COLUMNS], cells.items[i]);
	}
	return buf_steal(&text);
}
