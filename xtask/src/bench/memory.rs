//! The memory of IMAP sessions, of which a relay has thousands.

use std::time::Duration;

use anyhow::{Context, Result};

use super::figures::{Figures, median};
use super::idle::all_hibernated;
use super::imap::{Client, Door};
use super::pair::{Pair, Relay};
use super::population::known_users;
use super::table::{Compared, Row, Target};
use super::usage::{Memory, cpu_at_rest, descendants};
use crate::interrupt;
use crate::relay::account::Account;
use crate::relay::processes::poll;
use crate::terminal::say;

/// Sessions that idle.
const SESSIONS: usize = 200;
/// Entries that every client asks for: one of the server, one of the mailbox.
const METADATA: [&str; 2] = [
    "GETMETADATA \"\" /shared/vendor/deltachat/irohrelay",
    "GETMETADATA INBOX /private/devicetoken",
];
/// Longer than emptied imap processes stay.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that the plugin may add to a process, in kB.
const ADDED: f64 = 64.0;

/// Memory in kB.
struct Found {
    /// Of one imap process, private and dirty.
    selected: f64,
    asked: f64,
    /// Of all of Dovecot, for each idling session.
    awake: Memory,
    hibernated: Memory,
    /// Of that, in the one process that keeps them all: `vsz_limit` is its end.
    keeper: Memory,
}

pub(super) fn measure(pair: &mut Pair) -> Result<Vec<Row>> {
    let users = known_users(pair, SESSIONS)?;
    // Pages of a module that was just installed count as dirty until they are on the disk.
    rustix::fs::sync();
    // Processes that served a session before would have the memory of both.
    let ours = found(pair.restart_ours()?, &users)?;
    let bare = found(pair.restart_bare()?, &users)?;
    pair.look_after()?;
    let row = |what: &str, unit: &'static str, figure: fn(&Found) -> f64| {
        let figures = Figures {
            ours: vec![figure(&ours)],
            bare: vec![figure(&bare)],
        };
        Row::new(what, unit, figures, Compared::Difference)
    };
    let dirty = "kB private dirty";
    let idle = format!("each of {SESSIONS} sessions that idle over TLS");
    Ok(vec![
        row("imap process after LOGIN, SELECT", dirty, |f| f.selected)
            .reference("+ 72 to 176")
            .target(Target::Difference(ADDED)),
        row("imap process after GETMETADATA, too", dirty, |f| f.asked)
            .target(Target::Difference(ADDED)),
        row(&idle, dirty, |f| f.awake.private_dirty).target(Target::Difference(ADDED)),
        row("  in all", "kB PSS", |f| f.awake.pss).reference("812"),
        row("  hibernated", dirty, |f| f.hibernated.private_dirty),
        row("  hibernated, in all", "kB PSS", |f| f.hibernated.pss).reference("31"),
        row("    of that in imap-hibernate", dirty, |f| {
            f.keeper.private_dirty
        }),
    ])
}

fn found(relay: &Relay, users: &[Account]) -> Result<Found> {
    say(format_args!("    memory of {SESSIONS} sessions"));
    let door = Door::tls(&relay.endpoints)?;
    cpu_at_rest(relay.dovecot)?;
    let processes = || descendants(relay.dovecot, "imap");
    let of_one = || -> Result<f64> {
        let all = processes().into_iter().map(Memory::of);
        // A few spare ones do not matter.
        median(&all.map(|memory| memory.private_dirty).collect::<Vec<_>>())
            .context("there is no imap process")
    };
    let of_all = || {
        let all = descendants(relay.dovecot, "").into_iter().map(Memory::of);
        all.sum::<Memory>()
    };
    let spare = processes().len();
    let before = of_all();

    let mut clients = Vec::new();
    for user in users {
        interrupt::check()?;
        let mut client = Client::log_in(&relay.endpoints, &door, user)?;
        client.command("SELECT INBOX").context("SELECT")?;
        clients.push(client);
    }
    let selected = of_one()?;
    for client in &mut clients {
        for command in METADATA {
            client.command(command)?;
        }
    }
    let asked = of_one()?;
    for client in &mut clients {
        client.idle_in_inbox()?;
    }
    let awake = (of_all() - before) / users.len() as f64;
    say(format_args!("    the same, hibernated"));
    all_hibernated(relay, users.len())?;
    // If some linger, they belong to the costs.
    poll(PATIENCE, || processes().len() <= spare);
    let hibernated = (of_all() - before) / users.len() as f64;
    let keepers = descendants(relay.dovecot, "imap-hibernate").into_iter();
    let keeper = keepers.map(Memory::of).sum::<Memory>() / users.len() as f64;
    Ok(Found {
        keeper,
        selected,
        asked,
        awake,
        hibernated,
    })
}
