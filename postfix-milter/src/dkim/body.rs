//! The hash of a body (RFC 6376 section 3.4) that comes in pieces, cut anywhere, and is not held.
//!
//! Only CRLF ends a line, as on the wire; a lone CR or LF is an octet like any other. (`mail-auth`
//! has a hasher too. It keeps trailing lines of white space, which the standard drops, and knows
//! nothing of the canonical length.)

use mail_auth::dkim::Canonicalization;
use memchr::memchr2;
use ring::digest::{Context, SHA256};

/// What is hashed at once of many empty lines.
const CRLFS: &[u8] = &{
    let mut run = [b'\r'; 128];
    let mut at = 1;
    while at < run.len() {
        run[at] = b'\n';
        at += 2;
    }
    run
};

/// Hashes a body.
pub(super) struct BodyHasher {
    canonicalization: Canonicalization,
    lines: Lines,
    space: Space,
}

/// The hash of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BodyHash {
    pub(super) canonicalization: Canonicalization,
    /// SHA-256.
    pub(super) digest: Vec<u8>,
    /// Octets of the canonical form: what `l=` counts.
    pub(super) length: u64,
}

/// White space that is held back because a line end may follow (relaxed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    None,
    /// A run of spaces and tabs.
    Held,
    /// A run, and a CR behind it.
    HeldAndCr,
}

/// Hashes everything but line ends that may turn out to be the last.
struct Lines {
    context: Context,
    length: u64,
    /// CRLFs held back.
    ends: u64,
    /// A CR held back behind them.
    cr: bool,
}

impl BodyHasher {
    pub(super) fn new(canonicalization: Canonicalization) -> BodyHasher {
        BodyHasher {
            canonicalization,
            lines: Lines {
                context: Context::new(&SHA256),
                length: 0,
                ends: 0,
                cr: false,
            },
            space: Space::None,
        }
    }

    pub(super) fn canonicalization(&self) -> Canonicalization {
        self.canonicalization
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
        match self.canonicalization {
            Canonicalization::Simple => self.lines.feed(octets),
            Canonicalization::Relaxed => self.relaxed(octets),
        }
    }

    pub(super) fn finish(mut self) -> BodyHash {
        if self.space == Space::HeldAndCr {
            self.lines.feed(b" \r");
        }
        // An empty body is one line end if simple, and nothing if relaxed.
        let is_simple = self.canonicalization == Canonicalization::Simple;
        self.lines.finish(is_simple);
        BodyHash {
            canonicalization: self.canonicalization,
            digest: self.lines.context.finish().as_ref().to_vec(),
            length: self.lines.length,
        }
    }

    /// Runs of white space become one space, and none before a line end.
    fn relaxed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            if self.space != Space::None {
                rest = self.after_space(rest);
                continue;
            }
            // Base64 has no white space in its lines, so most chunks go through as they are.
            let (text, tail) = rest.split_at(memchr2(b' ', b'\t', rest).unwrap_or(rest.len()));
            self.lines.feed(text);
            if !tail.is_empty() {
                self.space = Space::Held;
            }
            rest = tail;
        }
    }

    /// Decides about white space that is held back, if `rest` tells. What is left of it.
    fn after_space<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        match (self.space, rest) {
            (Space::Held, [b' ' | b'\t', rest @ ..]) => rest,
            (Space::Held, [b'\r']) => {
                self.space = Space::HeldAndCr;
                &[]
            }
            (Space::Held, [b'\r', b'\n', ..]) => {
                self.space = Space::None;
                rest
            }
            (Space::HeldAndCr, [b'\n', rest @ ..]) => {
                self.space = Space::None;
                self.lines.feed(b"\r\n");
                rest
            }
            (space, rest) => {
                self.space = Space::None;
                self.lines.feed(match space {
                    Space::HeldAndCr => b" \r",
                    Space::Held => b" ",
                    Space::None => b"",
                });
                rest
            }
        }
    }
}

impl Lines {
    fn feed(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        let mut rest = octets;
        if self.cr {
            self.cr = false;
            match rest {
                [b'\n', tail @ ..] => {
                    self.ends += 1;
                    rest = tail;
                }
                _ => {
                    self.flush();
                    self.hash(b"\r");
                }
            }
        }
        let is_cr = rest.last() == Some(&b'\r');
        if is_cr {
            rest = rest.split_last().map_or(rest, |(_, before)| before);
        }
        let mut ends = 0;
        while let Some(before) = rest.strip_suffix(b"\r\n") {
            ends += 1;
            rest = before;
        }
        if !rest.is_empty() {
            self.flush();
            self.hash(rest);
        }
        self.ends += ends;
        self.cr = is_cr;
    }

    fn finish(&mut self, even_if_empty: bool) {
        if self.cr {
            self.flush();
            self.hash(b"\r");
        }
        if self.length > 0 || even_if_empty {
            self.hash(b"\r\n");
        }
    }

    /// Hashes the line ends held back: something follows them.
    fn flush(&mut self) {
        let per_run = CRLFS.len() / 2;
        while self.ends > 0 {
            let some = usize::try_from(self.ends).map_or(per_run, |ends| ends.min(per_run));
            self.hash(CRLFS.get(..some * 2).unwrap_or_default());
            self.ends -= some as u64;
        }
    }

    fn hash(&mut self, octets: &[u8]) {
        self.context.update(octets);
        self.length += octets.len() as u64;
    }
}

impl std::fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyHasher")
            .field("canonicalization", &self.canonicalization)
            .field("length", &self.lines.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Canonicalization::{Relaxed, Simple};
    use proptest::prelude::*;

    fn hash(canonicalization: Canonicalization, body: &[u8], cuts: &[usize]) -> BodyHash {
        let mut hasher = BodyHasher::new(canonicalization);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        ends.push(body.len());
        ends.sort_unstable();
        let mut from = 0;
        for end in ends {
            hasher.update(&body[from..end]);
            from = end;
        }
        hasher.finish()
    }

    /// RFC 6376 sections 3.4.3 and 3.4.4, word by word, on a body that is held.
    fn by_the_book(canonicalization: Canonicalization, body: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
        let mut rest = body;
        while let Some((&octet, tail)) = rest.split_first() {
            if let [b'\r', b'\n', tail @ ..] = rest {
                lines.push(Vec::new());
                rest = tail;
            } else {
                lines.last_mut().unwrap().push(octet);
                rest = tail;
            }
        }
        if canonicalization == Relaxed {
            for line in &mut lines {
                let is_space = |octet: &u8| matches!(octet, b' ' | b'\t');
                while line.last().is_some_and(is_space) {
                    line.pop();
                }
                for octet in line.iter_mut().filter(|octet| **octet == b'\t') {
                    *octet = b' ';
                }
                line.dedup_by(|b, a| *a == b' ' && *b == b' ');
            }
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        if lines.is_empty() && canonicalization == Simple {
            lines.push(Vec::new());
        }
        lines
            .iter()
            .flat_map(|line| [line, b"\r\n".as_slice()].concat())
            .collect()
    }

    fn expected(canonicalization: Canonicalization, canonical: &[u8]) -> BodyHash {
        BodyHash {
            canonicalization,
            digest: ring::digest::digest(&SHA256, canonical).as_ref().to_vec(),
            length: canonical.len() as u64,
        }
    }

    fn check(canonicalization: Canonicalization, body: &str, canonical: &str) {
        let canonical = canonical.as_bytes();
        assert_eq!(by_the_book(canonicalization, body.as_bytes()), canonical);
        let expected = expected(canonicalization, canonical);
        assert_eq!(
            hash(canonicalization, body.as_bytes(), &[]),
            expected,
            "{body:?}"
        );
    }

    #[test]
    fn an_empty_body_is_a_line_end_if_simple_and_nothing_if_relaxed() {
        for body in ["", "\r\n", "\r\n\r\n\r\n"] {
            check(Simple, body, "\r\n");
            check(Relaxed, body, "");
        }
        check(Relaxed, " \t\r\n \r\n", "");
    }

    #[test]
    fn trailing_empty_lines_do_not_count_and_a_last_line_gets_its_end() {
        check(Simple, "a\r\n\r\n\r\n", "a\r\n");
        check(Simple, "a", "a\r\n");
        check(Simple, "a \r\n \r\n\r\n", "a \r\n \r\n");
        check(Relaxed, "a\r\n\r\nb \r\n\t\r\n \r\n", "a\r\n\r\nb\r\n");
        check(Relaxed, "a \t", "a\r\n");
    }

    #[test]
    fn the_example_of_the_standard() {
        // Section 3.4.5.
        let body = " C \r\nD \t E\r\n\r\n\r\n";
        check(Relaxed, body, " C\r\nD E\r\n");
        check(Simple, body, " C \r\nD \t E\r\n");
    }

    #[test]
    fn lone_line_end_octets_are_text() {
        check(Simple, "a\rb\nc\r", "a\rb\nc\r\r\n");
        check(Relaxed, "a \rb \n c \r", "a \rb \n c \r\r\n");
        check(Relaxed, "a\n\r\n", "a\n\r\n");
    }

    #[test]
    fn a_million_empty_lines_before_a_word_count() {
        let body = "\r\n".repeat(1_000_000) + "a";
        check(Simple, &body, &(body.clone() + "\r\n"));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_hash_of_the_standard(
            body in prop::collection::vec(prop::sample::select(b"\r\n \tab".as_slice()), 0..60),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            for canonicalization in [Simple, Relaxed] {
                let expected = expected(canonicalization, &by_the_book(canonicalization, &body));
                prop_assert_eq!(hash(canonicalization, &body, &cuts), expected);
            }
        }
    }
}
