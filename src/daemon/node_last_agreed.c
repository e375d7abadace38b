/* SPDX-License-Identifier: MIT */
/*
 * The copy on disk of what was agreed last. Written after each new generation,
 * read once at the start; a damaged one is as none, and said. Must never be
 * readable by others: it holds the configuration's secrets.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/last_agreed.h"
#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/daemon/options.h"
#include "node_internal.h"

static char *path_of(const struct node *node)
{
	return xasprintf("%s/last-agreed.json", node->files_dir);
}

struct generation *node_last_agreed_load(const struct node *node)
{
	CLEAN(str) char *path = path_of(node);
	CLEAN(buf) struct buf text = BUF_INIT(LAST_AGREED_MAX);
	struct generation *generation = NULL;
	struct err err = { 0 };

	if (node->options->standalone || access(path, F_OK) < 0)
		return NULL;
	if (node->identity.cloned) {
		log_warning("agreement", "%s: copied from another machine, ignoring", path);
		return NULL;
	}
	if (file_read(path, &text, &err) < 0 ||
	    last_agreed_from_json(buf_str(&text), text.len, node->options->prefix, &generation,
				  &err) < 0)
		log_warning("agreement", "%s: %s, ignoring it", path, err.msg);
	return generation;
}

void node_last_agreed_save(const struct node *node, const struct generation *generation)
{
	CLEAN(str) char *path = path_of(node);
	struct err err = { 0 };

	if (node->options->standalone)
		return;
	CLEAN(str) char *text = last_agreed_to_json(generation, node->options->prefix, &err);

	if (!text || file_write_private(path, text, &err) < 0)
		log_warning(
			"agreement",
			"%s: %s: this node could not start from the present configuration while etcd is away",
			path, err.msg);
}

void node_last_agreed_forget(const struct node *node)
{
	CLEAN(str) char *path = path_of(node);

	if (unlink(path) < 0 && errno != ENOENT)
		log_warning("agreement", "%s: %s, ignoring", path, strerror(errno));
}
