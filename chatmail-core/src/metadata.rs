//! IMAP METADATA: device tokens of a mailbox and values of the server (RFC 5464).
//!
//! ```no_run
//! use std::time::SystemTime;
//! use chatmail_core::config::Config;
//! use chatmail_core::metadata::Metadata;
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! let metadata = Metadata::new(&config);
//! let now = SystemTime::now();
//! metadata.set(b"alice@chat.example", "/private/devicetoken", b"openpgp:wcBM", now)?;
//! let relay = metadata.get(b"alice@chat.example", "/shared/vendor/deltachat/irohrelay", now)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::address::Address;
use crate::config::Config;
use crate::mailbox::{Mailboxes, read_linked_at_most};

mod tokens;
mod turn;

use tokens::TokenChanges;
pub use tokens::{DeviceTokens, TOKEN_LIFETIME, TOKEN_MAX, TOKEN_SET_MAX, TOKENS_MAX};

/// What a relay says about recipients of one message: Postfix's `smtpd_recipient_limit`.
const MAX_SMTP_RECIPIENTS: &str = "1000";

/// Longest file about released apps, in bytes.
const APP_VERSIONS_MAX: u64 = 64 * 1024;

/// An entry this relay knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `/private/devicetoken` of INBOX.
    DeviceToken,
    /// `/shared/vendor/deltachat/irohrelay`
    IrohRelay,
    /// `/shared/vendor/deltachat/turn`
    Turn,
    /// `/shared/vendor/deltachat/maxsmtprecipients`
    MaxSmtpRecipients,
    /// `/shared/vendor/deltachat/appversions`
    AppVersions,
}

impl Key {
    /// From the name clients use. Entry names are case-insensitive (RFC 5464 section 3.1).
    pub fn of_client(name: &str) -> Option<Key> {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("/shared/vendor/deltachat/") {
            Some(server) => Key::of_server(server.as_bytes()),
            None => (name == "/private/devicetoken").then_some(Key::DeviceToken),
        }
    }

    fn of_server(name: &[u8]) -> Option<Key> {
        match name {
            b"irohrelay" => Some(Key::IrohRelay),
            b"turn" => Some(Key::Turn),
            b"maxsmtprecipients" => Some(Key::MaxSmtpRecipients),
            b"appversions" => Some(Key::AppVersions),
            _ => None,
        }
    }
}

/// From the key Dovecot hands to its attribute dict: `priv/<guid>/devicetoken`,
/// `shared/<guid>/vendor/vendor.dovecot/pvt/server/vendor/deltachat/irohrelay`. The GUID is the
/// INBOX's.
pub fn dict_key(dovecot_key: &[u8]) -> Option<Key> {
    let key = dovecot_key.to_ascii_lowercase();
    let (private, rest) = match key.strip_prefix(b"priv/") {
        Some(rest) => (true, rest),
        None => (false, key.strip_prefix(b"shared/")?),
    };
    let slash = rest.iter().position(|&b| b == b'/').filter(|&at| at > 0)?;
    let name = &rest[slash + 1..];
    if private {
        (name == b"devicetoken").then_some(Key::DeviceToken)
    } else {
        Key::of_server(name.strip_prefix(b"vendor/vendor.dovecot/pvt/server/vendor/deltachat/")?)
    }
}

/// What became of a value that was to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAnswer {
    /// A token was added, or its time refreshed.
    Stored,
    /// There was nothing to change: the value was empty, or the entry to remove has no value.
    Nothing,
    /// A client may not set the entry, the address is not of this relay, or the value is not a token:
    /// not UTF-8, or with a control character. Nothing was changed.
    Refused,
    /// A value is longer than [`TOKEN_SET_MAX`] bytes. Nothing was changed.
    TooLong,
}

/// The changes of one SETMETADATA command. All of them are stored, or none (RFC 5464 section 4.3).
///
/// The first change that is refused decides the answer to the command. Takes no more memory than
/// [`TOKENS_MAX`] tokens.
#[derive(Clone, Default)]
pub struct Changes {
    tokens: TokenChanges,
    refusal: Option<SetAnswer>,
}

impl fmt::Debug for Changes {
    /// Without the tokens: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Changes");
        debug.field("refusal", &self.refusal);
        debug.finish_non_exhaustive()
    }
}

impl Changes {
    /// No changes yet.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Sets an entry; `None` is an unknown entry. Only device tokens can be set, and each is added to
    /// the existing ones.
    pub fn set(&mut self, key: Option<Key>, value: &[u8]) {
        if key != Some(Key::DeviceToken) {
            self.refuse(SetAnswer::Refused);
        } else if value.len() > TOKEN_SET_MAX {
            self.refuse(SetAnswer::TooLong);
        } else if value.is_empty() {
            // Older clients set an empty value because they do not know `NIL`.
        } else if let Some(token) = tokens::token(value) {
            self.tokens.add(token);
        } else {
            self.refuse(SetAnswer::Refused);
        }
    }

    /// Removes an entry, as the value `NIL` asks for. For device tokens that removes all of them. An
    /// unknown entry has no value to remove; a value of the server cannot be removed.
    pub fn remove(&mut self, key: Option<Key>) {
        match key {
            Some(Key::DeviceToken) => self.tokens.remove_all(),
            Some(_) => self.refuse(SetAnswer::Refused),
            None => {}
        }
    }

    fn refuse(&mut self, refusal: SetAnswer) {
        self.refusal.get_or_insert(refusal);
    }
}

/// Answers METADATA commands of all users of a relay.
#[derive(Debug)]
pub struct Metadata<'c> {
    config: &'c Config,
    mailboxes: Mailboxes,
}

impl<'c> Metadata<'c> {
    /// For the relay of `config`.
    pub fn new(config: &'c Config) -> Metadata<'c> {
        Metadata {
            config,
            mailboxes: config.mailboxes(),
        }
    }

    /// The value of an entry as clients name it; `None` if it has none.
    ///
    /// # Errors
    ///
    /// As for [`Metadata::lookup`].
    pub fn get(
        &self,
        address: &[u8],
        key: &str,
        now: SystemTime,
    ) -> Result<Option<String>, MetadataError> {
        match Key::of_client(key) {
            Some(key) => self.lookup(address, key, now),
            None => Ok(None),
        }
    }

    /// Sets an entry as clients name it.
    ///
    /// # Errors
    ///
    /// As for [`Metadata::store`].
    pub fn set(
        &self,
        address: &[u8],
        key: &str,
        value: &[u8],
        now: SystemTime,
    ) -> Result<SetAnswer, MetadataError> {
        let mut changes = Changes::new();
        changes.set(Key::of_client(key), value);
        self.store(address, &changes, now)
    }

    /// The value of an entry; `None` if it has none. Tokens are joined by spaces, in the order of
    /// their text.
    ///
    /// Values of the server are extras: a TURN service that does not answer within 5 seconds or a
    /// file that is no JSON mean no value, because a client asks for several entries in one command
    /// and would get none of them after an error.
    ///
    /// # Errors
    ///
    /// `metadata.json` is there and cannot be read or understood.
    pub fn lookup(
        &self,
        address: &[u8],
        key: Key,
        now: SystemTime,
    ) -> Result<Option<String>, MetadataError> {
        Ok(match key {
            Key::DeviceToken => match Address::parse(address, self.mailboxes.domain()) {
                Some(address) => {
                    let tokens = DeviceTokens::of(&self.mailboxes.mailbox(&address)).valid(now)?;
                    Some(tokens.join(" ")).filter(|value| !value.is_empty())
                }
                None => None,
            },
            Key::IrohRelay => self.config.iroh_relay.url().map(str::to_owned),
            Key::Turn => turn::credentials(&self.config.turn_socket_path)
                .map(|line| format!("{}:3478:{line}", self.config.mail_domain.bare())),
            Key::MaxSmtpRecipients => Some(MAX_SMTP_RECIPIENTS.to_owned()),
            Key::AppVersions => app_versions(&self.config.appversions_file),
        })
    }

    /// Stores changes, all or none. A token that is dropped, because it was removed or because there
    /// are [`TOKENS_MAX`] newer ones, loses its pending notifications.
    ///
    /// # Errors
    ///
    /// There is no such mailbox, or its `metadata.json` cannot be read, understood or replaced. It
    /// is as it was then. Or a pending notification cannot be removed.
    pub fn store(
        &self,
        address: &[u8],
        changes: &Changes,
        now: SystemTime,
    ) -> Result<SetAnswer, MetadataError> {
        if let Some(refusal) = changes.refusal {
            return Ok(refusal);
        }
        let Some(address) = Address::parse(address, self.mailboxes.domain()) else {
            return Ok(SetAnswer::Refused);
        };
        if changes.tokens.is_empty() {
            return Ok(SetAnswer::Nothing);
        }
        let tokens = DeviceTokens::of(&self.mailboxes.mailbox(&address));
        let dropped = tokens.apply(&changes.tokens, now)?;
        // Without the push feature, there are no notifications to withdraw.
        #[cfg(feature = "push")]
        crate::push::withdraw(&self.mailboxes, &address, &dropped)?;
        #[cfg(not(feature = "push"))]
        drop(dropped);
        Ok(SetAnswer::Stored)
    }
}

/// The JSON of `path` on one line, as the answer needs it.
fn app_versions(path: &Path) -> Option<String> {
    let bytes = read_linked_at_most(path, APP_VERSIONS_MAX).ok()??;
    let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some(json.to_string())
}

/// Could not decide: a temporary failure. `Display` names the file at fault.
#[derive(Debug)]
pub struct MetadataError {
    error: io::Error,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for MetadataError {}

impl From<io::Error> for MetadataError {
    fn from(error: io::Error) -> MetadataError {
        MetadataError { error }
    }
}

#[cfg(test)]
mod tests;
