//! Whose signature counts, with real keys and a DNS server on loopback.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use chatmail_core::config::Config;
use chatmail_milter::dkim::{Cause, Dkim, Outcome, Verifier};
use common::dns::{Dns, Says};
use common::signer::{self, Key};
use common::{Mail, PATIENCE, Relay};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use proptest::prelude::*;

const CAROL: &str = "carol@elsewhere.test";
const DOMAIN: &str = "elsewhere.test";
const KEY: &str = "s1._domainkey.elsewhere.test";

/// A relay that asks a DNS server of the test's own.
struct Site {
    dns: Dns,
    dkim: Dkim,
}

impl Site {
    fn new() -> Site {
        let dns = Dns::start();
        let relay = Relay::with_dkim(dns.address, "");
        let config = Config::load(&relay.config()).unwrap();
        let dkim = Dkim::load(&config).unwrap().unwrap();
        Site { dns, dkim }
    }

    /// Knows this key under [`KEY`].
    fn knowing(key: &Key) -> Site {
        let site = Site::new();
        site.dns.text(KEY, &key.record());
        site
    }

    async fn verify(&self, mail: &Mail) -> Outcome {
        self.verify_in_pieces(mail, &[]).await
    }

    async fn verify_in_pieces(&self, mail: &Mail, cuts: &[usize]) -> Outcome {
        let mut verifier = Verifier::default();
        for (name, value) in &mail.fields {
            verifier.header(name.as_bytes(), format!(" {value}").as_bytes());
        }
        verifier.end_of_headers();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (mail.body.len() + 1)).collect();
        ends.push(mail.body.len());
        ends.sort_unstable();
        let mut from = 0;
        for end in ends {
            verifier.body(&mail.body[from..end]);
            from = end;
        }
        verifier.finish().outcome(DOMAIN, &self.dkim).await
    }
}

fn mail() -> Mail {
    Mail::encrypted(CAROL)
}

/// With a signature of these tags.
fn tagged(key: &Key, tags: &str) -> Mail {
    let mut mail = mail();
    let signature = mail.signature(key, tags);
    mail.fields
        .insert(0, ("DKIM-Signature".to_owned(), signature));
    mail
}

fn set(mail: &mut Mail, name: &str, value: &str) {
    let field = mail.fields.iter_mut().find(|(known, _)| known == name);
    field.unwrap().1 = value.to_owned();
}

#[tokio::test]
async fn a_signature_of_the_from_domain_counts_whatever_its_key_and_form() {
    for key in [Key::rsa(), Key::fresh()] {
        let site = Site::knowing(&key);
        for form in [
            "relaxed/relaxed",
            "relaxed/simple",
            "simple/relaxed",
            "simple/simple",
            "simple",
            "relaxed",
        ] {
            let tags = key.tags(DOMAIN, "s1").replace("relaxed/relaxed", form);
            assert_eq!(
                site.verify(&tagged(&key, &tags)).await,
                Outcome::Pass,
                "{form}"
            );
        }
    }
}

#[tokio::test]
async fn a_changed_message_does_not_pass() {
    let key = Key::fresh();
    let site = Site::knowing(&key);
    let signed = mail().signed(&key, DOMAIN, "s1");
    let mut body = signed.clone();
    body.body[40] ^= 1;
    assert_eq!(site.verify(&body).await, Outcome::Fail(Cause::BodyHash));
    let mut longer = signed.clone();
    longer.body.extend_from_slice(b"P.S.\r\n");
    assert_eq!(site.verify(&longer).await, Outcome::Fail(Cause::BodyHash));
    // Neither needed the key.
    assert!(site.dns.asked().is_empty());
    let mut header = signed.clone();
    set(&mut header, "Subject", "Dinner");
    assert_eq!(site.verify(&header).await, Outcome::Fail(Cause::Signature));
    let mut another = signed.clone();
    another
        .fields
        .push(("From".to_owned(), "<eve@elsewhere.test>".to_owned()));
    assert_eq!(site.verify(&another).await, Outcome::Fail(Cause::Signature));
    let mut unsigned = signed.clone();
    unsigned
        .fields
        .push(("X-Seen".to_owned(), "on the way".to_owned()));
    assert_eq!(site.verify(&unsigned).await, Outcome::Pass);
}

#[tokio::test]
async fn the_signature_of_somebody_else_does_not_count_and_asks_nobody() {
    let key = Key::fresh();
    let site = Site::new();
    for domain in [
        "other.test",
        "sub.elsewhere.test",
        "test",
        "xelsewhere.test",
    ] {
        let mail = mail().signed(&key, domain, "s1");
        site.dns
            .text(&format!("s1._domainkey.{domain}"), &key.record());
        assert_eq!(
            site.verify(&mail).await,
            Outcome::Fail(Cause::NoSignature),
            "{domain}"
        );
    }
    assert_eq!(
        site.verify(&mail()).await,
        Outcome::Fail(Cause::NoSignature)
    );
    assert!(site.dns.asked().is_empty());
}

#[tokio::test]
async fn case_of_domains_and_names_does_not_matter() {
    let key = Key::fresh();
    let site = Site::knowing(&key);
    let tags = key.tags("ELSEWHERE.test", "S1").replace("From", "fROM");
    assert_eq!(site.verify(&tagged(&key, &tags)).await, Outcome::Pass);
}

#[tokio::test]
async fn one_good_signature_of_several_is_enough() {
    let (key, lost) = (Key::fresh(), Key::fresh());
    let site = Site::knowing(&key);
    let signed = mail()
        .signed(&lost, "list.test", "s1")
        .signed(&key, DOMAIN, "s1")
        .signed(&lost, DOMAIN, "s1")
        .signed(&lost, DOMAIN, "nowhere");
    assert_eq!(site.verify(&signed).await, Outcome::Pass);
    // A domain that signs without end is not followed.
    let mut many = mail().signed(&key, DOMAIN, "s1");
    for selector in 0..8 {
        many = many.signed(&lost, DOMAIN, &format!("n{selector}"));
    }
    site.dns.asked();
    assert_eq!(site.verify(&many).await, Outcome::Fail(Cause::Key));
    assert_eq!(site.dns.asked().len(), 8);
}

#[tokio::test]
async fn a_signature_must_say_what_the_standard_demands() {
    let key = Key::fresh();
    let site = Site::knowing(&key);
    let good = key.tags(DOMAIN, "s1");
    let length = mail().body.len();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (from, to, outcome) in [
        ("v=1; ", "", Outcome::Fail(Cause::Malformed)),
        // The parser takes none of these for a signature.
        ("v=1", "v=2", Outcome::Fail(Cause::NoSignature)),
        ("v=1", "v=1; v=1", Outcome::Fail(Cause::NoSignature)),
        (
            "a=ed25519-sha256",
            "a=ed25519-sha512",
            Outcome::Fail(Cause::NoSignature),
        ),
        ("From", "To", Outcome::Fail(Cause::Malformed)),
        (
            "a=ed25519-sha256",
            "a=rsa-sha1",
            Outcome::Fail(Cause::Algorithm),
        ),
        (
            "a=ed25519-sha256",
            "a=rsa-sha256",
            Outcome::Fail(Cause::Signature),
        ),
        ("v=1", "v=1; i=@elsewhere.test", Outcome::Pass),
        ("v=1", "v=1; i=carol@sub.elsewhere.test", Outcome::Pass),
        (
            "v=1",
            "v=1; i=@notelsewhere.test",
            Outcome::Fail(Cause::Malformed),
        ),
        ("v=1", "v=1; i=@test", Outcome::Fail(Cause::Malformed)),
        ("v=1", "v=1; x=1000000000", Outcome::Fail(Cause::Expired)),
        (
            "v=1",
            &format!("v=1; t={now}; x={}", now + 600),
            Outcome::Pass,
        ),
        (
            "v=1",
            &format!("v=1; t={now}; x={now}"),
            Outcome::Fail(Cause::Expired),
        ),
        // Clocks differ.
        ("v=1", &format!("v=1; t={}", now + 90_000), Outcome::Pass),
        // Asks for reports, or for others to vouch: neither is looked up.
        (
            "v=1",
            "v=1; r=y; atps=other.test; atpsh=sha256; q=dns/txt",
            Outcome::Pass,
        ),
        ("v=1", &format!("v=1; l={length}"), Outcome::Pass),
        (
            "v=1",
            &format!("v=1; l={}", length - 1),
            Outcome::Fail(Cause::PartialBody),
        ),
        (
            "v=1",
            &format!("v=1; l={}", length + 1),
            Outcome::Fail(Cause::PartialBody),
        ),
        (
            "v=1",
            "v=1; l=99999999999999999999999",
            Outcome::Fail(Cause::PartialBody),
        ),
    ] {
        let tags = good.replace(from, to);
        assert_eq!(site.verify(&tagged(&key, &tags)).await, outcome, "{tags}");
    }
    let asked = site.dns.asked();
    assert!(asked.iter().all(|name| name == KEY), "{asked:?}");
}

#[tokio::test]
async fn a_short_l_does_not_cover_what_was_added() {
    let key = Key::fresh();
    let site = Site::knowing(&key);
    let length = mail().body.len();
    let tags = format!("{}; l={length}", key.tags(DOMAIN, "s1"));
    let mut longer = tagged(&key, &tags);
    longer.body.extend_from_slice(b"Read me.\r\n");
    assert_eq!(
        site.verify(&longer).await,
        Outcome::Fail(Cause::PartialBody)
    );
    // And `l=0` covers nothing.
    let mut empty = mail();
    empty.body.clear();
    let tags = format!("{}; l=0", key.tags(DOMAIN, "s1"));
    let signature = empty.signature(&key, &tags);
    empty
        .fields
        .insert(0, ("DKIM-Signature".to_owned(), signature));
    assert_eq!(site.verify(&empty).await, Outcome::Pass);
    empty.body.extend_from_slice(b"Read me.\r\n");
    assert_eq!(site.verify(&empty).await, Outcome::Fail(Cause::BodyHash));
}

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

/// Signed with openssl(1): the library makes no small keys.
#[tokio::test]
async fn rsa_with_512_bits_is_refused_and_with_1024_it_passes() {
    let site = Site::new();
    let mail = |selector: &str, b: &str| {
        let tags = format!(
            "v=1; a=rsa-sha256; c=relaxed/relaxed; d=elsewhere.test; s={selector}; \
             h=from:subject; bh=BH; b={b}"
        );
        let mut mail = Mail::cleartext(CAROL);
        set(&mut mail, "From", "Carol <carol@elsewhere.test>");
        let hash = mail.signature(&Key::fresh(), "c=relaxed/relaxed; h=from");
        let (_, hash) = hash.split_once("bh=").unwrap();
        let (hash, _) = hash.split_once(';').unwrap();
        let tags = tags.replace("BH", hash);
        mail.fields.insert(0, ("DKIM-Signature".to_owned(), tags));
        mail
    };
    site.dns.text(
        "rsa512._domainkey.elsewhere.test",
        "p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALoI1gW5hTUGryqUs0mFocFSGIpCzM9WytjdRe0N32hHD0zuUXV16\
         EpCr6/2lOntaxbs3AuzdGo/xPdhKVVu/RECAwEAAQ==",
    );
    let b =
        "APQRoG68QPWECSVoizBI1AeqPF0QvTCOkPv164NpXYV0cZdxAcPaMU9f+kytBuipb/GC1EQHJjX964cgKqwNwQ==";
    let outcome = site.verify(&mail("rsa512", b)).await;
    assert_eq!(outcome, Outcome::Fail(Cause::Signature));
    site.dns.text(
        "rsa1024._domainkey.elsewhere.test",
        "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD4Enbxh1+BeImJLO2BmoqhMQbMwEShkjjvOpsiBW744lT+UG\
         OkHackb8Lsv0oXAd+3JAG4n0pNRK0h35tSAQBTfND5TAqsanYjyugGaT/B3WShJJm3grDtrs5pDI1MStATAtLZ6B7\
         EJGQSrkl2CR9rlqrGrtUqSPYhOpCCFsLvJQIDAQAB",
    );
    let b = "9DlHlpqkAWpjW1OzMVBJJ8qs811TVPHQMsUL9p4B6ZwZHVaATC18rSdIYj/pb0+l+QQ657vxPAAZH/k6Ql8hZ\
             a1lw73CTwFUdN5TbWByYuqYqqOlUsulRLl3tHoi0hvRzq6+YD3WPYVbxdpjAG29qacaEJKAxXbRlL6SGM1iQqs=";
    assert_eq!(site.verify(&mail("rsa1024", b)).await, Outcome::Pass);
}

#[tokio::test]
async fn the_example_of_rfc_8463() {
    let site = Site::new();
    site.dns.text(
        "brisbane._domainkey.football.example.com",
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    let signature = "v=1; a=ed25519-sha256; c=relaxed/relaxed;\n d=football.example.com; \
         i=@football.example.com;\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\n \
         subject : date : message-id : from : subject : date;\n \
         bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\n \
         b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\n \
         Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
    let mut verifier = Verifier::default();
    for (name, value) in [
        ("DKIM-Signature", signature),
        ("From", "Joe SixPack <joe@football.example.com>"),
        ("To", "Suzie Q <suzie@shopping.example.net>"),
        ("Subject", "Is dinner ready?"),
        ("Date", "Fri, 11 Jul 2003 21:00:37 -0700 (PDT)"),
        (
            "Message-ID",
            "<20030712040037.46341.5F8J@football.example.com>",
        ),
    ] {
        verifier.header(name.as_bytes(), format!(" {value}").as_bytes());
    }
    verifier.end_of_headers();
    verifier.body(b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n");
    let outcome = verifier
        .finish()
        .outcome("football.example.com", &site.dkim);
    assert_eq!(outcome.await, Outcome::Pass);
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

#[tokio::test]
async fn odd_headers_are_taken_as_they_are() {
    let key = Key::fresh();
    let site = Site::knowing(&key);
    for form in ["simple/simple", "relaxed/relaxed"] {
        let mut mail = mail();
        for value in [
            "",
            "  \t ",
            "Grüße aus Köln",
            "a\n b\n\t c  d \t",
            &"x".repeat(20_000),
        ] {
            mail.fields.push(("X-Odd".to_owned(), value.to_owned()));
        }
        mail.body.clear();
        let tags = key
            .tags(DOMAIN, "s1")
            .replace("relaxed/relaxed", form)
            .replace("h=", "h=X-Odd:X-Odd:X-Odd:X-Odd:X-Odd:X-Odd:");
        let signature = mail.signature(&key, &tags);
        mail.fields
            .insert(2, ("dkim-signature".to_owned(), signature));
        let expected = match form {
            // The name of the field is signed as it is written.
            "simple/simple" => Outcome::Fail(Cause::Signature),
            _ => Outcome::Pass,
        };
        assert_eq!(site.verify(&mail).await, expected, "{form}");
        mail.fields[2].0 = "DKIM-Signature".to_owned();
        assert_eq!(site.verify(&mail).await, Outcome::Pass, "{form}");
    }
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
    for wrong in ["", "key", &signer::RSA.replace('A', "B")] {
        std::fs::write(&file, wrong).unwrap();
        let error = load("chat.test").unwrap_err();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_of_a_body_gives_the_same_outcome(
        body in "([a-z \t]{0,9}(\r\n){0,3}){0,9}",
        cuts in prop::collection::vec(any::<usize>(), 0..10),
        form in prop::sample::select(vec!["simple/simple", "relaxed/relaxed"]),
        tampered: bool,
    ) {
        let key = Key::fresh();
        let site = Site::knowing(&key);
        let mut mail = mail();
        mail.body = body.into_bytes();
        let tags = key.tags(DOMAIN, "s1").replace("relaxed/relaxed", form);
        let signature = mail.signature(&key, &tags);
        mail.fields.insert(0, ("DKIM-Signature".to_owned(), signature));
        let expected = if tampered {
            mail.body.push(b'x');
            Outcome::Fail(Cause::BodyHash)
        } else {
            Outcome::Pass
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(site.verify_in_pieces(&mail, &cuts));
        prop_assert_eq!(outcome, expected);
    }
}
