/* Makes room in a mailbox that fills up, after something was stored in it:
   a delivery, or a client's APPEND, COPY or MOVE.

   Clients see the messages go as any other expunge: they are files of a
   maildir, which Dovecot looks at anew when its directories change. */

#include "chatmail-plugin.h"

#include "mail-user.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"

#define CHATMAIL_QUOTA_CONTEXT(obj) \
	MODULE_CONTEXT(obj, chatmail_quota_module)
#define CHATMAIL_QUOTA_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, chatmail_quota_module)

static MODULE_CONTEXT_DEFINE_INIT(chatmail_quota_module,
				  &mail_storage_module_register);

static int chatmail_quota_trim(struct mailbox *box, uint64_t *messages_r,
			       uint64_t *bytes_r, const char **error_r)
{
	struct mail_user *user = box->storage->user;
	const chatmail_config_t *config;
	chatmail_error_t *err = NULL;
	const char *maildir;

	if (!mailbox_list_get_root_path(box->list, MAILBOX_LIST_PATH_TYPE_MAILBOX,
					&maildir))
		return 0;
	if (chatmail_plugin_user_config(user, &config, error_r) < 0)
		return -1;
	if (chatmail_mailbox_trim(config, CHATMAIL_STR(user->username),
				  CHATMAIL_STR(maildir), messages_r, bytes_r,
				  &err) != CHATMAIL_OK)
		return chatmail_failed(&err, error_r);
	return 0;
}

/* The message is stored: whatever happens here, that has succeeded. */
static void chatmail_quota_saved(struct mailbox *box)
{
	struct event *event;
	const char *error;
	uint64_t messages = 0, bytes = 0;

	event = event_create(box->storage->user->event);
	event_add_category(event, &event_category_chatmail);
	event_set_append_log_prefix(event, "chatmail: ");
	event_set_name(event, "chatmail_mailbox_trimmed");
	if (chatmail_quota_trim(box, &messages, &bytes, &error) < 0) {
		event_add_str(event, "error", error);
		e_error(event, "Couldn't make room in the mailbox: %s", error);
	} else if (messages > 0) {
		event_add_int(event, "messages", messages);
		event_add_int(event, "bytes", bytes);
		e_info(event, "Made room in the mailbox: removed %"PRIu64
		       " messages, %"PRIu64" bytes", messages, bytes);
	}
	event_unref(&event);
}

static int
chatmail_quota_transaction_commit(struct mailbox_transaction_context *t,
				  struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	union mailbox_module_context *mctx = CHATMAIL_QUOTA_CONTEXT_REQUIRE(box);
	bool saved = t->save_count > 0;

	/* Frees t. */
	if (mctx->super.transaction_commit(t, changes_r) < 0)
		return -1;
	if (saved) T_BEGIN {
		chatmail_quota_saved(box);
	} T_END;
	return 0;
}

/* When the mailbox is allocated, a module is put inside of those whose names
   sort before its own. The quota plugin would count what was stored after we
   had looked at its count. Here we get around all of them. */
static void chatmail_quota_mailbox_opened(struct mailbox *box)
{
	union mailbox_module_context *mctx = CHATMAIL_QUOTA_CONTEXT(box);

	/* Opened again; or the raw user of lmtp; or folders others share. */
	if (mctx != NULL || box->storage->user->autocreated ||
	    mailbox_get_namespace(box)->type != MAIL_NAMESPACE_TYPE_PRIVATE ||
	    strcmp(box->storage->name, "maildir") != 0)
		return;
	mctx = p_new(box->pool, union mailbox_module_context, 1);
	mctx->super = box->v;
	box->v.transaction_commit = chatmail_quota_transaction_commit;
	MODULE_CONTEXT_SET_SELF(box, chatmail_quota_module, mctx);
}

static struct mail_storage_hooks chatmail_quota_hooks = {
	.mailbox_opened = chatmail_quota_mailbox_opened,
};

void chatmail_quota_init(struct module *module)
{
	mail_storage_hooks_add(module, &chatmail_quota_hooks);
}

void chatmail_quota_deinit(void)
{
	mail_storage_hooks_remove(&chatmail_quota_hooks);
}
