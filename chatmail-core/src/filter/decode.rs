//! Decodes base64 in pieces (RFC 4648 section 4), for armor and for parts in base64.

use super::alphabet::sextet;
use super::verdict::Reason;

/// A consumer of decoded bytes.
pub(super) trait Sink {
    /// How many of the next bytes [`Sink::skip`] can skip undecoded.
    fn skippable(&self) -> u64 {
        0
    }

    /// Skips `count` bytes, at most [`Sink::skippable`].
    fn skip(&mut self, _count: u64) -> Result<(), Reason> {
        Ok(())
    }

    /// Takes the next bytes.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Reason>;
}

/// The characters of the incomplete last quantum of four.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// 6 bits of each.
    carry: u32,
    carried: u8,
}

/// How many quanta are decoded at once.
const BLOCK: usize = 16;

impl Decoder {
    /// Whether all characters so far fill whole quanta.
    pub(super) fn is_whole(&self) -> bool {
        self.carried == 0
    }

    /// How many characters of the last quantum there are.
    pub(super) fn carried(&self) -> u8 {
        self.carried
    }

    /// Decodes characters of the alphabet and hands the bytes on.
    pub(super) fn decode(
        &mut self,
        mut characters: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), Reason> {
        while self.carried > 0
            && let Some((&character, rest)) = characters.split_first()
        {
            self.carry(character, sink)?;
            characters = rest;
        }
        let (mut quanta, tail) = characters.as_chunks::<4>();
        while !quanta.is_empty() {
            // Ciphertext after a packet header is skipped.
            let left = 3 * quanta.len() as u64;
            if sink.skippable() >= left {
                sink.skip(left)?;
                break;
            }
            let (block, rest) = quanta.split_at(quanta.len().min(BLOCK));
            let mut decoded = [[0; 3]; BLOCK];
            for (&[a, b, c, d], place) in block.iter().zip(&mut decoded) {
                let bits = sextet(a) << 18 | sextet(b) << 12 | sextet(c) << 6 | sextet(d);
                let [_, x, y, z] = bits.to_be_bytes();
                *place = [x, y, z];
            }
            let decoded = decoded.get(..block.len()).unwrap_or_default();
            sink.push(decoded.as_flattened())?;
            quanta = rest;
        }
        tail.iter()
            .try_for_each(|&character| self.carry(character, sink))
    }

    /// One character of a quantum that spans a line end.
    fn carry(&mut self, character: u8, sink: &mut impl Sink) -> Result<(), Reason> {
        self.carry = (self.carry << 6) | sextet(character);
        self.carried += 1;
        if self.carried < 4 {
            return Ok(());
        }
        let [_, quantum @ ..] = self.carry.to_be_bytes();
        *self = Decoder::default();
        sink.push(&quantum)
    }

    /// The bytes of the last quantum, two characters and `==` or three and `=`, and their number.
    /// `None` for any other padding, or if an unused bit is set.
    pub(super) fn last(&mut self, pads: usize) -> Option<([u8; 3], usize)> {
        let (bits, count) = match (self.carried, pads) {
            (2, 2) if self.carry & 0xf == 0 => (self.carry << 12, 1),
            (3, 1) if self.carry & 0x3 == 0 => (self.carry << 6, 2),
            _ => return None,
        };
        *self = Decoder::default();
        let [_, quantum @ ..] = bits.to_be_bytes();
        Some((quantum, count))
    }
}
