/* SPDX-License-Identifier: MIT */
/*
 * What it costs to look at a configuration of 5000 shards: reading it, checking it, comparing it
 * with another, asking who must restart, in cms.toml and cms.conf, beside cJSON reading and writing
 * as many bytes of JSON. Prints milliseconds of CPU (median of ROUNDS) and ratios; judges
 * nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/cms_file.h"
#include "cmsnode/config/diff.h"
#include "cmsnode/config/document.h"
#include "cmsnode/config/impact.h"
#include "cmsnode/config/validate.h"

#define ROUNDS 21
#define HOSTS 100
#define WORKERS 48 /* on a host */

static double now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int compare_doubles(const void *a, const void *b)
{
	const double x = *(const double *)a;
	const double y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double samples[ROUNDS])
{
	qsort(samples, ROUNDS, sizeof(*samples), compare_doubles);
	return samples[ROUNDS / 2];
}

/* So many shards on each host in a row: Workers of one host have sandboxes of their own. */
static void add_service(struct value *document, const char *name, int shards, int on_a_host,
			int port)
{
	CLEAN(str) char *path = xasprintf("services.%s", name);
	struct value *list = value_new_array();

	for (int k = 0; k < shards; k++) {
		CLEAN(str) char *host = xasprintf("10.0.0.%d", k / on_a_host + 1);
		struct value *pair = value_new_array();

		value_array_add(pair, value_new_string(host));
		value_array_add(pair, value_new_int(port + k % on_a_host));
		value_array_add(list, pair);
	}
	value_set_path(document, path, list);
}

static struct value *parse(const char *text, enum cms_format *ret_format)
{
	struct value *document = NULL;
	struct err err;

	if (cms_file_parse(text, strlen(text), ret_format, &document, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	return document;
}

/* 4794 Workers, 100 ContestWebServers, 100 ResourceServices and six others on 100 machines. */
static struct value *make_document(void)
{
	static const char rest[] =
		"[services]\nW=[]\n[database]\nurl=\"postgresql+psycopg2://u:p@10.9.0.1/cms\"\n"
		"[web_server]\nsecret_key=\"0123456789abcdef0123456789abcdef\"\n"
		"[worker]\nkeep_sandbox=false\n[sandbox]\nmax_file_size=1048576\n"
		"[global]\ntemp_dir=\"/tmp\"\n[contest_web_server]\ncookie_duration=10800\n";
	struct value *addresses = value_new_array();
	struct value *ports = value_new_array();
	enum cms_format format;
	struct value *document = parse(rest, &format);

	(void)value_remove(value_get(document, "services"), "W");
	add_service(document, "LogService", 1, 1, 29000);
	add_service(document, "ScoringService", 1, 1, 28500);
	add_service(document, "Checker", 1, 1, 22000);
	add_service(document, "EvaluationService", 1, 1, 25000);
	add_service(document, "AdminWebServer", 1, 1, 21100);
	add_service(document, "ProxyService", 1, 1, 28600);
	add_service(document, "ResourceService", HOSTS, 1, 28000);
	add_service(document, "ContestWebServer", HOSTS, 1, 21000);
	add_service(document, "Worker", 4794, WORKERS, 26000);
	for (int k = 0; k < HOSTS; k++) {
		value_array_add(addresses, value_new_string(""));
		value_array_add(ports, value_new_int(8888));
	}
	value_set_path(document, "contest_web_server.listen_address", addresses);
	value_set_path(document, "contest_web_server.listen_port", ports);
	return document;
}

/* Another key, a machine that moved, 50 Workers more. */
static struct value *make_other(const struct value *document)
{
	struct value *other = value_clone(document);
	const struct value *workers = value_get_path(other, "services.Worker");

	value_set_path(other, "worker.keep_sandbox", value_new_bool(true));
	for (size_t k = 0; k < WORKERS; k++) {
		struct value *pair = workers->array.items[k];

		value_free(pair->array.items[0]);
		pair->array.items[0] = value_new_string("10.0.7.7");
	}
	for (int k = 0; k < 50; k++) {
		struct value *pair = value_new_array();

		value_array_add(pair, value_new_string("10.0.8.8"));
		value_array_add(pair, value_new_int(26000 + k));
		value_array_add(value_get_path(other, "services.Worker"), pair);
	}
	return other;
}

enum part { PARSE, CHECK, DIFF, IMPACT, PARTS };

static const char *const part_names[PARTS] = { "parse", "check", "diff", "impact of 5000 units" };

/* One round; the time of each part. */
static void measure(const char *text, const struct value *other, double ret[PARTS])
{
	CLEAN(value) struct value *document = NULL;
	CLEAN(findings) struct findings findings = { 0 };
	CLEAN(diff) struct diff diff = { 0 };
	struct validate_context context = { 0 };
	int restarts = 0;

	ret[PARSE] = -now_ms();
	document = parse(text, &context.format);
	ret[PARSE] += now_ms();
	ret[CHECK] = -now_ms();
	config_validate(document, &context, &findings);
	ret[CHECK] += now_ms();
	ret[DIFF] = -now_ms();
	diff_documents(document, other, &diff);
	ret[DIFF] += now_ms();
	ret[IMPACT] = -now_ms();
	CLEAN(impact) struct impact *impact = impact_new(context.format, document, other);

	for (int k = 0; k < 5000; k++)
		restarts += impact_restarts(impact, "Worker", k, NULL);
	ret[IMPACT] += now_ms();
	/* 1 key, 48 Workers that moved, 50 new ones; all Workers read keep_sandbox. */
	if (findings_have_errors(&findings) || diff.len != 99 || restarts != 5000) {
		(void)fprintf(stderr, "%zu findings (%s), %zu differences, %d restarts\n",
			      findings.len, findings.len ? findings.items[0].text : "", diff.len,
			      restarts);
		exit(1);
	}
}

/* cJSON's part: the same number of bytes, read and written; their text is cms.conf itself. */
static double measure_cjson(const char *json, size_t bytes)
{
	const double from = now_ms();
	cJSON *tree = cJSON_Parse(json);
	char *text = cJSON_PrintUnformatted(tree);
	const double took = now_ms() - from;

	if (!text)
		exit(1);
	cJSON_free(text);
	cJSON_Delete(tree);
	return took * (double)bytes / (double)strlen(json);
}

static void bench(enum cms_format format, const struct value *document, const struct value *other)
{
	CLEAN(str) char *text = cms_file_write(document, format);
	CLEAN(str) char *json = cms_file_write(document, CMS_FORMAT_JSON);
	CLEAN(str) char *other_text = cms_file_write(other, format);
	/* Read from its file too: a format has defaults of its own. */
	CLEAN(value) struct value *other_read = parse(other_text, &format);
	double samples[PARTS][ROUNDS], cjson[ROUNDS], sums[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		double parts[PARTS];

		measure(text, other_read, parts);
		cjson[i] = measure_cjson(json, strlen(text));
		sums[i] = parts[PARSE] + parts[CHECK] + parts[DIFF];
		for (int p = 0; p < PARTS; p++)
			samples[p][i] = parts[p];
	}
	const double reference = median(cjson);

	(void)printf("%s, %zu bytes: cJSON reads and writes as many in %.2f ms\n",
		     cms_format_file(format), strlen(text), reference);
	for (int p = 0; p < PARTS; p++) {
		const double took = median(samples[p]);

		(void)printf("  %-22s %7.2f ms  %5.2f times\n", part_names[p], took,
			     took / reference);
	}
	const double sum = median(sums);

	(void)printf("  %-22s %7.2f ms  %5.2f times\n", "parse + check + diff", sum,
		     sum / reference);
}

int main(void)
{
	CLEAN(value) struct value *document = make_document();
	CLEAN(value) struct value *other = make_other(document);

	bench(CMS_FORMAT_TOML, document, other);
	bench(CMS_FORMAT_JSON, document, other);
	return 0;
}
