//! Armor, read as a whole.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chatmail_core::filter::Direction;

use super::packets;

/// Checks that a text is one armored, encrypted message and nothing else.
pub(super) fn is_message(direction: Direction, text: &str) -> Result<(), String> {
    let no = |what: &str| Err(format!("armor: {what}"));
    let text = text.trim_matches(['\r', '\n', ' ', '\t']);
    let mut lines = text
        .split('\n')
        .map(|line| line.trim_end_matches(['\r', ' ', '\t']));
    if lines.next() != Some("-----BEGIN PGP MESSAGE-----") {
        return no("does not begin");
    }
    let mut words = 0;
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        words += line.len();
        let (key, _) = line.split_once(':').unwrap_or_default();
        let in_key = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if direction == Direction::Outgoing || key.is_empty() || !key.bytes().all(in_key) {
            return no("a header line");
        }
    }
    if words > 512 {
        return no("header lines too long");
    }
    let mut lines: Vec<&str> = lines.collect();
    if lines.pop() != Some("-----END PGP MESSAGE-----") {
        return no("does not end");
    }
    let checksum = |line: &&&str| line.starts_with('=') && line.len() == 5;
    if lines.last().filter(checksum).is_some() {
        lines.pop();
    }
    if lines.iter().any(|line| line.is_empty()) {
        return no("an empty line");
    }
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
    match GeneralPurpose::new(&STANDARD, config).decode(lines.concat()) {
        Ok(bytes) => packets::are_encrypted(direction, &bytes),
        Err(why) => no(&why.to_string()),
    }
}
