/* What the passdb and the userdb of one chatmail.ini share in an auth
   process. */
#ifndef CHATMAIL_AUTHDB_H
#define CHATMAIL_AUTHDB_H

#include "auth-common.h"
#include "passdb.h"
#include "userdb.h"

#include "chatmail-common.h"

struct chatmail_authdb {
	struct chatmail_authdb *prev, *next;
	int refcount;

	/* Messages about the relay, not about one client: without the
	   client's address in the prefix. */
	struct event *event;

	/* from the driver's arguments */
	char *args;
	char *config_path;
	char *user;

	/* owner of all mailboxes, as userdb field values */
	char *uid, *gid;

	/* NULL until chatmail.ini could be loaded */
	chatmail_config_t *config;
	chatmail_auth_t *auth;
};

/* Returns the database for these driver arguments with one reference added.
   Wrong arguments end the process, as with Dovecot's own drivers. A
   chatmail.ini that does not load is only logged. */
struct chatmail_authdb *chatmail_authdb_ref(const char *args);
void chatmail_authdb_unref(struct chatmail_authdb **db);

/* Makes db->config and db->auth usable. Returns 0, or -1 with the reason
   logged: the request is a temporary failure then. */
int chatmail_authdb_open(struct chatmail_authdb *db);
/* Address and home of a successful answer. Returns 0, or -1 with an error
   logged if one is missing: Dovecot would abort on a field without a value. */
int chatmail_authdb_user(struct chatmail_authdb *db,
			 const chatmail_login_t *login,
			 const char **address_r, const char **home_r);
/* Logs that libchatmail could not decide, and frees *err. */
void chatmail_authdb_failed(struct chatmail_authdb *db, chatmail_error_t **err);

extern struct passdb_module_interface chatmail_passdb;
extern struct userdb_module_interface chatmail_userdb;

#endif
