//! A check needs the same little memory for every message. Alone in its process, because it
//! measures all of it.

mod common;
#[path = "corpus/mod.rs"]
mod corpus;
mod oracle;

use chatmail_core::filter::{Class, Direction, MessageFilter, RawMessage, Verdict};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The promise, whatever comes.
const LIMIT: usize = 64 * 1024;
/// What a usual message needs at most, its two thousand recipients included.
const USUAL: usize = 32 * 1024;

/// The same for incoming mail.
fn measure<'m>(chunks: impl Iterator<Item = &'m [u8]>) -> (usize, Verdict) {
    measure_as(Direction::Incoming, chunks)
}

/// Bytes the check needed beyond what was there before, and its verdict.
fn measure_as<'m>(
    direction: Direction,
    chunks: impl Iterator<Item = &'m [u8]>,
) -> (usize, Verdict) {
    let mailboxes = common::mailboxes();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let mut message = RawMessage::new(MessageFilter::new(common::origin(direction), common::ALICE));
    for _ in 0..2_000 {
        message.recipient(b"bob.with.a.long.address@chat.test");
    }
    for chunk in chunks {
        message.write(chunk);
    }
    let verdict = message.finish(&mailboxes).expect("decided");
    (ALLOCATOR.peak_usage() - before, verdict)
}

fn leak(text: String) -> &'static [u8] {
    Box::leak(text.into_bytes().into_boxed_slice())
}

#[test]
fn a_check_needs_little_memory_whatever_the_size_of_the_message() {
    // Each line holds 48 bytes of ciphertext.
    const LINES: usize = 500_000;
    let size = (LINES * 48 - 6) as u32;
    let mut first = vec![0xd2, 255];
    first.extend(size.to_be_bytes());
    first.push(1);
    first.resize(48, 0xa5);
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let message = String::from_utf8(common::delta_chat("BEGIN")).expect("ascii");
    let (head, tail) = message.split_once("BEGIN").expect("the place of the armor");
    let head = leak(format!(
        "{head}-----BEGIN PGP MESSAGE-----\r\n\r\n{}\r\n",
        encode(&first)
    ));
    let line = leak(encode(&[0x5a; 48]) + "\r\n");
    let tail = leak(format!("-----END PGP MESSAGE-----{tail}"));
    let lines = std::iter::repeat_n(line, LINES - 1);
    let whole = std::iter::once(head).chain(lines).chain([tail]);
    let (bytes, verdict) = measure(whole);
    let Verdict::Accepted(accepted) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(accepted.class, Class::Encrypted);
    assert!(bytes < USUAL, "{bytes} bytes for 33 MB of ciphertext");

    // The same in base64, where each line of it is torn elsewhere.
    let wrapped = |text: &str| -> String {
        let encoded = encode(text.as_bytes());
        let lines = encoded.as_bytes().chunks(76);
        lines
            .map(|line| format!("{}\r\n", String::from_utf8_lossy(line)))
            .collect()
    };
    let head = String::from_utf8(common::delta_chat("BEGIN")).expect("ascii");
    let (head, tail) = head.split_once("BEGIN").expect("the place of the armor");
    let (head, _) = head.rsplit_once("7bit").expect("there");
    // The header of the armor makes its beginning fill whole quanta.
    let begin = "-----BEGIN PGP MESSAGE-----\r\nHash: abc\r\n\r\n";
    let begin = format!("{begin}{}\r\n", encode(&first));
    let head = leak(format!("{head}base64\r\n\r\n{}", wrapped(&begin)));
    // Lines of 66 characters: 19 of them fill whole lines of 76.
    let lines = |count| (encode(&[0x5a; 48]) + "\r\n").repeat(count);
    let repeated = std::iter::repeat_n(leak(wrapped(&lines(19))), (LINES - 1) / 19);
    let end = lines((LINES - 1) % 19) + "-----END PGP MESSAGE-----\r\n";
    let tail = leak(format!("{}{tail}", wrapped(&end)));
    let (bytes, verdict) = measure(std::iter::once(head).chain(repeated).chain([tail]));
    assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    assert!(bytes < USUAL, "{bytes} bytes for as much in base64");

    // Headers and lines without end.
    for (start, more) in [
        ("X-Text: ", "Attack at dawn. "),
        ("References:", "\r\n attack@dawn"),
        ("", "X: y\r\n"),
        ("", "\r\n"),
        ("Subject: x\r\n", "no colon at all\r\n"),
        (
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n",
            "A",
        ),
        (
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n--b\r\nX: ",
            "y\r\n z",
        ),
        // A line without end inside base64.
        (
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n--b\r\n\
             Content-Type: application/pgp-encrypted\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            "QXR0YWNrIGF0IGRhd24u\r\n",
        ),
    ] {
        let first = leak(format!("From: <alice@chat.test>\r\n{start}"));
        let more = leak(more.repeat(100));
        let chunks = std::iter::once(first).chain(std::iter::repeat_n(more, 10_000));
        let (bytes, verdict) = measure(chunks);
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
        assert!(bytes < LIMIT, "{bytes} bytes behind {start:?}");
    }

    // Names that outgoing mail loses, as long and as many as there can be, before an encrypted body.
    let names: String = (0..248).map(|at| format!("X-{at:0>74}: y\r\n")).collect();
    let encrypted = corpus::rows()
        .into_iter()
        .find(|row| row.name == "delta-chat-v1");
    let encrypted = String::from_utf8(encrypted.expect("a row").message()).expect("ascii");
    let message = leak(names + &encrypted);
    let (bytes, verdict) = measure_as(Direction::Outgoing, message.chunks(65_535));
    let Verdict::Accepted(accepted) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(accepted.edits.len(), 248);
    assert!(bytes < LIMIT, "{bytes} bytes for 248 names to drop");

    // What the corpus has, and what a fuzzer found.
    for row in corpus::rows() {
        let message = row.message();
        let (bytes, _) = measure(message.chunks(65_535));
        assert!(bytes < LIMIT, "{bytes} bytes for {}", row.name);
    }
    for message in oracle::fuzz_corpus() {
        let (bytes, _) = measure(std::iter::once(&*message));
        assert!(
            bytes < LIMIT,
            "{bytes} bytes for {}",
            String::from_utf8_lossy(&message)
        );
    }
}
