/* Messages through the filter. alice, whom login.c has created, takes no cleartext. */
#include <unistd.h>

#include "check.h"

#define ALICE "alice1234@chat.test"

static const char *const fields[][2] = {
    {"Received", " from somewhere by chat.test; Thu, 01 Jan 2026 00:00:00 +0000"},
    {"Received", " from elsewhere by somewhere; Thu, 01 Jan 2026 00:00:00 +0000"},
    {"From", " <" ALICE ">"},
    {"To", " <bob@other.test>"},
    {"Subject", " Where we meet"},
    {"User-Agent", " Mailer/1.0"},
    {"Message-ID", " <1@chat.test>"},
    {"Date", " Thu, 01 Jan 2026 00:00:00 +0000"},
    {"MIME-Version", " 1.0"},
    {"Content-Type", " multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n"
                     "\tboundary=\"frontier\""},
};

static const char encrypted[] =
    "--frontier\r\n"
    "Content-Type: application/pgp-encrypted\r\n"
    "\r\n"
    "Version: 1\r\n"
    "\r\n"
    "--frontier\r\n"
    "Content-Type: application/octet-stream; name=\"encrypted.asc\"\r\n"
    "\r\n"
    "-----BEGIN PGP MESSAGE-----\r\n"
    "\r\n"
    /* One session key packet (X25519) and one of encrypted data, made of random bytes. */
    "wVQDpcd8yivMlKsZOWoCdlsM9rdicK+KbJEGthM3HDzNt3ryBykON3Zyf9gpCdbP\r\n"
    "c4mBMbqQrh5pa+29ebrgQXm/eS9bxMpacZ0Kpld1In0FHggaItDSWwFrFl3T38uf\r\n"
    "yRf9A2vddM9PD/ITMhqjJ/HXMhnUB2QoiR2fYMx8G6bSq2eC7uYvzEIhC2XF3iXW\r\n"
    "WPvGlH/fTFdJGZKEX+Pcd4cp6uF8uELNcxSHBMC3dVdtE48=\r\n"
    "-----END PGP MESSAGE-----\r\n"
    "\r\n"
    "--frontier--\r\n";

/* Of Alice, who has logged in, to somebody elsewhere. */
static chatmail_message_t *outgoing(const chatmail_config_t *config, const char *sender)
{
    chatmail_error_t *err = NULL;
    chatmail_message_t *message = NULL;
    CHECK_OK(chatmail_message_new_outgoing(config, BYTES(ALICE), BYTES(sender), &message, &err));
    CHECK(message != NULL);
    CHECK_OK(chatmail_message_recipient(message, BYTES("bob@other.test"), &err));
    return message;
}

/* To Alice. */
static chatmail_message_t *incoming(const chatmail_config_t *config, const char *sender)
{
    chatmail_error_t *err = NULL;
    chatmail_message_t *message = NULL;
    CHECK_OK(chatmail_message_new_incoming(config, BYTES("192.0.2.1"), BYTES(sender), &message,
                                           &err));
    CHECK(message != NULL);
    CHECK_OK(chatmail_message_recipient(message, BYTES(ALICE), &err));
    return message;
}

static chatmail_verdict_t *finish(chatmail_message_t *message)
{
    chatmail_error_t *err = NULL;
    chatmail_verdict_t *verdict = NULL;
    CHECK_OK(chatmail_message_finish(message, &verdict, &err));
    CHECK(verdict != NULL);
    chatmail_message_free(message);
    return verdict;
}

static void feed(chatmail_message_t *message, const char *body, size_t chunk)
{
    chatmail_error_t *err = NULL;
    size_t len = strlen(body), i;
    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        CHECK_OK(chatmail_message_header(message, BYTES(fields[i][0]), BYTES(fields[i][1]), &err));
    CHECK_OK(chatmail_message_end_of_headers(message, &err));
    for (i = 0; i < len; i += chunk)
        CHECK_OK(chatmail_message_body(message, (const uint8_t *)body + i,
                                       len - i < chunk ? len - i : chunk, &err));
    CHECK_OK(chatmail_message_body(message, NULL, 0, &err));
}

/* Whether there is exactly one edit of that name and index, with that value (NULL: deleted). */
static int has_edit(const chatmail_verdict_t *verdict, const char *name, uint32_t index,
                    const char *value)
{
    size_t i, found = 0;
    for (i = 0; i < chatmail_verdict_edit_count(verdict); i++) {
        const chatmail_edit_t *edit = chatmail_verdict_edit(verdict, i);
        const char *new_value = chatmail_edit_value(edit);
        if (strcmp(chatmail_edit_name(edit), name) == 0 && chatmail_edit_index(edit) == index &&
            (value == NULL ? new_value == NULL
                           : new_value != NULL && strcmp(new_value, value) == 0))
            found++;
    }
    return found == 1;
}

static void an_encrypted_message_passes_with_a_cleaned_header(const chatmail_config_t *config)
{
    size_t chunk;
    for (chunk = 1; chunk <= sizeof(encrypted); chunk = chunk * 3 + 1) {
        chatmail_message_t *message = outgoing(config, ALICE);
        feed(message, encrypted, chunk);
        chatmail_verdict_t *verdict = finish(message);
        CHECK_NULL(chatmail_verdict_reason(verdict));
        CHECK_NULL(chatmail_verdict_reply(verdict));
        CHECK(chatmail_verdict_result(verdict) == CHATMAIL_VERDICT_ACCEPTED);
        CHECK(chatmail_verdict_class(verdict) == CHATMAIL_CLASS_ENCRYPTED);
        CHECK(chatmail_verdict_edit_count(verdict) == 4);
        CHECK(has_edit(verdict, "received", 2, NULL));
        CHECK(has_edit(verdict, "received", 1, NULL));
        CHECK(has_edit(verdict, "user-agent", 1, NULL));
        CHECK(has_edit(verdict, "Subject", 1, "[...]"));
        CHECK(chatmail_verdict_edit(verdict, 4) == NULL);
        chatmail_verdict_free(verdict);
    }
}

static void expect_refused(chatmail_verdict_t *verdict, const char *reply)
{
    CHECK(chatmail_verdict_result(verdict) == CHATMAIL_VERDICT_REFUSED);
    CHECK(chatmail_verdict_class(verdict) == CHATMAIL_CLASS_NONE);
    CHECK_TEXT(chatmail_verdict_reply(verdict), reply);
    CHECK(strlen(chatmail_verdict_reason(verdict)) > 0);
    CHECK(chatmail_verdict_edit_count(verdict) == 0);
    CHECK(chatmail_verdict_edit(verdict, 0) == NULL);
    chatmail_verdict_free(verdict);
}

static void a_cleartext_message_is_refused_with_523(const chatmail_config_t *config)
{
    chatmail_message_t *message = outgoing(config, ALICE);
    feed(message, "Attack at dawn.\r\n", 7);
    expect_refused(finish(message), "523 Encryption Needed: Invalid Unencrypted Mail");
}

static void a_user_cannot_write_in_the_name_of_another(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_message_t *message = outgoing(config, "bob123456@chat.test");
    feed(message, encrypted, 4096);
    expect_refused(finish(message), "553 5.7.1 <bob123456@chat.test>: Sender address rejected: "
                                    "not owned by user " ALICE);

    message = outgoing(config, ALICE);
    CHECK_OK(chatmail_message_header(message, BYTES("From"), BYTES(" bob123456@chat.test"), &err));
    CHECK_OK(chatmail_message_end_of_headers(message, &err));
    expect_refused(finish(message), "500 Invalid FROM <bob123456@chat.test> for <" ALICE ">");
}

static void without_a_login_nobody_sends(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_message_t *message = NULL;
    CHECK_OK(chatmail_message_new_outgoing(config, NULL, 0, BYTES(ALICE), &message, &err));
    feed(message, encrypted, 4096);
    expect_refused(finish(message), "530 5.7.0 Authentication required");
}

static void cleartext_comes_in_only_where_the_recipient_allows_it(const chatmail_config_t *config)
{
    const char *raw = "From: news@other.test\r\nSubject: News\r\n\r\nHello.\r\n";
    const char *marker = in_dir("mail/" ALICE "/enforceE2EEincoming");
    chatmail_error_t *err = NULL;
    chatmail_message_t *message;
    chatmail_verdict_t *verdict;
    size_t i;

    message = incoming(config, "news@other.test");
    CHECK_OK(chatmail_message_write(message, BYTES(raw), &err));
    expect_refused(finish(message), "523 Encryption Needed: Invalid Unencrypted Mail");

    CHECK(unlink(marker) == 0);
    message = incoming(config, "news@other.test");
    for (i = 0; i < strlen(raw); i++)
        CHECK_OK(chatmail_message_write(message, (const uint8_t *)raw + i, 1, &err));
    verdict = finish(message);
    CHECK(chatmail_verdict_result(verdict) == CHATMAIL_VERDICT_ACCEPTED);
    CHECK(chatmail_verdict_class(verdict) == CHATMAIL_CLASS_CLEARTEXT);
    chatmail_verdict_free(verdict);
}

static void calls_out_of_order_are_errors_and_change_nothing(const chatmail_config_t *config)
{
    chatmail_error_t *err = NULL;
    chatmail_verdict_t *verdict = NULL;
    chatmail_message_t *message = outgoing(config, ALICE);

    CHECK_FAILS(chatmail_message_body(message, BYTES("x"), &err), CHATMAIL_ERROR_STATE);
    CHECK_FAILS(chatmail_message_finish(message, &verdict, &err), CHATMAIL_ERROR_STATE);
    CHECK(verdict == NULL);
    feed(message, encrypted, 4096);
    CHECK_FAILS(chatmail_message_recipient(message, BYTES("eve@other.test"), &err),
                CHATMAIL_ERROR_STATE);
    CHECK_FAILS(chatmail_message_header(message, BYTES("X"), BYTES("y"), &err),
                CHATMAIL_ERROR_STATE);
    CHECK_FAILS(chatmail_message_end_of_headers(message, &err), CHATMAIL_ERROR_STATE);
    CHECK_FAILS(chatmail_message_write(message, BYTES("x"), &err), CHATMAIL_ERROR_STATE);
    CHECK_OK(chatmail_message_finish(message, &verdict, &err));
    CHECK(chatmail_verdict_result(verdict) == CHATMAIL_VERDICT_ACCEPTED);
    chatmail_verdict_free(verdict);

    /* A finished message says nothing more. */
    verdict = NULL;
    CHECK_FAILS(chatmail_message_finish(message, &verdict, &err), CHATMAIL_ERROR_STATE);
    CHECK_FAILS(chatmail_message_body(message, BYTES("x"), &err), CHATMAIL_ERROR_STATE);
    CHECK(verdict == NULL);
    chatmail_message_free(message);

    /* Half a message can be left. */
    message = incoming(config, "");
    CHECK_OK(chatmail_message_write(message, BYTES("From: MAILER"), &err));
    CHECK_FAILS(chatmail_message_header(message, BYTES("X"), BYTES("y"), &err),
                CHATMAIL_ERROR_STATE);
    chatmail_message_free(message);
}

void messages(const chatmail_config_t *config)
{
    an_encrypted_message_passes_with_a_cleaned_header(config);
    a_cleartext_message_is_refused_with_523(config);
    a_user_cannot_write_in_the_name_of_another(config);
    without_a_login_nobody_sends(config);
    calls_out_of_order_are_errors_and_change_nothing(config);
    cleartext_comes_in_only_where_the_recipient_allows_it(config);
    CHECK(strncmp(chatmail_temporary_reply(), "451 4.3.0 ", 10) == 0);
}
