//! Sample messages, as Delta Chat would send them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A PGP message of 1,628 bytes in the new packet format: one PKESK and one SEIPD, for a key that
/// exists no more.
pub const PGP_MESSAGE: &str = include_str!("../fixtures/encrypted.asc");

/// What the relay answers to cleartext, without an enhanced status code: Delta Chat looks for it.
pub const ENCRYPTION_NEEDED: &str = "523 Encryption Needed: Invalid Unencrypted Mail";

/// A message: header fields in order, and a body with CRLF line ends.
#[derive(Debug, Clone)]
pub struct Mail {
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Mail {
    /// An encrypted message (RFC 3156) from one address to another, with its own Message-ID.
    pub fn encrypted(from: &str, to: &str) -> Mail {
        Mail::with_pgp_message(from, to, PGP_MESSAGE)
    }

    /// As [`Mail::encrypted`], with at least `size` bytes of ciphertext that mean nothing.
    pub fn encrypted_of_size(from: &str, to: &str, size: usize) -> Mail {
        Mail::with_pgp_message(from, to, &pgp_message_of_size(size))
    }

    fn with_pgp_message(from: &str, to: &str, pgp_message: &str) -> Mail {
        let boundary = "6d5c4b3a29181706f5e4d3c2b1a09f8e";
        let body = format!(
            "--{boundary}\n\
             Content-Type: application/pgp-encrypted; charset=utf-8\n\
             Content-Description: PGP/MIME version identification\n\
             Content-Transfer-Encoding: 7bit\n\
             \n\
             Version: 1\n\
             \n\
             --{boundary}\n\
             Content-Type: application/octet-stream; name=\"encrypted.asc\"; charset=utf-8\n\
             Content-Description: OpenPGP encrypted message\n\
             Content-Disposition: inline; filename=\"encrypted.asc\";\n\
             Content-Transfer-Encoding: 7bit\n\
             \n\
             {pgp_message}\n\
             --{boundary}--\n"
        );
        let content_type = format!(
            "multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n\tboundary=\"{boundary}\""
        );
        let mut mail = Mail::new(from, to, "[...]", &content_type);
        mail.body = body.replace('\n', "\r\n").into_bytes();
        mail
    }

    /// A message anybody can read.
    pub fn cleartext(from: &str, to: &str) -> Mail {
        let mut mail = Mail::new(from, to, "Lunch", "text/plain; charset=utf-8");
        mail.body = b"Shall we have lunch at noon?\r\n".to_vec();
        mail
    }

    fn new(from: &str, to: &str, subject: &str, content_type: &str) -> Mail {
        let domain = from.rsplit('@').next().unwrap_or("localhost");
        let fields = [
            ("From", format!("<{from}>")),
            ("To", format!("<{to}>")),
            ("Subject", subject.to_owned()),
            ("Date", "Fri, 02 Jan 2026 12:00:00 +0000".to_owned()),
            ("Message-ID", format!("<{}@{domain}>", unique())),
            ("Chat-Version", "1.0".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", content_type.to_owned()),
        ];
        Mail {
            fields: fields
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            body: Vec::new(),
        }
    }

    /// The first message of Secure-Join: all a stranger may send in the clear.
    pub fn secure_join_request(from: &str, to: &str) -> Mail {
        let boundary = "b5f2a1c4";
        let content_type = format!("multipart/mixed; boundary=\"{boundary}\"");
        let mut mail = Mail::new(from, to, "[...]", &content_type)
            .add("Secure-Join-Invitenumber", "Y7dOLdMIe1b0rvgF")
            .add("Secure-Join", "vc-request");
        let body = format!(
            "--{boundary}\n\
             Content-Type: text/plain; charset=utf-8\n\
             \n\
             Secure-Join: vc-request\n\
             --{boundary}--\n"
        );
        mail.body = body.replace('\n', "\r\n").into_bytes();
        mail
    }

    /// A report that a message could not be delivered (RFC 3464), as Postfix writes it.
    pub fn delivery_report(from: &str, to: &str) -> Mail {
        let boundary = "2AB3C.1769000000/mx.elsewhere.test";
        let content_type =
            format!("multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"");
        let subject = "Undelivered Mail Returned to Sender";
        let mut mail =
            Mail::new(from, to, subject, &content_type).add("Auto-Submitted", "auto-replied");
        let body = format!(
            "--{boundary}\n\
             Content-Type: text/plain; charset=us-ascii\n\
             \n\
             I'm sorry to have to inform you that your message could not be delivered.\n\
             --{boundary}\n\
             Content-Type: message/delivery-status\n\
             \n\
             Reporting-MTA: dns; mx.elsewhere.test\n\
             \n\
             Final-Recipient: rfc822; nobody@elsewhere.test\n\
             Action: failed\n\
             Status: 5.1.1\n\
             --{boundary}--\n"
        );
        mail.body = body.replace('\n', "\r\n").into_bytes();
        mail
    }

    /// Puts a header field on top of the others.
    pub fn add(mut self, name: &str, value: &str) -> Mail {
        self.fields.insert(0, (name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the value of every field of that name.
    pub fn set(mut self, name: &str, value: &str) -> Mail {
        for field in &mut self.fields {
            if field.0.eq_ignore_ascii_case(name) {
                field.1 = value.to_owned();
            }
        }
        self
    }

    /// Takes away every field of that name.
    pub fn without(mut self, name: &str) -> Mail {
        self.fields
            .retain(|field| !field.0.eq_ignore_ascii_case(name));
        self
    }

    /// With this body instead, its line ends CRLF already.
    pub fn body_is(mut self, body: &[u8]) -> Mail {
        self.body = body.to_vec();
        self
    }

    /// The Message-ID, with its angle brackets.
    pub fn message_id(&self) -> &str {
        self.fields
            .iter()
            .find(|field| field.0 == "Message-ID")
            .map_or("", |field| &field.1)
    }

    /// The header fields, name and value, from the top.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The body alone.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The whole message with CRLF line ends, before dot-stuffing.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 1024);
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

/// The values of a header field in a raw message, folds undone, in the order of the message.
pub fn header_values(message: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(message);
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    let header = header.replace("\r\n\t", " ").replace("\r\n ", " ");
    header
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.trim_end().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// What follows the first empty line of a raw message.
pub fn body(message: &[u8]) -> &[u8] {
    message
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(&[], |at| &message[at + 4..])
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}.{:x}.{count}", now.as_nanos(), std::process::id())
}

/// An armored message of the fixture's PKESK and a SEIPD of `size` bytes, in one packet.
fn pgp_message_of_size(size: usize) -> String {
    // The fixture's PKESK has 96 bytes: exactly the first two lines of its armor.
    let mut armor: String = PGP_MESSAGE.split_inclusive('\n').take(4).collect();
    let mut packet = vec![0xd2, 0xff];
    packet.extend((size as u32).to_be_bytes());
    packet.push(1);
    packet.extend(noise(size - 1));
    for line in packet.chunks(48) {
        armor.push_str(&base64(line));
        armor.push('\n');
    }
    armor.push_str("-----END PGP MESSAGE-----\n");
    armor
}

/// Bytes that look like ciphertext and are the same in each run (a linear congruential generator).
fn noise(count: usize) -> impl Iterator<Item = u8> {
    let mut state = 1u32;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(count)
}

/// Base64 with padding (RFC 4648 section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, &b| group << 8 | u32::from(b))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                out.push(char::from(
                    ALPHABET[(group >> (18 - 6 * position)) as usize & 63],
                ));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_in_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_message_of_a_size_starts_with_the_fixtures_session_key() {
        let armor = pgp_message_of_size(49);
        let lines: Vec<_> = armor.lines().collect();
        let start: Vec<_> = PGP_MESSAGE.lines().take(4).collect();
        assert_eq!(lines[..4], start);
        assert!(lines[4].starts_with("0v8AAAAx"), "{}", lines[4]);
        assert_eq!(lines[lines.len() - 1], "-----END PGP MESSAGE-----");
    }

    #[test]
    fn each_message_has_its_own_message_id() {
        let [first, second] = [(); 2].map(|()| Mail::encrypted("a@x", "b@x"));
        assert_ne!(first.message_id(), second.message_id());
        assert_eq!(
            header_values(&first.to_bytes(), "message-id"),
            [first.message_id()]
        );
        assert_eq!(body(&first.to_bytes()), first.body());
    }
}
