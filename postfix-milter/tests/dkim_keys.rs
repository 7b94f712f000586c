//! Keys: our own in its file, others' in the DNS and in memory.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use chatmail_core::config::Config;
use chatmail_milter::dkim::{Cause, Dkim, Outcome};
use common::dns::Says;
use common::signer::{self, Key};
use common::site::{CAROL, DOMAIN, KEY, Site, mail, tagged};
use common::{Mail, PATIENCE, Relay};
use mail_auth::hickory_resolver::proto::op::ResponseCode;

#[tokio::test]
async fn a_key_may_be_written_in_many_ways() {
    let key = Key::rsa();
    let site = Site::new();
    let mail = mail().signed(&key, DOMAIN, "s1");
    let record = key.record();
    let bare = record.strip_prefix("v=DKIM1; ").unwrap();
    for says in [
        Says::Text(bare.to_owned(), 255, 0),
        Says::Text(record.clone(), 60, 0),
        Says::Text(
            format!("v=DKIM1; h=sha1:sha256; s=email; t=y; {bare}"),
            255,
            0,
        ),
        Says::Long(format!("v=DKIM1; n={}; {bare}", "x".repeat(1400))),
    ] {
        site.dns.say(KEY, says.clone());
        assert_eq!(site.verify(&mail).await, Outcome::Pass, "{says:?}");
    }
    site.dns.text("key.provider.test", &record);
    site.dns.say(
        "relay.provider.test",
        Says::Alias("key.provider.test".to_owned(), 0),
    );
    site.dns
        .say(KEY, Says::Alias("relay.provider.test".to_owned(), 0));
    assert_eq!(site.verify(&mail).await, Outcome::Pass);
}

#[tokio::test]
async fn a_key_that_was_withdrawn_or_is_for_something_else_is_none() {
    let key = Key::rsa();
    let site = Site::new();
    let mail = mail().signed(&key, DOMAIN, "s1");
    let record = key.record();
    let bare = record.strip_prefix("v=DKIM1; ").unwrap();
    for text in [
        "v=DKIM1; p=",
        "v=spf1 -all",
        &format!("v=DKIM1; s=tlsrpt; {bare}"),
        &format!("v=DKIM1; h=sha1; {bare}"),
        &format!("v=DKIM1; k=unknown; {bare}"),
    ] {
        site.dns.say(KEY, Says::Text(text.to_owned(), 255, 0));
        assert_eq!(
            site.verify(&mail).await,
            Outcome::Fail(Cause::Key),
            "{text}"
        );
    }
    let strict = Says::Text(format!("v=DKIM1; t=s; {bare}"), 255, 0);
    site.dns.say(KEY, strict);
    let below = format!("{}; i=@sub.elsewhere.test", key.tags(DOMAIN, "s1"));
    assert_eq!(
        site.verify(&tagged(&key, &below)).await,
        Outcome::Fail(Cause::Key)
    );
    assert_eq!(site.verify(&mail).await, Outcome::Pass);
}

#[tokio::test]
async fn every_key_of_a_selector_is_tried_within_a_bound() {
    let (key, old) = (Key::rsa(), Key::fresh());
    let mail = mail().signed(&key, DOMAIN, "s1");
    let (good, lost) = (key.record(), || Key::fresh().record());
    let bare = good.strip_prefix("v=DKIM1; ").unwrap();
    let ed25519 = format!("v=DKIM1; k=ed25519; {bare}");
    for (texts, outcome) in [
        (vec![lost(), good.clone()], Outcome::Pass),
        (vec![good.clone(), lost()], Outcome::Pass),
        (vec![lost(), lost(), lost(), good.clone()], Outcome::Pass),
        // The same octets as a key of another kind, a withdrawn key, what is none at all.
        (vec![ed25519.clone(), good.clone()], Outcome::Pass),
        (
            vec![
                "v=DKIM1; p=".to_owned(),
                "v=spf1 -all".to_owned(),
                format!("v=DKIM1; k=dsa; {bare}"),
                "words".to_owned(),
                lost(),
                good.clone(),
            ],
            Outcome::Pass,
        ),
        (vec![lost(), lost()], Outcome::Fail(Cause::Signature)),
        (vec![ed25519], Outcome::Fail(Cause::Signature)),
        (
            vec!["p=".to_owned(), "p=".to_owned()],
            Outcome::Fail(Cause::Key),
        ),
        // A domain that publishes keys without end is not followed.
        (
            vec![lost(), lost(), lost(), lost(), good.clone()],
            Outcome::Fail(Cause::Signature),
        ),
    ] {
        let site = Site::new();
        site.dns.say(KEY, Says::Texts(texts.clone(), 3600));
        assert_eq!(site.verify(&mail).await, outcome, "{texts:?}");
    }
    // All of them are remembered.
    let site = Site::new();
    site.dns
        .say(KEY, Says::Texts(vec![old.record(), good.clone()], 3600));
    for _ in 0..2 {
        assert_eq!(site.verify(&mail).await, Outcome::Pass);
        let mail = Mail::encrypted(CAROL).signed(&old, DOMAIN, "s1");
        assert_eq!(site.verify(&mail).await, Outcome::Pass);
    }
    assert_eq!(site.dns.asked(), [KEY]);
    // One of two keys is withdrawn: the cache alone never rejects a message, only the DNS does.
    site.dns.say(KEY, Says::Texts(vec![good], 3600));
    let forged = Mail::encrypted(CAROL).signed(&Key::fresh(), DOMAIN, "s1");
    assert_eq!(site.verify(&forged).await, Outcome::Fail(Cause::Signature));
    let late = Mail::encrypted(CAROL).signed(&old, DOMAIN, "s1");
    assert_eq!(site.verify(&late).await, Outcome::Fail(Cause::Signature));
}

#[tokio::test]
async fn a_name_that_is_not_there_is_an_answer_and_trouble_is_none() {
    let key = Key::fresh();
    let site = Site::new();
    let mail = mail().signed(&key, DOMAIN, "s1");
    assert_eq!(site.verify(&mail).await, Outcome::Fail(Cause::Key));
    site.dns.say(KEY, Says::Nothing);
    assert_eq!(site.verify(&mail).await, Outcome::Fail(Cause::Key));
    site.dns.say(KEY, Says::Alias("gone.test".to_owned(), 60));
    assert_eq!(site.verify(&mail).await, Outcome::Fail(Cause::Key));
    for code in [
        ResponseCode::ServFail,
        ResponseCode::Refused,
        ResponseCode::FormErr,
        ResponseCode::NotImp,
        ResponseCode::NotAuth,
    ] {
        site.dns.say(KEY, Says::Code(code));
        assert_eq!(site.verify(&mail).await, Outcome::DnsTrouble, "{code}");
    }
    site.dns.say(KEY, Says::Alias("broken.test".to_owned(), 60));
    site.dns
        .say("broken.test", Says::Code(ResponseCode::ServFail));
    assert_eq!(site.verify(&mail).await, Outcome::DnsTrouble);
    // Nothing of this is remembered.
    site.dns.text(KEY, &key.record());
    assert_eq!(site.verify(&mail).await, Outcome::Pass);
}

#[tokio::test]
async fn trouble_with_one_signature_hides_no_good_one_and_refuses_nothing() {
    let (key, lost) = (Key::fresh(), Key::fresh());
    let site = Site::knowing(&key);
    site.dns.say(
        "broken._domainkey.elsewhere.test",
        Says::Code(ResponseCode::ServFail),
    );
    let troubled = mail()
        .signed(&lost, DOMAIN, "broken")
        .signed(&lost, DOMAIN, "s1");
    assert_eq!(site.verify(&troubled).await, Outcome::DnsTrouble);
    let good = mail()
        .signed(&key, DOMAIN, "s1")
        .signed(&lost, DOMAIN, "broken");
    assert_eq!(site.verify(&good).await, Outcome::Pass);
}

#[tokio::test]
async fn silence_is_trouble_and_does_not_take_longer_than_a_client_waits() {
    let key = Key::fresh();
    let site = Site::new();
    let mut mail = mail();
    for selector in ["s1", "s2", "s3", "s4"] {
        let name = format!("{selector}._domainkey.{DOMAIN}");
        site.dns.say(&name, Says::Silence);
        mail = mail.signed(&key, DOMAIN, selector);
    }
    let started = Instant::now();
    assert_eq!(site.verify(&mail).await, Outcome::DnsTrouble);
    assert!(
        started.elapsed() < Duration::from_secs(21),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_key_is_remembered_for_as_long_as_the_dns_says_and_no_longer() {
    let key = Key::fresh();
    let site = Site::knowing(&key);
    let mail = mail().signed(&key, DOMAIN, "s1");
    for _ in 0..3 {
        assert_eq!(site.verify(&mail).await, Outcome::Pass);
    }
    assert_eq!(site.dns.asked(), [KEY]);
    // A key that holds for a second, under a name that holds for an hour; and the other way round.
    for (alias, text) in [(3600, 1), (1, 3600), (3600, 0), (0, 3600)] {
        let site = Site::new();
        site.dns.say(KEY, Says::Alias("key.test".to_owned(), alias));
        site.dns
            .say("key.test", Says::Text(key.record(), 255, text));
        assert_eq!(site.verify(&mail).await, Outcome::Pass);
        assert_eq!(site.dns.asked().len(), 2);
        let deadline = Instant::now() + PATIENCE;
        while site.dns.asked().is_empty() {
            assert!(
                Instant::now() < deadline,
                "remembered too long: {alias} {text}"
            );
            assert_eq!(site.verify(&mail).await, Outcome::Pass);
        }
    }
}

#[tokio::test]
async fn a_new_key_counts_at_once() {
    let (old, new) = (Key::fresh(), Key::fresh());
    let site = Site::knowing(&old);
    assert_eq!(
        site.verify(&mail().signed(&old, DOMAIN, "s1")).await,
        Outcome::Pass
    );
    site.dns.text(KEY, &new.record());
    let mail = mail().signed(&new, DOMAIN, "s1");
    site.dns.asked();
    assert_eq!(site.verify(&mail).await, Outcome::Pass);
    assert_eq!(site.verify(&mail).await, Outcome::Pass);
    assert_eq!(site.dns.asked(), [KEY]);
    // No refusal by what is remembered: the DNS is asked, and without an answer nothing is refused.
    site.dns.say(KEY, Says::Silence);
    let forged = Mail::encrypted(CAROL).signed(&old, DOMAIN, "s1");
    assert_eq!(site.verify(&forged).await, Outcome::DnsTrouble);
    assert_eq!(site.verify(&mail).await, Outcome::Pass);
    site.dns.say(KEY, Says::Nothing);
    assert_eq!(site.verify(&forged).await, Outcome::Fail(Cause::Key));
    assert_eq!(site.verify(&mail).await, Outcome::Fail(Cause::Key));
}

#[test]
fn a_key_file_is_rsa_or_ed25519_in_pem() {
    let relay = Relay::new();
    let file = relay.path("key");
    let load = |domain: &str| {
        let text = format!(
            "[params]\nmail_domain = {domain}\ndkim_key_file = {}\ndns_resolver = 127.0.0.1\n",
            file.display()
        );
        std::fs::write(relay.config(), text).unwrap();
        Dkim::load(&Config::load(&relay.config()).unwrap())
    };
    let missing = load("chat.test").unwrap_err();
    assert!(
        missing.contains("key") && missing.contains("dkim_key_file"),
        "{missing}"
    );
    // No place in the DNS, no key.
    assert!(!load("203.0.113.7").unwrap().unwrap().signs());
    for pem in [signer::RSA, signer::RSA_PKCS1, signer::ED25519] {
        std::fs::write(&file, pem).unwrap();
        assert!(load("chat.test").unwrap().unwrap().signs_for("Chat.TEST"));
    }
    for (wrong, remedy) in [
        ("", "openssl genpkey"),
        ("key", "openssl genpkey"),
        (&signer::RSA.replace('A', "B"), "openssl genpkey"),
        (signer::RSA_1024, "2048 to 4096 bits"),
        (signer::ENCRYPTED, "openssl pkey"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let error = load("chat.test").unwrap_err();
        for part in ["dkim_key_file", &file.display().to_string(), remedy] {
            assert!(error.contains(part), "{error}");
        }
    }
}
