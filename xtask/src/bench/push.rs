//! Push delivery: how soon the push service hears of a message, how many notifications go out in a second, and what
//! `chatmail serve` needs for it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use chatmail_tests::Mail;
use chatmail_tests::process::{self, Signal};

use super::OUTSIDER;
use super::clients::Lmtp;
use super::delivery::{nothing_pending, with_device_token};
use super::figures::{Figures, percentile};
use super::pair::Relay;
use super::push_server::PushServer;
use super::table::{Compared, Row, Target};
use super::usage::{kilobytes, spent};
use crate::build::Artifacts;
use crate::interrupt;
use crate::relay::account::Account;
use crate::relay::processes::poll;
use crate::terminal::{say, stage};

/// How long the push service takes for an answer, in milliseconds.
const DELAYS: [u64; 3] = [0, 50, 200];
/// Messages per round, each to a user of its own: a device is asked to wake up once a second.
const MESSAGES: usize = 100;
/// From one message to a user to the next.
const APART: Duration = Duration::from_millis(1500);
/// Notifications in the spool per round.
const SPOOLED: usize = 4000;
/// The same once, for the memory.
const MANY: usize = 100_000;
/// Longer than the slowest machine needs for any of it.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one round found.
struct Found {
    /// From the end of the message to the request, in milliseconds.
    latencies: Vec<f64>,
    per_second: f64,
    /// CPU time of the service for each notification, in milliseconds.
    cpu: f64,
}

pub(super) fn measure(
    directory: &Path,
    artifacts: &Rc<Artifacts>,
    rounds: u32,
) -> Result<Vec<Row>> {
    let server = PushServer::start()?;
    let authority = directory.join("push-authority.pem");
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&authority, &server.authority))
        .with_context(|| format!("cannot write {}", authority.display()))?;
    let lines = format!("push_ca_file = {}\n", authority.display());
    let start = || Relay::alone(&directory.join("ours"), artifacts, &server.url, &lines);
    let mut relay = stage("starting a relay", start)?;
    let accounts = (0..MESSAGES).map(|_| relay.new_account());
    let accounts = accounts.collect::<Result<Vec<_>>>()?;
    relay.log_in(&accounts)?;
    for account in &accounts {
        with_device_token(&relay.endpoints, account, &token(&account.address))?;
    }

    let mut rows = Vec::new();
    for delay in DELAYS {
        say(format_args!(
            "    push service that answers after {delay} ms"
        ));
        server.answer_after(Duration::from_millis(delay));
        let mut all = Vec::new();
        // One round only warms up.
        for round in 0..=rounds {
            interrupt::check()?;
            let found = one_round(&relay, &server, &accounts)?;
            relay.look_after()?;
            if round > 0 {
                all.push(found);
            }
        }
        rows.extend(rows_of(delay, &all));
    }
    server.answer_after(Duration::ZERO);
    say(format_args!("    {MANY} pending notifications"));
    let many = drain(&relay, &server, MANY)?;
    relay.look_after()?;
    ensure!(
        server.connections() == 1,
        "{} connections to the push service",
        server.connections()
    );
    let peak = kilobytes(service(&relay)?, "status", "VmHWM")? / 1024.0;
    let alone = |what: String, unit, figure| {
        let figures = Figures {
            ours: vec![figure],
            bare: Vec::new(),
        };
        Row::new(what, unit, figures, Compared::Alone)
    };
    let what = format!("{MANY} pending, answered at once");
    rows.push(alone(what, "notifications/s", many.per_second));
    let what = "chatmail serve, peak of all this".to_owned();
    rows.push(alone(what, "MiB RSS", peak).target(Target::AtMost(20.0)));
    Ok(rows)
}

fn rows_of(delay: u64, all: &[Found]) -> Vec<Row> {
    let ours = |ours| Figures {
        ours,
        bare: Vec::new(),
    };
    let latencies: Vec<f64> = all.iter().flat_map(|f| &f.latencies).copied().collect();
    let latency = |part: f64| {
        let what = format!(
            "LMTP delivery to request, answers after {delay} ms, p{:.0}",
            part * 100.0
        );
        let figures = ours(percentile(&latencies, part).into_iter().collect());
        Row::new(what, "ms", figures, Compared::Alone)
    };
    let mut p50 = latency(0.5);
    if delay == 0 {
        p50 = p50.target(Target::AtMost(10.0));
    }
    let rate = ours(all.iter().map(|found| found.per_second).collect());
    let what = format!("  {SPOOLED} pending");
    let mut rate = Row::new(what, "notifications/s", rate, Compared::Alone);
    if delay == 200 {
        rate = rate.target(Target::AtLeast(1000.0));
    }
    let cpu = ours(all.iter().map(|found| found.cpu).collect());
    let cpu = Row::new("  chatmail serve, for each", "ms CPU", cpu, Compared::Alone);
    vec![p50, latency(0.99), rate, cpu]
}

fn one_round(relay: &Relay, server: &PushServer, accounts: &[Account]) -> Result<Found> {
    let latencies = latencies(relay, server, accounts)?;
    let drained = drain(relay, server, SPOOLED)?;
    Ok(Found {
        latencies,
        ..drained
    })
}

/// Delivers one message to each user, one after the other.
fn latencies(relay: &Relay, server: &PushServer, accounts: &[Account]) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut lmtp = Lmtp::connect(&relay.endpoints.lmtp_socket)?;
    let mut begun = HashMap::new();
    for account in accounts {
        let mail = Mail::encrypted(OUTSIDER, &account.address).to_bytes();
        lmtp.begin(OUTSIDER, &account.address)?;
        begun.insert(token(&account.address), Instant::now());
        lmtp.content(&mail)?;
    }
    ensure!(
        poll(PATIENCE, || server.count() >= accounts.len()
            && nothing_pending(&relay.endpoints)),
        "{} of {} notifications came",
        server.count(),
        accounts.len()
    );
    thread::sleep(APART.saturating_sub(start.elapsed()));
    let arrivals = server.take().into_iter();
    let latency = |(at, begun): (Instant, &Instant)| (at - *begun).as_secs_f64() * 1e3;
    Ok(arrivals
        .filter_map(|arrival| Some((arrival.at, begun.get(&arrival.token)?)))
        .map(latency)
        .collect())
}

/// Fills the spool while the service is stopped, and lets it go on.
fn drain(relay: &Relay, server: &PushServer, count: usize) -> Result<Found> {
    let service = service(relay)?;
    let [seconds] = spent([service], || {
        process::signal(service, Signal::STOP).context("cannot stop the service")?;
        let filled = fill(&relay.endpoints.mailboxes_dir, count);
        process::signal(service, Signal::CONT).context("cannot let the service go on")?;
        filled.context("cannot fill the spool")?;
        ensure!(
            poll(PATIENCE, || server.count() >= count
                && nothing_pending(&relay.endpoints)),
            "{} of {count} notifications came",
            server.count()
        );
        Ok(())
    })?;
    let arrivals = server.take();
    let (first, last) = (arrivals.first(), arrivals.last());
    let (first, last) = first.zip(last).context("no notifications came")?;
    let time = (last.at - first.at).as_secs_f64();
    Ok(Found {
        latencies: Vec::new(),
        per_second: (arrivals.len() - 1) as f64 / time,
        cpu: seconds * 1e3 / count as f64,
    })
}

/// Pending notifications as Dovecot's side leaves them, each for a device of its own.
fn fill(mailboxes: &Path, count: usize) -> std::io::Result<()> {
    let spool = mailboxes.join("pending_notifications");
    let owner = fs::metadata(&spool)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    for number in 0..count {
        // Different names in each round, spread as random ones are.
        let name = (now.as_nanos() ^ number as u128)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let file = spool.join(format!("{name:032x}"));
        let temporary = file.with_extension("tmp");
        let address = format!("user{number}@chat.test");
        let content = format!("{address}\n{}\n{}", now.as_secs(), token(&address));
        fs::write(&temporary, content)?;
        chown(&temporary, Some(owner.uid()), Some(owner.gid()))?;
        fs::rename(&temporary, &file)?;
    }
    Ok(())
}

/// As long as those of phones.
fn token(address: &str) -> String {
    format!("openpgp:{address}:{}", "t".repeat(500))
}

fn service(relay: &Relay) -> Result<u32> {
    Ok(relay.parts.context("the relay has no service")?.service)
}
