/* What the passdbs and userdbs of one chatmail.ini share in an auth process:
   Dovecot 2.4 makes one of each for every protocol. */
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

	/* from the settings */
	char *config_path;
	char *user;

	/* owner of all mailboxes, as userdb field values */
	char *uid, *gid;

	/* NULL until chatmail.ini could be loaded */
	chatmail_config_t *config;
	chatmail_auth_t *auth;
};

/* Finds or makes the database that these settings name and adds a reference.
   Returns 0, or -1 if a setting is wrong. A chatmail.ini that does not load is
   only logged. */
int chatmail_authdb_ref(chatmail_source_t source,
			struct chatmail_authdb **db_r, const char **error_r);
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

/* Before auth serves anybody: see chatmail-workers.c. */
void chatmail_workers_learn_limit(struct userdb_module *userdb);

extern struct passdb_module_interface chatmail_passdb;
extern struct userdb_module_interface chatmail_userdb;

#endif
