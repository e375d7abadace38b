/* SPDX-License-Identifier: MIT */
/*
 * Standalone: FILE is the configuration, and the operator's to edit. A change by
 * hand becomes an edit like any other; one that does not pass is told, with its
 * line, and what runs goes on. What was changed by command is written back. Must
 * never overwrite what was not read.
 */
#include "node_internal.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cmsnode/agreement/agreement_driver.h"
#include "cmsnode/agreement/alter.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/config/document.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/daemon/seed.h"

#define QUIET_S 0.3 /* editors write in several steps */

static void set_trouble(struct node *node, const char *text)
{
	struct operators_file *file = &node->file;
	char *copy = xstrdup(text);

	if (text && !str_eq(text, file->trouble))
		log_error("config", "the change of FILE is not taken in, what runs goes on: %s",
			  text);
	free(file->trouble);
	file->trouble = copy;
}

static void on_edited(void *ctx, int code, const char *text)
{
	set_trouble(ctx, code < 0 ? text : NULL);
}

/* From here on FILE counts as read: it is not written back. */
static void take_seed(struct node *node, struct generation *seed, const char *digest)
{
	generation_free(node->seed);
	node->seed = seed;
	memcpy(node->seed_digest, digest, sizeof(node->seed_digest));
}

static int import(struct node *node, const char *digest, struct edits *edits, struct err *err)
{
	static const struct alter_import_settings settings = { .keep_loopback = true };
	CLEAN(generation) struct generation *seed = NULL;
	CLEAN(value) struct value *document = NULL;
	int r = seed_read(node->options, &seed, err);

	if (r == 0)
		r = seed_read_document(node->options, &document, err);
	if (r == 0 && seed->meta.format != node_agreed(node)->meta.format)
		r = err_set(err, ERR_CONFIG, "%s is of another format now: restart cmsnoded",
			    node->options->standalone);
	if (r == 0)
		r = alter_import(node_agreed(node), document, &settings, edits, err);
	if (r == 0)
		take_seed(node, steal(seed), digest);
	return r;
}

void node_file_read(struct node *node)
{
	struct edits edits = { 0 };
	struct err err = { 0 };
	char digest[65];

	if (!node_agreed(node) || node->stopping)
		return;
	int r = seed_digest(node->options, digest, &err);

	if (r == 0 && strcmp(digest, node->seed_digest) == 0) {
		set_trouble(node, NULL);
		return;
	}
	if (r == 0)
		r = import(node, digest, &edits, &err);
	if (r < 0) {
		set_trouble(node, err.msg);
	} else if (edits.len) {
		log_info("config", "%s was changed by hand: taking it in",
			 node->options->standalone);
		agreement_driver_edit(node->driver, &edits, "operator", "FILE was changed by hand",
				      on_edited, node);
	} else {
		set_trouble(node, NULL);
	}
	edits_fini(&edits);
}

int node_file_check(const struct node *node, struct err *err)
{
	char digest[65];

	if (!node->options->standalone)
		return 0;
	if (seed_digest(node->options, digest, err) < 0)
		return ERR_CONFLICT;
	if (strcmp(digest, node->seed_digest) == 0)
		return 0;
	return err_set(err, ERR_CONFLICT, "%s was changed by hand, which is not taken in: %s",
		       node->options->standalone,
		       node->file.trouble ? node->file.trouble : "wait a moment");
}

void node_file_write(struct node *node, const struct generation *generation, const char *text)
{
	struct err err;

	if (value_equal(generation->cms, node->seed->cms))
		return;
	if (node_file_check(node, &err) < 0) {
		log_error("config", "the change is in force but lost at the next start: %s",
			  err.msg);
		return;
	}
	if (file_replace(node->options->standalone, text, &err) < 0) {
		log_error("config", "the change is in force but lost at the next start: %s",
			  err.msg);
		return;
	}
	log_info("config", "%s rewritten", node->options->standalone);
	generation_free(node->seed);
	node->seed = generation_clone(generation);
	(void)seed_digest(node->options, node->seed_digest, NULL);
}

/* ---- seeing it -------------------------------------------------------------------- */

static void on_quiet(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	ev_timer_stop(loop, w);
	node_file_read(w->data);
}

/* What happened to which name does not matter: the digest tells. */
static void on_notice(struct ev_loop *loop, ev_io *w, int revents)
{
	struct node *node = w->data;
	char events[4096];

	(void)revents;
	while (read(w->fd, events, sizeof(events)) > 0)
		;
	ev_timer_again(loop, &node->file.quiet);
}

void node_file_watch(struct node *node)
{
	struct operators_file *file = &node->file;
	/* A link's target is what is edited; the folder sees editors that rename. */
	CLEAN(str) char *path = realpath(node->options->standalone, NULL);

	file->fd = path ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
	if (file->fd < 0 || inotify_add_watch(file->fd, dirname(path),
					      IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0) {
		log_warning("config", "changes of %s by hand are not seen (%s): send HUP after one",
			    node->options->standalone, strerror(errno));
		return;
	}
	ev_init(&file->quiet, on_quiet);
	file->quiet.repeat = QUIET_S;
	file->quiet.data = node;
	ev_io_init(&file->io, on_notice, file->fd, EV_READ);
	file->io.data = node;
	ev_io_start(node->loop, &file->io);
}

void node_file_end(struct node *node)
{
	ev_io_stop(node->loop, &node->file.io);
	ev_timer_stop(node->loop, &node->file.quiet);
	if (node->file.fd > 0)
		(void)close(node->file.fd);
	free(node->file.trouble);
}
