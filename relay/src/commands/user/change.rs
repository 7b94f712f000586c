//! `chatmail user create`, `password`, `disable`, `enable`, `delete`, `allow-cleartext`.

use std::io::{self, BufRead, IsTerminal};
use std::time::SystemTime;

use chatmail_core::account::{self, NewAccount};
use chatmail_core::address::Address;
use chatmail_core::auth::{Standing, hash_password, standing};
use chatmail_core::counters::{Counter, Counters};
use chatmail_core::mailbox::{Change, Creation};
use chatmail_relay::user::forget_notifications;
use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::password::Source;
use super::{Common, Done, EXITS, Relay, failed, no_account};
use crate::exit::{Exit, Failure};

/// Make an account, whatever the sign-up policy says.
///
/// The part of ADDRESS before the @ has 1 to 64 of the characters a-z, 0-9, '.', '_' and '-'. It must not begin with
/// '.' or '-', end with '.', or contain '..'.
///
/// The password is asked for on the terminal. Without ADDRESS, a random one gets a random password, unless
/// --stdin.
///
/// JSON: {"address", "result": "created", "password": if it was generated, "dclogin_url": the link for Delta
/// Chat, if it was and the relay's certificate is self-signed}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Create {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    source: Source,
    /// Which; else a random one
    address: Option<String>,
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    done: Done<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dclogin_url: Option<String>,
}

impl Create {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = match &self.address {
            Some(address) => relay.new_address(address)?,
            None => account::random(&relay.config).map_err(failed)?.address,
        };
        let mailbox = relay.mailboxes.mailbox(&address);
        let exists = || Failure(Exit::CannotCreate, format!("{address} exists already"));
        if mailbox.exists().map_err(failed)? {
            return Err(exists());
        }
        let source = Source {
            stdin: self.source.stdin,
            generate: self.source.generate || self.address.is_none() && !self.source.stdin,
        };
        let password = source.password(&relay.config)?;
        let hash = hash_password(password.text.as_bytes()).map_err(failed)?;
        match mailbox.create(&hash, SystemTime::now()).map_err(failed)? {
            Creation::Existed => return Err(exists()),
            Creation::Created => {}
        }
        Counters::new(&relay.mailboxes).count(Counter::AccountNewOperator);
        let new = NewAccount {
            address: address.clone(),
            password: password.text,
        };
        let created = Created {
            done: Done {
                address: address.as_str(),
                result: "created",
            },
            password: password.is_generated.then_some(&new.password),
            dclogin_url: account::dclogin_url(&relay.config, &new)
                .filter(|_| password.is_generated),
        };
        relay.answer(&created, || {
            let words = [
                Some(format!("created {address}")),
                created
                    .password
                    .map(|password| format!("password: {password}")),
                created.dclogin_url.clone(),
            ];
            words.into_iter().flatten().collect::<Vec<_>>().join("\n")
        })
    }
}

/// Give an account another password.
///
/// The old one is refused from then on; sessions that are open stay so (`doveadm kick ADDRESS` ends them). The
/// day of the last login stays. An account that has no password is no longer blocked then, a disabled one still is.
///
/// JSON: {"address", "result": "changed", "password": if it was generated}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Password {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    source: Source,
    /// Whose
    address: String,
}

impl Password {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let mailbox = relay.mailboxes.mailbox(&address);
        if !mailbox.exists().map_err(failed)? {
            return Err(no_account(&address));
        }
        let password = self.source.password(&relay.config)?;
        let hash = hash_password(password.text.as_bytes()).map_err(failed)?;
        result(&address, mailbox.set_password(&hash))?;
        let changed = Created {
            done: Done {
                address: address.as_str(),
                result: "changed",
            },
            password: password.is_generated.then_some(&password.text),
            dclogin_url: None,
        };
        relay.answer(&changed, || match changed.password {
            Some(password) => format!("new password of {address}: {password}"),
            None => format!("new password of {address} is set"),
        })
    }
}

/// Let nobody in: no login, and no mail for it.
///
/// Makes the file DISABLED in the mailbox; nothing else is touched. Senders are told at RCPT that the mailbox
/// is disabled. Sessions that are open stay so; `doveadm kick ADDRESS` ends them.
///
/// JSON: {"address", "result": "changed" or "unchanged"}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Disable {
    #[command(flatten)]
    pub(super) common: Common,
    /// Whom
    address: String,
}

impl Disable {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let change = relay.mailboxes.mailbox(&address).set_disabled(true);
        let done = result(&address, change)?;
        relay.answer(&done, || format!("{address} is disabled"))
    }
}

/// Let the user of a disabled account in again.
///
/// Removes the file DISABLED. If the password is empty, or no hash, the account is blocked all the same, and
/// it is said so: the hash that it had is not known here, so only `chatmail user password` helps.
///
/// JSON: {"address", "result": "changed" or "unchanged", "state": as for `list`}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Enable {
    #[command(flatten)]
    pub(super) common: Common,
    /// Whom
    address: String,
}

#[derive(Serialize)]
struct Enabled<'a> {
    #[serde(flatten)]
    done: Done<'a>,
    state: &'static str,
}

impl Enable {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let mailbox = relay.mailboxes.mailbox(&address);
        let done = result(&address, mailbox.set_disabled(false))?;
        let standing = standing(&mailbox).map_err(failed)?;
        let standing = standing.ok_or_else(|| no_account(&address))?;
        let enabled = Enabled {
            done,
            state: standing.word(),
        };
        relay.answer(&enabled, || match standing {
            Standing::Active => format!("{address} is enabled"),
            Standing::Disabled => format!("{address} was disabled again by somebody else"),
            Standing::NoPassword | Standing::Damaged => format!(
                "{address} has no usable password and nobody can log in; to set one:\n  \
chatmail user password --config {} {address}",
                relay.config.path.display()
            ),
        })
    }
}

/// Delete an account with all its mail.
///
/// Asks on the terminal, unless --yes. Its next login finds no account, and makes a new, empty one if the
/// sign-up policy allows it; disable an account to keep its user out. Notifications that wait for its devices go
/// as well.
///
/// Dovecot ends sessions that have a folder open as soon as they look. One that opens a folder only now leaves a
/// directory without a password, which is nobody's account and keeps the address from being made anew: delete it
/// once more then, or before the first time disable the account and end its sessions with `doveadm kick
/// ADDRESS`.
///
/// JSON: {"address", "result": "deleted"}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Delete {
    #[command(flatten)]
    pub(super) common: Common,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Whom
    address: String,
}

impl Delete {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let mailbox = relay.mailboxes.mailbox(&address);
        if !mailbox.path().is_dir() {
            return Err(no_account(&address));
        }
        if !self.yes && !confirmed(&relay, &address)? {
            return Err(Failure(Exit::Usage, "nothing was deleted".to_owned()));
        }
        let removed = mailbox.remove_if(|| Ok(true));
        // Also if something of it could not be removed: it is out of sight.
        let forgotten = forget_notifications(&relay.mailboxes, &address);
        if !removed.map_err(failed)? {
            return Err(no_account(&address));
        }
        forgotten.map_err(failed)?;
        let done = Done {
            address: address.as_str(),
            result: "deleted",
        };
        relay.answer(&done, || format!("deleted {address}"))
    }
}

fn confirmed(relay: &Relay, address: &Address) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let why = "no terminal to ask on: give --yes";
        return Err(Failure(Exit::Usage, why.to_owned()));
    }
    let mailbox = relay.mailboxes.mailbox(address);
    let bytes = mailbox.usage().ok().flatten().unwrap_or_default();
    eprint!("Delete {address} with {bytes} bytes of mail? Type yes: ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(answer.trim() == "yes")
}

/// Say whether mail that is not encrypted may come in for an account.
///
/// `on` removes the file enforceE2EEincoming, `off` makes it. What an account sends has to be encrypted either
/// way.
///
/// JSON: {"address", "result": "changed" or "unchanged", "cleartext": bool}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct AllowCleartext {
    #[command(flatten)]
    pub(super) common: Common,
    /// For whom
    address: String,
    /// Whether it may
    allow: Switch,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Serialize)]
struct Allowed<'a> {
    #[serde(flatten)]
    done: Done<'a>,
    cleartext: bool,
}

impl AllowCleartext {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let cleartext = self.allow == Switch::On;
        let mailbox = relay.mailboxes.mailbox(&address);
        let done = result(&address, mailbox.set_enforces_encryption(!cleartext))?;
        let allowed = Allowed { done, cleartext };
        relay.answer(&allowed, || match cleartext {
            true => format!("{address} takes cleartext"),
            false => format!("{address} takes encrypted mail only"),
        })
    }
}

fn result(address: &Address, change: io::Result<Change>) -> Result<Done<'_>, Failure> {
    let result = match change.map_err(failed)? {
        Change::Changed => "changed",
        Change::Unchanged => "unchanged",
        Change::NoAccount => return Err(no_account(address)),
    };
    Ok(Done {
        address: address.as_str(),
        result,
    })
}
