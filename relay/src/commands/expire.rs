//! `chatmail expire`.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::SystemTime;

use chatmail_core::expire::{Expiry, Mode};
use chatmail_relay::housekeeping::expiry::{self, Doubtful, Ended, Outcome};
use chatmail_relay::housekeeping::watch::{Trouble, Watch};
use clap::Parser;
use serde_json::json;

use super::mail_user::become_mail_user;
use crate::exit::{Exit, Failure, load};
use crate::progress;

/// More do not make a disk faster.
const THREADS: usize = 8;

/// Remove old messages and mailboxes that nobody uses.
///
/// Too old is a mailbox whose last login is more than delete_inactive_users_after days ago, a message
/// that was stored more than delete_mails_after days ago, and one of more than 200,000 bytes in `cur`
/// that was stored more than delete_large_after days ago. Subfolders count as well. A directory without a
/// file `password` is removed if it is empty, or holds only files of a sign-up that failed more than an hour ago;
/// else it is reported and kept.
///
/// Without --remove nothing is changed: it only tells what would go. `chatmail serve` does the same as
/// --remove once a day, at expire_at_hour. Two runs at a time are not possible. Run it as the owner of the
/// mailboxes, or as root, which becomes that owner first.
///
/// If nobody has logged in for 14 days, or more than half of all accounts would go at once (and more than
/// ten), the clock may be wrong. Nothing is removed then, unless you say --force.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 done, 1 nothing removed, for the clock may be wrong, 64 wrong usage, 74 standard output \
cannot be written to, 75 another run is at it, or some mailboxes could not be worked on (the others were), 77 not permitted, 78 wrong \
chatmail.ini.

With --json standard output is one object: dry_run, mailboxes (how many there were), removed (mailboxes, \
empty_directories, messages, large_messages, bytes), no_account (directories with files but no password), failed, and \
doubt (why --remove would need --force, or null).

Examples:
  chatmail expire --config /etc/chatmail.ini            what would go today
  chatmail expire --config /etc/chatmail.ini --remove   remove it"
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Remove what is too old, instead of telling it
    #[arg(long)]
    remove: bool,
    /// Decide as if it were so many days ago: everything may be older by that
    #[arg(long, value_name = "N", default_value_t = 0)]
    days: u32,
    /// Remove even if the clock may be wrong
    #[arg(long, requires = "remove")]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    become_mail_user(&config)?;
    let (mode, doubtful) = match (arguments.remove, arguments.force) {
        (false, _) => (Mode::DryRun, Doubtful::Refuse),
        (true, false) => (Mode::Remove, Doubtful::Refuse),
        (true, true) => (Mode::Remove, Doubtful::GoOn),
    };
    let expiry = Expiry::new(&config, SystemTime::now(), mode).days_ago(arguments.days);
    let watch = watch();
    let ended = progress::shown(&watch, "expire", || {
        expiry::run(&config, &expiry, doubtful, threads(), &watch)
    });
    let temporary = |why: String| Failure(Exit::TemporaryFailure, why);
    let outcome = match ended.map_err(|error| temporary(error.to_string()))? {
        Ended::Done(outcome) => outcome,
        Ended::Busy => return Err(temporary("another process is at it".to_owned())),
        Ended::Refused(doubt) => {
            let why = format!("nothing removed: {doubt}. If the clock is right: --force");
            return Err(Failure(Exit::Refused, why));
        }
    };
    let text = match arguments.json {
        true => json_of(&outcome, mode).to_string() + "\n",
        false => text_of(&outcome, mode),
    };
    super::print(&text)?;
    match outcome.failed {
        0 => Ok(()),
        failed => Err(temporary(format!(
            "{failed} mailboxes could not be worked on"
        ))),
    }
}

/// Names every trouble on standard error.
pub(super) fn watch() -> Watch {
    Watch::new(|trouble| match trouble {
        Trouble::Failed(error) => progress::say(&error.to_string()),
        Trouble::NoAccount(path) => progress::say(&format!(
            "{}: holds files but no password: left as it is",
            path.display()
        )),
    })
}

pub(super) fn threads() -> usize {
    thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(THREADS)
}

fn json_of(outcome: &Outcome, mode: Mode) -> serde_json::Value {
    let expired = &outcome.expired;
    json!({
        "dry_run": mode == Mode::DryRun,
        "mailboxes": outcome.mailboxes,
        "removed": {
            "mailboxes": expired.mailboxes,
            "empty_directories": expired.empty_directories,
            "messages": expired.messages,
            "large_messages": expired.large_messages,
            "bytes": expired.bytes,
        },
        "no_account": outcome.no_account,
        "failed": outcome.failed,
        "doubt": outcome.doubt.map(|doubt| doubt.to_string()),
    })
}

fn text_of(outcome: &Outcome, mode: Mode) -> String {
    let expired = &outcome.expired;
    let heading = match mode {
        Mode::DryRun => "Would be removed",
        Mode::Remove => "Removed",
    };
    let mut text = format!("{heading}, of {} mailboxes:\n", outcome.mailboxes);
    for (count, what) in [
        (expired.mailboxes, "mailboxes that nobody uses"),
        (
            expired.empty_directories,
            "empty directories and failed sign-ups",
        ),
        (expired.messages, "old messages"),
        (expired.large_messages, "large messages"),
        (expired.bytes, "bytes"),
    ] {
        text.push_str(&format!("{count:>16}  {what}\n"));
    }
    if mode == Mode::DryRun {
        text.push_str("Nothing was changed. --remove does it.\n");
    }
    if let Some(doubt) = outcome.doubt {
        text.push_str(&format!(
            "It needs --force as well: {doubt}. Is the clock right?\n"
        ));
    }
    text
}
