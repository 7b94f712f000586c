//! The corpus: messages with the verdict each must get, for every way into the check.
//!
//! `verdicts.tsv` has one message per line; the columns are explained at its top. A message is a
//! file beside it, or the name of a generator here for what is too large for a file. Other crates
//! read it with `#[path = "…/chatmail-core/tests/corpus/mod.rs"] mod corpus;`, other languages
//! read the files.

#![allow(dead_code, unreachable_pub, reason = "each user needs another part")]

use std::path::{Path, PathBuf};

/// Envelope sender and login of a row that says nothing else.
pub const SENDER: &str = "alice@chat.test";
/// A recipient whose mailbox enforces encryption.
pub const ENFORCING: &str = "bob@chat.test";
/// A recipient whose mailbox allows cleartext.
pub const OPEN: &str = "open@chat.test";
/// The mail domain of both.
pub const DOMAIN: &str = "chat.test";

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// File name without `.eml`, or the generator's name.
    pub name: String,
    /// `outgoing` or `incoming`. A line of the table with `both` becomes two rows.
    pub direction: String,
    /// Envelope sender; empty for the null sender.
    pub sender: String,
    /// The login, for outgoing mail; empty without one.
    pub login: String,
    /// The network address of the client, for incoming mail; `None` if it is not known.
    pub client: Option<String>,
    /// Envelope recipient.
    pub recipient: String,
    /// The class (`encrypted`, …) of a message that passes; the reason of one that does not.
    pub expected: Expected,
    /// Why, in words.
    pub note: String,
}

/// The verdict of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Passes, for this class.
    Accepted(String),
    /// Is refused, for this reason.
    Refused(String),
}

/// Where the corpus lies.
pub fn directory() -> PathBuf {
    Path::new(file!())
        .parent()
        .map(|parent| {
            // `file!` is relative to the workspace, tests run in their package.
            [Path::new(""), Path::new("..")]
                .iter()
                .map(|root| root.join(parent))
                .find(|place| place.join("verdicts.tsv").exists())
                .unwrap_or_else(|| parent.to_owned())
        })
        .unwrap_or_default()
}

/// All rows of the table.
///
/// # Panics
///
/// If the table is not readable or a line of it is not in its form: the test is broken then.
pub fn rows() -> Vec<Row> {
    let path = directory().join("verdicts.tsv");
    let table = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let mut rows = Vec::new();
    for line in table.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, origin, recipient, expected, note] = columns[..] else {
            panic!("verdicts.tsv: five columns are needed: {line}");
        };
        let mut words = origin.split(' ');
        let directions: &[&str] = match words.next() {
            Some("both") => &["outgoing", "incoming"],
            Some("outgoing") => &["outgoing"],
            Some("incoming") => &["incoming"],
            _ => panic!("verdicts.tsv: no direction: {line}"),
        };
        let (mut sender, mut login, mut client) = (SENDER, SENDER, None);
        for word in words {
            match word.split_once('=') {
                Some(("sender", address)) => sender = address,
                Some(("login", address)) => login = address,
                Some(("client", address)) => client = Some(address),
                _ => panic!("verdicts.tsv: no origin: {line}"),
            }
        }
        let expected = match expected.split_once(' ') {
            Some(("accept", class)) => Expected::Accepted(class.to_owned()),
            Some(("refuse", reason)) => Expected::Refused(reason.to_owned()),
            _ => panic!("verdicts.tsv: no verdict: {line}"),
        };
        rows.extend(directions.iter().map(|direction| Row {
            name: name.to_owned(),
            direction: (*direction).to_owned(),
            sender: sender.to_owned(),
            login: login.to_owned(),
            client: client.map(str::to_owned),
            recipient: recipient.to_owned(),
            expected: expected.clone(),
            note: note.to_owned(),
        }));
    }
    rows
}

impl Row {
    /// The message, with CRLF line ends as SMTP carries it; files whose name begins with `raw-` as
    /// they are.
    ///
    /// # Panics
    ///
    /// If there is neither a file nor a generator of this name.
    pub fn message(&self) -> Vec<u8> {
        if let Some(message) = generate(&self.name) {
            return message;
        }
        let path = directory().join(format!("{}.eml", self.name));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        match self.name.starts_with("raw-") {
            true => bytes,
            false => crlf(&bytes),
        }
    }
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

/// Messages too large for a file.
fn generate(name: &str) -> Option<Vec<u8>> {
    let top = "From: <alice@chat.test>\r\nMIME-Version: 1.0\r\n";
    let encrypted = "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";";
    let message = match name {
        "huge-header" => {
            let text = "Attack at dawn. ".repeat(2 * 1024 * 1024);
            format!("{top}X-Text: {text}\r\n\r\n")
        }
        "huge-folded-header" => {
            let text = "\r\n Attack at dawn.".repeat(500_000);
            format!("{top}References:{text}\r\n\r\n")
        }
        "many-fields" => format!("{top}{}\r\n", "Comments: attack\r\n".repeat(10_000)),
        "long-boundary" => {
            let boundary = "-".repeat(10_000);
            format!("{top}{encrypted} boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n")
        }
        "long-line" => {
            let text = "A".repeat(2_000_000);
            format!("{top}{encrypted} boundary=b\r\n\r\n{text}\r\n")
        }
        "nested-parts" => {
            let mut text = format!("{top}Content-Type: multipart/mixed; boundary=b0\r\n\r\n");
            for depth in 0..5_000 {
                text += &format!(
                    "--b{depth}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n",
                    depth + 1
                );
            }
            text + "Attack at dawn.\r\n"
        }
        "nested-encrypted-parts" => {
            let mut text = format!("{top}{encrypted} boundary=b0\r\n\r\n");
            for depth in 0..5_000 {
                text += &format!("--b{depth}\r\n{encrypted} boundary=b{}\r\n\r\n", depth + 1);
            }
            text
        }
        // Valid passphrase packets of 4 bytes each.
        "session-keys-ten-thousand" => {
            armored(&[[0xc3, 4, 4, 9, 0, 8].repeat(10_000), data(100)].concat())
        }
        // One packet that says it is a megabyte long, and is.
        "session-key-megabyte" => {
            let mut packets = vec![0xc1, 255, 0, 0x10, 0, 0];
            packets.extend(text(1024 * 1024));
            packets.extend(data(100));
            armored(&packets)
        }
        // Packets for RSA keys of 2048 bits, each of which is text with a byte of noise now and then.
        "session-keys-noisy-text" => {
            let mut packets = Vec::new();
            for _ in 0..500 {
                packets.extend([0xc1, 192, 76, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0]);
                packets.extend(text(256).chunks(32).flat_map(|chunk| {
                    let mut chunk = chunk.to_vec();
                    chunk[31] = 0x80;
                    chunk
                }));
            }
            packets.extend(data(100));
            armored(&packets)
        }
        // The recipients of a large group: keys that are keys.
        "session-keys-many-recipients" => {
            let mut packets = Vec::new();
            for at in 0..500 {
                packets.extend([0xc1, 192, 76, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0]);
                packets.extend(noise(at, 256));
            }
            packets.extend(data(100));
            armored(&packets)
        }
        "seipd-three-megabytes" => armored(&data(3_000_000)),
        _ => return None,
    };
    Some(message.into_bytes())
}

fn text(size: usize) -> Vec<u8> {
    b"Attack at dawn. "
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect()
}

/// Bytes that look random.
fn noise(seed: u32, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Encrypted data of version 1 with a body of `size` bytes.
fn data(size: usize) -> Vec<u8> {
    let mut packet = vec![0xd2, 255];
    packet.extend((size as u32).to_be_bytes());
    packet.push(1);
    packet.extend(noise(1, size - 1));
    packet
}

/// A message with these packets, laid out as Delta Chat does it.
fn armored(packets: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut armor = String::new();
    for (line, bytes) in packets.chunks(48).enumerate() {
        if line > 0 {
            armor.push_str("\r\n");
        }
        for quantum in bytes.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=quantum.len()].copy_from_slice(quantum);
            let bits = u32::from_be_bytes(bits);
            for at in 0..4 {
                armor.push(match at <= quantum.len() {
                    true => char::from(alphabet[(bits >> (18 - 6 * at)) as usize & 63]),
                    false => '=',
                });
            }
        }
    }
    format!(
        "From: <alice@chat.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\
         \r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
         --b\r\nContent-Type: application/octet-stream\r\n\r\n\
         -----BEGIN PGP MESSAGE-----\r\n\r\n{armor}\r\n-----END PGP MESSAGE-----\r\n\r\n--b--\r\n"
    )
}
