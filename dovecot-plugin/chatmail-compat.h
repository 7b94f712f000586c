/* Differences between Dovecot versions. The other files are written once;
   only chatmail-settings.c, which reads the settings, has parts for one
   version too.

   Run with 2.3.19, 2.3.21, 2.4.1 and 2.4.5. A version that is not listed here is
   refused at compile time rather than guessed at: the structures below are
   shared with the host process. What the version does not tell, the Makefile
   finds out from the installed headers: chatmail-probe.c. */
#ifndef CHATMAIL_COMPAT_H
#define CHATMAIL_COMPAT_H

#include "lib.h"

#ifndef DOVECOT_VERSION_MICRO
#  error "chatmail: Dovecot 2.3.19 or newer is needed"
#elif !DOVECOT_PREREQ(2, 3, 19)
#  error "chatmail: Dovecot 2.3.19 or newer is needed"
#elif DOVECOT_PREREQ(2, 5, 0)
#  error "chatmail: this version of Dovecot is not supported yet: 2.3 and 2.4 are"
#elif DOVECOT_PREREQ(2, 4, 0) && !DOVECOT_PREREQ(2, 4, 1)
#  error "chatmail: Dovecot 2.4.0 is not supported: 2.4.1 or newer is needed"
#endif

#include "chatmail-probe.h"

#if DOVECOT_PREREQ(2, 4, 1)
#  define CHATMAIL_DOVECOT_24
#endif

/* Settings: where a driver or a mail user finds its own.
   2.3: the text of one setting: a driver's arguments, the path in the URI of
   a dict, or a plugin setting, which may be NULL.
   2.4: the event under which settings_get() looks for them. */
#ifdef CHATMAIL_DOVECOT_24
typedef struct event *chatmail_source_t;
#  define chatmail_user_source(user) ((user)->event)
#else
typedef const char *chatmail_source_t;
#  define chatmail_user_source(user) \
	mail_user_plugin_getenv((user), "chatmail_config")
#endif

/* passdb and userdb: defines the preinit function NAME around
     int CREATE(pool_t pool, chatmail_source_t source,
		struct KIND_module **module_r, const char **error_r)
   where KIND is passdb or userdb. A failure ends the process, as with
   Dovecot's own drivers. */
#if defined(CHATMAIL_PREINIT_EVENT)
#  define CHATMAIL_PREINIT(kind, name, create) \
	static int name(pool_t pool, struct event *event, \
			struct kind##_module **module_r, const char **error_r) \
	{ \
		return create(pool, event, module_r, error_r); \
	}
#elif defined(CHATMAIL_PREINIT_EVENT_PARAMETERS)
#  define CHATMAIL_PREINIT(kind, name, create) \
	static int name(pool_t pool, struct event *event, \
			const struct kind##_parameters *params ATTR_UNUSED, \
			struct kind##_module **module_r, const char **error_r) \
	{ \
		return create(pool, event, module_r, error_r); \
	}
#elif defined(CHATMAIL_PREINIT_ARGS)
#  define CHATMAIL_PREINIT(kind, name, create) \
	static struct kind##_module *name(pool_t pool, const char *args) \
	{ \
		struct kind##_module *module; \
		const char *error; \
		\
		if (create(pool, args, &module, &error) < 0) \
			i_fatal("chatmail: %s", error); \
		return module; \
	}
#else
#  error "chatmail: chatmail-probe.h does not say how this Dovecot starts a driver"
#endif

/* passdb and userdb: after the driver's fields are set. 2.4: the driver puts
   the settings passdb_fields and userdb_fields over them; 2.3 does that by
   itself. Returns 0 or -1. */
#ifdef CHATMAIL_DOVECOT_24
#  define chatmail_passdb_finish_fields(request) \
	auth_request_set_passdb_fields((request), NULL)
#  define chatmail_userdb_finish_fields(request) \
	auth_request_set_userdb_fields((request), NULL)
#else
#  define chatmail_passdb_finish_fields(request) 0
#  define chatmail_userdb_finish_fields(request) 0
#endif

/* dict: the head of the function NAME, which creates one. Its body names
   driver, source, dict_r and error_r. */
#ifdef CHATMAIL_DOVECOT_24
#  define CHATMAIL_DICT_INIT(name) \
	static int name(const struct dict *driver, struct event *source, \
			struct dict **dict_r, const char **error_r)
#else
#  define CHATMAIL_DICT_INIT(name) \
	static int name(struct dict *driver, const char *source, \
			const struct dict_settings *set ATTR_UNUSED, \
			struct dict **dict_r, const char **error_r)
#endif

/* dict: what a look-up yields. 2.3: one value; 2.4: a list of them, with NULL
   at its end. */
#ifdef CHATMAIL_DOVECOT_24
typedef const char *const *chatmail_dict_value_t;

static inline chatmail_dict_value_t
chatmail_dict_value(pool_t pool, const void *data, size_t size)
{
	const char **values = p_new(pool, const char *, 2);

	values[0] = p_strndup(pool, data, size);
	return values;
}
#else
typedef const char *chatmail_dict_value_t;

#  define chatmail_dict_value(pool, data, size) \
	p_strndup((pool), (data), (size))
#endif

#endif
