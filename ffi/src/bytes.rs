//! Bytes that the library hands out.

use std::ptr;

use crate::guard::answer;
use crate::pointers::{CType, Owned};

/// Bytes that the library gives away, such as a METADATA value.
///
/// May be read from several threads at once. Free them with chatmail_bytes_free().
#[derive(Debug)]
pub struct chatmail_bytes_t {
    /// With the NUL at the end that the header promises.
    with_nul: Vec<u8>,
}

impl CType for chatmail_bytes_t {
    type Held = Owned;
}

#[cfg(feature = "metadata")]
impl From<String> for chatmail_bytes_t {
    fn from(text: String) -> Self {
        let mut with_nul = text.into_bytes();
        with_nul.push(0);
        chatmail_bytes_t { with_nul }
    }
}

/// The bytes, and in `*len` how many there are. Behind them stands a NUL that `*len` does not
/// count. NULL only if an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_bytes_data(
    bytes: *const chatmail_bytes_t,
    len: *mut usize,
) -> *const u8 {
    answer(ptr::null(), || {
        let len = output!(len);
        let bytes = shared!(bytes);
        len.set(bytes.with_nul.len().saturating_sub(1));
        Ok(bytes.with_nul.as_ptr())
    })
}

/// Frees bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_bytes_free(bytes: *mut chatmail_bytes_t) {
    free!(bytes);
}
