//! One attempt to deliver one notification.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chatmail_core::address::Address;
use chatmail_core::mailbox::Mailboxes;
use chatmail_core::metadata::DeviceTokens;
use chatmail_core::push::{Pending, RetrySchedule};

use super::jitter::jittered;
use super::post::{Answer, PushService};

/// What became of a request. The file is there in each case.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The push service took it.
    Delivered,
    /// The push service knows no such device; its token is gone.
    DeviceGone,
    /// It was answered, and not taken; or the token could not be removed.
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
    /// The push service may be to blame.
    Unwell {
        why: String,
        retry_after: Option<Duration>,
    },
}

/// When to try again: given the time of the message, the failures so far and the time now. `None`:
/// give up. [`RetrySchedule`] but in tests.
type Pauses = dyn Fn(SystemTime, u32, SystemTime) -> Option<Duration> + Send + Sync;

/// The pauses, a little longer at random.
#[derive(Clone)]
pub(super) struct Schedule(Arc<Pauses>);

impl Schedule {
    pub(super) fn new(
        pauses: impl Fn(SystemTime, u32, SystemTime) -> Option<Duration> + Send + Sync + 'static,
    ) -> Schedule {
        Schedule(Arc::new(pauses))
    }

    /// That of every relay.
    pub(super) fn of_relays() -> Schedule {
        Schedule::new(|since, failures, now| RetrySchedule::of(since).next_attempt(failures, now))
    }

    /// Whether a notification of a message of that time is still worth something.
    pub(super) fn is_in_time(&self, since: SystemTime, now: SystemTime) -> bool {
        (self.0)(since, 0, now).is_some()
    }

    /// The pause after that many failures, not less than the push service asked for. `None`: give up.
    pub(super) fn pause(
        &self,
        since: SystemTime,
        failures: u8,
        retry_after: Option<Duration>,
        now: SystemTime,
    ) -> Option<Duration> {
        let least = (self.0)(since, failures.into(), now)?;
        let least = least.max(retry_after.unwrap_or_default());
        let in_time = |pause: &Duration| self.is_in_time(since, now + *pause);
        // The last one before the deadline is not to miss it by the random part.
        [jittered(least), least].into_iter().find(in_time)
    }
}

/// All that a request needs.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) service: PushService,
    pub(super) mailboxes: Arc<Mailboxes>,
}

impl Attempt {
    /// Sends a notification.
    pub(super) async fn make(&self, token: String, address: String) -> Outcome {
        match self.service.post(token.clone()).await {
            Answer::Taken => Outcome::Delivered,
            Answer::Gone => match self.remove_token(token, address).await {
                Ok(()) => Outcome::DeviceGone,
                Err(why) => Outcome::Failed {
                    why: format!("the token stays: {}", why.kind()),
                    retry_after: None,
                },
            },
            Answer::NotTaken(status, retry_after) => Outcome::Failed {
                why: status.to_string(),
                retry_after,
            },
            Answer::Unwell(why, retry_after) => Outcome::Unwell { why, retry_after },
        }
    }

    /// Removes the token from its mailbox; fine if there is none of this address.
    async fn remove_token(&self, token: String, address: String) -> io::Result<()> {
        let Some(address) = Address::parse(address.as_bytes(), self.mailboxes.domain()) else {
            return Ok(());
        };
        let mailbox = self.mailboxes.mailbox(&address);
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

/// What the file of a notification says at the moment.
#[derive(Debug)]
pub(super) enum Found {
    Pending(Pending),
    /// There is no file any more.
    Vanished,
    /// It will never be a notification.
    Unreadable(String),
    /// It cannot be read now: out of descriptors, a failing disk.
    CannotRead(String),
}

/// Reads a file of the spool: 20 µs or less of system calls, which is less than another thread costs.
pub(super) fn find(file: PathBuf) -> Found {
    match Pending::read(file) {
        Ok(Some(pending)) => Found::Pending(pending),
        Ok(None) => Found::Vanished,
        Err(unreadable) if unreadable.damaged => Found::Unreadable(unreadable.why),
        Err(unreadable) => Found::CannotRead(unreadable.why),
    }
}
