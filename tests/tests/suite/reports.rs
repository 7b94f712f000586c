//! Delivery reports: those of mail servers pass, text disguised as one does not. Also mail from address
//! literals.

use std::net::IpAddr;

use chatmail_tests::instance::Account;
use chatmail_tests::mail::{ENCRYPTION_NEEDED, header_values};
use chatmail_tests::milter_log::MilterLog;
use chatmail_tests::outside::Outside;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail};

const FOREIGN: &str = "554 5.7.1 The domain of the From address is not the address of this client";

/// Sends a message through port 25 as a client of this address.
fn send(relay: &Instance, client: &str, sender: &str, recipients: &[&str], mail: &Mail) -> Reply {
    let client: IpAddr = client.parse().expect("an address");
    let mut smtp = Smtp::connect_from(relay.endpoints(), Door::Smtp, client).expect("SMTP");
    smtp.send(sender, recipients, &mail.to_bytes())
        .expect("SMTP")
}

fn allow_cleartext(relay: &Instance, account: &Account) {
    let consent = relay.mailbox(account).join("enforceE2EEincoming");
    std::fs::remove_file(consent).expect("enforceE2EEincoming");
}

#[test]
fn text_that_is_dressed_up_as_a_report_is_refused() {
    let relay = Instance::start();
    let bob = relay.account("bob").address;
    let mallory = "mailer-daemon@[127.0.0.1]";
    let page = b"--b\r\nContent-Type: text/html\r\n\r\n<h1>Attack at dawn</h1>\r\n--b--\r\n";
    let as_report = |content_type: &str, automatic: &str| {
        Mail::cleartext(mallory, &bob)
            .set("From", &format!("\"any text\" <{mallory}>"))
            .set("Content-Type", content_type)
            .add("Auto-Submitted", automatic)
            .body_is(page)
    };
    let report_type = "multipart/report; report-type=delivery-status; boundary=b";
    for mail in [
        as_report("multipart/report; boundary=b", "x"),
        as_report("multipart/report; boundary=b", "auto-replied"),
        as_report(report_type, "x"),
        as_report(report_type, "auto-replied"),
    ] {
        for sender in ["mallory@[127.0.0.1]", ""] {
            let reply = send(&relay, "127.0.0.1", sender, &[&bob], &mail);
            assert_eq!(reply.to_string(), ENCRYPTION_NEEDED, "<{sender}>");
        }
    }
}

#[test]
fn a_report_has_no_sender_and_one_recipient() {
    let relay = Instance::start();
    let [bob, eve] = ["bob", "eve"].map(|name| relay.account(name));
    let daemon = "MAILER-DAEMON@[127.0.0.1]";
    let report = Mail::delivery_report(daemon, &bob.address);
    let one = [bob.address.as_str()];
    let both = [bob.address.as_str(), &eve.address];
    for (sender, recipients, code) in [
        (daemon, &one[..], 523),
        ("carol@[127.0.0.1]", &one, 523),
        ("", &both, 523),
        ("", &one, 250),
    ] {
        let reply = send(&relay, "127.0.0.1", sender, recipients, &report);
        assert_eq!(reply.code, code, "<{sender}> {recipients:?}: {reply}");
    }
    assert_eq!(relay.wait_for_messages(&bob, 1).len(), 1);
    assert_eq!(relay.imap(&eve).select_inbox().expect("INBOX"), 0);
}

#[test]
fn what_is_readable_comes_from_the_host_that_the_literal_names() {
    let relay = Instance::start();
    let open = relay.account("open");
    allow_cleartext(&relay, &open);
    let recipient = [open.address.as_str()];
    let report = Mail::delivery_report("MAILER-DAEMON@[127.0.0.5]", &open.address);
    let plain = Mail::cleartext("carol@[127.0.0.5]", &open.address);
    let other = Mail::cleartext("carol@[IPv6:2001:db8::7]", &open.address);
    for (sender, mail) in [
        ("", &report),
        ("carol@[127.0.0.5]", &plain),
        ("carol@[IPv6:2001:db8::7]", &other),
    ] {
        let reply = send(&relay, "127.0.0.6", sender, &recipient, mail);
        assert_eq!(reply.to_string(), FOREIGN, "<{sender}>");
    }
    for (sender, mail) in [("", &report), ("carol@[127.0.0.5]", &plain)] {
        let reply = send(&relay, "127.0.0.5", sender, &recipient, mail);
        assert_eq!(reply.code, 250, "<{sender}>: {reply}");
    }
    assert_eq!(relay.wait_for_messages(&open, 2).len(), 2);
}

#[test]
fn encrypted_mail_of_any_address_literal_arrives_from_any_host() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut log = MilterLog::of(&relay);
    for author in ["carol@[127.0.0.5]", "carol@[IPv6:2001:db8::7]"] {
        let mail = Mail::encrypted(author, &bob.address);
        let reply = send(&relay, "127.0.0.6", author, &[&bob.address], &mail);
        assert_eq!(reply.code, 250, "{author}: {reply}");
        assert_eq!(log.next(author).get("dkim"), "exempt");
    }
    assert_eq!(relay.wait_for_messages(&bob, 2).len(), 2);
}

/// Such a relay has no domain to sign for.
#[test]
fn nobody_outside_writes_as_a_user_of_a_relay_on_an_ip_address() {
    let relay = Instance::with().param("mail_domain", "127.0.0.1").start();
    let [alice, bob] = [relay.account("alice"), relay.account("bob")];
    allow_cleartext(&relay, &bob);
    let mut log = MilterLog::of(&relay);
    for author in [
        alice.address.clone(),
        "nobody@[127.0.0.1]".to_owned(),
        "alice@[IPv6:::ffff:127.0.0.1]".to_owned(),
        "alice@[ipv6:0:0:0:0:0:FFFF:7F00:1]".to_owned(),
    ] {
        let encrypted = Mail::encrypted(&author, &bob.address);
        let plain = Mail::cleartext(&author, &bob.address);
        for mail in [&encrypted, &plain] {
            for client in ["127.0.0.6", "127.0.0.1"] {
                let reply = send(&relay, client, "carol@[127.0.0.6]", &[&bob.address], mail);
                let expected = "554 5.7.1 Users of this relay send no mail from outside";
                assert_eq!(reply.to_string(), expected, "{author} from {client}");
                assert_eq!(log.next(&author).reason(), "own-literal");
            }
        }
    }
    relay.send_encrypted(&alice, &bob);
    assert_eq!(relay.wait_for_messages(&bob, 1).len(), 1);
}

/// Postfix returns the whole message to its author, and another relay would let that pass.
#[test]
fn a_bounce_of_a_relay_on_an_ip_address_passes_at_other_relays_from_that_address() {
    let outside = Outside::start().expect("server");
    let nobody = "nobody@elsewhere.test";
    outside.refuse(nobody);
    let here = Instance::with()
        .param("mail_domain", "127.0.0.1")
        .route("elsewhere.test", &outside)
        .start();
    let there = Instance::with().param("mail_domain", "there.test").start();
    let [alice, bob] = [here.account("alice"), there.account("bob")];
    let mail = Mail::encrypted(&alice.address, nobody);
    let mut smtp = here.smtp(Door::Smtps, &alice);
    let sent = smtp.send(&alice.address, &[nobody], &mail.to_bytes());
    assert_eq!(sent.expect("SMTP").code, 250);
    let bounces = here.wait_for_messages(&alice, 1);
    let bounce = &bounces[0];
    let text = String::from_utf8_lossy(bounce);
    assert!(text.contains("BEGIN PGP MESSAGE") && text.contains(mail.message_id()));
    let from = header_values(bounce, "From");
    assert!(from[0].contains("MAILER-DAEMON@[127.0.0.1]"), "{from:?}");

    let mut log = MilterLog::of(&there);
    for (client, code) in [("127.0.0.6", 554), ("127.0.0.1", 250)] {
        let client: IpAddr = client.parse().expect("an address");
        let mut smtp = Smtp::connect_from(there.endpoints(), Door::Smtp, client).expect("SMTP");
        let reply = smtp.send("", &[&bob.address], bounce).expect("SMTP");
        assert_eq!(reply.code, code, "{client}: {reply}");
        let entry = log.next("the bounce");
        let reason = match code {
            250 => "delivery-report",
            _ => "foreign-literal",
        };
        assert_eq!(entry.reason(), reason, "{entry:?}");
    }
    there.wait_for_messages(&bob, 1);
}
