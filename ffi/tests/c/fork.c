/* Objects that were made before a fork, used by both processes after it. */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define ALICE "alice1234@chat.test"
#define DEVICE_TOKEN "priv/0123abcd/devicetoken"
#define DELIVERIES "chatmail_deliveries_total"
#define ROUNDS 2000
#define TOKENS 10

static void deliver(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    size_t spooled = 0;
    CHECK_OK(chatmail_push_notify(config, BYTES("nobody123@chat.test"), BYTES("bob@chat.test"),
                                  &spooled, &err));
}

static void set_token(const chatmail_config_t *config, int process, int number)
{
    chatmail_error_t *err = NULL;
    chatmail_metadata_changes_t *changes = NULL;
    int32_t answer = 0;
    char token[32];
    snprintf(token, sizeof(token), "process%d-%d", process, number);
    CHECK_OK(chatmail_metadata_changes_new(&changes, &err));
    CHECK_OK(chatmail_metadata_changes_set(changes, BYTES(DEVICE_TOKEN), BYTES(token), &err));
    CHECK_OK(chatmail_metadata_store(config, BYTES(ALICE), changes, &answer, &err));
    CHECK(answer == CHATMAIL_METADATA_STORED);
    chatmail_metadata_changes_free(changes);
}

static void work(const chatmail_config_t *config, int process)
{
    for (int i = 0; i < ROUNDS; i++)
        deliver(config);
    for (int i = 0; i < TOKENS; i++)
        set_token(config, process, i);
}

static int tokens(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_bytes_t *value = NULL;
    size_t len = 0;
    int count = 1;
    CHECK_OK(chatmail_metadata_get(config, BYTES(ALICE), BYTES(DEVICE_TOKEN), &value, &err));
    CHECK(value != NULL);
    for (const uint8_t *byte = chatmail_bytes_data(value, &len); *byte != '\0'; byte++)
        count += *byte == ' ';
    chatmail_bytes_free(value);
    return count;
}

void forks(const chatmail_config_t *config)
{
    long before, missing;
    int status;
    pid_t child;

    /* Makes the file, and whatever else the object keeps. */
    deliver(config);
    before = counted(DELIVERIES);
    child = fork();
    CHECK(child >= 0);
    work(config, child == 0);
    if (child == 0)
        _exit(0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    /* One may go uncounted if the process that holds the lock is not scheduled in time. */
    missing = before + 2 * ROUNDS - counted(DELIVERIES);
    CHECK(missing >= 0 && missing <= 2 * ROUNDS / 100);
    CHECK(tokens(config) == 2 * TOKENS);
}
