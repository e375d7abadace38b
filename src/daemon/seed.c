/* SPDX-License-Identifier: MIT */
/*
 * Reads the operator's configuration file. Everything wrong is said at start, before anything else
 * moves.
 */
#include "cmsnode/daemon/seed.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cmsnode/agreement/generation.h"
#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/config/document.h"
#include "cmsnode/base/file.h"
#include "cmsnode/config/ranking_file.h"
#include "cmsnode/config/toml.h"
#include "cmsnode/config/validate.h"
#include "cmsnode/config/validate_local.h"
#include "cmsnode/daemon/options.h"

/*
 * What CMS's samples ship, and what it does without the keys: "on this host
 * alone". In a cluster each ContestWebServer listens on its node's address.
 */
static bool listens_as_shipped(const struct value *document)
{
	const struct value *addresses =
		value_get_path(document, "contest_web_server.listen_address");

	if (!addresses)
		return true;
	if (addresses->type != VALUE_ARRAY || addresses->array.len == 0)
		return false;
	for (size_t i = 0; i < addresses->array.len; i++) {
		const struct value *item = addresses->array.items[i];

		if (item->type != VALUE_STRING || !slots_host_is_loopback(item->text))
			return false;
	}
	return true;
}

/*
 * Whoever knows the key can log in as anybody. The cluster's seed is the one
 * moment at which a new one costs nothing: nobody is logged in yet.
 */
static void replace_published_secret(struct value *document)
{
	static const char path[] = "web_server.secret_key";
	const struct value *secret = value_get_path(document, path);
	uint8_t random[16];
	char hex[2 * sizeof(random) + 1];

	if (secret &&
	    (secret->type != VALUE_STRING || !config_secret_is_published(secret->text)))
		return;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return; /* never on Linux for so few; the check has warned */
	str_hex(random, sizeof(random), hex);
	log_warning(
		"config",
		"%s %s: if this seed is used, a generated one takes its place, see: cmsnodectl config get %s --reveal",
		path, secret ? "is that of CMS's sample file, which everybody knows" : "is not set",
		path);
	value_set_path(document, path, value_new_string(hex));
}

static int check(const struct value *document, const struct validate_context *context,
		 struct err *err)
{
	CLEAN(findings) struct findings findings = { 0 };
	CLEAN(str_list) struct str_list errors = { 0 };

	config_validate(document, context, &findings);
	for (size_t i = 0; i < findings.len; i++) {
		if (findings.items[i].is_error)
			str_list_take(&errors, xasprintf("%s: %s", findings.items[i].key,
							 findings.items[i].text));
		else
			log_warning("config", "%s: %s", findings.items[i].key,
				    findings.items[i].text);
	}
	if (!errors.len)
		return 0;
	CLEAN(str) char *text = str_list_join(&errors, "; ");

	return err_set(err, ERR_CONFIG, "%s", text);
}

static int parse(const struct options *options, const char *path, struct value **ret,
		 enum cms_format *ret_format, struct err *err)
{
	CLEAN(validate_local) struct validate_local local = { 0 };
	struct validate_context context = { .cluster = !options->standalone };
	CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);
	int r = file_read(path, &text, err);
	if (r < 0)
		return r;
	r = cms_file_parse(buf_str(&text), text.len, ret_format, ret, err);
	if (r == 0) {
		context.format = *ret_format;
		validate_local_read(options->facts_root, &local);
		validate_local_apply(&local, &context);
		r = check(*ret, &context, err);
	}
	if (r < 0)
		(void)err_wrap(err, "%s", path);
	return r;
}

/*
 * CMS ignores what stands outside a table (the check has warned), and the store has no place for
 * it.
 */
static void drop_strays(struct value *document)
{
	for (size_t i = document->table.len; i > 0; i--) {
		const struct value_member *member = &document->table.members[i - 1];
		CLEAN(str) char *key = xstrdup(member->key);

		if (member->value->type != VALUE_TABLE)
			(void)value_remove(document, key);
	}
}

static int read_ranking(const char *path, struct value *document, struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);
	struct value *ranking = NULL;
	enum cms_format format;
	int r = file_read(path, &text, err);

	if (r == 0)
		r = ranking_file_parse(buf_str(&text), text.len, &format, &ranking, err);
	if (r < 0)
		return err_wrap(err, "%s", path);
	value_set(document, "ranking", ranking);
	return 0;
}

int seed_read(const struct options *options, struct generation **ret, struct err *err)
{
	const char *path = options->standalone ? options->standalone : options->seed_config;
	if (!path)
		return 0;
	CLEAN(generation) struct generation *generation = generation_new();
	CLEAN(value) struct value *document = NULL;

	int r = parse(options, path, &document, &generation->meta.format, err);
	if (r == 0 && options->seed_ranking)
		r = read_ranking(options->seed_ranking, document, err);
	if (r == 0) {
		r = slots_import(value_get(document, "services"), options->standalone,
				 &generation->slots, err);
		if (r < 0)
			(void)err_wrap(err, "%s", path);
	}
	if (r < 0) {
		err->code = ERR_CONFIG;
		return ERR_CONFIG;
	}
	(void)value_remove(document, "services");
	drop_strays(document);
	if (!options->standalone)
		replace_published_secret(document);
	if (!options->standalone && listens_as_shipped(document)) {
		value_set_path(document, "contest_web_server.listen_address",
			       value_new_string("auto"));
		value_set_path(document, "contest_web_server.listen_port",
			       value_new_string("auto"));
	}
	generation->policy.names = options_have_names(options) && !options->standalone;
	value_free(generation->cms);
	generation->cms = steal(document);
	*ret = steal(generation);
	return 0;
}

int seed_read_document(const struct options *options, struct value **ret, struct err *err)
{
	enum cms_format format;
	const int r = parse(options, options->standalone, ret, &format, err);

	if (r < 0)
		err->code = ERR_CONFIG;
	return r < 0 ? ERR_CONFIG : 0;
}

int seed_digest(const struct options *options, char ret[65], struct err *err)
{
	CLEAN(buf) struct buf text = BUF_INIT(TOML_MAX_SIZE);

	if (file_read(options->standalone, &text, err) < 0)
		return ERR_CONFIG;
	str_sha256(buf_str(&text), text.len, ret);
	return 0;
}
