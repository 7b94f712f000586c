//! Thousands of clients that log in at once, as after a restart.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::figures::{Figures, column, percentile};
use super::imap::{Client, Door};
use super::pair::{Pair, Relay};
use super::population::known_users;
use super::table::{Compared, Row, Target};
use super::usage::{cpu_by_name, spent};
use crate::interrupt;
use crate::relay::account::Account;
use crate::terminal::say;

/// Clients at once.
const CLIENTS: usize = 2000;
/// Rounds take half a minute each.
const MOST_ROUNDS: u32 = 3;
/// How long a client waits for each line.
const PATIENCE: Duration = Duration::from_secs(300);
/// Enough for a client, and little enough for thousands.
const STACK: usize = 256 * 1024;

/// What one round found.
struct Storm {
    served: f64,
    /// Until the last client was in, in seconds.
    all: f64,
    p50: f64,
    p99: f64,
    /// Dovecot's CPU time for each client, in milliseconds.
    cpu: f64,
}

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let users = known_users(pair, CLIENTS)?;
    let mut storms = Vec::new();
    for round in 0..rounds.min(MOST_ROUNDS) {
        say(format_args!(
            "    {CLIENTS} clients at once after a restart, {} of {}",
            round + 1,
            rounds.min(MOST_ROUNDS)
        ));
        let ours = storm(pair.restart_ours()?, &users)?;
        let bare = storm(pair.restart_bare()?, &users)?;
        pair.look_after()?;
        storms.push([ours, bare]);
    }
    let row = |what: &str, unit: &'static str, figure: fn(&Storm) -> f64| {
        Row::new(what, unit, column(&storms, figure), Compared::Ratio)
    };
    let served = column(&storms, |storm| storm.served);
    // Of all rounds the worst.
    let least = |figures: &[f64]| figures.iter().copied().reduce(f64::min);
    let served = Figures {
        ours: least(&served.ours).into_iter().collect(),
        bare: least(&served.bare).into_iter().collect(),
    };
    let what = format!("{CLIENTS} clients at once over TLS: served");
    Ok(vec![
        Row::new(what, "clients", served, Compared::Alone).target(Target::AtLeast(CLIENTS as f64)),
        row("  until all are in", "s", |storm| storm.all),
        row("  until one is in, p50", "s", |storm| storm.p50),
        row("  until one is in, p99", "s", |storm| storm.p99),
        row("  for each client", "ms CPU", |storm| storm.cpu),
    ])
}

/// All clients connect at the same time, and stay until the last of them is in.
fn storm(relay: &Relay, users: &[Account]) -> Result<Storm> {
    interrupt::check()?;
    let door = Door::tls(&relay.endpoints)?;
    let before = cpu_by_name(relay.dovecot);
    // False: there is nothing to wait for any more.
    let start = OnceLock::new();
    let mut begin = Instant::now();
    let mut outcomes = Vec::new();
    let [seconds] = spent([relay.dovecot], || {
        thread::scope(|scope| -> Result<()> {
            let spawn = |user| {
                let (door, start) = (&door, &start);
                let client = move || {
                    ensure!(*start.wait(), "not started");
                    let client = log_in(relay, door, user)?;
                    Ok((client, Instant::now()))
                };
                let thread = thread::Builder::new().stack_size(STACK);
                thread.spawn_scoped(scope, client)
            };
            let threads = users.iter().map(spawn).collect::<io::Result<Vec<_>>>();
            begin = Instant::now();
            start.get_or_init(|| threads.is_ok());
            for thread in threads.context("cannot start the clients' threads")? {
                match thread.join() {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(_) => bail!("a client's thread panicked"),
                }
            }
            Ok(())
        })
    })?;
    let after = cpu_by_name(relay.dovecot);
    let mut times = Vec::new();
    let mut refusal = None;
    for outcome in &outcomes {
        match outcome {
            Ok((_, end)) => times.push(end.saturating_duration_since(begin).as_secs_f64()),
            Err(why) => refusal = Some(why),
        }
    }
    if let Some(why) = refusal {
        say(format_args!(
            "    {} of {} were not served; one of them: {why:#}",
            users.len() - times.len(),
            users.len()
        ));
    }
    say(format_args!(
        "      ms CPU of each: {}",
        by_service(&before, &after, times.len())
    ));
    let part = |part| percentile(&times, part).context("no client was served");
    Ok(Storm {
        served: times.len() as f64,
        all: part(1.0)?,
        p50: part(0.5)?,
        p99: part(0.99)?,
        cpu: seconds * 1e3 / times.len() as f64,
    })
}

/// Where the time went; the processes of all clients still run.
fn by_service(
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    clients: usize,
) -> String {
    let mut all: Vec<(f64, &str)> = after
        .iter()
        .map(|(name, after)| {
            (
                after - before.get(name).copied().unwrap_or_default(),
                &**name,
            )
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let words = all.iter().take(6).map(|(seconds, name)| {
        let each = seconds * 1e3 / clients as f64;
        format!("{name} {each:.2}")
    });
    words.collect::<Vec<_>>().join(", ")
}

fn log_in(relay: &Relay, door: &Door, user: &Account) -> Result<Client> {
    let mut client = Client::connect(&relay.endpoints, door, PATIENCE)?;
    client.login(user)?;
    Ok(client)
}
