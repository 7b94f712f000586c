//! Whose signature counts, with real keys and a DNS server on loopback.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::LazyLock;

use chatmail_milter::dkim::{Cause, Outcome, Verifier};
use common::Mail;
use common::dns::Says;
use common::signer::Key;
use common::site::{CAROL, DOMAIN, KEY, Site, mail, set, tagged};
use proptest::prelude::*;

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
            Outcome::Fail(Cause::OtherDomain),
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
async fn none_is_told_from_one_that_cannot_be_read_and_from_one_of_another_domain() {
    let key = Key::fresh();
    let site = Site::new();
    let unreadable = |tags: &[&str]| {
        let mut mail = mail();
        for tags in tags {
            let field = ("dkim-signature".to_owned(), (*tags).to_owned());
            mail.fields.push(field);
        }
        mail
    };
    for (mail, cause) in [
        (mail(), Cause::NoSignature),
        (unreadable(&[""]), Cause::Malformed),
        (unreadable(&["v=1; broken"]), Cause::Malformed),
        (unreadable(&["v=1; d=elsewhere.test"]), Cause::Malformed),
        (
            unreadable(&["v=1; d=ELSEWHERE.test; v=1"]),
            Cause::Malformed,
        ),
        (unreadable(&["v=1; d=other.test"]), Cause::OtherDomain),
        (
            unreadable(&["v=1; d=other.test", "v=1; a=rsa-sha512"]),
            Cause::Malformed,
        ),
        (
            unreadable(&["v=1; broken"]).signed(&key, "other.test", "s1"),
            Cause::Malformed,
        ),
        // One that can be checked says more.
        (
            unreadable(&["v=1; broken"]).signed(&key, DOMAIN, "s1"),
            Cause::Key,
        ),
    ] {
        let fields = format!("{:?}", mail.fields);
        assert_eq!(site.verify(&mail).await, Outcome::Fail(cause), "{fields}");
    }
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
        ("v=1", "v=2", Outcome::Fail(Cause::Malformed)),
        ("v=1", "v=1; v=1", Outcome::Fail(Cause::Malformed)),
        (
            "a=ed25519-sha256",
            "a=ed25519-sha512",
            Outcome::Fail(Cause::Malformed),
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

/// Pieces of signatures and key records, in an order that makes sense now and then.
fn soup() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "v=1",
        "v=DKIM1",
        "a=rsa-sha256",
        "a=ed25519-sha256",
        "c=relaxed/simple",
        "c=simple/",
        "d=",
        "elsewhere.test",
        "s=s1",
        "h=",
        "from",
        ":",
        "i=@",
        "l=",
        "x=",
        "t=",
        "18446744073709551616",
        "bh=",
        "b=",
        "p=",
        "k=rsa",
        "k=ed25519",
        "z=",
        "=3D",
        "|",
        "AAAA",
        "====",
        "MIIBIjAN",
        "; ",
        " ",
        "\n\t",
        "\u{e4}",
        "\u{7f}",
    ];
    // Half of them separators.
    let piece = prop_oneof![Just("; "), prop::sample::select(PIECES)];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// One site for all cases of a property.
struct Lasting {
    site: Site,
    key: Key,
    runtime: tokio::runtime::Runtime,
}

static LASTING: LazyLock<Lasting> = LazyLock::new(|| {
    let key = Key::fresh();
    Lasting {
        site: Site::knowing(&key),
        key,
        runtime: tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap(),
    }
});

proptest! {
    #[test]
    fn any_signature_and_any_key_record_end_in_an_outcome(signature in soup(), record in soup()) {
        let Lasting { site, key, runtime } = &*LASTING;
        let name = "soup._domainkey.elsewhere.test";
        site.dns.say(name, Says::Text(format!(" {record}"), 255, 0));
        // One that needs the key, and one of which nothing is known.
        let mut mail = mail().signed(key, DOMAIN, "soup");
        mail.fields.insert(0, ("DKIM-Signature".to_owned(), signature));
        let outcome = runtime.block_on(site.verify(&mail));
        prop_assert!(matches!(outcome, Outcome::Fail(_)), "{:?}", outcome);
    }

    #[test]
    fn any_cut_of_a_body_gives_the_same_outcome(
        body in "([a-z \t]{0,9}(\r\n){0,3}){0,9}",
        cuts in prop::collection::vec(any::<usize>(), 0..10),
        form in prop::sample::select(vec!["simple/simple", "relaxed/relaxed"]),
        tampered: bool,
    ) {
        let Lasting { site, key, runtime } = &*LASTING;
        let mut mail = mail();
        mail.body = body.into_bytes();
        let tags = key.tags(DOMAIN, "s1").replace("relaxed/relaxed", form);
        let signature = mail.signature(key, &tags);
        mail.fields.insert(0, ("DKIM-Signature".to_owned(), signature));
        let expected = if tampered {
            mail.body.push(b'x');
            Outcome::Fail(Cause::BodyHash)
        } else {
            Outcome::Pass
        };
        let outcome = runtime.block_on(site.verify_in_pieces(&mail, &cuts));
        prop_assert_eq!(outcome, expected);
    }
}
