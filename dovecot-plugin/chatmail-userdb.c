/* userdb "chatmail": where the mail of an address lives, and the list of all
   addresses. */

#include "chatmail-authdb.h"

struct chatmail_userdb_module {
	struct userdb_module module;
	struct chatmail_authdb *db;
};

struct chatmail_userdb_iterate_context {
	struct userdb_iterate_context ctx;
	struct chatmail_authdb *db;
	chatmail_users_t *users;
};

static struct chatmail_authdb *chatmail_userdb_db(struct auth_request *request)
{
	struct chatmail_userdb_module *module =
		container_of(request->userdb->userdb,
			     struct chatmail_userdb_module, module);

	return module->db;
}

static enum userdb_result
chatmail_userdb_set_fields(struct auth_request *request,
			   struct chatmail_authdb *db,
			   const chatmail_login_t *login)
{
	const char *address, *home;

	if (chatmail_authdb_user(db, login, &address, &home) < 0)
		return USERDB_RESULT_INTERNAL_FAILURE;
	auth_request_set_userdb_field(request, "user", address);
	auth_request_set_userdb_field(request, "home", home);
	auth_request_set_userdb_field(request, "uid", db->uid);
	auth_request_set_userdb_field(request, "gid", db->gid);
	return chatmail_userdb_finish_fields(request) < 0 ?
		USERDB_RESULT_INTERNAL_FAILURE : USERDB_RESULT_OK;
}

/* A look-up of a blocked address finds nobody: it gets no mail either. */
static enum userdb_result chatmail_userdb_find(struct auth_request *request)
{
	struct chatmail_authdb *db = chatmail_userdb_db(request);
	enum userdb_result result = USERDB_RESULT_USER_UNKNOWN;
	chatmail_login_t *login = NULL;
	chatmail_error_t *err = NULL;

	if (chatmail_authdb_open(db) < 0)
		return USERDB_RESULT_INTERNAL_FAILURE;
	if (chatmail_auth_lookup(db->auth, CHATMAIL_STR(request->fields.user),
				 &login, &err) != CHATMAIL_OK) {
		chatmail_authdb_failed(db, &err);
		return USERDB_RESULT_INTERNAL_FAILURE;
	}

	if (chatmail_login_result(login) == CHATMAIL_LOGIN_KNOWN) {
		result = chatmail_userdb_set_fields(request, db, login);
	} else if (chatmail_login_reason(login) != NULL) {
		e_info(authdb_event(request), "%s",
		       chatmail_login_reason(login));
	}
	chatmail_login_free(login);
	return result;
}

static void chatmail_userdb_lookup(struct auth_request *request,
				   userdb_callback_t *callback)
{
	callback(chatmail_userdb_find(request), request);
}

static struct userdb_iterate_context *
chatmail_userdb_iterate_init(struct auth_request *request,
			     userdb_iter_callback_t *callback, void *context)
{
	struct chatmail_userdb_iterate_context *iter;
	chatmail_error_t *err = NULL;

	iter = i_new(struct chatmail_userdb_iterate_context, 1);
	iter->ctx.auth_request = request;
	iter->ctx.callback = callback;
	iter->ctx.context = context;
	iter->db = chatmail_userdb_db(request);

	if (chatmail_authdb_open(iter->db) < 0)
		iter->ctx.failed = TRUE;
	else if (chatmail_users_new(iter->db->config, &iter->users,
				    &err) != CHATMAIL_OK) {
		chatmail_authdb_failed(iter->db, &err);
		iter->ctx.failed = TRUE;
	}
	return &iter->ctx;
}

/* One address per call: relays have 10^5 of them. */
static void chatmail_userdb_iterate_next(struct userdb_iterate_context *ctx)
{
	struct chatmail_userdb_iterate_context *iter =
		container_of(ctx, struct chatmail_userdb_iterate_context, ctx);
	chatmail_error_t *err = NULL;
	const char *address = NULL;

	if (!ctx->failed &&
	    chatmail_users_next(iter->users, &address, &err) != CHATMAIL_OK) {
		chatmail_authdb_failed(iter->db, &err);
		ctx->failed = TRUE;
		address = NULL;
	}
	/* the callback may free the context */
	ctx->callback(address, ctx->context);
}

static int chatmail_userdb_iterate_deinit(struct userdb_iterate_context *ctx)
{
	struct chatmail_userdb_iterate_context *iter =
		container_of(ctx, struct chatmail_userdb_iterate_context, ctx);
	int ret = ctx->failed ? -1 : 0;

	chatmail_users_free(iter->users);
	i_free(iter);
	return ret;
}

static int
chatmail_userdb_create(pool_t pool, chatmail_source_t source,
		       struct userdb_module **module_r, const char **error_r)
{
	struct chatmail_userdb_module *module;

	module = p_new(pool, struct chatmail_userdb_module, 1);
	if (chatmail_authdb_ref(source, &module->db, error_r) < 0)
		return -1;
	/* 2.4 takes it from the settings, whose default says the same */
	module->module.blocking = TRUE;
	*module_r = &module->module;
	return 0;
}

CHATMAIL_PREINIT(userdb, chatmail_userdb_preinit, chatmail_userdb_create)

static void chatmail_userdb_deinit(struct userdb_module *_module)
{
	struct chatmail_userdb_module *module =
		container_of(_module, struct chatmail_userdb_module, module);

	chatmail_authdb_unref(&module->db);
}

struct userdb_module_interface chatmail_userdb = {
	.name = "chatmail",
	.preinit = chatmail_userdb_preinit,
	.init = chatmail_workers_learn_limit,
	.deinit = chatmail_userdb_deinit,
	.lookup = chatmail_userdb_lookup,
	.iterate_init = chatmail_userdb_iterate_init,
	.iterate_next = chatmail_userdb_iterate_next,
	.iterate_deinit = chatmail_userdb_iterate_deinit,
};
