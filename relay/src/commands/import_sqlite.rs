//! `chatmail import-sqlite`.

use std::path::PathBuf;

use chatmail_relay::import::{self, ImportError, Invalid, Report, Run};
use clap::Parser;

use super::mail_user::become_mail_user;
use super::progress::Progress;
use super::user::{failed, print_error};
use crate::exit::{Exit, Failure, load};

/// Take over the accounts of an old relay, which kept passwords in SQLite.
///
/// Reads the table users(addr, password[, last_login]) of the database at passdb_path and makes the file
/// `password` in the mailbox of each address, with the day of its last login if the table has one, else today.
/// Whatever mail is there stays. Left out: accounts that exist, accounts of tests (ci-…, ac_…), addresses of other
/// domains, and those that `chatmail user create` does not accept: they could neither send nor receive. At the end the database is renamed, `.old` behind its name.
///
/// If it is interrupted, run it again: what was done is found done. Run it before the relay takes logins, or a user
/// who is quicker makes a new account. Run it as root, who goes on as the owner of the mailboxes, or as that owner;
/// the directory of the database must let that user rename it.
///
/// JSON: {"rows", "imported", "blocked": of those imported, without a usable password, "existing", "ci", "foreign",
/// "invalid": [{"address", "reason"}], "renamed_to": path or null}; null if there is no database. An error is {"error": WORDS, "exit": CODE}.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 done, or there is no database, 64 wrong usage, 65 not a user table of this relay, or \
damaged, 73 the place it is renamed to is taken, 74 a file cannot be read or written, 75 another process holds the \
database or a mailbox; try again, 77 not permitted, 78 wrong chatmail.ini.

Keys of chatmail.ini it reads: mail_domain, mailboxes_dir, passdb_path."
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write nothing; tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let done = import(arguments);
    match &done {
        Err(failure) if arguments.json => print_error(failure),
        _ => {}
    }
    done
}

fn import(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    become_mail_user(&config)?;
    let run = match arguments.dry_run {
        true => Run::Dry,
        false => Run::Real,
    };
    let mut line = Progress::new();
    let mut progress = |done, total| line.show(|| format!("{done} of {total} accounts"));
    let report = import::import(&config, run, &mut progress);
    drop(line);
    let report = report.map_err(failure)?;
    if arguments.json {
        println!("{}", serde_json::json!(report));
        return Ok(());
    }
    match report {
        Some(report) => println!("{}", words(&report, run)),
        None => println!(
            "{}: no such database, nothing to do",
            config.passdb_path.display()
        ),
    }
    Ok(())
}

fn words(report: &Report, run: Run) -> String {
    let imported = match run {
        Run::Dry => "would be imported",
        Run::Real => "imported",
    };
    let mut words = format!(
        "{} rows: {} {imported}, {} exist already, {} of tests, {} no addresses of this relay",
        report.rows, report.imported, report.existing, report.ci, report.foreign
    );
    if report.blocked > 0 {
        let blocked = report.blocked;
        words.push_str(&format!(
            "\n{blocked} of them have no usable password and are blocked"
        ));
    }
    if !report.invalid.is_empty() {
        let count = report.invalid.len();
        words.push_str(&format!(
            "\n{count} cannot be imported; their users need other addresses:"
        ));
        for Invalid { address, reason } in &report.invalid {
            words.push_str(&format!("\n  {address}: {reason}"));
        }
    }
    if let Some(path) = &report.renamed_to {
        words.push_str(&format!("\nthe database is now {}", path.display()));
    }
    words
}

fn failure(why: ImportError) -> Failure {
    let exit = match why {
        ImportError::Failed(error) => return failed(error),
        ImportError::InTheWay(_) => Exit::CannotCreate,
        ImportError::Table(ref error) if error.is_busy() => Exit::TemporaryFailure,
        ImportError::Table(_) | ImportError::Foreign(_) => Exit::Data,
    };
    Failure(exit, why.to_string())
}
