/* passdb "chatmail": logins, which create an address at its first login. */

#include "chatmail-authdb.h"
#include "chatmail-settings.h"

#include "password-scheme.h"

struct chatmail_passdb_module {
	struct passdb_module module;
	struct chatmail_authdb *db;
};

static struct chatmail_authdb *chatmail_passdb_db(struct auth_request *request)
{
	struct chatmail_passdb_module *module =
		container_of(request->passdb->passdb,
			     struct chatmail_passdb_module, module);

	return module->db;
}

/* The answer in Dovecot's words. A blocked address gets the same refusal as
   a wrong password, but is told apart in events. */
static enum passdb_result chatmail_passdb_result(const chatmail_login_t *login)
{
	switch (chatmail_login_result(login)) {
	case CHATMAIL_LOGIN_KNOWN:
	case CHATMAIL_LOGIN_CREATED:
		return PASSDB_RESULT_OK;
	case CHATMAIL_LOGIN_WRONG_PASSWORD:
		return PASSDB_RESULT_PASSWORD_MISMATCH;
	case CHATMAIL_LOGIN_BLOCKED:
		return PASSDB_RESULT_USER_DISABLED;
	case CHATMAIL_LOGIN_UNKNOWN_USER:
	case CHATMAIL_LOGIN_NOT_CREATED:
		return PASSDB_RESULT_USER_UNKNOWN;
	}
	return PASSDB_RESULT_INTERNAL_FAILURE;
}

static enum passdb_result
chatmail_passdb_set_fields(struct auth_request *request,
			   struct chatmail_authdb *db,
			   const chatmail_login_t *login)
{
	const char *address, *home;

	if (chatmail_authdb_user(db, login, &address, &home) < 0)
		return PASSDB_RESULT_INTERNAL_FAILURE;
	/* the username exactly as the mailbox has it */
	auth_request_set_field(request, "user", address, NULL);
	/* for userdb { driver = prefetch } */
	auth_request_set_field(request, "userdb_home", home, NULL);
	auth_request_set_field(request, "userdb_uid", db->uid, NULL);
	auth_request_set_field(request, "userdb_gid", db->gid, NULL);
	return chatmail_passdb_finish_fields(request) < 0 ?
		PASSDB_RESULT_INTERNAL_FAILURE : PASSDB_RESULT_OK;
}

/* Logs what libchatmail has to say about an answer and sets the fields of a
   successful one. Reasons appear with auth_verbose=yes only, since Dovecot's
   prefix names the client there. Why an address was not created appears always,
   with neither client nor address: an operator has to see a limit at work. */
static enum passdb_result
chatmail_passdb_finish(struct auth_request *request,
		       struct chatmail_authdb *db,
		       const chatmail_login_t *login)
{
	enum passdb_result result = chatmail_passdb_result(login);
	const char *reason = chatmail_login_reason(login);
	bool not_created =
		chatmail_login_result(login) == CHATMAIL_LOGIN_NOT_CREATED;
	size_t i, count = chatmail_login_warning_count(login);

	for (i = 0; i < count; i++)
		e_warning(db->event, "%s", chatmail_login_warning(login, i));
	if (reason != NULL)
		e_info(not_created ? db->event : authdb_event(request),
		       "%s", reason);
	else if (chatmail_login_result(login) == CHATMAIL_LOGIN_CREATED)
		e_info(authdb_event(request), "address created");

	if (result == PASSDB_RESULT_OK)
		result = chatmail_passdb_set_fields(request, db, login);
	else if (result == PASSDB_RESULT_INTERNAL_FAILURE)
		e_error(db->event, "BUG: unknown login result");
	return result;
}

/* The client as the login process or Postfix names it, behind a proxy the
   proxy's client; empty if nobody said. */
static const char *chatmail_passdb_client_ip(struct auth_request *request)
{
	const struct ip_addr *ip = &request->fields.remote_ip;

	return ip->family == 0 ? "" : net_ip2addr(ip);
}

static enum passdb_result
chatmail_passdb_login(struct auth_request *request, const char *password)
{
	struct chatmail_authdb *db = chatmail_passdb_db(request);
	const char *client_ip = chatmail_passdb_client_ip(request);
	chatmail_login_t *login = NULL;
	chatmail_error_t *err = NULL;
	enum passdb_result result;
	int32_t status;

	if (chatmail_authdb_open(db) < 0)
		return PASSDB_RESULT_INTERNAL_FAILURE;
	if (request->fields.skip_password_check) {
		/* an earlier passdb, such as a master user's, has verified
		   the password already: this one only finds the user */
		status = chatmail_auth_lookup(db->auth,
			CHATMAIL_STR(request->fields.user), &login, &err);
	} else {
		status = chatmail_auth_login(db->auth,
			CHATMAIL_STR(request->fields.user),
			CHATMAIL_STR(password), CHATMAIL_STR(client_ip),
			&login, &err);
	}
	if (status != CHATMAIL_OK) {
		chatmail_authdb_failed(db, &err);
		return PASSDB_RESULT_INTERNAL_FAILURE;
	}
	result = chatmail_passdb_finish(request, db, login);
	chatmail_login_free(login);
	return result;
}

static void
chatmail_passdb_verify_plain(struct auth_request *request, const char *password,
			     verify_plain_callback_t *callback)
{
	callback(chatmail_passdb_login(request, password), request);
}

/* Returns the result of a look-up, and if it is OK the hash, in the current
   data stack frame. */
static enum passdb_result
chatmail_passdb_find(struct auth_request *request, const char **password_r)
{
	struct chatmail_authdb *db = chatmail_passdb_db(request);
	chatmail_login_t *login = NULL;
	chatmail_error_t *err = NULL;
	enum passdb_result result;

	*password_r = NULL;
	if (chatmail_authdb_open(db) < 0)
		return PASSDB_RESULT_INTERNAL_FAILURE;
	if (chatmail_auth_lookup(db->auth, CHATMAIL_STR(request->fields.user),
				 &login, &err) != CHATMAIL_OK) {
		chatmail_authdb_failed(db, &err);
		return PASSDB_RESULT_INTERNAL_FAILURE;
	}
	result = chatmail_passdb_finish(request, db, login);
	*password_r = t_strdup(chatmail_login_password(login));
	chatmail_login_free(login);
	return result;
}

static void
chatmail_passdb_lookup_credentials(struct auth_request *request,
				   lookup_credentials_callback_t *callback)
{
	enum passdb_result result;
	const char *password, *scheme;

	result = chatmail_passdb_find(request, &password);
	scheme = password == NULL ? NULL : password_get_scheme(&password);
	if (scheme == NULL)
		scheme = request->passdb->passdb->default_pass_scheme;
	/* Failures, too: the arguments of the callback differ between versions. */
	passdb_handle_credentials(result, password, scheme, callback, request);
}

static int
chatmail_passdb_create(pool_t pool, chatmail_source_t source,
		       struct passdb_module **module_r, const char **error_r)
{
	struct chatmail_passdb_module *module;

	module = p_new(pool, struct chatmail_passdb_module, 1);
	if (chatmail_authdb_ref(source, &module->db, error_r) < 0)
		return -1;
	/* Hashing and disk: in auth-worker. No default_cache_key: a cached
	   "unknown" would keep an address from being created. 2.4 takes these
	   two from the settings, whose defaults say the same. */
	module->module.blocking = TRUE;
	module->module.default_pass_scheme = CHATMAIL_PASS_SCHEME;
	*module_r = &module->module;
	return 0;
}

CHATMAIL_PREINIT(passdb, chatmail_passdb_preinit, chatmail_passdb_create)

static void chatmail_passdb_deinit(struct passdb_module *_module)
{
	struct chatmail_passdb_module *module =
		container_of(_module, struct chatmail_passdb_module, module);

	chatmail_authdb_unref(&module->db);
}

struct passdb_module_interface chatmail_passdb = {
	.name = "chatmail",
	.preinit = chatmail_passdb_preinit,
	.deinit = chatmail_passdb_deinit,
	.verify_plain = chatmail_passdb_verify_plain,
	.lookup_credentials = chatmail_passdb_lookup_credentials,
};
