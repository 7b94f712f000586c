/* Has auth know how many auth-workers there may be before it serves anybody.

   Dovecot 2.4 learns the process_limit of auth-worker from the first worker that
   answers. Until then auth connects once for each request: of a few hundred
   clients that log in in the same moment after a start, it reads 60 requests or so
   before it hears anything. The master starts as many workers as it may, 30, lets
   the other connections wait for 10 s and closes them: [UNAVAILABLE] for these
   clients. Afterwards auth has requests wait in a queue of its own.

   So auth asks for a user as soon as it can, and waits for the answer before it
   takes connections itself. 2.3 has a setting, which auth reads. */

#include "chatmail-authdb.h"

#ifdef CHATMAIL_DOVECOT_24

#include "ioloop.h"
#include "auth-worker-connection.h"

/* A worker starts within a tenth of a second. If none does, auth goes on, as it
   does without us. */
#define CHATMAIL_WORKERS_WAIT_MSECS 5000

static bool waiting = FALSE;

static void chatmail_workers_go_on(void *context ATTR_UNUSED)
{
	waiting = FALSE;
	io_loop_stop(current_ioloop);
}

/* Whatever the answer is. It may come when nobody waits any more. */
static bool
chatmail_workers_answered(struct auth_worker_connection *conn ATTR_UNUSED,
			  const char *const *args ATTR_UNUSED, void *context)
{
	pool_t pool = context;

	if (waiting)
		chatmail_workers_go_on(NULL);
	pool_unref(&pool);
	return TRUE;
}

static void chatmail_workers_ask(unsigned int userdb_id)
{
	pool_t pool = pool_alloconly_create("chatmail workers", 256);

	/* No address is like this, so it is looked up nowhere. */
	auth_worker_call(pool, "nobody",
		p_strdup_printf(pool, "USER\t%u\tuser=nobody\tprotocol=auth",
				userdb_id),
		chatmail_workers_answered, pool);
}

void chatmail_workers_learn_limit(struct userdb_module *userdb)
{
	static bool asked = FALSE;
	struct timeout *to;

	/* There is a userdb for each protocol, and the workers are the same. */
	if (worker || asked)
		return;
	asked = TRUE;
	waiting = TRUE;
	chatmail_workers_ask(userdb->id);
	to = timeout_add_short(CHATMAIL_WORKERS_WAIT_MSECS,
			       chatmail_workers_go_on, NULL);
	/* auth listens after this. */
	if (waiting)
		io_loop_run(current_ioloop);
	timeout_remove(&to);
}

#else

void chatmail_workers_learn_limit(struct userdb_module *userdb ATTR_UNUSED)
{
}

#endif
