//! New accounts for whoever asks on the web: a random address with a random password.
//!
//! [`random`] thinks one up, [`Registrar`] makes it if the sign-up policy, and where it has to be an
//! invitation, allow it. [`random_ci`] thinks one up for an automatic test.
//!
//! ```no_run
//! use chatmail_core::account::Registrar;
//! use chatmail_core::config::Config;
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! match Registrar::new(&config).create("192.0.2.7".parse().ok(), None)? {
//!     Ok(made) => println!("{}", made.account.address),
//!     Err(refusal) => println!("no: {refusal}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::address::{Address, CI_PREFIXES, LOCALPART_MAX, MailDomain};
use crate::auth::hash_password;
use crate::config::{Config, Registration, TlsMode};
use crate::counters::{Counter, Counters};
use crate::invite::{Invites, NotInvited};
use crate::mailbox::{Creation, Mailboxes};
use crate::signup::host::{Host, ThisHost};
use crate::signup::{AUTOMATIC_PASSWORD_LENGTH, Door, NotCreated, PASSWORD_MAX, Policy};

/// Of the localpart.
const LOCALPART: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Of the password of an automatic test.
const LETTERS_AND_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Characters of the password beyond `password_min_length`.
const PASSWORD_MORE: usize = 3;

/// How often a random address may be taken before there are no more: only where
/// `username_max_length` is very small.
const TRIES: usize = 16;

/// What a query has not to encode (RFC 3986 section 2.3).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An address nobody chose, and its password. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Has `username_max_length` characters out of `[a-z0-9]` before the `@`, at most [`LOCALPART_MAX`]; for
    /// a test account, the first three of them are `ci-`.
    pub address: Address,
    /// `password_min_length + 3` letters, digits and other printable ASCII characters; of a test,
    /// `password_min_length` letters and digits.
    pub password: String,
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("NewAccount");
        debug
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Thinks up an account. Nothing is made, and nobody is asked whether the address is free.
///
/// # Errors
///
/// The system has no randomness, or `username_max_length` makes no address.
pub fn random(config: &Config) -> io::Result<NewAccount> {
    Recipe::new(config).random()
}

/// Thinks up an account for an automatic test, which reports do not count as a person. As [`random`], but
/// every relay takes it in a first login: its password is never as long as that of a sign-up nobody asked for.
///
/// # Errors
///
/// As for [`random`]; `username_max_length` has to leave room for `ci-`.
pub fn random_ci(config: &Config) -> io::Result<NewAccount> {
    let [prefix, ..] = CI_PREFIXES;
    let recipe = Recipe::new(config);
    let length = match config.password_min_length {
        AUTOMATIC_PASSWORD_LENGTH => AUTOMATIC_PASSWORD_LENGTH + 1,
        length => length.min(PASSWORD_MAX),
    };
    Ok(NewAccount {
        address: recipe.address(prefix)?,
        password: random_text(LETTERS_AND_DIGITS, length)?,
    })
}

/// The link that takes Delta Chat to the account where it could not look up how by itself: with a
/// self-signed certificate, which `ic=3` says to accept. `None` with any other.
pub fn dclogin_url(config: &Config, account: &NewAccount) -> Option<String> {
    if config.tls.mode != TlsMode::SelfSigned {
        return None;
    }
    let address = &account.address;
    let password = utf8_percent_encode(&account.password, QUERY);
    let hosts = match config.mail_domain.is_literal() {
        true => format!("&ih={0}&sh={0}", config.mail_domain.bare()),
        false => String::new(),
    };
    Some(format!("dclogin:{address}?p={password}&v=1{hosts}&ic=3"))
}

/// As many random characters of `alphabet` as that, each as probable as any other.
pub(crate) fn random_text(alphabet: &[u8], length: usize) -> io::Result<String> {
    // What lies beyond the last whole multiple would make the first characters more probable.
    let size = alphabet.len().clamp(1, 256);
    let usable = 256 - 256 % size;
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes)
            .map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
        let characters = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|number| *number < usable)
            .filter_map(|number| alphabet.get(number % size));
        text.extend(
            characters
                .take(length - text.len())
                .map(|byte| char::from(*byte)),
        );
    }
    Ok(text)
}

/// What new accounts are made of.
#[derive(Debug)]
struct Recipe {
    domain: MailDomain,
    localpart_length: usize,
    password_length: usize,
}

impl Recipe {
    fn new(config: &Config) -> Recipe {
        Recipe {
            domain: config.mail_domain.clone(),
            localpart_length: config.username_max_length.min(LOCALPART_MAX),
            password_length: config.password_min_length.saturating_add(PASSWORD_MORE),
        }
    }

    fn random(&self) -> io::Result<NewAccount> {
        let printable: Vec<u8> = (b'!'..=b'~').collect();
        Ok(NewAccount {
            address: self.address("")?,
            password: random_text(&printable, self.password_length.min(PASSWORD_MAX))?,
        })
    }

    /// As long as it may be, with something random after `prefix`.
    fn address(&self, prefix: &str) -> io::Result<Address> {
        let length = self.localpart_length;
        let none = || io::Error::other(format!("username_max_length = {length} makes no address"));
        let more = length.checked_sub(prefix.len());
        let more = more.filter(|more| *more > 0).ok_or_else(none)?;
        let localpart = random_text(LOCALPART, more)?;
        let address = format!("{prefix}{localpart}@{}", self.domain.in_address());
        Address::parse_new(address.as_bytes(), &self.domain).map_err(|_| none())
    }
}

/// The account that was made, and what the log should be told: limits that could not be read.
#[derive(Debug)]
pub struct Made {
    /// It exists now.
    pub account: NewAccount,
    /// Without an address in them.
    pub warnings: Vec<String>,
}

/// Why no account was made. `Display` gives the line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A rule of the sign-up policy.
    NotCreated(NotCreated),
    /// The invitation is of no use.
    NotInvited(NotInvited),
}

impl Refusal {
    /// One of a fixed list of words, for the log.
    pub fn word(&self) -> &'static str {
        match self {
            Refusal::NotCreated(rule) => rule.word(),
            Refusal::NotInvited(why) => why.word(),
        }
    }

    /// What Delta Chat shows to its user.
    pub fn reply(&self) -> &'static str {
        match self {
            Refusal::NotInvited(NotInvited::Unknown) => "This invitation is not known.",
            Refusal::NotInvited(NotInvited::Expired) => "This invitation has expired.",
            Refusal::NotInvited(NotInvited::UsedUp) => "This invitation has been used already.",
            Refusal::NotCreated(rule) => match rule {
                NotCreated::SwitchedOff | NotCreated::Closed | NotCreated::Automatic => {
                    "This relay takes no new accounts."
                }
                NotCreated::InviteOnly => "New accounts at this relay need an invitation.",
                NotCreated::NetworkRate => {
                    "Too many new accounts from your network. Please try again later."
                }
                NotCreated::TotalRate => "Too many new accounts. Please try again later.",
                NotCreated::Load(_) | NotCreated::Memory(_) | NotCreated::Disk(_) => {
                    "This relay is busy. Please try again later."
                }
                NotCreated::Password
                | NotCreated::LocalpartLength
                | NotCreated::LocalpartCharacters => "This relay cannot make accounts now.",
            },
        }
    }

    /// Whether a good invitation would help.
    fn lacks_invitation(&self) -> bool {
        matches!(
            self,
            Refusal::NotInvited(_) | Refusal::NotCreated(NotCreated::InviteOnly)
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotCreated(rule) => rule.fmt(f),
            Refusal::NotInvited(why) => why.fmt(f),
        }
    }
}

impl From<NotCreated> for Refusal {
    fn from(rule: NotCreated) -> Refusal {
        Refusal::NotCreated(rule)
    }
}

impl From<NotInvited> for Refusal {
    fn from(why: NotInvited) -> Refusal {
        Refusal::NotInvited(why)
    }
}

/// Makes accounts for strangers. Shared freely between threads.
#[derive(Debug)]
pub struct Registrar {
    mailboxes: Mailboxes,
    policy: Policy,
    invites: Invites,
    counters: Counters,
    by_invitation: bool,
    recipe: Recipe,
}

/// Why there is no account yet.
enum Not {
    Taken,
    Refused(Refusal),
}

impl From<NotCreated> for Not {
    fn from(rule: NotCreated) -> Not {
        Not::Refused(rule.into())
    }
}

impl From<NotInvited> for Not {
    fn from(why: NotInvited) -> Not {
        Not::Refused(why.into())
    }
}

impl Registrar {
    /// For the relay of `config`.
    pub fn new(config: &Config) -> Registrar {
        Registrar::on_host(config, Arc::new(ThisHost))
    }

    pub(crate) fn on_host(config: &Config, host: Arc<dyn Host>) -> Registrar {
        let mailboxes = config.mailboxes();
        Registrar {
            policy: Policy::new(config, host),
            invites: Invites::new(&mailboxes),
            counters: Counters::new(&mailboxes),
            mailboxes,
            by_invitation: config.registration == Registration::Invite,
            recipe: Recipe::new(config),
        }
    }

    /// Makes an account if the sign-up policy allows it, and with `registration = invite` the token as
    /// well. Elsewhere a token is not looked at. Takes milliseconds: the password is hashed.
    ///
    /// `client_ip` is for the rates of new addresses, as in [`crate::auth::Authenticator::login`]. A token
    /// that is of no use counts against the rate of the client's network, so that it cannot guess for long.
    /// What became of it is counted, see [`crate::counters`].
    ///
    /// # Errors
    ///
    /// It could not be told, or done; nothing was made then.
    pub fn create(
        &self,
        client_ip: Option<IpAddr>,
        token: Option<&str>,
    ) -> io::Result<Result<Made, Refusal>> {
        let decided = self.decide(client_ip, token.filter(|_| self.by_invitation));
        self.count(&decided);
        decided
    }

    fn count(&self, decided: &io::Result<Result<Made, Refusal>>) {
        self.counters.count(match decided {
            Ok(Ok(_)) => Counter::AccountNewWeb,
            Ok(Err(refusal)) if refusal.lacks_invitation() => Counter::NewRefusedInvitation,
            Ok(Err(_)) => Counter::NewRefusedPolicy,
            Err(_) => Counter::NewRefusedUndecided,
        });
        if let Ok(Err(Refusal::NotCreated(rule))) = decided {
            self.counters.count(rule.counter());
        }
    }

    fn decide(
        &self,
        client_ip: Option<IpAddr>,
        token: Option<&str>,
    ) -> io::Result<Result<Made, Refusal>> {
        for _ in 0..TRIES {
            match self.create_once(client_ip, token)? {
                Ok(made) => return Ok(Ok(made)),
                Err(Not::Taken) => {}
                Err(Not::Refused(refusal)) => {
                    if matches!(refusal, Refusal::NotInvited(_)) {
                        self.policy.penalize(client_ip)?;
                    }
                    return Ok(Err(refusal));
                }
            }
        }
        let why = "every random address is taken: username_max_length is too small";
        Err(io::Error::other(why))
    }

    fn create_once(
        &self,
        client_ip: Option<IpAddr>,
        token: Option<&str>,
    ) -> io::Result<Result<Made, Not>> {
        let account = self.recipe.random()?;
        let door = Door::Web {
            invited: token.is_some(),
        };
        let password = account.password.as_bytes();
        let mut warnings = match self
            .policy
            .judge(&account.address, password, client_ip, door)?
        {
            Ok(warnings) => warnings,
            Err(rule) => return Ok(Err(rule.into())),
        };
        if let Some(token) = token
            && let Err(why) = self.invites.check(token, SystemTime::now())?
        {
            return Ok(Err(why.into()));
        }
        // Before any lock, which is not to be held while hashing.
        let hash = hash_password(password)?;
        let mailbox = self.mailboxes.mailbox(&account.address);
        let mut make = || {
            let now = SystemTime::now();
            let permit = || {
                let admitted = self.policy.admit(client_ip)?;
                Ok(admitted.map(|more| warnings.extend(more)))
            };
            let created = mailbox.create_if(&hash, now, permit)?;
            Ok(match created {
                Ok(Creation::Created) => Ok(()),
                Ok(Creation::Existed) => Err(Not::Taken),
                Err(rule) => Err(rule.into()),
            })
        };
        let made = match token {
            Some(token) => self.invites.redeem(token, SystemTime::now(), make)?,
            None => make()?,
        };
        Ok(made.map(|()| Made { account, warnings }))
    }
}

#[cfg(test)]
mod tests;
