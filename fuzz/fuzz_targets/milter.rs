//! Frames and commands of the milter protocol: however the bytes are cut, the same comes out.

#![no_main]

use chatmail_milter::protocol::{Command, Decoder, Piece};
use libfuzzer_sys::fuzz_target;

/// All that came, in words: octets of the body added up to the next frame, and the first error.
fn decoded(chunks: &[&[u8]]) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut came = Vec::new();
    let mut body = Vec::new();
    for mut chunk in chunks.iter().copied() {
        loop {
            match decoder.next(&mut chunk) {
                Ok(Some(Piece::Body(octets))) => body.extend_from_slice(octets),
                Ok(Some(Piece::Frame { command, payload })) => {
                    let read = Command::parse(command, payload);
                    came.push(format!("{body:?} {command} {read:?}"));
                    body.clear();
                }
                Ok(None) => break,
                Err(why) => {
                    came.push(format!("{body:?} {why:?}"));
                    return came;
                }
            }
        }
    }
    came.push(format!("{body:?}"));
    came
}

fuzz_target!(|input: &[u8]| {
    let whole = decoded(&[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(whole, decoded(&bytes));
    let pieces: Vec<&[u8]> = input.chunks(7).collect();
    assert_eq!(whole, decoded(&pieces));
});
