//! IMAP METADATA.

use std::ptr;
use std::time::SystemTime;

use chatmail_core::metadata::{Changes, Metadata, SetAnswer, TOKEN_SET_MAX, dict_key};

use crate::bytes::chatmail_bytes_t;
use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;
use crate::pointers::{CType, Owned};

/// The changes were stored.
pub const CHATMAIL_METADATA_STORED: i32 = 1;
/// There was nothing to change: a value is empty, or an entry to remove has no value.
pub const CHATMAIL_METADATA_NOTHING: i32 = 2;
/// A client may not set the key, or the value is not valid for it. Nothing was changed.
pub const CHATMAIL_METADATA_REFUSED: i32 = 3;
/// A value is longer than CHATMAIL_METADATA_VALUE_MAX. Nothing was changed.
pub const CHATMAIL_METADATA_TOO_LONG: i32 = 4;

/// Longest value that can be set, in bytes.
pub const CHATMAIL_METADATA_VALUE_MAX: usize = 1024;
const _: () = assert!(CHATMAIL_METADATA_VALUE_MAX == TOKEN_SET_MAX);

/// The changes of one SETMETADATA command, stored together or not at all (RFC 5464 section 4.3).
///
/// Takes at most some 25 kB, however many changes there are. One thread at a time. Free it with
/// chatmail_metadata_changes_free().
#[derive(Debug)]
pub struct chatmail_metadata_changes_t {
    changes: Changes,
}

impl CType for chatmail_metadata_changes_t {
    type Held = Owned;
}

/// A METADATA value (RFC 5464) for the user `address`.
///
/// `key` is what Dovecot hands to a dict: `priv/<guid>/devicetoken`,
/// `shared/<guid>/vendor/vendor.dovecot/pvt/server/vendor/deltachat/irohrelay`. `*value` becomes NULL
/// where there is no value; else free it with chatmail_bytes_free().
///
/// The key `.../turn` asks another service of this host over a Unix socket and may take 5 s.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_get(
    config: *const chatmail_config_t,
    address: *const u8,
    address_len: usize,
    key: *const u8,
    key_len: usize,
    value: *mut *mut chatmail_bytes_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(value);
        let config = &shared!(config).config;
        let address = bytes!(address, address_len);
        let found = match dict_key(bytes!(key, key_len)) {
            Some(key) => Metadata::new(config)
                .lookup(address, key, SystemTime::now())
                .map_err(chatmail_error_t::io)?,
            None => None,
        };
        match found {
            Some(value) => out.give(value.into()),
            None => out.set(ptr::null_mut()),
        }
        Ok(())
    })
}

/// Makes an object without changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_changes_new(
    changes: *mut *mut chatmail_metadata_changes_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let changes = output!(changes);
        changes.give(chatmail_metadata_changes_t {
            changes: Changes::new(),
        });
        Ok(())
    })
}

/// Adds the change that sets a value; `key` is as in chatmail_metadata_get(). Setting a device token
/// adds it to those the user has: the newest 20 are kept.
///
/// A value that cannot be set is not an error here: it decides the answer of chatmail_metadata_store().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_changes_set(
    changes: *mut chatmail_metadata_changes_t,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let changes = exclusive!(changes);
        let key = dict_key(bytes!(key, key_len));
        changes.changes.set(key, bytes!(value, value_len));
        Ok(())
    })
}

/// Adds the change that removes a value, as a client asks for with NIL. For device tokens it removes
/// all of them. An unknown key has no value to remove.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_changes_remove(
    changes: *mut chatmail_metadata_changes_t,
    key: *const u8,
    key_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let changes = exclusive!(changes);
        changes.changes.remove(dict_key(bytes!(key, key_len)));
        Ok(())
    })
}

/// Stores all changes for the user `address`, or none. `*answer` becomes CHATMAIL_METADATA_*. The
/// changes stay as they are and must be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_store(
    config: *const chatmail_config_t,
    address: *const u8,
    address_len: usize,
    changes: *const chatmail_metadata_changes_t,
    answer: *mut i32,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(answer);
        let config = &shared!(config).config;
        let address = bytes!(address, address_len);
        let changes = &shared!(changes).changes;
        let answer = Metadata::new(config)
            .store(address, changes, SystemTime::now())
            .map_err(chatmail_error_t::io)?;
        out.set(match answer {
            SetAnswer::Stored => CHATMAIL_METADATA_STORED,
            SetAnswer::Nothing => CHATMAIL_METADATA_NOTHING,
            SetAnswer::Refused => CHATMAIL_METADATA_REFUSED,
            SetAnswer::TooLong => CHATMAIL_METADATA_TOO_LONG,
        });
        Ok(())
    })
}

/// Frees changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_changes_free(changes: *mut chatmail_metadata_changes_t) {
    free!(changes);
}
