//! What becomes of each field of the message header: one table, a row per field and direction.
//!
//! The relay cannot encrypt a header, but it keeps it from becoming a channel. Outgoing mail keeps
//! the fields mail needs, each in a form and within a size that mail programs stay in. What says who
//! or where somebody is, or which program wrote the message, is dropped.
//!
//! No outgoing field is repeated, and each is 7-bit, in lines that Postfix sends unchanged: nothing is
//! left that a mail server would change after it is signed.
//!
//! # What remains readable in outgoing mail
//!
//! The most bytes that a sender could use for text:
//!
//! | what | bytes |
//! |---|---|
//! | names of addresses, and the links of mailing lists, together | 4096 |
//! | message ids: Message-ID, In-Reply-To, References | 160, 640, 2048 |
//! | addresses in an Autocrypt key: its user ID, and its owner's other addresses | 1278 |
//! | tokens of Secure-Join | 288 |
//! | the Date, the boundary, versions and keywords | 196 |
//!
//! Together that is 8706 bytes. Only names have room for text with spaces.
//!
//! In addition there are 32768 bytes for addresses in To and the like: a group may have a thousand
//! members. The rest of an Autocrypt key is numbers in base64, up to 16384 bytes of them. As with
//! encrypted data, nobody can distinguish a key's numbers from others. The order of the fields, the
//! case of their names and the white space at folds can carry a few dozen bytes more.

use super::form::Form;
use super::limits;
use super::mime;
use super::verdict::Direction;

/// What happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Stays, in outgoing mail only once. In another form the message is refused, because it needs the
    /// field.
    Keep(Form),
    /// Stays, once. In another form the field is dropped: the message arrives without it.
    Limit(Form),
    Drop,
    /// The first gets this value, others are dropped.
    Replace(&'static str),
}

/// What the check learns from a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Nothing,
    From,
    ContentType,
    TransferEncoding,
    MimeVersion,
    AutoSubmitted,
    SecureJoin,
    InviteNumber,
}

/// One row.
pub(super) struct Rule {
    /// As most programs spell it; `*` stands for every field without a row.
    pub(super) field: &'static str,
    pub(super) direction: Direction,
    pub(super) action: Action,
    pub(super) reads: Reads,
    /// Why, for people.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by people and by a test"))]
    why: &'static str,
}

const fn row(direction: Direction, field: &'static str, action: Action, why: &'static str) -> Rule {
    Rule {
        field,
        direction,
        action,
        reads: Reads::Nothing,
        why,
    }
}

const fn read(rule: Rule, reads: Reads) -> Rule {
    Rule { reads, ..rule }
}

use Action::{Drop, Keep, Limit, Replace};
use Direction::{Incoming, Outgoing};
use Form::{Addresses, Date, Free, Ids, Key, Links, MediaType, OneOf, Word};

/// Bytes of a list of addresses; Delta Chat can name each member of a group.
const LIST: usize = limits::HEADER_FIELD_BYTES;
/// Ids of the messages that this one replies to; nearly always one.
const ANSWERED: usize = 4;
/// Ids of a thread; mail programs keep about a dozen, Delta Chat three.
const THREAD: usize = 32;
/// Bytes of a field that holds one address, id or link with its name.
const SHORT: usize = 512;
/// Bytes of a token.
const TOKEN: usize = 64;
/// Bytes of the name of a step of Secure-Join.
const STEP: usize = 32;
/// Bytes of a version.
const VERSION: usize = 8;
/// RFC 3834 section 5, RFC 5436 section 2.7.1.
const AUTOMATIC: Form = OneOf(&["no", "auto-generated", "auto-replied", "auto-notified"]);
const PRECEDENCE: Form = OneOf(&["bulk", "list", "junk"]);
/// RFC 2045 section 6.2.
const ENCODINGS: Form = OneOf(&["7bit", "8bit", "binary"]);

/// The policy. Incoming fields without a row stay as they are.
#[rustfmt::skip]
pub(super) static RULES: [Rule; 58] = [
    // Who, to whom, when, in which thread.
    read(row(Outgoing, "From", Keep(Addresses(SHORT)), "the sender, who is the one who logged in"), Reads::From),
    row(Outgoing, "To", Keep(Addresses(LIST)), "mail programs answer to it"),
    row(Outgoing, "Cc", Keep(Addresses(LIST)), "mail programs answer to it"),
    row(Outgoing, "Reply-To", Limit(Addresses(SHORT)), "bots and mailing lists are answered elsewhere"),
    row(Outgoing, "Date", Limit(Date), "messages are sorted by it"),
    row(Outgoing, "Message-ID", Limit(Ids(1)), "messages are told apart by it"),
    row(Outgoing, "In-Reply-To", Limit(Ids(ANSWERED)), "threads"),
    row(Outgoing, "References", Limit(Ids(THREAD)), "threads"),
    // Readable by everyone on the way.
    row(Outgoing, "Subject", Replace("[...]"), "the encrypted message has its own"),
    // How to read the body. The grammar looks at their values.
    read(row(Outgoing, "MIME-Version", Keep(OneOf(&["1.0"])), "without it the body is text"), Reads::MimeVersion),
    read(row(Outgoing, "Content-Type", Keep(MediaType), "says what the body is"), Reads::ContentType),
    read(row(Outgoing, "Content-Transfer-Encoding", Keep(ENCODINGS), "must leave the bytes alone"), Reads::TransferEncoding),
    row(Outgoing, "Content-Description", Drop, "free text, shown by some readers"),
    row(Outgoing, "Content-Disposition", Drop, "file names are free text"),
    row(Outgoing, "Content-ID", Drop, "nothing refers to the whole message"),
    row(Outgoing, "Content-Language", Drop, "tells the user's language"),
    // Delta Chat: recognised before decryption, or steps before there is a key.
    row(Outgoing, "Chat-Version", Limit(Word(VERSION)), "tells chats from mail"),
    row(Outgoing, "Chat-Is-Post-Message", Limit(OneOf(&["1"])), "decides what is downloaded first"),
    read(row(Outgoing, "Secure-Join", Limit(Word(STEP)), "the step"), Reads::SecureJoin),
    read(row(Outgoing, "Secure-Join-Invitenumber", Keep(Word(TOKEN)), "the invitation it answers"), Reads::InviteNumber),
    row(Outgoing, "Secure-Join-Group", Limit(Word(TOKEN)), "the group it is about"),
    row(Outgoing, "Secure-Join-Auth", Limit(Word(TOKEN)), "a later step"),
    row(Outgoing, "Secure-Join-Fingerprint", Limit(Word(TOKEN)), "a later step"),
    row(Outgoing, "Autocrypt", Limit(Key), "the key to answer with"),
    // Automatic mail and mailing lists run by a bot.
    read(row(Outgoing, "Auto-Submitted", Limit(AUTOMATIC), "keeps machines from answering each other (RFC 3834)"), Reads::AutoSubmitted),
    row(Outgoing, "Precedence", Limit(PRECEDENCE), "the same for old mailers"),
    row(Outgoing, "List-Id", Limit(Links(SHORT)), "RFC 2919"),
    row(Outgoing, "List-Archive", Limit(Links(SHORT)), "RFC 2369"),
    row(Outgoing, "List-Help", Limit(Links(SHORT)), "RFC 2369"),
    row(Outgoing, "List-Owner", Limit(Links(SHORT)), "RFC 2369"),
    row(Outgoing, "List-Post", Limit(Links(SHORT)), "RFC 2369"),
    row(Outgoing, "List-Subscribe", Limit(Links(SHORT)), "RFC 2369"),
    row(Outgoing, "List-Unsubscribe", Limit(Links(SHORT)), "RFC 2369"),
    row(Outgoing, "List-Unsubscribe-Post", Limit(OneOf(&["List-Unsubscribe=One-Click"])), "RFC 8058"),
    // Who and where the user is, and what with.
    row(Outgoing, "Received", Drop, "the user's network address"),
    row(Outgoing, "X-Originating-IP", Drop, "the user's network address"),
    row(Outgoing, "User-Agent", Drop, "the user's program"),
    row(Outgoing, "X-Mailer", Drop, "the user's program"),
    row(Outgoing, "Organization", Drop, "the user's employer"),
    row(Outgoing, "Sender", Drop, "another identity; From is the one that was checked"),
    row(Outgoing, "Return-Path", Drop, "written by the host that delivers, from the envelope"),
    row(Outgoing, "Bcc", Drop, "hidden recipients"),
    // What a relay says, and only a relay: our own signature comes after this table.
    row(Outgoing, "DKIM-Signature", Drop, "clients do not sign for the domain"),
    row(Outgoing, "ARC-Seal", Drop, "clients do not forward for other hosts"),
    row(Outgoing, "ARC-Message-Signature", Drop, "clients do not forward for other hosts"),
    row(Outgoing, "ARC-Authentication-Results", Drop, "clients do not check for other hosts"),
    row(Outgoing, "Authentication-Results", Drop, "clients do not check for other hosts"),
    row(Outgoing, "*", Drop, "no mail needs it, and anything could be written there"),
    // Incoming mail has its signature verified before these are applied.
    read(row(Incoming, "From", Keep(Free), "the sender, whose domain must have signed"), Reads::From),
    read(row(Incoming, "MIME-Version", Keep(Free), "without it the body is text"), Reads::MimeVersion),
    read(row(Incoming, "Content-Type", Keep(Free), "says what the body is"), Reads::ContentType),
    read(row(Incoming, "Content-Transfer-Encoding", Keep(Free), "must leave the bytes alone"), Reads::TransferEncoding),
    read(row(Incoming, "Auto-Submitted", Keep(Free), "delivery reports have it"), Reads::AutoSubmitted),
    read(row(Incoming, "Secure-Join", Keep(Free), "the step"), Reads::SecureJoin),
    read(row(Incoming, "Secure-Join-Invitenumber", Keep(Free), "the invitation it answers"), Reads::InviteNumber),
    row(Incoming, "Received", Drop, "what other hosts know of the way helps no reader"),
    row(Incoming, "Authentication-Results", Drop, "readers might believe what anybody can write"),
    row(Incoming, "DKIM-Signature", Drop, "verified, and broken by what is dropped"),
];

/// Rows of fields that begin with the same letter and are about as long, at most.
const SLOTS: usize = 4;

/// Rows by direction, first letter and length, counted from 1: each field of each message is looked up.
static INDEX: [[u8; SLOTS]; 512] = {
    let mut index = [[0; SLOTS]; 512];
    let mut at = 0;
    while at < RULES.len() {
        let field = RULES[at].field.as_bytes();
        let bucket = bucket(RULES[at].direction, field[0], field.len());
        let mut slot = 0;
        while index[bucket][slot] != 0 {
            slot += 1;
        }
        index[bucket][slot] = at as u8 + 1;
        at += 1;
    }
    index
};

const fn bucket(direction: Direction, first: u8, length: usize) -> usize {
    let direction = match direction {
        Direction::Outgoing => 0,
        Direction::Incoming => 256,
    };
    direction | (length & 7) << 5 | (first & 31) as usize
}

/// The row of every outgoing field without one.
const OTHERS: usize = {
    let mut at = 0;
    while RULES[at].field.as_bytes()[0] != b'*' {
        at += 1;
    }
    at
};

/// The number of the row for a field, in any case. `None`: it stays and says nothing.
pub(super) fn row_of(direction: Direction, name: &[u8]) -> Option<usize> {
    let first = *name.first()?;
    let rows = INDEX.get(bucket(direction, first, name.len()))?;
    let known = rows
        .iter()
        .take_while(|row| **row != 0)
        .map(|row| usize::from(*row) - 1)
        .find(|row| {
            RULES
                .get(*row)
                .is_some_and(|rule| mime::is_same(rule.field.as_bytes(), name))
        });
    match direction {
        Direction::Outgoing => known.or(Some(OTHERS)),
        Direction::Incoming => known,
    }
}

/// Whether the check needs this field.
pub(super) fn is_read(direction: Direction, name: &[u8]) -> bool {
    row_of(direction, name)
        .and_then(|row| RULES.get(row))
        .is_some_and(|rule| rule.reads != Reads::Nothing)
}

/// Whether the row is for fields of any name.
pub(super) fn is_others(row: usize) -> bool {
    row == OTHERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_one_row_and_a_reason() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(!rule.why.is_empty(), "{}", rule.field);
            if rule.field != "*" {
                for name in [
                    rule.field.to_owned(),
                    rule.field.to_ascii_uppercase(),
                    rule.field.to_ascii_lowercase(),
                ] {
                    assert_eq!(row_of(rule.direction, name.as_bytes()), Some(at));
                }
            }
        }
        assert_eq!(row_of(Outgoing, b"x-anything"), Some(OTHERS));
        assert_eq!(row_of(Outgoing, b"*"), Some(OTHERS));
        assert_eq!(row_of(Incoming, b"x-anything"), None);
        assert_eq!(row_of(Incoming, b"subject"), None);
    }

    #[test]
    fn what_a_sender_can_choose_is_as_little_as_the_manual_says() {
        let outgoing = RULES.iter().filter(|rule| rule.direction == Outgoing);
        let fields: usize = outgoing
            .map(|rule| match rule.action {
                Keep(form) | Limit(form) => form.readable(),
                Drop | Replace(_) => 0,
            })
            .sum();
        let manual = include_str!("../../../man/chatmail-milter.8").replace('\n', " ");
        let here = include_str!("policy.rs");
        for bytes in [
            fields + limits::NAMES_BYTES,
            limits::NAMES_BYTES,
            limits::ADDRESSES_BYTES,
            limits::KEY_BYTES,
        ] {
            assert!(manual.contains(&format!("{bytes} bytes")), "{bytes}");
            assert!(here.contains(&format!(" {bytes} ")), "{bytes}");
        }
    }
}
