//! Login and the creation of accounts.

use std::path::PathBuf;

use crate::address::Address;
use crate::config::Config;

/// Answers logins. Shared freely between threads; holds no state but the configuration.
#[derive(Debug, Clone)]
pub struct Authenticator {/* … */}

/// A user's answer to Dovecot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// In lower case.
    pub address: Address,
    /// Home and maildir.
    pub home: PathBuf,
    /// `{SHA512-CRYPT}$6$…`, as the file holds it.
    pub password: String,
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

/// The rule of the sign-up policy that said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCreated {
    /// The kill switch: the file named in the configuration exists.
    SwitchedOff,
    /// Shorter than `password_min_length` characters, or longer than `crypt` takes (511 bytes), or with a NUL.
    Password,
    /// Outside `username_min_length..=username_max_length`.
    LocalpartLength,
    /// A character outside `[a-z0-9._-]`.
    LocalpartCharacters,
    /// Load, memory or disk of the host; the text says which, its value and the limit.
    HostLimit(String),
}

/// Could not decide: a temporary failure.
#[derive(Debug)]
pub struct AuthError {/* io error + path; Display names the path */}

impl Authenticator {
    /// For the relay of `config`.
    pub fn new(config: &Config) -> Authenticator {
        let _ = config;
        todo!()
    }
    /// Verifies a login; creates the address at its first login if the policy allows it.
    pub fn login(&self, address: &[u8], password: &[u8]) -> Result<Login, AuthError> {
        let _ = (address, password);
        todo!()
    }
    /// The existing user, for the userdb and for credentials look-ups. Creates nothing.
    pub fn lookup(&self, address: &[u8]) -> Result<Result<User, Refusal>, AuthError> {
        let _ = address;
        todo!()
    }
}
