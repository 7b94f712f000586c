//! What the session does around the grammar: From, edits, recipients, limits.

use proptest::prelude::*;

use super::*;
use crate::address::MailDomain;

const ENCRYPTED: &str = "multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b";

/// An Autocrypt header as Delta Chat writes it.
const KEY: &str = include_str!("form/key/delta-chat.txt");

/// A whole encrypted body for that Content-Type.
fn encrypted_body() -> Vec<u8> {
    // One passphrase packet, then 42 bytes of SEIPD version 1.
    let armor = format!("wwQECQAI0ioB{}paU=", "paWl".repeat(13));
    format!(
        "--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n\
         Content-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n\
         {armor}\r\n-----END PGP MESSAGE-----\r\n--b--\r\n"
    )
    .into_bytes()
}

/// Mailboxes, each with the files named.
fn mailboxes(directory: &tempfile::TempDir, boxes: &[(&str, &[&str])]) -> Mailboxes {
    for (address, files) in boxes {
        let mailbox = directory.path().join(address);
        std::fs::create_dir(&mailbox).expect("mailbox");
        for file in *files {
            std::fs::write(mailbox.join(file), "").expect("file");
        }
    }
    let domain = MailDomain::parse("chat.test").expect("domain");
    Mailboxes::new(directory.path().to_owned(), domain)
}

fn nowhere() -> Mailboxes {
    let domain = MailDomain::parse("chat.test").expect("domain");
    Mailboxes::new("/nonexistent".into(), domain)
}

const ALICE: &[u8] = b"alice@chat.test";

/// Alice is logged in, or it is not known which host sends the message.
fn origin(direction: Direction) -> Origin<'static> {
    match direction {
        Direction::Outgoing => Origin::Outgoing { login: ALICE },
        Direction::Incoming => Origin::Incoming { client: None },
    }
}

/// The verdict on an encrypted message with these fields beside From and Content-Type.
fn with_fields(direction: Direction, fields: &[(&str, &str)]) -> Verdict {
    let mut filter = MessageFilter::new(origin(direction), ALICE);
    filter.recipient(b"bob@chat.test");
    filter.header(b"From", b"<alice@chat.test>");
    for (name, value) in fields {
        filter.header(name.as_bytes(), value.as_bytes());
    }
    filter.header(b"Content-Type", ENCRYPTED.as_bytes());
    filter.end_of_headers();
    filter.body(&encrypted_body());
    filter.finish(&nowhere()).expect("decided")
}

fn edits(direction: Direction, fields: &[(&str, &str)]) -> Vec<HeaderEdit> {
    match with_fields(direction, fields) {
        Verdict::Accepted(accepted) => accepted.edits,
        Verdict::Refused(refusal) => panic!("{refusal}"),
    }
}

fn delete(name: &str, index: u32) -> HeaderEdit {
    HeaderEdit::Delete {
        name: name.to_owned(),
        index,
    }
}

/// The new value of a field that is spelled like that.
fn subject(name: &str) -> HeaderEdit {
    HeaderEdit::Replace {
        name: name.to_owned(),
        index: 1,
        value: "[...]".to_owned(),
    }
}

/// What became of the fields once the edits are made, as a milter client makes them.
fn apply(fields: &[(&str, &str)], edits: &[HeaderEdit]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()))
        .collect();
    for edit in edits {
        let (name, index) = match edit {
            HeaderEdit::Delete { name, index } | HeaderEdit::Replace { name, index, .. } => {
                (name, *index as usize)
            }
        };
        let at = (0..fields.len())
            .filter(|&at| fields[at].0.eq_ignore_ascii_case(name))
            .nth(index - 1)
            .expect("the field is there");
        match edit {
            HeaderEdit::Delete { .. } => drop(fields.remove(at)),
            HeaderEdit::Replace { name, value, .. } => fields[at] = (name.clone(), value.clone()),
        }
    }
    fields
}

#[test]
fn outgoing_mail_loses_what_tells_where_the_user_is_and_what_with() {
    let fields = [
        ("Received", "from [192.0.2.1]"),
        ("Subject", "Attack at dawn"),
        ("X-Mailer", "Carrier Pigeon 1.0"),
        ("user-agent", "Carrier Pigeon 1.0"),
        ("X-Originating-IP", "[192.0.2.1]"),
        ("RECEIVED", "by localhost"),
        ("Chat-Version", "1.0"),
        ("X-Text", "Attack at dawn"),
    ];
    let edits = edits(Direction::Outgoing, &fields);
    assert_eq!(
        edits,
        [
            delete("x-text", 1),
            delete("received", 2),
            delete("x-originating-ip", 1),
            delete("user-agent", 1),
            delete("x-mailer", 1),
            delete("received", 1),
            subject("Subject"),
        ]
    );
    let left = apply(&fields, &edits);
    let left: Vec<_> = left.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(left, [("Subject", "[...]"), ("chat-version", "1.0")]);
}

#[test]
fn fields_delta_chat_and_mail_itself_need_stay() {
    let fields = [
        ("To", "\"hidden-recipients\": ;"),
        ("Date", "Sun, 15 Nov 2026 16:43:21 +0000"),
        ("Message-ID", "<1@localhost>"),
        ("MIME-Version", "1.0"),
        ("In-Reply-To", "<0@localhost>"),
        ("References", "<0@localhost>"),
        ("Chat-Version", "1.0"),
        ("Chat-Is-Post-Message", "1"),
        ("Autocrypt", KEY.trim()),
        ("Auto-Submitted", "auto-generated"),
        ("Secure-Join-Group", "Gd0x"),
        ("List-Id", "<list.chat.test>"),
        ("Cc", "Bob <bob@chat.test>, carol@chat.test"),
        ("Reply-To", "<list@chat.test>"),
        (
            "List-Unsubscribe",
            "<mailto:list@chat.test?subject=unsubscribe>",
        ),
        ("Subject", "[...]"),
    ];
    assert_eq!(edits(Direction::Outgoing, &fields), []);
}

#[test]
fn outgoing_mail_loses_what_only_a_relay_may_say_and_other_identities() {
    for name in [
        "DKIM-Signature",
        "Authentication-Results",
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
        "Return-Path",
        "Sender",
        "Organization",
        "Bcc",
        "Content-Language",
        "Content-Description",
    ] {
        let name = name.to_ascii_lowercase();
        let fields = [(name.as_str(), "x"), (&name, "y")];
        let edits = edits(Direction::Outgoing, &fields);
        assert_eq!(edits, [delete(&name, 2), delete(&name, 1)]);
    }
}

#[test]
fn a_field_that_holds_text_instead_of_its_value_is_dropped() {
    for (name, good) in [
        ("Date", "Sun, 15 Nov 2026 16:43:21 +0000"),
        ("Message-ID", "<1@localhost>"),
        ("References", "<0@localhost>"),
        ("Chat-Version", "1.0"),
        ("Autocrypt", KEY.trim()),
        ("Secure-Join-Group", "Gd0x"),
        ("Auto-Submitted", "auto-generated"),
    ] {
        let text = "Attack at dawn, and bring ladders";
        let fields = [(name, text), (name, good), (name, text)];
        let name = name.to_ascii_lowercase();
        let edits = edits(Direction::Outgoing, &fields);
        assert_eq!(edits, [delete(&name, 3), delete(&name, 1)]);
    }
}

#[test]
fn names_beside_addresses_have_room_for_names_only() {
    let verdict = |to: &str, cc: &str| {
        let fields = [("To", to), ("Cc", cc)];
        match with_fields(Direction::Outgoing, &fields) {
            Verdict::Accepted(_) => None,
            Verdict::Refused(refusal) => Some((refusal.reason, refusal.offset)),
        }
    };
    let group = "\"Bob, the builder of bridges\" <bob@chat.test>,\n ".repeat(60);
    let group = format!("{group}<bob@chat.test>");
    assert_eq!(verdict(&group, "carol@chat.test"), None);
    let refused = |field| Some((Reason::HeaderField, field));
    let more = format!("{group},\n {group}");
    assert_eq!(verdict(&format!("{more},\n {group}"), ""), refused(2));
    assert_eq!(verdict(&group, &more), refused(3));
    let text = "Attack at dawn. ".repeat(limits::NAME_BYTES / 16 + 1);
    assert_eq!(verdict(&text, ""), refused(2));
    assert_eq!(
        verdict(&format!("\"{text}\" <bob@chat.test>"), ""),
        refused(2)
    );
    assert_eq!(verdict("\"Bob <bob@chat.test>", ""), refused(2));
}

#[test]
fn incoming_mail_loses_signatures_and_traces_and_nothing_else() {
    let fields = [
        ("Received", "from mx.example.org"),
        ("DKIM-Signature", "v=1"),
        ("Authentication-Results", "mx; dkim=pass"),
        ("Subject", "[...] or anything"),
        ("X-Spam", "no"),
        ("DKIM-Signature", "v=1"),
    ];
    assert_eq!(
        edits(Direction::Incoming, &fields),
        [
            delete("dkim-signature", 2),
            delete("authentication-results", 1),
            delete("dkim-signature", 1),
            delete("received", 1),
        ]
    );
}

#[test]
fn of_several_subjects_one_is_left_and_none_is_made() {
    let several = [
        ("Subject", "[...]"),
        ("Subject", "Attack"),
        ("subject", "Dawn"),
    ];
    let edits_of_several = edits(Direction::Outgoing, &several);
    assert_eq!(
        edits_of_several,
        [delete("subject", 3), delete("subject", 2)]
    );
    let reversed = [several[1], several[0]];
    let edits_of_reversed = edits(Direction::Outgoing, &reversed);
    assert_eq!(
        edits_of_reversed,
        [delete("subject", 2), subject("Subject")]
    );
    assert_eq!(edits(Direction::Outgoing, &[]), []);
}

#[test]
fn a_field_with_another_value_keeps_its_spelling() {
    for name in ["Subject", "SUBJECT", "subject", "sUbJeCt"] {
        let fields = [("To", "<bob@chat.test>"), (name, "Attack at dawn")];
        assert_eq!(edits(Direction::Outgoing, &fields), [subject(name)]);
        for value in ["[...] ", "[...]\n ...", "\n [...]", "[...]\t"] {
            let fields = [(name, value)];
            assert_eq!(
                edits(Direction::Outgoing, &fields),
                [subject(name)],
                "{value:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn the_order_of_fields_changes_neither_the_verdict_nor_what_is_left(
        fields in Just(vec![
            ("Subject", "Attack"), ("Subject", "Dawn"), ("Received", "a"), ("Received", "b"),
            ("X-Text", "c"), ("Message-ID", "<d@e>"), ("To", "e@f"), ("X-Mailer", "f"),
            ("References", "<g@h>"), ("References", "at dawn"), ("References", "<i@j>"),
        ]).prop_shuffle()
    ) {
        let left = apply(&fields, &edits(Direction::Outgoing, &fields));
        let mut left: Vec<_> = left.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        left.sort_unstable();
        // Of two good ones the first stays.
        let first = fields.iter().find(|(name, value)| *name == "References" && value.starts_with('<'));
        prop_assert_eq!(left, [
            ("Subject", "[...]"), ("message-id", "<d@e>"), ("references", first.expect("there").1),
            ("to", "e@f"),
        ]);
    }
}

#[test]
fn a_message_from_somebody_else_is_refused_with_both_addresses() {
    let reply = |sender: &[u8], from: &[&[u8]]| {
        let mut filter = MessageFilter::new(origin(Direction::Outgoing), sender);
        for value in from {
            filter.header(b"From", value);
        }
        filter.header(b"Content-Type", ENCRYPTED.as_bytes());
        filter.body(&encrypted_body());
        match filter.finish(&nowhere()).expect("decided") {
            Verdict::Accepted(_) => "accepted".to_owned(),
            Verdict::Refused(refusal) => refusal.reply().to_string(),
        }
    };
    let alice = ALICE;
    assert_eq!(reply(alice, &[b" Alice <Alice@Chat.Test>"]), "accepted");
    assert_eq!(reply(b"<alice@chat.test>", &[alice]), "accepted");
    assert_eq!(
        reply(alice, &[b"Eve <eve@chat.test>"]),
        "500 Invalid FROM <eve@chat.test> for <alice@chat.test>"
    );
    for (sender, from) in [
        ("", ""),
        ("eve@chat.test", ""),
        ("eve@chat.test", "eve@chat.test"),
    ] {
        // The envelope is refused whatever else is wrong.
        assert_eq!(
            reply(sender.as_bytes(), &[from.as_bytes()]),
            format!(
                "553 5.7.1 <{sender}>: Sender address rejected: not owned by user alice@chat.test"
            )
        );
    }
    assert_eq!(
        reply(alice, &[b" eve@chat.test, alice@chat.test"]),
        "500 Invalid FROM header: eve@chat.test, alice@chat.test"
    );
    assert_eq!(reply(alice, &[]), "500 Invalid FROM header: missing");
    assert!(reply(alice, &[alice, alice]).starts_with("500 Invalid FROM header: "));
}

#[test]
fn a_message_without_a_login_is_refused_whatever_it_is() {
    let mut filter = MessageFilter::new(Origin::Outgoing { login: b"" }, ALICE);
    filter.header(b"From", b"<alice@chat.test>");
    filter.header(b"Content-Type", ENCRYPTED.as_bytes());
    filter.body(&encrypted_body());
    let Verdict::Refused(refusal) = filter.finish(&nowhere()).expect("decided") else {
        panic!("a stranger sends");
    };
    assert_eq!(refusal.reason, Reason::NotLoggedIn);
    assert_eq!(refusal.to_string(), "not-logged-in (envelope, offset 0)");
}

#[test]
fn every_message_that_passes_has_one_author_whom_the_verdict_names() {
    let directory = tempfile::tempdir().expect("directory");
    let mailboxes = mailboxes(&directory, &[("open@chat.test", &["password"])]);
    let finish = |direction, from: &[&str], others: &[(&str, &str)], body: &[u8]| {
        // A report has the null sender, and cleartext of a literal comes from its host.
        let (origin, sender) = match direction {
            Direction::Outgoing => (origin(direction), ALICE),
            Direction::Incoming => {
                let client = Some(IpAddr::from([192, 0, 2, 1]));
                (Origin::Incoming { client }, &b""[..])
            }
        };
        let mut filter = MessageFilter::new(origin, sender);
        filter.recipient(b"open@chat.test");
        for value in from {
            filter.header(b"From", value.as_bytes());
        }
        for (name, value) in others {
            filter.header(name.as_bytes(), value.as_bytes());
        }
        filter.body(body);
        filter.finish(&mailboxes).expect("decided")
    };
    let report = [
        ("Auto-Submitted", "auto-replied"),
        (
            "Content-Type",
            "multipart/report; report-type=delivery-status; boundary=b",
        ),
    ];
    let status = b"--b\r\n\r\nLost.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
        Reporting-MTA: dns; example.org\r\n\r\n\
        Final-Recipient: rfc822; bob@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n";
    let encrypted = [("Content-Type", ENCRYPTED)];
    let body = encrypted_body();
    for (direction, from, fields, body, expected) in [
        (
            Direction::Outgoing,
            "Alice <Alice@Chat.Test>",
            &encrypted[..],
            &body[..],
            ("encrypted", "Alice@Chat.Test", Some(1)),
        ),
        (
            Direction::Incoming,
            "eve@example.org (Eve)",
            &encrypted,
            &body,
            ("encrypted", "eve@example.org", Some(1)),
        ),
        (
            Direction::Incoming,
            "MAILER-DAEMON@example.org (Mail Delivery System)",
            &report,
            status,
            ("delivery-report", "MAILER-DAEMON@example.org", None),
        ),
        (
            Direction::Incoming,
            "eve@[192.0.2.1]",
            &[],
            b"Attack at dawn.\r\n",
            ("cleartext", "eve@[192.0.2.1]", None),
        ),
    ] {
        let Verdict::Accepted(accepted) = finish(direction, &[from], fields, body) else {
            panic!("{from} is refused");
        };
        let got = (
            accepted.class.name(),
            accepted.author.as_str(),
            accepted.seipd,
        );
        assert_eq!(got, expected);
        let other = "MAILER-DAEMON@example.net";
        let list = format!("{from}, {other}");
        for from in [&[][..], &[from, from], &[from, other], &[&list], &[""]] {
            let verdict = finish(direction, from, fields, body);
            let Verdict::Refused(refusal) = verdict else {
                panic!("{from:?} passes");
            };
            assert_eq!(refusal.reason.name(), "invalid-from", "{from:?}");
            assert_eq!(refusal.reply().code, 500);
        }
    }
}

/// The verdict on incoming cleartext to these recipients.
fn cleartext(mailboxes: &Mailboxes, recipients: &[&str]) -> Result<Verdict, Undecided> {
    let mut filter = MessageFilter::new(origin(Direction::Incoming), b"");
    for recipient in recipients {
        filter.recipient(recipient.as_bytes());
    }
    filter.header(b"From", b"<eve@example.org>");
    filter.header(b"Content-Type", b"text/plain");
    filter.body(b"Attack at dawn.\r\n");
    filter.finish(mailboxes)
}

#[test]
fn cleartext_reaches_only_recipients_who_all_allow_it() {
    let directory = tempfile::tempdir().expect("directory");
    let mailboxes = mailboxes(
        &directory,
        &[
            ("open@chat.test", &["password"]),
            ("other@chat.test", &["password"]),
            ("bob@chat.test", &["password", "enforceE2EEincoming"]),
            ("ghost@chat.test", &[]),
        ],
    );
    let passes = |recipients: &[&str]| {
        let verdict = cleartext(&mailboxes, recipients).expect("decided");
        match verdict {
            Verdict::Accepted(accepted) => {
                assert_eq!(accepted.class, Class::Cleartext);
                true
            }
            Verdict::Refused(refusal) => {
                let reply = refusal.reply().to_string();
                assert_eq!(reply, "523 Encryption Needed: Invalid Unencrypted Mail");
                false
            }
        }
    };
    assert!(passes(&["open@chat.test"]));
    assert!(passes(&["<Open@Chat.Test>", "other@chat.test"]));
    assert!(!passes(&["open@chat.test", "bob@chat.test"]));
    assert!(!passes(&["bob@chat.test", "open@chat.test"]));
    assert!(!passes(&["ghost@chat.test"]), "no account");
    assert!(!passes(&["nobody@chat.test"]), "no mailbox");
    assert!(!passes(&["open@example.org"]), "not ours");
    assert!(!passes(&["open@chat.test", "../x@chat.test"]));
    assert!(!passes(&[""]));
    assert!(!passes(&[]), "nobody allowed it");
    assert!(!passes(&["open@chat.test\nopen@chat.test"]), "no address");
    assert!(
        !passes(&["open@chat.test"; 5_000]),
        "more than are remembered"
    );
}

#[cfg(unix)]
#[test]
fn a_mailbox_that_cannot_be_read_leaves_it_undecided() {
    let directory = tempfile::tempdir().expect("directory");
    let mailboxes = mailboxes(&directory, &[("open@chat.test", &["password"])]);
    // A link to itself can be read by nobody, root included.
    let link = directory.path().join("loop@chat.test");
    std::os::unix::fs::symlink(&link, &link).expect("link");
    let undecided = cleartext(&mailboxes, &["open@chat.test", "loop@chat.test"])
        .expect_err("nothing is known of the second");
    assert_eq!(
        undecided.reply().to_string(),
        "451 4.3.0 Temporary failure, try again later"
    );
}

#[test]
fn a_header_over_its_limits_is_refused_in_both_directions() {
    let long = "a".repeat(limits::HEADER_FIELD_BYTES + 1);
    let large = "a".repeat(limits::HEADER_FIELD_BYTES);
    for direction in [Direction::Outgoing, Direction::Incoming] {
        for fields in [
            vec![("X-Text", long.as_str())],
            vec![("X-Text", large.as_str()); 5],
            vec![("X-Text", "a"); limits::HEADER_FIELDS],
            vec![(&long[..limits::HEADER_NAME_BYTES + 1], "a")],
        ] {
            let Verdict::Refused(refusal) = with_fields(direction, &fields) else {
                panic!("{} fields pass", fields.len());
            };
            assert_eq!(
                refusal.reply().to_string(),
                "552 5.3.4 Message header exceeds fixed limit"
            );
        }
        let most = vec![("X-Text", "a"); limits::HEADER_FIELDS - 2];
        assert!(matches!(
            with_fields(direction, &most),
            Verdict::Accepted(_)
        ));
    }
}

#[test]
fn a_field_after_the_body_has_begun_is_refused() {
    let mut filter = MessageFilter::new(origin(Direction::Incoming), b"");
    filter.header(b"From", b"<eve@example.org>");
    filter.header(b"Content-Type", ENCRYPTED.as_bytes());
    filter.body(&encrypted_body());
    assert!(filter.wants_body());
    filter.header(b"Content-Type", b"text/plain");
    assert!(!filter.wants_body());
    let verdict = filter.finish(&nowhere()).expect("decided");
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
}

#[test]
fn a_refusal_says_where_it_stopped_and_repeats_nothing() {
    let mut filter = MessageFilter::new(origin(Direction::Incoming), b"");
    filter.header(b"From", b"<eve@example.org>");
    filter.header(b"Content-Type", ENCRYPTED.as_bytes());
    let body = String::from_utf8(encrypted_body()).expect("ascii");
    let at = body.find("Version").expect("there");
    filter.body(body.replace("Version: 1", "Attack at dawn").as_bytes());
    assert!(!filter.wants_body());
    let Verdict::Refused(refusal) = filter.finish(&nowhere()).expect("decided") else {
        panic!("text passes");
    };
    assert_eq!(refusal.reason, Reason::VersionPart);
    assert_eq!(
        (refusal.part, refusal.offset),
        (Part::BodyPart(1), at as u64)
    );
    assert_eq!(
        refusal.to_string(),
        format!("version-part (part 1, offset {at})")
    );
}

#[test]
fn an_error_at_the_end_of_the_ciphertext_is_found_at_the_same_line_however_it_comes() {
    use base64::Engine;
    // A passphrase packet of the old family before data of the new one, 480 bytes: ten full lines.
    let mut packets = vec![0xc3, 4, 4, 9, 0, 8, 0xd2, 255, 0, 0, 1, 212, 2, 9, 2, 6];
    packets.resize(480, 0xa5);
    let text = base64::engine::general_purpose::STANDARD.encode(packets);
    let lines: String = (0..10)
        .map(|at| format!("{}\r\n", &text[at * 64..at * 64 + 64]))
        .collect();
    let body = String::from_utf8(encrypted_body()).expect("ascii");
    let (head, tail) = body.split_once("wwQE").expect("armor");
    let (_, tail) = tail.split_once("\r\n").expect("line");
    let body = format!("{head}{lines}{tail}");
    let refusal = |step: usize| {
        let mut filter = MessageFilter::new(origin(Direction::Incoming), b"");
        filter.header(b"From", b"<eve@example.org>");
        filter.header(b"Content-Type", ENCRYPTED.as_bytes());
        for chunk in body.as_bytes().chunks(step) {
            filter.body(chunk);
        }
        match filter.finish(&nowhere()).expect("decided") {
            Verdict::Refused(refusal) => refusal,
            Verdict::Accepted(_) => panic!("the families do not mix"),
        }
    };
    let last_line = head.len() + 9 * 66;
    assert_eq!(refusal(body.len()).offset, last_line as u64);
    for step in [1, 7, 66, 100] {
        assert_eq!(refusal(step), refusal(body.len()), "in steps of {step}");
    }
}

#[test]
fn of_each_outgoing_field_one_stays() {
    let refused = |fields: &[(&str, &str)]| match with_fields(Direction::Outgoing, fields) {
        Verdict::Accepted(_) => None,
        Verdict::Refused(refusal) => Some((refusal.reason, refusal.offset)),
    };
    for (name, value) in [
        ("Autocrypt", KEY.trim()),
        ("Chat-Version", "1.0"),
        ("Message-ID", "<1@localhost>"),
        ("Date", "Sun, 15 Nov 2026 16:43:21 +0000"),
        ("Reply-To", "<alice@chat.test>"),
        ("List-Id", "<list.chat.test>"),
        ("Auto-Submitted", "no"),
    ] {
        let capitals = name.to_ascii_uppercase();
        let fields = [(name, value), (capitals.as_str(), value), (name, value)];
        let name = name.to_ascii_lowercase();
        let edits = edits(Direction::Outgoing, &fields);
        assert_eq!(edits, [delete(&name, 3), delete(&name, 2)]);
    }
    for (name, value) in [
        ("To", "<bob@chat.test>"),
        ("Cc", "<bob@chat.test>"),
        ("MIME-Version", "1.0"),
        ("Content-Transfer-Encoding", "7bit"),
    ] {
        let fields = [(name, value), (name, value)];
        assert_eq!(refused(&fields), Some((Reason::HeaderField, 3)), "{name}");
        assert_eq!(refused(&fields[1..]), None, "{name}");
    }
}

#[test]
fn an_outgoing_line_that_an_smtp_client_would_break_up_does_not_go_out() {
    // With `To: ` and `<bob@chat.test>` a line of this many bytes.
    let to = |length: usize| {
        let name = "b".repeat(240);
        let names = format!("<{name}@chat.test>,").repeat(3);
        let rest = length - "To: ".len() - names.len() - "<@chat.test>".len();
        format!("{names}<{}@chat.test>", "b".repeat(rest))
    };
    let verdict = |to: &str| match with_fields(Direction::Outgoing, &[("To", to)]) {
        Verdict::Accepted(_) => None,
        Verdict::Refused(refusal) => Some(refusal.reason),
    };
    assert_eq!(verdict(&to(limits::LINE_BYTES)), None);
    let long = to(limits::LINE_BYTES + 1);
    assert_eq!(verdict(&long), Some(Reason::HeaderLine));
    assert_eq!(verdict(&format!(" {long}")), Some(Reason::HeaderLine));
    // Without the name, a fold's line has room for three bytes more.
    let folded = |length: usize| verdict(&format!("<bob@chat.test>,\n {}", to(length)));
    assert_eq!(folded(limits::LINE_BYTES + 3), None);
    assert_eq!(folded(limits::LINE_BYTES + 4), Some(Reason::HeaderLine));
    assert_eq!(verdict(&long.replace(",<", ",\n <")), None);
    // Where the message can do without the field, it goes without it.
    let ids = vec!["<c5a2b9b3-2c5c-4b0e-9d52-cc2d1e5e9d7a@localhost>"; 25];
    let one_line = [("References", &*ids.join(" "))];
    let dropped = [delete("references", 1)];
    assert_eq!(edits(Direction::Outgoing, &one_line), dropped);
    let folded = [("References", &*ids.join("\n "))];
    assert_eq!(edits(Direction::Outgoing, &folded), []);
}

#[test]
fn an_outgoing_header_has_seven_bits() {
    let name = "\u{c4}lice <alice@chat.test>";
    let fields = [("To", name)];
    let Verdict::Refused(refusal) = with_fields(Direction::Outgoing, &fields) else {
        panic!("a name of 8 bits passes");
    };
    assert_eq!(refusal.reason, Reason::HeaderField);
    let reply_to = [("Reply-To", name)];
    let dropped = [delete("reply-to", 1)];
    assert_eq!(edits(Direction::Outgoing, &reply_to), dropped);
    assert_eq!(edits(Direction::Incoming, &fields), []);
}

#[test]
fn all_addresses_of_a_header_are_those_of_a_large_group() {
    let members = |count: usize| {
        let member = |at: usize| format!("<member{at:04}@chat.test>");
        let members: Vec<_> = (0..count).map(member).collect();
        members.join(",\n ")
    };
    let fits = |to: &str, cc: &str| {
        let verdict = with_fields(Direction::Outgoing, &[("To", to), ("Cc", cc)]);
        matches!(verdict, Verdict::Accepted(_))
    };
    assert!(fits(&members(1000), "<bob@chat.test>"));
    assert!(!fits(&members(1000), &members(1000)));
}

#[test]
fn nobody_outside_is_the_author_of_mail_of_a_relay_on_an_ip_address() {
    let ours = MailDomain::parse("203.0.113.7").expect("a literal");
    let mailboxes = Mailboxes::new("/nonexistent".into(), ours);
    let verdict = |author: &str, client: &str, mailboxes: &Mailboxes| {
        let client = client.parse().ok();
        let mut filter = MessageFilter::new(Origin::Incoming { client }, author.as_bytes());
        filter.recipient(b"bob@[203.0.113.7]");
        filter.header(b"From", author.as_bytes());
        filter.header(b"Content-Type", ENCRYPTED.as_bytes());
        filter.body(&encrypted_body());
        match filter.finish(mailboxes).expect("decided") {
            Verdict::Accepted(_) => "accepted",
            Verdict::Refused(refusal) => refusal.reason.name(),
        }
    };
    for author in [
        "alice@[203.0.113.7]",
        "nobody@[203.0.113.7]",
        "alice@[IPv6:::ffff:203.0.113.7]",
        "alice@[ipv6:0:0:0:0:0:FFFF:CB00:7107]",
    ] {
        for client in ["203.0.113.7", "198.51.100.1", "none"] {
            assert_eq!(
                verdict(author, client, &mailboxes),
                "own-literal",
                "{author} {client}"
            );
        }
        assert_eq!(verdict(author, "198.51.100.1", &nowhere()), "accepted");
    }
    for author in [
        "alice@[203.0.113.8]",
        "alice@[IPv6:2001:db8::7]",
        "alice@chat.test",
    ] {
        assert_eq!(
            verdict(author, "198.51.100.1", &mailboxes),
            "accepted",
            "{author}"
        );
    }
}
