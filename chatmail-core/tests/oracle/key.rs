//! A second opinion on an Autocrypt header that stays in an outgoing message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The packets of the key in an Autocrypt header. `Err` if it is not one, or holds readable text other
/// than addresses.
pub fn packets(value: &str, author: &str) -> Result<Vec<u8>, String> {
    if !value.is_ascii() {
        return Err("key: eight bits".to_owned());
    }
    let (before, key) = value.split_once("keydata=").ok_or("key: no keydata")?;
    let attributes: Vec<&str> = before.split(';').map(str::trim).collect();
    let expected = format!("addr={}", author.to_ascii_lowercase());
    let known = |text: &&str| {
        text.is_empty() || ["prefer-encrypt=mutual", "prefer-encrypt=nopreference"].contains(text)
    };
    if attributes[0].to_ascii_lowercase() != expected || !attributes[1..].iter().all(known) {
        return Err(format!("key: {attributes:?}"));
    }
    let key = key.strip_suffix(';').unwrap_or(key);
    for line in key.lines() {
        if line.trim().contains([' ', '\t']) {
            return Err(format!("key: words in {line:?}"));
        }
    }
    let text: String = key.split_ascii_whitespace().collect();
    let packets = STANDARD.decode(text).map_err(|e| format!("key: {e}"))?;
    walk(&packets)?;
    Ok(packets)
}

/// Reads packets one by one: a public key, at most one user ID, subkeys, and their signatures.
fn walk(packets: &[u8]) -> Result<(), String> {
    let mut rest = packets;
    let mut tags = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let (tag, octets, size) = match (first & 0x40 != 0, after) {
            (true, [size @ 0..192, ..]) => (first & 0x3f, 1, usize::from(*size)),
            (true, [high @ 192..224, low, ..]) => {
                (first & 0x3f, 2, number(&[high - 192, *low]) + 192)
            }
            (true, [255, size @ ..]) if size.len() >= 4 => (first & 0x3f, 5, number(&size[..4])),
            (false, size) => {
                let octets = 1 << (first & 3);
                let size = size.get(..octets).ok_or("key: no size")?;
                ((first >> 2) & 0xf, octets, number(size))
            }
            _ => return Err("key: a size".to_owned()),
        };
        let body = after
            .get(octets..octets + size)
            .ok_or("key: a packet without its end")?;
        if tag == 13 {
            let text = String::from_utf8_lossy(body);
            let address = text.trim_start_matches('<').trim_end_matches('>');
            if address.matches('@').count() != 1 || address.contains(char::is_whitespace) {
                return Err(format!("key: user ID {text:?}"));
            }
        } else {
            no_strings(body)?;
        }
        tags.push(tag);
        rest = &after[octets + size..];
    }
    let count = |tag| tags.iter().filter(|other| **other == tag).count();
    let known = tags.iter().all(|tag| [2, 6, 13, 14].contains(tag));
    if !known || tags.first() != Some(&6) || count(6) != 1 || count(13) > 1 || count(14) == 0 {
        return Err(format!("key: packets {tags:?}"));
    }
    Ok(())
}

/// What `strings` would find: nothing but addresses, their notation's name before them.
fn no_strings(body: &[u8]) -> Result<(), String> {
    const RELAYS: &str = "relays@chatmail.at";
    const SALT: &str = "salt@notations.sequoia-pgp.org";
    for run in body.split(|byte| !matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')) {
        let text = String::from_utf8_lossy(run);
        let list = text.split_once(RELAYS).map(|(_, list)| list);
        // What stands behind the list, or the salt, may be printable by chance.
        let addresses = list.is_some_and(|list| {
            let mut list = list.rsplitn(2, ',');
            list.next();
            let whole = list.next().unwrap_or_default();
            whole.is_empty()
                || whole
                    .split(',')
                    .all(|a| a.contains('@') && !a.contains(' '))
        });
        if run.len() > 64 && !addresses && !text.contains(SALT) {
            return Err(format!("key: text {text:?}"));
        }
    }
    Ok(())
}
