//! The names of notifications in the spool, which bound their number without losing any.
//!
//! The name of a notification is 32 hexadecimal digits, derived from its address and its token. The next
//! message for that device replaces the file by a `rename`. Before it is sent, the file gets the *claimed*
//! name, which the process that delivers mail never writes to. A message that is stored during the request
//! makes a new file; it is never mistaken for one that the request covers.
//!
//! | first digit | the file |
//! |---|---|
//! | `0` to `7` | waits; may be replaced at any time |
//! | `8` to `f` | claimed: being sent, or to be retried |
//!
//! Older relays gave random names. Their files are sent in the same way.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The bit in the name of a claimed notification.
const CLAIMED: u128 = 1 << 127;

/// The name of a file in the spool, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolName(u128);

impl SpoolName {
    /// The name of the notification that waits for a device. Two devices share one about as often as
    /// two random numbers of 127 bits are the same. A client cannot force that without knowing the
    /// other token.
    pub fn waiting_for(address: &str, token: &str) -> SpoolName {
        let half = |which: u8| {
            let mut hasher = DefaultHasher::new();
            (which, address, token).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        SpoolName((half(0) << 64 | half(1)) & !CLAIMED)
    }

    /// From the name of a file; `None` if it is of another kind.
    pub fn parse(name: &str) -> Option<SpoolName> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if name.len() != 32 || !name.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(name, 16).ok().map(SpoolName)
    }

    /// From what [`SpoolName::to_bytes`] made.
    pub fn from_bytes(bytes: [u8; 16]) -> SpoolName {
        SpoolName(u128::from_be_bytes(bytes))
    }

    /// In 16 bytes, for queues.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The same notification while it waits.
    pub fn waiting(self) -> SpoolName {
        SpoolName(self.0 & !CLAIMED)
    }

    /// The same notification once it was claimed.
    pub fn claimed(self) -> SpoolName {
        SpoolName(self.0 | CLAIMED)
    }
}

impl std::fmt::Display for SpoolName {
    /// The name of the file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_of_each_mailbox_has_names_of_its_own() {
        let one = SpoolName::waiting_for("alice@chat.example", "token");
        assert_eq!(one, SpoolName::waiting_for("alice@chat.example", "token"));
        for (address, token) in [
            ("bob@chat.example", "token"),
            ("alice@chat.example", "token2"),
            ("alice@chat.exampl", "etoken"),
        ] {
            assert_ne!(one, SpoolName::waiting_for(address, token));
        }
        let claimed = one.claimed();
        assert_ne!(one, claimed);
        assert_eq!((one.waiting(), one.claimed()), (one, claimed));
        assert_eq!((claimed.waiting(), claimed.claimed()), (one, claimed));
    }

    #[test]
    fn a_name_comes_back_as_it_was() {
        for text in [
            "00000000000000000000000000000000",
            "8123456789abcdef0123456789abcdef",
        ] {
            let name = SpoolName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(SpoolName::from_bytes(name.to_bytes()), name);
        }
        for text in [
            "",
            "odd",
            "0123456789ABCDEF0123456789abcdef",
            "+123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcde",
        ] {
            assert_eq!(SpoolName::parse(text), None, "{text}");
        }
    }
}
