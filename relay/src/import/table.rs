//! The table `users(addr, password[, last_login])` of a SQLite database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long another process may hold the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest password that is taken over, in bytes: longer ones are no hash.
const PASSWORD_MAX: usize = 1024;

/// Why a database cannot be used. `Display` names the file.
#[derive(Debug)]
pub struct TableError {
    path: PathBuf,
    why: String,
    busy: bool,
}

impl TableError {
    /// Whether another process holds it, so that a later try may do.
    pub fn is_busy(&self) -> bool {
        self.busy
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for TableError {}

/// The table, for reading.
pub(super) struct Table {
    path: PathBuf,
    connection: Connection,
    has_last_login: bool,
}

/// One row.
pub(super) struct Row<'a> {
    pub(super) address: &'a [u8],
    /// Empty for none; `None` if it is nothing that could be a password file.
    pub(super) password: Option<&'a str>,
    pub(super) last_login: Option<SystemTime>,
}

impl Table {
    /// Opens a database and looks whether it is sound and has the table.
    pub(super) fn open(path: &Path) -> Result<Table, TableError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags);
        let connection = opened.map_err(|error| unusable(path, &error))?;
        let mut table = Table {
            path: path.to_owned(),
            connection,
            has_last_login: false,
        };
        table
            .look()
            .map_err(|error| unusable(path, &error))?
            .map_err(|why| table.error(why))?;
        Ok(table)
    }

    fn look(&mut self) -> rusqlite::Result<Result<(), String>> {
        self.connection.busy_timeout(PATIENCE)?;
        let check = "PRAGMA quick_check(1)";
        let verdict: String = self.connection.query_row(check, [], |row| row.get(0))?;
        if verdict != "ok" {
            return Ok(Err(format!("damaged: {verdict}")));
        }
        let mut statement = self.connection.prepare("PRAGMA table_info(users)")?;
        let columns = statement.query_map([], |row| row.get::<_, String>("name"))?;
        let columns: Vec<String> = columns.collect::<rusqlite::Result<_>>()?;
        let has = |name: &str| columns.iter().any(|column| column == name);
        if !has("addr") || !has("password") {
            let why = "not a user table of a relay: there is no users(addr, password) in it";
            return Ok(Err(why.to_owned()));
        }
        self.has_last_login = has("last_login");
        Ok(Ok(()))
    }

    /// Rows in it.
    pub(super) fn count(&self) -> Result<u64, TableError> {
        let count = "SELECT COUNT(*) FROM users";
        let rows = self
            .connection
            .query_row(count, [], |row| row.get::<_, i64>(0));
        let rows = rows.map_err(|error| unusable(&self.path, &error))?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    /// Shows all rows. Stops at the first error.
    pub(super) fn each<E: From<TableError>>(
        &self,
        mut visit: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let unusable = |error: rusqlite::Error| unusable(&self.path, &error);
        let query = match self.has_last_login {
            true => "SELECT addr, password, last_login FROM users",
            false => "SELECT addr, password, NULL FROM users",
        };
        let mut statement = self.connection.prepare(query).map_err(unusable)?;
        let mut rows = statement.query([]).map_err(unusable)?;
        while let Some(row) = rows.next().map_err(unusable)? {
            let value = |column| row.get_ref(column).map_err(unusable);
            visit(Row {
                address: bytes(value(0)?),
                password: password(value(1)?),
                last_login: time(value(2)?),
            })?;
        }
        Ok(())
    }

    fn error(&self, why: String) -> TableError {
        TableError {
            path: self.path.clone(),
            why,
            busy: false,
        }
    }
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => b"",
    }
}

fn password(value: ValueRef<'_>) -> Option<&str> {
    match value {
        ValueRef::Null => Some(""),
        value @ (ValueRef::Text(_) | ValueRef::Blob(_)) => {
            let text = std::str::from_utf8(bytes(value)).ok()?;
            Some(text.trim_ascii_end()).filter(|text| text.len() <= PASSWORD_MAX)
        }
        _ => None,
    }
}

/// Some relays have written it as text, and an empty text for none.
fn time(value: ValueRef<'_>) -> Option<SystemTime> {
    let seconds = match value {
        ValueRef::Integer(seconds) => seconds,
        ValueRef::Real(seconds) => seconds as i64,
        ValueRef::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        _ => return None,
    };
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn unusable(path: &Path, error: &rusqlite::Error) -> TableError {
    let code = error.sqlite_error_code();
    let why = match code {
        Some(ErrorCode::NotADatabase) => "not a SQLite database".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => format!("damaged: {error}"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process is writing to it; stop the old relay first".to_owned()
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => format!(
            "cannot be opened ({error}). It was perhaps not closed well: open it once with sqlite3 as a user \
who may write to it"
        ),
        _ => error.to_string(),
    };
    TableError {
        path: path.to_owned(),
        why,
        busy: matches!(
            code,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        ),
    }
}
