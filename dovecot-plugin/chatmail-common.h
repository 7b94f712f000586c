/* What both modules need of libchatmail: its error objects and its
   configuration. */
#ifndef CHATMAIL_COMMON_H
#define CHATMAIL_COMMON_H

#include "chatmail-compat.h"
#include "chatmail.h"

/* A symbol that Dovecot looks up in the module; all others stay hidden, so
   that two modules never share one by accident (Dovecot opens them
   RTLD_GLOBAL). */
#define CHATMAIL_EXPORT __attribute__((visibility("default")))

/* Arguments for libchatmail's (const uint8_t *, size_t). NULL stands for the
   empty string. */
#define CHATMAIL_STR(str) \
	((const uint8_t *)(str)), ((str) == NULL ? 0 : strlen(str))

/* Takes over what a failed call left behind: frees *err and returns -1 with
   the message, which lives in the current data stack frame. */
int chatmail_failed(chatmail_error_t **err, const char **error_r);

/* Loads chatmail.ini into *config unless that has been done already. A
   success is kept for the life of the process, a failure is not: the next
   call tries again. Returns 0 or -1. */
int chatmail_config_need(const char *path, chatmail_config_t **config,
			 const char **error_r);

/* Keeps addresses out of this process's log, see chatmail-log.c. */
void chatmail_log_init(void);
void chatmail_log_deinit(void);

#endif
