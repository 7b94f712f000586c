/* Differences between Dovecot versions, and nothing else: the other files are
   written once.

   Tested with 2.3.19; compiles against the sources of 2.3.20 and 2.3.21. A
   version that is not listed here is refused at compile time rather than
   guessed at: the structures below are shared with the host process. */
#ifndef CHATMAIL_COMPAT_H
#define CHATMAIL_COMPAT_H

#include "lib.h"

#ifndef DOVECOT_VERSION_MICRO
#  error "chatmail: Dovecot 2.3.19 or newer is needed"
#elif !DOVECOT_PREREQ(2, 3, 19)
#  error "chatmail: Dovecot 2.3.19 or newer is needed"
#elif DOVECOT_PREREQ(2, 4, 0)
#  error "chatmail: this version of Dovecot is not supported yet"
#endif

/* passdb and userdb: how a driver receives its settings. 2.3: preinit(pool,
   args) returns the module, a wrong setting ends the process. */
#define CHATMAIL_PASSDB_PREINIT(name) \
	static struct passdb_module *name(pool_t pool, const char *args)
#define CHATMAIL_USERDB_PREINIT(name) \
	static struct userdb_module *name(pool_t pool, const char *args)

/* Where the mail processes find chatmail.ini. 2.3: a plugin setting. */
#define chatmail_user_config_path(user) \
	mail_user_plugin_getenv((user), "chatmail_config")

/* dict: a look-up yields one value in 2.3. */
typedef const char *chatmail_dict_value_t;
#define chatmail_dict_value(pool, data, size) \
	p_strndup((pool), (data), (size))

#endif
