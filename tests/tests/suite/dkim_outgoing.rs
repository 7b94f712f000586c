//! What leaves is signed, so that another implementation finds nothing wrong with it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use chatmail_tests::dkim::Signer;
use chatmail_tests::dkimpy::{self, Signature};
use chatmail_tests::instance::Account;
use chatmail_tests::mail::{body, header_values};
use chatmail_tests::outside::{Outside, Received};
use chatmail_tests::smtp::{Door, Smtp};
use chatmail_tests::{Instance, Mail};

const CAROL: &str = "carol@elsewhere.test";

/// Signed once more than they are there: none can be added unnoticed.
const OVERSIGNED: [&str; 30] = [
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "cc",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "in-reply-to",
    "references",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
    "autocrypt",
    "content-type",
    "content-transfer-encoding",
    "mime-version",
    "message-id",
    "secure-join",
    "secure-join-auth",
    "secure-join-fingerprint",
    "secure-join-group",
    "secure-join-invitenumber",
];

#[test]
fn mail_of_a_user_verifies_with_another_implementation() {
    let scene = Scene::new();
    for (number, door) in [Door::Smtps, Door::Submission].into_iter().enumerate() {
        let mail = Mail::encrypted(&scene.alice.address, CAROL)
            .set("Subject", "Lunch at noon")
            .add("References", "<1@chat.test>\r\n\t<2@chat.test>")
            .add(
                "Received",
                "from laptop ([198.51.100.7]) by phone; Fri, 2 Jan 2026 12:00:00 +0000",
            )
            .add("User-Agent", "Some Client 1.0");
        let reply = scene.send(door, &mail);
        assert_eq!(reply, 250);
        let received = &scene.outside.wait_for(number + 1)[number];
        assert!(
            received
                .sender
                .starts_with(&format!("<{}>", scene.alice.address))
        );
        assert_eq!(received.message_id(), mail.message_id());
        assert!(body(&received.message) == mail.body());
        assert_eq!(header_values(&received.message, "Subject"), ["[...]"]);

        let signature = scene.only_signature(received);
        let is = |name: &str| match name {
            "a" => signature.algorithm.clone(),
            "c" => signature.canonicalization.clone(),
            "d" => signature.domain.clone(),
            _ => signature.selector.clone(),
        };
        let expected = ["rsa-sha256", "relaxed/simple", "chat.test", "opendkim"];
        assert_eq!(["a", "c", "d", "s"].map(is), expected);
        let signed = |name: &str| {
            let count = signature.fields.iter().filter(|field| *field == name);
            count.count()
        };
        let there = |name: &str| header_values(&received.message, name).len();
        for name in OVERSIGNED {
            assert_eq!(signed(name), there(name) + 1, "{name}");
        }
        assert_eq!(signed("chat-version"), 1);
        let text = String::from_utf8_lossy(&received.message);
        let lines = text
            .lines()
            .skip_while(|line| !line.starts_with("DKIM-Signature:"));
        let folded = lines.skip(1).take_while(|line| line.starts_with('\t'));
        let longest = folded.map(str::len).max();
        assert!((1..80).contains(&longest.unwrap_or(0)), "{text}");
    }
}

#[test]
fn what_is_changed_on_the_way_shows() {
    let scene = Scene::new();
    assert_eq!(
        scene.send(Door::Smtps, &Mail::encrypted(&scene.alice.address, CAROL)),
        250
    );
    let received = &scene.outside.wait_for(1)[0];
    scene.only_signature(received);
    let text = String::from_utf8_lossy(&received.message).into_owned();
    for (what, changed) in [
        ("another From", format!("From: <eve@chat.test>\r\n{text}")),
        ("From", text.replacen("From: <", "From: Eve <", 1)),
        ("another Subject", format!("Subject: Lunch\r\n{text}")),
        ("Reply-To", format!("Reply-To: <eve@chat.test>\r\n{text}")),
        (
            "Autocrypt",
            format!("Autocrypt: addr=eve@chat.test\r\n{text}"),
        ),
        (
            "Content-Type",
            text.replacen("multipart/encrypted", "multipart/mixed", 1),
        ),
        (
            "another Content-Type",
            format!("Content-Type: text/html\r\n{text}"),
        ),
        (
            "Content-Transfer-Encoding",
            format!("Content-Transfer-Encoding: base64\r\n{text}"),
        ),
        (
            "another MIME-Version",
            format!("MIME-Version: 1.0\r\n{text}"),
        ),
        (
            "another Message-ID",
            format!("Message-ID: <1@chat.test>\r\n{text}"),
        ),
        (
            "Secure-Join",
            format!("Secure-Join: vg-member-added\r\n{text}"),
        ),
        (
            "Secure-Join-Fingerprint",
            format!("Secure-Join-Fingerprint: 00\r\n{text}"),
        ),
        ("body", text.replacen("Version: 1", "Version: 2", 1)),
        ("end", format!("{text}Attack at dawn.\r\n")),
    ] {
        assert_ne!(changed, text, "{what}");
        let signatures = dkimpy::verify(&scene.relay.endpoints().dns_zone, changed.as_bytes());
        assert!(!signatures[0].valid, "{what}");
    }
}

#[test]
fn a_signature_of_the_client_is_not_sent_on() {
    let scene = Scene::new();
    let mail = Mail::encrypted(&scene.alice.address, CAROL);
    let mail = Signer::ed25519("chat.test").sign(&mail);
    let mail = Signer::ed25519("elsewhere.test")
        .sign(&mail)
        .add("DKIM-Signature", "v=1; forged")
        .add(
            "Authentication-Results",
            "chat.test; dkim=pass header.d=elsewhere.test",
        );
    assert_eq!(scene.send(Door::Smtps, &mail), 250);
    let received = &scene.outside.wait_for(1)[0];
    scene.only_signature(received);
    assert_eq!(
        header_values(&received.message, "Authentication-Results"),
        [] as [String; 0]
    );
}

#[test]
fn a_secure_join_request_and_a_large_message_are_signed_too() {
    let scene = Scene::new();
    let mails = [
        Mail::secure_join_request(&scene.alice.address, CAROL),
        Mail::encrypted_of_size(&scene.alice.address, CAROL, 4 << 20),
    ];
    for (number, mail) in mails.iter().enumerate() {
        assert_eq!(scene.send(Door::Smtps, mail), 250);
        let received = &scene.outside.wait_for(number + 1)[number];
        assert!(body(&received.message) == mail.body(), "the body changed");
        scene.only_signature(received);
    }
}

#[test]
fn what_postfix_writes_itself_is_signed() {
    let scene = Scene::new();
    let Scene { relay, outside, .. } = &scene;
    let signer = Signer::ed25519("elsewhere.test");
    signer.publish(relay);
    let bob = relay.account("bob");

    // A report that a message was delivered, asked for by its sender.
    let delivered = signer.sign(&Mail::encrypted(CAROL, &bob.address));
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    for command in [
        format!("MAIL FROM:<{CAROL}>"),
        format!("RCPT TO:<{}> NOTIFY=SUCCESS", bob.address),
    ] {
        assert_eq!(smtp.command(&command).expect("SMTP").code, 250);
    }
    assert_eq!(smtp.command("DATA").expect("SMTP").code, 354);
    assert_eq!(smtp.content(&delivered.to_bytes()).expect("SMTP").code, 250);
    // A report that one was not: the mailbox goes between RCPT and the delivery.
    let lost = signer.sign(&Mail::encrypted(CAROL, &bob.address));
    relay.wait_for_messages(&bob, 1);
    outside.wait_for(1);
    assert_eq!(
        smtp.envelope(CAROL, &[&bob.address]).expect("SMTP").code,
        354
    );
    fs::remove_dir_all(relay.mailbox(&bob)).expect("mailbox");
    assert_eq!(smtp.content(&lost.to_bytes()).expect("SMTP").code, 250);

    let reports = outside.wait_for(2);
    for (report, mail) in reports.iter().zip([&delivered, &lost]) {
        assert!(report.sender.starts_with("<>"), "{}", report.sender);
        let text = String::from_utf8_lossy(&report.message);
        assert!(text.contains(mail.message_id()), "{text}");
        let from = header_values(&report.message, "From");
        assert!(from[0].contains("MAILER-DAEMON@chat.test"), "{from:?}");
        assert_eq!(scene.only_signature(report).domain, "chat.test");
    }
}

/// A signature says that a user of ours wrote it.
#[test]
fn what_a_local_process_submits_is_not_signed() {
    let scene = Scene::new();
    let config = &scene.relay.endpoints().postfix_config_directory;
    let mut asked = Command::new("postconf");
    asked
        .arg("-c")
        .arg(config)
        .args(["-h", "authorized_submit_users"]);
    let allowed = asked.output().expect("postconf").stdout;
    assert_eq!(String::from_utf8_lossy(&allowed).trim(), "root");

    let mail = Mail::cleartext(&scene.alice.address, CAROL);
    let mut sendmail = Command::new("sendmail")
        .arg("-C")
        .arg(config)
        .args(["-i", "-f", &scene.alice.address, CAROL])
        .stdin(Stdio::piped())
        .spawn()
        .expect("sendmail");
    let mut input = sendmail.stdin.take().expect("input");
    input.write_all(&mail.to_bytes()).expect("sendmail");
    drop(input);
    sendmail.wait().expect("sendmail");
    // Behind it in the queue, and with the same key at hand.
    let good = Mail::encrypted(&scene.alice.address, CAROL);
    assert_eq!(scene.send(Door::Smtps, &good), 250);
    chatmail_tests::wait::until_true("an empty queue", || {
        let queued = chatmail_tests::filter::queued(&scene.relay);
        !scene.outside.received().is_empty() && queued.is_ok_and(|queue| queue.is_empty())
    });
    for received in scene.outside.received() {
        let signed = !header_values(&received.message, "DKIM-Signature").is_empty();
        assert_eq!(signed, received.message_id() == good.message_id());
    }
}

#[test]
fn a_relay_on_an_address_signs_nothing() {
    let outside = Outside::start().expect("server");
    let relay = Instance::with()
        .param("mail_domain", "192.0.2.1")
        .route("elsewhere.test", &outside)
        .start();
    let alice = relay.account("alice");
    let mail = Mail::encrypted(&alice.address, CAROL);
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let reply = smtp
        .send(&alice.address, &[CAROL], &mail.to_bytes())
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");
    let received = &outside.wait_for(1)[0];
    assert_eq!(received.message_id(), mail.message_id());
    assert_eq!(
        header_values(&received.message, "DKIM-Signature"),
        [] as [String; 0]
    );
}

/// A relay with a user, and a server outside.
struct Scene {
    relay: Instance,
    outside: Outside,
    alice: Account,
}

impl Scene {
    fn new() -> Scene {
        let outside = Outside::start().expect("server");
        let relay = Instance::with().route("elsewhere.test", &outside).start();
        let alice = relay.account("alice");
        Scene {
            relay,
            outside,
            alice,
        }
    }

    /// From the user to the server outside; returns the code of the reply.
    fn send(&self, door: Door, mail: &Mail) -> u16 {
        let mut smtp = self.relay.smtp(door, &self.alice);
        let reply = smtp.send(&self.alice.address, &[CAROL], &mail.to_bytes());
        reply.expect("SMTP").code
    }

    /// There is one, and it is good.
    #[track_caller]
    fn only_signature(&self, received: &Received) -> Signature {
        let zone = &self.relay.endpoints().dns_zone;
        let signatures = dkimpy::verify(zone, &received.message);
        let [signature] = &signatures[..] else {
            panic!("not one signature: {signatures:?}");
        };
        assert!(
            signature.valid,
            "{signature:?}\n{}",
            String::from_utf8_lossy(&received.message)
        );
        signature.clone()
    }
}
