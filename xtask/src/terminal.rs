//! Talking to whoever started the command: a person at a terminal, or a log.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// From here on [`say`] writes to standard error: standard output is for a result.
pub(crate) fn talk_on_stderr() {
    TO_STDERR.store(true, Ordering::Relaxed);
}

/// Prints one line. A closed terminal must not stop the clean-up, so failures to write are ignored.
pub(crate) fn say(line: Arguments<'_>) {
    if TO_STDERR.load(Ordering::Relaxed) {
        let _ = writeln!(io::stderr(), "{line}");
        return;
    }
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Whether a person is there to answer: not under `CI=true`, and the standard input is a terminal.
pub(crate) fn interactive() -> bool {
    let ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0");
    !ci && io::stdin().is_terminal()
}

/// Asks a question whose default answer is yes. Without anybody to ask the answer is yes.
pub(crate) fn agreed(question: &str) -> Result<bool> {
    if !interactive() {
        return Ok(true);
    }
    print!("{question} [Y/n] ");
    io::stdout()
        .flush()
        .context("cannot write to the terminal")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

/// Prints what is being done, and how long it took once that is known to be long.
pub(crate) fn stage<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("==> {what}"));
    let begin = Instant::now();
    let outcome = work();
    let took = begin.elapsed();
    match &outcome {
        Err(_) => say(format_args!("    failed after {}", Seconds(took))),
        Ok(_) if took >= Duration::from_secs(2) => {
            say(format_args!("    done in {}", Seconds(took)));
        }
        Ok(_) => {}
    }
    outcome
}

/// A duration as people write it.
pub(crate) struct Seconds(pub(crate) Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 60.0 {
            write!(f, "{seconds:.1} s")
        } else {
            write!(
                f,
                "{:.0} min {:.0} s",
                (seconds / 60.0).floor(),
                seconds % 60.0
            )
        }
    }
}
