//! What a person sees: two Delta Chat clients, from one's send button to the other's screen.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use chatmail_tests::deltachat;
use serde::Deserialize;

use super::figures::{Figures, percentile};
use super::pair::{Pair, Relay};
use super::population::known_users;
use super::table::{Compared, Row};
use crate::command::target_directory;
use crate::interrupt;
use crate::relay::account::Account;
use crate::terminal::say;

/// Each takes two new clients on each relay.
const MOST_ROUNDS: u32 = 3;

/// What `two_profiles.py` prints.
#[derive(Deserialize)]
struct Talk {
    /// In seconds.
    one_way: Vec<f64>,
}

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let rounds = rounds.min(MOST_ROUNDS);
    say(format_args!("    messages between two Delta Chat clients"));
    let python = deltachat::python_below(&target_directory()?)
        .context("Delta Chat's bindings cannot be installed")?;
    let users = known_users(pair, 2 * rounds as usize)?;
    let mut times = Figures::default();
    for both in users.chunks(2) {
        for (relay, times) in [(&pair.ours, &mut times.ours), (&pair.bare, &mut times.bare)] {
            interrupt::check()?;
            let talk = talk(&python, relay, both)?;
            times.extend(talk.one_way.iter().map(|seconds| seconds * 1e3));
        }
    }
    pair.look_after()?;
    let row = |what: &str, part| {
        let one = |times: &[f64]| percentile(times, part).into_iter().collect();
        let figures = Figures {
            ours: one(&times.ours),
            bare: one(&times.bare),
        };
        Row::new(what, "ms", figures, Compared::Difference)
    };
    Ok(vec![
        row("Delta Chat to Delta Chat, one way, p50", 0.5).reference("640"),
        row("  p95", 0.95),
    ])
}

fn talk(python: &std::path::Path, relay: &Relay, users: &[Account]) -> Result<Talk> {
    let profiles = relay.scratch("deltachat")?;
    let output = Command::new(python)
        .arg(deltachat::scripts().join("two_profiles.py"))
        .arg(profiles.join("accounts"))
        .args(users.iter().map(|user| user.link(&relay.endpoints)))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run Python")?;
    ensure!(output.status.success(), "Delta Chat: {}", output.status);
    serde_json::from_slice(&output.stdout).context("what the clients say is malformed")
}
