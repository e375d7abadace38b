/* SPDX-License-Identifier: MIT */
/*
 * The instance id from DMI, and from a metadata service: a scripted one on
 * loopback, in a thread of its own, one connection after another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/identity/imds.h"

#define ID "i-0a1b2c3d4e5f60718"
#define GOOD "HTTP/1.1 200 OK\r\nContent-Length: "

static void instance_ids_are_checked(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} cases[] = {
		{ ID, true },
		{ "i-0123abcd", true },
		{ "i-0123456789abcdef0123456789abcdef", true },
		{ "i-0123456789abcdef0123456789abcdef0", false },
		{ "i-0123abc", false },
		{ "i-0123abcg", false },
		{ "i-0123ABCD", false },
		{ "i-0123abcd\n", false },
		{ " i-0123abcd", false },
		{ "0123abcd01", false },
		{ "i-", false },
		{ "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(imds_is_instance_id(cases[i].text), cases[i].good);
}

/* Nobody is asked in any of these: the address of the service may be anybody's here. */
static void dmi_decides(void **state)
{
	static const struct {
		const char *vendor, *tag, *id, *why;
	} cases[] = {
		{ "", "", "", "DMI has no readable sys_vendor" },
		{ "", ID, "", "DMI has no readable sys_vendor" },
		{ "QEMU", "", "", "DMI says 'QEMU'" },
		{ "QEMU", ID, "", "DMI says 'QEMU'" },
		{ "Amazon EC2 look-alike", ID, "", "DMI says 'Amazon EC2 look-alike'" },
		{ "Amazon EC2", ID, ID, "from the board asset tag in DMI" },
		{ "amazon", ID, ID, "from the board asset tag in DMI" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct imds_answer answer;

		imds_instance_id(cases[i].vendor, cases[i].tag, &answer);
		assert_string_equal(answer.instance_id, cases[i].id);
		assert_string_equal(answer.why, cases[i].why);
	}
}

/* ---- a service on loopback ---------------------------------------------------- */

struct service {
	pthread_t thread;
	int listener;
	char url[64];
	const char *answers[2]; /* to the first and second request; NULL = silence */
	size_t lens[2];
	char requests[2][2048];
	int count;
};

static void read_request(int fd, char ret[2048])
{
	size_t len = 0;

	while (len < 2047) {
		const ssize_t n = read(fd, ret + len, 2047 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		ret[len] = '\0';
		if (strstr(ret, "\r\n\r\n"))
			break;
	}
}

static void answer_one(struct service *service, int fd)
{
	const int i = service->count;

	read_request(fd, service->requests[i]);
	service->count++;
	if (service->answers[i]) {
		const char *at = service->answers[i];
		size_t left = service->lens[i] ? service->lens[i] : strlen(at);

		(void)send(fd, at, left, MSG_NOSIGNAL);
		return;
	}
	/* Silence: until the other side has had enough. */
	char rest[64];

	while (read(fd, rest, sizeof(rest)) > 0)
		continue;
}

static void *serve(void *ctx)
{
	struct service *service = ctx;

	while (service->count < 2) {
		const int fd = accept(service->listener, NULL, NULL);
		if (fd < 0)
			break; /* shut down */
		answer_one(service, fd);
		(void)close(fd);
	}
	return NULL;
}

static void service_start(struct service *service)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	service->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(service->listener >= 0);
	assert_int_equal(bind(service->listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(service->listener, 4), 0);
	assert_int_equal(getsockname(service->listener, (struct sockaddr *)&address, &len), 0);
	(void)snprintf(service->url, sizeof(service->url), "http://127.0.0.1:%d",
		       ntohs(address.sin_port));
	assert_int_equal(pthread_create(&service->thread, NULL, serve, service), 0);
}

static void service_stop(struct service *service)
{
	(void)shutdown(service->listener, SHUT_RDWR);
	assert_int_equal(pthread_join(service->thread, NULL), 0);
	(void)close(service->listener);
}

#define TOKEN GOOD "10\r\nConnection: close\r\n\r\nAQAEAtoken"
#define INSTANCE GOOD "19\r\nConnection: close\r\n\r\n" ID

static void a_token_then_the_id(void **state)
{
	struct service service = { .answers = { TOKEN, INSTANCE } };
	struct imds_answer answer;

	(void)state;
	/* A proxy of the environment is not for this address; this one would refuse. */
	assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
	service_start(&service);
	imds_ask(service.url, 5000, &answer);
	service_stop(&service);
	assert_int_equal(unsetenv("http_proxy"), 0);
	assert_string_equal(answer.why, "from the metadata service");
	assert_string_equal(answer.instance_id, ID);
	assert_true(str_starts(service.requests[0], "PUT /latest/api/token HTTP/1.1\r\n"));
	assert_non_null(
		strstr(service.requests[0], "\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n"));
	assert_true(
		str_starts(service.requests[1], "GET /latest/meta-data/instance-id HTTP/1.1\r\n"));
	assert_non_null(
		strstr(service.requests[1], "\r\nX-aws-ec2-metadata-token: AQAEAtoken\r\n"));
}

#define LONG_32 "00000000000000000000000000000000"
#define LONG_256 LONG_32 LONG_32 LONG_32 LONG_32 LONG_32 LONG_32 LONG_32 LONG_32
#define LONG_1280 LONG_256 LONG_256 LONG_256 LONG_256 LONG_256

/* Never an id, never an error, and the reason names what was asked. */
static void bad_answers_are_told(void **state)
{
	static const struct {
		const char *answers[2];
		size_t lens[2];
		int requests;
		const char *why;
	} cases[] = {
		{ { "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" },
		  { 0 },
		  1,
		  "/latest/api/token: answered with status 403" },
		{ { "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\ntoken" },
		  { 0 },
		  1,
		  "/latest/api/token: answered with status 404" },
		{ { "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" },
		  { 0 },
		  1,
		  "/latest/api/token: answered with status 302" },
		{ { GOOD "0\r\n\r\n" }, { 0 }, 1, "/latest/api/token: the answer is no token" },
		{ { GOOD "8\r\n\r\nto\r\nken:" }, { 0 }, 1, "the answer is no token" },
		{ { GOOD "1280\r\n\r\n" LONG_1280 }, { 0 }, 1, "the answer is too long" },
		{ { "nonsense\r\n\r\n" }, { 0 }, 1, "PUT http://127.0.0.1:" },
		{ { "" }, { 0 }, 1, "PUT http://127.0.0.1:" },
		{ { TOKEN, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n" },
		  { 0 },
		  2,
		  "instance-id: answered with status 401" },
		{ { TOKEN, GOOD "4\r\n\r\ni-12" },
		  { 0 },
		  2,
		  "instance-id: the answer is no instance id" },
		{ { TOKEN, GOOD "21\r\n\r\n" ID "\0x" },
		  { 0, sizeof(GOOD "21\r\n\r\n" ID "\0x") - 1 },
		  2,
		  "instance-id: the answer is no instance id" },
		{ { TOKEN, GOOD "1280\r\n\r\n" LONG_1280 }, { 0 }, 2, "the answer is too long" },
		{ { TOKEN, GOOD "19\r\n\r\ni-0a1b2c3d" }, { 0 }, 2, "instance-id: " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct service service = { 0 };
		struct imds_answer answer;

		memcpy(service.answers, cases[i].answers, sizeof(service.answers));
		memcpy(service.lens, cases[i].lens, sizeof(service.lens));
		service_start(&service);
		imds_ask(service.url, 5000, &answer);
		service_stop(&service);
		assert_string_equal(answer.instance_id, "");
		if (!strstr(answer.why, cases[i].why))
			fail_msg("case %zu: '%s'", i, answer.why);
		assert_int_equal(service.count, cases[i].requests);
	}
}

/* The limit is for the whole conversation, whichever part is silent. */
static void silence_ends_with_the_limit(void **state)
{
	static const struct {
		const char *first;
		const char *why;
	} cases[] = {
		{ NULL, "/latest/api/token: no answer in time" },
		{ TOKEN, "/latest/meta-data/instance-id: no answer in time" },
		{ GOOD "10\r\n\r\nAQAE", "PUT http://127.0.0.1:" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct service service = { .answers = { cases[i].first } };
		const int64_t before_ms = clock_now_ms();
		struct imds_answer answer;

		service_start(&service);
		imds_ask(service.url, 300, &answer);
		const int64_t took_ms = clock_now_ms() - before_ms;

		service_stop(&service);
		assert_string_equal(answer.instance_id, "");
		assert_non_null(strstr(answer.why, cases[i].why));
		assert_in_range(took_ms, 0, 900);
	}
}

static void nobody_there_is_told_at_once(void **state)
{
	struct service service = { 0 };
	struct imds_answer answer;

	(void)state;
	service_start(&service);
	service_stop(&service);
	imds_ask(service.url, 5000, &answer);
	assert_string_equal(answer.instance_id, "");
	assert_non_null(strstr(answer.why, "/latest/api/token: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instance_ids_are_checked),
		cmocka_unit_test(dmi_decides),
		cmocka_unit_test(a_token_then_the_id),
		cmocka_unit_test(bad_answers_are_told),
		cmocka_unit_test(silence_ends_with_the_limit),
		cmocka_unit_test(nobody_there_is_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
