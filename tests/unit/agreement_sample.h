/* SPDX-License-Identifier: MIT */
/* What agreement tests and benchmarks begin with: a configuration to seed, and registrations. */
#ifndef CMSNODE_TESTS_AGREEMENT_SAMPLE_H
#define CMSNODE_TESTS_AGREEMENT_SAMPLE_H

#include <stdlib.h>
#include <string.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/agreement/registration.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/document.h"
#include "cmsnode/topology/slots.h"

static const char world_sample[] =
	"[services]\nLogService=[[\"localhost\",29000]]\nResourceService=[[\"localhost\",28000]]\n"
	"ScoringService=[[\"localhost\",28500]]\nChecker=[[\"localhost\",22000]]\nEvaluationService=[[\"localhost\",25000]]\n"
	"Worker=[[\"localhost\",26000],[\"localhost\",26001],[\"localhost\",26002]]\nContestWebServer=[[\"localhost\",21000]]\n"
	"AdminWebServer=[[\"localhost\",21100]]\nProxyService=[[\"localhost\",28600]]\nPrometheusExporter=[]\nTelegramBot=[]\n"
	"[database]\nurl=\"postgresql+psycopg2://cmsuser:pw@localhost/cms\"\n"
	"[web_server]\nsecret_key=\"8e045a51e4b102ea803c06f92841a1fb\"\n"
	"[contest_web_server]\nlisten_address=\"auto\"\nlisten_port=\"auto\"\n";

static inline struct generation *world_seed(void)
{
	struct generation *seed = generation_new();
	struct value *document;

	if (cms_file_parse(world_sample, strlen(world_sample), &seed->meta.format, &document,
			   NULL) < 0 ||
	    slots_import(value_get(document, "services"), false, &seed->slots, NULL) < 0)
		abort();
	(void)value_remove(document, "services");
	value_free(seed->cms);
	seed->cms = document;
	return seed;
}

/*
 * "a" with roles "core,worker:2" at 10.0.0.1: host number n decides address, boot id and namespace.
 */
static inline void world_registration(struct registration *ret, const char *id, const char *roles,
				      int host)
{
	*ret = (struct registration){ 0 };
	ret->id = xstrdup(id);
	ret->address = xasprintf("10.0.%d.%d", host / 250, host % 250);
	str_list_add(&ret->addresses, ret->address);
	str_list_add(&ret->addresses, "172.17.0.1");
	str_list_split(&ret->roles, roles, ',');
	ret->contest = xstrdup("ALL");
	ret->hostname = xasprintf("host%d", host);
	ret->boot_id = xasprintf("boot-%d", host);
	ret->netns = xasprintf("4:%d", host);
	ret->product_uuid = xstrdup("");
	ret->version = xstrdup("test");
	ret->applied_digest = xstrdup("");
	ret->schema = REGISTRATION_SCHEMA;
}

#endif
