/* Part of no module. The Makefile compiles this file once for each of the
   macros below; the one that compiles against the installed headers is what
   chatmail-probe.h says. For what a version number does not tell: 2.4.3 gave
   preinit one more argument, and distributions change structures without a
   new version. */

#include "auth-common.h"
#include "passdb.h"
#include "userdb.h"

#if defined(CHATMAIL_PREINIT_ARGS)
#  define PREINIT(kind) \
	struct kind##_module *probe_##kind(pool_t, const char *)
#elif defined(CHATMAIL_PREINIT_EVENT)
#  define PREINIT(kind) \
	int probe_##kind(pool_t, struct event *, struct kind##_module **, \
			 const char **)
#elif defined(CHATMAIL_PREINIT_EVENT_PARAMETERS)
#  define PREINIT(kind) \
	int probe_##kind(pool_t, struct event *, \
			 const struct kind##_parameters *, \
			 struct kind##_module **, const char **)
#endif

PREINIT(passdb);
PREINIT(userdb);

struct passdb_module_interface probe_passdb_interface;
struct userdb_module_interface probe_userdb_interface;

void probe(void);
void probe(void)
{
	probe_passdb_interface.preinit = probe_passdb;
	probe_userdb_interface.preinit = probe_userdb;
}
