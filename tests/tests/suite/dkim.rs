//! Incoming mail is signed by the domain it says it is from, or does not come in.

use std::fs;

use chatmail_tests::dkim::Signer;
use chatmail_tests::dns::{self, zone};
use chatmail_tests::instance::Account;
use chatmail_tests::mail::{ENCRYPTION_NEEDED, body, header_values};
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail, dkimpy};

const DOMAIN: &str = "elsewhere.test";
const CAROL: &str = "carol@elsewhere.test";

const NO_SIGNATURE: &str = "554 5.7.1 No DKIM signature found";
const NOT_VALID: &str = "554 5.7.1 No valid DKIM signature found";

#[test]
fn mail_signed_by_its_domain_arrives_without_the_signature() {
    let scene = Scene::new();
    for signer in [Signer::ed25519(DOMAIN), Signer::rsa(DOMAIN, 1024)] {
        signer.publish(&scene.relay);
        scene.arrives(&signer.sign(&scene.mail()));
    }
    // The domain of an address is the same in any case.
    let mail = scene.mail().set("From", "Carol <Carol@ELSEWHERE.Test>");
    scene.arrives(&scene.signer.sign(&mail));
}

#[test]
fn mail_signed_by_another_implementation_arrives() {
    let scene = Scene::new();
    for (algorithm, canonicalization) in [
        ("rsa-sha256", "relaxed/relaxed"),
        ("rsa-sha256", "simple/simple"),
        ("rsa-sha256", "simple/relaxed"),
        ("ed25519-sha256", "relaxed/simple"),
        ("ed25519-sha256", "relaxed/relaxed"),
    ] {
        let mail = scene.mail();
        let signed = dkimpy::sign(
            &scene.relay,
            DOMAIN,
            algorithm,
            canonicalization,
            2048,
            &mail,
        );
        scene.arrives(&signed);
        // The same key, and another message under the signature.
        let tampered = signed.body_is(scene.other_mail().body());
        scene.is_refused("a changed body", &tampered);
    }
}

#[test]
fn a_message_that_was_changed_on_its_way_is_refused() {
    let scene = Scene::new();
    let signed = scene.signer.sign(&scene.mail());
    let other = scene.other_mail();
    for (what, mail) in [
        ("body", signed.clone().body_is(other.body())),
        (
            "From",
            signed.clone().set("From", "Karla <carol@elsewhere.test>"),
        ),
        (
            "From, another user",
            signed.clone().set("From", "<dave@elsewhere.test>"),
        ),
        ("Subject", signed.clone().set("Subject", "...")),
        (
            "Date",
            signed
                .clone()
                .set("Date", "Sat, 03 Jan 2026 12:00:00 +0000"),
        ),
        ("no Subject", signed.clone().without("Subject")),
    ] {
        scene.is_refused(what, &mail);
    }
    // A field that nobody signed may come and go.
    scene.arrives(&signed.add("Chat-Verified", "1"));
}

#[test]
fn a_signature_that_says_too_little_is_not_valid() {
    let scene = Scene::new();
    let signer = &scene.signer;
    let mail = scene.mail();
    // Unlike a message without any.
    assert_eq!(scene.send(CAROL, &mail).to_string(), NO_SIGNATURE);
    let whole = mail.body().len();
    for (what, mail) in [
        (
            "garbage",
            mail.clone()
                .add("DKIM-Signature", "v=1; a=rsa-sha256; b=AAAA"),
        ),
        ("an empty one", mail.clone().add("DKIM-Signature", "")),
        (
            "l= short",
            signer.signature().body_length(whole - 100).put_on(&mail),
        ),
        (
            "l= of nothing",
            signer.signature().body_length(0).put_on(&mail),
        ),
        (
            "From unsigned",
            signer.signature().fields(&["To", "Subject"]).put_on(&mail),
        ),
    ] {
        scene.is_refused(what, &mail);
    }
    scene.arrives(&signer.signature().fields(&["From"]).put_on(&mail));
}

#[test]
fn a_signature_of_another_domain_is_none() {
    let scene = Scene::new();
    for domain in [
        "other.test",
        "sub.elsewhere.test",
        "test",
        "elsewhere.test.other.test",
    ] {
        let signer = Signer::ed25519(domain);
        signer.publish(&scene.relay);
        scene.is_refused(domain, &signer.sign(&scene.mail()));
    }
    // The key of one domain under the name of another.
    let stranger = Signer::ed25519("other.test");
    stranger.publish(&scene.relay);
    let mail = stranger.signature().domain(DOMAIN).put_on(&scene.mail());
    scene.is_refused("d= of a domain that has no such key", &mail);
    // Mail of a subdomain is not signed by the domain above it.
    let mail = scene.mail().set("From", "<carol@sub.elsewhere.test>");
    scene.is_refused("a domain above", &scene.signer.sign(&mail));
}

#[test]
fn a_key_that_can_be_broken_is_none() {
    let scene = Scene::new();
    let weak = Signer::rsa(DOMAIN, 512);
    weak.publish(&scene.relay);
    scene.is_refused("512 bits", &weak.sign(&scene.mail()));
    let enough = Signer::rsa(DOMAIN, 1024);
    enough.publish(&scene.relay);
    scene.arrives(&enough.sign(&scene.mail()));
}

#[test]
fn one_good_signature_among_several_is_enough() {
    let scene = Scene::new();
    let other = Signer::rsa("list.test", 2048);
    other.publish(&scene.relay);
    let unpublished = Signer::ed25519(DOMAIN);
    let good = &scene.signer;

    let mail = scene.mail();
    scene.arrives(&other.sign(&good.sign(&mail)));
    scene.arrives(&good.sign(&other.sign(&scene.mail())));
    scene.arrives(&unpublished.sign(&good.sign(&scene.mail())));
    scene.arrives(
        &good
            .sign(&scene.mail())
            .add("DKIM-Signature", "v=1; broken"),
    );
    let both = other.sign(&unpublished.sign(&scene.mail()));
    scene.is_refused("none of them good", &both);
}

#[test]
fn keys_are_found_in_every_form_that_dns_gives_them() {
    let scene = Scene::new();
    let add = |line: String| zone::add(scene.relay.endpoints(), &line).expect("zone");

    // Behind a CNAME, answered with it or asked for.
    for (number, kind) in ["CNAME", "CNAME-ONLY"].into_iter().enumerate() {
        let signer = Signer::rsa(DOMAIN, 2048);
        let target = format!("key{number}.hoster.test");
        add(format!("{} 300 {kind} {target}", signer.name()));
        add(zone::txt(&target, 300, &signer.record()));
        scene.arrives(&signer.sign(&scene.mail()));
    }
    // Many strings in one record are one text.
    let signer = Signer::rsa(DOMAIN, 2048);
    let strings: Vec<_> = signer
        .record()
        .as_bytes()
        .chunks(17)
        .map(|string| format!("\"{}\"", String::from_utf8_lossy(string)))
        .collect();
    add(format!("{} 300 TXT {}", signer.name(), strings.join(" ")));
    scene.arrives(&signer.sign(&scene.mail()));
    // Too long for a datagram.
    let signer = Signer::rsa(DOMAIN, 8192);
    signer.publish(&scene.relay);
    scene.arrives(&signer.sign(&scene.mail()));
    // `v=` is optional.
    let signer = Signer::ed25519(DOMAIN);
    add(zone::txt(
        &signer.name(),
        300,
        &signer.record_without_version(),
    ));
    scene.arrives(&signer.sign(&scene.mail()));
    // Revoked.
    let signer = Signer::ed25519(DOMAIN);
    add(zone::txt(&signer.name(), 300, "v=DKIM1; k=ed25519; p="));
    scene.is_refused("a revoked key", &signer.sign(&scene.mail()));
    // Two keys under one name, and beside them what is none: as while a domain changes its key.
    let new = Signer::rsa(DOMAIN, 2048);
    let old = Signer::ed25519(DOMAIN).with_selector_of(&new);
    for text in ["v=spf1 -all", "v=DKIM1; p=", &old.record(), &new.record()] {
        add(zone::txt(&new.name(), 300, text));
    }
    for signer in [&old, &new] {
        scene.arrives(&signer.sign(&scene.mail()));
    }
    let forged = Signer::ed25519(DOMAIN).with_selector_of(&new);
    scene.is_refused("neither of two keys", &forged.sign(&scene.mail()));
    // Something else under that name.
    let signer = Signer::ed25519(DOMAIN);
    add(zone::txt(&signer.name(), 300, "v=spf1 -all"));
    scene.is_refused("no key", &signer.sign(&scene.mail()));
}

#[test]
fn trouble_of_dns_means_later_and_the_next_try_passes() {
    let scene = Scene::new();
    for trouble in ["SERVFAIL", "REFUSED", "TIMEOUT"] {
        let signer = Signer::ed25519(DOMAIN);
        let line = format!("{} 300 {trouble}", signer.name());
        zone::replace(scene.relay.endpoints(), &line).expect("zone");
        let mail = signer.sign(&scene.mail());
        let reply = scene.send(CAROL, &mail);
        assert_eq!(
            reply.to_string(),
            "451 4.4.3 Cannot look up the DKIM key, try again later",
            "{trouble}"
        );
        // As a server does that was told so.
        signer.publish(&scene.relay);
        scene.arrives(&mail);
    }
}

#[test]
fn a_changed_key_is_looked_up_again_before_any_refusal() {
    let scene = Scene::new();
    let old = &scene.signer;
    scene.arrives(&old.sign(&scene.mail()));
    // It may be kept for an hour.
    let asked = |signer: &Signer| dns::asked(scene.relay.endpoints(), &signer.name()).expect("log");
    let before = asked(old);
    scene.arrives(&old.sign(&scene.mail()));
    assert_eq!(asked(old), before, "a key was not kept");

    let new = Signer::ed25519(DOMAIN).with_selector_of(old);
    new.publish(&scene.relay);
    scene.arrives(&new.sign(&scene.mail()));
    scene.is_refused("the old key", &old.sign(&scene.mail()));
    // A name that was not there.
    let late = Signer::ed25519(DOMAIN);
    scene.is_refused("not published", &late.sign(&scene.mail()));
    late.publish(&scene.relay);
    scene.arrives(&late.sign(&scene.mail()));
}

#[test]
fn refused_mail_costs_no_query() {
    let scene = Scene::new();
    let cleartext = Mail::cleartext(CAROL, &scene.bob.address);
    let reply = scene.send(CAROL, &scene.signer.sign(&cleartext));
    assert_eq!(reply.to_string(), ENCRYPTION_NEEDED);
    let asked = dns::asked(scene.relay.endpoints(), &scene.signer.name());
    assert_eq!(asked.expect("log"), 0);
}

#[test]
fn a_relay_on_an_address_signs_nothing_and_is_asked_for_nothing() {
    let scene = Scene::new();
    let from = "carol@[192.0.2.1]";
    let mail = Mail::encrypted(from, &scene.bob.address).set("From", &format!("<{from}>"));
    let reply = scene.send(from, &mail);
    assert_eq!(reply.code, 250, "{reply}");
    let messages = scene.relay.wait_for_messages(&scene.bob, 1);
    assert_eq!(
        header_values(&messages[0], "Message-ID"),
        [mail.message_id()]
    );
    // Only an address literal counts.
    for from in [
        "carol@192.0.2.1",
        "carol@[elsewhere.test]",
        "carol@[2001:db8::1]",
    ] {
        let mail = Mail::encrypted(CAROL, &scene.bob.address).set("From", &format!("<{from}>"));
        let reply = scene.send(CAROL, &mail);
        assert!(reply.code >= 500, "{from}: {reply}");
    }
}

#[test]
fn a_report_of_another_server_is_signed_too() {
    let scene = Scene::new();
    let report = Mail::delivery_report("mailer-daemon@elsewhere.test", &scene.bob.address);
    let reply = scene.send("", &report);
    assert_eq!(reply.to_string(), NO_SIGNATURE);
    let reply = scene.send("", &scene.signer.sign(&report));
    assert_eq!(reply.code, 250, "{reply}");
    let messages = scene.relay.wait_for_messages(&scene.bob, 1);
    assert_eq!(
        header_values(&messages[0], "Message-ID"),
        [report.message_id()]
    );
}

#[test]
fn a_large_message_and_lines_that_begin_with_dots_are_hashed_as_they_came() {
    let scene = Scene::new();
    let large = Mail::encrypted_of_size(CAROL, &scene.bob.address, 4 << 20);
    scene.arrives(&scene.signer.sign(&large));

    let consent = scene.relay.mailbox(&scene.bob).join("enforceE2EEincoming");
    fs::remove_file(consent).expect("enforceE2EEincoming");
    for text in [
        b".\r\n..\r\n.a\r\n".as_slice(),
        b"a\r\n.\r\n\r\n\r\n",
        b"",
        b"\r\n\r\n",
        b"no line end",
        b"\xe4\xf6\xfc  \t\r\n \t b\r\n",
    ] {
        let mail = Mail::cleartext(CAROL, &scene.bob.address).body_is(text);
        scene.arrives(&scene.signer.sign(&mail));
    }
}

/// A relay with a user, and a domain outside that has a key.
struct Scene {
    relay: Instance,
    bob: Account,
    signer: Signer,
}

impl Scene {
    fn new() -> Scene {
        let relay = Instance::start();
        let bob = relay.account("bob");
        let signer = Signer::ed25519(DOMAIN);
        signer.publish(&relay);
        Scene { relay, bob, signer }
    }

    /// Good mail but for the signature.
    fn mail(&self) -> Mail {
        Mail::encrypted(CAROL, &self.bob.address)
    }

    /// Good mail with another body.
    fn other_mail(&self) -> Mail {
        Mail::encrypted_of_size(CAROL, &self.bob.address, 2000)
    }

    fn send(&self, sender: &str, mail: &Mail) -> Reply {
        let mut smtp = Smtp::connect(self.relay.endpoints(), Door::Smtp).expect("SMTP");
        smtp.send(sender, &[&self.bob.address], &mail.to_bytes())
            .expect("SMTP")
    }

    /// It is accepted, and in the mailbox as it was sent.
    #[track_caller]
    fn arrives(&self, mail: &Mail) {
        let before = self.relay.imap(&self.bob).inbox().expect("INBOX").len();
        let reply = self.send(CAROL, mail);
        assert_eq!(reply.code, 250, "{reply}\n{:?}", mail.fields());
        let messages = self.relay.wait_for_messages(&self.bob, before + 1);
        let message = &messages[before];
        assert_eq!(header_values(message, "Message-ID"), [mail.message_id()]);
        assert_eq!(header_values(message, "DKIM-Signature"), [] as [String; 0]);
        assert!(
            body(message).trim_ascii_end() == mail.body().trim_ascii_end(),
            "the body changed"
        );
    }

    #[track_caller]
    fn is_refused(&self, what: &str, mail: &Mail) {
        let before = self.relay.imap(&self.bob).inbox().expect("INBOX").len();
        let reply = self.send(CAROL, mail);
        assert_eq!(reply.to_string(), NOT_VALID, "{what}");
        let after = self.relay.imap(&self.bob).inbox().expect("INBOX").len();
        assert_eq!(after, before, "{what}");
    }
}
