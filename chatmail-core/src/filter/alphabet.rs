//! The base64 alphabet (RFC 4648 section 4): membership in bulk, and the bits of a character.
//!
//! Nearly all of a large message goes through here, so membership is range comparisons over blocks
//! that the compiler turns into vector code.

/// Whether every character is of the base64 alphabet (RFC 4648 section 4).
pub(super) fn is_base64(characters: &[u8]) -> bool {
    outside_any(characters) < OUTSIDE
}

/// At least [`OUTSIDE`] if a character is outside the alphabet.
fn outside_any(characters: &[u8]) -> u8 {
    let (blocks, rest) = characters.as_chunks::<LANES>();
    let mut worst = [0; LANES];
    for block in blocks {
        fold(&mut worst, block);
    }
    let worst = worst.into_iter().fold(0, u8::max);
    rest.iter()
        .fold(worst, |worst, &character| worst.max(rank(character)))
}

/// How many lines of `LENGTH` characters of the alphabet, each followed by `line_end`, stand at the
/// beginning of `region`.
pub(super) fn whole_lines<const LENGTH: usize, const END: usize>(
    region: &[u8],
    line_end: &[u8; END],
) -> usize {
    let stride = LENGTH + END;
    let valid = |batch: &[u8]| {
        let mut worst = [0; LANES];
        let mut ends = true;
        for line in batch.chunks_exact(stride) {
            let (Some(data), Some(end)) = (line.first_chunk::<LENGTH>(), line.last_chunk()) else {
                return false;
            };
            ends &= end == line_end;
            for block in data.as_chunks::<LANES>().0 {
                fold(&mut worst, block);
            }
            // The last characters once more, together with what did not fill a block.
            if !LENGTH.is_multiple_of(LANES)
                && let Some(block) = data.last_chunk()
            {
                fold(&mut worst, block);
            }
        }
        ends && worst.iter().all(|worst| *worst < OUTSIDE)
    };
    let mut lines = 0;
    for batch in region.chunks(stride * BATCH) {
        if valid(batch) {
            lines += batch.len() / stride;
            continue;
        }
        return lines
            + batch
                .chunks_exact(stride)
                .take_while(|line| valid(line))
                .count();
    }
    lines
}

/// Lines that are checked together in bulk.
const BATCH: usize = 16;

/// Characters that are looked at together: what a vector register of any processor holds.
const LANES: usize = 16;

/// A fold over a block of fixed size, with neither branch nor table, is what the compiler turns into
/// vector code without any `unsafe`.
#[inline(always)]
fn fold(worst: &mut [u8; LANES], block: &[u8; LANES]) {
    for (worst, &character) in worst.iter_mut().zip(block) {
        *worst = (*worst).max(rank(character));
    }
}

/// The first [`rank`] of a character outside the alphabet.
const OUTSIDE: u8 = 26;

/// Below [`OUTSIDE`] for a character of the alphabet. Bit 5 tells capital letters from small ones;
/// `/` and the digits are neighbours.
#[inline(always)]
fn rank(character: u8) -> u8 {
    let letter = (character | 0x20).wrapping_sub(b'a');
    let digit_or_slash = character.wrapping_sub(b'/').saturating_add(OUTSIDE - 11);
    if character == b'+' {
        0
    } else {
        letter.min(digit_or_slash)
    }
}

/// The 6 bits of a character of the alphabet.
pub(super) fn sextet(character: u8) -> u32 {
    const SEXTETS: [u8; 256] = {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut sextets = [0; 256];
        let mut at = 0;
        while at < alphabet.len() {
            sextets[alphabet[at] as usize] = at as u8;
            at += 1;
        }
        sextets
    };
    u32::from(SEXTETS[usize::from(character)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_base64_alphabet_passes_in_whole_blocks_and_in_the_rest() {
        for byte in 0..=255 {
            let known = char::from(byte).is_ascii_alphanumeric() || b"+/".contains(&byte);
            for length in [1, 15, 16, 17, 64] {
                for at in [0, length / 2, length - 1] {
                    let mut line = vec![b'A'; length];
                    line[at] = byte;
                    assert_eq!(is_base64(&line), known, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn lines_are_passed_over_up_to_the_first_bad_byte_of_any_width() {
        fn check<const LENGTH: usize>() {
            let good = [&[b'A'; LENGTH][..], b"\r\n"].concat().repeat(20);
            assert_eq!(whole_lines::<LENGTH, 2>(&good, b"\r\n"), 20);
            for at in 0..good.len() {
                for byte in [b'=', b'\n', b'\r', b' ', b'-', 0xff] {
                    let mut bad = good.clone();
                    if std::mem::replace(&mut bad[at], byte) == byte {
                        continue;
                    }
                    let lines = whole_lines::<LENGTH, 2>(&bad, b"\r\n");
                    assert_eq!(lines, at / (LENGTH + 2), "{byte} at {at}");
                }
            }
        }
        check::<60>();
        check::<64>();
        check::<76>();
    }
}
