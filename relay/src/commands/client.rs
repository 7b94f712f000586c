//! What the commands that drive Delta Chat's core have in common.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use chatmail_core::config::Config;
use chatmail_relay::deltachat::relay::{IMAPS, Relay, SMTPS};
use chatmail_relay::deltachat::server;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};

/// Where core is, and where it finds the relay.
#[derive(Args)]
pub(crate) struct Client {
    /// The program of Delta Chat's core; a bare name is looked for on PATH
    #[arg(long, value_name = "FILE", default_value = server::PROGRAM)]
    pub(super) rpc_server: PathBuf,
    /// Where the relay is; without it, mail_domain
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Port of IMAP over TLS
    #[arg(long, value_name = "PORT", default_value_t = IMAPS)]
    imap_port: u16,
    /// Port of submission over TLS
    #[arg(long, value_name = "PORT", default_value_t = SMTPS)]
    smtp_port: u16,
    /// Accept any certificate, as with self-signed ones: only for a host that nobody can stand in for
    #[arg(long)]
    any_certificate: bool,
}

impl Client {
    /// The relay of `config`, at the place that was given.
    pub(super) fn relay(&self, config: &Config) -> Relay {
        let relay = Relay::of(config);
        Relay {
            host: self.host.clone().unwrap_or(relay.host),
            imap_port: self.imap_port,
            smtp_port: self.smtp_port,
            any_certificate: relay.any_certificate || self.any_certificate,
        }
    }
}

/// Ready when somebody wants the process to end.
pub(super) type Stop = Pin<Box<dyn Future<Output = ()>>>;

/// Runs `work` in a runtime. A signal does not end the process but makes the future it is handed ready.
pub(super) fn run_until_told<T>(
    work: impl AsyncFnOnce(Stop) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |why: std::io::Error| Failure(Exit::Unavailable, why.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        };
        work(Box::pin(stop)).await
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    done
}
