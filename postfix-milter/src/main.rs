//! The daemon around [`chatmail_milter::run`]: command line, log, signals, exit codes.

#![forbid(unsafe_code)]

mod cli;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use chatmail_core::config::Config;
use chatmail_milter::{Access, Endpoint, Listener, Listeners, Policy, run};
use clap::Parser;
use clap::error::ErrorKind;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::cli::{Cli, LogLevel};

/// sysexits(3).
mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const OS_ERROR: u8 = 71;
    pub(crate) const CANNOT_CREATE: u8 = 73;
    pub(crate) const TEMPORARY_FAILURE: u8 = 75;
    pub(crate) const CONFIGURATION: u8 = 78;
}

/// Beyond this many threads a relay gains nothing: Postfix is the one that works.
const MOST_WORKERS: usize = 4;

/// Octets. The check keeps its state on the heap and does not recurse.
const STACK: usize = 512 * 1024;

/// A reason not to run, already complete for the log.
struct Failure {
    message: String,
    exit: u8,
}

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
    let config = Config::load(&cli.config).map_err(|e| Failure {
        message: e.to_string(),
        exit: exit::CONFIGURATION,
    })?;
    report_unknown_keys(&config);
    let group = cli.socket_group.as_deref().map(group_id).transpose()?;
    let access = Access {
        mode: cli.socket_mode,
        group,
    };
    raise_descriptor_limit();
    let workers = available_parallelism().map_or(MOST_WORKERS, |n| n.get().min(MOST_WORKERS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_stack_size(STACK)
        .thread_name("milter")
        .enable_io()
        .enable_time()
        .build()
        .map_err(system_error)?;
    runtime.block_on(async {
        // Before the sockets exist: whoever sees them may send signals.
        let mut terminate = signal(SignalKind::terminate()).map_err(system_error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system_error)?;
        let hangup = signal(SignalKind::hangup()).map_err(system_error)?;
        let listeners = Listeners {
            outgoing: bind(&cli.outgoing, access)?,
            incoming: bind(&cli.incoming, access)?,
        };
        let policy = Arc::new(Policy::new(&config));
        tokio::spawn(reread_on(hangup, cli.config.clone(), Arc::clone(&policy)));
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            info!("stopping");
        };
        info!(outgoing = %cli.outgoing, incoming = %cli.incoming, "ready");
        run(listeners, policy, shutdown).await;
        Ok(())
    })
}

fn bind(endpoint: &Endpoint, access: Access) -> Result<Listener, Failure> {
    Listener::bind(endpoint, access).map_err(|e| Failure {
        message: format!("{endpoint}: {e}"),
        exit: match e.kind() {
            io::ErrorKind::AddrInUse => exit::TEMPORARY_FAILURE,
            _ => exit::CANNOT_CREATE,
        },
    })
}

/// A broken configuration must not stop a relay that runs.
async fn reread_on(mut hangup: Signal, path: impl AsRef<Path>, policy: Arc<Policy>) {
    let path = path.as_ref();
    while hangup.recv().await.is_some() {
        match Config::load(path) {
            Ok(config) => {
                report_unknown_keys(&config);
                policy.replace(&config);
                info!(file = %path.display(), "configuration read again");
            }
            Err(error) => error!(%error, "the old configuration stays"),
        }
    }
}

fn report_unknown_keys(config: &Config) {
    for key in &config.unknown_keys {
        warn!(file = %config.path.display(), key, "unknown key");
    }
}

/// The id of a group in /etc/group, or a number.
fn group_id(group: &str) -> Result<u32, Failure> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let listed = fs::read_to_string("/etc/group").unwrap_or_default();
    let id = listed.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    });
    id.ok_or_else(|| Failure {
        message: format!("--socket-group {group}: no such group in /etc/group; a number works too"),
        exit: exit::USAGE,
    })
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

fn system_error(error: io::Error) -> Failure {
    Failure {
        message: error.to_string(),
        exit: exit::OS_ERROR,
    }
}

/// Plain lines on standard error; the journal adds the time itself.
fn start_log(level: LogLevel) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level.filter())
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
    // A panic's own message may quote what it worked on: mail.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "this is a bug; the message is deferred");
    }));
}
