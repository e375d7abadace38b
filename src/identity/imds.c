/* SPDX-License-Identifier: MIT */
/*
 * EC2's instance metadata service: a token by PUT, then the instance id by GET
 * with it (what the first version of the service answers without a token is not
 * asked for). Never on the loop, never through a proxy, never on a machine whose
 * DMI does not say Amazon, and never longer than its limit. The paths and headers
 * are from the EC2 user guide, "Use IMDSv2".
 */
#include "cmsnode/identity/imds.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/clock.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

#define TOKEN_TTL "X-aws-ec2-metadata-token-ttl-seconds: 60"
#define TOKEN_HEADER "X-aws-ec2-metadata-token: "
#define ANSWER_MAX 1024

static inline void clean_curl(CURL **curl)
{
	curl_easy_cleanup(*curl);
}

static inline void clean_slist(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

struct exchange {
	const char *method;
	const char *url;
	const char *header;
	int64_t deadline_ms;
	struct buf answer;
};

bool imds_is_instance_id(const char *text)
{
	const size_t len = strlen(text);

	return str_starts(text, "i-") && len >= 2 + 8 && len <= 2 + 32 &&
	       strspn(text + 2, "0123456789abcdef") == len - 2;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
	struct exchange *exchange = ctx;

	return buf_add(&exchange->answer, data, size * count) < 0 ? 0 : size * count;
}

static void set_options(CURL *curl, struct curl_slist *headers, struct exchange *exchange)
{
	const int64_t left_ms = exchange->deadline_ms - clock_now_ms();

	(void)curl_easy_setopt(curl, CURLOPT_URL, exchange->url);
	(void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, exchange->method);
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
	/* Zero would mean no limit. */
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, left_ms > 0 ? (long)left_ms : 1L);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
}

/* 0 and the answer's body, or -1 and the phrase. */
static int run_exchange(struct exchange *exchange, char *why, size_t size)
{
	CLEAN(curl) CURL *curl = curl_easy_init();
	CLEAN(slist) struct curl_slist *headers = curl_slist_append(NULL, exchange->header);
	long status = 0;
	if (!curl || !headers) {
		(void)snprintf(why, size, "libcurl does not start");
		return -1;
	}
	set_options(curl, headers, exchange);
	const CURLcode code = curl_easy_perform(curl);
	if (code != CURLE_OK) {
		(void)snprintf(why, size, "%s %s: %s", exchange->method, exchange->url,
			       code == CURLE_OPERATION_TIMEDOUT ? "no answer in time" :
			       code == CURLE_WRITE_ERROR	? "the answer is too long" :
								  curl_easy_strerror(code));
		return -1;
	}
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200) {
		(void)snprintf(why, size, "%s %s: answered with status %ld", exchange->method,
			       exchange->url, status);
		return -1;
	}
	return 0;
}

/* It goes into a header: nothing in it may end that. */
static bool is_token(const struct buf *answer)
{
	if (answer->len == 0)
		return false;
	for (size_t i = 0; i < answer->len; i++)
		if (answer->data[i] <= ' ' || answer->data[i] > '~')
			return false;
	return true;
}

/* The header that carries the token (caller frees), or NULL and the phrase. */
static char *ask_token(const char *url, int64_t deadline_ms, char *why, size_t size)
{
	CLEAN(str) char *whole = xasprintf("%s/latest/api/token", url);
	struct exchange exchange = { .method = "PUT",
				     .url = whole,
				     .header = TOKEN_TTL,
				     .deadline_ms = deadline_ms,
				     .answer = BUF_INIT(ANSWER_MAX) };
	char *header = NULL;

	if (run_exchange(&exchange, why, size) == 0) {
		if (is_token(&exchange.answer))
			header = xasprintf("%s%s", TOKEN_HEADER, exchange.answer.data);
		else
			(void)snprintf(why, size, "PUT %s: the answer is no token", whole);
	}
	buf_fini(&exchange.answer);
	return header;
}

static void ask_instance_id(const char *url, const char *token_header, int64_t deadline_ms,
			    struct imds_answer *ret)
{
	CLEAN(str) char *whole = xasprintf("%s/latest/meta-data/instance-id", url);
	struct exchange exchange = { .method = "GET",
				     .url = whole,
				     .header = token_header,
				     .deadline_ms = deadline_ms,
				     .answer = BUF_INIT(ANSWER_MAX) };

	if (run_exchange(&exchange, ret->why, sizeof(ret->why)) == 0) {
		const char *text = buf_str(&exchange.answer);

		/* As bytes: a NUL behind a good id is no good answer. */
		if (strlen(text) == exchange.answer.len && imds_is_instance_id(text)) {
			(void)snprintf(ret->instance_id, sizeof(ret->instance_id), "%s", text);
			(void)snprintf(ret->why, sizeof(ret->why), "from the metadata service");
		} else {
			(void)snprintf(ret->why, sizeof(ret->why),
				       "GET %s: the answer is no instance id", whole);
		}
	}
	buf_fini(&exchange.answer);
}

void imds_ask(const char *url, long limit_ms, struct imds_answer *ret)
{
	const int64_t deadline_ms = clock_now_ms() + limit_ms;

	*ret = (struct imds_answer){ 0 };
	CLEAN(str) char *header = ask_token(url, deadline_ms, ret->why, sizeof(ret->why));

	if (header)
		ask_instance_id(url, header, deadline_ms, ret);
}

static bool is_amazon(const char *vendor)
{
	return strcasecmp(vendor, "Amazon EC2") == 0 || strcasecmp(vendor, "amazon") == 0;
}

void imds_instance_id(const char *sys_vendor, const char *board_asset_tag, struct imds_answer *ret)
{
	*ret = (struct imds_answer){ 0 };
	if (!*sys_vendor) {
		(void)snprintf(ret->why, sizeof(ret->why), "DMI has no readable sys_vendor");
	} else if (!is_amazon(sys_vendor)) {
		(void)snprintf(ret->why, sizeof(ret->why), "DMI says '%.64s'", sys_vendor);
	} else if (imds_is_instance_id(board_asset_tag)) {
		(void)snprintf(ret->instance_id, sizeof(ret->instance_id), "%s", board_asset_tag);
		(void)snprintf(ret->why, sizeof(ret->why), "from the board asset tag in DMI");
	} else {
		imds_ask(IMDS_URL, IMDS_LIMIT_MS, ret);
	}
}
