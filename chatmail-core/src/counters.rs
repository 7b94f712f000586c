//! What happened how often, counted by all processes of the relay in one file.
//!
//! `MAILBOXES_DIR/.chatmail/counters` is text that `cat` shows and Prometheus reads: one line of
//! 96 bytes for each counter, its name and its value, in the order of [`Counter`]. A line never
//! moves, so an increment reads one line and writes its last 21 bytes, under `flock`. That takes about 11 µs of
//! processor time, 4 of them for opening the file. No line holds an address.
//!
//! ```no_run
//! use chatmail_core::config::Config;
//! use chatmail_core::counters::{Counter, Counters};
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! let counters = Counters::new(&config.mailboxes());
//! counters.count(Counter::LoginKnown);
//! for (name, value) in counters.read()? {
//!     println!("{name} {value}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::mailbox::{Mailboxes, named, open_regular};
use crate::state::StateFile;

const NAME: &str = "counters";

/// Bytes of a line, its line break included.
const LINE: usize = 96;

/// Digits of the largest value, and the line break.
const VALUE: usize = 21;

/// No request waits longer than this for a counter; it goes uncounted then.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often the file is read again until two readings are the same.
const READINGS: usize = 8;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is counted. The list only ever grows at its end: the place of a counter in it is its
        /// place in the file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// All counters, in the order of the file.
            pub const ALL: &[Counter] = &[$(Counter::$variant,)*];

            /// The name with its labels, as Prometheus writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$variant => $name,)*
                }
            }
        }
    };
}

counters! {
    /// The password was right; SHA512-CRYPT told.
    LoginKnown = r#"chatmail_logins_total{result="known"}"#,
    /// The password was right; the process remembered it.
    LoginRemembered = r#"chatmail_logins_total{result="remembered"}"#,
    /// A login created its address.
    LoginCreated = r#"chatmail_logins_total{result="created"}"#,
    /// Another password.
    LoginWrongPassword = r#"chatmail_logins_total{result="wrong-password"}"#,
    /// The operator blocked the address.
    LoginBlocked = r#"chatmail_logins_total{result="blocked"}"#,
    /// No address of this relay.
    LoginUnknown = r#"chatmail_logins_total{result="unknown"}"#,
    /// The address does not exist, and the sign-up policy said no.
    LoginNotCreated = r#"chatmail_logins_total{result="not-created"}"#,
    /// It could not be told: a temporary failure.
    LoginUndecided = r#"chatmail_logins_total{result="undecided"}"#,
    /// `nocreate_file` is there. This and the next ones: the rules of the sign-up policy.
    SignupSwitchedOff = r#"chatmail_signups_refused_total{reason="switched-off"}"#,
    /// `registration = closed`.
    SignupClosed = r#"chatmail_signups_refused_total{reason="closed"}"#,
    /// `registration = invite`.
    SignupInviteOnly = r#"chatmail_signups_refused_total{reason="invite-only"}"#,
    /// `password_min_length`.
    SignupPassword = r#"chatmail_signups_refused_total{reason="password"}"#,
    /// `username_min_length`, `username_max_length`.
    SignupLocalpartLength = r#"chatmail_signups_refused_total{reason="localpart-length"}"#,
    /// A character no new address may have.
    SignupLocalpartCharacters = r#"chatmail_signups_refused_total{reason="localpart-characters"}"#,
    /// `refuse_automatic_signups`.
    SignupAutomatic = r#"chatmail_signups_refused_total{reason="automatic"}"#,
    /// `max_load_1m`.
    SignupLoad = r#"chatmail_signups_refused_total{reason="load"}"#,
    /// `min_available_memory`.
    SignupMemory = r#"chatmail_signups_refused_total{reason="memory"}"#,
    /// `min_free_disk_space`.
    SignupDisk = r#"chatmail_signups_refused_total{reason="disk"}"#,
    /// `max_network_signups_per_hour`.
    SignupNetworkRate = r#"chatmail_signups_refused_total{reason="network-rate"}"#,
    /// `max_signups_per_hour`.
    SignupTotalRate = r#"chatmail_signups_refused_total{reason="total-rate"}"#,
    /// LMTP stored a message, whoever it is from and whether or not it wakes a device.
    Delivery = "chatmail_deliveries_total",
    /// A notification was spooled for one device.
    PushSpooled = "chatmail_push_spooled_total",
    /// The push service took it. This and the next ones: how a spooled notification ended.
    PushDelivered = r#"chatmail_push_total{result="delivered"}"#,
    /// The push service knows the device no longer; its token was removed.
    PushDeviceGone = r#"chatmail_push_total{result="device-gone"}"#,
    /// Too many failures, or too long after the message.
    PushGivenUp = r#"chatmail_push_total{result="given-up"}"#,
    /// The file in the spool was none.
    PushUnreadable = r#"chatmail_push_total{result="unreadable"}"#,
    /// Another notification for the same device went in its place.
    PushMerged = r#"chatmail_push_total{result="merged"}"#,
    /// An attempt failed, and there will be another.
    PushRetry = "chatmail_push_retries_total",
    /// Mailboxes nobody used for too long. This and the next ones: removed by the expiry.
    ExpiredMailboxes = r#"chatmail_expired_total{what="mailboxes"}"#,
    /// Messages older than `delete_mails_after`.
    ExpiredMessages = r#"chatmail_expired_total{what="messages"}"#,
    /// Large messages older than `delete_large_after`.
    ExpiredLargeMessages = r#"chatmail_expired_total{what="large-messages"}"#,
    /// What the removed messages and mailboxes took.
    ExpiredBytes = "chatmail_expired_bytes_total",
    /// `POST /new` made an account. One that a login makes is [`Counter::LoginCreated`].
    AccountNewWeb = r#"chatmail_accounts_new_total{by="web"}"#,
    /// A command of the operator made an account.
    AccountNewOperator = r#"chatmail_accounts_new_total{by="operator"}"#,
    /// The sign-up policy said no to `POST /new`; its rule is counted besides.
    NewRefusedPolicy = r#"chatmail_new_refused_total{reason="policy"}"#,
    /// No invitation, or one that is unknown, expired or used up.
    NewRefusedInvitation = r#"chatmail_new_refused_total{reason="invitation"}"#,
    /// Too many requests at a time.
    NewRefusedBusy = r#"chatmail_new_refused_total{reason="busy"}"#,
    /// It could not be told: a temporary failure.
    NewRefusedUndecided = r#"chatmail_new_refused_total{reason="undecided"}"#,
}

/// The counters of one relay.
#[derive(Debug)]
pub struct Counters {
    file: StateFile,
    patience: Duration,
}

impl Counters {
    /// Those of the relay with these mailboxes.
    pub fn new(mailboxes: &Mailboxes) -> Counters {
        Counters {
            file: StateFile::new(mailboxes.dir(), NAME),
            patience: PATIENCE,
        }
    }

    /// Adds one. If that cannot be done, for lack of space or permission for example, it is not
    /// counted: no request fails for it, and none waits longer than 50 ms.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds so many, as [`Counters::count`] does one. Nothing to add costs nothing.
    pub fn add(&self, counter: Counter, more: u64) {
        self.add_each(&[(counter, more)]);
    }

    /// Adds to several counters at the price of hardly more than one: the file is locked once.
    pub fn add_each(&self, numbers: &[(Counter, u64)]) {
        if numbers.iter().all(|(_, more)| *more == 0) {
            return;
        }
        let _ = self.file.locked(self.patience, |file| {
            let mut numbers = numbers.iter().filter(|(_, more)| *more > 0);
            numbers.try_for_each(|(counter, more)| add(file, *counter, *more))
        });
    }

    /// Name and value of every counter, in the order of [`Counter::ALL`]. What was never counted is 0.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read.
    pub fn read(&self) -> io::Result<Vec<(&'static str, u64)>> {
        let path = self.file.path();
        let text = match read_whole(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(named(path, error)),
        };
        let lines = text.chunks(LINE).chain(std::iter::repeat(&[][..]));
        let values = Counter::ALL.iter().zip(lines);
        Ok(values
            .map(|(counter, line)| (counter.name(), value(line, *counter).unwrap_or(0)))
            .collect())
    }
}

/// Reads no more than the lines that are known, and nothing that would hang.
fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    // Without the lock, not to hold a login up. Digits that another process is writing then may be
    // half the old and half the new ones: not twice the same.
    let mut text = read_once(&file)?;
    for _ in 0..READINGS {
        let again = read_once(&file)?;
        if text == again {
            break;
        }
        text = again;
    }
    Ok(text)
}

fn read_once(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; Counter::ALL.len() * LINE];
    let mut read = 0;
    while let Some(rest) = text.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(read);
    Ok(text)
}

fn add(file: &File, counter: Counter, more: u64) -> io::Result<()> {
    let place = (counter as u64) * (LINE as u64);
    let mut old = [0; LINE];
    match file.read_exact_at(&mut old, place) {
        Ok(()) => {}
        // New, or of a version with fewer counters.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            append_missing(file)?;
            file.read_exact_at(&mut old, place)?;
        }
        Err(error) => return Err(error),
    }
    match value(&old, counter) {
        Some(value) => {
            let digits = digits(value.saturating_add(more));
            file.write_all_at(digits.as_bytes(), place + (LINE - VALUE) as u64)
        }
        // Damaged: it starts anew, and so becomes a line again.
        None => file.write_all_at(line(counter, more).as_bytes(), place),
    }
}

fn append_missing(file: &File) -> io::Result<()> {
    let whole = usize::try_from(file.metadata()?.len()).map_or(usize::MAX, |length| length / LINE);
    let missing: String = Counter::ALL
        .iter()
        .skip(whole)
        .map(|counter| line(*counter, 0))
        .collect();
    file.write_all_at(missing.as_bytes(), (whole as u64) * (LINE as u64))
}

fn line(counter: Counter, value: u64) -> String {
    const NAME: usize = LINE - VALUE;
    format!("{:NAME$}{}", counter.name(), digits(value))
}

fn digits(value: u64) -> String {
    const DIGITS: usize = VALUE - 1;
    format!("{value:DIGITS$}\n")
}

/// `None` if it is not a whole line of this counter.
fn value(line: &[u8], counter: Counter) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (name, digits) = line.split_at_checked(LINE - VALUE)?;
    (name.trim_end() == counter.name() && digits.len() == VALUE - 1)
        .then(|| digits.trim_start().parse().ok())?
}

#[cfg(test)]
mod tests;
