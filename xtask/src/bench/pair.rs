//! Two private relays side by side: ours, and the same servers without our parts or without DKIM.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chatmail_tests::sink::Sink;
use chatmail_tests::{Endpoints, dns};

use super::clients::Sasl;
use super::edits;
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
/// Accounts with mailboxes on both relays.
const ACCOUNTS: usize = 10;
/// No sender and no client is slowed down: that is not what is measured.
fn config(dkim: bool) -> String {
    format!(
        "[params]\nmail_domain = chat.test\ndkim = {dkim}\n\
         max_user_send_per_minute = 10000000\nmax_user_send_burst_size = 10000000\n"
    )
}

/// What ours is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// Dovecot and Postfix alone. Ours neither signs nor verifies then.
    Bare,
    /// The whole relay with `dkim = false`.
    NoDkim,
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
        dkim: bool,
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
        fs::write(&file, config(dkim))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let options = Options::with(file, push_url.to_owned());
        let wish = Wish::read(&options)?;
        let instance = Instance::prepare(directory, Ports::claim(None)?, &wish, artifacts)?;
        let lmtp_socket = instance.endpoints(0, 0)?.lmtp_socket;
        let etc = instance.directory().join("etc");
        // The sink is elsewhere, so its port is free.
        edits::for_measuring(&etc, &lmtp_socket, instance.ports().push_sink())?;
        Ok(instance)
    }

    /// Starts the parts with these names.
    fn start(instance: Instance, artifacts: &Artifacts, names: &[&str]) -> Result<Relay> {
        let dns = instance.start_dns()?;
        let mut supervisor = Supervisor::new(instance.directory());
        for part in instance.parts(artifacts)? {
            if names.contains(&part.name) {
                supervisor.start(part)?;
            }
        }
        let pid = |name| supervisor.pid(name);
        let running = |name| pid(name).with_context(|| format!("{name} does not run"));
        let parts = match (pid(MILTER), pid(SERVE)) {
            (Some(filter), Some(service)) => Some(Parts { filter, service }),
            _ => None,
        };
        let (dovecot, postfix) = (running(DOVECOT)?, running(POSTFIX)?);
        Ok(Relay {
            endpoints: instance.endpoints(0, 0)?,
            auth_socket: instance.directory().join("run/sockets/auth"),
            directory: instance.directory().to_owned(),
            outgoing_port: instance.ports().push_sink(),
            dovecot,
            postfix,
            parts,
            supervisor,
            instance,
            _dns: dns,
        })
    }

    /// Creates the accounts by their first login.
    fn log_in(&self, accounts: &[Account]) -> Result<()> {
        let mut sasl = Sasl::connect(&self.auth_socket)?;
        accounts.iter().try_for_each(|account| sasl.login(account))
    }

    /// An address that nobody has logged in with yet.
    pub(super) fn new_account(&self) -> Result<Account> {
        Account::random(self.instance.domain(), self.instance.lengths())
    }

    /// Fails if a part died since the last look.
    fn look_after(&mut self) -> Result<()> {
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
}

impl Pair {
    /// Starts both in `directory`. The mail of an earlier run is removed.
    pub(super) fn start(directory: &Path, artifacts: &Artifacts, other: Other) -> Result<Pair> {
        const ALL: &[&str] = &[DOVECOT, MILTER, POSTFIX, SERVE];
        let push = Sink::start().context("cannot start a push service")?;
        let push_url = &push.url();
        let dkim = other == Other::NoDkim;
        let ours = Relay::prepare(&directory.join("ours"), artifacts, push_url, dkim)?;
        let ours = Relay::start(ours, artifacts, ALL)?;
        let accounts = (0..ACCOUNTS)
            .map(|_| ours.new_account())
            .collect::<Result<Vec<_>>>()?;
        ours.log_in(&accounts)?;

        let bare = Relay::prepare(&directory.join("bare"), artifacts, push_url, false)?;
        let bare = match other {
            Other::Bare => {
                let passwords = bare.directory().join("passwd");
                fs::write(&passwords, passwd_file(&ours.endpoints, &accounts)?)
                    .with_context(|| format!("cannot write {}", passwords.display()))?;
                let endpoints = bare.endpoints(0, 0)?;
                edits::without_our_parts(
                    &bare.directory().join("etc"),
                    &endpoints.config,
                    &passwords,
                    &endpoints.mailboxes_dir,
                )?;
                Relay::start(bare, artifacts, &[DOVECOT, POSTFIX])?
            }
            Other::NoDkim => {
                let bare = Relay::start(bare, artifacts, ALL)?;
                bare.log_in(&accounts)?;
                bare
            }
        };
        Ok(Pair {
            ours,
            bare,
            accounts,
            push,
        })
    }

    /// Fails if a server of either died since the last look: what was measured then is worth nothing.
    pub(super) fn look_after(&mut self) -> Result<()> {
        self.ours.look_after()?;
        self.bare.look_after()
    }
}

/// The same hashes that our part made, for Dovecot's own passdb.
fn passwd_file(endpoints: &Endpoints, accounts: &[Account]) -> Result<String> {
    let line = |account: &Account| {
        let file = endpoints.mailbox(&account.address).join("password");
        let hash =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(format!("{}:{}::::::\n", account.address, hash.trim()))
    };
    accounts.iter().map(line).collect()
}
