/* What the parts of the mail module share. */
#ifndef CHATMAIL_PLUGIN_H
#define CHATMAIL_PLUGIN_H

#include "chatmail-common.h"

struct mail_user;
struct module;

/* Category of every event of this module: "category=chatmail" selects them in
   log filters and metrics. */
extern struct event_category event_category_chatmail;

/* The configuration at path, loaded at its first use in this process. It is
   valid until the process asks for another path. Returns 0 or -1. */
int chatmail_plugin_config(const char *path, const chatmail_config_t **config_r,
			   const char **error_r);
/* The configuration that the user's settings name. Returns 0 or -1. */
int chatmail_plugin_user_config(struct mail_user *user,
				const chatmail_config_t **config_r,
				const char **error_r);

void chatmail_dict_register(void);
void chatmail_dict_unregister(void);

void chatmail_metadata_init(struct module *module);
void chatmail_metadata_deinit(void);

void chatmail_last_login_init(struct module *module);
void chatmail_last_login_deinit(void);

void chatmail_idle_init(struct module *module);
void chatmail_idle_deinit(void);

void chatmail_quota_init(struct module *module);
void chatmail_quota_deinit(void);

/* Nothing happens in a process without lib-lda. */
void chatmail_deliver_init(void);
void chatmail_deliver_deinit(void);

#endif
