//! Two relays exchange mail: what one signs the other verifies.

use std::fs;
use std::process::Command;

use chatmail_tests::mail::{body, header_values};
use chatmail_tests::milter_log::MilterLog;
use chatmail_tests::smtp::Door;
use chatmail_tests::{Instance, Mail, wait};

#[test]
fn mail_goes_both_ways_signed_and_verified() {
    let (here, there) = pair();
    let alice = here.account("alice");
    let bob = there.account("bob");
    for (from, to, sender, recipient) in
        [(&here, &there, &alice, &bob), (&there, &here, &bob, &alice)]
    {
        let mut log = MilterLog::of(to);
        let mail = Mail::encrypted(&sender.address, &recipient.address);
        let reply = from.send(Door::Smtps, sender, recipient, &mail);
        assert_eq!(reply.code, 250, "{reply}");
        let messages = to.wait_for_messages(recipient, 1);
        assert_eq!(
            header_values(&messages[0], "Message-ID"),
            [mail.message_id()]
        );
        assert_eq!(
            header_values(&messages[0], "Return-Path"),
            [format!("<{}>", sender.address)]
        );
        assert!(body(&messages[0]) == mail.body());
        let entry = log.next("the peer's message");
        let shown = ["direction", "verdict", "dkim"].map(|name| entry.get(name));
        assert_eq!(shown, ["incoming", "accepted", "pass"]);
    }
}

#[test]
fn mail_to_nobody_at_the_peer_comes_back_to_its_sender() {
    let (here, there) = pair();
    let alice = here.account("alice");
    let nobody = there.new_account("nobody");
    let mail = Mail::encrypted(&alice.address, &nobody.address);
    let reply = here.send(Door::Smtps, &alice, &nobody, &mail);
    assert_eq!(reply.code, 250, "{reply}");
    let reports = here.wait_for_messages(&alice, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("No such mailbox"), "{report}");
    assert!(report.contains(mail.message_id()), "{report}");
}

#[test]
fn a_report_that_postfix_writes_passes_at_the_peer() {
    let (here, there) = pair();
    let alice = here.account("alice");
    let bob = there.account("bob");
    let mut log = MilterLog::of(&here);
    let mail = Mail::encrypted(&alice.address, &bob.address);
    // The mailbox goes while the message is in the peer's queue.
    let socket = &there.endpoints().lmtp_socket;
    let away = socket.with_extension("away");
    fs::rename(socket, &away).expect("the socket of LMTP");
    assert_eq!(here.send(Door::Smtps, &alice, &bob, &mail).code, 250);
    there.wait_for_log("postfix", "a message that waits", |log| {
        log.contains("status=deferred")
    });
    fs::remove_dir_all(there.mailbox(&bob)).expect("mailbox");
    fs::rename(&away, socket).expect("the socket of LMTP");
    let mut flush = Command::new("postqueue");
    flush
        .arg("-c")
        .arg(&there.endpoints().postfix_config_directory)
        .arg("-f");
    assert!(flush.status().expect("postqueue").success());

    let reports = here.wait_for_messages(&alice, 1);
    let from = header_values(&reports[0], "From");
    let daemon = format!("MAILER-DAEMON@{}", there.endpoints().domain);
    assert!(from[0].contains(&daemon), "{from:?}");
    assert!(String::from_utf8_lossy(&reports[0]).contains(mail.message_id()));
    let entries = wait::until("the filter's lines", || {
        let entries = log.new_entries();
        entries
            .iter()
            .any(|entry| entry.get("direction") == "incoming")
            .then_some(entries)
    });
    let report = entries
        .iter()
        .find(|entry| entry.get("direction") == "incoming")
        .expect("see above");
    assert_eq!(report.get("verdict"), "accepted");
    assert_eq!(report.reason(), "delivery-report");
    assert_eq!(report.get("dkim"), "pass");
}

#[test]
fn a_user_of_the_peer_who_is_disabled_gets_nothing() {
    let (here, there) = pair();
    let alice = here.account("alice");
    let bob = there.account("bob");
    fs::File::create(there.mailbox(&bob).join("DISABLED")).expect("DISABLED");
    let mail = Mail::encrypted(&alice.address, &bob.address);
    assert_eq!(here.send(Door::Smtps, &alice, &bob, &mail).code, 250);
    let reports = here.wait_for_messages(&alice, 1);
    assert!(String::from_utf8_lossy(&reports[0]).contains("550 5.1.1"));
    fs::remove_file(there.mailbox(&bob).join("DISABLED")).expect("DISABLED");
    assert_eq!(there.imap(&bob).select_inbox().expect("INBOX"), 0);
}

/// Two relays that know each other.
fn pair() -> (Instance, Instance) {
    let here = Instance::with().param("mail_domain", "here.test").start();
    let there = Instance::with()
        .param("mail_domain", "there.test")
        .peer(&here)
        .start();
    (here, there)
}
