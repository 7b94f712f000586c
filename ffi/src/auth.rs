//! Logins.

use chatmail_core::auth::Authenticator;

use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;
use crate::login::chatmail_login_t;
use crate::pointers::{CType, Owned, ip_address};

/// Answers logins and look-ups of users. Make one and keep it: it remembers, in at most 2 MB, which
/// passwords it has verified, so that a repeated login costs no SHA512-CRYPT. Nothing of a mailbox is
/// remembered: a changed, emptied or removed `password` counts at the next login.
///
/// May be used from several threads at once. Free it with chatmail_auth_free().
#[derive(Debug)]
pub struct chatmail_auth_t {
    authenticator: Authenticator,
}

impl CType for chatmail_auth_t {
    type Held = Owned;
}

/// Makes an authenticator for the relay of `config`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_auth_new(
    config: *const chatmail_config_t,
    auth: *mut *mut chatmail_auth_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(auth);
        let authenticator = Authenticator::new(&shared!(config).config);
        out.give(chatmail_auth_t { authenticator });
        Ok(())
    })
}

/// Verifies a login. The first login of an unknown address creates it, if the sign-up policy of the
/// configuration allows that.
///
/// `client_ip` is the text of the client's IP address, for the limits on new addresses of one network.
/// Empty, or no IP address: it is not known, and those limits do not apply. An IPv4 address mapped
/// to IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
///
/// A first login, or one this authenticator has not verified before, takes about 2 ms of CPU, the
/// cost of SHA512-CRYPT. A password may hold any byte but NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_auth_login(
    auth: *const chatmail_auth_t,
    address: *const u8,
    address_len: usize,
    password: *const u8,
    password_len: usize,
    client_ip: *const u8,
    client_ip_len: usize,
    login: *mut *mut chatmail_login_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(login);
        let auth = shared!(auth);
        let address = bytes!(address, address_len);
        let password = bytes!(password, password_len);
        let client_ip = bytes!(client_ip, client_ip_len);
        let login = auth
            .authenticator
            .login(address, password, ip_address(client_ip))
            .map_err(chatmail_error_t::io)?;
        out.give(chatmail_login_t::try_from(login)?);
        Ok(())
    })
}

/// Looks an existing user up and creates nothing: for userdb and credentials look-ups. The result is
/// CHATMAIL_LOGIN_KNOWN, CHATMAIL_LOGIN_UNKNOWN_USER or CHATMAIL_LOGIN_BLOCKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_auth_lookup(
    auth: *const chatmail_auth_t,
    address: *const u8,
    address_len: usize,
    login: *mut *mut chatmail_login_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(login);
        let auth = shared!(auth);
        let address = bytes!(address, address_len);
        let found = auth
            .authenticator
            .lookup(address)
            .map_err(chatmail_error_t::io)?;
        out.give(chatmail_login_t::try_from(found)?);
        Ok(())
    })
}

/// Frees an authenticator.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_auth_free(auth: *mut chatmail_auth_t) {
    free!(auth);
}
