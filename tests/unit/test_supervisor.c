/* SPDX-License-Identifier: MIT */
/*
 * The supervisor with real processes: shells, and this program itself as a
 * helper ("test_supervisor --serve PORT" answers echo, "--inspect" says how it
 * was started). Every test ends with no child left.
 */
#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/cms_rpc/server.h"
#include "cmsnode/supervision/output.h"
#include "cmsnode/supervision/slot_socket.h"
#include "cmsnode/supervision/supervisor.h"

#define DEADLINE_MS 20000
#define PAUSE "exec /bin/sleep 1000"

static char self_path[4096];
static char log_text[65536];

/* Helpers: what the units run */

static int help_serve(const char *port)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct err err;

	if (!rpc_server_new(loop, "127.0.0.1", (int)strtol(port, NULL, 10), NULL, 0, NULL, &err)) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	(void)printf("serving\n");
	(void)fflush(stdout);
	ev_run(loop, 0);
	return 0;
}

static void inspect_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");

	(void)printf("fds");
	for (int fd = 0; fd < 64; fd++)
		if (fd != dirfd(dir) && fcntl(fd, F_GETFD) >= 0)
			(void)printf(" %d", fd);
	(void)printf("\n");
	(void)closedir(dir);
}

/* Only signals that the sanitizers leave alone. */
static void inspect_signals(void)
{
	static const int looked_at[] = {
		SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2
	};
	struct sigaction action;
	sigset_t mask;
	int blocked = 0;
	int handled = 0;

	(void)sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int i = 1; i < NSIG; i++)
		blocked += sigismember(&mask, i) == 1;
	for (size_t i = 0; i < ARRAY_LEN(looked_at); i++)
		handled +=
			sigaction(looked_at[i], NULL, &action) == 0 && action.sa_handler != SIG_DFL;
	(void)printf("blocked %d handled %d\n", blocked, handled);
}

static int help_inspect(void)
{
	struct stat st;
	char cwd[64];

	inspect_fds();
	inspect_signals();
	(void)printf("session %d group %d\n", getsid(0) == getpid(), getpgid(0) == getpid());
	(void)printf("umask %03o cwd %s uid %d\n", umask(0), getcwd(cwd, sizeof(cwd)),
		     (int)getuid());
	(void)printf("null input %d\n", fstat(0, &st) == 0 && S_ISCHR(st.st_mode));
	(void)printf("append %d\n", (fcntl(1, F_GETFL) & O_APPEND) != 0);
	(void)printf("slot %d\n", fstat(3, &st) == 0 && S_ISSOCK(st.st_mode));
	(void)printf("VALUE=%s HOME=%s\n", getenv("VALUE"), getenv("HOME") ? "set" : "unset");
	(void)fflush(stdout);
	(void)pause();
	return 0;
}

/* The fixture: a supervisor with its own directory */

struct fixture {
	struct ev_loop *loop;
	struct supervisor *supervisor;
	char dir[64];
	char *output_dir;
	char *slot_prefix;
	struct supervisor_settings settings;
	unsigned int changes;
	bool stopped;
};

static void on_changed(void *ctx)
{
	((struct fixture *)ctx)->changes++;
}

static void on_stopped(void *ctx)
{
	((struct fixture *)ctx)->stopped = true;
}

static void collect_log(enum log_level level, const char *module, const char *text)
{
	const size_t len = strlen(log_text);

	(void)snprintf(log_text + len, sizeof(log_text) - len, "%d %s: %s\n", (int)level, module,
		       text);
}

static int setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));
	const struct supervisor_events events = { on_changed, on_stopped, fixture };
	struct err err = { 0 };

	log_text[0] = '\0';
	log_set_sink(collect_log);
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/test_supervisor.XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	fixture->output_dir = xasprintf("%s/run/output", fixture->dir);
	static unsigned int fixtures;

	/* Each its own: what the last test killed may hold its slot for a moment yet. */
	fixture->slot_prefix = xasprintf("cmsnoded/test-%ld-%u/slot/", (long)getpid(), ++fixtures);
	fixture->settings = (struct supervisor_settings){
		.output_dir = fixture->output_dir,
		.slot_socket_prefix = fixture->slot_prefix,
		.grace_s = 0.3,
		.stop_budget_s = 2.0,
		.health_interval_s = 0.2,
	};
	fixture->loop = ev_loop_new(EVFLAG_AUTO);
	fixture->supervisor = supervisor_new(fixture->loop, &fixture->settings, &events, &err);
	if (!fixture->supervisor)
		fail_msg("%s", err.msg);
	*state = fixture;
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	supervisor_free(fixture->supervisor);
	ev_loop_destroy(fixture->loop);
	(void)nftw(fixture->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture->output_dir);
	free(fixture->slot_prefix);
	free(fixture);
	log_set_sink(NULL);
	/* No zombie, no survivor. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	return 0;
}

/* Turning the loop */

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

static struct unit_status status_of(const struct fixture *fixture, const char *service, int shard)
{
	struct unit_status status = { 0 };

	for (size_t i = 0; i < supervisor_count(fixture->supervisor); i++) {
		supervisor_status(fixture->supervisor, i, &status);
		if (strcmp(status.service, service) == 0 && status.shard == shard)
			return status;
	}
	return (struct unit_status){ .service = NULL };
}

/* Turns the loop until the condition holds; fails with the log if that takes too long. */
#define wait_for(fixture, condition)                                                 \
	do {                                                                         \
		const int64_t until_ms = clock_now_ms() + DEADLINE_MS;               \
		ev_timer tick;                                                       \
                                                                                     \
		ev_timer_init(&tick, on_tick, 0.005, 0.005);                         \
		ev_timer_start((fixture)->loop, &tick);                              \
		while (!(condition) && clock_now_ms() < until_ms)                    \
			ev_run((fixture)->loop, EVRUN_ONCE);                         \
		ev_timer_stop((fixture)->loop, &tick);                               \
		if (!(condition))                                                    \
			fail_msg("in vain: %s; the log:\n%s", #condition, log_text); \
	} while (0)

static void wait_state(struct fixture *fixture, const char *service, int shard,
		       enum unit_state state)
{
	wait_for(fixture, status_of(fixture, service, shard).service &&
				  status_of(fixture, service, shard).state == state);
}

static void turn_for(struct fixture *fixture, int64_t ms)
{
	const int64_t end_ms = clock_now_ms() + ms;

	wait_for(fixture, clock_now_ms() >= end_ms);
}

/* Specs */

static const char *const plain_env[] = { "PATH=/usr/bin:/bin", "VALUE=7", NULL };

struct shell {
	const char *argv[4];
};

static struct unit_spec shell_spec(struct shell *shell, const char *service, int shard,
				   const char *script)
{
	*shell = (struct shell){ { "/bin/sh", "-c", script, NULL } };
	return (struct unit_spec){
		.service = service,
		.shard = shard,
		.argv = shell->argv,
		.env = plain_env,
		.generation = "g-1",
	};
}

static struct unit_spec serving_spec(struct shell *shell, char **script, const char *service,
				     const char *before, int port)
{
	*script = xasprintf("%s exec '%s' --serve %d", before, self_path, port);
	struct unit_spec spec = shell_spec(shell, service, 0, *script);

	spec.rpc_host = "127.0.0.1";
	spec.rpc_port = port;
	return spec;
}

/* A socket bound to a free port of loopback. */
static int bind_somewhere(int *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static int free_port(void)
{
	int port;

	(void)close(bind_somewhere(&port));
	return port;
}

static char *output_of(const struct fixture *fixture, const char *service, int shard)
{
	int error;
	char *text = supervisor_output(fixture->supervisor, service, shard, 65536, &error);

	return text ? text : xstrdup("");
}

static bool output_has(const struct fixture *fixture, const char *service, const char *words)
{
	CLEAN(str) char *text = output_of(fixture, service, 0);

	return strstr(text, words);
}

/* A unit's life */

static void test_runs_and_stops(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec =
		shell_spec(&shell, "TelegramBot", 0, "echo hello; echo oops >&2; " PAUSE);
	const double before = clock_wall_s();

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_state(fixture, "TelegramBot", 0, UNIT_STARTING);
	wait_state(fixture, "TelegramBot", 0, UNIT_RUNNING);
	const struct unit_status status = status_of(fixture, "TelegramBot", 0);

	assert_true(status.healthy);
	assert_true(status.pid > 0);
	assert_true(status.since > before + 0.8);
	assert_int_equal(status.restarts, 0);
	assert_null(status.last_exit);
	assert_string_equal(status.generation, "g-1");
	assert_true(fixture->changes > 0);
	supervisor_stop(fixture->supervisor);
	wait_for(fixture, fixture->stopped);
	/* Asked for: no obituary in the status, but a line in the output. */
	assert_null(status_of(fixture, "TelegramBot", 0).last_exit);
	assert_int_equal(status_of(fixture, "TelegramBot", 0).pid, 0);
	CLEAN(str) char *text = output_of(fixture, "TelegramBot", 0);

	assert_non_null(strstr(text, "\nhello\noops\n--- "));
	assert_non_null(strstr(text, "generation g-1 ---\n"));
	assert_non_null(strstr(text, ", signal TERM ---\n"));
	assert_null(strstr(log_text, "1 supervision")); /* an asked-for end is no warning */
}

static void test_how_it_is_started(void **state)
{
	struct fixture *fixture = *state;
	const char *const argv[] = { self_path, "--inspect", NULL };
	const struct unit_spec spec = {
		.service = "Worker", .argv = argv, .env = plain_env, .generation = "g-1"
	};
	CLEAN(fd) int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CLEAN(fd) int inherited =
		fcntl(null_fd, F_DUPFD, 40); /* without close-on-exec, on purpose */
	sigset_t usr1;

	assert_true(inherited >= 40);
	(void)sigemptyset(&usr1);
	(void)sigaddset(&usr1, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &usr1, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, output_has(fixture, "Worker", "HOME="));
	(void)sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	assert_true(output_has(fixture, "Worker", "fds 0 1 2 3\n"));
	assert_true(output_has(fixture, "Worker", "blocked 0 handled 0\n"));
	assert_true(output_has(fixture, "Worker", "session 1 group 1\n"));
	assert_true(output_has(fixture, "Worker", "umask 022 cwd / uid "));
	assert_true(output_has(fixture, "Worker",
			       "null input 1\nappend 1\nslot 1\nVALUE=7 HOME=unset\n"));
}

static void test_drops_the_user(void **state)
{
	struct fixture *fixture = *state;
	const char *const argv[] = { self_path, "--inspect", NULL };
	const struct unit_spec spec = { .service = "Worker", .argv = argv, .env = plain_env };
	const gid_t groups[] = { 65534 };

	if (getuid() != 0) {
		print_message("SKIP: only root can drop a user\n");
		skip();
	}
	supervisor_free(fixture->supervisor);
	fixture->settings.drop_user = true;
	fixture->settings.uid = 65534;
	fixture->settings.gid = 65534;
	fixture->settings.groups = groups;
	fixture->settings.groups_len = ARRAY_LEN(groups);
	fixture->supervisor = supervisor_new(fixture->loop, &fixture->settings, NULL, NULL);
	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, output_has(fixture, "Worker", "uid ") ||
				  status_of(fixture, "Worker", 0).last_exit);
	if (status_of(fixture, "Worker", 0).last_exit) {
		/* The test program itself may lie where nobody else may look. */
		assert_string_equal(strrchr(status_of(fixture, "Worker", 0).last_exit, ':'),
				    ": Permission denied");
		return;
	}
	assert_true(output_has(fixture, "Worker", "uid 65534\n"));
}

static void test_ends_told(void **state)
{
	static const struct {
		const char *program; /* NULL: a shell with the script */
		const char *script;
		const char *last_exit;
		const char *log; /* NULL: as last_exit */
	} rows[] = {
		{ NULL, "exit 3", "exit status 3",
		  "generation 'g-1') ended unasked with exit status 3 after 0." },
		{ NULL, "kill -SEGV $$", "signal SEGV", NULL },
		{ "/nonexistent/cmsWorker", "",
		  "cannot execute /nonexistent/cmsWorker: No such file or directory", NULL },
		{ "/etc/passwd", "", "cannot execute /etc/passwd: Permission denied", NULL },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct shell shell;
		struct unit_spec spec = shell_spec(&shell, "Worker", (int)i, rows[i].script);

		if (rows[i].program)
			shell.argv[0] = rows[i].program;
		log_text[0] = '\0';
		supervisor_apply(fixture->supervisor, &spec, 1);
		wait_state(fixture, "Worker", (int)i, UNIT_BACKOFF);
		const struct unit_status status = status_of(fixture, "Worker", (int)i);

		assert_true(str_starts(status.last_exit, rows[i].last_exit));
		assert_non_null(strstr(status.note, rows[i].last_exit));
		assert_int_equal(status.pid, 0);
		assert_false(status.healthy);
		if (!strstr(log_text, rows[i].log ? rows[i].log : rows[i].last_exit) ||
		    !strstr(log_text, ", starting again in 0."))
			fail_msg("%s", log_text);
	}
}

static void test_backs_off_and_tries_again(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, "echo attempt; exit 1");

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, status_of(fixture, "Worker", 0).restarts >= 3);
}

/* Killed after it ran for a while: running again in the very turn of the loop that saw it. */
static void test_killed_unit_is_back_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, PAUSE);

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	const pid_t first = status_of(fixture, "Worker", 0).pid;

	assert_int_equal(kill(first, SIGKILL), 0);
	wait_for(fixture, status_of(fixture, "Worker", 0).pid != first);
	const struct unit_status status = status_of(fixture, "Worker", 0);

	assert_true(status.pid > 0);
	assert_int_equal(status.state, UNIT_STARTING);
	assert_int_equal(status.restarts, 1);
	assert_string_equal(status.last_exit, "signal KILL");
	assert_non_null(strstr(log_text, "ended unasked with signal KILL after 1."));
	assert_non_null(strstr(log_text, ", started again at once"));
}

/* Its end is told before its successor's start; a file that was taken away is made anew. */
static void test_output_over_a_restart(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, "echo attempt; exit 1");
	CLEAN(str) char *path = output_path(fixture->output_dir, "Worker", 0);

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, status_of(fixture, "Worker", 0).restarts >= 1);
	wait_state(fixture, "Worker", 0, UNIT_BACKOFF);
	CLEAN(str) char *text = output_of(fixture, "Worker", 0);
	const char *end = strstr(text, "attempt\n--- ");

	assert_non_null(end);
	assert_non_null(strstr(end, ", exit status 1 ---\n--- "));
	assert_int_equal(unlink(path), 0);
	wait_for(fixture, output_has(fixture, "Worker", "attempt\n"));
}

/* What a unit left behind in its group is gone before its successor starts. */
static void test_leftovers_are_killed_first(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec =
		shell_spec(&shell, "Worker", 0, "trap '' TERM; sleep 1000 & echo child $!; exit 1");

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, status_of(fixture, "Worker", 0).restarts >= 2);
	CLEAN(str) char *text = output_of(fixture, "Worker", 0);
	const char *at = strstr(text, "child ");

	assert_non_null(at);
	const pid_t child = (pid_t)strtol(at + strlen("child "), NULL, 10);

	/* Gone, or a zombie that only init can reap; holding no socket either way. */
	CLEAN(str) char *path = xasprintf("/proc/%ld/fd/3", (long)child);
	char link[64];

	assert_int_equal(readlink(path, link, sizeof(link)), -1);
	assert_null(strstr(log_text, "slot is held"));
}

/* Slots */

static void test_slot_is_held_by_another(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, PAUSE);
	int held = slot_socket_bind(fixture->slot_prefix, "Worker", 0, NULL);
	CLEAN(str) char *expected =
		xasprintf("slot is held by pid %ld (test_supervisor", (long)getpid());

	assert_true(held >= 0);
	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_state(fixture, "Worker", 0, UNIT_BACKOFF);
	const struct unit_status status = status_of(fixture, "Worker", 0);

	if (!str_starts(status.note, "slot is held by pid ") ||
	    !strstr(status.note, "started by another daemon; stop it"))
		fail_msg("%s", status.note);
	assert_true(strncmp(status.note, expected, strlen(expected) - strlen("test_supervisor")) ==
		    0);
	assert_int_equal(status.pid, 0);
	(void)close(held);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
}

static void test_slot_lives_with_the_unit(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, PAUSE);
	CLEAN(str) char *name = xasprintf("%sWorker-0", fixture->slot_prefix);
	struct slot_holder holder;

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	assert_int_equal(slot_socket_find_holder(name, &holder), 0);
	assert_int_equal(holder.pid, status_of(fixture, "Worker", 0).pid);
	assert_string_equal(holder.name, "sleep");
	supervisor_apply(fixture->supervisor, NULL, 0);
	wait_for(fixture, supervisor_count(fixture->supervisor) == 0);
	assert_int_equal(slot_socket_find_holder(name, &holder), -ENOENT);
}

static void test_slot_name_too_long(void **state)
{
	struct err err = { 0 };
	char prefix[200];

	(void)state;
	memset(prefix, 'x', sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = '\0';
	assert_int_equal(slot_socket_bind(prefix, "Worker", 0, &err), -ENAMETOOLONG);
}

/* The wanted state */

static void test_follows_the_wanted_state(void **state)
{
	struct fixture *fixture = *state;
	struct shell shells[2];
	struct unit_spec specs[] = {
		shell_spec(&shells[0], "Worker", 0, PAUSE),
		shell_spec(&shells[1], "Worker", 1, PAUSE),
	};

	supervisor_apply(fixture->supervisor, specs, 2);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	wait_state(fixture, "Worker", 1, UNIT_RUNNING);
	const pid_t first = status_of(fixture, "Worker", 0).pid;
	const pid_t second = status_of(fixture, "Worker", 1).pid;

	/*
	 * The same again, a new generation that does not matter, and one that is said to but
	 * runs already.
	 */
	supervisor_apply(fixture->supervisor, specs, 2);
	specs[0].must_restart = true;
	specs[1].generation = "g-2";
	supervisor_apply(fixture->supervisor, specs, 2);
	turn_for(fixture, 100);
	assert_int_equal(status_of(fixture, "Worker", 0).pid, first);
	assert_int_equal(status_of(fixture, "Worker", 1).pid, second);
	assert_string_equal(status_of(fixture, "Worker", 1).generation, "g-1");

	/* One that matters, said twice while it is being followed. */
	specs[0].generation = "g-2";
	supervisor_apply(fixture->supervisor, specs, 2);
	supervisor_apply(fixture->supervisor, specs, 2);
	wait_for(fixture, status_of(fixture, "Worker", 0).pid != first &&
				  status_of(fixture, "Worker", 0).pid);
	const pid_t third = status_of(fixture, "Worker", 0).pid;

	supervisor_apply(fixture->supervisor, specs, 2);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	assert_int_equal(status_of(fixture, "Worker", 0).pid, third);
	assert_string_equal(status_of(fixture, "Worker", 0).generation, "g-2");
	assert_int_equal(status_of(fixture, "Worker", 0).restarts, 0);

	/* One less, and one that shall not run. */
	specs[0].disabled = "stopped by the operator";
	supervisor_apply(fixture->supervisor, specs, 1);
	wait_state(fixture, "Worker", 0, UNIT_DISABLED);
	wait_for(fixture, supervisor_count(fixture->supervisor) == 1);
	assert_string_equal(status_of(fixture, "Worker", 0).note, "stopped by the operator");
	assert_int_equal(supervisor_restart(fixture->supervisor, "Worker", 1), -ENOENT);
	specs[0].disabled = NULL;
	supervisor_apply(fixture->supervisor, specs, 1);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
}

static void test_restart_on_request(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, PAUSE);

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	const pid_t first = status_of(fixture, "Worker", 0).pid;

	assert_int_equal(supervisor_restart(fixture->supervisor, "Worker", 0), 0);
	assert_int_equal(status_of(fixture, "Worker", 0).state, UNIT_STOPPING);
	wait_for(fixture, status_of(fixture, "Worker", 0).pid != first &&
				  status_of(fixture, "Worker", 0).pid);
	assert_int_equal(status_of(fixture, "Worker", 0).restarts, 0);
}

/*
 * A new generation may cure what keeps a unit from running: it does not wait for the
 * end of the back-off.
 */
static void test_new_generation_ends_the_backoff(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	struct unit_spec spec = shell_spec(&shell, "Worker", 0, "exit 1");

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, status_of(fixture, "Worker", 0).restarts >= 3);
	wait_state(fixture, "Worker", 0, UNIT_BACKOFF);
	spec = shell_spec(&shell, "Worker", 0, PAUSE);
	spec.generation = "g-2";
	supervisor_apply(fixture->supervisor, &spec, 1);
	assert_int_equal(status_of(fixture, "Worker", 0).state, UNIT_STARTING);
}

/* LogService first */

static void test_others_wait_for_the_first(void **state)
{
	struct fixture *fixture = *state;
	struct shell shells[2];
	CLEAN(str) char *script = NULL;
	struct unit_spec specs[] = {
		shell_spec(&shells[0], "Worker", 0, PAUSE),
		serving_spec(&shells[1], &script, "LogService", "sleep 0.3;", free_port()),
	};

	specs[1].starts_first = true;
	const int64_t begin_ms = clock_now_ms();

	supervisor_apply(fixture->supervisor, specs, 2);
	assert_int_equal(status_of(fixture, "Worker", 0).state, UNIT_WAITING);
	assert_string_equal(status_of(fixture, "Worker", 0).note,
			    "waits for LogService-0, which starts first");
	wait_state(fixture, "Worker", 0, UNIT_STARTING);
	assert_true(clock_now_ms() - begin_ms >= 250);
	assert_true(output_has(fixture, "LogService", "serving\n"));
	assert_null(status_of(fixture, "Worker", 0).note);
	/* Its later troubles are not theirs. */
	assert_int_equal(kill(status_of(fixture, "LogService", 0).pid, SIGKILL), 0);
	assert_int_equal(supervisor_restart(fixture->supervisor, "Worker", 0), 0);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
}

/* LogService that never answers, on `port`, and a Worker behind it; how long the Worker waited. */
static int64_t measure_gate(struct fixture *fixture, int port)
{
	struct shell shells[2];
	struct unit_spec specs[] = {
		shell_spec(&shells[0], "LogService", 0, PAUSE),
		shell_spec(&shells[1], "Worker", 0, PAUSE),
	};

	specs[0].starts_first = true;
	specs[0].rpc_host = "127.0.0.1";
	specs[0].rpc_port = port;
	/* Long intervals: a first unit that is unhealthy lets the others go as well. */
	supervisor_free(fixture->supervisor);
	fixture->settings.health_interval_s = 5;
	fixture->supervisor = supervisor_new(fixture->loop, &fixture->settings, NULL, NULL);
	const int64_t begin_ms = clock_now_ms();

	supervisor_apply(fixture->supervisor, specs, 2);
	assert_int_equal(status_of(fixture, "Worker", 0).state, UNIT_WAITING);
	wait_state(fixture, "Worker", 0, UNIT_STARTING);
	return clock_now_ms() - begin_ms;
}

static void test_others_go_when_the_port_accepts(void **state)
{
	int port;
	CLEAN(fd) int fd = bind_somewhere(&port);

	assert_int_equal(listen(fd, 5), 0);
	assert_true(measure_gate(*state, port) < 900);
}

static void test_others_wait_one_second_at_most(void **state)
{
	assert_in_range(measure_gate(*state, free_port()), 900, 3000);
}

static void test_first_is_stopped_last(void **state)
{
	struct fixture *fixture = *state;
	struct shell shells[3];
	CLEAN(str) char *slow =
		xasprintf("trap 'sleep 0.1; echo worker >> %s/order; exit' TERM; echo up; "
			  "while :; do sleep 0.02; done",
			  fixture->dir);
	CLEAN(str) char *first = xasprintf("trap 'echo log >> %s/order; exit' TERM; echo up; "
					   "while :; do sleep 0.02; done",
					   fixture->dir);
	CLEAN(str) char *order = xasprintf("%s/order", fixture->dir);
	struct unit_spec specs[] = {
		shell_spec(&shells[0], "LogService", 0, first),
		shell_spec(&shells[1], "Worker", 0, slow),
		shell_spec(&shells[2], "Checker", 0, slow),
	};
	int error;

	specs[0].starts_first = true;
	supervisor_apply(fixture->supervisor, specs, 3);
	wait_for(fixture, output_has(fixture, "LogService", "up\n") &&
				  output_has(fixture, "Worker", "up\n") &&
				  output_has(fixture, "Checker", "up\n"));
	supervisor_stop(fixture->supervisor);
	wait_for(fixture, fixture->stopped);
	CLEAN(str) char *text = output_tail(order, 1000, &error);

	assert_string_equal(text, "worker\nworker\nlog\n");
}

/* Stopping those that do not want to */

static struct unit_spec stubborn_spec(struct shell *shell, const char *service)
{
	return shell_spec(shell, service, 0, "trap '' TERM; echo up; while :; do sleep 0.05; done");
}

static void test_killed_after_the_grace(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = stubborn_spec(&shell, "Worker");

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, output_has(fixture, "Worker", "up\n"));
	const int64_t begin_ms = clock_now_ms();

	supervisor_stop(fixture->supervisor);
	wait_for(fixture, fixture->stopped);
	assert_in_range(clock_now_ms() - begin_ms, 250, 1500);
	assert_true(output_has(fixture, "Worker", ", signal KILL ---"));
}

/* How long all together may take, and that a second stop does not wait even for that. */
static void stop_with_long_grace(struct fixture *fixture, double budget_s, bool hurry,
				 int64_t max_ms)
{
	const struct supervisor_events events = { on_changed, on_stopped, fixture };
	struct shell shells[2];
	struct unit_spec specs[] = { stubborn_spec(&shells[0], "LogService"),
				     stubborn_spec(&shells[1], "Worker") };

	supervisor_free(fixture->supervisor);
	fixture->settings.grace_s = 60;
	fixture->settings.stop_budget_s = budget_s;
	fixture->supervisor = supervisor_new(fixture->loop, &fixture->settings, &events, NULL);
	specs[0].starts_first = true;
	supervisor_apply(fixture->supervisor, specs, 2);
	wait_for(fixture, output_has(fixture, "LogService", "up\n") &&
				  output_has(fixture, "Worker", "up\n"));
	const int64_t begin_ms = clock_now_ms();

	supervisor_stop(fixture->supervisor);
	supervisor_apply(fixture->supervisor, specs, 2); /* too late: ignored */
	if (hurry)
		supervisor_stop(fixture->supervisor);
	wait_for(fixture, fixture->stopped);
	assert_true(clock_now_ms() - begin_ms < max_ms);
}

static void test_stop_budget(void **state)
{
	stop_with_long_grace(*state, 0.5, false, 5000);
	assert_non_null(strstr(log_text, "units still run after 0.5 s of stopping, killing them"));
}

static void test_second_stop_hurries(void **state)
{
	stop_with_long_grace(*state, 60.0, true, 5000);
}

static void test_stop_with_nothing_to_stop(void **state)
{
	struct fixture *fixture = *state;

	supervisor_stop(fixture->supervisor);
	assert_false(fixture->stopped); /* only from the loop */
	wait_for(fixture, fixture->stopped);
}

static void test_free_leaves_nobody(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = stubborn_spec(&shell, "Worker");

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, output_has(fixture, "Worker", "up\n"));
	const pid_t pid = status_of(fixture, "Worker", 0).pid;

	supervisor_free(steal(fixture->supervisor));
	assert_int_equal(kill(pid, 0), -1); /* and teardown() finds no zombie */
}

/* Health */

static void test_hung_unit_is_unhealthy(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	CLEAN(str) char *script = NULL;
	const struct unit_spec spec = serving_spec(&shell, &script, "Worker", "", free_port());

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	assert_true(status_of(fixture, "Worker", 0).healthy);
	const pid_t pid = status_of(fixture, "Worker", 0).pid;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	wait_for(fixture, !status_of(fixture, "Worker", 0).healthy);
	assert_int_equal(status_of(fixture, "Worker", 0).state, UNIT_RUNNING);
	wait_state(fixture, "Worker", 0, UNIT_UNHEALTHY);
	assert_int_equal(status_of(fixture, "Worker", 0).pid, pid);
	assert_int_equal(kill(pid, SIGCONT), 0);
	wait_state(fixture, "Worker", 0, UNIT_RUNNING);
	wait_for(fixture, status_of(fixture, "Worker", 0).healthy);
	/* A frozen unit does not take TERM either. */
	assert_int_equal(kill(pid, SIGSTOP), 0);
	supervisor_apply(fixture->supervisor, NULL, 0);
	wait_for(fixture, supervisor_count(fixture->supervisor) == 0);
}

/* Output */

static void write_lines(const char *path, size_t n)
{
	FILE *file = fopen(path, "a");

	assert_non_null(file);
	for (size_t i = 0; i < n; i++)
		(void)fprintf(file, "line %08zu ...................................\n", i);
	(void)fclose(file);
}

static void test_output_tail(void **state)
{
	static const struct {
		const char *bytes;
		size_t len, max;
		const char *expected;
	} rows[] = {
		{ "", 0, 10, "" },
		{ "a\nb\n", 4, 100, "a\nb\n" },
		{ "a\nb\n", 4, 4, "a\nb\n" },
		{ "a\nb\n", 4, 3, "b\n" },
		{ "a\nb\n", 4, 2, "b\n" },
		{ "a\nb\n", 4, 1, "" },
		{ "abcdef", 6, 3, "def" },
		{ "\0\0\0d\nb\n", 7, 100, "b\n" },
		{ "a\nb\0c\n", 6, 100, "a\nb c\n" },
	};
	const struct fixture *fixture = *state;
	CLEAN(str) char *path = output_path(fixture->output_dir, "Worker", 9);
	int error;

	assert_null(output_tail(path, 10, &error));
	assert_int_equal(error, -ENOENT);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEAN(fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		assert_int_equal(write(fd, rows[i].bytes, rows[i].len), rows[i].len);
		CLEAN(str) char *tail = output_tail(path, rows[i].max, &error);

		assert_string_equal(tail, rows[i].expected);
	}
}

/* A service that writes as fast as it can costs a little room, not the disk. */
static void test_flood_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct shell shell;
	const struct unit_spec spec = shell_spec(&shell, "Worker", 0, "exec yes flood");
	CLEAN(str) char *path = output_path(fixture->output_dir, "Worker", 0);
	struct stat st;

	supervisor_apply(fixture->supervisor, &spec, 1);
	wait_for(fixture, stat(path, &st) == 0 && st.st_size > 64 * OUTPUT_ALLOCATED_MAX);
	supervisor_stop(fixture->supervisor);
	wait_for(fixture, fixture->stopped);
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_blocks * 512, 0, OUTPUT_ALLOCATED_MAX + 65536);
}

static void test_output_is_kept_small(void **state)
{
	const struct fixture *fixture = *state;
	CLEAN(str) char *path = output_path(fixture->output_dir, "Worker", 9);
	struct stat st;
	int error;

	write_lines(path, 1000);
	assert_int_equal(output_trim(path), 0);
	CLEAN(str) char *all = output_tail(path, 1 << 20, &error);

	assert_true(str_starts(all, "line 00000000 ")); /* small: untouched */
	write_lines(path, 100000);
	assert_int_equal(output_trim(path), 1);
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_blocks * 512, OUTPUT_KEEP, OUTPUT_KEEP + 65536);
	CLEAN(str) char *tail = output_tail(path, 1 << 20, &error);

	assert_in_range(strlen(tail), OUTPUT_KEEP - 100, OUTPUT_KEEP + 8192);
	assert_true(str_starts(tail, "line 0009"));
	assert_non_null(strstr(tail, "line 00099999 "));
}

static void test_output_of_strangers(void **state)
{
	const struct fixture *fixture = *state;
	int error = 0;

	assert_null(supervisor_output(fixture->supervisor, "../../etc/passwd", 0, 100, &error));
	assert_int_equal(error, -ENOENT);
}

static void test_output_directory_refused(void **state)
{
	const struct fixture *fixture = *state;
	const struct supervisor_settings settings = { .output_dir = "/dev/null/output" };
	struct err err = { 0 };

	assert_null(supervisor_new(fixture->loop, &settings, NULL, &err));
	assert_int_equal(err.code, -ENOTDIR);
	assert_non_null(strstr(err.msg, "/dev/null/output"));
}

/* Many at once */

static void test_64_units(void **state)
{
	struct fixture *fixture = *state;
	struct shell shells[64];
	struct unit_spec specs[64];

	for (int i = 0; i < 64; i++)
		specs[i] = shell_spec(&shells[i], "Worker", i, PAUSE);
	supervisor_apply(fixture->supervisor, specs, 64);
	for (int i = 0; i < 64; i++)
		wait_state(fixture, "Worker", i, UNIT_RUNNING);
	supervisor_stop(fixture->supervisor);
	wait_for(fixture, fixture->stopped);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		TEST(test_runs_and_stops),
		TEST(test_how_it_is_started),
		TEST(test_drops_the_user),
		TEST(test_ends_told),
		TEST(test_backs_off_and_tries_again),
		TEST(test_killed_unit_is_back_at_once),
		TEST(test_output_over_a_restart),
		TEST(test_leftovers_are_killed_first),
		TEST(test_slot_is_held_by_another),
		TEST(test_slot_lives_with_the_unit),
		TEST(test_slot_name_too_long),
		TEST(test_follows_the_wanted_state),
		TEST(test_restart_on_request),
		TEST(test_new_generation_ends_the_backoff),
		TEST(test_others_wait_for_the_first),
		TEST(test_others_go_when_the_port_accepts),
		TEST(test_others_wait_one_second_at_most),
		TEST(test_first_is_stopped_last),
		TEST(test_killed_after_the_grace),
		TEST(test_stop_budget),
		TEST(test_second_stop_hurries),
		TEST(test_stop_with_nothing_to_stop),
		TEST(test_free_leaves_nobody),
		TEST(test_hung_unit_is_unhealthy),
		TEST(test_output_tail),
		TEST(test_flood_is_bounded),
		TEST(test_output_is_kept_small),
		TEST(test_output_of_strangers),
		TEST(test_output_directory_refused),
		TEST(test_64_units),
	};

	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		return help_serve(argv[2]);
	if (argc == 2 && strcmp(argv[1], "--inspect") == 0)
		return help_inspect();
	if (readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
