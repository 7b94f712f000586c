//! Speaks the milter protocol to [`chatmail_milter::run`] as Postfix does.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use chatmail_core::config::Config;
use chatmail_milter::{Endpoint, Listener};
use common::filter::{ACCESS, Filter};
use common::{ANCIENT, Answer, Mail, Mta, Relay, frame, socket, wait_until};

const ALICE: &str = "alice@chat.test";
const BOB: &str = "bob@chat.test";
const NEEDED: &str = "523 Encryption Needed: Invalid Unencrypted Mail";
const LATER: &str = "451 4.3.0 Temporary failure, try again later";

fn reply(text: &str) -> Vec<Answer> {
    vec![Answer::Reply(text.to_owned())]
}

#[test]
fn an_encrypted_message_passes_and_leaves_its_subject_and_mailer_behind() {
    let filter = Filter::start(Relay::new());
    let mail = Mail::encrypted(ALICE);
    let mut answers = filter.outgoing().transaction(ALICE, &[BOB], &mail);
    assert_eq!(answers.pop(), Some(Answer::Continue));
    let changes: Vec<(String, u32, &str)> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Change(name, index, value) => (name.clone(), *index, value.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(changes.contains(&("Subject".to_owned(), 1, "[...]")));
    assert!(changes.contains(&("user-agent".to_owned(), 1, "")));
}

#[test]
fn a_cleartext_message_is_refused_with_523() {
    let filter = Filter::start(Relay::new());
    let mail = Mail::cleartext(ALICE);
    assert_eq!(
        filter.outgoing().transaction(ALICE, &[BOB], &mail),
        reply(NEEDED)
    );
}

#[test]
fn a_message_in_another_name_is_refused() {
    let filter = Filter::start(Relay::new());
    let mail = Mail::encrypted("eve@chat.test");
    assert_eq!(
        filter.outgoing().transaction(ALICE, &[BOB], &mail),
        reply("500 Invalid FROM <eve@chat.test> for <alice@chat.test>")
    );
}

#[test]
fn one_message_too_many_is_put_off_at_rcpt_and_others_may_still_send() {
    let filter = Filter::start(Relay::with(
        "max_user_send_per_minute = 1\nmax_user_send_burst_size = 2",
    ));
    let mut mta = filter.outgoing();
    for _ in 0..2 {
        let mail = Mail::encrypted(ALICE);
        assert_eq!(
            mta.transaction(ALICE, &[BOB], &mail).pop(),
            Some(Answer::Continue)
        );
    }
    let refused = Answer::Reply("450 4.7.1: Too much mail from <alice@chat.test>".to_owned());
    mta.mail(ALICE);
    assert_eq!(mta.recipient(BOB), refused);
    // Another connection, another spelling: the same sender.
    let mut other = filter.outgoing();
    other.mail_as(ALICE, "Alice@chat.test");
    assert_eq!(other.recipient(BOB), refused);
    other.send(b'A', b"");
    other.mail(BOB);
    assert_eq!(other.recipient(BOB), Answer::Continue);
}

#[test]
fn a_login_counts_for_the_one_message_that_it_came_with() {
    let filter = Filter::start(Relay::new());
    let mut mta = filter.outgoing();
    let stranger = Answer::Reply("530 5.7.0 Authentication required".to_owned());
    mta.mail_as("", ALICE);
    assert_eq!(mta.recipient(BOB), stranger);
    mta.send(b'A', b"");
    mta.mail(ALICE);
    assert_eq!(mta.recipient(BOB), Answer::Continue);
    mta.send(b'A', b"");
    // Without macros at all.
    mta.send(b'M', format!("<{ALICE}>\0").as_bytes());
    assert_eq!(mta.recipient(BOB), stranger);
    mta.send(b'A', b"");
    // The login of another step is not one of MAIL.
    mta.send(b'D', format!("H{{auth_authen}}\0{ALICE}\0").as_bytes());
    mta.send(b'M', format!("<{ALICE}>\0").as_bytes());
    assert_eq!(mta.recipient(BOB), stranger);
}

#[test]
fn a_users_message_is_refused_if_it_reaches_nobody_and_its_content_passes() {
    let relay = Relay::with("max_mailbox_size = 1M\nmax_user_send_burst_size = 100");
    let full = relay.mailbox("full@chat.test").join("maildirsize");
    fs::write(full, "1048576S\n1048576 1\n").unwrap();
    let off = relay.mailbox("off@chat.test").join("DISABLED");
    fs::write(off, "").unwrap();
    let trouble = relay.mailbox("trouble@chat.test");
    fs::create_dir(trouble.join("maildirsize")).unwrap();
    let filter = Filter::start(relay);
    let mut mta = filter.outgoing();
    const GONE: &str = "550 5.1.1 No such mailbox";
    const FULL: &str = "552 5.2.2 Mailbox is full";
    for (recipients, expected) in [
        (&["gone@chat.test"][..], Some(GONE)),
        (&["off@chat.test"], Some(GONE)),
        (&["full@chat.test", "off@chat.test"], Some(FULL)),
        (&["gone@chat.test", "full@chat.test"], Some(GONE)),
        (&["trouble@chat.test"], Some(LATER)),
        (&["gone@chat.test", "trouble@chat.test"], Some(LATER)),
        (&["trouble@chat.test", "gone@chat.test"], Some(LATER)),
        (&["gone@chat.test", BOB], None),
        (&[BOB, "gone@chat.test"], None),
        (&["trouble@chat.test", BOB], None),
        (&["gone@chat.test", "carol@elsewhere.test"], None),
        (&["carol@elsewhere.test", "gone@chat.test"], None),
    ] {
        let answer = mta.transaction(ALICE, recipients, &Mail::encrypted(ALICE));
        let expected = expected.map_or(Answer::Continue, |text| Answer::Reply(text.to_owned()));
        assert_eq!(answer.last(), Some(&expected), "{recipients:?}");
        // A fault in the content takes precedence.
        let answer = mta.transaction(ALICE, recipients, &Mail::cleartext(ALICE));
        assert_eq!(answer, reply(NEEDED), "{recipients:?}");
    }
}

#[test]
fn incoming_mail_knows_no_rate_limit() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 1");
    let filter = Filter::start(relay);
    let mut mta = filter.incoming();
    for _ in 0..5 {
        let mail = Mail::encrypted("carol@elsewhere.test");
        let answers = mta.transaction("carol@elsewhere.test", &[BOB], &mail);
        assert_eq!(answers.last(), Some(&Answer::Continue));
    }
}

#[test]
fn incoming_cleartext_passes_only_if_every_recipient_allows_it() {
    let relay = Relay::new();
    relay.mailbox(ALICE);
    relay.strict_mailbox(BOB);
    let filter = Filter::start(relay);
    let mut mta = filter.incoming();
    let mail = Mail::cleartext("carol@elsewhere.test");
    let mut verdict = |recipients: &[&str]| {
        mta.transaction("carol@elsewhere.test", recipients, &mail)
            .pop()
    };
    assert_eq!(verdict(&[ALICE]), Some(Answer::Continue));
    assert_eq!(verdict(&[BOB]), reply(NEEDED).pop());
    assert_eq!(verdict(&[ALICE, BOB]), reply(NEEDED).pop());
}

#[test]
fn a_mailbox_that_cannot_be_looked_at_defers_the_message() {
    let relay = Relay::new();
    let mailbox = relay.mailbox(ALICE);
    fs::remove_dir_all(&mailbox).unwrap();
    symlink(&mailbox, &mailbox).unwrap();
    let filter = Filter::start(relay);
    let mail = Mail::cleartext("carol@elsewhere.test");
    let mut mta = filter.incoming();
    let answers = mta.transaction("carol@elsewhere.test", &[ALICE], &mail);
    assert_eq!(answers, reply(LATER));
    // Nor at the end of a message, if it was well before.
    mta.mail("carol@elsewhere.test");
    assert_eq!(mta.recipient(BOB), Answer::Continue);
    mta.content(&mail);
    let mailbox = mailbox.with_file_name(BOB);
    fs::remove_dir_all(&mailbox).unwrap();
    symlink(&mailbox, &mailbox).unwrap();
    assert_eq!(mta.end(), reply(LATER));
}

#[test]
fn a_message_that_comes_octet_by_octet_gets_the_same_answer() {
    let filter = Filter::start(Relay::new());
    let mail = Mail::encrypted(ALICE);
    let whole = filter.outgoing().transaction(ALICE, &[BOB], &mail);
    let mut mta = filter.outgoing();
    mta.mail(ALICE);
    let mut stream = Vec::new();
    for (name, value) in &mail.fields {
        stream.extend(frame(b'L', mta.field(name, value).as_bytes()));
    }
    stream.extend(frame(b'N', b""));
    for chunk in mail.body.chunks(7) {
        stream.extend(frame(b'B', chunk));
    }
    for octet in stream {
        mta.write(&[octet]);
    }
    assert_eq!(mta.end(), whole);
}

#[test]
fn the_last_of_the_body_may_come_with_the_end_of_the_message() {
    let filter = Filter::start(Relay::new());
    let mut mail = Mail::encrypted(ALICE);
    let last = mail.body.split_off(mail.body.len() / 2);
    let mut mta = filter.outgoing();
    mta.mail(ALICE);
    mta.recipient(BOB);
    mta.content(&mail);
    mta.send(b'E', &last);
    assert!(matches!(mta.answer(), Answer::Change(..)));
}

#[test]
fn an_mta_that_cannot_leave_out_answers_gets_one_for_each_step() {
    let filter = Filter::start(Relay::new());
    let mut mta = Mta::connect_as(&socket(&filter.relay, "outgoing"), ANCIENT);
    mta.send(b'C', b"client.test\0U");
    assert_eq!(mta.answer(), Answer::Continue);
    mta.send(b'H', b"client.test\0");
    assert_eq!(mta.answer(), Answer::Continue);
    // `Mta` takes an answer after each recipient, field and chunk.
    let answers = mta.transaction(ALICE, &[BOB], &Mail::cleartext(ALICE));
    assert_eq!(answers, reply(NEEDED));
}

#[test]
fn transactions_of_one_connection_know_nothing_of_each_other() {
    let filter = Filter::start(Relay::new());
    let mut mta = filter.outgoing();
    mta.mail(ALICE);
    mta.recipient(BOB);
    mta.content(&Mail::cleartext(ALICE));
    mta.send(b'A', b"");
    let answers = mta.transaction(BOB, &[ALICE], &Mail::encrypted(BOB));
    assert_eq!(answers.last(), Some(&Answer::Continue));
    // The next SMTP client on the same connection.
    mta.send(b'K', b"");
    assert_eq!(
        mta.transaction(BOB, &[ALICE], &Mail::cleartext(BOB)),
        reply(NEEDED)
    );
}

#[test]
fn garbage_closes_its_own_connection_and_no_other() {
    let filter = Filter::start(Relay::new());
    let mut honest = filter.outgoing();
    honest.mail(ALICE);
    for garbage in [
        b"EHLO client.test\r\n".as_slice(),
        &[0, 0, 0, 0],
        &frame(b'M', b"<a@b>\0"),
    ] {
        let mut mta = Mta::silent(&socket(&filter.relay, "outgoing"));
        mta.write(garbage);
        assert!(mta.is_hung_up());
    }
    for (command, payload) in [
        (b'R', b"<bob@chat.test>\0".as_slice()),
        (b'L', b"Subject\0x\0"),
        (b'B', b"text"),
        (b'E', b""),
        (b'M', b"no end"),
        (b'O', &[0; 12]),
        (b'z', b""),
    ] {
        let mut mta = filter.outgoing();
        mta.send(command, payload);
        assert!(mta.is_hung_up(), "after {:?}", char::from(command));
    }
    honest.recipient(BOB);
    honest.content(&Mail::cleartext(ALICE));
    assert_eq!(honest.end(), reply(NEEDED));
}

#[test]
fn a_message_put_off_at_rcpt_is_not_excused_from_the_check() {
    let filter = Filter::start(Relay::with(
        "max_user_send_per_minute = 1\nmax_user_send_burst_size = 1",
    ));
    let mut mta = filter.outgoing();
    mta.mail(ALICE);
    mta.recipient(BOB);
    mta.send(b'A', b"");
    mta.mail(ALICE);
    assert!(matches!(mta.recipient(BOB), Answer::Reply(_)));
    // Even of an MTA that goes on without a recipient.
    mta.content(&Mail::cleartext(ALICE));
    assert_eq!(mta.end(), reply(NEEDED));
}

#[test]
fn a_new_rate_limit_holds_at_once() {
    let filter = Filter::start(Relay::with(
        "max_user_send_per_minute = 1\nmax_user_send_burst_size = 1",
    ));
    let mut mta = filter.outgoing();
    let mut sent = || {
        mta.mail(ALICE);
        let answer = mta.recipient(BOB);
        mta.send(b'A', b"");
        answer
    };
    assert_eq!(sent(), Answer::Continue);
    filter
        .relay
        .configure("max_user_send_per_minute = 60\nmax_user_send_burst_size = 2");
    filter
        .policy
        .replace(&Config::load(&filter.relay.config()).unwrap())
        .unwrap();
    for _ in 0..2 {
        assert_eq!(sent(), Answer::Continue);
    }
    assert!(matches!(sent(), Answer::Reply(_)));
}

#[test]
fn a_stop_lets_an_open_message_finish_and_closes_idle_connections() {
    let mut filter = Filter::start(Relay::new());
    let mut idle = filter.outgoing();
    let mut open = filter.outgoing();
    open.mail(ALICE);
    // Its answer says that the message is open.
    assert_eq!(open.recipient(BOB), Answer::Continue);
    filter.stop();
    assert!(idle.is_hung_up());
    wait_until("the socket is gone", || {
        !socket(&filter.relay, "outgoing").exists()
    });
    open.content(&Mail::encrypted(ALICE));
    assert_eq!(open.end().last(), Some(&Answer::Continue));
    assert!(open.is_hung_up());
    filter.wait_for_the_end();
}

#[test]
fn a_socket_has_the_mode_it_was_given() {
    let filter = Filter::start(Relay::new());
    let mode = fs::metadata(socket(&filter.relay, "outgoing"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn only_a_socket_nobody_listens_on_is_replaced() {
    let relay = Relay::new();
    let path = relay.path("s");
    let endpoint = Endpoint::Unix(path.clone());

    drop(UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&endpoint, ACCESS).unwrap();
    let error = Listener::bind(&endpoint, ACCESS).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(!path.exists());

    fs::write(&path, "somebody's file").unwrap();
    let error = Listener::bind(&endpoint, ACCESS).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"somebody's file");
}

#[tokio::test]
async fn a_tcp_socket_works_too() {
    let endpoint: Endpoint = "inet:0@127.0.0.1".parse().unwrap();
    let listener = Listener::bind(&endpoint, ACCESS).unwrap();
    assert_ne!(listener.tcp_address().unwrap().port(), 0);
    assert_eq!(
        "inet:25@[::1]".parse::<Endpoint>().unwrap().to_string(),
        "inet:25@[::1]"
    );
    for wrong in ["", "unix:", "inet:25", "inet:x@host", "inet:25@", "/path"] {
        assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
    }
}
