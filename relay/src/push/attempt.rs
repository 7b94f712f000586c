//! One attempt to deliver one notification: from its file to what becomes of the file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chatmail_core::address::Address;
use chatmail_core::mailbox::Mailboxes;
use chatmail_core::metadata::DeviceTokens;
use chatmail_core::push::{Pending, RetrySchedule};

use super::post::{Answer, PushService};

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The push service took it; the file is gone.
    Delivered,
    /// The push service knows no such device; its token and the file are gone.
    DeviceGone,
    /// There was no file any more.
    Vanished,
    /// The file was no notification, and is gone.
    Unreadable(String),
    /// Too many failures or too late; the file is gone.
    GivenUp,
    /// Not this time; the file is there.
    Later {
        after: Duration,
        why: String,
        /// The push service is to blame, not this notification.
        unwell: bool,
    },
    /// The file cannot be read now: out of descriptors, no permission. It is there.
    CannotRead(String),
    /// The file is of no more use and cannot be removed.
    Stuck(String),
}

/// When to try again: given the time of the message, the failures so far and the time now. `None`:
/// give up. [`RetrySchedule`] but in tests.
pub(super) type Schedule = dyn Fn(SystemTime, u32, SystemTime) -> Option<Duration> + Send + Sync;

/// The schedule of every relay.
pub(super) fn relay_schedule(
    since: SystemTime,
    failures: u32,
    now: SystemTime,
) -> Option<Duration> {
    RetrySchedule::of(since).next_attempt(failures, now)
}

/// All that an attempt needs.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) service: PushService,
    pub(super) schedule: Arc<Schedule>,
    pub(super) mailboxes: Arc<Mailboxes>,
}

impl Attempt {
    /// Sends the notification in `file`, which failed `failures` times before.
    pub(super) async fn make(&self, file: &Path, failures: u32) -> Outcome {
        let pending = match Pending::read(file.to_owned()) {
            Ok(Some(pending)) => pending,
            Ok(None) => return Outcome::Vanished,
            Err(unreadable) if unreadable.damaged => return clear_away(file, unreadable.why),
            Err(unreadable) => return Outcome::CannotRead(unreadable.why),
        };
        if (self.schedule)(pending.since, 0, SystemTime::now()).is_none() {
            return remove(pending, Outcome::GivenUp);
        }
        let (why, unwell) = match self.service.post(pending.token.clone()).await {
            Answer::Taken => return remove(pending, Outcome::Delivered),
            Answer::Gone => match self.remove_token(&pending).await {
                Ok(()) => return remove(pending, Outcome::DeviceGone),
                Err(why) => (format!("the token stays: {}", why.kind()), false),
            },
            Answer::NotTaken(status) => (status.to_string(), false),
            Answer::Unwell(why) => (why, true),
        };
        match (self.schedule)(pending.since, failures + 1, SystemTime::now()) {
            Some(after) => Outcome::Later { after, why, unwell },
            None => remove(pending, Outcome::GivenUp),
        }
    }

    /// Removes the token from its mailbox; fine if there is none of this address.
    async fn remove_token(&self, pending: &Pending) -> io::Result<()> {
        let Some(address) = Address::parse(pending.address.as_bytes(), self.mailboxes.domain())
        else {
            return Ok(());
        };
        let mailbox = self.mailboxes.mailbox(&address);
        let token = pending.token.clone();
        // The mailbox's lock may be held by a login for a while.
        let removed = tokio::task::spawn_blocking(move || {
            DeviceTokens::of(&mailbox).remove(&token, SystemTime::now())
        });
        match removed.await.map_err(io::Error::other)? {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// What is no notification goes.
fn clear_away(file: &Path, why: String) -> Outcome {
    match std::fs::remove_file(file) {
        Ok(()) => Outcome::Unreadable(why),
        Err(stays) => Outcome::Stuck(format!("{why}; {stays}")),
    }
}

/// Removes the file; `outcome` if that works.
fn remove(pending: Pending, outcome: Outcome) -> Outcome {
    match pending.done() {
        Ok(()) => outcome,
        Err(why) => Outcome::Stuck(why.kind().to_string()),
    }
}
