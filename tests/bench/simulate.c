/* SPDX-License-Identifier: MIT */
/*
 * simulate [--empty] [--derived] [--spread MS] [--rate MB/S] [--random N] [NODES...]:
 * storms of 10, 100, 1000 and 5000 nodes in virtual time, as a table. Ends with 1
 * when a target is missed: nobody failed, at most 12 requests a node to join (that
 * renew no lease), at most 3 generations.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "storm.h"

#define REQUESTS_MAX 12
#define GENERATIONS_MAX 3
#define NODES_MAX 10000

static double cpu_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double per_node(uint64_t value, size_t nodes)
{
	return (double)value / (double)nodes;
}

static bool show(const char *what, size_t movers, const struct storm_toll *toll, double cpu)
{
	const double requests = per_node(toll->requests - toll->renewals, toll->nodes);
	const bool missed =
		toll->failed || toll->generations > GENERATIONS_MAX || requests > REQUESTS_MAX;

	printf("%-6s %6zu %9.2f %7.2f %6" PRIu64 " %5" PRIu64 " %10" PRIu64 " %6" PRIu64
	       " %9.2f %9.1f %9.1f %7zu %8.1f%s\n",
	       what, movers, requests, per_node(toll->renewals, toll->nodes), toll->requests_most,
	       toll->generations, toll->conflicts, toll->lost, (double)toll->took_ms / 1000,
	       per_node(toll->bytes_sent, toll->nodes) / 1000,
	       per_node(toll->bytes_received, toll->nodes) / 1000, toll->failed, cpu,
	       missed ? "  MISSED" : "");
	(void)fflush(stdout);
	return !missed;
}

static bool simulate(const struct storm_settings *settings)
{
	double start = cpu_s();
	struct storm *storm = storm_new(settings);
	struct storm_toll toll;
	size_t entries, bytes;

	storm_join(storm, &toll);
	bool kept = show("join", settings->nodes, &toll, cpu_s() - start);

	storm_size(storm, &entries, &bytes);
	start = cpu_s();
	storm_leave(storm, &toll);
	kept = show("leave", settings->nodes / 2, &toll, cpu_s() - start) && kept;
	storm_free(storm);
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	printf("       a generation: %zu entries, %.1f kB; memory until now: %.0f MB\n", entries,
	       (double)bytes / 1000, (double)usage.ru_maxrss / 1024);
	return kept;
}

static int64_t number(const char *text, int64_t max)
{
	int64_t value;

	if (str_to_int64(text, 0, max, &value) < 0) {
		(void)fprintf(stderr, "simulate: '%s' is not a number up to %" PRId64 "\n", text,
			      max);
		exit(2);
	}
	return value;
}

static bool option(int c, struct storm_settings *settings)
{
	switch (c) {
	case 'e':
		settings->empty = true;
		return true;
	case 'd':
		settings->derived = true;
		return true;
	case 'p':
		settings->spread_ms = number(optarg, 600000);
		return true;
	case 'r':
		settings->bytes_per_us = number(optarg, 1000000);
		return true;
	case 's':
		settings->random = (uint64_t)number(optarg, INT64_MAX);
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "empty", no_argument, NULL, 'e' },
						 { "derived", no_argument, NULL, 'd' },
						 { "spread", required_argument, NULL, 'p' },
						 { "rate", required_argument, NULL, 'r' },
						 { "random", required_argument, NULL, 's' },
						 { 0 } };
	static const char *const usual[] = { "10", "100", "1000", "5000" };
	struct storm_settings settings = { .random = 1 };
	bool kept = true;

	for (;;) {
		const int c = getopt_long(argc, argv, "", options, NULL);

		if (c == -1)
			break;
		if (!option(c, &settings))
			return 2;
	}
	const bool given = optind < argc;
	const size_t len = given ? (size_t)(argc - optind) : ARRAY_LEN(usual);

	printf("nodes come at once%s, then half of them go at once; a node that stays or came:\n",
	       settings.empty ? " into an empty store" : "");
	puts("move    nodes  requests renewals  most  gens  conflicts   lost      took  kB sent   kB read  failed    CPU s");
	for (size_t i = 0; i < len; i++) {
		settings.nodes =
			(size_t)number(given ? argv[(size_t)optind + i] : usual[i], NODES_MAX);
		kept = simulate(&settings) && kept;
	}
	return kept ? 0 : 1;
}
