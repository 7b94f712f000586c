//! What mail through the filter costs: CPU time, latency, memory. DKIM's part of it is in [`super::dkim`].

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chatmail_tests::Mail;
use chatmail_tests::smtp::{Door, Smtp};

use super::OUTSIDER;
use super::clients::{Connections, Load, all_at_once};
use super::dkim::signed;
use super::figures::{Figures, column, interleaved, percentile};
use super::pair::{Pair, Relay};
use super::table::{Compared, Row, Target};
use super::usage::{cpu_at_rest, forget_peak, kilobytes, spent};
use crate::interrupt;
use crate::terminal::say;

/// One kind of load.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Bytes of ciphertext; 0 is the smallest message there is.
    pub(super) ciphertext: usize,
    pub(super) sessions: u32,
    pub(super) messages: u32,
    pub(super) connections: Connections,
    reference: &'static str,
    /// As a multiple of bare.
    target: f64,
}

pub(super) const KINDS: [Kind; 4] = [
    Kind {
        name: "3 KB, 20 sessions",
        ciphertext: 0,
        sessions: 20,
        messages: 600,
        connections: Connections::OnePerMessage,
        reference: "x 1.80",
        target: 1.40,
    },
    Kind {
        name: "3 KB, 20 kept connections",
        ciphertext: 0,
        sessions: 20,
        messages: 1000,
        connections: Connections::Kept,
        reference: "x 2.07",
        target: 1.30,
    },
    Kind {
        name: "100 KB, 20 sessions",
        ciphertext: 74_000,
        sessions: 20,
        messages: 300,
        connections: Connections::OnePerMessage,
        reference: "x 1.91",
        target: 1.40,
    },
    Kind {
        name: "10 MB, 10 sessions",
        ciphertext: LARGE,
        sessions: 10,
        messages: 20,
        connections: Connections::OnePerMessage,
        reference: "x 2.52",
        target: 1.40,
    },
];

/// Messages per round, one after the other, to each relay.
const ALONE: u32 = 60;
/// Ciphertext of a message of 10 MB.
const LARGE: usize = 7_700_000;
/// Messages of that size at once.
const AT_ONCE: usize = 200;

/// An encrypted message of about that size.
pub(super) fn message(from: &str, to: &str, ciphertext: usize) -> Mail {
    match ciphertext {
        0 => Mail::encrypted(from, to),
        size => Mail::encrypted_of_size(from, to, size),
    }
}

impl Kind {
    /// That many times this message, which is written to a file first.
    pub(super) fn load(&self, mail: &Mail, from: &str, to: &str, file: &Path) -> Result<Load> {
        Ok(Load {
            sessions: self.sessions,
            messages: self.messages,
            connections: self.connections,
            ..Load::of(mail, from, to, file)?
        })
    }

    /// What Postfix and the filter spend on each message, in milliseconds; that is seconds per 1000 messages.
    pub(super) fn spend(&self, relay: &Relay, load: &Load, port: u16) -> Result<[f64; 2]> {
        let per_message = |seconds: f64| seconds * 1e3 / f64::from(self.messages);
        let send = || load.send(port);
        Ok(match relay.parts {
            Some(parts) => spent([relay.postfix, parts.filter], send)?.map(per_message),
            None => [per_message(spent([relay.postfix], send)?[0]), 0.0],
        })
    }
}

pub(super) fn first_account(pair: &Pair) -> Result<String> {
    Ok(pair
        .accounts
        .first()
        .context("no accounts")?
        .address
        .clone())
}

pub(super) fn throughput(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let to = first_account(pair)?;
    let file = pair.ours.directory.join("message");
    for kind in &KINDS {
        let what = format!("mail through Postfix, {}", kind.name);
        let mail = message(OUTSIDER, &to, kind.ciphertext);
        let load = kind.load(&mail, OUTSIDER, &to, &file)?;
        let seconds = interleaved(&what, rounds, pair, |_, relay| {
            kind.spend(relay, &load, relay.endpoints.smtp)
        })?;
        let filter = Figures {
            bare: Vec::new(),
            ..column(&seconds, |[_, filter]| *filter)
        };
        rows.push(
            Row::new(
                format!("mail, {}", kind.name),
                "s CPU per 1000",
                column(&seconds, |[postfix, filter]| postfix + filter),
                Compared::Ratio,
            )
            .reference(kind.reference)
            .target(Target::Ratio(kind.target)),
        );
        rows.push(Row::new(
            "  of which in the filter",
            "s CPU per 1000",
            filter,
            Compared::Alone,
        ));
    }
    Ok(rows)
}

/// One message at a time, ours and bare in turn.
pub(super) fn latency(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let to = first_account(pair)?;
    let message = message(OUTSIDER, &to, 0).to_bytes();
    let [p50, p95] = one_by_one(pair, rounds, &to, &message)?;
    Ok(vec![
        Row::new("one 3 KB message, p50", "ms", p50, Compared::Difference)
            .reference("+ 0.7")
            .target(Target::Difference(0.4)),
        Row::new("one 3 KB message, p95", "ms", p95, Compared::Difference)
            .reference("+ 43")
            .target(Target::Difference(1.0)),
    ])
}

/// Percentiles 50 and 95 of the time that one message takes on port 25.
pub(super) fn one_by_one(
    pair: &mut Pair,
    rounds: u32,
    to: &str,
    message: &[u8],
) -> Result<[Figures; 2]> {
    say(format_args!("    3 KB messages one at a time"));
    let mut all = Figures::default();
    for number in 0..=rounds * ALONE {
        interrupt::check()?;
        let [ours, bare] = [&pair.ours, &pair.bare].map(|relay| one(relay, to, message));
        let (ours, bare) = (ours?, bare?);
        if number > 0 {
            all.ours.push(ours);
            all.bare.push(bare);
        }
    }
    pair.look_after()?;
    Ok([0.5, 0.95].map(|part| Figures {
        ours: percentile(&all.ours, part).into_iter().collect(),
        bare: percentile(&all.bare, part).into_iter().collect(),
    }))
}

/// Milliseconds from the connection to the reply to the message.
fn one(relay: &Relay, to: &str, message: &[u8]) -> Result<f64> {
    let begin = Instant::now();
    let mut smtp = Smtp::connect(&relay.endpoints, Door::Smtp).context("SMTP")?;
    let reply = smtp.send(OUTSIDER, &[to], message).context("SMTP")?;
    let took = begin.elapsed();
    ensure!(reply.is_positive(), "the message is refused: {reply}");
    smtp.command("QUIT").context("SMTP")?;
    Ok(took.as_secs_f64() * 1e3)
}

/// The filter's memory with many large messages at once.
pub(super) fn memory(pair: &mut Pair) -> Result<Vec<Row>> {
    say(format_args!(
        "    {AT_ONCE} signed messages of 10 MB at once through Postfix"
    ));
    let filter = pair.ours.parts.context("no filter runs")?.filter;
    let to = first_account(pair)?;
    let message = signed(pair, &to, LARGE)?.to_bytes();
    forget_peak(filter)?;
    all_at_once(&pair.ours.endpoints, AT_ONCE, OUTSIDER, &to, &message)?;
    cpu_at_rest(pair.ours.postfix)?;
    let megabytes = |field| -> Result<Figures> {
        Ok(Figures {
            ours: vec![kilobytes(filter, "status", field)? / 1024.0],
            bare: Vec::new(),
        })
    };
    let what = format!("filter, {AT_ONCE} signed messages of 10 MB at once: peak memory");
    let rows = vec![
        Row::new(what, "MiB RSS", megabytes("VmHWM")?, Compared::Alone)
            .reference("2080")
            .target(Target::AtMost(40.0)),
        Row::new(
            "  and afterwards",
            "MiB RSS",
            megabytes("VmRSS")?,
            Compared::Alone,
        )
        .reference("76"),
    ];
    pair.look_after()?;
    Ok(rows)
}
