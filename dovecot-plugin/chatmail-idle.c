/* Tells idling clients of a change at once.

   Dovecot waits half a second after a change in a maildir before it looks what
   it was (mailbox-watch.c), in case more follows. This watches the same two
   directories, and looks after 2 ms.

   inotify gives a second watch of a directory the descriptor of the first, and
   Dovecot's ioloop serves the one that was added last: with ours in place, the
   stock watch sleeps. Should that order change in another version, clients are
   told after the half second, as without this file. No file descriptor is
   added.

   Having read a directory in the second in which it changed, Dovecot does not
   always read it again for a change in the same second: the sooner the look,
   the likelier. So there is another look when that second is over. */

#include "chatmail-plugin.h"

#include "ioloop.h"
#include "time-util.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"

/* A delivery is a rename; a client's own move between two folders several. */
#define CHATMAIL_IDLE_MIN_MSECS 2
/* What Dovecot waits. */
#define CHATMAIL_IDLE_MAX_MSECS 500
/* After the last change: past the second it was in, by the clock of the file
   system, which may be a tick late. */
#define CHATMAIL_IDLE_AGAIN_MSECS 1500

#define CHATMAIL_IDLE_CONTEXT(obj) \
	MODULE_CONTEXT(obj, chatmail_idle_module)
#define CHATMAIL_IDLE_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, chatmail_idle_module)

struct chatmail_idle_mailbox {
	union mailbox_module_context module_ctx;
	struct io *io_new, *io_cur;
	struct timeout *to_again;
	/* box->to_notify_delay is ours. */
	bool pending;
};

static MODULE_CONTEXT_DEFINE_INIT(chatmail_idle_module,
				  &mail_storage_module_register);

/* How long the last look took. The next one waits as long, so that a folder
   that takes long to read, while a lot of mail arrives, keeps a session from
   other work for half of the time at most. It belongs to the process, which
   serves one session at a time, and is forgotten when a watch begins. */
static unsigned int chatmail_idle_msecs = CHATMAIL_IDLE_MIN_MSECS;

static void chatmail_idle_look(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);
	struct timeval start, end;
	int msecs;

	cbox->pending = FALSE;
	timeout_remove(&box->to_notify_delay);
	i_gettimeofday(&start);
	box->notify_callback(box, box->notify_context);
	/* The mailbox may be gone by now. */
	i_gettimeofday(&end);
	msecs = timeval_diff_msecs(&end, &start);
	chatmail_idle_msecs = msecs < CHATMAIL_IDLE_MIN_MSECS ?
		CHATMAIL_IDLE_MIN_MSECS :
		I_MIN(msecs, CHATMAIL_IDLE_MAX_MSECS);
}

static void chatmail_idle_look_again(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);

	timeout_remove(&cbox->to_again);
	box->notify_callback(box, box->notify_context);
}

static void chatmail_idle_changed(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);

	/* The slow poll, for file systems without inotify. */
	if (box->to_notify != NULL)
		timeout_reset(box->to_notify);
	if (cbox->to_again != NULL)
		timeout_reset(cbox->to_again);
	else {
		cbox->to_again = timeout_add_short(CHATMAIL_IDLE_AGAIN_MSECS,
						   chatmail_idle_look_again, box);
	}
	if (box->to_notify_delay != NULL) {
		if (cbox->pending)
			return;
		timeout_remove(&box->to_notify_delay);
	}
	box->to_notify_delay = timeout_add_short(chatmail_idle_msecs,
						 chatmail_idle_look, box);
	cbox->pending = TRUE;
}

static void chatmail_idle_stop(struct chatmail_idle_mailbox *cbox)
{
	io_remove(&cbox->io_new);
	io_remove(&cbox->io_cur);
	timeout_remove(&cbox->to_again);
	cbox->pending = FALSE;
}

static void chatmail_idle_notify_changes(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);
	const char *path;

	/* Before the stock watch goes or comes: ours has to be the last. */
	chatmail_idle_stop(cbox);
	cbox->module_ctx.super.notify_changes(box);
	if (box->notify_callback == NULL)
		return;
	path = mailbox_get_path(box);
	(void)io_add_notify(t_strconcat(path, "/new", NULL),
			    chatmail_idle_changed, box, &cbox->io_new);
	(void)io_add_notify(t_strconcat(path, "/cur", NULL),
			    chatmail_idle_changed, box, &cbox->io_cur);
	chatmail_idle_msecs = CHATMAIL_IDLE_MIN_MSECS;
}

static void chatmail_idle_close(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);

	chatmail_idle_stop(cbox);
	cbox->module_ctx.super.close(box);
}

static void chatmail_idle_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	struct chatmail_idle_mailbox *cbox;

	if (strcmp(box->storage->name, "maildir") != 0)
		return;
	cbox = p_new(box->pool, struct chatmail_idle_mailbox, 1);
	cbox->module_ctx.super = *v;
	box->vlast = &cbox->module_ctx.super;
	v->notify_changes = chatmail_idle_notify_changes;
	v->close = chatmail_idle_close;
	MODULE_CONTEXT_SET(box, chatmail_idle_module, cbox);
}

static struct mail_storage_hooks chatmail_idle_hooks = {
	.mailbox_allocated = chatmail_idle_mailbox_allocated,
};

void chatmail_idle_init(struct module *module)
{
	mail_storage_hooks_add(module, &chatmail_idle_hooks);
}

void chatmail_idle_deinit(void)
{
	mail_storage_hooks_remove(&chatmail_idle_hooks);
}
