//! The sign-up policy: who may have a new address, and for what reason not.
//!
//! An address that exists never comes here: no rule keeps an existing user out. The rules are asked
//! in the order of [`NotCreated`], the rates last, since an address that another rule refuses is not
//! to use them up.
//!
//! | rule | keys of `chatmail.ini` |
//! |---|---|
//! | kill switch | `nocreate_file` |
//! | who may register | `registration` |
//! | automatic sign-ups | `refuse_automatic_signups` |
//! | password, localpart | `password_min_length`, `username_min_length`, `username_max_length`, and the grammar of [`Address::check_new`] |
//! | host | `max_load_1m`, `min_available_memory`, `min_free_disk_space` |
//! | rates | `max_network_signups_per_hour`, `max_signups_per_hour` |
//!
//! ```
//! use chatmail_core::signup::NotCreated;
//!
//! let reason = NotCreated::Load("load average 5.01 is above 5.00".to_owned());
//! assert_eq!(reason.word(), "load");
//! assert_eq!(reason.to_string(), "load: load average 5.01 is above 5.00");
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::address::{Address, AddressError};
use crate::config::{Config, Registration};
use crate::counters::Counter;

pub(crate) mod host;
mod rates;

pub use host::HostNow;

use host::Host;
use rates::{Exceeded, Rates};

/// The longest password `crypt` takes, in bytes (libxcrypt's `CRYPT_MAX_PASSPHRASE_SIZE` less its
/// NUL). No existing hash can be one of a longer password, and hashing takes time with its square.
pub const PASSWORD_MAX: usize = 511;

/// Characters in the password of a sign-up that nobody asked for.
///
/// Delta Chat core makes the addresses of relays it chooses by itself, from a list and without a
/// question to its user, with a password of 23 random characters out of `[A-Za-z0-9]`, and with one
/// of 22 where its user named the relay, by a link or code for example (`login_param_from_host` in
/// `src/autorelay.rs`, `mark_as_autorelay`; since September 2026, `chatmail/core` pull request 8701).
/// The length is all it marks them by. It is meant for relays that want nobody they were not chosen
/// by, and to go again some day. After a refusal core leaves the relay alone for a week.
pub(crate) const AUTOMATIC_PASSWORD_LENGTH: usize = 23;

/// The rule that said no. `Display` gives the line for the log, [`NotCreated::word`] first: no
/// address, no network and no password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCreated {
    /// The kill switch: the file named in the configuration exists.
    SwitchedOff,
    /// `registration = closed`.
    Closed,
    /// `registration = invite`: no login creates an address.
    InviteOnly,
    /// Delta Chat chose this relay without asking its user.
    Automatic,
    /// Shorter than `password_min_length` characters, or longer than `crypt` takes
    /// ([`PASSWORD_MAX`] bytes), or with a NUL.
    Password,
    /// Outside `username_min_length..=username_max_length`, or longer than
    /// [`LOCALPART_MAX`](crate::address::LOCALPART_MAX).
    LocalpartLength,
    /// A character outside `[a-z0-9._-]`, or a `.` or `-` in the wrong place: see
    /// [`Address::check_new`].
    LocalpartCharacters,
    /// The host is busy; the text has its load and the limit.
    Load(String),
    /// The host is short of memory; the text has the value and the limit.
    Memory(String),
    /// The host is short of disk space; the text has the value and the limit.
    Disk(String),
    /// More than `max_network_signups_per_hour`.
    NetworkRate,
    /// More than `max_signups_per_hour`.
    TotalRate,
}

impl NotCreated {
    /// One of a fixed list of words, the same as in the name of its counter.
    pub fn word(&self) -> &'static str {
        match self {
            NotCreated::SwitchedOff => "switched-off",
            NotCreated::Closed => "closed",
            NotCreated::InviteOnly => "invite-only",
            NotCreated::Automatic => "automatic",
            NotCreated::Password => "password",
            NotCreated::LocalpartLength => "localpart-length",
            NotCreated::LocalpartCharacters => "localpart-characters",
            NotCreated::Load(_) => "load",
            NotCreated::Memory(_) => "memory",
            NotCreated::Disk(_) => "disk",
            NotCreated::NetworkRate => "network-rate",
            NotCreated::TotalRate => "total-rate",
        }
    }

    /// What counts it.
    pub fn counter(&self) -> Counter {
        match self {
            NotCreated::SwitchedOff => Counter::SignupSwitchedOff,
            NotCreated::Closed => Counter::SignupClosed,
            NotCreated::InviteOnly => Counter::SignupInviteOnly,
            NotCreated::Automatic => Counter::SignupAutomatic,
            NotCreated::Password => Counter::SignupPassword,
            NotCreated::LocalpartLength => Counter::SignupLocalpartLength,
            NotCreated::LocalpartCharacters => Counter::SignupLocalpartCharacters,
            NotCreated::Load(_) => Counter::SignupLoad,
            NotCreated::Memory(_) => Counter::SignupMemory,
            NotCreated::Disk(_) => Counter::SignupDisk,
            NotCreated::NetworkRate => Counter::SignupNetworkRate,
            NotCreated::TotalRate => Counter::SignupTotalRate,
        }
    }
}

impl fmt::Display for NotCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = match self {
            NotCreated::SwitchedOff => "the creation of accounts is switched off",
            NotCreated::Closed => "this relay takes no new accounts",
            NotCreated::InviteOnly => "new accounts need an invitation",
            NotCreated::Automatic => "Delta Chat chose this relay without asking its user",
            NotCreated::Password => "password too short, too long, or with a NUL",
            NotCreated::LocalpartLength => "localpart too short or too long",
            NotCreated::LocalpartCharacters => {
                "localpart with a character outside [a-z0-9._-], or '.' or '-' out of place"
            }
            NotCreated::Load(which) | NotCreated::Memory(which) | NotCreated::Disk(which) => which,
            NotCreated::NetworkRate => "too many new accounts from one network",
            NotCreated::TotalRate => "too many new accounts",
        };
        write!(f, "{}: {explanation}", self.word())
    }
}

/// The rules with their limits.
#[derive(Debug)]
pub(crate) struct Policy {
    nocreate_file: PathBuf,
    registration: Registration,
    refuse_automatic_signups: bool,
    password_min_length: usize,
    username_min_length: usize,
    username_max_length: usize,
    max_load_1m: f64,
    min_available_memory: u64,
    min_free_disk_space: u64,
    mailboxes_dir: PathBuf,
    host: Arc<dyn Host>,
    rates: Rates,
}

/// How somebody asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// By a login with an address and a password of their own.
    Login,
    /// By asking for one, on the web.
    Web {
        /// They bring an invitation, which is looked at later.
        invited: bool,
    },
}

/// May be created, with warnings for the log; or not. `Err`: it cannot be told.
pub(crate) type Judgement = io::Result<Result<Vec<String>, NotCreated>>;

impl Policy {
    pub(crate) fn new(config: &Config, host: Arc<dyn Host>) -> Policy {
        Policy {
            nocreate_file: config.nocreate_file.clone(),
            registration: config.registration,
            refuse_automatic_signups: config.refuse_automatic_signups,
            password_min_length: config.password_min_length,
            username_min_length: config.username_min_length,
            username_max_length: config.username_max_length,
            max_load_1m: config.max_load_1m,
            min_available_memory: config.min_available_memory,
            min_free_disk_space: config.min_free_disk_space,
            mailboxes_dir: config.mailboxes_dir.clone(),
            host,
            rates: Rates::new(config),
        }
    }

    /// Asks every rule and uses nothing up: most of what is refused is refused here, before a
    /// password is hashed or a directory made.
    pub(crate) fn judge(
        &self,
        address: &Address,
        password: &[u8],
        client_ip: Option<IpAddr>,
        door: Door,
    ) -> Judgement {
        let switched_off = fs::exists(&self.nocreate_file)
            .map_err(|error| crate::mailbox::named(&self.nocreate_file, error))?;
        if switched_off {
            return Ok(Err(NotCreated::SwitchedOff));
        }
        let judged = self
            .judge_registration(password, door)
            .and_then(|()| self.judge_password(password))
            .and_then(|()| self.judge_localpart(address))
            .and_then(|()| self.judge_host());
        let mut warnings = match judged {
            Ok(warnings) => warnings,
            Err(rule) => return Ok(Err(rule)),
        };
        Ok(self.rates.ask(client_ip, SystemTime::now)?.map_or_else(
            |exceeded| Err(exceeded.into()),
            |more| {
                warnings.extend(more);
                Ok(warnings)
            },
        ))
    }

    /// Counts the new address against the rates, if they still allow it. To be asked under the
    /// mailbox's lock, when it is sure that the address is new: several first logins at a time make
    /// one account, and count as one.
    pub(crate) fn admit(&self, client_ip: Option<IpAddr>) -> Judgement {
        let taken = self.rates.take(client_ip, SystemTime::now)?;
        Ok(taken
            .map(|warning| warning.into_iter().collect())
            .map_err(NotCreated::from))
    }

    /// Counts something that is no sign-up against the rate of the client's network, such as a guess at
    /// an invitation. Not against the rate of all: that would shut out everybody.
    pub(crate) fn penalize(&self, client_ip: Option<IpAddr>) -> io::Result<()> {
        self.rates.take_of_network(client_ip, SystemTime::now)
    }

    fn judge_registration(&self, password: &[u8], door: Door) -> Result<(), NotCreated> {
        match (self.registration, door) {
            (Registration::Open, _) | (Registration::Invite, Door::Web { invited: true }) => {}
            (Registration::Invite, _) => return Err(NotCreated::InviteOnly),
            (Registration::Closed, _) => return Err(NotCreated::Closed),
        }
        if door == Door::Login
            && self.refuse_automatic_signups
            && characters(password) == AUTOMATIC_PASSWORD_LENGTH
        {
            return Err(NotCreated::Automatic);
        }
        Ok(())
    }

    fn judge_password(&self, password: &[u8]) -> Result<(), NotCreated> {
        if characters(password) < self.password_min_length
            || password.len() > PASSWORD_MAX
            || password.contains(&0)
        {
            return Err(NotCreated::Password);
        }
        Ok(())
    }

    fn judge_localpart(&self, address: &Address) -> Result<(), NotCreated> {
        let lengths = self.username_min_length..=self.username_max_length;
        if !lengths.contains(&address.localpart().len()) {
            return Err(NotCreated::LocalpartLength);
        }
        address.check_new().map_err(|rule| match rule {
            AddressError::Length => NotCreated::LocalpartLength,
            AddressError::Foreign | AddressError::Characters | AddressError::Placement => {
                NotCreated::LocalpartCharacters
            }
        })
    }

    fn judge_host(&self) -> Result<Vec<String>, NotCreated> {
        let mut warnings = Vec::new();
        if let Some(load) = known("load", self.host.load(), &mut warnings)
            && load > self.max_load_1m
        {
            let limit = self.max_load_1m;
            return Err(NotCreated::Load(format!(
                "load average {load:.2} is above {limit:.2}"
            )));
        }
        let what = "available memory";
        let memory = known(what, self.host.available_memory(), &mut warnings);
        at_least(what, memory, self.min_available_memory).map_err(NotCreated::Memory)?;
        let what = "free disk space";
        let disk = self.host.free_disk_space(&self.mailboxes_dir);
        let disk = known(what, disk, &mut warnings);
        at_least(what, disk, self.min_free_disk_space).map_err(NotCreated::Disk)?;
        Ok(warnings)
    }
}

impl From<Exceeded> for NotCreated {
    fn from(exceeded: Exceeded) -> NotCreated {
        match exceeded {
            Exceeded::Network => NotCreated::NetworkRate,
            Exceeded::Total => NotCreated::TotalRate,
        }
    }
}

/// Any bytes do; what is not UTF-8 counts as one character for each faulty sequence.
fn characters(password: &[u8]) -> usize {
    String::from_utf8_lossy(password).chars().count()
}

/// A limit that cannot be read must not lock everyone out: it is noted and ignored.
fn known<T>(what: &str, value: io::Result<T>, warnings: &mut Vec<String>) -> Option<T> {
    value
        .map_err(|error| warnings.push(format!("{what} cannot be read and is ignored: {error}")))
        .ok()
}

fn at_least(what: &str, value: Option<u64>, limit: u64) -> Result<(), String> {
    match value {
        Some(value) if value < limit => {
            let (value, limit) = (value >> 20, limit >> 20);
            Err(format!("{what} {value} MB is below {limit} MB"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
