//! The packets of one public key (RFC 9580 sections 4 and 10.1), measured to their last byte.
//!
//! These bytes are not encrypted, so the grammar leaves the sender as little choice as it can: no text
//! but addresses, no unknown packets or subpackets, numbers of the sizes that their algorithms have,
//! and no run of printable ASCII that is unlikely by chance. Signatures are not verified: that is up
//! to the receiver.
//!
//! ```text
//! public key
//! [direct key signature]…
//! [user ID, an address
//!  certification…]
//! ( public subkey
//!   subkey binding or revocation… )…
//! ```

mod material;
mod signature;

use super::super::{limits, session_key};
use super::is_address;
use signature::{Issuer, Kind};

const SIGNATURE: u8 = 2;
const PUBLIC_KEY: u8 = 6;
const USER_ID: u8 = 13;
const PUBLIC_SUBKEY: u8 = 14;

/// Whether the bytes are the packets of one public key with at most one user ID, which is an address,
/// at least one subkey, and nothing else.
pub(super) fn are_one_public_key(bytes: &[u8]) -> bool {
    if bytes.len() > limits::KEY_BYTES {
        return false;
    }
    let mut packets = Packets::of(bytes);
    read(&mut packets).is_some() && packets.are_read() && !is_mostly_text(bytes)
}

fn read(packets: &mut Packets<'_>) -> Option<()> {
    let key = packets.next(PUBLIC_KEY)?;
    let mut issuer = Issuer::of(material::public_key(key)?);
    signatures(packets, &mut issuer, 0, Kind::is_direct)?;
    if packets.tag() == Some(USER_ID) {
        if !is_user_id(packets.next(USER_ID)?) {
            return None;
        }
        signatures(packets, &mut issuer, 1, Kind::is_certification)?;
    }
    for _ in 0..limits::KEY_SUBKEYS {
        material::public_key(packets.next(PUBLIC_SUBKEY)?)?;
        signatures(packets, &mut issuer, 1, Kind::is_of_subkey)?;
        if packets.are_read() {
            return Some(());
        }
    }
    None
}

/// Reads the signatures that follow, two at most, because programs keep the newest of each kind.
fn signatures<'p>(
    packets: &mut Packets<'p>,
    issuer: &mut Issuer<'p>,
    least: usize,
    belongs: fn(Kind) -> bool,
) -> Option<()> {
    let mut count = 0;
    while packets.tag() == Some(SIGNATURE) {
        let kind = signature::read(packets.next(SIGNATURE)?, issuer)?;
        count += 1;
        if !belongs(kind) || count > 2 {
            return None;
        }
    }
    (count >= least).then_some(())
}

/// `<address>`, as Delta Chat writes it, or the address alone. It may differ from the author's: a
/// profile that moves to another relay keeps its key.
fn is_user_id(text: &[u8]) -> bool {
    let address = match text {
        [b'<', address @ .., b'>'] => address,
        _ => text,
    };
    is_address(address)
}

/// Of random bytes, three in eight are printable.
fn is_mostly_text(bytes: &[u8]) -> bool {
    session_key::printable(bytes) * 4 >= bytes.len() as u64 * 3
}

/// Packets one after the other.
struct Packets<'p> {
    rest: &'p [u8],
}

impl<'p> Packets<'p> {
    fn of(bytes: &'p [u8]) -> Packets<'p> {
        Packets { rest: bytes }
    }

    fn are_read(&self) -> bool {
        self.rest.is_empty()
    }

    /// The type of the next packet.
    fn tag(&self) -> Option<u8> {
        let first = *self.rest.first()?;
        Some(match first & 0x40 {
            0 => first >> 2 & 0xf,
            _ => first & 0x3f,
        })
    }

    /// The body of the next packet, which must be of this type and have a definite size: not partial,
    /// not indeterminate, and in no more octets than it needs. In old headers a small size may have two
    /// octets: some programs always write two.
    fn next(&mut self, tag: u8) -> Option<&'p [u8]> {
        if self.tag() != Some(tag) {
            return None;
        }
        let (size, rest) = match *self.rest {
            [0xc0..=0xff, size @ 0..=191, ref rest @ ..] => (usize::from(size), rest),
            [0xc0..=0xff, high @ 192..=223, low, ref rest @ ..] => {
                let high = usize::from(high - 192);
                ((high << 8) + usize::from(low) + 192, rest)
            }
            [0xc0..=0xff, 255, 0, 0, high, low, ref rest @ ..] => {
                let size = usize::from(u16::from_be_bytes([high, low]));
                ((size >= 8384).then_some(size)?, rest)
            }
            [first @ 0x80..=0xbf, size, ref rest @ ..] if first & 3 == 0 => {
                (usize::from(size), rest)
            }
            [first @ 0x80..=0xbf, high, low, ref rest @ ..] if first & 3 == 1 => {
                (usize::from(u16::from_be_bytes([high, low])), rest)
            }
            _ => return None,
        };
        let (body, rest) = rest.split_at_checked(size)?;
        self.rest = rest;
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_its_size_before_it_in_no_more_octets_than_it_needs() {
        let body = |bytes: &[u8]| {
            let mut packets = Packets::of(bytes);
            packets.next(USER_ID).map(<[u8]>::len)
        };
        let of = |header: &[u8], size: usize| body(&[header, &vec![b'a'; size]].concat());
        for (header, size) in [
            (&[0xcd, 3][..], 3),
            (&[0xcd, 191], 191),
            (&[0xcd, 192, 0], 192),
            (&[0xcd, 223, 255], 8383),
            (&[0xcd, 255, 0, 0, 0x20, 0xc0], 8384),
            (&[0xb4, 3], 3),
            (&[0xb5, 0, 3], 3),
        ] {
            assert_eq!(of(header, size), Some(size), "{header:x?}");
            assert_eq!(of(header, size - 1), None, "{header:x?}");
        }
        assert_eq!(body(&[]), None);
        assert_eq!(body(&[0xcd]), None);
        for header in [
            &[0xcd, 255, 0, 0, 0, 3][..],
            &[0xcd, 224],
            &[0xce, 3],
            &[0xb6, 0, 0, 0, 3],
            &[0xb7],
            &[0x34, 3],
        ] {
            assert_eq!(of(header, 9000), None, "{header:x?}");
        }
    }

    #[test]
    fn a_user_id_is_an_address() {
        for id in ["<alice@chat.test>", "alice@chat.test"] {
            assert!(is_user_id(id.as_bytes()), "{id}");
        }
        for id in ["", "Alice <alice@chat.test>", "attack at dawn", "<<a@b>>"] {
            assert!(!is_user_id(id.as_bytes()), "{id}");
        }
    }
}
