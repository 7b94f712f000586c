//! `cargo xtask test`: everything CI runs.

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use chatmail_tests::dovecot::VARIABLE;
use chatmail_tests::host::Host;
use clap::Args;

use crate::build::{self, IS_BUILT, Programs};
use crate::command::{cargo, cargo_as_root, cargo_strictly};
use crate::dovecot::{Dovecot, Version};
use crate::terminal::{Seconds, say, stage};
use crate::{interrupt, packages, privilege};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                    everything
  cargo xtask test --keep-going       all stages, even if an early one fails
  cargo test -p chatmail-core         tests of one crate, without any set-up
  CHATMAIL_TEST_DOVECOT=2.4 cargo test -p chatmail-tests --test suite login::
                                      end-to-end tests of one kind on one Dovecot, as root

Exit status: 0 if everything passed, 1 otherwise.")]
pub(crate) struct Options {
    /// Go on to the next stage when one fails
    #[arg(long)]
    keep_going: bool,
}

/// One stage: what it is, and how to run it.
type Stage = (&'static str, fn() -> Result<Outcome>);

/// What became of a stage that did not fail.
enum Outcome {
    Passed,
    /// This system cannot do it, and why.
    Skipped(String),
}

/// All in release mode, overflow checks on: dependencies are built once, for the relay and for the tests.
const STAGES: &[Stage] = &[
    ("formatting", || passed(cargo("fmt --all --check"))),
    ("clippy", || {
        passed(cargo(
            "clippy --release --workspace --all-targets --test suite -- --deny warnings",
        ))
    }),
    // A workspace of its own, which nothing else here builds.
    ("fuzz targets", || {
        passed(cargo("check --manifest-path fuzz/Cargo.toml"))
    }),
    ("build for Dovecot 2.3", || build(Version::V2_3)),
    ("build for Dovecot 2.4", || build(Version::V2_4)),
    // All but `suite`, which has to be asked for by name.
    ("tests of all crates", || {
        passed(cargo_strictly("test --release --workspace --no-fail-fast"))
    }),
    ("end-to-end tests, Dovecot 2.3", || {
        end_to_end(Version::V2_3)
    }),
    ("end-to-end tests, Dovecot 2.4", || {
        end_to_end(Version::V2_4)
    }),
];

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

/// The programs in release mode and the modules, with the C code, for this Dovecot.
fn build(version: Version) -> Result<Outcome> {
    match Dovecot::obstacle(version) {
        Some(why) => Ok(Outcome::Skipped(why)),
        None => passed(build::relay(Some(version), Programs::WithTests).map(drop)),
    }
}

fn end_to_end(version: Version) -> Result<Outcome> {
    if let Some(why) = Dovecot::obstacle(version) {
        return Ok(Outcome::Skipped(why));
    }
    // They wait for servers more than they compute: with two of them a processor is idle half of the time.
    let relays = 3 * std::thread::available_parallelism().map_or(1, NonZero::get);
    // Built by the caller, so that nothing under target/ is root's; run by root, who may start mail servers.
    build::relay(Some(version), Programs::WithTests)?;
    cargo("test --release --workspace --test suite --no-run")?;
    cargo("build --release --package xtask")?;
    passed(cargo_as_root(
        "test --release --workspace --test suite --no-fail-fast",
        &[
            (VARIABLE, version.as_str()),
            (IS_BUILT, "yes"),
            ("RUST_TEST_THREADS", &relays.to_string()),
        ],
    ))
}

pub(crate) fn everything(options: &Options) -> Result<ExitCode> {
    privilege::become_root("Installing packages and running mail servers")?;
    privilege::prepare_process();
    packages::ensure(&[packages::RELAY, packages::TREE, packages::TESTS])?;
    interrupt::listen()?;
    let (mut failed, mut skipped) = (Vec::new(), String::new());
    let mut table = String::new();
    let begin = Instant::now();
    for (name, work) in STAGES {
        interrupt::check()?;
        let begin = Instant::now();
        let outcome = stage(name, work);
        let result = match &outcome {
            Ok(Outcome::Passed) => "ok",
            Ok(Outcome::Skipped(why)) => {
                let line = format!(
                    "WARNING: skipped: {name}. This system lets nobody mount or change the root directory: {why}\n"
                );
                say(format_args!("{line}"));
                skipped.push_str(&line);
                "SKIPPED"
            }
            Err(_) => "FAILED",
        };
        table.push_str(&format!(
            "  {result:<8}{name:<32}{}\n",
            Seconds(begin.elapsed())
        ));
        if let Err(failure) = outcome {
            say(format_args!("error: {name}: {failure:#}"));
            failed.push(*name);
            if !options.keep_going {
                break;
            }
        }
    }
    if let Some(why) = Host::obstacle() {
        skipped.push_str(&format!(
            "WARNING: skipped: end-to-end tests on whole systems (host::). This one boots no other: {why}\n"
        ));
    }
    say(format_args!(
        "\n{table}  in all  {}\n{skipped}",
        Seconds(begin.elapsed())
    ));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}
