//! The packets of an encrypted message (RFC 9580 section 10.3), read as they stream by.
//!
//! Session keys, then exactly one Symmetrically Encrypted and Integrity Protected Data packet that
//! ends where the data end. Marker and Padding packets may come before it; in incoming mail Padding
//! packets may also follow it. The reader keeps what is small (session keys) and skips what is large
//! (ciphertext) without looking at it.

use super::decode::Sink;
use super::limits;
use super::session_key::{self, Generation};
use super::verdict::{Direction, Reason};

/// A streaming reader of the packets.
#[derive(Debug)]
pub(super) struct Packets {
    direction: Direction,
    state: State,
    /// Bytes of the current body, or of its current partial chunk, still to come.
    remaining: u64,
    /// Whether another length follows the current chunk.
    partial: bool,
    kind: Kind,
    /// The body of a small packet; of the encrypted data its first bytes.
    kept: Vec<u8>,
    /// Bytes of the encrypted data so far, as announced by its lengths.
    announced: u64,
    /// Version of the encrypted data, once they have ended.
    seipd: Option<u8>,
    generation: Option<Generation>,
    packets: u32,
    session_key_bytes: u64,
    /// How many of them are printable ASCII.
    session_key_text: u64,
    padding_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next byte is a packet header.
    Header,
    /// The next byte begins a length in the OpenPGP format (RFC 9580 section 4.2.1).
    Length,
    /// `left` octets of a length are still to come.
    LengthOctets { left: u8, value: u32, two: bool },
    /// In a body.
    Body,
    /// The encrypted data have ended, and the packet after them, if there is one.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PublicKey,
    SymmetricKey,
    Marker,
    Padding,
    Encrypted,
}

/// RFC 9580 section 4.2.1.4: the first partial body is at least this long.
const FIRST_PARTIAL: u64 = 512;

/// Version, one block and two octets of a 64-bit cipher, the smallest packet, and the
/// modification detection code (RFC 9580 section 5.13.1).
const MINIMUM_V1: u64 = 1 + 10 + 8 + 22;

/// Version, cipher, mode, chunk size, salt, the smallest packet in one chunk with its tag, and
/// the final tag (RFC 9580 section 5.13.2).
const MINIMUM_V2: u64 = 4 + 32 + 8 + 16 + 16;

/// What is looked at of the encrypted data: version, cipher, AEAD mode, chunk size.
const FIXED_FIELDS: usize = 4;

/// The largest session key packet that can be: two ElGamal numbers of 16384 bits.
const LARGEST_KEPT: u64 = 4200;

impl Packets {
    /// `spare` is empty memory to work in.
    pub(super) fn new(direction: Direction, spare: Vec<u8>) -> Packets {
        Packets {
            direction,
            state: State::Header,
            remaining: 0,
            partial: false,
            kind: Kind::Marker,
            kept: spare,
            announced: 0,
            seipd: None,
            generation: None,
            packets: 0,
            session_key_bytes: 0,
            session_key_text: 0,
            padding_bytes: 0,
        }
    }

    /// The data have ended. Returns the version of the encrypted data.
    pub(super) fn finish(&self) -> Result<u8, Reason> {
        match (self.state, self.seipd) {
            (State::End, Some(version)) => Ok(version),
            _ => Err(Reason::Packet),
        }
    }

    fn header(&mut self, byte: u8) -> Result<(), Reason> {
        self.packets += 1;
        if self.packets > limits::PACKETS {
            return Err(Reason::SessionKeyPacket);
        }
        // RFC 9580 section 4.2: bit 7 always set, bit 6 tells the format.
        let (packet_type, octets) = match byte {
            0xc0..=0xff => (byte & 0x3f, None),
            0x80..=0xbf => ((byte >> 2) & 0x0f, Some(byte & 3)),
            _ => return Err(Reason::Packet),
        };
        self.kind = match packet_type {
            // RFC 9580 section 5.14: implementations ignore it wherever it stands.
            21 if self.seipd.is_some() && self.direction == Direction::Incoming => Kind::Padding,
            _ if self.seipd.is_some() => return Err(Reason::Packet),
            1 => Kind::PublicKey,
            3 => Kind::SymmetricKey,
            10 => Kind::Marker,
            18 => Kind::Encrypted,
            21 => Kind::Padding,
            _ => return Err(Reason::Packet),
        };
        self.kept.clear();
        let value = 0;
        let two = false;
        self.state = match octets {
            None => State::Length,
            Some(0) => State::LengthOctets {
                left: 1,
                value,
                two,
            },
            Some(1) => State::LengthOctets {
                left: 2,
                value,
                two,
            },
            Some(2) => State::LengthOctets {
                left: 4,
                value,
                two,
            },
            // Indeterminate: to the end of the data, whatever follows.
            _ => return Err(Reason::Packet),
        };
        Ok(())
    }

    fn length(&mut self, byte: u8) -> Result<(), Reason> {
        match byte {
            0..192 => self.body_begins(u64::from(byte), false),
            192..224 => {
                self.state = State::LengthOctets {
                    left: 1,
                    value: u32::from(byte - 192),
                    two: true,
                };
                Ok(())
            }
            224..255 => self.body_begins(1 << (byte & 0x1f), true),
            255 => {
                self.state = State::LengthOctets {
                    left: 4,
                    value: 0,
                    two: false,
                };
                Ok(())
            }
        }
    }

    /// A body begins, or its next chunk.
    fn body_begins(&mut self, length: u64, partial: bool) -> Result<(), Reason> {
        let first = !self.partial;
        self.partial = partial;
        self.remaining = length;
        self.state = State::Body;
        match self.kind {
            Kind::Encrypted => {
                if first {
                    self.announced = 0;
                    if partial && length < FIRST_PARTIAL {
                        return Err(Reason::Packet);
                    }
                }
                self.announced += length;
            }
            Kind::PublicKey | Kind::SymmetricKey => {
                self.session_key_bytes += length;
                let too_many = self.session_key_bytes > limits::SESSION_KEY_BYTES;
                if partial || length > LARGEST_KEPT || too_many {
                    return Err(Reason::SessionKeyPacket);
                }
            }
            Kind::Marker | Kind::Padding => {
                self.padding_bytes += length;
                if partial || self.padding_bytes > limits::PADDING_BYTES {
                    return Err(Reason::Packet);
                }
            }
        }
        if length == 0 {
            return self.body_ends();
        }
        if self.kind != Kind::Encrypted {
            self.kept.reserve(length as usize);
        }
        Ok(())
    }

    /// Keeps what is looked at of the current body; returns how many bytes that were.
    fn keep(&mut self, bytes: &[u8]) -> u64 {
        let wanted = match self.kind {
            Kind::Encrypted => (FIXED_FIELDS - self.kept.len()) as u64,
            _ => u64::MAX,
        };
        let count = wanted.min(self.remaining).min(bytes.len() as u64);
        let (kept, _) = bytes.split_at(count as usize);
        self.kept.extend_from_slice(kept);
        count
    }

    fn body_ends(&mut self) -> Result<(), Reason> {
        if self.partial {
            self.state = State::Length;
            return Ok(());
        }
        self.state = State::Header;
        let generation = match self.kind {
            Kind::PublicKey => session_key::public_key(&self.kept),
            Kind::SymmetricKey => session_key::symmetric_key(&self.kept),
            Kind::Marker if self.kept == b"PGP" => return Ok(()),
            // RFC 9580 section 5.14: random bytes.
            Kind::Padding if session_key::is_no_text(&self.kept) => {
                if self.seipd.is_some() {
                    self.state = State::End;
                }
                return Ok(());
            }
            Kind::Marker | Kind::Padding => return Err(Reason::Packet),
            Kind::Encrypted => {
                self.state = State::End;
                return self.encrypted_data();
            }
        };
        let generation = generation.ok_or(Reason::SessionKeyPacket)?;
        self.session_key_text += session_key::printable(&self.kept);
        let sample = self.session_key_bytes >= limits::PRINTABLE_SAMPLE;
        if sample && self.session_key_text / 3 >= self.session_key_bytes / 4 {
            return Err(Reason::SessionKeyPacket);
        }
        // RFC 9580 section 10.3.2.1: the two families never meet in one message.
        if *self.generation.get_or_insert(generation) != generation {
            return Err(Reason::SessionKeyPacket);
        }
        Ok(())
    }

    fn encrypted_data(&mut self) -> Result<(), Reason> {
        self.seipd = self.kept.first().copied();
        let (minimum, generation) = match *self.kept {
            [1, ..] => (MINIMUM_V1, Generation::Classic),
            // Ciphers with blocks of 128 bits only; chunks of 2^6 to 2^22 bytes.
            [2, 7..=13, mode, 0..=16] if session_key::nonce_size(mode).is_some() => {
                (MINIMUM_V2, Generation::Modern)
            }
            _ => return Err(Reason::Packet),
        };
        let fits = self.generation.is_none_or(|keys| keys == generation);
        match self.announced >= minimum && fits {
            true => Ok(()),
            false => Err(Reason::Packet),
        }
    }
}

impl Sink for Packets {
    /// How many of the next bytes are ciphertext.
    fn skippable(&self) -> u64 {
        let fixed_fields_seen = self.kept.len() == FIXED_FIELDS;
        match (self.state, self.kind) {
            (State::Body, Kind::Encrypted) if fixed_fields_seen => self.remaining,
            _ => 0,
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), Reason> {
        self.remaining -= count;
        if self.remaining == 0 {
            self.body_ends()?;
        }
        Ok(())
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Header | State::End => {
                    self.header(byte)?;
                    bytes = rest;
                }
                State::Length => {
                    self.length(byte)?;
                    bytes = rest;
                }
                State::LengthOctets { left, value, two } => {
                    let value = (value << 8) | u32::from(byte);
                    if left > 1 {
                        let left = left - 1;
                        self.state = State::LengthOctets { left, value, two };
                    } else {
                        let offset = if two { 192 } else { 0 };
                        self.body_begins(u64::from(value) + offset, false)?;
                    }
                    bytes = rest;
                }
                State::Body => {
                    let skippable = self.skippable();
                    let count = if skippable > 0 {
                        skippable.min(bytes.len() as u64)
                    } else {
                        self.keep(bytes)
                    };
                    let (_, rest) = bytes.split_at(count as usize);
                    bytes = rest;
                    self.skip(count)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> Result<(), Reason> {
        read_as(Direction::Outgoing, data)
    }

    fn read_as(direction: Direction, data: &[u8]) -> Result<(), Reason> {
        let mut packets = Packets::new(direction, Vec::new());
        packets.push(data)?;
        let version = packets.finish()?;
        // However it is cut, the answer is the same.
        let mut bytewise = Packets::new(direction, Vec::new());
        for byte in data {
            bytewise.push(&[*byte])?;
        }
        assert_eq!(bytewise.finish(), Ok(version));
        Ok(())
    }

    fn v1(size: usize) -> Vec<u8> {
        let mut body = vec![0xa5; size];
        body[0] = 1;
        body
    }

    fn packet(packet_type: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc0 | packet_type, 255];
        packet.extend((body.len() as u32).to_be_bytes());
        packet.extend(body);
        packet
    }

    const SKESK: [u8; 4] = [4, 9, 0, 8];

    #[test]
    fn lengths_of_every_form_are_read() {
        let body = v1(100);
        let one = [&[0xd2, 100][..], &body].concat();
        assert_eq!(read(&one), Ok(()));
        assert_eq!(read(&packet(18, &body)), Ok(()));
        let body = v1(192 + 256 + 3);
        assert_eq!(read(&[&[0xd2, 193, 3][..], &body].concat()), Ok(()));
        // Old format: tag 3 with one, two and four octets.
        for header in [&[0x8c, 4][..], &[0x8d, 0, 4], &[0x8e, 0, 0, 0, 4]] {
            assert_eq!(read(&[header, &SKESK, &one].concat()), Ok(()));
        }
        let indeterminate = [&[0x8f][..], &SKESK, &one].concat();
        assert_eq!(read(&indeterminate), Err(Reason::Packet));
    }

    #[test]
    fn partial_lengths_are_for_encrypted_data_and_begin_with_512() {
        let partial = |exponent: u8| {
            let mut data = vec![0xd2, 0xe0 | exponent];
            data.extend(v1(1 << exponent));
            data.extend([0xe0, 7, 3, 7, 7, 7]);
            data
        };
        assert_eq!(read(&partial(9)), Ok(()));
        assert_eq!(read(&partial(8)), Err(Reason::Packet));
        let unfinished = [&[0xd2, 0xe9][..], &v1(512)].concat();
        assert_eq!(read(&unfinished), Err(Reason::Packet));
        let skesk = [&[0xc3, 0xe2][..], &SKESK, &[0], &packet(18, &v1(99))].concat();
        assert_eq!(read(&skesk), Err(Reason::SessionKeyPacket));
    }

    #[test]
    fn encrypted_data_come_once_and_end_at_the_end() {
        let data = packet(18, &v1(99));
        assert_eq!(read(&data), Ok(()));
        assert_eq!(read(b""), Err(Reason::Packet));
        assert_eq!(read(&data.repeat(2)), Err(Reason::Packet));
        assert_eq!(read(&[&data[..], b"\n"].concat()), Err(Reason::Packet));
        assert_eq!(read(&data[..data.len() - 1]), Err(Reason::Packet));
        let skesk_last = [&data[..], &packet(3, &SKESK)].concat();
        assert_eq!(read(&skesk_last), Err(Reason::Packet));
        assert_eq!(read(&packet(3, &SKESK)), Err(Reason::Packet));
    }

    #[test]
    fn encrypted_data_that_hold_nothing_or_are_of_no_known_version_are_refused() {
        assert_eq!(read(&packet(18, b"")), Err(Reason::Packet));
        assert_eq!(read(&packet(18, &[1])), Err(Reason::Packet));
        assert_eq!(read(&packet(18, &v1(40))), Err(Reason::Packet));
        assert_eq!(read(&packet(18, &v1(41))), Ok(()));
        for version in [0, 3, 4, 255] {
            let mut body = v1(99);
            body[0] = version;
            assert_eq!(read(&packet(18, &body)), Err(Reason::Packet));
        }
        let v2 = |fields: [u8; 4], size: usize| {
            let mut body = vec![0xa5; size];
            body[..4].copy_from_slice(&fields);
            read(&packet(18, &body))
        };
        assert_eq!(v2([2, 9, 2, 6], 76), Ok(()));
        assert_eq!(v2([2, 9, 2, 6], 75), Err(Reason::Packet));
        assert_eq!(v2([2, 3, 2, 6], 99), Err(Reason::Packet), "CAST5");
        assert_eq!(v2([2, 9, 4, 6], 99), Err(Reason::Packet), "no AEAD mode");
        assert_eq!(v2([2, 9, 2, 17], 99), Err(Reason::Packet), "chunk size");
    }

    #[test]
    fn old_session_keys_never_meet_new_encrypted_data() {
        let mut v2 = vec![0xa5; 99];
        v2[..4].copy_from_slice(&[2, 9, 2, 6]);
        let mixed = [packet(3, &SKESK), packet(18, &v2)].concat();
        assert_eq!(read(&mixed), Err(Reason::Packet));
    }

    #[test]
    fn marker_and_padding_are_passed_over_if_they_carry_no_text() {
        const MOST: usize = limits::PADDING_BYTES as usize;
        let data = packet(18, &v1(99));
        let with =
            |packet_type, body: &[u8]| read(&[packet(packet_type, body), data.clone()].concat());
        assert_eq!(with(10, b"PGP"), Ok(()));
        assert_eq!(with(10, b"PGp"), Err(Reason::Packet));
        assert_eq!(with(10, b""), Err(Reason::Packet));
        assert_eq!(with(21, &[0x95; 300]), Ok(()));
        assert_eq!(with(21, b""), Ok(()));
        assert_eq!(with(21, &[b'a'; 300]), Err(Reason::Packet));
        assert_eq!(with(21, &[0x95; MOST]), Ok(()));
        assert_eq!(with(21, &[0x95; MOST + 1]), Err(Reason::Packet));
    }

    #[test]
    fn padding_behind_the_data_passes_in_incoming_mail_and_nothing_else_does() {
        let data = packet(18, &v1(99));
        let behind = |direction, packets: &[u8]| read_as(direction, &[&data, packets].concat());
        let incoming = |packets: &[u8]| behind(Direction::Incoming, packets);
        let padding = packet(21, &[0x95; 300]);
        assert_eq!(incoming(&padding), Ok(()));
        assert_eq!(incoming(&packet(21, b"")), Ok(()));
        assert_eq!(incoming(&padding.repeat(2)), Ok(()));
        assert_eq!(behind(Direction::Outgoing, &padding), Err(Reason::Packet));
        let (cut, _) = padding.split_at(padding.len() - 1);
        assert_eq!(incoming(cut), Err(Reason::Packet));
        let (header, _) = padding.split_at(1);
        assert_eq!(incoming(header), Err(Reason::Packet));
        for other in [
            packet(21, &[b'a'; 300]),
            packet(21, &[0x95; 5000]),
            padding.repeat(20),
            packet(10, b"PGP"),
            packet(3, &SKESK),
            data.clone(),
            [&padding, &data[..]].concat(),
            [&padding, &b"\n"[..]].concat(),
            packet(11, &v1(99)),
        ] {
            assert_eq!(incoming(&other), Err(Reason::Packet), "{other:x?}");
        }
        let partial = [&[0xd5, 0xe9][..], &[0x95; 512], &[0]].concat();
        assert_eq!(incoming(&partial), Err(Reason::Packet));
    }

    #[test]
    fn other_packets_are_refused() {
        let data = packet(18, &v1(99));
        for packet_type in [0, 2, 4, 5, 6, 8, 9, 11, 12, 13, 19, 20, 60, 63] {
            let before = [packet(packet_type, b"PGP"), data.clone()].concat();
            assert_eq!(read(&before), Err(Reason::Packet), "{packet_type}");
            assert_eq!(read(&packet(packet_type, &v1(99))), Err(Reason::Packet));
        }
        assert_eq!(read(b"readable"), Err(Reason::Packet));
    }

    #[test]
    fn ten_thousand_session_keys_are_refused() {
        let few = [packet(3, &SKESK).repeat(2000), packet(18, &v1(99))].concat();
        assert_eq!(read(&few), Ok(()));
        let many = [packet(3, &SKESK).repeat(10_000), packet(18, &v1(99))].concat();
        assert_eq!(read(&many), Err(Reason::SessionKeyPacket));
        let mut megabyte = Vec::new();
        let rsa = [&[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x40, 0][..], &[0x95; 2048]].concat();
        for _ in 0..600 {
            megabyte.extend(packet(1, &rsa));
        }
        megabyte.extend(packet(18, &v1(99)));
        assert_eq!(read(&megabyte), Err(Reason::SessionKeyPacket));
    }
}
