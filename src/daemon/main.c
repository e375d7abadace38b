/* SPDX-License-Identifier: MIT */
/* cmsnoded: reads the settings, makes the loop, runs the node. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/daemon/node.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/topology/names_proof.h"
#include "config.h"

#define DEFAULT_CONFIG "/etc/cmsnoded.toml"

extern char **environ;

/*
 * The settings file as a table; *ret NULL if there is none (only the default one may be missing).
 */
static int read_settings(const char *path, struct value **ret, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);
	const char *file = path ? path : DEFAULT_CONFIG;
	const int r = file_read(file, &text, err);
	if (r == -ENOENT && !path)
		return 0;
	if (r < 0)
		return err_set(err, ERR_USAGE, "%s", err->msg);
	if (toml_parse(buf_str(&text), text.len, ret, err) < 0)
		return err_set(err, ERR_USAGE, "%s: %s", file, err->msg);
	return 0;
}

static int read_options(int argc, char *argv[], struct options *options, struct err *err)
{
	CLEAN(str) char *path = NULL;
	CLEAN(value) struct value *file = NULL;

	int r = options_look_ahead(argc, argv, &options->action, err);
	if (r < 0 || options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION)
		return r;
	r = options_find_config(argc, argv, environ, &path, err);
	if (r < 0)
		return r;
	r = read_settings(path, &file, err);
	if (r < 0)
		return r;
	return options_parse(argc, argv, environ, file, path ? path : DEFAULT_CONFIG, options, err);
}

static int run(const struct options *options, struct err *err)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	if (!loop)
		return err_set(err, -ENOSYS, "cannot make an event loop");
	struct node *node = node_new(loop, options, err);
	if (!node) {
		ev_loop_destroy(loop);
		return err->code;
	}
	const int status = node_run(node);

	node_free(node);
	ev_loop_destroy(loop);
	return status;
}

static int act(const struct options *options)
{
	struct err err = { 0 };
	int r = 0;

	switch (options->action) {
	case OPTIONS_HELP: {
		CLEAN(str) char *help = options_help();

		(void)fputs(help, stdout);
		return 0;
	}
	case OPTIONS_VERSION:
		(void)puts("cmsnoded " PACKAGE_VERSION);
		return 0;
	case OPTIONS_CHECK:
		r = node_check(options, &err);
		break;
	case OPTIONS_RUN:
		r = run(options, &err);
		break;
	}
	if (r >= 0)
		return r;
	log_error("daemon", "%s", err.msg);
	return err_exit_status(r);
}

int main(int argc, char *argv[])
{
	struct options options = { 0 };
	struct err err = { 0 };
	enum log_level level = LOG_LEVEL_INFO;
	const int proof = names_proof_main(argc, argv);

	if (proof >= 0)
		return proof;
	json_init();
	(void)signal(SIGPIPE, SIG_IGN);
	const int r = read_options(argc, argv, &options, &err);
	if (r < 0) {
		(void)fprintf(stderr, "cmsnoded: %s\n", err.msg);
		options_fini(&options);
		return 2;
	}
	if (options.log_level)
		(void)log_level_parse(options.log_level, &level);
	log_configure(level, options.log_format && strcmp(options.log_format, "json") == 0);
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	const int status = act(&options);

	curl_global_cleanup();
	options_fini(&options);
	return status;
}
