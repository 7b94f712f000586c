//! OpenPGP packets, read as a whole.

use chatmail_core::filter::Direction;

/// Checks that packets are session keys and then encrypted data, to the last byte; in incoming mail
/// with padding behind.
pub(super) fn are_encrypted(direction: Direction, mut rest: &[u8]) -> Result<(), String> {
    let mut small = 0;
    let mut data = false;
    loop {
        if data && rest.is_empty() {
            return Ok(());
        }
        let Some((tag, body, after, partial)) = packet(rest) else {
            return Err(format!("packets: none in the last {} bytes", rest.len()));
        };
        match (tag, body.first()) {
            (21, _) if data && direction == Direction::Incoming && !partial => {}
            _ if data => return Err(format!("packets: type {tag} behind the data")),
            (18, Some(1 | 2)) if body.len() > 40 => {
                data = true;
                rest = after;
                continue;
            }
            (18, _) => return Err("packets: encrypted data in the wrong place or form".to_owned()),
            (1, Some(3 | 6)) | (3, Some(4 | 6)) | (21, _) if !partial => {}
            (10, _) if body == b"PGP" && !partial => {}
            _ => return Err(format!("packets: type {tag} begins {:?}", body.first())),
        }
        let printable = |byte: &u8| matches!(byte, b' '..=b'~');
        let longest = body.split(|byte| !printable(byte)).map(<[u8]>::len).max();
        if longest > Some(32) {
            return Err(format!("packets: text in a packet of type {tag}"));
        }
        small += body.len();
        if small > 1024 * 1024 + 4096 {
            return Err("packets: too much before the data".to_owned());
        }
        rest = after;
    }
}

/// Type, body and rest of the packet at the start, and whether its length was partial.
fn packet(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8], bool)> {
    let (&header, mut rest) = bytes.split_first()?;
    if header & 0x80 == 0 {
        return None;
    }
    let number = |octets: &[u8]| {
        octets
            .iter()
            .fold(0, |n, &octet| (n << 8) | usize::from(octet))
    };
    if header & 0x40 == 0 {
        let octets = [1, 2, 4].get(usize::from(header & 3))?;
        let (length, rest) = rest.split_at_checked(*octets)?;
        let (body, rest) = rest.split_at_checked(number(length))?;
        return Some(((header >> 2) & 15, body.to_vec(), rest, false));
    }
    let mut whole = Vec::new();
    let mut partial = false;
    loop {
        let (&first, after) = rest.split_first()?;
        let (length, after, last) = match first {
            0..=191 => (usize::from(first), after, true),
            192..=223 => {
                let (&second, after) = after.split_first()?;
                let length = (usize::from(first) - 192) * 256 + usize::from(second) + 192;
                (length, after, true)
            }
            224..=254 => (1 << (first & 31), after, false),
            255 => {
                let (length, after) = after.split_at_checked(4)?;
                (number(length), after, true)
            }
        };
        let (body, after) = after.split_at_checked(length)?;
        whole.extend_from_slice(body);
        rest = after;
        if last {
            return Some((header & 63, whole, rest, partial));
        }
        partial = true;
    }
}
