//! `chatmail user`.

mod archive;
mod change;
mod invite;
mod list;
mod password;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use chatmail_core::address::{Address, AddressError};
use chatmail_core::config::Config;
use chatmail_core::mailbox::Mailboxes;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use super::mail_user::become_mail_user;
use crate::exit::{Exit, Failure, load};

/// The exit codes of all these commands.
const EXITS: &str = "\
Exit codes: 0 done, or it was like that before, 64 wrong usage, 65 the password or the stream cannot be \
used, 67 no such account, 73 it exists already, 74 a file cannot be read or written, 75 somebody else \
holds the mailbox; try again, 77 not permitted, 78 wrong chatmail.ini.";

/// Manage the accounts of the relay.
///
/// Every change holds at once and is safe while the relay runs. Run it as root or as the owner of the
/// mailboxes: root goes on as that owner.
///
/// With --json, standard output is JSON: one object, of `list` and `invite list` one on each line. An
/// error is the object {"error": WORDS, "exit": CODE}, besides the line on standard error; wrong usage is only
/// the latter.
#[derive(Parser)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::List),
    Show(list::Show),
    Create(change::Create),
    Password(change::Password),
    Disable(change::Disable),
    Enable(change::Enable),
    Delete(change::Delete),
    AllowCleartext(change::AllowCleartext),
    Export(archive::Export),
    Import(archive::Import),
    Invite(invite::Arguments),
}

/// What all of them take.
#[derive(Args)]
struct Common {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// The relay they work on.
struct Relay {
    config: Config,
    mailboxes: Mailboxes,
    json: bool,
}

impl Common {
    fn open(&self) -> Result<Relay, Failure> {
        let config = load(&self.config)?;
        become_mail_user(&config)?;
        Ok(Relay {
            mailboxes: config.mailboxes(),
            config,
            json: self.json,
        })
    }
}

impl Relay {
    /// The address of an account that may exist.
    fn address(&self, text: &str) -> Result<Address, Failure> {
        Address::parse(text.as_bytes(), self.mailboxes.domain()).ok_or_else(|| self.foreign(text))
    }

    /// The address of an account that is to be made.
    fn new_address(&self, text: &str) -> Result<Address, Failure> {
        Address::parse_new(text.as_bytes(), self.mailboxes.domain()).map_err(|why| match why {
            AddressError::Foreign => self.foreign(text),
            why => Failure(
                Exit::Usage,
                format!("{text}: {why}; choose another address"),
            ),
        })
    }

    fn foreign(&self, text: &str) -> Failure {
        let domain = self.mailboxes.domain().in_address();
        Failure(Exit::Usage, format!("{text}: no address of {domain}"))
    }

    /// Prints an object of JSON, or what `words` say.
    fn answer(
        &self,
        object: &impl Serialize,
        words: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string(object).map_err(|why| failed(why.into()))?,
            false => words(),
        };
        let mut output = io::stdout().lock();
        writeln!(output, "{text}")
            .and_then(|()| output.flush())
            .or_else(unless_closed)
    }
}

/// An account and what became of it.
#[derive(Serialize)]
struct Done<'a> {
    address: &'a str,
    result: &'static str,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (common, done) = match &arguments.command {
        Command::List(list) => (&list.common, list.run()),
        Command::Show(show) => (&show.common, show.run()),
        Command::Create(create) => (&create.common, create.run()),
        Command::Password(password) => (&password.common, password.run()),
        Command::Disable(disable) => (&disable.common, disable.run()),
        Command::Enable(enable) => (&enable.common, enable.run()),
        Command::Delete(delete) => (&delete.common, delete.run()),
        Command::AllowCleartext(allow) => (&allow.common, allow.run()),
        Command::Export(export) => (&export.common, export.run()),
        Command::Import(import) => (&import.common, import.run()),
        Command::Invite(invite) => invite.run(),
    };
    match &done {
        // The stream is on standard output.
        Err(failure) if common.json && !matches!(arguments.command, Command::Export(_)) => {
            print_error(failure);
        }
        _ => {}
    }
    done
}

/// Also for other commands with `--json`.
pub(crate) fn print_error(failure: &Failure) {
    let Failure(exit, why) = failure;
    let error = serde_json::json!({"error": why, "exit": *exit as u8});
    // Nothing to be done about a closed pipe.
    let _ = writeln!(io::stdout(), "{error}");
}

/// What an error of the system means for the exit code.
pub(crate) fn failed(error: io::Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::TimedOut => Exit::TemporaryFailure,
        ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::CannotWrite,
    };
    Failure(exit, error.to_string())
}

fn no_account(address: &Address) -> Failure {
    Failure(Exit::NoUser, format!("{address}: no such account"))
}

/// Who reads only the beginning of a list has enough.
fn unless_closed(error: io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(failed(error)),
    }
}
