//! Pointers from and to C: the only place that turns one into the other.
//!
//! The macros hold the `unsafe` blocks of all exported functions. What these rely on is the same
//! everywhere: the caller keeps to the "Conventions" at the top of `chatmail.h`. What can be
//! checked (NULL, lengths) is checked.

use std::ffi::{CStr, CString};
#[cfg(any(feature = "auth", feature = "filter"))]
use std::net::IpAddr;
use std::ptr::NonNull;
use std::slice;

use crate::error::chatmail_error_t;

/// A type that C sees as an opaque struct.
pub(crate) trait CType {
    /// Who holds it.
    type Held;
}

/// C owns it: it lives in a `Box`, and exactly one `chatmail_x_free` ends it.
pub(crate) enum Owned {}

/// It belongs to the object it was asked from; C must not free it.
#[cfg(feature = "filter")]
pub(crate) enum Borrowed {}

/// A byte argument. (NULL, 0) is empty.
pub(crate) unsafe fn bytes<'a>(
    name: &str,
    data: *const u8,
    len: usize,
) -> Result<&'a [u8], chatmail_error_t> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(chatmail_error_t::argument(format_args!(
            "{name} is NULL, its length {len}"
        )));
    }
    if isize::try_from(len).is_err() {
        return Err(chatmail_error_t::argument(format_args!(
            "{name} cannot have {len} bytes"
        )));
    }
    // SAFETY: not NULL and of a possible length; the caller says that `len` bytes are there and stay
    // as they are during the call.
    Ok(unsafe { slice::from_raw_parts(data, len) })
}

/// The IP address of a client. `None` for any other text, which is not an error: a mail server may not
/// know the address.
#[cfg(any(feature = "auth", feature = "filter"))]
pub(crate) fn ip_address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An object for reading. `Sync`, because several threads may do so at once.
pub(crate) unsafe fn shared<'a, T: CType + Sync>(
    name: &str,
    object: *const T,
) -> Result<&'a T, chatmail_error_t> {
    // SAFETY: NULL, or a pointer that `give` or `lend` made and that has not been freed.
    unsafe { object.as_ref() }
        .ok_or_else(|| chatmail_error_t::argument(format_args!("{name} is NULL")))
}

/// An object for changing. `Send`, because the thread need not be the one that made it.
pub(crate) unsafe fn exclusive<'a, T: CType<Held = Owned> + Send>(
    name: &str,
    object: *mut T,
) -> Result<&'a mut T, chatmail_error_t> {
    // SAFETY: NULL, or a pointer that `give` made, not freed, and that no other thread uses now.
    unsafe { object.as_mut() }
        .ok_or_else(|| chatmail_error_t::argument(format_args!("{name} is NULL")))
}

/// An output argument that was found to be there.
pub(crate) struct Output<T>(NonNull<T>);

impl<T> Output<T> {
    pub(crate) unsafe fn new(name: &str, place: *mut T) -> Result<Self, chatmail_error_t> {
        NonNull::new(place)
            .map(Output)
            .ok_or_else(|| chatmail_error_t::argument(format_args!("{name} is NULL")))
    }

    /// Writes a plain value.
    pub(crate) fn set(self, value: T) {
        // SAFETY: `new` was promised a place for a `T`; it need not hold a valid one before.
        unsafe { self.0.write(value) }
    }
}

impl<T: CType<Held = Owned> + Send> Output<*mut T> {
    /// Hands an object over to C.
    pub(crate) fn give(self, object: T) {
        self.set(Box::into_raw(Box::new(object)));
    }
}

/// Shows C a part of an object it holds.
#[cfg(feature = "filter")]
pub(crate) fn lend<T: CType<Held = Borrowed>>(part: &T) -> *const T {
    part
}

/// Ends an object that `Output::give` handed over.
pub(crate) unsafe fn drop_owned<T: CType<Held = Owned>>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: `give` made it with `Box::into_raw`, and the caller frees it once.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// Fills an `err` argument, if there is one.
pub(crate) unsafe fn put_error(place: *mut *mut chatmail_error_t, error: chatmail_error_t) {
    if !place.is_null() {
        // SAFETY: the caller gave NULL or a place for a pointer.
        unsafe { place.write(Box::into_raw(Box::new(error))) };
    }
}

/// Text for C. A NUL inside, which none of our texts has, becomes `?`.
pub(crate) fn c_text(text: String) -> CString {
    CString::new(text).unwrap_or_else(|odd| {
        let mut bytes = odd.into_vec();
        bytes
            .iter_mut()
            .filter(|byte| **byte == 0)
            .for_each(|byte| *byte = b'?');
        CString::new(bytes).unwrap_or_default()
    })
}

/// A `const char *` that may be NULL.
pub(crate) fn c_pointer(text: Option<&CStr>) -> *const std::ffi::c_char {
    text.map_or(std::ptr::null(), CStr::as_ptr)
}

/// `bytes!(address, address_len)`: a byte argument as `&[u8]`.
macro_rules! bytes {
    ($data:ident, $len:ident) => {
        // SAFETY: see the top of `pointers`.
        unsafe { $crate::pointers::bytes(stringify!($data), $data, $len) }?
    };
}

/// `shared!(config)`: a `const chatmail_x_t *` as `&chatmail_x_t`.
macro_rules! shared {
    ($object:ident) => {
        // SAFETY: see the top of `pointers`.
        unsafe { $crate::pointers::shared(stringify!($object), $object) }?
    };
}

/// `exclusive!(message)`: a `chatmail_x_t *` as `&mut chatmail_x_t`.
macro_rules! exclusive {
    ($object:ident) => {
        // SAFETY: see the top of `pointers`.
        unsafe { $crate::pointers::exclusive(stringify!($object), $object) }?
    };
}

/// `output!(out)`: an output argument.
macro_rules! output {
    ($place:ident) => {
        // SAFETY: see the top of `pointers`.
        unsafe { $crate::pointers::Output::new(stringify!($place), $place) }?
    };
}

/// `free!(object)`: the body of a `chatmail_x_free`.
macro_rules! free {
    ($object:ident) => {
        $crate::guard::answer((), || {
            // SAFETY: see the top of `pointers`.
            unsafe { $crate::pointers::drop_owned($object) };
            Ok(())
        })
    };
}

/// `set_error!(err, error)`: hands an error over, if the caller wants it.
macro_rules! set_error {
    ($place:ident, $error:expr) => {
        // SAFETY: see the top of `pointers`.
        unsafe { $crate::pointers::put_error($place, $error) }
    };
}
