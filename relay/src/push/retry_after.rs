//! The header field Retry-After (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime};

/// A service that asks for more is not believed.
const MOST: Duration = Duration::from_secs(3600);

/// How long to wait, an hour at most. `None` if it is neither a number nor a date. A date in the past
/// is no wait.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are many seconds.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn seconds(value: &str) -> Option<u64> {
        parse(value, now()).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_understood() {
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun Nov  6 08:50:37 1994"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:40:37 GMT"), Some(0));
    }

    #[test]
    fn nobody_waits_for_more_than_an_hour() {
        assert_eq!(seconds("3601"), Some(3600));
        assert_eq!(seconds(&"9".repeat(40)), Some(3600));
        assert_eq!(seconds("Sat, 06 Nov 2094 08:50:37 GMT"), Some(3600));
    }

    #[test]
    fn anything_else_is_no_wait() {
        for odd in ["", "soon", "-5", "+5", "1.5", "5 s", "Sun, 06 Nov 1994"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_bounded(value in "[0-9]{0,30}|\\PC{0,40}|[A-Za-z]{3}, [0-9 :A-Za-z]{10,30} GMT") {
            if let Some(wait) = parse(&value, now()) {
                prop_assert!(wait <= MOST);
            }
        }
    }
}
