//! More users than anybody wants to wait for: copies of one that logged in.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result};

use super::clients::Sasl;
use super::imap::{Client, Door};
use super::pair::{Pair, Relay};
use crate::relay::account::Account;

/// So many new users on both relays, each with a password and a hash of its own, and with a mailbox that was opened
/// before. Our part has seen them all: a restart makes it forget.
pub(super) fn known_users(pair: &Pair, count: usize) -> Result<Vec<Account>> {
    let new = || pair.ours.new_account();
    let (model, users) = (
        new()?,
        (0..count).map(|_| new()).collect::<Result<Vec<_>>>()?,
    );
    let all: Vec<&Account> = users.iter().chain([&model]).collect();
    let mut sasl = Sasl::connect(&pair.ours.auth_socket)?;
    all.iter().try_for_each(|account| sasl.login(account))?;
    pair.admit(&all)?;
    for relay in [&pair.ours, &pair.bare] {
        open(relay, &model)?;
        let from = relay.endpoints.mailbox(&model.address);
        for user in &users {
            copy(&from, &relay.endpoints.mailbox(&user.address))?;
        }
    }
    Ok(users)
}

/// What the first session leaves in a mailbox directory.
fn open(relay: &Relay, account: &Account) -> Result<()> {
    let mut client = Client::log_in(&relay.endpoints, &Door::Plain, account)?;
    client.command("SELECT INBOX").context("SELECT")?;
    client.log_out()
}

/// A directory with all that is in it, owners included. What is there already stays.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    let metadata = fs::metadata(from).with_context(failed)?;
    if metadata.is_dir() {
        if !to.exists() {
            fs::create_dir(to).with_context(failed)?;
        }
        for entry in fs::read_dir(from).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        fs::set_permissions(to, metadata.permissions()).with_context(failed)?;
    } else if to.exists() {
        return Ok(());
    } else {
        fs::copy(from, to).with_context(failed)?;
    }
    chown(to, Some(metadata.uid()), Some(metadata.gid())).with_context(failed)
}
