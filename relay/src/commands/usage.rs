//! `chatmail usage`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use chatmail_core::usage::{Amount, Report};
use chatmail_relay::housekeeping::report;
use clap::Parser;
use serde_json::{Value, json};

use super::expire::{threads, watch};
use super::mail_user::{become_mail_user, is_root};
use crate::exit::{Exit, Failure, load, read};
use crate::progress;

mod files;

use files::{Files, root_writes};

/// Tell what all mailboxes hold, and how many are in use.
///
/// Counts messages by size and by age, other files, accounts, and accounts with a login in the last 1,
/// 10, 30, 40, 80, 100 and 150 days. Accounts whose address begins with `ci-` or `ac_` are those of
/// automatic tests; they are not counted as active. Sizes of messages are those of the quota, before
/// compression. No address is told.
///
/// Prints a table, unless it is told to write files. A file is replaced atomically. Root may run it as well: it
/// makes the report as the owner of the mailboxes, and writes only the files as root.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 done, 64 wrong usage, 73 a file cannot be written, 74 standard output cannot be written \
to, 75 the mailboxes, or some of them, cannot be read, 77 not permitted, 78 wrong chatmail.ini.

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
    /// Print the report that root writes to files (internal)
    #[arg(long, hide = true)]
    hand_over: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let to_files = arguments.textfile.is_some() || arguments.legacy_metrics.is_some();
    if to_files && is_root() {
        load(&arguments.config)?;
        // The mail user may not write there, and root must not read mailboxes.
        return root_writes(arguments);
    }
    // The process that hands over a report has a parent that told the warnings.
    let config = match arguments.hand_over {
        true => read(&arguments.config)?,
        false => load(&arguments.config)?,
    };
    become_mail_user(&config)?;
    let watch = watch();
    let mailboxes = config.mailboxes();
    let taken = progress::shown(&watch, "usage", || {
        report::take(&mailboxes, SystemTime::now(), threads(), &watch)
    });
    let temporary = |why: String| Failure(Exit::TemporaryFailure, why);
    let report = taken
        .map_err(|error| temporary(error.to_string()))?
        .ok_or_else(|| temporary("stopped".to_owned()))?;
    let files = Files::of(&report, json_of(&report));
    if arguments.hand_over {
        super::print(&files.handed_over())?;
    } else if to_files {
        files.write(arguments)?;
    } else if arguments.json {
        super::print(&files.json_line())?;
    } else {
        super::print(&report.to_text())?;
    }
    match report.unreadable {
        0 => Ok(ExitCode::SUCCESS),
        some => Err(temporary(format!("{some} mailboxes could not be read"))),
    }
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
