/* SPDX-License-Identifier: MIT */
/*
 * Look-ups off the loop. This program's own getaddrinfo() stands in for the
 * name servers: it maps names to literals, counts, fails and hangs as told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <ev.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/topology/resolver.h"

#define DEADLINE_S 5.0
#define DEADLINE_MS 5000

typedef void ev_async_send_fn(struct ev_loop *, ev_async *);
typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static atomic_int flaky_error; /* what "flaky" answers; 0 = 10.0.0.3 */
static atomic_int asked_on_loop; /* look-ups made by the loop's own thread */
static atomic_int started; /* look-ups of "stuck" */
static atomic_int signals_open; /* look-ups made with a signal not blocked */
static sem_t gate; /* each post lets one "stuck" go */
static pthread_t loop_thread;
static int threads_at_start;
static getaddrinfo_fn *real_getaddrinfo;
static ev_async_send_fn *real_ev_async_send;
static atomic_int wakes; /* of the loop, by the thread */

static void wait_at_the_gate(void)
{
	atomic_fetch_add(&started, 1);
	while (sem_wait(&gate) < 0 && errno == EINTR)
		;
}

static int two_addresses(const struct addrinfo *hints, struct addrinfo **ret)
{
	struct addrinfo *second = NULL;
	struct addrinfo *again = NULL;

	if (real_getaddrinfo("10.0.0.5", NULL, hints, ret) ||
	    real_getaddrinfo("fd00::5", NULL, hints, &second) ||
	    real_getaddrinfo("10.0.0.5", NULL, hints, &again))
		return EAI_FAIL;
	(*ret)->ai_next = second;
	second->ai_next = again;
	return 0;
}

int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
	static const struct {
		const char *name, *literal;
	} names[] = {
		{ "good", "10.0.0.1" },
		{ "stuck", "10.0.0.2" },
		{ "flaky", "10.0.0.3" },
	};
	sigset_t blocked;

	if (pthread_equal(pthread_self(), loop_thread))
		atomic_fetch_add(&asked_on_loop, 1);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (!sigismember(&blocked, SIGTERM))
		atomic_fetch_add(&signals_open, 1);
	if (str_eq(node, "stuck"))
		wait_at_the_gate();
	if (str_eq(node, "flaky") && atomic_load(&flaky_error))
		return atomic_load(&flaky_error);
	if (str_eq(node, "two"))
		return two_addresses(hints, ret);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq(node, names[i].name))
			return real_getaddrinfo(names[i].literal, service, hints, ret);
	/* Literals; no other name leaves this machine. */
	struct addrinfo numeric = *hints;

	numeric.ai_flags |= AI_NUMERICHOST;
	return real_getaddrinfo(node, service, &numeric, ret);
}

void ev_async_send(struct ev_loop *loop, ev_async *watcher)
{
	atomic_fetch_add(&wakes, 1);
	real_ev_async_send(loop, watcher);
}

/* ---- the loop ---- */

struct fixture {
	struct ev_loop *loop;
	struct resolver *resolver;
	int calls;
};

static void on_resolved(void *ctx)
{
	struct fixture *f = ctx;

	f->calls++;
	ev_break(f->loop, EVBREAK_ONE);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)timer;
	(void)events;
	ev_break(loop, EVBREAK_ONE);
}

/* Runs the loop until on_resolved was called `calls` times in all; fails at the deadline. */
static void wait_for(struct fixture *f, int calls)
{
	ev_timer deadline;

	ev_timer_init(&deadline, on_deadline, DEADLINE_S, 0.);
	ev_timer_start(f->loop, &deadline);
	while (f->calls < calls && ev_is_active(&deadline))
		ev_run(f->loop, 0);
	ev_timer_stop(f->loop, &deadline);
	assert_int_equal(f->calls, calls);
}

static void request(struct fixture *f, const char *hosts)
{
	CLEAN(str_list) struct str_list list = { 0 };

	str_list_split(&list, hosts, ',');
	resolver_request(f->resolver, &list);
}

/* "good=10.0.0.1 two=10.0.0.5,fd00::5 bad=!" */
static char *show(const struct fixture *f)
{
	const struct resolved_hosts *answers = resolver_answers(f->resolver);
	CLEAN(str_list) struct str_list hosts = { 0 };

	for (size_t i = 0; i < answers->len; i++) {
		const struct resolved_host *host = &answers->items[i];
		CLEAN(str_list) struct str_list addresses = { 0 };

		for (size_t k = 0; k < host->len; k++) {
			char text[ADDRESS_TEXT_SIZE];

			address_format(&host->addresses[k], text);
			str_list_add(&addresses, text);
		}
		CLEAN(str) char *joined = str_list_join(&addresses, ",");

		str_list_take(&hosts,
			      xasprintf("%s=%s%s", host->host, joined, host->error ? "!" : ""));
	}
	return str_list_join(&hosts, " ");
}

static void check(const struct fixture *f, const char *expected)
{
	CLEAN(str) char *shown = show(f);

	assert_string_equal(shown, expected);
}

static int count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int threads = 0;

	assert_non_null(tasks);
	for (const struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks))
		threads += entry->d_name[0] != '.';
	(void)closedir(tasks);
	return threads;
}

/* Polls, since a thread ends on its own time. */
static void wait_until_no_look_up_runs(void)
{
	const int64_t deadline = clock_now_ms() + DEADLINE_MS;

	while (count_threads() > threads_at_start && clock_now_ms() < deadline)
		(void)usleep(1000);
	assert_int_equal(count_threads(), threads_at_start);
}

static void *do_nothing(void *argument)
{
	return argument;
}

/* The thread sanitizer starts one of its own beside a program's first, and keeps it. */
static int count_threads_at_start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, do_nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
		return -1;
	(void)usleep(20000); /* a joined thread's task may be listed for a moment */
	return count_threads();
}

static void wait_until_started(int count)
{
	const int64_t deadline = clock_now_ms() + DEADLINE_MS;

	while (atomic_load(&started) < count && clock_now_ms() < deadline)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&started), count);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->loop = ev_loop_new(EVFLAG_AUTO);
	f->resolver = resolver_new(f->loop, on_resolved, f);
	atomic_store(&flaky_error, 0);
	atomic_store(&started, 0);
	atomic_store(&signals_open, 0);
	atomic_store(&wakes, 0);
	*state = f;
	return sem_init(&gate, 0, 0);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	resolver_free(f->resolver);
	ev_loop_destroy(f->loop);
	free(f);
	wait_until_no_look_up_runs();
	return sem_destroy(&gate);
}

/* ---- tests ---- */

static void hosts_are_looked_up(void **state)
{
	static const struct {
		const char *hosts, *answers;
	} cases[] = {
		{ "good", "good=10.0.0.1" },
		{ "two,good", "two=10.0.0.5,fd00::5 good=10.0.0.1" },
		{ "192.0.2.7,2001:db8::7,::1",
		  "192.0.2.7=192.0.2.7 2001:db8::7=2001:db8::7 ::1=::1" },
		{ "bad,good", "bad=! good=10.0.0.1" },
		{ "good,good", "good=10.0.0.1 good=10.0.0.1" },
		{ "", "" },
	};
	struct fixture *f = *state;

	check(f, "");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		request(f, cases[i].hosts);
		wait_for(f, (int)i + 1);
		check(f, cases[i].answers);
	}
	assert_int_equal(atomic_load(&asked_on_loop), 0);
	assert_int_equal(atomic_load(&signals_open), 0);
}

static void answers_are_found_by_host(void **state)
{
	struct fixture *f = *state;

	request(f, "good,bad");
	wait_for(f, 1);
	const struct resolved_host *good =
		resolved_hosts_find(resolver_answers(f->resolver), "good");
	const struct resolved_host *bad = resolved_hosts_find(resolver_answers(f->resolver), "bad");

	assert_non_null(good);
	assert_int_equal(good->error, 0);
	assert_non_null(bad);
	assert_int_equal(bad->error, EAI_NONAME);
	assert_int_equal(bad->len, 0);
	assert_null(resolved_hosts_find(resolver_answers(f->resolver), "goo"));
}

static void a_failure_keeps_the_last_good_addresses(void **state)
{
	static const struct {
		int error;
		const char *hosts, *answers;
	} steps[] = {
		{ EAI_AGAIN, "flaky", "flaky=!" },
		{ 0, "flaky,good", "flaky=10.0.0.3 good=10.0.0.1" },
		{ EAI_AGAIN, "flaky,good", "flaky=10.0.0.3! good=10.0.0.1" },
		{ EAI_NONAME, "good,flaky", "good=10.0.0.1 flaky=10.0.0.3!" },
		{ 0, "flaky", "flaky=10.0.0.3" },
		{ 0, "good", "good=10.0.0.1" },
		/* A request without it has forgotten it. */
		{ EAI_AGAIN, "flaky", "flaky=!" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		atomic_store(&flaky_error, steps[i].error);
		request(f, steps[i].hosts);
		wait_for(f, (int)i + 1);
		check(f, steps[i].answers);
	}
}

static void a_newer_request_replaces_the_one_that_waits(void **state)
{
	struct fixture *f = *state;

	request(f, "stuck");
	wait_until_started(1);
	request(f, "bad");
	request(f, "two");
	request(f, "good");
	assert_int_equal(f->calls, 0);
	(void)sem_post(&gate);
	/*
	 * The stuck batch and the newest one; each is reported unless the loop was
	 * slower than both.
	 */
	wait_for(f, 1);
	CLEAN(str) char *first = show(f);

	if (str_eq(first, "stuck=10.0.0.2"))
		wait_for(f, 2);
	check(f, "good=10.0.0.1");
}

static void good_addresses_survive_answers_that_nobody_fetched(void **state)
{
	struct fixture *f = *state;

	request(f, "flaky,stuck");
	wait_until_started(1);
	request(f, "stuck,flaky");
	(void)sem_post(&gate);
	wait_until_started(2);
	/* The first batch lies on the desk, unfetched: the loop has not run. */
	atomic_store(&flaky_error, EAI_AGAIN);
	(void)sem_post(&gate);
	wait_until_no_look_up_runs();
	wait_for(f, 1);
	check(f, "stuck=10.0.0.2 flaky=10.0.0.3!");
}

static void the_loop_runs_while_a_name_server_hangs(void **state)
{
	struct fixture *f = *state;
	ev_timer soon;

	request(f, "stuck");
	wait_until_started(1);
	ev_timer_init(&soon, on_deadline, 0.01, 0.);
	ev_timer_start(f->loop, &soon);
	const int64_t before = clock_now_ms();

	ev_run(f->loop, 0);
	assert_true(clock_now_ms() - before < 1000);
	assert_int_equal(f->calls, 0);
	(void)sem_post(&gate);
	wait_for(f, 1);
}

static void free_does_not_wait(void **state)
{
	struct fixture *f = *state;

	request(f, "stuck,good");
	wait_until_started(1);
	request(f, "stuck,bad");
	const int64_t before = clock_now_ms();

	resolver_free(f->resolver);
	f->resolver = NULL;
	assert_true(clock_now_ms() - before < 1000);
	(void)sem_post(&gate);
	wait_until_no_look_up_runs();
	/* What waited was not begun any more, and nobody was called. */
	ev_run(f->loop, EVRUN_NOWAIT);
	assert_int_equal(atomic_load(&started), 1);
	assert_int_equal(atomic_load(&wakes), 0);
	assert_int_equal(f->calls, 0);
}

static void free_with_an_answer_nobody_fetched(void **state)
{
	struct fixture *f = *state;

	request(f, "good");
	wait_until_no_look_up_runs();
	resolver_free(f->resolver);
	f->resolver = NULL;
	ev_run(f->loop, EVRUN_NOWAIT);
	assert_int_equal(f->calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hosts_are_looked_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(answers_are_found_by_host, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_failure_keeps_the_last_good_addresses, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_newer_request_replaces_the_one_that_waits, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(good_addresses_survive_answers_that_nobody_fetched,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_loop_runs_while_a_name_server_hangs, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(free_does_not_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(free_with_an_answer_nobody_fetched, set_up,
						tear_down),
	};

	loop_thread = pthread_self();
	threads_at_start = count_threads_at_start();
	*(void **)&real_getaddrinfo = dlsym(RTLD_NEXT, "getaddrinfo");
	*(void **)&real_ev_async_send = dlsym(RTLD_NEXT, "ev_async_send");
	if (!real_getaddrinfo || !real_ev_async_send || threads_at_start < 1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
