//! `cargo xtask bench`: what the relay costs, next to the same servers without our parts.
//!
//! Nothing here passes or fails by time. A machine that is busy with other things changes every figure, so both relays
//! run side by side, are measured in turn, and are compared round by round.

mod check;
mod clients;
mod delivery;
mod dkim;
mod edits;
mod figures;
mod login;
mod mail;
mod pair;
mod session;
mod table;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::build::Artifacts;
use crate::privilege::give_to_caller;
use crate::terminal::{Seconds, say, stage, talk_on_stderr};
use crate::{build, command, interrupt, packages, privilege};
use pair::{Other, Pair};
use table::{Row, Table};

/// A user of a server that does not exist, and that server's domain.
const OUTSIDER: &str = "alice@outside.test";
const OUTSIDE: &str = "outside.test";

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                                 everything, about five minutes after the build
  cargo xtask bench relay --only login --rounds 3   a short look at one thing
  cargo xtask bench --json bench.json               the figures of each round, for a script
  cargo xtask bench check                           the encryption check alone, with its targets

What there is to measure:
  session    private memory of an imap process after LOGIN and SELECT, and after GETMETADATA
  login      SASL and IMAP logins of known users, first logins that create accounts
  delivery   LMTP delivery to a user with one device to notify
  mail       Postfix and filter: messages of 3 KB, 100 KB and 10 MB, without DKIM
  latency    one 3 KB message at a time; percentiles over all rounds
  dkim       what verifying and signing add: next to a relay with dkim = false
  memory     the filter's peak with 200 signed messages of 10 MB at once; writes 2 GB

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
    /// Write all figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Directory of both relays [default: target/bench]
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
}

/// In the order in which they are measured: memory of fresh processes first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Session,
    Login,
    Delivery,
    Mail,
    Latency,
    Dkim,
    Memory,
}

impl Part {
    fn measure(self, pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
        match self {
            Part::Session => session::measure(pair),
            Part::Login => login::measure(pair, rounds),
            Part::Delivery => delivery::measure(pair, rounds),
            Part::Mail => mail::throughput(pair, rounds),
            Part::Latency => mail::latency(pair, rounds),
            Part::Dkim => dkim::measure(pair, rounds),
            Part::Memory => mail::memory(pair),
        }
    }

    /// What it needs beside ours.
    fn other(self) -> Other {
        match self {
            Part::Dkim | Part::Memory => Other::NoDkim,
            _ => Other::Bare,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match options.subject {
        Subject::Relay => relay(options),
        Subject::Check => check::run(options.rounds, options.json.as_deref()),
    }
}

fn relay(options: &Options) -> Result<ExitCode> {
    privilege::become_root("Running mail servers")?;
    privilege::prepare_process();
    interrupt::listen()?;
    talk_on_stderr();
    packages::ensure(&[packages::RELAY])?;
    let artifacts = build::relay(None)?;
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
    let mut outcome = Ok(ExitCode::SUCCESS);
    for other in [Other::Bare, Other::NoDkim] {
        let parts = Part::value_variants().iter().filter(|part| {
            part.other() == other && (options.only.is_empty() || options.only.contains(part))
        });
        if outcome.is_ok()
            && let Err(failure) = measure(&directory, &artifacts, other, parts, options, &mut rows)
        {
            // What was measured so far is shown.
            outcome = Err(failure);
        }
    }
    say(format_args!("    done in {}", Seconds(begin.elapsed())));

    let table = Table {
        rounds: options.rounds,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        load_at_start,
        rows,
    };
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&table)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        give_to_caller(file)?;
    }
    println!("{table}");
    outcome
}

/// Starts a pair for these parts, if there is one, and measures them.
fn measure<'p>(
    directory: &Path,
    artifacts: &Artifacts,
    other: Other,
    parts: impl Iterator<Item = &'p Part>,
    options: &Options,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return Ok(());
    }
    let what = match other {
        Other::Bare => "starting two relays",
        Other::NoDkim => "starting two relays, one of them without DKIM",
    };
    let mut pair = stage(what, || Pair::start(directory, artifacts, other))?;
    for part in parts {
        rows.extend(part.measure(&mut pair, options.rounds)?);
    }
    Ok(())
}
