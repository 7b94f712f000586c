//! `chatmail.ini`.

use std::ffi::{CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use chatmail_core::config::Config;
#[cfg(feature = "push")]
use chatmail_core::counters::Counters;

use crate::error::chatmail_error_t;
use crate::guard::{answer, status};
use crate::pointers::{CType, Owned, c_pointer, c_text};

/// A chatmail.ini, read once. A later change of the file does not reach it.
///
/// May be used from several threads at once. Objects made from it do not need it afterwards. Free it
/// with chatmail_config_free().
#[derive(Debug)]
pub struct chatmail_config_t {
    pub(crate) config: Config,
    /// Kept here, since whoever counts keeps the file open.
    #[cfg(feature = "push")]
    pub(crate) counters: Counters,
    warnings: Vec<CString>,
}

impl CType for chatmail_config_t {
    type Held = Owned;
}

/// Reads a chatmail.ini.
///
/// CHATMAIL_ERROR_CONFIG if it is missing, lacks mail_domain, or has a value that does not parse;
/// the message names file, key and value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_config_load(
    path: *const u8,
    path_len: usize,
    config: *mut *mut chatmail_config_t,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(config);
        let path = Path::new(OsStr::from_bytes(bytes!(path, path_len)));
        let config = Config::load(path).map_err(chatmail_error_t::config)?;
        let warnings = config.warnings.iter().cloned().map(c_text).collect();
        out.give(chatmail_config_t {
            #[cfg(feature = "push")]
            counters: Counters::new(&config.mailboxes()),
            config,
            warnings,
        });
        Ok(())
    })
}

/// How many warnings there are: one for each key of the file that this version does not know, and for
/// each value that is likely a mistake.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_config_warning_count(config: *const chatmail_config_t) -> usize {
    answer(0, || Ok(shared!(config).warnings.len()))
}

/// The warning number `index`, counted from 0: one line for the log. NULL if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_config_warning(
    config: *const chatmail_config_t,
    index: usize,
) -> *const c_char {
    answer(ptr::null(), || {
        Ok(c_pointer(shared!(config).warnings.get(index).map(|w| &**w)))
    })
}

/// Frees a configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_config_free(config: *mut chatmail_config_t) {
    free!(config);
}
