/*
 * libchatmail as a C program sees it.
 *
 *     main DIR
 *
 * DIR holds a chatmail.ini for the domain chat.test with the mailboxes in DIR/mail. Prints nothing
 * and ends with 0 if all is well.
 */
#include <sys/stat.h>

#include "check.h"

static const char *dir;

const char *in_dir(const char *name)
{
    static char path[4096];
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
    CHECK(len > 0 && (size_t)len < sizeof(path));
    return path;
}

int exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static void the_library_is_the_one_of_the_header(void)
{
    char version[64];
    snprintf(version, sizeof(version), "%d.%d.%d", CHATMAIL_VERSION_MAJOR,
             CHATMAIL_VERSION_MINOR, CHATMAIL_VERSION_PATCH);
    CHECK_TEXT(chatmail_version(), version);
    CHECK(chatmail_abi_version() == CHATMAIL_ABI_VERSION);
}

static void a_missing_or_faulty_configuration_is_an_error(void)
{
    chatmail_error_t *err = NULL;
    chatmail_config_t *config = NULL;
    CHECK_FAILS(chatmail_config_load(BYTES("/nonexistent/chatmail.ini"), &config, &err),
                CHATMAIL_ERROR_CONFIG);
    CHECK(config == NULL);

    CHECK(chatmail_config_load(BYTES(in_dir("faulty.ini")), &config, &err) ==
          CHATMAIL_ERROR_CONFIG);
    CHECK(config == NULL);
    CHECK(strstr(chatmail_error_message(err), "faulty.ini") != NULL);
    CHECK(strstr(chatmail_error_message(err), "max_mailbox_size") != NULL);
    CHECK(strstr(chatmail_error_message(err), "lots") != NULL);
    chatmail_error_free(err);

    /* Nobody has to want the error. */
    CHECK(chatmail_config_load(BYTES("/nonexistent/chatmail.ini"), &config, NULL) ==
          CHATMAIL_ERROR_CONFIG);
}

static void unknown_keys_are_warnings(const chatmail_config_t *config)
{
    CHECK(chatmail_config_warning_count(config) == 1);
    CHECK(strstr(chatmail_config_warning(config, 0), "key_of_tomorrow") != NULL);
    CHECK(chatmail_config_warning(config, 1) == NULL);
    CHECK(chatmail_config_warning(config, (size_t)-1) == NULL);
}

int main(int argc, char **argv)
{
    chatmail_error_t *err = NULL;
    chatmail_config_t *config = NULL;

    CHECK(argc == 2);
    dir = argv[1];

    the_library_is_the_one_of_the_header();
    a_missing_or_faulty_configuration_is_an_error();
    CHECK_OK(chatmail_config_load(BYTES(in_dir("chatmail.ini")), &config, &err));
    unknown_keys_are_warnings(config);
    logins(config);
    metadata_and_push(config);
    forks(config);
    messages(config);
    odd_arguments(config);
    chatmail_config_free(config);
    return 0;
}
