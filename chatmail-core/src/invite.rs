//! Invitations: tokens that make an account where nothing else does.
//!
//! With `registration = invite` an address comes from an operator, or from somebody who was given a
//! link with a token, `dcaccount:https://DOMAIN/new?token=…`. A token is good for a number of accounts, or
//! until a time, or both.
//!
//! They stand in `MAILBOXES_DIR/.chatmail/invites`, text that `cat` shows: after a first line with the
//! version, one line for each with the token, the accounts made with it, the accounts it is good for or `-`,
//! the time it was made and the time it ends or `-`, in seconds since 1970. The file is replaced as a
//! whole under its lock, so a crash leaves the old one or the new one.
//!
//! ```no_run
//! use chatmail_core::config::Config;
//! use chatmail_core::invite::Invites;
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! let invite = Invites::new(&config.mailboxes()).create(Some(1), None)?;
//! println!("{}", invite.link(&config.mail_domain));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use subtle::ConstantTimeEq;

use crate::account::random_text;
use crate::address::MailDomain;
use crate::mailbox::Mailboxes;
use crate::state::StateFile;

const NAME: &str = "invites";

const HEADER: &str = "chatmail invites 1";

/// 131 bits of 22 letters and digits: no character that a link or a shell could take amiss.
const TOKEN_LENGTH: usize = 22;
const TOKEN_ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The file is read as a whole, so it has an end.
const MOST: usize = 10_000;
const LINE_MAX: u64 = 128;

/// How long one that is over is remembered, so that who comes late is told why.
const REMEMBERED: Duration = Duration::from_secs(90 * 86_400);

/// Behind a process that was stopped, "could not decide" is better than to wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// One invitation. `Debug` leaves its token out.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// The secret: letters and digits.
    pub token: String,
    /// Accounts made with it so far.
    pub used: u32,
    /// Accounts it is good for in all; `None`: any number.
    pub uses: Option<u32>,
    /// When it was made; whole seconds, like the next one.
    pub created: SystemTime,
    /// From then on it is void; `None`: never.
    pub expires: Option<SystemTime>,
}

/// Why a token makes no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotInvited {
    /// There is no such token; perhaps there was one, and it was revoked.
    Unknown,
    /// Its time is over.
    Expired,
    /// It has made all the accounts it is good for.
    UsedUp,
}

impl NotInvited {
    /// One of a fixed list of words, for the log.
    pub fn word(self) -> &'static str {
        match self {
            NotInvited::Unknown => "invitation-unknown",
            NotInvited::Expired => "invitation-expired",
            NotInvited::UsedUp => "invitation-used-up",
        }
    }
}

impl fmt::Display for NotInvited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = match self {
            NotInvited::Unknown => "there is no such invitation",
            NotInvited::Expired => "the time of the invitation is over",
            NotInvited::UsedUp => "the invitation has made all its accounts",
        };
        write!(f, "{}: {explanation}", self.word())
    }
}

impl Invite {
    /// What makes an account at the relay of this domain, for Delta Chat.
    pub fn link(&self, domain: &MailDomain) -> String {
        format!(
            "dcaccount:https://{}/new?token={}",
            domain.bare(),
            self.token
        )
    }

    /// Whether it makes an account now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, now: SystemTime) -> Result<(), NotInvited> {
        if self.expires.is_some_and(|end| end <= now) {
            return Err(NotInvited::Expired);
        }
        match self.uses {
            Some(uses) if self.used >= uses => Err(NotInvited::UsedUp),
            _ => Ok(()),
        }
    }

    fn is_forgotten(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.created).unwrap_or_default();
        self.check(now).is_err() && age > REMEMBERED
    }

    fn line(&self) -> String {
        let uses = or_dash(self.uses);
        let created = seconds(self.created);
        let expires = or_dash(self.expires.map(seconds));
        format!("{} {} {uses} {created} {expires}\n", self.token, self.used)
    }

    fn parse(line: &str) -> Option<Invite> {
        let mut fields = line.split(' ');
        let token = fields.next().filter(|token| is_token(token))?;
        let used = fields.next()?.parse().ok()?;
        let uses = optional(fields.next()?)?;
        let created = time(fields.next()?.parse().ok()?)?;
        let expires = match optional(fields.next()?)? {
            Some(seconds) => Some(time(seconds)?),
            None => None,
        };
        let invite = Invite {
            token: token.to_owned(),
            used,
            uses,
            created,
            expires,
        };
        fields.next().is_none().then_some(invite)
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Invite");
        debug.field("used", &self.used).field("uses", &self.uses);
        debug
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Whether this has the form of a token. What has not is unknown for sure, and may be written nowhere.
pub fn is_token(text: &str) -> bool {
    text.len() == TOKEN_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The invitations of one relay.
#[derive(Debug)]
pub struct Invites {
    file: StateFile,
}

impl Invites {
    /// Those of the relay with these mailboxes.
    pub fn new(mailboxes: &Mailboxes) -> Invites {
        Invites {
            file: StateFile::new(mailboxes.dir(), NAME),
        }
    }

    /// Makes one for so many accounts and until then; `None` is no limit. Those that have been over
    /// for long are forgotten.
    ///
    /// # Errors
    ///
    /// There are 10,000 already, or the file cannot be read or written.
    pub fn create(&self, uses: Option<u32>, expires: Option<SystemTime>) -> io::Result<Invite> {
        let now = SystemTime::now();
        let invite = Invite {
            token: random_text(TOKEN_ALPHABET, TOKEN_LENGTH)?,
            used: 0,
            uses,
            created: whole_seconds(now),
            expires: expires.map(whole_seconds),
        };
        self.file.locked(PATIENCE, |file| {
            let mut invites = read(file)?;
            invites.retain(|invite| !invite.is_forgotten(now));
            if invites.len() >= MOST {
                let why = format!("there are {MOST} invitations already: revoke some");
                return Err(io::Error::other(why));
            }
            invites.push(invite.clone());
            self.file.replacement(&text(&invites))?.put()
        })?;
        Ok(invite)
    }

    /// All of them, those that are over included, the oldest first.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is none of ours.
    pub fn list(&self) -> io::Result<Vec<Invite>> {
        self.file.locked(PATIENCE, read)
    }

    /// Removes one. False if there is none with this token.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn revoke(&self, token: &str) -> io::Result<bool> {
        self.file.locked(PATIENCE, |file| {
            let mut invites = read(file)?;
            let Some(place) = find(&invites, token) else {
                return Ok(false);
            };
            invites.remove(place);
            self.file.replacement(&text(&invites))?.put()?;
            Ok(true)
        })
    }

    /// Whether the token makes an account now. To be asked before the work of making one.
    ///
    /// # Errors
    ///
    /// As for [`Invites::list`].
    pub fn check(&self, token: &str, now: SystemTime) -> io::Result<Result<(), NotInvited>> {
        self.file.locked(PATIENCE, |file| {
            let invites = read(file)?;
            let invite = find(&invites, token).and_then(|place| invites.get(place));
            Ok(invite.map_or(Err(NotInvited::Unknown), |invite| invite.check(now)))
        })
    }

    /// Makes something with the token, under the lock of the file: of many who come at a time with a
    /// token for one, one gets it. A use is counted only when `make` succeeded. The new state is on the
    /// disk before `make` is called and takes its place after it, so that a full disk makes nothing.
    ///
    /// # Errors
    ///
    /// As for [`Invites::list`], and those of `make`.
    pub fn redeem<T, R: From<NotInvited>>(
        &self,
        token: &str,
        now: SystemTime,
        make: impl FnOnce() -> io::Result<Result<T, R>>,
    ) -> io::Result<Result<T, R>> {
        self.file.locked(PATIENCE, |file| {
            let mut invites = read(file)?;
            let Some(place) = find(&invites, token) else {
                return Ok(Err(NotInvited::Unknown.into()));
            };
            if let Some(invite) = invites.get_mut(place) {
                if let Err(why) = invite.check(now) {
                    return Ok(Err(why.into()));
                }
                invite.used = invite.used.saturating_add(1);
            }
            let used = self.file.replacement(&text(&invites))?;
            let made = make()?;
            if made.is_ok() {
                used.put()?;
            }
            Ok(made)
        })
    }
}

/// Where the token stands. Every one is looked at, and each takes as long.
fn find(invites: &[Invite], token: &str) -> Option<usize> {
    let mut found = None;
    for (place, invite) in invites.iter().enumerate() {
        if invite.token.as_bytes().ct_eq(token.as_bytes()).into() {
            found = Some(place);
        }
    }
    found
}

fn text(invites: &[Invite]) -> Vec<u8> {
    let mut text = format!("{HEADER}\n");
    text.extend(invites.iter().map(Invite::line));
    text.into_bytes()
}

/// A new file is empty. What is damaged is not guessed at: somebody could be let in.
fn read(file: &File) -> io::Result<Vec<Invite>> {
    let length = file.metadata()?.len();
    if length > (MOST as u64 + 1) * LINE_MAX {
        return Err(io::Error::other("too long to be a list of invitations"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    parse(&bytes).map_err(io::Error::other)
}

fn parse(bytes: &[u8]) -> Result<Vec<Invite>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
    let Some(lines) = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
    else {
        return Err(format!("its first line is not `{HEADER}`"));
    };
    let lines = lines.lines().enumerate();
    // Not the line itself: it may hold a token.
    lines
        .map(|(number, line)| {
            Invite::parse(line).ok_or_else(|| format!("line {} is no invitation", number + 2))
        })
        .collect()
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn optional<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
    match text {
        "-" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(time))
}

#[cfg(test)]
mod tests;
