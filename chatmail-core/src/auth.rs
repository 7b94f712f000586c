//! Login and the creation of accounts.
//!
//! ```no_run
//! use chatmail_core::auth::{Authenticator, Login};
//! use chatmail_core::config::Config;
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! match Authenticator::new(&config).login(b"alice@chat.example", b"correct horse", None)? {
//!     Login::Known(user) | Login::Created(user, _) => println!("{}", user.home.display()),
//!     Login::Refused(reason) => println!("no: {reason}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::address::Address;
use crate::config::Config;
use crate::counters::{Counter, Counters};
use crate::mailbox::{Creation, Mailbox, Mailboxes, named};
use crate::signup::host::{Host, ThisHost};
use crate::signup::{Door, NotCreated, PASSWORD_MAX, Policy};

mod password;
mod standing;
mod verified;

pub use standing::{Standing, is_hash_of, is_usable_hash, standing};

use password::PasswordHash;
use verified::{Verdict, Verified};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers logins. Shared freely between threads. Keep one for as long as the process lives: it
/// remembers, in memory and in a bounded table, which passwords it has verified, so that a
/// repeated login needs no SHA512-CRYPT. The mailbox is read at every login all the same.
#[derive(Debug, Clone)]
pub struct Authenticator {
    mailboxes: Mailboxes,
    policy: Arc<Policy>,
    verified: Arc<Verified>,
    counters: Arc<Counters>,
    /// Who comes back after this is noted at once, and not when the session starts.
    long_away: Duration,
}

/// A user's answer to Dovecot.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// In lower case.
    pub address: Address,
    /// Home and maildir.
    pub home: PathBuf,
    /// `{SHA512-CRYPT}$6$…`, as the file holds it.
    pub password: String,
}

impl fmt::Debug for User {
    /// Without the hash: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("User");
        debug
            .field("address", &self.address)
            .field("home", &self.home);
        debug.finish_non_exhaustive()
    }
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The address exists and the password is right.
    Known(User),
    /// The address did not exist; now it does, with this password. The host limits that could not
    /// be read, for the log: they are ignored.
    Created(User, Vec<String>),
    /// No.
    Refused(Refusal),
}

/// Why a login or a look-up was refused. `Display` gives the line for the log: no address, no
/// password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not an address of this relay, or one that does not exist (look-ups only).
    UnknownAddress,
    /// The hash does not match.
    WrongPassword,
    /// `password` is empty or unreadable as a hash, or there is a file `DISABLED`.
    Blocked,
    /// The address does not exist and may not be created.
    NotCreated(NotCreated),
}

impl Refusal {
    fn counter(&self) -> Counter {
        match self {
            Refusal::UnknownAddress => Counter::LoginUnknown,
            Refusal::WrongPassword => Counter::LoginWrongPassword,
            Refusal::Blocked => Counter::LoginBlocked,
            Refusal::NotCreated(_) => Counter::LoginNotCreated,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownAddress => f.write_str("unknown address"),
            Refusal::WrongPassword => f.write_str("wrong password"),
            Refusal::Blocked => f.write_str("blocked by the operator"),
            Refusal::NotCreated(rule) => write!(f, "not created: {rule}"),
        }
    }
}

/// Could not decide: a temporary failure. `Display` names the file at fault.
#[derive(Debug)]
pub struct AuthError {
    error: io::Error,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for AuthError {}

impl From<io::Error> for AuthError {
    fn from(error: io::Error) -> AuthError {
        AuthError { error }
    }
}

/// What became of a login, and of its password if there was a hash to verify it with.
type Decision = Result<(Login, Option<Verdict>), AuthError>;

/// What a mailbox directory says about logins.
enum Account {
    Usable(PasswordHash),
    Blocked,
    Missing,
}

impl Authenticator {
    /// For the relay of `config`.
    pub fn new(config: &Config) -> Authenticator {
        Authenticator::on_host(config, Arc::new(ThisHost))
    }

    pub(crate) fn on_host(config: &Config, host: Arc<dyn Host>) -> Authenticator {
        let mailboxes = config.mailboxes();
        Authenticator {
            policy: Arc::new(Policy::new(config, host)),
            verified: Arc::new(Verified::new()),
            counters: Arc::new(Counters::new(&mailboxes)),
            long_away: DAY * (config.delete_inactive_users_after / 2),
            mailboxes,
        }
    }

    /// Verifies a login; creates the address at its first login if the policy allows it.
    ///
    /// An address that exists is verified before any rule of the policy: none of them, not even
    /// the kill switch, keeps an existing user out. The last login is touched only if it is so long ago
    /// that the expiry may come; else see [`Mailbox::note_login`]. `client_ip` is for the rate of new addresses of one network; for
    /// `None`, an unknown client, only the rate of all applies. What became of the login is
    /// counted, see [`crate::counters`].
    ///
    /// # Errors
    ///
    /// A file is there and cannot be read or written, a hash was cut short, or the directory holds
    /// something but no password. Nothing was created then.
    pub fn login(
        &self,
        address: &[u8],
        password: &[u8],
        client_ip: Option<IpAddr>,
    ) -> Result<Login, AuthError> {
        let decided = self.decide(address, password, client_ip);
        self.counters.count(match &decided {
            Ok((_, Some(Verdict::Remembered))) => Counter::LoginRemembered,
            Ok((Login::Known(_), _)) => Counter::LoginKnown,
            Ok((Login::Created(..), _)) => Counter::LoginCreated,
            Ok((Login::Refused(refusal), _)) => refusal.counter(),
            Err(_) => Counter::LoginUndecided,
        });
        if let Ok((Login::Refused(Refusal::NotCreated(rule)), _)) = &decided {
            self.counters.count(rule.counter());
        }
        decided.map(|(login, _)| login)
    }

    fn decide(&self, address: &[u8], password: &[u8], client_ip: Option<IpAddr>) -> Decision {
        let Some(address) = Address::parse(address, self.mailboxes.domain()) else {
            return Ok((Login::Refused(Refusal::UnknownAddress), None));
        };
        let mailbox = self.mailboxes.mailbox(&address);
        match self.existing(&address, &mailbox, password)? {
            Some(decided) => Ok(decided),
            None => self.create(&address, &mailbox, password, client_ip),
        }
    }

    /// The existing user, for the userdb and for credentials look-ups. Creates nothing.
    ///
    /// # Errors
    ///
    /// A file is there and cannot be read.
    pub fn lookup(&self, address: &[u8]) -> Result<Result<User, Refusal>, AuthError> {
        let Some(address) = Address::parse(address, self.mailboxes.domain()) else {
            return Ok(Err(Refusal::UnknownAddress));
        };
        let mailbox = self.mailboxes.mailbox(&address);
        Ok(match account(&mailbox)? {
            Account::Usable(hash) => Ok(user(&address, &mailbox, hash)),
            Account::Blocked => Err(Refusal::Blocked),
            Account::Missing => Err(Refusal::UnknownAddress),
        })
    }

    /// Into an address that exists; `None` if it does not.
    fn existing(
        &self,
        address: &Address,
        mailbox: &Mailbox,
        password: &[u8],
    ) -> io::Result<Option<(Login, Option<Verdict>)>> {
        let hash = match account(mailbox)? {
            Account::Usable(hash) => hash,
            Account::Blocked => return Ok(Some((Login::Refused(Refusal::Blocked), None))),
            Account::Missing => return Ok(None),
        };
        let verdict = self.verified.verify(&hash, password);
        if verdict != Verdict::Wrong && !self.keep(mailbox)? {
            return Ok(None);
        }
        let login = match verdict {
            Verdict::Remembered | Verdict::Right => Login::Known(user(address, mailbox, hash)),
            Verdict::Wrong => Login::Refused(Refusal::WrongPassword),
        };
        Ok(Some((login, Some(verdict))))
    }

    /// Keeps a mailbox that is entered after a long time from the expiry, which might take it before the
    /// session starts and notes the login. `false` if the expiry was quicker: there is no account any more.
    fn keep(&self, mailbox: &Mailbox) -> io::Result<bool> {
        let now = SystemTime::now();
        let away = match mailbox.last_login()? {
            Some(day) => now.duration_since(day).unwrap_or_default(),
            None => return Ok(false),
        };
        if away <= self.long_away {
            return Ok(true);
        }
        match mailbox.note_login(now) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(false),
                // Then the expiry cannot take it either.
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Ok(true),
                _ => Err(error),
            },
        }
    }

    fn create(
        &self,
        address: &Address,
        mailbox: &Mailbox,
        password: &[u8],
        client_ip: Option<IpAddr>,
    ) -> Decision {
        let not_created = |rule| (Login::Refused(Refusal::NotCreated(rule)), None);
        let mut warnings = match self
            .policy
            .judge(address, password, client_ip, Door::Login)?
        {
            Ok(warnings) => warnings,
            // Another connection of the same user may have made it since we looked, and used up
            // what the rule allowed.
            Err(rule) => {
                let made = self.existing(address, mailbox, password)?;
                return Ok(made.unwrap_or_else(|| not_created(rule)));
            }
        };
        // Before the lock, which is not to be held while hashing.
        let hash = PasswordHash::create(password)?;
        let permit = || {
            let admitted = self.policy.admit(client_ip)?;
            Ok(admitted.map(|more| warnings.extend(more)))
        };
        match mailbox.create_if(hash.as_str(), SystemTime::now(), permit)? {
            Err(rule) => Ok(not_created(rule)),
            Ok(Creation::Created) => {
                Ok((Login::Created(user(address, mailbox, hash), warnings), None))
            }
            // The first password won, and it was someone else's or ours from another connection.
            Ok(Creation::Existed) => self
                .existing(address, mailbox, password)?
                .ok_or_else(|| io::Error::other("an account vanished while it was created").into()),
        }
    }
}

/// What a `password` file holds for this password, with a salt of its own: for
/// [`Mailbox::create`], where an operator's program makes an account. Takes milliseconds.
///
/// # Errors
///
/// The system has no randomness, or the password is one nobody could log in with: empty, or longer
/// than [`PASSWORD_MAX`] bytes.
pub fn hash_password(password: &[u8]) -> io::Result<String> {
    if password.is_empty() || password.len() > PASSWORD_MAX {
        let why = format!("a password has 1 to {PASSWORD_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(PasswordHash::create(password)?.into_string())
}

fn account(mailbox: &Mailbox) -> io::Result<Account> {
    let password = mailbox.password()?;
    if mailbox.is_disabled()? {
        return Ok(Account::Blocked);
    }
    let Some(bytes) = password else {
        return Ok(Account::Missing);
    };
    match PasswordHash::parse(&bytes) {
        Some(hash) => Ok(Account::Usable(hash)),
        None if PasswordHash::is_cut_short(&bytes) => {
            let why = "the password is cut short: neither a hash nor empty, as for a blocked user";
            Err(named(mailbox.path(), io::Error::other(why)))
        }
        None => Ok(Account::Blocked),
    }
}

fn user(address: &Address, mailbox: &Mailbox, hash: PasswordHash) -> User {
    User {
        address: address.clone(),
        home: mailbox.path().to_owned(),
        password: hash.into_string(),
    }
}

#[cfg(test)]
mod tests;
