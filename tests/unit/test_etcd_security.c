/* SPDX-License-Identifier: MIT */
/* etcd's users and TLS, on a real etcd: what works, and what is said where it does not. */
#include "etcd_real.h"

#include <fcntl.h>
#include <sys/stat.h>

/* ---- a scene of its own for each test ------------------------------------- */

static struct {
	char *password_file;
	char *cacert, *key;
	char log[16384];
} secrets;

static char *in_directory(const char *name)
{
	return xasprintf("%s/%s", etcd.directory, name);
}

static void write_text(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void keep_log(enum log_level level, const char *module, const char *text)
{
	const size_t at = strlen(secrets.log);

	(void)level;
	(void)snprintf(secrets.log + at, sizeof(secrets.log) - at, "%s: %s\n", module, text);
}

static struct scene *scene_with(struct etcd_settings settings)
{
	settings.endpoints = &etcd.urls;
	return scene_new_with(&settings);
}

/* ---- users -------------------------------------------------------------- */

static void etcdctl(const char *a, const char *b, const char *c, const char *d, const char *e)
{
	const char *argv[] = { "etcdctl", "--endpoints", etcd.url, "--user", "root:top", a, b, c, d,
			       e,	  NULL };

	run_program(argv);
}

static void enable_users(void)
{
	etcdctl("user", "add", "root:top", NULL, NULL);
	etcdctl("user", "grant-role", "root", "root", NULL);
	etcdctl("auth", "enable", NULL, NULL, NULL);
}

static struct etcd_settings as_node(void)
{
	return (struct etcd_settings){ .user = "node", .password_file = secrets.password_file };
}

/* Tokens live for two seconds; root:top, and node:secret-1 who may read and write /t/. */
static int start_with_users(void **state)
{
	(void)state;
	if (!etcd_prepare("http"))
		return 0;
	etcd.extra[0] = "--auth-token-ttl";
	etcd.extra[1] = "2";
	etcd_run();
	etcd_wait();
	secrets.password_file = in_directory("password");
	write_text(secrets.password_file, "secret-1\n");
	/* No --user is taken as long as there are none. */
	const char *const commands[][8] = {
		{ "user", "add", "node:secret-1", NULL },
		{ "role", "add", "nodes", NULL },
		{ "role", "grant-permission", "--prefix=true", "nodes", "readwrite", "/t/", NULL },
		{ "user", "grant-role", "node", "nodes", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const char *argv[12] = { "etcdctl", "--endpoints", etcd.url };

		for (size_t j = 0; commands[i][j]; j++)
			argv[3 + j] = commands[i][j];
		run_program(argv);
	}
	return 0;
}

static int stop_with_users(void **state)
{
	free(steal(secrets.password_file));
	return stop_etcd(state);
}

static void need_etcd(void)
{
	if (etcd.missing)
		skip();
}

static void test_user(void **state)
{
	need_etcd();
	enable_users();
	struct scene *scene = scene_with(as_node());
	struct store_status status;

	(void)state;
	watch(scene, put(scene, "/t/current", "0"));
	(void)put(scene, "/t/current", "1");
	wait_for_trace(scene, "/t/current=1 ");
	assert_trouble(ask(scene, put_of("/elsewhere", "1", 0)), STORE_REFUSED,
		       STORE_TROUBLE_DENIED, "permission denied (HTTP 403)");
	scene->store->backend->status(scene->store, &status);
	/* Who is it, a token, three writes, the watch. */
	assert_int_equal(status.counters.requests, 6);
	scene_free(scene);
}

/* The token is gone while nothing was asked; watch and write get a new one. */
static void test_token_expires(void **state)
{
	need_etcd();
	enable_users();
	struct scene *scene = scene_with(as_node());

	(void)state;
	watch(scene, put(scene, "/t/current", "0"));
	run_for(scene, 4500);
	assert_int_equal(ask(scene, put_of("/t/current", "1", 0))->outcome, STORE_DONE);
	wait_for_trace(scene, "/t/current=1 ");
	etcd_kill(SIGKILL);
	etcd_run();
	struct scene *other = scene_with(as_node());

	while (ask(other, put_of("/t/current", "2", 0))->outcome != STORE_DONE)
		run_for(other, 50);
	scene_free(other);
	wait_for_trace(scene, "/t/current=2 ");
	assert_int_equal(scene->gaps, 0);
	scene_free(scene);
}

static void test_users_needed(void **state)
{
	need_etcd();
	enable_users();
	struct scene *scene = scene_new(etcd.url, NULL);

	(void)state;
	assert_trouble(ask(scene, read_of("/t/current", false)), STORE_REFUSED,
		       STORE_TROUBLE_DENIED, "give --etcd-user and --etcd-password-file");
	scene_free(scene);
}

static void test_users_not_needed_yet(void **state)
{
	need_etcd();
	struct scene *scene = scene_with(as_node());

	(void)state;
	watch(scene, put(scene, "/t/current", "0"));
	(void)put(scene, "/t/current", "1");
	wait_for_trace(scene, "/t/current=1 ");
	enable_users();
	assert_int_equal(ask(scene, put_of("/t/current", "2", 0))->outcome, STORE_DONE);
	wait_for_trace(scene, "/t/current=2 ");
	scene_free(scene);
}

static void test_wrong_password(void **state)
{
	need_etcd();
	enable_users();
	write_text(secrets.password_file, "secret-2");
	secrets.log[0] = '\0';
	log_set_sink(keep_log);
	struct scene *scene = scene_with(as_node());
	struct store_status status;

	(void)state;
	watch(scene, 0);
	for (int i = 0; i < 20; i++) {
		assert_trouble(ask(scene, read_of("/t/current", false)), STORE_REFUSED,
			       STORE_TROUBLE_DENIED, "etcd does not let user 'node' in");
		assert_non_null(strstr(scene->reply.text, "invalid user ID or password"));
		assert_null(strstr(scene->reply.text, "secret-2"));
		run_for(scene, 50);
	}
	scene->store->backend->status(scene->store, &status);
	assert_int_equal(status.counters.requests, 2);
	assert_null(strstr(secrets.log, "secret"));
	/* Somebody writes the right one. */
	write_text(secrets.password_file, "secret-1");
	while (ask(scene, put_of("/t/current", "1", 0))->outcome != STORE_DONE)
		run_for(scene, 100);
	wait_for_trace(scene, "/t/current=1 ");
	log_set_sink(no_log);
	scene_free(scene);
}

/* The operator changes the password: etcd's at first, then the file. */
static void test_password_is_changed(void **state)
{
	need_etcd();
	enable_users();
	struct scene *scene = scene_with(as_node());

	(void)state;
	const int64_t revision = put(scene, "/t/current", "0");
	CLEAN(str) char *command = xasprintf(
		"echo secret-3 | etcdctl --endpoints %s --user root:top user passwd node --interactive=false",
		etcd.url);

	run_program((const char *[]){ "sh", "-c", command, NULL });
	write_text(secrets.password_file, "secret-3\n");
	/* The watch is the first to find out that its token is none any more. */
	watch(scene, revision);
	etcdctl("put", "/t/current", "1", NULL, NULL);
	wait_for_trace(scene, "/t/current=1 ");
	assert_int_equal(scene->gaps, 0);
	assert_int_equal(ask(scene, put_of("/t/current", "2", 0))->outcome, STORE_DONE);
	wait_for_trace(scene, "/t/current=2 ");
	scene_free(scene);
}

static void test_bad_settings_of_users(void **state)
{
	CLEAN(str_list) struct str_list urls = { 0 };
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	const struct {
		struct etcd_settings settings;
		const char *text;
	} cases[] = {
		{ { .user = "node" }, "a name and a password file" },
		{ { .user = "node", .password_file = "/nonexistent" }, "/nonexistent: No such" },
		{ { .user = "node", .password_file = "/dev/null" }, "it holds no password" },
		{ { .cacert = "/dev/null" }, "certificates are for https:// endpoints" },
	};

	(void)state;
	str_list_add(&urls, "http://127.0.0.1:1");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct etcd_settings settings = cases[i].settings;
		struct err err = { 0 };

		settings.endpoints = &urls;
		assert_null(etcd_store_new(loop, &settings, &err));
		if (!strstr(err.msg, cases[i].text))
			fail_msg("'%s' lacks '%s'", err.msg, cases[i].text);
	}
	ev_loop_destroy(loop);
}

/* ---- TLS ---------------------------------------------------------------- */

static void make_ca(const char *name)
{
	CLEAN(str) char *key = xasprintf("%s/%s.key", etcd.directory, name);
	CLEAN(str) char *cert = xasprintf("%s/%s.pem", etcd.directory, name);

	run_program((const char *[]){ "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
				      "-days", "2", "-subj", "/CN=test", "-keyout", key, "-out",
				      cert, NULL });
}

/* NAME.pem, NAME.key; `usage` as in extendedKeyUsage. */
static void make_certificate(const char *name, const char *subject, const char *usage)
{
	CLEAN(str) char *stem = in_directory(name);
	CLEAN(str) char *script = xasprintf(
		"cd %s && openssl req -newkey rsa:2048 -nodes -subj '%s' -keyout %s.key -out %s.csr && "
		"printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=%s\\n' >%s.ext && "
		"openssl x509 -req -days 2 -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
		"-extfile %s.ext -out %s.pem",
		etcd.directory, subject, stem, stem, usage, stem, stem, stem, stem);

	run_program((const char *[]){ "sh", "-c", script, NULL });
}

static char *files[8]; /* of arguments, freed at the end */
static size_t files_len;

static const char *file(const char *name)
{
	files[files_len] = in_directory(name);
	return files[files_len++];
}

/* An etcd with that server certificate; with `checks` it asks clients for theirs. */
static void start_with_tls(const char *server, const char *usage, bool checks)
{
	size_t n = 0;

	if (!etcd_prepare("https"))
		skip();
	make_ca("ca");
	make_certificate(server, "/O=cms", usage);
	etcd.extra[n++] = "--cert-file";
	etcd.extra[n++] = file("server.pem");
	etcd.extra[n++] = "--key-file";
	etcd.extra[n++] = file("server.key");
	if (checks) {
		etcd.extra[n++] = "--trusted-ca-file";
		etcd.extra[n++] = file("ca.pem");
		etcd.extra[n++] = "--client-cert-auth";
	}
	etcd_run();
	secrets.cacert = in_directory("ca.pem");
}

static int stop_with_tls(void **state)
{
	while (files_len)
		free(files[--files_len]);
	free(steal(secrets.cacert));
	return stop_etcd(state);
}

/* A server that starts, on a slow machine, is not up, or late. */
static bool is_not_up(const char *text)
{
	return strstr(text, "refused)") || strstr(text, "no answer in time");
}

/* Until something else than "not yet up" comes. */
static const struct store_reply *first_answer(struct scene *scene)
{
	const int64_t end_ms = clock_now_ms() + 20000;

	do {
		run_for(scene, 100);
		(void)ask(scene, put_of("/t/current", "1", 0));
	} while (is_not_up(scene->reply.text) && clock_now_ms() < end_ms);
	return &scene->reply;
}

static void assert_answer(struct etcd_settings settings, const char *text)
{
	struct scene *scene = scene_with(settings);
	const struct store_reply *reply = first_answer(scene);

	if (*text)
		assert_trouble(reply, STORE_UNKNOWN, STORE_TROUBLE_UNREACHABLE, text);
	else
		assert_trouble(reply, STORE_DONE, STORE_TROUBLE_NONE, text);
	scene_free(scene);
}

static void test_tls(void **state)
{
	start_with_tls("server", "serverAuth", false);
	struct etcd_settings settings = { .cacert = secrets.cacert };

	(void)state;
	assert_answer(settings, "");
	struct scene *scene = scene_with(settings);

	watch(scene, put(scene, "/t/current", "0"));
	(void)put(scene, "/t/current", "1");
	wait_for_trace(scene, "/t/current=1 ");
	scene_free(scene);

	make_ca("other");
	CLEAN(str) char *other = in_directory("other.pem");

	assert_answer((struct etcd_settings){ .cacert = other },
		      "is --etcd-cacert the CA of etcd's certificate?");
	assert_answer((struct etcd_settings){ 0 },
		      "is --etcd-cacert the CA of etcd's certificate?");
	/* Whoever forgets the s. */
	memmove(strstr(etcd.urls.items[0], "s:"), strstr(etcd.urls.items[0], "s:") + 1,
		strlen(strstr(etcd.urls.items[0], "s:")));
	assert_answer((struct etcd_settings){ 0 }, "https");
}

static void test_tls_where_there_is_none(void **state)
{
	need_etcd();
	if (!etcd_prepare("http"))
		skip();
	etcd_run();
	etcd_wait();
	CLEAN(str) char *url = xasprintf("https%s", etcd.url + strlen("http"));

	(void)state;
	str_list_fini(&etcd.urls);
	str_list_add(&etcd.urls, url);
	assert_answer((struct etcd_settings){ 0 }, "does it speak TLS there, or is it http://?");
}

static void test_client_certificates(void **state)
{
	start_with_tls("server", "serverAuth,clientAuth", true);
	make_certificate("client", "/O=cms", "clientAuth");
	make_certificate("named", "/CN=node", "clientAuth");
	CLEAN(str) char *client = in_directory("client.pem");
	CLEAN(str) char *client_key = in_directory("client.key");
	CLEAN(str) char *named = in_directory("named.pem");
	CLEAN(str) char *named_key = in_directory("named.key");
	const char *cacert = secrets.cacert;

	(void)state;
	assert_answer((struct etcd_settings){ .cacert = cacert, .cert = client, .key = client_key },
		      "");
	assert_answer((struct etcd_settings){ .cacert = cacert },
		      "it wants a client certificate: --etcd-cert, --etcd-key");
	/* With users etcd looks at the CN. */
	const char *const commands[][4] = { { "user", "add", "root:top", NULL },
					    { "user", "grant-role", "root", "root" },
					    { "auth", "enable", NULL, NULL } };

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		run_program((const char *[]){ "etcdctl", "--endpoints", etcd.url, "--cacert",
					      cacert, "--cert", client, "--key", client_key,
					      commands[i][0], commands[i][1], commands[i][2],
					      commands[i][3], NULL });
	CLEAN(str) char *password_file = in_directory("password");

	write_text(password_file, "top");
	struct etcd_settings settings = { .cacert = cacert,
					  .cert = client,
					  .key = client_key,
					  .user = "root",
					  .password_file = password_file };

	assert_answer(settings, "");
	settings.cert = named;
	settings.key = named_key;
	assert_answer(settings, "must have an empty CN");
	assert_answer((struct etcd_settings){ .cacert = cacert, .cert = client, .key = named_key },
		      "see --etcd-cert and --etcd-key");
}

/* etcd's gateway is a client of etcd itself, with etcd's own certificate. */
static void test_server_certificate_that_is_no_client(void **state)
{
	start_with_tls("server", "serverAuth", true);
	make_certificate("client", "/O=cms", "clientAuth");
	CLEAN(str) char *client = in_directory("client.pem");
	CLEAN(str) char *client_key = in_directory("client.key");

	(void)state;
	assert_answer((struct etcd_settings){ .cacert = secrets.cacert,
					      .cert = client,
					      .key = client_key },
		      "etcd's own certificate lacks clientAuth in its extended key usage");
}

#define users_test(f) cmocka_unit_test_setup_teardown(f, start_with_users, stop_with_users)
#define tls_test(f) cmocka_unit_test_teardown(f, stop_with_tls)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_settings_of_users),
		users_test(test_user),
		users_test(test_token_expires),
		users_test(test_users_needed),
		users_test(test_users_not_needed_yet),
		users_test(test_wrong_password),
		users_test(test_password_is_changed),
		tls_test(test_tls),
		tls_test(test_tls_where_there_is_none),
		tls_test(test_client_certificates),
		tls_test(test_server_certificate_that_is_no_client),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
