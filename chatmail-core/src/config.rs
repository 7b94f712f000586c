//! `chatmail.ini`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::MailDomain;

/// All of `chatmail.ini`, with the defaults filled in. Field names are the keys.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it was read.
    pub path: PathBuf,
    /// The one required key.
    pub mail_domain: MailDomain,
    /// Sustained messages per minute and sender.
    pub max_user_send_per_minute: u32,
    /// Size of the rate limit's bucket, in messages.
    pub max_user_send_burst_size: u32,
    /// Bytes.
    pub max_mailbox_size: u64,
    /// Bytes.
    pub max_message_size: u64,
    // … every key of the table, same names
    /// Characters.
    pub username_min_length: usize,
    /// Characters.
    pub username_max_length: usize,
    /// Characters.
    pub password_min_length: usize,
    /// `MAILBOXES_DIR`.
    pub mailboxes_dir: PathBuf,
    /// While this file exists no account is created. Ours; default `/etc/chatmail-nocreate`.
    pub nocreate_file: PathBuf,
    /// Where notifications are posted. Ours; default `https://notifications.delta.chat/notify`.
    pub push_url: String,
    /// No answer for this long: try later. Ours; default 60 s.
    pub push_timeout: Duration,
    /// PEM file of additional certificate authorities for `push_url`. Ours; default none.
    pub push_ca_file: Option<PathBuf>,
    /// Keys this version does not know, in the order of the file: kept, listed, warned about.
    pub unknown_keys: Vec<String>,
}

impl Config {
    /// Reads a `chatmail.ini`.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let _ = path;
        todo!()
    }
    /// The mailboxes this configuration speaks of.
    pub fn mailboxes(&self) -> crate::mailbox::Mailboxes {
        todo!()
    }
}

/// Names file, key and value: `chatmail.ini: max_mailbox_size = "lots": not a size …`.
#[derive(Debug)]
pub struct ConfigError {/* file, key, value, problem; Display, Error */}
