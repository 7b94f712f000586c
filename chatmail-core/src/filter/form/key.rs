//! Autocrypt headers (Autocrypt level 1, section 2.1).

use super::super::decode::{Decoder, Sink};
use super::super::verdict::Reason;
use super::super::{alphabet, limits, mime};
use super::{is_address, is_tight, packets};

/// `addr` of the author, `prefer-encrypt` or none, and last `keydata` with one public key.
pub(super) fn is_key(value: &[u8], author: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(value, b"keydata=") else {
        return false;
    };
    let (before, key) = value.split_at(at);
    let key = key.strip_prefix(b"keydata=").unwrap_or(key);
    let key = key.strip_suffix(b";").unwrap_or(key);
    is_tight(before)
        && are_attributes(before, author)
        && decode(key).is_some_and(|packets| packets::are_one_public_key(&packets))
}

/// The part of the value before the key.
fn are_attributes(text: &[u8], author: &[u8]) -> bool {
    let Some(text) = text.trim_ascii_end().strip_suffix(b";") else {
        return false;
    };
    let mut attributes = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let address = attributes.next().unwrap_or_default();
    let is_author = address
        .strip_prefix(b"addr=")
        .is_some_and(|address| is_address(address) && mime::is_same(address, author));
    let preference = match attributes.next() {
        None => true,
        Some(text) => [
            &b"prefer-encrypt=mutual"[..],
            b"prefer-encrypt=nopreference",
        ]
        .contains(&text),
    };
    is_author && preference && attributes.next().is_none()
}

/// Decodes base64 (RFC 4648 section 4) in lines, of which only the first and the last may be short:
/// white space is allowed only at the ends of lines. `None` if there is anything else, or too much.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() / 4 * 3 > limits::KEY_BYTES {
        return None;
    }
    let mut packets = Packets(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let mut decoder = Decoder::default();
    let mut pads = 0;
    let mut lines = text.split(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let content = line.trim_ascii();
        if line.len() - content.len() > limits::SPACE_RUN
            || at > 0 && lines.peek().is_some() && content.len() < limits::KEY_LINE
        {
            return None;
        }
        let end = memchr::memchr(b'=', content).unwrap_or(content.len());
        let (data, end) = content.split_at(end);
        if pads > 0 && !data.is_empty()
            || !alphabet::is_base64(data)
            || end.iter().any(|byte| *byte != b'=')
        {
            return None;
        }
        pads += end.len();
        decoder.decode(data, &mut packets).ok()?;
    }
    if pads > 0 || !decoder.is_whole() {
        let (quantum, count) = decoder.last(pads)?;
        packets.0.extend_from_slice(quantum.get(..count)?);
    }
    Some(packets.0)
}

/// Decoded packets, with enough room for all that fit the limit.
struct Packets(Vec<u8>);

impl Sink for Packets {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
