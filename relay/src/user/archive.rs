//! A mailbox as a tar stream, for moving one user to another relay.
//!
//! The first entry says what it is and whose, the last one how much it has to be: a stream that was cut
//! off anywhere is noticed. Between them stand the files of the mailbox by their paths in it, all of them
//! regular files.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_core::address::{Address, AddressError};
use chatmail_core::auth::{Standing, standing};
use chatmail_core::mailbox::{Carried, Creation, Mailboxes, Staging};
use chatmail_core::metadata::DeviceTokens;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, Entry, EntryType, Header};

const VERSION: u32 = 1;

/// The first entry. No file of a mailbox has this name.
const BEGIN: &str = "chatmail-export";

/// The last entry.
const END: &str = "chatmail-export-end";

/// Longest first or last entry, in bytes.
const NOTE_MAX: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Begin {
    version: u32,
    address: String,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct End {
    files: u64,
    bytes: u64,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Where it was, or is now.
    pub address: String,
    /// In all folders.
    pub messages: u64,
    /// Of all files.
    pub bytes: u64,
}

/// Why nothing was imported. Nothing is left of it.
#[derive(Debug)]
pub enum NotImported {
    /// There is an account of this address.
    Exists(String),
    /// No account of this relay may have the address of the mailbox, and no other address was given.
    Unfit(String, AddressError),
    /// The stream is not, or not completely, what `export` writes.
    Damaged(String),
    /// It could not be read or written.
    Failed(io::Error),
}

impl fmt::Display for NotImported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotImported::Exists(address) => write!(f, "{address} exists already"),
            // Text from the stream must not reach a terminal.
            NotImported::Unfit(address, why) => write!(
                f,
                "{}: {why}; --as names the address it gets here",
                address.escape_debug()
            ),
            NotImported::Damaged(why) => write!(f, "not a complete export: {why}"),
            NotImported::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotImported {}

impl From<io::Error> for NotImported {
    fn from(error: io::Error) -> NotImported {
        match error.kind() {
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                NotImported::Damaged(error.to_string())
            }
            _ => NotImported::Failed(error),
        }
    }
}

/// Writes a mailbox, messages with their flags, UIDs and device tokens, beside whatever happens to it.
/// `progress` is told of each file how many bytes were written so far. `None` if there is no account.
///
/// # Errors
///
/// From reading the mailbox, or writing.
pub fn export(
    mailboxes: &Mailboxes,
    address: &Address,
    output: impl Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Option<Moved>> {
    let mailbox = mailboxes.mailbox(address);
    if !mailbox.exists()? {
        return Ok(None);
    }
    let mut builder = Builder::new(output);
    let begin = Begin {
        version: VERSION,
        address: address.to_string(),
    };
    note(&mut builder, BEGIN, &begin)?;
    let mut end = End { files: 0, bytes: 0 };
    let messages = mailbox.carry(&mut |part: Carried<'_>| {
        let path = Path::new(OsStr::from_bytes(part.path));
        let mut header = header(part.size, part.modified);
        builder.append_data(&mut header, path, part.content)?;
        end.files += 1;
        end.bytes += part.size;
        progress(end.bytes);
        Ok(())
    })?;
    let Some(messages) = messages else {
        return Ok(None);
    };
    note(&mut builder, END, &end)?;
    builder.into_inner()?.flush()?;
    Ok(Some(Moved {
        address: address.to_string(),
        messages,
        bytes: end.bytes,
    }))
}

fn note(builder: &mut Builder<impl Write>, name: &str, note: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(note)? + "\n";
    let mut header = header(text.len() as u64, SystemTime::now());
    builder.append_data(&mut header, name, text.as_bytes())
}

fn header(size: u64, modified: SystemTime) -> Header {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(size);
    header.set_mtime(since.as_secs());
    header
}

/// Makes an account of what [`export`] wrote, with the address it had or with that of `to`. Until all of
/// it was read and looked at, nothing is seen of it.
///
/// # Errors
///
/// See [`NotImported`].
pub fn import(
    mailboxes: &Mailboxes,
    to: Option<&Address>,
    input: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<Moved, NotImported> {
    let mut archive = Archive::new(input);
    let mut entries = archive.entries()?;
    let begin: Begin = match entries.next() {
        Some(first) => read_note(&mut first.map_err(of_stream)?, BEGIN)?,
        None => return Err(damaged("it is empty")),
    };
    if begin.version != VERSION {
        return Err(damaged("it is of another version"));
    }
    let address = match to {
        Some(address) => address.clone(),
        None => Address::parse_new(begin.address.as_bytes(), mailboxes.domain())
            .map_err(|why| NotImported::Unfit(begin.address, why))?,
    };
    let mailbox = mailboxes.mailbox(&address);
    let exists = || NotImported::Exists(address.to_string());
    if mailbox.exists()? {
        return Err(exists());
    }
    let mut staging = mailboxes.stage()?;
    let mut found = End { files: 0, bytes: 0 };
    let mut messages = 0;
    let end: End = loop {
        let Some(entry) = entries.next() else {
            return Err(damaged("its end is missing"));
        };
        let mut entry = entry.map_err(of_stream)?;
        if *entry.path_bytes() == *END.as_bytes() {
            break read_note(&mut entry, END)?;
        }
        found.bytes += unpack(&mut staging, &mut entry)?;
        found.files += 1;
        messages += u64::from(is_message(&entry.path_bytes()));
        progress(found.bytes);
    };
    if entries.next().is_some() || end != found {
        return Err(damaged("it holds something else than its end says"));
    }
    // Whoever writes it has not to be told that nobody listens.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    judge(&staging)?;
    match staging.place(&mailbox)? {
        Creation::Existed => Err(exists()),
        Creation::Created => Ok(Moved {
            address: address.to_string(),
            messages,
            bytes: found.bytes,
        }),
    }
}

fn damaged(why: &str) -> NotImported {
    NotImported::Damaged(why.to_owned())
}

/// The library's errors about the format have no kind of their own.
fn of_stream(error: io::Error) -> NotImported {
    match error.raw_os_error() {
        Some(_) => NotImported::Failed(error),
        None => NotImported::Damaged(error.to_string()),
    }
}

fn read_note<T: DeserializeOwned>(
    entry: &mut Entry<'_, impl Read>,
    name: &str,
) -> Result<T, NotImported> {
    if *entry.path_bytes() != *name.as_bytes() || entry.header().entry_type() != EntryType::Regular
    {
        return Err(NotImported::Damaged(format!("there is no {name}")));
    }
    let mut text = Vec::new();
    entry.take(NOTE_MAX).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|_| NotImported::Damaged(format!("{name} is wrong")))
}

fn unpack(staging: &mut Staging, entry: &mut Entry<'_, impl Read>) -> Result<u64, NotImported> {
    let path = entry.path_bytes().into_owned();
    if entry.header().entry_type() != EntryType::Regular {
        let path = path.escape_ascii();
        return Err(NotImported::Damaged(format!("{path}: not a regular file")));
    }
    let seconds = entry.header().mtime().map_err(of_stream)?;
    let modified = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds <= u64::from(u32::MAX))
        .ok_or_else(|| damaged("a time that no file has"))?;
    let size = entry.size();
    if staging.put(&path, modified, entry)? != size {
        return Err(damaged("it was cut off"));
    }
    Ok(size)
}

fn is_message(path: &[u8]) -> bool {
    let mut steps = path.rsplit(|byte| *byte == b'/').skip(1);
    matches!(steps.next(), Some(b"cur" | b"new"))
}

/// Whether what was put together can be used.
fn judge(staging: &Staging) -> Result<(), NotImported> {
    match standing(staging.mailbox())? {
        None => return Err(damaged("there is no password")),
        Some(Standing::Damaged) => return Err(damaged("the password is cut short")),
        Some(Standing::Active | Standing::Disabled | Standing::NoPassword) => {}
    }
    DeviceTokens::of(staging.mailbox())
        .valid(SystemTime::now())
        .map_err(|_| damaged("metadata.json cannot be understood"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
