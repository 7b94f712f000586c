//! What holds for every message: cuts change nothing, nothing panics, inserted text is refused, and
//! whatever another parser can read is refused.

mod common;
#[path = "corpus/mod.rs"]
mod table;

use std::sync::LazyLock;

use chatmail_core::filter::{Accepted, Class, Direction, MessageFilter, Verdict};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use table::Expected;

/// All messages of the corpus that fit a property test.
static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut messages: Vec<_> = table::rows().iter().map(|row| row.message()).collect();
    messages.retain(|message| message.len() < 20_000);
    messages
});

/// Those that pass as encrypted in both directions, with CRLF.
static ENCRYPTED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let encrypted = Expected::Accepted("encrypted".to_owned());
    table::rows()
        .iter()
        .filter(|row| row.expected == encrypted && !row.name.starts_with("raw-"))
        .map(|row| row.message())
        .collect()
});

fn directions() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Outgoing, Direction::Incoming])
}

/// Lines that mean something to some part of the grammar, or to a reader.
const LINES: &[&str] = &[
    "",
    " ",
    "Attack at dawn.",
    " Attack at dawn.",
    "--",
    "--@",
    "--@--",
    "--@ ",
    "--@x",
    "From: <eve@chat.test>",
    "Subject: Attack at dawn",
    "Content-Type: text/plain",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Type: message/rfc822",
    "Content-Type: multipart/mixed; boundary=\"@\"",
    "Content-Type: multipart/mixed; boundary=\"x\"",
    "Content-Type: application/pgp-encrypted",
    "Content-Type: application/octet-stream",
    "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: 7bit",
    "Content-Disposition: inline",
    "MIME-Version: 1.0",
    "Version: 1",
    "Secure-Join: vc-request",
    "-----BEGIN PGP MESSAGE-----",
    "-----END PGP MESSAGE-----",
    "Comment: Attack at dawn",
    "QXR0YWNrIGF0IGRhd24u",
    "QXR0YWNrIGF0IGRhd24=",
    "=aB+/",
    "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
];

/// One change of a message, line by line.
#[derive(Debug, Clone)]
enum Change {
    Insert(Index, &'static str),
    Delete(Index),
    Double(Index),
    Move(Index, Index),
    Join(Index),
    Cut(Index),
    Byte(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<Index>;
    let change = prop_oneof![
        4 => (at(), select(LINES)).prop_map(|(at, line)| Change::Insert(at, line)),
        1 => at().prop_map(Change::Delete),
        1 => at().prop_map(Change::Double),
        1 => (at(), at()).prop_map(|(from, to)| Change::Move(from, to)),
        1 => at().prop_map(Change::Join),
        1 => at().prop_map(Change::Cut),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ];
    proptest::collection::vec(change, 0..4)
}

/// The boundary of a message, as its first delimiter shows it.
fn boundary(message: &[u8]) -> Vec<u8> {
    message
        .split(|&byte| byte == b'\n')
        .skip_while(|line| !line.trim_ascii().is_empty())
        .find_map(|line| line.trim_ascii().strip_prefix(b"--"))
        .unwrap_or(b"b")
        .to_vec()
}

fn changed(message: &[u8], changes: &[Change]) -> Vec<u8> {
    let boundary = boundary(message);
    let mut lines: Vec<Vec<u8>> = message
        .split_inclusive(|&b| b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for change in changes {
        let size = lines.len();
        match change {
            Change::Insert(at, text) => {
                let mut line = Vec::new();
                for &byte in text.as_bytes() {
                    match byte {
                        b'@' if text.starts_with("--") || text.contains("boundary") => {
                            line.extend_from_slice(&boundary);
                        }
                        _ => line.push(byte),
                    }
                }
                line.extend(b"\r\n");
                lines.insert(at.index(size + 1), line);
            }
            Change::Delete(at) if size > 1 => drop(lines.remove(at.index(size))),
            Change::Double(at) => lines.insert(at.index(size), lines[at.index(size)].clone()),
            Change::Move(from, to) => {
                let line = lines.remove(from.index(size));
                lines.insert(to.index(size), line);
            }
            Change::Join(at) => {
                let line = &mut lines[at.index(size)];
                line.truncate(line.trim_ascii_end().len());
            }
            Change::Cut(at) => lines.truncate(at.index(size) + 1),
            Change::Byte(at, byte) => {
                let line = &mut lines[at.index(size)];
                let place = at.index(line.len().max(1));
                if let Some(place) = line.get_mut(place) {
                    *place = *byte;
                }
            }
            Change::Delete(_) => {}
        }
    }
    lines.concat()
}

/// What mail-parser can show of a message that is more than two attachments, one of which says
/// `Version: 1` and one of which is armor.
fn readable(message: &[u8]) -> Option<String> {
    let Some(parsed) = MessageParser::default().parse(message) else {
        return Some("not a message at all".to_owned());
    };
    for part in &parsed.parts {
        let shown = match &part.body {
            PartType::Multipart(parts) if parts.len() == 2 => continue,
            PartType::Multipart(parts) => Some(format!("{} parts", parts.len())),
            PartType::Text(text) | PartType::Html(text) => Some(text.to_string()),
            PartType::Message(_) => Some("a message".to_owned()),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let known = match part.content_type().and_then(|ct| ct.subtype()) {
                    Some(subtype) if subtype.eq_ignore_ascii_case("pgp-encrypted") => {
                        text.trim() == "Version: 1"
                    }
                    _ => is_armor(text.trim()),
                };
                (!known).then(|| text.into_owned())
            }
        };
        if shown.is_some() {
            return shown;
        }
    }
    None
}

/// Whether text is one armored block. Of the header lines only the names are looked at.
fn is_armor(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    lines.next() == Some("-----BEGIN PGP MESSAGE-----")
        && lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .all(|line| line.split_once(": ").is_some())
        && lines.by_ref().last() == Some("-----END PGP MESSAGE-----")
        && !text.contains("-----\n-----BEGIN")
}

#[test]
fn another_parser_reads_text_in_many_messages_of_the_corpus_and_all_are_refused() {
    let mut read = 0;
    for row in table::rows() {
        let message = row.message();
        if message.len() < 100_000 && readable(&message).is_some() {
            read += 1;
            let encrypted = Expected::Accepted("encrypted".to_owned());
            assert_ne!(
                row.expected,
                encrypted,
                "{}: {:?}",
                row.name,
                readable(&message)
            );
        }
    }
    assert!(read > 50, "the other parser reads text in {read} messages");
}

/// How many messages each property is tried on; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn cutting_a_message_anywhere_never_changes_the_verdict(
        message in select(&**ALL),
        changes in changes(),
        direction in directions(),
        cuts in proptest::collection::vec(any::<Index>(), 0..8),
    ) {
        let message = changed(&message, &changes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = common::verdict_cut(direction, table::OPEN, &message, &[]);
        let cut = common::verdict_cut(direction, table::OPEN, &message, &cuts);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn what_another_parser_reads_is_refused(
        message in select(&**ENCRYPTED),
        changes in changes(),
        direction in directions(),
    ) {
        let message = changed(&message, &changes);
        let verdict = common::verdict(direction, &message);
        if let Verdict::Accepted(Accepted { class: Class::Encrypted, .. }) = verdict {
            let readable = readable(&message);
            prop_assert!(readable.is_none(), "{readable:?} in\n{}", String::from_utf8_lossy(&message));
        }
    }

    #[test]
    fn text_put_anywhere_into_an_encrypted_body_is_refused(
        message in select(&**ENCRYPTED),
        text in select(&["Attack at dawn.", "Attack at dawn.\r\n", "\r\nAttack at dawn.\r\n", "\r\n\r\nAttack at dawn."][..]),
        at in any::<Index>(),
        direction in directions(),
    ) {
        let body = message.windows(4).position(|window| window == b"\r\n\r\n").expect("a body") + 4;
        let at = body + at.index(message.len() - body + 1);
        let with = [&message[..at], text.as_bytes(), &message[at..]].concat();
        let verdict = common::verdict(direction, &with);
        // Inside a comment of the armor, text beside text makes no difference.
        let line_start = message[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let in_comment = message[line_start..].starts_with(b"Version: G") || message[line_start..].starts_with(b"Comment: ")
            || message[line_start..].starts_with(b"Hash: ") || message[line_start..].starts_with(b"Charset: ") || message[line_start..].starts_with(b"MessageID: ");
        prop_assert!(in_comment || matches!(verdict, Verdict::Refused(_)), "{}", String::from_utf8_lossy(&with));
    }

    #[test]
    fn no_bytes_and_no_order_of_calls_panic_or_pass(
        calls in proptest::collection::vec((0..5, proptest::collection::vec(any::<u8>(), 0..200)), 0..20),
        direction in directions(),
    ) {
        let mut filter = MessageFilter::new(direction, b"alice@chat.test");
        for (call, bytes) in &calls {
            match call {
                0 => filter.recipient(bytes),
                1 => filter.header(b"Content-Type", bytes),
                2 => filter.header(bytes, b"multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b"),
                3 => filter.end_of_headers(),
                _ => filter.body(bytes),
            }
        }
        let verdict = filter.finish(&common::mailboxes()).expect("decided");
        prop_assert!(matches!(verdict, Verdict::Refused(_)));
    }
}
