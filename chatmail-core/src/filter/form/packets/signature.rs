//! Signature packets of a public key (RFC 9580 section 5.2), and what they may contain.

use super::super::super::{limits, session_key::is_no_text};
use super::super::is_address;
use super::material::{self, PublicKey, Version};

/// What a signature covers (RFC 9580 section 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Certification,
    DirectKey,
    SubkeyBinding,
    PrimaryKeyBinding,
    SubkeyRevocation,
}

impl Kind {
    fn of(octet: u8) -> Option<Kind> {
        match octet {
            0x10..=0x13 => Some(Kind::Certification),
            0x18 => Some(Kind::SubkeyBinding),
            0x19 => Some(Kind::PrimaryKeyBinding),
            0x1f => Some(Kind::DirectKey),
            0x28 => Some(Kind::SubkeyRevocation),
            _ => None,
        }
    }

    pub(super) fn is_direct(self) -> bool {
        self == Kind::DirectKey
    }

    pub(super) fn is_certification(self) -> bool {
        self == Kind::Certification
    }

    pub(super) fn is_of_subkey(self) -> bool {
        matches!(self, Kind::SubkeyBinding | Kind::SubkeyRevocation)
    }
}

/// The issuer of signatures. All of them must give it the same identifiers.
#[derive(Debug)]
pub(super) struct Issuer<'p> {
    version: Version,
    /// `None` if not known, as for a signing subkey.
    algorithm: Option<u8>,
    fingerprint: Option<&'p [u8]>,
    key_id: Option<&'p [u8]>,
}

impl<'p> Issuer<'p> {
    pub(super) fn of(key: PublicKey) -> Issuer<'p> {
        Issuer {
            version: key.version,
            algorithm: Some(key.algorithm),
            fingerprint: None,
            key_id: None,
        }
    }

    /// The subkey of a key.
    fn subkey(&self) -> Issuer<'p> {
        Issuer {
            version: self.version,
            algorithm: None,
            fingerprint: None,
            key_id: None,
        }
    }

    fn has_fingerprint(&mut self, body: &'p [u8]) -> bool {
        let sized = match (self.version, body) {
            (Version::V4, [4, fingerprint @ ..]) => fingerprint.len() == 20,
            (Version::V6, [6, fingerprint @ ..]) => fingerprint.len() == 32,
            _ => false,
        };
        sized && *self.fingerprint.get_or_insert(body) == body && self.is_one()
    }

    fn has_key_id(&mut self, body: &'p [u8]) -> bool {
        body.len() == 8 && *self.key_id.get_or_insert(body) == body && self.is_one()
    }

    /// Whether key ID and fingerprint belong to one key (RFC 9580 section 5.5.4).
    fn is_one(&self) -> bool {
        match (self.version, self.fingerprint, self.key_id) {
            (Version::V4, Some(fingerprint), Some(id)) => fingerprint.ends_with(id),
            (Version::V6, Some(fingerprint), Some(id)) => fingerprint
                .get(1..)
                .is_some_and(|text| text.starts_with(id)),
            _ => true,
        }
    }
}

/// Reads the body of a Signature packet. `None` if it has none of the known forms.
pub(super) fn read<'p>(body: &'p [u8], issuer: &mut Issuer<'p>) -> Option<Kind> {
    fields(body, issuer, Nesting::Outer)
}

/// Whether a signature is embedded in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Outer,
    Embedded,
}

fn fields<'p>(body: &'p [u8], issuer: &mut Issuer<'p>, nesting: Nesting) -> Option<Kind> {
    let (&[version, kind, algorithm, hash], rest) = body.split_first_chunk()?;
    let version = Version::of(version)?;
    if version != issuer.version || issuer.algorithm.is_some_and(|known| known != algorithm) {
        return None;
    }
    let (size, rest) = version.size(rest)?;
    let (hashed, rest) = rest.split_at_checked(size)?;
    let (size, rest) = version.size(rest)?;
    let (unhashed, rest) = rest.split_at_checked(size)?;
    let kind = Kind::of(kind)?;
    subpackets(hashed, Area::Hashed, nesting, issuer)?;
    subpackets(unhashed, Area::Unhashed, nesting, issuer)?;
    let (_left, rest) = rest.split_at_checked(2)?;
    let (salt, fields) = match version {
        Version::V4 => (0, rest),
        Version::V6 => {
            let (&size, rest) = rest.split_first()?;
            (usize::from(size), rest)
        }
    };
    let (salt, numbers) = fields.split_at_checked(salt)?;
    let salted = version == Version::V4 || salt.len() == salt_size(hash)?;
    let good = salted && is_hash(&hash) && material::is_signature(algorithm, numbers);
    (good && is_no_text(salt)).then_some(kind)
}

/// Bytes of the salt of a version 6 signature (RFC 9580 section 9.5).
fn salt_size(hash: u8) -> Option<usize> {
    match hash {
        8 | 11 | 12 => Some(16),
        9 => Some(24),
        10 | 14 => Some(32),
        _ => None,
    }
}

/// The two subpacket areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Hashed,
    Unhashed,
}

/// Reads one area, in which no subpacket may be repeated.
fn subpackets<'p>(
    mut bytes: &'p [u8],
    area: Area,
    nesting: Nesting,
    issuer: &mut Issuer<'p>,
) -> Option<()> {
    let mut seen = 0_u64;
    while !bytes.is_empty() {
        // RFC 9580 section 5.2.3.7, without the size in five octets, which none of ours needs.
        let (size, rest) = match *bytes {
            [size @ 0..=191, ref rest @ ..] => (usize::from(size), rest),
            [high @ 192..=254, low, ref rest @ ..] => {
                let high = usize::from(high - 192);
                ((high << 8) + usize::from(low) + 192, rest)
            }
            _ => return None,
        };
        let (subpacket, rest) = rest.split_at_checked(size)?;
        let (&kind, body) = subpacket.split_first()?;
        // The highest bit says that it is critical.
        let kind = kind & 0x7f;
        let known = match kind {
            16 => issuer.has_key_id(body),
            33 => issuer.has_fingerprint(body),
            // The signature of a signing subkey over its primary key.
            32 if nesting == Nesting::Outer => {
                let kind = fields(body, &mut issuer.subkey(), Nesting::Embedded);
                kind == Some(Kind::PrimaryKeyBinding)
            }
            _ => area == Area::Hashed && is_statement(kind, body),
        };
        let bit = 1_u64.checked_shl(u32::from(kind))?;
        if !known || seen & bit != 0 {
            return None;
        }
        seen |= bit;
        bytes = rest;
    }
    Some(())
}

/// Whether a subpacket states one of the properties of a key (RFC 9580 sections 5.2.3.11 to 5.2.3.36),
/// in no more bytes than it needs.
fn is_statement(kind: u8, body: &[u8]) -> bool {
    let list = |most: usize, known: fn(&u8) -> bool| body.len() <= most && body.iter().all(known);
    match kind {
        // Times: of the signature, of its end and of the key's end.
        2 | 3 | 9 => body.len() == 4,
        // Exportable, revocable, primary user ID.
        4 | 7 | 25 => matches!(body, [0 | 1]),
        // Preferred ciphers, hashes, compression, and AEAD modes alone or with ciphers.
        11 => list(16, is_cipher),
        21 => list(16, is_hash),
        22 => list(8, |algorithm| *algorithm <= 3),
        34 => list(8, |mode| *mode <= 3),
        39 => body.len().is_multiple_of(2) && list(32, is_cipher),
        20 => is_notation(body),
        // Key server preferences: no-modify or none.
        23 => matches!(body, [0 | 0x80]),
        // Key flags, and features.
        27 | 30 => (1..=2).contains(&body.len()),
        // The code of a reason for revocation, without text.
        29 => matches!(body, [0..=3 | 32]),
        _ => false,
    }
}

fn is_cipher(algorithm: &u8) -> bool {
    *algorithm <= 13
}

fn is_hash(algorithm: &u8) -> bool {
    *algorithm <= 14
}

/// The known notations: the other addresses of a Delta Chat user, which are text, and Sequoia's salt,
/// which is not.
fn is_notation(body: &[u8]) -> bool {
    let Some((&[flags, 0, 0, 0, 0, name, high, low], text)) = body.split_first_chunk() else {
        return false;
    };
    let size = usize::from(u16::from_be_bytes([high, low]));
    let Some((name, value)) = text.split_at_checked(usize::from(name)) else {
        return false;
    };
    if value.len() != size {
        return false;
    }
    match (flags, name) {
        (0x80, b"relays@chatmail.at") => {
            value.len() <= limits::KEY_RELAYS_BYTES
                && value.split(|byte| *byte == b',').all(is_address)
        }
        (0, b"salt@notations.sequoia-pgp.org") => value.len() == 32 && is_no_text(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notation(flags: u8, name: &str, value: &[u8]) -> Vec<u8> {
        let sizes = [0, name.len() as u8, 0, value.len() as u8];
        [&[flags, 0, 0, 0][..], &sizes, name.as_bytes(), value].concat()
    }

    #[test]
    fn a_notation_says_where_a_user_can_be_reached_and_nothing_else() {
        let relays = "relays@chatmail.at";
        for value in ["alice@chat.test", "alice@chat.test,a@other.test"] {
            let body = notation(0x80, relays, value.as_bytes());
            assert!(is_statement(20, &body), "{value}");
            assert!(!is_statement(20, &[&body[..], b"x"].concat()), "{value}");
            assert!(!is_statement(20, &body[..body.len() - 1]), "{value}");
            assert!(!is_statement(20, &notation(0, relays, value.as_bytes())));
            let other = notation(0x80, "text@chatmail.at", value.as_bytes());
            assert!(!is_statement(20, &other), "{value}");
        }
        for value in ["", "attack at dawn", "a@b,attack", "a@b, c@d", "a@b,"] {
            let body = notation(0x80, relays, value.as_bytes());
            assert!(!is_statement(20, &body), "{value}");
        }
        let salt = "salt@notations.sequoia-pgp.org";
        assert!(is_statement(20, &notation(0, salt, &[0xa5; 32])));
        assert!(!is_statement(20, &notation(0, salt, &[0xa5; 33])));
    }

    #[test]
    fn a_subpacket_with_room_for_text_is_none() {
        for kind in 0..=127 {
            for text in [
                &b"attack at dawn"[..],
                b"https://chat.test/attack-at-dawn",
                b"a@b",
            ] {
                assert!(!is_statement(kind, text), "{kind}");
            }
        }
        assert!(is_statement(11, &[9, 8, 7]));
        assert!(!is_statement(11, &[9; 17]));
        assert!(!is_statement(29, b"\0no longer used"));
    }

    #[test]
    fn each_subpacket_stands_once() {
        let read = |area: &[u8]| {
            let mut issuer = Issuer::of(PublicKey {
                version: Version::V4,
                algorithm: 22,
            });
            subpackets(area, Area::Hashed, Nesting::Outer, &mut issuer).is_some()
        };
        let time = [5, 2, 1, 2, 3, 4];
        assert!(read(&time));
        assert!(read(&[&time[..], &[2, 27, 3]].concat()));
        assert!(!read(&[time, time].concat()));
        assert!(!read(&[5, 2, 1, 2, 3]));
        assert!(!read(&[0]));
        assert!(!read(&[255, 0, 0, 0, 5, 2, 1, 2, 3, 4]));
    }

    #[test]
    fn all_signatures_name_the_same_issuer() {
        let mut issuer = Issuer::of(PublicKey {
            version: Version::V4,
            algorithm: 22,
        });
        let fingerprint: Vec<u8> = (4..25).collect();
        assert!(issuer.has_fingerprint(&fingerprint));
        assert!(issuer.has_key_id(&fingerprint[13..]));
        assert!(!issuer.has_key_id(b"attackat"));
        assert!(!issuer.has_fingerprint(&[4; 21]));
        assert!(!issuer.has_fingerprint(&fingerprint[1..]));
    }
}
