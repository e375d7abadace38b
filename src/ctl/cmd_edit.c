/* SPDX-License-Identifier: MIT */
/*
 * `config edit`: the file as CMS reads it in the person's editor, then the same
 * way as an import. What does not pass comes back with the reason on top. The
 * file holds passwords: it is ours alone and goes when it is done with.
 */
#include "ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/status/control_socket.h"

/* Lines of ours, in either format; taken out again. */
#define MARK "# cmsnodectl: "

struct draft {
	char *path;
	char *text; /* as it was when the editor opened, without our lines */
};

static int write_draft(const struct draft *draft, const char *complaint, struct err *err)
{
	CLEAN(buf) struct buf out = BUF_INIT(0);
	CLEAN(str) char *lines = xstrdup(complaint ? complaint : "");
	char *rest = NULL;

	for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		(void)buf_addf(&out, MARK "%s\n", line);
	(void)buf_adds(&out, draft->text);
	return file_write_private(draft->path, buf_str(&out), err);
}

static int read_draft(const struct draft *draft, char **ret, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(CONTROL_REQUEST_MAX);
	CLEAN(buf) struct buf out = BUF_INIT(0);
	const int r = file_read(draft->path, &text, err);
	if (r < 0)
		return r;

	for (const char *line = buf_str(&text); *line;) {
		const size_t len = strcspn(line, "\n") + 1;
		const size_t there = strnlen(line, len);

		if (!str_starts(line, MARK))
			(void)buf_add(&out, line, there);
		line += there;
	}
	*ret = xstrdup(buf_str(&out));
	return 0;
}

/* As git does it: the variable may hold arguments. */
static int run_editor(const char *path, struct err *err)
{
	const char *visual = getenv("VISUAL");
	const char *editor = visual && *visual ? visual : getenv("EDITOR");
	CLEAN(str) char *command = xasprintf("%s \"$1\"", editor && *editor ? editor : "vi");
	int status;
	const pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, -errno, "fork");
	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, -errno, "waiting for the editor");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(err, -ECANCELED, "the editor failed: nothing was changed");
	return 0;
}

/* 1: leave the loop, the outcome is in err. */
static int edit_once(const struct ctl *ctl, struct draft *draft, struct err *err)
{
	CLEAN(str) char *text = NULL;
	int r = run_editor(draft->path, err);

	if (r == 0)
		r = read_draft(draft, &text, err);
	if (r < 0)
		return r;
	if (str_eq(text, draft->text))
		return err->msg[0] ? err->code : err_set(err, ERR_USAGE, "nothing was changed");
	free(draft->text);
	draft->text = steal(text);
	cJSON *request = ctl_request("config.plan");

	json_add_str(request, "import", draft->text);
	json_add_bool(request, "ranking", ctl->ranking);
	return ctl_plan_and_apply(ctl, request, err);
}

static int edit(const struct ctl *ctl, struct draft *draft, struct err *err)
{
	int r = write_draft(draft, NULL, err);

	if (r < 0)
		return r;
	for (;;) {
		const char *before = draft->text;

		err->msg[0] = '\0';
		r = edit_once(ctl, draft, err);
		/* Not changed since it was last refused: the person gives up. */
		if (r != ERR_CONFIG || draft->text == before)
			return r;
		CLEAN(str)
		char *complaint = xasprintf(
			"%s\n(save without a change to give up; these lines go by themselves)",
			err->msg);
		const int written = write_draft(draft, complaint, err);
		if (written < 0)
			return written;
	}
}

int ctl_config_edit(const struct ctl *ctl, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	CLEAN(json) cJSON *exported = NULL;
	struct draft draft = { 0 };
	int r = ctl_export(ctl, &exported, err);
	if (r < 0)
		return r;
	/* Editors colour by it. */
	const char *suffix = str_eq(json_get_str(exported, "format"), "json") ? ".json" : ".toml";

	draft.text = xstrdup(json_get_str(exported, "text"));
	draft.path = xasprintf("%s/cmsnodectl.XXXXXX%s", dir && *dir ? dir : "/tmp", suffix);
	CLEAN(fd) int fd = mkstemps(draft.path, (int)strlen(suffix));

	if (fd < 0)
		r = err_errno(err, -errno, "%s", draft.path);
	else
		r = edit(ctl, &draft, err);
	if (fd >= 0)
		(void)unlink(draft.path);
	free(draft.path);
	free(draft.text);
	return r;
}
