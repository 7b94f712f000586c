//! `chatmail.ini`.
//!
//! ```no_run
//! use chatmail_core::config::Config;
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! println!("mail for {} lives in {}", config.mail_domain.bare(), config.mailboxes_dir.display());
//! for warning in &config.warnings {
//!     eprintln!("{warning}");
//! }
//! # Ok::<(), chatmail_core::config::ConfigError>(())
//! ```

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::{LOCALPART_MAX, MailDomain};
use crate::mailbox::Mailboxes;

mod ini;
mod keys;
mod values;

pub use keys::{DefaultValue, KEYS, Key};
pub use values::{HourlyRate, IrohRelay, Registration, Tls, TlsMode};

/// All of `chatmail.ini`, with the defaults of [`KEYS`] filled in. Field names are the keys.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it was read.
    pub path: PathBuf,
    /// The one required key.
    pub mail_domain: MailDomain,
    /// Sustained messages per minute and sender.
    pub max_user_send_per_minute: u32,
    /// Size of the rate limit's bucket, in messages.
    pub max_user_send_burst_size: u32,
    /// Bytes.
    pub max_message_size: u64,
    /// Whether the filter signs outgoing mail and demands a signature on incoming mail. Ours;
    /// default true. Where OpenDKIM or another filter does it, false.
    pub dkim: bool,
    /// `s=` of our signatures. Ours; default `opendkim`.
    pub dkim_selector: String,
    /// PEM file of the private key, RSA or Ed25519. Ours; default `/etc/dkimkeys/opendkim.private`.
    pub dkim_key_file: PathBuf,
    /// DNS servers that are asked for the keys of others. Ours; empty (the default) means those of
    /// `/etc/resolv.conf`.
    pub dns_resolver: Vec<SocketAddr>,
    /// Bytes.
    pub max_mailbox_size: u64,
    /// Days until a message is removed.
    pub delete_mails_after: u32,
    /// Days until a large message is removed.
    pub delete_large_after: u32,
    /// Days since the last login until an account is removed.
    pub delete_inactive_users_after: u32,
    /// The hour of the day (UTC) at which the service removes what is too old; `None` for never. Ours;
    /// default 3.
    pub expire_at_hour: Option<u8>,
    /// `MAILBOXES_DIR`. Deprecated but honoured.
    pub mailboxes_dir: PathBuf,
    /// The old SQLite user table, imported once if it is there.
    pub passdb_path: PathBuf,
    /// Characters in the localpart of a new address.
    pub username_min_length: usize,
    /// Characters in the localpart of a new address.
    pub username_max_length: usize,
    /// Characters in the password of a new address.
    pub password_min_length: usize,
    /// No new addresses above this 1-minute load average.
    pub max_load_1m: f64,
    /// No new addresses below this; bytes.
    pub min_available_memory: u64,
    /// No new addresses below this on the file system of `mailboxes_dir`; bytes.
    pub min_free_disk_space: u64,
    /// While this file exists no account is created. Ours; default `/etc/chatmail-nocreate`.
    pub nocreate_file: PathBuf,
    /// Who gets a new address. Ours; default open.
    pub registration: Registration,
    /// Whether addresses are refused that Delta Chat makes without asking its user. Ours; default
    /// false.
    pub refuse_automatic_signups: bool,
    /// New addresses per hour for one network, an IPv4 /24 or an IPv6 /56. Ours; default 100.
    pub max_network_signups_per_hour: HourlyRate,
    /// New addresses per hour. Ours; default 1000.
    pub max_signups_per_hour: HourlyRate,
    /// TCP peers that tell the client's address in `X-Forwarded-For`. Ours; default `127.0.0.1 ::1`.
    pub trusted_proxies: Vec<IpAddr>,
    /// Dovecot's `process_limit` for imap.
    pub max_imap_connections: u32,
    /// Postfix's process limit on submission and smtps; one client may have a fifth of it.
    pub max_smtp_connections: u32,
    /// Whether the services speak IPv4 only.
    pub disable_ipv6: bool,
    /// Whether IMAP sessions are recorded, for debugging.
    pub imap_rawlog: bool,
    /// Whether IMAP COMPRESS is offered.
    pub imap_compress: bool,
    /// Contact for the certificate authority; empty for none.
    pub acme_email: String,
    /// The TLS certificate: `tls_external_cert_and_key`, or what follows from the domain.
    pub tls: Tls,
    /// The iroh relay clients are told to use.
    pub iroh_relay: IrohRelay,
    /// UNIX stream socket that hands out TURN credentials.
    pub turn_socket_path: PathBuf,
    /// Where mtail listens, if it runs.
    pub mtail_address: Option<String>,
    /// JSON file about released apps. Ours; default `/etc/chatmail-appversions.json`.
    pub appversions_file: PathBuf,
    /// Where notifications are posted. Ours; default `https://notifications.delta.chat/notify`.
    pub push_url: String,
    /// No answer for this long: try later. Ours; default 60 s.
    pub push_timeout: Duration,
    /// PEM file of additional certificate authorities for `push_url`. Ours; default none.
    pub push_ca_file: Option<PathBuf>,
    /// Own web pages, if any.
    pub www_folder: Option<PathBuf>,
    /// Postal address of the privacy contact; empty for none; lines separated by `\n`.
    pub privacy_postal: String,
    /// Mail address of the privacy contact; empty for none.
    pub privacy_mail: String,
    /// Postal address of the privacy data officer; empty for none.
    pub privacy_pdo: String,
    /// Postal address of the supervising authority; empty for none.
    pub privacy_supervisor: String,
    /// Likely mistakes that did not stop the load: first values that mean something else than they
    /// say, then unknown keys in the order of the file, then other sections as `[name]`. One line each,
    /// with the file. Every program that loads the file must show them.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads a `chatmail.ini`.
    ///
    /// # Errors
    ///
    /// The file is missing or not UTF-8, a line is no INI, a key stands there twice, there is no
    /// section `[params]` or no `mail_domain`, or a value is not of its kind.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        match fs::read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Config::parse(path, &text),
                Err(_) => Err(ConfigError::of_file(path, "not UTF-8".to_owned())),
            },
            Err(error) => Err(ConfigError::of_file(path, error.to_string())),
        }
    }

    /// Reads the text of a `chatmail.ini`; `path` is for the error and for [`Config::path`].
    ///
    /// # Errors
    ///
    /// As for [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let ini = ini::parse(text).map_err(|error| {
            ConfigError::of_file(path, format!("line {}: {}", error.line, error.problem))
        })?;
        if !ini.sections.iter().any(|section| section == SECTION) {
            return Err(ConfigError::of_file(
                path,
                format!("there is no section [{SECTION}]"),
            ));
        }
        let mut params = Params {
            path,
            ini: &ini,
            warnings: Vec::new(),
        };
        let mail_domain = params.read("mail_domain", |text| {
            MailDomain::parse(text).ok_or("neither a DNS name nor an IPv4 address")
        })?;
        let default_dir;
        let mailboxes_dir = match params.of("mailboxes_dir") {
            (None, Some(DefaultValue::OfDomain(pattern))) => {
                default_dir = pattern.replace("{}", mail_domain.bare());
                values::absolute_path(&default_dir)
                    .map_err(|problem| params.error("mailboxes_dir", problem))?
            }
            _ => params.read("mailboxes_dir", values::absolute_path)?,
        };
        Ok(Config {
            path: path.to_owned(),
            max_user_send_per_minute: params.read("max_user_send_per_minute", values::number)?,
            max_user_send_burst_size: params.read("max_user_send_burst_size", values::number)?,
            max_message_size: params.read("max_message_size", values::number)?,
            dkim: params.read("dkim", values::switch)?,
            dkim_selector: params.read("dkim_selector", values::selector)?,
            dkim_key_file: params.read("dkim_key_file", values::absolute_path)?,
            dns_resolver: params.read("dns_resolver", values::resolvers)?,
            max_mailbox_size: params.read("max_mailbox_size", values::size)?,
            delete_mails_after: params.days("delete_mails_after")?,
            delete_large_after: params.days("delete_large_after")?,
            delete_inactive_users_after: params.days("delete_inactive_users_after")?,
            expire_at_hour: params.read("expire_at_hour", values::hour_of_the_day)?,
            mailboxes_dir,
            passdb_path: params.text("passdb_path")?.into(),
            username_min_length: params.localpart_length("username_min_length")?,
            username_max_length: params.localpart_length("username_max_length")?,
            password_min_length: params.read("password_min_length", values::number)?,
            max_load_1m: params.read("max_load_1m", values::load)?,
            min_available_memory: params.read("min_available_memory", values::size)?,
            min_free_disk_space: params.read("min_free_disk_space", values::size)?,
            nocreate_file: params.read("nocreate_file", values::absolute_path)?,
            registration: params.read("registration", values::registration)?,
            refuse_automatic_signups: params.read("refuse_automatic_signups", values::switch)?,
            max_network_signups_per_hour: params
                .read("max_network_signups_per_hour", values::hourly_rate)?,
            max_signups_per_hour: params.read("max_signups_per_hour", values::hourly_rate)?,
            trusted_proxies: params.read("trusted_proxies", values::ip_addresses)?,
            max_imap_connections: params.read("max_imap_connections", values::number)?,
            max_smtp_connections: params.read("max_smtp_connections", values::number)?,
            disable_ipv6: params.lenient_switch("disable_ipv6")?,
            imap_rawlog: params.lenient_switch("imap_rawlog")?,
            imap_compress: params.lenient_switch("imap_compress")?,
            acme_email: params.text("acme_email")?,
            tls: params.read("tls_external_cert_and_key", |text| {
                Tls::new(text, &mail_domain)
            })?,
            iroh_relay: params
                .read_optional("iroh_relay", |text| IrohRelay::new(text, &mail_domain))?,
            turn_socket_path: params.text("turn_socket_path")?.into(),
            mtail_address: params.non_empty("mtail_address")?,
            appversions_file: params.read("appversions_file", values::absolute_path)?,
            push_url: params.read("push_url", values::push_url)?,
            push_timeout: params.read("push_timeout", values::seconds)?,
            push_ca_file: params.read_optional("push_ca_file", |text| {
                let text = text.filter(|text| !text.is_empty());
                text.map(values::absolute_path).transpose()
            })?,
            www_folder: params.non_empty("www_folder")?.map(PathBuf::from),
            privacy_postal: params.text("privacy_postal")?,
            privacy_mail: params.text("privacy_mail")?,
            privacy_pdo: params.text("privacy_pdo")?,
            privacy_supervisor: params.text("privacy_supervisor")?,
            warnings: params.all_warnings(),
            mail_domain,
        })
    }

    /// The mailboxes this configuration speaks of.
    pub fn mailboxes(&self) -> Mailboxes {
        Mailboxes::new(self.mailboxes_dir.clone(), self.mail_domain.clone())
    }
}

/// The only section there is.
const SECTION: &str = "params";

/// Section `[params]` of a file, looked at through the table of keys.
struct Params<'a> {
    path: &'a Path,
    ini: &'a ini::Ini,
    warnings: Vec<String>,
}

impl Params<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        let mut entries = self.ini.entries.iter();
        entries
            .find(|entry| entry.section == SECTION && entry.key == key)
            .map(|entry| entry.value.as_str())
    }

    /// What the file says, and the default.
    fn of(&self, key: &str) -> (Option<&str>, Option<DefaultValue>) {
        (self.value(key), keys::default(key))
    }

    fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let value = self.value(key).map(str::to_owned);
        ConfigError {
            path: self.path.to_owned(),
            key: Some(key.to_owned()),
            problem: problem.into() + value.as_deref().map_or("", hint),
            value,
        }
    }

    /// A key that may be unset.
    fn read_optional<T>(
        &self,
        key: &str,
        parse: impl FnOnce(Option<&str>) -> Result<T, values::Problem>,
    ) -> Result<T, ConfigError> {
        let value = match self.of(key) {
            (Some(value), Some(_)) => Some(value),
            (None, Some(DefaultValue::Value(value))) => Some(value),
            (None, Some(DefaultValue::Unset)) => None,
            (None, Some(DefaultValue::Required)) => return Err(self.error(key, "must be set")),
            // A slip in this file, found by the first test.
            _ => return Err(self.error(key, "has no default value")),
        };
        parse(value).map_err(|problem| self.error(key, problem))
    }

    fn read<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, values::Problem>,
    ) -> Result<T, ConfigError> {
        self.read_optional(key, |value| parse(value.unwrap_or_default()))
    }

    fn text(&self, key: &str) -> Result<String, ConfigError> {
        self.read(key, |value| Ok(value.to_owned()))
    }

    fn non_empty(&self, key: &str) -> Result<Option<String>, ConfigError> {
        Ok(Some(self.text(key)?).filter(|text| !text.is_empty()))
    }

    /// A switch that relays have always read this way: every value but `true` is false, without an error.
    fn lenient_switch(&mut self, key: &str) -> Result<bool, ConfigError> {
        let value = self.read(key, |text| Ok(values::switch(text)))?;
        Ok(value.unwrap_or_else(|problem| {
            self.warn(key, format!("{problem}; taken as false"));
            false
        }))
    }

    fn days(&mut self, key: &str) -> Result<u32, ConfigError> {
        let days = self.read(key, values::days)?;
        if days == 0 {
            self.warn(
                key,
                "every expiry removes all of them; 0 does not mean never",
            );
        }
        Ok(days)
    }

    fn localpart_length(&mut self, key: &str) -> Result<usize, ConfigError> {
        let length = self.read(key, values::number)?;
        if length > LOCALPART_MAX {
            self.warn(
                key,
                format!("a new localpart has at most {LOCALPART_MAX} characters"),
            );
        }
        Ok(length)
    }

    fn warn(&mut self, key: &str, problem: impl Into<String>) {
        self.warnings.push(self.error(key, problem).to_string());
    }

    fn all_warnings(self) -> Vec<String> {
        let keys = self
            .ini
            .entries
            .iter()
            .filter(|entry| entry.section == SECTION && keys::default(&entry.key).is_none())
            .map(|entry| entry.key.clone());
        let sections = self
            .ini
            .sections
            .iter()
            .filter(|section| *section != SECTION);
        let unknown = keys
            .chain(sections.map(|section| format!("[{section}]")))
            .map(|key| format!("{}: unknown key {key}", self.path.display()));
        self.warnings.into_iter().chain(unknown).collect()
    }
}

/// A hint at the intended value, for a value of the wrong kind.
fn hint(value: &str) -> &'static str {
    if value.contains([';', '#']) {
        "; a comment needs a line of its own"
    } else if value.starts_with(['"', '\'']) {
        "; values are written without quotes"
    } else {
        ""
    }
}

/// Bytes of a size as `chatmail.ini` writes them: `500M`, `2G`, `2GB`, or a plain number of megabytes.
///
/// # Errors
///
/// It is none; the text says what is one.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    values::size(text)
}

/// Why a `chatmail.ini` cannot be used. `Display` names file, key and value:
/// `/etc/chatmail.ini: max_mailbox_size = "lots": not a size …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    key: Option<String>,
    value: Option<String>,
    problem: String,
}

impl ConfigError {
    fn of_file(path: &Path, problem: String) -> ConfigError {
        ConfigError {
            path: path.to_owned(),
            key: None,
            value: None,
            problem,
        }
    }

    /// The key at fault; `None` if it is the file.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if let Some(key) = &self.key {
            write!(f, "{key}")?;
            if let Some(value) = &self.value {
                write!(f, " = {value:?}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
