/* SPDX-License-Identifier: MIT */
/*
 * The cost of seeing the network, in the namespace that it is started in:
 *     bench_netlink snapshot N    N times: sockets, first dump, choice of an address
 *     bench_netlink watch         the monitor on a loop until standard input ends
 * Prints one line "NAME VALUE NAME VALUE ..."; times are in seconds. "watch"
 * prints the line "ready" before, when it has its first snapshot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>

#include "cmsnode/base/err.h"
#include "cmsnode/network/address_choice.h"
#include "cmsnode/network/interfaces.h"
#include "cmsnode/network/netlink.h"

struct watch {
	struct netlink *netlink;
	unsigned int changes;
	double last_change;
};

static double now(clockid_t clock)
{
	struct timespec time;

	(void)clock_gettime(clock, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct netlink *open_or_die(struct ev_loop *loop)
{
	struct err err;
	struct netlink *netlink = netlink_new(loop, &err);

	if (!netlink) {
		(void)fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	return netlink;
}

static double choice_cpu(const struct interfaces *interfaces)
{
	const struct address_question question = { .interfaces = interfaces };
	const double begin = now(CLOCK_PROCESS_CPUTIME_ID);
	struct address_choice choice;

	address_choose(&question, &choice);
	address_choice_fini(&choice);
	return now(CLOCK_PROCESS_CPUTIME_ID) - begin;
}

static int run_snapshot(struct ev_loop *loop, long times)
{
	double dump_cpu = 0;
	double choose_cpu = 0;
	size_t addresses = 0;

	for (long i = 0; i < times; i++) {
		const double begin = now(CLOCK_PROCESS_CPUTIME_ID);
		struct netlink *netlink = open_or_die(loop);

		dump_cpu += now(CLOCK_PROCESS_CPUTIME_ID) - begin;
		choose_cpu += choice_cpu(netlink_snapshot(netlink));
		addresses = netlink_snapshot(netlink)->addresses_len;
		netlink_free(netlink);
	}
	printf("addresses %zu dump_cpu %.6f choose_cpu %.6f\n", addresses, dump_cpu / (double)times,
	       choose_cpu / (double)times);
	return 0;
}

static void on_change(void *ctx)
{
	struct watch *watch = ctx;

	watch->changes++;
	watch->last_change = now(CLOCK_MONOTONIC);
}

static void on_stdin(struct ev_loop *loop, ev_io *w, int revents)
{
	char bytes[64];

	(void)revents;
	if (read(w->fd, bytes, sizeof(bytes)) <= 0)
		ev_break(loop, EVBREAK_ALL);
}

static int run_watch(struct ev_loop *loop)
{
	struct watch watch = { .netlink = open_or_die(loop) };
	struct rusage usage;
	ev_io input;

	netlink_on_change(watch.netlink, on_change, &watch);
	ev_io_init(&input, on_stdin, STDIN_FILENO, EV_READ);
	ev_io_start(loop, &input);
	puts("ready");
	(void)fflush(stdout);
	const double begin = now(CLOCK_PROCESS_CPUTIME_ID);
	const unsigned int first_turn = ev_iteration(loop);

	ev_run(loop, 0);
	const double cpu = now(CLOCK_PROCESS_CPUTIME_ID) - begin;

	(void)getrusage(RUSAGE_SELF, &usage);
	printf("addresses %zu cpu %.6f turns %u changes %u last_change %.6f rss_kb %ld\n",
	       netlink_snapshot(watch.netlink)->addresses_len, cpu, ev_iteration(loop) - first_turn,
	       watch.changes, watch.last_change, usage.ru_maxrss);
	netlink_free(watch.netlink);
	return 0;
}

int main(int argc, char *argv[])
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	int r = 2;

	if (argc == 3 && strcmp(argv[1], "snapshot") == 0)
		r = run_snapshot(loop, strtol(argv[2], NULL, 10));
	else if (argc == 2 && strcmp(argv[1], "watch") == 0)
		r = run_watch(loop);
	else
		(void)fprintf(stderr, "usage: bench_netlink snapshot N | watch\n");
	ev_loop_destroy(loop);
	return r;
}
