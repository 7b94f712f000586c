/* Tells idling clients of a change at once.

   Dovecot waits half a second after a change in a maildir before it looks what
   it was (mailbox-watch.c), in case more follows. This watches the same two
   directories, and looks after 2 ms.

   inotify gives a second watch of a directory the descriptor of the first, and
   Dovecot's ioloop serves the one that was added last: with ours in place, the
   stock watch sleeps. Should that order change in another version, clients are
   told after the half second, as without this file. No file descriptor is
   added.

   Dovecot tells from the time of a directory whether it has to read it again,
   and cannot tell a change that comes while it reads, or in the same tick of the
   clock, from the one it reads for: the sooner the look, the likelier. A message
   that came so lies in "new" after all the others have been moved to "cur". So
   before each look, if there is something in "new", the directory gets a new
   time. What is missed in "cur" are files that other software than Dovecot
   removes: for them there is one more look, when Dovecot no longer trusts what it
   read in the second of a change. */

#include "chatmail-plugin.h"

#include "ioloop.h"
#include "time-util.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

/* A delivery is a rename; a client's own move between two folders several. */
#define CHATMAIL_IDLE_MIN_MSECS 2
/* What Dovecot waits. */
#define CHATMAIL_IDLE_MAX_MSECS 500
/* After the last change. Dovecot reads once more what it read in the second of a
   change as soon as its clock is two seconds further (MAILDIR_SYNC_SECS); and it
   read that after CHATMAIL_IDLE_MAX_MSECS at the latest. */
#define CHATMAIL_IDLE_AGAIN_MSECS (2000 + CHATMAIL_IDLE_MAX_MSECS)

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

static bool chatmail_idle_has_files(DIR *dir)
{
	const struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			return TRUE;
	}
	return FALSE;
}

/* Makes Dovecot read "new" at its next look, if there is something to read. If
   that fails, it is as without: a few are told late. */
static void chatmail_idle_have_new_read(struct mailbox *box)
{
	/* Finer than the clock of the file system: no change has the same. */
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	DIR *dir;

	T_BEGIN {
		dir = opendir(t_strconcat(mailbox_get_path(box), "/new", NULL));
	} T_END;
	if (dir == NULL)
		return;
	if (chatmail_idle_has_files(dir) &&
	    clock_gettime(CLOCK_REALTIME, &times[1]) == 0)
		(void)futimens(dirfd(dir), times);
	(void)closedir(dir);
}

static void chatmail_idle_look(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);
	struct timeval start, end;
	int msecs;

	cbox->pending = FALSE;
	timeout_remove(&box->to_notify_delay);
	chatmail_idle_have_new_read(box);
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
	chatmail_idle_have_new_read(box);
	box->notify_callback(box, box->notify_context);
}

static void
chatmail_idle_plan_again(struct chatmail_idle_mailbox *cbox, struct mailbox *box)
{
	if (cbox->to_again != NULL)
		timeout_reset(cbox->to_again);
	else {
		cbox->to_again = timeout_add_short(CHATMAIL_IDLE_AGAIN_MSECS,
						   chatmail_idle_look_again, box);
	}
}

static void chatmail_idle_changed(struct mailbox *box)
{
	struct chatmail_idle_mailbox *cbox = CHATMAIL_IDLE_CONTEXT_REQUIRE(box);

	/* The slow poll, for file systems without inotify. */
	if (box->to_notify != NULL)
		timeout_reset(box->to_notify);
	chatmail_idle_plan_again(cbox, box);
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
	/* What came before, and was missed like that. For IDLE, Dovecot looks as
	   soon as it watches. */
	chatmail_idle_have_new_read(box);
	chatmail_idle_plan_again(cbox, box);
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
