/* Module authdb_chatmail: registers the passdb and userdb driver "chatmail",
   and keeps what the two share.

   In dovecot.conf of Dovecot 2.4 (for 2.3, and for all settings, see
   chatmail-settings.c):

     chatmail_config = PATH
     passdb chatmail {
     }
     userdb prefetch {        # a login needs no second look-up
     }
     userdb chatmail {        # lmtp and doveadm do
     }
     service auth-worker {
       user = vmail           # hashes, and creates mailboxes
     }

   Wrong settings stop the auth process. chatmail.ini is read once per
   process; "doveadm reload" makes Dovecot read it anew. One that does not load
   is logged as an error and every request becomes a temporary failure until it
   does. Why a login was refused is logged with auth_verbose=yes; why no address
   was created is always, with neither client nor address.

   Leave auth_cache_size at 0: the cache would remember an address as unknown
   that its next login may create.

   Limitation: Dovecot itself turns down passwords that contain TAB, CR, LF or
   the byte 1. */

#include "chatmail-authdb.h"
#include "chatmail-settings.h"

#include "array.h"
#include "ipwd.h"
#include "llist.h"

CHATMAIL_EXPORT void authdb_chatmail_init(void);
CHATMAIL_EXPORT void authdb_chatmail_deinit(void);
extern CHATMAIL_EXPORT const char *authdb_chatmail_version;

static struct chatmail_authdb *authdbs = NULL;

static int
chatmail_authdb_find_owner(struct chatmail_authdb *db, const char **error_r)
{
	struct passwd pw;

	switch (i_getpwnam(db->user, &pw)) {
	case -1:
		*error_r = t_strdup_printf("getpwnam(%s) failed: %m", db->user);
		return -1;
	case 0:
		*error_r = t_strdup_printf("%s: No such system user", db->user);
		return -1;
	}
	db->uid = i_strdup(dec2str(pw.pw_uid));
	db->gid = i_strdup(dec2str(pw.pw_gid));
	return 0;
}

static int
chatmail_authdb_load(struct chatmail_authdb *db, const char **error_r)
{
	chatmail_error_t *err = NULL;

	if (db->auth != NULL)
		return 0;
	if (chatmail_config_need(db->config_path, &db->config, error_r) < 0)
		return -1;
	if (chatmail_auth_new(db->config, &db->auth, &err) != CHATMAIL_OK)
		return chatmail_failed(&err, error_r);
	return 0;
}

int chatmail_authdb_open(struct chatmail_authdb *db)
{
	const char *error;

	if (chatmail_authdb_load(db, &error) < 0) {
		e_error(db->event, "%s", error);
		return -1;
	}
	return 0;
}

int chatmail_authdb_user(struct chatmail_authdb *db,
			 const chatmail_login_t *login,
			 const char **address_r, const char **home_r)
{
	*address_r = chatmail_login_address(login);
	*home_r = chatmail_login_home(login);
	if (*address_r == NULL || *home_r == NULL) {
		e_error(db->event, "BUG: user without address or home");
		return -1;
	}
	return 0;
}

void chatmail_authdb_failed(struct chatmail_authdb *db, chatmail_error_t **err)
{
	const char *error;

	(void)chatmail_failed(err, &error);
	e_error(db->event, "%s", error);
}

/* Workers come and go, so only the auth process itself, once per start or
   reload, tells what is questionable about chatmail.ini. */
static void chatmail_authdb_report(struct chatmail_authdb *db)
{
	size_t i, count;

	if (chatmail_authdb_open(db) < 0)
		return;
	count = chatmail_config_warning_count(db->config);
	for (i = 0; i < count; i++) {
		e_warning(db->event, "%s",
			  chatmail_config_warning(db->config, i));
	}
}

static void chatmail_authdb_free(struct chatmail_authdb *db)
{
	chatmail_auth_free(db->auth);
	chatmail_config_free(db->config);
	event_unref(&db->event);
	i_free(db->config_path);
	i_free(db->user);
	i_free(db->uid);
	i_free(db->gid);
	i_free(db);
}

int chatmail_authdb_ref(chatmail_source_t source,
			struct chatmail_authdb **db_r, const char **error_r)
{
	struct chatmail_authdb *db;
	const char *config_path, *user, *error;

	if (chatmail_settings_authdb(source, &config_path, &user, error_r) < 0)
		return -1;
	for (db = authdbs; db != NULL; db = db->next) {
		if (strcmp(db->config_path, config_path) == 0 &&
		    strcmp(db->user, user) == 0) {
			db->refcount++;
			*db_r = db;
			return 0;
		}
	}

	db = i_new(struct chatmail_authdb, 1);
	db->refcount = 1;
	db->config_path = i_strdup(config_path);
	db->user = i_strdup(user);
	db->event = event_create(auth_event);
	event_set_append_log_prefix(db->event, "chatmail: ");
	if (chatmail_authdb_find_owner(db, error_r) < 0) {
		chatmail_authdb_free(db);
		return -1;
	}
	DLLIST_PREPEND(&authdbs, db);

	/* The process is still root here, so chatmail.ini may be closed to
	   others. A worker that fails now tries again at its first request. */
	if (!worker)
		chatmail_authdb_report(db);
	else
		(void)chatmail_authdb_load(db, &error);
	*db_r = db;
	return 0;
}

void chatmail_authdb_unref(struct chatmail_authdb **_db)
{
	struct chatmail_authdb *db = *_db;

	*_db = NULL;
	if (db == NULL)
		return;
	i_assert(db->refcount > 0);
	if (--db->refcount > 0)
		return;

	DLLIST_REMOVE(&authdbs, db);
	chatmail_authdb_free(db);
}

const char *authdb_chatmail_version = DOVECOT_ABI_VERSION;

void authdb_chatmail_init(void)
{
	chatmail_log_init();
	passdb_register_module(&chatmail_passdb);
	userdb_register_module(&chatmail_userdb);
}

void authdb_chatmail_deinit(void)
{
	passdb_unregister_module(&chatmail_passdb);
	userdb_unregister_module(&chatmail_userdb);
	chatmail_log_deinit();
}
