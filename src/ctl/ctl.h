/* SPDX-License-Identifier: MIT */
/*
 * What the files of cmsnodectl share: the parsed command line, the connection
 * to the daemon, the tables. A command returns 0 or an err code; main() says
 * the message and turns the code into the exit status.
 */
#ifndef CMSNODE_CTL_CTL_H
#define CMSNODE_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cmsnode/base/buf.h"

struct cJSON;
struct err;

/* The command line; texts are borrowed from argv. */
struct ctl {
	char *socket_path; /* <run-dir>/control.sock; owned */
	const char *run_dir;
	bool colour; /* standard output is a terminal that wants colour */
	bool json;
	bool cluster;
	bool wait;
	double timeout_s; /* 0: not given */
	bool reveal;
	bool follow;
	bool force;
	bool yes;
	bool at_once;
	bool ranking;
	int64_t lines;
	const char *message; /* NULL: none */
	const char *format; /* "toml", "json", "flat-toml" or NULL */
	const char *const *words; /* what stands behind the verb */
	size_t words_len;
};

typedef int ctl_command_fn(const struct ctl *ctl, struct err *err);

ctl_command_fn ctl_status;
ctl_command_fn ctl_explain;
ctl_command_fn ctl_config_show;
ctl_command_fn ctl_config_get;
ctl_command_fn ctl_config_set;
ctl_command_fn ctl_config_export;
ctl_command_fn ctl_config_check;
ctl_command_fn ctl_config_unset;
ctl_command_fn ctl_config_import;
ctl_command_fn ctl_config_edit;
ctl_command_fn ctl_config_history;
ctl_command_fn ctl_config_diff;
ctl_command_fn ctl_config_rollback;
ctl_command_fn ctl_config_freeze;
ctl_command_fn ctl_config_thaw;
ctl_command_fn ctl_plan;
ctl_command_fn ctl_service_list;
ctl_command_fn ctl_logs;
ctl_command_fn ctl_node_forget;
ctl_command_fn ctl_node_drain;
ctl_command_fn ctl_node_undrain;
ctl_command_fn ctl_store_accept;
ctl_command_fn ctl_store_publish;
ctl_command_fn ctl_node_reset_identity;

/* --- connection.c: blocking, with deadlines on clock_now_ms() --- */

#define CTL_NO_DEADLINE INT64_MAX

struct ctl_connection {
	int fd;
	char *path;
	struct buf in;
};

/*
 * 0, or ERR_UNAVAILABLE if nobody listens at `path`, ERR_DENIED with who may
 * connect, ERR_USAGE if the path is too long for a socket. *ret is to be closed
 * with ctl_connection_fini() after success only.
 */
int ctl_connection_open(const char *path, int64_t deadline_ms, struct ctl_connection *ret,
			struct err *err);
void ctl_connection_fini(struct ctl_connection *connection);
static inline void clean_ctl_connection(struct ctl_connection *connection)
{
	ctl_connection_fini(connection);
}

/*
 * Sends one request; ERR_USAGE if it is longer than the daemon takes,
 * ERR_UNAVAILABLE if it does not get through.
 */
int ctl_connection_send(struct ctl_connection *connection, const struct cJSON *request,
			int64_t deadline_ms, struct err *err);

/*
 * Waits for one answer. 0 and its result (never NULL, perhaps a JSON null;
 * caller frees with json_free()); or the daemon's error with the code that gives
 * the exit status it named; ERR_UNAVAILABLE if it hangs up or the deadline
 * passes; -EPROTO for what is not an answer, -E2BIG for more than 16 MiB.
 */
int ctl_connection_receive(struct ctl_connection *connection, int64_t deadline_ms,
			   struct cJSON **ret, struct err *err);

/* {"command":command}; the caller adds members. */
struct cJSON *ctl_request(const char *command);

/* Connection, question, answer; takes `request`. The result is an object, or -EPROTO. */
int ctl_ask(const struct ctl *ctl, struct cJSON *request, int64_t deadline_ms, struct cJSON **ret,
	    struct err *err);

/* As ctl_ask(), with the time that every daemon that is well needs at most. */
int ctl_ask_soon(const struct ctl *ctl, struct cJSON *request, struct cJSON **ret, struct err *err);

/* --- table.c: text for people --- */

enum ctl_tone { CTL_PLAIN, CTL_HEAD, CTL_WARN, CTL_BAD };

/* Cells are added from left to right; a row is full after `columns` of them. */
struct ctl_table {
	size_t columns;
	struct ctl_cell *cells;
	size_t len;
	size_t cap;
};

#define CTL_TABLE_INIT(number)      \
	{                           \
		.columns = (number) \
	}

void ctl_table_fini(struct ctl_table *table);
static inline void clean_ctl_table(struct ctl_table *table)
{
	ctl_table_fini(table);
}

/* NULL and "" show as "-"; control characters as "?". */
void ctl_table_add(struct ctl_table *table, enum ctl_tone tone, const char *text);
void ctl_table_addf(struct ctl_table *table, enum ctl_tone tone, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void ctl_table_add_row(struct ctl_table *table, enum ctl_tone tone, const char *const *texts);

/*
 * The rows, columns aligned and two blanks apart, no blanks at the ends of
 * lines. A cell wider than 64 characters moves only its own row. Caller frees.
 */
char *ctl_table_text(const struct ctl_table *table, bool colour);
void ctl_table_print(const struct ctl_table *table, bool colour);

/*
 * Is colour wanted on a terminal (or none): NO_COLOR and TERM as the environment
 * has them, NULL = not set.
 */
bool ctl_colour_wanted(bool is_terminal, const char *no_color, const char *term);

/* Seconds as "12s", "3m05s", "2h10m", "3d04h". */
void ctl_elapsed(double seconds, char ret[32]);

/*
 * Copy of text with control characters (but newline and tab, if `lines`) shown
 * as "?", so that no text drives the terminal; caller frees.
 */
char *ctl_printable(const char *text, bool lines);

/* A JSON value for people: a bare string, else its JSON; NULL and null give NULL. Caller frees. */
char *ctl_value_text(const struct cJSON *value);

/* The whole value as pretty-printed JSON on standard output. */
void ctl_print_json(const struct cJSON *json);

/* --- cmd_change.c --- */

/*
 * Takes a `config.plan` request: shows what it would do, asks the person unless --yes, does it, and
 * with --wait tells node by node until all have it.
 */
int ctl_plan_and_apply(const struct ctl *ctl, struct cJSON *request, struct err *err);

/* Takes the request of another change, whose message is added: "WHAT; agreed: GENERATION". */
int ctl_change_and_tell(const struct ctl *ctl, struct cJSON *request, const char *what,
			struct err *err);

/* --- cmd_config.c --- */

/* `config.export`, whose "text" is there; caller frees. */
int ctl_export(const struct ctl *ctl, struct cJSON **ret, struct err *err);

/* "warning: key: text" for each of [{"key","text"}]. */
void ctl_print_warnings(const struct cJSON *warnings, FILE *to);

/* --- cmd_status.c --- */

/*
 * The table of services (an array of status entries) on standard output; `now`
 * in epoch seconds gives the SINCE column.
 */
void ctl_print_services(const struct cJSON *services, double now, bool colour);

/*
 * What `status --wait` still waits for, as a phrase for people; NULL if nothing
 * is missing. Caller frees.
 */
char *ctl_status_missing(const struct cJSON *status);

#endif
