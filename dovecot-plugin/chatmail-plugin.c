/* Module chatmail_plugin, for imap, lmtp and doveadm: notes the last login,
   answers METADATA in process, tells idling clients of new mail at once, makes
   room in mailboxes that fill up, and spools push notifications.

   In dovecot.conf of Dovecot 2.4 (for 2.3 see chatmail-settings.c):

     chatmail_config = PATH
     mail_plugins {
       chatmail = yes
     }
     mail_attribute {
       dict chatmail {
       }
     }
     protocol imap {
       imap_metadata = yes
     }

   METADATA is read through that dict, but not written through it: see
   chatmail-metadata.c.

   PATH is chatmail.ini, readable by the mail user. It is read once per
   process; "doveadm reload" makes Dovecot read it anew. If it does not load,
   sessions and deliveries go on: METADATA fails, and an error is logged for
   each login not noted, each notification not spooled, and each message stored
   without a look at the mailbox's size.

   Named events, all of the category chatmail:

     chatmail_login_noted    the last login of an imap session was written
                             error: why it could not be
     chatmail_push_spooled   a delivery was stored
                             tokens: number of notifications it caused
                             error: why they could not be spooled
     chatmail_mailbox_trimmed
                             a mailbox was too full
                             messages, bytes: what was removed
                             error: why room could not be made

   A process works for many users, one after another: nothing here is kept per
   user.

   Limitation: a deliver hook that another module sets later, such as Sieve's,
   may store mail without calling this one; such mail is not notified. */

#include "chatmail-plugin.h"
#include "chatmail-settings.h"

#include "module-dir.h"
#include "mail-user.h"

CHATMAIL_EXPORT void chatmail_plugin_init(struct module *module);
CHATMAIL_EXPORT void chatmail_plugin_deinit(void);
extern CHATMAIL_EXPORT const char *chatmail_plugin_version;

struct event_category event_category_chatmail = {
	.name = "chatmail",
};

static char *plugin_config_path = NULL;
static chatmail_config_t *plugin_config = NULL;

static void chatmail_plugin_config_forget(void)
{
	chatmail_config_free(plugin_config);
	plugin_config = NULL;
	i_free(plugin_config_path);
}

int chatmail_plugin_config(const char *path, const chatmail_config_t **config_r,
			   const char **error_r)
{
	if (plugin_config_path != NULL && strcmp(plugin_config_path, path) != 0)
		chatmail_plugin_config_forget();
	if (chatmail_config_need(path, &plugin_config, error_r) < 0)
		return -1;
	if (plugin_config_path == NULL)
		plugin_config_path = i_strdup(path);
	*config_r = plugin_config;
	return 0;
}

int chatmail_plugin_user_config(struct mail_user *user,
				const chatmail_config_t **config_r,
				const char **error_r)
{
	const char *path;

	if (chatmail_settings_config(chatmail_user_source(user), &path,
				     error_r) < 0)
		return -1;
	return chatmail_plugin_config(path, config_r, error_r);
}

const char *chatmail_plugin_version = DOVECOT_ABI_VERSION;

void chatmail_plugin_init(struct module *module)
{
	chatmail_log_init();
	chatmail_dict_register();
	chatmail_metadata_init(module);
	chatmail_last_login_init(module);
	chatmail_idle_init(module);
	chatmail_quota_init(module);
	chatmail_deliver_init();
}

void chatmail_plugin_deinit(void)
{
	chatmail_deliver_deinit();
	chatmail_quota_deinit();
	chatmail_idle_deinit();
	chatmail_last_login_deinit();
	chatmail_metadata_deinit();
	chatmail_dict_unregister();
	chatmail_plugin_config_forget();
	chatmail_log_deinit();
}
