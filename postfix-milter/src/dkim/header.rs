//! The header as it was received: signatures are about its octets.

use std::ops::Range;

use chatmail_core::filter::{HeaderEdit, limits};

/// Header fields, in the order in which they came. At most [`limits::HEADER_BYTES`] and
/// [`limits::HEADER_FIELDS`] are kept; the check refuses a message that has more.
#[derive(Debug, Default)]
pub(super) struct RawHeader {
    octets: Vec<u8>,
    fields: Vec<Field>,
    /// Names and values as they came, in octets.
    size: usize,
    overflown: bool,
}

#[derive(Debug, Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl RawHeader {
    /// One field: its name without the colon, its value with the white space behind the colon.
    /// Folds may be bare line feeds; they are kept as CRLF, and so is the end of the field.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.size = self.size.saturating_add(name.len() + value.len());
        if self.size > limits::HEADER_BYTES || self.fields.len() >= limits::HEADER_FIELDS {
            *self = RawHeader {
                size: self.size,
                overflown: true,
                ..RawHeader::default()
            };
        }
        if !self.overflown {
            let field = self.store(name, value);
            self.fields.push(field);
        }
    }

    /// Whether there was more than is kept. Nothing is kept then.
    pub(super) fn is_overflown(&self) -> bool {
        self.overflown
    }

    /// Name and value of each field, the value with its CRLF.
    pub(super) fn fields(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| self.field(field))
    }

    /// The same of one field.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.fields.get(index).map(|field| self.field(field))
    }

    /// The header after these edits, in this order, as the MTA does them.
    pub(super) fn edit(&mut self, edits: &[HeaderEdit]) {
        for edit in edits {
            match edit {
                HeaderEdit::Delete { name, index } => {
                    if let Some(at) = self.find(name, *index) {
                        self.fields.remove(at);
                    }
                }
                HeaderEdit::Replace { name, index, value } => {
                    let value = [b" ", value.as_bytes()].concat();
                    let new = self.store(name.as_bytes(), &value);
                    match self
                        .find(name, *index)
                        .and_then(|at| self.fields.get_mut(at))
                    {
                        Some(field) => *field = new,
                        None => self.fields.push(new),
                    }
                }
            }
        }
    }

    /// The fields a signature over these names is about, in the order in which they are hashed:
    /// each name takes the lowest field that it has not taken yet, or nothing (RFC 6376 section
    /// 5.4.2).
    pub(super) fn signed<'a>(&'a self, names: &'a [String]) -> Vec<(&'a [u8], &'a [u8])> {
        // Fields not taken yet, lowest first.
        let mut left: Vec<&Field> = self.fields.iter().rev().collect();
        names
            .iter()
            .filter_map(|name| {
                let is_it = |field: &&Field| {
                    self.octets
                        .get(field.name.clone())
                        .is_some_and(|known| known.eq_ignore_ascii_case(name.as_bytes()))
                };
                let at = left.iter().position(is_it)?;
                Some(self.field(left.remove(at)))
            })
            .collect()
    }

    fn store(&mut self, name: &[u8], value: &[u8]) -> Field {
        let start = self.octets.len();
        self.octets.extend_from_slice(name);
        let colon = self.octets.len();
        let mut last = 0;
        for &octet in value {
            if octet == b'\n' && last != b'\r' {
                self.octets.push(b'\r');
            }
            self.octets.push(octet);
            last = octet;
        }
        self.octets.extend_from_slice(b"\r\n");
        Field {
            name: start..colon,
            value: colon..self.octets.len(),
        }
    }

    fn field(&self, field: &Field) -> (&[u8], &[u8]) {
        let octets = |range: &Range<usize>| self.octets.get(range.clone()).unwrap_or_default();
        (octets(&field.name), octets(&field.value))
    }

    fn find(&self, name: &str, index: u32) -> Option<usize> {
        let nth = usize::try_from(index).ok()?.checked_sub(1)?;
        self.fields()
            .enumerate()
            .filter(|(_, (known, _))| known.eq_ignore_ascii_case(name.as_bytes()))
            .nth(nth)
            .map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(fields: &[(&str, &str)]) -> RawHeader {
        let mut header = RawHeader::default();
        for (name, value) in fields {
            header.push(name.as_bytes(), value.as_bytes());
        }
        header
    }

    fn text(fields: Vec<(&[u8], &[u8])>) -> Vec<String> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        fields
            .into_iter()
            .map(|(name, value)| format!("{}:{}", text(name), text(value)))
            .collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn folds_and_ends_are_kept_as_crlf() {
        let header = header(&[("To", " a,\n\tb,\r\n c"), ("Empty", "")]);
        let fields = text(header.fields().collect());
        assert_eq!(fields, ["To: a,\r\n\tb,\r\n c\r\n", "Empty:\r\n"]);
    }

    #[test]
    fn names_take_fields_from_below_and_then_nothing() {
        let header = header(&[("A", " 1"), ("b", " 2"), ("a", " 3")]);
        let signed = names(&["a", "B", "A", "a", "c"]);
        assert_eq!(
            text(header.signed(&signed)),
            ["a: 3\r\n", "b: 2\r\n", "A: 1\r\n"]
        );
    }

    #[test]
    fn edits_are_made_in_their_order() {
        let mut header = header(&[("X", " 1"), ("Subject", " hi"), ("x", " 2"), ("X", " 3")]);
        let delete = |index| HeaderEdit::Delete {
            name: "x".to_owned(),
            index,
        };
        let replace = HeaderEdit::Replace {
            name: "SUBJECT".to_owned(),
            index: 1,
            value: "[...]".to_owned(),
        };
        header.edit(&[delete(3), delete(1), replace, delete(7)]);
        let fields = text(header.fields().collect());
        assert_eq!(fields, ["SUBJECT: [...]\r\n", "x: 2\r\n"]);
    }

    #[test]
    fn what_the_check_refuses_is_not_kept() {
        let mut header = RawHeader::default();
        for _ in 0..=limits::HEADER_FIELDS {
            header.push(b"a", b"b");
        }
        assert!(header.is_overflown());
        assert_eq!(header.fields().count(), 0);
        let mut header = RawHeader::default();
        header.push(b"a", &vec![b'x'; limits::HEADER_BYTES]);
        assert!(header.is_overflown());
    }
}
