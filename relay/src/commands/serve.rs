//! `chatmail serve`.

use std::path::PathBuf;
use std::time::Duration;

use chatmail_relay::serve::Service;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure, load};

/// Deliver push notifications until told to stop.
///
/// Dovecot leaves one file for each pending notification in MAILBOXES_DIR/pending_notifications.
/// Each is sent by HTTPS POST to push_url and its file removed when the push service has taken it
/// (200) or knows the device no longer (410; the token is removed, too). Anything else is tried
/// again after 8, 64, 512 and 4096 seconds, up to 5 hours after the message.
///
/// Stops at SIGTERM and SIGINT. A notification is never lost by a stop, a crash or a kill; one that
/// was on its way may be sent twice. Run it as the owner of the mailboxes. Logs go to standard error.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 stopped by a signal, 64 wrong usage, 69 the spool cannot be watched, 78 wrong \
chatmail.ini.

Keys of chatmail.ini it reads: mail_domain, mailboxes_dir, push_url, push_timeout, push_ca_file."
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!(
            "off,chatmail_relay={}",
            arguments.log_level
        )))
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    for key in &config.unknown_keys {
        tracing::warn!("{}: unknown key {key}", config.path.display());
    }
    let failed = |why: std::io::Error| Failure(Exit::Unavailable, why.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let service = Service::new(&config).map_err(Failure::configuration)?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        service.run(stop).await
    });
    // A token that is being removed right now may be, a name look-up need not end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    done.map_err(failed)
}
