//! `chatmail serve`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use chatmail_core::config::Config;
use chatmail_relay::serve::Service;
use chatmail_relay::web::listener::{HttpEndpoint, check_passed_on};
use chatmail_sockets::access::{group_id, mode};
use chatmail_sockets::{Access, Endpoint, Inherited, Kind, Listener, Need, Problem};
use clap::Parser;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::mail_user::become_mail_user;
use crate::exit::{Exit, Failure, read};

/// The socket's name, as an option and as systemd's.
const HTTP: &str = "http";

/// Threads for what blocks: passwords to be hashed, locks, directories, name look-ups.
const BLOCKING_THREADS: usize = 8;

/// Octets of each of their stacks. Nothing there recurses deeply.
const STACK: usize = 512 * 1024;

/// Deliver push notifications and answer HTTP until told to stop.
///
/// Dovecot leaves one file for each pending notification in MAILBOXES_DIR/pending_notifications.
/// Each is sent by HTTPS POST to push_url and its file removed when the push service has taken it
/// (200) or knows the device no longer (410; the token is removed, too). Anything else is tried
/// again after 8, 64, 512 and 4096 seconds, up to 5 hours after the message. When the push service
/// is down, one request at a time asks whether it is back, every 80 seconds or sooner unless Retry-After
/// says otherwise, and nothing is given up but for its age. A device is asked to wake up once a second at most. Files that are
/// no notifications are moved to MAILBOXES_DIR/.chatmail/unreadable_notifications.
///
/// With --http it answers a web server that stands in front of it: POST /new makes an account, GET
/// /new leads a browser to Delta Chat, GET /healthz says whether mail can be stored. Let that web
/// server pass on /new and /cgi-bin/newemail.py, with the client's address in X-Forwarded-For, and nothing else.
///
/// Stops at SIGTERM and SIGINT. A notification is never lost by a stop, a crash or a kill; one that
/// was on its way may be sent twice. Run it as the owner of the mailboxes; root
/// becomes that owner first. Logs go to standard error.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 stopped by a signal, 64 wrong usage, 69 it cannot go on: the spool cannot be watched, \
or a bug, 71 the system refused, 73 a socket cannot be created, 75 another process listens there, 77 not permitted, 78 wrong chatmail.ini.

A socket that systemd passes on (FileDescriptorName=http) takes the place of --http.

Keys of chatmail.ini it reads: mail_domain, mailboxes_dir, push_url, push_timeout, push_ca_file; for new accounts \
registration, nocreate_file, username_max_length, password_min_length, max_load_1m, min_available_memory, \
min_free_disk_space, max_network_signups_per_hour, max_signups_per_hour, trusted_proxies.

Example: behind nginx, which includes packaging/nginx/chatmail.conf of the sources
  chatmail serve --config /etc/chatmail.ini --http unix:/run/chatmail/http.sock --socket-group www-data"
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where to answer HTTP: unix:/PATH or a loopback address, 127.0.0.1:PORT; may be given again
    /// [default: systemd's sockets `http`, or none]
    #[arg(long, value_name = "SOCKET")]
    http: Vec<HttpEndpoint>,
    /// Permissions of Unix sockets, octal: the web server needs to write to them
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = mode)]
    socket_mode: u32,
    /// Group of Unix sockets, by name or number [default: this process's group]
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = read(&arguments.config)?;
    become_mail_user(&config)?;
    let mut sockets = Inherited::from_env(&[(HTTP, Need::Any)])?;
    sockets.check(HTTP, !arguments.http.is_empty(), Need::Any)?;
    start_log(arguments.log_level);
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(system)?;
    let done = runtime.block_on(serve(&config, arguments, &mut sockets));
    // A token that is being removed right now may be, a name look-up need not end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    done
}

async fn serve(
    config: &Config,
    arguments: &Arguments,
    sockets: &mut Inherited,
) -> Result<(), Failure> {
    // Before the sockets exist: whoever sees them may send signals.
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell_systemd(NotifyState::Stopping);
    };
    let http = listeners(arguments, sockets)?;
    for listener in &http {
        if let Some(address) = listener.tcp_address() {
            info!("HTTP on {address}");
        }
    }
    let service = Service::new(config, http).map_err(Failure::configuration)?;
    tell_systemd(NotifyState::Ready);
    let ended = service.run(stop).await;
    ended.map_err(|why| Failure(Exit::Unavailable, why.to_string()))
}

fn listeners(arguments: &Arguments, sockets: &mut Inherited) -> Result<Vec<Listener>, Failure> {
    let group = arguments
        .socket_group
        .as_deref()
        .map(group_id)
        .transpose()?;
    let access = Access {
        mode: arguments.socket_mode,
        group,
    };
    let endpoints: Vec<Endpoint> = arguments
        .http
        .iter()
        .map(|http| http.endpoint().clone())
        .collect();
    let listeners = sockets.listeners(HTTP, &endpoints, access)?;
    for listener in &listeners {
        check_passed_on(listener)
            .map_err(|why| Problem::new(Kind::Usage, format!("socket '{HTTP}': {why}")))?;
    }
    Ok(listeners)
}

fn system(error: io::Error) -> Failure {
    Failure(Exit::System, error.to_string())
}

/// Plain lines on standard error, of this crate only: libraries that look up names or read requests
/// would write down whose.
fn start_log(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!(
            "off,chatmail_relay={level},chatmail={level}"
        )))
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    // A panic's own message may quote what it worked on: a token or an address.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "this is a bug; the service ends");
    }));
}

/// Where there is no systemd, nothing happens.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("cannot tell systemd how it goes: {error}");
    }
}
