use super::*;
use crate::protocol::Offer;
use chatmail_core::config::Config;
use proptest::prelude::*;

const NEGOTIATION: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

fn policy() -> Arc<Policy> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chatmail.ini");
    std::fs::write(&file, "[params]\nmail_domain = chat.test\ndkim = false\n").unwrap();
    Arc::new(Policy::new(&Config::load(&file).unwrap()).unwrap())
}

/// All answers, and how it ended.
fn talk(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<Flow, ProtocolError>) {
    let mut conversation = Conversation::new(Route::Outgoing, policy());
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut from = 0;
    for end in ends {
        match conversation.receive(&stream[from..end]) {
            Ok(Flow::Open) => from = end,
            over => return (conversation.answers().to_vec(), over),
        }
    }
    (conversation.answers().to_vec(), Ok(Flow::Open))
}

fn frame(command: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes(), [command].as_slice(), payload].concat()
}

#[test]
fn before_negotiation_there_is_nothing_but_an_end() {
    assert_eq!(talk(&frame(b'Q', b""), &[]), (vec![], Ok(Flow::Closed)));
    for command in b"MRLNETACHDK" {
        let payload: &[u8] = match command {
            b'M' | b'R' | b'L' => b"a\0b\0",
            b'C' => b"a\0U",
            b'D' => b"M",
            _ => b"",
        };
        let (answers, end) = talk(&frame(*command, payload), &[]);
        assert!(answers.is_empty());
        assert!(end.is_err(), "{:?}", char::from(*command));
    }
}

#[test]
fn a_login_counts_for_the_one_sender_that_it_came_with() {
    let login = frame(b'D', b"M{auth_authen}\0alice@chat.test\0");
    let message = [
        frame(b'M', b"<alice@chat.test>\0"),
        frame(b'R', b"<carol@elsewhere.test>\0"),
        frame(b'A', b""),
    ]
    .concat();
    for (logins, refused) in [([&login[..], &login], 0), ([&login, b""], 1)] {
        let [first, second] = logins;
        let stream = [NEGOTIATION, first, &message, second, &message].concat();
        let (answers, _) = talk(&stream, &[]);
        let code = b"530 5.7.0";
        let codes = answers.windows(code.len()).filter(|window| window == code);
        assert_eq!(codes.count(), refused);
    }
}

#[test]
fn an_edit_that_cannot_be_expressed_defers_the_message() {
    let mut answers = Answers::default();
    let changes = Changes {
        edits: vec![HeaderEdit::Delete {
            name: "a:b".to_owned(),
            index: 1,
        }],
        ..Changes::default()
    };
    let agreed = Offer {
        version: 6,
        actions: 0x1ff,
        steps: 0x1f_ffff,
    };
    accept(&changes, agreed.accept(0).unwrap(), &mut answers);
    assert_eq!(answers.octets()[4], b'y');
    assert!(answers.octets()[5..].starts_with(b"451 4.3.0 "));
}

#[test]
fn a_queue_id_is_no_place_for_other_text() {
    assert_eq!(
        readable_queue_id(b"4DFF6990062").as_deref(),
        Some("4DFF6990062")
    );
    for wrong in [b"".as_slice(), b"a b", b"a\nb", b"\xff", &[b'a'; 65]] {
        assert_eq!(readable_queue_id(wrong), None);
    }
}

/// Frames as an MTA sends them, in an order that only sometimes makes sense.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        4 => Just(frame(b'D', b"M{auth_authen}\0alice@chat.test\0")),
        4 => Just(frame(b'M', b"<alice@chat.test>\0")),
        2 => Just(frame(b'C', b"mx.test\x004\0\x19192.0.2.1\0")),
        4 => Just(frame(b'R', b"<bob@chat.test>\0")),
        4 => Just(frame(b'L', b"From\0alice@chat.test\0")),
        4 => Just(frame(b'N', b"")),
        4 => Just(frame(b'B', b"text\r\n")),
        4 => Just(frame(b'E', b"")),
        2 => Just(frame(b'A', b"")),
        2 => Just(frame(b'K', b"")),
        2 => Just(frame(b'D', b"Ei\x004DFF6990062\0")),
        1 => Just(frame(b'Q', b"")),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(c, p)| frame(c, &p)),
    ];
    prop::collection::vec(frame, 0..40).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_conversation_ends_well_and_the_same_wherever_it_is_cut(frames in frames(), cuts in prop::collection::vec(any::<usize>(), 0..10)) {
        let stream = [NEGOTIATION, &frames].concat();
        let whole = talk(&stream, &[]);
        prop_assert_eq!(talk(&stream, &cuts), whole);
    }

    #[test]
    fn any_octets_after_negotiation_end_well(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = talk(&[NEGOTIATION, &octets].concat(), &[]);
    }
}
