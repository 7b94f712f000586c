//! `chatmail user invite`.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_core::invite::{Invite, Invites};
use chatmail_relay::user::date;
use clap::{Parser, Subcommand};
use serde::Serialize;

use super::{Common, EXITS, Relay, failed, unless_closed};
use crate::exit::{Exit, Failure};

/// Invite people: a link that makes an account where `registration = invite`.
#[derive(Parser)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

impl Arguments {
    pub(super) fn run(&self) -> (&Common, Result<(), Failure>) {
        match &self.command {
            Command::Create(create) => (&create.common, create.run()),
            Command::List(list) => (&list.common, list.run()),
            Command::Revoke(revoke) => (&revoke.common, revoke.run()),
        }
    }
}

/// Make an invitation and print its link.
///
/// JSON: {"token", "link", "used": accounts made with it, "uses": accounts it is good for, null for any number,
/// "created" and "expires" in seconds since 1970, "expires" null for never, "usable": bool}
#[derive(Parser)]
#[command(after_help = EXITS)]
struct Create {
    #[command(flatten)]
    common: Common,
    /// Accounts it is good for
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "unlimited")]
    uses: u32,
    /// Any number of accounts
    #[arg(long)]
    unlimited: bool,
    /// It is void after so many days; else it is until it is revoked or used up
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
}

impl Create {
    fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let uses = (!self.unlimited).then_some(self.uses);
        let expires = self
            .days
            .map(|days| SystemTime::now() + Duration::from_secs(86_400) * days);
        let invites = Invites::new(&relay.mailboxes);
        let invite = invites.create(uses, expires).map_err(failed)?;
        let line = Line::of(&relay, &invite);
        relay.answer(&line, || line.link.clone())
    }
}

/// List the invitations.
///
/// A line has how many accounts were made of how many, the day it ends, whether it is usable, and the token,
/// which is a secret. JSON: as for `create`
#[derive(Parser)]
#[command(after_help = EXITS)]
struct List {
    #[command(flatten)]
    common: Common,
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        let mut output = io::stdout().lock();
        for invite in Invites::new(&relay.mailboxes).list().map_err(failed)? {
            let line = Line::of(&relay, &invite);
            let text = match self.common.json {
                true => serde_json::json!(line).to_string(),
                false => line.words(&invite),
            };
            if let Err(why) = writeln!(output, "{text}") {
                return unless_closed(why);
            }
        }
        Ok(())
    }
}

/// Revoke an invitation: its link makes no account any more. Accounts that it made stay.
///
/// JSON: {"result": "revoked"}
#[derive(Parser)]
#[command(after_help = EXITS)]
struct Revoke {
    #[command(flatten)]
    common: Common,
    /// As `list` shows it
    token: String,
}

impl Revoke {
    fn run(&self) -> Result<(), Failure> {
        let relay = self.common.open()?;
        match Invites::new(&relay.mailboxes).revoke(&self.token) {
            Ok(true) => {
                let done = serde_json::json!({"result": "revoked"});
                relay.answer(&done, || "revoked".to_owned())
            }
            Ok(false) => Err(Failure(
                Exit::NoUser,
                "there is no such invitation".to_owned(),
            )),
            Err(why) => Err(failed(why)),
        }
    }
}

#[derive(Serialize)]
struct Line {
    token: String,
    link: String,
    used: u32,
    uses: Option<u32>,
    created: u64,
    expires: Option<u64>,
    usable: bool,
}

impl Line {
    fn of(relay: &Relay, invite: &Invite) -> Line {
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs()
        };
        Line {
            token: invite.token.clone(),
            link: invite.link(relay.mailboxes.domain()),
            used: invite.used,
            uses: invite.uses,
            created: seconds(invite.created),
            expires: invite.expires.map(seconds),
            usable: invite.check(SystemTime::now()).is_ok(),
        }
    }

    fn words(&self, invite: &Invite) -> String {
        let uses = self
            .uses
            .map_or_else(|| "any".to_owned(), |uses| uses.to_string());
        let expires = invite.expires.map_or_else(|| "never".to_owned(), date);
        let usable = if self.usable { "usable" } else { "over" };
        format!(
            "{:>5} of {uses:5}  {expires:10}  {usable:6}  {}",
            self.used, self.token
        )
    }
}
