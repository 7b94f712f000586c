//! Two private relays side by side: ours, and the same servers without our parts or without DKIM.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chatmail_tests::sink::Sink;
use chatmail_tests::{Endpoints, dns};

use super::clients::Sasl;
use super::edits;
use super::usage::cpu_at_rest;
use crate::build::Artifacts;
use crate::relay::account::Account;
use crate::relay::directory::Directory;
use crate::relay::instance::{Instance, MILTER, SERVE};
use crate::relay::ports::Ports;
use crate::relay::supervise::Supervisor;
use crate::relay::wish::Wish;
use crate::relay::{Options, stop_leftovers};

/// What the parts of both relays are called.
const DOVECOT: &str = "Dovecot";
const POSTFIX: &str = "Postfix";
/// The passwd-file of the bare relay.
const PASSWORDS: &str = "passwd";
/// Accounts with mailboxes on both relays.
const ACCOUNTS: usize = 10;
/// Everything a relay runs.
const ALL: &[&str] = &[DOVECOT, MILTER, POSTFIX, SERVE];
/// No sender and no client is slowed down, and new users are many: that is not what is measured.
fn config(dkim: bool, lines: &str) -> String {
    format!(
        "[params]\nmail_domain = chat.test\ndkim = {dkim}\n\
         max_user_send_per_minute = 10000000\nmax_user_send_burst_size = 10000000\n\
         max_signups_per_hour = inf\nmax_network_signups_per_hour = inf\n{lines}"
    )
}

/// What ours is compared with. Only beside [`Other::NoDkim`] it signs and verifies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// Dovecot and Postfix alone, with the process settings that are shipped.
    Bare,
    /// The same, with Dovecot's own process settings.
    DefaultProcesses,
    /// As bare; on both relays sessions are hibernated soon.
    SoonHibernated,
    /// As bare; on both relays Postfix delivers.
    Delivering,
    /// The whole relay with `dkim = false`.
    NoDkim,
}

impl Other {
    /// In this order one after the other.
    pub(super) const ALL: [Other; 5] = [
        Other::Bare,
        Other::DefaultProcesses,
        Other::SoonHibernated,
        Other::Delivering,
        Other::NoDkim,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Other::Bare => "without our parts",
            Other::DefaultProcesses => {
                "without our parts and with Dovecot's default process settings"
            }
            Other::SoonHibernated => "without our parts; both hibernate soon",
            Other::Delivering => "without our parts; both deliver",
            Other::NoDkim => "without DKIM",
        }
    }

    /// Services of Postfix that name a filter.
    fn filters(self) -> usize {
        match self {
            Other::Delivering => 3,
            _ => 4,
        }
    }
}

/// One that runs.
pub(super) struct Relay {
    pub(super) endpoints: Endpoints,
    /// Dovecot's socket for Postfix.
    pub(super) auth_socket: PathBuf,
    /// For files of the benchmark.
    pub(super) directory: PathBuf,
    /// Takes mail of its users without TLS and login.
    pub(super) outgoing_port: u16,
    /// Process ids.
    pub(super) dovecot: u32,
    pub(super) postfix: u32,
    /// The bare one has none.
    pub(super) parts: Option<Parts>,
    names: &'static [&'static str],
    supervisor: Supervisor,
    instance: Instance,
    _dns: dns::Server,
}

/// The process ids of our own programs.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) filter: u32,
    pub(super) service: u32,
}

impl Relay {
    fn prepare(
        directory: &Path,
        artifacts: &Artifacts,
        push_url: &str,
        ini: &str,
        other: Other,
    ) -> Result<Instance> {
        let directory = Directory::take(directory)?;
        let root = directory.path();
        stop_leftovers(root)?;
        for of_earlier_run in ["mail", "postfix", "etc"] {
            let path = root.join(of_earlier_run);
            if path.exists() {
                fs::remove_dir_all(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let file = root.join("bench.ini");
        fs::write(&file, ini).with_context(|| format!("cannot write {}", file.display()))?;
        let options = Options::with(file, push_url.to_owned());
        let wish = Wish::read(&options)?;
        let instance = Instance::prepare(directory, Ports::claim(None)?, &wish, artifacts)?;
        let lmtp_socket = instance.endpoints(0, 0)?.lmtp_socket;
        let etc = instance.directory().join("etc");
        if other != Other::Delivering {
            // The sink is elsewhere, so its port is free.
            edits::for_measuring(&etc, &lmtp_socket, instance.ports().push_sink())?;
        }
        if other == Other::SoonHibernated {
            edits::append_to_dovecot(&etc, edits::SOON_HIBERNATED)?;
        }
        Ok(instance)
    }

    /// Ours alone, with further lines of its `chatmail.ini`.
    pub(super) fn alone(
        directory: &Path,
        artifacts: &Artifacts,
        push_url: &str,
        lines: &str,
    ) -> Result<Relay> {
        let ini = config(false, lines);
        let instance = Relay::prepare(directory, artifacts, push_url, &ini, Other::Bare)?;
        Relay::start(instance, artifacts, ALL)
    }

    /// Starts the parts with these names.
    fn start(
        instance: Instance,
        artifacts: &Artifacts,
        names: &'static [&'static str],
    ) -> Result<Relay> {
        let dns = instance.start_dns()?;
        let supervisor = Supervisor::new(instance.directory());
        let mut relay = Relay {
            endpoints: instance.endpoints(0, 0)?,
            auth_socket: instance.directory().join("run/sockets/auth"),
            directory: instance.directory().to_owned(),
            outgoing_port: instance.ports().push_sink(),
            dovecot: 0,
            postfix: 0,
            parts: None,
            names,
            supervisor,
            instance,
            _dns: dns,
        };
        relay.start_parts(artifacts)?;
        Ok(relay)
    }

    fn start_parts(&mut self, artifacts: &Artifacts) -> Result<()> {
        for part in self.instance.parts(artifacts)? {
            if self.names.contains(&part.name) {
                self.supervisor.start(part)?;
            }
        }
        let pid = |name| self.supervisor.pid(name);
        let running = |name| pid(name).with_context(|| format!("{name} does not run"));
        self.parts = match (pid(MILTER), pid(SERVE)) {
            (Some(filter), Some(service)) => Some(Parts { filter, service }),
            _ => None,
        };
        (self.dovecot, self.postfix) = (running(DOVECOT)?, running(POSTFIX)?);
        Ok(())
    }

    /// Stops it, starts it again, and waits until it has nothing to do.
    fn restart(&mut self, artifacts: &Artifacts) -> Result<()> {
        self.supervisor.stop()?;
        self.start_parts(artifacts)?;
        cpu_at_rest(self.dovecot)?;
        Ok(())
    }

    /// An empty directory for files of the benchmark.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// Creates the accounts by their first login.
    pub(super) fn log_in(&self, accounts: &[Account]) -> Result<()> {
        let mut sasl = Sasl::connect(&self.auth_socket)?;
        accounts.iter().try_for_each(|account| sasl.login(account))
    }

    /// An address that nobody has logged in with yet.
    pub(super) fn new_account(&self) -> Result<Account> {
        Account::random(self.instance.domain(), self.instance.lengths())
    }

    /// Fails if a part died since the last look.
    pub(super) fn look_after(&mut self) -> Result<()> {
        ensure!(
            !self.supervisor.look_after()?,
            "a part of the relay died and had to be started again\n{}",
            self.supervisor.logs()
        );
        Ok(())
    }
}

/// Both, with the same accounts.
pub(super) struct Pair {
    pub(super) ours: Relay,
    pub(super) bare: Relay,
    pub(super) accounts: Vec<Account>,
    /// Takes the notifications of ours.
    pub(super) push: Sink,
    artifacts: Rc<Artifacts>,
}

impl Pair {
    /// Starts both in `directory`. The mail of an earlier run is removed.
    pub(super) fn start(directory: &Path, artifacts: &Rc<Artifacts>, other: Other) -> Result<Pair> {
        let push = Sink::start().context("cannot start a push service")?;
        let push_url = &push.url();
        let ini = config(other == Other::NoDkim, "");
        let ours = Relay::prepare(&directory.join("ours"), artifacts, push_url, &ini, other)?;
        let ours = Relay::start(ours, artifacts, ALL)?;
        let accounts = (0..ACCOUNTS)
            .map(|_| ours.new_account())
            .collect::<Result<Vec<_>>>()?;
        ours.log_in(&accounts)?;

        let ini = config(false, "");
        let bare = Relay::prepare(&directory.join("bare"), artifacts, push_url, &ini, other)?;
        let bare = match other {
            Other::NoDkim => {
                let bare = Relay::start(bare, artifacts, ALL)?;
                bare.log_in(&accounts)?;
                bare
            }
            _ => {
                let etc = bare.directory().join("etc");
                let passwords = bare.directory().join(PASSWORDS);
                fs::write(&passwords, "")
                    .with_context(|| format!("cannot write {}", passwords.display()))?;
                let endpoints = bare.endpoints(0, 0)?;
                let version = artifacts.dovecot.version();
                edits::without_our_parts(
                    &etc,
                    &edits::Bare {
                        version,
                        config: &endpoints.config,
                        passwords: &passwords,
                        mailboxes: &endpoints.mailboxes_dir,
                        filters: other.filters(),
                    },
                )?;
                if other == Other::DefaultProcesses {
                    edits::append_to_dovecot(&etc, edits::default_processes(version))?;
                }
                Relay::start(bare, artifacts, &[DOVECOT, POSTFIX])?
            }
        };
        let pair = Pair {
            ours,
            bare,
            accounts,
            push,
            artifacts: Rc::clone(artifacts),
        };
        if other != Other::NoDkim {
            pair.admit(&pair.accounts.iter().collect::<Vec<_>>())?;
        }
        Ok(pair)
    }

    /// Lets Dovecot's own passdb in the bare relay know these accounts, with the hashes that our part made.
    pub(super) fn admit(&self, accounts: &[&Account]) -> Result<()> {
        let line = |account: &&Account| {
            let file = self
                .ours
                .endpoints
                .mailbox(&account.address)
                .join("password");
            let hash = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Ok(format!("{}:{}::::::\n", account.address, hash.trim()))
        };
        let lines = accounts.iter().map(line).collect::<Result<String>>()?;
        let file = self.bare.directory.join(PASSWORDS);
        OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .with_context(|| format!("cannot write {}", file.display()))?;
        // In the second of its last look Dovecot does not look at the file again (db-passwd-file.c).
        thread::sleep(Duration::from_millis(1100));
        Ok(())
    }

    /// Ours, started anew.
    pub(super) fn restart_ours(&mut self) -> Result<&Relay> {
        self.ours.restart(&self.artifacts)?;
        Ok(&self.ours)
    }

    /// The other one, started anew.
    pub(super) fn restart_bare(&mut self) -> Result<&Relay> {
        self.bare.restart(&self.artifacts)?;
        Ok(&self.bare)
    }

    /// Fails if a server of either died since the last look: what was measured then is worth nothing.
    pub(super) fn look_after(&mut self) -> Result<()> {
        self.ours.look_after()?;
        self.bare.look_after()
    }
}
