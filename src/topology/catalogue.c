/* SPDX-License-Identifier: MIT */
/* What CMS's services are. Constants only; facts of CMS 1.2 to 1.6.dev. */
#include "cmsnode/topology/catalogue.h"

#include <string.h>

#include "cmsnode/base/mem.h"

static const struct catalogue_service services[CATALOGUE_COUNT] = {
	[CATALOGUE_LOG_SERVICE] = { "LogService", true, true, 29000, 1, true, false, true,
				    CONTEST_IGNORED },
	[CATALOGUE_RESOURCE_SERVICE] = { "ResourceService", false, false, 28000, 500, true, true,
					 true, CONTEST_IGNORED },
	[CATALOGUE_SCORING_SERVICE] = { "ScoringService", true, true, 28500, 1, true, false, true,
					CONTEST_IGNORED },
	[CATALOGUE_CHECKER] = { "Checker", true, true, 22000, 1, true, false, true,
				CONTEST_IGNORED },
	[CATALOGUE_EVALUATION_SERVICE] = { "EvaluationService", true, true, 25000, 1, true, false,
					   true, CONTEST_ANY },
	[CATALOGUE_WORKER] = { "Worker", false, false, 26000, 1600, true, false, true,
			       CONTEST_IGNORED },
	[CATALOGUE_CONTEST_WEB_SERVER] = { "ContestWebServer", false, false, 21000, 100, true,
					   false, true, CONTEST_ANY },
	[CATALOGUE_ADMIN_WEB_SERVER] = { "AdminWebServer", true, true, 21100, 1, true, false, true,
					 CONTEST_IGNORED },
	[CATALOGUE_PROXY_SERVICE] = { "ProxyService", true, true, 28600, 1, true, false, true,
				      CONTEST_NUMERIC },
	[CATALOGUE_PRINTING_SERVICE] = { "PrintingService", true, true, 25123, 1, true, false, true,
					 CONTEST_IGNORED },
	/* Registers as shard 0 with CMS's RPC server like the others. */
	[CATALOGUE_PROMETHEUS_EXPORTER] = { "PrometheusExporter", true, true, 8812, 1, true, false,
					    true, CONTEST_IGNORED },
	[CATALOGUE_TELEGRAM_BOT] = { "TelegramBot", true, true, 23000, 1, false, false, true,
				     CONTEST_ANY },
	[CATALOGUE_RANKING_WEB_SERVER] = { "RankingWebServer", false, false, 8890, 1, false, false,
					   false, CONTEST_IGNORED },
};

const struct catalogue_service *catalogue_find(const char *name)
{
	const int i = catalogue_index_of(name);

	return i < 0 ? NULL : &services[i];
}

const struct catalogue_service *catalogue_at(enum catalogue_index i)
{
	return &services[i];
}

int catalogue_index_of(const char *name)
{
	for (int i = 0; i < CATALOGUE_COUNT; i++)
		if (strcmp(services[i].name, name) == 0)
			return i;
	return -1;
}

int catalogue_port(const struct catalogue_service *service, int shard)
{
	return service->port + shard % service->port_modulo;
}
