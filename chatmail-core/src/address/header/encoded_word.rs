//! Encoded words (RFC 2047) in a From field: what mail programs show in place of them.

/// Whether an encoded word stands for a line break or a zero byte. Some readers decode a field before they read the
/// address in it; to them the field would end there.
pub(super) fn break_the_line(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(start) = find(rest, b"=?") {
        rest = &rest[start + 2..];
        let mut parts = rest.splitn(4, |&byte| byte == b'?');
        let parts = (parts.next(), parts.next(), parts.next());
        let breaks = match parts {
            (_, Some(b"q" | b"Q"), Some(text)) => quoted(text),
            (_, Some(b"b" | b"B"), Some(text)) => base64(text),
            _ => false,
        };
        if breaks {
            return true;
        }
    }
    false
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

/// Like quoted-printable: `=0A`.
fn quoted(text: &[u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.windows(3).any(|window| match *window {
        [b'=', high, low] => match (digit(high), digit(low)) {
            (Some(high), Some(low)) => is_break((high * 16 + low) as u8),
            _ => false,
        },
        _ => false,
    })
}

/// Decodes as the most lenient readers do, who skip what is not of the alphabet.
fn base64(text: &[u8]) -> bool {
    let (mut bits, mut count) = (0u32, 0);
    for value in text.iter().filter_map(|&byte| sextet(byte)) {
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            if is_break((bits >> count) as u8) {
                return true;
            }
            bits &= (1 << count) - 1;
        }
    }
    false
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_is_found_in_either_encoding() {
        for value in [
            "=?utf-8?q?=0A?=",
            "=?utf-8?Q?Alice=0d=0aBcc?=",
            "=?utf-8*en?q?=00?=",
            "Alice =?us-ascii?q?Carrol?= =?utf-8?q?=0a?=",
            "=?utf-8?b?Cg==?=",
            "=?utf-8?B?QWxpY2UK?=",
            "=?utf-8?b?QWx-pY2U*KQg?=",
            "=?utf-8?b?AA?=",
            "=?x?=?utf-8?q?=0A?=",
        ] {
            assert!(break_the_line(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            "=?",
            "Alice",
            "=0A",
            "=?utf-8?q?Al=C3=ACce?=",
            "=?utf-8?q?=1?=",
            "=?utf-8?q?A_=3D0A?=",
            "=?utf-8?b?QWzDrGNl?=",
            "=?utf-8?b?QQ==?=",
            "=?iso-2022-jp?b?GyRCJSIlaiU5GyhC?=",
            "=?utf-8?x?=0A?=",
            "=?utf-8?q",
        ] {
            assert!(!break_the_line(value.as_bytes()), "{value}");
        }
    }
}
