//! The header of outgoing mail: readable text in it does not arrive, and what mail programs write
//! arrives unchanged.

use chatmail_tests::instance::Account;
use chatmail_tests::mail::header_values;
use chatmail_tests::outside::{Outside, Received};
use chatmail_tests::smtp::{Door, Reply};
use chatmail_tests::{Instance, Mail, dkimpy};

const CAROL: &str = "carol@elsewhere.test";

/// An Autocrypt header as Delta Chat writes it, from its second attribute on.
fn autocrypt(address: &str) -> String {
    let value = include_str!("../../../chatmail-core/src/filter/form/key/delta-chat.txt");
    let value = value.trim_end().replace('\n', "\r\n");
    value.replacen("alice@chat.test", address, 1)
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
        let relay = Instance::with()
            .route("elsewhere.test", &outside)
            .param("max_user_send_burst_size", 100)
            .start();
        let alice = relay.account("alice");
        Scene {
            relay,
            outside,
            alice,
        }
    }

    fn mail(&self) -> Mail {
        Mail::encrypted(&self.alice.address, CAROL)
    }

    fn send(&self, mail: &Mail) -> Reply {
        let mut smtp = self.relay.smtp(Door::Smtps, &self.alice);
        let reply = smtp.send(&self.alice.address, &[CAROL], &mail.to_bytes());
        reply.expect("SMTP")
    }

    /// The newest message outside, which has a valid signature.
    #[track_caller]
    fn received(&self, count: usize) -> Received {
        let received = self.outside.wait_for(count)[count - 1].clone();
        let zone = &self.relay.endpoints().dns_zone;
        let signatures = dkimpy::verify(zone, &received.message);
        let text = String::from_utf8_lossy(&received.message);
        let valid = matches!(&signatures[..], [only] if only.valid);
        assert!(valid, "{signatures:?}\n{text}");
        received
    }
}

/// Names and values of the header, folds included.
fn fields(message: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(message).into_owned();
    let (header, _) = text.split_once("\r\n\r\n").expect("a header");
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.split("\r\n") {
        match fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => *value += &format!("\r\n{line}"),
            _ => {
                let (name, value) = line.split_once(": ").expect("a field");
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    fields
}

#[test]
fn prose_in_an_outgoing_header_arrives_nowhere() {
    let scene = Scene::new();
    let key = autocrypt(&scene.alice.address);
    let attribute = format!("addr={};", scene.alice.address);
    let prose = [
        ("Autocrypt", format!("{attribute} keydata=x Attack at dawn")),
        ("Autocrypt", format!("{key} Attack at dawn")),
        ("Autocrypt", format!("{key}\r\n Attack")),
        ("References", "<We> <Attack> <at> <dawn>".to_owned()),
        ("In-Reply-To", "<Attack at dawn@chat.test>".to_owned()),
        ("Auto-Submitted", "Attack-at-dawn".to_owned()),
        ("Precedence", "Attack-at-dawn".to_owned()),
        ("Chat-Is-Post-Message", "Attack".to_owned()),
        ("List-Unsubscribe-Post", "Attack=dawn".to_owned()),
        ("Comments", "Attack at dawn".to_owned()),
    ];
    for (number, (name, value)) in prose.iter().enumerate() {
        assert_eq!(
            scene.send(&scene.mail().add(name, value)).code,
            250,
            "{value}"
        );
        let received = scene.received(number + 1);
        assert_eq!(header_values(&received.message, name), [] as [String; 0]);
        let text = String::from_utf8_lossy(&received.message);
        assert!(!text.contains("Attack"), "{text}");
    }
    // Of fields that are there already, one is left.
    let mail = scene
        .mail()
        .add("Chat-Version", "1.0")
        .add("Autocrypt", &key);
    let mail = mail
        .add("Autocrypt", &key)
        .add("Date", "Sun, 1 Mar 2026 00:00:00 +0000");
    assert_eq!(scene.send(&mail).code, 250);
    let received = scene.received(prose.len() + 1);
    for name in ["Chat-Version", "Autocrypt", "Date"] {
        assert_eq!(header_values(&received.message, name).len(), 1, "{name}");
    }
    // A field that the message needs is not dropped: the message is rejected.
    let spaces = " ".repeat(40);
    for mail in [
        scene.mail().add("To", "<dave@elsewhere.test>"),
        scene
            .mail()
            .set("To", &format!("<{CAROL}>,{spaces}<dave@elsewhere.test>")),
        scene.mail().set("To", &format!("\u{c4}ttack <{CAROL}>")),
        scene
            .mail()
            .add("Content-Transfer-Encoding", &format!("7bit{spaces}")),
    ] {
        let reply = scene.send(&mail);
        assert_eq!(reply.code, 523, "{reply}");
    }
}

#[test]
fn a_header_as_mail_programs_write_it_arrives_as_it_was_sent() {
    let scene = Scene::new();
    let member = |number| format!("\"Member {number} of us\" <member{number}@elsewhere.test>");
    let group: Vec<_> = (0..120).map(member).collect();
    let mail = scene
        .mail()
        .set("To", &group.join(",\r\n\t"))
        .add(
            "In-Reply-To",
            "<c5a2b9b3-2c5c-4b0e-9d52-cc2d1e5e9d7a@localhost>",
        )
        .add(
            "References",
            "<0a1b2c3d-2c5c-4b0e-9d52-cc2d1e5e9d7a@localhost>\r\n \
             <c5a2b9b3-2c5c-4b0e-9d52-cc2d1e5e9d7a@localhost>",
        )
        .add("Auto-Submitted", "auto-generated")
        .add("Autocrypt", &autocrypt(&scene.alice.address));
    assert_eq!(scene.send(&mail).code, 250);
    let received = fields(&scene.received(1).message);
    let (signature, rest) = received.split_first().expect("fields");
    assert_eq!(signature.0, "DKIM-Signature");
    assert_eq!(rest, mail.fields());
}

#[test]
fn the_longest_line_leaves_whole_and_a_longer_one_not_at_all() {
    let scene = Scene::new();
    let to = |length: usize| {
        let others = format!("<{}@elsewhere.test>,", "b".repeat(200)).repeat(4);
        let rest = length - "To: ".len() - others.len() - "<@elsewhere.test>".len();
        format!("{others}<{}@elsewhere.test>", "b".repeat(rest))
    };
    let mail = scene.mail().set("To", &to(998));
    assert_eq!(scene.send(&mail).code, 250);
    let received = fields(&scene.received(1).message);
    assert_eq!(received[1..], *mail.fields());
    let reply = scene.send(&scene.mail().set("To", &to(999)));
    let expected = "554 5.6.0 Header line longer than 998 bytes";
    assert_eq!(reply.to_string(), expected);
}

#[test]
fn a_subject_keeps_its_spelling() {
    let scene = Scene::new();
    for (number, name) in ["Subject", "SUBJECT", "subject"].into_iter().enumerate() {
        let mail = scene.mail().without("Subject").add(name, "Lunch at noon");
        assert_eq!(scene.send(&mail).code, 250);
        let received = scene.received(number + 1);
        let text = String::from_utf8_lossy(&received.message);
        assert!(text.contains(&format!("\r\n{name}: [...]\r\n")), "{text}");
        assert!(!text.contains("Lunch"), "{text}");
    }
}

#[test]
fn nothing_is_added_to_a_header_that_lacks_fields() {
    let scene = Scene::new();
    let mut mail = scene.mail();
    for (number, name) in ["Date", "Message-ID", "To", "Subject"]
        .into_iter()
        .enumerate()
    {
        mail = mail.without(name);
        assert_eq!(scene.send(&mail).code, 250, "{name}");
        let received = fields(&scene.received(number + 1).message);
        assert_eq!(received[1..], *mail.fields(), "{name}");
    }
}
