//! One message on its way through the filter.

use chatmail_core::filter::{MessageFilter, Origin, RawMessage};
use chatmail_core::mailbox::Mailboxes;

use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;
use crate::pointers::{CType, Owned, ip_address};
use crate::verdict::chatmail_verdict_t;

/// One message on its way through the filter. It is never held whole: 64 KiB of memory are enough
/// for any size.
///
/// The calls come in this order:
///
///     chatmail_message_new_outgoing, or chatmail_message_new_incoming
///     chatmail_message_recipient        once for each
///     either
///         chatmail_message_header       once for each field, in order
///         chatmail_message_end_of_headers
///         chatmail_message_body         any number of chunks
///     or
///         chatmail_message_write        any number of chunks of the raw message
///     chatmail_message_finish
///     chatmail_message_free
///
/// Other orders are CHATMAIL_ERROR_STATE and change nothing. One thread at a time. Free it with
/// chatmail_message_free(), at any point.
pub struct chatmail_message_t {
    stage: Stage,
    mailboxes: Mailboxes,
}

/// What has been fed so far. Boxes, because each step moves the stage.
enum Stage {
    Envelope(Box<MessageFilter>),
    Headers(Box<MessageFilter>),
    Body(Box<MessageFilter>),
    Raw(Box<RawMessage>),
    /// Finished, or stopped by a panic: says nothing more, so above all not "accepted".
    Closed,
}

impl CType for chatmail_message_t {
    type Held = Owned;
}

impl chatmail_message_t {
    fn new(filter: MessageFilter, mailboxes: Mailboxes) -> chatmail_message_t {
        chatmail_message_t {
            stage: Stage::Envelope(Box::new(filter)),
            mailboxes,
        }
    }

    /// Takes the next step. During it the message is closed, and so it stays if a panic comes.
    fn step(
        &mut self,
        next: impl FnOnce(Stage) -> Result<Stage, Stage>,
    ) -> Result<(), chatmail_error_t> {
        let stage = std::mem::replace(&mut self.stage, Stage::Closed);
        let (stage, result) = match next(stage) {
            Ok(stage) => (stage, Ok(())),
            Err(stage) => {
                let why = stage.expects();
                (stage, Err(chatmail_error_t::state(why)))
            }
        };
        self.stage = stage;
        result
    }
}

impl Stage {
    /// For the message of a CHATMAIL_ERROR_STATE.
    fn expects(&self) -> &'static str {
        match self {
            Stage::Envelope(_) => "expected a recipient, a header field or raw bytes",
            Stage::Headers(_) => "expected a header field or the end of the header section",
            Stage::Body(_) => "expected body or the end of the message",
            Stage::Raw(_) => "expected raw bytes or the end of the message",
            Stage::Closed => "the message is finished",
        }
    }
}

/// Starts a message from a user of this relay (submission).
///
/// `login` is the address that the user has logged in as. If it is empty, the message will be
/// refused. `sender` is the envelope sender with or without angle brackets; unless it equals the
/// login, ignoring case, the message will be refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_new_outgoing(
    config: *const chatmail_config_t,
    login: *const u8,
    login_len: usize,
    sender: *const u8,
    sender_len: usize,
    message: *mut *mut chatmail_message_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(message);
        let mailboxes = shared!(config).config.mailboxes();
        let login = bytes!(login, login_len);
        let filter = MessageFilter::new(Origin::Outgoing { login }, bytes!(sender, sender_len));
        out.give(chatmail_message_t::new(filter, mailboxes));
        Ok(())
    })
}

/// Starts a message from another host (port 25).
///
/// `client_ip` is the text of the client's IP address. Any other text, or none, means that it is not
/// known. `sender` is the envelope sender with or without angle brackets, empty for the null sender of
/// reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_new_incoming(
    config: *const chatmail_config_t,
    client_ip: *const u8,
    client_ip_len: usize,
    sender: *const u8,
    sender_len: usize,
    message: *mut *mut chatmail_message_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(message);
        let mailboxes = shared!(config).config.mailboxes();
        let client = ip_address(bytes!(client_ip, client_ip_len));
        let filter = MessageFilter::new(Origin::Incoming { client }, bytes!(sender, sender_len));
        out.give(chatmail_message_t::new(filter, mailboxes));
        Ok(())
    })
}

/// Adds an envelope recipient, with or without angle brackets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_recipient(
    message: *mut chatmail_message_t,
    address: *const u8,
    address_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let message = exclusive!(message);
        let address = bytes!(address, address_len);
        message.step(|stage| match stage {
            Stage::Envelope(mut filter) => {
                filter.recipient(address);
                Ok(Stage::Envelope(filter))
            }
            other => Err(other),
        })
    })
}

/// Adds a header field as milters give it: the name without a colon, the value possibly folded over
/// several lines, with or without the space that follows the colon.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_header(
    message: *mut chatmail_message_t,
    name: *const u8,
    name_len: usize,
    value: *const u8,
    value_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let message = exclusive!(message);
        let name = bytes!(name, name_len);
        let value = bytes!(value, value_len);
        message.step(|stage| match stage {
            Stage::Envelope(mut filter) | Stage::Headers(mut filter) => {
                filter.header(name, value);
                Ok(Stage::Headers(filter))
            }
            other => Err(other),
        })
    })
}

/// Ends the header section.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_end_of_headers(
    message: *mut chatmail_message_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        exclusive!(message).step(|stage| match stage {
            Stage::Envelope(mut filter) | Stage::Headers(mut filter) => {
                filter.end_of_headers();
                Ok(Stage::Body(filter))
            }
            other => Err(other),
        })
    })
}

/// Adds a piece of the body. Where it is cut makes no difference. Lines end with CRLF or LF.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_body(
    message: *mut chatmail_message_t,
    chunk: *const u8,
    chunk_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let message = exclusive!(message);
        let chunk = bytes!(chunk, chunk_len);
        message.step(|stage| match stage {
            Stage::Body(mut filter) => {
                filter.body(chunk);
                Ok(Stage::Body(filter))
            }
            other => Err(other),
        })
    })
}

/// Adds a piece of the raw message (RFC 5322), header section and body in one stream. Where it is
/// cut makes no difference. Lines end with CRLF or LF; dots are not stuffed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_write(
    message: *mut chatmail_message_t,
    chunk: *const u8,
    chunk_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let message = exclusive!(message);
        let chunk = bytes!(chunk, chunk_len);
        message.step(|stage| match stage {
            Stage::Envelope(filter) => {
                let mut raw = Box::new(RawMessage::new(*filter));
                raw.write(chunk);
                Ok(Stage::Raw(raw))
            }
            Stage::Raw(mut raw) => {
                raw.write(chunk);
                Ok(Stage::Raw(raw))
            }
            other => Err(other),
        })
    })
}

/// Ends the message and asks for the verdict.
///
/// Any error means that there is no verdict: answer chatmail_temporary_reply(). The message says
/// nothing more afterwards and waits to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_finish(
    message: *mut chatmail_message_t,
    verdict: *mut *mut chatmail_verdict_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(verdict);
        let message = exclusive!(message);
        let decided = match std::mem::replace(&mut message.stage, Stage::Closed) {
            Stage::Body(filter) => filter.finish(&message.mailboxes),
            Stage::Raw(raw) => raw.finish(&message.mailboxes),
            early => {
                let why = early.expects();
                message.stage = early;
                return Err(chatmail_error_t::state(why));
            }
        };
        out.give(chatmail_verdict_t::from(
            decided.map_err(chatmail_error_t::io)?,
        ));
        Ok(())
    })
}

/// Frees a message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_message_free(message: *mut chatmail_message_t) {
    free!(message);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn half_a_message() -> chatmail_message_t {
        let domain = chatmail_core::address::MailDomain::parse("chat.test").unwrap();
        let mut filter = MessageFilter::new(Origin::Incoming { client: None }, b"");
        filter.end_of_headers();
        chatmail_message_t {
            stage: Stage::Body(Box::new(filter)),
            mailboxes: Mailboxes::new("/nonexistent".into(), domain),
        }
    }

    /// As if the core had panicked in the midst of a chunk.
    pub(crate) unsafe fn step_and_panic(message: *mut chatmail_message_t) -> i32 {
        status(std::ptr::null_mut(), || {
            exclusive!(message).step(|_| panic!("in the midst"))
        })
    }
}
