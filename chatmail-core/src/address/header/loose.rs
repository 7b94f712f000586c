//! Rarer forms of the From field that RFC 5322 allows and all mail programs read alike.
//!
//! A comment counts as white space. There may be blanks around the `@`, and quotes around a localpart
//! that needs none. A comment must not contain anything that looks like an address or a separator:
//! programs that do not know comments would read it as such.

use super::encoded_word::break_the_line;
use super::{
    addr_spec, domain, dot_atom, is_plain, skip_quoted_string, skip_white_space, skip_words,
};

/// The one address, without blanks and quotes.
pub(super) fn header_address(value: &[u8]) -> Option<String> {
    let mut comments = Comments::default();
    let value = comments.skip(value)?;
    let (address, rest) = match value.first()? {
        b'<' => angle_address(value, &mut comments)?,
        b'"' => {
            let name_ends = comments.skip(skip_quoted_string(value.get(1..)?)?)?;
            angle_address(name_ends, &mut comments)?
        }
        _ => match spaced(value) {
            Some(found) => found,
            None => angle_address(comments.skip(skip_words(value))?, &mut comments)?,
        },
    };
    let is_whole = comments.skip(rest)?.is_empty() && !break_the_line(value);
    is_whole.then_some(address)
}

/// How many comments there were so far.
#[derive(Default)]
struct Comments(usize);

impl Comments {
    /// Skips white space, folds included, and a comment in it. `None` for a second comment, or one
    /// that mail programs may read as something else.
    fn skip<'v>(&mut self, text: &'v [u8]) -> Option<&'v [u8]> {
        let text = skip_white_space(text);
        let Some(inner) = text.strip_prefix(b"(") else {
            return Some(text);
        };
        let end = inner.iter().position(|&b| b == b')')?;
        let (inner, rest) = inner.split_at(end);
        let encoded_word = inner.windows(2).any(|pair| pair == b"=?");
        self.0 += 1;
        if self.0 > 1 || encoded_word || !is_plain(inner) {
            return None;
        }
        self.skip(rest.get(1..)?)
    }
}

/// `<a@b>` at the start of `text`, and what follows it.
fn angle_address<'v>(text: &'v [u8], comments: &mut Comments) -> Option<(String, &'v [u8])> {
    let inner = comments.skip(text.strip_prefix(b"<")?)?;
    let (address, rest) = match inner.strip_prefix(b"\"") {
        Some(quoted) => unquoted(quoted)?,
        None => spaced(inner)?,
    };
    Some((address, comments.skip(rest)?.strip_prefix(b">")?))
}

/// `a @ b` at the start of `text`, and what follows it.
fn spaced(text: &[u8]) -> Option<(String, &[u8])> {
    let (localpart, rest) = text.split_at(dot_atom(text)?);
    joined(localpart, rest)
}

/// `a" @ b`, behind the opening quote.
fn unquoted(text: &[u8]) -> Option<(String, &[u8])> {
    let (localpart, rest) = text.split_at(dot_atom(text)?);
    // Inside quotes dots may stand anywhere; outside they may not.
    let needs_quotes = localpart.split(|&b| b == b'.').any(<[u8]>::is_empty);
    match needs_quotes {
        true => None,
        false => joined(localpart, rest.strip_prefix(b"\"")?),
    }
}

/// The address of a localpart and the `@ b` that follows it, and what follows that.
fn joined<'v>(localpart: &[u8], text: &'v [u8]) -> Option<(String, &'v [u8])> {
    let text = skip_blanks(skip_blanks(text).strip_prefix(b"@")?);
    let (domain, rest) = text.split_at(domain(text)?);
    let address = [localpart, b"@", domain].concat();
    let (whole, after) = addr_spec(&address)?;
    after.is_empty().then(|| (whole.to_owned(), rest))
}

fn skip_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}
