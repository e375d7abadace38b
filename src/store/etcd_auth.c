/* SPDX-License-Identifier: MIT */
/*
 * etcd's users: one token for all transfers, asked for with name and password.
 * Must never ask twice at a time, never ask in step with everybody else whose
 * token was lost at the same moment (a password costs etcd 60 ms of a
 * processor), and never let password or token into a log or a message. The
 * password is read anew each time, so that it can be changed under us.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/clock.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/etcd_codec.h"

#include "etcd_codec_internal.h"
#include "etcd_internal.h"

#define PASSWORD_MAX_BYTES ((size_t)4096)
#define ANSWER_MAX_BYTES ((size_t)64 << 10)
#define JITTER_S 5.0
#define DENIED_FIRST_MS 10000
#define DENIED_MAX_MS 60000
#define EMPTY_ANSWERS_MAX 2

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* Its first line. NULL and err if there is none. */
static char *read_password(const char *path, struct err *err)
{
	struct buf buf = BUF_INIT(PASSWORD_MAX_BYTES);
	char *password = NULL;

	if (file_read(path, &buf, err) == 0) {
		const size_t len = strcspn(buf_str(&buf), "\r\n");

		if (len)
			password = xstrndup(buf_str(&buf), len);
		else
			(void)err_set(err, -EINVAL, "%s: it holds no password", path);
	}
	if (buf.data)
		explicit_bzero(buf.data, buf.len);
	buf_fini(&buf);
	return password;
}

static void goes_on(struct etcd_store *etcd)
{
	etcd_watch_ready(etcd->watch);
	etcd_calls_start(etcd);
}

/* ---- the answer -------------------------------------------------------- */

static void granted(struct etcd_store *etcd, char *token)
{
	struct etcd_auth *auth = &etcd->auth;

	if (auth->denials)
		log_info("etcd", "user '%s' is let in again", auth->user);
	auth->token = token;
	auth->denials = 0;
	auth->empty_answers = 0;
	etcd_endpoint_answered(etcd, auth->asking.endpoint);
}

static void __attribute__((format(printf, 2, 3)))
denied(struct etcd_store *etcd, const char *fmt, ...)
{
	struct etcd_auth *auth = &etcd->auth;
	int64_t wait_ms = DENIED_FIRST_MS;
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(auth->denied, sizeof(auth->denied), fmt, args);
	va_end(args);
	for (unsigned int i = 0; i < auth->denials && wait_ms < DENIED_MAX_MS; i++)
		wait_ms *= 2;
	if (wait_ms > DENIED_MAX_MS)
		wait_ms = DENIED_MAX_MS;
	auth->denials++;
	auth->denied_until_ms =
		clock_now_ms() + (int64_t)((double)wait_ms * (0.5 + etcd_random() / 2.0));
}

static void without_users(struct etcd_store *etcd)
{
	if (!etcd->auth.unneeded)
		log_warning("etcd", "etcd has no users enabled: '%s' is not needed, ignoring",
			    etcd->auth.user);
	etcd->auth.unneeded = true;
	etcd_endpoint_answered(etcd, etcd->auth.asking.endpoint);
}

static void refused(struct etcd_store *etcd, const struct etcd_transfer *asking, int http_status)
{
	struct etcd_codec_error error;

	etcd_codec_read_failure(buf_str(&asking->reply), asking->reply.len, &error);
	if (strstr(error.text, "authentication is not enabled"))
		without_users(etcd);
	else
		denied(etcd, "etcd does not let user '%.60s' in: %.120s (HTTP %d)", etcd->auth.user,
		       error.text, http_status);
}

static void on_asked(struct etcd_transfer *asking, const struct etcd_transfer_end *end)
{
	struct etcd_store *etcd = asking->etcd;
	char text[sizeof(end->text)];

	wipe(steal(etcd->auth.body));
	if (!end->delivered || end->http_status >= 500) {
		etcd_transfer_failure(asking, end, text, sizeof(text));
		etcd_endpoint_failed(etcd, asking->endpoint, asking->started_ms, text);
		etcd_calls_avoid(etcd, asking->endpoint);
	} else if (end->http_status != 200) {
		refused(etcd, asking, end->http_status);
	} else {
		char *token = etcd_codec_token(buf_str(&asking->reply), asking->reply.len);

		if (token)
			granted(etcd, token);
		else
			denied(etcd, "etcd's answer to user '%.60s' was not understood",
			       etcd->auth.user);
	}
	if (asking->reply.data)
		explicit_bzero(asking->reply.data, asking->reply.len);
	etcd_watch_ready(etcd->watch);
}

/* ---- asking ------------------------------------------------------------ */

static void ask(struct etcd_store *etcd, size_t endpoint)
{
	struct etcd_auth *auth = &etcd->auth;
	struct err err = { 0 };
	char *password = read_password(auth->password_file, &err);

	if (!password) {
		denied(etcd, "%.200s", err.msg);
		return;
	}
	auth->body = etcd_codec_authenticate(auth->user, password);
	wipe(password);
	auth->asking.body = auth->body;
	auth->asking.body_len = strlen(auth->body);
	auth->asking.endpoint = endpoint;
	auth->serial++;
	etcd_transfer_start(etcd, &auth->asking);
}

enum etcd_gate etcd_auth_gate(struct etcd_store *etcd, size_t endpoint)
{
	struct etcd_auth *auth = &etcd->auth;

	if (!auth->user || auth->token || auth->unneeded)
		return ETCD_GATE_OPEN;
	if (auth->asking.easy || ev_is_active(&auth->jitter))
		return ETCD_GATE_WAITS;
	if (auth->denials && clock_now_ms() < auth->denied_until_ms)
		return ETCD_GATE_DENIED;
	ask(etcd, endpoint);
	return auth->asking.easy ? ETCD_GATE_WAITS : ETCD_GATE_DENIED;
}

static void on_jitter(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct etcd_store *etcd = w->data;

	(void)loop;
	(void)revents;
	etcd_enter(etcd);
	goes_on(etcd);
	etcd_leave(etcd);
}

bool etcd_auth_refused(struct etcd_store *etcd, unsigned int serial)
{
	struct etcd_auth *auth = &etcd->auth;

	if (!auth->user)
		return false;
	if (serial != auth->serial || (!auth->token && !auth->unneeded))
		return true; /* there is, or will be, another one already */
	wipe(steal(auth->token));
	auth->unneeded = false;
	auth->empty_answers = 0;
	ev_now_update(etcd->loop);
	ev_timer_set(&auth->jitter, JITTER_S * etcd_random(), 0.0);
	ev_timer_start(etcd->loop, &auth->jitter);
	return true;
}

void etcd_auth_empty_answer(struct etcd_store *etcd, unsigned int serial)
{
	if (etcd->auth.token && ++etcd->auth.empty_answers >= EMPTY_ANSWERS_MAX)
		(void)etcd_auth_refused(etcd, serial);
}

void etcd_auth_answer(struct etcd_store *etcd)
{
	etcd->auth.empty_answers = 0;
}

/* ---- beginning and end ------------------------------------------------- */

int etcd_auth_init(struct etcd_store *etcd, const struct etcd_settings *settings, struct err *err)
{
	struct etcd_auth *auth = &etcd->auth;

	ev_init(&auth->jitter, on_jitter);
	auth->jitter.data = etcd;
	if (!settings->user && !settings->password_file)
		return 0;
	if (!settings->user || !settings->password_file)
		return err_set(err, -EINVAL, "a user of etcd's has a name and a password file");
	char *password = read_password(settings->password_file, err);
	if (!password)
		return err->code;
	wipe(password);
	auth->user = xstrdup(settings->user);
	auth->password_file = xstrdup(settings->password_file);
	auth->asking.kind = ETCD_TRANSFER_PUSH; /* thousands may stand in line for it */
	auth->asking.path = "/auth/authenticate";
	auth->asking.resendable = true;
	auth->asking.reply.max = ANSWER_MAX_BYTES;
	auth->asking.on_end = on_asked;
	return 0;
}

void etcd_auth_fini(struct etcd_store *etcd)
{
	struct etcd_auth *auth = &etcd->auth;

	etcd_transfer_stop(&auth->asking);
	buf_fini(&auth->asking.reply);
	ev_timer_stop(etcd->loop, &auth->jitter);
	wipe(auth->body);
	wipe(auth->token);
	free(auth->user);
	free(auth->password_file);
}
