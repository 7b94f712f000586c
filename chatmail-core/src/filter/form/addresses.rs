//! Lists of addresses or links with names.

use super::super::limits;
use super::{ADDRESS, Room, has_only, is_address, is_tight};

/// To as Delta Chat writes it: a group without members, whose name counts.
const HIDDEN: &[u8] = b"\"hidden-recipients\": ;";

/// The room in a list of addresses. `None` if it is not one, or a name is too long.
pub(super) fn room_in(value: &[u8]) -> Option<Room> {
    // Nearly all values are one address in brackets, or hide the recipients.
    if is_bare_address(value) {
        let addresses = value.len();
        return Some(Room { text: 0, addresses });
    }
    if value == HIDDEN {
        let text = HIDDEN.len() - b": ".len();
        return Some(Room { text, addresses: 0 });
    }
    let text = names(value, is_address)?;
    let addresses = value.len().saturating_sub(text);
    Some(Room { text, addresses })
}

/// The room in a list of links. All of it counts: a link holds any characters but spaces.
pub(super) fn room_in_links(value: &[u8]) -> Option<Room> {
    names(value, is_link)?;
    let text = value.len();
    Some(Room { text, addresses: 0 })
}

fn is_bare_address(text: &[u8]) -> bool {
    let [b'<', address @ .., b'>'] = text else {
        return false;
    };
    has_only(address, ADDRESS) && is_address(address)
}

fn is_link(text: &[u8]) -> bool {
    let printable = |all, byte: &u8| all & byte.is_ascii_graphic();
    text.len() <= limits::LINK_BYTES && text.iter().fold(true, printable)
}

/// Bytes beside what `is_target` knows in a list of `name <target>`, `target`, and groups.
fn names(mut list: &[u8], is_target: fn(&[u8]) -> bool) -> Option<usize> {
    if !is_tight(list) {
        return None;
    }
    let mut total = 0;
    while !list.is_empty() {
        let end = item(list)?;
        let (entry, rest) = list.split_at(end);
        list = rest.split_first().map_or(rest, |(_, rest)| rest);
        let entry = entry.trim_ascii();
        let open = memchr::memrchr(b'<', entry);
        let (name, target, after) = match open {
            Some(open) => {
                let (name, target) = entry.split_at(open);
                let close = memchr::memchr(b'>', target).unwrap_or(target.len());
                let (target, after) = target.split_at(close);
                (name, target.get(1..).unwrap_or_default(), after)
            }
            None => (&[][..], entry, &[][..]),
        };
        let text = match is_target(target) {
            true => name.len() + after.len().saturating_sub(1),
            // The number of empty entries carries information, too.
            false => entry.len().max(1),
        };
        if text > limits::NAME_BYTES {
            return None;
        }
        total += text;
    }
    Some(total)
}

/// Where the first entry of a list ends. `None` if that is inside a quoted string.
fn item(list: &[u8]) -> Option<usize> {
    let mut bytes = list.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b',' | b';' | b':' => return Some(at),
            b'"' => loop {
                match bytes.next()?.1 {
                    b'"' => break,
                    b'\\' => drop(bytes.next()?),
                    _ => {}
                }
            },
            b'<' => {
                // An unclosed bracket is measured as a name.
                bytes.find(|(_, byte)| **byte == b'>');
            }
            _ => {}
        }
    }
    Some(list.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_addresses_the_names_are_measured() {
        let names = |value: &str| room_in(value.as_bytes()).map(|room| room.text);
        for (value, text) in [
            ("", 0),
            ("alice@chat.test", 0),
            ("<alice@chat.test>, bob@[192.0.2.1]", 0),
            ("Alice <alice@chat.test>", 6),
            ("\"A, <B>; \\\"C\\\"\" <a@chat.test>", 16),
            ("\"hidden-recipients\": ;", 20),
            ("\"hidden-recipients\":;", 20),
            ("Attack at dawn", 14),
            ("attack@dawn bring ladders", 25),
            ("<attack at@dawn>", 16),
            ("<attack@at!dawn>", 16),
            ("<dawn>", 6),
            ("a@chat.test (at dawn)", 21),
            ("<a@chat.test> dawn", 5),
            ("a@chat.test,,,,b@chat.test", 3),
        ] {
            assert_eq!(names(value), Some(text), "{value}");
        }
        assert_eq!(names("\"Alice <alice@chat.test>"), None);
        let long = "a".repeat(limits::NAME_BYTES);
        assert!(names(&format!("\"{long}\" <a@chat.test>")).is_none());
        assert!(names(&format!("<{long}{long}@chat.test>")).is_none());
        assert!(names(&format!("{long}, ").repeat(10)).is_some());
    }

    #[test]
    fn what_is_not_a_name_is_an_address() {
        for (value, addresses) in [
            ("<alice@chat.test>", 17),
            ("Alice <alice@chat.test>", 17),
            ("alice@chat.test, <bob@chat.test>", 32),
            ("\"hidden-recipients\": ;", 0),
        ] {
            let room = room_in(value.as_bytes()).map(|room| room.addresses);
            assert_eq!(room, Some(addresses), "{value}");
        }
    }

    #[test]
    fn links_count_as_text() {
        let text = |value: &str| room_in_links(value.as_bytes()).map(|room| room.text);
        let link = "<https://chat.test/?l=1>, <mailto:l@chat.test?subject=u>";
        assert_eq!(text(link), Some(link.len()));
        assert_eq!(text("Our list <list.chat.test>"), Some(25));
        assert_eq!(text("Attack at dawn"), Some(14));
        let long = "a".repeat(limits::LINK_BYTES.max(limits::NAME_BYTES) + 1);
        assert_eq!(text(&format!("<https://{long}>")), None);
    }
}
