//! All mailboxes, handed to a few threads.
//!
//! Reading directories is mostly the kernel's work, and on a cold cache the disk's: threads are for having
//! more than one of them asked at a time. Memory does not grow with the number of mailboxes.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use chatmail_core::address::Address;
use chatmail_core::mailbox::{Addresses, Mailboxes};

use super::watch::Watch;

/// So many mailboxes a thread takes at a time.
const BATCH: usize = 32;

/// Has `work` done with every mailbox by one of `threads` threads. Each has a state of its own, begun by
/// `state`; they are the answer.
///
/// # Errors
///
/// `MAILBOXES_DIR` cannot be read. What was read until then has been worked on.
pub(super) fn walk<S: Send>(
    mailboxes: &Mailboxes,
    threads: usize,
    watch: &Watch,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, Address) + Sync,
) -> io::Result<Vec<S>> {
    let source = Mutex::new(Source {
        addresses: mailboxes.addresses()?,
        failed: None,
    });
    let one = || {
        let mut state = state();
        let mut batch = Vec::with_capacity(BATCH);
        while !watch.is_stopped() {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            source.fill(&mut batch);
            drop(source);
            if batch.is_empty() {
                break;
            }
            let taken = batch.len();
            for address in batch.drain(..) {
                if !watch.is_stopped() {
                    work(&mut state, address);
                }
            }
            watch.saw(taken);
        }
        state
    };
    let states = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(one)).collect();
        let mut states = vec![one()];
        // One that panicked has counted nothing.
        states.extend(others.into_iter().filter_map(|thread| thread.join().ok()));
        states
    });
    let source = source.into_inner().unwrap_or_else(PoisonError::into_inner);
    match source.failed {
        Some(error) => Err(error),
        None => Ok(states),
    }
}

struct Source {
    addresses: Addresses,
    failed: Option<io::Error>,
}

impl Source {
    fn fill(&mut self, batch: &mut Vec<Address>) {
        while batch.len() < BATCH && self.failed.is_none() {
            match self.addresses.next() {
                Some(Ok(address)) => batch.push(address),
                Some(Err(error)) => self.failed = Some(error),
                None => return,
            }
        }
    }
}
