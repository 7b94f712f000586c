//! What an operator is told of an account.

use std::io;

use super::password::PasswordHash;
use crate::mailbox::Mailbox;

/// Whether logins may succeed, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The right password lets in.
    Active,
    /// There is a file `DISABLED`.
    Disabled,
    /// `password` is empty or no hash: the other way to block an address.
    NoPassword,
    /// `password` is a hash that was cut short: a temporary failure for its user.
    Damaged,
}

impl Standing {
    /// One of a fixed list of words.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Disabled => "disabled",
            Standing::NoPassword => "no-password",
            Standing::Damaged => "damaged",
        }
    }

    /// Whether an operator has kept its user out.
    pub fn is_blocked(self) -> bool {
        matches!(self, Standing::Disabled | Standing::NoPassword)
    }
}

/// How an account stands; `None` if there is none.
///
/// # Errors
///
/// A file is there and cannot be read.
pub fn standing(mailbox: &Mailbox) -> io::Result<Option<Standing>> {
    let Some(password) = mailbox.password()? else {
        return Ok(None);
    };
    Ok(Some(if mailbox.is_disabled()? {
        Standing::Disabled
    } else if PasswordHash::parse(&password).is_some() {
        Standing::Active
    } else if PasswordHash::is_cut_short(&password) {
        Standing::Damaged
    } else {
        Standing::NoPassword
    }))
}

/// Whether this, as the content of `password`, would let somebody in.
pub fn is_usable_hash(content: &[u8]) -> bool {
    PasswordHash::parse(content).is_some()
}

/// Whether a file `password` with this content accepts this password.
pub fn is_hash_of(content: &[u8], password: &[u8]) -> bool {
    PasswordHash::parse(content).is_some_and(|hash| hash.matches(password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, MailDomain};
    use crate::mailbox::Mailboxes;
    use std::fs;
    use std::time::SystemTime;

    #[test]
    fn both_ways_to_block_an_address_are_told() {
        let base = tempfile::tempdir().unwrap();
        let domain = MailDomain::parse("chat.example").unwrap();
        let alice = Address::parse(b"alice@chat.example", &domain).unwrap();
        let alice = Mailboxes::new(base.path().join("mail"), domain).mailbox(&alice);
        assert_eq!(standing(&alice).unwrap(), None);
        let hash = super::super::hash_password(b"correct horse").unwrap();
        assert!(is_hash_of(hash.as_bytes(), b"correct horse"));
        for (content, password) in [(hash.as_str(), "wrong horse"), ("", "")] {
            assert!(!is_hash_of(content.as_bytes(), password.as_bytes()));
        }
        assert!(is_usable_hash(hash.as_bytes()) && !is_usable_hash(b"correct horse"));
        alice.create(&hash, SystemTime::now()).unwrap();
        assert_eq!(standing(&alice).unwrap(), Some(Standing::Active));
        for (content, expected) in [
            ("", Standing::NoPassword),
            ("!", Standing::NoPassword),
            (&hash[..40], Standing::Damaged),
        ] {
            fs::write(alice.path().join("password"), content).unwrap();
            assert_eq!(standing(&alice).unwrap(), Some(expected), "{content}");
        }
        assert!(!Standing::Damaged.is_blocked());
        alice.set_disabled(true).unwrap();
        assert_eq!(standing(&alice).unwrap(), Some(Standing::Disabled));
    }
}
