/* SPDX-License-Identifier: MIT */
/*
 * The proof as a real user, with /etc/hosts and nsswitch.conf of its own in a mount
 * namespace; needs root. This program is its own child: see main().
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <ev.h>

#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/names.h"
#include "cmsnode/topology/names_proof.h"

#define ZONE NAMES_ZONE_DEFAULT
#define NAMES 40
#define NOBODY 65534
#define SKIPPED 77

struct scene {
	const char *nsswitch;
	const char *above; /* a line above ours */
	mode_t mode; /* of the hosts file */
	const char *hosts_file; /* where the daemon says it wrote */
	size_t left_out; /* Worker k does not stand in the file */
	int code;
	const char *told[3]; /* the message has all of these */
};

struct proving {
	struct ev_loop *loop;
	struct names_proof *proof;
	struct err err;
	int calls;
};

static void must(bool good, const char *what)
{
	if (good)
		return;
	(void)fprintf(stderr, "%s\n", what);
	_exit(1);
}

static void put_file(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(fd >= 0 && file_write_all(fd, text) == 0 && close(fd) == 0, path);
}

/* ---- in the child with its own mounts ---- */

static void mount_tmp(const char *dir)
{
	must(mount("test", dir, "tmpfs", 0, NULL) == 0 && chmod(dir, 0755) == 0, "tmpfs");
}

static void put_over(const char *source, const char *text, const char *target)
{
	put_file(source, text);
	must(mount(source, target, NULL, MS_BIND, NULL) == 0, target);
}

static void make_names(struct names *ret)
{
	*ret = (struct names){ 0 };
	for (size_t k = 0; k < NAMES; k++) {
		CLEAN(str) char *address = xasprintf("10.0.0.%zu", k + 1);

		names_set(ret, CATALOGUE_WORKER, k, ZONE, address);
	}
}

static char *hosts_text(const struct scene *scene, const struct names *names)
{
	char *text = xasprintf("127.0.0.1 localhost\n%s", scene->above);

	for (size_t k = 0; k < names->len; k++) {
		CLEAN(str) char *before = text;

		text = xasprintf("%s%s%s %s\n", before, k == scene->left_out ? "#" : "",
				 names->items[k].address, names->items[k].name);
	}
	return text;
}

static void build(const struct scene *scene, const struct names *names)
{
	CLEAN(str) char *text = hosts_text(scene, names);

	mount_tmp("/mnt");
	put_over("/mnt/hosts", text, "/etc/hosts");
	must(chmod("/mnt/hosts", scene->mode) == 0, "chmod");
	put_over("/mnt/nsswitch.conf", scene->nsswitch, "/etc/nsswitch.conf");
	/* Nobody answers there, at once. */
	put_over("/mnt/resolv.conf", "nameserver 127.255.255.254\noptions timeout:1 attempts:1\n",
		 "/etc/resolv.conf");
}

static void on_proved(void *ctx, const struct err *err)
{
	struct proving *proving = ctx;

	proving->calls++;
	proving->err = *err;
	names_proof_free(steal(proving->proof));
	ev_break(proving->loop, EVBREAK_ALL);
}

static void play(const struct scene *scene)
{
	const struct names_proof_spec spec = { .hosts_file = scene->hosts_file,
					       .drop_user = true,
					       .user = "nobody",
					       .uid = NOBODY,
					       .gid = NOBODY };
	struct proving proving = { .loop = ev_loop_new(EVFLAG_AUTO) };
	CLEAN(names) struct names names;

	make_names(&names);
	build(scene, &names);
	proving.proof =
		names_proof_start(proving.loop, &spec, &names, on_proved, &proving, &proving.err);
	must(proving.proof && names_proof_pid(proving.proof) > 0, proving.err.msg);
	ev_run(proving.loop, 0);
	must(proving.calls == 1, "called once");
	(void)fprintf(stderr, "%d: %s\n", proving.err.code, proving.err.msg);
	must(proving.err.code == scene->code, "another code");
	for (size_t i = 0; i < ARRAY_LEN(scene->told) && scene->told[i]; i++)
		must(strstr(proving.err.msg, scene->told[i]) != NULL, scene->told[i]);
	ev_loop_destroy(proving.loop);
}

static void run_scene(const struct scene *scene)
{
	const pid_t child = fork();
	int status = 0;

	if (child == 0) {
		if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(SKIPPED);
		play(scene);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		print_message("needs root and a mount namespace: skipped\n");
		skip();
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- tests ---- */

static void a_proof_succeeds_or_says_why_not(void **state)
{
	static const char files[] = "passwd: files\nhosts:\tfiles dns # as usual\n";
	static const struct scene scenes[] = {
		{ files, "", 0644, "/etc/hosts", NAMES, 0, { "" } },
		/* Of 40 names 16 are asked for; the last one always. */
		{ files,
		  "",
		  0644,
		  "/etc/hosts",
		  NAMES - 1,
		  ERR_CONFIG,
		  { "for user nobody worker-39.cms.internal does not resolve (", "in the way?",
		    "--names off" } },
		{ "hosts: dns\n",
		  "",
		  0644,
		  "/etc/hosts",
		  NAMES,
		  ERR_CONFIG,
		  { "worker-0.cms.internal does not resolve (",
		    "/etc/nsswitch.conf says 'hosts: dns': put 'files' first" } },
		{ files,
		  "",
		  0600,
		  "/etc/hosts",
		  NAMES,
		  ERR_CONFIG,
		  { "that user cannot read /etc/hosts (Permission denied)", "permissions" } },
		{ files,
		  "",
		  0644,
		  "/mnt/nsswitch.conf",
		  0,
		  ERR_CONFIG,
		  { "the resolver reads /etc/hosts, the names are in /mnt/nsswitch.conf" } },
		{ files,
		  "10.9.9.9 worker-0.cms.internal\n",
		  0644,
		  "/etc/hosts",
		  NAMES,
		  ERR_CONFIG,
		  { "worker-0.cms.internal resolves to 10.9.9.9, not to 10.0.0.1",
		    "another line of /etc/hosts" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(scenes); i++)
		run_scene(&scenes[i]);
}

static void must_not_be_called(void *ctx, const struct err *err)
{
	(void)ctx;
	(void)err;
	fail();
}

static void a_proof_can_be_given_up(void **state)
{
	const struct names_proof_spec spec = { .hosts_file = "/etc/hosts", .user = "me" };
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	CLEAN(names) struct names names;
	struct err err;

	(void)state;
	make_names(&names);
	struct names_proof *proof =
		names_proof_start(loop, &spec, &names, must_not_be_called, NULL, &err);

	assert_non_null(proof);
	const pid_t pid = names_proof_pid(proof);

	names_proof_free(proof);
	ev_run(loop, EVRUN_NOWAIT);
	/* Ended and waited for. */
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	names_proof_free(NULL);
	ev_loop_destroy(loop);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proof_succeeds_or_says_why_not),
		cmocka_unit_test(a_proof_can_be_given_up),
	};
	const int status = names_proof_main(argc, argv);

	if (status >= 0)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
