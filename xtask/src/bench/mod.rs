//! `cargo xtask bench`: what the relay costs, next to the same servers without our parts.
//!
//! Nothing here passes or fails by time. A machine that is busy with other things changes every figure, so both relays
//! run side by side, are measured in turn, and are compared round by round.

mod check;
mod clients;
mod delivery;
mod deltachat;
mod dkim;
mod edits;
mod figures;
mod housekeeping;
mod idle;
mod imap;
mod limits;
mod login;
mod mail;
mod memory;
mod pair;
mod population;
mod push;
mod push_server;
mod session;
mod storm;
mod table;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::build::{Artifacts, Programs};
use crate::dovecot::Version;
use crate::privilege::give_to_caller;
use crate::terminal::{Seconds, say, stage, talk_on_stderr};
use crate::{build, command, interrupt, packages, privilege};
use limits::Limits;
use pair::{Other, Pair};
use table::{Row, Table};

/// A user of a server that does not exist, and that server's domain.
const OUTSIDER: &str = "alice@outside.test";
const OUTSIDE: &str = "outside.test";
/// A user of both relays who sends.
const SENDER: &str = "sender001@chat.test";

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                                 everything, about a quarter of an hour after the build
  cargo xtask bench relay --only login --rounds 3   a short look at one thing
  cargo xtask bench relay --only session,idle,storm several
  cargo xtask bench --json bench.json               the figures of each round, for a script
  cargo xtask bench check                           the encryption check alone, with its targets
  cargo xtask bench push                            push delivery, with its targets: to a service that answers after
                                                    0, 50 and 200 ms, and with 100,000 pending; about 5 minutes
  cargo xtask bench housekeeping                    expiry and report over 100,000 mailboxes, next to a plain script

What there is to measure:
  login      SASL logins of known users: repeated, and the first since the start; first logins that create
             accounts; IMAP logins with the same process settings in both
  session    IMAP LOGIN and LOGOUT of known users, without TLS and with it; bare with Dovecot's default process settings
  delivery   LMTP delivery to a user with one device to notify
  memory     200 sessions that idle over TLS, awake and hibernated; private memory of one imap process
  storm      2,000 clients that log in at once over TLS after a restart, three rounds at most
  idle       from the end of an LMTP delivery to EXISTS in a client that idles, awake and hibernated
  deltachat  messages between two Delta Chat clients, through Postfix; takes the clients from PyPI, three rounds at most
  mail       Postfix and filter: messages of 3 KB, 100 KB and 10 MB, without DKIM
  latency    one 3 KB message at a time; percentiles over all rounds
  dkim       what verifying and signing add: next to a relay with dkim = false
  peak       the filter's memory with 200 signed messages of 10 MB at once; writes 2 GB

Clients run on the same machine and use much of it: of storm, idle and deltachat compare the times, and read CPU time
for what it costs. fs.inotify.max_user_instances is 65535 while it runs, as on every relay, and put back at the end.

Exit status: 0 if everything could be measured, whatever the figures are; 1 otherwise.")]
pub(crate) struct Options {
    /// What to run
    #[arg(value_enum, default_value_t)]
    subject: Subject,
    /// Measure these alone, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// On this Dovecot, 2.3 or 2.4, both relays; see `cargo xtask relay --help` [default: the host's]
    #[arg(long, value_name = "VERSION")]
    dovecot: Option<Version>,
    /// Write all figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many mailboxes there are (housekeeping); each has 20 messages and takes 29 inodes
    #[arg(long, default_value_t = 100_000)]
    mailboxes: u64,
    /// Directory of both relays, or of the mailboxes [default: target/bench, target/bench-housekeeping]
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Subject {
    /// A whole relay
    #[default]
    Relay,
    /// The encryption check alone, next to a whole-message check
    Check,
    /// Push delivery, from LMTP to the push service
    Push,
    /// Expiry and report over many mailboxes, next to a script with the same rules in the column "bare"
    Housekeeping,
}

/// In the order in which they are measured, among those that need the same relays.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Login,
    Delivery,
    Memory,
    Storm,
    Mail,
    Latency,
    Session,
    Idle,
    Deltachat,
    Dkim,
    Peak,
}

impl Part {
    fn measure(self, pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
        match self {
            Part::Login => login::measure(pair, rounds),
            Part::Delivery => delivery::measure(pair, rounds),
            Part::Memory => memory::measure(pair),
            Part::Storm => storm::measure(pair, rounds),
            Part::Session => session::measure(pair, rounds),
            Part::Idle => idle::measure(pair, rounds),
            Part::Deltachat => deltachat::measure(pair, rounds),
            Part::Mail => mail::throughput(pair, rounds),
            Part::Latency => mail::latency(pair, rounds),
            Part::Dkim => dkim::measure(pair, rounds),
            Part::Peak => mail::memory(pair),
        }
    }

    /// What it needs beside ours.
    fn other(self) -> Other {
        match self {
            Part::Session => Other::DefaultProcesses,
            Part::Idle => Other::SoonHibernated,
            Part::Deltachat => Other::Delivering,
            Part::Dkim | Part::Peak => Other::NoDkim,
            _ => Other::Bare,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match options.subject {
        Subject::Relay => relay(options),
        Subject::Check => check::run(options.rounds, options.json.as_deref()),
        Subject::Push => measured(options, |directory, artifacts, rows| {
            rows.extend(push::measure(directory, artifacts, options.rounds)?);
            Ok(())
        }),
        Subject::Housekeeping => show(&housekeeping::run(options)?, options),
    }
}

/// A whole relay.
fn relay(options: &Options) -> Result<ExitCode> {
    measured(options, |directory, artifacts, rows| {
        for other in Other::ALL {
            let parts = Part::value_variants().iter().filter(|part| {
                part.other() == other && (options.only.is_empty() || options.only.contains(part))
            });
            measure(directory, artifacts, other, parts, options, rows)?;
        }
        Ok(())
    })
}

/// Builds a relay, prepares the host for it, and shows what `work` found, also if it fails in the middle.
fn measured(
    options: &Options,
    work: impl FnOnce(&Path, &Rc<Artifacts>, &mut Vec<Row>) -> Result<()>,
) -> Result<ExitCode> {
    privilege::become_root("Running mail servers")?;
    privilege::prepare_process();
    interrupt::listen()?;
    talk_on_stderr();
    packages::ensure(&[packages::RELAY])?;
    let artifacts = Rc::new(build::relay(options.dovecot, Programs::Alone)?);
    let _limits = Limits::raise()?;
    let directory = options
        .dir
        .clone()
        .unwrap_or_else(|| command::workspace().join("target/bench"));
    let load_at_start = usage::load_average()?;
    say(format_args!(
        "==> {} rounds; the load average is {load_at_start:.1}",
        options.rounds
    ));
    let begin = Instant::now();
    let mut rows = Vec::new();
    let outcome = work(&directory, &artifacts, &mut rows);
    say(format_args!("    done in {}", Seconds(begin.elapsed())));

    let table = Table {
        rounds: options.rounds,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        load_at_start,
        rows,
    };
    show(&table, options)?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn show(table: &Table, options: &Options) -> Result<ExitCode> {
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(table)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        give_to_caller(file)?;
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// Starts a pair for these parts, if there is one, and measures them.
fn measure<'p>(
    directory: &Path,
    artifacts: &Rc<Artifacts>,
    other: Other,
    parts: impl Iterator<Item = &'p Part>,
    options: &Options,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return Ok(());
    }
    let what = format!("starting two relays, one of them {}", other.words());
    let mut pair = stage(&what, || Pair::start(directory, artifacts, other))?;
    for part in parts {
        rows.extend(part.measure(&mut pair, options.rounds)?);
    }
    Ok(())
}
