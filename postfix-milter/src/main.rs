//! The daemon around [`chatmail_milter::run`]: command line, log, signals, exit codes.

#![forbid(unsafe_code)]

mod cli;
mod failure;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use chatmail_core::config::Config;
use chatmail_milter::{Access, Endpoint, Listeners, Policy, metrics, run};
use chatmail_sockets::access::group_id;
use chatmail_sockets::{Inherited, Need};
use clap::Parser;
use clap::error::ErrorKind;
use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::cli::{Cli, LogLevel};
use crate::failure::{Failure, exit};

/// Of what a message costs, Postfix spends more than half. More threads wake each other for nothing,
/// which is dear with large messages.
const PROCESSORS_PER_WORKER: usize = 2;

/// Beyond this many threads a relay gains nothing.
const MOST_WORKERS: usize = 4;

/// Octets. The check keeps its state on the heap and does not recurse.
const STACK: usize = 512 * 1024;

/// Sockets, as options and as systemd's names.
const OUTGOING: &str = "outgoing";
const INCOMING: &str = "incoming";
const INTERNAL: &str = "internal";
const METRICS: &str = "metrics";
const SOCKETS: [(&str, Need); 4] = [
    (OUTGOING, Need::Required),
    (INCOMING, Need::Required),
    (INTERNAL, Need::Optional),
    (METRICS, Need::Optional),
];

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let help = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // If standard error is gone there is nobody left to tell.
            let _ = e.print();
            return ExitCode::from(if help { 0 } else { exit::USAGE });
        }
    };
    start_log(cli.log_level);
    match daemon(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{}", failure.message);
            ExitCode::from(failure.exit)
        }
    }
}

fn daemon(cli: &Cli) -> Result<(), Failure> {
    let mut sockets = Inherited::from_env(&SOCKETS)?;
    let endpoints = [&cli.outgoing, &cli.incoming, &cli.internal, &cli.metrics];
    for ((name, need), endpoint) in SOCKETS.into_iter().zip(endpoints) {
        sockets.check(name, endpoint.is_some(), need)?;
    }
    let config = configuration(&cli.config)?;
    let policy = Arc::new(Policy::new(&config).map_err(|problem| unusable(&config, &problem))?);
    let group = cli.socket_group.as_deref().map(group_id).transpose()?;
    let access = Access {
        mode: cli.socket_mode,
        group,
    };
    raise_descriptor_limit();
    let processors = available_parallelism().map_or(1, |n| n.get());
    let workers = (processors / PROCESSORS_PER_WORKER).clamp(1, MOST_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_stack_size(STACK)
        .thread_name("milter")
        .enable_io()
        .enable_time()
        .build()
        .map_err(Failure::system)?;
    runtime.block_on(async {
        // Before the sockets exist: whoever sees them may send signals.
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::system)?;
        let hangup = signal(SignalKind::hangup()).map_err(Failure::system)?;
        let mut listener =
            |name, endpoint: &Option<Endpoint>| sockets.listener(name, endpoint.as_ref(), access);
        let missing = || Failure::new(exit::USAGE, "a socket is missing");
        let listeners = Listeners {
            outgoing: listener(OUTGOING, &cli.outgoing)?.ok_or_else(missing)?,
            incoming: listener(INCOMING, &cli.incoming)?.ok_or_else(missing)?,
            internal: listener(INTERNAL, &cli.internal)?,
        };
        if let Some(listener) = listener(METRICS, &cli.metrics)? {
            let policy = Arc::clone(&policy);
            tokio::spawn(metrics::serve(listener, move || policy.metrics().encode()));
        }
        tokio::spawn(reread_on(hangup, cli.config.clone(), Arc::clone(&policy)));
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            info!("stopping");
            tell_systemd(&[NotifyState::Stopping]);
        };
        info!("ready");
        tell_systemd(&[NotifyState::Ready]);
        // Among the workers: this thread would have to be woken for each connection.
        let served = tokio::spawn(run(listeners, policy, shutdown)).await;
        served.map_err(|error| Failure::system(io::Error::other(error)))
    })
}

fn configuration(path: &Path) -> Result<Config, Failure> {
    let config =
        Config::load(path).map_err(|error| Failure::new(exit::CONFIGURATION, error.to_string()))?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    Ok(config)
}

/// What the configuration speaks of is not there or not of use.
fn unusable(config: &Config, problem: &str) -> Failure {
    let message = format!("{}: {problem}", config.path.display());
    Failure::new(exit::CONFIGURATION, message)
}

/// A broken configuration must not stop a relay that runs.
async fn reread_on(mut hangup: Signal, path: impl AsRef<Path>, policy: Arc<Policy>) {
    let path = path.as_ref();
    while hangup.recv().await.is_some() {
        let read = configuration(path).and_then(|config| {
            let replaced = policy.replace(&config);
            replaced.map_err(|problem| unusable(&config, &problem))
        });
        match read {
            Ok(()) => {
                info!(file = %path.display(), "configuration read again");
                policy.metrics().reloaded("accepted");
                tell_systemd(&[NotifyState::Status("")]);
            }
            Err(Failure { message, .. }) => {
                error!(error = message, "the old configuration stays");
                policy.metrics().reloaded("refused");
                let status = format!("The old configuration stays: {message}");
                tell_systemd(&[NotifyState::Status(&status)]);
            }
        }
    }
}

/// Where there is no systemd, nothing happens.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot tell systemd how it goes");
    }
}

/// Each SMTP session holds one descriptor here, and 1024 are soon used up.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "cannot raise the limit of open files");
        }
    }
}

/// Plain lines on standard error; the journal adds the time itself.
///
/// Of this crate only: libraries that look up names or read requests would write down whose.
fn start_log(level: LogLevel) {
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level.filter());
    let log = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        registry().with(log.without_time().with_filter(ours)).init();
    } else {
        registry().with(log.with_filter(ours)).init();
    }
    // A panic's own message may quote what it worked on: mail.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "this is a bug; the message is deferred");
    }));
}
