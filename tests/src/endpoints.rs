//! Where a running private relay listens and keeps its files: `DIR/endpoints.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::dovecot::Version;

/// The contents of `DIR/endpoints.json`. The supervisor writes it when everything answers, and
/// again whenever it had to restart one of its processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The mail domain, as in an address.
    pub domain: String,
    /// The address all ports are bound to.
    pub host: String,
    /// IMAP over TLS.
    pub imaps: u16,
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// Submission over TLS.
    pub smtps: u16,
    /// Submission with STARTTLS.
    pub submission: u16,
    /// Mail from other servers.
    pub smtp: u16,
    /// Dovecot's LMTP server, a Unix socket.
    pub lmtp_socket: PathBuf,
    /// Where `chatmail serve` answers HTTP, a Unix socket. See [`crate::http`].
    #[serde(default)]
    pub http_socket: PathBuf,
    /// `MAILBOXES_DIR`.
    pub mailboxes_dir: PathBuf,
    /// The instance's `chatmail.ini`.
    pub config: PathBuf,
    /// PEM file of the authority that signed the server's certificate.
    pub ca_certificate: PathBuf,
    /// Where notifications are posted.
    pub push_url: String,
    /// Where its filter asks for DKIM keys: `127.0.0.1:PORT`, UDP and TCP. See [`crate::dns`].
    pub dns: String,
    /// What is answered there; read again for each query.
    pub dns_zone: PathBuf,
    /// Where `chatmail-milter` shows its metrics: `127.0.0.1:PORT`, HTTP.
    pub metrics: String,
    /// Domains of the private relays it exchanges mail with (`--peer`).
    pub peers: Vec<String>,
    /// The rendered `dovecot.conf`.
    pub dovecot_conf: PathBuf,
    /// Which Dovecot it runs on.
    pub dovecot_version: Version,
    /// The words that run that Dovecot's `doveadm`, which may be in a tree of its own. See [`Endpoints::dovecot`].
    pub doveadm: Vec<String>,
    /// Holds the rendered `main.cf` and `master.cf`.
    pub postfix_config_directory: PathBuf,
    /// The running `chatmail-milter`.
    pub milter_pid: u32,
    /// The running `chatmail serve`.
    pub serve_pid: u32,
}

impl Endpoints {
    /// Reads `dir/endpoints.json`. `NotFound` until the relay is ready.
    pub fn load(dir: &Path) -> io::Result<Endpoints> {
        let text = fs::read(dir.join("endpoints.json"))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// A program of the Dovecot that the relay runs on: `doveadm`, `doveconf`, `dovecot`, or another one that is
    /// installed beside it. It sees the relay's files, the temporary directory and the repository by the paths that
    /// they have here.
    ///
    /// # Panics
    ///
    /// If these endpoints are no relay's.
    pub fn dovecot(&self, program: &str) -> Command {
        let [before @ .., _doveadm] = self.doveadm.as_slice() else {
            panic!("these endpoints name no doveadm");
        };
        let words: Vec<&str> = before.iter().map(String::as_str).chain([program]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// The mailbox directory of an address.
    pub fn mailbox(&self, address: &str) -> PathBuf {
        self.mailboxes_dir.join(address)
    }
}
