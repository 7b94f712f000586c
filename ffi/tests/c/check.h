/* Checks for the C programs: a failed one says where and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chatmail.h"

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__,     \
                    __func__, #condition);                                     \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#define CHECK_TEXT(actual, expected)                                           \
    do {                                                                       \
        const char *actual_ = (actual);                                        \
        if (actual_ == NULL || strcmp(actual_, (expected)) != 0) {             \
            fprintf(stderr, "%s:%d: %s: \"%s\", expected \"%s\"\n", __FILE__,  \
                    __LINE__, __func__, actual_ ? actual_ : "(NULL)",          \
                    (expected));                                               \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#define CHECK_NULL(text)                                                       \
    do {                                                                       \
        const char *actual_ = (text);                                          \
        if (actual_ != NULL) {                                                 \
            fprintf(stderr, "%s:%d: %s: \"%s\", expected NULL\n", __FILE__,    \
                    __LINE__, __func__, actual_);                              \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

/* The call worked; else its error message is shown. Needs `chatmail_error_t *err = NULL`. */
#define CHECK_OK(call)                                                         \
    do {                                                                       \
        int32_t status_ = (call);                                              \
        if (status_ != CHATMAIL_OK || err != NULL) {                           \
            fprintf(stderr, "%s:%d: %s: %s: status %d: %s\n", __FILE__,        \
                    __LINE__, __func__, #call, (int)status_,                   \
                    chatmail_error_message(err));                              \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

/* The call failed with this status and an error object that says so. */
#define CHECK_FAILS(call, expected)                                            \
    do {                                                                       \
        int32_t status_ = (call);                                              \
        if (status_ != (expected) || chatmail_error_status(err) != status_ ||  \
            strlen(chatmail_error_message(err)) == 0) {                        \
            fprintf(stderr, "%s:%d: %s: %s: status %d, expected %s\n",         \
                    __FILE__, __LINE__, __func__, #call, (int)status_,         \
                    #expected);                                                \
            exit(1);                                                           \
        }                                                                      \
        chatmail_error_free(err);                                              \
        err = NULL;                                                            \
    } while (0)

/* A C string as a byte argument. */
#define BYTES(text) (const uint8_t *)(text), strlen(text)

/* Adds `name` to the directory of the running program, the first argument of main(). */
const char *in_dir(const char *name);
int exists(const char *path);
/* The value of a counter in its file; -1 if it is not there. */
long counted(const char *counter);

void logins(const chatmail_config_t *config);
void metadata_and_push(const chatmail_config_t *config);
void forks(const chatmail_config_t *config);
void messages(const chatmail_config_t *config);
void odd_arguments(const chatmail_config_t *config);

#endif
