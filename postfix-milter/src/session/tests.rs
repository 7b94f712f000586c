use super::*;
use chatmail_core::config::Config;
use proptest::prelude::*;

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
    assert!(session.mail(b"alice@chat.test").is_none());
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
    session.mail(b"alice@chat.test");
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
    session.mail(b"alice@chat.test");
    session.header(b"From", b"alice@chat.test").unwrap();
    assert_eq!(session.recipient(b"bob@chat.test"), Err(OutOfOrder));
    session.end_of_headers().unwrap();
    assert_eq!(session.end_of_headers(), Err(OutOfOrder));
    assert_eq!(session.header(b"Subject", b"x"), Err(OutOfOrder));
}

#[test]
fn a_sender_over_the_rate_is_put_off_whatever_the_case_of_the_address() {
    let mut session = session(Route::Outgoing);
    assert!(session.mail(b"alice@chat.test").is_none());
    assert!(session.mail(b"Alice@chat.test").is_none());
    assert_eq!(
        session.mail(b"alice@CHAT.test").unwrap().to_string(),
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
                0 => { session.mail(b"alice@chat.test"); }
                1 => { let _ = session.recipient(b"bob@chat.test"); }
                2 => { let _ = session.header(b"From", b"alice@chat.test"); }
                3 => { let _ = session.end_of_headers(); }
                4 => { let _ = session.body(b"text\r\n"); }
                _ => prop_assert!(!matches!(session.end_of_message(None), Ok(Some(Decision::Accept(_)) | None))),
            }
        }
    }
}
