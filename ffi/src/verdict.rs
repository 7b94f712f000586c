//! What the filter says of a message.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::OnceLock;

use chatmail_core::filter::{Class, HeaderEdit, Reply, Verdict};

use crate::error::CHATMAIL_ERROR_ARGUMENT;
use crate::guard::answer;
use crate::pointers::{Borrowed, CType, Owned, c_pointer, c_text, lend};

/// The message may pass, after the edits of its header section.
pub const CHATMAIL_VERDICT_ACCEPTED: i32 = 1;
/// The message is to be refused with the reply.
pub const CHATMAIL_VERDICT_REFUSED: i32 = 2;

/// A refused message has no class.
pub const CHATMAIL_CLASS_NONE: i32 = 0;
/// Encrypted with OpenPGP as in RFC 3156.
pub const CHATMAIL_CLASS_ENCRYPTED: i32 = 1;
/// The first step of Secure-Join, which cannot be encrypted yet.
pub const CHATMAIL_CLASS_SECURE_JOIN_REQUEST: i32 = 2;
/// A non-delivery report of another mail server.
pub const CHATMAIL_CLASS_DELIVERY_REPORT: i32 = 3;
/// Cleartext, and every recipient allows it.
pub const CHATMAIL_CLASS_CLEARTEXT: i32 = 4;

/// What the filter says of a message.
///
/// May be read from several threads at once. Its strings and edits live as long as it does. Free it
/// with chatmail_verdict_free().
#[derive(Debug)]
pub struct chatmail_verdict_t {
    /// CHATMAIL_CLASS_*; `None` if refused.
    class: Option<i32>,
    refused: Option<RefusalText>,
    edits: Vec<chatmail_edit_t>,
}

/// A refusal in C's strings.
#[derive(Debug)]
struct RefusalText {
    reply: CString,
    reason: CString,
}

/// One change of the header section.
///
/// Belongs to its verdict and lives as long; there is nothing to free.
#[derive(Debug)]
pub struct chatmail_edit_t {
    name: CString,
    index: u32,
    value: Option<CString>,
}

impl CType for chatmail_verdict_t {
    type Held = Owned;
}

impl CType for chatmail_edit_t {
    type Held = Borrowed;
}

impl From<Verdict> for chatmail_verdict_t {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accepted(accepted) => chatmail_verdict_t {
                class: Some(match accepted.class {
                    Class::Encrypted => CHATMAIL_CLASS_ENCRYPTED,
                    Class::SecureJoinRequest => CHATMAIL_CLASS_SECURE_JOIN_REQUEST,
                    Class::DeliveryReport => CHATMAIL_CLASS_DELIVERY_REPORT,
                    Class::Cleartext => CHATMAIL_CLASS_CLEARTEXT,
                }),
                refused: None,
                edits: accepted
                    .edits
                    .into_iter()
                    .map(chatmail_edit_t::from)
                    .collect(),
            },
            Verdict::Refused(refusal) => chatmail_verdict_t {
                class: None,
                refused: Some(RefusalText {
                    reply: c_text(refusal.reply().to_string()),
                    reason: c_text(refusal.to_string()),
                }),
                edits: Vec::new(),
            },
        }
    }
}

impl From<HeaderEdit> for chatmail_edit_t {
    fn from(edit: HeaderEdit) -> Self {
        let (name, index, value) = match edit {
            HeaderEdit::Delete { name, index } => (name, index, None),
            HeaderEdit::Replace { name, index, value } => (name, index, Some(value)),
        };
        chatmail_edit_t {
            name: c_text(name),
            index,
            value: value.map(c_text),
        }
    }
}

/// CHATMAIL_VERDICT_*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_result(verdict: *const chatmail_verdict_t) -> i32 {
    answer(CHATMAIL_ERROR_ARGUMENT, || {
        Ok(match shared!(verdict).refused {
            None => CHATMAIL_VERDICT_ACCEPTED,
            Some(_) => CHATMAIL_VERDICT_REFUSED,
        })
    })
}

/// What kind of message was accepted: CHATMAIL_CLASS_*, CHATMAIL_CLASS_NONE if it was refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_class(verdict: *const chatmail_verdict_t) -> i32 {
    answer(CHATMAIL_ERROR_ARGUMENT, || {
        Ok(shared!(verdict).class.unwrap_or(CHATMAIL_CLASS_NONE))
    })
}

/// The SMTP reply to refuse with, such as `523 Encryption Needed: Invalid Unencrypted Mail`, without
/// a line end. NULL if the message was accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_reply(
    verdict: *const chatmail_verdict_t,
) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(
            shared!(verdict).refused.as_ref().map(|r| &*r.reply),
        ))
    })
}

/// Why the message was refused: one line for the log, with nothing out of the message in it. NULL if
/// it was accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_reason(
    verdict: *const chatmail_verdict_t,
) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(
            shared!(verdict).refused.as_ref().map(|r| &*r.reason),
        ))
    })
}

/// How many edits of the header section are to be made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_edit_count(verdict: *const chatmail_verdict_t) -> usize {
    answer(0, || Ok(shared!(verdict).edits.len()))
}

/// The edit number `index`, counted from 0, in the order they are to be made: of several fields of
/// one name the last comes first, so that no edit moves the next one's target. NULL if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_edit(
    verdict: *const chatmail_verdict_t,
    index: usize,
) -> *const chatmail_edit_t {
    answer(ptr::null(), || {
        Ok(shared!(verdict).edits.get(index).map_or(ptr::null(), lend))
    })
}

/// Name of the field, without a colon.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_edit_name(edit: *const chatmail_edit_t) -> *const c_char {
    answer(ptr::null(), || Ok(shared!(edit).name.as_ptr()))
}

/// Which of the fields of that name, counted from 1 and from the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_edit_index(edit: *const chatmail_edit_t) -> u32 {
    answer(0, || Ok(shared!(edit).index))
}

/// The new value of the field, or NULL to delete it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_edit_value(edit: *const chatmail_edit_t) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(shared!(edit).value.as_deref()))
    })
}

/// The SMTP reply to give when there is no verdict, a temporary failure (451). Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn chatmail_temporary_reply() -> *const c_char {
    static REPLY: OnceLock<CString> = OnceLock::new();
    answer(ptr::null(), || {
        Ok(REPLY
            .get_or_init(|| c_text(Reply::temporary().to_string()))
            .as_ptr())
    })
}

/// Frees a verdict and its edits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_verdict_free(verdict: *mut chatmail_verdict_t) {
    free!(verdict);
}
