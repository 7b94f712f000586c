/* dict driver "chatmail": reads of IMAP METADATA, in process. libchatmail
   knows the keys; this file only passes them on. Writes are handled by
   chatmail-metadata.c: this dict is read-only. */

#include "chatmail-plugin.h"
#include "chatmail-settings.h"

#include "dict-private.h"
#include "dict-transaction-memory.h"

struct chatmail_dict {
	struct dict dict;
	char *config_path;
};

static const chatmail_config_t *
chatmail_dict_config(struct dict *_dict, const char **error_r)
{
	struct chatmail_dict *dict =
		container_of(_dict, struct chatmail_dict, dict);
	const chatmail_config_t *config;

	if (chatmail_plugin_config(dict->config_path, &config, error_r) < 0)
		return NULL;
	return config;
}

CHATMAIL_DICT_INIT(chatmail_dict_init)
{
	struct chatmail_dict *dict;
	const char *path;

	if (chatmail_settings_config(source, &path, error_r) < 0)
		return -1;
	dict = i_new(struct chatmail_dict, 1);
	dict->dict = *driver;
	dict->config_path = i_strdup(path);
	*dict_r = &dict->dict;
	return 0;
}

static void chatmail_dict_deinit(struct dict *_dict)
{
	struct chatmail_dict *dict =
		container_of(_dict, struct chatmail_dict, dict);

	i_free(dict->config_path);
	i_free(dict);
}

/* Nothing is ever pending. */
static void chatmail_dict_wait(struct dict *dict ATTR_UNUSED)
{
}

static bool chatmail_dict_switch_ioloop(struct dict *dict ATTR_UNUSED)
{
	return FALSE;
}

static int
chatmail_dict_lookup(struct dict *dict, const struct dict_op_settings *set,
		     pool_t pool, const char *key,
		     chatmail_dict_value_t *value_r, const char **error_r)
{
	const chatmail_config_t *config;
	chatmail_bytes_t *value = NULL;
	chatmail_error_t *err = NULL;
	const uint8_t *data;
	size_t size = 0;

	*value_r = NULL;
	*error_r = NULL;
	if ((config = chatmail_dict_config(dict, error_r)) == NULL)
		return -1;
	if (chatmail_metadata_get(config, CHATMAIL_STR(set->username),
				  CHATMAIL_STR(key), &value,
				  &err) != CHATMAIL_OK)
		return chatmail_failed(&err, error_r);
	if (value == NULL)
		return 0;

	data = chatmail_bytes_data(value, &size);
	*value_r = chatmail_dict_value(pool, data, size);
	chatmail_bytes_free(value);
	return 1;
}

/* Entries are looked up by name; there is nothing to browse. An iteration
   that finds nothing lets GETMETADATA (DEPTH infinity) succeed. */
static struct dict_iterate_context *
chatmail_dict_iterate_init(struct dict *dict,
			   const struct dict_op_settings *set ATTR_UNUSED,
			   const char *path ATTR_UNUSED,
			   enum dict_iterate_flags flags ATTR_UNUSED)
{
	struct dict_iterate_context *ctx;

	ctx = i_new(struct dict_iterate_context, 1);
	ctx->dict = dict;
	return ctx;
}

static bool chatmail_dict_iterate(struct dict_iterate_context *ctx ATTR_UNUSED,
				  const char **key_r,
				  const char *const **values_r)
{
	*key_r = NULL;
	*values_r = NULL;
	return FALSE;
}

static int chatmail_dict_iterate_deinit(struct dict_iterate_context *ctx,
					const char **error_r)
{
	*error_r = NULL;
	i_free(ctx);
	return 0;
}

static struct dict_transaction_context *
chatmail_dict_transaction_init(struct dict *dict)
{
	struct dict_transaction_memory_context *ctx;
	pool_t pool;

	pool = pool_alloconly_create("chatmail dict transaction", 2048);
	ctx = p_new(pool, struct dict_transaction_memory_context, 1);
	dict_transaction_memory_init(ctx, dict, pool);
	return &ctx->ctx;
}

static void
chatmail_dict_transaction_commit(struct dict_transaction_context *_ctx,
				 bool async ATTR_UNUSED,
				 dict_transaction_commit_callback_t *callback,
				 void *context)
{
	struct dict_transaction_memory_context *ctx =
		container_of(_ctx, struct dict_transaction_memory_context, ctx);
	struct dict_commit_result result = { .ret = DICT_COMMIT_RET_OK };

	if (_ctx->changed) {
		result.ret = DICT_COMMIT_RET_FAILED;
		result.error = "This dict can only be read";
	}
	if (callback != NULL)
		callback(&result, context);
	pool_unref(&ctx->pool);
}

static struct dict chatmail_dict_driver = {
	.name = "chatmail",
	.v = {
		.init = chatmail_dict_init,
		.deinit = chatmail_dict_deinit,
		.wait = chatmail_dict_wait,
		.lookup = chatmail_dict_lookup,
		.iterate_init = chatmail_dict_iterate_init,
		.iterate = chatmail_dict_iterate,
		.iterate_deinit = chatmail_dict_iterate_deinit,
		.transaction_init = chatmail_dict_transaction_init,
		.transaction_commit = chatmail_dict_transaction_commit,
		.transaction_rollback = dict_transaction_memory_rollback,
		.set = dict_transaction_memory_set,
		.unset = dict_transaction_memory_unset,
		.atomic_inc = dict_transaction_memory_atomic_inc,
		.switch_ioloop = chatmail_dict_switch_ioloop,
	},
};

void chatmail_dict_register(void)
{
	dict_driver_register(&chatmail_dict_driver);
}

void chatmail_dict_unregister(void)
{
	dict_driver_unregister(&chatmail_dict_driver);
}
