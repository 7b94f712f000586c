/* Reads the settings.

   2.3: a driver has arguments, separated by spaces; a dict has the path in its
   URI; a mail user has a plugin setting:

     args = config=PATH [user=NAME]
     mail_attribute_dict = chatmail:PATH
     plugin {
       chatmail_config = PATH
     }

   2.4: everything has the same two settings, which any section may override:

     chatmail_config = PATH
     chatmail_mail_user = NAME

   PATH is chatmail.ini and required. NAME is the system user that owns all
   mailboxes; default: vmail.

   Dovecot 2.4 knows a setting only if a module below modules/settings
   describes it. This file alone is that module, and also part of the two
   others: what a process looks settings up with must be what was written down
   for it. */

#include "chatmail-settings.h"

#define CHATMAIL_DEFAULT_USER "vmail"

static int chatmail_settings_need(const char *path, const char **error_r)
{
	if (path != NULL && *path != '\0')
		return 0;
	*error_r = "Setting chatmail_config is missing";
	return -1;
}

#ifdef CHATMAIL_DOVECOT_24

#include "settings.h"

struct chatmail_settings {
	pool_t pool;
	const char *chatmail_config;
	const char *chatmail_mail_user;
};

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct chatmail_settings)

static const struct setting_define chatmail_setting_defines[] = {
	{ .type = SET_FILTER_NAME, .key = "passdb_chatmail" },
	{ .type = SET_FILTER_NAME, .key = "userdb_chatmail" },
	DEF(STR, chatmail_config),
	DEF(STR, chatmail_mail_user),

	SETTING_DEFINE_LIST_END
};

static const struct chatmail_settings chatmail_default_settings = {
	.chatmail_config = "",
	.chatmail_mail_user = CHATMAIL_DEFAULT_USER,
};

/* Hashing and disk: in auth-worker. */
static const struct setting_keyvalue chatmail_default_settings_keyvalue[] = {
	{ "passdb_chatmail/passdb_use_worker", "yes" },
	{ "passdb_chatmail/passdb_default_password_scheme",
	  CHATMAIL_PASS_SCHEME },
	{ "userdb_chatmail/userdb_use_worker", "yes" },
	{ NULL, NULL }
};

static const struct setting_parser_info chatmail_setting_parser_info = {
	.name = "chatmail",

	.defines = chatmail_setting_defines,
	.defaults = &chatmail_default_settings,
	.default_settings = chatmail_default_settings_keyvalue,

	.struct_size = sizeof(struct chatmail_settings),
	.pool_offset1 = 1 + offsetof(struct chatmail_settings, pool),
};

/* The module "chatmail_settings". The others do not export these. */
extern CHATMAIL_EXPORT const char *chatmail_settings_version;
extern CHATMAIL_EXPORT const struct setting_parser_info *
	chatmail_settings_set_infos[];

const char *chatmail_settings_version = DOVECOT_ABI_VERSION;

const struct setting_parser_info *chatmail_settings_set_infos[] = {
	&chatmail_setting_parser_info,
	NULL
};

int chatmail_settings_authdb(chatmail_source_t source, const char **path_r,
			     const char **user_r, const char **error_r)
{
	const struct chatmail_settings *set;

	if (settings_get(source, &chatmail_setting_parser_info, 0,
			 &set, error_r) < 0)
		return -1;
	*path_r = t_strdup(set->chatmail_config);
	*user_r = t_strdup(set->chatmail_mail_user);
	settings_free(set);
	return chatmail_settings_need(*path_r, error_r);
}

int chatmail_settings_config(chatmail_source_t source, const char **path_r,
			     const char **error_r)
{
	const char *user;

	return chatmail_settings_authdb(source, path_r, &user, error_r);
}

#else

/* Returns the value if arg is "KEY=VALUE", else NULL. */
static const char *chatmail_settings_arg(const char *arg, const char *key)
{
	size_t len = strlen(key);

	return strncmp(arg, key, len) == 0 && arg[len] == '=' ?
		arg + len + 1 : NULL;
}

int chatmail_settings_authdb(chatmail_source_t source, const char **path_r,
			     const char **user_r, const char **error_r)
{
	const char *const *arg, *value;

	*path_r = NULL;
	*user_r = CHATMAIL_DEFAULT_USER;
	for (arg = t_strsplit_spaces(source, " "); *arg != NULL; arg++) {
		if ((value = chatmail_settings_arg(*arg, "config")) != NULL) {
			*path_r = value;
		} else if ((value = chatmail_settings_arg(*arg, "user")) != NULL) {
			*user_r = value;
		} else {
			*error_r = t_strdup_printf("Unknown setting: %s", *arg);
			return -1;
		}
	}
	return chatmail_settings_need(*path_r, error_r);
}

int chatmail_settings_config(chatmail_source_t source, const char **path_r,
			     const char **error_r)
{
	*path_r = source;
	return chatmail_settings_need(source, error_r);
}

#endif
