//! `chatmail usage`.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chatmail_core::usage::{Amount, Report};
use chatmail_relay::housekeeping::report;
use clap::Parser;
use serde_json::{Value, json};

use super::expire::{threads, watch};
use crate::exit::{Exit, Failure, load};
use crate::progress;

/// The file in a directory of the node exporter's that relays have always written.
const TEXTFILE: &str = "fsreport.prom";

/// Tell what all mailboxes hold, and how many are in use.
///
/// Counts messages by size and by age, other files, accounts, and accounts with a login in the last 1,
/// 10, 30, 40, 80, 100 and 150 days. Accounts whose address begins with `ci-` or `ac_` are those of
/// automatic tests; they are not counted as active. Sizes of messages are those of the quota, before
/// compression. No address is told.
///
/// Prints a table, unless it is told to write files. A file is replaced in one step.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 done, 64 wrong usage, 73 a file cannot be written, 74 standard output cannot be written \
to, 75 the mailboxes, or some of them, cannot be read, 78 wrong chatmail.ini.

With --json standard output is one object: accounts (all, ci, user), active (a list of days, accounts), storage \
(messages, extra, total; count and bytes), sizes (a list of min_size, count, bytes), ages (a list of min_days, count, \
bytes), unreadable (directories).

Example: a report for Prometheus, by way of its node exporter
  chatmail usage --config /etc/chatmail.ini --textfile /var/lib/prometheus/node-exporter/"
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write a textfile for Prometheus; in a directory it is called fsreport.prom
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,
    /// Write the metrics accounts, ci_accounts and nonci_accounts of older relays
    #[arg(long, value_name = "PATH")]
    legacy_metrics: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    let watch = watch();
    let mailboxes = config.mailboxes();
    let taken = progress::shown(&watch, "usage", || {
        report::take(&mailboxes, SystemTime::now(), threads(), &watch)
    });
    let temporary = |why: String| Failure(Exit::TemporaryFailure, why);
    let report = taken
        .map_err(|error| temporary(error.to_string()))?
        .ok_or_else(|| temporary("stopped".to_owned()))?;
    if let Some(path) = &arguments.textfile {
        let path = match path.is_dir() {
            true => path.join(TEXTFILE),
            false => path.clone(),
        };
        write(&path, &report.to_textfile())?;
    }
    if let Some(path) = &arguments.legacy_metrics {
        write(path, &report.to_legacy())?;
    }
    if arguments.json {
        super::print(&(json_of(&report).to_string() + "\n"))?;
    } else if arguments.textfile.is_none() && arguments.legacy_metrics.is_none() {
        super::print(&report.to_text())?;
    }
    match report.unreadable {
        0 => Ok(()),
        some => Err(temporary(format!("{some} mailboxes could not be read"))),
    }
}

/// Replaces a file that everybody may read.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let replace = || -> io::Result<()> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(dir)?;
        file.write_all(text.as_bytes())?;
        // Whatever the umask says.
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok(())
    };
    replace().map_err(|error| Failure(Exit::CannotCreate, format!("{}: {error}", path.display())))
}

fn json_of(report: &Report) -> Value {
    let amount = |amount: Amount| json!({"count": amount.count, "bytes": amount.bytes});
    let class = |name: &str, (least, amount): (u64, Amount)| json!({name: least, "count": amount.count, "bytes": amount.bytes});
    let mut total = report.messages;
    total += report.other;
    json!({
        "accounts": {
            "all": report.accounts,
            "ci": report.ci_accounts,
            "user": report.user_accounts(),
        },
        "active": report.active().map(|(days, accounts)| json!({"days": days, "accounts": accounts})).collect::<Vec<_>>(),
        "storage": {
            "messages": amount(report.messages),
            "extra": amount(report.other),
            "total": amount(total),
        },
        "sizes": report.sizes().map(|it| class("min_size", it)).collect::<Vec<_>>(),
        "ages": report.ages().map(|it| class("min_days", it)).collect::<Vec<_>>(),
        "unreadable": report.unreadable,
    })
}
