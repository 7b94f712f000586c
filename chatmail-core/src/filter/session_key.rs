//! The bodies of session key packets (RFC 9580 sections 5.1 and 5.3).
//!
//! A session key packet is the one place before the ciphertext where bytes could be carried that
//! nobody has to encrypt. Each algorithm's fields have exact sizes, so each body is measured to
//! its last byte; an algorithm that is not named here is refused.

use super::limits;

/// The two families of packets that RFC 9580 section 10.3.2.1 keeps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// PKESK version 3 and SKESK version 4, before SEIPD version 1.
    Classic,
    /// PKESK version 6 and SKESK version 6, before SEIPD version 2.
    Modern,
}

/// Ephemeral and encapsulated keys of fixed size: X25519, X448 (RFC 9580 sections 5.1.6, 5.1.7),
/// ML-KEM-768+X25519 and ML-KEM-1024+X448 (post-quantum extension, algorithms 35 and 36).
const FIXED: [(u8, usize); 4] = [(25, 32), (26, 56), (35, 32 + 1088), (36, 56 + 1568)];

/// Points of the curves of ECDH (RFC 9580 section 9.2), prefix octet included: NIST P-256, P-384,
/// P-521 and Brainpool uncompressed, Curve25519 and X448 in native form.
const POINTS: [(u8, usize); 6] = [
    (0x04, 65),
    (0x04, 97),
    (0x04, 129),
    (0x04, 133),
    (0x40, 33),
    (0x40, 57),
];

/// RSA and ElGamal numbers, in bytes: 512 bits would be broken at sight, 16384 is the largest key
/// GnuPG can be talked into.
const NUMBER: std::ops::RangeInclusive<usize> = 64..=2048;

/// Sizes of the keys of all ciphers in use.
const KEY_SIZES: [usize; 3] = [16, 24, 32];

/// Reads a Public Key Encrypted Session Key packet. `None`: none of the known forms.
pub(super) fn public_key(body: &[u8]) -> Option<Generation> {
    let (&version, body) = body.split_first()?;
    match version {
        3 => {
            let (_key_id, body) = body.split_at_checked(8)?;
            public_key_fields(body, Generation::Classic)
        }
        6 => {
            let (&size, body) = body.split_first()?;
            let (key, body) = body.split_at_checked(usize::from(size))?;
            // The key's version and fingerprint; none for an anonymous recipient.
            match (key.first(), key.len()) {
                (None, _) | (Some(4), 21) | (Some(6), 33) => {
                    public_key_fields(body, Generation::Modern)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn public_key_fields(body: &[u8], generation: Generation) -> Option<Generation> {
    let (&algorithm, body) = body.split_first()?;
    let rest = match algorithm {
        1 | 2 => number(body)?,
        16 => number(number(body)?)?,
        18 => {
            let (point, body) = integer(body)?;
            if !POINTS.contains(&(*point.first()?, point.len())) {
                return None;
            }
            // RFC 9580 section 11.5: the key, its algorithm and checksum, padded to whole blocks
            // of 8 and wrapped, which adds one.
            let (wrapped, rest) = counted(body)?;
            if wrapped.len() % 8 != 0 || !(32..=80).contains(&wrapped.len()) {
                return None;
            }
            rest
        }
        _ => {
            let (_, size) = FIXED.iter().find(|(known, _)| *known == algorithm)?;
            let (_ephemeral, body) = body.split_at_checked(*size)?;
            let (mut wrapped, rest) = counted(body)?;
            if generation == Generation::Classic {
                // The cipher stands in clear before the wrapped key.
                let (&cipher, after) = wrapped.split_first()?;
                if !(7..=13).contains(&cipher) {
                    return None;
                }
                wrapped = after;
            }
            if !KEY_SIZES.iter().any(|key| wrapped.len() == key + 8) {
                return None;
            }
            rest
        }
    };
    (rest.is_empty() && is_no_text(body)).then_some(generation)
}

/// Reads a Symmetric Key Encrypted Session Key packet. `None`: none of the known forms.
pub(super) fn symmetric_key(body: &[u8]) -> Option<Generation> {
    let (&version, fields) = body.split_first()?;
    if !is_no_text(body) {
        return None;
    }
    match version {
        4 => {
            let (&cipher, fields) = fields.split_first()?;
            let (_, key) = fields.split_at_checked(string_to_key(fields)?)?;
            // Without an encrypted key the passphrase gives the session key itself.
            let sized = key.is_empty() || KEY_SIZES.iter().any(|size| key.len() == size + 1);
            ((1..=13).contains(&cipher) && sized).then_some(Generation::Classic)
        }
        6 => {
            let (fields, secret) = counted(fields)?;
            let (&[cipher, aead], specifier) = fields.split_first_chunk()?;
            let (specifier, nonce) = counted(specifier)?;
            let sized = nonce.len() == nonce_size(aead)?
                && string_to_key(specifier)? == specifier.len()
                && KEY_SIZES.iter().any(|size| secret.len() == size + 16);
            ((7..=13).contains(&cipher) && sized).then_some(Generation::Modern)
        }
        _ => None,
    }
}

/// Size of an AEAD mode's nonce: EAX, OCB, GCM (RFC 9580 section 9.6).
pub(super) fn nonce_size(aead: u8) -> Option<usize> {
    match aead {
        1 => Some(16),
        2 => Some(15),
        3 => Some(12),
        _ => None,
    }
}

/// Size of a string-to-key specifier (RFC 9580 section 3.7.1).
fn string_to_key(bytes: &[u8]) -> Option<usize> {
    let known_hash = || matches!(bytes.get(1), Some(1..=3 | 8..=12 | 14));
    match bytes.first()? {
        0 if known_hash() => Some(2),
        1 if known_hash() => Some(10),
        3 if known_hash() => Some(11),
        4 => Some(20),
        _ => None,
    }
}

/// Splits off a multiprecision integer of a plausible size for RSA and ElGamal.
fn number(bytes: &[u8]) -> Option<&[u8]> {
    let (number, rest) = integer(bytes)?;
    NUMBER.contains(&number.len()).then_some(rest)
}

/// Splits off a multiprecision integer (RFC 9580 section 3.2).
pub(super) fn integer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (bits, bytes) = bytes.split_first_chunk()?;
    bytes.split_at_checked(usize::from(u16::from_be_bytes(*bits)).div_ceil(8))
}

/// Splits off a field that begins with its size in one octet.
pub(super) fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&size, bytes) = bytes.split_first()?;
    bytes.split_at_checked(usize::from(size))
}

/// How many bytes are printable ASCII.
pub(super) fn printable(bytes: &[u8]) -> u64 {
    let count = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| u8::from(is_printable(byte)))
            .sum::<u8>()
    };
    // Sums of one octet are quick, and a block of this size fits one.
    bytes.chunks(128).map(|block| u64::from(count(block))).sum()
}

fn is_printable(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')
}

/// Whether no run of printable ASCII is longer than chance allows.
pub(super) fn is_no_text(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // The last other byte of a window that is too long for a run begins the next one: of random
    // bytes few are looked at.
    while let Some(window) = rest.get(..=limits::PRINTABLE_RUN) {
        let Some(last) = window.iter().rposition(|byte| !is_printable(byte)) else {
            return false;
        };
        rest = rest.get(last + 1..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 151 + 7) as u8 | 0x80).collect()
    }

    fn x25519(generation: Generation) -> Vec<u8> {
        let (mut body, wrapped) = match generation {
            Generation::Classic => (vec![3; 1], [&[41, 9][..], &key(40)].concat()),
            Generation::Modern => (vec![6, 0], [&[40][..], &key(40)].concat()),
        };
        if generation == Generation::Classic {
            body.extend([0; 8]);
        }
        body.push(25);
        body.extend(key(32));
        body.extend(wrapped);
        body
    }

    #[test]
    fn each_known_form_is_measured_to_its_last_byte() {
        let mut rsa = vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x08, 0x00];
        rsa.extend(key(256));
        let mut ecdh = vec![3, 1, 2, 3, 4, 5, 6, 7, 8, 18, 0x01, 0x07, 0x40];
        ecdh.extend(key(32));
        ecdh.push(48);
        ecdh.extend(key(48));
        for (body, generation) in [
            (x25519(Generation::Classic), Generation::Classic),
            (x25519(Generation::Modern), Generation::Modern),
            (rsa, Generation::Classic),
            (ecdh, Generation::Classic),
        ] {
            assert_eq!(public_key(&body), Some(generation), "{body:x?}");
            assert_eq!(public_key(&[&body[..], b"x"].concat()), None);
            for end in 0..body.len() {
                assert_eq!(public_key(&body[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn a_passphrase_packet_is_measured_to_its_last_byte() {
        let iterated = [&[4, 9, 3, 8][..], &key(8), &[255]].concat();
        let with_key = [&iterated[..], &key(33)].concat();
        let argon2 = [&[4, 9, 4][..], &key(16), &[1, 4, 21]].concat();
        for body in [&iterated, &with_key, &argon2] {
            assert_eq!(symmetric_key(body), Some(Generation::Classic));
            assert_eq!(symmetric_key(&[body, &b"x"[..]].concat()), None);
        }
        let mut modern = vec![6, 3 + 20 + 15, 9, 2, 20, 4];
        modern.extend(key(19));
        modern.extend(key(15));
        modern.extend(key(48));
        assert_eq!(symmetric_key(&modern), Some(Generation::Modern));
        // Cut by 8 or 16 it would be right for a smaller cipher.
        for end in (0..modern.len()).filter(|end| !(modern.len() - end).is_multiple_of(8)) {
            assert_eq!(symmetric_key(&modern[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_session_key_of_readable_text_is_none() {
        let mut body = x25519(Generation::Classic);
        body[10..42].copy_from_slice(b"we attack at dawn, bring ladders");
        body[42] = b'!';
        assert_eq!(public_key(&body), None);
        assert!(is_no_text(&key(4000)));
        for before in 0..100 {
            let text = |run: usize| [&key(before)[..], &vec![b'a'; run], &key(before)].concat();
            assert!(is_no_text(&text(32)), "behind {before}");
            assert!(!is_no_text(&text(33)), "behind {before}");
        }
    }

    #[test]
    fn printable_bytes_are_counted() {
        let text = b"Attack at dawn.\r\n\0\xff".repeat(50);
        assert_eq!(printable(&text), 17 * 50);
        assert_eq!(printable(&[b'a'; 1000]), 1000);
        assert_eq!(printable(b""), 0);
    }

    #[test]
    fn unknown_versions_and_algorithms_are_refused() {
        let mut body = x25519(Generation::Classic);
        body[9] = 99;
        assert_eq!(public_key(&body), None);
        for version in [0, 1, 2, 4, 5, 7, 255] {
            let mut body = x25519(Generation::Classic);
            body[0] = version;
            assert_eq!(public_key(&body), None);
            assert_eq!(symmetric_key(&[version, 0, 9, 3, 8]), None);
        }
    }
}
