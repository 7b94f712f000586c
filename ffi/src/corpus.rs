//! The core's corpus of messages through the C functions.

use std::ffi::{CStr, c_char};
use std::fs;
use std::path::Path;
use std::ptr::null_mut;

use self::table::{ENFORCING, Expected, OPEN, Row};
use crate::config::*;
use crate::error::{CHATMAIL_OK, chatmail_error_t};
use crate::message::*;
use crate::verdict::*;

#[path = "../../chatmail-core/tests/corpus/mod.rs"]
mod table;

/// No error object is wanted.
const NO_ERR: *mut *mut chatmail_error_t = null_mut();

fn relay(dir: &Path) -> *mut chatmail_config_t {
    for (address, files) in [
        (ENFORCING, &["password", "enforceE2EEincoming"][..]),
        (OPEN, &["password"]),
    ] {
        let mailbox = dir.join(address);
        fs::create_dir(&mailbox).unwrap();
        for file in files {
            fs::write(mailbox.join(file), "").unwrap();
        }
    }
    let ini = dir.join("chatmail.ini");
    let text = format!(
        "[params]\nmail_domain = {}\nmailboxes_dir = {}\n",
        table::DOMAIN,
        dir.display()
    );
    fs::write(&ini, text).unwrap();
    let path = ini.as_os_str().as_encoded_bytes();
    let mut config = null_mut();
    // SAFETY: a path, an output, no wish for an error.
    let status = unsafe { chatmail_config_load(path.as_ptr(), path.len(), &mut config, NO_ERR) };
    assert_eq!(status, CHATMAIL_OK);
    config
}

fn text(from_c: *const c_char) -> String {
    assert!(!from_c.is_null());
    // SAFETY: not NULL, and the verdict it belongs to still lives.
    unsafe { CStr::from_ptr(from_c) }
        .to_str()
        .unwrap()
        .to_owned()
}

/// Starts a message from the configuration, the origin and the envelope sender.
type Begin = unsafe extern "C" fn(
    *const chatmail_config_t,
    *const u8,
    usize,
    *const u8,
    usize,
    *mut *mut chatmail_message_t,
    *mut *mut chatmail_error_t,
) -> i32;

/// The verdict on a row fed in chunks of this size, in the words of the table.
fn verdict(config: *const chatmail_config_t, row: &Row, message: &[u8], chunk: usize) -> Expected {
    let client = row.client.as_deref().unwrap_or_default();
    let (begin, origin) = match row.direction.as_str() {
        "outgoing" => (chatmail_message_new_outgoing as Begin, row.login.as_str()),
        _ => (chatmail_message_new_incoming as Begin, client),
    };
    let ok = |status| assert_eq!(status, CHATMAIL_OK, "{row:?}");
    let (mut handle, mut verdict) = (null_mut(), null_mut());
    // SAFETY: every pointer is a live slice's, an output, or an object that these calls gave.
    unsafe {
        ok(begin(
            config,
            origin.as_ptr(),
            origin.len(),
            row.sender.as_ptr(),
            row.sender.len(),
            &mut handle,
            NO_ERR,
        ));
        let (data, len) = (row.recipient.as_ptr(), row.recipient.len());
        ok(chatmail_message_recipient(handle, data, len, NO_ERR));
        for piece in message.chunks(chunk) {
            let (data, len) = (piece.as_ptr(), piece.len());
            ok(chatmail_message_write(handle, data, len, NO_ERR));
        }
        ok(chatmail_message_finish(handle, &mut verdict, NO_ERR));
        chatmail_message_free(handle);
        let said = if chatmail_verdict_result(verdict) == CHATMAIL_VERDICT_ACCEPTED {
            Expected::Accepted(class_name(chatmail_verdict_class(verdict)).to_owned())
        } else {
            let reply = text(chatmail_verdict_reply(verdict));
            assert!(reply.starts_with('5'), "{row:?}: {reply}");
            let reason = text(chatmail_verdict_reason(verdict));
            Expected::Refused(reason.split(' ').next().unwrap_or_default().to_owned())
        };
        chatmail_verdict_free(verdict);
        said
    }
}

fn class_name(class: i32) -> &'static str {
    match class {
        CHATMAIL_CLASS_ENCRYPTED => "encrypted",
        CHATMAIL_CLASS_SECURE_JOIN_REQUEST => "secure-join-request",
        CHATMAIL_CLASS_DELIVERY_REPORT => "delivery-report",
        CHATMAIL_CLASS_CLEARTEXT => "cleartext",
        _ => "no class",
    }
}

#[test]
fn each_message_of_the_corpus_gets_its_verdict_through_c_however_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let config = relay(dir.path());
    let rows = table::rows();
    assert!(!rows.is_empty());
    for row in &rows {
        let message = row.message();
        for chunk in [usize::MAX, 4099, 61] {
            let said = verdict(config, row, &message, chunk);
            assert_eq!(
                said, row.expected,
                "{} {}: {}",
                row.name, row.direction, row.note
            );
        }
    }
    // SAFETY: `relay` gave it, and nothing uses it any more.
    unsafe { chatmail_config_free(config) };
}
