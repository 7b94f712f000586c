/*
 * libchatmail: what a chatmail relay decides, for C.
 *
 * Made by cbindgen from ffi/src; do not edit.
 *
 *
 * Example
 * -------
 *
 *     chatmail_error_t *err = NULL;
 *     chatmail_config_t *config = NULL;
 *     chatmail_auth_t *auth = NULL;
 *     chatmail_login_t *login = NULL;
 *     const char *path = "/etc/chatmail.ini";
 *
 *     if (chatmail_config_load((const uint8_t *)path, strlen(path), &config, &err) ||
 *         chatmail_auth_new(config, &auth, &err) ||
 *         chatmail_auth_login(auth, address, address_len, password, password_len,
 *                             client_ip, client_ip_len, &login, &err))
 *         fprintf(stderr, "cannot tell: %s\n", chatmail_error_message(err));
 *     else if (chatmail_login_home(login) != NULL)
 *         printf("welcome to %s\n", chatmail_login_home(login));
 *     else
 *         printf("no: %s\n", chatmail_login_reason(login));
 *
 *     chatmail_error_free(err);
 *     chatmail_login_free(login);
 *     chatmail_auth_free(auth);
 *     chatmail_config_free(config);
 *
 *
 * Conventions
 * -----------
 *
 * Names      Everything is prefixed chatmail_ or CHATMAIL_. A function whose first argument is a
 *            chatmail_x_t is a method of that type. All types are opaque.
 *
 * Status     A function that can fail returns int32_t: CHATMAIL_OK (0), or a negative
 *            CHATMAIL_ERROR_* when it could not do its work. An error means "could not decide". A
 *            mail program turns it into a temporary failure: never into "yes", never into "no".
 *            A "no" (wrong password, refused message) is an ordinary result, not an error.
 *
 * Errors     Such a function takes a last argument `chatmail_error_t **err`. It may be NULL. On
 *            failure it receives an error object with a message for the log, to be freed with
 *            chatmail_error_free(). On success *err is left alone, so set it to NULL beforehand.
 *            There is no "last error" of the library or of a thread.
 *
 * Outputs    Are written only on success. No argument is both input and output.
 *
 * Bytes      Addresses, passwords, paths and mail are a pair (const uint8_t *data, size_t len):
 *            any bytes, no NUL at the end needed. (NULL, 0) is empty. They are borrowed for the
 *            call only; the library keeps no pointer into them.
 *
 * Ownership  What a _new, a _load or an output of type chatmail_x_t ** gives is owned by the caller,
 *            who frees it once with chatmail_x_free(). Freeing NULL does nothing. An object keeps
 *            what it needs of the objects it was made from: those may be freed earlier.
 *            A `const char *` or `const chatmail_x_t *` that a function returns belongs to the
 *            object it was asked from and lives as long as that object does, unless said otherwise.
 *            Never free it.
 *
 * NULL       In any other place NULL is CHATMAIL_ERROR_ARGUMENT. A function without a status
 *            answers NULL with NULL or 0, and one that returns a code with
 *            CHATMAIL_ERROR_ARGUMENT.
 *
 * Threads    A function that takes `const chatmail_x_t *` may run in several threads at once on the
 *            same object. One that takes `chatmail_x_t *` needs the object for itself. Different
 *            objects are independent, and an object may move between threads. The library starts
 *            no thread, installs no signal handler, writes to no log and opens no network
 *            connection.
 *
 * Fork       After fork() both processes have a copy of each object and may use and free it, if no
 *            other thread was inside the library during fork(). They share the files as any two
 *            processes do: counters, invitations and sign-up rates lose nothing.
 *
 * Panics     A bug inside the library becomes CHATMAIL_ERROR_PANIC. The object in use must then
 *            only be freed.
 *
 * Codes      Are never renumbered or reused. Later versions may add some: treat a code you do not
 *            know like an error.
 */

#ifndef CHATMAIL_H
#define CHATMAIL_H

#include <stddef.h>
#include <stdint.h>

/*
 Version of this header, as in `MAJOR.MINOR.PATCH`.
 */
#define CHATMAIL_VERSION_MAJOR 0

/*
 See CHATMAIL_VERSION_MAJOR.
 */
#define CHATMAIL_VERSION_MINOR 1

/*
 See CHATMAIL_VERSION_MAJOR.
 */
#define CHATMAIL_VERSION_PATCH 0

/*
 Moves with every incompatible change, together with the number in `libchatmail.so.N`.
 */
#define CHATMAIL_ABI_VERSION 1

/*
 The call did its work.
 */
#define CHATMAIL_OK 0

/*
 An argument is NULL, out of range, or a code this version does not know: a bug of the caller.
 */
#define CHATMAIL_ERROR_ARGUMENT -1

/*
 The configuration cannot be read, or a value in it does not parse.
 */
#define CHATMAIL_ERROR_CONFIG -2

/*
 The host did not let us find out or store something: disk, permissions, memory.
 */
#define CHATMAIL_ERROR_IO -3

/*
 Calls out of order, for example a body before the end of the header section.
 */
#define CHATMAIL_ERROR_STATE -4

/*
 A bug in the library. The message says where.
 */
#define CHATMAIL_ERROR_PANIC -5

/*
 Yes: the address exists, and in a login the password is right.
 */
#define CHATMAIL_LOGIN_KNOWN 1

/*
 Yes: the address did not exist; now it does, with this password.
 */
#define CHATMAIL_LOGIN_CREATED 2

/*
 No: not an address of this relay, or in a look-up one that does not exist.
 */
#define CHATMAIL_LOGIN_UNKNOWN_USER 3

/*
 No: the address exists and has another password.
 */
#define CHATMAIL_LOGIN_WRONG_PASSWORD 4

/*
 No: the address exists and the operator has blocked it.
 */
#define CHATMAIL_LOGIN_BLOCKED 5

/*
 No: the address does not exist and may not be created.
 */
#define CHATMAIL_LOGIN_NOT_CREATED 6

/*
 The changes were stored.
 */
#define CHATMAIL_METADATA_STORED 1

/*
 There was nothing to change: a value is empty, or an entry to remove has no value.
 */
#define CHATMAIL_METADATA_NOTHING 2

/*
 A client may not set the key, or the value is not valid for it. Nothing was changed.
 */
#define CHATMAIL_METADATA_REFUSED 3

/*
 A value is longer than CHATMAIL_METADATA_VALUE_MAX. Nothing was changed.
 */
#define CHATMAIL_METADATA_TOO_LONG 4

/*
 Longest value that can be set, in bytes.
 */
#define CHATMAIL_METADATA_VALUE_MAX 1024

/*
 The message may pass, after the edits of its header section.
 */
#define CHATMAIL_VERDICT_ACCEPTED 1

/*
 The message is to be refused with the reply.
 */
#define CHATMAIL_VERDICT_REFUSED 2

/*
 A refused message has no class.
 */
#define CHATMAIL_CLASS_NONE 0

/*
 Encrypted with OpenPGP as in RFC 3156.
 */
#define CHATMAIL_CLASS_ENCRYPTED 1

/*
 The first step of Secure-Join, which cannot be encrypted yet.
 */
#define CHATMAIL_CLASS_SECURE_JOIN_REQUEST 2

/*
 A non-delivery report of another mail server.
 */
#define CHATMAIL_CLASS_DELIVERY_REPORT 3

/*
 Cleartext, and every recipient allows it.
 */
#define CHATMAIL_CLASS_CLEARTEXT 4

/*
 Answers logins and look-ups of users. Make one and keep it: it remembers, in at most 2 MB, which
 passwords it has verified, so that a repeated login costs no SHA512-CRYPT. Nothing of a mailbox is
 remembered: a changed, emptied or removed `password` counts at the next login.

 May be used from several threads at once. Free it with chatmail_auth_free().
 */
typedef struct chatmail_auth_t chatmail_auth_t;

/*
 Bytes that the library gives away, such as a METADATA value.

 May be read from several threads at once. Free them with chatmail_bytes_free().
 */
typedef struct chatmail_bytes_t chatmail_bytes_t;

/*
 A chatmail.ini, read once. A later change of the file does not reach it.

 May be used from several threads at once. Objects made from it do not need it afterwards. Free it
 with chatmail_config_free().
 */
typedef struct chatmail_config_t chatmail_config_t;

/*
 One change of the header section.

 Belongs to its verdict and lives as long; there is nothing to free.
 */
typedef struct chatmail_edit_t chatmail_edit_t;

/*
 Why a call failed.

 Given through the `err` argument of the call. May be read from several threads at once. Its
 message lives as long as it does. Free it with chatmail_error_free().
 */
typedef struct chatmail_error_t chatmail_error_t;

/*
 The answer to a login or a look-up.

 May be read from several threads at once. Its strings live as long as it does. Free it with
 chatmail_login_free().
 */
typedef struct chatmail_login_t chatmail_login_t;

/*
 One message on its way through the filter. It is never held whole: 64 KiB of memory are enough
 for any size.

 The calls come in this order:

     chatmail_message_new_outgoing, or chatmail_message_new_incoming
     chatmail_message_recipient        once for each
     either
         chatmail_message_header       once for each field, in order
         chatmail_message_end_of_headers
         chatmail_message_body         any number of chunks
     or
         chatmail_message_write        any number of chunks of the raw message
     chatmail_message_finish
     chatmail_message_free

 Other orders are CHATMAIL_ERROR_STATE and change nothing. One thread at a time. Free it with
 chatmail_message_free(), at any point.
 */
typedef struct chatmail_message_t chatmail_message_t;

/*
 The changes of one SETMETADATA command, stored together or not at all (RFC 5464 section 4.3).

 Takes at most some 25 kB, however many changes there are. One thread at a time. Free it with
 chatmail_metadata_changes_free().
 */
typedef struct chatmail_metadata_changes_t chatmail_metadata_changes_t;

/*
 A walk over all addresses of the relay, in no order.

 One thread at a time. Free it with chatmail_users_free(), at any point.
 */
typedef struct chatmail_users_t chatmail_users_t;

/*
 What the filter says of a message.

 May be read from several threads at once. Its strings and edits live as long as it does. Free it
 with chatmail_verdict_free().
 */
typedef struct chatmail_verdict_t chatmail_verdict_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Version of the library that is running, `"MAJOR.MINOR.PATCH"`. Lives for ever.
 */
const char *chatmail_version(void);

/*
 ABI version of the library that is running. A program that loads the library by hand compares it
 with CHATMAIL_ABI_VERSION before it calls anything else.
 */
uint32_t chatmail_abi_version(void);

/*
 The status of the call that failed: CHATMAIL_ERROR_*.
 */
int32_t chatmail_error_status(const chatmail_error_t *error);

/*
 One line for the log, without a line end. It names files and configuration keys, never a
 password or anything out of a message.
 */
const char *chatmail_error_message(const chatmail_error_t *error);

/*
 Frees an error.
 */
void chatmail_error_free(chatmail_error_t *error);

/*
 Reads a chatmail.ini.

 CHATMAIL_ERROR_CONFIG if it is missing, lacks mail_domain, or has a value that does not parse;
 the message names file, key and value.
 */
int32_t chatmail_config_load(const uint8_t *path,
                             size_t path_len,
                             chatmail_config_t **config,
                             chatmail_error_t **err);

/*
 How many warnings there are: one for each key of the file that this version does not know, and for
 each value that is likely a mistake.
 */
size_t chatmail_config_warning_count(const chatmail_config_t *config);

/*
 The warning number `index`, counted from 0: one line for the log. NULL if there is none.
 */
const char *chatmail_config_warning(const chatmail_config_t *config, size_t index);

/*
 Frees a configuration.
 */
void chatmail_config_free(chatmail_config_t *config);

/*
 Makes an authenticator for the relay of `config`.
 */
int32_t chatmail_auth_new(const chatmail_config_t *config,
                          chatmail_auth_t **auth,
                          chatmail_error_t **err);

/*
 Verifies a login. The first login of an unknown address creates it, if the sign-up policy of the
 configuration allows that.

 `client_ip` is the text of the client's IP address, for the limits on new addresses of one network.
 Empty, or no IP address: it is not known, and those limits do not apply. An IPv4 address mapped
 to IPv6 (`::ffff:192.0.2.1`) counts as IPv4.

 A first login, or one this authenticator has not verified before, takes about 2 ms of CPU, the
 cost of SHA512-CRYPT. A password may hold any byte but NUL.
 */
int32_t chatmail_auth_login(const chatmail_auth_t *auth,
                            const uint8_t *address,
                            size_t address_len,
                            const uint8_t *password,
                            size_t password_len,
                            const uint8_t *client_ip,
                            size_t client_ip_len,
                            chatmail_login_t **login,
                            chatmail_error_t **err);

/*
 Looks an existing user up and creates nothing: for userdb and credentials look-ups. The result is
 CHATMAIL_LOGIN_KNOWN, CHATMAIL_LOGIN_UNKNOWN_USER or CHATMAIL_LOGIN_BLOCKED.
 */
int32_t chatmail_auth_lookup(const chatmail_auth_t *auth,
                             const uint8_t *address,
                             size_t address_len,
                             chatmail_login_t **login,
                             chatmail_error_t **err);

/*
 Frees an authenticator.
 */
void chatmail_auth_free(chatmail_auth_t *auth);

/*
 CHATMAIL_LOGIN_*.
 */
int32_t chatmail_login_result(const chatmail_login_t *login);

/*
 The address in lower case, which is the name to go on with. NULL unless the result is a yes.
 */
const char *chatmail_login_address(const chatmail_login_t *login);

/*
 The mailbox directory: home and maildir in one. NULL unless the result is a yes.
 */
const char *chatmail_login_home(const chatmail_login_t *login);

/*
 The stored password hash with its scheme, `{SHA512-CRYPT}$6$...`. NULL unless the result is a
 yes. Keep it out of logs.
 */
const char *chatmail_login_password(const chatmail_login_t *login);

/*
 Why it is a no: one line for the log, with neither the address nor the password in it. NULL if
 the result is a yes.
 */
const char *chatmail_login_reason(const chatmail_login_t *login);

/*
 How many warnings there are: one for each limit of the host that could not be read when an
 address was created.
 */
size_t chatmail_login_warning_count(const chatmail_login_t *login);

/*
 The warning number `index`, counted from 0: one line for the log. NULL if there is none.
 */
const char *chatmail_login_warning(const chatmail_login_t *login, size_t index);

/*
 Frees a login.
 */
void chatmail_login_free(chatmail_login_t *login);

/*
 Starts a walk over the addresses that have a mailbox directory. CHATMAIL_ERROR_IO if the
 directory of mailboxes cannot be read.
 */
int32_t chatmail_users_new(const chatmail_config_t *config,
                           chatmail_users_t **users,
                           chatmail_error_t **err);

/*
 The next address; at the end `*address` becomes NULL. It lives until the next call.

 After CHATMAIL_ERROR_IO the walk may be continued: it goes on behind the entry that could not be
 read.
 */
int32_t chatmail_users_next(chatmail_users_t *users, const char **address, chatmail_error_t **err);

/*
 Frees a walk, whether it came to its end or not.
 */
void chatmail_users_free(chatmail_users_t *users);

/*
 Notes that `address` has logged in today. What is stored is the day (UTC), not the hour, and only
 when it changes.

 CHATMAIL_ERROR_IO if it cannot be stored. An address of another domain, or without an account, has
 no last login; that is not an error.
 */
int32_t chatmail_note_login(const chatmail_config_t *config,
                            const uint8_t *address,
                            size_t address_len,
                            chatmail_error_t **err);

/*
 Makes room in the mailbox of `address`, if it is filled to more than 75 % of max_mailbox_size,
 until it is filled to 70 %: first large messages that were seen, then the oldest, none of the
 last 24 hours. To be called whenever something was stored: as long as there is room it costs the
 reading of one small file.

 `maildir` is the path under which the caller stores the mail of `address`. Nothing happens if
 that is not the mailbox directory of the configuration: it is somebody else's mail then.

 `*messages` and `*bytes` become what was removed, often 0. CHATMAIL_ERROR_IO if a folder could not
 be read or a message not be removed; others may be gone by then.
 */
int32_t chatmail_mailbox_trim(const chatmail_config_t *config,
                              const uint8_t *address,
                              size_t address_len,
                              const uint8_t *maildir,
                              size_t maildir_len,
                              uint64_t *messages,
                              uint64_t *bytes,
                              chatmail_error_t **err);

/*
 A METADATA value (RFC 5464) for the user `address`.

 `key` is what Dovecot hands to a dict: `priv/<guid>/devicetoken`,
 `shared/<guid>/vendor/vendor.dovecot/pvt/server/vendor/deltachat/irohrelay`. `*value` becomes NULL
 where there is no value; else free it with chatmail_bytes_free().

 The key `.../turn` asks another service of this host over a Unix socket and may take 5 s.
 */
int32_t chatmail_metadata_get(const chatmail_config_t *config,
                              const uint8_t *address,
                              size_t address_len,
                              const uint8_t *key,
                              size_t key_len,
                              chatmail_bytes_t **value,
                              chatmail_error_t **err);

/*
 Makes an object without changes.
 */
int32_t chatmail_metadata_changes_new(chatmail_metadata_changes_t **changes,
                                      chatmail_error_t **err);

/*
 Adds the change that sets a value; `key` is as in chatmail_metadata_get(). Setting a device token
 adds it to those the user has: the newest 20 are kept.

 A value that cannot be set is not an error here: it decides the answer of chatmail_metadata_store().
 */
int32_t chatmail_metadata_changes_set(chatmail_metadata_changes_t *changes,
                                      const uint8_t *key,
                                      size_t key_len,
                                      const uint8_t *value,
                                      size_t value_len,
                                      chatmail_error_t **err);

/*
 Adds the change that removes a value, as a client asks for with NIL. For device tokens it removes
 all of them. An unknown key has no value to remove.
 */
int32_t chatmail_metadata_changes_remove(chatmail_metadata_changes_t *changes,
                                         const uint8_t *key,
                                         size_t key_len,
                                         chatmail_error_t **err);

/*
 Stores all changes for the user `address`, or none. `*answer` becomes CHATMAIL_METADATA_*. The
 changes stay as they are and must be freed.
 */
int32_t chatmail_metadata_store(const chatmail_config_t *config,
                                const uint8_t *address,
                                size_t address_len,
                                const chatmail_metadata_changes_t *changes,
                                int32_t *answer,
                                chatmail_error_t **err);

/*
 Frees changes.
 */
void chatmail_metadata_changes_free(chatmail_metadata_changes_t *changes);

/*
 The bytes, and in `*len` how many there are. Behind them stands a NUL that `*len` does not
 count. NULL only if an argument is NULL.
 */
const uint8_t *chatmail_bytes_data(const chatmail_bytes_t *bytes, size_t *len);

/*
 Frees bytes.
 */
void chatmail_bytes_free(chatmail_bytes_t *bytes);

/*
 Spools push notifications for a message that was stored for `recipient`: one for each of its
 device tokens, none if the message is from the recipient itself. The push service picks them up.

 It counts the message and its notifications in MAILBOXES_DIR/.chatmail/counters, where other
 processes do so, too; it waits for them no longer than 50 ms, and then leaves the message uncounted.

 `from_header` is the value of the From header field as it stands in the message. `*spooled`
 becomes the number of notifications, often 0. A notification replaces one for the same device that
 has not been sent yet.
 */
int32_t chatmail_push_notify(const chatmail_config_t *config,
                             const uint8_t *recipient,
                             size_t recipient_len,
                             const uint8_t *from_header,
                             size_t from_header_len,
                             size_t *spooled,
                             chatmail_error_t **err);

/*
 Starts a message from a user of this relay (submission).

 `login` is the address that the user has logged in as. If it is empty, the message will be
 refused. `sender` is the envelope sender with or without angle brackets; unless it equals the
 login, ignoring case, the message will be refused.
 */
int32_t chatmail_message_new_outgoing(const chatmail_config_t *config,
                                      const uint8_t *login,
                                      size_t login_len,
                                      const uint8_t *sender,
                                      size_t sender_len,
                                      chatmail_message_t **message,
                                      chatmail_error_t **err);

/*
 Starts a message from another host (port 25).

 `client_ip` is the text of the client's IP address. Any other text, or none, means that it is not
 known. `sender` is the envelope sender with or without angle brackets, empty for the null sender of
 reports.
 */
int32_t chatmail_message_new_incoming(const chatmail_config_t *config,
                                      const uint8_t *client_ip,
                                      size_t client_ip_len,
                                      const uint8_t *sender,
                                      size_t sender_len,
                                      chatmail_message_t **message,
                                      chatmail_error_t **err);

/*
 Adds an envelope recipient, with or without angle brackets.
 */
int32_t chatmail_message_recipient(chatmail_message_t *message,
                                   const uint8_t *address,
                                   size_t address_len,
                                   chatmail_error_t **err);

/*
 Adds a header field as milters give it: the name without a colon, the value possibly folded over
 several lines, with or without the space that follows the colon.
 */
int32_t chatmail_message_header(chatmail_message_t *message,
                                const uint8_t *name,
                                size_t name_len,
                                const uint8_t *value,
                                size_t value_len,
                                chatmail_error_t **err);

/*
 Ends the header section.
 */
int32_t chatmail_message_end_of_headers(chatmail_message_t *message, chatmail_error_t **err);

/*
 Adds a piece of the body. Where it is cut makes no difference. Lines end with CRLF or LF.
 */
int32_t chatmail_message_body(chatmail_message_t *message,
                              const uint8_t *chunk,
                              size_t chunk_len,
                              chatmail_error_t **err);

/*
 Adds a piece of the raw message (RFC 5322), header section and body in one stream. Where it is
 cut makes no difference. Lines end with CRLF or LF; dots are not stuffed.
 */
int32_t chatmail_message_write(chatmail_message_t *message,
                               const uint8_t *chunk,
                               size_t chunk_len,
                               chatmail_error_t **err);

/*
 Ends the message and asks for the verdict.

 Any error means that there is no verdict: answer chatmail_temporary_reply(). The message says
 nothing more afterwards and waits to be freed.
 */
int32_t chatmail_message_finish(chatmail_message_t *message,
                                chatmail_verdict_t **verdict,
                                chatmail_error_t **err);

/*
 Frees a message.
 */
void chatmail_message_free(chatmail_message_t *message);

/*
 CHATMAIL_VERDICT_*.
 */
int32_t chatmail_verdict_result(const chatmail_verdict_t *verdict);

/*
 What kind of message was accepted: CHATMAIL_CLASS_*, CHATMAIL_CLASS_NONE if it was refused.
 */
int32_t chatmail_verdict_class(const chatmail_verdict_t *verdict);

/*
 The SMTP reply to refuse with, such as `523 Encryption Needed: Invalid Unencrypted Mail`, without
 a line end. NULL if the message was accepted.
 */
const char *chatmail_verdict_reply(const chatmail_verdict_t *verdict);

/*
 Why the message was refused: one line for the log, with nothing out of the message in it. NULL if
 it was accepted.
 */
const char *chatmail_verdict_reason(const chatmail_verdict_t *verdict);

/*
 How many edits of the header section are to be made.
 */
size_t chatmail_verdict_edit_count(const chatmail_verdict_t *verdict);

/*
 The edit number `index`, counted from 0, in the order they are to be made: of several fields of
 one name the last comes first, so that no edit moves the next one's target. NULL if there is none.
 */
const chatmail_edit_t *chatmail_verdict_edit(const chatmail_verdict_t *verdict, size_t index);

/*
 Name of the field, without a colon.
 */
const char *chatmail_edit_name(const chatmail_edit_t *edit);

/*
 Which of the fields of that name, counted from 1 and from the top.
 */
uint32_t chatmail_edit_index(const chatmail_edit_t *edit);

/*
 The new value of the field, or NULL to delete it.
 */
const char *chatmail_edit_value(const chatmail_edit_t *edit);

/*
 The SMTP reply to give when there is no verdict, a temporary failure (451). Lives for ever.
 */
const char *chatmail_temporary_reply(void);

/*
 Frees a verdict and its edits.
 */
void chatmail_verdict_free(chatmail_verdict_t *verdict);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CHATMAIL_H */
