//! The check alone, next to a whole-message check: `chatmail-core/benches/check.rs`, built as for release.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::usage;
use crate::command;
use crate::terminal::say;

/// Runs the benchmark, which prints its table. No figure makes it fail.
pub(super) fn run(rounds: u32, json: Option<&Path>) -> Result<ExitCode> {
    let mut words = format!("bench -q -p chatmail-core --bench check -- --rounds {rounds}");
    if let Some(file) = json {
        // The benchmark runs in the directory of its package.
        let file = std::path::absolute(file)?;
        let Some(text) = file.to_str().filter(|text| !text.contains(' ')) else {
            bail!("{}: no file name without spaces", file.display());
        };
        words = format!("{words} --json {text}");
    }
    say(format_args!(
        "==> checking messages of 3 KB to 30 MB, {rounds} rounds; the load average is {:.1}",
        usage::load_average()?
    ));
    command::cargo(&words)?;
    Ok(ExitCode::SUCCESS)
}
