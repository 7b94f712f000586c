//! What holds for every message: cuts change nothing, nothing panics, inserted text is refused, and
//! whatever another parser can read is refused.

mod common;
mod generate;
mod oracle;

use chatmail_core::filter::{Direction, MessageFilter, Verdict};
use generate::corpus::{self, Expected};
use generate::{any_of_the_corpus, changed, changes, encrypted_of_the_corpus};
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn directions() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Outgoing, Direction::Incoming])
}

#[test]
fn another_parser_reads_text_in_many_messages_of_the_corpus_and_all_are_refused() {
    let mut read = 0;
    for row in corpus::rows() {
        let message = row.message();
        if message.len() > 100_000 {
            continue;
        }
        if let Some(text) = oracle::readable(Direction::Incoming, &message) {
            read += 1;
            let encrypted = Expected::Accepted("encrypted".to_owned());
            assert_ne!(row.expected, encrypted, "{}: {text}", row.name);
        }
    }
    assert!(read > 50, "the other parser reads text in {read} messages");
}

#[test]
fn reports_of_the_corpus_pass_and_another_parser_reads_them_alike() {
    let passes = |row: &corpus::Row| oracle::examine_report(&row.message());
    let rows = corpus::rows();
    let reports = rows.iter().filter(|row| row.name.contains("report"));
    let passed = reports.filter(|row| passes(row)).count();
    assert!(passed > 20, "{passed} reports pass");
}

/// How many messages each property is tried on; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn cutting_a_message_anywhere_never_changes_the_verdict(
        message in prop_oneof![1 => any_of_the_corpus(), 1 => generate::messages()],
        changes in changes(),
        direction in directions(),
        cuts in proptest::collection::vec(any::<Index>(), 0..8),
    ) {
        let message = changed(&message, &changes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = common::verdict_cut(direction, corpus::OPEN, &message, &[]);
        let cut = common::verdict_cut(direction, corpus::OPEN, &message, &cuts);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn a_report_that_passes_has_nothing_to_read_but_short_text_fields_and_a_header(
        report in generate::reports_of_the_corpus(),
        changes in changes(),
    ) {
        oracle::examine_report(&changed(&report, &changes));
    }

    #[test]
    fn what_another_reader_finds_in_it_is_refused(
        message in generate::messages(),
        direction in directions(),
    ) {
        let verdict = oracle::whole(direction, &message);
        let objection = oracle::objection(direction, &message, &verdict);
        prop_assert!(objection.is_none(), "{objection:?} {verdict:?}\n{}", String::from_utf8_lossy(&message));
    }

    #[test]
    fn text_put_anywhere_into_an_encrypted_body_is_refused(
        message in encrypted_of_the_corpus(),
        text in select(&["Attack at dawn.", "Attack at dawn.\r\n", "\r\nAttack at dawn.\r\n", "\r\n\r\nAttack at dawn."][..]),
        at in any::<Index>(),
        direction in directions(),
    ) {
        let body = message.windows(4).position(|window| window == b"\r\n\r\n").expect("a body") + 4;
        let at = body + at.index(message.len() - body + 1);
        let with = [&message[..at], text.as_bytes(), &message[at..]].concat();
        let verdict = common::verdict(direction, &with);
        // Inside a header of the armor, text beside text makes no difference.
        let line_start = message[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let keys = ["Version: G", "Comment: ", "Hash: ", "Charset: ", "MessageID: ", "Text: ", "X-Tool: "];
        let in_comment = keys.iter().any(|key| message[line_start..].starts_with(key.as_bytes()));
        prop_assert!(in_comment || matches!(verdict, Verdict::Refused(_)), "{}", String::from_utf8_lossy(&with));
    }

    #[test]
    fn no_bytes_and_no_order_of_calls_panic_or_pass(
        calls in proptest::collection::vec((0..5, proptest::collection::vec(any::<u8>(), 0..200)), 0..20),
        direction in directions(),
    ) {
        let mut filter = MessageFilter::new(common::origin(direction), common::ALICE);
        for (call, bytes) in &calls {
            match call {
                0 => filter.recipient(bytes),
                1 => filter.header(b"Content-Type", bytes),
                2 => filter.header(bytes, b"multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b"),
                3 => filter.end_of_headers(),
                _ => filter.body(bytes),
            }
        }
        let verdict = filter.finish(&common::mailboxes()).expect("decided");
        prop_assert!(matches!(verdict, Verdict::Refused(_)));
    }
}
