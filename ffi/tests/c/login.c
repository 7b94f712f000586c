/* Logins, look-ups, the list of users and the last login. */
#include <sys/stat.h>
#include <time.h>

#include "check.h"

static chatmail_login_t *login(const chatmail_auth_t *auth, const char *address,
                               const char *password)
{
    chatmail_error_t *err = NULL;
    chatmail_login_t *login = NULL;
    CHECK_OK(chatmail_auth_login(auth, BYTES(address), BYTES(password), BYTES("192.0.2.1"),
                                 &login, &err));
    CHECK(login != NULL);
    return login;
}

static chatmail_login_t *lookup(const chatmail_auth_t *auth, const char *address)
{
    chatmail_error_t *err = NULL;
    chatmail_login_t *login = NULL;
    CHECK_OK(chatmail_auth_lookup(auth, BYTES(address), &login, &err));
    CHECK(login != NULL);
    return login;
}

static void expect_yes(chatmail_login_t *login, int32_t result)
{
    CHECK(chatmail_login_result(login) == result);
    CHECK_TEXT(chatmail_login_address(login), "alice1234@chat.test");
    CHECK_TEXT(chatmail_login_home(login), in_dir("mail/alice1234@chat.test"));
    CHECK(strncmp(chatmail_login_password(login), "{SHA512-CRYPT}$6$", 17) == 0);
    CHECK(chatmail_login_reason(login) == NULL);
    CHECK(chatmail_login_warning(login, chatmail_login_warning_count(login)) == NULL);
    chatmail_login_free(login);
}

static void expect_no(chatmail_login_t *login, int32_t result)
{
    CHECK(chatmail_login_result(login) == result);
    CHECK(chatmail_login_address(login) == NULL);
    CHECK(chatmail_login_home(login) == NULL);
    CHECK(chatmail_login_password(login) == NULL);
    CHECK(strlen(chatmail_login_reason(login)) > 0);
    CHECK(chatmail_login_warning_count(login) == 0);
    chatmail_login_free(login);
}

static void the_first_login_creates_the_address(const chatmail_auth_t *auth)
{
    expect_no(lookup(auth, "alice1234@chat.test"), CHATMAIL_LOGIN_UNKNOWN_USER);
    expect_yes(login(auth, "Alice1234@chat.test", "a \"fine\" \\ pass/word"),
               CHATMAIL_LOGIN_CREATED);
    CHECK(exists(in_dir("mail/alice1234@chat.test/password")));
    CHECK(exists(in_dir("mail/alice1234@chat.test/enforceE2EEincoming")));
}

static void the_second_login_finds_it(const chatmail_auth_t *auth)
{
    expect_yes(login(auth, "alice1234@chat.test", "a \"fine\" \\ pass/word"),
               CHATMAIL_LOGIN_KNOWN);
    expect_yes(lookup(auth, "alice1234@chat.test"), CHATMAIL_LOGIN_KNOWN);
}

static void another_password_is_wrong(const chatmail_auth_t *auth)
{
    expect_no(login(auth, "alice1234@chat.test", "another password"),
              CHATMAIL_LOGIN_WRONG_PASSWORD);
    expect_no(login(auth, "alice1234@chat.test", ""), CHATMAIL_LOGIN_WRONG_PASSWORD);
}

static void the_policy_is_asked_before_an_address_is_created(const chatmail_auth_t *auth)
{
    expect_no(login(auth, "bob123456@chat.test", "short"), CHATMAIL_LOGIN_NOT_CREATED);
    expect_no(login(auth, "bob@chat.test", "long enough"), CHATMAIL_LOGIN_NOT_CREATED);
    CHECK(!exists(in_dir("mail/bob123456@chat.test")));
}

static void other_addresses_are_unknown(const chatmail_auth_t *auth)
{
    expect_no(login(auth, "alice1234@other.test", "long enough"), CHATMAIL_LOGIN_UNKNOWN_USER);
    expect_no(login(auth, "../alice1234@chat.test", "long enough"), CHATMAIL_LOGIN_UNKNOWN_USER);
    expect_no(login(auth, "", ""), CHATMAIL_LOGIN_UNKNOWN_USER);
    expect_no(lookup(auth, "\xff\xfe@chat.test"), CHATMAIL_LOGIN_UNKNOWN_USER);
}

static void an_operator_blocks_an_address_with_an_empty_file(const chatmail_auth_t *auth)
{
    CHECK(mkdir(in_dir("mail/blocked12@chat.test"), 0700) == 0);
    FILE *file = fopen(in_dir("mail/blocked12@chat.test/password"), "w");
    CHECK(file != NULL && fclose(file) == 0);
    expect_no(login(auth, "blocked12@chat.test", "long enough"), CHATMAIL_LOGIN_BLOCKED);
    expect_no(lookup(auth, "blocked12@chat.test"), CHATMAIL_LOGIN_BLOCKED);
}

static void all_users_are_listed(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_users_t *users = NULL;
    const char *address = NULL;
    int alice = 0, blocked = 0, others = 0;
    CHECK_OK(chatmail_users_new(config, &users, &err));
    for (;;) {
        CHECK_OK(chatmail_users_next(users, &address, &err));
        if (address == NULL)
            break;
        if (strcmp(address, "alice1234@chat.test") == 0)
            alice++;
        else if (strcmp(address, "blocked12@chat.test") == 0)
            blocked++;
        else
            others++;
    }
    CHECK(alice == 1 && blocked == 1 && others == 0);
    /* The end stays the end. */
    CHECK_OK(chatmail_users_next(users, &address, &err));
    CHECK(address == NULL);
    chatmail_users_free(users);
}

static void the_day_of_the_last_login_is_noted(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    struct stat st;
    const char *password = in_dir("mail/alice1234@chat.test/password");
    time_t before = time(NULL);
    CHECK_OK(chatmail_note_login(config, BYTES("alice1234@chat.test"), &err));
    CHECK(stat(password, &st) == 0);
    CHECK(st.st_mtime % 86400 == 0);
    CHECK(before - st.st_mtime < 86400);
    CHECK_OK(chatmail_note_login(config, BYTES("alice1234@other.test"), &err));
    CHECK_OK(chatmail_note_login(config, BYTES("nobody1234@chat.test"), &err));
    CHECK(stat(in_dir("mail/nobody1234@chat.test"), &st) != 0);
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(in_dir(name), "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void a_full_mailbox_is_trimmed(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    uint64_t messages = 77, bytes = 77;
    const char *message = "mail/alice1234@chat.test/cur/1600000000.M1P1.h,S=500000000:2,";
    CHECK(mkdir(in_dir("mail/alice1234@chat.test/cur"), 0700) == 0);
    write_text(message, "");
    write_text("mail/alice1234@chat.test/maildirsize", "524288000S\n500000000 1\n");
    /* Mail that lies elsewhere is somebody else's. */
    CHECK_OK(chatmail_mailbox_trim(config, BYTES("alice1234@chat.test"), BYTES(in_dir("mail")),
                                   &messages, &bytes, &err));
    CHECK(messages == 0 && bytes == 0);
    CHECK(exists(in_dir(message)));
    CHECK_OK(chatmail_mailbox_trim(config, BYTES("alice1234@chat.test"),
                                   BYTES(in_dir("mail/alice1234@chat.test/")), &messages, &bytes,
                                   &err));
    CHECK(messages == 1 && bytes == 500000000);
    CHECK(!exists(in_dir(message)));
}

void logins(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_auth_t *auth = NULL;
    CHECK_OK(chatmail_auth_new(config, &auth, &err));
    the_first_login_creates_the_address(auth);
    the_second_login_finds_it(auth);
    another_password_is_wrong(auth);
    the_policy_is_asked_before_an_address_is_created(auth);
    other_addresses_are_unknown(auth);
    an_operator_blocks_an_address_with_an_empty_file(auth);
    chatmail_auth_free(auth);
    all_users_are_listed(config);
    the_day_of_the_last_login_is_noted(config);
    a_full_mailbox_is_trimmed(config);
}
