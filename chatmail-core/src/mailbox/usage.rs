//! How full a mailbox is, as Dovecot writes it down in `maildirsize` (Maildir++).
//!
//! The first line is the quota that held when the file was begun; each other line is a change,
//! `BYTES COUNT`, negative after an expunge. The sum is what the mailbox holds.

use std::io;
use std::path::Path;

use super::files::read_at_most;

/// Longest file whose sum counts, in bytes. Maildir++ has every reader count anew what is longer
/// than 5120 bytes, so a file passes that by a line for each process that appends at this moment.
const MAX: u64 = 2 * 5120;

/// The bytes the mailbox holds; `None` if there is no file, or one that Maildir++ wants counted
/// anew: too long, a line that is no change, a sum below zero. Whoever delivers next does that.
pub(super) fn usage(path: &Path) -> io::Result<Option<u64>> {
    let bytes = read_at_most(path, MAX)?;
    Ok(bytes.and_then(|bytes| sum(&bytes)))
}

fn sum(file: &[u8]) -> Option<u64> {
    if file.len() as u64 > MAX {
        return None;
    }
    // Without its line end the last line is still being written.
    let end = file.iter().rposition(|&byte| byte == b'\n')?;
    let lines = std::str::from_utf8(file.get(..end)?).ok()?;
    let (bytes, count) =
        lines
            .lines()
            .skip(1)
            .map(change)
            .try_fold((0_i64, 0_i64), |sum, change| {
                let (bytes, count) = change?;
                Some((sum.0.checked_add(bytes)?, sum.1.checked_add(count)?))
            })?;
    u64::try_from(bytes).ok().filter(|_| count >= 0)
}

fn change(line: &str) -> Option<(i64, i64)> {
    let mut numbers = line.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(bytes)), Some(Ok(count)), None) => Some((bytes, count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn deliveries_add_up_and_expunges_count_off() {
        for (file, bytes) in [
            ("524288000S\n", Some(0)),
            ("524288000S\n3235 1\n", Some(3235)),
            ("524288000S,1000C\n3235 1\n100 2\n-3235 -1\n", Some(100)),
            // Dovecot aligns the first count; deletions may come before it.
            (
                "524288000S\n-50 -1\n        3235            1\n",
                Some(3185),
            ),
            // No quota when the file was begun.
            ("\n3235 1\n", Some(3235)),
        ] {
            assert_eq!(sum(file.as_bytes()), bytes, "{file:?}");
        }
    }

    #[test]
    fn a_line_that_is_still_being_written_does_not_count() {
        assert_eq!(sum(b"524288000S\n3235 1\n99999 1"), Some(3235));
        assert_eq!(sum(b"524288000S\n3235 1\n9"), Some(3235));
    }

    #[test]
    fn a_file_that_has_to_be_counted_anew_says_nothing() {
        for file in [
            "",
            "524288000S",
            "524288000S\n-1 1\n",
            "524288000S\n1 -1\n",
            "524288000S\n12\n",
            "524288000S\n12 1 1\n",
            "524288000S\n\n12 1\n",
            "524288000S\ntwelve one\n",
            "524288000S\n0x12 1\n",
            "524288000S\n9223372036854775807 1\n1 1\n",
            "524288000S\n9223372036854775808 1\n",
        ] {
            assert_eq!(sum(file.as_bytes()), None, "{file:?}");
        }
        assert_eq!(sum(b"524288000S\n\xff 1\n"), None);
        let line = b"1 1\n";
        let long = [b"1S\n", line.repeat(2559).as_slice()].concat();
        assert_eq!(sum(&long), Some(2559));
        let longer = [b"1S\n", line.repeat(2560).as_slice()].concat();
        assert_eq!(sum(&longer), None);
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_file_is_summed_or_ignored(
            file in prop_oneof![any::<Vec<u8>>(), "[0-9 \n-]{0,80}".prop_map(String::into_bytes)],
        ) {
            let _ = sum(&file);
        }

        #[test]
        fn the_sum_is_that_of_whole_lines(changes in prop::collection::vec((0..1_i64 << 40, 0..9_i64), 0..50), cut in 0..12_usize) {
            let mut file = String::from("524288000S\n");
            for (bytes, count) in &changes {
                file.push_str(&format!("{bytes} {count}\n"));
            }
            let whole: i64 = changes.iter().map(|change| change.0).sum();
            prop_assert_eq!(sum(file.as_bytes()), u64::try_from(whole).ok());
            // A line that began and did not end.
            file.push_str(&"123456789 1"[..cut.min(11)]);
            prop_assert_eq!(sum(file.as_bytes()), u64::try_from(whole).ok());
        }
    }
}
