//! One message through the filter, read as a stream.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;

use chatmail_core::address::header_address;
use chatmail_core::filter::{
    Accepted, Direction, MessageFilter, Origin, Part, RawMessage, Reason, Refusal, Undecided,
    Verdict, limits,
};
use chatmail_core::mailbox::Mailboxes;

/// The origin and the recipients of a message.
pub(super) struct Envelope<'a> {
    pub(super) direction: Direction,
    /// `None`: the address in From.
    pub(super) sender: Option<&'a str>,
    /// For outgoing mail. `None` stands for the sender.
    pub(super) login: Option<&'a str>,
    /// For incoming mail. `None` if not known.
    pub(super) client: Option<IpAddr>,
    pub(super) recipients: &'a [String],
}

/// What became of a message that could be read.
pub(super) enum Checked {
    Accepted(Accepted),
    Refused {
        refusal: Refusal,
        /// Of the file, from 1.
        line: Option<u64>,
        /// It begins with the line that mbox files put before each message.
        is_mbox: bool,
    },
    Undecided(Undecided),
}

impl Envelope<'_> {
    fn origin<'s>(&'s self, sender: &'s str) -> Origin<'s> {
        match self.direction {
            Direction::Outgoing => Origin::Outgoing {
                login: self.login.unwrap_or(sender).as_bytes(),
            },
            Direction::Incoming => Origin::Incoming {
                client: self.client,
            },
        }
    }
}

/// The header is read ahead up to here, because From says who the sender is. A header that is
/// longer has more than [`limits::HEADER_BYTES`] in it, however it is folded.
const HEADER: u64 = 2 * limits::HEADER_BYTES as u64;

pub(super) fn check(
    input: &mut impl BufRead,
    envelope: &Envelope<'_>,
    mailboxes: &Mailboxes,
) -> io::Result<Checked> {
    let header = read_header(input)?;
    let sender = match envelope.sender {
        Some(sender) => Cow::Borrowed(sender),
        None => from_address(&header).unwrap_or_default(),
    };
    let mut filter = MessageFilter::new(envelope.origin(&sender), sender.as_bytes());
    for recipient in envelope.recipients {
        filter.recipient(recipient.as_bytes());
    }
    let mut message = RawMessage::new(filter);
    message.write(&header);
    let mut line = 1 + count_lines(&header);
    let mut fault = (!message.wants_body()).then_some(line);
    loop {
        let chunk = input.fill_buf()?;
        let Some(&last) = chunk.last() else {
            break;
        };
        // Where the fault is found must be known to the line. Then the rest is only read, so that
        // whatever writes to a pipe is not stopped.
        let size = match fault {
            Some(_) => chunk.len(),
            None => {
                let end = memchr::memchr(b'\n', chunk);
                end.map_or(chunk.len(), |end| end + 1)
            }
        };
        if fault.is_none() {
            let (text, _) = chunk.split_at(size);
            let ends = size < chunk.len() || last == b'\n';
            message.write(text);
            match message.wants_body() {
                true => line += u64::from(ends),
                false => fault = Some(line),
            }
        }
        input.consume(size);
    }
    Ok(match message.finish(mailboxes) {
        Ok(Verdict::Accepted(accepted)) => Checked::Accepted(accepted),
        Ok(Verdict::Refused(refusal)) => Checked::Refused {
            line: match refusal.part {
                // Counted to the end, not to the field that is too much.
                _ if refusal.reason == Reason::HeaderTooLarge => None,
                Part::Envelope => None,
                Part::Header => line_of_field(&header, refusal.offset),
                _ => Some(fault.unwrap_or(line)),
            },
            refusal,
            is_mbox: header.starts_with(b"From ") || header.starts_with(b">From "),
        },
        Err(undecided) => Checked::Undecided(undecided),
    })
}

/// Everything up to and with the first empty line, or as much as may be read ahead.
fn read_header(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    let mut start = 0;
    loop {
        let left = HEADER - header.len() as u64;
        let size = input.by_ref().take(left).read_until(b'\n', &mut header)?;
        let line = header.get(start..).unwrap_or_default();
        if size == 0 || line == b"\n" || line == b"\r\n" {
            return Ok(header);
        }
        start = header.len();
    }
}

/// The lines of a header, each with whether it begins a field.
fn lines(header: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let lines = header.split_inclusive(|&byte| byte == b'\n');
    let begins = |line: &[u8], at| at == 0 || !line.starts_with(b" ") && !line.starts_with(b"\t");
    lines
        .enumerate()
        .map(move |(at, line)| (begins(line, at), line))
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// The line on which a field begins, both from 1.
fn line_of_field(header: &[u8], number: u64) -> Option<u64> {
    let mut fields = 0;
    for (at, (begins, _)) in lines(header).enumerate() {
        fields += u64::from(begins);
        if fields == number {
            return Some(at as u64 + 1);
        }
    }
    None
}

/// The address in the first From field.
fn from_address(header: &[u8]) -> Option<Cow<'_, str>> {
    let mut start = 0;
    let mut value = None;
    for (begins, line) in lines(header) {
        let end = start + line.len();
        match value {
            Some((from, _)) if !begins => value = Some((from, end)),
            Some(_) => break,
            None => {
                let name = line.get(..5).unwrap_or_default();
                if begins && name.eq_ignore_ascii_case(b"from:") {
                    value = Some((start + 5, end));
                }
            }
        }
        start = end;
    }
    let (from, end) = value?;
    header_address(header.get(from..end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_first_from_field() {
        for header in [
            "To: bob@chat.test\r\nFrom: alice@chat.test\r\nFrom: eve@chat.test\r\n\r\n",
            "FROM:Alice\n <alice@chat.test>\nTo: bob@chat.test\n\n",
            "From: <alice@chat.test>",
        ] {
            let address = from_address(header.as_bytes());
            assert_eq!(address.as_deref(), Some("alice@chat.test"));
        }
        for header in [
            "",
            "From\n",
            "Subject: x\n From: alice@chat.test\n\n",
            "From:\n",
        ] {
            assert_eq!(from_address(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_number() {
        let header = b" x\nTo: bob@chat.test,\n eve@chat.test\nSubject: x\n\n";
        assert_eq!(line_of_field(header, 1), Some(1));
        assert_eq!(line_of_field(header, 2), Some(2));
        assert_eq!(line_of_field(header, 3), Some(4));
        assert_eq!(line_of_field(header, 0), None);
        assert_eq!(line_of_field(header, 9), None);
    }

    #[test]
    fn no_more_than_the_limit_is_read_ahead() {
        let endless = vec![b'a'; 10 * 1024 * 1024];
        let header = read_header(&mut &endless[..]).expect("reads");
        assert_eq!(header.len() as u64, HEADER);
    }
}
