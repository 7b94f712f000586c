//! Taking over the user table of an old relay, which kept passwords in SQLite.

mod table;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chatmail_core::address::{Address, AddressError, CI_PREFIXES};
use chatmail_core::auth::is_usable_hash;
use chatmail_core::config::Config;
use chatmail_core::mailbox::{Adoption, Creation, Mailboxes};
use serde::Serialize;

pub use table::TableError;
use table::{Row, Table};

/// So many passwords are brought to the disk with one write.
const BATCH: usize = 1000;

/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// An address of this relay that no new account may have: see [`Address::parse_new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// As in the table, without terminal control characters.
    pub address: String,
    /// The rule that it breaks.
    pub reason: String,
}

/// What became of the rows of the table. Serialized, its names stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of the table.
    pub rows: u64,
    /// Accounts that were made; in a dry run, that would be.
    pub imported: u64,
    /// Among them those nobody can log in to: the password is empty or no SHA512-CRYPT hash.
    pub blocked: u64,
    /// Accounts that existed and were left as they are.
    pub existing: u64,
    /// Accounts of tests.
    pub ci: u64,
    /// No addresses of this relay.
    pub foreign: u64,
    /// Addresses that are not imported, because their users could neither send nor receive.
    pub invalid: Vec<Invalid>,
    /// Where the database is now.
    pub renamed_to: Option<PathBuf>,
}

/// Why the table was not taken over, or not all of it. Another try goes on where this one ended.
#[derive(Debug)]
pub enum ImportError {
    /// There is a file in the place the database is moved to.
    InTheWay(PathBuf),
    /// Every row is of another relay.
    Foreign(PathBuf),
    /// The database cannot be used.
    Table(TableError),
    /// An account could not be made, or the database not be renamed.
    Failed(io::Error),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::InTheWay(path) => write!(
                f,
                "{}: is in the way; a database was imported before. Move it away first",
                path.display()
            ),
            ImportError::Foreign(path) => {
                write!(f, "{}: no address of this relay in it", path.display())
            }
            ImportError::Table(error) => error.fmt(f),
            ImportError::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> ImportError {
        ImportError::Failed(error)
    }
}

impl From<TableError> for ImportError {
    fn from(error: TableError) -> ImportError {
        ImportError::Table(error)
    }
}

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Only told.
    Dry,
    /// Done.
    Real,
}

/// Makes an account of each row of the user table at `passdb_path` that is one of this relay and does not
/// exist, and renames the database at the end, `.old` behind its name. `None` if there is no database.
/// `progress` is told how many rows of how many are done.
///
/// # Errors
///
/// See [`ImportError`]. The database is as it was then.
pub fn import(
    config: &Config,
    run: Run,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Report>, ImportError> {
    let path = &config.passdb_path;
    if path.as_os_str().is_empty() || !fs::exists(path)? {
        return Ok(None);
    }
    let old = with_suffix(path, ".old");
    if run == Run::Real && fs::exists(&old)? {
        return Err(ImportError::InTheWay(old));
    }
    let table = Table::open(path)?;
    let total = table.count()?;
    let mut importer = Importer {
        mailboxes: config.mailboxes(),
        run,
        now: SystemTime::now(),
        waiting: Vec::new(),
        report: Report::default(),
    };
    table.each(|row| {
        importer.row(&row)?;
        progress(importer.report.rows, total);
        Ok::<(), ImportError>(())
    })?;
    importer.settle()?;
    let mut report = importer.report;
    if report.foreign > 0 && report.foreign + report.ci == report.rows {
        return Err(ImportError::Foreign(path.clone()));
    }
    if run == Run::Real {
        config.mailboxes().sync()?;
        drop(table);
        set_aside(path, &old)?;
        report.renamed_to = Some(old);
    }
    Ok(Some(report))
}

struct Importer {
    mailboxes: Mailboxes,
    run: Run,
    now: SystemTime,
    /// Accounts that are on their way to the disk.
    waiting: Vec<Adoption>,
    report: Report,
}

impl Importer {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.report.rows += 1;
        let is_ci = |prefix: &&str| row.address.starts_with(prefix.as_bytes());
        if CI_PREFIXES.iter().any(is_ci) {
            self.report.ci += 1;
            return Ok(());
        }
        let domain = self.mailboxes.domain();
        let address = Address::parse_new(row.address, domain);
        let (Ok(address), Some(password)) = (address, row.password) else {
            return self.left_out(row.address);
        };
        let mailbox = self.mailboxes.mailbox(&address);
        let is_blocked = !is_usable_hash(password.as_bytes());
        if self.run == Run::Dry {
            match mailbox.exists()? {
                true => self.report.existing += 1,
                false => {
                    self.report.imported += 1;
                    self.report.blocked += u64::from(is_blocked);
                }
            }
            return Ok(());
        }
        let last_login = row.last_login.unwrap_or(self.now).min(self.now);
        match mailbox.adopt(password, last_login)? {
            None => self.report.existing += 1,
            Some(adoption) => {
                self.report.blocked += u64::from(is_blocked);
                self.waiting.push(adoption);
            }
        }
        if self.waiting.len() >= BATCH {
            self.settle()?;
        }
        Ok(())
    }

    /// A row that is not imported. An account that already exists may have any name.
    fn left_out(&mut self, address: &[u8]) -> io::Result<()> {
        let domain = self.mailboxes.domain();
        let reason = match Address::parse_new(address, domain) {
            Err(AddressError::Foreign) | Ok(_) => {
                self.report.foreign += 1;
                return Ok(());
            }
            Err(reason) => reason,
        };
        let found = Address::parse(address, domain);
        if let Some(found) = found
            && self.mailboxes.mailbox(&found).exists()?
        {
            self.report.existing += 1;
        } else {
            self.report.invalid.push(Invalid {
                address: String::from_utf8_lossy(address).escape_debug().to_string(),
                reason: reason.to_string(),
            });
        }
        Ok(())
    }

    /// Gives the passwords that wait their names, once they are on the disk.
    fn settle(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.mailboxes.sync()?;
        for adoption in self.waiting.drain(..) {
            match adoption.finish()? {
                Creation::Created => self.report.imported += 1,
                Creation::Existed => self.report.existing += 1,
            }
        }
        Ok(())
    }
}

/// The database first: without it, nobody looks at the others.
fn set_aside(path: &Path, old: &Path) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fs::rename(path, old).map_err(named)?;
    for companion in COMPANIONS {
        match fs::rename(with_suffix(path, companion), with_suffix(old, companion)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
