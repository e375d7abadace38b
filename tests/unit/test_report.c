/* SPDX-License-Identifier: MIT */
/* The status object has the interface's shape, with nulls where there is nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/status/report.h"
#include "cmsnode/store/store.h"

static struct report example(const struct str_list *roles, const struct report_service *service)
{
	return (struct report){ .id = "i-0a1b",
				.id_source = "option",
				.address = "10.0.3.17",
				.interface = "ens5",
				.state = REPORT_ACTIVE,
				.roles = roles,
				.version = "0.1.0",
				.pid = 1,
				.uptime_s = 12.5,
				.store_kind = "etcd",
				.endpoint = "http://10.0.3.2:2379",
				.connected = true,
				.revision = 123,
				.last_contact_s = 0.25,
				.store_version = "3.4.23",
				.current = "g2",
				.applied = "g1",
				.format = "toml",
				.services = service,
				.services_len = 1 };
}

static void status_has_the_agreed_shape(void **state)
{
	CLEAN(str_list) struct str_list roles = { 0 };
	const struct report_service service = { .service = "Worker",
						.shard = 0,
						.name = "worker-0",
						.address = "10.0.3.17:26000",
						.state = "running",
						.healthy = true,
						.pid = 4711,
						.since = 1795347439.5,
						.generation = "g1" };

	(void)state;
	str_list_add(&roles, "worker:4");
	const struct store_counters counters = { .requests = 1,
						 .failures = 2,
						 .late = 3,
						 .broken = 4,
						 .server_errors = 5,
						 .refusals = 6,
						 .unknown = 7,
						 .conflicts = 8,
						 .watches = 9,
						 .watches_lost = 10,
						 .gaps = 11,
						 .bytes_sent = 12,
						 .bytes_received = 13 };
	struct report report = example(&roles, &service);

	report.counters = &counters;
	CLEAN(json) struct cJSON *json = report_to_json(&report);
	CLEAN(str) char *text = json_text(json);

	assert_string_equal(
		text,
		"{\"node\":{\"id\":\"i-0a1b\",\"id_source\":\"option\",\"address\":\"10.0.3.17\",\"interface\":\"ens5\","
		"\"state\":\"active\",\"note\":null,\"roles\":[\"worker:4\"],\"version\":\"0.1.0\",\"pid\":1,\"uptime_s\":12.5},"
		"\"store\":{\"kind\":\"etcd\",\"endpoint\":\"http://10.0.3.2:2379\",\"connected\":true,\"revision\":123,"
		"\"last_contact_s\":0.25,\"version\":\"3.4.23\",\"clock_ahead_s\":0,\"counters\":{\"requests\":1,\"failures\":2,"
		"\"late\":3,\"broken\":4,\"server_errors\":5,\"refusals\":6,\"unknown\":7,"
		"\"conflicts\":8,\"watches\":9,\"watches_lost\":10,\"gaps\":11,\"bytes_sent\":12,\"bytes_received\":13}},\"config\":{\"current\":\"configs/g2\",\"applied\":\"configs/g1\",\"format\":\"toml\","
		"\"refused\":null},\"services\":[{\"service\":\"Worker\",\"shard\":0,\"name\":\"worker-0\","
		"\"address\":\"10.0.3.17:26000\",\"state\":\"running\",\"healthy\":true,\"pid\":4711,\"since\":1795347439.5,"
		"\"restarts\":0,\"last_exit\":null,\"generation\":\"g1\",\"note\":null}]}");
}

static void what_goes_to_the_store_does_not_change_by_itself(void **state)
{
	CLEAN(str_list) struct str_list roles = { 0 };
	const struct report_service service = { .service = "Worker",
						.name = "w",
						.state = "backoff" };
	struct report report = example(&roles, &service);
	CLEAN(str) char *before = report_to_store(&report);

	(void)state;
	report.uptime_s = 99;
	report.last_contact_s = 7;
	report.revision = 124;
	CLEAN(str) char *after = report_to_store(&report);

	assert_string_equal(before, after);
	assert_null(strstr(before, "uptime_s"));
	report.state = REPORT_DEGRADED;
	CLEAN(str) char *changed = report_to_store(&report);

	assert_string_not_equal(before, changed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_has_the_agreed_shape),
		cmocka_unit_test(what_goes_to_the_store_does_not_change_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
