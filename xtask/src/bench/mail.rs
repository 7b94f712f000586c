//! What mail through the filter costs: CPU time, latency, memory.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chatmail_tests::Mail;
use chatmail_tests::smtp::{Door, Smtp};

use super::OUTSIDER;
use super::clients::{Connections, Load, all_at_once};
use super::figures::{Figures, column, interleaved, percentile};
use super::pair::{Pair, Relay};
use super::table::{Compared, Row};
use super::usage::{cpu_at_rest, forget_peak, kilobytes, spent};
use crate::interrupt;
use crate::terminal::say;

/// One kind of load.
struct Kind {
    name: &'static str,
    /// Bytes of ciphertext; 0 is the smallest message there is.
    ciphertext: usize,
    messages: u32,
    connections: Connections,
    reference: &'static str,
    target: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "3 KB, 20 sessions",
        ciphertext: 0,
        messages: 600,
        connections: Connections::OnePerMessage,
        reference: "x 1.80",
        target: "x 1.40",
    },
    Kind {
        name: "3 KB, 20 kept connections",
        ciphertext: 0,
        messages: 1000,
        connections: Connections::Kept,
        reference: "x 2.07",
        target: "x 1.30",
    },
    Kind {
        name: "100 KB, 20 sessions",
        ciphertext: 74_000,
        messages: 300,
        connections: Connections::OnePerMessage,
        reference: "x 1.91",
        target: "x 1.40",
    },
];

/// Messages per round, one after the other, to each relay.
const ALONE: u32 = 60;
/// Ciphertext of a message of 10 MB.
const LARGE: usize = 7_700_000;
/// Messages of that size at once.
const AT_ONCE: usize = 200;

fn message(to: &str, ciphertext: usize) -> Mail {
    match ciphertext {
        0 => Mail::encrypted(OUTSIDER, to),
        size => Mail::encrypted_of_size(OUTSIDER, to, size),
    }
}

fn load(directory: &Path, to: &str, ciphertext: usize) -> Result<Load> {
    let mail = message(to, ciphertext);
    Load::of(&mail, OUTSIDER, to, &directory.join("message"))
}

pub(super) fn throughput(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in &KINDS {
        let what = format!("mail through Postfix, {}", kind.name);
        let to = pair
            .accounts
            .first()
            .context("no accounts")?
            .address
            .clone();
        let load = Load {
            messages: kind.messages,
            connections: kind.connections,
            ..load(&pair.ours.directory, &to, kind.ciphertext)?
        };
        // Postfix and the filter; seconds per 1000 messages are milliseconds per message.
        let seconds = interleaved(&what, rounds, pair, |_, relay| {
            let per_message = |seconds: f64| seconds * 1e3 / f64::from(kind.messages);
            let send = || load.send(&relay.endpoints);
            Ok(match relay.parts {
                Some(parts) => spent([relay.postfix, parts.filter], send)?.map(per_message),
                None => [per_message(spent([relay.postfix], send)?[0]), 0.0],
            })
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
            .target(kind.target),
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
    say(format_args!("    3 KB messages one at a time"));
    let to = pair
        .accounts
        .first()
        .context("no accounts")?
        .address
        .clone();
    let message = message(&to, 0).to_bytes();
    let mut all = Figures::default();
    for number in 0..=rounds * ALONE {
        interrupt::check()?;
        let [ours, bare] = [&pair.ours, &pair.bare].map(|relay| one(relay, &to, &message));
        let (ours, bare) = (ours?, bare?);
        if number > 0 {
            all.ours.push(ours);
            all.bare.push(bare);
        }
    }
    pair.look_after()?;
    let of = |part: f64| Figures {
        ours: percentile(&all.ours, part).into_iter().collect(),
        bare: percentile(&all.bare, part).into_iter().collect(),
    };
    Ok(vec![
        Row::new("one 3 KB message, p50", "ms", of(0.5), Compared::Difference)
            .reference("+ 0.7")
            .target("+ 0.4"),
        Row::new(
            "one 3 KB message, p95",
            "ms",
            of(0.95),
            Compared::Difference,
        )
        .reference("+ 43")
        .target("+ 1"),
    ])
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
        "    {AT_ONCE} messages of 10 MB at once through Postfix"
    ));
    let filter = pair.ours.parts.context("no filter runs")?.filter;
    let to = pair
        .accounts
        .first()
        .context("no accounts")?
        .address
        .clone();
    let message = message(&to, LARGE).to_bytes();
    forget_peak(filter)?;
    all_at_once(&pair.ours.endpoints, AT_ONCE, OUTSIDER, &to, &message)?;
    cpu_at_rest(pair.ours.postfix)?;
    let megabytes = |field| -> Result<Figures> {
        Ok(Figures {
            ours: vec![kilobytes(filter, "status", field)? / 1024.0],
            bare: Vec::new(),
        })
    };
    let what = format!("filter, {AT_ONCE} messages of 10 MB at once: peak memory");
    let rows = vec![
        Row::new(what, "MiB RSS", megabytes("VmHWM")?, Compared::Alone)
            .reference("2080")
            .target("<= 40"),
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
