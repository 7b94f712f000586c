//! `metadata.json` of one mailbox: the device tokens to be notified of new mail.
//!
//! `{"devicetoken": {TOKEN: UNIX_TIME, …}}`. Older relays wrote `{"devicetoken": [TOKEN, …]}`,
//! which is read as if set now. Other keys belong to somebody else and are kept.
//!
//! A file without any content, which is what a power failure leaves of one that was just written,
//! holds nothing that could be lost: it is read as if it were not there. Half a file may hold all
//! the tokens of somebody: it is an error and stays as it is, until the operator has seen to it.
//!
//! Only the newest [`TOKENS_MAX`] tokens count, when the file is read and when it is written: every
//! message makes one notification for each of them.

use std::cmp::Reverse;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::mailbox::{Durability, Mailbox, named, read_at_most, replace};

/// Longest token that can be set, in bytes. Those of Delta Chat have 300 to 600.
pub const TOKEN_SET_MAX: usize = 1024;

/// Longest token that is read from a file of an older relay, in characters.
pub const TOKEN_MAX: usize = 4096;

/// Most device tokens of one mailbox; the newest are kept. A person has fewer devices.
pub const TOKENS_MAX: usize = 20;

/// How long a token lives after it was last set.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// Longest `metadata.json` that is read or written, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

const DEVICE_TOKEN: &str = "devicetoken";

/// The device tokens of one mailbox.
#[derive(Debug, Clone)]
pub struct DeviceTokens {
    mailbox: Mailbox,
    path: PathBuf,
}

/// `value` as a token; `None` if it is none.
pub(super) fn token(value: &[u8]) -> Option<&str> {
    let token = std::str::from_utf8(value).ok()?;
    let length = token.chars().count();
    ((1..=TOKEN_MAX).contains(&length) && !token.contains(char::is_control)).then_some(token)
}

/// What happens to the existing tokens before others are added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Former {
    #[default]
    Kept,
    Removed,
}

/// Changes to the tokens of one mailbox, stored all at once. Takes no more memory than
/// [`TOKENS_MAX`] tokens, however many changes there are.
#[derive(Clone, Default)]
pub(super) struct TokenChanges {
    former: Former,
    /// In the order in which they were set.
    added: Vec<String>,
}

impl TokenChanges {
    /// Adds a token, or renews it.
    pub(super) fn add(&mut self, token: &str) {
        self.added.retain(|added| added != token);
        if self.added.len() == TOKENS_MAX {
            self.added.remove(0);
        }
        self.added.push(token.to_owned());
    }

    /// Removes all tokens, including those that were added before.
    pub(super) fn remove_all(&mut self) {
        self.former = Former::Removed;
        self.added.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.former == Former::Kept && self.added.is_empty()
    }
}

/// A token, and when it was last set, in seconds since 1970.
#[derive(Clone)]
struct Token {
    text: String,
    time: u64,
}

impl DeviceTokens {
    /// Those of `mailbox`.
    pub fn of(mailbox: &Mailbox) -> DeviceTokens {
        DeviceTokens {
            mailbox: mailbox.clone(),
            path: mailbox.metadata_path(),
        }
    }

    /// The valid tokens, sorted by their text: the newest [`TOKENS_MAX`], none older than
    /// [`TOKEN_LIFETIME`]. A time in the future counts as now, so that a wrong clock, then or now, does
    /// not invalidate tokens. Changes nothing.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read, is not whole, or is not what this module describes.
    pub fn valid(&self, now: SystemTime) -> io::Result<Vec<String>> {
        let mut tokens = texts(newest(self.tokens_of(&self.read()?, now)?, TOKENS_MAX));
        tokens.sort_unstable();
        Ok(tokens)
    }

    /// Adds a token, or refreshes its time. Void tokens are dropped, and the oldest one above
    /// [`TOKENS_MAX`].
    ///
    /// # Errors
    ///
    /// As for [`DeviceTokens::valid`]; or `token` is empty, longer than [`TOKEN_MAX`] characters,
    /// or holds a control character; or there is no mailbox; or the file cannot be replaced, or
    /// would be longer than 16 MiB.
    pub fn add(&self, token: &str, now: SystemTime) -> io::Result<()> {
        if self::token(token.as_bytes()).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a device token",
            ));
        }
        let mut changes = TokenChanges::default();
        changes.add(token);
        self.apply(&changes, now).map(drop)
    }

    /// Applies all changes, or none, and returns the tokens that are no longer valid.
    ///
    /// # Errors
    ///
    /// As for [`DeviceTokens::valid`]; or there is no mailbox; or the file cannot be replaced, or would
    /// be longer than 16 MiB.
    pub(super) fn apply(&self, changes: &TokenChanges, now: SystemTime) -> io::Result<Vec<String>> {
        let mut dropped = Vec::new();
        self.change(now, |mut before| {
            dropped = texts(newest(before.clone(), TOKENS_MAX));
            if changes.former == Former::Removed {
                before.clear();
            }
            before.retain(|token| !changes.added.contains(&token.text));
            let mut after = newest(before, TOKENS_MAX.saturating_sub(changes.added.len()));
            let time = unix_seconds(now);
            after.extend(changes.added.iter().map(|text| Token {
                text: text.clone(),
                time,
            }));
            dropped.retain(|text| after.iter().all(|token| token.text != *text));
            Some(after)
        })?;
        Ok(dropped)
    }

    /// Removes a token; fine if it is not there. For a token the push service does not know any
    /// more.
    ///
    /// # Errors
    ///
    /// As for [`DeviceTokens::valid`]; or there is no mailbox; or the file cannot be replaced.
    pub fn remove(&self, token: &str, now: SystemTime) -> io::Result<()> {
        self.change(now, |mut tokens| {
            let before = tokens.len();
            tokens.retain(|known| known.text != token);
            (tokens.len() != before).then_some(tokens)
        })
    }

    /// Replaces the tokens under the mailbox's lock, if `change` returns other ones.
    fn change(
        &self,
        now: SystemTime,
        change: impl FnOnce(Vec<Token>) -> Option<Vec<Token>>,
    ) -> io::Result<()> {
        let _lock = self.mailbox.lock()?;
        let mut json = self.read()?;
        let Some(tokens) = change(self.tokens_of(&json, now)?) else {
            return Ok(());
        };
        if tokens.is_empty() && !json.contains_key(DEVICE_TOKEN) {
            return Ok(());
        }
        let tokens: Map<String, Value> = tokens
            .into_iter()
            .map(|token| (token.text, Value::from(token.time)))
            .collect();
        json.insert(DEVICE_TOKEN.to_owned(), Value::Object(tokens));
        let tmp = self.path.with_extension("json.tmp");
        let content = Value::Object(json).to_string();
        // It would not be read again, and all tokens would be lost with the one too many.
        if content.len() as u64 > FILE_MAX {
            let full = io::Error::new(io::ErrorKind::StorageFull, "too many device tokens");
            return Err(named(&self.path, full));
        }
        // Not to the disk: a token is set again with every connection of its app.
        replace(&self.path, &tmp, content.as_bytes(), Durability::Kernel)
    }

    fn read(&self) -> io::Result<Map<String, Value>> {
        let Some(bytes) = read_at_most(&self.path, FILE_MAX)? else {
            return Ok(Map::new());
        };
        if bytes.len() as u64 > FILE_MAX {
            return Err(self.damaged("too large"));
        }
        if holds_nothing(&bytes) {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(json)) => Ok(json),
            Ok(_) => Err(self.damaged("not a JSON object")),
            // Where the parser stopped, but nothing of the content.
            Err(error) => {
                let why = format!(
                    "not JSON at line {} column {}",
                    error.line(),
                    error.column()
                );
                Err(self.damaged(&why))
            }
        }
    }

    /// The tokens in `json` that are not too old.
    fn tokens_of(&self, json: &Map<String, Value>, now: SystemTime) -> io::Result<Vec<Token>> {
        let now = unix_seconds(now);
        let mut tokens = Vec::new();
        match json.get(DEVICE_TOKEN) {
            None => {}
            Some(Value::Object(object)) => {
                for (token, time) in object {
                    let Some(time) = time.as_f64() else {
                        return Err(self.damaged("a token's time is not a number"));
                    };
                    // Whole seconds; what lies before 1970 is as void as 1970.
                    let time = (time as u64).min(now);
                    if now - time < TOKEN_LIFETIME.as_secs() {
                        let text = token.clone();
                        tokens.push(Token { text, time });
                    }
                }
            }
            Some(Value::Array(list)) => {
                for token in list {
                    let Some(token) = token.as_str() else {
                        return Err(self.damaged("a token is not text"));
                    };
                    let text = token.to_owned();
                    tokens.push(Token { text, time: now });
                }
                tokens.sort_by(|a, b| a.text.cmp(&b.text));
                tokens.dedup_by(|a, b| a.text == b.text);
            }
            Some(_) => return Err(self.damaged("devicetoken is neither an object nor a list")),
        }
        // Nobody can be notified with these, and they would not survive the spool.
        tokens.retain(|known| token(known.text.as_bytes()).is_some());
        Ok(tokens)
    }

    fn damaged(&self, why: &str) -> io::Error {
        named(&self.path, io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

/// The newest of them, at most this many; among those of one second, the first by their text.
fn newest(mut tokens: Vec<Token>, count: usize) -> Vec<Token> {
    if tokens.len() > count {
        tokens.sort_by(|a, b| (Reverse(a.time), &a.text).cmp(&(Reverse(b.time), &b.text)));
        tokens.truncate(count);
    }
    tokens
}

fn texts(tokens: Vec<Token>) -> Vec<String> {
    tokens.into_iter().map(|token| token.text).collect()
}

/// Whether a file has no content: no bytes, or only those that file systems fill up a file with
/// whose data did not reach the disk.
fn holds_nothing(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0 || b.is_ascii_whitespace())
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
