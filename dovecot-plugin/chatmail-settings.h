/* What this software has to know from dovecot.conf; all else stands in
   chatmail.ini. */
#ifndef CHATMAIL_SETTINGS_H
#define CHATMAIL_SETTINGS_H

#include "chatmail-common.h"

/* Password scheme of the hashes in the mailbox directories. */
#define CHATMAIL_PASS_SCHEME "CRYPT"

/* Path of chatmail.ini, in the current data stack frame. Returns 0, or -1 if
   the setting is missing. */
int chatmail_settings_config(chatmail_source_t source, const char **path_r,
			     const char **error_r);

/* The same for passdb and userdb, which also need the system user that owns
   all mailboxes. */
int chatmail_settings_authdb(chatmail_source_t source, const char **path_r,
			     const char **user_r, const char **error_r);

#endif
