//! Addresses of this relay, and the mail domain they belong to.

/// The mail domain: a DNS name, or an IPv4 literal that stands bare in `chatmail.ini` and in
/// brackets in an address (RFC 5321 section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailDomain {
    bare: String,
    literal: bool,
}

impl MailDomain {
    /// Reads the value of `mail_domain`. `None` if it is neither a DNS name nor an IPv4 address.
    pub fn parse(text: &str) -> Option<MailDomain> {
        let _ = text;
        todo!()
    }
    /// As in `chatmail.ini` and host names: `nine.testrun.org`, `203.0.113.7`.
    pub fn bare(&self) -> &str {
        &self.bare
    }
    /// As after the `@`: `nine.testrun.org`, `[203.0.113.7]`.
    pub fn in_address(&self) -> String {
        todo!()
    }
    /// Whether this is an IPv4 literal, which has no DNS and so neither DKIM nor ACME.
    pub fn is_literal(&self) -> bool {
        self.literal
    }
}

/// An address of this relay in lower case, safe as the name of a directory: exactly one `@`, our
/// domain, no `/`, `..`, NUL or other control character, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address(String);

impl Address {
    /// `None`: no address of ours, so there is nothing to find. Never an error.
    pub fn parse(bytes: &[u8], domain: &MailDomain) -> Option<Address> {
        let _ = (bytes, domain);
        todo!()
    }
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// What stands before the `@`.
    pub fn localpart(&self) -> &str {
        todo!()
    }
}
