//! One account of the relay: what an operator is told of it, and moving it to another relay.

mod account;
mod archive;

use std::io;

use chatmail_core::address::Address;
use chatmail_core::mailbox::Mailboxes;
use chatmail_core::push::Spool;

pub use account::{Account, Filter, date};
pub use archive::{Moved, NotImported, export, import};

/// Removes the notifications that wait for devices of an address which is gone; answers how many. What
/// cannot be read is left to whoever sends them.
///
/// # Errors
///
/// The spool cannot be read, or a file cannot be removed.
pub fn forget_notifications(mailboxes: &Mailboxes, address: &Address) -> io::Result<usize> {
    let dir = mailboxes.push_spool();
    if !dir.exists() {
        return Ok(0);
    }
    let mut forgotten = 0;
    for pending in Spool::open(&dir)?.pending()?.flatten() {
        if pending.address.eq_ignore_ascii_case(address.as_str()) {
            pending.done()?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}
