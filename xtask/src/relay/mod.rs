//! `cargo xtask relay`: a complete private relay on loopback.

pub(crate) mod account;
mod check;
pub(crate) mod directory;
mod dkim;
mod ini;
mod inspect;
pub(crate) mod instance;
mod modules;
mod peers;
pub(crate) mod ports;
pub(crate) mod processes;
mod sink;
pub(crate) mod supervise;
mod tls;
pub(crate) mod users;
pub(crate) mod wish;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use chatmail_tests::Endpoints;
use clap::Args;

use crate::dovecot::Version;
use crate::terminal::{say, stage};
use crate::{build, command, interrupt, packages, privilege};
use account::Account;
use directory::Directory;
use instance::{Instance, MILTER, SERVE};
use peers::{Route, Watched};
use ports::Ports;
use processes::Record;
use sink::Sink;
use supervise::Supervisor;
use wish::Wish;

/// How often the parts are looked after.
const ROUND: Duration = Duration::from_millis(50);

/// Arguments of `cargo xtask relay`.
#[derive(Args, Default)]
#[command(after_help = "\
Examples:
  cargo xtask relay                      chat.test, in target/relay, on free ports
  cargo xtask relay --check              start, send mail through it, stop: exit status 0 or 1
  cargo xtask relay --dovecot 2.4        on the Dovecot of Debian 13, whatever this host has
  cargo xtask relay --dir /tmp/a         another instance beside the first
  cargo xtask relay --config /etc/chatmail.ini
                                         your relay's limits; the file itself is not changed
  cargo xtask relay --stop target/relay  stop it from another terminal

Two relays that exchange mail, signed by one and verified by the other, in two terminals:
  cargo xtask relay --dir /tmp/a --domain a.test
  cargo xtask relay --dir /tmp/b --domain b.test --peer /tmp/a

Exit status: 0 stopped as asked, or every step of --check passed; 1 otherwise.")]
pub(crate) struct Options {
    /// Start the relay, send mail through it step by step, stop it; 0 if every step passed
    #[arg(long)]
    check: bool,
    /// Mail domain, a name or an IPv4 address [default: of --config, else chat.test]
    #[arg(long)]
    domain: Option<String>,
    /// Directory of the instance [default: target/relay]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Run on this Dovecot, 2.3 or 2.4 [default: the host's]
    ///
    /// If the host has the other one, Dovecot runs inside a Debian tree that has it: bookworm for
    /// 2.3, trixie for 2.4, made with debootstrap below target/dovecot and kept there. The tree is
    /// its root directory; ports, files and processes are where they are otherwise.
    #[arg(long, value_name = "VERSION")]
    dovecot: Option<Version>,
    /// First of eight ports: imaps, imap, smtps, submission, smtp, push sink, DNS, metrics; `auto` finds a free block
    #[arg(long, value_name = "PORT", default_value = "auto", value_parser = base_port)]
    base_port: BasePort,
    /// A chatmail.ini to start from. All its keys are kept, except the few that a private instance must own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send notifications there instead of to the built-in sink, which counts them
    #[arg(long, value_name = "URL")]
    push_url: Option<String>,
    /// Exchange mail with the private relay that runs in DIR, until this one stops; can be repeated
    ///
    /// Each gets the other's port 25 and DKIM key. Their domains must differ. Run with --check, mail
    /// goes to a new user of the peer and back.
    #[arg(long, value_name = "DIR")]
    peer: Vec<PathBuf>,
    /// Send mail for DOMAIN to a server on loopback, with TLS if it has that; can be repeated
    #[arg(long, value_name = "DOMAIN=127.0.0.1:PORT")]
    route: Vec<Route>,
    /// Settings for Dovecot that come after the rendered ones and so take their place
    #[arg(long, value_name = "FILE")]
    dovecot_settings: Option<PathBuf>,
    /// Stop the instance in DIR, also if the command that started it was killed
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check", "domain", "dir", "dovecot", "config", "push_url", "peer", "route", "dovecot_settings"])]
    stop: Option<PathBuf>,
}

#[derive(Clone, Copy, Default)]
struct BasePort(Option<u16>);

impl Options {
    /// Those of an instance that starts from this file and sends its notifications there.
    pub(crate) fn with(config: PathBuf, push_url: String) -> Options {
        Options {
            config: Some(config),
            push_url: Some(push_url),
            ..Options::default()
        }
    }
}

fn base_port(text: &str) -> Result<BasePort, String> {
    match text {
        "auto" => Ok(BasePort(None)),
        number => number
            .parse()
            .map(|port| BasePort(Some(port)))
            .map_err(|_| "not a port number, nor `auto`".to_owned()),
    }
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    privilege::become_root("Running mail servers")?;
    privilege::prepare_process();
    if let Some(directory) = &options.stop {
        return stop(directory);
    }
    let requested = options
        .dir
        .clone()
        .unwrap_or_else(|| command::workspace().join("target/relay"));
    packages::ensure(&[packages::RELAY])?;
    interrupt::listen()?;
    interrupt::check()?;
    // A mistake in the options is told before the build.
    Wish::read(&options)?;
    let directory = Directory::take(&requested)?;
    stop_leftovers(directory.path())?;
    // From here on `--stop` finds us, even while we build.
    Record::new(Vec::new())?.write(directory.path())?;
    let ports = Ports::claim(options.base_port.0)?;
    let artifacts = build::relay(options.dovecot, build::Programs::wanted())?;
    interrupt::check()?;
    let wish = Wish::read(&options)?;
    let instance = stage("writing the configuration", || {
        Instance::prepare(directory, ports, &wish, &artifacts)
    })?;
    let sink = match wish.push_url {
        Some(_) => None,
        None => Some(Sink::start(instance.ports().push_sink())?),
    };
    let _dns = instance.start_dns()?;
    let mut supervisor = Supervisor::new(instance.directory());
    stage(
        "starting Dovecot, Postfix, the filter and the service",
        || {
            instance
                .parts(&artifacts)?
                .into_iter()
                .try_for_each(|part| supervisor.start(part))
        },
    )?;
    let endpoints = publish(&instance, &supervisor)?;
    let watched = Watched::new(instance.directory(), &endpoints)?;
    if !wish.peers.is_empty() {
        stage("joining the peers", || {
            peers::join(instance.directory(), &endpoints, &wish.peers)
        })?;
    }
    let code = if options.check {
        check::run(
            &instance,
            &endpoints,
            &artifacts.dovecot,
            &wish.peers,
            &mut supervisor,
            sink.as_ref(),
        )?
    } else {
        introduce(&instance, &endpoints, &requested)?;
        watch(&instance, watched, &mut supervisor)?;
        ExitCode::SUCCESS
    };
    stage("stopping", || supervisor.stop())?;
    Ok(code)
}

/// Writes the endpoints with the process ids of now.
fn publish(instance: &Instance, supervisor: &Supervisor) -> Result<Endpoints> {
    let pid = |name| {
        supervisor
            .pid(name)
            .with_context(|| format!("{name} does not run"))
    };
    let endpoints = instance.endpoints(pid(MILTER)?, pid(SERVE)?)?;
    instance.publish(&endpoints)?;
    Ok(endpoints)
}

/// Until somebody asks to stop, or a server is gone for good.
fn watch(instance: &Instance, mut map: Watched, supervisor: &mut Supervisor) -> Result<()> {
    while !interrupt::requested() {
        // Both are looked at each time.
        if supervisor.look_after()? | map.look()? {
            publish(instance, supervisor)?;
        }
        thread::sleep(ROUND);
    }
    Ok(())
}

fn introduce(instance: &Instance, endpoints: &Endpoints, requested: &Path) -> Result<()> {
    let account = Account::random(instance.domain(), instance.lengths())?;
    let link = account.link(endpoints);
    let Endpoints {
        host,
        imaps,
        imap,
        smtps,
        submission,
        smtp,
        dovecot_version,
        ..
    } = endpoints;
    say(format_args!(
        "\nThe relay {} runs on {host}, with Dovecot {dovecot_version}:\n\n  IMAP   {imaps} (TLS), {imap} (STARTTLS)\n  SMTP   {smtps} (TLS), {submission} (STARTTLS)\n  \
         SMTP   {smtp} (from other relays)\n  files  {}\n\nAn account; its first login creates it, as any other address does:\n\n  \
         address   {}\n  password  {}\n\nIn Delta Chat on this machine, scan or paste:\n\n{link}\n\n{}\n\nCtrl-C stops it.",
        endpoints.domain,
        requested.display(),
        account.address,
        account.password,
        account::qr_code(&link)?,
    ));
    Ok(())
}

/// `--stop`: through its supervisor if that lives, else without it.
fn stop(requested: &Path) -> Result<ExitCode> {
    let path = directory::existing(requested)?;
    let Some(record) = Record::read(&path)? else {
        say(format_args!("No relay runs in {}.", requested.display()));
        return Ok(ExitCode::SUCCESS);
    };
    if !record.stop_supervisor() {
        say(format_args!(
            "The command that started it does not end. Its servers are stopped without it."
        ));
    }
    record.stop_parts()?;
    // Another relay may have been started in this directory by now; its files are its own.
    if let Ok(directory) = Directory::take(&path) {
        supervise::clean_up(directory.path());
    }
    say(format_args!(
        "Stopped the relay in {}.",
        requested.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// What a killed run left running in this directory, which is ours now.
pub(crate) fn stop_leftovers(directory: &Path) -> Result<()> {
    if let Some(record) = Record::read(directory)? {
        let count = record.stop_parts()?;
        if count > 0 {
            say(format_args!(
                "note: an earlier run was killed; {count} of its servers still ran and were stopped"
            ));
        }
    }
    supervise::clean_up(directory);
    Ok(())
}
