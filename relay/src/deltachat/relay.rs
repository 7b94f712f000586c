//! Where a relay listens.

use chatmail_core::config::{Config, TlsMode};

use super::Transport;

/// TLS from the first byte, on every relay.
pub const IMAPS: u16 = 993;

/// As [`IMAPS`].
pub const SMTPS: u16 = 465;

/// What a client has to know of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Where Dovecot and Postfix listen.
    pub host: String,
    /// IMAP over TLS.
    pub imap_port: u16,
    /// Submission over TLS.
    pub smtp_port: u16,
    /// Whether any certificate will do.
    pub any_certificate: bool,
}

impl Relay {
    /// The relay of `config`, by its public name and ports.
    pub fn of(config: &Config) -> Relay {
        Relay {
            host: config.mail_domain.bare().to_owned(),
            imap_port: IMAPS,
            smtp_port: SMTPS,
            any_certificate: config.tls.mode == TlsMode::SelfSigned,
        }
    }

    /// How core logs in to it.
    pub fn transport(&self, address: &str, password: &str) -> Transport {
        let ssl = Some("ssl".to_owned());
        let checks = match self.any_certificate {
            true => "acceptInvalidCertificates",
            false => "strict",
        };
        Transport {
            addr: address.to_owned(),
            password: password.to_owned(),
            imap_server: Some(self.host.clone()),
            imap_port: Some(self.imap_port),
            imap_security: ssl.clone(),
            smtp_server: Some(self.host.clone()),
            smtp_port: Some(self.smtp_port),
            smtp_security: ssl,
            certificate_checks: Some(checks.to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(domain: &str) -> Relay {
        let ini = format!("[params]\nmail_domain = {domain}\n");
        Relay::of(&Config::parse("chatmail.ini".as_ref(), &ini).unwrap())
    }

    #[test]
    fn any_certificate_will_do_where_it_is_self_signed_and_nowhere_else() {
        for (domain, checks) in [
            ("chat.test", "strict"),
            ("_chat.test", "acceptInvalidCertificates"),
            ("203.0.113.7", "acceptInvalidCertificates"),
        ] {
            let transport = of(domain).transport("alice@chat.test", "secret");
            assert_eq!(transport.certificate_checks.as_deref(), Some(checks));
            assert_eq!(transport.imap_server.as_deref(), Some(domain));
            assert_eq!(transport.smtp_server.as_deref(), Some(domain));
        }
    }
}
