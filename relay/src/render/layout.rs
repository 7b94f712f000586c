//! Where things are on one host: `LAYOUT.json`.
//!
//! What the relay *is* stands in `chatmail.ini`; where its sockets, ports and directories are
//! stands here. The default is a stock Debian host, so that `{}` is a complete layout.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DovecotVersion;

/// A whole `LAYOUT.json`. Every field may be left out; an unknown one is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layout {
    /// The one address all ports listen on. `null`: every address of the host.
    pub listen: Option<IpAddr>,
    /// TCP ports.
    pub ports: Ports,
    /// Name of this host in SMTP greetings and reports. `null`: the mail domain; for an IPv4
    /// literal, which Postfix does not take as a host name, `localhost.localdomain`.
    pub hostname: Option<String>,
    /// Certificate chain, PEM. `null`: where the TLS mode of `chatmail.ini` has it.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM. `null`: as above. Both or none.
    pub tls_key: Option<PathBuf>,
    /// System user that owns all mailboxes.
    pub mail_user: String,
    /// Its group.
    pub mail_group: String,
    /// Whether mail for other domains goes out, to MX hosts with a valid certificate. `false`: it
    /// is answered `5.4.4`, and nothing leaves the host.
    pub outside_mail: bool,
    /// Whether other relays must use TLS on port 25.
    pub smtp_requires_tls: bool,
    /// Unix socket of Dovecot's LMTP, which Postfix delivers to.
    pub lmtp_socket: PathBuf,
    /// Unix socket of Dovecot's SASL, where Postfix authenticates senders.
    pub auth_socket: PathBuf,
    /// Sockets of the filters.
    pub milters: Milters,
    /// What only Dovecot knows.
    pub dovecot: Dovecot,
    /// What only Postfix knows.
    pub postfix: Postfix,
}

/// TCP ports, in host byte order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ports {
    /// IMAP over TLS.
    pub imaps: u16,
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// Submission over TLS (RFC 8314).
    pub smtps: u16,
    /// Submission with STARTTLS.
    pub submission: u16,
    /// Mail from other relays.
    pub smtp: u16,
}

/// Milter sockets, as `chatmail-milter` writes them: `unix:/path` or `inet:port@host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Milters {
    /// `chatmail-milter --outgoing`.
    pub outgoing: String,
    /// `chatmail-milter --incoming`.
    pub incoming: String,
    /// `chatmail-milter --internal`, which signs what Postfix writes itself: bounces.
    pub internal: String,
    /// With `dkim = false` in `chatmail.ini`: a second filter behind the others that signs and
    /// verifies instead, such as OpenDKIM. `null`: none. With `dkim = true` an error: every
    /// message would be signed twice.
    pub dkim: Option<String>,
}

/// Paths and users of Dovecot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dovecot {
    /// The series it is of. `null`: that of the Dovecot on this host, which is asked.
    pub version: Option<DovecotVersion>,
    /// `base_dir`. Sockets are made in it, so its path has to stay below about 80 bytes.
    pub run_dir: PathBuf,
    /// `state_dir`.
    pub state_dir: PathBuf,
    /// Log file. `null`: syslog.
    pub log: Option<PathBuf>,
    /// `instance_name`, different for every Dovecot on a host.
    pub instance_name: String,
    /// Where mail plugins are loaded from, Dovecot's own included. `null`: as compiled in.
    pub mail_plugin_dir: Option<PathBuf>,
    /// `imap-login` processes, and with 2.3 `auth-worker` processes at most; at least the number of
    /// cores.
    pub login_processes: u32,
    /// `default_internal_user`.
    pub internal_user: String,
    /// `default_login_user`.
    pub login_user: String,
    /// Whether LMTP takes mail with raw UTF-8 in its header (RFC 6531). With 2.4 only, and only if
    /// it was built for that, as Debian's is; otherwise Dovecot refuses to start with
    /// `not built with --enable-experimental-mail-utf8`.
    pub smtputf8: bool,
}

/// Paths and users of Postfix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postfix {
    /// `queue_directory`.
    pub queue_directory: PathBuf,
    /// `data_directory`.
    pub data_directory: PathBuf,
    /// Log file. `null`: syslog.
    pub log: Option<PathBuf>,
    /// `mail_owner`.
    pub user: String,
    /// Its group.
    pub group: String,
    /// Whether services run in the queue directory as their root, as Debian's do. Then every
    /// socket must lie below it.
    pub chroot: bool,
    /// Certificate authorities for the certificates of other relays, PEM.
    pub ca_file: PathBuf,
    /// Where mail for single domains goes, whatever `outside_mail` says: a text file of lines
    /// `DOMAIN smtp:[HOST]:PORT` (transport(5)), read at the start and at `postfix reload`.
    /// `null`: no exceptions.
    pub transport_map: Option<PathBuf>,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout {
            listen: None,
            ports: Ports::default(),
            hostname: None,
            tls_certificate: None,
            tls_key: None,
            mail_user: "vmail".into(),
            mail_group: "vmail".into(),
            outside_mail: true,
            smtp_requires_tls: true,
            lmtp_socket: "/var/spool/postfix/private/dovecot-lmtp".into(),
            auth_socket: "/var/spool/postfix/private/auth".into(),
            milters: Milters::default(),
            dovecot: Dovecot::default(),
            postfix: Postfix::default(),
        }
    }
}

impl Default for Ports {
    fn default() -> Ports {
        Ports {
            imaps: 993,
            imap: 143,
            smtps: 465,
            submission: 587,
            smtp: 25,
        }
    }
}

impl Default for Milters {
    fn default() -> Milters {
        Milters {
            outgoing: "unix:/var/spool/postfix/chatmail/outgoing.sock".into(),
            incoming: "unix:/var/spool/postfix/chatmail/incoming.sock".into(),
            internal: "unix:/var/spool/postfix/chatmail/internal.sock".into(),
            dkim: None,
        }
    }
}

impl Default for Dovecot {
    fn default() -> Dovecot {
        Dovecot {
            version: None,
            run_dir: "/run/dovecot".into(),
            state_dir: "/var/lib/dovecot".into(),
            log: None,
            instance_name: "dovecot".into(),
            mail_plugin_dir: None,
            login_processes: 10,
            internal_user: "dovecot".into(),
            login_user: "dovenull".into(),
            smtputf8: true,
        }
    }
}

impl Default for Postfix {
    fn default() -> Postfix {
        Postfix {
            queue_directory: "/var/spool/postfix".into(),
            data_directory: "/var/lib/postfix".into(),
            log: None,
            user: "postfix".into(),
            group: "postfix".into(),
            chroot: true,
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            transport_map: None,
        }
    }
}

impl Layout {
    /// Reads a `LAYOUT.json`. The error names the file, and line and column where it is wrong.
    pub fn load(path: &Path) -> Result<Layout, String> {
        let text =
            std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        serde_json::from_str(&text).map_err(|why| format!("{}: {why}", path.display()))
    }
}
