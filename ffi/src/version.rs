//! What a program was compiled with, and what it runs with.

use std::ffi::c_char;

/// Version of this header, as in `MAJOR.MINOR.PATCH`.
pub const CHATMAIL_VERSION_MAJOR: u32 = 0;
/// See CHATMAIL_VERSION_MAJOR.
pub const CHATMAIL_VERSION_MINOR: u32 = 1;
/// See CHATMAIL_VERSION_MAJOR.
pub const CHATMAIL_VERSION_PATCH: u32 = 0;

/// Moves with every incompatible change, together with the number in `libchatmail.so.N`.
pub const CHATMAIL_ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// Version of the library that is running, `"MAJOR.MINOR.PATCH"`. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn chatmail_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// ABI version of the library that is running. A program that loads the library by hand compares it
/// with CHATMAIL_ABI_VERSION before it calls anything else.
#[unsafe(no_mangle)]
pub extern "C" fn chatmail_abi_version() -> u32 {
    CHATMAIL_ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_version_of_the_package() {
        assert_eq!(
            format!("{CHATMAIL_VERSION_MAJOR}.{CHATMAIL_VERSION_MINOR}.{CHATMAIL_VERSION_PATCH}"),
            env!("CARGO_PKG_VERSION")
        );
    }
}
