//! The grammar of new addresses: one rule for sign-up, `POST /new`, the operator's commands,
//! Dovecot's `auth_username_chars` and Postfix's login map.
//!
//! It allows what every mail server and client accepts without quotes. Postfix rejects a localpart
//! that begins with `-`. It quotes a localpart that begins or ends with a dot, which then does not
//! match the header of a message. An account with such a name could log in, but neither send nor receive.

use std::fmt;

use super::{ADDRESS_MAX, Address, MailDomain};

/// Most characters of the localpart of a new address (RFC 5321 section 4.5.3.1.1): other servers may
/// reject a longer one.
pub const LOCALPART_MAX: usize = 64;

/// The characters of the localpart of a new address.
const LOCALPART_CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789._-";

/// The grammar as a POSIX extended regular expression, without the limit on the length.
const LOCALPART_PATTERN: &str = "[a-z0-9_][a-z0-9_-]*([.][a-z0-9_-]+)*";

/// Why an account may not have an address. `Display` gives the rule in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// It has no `@`, or belongs to another domain.
    Foreign,
    /// The localpart is empty or longer than [`LOCALPART_MAX`], or the address is longer than the name
    /// of a directory may be.
    Length,
    /// A character of the localpart is outside `[a-z0-9._-]`.
    Characters,
    /// The localpart begins with `.` or `-`, ends with `.`, or holds `..`.
    Placement,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Foreign => f.write_str("not an address of this relay"),
            AddressError::Length => write!(
                f,
                "the localpart must have 1 to {LOCALPART_MAX} characters, the address at most {ADDRESS_MAX}"
            ),
            AddressError::Characters => {
                f.write_str("the localpart may hold only a-z, 0-9, '.', '_' and '-'")
            }
            AddressError::Placement => f.write_str(
                "the localpart must not begin with '.' or '-', end with '.', or hold '..'",
            ),
        }
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// An address that a new account may have. Stricter than [`Address::parse`], which accepts every
    /// address that an existing mailbox directory may have.
    ///
    /// Upper case is converted to lower case. The sign-up policy may limit the localpart further.
    ///
    /// # Errors
    ///
    /// It is not an address of `domain`, or its localpart is outside the grammar.
    pub fn parse_new(bytes: &[u8], domain: &MailDomain) -> Result<Address, AddressError> {
        let at = bytes.iter().rposition(|&b| b == b'@');
        let at = at.filter(|at| domain.matches(&bytes[at + 1..]));
        let localpart = &bytes[..at.ok_or(AddressError::Foreign)?];
        judge(&localpart.to_ascii_lowercase())?;
        Address::parse(bytes, domain).ok_or(AddressError::Length)
    }

    /// Whether a new account may have this address, by the rules of [`Address::parse_new`].
    ///
    /// # Errors
    ///
    /// Its localpart is outside the grammar.
    pub fn check_new(&self) -> Result<(), AddressError> {
        judge(self.localpart().as_bytes())
    }
}

fn judge(localpart: &[u8]) -> Result<(), AddressError> {
    if !(1..=LOCALPART_MAX).contains(&localpart.len()) {
        return Err(AddressError::Length);
    }
    if !localpart
        .iter()
        .all(|byte| LOCALPART_CHARACTERS.as_bytes().contains(byte))
    {
        return Err(AddressError::Characters);
    }
    let misplaced = localpart.starts_with(b".")
        || localpart.starts_with(b"-")
        || localpart.ends_with(b".")
        || localpart.windows(2).any(|pair| pair == b"..");
    if misplaced {
        return Err(AddressError::Placement);
    }
    Ok(())
}

/// Every character of a login name: Dovecot's `auth_username_chars`.
///
/// Includes upper case, because Dovecot checks the name before it converts it to lower case.
pub fn username_characters(domain: &MailDomain) -> String {
    let letters: String = ('A'..='Z').collect();
    let brackets = if domain.is_literal() { "[]" } else { "" };
    format!("{LOCALPART_CHARACTERS}{letters}@{brackets}")
}

/// The addresses of the grammar as a POSIX extended regular expression, to be matched ignoring case:
/// for Postfix's `smtpd_sender_login_maps`. It contains neither `/` nor a backslash.
pub fn address_pattern(domain: &MailDomain) -> String {
    let domain: String = domain
        .in_address()
        .chars()
        .map(|c| match c {
            // None of these is special inside brackets.
            '.' | '[' | ']' => format!("[{c}]"),
            _ => c.to_string(),
        })
        .collect();
    format!("{LOCALPART_PATTERN}@{domain}")
}

#[cfg(test)]
mod tests {
    use super::super::header_address;
    use super::*;
    use proptest::prelude::*;

    fn domain(text: &str) -> MailDomain {
        MailDomain::parse(text).unwrap()
    }

    fn new(localpart: &str) -> Result<Address, AddressError> {
        let address = format!("{localpart}@chat.example");
        Address::parse_new(address.as_bytes(), &domain("chat.example"))
    }

    #[test]
    fn a_new_localpart_is_one_that_needs_no_quotes_anywhere() {
        for good in [
            "a", "alice", "a.b_c-9", "_alice", "alice_", "alice-", "a.-b", "a-.b", "a--b", "0",
            "ci-x",
        ] {
            assert_eq!(new(good).unwrap().localpart(), good);
        }
        for bad in [".alice", "alice.", "-alice", "a..b", ".", "-", "..", "-.a"] {
            assert_eq!(new(bad), Err(AddressError::Placement), "{bad}");
        }
        for bad in "+'=#!~&%{}/@\\\" ,;:()<>[]|^`?*$\t\n\0é\u{212a}".chars() {
            let bad = format!("ali{bad}ce");
            assert_eq!(new(&bad), Err(AddressError::Characters), "{bad:?}");
        }
    }

    #[test]
    fn a_new_localpart_is_words_joined_by_single_dots_and_begins_with_no_hyphen() {
        let mut localparts = vec![String::new()];
        for length in 1..=6 {
            localparts = localparts
                .iter()
                .flat_map(|start| "a-_.+".chars().map(move |c| format!("{start}{c}")))
                .collect();
            for localpart in &localparts {
                let fits = localpart.split('.').all(|word| !word.is_empty())
                    && !localpart.starts_with('-')
                    && !localpart.contains('+');
                assert_eq!(new(localpart).is_ok(), fits, "{localpart} of {length}");
            }
        }
    }

    #[test]
    fn a_new_localpart_has_at_most_64_characters() {
        assert!(new(&"a".repeat(64)).is_ok());
        assert_eq!(new(&"a".repeat(65)), Err(AddressError::Length));
        assert_eq!(new(""), Err(AddressError::Length));
        let long = vec!["a".repeat(63); 3].join(".");
        let long = domain(&long);
        let address = |length| [&b"a".repeat(length)[..], b"@", long.bare().as_bytes()].concat();
        assert!(Address::parse_new(&address(63), &long).is_ok());
        assert_eq!(
            Address::parse_new(&address(64), &long),
            Err(AddressError::Length)
        );
    }

    #[test]
    fn a_new_address_is_one_of_ours_in_lower_case() {
        let ours = domain("chat.example");
        let address = Address::parse_new(b"Al.Ice@Chat.EXAMPLE", &ours).unwrap();
        assert_eq!(address.as_str(), "al.ice@chat.example");
        for bad in [
            "",
            "alice",
            "@",
            "alice@",
            "alice@other.example",
            "alice@chat.example.",
        ] {
            let found = Address::parse_new(bad.as_bytes(), &ours);
            assert_eq!(found, Err(AddressError::Foreign), "{bad}");
        }
        let literal = domain("203.0.113.7");
        assert!(Address::parse_new(b"alice@[203.0.113.7]", &literal).is_ok());
        let bare = Address::parse_new(b"alice@203.0.113.7", &literal);
        assert_eq!(bare, Err(AddressError::Foreign));
    }

    #[test]
    fn a_mailbox_with_a_name_outside_the_grammar_is_still_found() {
        let ours = domain("chat.example");
        for odd in [".alice", "alice.", "-alice", "alice+x", "al'ice", "{alice}"] {
            let address = format!("{odd}@chat.example");
            let address = Address::parse(address.as_bytes(), &ours).unwrap();
            assert!(address.check_new().is_err(), "{odd}");
        }
    }

    #[test]
    fn an_error_states_the_rule() {
        let text = |localpart: &str| new(localpart).unwrap_err().to_string();
        assert!(text(&"a".repeat(65)).contains("1 to 64 characters"));
        assert!(text("a+b").contains("a-z, 0-9, '.', '_' and '-'"));
        assert!(text("-a").contains("must not begin with '.' or '-'"));
    }

    #[test]
    fn the_servers_are_given_patterns_that_need_no_escapes() {
        let name = domain("_chat.example");
        let literal = domain("203.0.113.7");
        assert_eq!(
            address_pattern(&name),
            "[a-z0-9_][a-z0-9_-]*([.][a-z0-9_-]+)*@_chat[.]example"
        );
        assert!(address_pattern(&literal).ends_with("@[[]203[.]0[.]113[.]7[]]"));
        assert!(!username_characters(&name).contains(['[', ']']));
        assert!(username_characters(&literal).ends_with("@[]"));
    }

    proptest! {
        #[test]
        fn a_new_address_is_read_alike_everywhere(
            bytes in prop_oneof![
                "[a-cA-C0-9._-]{0,9}@[cC]hat\\.example",
                "[a-c.+ '=@\\[\"-]{0,9}@chat\\.example",
                any::<String>(),
            ].prop_map(String::into_bytes)
        ) {
            let ours = domain("chat.example");
            let parsed = Address::parse(&bytes, &ours);
            let new = Address::parse_new(&bytes, &ours);
            prop_assert_eq!(new.is_ok(), parsed.as_ref().is_some_and(|a| a.check_new().is_ok()));
            let Ok(address) = new else { return Ok(()) };
            prop_assert_eq!(parsed.as_ref(), Some(&address));
            let text = address.as_str();
            for field in [text.to_owned(), format!("<{text}>")] {
                let found = header_address(field.as_bytes());
                prop_assert_eq!(found.as_deref(), Some(text));
            }
            let characters = username_characters(&ours);
            prop_assert!(bytes.iter().all(|&b| characters.contains(char::from(b))));
        }
    }
}
