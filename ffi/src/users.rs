//! The addresses of the relay, and their last login.

use std::ffi::{CString, c_char};
use std::io::ErrorKind;
use std::ptr;
use std::time::SystemTime;

use chatmail_core::address::Address;
use chatmail_core::mailbox::Addresses;

use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;
use crate::pointers::{CType, Owned, c_text};

/// A walk over all addresses of the relay, in no order.
///
/// One thread at a time. Free it with chatmail_users_free(), at any point.
pub struct chatmail_users_t {
    addresses: Addresses,
    current: CString,
}

impl CType for chatmail_users_t {
    type Held = Owned;
}

/// Starts a walk over the addresses that have a mailbox directory. CHATMAIL_ERROR_IO if the
/// directory of mailboxes cannot be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_users_new(
    config: *const chatmail_config_t,
    users: *mut *mut chatmail_users_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(users);
        let mailboxes = shared!(config).config.mailboxes();
        let addresses = mailboxes.addresses().map_err(chatmail_error_t::io)?;
        out.give(chatmail_users_t {
            addresses,
            current: CString::default(),
        });
        Ok(())
    })
}

/// The next address; at the end `*address` becomes NULL. It lives until the next call.
///
/// After CHATMAIL_ERROR_IO the walk may be continued: it goes on behind the entry that could not be
/// read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_users_next(
    users: *mut chatmail_users_t,
    address: *mut *const c_char,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(address);
        let users = exclusive!(users);
        out.set(
            match users
                .addresses
                .next()
                .transpose()
                .map_err(chatmail_error_t::io)?
            {
                Some(address) => {
                    users.current = c_text(address.as_str().to_owned());
                    users.current.as_ptr()
                }
                None => ptr::null(),
            },
        );
        Ok(())
    })
}

/// Frees a walk, whether it came to its end or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_users_free(users: *mut chatmail_users_t) {
    free!(users);
}

/// Notes that `address` has logged in today. What is stored is the day (UTC), not the hour, and only
/// when it changes.
///
/// CHATMAIL_ERROR_IO if it cannot be stored. An address of another domain, or without an account, has
/// no last login; that is not an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_note_login(
    config: *const chatmail_config_t,
    address: *const u8,
    address_len: usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let mailboxes = shared!(config).config.mailboxes();
        if let Some(address) = Address::parse(bytes!(address, address_len), mailboxes.domain()) {
            match mailboxes.mailbox(&address).note_login(SystemTime::now()) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(chatmail_error_t::io(error));
                }
                _ => {}
            }
        }
        Ok(())
    })
}
