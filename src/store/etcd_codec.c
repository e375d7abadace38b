/* SPDX-License-Identifier: MIT */
/*
 * Members of the JSON that etcd's gateway speaks: base64, 64-bit integers as
 * text, headers, keys with their values, errors. Never trusts what it reads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <openssl/evp.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/store/store.h"

#include "etcd_codec_internal.h"

/* ---- base64 ------------------------------------------------------------ */

void etcd_codec_add_base64(struct buf *buf, const void *data, size_t len)
{
	enum { PIECE = 3 * 1024 }; /* a multiple of 3: padding only at the very end */
	unsigned char text[PIECE / 3 * 4 + 1];
	const unsigned char *bytes = data;

	while (len) {
		const size_t piece = len < PIECE ? len : PIECE;
		const int n = EVP_EncodeBlock(text, bytes, (int)piece);

		(void)buf_add(buf, text, (size_t)n);
		bytes += piece;
		len -= piece;
	}
}

/* NUL-terminated bytes, or NULL if `text` is not padded standard base64. Caller frees. */
static char *decode_base64(const char *text, size_t *ret_len)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t len = strlen(text);
	const size_t digits = strspn(text, alphabet);
	const size_t padding = strspn(text + digits, "=");

	/* EVP_DecodeBlock() would let blanks and inner '=' pass. */
	if (len % 4 || padding > 2 || digits + padding != len || len > INT32_MAX)
		return NULL;
	char *bytes = xmalloc(len / 4 * 3 + 1);
	const int n = len ? EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text,
					    (int)len) :
			    0;
	if (n < 0 || (size_t)n < padding) {
		free(bytes);
		return NULL;
	}
	*ret_len = (size_t)n - padding;
	bytes[*ret_len] = '\0';
	return bytes;
}

/* ---- members that both kinds of answers have ---------------------------- */

int etcd_codec_read_int(const struct cJSON *object, const char *name, int64_t *ret)
{
	const int r = json_get_int64(object, name, ret);
	if (r == -ENOENT) {
		*ret = 0;
		return 0;
	}
	return r < 0 || *ret < 0 ? -EINVAL : 0;
}

int etcd_codec_read_header(const struct cJSON *object, uint64_t *ret_cluster_id,
			   int64_t *ret_revision)
{
	const struct cJSON *header = json_get_object(object, "header");
	if (!header)
		return -EINVAL;
	*ret_cluster_id = 0;
	if (json_get_uint64(header, "cluster_id", ret_cluster_id) == -EINVAL)
		return -EINVAL;
	return etcd_codec_read_int(header, "revision", ret_revision);
}

int etcd_codec_read_array(const struct cJSON *object, const char *name, const struct cJSON **ret)
{
	*ret = json_get(object, name);
	return *ret && !cJSON_IsArray(*ret) ? -EINVAL : 0;
}

/* Bytes of a member; absent gives "". -EINVAL if it is not base64. */
static int read_bytes(const struct cJSON *object, const char *name, char **ret, size_t *ret_len)
{
	const struct cJSON *item = json_get(object, name);
	const char *text = item ? cJSON_GetStringValue(item) : "";
	if (!text)
		return -EINVAL;
	*ret = decode_base64(text, ret_len);
	return *ret ? 0 : -EINVAL;
}

int etcd_codec_read_kv(const struct cJSON *object, bool with_value, struct store_kv *ret)
{
	size_t key_len;
	int64_t lease;

	*ret = (struct store_kv){ 0 };
	int r = read_bytes(object, "key", &ret->key, &key_len);
	if (r == 0 && key_len == 0)
		r = -EINVAL;
	if (r == 0 && with_value)
		r = read_bytes(object, "value", &ret->value, &ret->value_len);
	if (r == 0)
		r = etcd_codec_read_int(object, "create_revision", &ret->create_revision);
	if (r == 0)
		r = etcd_codec_read_int(object, "mod_revision", &ret->mod_revision);
	if (r == 0 && ret->mod_revision == 0)
		r = -EINVAL;
	if (r == 0)
		r = etcd_codec_read_int(object, "lease", &lease);
	if (r == 0)
		ret->lease = (uint64_t)lease;
	if (r == 0 && strlen(ret->key) != key_len)
		r = -ENOENT;
	if (r < 0)
		store_kv_fini(ret);
	return r;
}

bool etcd_codec_read_error(const struct cJSON *object, struct etcd_codec_error *ret)
{
	const struct cJSON *inner = json_get_object(object, "error");
	const char *text = json_get_str(inner ? inner : object, "message");

	if (!text)
		text = json_get_str(object, "error");
	if (!text && !inner)
		return false;
	(void)snprintf(ret->text, sizeof(ret->text), "%s",
		       text && *text ? text : "an error without a message");
	if (etcd_codec_read_int(inner ? inner : object, inner ? "grpc_code" : "code", &ret->code) <
	    0)
		ret->code = 0;
	return true;
}

/* Plain text, as wrong paths and proxies give: its first line. */
static void read_plain_error(const char *body, size_t len, struct etcd_codec_error *ret)
{
	size_t n = 0;

	while (n < len && body[n] != '\n' && body[n] != '\r' && body[n] != '\0' &&
	       n + 1 < sizeof(ret->text))
		n++;
	if (n)
		memcpy(ret->text, body, n);
	ret->text[n] = '\0';
	ret->code = 0;
	if (!n)
		(void)snprintf(ret->text, sizeof(ret->text), "no reason given");
}

void etcd_codec_read_failure(const char *body, size_t len, struct etcd_codec_error *ret)
{
	CLEAN(json) struct cJSON *json = json_parse(body, len, NULL);

	if (!json || !etcd_codec_read_error(json, ret))
		read_plain_error(body, len, ret);
}

bool etcd_codec_is_grpc_error(const char *body, size_t len)
{
	struct etcd_codec_error error;

	etcd_codec_read_failure(body, len, &error);
	return error.code != 0;
}
