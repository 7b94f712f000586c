//! Whole reports: their senders, and how much text they can hold.

use std::net::IpAddr;

use super::super::{Class, MessageFilter, Origin, RawMessage, Verdict, limits};
use crate::address::MailDomain;
use crate::mailbox::Mailboxes;

const FROM: &str = "From: MAILER-DAEMON@elsewhere.test\r\n";
const STATUS: &str = "Reporting-MTA: dns; elsewhere.test\r\n\r\n\
    Final-Recipient: rfc822; bob@elsewhere.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
const RETURNED: &str = "From: <alice@chat.test>\r\nSubject: [...]\r\n";

/// The pieces of a report that tests change.
#[derive(Clone)]
struct Pieces {
    header: String,
    /// Fields of the first part, and its content; likewise of the others.
    text: (String, String),
    status: (String, String),
    returned: (String, String),
}

impl Pieces {
    fn usual() -> Pieces {
        let fields = |text: &str| format!("Content-Type: {text}\r\n");
        Pieces {
            header: FROM.to_owned(),
            text: (fields("text/plain"), "Your message is lost.\r\n".to_owned()),
            status: (fields("message/delivery-status"), STATUS.to_owned()),
            returned: (fields("text/rfc822-headers"), RETURNED.to_owned()),
        }
    }

    fn message(&self) -> String {
        let Pieces {
            header,
            text,
            status,
            returned,
        } = self;
        let mut message = format!(
            "{header}Auto-Submitted: auto-replied\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        );
        for (fields, content) in [text, status, returned] {
            message += &format!("--b\r\n{fields}\r\n{content}");
        }
        message + "--b--\r\n"
    }

    fn passes(&self) -> bool {
        verdict("", &["alice@chat.test"], &self.message()) == Ok(Class::DeliveryReport)
    }
}

/// The class of a message that passes, or the name of the reason for a refusal.
fn verdict(sender: &str, recipients: &[&str], message: &str) -> Result<Class, &'static str> {
    let domain = MailDomain::parse("chat.test").expect("a domain");
    let mailboxes = Mailboxes::new("/nonexistent".into(), domain);
    let client = Some(IpAddr::from([203, 0, 113, 7]));
    let filter = MessageFilter::new(Origin::Incoming { client }, sender.as_bytes());
    let mut raw = RawMessage::new(filter);
    for recipient in recipients {
        raw.recipient(recipient.as_bytes());
    }
    raw.write(message.as_bytes());
    match raw.finish(&mailboxes).expect("decided") {
        Verdict::Accepted(accepted) => Ok(accepted.class),
        Verdict::Refused(refusal) => Err(refusal.reason.name()),
    }
}

#[test]
fn a_report_has_a_null_sender_and_one_recipient() {
    let message = Pieces::usual().message();
    let alice = "alice@chat.test";
    let report = Ok(Class::DeliveryReport);
    assert_eq!(verdict("", &[alice], &message), report);
    assert_eq!(verdict("<>", &["<alice@chat.test>"], &message), report);
    for sender in [
        "MAILER-DAEMON@elsewhere.test",
        "mallory@elsewhere.test",
        " ",
    ] {
        assert_eq!(
            verdict(sender, &[alice], &message),
            Err("report"),
            "{sender}"
        );
    }
    let long = "b".repeat(limits::RECIPIENT_BYTES);
    let several = [[alice, "bob@chat.test"], [alice, alice], [alice, &long]];
    let several = several.iter().map(<[&str; 2]>::as_slice);
    for recipients in several.chain([&[][..]]) {
        let refused = Err("report");
        assert_eq!(verdict("", recipients, &message), refused, "{recipients:?}");
    }
}

#[test]
fn a_report_comes_from_the_mail_server_and_says_that_it_is_automatic() {
    let with = |from: &str, automatic: &str| {
        let message = Pieces::usual().message();
        let message = message.replacen("MAILER-DAEMON@elsewhere.test", from, 1);
        let message = message.replacen("auto-replied", automatic, 1);
        verdict("", &["alice@chat.test"], &message)
    };
    for from in [
        "mailer-daemon@elsewhere.test",
        "Mail Delivery System <Mailer-Daemon@elsewhere.test>",
        "<postmaster@elsewhere.test>",
        "PostMaster@[203.0.113.7]",
    ] {
        for automatic in [
            "auto-replied",
            "Auto-Generated",
            "auto-generated (failure)",
            "auto-replied; owner-email=\"x@elsewhere.test\"",
        ] {
            let report = Ok(Class::DeliveryReport);
            assert_eq!(with(from, automatic), report, "{from} {automatic}");
        }
    }
    for automatic in [
        "no",
        "",
        "auto",
        "auto-notified",
        "auto-replied attack",
        "x",
        "no\r\nAuto-Submitted: auto-replied",
    ] {
        let verdict = with("postmaster@elsewhere.test", automatic);
        assert_eq!(verdict, Err("report"), "{automatic}");
    }
    for from in [
        "carol@elsewhere.test",
        "mailer-daemon-2@elsewhere.test",
        "mailer-daemon@mallory@elsewhere.test",
    ] {
        assert!(with(from, "auto-replied").is_err(), "{from}");
    }
}

#[test]
fn a_text_has_four_kib_however_it_is_encoded() {
    use base64::Engine;
    let line = "Attack at dawn. Attack at dawn. Attack at dawn. Attack at dawn\r\n";
    for (more, passes) in [("", true), (".", false), ("Attack at dawn.", false)] {
        let text = more.to_owned() + &line.repeat(limits::REPORT_TEXT_BYTES / line.len());
        let lines = |text: String| {
            let lines = text.as_bytes().chunks(76);
            let line = |line| String::from_utf8_lossy(line).into_owned() + "\r\n";
            lines.map(line).collect::<String>()
        };
        let base64 = lines(base64::engine::general_purpose::STANDARD.encode(&text));
        for (encoding, content) in [
            ("7bit", text.clone()),
            ("base64", base64),
            ("quoted-printable", text.replace(' ', "=20")),
            ("quoted-printable", text.replace(' ', "=\r\n=20")),
        ] {
            let mut report = Pieces::usual();
            report.text = (
                format!("Content-Transfer-Encoding: {encoding}\r\n"),
                content,
            );
            assert_eq!(report.passes(), passes, "{encoding} {more}");
        }
    }
}

/// The manual states the sum in KiB.
#[test]
fn no_report_has_more_room_for_text_than_the_manual_says() {
    let field = |size: usize| format!("X: {}\r\n", "a".repeat(size - 5));
    let fill = |text: &str, most: usize| {
        let left = most - text.len();
        let whole = left / 512;
        let rest = left - 512 * whole.saturating_sub(1);
        text.to_owned() + &field(512).repeat(whole.saturating_sub(1)) + &field(rest)
    };
    let usual = Pieces::usual();
    let mut full = usual.clone();
    full.text.1 = "a".repeat(510) + "\r\n";
    full.text.1 = full.text.1.repeat(limits::REPORT_TEXT_BYTES / 512);
    full.status.1 = fill(STATUS, limits::REPORT_STATUS_BYTES).replace("X:", "X-A:");
    full.returned.1 = fill(RETURNED, limits::REPORT_HEADER_BYTES);
    // `X-A` is two bytes longer than `X`.
    let extra = 2 * full.status.1.matches("X-A:").count();
    let shorter = full.status.1.replacen(&"a".repeat(extra), "", 1);
    full.status.1 = shorter;
    assert!(full.passes());
    for grow in [
        |report: &mut Pieces| report.text.1 += "a\r\n",
        |report: &mut Pieces| report.status.1 += "X-A:\r\n",
        |report: &mut Pieces| report.returned.1 += "X:\r\n",
        |report: &mut Pieces| report.header = "X: a\r\n".repeat(40) + &"X: ".repeat(20_000),
        |report: &mut Pieces| {
            report.text.0 += &format!("Content-Description: {}\r\n", "a".repeat(65));
        },
        |report: &mut Pieces| report.returned.0 += &" ;\r\n".repeat(130),
    ] {
        let mut report = full.clone();
        grow(&mut report);
        assert!(!report.passes());
    }
    let manual = include_str!("../../../../man/chatmail-milter.8");
    let kib = limits::REPORT_BYTES.div_ceil(1024);
    assert!(manual.contains(&format!("at most {kib} KiB of readable text")));
}

#[test]
fn an_encoded_part_ends_with_its_encoding() {
    for (encoding, content, passes) in [
        ("quoted-printable", "Your message is lost.=\r\n", false),
        ("quoted-printable", "Your message is =6Cost.\r\n", true),
        ("quoted-printable", "=1B$B<:GT=1B(B\r\n", true),
        ("quoted-printable", "Lost.=07\r\n", false),
        ("7bit", "Lost.\x07\r\n", false),
        ("base64", "TG9zdC4NCg==\r\n", true),
        ("base64", "TG9zdC4NCg=\r\n", false),
        ("base64", "TG9zdC4NCg\r\n", false),
        ("base64", "TG9zdC4NCg==\r\nLost.\r\n", false),
        ("x-uuencode", "Lost.\r\n", false),
    ] {
        let mut report = Pieces::usual();
        report.text = (
            format!("Content-Transfer-Encoding: {encoding}\r\n"),
            content.to_owned(),
        );
        assert_eq!(report.passes(), passes, "{encoding}: {content}");
    }
}

#[test]
fn what_stands_around_the_parts_is_bounded() {
    let usual = Pieces::usual().message();
    let blank = |count: usize| "\r\n".repeat(count);
    let most = limits::BLANK_LINES_INCOMING as usize;
    let sentence = "This is a multi-part message in MIME format.\r\n";
    for (before, passes) in [
        (blank(most), true),
        (blank(most + 1), false),
        (sentence.repeat(2), true),
        (sentence.repeat(3), false),
    ] {
        let message = usual.replacen("--b\r\n", &format!("{before}--b\r\n"), 1);
        let verdict = verdict("", &["alice@chat.test"], &message);
        assert_eq!(verdict == Ok(Class::DeliveryReport), passes, "{before:?}");
    }
    let name = "a".repeat(limits::FILE_NAME_BYTES + 1);
    let space = " ".repeat(limits::REPORT_PART_HEADER_BYTES / 2);
    for fields in [
        format!("Content-Disposition: inline; filename={name}\r\n"),
        format!("Content-Type: text/plain;{space}\r\nContent-Disposition: inline;{space}\r\n"),
    ] {
        let mut report = Pieces::usual();
        report.text.0 = fields;
        assert!(!report.passes(), "{}", report.text.0);
    }
}

#[test]
fn a_returned_header_is_read_as_that_of_a_message() {
    let long = "a".repeat(700);
    let blank = |count: usize| "\r\n".repeat(count);
    let most = limits::BLANK_LINES_INCOMING as usize;
    let encrypted = "Content-Type: multipart/encrypted; \
        protocol=\"application/pgp-encrypted\"; boundary=c\r\n";
    let from = "From: <alice@chat.test>\r\n";
    for (content_type, content, passes) in [
        ("text/rfc822-headers", blank(most + 1), true),
        ("text/rfc822-headers", blank(most + 2), false),
        ("text/rfc822-headers", format!("Subject: {long}\r\n"), true),
        ("text/rfc822-headers", format!("From: {long}\r\n"), false),
        ("message/rfc822", format!("{from}{encrypted}"), true),
        ("message/rfc822", encrypted.to_owned(), false),
        (
            "message/rfc822",
            format!("{from}Content-Type: text/html\r\n"),
            false,
        ),
        (
            "message/rfc822",
            format!("{from}{encrypted}\r\n--c\r\n"),
            false,
        ),
        (
            "message/rfc822",
            format!(
                "{from}{encrypted}{}",
                "X: a\r\n".repeat(limits::HEADER_FIELDS)
            ),
            false,
        ),
    ] {
        let mut report = Pieces::usual();
        report.returned = (format!("Content-Type: {content_type}\r\n"), content);
        assert_eq!(report.passes(), passes, "{:?}", report.returned);
    }
}
