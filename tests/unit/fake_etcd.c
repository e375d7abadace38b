/* SPDX-License-Identifier: MIT */
/*
 * A fake etcd: requests are taken apart here, on their own terms and not by the
 * daemon's codec, so that neither can hide the other's mistakes.
 */
#include "fake_etcd.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <ev.h>
#include <openssl/evp.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"
#include "cmsnode/store/memory_store.h"
#include "cmsnode/store/store.h"
#include "fake_gateway.h"

#define TICK_S 0.1
#define PROGRESS_TICKS 20 /* between progress messages of watches */
#define LATE_MIN_S 3.5 /* the client waits 3 s */
#define IDS_MAX 8

struct lease {
	uint64_t id;
	int64_t ttl_s;
	double ends_at; /* of the loop's clock */
};

struct watch_range {
	int64_t id;
	struct store_range range;
	int64_t seen; /* all events up to here were sent */
};

struct watch {
	struct fake_exchange *exchange;
	struct watch_range ranges[IDS_MAX];
	size_t len;
	bool muted; /* open, and silent for ever */
	struct watch *next;
};

/* A request that is carried out, or answered, later. */
struct deferred {
	struct fake_etcd *fake;
	struct fake_exchange *exchange; /* NULL: nobody waits any more */
	struct ev_timer timer;
	char *path, *body;
	bool execute; /* else only the answer is left to be sent */
	int status;
	char *answer;
	struct deferred *next;
};

struct member {
	struct fake_etcd *fake;
	struct fake_gateway *gateway;
	uint64_t id;
};

struct fake_etcd {
	struct ev_loop *loop;
	struct memory_store *store;
	struct member members[FAKE_ETCD_MEMBERS_MAX];
	size_t members_len;
	void (*on_change)(void *ctx);
	void *ctx;
	struct ev_timer tick;
	unsigned int ticks;
	struct lease *leases;
	size_t leases_len, leases_cap;
	struct watch *watches;
	struct deferred *deferred;
	uint64_t random;
	unsigned int permille;
	size_t faults[FAKE_FAULTS], broken_watches;
};

/* splitmix64 */
static uint64_t chance(struct fake_etcd *fake)
{
	uint64_t z = fake->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool has_bad_luck(struct fake_etcd *fake, unsigned int times)
{
	return fake->permille && chance(fake) % 1000 < fake->permille * times;
}

/* ---- JSON -------------------------------------------------------------------- */

static void add_base64(struct buf *out, const char *bytes, size_t len)
{
	unsigned char *text = xmalloc((len + 2) / 3 * 4 + 1);

	(void)EVP_EncodeBlock(text, (const unsigned char *)bytes, (int)len);
	(void)buf_adds(out, (char *)text);
	free(text);
}

/* NUL-terminated; "" if the member is absent. */
static char *get_bytes(const cJSON *object, const char *name, size_t *ret_len)
{
	const char *text = json_get_str(object, name);
	const size_t len = text ? strlen(text) : 0;
	char *bytes = xcalloc(len / 4 * 3 + 1, 1);
	int n = len ? EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text,
				      (int)len) :
		      0;

	if (n < 0 || len % 4)
		abort();
	for (size_t i = len; n && i > 0 && text[i - 1] == '='; i--)
		n--;
	bytes[n] = '\0';
	*ret_len = (size_t)n;
	return bytes;
}

static char *get_text(const cJSON *object, const char *name)
{
	size_t len;

	return get_bytes(object, name, &len);
}

static int64_t get_int(const cJSON *object, const char *name)
{
	int64_t value = 0;

	(void)json_get_int64(object, name, &value);
	return value;
}

static void add_header(struct buf *out, const struct member *member)
{
	(void)buf_addf(out,
		       "\"header\":{\"cluster_id\":\"14841639068965178418\",\"member_id\":\"%" PRIu64
		       "\",\"revision\":\"%" PRId64 "\",\"raft_term\":\"2\"}",
		       member->id, memory_store_revision(member->fake->store));
}

static void add_kv(struct buf *out, const struct store_kv *kv, bool deleted)
{
	(void)buf_adds(out, "{\"key\":\"");
	add_base64(out, kv->key, strlen(kv->key));
	(void)buf_addf(out, "\",\"mod_revision\":\"%" PRId64 "\"", kv->mod_revision);
	if (!deleted)
		(void)buf_addf(out, ",\"create_revision\":\"%" PRId64 "\",\"version\":\"1\"",
			       kv->create_revision);
	if (kv->lease)
		(void)buf_addf(out, ",\"lease\":\"%" PRIu64 "\"", kv->lease);
	if (kv->value && kv->value_len) {
		(void)buf_adds(out, ",\"value\":\"");
		add_base64(out, kv->value, kv->value_len);
		(void)buf_adds(out, "\"");
	}
	(void)buf_adds(out, "}");
}

static int error(char **ret, int status, int code, const char *text)
{
	*ret = xasprintf("{\"error\":\"%s\",\"message\":\"%s\",\"code\":%d}", text, text, code);
	return status;
}

/* ---- transactions ------------------------------------------------------------- */

static void parse_range(const cJSON *json, struct store_range *range)
{
	CLEAN(str) char *end = get_text(json, "range_end");

	range->key = get_text(json, "key");
	range->range_end = *end ? steal(end) : NULL;
	range->limit = get_int(json, "limit");
	range->min_mod_revision = get_int(json, "min_mod_revision");
	range->max_create_revision = get_int(json, "max_create_revision");
	range->keys_only = json_get_bool(json, "keys_only", false);
	range->oldest_first = str_eq(json_get_str(json, "sort_order"), "ASCEND") &&
			      str_eq(json_get_str(json, "sort_target"), "CREATE");
}

static void parse_put(const cJSON *json, struct store_ops *ops)
{
	size_t len;
	CLEAN(str) char *key = get_text(json, "key");
	CLEAN(str) char *value = get_bytes(json, "value", &len);

	store_ops_put(ops, key, value, len, (uint64_t)get_int(json, "lease"));
}

/* Nested transactions have no compares here: their operations are those of the whole one. */
static void parse_ops(const cJSON *array, struct store_ops *ops, size_t budget)
{
	const cJSON *item;
	const size_t len = (size_t)cJSON_GetArraySize(array);

	if (len > budget)
		abort(); /* etcd: too many operations in txn request */
	cJSON_ArrayForEach(item, array) {
		const cJSON *inner = json_get_object(item, "request_txn");
		const cJSON *range = json_get_object(item, "request_range");
		const cJSON *delete = json_get_object(item, "request_delete_range");

		if (inner) {
			parse_ops(json_get_array(inner, "success"), ops, budget - len);
		} else if (range || delete) {
			struct store_range parsed = { 0 };

			parse_range(range ? range : delete, &parsed);
			if (range)
				(void)store_ops_range(ops, "", false);
			else
				store_ops_delete(ops, "", false);
			free(ops->items[ops->len - 1].range.key);
			ops->items[ops->len - 1].range = parsed;
		} else {
			parse_put(json_get_object(item, "request_put"), ops);
		}
	}
}

static void parse_compares(const cJSON *array, struct store_request *request)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, array) {
		CLEAN(str) char *key = get_text(item, "key");
		CLEAN(str) char *value = get_text(item, "value");
		const char *target = json_get_str(item, "target");

		if (!str_eq(json_get_str(item, "result"), "EQUAL"))
			abort();
		if (str_eq(target, "VALUE"))
			store_request_compare_value(request, key, value);
		else if (str_eq(target, "MOD"))
			store_request_compare(request, STORE_COMPARE_MOD, key,
					      get_int(item, "mod_revision"));
		else if (str_eq(target, "CREATE"))
			store_request_compare(request, STORE_COMPARE_CREATE, key,
					      get_int(item, "create_revision"));
		else if (str_eq(target, "LEASE"))
			store_request_compare(request, STORE_COMPARE_LEASE, key,
					      get_int(item, "lease"));
		else
			abort();
	}
}

static void add_kvs(struct buf *out, const struct store_kvs *kvs)
{
	(void)buf_adds(out, "\"kvs\":[");
	for (size_t i = 0; i < kvs->len; i++) {
		(void)buf_adds(out, i ? "," : "");
		add_kv(out, &kvs->items[i], false);
	}
	(void)buf_addf(out, "],\"count\":\"%zu\"", kvs->len);
}

/* The answer has the shape of the request; its ranges are taken in order. */
static void add_responses(struct buf *out, const cJSON *array, const struct store_reply *reply,
			  size_t *range)
{
	const cJSON *item;
	bool first = true;

	(void)buf_adds(out, "\"responses\":[");
	cJSON_ArrayForEach(item, array) {
		const cJSON *inner = json_get_object(item, "request_txn");

		(void)buf_adds(out, first ? "{" : ",{");
		first = false;
		if (inner) {
			(void)buf_adds(out,
				       "\"response_txn\":{\"header\":{},\"succeeded\":true,");
			add_responses(out, json_get_array(inner, "success"), reply, range);
			(void)buf_adds(out, "}");
		} else if (json_get_object(item, "request_range")) {
			const struct store_kvs *kvs = &reply->ranges[(*range)++];

			(void)buf_adds(out, "\"response_range\":{\"header\":{}");
			if (kvs->len) {
				(void)buf_adds(out, ",");
				add_kvs(out, kvs);
			}
			(void)buf_adds(out, "}");
		} else if (json_get_object(item, "request_put")) {
			(void)buf_adds(out, "\"response_put\":{\"header\":{}}");
		} else {
			(void)buf_adds(out, "\"response_delete_range\":{\"header\":{}}");
		}
		(void)buf_adds(out, "}");
	}
	(void)buf_adds(out, "]");
}

static int do_txn(struct member *member, const cJSON *json, char **ret)
{
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_TXN);
	CLEAN(store_reply) struct store_reply reply = { 0 };
	struct buf out = BUF_INIT(0);
	size_t range = 0;

	parse_compares(json_get_array(json, "compare"), request);
	parse_ops(json_get_array(json, "success"), &request->success, 128);
	parse_ops(json_get_array(json, "failure"), &request->failure, 128);
	memory_store_execute(member->fake->store, request, &reply);
	if (reply.outcome != STORE_DONE)
		return reply.trouble == STORE_TROUBLE_LEASE_GONE ?
			       error(ret, 404, 5, "etcdserver: requested lease not found") :
			       error(ret, 400, 3, reply.text);
	(void)buf_adds(&out, "{");
	add_header(&out, member);
	(void)buf_adds(&out, reply.succeeded ? ",\"succeeded\":true," : ",");
	add_responses(&out, json_get_array(json, reply.succeeded ? "success" : "failure"), &reply,
		      &range);
	(void)buf_adds(&out, "}");
	*ret = buf_steal(&out);
	return 200;
}

/* ---- leases --------------------------------------------------------------------- */

static struct lease *find_lease(struct fake_etcd *fake, uint64_t id)
{
	for (size_t i = 0; i < fake->leases_len; i++)
		if (fake->leases[i].id == id)
			return &fake->leases[i];
	return NULL;
}

static void end_lease(struct fake_etcd *fake, struct lease *lease)
{
	(void)memory_store_expire(fake->store, lease->id);
	*lease = fake->leases[--fake->leases_len];
}

static int do_grant(struct member *member, const cJSON *json, char **ret)
{
	struct fake_etcd *fake = member->fake;
	CLEAN(store_request) struct store_request *request = store_request_new(STORE_LEASE_GRANT);
	CLEAN(store_reply) struct store_reply reply = { 0 };
	struct buf out = BUF_INIT(0);

	request->leases[0] = (uint64_t)get_int(json, "ID");
	request->leases_len = 1;
	request->ttl_s = get_int(json, "TTL");
	if (find_lease(fake, request->leases[0]))
		return error(ret, 412, 9, "etcdserver: lease already exists");
	memory_store_execute(fake->store, request, &reply);
	GROW(fake->leases, fake->leases_len, fake->leases_cap);
	fake->leases[fake->leases_len++] =
		(struct lease){ request->leases[0], reply.ttl_s[0],
				ev_now(fake->loop) + (double)reply.ttl_s[0] };
	(void)buf_adds(&out, "{");
	add_header(&out, member);
	(void)buf_addf(&out, ",\"ID\":\"%" PRIu64 "\",\"TTL\":\"%" PRId64 "\"}", request->leases[0],
		       reply.ttl_s[0]);
	*ret = buf_steal(&out);
	return 200;
}

static void keep_alive(struct member *member, uint64_t id, struct buf *out)
{
	struct lease *lease = find_lease(member->fake, id);

	(void)buf_adds(out, "{\"result\":{");
	add_header(out, member);
	(void)buf_addf(out, ",\"ID\":\"%" PRIu64 "\"", id);
	/* One that has ended has no TTL. */
	if (lease) {
		lease->ends_at = ev_now(member->fake->loop) + (double)lease->ttl_s;
		(void)buf_addf(out, ",\"TTL\":\"%" PRId64 "\"", lease->ttl_s);
	}
	(void)buf_adds(out, "}}\n");
}

/* Several objects in one body renew several leases. */
static int do_keepalive(struct member *member, const char *body, char **ret)
{
	struct buf out = BUF_INIT(0);

	while (*body) {
		CLEAN(json) cJSON *json = cJSON_ParseWithOpts(body, &body, false);

		if (!json)
			abort();
		keep_alive(member, (uint64_t)get_int(json, "ID"), &out);
		body += strspn(body, " \r\n");
	}
	*ret = buf_steal(&out);
	return 200;
}

static int do_revoke(struct member *member, const cJSON *json, char **ret)
{
	struct lease *lease = find_lease(member->fake, (uint64_t)get_int(json, "ID"));
	struct buf out = BUF_INIT(0);

	if (!lease)
		return error(ret, 404, 5, "etcdserver: requested lease not found");
	end_lease(member->fake, lease);
	(void)buf_adds(&out, "{");
	add_header(&out, member);
	(void)buf_adds(&out, "}");
	*ret = buf_steal(&out);
	return 200;
}

static int do_remaining(struct member *member, const cJSON *json, char **ret)
{
	const struct lease *lease = find_lease(member->fake, (uint64_t)get_int(json, "ID"));
	const double left_s = lease ? lease->ends_at - ev_now(member->fake->loop) : -1.0;
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, "{");
	add_header(&out, member);
	(void)buf_addf(&out, ",\"ID\":\"%" PRId64 "\",\"TTL\":\"%" PRId64 "\"}",
		       get_int(json, "ID"), (int64_t)left_s);
	*ret = buf_steal(&out);
	return 200;
}

/* ---- the cluster ------------------------------------------------------------------ */

static int do_status(struct member *member, char **ret)
{
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, "{");
	add_header(&out, member);
	(void)buf_addf(&out,
		       ",\"version\":\"3.4.23\",\"dbSize\":\"24576\",\"leader\":\"1\","
		       "\"raftIndex\":\"%" PRId64 "\",\"raftTerm\":\"2\"}",
		       memory_store_revision(member->fake->store) + 10);
	*ret = buf_steal(&out);
	return 200;
}

static int do_members(struct member *member, char **ret)
{
	const struct fake_etcd *fake = member->fake;
	struct buf out = BUF_INIT(0);

	(void)buf_adds(&out, "{");
	add_header(&out, member);
	(void)buf_adds(&out, ",\"members\":[");
	for (size_t i = 0; i < fake->members_len; i++)
		(void)buf_addf(&out, "%s{\"ID\":\"%" PRIu64 "\",\"clientURLs\":[\"%s\"]}",
			       i ? "," : "", fake->members[i].id, fake_etcd_url(fake, i));
	(void)buf_adds(&out, "]}");
	*ret = buf_steal(&out);
	return 200;
}

/* Returns the HTTP status; *ret is the body. */
static int execute(struct member *member, const char *path, const char *body, char **ret)
{
	CLEAN(json) cJSON *json = cJSON_ParseWithOpts(body, NULL, false);

	if (str_eq(path, "/v3/lease/keepalive"))
		return do_keepalive(member, body, ret);
	if (str_eq(path, "/v3/maintenance/status"))
		return do_status(member, ret);
	if (str_eq(path, "/v3/cluster/member/list"))
		return do_members(member, ret);
	if (!json)
		return error(ret, 400, 3, "unexpected EOF");
	if (str_eq(path, "/v3/kv/txn"))
		return do_txn(member, json, ret);
	if (str_eq(path, "/v3/lease/grant"))
		return do_grant(member, json, ret);
	if (str_eq(path, "/v3/lease/revoke"))
		return do_revoke(member, json, ret);
	if (str_eq(path, "/v3/lease/timetolive"))
		return do_remaining(member, json, ret);
	return error(ret, 404, 5, "Not Found");
}

/* ---- watches ------------------------------------------------------------------------ */

static void add_watch_head(struct buf *out, const struct member *member, int64_t id)
{
	(void)buf_adds(out, "{\"result\":{");
	add_header(out, member);
	(void)buf_addf(out, ",\"watch_id\":\"%" PRId64 "\"", id);
}

static struct member *member_of(const struct watch *watch)
{
	return watch->exchange->data;
}

static void send_line(const struct watch *watch, struct buf *line)
{
	(void)buf_adds(line, "}}\n");
	fake_chunk(watch->exchange, buf_str(line));
	buf_fini(line);
}

/* All that this id has not been sent yet, as one message. */
static void send_events(struct watch *watch, struct watch_range *range)
{
	const struct store_event *events;
	struct member *member = member_of(watch);
	struct buf line = BUF_INIT(0);
	size_t len, n = 0;

	add_watch_head(&line, member, range->id);
	if (memory_store_events(member->fake->store, range->seen, &events, &len) < 0) {
		(void)buf_adds(&line, ",\"canceled\":true,\"compact_revision\":\"1\"");
		watch->muted = true; /* etcd leaves the stream open */
		send_line(watch, &line);
		return;
	}
	for (size_t i = 0; i < len; i++) {
		if (!store_range_has(&range->range, events[i].kv.key))
			continue;
		(void)buf_adds(&line, n++ ? "," : ",\"events\":[");
		(void)buf_adds(&line, events[i].deleted ? "{\"type\":\"DELETE\",\"kv\":" :
							  "{\"kv\":");
		add_kv(&line, &events[i].kv, events[i].deleted);
		(void)buf_adds(&line, "}");
	}
	range->seen = memory_store_revision(member->fake->store);
	(void)buf_adds(&line, "]");
	if (n)
		send_line(watch, &line);
	else
		buf_fini(&line);
}

static bool has_events(const struct watch *watch)
{
	const struct memory_store *store = member_of(watch)->fake->store;

	for (size_t i = 0; i < watch->len; i++)
		if (watch->ranges[i].seen < memory_store_revision(store))
			return true;
	return false;
}

/* A stream's bad luck: it ends, says that there is no leader, or goes silent. */
static void break_watch(struct fake_etcd *fake, struct watch *watch)
{
	fake->broken_watches++;
	switch (chance(fake) % 3) {
	case 0:
		fake_reset(watch->exchange);
		watch->muted = true;
		break;
	case 1:
		fake_chunk(watch->exchange,
			   "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":"
			   "\"etcdserver: no leader\",\"http_status\":\"Service Unavailable\"}}");
		fake_stream_end(watch->exchange);
		watch->muted = true;
		break;
	default:
		watch->muted = true;
	}
}

static void push_events(struct fake_etcd *fake)
{
	struct watch *next;

	for (struct watch *watch = fake->watches; watch; watch = next) {
		next = watch->next;
		if (watch->muted || !has_events(watch))
			continue;
		if (has_bad_luck(fake, 1)) {
			break_watch(fake, watch);
			continue;
		}
		for (size_t i = 0; i < watch->len && !watch->muted; i++)
			send_events(watch, &watch->ranges[i]);
	}
}

static void send_progress(const struct watch *watch)
{
	for (size_t i = 0; i < watch->len && !watch->muted; i++) {
		struct buf line = BUF_INIT(0);

		add_watch_head(&line, member_of(watch), watch->ranges[i].id);
		send_line(watch, &line);
	}
}

static void create_range(struct watch *watch, const cJSON *json)
{
	struct watch_range *range = &watch->ranges[watch->len++];
	struct buf line = BUF_INIT(0);
	const int64_t start = get_int(json, "start_revision");

	if (watch->len > IDS_MAX)
		abort();
	parse_range(json, &range->range);
	range->id = get_int(json, "watch_id");
	range->seen = start ? start - 1 : memory_store_revision(member_of(watch)->fake->store);
	add_watch_head(&line, member_of(watch), range->id);
	(void)buf_adds(&line, ",\"created\":true");
	send_line(watch, &line);
}

static void start_watch(struct fake_etcd *fake, struct fake_exchange *exchange)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));
	const char *body = exchange->body;

	watch->exchange = exchange;
	watch->next = fake->watches;
	fake->watches = watch;
	fake_stream(exchange);
	while (*body) {
		CLEAN(json) cJSON *json = cJSON_ParseWithOpts(body, &body, false);

		if (!json)
			abort();
		create_range(watch, json_get_object(json, "create_request"));
		body += strspn(body, " \r\n");
	}
	for (size_t i = 0; i < watch->len; i++)
		send_events(watch, &watch->ranges[i]);
}

static void watch_free(struct watch *watch)
{
	for (size_t i = 0; i < watch->len; i++) {
		free(watch->ranges[i].range.key);
		free(watch->ranges[i].range.range_end);
	}
	free(watch);
}

/* ---- requests ------------------------------------------------------------------------ */

static void changed(struct fake_etcd *fake)
{
	fake->on_change(fake->ctx);
	push_events(fake);
}

static void deferred_free(struct deferred *deferred)
{
	struct deferred **p = &deferred->fake->deferred;

	while (*p != deferred)
		p = &(*p)->next;
	*p = deferred->next;
	ev_timer_stop(deferred->fake->loop, &deferred->timer);
	free(deferred->path);
	free(deferred->body);
	free(deferred->answer);
	free(deferred);
}

static void on_deferred(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct deferred *deferred = w->data;
	struct fake_etcd *fake = deferred->fake;

	(void)loop;
	(void)revents;
	if (deferred->execute) {
		(void)execute(&fake->members[0], deferred->path, deferred->body, &deferred->answer);
		changed(fake);
	} else if (deferred->exchange) {
		fake_answer(deferred->exchange, deferred->status, deferred->answer);
	}
	deferred_free(deferred);
}

static struct deferred *defer(struct fake_etcd *fake, struct fake_exchange *exchange, double wait_s)
{
	struct deferred *deferred = xcalloc(1, sizeof(*deferred));

	deferred->fake = fake;
	deferred->exchange = exchange;
	deferred->path = xstrdup(exchange->path);
	deferred->body = xstrdup(exchange->body);
	deferred->next = fake->deferred;
	fake->deferred = deferred;
	ev_timer_init(&deferred->timer, on_deferred, wait_s, 0.0);
	deferred->timer.data = deferred;
	ev_timer_start(fake->loop, &deferred->timer);
	return deferred;
}

/* Waits that cost a client its whole patience are rarer than the rest; writes suffer most. */
static enum fake_fault draw_fault(struct fake_etcd *fake, const char *body)
{
	static const enum fake_fault faults[] = {
		FAKE_LOST_BEFORE, FAKE_LOST_BEFORE, FAKE_LOST_AFTER, FAKE_LOST_AFTER,
		FAKE_LATE,	  FAKE_NEVER,	    FAKE_503_BEFORE, FAKE_503_BEFORE,
		FAKE_503_AFTER,	  FAKE_503_AFTER,   FAKE_TORN,	     FAKE_TORN,
		FAKE_SLOW,	  FAKE_SLOW,	    FAKE_SLOW,
	};

	if (!has_bad_luck(fake, strstr(body, "request_put") ? 3 : 1))
		return FAKE_DONE;
	return faults[chance(fake) % ARRAY_LEN(faults)];
}

static bool is_carried_out(enum fake_fault fault)
{
	return fault == FAKE_DONE || fault == FAKE_LOST_AFTER || fault == FAKE_503_AFTER ||
	       fault == FAKE_TORN || fault == FAKE_SLOW;
}

static void send_half(struct fake_exchange *exchange, const char *answer)
{
	CLEAN(str)
	char *half = xasprintf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%.*s", strlen(answer),
			       (int)(strlen(answer) / 2), answer);

	fake_send(exchange, half, strlen(half));
	fake_close(exchange);
}

static void conclude(struct fake_etcd *fake, struct fake_exchange *exchange, enum fake_fault fault,
		     int status, char *answer)
{
	static const char leader_changed[] =
		"{\"error\":\"etcdserver: leader changed\",\"message\":\"etcdserver: leader changed\","
		"\"code\":14}";
	struct deferred *deferred;

	switch (fault) {
	case FAKE_DONE:
		fake_answer(exchange, status, answer);
		break;
	case FAKE_LOST_BEFORE:
	case FAKE_LOST_AFTER:
		fake_reset(exchange);
		break;
	case FAKE_LATE:
		deferred = defer(fake, exchange, LATE_MIN_S + (double)(chance(fake) % 3000) / 1000);
		deferred->execute = true;
		break;
	case FAKE_NEVER:
		break;
	case FAKE_503_BEFORE:
	case FAKE_503_AFTER:
		fake_answer(exchange, 503, leader_changed);
		break;
	case FAKE_TORN:
		send_half(exchange, answer);
		break;
	case FAKE_SLOW:
		deferred = defer(fake, exchange, (double)(chance(fake) % 400) / 1000);
		deferred->status = status;
		deferred->answer = xstrdup(answer);
		break;
	case FAKE_FAULTS:
		abort();
	}
}

static void on_request(void *ctx, struct fake_exchange *exchange)
{
	struct member *member = ctx;
	struct fake_etcd *fake = member->fake;
	CLEAN(str) char *answer = NULL;
	int status = 0;

	exchange->data = member;
	if (str_eq(exchange->path, "/v3/watch")) {
		start_watch(fake, exchange);
		return;
	}
	const enum fake_fault fault = draw_fault(fake, exchange->body);

	fake->faults[fault]++;
	if (is_carried_out(fault))
		status = execute(member, exchange->path, exchange->body, &answer);
	conclude(fake, exchange, fault, status, answer);
	/* Events may come before the answer, or after it. */
	changed(fake);
}

static void on_closed(void *ctx, struct fake_exchange *exchange)
{
	struct fake_etcd *fake = ((struct member *)ctx)->fake;

	for (struct deferred *deferred = fake->deferred; deferred; deferred = deferred->next)
		if (deferred->exchange == exchange)
			deferred->exchange = NULL;
	for (struct watch **p = &fake->watches; *p; p = &(*p)->next) {
		struct watch *watch = *p;

		if (watch->exchange != exchange)
			continue;
		*p = watch->next;
		watch_free(watch);
		return;
	}
}

static void on_tick(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct fake_etcd *fake = w->data;
	bool ended = false;

	(void)revents;
	for (size_t i = fake->leases_len; i-- > 0;) {
		if (fake->leases[i].ends_at > ev_now(loop))
			continue;
		end_lease(fake, &fake->leases[i]);
		/* Each is a revision of its own; the books are kept one by one. */
		fake->on_change(fake->ctx);
		ended = true;
	}
	if (ended)
		push_events(fake);
	if (++fake->ticks % PROGRESS_TICKS)
		return;
	for (const struct watch *watch = fake->watches; watch; watch = watch->next)
		send_progress(watch);
}

/* ---- construction ----------------------------------------------------------------------- */

struct fake_etcd *fake_etcd_new(struct ev_loop *loop, size_t members, void (*on_change)(void *ctx),
				void *ctx)
{
	struct fake_etcd *fake = xcalloc(1, sizeof(*fake));

	fake->loop = loop;
	fake->store = memory_store_new();
	fake->on_change = on_change;
	fake->ctx = ctx;
	fake->members_len = members;
	for (size_t i = 0; i < members; i++) {
		struct member *member = &fake->members[i];
		const struct fake_gateway_owner owner = { on_request, on_closed, member };

		*member = (struct member){ .fake = fake, .id = 1 + i };
		member->gateway = fake_gateway_new(loop, &owner);
	}
	ev_timer_init(&fake->tick, on_tick, TICK_S, TICK_S);
	fake->tick.data = fake;
	ev_timer_start(loop, &fake->tick);
	return fake;
}

void fake_etcd_free(struct fake_etcd *fake)
{
	if (!fake)
		return;
	for (size_t i = 0; i < fake->members_len; i++)
		fake_gateway_free(fake->members[i].gateway);
	while (fake->deferred)
		deferred_free(fake->deferred);
	while (fake->watches) {
		struct watch *watch = fake->watches;

		fake->watches = watch->next;
		watch_free(watch);
	}
	ev_timer_stop(fake->loop, &fake->tick);
	memory_store_free(fake->store);
	free(fake->leases);
	free(fake);
}

const char *fake_etcd_url(const struct fake_etcd *fake, size_t member)
{
	return fake_gateway_url(fake->members[member].gateway);
}

struct memory_store *fake_etcd_store(struct fake_etcd *fake)
{
	return fake->store;
}

void fake_etcd_misbehave(struct fake_etcd *fake, uint64_t seed, unsigned int permille)
{
	fake->random = seed;
	fake->permille = permille;
}

bool fake_etcd_owes(const struct fake_etcd *fake)
{
	return fake->deferred;
}

size_t fake_etcd_faults(const struct fake_etcd *fake, enum fake_fault fault)
{
	return fake->faults[fault];
}

size_t fake_etcd_broken_watches(const struct fake_etcd *fake)
{
	return fake->broken_watches;
}
