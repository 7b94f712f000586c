//! Signing and verifying as the mail server sees it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use chatmail_core::config::Config;
use common::dns::{Dns, Says};
use common::filter::Filter;
use common::signer::{self, Key};
use common::{Answer, Mail, Mta, Relay, socket, wait_until};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

const ALICE: &str = "alice@chat.test";
const BOB: &str = "bob@chat.test";
const CAROL: &str = "carol@elsewhere.test";
const DOMAIN: &str = "elsewhere.test";
const KEY: &str = "s1._domainkey.elsewhere.test";
const UNSIGNED: &str = "554 5.7.1 No DKIM signature found";
const NOT_VALID: &str = "554 5.7.1 No valid DKIM signature found";
const TROUBLE: &str = "451 4.4.3 Cannot look up the DKIM key, try again later";

/// A relay that asks a DNS server of the test's own, which knows Carol's key.
fn site() -> (Filter, Dns, Key) {
    let dns = Dns::start();
    let key = Key::fresh();
    dns.text(KEY, &key.record());
    let filter = Filter::start(Relay::with_dkim(dns.address, ""));
    (filter, dns, key)
}

fn incoming(filter: &Filter, sender: &str, mail: &Mail) -> Vec<Answer> {
    filter.incoming().transaction(sender, &[BOB], mail)
}

fn reply(text: &str) -> Vec<Answer> {
    vec![Answer::Reply(text.to_owned())]
}

/// The message after these answers, as it is sent on.
fn edited(mail: &Mail, answers: &[Answer]) -> Mail {
    let mut mail = mail.clone();
    let nth = |mail: &Mail, name: &str, index: u32| {
        let mut named = mail
            .fields
            .iter()
            .enumerate()
            .filter(|(_, (known, _))| known.eq_ignore_ascii_case(name));
        named.nth(index as usize - 1).unwrap().0
    };
    for answer in answers {
        match answer {
            Answer::Change(name, index, value) => {
                let at = nth(&mail, name, *index);
                match value.is_empty() {
                    true => drop(mail.fields.remove(at)),
                    false => mail.fields[at].1 = value.clone(),
                }
            }
            Answer::Insert(name, value) => mail.fields.insert(0, (name.clone(), value.clone())),
            Answer::Continue | Answer::Sender(_) => {}
            Answer::Reply(reply) => panic!("{reply}"),
        }
    }
    mail
}

/// What the whole verifier of the library says, which shares no code with the filter's signer but
/// the writing of the field.
fn verified(mail: &Mail, name: &str, record: &str) -> DkimResult {
    struct Zone(String, Txt);
    impl ResolverCache<Box<str>, Txt> for Zone {
        fn get<Q>(&self, name: &Q) -> Option<Txt>
        where
            Box<str>: std::borrow::Borrow<Q>,
            Q: std::hash::Hash + Eq + ?Sized,
        {
            let known: Box<str> = format!("{}.", self.0).into();
            assert!(
                std::borrow::Borrow::<Q>::borrow(&known) == name,
                "another key"
            );
            Some(self.1.clone())
        }
        fn remove<Q>(&self, _: &Q) -> Option<Txt>
        where
            Box<str>: std::borrow::Borrow<Q>,
            Q: std::hash::Hash + Eq + ?Sized,
        {
            None
        }
        fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
    }
    let mut raw = Vec::new();
    for (name, value) in &mail.fields {
        raw.extend_from_slice(format!("{name}: {}\r\n", value.replace('\n', "\r\n")).as_bytes());
    }
    raw.extend_from_slice(b"\r\n");
    raw.extend_from_slice(&mail.body);
    let zone = Zone(
        name.to_owned(),
        DomainKey::parse(record.as_bytes()).unwrap().into(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        let library = MessageAuthenticator::new(nobody, ResolverOpts::default()).unwrap();
        let message = AuthenticatedMessage::parse(&raw).unwrap();
        let outputs = library
            .verify_dkim(Parameters::new(&message).with_txt_cache(&zone))
            .await;
        assert_eq!(outputs.len(), 1);
        outputs[0].result().clone()
    })
}

#[test]
fn mail_that_its_domain_signed_passes_and_leaves_its_signature_behind() {
    let (filter, _dns, key) = site();
    let mail = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    let answers = incoming(&filter, CAROL, &mail);
    assert_eq!(answers.last(), Some(&Answer::Continue), "{answers:?}");
    assert!(
        !answers
            .iter()
            .any(|answer| matches!(answer, Answer::Sender(_) | Answer::Insert(..)))
    );
    let names: Vec<String> = edited(&mail, &answers)
        .fields
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    assert!(!names.contains(&"DKIM-Signature".to_owned()), "{names:?}");
}

#[test]
fn mail_without_a_good_signature_is_refused() {
    let (filter, _dns, key) = site();
    assert_eq!(
        incoming(&filter, CAROL, &Mail::encrypted(CAROL)),
        reply(UNSIGNED)
    );
    let mut tampered = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    tampered.fields[2].1 = "Dinner".to_owned();
    assert_eq!(incoming(&filter, CAROL, &tampered), reply(NOT_VALID));
    let nowhere = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s2");
    assert_eq!(incoming(&filter, CAROL, &nowhere), reply(NOT_VALID));
    let other = Mail::encrypted(CAROL).signed(&key, "other.test", "s1");
    assert_eq!(incoming(&filter, CAROL, &other), reply(NOT_VALID));
    let mut broken = Mail::encrypted(CAROL);
    broken
        .fields
        .push(("DKIM-Signature".to_owned(), "v=1; broken".to_owned()));
    assert_eq!(incoming(&filter, CAROL, &broken), reply(NOT_VALID));
    // Nor may others write in our name.
    assert_eq!(
        incoming(&filter, ALICE, &Mail::encrypted(ALICE)),
        reply(UNSIGNED)
    );
}

#[test]
fn without_an_answer_of_the_dns_mail_comes_later() {
    let (filter, dns, key) = site();
    let mail = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    for says in [Says::Code(ResponseCode::ServFail), Says::Silence] {
        dns.say(KEY, says);
        assert_eq!(incoming(&filter, CAROL, &mail), reply(TROUBLE));
    }
    dns.text(KEY, &key.record());
    assert_eq!(
        incoming(&filter, CAROL, &mail).last(),
        Some(&Answer::Continue)
    );
}

#[test]
fn mail_that_the_check_refuses_asks_the_dns_nothing() {
    let (filter, dns, key) = site();
    filter.relay.strict_mailbox(BOB);
    let mail = Mail::cleartext(CAROL).signed(&key, DOMAIN, "s1");
    let refused = reply("523 Encryption Needed: Invalid Unencrypted Mail");
    assert_eq!(incoming(&filter, CAROL, &mail), refused);
    assert!(dns.asked().is_empty());
    let outgoing = filter
        .outgoing()
        .transaction(ALICE, &[BOB], &Mail::encrypted(ALICE));
    assert_eq!(outgoing.last(), Some(&Answer::Continue));
    assert!(dns.asked().is_empty());
}

#[test]
fn bounces_go_to_nobody_but_the_author() {
    let (filter, _dns, key) = site();
    let mail = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    let null = Answer::Sender("<>".to_owned());
    for (sender, becomes_null) in [
        ("stranger@victim.test", true),
        ("bounces+carol=elsewhere.test@elsewhere.test", true),
        (CAROL, false),
        ("Carol@Elsewhere.TEST", false),
        ("", false),
    ] {
        let answers = incoming(&filter, sender, &mail);
        assert_eq!(answers.last(), Some(&Answer::Continue), "{sender}");
        assert_eq!(
            answers.contains(&null),
            becomes_null,
            "{sender}: {answers:?}"
        );
    }
}

#[test]
fn relays_without_a_name_are_not_asked_to_sign() {
    let (filter, dns, _key) = site();
    let literal = "dora@[203.0.113.7]";
    let answers = incoming(&filter, literal, &Mail::encrypted(literal));
    assert_eq!(answers.last(), Some(&Answer::Continue));
    assert!(dns.asked().is_empty());

    let relay = Relay::new();
    let text = format!(
        "[params]\nmail_domain = 203.0.113.7\nmailboxes_dir = {}\ndns_resolver = {}\n",
        relay.path("mail").display(),
        dns.address
    );
    std::fs::write(relay.config(), text).unwrap();
    let filter = Filter::start(relay);
    let answers = filter
        .outgoing()
        .transaction(literal, &[CAROL], &Mail::encrypted(literal));
    assert_eq!(answers.last(), Some(&Answer::Continue));
    assert!(
        !answers
            .iter()
            .any(|answer| matches!(answer, Answer::Insert(..)))
    );
    // It verifies all the same.
    filter.relay.mailbox("bob@[203.0.113.7]");
    let mail = Mail::encrypted(CAROL);
    let to = ["bob@[203.0.113.7]"];
    let answers = filter.incoming().transaction(CAROL, &to, &mail);
    assert_eq!(answers, reply(UNSIGNED));
}

#[test]
fn what_users_send_is_signed_as_it_leaves() {
    let (filter, dns, _) = site();
    let key = Key::rsa();
    let mut mail = Mail::encrypted(ALICE);
    mail.fields
        .push(("References".to_owned(), "<a@b>\n\t<c@d>".to_owned()));
    mail.fields
        .push(("Chat-Version".to_owned(), "1.0".to_owned()));
    // Ours is the only signature, whatever the client wrote.
    mail = mail.signed(&Key::fresh(), "chat.test", "opendkim");
    let answers = filter.outgoing().transaction(ALICE, &[CAROL], &mail);
    assert_eq!(answers.last(), Some(&Answer::Continue));
    let sent = edited(&mail, &answers);
    let signatures: Vec<&(String, String)> = sent
        .fields
        .iter()
        .filter(|(name, _)| name == "DKIM-Signature")
        .collect();
    assert_eq!(signatures.len(), 1, "{:?}", sent.fields);
    assert_eq!(signatures[0], &sent.fields[0]);
    let signature = &signatures[0].1;
    assert!(
        signature
            .lines()
            .all(|line| line.len() < 80 && !line.contains('\r')),
        "{signature}"
    );
    for part in [
        "v=1; a=rsa-sha256; s=opendkim; d=chat.test; c=relaxed/simple",
        "; t=",
    ] {
        assert!(signature.contains(part), "{signature}");
    }
    let name = "opendkim._domainkey.chat.test";
    assert_eq!(verified(&sent, name, &key.record()), DkimResult::Pass);
    // Nobody else's verifier: this relay's own, and the example of a message that comes back.
    dns.text(name, &key.record());
    assert_eq!(
        incoming(&filter, ALICE, &sent).last(),
        Some(&Answer::Continue)
    );

    for field in [
        "From",
        "Subject",
        "To",
        "Reply-To",
        "Autocrypt",
        "In-Reply-To",
        "References",
        "Date",
        "Cc",
        "List-ID",
        "List-Archive",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
        "Message-ID",
        "Secure-Join",
        "Secure-Join-Auth",
        "Secure-Join-Fingerprint",
        "Secure-Join-Group",
        "Secure-Join-Invitenumber",
    ] {
        // A verifier takes the lowest field of a name for the signed one; the others need oversigning.
        for at in [0, sent.fields.len()] {
            let mut more = sent.clone();
            more.fields
                .insert(at, (field.to_owned(), "more".to_owned()));
            assert!(
                matches!(verified(&more, name, &key.record()), DkimResult::Fail(_)),
                "{field} {at}"
            );
        }
    }
    for field in 1..sent.fields.len() {
        let mut other = sent.clone();
        other.fields[field].1.push('x');
        assert!(matches!(
            verified(&other, name, &key.record()),
            DkimResult::Fail(_)
        ));
        let mut less = sent.clone();
        less.fields.remove(field);
        assert!(matches!(
            verified(&less, name, &key.record()),
            DkimResult::Fail(_)
        ));
    }
    for field in [
        "Received",
        "Return-Path",
        "Authentication-Results",
        "X-Spam",
    ] {
        let mut more = sent.clone();
        more.fields
            .insert(0, (field.to_owned(), "on the way".to_owned()));
        assert_eq!(
            verified(&more, name, &key.record()),
            DkimResult::Pass,
            "{field}"
        );
    }
}

#[test]
fn a_new_key_signs_after_the_configuration_was_read_again() {
    let (filter, ..) = site();
    let mail = Mail::encrypted(ALICE);
    let algorithm = || {
        let answers = filter.outgoing().transaction(ALICE, &[CAROL], &mail);
        let sent = edited(&mail, &answers);
        sent.fields[0].1.split("; ").nth(1).unwrap().to_owned()
    };
    assert_eq!(algorithm(), "a=rsa-sha256");
    std::fs::write(filter.relay.path("key"), "no key").unwrap();
    let config = Config::load(&filter.relay.config()).unwrap();
    assert!(filter.policy.replace(&config).is_err());
    assert_eq!(algorithm(), "a=rsa-sha256");
    std::fs::write(filter.relay.path("key"), signer::ED25519).unwrap();
    filter.policy.replace(&config).unwrap();
    assert_eq!(algorithm(), "a=ed25519-sha256");
}

#[test]
fn mail_that_stays_here_is_not_signed() {
    let (filter, ..) = site();
    let mail = Mail::encrypted(ALICE);
    for (recipients, is_signed) in [
        (&[BOB][..], false),
        (&[BOB, "Alice+1@Chat.test.", "bob"], false),
        (&[BOB, "nobody@chat.test"], false),
        (&[CAROL], true),
        (&[BOB, CAROL], true),
        (&[CAROL, BOB], true),
    ] {
        let answers = filter.outgoing().transaction(ALICE, recipients, &mail);
        assert_eq!(answers.last(), Some(&Answer::Continue), "{recipients:?}");
        let signed = |answer: &Answer| matches!(answer, Answer::Insert(..));
        assert_eq!(answers.iter().any(signed), is_signed, "{recipients:?}");
    }
}

#[test]
fn bounces_of_the_mail_server_are_signed_and_never_refused() {
    let (filter, ..) = site();
    let mut mta = filter.internal();
    let key = Key::rsa();
    let ours = Mail::cleartext("MAILER-DAEMON@chat.test");
    assert_eq!(mta.transaction("", &[ALICE], &ours), [Answer::Continue]);
    let answers = mta.transaction("", &[CAROL], &ours);
    assert_eq!(answers.last(), Some(&Answer::Continue));
    let sent = edited(&ours, &answers);
    assert_eq!(sent.fields.len(), ours.fields.len() + 1);
    let name = "opendkim._domainkey.chat.test";
    assert_eq!(verified(&sent, name, &key.record()), DkimResult::Pass);
    let mut two = ours.clone();
    two.fields.push(("From".to_owned(), ALICE.to_owned()));
    for mail in [Mail::cleartext(CAROL), two] {
        assert_eq!(mta.transaction("", &[CAROL], &mail), [Answer::Continue]);
    }
}

/// Postfix breaks longer ones, and the signature with them.
#[test]
fn no_line_of_a_signature_is_long_whatever_fields_are_called() {
    let (filter, ..) = site();
    let mut mail = Mail::cleartext("MAILER-DAEMON@chat.test");
    for number in 0..200 {
        let name = format!("X-{number:03}-{}", "x".repeat(64));
        mail.fields.push((name, "a".to_owned()));
    }
    for length in [998, 4000, 77, 76, 71] {
        mail.fields.push(("x".repeat(length), "a".to_owned()));
    }
    let answers = filter.internal().transaction("", &[CAROL], &mail);
    let sent = edited(&mail, &answers);
    let (name, signature) = &sent.fields[0];
    assert_eq!(name, "DKIM-Signature");
    let longest = signature.lines().map(str::len).max();
    assert!(longest < Some(80), "{longest:?}");
    let lines = signature.lines().count();
    assert!(lines > 200, "{lines}");
    let name = "opendkim._domainkey.chat.test";
    let record = Key::rsa().record();
    assert_eq!(verified(&sent, name, &record), DkimResult::Pass);
}

#[test]
fn sessions_that_wait_for_the_dns_hold_up_nobody() {
    let (filter, dns, key) = site();
    dns.say("slow._domainkey.elsewhere.test", Says::Silence);
    let slow = Mail::encrypted(CAROL).signed(&key, DOMAIN, "slow");
    let mut waiting: Vec<Mta> = (0..50)
        .map(|_| {
            let mut mta = filter.incoming();
            mta.mail(CAROL);
            mta.recipient(BOB);
            mta.content(&slow);
            mta.send(b'E', b"");
            mta
        })
        .collect();
    wait_until("the DNS is asked", || !dns.asked().is_empty());
    let started = Instant::now();
    let quick = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    assert_eq!(
        incoming(&filter, CAROL, &quick).last(),
        Some(&Answer::Continue)
    );
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    for mta in &mut waiting {
        assert_eq!(mta.answer(), reply(TROUBLE)[0]);
    }
}

#[test]
fn nothing_may_follow_the_end_of_a_message_before_its_answer() {
    let (filter, dns, key) = site();
    dns.say(KEY, Says::Silence);
    let mut mta = filter.incoming();
    mta.mail(CAROL);
    mta.recipient(BOB);
    mta.content(&Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1"));
    let mut impatient = common::frame(b'E', b"");
    impatient.extend(common::frame(b'M', b"<>\0"));
    mta.write(&impatient);
    assert!(mta.is_hung_up());
}

#[test]
fn a_stop_waits_for_a_message_that_waits_for_the_dns() {
    let (mut filter, dns, key) = site();
    dns.say(KEY, Says::Silence);
    let mut mta = filter.incoming();
    mta.mail(CAROL);
    mta.recipient(BOB);
    mta.content(&Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1"));
    mta.send(b'E', b"");
    wait_until("the DNS is asked", || !dns.asked().is_empty());
    filter.stop();
    wait_until("the socket is gone", || {
        !socket(&filter.relay, "incoming").exists()
    });
    // The next attempt at the look-up is answered.
    dns.text(KEY, &key.record());
    let mut answers = vec![mta.answer()];
    while matches!(answers.last(), Some(Answer::Change(..))) {
        answers.push(mta.answer());
    }
    assert_eq!(answers.last(), Some(&Answer::Continue), "{answers:?}");
    assert!(mta.is_hung_up());
    filter.wait_for_the_end();
}

#[test]
fn an_mta_that_forbids_what_a_message_needs_gets_it_put_off() {
    let (filter, _dns, key) = site();
    let later = reply("451 4.3.0 Temporary failure, try again later");
    // Neither new fields nor another sender.
    let offer = [6, 0x1b0 & !0x40, 0x1f_ffff];
    let mut mta = Mta::connect_as(&socket(&filter.relay, "outgoing"), offer);
    assert_eq!(
        mta.transaction(ALICE, &[CAROL], &Mail::encrypted(ALICE))
            .last(),
        later.last()
    );
    let mut mta = Mta::connect_as(&socket(&filter.relay, "incoming"), offer);
    let mail = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    let answers = mta.transaction("stranger@victim.test", &[BOB], &mail);
    assert_eq!(answers.last(), later.last());
}

#[test]
fn white_space_behind_the_colon_counts_where_a_signature_says_so() {
    let (filter, _dns, key) = site();
    let mut mail = Mail::encrypted(CAROL);
    let tags = key
        .tags(DOMAIN, "s1")
        .replace("relaxed/relaxed", "simple/simple");
    let at = mail
        .fields
        .iter()
        .position(|(name, _)| name == "Subject")
        .unwrap();
    mail.fields[at].1 = "  two more".to_owned();
    let signature = mail.signature(&key, &tags);
    mail.fields
        .insert(0, ("DKIM-Signature".to_owned(), signature));
    assert_eq!(
        incoming(&filter, CAROL, &mail).last(),
        Some(&Answer::Continue)
    );
    mail.fields[at + 1].1 = " two more".to_owned();
    assert_eq!(incoming(&filter, CAROL, &mail), reply(NOT_VALID));
}

#[test]
fn recipients_of_incoming_mail_are_answered_at_rcpt_and_those_of_users_are_not() {
    let (filter, _dns, key) = site();
    let unknown = Answer::Reply("550 5.1.1 No such mailbox".to_owned());
    let mail = Mail::encrypted(CAROL).signed(&key, DOMAIN, "s1");
    let mut mta = filter.incoming();
    mta.mail(CAROL);
    assert_eq!(mta.recipient("nobody@chat.test"), unknown);
    assert_eq!(mta.recipient("Bob+lunch@chat.test"), Answer::Continue);
    let elsewhere = Answer::Reply("554 5.7.1 Relay access denied".to_owned());
    assert_eq!(mta.recipient("somebody@other.test"), elsewhere);
    mta.content(&mail);
    assert_eq!(mta.end().last(), Some(&Answer::Continue));
    let mut mta = filter.outgoing();
    mta.mail(ALICE);
    assert_eq!(mta.recipient("nobody@chat.test"), Answer::Continue);
    assert_eq!(mta.recipient(CAROL), Answer::Continue);
}
