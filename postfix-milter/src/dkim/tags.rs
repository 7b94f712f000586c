//! Lists of `tag=value` (RFC 6376 section 3.2).

/// Name and value of each tag, white space around them removed. A tag without `=` has no value and
/// an odd name; the readers of the list complain.
pub(super) fn tags(list: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    list.split(|&octet| octet == b';')
        .map(|tag| {
            let equals = tag.iter().position(|&octet| octet == b'=');
            let (name, value) = tag.split_at(equals.unwrap_or(tag.len()));
            (
                name.trim_ascii(),
                value.strip_prefix(b"=").unwrap_or(value).trim_ascii(),
            )
        })
        .filter(|(name, value)| !name.is_empty() || !value.is_empty())
}

/// The value of the tag of this name.
pub(super) fn value<'a>(list: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    tags(list)
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// Whether one of the words that colons separate in a value is this, whatever its case.
pub(super) fn has_word(value: &[u8], word: &[u8]) -> bool {
    value
        .split(|&octet| octet == b':')
        .any(|known| known.trim_ascii().eq_ignore_ascii_case(word))
}

/// Whether a name stands in the list twice: such a list says nothing. Names differ in case.
pub(super) fn has_duplicates(list: &[u8]) -> bool {
    let mut names: Vec<&[u8]> = tags(list).map(|(name, _)| name).collect();
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
}

/// A `DKIM-Signature` field as it was signed: without the value of `b=` and without its CRLF
/// (section 3.5, `b=`, and section 3.7).
pub(super) fn without_signature(field: &[u8]) -> Vec<u8> {
    let field = field.strip_suffix(b"\r\n").unwrap_or(field);
    let mut left = Vec::with_capacity(field.len());
    for (nth, tag) in field.split(|&octet| octet == b';').enumerate() {
        if nth > 0 {
            left.push(b';');
        }
        let equals = tag.iter().position(|&octet| octet == b'=');
        let (name, _) = tag.split_at(equals.unwrap_or(tag.len()));
        match equals {
            Some(_) if name.trim_ascii() == b"b" => {
                left.extend_from_slice(name);
                left.push(b'=');
            }
            _ => left.extend_from_slice(tag),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_names_and_values_is_no_part_of_them() {
        let list = b" v=1; a = rsa-sha256;\r\n\th=from : to ;bh=a=; ";
        let read: Vec<(&[u8], &[u8])> = tags(list).collect();
        assert_eq!(
            read,
            [
                (b"v".as_slice(), b"1".as_slice()),
                (b"a", b"rsa-sha256"),
                (b"h", b"from : to"),
                (b"bh", b"a="),
            ]
        );
        assert_eq!(value(list, b"h"), Some(b"from : to".as_slice()));
        assert!(has_word(b"from : TO", b"to") && !has_word(b"from : TO", b"cc"));
    }

    #[test]
    fn a_name_may_stand_once() {
        assert!(!has_duplicates(b"v=1; d=a; D=b;"));
        assert!(has_duplicates(b"v=1; d=a; s=x; d =b"));
    }

    #[test]
    fn only_the_value_of_b_is_left_out() {
        assert_eq!(
            without_signature(b" v=1; bh=b=x; b = ab\r\n cd ; z=b=y\r\n"),
            b" v=1; bh=b=x; b =; z=b=y"
        );
        assert_eq!(without_signature(b"b=abc"), b"b=");
        assert_eq!(without_signature(b"a=1;b\r\n"), b"a=1;b");
    }
}
