//! `metadata.json` of one mailbox: the device tokens to be notified of new mail.
//!
//! `{"devicetoken": {TOKEN: UNIX_TIME, …}}`. Older relays wrote `{"devicetoken": [TOKEN, …]}`,
//! which is read as if set now. Other keys belong to somebody else and are kept.
//!
//! A file without any content, which is what a power failure leaves of one that was just written,
//! holds nothing that could be lost: it is read as if it were not there. Half a file may hold all
//! the tokens of somebody: it is an error and stays as it is, until the operator has seen to it.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::mailbox::{Durability, Mailbox, named, read_at_most, replace};

/// Longest token, in characters.
pub const TOKEN_MAX: usize = 4096;

/// How long a token lives after it was last set.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// How far ahead of us the clock may be that wrote a time.
const CLOCK_SKEW: u64 = 60;

/// Longest `metadata.json` that is read or written, in bytes: thousands of tokens.
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

impl DeviceTokens {
    /// Those of `mailbox`.
    pub fn of(mailbox: &Mailbox) -> DeviceTokens {
        DeviceTokens {
            mailbox: mailbox.clone(),
            path: mailbox.metadata_path(),
        }
    }

    /// The tokens that may be notified, in the order of their text: none older than
    /// [`TOKEN_LIFETIME`], none from more than 60 seconds ahead. Changes nothing.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read, is not whole, or is not what this module describes.
    pub fn valid(&self, now: SystemTime) -> io::Result<Vec<String>> {
        let json = self.read()?;
        let tokens = self.tokens_of(&json, now)?;
        Ok(tokens.into_iter().map(|(token, _)| token).collect())
    }

    /// Adds a token, or refreshes its time; drops those that are void.
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
        self.change(now, |tokens| {
            tokens.insert(token.to_owned(), Value::from(unix_seconds(now)));
            true
        })
    }

    /// Removes a token; fine if it is not there. For a token the push service does not know any
    /// more.
    ///
    /// # Errors
    ///
    /// As for [`DeviceTokens::valid`]; or there is no mailbox; or the file cannot be replaced.
    pub fn remove(&self, token: &str, now: SystemTime) -> io::Result<()> {
        self.change(now, |tokens| tokens.remove(token).is_some())
    }

    /// Changes the tokens under the mailbox's lock, if `change` says that it changed any.
    fn change(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut Map<String, Value>) -> bool,
    ) -> io::Result<()> {
        let _lock = self.mailbox.lock()?;
        let mut json = self.read()?;
        let tokens = self.tokens_of(&json, now)?;
        let mut tokens = tokens
            .into_iter()
            .map(|(token, time)| (token, Value::from(time)))
            .collect();
        if !change(&mut tokens) {
            return Ok(());
        }
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

    /// The valid tokens in `json`, with their times.
    fn tokens_of(
        &self,
        json: &Map<String, Value>,
        now: SystemTime,
    ) -> io::Result<Vec<(String, u64)>> {
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
                    let time = time as u64;
                    let too_old = now.saturating_sub(time) >= TOKEN_LIFETIME.as_secs();
                    let too_new = time.saturating_sub(now) > CLOCK_SKEW;
                    if !too_old && !too_new {
                        tokens.push((token.clone(), time));
                    }
                }
            }
            Some(Value::Array(list)) => {
                for token in list {
                    let Some(token) = token.as_str() else {
                        return Err(self.damaged("a token is not text"));
                    };
                    tokens.push((token.to_owned(), now));
                }
                tokens.sort();
                tokens.dedup();
            }
            Some(_) => return Err(self.damaged("devicetoken is neither an object nor a list")),
        }
        // Nobody can be notified with these, and they would not survive the spool.
        tokens.retain(|(text, _)| token(text.as_bytes()).is_some());
        Ok(tokens)
    }

    fn damaged(&self, why: &str) -> io::Error {
        named(&self.path, io::Error::new(io::ErrorKind::InvalidData, why))
    }
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
