use super::*;
use chatmail_core::config::Config;
use proptest::prelude::*;

const ALICE: &[u8] = b"alice@chat.test";
const BOB: &[u8] = b"bob@elsewhere.test";
const NEEDED: &str = "523 Encryption Needed: Invalid Unencrypted Mail";
const LATER: &str = "451 4.3.0 Temporary failure, try again later";

fn session(route: Route) -> Session {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chatmail.ini");
    let text = "[params]\nmail_domain = chat.test\nmax_user_send_burst_size = 2\ndkim = false\n";
    std::fs::write(&file, text).unwrap();
    let policy = Policy::new(&Config::load(&file).unwrap()).unwrap();
    Session::new(route, Arc::new(policy))
}

fn reply(decision: Result<Option<Decision>, OutOfOrder>) -> String {
    match decision {
        Ok(Some(Decision::Reply(reply))) => reply.to_string(),
        other => panic!("{other:?}"),
    }
}

fn cleartext(session: &mut Session) {
    session.mail(ALICE, ALICE);
    session.recipient(BOB).unwrap();
    session.header(b"From", b"alice@chat.test").unwrap();
    session.end_of_headers().unwrap();
    session.body(b"Shall we have lunch?\r\n").unwrap();
}

#[test]
fn a_cleartext_message_is_refused_with_523() {
    let mut session = session(Route::Outgoing);
    cleartext(&mut session);
    assert!(session.is_open());
    assert_eq!(reply(session.end_of_message(None)), NEEDED);
    assert!(!session.is_open());
}

#[test]
fn a_panic_of_the_check_puts_the_message_off() {
    assert_eq!(guarded(|| 1), Some(1));
    assert_eq!(guarded::<()>(|| std::panic::panic_any("no")), None);

    let mut session = session(Route::Outgoing);
    cleartext(&mut session);
    let message = session.message.as_mut().unwrap();
    message.break_checks();
    session.body(b"and more\r\n").unwrap();
    assert_eq!(
        reply(session.end_of_message(Some("4DFF6990062".to_owned()))),
        LATER
    );
}

#[test]
fn the_end_of_the_header_may_be_left_out() {
    let mut session = session(Route::Outgoing);
    session.mail(ALICE, ALICE);
    session.recipient(BOB).unwrap();
    session.header(b"From", b"alice@chat.test").unwrap();
    assert_eq!(reply(session.end_of_message(None)), NEEDED);
}

#[test]
fn nothing_can_be_said_about_a_message_that_is_not_there() {
    let mut session = session(Route::Incoming);
    assert_eq!(session.recipient(b"bob@chat.test"), Err(OutOfOrder));
    assert_eq!(session.header(b"From", b"x"), Err(OutOfOrder));
    assert_eq!(session.end_of_headers(), Err(OutOfOrder));
    assert_eq!(session.body(b"x"), Err(OutOfOrder));
    assert_eq!(session.end_of_message(None), Err(OutOfOrder));
    cleartext(&mut session);
    session.abort();
    assert_eq!(session.end_of_message(None), Err(OutOfOrder));
}

#[test]
fn a_message_does_not_go_back_to_its_envelope_or_header() {
    let mut session = session(Route::Outgoing);
    session.mail(ALICE, b"alice@chat.test");
    session.header(b"From", b"alice@chat.test").unwrap();
    assert_eq!(session.recipient(b"bob@chat.test"), Err(OutOfOrder));
    session.end_of_headers().unwrap();
    assert_eq!(session.end_of_headers(), Err(OutOfOrder));
    assert_eq!(session.header(b"Subject", b"x"), Err(OutOfOrder));
}

fn answer(session: &mut Session, recipient: &[u8]) -> Option<String> {
    let answer = session.recipient(recipient).unwrap();
    answer.map(|reply| reply.to_string())
}

#[test]
fn a_user_over_the_rate_is_deferred_at_each_recipient_whatever_the_case_of_the_address() {
    let mut session = session(Route::Outgoing);
    for sender in [ALICE, b"Alice@chat.test"] {
        session.mail(ALICE, sender);
        // One message, however many recipients it has.
        for recipient in [BOB, b"carol@chat.test", BOB] {
            assert_eq!(answer(&mut session, recipient), None);
        }
    }
    session.mail(b"alice@CHAT.test", ALICE);
    for _ in 0..2 {
        assert_eq!(
            answer(&mut session, BOB).as_deref(),
            Some("450 4.7.1: Too much mail from <alice@CHAT.test>")
        );
    }
    session.mail(b"carol@chat.test", b"carol@chat.test");
    assert_eq!(answer(&mut session, BOB), None);
}

#[test]
fn a_stranger_learns_nothing_of_a_user_and_spends_nothing() {
    let mut session = session(Route::Outgoing);
    for _ in 0..5 {
        session.mail(b"", ALICE);
        for recipient in [BOB, b"nobody@chat.test", b"a%b@[127.0.0.1]"] {
            assert_eq!(
                answer(&mut session, recipient).as_deref(),
                Some("530 5.7.0 Authentication required")
            );
        }
    }
    session.mail(ALICE, ALICE);
    assert_eq!(answer(&mut session, BOB), None);
}

#[test]
fn a_user_sends_in_no_other_name_and_spends_nothing_by_trying() {
    let mut session = session(Route::Outgoing);
    for sender in [
        "",
        "carol@chat.test",
        "alice+1@chat.test",
        "alice%chat.test@[127.0.0.1]",
        "alice%chat.test@[127.0.0.01]",
        "chat.test!alice@[127.0.0.1]",
        "alice%chat.test.@x",
        "\"alice\"@chat.test",
        "alice@chat.test.",
        "@x:alice@chat.test",
    ] {
        session.mail(ALICE, sender.as_bytes());
        let expected = format!(
            "553 5.7.1 <{sender}>: Sender address rejected: not owned by user alice@chat.test"
        );
        assert_eq!(answer(&mut session, BOB), Some(expected));
    }
    session.mail(ALICE, ALICE);
    assert_eq!(answer(&mut session, BOB), None);
}

#[test]
fn a_recipient_who_is_refused_costs_nothing() {
    let mut session = session(Route::Outgoing);
    for _ in 0..5 {
        session.mail(ALICE, ALICE);
        assert_eq!(
            answer(&mut session, b"\"bob@chat.test\"@[127.0.0.1]").as_deref(),
            Some("553 5.1.3 Bad recipient address syntax")
        );
    }
    assert_eq!(answer(&mut session, BOB), None);
}

#[test]
fn another_host_sends_to_nobody_elsewhere() {
    let mut session = session(Route::Incoming);
    session.mail(b"", BOB);
    for (recipient, expected) in [
        ("carol@elsewhere.test", "554 5.7.1 Relay access denied"),
        ("bob@[127.0.0.1]", "554 5.7.1 Relay access denied"),
        ("root@[127.0.0.1]", "554 5.7.1 Relay access denied"),
        (
            "a%chat.test@[127.0.0.1]",
            "553 5.1.3 Bad recipient address syntax",
        ),
        ("chat.test!a", "553 5.1.3 Bad recipient address syntax"),
        ("nobody@chat.test", "550 5.1.1 No such mailbox"),
    ] {
        let answer = answer(&mut session, recipient.as_bytes());
        assert_eq!(answer.as_deref(), Some(expected), "{recipient}");
    }
}

proptest! {
    #[test]
    fn no_sequence_of_calls_accepts_a_message_without_encryption(calls in prop::collection::vec(0u8..6, 0..40)) {
        let mut session = session(Route::Outgoing);
        for call in calls {
            match call {
                0 => session.mail(ALICE, ALICE),
                1 => { let _ = session.recipient(BOB); }
                2 => { let _ = session.header(b"From", b"alice@chat.test"); }
                3 => { let _ = session.end_of_headers(); }
                4 => { let _ = session.body(b"text\r\n"); }
                _ => prop_assert!(!matches!(session.end_of_message(None), Ok(Some(Decision::Accept(_)) | None))),
            }
        }
    }
}

#[tokio::test]
async fn a_panic_while_waiting_puts_the_message_off() {
    assert_eq!(guarded_async(async { 1 }).await, Some(1));
    let panics = async {
        tokio::task::yield_now().await;
        std::panic::panic_any("no");
    };
    assert_eq!(guarded_async(panics).await, None);
    // Nor is there anything to wait for without a message.
    let mut session = session(Route::Incoming);
    assert_eq!(reply(Ok(Some(session.decide().await))), LATER);
    cleartext(&mut session);
    assert!(session.end_of_message(None).unwrap().is_some());
    assert_eq!(reply(Ok(Some(session.decide().await))), LATER);
}

#[test]
fn internal_mail_is_neither_checked_nor_answered_before_its_end() {
    let mut session = session(Route::Internal);
    session.mail(b"", b"");
    assert_eq!(session.recipient(b"nobody@chat.test"), Ok(None));
    session
        .header(b"From", b" MAILER-DAEMON@chat.test")
        .unwrap();
    session.body(b"Your mail did not arrive.\r\n").unwrap();
    let decision = session.end_of_message(None).unwrap();
    assert_eq!(decision, Some(Decision::Accept(Changes::default())));
}

#[test]
fn a_recipient_who_is_refused_has_no_say_about_cleartext() {
    let dir = tempfile::tempdir().unwrap();
    let mailboxes = dir.path().join("mail");
    let mailbox = mailboxes.join("bob@chat.test");
    std::fs::create_dir_all(&mailbox).unwrap();
    let password = chatmail_core::auth::hash_password(b"correct horse").unwrap();
    std::fs::write(mailbox.join("password"), password).unwrap();
    let text = format!(
        "[params]\nmail_domain = chat.test\ndkim = false\nmailboxes_dir = {}\n",
        mailboxes.display()
    );
    let file = dir.path().join("chatmail.ini");
    std::fs::write(&file, text).unwrap();
    let policy = Policy::new(&Config::load(&file).unwrap()).unwrap();
    let mut session = Session::new(Route::Incoming, Arc::new(policy));
    session.mail(b"", b"carol@elsewhere.test");
    let refused = session.recipient(b"nobody@chat.test").unwrap().unwrap();
    assert_eq!(refused.to_string(), "550 5.1.1 No such mailbox");
    assert_eq!(session.recipient(b"bob@chat.test"), Ok(None));
    session.header(b"From", b" carol@elsewhere.test").unwrap();
    session.body(b"Shall we have lunch?\r\n").unwrap();
    let decision = session.end_of_message(None).unwrap();
    assert!(
        matches!(decision, Some(Decision::Accept(_))),
        "{decision:?}"
    );
}
