//! What the names of messages tell (`1775324677.M44P30.host,S=3235,W=3305:2,S`): Dovecot writes time and
//! size into them, so that a mailbox of any size is judged without a look at a single file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time before this (2001-09-09) is no time of Dovecot's, but the number some other program begins its
/// names with; in microseconds since 1970.
const EARLIEST: u64 = 1_000_000_000_000_000;

/// What the name of a message's file tells (`1775324677.M44P30.host,S=3235,W=3305:2,S`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileName {
    /// Microseconds since 1970.
    pub(super) stored: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) seen: bool,
}

impl FileName {
    pub(super) fn parse(name: &[u8]) -> FileName {
        let (base, info) = split_once(name, b':').unwrap_or((name, b""));
        let flags = info.strip_prefix(b"2,").unwrap_or_default();
        let flags = split_once(flags, b',').map_or(flags, |(flags, _)| flags);
        FileName {
            stored: stored(base),
            size: size(base),
            seen: flags.contains(&b'S'),
        }
    }
}

fn stored(base: &[u8]) -> Option<u64> {
    let (seconds, rest) = split_once(base, b'.')?;
    let micros = match rest.strip_prefix(b"M").map(digits) {
        Some((micros, _)) if micros.len() <= 6 => number(micros).unwrap_or_default(),
        _ => 0,
    };
    let stored = number(seconds)?.checked_mul(1_000_000)?.checked_add(micros);
    stored.filter(|stored| *stored >= EARLIEST)
}

/// The first `,S=` counts, as it does for Dovecot.
fn size(base: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b",S=";
    let at = base.windows(KEY.len()).position(|bytes| bytes == KEY)?;
    let (size, rest) = digits(base.get(at + KEY.len()..)?);
    matches!(rest.first(), None | Some(b','))
        .then(|| number(size))
        .flatten()
}

fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// Digits only.
fn number(bytes: &[u8]) -> Option<u64> {
    let (bytes, rest) = digits(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    text.parse().ok().filter(|_| rest.is_empty())
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Microseconds since 1970.
pub(crate) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time that [`micros`] was given, without what is finer.
pub(super) fn time(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_of_dovecots_tells_time_size_and_whether_it_was_seen() {
        let name = FileName::parse(b"1775324677.M44P30.host,S=3235,W=3305:2,S");
        let expected = FileName {
            stored: Some(1_775_324_677_000_044),
            size: Some(3235),
            seen: true,
        };
        assert_eq!(name, expected);
        let new = FileName::parse(b"1775324677.M448978P3029757.host,S=3235,W=3305");
        let expected = FileName {
            stored: Some(1_775_324_677_448_978),
            size: Some(3235),
            seen: false,
        };
        assert_eq!(new, expected);
    }

    #[test]
    fn a_name_tells_nothing_that_it_does_not_say() {
        for (name, stored, size, seen) in [
            ("", None, None, false),
            ("1775324677", None, None, false),
            ("notes.txt", None, None, false),
            ("1200000000.host", Some(1_200_000_000_000_000), None, false),
            // Numbers, but no time of Dovecot's.
            ("12.host", None, None, false),
            ("999999999.M999999P1.host,S=5", None, Some(5), false),
            // Other software puts other things there.
            (
                "1200000000.5678_1.host",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            (
                "1200000000.M1234567P1.host",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            (
                "1200000000.MP1.host",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            ("99999999999999999999.M1P1.h", None, None, false),
            ("18446744073709.M999999P1.h", None, None, false),
            ("-1200000000.M1P1.h,S=5", None, Some(5), false),
            ("1200000000.h,S=", Some(1_200_000_000_000_000), None, false),
            (
                "1200000000.h,S=5x,S=7",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            (
                "1200000000.h,S=-5",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            (
                "1200000000.h,S=99999999999999999999",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            (
                "1200000000.h,W=7,S=5",
                Some(1_200_000_000_000_000),
                Some(5),
                false,
            ),
            ("1200000000.h:2,S", Some(1_200_000_000_000_000), None, true),
            ("1200000000.h:2,FS", Some(1_200_000_000_000_000), None, true),
            // Keywords are small letters; the S is no flag behind a comma or in another form.
            (
                "1200000000.h:2,Fs",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            (
                "1200000000.h:2,F,S=5",
                Some(1_200_000_000_000_000),
                None,
                false,
            ),
            ("1200000000.h:1,S", Some(1_200_000_000_000_000), None, false),
        ] {
            let expected = FileName { stored, size, seen };
            assert_eq!(FileName::parse(name.as_bytes()), expected, "{name}");
        }
    }
}
