//! How a run tells what it is at, and is told to stop.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch::{Receiver, Sender, channel};

/// Something the operator may want to look at. The path names an address: not for a log.
#[derive(Debug, Clone, Copy)]
pub enum Trouble<'a> {
    /// A mailbox that could not be worked on, or not to the end.
    Failed(&'a io::Error),
    /// A directory that is no account, since it has no `password`, but holds files.
    NoAccount(&'a Path),
}

type Tell = Box<dyn Fn(Trouble<'_>) + Send + Sync>;

/// Shared by a run and whoever started it.
pub struct Watch {
    stopped: AtomicBool,
    seen: AtomicU64,
    total: AtomicU64,
    tell: Tell,
    running: Sender<bool>,
}

impl Watch {
    /// Every trouble is handed to `tell`, by the thread that has it.
    pub fn new(tell: impl Fn(Trouble<'_>) + Send + Sync + 'static) -> Watch {
        Watch {
            stopped: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            total: AtomicU64::new(0),
            tell: Box::new(tell),
            running: channel(false).0,
        }
    }

    /// Troubles are only counted.
    pub fn silent() -> Watch {
        Watch::new(|_| {})
    }

    /// Ends the run after the mailboxes that are being looked at.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// How many mailboxes the present look has been at, and of how many; 0 if nobody knows yet.
    pub fn progress(&self) -> (u64, u64) {
        let [seen, total] = [&self.seen, &self.total].map(|count| count.load(Ordering::Relaxed));
        (seen, total)
    }

    pub(super) fn begin(&self, total: u64) {
        self.seen.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn saw(&self, mailboxes: usize) {
        self.seen.fetch_add(mailboxes as u64, Ordering::Relaxed);
    }

    pub(super) fn tell(&self, trouble: Trouble<'_>) {
        (self.tell)(trouble);
    }

    /// As long as the answer lives, [`Watch::ended`] waits.
    pub(super) fn running(&self) -> Running<'_> {
        self.running.send_replace(true);
        Running(&self.running)
    }

    pub(super) async fn ended(&self) {
        let mut running: Receiver<bool> = self.running.subscribe();
        // The sender lives as long as this.
        let _ = running.wait_for(|running| !running).await;
    }
}

/// A run that has not ended.
pub(super) struct Running<'a>(&'a Sender<bool>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}
