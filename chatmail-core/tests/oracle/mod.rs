//! A second opinion on what the check says of a message, written without the check's code.
//!
//! [`examine`] fails if the verdict depends on how the message comes, or if a message passes in
//! which mail-parser, or a plain reading line by line, finds anything but `Version: 1` and armor,
//! or in which packets are not what they have to be. The fuzz target `message` calls it, and so do
//! tests.

#![allow(dead_code, unreachable_pub, reason = "each user needs another part")]

mod armor;
pub mod key;
mod lines;
mod packets;
mod readers;
mod report;

use std::sync::LazyLock;

use chatmail_core::address::MailDomain;
use chatmail_core::filter::{
    Accepted, Class, Direction, HeaderEdit, MessageFilter, Origin, RawMessage, Verdict,
};
use chatmail_core::mailbox::Mailboxes;

/// Envelope sender of every message.
pub const SENDER: &str = "alice@chat.test";

pub use report::examine_report;

/// Examines one message in both directions, and as a delivery report. Returns whether it passed as
/// one of these.
///
/// # Panics
///
/// If a verdict is wrong, with the reason in words.
pub fn examine(message: &[u8]) -> bool {
    let mut passed = false;
    for direction in [Direction::Outgoing, Direction::Incoming] {
        let verdict = whole(direction, message);
        if let Some(objection) = objection(direction, message, &verdict) {
            panic!(
                "{direction:?}: {objection}\n{verdict:?}\n{}",
                String::from_utf8_lossy(message)
            );
        }
        passed |= matches!(verdict, Verdict::Accepted(_));
    }
    examine_report(message) || passed
}

/// What is wrong with this verdict on a message fed at once.
pub fn objection(direction: Direction, message: &[u8], verdict: &Verdict) -> Option<String> {
    for cuts in [cuts(message, 1), cuts(message, 23), cuts(message, 1021)] {
        let cut = in_pieces(direction, message, &cuts);
        if cut != *verdict {
            return Some(format!("cut at {cuts:?} it is {cut:?}"));
        }
    }
    if !message.contains(&b'\r') {
        let other = whole(direction, &crlf(message));
        if !alike(&other, verdict) {
            return Some(format!("with CRLF it is {other:?}"));
        }
    }
    if let Some(other) = as_fields(new_filter(direction), message)
        && !alike(&other, verdict)
    {
        return Some(format!("field by field it is {other:?}"));
    }
    let Verdict::Accepted(accepted) = verdict else {
        return None;
    };
    match accepted.class {
        Class::Encrypted | Class::SecureJoinRequest => {}
        _ => return Some("no recipient allowed this".to_owned()),
    }
    second_opinion(direction, message, accepted).err()
}

/// Whether an outgoing message from [`SENDER`] keeps this Autocrypt header.
///
/// # Panics
///
/// If it keeps one that is not a key, or in which somebody can read something.
pub fn keeps_key(value: &[u8]) -> bool {
    keeps_key_of(SENDER, value)
}

/// The same of a message from another user.
///
/// # Panics
///
/// As [`keeps_key`].
pub fn keeps_key_of(author: &str, value: &[u8]) -> bool {
    let login = author.as_bytes();
    let mut filter = MessageFilter::new(Origin::Outgoing { login }, login);
    filter.header(b"From", login);
    filter.header(b"Autocrypt", value);
    let message = crlf(include_bytes!("../corpus/delta-chat-v1.eml"));
    let at = message.windows(4).position(|end| end == b"\r\n\r\n");
    let (header, body) = message.split_at(at.expect("a body") + 4);
    let header = String::from_utf8_lossy(header).replace("\r\n", "\n");
    let content_type = header.split("\nContent-Type: ").nth(1).expect("there");
    filter.header(b"Content-Type", content_type.trim_end().as_bytes());
    filter.body(body);
    let Verdict::Accepted(accepted) = filter.finish(mailboxes()).expect("decided") else {
        // A value with control characters makes a message malformed.
        return false;
    };
    let gone =
        |edit: &HeaderEdit| matches!(edit, HeaderEdit::Delete { name, .. } if name == "autocrypt");
    if accepted.edits.iter().any(gone) {
        return false;
    }
    let text = String::from_utf8_lossy(value);
    if let Err(objection) = key::packets(text.trim(), author) {
        panic!("{objection}\n{text}");
    }
    true
}

/// What mail-parser reads in a message beside an encrypted one.
pub fn readable(direction: Direction, message: &[u8]) -> Option<String> {
    readers::encrypted_only(direction, message).err()
}

/// Whether two verdicts say the same, whatever the lengths of line ends.
fn alike(one: &Verdict, other: &Verdict) -> bool {
    match (one, other) {
        (Verdict::Accepted(one), Verdict::Accepted(other)) => one == other,
        (Verdict::Refused(one), Verdict::Refused(other)) => {
            one.reason.name() == other.reason.name() && one.part == other.part
        }
        _ => false,
    }
}

fn second_opinion(direction: Direction, message: &[u8], accepted: &Accepted) -> Result<(), String> {
    readers::mail_parser_agrees(direction, message, accepted)?;
    lines::account_for_every_line(direction, message, accepted.class)?;
    match direction {
        Direction::Outgoing => lines::edits_are_complete(message, accepted),
        Direction::Incoming => Ok(()),
    }
}

/// The messages that the fuzz target `message` has collected.
pub fn fuzz_corpus() -> Vec<Vec<u8>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/message");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the corpus of the fuzzer")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |file| std::fs::read(file).expect("a message");
    files.iter().map(read).collect()
}

/// Nobody's: no recipient is named, so none is asked.
fn mailboxes() -> &'static Mailboxes {
    static MAILBOXES: LazyLock<Mailboxes> = LazyLock::new(|| {
        let domain = MailDomain::parse("chat.test").expect("domain");
        Mailboxes::new("/nonexistent".into(), domain)
    });
    &MAILBOXES
}

/// Alice is logged in, or it is not known which host sends the message.
fn origin(direction: Direction) -> Origin<'static> {
    match direction {
        Direction::Outgoing => Origin::Outgoing {
            login: SENDER.as_bytes(),
        },
        Direction::Incoming => Origin::Incoming { client: None },
    }
}

/// The verdict on a message from Alice that comes at once.
pub fn whole(direction: Direction, message: &[u8]) -> Verdict {
    in_pieces(direction, message, &[])
}

fn in_pieces(direction: Direction, message: &[u8], cuts: &[usize]) -> Verdict {
    fed(new_filter(direction), message, cuts)
}

fn new_filter(direction: Direction) -> MessageFilter {
    MessageFilter::new(origin(direction), SENDER.as_bytes())
}

/// The verdict on a message that comes in pieces.
fn fed(filter: MessageFilter, message: &[u8], cuts: &[usize]) -> Verdict {
    let mut raw = RawMessage::new(filter);
    let mut start = 0;
    for &cut in cuts {
        raw.write(&message[start..cut]);
        start = cut;
    }
    raw.write(&message[start..]);
    raw.finish(mailboxes()).expect("decided")
}

/// Places to cut, ascending, with gaps of 1 to `2 * mean`. They follow from the message, so that a
/// find is found again.
fn cuts(message: &[u8], mean: usize) -> Vec<usize> {
    let mut state = message.iter().fold(mean as u64, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut cuts = Vec::new();
    let mut at = 0;
    loop {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        at += 1 + (state >> 33) as usize % (2 * mean);
        if at >= message.len() {
            return cuts;
        }
        cuts.push(at);
    }
}

/// The verdict on a message fed as Postfix does it: fields by name and value, folds as LF, one
/// leading space gone. `None`: its header is not one that Postfix hands on like that.
fn as_fields(mut filter: MessageFilter, message: &[u8]) -> Option<Verdict> {
    let text = match message.windows(2).any(|pair| pair == b"\r\n") {
        true => {
            let lone = |pair: &[u8]| (pair[0] == b'\r') != (pair[1] == b'\n');
            if message.windows(2).any(lone) || message.first() == Some(&b'\n') {
                return None;
            }
            message
                .iter()
                .filter(|&&byte| byte != b'\r')
                .copied()
                .collect()
        }
        false => message.to_vec(),
    };
    let at = text.windows(2).position(|pair| pair == b"\n\n")?;
    let (header, body) = (&text[..at], &text[at + 2..]);
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in header.split(|&byte| byte == b'\n') {
        match fields.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                last.push(b'\n');
                last.extend_from_slice(line);
            }
            _ => fields.push(line.to_vec()),
        }
    }
    for field in &fields {
        let colon = field.iter().position(|&byte| byte == b':')?;
        let (name, value) = field.split_at(colon);
        let value = &value[1..];
        // A name of another kind never comes from Postfix, nor a control character.
        let known = |byte: &u8| matches!(byte, b'!'..=b'~');
        if name.is_empty() || !name.iter().all(known) || value.contains(&0) {
            return None;
        }
        // A long value is cut by Postfix, see `header_size_limit`.
        if value.len() > 30_000 {
            return None;
        }
        filter.header(name, value.strip_prefix(b" ").unwrap_or(value));
    }
    filter.end_of_headers();
    filter.body(body);
    Some(filter.finish(mailboxes()).expect("decided"))
}

/// Turns LF line ends into CRLF.
pub fn crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for &byte in text {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}
