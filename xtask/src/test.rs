//! `cargo xtask test`: everything CI runs.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::command::{cargo, cargo_as_root, cargo_strictly};
use crate::terminal::{Seconds, say, stage};
use crate::{build, interrupt, packages, privilege};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                    everything
  cargo xtask test --keep-going       all stages, even if an early one fails
  cargo test -p chatmail-core         tests of one crate, without any set-up

Exit status: 0 if everything passed, 1 otherwise.")]
pub(crate) struct Options {
    /// Go on to the next stage when one fails
    #[arg(long)]
    keep_going: bool,
}

/// One stage: what it is, and how to run it.
type Stage = (&'static str, fn() -> Result<()>);

const STAGES: &[Stage] = &[
    ("formatting", || cargo("fmt --all --check")),
    ("clippy", || {
        cargo("clippy --workspace --all-targets -- --deny warnings")
    }),
    // A workspace of its own, which nothing else here builds.
    ("fuzz targets", || {
        cargo("check --manifest-path fuzz/Cargo.toml")
    }),
    ("release build and the C code", || build::relay().map(drop)),
    ("tests of all crates", || {
        cargo_strictly("test --workspace --exclude chatmail-tests --no-fail-fast")
    }),
    ("end-to-end tests", || {
        // Built by the caller, so that nothing under target/ is root's; run by root, who may start mail servers.
        cargo("build --package xtask")?;
        cargo("test --package chatmail-tests --no-run")?;
        cargo_as_root("test --package chatmail-tests --no-fail-fast")
    }),
];

pub(crate) fn everything(options: &Options) -> Result<ExitCode> {
    privilege::become_root("Installing packages and running mail servers")?;
    privilege::prepare_process();
    packages::ensure(&[packages::RELAY, packages::TESTS])?;
    interrupt::listen()?;
    let mut failed = Vec::new();
    let mut table = String::new();
    let begin = Instant::now();
    for (name, work) in STAGES {
        interrupt::check()?;
        let begin = Instant::now();
        let outcome = stage(name, work);
        let result = if outcome.is_ok() { "ok" } else { "FAILED" };
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
    say(format_args!(
        "\n{table}  in all  {}",
        Seconds(begin.elapsed())
    ));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}
