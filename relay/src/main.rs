//! `chatmail`, the operator's command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chatmail_core::config::Config;
use chatmail_relay::check;
use chatmail_relay::render::{self, Found, Layout, Rendered};
use chatmail_relay::serve::Service;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Renders the configuration of a chatmail relay, runs its service, and explains its filter.
///
/// A relay is Postfix, Dovecot, the filter `chatmail-milter`, and `chatmail serve`. All four read
/// one file, chatmail.ini.
#[derive(Parser)]
#[command(version, max_term_width = 90)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Render(RenderArguments),
    /// Print the layout of a stock Debian host, to start a LAYOUT.json from
    Layout,
    Serve(ServeArguments),
    Check(check::Arguments),
}

/// Write the configuration of Dovecot and Postfix.
///
/// Writes DIR/dovecot/dovecot.conf, DIR/postfix/main.cf, DIR/postfix/master.cf and the small maps
/// beside them. A file that differs is never overwritten silently: without --force the differences
/// are printed, nothing is written, and the exit code is 73.
///
/// Check the result with `doveconf -c DIR/dovecot/dovecot.conf -n` and `postfix -c DIR/postfix check`.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 written or unchanged, 64 wrong usage, 73 files differ or cannot be written, 78 \
wrong chatmail.ini or LAYOUT.json.

Example: a stock Debian host, ports 993, 143, 465, 587 and 25:
  chatmail render --config /etc/chatmail.ini --out /etc/chatmail-rendered"
)]
struct RenderArguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where sockets, ports and directories are (JSON); without it, those of a stock Debian host
    ///
    /// An empty object is the same. `chatmail layout` prints every field with its default. Which
    /// Dovecot is installed is asked unless `dovecot.version` says "2.3" or "2.4".
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Directory to write to; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Overwrite files that differ, after printing the differences
    #[arg(long)]
    force: bool,
}

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
struct ServeArguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

/// sysexits(3).
#[derive(Clone, Copy)]
enum Exit {
    Usage = 64,
    Unavailable = 69,
    CannotCreate = 73,
    CannotWrite = 74,
    Configuration = 78,
}

/// Why the command failed: a line for standard error, and the exit code.
struct Failure(Exit, String);

impl Failure {
    fn configuration(why: impl ToString) -> Failure {
        Failure(Exit::Configuration, why.to_string())
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) => {
            // Nothing to be done about a closed terminal.
            let _ = help.print();
            return ExitCode::from(if help.use_stderr() {
                Exit::Usage as u8
            } else {
                0
            });
        }
    };
    let done = match &arguments.command {
        Command::Render(arguments) => render(arguments),
        Command::Layout => layout(),
        Command::Serve(arguments) => serve(arguments),
        Command::Check(arguments) => match check_messages(arguments) {
            Ok(ended) => return ExitCode::from(ended.code()),
            Err(failure) => Err(failure),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, why)) => {
            eprintln!("chatmail: {why}");
            ExitCode::from(code as u8)
        }
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(Failure::configuration)
}

fn layout() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&Layout::default()).map_err(Failure::configuration)?;
    println!("{text}");
    Ok(())
}

fn render(arguments: &RenderArguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    for key in &config.unknown_keys {
        eprintln!(
            "chatmail: warning: {}: unknown key {key}",
            config.path.display()
        );
    }
    let layout = match &arguments.layout {
        Some(path) => Layout::load(path).map_err(Failure::configuration)?,
        None => Layout::default(),
    };
    let files = render::render(&config, &layout).map_err(Failure::configuration)?;
    let fail = |file: &Rendered, why| {
        let path = file.path(&arguments.out);
        Failure(Exit::CannotCreate, format!("{}: {why}", path.display()))
    };

    let mut to_write = Vec::new();
    let mut different = 0;
    for file in &files {
        match file
            .compare(&arguments.out)
            .map_err(|why| fail(file, why))?
        {
            Found::Same => {}
            Found::Absent => to_write.push(file),
            Found::Different(diff) => {
                print!("{diff}");
                different += 1;
                to_write.push(file);
            }
        }
    }
    if different > 0 && !arguments.force {
        return Err(Failure(
            Exit::CannotCreate,
            format!(
                "nothing written: {different} of {} files differ; --force overwrites them",
                files.len()
            ),
        ));
    }
    for file in &to_write {
        file.write(&arguments.out).map_err(|why| fail(file, why))?;
        println!("{}", file.path(&arguments.out).display());
    }
    std::io::stdout()
        .flush()
        .map_err(|why| Failure(Exit::CannotCreate, why.to_string()))
}

fn check_messages(arguments: &check::Arguments) -> Result<check::Ended, Failure> {
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    check::run(arguments, &mut output).map_err(|stopped| match stopped {
        check::Stopped::Configuration(why) => Failure(Exit::Configuration, why),
        check::Stopped::Output(why) => Failure(Exit::CannotWrite, why.to_string()),
    })
}

fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
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
