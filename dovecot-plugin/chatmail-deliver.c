/* Spools push notifications for mail that a delivery has stored. */

#include "chatmail-plugin.h"

#include "mail-storage.h"
#include "mail-user.h"
#include "mail-deliver.h"

/* Of the processes that load this module only lmtp has lib-lda. */
#pragma weak mail_deliver_hook_set
#pragma weak mail_deliver_save

static deliver_mail_func_t *next_deliver_mail;

static int chatmail_push_spool(struct mail_deliver_context *ctx,
			       size_t *tokens_r, const char **error_r)
{
	const chatmail_config_t *config;
	chatmail_error_t *err = NULL;
	const char *from;

	if (chatmail_plugin_user_config(ctx->rcpt_user, &config, error_r) < 0)
		return -1;
	if (mail_get_first_header(ctx->src_mail, "From", &from) <= 0)
		from = NULL;
	if (chatmail_push_notify(config, CHATMAIL_STR(ctx->rcpt_user->username),
				 CHATMAIL_STR(from), tokens_r,
				 &err) != CHATMAIL_OK)
		return chatmail_failed(&err, error_r);
	return 0;
}

/* The mail is stored: whatever happens here, the delivery has succeeded. */
static void chatmail_push(struct mail_deliver_context *ctx)
{
	struct event *event;
	const char *error;
	size_t tokens = 0;

	event = event_create(ctx->event);
	event_add_category(event, &event_category_chatmail);
	event_set_append_log_prefix(event, "chatmail: ");
	event_set_name(event, "chatmail_push_spooled");
	if (chatmail_push_spool(ctx, &tokens, &error) < 0) {
		event_add_str(event, "error", error);
		e_error(event, "Couldn't spool push notifications: %s", error);
	} else {
		event_add_int(event, "tokens", tokens);
		e_debug(event, "Spooled %zu push notifications", tokens);
	}
	event_unref(&event);
}

/* Returns what lib-lda expects of a hook: 1 if the mail was handled, 0 if
   not, -1 on failure. */
static int chatmail_deliver_mail(struct mail_deliver_context *ctx,
				 struct mail_storage **storage_r)
{
	int ret = 0;

	if (next_deliver_mail != NULL)
		ret = next_deliver_mail(ctx, storage_r);
	/* Left to itself, lib-lda would store the mail after this hook. */
	if (ret == 0 && !ctx->saved_mail && !ctx->tried_default_save) {
		ret = mail_deliver_save(ctx, ctx->rcpt_default_mailbox, 0,
					NULL, storage_r) < 0 ? -1 : 1;
	}
	if (ctx->saved_mail)
		chatmail_push(ctx);
	return ret;
}

void chatmail_deliver_init(void)
{
	if (mail_deliver_hook_set != NULL && mail_deliver_save != NULL)
		next_deliver_mail = mail_deliver_hook_set(chatmail_deliver_mail);
}

void chatmail_deliver_deinit(void)
{
	if (mail_deliver_hook_set != NULL && mail_deliver_save != NULL)
		(void)mail_deliver_hook_set(next_deliver_mail);
	next_deliver_mail = NULL;
}
