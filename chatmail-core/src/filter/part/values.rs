//! Values of the fields in the header of a body part: tables of what programs write.

use super::super::limits;
use super::super::mime;
use super::super::verdict::Direction;
use super::Role;

/// Content-Description as mail programs write it; case matters in outgoing mail only. The first two
/// rows are from Delta Chat, Thunderbird and most others, the rest from public sources of GPGTools,
/// Horde, PEAR, Exchange and Proton.
const DESCRIPTIONS: [(Role, &str); 7] = [
    (Role::Version, "PGP/MIME version identification"),
    (Role::Encrypted, "OpenPGP encrypted message"),
    (Role::Version, "PGP/MIME Versions Identification"),
    (Role::Version, "OpenPGP/MIME Versions Identification"),
    (Role::Encrypted, "PGP/MIME encrypted message"),
    (Role::Encrypted, "OpenPGP encrypted message.asc"),
    (Role::Encrypted, "OpenPGP Message"),
];

/// More of them for incoming mail, from Go and JavaScript programs.
const DESCRIPTIONS_INCOMING: [(Role, &str); 3] = [
    (Role::Version, "PGP/MIME version identifier"),
    (Role::Version, "OpenPGP encrypted data"),
    (Role::Encrypted, "OpenPGP encrypted data"),
];

/// File names of outgoing mail: those of Delta Chat and of other clients of a relay.
const FILE_NAMES: [&str; 6] = [
    "encrypted.asc",
    "msg.asc",
    "message.asc",
    "openpgp-encrypted-message.asc",
    "version.txt",
    "version.asc",
];

/// Endings of file names of incoming mail. The last two are of gateways that know no better.
const FILE_TYPES: [&str; 6] = [".asc", ".pgp", ".gpg", ".txt", ".dat", ".bin"];

/// File names of incoming mail without one of those endings: none; Gmail's for a part without;
/// FlowCrypt's.
const NAMES_WITHOUT_TYPE: [&str; 3] = ["", "noname", "message"];

/// File names that Exchange derives from the description of the first part.
const VERSION_NAMES: [&str; 2] = [
    "PGPMIME version identification",
    "PGPMIME Versions Identification",
];

/// Whether `value` is a known Content-Description.
pub(super) fn is_description(direction: Direction, role: Role, value: &[u8]) -> bool {
    let one_of = |rows: &[(Role, &str)], is: fn(&[u8], &[u8]) -> bool| {
        rows.iter()
            .any(|(known, text)| *known == role && is(value, text.as_bytes()))
    };
    match direction {
        Direction::Outgoing => one_of(&DESCRIPTIONS, |value, text| value == text),
        Direction::Incoming => {
            one_of(&DESCRIPTIONS, mime::is_same) || one_of(&DESCRIPTIONS_INCOMING, mime::is_same)
        }
    }
}

/// Whether a file may have this name: a fixed one in outgoing mail, an ordinary one in incoming mail.
pub(super) fn is_file_name(direction: Direction, role: Role, name: &[u8]) -> bool {
    let one_of = |names: &[&str]| {
        names
            .iter()
            .any(|known| mime::is_same(name, known.as_bytes()))
    };
    if direction == Direction::Outgoing {
        return FILE_NAMES.iter().any(|known| known.as_bytes() == name);
    }
    let word = name.len() <= limits::FILE_NAME_BYTES
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    word && has_known_type(name)
        || is_numbered(name)
        || one_of(&NAMES_WITHOUT_TYPE)
        || role == Role::Version && one_of(&VERSION_NAMES)
}

fn has_known_type(name: &[u8]) -> bool {
    FILE_TYPES.iter().any(|known| {
        let start = name.len().saturating_sub(known.len());
        name.get(start..)
            .is_some_and(|ending| mime::is_same(ending, known.as_bytes()))
    })
}

/// `ATT00001`: Exchange numbers the parts that have no name.
fn is_numbered(name: &[u8]) -> bool {
    matches!(name, [b'A', b'T', b'T', number @ ..]
        if number.len() == 5 && number.iter().all(u8::is_ascii_digit))
}

/// Whether `value` is one identifier, with or without angle brackets: `<a@b>`, `<f_m9ldlyuc0>`.
pub(super) fn is_identifier(value: &[u8]) -> bool {
    let inner = match value {
        [b'<', inner @ .., b'>'] => inner,
        bare => bare,
    };
    value.len() <= limits::PART_ID_BYTES
        && !inner.is_empty()
        && inner
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"@._$+=-".contains(byte))
        && inner.iter().filter(|&&byte| byte == b'@').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_ordinary_incoming_and_fixed_outgoing() {
        let incoming =
            |name: &str| is_file_name(Direction::Incoming, Role::Encrypted, name.as_bytes());
        for name in [
            "encrypted.asc",
            "noname-2.asc",
            "encrypted.html.pgp",
            "Message.PGP",
            "winmail.dat",
            "ATT00001.bin",
            "ATT00001",
            "noname",
            "message",
            "",
        ] {
            assert!(incoming(name), "{name}");
            let outgoing = is_file_name(Direction::Outgoing, Role::Encrypted, name.as_bytes());
            assert_eq!(outgoing, name == "encrypted.asc", "{name}");
        }
        let (long, longer) = ("a".repeat(36), "a".repeat(37));
        assert!(incoming(&format!("{long}.asc")));
        for channel in [
            "attack at dawn.asc",
            "attack.exe",
            "../x.asc",
            "attack",
            "ATT0001",
            "ATT000001",
            "ATTdawn1",
            "att00001",
            "PGPMIME version identification",
            "dat",
            &format!("{longer}.asc"),
        ] {
            assert!(!incoming(channel), "{channel}");
        }
    }

    #[test]
    fn exchange_calls_the_first_part_as_its_description_says() {
        let names = |direction, role| {
            VERSION_NAMES
                .iter()
                .all(|name| is_file_name(direction, role, name.as_bytes()))
        };
        assert!(names(Direction::Incoming, Role::Version));
        assert!(!names(Direction::Incoming, Role::Encrypted));
        assert!(!names(Direction::Outgoing, Role::Version));
    }

    #[test]
    fn a_description_is_of_the_table_and_of_its_part() {
        let known = |direction, role, text: &str| is_description(direction, role, text.as_bytes());
        for (role, text) in DESCRIPTIONS {
            let capitals = text.to_ascii_uppercase();
            let other = match role {
                Role::Version => Role::Encrypted,
                _ => Role::Version,
            };
            for direction in [Direction::Outgoing, Direction::Incoming] {
                assert!(known(direction, role, text), "{text}");
                assert!(!known(direction, other, text), "{text}");
                assert!(!known(direction, Role::Request, text), "{text}");
                assert!(!known(direction, role, &format!("{text}.")), "{text}");
            }
            assert!(known(Direction::Incoming, role, &capitals), "{text}");
            assert!(!known(Direction::Outgoing, role, &capitals), "{text}");
        }
        for (role, text) in DESCRIPTIONS_INCOMING {
            assert!(known(Direction::Incoming, role, text), "{text}");
            assert!(!known(Direction::Outgoing, role, text), "{text}");
        }
    }

    #[test]
    fn an_identifier_is_one_word_without_room_for_text() {
        for identifier in [
            "<f_m9ldlyuc0>",
            "f_m9ldlyuc0",
            "<2C4E9A3B5D6F4A1B8C7D6E5F4A3B2C1D@eurprd08.prod.outlook.example>",
            "<part1.$a+b=c@mail-2.example>",
        ] {
            assert!(is_identifier(identifier.as_bytes()), "{identifier}");
        }
        let longest = format!("<{}>", "a".repeat(98));
        assert!(is_identifier(longest.as_bytes()));
        for text in [
            "",
            "<>",
            "<a",
            "a>",
            "<<a>>",
            "<a> <b>",
            "<a>,<b>",
            "a b",
            "<a b>",
            "<a@b@c>",
            "<a>(attack)",
            "\"a\"",
            "<attack/at/dawn>",
            "<\u{e4}>",
            "<a\nb>",
            &format!("<{}>", "a".repeat(99)),
        ] {
            assert!(!is_identifier(text.as_bytes()), "{text}");
        }
    }
}
