//! Time of one check against a whole-message check: MIME parse, base64 decode, packet walk.
//!
//! `cargo xtask bench check`, or `cargo bench -p chatmail-core --bench check -- --only 3000`. Rounds
//! of both alternate; medians are printed. Read them as ratios.

use std::hint::black_box;

use base64::Engine;
use chatmail_core::address::MailDomain;
use chatmail_core::filter::{MessageFilter, Origin, RawMessage, Verdict};
use chatmail_core::mailbox::Mailboxes;
use mail_parser::{MessageParser, MimeHeaders, PartType};

const SENDER: &str = "alice@chat.test";

/// What Postfix hands a milter at once.
const CHUNK: usize = 65_535;

fn message(size: usize) -> Vec<u8> {
    let mut packets = vec![0xc1, 94, 3];
    packets.extend([0; 8]);
    packets.extend([25]);
    packets.extend((0..32).map(|i: u8| i.wrapping_mul(91) | 0x80));
    packets.extend([50 - 1 - 8, 9]);
    packets.extend((0..40).map(|i: u8| i.wrapping_mul(57) | 0x80));
    packets[1] = (packets.len() - 2) as u8;
    packets.extend([0xd2, 255]);
    let body = (size * 3 / 4).saturating_sub(600).max(100);
    packets.extend((body as u32).to_be_bytes());
    packets.push(1);
    packets.extend((1..body).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    let text = base64::engine::general_purpose::STANDARD.encode(&packets);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "From: <alice@chat.test>\r\nDate: Sun, 15 Nov 2026 16:43:21 +0000\r\n\
         Message-ID: <d5b1f1a1-6a51-4d4b-9b6f-3f6f0d8d7a10@localhost>\r\nMIME-Version: 1.0\r\n\
         Chat-Version: 1.0\r\nSubject: [...]\r\nTo: \"hidden-recipients\": ;\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; \r\n\
         \tboundary=\"18a7c3b2f1d0e9c8\"\r\n\r\n\r\n--18a7c3b2f1d0e9c8\r\n\
         Content-Type: application/pgp-encrypted; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nVersion: 1\r\n\r\n--18a7c3b2f1d0e9c8\r\n\
         Content-Type: application/octet-stream; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n{}\r\n\
         -----END PGP MESSAGE-----\r\n\r\n--18a7c3b2f1d0e9c8--\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}

fn streaming(message: &[u8], mailboxes: &Mailboxes) -> bool {
    let login = SENDER.as_bytes();
    let mut raw = RawMessage::new(MessageFilter::new(Origin::Outgoing { login }, login));
    for chunk in message.chunks(CHUNK) {
        raw.write(chunk);
    }
    matches!(raw.finish(mailboxes), Ok(Verdict::Accepted(_)))
}

/// What a check on top of a MIME parser does: sender, types, the two leaves, armor, packets.
fn whole(message: &[u8], sender: &str) -> bool {
    let Some(parsed) = MessageParser::default().parse(message) else {
        return false;
    };
    let author = parsed.from().and_then(|from| from.first());
    let same = author
        .and_then(|author| author.address())
        .is_some_and(|address| address.eq_ignore_ascii_case(sender));
    let is = |at: usize, kind: &str, subtype: &str| {
        parsed
            .parts
            .get(at)
            .and_then(|part| part.content_type())
            .is_some_and(|found| {
                found.ctype().eq_ignore_ascii_case(kind)
                    && found
                        .subtype()
                        .is_some_and(|found| found.eq_ignore_ascii_case(subtype))
            })
    };
    let typed = parsed.parts.len() == 3
        && is(0, "multipart", "encrypted")
        && is(1, "application", "pgp-encrypted")
        && is(2, "application", "octet-stream");
    let bytes = |at: usize| match parsed.parts.get(at).map(|part| &part.body) {
        Some(PartType::Binary(bytes)) => Some(bytes),
        _ => None,
    };
    let version = bytes(1).is_some_and(|bytes| bytes.trim_ascii() == b"Version: 1");
    if !same || !typed || !version {
        return false;
    }
    let armor = bytes(2);
    let Some(text) = armor.and_then(|armor| std::str::from_utf8(armor).ok()) else {
        return false;
    };
    let text = text
        .trim()
        .trim_start_matches("-----BEGIN PGP MESSAGE-----")
        .trim_end_matches("-----END PGP MESSAGE-----")
        .replace(['\r', '\n'], "");
    let Ok(packets) = base64::engine::general_purpose::STANDARD.decode(text) else {
        return false;
    };
    let mut at = 0;
    while let Some(&header) = packets.get(at) {
        let (length, size) = match packets.get(at + 1..at + 6) {
            Some(&[255, a, b, c, d]) => (u32::from_be_bytes([a, b, c, d]) as usize, 6),
            Some(&[short @ ..192, ..]) => (usize::from(short), 2),
            _ => return false,
        };
        at += size + length;
        if header == 0xd2 {
            return at == packets.len();
        }
    }
    false
}

/// CPU time of this thread in microseconds, which other processes hardly change.
fn cpu_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sizes of messages in bytes, and how many times faster than the baseline the check ought to be.
const TARGETS: [(usize, f64); 5] = [
    (3_000, 6.0),
    (100_000, 20.0),
    (1_000_000, 20.0),
    (10_000_000, 20.0),
    (30_000_000, 20.0),
];

/// Microseconds per message, medians of the rounds; the ratio is the median of each round's.
struct Row {
    bytes: usize,
    baseline: f64,
    check: f64,
    copy: f64,
    ratio: f64,
    target: f64,
}

fn measure(size: usize, target: f64, rounds: usize, mailboxes: &Mailboxes) -> Row {
    let message = message(size);
    assert!(whole(&message, SENDER) && streaming(&message, mailboxes));
    let turns = (20_000_000 / size).clamp(1, 2_000);
    let time = |work: &dyn Fn() -> bool| {
        let start = cpu_time();
        for _ in 0..turns {
            black_box(work());
        }
        (cpu_time() - start) / turns as f64
    };
    let (mut baselines, mut checks, mut copies, mut ratios) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        let baseline = time(&|| whole(black_box(&message), SENDER));
        let check = time(&|| streaming(black_box(&message), mailboxes));
        copies.push(time(&|| black_box(message.clone()).is_empty()));
        ratios.push(baseline / check);
        baselines.push(baseline);
        checks.push(check);
    }
    Row {
        bytes: message.len(),
        baseline: median(baselines),
        check: median(checks),
        copy: median(copies),
        ratio: median(ratios),
        target,
    }
}

/// The argument behind this one.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| word != name).nth(1)
}

fn main() {
    let rounds = argument("--rounds").map_or(9, |text| text.parse().expect("a number"));
    let only: Option<usize> = argument("--only").map(|text| text.parse().expect("a number"));
    let domain = MailDomain::parse("chat.test").expect("a domain");
    let mailboxes = Mailboxes::new("/nonexistent".into(), domain);
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>7} {:>7}",
        "bytes", "baseline µs", "check µs", "memcpy µs", "ratio", "target"
    );
    let mut json = Vec::new();
    for (size, target) in TARGETS {
        if only.is_some_and(|only| only != size) {
            continue;
        }
        let row = measure(size, target, rounds, &mailboxes);
        let (bytes, baseline, check, copy) = (row.bytes, row.baseline, row.check, row.copy);
        let (ratio, target) = (row.ratio, row.target);
        let answer = if ratio >= target { "reached" } else { "missed" };
        println!(
            "{bytes:>10} {baseline:>12.2} {check:>12.2} {copy:>12.2} {ratio:>7.1} {target:>7.0} {answer}"
        );
        json.push(format!(
            "  {{\"bytes\": {bytes}, \"baseline_us\": {baseline:.3}, \"check_us\": {check:.3}, \
             \"memcpy_us\": {copy:.3}, \"ratio\": {ratio:.2}, \"target\": {target}, \
             \"reached\": {}}}",
            ratio >= target
        ));
    }
    if let Some(file) = argument("--json") {
        std::fs::write(file, format!("[\n{}\n]\n", json.join(",\n"))).expect("the file of figures");
    }
}
