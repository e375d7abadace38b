/* SPDX-License-Identifier: MIT */
/*
 * Echo probes. Owns when a unit is asked and what counts as a miss; must never
 * decide what follows from it (unit.c does).
 */
#include "cmsnode/supervision/health.h"

#include <ev.h>
#include <stdint.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/cms_rpc/client.h"

#define ANSWER_S 5.0 /* an echo that takes longer is a miss */
#define INTERVALS_MISSING 3
#define RETRY_MIN_S 0.05
#define RETRY_MAX_S 1.0

struct health {
	struct ev_loop *loop;
	struct health_events events;
	struct rpc_client *client;
	ev_timer on_interval;
	char *label;
	char *asked; /* the text of the echo under way; NULL = none */
	double interval_s;
	int64_t silent_since_ms;
	unsigned long count;
	bool healthy;
};

static void on_answer(void *ctx, int error, const struct cJSON *data, const char *text)
{
	struct health *health = ctx;
	CLEAN(str) char *asked = steal(health->asked);

	(void)text;
	/* Another text: whoever answers is no CMS service. */
	if (error == 0 && str_eq(cJSON_GetStringValue(data), asked)) {
		health->healthy = true;
		health->silent_since_ms = clock_now_ms();
		health->events.answered(health->events.ctx);
		return;
	}
	health->healthy = false;
	health->events.missed(health->events.ctx);
}

static int ask(struct health *health)
{
	struct cJSON *arguments = cJSON_CreateObject();
	const double deadline_s = health->interval_s < ANSWER_S ? health->interval_s : ANSWER_S;

	health->count++;
	health->asked = xasprintf("%s %lu", health->label, health->count);
	json_add_str(arguments, "string", health->asked);
	const int r =
		rpc_client_call(health->client, "echo", arguments, deadline_s, on_answer, health);
	if (r < 0) {
		free(health->asked);
		health->asked = NULL;
	}
	return r;
}

static void on_connected(void *ctx)
{
	struct health *health = ctx;

	(void)ask(health);
	ev_timer_again(health->loop, &health->on_interval);
	health->events.accepted(health->events.ctx);
}

/*
 * Nobody to ask is a miss of its own; more than one event would find `health` freed
 * by the first.
 */
static void on_interval(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct health *health = w->data;
	const double silent_s = (double)(clock_now_ms() - health->silent_since_ms) / 1000.0;

	(void)loop;
	(void)revents;
	const bool asked = health->asked || ask(health) == 0;
	const bool was_healthy = health->healthy;

	if (!asked)
		health->healthy = false;
	/* Half an interval of slack: the timer and the answers are not in step. */
	if (silent_s > (INTERVALS_MISSING - 0.5) * health->interval_s)
		health->events.missing(health->events.ctx);
	else if (!asked && was_healthy)
		health->events.missed(health->events.ctx);
}

struct health *health_new(struct ev_loop *loop, const struct health_settings *settings,
			  const struct health_events *events, struct err *err)
{
	struct health *health = xcalloc(1, sizeof(*health));
	const struct rpc_client_settings client_settings = {
		.host = settings->host,
		.port = settings->port,
		.retry_min_s = RETRY_MIN_S,
		.retry_max_s = RETRY_MAX_S,
	};
	const struct rpc_client_events client_events = { .connected = on_connected, .ctx = health };

	health->client = rpc_client_new(loop, &client_settings, &client_events, err);
	if (!health->client) {
		free(health);
		return NULL;
	}
	health->loop = loop;
	health->events = *events;
	health->label = xstrdup(settings->label);
	health->interval_s = settings->interval_s;
	health->silent_since_ms = clock_now_ms();
	ev_timer_init(&health->on_interval, on_interval, 0.0, settings->interval_s);
	health->on_interval.data = health;
	ev_timer_again(loop, &health->on_interval);
	return health;
}

void health_free(struct health *health)
{
	if (!health)
		return;
	ev_timer_stop(health->loop, &health->on_interval);
	rpc_client_free(health->client);
	free(health->asked);
	free(health->label);
	free(health);
}

bool health_is_healthy(const struct health *health)
{
	return health->healthy;
}
