//! Only encrypted mail goes out or comes in, and it says no more than it must.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;

use chatmail_tests::dkim::Signer;
use chatmail_tests::instance::Account;
use chatmail_tests::mail::{ENCRYPTION_NEEDED, body, header_values};
use chatmail_tests::outside::Outside;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail};

const STRANGER: &str = "carol@elsewhere.test";

#[test]
fn encrypted_mail_arrives_intact_and_without_its_traces() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    for (number, door) in [Door::Smtps, Door::Submission].into_iter().enumerate() {
        let mail = Mail::encrypted(&alice.address, &bob.address)
            .set("Subject", "Lunch at noon")
            .add(
                "Received",
                "from laptop ([198.51.100.7]) by phone; Fri, 2 Jan 2026 12:00:00 +0000",
            )
            .add("User-Agent", "Some Client 1.0")
            .add("X-Mailer", "Some Client 1.0")
            .add("X-Originating-IP", "198.51.100.7");
        let reply = relay.send(door, &alice, &bob, &mail);
        assert_eq!(reply.code, 250, "{reply}");

        let messages = relay.wait_for_messages(&bob, number + 1);
        let message = &messages[number];
        assert_eq!(header_values(message, "Message-ID"), [mail.message_id()]);
        assert_eq!(header_values(message, "Subject"), ["[...]"]);
        for field in ["Received", "User-Agent", "X-Mailer", "X-Originating-IP"] {
            assert_eq!(header_values(message, field), [] as [String; 0], "{field}");
        }
        assert_eq!(header_values(message, "Chat-Version"), ["1.0"]);
        assert_eq!(body(message), mail.body());
    }
}

#[test]
fn a_message_to_a_group_takes_the_disk_once() {
    let relay = Instance::start();
    let alice = relay.account("alice");
    let members = ["bob", "carol", "dave"].map(|name| relay.account(name));
    let mail = Mail::encrypted_of_size(&alice.address, &members[0].address, 100_000);
    let recipients = members.each_ref().map(|member| member.address.as_str());
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let reply = smtp.send(&alice.address, &recipients, &mail.to_bytes());
    assert_eq!(reply.expect("SMTP").code, 250);
    // It has all its links when the last of them has it.
    for member in &members {
        assert_eq!(relay.wait_for_messages(member, 1).len(), 1);
    }
    let files = members.each_ref().map(|member| {
        let mailbox = relay.mailbox(member);
        let files = ["new", "cur"].map(|part| fs::read_dir(mailbox.join(part)).expect("a maildir"));
        let mut files = files.into_iter().flatten();
        files
            .next()
            .expect("a message")
            .and_then(|file| file.metadata())
            .expect("a message")
    });
    // One delivery for all of them: Dovecot links the file of the first.
    for file in &files {
        assert_eq!((file.ino(), file.nlink()), (files[0].ino(), 3));
    }
}

#[test]
fn what_the_filter_cannot_see_in_a_header_is_not_delivered() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail = Mail::encrypted(&alice.address, &bob.address);
    // A NUL ends what Postfix shows of a field, and a line that begins with `From ` is none: it is
    // that of a mailbox file, and becomes a field of another name.
    let id = mail.message_id().to_owned();
    let mail = mail
        .set("Message-ID", &format!("{id}\0Attack at dawn"))
        .add(
            "References",
            "<1@chat.test>\0Attack\r\n\t<2@chat.test>\0at dawn",
        );
    let message = [b"From attack at dawn\r\n", &mail.to_bytes()[..]].concat();
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let reply = smtp
        .send(&alice.address, &[&bob.address], &message)
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");

    let messages = relay.wait_for_messages(&bob, 1);
    assert_eq!(header_values(&messages[0], "Message-ID"), [id]);
    let text = String::from_utf8_lossy(&messages[0]).to_ascii_lowercase();
    assert!(!text.contains("attack") && !text.contains("dawn"), "{text}");
}

/// What Postfix shows the filter in a repaired form, it delivers in that form.
#[test]
fn a_lone_cr_or_a_space_behind_a_field_name_is_not_delivered() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    // Nothing of it is signed.
    let mail = Mail::encrypted(STRANGER, &bob.address)
        .add("X-One ", "1")
        .add("X-Tab\t", "1")
        .add("X-Two\r", "2")
        .add("X-Three", "3\rX-Four: 4")
        .add("X-Five", "5\r\r\n\tX-Six: 6");
    let body: Vec<u8> = String::from_utf8_lossy(mail.body())
        .replacen("Version: 1\r\n", "Version: 1\r\r\n", 1)
        .into_bytes();
    let mail = mail.body_is(&body).add("Chat-Version", "1.0");
    let from = "carol@[192.0.2.1]";
    let mail = mail.set("From", &format!("<{from}>"));
    let reply = deliver(&relay, from, &[&bob], &mail);
    assert_eq!(reply.code, 250, "{reply}");
    let messages = relay.wait_for_messages(&bob, 1);
    let header = String::from_utf8_lossy(&messages[0]).into_owned();
    let header = header.split("\r\n\r\n").next().unwrap_or_default();
    for name in ["X-One", "X-Tab", "X-Two", "X-Three", "X-Five"] {
        assert!(header.contains(&format!("\n{name}:")), "{name}: {header}");
    }
    let text = String::from_utf8_lossy(&messages[0]).replace("\r\n", "");
    assert!(!text.contains('\r'), "{text:?}");
}

#[test]
fn an_encrypted_message_of_a_megabyte_arrives_intact() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail = Mail::encrypted_of_size(&alice.address, &bob.address, 1 << 20);
    let reply = relay.send(Door::Smtps, &alice, &bob, &mail);
    assert_eq!(reply.code, 250, "{reply}");
    let messages = relay.wait_for_messages(&bob, 1);
    assert!(body(&messages[0]) == mail.body(), "the body changed");
}

#[test]
fn a_client_that_waits_hears_of_new_mail() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mut waiting = relay.imap(&bob);
    assert_eq!(waiting.select_inbox().expect("INBOX"), 0);
    thread::scope(|scope| {
        let heard = scope.spawn(|| waiting.idle_until(|line| line == "1 EXISTS"));
        relay.send_encrypted(&alice, &bob);
        heard.join().expect("client").expect("IDLE");
    });
    assert_eq!(waiting.inbox().expect("INBOX").len(), 1);
}

#[test]
fn outgoing_cleartext_is_refused_with_523() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    for door in [Door::Smtps, Door::Submission] {
        let mail = Mail::cleartext(&alice.address, &bob.address);
        let reply = relay.send(door, &alice, &bob, &mail);
        assert_eq!(reply.to_string(), ENCRYPTION_NEEDED);
    }
    only_this_arrives(&relay, &alice, &bob);
}

#[test]
fn incoming_cleartext_is_refused_with_523() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail = Mail::cleartext(STRANGER, &bob.address);
    let reply = deliver(&relay, STRANGER, &[&bob], &mail);
    assert_eq!(reply.to_string(), ENCRYPTION_NEEDED);
    only_this_arrives(&relay, &alice, &bob);
}

#[test]
fn incoming_cleartext_needs_the_consent_of_every_recipient() {
    let relay = Instance::start();
    let [bob, carl] = ["bob", "carl"].map(|name| relay.account(name));
    let consent = relay.mailbox(&bob).join("enforceE2EEincoming");
    std::fs::remove_file(consent).expect("enforceE2EEincoming");

    let mail = Mail::cleartext(STRANGER, &bob.address);
    let mail = known_signer(&relay).sign(&mail);
    let reply = deliver(&relay, STRANGER, &[&bob, &carl], &mail);
    assert_eq!(reply.to_string(), ENCRYPTION_NEEDED);
    let reply = deliver(&relay, STRANGER, &[&bob], &mail);
    assert_eq!(reply.code, 250, "{reply}");
    assert_eq!(relay.wait_for_messages(&bob, 1).len(), 1);
    assert_eq!(relay.imap(&carl).select_inbox().expect("INBOX"), 0);
}

#[test]
fn a_secure_join_request_passes_in_the_clear() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail = Mail::secure_join_request(&alice.address, &bob.address);
    let reply = relay.send(Door::Smtps, &alice, &bob, &mail);
    assert_eq!(reply.code, 250, "{reply}");
    let messages = relay.wait_for_messages(&bob, 1);
    assert_eq!(header_values(&messages[0], "Secure-Join"), ["vc-request"]);
}

#[test]
fn encrypted_mail_and_delivery_reports_come_in_from_other_servers() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let signer = known_signer(&relay);
    let mail = signer.sign(&Mail::encrypted(STRANGER, &bob.address));
    let reply = deliver(&relay, STRANGER, &[&bob], &mail);
    assert_eq!(reply.code, 250, "{reply}");
    let report = Mail::delivery_report("mailer-daemon@elsewhere.test", &bob.address);
    let report = signer.sign(&report);
    let reply = deliver(&relay, "", &[&bob], &report);
    assert_eq!(reply.code, 250, "{reply}");

    let messages = relay.wait_for_messages(&bob, 2);
    let mut ids: Vec<_> = messages
        .iter()
        .flat_map(|message| header_values(message, "Message-ID"))
        .collect();
    ids.sort();
    let mut expected = [mail.message_id(), report.message_id()];
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[test]
fn a_forged_from_header_is_refused() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let genuine = Mail::encrypted(&alice.address, &bob.address);
    let forgeries = [
        genuine.clone().set("From", &format!("<{}>", bob.address)),
        genuine
            .clone()
            .set("From", &format!("<{}> <{}>", alice.address, bob.address)),
        genuine
            .clone()
            .set("From", &format!("<{}>, <{}>", alice.address, bob.address)),
        genuine.clone().add("From", &format!("<{}>", alice.address)),
        genuine.clone().add("From", &format!("<{}>", bob.address)),
        genuine.clone().set("From", "undisclosed"),
        genuine.clone().without("From"),
    ];
    for forgery in forgeries {
        let from = header_values(&forgery.to_bytes(), "From");
        let reply = relay.send(Door::Smtps, &alice, &bob, &forgery);
        assert!(
            reply.to_string().starts_with("500 Invalid FROM"),
            "{from:?}: {reply}"
        );
    }
    let forged = genuine.clone().set("From", &format!("<{}>", bob.address));
    let reply = relay.send(Door::Submission, &alice, &bob, &forged);
    let expected = format!("500 Invalid FROM <{}> for <{}>", bob.address, alice.address);
    assert_eq!(reply.to_string(), expected);
    only_this_arrives(&relay, &alice, &bob);
}

#[test]
fn a_forged_envelope_sender_is_refused() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    for door in [Door::Smtps, Door::Submission] {
        let mail = Mail::encrypted(&bob.address, &alice.address);
        let mut smtp = relay.smtp(door, &alice);
        let reply = smtp.send(&bob.address, &[&alice.address], &mail.to_bytes());
        assert_eq!(reply.expect("SMTP").code, 553);
    }
    assert_eq!(relay.imap(&alice).select_inbox().expect("INBOX"), 0);
}

#[test]
fn nobody_submits_without_a_login_and_nobody_relays() {
    let relay = Instance::start();
    let alice = relay.account("alice");
    for door in [Door::Smtps, Door::Submission] {
        let mut smtp = Smtp::connect(relay.endpoints(), door).expect("SMTP");
        let reply = smtp
            .envelope(&alice.address, &[&alice.address])
            .expect("SMTP");
        assert!(reply.code >= 500, "{reply}");
    }
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    let reply = smtp.envelope(STRANGER, &["dave@third.test"]).expect("SMTP");
    assert_eq!(reply.code, 554, "{reply}");
    assert!(
        !smtp
            .extensions
            .iter()
            .any(|extension| extension.starts_with("AUTH"))
    );
}

#[test]
fn mail_to_nobody_is_refused_at_once_and_makes_no_account() {
    let relay = Instance::start();
    let alice = relay.account("alice");
    let nobody = relay.new_account("nobody");
    let mail = Mail::encrypted(&alice.address, &nobody.address);
    let reply = relay.send(Door::Smtps, &alice, &nobody, &mail);
    assert_eq!(reply.to_string(), "550 5.1.1 No such mailbox");
    assert!(!relay.mailbox(&nobody).exists());
}

#[test]
fn mail_to_a_domain_that_no_mail_goes_to_is_refused_at_once() {
    let relay = Instance::start();
    let alice = relay.account("alice");
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let reply = smtp.envelope(&alice.address, &[STRANGER]).expect("SMTP");
    assert_eq!(reply.code, 550, "{reply}");
}

#[test]
fn mail_that_is_refused_elsewhere_comes_back() {
    let outside = Outside::start().expect("server");
    outside.refuse(STRANGER);
    let relay = Instance::with().route("elsewhere.test", &outside).start();
    let alice = relay.account("alice");
    let mail = Mail::encrypted(&alice.address, STRANGER);
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let reply = smtp
        .send(&alice.address, &[STRANGER], &mail.to_bytes())
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");
    let messages = relay.wait_for_messages(&alice, 1);
    let report = String::from_utf8_lossy(&messages[0]);
    assert!(header_values(&messages[0], "Content-Type")[0].starts_with("multipart/report"));
    assert!(report.contains("Nobody of that name here"), "{report}");
    assert!(report.contains(mail.message_id()), "{report}");
}

#[test]
fn a_sender_over_the_rate_limit_is_told_to_wait() {
    let relay = Instance::with()
        .param("max_user_send_per_minute", 1)
        .param("max_user_send_burst_size", 3)
        .start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail_of = |from: &Account| Mail::encrypted(&from.address, &bob.address);
    for _ in 0..3 {
        let reply = relay.send(Door::Smtps, &alice, &bob, &mail_of(&alice));
        assert_eq!(reply.code, 250, "{reply}");
    }
    for door in [Door::Smtps, Door::Submission] {
        let reply = relay.send(door, &alice, &bob, &mail_of(&alice));
        let expected = format!("450 4.7.1: Too much mail from <{}>", alice.address);
        assert_eq!(reply.to_string(), expected);
    }
    let reply = relay.send(Door::Smtps, &bob, &bob, &mail_of(&bob));
    assert_eq!(reply.code, 250, "{reply}");
    assert_eq!(relay.wait_for_messages(&bob, 4).len(), 4);
}

#[test]
fn a_message_over_the_size_limit_is_refused() {
    let relay = Instance::with().param("max_message_size", 100_000).start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail = Mail::encrypted_of_size(&alice.address, &bob.address, 100_000);
    let reply = relay.send(Door::Smtps, &alice, &bob, &mail);
    assert_eq!(reply.code, 552, "{reply}");
    only_this_arrives(&relay, &alice, &bob);
}

/// Sends a good message after all the refused ones: it is the only one that arrives.
fn only_this_arrives(relay: &Instance, from: &Account, to: &Account) {
    let mail = relay.send_encrypted(from, to);
    let messages = relay.wait_for_messages(to, 1);
    assert_eq!(messages.len(), 1);
    assert_eq!(
        header_values(&messages[0], "Message-ID"),
        [mail.message_id()]
    );
}

/// Somebody who signs for the stranger's domain.
fn known_signer(relay: &Instance) -> Signer {
    let signer = Signer::ed25519("elsewhere.test");
    signer.publish(relay);
    signer
}

/// As another server would, on port 25.
fn deliver(relay: &Instance, from: &str, to: &[&Account], mail: &Mail) -> Reply {
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    let to: Vec<_> = to.iter().map(|to| to.address.as_str()).collect();
    smtp.send(from, &to, &mail.to_bytes()).expect("SMTP")
}
