//! Message ids in angle brackets.

use super::super::limits;
use super::{ID, has_only, is_tight};

/// Whether a value consists of message ids, `<left@right>`, at least one and at most `most`, separated
/// by white space.
pub(super) fn are_ids(mut value: &[u8], most: usize) -> bool {
    if value.len() > limits::THREAD_BYTES || !is_tight(value) {
        return false;
    }
    for _ in 0..most {
        let Some(rest) = value.strip_prefix(b"<") else {
            return false;
        };
        let Some(end) = memchr::memchr(b'>', rest) else {
            return false;
        };
        let (id, rest) = rest.split_at(end);
        if !is_id(id) {
            return false;
        }
        let rest = rest.get(1..).unwrap_or_default();
        if rest.is_empty() {
            return true;
        }
        value = rest.trim_ascii_start();
        if value.len() == rest.len() {
            return false;
        }
    }
    false
}

fn is_id(id: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', id) else {
        return false;
    };
    let (left, right) = id.split_at(at);
    let right = right.strip_prefix(b"@").unwrap_or(right);
    id.len() <= limits::ID_BYTES
        && !left.is_empty()
        && !right.is_empty()
        && has_only(left, ID)
        && has_only(right, ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_have_two_sides_and_stand_in_angle_brackets() {
        for ids in [
            "<a@localhost>",
            "<a@b>\n\t<c@d> <e@f>",
            "<!&!AAAAAAAAAAAYAAAA.$1@[192.0.2.1]>",
            "<a@b>\n <c@d>",
        ] {
            assert!(are_ids(ids.as_bytes(), 3), "{ids}");
        }
        let long = format!("<{}@b>", "a".repeat(limits::ID_BYTES - 1));
        let thread = "<c5a2b9b3-2c5c-4b0e-9d52-cc2d1e5e9d7a@localhost> ".repeat(60);
        for ids in [
            "",
            "<>",
            "a@b",
            "<We> <attack> <at>",
            "<a@>",
            "<@b>",
            "<a@b@c>",
            "<a b@c>",
            "<a@b> at dawn",
            "<a@b>, <c@d>",
            "<a@b><c@d>",
            "at dawn <a@b>",
            "<a@b",
            "<a<b>",
            "<\"a\"@b>",
            "<\u{e4}@b>",
            &long,
        ] {
            assert!(!are_ids(ids.as_bytes(), 3), "{ids}");
        }
        assert!(!are_ids(thread.trim().as_bytes(), 100));
    }

    #[test]
    fn message_ids_are_counted() {
        let four = "<a@b> <c@d> <e@f> <g@h>";
        assert!(are_ids(four.as_bytes(), 4));
        assert!(!are_ids(four.as_bytes(), 3));
        assert!(are_ids(b"<a@b>", 1));
        assert!(!are_ids(b"<a@b> <c@d>", 1));
    }
}
