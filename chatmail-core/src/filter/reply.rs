//! SMTP replies. Each reason of a refusal owns its reply; the texts stand nowhere else.
//!
//! Delta Chat explains a refusal to its user if it contains `invalid unencrypted mail`, and
//! retries after an enhanced code 5.5.0: that code is never used.

use std::fmt;

use super::limits;
use super::verdict::Reason;

/// One SMTP reply line. `Display` gives it as it goes over the wire, without the line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 4xx or 5xx.
    pub code: u16,
    /// Enhanced status code (RFC 3463); its class equals the code's. Several replies have none,
    /// because existing clients and relays match the whole line.
    pub enhanced: Option<&'static str>,
    /// Printable ASCII, no line break.
    pub text: String,
}

impl Reply {
    fn new(code: u16, enhanced: Option<&'static str>, text: impl Into<String>) -> Reply {
        Reply {
            code,
            enhanced,
            text: text.into(),
        }
    }

    /// `450 4.7.1: Too much mail from <ADDRESS>`. The colon is part of what relays have always
    /// said, so the enhanced code stands in the text.
    pub fn rate_limited(address: &[u8]) -> Reply {
        let text = format!("4.7.1: Too much mail from <{}>", printable(address));
        Reply::new(450, None, text)
    }

    /// `550 5.1.1 No such mailbox`: a recipient at our domain who has no mailbox, or a disabled one.
    pub fn unknown_recipient() -> Reply {
        Reply::new(550, Some("5.1.1"), "No such mailbox")
    }

    /// `553 5.1.3 Bad recipient address syntax`: a mail server could read another address in it.
    pub fn ambiguous_recipient() -> Reply {
        Reply::new(553, Some("5.1.3"), "Bad recipient address syntax")
    }

    /// `554 5.7.1 Relay access denied`: mail from another host to another domain.
    pub fn relay_denied() -> Reply {
        Reply::new(554, Some("5.7.1"), "Relay access denied")
    }

    /// `552 5.2.2 Mailbox is full`: a recipient of ours who is over quota.
    pub fn mailbox_full() -> Reply {
        Reply::new(552, Some("5.2.2"), "Mailbox is full")
    }

    /// `550 5.7.1 This account is disabled`: the sender's own account.
    pub fn disabled() -> Reply {
        Reply::new(550, Some("5.7.1"), "This account is disabled")
    }

    /// `554 5.7.1 No DKIM signature found`: incoming mail without a signature.
    pub fn no_signature() -> Reply {
        Reply::new(554, Some("5.7.1"), "No DKIM signature found")
    }

    /// `554 5.7.1 No valid DKIM signature found`: incoming mail whose signatures are not of its From
    /// domain, or do not hold.
    pub fn no_valid_signature() -> Reply {
        Reply::new(554, Some("5.7.1"), "No valid DKIM signature found")
    }

    /// `451 4.4.3 Cannot look up the DKIM key, try again later`: the DNS gave no answer.
    pub fn dns_trouble() -> Reply {
        let text = "Cannot look up the DKIM key, try again later";
        Reply::new(451, Some("4.4.3"), text)
    }

    /// `451 4.3.0 Temporary failure, try again later`: whenever no decision could be made.
    pub fn temporary() -> Reply {
        Reply::new(451, Some("4.3.0"), "Temporary failure, try again later")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.enhanced {
            Some(enhanced) => write!(f, "{} {enhanced} {}", self.code, self.text),
            None => write!(f, "{} {}", self.code, self.text),
        }
    }
}

impl Reason {
    /// The SMTP reply to a message refused for this reason.
    pub fn reply(&self) -> Reply {
        match self {
            // RFC 4954 section 6.
            Reason::NotLoggedIn => Reply::new(530, Some("5.7.0"), "Authentication required"),
            // As Postfix answers `reject_sender_login_mismatch`.
            Reason::SenderMismatch { sender, login } => Reply::new(
                553,
                Some("5.7.1"),
                format!("<{sender}>: Sender address rejected: not owned by user {login}"),
            ),
            Reason::InvalidFrom(shown) => {
                Reply::new(500, None, format!("Invalid FROM header: {shown}"))
            }
            Reason::FromMismatch { header, envelope } => Reply::new(
                500,
                None,
                format!("Invalid FROM <{header}> for <{envelope}>"),
            ),
            Reason::HeaderTooLarge => {
                Reply::new(552, Some("5.3.4"), "Message header exceeds fixed limit")
            }
            Reason::ForeignLiteral => Reply::new(
                554,
                Some("5.7.1"),
                "The domain of the From address is not the address of this client",
            ),
            Reason::OwnLiteral => Reply::new(
                554,
                Some("5.7.1"),
                "Users of this relay send no mail from outside",
            ),
            Reason::HeaderLine => Reply::new(
                554,
                Some("5.6.0"),
                format!("Header line longer than {} bytes", limits::LINE_BYTES),
            ),
            _ => Reply::new(523, None, "Encryption Needed: Invalid Unencrypted Mail"),
        }
    }
}

/// What of `bytes` a reply may repeat: printable ASCII, a `?` for everything else, cut at
/// [`limits::REPLY_QUOTE`].
pub(super) fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(limits::REPLY_QUOTE)
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_read_exactly_as_relays_have_always_said_them() {
        let line = |reason: Reason| reason.reply().to_string();
        assert_eq!(
            line(Reason::NotEncrypted),
            "523 Encryption Needed: Invalid Unencrypted Mail"
        );
        assert_eq!(
            line(Reason::FromMismatch {
                header: "eve@chat.test".into(),
                envelope: "alice@chat.test".into()
            }),
            "500 Invalid FROM <eve@chat.test> for <alice@chat.test>"
        );
        assert_eq!(
            line(Reason::SenderMismatch {
                sender: "eve@chat.test".into(),
                login: "alice@chat.test".into()
            }),
            "553 5.7.1 <eve@chat.test>: Sender address rejected: not owned by user alice@chat.test"
        );
        assert_eq!(
            line(Reason::NotLoggedIn),
            "530 5.7.0 Authentication required"
        );
        assert_eq!(
            line(Reason::InvalidFrom("nobody".into())),
            "500 Invalid FROM header: nobody"
        );
        assert_eq!(
            line(Reason::HeaderLine),
            "554 5.6.0 Header line longer than 998 bytes"
        );
        assert_eq!(
            Reply::rate_limited(b"alice@chat.test").to_string(),
            "450 4.7.1: Too much mail from <alice@chat.test>"
        );
        assert_eq!(
            Reply::temporary().to_string(),
            "451 4.3.0 Temporary failure, try again later"
        );
        for (reply, text) in [
            (Reply::unknown_recipient(), "550 5.1.1 No such mailbox"),
            (
                Reply::ambiguous_recipient(),
                "553 5.1.3 Bad recipient address syntax",
            ),
            (Reply::relay_denied(), "554 5.7.1 Relay access denied"),
            (Reply::mailbox_full(), "552 5.2.2 Mailbox is full"),
            (Reply::disabled(), "550 5.7.1 This account is disabled"),
            (Reply::no_signature(), "554 5.7.1 No DKIM signature found"),
            (
                Reply::no_valid_signature(),
                "554 5.7.1 No valid DKIM signature found",
            ),
            (
                Reply::dns_trouble(),
                "451 4.4.3 Cannot look up the DKIM key, try again later",
            ),
        ] {
            assert_eq!(reply.to_string(), text);
        }
    }

    #[test]
    fn a_reply_repeats_no_control_character_of_the_message() {
        assert_eq!(printable(b"a\r\n250 ok\0\xff"), "a??250 ok??");
        assert_eq!(printable(&[b'a'; 5000]).len(), limits::REPLY_QUOTE);
    }
}
