//! Odd bytes, the same ones for the same seed: what a client may send and no client should.

/// What somebody trusted, or forgot: each was the end of some program.
const FRAGMENTS: [&[u8]; 30] = [
    b"\0",
    b"\t",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"\x7f",
    b" ",
    b"\"",
    b"\\",
    b"'",
    b"`id`",
    b"$HOME",
    b"%u",
    b"%{user}",
    b"%s%n",
    b"*",
    b"(",
    b")",
    b"{5}",
    b"{4294967297}",
    b"<",
    b">",
    b"@",
    b"/",
    b"../",
    b"~",
    b"\xff\xfe",
    b"\xc3",
    "\u{2028}\u{fc}".as_bytes(),
    b"\xed\xa0\x80",
];

/// Lengths around which somebody's buffer ends.
const LENGTHS: [usize; 7] = [64, 255, 256, 1000, 4096, 8192, 20_000];

/// The generator (xorshift64*): not for secrets.
#[derive(Debug, Clone)]
pub struct Odd {
    state: u64,
}

impl Odd {
    /// The one with this seed, or with that of the environment: `CHATMAIL_TEST_SEED`.
    pub fn new(seed: u64) -> Odd {
        let seed = std::env::var("CHATMAIL_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(seed);
        // All zeros would stay all zeros. The output is captured unless the test fails.
        eprintln!("odd bytes: CHATMAIL_TEST_SEED={seed}");
        Odd {
            state: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    /// A number below `end`.
    ///
    /// # Panics
    ///
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap_or(0) % end
    }

    /// One of several.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// Any bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// Letters and digits.
    pub fn letters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[self.below(36)]))
            .collect()
    }

    /// Something near `text`: once in four times `text` itself, else with one to three changes.
    pub fn near(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = text.to_vec();
        if self.below(4) > 0 {
            for _ in 0..=self.below(3) {
                self.change(&mut out);
            }
        }
        out
    }

    fn change(&mut self, text: &mut Vec<u8>) {
        let at = self.below(text.len() + 1);
        let byte = self.below(256) as u8;
        match self.below(9) {
            0 | 1 => drop(text.splice(at..at, self.pick(&FRAGMENTS).iter().copied())),
            2 => text.insert(at, byte),
            3 if at < text.len() => text[at] = byte,
            4 if at < text.len() => drop(text.remove(at)),
            5 => text.truncate(at),
            6 => {
                let twice = text[at..].to_vec();
                text.extend(twice);
            }
            7 => {
                let length = self.below(24);
                *text = self.bytes(length);
            }
            8 => {
                let length = LENGTHS[self.below(LENGTHS.len())];
                text.resize(length.max(text.len()), byte);
            }
            _ => text.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes() {
        let [mut one, mut same] = [Odd::new(7), Odd::new(7)];
        let all: Vec<_> = (0..200).map(|_| one.near(b"alice@chat.test")).collect();
        assert!(
            all.iter()
                .all(|text| *text == same.near(b"alice@chat.test"))
        );
        assert!(all.iter().any(|text| text == b"alice@chat.test"));
        assert!(all.iter().any(|text| text.contains(&0)));
        assert!(all.iter().any(|text| text.len() > 4000));
        assert!(all.iter().any(Vec::is_empty));
    }
}
