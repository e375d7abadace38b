/* SPDX-License-Identifier: MIT */
/*
 * `plan`, and the changes of the configuration: set, unset, import, rollback,
 * freeze, thaw. Each asks the daemon what it would do, shows that, asks the
 * person, and sends this very plan. Must never guess a value's type: the daemon
 * does that.
 */
#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/status/control_socket.h"

enum {
	APPLY_TIME_S = 10 * 60, /* --wait: until every service that must restart has done so */
	POLL_MS = 300,
};

/* ---- the wish, as a request ------------------------------------------------- */

static void add_change(cJSON *request, const char *key, const char *value)
{
	cJSON *changes = cJSON_GetObjectItemCaseSensitive(request, "changes");
	cJSON *change = cJSON_CreateObject();

	if (!changes)
		changes = cJSON_AddArrayToObject(request, "changes");
	json_add_str(change, "key", key);
	json_add_str(change, "value", value);
	(void)cJSON_AddItemToArray(changes, change);
}

static int add_assignment(cJSON *request, const char *word, struct err *err)
{
	const char *equals = strchr(word, '=');
	if (!equals || equals == word)
		return err_set(err, ERR_USAGE,
			       "'%s' is not KEY=VALUE (such as worker.keep_sandbox=true)", word);
	CLEAN(str) char *key = xstrndup(word, (size_t)(equals - word));

	add_change(request, key, equals + 1);
	return 0;
}

static int add_assignments(cJSON *request, const struct ctl *ctl, struct err *err)
{
	for (size_t i = 0; i < ctl->words_len; i++) {
		const int r = add_assignment(request, ctl->words[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "-" is standard input. */
static int add_file(cJSON *request, const char *path, bool ranking, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(CONTROL_REQUEST_MAX);
	const int r = file_read(str_eq(path, "-") ? "/dev/stdin" : path, &text, err);

	if (r < 0)
		return r == -E2BIG ? err_set(err, ERR_CONFIG, "%s: larger than 1 MiB", path) : r;
	if (strlen(buf_str(&text)) != text.len)
		return err_set(err, ERR_CONFIG, "%s: it holds a byte 0, so it is no text", path);
	json_add_str(request, "import", buf_str(&text));
	json_add_bool(request, "ranking", ranking);
	return 0;
}

/* ---- what would come of it ------------------------------------------------------ */

static void print_lines(const char *title, const char *text)
{
	CLEAN(str) char *safe = ctl_printable(text, true);

	if (!*safe)
		return;
	(void)printf("%s\n", title);
	for (char *line = safe; *line;) {
		const size_t len = strcspn(line, "\n");

		(void)printf("  %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

void ctl_print_warnings(const cJSON *warnings, FILE *to)
{
	const cJSON *warning;

	cJSON_ArrayForEach(warning, warnings) {
		CLEAN(str)
		char *line = xasprintf("warning: %s: %s", json_get_str(warning, "key"),
				       json_get_str(warning, "text"));
		CLEAN(str) char *safe = ctl_printable(line, false);

		(void)fprintf(to, "%s\n", safe);
	}
}

static bool changes_nothing(const cJSON *plan)
{
	return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(plan, "plan"));
}

static void print_plan(const cJSON *plan)
{
	const char *changes = json_get_str(plan, "text");
	const char *outlook = json_get_str(plan, "outlook_text");

	if (changes_nothing(plan)) {
		(void)printf("nothing would change\n");
		return;
	}
	print_lines("changes:", changes ? changes : "");
	ctl_print_warnings(json_get_array(plan, "warnings"), stdout);
	print_lines("services:", outlook ? outlook : "");
}

/* ---- until all have it ------------------------------------------------------------- */

/* What a node does about the generation; a phrase for people. */
enum progress { PROGRESS_WAITING, PROGRESS_APPLIED, PROGRESS_REFUSED };

static bool service_is_moving(const cJSON *service)
{
	static const char *const moving[] = { "waiting", "starting", "stopping" };
	const char *state = json_get_str(service, "state");

	for (size_t i = 0; i < ARRAY_LEN(moving); i++)
		if (str_eq(state, moving[i]))
			return true;
	return false;
}

static enum progress progress_of(const cJSON *node, int64_t sequence)
{
	const cJSON *config = json_get_object(node, "config");
	const char *applied = json_get_str(config, "applied");
	const char *current = json_get_str(config, "current");
	const cJSON *service;

	if (!applied || generation_name_sequence(applied) < sequence)
		return json_get_str(config, "refused") && current &&
				       generation_name_sequence(current) >= sequence ?
			       PROGRESS_REFUSED :
			       PROGRESS_WAITING;
	cJSON_ArrayForEach(service, json_get_array(node, "services"))
		if (service_is_moving(service))
			return PROGRESS_WAITING;
	return PROGRESS_APPLIED;
}

struct waiting {
	const struct ctl *ctl;
	int64_t sequence;
	struct str_list told; /* ids */
	size_t refused;
	size_t missing; /* at the last look */
};

static void tell_progress(struct waiting *waiting, const cJSON *node)
{
	const char *id = json_get_str(json_get_object(node, "node"), "id");
	const enum progress progress = progress_of(node, waiting->sequence);

	if (!id || str_list_has(&waiting->told, id))
		return;
	if (progress == PROGRESS_WAITING) {
		waiting->missing++;
		return;
	}
	const char *refused = json_get_str(json_get_object(node, "config"), "refused");
	CLEAN(str)
	char *line =
		xasprintf("%s: %s%s%s", id, progress == PROGRESS_REFUSED ? "refused" : "applied",
			  !refused		       ? "" :
			  progress == PROGRESS_REFUSED ? ": " :
							 ", but ",
			  refused ? refused : "");
	CLEAN(str) char *safe = ctl_printable(line, false);

	(void)printf("%s\n", safe);
	(void)fflush(stdout);
	str_list_add(&waiting->told, id);
	waiting->refused += progress == PROGRESS_REFUSED;
}

static int look(struct waiting *waiting, struct err *err)
{
	CLEAN(json) cJSON *status = NULL;
	cJSON *request = ctl_request("status");
	const cJSON *node;

	json_add_bool(request, "cluster", true);
	const int r = ctl_ask_soon(waiting->ctl, request, &status, err);
	if (r < 0)
		return r;
	waiting->missing = 0;
	cJSON_ArrayForEach(node, json_get_array(status, "nodes"))
		tell_progress(waiting, node);
	return 0;
}

static int wait_for_all(const struct ctl *ctl, const char *generation, struct err *err)
{
	const double timeout_s = ctl->timeout_s > 0 ? ctl->timeout_s : APPLY_TIME_S;
	const int64_t deadline_ms = clock_now_ms() + (int64_t)(timeout_s * 1000);
	struct waiting waiting = { .ctl = ctl,
				   .sequence = generation_name_sequence(generation),
				   .missing = 1 };
	int r = 0;

	while (waiting.missing) {
		r = look(&waiting, err);
		/* Who refuses to answer for a moment does not end the wait. */
		if (r < 0 && r != ERR_UNAVAILABLE)
			break;
		if (!waiting.missing || clock_now_ms() + POLL_MS > deadline_ms)
			break;
		(void)poll(NULL, 0, POLL_MS);
	}
	str_list_fini(&waiting.told);
	if (r < 0)
		return r;
	if (waiting.missing)
		return err_set(err, -ETIMEDOUT,
			       "%zu node%s not through after %g s; see: cmsnodectl "
			       "status --cluster",
			       waiting.missing, waiting.missing == 1 ? " is" : "s are", timeout_s);
	if (waiting.refused)
		return err_set(err, ERR_CONFIG, "%zu node%s refused it and %s on what %s before",
			       waiting.refused, waiting.refused == 1 ? "" : "s",
			       waiting.refused == 1 ? "goes" : "go",
			       waiting.refused == 1 ? "it had" : "they had");
	return 0;
}

/* ---- asking the person, and doing it ---------------------------------------------------- */

static int confirm(const struct ctl *ctl, struct err *err)
{
	char answer[16];

	if (ctl->yes)
		return 0;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return err_set(err, ERR_USAGE,
			       "nobody can be asked here: say --yes to make this change");
	(void)printf("Make this change? [y/N] ");
	(void)fflush(stdout);
	if (!fgets(answer, sizeof(answer), stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
		return err_set(err, ERR_USAGE, "nothing was changed");
	return 0;
}

static int apply(const struct ctl *ctl, const cJSON *plan, struct err *err)
{
	cJSON *request = ctl_request("config.apply");
	CLEAN(json) cJSON *result = NULL;
	int64_t id = 0;

	(void)json_get_int64(plan, "plan", &id);
	json_add_int(request, "plan", id);
	json_add_str(request, "message", ctl->message);
	int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	const char *generation = json_get_str(result, "generation");
	if (!generation)
		return err_set(err, -EPROTO, "the daemon's answer names no generation");
	CLEAN(str) char *safe = ctl_printable(generation, false);

	(void)printf("agreed: %s\n", safe);
	(void)fflush(stdout);
	return ctl->wait ? wait_for_all(ctl, generation, err) : 0;
}

int ctl_plan_and_apply(const struct ctl *ctl, cJSON *request, struct err *err)
{
	CLEAN(json) cJSON *plan = NULL;

	json_add_bool(request, "at_once", ctl->at_once);
	int r = ctl_ask_soon(ctl, request, &plan, err);
	if (r < 0)
		return r;
	print_plan(plan);
	if (changes_nothing(plan))
		return 0;
	r = confirm(ctl, err);
	return r < 0 ? r : apply(ctl, plan, err);
}

int ctl_change_and_tell(const struct ctl *ctl, cJSON *request, const char *what, struct err *err)
{
	CLEAN(json) cJSON *result = NULL;

	json_add_str(request, "message", ctl->message);
	const int r = ctl_ask_soon(ctl, request, &result, err);
	if (r < 0)
		return r;
	const char *generation = json_get_str(result, "generation");
	CLEAN(str) char *safe = ctl_printable(generation ? generation : "-", false);

	(void)printf("%s; agreed: %s\n", what, safe);
	return 0;
}

/* ---- the commands -------------------------------------------------------------------------- */

static int assign(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *request = ctl_request("config.plan");
	const int r = add_assignments(request, ctl, err);

	return r < 0 ? r : ctl_plan_and_apply(ctl, steal(request), err);
}

int ctl_config_set(const struct ctl *ctl, struct err *err)
{
	return assign(ctl, err);
}

int ctl_config_unset(const struct ctl *ctl, struct err *err)
{
	cJSON *request = ctl_request("config.plan");

	for (size_t i = 0; i < ctl->words_len; i++)
		add_change(request, ctl->words[i], NULL);
	return ctl_plan_and_apply(ctl, request, err);
}

int ctl_config_import(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *request = ctl_request("config.plan");
	const int r = add_file(request, ctl->words[0], ctl->ranking, err);

	return r < 0 ? r : ctl_plan_and_apply(ctl, steal(request), err);
}

int ctl_config_rollback(const struct ctl *ctl, struct err *err)
{
	cJSON *request = ctl_request("config.plan");

	json_add_str(request, "rollback", ctl->words[0]);
	return ctl_plan_and_apply(ctl, request, err);
}

static int set_frozen(const struct ctl *ctl, const char *value, struct err *err)
{
	struct ctl sure = *ctl;
	cJSON *request = ctl_request("config.plan");

	/* It moves nothing, and its opposite undoes it: no question. */
	sure.yes = true;
	add_change(request, "topology.frozen", value);
	return ctl_plan_and_apply(&sure, request, err);
}

int ctl_config_freeze(const struct ctl *ctl, struct err *err)
{
	return set_frozen(ctl, "true", err);
}

int ctl_config_thaw(const struct ctl *ctl, struct err *err)
{
	return set_frozen(ctl, "false", err);
}

/* One word without "=" is a file. */
int ctl_plan(const struct ctl *ctl, struct err *err)
{
	CLEAN(json) cJSON *request = ctl_request("config.plan");
	CLEAN(json) cJSON *plan = NULL;
	int r;

	if (ctl->words_len == 1 && !strchr(ctl->words[0], '='))
		r = add_file(request, ctl->words[0], ctl->ranking, err);
	else
		r = add_assignments(request, ctl, err);
	if (r == 0)
		r = ctl_ask_soon(ctl, steal(request), &plan, err);
	if (r < 0)
		return r;
	if (ctl->json)
		ctl_print_json(plan);
	else
		print_plan(plan);
	return 0;
}
