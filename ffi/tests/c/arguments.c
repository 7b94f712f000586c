/* NULL and other odd arguments: an error or nothing, never a crash. */
#include "check.h"

static void freeing_null_does_nothing(void)
{
    chatmail_error_free(NULL);
    chatmail_bytes_free(NULL);
    chatmail_config_free(NULL);
    chatmail_auth_free(NULL);
    chatmail_login_free(NULL);
    chatmail_users_free(NULL);
    chatmail_message_free(NULL);
    chatmail_verdict_free(NULL);
}

static void questions_to_null_have_an_answer(void)
{
    size_t len = 77;
    CHECK(chatmail_error_status(NULL) == CHATMAIL_ERROR_ARGUMENT);
    CHECK(chatmail_error_message(NULL) == NULL);
    CHECK(chatmail_bytes_data(NULL, &len) == NULL);
    CHECK(len == 77);
    CHECK(chatmail_config_warning_count(NULL) == 0);
    CHECK(chatmail_config_warning(NULL, 0) == NULL);
    CHECK(chatmail_login_result(NULL) == CHATMAIL_ERROR_ARGUMENT);
    CHECK(chatmail_login_address(NULL) == NULL);
    CHECK(chatmail_login_home(NULL) == NULL);
    CHECK(chatmail_login_password(NULL) == NULL);
    CHECK(chatmail_login_reason(NULL) == NULL);
    CHECK(chatmail_login_warning_count(NULL) == 0);
    CHECK(chatmail_login_warning(NULL, 0) == NULL);
    CHECK(chatmail_verdict_result(NULL) == CHATMAIL_ERROR_ARGUMENT);
    CHECK(chatmail_verdict_class(NULL) == CHATMAIL_ERROR_ARGUMENT);
    CHECK(chatmail_verdict_reply(NULL) == NULL);
    CHECK(chatmail_verdict_reason(NULL) == NULL);
    CHECK(chatmail_verdict_edit_count(NULL) == 0);
    CHECK(chatmail_verdict_edit(NULL, 0) == NULL);
    CHECK(chatmail_edit_name(NULL) == NULL);
    CHECK(chatmail_edit_index(NULL) == 0);
    CHECK(chatmail_edit_value(NULL) == NULL);
}

#define CHECK_ARGUMENT(call) CHECK_FAILS(call, CHATMAIL_ERROR_ARGUMENT)

static void a_null_object_is_an_argument_error(void)
{
    chatmail_error_t *err = NULL;
    chatmail_auth_t *auth = NULL;
    chatmail_login_t *login = NULL;
    chatmail_users_t *users = NULL;
    chatmail_bytes_t *value = NULL;
    chatmail_message_t *message = NULL;
    chatmail_verdict_t *verdict = NULL;
    const char *address = "untouched";
    int32_t answer = 77;
    size_t spooled = 77;
    uint64_t messages = 77, removed = 77;

    CHECK_ARGUMENT(chatmail_auth_new(NULL, &auth, &err));
    CHECK_ARGUMENT(chatmail_auth_login(NULL, BYTES("a"), BYTES("b"), BYTES("c"), &login, &err));
    CHECK_ARGUMENT(chatmail_auth_lookup(NULL, BYTES("a"), &login, &err));
    CHECK_ARGUMENT(chatmail_users_new(NULL, &users, &err));
    CHECK_ARGUMENT(chatmail_users_next(NULL, &address, &err));
    CHECK_ARGUMENT(chatmail_note_login(NULL, BYTES("a"), &err));
    CHECK_ARGUMENT(
        chatmail_mailbox_trim(NULL, BYTES("a"), BYTES("/"), &messages, &removed, &err));
    CHECK_ARGUMENT(chatmail_metadata_get(NULL, BYTES("a"), BYTES("b"), &value, &err));
    CHECK_ARGUMENT(chatmail_metadata_changes_set(NULL, BYTES("a"), BYTES("b"), &err));
    CHECK_ARGUMENT(chatmail_metadata_changes_remove(NULL, BYTES("a"), &err));
    CHECK_ARGUMENT(chatmail_metadata_store(NULL, BYTES("a"), NULL, &answer, &err));
    CHECK_ARGUMENT(chatmail_push_notify(NULL, BYTES("a"), BYTES("b"), &spooled, &err));
    CHECK_ARGUMENT(chatmail_message_new_outgoing(NULL, BYTES("a"), BYTES("a"), &message, &err));
    CHECK_ARGUMENT(chatmail_message_new_incoming(NULL, BYTES("::1"), BYTES("a"), &message, &err));
    CHECK_ARGUMENT(chatmail_message_recipient(NULL, BYTES("a"), &err));
    CHECK_ARGUMENT(chatmail_message_header(NULL, BYTES("a"), BYTES("b"), &err));
    CHECK_ARGUMENT(chatmail_message_end_of_headers(NULL, &err));
    CHECK_ARGUMENT(chatmail_message_body(NULL, BYTES("a"), &err));
    CHECK_ARGUMENT(chatmail_message_write(NULL, BYTES("a"), &err));
    CHECK_ARGUMENT(chatmail_message_finish(NULL, &verdict, &err));

    /* Outputs are written only on success. */
    CHECK(auth == NULL && login == NULL && users == NULL && value == NULL);
    CHECK(message == NULL && verdict == NULL);
    CHECK_TEXT(address, "untouched");
    CHECK(answer == 77 && spooled == 77);
}

static void a_null_output_is_an_argument_error(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_auth_t *auth = NULL;
    chatmail_users_t *users = NULL;
    chatmail_metadata_changes_t *changes = NULL;
    uint64_t number = 77;
    int32_t answer = 77;

    CHECK_ARGUMENT(chatmail_config_load(BYTES(in_dir("chatmail.ini")), NULL, &err));
    CHECK_ARGUMENT(chatmail_auth_new(config, NULL, &err));
    CHECK_OK(chatmail_auth_new(config, &auth, &err));
    CHECK_ARGUMENT(chatmail_auth_login(auth, BYTES("carol1234@chat.test"), BYTES("long enough"),
                                       BYTES(""), NULL, &err));
    CHECK(!exists(in_dir("mail/carol1234@chat.test")));
    CHECK_ARGUMENT(chatmail_auth_lookup(auth, BYTES("a"), NULL, &err));
    chatmail_auth_free(auth);
    CHECK_ARGUMENT(chatmail_mailbox_trim(config, BYTES("a"), BYTES("/"), NULL, &number, &err));
    CHECK_ARGUMENT(chatmail_mailbox_trim(config, BYTES("a"), BYTES("/"), &number, NULL, &err));
    CHECK(number == 77);
    CHECK_ARGUMENT(chatmail_users_new(config, NULL, &err));
    CHECK_OK(chatmail_users_new(config, &users, &err));
    CHECK_ARGUMENT(chatmail_users_next(users, NULL, &err));
    chatmail_users_free(users);
    CHECK_ARGUMENT(chatmail_metadata_get(config, BYTES("a"), BYTES("b"), NULL, &err));
    CHECK_ARGUMENT(chatmail_metadata_changes_new(NULL, &err));
    CHECK_OK(chatmail_metadata_changes_new(&changes, &err));
    CHECK_ARGUMENT(chatmail_metadata_store(config, BYTES("a"), changes, NULL, &err));
    CHECK_ARGUMENT(chatmail_metadata_store(config, BYTES("a"), NULL, &answer, &err));
    CHECK(answer == 77);
    chatmail_metadata_changes_free(changes);
    CHECK_ARGUMENT(chatmail_push_notify(config, BYTES("a"), BYTES("b"), NULL, &err));
    CHECK_ARGUMENT(chatmail_message_new_outgoing(config, BYTES("a"), BYTES("a"), NULL, &err));
    CHECK_ARGUMENT(chatmail_message_new_incoming(config, BYTES("::1"), BYTES("a"), NULL, &err));
}

static void odd_bytes_are_an_argument_error(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_config_t *other = NULL;
    uint64_t messages = 77, removed = 77;
    /* A length without data, and one that no object can have. */
    CHECK_ARGUMENT(chatmail_note_login(config, NULL, 5, &err));
    CHECK_ARGUMENT(chatmail_mailbox_trim(config, NULL, 5, BYTES("/"), &messages, &removed, &err));
    CHECK_ARGUMENT(chatmail_mailbox_trim(config, BYTES("a"), NULL, 5, &messages, &removed, &err));
    CHECK_ARGUMENT(chatmail_note_login(config, (const uint8_t *)"a", (size_t)-1, &err));
    CHECK(chatmail_note_login(config, NULL, 5, NULL) == CHATMAIL_ERROR_ARGUMENT);
    /* Nothing, and a NUL: a file that does not exist. */
    CHECK_FAILS(chatmail_config_load(NULL, 0, &other, &err), CHATMAIL_ERROR_CONFIG);
    CHECK_FAILS(chatmail_config_load((const uint8_t *)"a\0b", 3, &other, &err),
                CHATMAIL_ERROR_CONFIG);
    CHECK(other == NULL);
}

static void a_client_without_an_ip_address_is_not_an_error(const chatmail_config_t *config)
{
    const char *const not_known[] = {"", "unknown", "[::1]"};
    chatmail_error_t *err = NULL;
    size_t i;
    for (i = 0; i < 3; i++) {
        chatmail_message_t *message = NULL;
        CHECK_OK(chatmail_message_new_incoming(config, BYTES(not_known[i]), NULL, 0, &message,
                                               &err));
        CHECK(message != NULL);
        chatmail_message_free(message);
    }
}

void odd_arguments(const chatmail_config_t *config)
{
    freeing_null_does_nothing();
    questions_to_null_have_an_answer();
    a_null_object_is_an_argument_error();
    a_null_output_is_an_argument_error(config);
    odd_bytes_are_an_argument_error(config);
    a_client_without_an_ip_address_is_not_an_error(config);
}
