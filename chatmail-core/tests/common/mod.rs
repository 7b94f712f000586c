//! What the tests of the check share: the mailboxes, a message as Delta Chat writes it, verdicts.

#![allow(dead_code, unreachable_pub, reason = "each test needs another part")]

use std::sync::LazyLock;

use chatmail_core::address::MailDomain;
use chatmail_core::filter::{
    Class, Direction, MessageFilter, Origin, RawMessage, Refusal, Verdict,
};
use chatmail_core::mailbox::Mailboxes;

/// Mailboxes of `bob@chat.test`, who enforces encryption, and `open@chat.test`, who does not.
pub fn mailboxes() -> Mailboxes {
    static DIRECTORY: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let directory = tempfile::tempdir().expect("directory");
        for (address, files) in [
            ("bob@chat.test", &["password", "enforceE2EEincoming"][..]),
            ("open@chat.test", &["password"]),
        ] {
            let mailbox = directory.path().join(address);
            std::fs::create_dir(&mailbox).expect("mailbox");
            for file in files {
                std::fs::write(mailbox.join(file), "").expect("file");
            }
        }
        directory
    });
    let domain = MailDomain::parse("chat.test").expect("domain");
    Mailboxes::new(DIRECTORY.path().to_owned(), domain)
}

/// A message with this armor, laid out as Delta Chat does it.
pub fn delta_chat(armor: &str) -> Vec<u8> {
    let armor = armor.replace("\r\n", "\n").replace('\n', "\r\n");
    format!(
        "From: <alice@chat.test>\r\n\
         Date: Sun, 15 Nov 2026 16:43:21 +0000\r\n\
         Message-ID: <d5b1f1a1-6a51-4d4b-9b6f-3f6f0d8d7a10@localhost>\r\n\
         MIME-Version: 1.0\r\n\
         Chat-Version: 1.0\r\n\
         Subject: [...]\r\n\
         To: \"hidden-recipients\": ;\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; \r\n\
         \tboundary=\"18a7c3b2f1d0e9c8_5f3a_b1c2\"\r\n\
         \r\n\
         \r\n\
         --18a7c3b2f1d0e9c8_5f3a_b1c2\r\n\
         Content-Type: application/pgp-encrypted; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\
         \r\n\
         Version: 1\r\n\
         \r\n\
         --18a7c3b2f1d0e9c8_5f3a_b1c2\r\n\
         Content-Type: application/octet-stream; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\
         \r\n\
         {armor}\r\n\
         --18a7c3b2f1d0e9c8_5f3a_b1c2--\r\n"
    )
    .into_bytes()
}

/// Envelope sender and login unless a test says something else.
pub const ALICE: &[u8] = b"alice@chat.test";

/// Alice is logged in, or it is not known which host sends the message.
pub fn origin(direction: Direction) -> Origin<'static> {
    match direction {
        Direction::Outgoing => Origin::Outgoing { login: ALICE },
        Direction::Incoming => Origin::Incoming { client: None },
    }
}

/// The verdict on a raw message from Alice, fed in chunks that end at `cuts` (ascending).
pub fn verdict_cut(
    direction: Direction,
    recipient: &str,
    message: &[u8],
    cuts: &[usize],
) -> Verdict {
    let mut filter = MessageFilter::new(origin(direction), ALICE);
    filter.recipient(recipient.as_bytes());
    filtered(filter, message, cuts)
}

/// The verdict of a filter that knows the envelope, fed in chunks that end at `cuts` (ascending).
pub fn filtered(filter: MessageFilter, message: &[u8], cuts: &[usize]) -> Verdict {
    let mut raw = RawMessage::new(filter);
    let mut start = 0;
    for &cut in cuts {
        let cut = cut.clamp(start, message.len());
        raw.write(&message[start..cut]);
        start = cut;
    }
    raw.write(&message[start..]);
    raw.finish(&mailboxes()).expect("decided")
}

/// The verdict on a raw message from Alice to Bob.
pub fn verdict(direction: Direction, message: &[u8]) -> Verdict {
    verdict_cut(direction, "bob@chat.test", message, &[])
}

/// The refusal of a raw message.
pub fn refusal(direction: Direction, message: &[u8]) -> Refusal {
    match verdict(direction, message) {
        Verdict::Refused(refusal) => refusal,
        Verdict::Accepted(accepted) => panic!(
            "{direction:?} passes as {:?}:\n{}",
            accepted.class,
            String::from_utf8_lossy(message)
        ),
    }
}

/// Fails unless the message passes as encrypted in both directions, whole and in milter chunks.
pub fn assert_encrypted(message: &[u8]) {
    for direction in [Direction::Outgoing, Direction::Incoming] {
        let chunks: Vec<usize> = (1..message.len()).filter(|at| at % 65535 == 0).collect();
        for cuts in [&[][..], &chunks] {
            match verdict_cut(direction, "bob@chat.test", message, cuts) {
                Verdict::Accepted(accepted) => assert_eq!(accepted.class, Class::Encrypted),
                Verdict::Refused(refusal) => panic!(
                    "{direction:?}: {refusal}:\n{}",
                    String::from_utf8_lossy(message)
                ),
            }
        }
    }
}
