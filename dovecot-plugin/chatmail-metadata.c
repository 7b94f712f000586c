/* SETMETADATA: collects the changes of one command and stores them when it
   ends, all or none, as RFC 5464 section 4.3 requires.

   By itself Dovecot would use a dict transaction. It treats whatever the dict
   refuses as a server error: it logs a line for each, and gives the client no
   useful reply. So the dict is read-only, and changes are refused here, with a
   response code and without logging. Otherwise any user could fill the log.

   No value is refused before all values have arrived: after a failure Dovecot
   2.3 and 2.4 stop asking for literals, and a client would wait forever. */

#include "chatmail-plugin.h"

#include "istream.h"
#include "str.h"
#include "mail-user.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"

#define CHATMAIL_METADATA_CONTEXT(obj) \
	MODULE_CONTEXT(obj, chatmail_metadata_module)
#define CHATMAIL_METADATA_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, chatmail_metadata_module)

struct chatmail_metadata_transaction {
	union mailbox_transaction_module_context module_ctx;
	chatmail_metadata_changes_t *changes;
};

static MODULE_CONTEXT_DEFINE_INIT(chatmail_metadata_module,
				  &mail_storage_module_register);

static int chatmail_metadata_failed(struct mailbox *box, chatmail_error_t **err)
{
	const char *error;

	(void)chatmail_failed(err, &error);
	mailbox_set_critical(box, "chatmail: Couldn't set metadata: %s", error);
	return -1;
}

/* Gets the changes of this transaction, none at first. Returns 0 or -1. */
static int
chatmail_metadata_changes(struct mailbox_transaction_context *t,
			  chatmail_metadata_changes_t **changes_r)
{
	struct chatmail_metadata_transaction *mt = CHATMAIL_METADATA_CONTEXT(t);
	chatmail_error_t *err = NULL;

	if (mt == NULL) {
		mt = i_new(struct chatmail_metadata_transaction, 1);
		if (chatmail_metadata_changes_new(&mt->changes, &err) !=
		    CHATMAIL_OK) {
			i_free(mt);
			return chatmail_metadata_failed(t->box, &err);
		}
		MODULE_CONTEXT_SET(t, chatmail_metadata_module, mt);
	}
	*changes_r = mt->changes;
	return 0;
}

/* Reads the value, or just enough of it to see that it is too long: a client
   may send any number of bytes. Returns 0 or -1. */
static int
chatmail_metadata_value(struct mailbox *box,
			const struct mail_attribute_value *value,
			string_t *str)
{
	struct istream *input = value->value_stream;
	const unsigned char *data;
	size_t size;

	if (input == NULL) {
		str_append(str, value->value);
		return 0;
	}
	i_stream_seek(input, 0);
	while (str_len(str) <= CHATMAIL_METADATA_VALUE_MAX &&
	       i_stream_read_more(input, &data, &size) > 0) {
		size = I_MIN(size, CHATMAIL_METADATA_VALUE_MAX + 1);
		str_append_data(str, data, size);
		i_stream_skip(input, size);
	}
	if (input->stream_errno != 0) {
		mailbox_set_critical(box, "chatmail: read(%s) failed: %s",
				     i_stream_get_name(input),
				     i_stream_get_error(input));
		return -1;
	}
	return 0;
}

/* The key in the form of Dovecot's dict. Only INBOX has entries, which is also
   where the entries of the server are. */
static const char *
chatmail_metadata_key(struct mailbox *box, enum mail_attribute_type type_flags,
		      const char *key)
{
	enum mail_attribute_type type = type_flags & MAIL_ATTRIBUTE_TYPE_MASK;

	if (!box->inbox_any)
		return "";
	return t_strconcat(type == MAIL_ATTRIBUTE_TYPE_PRIVATE ?
			   "priv/" : "shared/", "inbox/", key, NULL);
}

static int
chatmail_metadata_set_real(struct mailbox_transaction_context *t,
			   const char *key,
			   const struct mail_attribute_value *value)
{
	chatmail_metadata_changes_t *changes;
	chatmail_error_t *err = NULL;
	string_t *str;
	int32_t status;

	if (chatmail_metadata_changes(t, &changes) < 0)
		return -1;
	if (value->value == NULL && value->value_stream == NULL) {
		status = chatmail_metadata_changes_remove(changes,
			CHATMAIL_STR(key), &err);
	} else {
		str = t_str_new(128);
		if (chatmail_metadata_value(t->box, value, str) < 0)
			return -1;
		status = chatmail_metadata_changes_set(changes,
			CHATMAIL_STR(key), str_data(str), str_len(str), &err);
	}
	if (status != CHATMAIL_OK)
		return chatmail_metadata_failed(t->box, &err);
	return 0;
}

static int
chatmail_metadata_attribute_set(struct mailbox_transaction_context *t,
				enum mail_attribute_type type_flags,
				const char *key,
				const struct mail_attribute_value *value)
{
	int ret;

	T_BEGIN {
		key = chatmail_metadata_key(t->box, type_flags, key);
		ret = chatmail_metadata_set_real(t, key, value);
	} T_END;
	return ret;
}

static int
chatmail_metadata_attribute_get(struct mailbox *box,
				enum mail_attribute_type type_flags,
				const char *key,
				struct mail_attribute_value *value_r)
{
	union mailbox_module_context *mctx = CHATMAIL_METADATA_CONTEXT_REQUIRE(box);

	if (!box->inbox_any)
		return 0;
	return mctx->super.attribute_get(box, type_flags, key, value_r);
}

/* Returns 0, or -1 with the error for the client. */
static int
chatmail_metadata_answer(struct mailbox *box, int32_t answer)
{
	switch (answer) {
	case CHATMAIL_METADATA_STORED:
	case CHATMAIL_METADATA_NOTHING:
		return 0;
	case CHATMAIL_METADATA_TOO_LONG:
		/* imap passes a response code through unchanged. */
		mail_storage_set_error(box->storage, MAIL_ERROR_PARAMS,
			t_strdup_printf("[METADATA MAXSIZE %u] "
					"The value is too long",
					CHATMAIL_METADATA_VALUE_MAX));
		return -1;
	case CHATMAIL_METADATA_REFUSED:
		mail_storage_set_error(box->storage, MAIL_ERROR_NOTPOSSIBLE,
			"The relay does not take this entry or value");
		return -1;
	}
	mailbox_set_critical(box, "chatmail: BUG: unknown answer");
	return -1;
}

static int
chatmail_metadata_store_real(struct mailbox *box,
			     const chatmail_metadata_changes_t *changes)
{
	struct mail_user *user = box->storage->user;
	const chatmail_config_t *config;
	chatmail_error_t *err = NULL;
	const char *error;
	int32_t answer = 0;

	if (chatmail_plugin_user_config(user, &config, &error) < 0) {
		mailbox_set_critical(box, "chatmail: %s", error);
		return -1;
	}
	if (chatmail_metadata_store(config, CHATMAIL_STR(user->username),
				    changes, &answer, &err) != CHATMAIL_OK)
		return chatmail_metadata_failed(box, &err);
	return chatmail_metadata_answer(box, answer);
}

static void
chatmail_metadata_free(struct chatmail_metadata_transaction *mt)
{
	if (mt != NULL) {
		chatmail_metadata_changes_free(mt->changes);
		i_free(mt);
	}
}

static int
chatmail_metadata_transaction_commit(struct mailbox_transaction_context *t,
				     struct mail_transaction_commit_changes *changes_r)
{
	union mailbox_module_context *mctx =
		CHATMAIL_METADATA_CONTEXT_REQUIRE(t->box);
	struct chatmail_metadata_transaction *mt = CHATMAIL_METADATA_CONTEXT(t);
	int ret = 0;

	if (mt != NULL) T_BEGIN {
		ret = chatmail_metadata_store_real(t->box, mt->changes);
	} T_END;
	chatmail_metadata_free(mt);
	if (ret < 0) {
		mctx->super.transaction_rollback(t);
		return -1;
	}
	return mctx->super.transaction_commit(t, changes_r);
}

static void
chatmail_metadata_transaction_rollback(struct mailbox_transaction_context *t)
{
	union mailbox_module_context *mctx =
		CHATMAIL_METADATA_CONTEXT_REQUIRE(t->box);

	chatmail_metadata_free(CHATMAIL_METADATA_CONTEXT(t));
	mctx->super.transaction_rollback(t);
}

static void chatmail_metadata_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	union mailbox_module_context *mctx;

	/* Skip lmtp's raw user, and folders shared by other users. */
	if (box->storage->user->autocreated ||
	    mailbox_get_namespace(box)->type != MAIL_NAMESPACE_TYPE_PRIVATE)
		return;
	mctx = p_new(box->pool, union mailbox_module_context, 1);
	mctx->super = *v;
	box->vlast = &mctx->super;
	v->attribute_set = chatmail_metadata_attribute_set;
	v->attribute_get = chatmail_metadata_attribute_get;
	v->transaction_commit = chatmail_metadata_transaction_commit;
	v->transaction_rollback = chatmail_metadata_transaction_rollback;
	MODULE_CONTEXT_SET_SELF(box, chatmail_metadata_module, mctx);
}

static struct mail_storage_hooks chatmail_metadata_hooks = {
	.mailbox_allocated = chatmail_metadata_mailbox_allocated,
};

void chatmail_metadata_init(struct module *module)
{
	mail_storage_hooks_add(module, &chatmail_metadata_hooks);
}

void chatmail_metadata_deinit(void)
{
	mail_storage_hooks_remove(&chatmail_metadata_hooks);
}
