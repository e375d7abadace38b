/* SPDX-License-Identifier: MIT */
/*
 * The proof that the names resolve for the service user. Owns both ends: the
 * child, which is this program executed anew (a forked copy of a program with
 * threads must not call getaddrinfo()), and the daemon's side, which reads the
 * child's one line:
 *
 *   ok
 *   refused <sentence>
 */
#include "cmsnode/topology/names_proof.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ev.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/supervision/process.h"
#include "cmsnode/topology/names.h"

#define VERB "--names-proof"
#define OK "ok\n"
#define REFUSED "refused "
#define ASKED_MAX 16
#define LIMIT_S 20. /* a name server that swallows packets costs 10 s a name */
#define ANSWER_MAX 2048
#define RESOLVER_FILE "/etc/hosts" /* what glibc's files source reads */
#define NSSWITCH_FILE "/etc/nsswitch.conf"

/* ---- the child --------------------------------------------------------- */

/* The last "hosts:" line of nsswitch.conf, trimmed; NULL if there is none. Caller frees. */
static char *nsswitch_line(void)
{
	CLEAN(buf) struct buf text = BUF_INIT(1 << 20);
	CLEAN(str_list) struct str_list lines = { 0 };

	if (file_read(NSSWITCH_FILE, &text, NULL) < 0)
		return NULL;
	str_list_split(&lines, buf_str(&text), '\n');
	for (size_t i = lines.len; i-- > 0;)
		if (str_starts(lines.items[i], "hosts:"))
			return xstrdup(lines.items[i]);
	return NULL;
}

/* glibc takes the words of a trailing comment for sources, so they are ones here. */
static bool asks_files(const char *line)
{
	CLEAN(str) char *copy = xstrdup(line + strlen("hosts:"));
	CLEAN(str_list) struct str_list sources = { 0 };

	for (char *c = copy; *c; c++)
		*c = *c == '\t' ? ' ' : *c;
	str_list_split(&sources, copy, ' ');
	return str_list_has(&sources, "files");
}

static bool same_file(const char *a, const char *b)
{
	CLEAN(str) char *real_a = realpath(a, NULL);
	CLEAN(str) char *real_b = realpath(b, NULL);

	return str_eq(real_a ? real_a : a, real_b ? real_b : b);
}

/* Why a name that stands in the file may not resolve. Caller frees. */
static char *likely_cause(const char *hosts_file)
{
	CLEAN(str) char *line = nsswitch_line();
	CLEAN(fd) int fd = open(hosts_file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return xasprintf("that user cannot read %s (%s): mend its permissions", hosts_file,
				 strerror(errno));
	if (!same_file(hosts_file, RESOLVER_FILE))
		return xasprintf("the resolver reads " RESOLVER_FILE ", the names are in %s",
				 hosts_file);
	if (line && !asks_files(line))
		return xasprintf(NSSWITCH_FILE " says '%.200s': put 'files' first", line);
	return xasprintf(
		"is another line of %s or another source of the hosts line of " NSSWITCH_FILE
		" in the way?",
		hosts_file);
}

static int refuse(const char *hosts_file, const char *name, const char *what)
{
	CLEAN(str) char *cause = likely_cause(hosts_file);

	(void)printf(REFUSED "%s %s; %s\n", name, what, cause);
	return 1;
}

/* As CMS asks: any family, TCP. */
static int prove(const char *hosts_file, const char *name, const char *address)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	char text[NI_MAXHOST] = "";
	struct addrinfo *list = NULL;
	const int r = getaddrinfo(name, NULL, &hints, &list);
	if (r) {
		CLEAN(str) char *what = xasprintf("does not resolve (%s)", gai_strerror(r));

		return refuse(hosts_file, name, what);
	}
	(void)getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof(text), NULL, 0,
			  NI_NUMERICHOST);
	freeaddrinfo(list);
	if (strcmp(text, address) == 0)
		return 0;
	CLEAN(str) char *what = xasprintf("resolves to %s, not to %s", text, address);

	return refuse(hosts_file, name, what);
}

int names_proof_main(int argc, char **argv)
{
	if (argc < 3 || strcmp(argv[1], VERB) != 0)
		return -1;
	/* Pairs of a name and its address. The first that fails is told, and is enough. */
	for (int i = 3; i + 1 < argc; i += 2)
		if (prove(argv[2], argv[i], argv[i + 1]) != 0)
			return 1;
	(void)printf(OK);
	return 0;
}

/* ---- the daemon's side ------------------------------------------------- */

struct names_proof {
	struct ev_loop *loop;
	struct process *process;
	int output; /* where the child's line comes */
	ev_timer limit;
	bool late;
	char *user;
	void (*on_proved)(void *ctx, const struct err *err);
	void *ctx;
};

void names_proof_free(struct names_proof *proof)
{
	if (!proof)
		return;
	ev_timer_stop(proof->loop, &proof->limit);
	process_free(proof->process);
	if (proof->output >= 0)
		(void)close(proof->output);
	free(proof->user);
	free(proof);
}

pid_t names_proof_pid(const struct names_proof *proof)
{
	return proof && proof->process ? process_pid(proof->process) : -1;
}

/* The child has ended, so all it wrote is there. */
static void read_answer(const struct names_proof *proof, char ret[ANSWER_MAX])
{
	size_t len = 0;

	while (len < ANSWER_MAX - 1) {
		const ssize_t n = read(proof->output, ret + len, ANSWER_MAX - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	ret[len] = '\0';
}

static void judge(const struct names_proof *proof, char *answer, const char *reason,
		  struct err *ret)
{
	*ret = (struct err){ 0 };
	if (strcmp(answer, OK) == 0)
		return;
	answer[strcspn(answer, "\n")] = '\0';
	if (str_starts(answer, REFUSED))
		(void)err_set(ret, ERR_CONFIG,
			      "names do not work here: for user %s %s; or run with --names off",
			      proof->user, answer + strlen(REFUSED));
	else if (proof->late)
		(void)err_set(ret, ERR_UNAVAILABLE,
			      "cannot prove that names resolve for user %s: no answer within %.0f "
			      "s (a name server that does not answer, asked before the hosts "
			      "file? see " NSSWITCH_FILE ")",
			      proof->user, LIMIT_S);
	else
		(void)err_set(ret, ERR_UNAVAILABLE,
			      "cannot prove that names resolve for user %s: %s%s%s", proof->user,
			      reason, answer[0] ? ": " : "", answer);
}

static void on_exited(void *ctx, bool executed, const char *reason)
{
	struct names_proof *proof = ctx;
	char answer[ANSWER_MAX];
	struct err err;

	(void)executed;
	ev_timer_stop(proof->loop, &proof->limit);
	read_answer(proof, answer);
	judge(proof, answer, reason, &err);
	proof->on_proved(proof->ctx, &err);
}

/* on_exited() follows. */
static void on_limit(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct names_proof *proof = timer->data;

	(void)loop;
	(void)events;
	proof->late = true;
	(void)process_signal_group(proof->process, SIGKILL);
}

/* Evenly over all, so that the first and the last are among them. */
static const struct name *asked(const struct names *names, size_t i, size_t n)
{
	return &names->items[n > 1 ? i * (names->len - 1) / (n - 1) : 0];
}

static int start(struct names_proof *proof, const struct names_proof_spec *spec,
		 const struct names *names, int output, struct err *err)
{
	static const char *const env[] = { NULL };
	const size_t n = names->len < ASKED_MAX ? names->len : ASKED_MAX;
	const char *argv[3 + 2 * ASKED_MAX + 1] = { "/proc/self/exe", VERB, spec->hosts_file };
	const struct process_spec process = { .argv = argv,
					      .env = env,
					      .output_fd = output,
					      .slot_fd = -1,
					      .drop_user = spec->drop_user,
					      .uid = spec->uid,
					      .gid = spec->gid,
					      .groups = spec->groups,
					      .groups_len = spec->groups_len };
	const struct process_events events = { .executed = NULL,
					       .exited = on_exited,
					       .ctx = proof };

	for (size_t i = 0; i < n; i++) {
		argv[3 + 2 * i] = asked(names, i, n)->name;
		argv[4 + 2 * i] = asked(names, i, n)->address;
	}
	proof->process = process_start(proof->loop, &process, &events, err);
	return proof->process ? 0 : -1;
}

struct names_proof *names_proof_start(struct ev_loop *loop, const struct names_proof_spec *spec,
				      const struct names *names,
				      void (*on_proved)(void *ctx, const struct err *err),
				      void *ctx, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		(void)err_errno(err, -errno, "cannot prove that names resolve");
		return NULL;
	}
	struct names_proof *proof = xcalloc(1, sizeof(*proof));

	proof->loop = loop;
	proof->output = ends[0];
	proof->user = xstrdup(spec->user);
	proof->on_proved = on_proved;
	proof->ctx = ctx;
	ev_timer_init(&proof->limit, on_limit, LIMIT_S, 0.);
	proof->limit.data = proof;
	const int r = start(proof, spec, names, ends[1], err);

	(void)close(ends[1]);
	if (r < 0) {
		names_proof_free(proof);
		return NULL;
	}
	ev_timer_start(loop, &proof->limit);
	return proof;
}
