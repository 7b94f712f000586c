//! Which senders may send to which recipients, and that a client's statements about a message are kept.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::chown;

use chatmail_tests::dkim::Signer;
use chatmail_tests::instance::Account;
use chatmail_tests::mail::{body, header_values};
use chatmail_tests::outside::Outside;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail};

const STRANGER: &str = "carol@elsewhere.test";
const DOORS: [Door; 3] = [Door::Smtps, Door::Submission, Door::Smtp];

const UNKNOWN: &str = "550 5.1.1 No such mailbox";

#[test]
fn an_unknown_recipient_of_another_server_is_refused_at_rcpt() {
    let scene = Scene::new();
    let nobody = scene.relay.new_account("nobody").address;
    let mut smtp = scene.session(Door::Smtp);
    scene.mail_from(&mut smtp, Door::Smtp);
    let reply = rcpt(&mut smtp, &nobody, "");
    assert_eq!(reply.to_string(), UNKNOWN);
    // The others get the message.
    assert_eq!(rcpt(&mut smtp, &scene.bob.address, "").code, 250);
    let reply = scene.data(&mut smtp, &scene.mail(Door::Smtp));
    assert_eq!(reply.code, 250, "{reply}");
    assert_eq!(scene.relay.wait_for_messages(&scene.bob, 1).len(), 1);
    assert!(!scene.relay.endpoints().mailbox(&nobody).exists());
}

/// Postfix takes all of these for the same mailbox; what is accepted now would bounce to a stranger.
#[test]
fn mail_to_an_unknown_recipient_is_refused_however_it_is_written() {
    let scene = Scene::new();
    let nobody = scene.relay.new_account("nobody").address;
    let localpart = nobody.trim_end_matches("@chat.test");
    let forms = [
        nobody.to_uppercase(),
        format!("{localpart}@Chat.Test"),
        format!("{localpart}+tag@chat.test"),
        format!("\"{localpart}\"@chat.test"),
        format!("{localpart}@chat.test."),
        format!("@elsewhere.test:{nobody}"),
        localpart.to_owned(),
        "postmaster".to_owned(),
        "postmaster@chat.test".to_owned(),
        format!("{localpart}%elsewhere.test@chat.test"),
        format!("{localpart}@[127.0.0.1]"),
        "../bob@chat.test".to_owned(),
        "@chat.test".to_owned(),
    ];
    let mut wrong = Vec::new();
    for door in [Door::Smtps, Door::Smtp] {
        for form in &forms {
            let reply = scene.reply_to_mail_for(door, form);
            if reply.code < 500 {
                wrong.push(format!("{door:?} <{form}>: {reply}"));
            }
        }
    }
    assert_eq!(wrong, [] as [String; 0], "{}", wrong.join("\n"));
}

#[test]
fn a_disabled_user_logs_in_nowhere_sends_nothing_and_gets_nothing() {
    let scene = Scene::new();
    let Scene {
        relay, alice, bob, ..
    } = &scene;
    let mut open = [Door::Smtps, Door::Submission].map(|door| relay.smtp(door, alice));
    let disabled = relay.mailbox(alice).join("DISABLED");
    File::create(&disabled).expect("DISABLED");

    for smtp in &mut open {
        let mail = Mail::encrypted(&alice.address, &bob.address).to_bytes();
        let reply = smtp
            .send(&alice.address, &[&bob.address], &mail)
            .expect("SMTP");
        assert_eq!(reply.to_string(), "550 5.7.1 This account is disabled");
    }
    let answer = relay.try_imap(&alice.address, &alice.password);
    assert_eq!(answer.code(), Some("AUTHENTICATIONFAILED"), "{answer}");
    for door in [Door::Smtps, Door::Submission] {
        let mut smtp = Smtp::connect(relay.endpoints(), door).expect("SMTP");
        let reply = smtp.login(&alice.address, &alice.password).expect("AUTH");
        assert_eq!(reply.code, 535, "{reply}");
    }
    let reply = scene.reply_to_mail_for(Door::Smtp, &alice.address);
    assert_eq!(reply.to_string(), UNKNOWN);
    let mail = Mail::encrypted(&bob.address, &alice.address);
    let reply = relay.send(Door::Smtps, bob, alice, &mail);
    assert_eq!(reply.to_string(), UNKNOWN);

    fs::remove_file(disabled).expect("DISABLED");
    relay.send_encrypted(alice, bob);
    relay.send_encrypted(bob, alice);
    assert_eq!(relay.wait_for_messages(alice, 1).len(), 1);
    assert_eq!(relay.wait_for_messages(bob, 1).len(), 1);
}

#[test]
fn mail_to_a_full_mailbox_is_refused() {
    let scene = Scene::on(Instance::with().param("max_mailbox_size", "10M"));
    let mailbox = scene.relay.mailbox(&scene.bob);
    let owner = fs::metadata(&mailbox).expect("mailbox");
    let sizes = mailbox.join("maildirsize");
    // Maildir++: the limit, then a line for each change, in octets and messages.
    for (lines, full) in [
        ("10485760S\n10485760 3\n", true),
        ("10485760S\n6000000 3\n6000000 1\n", true),
        ("10485760S\n10485760 3\n-1000000 -1\n", false),
    ] {
        fs::write(&sizes, lines).expect("maildirsize");
        chown(&sizes, Some(owner.uid()), Some(owner.gid())).expect("maildirsize");
        for door in DOORS {
            let reply = scene.reply_to_mail_for(door, &scene.bob.address);
            match full {
                true => assert_eq!(reply.to_string(), "552 5.2.2 Mailbox is full", "{door:?}"),
                false => assert_eq!(reply.code, 250, "{door:?}: {reply}"),
            }
        }
    }
}

#[test]
fn a_sender_who_is_not_the_author_gets_no_bounce() {
    let scene = Scene::new();
    let author = STRANGER;
    for (number, (sender, left)) in [
        ("bounces@list.elsewhere.test", "<>"),
        ("carol@other.test", "<>"),
        (author, "<carol@elsewhere.test>"),
        ("Carol@Elsewhere.TEST", "<Carol@Elsewhere.TEST>"),
        ("", "<>"),
    ]
    .into_iter()
    .enumerate()
    {
        let mail = scene
            .signer
            .sign(&Mail::encrypted(author, &scene.bob.address));
        let mut smtp = scene.session(Door::Smtp);
        let reply = smtp
            .send(sender, &[&scene.bob.address], &mail.to_bytes())
            .expect("SMTP");
        assert_eq!(reply.code, 250, "<{sender}>: {reply}");
        let messages = scene.relay.wait_for_messages(&scene.bob, number + 1);
        let message = &messages[number];
        assert_eq!(header_values(message, "Message-ID"), [mail.message_id()]);
        assert_eq!(header_values(message, "Return-Path"), [left], "<{sender}>");
    }
}

#[test]
fn nobody_but_the_author_hears_of_mail_that_cannot_be_delivered() {
    let scene = Scene::new();
    // The sender is a user of ours, who would get the bounce.
    let mail = scene
        .signer
        .sign(&Mail::encrypted(STRANGER, &scene.bob.address));
    let mut smtp = scene.session(Door::Smtp);
    let reply = smtp
        .send(
            &scene.alice.address,
            &[&scene.bob.address],
            &mail.to_bytes(),
        )
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");
    let messages = scene.relay.wait_for_messages(&scene.bob, 1);
    assert_eq!(header_values(&messages[0], "Return-Path"), ["<>"]);
    assert_eq!(
        scene
            .relay
            .imap(&scene.alice)
            .select_inbox()
            .expect("INBOX"),
        0
    );
}

#[test]
fn a_user_asks_for_reports_of_delivery_and_gets_them() {
    let scene = Scene::new();
    let Scene {
        relay, alice, bob, ..
    } = &scene;
    let mut smtp = relay.smtp(Door::Smtps, alice);
    for extension in ["DSN", "8BITMIME", "SMTPUTF8", "SIZE"] {
        let offered = smtp
            .extensions
            .iter()
            .any(|line| line.starts_with(extension));
        assert!(offered, "{extension}");
    }
    let mail = Mail::encrypted(&alice.address, &bob.address);
    let command = format!("MAIL FROM:<{}> RET=HDRS ENVID=QQ314159", alice.address);
    assert_eq!(smtp.command(&command).expect("SMTP").code, 250);
    let parameters = " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bobby@Elsewhere.Test";
    assert_eq!(rcpt(&mut smtp, &bob.address, parameters).code, 250);
    assert_eq!(scene.data(&mut smtp, &mail.to_bytes()).code, 250);

    let reports = relay.wait_for_messages(alice, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    for line in [
        "Original-Envelope-Id: QQ314159",
        "Original-Recipient: rfc822;Bobby@Elsewhere.Test",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(report.contains(mail.message_id()), "{report}");
    // RET=HDRS: the report has the header alone.
    assert!(!report.contains("BEGIN PGP MESSAGE"), "{report}");
}

/// An envelope identifier and an original recipient are any text (RFC 3461), and no filter looks at it.
#[test]
fn what_a_user_writes_into_the_envelope_stays_here() {
    let outside = Outside::start().expect("server");
    let scene = Scene::on(Instance::with().route("elsewhere.test", &outside));
    let Scene { relay, alice, .. } = &scene;
    let mail = Mail::encrypted(&alice.address, STRANGER);
    let mut smtp = relay.smtp(Door::Smtps, alice);
    let command = format!(
        "MAIL FROM:<{}> RET=FULL ENVID=Meet+20me+20at+20noon BODY=8BITMIME",
        alice.address
    );
    assert_eq!(smtp.command(&command).expect("SMTP").code, 250);
    let parameters = " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;behind+20the+20old+20mill";
    assert_eq!(rcpt(&mut smtp, STRANGER, parameters).code, 250);
    assert_eq!(scene.data(&mut smtp, &mail.to_bytes()).code, 250);
    let received = &outside.wait_for(1)[0];
    assert_eq!(
        received.sender,
        format!("<{}> BODY=8BITMIME", alice.address)
    );
    assert_eq!(received.recipients, [format!("<{STRANGER}>")]);
    let reports = relay.wait_for_messages(alice, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    for line in ["Action: relayed", "Original-Envelope-Id: Meet"] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

#[test]
fn a_user_who_wants_no_report_gets_none() {
    let outside = Outside::start().expect("server");
    outside.refuse(STRANGER);
    let scene = Scene::on(Instance::with().route("elsewhere.test", &outside));
    let Scene { relay, alice, .. } = &scene;
    let mut ids = Vec::new();
    // Both are refused there, the first one silently.
    for notify in ["NEVER", "FAILURE"] {
        let mut smtp = relay.smtp(Door::Smtps, alice);
        let mail = Mail::encrypted(&alice.address, STRANGER);
        scene.mail_from(&mut smtp, Door::Smtps);
        let reply = rcpt(&mut smtp, STRANGER, &format!(" NOTIFY={notify}"));
        assert_eq!(reply.code, 250, "{reply}");
        assert_eq!(scene.data(&mut smtp, &mail.to_bytes()).code, 250);
        ids.push(mail.message_id().to_owned());
    }
    let reports = relay.wait_for_messages(alice, 1);
    assert_eq!(reports.len(), 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(
        !report.contains(&ids[0]) && report.contains(&ids[1]),
        "{report}"
    );
}

#[test]
fn eight_bits_and_utf_8_announced_as_such_arrive() {
    let scene = Scene::new();
    scene.allow_cleartext();
    let text = "Grüße um zwölf.\r\n\u{1f375}\r\n".as_bytes();
    for (number, parameters) in [
        " BODY=8BITMIME",
        " BODY=8BITMIME SIZE=2000",
        " SMTPUTF8 BODY=8BITMIME",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        let mail = Mail::cleartext(STRANGER, &scene.bob.address).body_is(text);
        let mail = scene.signer.sign(&mail);
        let mut smtp = scene.session(Door::Smtp);
        let reply = smtp.command(&format!("MAIL FROM:<{STRANGER}>{parameters}"));
        assert_eq!(reply.expect("SMTP").code, 250, "{parameters}");
        assert_eq!(rcpt(&mut smtp, &scene.bob.address, "").code, 250);
        let reply = scene.data(&mut smtp, &mail.to_bytes());
        assert_eq!(reply.code, 250, "{parameters}: {reply}");
        let messages = scene.relay.wait_for_messages(&scene.bob, number + 1);
        assert_eq!(body(&messages[number]), text, "{parameters}");
    }
}

#[test]
fn an_address_is_the_same_in_any_case_and_with_any_tag() {
    let scene = Scene::new();
    let Scene { relay, bob, .. } = &scene;
    let localpart = bob.address.trim_end_matches("@chat.test");
    let forms = [
        bob.address.to_uppercase(),
        format!("{localpart}@CHAT.test"),
        format!("{localpart}+tag@chat.test"),
        format!("{}+Tag@Chat.Test", localpart.to_uppercase()),
    ];
    for door in [Door::Smtps, Door::Smtp] {
        for form in &forms {
            let mut smtp = scene.session(door);
            scene.mail_from(&mut smtp, door);
            assert_eq!(rcpt(&mut smtp, form, "").code, 250, "{door:?} {form}");
            assert_eq!(
                scene.data(&mut smtp, &scene.mail(door)).code,
                250,
                "{door:?} {form}"
            );
        }
    }
    let messages = relay.wait_for_messages(bob, 2 * forms.len());
    assert_eq!(messages.len(), 2 * forms.len());
    assert_eq!(relay.addresses().len(), 2);
}

#[test]
fn a_user_may_write_the_own_address_in_any_case() {
    let scene = Scene::new();
    let Scene {
        relay, alice, bob, ..
    } = &scene;
    let written = alice.address.to_uppercase();
    let mail = Mail::encrypted(&written, &bob.address);
    let mut smtp = relay.smtp(Door::Smtps, alice);
    let reply = smtp
        .send(&written, &[&bob.address], &mail.to_bytes())
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");
    let messages = relay.wait_for_messages(bob, 1);
    assert_eq!(
        header_values(&messages[0], "From"),
        [format!("<{written}>")]
    );
}

#[test]
fn lines_that_begin_with_dots_arrive_as_they_are() {
    let scene = Scene::new();
    scene.allow_cleartext();
    let text = b".\r\n..\r\n...\r\n.a\r\n\r\n.\r\na.\r\n. \r\nend\r\n";
    let mail = Mail::cleartext(STRANGER, &scene.bob.address).body_is(text);
    let mail = scene.signer.sign(&mail);
    let mut smtp = scene.session(Door::Smtp);
    let reply = smtp
        .send(STRANGER, &[&scene.bob.address], &mail.to_bytes())
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");
    let messages = scene.relay.wait_for_messages(&scene.bob, 1);
    assert_eq!(body(&messages[0]), text);
}

/// A relay with two users, and somebody outside who signs.
struct Scene {
    relay: Instance,
    alice: Account,
    bob: Account,
    signer: Signer,
}

impl Scene {
    fn new() -> Scene {
        Scene::on(Instance::with())
    }

    fn on(relay: chatmail_tests::instance::Builder) -> Scene {
        let relay = relay.param("max_user_send_burst_size", 100).start();
        let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
        let signer = Signer::ed25519("elsewhere.test");
        signer.publish(&relay);
        Scene {
            relay,
            alice,
            bob,
            signer,
        }
    }

    fn allow_cleartext(&self) {
        let consent = self.relay.mailbox(&self.bob).join("enforceE2EEincoming");
        fs::remove_file(consent).expect("enforceE2EEincoming");
    }

    fn session(&self, door: Door) -> Smtp {
        match door {
            Door::Smtp => Smtp::connect(self.relay.endpoints(), door).expect("SMTP"),
            Door::Smtps | Door::Submission => self.relay.smtp(door, &self.alice),
        }
    }

    #[track_caller]
    fn mail_from(&self, smtp: &mut Smtp, door: Door) {
        let sender = match door {
            Door::Smtp => STRANGER,
            Door::Smtps | Door::Submission => &self.alice.address,
        };
        let reply = smtp
            .command(&format!("MAIL FROM:<{sender}>"))
            .expect("SMTP");
        assert_eq!(reply.code, 250, "{reply}");
    }

    /// Alone to this recipient: the reply to RCPT on port 25, to the message elsewhere.
    fn reply_to_mail_for(&self, door: Door, recipient: &str) -> Reply {
        let mut smtp = self.session(door);
        self.mail_from(&mut smtp, door);
        let reply = rcpt(&mut smtp, recipient, "");
        match door {
            Door::Smtp => reply,
            _ if !reply.is_positive() => reply,
            _ => self.data(&mut smtp, &self.mail(door)),
        }
    }

    /// Good mail from alice or the stranger to bob.
    fn mail(&self, door: Door) -> Vec<u8> {
        match door {
            Door::Smtp => {
                let mail = Mail::encrypted(STRANGER, &self.bob.address);
                self.signer.sign(&mail).to_bytes()
            }
            _ => Mail::encrypted(&self.alice.address, &self.bob.address).to_bytes(),
        }
    }

    #[track_caller]
    fn data(&self, smtp: &mut Smtp, message: &[u8]) -> Reply {
        let reply = smtp.command("DATA").expect("SMTP");
        assert_eq!(reply.code, 354, "{reply}");
        smtp.content(message).expect("SMTP")
    }
}

fn rcpt(smtp: &mut Smtp, address: &str, parameters: &str) -> Reply {
    smtp.command(&format!("RCPT TO:<{address}>{parameters}"))
        .expect("SMTP")
}
