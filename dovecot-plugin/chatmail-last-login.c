/* Notes the last login when an imap session starts. */

#include "chatmail-plugin.h"

#include "mail-user.h"
#include "mail-storage-hooks.h"

static int chatmail_last_login_note(struct mail_user *user,
				    const char **error_r)
{
	const chatmail_config_t *config;
	chatmail_error_t *err = NULL;

	if (chatmail_plugin_user_config(user, &config, error_r) < 0)
		return -1;
	if (chatmail_note_login(config, CHATMAIL_STR(user->username),
				&err) != CHATMAIL_OK)
		return chatmail_failed(&err, error_r);
	return 0;
}

static void chatmail_last_login_user_created(struct mail_user *user)
{
	struct event *event;
	const char *error;

	/* Neither the raw user of lmtp, nor a session that comes back from
	   hibernation, nor a delivery is a login. */
	if (user->autocreated || user->session_restored ||
	    strcmp(user->service, "imap") != 0)
		return;

	event = event_create(user->event);
	event_add_category(event, &event_category_chatmail);
	event_set_append_log_prefix(event, "chatmail: ");
	event_set_name(event, "chatmail_login_noted");
	if (chatmail_last_login_note(user, &error) < 0) {
		event_add_str(event, "error", error);
		e_error(event, "Couldn't note the login: %s", error);
	} else {
		e_debug(event, "Login noted");
	}
	event_unref(&event);
}

static struct mail_storage_hooks chatmail_last_login_hooks = {
	.mail_user_created = chatmail_last_login_user_created,
};

void chatmail_last_login_init(struct module *module)
{
	mail_storage_hooks_add(module, &chatmail_last_login_hooks);
}

void chatmail_last_login_deinit(void)
{
	mail_storage_hooks_remove(&chatmail_last_login_hooks);
}
