//! Bodies of encrypted mail, line by line.

use super::super::mime::MediaType;
use super::super::part::OPENINGS;
use super::*;

/// A reader in the header of the part with this role.
fn in_part(direction: Direction, role: Role, boundary: &str) -> Multipart {
    let value = format!("multipart/encrypted; boundary=\"{boundary}\"");
    let boundary = MediaType::parse(value.as_bytes())
        .and_then(|media_type| media_type.boundary())
        .expect("a boundary");
    let mut body = Multipart::new(direction, Content::Encrypted, boundary, Vec::new());
    body.state = State::Header(PartHeader::new(direction, role), role);
    body
}

#[test]
fn a_usual_opening_is_read_as_its_lines_are() {
    for (role, opening) in OPENINGS {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let mut at_once = in_part(direction, role, "b");
            let passed = at_once.bulk(opening.as_bytes(), LineEnd::CrLf);
            assert_eq!(passed, Ok(opening.len()), "{opening}");
            let mut by_line = in_part(direction, role, "b");
            for line in opening.split_terminator("\r\n") {
                assert_eq!(by_line.line(line.as_bytes()), Ok(()), "{line}");
            }
            assert_eq!(format!("{at_once:?}"), format!("{by_line:?}"), "{opening}");
        }
    }
}

#[test]
fn an_opening_is_usual_only_as_a_whole_at_the_beginning_of_its_part() {
    for (role, opening) in OPENINGS {
        let passed = |boundary, text: &str, line_end| {
            in_part(Direction::Incoming, role, boundary).bulk(text.as_bytes(), line_end)
        };
        assert_eq!(
            passed("b", &opening[..opening.len() - 1], LineEnd::CrLf),
            Ok(0)
        );
        assert_eq!(passed("b", &opening.to_lowercase(), LineEnd::CrLf), Ok(0));
        assert_eq!(passed("b", opening, LineEnd::Lf), Ok(0));
        // Its line of dashes is a delimiter then.
        assert_eq!(passed("-", opening, LineEnd::CrLf), Ok(0));
        for before in [
            "Content-Type: application/octet-stream",
            "MIME-Version: 1.0",
        ] {
            let mut body = in_part(Direction::Incoming, role, "b");
            assert_eq!(body.line(before.as_bytes()), Ok(()));
            assert_eq!(
                body.bulk(opening.as_bytes(), LineEnd::CrLf),
                Ok(0),
                "{before}"
            );
        }
    }
}

/// The answer to a body of encrypted mail with these two parts, boundary `b`.
fn parts(direction: Direction, version: &str, encrypted: &str) -> Result<(), Reason> {
    let body = format!("--b\n{version}\n--b\n{encrypted}\n--b--");
    read(direction, "b", &body)
}

fn read(direction: Direction, boundary: &str, body: &str) -> Result<(), Reason> {
    let mut reader = in_part(direction, Role::Version, boundary);
    reader.state = State::Preamble(false);
    for line in body.split('\n') {
        reader.line(line.as_bytes())?;
    }
    reader.finish().map(drop)
}

const VERSION: &str = "Content-Type: application/pgp-encrypted\n\nVersion: 1";
const TYPE: &str = "Content-Type: application/octet-stream\n";

/// One passphrase packet, then 42 bytes of SEIPD version 1.
fn armor() -> String {
    let data = "paWl".repeat(13);
    format!("-----BEGIN PGP MESSAGE-----\n\nwwQECQAI0ioB{data}paU=\n-----END PGP MESSAGE-----")
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn either_part_may_be_in_base64_incoming() {
    let encoding = "Content-Transfer-Encoding: base64\n";
    let plain = format!("{TYPE}\n{}", armor());
    for line_end in ["\n", "\r\n"] {
        let inner = armor().replace('\n', line_end);
        for tail in ["", line_end, &line_end.repeat(32)] {
            let encrypted = format!("{TYPE}{encoding}\n{}", base64(&(inner.clone() + tail)));
            assert_eq!(parts(Direction::Incoming, VERSION, &encrypted), Ok(()));
            let refused = parts(Direction::Outgoing, VERSION, &encrypted);
            assert_eq!(refused, Err(Reason::TransferEncoding));
            let content = base64(&format!("Version: 1{tail}"));
            let version = VERSION.replace("\n\nVersion: 1", &format!("\n{encoding}\n{content}"));
            assert_eq!(parts(Direction::Incoming, &version, &plain), Ok(()));
            assert_eq!(parts(Direction::Incoming, &version, &encrypted), Ok(()));
        }
    }
}

#[test]
fn inside_base64_stands_what_may_stand_without_it() {
    let encoding = "Content-Transfer-Encoding: base64\n";
    let good = armor();
    for (content, reason) in [
        (format!("{good}\nAttack at dawn."), Reason::Armor),
        (format!("Attack at dawn.\n{good}"), Reason::Armor),
        (format!("{good}{}", "\n".repeat(34)), Reason::Armor),
        (format!("{good}\n{good}"), Reason::Armor),
        (good.replace("=\n", "=\n\n"), Reason::Armor),
        (good.replacen('\n', "\r\n", 1), Reason::Line),
        (good.replace("paU=", "pa!U="), Reason::Armor),
        (good.replace("-----END PGP MESSAGE-----", ""), Reason::Armor),
        (good.replace("wwQE", "ywQE"), Reason::Packet),
        ("Attack at dawn.".to_owned(), Reason::Armor),
        (String::new(), Reason::Armor),
        (base64(&good), Reason::Armor),
    ] {
        let encrypted = format!("{TYPE}{encoding}\n{}", base64(&content));
        let answer = parts(Direction::Incoming, VERSION, &encrypted);
        assert_eq!(answer, Err(reason), "{content}");
    }
    for version in ["Version: 2", "Version: 1\nAttack", "", "VmVyc2lvbjogMQ=="] {
        let version = VERSION.replace(
            "\n\nVersion: 1",
            &format!("\n{encoding}\n{}", base64(version)),
        );
        let encrypted = format!("{TYPE}\n{good}");
        let answer = parts(Direction::Incoming, &version, &encrypted);
        assert_eq!(answer, Err(Reason::VersionPart), "{version}");
    }
    // The plain armor, declared as base64.
    let encrypted = format!("{TYPE}{encoding}\n{good}");
    let answer = parts(Direction::Incoming, VERSION, &encrypted);
    assert_eq!(answer, Err(Reason::TransferEncoding));
}

#[test]
fn empty_lines_are_counted_at_each_place() {
    let sentence = format!("{}.", PREAMBLES[0]);
    let armor = armor();
    // `@`: where empty lines may stand in incoming mail.
    let body = format!(
        "@{sentence}\n@--b\nContent-Type: application/pgp-encrypted\n\n@Version: 1\n@--b\n\
         {TYPE}\n@{armor}\n@--b--\n@"
    );
    let places: Vec<usize> = body.match_indices('@').map(|(at, _)| at).collect();
    assert_eq!(places.len(), 7);
    let with = |count: usize, at: Option<usize>| {
        let mut text = String::new();
        for (index, character) in body.char_indices() {
            match character {
                '@' if at.is_none_or(|at| at == index) => text += &"\n".repeat(count),
                '@' => {}
                _ => text.push(character),
            }
        }
        read(Direction::Incoming, "b", &text)
    };
    let most = limits::BLANK_LINES_INCOMING as usize;
    // The text ends behind a line end: one more empty line there.
    assert_eq!(with(most - 1, None), Ok(()));
    for at in places {
        assert_eq!(with(most - 1, Some(at)), Ok(()), "{at}");
        assert!(with(most + 1, Some(at)).is_err(), "{at}");
    }
}

#[test]
fn outgoing_mail_has_few_empty_lines() {
    let with = |before: usize, behind: usize| {
        let (before, behind) = ("\n".repeat(before), "\n".repeat(behind));
        let version = VERSION.replace("\n\nV", &format!("\n\n{before}V")) + &behind;
        parts(
            Direction::Outgoing,
            &version,
            &format!("{TYPE}\n{}", armor()),
        )
    };
    assert_eq!(with(8, 0), Ok(()));
    assert_eq!(with(0, 8), Ok(()));
    assert_eq!(with(4, 5), Err(Reason::VersionPart));
}

#[test]
fn a_boundary_may_hold_spaces() {
    let body = format!("--a b\n{VERSION}\n--a b \n{TYPE}\n{}\n--a b--\n", armor());
    assert_eq!(read(Direction::Incoming, "a b", &body), Ok(()));
    for other in ["--a", "--a  b", "--ab"] {
        let body = body.replacen("--a b ", other, 1);
        assert!(read(Direction::Incoming, "a b", &body).is_err(), "{other}");
    }
}

#[test]
fn a_sentence_is_one_of_the_table_with_full_stops_or_without() {
    let tail = format!("--b\n{VERSION}\n--b\n{TYPE}\n{}\n--b--", armor());
    let with = |direction, sentence: &str| read(direction, "b", &format!("{sentence}\n{tail}"));
    for sentence in PREAMBLES {
        for stops in ["", ".", "..."] {
            let sentence = format!("{sentence}{stops}");
            assert_eq!(with(Direction::Incoming, &sentence), Ok(()), "{sentence}");
            let outgoing = with(Direction::Outgoing, &sentence);
            assert_eq!(outgoing, Err(Reason::Preamble), "{sentence}");
        }
        for other in ["..", "....", "!", " Attack."] {
            let sentence = format!("{sentence}{other}");
            let answer = with(Direction::Incoming, &sentence);
            assert_eq!(answer, Err(Reason::Preamble), "{sentence}");
        }
    }
}

#[test]
fn white_space_behind_a_delimiter_is_short() {
    let boundary = Boundary::new(b"b").expect("a boundary");
    let with = |size: usize| format!("--b{}", " ".repeat(size));
    assert!(delimiter(&boundary, with(limits::TRAILING_SPACE).as_bytes()).is_ok());
    let long = with(limits::TRAILING_SPACE + 1);
    let refused = delimiter(&boundary, long.as_bytes());
    assert_eq!(refused.map(drop), Err(Reason::Delimiter));
}
