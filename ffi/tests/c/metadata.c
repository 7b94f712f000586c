/* METADATA values and push notifications of alice, whom login.c has created. */
#include <dirent.h>

#include "check.h"

#define ALICE "alice1234@chat.test"
#define SERVER "shared/0123abcd/vendor/vendor.dovecot/pvt/server/vendor/deltachat/"
#define DEVICE_TOKEN "priv/0123abcd/devicetoken"

static void expect_value(const chatmail_config_t *config, const char *key, const char *expected)
{
    chatmail_error_t *err = NULL;
    chatmail_bytes_t *value = NULL;
    size_t len = 0;
    CHECK_OK(chatmail_metadata_get(config, BYTES(ALICE), BYTES(key), &value, &err));
    CHECK(value != NULL);
    CHECK_TEXT((const char *)chatmail_bytes_data(value, &len), expected);
    CHECK(len == strlen(expected));
    chatmail_bytes_free(value);
}

static void expect_no_value(const chatmail_config_t *config, const char *key)
{
    chatmail_error_t *err = NULL;
    /* "No value" is an output too: what stood there before goes. */
    chatmail_bytes_t *value = (chatmail_bytes_t *)1;
    CHECK_OK(chatmail_metadata_get(config, BYTES(ALICE), BYTES(key), &value, &err));
    CHECK(value == NULL);
}

/* Stores what SETMETADATA with these keys and values would; NULL is NIL. */
static int32_t set_both(const chatmail_config_t *config, const char *key, const char *value,
                        const char *key2, const char *value2)
{
    chatmail_error_t *err = NULL;
    chatmail_metadata_changes_t *changes = NULL;
    const char *keys[] = {key, key2}, *values[] = {value, value2};
    int32_t answer = 0;
    CHECK_OK(chatmail_metadata_changes_new(&changes, &err));
    for (int i = 0; i < 2 && keys[i] != NULL; i++) {
        if (values[i] == NULL)
            CHECK_OK(chatmail_metadata_changes_remove(changes, BYTES(keys[i]), &err));
        else
            CHECK_OK(chatmail_metadata_changes_set(changes, BYTES(keys[i]), BYTES(values[i]),
                                                   &err));
    }
    CHECK_OK(chatmail_metadata_store(config, BYTES(ALICE), changes, &answer, &err));
    chatmail_metadata_changes_free(changes);
    return answer;
}

static int32_t set(const chatmail_config_t *config, const char *key, const char *value)
{
    return set_both(config, key, value, NULL, NULL);
}

static void the_server_has_values(const chatmail_config_t *config)
{
    expect_value(config, SERVER "irohrelay", "https://chat.test");
    expect_value(config, SERVER "maxsmtprecipients", "1000");
    expect_no_value(config, SERVER "turn");
    expect_no_value(config, SERVER "unheard-of");
    expect_no_value(config, "");
    CHECK(set(config, SERVER "irohrelay", "https://evil.test") == CHATMAIL_METADATA_REFUSED);
}

static void device_tokens_add_up(const chatmail_config_t *config)
{
    expect_no_value(config, DEVICE_TOKEN);
    CHECK(set(config, DEVICE_TOKEN, "") == CHATMAIL_METADATA_NOTHING);
    CHECK(set(config, DEVICE_TOKEN, "openpgp:first") == CHATMAIL_METADATA_STORED);
    expect_value(config, DEVICE_TOKEN, "openpgp:first");
    CHECK(set(config, DEVICE_TOKEN, "openpgp:second") == CHATMAIL_METADATA_STORED);
    expect_value(config, DEVICE_TOKEN, "openpgp:first openpgp:second");
}

static void changes_are_stored_all_or_none(const chatmail_config_t *config)
{
    char longest[CHATMAIL_METADATA_VALUE_MAX + 2];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    CHECK(set_both(config, DEVICE_TOKEN, "openpgp:third", DEVICE_TOKEN, longest) ==
          CHATMAIL_METADATA_TOO_LONG);
    CHECK(set_both(config, DEVICE_TOKEN, NULL, SERVER "turn", "mine") ==
          CHATMAIL_METADATA_REFUSED);
    CHECK(set_both(config, "priv/0123abcd/comment", NULL, "", NULL) == CHATMAIL_METADATA_NOTHING);
    expect_value(config, DEVICE_TOKEN, "openpgp:first openpgp:second");
    CHECK(set_both(config, DEVICE_TOKEN, NULL, DEVICE_TOKEN, longest + 1) ==
          CHATMAIL_METADATA_STORED);
    expect_value(config, DEVICE_TOKEN, longest + 1);
    CHECK(set(config, DEVICE_TOKEN, NULL) == CHATMAIL_METADATA_STORED);
    expect_no_value(config, DEVICE_TOKEN);
    CHECK(set(config, DEVICE_TOKEN, "openpgp:first") == CHATMAIL_METADATA_STORED);
    CHECK(set(config, DEVICE_TOKEN, "openpgp:second") == CHATMAIL_METADATA_STORED);
}

static int spool_files(void)
{
    struct dirent *entry;
    int count = 0;
    DIR *dir = opendir(in_dir("mail/pending_notifications"));
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

long counted(const char *counter)
{
    char name[64];
    long value = -1, number;
    FILE *file = fopen(in_dir("mail/.chatmail/counters"), "r");
    if (file == NULL)
        return -1;
    while (fscanf(file, "%63s %ld", name, &number) == 2) {
        if (strcmp(name, counter) == 0)
            value = number;
    }
    fclose(file);
    return value;
}

static void new_mail_is_told_to_each_device(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    size_t spooled = 99;
    CHECK(spool_files() == 0);
    CHECK_OK(chatmail_push_notify(config, BYTES(ALICE), BYTES("Me <" ALICE ">"), &spooled, &err));
    CHECK(spooled == 0 && spool_files() == 0);
    CHECK_OK(chatmail_push_notify(config, BYTES("nobody123@chat.test"), BYTES("bob@chat.test"),
                                  &spooled, &err));
    CHECK(spooled == 0 && spool_files() == 0);
    CHECK_OK(chatmail_push_notify(config, BYTES(ALICE), BYTES("bob@chat.test"), &spooled, &err));
    CHECK(spooled == 2 && spool_files() == 2);
    CHECK(counted("chatmail_deliveries_total") == 3);
    CHECK(counted("chatmail_push_spooled_total") == 2);
    CHECK_OK(chatmail_push_notify(config, BYTES(ALICE), BYTES("bob@chat.test"), &spooled, &err));
    CHECK(spooled == 2 && spool_files() == 2);
    CHECK(counted("chatmail_push_total{result=\"merged\"}") == 2);
    CHECK(set(config, DEVICE_TOKEN, NULL) == CHATMAIL_METADATA_STORED);
    CHECK(spool_files() == 0);
}

void metadata_and_push(const chatmail_config_t *config)
{
    the_server_has_values(config);
    device_tokens_add_up(config);
    changes_are_stored_all_or_none(config);
    new_mail_is_told_to_each_device(config);
}
