/* SPDX-License-Identifier: MIT */
/*
 * Generations as keys and values: round trip, digest, what is refused, and how CMS gets to read
 * them.
 */
#include "agreement_world.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/file.h"
#include "cmsnode/base/json.h"

static void add_kv(struct store_kvs *kvs, const char *directory, const char *key, const char *value,
		   size_t len)
{
	GROW(kvs->items, kvs->len, kvs->cap);
	kvs->items[kvs->len++] = (struct store_kv){ .key = xasprintf("%s%s", directory, key),
						    .value = xmemdup(value, len + 1),
						    .value_len = len };
}

static void kvs_fini(struct store_kvs *kvs)
{
	for (size_t i = 0; i < kvs->len; i++) {
		free(kvs->items[i].key);
		free(kvs->items[i].value);
	}
	free(kvs->items);
	*kvs = (struct store_kvs){ 0 };
}

static struct generation *example(void)
{
	struct generation *generation = world_seed();
	struct registrations all = { 0 };

	all.items = xcalloc(2, sizeof(*all.items));
	all.len = 2;
	world_registration(&all.items[0], "a", "core,contest-web:2", 1);
	world_registration(&all.items[1], "b", "worker:2,contest-web", 2);
	alter_join(generation, &all, NULL);
	registrations_fini(&all);
	value_set_path(generation->cms, "worker.big", value_new_int(INT64_MAX));
	value_set_path(generation->cms, "worker.ratio", value_new_float(1.0));
	return generation;
}

/* What the store would hold, and the `current` that names it. */
static void to_store(const struct generation *generation, struct store_kvs *kvs,
		     struct current *current)
{
	static const char directory[] = "/cms/configs/x/";
	CLEAN(tree) struct tree tree = { 0 };
	struct generation_meta meta = generation->meta;

	assert_int_equal(generation_to_tree(generation, &tree, NULL), 0);
	tree_digest(&tree, meta.digest);
	meta.entries = (int64_t)tree.len;
	CLEAN(str) char *json = generation_meta_to_json(&meta);

	add_kv(kvs, directory, "meta", json, strlen(json));
	for (size_t i = 0; i < tree.len; i++)
		add_kv(kvs, directory, tree.items[i].key, tree.items[i].value,
		       tree.items[i].value_len);
	*current = (struct current){ .name = "x", .epoch = 3, .sequence = 7, .mod_revision = 1 };
	memcpy(current->digest, meta.digest, sizeof(current->digest));
}

static void keys_come_back_as_the_same_generation(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	CLEAN(generation) struct generation *again = NULL;
	struct store_kvs kvs = { 0 };
	struct current current;
	struct err err;

	(void)state;
	to_store(generation, &kvs, &current);
	assert_int_equal(generation_from_kvs(&current, "/cms/configs/x/", &kvs, &again, &err), 0);
	assert_true(generation_same_content(generation, again));
	assert_int_equal(again->epoch, 3);
	assert_int_equal(again->sequence, 7);
	assert_true(value_equal(value_get_path(again->cms, "worker.big"),
				value_get_path(generation->cms, "worker.big")));
	assert_int_equal(value_get_path(again->cms, "worker.ratio")->type, VALUE_FLOAT);
	kvs_fini(&kvs);
}

/* Any single key lost, changed or added, and any byte of a value: refused. */
static void every_damage_is_noticed(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	struct store_kvs kvs = { 0 };
	struct current current;

	(void)state;
	to_store(generation, &kvs, &current);
	for (size_t i = 0; i < kvs.len; i++) {
		struct generation *again = NULL;
		struct store_kv *kv = &kvs.items[i];
		struct err err;

		kv->value[kv->value_len / 2] ^= 1;
		assert_int_equal(
			generation_from_kvs(&current, "/cms/configs/x/", &kvs, &again, &err),
			-EINVAL);
		kv->value[kv->value_len / 2] ^= 1;
		struct store_kv lost = *kv;

		kvs.items[i] = kvs.items[--kvs.len];
		assert_int_equal(
			generation_from_kvs(&current, "/cms/configs/x/", &kvs, &again, &err),
			-EINVAL);
		kvs.items[kvs.len++] = kvs.items[i];
		kvs.items[i] = lost;
		assert_null(again);
	}
	add_kv(&kvs, "/cms/configs/x/", "cms/worker/added", "true", 4);
	struct generation *again = NULL;
	struct err err;

	assert_int_equal(generation_from_kvs(&current, "/cms/configs/x/", &kvs, &again, &err),
			 -EINVAL);
	kvs_fini(&kvs);
}

/* SHA-256 over key NUL length value, computed independently: printf '...' | sha256sum. */
static void digest_has_known_values(void **state)
{
	struct tree_entry entries[] = { { (char *)"cms/database/url", (char *)"\"x\"", 3 },
					{ (char *)"topology/slots", (char *)"{}", 2 } };
	const struct tree tree = { .items = entries, .len = 2 };
	const struct tree empty = { 0 };
	char digest[65];

	(void)state;
	tree_digest(&empty, digest);
	assert_string_equal(digest,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	tree_digest(&tree, digest);
	assert_string_equal(digest,
			    "d276d5e57814dbac0a567df7f606ffe9dfeba21b6973f0d06bf976d91f0ac7a5");
}

static void current_comes_back_as_it_was(void **state)
{
	static const uint64_t cluster_ids[] = { 0, 1, (uint64_t)INT64_MAX + 1, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cluster_ids); i++) {
		struct current before = { .epoch = 2,
					  .sequence = 3,
					  .folded = INT64_MAX,
					  .cluster_id = cluster_ids[i],
					  .restored = i % 2 };
		struct current after;
		struct err err = { 0 };

		(void)snprintf(before.name, sizeof(before.name), "a_core_0003-0123abcd");
		memset(before.digest, 'a', sizeof(before.digest) - 1);
		CLEAN(str) char *json = current_to_json(&before);
		const struct store_kv kv = { .value = json, .value_len = strlen(json) };

		if (current_from_kv(&kv, &after, &err) < 0)
			fail_msg("%s: %s", json, err.msg);
		assert_true(after.cluster_id == before.cluster_id);
		assert_int_equal(after.restored, before.restored);
		assert_int_equal(after.epoch, 2);
		assert_int_equal(after.sequence, 3);
		assert_true(after.folded == INT64_MAX);
		assert_string_equal(after.name, before.name);
		assert_string_equal(after.digest, before.digest);
	}
}

/* ---- vectors made elsewhere: tests/data/digest ----------------------------- */

static const char vector_directory[] = "/cms/configs/x/";

static void add_bytes(struct store_kvs *kvs, const char *key, const char *hex)
{
	const size_t len = strlen(hex) / 2;
	char *bytes = xcalloc(len + 1, 1);

	for (size_t i = 0; i < len; i++) {
		unsigned int byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		bytes[i] = (char)byte;
	}
	add_kv(kvs, vector_directory, key, bytes, len);
	free(bytes);
}

/* What the store holds and says of itself, in the vector's order. */
static void vector_to_kvs(const cJSON *vector, const char *digest, struct store_kvs *kvs)
{
	int64_t counted;
	const cJSON *entry;

	assert_int_equal(json_get_int64(vector, "counted", &counted), 0);
	CLEAN(str)
	char *meta = xasprintf("{\"schema\":1,\"entries\":%d,\"created_at\":0,\"format\":\"toml\","
			       "\"digest\":\"%s\"}",
			       (int)counted, digest);

	cJSON_ArrayForEach(entry, json_get_array(vector, "entries")) {
		const char *key = json_get_str(entry, "key");
		const char *value = json_get_str(entry, "value");
		const char *hex = json_get_str(entry, "hex");

		if (hex)
			add_bytes(kvs, key, hex);
		else if (value)
			add_kv(kvs, vector_directory, key, value, strlen(value));
	}
	add_kv(kvs, vector_directory, "meta", meta, strlen(meta));
}

static bool vector_is_accepted(const cJSON *vector, const char *digest)
{
	struct current current = { .name = "x", .epoch = 1, .sequence = 1, .mod_revision = 1 };
	CLEAN(generation) struct generation *generation = NULL;
	struct store_kvs kvs = { 0 };
	struct err err = { 0 };

	assert_true(str_is_hex(digest, 64));
	memcpy(current.digest, digest, sizeof(current.digest));
	vector_to_kvs(vector, digest, &kvs);
	const int r = generation_from_kvs(&current, vector_directory, &kvs, &generation, &err);

	kvs_fini(&kvs);
	if (r < 0 && !strstr(err.msg, "does not fit its digest"))
		fail_msg("%s", err.msg);
	return r == 0;
}

static void check_vector(const char *path)
{
	struct buf text = BUF_INIT(1 << 20);
	struct err err;

	assert_int_equal(file_read(path, &text, &err), 0);
	CLEAN(json) cJSON *vector = json_parse(buf_str(&text), text.len, &err);

	assert_non_null(vector);
	CLEAN(str) char *digest = xstrdup(json_get_str(vector, "digest"));

	if (!vector_is_accepted(vector, digest))
		fail_msg("%s: another digest", path);
	digest[63] = digest[63] == '0' ? '1' : '0';
	assert_false(vector_is_accepted(vector, digest));
	buf_fini(&text);
}

static void digests_are_those_of_the_vectors(void **state)
{
	const char *srcdir = getenv("srcdir");
	CLEAN(str) char *folder = xasprintf("%s/tests/data/digest", srcdir ? srcdir : ".");
	DIR *dir = opendir(folder);
	size_t checked = 0;

	(void)state;
	assert_non_null(dir);
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		CLEAN(str) char *path = xasprintf("%s/%s", folder, entry->d_name);

		if (!str_ends(entry->d_name, ".json"))
			continue;
		check_vector(path);
		checked++;
	}
	(void)closedir(dir);
	assert_true(checked >= 10);
}

static void newer_schema_says_upgrade(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	struct store_kvs kvs = { 0 };
	struct generation *again = NULL;
	struct current current;
	struct err err;

	(void)state;
	generation->meta.schema = GENERATION_SCHEMA + 1;
	to_store(generation, &kvs, &current);
	assert_int_equal(generation_from_kvs(&current, "/cms/configs/x/", &kvs, &again, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "upgrade this node"));
	kvs_fini(&kvs);
}

static char *rendered(const struct generation *generation, const char *path)
{
	CLEAN(value) struct value *document = generation_render(generation);
	const struct value *value = value_get_path(document, path);

	return value ? value_to_json(value) : xstrdup("(none)");
}

static void rendering_names_addresses(void **state)
{
	static const struct {
		const char *path, *text;
	} cases[] = {
		{ "services.LogService", "[[\"10.0.0.1\",29000]]" },
		{ "services.ResourceService", "[[\"10.0.0.1\",28000],[\"10.0.0.2\",28001]]" },
		/* One of three listed Workers is vacant and last: left out. */
		{ "services.Worker", "[[\"10.0.0.2\",26000],[\"10.0.0.2\",26001]]" },
		{ "services.ContestWebServer",
		  "[[\"10.0.0.1\",21000],[\"10.0.0.1\",21001],[\"10.0.0.2\",21002]]" },
		{ "contest_web_server.listen_address", "[\"10.0.0.1\",\"10.0.0.1\",\"10.0.0.2\"]" },
		{ "contest_web_server.listen_port", "[8888,8901,8888]" },
		{ "services.PrometheusExporter", "[]" },
		{ "services.PrintingService", "(none)" },
	};
	CLEAN(generation) struct generation *generation = example();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(str) char *text = rendered(generation, cases[i].path);

		assert_string_equal(text, cases[i].text);
	}
}

static void vacant_singletons_stay_listed(void **state)
{
	CLEAN(generation) struct generation *generation = world_seed();
	CLEAN(str) char *log = rendered(generation, "services.LogService");
	CLEAN(str) char *workers = rendered(generation, "services.Worker");

	(void)state;
	assert_string_equal(log, "[[\"127.255.255.254\",29000]]");
	assert_string_equal(workers, "[]");
}

static void an_operators_listen_lists_are_respected(void **state)
{
	CLEAN(generation) struct generation *generation = example();
	struct value *addresses = value_new_array();
	struct value *ports = value_new_array();

	(void)state;
	value_array_add(addresses, value_new_string(""));
	value_array_add(ports, value_new_int(80));
	value_set_path(generation->cms, "contest_web_server.listen_address", addresses);
	value_set_path(generation->cms, "contest_web_server.listen_port", ports);
	CLEAN(str) char *address = rendered(generation, "contest_web_server.listen_address");
	CLEAN(str) char *port = rendered(generation, "contest_web_server.listen_port");

	/* Made long enough: CMS refuses to start a shard without its element. */
	assert_string_equal(address, "[\"\",\"\",\"\"]");
	assert_string_equal(port, "[80,8901,8888]");
}

static void policy_is_checked(void **state)
{
	static const struct {
		const char *name;
		int64_t value;
		int expected;
	} cases[] = { { "worker_pool", 0, 0 },	      { "worker_pool", 5000, 0 },
		      { "worker_pool", -1, -EINVAL }, { "worker_pool", 5001, -EINVAL },
		      { "worker_pol", 1, -ENOENT },   { "restart_at_once", 0, -EINVAL },
		      { "rejoin_window_s", 600, 0 },  { "rejoin_window_s", 1, -EINVAL } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN(value) struct value *value = value_new_int(cases[i].value);
		struct policy policy;
		struct err err;

		policy_init(&policy);
		assert_int_equal(policy_set(&policy, cases[i].name, value, &err),
				 cases[i].expected);
	}
}

static void switches_are_on_or_off(void **state)
{
	static const char *const names[] = { "frozen", "names" };
	CLEAN(value) struct value *on = value_new_bool(true);
	CLEAN(value) struct value *one = value_new_int(1);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEAN(generation) struct generation *off = generation_new();
		CLEAN(generation) struct generation *switched = generation_new();
		struct err err;

		assert_int_equal(policy_set(&switched->policy, names[i], one, &err), -EINVAL);
		assert_true(generation_same_content(off, switched));
		assert_int_equal(policy_set(&switched->policy, names[i], on, &err), 0);
		assert_false(generation_same_content(off, switched));
		CLEAN(value) struct value *table = policy_to_value(&switched->policy);

		for (size_t k = 0; k < ARRAY_LEN(names); k++)
			assert_int_equal(value_get(table, names[k])->boolean, i == k);
	}
}

static void names_are_names(void **state)
{
	static const struct {
		const char *name;
		bool valid;
	} cases[] = { { "i-0c0e_core_0003-5f2a9c1d", true },
		      { "", false },
		      { ".", false },
		      { "..", false },
		      { "a/b", false },
		      { "a b", false },
		      { "x\n", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(generation_name_valid(cases[i].name), cases[i].valid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_come_back_as_the_same_generation),
		cmocka_unit_test(every_damage_is_noticed),
		cmocka_unit_test(digest_has_known_values),
		cmocka_unit_test(current_comes_back_as_it_was),
		cmocka_unit_test(digests_are_those_of_the_vectors),
		cmocka_unit_test(newer_schema_says_upgrade),
		cmocka_unit_test(rendering_names_addresses),
		cmocka_unit_test(vacant_singletons_stay_listed),
		cmocka_unit_test(an_operators_listen_lists_are_respected),
		cmocka_unit_test(policy_is_checked),
		cmocka_unit_test(switches_are_on_or_off),
		cmocka_unit_test(names_are_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
