//! The memory of an imap process, of which a relay runs thousands.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use chatmail_tests::imap::Imap;

use super::figures::Figures;
use super::pair::{Pair, Relay};
use super::table::{Compared, Row};
use super::usage::kilobytes;
use crate::interrupt;
use crate::relay::account::Account;
use crate::terminal::say;

/// Entries that every client asks for: one of the server, one of the mailbox.
const ENTRIES: [(&str, &str); 2] = [
    ("", "/shared/vendor/deltachat/irohrelay"),
    ("INBOX", "/private/devicetoken"),
];

pub(super) fn measure(pair: &mut Pair) -> Result<Vec<Row>> {
    say(format_args!("    memory of imap processes"));
    let (mut selected, mut asked) = (Figures::default(), Figures::default());
    // Pages of a module that was just installed count as dirty until they are on the disk.
    rustix::fs::sync();
    // All stay open: a process that served another session before would have the memory of both.
    let mut sessions = Vec::new();
    for account in &pair.accounts {
        interrupt::check()?;
        for (relay, of_selected, of_asked) in [
            (&pair.ours, &mut selected.ours, &mut asked.ours),
            (&pair.bare, &mut selected.bare, &mut asked.bare),
        ] {
            let (first, second, imap) = session(relay, account)?;
            of_selected.push(first);
            of_asked.push(second);
            sessions.push(imap);
        }
    }
    drop(sessions);
    pair.look_after()?;
    Ok(vec![
        Row::new(
            "imap process after LOGIN, SELECT",
            "kB private dirty",
            selected,
            Compared::Difference,
        )
        .reference("+ 72 to 176")
        .target("+ 64"),
        Row::new(
            "imap process after GETMETADATA, too",
            "kB private dirty",
            asked,
            Compared::Difference,
        )
        .target("+ 64"),
    ])
}

/// Private dirty memory after SELECT and after GETMETADATA, and the session itself.
fn session(relay: &Relay, account: &Account) -> Result<(f64, f64, Imap)> {
    let mut imap = Imap::login_to(&relay.endpoints, &account.address, &account.password)
        .context("IMAP login")?;
    imap.select_inbox().context("SELECT")?;
    let pid = process(relay, &account.address)?;
    let dirty = || kilobytes(pid, "smaps_rollup", "Private_Dirty");
    let selected = dirty()?;
    for (mailbox, entry) in ENTRIES {
        // Whether there is a value does not matter, whether the server would have found it does.
        imap.get_metadata(mailbox, entry)
            .context("GETMETADATA")?
            .map_err(|answer| anyhow!("GETMETADATA: {answer}"))?;
    }
    Ok((selected, dirty()?, imap))
}

/// The imap process that serves the only session of this address: `doveadm who` says so.
fn process(relay: &Relay, address: &str) -> Result<u32> {
    let output = Command::new("doveadm")
        .arg("-c")
        .arg(&relay.endpoints.dovecot_conf)
        .args(["who", "-1", address])
        .stdin(Stdio::null())
        .output()
        .context("cannot run doveadm")?;
    ensure!(
        output.status.success(),
        "doveadm who: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let pids = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let is_it = fields.next() == Some(address) && fields.next() == Some("imap");
        fields.next().filter(|_| is_it)?.parse().ok()
    });
    let pids: Vec<u32> = pids.collect();
    let [pid] = pids.as_slice() else {
        bail!("doveadm who names {} sessions instead of one", pids.len());
    };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).context("the session has ended")?;
    ensure!(name.trim() == "imap", "process {pid} is {}", name.trim());
    Ok(*pid)
}
