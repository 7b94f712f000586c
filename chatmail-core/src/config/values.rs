//! What stands behind the `=`: sizes, switches, URLs, certificates.
//!
//! Every parser answers with the problem as text when a value is not of its kind; the caller adds
//! file, key and value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::MailDomain;

/// Why a value is not of its kind.
pub(super) type Problem = &'static str;

/// Who looks after the TLS certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// The operator: `tls_external_cert_and_key`.
    External,
    /// Nobody; it is self-signed, as for IPv4 literals and domains that begin with `_`.
    SelfSigned,
    /// An ACME client.
    Acme,
}

/// The TLS certificate of all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who looks after it.
    pub mode: TlsMode,
    /// PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

impl Tls {
    /// From the value of `tls_external_cert_and_key`, else by the kind of domain.
    pub(super) fn new(external: &str, domain: &MailDomain) -> Result<Tls, Problem> {
        let bare = domain.bare();
        let mut paths = external.split_whitespace();
        let (mode, certificate, key) = match (paths.next(), paths.next(), paths.next()) {
            (Some(certificate), Some(key), None) => {
                (TlsMode::External, certificate.into(), key.into())
            }
            (None, ..) if bare.starts_with('_') || domain.is_literal() => (
                TlsMode::SelfSigned,
                "/etc/ssl/certs/mailserver.pem".into(),
                "/etc/ssl/private/mailserver.key".into(),
            ),
            (None, ..) => (
                TlsMode::Acme,
                format!("/var/lib/acme/live/{bare}/fullchain").into(),
                format!("/var/lib/acme/live/{bare}/privkey").into(),
            ),
            _ => return Err("not two paths separated by a space: CERTIFICATE KEY"),
        };
        Ok(Tls {
            mode,
            certificate,
            key,
        })
    }
}

/// Which iroh relay clients are told to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IrohRelay {
    /// The key is unset: one runs on this host. Its URL, `https://MAIL_DOMAIN`.
    Here(String),
    /// This URL, somewhere else.
    Elsewhere(String),
    /// The key is empty: none is advertised.
    None,
}

impl IrohRelay {
    pub(super) fn new(value: Option<&str>, domain: &MailDomain) -> Result<IrohRelay, Problem> {
        match value {
            None => Ok(IrohRelay::Here(format!("https://{}", domain.bare()))),
            Some("") => Ok(IrohRelay::None),
            // It becomes one line of an IMAP answer.
            Some(url) if url.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                Err("not a URL: there is white space in it")
            }
            Some(url) => Ok(IrohRelay::Elsewhere(url.to_owned())),
        }
    }

    /// What clients are told, if anything.
    pub fn url(&self) -> Option<&str> {
        match self {
            IrohRelay::Here(url) | IrohRelay::Elsewhere(url) => Some(url),
            IrohRelay::None => None,
        }
    }
}

/// Who gets a new address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Whoever logs in with one.
    Open,
    /// Whom the operator made one for, or invited. A login creates nothing.
    Invite,
    /// Nobody.
    Closed,
}

pub(super) fn registration(value: &str) -> Result<Registration, Problem> {
    match value {
        "open" => Ok(Registration::Open),
        "invite" => Ok(Registration::Invite),
        "closed" => Ok(Registration::Closed),
        _ => Err("neither open nor invite nor closed"),
    }
}

/// How often something may happen: so often at once, and in the long run so often in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HourlyRate {
    /// This many times; 0 is never.
    AtMost(u32),
    /// As often as it wants.
    Unlimited,
}

/// 0 to 23, or `never`.
pub(super) fn hour_of_the_day(value: &str) -> Result<Option<u8>, Problem> {
    const PROBLEM: Problem = "neither an hour from 0 to 23 nor never";
    if value == "never" {
        return Ok(None);
    }
    let hour = number(value).map_err(|_| PROBLEM)?;
    Some(hour)
        .filter(|hour| *hour < 24)
        .map(Some)
        .ok_or(PROBLEM)
}

/// A number, or `inf` for no limit, as for a load average.
pub(super) fn hourly_rate(value: &str) -> Result<HourlyRate, Problem> {
    if value == "inf" {
        return Ok(HourlyRate::Unlimited);
    }
    number(value)
        .map(HourlyRate::AtMost)
        .map_err(|_| "neither a whole number nor inf, or too large")
}

/// Bytes from `500M`, `2G`, `2GB`, or a plain number of megabytes. A megabyte is 2^20 bytes. `k` and `T`
/// are accepted too: older relays passed `max_mailbox_size` to Dovecot unchanged.
pub(super) fn size(value: &str) -> Result<u64, Problem> {
    let problem = "not a size such as 500M, 2G or a number of megabytes";
    let upper = value.to_ascii_uppercase();
    let upper = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, unit) = match upper.as_bytes().last() {
        Some(b'T') => (&upper[..upper.len() - 1], 1 << 40),
        Some(b'G') => (&upper[..upper.len() - 1], 1 << 30),
        Some(b'M') => (&upper[..upper.len() - 1], 1 << 20),
        Some(b'K') => (&upper[..upper.len() - 1], 1 << 10),
        _ => (upper, 1 << 20),
    };
    let number: u64 = number(digits.trim_end()).map_err(|_| problem)?;
    number.checked_mul(unit).ok_or("larger than any disk")
}

/// A number of days, `20` or `20d`: older relays passed `delete_mails_after` to `doveadm expunge`.
pub(super) fn days(value: &str) -> Result<u32, Problem> {
    let digits = value.strip_suffix(['d', 'D']).unwrap_or(value);
    number(digits).map_err(|_| "not a number of days such as 20")
}

/// A DKIM selector: labels of letters, digits and inner hyphens, separated by dots (RFC 6376
/// section 3.1).
pub(super) fn selector(value: &str) -> Result<String, Problem> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match value.split('.').all(is_label) {
        true => Ok(value.to_owned()),
        false => Err("not a DKIM selector, such as opendkim"),
    }
}

/// Addresses of DNS servers separated by spaces, each with a port unless that is 53.
pub(super) fn resolvers(value: &str) -> Result<Vec<SocketAddr>, Problem> {
    let address = |text: &str| {
        match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, 53)),
        Err(_) => text.parse().map_err(|_| {
            "not addresses of DNS servers separated by spaces, such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353"
        }),
    }
    };
    value.split_whitespace().map(address).collect()
}

/// IP addresses separated by spaces.
pub(super) fn ip_addresses(value: &str) -> Result<Vec<IpAddr>, Problem> {
    let address = |text: &str| {
        text.parse()
            .map_err(|_| "not IP addresses separated by spaces, such as 127.0.0.1 ::1")
    };
    value.split_whitespace().map(address).collect()
}

/// `true` or `false` in any case; empty is false.
pub(super) fn switch(value: &str) -> Result<bool, Problem> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.is_empty() || value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err("neither true nor false")
    }
}

/// A number without a unit. As in Python, it may have single underscores between its digits, and a `+` in
/// front.
pub(super) fn number<T: TryFrom<u64>>(value: &str) -> Result<T, Problem> {
    const PROBLEM: Problem = "not a whole number";
    if value.split('_').any(str::is_empty) {
        return Err(PROBLEM);
    }
    let number: u64 = value.replace('_', "").parse().map_err(|_| PROBLEM)?;
    T::try_from(number).map_err(|_| "too large")
}

/// A load average: not negative; `inf` for no limit.
pub(super) fn load(value: &str) -> Result<f64, Problem> {
    match value.parse::<f64>() {
        Ok(load) if load >= 0.0 => Ok(load),
        _ => Err("not a load average such as 5 or 2.5"),
    }
}

/// Seconds, at least one.
pub(super) fn seconds(value: &str) -> Result<Duration, Problem> {
    match number::<u32>(value)? {
        0 => Err("must be at least one second"),
        seconds => Ok(Duration::from_secs(seconds.into())),
    }
}

/// A path from the root: services start in different directories.
pub(super) fn absolute_path(value: &str) -> Result<PathBuf, Problem> {
    let path = Path::new(value);
    if path.is_absolute() && !value.contains('\0') {
        Ok(path.to_owned())
    } else {
        Err("not an absolute path")
    }
}

/// An `https://` URL, or an `http://` one if its host is this one.
pub(super) fn push_url(value: &str) -> Result<String, Problem> {
    if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("not a URL: there is white space in it");
    }
    let (rest, tls) = match (
        value.strip_prefix("https://"),
        value.strip_prefix("http://"),
    ) {
        (Some(rest), _) => (rest, true),
        (_, Some(rest)) => (rest, false),
        _ => return Err("not an https:// URL"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host(authority).ok_or("not an https:// URL: there is no host in it")?;
    if tls || is_loopback(host) {
        Ok(value.to_owned())
    } else {
        Err("device tokens are sent there, so it must be https:// unless the host is this one")
    }
}

/// The host in `host`, `host:port` or `[v6]:port`.
fn host(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(end);
    let port_is_sound = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.parse::<u16>().is_ok());
    (!host.is_empty() && !host.contains(['@', '\\']) && port_is_sound).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    let v6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_size_has_a_unit_or_is_in_megabytes() {
        for (text, bytes) in [
            ("500M", 500 << 20),
            ("2G", 2 << 30),
            ("2GB", 2 << 30),
            ("2gb", 2 << 30),
            ("100mb", 100 << 20),
            ("100", 100 << 20),
            ("1 G", 1 << 30),
            ("10k", 10 << 10),
            ("1T", 1 << 40),
            ("1_024M", 1 << 30),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "M",
            "B",
            "lots",
            "-1M",
            "1.5G",
            "1_M",
            "_1M",
            "50%",
            "99999999999G",
            "500M 2",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_switch_is_true_or_false() {
        assert_eq!(switch("True"), Ok(true));
        assert_eq!(switch("FALSE"), Ok(false));
        assert_eq!(switch(""), Ok(false));
        assert!(switch("yes").is_err());
        assert!(switch("1").is_err());
    }

    #[test]
    fn tokens_travel_in_the_clear_only_within_this_host() {
        for good in [
            "https://notifications.delta.chat/notify",
            "https://push.example:8443",
            "http://localhost:8080/notify",
            "http://127.0.0.1:1",
            "http://127.9.9.9/notify",
            "http://[::1]:8080/notify",
        ] {
            assert_eq!(push_url(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "notifications.delta.chat",
            "http://notifications.delta.chat/notify",
            "http://localhost.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://127.0.0.1:80@evil.example/",
            "http://evil.example/127.0.0.1",
            "http://127.0.0.1\\@evil.example/",
            "https://",
            "https:///notify",
            "https://host:99999/",
            "ftp://localhost/",
            "https://a b/",
        ] {
            assert!(push_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_limit_on_the_load_can_be_written() {
        assert_eq!(load("2.5"), Ok(2.5));
        assert_eq!(load("inf"), Ok(f64::INFINITY));
        assert!(load("NaN").is_err());
        assert!(load("-1").is_err());
    }

    proptest! {
        #[test]
        fn no_value_is_too_odd_to_judge(text in any::<String>()) {
            let _ = (size(&text), switch(&text), number::<u32>(&text), load(&text), seconds(&text));
            let _ = days(&text);
            let _ = (absolute_path(&text), push_url(&text));
            let domain = MailDomain::parse("chat.example").unwrap();
            let _ = (Tls::new(&text, &domain), IrohRelay::new(Some(&text), &domain));
        }
    }
}
