//! Frames out of a byte stream that may be cut anywhere.

use super::{ProtocolError, command};

/// Octets, command included. Postfix passes header fields up to `header_size_limit`, 102,400 by
/// default; relays that raised it have room here.
pub const MAX_FRAME: u32 = 512 * 1024;

/// Octets, command included. Postfix and libmilter send 65,535; the largest size an MTA may
/// offer is 1 MiB. These frames are never held, so the bound only catches garbage.
pub const MAX_BODY_FRAME: u32 = 1024 * 1024 + 1;

/// More capacity than this is given back after a frame that needed it.
const KEEP: usize = 4096;

/// What the decoder found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Octets of a message body, as they come in.
    Body(&'a [u8]),
    /// A whole frame. A body frame's payload has come as [`Piece::Body`] before, and so has that of
    /// an end-of-message frame, which may carry the last of the body: here it is empty.
    Frame {
        /// The command octet.
        command: u8,
        /// What follows it.
        payload: &'a [u8],
    },
}

/// Cuts a byte stream into frames.
///
/// Body octets pass through without being stored; any other frame is stored only if it does not lie
/// in the input as a whole. An idle decoder owns at most 4 KiB.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    stored: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Within the length and the command octet.
    Head { octets: [u8; 5], have: usize },
    /// Within a payload that is stored.
    Payload { command: u8, missing: usize },
    /// Within a payload that passes through.
    Body { command: u8, missing: usize },
    /// The stored payload was handed out and is of no more use.
    Delivered,
}

impl State {
    const START: State = State::Head {
        octets: [0; 5],
        have: 0,
    };
}

impl Default for State {
    fn default() -> State {
        State::START
    }
}

impl Decoder {
    /// At the start of a stream.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// The next piece of `input`, which is moved on behind it. `None`: all of it is consumed.
    ///
    /// # Errors
    ///
    /// The stream is no sequence of frames, or one is too long. Decoding cannot go on.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'a>>, ProtocolError> {
        loop {
            match self.state {
                State::Delivered => {
                    self.stored.clear();
                    self.stored.shrink_to(KEEP);
                    self.state = State::START;
                }
                State::Head {
                    mut octets,
                    mut have,
                } => {
                    let taken = take(input, octets.len() - have);
                    if taken.is_empty() {
                        return Ok(None);
                    }
                    for (to, from) in octets.iter_mut().skip(have).zip(taken) {
                        *to = *from;
                    }
                    have += taken.len();
                    let [a, b, c, d, command] = octets;
                    let length = u32::from_be_bytes([a, b, c, d]);
                    // Before the command octet, which an empty frame does not have.
                    if have >= 4 {
                        check_length(length)?;
                    }
                    if have < octets.len() {
                        self.state = State::Head { octets, have };
                        continue;
                    }
                    let missing = payload_length(length, command)?;
                    if is_body(command) {
                        self.state = State::Body { command, missing };
                    } else if input.len() >= missing {
                        self.state = State::START;
                        let payload = take(input, missing);
                        return Ok(Some(Piece::Frame { command, payload }));
                    } else {
                        self.state = State::Payload { command, missing };
                    }
                }
                State::Payload { command, missing } => {
                    let taken = take(input, missing);
                    if taken.is_empty() {
                        return Ok(None);
                    }
                    self.stored.extend_from_slice(taken);
                    if taken.len() < missing {
                        let missing = missing - taken.len();
                        self.state = State::Payload { command, missing };
                    } else {
                        self.state = State::Delivered;
                        let payload = &self.stored;
                        return Ok(Some(Piece::Frame { command, payload }));
                    }
                }
                State::Body {
                    command,
                    missing: 0,
                } => {
                    self.state = State::START;
                    return Ok(Some(Piece::Frame {
                        command,
                        payload: &[],
                    }));
                }
                State::Body { command, missing } => {
                    let taken = take(input, missing);
                    if taken.is_empty() {
                        return Ok(None);
                    }
                    self.state = State::Body {
                        command,
                        missing: missing - taken.len(),
                    };
                    return Ok(Some(Piece::Body(taken)));
                }
            }
        }
    }
}

fn is_body(command: u8) -> bool {
    command == command::BODY || command == command::END_OF_MESSAGE
}

fn check_length(length: u32) -> Result<(), ProtocolError> {
    match length {
        0 => Err(ProtocolError::EmptyFrame),
        1..=MAX_BODY_FRAME => Ok(()),
        _ => Err(ProtocolError::FrameTooLong { length }),
    }
}

fn payload_length(length: u32, command: u8) -> Result<usize, ProtocolError> {
    let most = if is_body(command) {
        MAX_BODY_FRAME
    } else {
        MAX_FRAME
    };
    if length > most {
        return Err(ProtocolError::FrameTooLong { length });
    }
    // `check_length` saw at least 1, for the command octet.
    Ok(length.saturating_sub(1) as usize)
}

/// Takes up to `most` octets off the front of `input`.
fn take<'i>(input: &mut &'i [u8], most: usize) -> &'i [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces in an owned form, neighbouring body pieces joined.
    #[derive(Debug, PartialEq, Eq, Clone)]
    enum Owned {
        Body(Vec<u8>),
        Frame(u8, Vec<u8>),
    }

    fn decode(stream: &[u8], cuts: &[usize]) -> (Vec<Owned>, Option<ProtocolError>) {
        let mut decoder = Decoder::new();
        let mut pieces: Vec<Owned> = Vec::new();
        let mut from = 0;
        let mut ends: Vec<usize> = cuts.iter().map(|c| c % (stream.len() + 1)).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        for end in ends {
            let mut input = &stream[from..end];
            from = end;
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(Piece::Body(part))) => match pieces.last_mut() {
                        Some(Owned::Body(whole)) => whole.extend_from_slice(part),
                        _ => pieces.push(Owned::Body(part.to_vec())),
                    },
                    Ok(Some(Piece::Frame { command, payload })) => {
                        pieces.push(Owned::Frame(command, payload.to_vec()));
                    }
                    Ok(None) => break,
                    Err(e) => return (pieces, Some(e)),
                }
            }
            assert!(input.is_empty(), "input left behind");
        }
        (pieces, None)
    }

    fn frame(command: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(payload.len() + 1)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        out.push(command);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_body_frame_comes_as_its_octets_and_then_as_an_empty_frame() {
        let (pieces, error) = decode(&frame(b'B', b"text"), &[]);
        assert_eq!(error, None);
        assert_eq!(
            pieces,
            [
                Owned::Body(b"text".to_vec()),
                Owned::Frame(b'B', Vec::new())
            ]
        );
    }

    #[test]
    fn an_end_of_message_may_carry_the_last_of_the_body() {
        let (pieces, _) = decode(&frame(b'E', b"end"), &[2, 6]);
        assert_eq!(
            pieces,
            [Owned::Body(b"end".to_vec()), Owned::Frame(b'E', Vec::new())]
        );
    }

    #[test]
    fn a_frame_without_a_command_is_an_error() {
        assert_eq!(
            decode(&[0, 0, 0, 0], &[]).1,
            Some(ProtocolError::EmptyFrame)
        );
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_stored() {
        assert_eq!(
            decode(&[0xff, 0xff, 0xff, 0xff], &[]).1,
            Some(ProtocolError::FrameTooLong { length: u32::MAX })
        );
        let mut header = (MAX_FRAME + 1).to_be_bytes().to_vec();
        header.push(b'L');
        assert!(matches!(
            decode(&header, &[]).1,
            Some(ProtocolError::FrameTooLong { .. })
        ));
        let mut body = MAX_BODY_FRAME.to_be_bytes().to_vec();
        body.push(b'B');
        assert_eq!(decode(&body, &[]).1, None);
    }

    #[test]
    fn a_large_frame_leaves_no_memory_behind() {
        let stream = frame(b'L', &vec![b'x'; 100_000]);
        let mut decoder = Decoder::new();
        let (mut first, mut second) = stream.split_at(50_000);
        assert!(decoder.next(&mut first).unwrap().is_none());
        assert!(decoder.next(&mut second).unwrap().is_some());
        assert!(decoder.next(&mut second).unwrap().is_none());
        assert!(decoder.stored.capacity() <= KEEP);
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let command = prop::sample::select(b"ABCDEHKLMNOQRTUx".as_slice());
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        prop::collection::vec((command, payload), 0..12)
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_pieces(frames in frames(), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
            let stream: Vec<u8> = frames.iter().flat_map(|(c, p)| frame(*c, p)).collect();
            let whole = decode(&stream, &[]);
            prop_assert_eq!(&decode(&stream, &cuts), &whole);
            prop_assert_eq!(whole.1, None);
            let payload: usize = whole.0.iter().map(|p| match p { Owned::Body(b) | Owned::Frame(_, b) => b.len() }).sum();
            prop_assert_eq!(payload, frames.iter().map(|(_, p)| p.len()).sum::<usize>());
        }

        #[test]
        fn any_octets_end_in_pieces_or_an_error(stream in prop::collection::vec(any::<u8>(), 0..4096), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            prop_assert_eq!(decode(&stream, &[]), decode(&stream, &cuts));
        }

        #[test]
        fn small_lengths_of_garbage_end_in_pieces_or_an_error(stream in prop::collection::vec(0u8..4, 0..4096), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            prop_assert_eq!(decode(&stream, &[]), decode(&stream, &cuts));
        }
    }
}
