//! IMAP clients, with TLS and without, that know no more than the benchmarks say.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chatmail_tests::Endpoints;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::clients::{Conversation, TIMEOUT, stream};
use crate::relay::account::Account;

/// How to get in.
#[derive(Clone)]
pub(super) enum Door {
    /// Without TLS, which a server grants to clients on its own host.
    Plain,
    /// TLS from the first byte. Each connection makes a whole handshake, as after a restart of the server.
    Tls {
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    },
}

impl Door {
    pub(super) fn tls(endpoints: &Endpoints) -> Result<Door> {
        let pem = fs::read(&endpoints.ca_certificate).context("cannot read the CA certificate")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.context("the CA certificate is malformed")?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let name = endpoints.domain.trim_matches(['[', ']']).to_owned();
        Ok(Door::Tls {
            config: Arc::new(config),
            name: ServerName::try_from(name).context("no name for a certificate")?,
        })
    }
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub(super) struct Client {
    lines: Conversation<Box<dyn Stream>>,
}

impl Client {
    /// Connects and reads the greeting.
    pub(super) fn connect(endpoints: &Endpoints, door: &Door, timeout: Duration) -> Result<Client> {
        let port = match door {
            Door::Plain => endpoints.imap,
            Door::Tls { .. } => endpoints.imaps,
        };
        let tcp = stream(&endpoints.host, port, timeout)?;
        let stream: Box<dyn Stream> = match door {
            Door::Plain => Box::new(tcp),
            Door::Tls { config, name } => {
                let session = ClientConnection::new(Arc::clone(config), name.clone())?;
                Box::new(StreamOwned::new(session, tcp))
            }
        };
        let mut lines = Conversation::new(stream);
        lines.until("* OK")?;
        Ok(Client { lines })
    }

    /// Connects and logs in.
    pub(super) fn log_in(endpoints: &Endpoints, door: &Door, account: &Account) -> Result<Client> {
        let mut client = Client::connect(endpoints, door, TIMEOUT)?;
        client.login(account)?;
        Ok(client)
    }

    pub(super) fn login(&mut self, account: &Account) -> Result<()> {
        self.command(&format!("LOGIN {} {}", account.address, account.password))
            .context("IMAP login")
    }

    /// A command that must be done, up to the end of the answer.
    pub(super) fn command(&mut self, command: &str) -> Result<()> {
        self.send(&format!("a {command}"))?;
        loop {
            let line = self.lines.line()?;
            if line.starts_with("a ") {
                ensure!(line.starts_with("a OK"), "{line}");
                return Ok(());
            }
        }
    }

    /// LOGOUT, up to the end of the connection.
    pub(super) fn log_out(mut self) -> Result<()> {
        self.send("a LOGOUT")?;
        while self.lines.line().is_ok() {}
        Ok(())
    }

    /// IDLE (RFC 2177) in INBOX.
    pub(super) fn idle_in_inbox(&mut self) -> Result<()> {
        self.command("SELECT INBOX")?;
        self.send("a IDLE")?;
        self.lines.until("+")
    }

    /// Waits for the notice of a new message.
    pub(super) fn wait_for_message(&mut self) -> Result<()> {
        while !self.lines.line()?.ends_with(" EXISTS") {}
        Ok(())
    }

    fn send(&mut self, line: &str) -> Result<()> {
        self.lines.send(format!("{line}\r\n").as_bytes())
    }
}
