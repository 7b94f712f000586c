//! What a mailbox holds.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use chatmail_core::address::Address;
use chatmail_core::mailbox::Trimmed;

use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;

/// Makes room in the mailbox of `address`, if it is filled to more than 75 % of max_mailbox_size,
/// until it is filled to 70 %: first large messages that were seen, then the oldest, none of the
/// last 24 hours. To be called whenever something was stored: as long as there is room it costs the
/// reading of one small file.
///
/// `maildir` is the path under which the caller stores the mail of `address`. Nothing happens if
/// that is not the mailbox directory of the configuration: it is somebody else's mail then.
///
/// `*messages` and `*bytes` become what was removed, often 0. CHATMAIL_ERROR_IO if a folder could not
/// be read or a message not be removed; others may be gone by then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_mailbox_trim(
    config: *const chatmail_config_t,
    address: *const u8,
    address_len: usize,
    maildir: *const u8,
    maildir_len: usize,
    messages: *mut u64,
    bytes: *mut u64,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let (messages_out, bytes_out) = (output!(messages), output!(bytes));
        let config = &shared!(config).config;
        let address = bytes!(address, address_len);
        let maildir = Path::new(OsStr::from_bytes(bytes!(maildir, maildir_len)));
        let mailboxes = config.mailboxes();
        let mut trimmed = Trimmed::default();
        if let Some(address) = Address::parse(address, mailboxes.domain()) {
            let mailbox = mailboxes.mailbox(&address);
            if mailbox.path() == maildir {
                trimmed = mailbox
                    .trim(config.max_mailbox_size, SystemTime::now())
                    .map_err(chatmail_error_t::io)?;
            }
        }
        messages_out.set(trimmed.messages);
        bytes_out.set(trimmed.bytes);
        Ok(())
    })
}
