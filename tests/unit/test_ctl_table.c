/* SPDX-License-Identifier: MIT */
/*
 * What cmsnodectl shows and believes: tables, elapsed times, "what is still
 * missing", and answers of daemons that are well, ill, absent or hostile.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "../../src/ctl/ctl.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

/* --- tables --- */

#define LONG_CELL "0123456789012345678901234567890123456789012345678901234567890123456789"
#define PAD_64 "                                                                "

static const struct {
	const char *name;
	size_t columns;
	bool colour;
	struct {
		enum ctl_tone tone;
		const char *text;
	} cells[12];
	size_t len;
	const char *expected;
} tables[] = {
	{ "nothing", 2, false, { { 0 } }, 0, "" },
	{ "aligned, no blanks at the end",
	  3,
	  false,
	  { { CTL_HEAD, "A" },
	    { CTL_HEAD, "LONG" },
	    { CTL_HEAD, "C" },
	    { CTL_PLAIN, "abc" },
	    { CTL_PLAIN, "x" },
	    { CTL_PLAIN, "y" } },
	  6,
	  "A    LONG  C\nabc  x     y\n" },
	{ "missing texts", 2, false, { { CTL_PLAIN, NULL }, { CTL_BAD, "" } }, 2, "-  -\n" },
	{ "UTF-8 counts characters",
	  2,
	  false,
	  { { CTL_PLAIN, "\xc3\xa9\xe2\x82\xac" },
	    { CTL_PLAIN, "1" },
	    { CTL_PLAIN, "abc" },
	    { CTL_PLAIN, "2" } },
	  4,
	  "\xc3\xa9\xe2\x82\xac   1\nabc  2\n" },
	{ "escape sequences are disarmed",
	  1,
	  false,
	  { { CTL_PLAIN, "\033[2J\na\tb\x7f\xc2\x9b"
			 "c" } },
	  1,
	  "?[2J?a?b???c\n" },
	{ "colour",
	  2,
	  true,
	  { { CTL_HEAD, "H" }, { CTL_PLAIN, "p" }, { CTL_BAD, "bad" }, { CTL_WARN, "w" } },
	  4,
	  "\033[1mH\033[0m    p\n\033[31mbad\033[0m  \033[33mw\033[0m\n" },
	{ "a long cell moves its own row only",
	  2,
	  false,
	  { { CTL_PLAIN, LONG_CELL }, { CTL_PLAIN, "1" }, { CTL_PLAIN, "" }, { CTL_PLAIN, "2" } },
	  4,
	  LONG_CELL "  1\n-" PAD_64 " 2\n" },
	{ "a row that is not full",
	  3,
	  false,
	  { { CTL_PLAIN, "a" }, { CTL_PLAIN, "b" } },
	  2,
	  "a  b\n" },
};

static void test_tables(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		CLEAN(ctl_table) struct ctl_table table = CTL_TABLE_INIT(tables[i].columns);

		print_message("%s\n", tables[i].name);
		for (size_t j = 0; j < tables[i].len; j++)
			ctl_table_add(&table, tables[i].cells[j].tone, tables[i].cells[j].text);
		CLEAN(str) char *text = ctl_table_text(&table, tables[i].colour);

		assert_string_equal(text, tables[i].expected);
	}
}

/* One row a line: */
/* clang-format off */
static const struct {
	double seconds;
	const char *expected;
} spans[] = {
	{ 0, "0s" },
	{ -5, "0s" },
	{ 59.99, "59s" },
	{ 60, "1m00s" },
	{ 3599, "59m59s" },
	{ 3600, "1h00m" },
	{ 86399, "23h59m" },
	{ 86400, "1d00h" },
	{ 1e8, "1157d09h" },
	{ 1e300, "-" },
	{ (double)INFINITY, "-" },
	{ (double)NAN, "-" },
};
/* clang-format on */

static void test_elapsed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		char text[32];

		ctl_elapsed(spans[i].seconds, text);
		assert_string_equal(text, spans[i].expected);
	}
}

/* One row a line: */
/* clang-format off */
static const struct {
	bool is_terminal;
	const char *no_color;
	const char *term;
	bool expected;
} terminals[] = {
	{ true, NULL, "xterm", true },
	{ true, "", "xterm", true },
	{ true, "1", "xterm", false },
	{ true, NULL, "dumb", false },
	{ true, NULL, NULL, false },
	{ true, NULL, "", false },
	{ false, NULL, "xterm", false },
};
/* clang-format on */

static void test_colour(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(terminals); i++)
		assert_int_equal(ctl_colour_wanted(terminals[i].is_terminal, terminals[i].no_color,
						   terminals[i].term),
				 terminals[i].expected);
}

/* --- status --wait --- */

#define STATUS(state, config, services) \
	"{\"node\":{\"state\":" state "},\"config\":{" config "},\"services\":[" services "]}"
#define APPLIED "\"current\":\"g1\",\"applied\":\"g1\",\"refused\":null"
#define SERVICE(state, healthy) \
	"{\"service\":\"Worker\",\"shard\":3,\"state\":\"" state "\",\"healthy\":" healthy "}"

static const struct {
	const char *status;
	const char *missing; /* NULL: ready */
} readiness[] = {
	{ STATUS("\"active\"", APPLIED, ""), NULL },
	{ STATUS("\"active\"", APPLIED, SERVICE("running", "true")), NULL },
	{ STATUS("\"active\"", APPLIED, SERVICE("stopped", "false")), NULL },
	{ STATUS("\"active\"", APPLIED, SERVICE("disabled", "false")), NULL },
	{ STATUS("\"active\"", APPLIED, SERVICE("running", "false")),
	  "Worker,3 is running but not healthy yet" },
	{ STATUS("\"active\"", APPLIED, SERVICE("starting", "true")), "Worker,3 is starting" },
	{ STATUS("\"active\"", APPLIED, SERVICE("running", "true") "," SERVICE("backoff", "false")),
	  "Worker,3 is backoff" },
	{ STATUS("\"active\"", APPLIED,
		 "{\"service\":\"Worker\",\"shard\":0,\"state\":\"backoff\",\"note\":\"again in 4 s\","
		 "\"last_exit\":\"exit status 1\"}"),
	  "Worker,0 is backoff (again in 4 s; last exit: exit status 1)" },
	{ STATUS("\"joining\"", APPLIED, ""), "the node is joining" },
	{ STATUS("\"held\",\"note\":\"a twin lives\"", APPLIED, ""),
	  "the node is held (a twin lives)" },
	{ STATUS("\"active\"", "\"current\":null,\"applied\":null", ""),
	  "there is no agreed configuration" },
	{ STATUS("\"active\"", "\"current\":\"g2\",\"applied\":\"g1\"", ""),
	  "configuration g2 is not applied" },
	{ STATUS("\"active\"", "\"current\":\"g2\",\"applied\":null,\"refused\":\"no url\"", ""),
	  "configuration g2 is not applied; it is refused: no url" },
	{ STATUS("\"starting\"", APPLIED, SERVICE("waiting", "false")),
	  "the node is starting; Worker,3 is waiting" },
	{ "{}", "the node is -; there is no agreed configuration" },
	{ "{\"node\":1,\"config\":[],\"services\":{\"a\":1}}",
	  "the node is -; there is no agreed configuration" },
};

static void test_missing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(readiness); i++) {
		CLEAN(json)
		cJSON *status = json_parse(readiness[i].status, strlen(readiness[i].status), NULL);
		CLEAN(str) char *missing = ctl_status_missing(status);

		assert_non_null(status);
		if (readiness[i].missing) {
			assert_non_null(missing);
			assert_string_equal(missing, readiness[i].missing);
		} else {
			assert_null(missing);
		}
	}
}

/* --- the connection --- */

struct fixture {
	char dir[64];
	struct ctl ctl;
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/cmsnode-ctl-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->ctl.socket_path = xasprintf("%s/control.sock", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)unlink(f->ctl.socket_path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f->ctl.socket_path);
	free(f);
	return 0;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* Reads a request, answers `canned` (NULL: 17 MiB without a newline; "": nothing, and stays). */
static void serve_once(int listener, const char *canned)
{
	char chunk[65536];
	const int fd = accept(listener, NULL, NULL);

	(void)!read(fd, chunk, sizeof(chunk));
	if (canned && !*canned)
		(void)pause();
	if (canned)
		(void)!write(fd, canned, strlen(canned));
	memset(chunk, 'x', sizeof(chunk));
	for (int i = 0; !canned && i < 17 * 16; i++)
		(void)!write(fd, chunk, sizeof(chunk));
	_exit(0);
}

static int ask_canned(struct fixture *f, const char *canned, cJSON **ret, struct err *err)
{
	const int listener = listen_at(f->ctl.socket_path);
	const pid_t pid = fork();

	if (pid == 0)
		serve_once(listener, canned);
	(void)close(listener);
	/* A test about time needs little of it. */
	const int r = ctl_ask(&f->ctl, ctl_request("x"),
			      clock_now_ms() + (canned && !*canned ? 200 : 20000), ret, err);

	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)unlink(f->ctl.socket_path);
	return r;
}

#define ERROR(code, message) \
	"{\"ok\":false,\"error\":{\"code\":" code ",\"message\":\"" message "\"}}\n"

static const struct {
	const char *canned;
	int code; /* 0: then the result is {"a":1} */
	const char *part; /* of the message */
} answers[] = {
	{ "{\"ok\":true,\"result\":{\"a\":1}}\n", 0, "" },
	{ "{\"ok\":true,\"result\":{\"a\":1},\"new\":[]}\nmore", 0, "" },
	{ ERROR("1", "broken"), -EIO, "broken" },
	{ ERROR("2", "usage"), ERR_USAGE, "usage" },
	{ ERROR("3", "bad url"), ERR_CONFIG, "bad url" },
	{ ERROR("4", "twin"), ERR_IDENTITY, "twin" },
	{ ERROR("5", "no store"), ERR_UNAVAILABLE, "no store" },
	{ ERROR("0", "odd"), -EIO, "odd" },
	{ ERROR("\"x\"", "odd"), -EIO, "odd" },
	{ ERROR("3", "\\u001b[2J"), ERR_CONFIG, "?[2J" },
	{ "{\"ok\":false}\n", -EPROTO, "neither a result nor an error" },
	{ "{\"ok\":1,\"result\":{}}\n", -EPROTO, "neither a result nor an error" },
	{ "{\"ok\":true,\"result\":null}\n", -EPROTO, "not a JSON object" },
	{ "{\"ok\":true}\n", -EPROTO, "not a JSON object" },
	{ "[]\n", -EPROTO, "not a JSON object" },
	{ "HTTP/1.1 400 Bad Request\n", -EPROTO, "not valid JSON" },
	{ "\n", -EPROTO, "not valid JSON" },
	{ "{\"ok\":true,\"result\":{", ERR_UNAVAILABLE, "hung up" },
	{ "", ERR_UNAVAILABLE, "does not answer in time" },
	{ NULL, -E2BIG, "longer than 16 MiB" },
};

static void test_answers(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct err err = { 0 };
		CLEAN(json) cJSON *result = NULL;
		const int r = ask_canned(f, answers[i].canned, &result, &err);

		print_message("%zu: %d %s\n", i, r, err.msg);
		assert_int_equal(r, answers[i].code);
		assert_non_null(strstr(err.msg, answers[i].part));
		assert_int_equal(result != NULL, r == 0);
		if (result)
			assert_int_equal((int)json_get_double(result, "a", 0), 1);
	}
}

static int ask_nobody(struct fixture *f, struct err *err)
{
	cJSON *result = NULL;

	return ctl_ask_soon(&f->ctl, ctl_request("x"), &result, err);
}

static void test_nobody_there(void **state)
{
	struct fixture *f = *state;
	CLEAN(str)
	char *expected = xasprintf("no daemon answers at %s: is cmsnoded running? (--run-dir)",
				   f->ctl.socket_path);
	struct err err = { 0 };

	assert_int_equal(ask_nobody(f, &err), ERR_UNAVAILABLE);
	assert_string_equal(err.msg, expected);
	(void)close(listen_at(f->ctl.socket_path));
	err.msg[0] = '\0';
	assert_int_equal(ask_nobody(f, &err), ERR_UNAVAILABLE);
	assert_string_equal(err.msg, expected);
}

static void test_path_too_long(void **state)
{
	struct fixture *f = *state;
	char *path = f->ctl.socket_path;
	struct err err = { 0 };

	f->ctl.socket_path = xasprintf("/%0200d", 0);
	assert_int_equal(ask_nobody(f, &err), ERR_USAGE);
	free(f->ctl.socket_path);
	f->ctl.socket_path = path;
}

/* In a child without rights. Exit status 0: refused, and the message names who may. */
static void check_denied(struct fixture *f, const char *part)
{
	const pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct err err = { 0 };
		const bool dropped =
			setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0;
		const int r = ask_nobody(f, &err);

		_exit(!dropped ? 1 : r != ERR_DENIED ? 2 : strstr(err.msg, part) ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_denied(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0) {
		print_message("SKIP: needs root\n");
		skip();
	}
	const int listener = listen_at(f->ctl.socket_path);

	assert_int_equal(chmod(f->ctl.socket_path, 0660), 0);
	check_denied(f, "group 'cmsnode'"); /* not even the directory may be searched */
	assert_int_equal(chmod(f->dir, 0755), 0);
	check_denied(f, "group 'root'");
	assert_int_equal(chmod(f->ctl.socket_path, 0600), 0);
	check_denied(f, "user 'root' only");
	(void)close(listener);
}

#define T(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_elapsed),
		cmocka_unit_test(test_colour),
		cmocka_unit_test(test_missing),
		T(test_answers),
		T(test_nobody_there),
		T(test_path_too_long),
		T(test_denied),
	};

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
