//! One report on all mailboxes.

use std::io;
use std::time::SystemTime;

use chatmail_core::mailbox::Mailboxes;
use chatmail_core::usage::Report;

use super::walk::walk;
use super::watch::{Trouble, Watch};

/// Looks at all mailboxes with so many threads; `None` if it was told to stop before the end.
///
/// # Errors
///
/// `MAILBOXES_DIR` cannot be read. A mailbox that cannot be read is counted in the report.
pub fn take(
    mailboxes: &Mailboxes,
    now: SystemTime,
    threads: usize,
    watch: &Watch,
) -> io::Result<Option<Report>> {
    watch.begin(0);
    let parts = walk(
        mailboxes,
        threads,
        watch,
        || Report::new(now),
        |report, address| {
            if let Err(error) = report.add(&address, &mailboxes.mailbox(&address)) {
                watch.tell(Trouble::Failed(&error));
            }
        },
    )?;
    let mut report = Report::new(now);
    for part in &parts {
        report.merge(part);
    }
    Ok(Some(report).filter(|_| !watch.is_stopped()))
}
