//! System users of a relay.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::terminal::say;

/// Owns all mailboxes. The name is that of every chatmail relay.
pub(crate) const MAIL: &str = "vmail";

/// A system user, by number.
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The mail user; made if there is none.
pub(crate) fn mail_user() -> Result<User> {
    if let Ok(user) = find(MAIL) {
        return Ok(user);
    }
    say(format_args!(
        "==> adding the system user {MAIL}, who owns the mailboxes"
    ));
    let output = Command::new("useradd")
        .args([
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            "/home/vmail",
            "--shell",
            "/usr/sbin/nologin",
            MAIL,
        ])
        .stdin(Stdio::null())
        .output()
        .context("cannot run useradd")?;
    // Another instance that starts at the same time may have been faster.
    find(MAIL).with_context(|| {
        format!(
            "cannot add the system user {MAIL}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })
}

/// The user of this name, as of passwd(5).
pub(crate) fn find(name: &str) -> Result<User> {
    let text = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    for line in text.lines() {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            continue;
        }
        if let (Some(Ok(uid)), Some(Ok(gid))) =
            (fields.nth(1).map(str::parse), fields.next().map(str::parse))
        {
            return Ok(User { uid, gid });
        }
    }
    bail!("there is no system user {name}")
}
