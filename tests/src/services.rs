//! The services of a relay's Dovecot: their processes, and what its log says of their ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::Instance;
use crate::process::{self, Process, Signal};

/// What runs in processes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Counts connections.
    Anvil,
    /// Answers who may log in, and asks its workers.
    Auth,
    /// Verifies passwords and looks recipients up: our code.
    AuthWorker,
    /// One session at a time: our code.
    Imap,
    /// Holds the sessions that idle.
    Hibernate,
    /// TLS and login.
    ImapLogin,
    /// Delivers: our code.
    Lmtp,
}

impl Service {
    /// Every one.
    pub const ALL: [Service; 7] = [
        Service::Anvil,
        Service::Auth,
        Service::AuthWorker,
        Service::Imap,
        Service::Hibernate,
        Service::ImapLogin,
        Service::Lmtp,
    ];

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Service::Anvil => "anvil",
            Service::Auth | Service::AuthWorker => "auth",
            Service::Imap => "imap",
            Service::Hibernate => "imap-hibernate",
            Service::ImapLogin => "imap-login",
            Service::Lmtp => "lmtp",
        }
    }

    fn is(self, process: &Process) -> bool {
        let worker = process.command.ends_with(" -w");
        process.name == self.program() && worker == (self == Service::AuthWorker)
    }
}

/// The processes of a service, as they are now.
pub fn processes(relay: &Instance, service: Service) -> Vec<Process> {
    let mut processes = children(relay);
    processes.retain(|process| service.is(process));
    processes
}

/// What Dovecot itself has started. Postfix has programs of the same names.
pub fn children(relay: &Instance) -> Vec<Process> {
    let all = process::tree(relay.supervisor_pid());
    let masters = all.iter().filter(|process| process.name == "dovecot");
    let masters: BTreeSet<_> = masters.map(|process| process.pid).collect();
    all.into_iter()
        .filter(|process| masters.contains(&process.parent))
        .collect()
}

/// So old is a process that it has told Dovecot that it is ready. After one that dies before, Dovecot
/// waits with the next, for a minute at most.
const READY: Duration = Duration::from_millis(200);

/// Kills processes of one relay, and none before it is ready.
pub struct Killer<'r> {
    relay: &'r Instance,
    seen: BTreeMap<u32, Instant>,
}

impl<'r> Killer<'r> {
    /// Of this relay.
    pub fn new(relay: &'r Instance) -> Killer<'r> {
        Killer {
            relay,
            seen: BTreeMap::new(),
        }
    }

    /// Kills every process of a service that has been ready for a while; returns how many. To be
    /// called again and again: a process must be seen twice.
    pub fn kill(&mut self, service: Service) -> usize {
        let mut killed = 0;
        for process in processes(self.relay, service) {
            let since = self.seen.entry(process.pid).or_insert_with(Instant::now);
            // It may have ended between the look and the kill.
            if since.elapsed() >= READY && process::signal(process.pid, Signal::KILL).is_ok() {
                self.seen.remove(&process.pid);
                killed += 1;
            }
        }
        killed
    }
}

/// The lines of Dovecot's log that tell of a process that failed: killed by a signal, a failed
/// assertion, or a bug of ours.
pub fn crashes(relay: &Instance) -> Vec<String> {
    const SIGNS: [&str; 5] = [
        "killed with signal",
        "Panic:",
        "core dumped",
        "bug in libchatmail",
        "BUG:",
    ];
    let log = relay.log("dovecot");
    let lines = log
        .lines()
        .filter(|line| SIGNS.iter().any(|sign| line.contains(sign)));
    lines.map(str::to_owned).collect()
}

/// The warnings and errors in Dovecot's log.
pub fn complaints(relay: &Instance) -> Vec<String> {
    const LEVELS: [&str; 4] = ["Warning: ", "Error: ", "Fatal: ", "Panic: "];
    let log = relay.log("dovecot");
    let lines = log
        .lines()
        .filter(|line| LEVELS.iter().any(|level| line.contains(level)));
    lines.map(str::to_owned).collect()
}

/// The processes in which sessions of a protocol ended, in that order: `imap(PID)<SESSION>: …` in
/// the log. Dovecot writes that line shortly after the client has heard the last answer.
pub fn ended_sessions(relay: &Instance, protocol: &str) -> Vec<u32> {
    let start = format!("{protocol}(");
    let log = relay.log("dovecot");
    let ends = log
        .lines()
        .filter(|line| line.contains("Logged out") || line.contains("Disconnected"));
    ends.filter_map(|line| {
        let (_, rest) = line.split_once(&start)?;
        rest.split_once(")<")?.0.parse().ok()
    })
    .collect()
}
