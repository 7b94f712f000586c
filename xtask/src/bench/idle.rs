//! How soon a client that waits hears of a new message.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chatmail_tests::Mail;

use super::OUTSIDER;
use super::clients::{Lmtp, TIMEOUT};
use super::figures::{Figures, column, interleaved, percentile};
use super::imap::{Client, Door};
use super::pair::{Pair, Relay};
use super::population::known_users;
use super::table::{Compared, Row, Target};
use super::usage::{descendants, inotify_instances, spent};
use crate::relay::account::Account;
use crate::relay::processes::poll;

/// Messages per round.
const MESSAGES: usize = 20;
/// Longer than `imap_hibernate_timeout` of both relays by far.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one round found.
struct Found {
    /// From the end of the message to the notice, in milliseconds.
    delays: Vec<f64>,
    /// Dovecot's CPU time for each, in milliseconds.
    cpu: f64,
}

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let users = known_users(pair, MESSAGES)?;
    let user = users.first().context("no users")?;
    let what = "LMTP delivery to an idling client";
    let awake = interleaved(what, rounds, pair, |_, relay| awake(relay, user))?;
    let what = "LMTP delivery to hibernated clients";
    let hibernated = interleaved(what, rounds, pair, |_, relay| hibernated(relay, &users))?;

    let all = |rounds: &[[Found; 2]], which: usize, part: f64| {
        let rounds = rounds.iter().filter_map(|both| both.get(which));
        let delays: Vec<f64> = rounds.flat_map(|found| &found.delays).copied().collect();
        percentile(&delays, part).into_iter().collect::<Vec<f64>>()
    };
    let row = |rounds: &[[Found; 2]], what: &str, part: f64| {
        let figures = Figures {
            ours: all(rounds, 0, part),
            bare: all(rounds, 1, part),
        };
        let what = format!("{what}, p{:.0}", part * 100.0);
        Row::new(what, "ms", figures, Compared::Ratio)
    };
    let cpu = |rounds: &[[Found; 2]], what: &str| {
        let figures = column(rounds, |found| found.cpu);
        Row::new(what, "ms CPU", figures, Compared::Ratio)
    };
    let what = "LMTP delivery to EXISTS in IDLE";
    let slept = "  of a hibernated client";
    Ok(vec![
        row(&awake, what, 0.5).target(Target::AtMost(10.0)),
        row(&awake, what, 0.99).target(Target::AtMost(30.0)),
        cpu(&awake, "  Dovecot's work for both"),
        row(&hibernated, slept, 0.5),
        row(&hibernated, slept, 0.99),
        cpu(&hibernated, "  Dovecot's work to wake it, too"),
    ])
}

/// One client that idles through all messages.
fn awake(relay: &Relay, user: &Account) -> Result<Found> {
    let door = Door::tls(&relay.endpoints)?;
    let mut client = Client::log_in(&relay.endpoints, &door, user)?;
    client.idle_in_inbox()?;
    let mut delays = Vec::new();
    let (tell, heard) = mpsc::channel();
    let mut seconds = [0.0];
    thread::scope(|scope| -> Result<()> {
        // A thread of its own, since the notice may come before LMTP's reply.
        let listener = scope.spawn(move || -> Result<()> {
            for _ in 0..MESSAGES {
                client.wait_for_message()?;
                // Nobody listens any more only if the deliveries failed.
                let _ = tell.send(Instant::now());
            }
            Ok(())
        });
        seconds = spent([relay.dovecot], || {
            let mut lmtp = Lmtp::connect(&relay.endpoints.lmtp_socket)?;
            for _ in 0..MESSAGES {
                let mail = Mail::encrypted(OUTSIDER, &user.address).to_bytes();
                lmtp.begin(OUTSIDER, &user.address)?;
                let begin = Instant::now();
                lmtp.content(&mail)?;
                let end = heard.recv_timeout(TIMEOUT);
                let end = end.context("the client was not told of a message")?;
                delays.push(milliseconds(begin, end));
            }
            Ok(())
        })?;
        match listener.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("the client's thread panicked"),
        }
    })?;
    Ok(found(delays, seconds))
}

/// As many clients as messages: each sleeps when its message comes.
fn hibernated(relay: &Relay, users: &[Account]) -> Result<Found> {
    let door = Door::tls(&relay.endpoints)?;
    let mut clients = Vec::new();
    for user in users {
        let mut client = Client::log_in(&relay.endpoints, &door, user)?;
        client.idle_in_inbox()?;
        clients.push(client);
    }
    all_hibernated(relay, users.len())?;
    let mut delays = Vec::new();
    let seconds = spent([relay.dovecot], || {
        let mut lmtp = Lmtp::connect(&relay.endpoints.lmtp_socket)?;
        for (user, client) in users.iter().zip(&mut clients) {
            let mail = Mail::encrypted(OUTSIDER, &user.address).to_bytes();
            lmtp.begin(OUTSIDER, &user.address)?;
            let begin = Instant::now();
            lmtp.content(&mail)?;
            client.wait_for_message()?;
            delays.push(milliseconds(begin, Instant::now()));
        }
        Ok(())
    })?;
    Ok(found(delays, seconds))
}

/// Waits until so many sessions sleep: each keeps one inotify instance in a process for all.
pub(super) fn all_hibernated(relay: &Relay, sessions: usize) -> Result<()> {
    let mut asleep = 0;
    let all = poll(PATIENCE, || {
        let keepers = descendants(relay.dovecot, "imap-hibernate");
        asleep = keepers.into_iter().map(inotify_instances).sum();
        asleep == sessions
    });
    ensure!(
        all,
        "{asleep} of {sessions} sessions are hibernated after {PATIENCE:?}"
    );
    Ok(())
}

fn milliseconds(begin: Instant, end: Instant) -> f64 {
    end.saturating_duration_since(begin).as_secs_f64() * 1e3
}

fn found(delays: Vec<f64>, [seconds]: [f64; 1]) -> Found {
    let cpu = seconds * 1e3 / delays.len() as f64;
    Found { delays, cpu }
}
