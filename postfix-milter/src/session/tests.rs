use super::*;
use chatmail_core::config::Config;
use proptest::prelude::*;

const ALICE: &[u8] = b"alice@chat.test";
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
    assert!(session.mail(ALICE, b"alice@chat.test").is_none());
    session.recipient(b"bob@chat.test").unwrap();
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
    session.mail(ALICE, b"alice@chat.test");
    session.recipient(b"bob@chat.test").unwrap();
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

#[test]
fn a_sender_over_the_rate_is_put_off_whatever_the_case_of_the_address() {
    let mut session = session(Route::Outgoing);
    assert!(session.mail(ALICE, b"alice@chat.test").is_none());
    assert!(session.mail(ALICE, b"Alice@chat.test").is_none());
    assert_eq!(
        session.mail(ALICE, b"alice@CHAT.test").unwrap().to_string(),
        "450 4.7.1: Too much mail from <alice@CHAT.test>"
    );
    assert!(!session.is_open());
}

proptest! {
    #[test]
    fn no_sequence_of_calls_accepts_a_message_without_encryption(calls in prop::collection::vec(0u8..6, 0..40)) {
        let mut session = session(Route::Outgoing);
        for call in calls {
            match call {
                0 => { session.mail(ALICE, b"alice@chat.test"); }
                1 => { let _ = session.recipient(b"bob@chat.test"); }
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
    assert!(session.mail(b"", b"").is_none());
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
    std::fs::write(mailbox.join("password"), "").unwrap();
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
