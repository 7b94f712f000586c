//! Why a call could not do its work.

use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::ptr;

use crate::guard::answer;
use crate::pointers::{CType, Owned, c_text};

/// The call did its work.
pub const CHATMAIL_OK: i32 = 0;
/// An argument is NULL, out of range, or a code this version does not know: a bug of the caller.
pub const CHATMAIL_ERROR_ARGUMENT: i32 = -1;
/// The configuration cannot be read, or a value in it does not parse.
pub const CHATMAIL_ERROR_CONFIG: i32 = -2;
/// The host did not let us find out or store something: disk, permissions, memory.
pub const CHATMAIL_ERROR_IO: i32 = -3;
/// Calls out of order, for example a body before the end of the header section.
pub const CHATMAIL_ERROR_STATE: i32 = -4;
/// A bug in the library. The message says where.
pub const CHATMAIL_ERROR_PANIC: i32 = -5;

/// Why a call failed.
///
/// Given through the `err` argument of the call. May be read from several threads at once. Its
/// message lives as long as it does. Free it with chatmail_error_free().
#[derive(Debug)]
pub struct chatmail_error_t {
    status: i32,
    message: CString,
}

impl CType for chatmail_error_t {
    type Held = Owned;
}

impl chatmail_error_t {
    pub(crate) fn argument(message: impl Display) -> Self {
        Self::with(CHATMAIL_ERROR_ARGUMENT, message)
    }
    pub(crate) fn config(why: impl Display) -> Self {
        Self::with(CHATMAIL_ERROR_CONFIG, why)
    }
    pub(crate) fn io(why: impl Display) -> Self {
        Self::with(CHATMAIL_ERROR_IO, why)
    }
    #[cfg(feature = "filter")]
    pub(crate) fn state(message: impl Display) -> Self {
        Self::with(CHATMAIL_ERROR_STATE, message)
    }
    pub(crate) fn panic(place: impl Display) -> Self {
        Self::with(CHATMAIL_ERROR_PANIC, place)
    }
    fn with(status: i32, message: impl Display) -> Self {
        let message = c_text(message.to_string());
        chatmail_error_t { status, message }
    }
    pub(crate) fn status(&self) -> i32 {
        self.status
    }
}

/// The status of the call that failed: CHATMAIL_ERROR_*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_error_status(error: *const chatmail_error_t) -> i32 {
    answer(CHATMAIL_ERROR_ARGUMENT, || Ok(shared!(error).status))
}

/// One line for the log, without a line end. It names files and configuration keys, never a
/// password or anything out of a message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_error_message(error: *const chatmail_error_t) -> *const c_char {
    answer(ptr::null(), || Ok(shared!(error).message.as_ptr()))
}

/// Frees an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_error_free(error: *mut chatmail_error_t) {
    free!(error);
}
