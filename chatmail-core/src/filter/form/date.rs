//! Dates.

use super::super::{limits, mime};
use super::is_tight;

const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// Zones with a name (RFC 5322 section 4.3).
const ZONES: [&[u8]; 11] = [
    b"UT", b"GMT", b"UTC", b"EST", b"EDT", b"CST", b"CDT", b"MST", b"MDT", b"PST", b"PDT",
];

/// `Sun, 15 Nov 2026 16:43:21 +0000`. The day of the week and the seconds may be missing, the zone
/// may be a name, and a short name of the zone may follow it in brackets. Date and time must exist.
pub(super) fn is_date(value: &[u8]) -> bool {
    is_usual(value) || is_other(value)
}

/// The form that nearly all programs write.
fn is_usual(value: &[u8]) -> bool {
    let Some((day_of_week, rest)) = value.split_first_chunk::<3>() else {
        return false;
    };
    let Ok(
        &[
            b',',
            b' ',
            a,
            b,
            b' ',
            c,
            d,
            e,
            b' ',
            f,
            g,
            h,
            i,
            b' ',
            j,
            k,
            b':',
            l,
            m,
            b':',
            n,
            o,
            b' ',
            ref zone @ ..,
        ],
    ) = <&[u8; 28]>::try_from(rest)
    else {
        return false;
    };
    DAYS.contains(&day_of_week)
        && MONTHS.contains(&&[c, d, e])
        && number(&[a, b], 1..=31)
        && number(&[f, g, h, i], YEARS)
        && number(&[j, k], HOURS)
        && number(&[l, m], MINUTES)
        && number(&[n, o], SECONDS)
        && is_offset(zone)
}

fn is_other(value: &[u8]) -> bool {
    if value.len() > limits::DATE_BYTES || !is_tight(value) {
        return false;
    }
    let one_of =
        |names: &[&[u8; 3]], name: &[u8]| names.iter().any(|known| mime::is_same(&known[..], name));
    let value = match memchr::memchr(b',', value) {
        Some(comma) => {
            let (day, rest) = value.split_at(comma);
            if !one_of(&DAYS, day) {
                return false;
            }
            rest.get(1..).unwrap_or_default()
        }
        None => value,
    };
    let mut words = value
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    let mut next = || words.next().unwrap_or_default();
    let (day, month, year) = (next(), next(), next());
    let date = day.len() <= 2
        && number(day, 1..=31)
        && one_of(&MONTHS, month)
        && (number(year, YEARS) || year.len() == 2 && number(year, 0..=99));
    let clock = is_clock(next());
    let zone = next();
    let zone = is_offset(zone) || ZONES.iter().any(|known| mime::is_same(known, zone));
    let comment = match next() {
        [b'(', name @ .., b')'] => {
            (1..=5).contains(&name.len()) && name.iter().all(u8::is_ascii_uppercase)
        }
        rest => rest.is_empty(),
    };
    date && clock && zone && comment && words.next().is_none()
}

/// Plausible years.
const YEARS: std::ops::RangeInclusive<u32> = 1970..=2105;
const HOURS: std::ops::RangeInclusive<u32> = 0..=23;
const MINUTES: std::ops::RangeInclusive<u32> = 0..=59;
/// 60 is a leap second.
const SECONDS: std::ops::RangeInclusive<u32> = 0..=60;

fn is_clock(time: &[u8]) -> bool {
    let mut parts = time.split(|byte| *byte == b':');
    let mut part = |range| {
        parts
            .next()
            .is_some_and(|digits| digits.len() <= 2 && number(digits, range))
    };
    let hour_and_minute = part(HOURS) && part(MINUTES);
    let second = match parts.next() {
        Some(digits) => digits.len() <= 2 && number(digits, SECONDS),
        None => true,
    };
    hour_and_minute && second && parts.next().is_none()
}

/// `+hhmm` (RFC 5322 section 3.3).
fn is_offset(zone: &[u8]) -> bool {
    match zone {
        [b'+' | b'-', digits @ ..] if digits.len() == 4 => {
            let (hours, minutes) = digits.split_at(2);
            number(hours, HOURS) && number(minutes, MINUTES)
        }
        _ => false,
    }
}

/// At most four digits, a number of this range.
fn number(digits: &[u8], range: std::ops::RangeInclusive<u32>) -> bool {
    if !(1..=4).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let add = |value, digit: &u8| value * 10 + u32::from(digit & 15);
    range.contains(&digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_mail_programs_are_dates_and_text_is_none() {
        for date in [
            "Sun, 15 Nov 2026 16:43:21 +0000",
            "15 Nov 2026 16:43 -0330",
            "sUN, 15 nOV 2026 16:43:21 -0000",
            "Sun, 5 Nov 2026 16:43:21 GMT",
            "Sat, 31 Dec 2016 23:59:60 +0000",
            "sun,  15 nov 26 16:43:21 +0100 (CEST)",
            "Sun,\n 15 Nov 2026 16:43:21 +0000",
        ] {
            assert!(is_date(date.as_bytes()), "{date}");
        }
        for date in [
            "",
            "at dawn",
            "Sin, 15 Nov 2026 16:43:21 +0000",
            "Sun, 15 Dawn2026 16:43:21 +0000",
            "Sun, 15 Nov 2o26 16:43:21 +0000",
            "Dawn, 15 Nov 2026 16:43:21 +0000",
            "Sun , 15 Nov 2026 16:43:21 +0000",
            "Sun, 15 Attack 2026 16:43:21 +0000",
            "Sun, 15 Nov 2026 16:43:21 +0000 at dawn",
            "Sun, 15 Nov 2026 16:43:21 +0000 (attack)",
            "Sun, 15 Nov 2026 16:43:21 +0000 ()",
            "Sun, 15 Nov 2026 16:43:21",
            "Sun, 15 Nov 2026 16:43:21:22 +0000",
            "Sun, 15 Nov 2026 dawn +0000",
            "Sun, 15 Nov 2026 16:43:21 attack",
            "Sun, 15 Nov 2026 16:43:21 DAWN",
            "Sun, 15 Nov 99999999999999999999 16:43:21 +0000",
        ] {
            assert!(!is_date(date.as_bytes()), "{date}");
        }
    }

    #[test]
    fn the_numbers_of_a_date_are_on_the_calendar_and_the_clock() {
        for (usual, odd) in [
            ("15", "00"),
            ("15", "32"),
            ("2026", "1969"),
            ("2026", "9999"),
            ("16:", "24:"),
            (":43", ":60"),
            (":21", ":61"),
            ("+0000", "+2400"),
            ("+0000", "+0060"),
        ] {
            for date in [
                "Sun, 15 Nov 2026 16:43:21 +0000",
                "15 Nov 2026 16:43:21 +0000",
            ] {
                let date = date.replacen(usual, odd, 1);
                assert!(!is_date(date.as_bytes()), "{date}");
            }
        }
        for date in ["015 Nov 2026 16:43 +0000", "15 Nov 2026 016:43 +0000"] {
            assert!(!is_date(date.as_bytes()), "{date}");
        }
    }
}
