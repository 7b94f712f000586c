//! What became of a login.

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use chatmail_core::auth::{Login, Refusal, User};

use crate::error::{CHATMAIL_ERROR_ARGUMENT, chatmail_error_t};
use crate::guard::answer;
use crate::pointers::{CType, Owned, c_pointer, c_text};

/// Yes: the address exists, and in a login the password is right.
pub const CHATMAIL_LOGIN_KNOWN: i32 = 1;
/// Yes: the address did not exist; now it does, with this password.
pub const CHATMAIL_LOGIN_CREATED: i32 = 2;
/// No: not an address of this relay, or in a look-up one that does not exist.
pub const CHATMAIL_LOGIN_UNKNOWN_USER: i32 = 3;
/// No: the address exists and has another password.
pub const CHATMAIL_LOGIN_WRONG_PASSWORD: i32 = 4;
/// No: the address exists and the operator has blocked it.
pub const CHATMAIL_LOGIN_BLOCKED: i32 = 5;
/// No: the address does not exist and may not be created.
pub const CHATMAIL_LOGIN_NOT_CREATED: i32 = 6;

/// The answer to a login or a look-up.
///
/// May be read from several threads at once. Its strings live as long as it does. Free it with
/// chatmail_login_free().
#[derive(Debug)]
pub struct chatmail_login_t {
    result: i32,
    user: Option<UserText>,
    reason: Option<CString>,
    warnings: Vec<CString>,
}

/// A user's answer in C's strings.
#[derive(Debug)]
struct UserText {
    address: CString,
    home: CString,
    password: CString,
}

impl CType for chatmail_login_t {
    type Held = Owned;
}

impl chatmail_login_t {
    fn yes(result: i32, user: User, warnings: Vec<String>) -> Result<Self, chatmail_error_t> {
        Ok(chatmail_login_t {
            result,
            user: Some(UserText {
                address: c_text(user.address.as_str().to_owned()),
                home: CString::new(user.home.into_os_string().into_vec())
                    .map_err(|_| chatmail_error_t::io("the path of a mailbox holds a NUL"))?,
                password: c_text(user.password),
            }),
            reason: None,
            warnings: warnings.into_iter().map(c_text).collect(),
        })
    }

    fn no(refusal: &Refusal) -> Self {
        let result = match refusal {
            Refusal::UnknownAddress => CHATMAIL_LOGIN_UNKNOWN_USER,
            Refusal::WrongPassword => CHATMAIL_LOGIN_WRONG_PASSWORD,
            Refusal::Blocked => CHATMAIL_LOGIN_BLOCKED,
            Refusal::NotCreated(_) => CHATMAIL_LOGIN_NOT_CREATED,
        };
        chatmail_login_t {
            result,
            user: None,
            reason: Some(c_text(refusal.to_string())),
            warnings: Vec::new(),
        }
    }
}

impl TryFrom<Login> for chatmail_login_t {
    type Error = chatmail_error_t;

    fn try_from(login: Login) -> Result<Self, chatmail_error_t> {
        match login {
            Login::Known(user) => Self::yes(CHATMAIL_LOGIN_KNOWN, user, Vec::new()),
            Login::Created(user, warnings) => Self::yes(CHATMAIL_LOGIN_CREATED, user, warnings),
            Login::Refused(refusal) => Ok(Self::no(&refusal)),
        }
    }
}

impl TryFrom<Result<User, Refusal>> for chatmail_login_t {
    type Error = chatmail_error_t;

    fn try_from(found: Result<User, Refusal>) -> Result<Self, chatmail_error_t> {
        match found {
            Ok(user) => Self::yes(CHATMAIL_LOGIN_KNOWN, user, Vec::new()),
            Err(refusal) => Ok(Self::no(&refusal)),
        }
    }
}

/// CHATMAIL_LOGIN_*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_result(login: *const chatmail_login_t) -> i32 {
    answer(CHATMAIL_ERROR_ARGUMENT, || Ok(shared!(login).result))
}

/// The address in lower case, which is the name to go on with. NULL unless the result is a yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_address(login: *const chatmail_login_t) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(shared!(login).user.as_ref().map(|u| &*u.address)))
    })
}

/// The mailbox directory: home and maildir in one. NULL unless the result is a yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_home(login: *const chatmail_login_t) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(shared!(login).user.as_ref().map(|u| &*u.home)))
    })
}

/// The stored password hash with its scheme, `{SHA512-CRYPT}$6$...`. NULL unless the result is a
/// yes. Keep it out of logs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_password(login: *const chatmail_login_t) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(
            shared!(login).user.as_ref().map(|u| &*u.password),
        ))
    })
}

/// Why it is a no: one line for the log, with neither the address nor the password in it. NULL if
/// the result is a yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_reason(login: *const chatmail_login_t) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(shared!(login).reason.as_deref()))
    })
}

/// How many warnings there are: one for each limit of the host that could not be read when an
/// address was created.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_warning_count(login: *const chatmail_login_t) -> usize {
    answer(0, || Ok(shared!(login).warnings.len()))
}

/// The warning number `index`, counted from 0: one line for the log. NULL if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_warning(
    login: *const chatmail_login_t,
    index: usize,
) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(shared!(login).warnings.get(index).map(|w| &**w)))
    })
}

/// Frees a login.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_login_free(login: *mut chatmail_login_t) {
    free!(login);
}
