//! Every message of the corpus gets its verdict, however it is cut and however it is fed.

mod common;
#[path = "corpus/mod.rs"]
mod table;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chatmail_core::filter::{MessageFilter, Origin, Verdict};
use table::{Expected, Row};

fn filter(row: &Row) -> MessageFilter {
    let origin = match row.direction.as_str() {
        "outgoing" => Origin::Outgoing {
            login: row.login.as_bytes(),
        },
        _ => {
            let client = row.client.as_ref();
            let client = client.map(|client| client.parse().expect("an IP address"));
            Origin::Incoming { client }
        }
    };
    let mut filter = MessageFilter::new(origin, format!("<{}>", row.sender).as_bytes());
    filter.recipient(format!("<{}>", row.recipient).as_bytes());
    filter
}

fn verdict_cut(row: &Row, message: &[u8], cuts: &[usize]) -> Verdict {
    common::filtered(filter(row), message, cuts)
}

fn outcome(verdict: &Verdict) -> Expected {
    match verdict {
        Verdict::Accepted(accepted) => Expected::Accepted(accepted.class.name().to_owned()),
        Verdict::Refused(refusal) => Expected::Refused(refusal.reason.name().to_owned()),
    }
}

/// Collects what went wrong in all rows, so that one run shows everything.
fn for_each_row(check: impl Fn(&Row, &[u8]) -> Result<(), String>) {
    let rows = table::rows();
    assert!(rows.len() > 200, "the table is read: {}", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let name = format!("{} {}: ", row.direction, row.name);
            let result = check(row, &row.message());
            result
                .err()
                .map(|what| name + &what + " (" + &row.note + ")")
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_message_of_the_corpus_gets_its_verdict() {
    for_each_row(|row, message| {
        let verdict = verdict_cut(row, message, &[]);
        match outcome(&verdict) == row.expected {
            true => Ok(()),
            false => Err(format!("{verdict:?} instead of {:?}", row.expected)),
        }
    });
}

#[test]
fn a_message_that_comes_byte_by_byte_gets_the_same_verdict() {
    for_each_row(|row, message| {
        if message.len() > 4_000_000 {
            return Ok(());
        }
        let whole = verdict_cut(row, message, &[]);
        for step in [1, 2, 65_535] {
            let cuts: Vec<usize> = (step..message.len()).step_by(step).collect();
            let cut = verdict_cut(row, message, &cuts);
            if cut != whole {
                return Err(format!("{cut:?} instead of {whole:?} in steps of {step}"));
            }
        }
        Ok(())
    });
}

/// Feeds a message as Postfix does: fields by name and value, folds as LF, one leading space gone.
fn as_milter(row: &Row, message: &[u8]) -> Verdict {
    let message = String::from_utf8_lossy(message).replace("\r\n", "\n");
    let (header, body) = message.split_once("\n\n").unwrap_or((&message, ""));
    let mut filter = filter(row);
    let mut fields: Vec<String> = Vec::new();
    for line in header.split('\n') {
        match fields.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => *last += &format!("\n{line}"),
            _ => fields.push(line.to_owned()),
        }
    }
    for field in &fields {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        filter.header(name.as_bytes(), value.as_bytes());
    }
    filter.end_of_headers();
    filter.body(&table::crlf(body.as_bytes()));
    filter.finish(&common::mailboxes()).expect("decided")
}

#[test]
fn fields_and_body_given_apart_get_the_same_verdict() {
    for_each_row(|row, message| {
        if row.name.starts_with("raw-") || message.len() > 4_000_000 {
            return Ok(());
        }
        let verdict = as_milter(row, message);
        match outcome(&verdict) == row.expected {
            true => Ok(()),
            false => Err(format!("{verdict:?} instead of {:?}", row.expected)),
        }
    });
}

#[test]
fn large_and_deep_messages_end_quickly() {
    for row in table::rows() {
        let message = row.message();
        let start = Instant::now();
        verdict_cut(&row, &message, &[]);
        let took = start.elapsed();
        // An unoptimized build on a busy machine stays far below.
        assert!(took < Duration::from_secs(2), "{}: {took:?}", row.name);
    }
}

#[test]
fn every_file_is_in_the_table_and_every_reason_has_a_message() {
    let rows = table::rows();
    let known: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    for entry in std::fs::read_dir(table::directory()).expect("corpus") {
        let name = entry.expect("entry").file_name();
        let name = name.to_string_lossy();
        if let Some(name) = name.strip_suffix(".eml") {
            assert!(known.contains(name), "{name}.eml is in no row");
        }
    }
    let reasons: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| match &row.expected {
            Expected::Refused(reason) => Some(reason.as_str()),
            Expected::Accepted(_) => None,
        })
        .collect();
    for reason in [
        "not-logged-in",
        "sender-mismatch",
        "invalid-from",
        "from-mismatch",
        "header-too-large",
        "not-encrypted",
        "header-field",
        "header-line",
        "content-type",
        "transfer-encoding",
        "preamble",
        "epilogue",
        "delimiter",
        "parts",
        "part-header",
        "version-part",
        "line",
        "armor",
        "armor-header",
        "packet",
        "session-key-packet",
        "secure-join",
        "report",
        "report-text",
        "delivery-status",
        "returned",
        "foreign-literal",
    ] {
        assert!(reasons.contains(reason), "no row is refused for {reason}");
    }
}
