//! `chatmail user list`, `chatmail user show`.

use std::io::{self, BufWriter, Write};
use std::time::SystemTime;

use chatmail_core::config::parse_size;
use chatmail_core::metadata::DeviceTokens;
use chatmail_relay::user::{Account, Filter, date};
use clap::Parser;
use serde::Serialize;

use super::{Common, EXITS, failed, no_account, unless_closed};
use crate::exit::{Exit, Failure};

/// List accounts, in no order.
///
/// A line has the day of the last login (UTC), the state, what the mailbox holds by Dovecot's count (? if it
/// was not counted yet), whether cleartext may come in, and the address. States: active; disabled (see
/// `disable`); no-password (the file is empty or no hash, the other way to block); damaged (a hash that was cut
/// short, a temporary failure for its user).
///
/// JSON: {"address", "state", "last_login": "2026-11-21", "cleartext": bool, "bytes": number or null}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) common: Common,
    /// Only those that are disabled or have no password
    #[arg(long)]
    blocked: bool,
    /// Only those without a login for so many days
    #[arg(long, value_name = "DAYS")]
    inactive: Option<u32>,
    /// Only those that hold more than this, such as 100M or 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    larger: Option<u64>,
}

impl List {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let filter = Filter {
            blocked: self.blocked,
            inactive_days: self.inactive,
            larger: self.larger,
        };
        let now = SystemTime::now();
        let mut output = BufWriter::new(io::stdout().lock());
        let mut unreadable = 0;
        for address in relay.mailboxes.addresses().map_err(failed)? {
            let account = match Account::of(&relay.mailboxes, address.map_err(failed)?) {
                Ok(Some(account)) if filter.takes(&account, now) => account,
                Ok(_) => continue,
                Err(why) => {
                    eprintln!("chatmail: {why}");
                    unreadable += 1;
                    continue;
                }
            };
            let written = match self.common.json {
                true => serde_json::to_writer(&mut output, &account)
                    .map_err(io::Error::from)
                    .and_then(|()| output.write_all(b"\n")),
                false => writeln!(output, "{account}"),
            };
            if let Err(why) = written {
                return unless_closed(why);
            }
        }
        output.flush().or_else(unless_closed)?;
        match unreadable {
            0 => Ok(()),
            count => Err(Failure(
                Exit::CannotWrite,
                format!("{count} accounts could not be read"),
            )),
        }
    }
}

/// Show one account.
///
/// JSON: as for `list`, and {"path", "limit": bytes it may hold, "devices": devices that are notified of new
/// mail}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) common: Common,
    /// Which
    address: String,
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    account: &'a Account,
    path: String,
    limit: u64,
    devices: usize,
}

impl Show {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let mailbox = relay.mailboxes.mailbox(&address);
        let account = Account::of(&relay.mailboxes, address.clone()).map_err(failed)?;
        let account = account.ok_or_else(|| no_account(&address))?;
        let devices = DeviceTokens::of(&mailbox).valid(SystemTime::now());
        let details = Details {
            account: &account,
            path: mailbox.path().display().to_string(),
            limit: relay.config.max_mailbox_size,
            devices: devices.map_err(failed)?.len(),
        };
        relay.answer(&details, || {
            let bytes = account
                .bytes
                .map_or_else(|| "not counted yet".to_owned(), |bytes| bytes.to_string());
            let cleartext = if account.cleartext {
                "allowed"
            } else {
                "refused"
            };
            format!(
                "address     {address}\nstate       {}\nlast login  {}\ncleartext   {cleartext}\n\
bytes       {bytes} of {}\ndevices     {}\nmailbox     {}",
                account.standing.word(),
                date(account.last_login),
                details.limit,
                details.devices,
                details.path
            )
        })
    }
}
