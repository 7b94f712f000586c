//! IMAP METADATA.

use std::ptr;
use std::time::SystemTime;

use chatmail_core::metadata::{Metadata, SetAnswer, dict_key};

use crate::bytes::chatmail_bytes_t;
use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;

/// The value was stored.
pub const CHATMAIL_METADATA_STORED: i32 = 1;
/// There was nothing to store: the value is empty.
pub const CHATMAIL_METADATA_NOTHING: i32 = 2;
/// The key is not one that a client may set, or the value is not one for that key.
pub const CHATMAIL_METADATA_REFUSED: i32 = 3;

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

/// Sets a METADATA value. Setting a device token adds it to those the user has. `*answer` becomes
/// CHATMAIL_METADATA_*; `key` is as in chatmail_metadata_get().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_metadata_set(
    config: *const chatmail_config_t,
    address: *const u8,
    address_len: usize,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
    answer: *mut i32,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(answer);
        let config = &shared!(config).config;
        let address = bytes!(address, address_len);
        let key = dict_key(bytes!(key, key_len));
        let value = bytes!(value, value_len);
        let answer = match key {
            Some(key) => Metadata::new(config)
                .store(address, key, value, SystemTime::now())
                .map_err(chatmail_error_t::io)?,
            None => SetAnswer::Refused,
        };
        out.set(match answer {
            SetAnswer::Stored => CHATMAIL_METADATA_STORED,
            SetAnswer::Nothing => CHATMAIL_METADATA_NOTHING,
            SetAnswer::Refused => CHATMAIL_METADATA_REFUSED,
        });
        Ok(())
    })
}
