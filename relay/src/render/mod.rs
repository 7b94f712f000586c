//! `chatmail render`: the configuration of Dovecot and Postfix from `chatmail.ini` and a layout.
//!
//! ```
//! use chatmail_relay::render::Layout;
//!
//! // An empty layout is a stock Debian host.
//! let layout: Layout = serde_json::from_str("{}").expect("a layout");
//! assert_eq!(layout.ports.imaps, 993);
//! ```

mod dovecot;
mod layout;
mod output;
mod socket;

use std::path::Path;

use chatmail_core::address::{address_pattern, username_characters};
use chatmail_core::config::Config;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

pub use dovecot::DovecotVersion;
pub use layout::{Dovecot, Layout, Milters, Ports, Postfix};
pub use output::{Found, Rendered};

macro_rules! templates {
    ($($name:literal = $path:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $path)))),*]
    };
}

type Templates = &'static [(&'static str, &'static str)];

/// Every file that is written for Postfix: its name below the output directory, and its template.
const POSTFIX: Templates = templates![
    "postfix/main.cf" = "postfix/main.cf",
    "postfix/master.cf" = "postfix/master.cf",
    "postfix/command_filter" = "postfix/command_filter",
    "postfix/login_map" = "postfix/login_map",
    "postfix/received_cleanup" = "postfix/received_cleanup",
    "postfix/lmtp_header_cleanup" = "postfix/lmtp_header_cleanup",
    "postfix/smtp_tls_policy_map" = "postfix/smtp_tls_policy_map",
];

/// The same for Dovecot.
fn dovecot(version: DovecotVersion) -> Templates {
    match version {
        DovecotVersion::V2_3 => templates!["dovecot/dovecot.conf" = "dovecot-2.3/dovecot.conf"],
        DovecotVersion::V2_4 => templates!["dovecot/dovecot.conf" = "dovecot-2.4/dovecot.conf"],
    }
}

/// What a template can name. One that names anything else fails.
#[derive(Serialize)]
struct Values<'a> {
    layout: &'a Layout,
    config_file: String,
    /// `203.0.113.7`
    domain: &'a str,
    /// `[203.0.113.7]`
    address_domain: String,
    literal: bool,
    /// The characters of Dovecot's login names.
    username_characters: String,
    /// A regular expression for the addresses that may send.
    address_pattern: String,
    hostname: &'a str,
    /// Address of the operator, if it is known and a plain address.
    contact: Option<&'a str>,
    tls: Tls,
    mailboxes_dir: String,
    max_mailbox_size: u64,
    max_message_size: u64,
    max_imap_connections: u32,
    max_smtp_connections: u32,
    /// Of one client IP, on each submission port.
    client_connections: u32,
    client_limit: u32,
    disable_ipv6: bool,
    imap_rawlog: bool,
    imap_compress: bool,
    lmtp_socket: String,
    auth_socket: String,
    milters: MilterLists,
    /// What stands before the port in `master.cf`.
    endpoint: String,
    postfix_log_directory: Option<String>,
}

#[derive(Serialize)]
struct Tls {
    certificate: String,
    key: String,
}

#[derive(Serialize)]
struct MilterLists {
    outgoing: String,
    incoming: String,
    /// Of mail that Postfix writes itself. Empty: none.
    internal: String,
}

/// Renders every file. The error says what cannot be written down, and where it comes from.
///
/// If the layout does not name Dovecot's version, runs `dovecot --version`.
pub fn render(config: &Config, layout: &Layout) -> Result<Vec<Rendered>, String> {
    let version = match layout.dovecot.version {
        Some(version) => version,
        None => DovecotVersion::installed()?,
    };
    let values = Values::new(config, layout)?;
    refuse_special_characters(
        "",
        &serde_json::to_value(&values).map_err(|e| e.to_string())?,
    )?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(|why| why.to_string())?;
    environment.set_syntax(syntax);
    dovecot(version)
        .iter()
        .chain(POSTFIX)
        .map(|&(name, source)| {
            let text = environment
                .render_named_str(name, source, Serde(&values))
                .map_err(|why| format!("template {name}: {why:#}"))?;
            Ok(Rendered { name, text })
        })
        .collect()
}

impl<'a> Values<'a> {
    fn new(config: &'a Config, layout: &'a Layout) -> Result<Values<'a>, String> {
        let domain = &config.mail_domain;
        let hostname = match &layout.hostname {
            Some(name) => name,
            None if domain.is_literal() => "localhost.localdomain",
            None => domain.bare(),
        };
        let config_file = std::path::absolute(&config.path)
            .map_err(|why| format!("{}: {why}", config.path.display()))?;
        Ok(Values {
            layout,
            config_file: text(&config_file),
            domain: domain.bare(),
            address_domain: domain.in_address(),
            literal: domain.is_literal(),
            username_characters: username_characters(domain),
            address_pattern: address_pattern(domain),
            hostname,
            contact: contact(&config.privacy_mail),
            tls: Tls::new(config, layout)?,
            mailboxes_dir: text(&config.mailboxes_dir),
            max_mailbox_size: config.max_mailbox_size,
            max_message_size: config.max_message_size,
            max_imap_connections: config.max_imap_connections,
            max_smtp_connections: config.max_smtp_connections,
            client_connections: (config.max_smtp_connections / 5).max(1),
            // A session that moves between processes holds two slots for a moment.
            client_limit: config.max_imap_connections.saturating_mul(2).max(1000),
            disable_ipv6: config.disable_ipv6,
            imap_rawlog: config.imap_rawlog,
            imap_compress: config.imap_compress,
            lmtp_socket: layout.postfix.socket(&layout.lmtp_socket)?,
            auth_socket: layout.postfix.socket(&layout.auth_socket)?,
            milters: MilterLists::new(config, layout)?,
            endpoint: match layout.listen {
                None => String::new(),
                Some(std::net::IpAddr::V4(address)) => format!("{address}:"),
                Some(std::net::IpAddr::V6(address)) => format!("[{address}]:"),
            },
            postfix_log_directory: layout
                .postfix
                .log
                .as_deref()
                .and_then(Path::parent)
                .map(text),
        })
    }
}

impl Tls {
    fn new(config: &Config, layout: &Layout) -> Result<Tls, String> {
        match (&layout.tls_certificate, &layout.tls_key) {
            (Some(certificate), Some(key)) => Ok(Tls {
                certificate: text(certificate),
                key: text(key),
            }),
            (None, None) => Ok(Tls {
                certificate: text(&config.tls.certificate),
                key: text(&config.tls.key),
            }),
            _ => Err("layout: tls_certificate and tls_key go together".into()),
        }
    }
}

impl MilterLists {
    fn new(config: &Config, layout: &Layout) -> Result<MilterLists, String> {
        let Milters {
            outgoing,
            incoming,
            internal,
            dkim,
        } = &layout.milters;
        let list = |sockets: &[&String]| {
            let milters = sockets.iter().map(|socket| layout.postfix.milter(socket));
            Ok::<_, String>(milters.collect::<Result<Vec<_>, _>>()?.join(", "))
        };
        match (config.dkim, dkim) {
            (true, None) => Ok(MilterLists {
                outgoing: list(&[outgoing])?,
                incoming: list(&[incoming])?,
                internal: list(&[internal])?,
            }),
            (true, Some(_)) => Err(
                "layout: milters.dkim goes with dkim = false in chatmail.ini: otherwise the filter \
                 signs and verifies itself"
                    .into(),
            ),
            (false, signer) => {
                let signer: Vec<&String> = signer.iter().collect();
                Ok(MilterLists {
                    outgoing: list(&[&[outgoing], signer.as_slice()].concat())?,
                    incoming: list(&[&[incoming], signer.as_slice()].concat())?,
                    internal: list(&signer)?,
                })
            }
        }
    }
}

/// `privacy_mail` if it is a plain address, because it goes into a URI and into settings of Dovecot.
fn contact(privacy_mail: &str) -> Option<&str> {
    let (localpart, domain) = privacy_mail.split_once('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let literal = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']'));
    let is_plain = match literal {
        Some(address) => address.chars().all(|c| plain(c) || c == ':'),
        None => domain.chars().all(plain),
    };
    (is_plain && !localpart.is_empty() && !domain.is_empty() && localpart.chars().all(plain))
        .then_some(privacy_mail)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Refuses values that Dovecot or Postfix would read as more than text: quotes, `$`, `%`, `#`,
/// control characters. Spaces and braces come from this module alone, in the lists of milters, and
/// other characters from the core, in a pattern made of the domain.
fn refuse_special_characters(at: &str, value: &serde_json::Value) -> Result<(), String> {
    use serde_json::Value;
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let at = match at {
                "" => name.clone(),
                _ => format!("{at}.{name}"),
            };
            refuse_special_characters(&at, value)
        }),
        Value::String(text) => {
            let ours = match at {
                "address_pattern" => "()*",
                _ if at.starts_with("milters.") => " {},=",
                _ => "",
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@[]+~".contains(c);
            match text.chars().find(|&c| !plain(c) && !ours.contains(c)) {
                None => Ok(()),
                Some(odd) => Err(format!(
                    "{at} = {text:?}: {odd:?} cannot stand in the configuration of Dovecot and Postfix"
                )),
            }
        }
        _ => Ok(()),
    }
}
