//! What deliveries to a mailbox cost Dovecot, with one device to notify.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chatmail_tests::imap::Imap;
use chatmail_tests::{Endpoints, Mail};

use super::OUTSIDER;
use super::clients::Lmtp;
use super::figures::{Figures, column, interleaved};
use super::pair::Pair;
use super::table::{Compared, Row, Target};
use super::usage::spent;
use crate::relay::account::Account;
use crate::relay::processes::poll;

/// Deliveries per round.
const MESSAGES: u32 = 200;
/// How long the service may take to tell the push service of all of them.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    for account in &pair.accounts {
        with_device_token(&pair.ours.endpoints, account, "benchmark")?;
    }
    let what = "LMTP deliveries of 3 KB messages";
    let spent = interleaved(what, rounds, pair, |pair, relay| {
        // A delivery costs the more the fuller the mailbox is: to all in turn, so that none fills.
        let recipients = pair.accounts.iter().cycle().take(MESSAGES as usize);
        let mails: Vec<_> = recipients
            .map(|to| (&to.address, Mail::encrypted(OUTSIDER, &to.address)))
            .map(|(to, mail)| (to, mail.to_bytes()))
            .collect();
        let service = relay.parts.map_or(relay.dovecot, |parts| parts.service);
        let seconds = spent([relay.dovecot, service], || {
            let mut lmtp = Lmtp::connect(&relay.endpoints.lmtp_socket)?;
            for (to, message) in &mails {
                lmtp.deliver(OUTSIDER, to, message)?;
            }
            ensure!(
                poll(PATIENCE, || nothing_pending(&relay.endpoints)),
                "notifications are still pending after {PATIENCE:?}"
            );
            Ok(())
        })?;
        Ok(seconds.map(|seconds| seconds * 1e3 / f64::from(MESSAGES)))
    })?;
    // No device is asked to wake up more than once a second.
    let sent = pair.push.posts().len();
    ensure!(
        sent >= pair.accounts.len() * (rounds + 1) as usize,
        "{sent} notifications for {} messages",
        MESSAGES * (rounds + 1)
    );
    let notification = Figures {
        bare: Vec::new(),
        ..column(&spent, |[_, service]| *service)
    };
    Ok(vec![
        Row::new(
            "LMTP delivery, 3 KB, one device token",
            "ms CPU",
            column(&spent, |[dovecot, _]| *dovecot),
            Compared::Ratio,
        )
        .reference("2.35 Lua, 1.03 bare")
        .target(Target::AtMost(1.2))
        .target(Target::Ratio(1.17)),
        Row::new(
            "  its share of notifications, one a second for each device",
            "ms CPU",
            notification,
            Compared::Alone,
        ),
    ])
}

pub(super) fn with_device_token(
    endpoints: &Endpoints,
    account: &Account,
    token: &str,
) -> Result<()> {
    let mut imap =
        Imap::login_to(endpoints, &account.address, &account.password).context("IMAP login")?;
    imap.set_metadata("INBOX", "/private/devicetoken", token)
        .and_then(|answer| answer.ok())
        .context("SETMETADATA")?;
    Ok(())
}

pub(super) fn nothing_pending(endpoints: &Endpoints) -> bool {
    fs::read_dir(endpoints.mailboxes_dir.join("pending_notifications"))
        .map_or(true, |mut entries| entries.next().is_none())
}
