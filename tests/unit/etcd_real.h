/* SPDX-License-Identifier: MIT */
/* A real etcd, started here, on loopback, in a directory of its own. */
#ifndef CMSNODE_TESTS_ETCD_REAL_H
#define CMSNODE_TESTS_ETCD_REAL_H

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "etcd_scene.h"

static struct {
	char directory[64];
	char url[64];
	char peer_url[64];
	int port;
	const char *extra[24]; /* further arguments */
	struct etcd_settings access; /* its `endpoints` are `urls` */
	struct str_list urls;
	pid_t pid; /* 0: not running */
	bool missing;
} etcd;

static inline void exec_etcd(void)
{
	CLEAN(str) char *cluster = xasprintf("x=%s", etcd.peer_url);
	CLEAN(str) char *log = xasprintf("%s/log", etcd.directory);
	CLEAN(str) char *data = xasprintf("%s/data", etcd.directory);
	const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd >= 0) {
		(void)dup2(fd, STDOUT_FILENO);
		(void)dup2(fd, STDERR_FILENO);
	}
	const char *argv[64] = {
		"etcd",	       "--name",
		"x",	       "--data-dir",
		data,	       "--listen-client-urls",
		etcd.url,      "--advertise-client-urls",
		etcd.url,      "--listen-peer-urls",
		etcd.peer_url, "--initial-advertise-peer-urls",
		etcd.peer_url, "--initial-cluster",
		cluster,       "--unsafe-no-fsync",
	};
	size_t len = 0;

	while (argv[len])
		len++;
	for (size_t i = 0; etcd.extra[i]; i++)
		argv[len++] = etcd.extra[i];
	(void)execvp(argv[0], (char *const *)argv);
	_exit(127);
}

static inline void etcd_run(void)
{
	etcd.pid = fork();
	assert_true(etcd.pid >= 0);
	if (etcd.pid == 0)
		exec_etcd();
}

static inline void etcd_kill(int signal)
{
	if (etcd.pid <= 0)
		return;
	(void)kill(etcd.pid, signal);
	(void)waitpid(etcd.pid, NULL, 0);
	etcd.pid = 0;
}

static inline void etcd_wait(void)
{
	struct scene *scene = scene_new_with(&etcd.access);
	const int64_t end_ms = clock_now_ms() + 30000;

	do {
		run_for(scene, 50);
		(void)ask(scene, read_of("/", true));
	} while (scene->reply.outcome != STORE_DONE && clock_now_ms() < end_ms);
	if (scene->reply.outcome != STORE_DONE)
		fail_msg("%s", scene->reply.text);
	scene_free(scene);
}

static inline bool etcd_is_installed(void)
{
	CLEAN(str_list) struct str_list folders = { 0 };
	const char *path = getenv("PATH");

	str_list_split(&folders, path ? path : "/usr/bin", ':');
	for (size_t i = 0; i < folders.len; i++) {
		CLEAN(str) char *file = xasprintf("%s/etcd", folders.items[i]);

		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

/* False, and said, if there is none. */
static inline bool etcd_prepare(const char *scheme)
{
	if (!etcd_is_installed()) {
		print_message("SKIP: no program 'etcd' in PATH\n");
		etcd.missing = true;
		return false;
	}
	(void)snprintf(etcd.directory, sizeof(etcd.directory), "/tmp/test-etcd-XXXXXX");
	assert_non_null(mkdtemp(etcd.directory));
	etcd.port = free_port();
	(void)snprintf(etcd.url, sizeof(etcd.url), "%s://127.0.0.1:%d", scheme, etcd.port);
	(void)snprintf(etcd.peer_url, sizeof(etcd.peer_url), "http://127.0.0.1:%d", free_port());
	str_list_add(&etcd.urls, etcd.url);
	etcd.access.endpoints = &etcd.urls;
	return true;
}

static inline int start_etcd(void **state)
{
	(void)state;
	if (!etcd_prepare("http"))
		return 0;
	etcd_run();
	etcd_wait();
	return 0;
}

/* Silently; it must succeed. */
static inline void run_program(const char *const *argv)
{
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		const int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		(void)dup2(fd, STDOUT_FILENO);
		(void)dup2(fd, STDERR_FILENO);
		(void)setenv("ETCDCTL_API", "3", 1);
		(void)execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("%s %s %s ...: status %d", argv[0], argv[1], argv[2], status);
}

static inline void remove_directory(const char *directory)
{
	const pid_t pid = fork();

	if (pid == 0) {
		(void)execlp("rm", "rm", "-rf", "--", directory, (char *)NULL);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

static inline int stop_etcd(void **state)
{
	(void)state;
	etcd_kill(SIGKILL);
	if (*etcd.directory)
		remove_directory(etcd.directory);
	str_list_fini(&etcd.urls);
	memset(&etcd, 0, sizeof(etcd));
	return 0;
}

/* A store on the real etcd, with nothing under /t/. */
static inline int scene_setup(void **state)
{
	*state = NULL;
	if (etcd.missing)
		return 0;
	struct scene *scene = scene_new(etcd.url, NULL);
	struct store_request *request = store_request_new(STORE_TXN);

	store_ops_delete(&request->success, "/t/", true);
	assert_int_equal(ask(scene, request)->outcome, STORE_DONE);
	*state = scene;
	return 0;
}

static inline int scene_teardown(void **state)
{
	if (*state)
		scene_free(*state);
	return 0;
}

static inline struct scene *need(void **state)
{
	if (!*state)
		skip();
	return *state;
}

/* What the store has no word for: a plain request, waited for. */
static inline void post(const char *path, const char *body)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)etcd.port),
	};
	CLEAN(str) char *text = xasprintf("POST %s HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", path,
					  strlen(body), body);
	char answer[64] = "";

	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_true(read(fd, answer, sizeof(answer) - 1) > 12);
	assert_non_null(strstr(answer, " 200 "));
	(void)close(fd);
}

#define real_etcd_test(f) cmocka_unit_test_setup_teardown(f, scene_setup, scene_teardown)

#endif
