//! Numbers and points of public keys (RFC 9580 sections 5.5.2 and 5.5.5) and of signatures (sections
//! 5.2.3.1 and 5.2.3.3 onward).

use super::super::super::session_key::{counted, integer, is_no_text};

/// The properties of a key that determine the form of its signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) version: Version,
    pub(super) algorithm: u8,
}

/// The version of a key and of its signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    pub(super) fn of(octet: u8) -> Option<Version> {
        match octet {
            4 => Some(Version::V4),
            6 => Some(Version::V6),
            _ => None,
        }
    }

    /// Splits off a size: two octets in version 4, four in version 6, which none of ours needs.
    pub(super) fn size(self, bytes: &[u8]) -> Option<(usize, &[u8])> {
        let bytes = match self {
            Version::V4 => bytes,
            Version::V6 => bytes.strip_prefix(&[0, 0])?,
        };
        let (size, rest) = bytes.split_first_chunk()?;
        Some((usize::from(u16::from_be_bytes(*size)), rest))
    }
}

/// Object identifiers of curves (RFC 9580 section 9.2, and secp256k1), and a point of each with its
/// prefix octet: first octet and size.
const CURVES: [(&[u8], u8, usize); 9] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 0x04, 65),
    (&[0x2b, 0x81, 4, 0, 0x22], 0x04, 97),
    (&[0x2b, 0x81, 4, 0, 0x23], 0x04, 133),
    (&[0x2b, 0x81, 4, 0, 0x0a], 0x04, 65),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7], 0x04, 65),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0b], 0x04, 97),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0d], 0x04, 129),
    (&[0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1], 0x40, 33),
    (&[0x2b, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1], 0x40, 33),
];

/// Public keys of fixed size: X25519, X448, Ed25519, Ed448 (RFC 9580 section 5.5.5), and those of the
/// post-quantum extension: ML-DSA-65+Ed25519, ML-DSA-87+Ed448, SLH-DSA-SHAKE-128s,
/// ML-KEM-768+X25519, ML-KEM-1024+X448.
const KEYS: [(u8, usize); 9] = [
    (25, 32),
    (26, 56),
    (27, 32),
    (28, 57),
    (30, 32 + 1952),
    (31, 57 + 2592),
    (32, 32),
    (35, 32 + 1184),
    (36, 56 + 1568),
];

/// Signatures of fixed size by the same.
const SIGNATURES: [(u8, usize); 5] = [
    (27, 64),
    (28, 114),
    (30, 64 + 3309),
    (31, 114 + 4627),
    (32, 7856),
];

/// The largest number of an RSA, DSA or ElGamal key, in bytes.
const NUMBER: usize = 1024;

/// Reads the body of a Public Key or Public Subkey packet. `None` if it has none of the known forms.
pub(super) fn public_key(body: &[u8]) -> Option<PublicKey> {
    let (&version, rest) = body.split_first()?;
    let version = Version::of(version)?;
    let (&[_, _, _, _, algorithm], mut fields) = rest.split_first_chunk()?;
    if version == Version::V6 {
        let (size, rest) = version.size(fields)?;
        fields = (rest.len() == size).then_some(rest)?;
    }
    let rest = match algorithm {
        1..=3 => number(number(fields, NUMBER)?, 8)?,
        16 => number(number(number(fields, NUMBER)?, 8)?, NUMBER)?,
        17 => {
            let fields = number(number(fields, NUMBER)?, 64)?;
            number(number(fields, NUMBER)?, NUMBER)?
        }
        18 => {
            let fields = point(fields)?;
            // RFC 9580 section 5.5.5.6: hash and cipher that wrap the session key.
            let (&[3, 1, hash, cipher], rest) = fields.split_first_chunk()? else {
                return None;
            };
            if !(8..=14).contains(&hash) || !(7..=13).contains(&cipher) {
                return None;
            }
            rest
        }
        19 | 22 => point(fields)?,
        _ => {
            let (_, size) = KEYS.iter().find(|(known, _)| *known == algorithm)?;
            fields.get(*size..)?
        }
    };
    (rest.is_empty() && is_no_text(body)).then_some(PublicKey { version, algorithm })
}

/// Whether the bytes are the numbers of a signature by this algorithm.
pub(super) fn is_signature(algorithm: u8, fields: &[u8]) -> bool {
    let two = |most| number(number(fields, most)?, most);
    let rest = match algorithm {
        1 | 3 => number(fields, NUMBER),
        17 => two(64),
        19 => two(66),
        22 => two(57),
        _ => SIGNATURES
            .iter()
            .find(|(known, _)| *known == algorithm)
            .and_then(|(_, size)| fields.get(*size..)),
    };
    rest.is_some_and(<[u8]>::is_empty) && is_no_text(fields)
}

/// Splits off a number of at most this many bytes.
fn number(bytes: &[u8], most: usize) -> Option<&[u8]> {
    let (number, rest) = integer(bytes)?;
    ((1..=most).contains(&number.len())).then_some(rest)
}

/// Splits off a curve and a point on it.
fn point(bytes: &[u8]) -> Option<&[u8]> {
    let (curve, bytes) = counted(bytes)?;
    let (_, prefix, size) = CURVES.iter().find(|(known, ..)| *known == curve)?;
    let (point, rest) = integer(bytes)?;
    (point.first() == Some(prefix) && point.len() == *size).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are not text.
    fn noise(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 151 + 7) as u8 | 0x80).collect()
    }

    fn v4(algorithm: u8, fields: &[u8]) -> Vec<u8> {
        [&[4, 0x66, 1, 2, 3, algorithm], fields].concat()
    }

    #[test]
    fn a_key_of_each_form_is_measured_to_its_last_byte() {
        let rsa = [&[8, 0][..], &noise(256), &[0, 17, 1, 0, 1]].concat();
        let ecdh = [
            &[10, 0x2b, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1, 1, 7, 0x40][..],
            &noise(32),
            &[3, 1, 8, 7],
        ]
        .concat();
        let ecdsa = [
            &[8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 2, 3, 4][..],
            &noise(64),
        ]
        .concat();
        for (algorithm, fields) in [(1, rsa), (18, ecdh), (19, ecdsa), (25, noise(32))] {
            let body = v4(algorithm, &fields);
            let version = Version::V4;
            assert_eq!(public_key(&body), Some(PublicKey { version, algorithm }));
            assert_eq!(public_key(&[&body[..], b"x"].concat()), None);
            for end in 0..body.len() {
                assert_eq!(public_key(&body[..end]), None, "{algorithm} cut at {end}");
            }
            let size = (fields.len() as u32).to_be_bytes();
            let body = [&[6, 0x66, 1, 2, 3, algorithm], &size[..], &fields].concat();
            let version = Version::V6;
            assert_eq!(public_key(&body), Some(PublicKey { version, algorithm }));
            assert_eq!(public_key(&[&body[..], b"x"].concat()), None);
        }
        assert_eq!(public_key(&v4(99, &noise(32))), None);
        assert_eq!(public_key(&[&[3][..], &noise(40)].concat()), None);
    }

    #[test]
    fn a_number_of_readable_text_is_none() {
        let text = b"We attack at dawn, bring ladders and whatever else is there.";
        let mut modulus = noise(256);
        modulus[100..100 + text.len()].copy_from_slice(text);
        let rsa = [&[8, 0][..], &modulus, &[0, 17, 1, 0, 1]].concat();
        assert_eq!(public_key(&v4(1, &rsa)), None);
        assert!(is_signature(1, &[&[8, 0][..], &noise(256)].concat()));
        assert!(!is_signature(1, &[&[8, 0][..], &modulus].concat()));
    }

    #[test]
    fn a_signature_of_each_form_is_measured_to_its_last_byte() {
        let eddsa = [&[1, 0][..], &noise(32), &[1, 0], &noise(32)].concat();
        for (algorithm, fields) in [(22, eddsa), (27, noise(64)), (28, noise(114))] {
            assert!(is_signature(algorithm, &fields));
            assert!(!is_signature(algorithm, &[&fields[..], b"x"].concat()));
            for end in 0..fields.len() {
                assert!(!is_signature(algorithm, &fields[..end]), "{end}");
            }
        }
        assert!(!is_signature(99, &noise(64)));
    }
}
